/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "dp/accountant.h"
#include "dp/rdp.h"

/* What a divergence of this order may be at most for (epsilon, delta); 0 if nothing. */
static double budget_at(double order, double epsilon, double log_delta) {
  return fmax(0, epsilon - log1p(-1 / order) + (log_delta + log(order)) / (order - 1));
}

/* The order at which most rounds as expected fit the budget. */
static int choose_order(struct cns_dp_filter *filter, const struct cns_dp_segment *expected) {
  double best = 0, log_delta = log(filter->delta);
  for (double order = 1.05; order <= 4096; order *= 1.02) {
    double rdp, budget = budget_at(order, filter->epsilon, log_delta);
    if (budget <= 0) continue;
    int r = cns_rdp_round(expected, filter->relation, order, &rdp);
    if (r == CNS_ERR_RANGE) continue;
    if (r < 0) return r;
    if (budget / fmax(rdp, 1e-300) <= best) continue;
    best = budget / fmax(rdp, 1e-300);
    filter->order = order;
    filter->budget = budget;
  }
  return 0;
}

static int rdp_of_rho(const void *context, double order, double *ret_rdp) {
  *ret_rdp = *(const double *)context * order;
  return 0;
}

/* The largest rho whose epsilon stays within; concentrated budgets hold at all orders at once. */
static int choose_rho(struct cns_dp_filter *filter) {
  double low = 0, high = filter->epsilon;
  for (int i = 0; i < 60; i++) {
    double rho = (low + high) / 2, epsilon;
    struct cns_rdp_curve curve = {rdp_of_rho, &rho};
    int r = cns_rdp_best(&curve, false, log(filter->delta), &epsilon, NULL);
    if (r < 0) return r;
    if (epsilon <= filter->epsilon)
      low = rho;
    else
      high = rho;
  }
  filter->budget = low;
  return 0;
}

int cns_dp_filter_init(enum cns_dp_filter_kind kind, double epsilon, double delta,
                       enum cns_dp_relation relation, const struct cns_dp_segment *expected,
                       struct cns_dp_filter *ret_filter, struct cns_problem *problem) {
  struct cns_dp_filter filter = {.kind = kind, .relation = relation, .epsilon = epsilon, .delta = delta};
  int r = cns_dp_check_number(epsilon, 1e-6, CNS_DP_EPSILON_MAX, "epsilon", problem);
  if (r == 0) r = cns_dp_check_delta(delta, problem);
  if (r == 0 && kind == CNS_DP_FILTER_RDP) r = cns_dp_check_segment(expected, problem);
  if (r < 0) return r;
  r = kind == CNS_DP_FILTER_RDP ? choose_order(&filter, expected) : choose_rho(&filter);
  if (r < 0) return cns_dp_fail(r, problem);
  *ret_filter = filter;
  return 0;
}

/* Cost of one round in the filter's currency. */
static int cost(const struct cns_dp_filter *filter, const struct cns_dp_segment *rounds, double *ret_cost,
                struct cns_problem *problem) {
  if (filter->kind == CNS_DP_FILTER_RDP) {
    int r = cns_rdp_round(rounds, filter->relation, filter->order, ret_cost);
    return r < 0 ? cns_dp_fail(r, problem) : 0;
  }
  if (rounds->sampling_rate != 1)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "a concentrated filter takes rounds without sampling only; use an RDP filter");
  double sensitivity = filter->relation == CNS_DP_REPLACE_ONE ? 2 : 1;
  *ret_cost = pow(sensitivity / rounds->noise_multiplier, 2) / 2;
  return 0;
}

int cns_dp_filter_spend(struct cns_dp_filter *filter, const struct cns_dp_segment *rounds,
                        struct cns_problem *problem) {
  double one;
  int r = cns_dp_check_segment(rounds, problem);
  /* A filter that was stored and read again may hold anything. */
  if (r == 0) r = cns_dp_check_number(filter->spent, 0, 1e300, "filter's spent part", problem);
  if (r == 0 && filter->kind == CNS_DP_FILTER_RDP && filter->budget > 0)
    r = cns_dp_check_number(filter->order, CNS_DP_ORDER_MIN, CNS_DP_ORDER_MAX, "filter's order", problem);
  if (r < 0) return r;
  if (!(filter->budget > 0)) return CNS_DP_FILTER_FULL;
  r = cost(filter, rounds, &one, problem);
  if (r < 0) return r;
  /* Rounded up, so that many small charges don't slip through. */
  double spent = (filter->spent + (double)rounds->rounds * one * (1 + 1e-9)) * (1 + 0x1p-50);
  if (!(spent <= filter->budget)) return CNS_DP_FILTER_FULL;
  filter->spent = spent;
  return 0;
}
