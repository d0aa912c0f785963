/* SPDX-License-Identifier: Apache-2.0 */
/* Steps one after another give what the steps give alone; what no step takes is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/chain.h"
#include "robust/names.h"

#define N 13
#define F 2
#define D 21
#define SEED 17

static double rows[N * D], weights[N];

static int setup(void **state) {
  srand(SEED);
  for (size_t i = 0; i < N * D; i++)
    rows[i] = rand() / (double)RAND_MAX;
  for (size_t i = 0; i < N; i++)
    weights[i] = 1 + (double)(i % 4);
  return cns_init();
}

static void steps_give_what_they_give_alone(void **state) {
  const struct cns_robust_chain chain = {
      .pre = {CNS_ROBUST_NNM, CNS_ROBUST_BUCKETING},
      .pre_count = 2,
      .rule = CNS_ROBUST_TRIMMED_MEAN,
      .params = {.byzantine = F, .size = 2, .seed = 5, .weights = weights}};
  const struct cns_robust_params plain = {.byzantine = F, .weights = weights};
  double mixed[N * D], mixed_weights[N], buckets[7 * D], bucket_weights[7], want[D], found[D], left[7];
  assert_int_equal(
      cns_robust_preaggregate(CNS_ROBUST_NNM, &plain, CNS_ROBUST_F64, rows, N, D, mixed, mixed_weights, NULL),
      0);
  const struct cns_robust_params sized = {.byzantine = F, .size = 2, .seed = 5, .weights = mixed_weights};
  assert_int_equal(cns_robust_preaggregate(CNS_ROBUST_BUCKETING, &sized, CNS_ROBUST_F64, mixed, N, D, buckets,
                                           bucket_weights, NULL),
                   0);
  const struct cns_robust_params last = {.byzantine = F, .weights = bucket_weights};
  assert_int_equal(
      cns_robust_aggregate(CNS_ROBUST_TRIMMED_MEAN, &last, CNS_ROBUST_F64, buckets, 7, D, want, NULL), 0);
  assert_int_equal(cns_robust_chain_rows(&chain, N), 7);
  assert_int_equal(cns_robust_chain_run(&chain, CNS_ROBUST_F64, rows, N, D, found, left, NULL), 0);
  assert_memory_equal(found, want, sizeof want);
  assert_memory_equal(left, bucket_weights, sizeof left);

  struct cns_robust_chain bare = chain;
  double matrix[7 * D];
  bare.no_rule = true;
  assert_int_equal(cns_robust_chain_run(&bare, CNS_ROBUST_F64, rows, N, D, matrix, NULL, NULL), 0);
  assert_memory_equal(matrix, buckets, sizeof buckets);
  bare.pre_count = 0;
  bare.params = (struct cns_robust_params){.byzantine = F};
  double same[N * D];
  assert_int_equal(cns_robust_chain_run(&bare, CNS_ROBUST_F64, rows, N, D, same, NULL, NULL), 0);
  assert_memory_equal(same, rows, sizeof same);
}

static void expect(const struct cns_robust_chain *chain, size_t n, int error, const char *says) {
  struct cns_problem problem = {{0}};
  double out[N * D];
  assert_int_equal(cns_robust_chain_check(chain, n, &problem), error);
  if (!strstr(problem.text, says)) fail_msg("'%s' is not in: %s", says, problem.text);
  if (n <= N)
    assert_int_equal(cns_robust_chain_run(chain, CNS_ROBUST_F64, rows, n, D, out, NULL, NULL), error);
}

static void wrong_chains_are_refused(void **state) {
  struct cns_robust_chain chain = {.rule = CNS_ROBUST_KRUM, .params = {.byzantine = F, .nu = 1}};
  expect(&chain, N, CNS_ERR_ARGUMENT, "'nu' is not taken by krum");
  chain.params = (struct cns_robust_params){.byzantine = 6};
  expect(&chain, N, CNS_ERR_RANGE, "krum");
  chain.params = (struct cns_robust_params){.byzantine = F, .weights = weights};
  expect(&chain, N, CNS_ERR_ARGUMENT, "krum takes no weights");
  chain.params = (struct cns_robust_params){.byzantine = F, .variant = "other"};
  expect(&chain, N, CNS_ERR_ARGUMENT, "other");
  chain.params = (struct cns_robust_params){.byzantine = F};
  expect(&chain, 0, CNS_ERR_RANGE, "rows");
  expect(&chain, CNS_ROBUST_ROWS_MAX + 1, CNS_ERR_RANGE, "rows");
  /* f is what it was, of fewer rows. */
  chain.pre[0] = CNS_ROBUST_BUCKETING;
  chain.pre_count = 1;
  expect(&chain, N, CNS_ERR_ARGUMENT, "size");
  chain.params.size = 3;
  expect(&chain, N, CNS_ERR_RANGE, "of 13 rows, 5 are left: ");
  chain.params = (struct cns_robust_params){.byzantine = F, .size = 1, .variant = "byzfl"};
  expect(&chain, N, 0, "");
  chain.rule = CNS_ROBUST_MEDIAN;
  expect(&chain, N, CNS_ERR_ARGUMENT, "a variant is not taken by bucketing, median");
  chain.pre_count = CNS_ROBUST_CHAIN_MAX + 1;
  expect(&chain, N, CNS_ERR_LIMIT, "8");
}

static void bad_rows_end_in_a_sentence(void **state) {
  struct cns_robust_chain chain = {
      .pre = {CNS_ROBUST_NNM}, .pre_count = 1, .rule = CNS_ROBUST_MEDIAN, .params = {.byzantine = F}};
  double bad[N * D], out[D];
  struct cns_problem problem = {{0}};
  memcpy(bad, rows, sizeof bad);
  bad[4 * D + 3] = NAN;
  assert_int_equal(cns_robust_chain_run(&chain, CNS_ROBUST_F64, bad, N, D, out, NULL, &problem),
                   CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "row 4"));
}

static void nearest_names(void **state) {
  static const char *const names[] = {"mean", "median",     "trimmed-mean",
                                      "krum", "multi-krum", "centered-clipping"};
  static const char *const pairs[][2] = {{"trimed", "trimmed-mean"},
                                         {"Trimmed_Mean", "trimmed-mean"},
                                         {"krumm", "krum"},
                                         {"kurm", "krum"},
                                         {"multikrum", "multi-krum"},
                                         {"meadian", "median"},
                                         {"centred-clipping", "centered-clipping"},
                                         {"centered", "centered-clipping"},
                                         {"zzz", NULL},
                                         {"", NULL},
                                         {"k", NULL}};
  for (size_t p = 0; p < sizeof pairs / sizeof pairs[0]; p++) {
    const char *found = cns_names_nearest(pairs[p][0], names, sizeof names / sizeof names[0]);
    if (pairs[p][1] ? !found || strcmp(found, pairs[p][1]) != 0 : found != NULL)
      fail_msg("%s: %s", pairs[p][0], found ? found : "nothing");
  }
  char endless[200];
  memset(endless, 'k', sizeof endless - 1);
  endless[sizeof endless - 1] = 0;
  assert_null(cns_names_nearest(endless, names, sizeof names / sizeof names[0]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_give_what_they_give_alone),
      cmocka_unit_test(wrong_chains_are_refused),
      cmocka_unit_test(bad_rows_end_in_a_sentence),
      cmocka_unit_test(nearest_names),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
