/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line search against ten thousand factors tried one after another, with
 * rules that are written here again in the plainest way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "robust/optimise.h"

#define N 11
#define F 2
#define D 9
#define SEED 29
#define TRIES 10000

static const size_t attackers[F] = {3, 10};
static double honest[N * D], mean[D], deviation[D];

static bool is_attacker(size_t row) {
  return row == attackers[0] || row == attackers[1];
}

static int setup(void **state) {
  srand(SEED);
  for (size_t i = 0; i < N * D; i++)
    honest[i] = rand() / (double)RAND_MAX - 0.6 + 0.1 * (double)(i % D);
  for (size_t k = 0; k < D; k++) {
    for (size_t i = 0; i < N; i++)
      mean[k] += is_attacker(i) ? 0 : honest[i * D + k] / (N - F);
    for (size_t i = 0; i < N; i++)
      deviation[k] += is_attacker(i) ? 0 : pow(honest[i * D + k] - mean[k], 2) / (N - F);
    deviation[k] = sqrt(deviation[k]);
  }
  return cns_init();
}

/* ---- the rules again ---- */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void plain_trimmed_mean(const double *rows, double *out) {
  for (size_t k = 0; k < D; k++) {
    double column[N];
    for (size_t i = 0; i < N; i++)
      column[i] = rows[i * D + k];
    qsort(column, N, sizeof *column, by_value);
    out[k] = 0;
    for (size_t i = F; i < N - F; i++)
      out[k] += column[i] / (N - 2 * F);
  }
}

static void plain_krum(const double *rows, double *out) {
  double least = INFINITY;
  for (size_t i = 0; i < N; i++) {
    double gaps[N], score = 0;
    for (size_t j = 0; j < N; j++) {
      gaps[j] = 0;
      for (size_t k = 0; k < D; k++)
        gaps[j] += pow(rows[i * D + k] - rows[j * D + k], 2);
    }
    qsort(gaps, N, sizeof *gaps, by_value);
    for (size_t j = 1; j <= N - F - 2; j++)
      score += gaps[j];
    if (score >= least) continue;
    least = score;
    memcpy(out, rows + i * D, D * sizeof *out);
  }
}

static void plain_mean(const double *rows, double *out) {
  for (size_t k = 0; k < D; k++) {
    out[k] = 0;
    for (size_t i = 0; i < N; i++)
      out[k] += rows[i * D + k] / N;
  }
}

static double harm_of(enum cns_optimise_kind kind, double factor, void (*rule)(const double *, double *)) {
  double rows[N * D], out[D], sum = 0;
  memcpy(rows, honest, sizeof rows);
  for (size_t a = 0; a < F; a++)
    for (size_t k = 0; k < D; k++)
      rows[attackers[a] * D + k] =
          kind == CNS_OPTIMISE_ALIE ? mean[k] - factor * deviation[k] : -factor * mean[k];
  rule(rows, out);
  for (size_t k = 0; k < D; k++)
    sum += pow(out[k] - mean[k], 2);
  return sqrt(sum);
}

/* ---- tests ---- */

static struct cns_optimise_result optimise(enum cns_optimise_kind kind, const struct cns_robust_chain *chain,
                                           double limit, double *matrix) {
  struct cns_optimise_result result;
  struct cns_problem problem = {{0}};
  const struct cns_optimise_options options = {.limit = limit};
  memcpy(matrix, honest, N * D * sizeof *matrix);
  for (size_t k = 0; k < D; k++)
    matrix[attackers[0] * D + k] = NAN; /* what was there isn't looked at */
  int r = cns_attack_optimise(kind, chain, CNS_ROBUST_F64, matrix, N, D, attackers, F, &options, &result,
                              &problem);
  if (r != 0) fail_msg("%s", problem.text);
  return result;
}

static void finds_what_brute_force_finds(void **state) {
  static const struct {
    enum cns_robust_rule rule;
    void (*plain)(const double *, double *);
  } rules[] = {{CNS_ROBUST_TRIMMED_MEAN, plain_trimmed_mean},
               {CNS_ROBUST_KRUM, plain_krum},
               {CNS_ROBUST_MEAN, plain_mean}};
  for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++)
    for (int kind = CNS_OPTIMISE_ALIE; kind <= CNS_OPTIMISE_IPM; kind++) {
      const struct cns_robust_chain chain = {.rule = rules[r].rule, .params = {.byzantine = F}};
      double matrix[N * D], best = 0, limit = 10;
      struct cns_optimise_result found = optimise((enum cns_optimise_kind)kind, &chain, limit, matrix);
      for (size_t t = 0; t <= TRIES; t++)
        best = fmax(best, harm_of((enum cns_optimise_kind)kind, limit * (double)t / TRIES, rules[r].plain));
      printf("# %s, %s: factor %.6f, harm %.6f; brute force %.6f\n",
             cns_robust_about_rule(rules[r].rule)->name, kind == CNS_OPTIMISE_ALIE ? "alie" : "ipm",
             found.factor, found.harm, best);
      assert_true(found.harm >= 0.999 * best);
      assert_true(fabs(found.harm - harm_of((enum cns_optimise_kind)kind, found.factor, rules[r].plain)) <
                  1e-9);
      assert_int_equal(found.evaluations, 1 + CNS_OPTIMISE_GRID + CNS_OPTIMISE_GOLDEN);
    }
}

/* The rows that are left in the matrix are those of the factor, and the honest ones as they were. */
static void rows_are_those_of_the_factor(void **state) {
  const struct cns_robust_chain chain = {.rule = CNS_ROBUST_MEDIAN, .params = {.byzantine = F}};
  double matrix[N * D], again[N * D];
  struct cns_optimise_result found = optimise(CNS_OPTIMISE_ALIE, &chain, 0, matrix);
  for (size_t i = 0; i < N * D; i++)
    if (is_attacker(i / D))
      assert_true(fabs(matrix[i] - (mean[i % D] - found.factor * deviation[i % D])) < 1e-12);
    else
      assert_true(matrix[i] == honest[i]);
  struct cns_optimise_result second = optimise(CNS_OPTIMISE_ALIE, &chain, 0, again);
  assert_true(second.factor == found.factor && second.harm == found.harm);
  assert_memory_equal(matrix, again, sizeof matrix);
}

/* The mean is moved without end: the limit is taken, exactly. */
static void the_limit_is_kept(void **state) {
  const struct cns_robust_chain chain = {.rule = CNS_ROBUST_MEAN};
  double matrix[N * D], length = 0;
  for (size_t k = 0; k < D; k++)
    length += deviation[k] * deviation[k];
  struct cns_optimise_result found = optimise(CNS_OPTIMISE_ALIE, &chain, 7, matrix);
  assert_true(found.factor == 7);
  assert_true(fabs(found.harm - 7 * sqrt(length) * F / N) < 1e-12);
}

static void weights_and_pre_aggregation_go_along(void **state) {
  double weights[N], matrix[N * D], aim[D] = {0}, sum = 0, total = 0;
  for (size_t i = 0; i < N; i++)
    weights[i] = 1 + (double)i;
  const struct cns_robust_chain chain = {.pre = {CNS_ROBUST_CLIPPING},
                                         .pre_count = 1,
                                         .rule = CNS_ROBUST_MEAN,
                                         .params = {.norm = 2, .weights = weights}};
  struct cns_optimise_result found = optimise(CNS_OPTIMISE_IPM, &chain, 50, matrix);
  double out[D] = {0}, all = 0;
  for (size_t i = 0; i < N; i++) {
    double squares = 0;
    for (size_t k = 0; k < D; k++)
      squares += matrix[i * D + k] * matrix[i * D + k];
    for (size_t k = 0; k < D; k++) {
      out[k] += weights[i] * matrix[i * D + k] * fmin(1, 2 / sqrt(squares));
      aim[k] += is_attacker(i) ? 0 : weights[i] * matrix[i * D + k];
    }
    all += weights[i];
    total += is_attacker(i) ? 0 : weights[i];
  }
  for (size_t k = 0; k < D; k++)
    sum += pow(out[k] / all - aim[k] / total, 2);
  assert_true(fabs(found.harm - sqrt(sum)) < 1e-9);
}

/* In floats, a factor at which rows are infinite is passed over. */
static void infinite_rows_are_passed_over(void **state) {
  const struct cns_robust_chain chain = {.rule = CNS_ROBUST_MEDIAN, .params = {.byzantine = F}};
  const struct cns_optimise_options options = {.limit = 1e6};
  float matrix[N * D];
  struct cns_optimise_result found;
  struct cns_problem problem = {{0}};
  for (size_t i = 0; i < N * D; i++)
    matrix[i] = (float)honest[i] * 1e35f;
  int r = cns_attack_optimise(CNS_OPTIMISE_IPM, &chain, CNS_ROBUST_F32, matrix, N, D, attackers, F, &options,
                              &found, &problem);
  if (r != 0) fail_msg("%s", problem.text);
  assert_true(found.factor < 1e4 && found.harm > 0);
  for (size_t i = 0; i < N * D; i++)
    assert_true(isfinite(matrix[i]));
}

static void wrong_calls_are_refused(void **state) {
  struct cns_robust_chain chain = {.rule = CNS_ROBUST_KRUM, .params = {.byzantine = F}};
  struct cns_optimise_options options = {.limit = 1};
  double matrix[N * D];
  struct cns_optimise_result found = {.factor = 77};
  memcpy(matrix, honest, sizeof matrix);
#define TRY(kind, rows, list, count)                                                                         \
  cns_attack_optimise(kind, &chain, CNS_ROBUST_F64, matrix, rows, D, list, count, &options, &found, NULL)
  assert_int_equal(TRY(CNS_OPTIMISE_ALIE, N, ((size_t[]){1, 1}), 2), CNS_ERR_ARGUMENT);
  assert_int_equal(TRY(CNS_OPTIMISE_ALIE, N, ((size_t[]){1, N}), 2), CNS_ERR_ARGUMENT);
  assert_int_equal(TRY(CNS_OPTIMISE_ALIE, N, attackers, 0), CNS_ERR_ARGUMENT);
  assert_int_equal(TRY(CNS_OPTIMISE_ALIE, 3, ((size_t[]){0, 1}), 2), CNS_ERR_ARGUMENT);
  options.limit = -1;
  assert_int_equal(TRY(CNS_OPTIMISE_IPM, N, attackers, F), CNS_ERR_ARGUMENT);
  options = (struct cns_optimise_options){.grid = 1};
  assert_int_equal(TRY(CNS_OPTIMISE_IPM, N, attackers, F), CNS_ERR_ARGUMENT);
  options = (struct cns_optimise_options){0};
  chain.params.byzantine = 5; /* krum needs 2f + 3 of 11 */
  assert_int_equal(TRY(CNS_OPTIMISE_IPM, N, attackers, F), CNS_ERR_RANGE);
  chain.params.byzantine = F;
  chain.no_rule = true;
  assert_int_equal(TRY(CNS_OPTIMISE_IPM, N, attackers, F), CNS_ERR_ARGUMENT);
  chain.no_rule = false;
  matrix[0] = INFINITY;
  assert_int_equal(TRY(CNS_OPTIMISE_IPM, N, attackers, F), CNS_ERR_RANGE);
  assert_true(found.factor == 77);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_what_brute_force_finds),
      cmocka_unit_test(rows_are_those_of_the_factor),
      cmocka_unit_test(the_limit_is_kept),
      cmocka_unit_test(weights_and_pre_aggregation_go_along),
      cmocka_unit_test(infinite_rows_are_passed_over),
      cmocka_unit_test(wrong_calls_are_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
