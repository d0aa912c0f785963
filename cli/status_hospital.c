/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/budget.h"
#include "cli/cli.h"
#include "cli/status.h"
#include "client/site.h"
#include "model/modelfile.h"
#include "protocol/pause.h"
#include "store/registry.h"

struct status {
  struct cns_site site;
  bool consented;
  const char *consent_flaw; /* NULL: it fits the study file */
  struct cns_consent consent;
  uint64_t model_round; /* 0: the initial one */
  struct cns_digest model;
  bool signed_any;
  uint64_t signed_round;
  uint32_t signed_attempt;
  uint64_t spent; /* updates from the present model */
  struct cns_audit_record audits;
};

static int read_consent(struct status *status, struct cns_problem *problem) {
  const struct cns_kit *kit = &status->site.kit;
  uint8_t *document = NULL;
  size_t len = 0;
  int r = cns_hospital_store_get_consent(status->site.store, &status->site.study, &document, &len, problem);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  if (!r)
    r = cns_consent_open(document, len, "the consent kept here", &kit->roster, &status->consent, problem);
  free(document);
  if (r) return r;
  status->consented = true;
  if (!cns_digest_equal(&status->consent.plan, &kit->study_document.digest))
    status->consent_flaw = "the study file has changed since";
  else if (status->consent.index != kit->config.index)
    status->consent_flaw = "it is another hospital's";
  return 0;
}

static int initial_model(const struct cns_site *site, struct cns_digest *ret_digest,
                         struct cns_problem *problem) {
  uint8_t *bytes = NULL;
  size_t len = 0;
  int r = cns_model_initial_round(&site->plan, site->kit.folder, &bytes, &len, problem);
  if (!r) cns_registry_model_digest(bytes, len, ret_digest);
  free(bytes);
  return r;
}

static int read_model(struct status *status, struct cns_problem *problem) {
  uint8_t *manifest = NULL;
  size_t len = 0;
  int r = cns_hospital_store_get_manifest(status->site.store, &status->site.study, &status->model_round,
                                          &status->model, &manifest, &len, problem);
  free(manifest);
  if (r == CNS_ERR_NOT_FOUND) r = initial_model(&status->site, &status->model, problem);
  return r;
}

static int read_record(struct status *status, struct cns_problem *problem) {
  struct cns_digest descriptor;
  struct cns_hospital_store *store = status->site.store;
  int r = read_consent(status, problem);
  if (!r) r = read_model(status, problem);
  if (r) return r;
  r = cns_hospital_store_signed_round(store, &status->site.study, &status->signed_round,
                                      &status->signed_attempt, &descriptor);
  status->signed_any = r == 0;
  if (r == CNS_ERR_NOT_FOUND) r = 0;
  if (!r) r = cns_hospital_store_count_spent(store, &status->model, &status->spent);
  if (!r) r = cns_hospital_store_audits(store, &status->site.study, &status->model, &status->audits, NULL);
  return r ? cns_problem_set(problem, r, "%s: the hospital's record can't be read (%s)",
                             status->site.kit.config.state_path, cns_error_name(r))
           : 0;
}

static bool has_budget(const struct status *status) {
  return status->site.kit.policy.noise_placement != CNS_NOISE_NONE;
}

/* Does the policy have audits, or did one have any? */
static bool has_audits(const struct status *status) {
  return status->site.kit.policy.audit_level != CNS_AUDIT_NONE || status->audits.numbers > 0;
}

static uint64_t budget(const struct status *status) {
  return cns_policy_sketch_budget(&status->site.kit.policy, status->site.plan.dim);
}

static int print_json(const struct status *status) {
  const struct cns_kit *kit = &status->site.kit;
  int r = 0;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "role", "hospital");
  cJSON_AddStringToObject(json, "name", kit->config.name);
  cJSON_AddNumberToObject(json, "index", kit->config.index);
  cJSON_AddStringToObject(json, "consortium", kit->roster.consortium);
  cJSON_AddStringToObject(json, "study", status->site.plan.name);
  cJSON_AddNumberToObject(json, "study_version", (double)status->site.plan.version);
  cJSON_AddBoolToObject(json, "consented", status->consented && !status->consent_flaw);
  if (status->consent_flaw) cJSON_AddStringToObject(json, "consent_flaw", status->consent_flaw);
  if (status->consented) {
    cJSON_AddNumberToObject(json, "patients", status->consent.patients);
    r = cns_json_add_time(json, "consent_given_at", status->consent.given_at);
  }
  if (!r) r = cns_status_expiry_json(kit, json);
  cJSON_AddNumberToObject(json, "rounds_planned", status->site.plan.rounds);
  cJSON_AddNumberToObject(json, "model_round", (double)status->model_round);
  if (!r && status->site.store)
    r = cns_json_add_hex(json, "model", status->model.bytes, sizeof status->model.bytes);
  cJSON_AddNumberToObject(json, "updates_spent", (double)status->spent);
  cJSON_AddNumberToObject(json, "updates_allowed", kit->policy.attempts_per_parent);
  if (has_audits(status)) {
    cJSON_AddNumberToObject(json, "audits_answered", (double)status->audits.answered);
    cJSON_AddNumberToObject(json, "numbers_revealed", (double)status->audits.numbers);
    cJSON_AddNumberToObject(json, "numbers_allowed", (double)budget(status));
  }
  if (status->signed_any) {
    cJSON_AddNumberToObject(json, "signed_round", (double)status->signed_round);
    cJSON_AddNumberToObject(json, "signed_attempt", status->signed_attempt);
  }
  if (!r) r = cns_status_pause_json(kit->config.state_path, CNS_PAUSE_FILE, "pause", json);
  if (!r) r = cns_status_pause_json(kit->config.state_path, CNS_PAUSE_HEARD_FILE, "coordinator_pause", json);
  if (!r && has_budget(status)) r = cns_budget_status_json(CNS_KIT_HOSPITAL, &status->site, json);
  if (!r) return cns_cli_print_json(json);
  cJSON_Delete(json);
  return cns_cli_fail(r, NULL);
}

static void print_consent(const struct status *status) {
  if (!status->consented)
    printf("  consent  not given; run: consilium consent %s\n", status->site.kit.folder);
  else if (status->consent_flaw)
    printf("  consent  doesn't count any more: %s; run: consilium consent %s\n", status->consent_flaw,
           status->site.kit.folder);
  else
    printf("  consent  given, with about %u patients\n", status->consent.patients);
}

static int print_text(const struct status *status) {
  const struct cns_kit *kit = &status->site.kit;
  char model[2 * CNS_DIGEST_BYTES + 1];
  cns_hex_encode(status->model.bytes, sizeof status->model.bytes, model);
  printf("Hospital %u, %s, of \"%s\", study %s version %" PRIu64 "\n", kit->config.index, kit->config.name,
         kit->roster.consortium, status->site.plan.name, status->site.plan.version);
  cns_status_pause_print(kit->config.state_path, CNS_PAUSE_FILE, "  pause    this hospital is ", "");
  cns_status_pause_print(kit->config.state_path, CNS_PAUSE_HEARD_FILE,
                         "  pause    as the coordinator said last, the study is ", "");
  print_consent(status);
  if (status->model_round)
    printf("  model    after round %" PRIu64 " of %u: %s\n", status->model_round, status->site.plan.rounds,
           model);
  else
    printf("  model    none accepted yet\n");
  printf("  updates  %" PRIu64 " of at most %u from this model spent\n", status->spent,
         kit->policy.attempts_per_parent);
  if (has_audits(status))
    printf("  audits   %" PRIu64 " of this model answered; in this study revealed %" PRIu64 " of the %" PRIu64
           " numbers that the policy allows\n",
           status->audits.answered, status->audits.numbers, budget(status));
  if (has_budget(status)) {
    printf("  budget   ");
    cns_budget_status_print(CNS_KIT_HOSPITAL, &status->site, stdout);
    printf("\n");
  }
  cns_status_expiry_print(kit, "  expires  ");
  if (status->signed_any)
    printf("  signed   last for round %" PRIu64 " attempt %u\n", status->signed_round,
           status->signed_attempt);
  else
    printf("  signed   nothing yet\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_status_hospital(const char *kit_folder, bool json) {
  struct status status = {0};
  struct cns_problem problem = {0};
  int r = cns_site_open_readonly(kit_folder, &status.site, &problem);
  if (!r && status.site.store) r = read_record(&status, &problem);
  int code = r ? cns_cli_fail(r, &problem) : json ? print_json(&status) : print_text(&status);
  cns_site_deinit(&status.site);
  return code;
}
