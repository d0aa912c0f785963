/* SPDX-License-Identifier: Apache-2.0 */
/* What a later policy changes, and what of it is loosening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "protocol/policy_compare.h"

enum base { PLAIN, AUDITED, NOISY, BOTH };

static struct cns_policy make(enum base base) {
  struct cns_roster_hospital hospitals[16] = {0};
  const struct cns_roster roster = {.consortium = "Heart study",
                                    .version = 1,
                                    .valid_from = INT64_C(1795341600),
                                    .hospitals = hospitals,
                                    .hospital_count = 16};
  struct cns_policy policy;
  cns_policy_default(&roster, &policy);
  if (base == AUDITED || base == BOTH) cns_policy_set_audit(&policy, 256);
  if (base == NOISY || base == BOTH) {
    cns_policy_set_privacy(&policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
    policy.privacy.epsilon_round = 0.5;
    policy.privacy.epsilon_month = 1;
    policy.privacy.epsilon_coordinator = 8;
  }
  assert_int_equal(cns_policy_check(&policy, NULL), 0);
  return policy;
}

#define LOOSE CNS_CHANGE_LOOSENING
#define TIGHT CNS_CHANGE_TIGHTENING
#define NEUTRAL CNS_CHANGE_NEUTRAL

/* One field is changed; what that is, and what it is when it is changed back. */
static void change_is(int line, const char *field, const struct cns_policy *old, const struct cns_policy *new,
                      enum cns_policy_direction there, enum cns_policy_direction back) {
  struct cns_policy_change changes[CNS_POLICY_CHANGES_MAX];
  for (int way = 0; way < 2; way++) {
    const struct cns_policy *from = way ? new : old, *to = way ? old : new;
    enum cns_policy_direction expected = way ? back : there;
    size_t count = cns_policy_compare(from, to, changes);
    if (count != 1) fail_msg("line %d: %zu changes", line, count);
    if (strcmp(changes[0].field, field) != 0 || changes[0].direction != expected)
      fail_msg("line %d: %s is %s: %s", line, changes[0].field,
               cns_policy_direction_name(changes[0].direction), changes[0].text);
    assert_true(strlen(changes[0].text) > 10 && strlen(changes[0].text) < sizeof changes[0].text - 1);
    assert_true(cns_policy_loosens(from, to, NULL) == (expected == LOOSE));
  }
}

#define CHANGE(base, edit, field, there, back)                                                               \
  do {                                                                                                       \
    struct cns_policy old = make(base), new = make(base);                                                    \
    new.edit;                                                                                                \
    change_is(__LINE__, field, &old, &new, there, back);                                                     \
  } while (0)

static void the_same_policy_changes_nothing(void **state) {
  struct cns_policy_change changes[CNS_POLICY_CHANGES_MAX];
  for (enum base base = PLAIN; base <= BOTH; base++) {
    struct cns_policy policy = make(base);
    assert_int_equal(cns_policy_compare(&policy, &policy, changes), 0);
    assert_false(cns_policy_loosens(&policy, &policy, NULL));
  }
}

static void the_scope(void **state) {
  CHANGE(PLAIN, version = 9, "version", NEUTRAL, NEUTRAL);
  CHANGE(PLAIN, valid_until += 1, "valid_until", LOOSE, TIGHT);
  CHANGE(PLAIN, consortium[0] = 'h', "consortium", LOOSE, LOOSE);
}

static void secrecy_and_influence(void **state) {
  CHANGE(PLAIN, colluders -= 1, "colluders", LOOSE, TIGHT);
  CHANGE(PLAIN, minimum_cohort -= 1, "minimum_cohort", LOOSE, TIGHT);
  CHANGE(PLAIN, minimum_included -= 1, "minimum_included", LOOSE, TIGHT);
  CHANGE(PLAIN, maximum_exclusions += 1, "maximum_exclusions", LOOSE, TIGHT);
  CHANGE(PLAIN, attempts_per_parent += 1, "attempts_per_parent", LOOSE, TIGHT);
  CHANGE(PLAIN, clip_norm_max *= 1.0000001, "clip_norm_max", LOOSE, TIGHT);
  CHANGE(PLAIN, weights_mode = CNS_WEIGHTS_EQUAL, "weights.mode", NEUTRAL, LOOSE);
  CHANGE(PLAIN, weight_cap += 1, "weights.cap", LOOSE, TIGHT);
  CHANGE(PLAIN, weight_round_to += 1, "weights.round_to", TIGHT, LOOSE);
  CHANGE(PLAIN, metrics = false, "metrics", TIGHT, LOOSE);
}

static void audits(void **state) {
  CHANGE(AUDITED, sketch = 512, "audit.sketch", LOOSE, LOOSE);
  CHANGE(AUDITED, sketch_budget *= 2, "audit.budget", LOOSE, TIGHT);
  CHANGE(AUDITED, when_spent = CNS_SPENT_UNAUDITED, "audit.when_spent", LOOSE, TIGHT);
  CHANGE(AUDITED, when_spent = CNS_SPENT_RANDOM, "audit.when_spent", LOOSE, TIGHT);
  CHANGE(AUDITED, on_flag = CNS_FLAG_EXCLUDE, "audit.on_flag", TIGHT, LOOSE);
  CHANGE(AUDITED, on_flag = CNS_FLAG_QUARANTINE, "audit.on_flag", TIGHT, LOOSE);
  CHANGE(AUDITED, false_positive_rate /= 2, "audit.false_positive_rate", LOOSE, TIGHT);
  CHANGE(AUDITED, tighten_rounds = 0, "audit.tighten_rounds", LOOSE, TIGHT);
  CHANGE(AUDITED, tighten_factor = 1, "audit.tighten_factor", LOOSE, TIGHT);
  /* Fewer are caught without one, more is revealed with one. */
  struct cns_policy without = make(PLAIN), with = make(AUDITED);
  with.maximum_exclusions = without.maximum_exclusions;
  change_is(__LINE__, "audit.level", &without, &with, LOOSE, LOOSE);
}

static void budgets(void **state) {
  CHANGE(NOISY, privacy.epsilon = 3.0000001, "noise.epsilon", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.delta = 2e-5, "noise.delta", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.epsilon_round = 0.6, "noise.epsilon_round", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.epsilon_round = 0, "noise.epsilon_round", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.epsilon_month = 2, "noise.epsilon_month", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.epsilon_month = 0, "noise.epsilon_month", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.epsilon_coordinator = 9, "noise.epsilon_coordinator", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.epsilon_coordinator = 0, "noise.epsilon_coordinator", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.multiplier_min = 0.2, "noise.multiplier_min", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.rate_max = 0.5, "noise.rate_max", TIGHT, LOOSE);
  CHANGE(NOISY, privacy.relation = CNS_DP_REPLACE_ONE, "noise.relation", TIGHT, LOOSE);
  CHANGE(NOISY, privacy.large_delta = true, "noise.large_delta", LOOSE, TIGHT);
  CHANGE(NOISY, privacy.alert_count = 2, "noise.alerts", NEUTRAL, NEUTRAL);
  CHANGE(NOISY, metrics_noised = true, "metrics", LOOSE, TIGHT);
  CHANGE(NOISY, unit = CNS_UNIT_HOSPITAL, "unit", LOOSE, LOOSE);
}

static void where_the_noise_is_added(void **state) {
  struct cns_policy hospitals = make(NOISY), coordinator = make(NOISY), nobody = make(NOISY);
  coordinator.noise_placement = CNS_NOISE_CENTRAL;
  coordinator.privacy.epsilon_coordinator = 0;
  hospitals.privacy.epsilon_coordinator = 0;
  change_is(__LINE__, "noise.placement", &hospitals, &coordinator, LOOSE, TIGHT);
  nobody.noise_placement = CNS_NOISE_NONE;
  memset(&nobody.privacy, 0, sizeof nobody.privacy);
  nobody.unit = CNS_UNIT_HOSPITAL;
  change_is(__LINE__, "noise.placement", &hospitals, &nobody, LOOSE, TIGHT);
  change_is(__LINE__, "noise.placement", &coordinator, &nobody, LOOSE, TIGHT);
}

/* More hospitals in the smallest sum are better for readers, and leave less noise in
 * each hospital's own share, behind which the coordinator sees its sketch. */
static void a_smaller_share_is_loosening_where_there_are_audits(void **state) {
  struct cns_policy_change changes[CNS_POLICY_CHANGES_MAX];
  struct cns_policy old = make(BOTH), new = make(BOTH);
  new.minimum_included++;
  assert_int_equal(cns_policy_compare(&old, &new, changes), 2);
  assert_int_equal(changes[0].direction, TIGHT);
  assert_int_equal(changes[1].direction, LOOSE);
  assert_string_equal(changes[1].field, "minimum_included");
  assert_true(cns_policy_loosens(&old, &new, NULL));
}

/* Tightening elsewhere makes up for nothing. */
static void one_loosening_among_many_is_enough(void **state) {
  struct cns_policy old = make(BOTH), new = make(BOTH);
  struct cns_problem why = {0};
  new.version = 2;
  new.privacy.epsilon = 1;
  new.privacy.epsilon_month = 0.7;
  new.clip_norm_max /= 2;
  assert_false(cns_policy_loosens(&old, &new, &why));
  assert_string_equal(why.text, "");
  new.privacy.delta *= 1.5;
  assert_true(cns_policy_loosens(&old, &new, &why));
  assert_string_equal(why.text,
                      "it loosens version 1 (delta at which it is meant: 1.5e-05 instead of 1e-05)");
  new.valid_until += 86400;
  new.privacy.rate_max = 1;
  old.privacy.rate_max = 0.5;
  assert_true(cns_policy_loosens(&old, &new, &why));
  assert_non_null(strstr(why.text, "; and more)"));
}

/* All fields that can change at once find room. */
static void everything_at_once(void **state) {
  struct cns_policy_change changes[CNS_POLICY_CHANGES_MAX];
  struct cns_policy old = make(BOTH),
                    new = {.version = 7,
                           .noise_placement = CNS_NOISE_CENTRAL,
                           .audit_level = CNS_AUDIT_OPEN,
                           .metrics = true,
                           .when_spent = CNS_SPENT_RANDOM,
                           .on_flag = CNS_FLAG_EXCLUDE,
                           .privacy = {.relation = CNS_DP_REPLACE_ONE, .large_delta = true}};
  size_t count = cns_policy_compare(&old, &new, changes);
  assert_in_range(count, 28, CNS_POLICY_CHANGES_MAX - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_policy_changes_nothing),
      cmocka_unit_test(the_scope),
      cmocka_unit_test(secrecy_and_influence),
      cmocka_unit_test(audits),
      cmocka_unit_test(budgets),
      cmocka_unit_test(where_the_noise_is_added),
      cmocka_unit_test(a_smaller_share_is_loosening_where_there_are_audits),
      cmocka_unit_test(one_loosening_among_many_is_enough),
      cmocka_unit_test(everything_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
