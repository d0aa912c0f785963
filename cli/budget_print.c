/* SPDX-License-Identifier: Apache-2.0 */
/* The budget in sentences, and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli/budget.h"

const char *cns_observer_name(enum cns_ledger_observer observer) {
  return observer == CNS_LEDGER_READERS ? "readers" : "coordinator";
}

const char *cns_scope_name(enum cns_ledger_scope scope) {
  return scope == CNS_LEDGER_STUDY ? "study" : "data";
}

const char *cns_limit_name(enum cns_budget_limit which) {
  return which == CNS_BUDGET_ROUND ? "round" : which == CNS_BUDGET_MONTH ? "month" : "total";
}

/* Four digits; the last one is put right where rounding went the wrong way. */
static struct cns_epsilon_text rounded(double value, int direction) {
  struct cns_epsilon_text out = {"infinite"};
  if (!isfinite(value)) return out;
  snprintf(out.text, sizeof out.text, "%.4g", value);
  double shown = strtod(out.text, NULL);
  if (value > 0 && (shown - value) * direction < 0)
    snprintf(out.text, sizeof out.text, "%.4g",
             shown + direction * pow(10, floor(log10(value)) - 3) * (1 + 1e-9));
  return out;
}

struct cns_epsilon_text cns_epsilon_up(double value) {
  return rounded(value, 1);
}

struct cns_epsilon_text cns_epsilon_down(double value) {
  return rounded(value, -1);
}

static const char *plural(uint64_t count) {
  return count == 1 ? "" : "s";
}

/* ---- sentences ---- */

static void print_whose(const struct cns_budget_row *row, FILE *out) {
  static const char *const subjects[] = {"", "all rounds together", "one more round", "this month's rounds"};
  if (row->observer == CNS_LEDGER_COORDINATOR)
    fprintf(out, "Towards the coordinator, ");
  else if (row->scope == CNS_LEDGER_ALL)
    fprintf(out, "Towards readers of the models, all studies on this hospital's data, ");
  else
    fprintf(out, "Towards readers of the models, ");
  fprintf(out, "%s: ", subjects[row->which]);
}

static void print_limited(const struct cns_budget_view *view, const struct cns_budget_row *row, FILE *out) {
  if (row->which == CNS_BUDGET_ROUND) {
    fprintf(out, "epsilon %s, %s the %.6g that it may cost.\n", cns_epsilon_up(row->spent).text,
            row->rounds_left > 0 || row->spent <= row->limit ? "within" : "above", row->limit);
    return;
  }
  fprintf(out, "epsilon %s of %.6g spent in %zu round%s, %s left", cns_epsilon_up(row->spent).text,
          row->limit, row->rounds, plural(row->rounds), cns_epsilon_down(row->left).text);
  if (view->rounds_to_come == 0)
    fprintf(out, "; the study has no round to come");
  else if (row->rounds_left == 0)
    fprintf(out, "; no further round is within it");
  else
    fprintf(out, ", enough for %" PRIu64 " of the %" PRIu64 " round%s to come", row->rounds_left,
            view->rounds_to_come, plural(view->rounds_to_come));
  if (row->alert > 0) fprintf(out, ". The alert at %.4g %% was reached", 100 * row->alert);
  fprintf(out, ".\n");
}

static void print_row(const struct cns_budget_view *view, const struct cns_budget_row *row, FILE *out) {
  fprintf(out, "  ");
  print_whose(row, out);
  if (row->unprotected && view->site->kit.policy.noise_placement == CNS_NOISE_CENTRAL)
    fprintf(out, "epsilon is infinite. It adds the noise itself and sees the sums without it.\n");
  else if (row->unprotected)
    fprintf(out, "epsilon is infinite. Too little noise is in what it sees to count.\n");
  else if (row->limit > 0)
    print_limited(view, row, out);
  else
    fprintf(out, "epsilon %s spent in %zu round%s; no limit is set.\n", cns_epsilon_up(row->spent).text,
            row->rounds, plural(row->rounds));
}

static void print_scope(const struct cns_budget_view *view, FILE *out) {
  const struct cns_kit *kit = &view->site->kit;
  const struct cns_policy_privacy *p = &kit->policy.privacy;
  bool patients = kit->policy.unit == CNS_UNIT_PATIENT;
  if (view->role == CNS_KIT_HOSPITAL)
    fprintf(out, "Privacy budget at hospital %u, %s, of \"%s\", study %s\n", kit->config.index,
            kit->config.name, kit->roster.consortium, view->site->plan.name);
  else
    fprintf(out, "Privacy budget of \"%s\", study %s, by the coordinator's ledger\n", kit->roster.consortium,
            view->site->plan.name);
  if (!cns_budget_view_counts(view)) return;
  fprintf(out, "  Protected is %s (%s); epsilon at delta %g. All figures are upper bounds.\n",
          patients ? "each patient" : "each hospital's data as a whole",
          p->relation == CNS_DP_REPLACE_ONE ? "one replaced by another" : "one more or less", p->delta);
}

static void print_ledger(const struct cns_budget_view *view, FILE *out) {
  if (view->lost)
    fprintf(out,
            "  The ledger %s is missing, and the key of its owner is there: unless the agent has\n"
            "  never run, it was lost. Restore it before the next round.\n",
            view->ledger_path);
  else if (!view->ledger)
    fprintf(out, "  There is no ledger yet (%s): nothing was spent.\n", view->ledger_path);
  else
    fprintf(out,
            "  Of the study: %" PRIu64 " attempt%s reserved, %" PRIu64 " charged, %" PRIu64
            " cancelled, %" PRIu64 " refunded. %" PRIu64 " of %u rounds are done.\n",
            view->study.reserved, plural(view->study.reserved), view->study.charged, view->study.cancelled,
            view->study.refunded, view->rounds_done, view->site->plan.rounds);
}

static void print_end(const struct cns_budget_view *view, FILE *out) {
  if (view->rounds_to_come == 0)
    fprintf(out, "  All rounds of the study are done.\n");
  else if (view->rounds_left == 0)
    fprintf(out, "  The budget is spent: no further round will be run.\n");
  else
    fprintf(out, "  The budget is enough for %s%" PRIu64 " round%s to come%s.\n",
            view->rounds_left == view->rounds_to_come ? "" : "only ", view->rounds_left,
            plural(view->rounds_left),
            view->rounds_left == view->rounds_to_come ? ", all that the study has" : "");
}

void cns_budget_print(const struct cns_budget_view *view, FILE *out) {
  print_scope(view, out);
  if (!cns_budget_view_counts(view)) {
    fprintf(out, "  No noise is added under this policy, so nothing is counted: there is no guarantee of\n"
                 "  differential privacy, and no budget that could be spent.\n");
    return;
  }
  print_ledger(view, out);
  for (size_t k = 0; k < view->row_count; k++)
    print_row(view, &view->rows[k], out);
  print_end(view, out);
}

static void print_sentence(const struct cns_budget_view *view, FILE *out) {
  const struct cns_budget_row *row = &view->rows[0]; /* the study's, towards readers */
  if (view->lost) {
    fprintf(out, "the privacy ledger is missing");
    return;
  }
  fprintf(out, "epsilon %s of %.6g spent at delta %g", cns_epsilon_up(row->spent).text, row->limit,
          row->delta);
  if (view->rounds_to_come == 0)
    fprintf(out, ", all rounds done");
  else if (view->rounds_left == 0)
    fprintf(out, ", and no further round is within the budget");
  else
    fprintf(out, ", enough for %" PRIu64 " of the %" PRIu64 " round%s to come", view->rounds_left,
            view->rounds_to_come, plural(view->rounds_to_come));
}

/* ---- for status ---- */

void cns_budget_status_print(enum cns_kit_role role, const struct cns_site *site, FILE *out) {
  struct cns_budget_view view = {0};
  struct cns_problem problem = {0};
  int r = cns_budget_view_of(role, site, &view, &problem);
  cns_text_clean(problem.text);
  if (r)
    fprintf(out, "can't be told: %s", problem.text[0] ? problem.text : cns_error_name(r));
  else
    print_sentence(&view, out);
  cns_budget_view_deinit(&view);
}

int cns_budget_status_json(enum cns_kit_role role, const struct cns_site *site, cJSON *json) {
  struct cns_budget_view view = {0};
  struct cns_problem problem = {0};
  int r = cns_budget_view_of(role, site, &view, &problem);
  cJSON *budget = r ? cJSON_CreateObject() : cns_budget_json(&view);
  if (r) cJSON_AddStringToObject(budget, "error", problem.text[0] ? problem.text : cns_error_name(r));
  cns_budget_view_deinit(&view);
  return cJSON_AddItemToObject(json, "budget", budget) ? 0 : CNS_ERR_MEMORY;
}

/* ---- JSON ---- */

static void add_number(cJSON *json, const char *name, double value) {
  if (isfinite(value))
    cJSON_AddNumberToObject(json, name, value);
  else
    cJSON_AddNullToObject(json, name);
}

static cJSON *row_json(const struct cns_budget_row *row) {
  cJSON *json = cJSON_CreateObject();
  bool limited = row->limit > 0;
  cJSON_AddStringToObject(json, "observer", cns_observer_name(row->observer));
  cJSON_AddStringToObject(json, "scope", cns_scope_name(row->scope));
  cJSON_AddStringToObject(json, "of", cns_limit_name(row->which));
  cJSON_AddNumberToObject(json, "delta", row->delta);
  add_number(json, "spent", row->unprotected ? INFINITY : row->spent);
  if (row->unprotected) cJSON_AddBoolToObject(json, "unprotected", true);
  add_number(json, "limit", limited ? row->limit : INFINITY);
  add_number(json, "left", limited ? row->left : INFINITY);
  if (row->which != CNS_BUDGET_ROUND) cJSON_AddNumberToObject(json, "rounds", (double)row->rounds);
  add_number(json, "rounds_left", limited ? (double)row->rounds_left : INFINITY);
  if (row->which == CNS_BUDGET_TOTAL && limited)
    add_number(json, "alert", row->alert > 0 ? row->alert : INFINITY);
  return json;
}

static void add_tally(cJSON *json, const struct cns_budget_tally *tally) {
  cJSON *attempts = cJSON_AddObjectToObject(json, "attempts");
  cJSON_AddNumberToObject(attempts, "reserved", (double)tally->reserved);
  cJSON_AddNumberToObject(attempts, "charged", (double)tally->charged);
  cJSON_AddNumberToObject(attempts, "cancelled", (double)tally->cancelled);
  cJSON_AddNumberToObject(attempts, "refunded", (double)tally->refunded);
  cJSON_AddNumberToObject(attempts, "released", (double)tally->released);
}

static int add_counted(cJSON *json, const struct cns_budget_view *view) {
  const struct cns_policy *policy = &view->site->kit.policy;
  int r = 0;
  cJSON_AddStringToObject(json, "unit", cns_privacy_unit_name(policy->unit));
  cJSON_AddStringToObject(json, "relation",
                          policy->privacy.relation == CNS_DP_REPLACE_ONE ? "replace-one" : "add-remove");
  cJSON_AddNumberToObject(json, "delta", policy->privacy.delta);
  cJSON_AddStringToObject(json, "ledger", view->ledger_path);
  cJSON_AddBoolToObject(json, "ledger_there", view->ledger != NULL);
  if (view->lost) cJSON_AddBoolToObject(json, "ledger_lost", true);
  cJSON_AddNumberToObject(json, "entries", (double)view->last.sequence);
  if (view->last.sequence)
    r = cns_json_add_hex(json, "ledger_digest", view->last.digest.bytes, sizeof view->last.digest.bytes);
  add_tally(json, &view->study);
  cJSON_AddNumberToObject(json, "rounds_done", (double)view->rounds_done);
  cJSON_AddNumberToObject(json, "rounds_planned", view->site->plan.rounds);
  cJSON_AddNumberToObject(json, "rounds_left", (double)view->rounds_left);
  cJSON_AddBoolToObject(json, "is_spent", view->rounds_left == 0 && view->rounds_to_come > 0);
  cJSON *rows = cJSON_AddArrayToObject(json, "limits");
  for (size_t k = 0; k < view->row_count; k++)
    cJSON_AddItemToArray(rows, row_json(&view->rows[k]));
  return r;
}

cJSON *cns_budget_json(const struct cns_budget_view *view) {
  const struct cns_kit *kit = &view->site->kit;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "role", view->role == CNS_KIT_HOSPITAL ? "hospital" : "coordinator");
  if (view->role == CNS_KIT_HOSPITAL) cJSON_AddStringToObject(json, "name", kit->config.name);
  cJSON_AddStringToObject(json, "consortium", kit->roster.consortium);
  cJSON_AddStringToObject(json, "study", view->site->plan.name);
  cJSON_AddNumberToObject(json, "policy_version", (double)kit->policy.version);
  cJSON_AddStringToObject(json, "noise", cns_noise_placement_name(kit->policy.noise_placement));
  cJSON_AddBoolToObject(json, "counted", cns_budget_view_counts(view));
  if (!cns_budget_view_counts(view) || add_counted(json, view) == 0) return json;
  cJSON_Delete(json);
  return NULL;
}
