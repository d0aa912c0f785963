/* SPDX-License-Identifier: Apache-2.0 */
/* Attacks on matrices of either precision: those that the list of a masked sum hasn't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/attack.h"

#define N 12
#define F 3
#define D 37
#define SEED 11

static const size_t attackers[F] = {0, 5, 11};
static double honest[N * D]; /* the rows of attackers too: their own updates */

static int setup(void **state) {
  srand(SEED);
  for (size_t i = 0; i < N * D; i++)
    honest[i] = rand() / (double)RAND_MAX - 0.3;
  return cns_init();
}

static bool is_attacker(size_t row) {
  return row == attackers[0] || row == attackers[1] || row == attackers[2];
}

static int apply_f64(enum cns_attack_kind kind, const struct cns_attack_extra *extra, double *matrix,
                     struct cns_attack_outcome *outcome, struct cns_problem *problem) {
  const struct cns_attack attack = {.kind = kind, .count = F};
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, SEED, "attack");
  return cns_attack_apply_matrix(&attack, extra, CNS_ROBUST_F64, matrix, N, D, NULL, attackers,
                                 cns_rng_seeded(&generator), outcome, problem);
}

/* The two precisions agree for every attack that needs nothing given. */
static void precisions_agree(void **state) {
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++) {
    const struct cns_attack_about *about = cns_attack_about((enum cns_attack_kind)k);
    const struct cns_attack attack = {.kind = (enum cns_attack_kind)k, .count = F, .jitter = 0.01};
    struct cns_rng_seeded first, second;
    double wide[N * D];
    float narrow[N * D];
    if (about->need == CNS_ATTACK_NEEDS_RULE || about->need == CNS_ATTACK_NEEDS_TARGET || !about->finite)
      continue;
    for (size_t i = 0; i < N * D; i++)
      wide[i] = (double)(narrow[i] = (float)honest[i]);
    cns_rng_seeded_init_label(&first, SEED, "attack");
    cns_rng_seeded_init_label(&second, SEED, "attack");
    assert_int_equal(cns_attack_apply(&attack, narrow, N, D, NULL, attackers, cns_rng_seeded(&first), NULL),
                     0);
    assert_int_equal(cns_attack_apply_matrix(&attack, NULL, CNS_ROBUST_F64, wide, N, D, NULL, attackers,
                                             cns_rng_seeded(&second), NULL, NULL),
                     0);
    for (size_t i = 0; i < N * D; i++)
      if (narrow[i] != (float)wide[i]) fail_msg("%s: element %zu", about->name, i);
  }
}

static void infinity_and_nan_fill_rows(void **state) {
  for (int nan = 0; nan < 2; nan++) {
    double matrix[N * D];
    memcpy(matrix, honest, sizeof matrix);
    assert_int_equal(apply_f64(nan ? CNS_ATTACK_NAN : CNS_ATTACK_INFINITY, NULL, matrix, NULL, NULL), 0);
    for (size_t i = 0; i < N * D; i++)
      if (!is_attacker(i / D))
        assert_true(matrix[i] == honest[i]);
      else
        assert_true(nan ? isnan(matrix[i]) : isinf(matrix[i]) && matrix[i] > 0);
  }
}

static double squared_gap(const double *a, const double *b) {
  double sum = 0;
  for (size_t k = 0; k < D; k++)
    sum += (a[k] - b[k]) * (a[k] - b[k]);
  return sum;
}

/* Largest squared distance between honest rows, and from `row` to one of them. */
static double farthest(const double *matrix, const double *row) {
  double most = 0;
  for (size_t i = 0; i < N; i++)
    for (size_t j = 0; j < (row ? 1 : N); j++)
      if (!is_attacker(i) && (row || !is_attacker(j)))
        most = fmax(most, squared_gap(matrix + i * D, row ? row : matrix + j * D));
  return most;
}

/* Between the honest mean and what replaces the model, on the sphere of min-max. */
static void backdoor_goes_as_far_as_honest_rows(void **state) {
  double matrix[N * D], target[D], mean[D] = {0};
  struct cns_attack_extra extra = {.target = target};
  struct cns_attack_outcome outcome;
  memcpy(matrix, honest, sizeof matrix);
  for (size_t k = 0; k < D; k++) {
    target[k] = k % 3 == 0 ? 4 : -1;
    for (size_t i = 0; i < N; i++)
      mean[k] += is_attacker(i) ? 0 : honest[i * D + k] / (N - F);
  }
  assert_int_equal(apply_f64(CNS_ATTACK_BACKDOOR, &extra, matrix, &outcome, NULL), 0);
  const double *sent = matrix + attackers[1] * D, boost = (double)N / F;
  for (size_t k = 0; k < D; k++) {
    double want = mean[k] + outcome.strength * (boost * target[k] - mean[k]);
    assert_true(fabs(sent[k] - want) < 1e-12 * (1 + fabs(want)));
  }
  assert_true(outcome.strength > 0 && outcome.strength < 1);
  assert_true(fabs(farthest(matrix, sent) / farthest(matrix, NULL) - 1) < 1e-9);

  /* A target near by isn't held back: model replacement as it is. */
  memcpy(matrix, honest, sizeof matrix);
  for (size_t k = 0; k < D; k++)
    target[k] = mean[k] / boost + 1e-3;
  assert_int_equal(apply_f64(CNS_ATTACK_BACKDOOR, &extra, matrix, &outcome, NULL), 0);
  assert_true(outcome.strength == 1);
  for (size_t k = 0; k < D; k++)
    assert_true(fabs(matrix[k] - boost * target[k]) < 1e-12);
}

static void what_is_needed_is_asked_for(void **state) {
  double matrix[N * D], target[D] = {NAN};
  struct cns_attack_extra extra = {.target = target};
  struct cns_problem problem = {{0}};
  memcpy(matrix, honest, sizeof matrix);
  assert_int_equal(apply_f64(CNS_ATTACK_BACKDOOR, NULL, matrix, NULL, &problem), CNS_ERR_ARGUMENT);
  assert_non_null(strstr(problem.text, "target"));
  assert_int_equal(apply_f64(CNS_ATTACK_BACKDOOR, &extra, matrix, NULL, &problem), CNS_ERR_RANGE);
  assert_int_equal(apply_f64(CNS_ATTACK_IPM_OPTIMISED, &extra, matrix, NULL, &problem), CNS_ERR_ARGUMENT);
  assert_non_null(strstr(problem.text, "rule"));
  assert_memory_equal(matrix, honest, sizeof matrix);
  matrix[1 * D] = NAN; /* an honest row; the attackers' own don't matter to IPM */
  assert_int_equal(apply_f64(CNS_ATTACK_IPM, NULL, matrix, NULL, &problem), CNS_ERR_RANGE);
  matrix[1 * D] = honest[1 * D];
  matrix[0] = NAN;
  assert_int_equal(apply_f64(CNS_ATTACK_IPM, NULL, matrix, NULL, &problem), 0);
}

static void too_large_for_a_float_is_refused(void **state) {
  float rows[4 * D];
  const struct cns_attack attack = {
      .kind = CNS_ATTACK_MEAN_FLIP, .count = 1, .has_strength = true, .strength = 1e6};
  struct cns_rng_seeded generator;
  struct cns_problem problem = {{0}};
  cns_rng_seeded_init_label(&generator, SEED, "attack");
  for (size_t i = 0; i < 4 * D; i++)
    rows[i] = 1e35f;
  assert_int_equal(
      cns_attack_apply(&attack, rows, 4, D, NULL, (size_t[]){3}, cns_rng_seeded(&generator), &problem),
      CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "too large"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(precisions_agree),
      cmocka_unit_test(infinity_and_nan_fill_rows),
      cmocka_unit_test(backdoor_goes_as_far_as_honest_rows),
      cmocka_unit_test(what_is_needed_is_asked_for),
      cmocka_unit_test(too_large_for_a_float_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
