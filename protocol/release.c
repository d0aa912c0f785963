/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/release.h"

#include <stdio.h>

int cns_release_make(const struct cns_release *release, const struct cns_identity *officer,
                     uint8_t **ret_data, size_t *ret_len) {
  cJSON *json = cJSON_CreateObject();
  bool good = json && cJSON_AddStringToObject(json, "consortium", release->consortium) &&
              cJSON_AddStringToObject(json, "study", release->study) &&
              cJSON_AddNumberToObject(json, "hospital", release->index) &&
              cJSON_AddStringToObject(json, "name", release->name) &&
              cJSON_AddNumberToObject(json, "round", (double)release->round) &&
              cJSON_AddStringToObject(json, "reason", release->reason) &&
              cns_json_add_time(json, "given_at", release->given_at) == 0;
  if (!good) {
    cJSON_Delete(json);
    return CNS_ERR_MEMORY;
  }
  return cns_document_issue("release", json, "officer", officer, ret_data, ret_len);
}

static int parse(const struct cns_document *document, const char *where, struct cns_release *ret_release,
                 struct cns_problem *problem) {
  static const char *const names[] = {"consortium", "study",  "hospital", "name",
                                      "round",      "reason", "given_at", NULL};
  struct cns_release release = {0};
  const char *consortium, *study, *name, *reason;
  int64_t index, round;
  cJSON *json;
  int r = cns_json_parse(document->payload, document->payload_len, where, &json, problem);
  if (r < 0) return r;
  if ((r = cns_json_only(json, "", names, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "consortium", CNS_NAME_MAX, &consortium, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "study", CNS_NAME_MAX, &study, problem)) < 0 ||
      (r = cns_json_get_int(json, "", "hospital", 1, CNS_HOSPITALS_MAX, &index, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "name", CNS_NAME_MAX, &name, problem)) < 0 ||
      (r = cns_json_get_int(json, "", "round", 1, INT64_C(1) << 53, &round, problem)) < 0 ||
      (r = cns_json_get_string(json, "", "reason", CNS_RELEASE_REASON_MAX, &reason, problem)) < 0 ||
      (r = cns_json_get_time(json, "", "given_at", &release.given_at, problem)) < 0)
    goto out;
  snprintf(release.consortium, sizeof release.consortium, "%s", consortium);
  snprintf(release.study, sizeof release.study, "%s", study);
  snprintf(release.name, sizeof release.name, "%s", name);
  snprintf(release.reason, sizeof release.reason, "%s", reason);
  release.index = (uint16_t)index;
  release.round = (uint64_t)round;
  *ret_release = release;
out:
  cJSON_Delete(json);
  return r;
}

int cns_release_open(const uint8_t *data, size_t len, const char *where, const struct cns_roster *roster,
                     struct cns_release *ret_release, const char **ret_officer, struct cns_problem *problem) {
  struct cns_document document;
  const char *officer = NULL;
  int r = cns_document_parse("release", data, len, where, &document, problem);
  if (r < 0) return r;
  for (size_t k = 0; k < roster->officer_count && !officer; k++)
    if (cns_document_verify("release", &document, "officer", &roster->officers[k].identity, NULL) == 0)
      officer = roster->officers[k].name;
  r = officer ? parse(&document, where, ret_release, problem)
              : cns_problem_set(problem, CNS_ERR_REFUSED, "%s: is signed by none of the roster's officers",
                                where);
  cns_document_deinit(&document);
  if (r == 0) *ret_officer = officer;
  return r;
}
