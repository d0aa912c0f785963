/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "robust/detect.h"
#include "robust/geometry.h"
#include "robust_vectors.h"

#define SEED 8
#define BLOCKS 8
enum { N_MAX = 100, COLUMNS = 256 };

static struct cns_rng_seeded generator;
static double rows[N_MAX * COLUMNS], weights[N_MAX], bounds[N_MAX];
static struct cns_detect_input input;
static struct cns_detect_options options;

static int setup(void **state) {
  return cns_init();
}

static double uniform(void) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), UINT64_C(1) << 53, &value), 0);
  return ((double)value + 0.5) * 0x1p-53;
}

static double normal(void) {
  double radius = sqrt(-2 * log(uniform()));
  return radius * cos(2 * M_PI * uniform());
}

/* A common direction, a few directions of case mix, and noise of each one's own;
 * weights 1, 2, 3, ... */
static void cohort(size_t n, uint64_t seed) {
  double basis[6][COLUMNS];
  cns_rng_seeded_init_label(&generator, seed, "cohort");
  for (size_t b = 0; b < 6; b++)
    for (size_t c = 0; c < COLUMNS; c++)
      basis[b][c] = normal();
  for (size_t i = 0; i < n; i++) {
    double part[6] = {1};
    for (size_t b = 1; b < 6; b++)
      part[b] = 0.4 * normal();
    weights[i] = (double)(1 + i % 5);
    bounds[i] = 60 * weights[i];
    for (size_t c = 0; c < COLUMNS; c++) {
      double value = 0.3 * normal();
      for (size_t b = 0; b < 6; b++)
        value += part[b] * basis[b][c];
      rows[i * COLUMNS + c] = value * weights[i];
    }
  }
  input = (struct cns_detect_input){.hospitals = n,
                                    .columns = COLUMNS,
                                    .rows = rows,
                                    .weights = weights,
                                    .bounds = bounds,
                                    .blocks = BLOCKS};
  options = cns_detect_options_default();
}

static void scale_row(size_t row, double factor) {
  for (size_t c = 0; c < COLUMNS; c++)
    rows[row * COLUMNS + c] *= factor;
}

/* Row `to` becomes row `from` per unit of weight, with noise. */
static void copy_row(size_t from, size_t to, double jitter) {
  double length = 0, noise_length = 0, noise[COLUMNS];
  for (size_t c = 0; c < COLUMNS; c++) {
    noise[c] = normal();
    noise_length += noise[c] * noise[c];
    length += rows[from * COLUMNS + c] * rows[from * COLUMNS + c];
  }
  for (size_t c = 0; c < COLUMNS; c++)
    rows[to * COLUMNS + c] = (rows[from * COLUMNS + c] + jitter * noise[c] * sqrt(length / noise_length)) *
                             weights[to] / weights[from];
}

static const struct cns_detect_flag *find(const struct cns_detect_result *result, size_t row,
                                          enum cns_detect_statistic statistic) {
  for (size_t f = 0; f < result->flag_count; f++)
    if (result->flags[f].row == row && result->flags[f].statistic == statistic) return &result->flags[f];
  return NULL;
}

static const struct cns_detect_flag *need(const struct cns_detect_result *result, size_t row,
                                          enum cns_detect_statistic statistic) {
  static const struct cns_detect_flag none;
  const struct cns_detect_flag *flag = find(result, row, statistic);
  assert_non_null(flag);
  return flag ? flag : &none;
}

static struct cns_detect_result detect(void) {
  struct cns_detect_result result;
  struct cns_problem problem = {{0}};
  int r = cns_detect_round(&input, &options, &result, &problem);
  if (r != 0) fail_msg("%s", problem.text);
  return result;
}

static void geometry_is_that_of_others(void **state) {
  double median[VECTOR_COLUMNS], gram[VECTOR_ROWS * VECTOR_ROWS], room[VECTOR_ROWS], projection[VECTOR_ROWS];
  int steps = cns_geometry_median(vector_rows, VECTOR_ROWS, VECTOR_COLUMNS, median);
  assert_in_range(steps, 1, 999);
  for (size_t c = 0; c < VECTOR_COLUMNS; c++)
    assert_true(fabs(median[c] - vector_median[c]) < 1e-6);
  cns_geometry_gram(vector_rows, VECTOR_ROWS, VECTOR_COLUMNS, gram);
  cns_geometry_main_direction(gram, VECTOR_ROWS, room, projection);
  double sign = projection[0] * vector_projection[0] > 0 ? 1 : -1;
  for (size_t i = 0; i < VECTOR_ROWS; i++)
    assert_true(fabs(sign * projection[i] - vector_projection[i]) < 1e-7);
}

/* Points on a line: the geometric median is the middle one, also with an outlier. */
static void geometric_median_withstands_an_outlier(void **state) {
  double line[5] = {1, 2, 3, 4, 1e9}, median;
  assert_true(cns_geometry_median(line, 5, 1, &median) >= 0);
  assert_true(fabs(median - 3) < 1e-3);
}

static void honest_cohorts_are_rarely_flagged(void **state) {
  static const size_t sizes[] = {5, 8, 20, 100};
  for (size_t s = 0; s < 4; s++) {
    size_t flagged = 0, all = 0;
    for (uint64_t seed = 1; all < 400; seed++) {
      cohort(sizes[s], SEED * 1000 + seed);
      struct cns_detect_result result = detect();
      for (size_t i = 0; i < sizes[s]; i++, all++)
        flagged += cns_detect_is_flagged(&result, i);
      cns_detect_result_deinit(&result);
    }
    print_message("# n = %zu: %zu of %zu flagged\n", sizes[s], flagged, all);
    assert_true(flagged <= 12); /* nominal 4 */
  }
}

static void enlarged_updates_are_flagged(void **state) {
  cohort(20, SEED);
  scale_row(7, 10);
  struct cns_detect_result result = detect();
  const struct cns_detect_flag *bound = need(&result, 7, CNS_DETECT_BOUND),
                               *size = need(&result, 7, CNS_DETECT_SIZE);
  assert_true(find(&result, 7, CNS_DETECT_DISTANCE));
  assert_ptr_equal(bound, &result.flags[0]);
  assert_true(bound->value > bound->threshold && bound->strength > 1 && isnan(bound->median));
  assert_true(fabs(bound->threshold - result.bound_factor) < 1e-12);
  assert_true(size->value > size->threshold && size->threshold > size->median && size->mad > 0);
  assert_int_equal(bound->hospital, 8);
  assert_non_null(strstr(bound->text, "hospital 8"));
  assert_true(find(&result, 3, CNS_DETECT_BOUND) == NULL);
  cns_detect_result_deinit(&result);
}

static void opposed_updates_are_flagged(void **state) {
  cohort(20, SEED);
  scale_row(4, -1);
  struct cns_detect_result result = detect();
  const struct cns_detect_flag *flag = need(&result, 4, CNS_DETECT_DIRECTION);
  assert_true(flag->value < flag->threshold && flag->value < 0 && flag->median > 0);
  cns_detect_result_deinit(&result);
}

static void twins_are_flagged_in_clusters(void **state) {
  static const char *const names[20] = {[2] = "Nord\n", [9] = "St. Anna"};
  for (int step = 0; step <= 2; step++) {
    cohort(20, SEED + (uint64_t)step);
    copy_row(2, 9, 0.05 * step);
    copy_row(2, 15, 0.05 * step);
    copy_row(4, 5, 0.05 * step);
    input.name = names;
    struct cns_detect_result result = detect();
    static const size_t twins[] = {2, 9, 15, 4, 5};
    for (size_t t = 0; t < 5; t++) {
      const struct cns_detect_flag *flag = need(&result, twins[t], CNS_DETECT_TWINS);
      assert_int_equal(flag->cluster, t < 3 ? 2 : 4);
      assert_true(flag->value < flag->threshold);
    }
    assert_int_equal(need(&result, 4, CNS_DETECT_TWINS)->twin, 5);
    const char *text = need(&result, 9, CNS_DETECT_TWINS)->text;
    assert_true(strstr(text, "St. Anna") && !strchr(need(&result, 2, CNS_DETECT_TWINS)->text, '\n'));
    assert_null(find(&result, 0, CNS_DETECT_TWINS));
    cns_detect_result_deinit(&result);
  }
}

/* Like case mixes are no twins: a pair that differs by other patients only. */
static void like_hospitals_are_no_twins(void **state) {
  size_t flagged = 0;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    cohort(20, SEED + seed);
    for (size_t c = 0; c < COLUMNS; c++) { /* 11 is 3, moved a little towards 7 and 12 */
      double other = 0.1 * rows[7 * COLUMNS + c] / weights[7] + 0.1 * rows[12 * COLUMNS + c] / weights[12];
      rows[11 * COLUMNS + c] = weights[11] * (rows[3 * COLUMNS + c] / weights[3] + other);
    }
    struct cns_detect_result result = detect();
    flagged += find(&result, 11, CNS_DETECT_TWINS) != NULL;
    cns_detect_result_deinit(&result);
  }
  assert_int_equal(flagged, 0);
}

/* Hospitals in another order: the same flags, by roster index. */
static void order_of_hospitals_does_not_matter(void **state) {
  static double moved[20 * COLUMNS], weight[20], bound[20];
  uint16_t index[20], moved_index[20];
  cohort(20, SEED);
  scale_row(7, 10);
  scale_row(4, -1);
  copy_row(2, 9, 0.05);
  for (size_t i = 0; i < 20; i++)
    index[i] = (uint16_t)(100 + i);
  for (size_t i = 0; i < 20; i++) {
    size_t from = (i * 7 + 3) % 20;
    memcpy(&moved[i * COLUMNS], &rows[from * COLUMNS], COLUMNS * sizeof *moved);
    weight[i] = weights[from];
    bound[i] = bounds[from];
    moved_index[i] = index[from];
  }
  input.hospital = index;
  struct cns_detect_result a = detect(), again = detect();
  input.rows = moved;
  input.weights = weight;
  input.bounds = bound;
  input.hospital = moved_index;
  struct cns_detect_result b = detect();
  assert_int_equal(a.flag_count, b.flag_count);
  assert_memory_equal(a.flags, again.flags, a.flag_count * sizeof *a.flags);
  for (size_t f = 0; f < a.flag_count; f++) {
    assert_int_equal(a.flags[f].hospital, b.flags[f].hospital);
    assert_int_equal(a.flags[f].statistic, b.flags[f].statistic);
    assert_true(fabs(fabs(a.flags[f].value) - fabs(b.flags[f].value)) <= 1e-6 * fabs(a.flags[f].value));
  }
  cns_detect_result_deinit(&a);
  cns_detect_result_deinit(&again);
  cns_detect_result_deinit(&b);
}

static void units_do_not_matter(void **state) {
  cohort(20, SEED);
  copy_row(2, 9, 0.05);
  scale_row(7, 10);
  struct cns_detect_result a = detect();
  for (size_t i = 0; i < 20; i++) {
    scale_row(i, 0x1p20);
    bounds[i] *= 0x1p20;
  }
  struct cns_detect_result b = detect();
  assert_int_equal(a.flag_count, b.flag_count);
  for (size_t f = 0; f < a.flag_count; f++)
    assert_true(a.flags[f].row == b.flags[f].row && a.flags[f].statistic == b.flags[f].statistic);
  cns_detect_result_deinit(&a);
  cns_detect_result_deinit(&b);
}

static void small_cohorts_say_what_they_cannot(void **state) {
  cohort(7, SEED);
  struct cns_detect_result result = detect();
  assert_non_null(strstr(result.claim, "7 hospitals"));
  cns_detect_result_deinit(&result);
  cohort(8, SEED);
  result = detect();
  assert_string_equal(result.claim, "");
  cns_detect_result_deinit(&result);
}

static void degenerate_rows_are_no_crash(void **state) {
  cohort(6, SEED);
  memset(rows, 0, sizeof rows);
  struct cns_detect_result result = detect(); /* all zero: all identical */
  assert_true(find(&result, 0, CNS_DETECT_TWINS) != NULL);
  cns_detect_result_deinit(&result);
  cohort(6, SEED);
  scale_row(1, 0);
  result = detect();
  assert_null(find(&result, 1, CNS_DETECT_BOUND));
  cns_detect_result_deinit(&result);
  cohort(4, SEED);
  input.columns = 3; /* plain vectors of any length */
  input.blocks = 1;
  input.bounds = NULL;
  result = detect();
  assert_true(isnan(result.bound_factor));
  cns_detect_result_deinit(&result);
}

static void refuse(int expected) {
  struct cns_detect_result result = {.hospitals = 77};
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_detect_round(&input, &options, &result, &problem), expected);
  assert_true(problem.text[0] && result.hospitals == 77);
}

static void nonsense_is_refused(void **state) {
  static const double bad[] = {NAN, INFINITY, -INFINITY, 1e200};
  uint16_t index[20];
  for (size_t b = 0; b < 4; b++) {
    cohort(20, SEED);
    rows[5 * COLUMNS + 200] = bad[b];
    refuse(CNS_ERR_RANGE);
    cohort(20, SEED);
    weights[3] = b < 3 ? bad[b] : 0;
    refuse(CNS_ERR_RANGE);
    cohort(20, SEED);
    bounds[3] = b < 3 ? bad[b] : -1;
    refuse(CNS_ERR_RANGE);
  }
  cohort(20, SEED);
  for (size_t i = 0; i < 20; i++)
    index[i] = (uint16_t)(i % 19);
  input.hospital = index;
  refuse(CNS_ERR_RANGE);
  cohort(20, SEED);
  input.hospitals = 3;
  refuse(CNS_ERR_ARGUMENT);
  input.hospitals = 20;
  input.columns = 100; /* no sketch has 100 numbers */
  refuse(CNS_ERR_ARGUMENT);
  input.columns = COLUMNS;
  options.rate = 0;
  refuse(CNS_ERR_ARGUMENT);
  options = cns_detect_options_default();
  options.bound_rate = NAN;
  refuse(CNS_ERR_ARGUMENT);
  options = cns_detect_options_default();
  options.tightening = 0.5;
  refuse(CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(geometry_is_that_of_others),
      cmocka_unit_test(geometric_median_withstands_an_outlier),
      cmocka_unit_test(honest_cohorts_are_rarely_flagged),
      cmocka_unit_test(enlarged_updates_are_flagged),
      cmocka_unit_test(opposed_updates_are_flagged),
      cmocka_unit_test(twins_are_flagged_in_clusters),
      cmocka_unit_test(like_hospitals_are_no_twins),
      cmocka_unit_test(order_of_hospitals_does_not_matter),
      cmocka_unit_test(units_do_not_matter),
      cmocka_unit_test(small_cohorts_say_what_they_cannot),
      cmocka_unit_test(degenerate_rows_are_no_crash),
      cmocka_unit_test(nonsense_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
