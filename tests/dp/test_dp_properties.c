/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of any accountant, whatever the numbers. */
#include "accountant_support.h"

#include "dp/pld.h"

static struct cns_dp_interval epsilon_of(double noise, double rate, uint64_t rounds, double delta,
                                         const struct cns_dp_options *options) {
  struct cns_dp_segment segment = {noise, rate, rounds};
  struct cns_dp_interval found;
  struct cns_problem problem = {0};
  int r = cns_dp_epsilon(&segment, 1, delta, options, &found, &problem);
  if (r < 0)
    print_message("# %g %g %llu %g: %s\n", noise, rate, (unsigned long long)rounds, delta, problem.text);
  assert_int_equal(r, 0);
  assert_true(isfinite(found.upper) && found.lower >= 0 && found.lower <= found.upper);
  return found;
}

/* The cheaper call may not be shown to cost more than the dearer one. */
static void expect_order(struct cns_dp_interval cheap, struct cns_dp_interval dear) {
  if (cheap.lower > dear.upper) print_message("# %.15g > %.15g\n", cheap.lower, dear.upper);
  assert_true(cheap.lower <= dear.upper);
  assert_true(cheap.upper <= dear.upper * (1 + 0.01) + 1e-9);
}

#define RATES 4
#define NOISES (SLOW_BUILD ? 2 : 4)
#define ROUNDS (SLOW_BUILD ? 2 : 4)
#define DELTAS (SLOW_BUILD ? 2 : 3)

static void monotone_by(enum cns_dp_accountant accountant) {
  static const double rates[] = {0.003, 0.05, 0.4, 1}, noises[] = {0.6, 1, 2.5, 7},
                      deltas[] = {1e-9, 1e-6, 1e-3};
  static const uint64_t rounds[] = {7, 60, 700, 1};
  static struct cns_dp_interval at[4][4][4][3];
  struct cns_dp_options options = {.accountant = accountant};
  for (size_t q = 0; q < RATES; q++)
    for (size_t s = 0; s < NOISES; s++)
      for (size_t t = 0; t < ROUNDS; t++)
        for (size_t d = 0; d < DELTAS; d++) {
          struct cns_dp_interval here = epsilon_of(noises[s], rates[q], rounds[t], deltas[d], &options);
          at[q][s][t][d] = here;
          if (q) expect_order(at[q - 1][s][t][d], here);
          /* Less noise may never cost less. */
          if (s) expect_order(here, at[q][s - 1][t][d]);
          if (t == 3) expect_order(here, at[q][s][0][d]);
          if (t == 1 || t == 2) expect_order(at[q][s][t - 1][d], here);
          if (d) expect_order(here, at[q][s][t][d - 1]);
        }
}

static void monotone_in_every_parameter(void **state) {
  monotone_by(CNS_DP_PLD);
  monotone_by(CNS_DP_RDP);
}

static void three_accountants_in_order(void **state) {
  struct cns_dp_options pld = {.accountant = CNS_DP_PLD}, rdp = {.accountant = CNS_DP_RDP},
                        gdp = {.accountant = CNS_DP_GDP};
  for (double noise = 0.3; noise < 20; noise *= 2.3)
    for (uint64_t rounds = 1; rounds <= 1000; rounds *= 10) {
      struct cns_dp_interval exact = epsilon_of(noise, 1, rounds, 1e-6, &gdp);
      struct cns_dp_interval tight = epsilon_of(noise, 1, rounds, 1e-6, &pld);
      assert_true(exact.lower <= tight.upper && tight.lower <= exact.upper);
      assert_true(tight.upper <= epsilon_of(noise, 1, rounds, 1e-6, &rdp).upper);
      double rate = 0.02;
      assert_true(epsilon_of(noise, rate, rounds, 1e-6, &pld).lower <=
                  epsilon_of(noise, rate, rounds, 1e-6, &rdp).upper);
    }
}

/* By the machinery for sampling, without the shortcut for rate 1. */
static struct cns_dp_interval through_lattice(const struct cns_dp_segment *segment, double log_delta,
                                              double step) {
  struct cns_pld_request request = {
      .segments = segment, .count = 1, .tolerance = 1e-3, .lattice_only = true, .step = step};
  struct cns_pld_question question = {.value = log_delta};
  struct cns_dp_interval found;
  assert_int_equal(cns_pld_answer(&request, &question, &found), 0);
  return found;
}

static void lattice_encloses_the_exact_gaussian(void **state) {
  struct cns_dp_options gdp = {.accountant = CNS_DP_GDP};
  static const double deltas[] = {0.3, 1e-3, 1e-6, 1e-10, 1e-30, 1e-90};
  for (double noise = 0.2; noise < 30; noise *= 3)
    for (uint64_t rounds = 1; rounds <= 10000; rounds *= 100)
      for (size_t d = 0; d < sizeof deltas / sizeof deltas[0]; d++) {
        struct cns_dp_segment segment = {noise, 1, rounds};
        struct cns_dp_interval exact = epsilon_of(noise, 1, rounds, deltas[d], &gdp);
        struct cns_dp_interval found = through_lattice(&segment, log(deltas[d]), 0);
        if (found.upper < exact.lower || found.lower > exact.upper)
          print_message("# noise %g rounds %d delta %g: %.12g not in %.12g..%.12g\n", noise, (int)rounds,
                        deltas[d], exact.upper, found.lower, found.upper);
        assert_true(found.upper >= exact.lower && found.lower <= exact.upper);
        assert_true(found.upper - found.lower <= 0.01 * exact.upper + 1e-3 / noise * sqrt((double)rounds));
      }
}

/* A sampled round has a closed form, which the lattice doesn't know of. */
static void lattice_encloses_the_single_round(void **state) {
  static const double rates[] = {0.002, 0.2, 0.9}, noises[] = {0.5, 2, 20}, deltas[] = {1e-2, 1e-5, 1e-40};
  for (size_t q = 0; q < 3; q++)
    for (size_t s = 0; s < 3; s++)
      for (size_t d = 0; d < 3; d++) {
        struct cns_dp_segment segment = {noises[s], rates[q], 1};
        struct cns_dp_interval exact = epsilon_of(noises[s], rates[q], 1, deltas[d], NULL);
        struct cns_dp_interval found = through_lattice(&segment, log(deltas[d]), 0);
        if (found.upper < exact.lower || found.lower > exact.upper)
          print_message("# noise %g rate %g delta %g: %.12g not in %.12g..%.12g\n", noises[s], rates[q],
                        deltas[d], exact.upper, found.lower, found.upper);
        assert_true(exact.upper - exact.lower <= 1e-9 * exact.upper);
        assert_true(found.upper >= exact.lower && found.lower <= exact.upper);
        assert_true(found.upper - found.lower <= 0.03 * exact.upper + 1e-3 / noises[s]);
      }
}

/* Far into the tail, past the largest loss that an addition can have, and where the
 * likeliest way to a loss jumps from all rounds to one of them. */
static void delta_falls_with_epsilon(void **state) {
  static const struct cns_dp_segment segments[] = {{1, 0.5, 2},    {4, 0.01, 10}, {1, 0.01, 100},
                                                   {1, 0.001, 20}, {2, 1, 5},     {0.5, 0.3, 30}};
  struct cns_dp_options rdp = {.accountant = CNS_DP_RDP};
  for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
    struct cns_dp_interval last = {1, 1}, found, bound, single;
    struct cns_dp_segment one = segments[i];
    one.rounds = 1;
    for (double epsilon = 0; epsilon < 1500; epsilon = epsilon * 4 + 0.05) {
      struct cns_problem problem = {0};
      int r = cns_dp_delta(&segments[i], 1, epsilon, NULL, &found, &problem);
      if (r < 0 || found.lower > last.upper)
        print_message("# case %zu, epsilon %g: %g..%g after %g..%g %s\n", i, epsilon, found.lower,
                      found.upper, last.lower, last.upper, problem.text);
      assert_int_equal(r, 0);
      assert_true(found.lower >= 0 && found.lower <= found.upper && found.lower <= last.upper);
      assert_int_equal(cns_dp_delta(&segments[i], 1, epsilon, &rdp, &bound, NULL), 0);
      assert_true(found.lower <= bound.upper);
      assert_int_equal(cns_dp_delta(&one, 1, epsilon, NULL, &single, NULL), 0);
      assert_true(found.upper >= single.lower);
      /* A tolerance of 5e-4, of the logarithm's tenth in the tail, where it can be kept to. */
      if (found.lower > 1e-60) assert_true(log(found.upper / found.lower) < 0.02 - 1e-4 * log(found.upper));
      last = found;
    }
  }
}

static void interval_shrinks_with_the_step(void **state) {
  struct cns_dp_segment segments[] = {{1, 0.1, 50}, {0.7, 1, 20}, {3, 0.5, 200}};
  for (size_t i = 0; i < 3; i++) {
    double last = INFINITY;
    for (double step = 0.04; step > 0.002; step /= 2) {
      struct cns_dp_interval found = through_lattice(&segments[i], log(1e-6), step);
      double width = found.upper - found.lower;
      assert_true(width < last * 0.75);
      last = width;
    }
  }
}

static void order_of_segments_is_irrelevant(void **state) {
  struct cns_dp_segment a[] = {{1, 0.1, 30}, {2, 1, 4}, {1.5, 0.02, 500}, {1, 0.1, 20}};
  struct cns_dp_segment b[] = {{1.5, 0.02, 500}, {1, 0.1, 20}, {1, 0.1, 30}, {2, 1, 4}};
  struct cns_dp_segment c[] = {{1, 0.1, 50}, {2, 1, 4}, {1.5, 0.02, 500}};
  for (int name = 0; name < 2; name++) {
    struct cns_dp_options options = {.accountant = name ? CNS_DP_RDP : CNS_DP_PLD};
    struct cns_dp_interval x, y, z;
    assert_int_equal(cns_dp_epsilon(a, 4, 1e-6, &options, &x, NULL), 0);
    assert_int_equal(cns_dp_epsilon(b, 4, 1e-6, &options, &y, NULL), 0);
    assert_int_equal(cns_dp_epsilon(c, 3, 1e-6, &options, &z, NULL), 0);
    assert_true(fabs(x.upper - y.upper) <= 1e-12 * x.upper && fabs(x.upper - z.upper) <= 1e-12 * x.upper);
    assert_true(fabs(x.lower - y.lower) <= 1e-12 * x.upper && fabs(x.lower - z.lower) <= 1e-12 * x.upper);
  }
}

static void delta_and_epsilon_agree(void **state) {
  static const double deltas[] = {0.1, 1e-4, 1e-8, 1e-12, 1e-40};
  for (size_t d = 0; d < sizeof deltas / sizeof deltas[0]; d++) {
    struct cns_dp_segment segment = {0.9, 0.07, 80};
    struct cns_dp_interval epsilon, at_upper, at_lower;
    assert_int_equal(cns_dp_epsilon(&segment, 1, deltas[d], NULL, &epsilon, NULL), 0);
    assert_int_equal(cns_dp_delta(&segment, 1, epsilon.upper, NULL, &at_upper, NULL), 0);
    assert_int_equal(cns_dp_delta(&segment, 1, epsilon.lower, NULL, &at_lower, NULL), 0);
    assert_true(at_upper.lower <= deltas[d] && at_lower.upper >= deltas[d]);
    assert_true(at_upper.upper > deltas[d] * 0.9 && at_lower.lower < deltas[d] * 1.1);
  }
}

/* Replacing costs more than adding or removing, and at most both one after the other. */
static void replacing_costs_more(void **state) {
  struct cns_dp_options replace = {.relation = CNS_DP_REPLACE_ONE};
  static const double rates[] = {0.01, 0.3, 1};
  for (size_t q = 0; q < 3; q++) {
    struct cns_dp_segment segment = {1.2, rates[q], 40};
    struct cns_dp_interval one = epsilon_of(1.2, rates[q], 40, 1e-5, NULL), both, delta_half;
    both = epsilon_of(1.2, rates[q], 40, 1e-5, &replace);
    assert_true(both.lower > one.upper);
    /* Group privacy: (2 e, (1 + e^e) delta). */
    assert_int_equal(cns_dp_delta(&segment, 1, both.lower / 2, NULL, &delta_half, NULL), 0);
    assert_true(delta_half.upper * (1 + exp(both.lower / 2)) >= 1e-5);
  }
  /* Without sampling it is twice the sensitivity. */
  struct cns_dp_interval half = epsilon_of(0.6, 1, 40, 1e-5, NULL),
                         twice = epsilon_of(1.2, 1, 40, 1e-5, &replace);
  assert_true(fabs(half.upper / twice.upper - 1) < 1e-9);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(monotone_in_every_parameter),
      cmocka_unit_test(three_accountants_in_order),
      cmocka_unit_test(lattice_encloses_the_exact_gaussian),
      cmocka_unit_test(lattice_encloses_the_single_round),
      cmocka_unit_test(delta_falls_with_epsilon),
      cmocka_unit_test(interval_shrinks_with_the_step),
      cmocka_unit_test(order_of_segments_is_irrelevant),
      cmocka_unit_test(delta_and_epsilon_agree),
      cmocka_unit_test(replacing_costs_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
