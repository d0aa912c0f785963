/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/rdp.h"

#include <float.h>
#include <math.h>

#include "dp/loss.h"
#include "dp/normal.h"

/* Whole orders up to this are summed term by term. */
#define WHOLE_MAX 2048
/* The trapezoid rule is used where the integrand peaks so many deviations from 0 at
 * most: its densities are doubles there. */
#define PEAK_MAX 20.0
/* Below this log-moment the series have lost too many digits. */
#define SERIES_MIN 1e-2

/* log(exp(a) + exp(b)) and log(exp(a) - exp(b)), a >= b. */
static double log_add(double a, double b) {
  double high = fmax(a, b), low = fmin(a, b);
  return high == -INFINITY ? high : high + log1p(exp(low - high));
}

static double log_subtract(double a, double b) {
  return a > b ? a + log1p(-exp(b - a)) : -INFINITY;
}

/* Whole orders: A - 1 = sum over k >= 2 of C(a,k) q^k (1-q)^(a-k) (e^((k^2-k)/(2 s^2)) - 1),
 * whose terms are all positive. Returns log A. */
static double whole(double sigma, double rate, double order) {
  double log_sum = -INFINITY, log_choose = log(order), log_q = log(rate), log_p = log1p(-rate);
  for (double k = 2; k <= order; k++) {
    log_choose += log(order - k + 1) - log(k);
    double x = (k * k - k) / (2 * sigma * sigma), growth = x > 30 ? x : log(expm1(x));
    log_sum = log_add(log_sum, log_choose + k * log_q + (order - k) * log_p + growth);
  }
  return log_sum > 30 ? log_sum : log1p(exp(log_sum));
}

/* A sum of terms of both signs, kept as two logarithms. */
struct signed_sum {
  double plus, minus;
};

static void signed_add(struct signed_sum *sum, double log_term, bool negative) {
  double *side = negative ? &sum->minus : &sum->plus;
  *side = log_add(*side, log_term);
}

/*
 * The integral is split at z0, where both components weigh the same, and
 * ((1-q) + q e^..)^a is expanded by the smaller one on either side. Each
 * term carries the sign of the binomial coefficient C(a, i).
 */
double cns_rdp_series(double sigma, double rate, double order) {
  double log_q = log(rate), log_p = log1p(-rate), z0 = sigma * sigma * (log_p - log_q) + 0.5;
  double log_choose = 0, width = sigma * M_SQRT2;
  bool negative = false;
  struct signed_sum sum = {-INFINITY, -INFINITY};
  for (int i = 0; i < 100000; i++) {
    double j = order - i;
    double left = log_choose + i * log_q + j * log_p + ((double)i * i - i) / (2 * sigma * sigma) - M_LN2 +
                  cns_normal_log_erfc((i - z0) / width);
    double right = log_choose + j * log_q + i * log_p + (j * j - j) / (2 * sigma * sigma) - M_LN2 +
                   cns_normal_log_erfc((z0 - j) / width);
    signed_add(&sum, left, negative);
    signed_add(&sum, right, negative);
    if (i > order && fmax(left, right) < log_subtract(sum.plus, sum.minus) - 40) break;
    double factor = (order - i) / (i + 1);
    if (factor == 0) break;
    negative ^= factor < 0;
    log_choose += log(fabs(factor));
  }
  return log_subtract(sum.plus, sum.minus);
}

int cns_rdp_round(const struct cns_dp_segment *round, enum cns_dp_relation relation, double order,
                  double *ret_rdp) {
  double sigma = round->noise_multiplier, rate = round->sampling_rate, log_moment;
  bool replace = relation == CNS_DP_REPLACE_ONE;
  if (rate == 1) {
    *ret_rdp = order * (replace ? 4 : 1) / (2 * sigma * sigma);
    return 0;
  }
  if (!replace && order == floor(order) && order <= WHOLE_MAX) {
    *ret_rdp = whole(sigma, rate, order) / (order - 1);
    return 0;
  }
  /* The series converge slowly for small orders. */
  log_moment = replace || order < PEAK_MAX * sigma ? NAN : cns_rdp_series(sigma, rate, order);
  if (!(log_moment >= SERIES_MIN && isfinite(log_moment))) {
    struct cns_loss loss = {sigma, rate, replace};
    int r = cns_loss_log_moment(&loss, order, &log_moment);
    if (r < 0) return r;
  }
  *ret_rdp = fmax(0, log_moment / (order - 1));
  return 0;
}

double cns_rdp_convert(double order, double rdp, double log_delta) {
  return fmax(0, rdp + log1p(-1 / order) - (log_delta + log(order)) / (order - 1));
}

double cns_rdp_convert_delta(double order, double rdp, double epsilon) {
  return fmin(0, (order - 1) * (rdp - epsilon + log1p(-1 / order)) - log(order));
}

int cns_rdp_of_rounds(const void *context, double order, double *ret_rdp) {
  const struct cns_rdp_rounds *rounds = context;
  double sum = 0;
  for (size_t i = 0; i < rounds->count; i++) {
    double one;
    int r = cns_rdp_round(&rounds->segments[i], rounds->relation, order, &one);
    if (r < 0) return r;
    sum += (double)rounds->segments[i].rounds * one;
  }
  /* Rounding up: a relative 1e-9 is more than any of the sums above loses. */
  *ret_rdp = sum * (1 + 1e-9);
  return 0;
}

static int try_order(const struct cns_rdp_curve *curve, bool wants_delta, double value, double order,
                     double *ret_answer) {
  double rdp;
  int r = curve->rdp(curve->context, order, &rdp);
  if (r == CNS_ERR_RANGE) { /* beyond doubles: this order says nothing */
    *ret_answer = wants_delta ? 0 : INFINITY;
    return 0;
  }
  if (r < 0) return r;
  *ret_answer = wants_delta ? cns_rdp_convert_delta(order, rdp, value) : cns_rdp_convert(order, rdp, value);
  return 0;
}

/* 1.1 to 10.9, then whole orders; the steps grow with the order. */
static size_t list_orders(double orders[static 200]) {
  size_t count = 0;
  orders[count++] = 1.02;
  orders[count++] = 1.05;
  for (int i = 11; i < 110; i++)
    orders[count++] = i / 10.0;
  for (int i = 11; i < 64; i++)
    orders[count++] = i;
  for (int order = 64; order <= 65536; order *= 2)
    orders[count++] = order;
  return count;
}

/* Golden section between two orders; any order gives a valid bound. */
static int search_between(const struct cns_rdp_curve *curve, bool wants_delta, double value, double low,
                          double high, double *best, double *best_order) {
  const double golden = 0.6180339887498949;
  for (int i = 0; i < 24 && high - low > 1e-4 * low; i++) {
    double a = high - golden * (high - low), b = low + golden * (high - low), at_a, at_b;
    int r = try_order(curve, wants_delta, value, a, &at_a);
    if (r == 0) r = try_order(curve, wants_delta, value, b, &at_b);
    if (r < 0) return r;
    if (fmin(at_a, at_b) < *best) {
      *best = fmin(at_a, at_b);
      *best_order = at_a < at_b ? a : b;
    }
    if (at_a < at_b)
      high = b;
    else
      low = a;
  }
  return 0;
}

int cns_rdp_best(const struct cns_rdp_curve *curve, bool wants_delta, double value, double *ret_answer,
                 double *ret_order) {
  double orders[200], best = INFINITY;
  size_t count = list_orders(orders), at = 0;
  /* Large orders take long; far above the best one they only get worse. */
  for (size_t i = 0; i < count && !(orders[i] > 64 && i > at + 5); i++) {
    double answer;
    int r = try_order(curve, wants_delta, value, orders[i], &answer);
    if (r < 0) return r;
    if (answer < best) {
      best = answer;
      at = i;
    }
  }
  if (!isfinite(best)) return CNS_ERR_RANGE;
  double order = orders[at], low = orders[at > 0 ? at - 1 : 0], high = orders[at + 1 < count ? at + 1 : at];
  int r = search_between(curve, wants_delta, value, low, high, &best, &order);
  if (r < 0) return r;
  *ret_answer = best;
  if (ret_order) *ret_order = order;
  return 0;
}
