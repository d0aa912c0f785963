/* SPDX-License-Identifier: Apache-2.0 */
/* What rounds cost whom, against formulas by hand, and what policies allow. */
#include "ledger_support.h"

#include "store/charge.h"

#define SEED 20263

static struct cns_member members[CNS_HOSPITALS_MAX];
static struct cns_rng_seeded generator;

static uint64_t below(uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), bound, &value), 0);
  return value;
}

/* Five hospitals of 100 patients; a sum of four, one may collude. */
static struct cns_descriptor make_descriptor(enum cns_privacy_unit unit, enum cns_noise_placement placement,
                                             bool audited) {
  struct cns_descriptor d = {.study = study_a,
                             .round = 3,
                             .attempt = 2,
                             .dim = 5000,
                             .clip_norm = 1,
                             .bits = 32,
                             .audit_level = audited ? CNS_AUDIT_OPEN : CNS_AUDIT_NONE,
                             .unit = (uint8_t)unit,
                             .noise_placement = (uint8_t)placement,
                             .noise_multiplier = placement ? 1.5 : 0,
                             .sampling_rate = !placement                 ? 0
                                              : unit == CNS_UNIT_PATIENT ? 0.25
                                                                         : 1,
                             .sketch = audited ? 128 : 0,
                             .colluders = 1,
                             .minimum_included = 4,
                             .member_count = 5,
                             .members = members};
  for (uint16_t k = 0; k < 5; k++)
    members[k] = (struct cns_member){(uint16_t)(k + 1), 100};
  assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
  return d;
}

static struct cns_policy make_policy(enum cns_privacy_unit unit, enum cns_noise_placement placement,
                                     bool audited) {
  struct cns_roster_hospital hospitals[5] = {
      {.index = 1}, {.index = 2}, {.index = 3}, {.index = 4}, {.index = 5}};
  struct cns_roster roster = {.hospitals = hospitals, .hospital_count = 5};
  struct cns_policy policy;
  cns_policy_default(&roster, &policy);
  if (audited) cns_policy_set_audit(&policy, 128);
  if (placement != CNS_NOISE_NONE) cns_policy_set_privacy(&policy, unit, placement, 3, 1e-5);
  policy.colluders = 1;
  policy.minimum_included = 4;
  return policy;
}

static void rounds_without_noise_have_no_place_here(void **state) {
  struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
  struct cns_descriptor d = make_descriptor(CNS_UNIT_HOSPITAL, CNS_NOISE_NONE, false);
  struct cns_policy policy = make_policy(CNS_UNIT_HOSPITAL, CNS_NOISE_NONE, false);
  struct cns_ledger_round round;
  (void)state;
  assert_int_equal(cns_charge_costs(&d, costs), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_charge_round(&d, "sepsis", NULL, &round), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_charge_expected(&policy, 1, 1, 5000, costs), CNS_ERR_ARGUMENT);
  d = make_descriptor(CNS_UNIT_PATIENT, CNS_NOISE_CENTRAL, false);
  d.scale_log2 = 60;
  assert_int_equal(cns_charge_costs(&d, costs), CNS_ERR_RANGE);
}

static void expect_cost(const struct cns_budget_cost *cost, double multiplier, double rate, double extra) {
  assert_true(cost->noise_multiplier == multiplier);
  assert_true(cost->sampling_rate == rate);
  assert_true(cost->rounds == 1);
  assert_true(cost->extra_delta == extra);
}

static void costs_are_those_of_the_formulas(void **state) {
  (void)state;
  for (int unit = 0; unit < 2; unit++)
    for (int audited = 0; audited < 2; audited++) {
      struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
      double rate = unit == CNS_UNIT_PATIENT ? 0.25 : 1;
      struct cns_descriptor d = make_descriptor(unit, CNS_NOISE_CENTRAL, audited);
      assert_int_equal(cns_charge_costs(&d, costs), 0);
      expect_cost(&costs[CNS_LEDGER_READERS], 1.5, rate, 5000 * 0x1p-72);
      expect_cost(&costs[CNS_LEDGER_COORDINATOR], 0, rate, 5000 * 0x1p-72);
      d = make_descriptor(unit, CNS_NOISE_DISTRIBUTED, audited);
      assert_int_equal(cns_charge_costs(&d, costs), 0);
      expect_cost(&costs[CNS_LEDGER_READERS], 1.5, rate, 25000 * 0x1p-72);
      if (!audited) {
        expect_cost(&costs[CNS_LEDGER_COORDINATOR], 1.5, rate, 25000 * 0x1p-72);
        continue;
      }
      /* A third of the variance, of which 3 steps are lost. */
      struct cns_mechanism_numbers n;
      assert_int_equal(cns_descriptor_numbers(&d, &n, &problem), 0);
      long double s = n.sensitivity, z = sqrtl((2.25L * s * s + 3) / 3 - 3) / s;
      double own = costs[CNS_LEDGER_COORDINATOR].noise_multiplier;
      assert_true(own <= z * (1 + 0x1p-38L) && own >= z * (1 - 0x1p-38L));
      assert_true(own * (double)n.sensitivity <= sqrt(n.sigma_local * n.sigma_local - 3));
      assert_true(own <= 1.5 / sqrt(3) * (1 + 0x1p-38));
    }
}

/* As with a fixed one, whatever it is by now: a cost that depended on earlier results
 * would not be covered by what the accountant composes. */
static void an_adaptive_clip_norm_costs_the_same_at_every_norm(void **state) {
  struct cns_budget_cost fixed[CNS_LEDGER_OBSERVERS], costs[CNS_LEDGER_OBSERVERS];
  (void)state;
  for (enum cns_noise_placement placement = CNS_NOISE_CENTRAL; placement <= CNS_NOISE_DISTRIBUTED;
       placement++) {
    struct cns_descriptor d = make_descriptor(CNS_UNIT_PATIENT, placement, false);
    assert_int_equal(cns_charge_costs(&d, fixed), 0);
    for (int k = 0; k < 600; k++) {
      d.indicator_share = k % 3 < 2 ? 0.05 : 0;
      d.metrics_share = k % 3 > 0 ? 0.1 : 0; /* nor do noised metrics cost more */
      d.clip_norm = 1e-3 * pow(1.023, k);
      assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
      assert_int_equal(cns_charge_costs(&d, costs), 0);
      assert_memory_equal(costs, fixed, sizeof costs);
    }
  }
}

/* Every share is by itself worth less than the accountant knows. */
static void a_share_that_is_worth_next_to_nothing_is_nothing(void **state) {
  struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
  struct cns_descriptor d = make_descriptor(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, true);
  struct cns_policy policy = make_policy(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, true);
  (void)state;
  d.noise_multiplier = 0.015;
  assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
  assert_int_equal(cns_charge_costs(&d, costs), 0);
  assert_true(costs[CNS_LEDGER_READERS].noise_multiplier == 0.015);
  assert_true(costs[CNS_LEDGER_COORDINATOR].noise_multiplier == 0);
  assert_int_equal(cns_charge_expected(&policy, 0.015, 0.25, 5000, costs), 0);
  assert_true(costs[CNS_LEDGER_COORDINATOR].noise_multiplier == 0);
}

/* More noise costs less; so what is expected has at most what there will be. */
static void expect_no_more_than(const struct cns_budget_cost *actual,
                                const struct cns_budget_cost *expected) {
  for (int k = 0; k < CNS_LEDGER_OBSERVERS; k++) {
    if (expected[k].noise_multiplier > actual[k].noise_multiplier)
      fail_msg("seed %d: expected %.17g, actual %.17g", SEED, expected[k].noise_multiplier,
               actual[k].noise_multiplier);
    if (actual[k].noise_multiplier > 0.0103) /* less than 0.01 counts as nothing */
      assert_true(expected[k].noise_multiplier >= actual[k].noise_multiplier * 0.975);
    assert_true(expected[k].sampling_rate == actual[k].sampling_rate);
    assert_true(expected[k].extra_delta >= actual[k].extra_delta);
  }
}

static void what_is_expected_is_never_less_than_what_is_charged(void **state) {
  size_t narrow = 0;
  (void)state;
  for (int i = 0; i < 3000; i++) {
    enum cns_privacy_unit unit = i % 2;
    struct cns_policy policy = make_policy(unit, i % 5 ? CNS_NOISE_DISTRIBUTED : CNS_NOISE_CENTRAL, i % 3);
    struct cns_descriptor d = make_descriptor(unit, policy.noise_placement, i % 3);
    struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS], expected[CNS_LEDGER_OBSERVERS];
    struct cns_mechanism_numbers n;
    d.member_count = (uint16_t)(4 + below(i % 7 ? 30 : 997));
    uint32_t cap = 1u << below(20);
    for (uint16_t k = 0; k < d.member_count; k++)
      members[k] = (struct cns_member){(uint16_t)(k + 1), (uint32_t)(1 + below(cap))};
    d.dim = UINT64_C(1) << below(27);
    d.noise_multiplier = ldexp(1 + (double)below(1000) / 1000, (int)below(12) - 7);
    policy.colluders = d.colluders = (uint16_t)(1 + below(d.member_count / 4));
    policy.minimum_included = d.minimum_included =
        (uint16_t)(d.colluders + 2 + below(d.member_count - d.colluders - 1));
    if (cns_descriptor_choose_scale(&d, &problem)) continue;
    /* Coarser grids too: the noise is in few steps there. */
    d.scale_log2 = (int8_t)(d.scale_log2 - (int)below(16));
    if (cns_charge_costs(&d, costs)) continue;
    assert_int_equal(cns_descriptor_numbers(&d, &n, &problem), 0);
    narrow += n.sigma_local > 0 && n.sigma_local < 50;
    assert_int_equal(cns_charge_expected(&policy, d.noise_multiplier, d.sampling_rate, d.dim, expected), 0);
    expect_no_more_than(costs, expected);
  }
  assert_true(narrow > 20);
}

static void a_round_has_all_that_names_it(void **state) {
  struct cns_descriptor d = make_descriptor(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, false);
  struct cns_digest digest, data_set = scratch_digest(12), zero = {0};
  struct cns_ledger_round round;
  (void)state;
  assert_int_equal(cns_descriptor_digest(&d, &digest), 0);
  assert_int_equal(cns_charge_round(&d, "sepsis", &data_set, &round), 0);
  assert_string_equal(round.study_name, "sepsis");
  assert_int_equal(round.round, 3);
  assert_int_equal(round.attempt, 2);
  assert_true(cns_digest_equal(&round.descriptor, &digest) && cns_digest_equal(&round.study, &study_a));
  assert_true(cns_digest_equal(&round.data_set, &data_set));
  assert_int_equal(cns_charge_round(&d, "sepsis", NULL, &round), 0);
  assert_true(cns_digest_equal(&round.data_set, &zero));
}

static void limits_are_the_policys_and_the_data_sets(void **state) {
  struct cns_policy policy = make_policy(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, true);
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_charge_data_limit data = {0};
  (void)state;
  policy.privacy.epsilon_round = 0.5;
  policy.privacy.epsilon_month = 1;
  policy.privacy.relation = CNS_DP_REPLACE_ONE;
  assert_int_equal(cns_charge_limits(&policy, NULL, limits), 1);
  assert_int_equal(limits[0].observer, CNS_LEDGER_READERS);
  assert_int_equal(limits[0].scope, CNS_LEDGER_STUDY);
  assert_true(limits[0].limits.epsilon == 3 && limits[0].limits.delta == 1e-5);
  assert_true(limits[0].limits.epsilon_round == 0.5 && limits[0].limits.epsilon_month == 1);
  assert_int_equal(limits[0].limits.relation, CNS_DP_REPLACE_ONE);
  policy.privacy.epsilon_coordinator = 8;
  assert_int_equal(cns_charge_limits(&policy, &data, limits), 3);
  assert_int_equal(limits[1].observer, CNS_LEDGER_COORDINATOR);
  assert_true(limits[1].limits.epsilon == 8 && limits[1].limits.delta == 1e-5);
  assert_int_equal(limits[1].limits.relation, CNS_DP_REPLACE_ONE);
  assert_int_equal(limits[2].scope, CNS_LEDGER_ALL);
  assert_true(limits[2].limits.epsilon == 3 && limits[2].limits.delta == 1e-5);
  data = (struct cns_charge_data_limit){2, 1e-6};
  assert_int_equal(cns_charge_limits(&policy, &data, limits), 3);
  assert_true(limits[2].limits.epsilon == 2 && limits[2].limits.delta == 1e-6);
  assert_int_equal(limits[2].limits.relation, CNS_DP_REPLACE_ONE);
}

static int reserve_number(struct cns_ledger *ledger, const struct cns_digest *study, uint64_t number,
                          bool audited, const struct cns_policy *policy, struct cns_digest *ret_digest) {
  struct cns_descriptor d = make_descriptor(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, audited);
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_ledger_round round;
  const struct cns_charge_data_limit data = {0};
  d.study = *study;
  d.round = number;
  assert_int_equal(cns_charge_round(&d, "sepsis", NULL, &round), 0);
  *ret_digest = round.descriptor;
  size_t count = cns_charge_limits(policy, &data, limits);
  return cns_ledger_reserve(ledger, &round, limits, count, JANUARY, NULL, &problem);
}

static void standing_tells_what_a_budget_tells(void **state) {
  struct cns_policy policy = make_policy(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, false);
  struct cns_ledger *ledger = open_named("standing");
  struct cns_charge_standing s;
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
  struct cns_digest digest;
  double epsilon;
  uint64_t left = 0, number = 0;
  int r = 0;
  (void)state;
  (void)cns_charge_limits(&policy, NULL, limits);
  assert_int_equal(cns_charge_expected(&policy, 1.5, 0.25, 5000, costs), 0);
  assert_int_equal(
      cns_charge_standing(ledger, &study_a, &limits[0], &policy, &costs[0], 1000, JANUARY, &s, &problem), 0);
  assert_true(s.spent == 0 && s.limit == 3 && s.delta == 1e-5 && s.alert == 0 && s.rounds == 0);
  left = s.rounds_left;
  assert_true(left > 3 && left < 1000);
  while ((r = reserve_number(ledger, &study_a, ++number, false, &policy, &digest)) == 0) {
    assert_int_equal(cns_ledger_charge(ledger, &digest, JANUARY, &problem), 0);
    if (number % 4 && number + 1 < left) continue;
    struct cns_budget_cost all = {1.5, 0.25, number, (double)number * 25000 * 0x1p-72};
    assert_int_equal(
        cns_charge_standing(ledger, &study_a, &limits[0], &policy, &costs[0], 1000, JANUARY, &s, &problem),
        0);
    assert_int_equal(cns_budget_epsilon(&all, 1, 1e-5, CNS_DP_ADD_REMOVE, &epsilon, &problem), 0);
    assert_true(fabs(s.spent - epsilon) < 0.03 * epsilon);
    assert_true(s.alert == (s.spent >= 2.85 ? 0.95 : s.spent >= 2.4 ? 0.8 : s.spent >= 1.5 ? 0.5 : 0));
    assert_int_equal(s.rounds, number);
    assert_int_equal(s.rounds_left, left - number);
  }
  assert_int_equal(r, CNS_BUDGET_EXCEEDED);
  assert_int_equal(number, left + 1);
  assert_non_null(strstr(problem.text, "this study"));
  /* Another study on the same data: nothing is left of the data's. */
  assert_int_equal(reserve_number(ledger, &study_b, 1, false, &policy, &digest), CNS_BUDGET_EXCEEDED);
  assert_non_null(strstr(problem.text, "all studies together"));
  cns_ledger_free(ledger);
}

/* An abandoned sum was seen by nobody; sketches were, by the coordinator. */
static void a_refund_leaves_the_coordinators_cost_when_audited(void **state) {
  struct cns_policy policy = make_policy(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, true);
  struct cns_ledger *ledger = open_named("refund");
  struct cns_budget_cost *costs = NULL;
  struct cns_digest digest;
  size_t count = 0;
  (void)state;
  assert_int_equal(reserve_number(ledger, &study_a, 1, true, &policy, &digest), 0);
  assert_int_equal(cns_ledger_charge(ledger, &digest, JANUARY, &problem), 0);
  assert_int_equal(cns_ledger_refund(ledger, &digest, CNS_LEDGER_BIT(CNS_LEDGER_READERS), JANUARY, &problem),
                   0);
  assert_int_equal(cns_ledger_costs(ledger, NULL, CNS_LEDGER_READERS, 0, &costs, &count, &problem), 0);
  assert_int_equal(count, 0);
  assert_int_equal(cns_ledger_costs(ledger, NULL, CNS_LEDGER_COORDINATOR, 0, &costs, &count, &problem), 0);
  assert_int_equal(count, 1);
  assert_true(costs[0].noise_multiplier < 1.5 / sqrt(3) * (1 + 0x1p-38));
  free(costs);
  assert_int_equal(cns_ledger_refund(ledger, &digest, CNS_LEDGER_EVERYONE, JANUARY, &problem),
                   CNS_ERR_REFUSED);
  cns_ledger_free(ledger);
}

static void what_is_stale_is_cancelled_and_nothing_else(void **state) {
  struct cns_ledger *ledger = open_named("stale");
  struct cns_digest running = name_of(3);
  (void)state;
  for (uint64_t number = 1; number <= 4; number++)
    assert_int_equal(reserve(ledger, number), 0);
  assert_int_equal(charge(ledger, 1), 0);
  assert_int_equal(reserve_at(ledger, &study_b, 1, JANUARY), 0);
  assert_int_equal(cns_charge_cancel_stale(ledger, &study_a, &running, JANUARY, &problem), 0);
  assert_int_equal(state_of(ledger, 1), CNS_LEDGER_CHARGED);
  assert_int_equal(state_of(ledger, 2), CNS_LEDGER_CANCELLED);
  assert_int_equal(state_of(ledger, 3), CNS_LEDGER_RESERVED);
  assert_int_equal(state_of(ledger, 4), CNS_LEDGER_CANCELLED);
  assert_int_equal(count_costs(ledger, &study_b, CNS_LEDGER_READERS, 0), 1);
  assert_int_equal(count_all(ledger), 3);
  uint64_t entries = entries_of(ledger);
  assert_int_equal(cns_charge_cancel_stale(ledger, &study_a, &running, JANUARY, &problem), 0);
  assert_int_equal(entries_of(ledger), entries); /* nothing more to cancel */
  assert_int_equal(cns_charge_cancel_stale(ledger, &study_a, NULL, JANUARY, &problem), 0);
  assert_int_equal(state_of(ledger, 3), CNS_LEDGER_CANCELLED);
  cns_ledger_free(ledger);
}

static int set_up(void **state) {
  cns_rng_seeded_init_label(&generator, SEED, "charge");
  return ledger_setup(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds_without_noise_have_no_place_here),
      cmocka_unit_test(costs_are_those_of_the_formulas),
      cmocka_unit_test(an_adaptive_clip_norm_costs_the_same_at_every_norm),
      cmocka_unit_test(a_share_that_is_worth_next_to_nothing_is_nothing),
      cmocka_unit_test(what_is_expected_is_never_less_than_what_is_charged),
      cmocka_unit_test(a_round_has_all_that_names_it),
      cmocka_unit_test(limits_are_the_policys_and_the_data_sets),
      cmocka_unit_test(standing_tells_what_a_budget_tells),
      cmocka_unit_test(a_refund_leaves_the_coordinators_cost_when_audited),
      cmocka_unit_test(what_is_stale_is_cancelled_and_nothing_else),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, set_up, ledger_teardown);
}
