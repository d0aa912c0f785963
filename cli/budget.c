/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/budget.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

bool cns_budget_view_counts(const struct cns_budget_view *view) {
  return view->site->kit.policy.noise_placement != CNS_NOISE_NONE;
}

/* ---- the ledger ---- */

static bool is_there(const char *path) {
  struct stat info;
  return stat(path, &info) == 0;
}

/* The data's ledger has an owner of its own, whose key lies beside it. */
static int find_owner(struct cns_budget_view *view, struct cns_problem *problem) {
  struct cns_identity *identity = NULL;
  char *path = NULL;
  if (view->role == CNS_KIT_COORDINATOR) {
    view->owner = *cns_identity_get_public(view->site->kit.identity);
    return 0;
  }
  if (asprintf(&path, "%s.key", view->ledger_path) < 0) return CNS_ERR_MEMORY;
  view->lost = is_there(path) && !is_there(view->ledger_path);
  int r = is_there(view->ledger_path) ? cns_identity_load(path, &identity, problem) : CNS_ERR_NOT_FOUND;
  if (r == 0) view->owner = *cns_identity_get_public(identity);
  if (r == CNS_ERR_NOT_FOUND && is_there(view->ledger_path))
    r = cns_problem_set(problem, CNS_ERR_IO, "%s: is missing, the key of the owner of %s", path,
                        view->ledger_path);
  cns_identity_free(identity);
  free(path);
  return r;
}

static int open_ledger(struct cns_budget_view *view, struct cns_problem *problem) {
  const struct cns_site *site = view->site;
  struct cns_digest subject = site->study;
  bool hospital = view->role == CNS_KIT_HOSPITAL;
  struct cns_problem found = {0};
  view->ledger_path =
      hospital ? cns_site_ledger_path(site) : cns_kit_path(site->kit.config.state_path, "ledger.sqlite");
  if (!view->ledger_path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (hospital) cns_site_ledger_subject(&subject);
  int r = find_owner(view, &found);
  if (!r) r = cns_ledger_open_readonly(view->ledger_path, &view->owner, &subject, &view->ledger, &found);
  if (r == CNS_ERR_NOT_FOUND) return 0;
  if (r) *problem = found;
  return r ? cns_problem_prefix(problem, r, "the privacy ledger") : 0;
}

static void count(struct cns_budget_tally *tally, enum cns_ledger_kind kind) {
  tally->reserved += kind == CNS_LEDGER_RESERVED;
  tally->charged += kind == CNS_LEDGER_CHARGED;
  tally->cancelled += kind == CNS_LEDGER_CANCELLED;
  tally->refunded += kind == CNS_LEDGER_REFUNDED;
  tally->released += kind == CNS_LEDGER_RELEASED;
}

static int take_entry(void *context, const struct cns_ledger_entry *entry) {
  struct cns_budget_view *view = context;
  bool study = cns_digest_equal(&entry->round.study, &view->site->study);
  count(&view->all, entry->kind);
  if (study) count(&view->study, entry->kind);
  /* A coordinator publishes whatever it has marked as released. */
  if (study && entry->kind == CNS_LEDGER_RELEASED && entry->round.round > view->rounds_done)
    view->rounds_done = entry->round.round;
  view->last = *entry;
  return 0;
}

/* A hospital's record says which model it accepted last. */
static int count_rounds(struct cns_budget_view *view, struct cns_problem *problem) {
  struct cns_digest model;
  uint8_t *manifest = NULL;
  size_t len = 0;
  int r = view->ledger ? cns_ledger_entries(view->ledger, 1, take_entry, view, problem) : 0;
  if (!r && view->role == CNS_KIT_HOSPITAL && view->site->store) {
    r = cns_hospital_store_get_manifest(view->site->store, &view->site->study, &view->rounds_done, &model,
                                        &manifest, &len, problem);
    free(manifest);
    if (r == CNS_ERR_NOT_FOUND) r = 0;
  }
  uint64_t rounds = view->site->plan.rounds;
  view->rounds_to_come = view->rounds_done < rounds ? rounds - view->rounds_done : 0;
  return r;
}

int cns_budget_view_costs(const struct cns_budget_view *view, enum cns_ledger_scope scope,
                          enum cns_ledger_observer observer, uint32_t month,
                          struct cns_budget_cost **ret_costs, size_t *ret_count,
                          struct cns_problem *problem) {
  *ret_costs = NULL;
  *ret_count = 0;
  if (!view->ledger) return 0;
  return cns_ledger_costs(view->ledger, scope == CNS_LEDGER_STUDY ? &view->site->study : NULL, observer,
                          month, ret_costs, ret_count, problem);
}

/* ---- rows ---- */

static double limit_of(const struct cns_budget_limits *limits, enum cns_budget_limit which) {
  return which == CNS_BUDGET_ROUND   ? limits->epsilon_round
         : which == CNS_BUDGET_MONTH ? limits->epsilon_month
                                     : limits->epsilon;
}

/* What was spent of this limit: for a month it's that month's, as if it were a total. Without
 * a limit the study's says where to look closely, so that equal costs look equal. */
static int measure(const struct cns_budget_view *view, const struct cns_budget_limits *limits,
                   const struct cns_budget_cost *costs, size_t n, struct cns_budget_row *row,
                   struct cns_problem *problem) {
  const struct cns_budget_cost *next = &view->next[row->observer];
  const struct cns_policy_privacy *p = &view->site->kit.policy.privacy;
  const struct cns_budget_limits alone = {
      .epsilon = row->limit > 0 ? row->limit : p->epsilon, .delta = row->delta, .relation = limits->relation};
  const bool round = row->which == CNS_BUDGET_ROUND;
  const struct cns_budget_spent spent = {.total = round ? next : costs, .total_count = round ? 1 : n};
  const struct cns_budget_spent before = {.total = round ? NULL : costs, .total_count = round ? 0 : n};
  int r = cns_budget_spent(&alone, &spent, &row->spent, problem);
  if (r || row->limit <= 0) return r;
  row->left = row->limit > row->spent ? row->limit - row->spent : 0;
  if (row->which == CNS_BUDGET_TOTAL)
    row->alert = cns_budget_alert(&alone, row->spent, p->alerts, p->alert_count);
  if (view->rounds_to_come == 0) return 0;
  r = cns_budget_rounds_left(&alone, &before, next, round ? 1 : view->rounds_to_come, &row->rounds_left,
                             problem);
  if (round && row->rounds_left) row->rounds_left = view->rounds_to_come;
  return r;
}

static int add_row(struct cns_budget_view *view, const struct cns_ledger_limit *limit,
                   enum cns_budget_limit which, struct cns_problem *problem) {
  struct cns_budget_cost *costs = NULL;
  struct cns_budget_row row = {.observer = limit->observer,
                               .scope = limit->scope,
                               .which = which,
                               .limit = limit_of(&limit->limits, which),
                               .delta = limit->limits.delta};
  uint32_t month = which == CNS_BUDGET_MONTH ? cns_ledger_month((int64_t)time(NULL)) : 0;
  int r = cns_budget_view_costs(view, row.scope, row.observer, month, &costs, &row.rounds, problem);
  if (!r) r = measure(view, &limit->limits, costs, row.rounds, &row, problem);
  row.unprotected = isinf(row.spent) || view->next[row.observer].noise_multiplier <= 0;
  free(costs);
  if (r) return r;
  if (row.limit > 0 && which != CNS_BUDGET_MONTH && row.rounds_left < view->rounds_left)
    view->rounds_left = row.rounds_left;
  view->rows[view->row_count++] = row;
  return 0;
}

static int add_rows(struct cns_budget_view *view, struct cns_problem *problem) {
  const struct cns_policy *policy = &view->site->kit.policy;
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  size_t n = view->role == CNS_KIT_HOSPITAL ? cns_site_limits(view->site, limits)
                                            : cns_charge_limits(policy, NULL, limits);
  view->rounds_left = view->rounds_to_come;
  int r = 0;
  for (size_t k = 0; k < n && !r; k++)
    for (enum cns_budget_limit which = CNS_BUDGET_TOTAL; which <= CNS_BUDGET_MONTH && !r; which++)
      if (limit_of(&limits[k].limits, which) > 0) r = add_row(view, &limits[k], which, problem);
  if (r || policy->privacy.epsilon_coordinator > 0) return r;
  const struct cns_ledger_limit none = {
      .observer = CNS_LEDGER_COORDINATOR,
      .scope = CNS_LEDGER_STUDY,
      .limits = {.delta = policy->privacy.delta, .relation = policy->privacy.relation}};
  return add_row(view, &none, CNS_BUDGET_TOTAL, problem);
}

/* ---- the view ---- */

int cns_budget_view_of(enum cns_kit_role role, const struct cns_site *site, struct cns_budget_view *view,
                       struct cns_problem *problem) {
  view->role = role;
  view->site = site;
  if (!cns_budget_view_counts(view)) return 0;
  int r = cns_kit_check_study(&site->kit.policy, &site->plan, problem);
  if (!r) r = open_ledger(view, problem);
  if (!r) r = count_rounds(view, problem);
  if (!r)
    r = cns_charge_expected(&site->kit.policy, site->plan.noise_multiplier, site->plan.sampling_rate,
                            cns_plan_dim(&site->plan), view->next);
  return r ? r : add_rows(view, problem);
}

static int open_coordinator(const char *kit_folder, struct cns_site *site, struct cns_problem *problem) {
  int r = cns_kit_load(kit_folder, CNS_KIT_COORDINATOR, (int64_t)time(NULL), &site->kit, problem);
  if (!r)
    r = cns_plan_parse(site->kit.study_document.payload, site->kit.study_document.payload_len, "study.json",
                       &site->plan, problem);
  if (!r) cns_study_digest(site->kit.roster.consortium, site->plan.name, &site->study);
  return r;
}

int cns_budget_view_open(const char *kit_folder, struct cns_budget_view *view, struct cns_problem *problem) {
  struct cns_kit_config config = {0};
  *view = (struct cns_budget_view){0};
  int r = cns_kit_config_load(kit_folder, &config, problem);
  enum cns_kit_role role = config.role;
  cns_kit_config_deinit(&config);
  if (!r)
    r = role == CNS_KIT_HOSPITAL ? cns_site_open_readonly(kit_folder, &view->own, problem)
                                 : open_coordinator(kit_folder, &view->own, problem);
  return r ? r : cns_budget_view_of(role, &view->own, view, problem);
}

void cns_budget_view_deinit(struct cns_budget_view *view) {
  view->ledger = cns_ledger_free(view->ledger);
  free(view->ledger_path);
  view->ledger_path = NULL;
  cns_site_deinit(&view->own);
}
