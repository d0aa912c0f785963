/* SPDX-License-Identifier: Apache-2.0 */
/* Rules against brute force and against ByzFL's results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "byzfl_vectors.h"
#include "rules_brute.h"
#include "rules_world.h"

#define ROWS 11
#define COLUMNS 7
#define BYZANTINE 2
#define SEEDS 20

static int setup(void **state) {
  return cns_init();
}

static double tolerance(enum cns_robust_type type) {
  return type == CNS_ROBUST_F64 ? 1e-10 : 1e-5;
}

/* Errors are relative to the result's largest number, and absolute below 1. */
static void agrees(const char *name, uint64_t seed, int kind, enum cns_robust_type type, const void *got,
                   const double *want, size_t count) {
  double largest = 1, error = 0;
  for (size_t k = 0; k < count; k++) {
    largest = fmax(largest, fabs(want[k]));
    error = fmax(error, fabs(world_at(type, got, k) - want[k]));
  }
  if (!(error <= tolerance(type) * largest))
    fail_msg("%s, seed %llu, kind %d, %d bytes: off by %g", name, (unsigned long long)seed, kind, (int)type,
             error);
}

static void check_rule(enum cns_robust_rule rule, struct cns_robust_params p, const double *x, size_t n,
                       size_t d, uint64_t seed, int kind) {
  double want[BRUTE_COLUMNS_MAX], got[BRUTE_COLUMNS_MAX], reference[BRUTE_COLUMNS_MAX];
  struct cns_problem problem = {{0}};
  for (size_t c = 0; c < d; c++)
    reference[c] = c % 2 ? 1 : 0.5;
  if (rule == CNS_ROBUST_FLTRUST) p.reference = reference;
  brute_rule(rule, &p, x, n, d, want);
  for (size_t size = 4; size <= 8; size += 4) {
    enum cns_robust_type type = size == 4 ? CNS_ROBUST_F32 : CNS_ROBUST_F64;
    void *matrix = world_as(type, x, n * d), *typed = world_as(type, reference, d);
    if (p.reference) p.reference = typed;
    if (cns_robust_aggregate(rule, &p, type, matrix, n, d, got, &problem) < 0)
      fail_msg("%s: %s", cns_robust_about_rule(rule)->name, problem.text);
    agrees(cns_robust_about_rule(rule)->name, seed, kind, type, got, want, d);
    free(matrix);
    free(typed);
  }
}

static void rules_agree_with_brute_force(void **state) {
  double x[ROWS * COLUMNS];
  for (uint64_t seed = 0; seed < SEEDS; seed++)
    for (int kind = 0; kind < WORLD_KINDS; kind++) {
      world_fill((enum world_kind)kind, seed, ROWS, COLUMNS, BYZANTINE, x);
      for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++)
        check_rule((enum cns_robust_rule)rule, world_rule_params((enum cns_robust_rule)rule, BYZANTINE, NULL),
                   x, ROWS, COLUMNS, seed, kind);
    }
}

static void variants_agree_with_brute_force(void **state) {
  static const struct {
    enum cns_robust_rule rule;
    struct cns_robust_params params;
  } variants[] = {
      {CNS_ROBUST_KRUM, {.byzantine = 2, .variant = "byzfl"}},
      {CNS_ROBUST_KRUM, {.byzantine = 5, .variant = "byzfl"}},
      {CNS_ROBUST_MULTI_KRUM, {.byzantine = 3, .variant = "byzfl"}},
      {CNS_ROBUST_BULYAN, {.byzantine = 1, .variant = "flower"}},
      {CNS_ROBUST_BULYAN, {.byzantine = 1}},
      {CNS_ROBUST_CENTERED_CLIPPING, {.tau = 0.5, .iterations = 4}},
      {CNS_ROBUST_GEOMETRIC_MEDIAN, {.iterations = 3}},
      {CNS_ROBUST_GEOMETRIC_MEDIAN, {.nu = 2}},
      {CNS_ROBUST_MDA, {.byzantine = 5}},
      {CNS_ROBUST_SMEA, {.byzantine = 4}},
      {CNS_ROBUST_MEAMED, {.byzantine = 5}},
      {CNS_ROBUST_MEAMED, {.byzantine = 0}},
      {CNS_ROBUST_TRIMMED_MEAN, {.byzantine = 5}},
      {CNS_ROBUST_CAF, {.byzantine = 0}},
      {CNS_ROBUST_CAF, {.byzantine = 4}},
  };
  double x[ROWS * COLUMNS];
  for (uint64_t seed = 100; seed < 100 + SEEDS; seed++)
    for (int kind = 0; kind < WORLD_KINDS; kind++)
      for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        world_fill((enum world_kind)kind, seed, ROWS, COLUMNS, BYZANTINE, x);
        check_rule(variants[v].rule, variants[v].params, x, ROWS, COLUMNS, seed, kind);
      }
}

/* Even numbers of rows, the fewest, and more than a tile of the distances has. */
static void any_number_of_rows(void **state) {
  static const enum cns_robust_rule rules[] = {
      CNS_ROBUST_MEDIAN, CNS_ROBUST_TRIMMED_MEAN, CNS_ROBUST_MEAMED,           CNS_ROBUST_MULTI_KRUM,
      CNS_ROBUST_BULYAN, CNS_ROBUST_CAF,          CNS_ROBUST_GEOMETRIC_MEDIAN, CNS_ROBUST_DNC};
  static double x[BRUTE_ROWS_MAX * COLUMNS];
  for (size_t n = 3; n <= BRUTE_ROWS_MAX; n += n < 20 ? 1 : 11)
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
      size_t f = (n - 3) / 4;
      world_fill(WORLD_ATTACKED, n, n, COLUMNS, f, x);
      check_rule(rules[k], world_rule_params(rules[k], f, NULL), x, n, COLUMNS, n, WORLD_ATTACKED);
    }
}

static void check_pre(enum cns_robust_pre pre, const double *x, uint64_t seed, int kind) {
  struct cns_robust_params p = world_pre_params(pre, BYZANTINE);
  double want[ROWS * COLUMNS], got[ROWS * COLUMNS], weights[ROWS];
  brute_pre(pre, &p, x, ROWS, COLUMNS, want);
  for (size_t size = 4; size <= 8; size += 4) {
    enum cns_robust_type type = size == 4 ? CNS_ROBUST_F32 : CNS_ROBUST_F64;
    void *matrix = world_as(type, x, ROWS * COLUMNS);
    assert_int_equal(cns_robust_preaggregate(pre, &p, type, matrix, ROWS, COLUMNS, got, weights, NULL), 0);
    agrees(cns_robust_about_pre(pre)->name, seed, kind, type, got, want, ROWS * COLUMNS);
    for (size_t i = 0; i < ROWS; i++)
      assert_true(weights[i] == 1);
    free(matrix);
  }
}

static void preaggregations_agree_with_brute_force(void **state) {
  double x[ROWS * COLUMNS];
  for (uint64_t seed = 0; seed < SEEDS; seed++)
    for (int kind = 0; kind < WORLD_KINDS; kind++) {
      world_fill((enum world_kind)kind, seed, ROWS, COLUMNS, BYZANTINE, x);
      check_pre(CNS_ROBUST_NNM, x, seed, kind);
      check_pre(CNS_ROBUST_CLIPPING, x, seed, kind);
      check_pre(CNS_ROBUST_ARC, x, seed, kind);
    }
}

/* Row i has 2^i in its one column, so a bucket's sum says which rows are in it. */
static void buckets_are_a_partition(void **state) {
  double x[ROWS], means[ROWS], weights[ROWS];
  unsigned orders = 0;
  for (size_t i = 0; i < ROWS; i++)
    x[i] = (double)(1u << i);
  for (uint64_t seed = 0; seed < 50; seed++) {
    struct cns_robust_params p = {.size = 3, .seed = seed};
    assert_int_equal(cns_robust_pre_rows(CNS_ROBUST_BUCKETING, &p, ROWS), 4);
    assert_int_equal(
        cns_robust_preaggregate(CNS_ROBUST_BUCKETING, &p, CNS_ROBUST_F64, x, ROWS, 1, means, weights, NULL),
        0);
    unsigned seen = 0, first = 0;
    for (size_t b = 0; b < 4; b++) {
      unsigned rows = (unsigned)lround(means[b] * weights[b]);
      assert_true(weights[b] == (b < 3 ? 3 : 2));
      assert_int_equal(__builtin_popcount(rows), (int)weights[b]);
      assert_int_equal(seen & rows, 0);
      seen |= rows;
      if (b == 0) first = rows;
    }
    assert_int_equal(seen, (1u << ROWS) - 1);
    orders |= first;
  }
  assert_int_equal(orders, (1u << ROWS) - 1); /* each row came first at some time */
}

static void byzfl_agrees(void **state) {
  for (size_t k = 0; k < sizeof byzfl_rules / sizeof *byzfl_rules; k++) {
    const struct byzfl_rule *v = &byzfl_rules[k];
    double got[BYZFL_ROWS * BYZFL_COLUMNS];
    for (size_t size = 4; size <= 8; size += 4) {
      enum cns_robust_type type = size == 4 ? CNS_ROBUST_F32 : CNS_ROBUST_F64;
      void *matrix = world_as(type, byzfl_rows[v->kind], BYZFL_ROWS * BYZFL_COLUMNS);
      enum cns_robust_rule rule;
      enum cns_robust_pre pre;
      size_t rows = 1;
      int r;
      if (cns_robust_find_rule(v->name, &rule, NULL) == 0)
        r = cns_robust_aggregate(rule, &v->params, type, matrix, BYZFL_ROWS, BYZFL_COLUMNS, got, NULL);
      else {
        assert_int_equal(cns_robust_find_pre(v->name, &pre, NULL), 0);
        rows = BYZFL_ROWS;
        r = cns_robust_preaggregate(pre, &v->params, type, matrix, rows, BYZFL_COLUMNS, got, NULL, NULL);
      }
      assert_int_equal(r, 0);
      agrees(v->name, 0, v->kind, type, got, v->result, rows * BYZFL_COLUMNS);
      free(matrix);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rules_agree_with_brute_force),
      cmocka_unit_test(variants_agree_with_brute_force),
      cmocka_unit_test(any_number_of_rows),
      cmocka_unit_test(preaggregations_agree_with_brute_force),
      cmocka_unit_test(buckets_are_a_partition),
      cmocka_unit_test(byzfl_agrees),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
