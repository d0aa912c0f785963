/* SPDX-License-Identifier: Apache-2.0 */
#include "client/site_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/descriptor.h"
#include "store/folder.h"

static const char store_key_context[] = "consilium/1 hospital store";

char *cns_site_path(const struct cns_site *site, const char *name) {
  char *path = NULL;
  if (!name) return strdup(site->kit.config.state_path);
  return asprintf(&path, "%s/%s", site->kit.config.state_path, name) < 0 ? NULL : path;
}

/* Who is in the table, not what is known of them. */
static void hash_patients(const struct cns_table *table, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 data set");
  for (size_t k = 0; k < table->patients; k++)
    cns_hash_digest(&hash, &table->patient_keys[k]);
  cns_hash_final(&hash, ret_digest);
}

static int read_table(struct cns_site *site, struct cns_problem *problem) {
  struct cns_table table = {0};
  struct cns_table_report report = {0};
  const struct cns_plan *plan = &site->plan;
  int r = cns_table_read(plan, site->kit.config.data_path, CNS_TABLE_TRAINING, &table, &report, problem);
  if (r) return r;
  r = cns_table_report_text(plan, &report, &site->report);
  if (!r)
    r = cns_table_split(&table, plan->seed, site->kit.config.index, plan->validation_share, &site->train,
                        &site->validation);
  if (r)
    cns_problem_set(problem, r, "%s: the table can't be prepared (%s)", site->kit.config.data_path,
                    cns_error_name(r));
  site->patients = (uint32_t)table.patients;
  hash_patients(&table, &site->data_set);
  cns_table_report_deinit(&report);
  cns_table_deinit(&table);
  return r;
}

/* A study without a table: what is there is the command's business, and whose it is the hospital's. */
static int look_at_data(struct cns_site *site, struct cns_problem *problem) {
  struct cns_hash hash;
  const char *given = site->kit.config.data_path;
  char *path = realpath(given, NULL);
  if (!path || access(path, R_OK) != 0) {
    int number = errno;
    free(path);
    return cns_problem_set(problem, cns_error_from_errno(number), "%s: the data can't be read: %s", given,
                           strerror(number));
  }
  site->patients = site->kit.config.patients;
  cns_hash_init(&hash, "consilium/1 data set");
  cns_hash_blob(&hash, path, strlen(path));
  cns_hash_u32(&hash, site->patients);
  cns_hash_final(&hash, &site->data_set);
  free(path);
  if (asprintf(&site->report, "%u patients, as config.json says; only the trainer's command reads the data\n",
               site->patients) >= 0)
    return 0;
  site->report = NULL;
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

int cns_site_check_trainer(struct cns_site *site, struct cns_problem *problem) {
  const struct cns_kit_config *config = &site->kit.config;
  site->trainer = (struct cns_trainer_setup){.command = config->trainer,
                                             .state_path = config->state_path,
                                             .data_path = config->data_path,
                                             .kit_folder = site->kit.folder,
                                             .grace_ms = CNS_TRAINER_GRACE_MS};
  int r = cns_kit_check_trainer(&site->kit, &site->plan, problem);
  if (!r && config->trainer.command) r = cns_trainer_check(&site->trainer, problem);
  return r;
}

int cns_site_read_data(struct cns_site *site, struct cns_problem *problem) {
  return site->plan.has_table ? read_table(site, problem) : look_at_data(site, problem);
}

int cns_site_read_table(struct cns_site *site, struct cns_problem *problem) {
  int r = cns_site_check_trainer(site, problem);
  return r ? r : cns_site_read_data(site, problem);
}

/* cns_hospital_store_open or _open_readonly on this hospital's record. */
static int open_record(struct cns_site *site, bool readonly, struct cns_problem *problem) {
  uint8_t key[CNS_HOSPITAL_STORE_KEY_BYTES];
  char *path = cns_site_path(site, "hospital.db");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  cns_identity_derive(site->kit.identity, store_key_context, key);
  int r = readonly ? cns_hospital_store_open_readonly(path, key, &site->store, problem)
                   : cns_hospital_store_open(path, key, &site->store, problem);
  cns_wipe(key, sizeof key);
  free(path);
  return r;
}

int cns_site_read_record(struct cns_site *site, struct cns_problem *problem) {
  return open_record(site, true, problem);
}

static int open_store(struct cns_site *site, struct cns_problem *problem) {
  int r = cns_folder_create(site->kit.config.state_path, problem);
  if (!r) r = open_record(site, false, problem);
  if (!r)
    r = cns_hospital_store_accept_version(site->store, "roster", site->kit.roster.version,
                                          &site->kit.roster.digest, problem);
  return r;
}

static int open_kit(const char *kit_folder, struct cns_site *site, struct cns_problem *problem) {
  int r = cns_kit_load(kit_folder, CNS_KIT_HOSPITAL, (int64_t)time(NULL), &site->kit, problem);
  if (r) return r;
  const struct cns_document *study = &site->kit.study_document;
  r = cns_plan_parse(study->payload, study->payload_len, "study.json", &site->plan, problem);
  if (!r) cns_study_digest(site->kit.roster.consortium, site->plan.name, &site->study);
  return r;
}

static int open_site(const char *kit_folder, bool with_table, bool with_ledger, struct cns_site *ret_site,
                     struct cns_problem *problem) {
  struct cns_site site = {0};
  int r = open_kit(kit_folder, &site, problem);
  if (!r) r = cns_kit_check_study(&site.kit.policy, &site.plan, problem);
  if (!r && with_table) r = cns_site_read_table(&site, problem);
  if (!r) r = open_store(&site, problem);
  /* A policy that isn't accepted keeps nobody from taking a consent back. */
  if (!r && with_table) r = cns_site_accept_policy(&site, problem);
  if (!r && with_ledger && site.kit.policy.noise_placement != CNS_NOISE_NONE)
    r = cns_site_open_ledger(&site, problem);
  if (r)
    cns_site_deinit(&site);
  else
    *ret_site = site;
  return r;
}

int cns_site_open_readonly(const char *kit_folder, struct cns_site *ret_site, struct cns_problem *problem) {
  struct cns_site site = {0};
  struct cns_problem found = {0};
  int r = open_kit(kit_folder, &site, problem);
  if (!r) {
    r = open_record(&site, true, &found);
    if (r == CNS_ERR_NOT_FOUND)
      r = 0;
    else if (r && problem)
      *problem = found;
  }
  if (r)
    cns_site_deinit(&site);
  else
    *ret_site = site;
  return r;
}

int cns_site_open(const char *kit_folder, struct cns_site *ret_site, struct cns_problem *problem) {
  return open_site(kit_folder, true, true, ret_site, problem);
}

int cns_site_open_without_ledger(const char *kit_folder, struct cns_site *ret_site,
                                 struct cns_problem *problem) {
  return open_site(kit_folder, true, false, ret_site, problem);
}

int cns_site_open_record(const char *kit_folder, struct cns_site *ret_site, struct cns_problem *problem) {
  return open_site(kit_folder, false, false, ret_site, problem);
}

void cns_site_deinit(struct cns_site *site) {
  site->store = cns_hospital_store_free(site->store);
  site->ledger = cns_ledger_free(site->ledger);
  site->ledger_identity = cns_identity_free(site->ledger_identity);
  cns_table_deinit(&site->train);
  cns_table_deinit(&site->validation);
  cns_plan_deinit(&site->plan);
  cns_kit_deinit(&site->kit);
  free(site->report);
  site->report = NULL;
}

static int check_consent(const struct cns_site *site, const struct cns_consent *consent,
                         struct cns_problem *problem) {
  const char *what = NULL;
  const struct cns_kit *kit = &site->kit;
  if (strcmp(consent->consortium, kit->roster.consortium) != 0 ||
      strcmp(consent->study, site->plan.name) != 0)
    what = "it is for another study";
  else if (consent->index != kit->config.index)
    what = "it is another hospital's";
  else if (!cns_digest_equal(&consent->plan, &kit->study_document.digest))
    what = "the study file has changed since";
  else if (consent->patients != cns_policy_patients(&kit->policy, site->patients))
    what = "there is another number of patients now";
  if (!what) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the consent to the study doesn't fit any more: %s; run: consilium consent %s", what,
                         kit->folder);
}

int cns_site_consent(const struct cns_site *site, struct cns_consent *ret_consent, uint8_t **ret_document,
                     size_t *ret_len, struct cns_problem *problem) {
  uint8_t *document = NULL;
  size_t len = 0;
  struct cns_consent consent;
  int r = cns_hospital_store_get_consent(site->store, &site->study, &document, &len, problem);
  if (r == CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "nobody has consented to the study \"%s\" here yet; run: consilium consent %s",
                           site->plan.name, site->kit.folder);
  if (r) return r;
  r = cns_consent_open(document, len, "the consent kept here", &site->kit.roster, &consent, problem);
  if (!r) r = check_consent(site, &consent, problem);
  if (r) {
    free(document);
    return r;
  }
  *ret_consent = consent;
  *ret_document = document;
  *ret_len = len;
  return 0;
}
