/* SPDX-License-Identifier: Apache-2.0 */
/* Noised metrics: a patient's whole numbers, what is estimated from sums of them, and the
 * mechanism's numbers in whole numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/rng.h"
#include "dp/adaptive_clip.h"
#include "dp/grid.h"
#include "dp/mechanism.h"
#include "dp/noised_metrics.h"

#define SEED 20282

static struct cns_rng_seeded generator;

static uint64_t below(uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), bound, &value), 0);
  return value;
}

static double uniform(void) {
  return (double)below(1u << 30) / 0x1p30;
}

static void expect(bool good, const char *what) {
  if (!good) fail_msg("seed %d: %s", SEED, what);
}

/* ---- one patient ---- */

static void a_patient_is_within_the_unit(void **state) {
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "patients");
  for (int i = 0; i < 20000; i++) {
    uint64_t h = 1 + below(UINT64_C(1) << (1 + below(31)));
    double loss_max = CNS_NOISED_METRICS_LOSS_MIN + 100 * uniform() * uniform();
    double loss = loss_max * (1.2 * uniform() - 0.1);
    int64_t x = cns_noised_metrics_loss_steps(loss_max, h, loss);
    double exact = (double)h * (2 * fmin(fmax(loss, 0), loss_max) / loss_max - 1);
    expect(llabs(x) <= (int64_t)h, "beyond the unit");
    expect(fabs((double)x - exact) <= 0.5 + 1e-6, "the nearest step");
    size_t rows = 1 + below(50), right = below(rows + 1);
    int64_t y = cns_noised_metrics_right_steps(h, right, rows);
    expect(llabs(y) <= (int64_t)h, "beyond the unit");
    expect(fabs((double)y - (double)h * (2 * (double)right / (double)rows - 1)) <= 0.5 + 1e-6, "nearest");
  }
}

static void the_ends_are_exact(void **state) {
  static const double losses[] = {0.01, 0.1, 0.3, 0.69314718055994529, 2, 5.7, 100};
  (void)state;
  for (size_t k = 0; k < sizeof losses / sizeof losses[0]; k++)
    for (uint64_t h = 1; h < 3000; h = 3 * h + 1) {
      double l = losses[k];
      int64_t most = (int64_t)h;
      assert_true(cns_noised_metrics_loss_steps(l, h, l) == most);
      assert_true(cns_noised_metrics_loss_steps(l, h, nextafter(l, 200)) == most);
      assert_true(cns_noised_metrics_loss_steps(l, h, 1e300) == most);
      assert_true(cns_noised_metrics_loss_steps(l, h, INFINITY) == most);
      assert_true(cns_noised_metrics_loss_steps(l, h, NAN) == most);
      assert_true(cns_noised_metrics_loss_steps(l, h, 0) == -most);
      assert_true(cns_noised_metrics_loss_steps(l, h, -1e-9) == -most);
      assert_true(cns_noised_metrics_loss_steps(l, h, -INFINITY) == -most);
      assert_true(cns_noised_metrics_right_steps(h, 0, 7) == -most);
      assert_true(cns_noised_metrics_right_steps(h, 7, 7) == most);
      assert_true(cns_noised_metrics_right_steps(h, 3, 6) == 0);
    }
}

/* ---- estimates ---- */

static void estimates_are_means_over_the_expected_number(void **state) {
  struct cns_noised_metrics_estimate e, other;
  (void)state;
  /* 10 of 40 patients are expected and take part: losses 0.5 of at most 2, 9 are right. */
  const struct cns_noised_metrics_sums sums = {.loss = -5000, .right = 8000, .unit = 1000, .sigma = 500};
  cns_noised_metrics_estimate(2, &sums, 10, &e);
  assert_true(fabs(e.loss - 0.5) < 1e-15 && fabs(e.accuracy - 0.9) < 1e-15);
  assert_true(fabs(e.loss_error - 0.05) < 1e-15 && fabs(e.accuracy_error - 0.025) < 1e-15);
  assert_true(cns_noised_metrics_agree(&e, &e));
  for (int k = 0; k < 4; k++) {
    double *field[] = {&other.loss, &other.loss_error, &other.accuracy, &other.accuracy_error};
    other = e;
    *field[k] *= 1 + 1e-14;
    assert_true(cns_noised_metrics_agree(&e, &other));
    *field[k] *= 1 + 1e-10;
    assert_false(cns_noised_metrics_agree(&e, &other));
    *field[k] = NAN;
    assert_false(cns_noised_metrics_agree(&e, &other));
  }
  /* Behind noise they may be where no loss is, and are left there. */
  const struct cns_noised_metrics_sums far = {.loss = -20000, .right = 20000, .unit = 1000, .sigma = 5000};
  cns_noised_metrics_estimate(2, &far, 10, &e);
  assert_true(e.loss == -1 && e.accuracy == 1.5);
}

/* ---- the mechanism ---- */

static uint32_t weights[200];

static struct cns_mechanism draw(double indicator, double metrics) {
  struct cns_mechanism m = {.unit = CNS_UNIT_PATIENT,
                            .placement = below(2) ? CNS_NOISE_DISTRIBUTED : CNS_NOISE_CENTRAL,
                            .weights = weights,
                            .count = 4 + below(60),
                            .dim = 4 + below(1u << 20),
                            .clip = ldexp(1 + uniform(), (int)below(20) - 10),
                            .noise_multiplier = 0.5 + 4 * uniform(),
                            .sampling_rate = 0.01 + 0.99 * uniform(),
                            .colluders = 1,
                            .minimum_included = 3,
                            .indicator_share = indicator,
                            .metrics_share = metrics};
  for (size_t k = 0; k < m.count; k++)
    weights[k] = (uint32_t)(1 + below(2000));
  return m;
}

/* S_g of the gradients alone, on the same grid. */
static struct cns_mechanism gradients_of(const struct cns_mechanism *m) {
  struct cns_mechanism plain = *m;
  plain.indicator_share = plain.metrics_share = 0;
  plain.dim -= cns_mechanism_extras(m);
  return plain;
}

static void check_joint(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                        const struct cns_mechanism_numbers *plain) {
  cns_grid_squares g = plain->sensitivity, a = n->indicator, h = n->metric, s = n->sensitivity;
  cns_grid_squares others = g * g + a * a, squares = others + 2 * h * h;
  expect(s * s >= squares && (s - 1) * (s - 1) < squares, "the joint sensitivity");
  /* b = floor(S_0 sqrt(v/(1-v))), S_0 = ceil(sqrt(others)), and h^2 <= b^2/2 < (h+1)^2 */
  long double v = m->metrics_share, s0 = ceill(sqrtl((long double)others) * (1 - 1e-18L));
  long double b = floorl(s0 * sqrtl(v / (1 - v)));
  expect((long double)(2 * h * h) <= (b + 1) * (b + 1), "h at most");
  expect((long double)(2 * (h + 1) * (h + 1)) > (b - 1) * (b - 1), "h at least");
}

/* 1/z^2 is shared out: v to the metrics, the rest to all other numbers. */
static void check_shares(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                         const struct cns_mechanism_numbers *plain) {
  double v = m->metrics_share, h = (double)n->metric, g = (double)plain->sensitivity,
         a = (double)n->indicator, near = 4 / h + 1e-4;
  double others = n->sigma / sqrt(g * g + a * a), metrics = n->sigma / (sqrt(2) * h);
  expect(fabs(others / (m->noise_multiplier / sqrt(1 - v)) - 1) < near, "noise of the others");
  expect(fabs(metrics / (m->noise_multiplier / sqrt(v)) - 1) < near, "noise of the metrics");
  double z = 1 / sqrt(1 / (others * others) + 1 / (metrics * metrics));
  expect(z >= m->noise_multiplier * (1 - 1e-12), "z of both together");
}

static void the_numbers_are_of_one_vector(void **state) {
  static const double shares[] = {0.5, 0.05, 0.001, 1e-5};
  size_t passed = 0;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "mechanisms");
  for (size_t i = 0; i < 400; i++) {
    struct cns_mechanism m = draw(i % 2 ? 0.05 : 0, shares[i / 2 % 4]);
    struct cns_mechanism_numbers n, fixed;
    struct cns_problem problem = {0};
    int8_t scale;
    if (cns_mechanism_choose_scale(&m, &scale, &problem)) continue;
    m.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&m, &n, &problem), 0);
    struct cns_mechanism plain = gradients_of(&m);
    assert_int_equal(cns_mechanism_compute(&plain, &fixed, &problem), 0);
    expect(n.metric >= CNS_MECHANISM_METRIC_MIN && fixed.metric == 0, "a unit");
    expect(cns_mechanism_extras(&m) == (i % 2 ? 3 : 2), "extra numbers");
    check_joint(&m, &n, &fixed);
    check_shares(&m, &n, &fixed);
    uint64_t theta, gradients;
    assert_int_equal(cns_mechanism_theta(&m, weights[0], &theta), 0);
    assert_int_equal(cns_mechanism_theta(&plain, weights[0], &gradients), 0);
    long double p = cns_mechanism_patients(&m, weights[0]), a = (long double)n.indicator * p,
                h = (long double)n.metric * p;
    long double exact = sqrtl((long double)gradients * gradients + a * a + 2 * h * h);
    expect((long double)theta >= exact * (1 - 1e-18L) && (long double)theta <= exact + 1, "theta");
    expect(cns_mechanism_extra_delta(&m) > cns_mechanism_extra_delta(&plain), "more samples");
    passed++;
  }
  if (passed < 150) fail_msg("seed %d: only %zu cohorts had a scale", SEED, passed);
}

static void refuse(struct cns_mechanism m, const char *sentence) {
  struct cns_problem problem = {0};
  int8_t scale;
  assert_int_equal(cns_mechanism_choose_scale(&m, &scale, &problem), CNS_ERR_RANGE);
  if (!strstr(problem.text, sentence)) fail_msg("'%s'", problem.text);
}

static void what_has_no_metrics_is_refused(void **state) {
  static const double shares[] = {0.51, -0.05, NAN, 1e-7};
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "refused");
  struct cns_mechanism m = draw(0, 0.05), wrong = m;
  for (size_t k = 0; k < 4; k++) {
    wrong.metrics_share = shares[k];
    refuse(wrong, "the share of noised metrics");
  }
  wrong = m;
  wrong.dim = 2;
  refuse(wrong, "the share of noised metrics");
  wrong = m;
  wrong.unit = CNS_UNIT_HOSPITAL;
  wrong.sampling_rate = 1;
  refuse(wrong, "the share of noised metrics");
  /* So many patients that hardly a step is left for one. */
  wrong = m;
  wrong.metrics_share = 1e-6;
  wrong.sampling_rate = 1;
  wrong.count = 200;
  for (size_t k = 0; k < 200; k++)
    weights[k] = 100000;
  refuse(wrong, "a larger share for metrics");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_patient_is_within_the_unit),
      cmocka_unit_test(the_ends_are_exact),
      cmocka_unit_test(estimates_are_means_over_the_expected_number),
      cmocka_unit_test(the_numbers_are_of_one_vector),
      cmocka_unit_test(what_has_no_metrics_is_refused),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
