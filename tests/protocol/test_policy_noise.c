/* SPDX-License-Identifier: Apache-2.0 */
/* The policy's noise and privacy budget. */
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

static void every_field_of_the_noise_is_checked(void **state) {
  policy_edits.noise = true;
  refuse_edit("\"epsilon\": 3", "\"epsilon\": 0", CNS_ERR_RANGE, "noise.epsilon is 0");
  refuse_edit("\"epsilon\": 3", "\"epsilon\": -1", CNS_ERR_RANGE, "noise.epsilon");
  refuse_edit("\"epsilon\": 3", "\"epsilon\": 100000", CNS_ERR_RANGE, "noise.epsilon");
  refuse_edit("\"delta\": 1e-5", "\"delta\": 0", CNS_ERR_RANGE, "noise.delta");
  refuse_edit("\"delta\": 1e-5", "\"delta\": 1", CNS_ERR_RANGE, "noise.delta");
  refuse_edit("\"epsilon_round\": null", "\"epsilon_round\": 0", CNS_ERR_RANGE, "would allow nothing");
  refuse_edit("\"epsilon_round\": null", "\"epsilon_round\": 4", CNS_ERR_RANGE,
              "may not be above noise.epsilon");
  refuse_edit("\"epsilon_month\": null", "\"epsilon_month\": \"1\"", CNS_ERR_FORMAT, "epsilon_month");
  refuse_edit("\"epsilon_month\": null,", "", CNS_ERR_FORMAT, "epsilon_month");
  refuse_edit("\"multiplier_min\": 0.3", "\"multiplier_min\": 0", CNS_ERR_RANGE, "multiplier_min");
  refuse_edit("\"rate_max\": 1", "\"rate_max\": 1.5", CNS_ERR_RANGE, "rate_max");
  refuse_edit("\"relation\": \"add-remove\"", "\"relation\": \"swap\"", CNS_ERR_FORMAT,
              "noise.relation must be");
  refuse_edit("\"large_delta\": false", "\"large_delta\": 0", CNS_ERR_FORMAT, "large_delta");
  refuse_edit("\"large_delta\": false", "\"large_delta\": false, \"refill\": true", CNS_ERR_FORMAT,
              "noise.refill");
  refuse_edit("\"alerts\": [", "\"alerts\": [ 0.9,", CNS_ERR_RANGE, "noise.alerts");
  refuse_edit("\"metrics\": \"off\"", "\"metrics\": \"exact\"", CNS_ERR_RANGE, "metrics is \"exact\"");
  refuse_edit("\"mode\": \"patients\"", "\"mode\": \"equal\"", CNS_ERR_RANGE,
              "weights.mode must be \"patients\"");
  policy_edits.noise = false;
}

static void noise_is_written_and_read(void **state) {
  struct cns_roster roster = make_roster(5);
  struct cns_policy policy, again;
  struct cns_document document;
  uint8_t *data = NULL;
  size_t len = 0;
  cns_policy_default(&roster, &policy);
  cns_policy_set_privacy(&policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  policy.privacy.relation = CNS_DP_REPLACE_ONE;
  policy.privacy.epsilon_round = 0.25;
  policy.privacy.epsilon_coordinator = 8;
  policy.privacy.large_delta = true;
  assert_int_equal(cns_policy_to_document(&policy, &document), 0);
  sign(&document, officers[0], &data, &len);
  assert_int_equal(cns_policy_open(data, len, "policy.json", &roster, &again, NULL), 0);
  assert_int_equal(again.unit, CNS_UNIT_PATIENT);
  assert_int_equal(again.noise_placement, CNS_NOISE_DISTRIBUTED);
  assert_memory_equal(&again.privacy, &policy.privacy, sizeof again.privacy);
  free(data);
  cns_roster_deinit(&roster);
}

/* What an officer signs, in words. */
static void the_budget_is_said_in_sentences(void **state) {
  static const char *const said[] = {"Protected is each patient, with all of that patient's rows",
                                     "epsilon 3 at delta 1e-05 (one unit more or less)",
                                     "counts all studies on the same data",
                                     "at least 0.3 times what one patient can change",
                                     "A patient known in two hospitals is two patients here",
                                     "50 %, 80 %, 95 %",
                                     "Each hospital adds its share of the noise",
                                     "no limit is set to it",
                                     "Loss and AUC are not collected"};
  struct cns_roster roster = make_roster(5);
  struct cns_policy policy;
  char *text = NULL;
  cns_policy_default(&roster, &policy);
  cns_policy_set_privacy(&policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  assert_int_equal(cns_policy_describe(&policy, 5, &text), 0);
  for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
    if (!strstr(text, said[i])) fail_msg("'%s' is not in:\n%s", said[i], text);
  assert_null(strstr(text, "No noise is added"));
  free(text);
  policy.noise_placement = CNS_NOISE_CENTRAL;
  assert_int_equal(cns_policy_describe(&policy, 5, &text), 0);
  assert_non_null(strstr(text, "nothing protects anybody\n  from the coordinator"));
  free(text);
  cns_roster_deinit(&roster);
}

static void noised_metrics_are_of_unit_patient_without_an_audit(void **state) {
  struct cns_roster roster = make_roster(5);
  struct cns_policy policy, read;
  struct cns_problem problem = {0};
  struct cns_document document;
  char *text = NULL;
  uint8_t *bytes = NULL;
  size_t len = 0;
  (void)state;
  cns_policy_default(&roster, &policy);
  policy.valid_until = 2000000000;
  cns_policy_set_privacy(&policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  policy.metrics_noised = true;
  if (cns_policy_check(&policy, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_policy_describe(&policy, 5, &text), 0);
  assert_non_null(
      strstr(text, "Loss and accuracy are computed on the patients that train, and published with noise"));
  free(text);
  assert_int_equal(cns_policy_to_document(&policy, &document), 0);
  assert_int_equal(cns_document_serialize("policy", &document, &bytes, &len), 0);
  assert_non_null(memmem(bytes, len, "\"noised\"", 8));
  if (cns_policy_open(bytes, len, "policy", NULL, &read, &problem)) fail_msg("%s", problem.text);
  assert_true(read.metrics_noised && !read.metrics && !read.metrics_public);
  cns_document_deinit(&document);
  free(bytes);
  cns_policy_set_audit(&policy, 128);
  assert_int_equal(cns_policy_check(&policy, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "aren't offered together"));
  policy.audit_level = CNS_AUDIT_NONE;
  policy.sketch = 0;
  cns_policy_set_privacy(&policy, CNS_UNIT_HOSPITAL, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  policy.metrics_noised = true;
  assert_int_equal(cns_policy_check(&policy, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "which is for unit \"patient\""));
  cns_roster_deinit(&roster);
}

static void a_study_must_fit_the_policy(void **state) {
  struct cns_roster roster = make_roster(5);
  struct cns_policy policy;
  struct cns_problem problem = {0};
  struct cns_policy_study study = {
      .clip_norm = 1, .by_patients = true, .noise_multiplier = 1, .sampling_rate = 0.1, .local_epochs = 1};
  cns_policy_default(&roster, &policy);
  assert_int_equal(cns_policy_check_study(&policy, &study, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "there is no budget for it"));
  cns_policy_set_privacy(&policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  assert_int_equal(cns_policy_check_study(&policy, &study, &problem), 0);
  struct cns_policy_study bad = study;
  bad.noise_multiplier = bad.sampling_rate = 0;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "says how much"));
  bad = study;
  bad.noise_multiplier = 0.2;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  bad = study;
  bad.local_epochs = 3;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "1 local epoch (it has 3)"));
  bad = study;
  bad.proximal = 0.5;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "no proximal term (it has 0.5)"));
  bad = study;
  bad.scaffold = true;
  bad.by_patients = false; /* as SCAFFOLD is */
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "do without training.scaffold"));
  bad = study;
  bad.validation_share = 0.15;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "validation share is 0.15"));
  bad = study;
  bad.by_patients = false;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  bad = study;
  bad.adaptive_clip = true;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), 0);
  cns_policy_set_audit(&policy, 128);
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "aren't offered together"));
  policy.audit_level = CNS_AUDIT_NONE;
  bad.clip_norm = 10.5; /* the largest that it may become */
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "clip norm is 10.5, but the policy allows 10"));
  bad = study;
  bad.noised_metrics = true;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "the policy's metrics aren't \"noised\""));
  policy.metrics_noised = true;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), 0);
  assert_int_equal(cns_policy_check_study(&policy, &study, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "which share of the noise is for them"));
  policy.metrics_noised = false;
  policy.privacy.rate_max = 0.05;
  assert_int_equal(cns_policy_check_study(&policy, &study, &problem), CNS_ERR_REFUSED);
  cns_policy_set_privacy(&policy, CNS_UNIT_HOSPITAL, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  assert_int_equal(cns_policy_check_study(&policy, &study, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "must be 1"));
  bad = study;
  bad.sampling_rate = 1;
  bad.adaptive_clip = true;
  assert_int_equal(cns_policy_check_study(&policy, &bad, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "adaptive clip norms are for unit patient"));
  cns_roster_deinit(&roster);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_field_of_the_noise_is_checked),
      cmocka_unit_test(noise_is_written_and_read),
      cmocka_unit_test(the_budget_is_said_in_sentences),
      cmocka_unit_test(noised_metrics_are_of_unit_patient_without_an_audit),
      cmocka_unit_test(a_study_must_fit_the_policy),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
