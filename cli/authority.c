/* SPDX-License-Identifier: Apache-2.0 */
/* The authority's side of enrolment: who is in the roster. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/enrol.h"
#include "cli/kit.h"
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

static int open_roster(struct cns_authority *authority, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = NULL;
  int r = read_text(authority->folder, "roster.json", &data, &len, &path, problem);
  if (r) return r;
  r = cns_roster_open(data, len, path, cns_identity_get_public(authority->identity), &authority->roster,
                      problem);
  free(data);
  free(path);
  return r;
}

int cns_authority_open(const char *folder, const char *federation, struct cns_authority *ret_authority,
                       struct cns_problem *problem) {
  struct cns_authority authority = {.folder = folder, .federation = federation};
  char *path = cns_kit_path(folder, "identity.key");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_identity_load(path, &authority.identity, problem);
  free(path);
  if (!r) r = open_roster(&authority, problem);
  if (r)
    cns_authority_deinit(&authority);
  else
    *ret_authority = authority;
  return r;
}

void cns_authority_deinit(struct cns_authority *authority) {
  cns_identity_free(authority->identity);
  cns_roster_deinit(&authority->roster);
  *authority = (struct cns_authority){0};
}

static const struct cns_roster_hospital *find_pin(const struct cns_roster *roster,
                                                  const struct cns_tls_pin *pin) {
  for (size_t i = 0; i < roster->hospital_count; i++)
    if (memcmp(roster->hospitals[i].pin.bytes, pin->bytes, sizeof pin->bytes) == 0)
      return &roster->hospitals[i];
  return NULL;
}

/* The request's identity is in the roster already: is it the same hospital? */
static int check_known(const struct cns_roster_hospital *known, const struct cns_request *request,
                       uint16_t wish, struct cns_problem *problem) {
  if (known->revoked)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s has been revoked; it needs a new request with new keys and another name",
                           known->name);
  if (strcmp(known->name, request->name) != 0 ||
      memcmp(known->pin.bytes, request->pin.bytes, sizeof known->pin.bytes) != 0)
    return cns_problem_set(problem, CNS_ERR_EXISTS, "the key of this request is in the roster already, as %s",
                           known->name);
  if (wish != 0 && wish != known->index)
    return cns_problem_set(problem, CNS_ERR_EXISTS, "%s has the index %u for life", known->name,
                           known->index);
  return 0;
}

int cns_authority_place(const struct cns_authority *authority, const struct cns_request *request,
                        uint16_t wish, uint16_t *ret_index, bool *ret_known, struct cns_problem *problem) {
  const struct cns_roster *roster = &authority->roster;
  const struct cns_roster_hospital *known = cns_roster_find_identity(roster, &request->identity);
  if (known) {
    int r = check_known(known, request, wish, problem);
    if (r) return r;
    *ret_index = known->index;
    *ret_known = true;
    return 0;
  }
  if (cns_roster_find_name(roster, request->name))
    return cns_problem_set(problem, CNS_ERR_EXISTS, "the roster has another hospital with the name %s",
                           request->name);
  if (find_pin(roster, &request->pin))
    return cns_problem_set(problem, CNS_ERR_EXISTS, "the roster has another hospital with the same tls key");
  /* Never one that a revoked hospital had: evidence names hospitals by index. */
  uint16_t last = roster->hospital_count ? roster->hospitals[roster->hospital_count - 1].index : 0;
  uint16_t index = wish ? wish : (uint16_t)(last + 1);
  if (index > CNS_HOSPITALS_MAX || roster->hospital_count == CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "there is no index left after %u", last);
  if (cns_roster_find(roster, index))
    return cns_problem_set(problem, CNS_ERR_EXISTS, "index %u is taken by %s", index,
                           cns_roster_find(roster, index)->name);
  *ret_index = index;
  *ret_known = false;
  return 0;
}

/* The next version, signed and saved; on failure the one before stays. */
static int save_next(struct cns_authority *authority, struct cns_problem *problem) {
  struct cns_document document;
  authority->roster.version++;
  int r = cns_kit_sign_roster(&authority->roster, authority->identity, &document, problem);
  if (r) return r;
  r = cns_kit_document_save(authority->folder, "roster.json", "roster", &document, problem);
  authority->roster.digest = document.digest;
  cns_document_deinit(&document);
  return r;
}

int cns_authority_add(struct cns_authority *authority, const struct cns_request *request, uint16_t index,
                      struct cns_problem *problem) {
  struct cns_roster *roster = &authority->roster;
  struct cns_roster_hospital *hospitals = calloc(roster->hospital_count + 1, sizeof *hospitals);
  if (!hospitals) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  size_t before = 0;
  while (before < roster->hospital_count && roster->hospitals[before].index < index)
    before++;
  memcpy(hospitals, roster->hospitals, before * sizeof *hospitals);
  memcpy(hospitals + before + 1, roster->hospitals + before,
         (roster->hospital_count - before) * sizeof *hospitals);
  struct cns_roster_hospital *added = &hospitals[before];
  *added = (struct cns_roster_hospital){.index = index, .identity = request->identity, .pin = request->pin};
  memcpy(added->name, request->name, sizeof added->name);
  free(roster->hospitals);
  roster->hospitals = hospitals;
  roster->hospital_count++;
  return save_next(authority, problem);
}

int cns_authority_revoke(struct cns_authority *authority, const char *name, struct cns_problem *problem) {
  struct cns_roster *roster = &authority->roster;
  for (size_t i = 0; i < roster->hospital_count; i++) {
    if (strcmp(roster->hospitals[i].name, name) != 0) continue;
    if (roster->hospitals[i].revoked)
      return cns_problem_set(problem, CNS_ERR_STATE, "%s is revoked already", name);
    roster->hospitals[i].revoked = true;
    return save_next(authority, problem);
  }
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "the roster has no hospital named %.40s", name);
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

int cns_authority_update_coordinator(const struct cns_authority *authority, struct cns_problem *problem) {
  struct stat info;
  char *folder = cns_kit_path(authority->federation, "coordinator");
  if (!folder) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", authority->federation);
  int r = 0;
  if (stat(folder, &info) == 0) {
    r = copy_file(authority->folder, folder, "roster.json", problem);
    if (!r) r = copy_file(authority->folder, folder, "study.json", problem);
    if (!r && (r = copy_file(authority->folder, folder, "policy.json", problem)) == CNS_ERR_NOT_FOUND)
      r = 0; /* not signed yet */
  }
  free(folder);
  return r;
}

/* A policy that doesn't fit (yet) is no failure of the authority's. */
static int check_policy(const struct cns_authority *authority, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = NULL;
  struct cns_policy policy;
  struct cns_problem detail = {0};
  int r = read_text(authority->folder, "policy.json", &data, &len, &path, &detail);
  if (r == CNS_ERR_NOT_FOUND) return cns_problem_set(problem, CNS_ERR_STATE, "there is no signed policy yet");
  if (r) return cns_problem_set(problem, r, "%s", detail.text);
  r = cns_policy_open(data, len, path, &authority->roster, &policy, &detail);
  free(data);
  free(path);
  return r ? cns_problem_set(problem, CNS_ERR_STATE, "%s", detail.text) : 0;
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

static int response_json(const struct cns_authority *authority, const struct cns_roster_hospital *hospital,
                         char **ret_text, size_t *ret_len, struct cns_problem *problem) {
  const struct cns_identity_public *key = cns_identity_get_public(authority->identity);
  cJSON *json = cJSON_CreateObject();
  bool begun = json && cJSON_AddStringToObject(json, "format", "consilium kit response 1") &&
               cJSON_AddStringToObject(json, "name", hospital->name) &&
               cJSON_AddNumberToObject(json, "index", hospital->index);
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
  char *folder = NULL, *path = NULL, *text = NULL;
  size_t len = 0;
  int r = check_policy(authority, problem);
  if (r) return r;
  folder = cns_kit_path(authority->federation, "responses");
  if (!folder || asprintf(&path, "%s/%s.kit.json", folder, hospital->name) < 0) path = NULL;
  r = path ? cns_folder_create(folder, problem) : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r) r = response_json(authority, hospital, &text, &len, problem);
  if (!r) r = cns_file_write(path, text, len, 0644, problem);
  free(text);
  free(folder);
  if (r)
    free(path);
  else
    *ret_path = path;
  return r;
}
