/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a coordinator's or a hospital's privacy ledger says against the limits, for
 * `consilium budget` and `consilium status`. Only reads, also while the daemon runs.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdio.h>

#include "client/site.h"

/* One limit, or, with limit 0, an observer to whom none is set. */
struct cns_budget_row {
  enum cns_ledger_observer observer;
  enum cns_ledger_scope scope;
  enum cns_budget_limit which;
  double limit, delta;
  double spent;         /* of CNS_BUDGET_ROUND: what one more round costs; may be infinite */
  double left;          /* at least 0 */
  bool unprotected;     /* what this observer sees has no noise */
  size_t rounds;        /* attempts that count, each with its cost */
  uint64_t rounds_left; /* of those still to come; of a month's, if all fall into this one */
  double alert;         /* largest share of the limit at which to warn that was reached; 0: none */
};
#define CNS_BUDGET_ROWS_MAX (3 * CNS_LEDGER_LIMITS_MAX + 1)

/* How many attempts of rounds went which way; one that was charged was reserved before. */
struct cns_budget_tally {
  uint64_t reserved, charged, cancelled, refunded, released;
};

struct cns_budget_view {
  enum cns_kit_role role;
  const struct cns_site *site; /* of a coordinator: kit, plan and study only */
  struct cns_site own;         /* what site points to, after cns_budget_view_open */
  char *ledger_path;           /* NULL without noise, and so are all below */
  bool lost;                   /* the owner's key is there, and no ledger */
  struct cns_ledger *ledger;   /* NULL: nothing was spent */
  struct cns_identity_public owner;
  struct cns_ledger_entry last; /* sequence 0: no entry */
  struct cns_budget_tally study, all;
  uint64_t rounds_done, rounds_to_come;
  struct cns_budget_cost next[CNS_LEDGER_OBSERVERS]; /* what one more round costs */
  struct cns_budget_row rows[CNS_BUDGET_ROWS_MAX];
  size_t row_count;
  uint64_t rounds_left; /* of those to come, within all limits but a month's */
};

/* Fills *view, which must stay where it is, and be deinit'ed also on failure. Errors of
 * cns_kit_load, cns_ledger_open_readonly and the accountant; CNS_ERR_REFUSED if study
 * and policy disagree. */
CNS_MUST_CHECK int cns_budget_view_open(const char *kit_folder, struct cns_budget_view *view,
                                        struct cns_problem *problem);
/* The same of a kit that is open already, and outlives the view. */
CNS_MUST_CHECK int cns_budget_view_of(enum cns_kit_role role, const struct cns_site *site,
                                      struct cns_budget_view *view, struct cns_problem *problem);
void cns_budget_view_deinit(struct cns_budget_view *view); /* also fine on a zeroed struct */

bool cns_budget_view_counts(const struct cns_budget_view *view); /* is there noise, and so a ledger? */
/* What counts towards an observer; malloc'd, NULL if none. */
CNS_MUST_CHECK int cns_budget_view_costs(const struct cns_budget_view *view, enum cns_ledger_scope scope,
                                         enum cns_ledger_observer observer, uint32_t month,
                                         struct cns_budget_cost **ret_costs, size_t *ret_count,
                                         struct cns_problem *problem);

/* ---- budget_print.c ---- */

/* "3.142", never less than the value, or never more; "infinite". */
struct cns_epsilon_text {
  char text[24];
};
struct cns_epsilon_text cns_epsilon_up(double value);
struct cns_epsilon_text cns_epsilon_down(double value);

/* For `status`, under a policy with noise: half a sentence, or a member "budget". What is
 * wrong with the ledger is said there too, and keeps nobody from the rest. */
void cns_budget_status_print(enum cns_kit_role role, const struct cns_site *site, FILE *out);
CNS_MUST_CHECK int cns_budget_status_json(enum cns_kit_role role, const struct cns_site *site, cJSON *json);
void cns_budget_print(const struct cns_budget_view *view, FILE *out);
/* All of it; NULL if memory is short. */
cJSON *cns_budget_json(const struct cns_budget_view *view);
/* "readers" or "coordinator"; "study" or "data"; "total", "round" or "month". */
const char *cns_observer_name(enum cns_ledger_observer observer);
const char *cns_scope_name(enum cns_ledger_scope scope);
const char *cns_limit_name(enum cns_budget_limit which);
