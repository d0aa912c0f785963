/* SPDX-License-Identifier: Apache-2.0 */
#include "store/charge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int cns_charge_costs(const struct cns_descriptor *d, struct cns_budget_cost *ret_costs) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  if (d->noise_placement == CNS_NOISE_NONE) return CNS_ERR_ARGUMENT;
  int r = cns_descriptor_compute(d, weights, &mechanism, &numbers, NULL);
  if (r < 0) return r;
  struct cns_budget_cost cost = {.noise_multiplier = d->noise_multiplier,
                                 .sampling_rate = d->sampling_rate,
                                 .rounds = 1,
                                 .extra_delta = cns_mechanism_extra_delta(&mechanism)};
  ret_costs[CNS_LEDGER_READERS] = ret_costs[CNS_LEDGER_COORDINATOR] = cost;
  double *own = &ret_costs[CNS_LEDGER_COORDINATOR].noise_multiplier;
  if (d->noise_placement == CNS_NOISE_CENTRAL)
    *own = 0;
  else if (d->audit_level != CNS_AUDIT_NONE)
    *own = sqrt(numbers.sigma_local * numbers.sigma_local - 3) / (double)numbers.sensitivity * (1 - 0x1p-40);
  /* Less noise than the accountant knows is none. */
  if (*own < CNS_DP_NOISE_MIN) *own = 0;
  return 0;
}

int cns_charge_round(const struct cns_descriptor *d, const char *study_name,
                     const struct cns_digest *data_set, struct cns_ledger_round *ret_round) {
  struct cns_ledger_round round = {.study = d->study, .round = d->round, .attempt = d->attempt};
  int r = cns_charge_costs(d, round.costs);
  if (r == 0) r = cns_descriptor_digest(d, &round.descriptor);
  if (r < 0) return r;
  snprintf(round.study_name, sizeof round.study_name, "%s", study_name);
  if (data_set) round.data_set = *data_set;
  *ret_round = round;
  return 0;
}

size_t cns_charge_limits(const struct cns_policy *policy, const struct cns_charge_data_limit *data_set,
                         struct cns_ledger_limit *ret_limits) {
  const struct cns_policy_privacy *p = &policy->privacy;
  size_t count = 0;
  ret_limits[count++] = (struct cns_ledger_limit){.observer = CNS_LEDGER_READERS,
                                                  .scope = CNS_LEDGER_STUDY,
                                                  .limits = {.epsilon = p->epsilon,
                                                             .delta = p->delta,
                                                             .epsilon_round = p->epsilon_round,
                                                             .epsilon_month = p->epsilon_month,
                                                             .relation = p->relation}};
  if (p->epsilon_coordinator > 0)
    ret_limits[count++] = (struct cns_ledger_limit){
        .observer = CNS_LEDGER_COORDINATOR,
        .scope = CNS_LEDGER_STUDY,
        .limits = {.epsilon = p->epsilon_coordinator, .delta = p->delta, .relation = p->relation}};
  if (data_set) {
    bool own = data_set->epsilon > 0;
    ret_limits[count++] =
        (struct cns_ledger_limit){.observer = CNS_LEDGER_READERS,
                                  .scope = CNS_LEDGER_ALL,
                                  .limits = {.epsilon = own ? data_set->epsilon : p->epsilon,
                                             .delta = own ? data_set->delta : p->delta,
                                             .relation = p->relation}};
  }
  return count;
}

/* What counts towards a limit. */
struct counted {
  struct cns_budget_cost *total, *month;
  struct cns_budget_spent spent;
};

static void counted_deinit(struct counted *counted) {
  free(counted->total);
  free(counted->month);
}

/* The month only where it is limited. */
static int count(struct cns_ledger *ledger, const struct cns_digest *study,
                 const struct cns_ledger_limit *limit, int64_t now, struct counted *c,
                 struct cns_problem *problem) {
  const struct cns_digest *scope = limit->scope == CNS_LEDGER_STUDY ? study : NULL;
  *c = (struct counted){0};
  int r = cns_ledger_costs(ledger, scope, limit->observer, 0, &c->total, &c->spent.total_count, problem);
  if (r == 0 && limit->limits.epsilon_month > 0)
    r = cns_ledger_costs(ledger, scope, limit->observer, cns_ledger_month(now), &c->month,
                         &c->spent.month_count, problem);
  c->spent.total = c->total;
  c->spent.month = c->month;
  if (r < 0) counted_deinit(c);
  return r;
}

int cns_charge_standing(struct cns_ledger *ledger, const struct cns_digest *study,
                        const struct cns_ledger_limit *limit, const struct cns_policy *policy,
                        const struct cns_budget_cost *next, uint64_t max, int64_t now,
                        struct cns_charge_standing *ret_standing, struct cns_problem *problem) {
  struct counted c;
  struct cns_charge_standing s = {.limit = limit->limits.epsilon, .delta = limit->limits.delta};
  int r = count(ledger, study, limit, now, &c, problem);
  if (r < 0) return r;
  s.rounds = c.spent.total_count;
  r = cns_budget_spent(&limit->limits, &c.spent, &s.spent, problem);
  if (r == 0 && next)
    r = cns_budget_rounds_left(&limit->limits, &c.spent, next, max, &s.rounds_left, problem);
  if (r == 0)
    s.alert = cns_budget_alert(&limit->limits, s.spent, policy->privacy.alerts, policy->privacy.alert_count);
  counted_deinit(&c);
  if (r == 0) *ret_standing = s;
  return r;
}

/* What one hospital's share is worth where it is worth least, without the descriptor:
 * ((z S)^2 + 3)/shares is at least sigma_local^2 but for roundings, and the share counts
 * as sigma_local^2 - 3; sigma_local is at least the least allowed, and in unit patient
 * S at least sqrt(dim). */
static double least_share(const struct cns_policy *policy, double noise_multiplier, uint64_t dim) {
  double shares = (double)policy->minimum_included - policy->colluders;
  double share = noise_multiplier / sqrt(shares);
  double variance = CNS_MECHANISM_SIGMA_MIN * CNS_MECHANISM_SIGMA_MIN;
  if (policy->unit == CNS_UNIT_PATIENT) variance = fmax(variance, share * share * (double)dim);
  return share * sqrt(1 - 3 / variance) * (1 - 0x1p-20);
}

int cns_charge_expected(const struct cns_policy *policy, double noise_multiplier, double sampling_rate,
                        uint64_t dim, struct cns_budget_cost *ret_costs) {
  if (policy->noise_placement == CNS_NOISE_NONE) return CNS_ERR_ARGUMENT;
  const struct cns_mechanism largest = {
      .placement = CNS_NOISE_DISTRIBUTED, .dim = dim, .count = CNS_HOSPITALS_MAX};
  struct cns_budget_cost cost = {.noise_multiplier = noise_multiplier,
                                 .sampling_rate = sampling_rate,
                                 .rounds = 1,
                                 .extra_delta = cns_mechanism_extra_delta(&largest)};
  ret_costs[CNS_LEDGER_READERS] = ret_costs[CNS_LEDGER_COORDINATOR] = cost;
  double *own = &ret_costs[CNS_LEDGER_COORDINATOR].noise_multiplier;
  if (policy->noise_placement == CNS_NOISE_CENTRAL)
    *own = 0;
  else if (policy->audit_level != CNS_AUDIT_NONE)
    *own = least_share(policy, noise_multiplier, dim);
  if (*own < CNS_DP_NOISE_MIN) *own = 0;
  return 0;
}

int cns_charge_cancel(struct cns_ledger *ledger, const struct cns_digest *round, int64_t now,
                      struct cns_problem *problem) {
  enum cns_ledger_kind state;
  int r = cns_ledger_state(ledger, round, &state, problem);
  return r == 0 && state == CNS_LEDGER_RESERVED ? cns_ledger_cancel(ledger, round, now, problem) : r;
}

int cns_charge_refund(struct cns_ledger *ledger, const struct cns_descriptor *d,
                      const struct cns_digest *round, int64_t now, struct cns_problem *problem) {
  enum cns_ledger_kind state;
  uint8_t observers =
      d->audit_level == CNS_AUDIT_NONE ? CNS_LEDGER_EVERYONE : CNS_LEDGER_BIT(CNS_LEDGER_READERS);
  int r = cns_ledger_state(ledger, round, &state, problem);
  return r == 0 && state == CNS_LEDGER_CHARGED ? cns_ledger_refund(ledger, round, observers, now, problem)
                                               : r;
}

int cns_charge_cancel_stale(struct cns_ledger *ledger, const struct cns_digest *study,
                            const struct cns_digest *running, int64_t now, struct cns_problem *problem) {
  struct cns_digest *reserved = NULL;
  size_t count = 0;
  int r = cns_ledger_reserved(ledger, study, &reserved, &count, problem);
  for (size_t k = 0; r == 0 && k < count; k++)
    if (!running || !cns_digest_equal(&reserved[k], running))
      r = cns_charge_cancel(ledger, &reserved[k], now, problem);
  free(reserved);
  return r;
}

/* *ret_spent is not touched if one more round is within the limit. */
static int find_spent(struct cns_ledger *ledger, const struct cns_digest *study,
                      const struct cns_ledger_limit *limit, const struct cns_budget_cost *next, int64_t now,
                      bool *ret_spent, struct cns_problem *ret_sentence, struct cns_problem *problem) {
  struct counted c;
  uint64_t left = 0;
  double spent = 0;
  int r = count(ledger, study, limit, now, &c, problem);
  if (r < 0) return r;
  r = cns_budget_rounds_left(&limit->limits, &c.spent, next, 1, &left, problem);
  if (r == 0 && left == 0) r = cns_budget_spent(&limit->limits, &c.spent, &spent, problem);
  counted_deinit(&c);
  if (r < 0 || left > 0) return r;
  *ret_spent = true;
  cns_problem_set(ret_sentence, CNS_ERR_BUDGET,
                  "the privacy budget of %s%s is spent: epsilon %.4g of %.4g at delta %g, and one more round "
                  "isn't within it",
                  limit->scope == CNS_LEDGER_ALL ? "the data set" : "the study",
                  limit->observer == CNS_LEDGER_COORDINATOR ? " towards the coordinator" : "", spent,
                  limit->limits.epsilon, limit->limits.delta);
  return 0;
}

int cns_charge_is_spent(struct cns_ledger *ledger, const struct cns_digest *study,
                        const struct cns_ledger_limit *limits, size_t limit_count,
                        const struct cns_policy *policy, const struct cns_plan *plan, int64_t now,
                        bool *ret_spent, struct cns_problem *ret_sentence, struct cns_problem *problem) {
  struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
  bool spent = false;
  int r = cns_charge_expected(policy, plan->noise_multiplier, plan->sampling_rate, cns_plan_update_dim(plan),
                              costs);
  if (r < 0)
    return cns_problem_set(problem, r, "what a round costs can't be computed (%s)", cns_error_name(r));
  for (size_t k = 0; r == 0 && !spent && k < limit_count; k++) {
    struct cns_ledger_limit limit = limits[k];
    limit.limits.epsilon_month = 0; /* a month that is used up is waited for */
    r = find_spent(ledger, study, &limit, &costs[limit.observer], now, &spent, ret_sentence, problem);
  }
  if (r == 0) *ret_spent = spent;
  return r;
}

bool cns_charge_alert(const struct cns_charge_standing *standing, double *said,
                      struct cns_problem *ret_sentence) {
  if (standing->alert <= *said) return false;
  *said = standing->alert;
  cns_problem_set(ret_sentence, 0,
                  "%g %% of the study's privacy budget is spent: epsilon %.4g of %.4g at delta %g",
                  100 * standing->alert, standing->spent, standing->limit, standing->delta);
  return true;
}
