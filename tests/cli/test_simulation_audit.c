/* SPDX-License-Identifier: Apache-2.0 */
/* Audited rounds of the simulation, and hospitals that break the protocol in them. */
#include "tests/cli/simulated.h"

#define N 10 /* c = 2, threshold 7 */

static void an_audited_round(void **state) {
  struct cns_simulation_options options = small(N, 1);
  struct cns_simulation *simulation = begin(&options);
  for (int round = 0; round < 2; round++) {
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed && result->sketches_exact);
    assert_int_equal(result->included_count, N);
    assert_int_equal(result->blame_count, 0);
    assert_true(result->client_audit_ms_median > 0 && result->server_sketch_ms > 0);
    assert_true(result->audit_bytes_up_per_hospital >= N * 4 * 128);
    assert_true(result->audit_bytes_up_per_hospital <= (N - 1) * 4 * 128 + 4096);
    assert_true(result->influence > 0.05 && result->influence < 0.5);
    assert_non_null(strstr(result->effective, "limits"));
  }
  cns_simulation_free(simulation);
}

/* Everybody that attacks, and what becomes of it. */
static void named(const char *spec, uint64_t seed, enum cns_blame blame, uint8_t outcome) {
  struct cns_simulation_options options = small(N, seed);
  attack(&options, spec);
  struct cns_simulation *simulation = begin(&options);
  for (int round = 0; round < 2; round++) {
    const struct cns_simulation_result *result = play(simulation);
    size_t liars = 0;
    assert_true(result->completed && result->sketches_exact);
    for (size_t k = 0; k < N; k++) {
      liars += result->malicious[k];
      assert_int_equal(is_blamed(result, k, blame), result->malicious[k]);
      assert_int_equal(result->outcome[k], result->malicious[k] ? outcome : CNS_INCLUDED);
    }
    assert_int_equal(liars, options.attacks[0].count);
    assert_int_equal(result->blame_count, liars);
  }
  cns_simulation_free(simulation);
}

static void liars_are_named(void **state) {
  for (uint64_t seed = 1; seed <= 2; seed++) {
    named("false-pair:1", seed, CNS_BLAME_FALSE_PAIR, CNS_OUT_CONVICTED);
    named("false-pair:2", seed, CNS_BLAME_FALSE_PAIR, CNS_OUT_CONVICTED);
    named("false-self:1", seed, CNS_BLAME_FALSE_SELF, CNS_OUT_FORFEITED);
    named("false-self:2:scale=3", seed, CNS_BLAME_FALSE_SELF, CNS_OUT_FORFEITED);
    named("wrong-share:2", seed, CNS_BLAME_WRONG_SHARE, CNS_INCLUDED);
    named("equivocate:2", seed, CNS_BLAME_EQUIVOCATION, CNS_INCLUDED);
  }
}

/* A false self sketch that hides nothing beyond the bound: reported, not punished. */
static void a_lie_within_the_bound(void **state) {
  named("false-self:1:scale=0.5", 4, CNS_BLAME_FALSE_SELF, CNS_INCLUDED);
}

static void silence_is_missing_and_never_blamed(void **state) {
  static const struct {
    const char *spec;
    enum cns_phase phase;
    uint8_t outcome;
  } cases[] = {
      {"drop-after-upload:2", CNS_PHASE_AUDIT, CNS_MISSING_AUDIT},
      {"refuse-opening:1", CNS_PHASE_AUDIT, CNS_MISSING_AUDIT},
      {"refuse-opening:2", CNS_PHASE_DISPUTE, CNS_MISSING_DISPUTE},
      {"refuse-opening:3", CNS_PHASE_DISPUTE, CNS_MISSING_DISPUTE},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    struct cns_simulation_options options = small(N, 5 + c);
    attack(&options, cases[c].spec);
    struct cns_simulation *simulation = begin(&options);
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed);
    assert_int_equal(result->blame_count, 0);
    for (size_t k = 0; k < N; k++) {
      assert_int_equal(result->missing[k], result->malicious[k] ? cases[c].phase : CNS_PHASE_COUNT);
      assert_int_equal(result->outcome[k], result->malicious[k] ? cases[c].outcome : CNS_INCLUDED);
    }
    cns_simulation_free(simulation);
  }
}

static void other_masks_are_flagged_and_not_blamed(void **state) {
  for (int exclude = 0; exclude < 2; exclude++) {
    struct cns_simulation_options options = small(N, 10);
    attack(&options, "other-masks:2");
    options.on_flag = exclude ? CNS_FLAG_EXCLUDE : CNS_FLAG_REPORT;
    struct cns_simulation *simulation = begin(&options);
    const struct cns_simulation_result *result = play(simulation);
    assert_int_equal(result->blame_count, 0);
    assert_int_equal(result->completed, exclude); /* with such masks in it the sum is void */
    for (size_t k = 0; k < N; k++) {
      assert_int_equal(is_flagged(result, k, CNS_DETECT_BOUND), result->malicious[k]);
      if (exclude && result->malicious[k]) assert_int_equal(result->outcome[k], CNS_OUT_FLAGGED);
      if (!result->malicious[k]) assert_int_equal(result->outcome[k], CNS_INCLUDED);
    }
    if (!exclude) assert_non_null(strstr(result->reason, "void"));
    cns_simulation_free(simulation);
  }
}

/* One of the two sends both updates and the other nothing; nobody can tell. But
 * what they move together is within their two bounds, and beyond it one of the
 * two is seen: excluded, its s shows the other's part in the lie. */
static void agreed_pairs_stay_within_two_bounds(void **state) {
  for (uint64_t seed = 1; seed <= 3; seed++) {
    struct cns_simulation_options options = small(N, seed);
    attack(&options, "false-pair-agreed:2");
    struct cns_simulation *simulation = begin(&options);
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed && result->sketches_exact);
    assert_int_equal(result->blame_count, 0);
    for (size_t k = 0; k < N; k++) {
      assert_int_equal(result->outcome[k], CNS_INCLUDED);
      if (result->malicious[k]) assert_false(is_flagged_at_all(result, k));
    }
    assert_true(result->attack_influence > 0.1 && result->attack_influence <= 1.0);
    cns_simulation_free(simulation);

    options.attacks[0].scale = 5;
    options.on_flag = CNS_FLAG_EXCLUDE;
    simulation = begin(&options);
    result = play(simulation);
    assert_true(result->completed);
    for (size_t k = 0; k < N; k++)
      assert_int_equal(result->outcome[k] != CNS_INCLUDED, result->malicious[k]);
    assert_true(result->attack_influence <= 0);
    cns_simulation_free(simulation);
  }
}

/* Without an audit: a sum with other masks in it is void, and the rest as ever. */
static void without_an_audit(void **state) {
  static const char *const specs[] = {"wrong-share:1", "equivocate:1", "drop-after-upload:1", "other-masks:1",
                                      "gaussian:1:scale=3"};
  for (size_t c = 0; c < sizeof specs / sizeof *specs; c++) {
    struct cns_simulation_options options = small(N, 20 + c);
    options.audit = false;
    attack(&options, specs[c]);
    struct cns_simulation *simulation = begin(&options);
    const struct cns_simulation_result *result = play(simulation);
    assert_int_equal(result->completed, c != 3);
    assert_int_equal(result->blame_count, c < 2);
    assert_int_equal(result->flag_count, 0);
    cns_simulation_free(simulation);
  }
}

static void quarantine_lasts_and_never_goes_below_the_cohort(void **state) {
  struct cns_simulation_options options = small(N, 32); /* a seed that flags nobody honest */
  attack(&options, "gaussian:2:scale=10");
  options.on_flag = CNS_FLAG_QUARANTINE;
  struct cns_simulation *simulation = begin(&options);
  for (uint64_t round = 1; round <= 3; round++) {
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed && result->sketches_exact);
    assert_int_equal(result->cohort_count, round == 1 ? N : N - 2);
    for (size_t k = 0; k < N; k++) {
      if (!result->malicious[k]) continue;
      assert_int_equal(result->outcome[k], round == 1 ? CNS_OUT_QUARANTINED : CNS_OUTCOME_COUNT);
      assert_int_equal(result->quarantined[k], round == 1 ? 0 : 1);
    }
  }
  cns_simulation_free(simulation);
  /* Seven are the smallest cohort with c = 2: of four in quarantine three stay out. */
  options = small(N, 31);
  attack(&options, "gaussian:4:scale=10");
  options.on_flag = CNS_FLAG_QUARANTINE;
  simulation = begin(&options);
  for (uint64_t round = 1; round <= 4; round++) {
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed);
    assert_int_equal(result->included_count, round == 1 ? N - 2 : round == 2 ? N - 4 : 6);
    assert_int_equal(result->cohort_count, round == 1 ? N : round == 2 ? N - 2 : 7);
  }
  cns_simulation_free(simulation);
}

static void a_spent_budget_stops(void **state) {
  struct cns_simulation_options options = small(N, 40);
  options.sketch_budget = 256.0 / 4096;
  struct cns_simulation *simulation = begin(&options);
  for (int round = 0; round < 3; round++) {
    const struct cns_simulation_result *result = play(simulation);
    assert_int_equal(result->completed, round < 2);
    assert_int_equal(result->stopped, round == 2);
    if (round == 2) assert_non_null(strstr(result->reason, "256 of the 256"));
  }
  cns_simulation_free(simulation);
}

static void losses_around_the_audit(void **state) {
  for (size_t lost = 0; lost <= 6; lost++) {
    struct cns_simulation_options options = small(16, 50 + lost); /* c = 3, threshold 10 */
    options.drops[CNS_PHASE_AUDIT] = lost;
    struct cns_simulation *simulation = begin(&options);
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed);
    assert_int_equal(result->included_count, 16 - lost);
    for (size_t k = 0; k < 16; k++)
      assert_int_equal(result->missing[k] == CNS_PHASE_AUDIT, !result->included[k]);
    cns_simulation_free(simulation);
  }
  struct cns_simulation_options options = small(16, 60);
  options.drops[CNS_PHASE_AUDIT] = 7;
  struct cns_simulation *simulation = begin(&options);
  assert_false(play(simulation)->completed);
  cns_simulation_free(simulation);
  /* The partner of a lie leaves before it can contradict: its s does, later. */
  options = small(16, 61);
  options.drops[CNS_PHASE_DISPUTE] = 2;
  attack(&options, "false-pair:1");
  simulation = begin(&options);
  const struct cns_simulation_result *result = play(simulation);
  assert_true(result->completed);
  assert_int_equal(result->blame_count, 1);
  cns_simulation_free(simulation);
}

static void several_attacks_at_once(void **state) {
  struct cns_simulation_options options = small(16, 70);
  attack(&options, "false-self:1");
  attack(&options, "false-pair:1");
  attack(&options, "ipm:2:epsilon=4");
  options.on_flag = CNS_FLAG_EXCLUDE;
  options.drops[CNS_PHASE_UPLOAD] = 1;
  options.drops[CNS_PHASE_UNMASK] = 1;
  struct cns_simulation *simulation = begin(&options);
  for (int round = 0; round < 2; round++) {
    const struct cns_simulation_result *result = play(simulation);
    assert_true(result->completed);
    assert_int_equal(result->blame_count, 2);
  }
  cns_simulation_free(simulation);
}

static void the_seed_decides(void **state) {
  double influence[2];
  for (int run = 0; run < 2; run++) {
    struct cns_simulation_options options = small(N, 80);
    attack(&options, "min-max:2:jitter=0.1");
    struct cns_simulation *simulation = begin(&options);
    play(simulation);
    influence[run] = play(simulation)->attack_influence;
    cns_simulation_free(simulation);
  }
  assert_memory_equal(&influence[0], &influence[1], sizeof influence[0]);
}

static void refuse(const struct cns_simulation_options *options, const char *word) {
  struct cns_problem problem = {0};
  struct cns_simulation *simulation = NULL;
  assert_int_equal(cns_simulation_new(options, &simulation, &problem), CNS_ERR_RANGE);
  if (!strstr(problem.text, word)) fail_msg("%s: %s", word, problem.text);
}

static void wrong_options(void **state) {
  struct cns_simulation_options options = small(N, 1);
  options.sketch = 100;
  refuse(&options, "128, 256, 512 or 1024");
  options = small(N, 1);
  options.dim = 4095;
  refuse(&options, "at least 4096");
  options.dim = 10000;
  options.sketch = 512;
  refuse(&options, "at least 16384");
  options = small(N, 1);
  options.sketch_budget = 0.01;
  refuse(&options, "one round needs 128");
  options = small(N, 1);
  attack(&options, "alie:9");
  refuse(&options, "two must be honest");
  options = small(N, 1);
  attack(&options, "equivocate:5");
  options.drops[CNS_PHASE_UPLOAD] = 6;
  refuse(&options, "besides the attackers");
  options = small(N, 1);
  attack(&options, "mimic:2:victim=8");
  refuse(&options, "8 hospitals to copy");
  options = small(N, 1);
  options.audit = false;
  attack(&options, "false-self:1");
  refuse(&options, "--audit open");
  options.attack_count = 0;
  options.drops[CNS_PHASE_AUDIT] = 1;
  refuse(&options, "without an audit");
  options = small(600, 1);
  options.source = CNS_SIMULATION_TRAINED;
  refuse(&options, "can't be dealt to 600 hospitals");
}

static int group_setup(void **state) {
  return cns_init();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_audited_round),
      cmocka_unit_test(liars_are_named),
      cmocka_unit_test(a_lie_within_the_bound),
      cmocka_unit_test(silence_is_missing_and_never_blamed),
      cmocka_unit_test(other_masks_are_flagged_and_not_blamed),
      cmocka_unit_test(agreed_pairs_stay_within_two_bounds),
      cmocka_unit_test(without_an_audit),
      cmocka_unit_test(quarantine_lasts_and_never_goes_below_the_cohort),
      cmocka_unit_test(a_spent_budget_stops),
      cmocka_unit_test(losses_around_the_audit),
      cmocka_unit_test(several_attacks_at_once),
      cmocka_unit_test(the_seed_decides),
      cmocka_unit_test(wrong_options),
  };
  return cmocka_run_group_tests_name("cli simulation audit", tests, group_setup, NULL);
}
