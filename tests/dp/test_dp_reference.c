/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epsilons, deltas and divergences against values computed in 40 to 60 digits
 * (tests/dp/make_vectors.py) and numbers that others have published.
 */
#include "accountant_support.h"

#include "dp/rdp.h"

static void check_gaussian(const cJSON *item, enum cns_dp_accountant accountant) {
  struct cns_dp_segment segments[8];
  struct cns_dp_options options = {.accountant = accountant};
  size_t count = 0;
  const cJSON *pair;
  cJSON_ArrayForEach(pair, field(item, "segments")) {
    assert_true(count < 8);
    segments[count++] = (struct cns_dp_segment){cJSON_GetArrayItem(pair, 0)->valuedouble, 1,
                                                (uint64_t)cJSON_GetArrayItem(pair, 1)->valuedouble};
    if (segments[count - 1].noise_multiplier < CNS_DP_NOISE_MIN ||
        segments[count - 1].rounds > CNS_DP_ROUNDS_MAX)
      return;
  }
  bool wants_delta = has_text(item, "direction", "delta");
  double truth = number(item, wants_delta ? "delta" : "epsilon");
  if (wants_delta && truth < 1e-290) return;
  struct cns_dp_interval found;
  int r = wants_delta ? cns_dp_delta(segments, count, number(item, "epsilon"), &options, &found, NULL)
                      : cns_dp_epsilon(segments, count, number(item, "delta"), &options, &found, NULL);
  expect_case(r == 0, item, "error", r);
  expect_case(found.upper >= truth * (1 - 4e-16), item, "upper bound below the truth", found.upper);
  expect_case(found.lower <= truth * (1 + 4e-16), item, "lower bound above the truth", found.lower);
  /* Where mu is tiny, delta is the difference of numbers that are nearly the same. */
  double slack = 1e-11 + 1e-14 / fmin(1, number(item, "mu"));
  expect_case(found.upper <= truth * (1 + slack) + 1e-290 + slack * number(item, "mu"), item, "upper bound",
              found.upper);
}

static void gaussian_is_exact(void **state) {
  cJSON *vectors = vectors_load("gdp");
  const cJSON *item;
  cJSON_ArrayForEach(item, field(vectors, "cases")) {
    check_gaussian(item, CNS_DP_GDP);
    check_gaussian(item, CNS_DP_PLD);
  }
  cJSON_Delete(vectors);
}

static void check_single(const cJSON *item, enum cns_dp_relation relation) {
  struct cns_dp_segment segment = {number(item, "noise_multiplier"), number(item, "sampling_rate"), 1};
  struct cns_dp_options options = {.relation = relation};
  double epsilon = number(item, "epsilon"),
         truth = number(item, relation == CNS_DP_REPLACE_ONE ? "delta_replace" : "delta");
  struct cns_dp_interval found;
  assert_int_equal(cns_dp_delta(&segment, 1, epsilon, &options, &found, NULL), 0);
  expect_case(found.upper >= truth * (1 - 4e-16), item, "upper bound below the truth", found.upper);
  expect_case(found.lower <= truth * (1 + 4e-16), item, "lower bound above the truth", found.lower);
  expect_case(found.upper - found.lower <= 1e-8 * truth, item, "width", found.upper - found.lower);
  if (truth < CNS_DP_DELTA_MIN) return;
  assert_int_equal(cns_dp_epsilon(&segment, 1, truth, &options, &found, NULL), 0);
  /* Delta was rounded, too. */
  expect_case(found.upper >= epsilon * (1 - 1e-13), item, "epsilon's upper bound", found.upper);
  expect_case(found.lower <= epsilon * (1 + 1e-13) + 1e-14, item, "epsilon's lower bound", found.lower);
  expect_case(found.upper - found.lower <= 1e-9 * epsilon + 1e-10, item, "epsilon's width",
              found.upper - found.lower);
}

static void one_round_equals_quadrature(void **state) {
  cJSON *vectors = vectors_load("single");
  const cJSON *item;
  cJSON_ArrayForEach(item, field(vectors, "cases")) {
    check_single(item, CNS_DP_ADD_REMOVE);
    check_single(item, CNS_DP_REPLACE_ONE);
  }
  cJSON_Delete(vectors);
}

static void renyi_equals_quadrature(void **state) {
  cJSON *vectors = vectors_load("rdp");
  const cJSON *item, *orders = field(vectors, "orders");
  cJSON_ArrayForEach(item, field(vectors, "cases")) {
    for (int i = 0; i < cJSON_GetArraySize(orders); i++) {
      double order = cJSON_GetArrayItem(orders, i)->valuedouble;
      double truth = cJSON_GetArrayItem(field(item, "rdp"), i)->valuedouble, found;
      int r = cns_dp_rdp(number(item, "noise_multiplier"), number(item, "sampling_rate"), order,
                         CNS_DP_ADD_REMOVE, &found, NULL);
      expect_case(r == 0, item, "error", r);
      expect_case(fabs(found / truth - 1) < 1e-9, item, "divergence", order);
    }
  }
  cJSON_Delete(vectors);
}

/* The signed series by themselves: less noise or another sign of the binomial would show here. */
static void series_equal_quadrature(void **state) {
  cJSON *vectors = vectors_load("rdp");
  const cJSON *item, *orders = field(vectors, "orders");
  cJSON_ArrayForEach(item, field(vectors, "cases")) {
    double rate = number(item, "sampling_rate");
    for (int i = 0; i < cJSON_GetArraySize(orders) && rate < 1; i++) {
      double order = cJSON_GetArrayItem(orders, i)->valuedouble;
      double truth = cJSON_GetArrayItem(field(item, "rdp"), i)->valuedouble * (order - 1);
      double found = cns_rdp_series(number(item, "noise_multiplier"), rate, order);
      expect_case(fabs(found - truth) < 1e-9 * truth + 1e-11, item, "log moment", found);
    }
  }
  cJSON_Delete(vectors);
}

/* Upper bounds, lower bounds, and what issue and documentation promise of both. */
static void pld_encloses_the_truth(void **state) {
  cJSON *vectors = vectors_load("pld");
  const cJSON *item;
  int number_of_case = 0;
  cJSON_ArrayForEach(item, field(vectors, "cases")) {
    if (SLOW_BUILD && number_of_case++ % 6) continue;
    struct cns_dp_segment segment = segment_of(item);
    struct cns_dp_interval found;
    double truth = number(item, "epsilon_true"), error = number(item, "epsilon_true_error");
    double theirs = number(item, "epsilon_upper"), their_lower = number(item, "epsilon_lower");
    int r = cns_dp_epsilon(&segment, 1, number(item, "delta"), NULL, &found, NULL);
    expect_case(r == 0, item, "error", r);
    expect_case(found.upper >= truth - error, item, "upper bound below the truth", found.upper);
    expect_case(found.lower <= truth + error, item, "lower bound above the truth", found.lower);
    double excess = segment.sampling_rate == 1 ? 0.001 : 0.005;
    expect_case(found.upper <= truth * (1 + excess) + 1e-12, item, "upper bound", found.upper);
    expect_case(found.upper <= theirs * (1 + 2 * excess), item, "upper bound, theirs", found.upper);
    expect_case(found.upper - found.lower <= (theirs - their_lower) * 1.05 + 1e-9, item, "width",
                found.upper - found.lower);
  }
  cJSON_Delete(vectors);
}

static double published_renyi(const cJSON *item, const cJSON *orders, double *ret_tight) {
  double best = INFINITY, delta = number(item, "delta");
  *ret_tight = INFINITY;
  const cJSON *order;
  cJSON_ArrayForEach(order, orders) {
    double a = order->valuedouble, rdp, tight;
    assert_int_equal(cns_dp_rdp(number(item, "noise_multiplier"), number(item, "sampling_rate"), a,
                                CNS_DP_ADD_REMOVE, &rdp, NULL),
                     0);
    rdp *= number(item, "rounds");
    assert_int_equal(cns_dp_rdp_epsilon(a, rdp, delta, &tight, NULL), 0);
    *ret_tight = fmin(*ret_tight, tight);
    best = fmin(best, rdp - log(delta) / (a - 1));
  }
  return has_text(item, "conversion", "classic") ? best : *ret_tight;
}

static void check_published_epsilon(const cJSON *item, const cJSON *orders) {
  double published = number(item, "epsilon"), tolerance = number(item, "tolerance"), tight;
  struct cns_dp_segment segment = segment_of(item);
  struct cns_dp_options rdp = {.accountant = CNS_DP_RDP};
  struct cns_dp_interval found;
  if (has_text(item, "accountant", "rdp")) {
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(item, "orders");
    double value = published_renyi(item, own ? own : orders, &tight);
    expect_case(fabs(value - published) <= tolerance, item, "Renyi", value);
    assert_int_equal(cns_dp_epsilon(&segment, 1, number(item, "delta"), &rdp, &found, NULL), 0);
    expect_case(found.upper <= tight * (1 + 1e-6), item, "best order", found.upper);
    return;
  }
  assert_int_equal(cns_dp_epsilon(&segment, 1, number(item, "delta"), NULL, &found, NULL), 0);
  bool prv = has_text(item, "accountant", "prv");
  expect_case(found.upper >= published - tolerance, item, "upper bound", found.upper);
  expect_case(found.lower <= published + (prv ? 0 : tolerance), item, "lower bound", found.lower);
}

static void published_numbers_are_reproduced(void **state) {
  cJSON *vectors = vectors_load("published");
  const cJSON *item, *orders = field(vectors, "orders");
  cJSON_ArrayForEach(item, field(vectors, "cases")) {
    if (has_text(item, "kind", "epsilon")) check_published_epsilon(item, orders);
    if (has_text(item, "kind", "rdp")) {
      double rdp;
      assert_int_equal(cns_dp_rdp(number(item, "noise_multiplier"), number(item, "sampling_rate"),
                                  number(item, "order"), CNS_DP_ADD_REMOVE, &rdp, NULL),
                       0);
      rdp *= number(item, "rounds");
      expect_case(fabs(rdp - number(item, "rdp")) <= number(item, "tolerance"), item, "divergence", rdp);
    }
    if (has_text(item, "kind", "noise_multiplier")) {
      struct cns_dp_calibration found;
      struct cns_dp_options options = {.accountant = CNS_DP_RDP};
      assert_int_equal(cns_dp_calibrate(number(item, "epsilon"), number(item, "delta"),
                                        number(item, "sampling_rate"), (uint64_t)number(item, "rounds"),
                                        &options, &found, NULL),
                       0);
      expect_case(fabs(found.noise_multiplier - number(item, "noise_multiplier")) <=
                      number(item, "tolerance"),
                  item, "noise", found.noise_multiplier);
    }
  }
  cJSON_Delete(vectors);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gaussian_is_exact),       cmocka_unit_test(one_round_equals_quadrature),
      cmocka_unit_test(renyi_equals_quadrature), cmocka_unit_test(series_equal_quadrature),
      cmocka_unit_test(pld_encloses_the_truth),  cmocka_unit_test(published_numbers_are_reproduced),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
