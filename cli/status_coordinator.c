/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/budget.h"
#include "cli/cli.h"
#include "cli/status.h"
#include "model/plan.h"
#include "protocol/agree.h"
#include "protocol/pause.h"
#include "store/journal.h"
#include "store/kit.h"

struct status {
  struct cns_kit kit;
  struct cns_plan plan;
  bool started;  /* there is a journal */
  cJSON *rounds; /* the last ones, in order */
  size_t last;
  uint64_t done;
  char model[2 * CNS_DIGEST_BYTES + 1]; /* after round `done` */
  cJSON *quarantine;                    /* array; NULL: the coordinator hasn't said */
};

static void status_deinit(struct status *status) {
  cJSON_Delete(status->rounds);
  cJSON_Delete(status->quarantine);
  cns_plan_deinit(&status->plan);
  cns_kit_deinit(&status->kit);
}

static const char *state_text(enum cns_journal_round_state state) {
  switch (state) {
  case CNS_JOURNAL_ROUND_RUNNING:
    return "running";
  case CNS_JOURNAL_ROUND_COMPLETED:
    return "completed";
  case CNS_JOURNAL_ROUND_ENDED:
    return "ended without a result";
  }
  return "unknown";
}

static double number_of(const cJSON *json, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const char *text_of(const cJSON *json, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
  return cJSON_IsString(item) ? item->valuestring : "";
}

/* The member of a manifest with this index; NULL if it was not in the cohort. */
static const cJSON *find_member(const cJSON *manifest, uint16_t index) {
  const cJSON *one;
  cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(
                              manifest, "hospitals")) if (number_of(one, "hospital") == index) return one;
  return NULL;
}

static bool is_included(const cJSON *member) {
  return strcmp(text_of(member, "outcome"), cns_outcome_text(CNS_INCLUDED)) == 0;
}

/* Of who was not in the cohort. Quarantines that are over are not known here. */
static const char *absent_text(const struct status *status, const cJSON *manifest, uint16_t index) {
  const cJSON *one;
  cJSON_ArrayForEach(one, status->quarantine) {
    if (number_of(one, "hospital") == index && number_of(one, "round") < number_of(manifest, "round"))
      return cns_outcome_text(CNS_OUT_QUARANTINED);
  }
  return "not connected when the round began";
}

/* Everybody of the roster is expected, as in the daemon's own line. */
static void add_hospitals(const struct status *status, const cJSON *manifest, cJSON *row) {
  const struct cns_roster *roster = &status->kit.roster;
  size_t included = 0, expected = 0;
  double weight = 0, included_weight = 0;
  cJSON *missing = cJSON_CreateArray();
  for (size_t k = 0; k < roster->hospital_count; k++) {
    const struct cns_roster_hospital *hospital = &roster->hospitals[k];
    const cJSON *member = find_member(manifest, hospital->index);
    if (hospital->revoked && !member) continue;
    expected++;
    weight += number_of(member, "weight");
    if (member && is_included(member)) {
      included++;
      included_weight += number_of(member, "weight");
      continue;
    }
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "hospital", hospital->name);
    cJSON_AddStringToObject(
        one, "reason", member ? text_of(member, "outcome") : absent_text(status, manifest, hospital->index));
    cJSON_AddItemToArray(missing, one);
  }
  cJSON_AddNumberToObject(row, "included", (double)included);
  cJSON_AddNumberToObject(row, "expected", (double)expected);
  cJSON_AddItemToObject(row, "missing", missing);
  cJSON_AddNumberToObject(row, "weight_share", weight > 0 ? included_weight / weight : 0);
}

static void add_result(struct status *status, const struct cns_journal_round *round, cJSON *row) {
  cJSON *manifest = cJSON_Parse(round->result);
  const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(manifest, "metrics");
  if (!manifest) return;
  add_hospitals(status, manifest, row);
  static const char *const noised[][2] = {{"loss", "noised_loss"},
                                          {"loss_error", "noised_loss_error"},
                                          {"accuracy", "noised_accuracy"},
                                          {"accuracy_error", "noised_accuracy_error"}};
  bool is_noised = cJSON_HasObjectItem(metrics, "released");
  for (size_t k = 0; is_noised && k < sizeof noised / sizeof noised[0]; k++)
    cJSON_AddNumberToObject(row, noised[k][1], number_of(metrics, noised[k][0]));
  if (!is_noised && cJSON_HasObjectItem(metrics, "loss"))
    cJSON_AddNumberToObject(row, "loss", number_of(metrics, "loss"));
  if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(metrics, "auc")))
    cJSON_AddNumberToObject(row, "auc", number_of(metrics, "auc"));
  cJSON_AddStringToObject(row, "model", text_of(manifest, "model"));
  if (round->round > status->done) {
    status->done = round->round;
    snprintf(status->model, sizeof status->model, "%s", text_of(manifest, "model"));
  }
  cJSON_Delete(manifest);
}

static int take_round(void *context, const struct cns_journal_round *round) {
  struct status *status = context;
  cJSON *row = cJSON_CreateObject();
  if (!row) return CNS_ERR_MEMORY;
  cJSON_AddNumberToObject(row, "round", (double)round->round);
  cJSON_AddNumberToObject(row, "attempt", round->attempt);
  cJSON_AddStringToObject(row, "state", state_text(round->state));
  if (round->state == CNS_JOURNAL_ROUND_COMPLETED && round->result) add_result(status, round, row);
  if (round->state == CNS_JOURNAL_ROUND_ENDED && round->result) {
    cJSON *why = cJSON_Parse(round->result);
    cJSON_AddStringToObject(row, "reason", text_of(why, "reason"));
    cJSON_Delete(why);
  }
  cJSON_AddItemToArray(status->rounds, row);
  if ((size_t)cJSON_GetArraySize(status->rounds) > status->last) cJSON_DeleteItemFromArray(status->rounds, 0);
  return 0;
}

static int read_journal(struct status *status, struct cns_problem *problem) {
  uint8_t key[CNS_JOURNAL_KEY_BYTES];
  struct cns_journal *journal = NULL;
  struct cns_problem found = {0};
  char *path = cns_kit_path(status->kit.config.state_path, "journal.sqlite");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  cns_identity_derive(status->kit.identity, "consilium/1 journal key", key);
  int r = cns_journal_open_readonly(path, key, &journal, &found);
  cns_wipe(key, sizeof key);
  free(path);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  if (!r) {
    status->started = true;
    r = cns_journal_round_each(journal, 0, take_round, status, &found);
    cns_journal_free(journal);
  }
  if (r) *problem = found;
  return r;
}

/* What the daemon wrote for others to read. */
static int read_quarantine(struct status *status, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  cJSON *json = NULL;
  char *path = cns_kit_path(status->kit.config.state_path, "quarantine.json");
  int r = path ? cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_json_parse((const char *)data, len, path, &json, problem);
  if (!r) status->quarantine = cJSON_DetachItemFromObjectCaseSensitive(json, "quarantine");
  cJSON_Delete(json);
  free(data);
  free(path);
  return r == CNS_ERR_NOT_FOUND ? 0 : r;
}

static int open_status(const char *kit_folder, struct status *status, struct cns_problem *problem) {
  status->rounds = cJSON_CreateArray();
  if (!status->rounds) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = cns_kit_load(kit_folder, CNS_KIT_COORDINATOR, (int64_t)time(NULL), &status->kit, problem);
  if (!r)
    r = cns_plan_parse(status->kit.study_document.payload, status->kit.study_document.payload_len,
                       "study.json", &status->plan, problem);
  if (!r) r = read_quarantine(status, problem);
  return r ? r : read_journal(status, problem);
}

/* Borrowed from the status: not to be deinit'ed. */
static struct cns_site site_of(const struct status *status) {
  struct cns_site site = {.kit = status->kit, .plan = status->plan};
  cns_study_digest(status->kit.roster.consortium, status->plan.name, &site.study);
  return site;
}

static int add_budget(const struct status *status, cJSON *json) {
  const struct cns_site site = site_of(status);
  if (status->kit.policy.noise_placement == CNS_NOISE_NONE) return 0;
  return cns_budget_status_json(CNS_KIT_COORDINATOR, &site, json);
}

static void print_budget(const struct status *status) {
  const struct cns_site site = site_of(status);
  if (status->kit.policy.noise_placement == CNS_NOISE_NONE) return;
  printf("Privacy budget: ");
  cns_budget_status_print(CNS_KIT_COORDINATOR, &site, stdout);
  printf(".\n");
}

static int print_json(struct status *status) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "role", "coordinator");
  cJSON_AddStringToObject(json, "consortium", status->kit.roster.consortium);
  cJSON_AddStringToObject(json, "study", status->plan.name);
  cJSON_AddNumberToObject(json, "study_version", (double)status->plan.version);
  cJSON_AddBoolToObject(json, "started", status->started);
  cJSON_AddNumberToObject(json, "rounds_done", (double)status->done);
  cJSON_AddNumberToObject(json, "rounds_planned", status->plan.rounds);
  if (status->done) cJSON_AddStringToObject(json, "model", status->model);
  if (cJSON_GetArraySize(status->quarantine) > 0)
    cJSON_AddItemToObject(json, "quarantine", cJSON_Duplicate(status->quarantine, true));
  cJSON_AddItemToObject(json, "rounds", status->rounds);
  status->rounds = NULL;
  int r = cns_status_pause_json(status->kit.config.state_path, CNS_PAUSE_FILE, "pause", json);
  if (!r) r = add_budget(status, json);
  if (!r) r = cns_status_expiry_json(&status->kit, json);
  if (!r) return cns_cli_print_json(json);
  cJSON_Delete(json);
  return cns_cli_fail(r, NULL);
}

static void print_round(const cJSON *row) {
  const cJSON *one;
  const char *begin = " (";
  printf("  round %.0f attempt %.0f: ", number_of(row, "round"), number_of(row, "attempt"));
  if (!cJSON_HasObjectItem(row, "included")) {
    const char *why = text_of(row, "reason");
    printf("%s%s%s\n", text_of(row, "state"), *why ? ": " : "", why);
    return;
  }
  printf("%.0f of %.0f hospitals", number_of(row, "included"), number_of(row, "expected"));
  cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(row, "missing")) {
    printf("%s%s: %s", begin, text_of(one, "hospital"), text_of(one, "reason"));
    begin = ", ";
  }
  printf("%s, %.1f %% of the cohort's weight", begin[0] == ',' ? ")" : "",
         100 * number_of(row, "weight_share"));
  if (cJSON_HasObjectItem(row, "noised_loss"))
    printf(", noised loss %.4f +- %.4f, noised accuracy %.4f +- %.4f", number_of(row, "noised_loss"),
           number_of(row, "noised_loss_error"), number_of(row, "noised_accuracy"),
           number_of(row, "noised_accuracy_error"));
  if (cJSON_HasObjectItem(row, "loss")) printf(", loss %.4f", number_of(row, "loss"));
  if (cJSON_HasObjectItem(row, "auc")) printf(", AUC %.4f", number_of(row, "auc"));
  printf("\n");
}

static int print_text(const struct status *status) {
  const cJSON *row;
  printf("Coordinator of \"%s\", study %s version %" PRIu64 ": %" PRIu64 " of %u rounds done.\n",
         status->kit.roster.consortium, status->plan.name, status->plan.version, status->done,
         status->plan.rounds);
  if (!status->started) printf("The coordinator has not been started on this kit yet.\n");
  cns_status_pause_print(status->kit.config.state_path, CNS_PAUSE_FILE, "The study is ", ".");
  if (status->done) printf("Model after round %" PRIu64 ": %s\n", status->done, status->model);
  print_budget(status);
  cns_status_expiry_print(&status->kit, "");
  cJSON_ArrayForEach(row, status->quarantine) printf("Hospital %s is in quarantine since round %.0f.\n",
                                                     text_of(row, "name"), number_of(row, "round"));
  cJSON_ArrayForEach(row, status->rounds) print_round(row);
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_status_coordinator(const char *kit_folder, size_t last, bool json) {
  struct status status = {.last = last};
  struct cns_problem problem = {0};
  int r = open_status(kit_folder, &status, &problem);
  int code = r ? cns_cli_fail(r, &problem) : json ? print_json(&status) : print_text(&status);
  status_deinit(&status);
  return code;
}
