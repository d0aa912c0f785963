/* SPDX-License-Identifier: Apache-2.0 */
/* The side of a hospital or the coordinator: what it accepts from the authority. */
#include <stdlib.h>
#include <string.h>

#include "cli/enrol.h"
#include "model/plan.h"
#include "store/kit.h"

struct response {
  cJSON *json;
  const char *name, *roster, *policy, *study; /* in json */
  struct cns_identity_public authority;
  uint16_t index; /* 0: the coordinator */
};

static void response_deinit(struct response *response) {
  cJSON_Delete(response->json);
}

static int read_response(struct response *response, struct cns_problem *problem) {
  static const char *const fields[] = {"format", "name",   "index", "authority",
                                       "roster", "policy", "study", NULL};
  const cJSON *json = response->json;
  const char *format = NULL;
  int64_t index = 0;
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = cns_json_get_string(json, "", "format", 64, &format, problem);
  if (!r && strcmp(format, "consilium kit response 1") != 0)
    r = cns_problem_set(problem, CNS_ERR_VERSION, "format is not \"consilium kit response 1\"");
  if (!r) r = cns_json_get_string(json, "", "name", CNS_NAME_MAX, &response->name, problem);
  if (!r) r = cns_json_get_int(json, "", "index", 0, CNS_HOSPITALS_MAX, &index, problem);
  if (!r) r = cns_json_get_hex(json, "", "authority", CNS_IDENTITY_BYTES, response->authority.bytes, problem);
  if (!r) r = cns_json_get_string(json, "", "roster", CNS_JSON_BYTES_MAX, &response->roster, problem);
  if (!r) r = cns_json_get_string(json, "", "policy", CNS_JSON_BYTES_MAX, &response->policy, problem);
  if (!r) r = cns_json_get_string(json, "", "study", CNS_JSON_BYTES_MAX, &response->study, problem);
  if (!r) response->index = (uint16_t)index;
  return r;
}

static int response_load(const char *path, struct response *ret_response, struct cns_problem *problem) {
  struct response response = {0};
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem);
  if (r) return r;
  const char *seal = strstr((const char *)data, "\n-- consilium signature 1 ");
  if (seal)
    r = cns_problem_set(problem, CNS_ERR_FORMAT,
                        "%s: is a signed %.*s, not the authority's response (NAME.kit.json)", path,
                        (int)strcspn(seal + 26, " \n"), seal + 26);
  else
    r = cns_json_parse((const char *)data, len, path, &response.json, problem);
  free(data);
  if (r) return r;
  if ((r = read_response(&response, problem))) {
    response_deinit(&response);
    return cns_problem_prefix(problem, r, "%s", path);
  }
  *ret_response = response;
  return 0;
}

int cns_response_authority(const char *path, struct cns_identity_public *ret_key,
                           struct cns_problem *problem) {
  struct response response = {0};
  int r = response_load(path, &response, problem);
  if (r) return r;
  *ret_key = response.authority;
  response_deinit(&response);
  return 0;
}

/* What the response says, verified under the authority's key. */
struct accepted {
  struct cns_roster roster;
  struct cns_policy policy;
  struct cns_document study;
  const struct cns_roster_hospital *self; /* NULL: the coordinator */
  char *initial;
};

static void accepted_deinit(struct accepted *accepted) {
  cns_roster_deinit(&accepted->roster);
  cns_document_deinit(&accepted->study);
  free(accepted->initial);
}

static int check_study(struct accepted *accepted, const struct cns_identity_public *key,
                       struct cns_problem *problem) {
  struct cns_plan plan = {0};
  int r = cns_document_verify("study", &accepted->study, "authority", key, problem);
  if (!r)
    r = cns_plan_parse(accepted->study.payload, accepted->study.payload_len, "the study", &plan, problem);
  if (r) return r;
  if (plan.initial_from_file && cns_kit_reserves(plan.initial_file))
    r = cns_problem_set(problem, CNS_ERR_FORMAT,
                        "the study's model file has the name of a kit's own file, %s", plan.initial_file);
  else if (plan.initial_from_file && !(accepted->initial = strdup(plan.initial_file)))
    r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  cns_plan_deinit(&plan);
  return r;
}

static int check_documents(const struct response *response, const struct cns_identity_public *key,
                           int64_t now_seconds, struct accepted *accepted, struct cns_problem *problem) {
  const uint8_t *roster = (const uint8_t *)response->roster, *policy = (const uint8_t *)response->policy;
  const uint8_t *study = (const uint8_t *)response->study;
  if (!cns_identity_public_equal(&response->authority, key))
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the response is another authority's; compare its key with the authority by telephone");
  int r = cns_roster_open(roster, strlen(response->roster), "the roster", key, &accepted->roster, problem);
  if (!r) r = cns_roster_check_time(&accepted->roster, now_seconds, problem);
  if (!r)
    r = cns_policy_open(policy, strlen(response->policy), "the policy", &accepted->roster, &accepted->policy,
                        problem);
  if (!r) r = cns_policy_check_time(&accepted->policy, now_seconds, problem);
  if (!r)
    r = cns_document_parse("study", study, strlen(response->study), "the study", &accepted->study, problem);
  return r ? r : check_study(accepted, key, problem);
}

static int load_identity(const char *folder, struct cns_identity_public *ret_identity,
                         struct cns_problem *problem) {
  struct cns_identity *identity = NULL;
  char *path = cns_kit_path(folder, "identity.key");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_identity_load(path, &identity, problem);
  free(path);
  if (r) return r;
  *ret_identity = *cns_identity_get_public(identity);
  cns_identity_free(identity);
  return 0;
}

/* The party that the response is for, with the keys that the roster gives it. */
static bool find_party(const struct response *response, struct accepted *accepted,
                       const struct cns_identity_public *identity, const struct cns_tls_pin **ret_pin) {
  const struct cns_roster *roster = &accepted->roster;
  if (response->index == 0) {
    *ret_pin = &roster->coordinator_pin;
    return cns_identity_public_equal(&roster->coordinator.identity, identity) &&
           strcmp(response->name, CNS_COORDINATOR_NAME) == 0;
  }
  const struct cns_roster_hospital *self = cns_roster_find_identity(roster, identity);
  if (!self || self->index != response->index || strcmp(self->name, response->name) != 0) return false;
  accepted->self = self;
  *ret_pin = &self->pin;
  return true;
}

/* The roster must mean the keys that are here. */
static int check_self(const char *folder, const struct response *response, struct accepted *accepted,
                      struct cns_problem *problem) {
  struct cns_identity_public identity;
  struct cns_tls_pin pin;
  const struct cns_tls_pin *wanted = NULL;
  int64_t until = 0;
  char *key = NULL, *path = NULL;
  int r = load_identity(folder, &identity, problem);
  if (r) return r;
  bool found = find_party(response, accepted, &identity, &wanted);
  struct cns_tls_pin none = {0};
  r = cns_kit_find_certificate(folder, found ? wanted : &none, &key, &path, problem);
  if (!r) r = cns_certificate_pin(path, &pin, &until, problem);
  free(key);
  free(path);
  if (r) return r;
  if (!found || memcmp(wanted->bytes, pin.bytes, sizeof pin.bytes) != 0)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the response is for %s, and the roster doesn't have the keys of %s under that name", response->name,
        folder);
  if (accepted->self && accepted->self->revoked)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s has been revoked", accepted->self->name);
  return 0;
}

/* An older roster would bring revoked hospitals back, an older policy what an
 * officer has withdrawn. */
static int check_order(const char *what, uint64_t old_version, const struct cns_digest *old,
                       uint64_t new_version, const struct cns_digest *new, struct cns_problem *problem) {
  if (new_version < old_version)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the %s in the response is older (%llu) than the kit's (%llu)", what,
                           (unsigned long long)new_version, (unsigned long long)old_version);
  if (new_version == old_version && !cns_digest_equal(old, new))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "there are two different %ss of version %llu; ask who made them", what,
                           (unsigned long long)new_version);
  return 0;
}

static int read_old(const char *folder, const char *name, uint8_t **ret_data, size_t *ret_len,
                    struct cns_problem *problem) {
  char *path = cns_kit_path(folder, name);
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_file_read(path, CNS_JSON_BYTES_MAX, ret_data, ret_len, problem);
  free(path);
  return r;
}

static int check_newer(const char *folder, const struct accepted *accepted, struct cns_problem *problem) {
  struct cns_roster roster;
  struct cns_policy policy;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = read_old(folder, "roster.json", &data, &len, problem);
  if (r == CNS_ERR_NOT_FOUND) return 0; /* the first response */
  if (r) return r;
  r = cns_roster_open(data, len, "the kit's roster.json", NULL, &roster, problem);
  free(data);
  if (r) return r;
  r = check_order("roster", roster.version, &roster.digest, accepted->roster.version,
                  &accepted->roster.digest, problem);
  cns_roster_deinit(&roster);
  if (r) return r;
  r = read_old(folder, "policy.json", &data, &len, problem);
  if (r) return r == CNS_ERR_NOT_FOUND ? 0 : r;
  r = cns_policy_open(data, len, "the kit's policy.json", NULL, &policy, problem);
  free(data);
  return r ? r
           : check_order("policy", policy.version, &policy.digest, accepted->policy.version,
                         &accepted->policy.digest, problem);
}

static int check_same_authority(const char *folder, const struct cns_identity_public *key,
                                struct cns_problem *problem) {
  struct cns_identity_public old;
  int r = cns_kit_authority_load(folder, &old, problem);
  if (r) return r == CNS_ERR_NOT_FOUND ? 0 : r;
  if (cns_identity_public_equal(&old, key)) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED, "%s belongs to another authority already", folder);
}

static int save_text(const char *folder, const char *name, const char *text, struct cns_problem *problem) {
  char *path = cns_kit_path(folder, name);
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_file_write(path, text, strlen(text), 0644, problem);
  free(path);
  return r;
}

static enum cns_kit_role role_of(const struct accepted *accepted) {
  return accepted->self ? CNS_KIT_HOSPITAL : CNS_KIT_COORDINATOR;
}

/* A config that is there may have been edited by its owner and stays. */
static int save_config(const char *folder, const struct accepted *accepted, struct cns_problem *problem) {
  static char state[] = "state", data[] = "data.csv";
  struct cns_kit_config config = {0};
  int r = cns_kit_config_load(folder, &config, problem);
  if (r == 0) cns_kit_config_deinit(&config);
  if (r != CNS_ERR_NOT_FOUND) return r;
  config = (struct cns_kit_config){.role = role_of(accepted), .state_path = state};
  if (accepted->self) {
    config.data_path = data;
    config.index = accepted->self->index;
    config.floor = cns_kit_floor_default(&accepted->policy);
    memcpy(config.name, accepted->self->name, sizeof config.name);
  }
  memcpy(config.address, accepted->roster.address, sizeof config.address);
  return cns_kit_config_save(folder, &config, problem);
}

static int save_all(const char *folder, const struct response *response, const struct accepted *accepted,
                    int64_t now_seconds, struct cns_problem *problem) {
  struct cns_kit kit = {0};
  int r = cns_kit_authority_save(folder, &response->authority, problem);
  if (!r) r = save_text(folder, "roster.json", response->roster, problem);
  if (!r) r = save_text(folder, "policy.json", response->policy, problem);
  if (!r) r = save_text(folder, "study.json", response->study, problem);
  if (!r) r = save_config(folder, accepted, problem);
  if (!r) r = cns_kit_load(folder, role_of(accepted), now_seconds, &kit, problem);
  cns_kit_deinit(&kit);
  return r;
}

int cns_response_accept(const char *folder, const char *path, const struct cns_identity_public *key,
                        int64_t now_seconds, char **ret_initial, struct cns_problem *problem) {
  struct response response;
  struct accepted accepted = {0};
  int r = response_load(path, &response, problem);
  if (r) return r;
  r = check_documents(&response, key, now_seconds, &accepted, problem);
  if (!r) r = check_self(folder, &response, &accepted, problem);
  if (!r) r = check_same_authority(folder, key, problem);
  if (!r) r = check_newer(folder, &accepted, problem);
  if (r)
    cns_problem_prefix(problem, r, "%s", path);
  else
    r = save_all(folder, &response, &accepted, now_seconds, problem);
  if (!r) {
    *ret_initial = accepted.initial;
    accepted.initial = NULL;
  }
  accepted_deinit(&accepted);
  response_deinit(&response);
  return r;
}
