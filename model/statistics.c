/* SPDX-License-Identifier: Apache-2.0 */
#include "model/statistics.h"

#include <math.h>

#define TERMS_MAX 100000
#define TINY 1e-300

/* Lentz's method; converges fast where x < (a+1)/(a+b+2). */
static double continued_fraction(double a, double b, double x) {
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  if (fabs(d) < TINY) d = TINY;
  d = 1 / d;
  double value = d;
  for (int m = 1; m < TERMS_MAX; m++) {
    double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double last = value;
    const double terms[] = {even, odd};
    for (int k = 0; k < 2; k++) {
      d = 1 + terms[k] * d;
      c = 1 + terms[k] / c;
      d = 1 / (fabs(d) < TINY ? TINY : d);
      if (fabs(c) < TINY) c = TINY;
      value *= c * d;
    }
    if (fabs(value - last) <= 1e-14 * fabs(value)) break;
  }
  return value;
}

double cns_statistics_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * continued_fraction(a, b, x) / a;
  return 1 - front * continued_fraction(b, a, 1 - x) / b;
}

static double student_below(double t, double freedom) {
  double tail = cns_statistics_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2;
  return t < 0 ? tail : 1 - tail;
}

double cns_statistics_student(double p, double freedom) {
  double low = -1e6, high = 1e6;
  for (int k = 0; k < 100; k++) {
    double middle = (low + high) / 2;
    if (student_below(middle, freedom) < p)
      low = middle;
    else
      high = middle;
  }
  return high;
}

struct cns_statistics_interval cns_statistics_difference(const double *a, const double *b, size_t count) {
  double sum = 0, squares = 0, n = (double)count;
  for (size_t k = 0; k < count; k++)
    sum += a[k] - (b ? b[k] : 0);
  double mean = sum / n;
  for (size_t k = 0; k < count; k++) {
    double off = a[k] - (b ? b[k] : 0) - mean;
    squares += off * off;
  }
  if (count < 2) return (struct cns_statistics_interval){mean, NAN, NAN};
  double reach = cns_statistics_student(0.975, n - 1) * sqrt(squares / (n - 1) / n);
  return (struct cns_statistics_interval){mean, mean - reach, mean + reach};
}

struct cns_statistics_interval cns_statistics_mean(const double *values, size_t count) {
  return cns_statistics_difference(values, NULL, count);
}

/* The x with I_x(a, b) = p. */
static double beta_quantile(double a, double b, double p) {
  double low = 0, high = 1;
  for (int k = 0; k < 80; k++) {
    double middle = (low + high) / 2;
    if (cns_statistics_beta(a, b, middle) < p)
      low = middle;
    else
      high = middle;
  }
  return (low + high) / 2;
}

double cns_statistics_proportion_low(size_t hits, size_t count, double alpha) {
  if (hits == 0) return 0;
  return beta_quantile((double)hits, (double)(count - hits) + 1, alpha);
}

double cns_statistics_proportion_high(size_t hits, size_t count, double alpha) {
  return 1 - cns_statistics_proportion_low(count - hits, count, alpha);
}
