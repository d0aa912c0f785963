/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for rules whatever the numbers; weights; what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "rules_world.h"

#define ROWS 15
#define COLUMNS 33
#define BYZANTINE 3
#define SEED 77

static double reference[COLUMNS];

static int setup(void **state) {
  for (size_t c = 0; c < COLUMNS; c++)
    reference[c] = c % 3 ? 1 : 0.5;
  return cns_init();
}

static void aggregate(enum cns_robust_rule rule, const struct cns_robust_params *p, const double *x, size_t n,
                      size_t d, double *ret_vector) {
  struct cns_problem problem = {{0}};
  if (cns_robust_aggregate(rule, p, CNS_ROBUST_F64, x, n, d, ret_vector, &problem) < 0)
    fail_msg("%s: %s", cns_robust_about_rule(rule)->name, problem.text);
}

static void near(const char *what, enum cns_robust_rule rule, const double *got, const double *want, size_t d,
                 double tolerance) {
  for (size_t c = 0; c < d; c++)
    if (!(fabs(got[c] - want[c]) <= tolerance * (1 + fabs(want[c]))))
      fail_msg("%s, %s: %.17g instead of %.17g (seed %d)", what, cns_robust_about_rule(rule)->name, got[c],
               want[c], SEED);
}

/* In parts of all sizes, with one thread and with more than there are parts. */
static void threads_change_no_byte(void **state) {
  static const size_t wide[] = {1, 63, 64, 65, 4097, 20011};
  for (size_t w = 0; w < sizeof wide / sizeof *wide; w++)
    for (size_t size = 4; size <= 8; size += 4) {
      enum cns_robust_type type = size == 4 ? CNS_ROBUST_F32 : CNS_ROBUST_F64;
      size_t d = wide[w];
      double *x = malloc(ROWS * d * sizeof *x), *want = calloc(ROWS * d, 8), *got = calloc(ROWS * d, 8);
      assert_true(x && want && got);
      world_fill(WORLD_ATTACKED, SEED, ROWS, d, BYZANTINE, x);
      void *matrix = world_as(type, x, ROWS * d), *trusted = world_as(type, x + (ROWS - 1) * d, d);
      for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++)
        for (size_t threads = 1; threads <= 7; threads += threads) {
          struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, BYZANTINE, trusted);
          p.threads = threads == 4 ? 3 : threads == 1 ? 1 : 7;
          assert_int_equal(cns_robust_aggregate((enum cns_robust_rule)rule, &p, type, matrix, ROWS, d,
                                                threads == 1 ? want : got, NULL),
                           0);
          if (threads > 1) assert_memory_equal(want, got, d * size);
        }
      for (int pre = 0; pre < CNS_ROBUST_PRE_COUNT; pre++)
        for (size_t threads = 1; threads <= 2; threads++) {
          struct cns_robust_params p = world_pre_params((enum cns_robust_pre)pre, BYZANTINE);
          p.threads = threads == 2 ? 5 : 1;
          size_t rows = cns_robust_pre_rows((enum cns_robust_pre)pre, &p, ROWS);
          assert_int_equal(cns_robust_preaggregate((enum cns_robust_pre)pre, &p, type, matrix, ROWS, d,
                                                   threads == 1 ? want : got, NULL, NULL),
                           0);
          if (threads > 1) assert_memory_equal(want, got, rows * d * size);
        }
      free(x);
      free(want);
      free(got);
      free(matrix);
      free(trusted);
    }
}

static uint64_t digest(uint64_t hash, const void *bytes, size_t len) {
  for (size_t k = 0; k < len; k++)
    hash = (hash ^ ((const uint8_t *)bytes)[k]) * 0x100000001b3u; /* FNV-1a */
  return hash;
}

/* The figures are those of the portable loops, and have to come out of each version for a
 * processor and of each compiler. All numbers are sums, products and square roots. */
static void all_versions_give_the_same_bytes(void **state) {
  static const struct {
    enum cns_robust_rule rule;
    uint64_t f32, f64;
  } portable[] = {{CNS_ROBUST_MEAN, 0x12e86fcaebfd5bef, 0x3c398bcab224c921},
                  {CNS_ROBUST_MEDIAN, 0xe6d918351a1378a3, 0x0250c33aafc1d567},
                  {CNS_ROBUST_TRIMMED_MEAN, 0x30a328cb080bc73a, 0xa58afb64ea62418a},
                  {CNS_ROBUST_MEAMED, 0xeef8f6c67b775cf2, 0xf6b923f3522360d4},
                  {CNS_ROBUST_BULYAN, 0xc24c34226a294b05, 0x5e109856c447e369},
                  {CNS_ROBUST_GEOMETRIC_MEDIAN, 0xd13299fa928004fb, 0x29edd28ec2a494c2},
                  {CNS_ROBUST_CLIPPED_MEAN, 0xe23e69162946d023, 0x337a36e97dab4bcb},
                  {CNS_ROBUST_FLTRUST, 0x708bf6c87227edc7, 0xd29d4c3b008aade7}};
  static double x[ROWS * 5003], got[5003];
  world_fill(WORLD_ATTACKED, SEED, ROWS, 5003, BYZANTINE, x);
  for (size_t k = 0; k < sizeof portable / sizeof *portable; k++)
    for (size_t size = 4; size <= 8; size += 4) {
      enum cns_robust_type type = size == 4 ? CNS_ROBUST_F32 : CNS_ROBUST_F64;
      void *matrix = world_as(type, x, ROWS * 5003);
      struct cns_robust_params p = world_rule_params(portable[k].rule, BYZANTINE, matrix);
      if (portable[k].rule == CNS_ROBUST_GEOMETRIC_MEDIAN) p.iterations = 5;
      assert_int_equal(cns_robust_aggregate(portable[k].rule, &p, type, matrix, ROWS, 5003, got, NULL), 0);
      uint64_t hash = digest(0xcbf29ce484222325u, got, 5003 * size);
      if (hash != (size == 4 ? portable[k].f32 : portable[k].f64))
        fail_msg("%s, %zu bytes: 0x%016llx", cns_robust_about_rule(portable[k].rule)->name, size,
                 (unsigned long long)hash);
      free(matrix);
    }
}

/* mda has several best subsets at times, and takes the first; dnc draws no columns here. */
static void the_order_of_rows_does_not_matter(void **state) {
  double x[ROWS * COLUMNS], turned[ROWS * COLUMNS], want[COLUMNS], got[COLUMNS];
  world_fill(WORLD_IID, SEED, ROWS, COLUMNS, BYZANTINE, x);
  for (size_t i = 0; i < ROWS; i++)
    memcpy(turned + (i * 4 + 2) % ROWS * COLUMNS, x + i * COLUMNS, sizeof want);
  for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++) {
    struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, BYZANTINE, reference);
    if (rule == CNS_ROBUST_MDA) continue;
    aggregate((enum cns_robust_rule)rule, &p, x, ROWS, COLUMNS, want);
    p.pivot = (p.pivot * 4 + 2) % ROWS;
    if (rule != CNS_ROBUST_MONNA) p.pivot = 0;
    aggregate((enum cns_robust_rule)rule, &p, turned, ROWS, COLUMNS, got);
    near("other order", (enum cns_robust_rule)rule, got, want, COLUMNS, 1e-10);
  }
}

static bool has_an_origin(int rule) {
  return rule == CNS_ROBUST_CENTERED_CLIPPING || rule == CNS_ROBUST_FLTRUST ||
         rule == CNS_ROBUST_CLIPPED_MEAN;
}

static void translations_and_scales_go_through(void **state) {
  double x[ROWS * COLUMNS], moved[ROWS * COLUMNS], scaled[ROWS * COLUMNS], want[COLUMNS], got[COLUMNS];
  world_fill(WORLD_ATTACKED, SEED, ROWS, COLUMNS, BYZANTINE, x);
  for (size_t k = 0; k < ROWS * COLUMNS; k++) {
    moved[k] = x[k] + 1000;
    scaled[k] = x[k] * 1e-30;
  }
  for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++) {
    struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, BYZANTINE, reference);
    if (has_an_origin(rule)) continue;
    if (rule == CNS_ROBUST_GEOMETRIC_MEDIAN) p.nu = 1e-3;
    aggregate((enum cns_robust_rule)rule, &p, x, ROWS, COLUMNS, want);
    aggregate((enum cns_robust_rule)rule, &p, moved, ROWS, COLUMNS, got);
    for (size_t c = 0; c < COLUMNS; c++)
      got[c] -= 1000;
    near("translated", (enum cns_robust_rule)rule, got, want, COLUMNS, 1e-8);
    if (rule == CNS_ROBUST_GEOMETRIC_MEDIAN) p.nu *= 1e-30;
    aggregate((enum cns_robust_rule)rule, &p, scaled, ROWS, COLUMNS, got);
    for (size_t c = 0; c < COLUMNS; c++)
      got[c] *= 1e30;
    near("scaled", (enum cns_robust_rule)rule, got, want, COLUMNS, 1e-8);
  }
}

/* A common mean of 1e6 leaves 1e-1 of float's digits for the differences: those are exact all the same. */
static void a_common_mean_cancels_nothing(void **state) {
  float x[ROWS * COLUMNS], krum_row[COLUMNS];
  double plain[ROWS * COLUMNS], row[COLUMNS];
  world_fill(WORLD_IID, SEED, ROWS, COLUMNS, 0, plain);
  for (size_t k = 0; k < ROWS * COLUMNS; k++) {
    x[k] = (float)(plain[k] + 1e6);
    plain[k] = (double)x[k] - 1e6;
  }
  struct cns_robust_params p = {.byzantine = BYZANTINE};
  aggregate(CNS_ROBUST_KRUM, &p, plain, ROWS, COLUMNS, row);
  assert_int_equal(
      cns_robust_aggregate(CNS_ROBUST_KRUM, &p, CNS_ROBUST_F32, x, ROWS, COLUMNS, krum_row, NULL), 0);
  for (size_t c = 0; c < COLUMNS; c++)
    assert_true((double)krum_row[c] == row[c] + 1e6);
}

/* ---- weights ---- */

static void equal_weights_are_none(void **state) {
  double x[ROWS * COLUMNS], weights[ROWS], want[ROWS * COLUMNS], got[ROWS * COLUMNS], ret[ROWS];
  for (size_t i = 0; i < ROWS; i++)
    weights[i] = 37;
  for (int kind = 0; kind < WORLD_KINDS; kind++) {
    world_fill((enum world_kind)kind, SEED, ROWS, COLUMNS, BYZANTINE, x);
    for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++) {
      if (!cns_robust_about_rule((enum cns_robust_rule)rule)->takes_weights) continue;
      struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, BYZANTINE, reference);
      aggregate((enum cns_robust_rule)rule, &p, x, ROWS, COLUMNS, want);
      p.weights = weights;
      aggregate((enum cns_robust_rule)rule, &p, x, ROWS, COLUMNS, got);
      near("equal weights", (enum cns_robust_rule)rule, got, want, COLUMNS, 1e-10);
    }
    for (int pre = 0; pre < CNS_ROBUST_PRE_COUNT; pre++) {
      struct cns_robust_params p = world_pre_params((enum cns_robust_pre)pre, BYZANTINE);
      size_t rows = cns_robust_pre_rows((enum cns_robust_pre)pre, &p, ROWS);
      assert_int_equal(cns_robust_preaggregate((enum cns_robust_pre)pre, &p, CNS_ROBUST_F64, x, ROWS, COLUMNS,
                                               want, NULL, NULL),
                       0);
      p.weights = weights;
      assert_int_equal(cns_robust_preaggregate((enum cns_robust_pre)pre, &p, CNS_ROBUST_F64, x, ROWS, COLUMNS,
                                               got, ret, NULL),
                       0);
      for (size_t k = 0; k < rows * COLUMNS; k++)
        assert_true(fabs(got[k] - want[k]) <= 1e-10 * (1 + fabs(want[k])));
      for (size_t i = 0; i < rows; i++)
        assert_true(ret[i] == (pre == CNS_ROBUST_BUCKETING ? 37 * 3 : 37));
    }
  }
}

/* 10 rows with weights that add up to 20, f = 2: the same as 20 rows, f = 4. fltrust, caf and
 * the clippings take their weights so too. */
static void whole_weights_are_repeated_rows(void **state) {
  static const double weights[10] = {1, 3, 2, 1, 4, 1, 2, 3, 2, 1};
  double x[10 * COLUMNS], many[20 * COLUMNS], want[COLUMNS], got[COLUMNS];
  for (uint64_t seed = 0; seed < 10; seed++)
    for (int kind = 0; kind < WORLD_KINDS; kind++) {
      size_t at = 0;
      world_fill((enum world_kind)kind, seed, 10, COLUMNS, 2, x);
      for (size_t i = 0; i < 10; i++)
        for (size_t k = 0; k < (size_t)weights[i]; k++)
          memcpy(many + at++ * COLUMNS, x + i * COLUMNS, sizeof want);
      for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++) {
        struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, 2, reference);
        if (!cns_robust_about_rule((enum cns_robust_rule)rule)->takes_weights) continue;
        p.weights = weights;
        aggregate((enum cns_robust_rule)rule, &p, x, 10, COLUMNS, got);
        p.weights = NULL;
        p.byzantine = 4;
        if (rule == CNS_ROBUST_MONNA) p.pivot = 6; /* row 3 stands at 6 */
        aggregate((enum cns_robust_rule)rule, &p, many, 20, COLUMNS, want);
        near("repeated rows", (enum cns_robust_rule)rule, got, want, COLUMNS, 1e-9);
      }
    }
}

/* Distance that the result moves when the hospital with 0.6 % of the patients sends `far` times
 * one of the others' updates. */
static double moved_by_small(enum cns_robust_rule rule, struct cns_robust_params p, double far) {
  double x[10 * COLUMNS], before[COLUMNS], after[COLUMNS], sum = 0;
  world_fill(WORLD_IID, SEED, 10, COLUMNS, 0, x);
  aggregate(rule, &p, x, 10, COLUMNS, before);
  for (size_t c = 0; c < COLUMNS; c++)
    x[c] *= far;
  aggregate(rule, &p, x, 10, COLUMNS, after);
  for (size_t c = 0; c < COLUMNS; c++)
    sum += (after[c] - before[c]) * (after[c] - before[c]);
  return sqrt(sum);
}

/*
 * Row 0 has 6 of 1000 patients. However far it goes, a weighted rule moves by no more
 * than a few times its weight times the spread of the others, and far less than the
 * unweighted rule, for which it is one of ten.
 */
static void a_small_hospital_moves_what_its_weight_allows(void **state) {
  static const double weights[10] = {6, 110, 110, 110, 110, 110, 110, 112, 111, 111};
  static const enum cns_robust_rule rules[] = {CNS_ROBUST_MEDIAN,
                                               CNS_ROBUST_TRIMMED_MEAN,
                                               CNS_ROBUST_MEAMED,
                                               CNS_ROBUST_GEOMETRIC_MEDIAN,
                                               CNS_ROBUST_CENTERED_CLIPPING,
                                               CNS_ROBUST_CLIPPED_MEAN,
                                               CNS_ROBUST_CAF};
  double length = sqrt(COLUMNS / 3.0 + COLUMNS / 16.0); /* of a row, about */
  for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
    struct cns_robust_params p = world_rule_params(rules[k], 1, reference);
    double plain = moved_by_small(rules[k], p, -1000);
    p.weights = weights;
    double weighted = moved_by_small(rules[k], p, -1000);
    print_message("%-18s moved by %.4f, unweighted by %.4f\n", cns_robust_about_rule(rules[k])->name,
                  weighted, plain);
    assert_true(weighted <= 0.006 * 10 * length);
    assert_true(weighted < plain / 3);
  }
}

/* ---- what is refused ---- */

struct refusal {
  int rule;
  size_t n;
  struct cns_robust_params params;
  int error;
  const char *says;
};

static void wrong_numbers_are_refused(void **state) {
  static const double bad_weights[] = {1, 1, -1, 1, 1}, weights[] = {1, 1, 1, 1, 1};
  const struct refusal refusals[] = {
      {CNS_ROBUST_MEAN, 0, {0}, CNS_ERR_RANGE, "at least 1 row"},
      {CNS_ROBUST_MEDIAN, 1, {0}, CNS_ERR_RANGE, "at least 2 rows, there is 1"},
      {CNS_ROBUST_MEAN, 1001, {0}, CNS_ERR_RANGE, "at most 1000"},
      {CNS_ROBUST_MEAN, 5, {.byzantine = 5}, CNS_ERR_RANGE, "at least one must be honest"},
      {CNS_ROBUST_TRIMMED_MEAN, 4, {.byzantine = 2}, CNS_ERR_RANGE, "at least 5 rows, there are 4"},
      {CNS_ROBUST_KRUM, 6, {.byzantine = 2}, CNS_ERR_RANGE, "at least 7 rows"},
      {CNS_ROBUST_KRUM, 4, {.byzantine = 2, .variant = "byzfl"}, CNS_ERR_RANGE, "at least 5 rows"},
      {CNS_ROBUST_BULYAN, 10, {.byzantine = 2}, CNS_ERR_RANGE, "at least 11 rows"},
      {CNS_ROBUST_BULYAN, 11, {.byzantine = 2, .variant = "byzfl"}, CNS_ERR_ARGUMENT, "flower"},
      {CNS_ROBUST_MEAN, 5, {.variant = "byzfl"}, CNS_ERR_ARGUMENT, "no variants"},
      {CNS_ROBUST_KRUM, 5, {.weights = weights}, CNS_ERR_ARGUMENT, "isn't defined with weights"},
      {CNS_ROBUST_MEAN, 5, {.weights = bad_weights}, CNS_ERR_RANGE, "row 2"},
      {CNS_ROBUST_MEAN, 5, {.nu = 1}, CNS_ERR_ARGUMENT, "takes no nu"},
      {CNS_ROBUST_GEOMETRIC_MEDIAN, 5, {.nu = -1}, CNS_ERR_RANGE, "above 0"},
      {CNS_ROBUST_GEOMETRIC_MEDIAN, 5, {.nu = NAN}, CNS_ERR_RANGE, "finite"},
      {CNS_ROBUST_GEOMETRIC_MEDIAN, 5, {.iterations = 10001}, CNS_ERR_RANGE, "at most 10000"},
      {CNS_ROBUST_CENTERED_CLIPPING, 5, {0}, CNS_ERR_ARGUMENT, "needs tau"},
      {CNS_ROBUST_CLIPPED_MEAN, 5, {0}, CNS_ERR_ARGUMENT, "needs norm"},
      {CNS_ROBUST_MONNA, 5, {.pivot = 5}, CNS_ERR_RANGE, "pivot 5"},
      {CNS_ROBUST_MEAN, 5, {.pivot = 2}, CNS_ERR_ARGUMENT, "takes no pivot"},
      {CNS_ROBUST_MEAN, 5, {.size = 2}, CNS_ERR_ARGUMENT, "takes no size"},
      {CNS_ROBUST_MEAN, 5, {.seed = 2}, CNS_ERR_ARGUMENT, "takes no seed"},
      {CNS_ROBUST_FLTRUST, 5, {0}, CNS_ERR_ARGUMENT, "needs reference"},
      {CNS_ROBUST_MEAN, 5, {.reference = weights}, CNS_ERR_ARGUMENT, "takes no reference"},
      {CNS_ROBUST_DNC, 5, {.byzantine = 2, .iterations = 3}, CNS_ERR_RANGE, "only 5"},
      {CNS_ROBUST_SMEA, 40, {.byzantine = 10}, CNS_ERR_LIMIT, "bucketing"},
  };
  double x[5] = {0}, got = 7;
  for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) {
    const struct refusal *r = &refusals[k];
    struct cns_problem problem = {{0}};
    int error = cns_robust_aggregate((enum cns_robust_rule)r->rule, &r->params, CNS_ROBUST_F64, x, r->n, 1,
                                     &got, &problem);
    if (error != r->error || !strstr(problem.text, r->says))
      fail_msg("%zu: %s: %s", k, cns_error_name(error), problem.text);
  }
  assert_true(got == 7);
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_robust_check_pre(CNS_ROBUST_BUCKETING, NULL, 5, &problem), CNS_ERR_ARGUMENT);
  assert_non_null(strstr(problem.text, "needs size"));
  assert_int_equal(cns_robust_check_pre(CNS_ROBUST_NNM, NULL, 1, &problem), CNS_ERR_RANGE);
}

static void wrong_matrices_are_refused(void **state) {
  double x[6] = {1, 2, 3, 4, 5, 6}, got[2], zero[2] = {0};
  struct cns_problem problem = {{0}};
  bool finite[3];
  assert_int_equal(cns_robust_aggregate(CNS_ROBUST_MEAN, NULL, CNS_ROBUST_F64, x, 3, 0, got, &problem),
                   CNS_ERR_ARGUMENT);
  assert_int_equal(
      cns_robust_aggregate(CNS_ROBUST_MEAN, NULL, (enum cns_robust_type)2, x, 3, 2, got, &problem),
      CNS_ERR_ARGUMENT);
  assert_int_equal(
      cns_robust_aggregate(CNS_ROBUST_MEAN, NULL, CNS_ROBUST_F64, x, 3, SIZE_MAX / 8, got, &problem),
      CNS_ERR_LIMIT);
  struct cns_robust_params trust = {.reference = zero};
  assert_int_equal(cns_robust_aggregate(CNS_ROBUST_FLTRUST, &trust, CNS_ROBUST_F64, x, 3, 2, got, &problem),
                   CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "reference is zero"));
  for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++)
    for (int k = 0; k < 3; k++) {
      double bad[] = {NAN, INFINITY, -INFINITY}, y[6] = {1, 2, 3, bad[k], 5, 6};
      struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, 0, x);
      if (rule == CNS_ROBUST_MONNA) p.pivot = 0;
      assert_int_equal(
          cns_robust_aggregate((enum cns_robust_rule)rule, &p, CNS_ROBUST_F64, y, 3, 2, got, &problem),
          CNS_ERR_RANGE);
      if (!strstr(problem.text, "row 1 ")) fail_msg("%s", problem.text);
    }
  x[5] = NAN;
  assert_int_equal(cns_robust_finite_rows(CNS_ROBUST_F64, x, 3, 2, 1, finite), 2);
  assert_true(finite[0] && finite[1] && !finite[2]);
}

/* No overflow in silence: an error, or a finite result. */
static void huge_numbers_are_safe(void **state) {
  double x[ROWS * COLUMNS], got[COLUMNS];
  float f32[ROWS * COLUMNS], f32_got[COLUMNS];
  world_fill(WORLD_ATTACKED, SEED, ROWS, COLUMNS, BYZANTINE, x);
  for (size_t k = 0; k < ROWS * COLUMNS; k++) {
    f32[k] = (float)(x[k] * 1e35);
    x[k] *= 1e304;
  }
  float trusted[COLUMNS] = {1};
  for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++) {
    struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, BYZANTINE, reference);
    struct cns_problem problem = {{0}};
    int r =
        cns_robust_aggregate((enum cns_robust_rule)rule, &p, CNS_ROBUST_F64, x, ROWS, COLUMNS, got, &problem);
    for (size_t c = 0; r == 0 && c < COLUMNS; c++)
      if (!isfinite(got[c])) fail_msg("%s", cns_robust_about_rule((enum cns_robust_rule)rule)->name);
    if (r < 0 && !strstr(problem.text, "scale them down")) fail_msg("%d: %s", rule, problem.text);
    if (p.reference) p.reference = trusted;
    assert_int_equal(cns_robust_aggregate((enum cns_robust_rule)rule, &p, CNS_ROBUST_F32, f32, ROWS, COLUMNS,
                                          f32_got, &problem),
                     0);
    for (size_t c = 0; c < COLUMNS; c++)
      assert_true(isfinite(f32_got[c]));
  }
}

/* All rows equal: no direction, no diameter, scores that all tie. */
static void equal_rows_give_that_row(void **state) {
  double x[ROWS * COLUMNS], got[COLUMNS];
  for (size_t k = 0; k < ROWS * COLUMNS; k++)
    x[k] = reference[k % COLUMNS];
  for (int rule = 0; rule < CNS_ROBUST_RULE_COUNT; rule++) {
    struct cns_robust_params p = world_rule_params((enum cns_robust_rule)rule, BYZANTINE, reference);
    if (p.tau != 0) p.tau = 100;
    if (p.norm != 0) p.norm = 100;
    aggregate((enum cns_robust_rule)rule, &p, x, ROWS, COLUMNS, got);
    near("equal rows", (enum cns_robust_rule)rule, got, reference, COLUMNS, 1e-12);
  }
}

static void names_are_found_or_guessed(void **state) {
  for (int k = 0; k < CNS_ROBUST_RULE_COUNT; k++) {
    const struct cns_robust_about *about = cns_robust_about_rule((enum cns_robust_rule)k);
    enum cns_robust_rule rule;
    assert_int_equal(cns_robust_find_rule(about->name, &rule, NULL), 0);
    assert_int_equal(rule, k);
    assert_true(about->formula && about->breakdown && about->cost && about->source && about->params &&
                about->variants);
  }
  static const struct {
    const char *name, *says;
  } wrong[] = {{"medain", "did you mean 'median'?"},
               {"trimmed_mean", "did you mean 'trimmed-mean'?"},
               {"multikrum", "did you mean 'multi-krum'?"},
               {"something-else", "there are mean, median"},
               {"", "there is no rule"},
               {"krumm", "did you mean 'krum'?"}};
  struct cns_problem problem;
  enum cns_robust_rule rule;
  enum cns_robust_pre pre;
  for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
    assert_int_equal(cns_robust_find_rule(wrong[k].name, &rule, &problem), CNS_ERR_NOT_FOUND);
    if (!strstr(problem.text, wrong[k].says)) fail_msg("%s", problem.text);
  }
  assert_int_equal(cns_robust_find_pre("mnn", &pre, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "'nnm'"));
  assert_int_equal(cns_robust_find_pre("arc", &pre, NULL), 0);
  assert_int_equal(pre, CNS_ROBUST_ARC);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_change_no_byte),
      cmocka_unit_test(all_versions_give_the_same_bytes),
      cmocka_unit_test(the_order_of_rows_does_not_matter),
      cmocka_unit_test(translations_and_scales_go_through),
      cmocka_unit_test(a_common_mean_cancels_nothing),
      cmocka_unit_test(equal_weights_are_none),
      cmocka_unit_test(whole_weights_are_repeated_rows),
      cmocka_unit_test(a_small_hospital_moves_what_its_weight_allows),
      cmocka_unit_test(wrong_numbers_are_refused),
      cmocka_unit_test(wrong_matrices_are_refused),
      cmocka_unit_test(huge_numbers_are_safe),
      cmocka_unit_test(equal_rows_give_that_row),
      cmocka_unit_test(names_are_found_or_guessed),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
