/* SPDX-License-Identifier: Apache-2.0 */
/* What only a coordinator has: journal, test set, and a consortium large enough for its policy. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/budget.h"
#include "cli/preflight.h"
#include "model/modelfile.h"
#include "store/journal.h"
#include "store/policy_record.h"

static void check_cohort(struct cns_preflight *p) {
  const struct cns_policy *policy = &p->site.kit.policy;
  if (!p->has_policy || !p->has_roster) {
    cns_preflight_skip(p, "cohort", "roster and policy are to be compared");
    return;
  }
  size_t active = cns_roster_active_count(&p->site.kit.roster);
  size_t needed = policy->minimum_cohort > 3u * policy->colluders + 1 ? policy->minimum_cohort
                                                                      : 3u * policy->colluders + 1;
  if (needed < 4) needed = 4;
  if (active < needed)
    cns_preflight_bad(
        p, "cohort", "enrol more hospitals, or have the privacy officer sign another policy",
        "the roster has %zu hospitals that aren't revoked, and a round needs %zu: none can begin", active,
        needed);
  else if (active == needed)
    cns_preflight_warn(p, "cohort", "", "a round needs all %zu hospitals: while one is missing, none begins",
                       active);
  else
    cns_preflight_ok(p, "cohort", "%zu hospitals, and a round needs %zu", active, needed);
}

static void check_test_set(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_table table = {0};
  const char *path = p->site.kit.config.test_path;
  static const char mend[] = "name a table with the study's columns as \"test\" in config.json";
  if (!p->has_policy || !p->site.kit.policy.metrics_public) return;
  if (!path) {
    cns_preflight_bad(p, "test", mend,
                      "the policy's metrics are \"public\", but config.json names no test set");
    return;
  }
  if (!p->has_study) {
    cns_preflight_skip(p, "test", "the study file says what the test set must have");
    return;
  }
  int r = cns_table_read(&p->site.plan, path, CNS_TABLE_TRAINING, &table, NULL, &problem);
  if (cns_preflight_take(p, "test", r, &problem, mend) == 0)
    cns_preflight_ok(p, "test", "%s: %zu rows", path, table.rows);
  cns_table_deinit(&table);
}

static void check_model(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  const struct cns_plan *plan = &p->site.plan;
  if (!p->has_study || !plan->initial_from_file) return;
  float *params = malloc(cns_plan_dim(plan) * sizeof *params);
  int r = params ? cns_model_initial(plan, p->options.folder, params, &problem)
                 : cns_problem_set(&problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  free(params);
  if (cns_preflight_take(p, "model", r, &problem,
                         "put the study's model file into the kit's folder, unchanged") == 0)
    cns_preflight_ok(p, "model", "%s is the study's, by its digest", plan->initial_file);
}

static int take_round(void *context, const struct cns_journal_round *round) {
  uint64_t *done = context;
  if (round->state == CNS_JOURNAL_ROUND_COMPLETED && round->round > *done) *done = round->round;
  return 0;
}

static void check_journal(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_journal *journal = NULL;
  uint8_t key[CNS_JOURNAL_KEY_BYTES];
  uint64_t done = 0;
  if (!p->has_keys) {
    cns_preflight_skip(p, "journal", "it is opened with the kit's key");
    return;
  }
  char *path = cns_kit_path(p->site.kit.config.state_path, "journal.sqlite");
  cns_identity_derive(p->site.kit.identity, "consilium/1 journal key", key);
  int r = path ? cns_journal_open_readonly(path, key, &journal, &problem) : CNS_ERR_MEMORY;
  cns_wipe(key, sizeof key);
  free(path);
  if (!r) r = cns_journal_round_each(journal, 0, take_round, &done, &problem);
  if (r == CNS_ERR_NOT_FOUND)
    cns_preflight_ok(p, "journal", "none yet: the study begins");
  else if (cns_preflight_take(p, "journal", r, &problem, "restore the state folder from a backup") == 0)
    cns_preflight_ok(p, "journal", "can be read; %" PRIu64 " rounds are done", done);
  cns_journal_free(journal);
}

/* What hospitals would refuse each round for. */
static void check_policy_follows(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_policy before;
  if (!p->has_policy || cns_policy_record_load(p->site.kit.config.state_path, NULL, &before) != 0 ||
      p->site.kit.policy.version <= before.version)
    return;
  int r = cns_policy_record_check(&p->site.kit, before.version, &before, &problem);
  cns_preflight_take(p, "policy", r, &problem,
                     "have the authority sign it too: consilium policy sign --authority");
}

static void check_budget(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  struct cns_budget_view view = {0};
  if (!p->has_policy || !p->has_study || !p->has_keys || p->site.kit.policy.noise_placement == CNS_NOISE_NONE)
    return;
  int r = cns_budget_view_of(CNS_KIT_COORDINATOR, &p->site, &view, &problem);
  if (cns_preflight_take(p, "budget", r, &problem, "restore the newest copy of the state folder") == 0) {
    if (view.rounds_to_come > 0 && view.rounds_left == 0)
      cns_preflight_bad(p, "budget", "docs/operating.md, Privacy budgets",
                        "the privacy budget allows none of the %" PRIu64 " rounds to come",
                        view.rounds_to_come);
    else if (view.rounds_left < view.rounds_to_come)
      cns_preflight_warn(p, "budget", "the study will end early: docs/operating.md, Privacy budgets",
                         "the privacy budget allows %" PRIu64 " of the %" PRIu64 " rounds to come",
                         view.rounds_left, view.rounds_to_come);
    else
      cns_preflight_ok(p, "budget", "all %" PRIu64 " rounds to come are within the limits",
                       view.rounds_to_come);
  }
  cns_budget_view_deinit(&view);
}

void cns_preflight_coordinator(struct cns_preflight *p) {
  check_cohort(p);
  check_test_set(p);
  check_model(p);
  check_journal(p);
  check_policy_follows(p);
  check_budget(p);
  cns_preflight_pause(p, "the study");
}
