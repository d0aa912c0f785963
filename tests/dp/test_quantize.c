/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dp/clip.h"
#include "dp/quantize.h"
#include "quantize_vectors.h"

#define SEED 11
#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

static struct cns_rng_seeded generator;
static struct cns_rng rng;

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "quantize");
  rng = cns_rng_seeded(&generator);
  return 0;
}

static double uniform(void) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(rng, UINT64_C(1) << 53, &value), 0);
  return (double)value / 0x1p53;
}

static void theta_is_exact(void **state) {
  for (size_t i = 0; i < LENGTH_OF(theta_vectors); i++) {
    uint64_t theta = 0;
    assert_int_equal(
        cns_quantize_theta(theta_vectors[i].clip, theta_vectors[i].weight, theta_vectors[i].scale, &theta),
        0);
    assert_true(theta == theta_vectors[i].theta);
  }
  uint64_t theta = 99;
  static const double bad[] = {0, -1, NAN, INFINITY};
  for (size_t i = 0; i < LENGTH_OF(bad); i++)
    assert_int_equal(cns_quantize_theta(bad[i], 1, 0, &theta), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_theta(1, 0, 0, &theta), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_theta(1, CNS_QUANTIZE_WEIGHT_MAX + 1, 0, &theta), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_theta(1, 1, 62, &theta), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_theta(1, 1, 128, &theta), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_theta(1e300, 1000000, 127, &theta), CNS_ERR_RANGE);
  assert_int_equal(theta, 99);
}

static void scale_is_the_finest_that_fits(void **state) {
  for (size_t i = 0; i < LENGTH_OF(scale_vectors); i++) {
    int8_t scale = 0;
    struct cns_quantize_range range;
    struct cns_problem problem = {{0}};
    double clip = scale_vectors[i].clip;
    const uint32_t *weights = scale_vectors[i].weights;
    size_t n = scale_vectors[i].count;
    uint16_t c = scale_vectors[i].colluders;
    assert_int_equal(cns_quantize_choose_scale(clip, weights, n, c, &scale, NULL), 0);
    assert_int_equal(scale, scale_vectors[i].scale);
    assert_int_equal(cns_quantize_range(clip, weights, n, c, scale, &range), 0);
    assert_true(range.honest == scale_vectors[i].honest && range.second == scale_vectors[i].second);
    assert_int_equal(cns_quantize_check_scale(clip, weights, n, c, scale, NULL), 0);
    assert_int_equal(cns_quantize_check_scale(clip, weights, n, c, scale - 9, NULL), 0);
    assert_int_equal(cns_quantize_check_scale(clip, weights, n, c, scale + 1, &problem), CNS_ERR_RANGE);
    assert_true(strlen(problem.text) > 0);
  }
}

static void scale_refuses_nonsense(void **state) {
  uint32_t weights[2] = {1, 0};
  int8_t scale = 77;
  assert_int_equal(cns_quantize_choose_scale(1, weights, 0, 0, &scale, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_quantize_choose_scale(1, weights, 1001, 0, &scale, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_quantize_choose_scale(1, weights, 2, 0, &scale, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_choose_scale(NAN, weights, 1, 0, &scale, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_quantize_choose_scale(1e300, weights, 1, 0, &scale, NULL), CNS_ERR_RANGE);
  assert_int_equal(scale, 77);
  assert_int_equal(cns_quantize_choose_scale(1e-300, weights, 1, 0, &scale, NULL), 0);
  assert_int_equal(scale, INT8_MAX);
}

/* The largest cohort, the largest weights, the largest clip; every hospital
 * sends the worst single coordinate its norm bound allows, in the same place. */
static void largest_sums_do_not_wrap(void **state) {
  static uint32_t weights[CNS_HOSPITALS_MAX];
  static const double clips[] = {1e-6, 0.37, 1, 1e6, 1e30};
  for (size_t k = 0; k < LENGTH_OF(clips) * 2; k++) {
    uint16_t colluders = k % 2 ? 249 : 0;
    double clip = clips[k / 2];
    for (size_t i = 0; i < CNS_HOSPITALS_MAX; i++)
      weights[i] = CNS_QUANTIZE_WEIGHT_MAX;
    int8_t scale;
    assert_int_equal(cns_quantize_choose_scale(clip, weights, CNS_HOSPITALS_MAX, colluders, &scale, NULL), 0);
    float update[2] = {(float)clip, 0};
    assert_int_equal(cns_clip(update, 2, clip, NULL, NULL), 0);
    uint32_t sum[2] = {0, 0}, x[2];
    int64_t exact = 0;
    for (size_t i = 0; i < CNS_HOSPITALS_MAX; i++) {
      assert_int_equal(cns_quantize(update, 2, clip, weights[i], scale, rng, x, NULL), 0);
      exact += (int32_t)x[0];
      sum[0] += x[0];
      sum[1] += x[1];
    }
    assert_true((int32_t)sum[0] == exact && exact > 0);
    struct cns_quantize_range range;
    assert_int_equal(cns_quantize_range(clip, weights, CNS_HOSPITALS_MAX, colluders, scale, &range), 0);
    assert_true(exact <= (int64_t)range.honest && range.second < UINT64_C(1) << 31);
    float mean[2];
    uint64_t clipped = 9;
    assert_int_equal(
        cns_dequantize(sum, 2, clip, weights, CNS_HOSPITALS_MAX, colluders, scale, mean, &clipped, NULL), 0);
    assert_int_equal(clipped, 0);
    /* 1,000 hospitals share 2^31 steps: a step is about 1e-6 of the clip norm. */
    assert_true(fabs(mean[0] / clip - 1) < 1e-5);
  }
}

static void rounding_is_unbiased_and_near(void **state) {
  enum { LEN = 4096, TIMES = 400 };
  static float update[LEN];
  static uint32_t x[LEN];
  static double total[LEN];
  for (size_t k = 0; k < LEN; k++)
    update[k] = (float)(uniform() * 2 - 1);
  double clip;
  assert_int_equal(cns_clip_norm(update, LEN, &clip, NULL), 0);
  const int scale = 5;
  const uint32_t weight = 3;
  for (int t = 0; t < TIMES; t++) {
    assert_int_equal(cns_quantize(update, LEN, clip, weight, scale, rng, x, NULL), 0);
    for (size_t k = 0; k < LEN; k++) {
      double error = (int32_t)x[k] - (double)update[k] * weight * 32;
      assert_true(fabs(error) < 1);
      total[k] += error;
    }
  }
  /* Each mean error has deviation at most 0.5/sqrt(TIMES) = 0.025; their sum
   * of squares, in units of p(1-p)/TIMES, is chi-square with LEN degrees. */
  double sum = 0, chi = 0;
  for (size_t k = 0; k < LEN; k++) {
    double value = (double)update[k] * weight * 32, p = value - floor(value), mean = total[k] / TIMES;
    assert_true(fabs(mean) < 6 * 0.025);
    sum += mean;
    if (p > 0.01 && p < 0.99) chi += mean * mean * TIMES / (p * (1 - p)) - 1;
  }
  assert_true(fabs(sum / LEN) < 6 * 0.025 / 64);
  assert_true(fabs(chi) < 6 * sqrt(2.0 * LEN));
}

static void integers_stay_as_they_are(void **state) {
  float update[] = {3, -4, 0, -0.0f};
  uint32_t x[4];
  assert_int_equal(cns_quantize(update, 4, 5, 7, 2, rng, x, NULL), 0);
  assert_int_equal((int32_t)x[0], 84);
  assert_int_equal((int32_t)x[1], -112);
  assert_int_equal((int32_t)x[2], 0);
  assert_int_equal((int32_t)x[3], 0);
  float tiny[] = {-1e-40f, 1e-40f};
  assert_int_equal(cns_quantize(tiny, 2, 5, 1, 0, rng, x, NULL), 0);
  assert_int_equal((int32_t)x[0], 0);
  assert_int_equal((int32_t)x[1], 0);
}

static void norm_bound_always_holds(void **state) {
  enum { LEN = 1000 };
  static float update[LEN];
  static uint32_t x[LEN];
  for (int t = 0; t < 200; t++) {
    for (size_t k = 0; k < LEN; k++)
      update[k] = (float)(uniform() * 2 - 1);
    double clip = 0.9;
    assert_int_equal(cns_clip(update, LEN, clip, NULL, NULL), 0);
    uint64_t theta, squares = 0;
    /* theta about 3.6*sqrt(LEN): attempts are needed. */
    assert_int_equal(cns_quantize_theta(clip, 1, 7, &theta), 0);
    int r = cns_quantize(update, LEN, clip, 1, 7, rng, x, NULL);
    assert_int_equal(r, 0);
    for (size_t k = 0; k < LEN; k++)
      squares += (uint64_t)((int64_t)(int32_t)x[k] * (int32_t)x[k]);
    assert_true(squares <= theta * theta);
  }
}

static void too_coarse_a_step_is_refused(void **state) {
  enum { LEN = 10000 };
  static float update[LEN];
  static uint32_t x[LEN];
  struct cns_problem problem = {{0}};
  for (size_t k = 0; k < LEN; k++)
    update[k] = 0.01f;
  memset(x, 0xAA, sizeof x);
  assert_int_equal(cns_quantize(update, LEN, 1.00001, 1, 3, rng, x, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "weight"));
  for (size_t k = 0; k < LEN; k++)
    assert_int_equal(x[k], 0);
}

static int fail_fill(void *context, uint8_t *out, size_t len) {
  memset(out, 0, len);
  return CNS_ERR_RANDOM;
}

static void bad_updates_are_refused(void **state) {
  float update[3] = {0.1f, NAN, 0.2f};
  uint32_t x[3] = {1, 2, 3};
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_quantize(update, 3, 1, 1, 10, rng, x, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "coordinate 1 "));
  update[1] = -INFINITY;
  assert_int_equal(cns_quantize(update, 3, 1, 1, 10, rng, x, &problem), CNS_ERR_RANGE);
  update[1] = 1.01f;
  assert_int_equal(cns_quantize(update, 3, 1, 1, 10, rng, x, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "above the clip"));
  update[1] = 0;
  assert_int_equal(cns_quantize(update, 3, 1, 1, 29, rng, x, &problem), CNS_ERR_RANGE);
  struct cns_rng broken = {fail_fill, NULL};
  assert_int_equal(cns_quantize(update, 3, 1, 1, 10, broken, x, &problem), CNS_ERR_RANDOM);
  assert_int_equal(x[0] | x[1] | x[2], 0);
}

static void means_are_exact(void **state) {
  for (size_t i = 0; i < LENGTH_OF(mean_vectors); i++) {
    /* A clip that allows any of these sums: theta is about 2^30. */
    double clip = ldexp(0.98 * 0x1p30, -mean_vectors[i].scale) / mean_vectors[i].weight;
    uint32_t sum = (uint32_t)mean_vectors[i].sum;
    float mean = NAN;
    uint64_t clipped;
    assert_int_equal(cns_dequantize(&sum, 1, clip, &mean_vectors[i].weight, 1, 0, mean_vectors[i].scale,
                                    &mean, &clipped, NULL),
                     0);
    assert_true(mean == mean_vectors[i].mean);
    assert_int_equal(clipped, 0);
  }
}

static void sums_out_of_range_are_clipped_or_void(void **state) {
  uint32_t weights[] = {2, 3};
  struct cns_quantize_range range;
  assert_int_equal(cns_quantize_range(1, weights, 2, 1, 10, &range), 0);
  assert_int_equal(range.honest, 2069 + 3103);          /* ceil(1.01*2048), ceil(1.01*3072) */
  assert_int_equal(range.second, range.honest + 17554); /* ceil(2*sqrt(8)*3103) = ceil(17553.2) */
  float mean[4];
  uint64_t clipped = 0;
  uint32_t sum[4] = {(uint32_t)range.honest, (uint32_t)range.honest + 1, -(uint32_t)range.second, 512};
  assert_int_equal(cns_dequantize(sum, 4, 1, weights, 2, 1, 10, mean, &clipped, NULL), 0);
  assert_int_equal(clipped, 2);
  float edge = (float)(5172.0 / 5120.0);
  assert_true(mean[0] == edge && mean[1] == edge && mean[2] == -edge && mean[3] == 0.1f);
  struct cns_problem problem = {{0}};
  static const int64_t beyond[] = {1, -1};
  for (size_t i = 0; i < 3; i++) {
    uint32_t value = i < 2 ? (uint32_t)(beyond[i] * (int64_t)(range.second + 1)) : UINT32_C(1) << 31;
    sum[2] = value;
    assert_int_equal(cns_dequantize(sum, 4, 1, weights, 2, 1, 10, mean, &clipped, &problem), CNS_ERR_RANGE);
    assert_non_null(strstr(problem.text, "coordinate 2 "));
    assert_true(mean[0] == 0);
    assert_int_equal(clipped, 2);
  }
}

/* A cohort of very different weights gives back the weighted mean. */
static void weighted_mean_comes_back(void **state) {
  enum { LEN = 500, HOSPITALS = 7 };
  static const uint32_t weights[HOSPITALS] = {5, 20000, 1, 433, 12, 9000, 77};
  static float update[LEN], mean[LEN];
  static uint32_t x[LEN], sum[LEN];
  static double expected[LEN];
  int8_t scale;
  uint64_t total = 0, clipped;
  assert_int_equal(cns_quantize_choose_scale(1.5, weights, HOSPITALS, 1, &scale, NULL), 0);
  for (size_t i = 0; i < HOSPITALS; i++) {
    for (size_t k = 0; k < LEN; k++)
      update[k] = (float)(uniform() * 2 - 1);
    assert_int_equal(cns_clip(update, LEN, 1.5, NULL, NULL), 0);
    assert_int_equal(cns_quantize(update, LEN, 1.5, weights[i], scale, rng, x, NULL), 0);
    for (size_t k = 0; k < LEN; k++) {
      sum[k] += x[k];
      expected[k] += (double)update[k] * weights[i];
    }
    total += weights[i];
  }
  assert_int_equal(cns_dequantize(sum, LEN, 1.5, weights, HOSPITALS, 1, scale, mean, &clipped, NULL), 0);
  assert_int_equal(clipped, 0);
  for (size_t k = 0; k < LEN; k++)
    assert_true(fabs(mean[k] - expected[k] / (double)total) < 1e-6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(theta_is_exact),
      cmocka_unit_test(scale_is_the_finest_that_fits),
      cmocka_unit_test(scale_refuses_nonsense),
      cmocka_unit_test(largest_sums_do_not_wrap),
      cmocka_unit_test(rounding_is_unbiased_and_near),
      cmocka_unit_test(integers_stay_as_they_are),
      cmocka_unit_test(norm_bound_always_holds),
      cmocka_unit_test(too_coarse_a_step_is_refused),
      cmocka_unit_test(bad_updates_are_refused),
      cmocka_unit_test(means_are_exact),
      cmocka_unit_test(sums_out_of_range_are_clipped_or_void),
      cmocka_unit_test(weighted_mean_comes_back),
  };
  print_message("# seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, NULL);
}
