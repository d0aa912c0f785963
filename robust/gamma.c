/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/gamma.h"

#include <math.h>

#define TERMS_MAX 100000
#define PRECISION 1e-16

/* x^a e^-x / Gamma(a) */
static double front(double a, double x) {
  int sign;
  return exp(a * log(x) - x - lgamma_r(a, &sign));
}

/* Abramowitz, Stegun 6.5.29: P = front * sum of x^n / (a (a+1) ... (a+n)). */
static double lower_by_series(double a, double x) {
  double term = 1 / a, sum = term;
  for (int n = 1; n < TERMS_MAX && term > sum * PRECISION; n++) {
    term *= x / (a + n);
    sum += term;
  }
  return front(a, x) * sum;
}

/* Abramowitz, Stegun 6.5.31, evaluated by Lentz's method: for x > a + 1. */
static double upper_by_fraction(double a, double x) {
  const double tiny = 1e-300;
  double b = x + 1 - a, c = 1 / tiny, d = 1 / b, h = d;
  for (int n = 1; n < TERMS_MAX; n++) {
    double an = n * (a - n);
    b += 2;
    d = an * d + b;
    c = b + an / c;
    if (fabs(d) < tiny) d = tiny;
    if (fabs(c) < tiny) c = tiny;
    d = 1 / d;
    double step = d * c;
    h *= step;
    if (fabs(step - 1) < PRECISION) break;
  }
  return front(a, x) * h;
}

double cns_gamma_upper(double a, double x) {
  if (!(x > 0)) return 1;
  return x < a + 1 ? 1 - lower_by_series(a, x) : upper_by_fraction(a, x);
}
