/* SPDX-License-Identifier: Apache-2.0 */
/* The authority's side of enrolment: who is in the roster. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/enrol.h"
#include "cli/kit.h"
#include "store/kit.h"

static int open_roster(struct cns_authority *authority, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = cns_kit_path(authority->folder, "roster.json");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", authority->folder);
  int r = cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem);
  if (!r)
    r = cns_roster_open(data, len, path, cns_identity_get_public(authority->identity), &authority->roster,
                        problem);
  free(data);
  free(path);
  return r;
}

/* What others compare, over the telephone too, must be the key that signs. */
static int check_key(const struct cns_authority *authority, struct cns_problem *problem) {
  struct cns_identity_public key;
  int r = cns_kit_authority_load(authority->folder, &key, problem);
  if (r || cns_identity_public_equal(&key, cns_identity_get_public(authority->identity))) return r;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "%s/authority.pub: is not the key of identity.key beside it; restore both from the "
                         "authority's backup",
                         authority->folder);
}

int cns_authority_open(const char *folder, const char *federation, struct cns_authority *ret_authority,
                       struct cns_problem *problem) {
  struct cns_authority authority = {.folder = folder, .federation = federation};
  char *path = cns_kit_path(folder, "identity.key");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_identity_load(path, &authority.identity, problem);
  free(path);
  if (!r) r = check_key(&authority, problem);
  if (!r) r = open_roster(&authority, problem);
  if (!r) r = cns_authority_check_study(&authority, problem);
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
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the key of this request is in the roster already, as %s", known->name);
  if (wish != 0 && wish != known->index)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s has the index %u for life", known->name,
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
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has another hospital with the name %s",
                           request->name);
  if (find_pin(roster, &request->pin))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has another hospital with the same tls key");
  /* Never one that a revoked hospital had: evidence names hospitals by index. */
  uint16_t last = roster->hospital_count ? roster->hospitals[roster->hospital_count - 1].index : 0;
  uint16_t index = wish ? wish : (uint16_t)(last + 1);
  if (index > CNS_HOSPITALS_MAX || roster->hospital_count == CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "there is no index left after %u", last);
  if (cns_roster_find(roster, index))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "index %u is taken by %s", index,
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
  *added = (struct cns_roster_hospital){
      .index = index, .identity = request->identity, .pin = request->pin, .pin_until = request->pin_until};
  memcpy(added->name, request->name, sizeof added->name);
  free(roster->hospitals);
  roster->hospitals = hospitals;
  roster->hospital_count++;
  return save_next(authority, problem);
}

int cns_authority_revoke(struct cns_authority *authority, const char *name, const char *reason,
                         int64_t now_seconds, struct cns_problem *problem) {
  struct cns_roster_hospital *hospital =
      (struct cns_roster_hospital *)cns_roster_find_name(&authority->roster, name);
  if (!hospital)
    return cns_problem_set(problem, CNS_ERR_STATE, "the roster has no hospital named %.40s", name);
  if (hospital->revoked) return cns_problem_set(problem, CNS_ERR_STATE, "%s is revoked already", name);
  hospital->revoked = true;
  hospital->revoked_at = now_seconds;
  if (reason) snprintf(hospital->reason, sizeof hospital->reason, "%s", reason);
  return save_next(authority, problem);
}

/* Which hospital a renewal is for, and may it have these keys? */
static int check_renewal(const struct cns_roster *roster, const struct cns_request *request, bool new_keys,
                         const struct cns_roster_hospital **ret_hospital, struct cns_problem *problem) {
  const struct cns_roster_hospital *hospital = cns_roster_find_name(roster, request->name);
  const struct cns_roster_hospital *by_key = cns_roster_find_identity(roster, &request->identity);
  const struct cns_roster_hospital *by_pin = find_pin(roster, &request->pin);
  if (!hospital)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the roster has no hospital named %s", request->name);
  if (hospital->revoked)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s has been revoked, for good: it comes back under a new name only (roster add)",
                           hospital->name);
  if (by_key == hospital && by_pin == hospital)
    return cns_problem_set(problem, CNS_ERR_STATE, "the roster has these keys of %s already", hospital->name);
  if ((by_key && by_key != hospital) || by_pin)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "a key of this request is another one's in the roster, %s",
                           by_pin ? by_pin->name : by_key->name);
  if (!new_keys && !by_key)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the request isn't signed with the identity key that the roster has for %s: if that "
        "is lost, consilium roster replace",
        hospital->name);
  if (new_keys && by_key)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s has the identity key of this request already: consilium roster renew",
                           hospital->name);
  *ret_hospital = hospital;
  return 0;
}

int cns_authority_renew(struct cns_authority *authority, const struct cns_request *request, bool new_keys,
                        const struct cns_roster_hospital **ret_hospital, struct cns_problem *problem) {
  const struct cns_roster_hospital *found = NULL;
  int r = check_renewal(&authority->roster, request, new_keys, &found, problem);
  if (r) return r;
  struct cns_roster_hospital *hospital = &authority->roster.hospitals[found - authority->roster.hospitals];
  hospital->identity = request->identity;
  hospital->pin = request->pin;
  hospital->pin_until = request->pin_until;
  *ret_hospital = hospital;
  return save_next(authority, problem);
}

int cns_authority_extend(struct cns_authority *authority, int64_t now_seconds, struct cns_problem *problem) {
  struct cns_roster *roster = &authority->roster;
  int64_t until = now_seconds + CNS_ROSTER_SECONDS;
  if (until - roster->valid_until < INT64_C(86400))
    return cns_problem_set(problem, CNS_ERR_STATE, "the roster is valid for two years from today already");
  roster->valid_until = until;
  return save_next(authority, problem);
}
