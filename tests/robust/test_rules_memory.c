/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of each rule fails once: CNS_ERR_MEMORY with a sentence, and nothing leaks
 * (the sanitizers watch). Linked with --wrap=malloc and --wrap=calloc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdatomic.h>

#include "rules_world.h"

#define ROWS 15
#define COLUMNS 12000 /* more than dnc draws */
#define BYZANTINE 3

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static atomic_long countdown = -1; /* allocations until one fails; below 0: none does */

static bool fails(void) {
  long left = atomic_load(&countdown);
  if (left < 0) return false;
  left = atomic_fetch_sub(&countdown, 1);
  return left == 0;
}

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}

static double x[ROWS * COLUMNS], out[ROWS * COLUMNS], weights[ROWS];

static int setup(void **state) {
  world_fill(WORLD_ATTACKED, 3, ROWS, COLUMNS, BYZANTINE, x);
  for (size_t i = 0; i < ROWS; i++)
    weights[i] = (double)(i + 1);
  return cns_init();
}

static int run(bool pre, int kind, bool weighted, struct cns_problem *problem) {
  struct cns_robust_params p = pre ? world_pre_params((enum cns_robust_pre)kind, BYZANTINE)
                                   : world_rule_params((enum cns_robust_rule)kind, BYZANTINE, x);
  p.threads = 1;
  p.weights = weighted ? weights : NULL;
  if (pre)
    return cns_robust_preaggregate((enum cns_robust_pre)kind, &p, CNS_ROBUST_F64, x, ROWS, COLUMNS, out, NULL,
                                   problem);
  return cns_robust_aggregate((enum cns_robust_rule)kind, &p, CNS_ROBUST_F64, x, ROWS, COLUMNS, out, problem);
}

static void fail_each(bool pre, int kind, bool weighted) {
  const char *name = pre ? cns_robust_about_pre((enum cns_robust_pre)kind)->name
                         : cns_robust_about_rule((enum cns_robust_rule)kind)->name;
  for (long k = 0; k < 100; k++) {
    struct cns_problem problem = {{0}};
    atomic_store(&countdown, k);
    int r = run(pre, kind, weighted, &problem);
    bool reached = atomic_exchange(&countdown, -1) < 0;
    if (!reached) {
      assert_int_equal(r, 0);
      assert_true(k > 0);
      return;
    }
    if (r != CNS_ERR_MEMORY || !strstr(problem.text, "out of memory"))
      fail_msg("%s, allocation %ld: %d %s", name, k, r, problem.text);
  }
  fail_msg("%s: the allocations have no end", name);
}

static void each_allocation_may_fail(void **state) {
  for (int kind = 0; kind < CNS_ROBUST_RULE_COUNT; kind++) {
    fail_each(false, kind, false);
    if (cns_robust_about_rule((enum cns_robust_rule)kind)->takes_weights) fail_each(false, kind, true);
  }
  for (int kind = 0; kind < CNS_ROBUST_PRE_COUNT; kind++)
    fail_each(true, kind, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
