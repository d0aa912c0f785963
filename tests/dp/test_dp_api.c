/* SPDX-License-Identifier: Apache-2.0 */
/* What the accountant refuses, mistakes that others made, calibration, filters, distributed noise. */
#include "accountant_support.h"

#include "dp/rdp.h"

static int try_epsilon(double noise, double rate, uint64_t rounds, double delta) {
  struct cns_dp_segment segment = {noise, rate, rounds};
  struct cns_dp_interval found = {-7, -7};
  struct cns_problem problem = {0};
  int r = cns_dp_epsilon(&segment, 1, delta, NULL, &found, &problem);
  /* A refusal has a sentence and leaves no number behind. */
  if (r < 0) {
    assert_true(strlen(problem.text) > 10);
    assert_true(found.lower == -7 && found.upper == -7);
  }
  return r;
}

static void absurd_values_are_refused(void **state) {
  static const double noises[] = {0, -1, NAN, INFINITY, -INFINITY, 1e-300, 1e300};
  static const double rates[] = {0, -0.1, 1.0000001, 2, NAN, INFINITY, 64};
  static const double deltas[] = {0, -1e-5, 1, 1.5, NAN, INFINITY, 1e-320};
  assert_int_equal(try_epsilon(1, 0.1, 10, 1e-5), 0);
  for (size_t i = 0; i < 7; i++) {
    assert_int_equal(try_epsilon(noises[i], 0.1, 10, 1e-5), CNS_ERR_RANGE);
    assert_int_equal(try_epsilon(1, rates[i], 10, 1e-5), CNS_ERR_RANGE);
    assert_int_equal(try_epsilon(1, 0.1, 10, deltas[i]), CNS_ERR_RANGE);
  }
  assert_int_equal(try_epsilon(1, 0.1, 0, 1e-5), CNS_ERR_RANGE);
  assert_int_equal(try_epsilon(1, 0.1, UINT64_MAX, 1e-5), CNS_ERR_RANGE);
  struct cns_dp_segment many[2] = {{1, 0.1, CNS_DP_ROUNDS_MAX}, {2, 0.1, CNS_DP_ROUNDS_MAX}};
  struct cns_dp_interval found;
  assert_int_equal(cns_dp_epsilon(many, 2, 1e-5, NULL, &found, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_epsilon(many, 0, 1e-5, NULL, &found, NULL), CNS_ERR_RANGE);
  struct cns_dp_segment fine = {1, 0.1, 10};
  assert_int_equal(cns_dp_delta(&fine, 1, -1, NULL, &found, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_delta(&fine, 1, NAN, NULL, &found, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_delta(&fine, 1, INFINITY, NULL, &found, NULL), CNS_ERR_RANGE);
  struct cns_dp_options wrong = {.tolerance = NAN};
  assert_int_equal(cns_dp_epsilon(&fine, 1, 1e-5, &wrong, &found, NULL), CNS_ERR_RANGE);
  struct cns_dp_options gdp = {.accountant = CNS_DP_GDP};
  assert_int_equal(cns_dp_epsilon(&fine, 1, 1e-5, &gdp, &found, NULL), CNS_ERR_UNSUPPORTED);
}

/* Where accountants of others have returned a negative charge, NaN, or 0. */
static void charges_are_positive_numbers(void **state) {
  for (double noise = 0.02; noise < 1e5; noise *= 7)
    for (double rate = 1e-8; rate <= 1; rate *= 10)
      for (double order = 1.01; order < 5000; order *= 1.7) {
        double rdp;
        int r = cns_dp_rdp(noise, rate, order, CNS_DP_ADD_REMOVE, &rdp, NULL);
        assert_true(r == 0 || r == CNS_ERR_RANGE);
        if (r == 0 && !(rdp > 0 && isfinite(rdp))) print_message("# %g %g %g: %g\n", noise, rate, order, rdp);
        if (r == 0) assert_true(rdp > 0 && isfinite(rdp));
      }
}

/* Less noise costs more, at every order, whole or not. */
static void less_noise_costs_more(void **state) {
  for (double order = 1.05; order < 300; order *= 1.31)
    for (double rate = 0.001; rate < 1; rate *= 9) {
      double last = INFINITY;
      for (double noise = 0.3; noise < 30; noise *= 1.2) {
        double rdp;
        assert_int_equal(cns_dp_rdp(noise, rate, order, CNS_DP_ADD_REMOVE, &rdp, NULL), 0);
        assert_true(rdp < last);
        last = rdp;
      }
    }
}

/* Divergences rise with the order, also between whole orders (a dropped sign breaks that), and
 * an order near 1 isn't free. */
static void divergence_rises_with_the_order(void **state) {
  for (double rate = 0.001; rate < 1; rate *= 5)
    for (double noise = 0.5; noise < 10; noise *= 2) {
      double last = 0;
      for (double order = 1.01; order < 40; order += 0.093) {
        double rdp;
        assert_int_equal(cns_dp_rdp(noise, rate, order, CNS_DP_ADD_REMOVE, &rdp, NULL), 0);
        assert_true(rdp > last);
        last = rdp;
      }
    }
  double epsilon;
  assert_int_equal(cns_dp_rdp_epsilon(1.01, 1e-9, 1e-5, &epsilon, NULL), 0);
  assert_true(epsilon > 100);
  assert_int_equal(cns_dp_rdp_epsilon(1, 1e-9, 1e-5, &epsilon, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_rdp_epsilon(NAN, 1e-9, 1e-5, &epsilon, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_rdp_epsilon(2, -1e-9, 1e-5, &epsilon, NULL), CNS_ERR_RANGE);
}

/* An epoch at rate 0.01 has a hundred rounds; taken for one it looks five times cheaper. */
static void epochs_are_not_rounds(void **state) {
  struct cns_dp_segment epochs = {1.1, 0.01, 60}, rounds = {1.1, 0.01, 6000};
  struct cns_dp_interval wrong, right;
  assert_int_equal(cns_dp_epsilon(&epochs, 1, 1e-5, NULL, &wrong, NULL), 0);
  assert_int_equal(cns_dp_epsilon(&rounds, 1, 1e-5, NULL, &right, NULL), 0);
  assert_true(right.lower > 5 * wrong.upper);
}

/* Beyond 745 e^-epsilon is no double any more. */
static void large_epsilons_don_t_underflow(void **state) {
  struct cns_dp_segment whole = {0.025, 1, 1}, sampled = {0.1, 0.5, 30};
  struct cns_dp_interval found, rdp;
  struct cns_dp_options options = {.accountant = CNS_DP_RDP};
  assert_int_equal(cns_dp_epsilon(&whole, 1, 1e-5, NULL, &found, NULL), 0);
  assert_true(found.lower > 940 && found.upper < 980);
  assert_int_equal(cns_dp_epsilon(&sampled, 1, 1e-5, NULL, &found, NULL), 0);
  assert_int_equal(cns_dp_epsilon(&sampled, 1, 1e-5, &options, &rdp, NULL), 0);
  assert_true(found.lower > 745 && found.upper < rdp.upper &&
              found.upper - found.lower < 0.005 * found.upper);
}

static void calibration_is_the_smallest_noise(void **state) {
  static const double epsilons[] = {0.3, 2, 10}, rates[] = {0.002, 0.1, 1};
  for (int e = 0; e < 3; e++)
    for (int q = 0; q < 3; q++) {
      struct cns_dp_calibration found;
      struct cns_dp_interval less;
      assert_int_equal(cns_dp_calibrate(epsilons[e], 1e-6, rates[q], 500, NULL, &found, NULL), 0);
      assert_true(found.epsilon.upper <= epsilons[e]);
      struct cns_dp_options fine = {.tolerance = 5e-5};
      struct cns_dp_segment segment = {found.noise_multiplier * (1 - 1e-4), rates[q], 500};
      assert_int_equal(cns_dp_epsilon(&segment, 1, 1e-6, &fine, &less, NULL), 0);
      assert_true(less.upper > epsilons[e]);
    }
  struct cns_dp_calibration found;
  assert_int_equal(cns_dp_calibrate(1e-6, 1e-90, 1, CNS_DP_ROUNDS_MAX, NULL, &found, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_calibrate(-1, 1e-5, 0.1, 10, NULL, &found, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_calibrate(NAN, 1e-5, 0.1, 10, NULL, &found, NULL), CNS_ERR_RANGE);
}

/* Where a bit more noise lets delta cover everything, epsilon falls to 0 like off a cliff. */
static void calibration_where_delta_covers_all(void **state) {
  static const double deltas[] = {0.05, 0.2, 0.9};
  for (int d = 0; d < 3; d++)
    for (double epsilon = 1e-6; epsilon < 0.2; epsilon *= 50) {
      struct cns_dp_calibration found;
      struct cns_dp_interval less;
      assert_int_equal(cns_dp_calibrate(epsilon, deltas[d], 0.3, 10, NULL, &found, NULL), 0);
      assert_true(found.epsilon.upper <= epsilon);
      struct cns_dp_segment segment = {found.noise_multiplier * (1 - 1e-2), 0.3, 10};
      assert_int_equal(cns_dp_epsilon(&segment, 1, deltas[d], NULL, &less, NULL), 0);
      assert_true(less.upper > epsilon);
    }
}

static void filter_never_exceeds_its_budget(void **state) {
  struct cns_dp_segment expected = {1, 0.05, 1};
  struct cns_dp_filter filter;
  assert_int_equal(
      cns_dp_filter_init(CNS_DP_FILTER_RDP, 3, 1e-5, CNS_DP_ADD_REMOVE, &expected, &filter, NULL), 0);
  int passed = 0, r;
  struct cns_dp_segment run[1000];
  /* The noise is chosen anew each round. */
  for (int i = 0; i < 1000; i++) {
    struct cns_dp_segment next = {0.8 + 0.3 * (i % 4), 0.05, 1};
    double before = filter.spent;
    r = cns_dp_filter_spend(&filter, &next, NULL);
    assert_true(r == 0 || r == CNS_DP_FILTER_FULL);
    if (r == CNS_DP_FILTER_FULL) assert_true(filter.spent == before);
    if (r == 0) run[passed++] = next;
  }
  assert_true(passed > 10 && filter.spent <= filter.budget);
  /* Even had they been fixed beforehand, they cost no more. */
  struct cns_dp_interval cost;
  assert_int_equal(cns_dp_epsilon(run, (size_t)passed, 1e-5, NULL, &cost, NULL), 0);
  assert_true(cost.upper <= 3);
  double epsilon;
  assert_int_equal(cns_dp_rdp_epsilon(filter.order, filter.spent, 1e-5, &epsilon, NULL), 0);
  assert_true(epsilon <= 3 * (1 + 1e-9) && epsilon > 2.8);
}

static void concentrated_filter(void **state) {
  struct cns_dp_filter filter;
  struct cns_dp_segment round = {10, 1, 1}, sampled = {10, 0.1, 1};
  assert_int_equal(cns_dp_filter_init(CNS_DP_FILTER_ZCDP, 1, 1e-5, CNS_DP_ADD_REMOVE, NULL, &filter, NULL),
                   0);
  int passed = 0;
  while (cns_dp_filter_spend(&filter, &round, NULL) == 0)
    passed++;
  struct cns_dp_segment all = {10, 1, (uint64_t)passed}, more = {10, 1, (uint64_t)passed + 12};
  struct cns_dp_interval cost;
  assert_int_equal(cns_dp_epsilon(&all, 1, 1e-5, NULL, &cost, NULL), 0);
  assert_true(passed > 3 && cost.upper <= 1);
  struct cns_dp_options rdp = {.accountant = CNS_DP_RDP};
  assert_int_equal(cns_dp_epsilon(&more, 1, 1e-5, &rdp, &cost, NULL), 0);
  assert_true(cost.upper > 1);
  assert_int_equal(cns_dp_filter_spend(&filter, &sampled, NULL), CNS_ERR_UNSUPPORTED);
  filter.spent = NAN;
  assert_int_equal(cns_dp_filter_spend(&filter, &round, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_filter_init(CNS_DP_FILTER_ZCDP, -1, 1e-5, CNS_DP_ADD_REMOVE, NULL, &filter, NULL),
                   CNS_ERR_RANGE);
}

/* With wide local noise the sum of discrete Gaussians is as good as a Gaussian;
 * with narrow noise the terms of Theorem 1 show. */
static void distributed_noise(void **state) {
  struct cns_dp_distributed wide = {.parties = 50, .dim = 100, .sigma_local = 8, .l1 = 300, .l2 = 40};
  struct cns_dp_distributed narrow = wide;
  double rdp, tau, expected = 4.0 / 2 * 40 * 40 / (50 * 64);
  assert_int_equal(cns_dp_distributed_tau(50, 8, &tau, NULL), 0);
  assert_true(tau > 0 && tau < 1e-200);
  assert_int_equal(cns_dp_distributed_rdp(&wide, 4, &rdp, NULL), 0);
  assert_true(fabs(rdp / expected - 1) < 1e-12);
  narrow.sigma_local = 0.7;
  assert_int_equal(cns_dp_distributed_tau(50, 0.7, &tau, NULL), 0);
  double by_hand = 0;
  for (int k = 1; k < 50; k++)
    by_hand += 10 * exp(-2 * M_PI * M_PI * 0.49 * k / (k + 1));
  assert_true(fabs(tau / by_hand - 1) < 1e-12);
  double l1 = 300 / (sqrt(50) * 0.7), l2 = 40 / (sqrt(50) * 0.7);
  double bounds[] = {2 * l2 * l2 + tau * 100, 2 * (l2 * l2 + 2 * l1 * tau + tau * tau * 100),
                     2 * pow(l2 + 10 * tau, 2)};
  assert_int_equal(cns_dp_distributed_rdp(&narrow, 4, &rdp, NULL), 0);
  assert_true(fabs(rdp / fmin(bounds[0], fmin(bounds[1], bounds[2])) - 1) < 1e-12);
  double epsilon, continuous;
  assert_int_equal(cns_dp_distributed_epsilon(&wide, 10, 1e-5, &epsilon, NULL), 0);
  struct cns_dp_segment segment = {sqrt(50) * 8 / 40, 1, 10};
  struct cns_dp_options options = {.accountant = CNS_DP_RDP};
  struct cns_dp_interval found;
  assert_int_equal(cns_dp_epsilon(&segment, 1, 1e-5, &options, &found, NULL), 0);
  continuous = found.upper;
  assert_true(fabs(epsilon / continuous - 1) < 1e-6);
  narrow.l1 = 30;
  assert_int_equal(cns_dp_distributed_rdp(&narrow, 4, &rdp, NULL), CNS_ERR_RANGE);
  double norm;
  assert_int_equal(cns_dp_distributed_norm(100, 400, exp(-0.5), &norm, NULL), 0);
  assert_true(fabs(norm - fmin(120, sqrt(10000 + 100 + 110))) < 1e-9);
}

static void noise_that_arrived(void **state) {
  double noise;
  assert_int_equal(cns_dp_noise_arrived(2, 100, 19, 0, &noise, NULL), 0);
  assert_true(fabs(noise - 1.8) < 1e-12);
  assert_int_equal(cns_dp_noise_arrived(2, 100, 16, 20, &noise, NULL), 0);
  assert_true(fabs(noise - 1.6) < 1e-12);
  assert_int_equal(cns_dp_noise_arrived(2, 100, 60, 40, &noise, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_dp_noise_arrived(2, 4, UINT32_MAX, UINT32_MAX, &noise, NULL), CNS_ERR_RANGE);
  double error;
  assert_int_equal(cns_dp_mean_error(2, 0.5, 100, 16, 3, &error, NULL), 0);
  assert_true(fabs(error - 2 * 3 * 4 / 50.0) < 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(absurd_values_are_refused),
      cmocka_unit_test(charges_are_positive_numbers),
      cmocka_unit_test(less_noise_costs_more),
      cmocka_unit_test(divergence_rises_with_the_order),
      cmocka_unit_test(epochs_are_not_rounds),
      cmocka_unit_test(large_epsilons_don_t_underflow),
      cmocka_unit_test(calibration_is_the_smallest_noise),
      cmocka_unit_test(calibration_where_delta_covers_all),
      cmocka_unit_test(filter_never_exceeds_its_budget),
      cmocka_unit_test(concentrated_filter),
      cmocka_unit_test(distributed_noise),
      cmocka_unit_test(noise_that_arrived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
