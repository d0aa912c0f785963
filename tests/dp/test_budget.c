/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets, against the closed form of the Gaussian, counted rounds and the accountant itself. */
#include "accountant_support.h"

#include <time.h>

#include "dp/budget.h"

static struct cns_problem problem;

static struct cns_budget_cost cost(double noise, double rate, uint64_t rounds) {
  return (struct cns_budget_cost){.noise_multiplier = noise, .sampling_rate = rate, .rounds = rounds};
}

static double epsilon_of(const struct cns_budget_cost *costs, size_t count, double delta) {
  double epsilon = -1;
  assert_int_equal(cns_budget_epsilon(costs, count, delta, CNS_DP_ADD_REMOVE, &epsilon, &problem), 0);
  return epsilon;
}

static double direct(const struct cns_dp_segment *segments, size_t count, double delta) {
  struct cns_dp_interval epsilon;
  assert_int_equal(cns_dp_epsilon(segments, count, delta, NULL, &epsilon, NULL), 0);
  return epsilon.upper;
}

/* ---- independent: the Gaussian mechanism without sampling (Balle and Wang 2018) ---- */

static double phi(double x) {
  return erfc(-x / sqrt(2)) / 2;
}

static double gaussian_epsilon(double mu, double delta) {
  double low = 0, high = 1000;
  for (int i = 0; i < 200; i++) {
    double e = (low + high) / 2;
    double here = phi(mu / 2 - e / mu) - exp(e) * phi(-mu / 2 - e / mu);
    *(here > delta ? &low : &high) = e;
  }
  return high;
}

static void gaussian_rounds_by_hand(void **state) {
  /* Sensitivity 1, so n rounds of noise s have mu^2 = n/s^2, and kinds add up. */
  struct cns_budget_cost two[] = {cost(8, 1, 10), cost(5, 1, 4), cost(8, 1, 6)};
  double mu = sqrt(16 / 64.0 + 4 / 25.0), expected = gaussian_epsilon(mu, 1e-6);
  double found = epsilon_of(two, 3, 1e-6);
  assert_true(found >= expected * (1 - 1e-9) && found <= expected * (1 + 1e-6));
  double replaced = 0;
  assert_int_equal(cns_budget_epsilon(two, 3, 1e-6, CNS_DP_REPLACE_ONE, &replaced, &problem), 0);
  assert_true(fabs(replaced - gaussian_epsilon(2 * mu, 1e-6)) < 1e-6 * replaced);
}

static void nothing_costs_nothing(void **state) {
  assert_true(epsilon_of(NULL, 0, 1e-6) == 0);
}

static void equal_kinds_are_merged(void **state) {
  struct cns_budget_cost costs[1200];
  struct cns_dp_segment merged[] = {{1.5, 0.05, 400}, {2, 0.05, 400}, {1.5, 0.1, 400}};
  for (size_t i = 0; i < 1200; i++)
    costs[i] = cost(merged[i % 3].noise_multiplier, merged[i % 3].sampling_rate, 1);
  assert_true(epsilon_of(costs, 1200, 1e-6) == direct(merged, 3, 1e-6));
}

static void extra_deltas_are_taken_from_delta(void **state) {
  struct cns_budget_cost costs[] = {cost(2, 0.1, 50), cost(2, 0.1, 50)};
  struct cns_dp_segment merged = {2, 0.1, 100};
  costs[0].extra_delta = 3e-7;
  costs[1].extra_delta = 2e-7;
  double found = epsilon_of(costs, 2, 1e-6), expected = direct(&merged, 1, 5e-7);
  assert_true(fabs(found - expected) < 1e-6 * expected && found > direct(&merged, 1, 1e-6));
  costs[1].extra_delta = 7e-7; /* all of delta */
  assert_true(isinf(epsilon_of(costs, 2, 1e-6)));
}

static void without_noise_it_is_infinite(void **state) {
  struct cns_budget_cost costs[] = {cost(100, 0.01, 1), cost(0, 0.01, 1)};
  assert_true(isinf(epsilon_of(costs, 2, 1e-6)));
  struct cns_budget_limits limits = {.epsilon = 3, .delta = 1e-6, .subject = "the study"};
  struct cns_budget_spent spent = {0};
  struct cns_budget_verdict verdict;
  assert_int_equal(cns_budget_allows(&limits, &spent, &costs[1], &verdict, &problem), CNS_BUDGET_EXCEEDED);
  assert_string_equal(verdict.text, "this round would bring the study from epsilon 0 to infinity (it has no "
                                    "noise) at delta 1e-06; the policy allows 3");
  spent = (struct cns_budget_spent){.total = &costs[1], .total_count = 1};
  assert_int_equal(cns_budget_allows(&limits, &spent, &costs[0], &verdict, &problem), CNS_BUDGET_EXCEEDED);
  assert_non_null(strstr(verdict.text, "from epsilon infinity to infinity (a round before it had no noise)"));
  /* Without a limit there is nothing to exceed. */
  limits.epsilon = 0;
  assert_int_equal(cns_budget_allows(&limits, &spent, &costs[1], &verdict, &problem), 0);
}

/* ---- limits ---- */

/* Rounds one by one until one is refused. */
static uint64_t count_rounds(const struct cns_budget_limits *limits, struct cns_budget_cost next) {
  struct cns_budget_cost spent_costs[1] = {next};
  struct cns_budget_verdict verdict;
  uint64_t rounds = 0;
  for (int r = 0; r == 0;) {
    struct cns_budget_spent spent = {spent_costs, rounds > 0, spent_costs, rounds > 0};
    r = cns_budget_allows(limits, &spent, &next, &verdict, &problem);
    assert_true(r >= 0);
    if (r == 0) spent_costs[0].rounds = ++rounds;
  }
  return rounds;
}

static void the_last_affordable_round_is_exact(void **state) {
  static const double noises[] = {4, 8, 15};
  struct cns_budget_spent nothing = {0};
  for (size_t i = 0; i < 3; i++) {
    struct cns_budget_limits limits = {.epsilon = 3, .delta = 1e-6};
    uint64_t by_hand = 0, left = 0;
    while (gaussian_epsilon(sqrt((double)(by_hand + 1)) / noises[i], 1e-6) <= 3)
      by_hand++;
    assert_int_equal(count_rounds(&limits, cost(noises[i], 1, 1)), by_hand);
    struct cns_budget_cost next = cost(noises[i], 1, 1);
    assert_int_equal(cns_budget_rounds_left(&limits, &nothing, &next, 100000, &left, &problem), 0);
    assert_int_equal(left, by_hand);
  }
}

static void sampled_rounds_end_where_the_accountant_says(void **state) {
  struct cns_budget_cost next = cost(1, 0.02, 1), before[] = {cost(1.2, 0.03, 40), cost(1, 0.02, 7)};
  struct cns_budget_limits limits = {.epsilon = 2, .delta = 1e-6};
  struct cns_budget_spent spent = {.total = before, .total_count = 2};
  uint64_t left = 0;
  assert_int_equal(cns_budget_rounds_left(&limits, &spent, &next, 1000000, &left, &problem), 0);
  assert_true(left > 10);
  struct cns_dp_segment good[] = {{1.2, 0.03, 40}, {1, 0.02, 7 + left}};
  struct cns_dp_segment bad[] = {{1.2, 0.03, 40}, {1, 0.02, 8 + left}};
  assert_true(direct(good, 2, 1e-6) <= 2 && direct(bad, 2, 1e-6) > 2);
  next.rounds = 10; /* ten at a time */
  uint64_t tens = 0;
  assert_int_equal(cns_budget_rounds_left(&limits, &spent, &next, 1000000, &tens, &problem), 0);
  assert_int_equal(tens, left / 10);
  next.rounds = 1;
  assert_int_equal(cns_budget_rounds_left(&limits, &spent, &next, left - 1, &tens, &problem), 0);
  assert_int_equal(tens, left - 1);
  next.extra_delta = 1e-8; /* a hundred use delta up */
  assert_int_equal(cns_budget_rounds_left(&limits, &spent, &next, 1000000, &tens, &problem), 0);
  assert_true(tens > 0 && tens < 100 && tens < left);
}

static void each_limit_is_named(void **state) {
  struct cns_budget_cost next = cost(4, 1, 1), before = cost(4, 1, 3), month = cost(4, 1, 2);
  struct cns_budget_spent spent = {&before, 1, &month, 1};
  struct cns_budget_verdict verdict;
  double e1 = gaussian_epsilon(0.25, 1e-6), e3 = gaussian_epsilon(sqrt(3) / 4, 1e-6),
         e4 = gaussian_epsilon(0.5, 1e-6);
  struct cns_budget_limits limits = {e4 + 1e-6, 1e-6, e1 + 1e-6, e3 + 1e-6, CNS_DP_ADD_REMOVE, "the study"};
  assert_int_equal(cns_budget_allows(&limits, &spent, &next, &verdict, &problem), 0);
  assert_int_equal(verdict.limit, CNS_BUDGET_NONE);
  assert_true(fabs(verdict.epsilon_after - e4) < 1e-6);
  limits.epsilon = e4 - 1e-6;
  assert_int_equal(cns_budget_allows(&limits, &spent, &next, &verdict, &problem), CNS_BUDGET_EXCEEDED);
  assert_int_equal(verdict.limit, CNS_BUDGET_TOTAL);
  assert_true(fabs(verdict.epsilon_before - e3) < 1e-6 && fabs(verdict.epsilon_after - e4) < 1e-6);
  limits.epsilon_month = e3 - 1e-6;
  assert_int_equal(cns_budget_allows(&limits, &spent, &next, &verdict, &problem), CNS_BUDGET_EXCEEDED);
  assert_int_equal(verdict.limit, CNS_BUDGET_MONTH);
  assert_non_null(strstr(verdict.text, "would bring this month's rounds of the study from epsilon"));
  limits.epsilon_round = e1 - 1e-6;
  assert_int_equal(cns_budget_allows(&limits, &spent, &next, &verdict, &problem), CNS_BUDGET_EXCEEDED);
  assert_int_equal(verdict.limit, CNS_BUDGET_ROUND);
  assert_true(verdict.epsilon_before == 0);
  assert_non_null(strstr(verdict.text, "this round alone would cost epsilon"));
}

static void the_sentence_shows_which_number_is_larger(void **state) {
  struct cns_budget_cost next = cost(4, 1, 1), before = cost(4, 1, 3);
  struct cns_budget_spent spent = {&before, 1, NULL, 0};
  struct cns_budget_verdict verdict;
  /* epsilon of 4 rounds is 2.0917...: a hair over the limit must not be printed as the limit. */
  double e4 = gaussian_epsilon(0.5, 1e-6);
  struct cns_budget_limits limits = {.epsilon = floor(e4 * 1e4) / 1e4, .delta = 1e-6};
  char allowed[40], twice[80];
  snprintf(allowed, sizeof allowed, "%g", limits.epsilon);
  snprintf(twice, sizeof twice, "to %s at", allowed);
  assert_int_equal(cns_budget_allows(&limits, &spent, &next, &verdict, &problem), CNS_BUDGET_EXCEEDED);
  assert_null(strstr(verdict.text, twice));
  assert_non_null(strstr(verdict.text, allowed));
}

/* Whatever was refused stays refused when more was spent, when there is less noise, or when
 * the limit is lower. */
static void refusals_are_monotone(void **state) {
  unsigned seed = 20260;
  for (int i = 0; i < (SLOW_BUILD ? 15 : 60); i++) {
    struct cns_budget_cost spent_costs[2], next = cost(1 + rand_r(&seed) % 30 / 10.0, 0.05, 1);
    for (int k = 0; k < 2; k++)
      spent_costs[k] =
          cost(1 + rand_r(&seed) % 20 / 10.0, rand_r(&seed) % 2 ? 0.05 : 1, 1 + rand_r(&seed) % 40);
    struct cns_budget_limits limits = {.epsilon = 1 + rand_r(&seed) % 100 / 10.0, .delta = 1e-6};
    struct cns_budget_spent spent = {spent_costs, 2, NULL, 0};
    struct cns_budget_verdict verdict;
    int before = cns_budget_allows(&limits, &spent, &next, &verdict, &problem);
    assert_true(before >= 0);
    struct cns_budget_cost more = spent_costs[0];
    spent_costs[0].rounds += 5;
    int after_more = cns_budget_allows(&limits, &spent, &next, &verdict, &problem);
    spent_costs[0] = more;
    next.noise_multiplier *= 0.8;
    int after_less_noise = cns_budget_allows(&limits, &spent, &next, &verdict, &problem);
    next.noise_multiplier /= 0.8;
    limits.epsilon *= 0.9;
    int after_lower = cns_budget_allows(&limits, &spent, &next, &verdict, &problem);
    if (after_more < before || after_less_noise < before || after_lower < before)
      print_message("# case %d of seed 20260\n", i);
    assert_true(after_more >= before && after_less_noise >= before && after_lower >= before);
  }
}

static void what_has_no_answer_is_not_allowed(void **state) {
  struct cns_budget_cost fine = cost(1, 0.1, 1), wrong;
  struct cns_budget_limits limits = {.epsilon = 3, .delta = 1e-6};
  struct cns_budget_spent nothing = {0};
  struct cns_budget_verdict verdict = {.limit = CNS_BUDGET_MONTH};
  const struct cns_budget_cost costs[] = {
      cost(NAN, 0.1, 1), cost(-1, 0.1, 1), cost(1e-3, 0.1, 1), cost(1, 0, 1), cost(1, 1.1, 1),
      cost(1, NAN, 1),   cost(1, 0.1, 0),  cost(0, 0.1, 0),    cost(0, 7, 1), cost(1, 0.1, UINT64_MAX)};
  for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++)
    assert_int_equal(cns_budget_allows(&limits, &nothing, &costs[i], &verdict, &problem), CNS_ERR_RANGE);
  const double deltas[] = {-1e-9, NAN, 1, INFINITY};
  for (size_t i = 0; i < 4; i++) {
    wrong = fine;
    wrong.extra_delta = deltas[i];
    assert_int_equal(cns_budget_allows(&limits, &nothing, &wrong, &verdict, &problem), CNS_ERR_RANGE);
  }
  const struct cns_budget_limits bad[] = {{.epsilon = NAN, .delta = 1e-6},
                                          {.epsilon = -1, .delta = 1e-6},
                                          {.epsilon = INFINITY, .delta = 1e-6},
                                          {.epsilon = 3},
                                          {.epsilon_month = 3, .delta = 1},
                                          {.epsilon_round = NAN, .delta = 0.1},
                                          {.epsilon = 3, .delta = 1e-6, .relation = 7}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cns_budget_allows(&bad[i], &nothing, &fine, &verdict, &problem), CNS_ERR_RANGE);
  /* More rounds than the accountant can count. */
  struct cns_budget_cost huge = cost(0.01, 1, CNS_DP_ROUNDS_MAX);
  struct cns_budget_spent many = {&huge, 1, NULL, 0};
  assert_int_equal(cns_budget_allows(&limits, &many, &fine, &verdict, &problem), CNS_ERR_RANGE);
  uint64_t left = 7;
  assert_int_equal(cns_budget_rounds_left(&limits, &many, &fine, 10, &left, &problem), 0);
  assert_int_equal(left, 0);
  assert_int_equal(verdict.limit, CNS_BUDGET_MONTH); /* untouched by failures */
}

static void rounds_left_at_its_ends(void **state) {
  struct cns_budget_cost next = cost(4, 1, 1), none = cost(0, 1, 1), over = cost(1, 1, 100);
  struct cns_budget_limits limits = {.delta = 1e-6};
  struct cns_budget_spent nothing = {0}, spent = {&over, 1, NULL, 0};
  uint64_t left = 0;
  assert_int_equal(cns_budget_rounds_left(&limits, &nothing, &none, 500, &left, &problem), 0);
  assert_int_equal(left, 500);
  limits.epsilon = 3;
  assert_int_equal(cns_budget_rounds_left(&limits, &nothing, &none, 500, &left, &problem), 0);
  assert_int_equal(left, 0);
  assert_int_equal(cns_budget_rounds_left(&limits, &nothing, &next, 0, &left, &problem), 0);
  assert_int_equal(left, 0);
  assert_int_equal(cns_budget_rounds_left(&limits, &spent, &next, 500, &left, &problem), 0);
  assert_int_equal(left, 0);
  /* The month's limit is the one that ends it. */
  limits.epsilon_month = gaussian_epsilon(sqrt(2) / 4, 1e-6) + 1e-6;
  assert_int_equal(cns_budget_rounds_left(&limits, &nothing, &next, 500, &left, &problem), 0);
  assert_int_equal(left, 2);
  limits.epsilon_round = gaussian_epsilon(0.25, 1e-6) - 1e-6;
  assert_int_equal(cns_budget_rounds_left(&limits, &nothing, &next, 500, &left, &problem), 0);
  assert_int_equal(left, 0);
}

static void alerts(void **state) {
  const double shares[] = {0.5, 0.95, 0.8};
  struct cns_budget_limits limits = {.epsilon = 4, .delta = 1e-6};
  assert_true(cns_budget_alert(&limits, 1.99, shares, 3) == 0);
  assert_true(cns_budget_alert(&limits, 2, shares, 3) == 0.5);
  assert_true(cns_budget_alert(&limits, 3.5, shares, 3) == 0.8);
  assert_true(cns_budget_alert(&limits, INFINITY, shares, 3) == 0.95);
  assert_true(cns_budget_alert(&limits, 4, shares, 0) == 0);
  limits.epsilon = 0;
  assert_true(cns_budget_alert(&limits, 1e9, shares, 3) == 0);
}

/* Said, and not asserted: the machine may be busy. */
static void how_long_it_takes(void **state) {
  struct cns_budget_cost costs[1000];
  struct cns_budget_spent spent = {costs, 1000, costs, 80};
  struct cns_budget_limits limits = {200, 1e-6, 50, 100, CNS_DP_ADD_REMOVE, NULL};
  const double rates[] = {1, 0.1, 0.01, 0.001};
  for (size_t k = 0; k < 4 && !SLOW_BUILD; k++) {
    for (size_t i = 0; i < 1000; i++)
      costs[i] = cost(8 + (double)(i % 4), rates[k], 1);
    struct timespec from, to;
    struct cns_budget_verdict verdict;
    uint64_t left = 0;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(cns_budget_allows(&limits, &spent, &costs[0], &verdict, &problem), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    limits.epsilon = verdict.epsilon_after * 1.5;
    assert_int_equal(cns_budget_rounds_left(&limits, &spent, &costs[0], 10000, &left, &problem), 0);
    limits.epsilon = 200;
    clock_gettime(CLOCK_MONOTONIC, &from);
    double left_ms = (double)(from.tv_sec - to.tv_sec) * 1e3 + (double)(from.tv_nsec - to.tv_nsec) / 1e6;
    print_message("# 1000 rounds of 4 kinds at rate %g: check %.1f ms, %llu rounds left %.0f ms\n", rates[k],
                  ms, (unsigned long long)left, left_ms);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gaussian_rounds_by_hand),
      cmocka_unit_test(nothing_costs_nothing),
      cmocka_unit_test(equal_kinds_are_merged),
      cmocka_unit_test(extra_deltas_are_taken_from_delta),
      cmocka_unit_test(without_noise_it_is_infinite),
      cmocka_unit_test(the_last_affordable_round_is_exact),
      cmocka_unit_test(sampled_rounds_end_where_the_accountant_says),
      cmocka_unit_test(each_limit_is_named),
      cmocka_unit_test(the_sentence_shows_which_number_is_larger),
      cmocka_unit_test(refusals_are_monotone),
      cmocka_unit_test(what_has_no_answer_is_not_allowed),
      cmocka_unit_test(rounds_left_at_its_ends),
      cmocka_unit_test(alerts),
      cmocka_unit_test(how_long_it_takes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
