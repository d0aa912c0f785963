/* SPDX-License-Identifier: Apache-2.0 */
/* A short run of benchmarks/detect_study.c: real training on the shipped data,
 * 20 hospitals of which 4 attack, sketches of 256 numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "benchmarks/detect_world.h"
#include "crypto/json.h"

#define SEED 1
#define CLIP 0.5

static struct cns_plan plan;
static struct cns_table table;

static int setup(void **state) {
  char path[4096];
  const char *root = getenv("CNS_SOURCE_ROOT");
  uint8_t *text;
  size_t len;
  if (!root) root = ".";
  if (cns_init() != 0) return -1;
  snprintf(path, sizeof path, "%s/examples/breast-cancer/study.json", root);
  if (cns_file_read(path, CNS_PLAN_BYTES_MAX, &text, &len, NULL) != 0) return -1;
  int r = cns_plan_parse((const char *)text, len, path, &plan, NULL);
  free(text);
  if (r != 0) return -1;
  snprintf(path, sizeof path, "%s/examples/breast-cancer/wdbc.csv", root);
  return cns_table_read(&plan, path, CNS_TABLE_TRAINING, &table, NULL, NULL);
}

static int teardown(void **state) {
  cns_table_deinit(&table);
  cns_plan_deinit(&plan);
  return 0;
}

static void run(const char *spec, bool keep_labels, double alpha, uint32_t rounds,
                struct detect_world_counts *counts) {
  struct cns_attack attack;
  struct cns_problem problem = {{0}};
  struct detect_world_options options = {.seed = SEED,
                                         .hospitals = 20,
                                         .rounds = rounds,
                                         .sketch = 256,
                                         .alpha = alpha,
                                         .size_ratio = 1,
                                         .clip = CLIP,
                                         .history = true,
                                         .detect = cns_detect_options_default(),
                                         .keep_labels = keep_labels};
  if (spec) {
    assert_int_equal(cns_attack_parse(spec, &attack, NULL), 0);
    options.attack = &attack;
  }
  if (detect_world_run(&plan, &table, &options, counts, &problem) != 0) fail_msg("%s", problem.text);
}

static void collusion_is_flagged(void **state) {
  static const char *const specs[] = {
      "alie:4:jitter=0.1",           "min-max:4:jitter=0.1",   "min-sum:4",
      "ipm:4:jitter=0.05",           "mean-flip:4:jitter=0.1", "mimic:4:jitter=0.1",
      "model-replacement:4:scale=10"};
  for (int mixed = 0; mixed < 2; mixed++)
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
      struct detect_world_counts counts = {0};
      run(specs[s], true, mixed ? 0.3 : 1e9, 3, &counts);
      print_message("# %s, %s: %zu of %zu\n", specs[s], mixed ? "Dirichlet(0.3)" : "iid",
                    counts.attackers_flagged, counts.attackers);
      assert_int_equal(counts.attackers, 12);
      assert_true(counts.attackers_flagged >= 11);
    }
}

static void honest_hospitals_are_rarely_flagged(void **state) {
  for (int mixed = 0; mixed < 2; mixed++) {
    struct detect_world_counts counts = {0};
    run(NULL, true, mixed ? 0.3 : 1e9, 8, &counts);
    print_message("# nobody attacks, %s: %zu of %zu\n", mixed ? "Dirichlet(0.3)" : "iid",
                  counts.honest_flagged, counts.honest);
    assert_int_equal(counts.honest, 160);
    assert_true((double)counts.honest_flagged <= 0.03 * 160);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(collusion_is_flagged),
      cmocka_unit_test(honest_hospitals_are_rarely_flagged),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
