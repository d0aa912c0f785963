/* SPDX-License-Identifier: Apache-2.0 */
/* Of the statement: how it is counted, what was spent, what the whole study will. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli/statement.h"

/* Did all rounds cost what the study says now? */
static int others(const struct cns_budget_view *view, bool *ret_others, struct cns_problem *problem) {
  struct cns_budget_cost *costs = NULL;
  size_t count = 0;
  const struct cns_budget_cost *next = &view->next[CNS_LEDGER_READERS];
  int r = cns_budget_view_costs(view, CNS_LEDGER_STUDY, CNS_LEDGER_READERS, 0, &costs, &count, problem);
  *ret_others = false;
  for (size_t k = 0; k < count; k++)
    *ret_others |=
        costs[k].noise_multiplier != next->noise_multiplier || costs[k].sampling_rate != next->sampling_rate;
  free(costs);
  return r;
}

static void write_accountant(struct cns_page *page) {
  cns_page_heading(page, "How it is counted");
  cns_page_paragraph(
      page, "By the privacy loss distribution of all rounds together (PLD accountant), for sums of "
            "independently sampled units with Gaussian noise. Every epsilon is an upper bound, "
            "rounding errors of the computation included, and is printed rounded up. This "
            "presumes that noise and sampling rate of a round don't depend on what earlier rounds gave.");
  cns_page_paragraph(page,
                     "Each attempt of a round counts from its reservation on, whether a model came of it or "
                     "not. It stops counting if it ended before anything left (cancelled), or if it was "
                     "abandoned and its update can't be opened any more (refunded; not towards the "
                     "coordinator once an audit was answered).");
}

static void write_tally(struct cns_page *page, const char *name, const struct cns_budget_tally *t) {
  cns_page_fact(page, name,
                "%" PRIu64 " reserved; %" PRIu64 " of them charged, %" PRIu64 " cancelled; %" PRIu64
                " refunded after the charge",
                t->reserved, t->charged, t->cancelled, t->refunded);
}

static void write_attempts(struct cns_page *page, const struct cns_budget_view *view) {
  cns_page_facts(page, true);
  cns_page_fact(page, "Rounds with a model", "%" PRIu64 " of %u", view->rounds_done, view->site->plan.rounds);
  write_tally(page, "Attempts of this study", &view->study);
  if (view->role == CNS_KIT_HOSPITAL) write_tally(page, "Attempts of all studies on these data", &view->all);
  cns_page_facts(page, false);
}

/* ---- the limits ---- */

static const char *row_name(const struct cns_budget_row *row) {
  if (row->observer == CNS_LEDGER_COORDINATOR) return "the coordinator, this study";
  if (row->scope == CNS_LEDGER_ALL) return "readers, all studies on this hospital's data";
  return row->which == CNS_BUDGET_ROUND   ? "readers, one round"
         : row->which == CNS_BUDGET_MONTH ? "readers, the rounds of this month"
                                          : "readers, this study";
}

static void write_limits(struct cns_page *page, const struct cns_budget_view *view) {
  static const char *const head[] = {"Towards", "Delta", "Spent", "Limit", "Left", "Rounds left"};
  cns_page_table(page, head, 6);
  for (size_t k = 0; k < view->row_count; k++) {
    const struct cns_budget_row *row = &view->rows[k];
    bool limited = row->limit > 0;
    struct cns_epsilon_text spent = cns_epsilon_up(row->unprotected ? INFINITY : row->spent),
                            left = cns_epsilon_down(row->left);
    char delta[32], limit[32], rounds[32];
    snprintf(delta, sizeof delta, "%g", row->delta);
    snprintf(limit, sizeof limit, "%.6g", row->limit);
    snprintf(rounds, sizeof rounds, "%" PRIu64, row->rounds_left);
    const char *cells[] = {
        row_name(row),        delta, spent.text, limited ? limit : "none", limited ? left.text : "",
        limited ? rounds : ""};
    cns_page_row(page, cells, 6);
  }
  cns_page_table_end(page);
}

/* ---- the curve ---- */

struct column {
  const char *name;
  struct cns_budget_cost *costs;
  size_t count;
  double limit; /* at the policy's delta: where to look closely, as in cli/budget.c */
  bool unprotected;
};
#define COLUMNS_MAX 5

static double limit_of(const struct cns_budget_view *view, enum cns_ledger_scope scope,
                       enum cns_ledger_observer observer) {
  for (size_t k = 0; k < view->row_count; k++)
    if (view->rows[k].scope == scope && view->rows[k].observer == observer &&
        view->rows[k].which == CNS_BUDGET_TOTAL && view->rows[k].limit > 0)
      return view->rows[k].limit;
  return view->site->kit.policy.privacy.epsilon;
}

static int spent_column(const struct cns_budget_view *view, const char *name, enum cns_ledger_scope scope,
                        enum cns_ledger_observer observer, struct column *column,
                        struct cns_problem *problem) {
  *column = (struct column){.name = name, .limit = limit_of(view, scope, observer)};
  column->unprotected = view->next[observer].noise_multiplier <= 0;
  return cns_budget_view_costs(view, scope, observer, 0, &column->costs, &column->count, problem);
}

/* All rounds of the study, each once. */
static int planned_column(const struct cns_budget_view *view, const char *name,
                          enum cns_ledger_observer observer, struct column *column) {
  *column = (struct column){.name = name, .limit = limit_of(view, CNS_LEDGER_STUDY, observer), .count = 1};
  column->unprotected = view->next[observer].noise_multiplier <= 0;
  column->costs = malloc(sizeof *column->costs);
  if (!column->costs) return CNS_ERR_MEMORY;
  column->costs[0] = view->next[observer];
  column->costs[0].rounds = view->site->plan.rounds;
  column->costs[0].extra_delta *= view->site->plan.rounds * (1 + 0x1p-40);
  return 0;
}

static int epsilon_at(const struct cns_budget_view *view, const struct column *column, double delta,
                      double *ret_epsilon, struct cns_problem *problem) {
  const struct cns_policy_privacy *p = &view->site->kit.policy.privacy;
  const struct cns_budget_limits limits = {
      .epsilon = delta == p->delta ? column->limit : 0, .delta = delta, .relation = p->relation};
  const struct cns_budget_spent spent = {.total = column->costs, .total_count = column->count};
  *ret_epsilon = INFINITY;
  return column->unprotected ? 0 : cns_budget_spent(&limits, &spent, ret_epsilon, problem);
}

static int write_curve_row(struct cns_page *page, const struct cns_budget_view *view,
                           const struct column *columns, size_t count, double delta,
                           struct cns_problem *problem) {
  const char *cells[COLUMNS_MAX + 1];
  struct cns_epsilon_text texts[COLUMNS_MAX];
  char name[32];
  snprintf(name, sizeof name, "%g", delta);
  cells[0] = name;
  for (size_t k = 0; k < count; k++) {
    double epsilon = INFINITY;
    int r = epsilon_at(view, &columns[k], delta, &epsilon, problem);
    if (r) return r;
    texts[k] = cns_epsilon_up(epsilon);
    cells[k + 1] = texts[k].text;
  }
  cns_page_row(page, cells, count + 1);
  return 0;
}

/* Powers of ten, and the policy's own delta between them. */
static int write_curve_rows(struct cns_page *page, const struct cns_budget_view *view,
                            const struct column *columns, size_t count, struct cns_problem *problem) {
  static const double deltas[] = {1e-4, 1e-5, 1e-6, 1e-7, 1e-8};
  double own = view->site->kit.policy.privacy.delta, above = 1;
  int r = 0;
  for (size_t k = 0; k < sizeof deltas / sizeof *deltas && !r; k++) {
    if (own < above && own > deltas[k]) r = write_curve_row(page, view, columns, count, own, problem);
    if (!r) r = write_curve_row(page, view, columns, count, deltas[k], problem);
    above = deltas[k];
  }
  return !r && own < above ? write_curve_row(page, view, columns, count, own, problem) : r;
}

static int write_curve(struct cns_page *page, const struct cns_budget_view *view,
                       struct cns_problem *problem) {
  struct column columns[COLUMNS_MAX] = {0};
  const char *head[COLUMNS_MAX + 1] = {"Delta"};
  size_t count = 4;
  int r = spent_column(view, "Readers, so far", CNS_LEDGER_STUDY, CNS_LEDGER_READERS, &columns[0], problem);
  if (!r) r = planned_column(view, "Readers, whole study", CNS_LEDGER_READERS, &columns[1]);
  if (!r)
    r = spent_column(view, "Coordinator, so far", CNS_LEDGER_STUDY, CNS_LEDGER_COORDINATOR, &columns[2],
                     problem);
  if (!r) r = planned_column(view, "Coordinator, whole study", CNS_LEDGER_COORDINATOR, &columns[3]);
  if (!r && view->role == CNS_KIT_HOSPITAL)
    r = spent_column(view, "Readers, all studies on these data, so far", CNS_LEDGER_ALL, CNS_LEDGER_READERS,
                     &columns[count++], problem);
  for (size_t k = 0; k < count; k++)
    head[k + 1] = columns[k].name;
  if (!r) {
    cns_page_table(page, head, count + 1);
    r = write_curve_rows(page, view, columns, count, problem);
    cns_page_table_end(page);
  }
  for (size_t k = 0; k < COLUMNS_MAX; k++)
    free(columns[k].costs);
  return r;
}

int cns_statement_spent(struct cns_page *page, const struct cns_budget_view *view,
                        struct cns_problem *problem) {
  bool other_rounds = false;
  int r = others(view, &other_rounds, problem);
  if (r) return r;
  write_accountant(page);
  cns_page_heading(page, "What was spent");
  write_attempts(page, view);
  if (other_rounds)
    cns_page_paragraph(
        page, "Some rounds so far had another noise multiplier or sampling rate than the study has now: they "
              "count as they were, by the ledger (consilium budget ledger).");
  write_limits(page, view);
  if (view->rounds_to_come > 0 && view->rounds_left < view->rounds_to_come)
    cns_page_paragraph(page,
                       "The limits are enough for %" PRIu64 " of the %" PRIu64 " rounds to come; further "
                       "ones will not be run.",
                       view->rounds_left, view->rounds_to_come);
  cns_page_heading(page, "Epsilon at other deltas");
  cns_page_paragraph(
      page,
      "So far, and for all %u planned rounds with the present parameters, each run once; an "
      "attempt that is repeated costs again. Each row is a true statement about the same rounds.",
      view->site->plan.rounds);
  return write_curve(page, view, problem);
}
