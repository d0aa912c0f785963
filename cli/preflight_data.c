/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital brings to the study: table, first model, consent, and what was spent before. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/budget.h"
#include "cli/preflight.h"
#include "model/modelfile.h"
#include "store/policy_record.h"

/* ---- the table ---- */

/* Who can read it besides its owner is the hospital's business, and worth a word. */
static void check_table_mode(struct cns_preflight *p, const char *path) {
  char mend[512];
  struct stat info;
  snprintf(mend, sizeof mend, "chmod 600 %s", path);
  if (stat(path, &info) == 0 && (info.st_mode & 007))
    cns_preflight_warn(p, "data", mend, "%s: everybody on this machine can read the patients' table", path);
}

/* A command of the hospital's, or the built-in trainer. */
static void check_trainer(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  if (!p->has_study || !p->has_policy) {
    cns_preflight_skip(p, "trainer", "study and policy say who can train");
    return;
  }
  int r = cns_site_check_trainer(&p->site, &problem);
  if (cns_preflight_take(p, "trainer", r, &problem, "correct \"trainer\" in config.json: docs/trainers.md"))
    return;
  char **command = p->site.kit.config.trainer.command;
  if (command)
    cns_preflight_ok(p, "trainer", "%s can be run", command[0]);
  else
    cns_preflight_ok(p, "trainer", "the built-in one");
}

static void check_table(struct cns_preflight *p) {
  struct cns_site *site = &p->site;
  struct cns_problem problem = {0};
  const char *path = site->kit.config.data_path;
  if (!p->has_study) {
    cns_preflight_skip(p, "data", "the study file says what the table must have");
    return;
  }
  int r = cns_site_read_data(site, &problem);
  p->has_data =
      cns_preflight_take(p, "data", r, &problem,
                         "correct the table, or the path \"data\" in config.json; docs/study.md has "
                         "what a table looks like") == 0;
  if (!p->has_data) return;
  if (site->plan.has_table)
    cns_preflight_ok(p, "data", "%s: %zu rows to train on and %zu to validate on, of %u patients", path,
                     site->train.rows, site->validation.rows, site->patients);
  else
    cns_preflight_ok(p, "data", "%s is there, of %u patients, as config.json says; only the trainer reads it",
                     path, site->patients);
  check_table_mode(p, path);
}

/* The lines of the table's report that speak of rows left out, values replaced or clipped. */
static void check_report(struct cns_preflight *p) {
  char *copy = p->site.report ? strdup(p->site.report) : NULL, *rest = copy, *line;
  for (bool first = true; (line = strsep(&rest, "\n")); first = false)
    if (*line && !first) cns_preflight_ok(p, "data", "%s", line);
  free(copy);
}

static void check_patients(struct cns_preflight *p) {
  const struct cns_policy *policy = &p->site.kit.policy;
  uint32_t patients = p->site.patients, declared;
  if (!p->has_policy || !p->has_data) return;
  declared = cns_policy_patients(policy, patients);
  if (patients < policy->weight_round_to)
    cns_preflight_warn(p, "patients", "ask the consortium whether so small a hospital is to take part",
                       "%u patients are fewer than the policy's step of %u; the consent says %u", patients,
                       policy->weight_round_to, declared);
  else
    cns_preflight_ok(p, "patients", "%u; the consent says %u, as the policy rounds and caps it", patients,
                     declared);
  if (policy->noise_placement != CNS_NOISE_NONE && policy->unit == CNS_UNIT_PATIENT &&
      policy->privacy.delta * patients > 1)
    cns_preflight_warn(p, "patients", "the privacy officer should choose a smaller delta",
                       "the policy's delta, %g, is more than 1/%u, one over this table's patients",
                       policy->privacy.delta, patients);
}

/* ---- the first model ---- */

static void check_model(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  const struct cns_plan *plan = &p->site.plan;
  if (!p->has_study) {
    cns_preflight_skip(p, "model", "the study file names it");
    return;
  }
  if (!plan->initial_from_file) {
    cns_preflight_ok(p, "model", "the first one follows from the study's seed");
    return;
  }
  float *params = malloc(cns_plan_dim(plan) * sizeof *params);
  int r = params ? cns_model_initial(plan, p->options.folder, params, &problem)
                 : cns_problem_set(&problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  free(params);
  if (cns_preflight_take(p, "model", r, &problem,
                         "put the study's model file into the kit's folder, unchanged"))
    return;
  cns_preflight_ok(p, "model", "%s is the study's, by its digest", plan->initial_file);
}

/* ---- the record ---- */

static void check_version(struct cns_preflight *p, const char *kind, uint64_t present) {
  uint64_t version = 0;
  struct cns_digest digest;
  if (cns_hospital_store_accepted_version(p->site.store, kind, &version, &digest) == 0 && present < version)
    cns_preflight_bad(p, kind, "get the present files from the consortium's authority: consilium kit accept",
                      "the kit's has version %" PRIu64 ", and version %" PRIu64
                      " was accepted here before: it isn't gone back",
                      present, version);
}

/* As the agent does it when it starts. */
static void check_policy_follows(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_policy before;
  struct cns_digest digest;
  uint64_t version = 0;
  const struct cns_kit *kit = &p->site.kit;
  if (cns_hospital_store_accepted_version(p->site.store, "policy", &version, &digest) != 0 ||
      kit->policy.version <= version)
    return;
  int found = cns_policy_record_load(kit->config.state_path, &digest, &before);
  int r = cns_policy_record_check(kit, version, found ? NULL : &before, &problem);
  cns_preflight_take(p, "policy", r, &problem,
                     "have the authority sign it too: consilium policy sign --authority");
}

static void check_consent(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_consent consent;
  uint8_t *document = NULL;
  size_t len = 0;
  char mend[512];
  snprintf(mend, sizeof mend, "consilium consent %s", p->options.folder);
  if (!p->site.store) {
    cns_preflight_bad(p, "consent", mend, "nobody has consented to the study here yet");
    return;
  }
  if (!p->has_data) {
    cns_preflight_skip(p, "consent", "it is for the number of patients that the table has");
    return;
  }
  int r = cns_site_consent(&p->site, &consent, &document, &len, &problem);
  free(document);
  if (cns_preflight_take(p, "consent", r, &problem, mend)) return;
  if (consent.given_at > p->options.now_seconds + 3600)
    cns_preflight_warn(p, "clock", "set the machine's clock",
                       "the consent was given later than the clock shows now: it was set back");
  cns_preflight_ok(p, "consent", "given, for about %u patients", consent.patients);
}

static void check_record(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  if (!p->has_study || !p->has_policy || !p->is_member) {
    cns_preflight_skip(p, "record", "it is opened with the kit's key, for the study and under the policy");
    cns_preflight_skip(p, "consent", "it is in the record");
    return;
  }
  int r = cns_site_read_record(&p->site, &problem);
  if (r == CNS_ERR_NOT_FOUND) {
    cns_preflight_ok(p, "record", "none yet: this hospital begins");
  } else if (cns_preflight_take(
                 p, "record", r, &problem,
                 "restore the newest copy of the state folder; while a study runs it must not be "
                 "emptied, nor restored from an older one")) {
    cns_preflight_skip(p, "consent", "it is in the record");
    return;
  } else {
    cns_preflight_ok(p, "record", "%s can be read", p->site.kit.config.state_path);
    check_version(p, "roster", p->site.kit.roster.version);
    check_version(p, "policy", p->site.kit.policy.version);
    check_policy_follows(p);
  }
  check_consent(p);
  cns_preflight_pause(p, "this hospital");
}

/* ---- the privacy ledger ---- */

static void check_ledger(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_budget_view view = {0};
  static const char mend[] =
      "restore the newest copy of the ledger and of its owner's key, both: docs/operating.md, "
      "Privacy budgets";
  if (p->has_policy && p->site.kit.policy.noise_placement == CNS_NOISE_NONE) return;
  if (!p->has_study || !p->has_policy || !p->is_member) {
    cns_preflight_skip(p, "budget", "roster, policy and study say what counts");
    return;
  }
  int r = cns_budget_view_of(p->site.kit.config.role, &p->site, &view, &problem);
  if (cns_preflight_take(p, "budget", r, &problem, mend) == 0) {
    if (view.lost)
      cns_preflight_bad(p, "budget", mend,
                        "%s is not there, but its owner's key is: it was lost or taken away",
                        view.ledger_path);
    else if (view.rounds_to_come > 0 && view.rounds_left == 0)
      cns_preflight_bad(
          p, "budget", "no further round is within the limits: docs/operating.md, Privacy budgets",
          "the privacy budget allows none of the %" PRIu64 " rounds to come", view.rounds_to_come);
    else if (view.rounds_left < view.rounds_to_come)
      cns_preflight_warn(p, "budget", "the study will end early: docs/operating.md, Privacy budgets",
                         "the privacy budget allows %" PRIu64 " of the %" PRIu64 " rounds to come",
                         view.rounds_left, view.rounds_to_come);
    else
      cns_preflight_ok(p, "budget", "the ledger %s, and all %" PRIu64 " rounds to come are within the limits",
                       view.ledger ? "can be read" : "isn't begun yet", view.rounds_to_come);
  }
  cns_budget_view_deinit(&view);
}

void cns_preflight_data(struct cns_preflight *p) {
  check_trainer(p);
  check_table(p);
  check_report(p);
  check_patients(p);
  check_model(p);
  check_record(p);
  check_ledger(p);
}
