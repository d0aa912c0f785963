/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/protocol/policy_support.h"

static void colluders_and_threshold_follow_the_protocol(void **state) {
  static const struct {
    size_t size;
    uint16_t colluders;
  } defaults[] = {{0, 1},  {1, 1},  {4, 1},  {5, 1},    {9, 1},     {10, 2},
                  {13, 2}, {14, 3}, {16, 3}, {100, 24}, {1000, 249}};
  for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
    assert_int_equal(cns_policy_default_colluders(defaults[i].size), defaults[i].colluders);
  /* Losses survived, as docs/protocol.md lists them. */
  static const struct {
    size_t cohort, losses;
  } losses[] = {{4, 1}, {5, 1}, {6, 2}, {8, 3}, {16, 6}, {100, 37}};
  for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
    size_t n = losses[i].cohort;
    assert_int_equal(n - cns_policy_threshold(n, cns_policy_default_colluders(n)), losses[i].losses);
  }
  /* Two sets of t share at least one hospital more than c, and n-c can answer. */
  for (size_t c = 1; c <= 300; c++) {
    for (size_t n = 3 * c + 1; n <= CNS_HOSPITALS_MAX; n += 7) {
      size_t t = cns_policy_threshold(n, (uint16_t)c);
      assert_true(2 * t - n > c && t <= n - c);
    }
  }
}

static void default_policy_is_consistent_for_every_roster(void **state) {
  for (size_t n = 4; n <= CNS_HOSPITALS_MAX; n++) {
    struct cns_roster roster = make_roster(n);
    struct cns_policy policy;
    struct cns_problem problem = {0};
    cns_policy_default(&roster, &policy);
    if (cns_policy_check(&policy, &problem) || cns_policy_check_roster(&policy, &roster, &problem))
      fail_msg("%zu: %s", n, problem.text);
    assert_string_equal(policy.consortium, "Heart study");
    assert_int_equal(policy.valid_until, FROM + INT64_C(86400) * 365);
    cns_roster_deinit(&roster);
  }
  struct cns_roster roster = make_roster(3);
  struct cns_policy policy;
  struct cns_problem problem = {0};
  cns_policy_default(&roster, &policy);
  assert_int_equal(cns_policy_check_roster(&policy, &roster, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "at least 4 hospitals, but the roster has only 3"));
  cns_roster_deinit(&roster);
}

static void revoked_hospitals_do_not_count(void **state) {
  struct cns_roster roster = make_roster(4);
  struct cns_policy policy;
  cns_policy_default(&roster, &policy);
  roster.hospitals[2].revoked = true;
  assert_int_equal(cns_policy_check_roster(&policy, &roster, NULL), CNS_ERR_REFUSED);
  cns_roster_deinit(&roster);
}

static void weights_are_rounded_and_capped(void **state) {
  struct cns_policy policy = {
      .weights_mode = CNS_WEIGHTS_PATIENTS, .weight_cap = 1003, .weight_round_to = 10};
  static const struct {
    uint64_t patients;
    uint32_t weight;
  } cases[] = {{0, 10},
               {1, 10},
               {14, 10},
               {15, 20},
               {20, 20},
               {996, 1000},
               {1002, 1000},
               {1003, 1003},
               {5000, 1003},
               {UINT64_MAX, 1003},
               {UINT64_MAX - 4, 1003}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_int_equal(cns_policy_weight(&policy, cases[i].patients), cases[i].weight);
  /* What a consent declares gives the same weight as what it keeps back. */
  for (uint64_t patients = 1; patients < 1200; patients++) {
    uint32_t declared = cns_policy_patients(&policy, patients);
    assert_int_equal(cns_policy_patients(&policy, declared), declared);
    assert_int_equal(cns_policy_weight(&policy, declared), cns_policy_weight(&policy, patients));
  }
  policy.weight_cap = 1008; /* rounding up stops at the cap */
  assert_int_equal(cns_policy_weight(&policy, 1006), 1008);
  policy.weight_round_to = 1;
  assert_int_equal(cns_policy_weight(&policy, 5), 5);
  policy.weights_mode = CNS_WEIGHTS_EQUAL;
  assert_int_equal(cns_policy_weight(&policy, 5000), 1);
}

static void default_signed(const struct cns_roster *roster, const struct cns_identity *signer,
                           uint8_t **ret_data, size_t *ret_len) {
  struct cns_policy policy;
  struct cns_document document;
  cns_policy_default(roster, &policy);
  assert_int_equal(cns_policy_to_document(&policy, &document), 0);
  sign(&document, signer, ret_data, ret_len);
}

static void what_is_written_is_read(void **state) {
  struct cns_roster roster = make_roster(16);
  struct cns_policy policy, back;
  struct cns_document document;
  uint8_t *data = NULL;
  size_t len = 0;
  cns_policy_default(&roster, &policy);
  policy.version = 7;
  policy.clip_norm_max = 0.1;
  policy.weights_mode = CNS_WEIGHTS_EQUAL;
  policy.metrics = false;
  policy.maximum_exclusions = 2;
  assert_int_equal(cns_policy_to_document(&policy, &document), 0);
  policy.digest = document.digest;
  sign(&document, officers[1], &data, &len);
  struct cns_problem problem = {0};
  if (cns_policy_open(data, len, "policy.json", &roster, &back, &problem)) fail_msg("%s", problem.text);
  assert_true(cns_digest_equal(&back.digest, &policy.digest));
  assert_string_equal(back.consortium, policy.consortium);
  assert_true(back.version == 7 && back.valid_until == policy.valid_until && back.clip_norm_max == 0.1);
  assert_true(back.colluders == 3 && back.minimum_cohort == 10 && back.minimum_included == 5);
  assert_true(back.maximum_exclusions == 2 && back.weights_mode == CNS_WEIGHTS_EQUAL && !back.metrics);
  assert_true(back.weight_cap == policy.weight_cap && back.weight_round_to == policy.weight_round_to);
  assert_true(back.attempts_per_parent == 2 && back.audit_level == CNS_AUDIT_NONE && back.sketch == 0);
  free(data);
  cns_roster_deinit(&roster);
}

static void only_an_officer_of_the_roster_counts(void **state) {
  struct cns_roster roster = make_roster(5), other = make_roster(5);
  struct cns_policy back;
  struct cns_problem problem = {0};
  uint8_t *data = NULL;
  size_t len = 0;
  default_signed(&roster, officers[2], &data, &len);
  assert_int_equal(cns_policy_open(data, len, "p", &roster, &back, &problem), CNS_ERR_SIGNATURE);
  assert_non_null(strstr(problem.text, "any privacy officer"));
  assert_int_equal(cns_policy_open(data, len, "p", NULL, &back, &problem), 0); /* for display */
  free(data);
  default_signed(&roster, NULL, &data, &len);
  assert_int_equal(cns_policy_open(data, len, "p", &roster, &back, &problem), CNS_ERR_SIGNATURE);
  free(data);
  default_signed(&roster, officers[0], &data, &len);
  assert_int_equal(cns_policy_open(data, len, "p", &roster, &back, &problem), 0);
  roster.hospitals[1].revoked = roster.hospitals[2].revoked =
      true; /* too few for a round: they are out all the same */
  assert_int_equal(cns_policy_open(data, len, "p", &roster, &back, &problem), 0);
  assert_int_equal(cns_policy_check_roster(&back, &roster, &problem), CNS_ERR_REFUSED);
  snprintf(other.consortium, sizeof other.consortium, "Lung study");
  assert_int_equal(cns_policy_open(data, len, "p", &other, &back, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "another consortium"));
  for (size_t i = 0; i < len; i++) {
    for (unsigned bit = 0; bit < 8; bit += 3) {
      data[i] ^= (uint8_t)(1u << bit);
      if (cns_policy_open(data, len, "p", &roster, &back, NULL) == 0) fail_msg("byte %zu bit %u", i, bit);
      data[i] ^= (uint8_t)(1u << bit);
    }
  }
  free(data);
  cns_roster_deinit(&roster);
  cns_roster_deinit(&other);
}

static void an_audit_is_written_and_read(void **state) {
  static const enum cns_when_spent spent[] = {CNS_SPENT_STOP, CNS_SPENT_UNAUDITED, CNS_SPENT_RANDOM};
  static const enum cns_on_flag flags[] = {CNS_FLAG_REPORT, CNS_FLAG_EXCLUDE, CNS_FLAG_QUARANTINE};
  struct cns_roster roster = make_roster(16);
  for (size_t i = 0; i < 3; i++) {
    struct cns_policy policy, back;
    struct cns_document document;
    struct cns_problem problem = {0};
    uint8_t *data = NULL;
    size_t len = 0;
    cns_policy_default(&roster, &policy);
    cns_policy_set_audit(&policy, 256u << i >> 1);
    assert_int_equal(cns_policy_check(&policy, NULL), 0);
    assert_int_equal(policy.maximum_exclusions, 3);
    assert_true(policy.when_spent == CNS_SPENT_STOP && policy.on_flag == CNS_FLAG_REPORT);
    policy.when_spent = spent[i];
    policy.on_flag = flags[i];
    policy.sketch_budget = 0.1;
    policy.tighten_rounds = 7;
    policy.tighten_factor = 2.5;
    assert_int_equal(cns_policy_to_document(&policy, &document), 0);
    sign(&document, officers[1], &data, &len);
    if (cns_policy_open(data, len, "policy.json", &roster, &back, &problem)) fail_msg("%s", problem.text);
    assert_true(back.audit_level == CNS_AUDIT_OPEN && back.sketch == 256u << i >> 1);
    assert_true(back.sketch_budget == 0.1 && back.when_spent == spent[i] && back.on_flag == flags[i]);
    assert_true(back.false_positive_rate == policy.false_positive_rate && back.tighten_rounds == 7 &&
                back.tighten_factor == 2.5);
    free(data);
  }
  cns_roster_deinit(&roster);
}

static void the_sketch_budget_in_numbers(void **state) {
  static const struct {
    double share;
    uint64_t dim, numbers;
  } cases[] = {{1.0 / 16, 4096, 256}, {1.0 / 16, 4111, 256},           {1.0 / 16, 1 << 20, 65536},
               {2, 5000, 10000},      {1e6, 1 << 28, 268435456000000}, {0.001, 999, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct cns_policy policy = {.sketch_budget = cases[i].share};
    assert_true(cns_policy_sketch_budget(&policy, cases[i].dim) == cases[i].numbers);
  }
}

static void every_field_is_checked(void **state) {
  refuse_edit("\"version\": 1", "\"version\": 0", CNS_ERR_RANGE, "version");
  refuse_edit("\"version\": 1", "\"version\": 1, \"more\": 1", CNS_ERR_FORMAT, "more is not a known field");
  refuse_edit("\"unit\": \"hospital\"", "\"unit\": \"patient\"", CNS_ERR_RANGE, "without noise no patient");
  refuse_edit("\"unit\": \"hospital\"", "\"unit\": \"ward\"", CNS_ERR_FORMAT, "unit must be \"hospital\"");
  refuse_edit("\"level\": \"none\"", "\"level\": \"open\"", CNS_ERR_FORMAT, "audit.budget");
  refuse_edit("\"level\": \"none\"", "\"level\": \"none\", \"budget\": 1", CNS_ERR_FORMAT, "budget");
  refuse_edit("\"level\": \"none\"", "\"level\": \"norm\"", CNS_ERR_UNSUPPORTED, "audit.level");
  refuse_edit("\"level\": \"none\"", "\"level\": \"distances\"", CNS_ERR_UNSUPPORTED, "audit.level");
  refuse_edit("\"sketch\": 0", "\"sketch\": 256", CNS_ERR_RANGE, "audit.sketch");
  refuse_edit("\"placement\": \"none\"", "\"placement\": \"local\"", CNS_ERR_FORMAT,
              "noise.placement must be");
  refuse_edit("\"placement\": \"none\"", "\"placement\": \"none\", \"epsilon\": 3", CNS_ERR_FORMAT,
              "noise.epsilon");
  refuse_edit("\"placement\": \"none\"", "\"placement\": \"distributed\"", CNS_ERR_FORMAT, "noise.relation");
  refuse_edit("\"metrics\": \"exact\"", "\"metrics\": \"rounded\"", CNS_ERR_FORMAT,
              "metrics must be \"off\" or");
  refuse_edit("\"metrics\": \"exact\"", "\"metrics\": \"noised\"", CNS_ERR_RANGE,
              "which is for unit \"patient\"");
  refuse_edit("\"mode\": \"patients\"", "\"mode\": \"rows\"", CNS_ERR_FORMAT, "weights.mode must be");
  refuse_edit("\"colluders\": 1", "\"colluders\": 0", CNS_ERR_RANGE, "colluders is 0");
  refuse_edit("\"colluders\": 1", "\"colluders\": 2", CNS_ERR_RANGE, "minimum_cohort is 4, but with 2");
  refuse_edit("\"colluders\": 1", "\"colluders\": 500", CNS_ERR_RANGE, "colluders is 500");
  refuse_edit("\"minimum_cohort\": 4", "\"minimum_cohort\": 3", CNS_ERR_RANGE, "minimum_cohort is 3");
  refuse_edit("\"minimum_included\": 3", "\"minimum_included\": 2", CNS_ERR_RANGE, "minimum_included is 2");
  refuse_edit("\"minimum_included\": 3", "\"minimum_included\": 5", CNS_ERR_RANGE, "minimum_included is 5");
  refuse_edit("\"maximum_exclusions\": 0", "\"maximum_exclusions\": -1", CNS_ERR_RANGE, "maximum_exclusions");
  refuse_edit("\"clip_norm_max\": 10", "\"clip_norm_max\": 0", CNS_ERR_RANGE, "clip_norm_max");
  refuse_edit("\"clip_norm_max\": 10", "\"clip_norm_max\": -1", CNS_ERR_RANGE, "clip_norm_max");
  refuse_edit("\"cap\": 100000", "\"cap\": 1000001", CNS_ERR_RANGE, "weights.cap");
  refuse_edit("\"cap\": 100000", "\"cap\": 4", CNS_ERR_RANGE, "weights.cap is 4");
  refuse_edit("\"round_to\": 5", "\"round_to\": 0", CNS_ERR_RANGE, "weights.round_to");
  refuse_edit("\"round_to\": 5", "\"round_to\": 1001", CNS_ERR_RANGE, "weights.round_to");
  refuse_edit("\"attempts_per_parent\": 2", "\"attempts_per_parent\": 11", CNS_ERR_RANGE,
              "attempts_per_parent");
  refuse_edit("\"attempts_per_parent\": 2,", "", CNS_ERR_FORMAT, "attempts_per_parent is missing");
}

static void every_field_of_an_audit_is_checked(void **state) {
  policy_edits.audit = true;
  refuse_edit("\"level\": \"open\"", "\"level\": \"norm\"", CNS_ERR_UNSUPPORTED, "audit.level is \"norm\"");
  refuse_edit("\"level\": \"open\"", "\"level\": \"distances\"", CNS_ERR_UNSUPPORTED, "audit.level");
  refuse_edit("\"level\": \"open\"", "\"level\": \"closed\"", CNS_ERR_FORMAT, "\"none\" or \"open\"");
  refuse_edit("\"level\": \"open\"", "\"level\": \"none\"", CNS_ERR_RANGE, "audit.sketch");
  refuse_edit("\"sketch\": 256", "\"sketch\": 64", CNS_ERR_RANGE, "128, 256, 512 or 1024");
  refuse_edit("\"sketch\": 256", "\"sketch\": 200", CNS_ERR_RANGE, "128, 256, 512 or 1024");
  refuse_edit("\"sketch\": 256", "\"sketch\": 2048", CNS_ERR_RANGE, "audit.sketch");
  refuse_edit("\"budget\": 0.0625", "\"budget\": 0", CNS_ERR_RANGE, "audit.budget");
  refuse_edit("\"budget\": 0.0625", "\"budget\": 10000000", CNS_ERR_RANGE, "audit.budget");
  refuse_edit("\"when_spent\": \"stop\"", "\"when_spent\": \"go\"", CNS_ERR_FORMAT,
              "audit.when_spent must be");
  refuse_edit("\"on_flag\": \"report\"", "\"on_flag\": \"expel\"", CNS_ERR_FORMAT, "audit.on_flag must be");
  refuse_edit("\"false_positive_rate\": 0.001", "\"false_positive_rate\": 0", CNS_ERR_RANGE,
              "false_positive_rate");
  refuse_edit("\"false_positive_rate\": 0.001", "\"false_positive_rate\": 0.5", CNS_ERR_RANGE,
              "false_positive_rate");
  refuse_edit("\"tighten_rounds\": 10", "\"tighten_rounds\": -1", CNS_ERR_RANGE, "tighten_rounds");
  refuse_edit("\"tighten_factor\": 10", "\"tighten_factor\": 0.5", CNS_ERR_RANGE, "tighten_factor");
  refuse_edit("\"tighten_rounds\": 10", "\"tighten\": 10", CNS_ERR_FORMAT, "tighten");
  policy_edits.audit = false;
}

static void check_refuses_what_a_program_could_set(void **state) {
  struct cns_roster roster = make_roster(5);
  struct cns_policy policy, changed;
  cns_policy_default(&roster, &policy);
  changed = policy;
  changed.clip_norm_max = NAN;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed = policy;
  changed.audit_level = CNS_AUDIT_OPEN; /* without a sketch */
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed.audit_level = CNS_AUDIT_NORM;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_UNSUPPORTED);
  changed = policy;
  changed.sketch = 256;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  cns_policy_set_audit(&changed, 256);
  assert_int_equal(cns_policy_check(&changed, NULL), 0);
  changed.sketch_budget = NAN;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  cns_policy_set_audit(&changed, 256);
  changed.tighten_factor = INFINITY;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  cns_policy_set_audit(&changed, 256);
  changed.on_flag = CNS_FLAG_EXCLUDE;
  assert_int_equal(cns_policy_check(&changed, NULL), 0);
  changed.maximum_exclusions = 0; /* a flag could have no consequence */
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed = policy;
  changed.noise_placement = CNS_NOISE_CENTRAL; /* without a budget */
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed = policy;
  cns_policy_set_privacy(&changed, CNS_UNIT_PATIENT, CNS_NOISE_CENTRAL, 3, 1e-5);
  assert_int_equal(cns_policy_check(&changed, NULL), 0);
  changed.privacy.epsilon_coordinator = 5; /* who sees the sum without noise */
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed.noise_placement = CNS_NOISE_DISTRIBUTED;
  assert_int_equal(cns_policy_check(&changed, NULL), 0);
  changed.metrics = true;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed.metrics = false;
  changed.weights_mode = CNS_WEIGHTS_EQUAL;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  cns_policy_set_privacy(&changed, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  changed.privacy.epsilon_month = 4;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed.privacy.epsilon_month = 0;
  changed.privacy.delta = NAN;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  changed = policy;
  changed.weight_round_to = 0;
  assert_int_equal(cns_policy_check(&changed, NULL), CNS_ERR_RANGE);
  cns_roster_deinit(&roster);
}

static void the_clock_decides_validity(void **state) {
  struct cns_policy policy = {.valid_until = FROM};
  struct cns_problem problem = {0};
  assert_int_equal(cns_policy_check_time(&policy, FROM - 1, NULL), 0);
  assert_int_equal(cns_policy_check_time(&policy, FROM, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "2026-11-22 10:00 UTC"));
}

static void the_description_says_what_matters(void **state) {
  static const char *const said[] = {"Heart study",
                                     "version 1",
                                     "2027-11-22",
                                     "at most 3 hospitals secretly work together",
                                     "at least 10 hospitals (the roster has 16)",
                                     "at least 7 must stay",
                                     "up to 3 may drop out",
                                     "at least 5 hospitals",
                                     "rounded to 5",
                                     "at most 10 before",
                                     "no audit",
                                     "No noise is added",
                                     "are exact"};
  struct cns_roster roster = make_roster(16);
  struct cns_policy policy;
  char *text = NULL;
  cns_policy_default(&roster, &policy);
  assert_int_equal(cns_policy_describe(&policy, 16, &text), 0);
  for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
    if (!strstr(text, said[i])) fail_msg("'%s' is not in:\n%s", said[i], text);
  free(text);
  policy.weights_mode = CNS_WEIGHTS_EQUAL;
  policy.metrics = false;
  policy.maximum_exclusions = 1;
  policy.colluders = 1;
  assert_int_equal(cns_policy_describe(&policy, 0, &text), 0);
  assert_non_null(strstr(text, "at most 1 hospital secretly works together"));
  assert_non_null(strstr(text, "Every hospital counts the same"));
  assert_non_null(strstr(text, "at most 1 hospital by its own judgement"));
  assert_non_null(strstr(text, "not collected"));
  free(text);
  static const char *const audited[] = {"and what the audit below reveals",
                                        "sees 256 numbers",
                                        "which diseases",
                                        "0.0625 numbers for each parameter",
                                        "takes part in no further round",
                                        "left out of that round's sum",
                                        "1 of 1000 rounds",
                                        "10 times as often, for 10 rounds"};
  cns_policy_set_audit(&policy, 256);
  policy.on_flag = CNS_FLAG_EXCLUDE;
  assert_int_equal(cns_policy_describe(&policy, 16, &text), 0);
  for (size_t i = 0; i < sizeof audited / sizeof audited[0]; i++)
    if (!strstr(text, audited[i])) fail_msg("'%s' is not in:\n%s", audited[i], text);
  assert_null(strstr(text, "no audit"));
  free(text);
  cns_roster_deinit(&roster);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(colluders_and_threshold_follow_the_protocol),
      cmocka_unit_test(default_policy_is_consistent_for_every_roster),
      cmocka_unit_test(revoked_hospitals_do_not_count),
      cmocka_unit_test(weights_are_rounded_and_capped),
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(only_an_officer_of_the_roster_counts),
      cmocka_unit_test(an_audit_is_written_and_read),
      cmocka_unit_test(the_sketch_budget_in_numbers),
      cmocka_unit_test(every_field_is_checked),
      cmocka_unit_test(every_field_of_an_audit_is_checked),
      cmocka_unit_test(check_refuses_what_a_program_could_set),
      cmocka_unit_test(the_clock_decides_validity),
      cmocka_unit_test(the_description_says_what_matters),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
