/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/consent.h"

#include <stdio.h>

int cns_consent_make(const struct cns_consent *consent, const struct cns_identity *hospital,
                     uint8_t **ret_data, size_t *ret_len) {
  cJSON *json = cJSON_CreateObject();
  bool good = json && cJSON_AddStringToObject(json, "consortium", consent->consortium) &&
              cJSON_AddStringToObject(json, "study", consent->study) &&
              cns_json_add_hex(json, "plan", consent->plan.bytes, CNS_DIGEST_BYTES) == 0 &&
              cJSON_AddNumberToObject(json, "hospital", consent->index) &&
              cJSON_AddStringToObject(json, "name", consent->name) &&
              cJSON_AddNumberToObject(json, "patients", consent->patients) &&
              cns_json_add_time(json, "given_at", consent->given_at) == 0;
  if (!good) {
    cJSON_Delete(json);
    return CNS_ERR_MEMORY;
  }
  return cns_document_issue("consent", json, "hospital", hospital, ret_data, ret_len);
}

static int parse(const struct cns_document *document, const char *where, struct cns_consent *ret_consent,
                 struct cns_problem *problem) {
  static const char *const names[] = {"consortium", "study",    "plan",     "hospital",
                                      "name",       "patients", "given_at", NULL};
  struct cns_consent consent = {0};
  const char *consortium, *study, *name;
  int64_t index, patients;
  cJSON *json;
  int r = cns_json_parse(document->payload, document->payload_len, where, &json, problem);
  if (r < 0) return r;
  if ((r = cns_json_only(json, "", names, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "consortium", CNS_NAME_MAX, &consortium, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "study", CNS_NAME_MAX, &study, problem)) < 0 ||
      (r = cns_json_get_hex(json, "", "plan", CNS_DIGEST_BYTES, consent.plan.bytes, problem)) < 0 ||
      (r = cns_json_get_int(json, "", "hospital", 1, CNS_HOSPITALS_MAX, &index, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "name", CNS_NAME_MAX, &name, problem)) < 0 ||
      (r = cns_json_get_int(json, "", "patients", 1, CNS_PATIENTS_MAX, &patients, problem)) < 0 ||
      (r = cns_json_get_time(json, "", "given_at", &consent.given_at, problem)) < 0)
    goto out;
  snprintf(consent.consortium, sizeof consent.consortium, "%s", consortium);
  snprintf(consent.study, sizeof consent.study, "%s", study);
  snprintf(consent.name, sizeof consent.name, "%s", name);
  consent.index = (uint16_t)index;
  consent.patients = (uint32_t)patients;
  *ret_consent = consent;
out:
  cJSON_Delete(json);
  return r;
}

int cns_consent_open(const uint8_t *data, size_t len, const char *where, const struct cns_roster *roster,
                     struct cns_consent *ret_consent, struct cns_problem *problem) {
  struct cns_document document;
  struct cns_consent consent;
  int r = cns_document_parse("consent", data, len, where, &document, problem);
  if (r < 0) return r;
  r = parse(&document, where, &consent, problem);
  if (r == 0) {
    const struct cns_roster_hospital *hospital = cns_roster_find(roster, consent.index);
    if (!hospital)
      r = cns_problem_set(problem, CNS_ERR_REFUSED, "%s: hospital %u is not in the roster", where,
                          consent.index);
    else
      r = cns_document_verify("consent", &document, "hospital", &hospital->identity, problem);
  }
  cns_document_deinit(&document);
  if (r == 0) *ret_consent = consent;
  return r;
}
