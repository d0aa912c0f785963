/* SPDX-License-Identifier: Apache-2.0 */
#include "store/kit.h"

#include <stdlib.h>
#include <string.h>

static int new_path(const char *folder, const char *name, char **ret_path, struct cns_problem *problem) {
  char *path = cns_kit_path(folder, name);
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  *ret_path = path;
  return 0;
}

/* Bytes, path and parsed form of one signed document. */
struct signed_file {
  char *path;
  uint8_t *data;
  size_t len;
};

static void signed_file_deinit(struct signed_file *file) {
  free(file->path);
  free(file->data);
}

static int signed_file_read(struct cns_kit *kit, const char *name, const char *kind,
                            struct cns_document *ret_document, struct signed_file *ret_file,
                            struct cns_problem *problem) {
  struct signed_file file = {0};
  int r = new_path(kit->folder, name, &file.path, problem);
  if (!r) r = cns_file_read(file.path, CNS_JSON_BYTES_MAX, &file.data, &file.len, problem);
  if (!r) r = cns_document_parse(kind, file.data, file.len, file.path, ret_document, problem);
  if (r)
    signed_file_deinit(&file);
  else
    *ret_file = file;
  return r;
}

/* One that came over the wire, if it is newer than the kit's own. */
static int load_accepted_roster(struct cns_kit *kit, struct cns_problem *problem) {
  struct signed_file file;
  struct cns_document document = {0};
  struct cns_roster roster = {0};
  struct cns_problem found = {0};
  struct cns_kit state = {.folder = kit->config.state_path};
  int r = signed_file_read(&state, CNS_KIT_ROSTER_ACCEPTED, "roster", &document, &file, &found);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  if (!r) {
    r = cns_roster_open(file.data, file.len, file.path, &kit->authority, &roster, &found);
    signed_file_deinit(&file);
  }
  if (r) {
    if (problem) *problem = found;
  } else if (roster.version > kit->roster.version) {
    struct cns_roster older = kit->roster;
    struct cns_document older_document = kit->roster_document;
    kit->roster = roster;
    kit->roster_document = document;
    roster = older;
    document = older_document;
  }
  cns_roster_deinit(&roster);
  cns_document_deinit(&document);
  return r;
}

static int load_roster(struct cns_kit *kit, int64_t now_seconds, struct cns_problem *problem) {
  struct signed_file file;
  int r = signed_file_read(kit, "roster.json", "roster", &kit->roster_document, &file, problem);
  if (r) return r;
  r = cns_roster_open(file.data, file.len, file.path, &kit->authority, &kit->roster, problem);
  if (!r && kit->config.role == CNS_KIT_HOSPITAL) r = load_accepted_roster(kit, problem);
  if (!r && (r = cns_roster_check_time(&kit->roster, now_seconds, problem)))
    cns_problem_prefix(problem, r, "%s", file.path);
  signed_file_deinit(&file);
  return r;
}

static int load_policy(struct cns_kit *kit, int64_t now_seconds, struct cns_problem *problem) {
  struct signed_file file;
  int r = signed_file_read(kit, "policy.json", "policy", &kit->policy_document, &file, problem);
  if (r == CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, r,
                           "%s/policy.json: is not there yet; it comes with the authority's response, once a "
                           "policy is signed: consilium kit accept %s %s.kit.json --authority-key KEY",
                           kit->folder, kit->folder,
                           kit->config.role == CNS_KIT_COORDINATOR ? "coordinator" : kit->config.name);
  if (r) return r;
  r = cns_policy_open(file.data, file.len, file.path, &kit->roster, &kit->policy, problem);
  if (!r && (r = cns_policy_check_time(&kit->policy, now_seconds, problem)))
    cns_problem_prefix(problem, r, "%s", file.path);
  signed_file_deinit(&file);
  return r;
}

static int load_study(struct cns_kit *kit, struct cns_problem *problem) {
  struct signed_file file;
  int r = signed_file_read(kit, "study.json", "study", &kit->study_document, &file, problem);
  if (r) return r;
  if ((r = cns_document_verify("study", &kit->study_document, "authority", &kit->authority, problem)))
    cns_problem_prefix(problem, r, "%s", file.path);
  signed_file_deinit(&file);
  return r;
}

/* The pin that the roster has for this kit; zeros if it has none. */
static struct cns_tls_pin own_pin(const struct cns_kit *kit) {
  const struct cns_roster_hospital *self = cns_roster_find(&kit->roster, kit->config.index);
  if (kit->config.role == CNS_KIT_COORDINATOR) return kit->roster.coordinator_pin;
  return self ? self->pin : (struct cns_tls_pin){0};
}

int cns_kit_find_certificate(const char *folder, const struct cns_tls_pin *pin, char **ret_key,
                             char **ret_certificate, struct cns_problem *problem) {
  struct cns_tls_pin found;
  int64_t until;
  char *key = NULL, *certificate = NULL;
  int r = new_path(folder, "tls.next.crt", &certificate, problem);
  if (r) return r;
  bool next = cns_certificate_pin(certificate, &found, &until, NULL) == 0 &&
              memcmp(found.bytes, pin->bytes, sizeof found.bytes) == 0;
  if (!next) {
    free(certificate);
    certificate = NULL;
    r = new_path(folder, "tls.crt", &certificate, problem);
  }
  if (!r) r = new_path(folder, next ? "tls.next.key" : "tls.key", &key, problem);
  if (r) {
    free(certificate);
    return r;
  }
  *ret_key = key;
  *ret_certificate = certificate;
  return 0;
}

static int load_certificate(struct cns_kit *kit, struct cns_problem *problem) {
  int64_t until = 0;
  struct cns_tls_pin wanted = own_pin(kit);
  int r =
      cns_kit_find_certificate(kit->folder, &wanted, &kit->tls_key_path, &kit->tls_certificate_path, problem);
  if (!r) r = cns_certificate_pin(kit->tls_certificate_path, &kit->pin, &until, problem);
  if (!r) kit->certificate_until = until;
  if (!r) r = cns_certificate_check_key(kit->tls_key_path, &kit->pin, problem);
  return r;
}

static int load_identity(struct cns_kit *kit, struct cns_problem *problem) {
  char *path = NULL;
  int r = new_path(kit->folder, "identity.key", &path, problem);
  if (!r) r = cns_identity_load(path, &kit->identity, problem);
  free(path);
  return r;
}

/* Is the kit's party the one that the roster means? */
static int check_member(const struct cns_kit *kit, const struct cns_identity_public *identity,
                        const struct cns_tls_pin *pin, struct cns_problem *problem) {
  if (!cns_identity_public_equal(identity, cns_identity_get_public(kit->identity)))
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s/identity.key: the roster has another identity for this party; the kit's files don't "
        "belong together",
        kit->folder);
  if (memcmp(pin->bytes, kit->pin.bytes, sizeof pin->bytes) != 0)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s: the roster has another key for this party; the kit's files don't belong together",
        kit->tls_certificate_path);
  return 0;
}

static int check_self(const struct cns_kit *kit, struct cns_problem *problem) {
  const struct cns_roster *roster = &kit->roster;
  if (kit->config.role == CNS_KIT_COORDINATOR)
    return check_member(kit, &roster->coordinator.identity, &roster->coordinator_pin, problem);
  const struct cns_roster_hospital *self = cns_roster_find(roster, kit->config.index);
  if (!self || strcmp(self->name, kit->config.name) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s/roster.json: has no hospital %u named %s",
                           kit->folder, kit->config.index, kit->config.name);
  if (self->revoked)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s/roster.json: hospital %s has been revoked; ask the consortium's authority",
                           kit->folder, self->name);
  return check_member(kit, &self->identity, &self->pin, problem);
}

static int check_role(const struct cns_kit *kit, enum cns_kit_role role, struct cns_problem *problem) {
  static const char *const names[] = {[CNS_KIT_COORDINATOR] = "coordinator", [CNS_KIT_HOSPITAL] = "hospital"};
  if (kit->config.role == role) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED, "%s: is the kit of a %s, not of a %s", kit->folder,
                         names[kit->config.role], names[role]);
}

int cns_kit_load_expired(const char *folder, enum cns_kit_role role, int64_t now_seconds,
                         struct cns_kit *ret_kit, struct cns_problem *problem) {
  struct cns_kit kit = {.folder = strdup(folder)};
  if (!kit.folder) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_kit_config_load(folder, &kit.config, problem);
  if (!r) r = check_role(&kit, role, problem);
  if (!r) r = cns_kit_authority_load(folder, &kit.authority, problem);
  if (!r) r = load_roster(&kit, now_seconds, problem);
  if (!r) r = load_policy(&kit, now_seconds, problem);
  if (!r) r = load_study(&kit, problem);
  if (!r) r = load_identity(&kit, problem);
  if (!r) r = load_certificate(&kit, problem);
  if (!r) r = check_self(&kit, problem);
  if (r)
    cns_kit_deinit(&kit);
  else
    *ret_kit = kit;
  return r;
}

int cns_kit_load(const char *folder, enum cns_kit_role role, int64_t now_seconds, struct cns_kit *ret_kit,
                 struct cns_problem *problem) {
  struct cns_kit kit = {0};
  int r = cns_kit_load_expired(folder, role, now_seconds, &kit, problem);
  if (r) return r;
  if (now_seconds >= kit.certificate_until) {
    r = cns_problem_set(problem, CNS_ERR_REFUSED,
                        "%s: the certificate is past its date; a new one: consilium kit renew, and the "
                        "authority's consilium roster renew",
                        kit.tls_certificate_path);
    cns_kit_deinit(&kit);
    return r;
  }
  *ret_kit = kit;
  return 0;
}

int cns_kit_roster_newest(const char *folder, struct cns_roster *ret_roster, struct cns_problem *problem) {
  struct cns_identity_public authority;
  struct cns_kit_config config = {0};
  struct cns_roster newer = {0};
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_kit_roster_load(folder, ret_roster, problem);
  if (r || cns_kit_config_load(folder, &config, NULL)) return r;
  char *path = cns_kit_path(config.state_path, CNS_KIT_ROSTER_ACCEPTED);
  r = cns_kit_authority_load(folder, &authority, problem);
  if (!r && path && cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, NULL) == 0)
    r = cns_roster_open(data, len, path, &authority, &newer, problem);
  if (!r && newer.version > ret_roster->version) {
    struct cns_roster older = *ret_roster;
    *ret_roster = newer;
    newer = older;
  }
  if (r) cns_roster_deinit(ret_roster);
  cns_roster_deinit(&newer);
  cns_kit_config_deinit(&config);
  free(data);
  free(path);
  return r;
}

void cns_kit_deinit(struct cns_kit *kit) {
  if (!kit) return;
  free(kit->folder);
  free(kit->tls_key_path);
  free(kit->tls_certificate_path);
  cns_kit_config_deinit(&kit->config);
  cns_identity_free(kit->identity);
  cns_roster_deinit(&kit->roster);
  cns_document_deinit(&kit->roster_document);
  cns_document_deinit(&kit->policy_document);
  cns_document_deinit(&kit->study_document);
  *kit = (struct cns_kit){0};
}
