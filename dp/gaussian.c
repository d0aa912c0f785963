/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/gaussian.h"

#include <float.h>
#include <math.h>

#include "dp/normal.h"

struct cns_dp_interval cns_gaussian_log_delta(double mu, double epsilon) {
  /* delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu), e^-x apart. */
  double above = mu / 2 - epsilon / mu, below = -mu / 2 - epsilon / mu;
  double first = cns_normal_log_cdf(above), second = epsilon + cns_normal_log_cdf(below);
  double rest = -expm1(second - first);
  /* Relative errors of both terms: of Phi, of its argument (x^2 times as much), of e^eps. */
  double slack = DBL_EPSILON * (16 + 4 * above * above + 4 * below * below + 4 * epsilon + 2 * fabs(first));
  double lower = rest - slack, upper = rest + slack;
  return (struct cns_dp_interval){
      .lower = lower > 0 ? first + log(lower) : -INFINITY,
      .upper = fmin(0, first + log(fmax(upper, DBL_EPSILON)) + slack),
  };
}

/* Bisection for where one of the two bounds passes log_delta. */
static double cross(double mu, double log_delta, bool upper) {
  /* e^-(x^2)/2 bounds the tail of the loss, which is normal around mu^2/2. */
  double low = 0, high = mu * mu / 2 + mu * sqrt(2 * (1 - log_delta)) * (1 + 1e-9);
  for (int i = 0; i < 200; i++) {
    double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    struct cns_dp_interval at = cns_gaussian_log_delta(mu, middle);
    if ((upper ? at.upper : at.lower) > log_delta)
      low = middle;
    else
      high = middle;
  }
  return upper ? high : low;
}

struct cns_dp_interval cns_gaussian_epsilon(double mu, double log_delta) {
  struct cns_dp_interval none = cns_gaussian_log_delta(mu, 0);
  return (struct cns_dp_interval){
      .lower = none.lower > log_delta ? cross(mu, log_delta, false) : 0,
      .upper = none.upper > log_delta ? cross(mu, log_delta, true) : 0,
  };
}
