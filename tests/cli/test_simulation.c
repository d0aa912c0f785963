/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of the largest updates that the clip norm allows don't wrap: the
 * simulation's own comparison is with sums in 64 bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/simulation.h"
#include "dp/quantize.h"

struct extreme {
  double clip;
  float sign;
  bool one_coordinate; /* all of the norm in one place; else spread evenly */
  size_t where;
};

/* Ten times the clip norm, so that clipping leaves exactly the bound. */
static int extreme_update(void *context, size_t k, float *update, size_t dim) {
  const struct extreme *extreme = context;
  (void)k;
  for (size_t i = 0; i < dim; i++)
    update[i] = extreme->one_coordinate ? 0 : extreme->sign * (float)(10 * extreme->clip);
  if (extreme->one_coordinate) update[extreme->where] = extreme->sign * (float)(10 * extreme->clip);
  return 0;
}

static int one_update_is_nan(void *context, size_t k, float *update, size_t dim) {
  (void)context;
  for (size_t i = 0; i < dim; i++)
    update[i] = k == 2 && i == 5 ? NAN : 0.5f;
  return 0;
}

static void play_extreme(size_t n, size_t dim, struct extreme *extreme, const uint32_t *weights,
                         size_t dropped) {
  struct cns_simulation_options options = {
      .hospitals = n,
      .dim = dim,
      .seed = 1000 + n,
      .clip_norm = extreme->clip,
      .weights = weights,
      .update = extreme_update,
      .context = extreme,
  };
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  options.drops[CNS_PHASE_UPLOAD] = dropped;
  int r = cns_simulation_new(&options, &simulation, &problem);
  if (r == 0) r = cns_simulation_round(simulation, &result, &problem);
  if (r != 0) fail_msg("n %zu dim %zu seed %zu: %d %s", n, dim, 1000 + n, r, problem.text);
  assert_true(result->completed);
  assert_int_equal(result->included_count, n - dropped);
  if (!result->exact) fail_msg("n %zu dim %zu seed %zu: the sum wrapped", n, dim, 1000 + n);
  assert_int_equal(result->clipped_coordinates, 0);
  /* Everybody sends the same, so the mean is the clipped update to the grid's
   * step (for the smallest weight) and a float's precision. */
  double largest = extreme->one_coordinate ? extreme->clip : 0;
  if (largest > 0) assert_true(result->max_error <= 1e-5 * largest);
  cns_simulation_free(simulation);
}

static void largest_updates_do_not_wrap(void **state) {
  static const size_t sizes[] = {4, 5, 7, 16, 33, 100};
  static const double clips[] = {1.0, 1e-6, 3.3e7};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    struct extreme extreme = {
        .clip = clips[s % 3],
        .sign = s % 2 ? -1 : 1,
        .one_coordinate = true,
        .where = s,
    };
    play_extreme(sizes[s], 40, &extreme, NULL, 0);
    extreme.sign = -extreme.sign;
    if (sizes[s] < 100) play_extreme(sizes[s], 40, &extreme, NULL, sizes[s] >= 16 ? sizes[s] / 8 : 0);
  }
}

static void even_updates_do_not_wrap(void **state) {
  struct extreme extreme = {.clip = 1, .sign = -1};
  play_extreme(4, 1, &extreme, NULL, 0);
  play_extreme(5, 16384, &extreme, NULL, 0);
  play_extreme(16, 16385, &extreme, NULL, 3);
  play_extreme(6, 100001, &extreme, NULL, 1);
}

static void largest_weights_do_not_wrap(void **state) {
  uint32_t weights[100];
  struct extreme extreme = {.clip = 1, .sign = 1, .one_coordinate = true, .where = 7};
  for (size_t k = 0; k < 100; k++)
    weights[k] = CNS_QUANTIZE_WEIGHT_MAX;
  play_extreme(4, 20, &extreme, weights, 0);
  play_extreme(100, 20, &extreme, weights, 0);
  /* One hospital that outweighs all others together. */
  for (size_t k = 1; k < 100; k++)
    weights[k] = 1000;
  play_extreme(40, 20, &extreme, weights, 2);
}

/* Cohorts up to the largest, without the machines: all on the bound, added up in
 * 32 and in 64 bits. The sum also comes near the limit, or else a coarse scale
 * would make every test here pass. */
static void largest_cohort_does_not_wrap(void **state) {
  static const size_t sizes[] = {4, 36, 100, 333, CNS_HOSPITALS_MAX};
  static uint32_t weights[CNS_HOSPITALS_MAX];
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    size_t n = sizes[s];
    const float update[3] = {0, -1, 0};
    struct cns_rng_seeded rng;
    uint16_t colluders;
    int8_t scale;
    uint32_t sum = 0;
    int64_t plain = 0;
    for (size_t k = 0; k < n; k++)
      weights[k] = CNS_QUANTIZE_WEIGHT_MAX - (uint32_t)(k % 3);
    cns_rng_seeded_init_label(&rng, n, "rounding");
    assert_int_equal(cns_simulation_colluders(n, 0, &colluders, NULL), 0);
    assert_int_equal(cns_quantize_choose_scale(1.0, weights, n, colluders, &scale, NULL), 0);
    for (size_t k = 0; k < n; k++) {
      uint32_t x[3];
      assert_int_equal(cns_quantize(update, 3, 1.0, weights[k], scale, cns_rng_seeded(&rng), x, NULL), 0);
      sum += x[1];
      plain += (int32_t)x[1];
    }
    assert_true((int64_t)(int32_t)sum == plain);
    assert_true(-plain < INT64_C(1) << 31);
    assert_true(-plain > INT64_C(1) << 27);
  }
}

static void nan_is_refused_by_its_hospital(void **state) {
  struct cns_simulation_options options = {.hospitals = 5, .dim = 10, .seed = 3, .update = one_update_is_nan};
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  assert_int_equal(cns_simulation_new(&options, &simulation, &problem), 0);
  assert_int_equal(cns_simulation_round(simulation, &result, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "hospital 3"));
  assert_null(result);
  cns_simulation_free(simulation);
}

static void rounds_go_on_and_repeat(void **state) {
  struct cns_simulation_options options = {.hospitals = 8, .dim = 100, .seed = 4};
  double errors[2][3];
  for (size_t run = 0; run < 2; run++) {
    struct cns_simulation *simulation = NULL;
    const struct cns_simulation_result *result = NULL;
    assert_int_equal(cns_simulation_new(&options, &simulation, NULL), 0);
    for (size_t round = 0; round < 3; round++) {
      assert_int_equal(cns_simulation_round(simulation, &result, NULL), 0);
      assert_true(result->completed && result->exact);
      assert_int_equal(result->round, round + 1);
      assert_int_equal(result->attempt, 1);
      errors[run][round] = result->max_error;
    }
    cns_simulation_free(simulation);
  }
  assert_memory_equal(errors[0], errors[1], sizeof errors[0]);
  assert_true(errors[0][0] != errors[0][1]); /* fresh updates in every round */
}

static void a_round_without_a_result_is_tried_again(void **state) {
  struct cns_simulation_options options = {.hospitals = 6, .dim = 10, .seed = 5};
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  options.drops[CNS_PHASE_AGREE] = 3;
  assert_int_equal(cns_simulation_new(&options, &simulation, NULL), 0);
  for (uint32_t attempt = 1; attempt <= 2; attempt++) {
    assert_int_equal(cns_simulation_round(simulation, &result, NULL), 0);
    assert_false(result->completed);
    assert_false(result->exact);
    assert_int_equal(result->included_count, 0);
    assert_int_equal(result->round, 1);
    assert_int_equal(result->attempt, attempt);
    assert_non_null(strstr(result->reason, "agree"));
  }
  cns_simulation_free(simulation);
}

static void thresholds_and_colluders(void **state) {
  struct cns_problem problem = {0};
  uint16_t colluders = 0;
  /* Against the rule itself, for every cohort and threshold. */
  for (size_t n = 4; n <= CNS_HOSPITALS_MAX; n++) {
    size_t usual = n < 6 ? 1 : (n - 2) / 4, low = (n + usual) / 2 + 1, high = (n + (n - 1) / 3) / 2 + 1;
    for (size_t t = low; t <= high; t++) {
      assert_int_equal(cns_simulation_colluders(n, t, &colluders, &problem), 0);
      assert_int_equal((n + colluders) / 2 + 1, t);
      assert_true(n >= 3 * (size_t)colluders + 1 && colluders >= usual);
    }
    assert_int_equal(cns_simulation_colluders(n, high + 1, &colluders, &problem), CNS_ERR_RANGE);
    assert_int_equal(cns_simulation_colluders(n, 0, &colluders, &problem), 0);
    assert_int_equal(colluders, usual);
  }
}

static void a_smaller_threshold_is_refused_by_a_hospital(void **state) {
  struct cns_simulation_options options = {.hospitals = 16, .dim = 10, .seed = 6, .threshold = 5};
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  assert_int_equal(cns_simulation_new(&options, &simulation, &problem), 0);
  assert_int_equal(cns_simulation_round(simulation, &result, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "threshold is 5"));
  assert_non_null(strstr(problem.text, "must be 10"));
  cns_simulation_free(simulation);
}

static int group_setup(void **state) {
  return cns_init();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(largest_updates_do_not_wrap),
      cmocka_unit_test(even_updates_do_not_wrap),
      cmocka_unit_test(largest_weights_do_not_wrap),
      cmocka_unit_test(largest_cohort_does_not_wrap),
      cmocka_unit_test(nan_is_refused_by_its_hospital),
      cmocka_unit_test(rounds_go_on_and_repeat),
      cmocka_unit_test(a_round_without_a_result_is_tried_again),
      cmocka_unit_test(thresholds_and_colluders),
      cmocka_unit_test(a_smaller_threshold_is_refused_by_a_hospital),
  };
  return cmocka_run_group_tests_name("cli simulation", tests, group_setup, NULL);
}
