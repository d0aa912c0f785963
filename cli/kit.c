/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/kit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/enrol.h"
#include "cli/folder.h"
#include "net/url.h"
#include "protocol/audit.h"
#include "store/folder.h"
#include "store/kit.h"

struct federation {
  const struct cns_federation_options *options;
  const char *folder;
  struct cns_study study;
  char *authority_folder, *officer_folder, *coordinator_folder;
  char **hospital_folders; /* name_count, NULL where not yet made */
  struct cns_identity *authority, *officer;
  struct cns_roster roster;
  struct cns_policy policy;
  struct cns_document roster_document, policy_document;
  struct cns_problem *problem;
};

int cns_kit_check_name(const char *name, struct cns_problem *problem) {
  if (!cns_roster_is_name(name))
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "\"%.40s\" can't be a hospital's name: 1 to 32 of a-z 0-9 . _ - and not . or - first", name);
  if (strcmp(name, CNS_COORDINATOR_NAME) == 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "a hospital can't have the coordinator's name, %s", name);
  return 0;
}

static int check_names(const struct cns_federation_options *options, struct cns_problem *problem) {
  if (!options->enrol && options->name_count == 1 && !*options->names[0])
    return cns_problem_set(problem, CNS_ERR_FORMAT, "--hospitals names no hospital; write them as a,b,c,d");
  if (options->name_count > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%zu hospitals are too many; at most %d",
                           options->name_count, CNS_HOSPITALS_MAX);
  if (!options->enrol && options->name_count < CNS_FEDERATION_HOSPITALS_MIN)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "%zu hospitals are too few: with fewer than %d a sum would give single updates away",
        options->name_count, CNS_FEDERATION_HOSPITALS_MIN);
  for (size_t i = 0; i < options->name_count; i++) {
    int r = cns_kit_check_name(options->names[i], problem);
    if (r) return r;
    for (size_t k = 0; k < i; k++)
      if (strcmp(options->names[i], options->names[k]) == 0)
        return cns_problem_set(problem, CNS_ERR_FORMAT, "two hospitals have the name %s", options->names[i]);
  }
  return 0;
}

/* The roster is signed with the address and can't be mended later without all hospitals. */
static int check_address(const char *option, const char *address, bool listening,
                         struct cns_problem *problem) {
  struct cns_url url;
  int r = cns_roster_check_address(address, problem);
  if (!r) r = cns_url_parse(address, listening, &url, problem);
  if (r) cns_problem_prefix(problem, r, "%s", option);
  return r;
}

int cns_federation_check_options(const struct cns_federation_options *options, struct cns_problem *problem) {
  int r = check_names(options, problem);
  if (!r && options->address) r = check_address("--address", options->address, false, problem);
  if (!r && options->listen) r = check_address("--listen", options->listen, true, problem);
  if (!r && options->consortium && !cns_roster_is_text(options->consortium))
    r = cns_problem_set(problem, CNS_ERR_FORMAT,
                        "--consortium: the name must be 1 to %d printable characters", CNS_NAME_MAX);
  return r;
}

static int new_identity(const char *folder, struct cns_identity **ret_identity, struct cns_problem *problem) {
  struct cns_identity *identity = NULL;
  char *path = cns_kit_path(folder, "identity.key");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  int r = cns_identity_new(cns_rng_system(), &identity);
  if (r)
    cns_problem_set(problem, r, "%s: no randomness for a new key", folder);
  else
    r = cns_identity_save(identity, path, problem);
  free(path);
  if (r)
    cns_identity_free(identity);
  else
    *ret_identity = identity;
  return r;
}

int cns_kit_create_keys(const char *folder, const char *name, int64_t now_seconds,
                        struct cns_identity_public *ret_identity, struct cns_tls_pin *ret_pin,
                        struct cns_problem *problem) {
  struct cns_identity *identity = NULL;
  char *key = cns_kit_path(folder, "tls.key"), *certificate = cns_kit_path(folder, "tls.crt");
  int r = key && certificate ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  if (!r) r = new_identity(folder, &identity, problem);
  if (!r)
    r = cns_certificate_create(name, now_seconds - CNS_CLOCK_SLACK_SECONDS,
                               now_seconds + CNS_CERTIFICATE_SECONDS, key, certificate, ret_pin, problem);
  if (!r) *ret_identity = *cns_identity_get_public(identity);
  cns_identity_free(identity);
  free(key);
  free(certificate);
  return r;
}

static int make_staff(struct federation *f) {
  struct cns_roster *roster = &f->roster;
  int r = cns_subfolder_create(f->folder, "authority", &f->authority_folder, f->problem);
  if (!r) r = new_identity(f->authority_folder, &f->authority, f->problem);
  if (!r) r = cns_subfolder_create(f->folder, "officer", &f->officer_folder, f->problem);
  if (!r) r = new_identity(f->officer_folder, &f->officer, f->problem);
  if (!r) r = cns_subfolder_create(f->folder, "coordinator", &f->coordinator_folder, f->problem);
  if (!r)
    r = cns_kit_create_keys(f->coordinator_folder, "coordinator", f->options->now_seconds,
                            &roster->coordinator.identity, &roster->coordinator_pin, f->problem);
  if (r) return r;
  strcpy(roster->authority.name, "authority");
  strcpy(roster->coordinator.name, "coordinator");
  strcpy(roster->officers[0].name, "officer");
  roster->officer_count = 1;
  roster->authority.identity = *cns_identity_get_public(f->authority);
  roster->officers[0].identity = *cns_identity_get_public(f->officer);
  return 0;
}

static int make_hospitals(struct federation *f) {
  size_t count = f->options->name_count;
  char *parent = NULL;
  f->roster.hospitals = calloc(count ? count : 1, sizeof *f->roster.hospitals);
  f->hospital_folders = calloc(count ? count : 1, sizeof *f->hospital_folders);
  if (!f->roster.hospitals || !f->hospital_folders)
    return cns_problem_set(f->problem, CNS_ERR_MEMORY, "out of memory");
  if (count == 0) return 0;
  int r = cns_subfolder_create(f->folder, "hospitals", &parent, f->problem);
  for (size_t i = 0; i < count && !r; i++) {
    const char *name = f->options->names[i];
    struct cns_roster_hospital *hospital = &f->roster.hospitals[f->roster.hospital_count++];
    hospital->pin_until = f->options->now_seconds + CNS_CERTIFICATE_SECONDS;
    hospital->index = (uint16_t)(i + 1);
    snprintf(hospital->name, sizeof hospital->name, "%s", name);
    r = cns_subfolder_create(parent, name, &f->hospital_folders[i], f->problem);
    if (!r)
      r = cns_kit_create_keys(f->hospital_folders[i], name, f->options->now_seconds, &hospital->identity,
                              &hospital->pin, f->problem);
  }
  free(parent);
  return r;
}

int cns_kit_sign_roster(const struct cns_roster *roster, const struct cns_identity *authority,
                        struct cns_document *ret_document, struct cns_problem *problem) {
  struct cns_document document;
  int r = cns_roster_check(roster, problem);
  if (r) return cns_problem_prefix(problem, r, "the roster can't be signed");
  r = cns_roster_to_document(roster, &document);
  if (!r) {
    r = cns_document_sign("roster", &document, "authority", authority);
    if (r) cns_document_deinit(&document);
  }
  if (r) return cns_problem_set(problem, r, "the roster couldn't be signed");
  *ret_document = document;
  return 0;
}

static int sign_roster(struct federation *f) {
  struct cns_roster *roster = &f->roster;
  const char *consortium = f->options->consortium ? f->options->consortium : f->study.plan.name;
  const char *address = f->options->address ? f->options->address : CNS_FEDERATION_ADDRESS;
  snprintf(roster->consortium, sizeof roster->consortium, "%s", consortium);
  snprintf(roster->address, sizeof roster->address, "%s", address);
  roster->version = 1;
  roster->valid_from = f->options->now_seconds - CNS_CLOCK_SLACK_SECONDS;
  roster->valid_until = f->options->now_seconds + CNS_ROSTER_SECONDS;
  return cns_kit_sign_roster(roster, f->authority, &f->roster_document, f->problem);
}

void cns_kit_study_policy(const struct cns_roster *roster, const struct cns_plan *plan, int64_t now_seconds,
                          struct cns_policy *ret_policy) {
  struct cns_policy policy;
  cns_policy_default(roster, &policy);
  policy.valid_until = now_seconds + CNS_POLICY_SECONDS;
  policy.clip_norm_max = cns_plan_clip_norm_max(plan);
  policy.weights_mode = plan->weighting == CNS_WEIGHTING_EQUAL ? CNS_WEIGHTS_EQUAL : CNS_WEIGHTS_PATIENTS;
  *ret_policy = policy;
}

int cns_kit_add_audit(struct cns_policy *policy, uint64_t dim, const struct cns_audit_choice *choice,
                      struct cns_problem *problem) {
  uint32_t k = choice->sketch;
  if (!k) return 0;
  cns_policy_set_audit(policy, k);
  policy->on_flag = choice->on_flag;
  if (choice->budget > 0) policy->sketch_budget = choice->budget;
  if (dim < CNS_AUDIT_DIM_MIN || dim / CNS_SKETCH_WORDS_PER_NUMBER < k)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "an audit with %" PRIu32 " numbers would say too much of the study's %" PRIu64
                           " parameters: it needs at least %u of them for each number, and %u",
                           k, dim, CNS_SKETCH_WORDS_PER_NUMBER, CNS_AUDIT_DIM_MIN);
  if (cns_policy_sketch_budget(policy, dim) < k)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "a sketch budget of %g of %" PRIu64
                           " parameters isn't enough for one audit of %" PRIu32 " numbers",
                           policy->sketch_budget, dim, k);
  return 0;
}

static int sign_policy(struct federation *f) {
  cns_kit_study_policy(&f->roster, &f->study.plan, f->options->now_seconds, &f->policy);
  int r = cns_kit_add_audit(&f->policy, cns_plan_dim(&f->study.plan), &f->options->audit, f->problem);
  if (!r) r = cns_kit_add_privacy(&f->policy, &f->study.plan, &f->options->privacy, NULL, f->problem);
  if (r) return r;
  r = cns_policy_check(&f->policy, f->problem);
  if (!r) r = cns_policy_check_roster(&f->policy, &f->roster, f->problem);
  if (r) return cns_problem_prefix(f->problem, r, "the default policy doesn't fit");
  r = cns_policy_to_document(&f->policy, &f->policy_document);
  if (!r) r = cns_document_sign("policy", &f->policy_document, "officer", f->officer);
  return r ? cns_problem_set(f->problem, r, "the policy couldn't be signed") : 0;
}

static int sign_documents(struct federation *f) {
  int r = sign_roster(f);
  if (!r && !f->options->enrol) r = sign_policy(f);
  if (!r && (r = cns_document_sign("study", &f->study.document, "authority", f->authority)))
    cns_problem_set(f->problem, r, "the study couldn't be signed");
  return r;
}

/* Everything that is not a secret, and the same in every folder. */
static int save_public(struct federation *f, const char *folder) {
  uint8_t digest[CNS_DIGEST_BYTES];
  int r = cns_kit_authority_save(folder, &f->roster.authority.identity, f->problem);
  if (!r) r = cns_kit_document_save(folder, "roster.json", "roster", &f->roster_document, f->problem);
  if (!r && !f->options->enrol)
    r = cns_kit_document_save(folder, "policy.json", "policy", &f->policy_document, f->problem);
  if (!r) r = cns_kit_document_save(folder, "study.json", "study", &f->study.document, f->problem);
  if (r || !f->study.initial_path) return r;
  char *path = cns_kit_path(folder, f->study.plan.initial_file);
  if (!path) return cns_problem_set(f->problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  r = cns_copy_file(f->study.initial_path, path, digest, f->problem);
  free(path);
  if (!r && memcmp(digest, f->study.plan.initial_digest, sizeof digest) != 0)
    r = cns_problem_set(f->problem, CNS_ERR_STATE, "%s changed while it was copied", f->study.initial_path);
  return r;
}

static int save_coordinator(struct federation *f) {
  static char state[] = "state";
  struct cns_kit_config config = {.role = CNS_KIT_COORDINATOR, .state_path = state};
  const char *listen = f->options->listen ? f->options->listen : f->roster.address;
  snprintf(config.address, sizeof config.address, "%s", listen);
  int r = save_public(f, f->coordinator_folder);
  return r ? r : cns_kit_config_save(f->coordinator_folder, &config, f->problem);
}

static int save_hospital(struct federation *f, size_t i) {
  static char state[] = "state", data[] = "data.csv";
  const struct cns_roster_hospital *hospital = &f->roster.hospitals[i];
  struct cns_kit_config config = {.role = CNS_KIT_HOSPITAL, .state_path = state, .data_path = data};
  config.index = hospital->index;
  config.floor = cns_kit_floor_default(&f->policy);
  memcpy(config.name, hospital->name, sizeof config.name);
  memcpy(config.address, f->roster.address, sizeof config.address);
  int r = save_public(f, f->hospital_folders[i]);
  return r ? r : cns_kit_config_save(f->hospital_folders[i], &config, f->problem);
}

static int build(struct federation *f) {
  int r = make_staff(f);
  if (!r) r = make_hospitals(f);
  if (!r) r = sign_documents(f);
  if (!r) r = save_public(f, f->authority_folder);
  if (!r) r = save_coordinator(f);
  for (size_t i = 0; i < f->roster.hospital_count && !r; i++)
    r = save_hospital(f, i);
  return r ? r : cns_folder_sync_parent(f->folder, f->problem);
}

static void federation_deinit(struct federation *f) {
  for (size_t i = 0; f->hospital_folders && i < f->options->name_count; i++)
    free(f->hospital_folders[i]);
  free(f->hospital_folders);
  free(f->authority_folder);
  free(f->officer_folder);
  free(f->coordinator_folder);
  cns_identity_free(f->authority);
  cns_identity_free(f->officer);
  cns_roster_deinit(&f->roster);
  cns_document_deinit(&f->roster_document);
  cns_document_deinit(&f->policy_document);
  cns_study_deinit(&f->study);
}

int cns_kit_create_federation(const char *folder, const struct cns_federation_options *options,
                              struct cns_identity_public *ret_authority, struct cns_problem *problem) {
  struct federation f = {.options = options, .folder = folder, .problem = problem};
  struct cns_folder_claim claim;
  int r = cns_federation_check_options(options, problem);
  if (!r) r = cns_study_load(options->study_path, &f.study, problem);
  struct cns_held_signals held;
  cns_hold_signals(&held);
  if (!r) r = cns_claim_folder(folder, &claim, problem);
  if (!r) {
    r = build(&f);
    cns_claim_end(&claim, r != 0);
  }
  cns_release_signals(&held);
  if (!r) *ret_authority = f.roster.authority.identity;
  federation_deinit(&f);
  return r;
}
