/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "robust/attack.h"
#include "robust_vectors.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])
#define SEED 5

static float updates[VECTOR_ROWS * VECTOR_COLUMNS], before[VECTOR_ROWS * VECTOR_COLUMNS];

static int setup(void **state) {
  return cns_init();
}

static void apply_spec(const char *spec, uint64_t seed) {
  static const size_t attackers[] = {0, 1, 2, 3};
  struct cns_attack attack;
  struct cns_rng_seeded generator;
  for (size_t i = 0; i < LENGTH_OF(updates); i++)
    before[i] = updates[i] = (float)vector_rows[i];
  cns_rng_seeded_init_label(&generator, seed, "attack");
  assert_int_equal(cns_attack_parse(spec, &attack, NULL), 0);
  assert_int_equal(cns_attack_apply(&attack, updates, VECTOR_ROWS, VECTOR_COLUMNS, NULL, attackers,
                                    cns_rng_seeded(&generator), NULL),
                   0);
  for (size_t i = attack.count * VECTOR_COLUMNS; i < LENGTH_OF(updates); i++)
    assert_true(updates[i] == before[i]); /* honest rows are left alone */
}

static void both_are(const double *expected, double factor, double offset_factor, const double *offset) {
  for (size_t a = 0; a < 2; a++)
    for (size_t k = 0; k < VECTOR_COLUMNS; k++) {
      double want = factor * expected[k] + (offset ? offset_factor * offset[k] : 0);
      assert_true(fabs((double)updates[a * VECTOR_COLUMNS + k] - want) < 1e-6 * (1 + fabs(want)));
    }
}

static void formulas_are_the_papers(void **state) {
  apply_spec("mean-flip:2:scale=3", SEED);
  both_are(attack_mean, -3, 0, NULL);
  apply_spec("ipm:2:epsilon=0.25", SEED);
  both_are(attack_mean, -0.25, 0, NULL);
  apply_spec("alie:2:z=1.5", SEED);
  both_are(attack_mean, 1, -1.5, attack_deviation);
  apply_spec("min-max:2", SEED);
  both_are(attack_min_max, 1, 0, NULL);
  apply_spec("min-sum:2", SEED);
  both_are(attack_min_sum, 1, 0, NULL);
  apply_spec("mimic:2:victim=3", SEED);
  for (size_t k = 0; k < VECTOR_COLUMNS; k++)
    assert_true(updates[k] == before[5 * VECTOR_COLUMNS + k]);
  for (size_t i = 0; i < LENGTH_OF(alie_vectors); i++)
    assert_true(fabs(cns_attack_alie_z((size_t)alie_vectors[i][0], (size_t)alie_vectors[i][1]) -
                     alie_vectors[i][2]) < 1e-12);
}

static void own_updates_are_turned_and_enlarged(void **state) {
  apply_spec("sign-flip:2:scale=2", SEED);
  for (size_t i = 0; i < 2 * VECTOR_COLUMNS; i++)
    assert_true(updates[i] == -2 * before[i]);
  apply_spec("model-replacement:2", SEED); /* 7 hospitals over 2 */
  for (size_t i = 0; i < 2 * VECTOR_COLUMNS; i++)
    assert_true(fabs((double)updates[i] - 3.5 * (double)before[i]) < 1e-5);
  apply_spec("label-flip:2", SEED);
  assert_memory_equal(updates, before, sizeof updates);
  assert_true(cns_attack_flips_labels(CNS_ATTACK_LABEL_FLIP));
  assert_true(cns_attack_flips_labels(CNS_ATTACK_MODEL_REPLACEMENT));
  assert_false(cns_attack_flips_labels(CNS_ATTACK_ALIE));
  apply_spec("gaussian:2", SEED);
  double length = 0, own = 0;
  for (size_t k = 0; k < VECTOR_COLUMNS; k++) {
    length += (double)updates[k] * (double)updates[k];
    own += (double)before[k] * (double)before[k];
  }
  assert_true(fabs(length / own - 1) < 1e-5);
}

static void jitter_has_its_length_and_its_seed(void **state) {
  float first[LENGTH_OF(updates)];
  apply_spec("mean-flip:2:jitter=0.1", SEED);
  memcpy(first, updates, sizeof first);
  for (size_t a = 0; a < 2; a++) {
    double moved = 0, length = 0;
    for (size_t k = 0; k < VECTOR_COLUMNS; k++) {
      double gap = (double)updates[a * VECTOR_COLUMNS + k] + attack_mean[k];
      moved += gap * gap;
      length += attack_mean[k] * attack_mean[k];
    }
    assert_true(fabs(sqrt(moved / length) - 0.1) < 1e-5);
  }
  assert_memory_not_equal(first, first + VECTOR_COLUMNS, VECTOR_COLUMNS * sizeof *first);
  apply_spec("mean-flip:2:jitter=0.1", SEED);
  assert_memory_equal(first, updates, sizeof first);
  apply_spec("mean-flip:2:jitter=0.1", SEED + 1);
  assert_memory_not_equal(first, updates, sizeof first);
}

static void specs_are_read(void **state) {
  struct cns_attack attack;
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++) {
    const char *name = cns_attack_name((enum cns_attack_kind)k),
               *parameter = cns_attack_parameter((enum cns_attack_kind)k);
    char spec[CNS_ATTACK_SPEC_MAX];
    enum cns_attack_kind kind;
    assert_int_equal(cns_attack_find(name, &kind, NULL), 0);
    assert_int_equal(kind, k);
    snprintf(spec, sizeof spec, *parameter ? "%s:4:jitter=0.05:%s=2" : "%s:4", name, parameter);
    assert_true(cns_attack_is_name(spec));
    assert_int_equal(cns_attack_parse(spec, &attack, NULL), 0);
    assert_int_equal(attack.kind, k);
    assert_int_equal(attack.count, 4);
    if (*parameter) assert_true(attack.has_strength && attack.strength == 2 && attack.jitter == 0.05);
  }
  assert_int_equal(cns_attack_parse("ipm:1", &attack, NULL), 0);
  assert_true(!attack.has_strength && attack.jitter == 0);
  assert_false(cns_attack_is_name("false-pair:2"));
}

static void near_names_are_told(void **state) {
  static const char *const pairs[][2] = {{"alie_optimized", "mean alie-optimised?"},
                                         {"minmax", "mean min-max?"},
                                         {"backdor", "mean backdoor?"},
                                         {"model", "mean model-replacement?"}};
  enum cns_attack_kind kind = CNS_ATTACK_NAN;
  for (size_t p = 0; p < LENGTH_OF(pairs); p++) {
    struct cns_problem problem = {{0}};
    assert_int_equal(cns_attack_find(pairs[p][0], &kind, &problem), CNS_ERR_NOT_FOUND);
    if (!strstr(problem.text, pairs[p][1])) fail_msg("%s: %s", pairs[p][0], problem.text);
  }
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_attack_find("zzzzzzz", &kind, &problem), CNS_ERR_NOT_FOUND);
  assert_null(strstr(problem.text, "did you mean"));
  assert_int_equal(kind, CNS_ATTACK_NAN);
}

/* What has no place among integers under a mask, or needs what isn't there. */
static void masked_sums_know_what_can_not_be_sent(void **state) {
  size_t refused = 0;
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++) {
    struct cns_problem problem = {{0}};
    int r = cns_attack_check_masked((enum cns_attack_kind)k, &problem);
    assert_true(r == 0 || (r == CNS_ERR_UNSUPPORTED && strstr(problem.text, "robust attack")));
    refused += r < 0;
  }
  assert_int_equal(refused, 5); /* infinity, nan, backdoor, alie-optimised, ipm-optimised */
}

static void wrong_specs_say_what_is_possible(void **state) {
  static const struct {
    const char *spec, *says;
  } bad[] = {{"", "mean-flip"},
             {"alia:4", "alie"},
             {"alie", "COUNT"},
             {"alie:", "whole number"},
             {"alie:0", "1 to 1000"},
             {"alie:1001", "1 to 1000"},
             {"alie:2.5", "whole number"},
             {"alie:four", "'four'"},
             {"alie:4:", "z=NUMBER"},
             {"alie:4:scale=2", "z=NUMBER"},
             {"alie:4:z", "z=NUMBER"},
             {"alie:4:z=", "number"},
             {"alie:4:z=nan", "number"},
             {"alie:4:z=1e999", "number"},
             {"alie:4:z=1x", "number"},
             {"alie:4:z=-1", "from 0"},
             {"alie:4:z=1:z=2", "twice"},
             {"alie:4:jitter=11", "0 to 10"},
             {"alie:4:jitter=0:jitter=0", "twice"},
             {"mimic:4:victim=1.5", "whole"},
             {"nan:4:jitter=1", "no parameters"},
             {"infinity:4:", "no parameters"},
             {"alie-optimised:4:limit=0", "above 0"}};
  struct cns_attack attack = {.count = 77};
  for (size_t i = 0; i < LENGTH_OF(bad); i++) {
    struct cns_problem problem = {{0}};
    assert_true(cns_attack_parse(bad[i].spec, &attack, &problem) < 0);
    if (!strstr(problem.text, bad[i].says)) fail_msg("%s: %s", bad[i].spec, problem.text);
  }
  char endless[CNS_ATTACK_SPEC_MAX + 2];
  memset(endless, 'a', sizeof endless - 1);
  endless[sizeof endless - 1] = 0;
  assert_int_equal(cns_attack_parse(endless, &attack, NULL), CNS_ERR_FORMAT);
  assert_int_equal(attack.count, 77);
}

static int try(const char *spec, const size_t *attackers, size_t n) {
  struct cns_attack attack;
  struct cns_problem problem = {{0}};
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, SEED, "attack");
  assert_int_equal(cns_attack_parse(spec, &attack, NULL), 0);
  int r = cns_attack_apply(&attack, updates, n, VECTOR_COLUMNS, NULL, attackers, cns_rng_seeded(&generator),
                           &problem);
  assert_true(r == 0 || problem.text[0]);
  return r;
}

static void impossible_attacks_are_refused(void **state) {
  apply_spec("label-flip:2", SEED);
  assert_int_equal(try("alie:2", (size_t[]){0, 0}, VECTOR_ROWS), CNS_ERR_ARGUMENT);
  assert_int_equal(try("alie:2", (size_t[]){0, VECTOR_ROWS}, VECTOR_ROWS), CNS_ERR_ARGUMENT);
  assert_int_equal(try("ipm:2", (size_t[]){0, 1}, 2), CNS_ERR_ARGUMENT);
  assert_int_equal(try("min-max:2", (size_t[]){0, 1}, 3), CNS_ERR_ARGUMENT);
  assert_int_equal(try("mimic:2:victim=5", (size_t[]){0, 1}, VECTOR_ROWS), CNS_ERR_ARGUMENT);
  assert_int_equal(try("backdoor:2", (size_t[]){0, 1}, VECTOR_ROWS), CNS_ERR_ARGUMENT);
  assert_int_equal(try("alie-optimised:2", (size_t[]){0, 1}, VECTOR_ROWS), CNS_ERR_ARGUMENT);
  updates[VECTOR_COLUMNS * 4] = NAN;
  assert_int_equal(try("ipm:2", (size_t[]){0, 1}, VECTOR_ROWS), CNS_ERR_RANGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(formulas_are_the_papers),
      cmocka_unit_test(own_updates_are_turned_and_enlarged),
      cmocka_unit_test(jitter_has_its_length_and_its_seed),
      cmocka_unit_test(specs_are_read),
      cmocka_unit_test(near_names_are_told),
      cmocka_unit_test(masked_sums_know_what_can_not_be_sent),
      cmocka_unit_test(wrong_specs_say_what_is_possible),
      cmocka_unit_test(impossible_attacks_are_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
