/* SPDX-License-Identifier: Apache-2.0 */
/* The claim of docs/noise.md, "What is charged": noise of sqrt((z*S)^2 + 3) on the grid costs
 * no more than a continuous Gaussian of multiplier z. By sums over all values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "dp/mechanism.h"

/* Masses of N_Z(0, s2) from -reach to reach; free it. */
static long double *masses(long double s2, int reach) {
  long double *p = calloc(2 * (size_t)reach + 1, sizeof *p), all = 0;
  assert_non_null(p);
  for (int x = -reach; x <= reach; x++)
    all += p[x + reach] = expl(-(long double)x * x / (2 * s2));
  for (int x = -reach; x <= reach; x++)
    p[x + reach] /= all;
  return p;
}

static long double normal(long double t) {
  return erfcl(-t / sqrtl(2)) / 2;
}

/* Balle and Wang 2018, equation 6. */
static long double continuous_delta(long double epsilon, long double multiplier) {
  long double mu = 1 / multiplier;
  return normal(mu / 2 - epsilon / mu) - expl(epsilon) * normal(-mu / 2 - epsilon / mu);
}

/* Largest sum of P - e^epsilon Q over any set; Q is P moved by `shift`. */
static long double discrete_delta(const long double *p, int reach, int shift, long double epsilon) {
  long double sum = 0, factor = expl(epsilon);
  for (int x = -reach; x <= reach; x++) {
    long double q = abs(x - shift) <= reach ? p[x - shift + reach] : 0;
    long double more = p[x + reach] - factor * q;
    if (more > 0) sum += more;
  }
  return sum;
}

static size_t compared;
static long double nearest;

static void compare(const long double *p, int reach, int sigma, int shift, long double epsilon) {
  long double multiplier = sqrtl((long double)sigma * sigma - 3) / shift;
  long double discrete = discrete_delta(p, reach, shift, epsilon);
  long double continuous = continuous_delta(epsilon, multiplier);
  if (continuous < 1e-60L) return; /* what was cut off, and cancellation, are no longer small against it */
  compared++;
  nearest = fmaxl(nearest, discrete / continuous);
  if (discrete > continuous)
    fail_msg("sigma %d, shift %d, epsilon %.9Lg: delta %.17Lg is above %.17Lg", sigma, shift, epsilon,
             discrete, continuous);
}

/* At each loss that can occur, where the curve has its corners, and between them. */
static void compare_curve(int sigma, int shift) {
  int reach = 40 * sigma + shift;
  long double s2 = (long double)sigma * sigma, *p = masses(s2, reach);
  for (int x = -20 * sigma; x <= shift; x++) {
    long double corner = shift * (shift - 2.0L * x) / (2 * s2), step = shift / s2;
    for (int part = 0; part < 4; part++)
      if (corner + part * step / 4 >= 0) compare(p, reach, sigma, shift, corner + part * step / 4);
  }
  compare(p, reach, sigma, shift, 0);
  free(p);
}

static void it_costs_no_more_than_the_continuous_one(void **state) {
  (void)state;
  for (int shift = 1; shift <= 40; shift++)
    compare_curve(8, shift);
  for (int shift = 1; shift <= 100; shift += shift < 10 ? 1 : 9)
    compare_curve(20, shift);
  assert_true(compared > 20000);
  assert_true(nearest > 0.5L && nearest <= 1); /* what was compared is comparable */
}

/* Without the 3 it isn't always so: the test would see it. */
static void without_the_three_the_curve_is_above_somewhere(void **state) {
  (void)state;
  int sigma = 8, reach = 320, above = 0;
  long double *p = masses(64, reach);
  for (int k = 0; k < 400; k++)
    above += discrete_delta(p, reach, 1, k / 200.0L) > continuous_delta(k / 200.0L, sigma);
  assert_true(above > 0);
  free(p);
}

/* ---- the rounding itself ---- */

/* Rounding y to the whole number x with probability in proportion to exp(-(x-y)^2/(2 r2)). */
static long double rounded_to(long double y, int x, long double r2) {
  long double all = 0;
  int middle = (int)floorl(y);
  for (int k = -60; k <= 60; k++)
    all += expl(-(middle + k - y) * (middle + k - y) / (2 * r2));
  return expl(-(x - y) * (x - y) / (2 * r2)) / all;
}

/* Of y ~ N(0, v), rounded: mass of x. The trapezoidal rule, which is exact but for
 * exp(-2 pi^2 v 64^2) or so. */
static long double marginal(int x, long double v, long double r2) {
  long double sum = 0, h = 1.0L / 64, reach = 14 * sqrtl(v);
  long double pi = acosl(-1);
  for (long double y = -reach; y <= reach; y += h)
    sum += expl(-y * y / (2 * v)) * rounded_to(y, x, r2);
  return sum * h / sqrtl(2 * pi * v);
}

/* The ratio that the proof bounds, for rounding narrow enough to see something. */
static void a_rounded_gaussian_is_a_discrete_one(void **state) {
  static const long double widths[] = {0.2L, 0.3L, 0.5L, 1, 3};
  (void)state;
  long double pi = acosl(-1), s2 = 9;
  long double *p = masses(s2, 60);
  for (size_t k = 0; k < 5; k++) {
    long double r2 = widths[k], off = 0;
    long double e = 2 * (expl(-2 * pi * pi * r2) + expl(-8 * pi * pi * r2));
    for (int x = 0; x <= 9; x++)
      off = fmaxl(off, fabsl(marginal(x, s2 - r2, r2) / p[x + 60] - 1));
    assert_true(off <= e / (1 - e) + 1e-15L);
  }
  free(p);
}

/* What the page says of r^2 = 3. */
static void the_constant_of_the_page(void **state) {
  (void)state;
  long double pi = acosl(-1), e = 0;
  for (int k = 1; k < 5; k++)
    e += 2 * expl(-2 * pi * pi * 3 * k * k);
  assert_true(e < 2 * 2e-26L);
  /* Both neighbours, a coordinate: log((1+e)/(1-e)) to either side of the discrete one, whose own
   * sum over the grid is off by far less. */
  assert_true(2 * (e + e * e) * 1.001L < 8 * 2e-26L);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_costs_no_more_than_the_continuous_one),
      cmocka_unit_test(without_the_three_the_curve_is_above_somewhere),
      cmocka_unit_test(a_rounded_gaussian_is_a_discrete_one),
      cmocka_unit_test(the_constant_of_the_page),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
