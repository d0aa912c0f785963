/* SPDX-License-Identifier: Apache-2.0 */
/* Splits, one run of a cell, and what the tables make of the results. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/bench.h"

static struct cns_bench_data data;

static int load(void **state) {
  const struct cns_bench_source shipped = {.kind = CNS_BENCH_SHIPPED};
  return cns_bench_data_load(&shipped, &data, NULL);
}

static int unload(void **state) {
  cns_bench_data_deinit(&data);
  return 0;
}

/* Patients of a hospital, and how many of them have label 1. */
static void count(const uint16_t *part, size_t hospital, size_t *ret_all, size_t *ret_ones) {
  *ret_all = *ret_ones = 0;
  for (size_t i = 0; i < data.table.rows; i++) {
    *ret_all += part[i] == hospital;
    *ret_ones += part[i] == hospital && data.table.label[i] == 1;
  }
}

static uint16_t *deal(struct cns_bench_split split, size_t hospitals, uint64_t seed) {
  uint16_t *part = calloc(data.table.rows, sizeof *part);
  struct cns_problem problem = {0};
  assert_non_null(part);
  if (cns_bench_split_deal(&split, &data.table, hospitals, seed, part, &problem) != 0)
    fail_msg("seed %llu: %s", (unsigned long long)seed, problem.text);
  return part;
}

static void one_small_hospital_has_its_share(void **state) {
  for (uint64_t seed = 1; seed <= 3; seed++) {
    uint16_t *part = deal((struct cns_bench_split){.kind = CNS_BENCH_ONE_SMALL, .value = 0.006}, 20, seed);
    size_t all, ones;
    count(part, 19, &all, &ones);
    assert_int_equal(all, 3); /* 0.006 * 569 = 3.4 */
    for (size_t h = 0; h < 19; h++) {
      count(part, h, &all, &ones);
      assert_in_range(all, 29, 30); /* 566 / 19 */
    }
    free(part);
  }
}

static void hospitals_by_label_have_that_many_classes(void **state) {
  size_t mixed = 0, all, ones;
  uint16_t *part = deal((struct cns_bench_split){.kind = CNS_BENCH_BY_LABEL, .value = 1}, 10, 7);
  for (size_t h = 0; h < 10; h++) {
    count(part, h, &all, &ones);
    assert_in_range(all, 56, 57);
    mixed += ones > 0 && ones < all;
  }
  assert_in_range(mixed, 0, 1); /* only the piece in which one class ends and the other begins */
  free(part);
}

static void sizes_fall_by_the_ratio(void **state) {
  size_t first, last, ones;
  uint16_t *part = deal((struct cns_bench_split){.kind = CNS_BENCH_BY_SIZE, .value = 8}, 5, 1);
  count(part, 0, &first, &ones);
  count(part, 4, &last, &ones);
  assert_true(fabs((double)first / (double)last - 8) < 0.6);
  free(part);
}

/* iid: each hospital's share of label 1 is near 0.37; Dirichlet(0.1): mostly near 0 or 1. */
static void dirichlet_is_heterogeneous_and_iid_is_not(void **state) {
  size_t extreme[2] = {0}, all, ones;
  for (int kind = 0; kind < 2; kind++) {
    uint16_t *part = deal(
        (struct cns_bench_split){.kind = kind ? CNS_BENCH_DIRICHLET : CNS_BENCH_IID, .value = 0.1}, 20, 3);
    for (size_t h = 0; h < 20; h++) {
      count(part, h, &all, &ones);
      double share = (double)ones / (double)all;
      extreme[kind] += share < 0.1 || share > 0.9;
    }
    free(part);
  }
  assert_int_equal(extreme[0], 0);
  assert_true(extreme[1] >= 12);
}

static void too_many_hospitals_are_refused(void **state) {
  struct cns_problem problem = {0};
  const struct cns_bench_split split = {.label = "by label", .kind = CNS_BENCH_BY_LABEL, .value = 1};
  uint16_t *part = calloc(data.table.rows, sizeof *part);
  assert_non_null(part);
  assert_int_equal(cns_bench_split_deal(&split, &data.table, 600, 1, part, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "569 patients"));
  free(part);
}

#define CONFIG                                                                                               \
  "{\"rounds\": 20, \"seeds\": [1, 2], \"hospitals\": 12, \"byzantine\": [3], \"evaluate_every\": 5,"        \
  "\"training\": {\"learning_rate\": 0.5, \"clip\": 1}, \"rules\": [\"mean\", \"median\","                   \
  "{\"rule\": \"mean\", \"weights\": \"patients\"}], \"attacks\": [\"none\", \"sign-flip:scale=20\"],"       \
  "\"influence\": true, \"attackers\": \"smallest\", \"splits\": [{\"split\": \"size\", \"ratio\": 10}]}"

struct fixture {
  struct cns_bench_config config;
  struct cns_bench_grid grid;
  struct cns_bench_result *results;
  struct cns_bench_report report;
};

static void run_all(struct fixture *f) {
  struct cns_problem problem = {0};
  if (cns_bench_config_parse(CONFIG, strlen(CONFIG), "c.json", &f->config, &problem) != 0 ||
      cns_bench_grid_init(&f->grid, &f->config, &problem) != 0)
    fail_msg("%s", problem.text);
  f->results = calloc(f->grid.count, sizeof *f->results);
  assert_non_null(f->results);
  for (size_t i = 0; i < f->grid.count; i++) {
    if (cns_bench_world_run(&f->config, &f->grid.cells[i], &data.table, &f->results[i], &problem) != 0)
      fail_msg("cell %zu: %s", i, problem.text);
    f->results[i].cell = i;
  }
  f->report = (struct cns_bench_report){&f->config, &f->grid, f->results, "."};
}

static void fixture_deinit(struct fixture *f) {
  for (size_t i = 0; i < f->grid.count; i++)
    cns_bench_result_deinit(&f->results[i]);
  free(f->results);
  cns_bench_grid_deinit(&f->grid);
  cns_bench_config_deinit(&f->config);
}

/* Grid: rule (mean, median, mean by patients) x attack (none, sign-flip) x seed (1, 2). */
static size_t at(size_t rule, size_t attack, size_t seed) {
  return (rule * 2 + attack) * 2 + seed;
}

static void a_run_learns_and_attacks_move_it(void **state) {
  struct fixture f = {.results = NULL};
  run_all(&f);
  assert_int_equal(f.grid.count, 12);
  for (size_t seed = 0; seed < 2; seed++) {
    const struct cns_bench_result *quiet = &f.results[at(0, 0, seed)], *mean = &f.results[at(0, 1, seed)],
                                  *median = &f.results[at(1, 1, seed)],
                                  *weighted = &f.results[at(2, 1, seed)];
    assert_int_equal(quiet->evaluations, 4);
    assert_true(cns_bench_metric_of(quiet, CNS_BENCH_ACCURACY) > 0.85);
    assert_true(cns_bench_metric_of(mean, CNS_BENCH_ACCURACY) < 0.6);
    assert_true(cns_bench_metric_of(median, CNS_BENCH_ACCURACY) > 0.85);
    /* What the attackers move of a mean is their share of the weights times what they changed, exactly. */
    assert_true(fabs(mean->moved / mean->mean_moved - 1) < 1e-3);
    assert_true(fabs(weighted->moved / weighted->mean_moved - 1) < 1e-3);
    assert_true(mean->share > 0.02 && mean->share < 0.1 && isnan(quiet->moved));
    assert_true(median->moved < median->mean_moved / 5);
  }
  fixture_deinit(&f);
}

static void runs_are_the_same_twice(void **state) {
  struct fixture a = {.results = NULL}, b = {.results = NULL};
  run_all(&a);
  run_all(&b);
  for (size_t i = 0; i < a.grid.count; i++)
    assert_memory_equal(a.results[i].accuracy, b.results[i].accuracy,
                        3 * a.results[i].evaluations * sizeof(double));
  fixture_deinit(&a);
  fixture_deinit(&b);
}

static void the_worst_case_is_the_worst_attack_of_each_seed(void **state) {
  struct fixture f = {.results = NULL};
  struct cns_bench_row *rows = NULL;
  size_t count = 0;
  double values[CNS_BENCH_SEEDS_MAX];
  run_all(&f);
  cns_bench_seeds(&f.report, at(0, 0, 0), true, CNS_BENCH_ACCURACY, values);
  for (size_t seed = 0; seed < 2; seed++)
    assert_true(values[seed] == fmin(cns_bench_metric_of(&f.results[at(0, 0, seed)], CNS_BENCH_ACCURACY),
                                     cns_bench_metric_of(&f.results[at(0, 1, seed)], CNS_BENCH_ACCURACY)));
  assert_int_equal(cns_bench_rows(&f.report, 0, &rows, &count), 0);
  assert_int_equal(count, 3);
  assert_true(rows[0].behind.mean == 0 && rows[1].behind.mean <= 0 &&
              rows[2].behind.mean <= rows[1].behind.mean);
  assert_int_equal(f.grid.cells[rows[0].cell].rule, 1); /* the median is first */
  assert_int_equal(rows[1].worst, 1);
  assert_int_equal(rows[2].worst, 1);
  free(rows);
  fixture_deinit(&f);
}

/* t_{0.975} with 3 degrees of freedom is 3.1824463: Abramowitz, Stegun 1964, table 26.10. */
static void intervals_are_students(void **state) {
  static const double a[] = {1, 2, 3, NAN, 6}, b[] = {0, 0, 0, 0, NAN};
  size_t used = 0;
  struct cns_statistics_interval all = cns_bench_interval(a, NULL, 5, &used);
  assert_int_equal(used, 4);
  assert_true(fabs(all.mean - 3) < 1e-12);
  /* standard deviation sqrt(14/3), over sqrt(4) */
  assert_true(fabs(all.high - (3 + 3.1824463 * sqrt(14.0 / 3) / 2)) < 1e-6);
  assert_int_equal((cns_bench_interval(a, b, 5, &used), used), 3);
  assert_true(isnan(cns_bench_interval(b + 4, NULL, 1, &used).mean) && used == 0);
}

static void the_final_value_is_the_last_quarter(void **state) {
  static const double values[] = {9, 9, 9, 9, 9, 9, 1, 3};
  assert_true(cns_bench_final(values, 8) == 2);
  assert_true(cns_bench_final(values, 1) == 9);
  assert_true(cns_bench_final(values + 3, 5) == 2); /* two of five */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_small_hospital_has_its_share),
      cmocka_unit_test(hospitals_by_label_have_that_many_classes),
      cmocka_unit_test(sizes_fall_by_the_ratio),
      cmocka_unit_test(dirichlet_is_heterogeneous_and_iid_is_not),
      cmocka_unit_test(too_many_hospitals_are_refused),
      cmocka_unit_test(a_run_learns_and_attacks_move_it),
      cmocka_unit_test(runs_are_the_same_twice),
      cmocka_unit_test(the_worst_case_is_the_worst_attack_of_each_seed),
      cmocka_unit_test(intervals_are_students),
      cmocka_unit_test(the_final_value_is_the_last_quarter),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, load, unload);
}
