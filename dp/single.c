/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/single.h"

#include <float.h>
#include <math.h>

#include "dp/gaussian.h"
#include "dp/normal.h"

/* Relative error of an argument that took a few roundings. */
#define ROUNDING (16 * DBL_EPSILON)

/* The Gaussian's log delta at epsilon, whose relative error ROUNDING is covered. */
static struct cns_dp_interval gaussian(double sigma, double epsilon) {
  double mu = 1 / sigma;
  return (struct cns_dp_interval){
      .lower = cns_gaussian_log_delta(mu * (1 - ROUNDING), epsilon * (1 + ROUNDING)).lower,
      .upper = cns_gaussian_log_delta(mu * (1 + ROUNDING), epsilon * (1 - ROUNDING)).upper,
  };
}

/* Multiplies by e^log_factor. */
static struct cns_dp_interval scale(struct cns_dp_interval log_delta, double log_factor, double error) {
  return (struct cns_dp_interval){
      .lower = log_delta.lower + log_factor - error,
      .upper = fmin(0, log_delta.upper + log_factor + error),
  };
}

static struct cns_dp_interval removal(const struct cns_loss *loss, double epsilon) {
  double q = loss->rate, log_q = log(q);
  double inner = epsilon > 30 ? epsilon - log_q + log1p(-(1 - q) * exp(-epsilon)) : log1p(expm1(epsilon) / q);
  return scale(gaussian(loss->sigma, inner), log_q, ROUNDING * (1 + fabs(log_q)));
}

/* One of the two bounds: with y = (1 - e^-eps)/q, c = q e^eps (1 - y) and the inner
 * epsilon is -log(1 - y); delta falls with y. */
static struct cns_dp_interval addition_at(const struct cns_loss *loss, double epsilon, double y) {
  if (y >= 1) return (struct cns_dp_interval){-INFINITY, -INFINITY};
  double inner = -log1p(-y), log_factor = log(loss->rate) + epsilon - inner;
  return scale(gaussian(loss->sigma, inner), log_factor, ROUNDING * (1 + epsilon + inner - log(loss->rate)));
}

static struct cns_dp_interval addition(const struct cns_loss *loss, double epsilon) {
  double y = -expm1(-epsilon) / loss->rate;
  return (struct cns_dp_interval){
      .lower = addition_at(loss, epsilon, y * (1 + ROUNDING)).lower,
      .upper = addition_at(loss, epsilon, y * (1 - ROUNDING)).upper,
  };
}

/* q N(u > u0 - 1/s) - (e^eps - 1)(1 - q) N(u > u0) - e^eps q N(u > u0 + 1/s), all over the
 * first. u0 is where this is largest, so that its error counts squared only. */
static struct cns_dp_interval replacement(const struct cns_loss *loss, double epsilon) {
  double q = loss->rate, shift = 1 / loss->sigma, u = cns_loss_point(loss, epsilon);
  double first = cns_normal_log_cdf(shift - u) + log(q);
  double grown = epsilon > 30 ? epsilon : log(expm1(epsilon));
  double rest = grown + log1p(-q) + cns_normal_log_cdf(-u) - first;
  double last = epsilon + log(q) + cns_normal_log_cdf(-u - shift) - first;
  double value = -expm1(last) - exp(rest);
  /* Phi is good to a few places, and its argument, rounded, moves it by the square. */
  double furthest = fabs(u) + shift;
  double error = ROUNDING * (4 + 2 * furthest * furthest + epsilon - log(q) + fabs(first));
  return (struct cns_dp_interval){
      .lower = value > error ? first + log(value - error) - error : -INFINITY,
      .upper = fmin(0, first + log(fmin(fmax(value, 0) + error, 1)) + error),
  };
}

struct cns_dp_interval cns_single_log_delta(const struct cns_loss *loss, double epsilon) {
  if (loss->rate == 1) return gaussian(loss->replace ? loss->sigma / 2 : loss->sigma, epsilon);
  if (loss->replace) return replacement(loss, epsilon);
  struct cns_dp_interval a = removal(loss, epsilon), b = addition(loss, epsilon);
  return (struct cns_dp_interval){fmax(a.lower, b.lower), fmax(a.upper, b.upper)};
}

/* Bisection for where one of the two bounds passes log_delta. */
static double cross(const struct cns_loss *loss, double log_delta, bool upper) {
  /* Nothing has more loss than the Gaussian without sampling. */
  double mu = (loss->replace ? 2 : 1) / loss->sigma;
  double low = 0, high = cns_gaussian_epsilon(mu, log_delta).upper * (1 + 1e-9) + 1e-9;
  for (int i = 0; i < 200; i++) {
    double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    struct cns_dp_interval at = cns_single_log_delta(loss, middle);
    if ((upper ? at.upper : at.lower) > log_delta)
      low = middle;
    else
      high = middle;
  }
  return upper ? high : low;
}

struct cns_dp_interval cns_single_epsilon(const struct cns_loss *loss, double log_delta) {
  struct cns_dp_interval none = cns_single_log_delta(loss, 0);
  return (struct cns_dp_interval){
      .lower = none.lower > log_delta ? cross(loss, log_delta, false) : 0,
      .upper = none.upper > log_delta ? cross(loss, log_delta, true) : 0,
  };
}
