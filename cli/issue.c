/* SPDX-License-Identifier: Apache-2.0 */
/* What the authority hands out: responses, and the coordinator's kit while it is
 * here. Everything is checked as its receiver will, before anything is written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/enrol.h"
#include "model/plan.h"
#include "store/folder.h"
#include "store/kit.h"

static int read_text(const char *folder, const char *name, uint8_t **ret_data, size_t *ret_len,
                     char **ret_path, struct cns_problem *problem) {
  char *path = cns_kit_path(folder, name);
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_file_read(path, CNS_JSON_BYTES_MAX, ret_data, ret_len, problem);
  if (r)
    free(path);
  else
    *ret_path = path;
  return r;
}

int cns_authority_check_study(const struct cns_authority *authority, struct cns_problem *problem) {
  struct cns_document document = {0};
  struct cns_plan plan = {0};
  int r = cns_kit_document_load(authority->folder, "study.json", "study", &document, problem);
  if (r) return r;
  r = cns_document_verify("study", &document, "authority", cns_identity_get_public(authority->identity),
                          problem);
  if (!r) r = cns_plan_parse(document.payload, document.payload_len, "the study", &plan, problem);
  if (r) cns_problem_prefix(problem, r, "%s/study.json", authority->folder);
  cns_plan_deinit(&plan);
  cns_document_deinit(&document);
  return r;
}

int cns_authority_check_policy(const struct cns_authority *authority, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = NULL;
  struct cns_policy policy;
  int64_t now = (int64_t)time(NULL);
  int r = read_text(authority->folder, "policy.json", &data, &len, &path, problem);
  if (r == CNS_ERR_NOT_FOUND) return cns_problem_set(problem, CNS_ERR_STATE, "there is no signed policy yet");
  if (r) return r;
  r = cns_policy_open(data, len, path, &authority->roster, &policy, problem);
  if (!r && (r = cns_policy_check_roster(&policy, &authority->roster, problem)))
    cns_problem_prefix(problem, r, "%s", path);
  if (!r && (r = cns_policy_check_time(&policy, now, problem))) cns_problem_prefix(problem, r, "%s", path);
  if (!r) r = cns_roster_check_time(&authority->roster, now, problem);
  free(data);
  free(path);
  return r;
}

static int copy_file(const char *from_folder, const char *to_folder, const char *name,
                     struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *from = NULL, *to = cns_kit_path(to_folder, name);
  if (!to) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", to_folder);
  int r = read_text(from_folder, name, &data, &len, &from, problem);
  if (!r) {
    r = cns_file_write(to, data, len, 0644, problem);
    free(data);
    free(from);
  }
  free(to);
  return r;
}

/* Its key is in the folder, so the kit isn't elsewhere. */
static bool has_kit(const char *folder) {
  struct stat info;
  char *path = cns_kit_path(folder, "identity.key");
  bool has = path && stat(path, &info) == 0;
  free(path);
  return has;
}

int cns_authority_update_coordinator(const struct cns_authority *authority, bool *ret_here,
                                     struct cns_problem *problem) {
  char *folder = cns_kit_path(authority->federation, "coordinator");
  if (!folder) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", authority->federation);
  bool here = has_kit(folder), policy = cns_authority_check_policy(authority, NULL) == 0;
  int r = 0;
  if (here) r = copy_file(authority->folder, folder, "roster.json", problem);
  if (here && !r) r = copy_file(authority->folder, folder, "study.json", problem);
  if (here && !r && policy) r = copy_file(authority->folder, folder, "policy.json", problem);
  free(folder);
  if (!r) *ret_here = here;
  return r;
}

static int add_file(cJSON *json, const char *folder, const char *field, const char *name,
                    struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = NULL;
  int r = read_text(folder, name, &data, &len, &path, problem);
  if (r) return r;
  if (!cJSON_AddStringToObject(json, field, (const char *)data))
    r = cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", path);
  free(data);
  free(path);
  return r;
}

static int response_json(const struct cns_authority *authority, const char *name, uint16_t index,
                         char **ret_text, size_t *ret_len, struct cns_problem *problem) {
  const struct cns_identity_public *key = cns_identity_get_public(authority->identity);
  cJSON *json = cJSON_CreateObject();
  bool begun = json && cJSON_AddStringToObject(json, "format", "consilium kit response 1") &&
               cJSON_AddStringToObject(json, "name", name) && cJSON_AddNumberToObject(json, "index", index);
  int r = begun ? cns_json_add_hex(json, "authority", key->bytes, sizeof key->bytes) : CNS_ERR_MEMORY;
  if (!r) r = add_file(json, authority->folder, "roster", "roster.json", problem);
  if (!r) r = add_file(json, authority->folder, "policy", "policy.json", problem);
  if (!r) r = add_file(json, authority->folder, "study", "study.json", problem);
  if (!r) r = cns_json_canonical(json, ret_text, ret_len);
  cJSON_Delete(json);
  return r;
}

int cns_authority_respond(const struct cns_authority *authority, const struct cns_roster_hospital *hospital,
                          char **ret_path, struct cns_problem *problem) {
  const char *name = hospital ? hospital->name : CNS_COORDINATOR_NAME;
  char *folder = NULL, *path = NULL, *text = NULL;
  size_t len = 0;
  int r = cns_authority_check_policy(authority, problem);
  if (r) return r;
  folder = cns_kit_path(authority->federation, "responses");
  if (!folder || asprintf(&path, "%s/%s.kit.json", folder, name) < 0) path = NULL;
  r = path ? cns_folder_create(folder, problem) : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r) r = response_json(authority, name, hospital ? hospital->index : 0, &text, &len, problem);
  if (!r) r = cns_file_write(path, text, len, 0644, problem);
  free(text);
  free(folder);
  if (r)
    free(path);
  else
    *ret_path = path;
  return r;
}
