/* SPDX-License-Identifier: Apache-2.0 */
/* The clip norm's rule against the paper's formula and on streams whose quantiles are
 * known; what the indicator does to a mechanism's numbers, against long doubles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "crypto/rng.h"
#include "dp/adaptive_clip.h"
#include "dp/discrete_gaussian.h"
#include "dp/grid.h"
#include "dp/mechanism.h"

#define SEED 20271

static struct cns_rng_seeded generator;

static uint64_t below(uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), bound, &value), 0);
  return value;
}

static double uniform(void) {
  return ((double)below(UINT64_C(1) << 53) + 0.5) * 0x1p-53;
}

static void expect(bool holds, const char *what) {
  if (!holds) fail_msg("seed %d: %s", SEED, what);
}

static const struct cns_adaptive_clip median = {
    .quantile = 0.5, .rate = 0.2, .share = 0.05, .min = 0.01, .max = 100};

/* C * exp(-eta (b - gamma)) in decimals, by another program's exponential function. */
static void the_rule_is_the_papers(void **state) {
  static const struct {
    double norm, rate, quantile, fraction, next;
  } cases[] = {
      {1, 0.2, 0.5, 0.8, 0.941764533584249},
      {1, 0.2, 0.5, 0.2, 1.06183654654536},
      {2, 0.2, 0.5, 0.5, 2},
      {3.5, 0.3, 0.9, 0, 4.58487557756637},
      {3.5, 0.3, 0.9, 1, 3.39655936741978},
      {0.7, 1, 0.1, 0.35, 0.545160548149983},
      {10, 0.05, 0.25, 0.75, 9.75309912028333},
  };
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
    struct cns_adaptive_clip a = median;
    a.rate = cases[k].rate;
    a.quantile = cases[k].quantile;
    double next = cns_adaptive_clip_next(&a, cases[k].norm, cases[k].fraction);
    if (fabs(next / cases[k].next - 1) > 1e-14) fail_msg("case %zu: %.15g", k, next);
    assert_true(cns_adaptive_clip_is_next(&a, cases[k].norm, cases[k].fraction, next));
    assert_true(cns_adaptive_clip_is_next(&a, cases[k].norm, cases[k].fraction, next * (1 + 4e-16)));
    assert_false(cns_adaptive_clip_is_next(&a, cases[k].norm, cases[k].fraction, next * (1 + 1e-11)));
    assert_false(cns_adaptive_clip_is_next(&a, cases[k].norm, cases[k].fraction, NAN));
  }
}

/* 30 of 40 patients within: 20 halves more, of 7 steps. */
static void the_fraction_is_of_the_expected_number(void **state) {
  (void)state;
  assert_true(cns_adaptive_clip_fraction(20 * 7, 7, 40) == 0.75);
  assert_true(cns_adaptive_clip_fraction(-40 * 7, 7, 40) == 0);
  assert_true(cns_adaptive_clip_fraction(0, 7, 40) == 0.5);
  assert_true(cns_adaptive_clip_fraction(-60 * 7, 7, 40) < 0);
}

static void whatever_is_released_the_bounds_hold(void **state) {
  static const double fractions[] = {-1e300, -3, 0, 0.5, 1, 1e300, INFINITY, -INFINITY, NAN};
  (void)state;
  for (size_t k = 0; k < sizeof fractions / sizeof fractions[0]; k++) {
    double next = cns_adaptive_clip_next(&median, 1, fractions[k]);
    assert_true(next >= exp(-0.1) * (1 - 1e-15) && next <= exp(0.1) * (1 + 1e-15));
    assert_true(cns_adaptive_clip_next(&median, median.max, fractions[k]) <= median.max);
    assert_true(cns_adaptive_clip_next(&median, median.min, fractions[k]) >= median.min);
  }
  assert_true(cns_adaptive_clip_next(&median, 1, NAN) == 1);
  /* Beyond a bound nothing is the next norm, whatever follows from the rule. */
  assert_true(cns_adaptive_clip_is_next(&median, median.max, 0, median.max));
  assert_false(cns_adaptive_clip_is_next(&median, median.max, 0, nextafter(median.max, INFINITY)));
  assert_false(cns_adaptive_clip_is_next(&median, median.min, 1, nextafter(median.min, 0)));
}

/* ---- a stream ---- */

enum { PATIENTS = 800, ROUNDS = 700, SETTLED = 300 };
#define STREAM_RATE 0.25
#define STREAM_Z 1.5

/* Patients' norms have the density of exp(normal); their distribution function is known. */
static double lognormal(void) {
  return exp(sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()));
}

static double within(double norm) {
  return 0.5 * erfc(-log(norm) / M_SQRT2);
}

/* The integer count of one round: a for each sampled patient within, -a for each beyond. */
static int64_t count_round(const double *norms, double clip, int64_t a) {
  int64_t sum = 0;
  for (size_t p = 0; p < PATIENTS; p++)
    if (uniform() < STREAM_RATE) sum += norms[p] <= clip ? a : -a;
  return sum;
}

/* From far away, with the noise of a round: how large a share of the norms is within the
 * clip norms of the settled rounds on average. */
static double follow(const struct cns_adaptive_clip *a, double start) {
  struct cns_discrete_gaussian *noise = NULL;
  double norms[PATIENTS], clip = start, mean = 0;
  const uint64_t unit = 1000;
  for (size_t p = 0; p < PATIENTS; p++)
    norms[p] = lognormal();
  assert_int_equal(cns_discrete_gaussian_new(STREAM_Z / sqrt(a->share) * (double)unit, &noise, NULL), 0);
  for (size_t round = 0; round < ROUNDS; round++) {
    int64_t drawn;
    assert_int_equal(cns_discrete_gaussian_fill(noise, cns_rng_seeded(&generator), &drawn, 1), 0);
    int64_t released = count_round(norms, clip, (int64_t)unit) + drawn;
    clip =
        cns_adaptive_clip_next(a, clip, cns_adaptive_clip_fraction(released, unit, STREAM_RATE * PATIENTS));
    if (round >= ROUNDS - SETTLED) mean += within(clip) / SETTLED;
  }
  cns_discrete_gaussian_free(noise);
  return mean;
}

static void it_converges_to_the_quantile(void **state) {
  static const double quantiles[] = {0.2, 0.5, 0.9};
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "stream");
  for (size_t q = 0; q < 3; q++)
    for (int far = 0; far < 2; far++) {
      struct cns_adaptive_clip a = median;
      a.quantile = quantiles[q];
      double reached = follow(&a, far ? a.max : a.min);
      /* 800 norms have the quantile to within 0.018 (one deviation); the clip norm swings around it. */
      if (fabs(reached - a.quantile) > 0.06)
        fail_msg("seed %d: quantile %g, reached %g", SEED, a.quantile, reached);
    }
}

/* ---- the mechanism ---- */

static uint32_t weights[200];

static struct cns_mechanism draw(double share) {
  struct cns_mechanism m = {.unit = CNS_UNIT_PATIENT,
                            .placement = below(2) ? CNS_NOISE_DISTRIBUTED : CNS_NOISE_CENTRAL,
                            .weights = weights,
                            .count = 4 + below(60),
                            .dim = 2 + below(1u << 20),
                            .clip = ldexp(1 + uniform(), (int)below(20) - 10),
                            .noise_multiplier = 0.5 + 4 * uniform(),
                            .sampling_rate = 0.01 + 0.99 * uniform(),
                            .colluders = 1,
                            .minimum_included = 3,
                            .indicator_share = share};
  for (size_t k = 0; k < m.count; k++)
    weights[k] = (uint32_t)(1 + below(2000));
  return m;
}

/* S^2 >= S_g^2 + a^2 in whole numbers, and less than a step more. */
static void check_joint(const struct cns_mechanism_numbers *n, uint64_t gradient) {
  cns_grid_squares squares =
      (cns_grid_squares)gradient * gradient + (cns_grid_squares)n->indicator * n->indicator;
  cns_grid_squares s = n->sensitivity;
  expect(s * s >= squares && (s - 1) * (s - 1) < squares, "the joint sensitivity");
}

/* Of one round: theorem 1 of the paper, with what the noise really is. */
static void check_shares(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                         uint64_t gradient) {
  double w = m->indicator_share, near = 3.0 / (double)n->indicator + 1e-4;
  double z_delta = n->sigma / (double)gradient, sigma_b = n->sigma / (2 * (double)n->indicator);
  expect(z_delta >= m->noise_multiplier / sqrt(1 - w) * (1 - near), "noise of the gradients, at least");
  expect(fabs(z_delta / (m->noise_multiplier / sqrt(1 - w)) - 1) < near, "noise of the gradients");
  expect(fabs(sigma_b / (m->noise_multiplier / (2 * sqrt(w))) - 1) < near, "noise of the count");
  double z = 1 / sqrt(1 / (z_delta * z_delta) + 1 / (4 * sigma_b * sigma_b));
  expect(z >= m->noise_multiplier && z < m->noise_multiplier * (1 + near), "z of both together");
}

static void the_numbers_are_of_one_vector(void **state) {
  static const double shares[] = {0.5, 0.05, 0.001, 1e-6};
  size_t passed = 0;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "mechanisms");
  for (size_t i = 0; i < 400; i++) {
    struct cns_mechanism m = draw(shares[i % 4]);
    struct cns_mechanism_numbers n, fixed;
    struct cns_problem problem = {0};
    int8_t scale;
    if (cns_mechanism_choose_scale(&m, &scale, &problem)) continue;
    m.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&m, &n, &problem), 0);
    struct cns_mechanism plain = m;
    plain.indicator_share = 0;
    plain.dim--;
    assert_int_equal(cns_mechanism_compute(&plain, &fixed, &problem), 0);
    expect(n.indicator > 0 && fixed.indicator == 0 && n.sensitivity > fixed.sensitivity, "an indicator");
    check_joint(&n, fixed.sensitivity);
    check_shares(&m, &n, fixed.sensitivity);
    uint64_t theta, gradients;
    assert_int_equal(cns_mechanism_theta(&m, weights[0], &theta), 0);
    assert_int_equal(cns_mechanism_theta(&plain, weights[0], &gradients), 0);
    long double count = (long double)n.indicator * cns_mechanism_patients(&m, weights[0]);
    long double exact = sqrtl((long double)gradients * gradients + count * count);
    expect((long double)theta >= exact * (1 - 1e-18L) && (long double)theta <= exact + 1, "theta");
    expect(cns_mechanism_extra_delta(&m) > cns_mechanism_extra_delta(&plain), "one more sample");
    passed++;
  }
  if (passed < 200) fail_msg("seed %d: only %zu cohorts had a scale", SEED, passed);
}

/* The noise is z times the sensitivity whatever the clip norm is, so that what a round
 * costs doesn't depend on earlier ones. */
static void z_stays_what_it_is(void **state) {
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "z");
  struct cns_mechanism m = draw(0.05);
  m.count = 5;
  m.placement = CNS_NOISE_DISTRIBUTED;
  for (int k = 0; k < 300; k++) {
    struct cns_mechanism_numbers n;
    struct cns_problem problem = {0};
    int8_t scale;
    m.clip = 1e-4 * exp(0.05 * k);
    if (cns_mechanism_choose_scale(&m, &scale, &problem)) fail_msg("seed %d: %s", SEED, problem.text);
    m.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&m, &n, &problem), 0);
    expect(n.sigma * n.sigma - 3 >= m.noise_multiplier * m.noise_multiplier * (double)n.sensitivity *
                                        (double)n.sensitivity * (1 - 1e-15),
           "sigma");
    expect(n.sigma_local * n.sigma_local * 2 >= n.sigma * n.sigma * (1 - 1e-15), "shares");
  }
}

static void refuse(struct cns_mechanism m, const char *sentence) {
  struct cns_problem problem = {0};
  int8_t scale;
  assert_int_equal(cns_mechanism_choose_scale(&m, &scale, &problem), CNS_ERR_RANGE);
  if (!strstr(problem.text, sentence)) fail_msg("'%s'", problem.text);
}

static void what_has_no_indicator_is_refused(void **state) {
  (void)state;
  struct cns_mechanism m = draw(0.05), wrong = m;
  wrong.indicator_share = 0.51;
  refuse(wrong, "the share of the indicator");
  wrong.indicator_share = -0.05;
  refuse(wrong, "the share of the indicator");
  wrong.indicator_share = NAN;
  refuse(wrong, "the share of the indicator");
  wrong = m;
  wrong.dim = 1;
  refuse(wrong, "the share of the indicator");
  wrong = m;
  wrong.unit = CNS_UNIT_HOSPITAL;
  wrong.sampling_rate = 1;
  refuse(wrong, "the share of the indicator");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_rule_is_the_papers),
      cmocka_unit_test(the_fraction_is_of_the_expected_number),
      cmocka_unit_test(whatever_is_released_the_bounds_hold),
      cmocka_unit_test(it_converges_to_the_quantile),
      cmocka_unit_test(the_numbers_are_of_one_vector),
      cmocka_unit_test(z_stays_what_it_is),
      cmocka_unit_test(what_has_no_indicator_is_refused),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
