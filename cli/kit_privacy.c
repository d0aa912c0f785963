/* SPDX-License-Identifier: Apache-2.0 */
/* The privacy budget of a new policy, checked against the study it is for. */
#include <inttypes.h>

#include "cli/kit.h"
#include "store/charge.h"
#include "store/kit.h"

/* By the limits of the study alone: what else is spent on the data isn't known here. */
static int count_rounds(const struct cns_policy *policy, const struct cns_plan *plan, uint64_t *ret_rounds,
                        struct cns_problem *problem) {
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
  const struct cns_budget_spent nothing = {0};
  size_t count = cns_charge_limits(policy, NULL, limits);
  int r = cns_charge_expected(policy, plan->noise_multiplier, plan->sampling_rate, cns_plan_update_dim(plan),
                              costs);
  *ret_rounds = plan->rounds;
  for (size_t k = 0; k < count && !r; k++) {
    uint64_t left = 0;
    r = cns_budget_rounds_left(&limits[k].limits, &nothing, &costs[limits[k].observer], plan->rounds, &left,
                               problem);
    if (!r && left < *ret_rounds) *ret_rounds = left;
  }
  return r;
}

int cns_kit_add_privacy(struct cns_policy *policy, const struct cns_plan *plan,
                        const struct cns_privacy_choice *choice, uint64_t *ret_rounds,
                        struct cns_problem *problem) {
  uint64_t rounds = plan->rounds;
  if (choice->epsilon > 0) {
    cns_policy_set_privacy(policy, choice->unit, choice->placement, choice->epsilon, choice->delta);
    policy->metrics_noised = plan->noised_metrics.share > 0;
    if (plan->noise_multiplier > 0) policy->privacy.multiplier_min = plan->noise_multiplier;
    if (plan->sampling_rate > 0) policy->privacy.rate_max = plan->sampling_rate;
    if (choice->minimum_included) policy->minimum_included = choice->minimum_included;
    if (policy->minimum_included > policy->minimum_cohort) policy->minimum_cohort = policy->minimum_included;
  }
  if (plan->kind == CNS_MODEL_EXTERNAL) policy->metrics = false;
  int r = cns_kit_check_study(policy, plan, problem);
  if (!r) r = cns_policy_check(policy, problem);
  if (!r && choice->epsilon > 0) r = count_rounds(policy, plan, &rounds, problem);
  if (!r && rounds == 0)
    r = cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "a budget of epsilon %g at delta %g doesn't allow a single round with the study's noise "
        "multiplier %g and sampling rate %g; `consilium dp calibrate` finds the noise for a budget",
        choice->epsilon, choice->delta, plan->noise_multiplier, plan->sampling_rate);
  if (!r && ret_rounds) *ret_rounds = rounds;
  return r;
}
