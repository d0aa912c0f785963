/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both samplers draw, against the exact mass function (summed here in double, or the
 * normal distribution's where sigma is so large that they agree to 1e-8). Seeds are fixed; a
 * sound sampler with another seed fails one of these tests with probability below 1e-6: each has
 * 126 comparisons at the most, at 5.8 standard deviations (7e-9, two-sided).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dp/discrete_gaussian.h"

#define SEED 21
#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])
#define Z_MAX 5.8
#define FAST_COUNT ((size_t)1 << 21)
#define EXACT_COUNT ((size_t)1 << 16)
#define WIDE_SIGMA 2000

/* Either sampler, as sigma^2 = num/den. */
struct subject {
  uint64_t num, den;
  bool exact;
};

static const uint64_t variances[][2] = {{1, 4},     {1, 1},           {9, 1},
                                        {64, 1},    {25281, 100},     {25921, 100},
                                        {10000, 1}, {3810345984, 25}, {UINT64_C(1) << 44, 1}};

static int64_t *samples;
static struct cns_rng_seeded generator;

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "discrete gaussian");
  samples = calloc(FAST_COUNT, sizeof *samples);
  return samples ? 0 : -1;
}

static int teardown(void **state) {
  free(samples);
  return 0;
}

static double sigma_of(const struct subject *subject) {
  return sqrt((double)subject->num / (double)subject->den);
}

static size_t draw(const struct subject *subject) {
  const struct cns_rng rng = cns_rng_seeded(&generator);
  if (subject->exact) {
    assert_int_equal(cns_discrete_gaussian_exact(subject->num, subject->den, rng, samples, EXACT_COUNT), 0);
    return EXACT_COUNT;
  }
  struct cns_discrete_gaussian *sampler = NULL;
  assert_int_equal(cns_discrete_gaussian_new(sigma_of(subject), &sampler, NULL), 0);
  assert_int_equal(cns_discrete_gaussian_fill(sampler, rng, samples, FAST_COUNT), 0);
  cns_discrete_gaussian_free(sampler);
  return FAST_COUNT;
}

/* Runs the check for both samplers and each variance. */
static void for_all(void (*check)(const struct subject *subject, size_t count)) {
  for (size_t k = 0; k < 2 * LENGTH_OF(variances); k++) {
    const uint64_t *variance = variances[k / 2];
    const struct subject subject = {variance[0], variance[1], k % 2};
    check(&subject, draw(&subject));
  }
}

static double normalisation(double sigma) {
  double total = 1;
  for (double x = 1; x < 40 * sigma + 20; x++)
    total += 2 * exp(-x * x / (2 * sigma * sigma));
  return total;
}

/* P(first <= X <= last). */
static double probability(double sigma, double total, int64_t first, int64_t last) {
  if (sigma > WIDE_SIGMA) {
    const double scale = sigma * M_SQRT2;
    return (erfc(((double)first - 0.5) / scale) - erfc(((double)last + 0.5) / scale)) / 2;
  }
  double sum = 0;
  for (int64_t x = first; x <= last; x++)
    sum += exp(-(double)x * (double)x / (2 * sigma * sigma));
  return sum / total;
}

static void report(const struct subject *subject, const char *what, double z) {
  if (fabs(z) > Z_MAX)
    print_message("# seed %d, sigma^2 = %llu/%llu, %s: %s is %.2f standard deviations off\n", SEED,
                  (unsigned long long)subject->num, (unsigned long long)subject->den,
                  subject->exact ? "exact" : "fast", what, z);
  assert_true(fabs(z) <= Z_MAX);
}

/* Wilson and Hilferty 1931. */
static double chi_square_z(double chi_square, double degrees) {
  const double v = 2 / (9 * degrees);
  return (cbrt(chi_square / degrees) - (1 - v)) / sqrt(v);
}

enum { CELLS_MAX = 200 };

/* Cells of equal width out to four sigma, where the outer two take the tails; neighbours are
 * merged until twenty are expected. */
static void check_chi_square(const struct subject *subject, size_t count) {
  const double sigma = sigma_of(subject), total = normalisation(sigma > WIDE_SIGMA ? 1 : sigma);
  const int64_t width = (int64_t)ceil(sigma / 16), half = (int64_t)ceil(4 * sigma / (double)width);
  const int64_t cells = 2 * half + 1, reach = half * width + width / 2;
  static size_t observed[CELLS_MAX];
  assert_true(cells <= CELLS_MAX);
  memset(observed, 0, sizeof observed);
  for (size_t k = 0; k < count; k++) {
    const int64_t place = samples[k] + reach < 0 ? 0 : (samples[k] + reach) / width;
    observed[place < cells ? place : cells - 1]++;
  }
  double chi_square = 0, degrees = -1, expected = 0, found = 0;
  for (int64_t c = 0; c < cells; c++) {
    const int64_t first = c * width - reach,
                  last = c == cells - 1 ? reach + (int64_t)(30 * sigma + 20) : first + width - 1;
    expected +=
        (double)count * probability(sigma, total, c == 0 ? first - (int64_t)(30 * sigma + 20) : first, last);
    found += (double)observed[c];
    if (expected < 20 && c < cells - 1) continue;
    chi_square += (found - expected) * (found - expected) / expected;
    degrees++;
    expected = found = 0;
  }
  report(subject, "chi-square", chi_square_z(chi_square, degrees));
}

static void both_fit_the_mass_function(void **state) {
  for_all(check_chi_square);
}

/* Standard deviations off of a count, or of a Poisson variable with this mean as far out in the
 * tail where the mean is small. */
static double count_z(double count, double mean) {
  if (mean > 400) return (count - mean) / sqrt(mean);
  double below = 0, term = exp(-mean);
  for (double k = 0; k < count; k++, term *= mean / k)
    below += term;
  const double tail = fmin(below + term, 1 - below);
  return tail < 7e-9 / 2 ? INFINITY : 0;
}

/* How many are beyond t standard deviations. */
static void check_tails(const struct subject *subject, size_t count) {
  const double sigma = sigma_of(subject), total = normalisation(sigma > WIDE_SIGMA ? 1 : sigma);
  for (int t = 1; t <= 5; t++) {
    const int64_t edge = (int64_t)floor(t * sigma) + 1;
    double beyond = 0;
    for (size_t k = 0; k < count; k++)
      beyond += llabs(samples[k]) >= edge;
    const double p = 2 * probability(sigma, total, edge, edge + (int64_t)(30 * sigma + 20));
    report(subject, "a tail",
           p > 0.1 ? (beyond - (double)count * p) / sqrt((double)count * p * (1 - p))
                   : count_z(beyond, (double)count * p));
  }
}

static void both_fit_in_the_tails(void **state) {
  for_all(check_tails);
}

/* Variance and fourth moment of the mass function, or of the normal distribution. */
static void moments(double sigma, double *ret_variance, double *ret_fourth) {
  *ret_variance = sigma * sigma;
  *ret_fourth = 3 * *ret_variance * *ret_variance;
  if (sigma > WIDE_SIGMA) return;
  const double total = normalisation(sigma);
  double second = 0, fourth = 0;
  for (double x = 1; x < 40 * sigma + 20; x++) {
    const double p = 2 * exp(-x * x / (2 * sigma * sigma)) / total;
    second += x * x * p;
    fourth += x * x * x * x * p;
  }
  *ret_variance = second;
  *ret_fourth = fourth;
}

/* Mean, variance, and neighbours that have nothing to do with each other: next to each other, in
 * the same lane of the next block, and of the next batch. */
static void check_moments(const struct subject *subject, size_t count) {
  static const size_t lags[] = {1, 16, 32, 64, 512};
  double variance, fourth, sum = 0, squares = 0;
  moments(sigma_of(subject), &variance, &fourth);
  for (size_t k = 0; k < count; k++) {
    sum += (double)samples[k];
    squares += (double)samples[k] * (double)samples[k];
  }
  const double n = (double)count;
  report(subject, "the mean", sum / sqrt(n * variance));
  report(subject, "the variance", (squares - n * variance) / sqrt(n * (fourth - variance * variance)));
  for (size_t i = 0; i < LENGTH_OF(lags); i++) {
    double product = 0;
    for (size_t k = lags[i]; k < count; k++)
      product += (double)samples[k] * (double)samples[k - lags[i]];
    report(subject, "a correlation", product / (sqrt(n - (double)lags[i]) * variance));
  }
}

static void both_have_the_moments(void **state) {
  for_all(check_moments);
}

static void check_signs(const struct subject *subject, size_t count) {
  double plus = 0, minus = 0;
  for (size_t k = 0; k < count; k++) {
    plus += samples[k] > 0;
    minus += samples[k] < 0;
  }
  report(subject, "the sign", (plus - minus) / sqrt(plus + minus));
}

static void signs_are_even(void **state) {
  for_all(check_signs);
}

/* sigma = 0.5 gives a variance of 0.21501, not of 0.25. */
static void variance_is_below_that_of_the_normal(void **state) {
  double variance, fourth;
  moments(0.5, &variance, &fourth);
  assert_true(fabs(variance - 0.21501267508813848) < 1e-14);
  for (int exact = 0; exact < 2; exact++) {
    const struct subject subject = {1, 4, exact};
    const size_t count = draw(&subject);
    double squares = 0;
    for (size_t k = 0; k < count; k++)
      squares += (double)(samples[k] * samples[k]);
    assert_true(fabs(squares / (double)count - 0.21501) < 0.01);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_fit_the_mass_function),
      cmocka_unit_test(both_fit_in_the_tails),
      cmocka_unit_test(both_have_the_moments),
      cmocka_unit_test(signs_are_even),
      cmocka_unit_test(variance_is_below_that_of_the_normal),
  };
  print_message("# seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, teardown);
}
