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
  cns_descriptor_mechanism(d, weights, &mechanism);
  int r = cns_mechanism_compute(&mechanism, &numbers, NULL);
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

static int standing_of(const struct cns_ledger_limit *limit, const struct cns_policy *policy,
                       const struct cns_budget_spent *spent, const struct cns_budget_cost *next, uint64_t max,
                       struct cns_charge_standing *s, struct cns_problem *problem) {
  s->limit = limit->limits.epsilon;
  s->delta = limit->limits.delta;
  s->rounds = spent->total_count;
  int r = cns_budget_spent(&limit->limits, spent, &s->spent, problem);
  if (r == 0 && next) r = cns_budget_rounds_left(&limit->limits, spent, next, max, &s->rounds_left, problem);
  if (r == 0)
    s->alert =
        cns_budget_alert(&limit->limits, s->spent, policy->privacy.alerts, policy->privacy.alert_count);
  return r;
}

int cns_charge_standing(struct cns_ledger *ledger, const struct cns_digest *study,
                        const struct cns_ledger_limit *limit, const struct cns_policy *policy,
                        const struct cns_budget_cost *next, uint64_t max, int64_t now,
                        struct cns_charge_standing *ret_standing, struct cns_problem *problem) {
  struct cns_budget_cost *total = NULL, *month = NULL;
  struct cns_budget_spent spent = {0};
  struct cns_charge_standing standing = {0};
  const struct cns_digest *scope = limit->scope == CNS_LEDGER_STUDY ? study : NULL;
  int r = cns_ledger_costs(ledger, scope, limit->observer, 0, &total, &spent.total_count, problem);
  if (r == 0)
    r = cns_ledger_costs(ledger, scope, limit->observer, cns_ledger_month(now), &month, &spent.month_count,
                         problem);
  spent.total = total;
  spent.month = month;
  if (r == 0) r = standing_of(limit, policy, &spent, next, max, &standing, problem);
  free(total);
  free(month);
  if (r == 0) *ret_standing = standing;
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

struct reserved {
  const struct cns_digest *study;
  struct cns_digest *rounds;
  size_t count;
};

static int collect(void *context, const struct cns_ledger_entry *entry) {
  struct reserved *found = context;
  if (entry->kind != CNS_LEDGER_RESERVED || !cns_digest_equal(&entry->round.study, found->study)) return 0;
  struct cns_digest *more = realloc(found->rounds, (found->count + 1) * sizeof *more);
  if (!more) return CNS_ERR_MEMORY;
  found->rounds = more;
  more[found->count++] = entry->round.descriptor;
  return 0;
}

int cns_charge_cancel_stale(struct cns_ledger *ledger, const struct cns_digest *study,
                            const struct cns_digest *running, int64_t now, struct cns_problem *problem) {
  struct reserved found = {.study = study};
  int r = cns_ledger_entries(ledger, 1, collect, &found, problem);
  for (size_t k = 0; r == 0 && k < found.count; k++) {
    enum cns_ledger_kind state = CNS_LEDGER_CHARGED;
    if (running && cns_digest_equal(&found.rounds[k], running)) continue;
    r = cns_ledger_state(ledger, &found.rounds[k], &state, problem);
    if (r == 0 && state == CNS_LEDGER_RESERVED) r = cns_ledger_cancel(ledger, &found.rounds[k], now, problem);
  }
  free(found.rounds);
  return r;
}

int cns_charge_is_spent(struct cns_ledger *ledger, const struct cns_digest *study,
                        const struct cns_ledger_limit *limits, size_t count, const struct cns_policy *policy,
                        const struct cns_budget_cost *costs, int64_t now, bool *ret_spent,
                        struct cns_problem *ret_sentence, struct cns_problem *problem) {
  for (size_t k = 0; k < count; k++) {
    struct cns_charge_standing standing;
    struct cns_ledger_limit limit = limits[k];
    limit.limits.epsilon_month = 0; /* a month that is used up is waited for */
    int r = cns_charge_standing(ledger, study, &limit, policy, &costs[limit.observer], 1, now, &standing,
                                problem);
    if (r < 0) return r;
    if (standing.rounds_left > 0) continue;
    *ret_spent = true;
    cns_problem_set(
        ret_sentence, CNS_ERR_BUDGET,
        "the privacy budget of %s%s is spent: epsilon %.4g of %.4g at delta %g, and one more round "
        "isn't within it",
        limits[k].scope == CNS_LEDGER_ALL ? "the data set" : "the study",
        limits[k].observer == CNS_LEDGER_COORDINATOR ? " towards the coordinator" : "", standing.spent,
        standing.limit, standing.delta);
    return 0;
  }
  *ret_spent = false;
  return 0;
}
