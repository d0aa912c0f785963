/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgets: whether one more round is within what a policy allows. Arithmetic
 * only; what was spent is in store/ledger.h.
 *
 * Everything errs to one side. Epsilon is the upper end of the accountant's
 * interval (dp/dp.h), sums of deltas are rounded up, and what the accountant
 * can't answer is not allowed.
 *
 * Noise and sampling rate of a round must not depend on what earlier rounds
 * gave: composition of them is only covered then (cns_dp_filter_* otherwise).
 */
#pragma once

#include "dp/dp.h"

/* What rounds cost towards one observer. */
struct cns_budget_cost {
  double noise_multiplier; /* CNS_DP_NOISE_MIN..MAX; 0: no protection, epsilon is infinite */
  double sampling_rate;    /* CNS_DP_RATE_MIN..1 */
  uint64_t rounds;         /* 1..CNS_DP_ROUNDS_MAX, all with the same parameters */
  double extra_delta;      /* 0 up to below 1, of these rounds together: added to what the noise costs */
};
/* CNS_ERR_RANGE with a sentence. */
CNS_MUST_CHECK int cns_budget_check_cost(const struct cns_budget_cost *cost, struct cns_problem *problem);

/* Finite and at least 0; 0 is no such limit. delta is needed (CNS_DP_DELTA_MIN up
 * to below 1) as soon as there is one. */
struct cns_budget_limits {
  double epsilon;       /* of all rounds together */
  double delta;         /* at which each of the others is meant */
  double epsilon_round; /* of one round alone */
  double epsilon_month; /* of the rounds of one calendar month (UTC) together */
  enum cns_dp_relation relation;
  const char *subject; /* "the study", for sentences; NULL: "all rounds" */
};

/* What counts so far; the arrays may be NULL if their count is 0. */
struct cns_budget_spent {
  const struct cns_budget_cost *total;
  size_t total_count;
  const struct cns_budget_cost *month; /* those of the total that fall into the present month */
  size_t month_count;
};

enum cns_budget_limit { CNS_BUDGET_NONE = 0, CNS_BUDGET_TOTAL, CNS_BUDGET_ROUND, CNS_BUDGET_MONTH };

struct cns_budget_verdict {
  enum cns_budget_limit limit; /* the one that is exceeded; CNS_BUDGET_NONE if the round is allowed */
  /* Exceeded: of that limit, the sentence too. Allowed: epsilon_after and allowed
   * are those of the total, 0 without such a limit, and the others are 0; epsilon_after
   * is then a bound that may be a percent or two above cns_budget_epsilon's. */
  double epsilon_before, epsilon_after, allowed;
  char text[320]; /* "this round would bring the study from epsilon 2.91 to 3.04 at delta 1e-06; ..." */
};

/*
 * Epsilon of all costs together, at delta less the sum of their extra deltas. 0
 * for none; infinite if one has no noise or if the extra deltas leave nothing
 * of delta. Equal (noise, rate) are merged: up to CNS_DP_SEGMENTS_MAX kinds.
 * Errors of cns_dp_epsilon.
 */
CNS_MUST_CHECK int cns_budget_epsilon(const struct cns_budget_cost *costs, size_t count, double delta,
                                      enum cns_dp_relation relation, double *ret_epsilon,
                                      struct cns_problem *problem);

/* The same of what was spent, towards the total limit: narrower where it is near it, so
 * that rounds which were allowed don't look like too many. limits->delta is needed. */
CNS_MUST_CHECK int cns_budget_spent(const struct cns_budget_limits *limits,
                                    const struct cns_budget_spent *spent, double *ret_epsilon,
                                    struct cns_problem *problem);

/* 0: `next` may be run. CNS_BUDGET_EXCEEDED: it may not, the verdict says why.
 * Negative: neither may it, the accountant has no answer. */
#define CNS_BUDGET_EXCEEDED 1
CNS_MUST_CHECK int cns_budget_allows(const struct cns_budget_limits *limits,
                                     const struct cns_budget_spent *spent, const struct cns_budget_cost *next,
                                     struct cns_budget_verdict *ret_verdict, struct cns_problem *problem);

/* How many more times `next` is within all limits, `max` at the most, if all of
 * them fall into this month: that many are within and one more isn't. About
 * 2 log2 of the answer calls of the accountant. */
CNS_MUST_CHECK int cns_budget_rounds_left(const struct cns_budget_limits *limits,
                                          const struct cns_budget_spent *spent,
                                          const struct cns_budget_cost *next, uint64_t max,
                                          uint64_t *ret_rounds, struct cns_problem *problem);

/* The largest of these shares (0.5, 0.8, 0.95) of the total limit that was reached;
 * 0 if none was, or without such a limit. */
double cns_budget_alert(const struct cns_budget_limits *limits, double epsilon_spent, const double *alerts,
                        size_t count);
