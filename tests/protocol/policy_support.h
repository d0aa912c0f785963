/* SPDX-License-Identifier: Apache-2.0 */
/* Officers, a roster, and policies that are edited and signed again. Each test program includes it once. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/policy.h"

#define FROM INT64_C(1795341600)

static struct cns_identity *officers[3];

static int set_up(void **state) {
  for (uint8_t i = 0; i < 3; i++) {
    uint8_t seed[32] = {(uint8_t)(i + 1)};
    if (cns_identity_from_seed(seed, &officers[i])) return -1;
  }
  return 0;
}

static int tear_down(void **state) {
  for (size_t i = 0; i < 3; i++)
    officers[i] = cns_identity_free(officers[i]);
  return 0;
}

/* Officers 0 and 1 are the roster's, 2 is a stranger. */
static struct cns_roster make_roster(size_t count) {
  struct cns_roster roster = {
      .consortium = "Heart study", .version = 1, .valid_from = FROM, .officer_count = 2};
  roster.officers[0].identity = *cns_identity_get_public(officers[0]);
  roster.officers[1].identity = *cns_identity_get_public(officers[1]);
  roster.hospitals = calloc(count ? count : 1, sizeof *roster.hospitals);
  assert_non_null(roster.hospitals);
  roster.hospital_count = count;
  for (size_t i = 0; i < count; i++)
    roster.hospitals[i].index = (uint16_t)(i + 1);
  return roster;
}

static void sign(struct cns_document *document, const struct cns_identity *signer, uint8_t **ret_data,
                 size_t *ret_len) {
  if (signer) assert_int_equal(cns_document_sign("policy", document, "officer", signer), 0);
  assert_int_equal(cns_document_serialize("policy", document, ret_data, ret_len), 0);
  cns_document_deinit(document);
}

/* What the policy to be edited has. */
static struct { bool audit, noise; } policy_edits;

/* The default policy with the first `from` turned into `to`, properly signed. */
static void refuse_edit(const char *from, const char *to, int error, const char *sentence) {
  struct cns_roster roster = make_roster(5);
  struct cns_policy policy;
  struct cns_document document;
  struct cns_problem problem = {0};
  cJSON *json = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  char text[4096];
  cns_policy_default(&roster, &policy);
  if (policy_edits.audit) cns_policy_set_audit(&policy, 256);
  if (policy_edits.noise) cns_policy_set_privacy(&policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-5);
  assert_int_equal(cns_policy_to_document(&policy, &document), 0);
  const char *found = strstr(document.payload, from);
  if (!found) fail_msg("'%s' is not in the payload", from);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(found - document.payload), document.payload, to,
           found + strlen(from));
  cns_document_deinit(&document);
  if (cns_json_parse(text, strlen(text), "edit", &json, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_document_from_json("policy", json, &document), 0);
  cJSON_Delete(json);
  sign(&document, officers[0], &data, &len);
  int r = cns_policy_open(data, len, "policy.json", &roster, &policy, &problem);
  if (r != error || !strstr(problem.text, sentence))
    fail_msg("%d: expected '%s' in '%s'", r, sentence, problem.text);
  free(data);
  cns_roster_deinit(&roster);
}
