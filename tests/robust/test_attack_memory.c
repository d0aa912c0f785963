/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of chains and attacks fails once: CNS_ERR_MEMORY, nothing leaks (the
 * sanitizers watch), and honest rows stay as they are. Linked with --wrap=malloc and
 * --wrap=calloc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "robust/attack.h"

#define N 11
#define F 2
#define D 13
#define SEED 3

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static atomic_long countdown = -1; /* allocations until one fails; below 0: none does */

static bool fails(void) {
  if (atomic_load(&countdown) < 0) return false;
  return atomic_fetch_sub(&countdown, 1) == 0;
}

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}

static const size_t attackers[F] = {0, 7};
static double rows[N * D], target[D];
static const struct cns_robust_chain chain = {.pre = {CNS_ROBUST_NNM, CNS_ROBUST_BUCKETING},
                                              .pre_count = 2,
                                              .rule = CNS_ROBUST_GEOMETRIC_MEDIAN,
                                              .params = {.byzantine = F, .size = 2, .threads = 1}};

static int setup(void **state) {
  srand(SEED);
  for (size_t i = 0; i < N * D; i++)
    rows[i] = rand() / (double)RAND_MAX;
  for (size_t k = 0; k < D; k++)
    target[k] = 5;
  return cns_init();
}

static int run_chain(int unused) {
  double out[D], weights[N];
  return cns_robust_chain_run(&chain, CNS_ROBUST_F64, rows, N, D, out, weights, NULL);
}

static int run_attack(int kind) {
  const struct cns_attack attack = {.kind = (enum cns_attack_kind)kind, .count = F, .jitter = 0.1};
  const struct cns_attack_extra extra = {.target = target, .chain = &chain};
  struct cns_rng_seeded generator;
  double matrix[N * D];
  memcpy(matrix, rows, sizeof matrix);
  cns_rng_seeded_init_label(&generator, SEED, "attack");
  int r = cns_attack_apply_matrix(&attack, &extra, CNS_ROBUST_F64, matrix, N, D, NULL, attackers,
                                  cns_rng_seeded(&generator), NULL, NULL);
  for (size_t i = 0; i < N * D; i++)
    if (i / D != attackers[0] && i / D != attackers[1]) assert_true(matrix[i] == rows[i]);
  return r;
}

static void fail_each(const char *name, int (*run)(int kind), int kind) {
  for (long k = 0; k < 2000; k++) {
    atomic_store(&countdown, k);
    int r = run(kind);
    bool reached = atomic_exchange(&countdown, -1) < 0;
    if (!reached) {
      assert_int_equal(r, 0);
      assert_true(k > 0);
      return;
    }
    if (r != CNS_ERR_MEMORY) fail_msg("%s, allocation %ld: %d", name, k, r);
  }
  fail_msg("%s: the allocations have no end", name);
}

static void each_allocation_may_fail(void **state) {
  fail_each("chain", run_chain, 0);
  for (int kind = 0; kind < CNS_ATTACK_KIND_COUNT; kind++)
    fail_each(cns_attack_name((enum cns_attack_kind)kind), run_attack, kind);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
