/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital refuses in a descriptor, rule by rule. docs/protocol.md, "Parties" and "Numbers". */
#include <inttypes.h>

#include "protocol/audit.h"

#define REFUSE(...) return cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)

static unsigned max3(unsigned a, unsigned b, unsigned c) {
  unsigned m = a > b ? a : b;
  return m > c ? m : c;
}

static int check_digests(const struct cns_descriptor *d, const struct cns_expectation *e,
                         struct cns_problem *problem) {
  if (!cns_digest_equal(&d->study, &e->study)) REFUSE("the round belongs to another study than ours");
  if (!cns_digest_equal(&d->plan, &e->plan))
    REFUSE("the round follows another study file than the one consented to here");
  if (!cns_digest_equal(&d->roster, &e->roster->digest))
    REFUSE("the round was made under another roster than ours (version %" PRIu64 ")", e->roster->version);
  if (!cns_digest_equal(&d->policy, &e->policy->digest))
    REFUSE("the round was made under another policy than ours (version %" PRIu64 ")", e->policy->version);
  if (!cns_digest_equal(&d->parent, &e->parent))
    REFUSE("the round starts from another model than the last one accepted here");
  return 0;
}

static int check_numbers(const struct cns_descriptor *d, const struct cns_expectation *e,
                         struct cns_problem *problem) {
  if (d->round != e->round)
    REFUSE("round %" PRIu64 " was announced, but the next round after the accepted model is %" PRIu64,
           d->round, e->round);
  if (d->round < e->last_round || (d->round == e->last_round && d->attempt <= e->last_attempt))
    REFUSE("round %" PRIu64 " attempt %u is not newer than round %" PRIu64
           " attempt %u, which was signed here before",
           d->round, d->attempt, e->last_round, e->last_attempt);
  if (d->dim != e->dim || d->metrics_dim != e->metrics_dim)
    REFUSE("the round asks for %" PRIu64 " parameters and %u metrics, the study has %" PRIu64 " and %u",
           d->dim, d->metrics_dim, e->dim, e->metrics_dim);
  if (d->clip_norm > e->policy->clip_norm_max || d->clip_norm != e->clip_norm)
    REFUSE("the round's clip norm is %.10g; %s %.10g and the policy allows %g at the most", d->clip_norm,
           e->indicator_share > 0 ? "from the study and the result before it follows" : "the study says",
           e->clip_norm, e->policy->clip_norm_max);
  if (d->bits != 32)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%u-bit values are reserved; only 32 are offered",
                           d->bits);
  return 0;
}

/* Under a policy with an audit. docs/protocol.md, "Sketch budget". */
static int check_unaudited(const struct cns_descriptor *d, const struct cns_expectation *e,
                           struct cns_problem *problem) {
  if (e->policy->when_spent == CNS_SPENT_STOP)
    REFUSE("the round is not audited, and the policy allows no round without an audit");
  if (e->audited_parent)
    REFUSE("an audited attempt was made on this model: an unaudited one may not follow as a fallback");
  if (d->sketch != 0) REFUSE("a sketch of %u numbers without an audit", d->sketch);
  return 0;
}

static int check_audited(const struct cns_descriptor *d, const struct cns_expectation *e,
                         struct cns_problem *problem) {
  uint64_t params = e->params > 0 && e->params < d->dim ? e->params : d->dim;
  uint64_t budget = cns_policy_sketch_budget(e->policy, params);
  if (d->sketch != e->policy->sketch || !cns_sketch_size_valid(d->sketch))
    REFUSE("the round's sketch has %u numbers, the policy says %u", d->sketch, e->policy->sketch);
  if (params < CNS_AUDIT_DIM_MIN || params / CNS_SKETCH_WORDS_PER_NUMBER < d->sketch)
    REFUSE("a sketch of %u numbers would say too much of %" PRIu64
           " parameters: an audit needs at least %u of "
           "them for each number, and %u; without an audit the policy must say \"none\"",
           d->sketch, params, CNS_SKETCH_WORDS_PER_NUMBER, CNS_AUDIT_DIM_MIN);
  if (e->sketch_spent > budget || budget - e->sketch_spent < d->sketch)
    REFUSE("this hospital has revealed %" PRIu64 " of the %" PRIu64
           " numbers that the policy's sketch budget allows in this study; the round asks for %u more",
           e->sketch_spent, budget, d->sketch);
  if (cns_audit_answer_bytes(d->member_count, d->sketch) > CNS_ANSWER_BYTES_MAX)
    REFUSE(
        "sketches of %u numbers from %u hospitals don't fit into an answer of %u bytes: a smaller sketch or "
        "a smaller cohort is needed",
        d->sketch, d->member_count, CNS_ANSWER_BYTES_MAX);
  return 0;
}

static int check_audit(const struct cns_descriptor *d, const struct cns_expectation *e,
                       struct cns_problem *problem) {
  if (d->audit_level != CNS_AUDIT_NONE && d->audit_level != e->policy->audit_level)
    REFUSE("the round's audit level is %u, the policy's is %u", d->audit_level, e->policy->audit_level);
  if (d->audit_level != CNS_AUDIT_NONE && d->audit_level != CNS_AUDIT_OPEN)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "audit level %u is reserved; this version offers none and open", d->audit_level);
  if (d->audit_level == CNS_AUDIT_OPEN) return check_audited(d, e, problem);
  if (e->policy->audit_level != CNS_AUDIT_NONE) return check_unaudited(d, e, problem);
  if (d->sketch != 0) REFUSE("a sketch of %u numbers without an audit", d->sketch);
  return 0;
}

/* One over the number of units: a larger delta would allow to publish one of them. */
static int check_delta(const struct cns_descriptor *d, const struct cns_expectation *e,
                       struct cns_problem *problem) {
  uint64_t units = 0;
  if (e->policy->privacy.large_delta) return 0;
  for (size_t k = 0; k < d->member_count; k++)
    units += d->unit == CNS_UNIT_PATIENT ? d->members[k].weight : 1;
  if (e->policy->privacy.delta * (double)units > 1)
    REFUSE(
        "the policy's delta is %g, above 1/%" PRIu64
        ", one over the number of %ss in the round: such a budget "
        "could be kept by publishing one of them; a smaller delta, or a policy with large_delta, is needed",
        e->policy->privacy.delta, units, d->unit == CNS_UNIT_PATIENT ? "patient" : "hospital");
  return 0;
}

static int check_noise(const struct cns_descriptor *d, const struct cns_expectation *e,
                       struct cns_problem *problem) {
  const struct cns_policy *policy = e->policy;
  if (d->noise_placement != policy->noise_placement || d->unit != policy->unit)
    REFUSE("the round's unit and noise placement are %u and %u, the policy's are %u and %u", d->unit,
           d->noise_placement, policy->unit, policy->noise_placement);
  if (d->noise_multiplier != e->noise_multiplier || d->sampling_rate != e->sampling_rate)
    REFUSE("the round's noise multiplier is %g and its sampling rate %g; the study says %g and %g",
           d->noise_multiplier, d->sampling_rate, e->noise_multiplier, e->sampling_rate);
  if (policy->noise_placement == CNS_NOISE_NONE) {
    if (d->noise_multiplier != 0 || d->sampling_rate != 0)
      REFUSE(
          "the study asks for noise or sampling, but the policy's noise is \"none\": a policy with a budget "
          "is needed");
    return 0;
  }
  if (d->noise_multiplier < policy->privacy.multiplier_min || d->sampling_rate > policy->privacy.rate_max)
    REFUSE(
        "the round's noise multiplier is %g and its sampling rate %g; the policy allows no multiplier below "
        "%g and no rate above %g",
        d->noise_multiplier, d->sampling_rate, policy->privacy.multiplier_min, policy->privacy.rate_max);
  if (d->unit == CNS_UNIT_HOSPITAL && d->sampling_rate != 1)
    REFUSE("the sampling rate is %g, but in unit hospital every hospital takes part: it must be 1",
           d->sampling_rate);
  return check_delta(d, e, problem);
}

/* docs/protocol.md, "Adaptive clip norm". */
static int check_indicator(const struct cns_descriptor *d, const struct cns_expectation *e,
                           struct cns_problem *problem) {
  if (d->indicator_share != e->indicator_share)
    REFUSE("of the round's noise a share of %g is for the indicator of an adaptive clip norm; the study says "
           "%g",
           d->indicator_share, e->indicator_share);
  if (d->indicator_share > 0 && (d->unit != CNS_UNIT_PATIENT || d->audit_level != CNS_AUDIT_NONE))
    REFUSE("the clip norm is adaptive, which is offered in unit patient and without an audit only");
  return 0;
}

/* docs/protocol.md, "Noised metrics". */
static int check_noised_metrics(const struct cns_descriptor *d, const struct cns_expectation *e,
                                struct cns_problem *problem) {
  if (d->metrics_share != e->metrics_share)
    REFUSE("of the round's noise a share of %g is for metrics; the study says %g", d->metrics_share,
           e->metrics_share);
  if ((d->metrics_share > 0) != e->policy->metrics_noised)
    REFUSE("the round %s noised metrics, and the policy's metrics are %s",
           d->metrics_share > 0 ? "has" : "is without", e->policy->metrics_noised ? "\"noised\"" : "others");
  if (d->metrics_share > 0 && (d->unit != CNS_UNIT_PATIENT || d->audit_level != CNS_AUDIT_NONE))
    REFUSE("the round has noised metrics, which are offered in unit patient and without an audit only");
  return 0;
}

static int check_levels(const struct cns_descriptor *d, const struct cns_expectation *e,
                        struct cns_problem *problem) {
  int r = check_noise(d, e, problem);
  if (r == 0) r = check_indicator(d, e, problem);
  if (r == 0) r = check_noised_metrics(d, e, problem);
  return r ? r : check_audit(d, e, problem);
}

static int check_sizes(const struct cns_descriptor *d, const struct cns_expectation *e,
                       struct cns_problem *problem) {
  const struct cns_policy *policy = e->policy;
  unsigned c = policy->colluders;
  if (d->colluders != c) REFUSE("the round tolerates %u colluders, the policy says %u", d->colluders, c);
  unsigned n_min = max3(policy->minimum_cohort, max3(4, 3 * c + 1, 0), e->floor.cohort);
  if (d->member_count < n_min)
    REFUSE("the cohort has %u hospitals; at least %u are required (policy %u, own floor %u, 3c+1 = %u)",
           d->member_count, n_min, policy->minimum_cohort, e->floor.cohort, 3 * c + 1);
  unsigned t = cns_policy_threshold(d->member_count, policy->colluders);
  if (d->threshold != t)
    REFUSE("the threshold is %u; for %u hospitals and %u colluders it must be %u", d->threshold,
           d->member_count, c, t);
  if (d->threshold < e->floor.threshold)
    REFUSE("the threshold is %u, below this hospital's own floor of %u", d->threshold, e->floor.threshold);
  unsigned u_min = max3(policy->minimum_included, c + 2, e->floor.included);
  if (d->minimum_included < u_min)
    REFUSE("the round would publish a sum of %u updates; at least %u are required (policy %u, own floor %u, "
           "c+2 = %u)",
           d->minimum_included, u_min, policy->minimum_included, e->floor.included, c + 2);
  /* Shares of the noise are sized for the smallest sum: behind a sketch there is one alone. */
  if (d->noise_placement == CNS_NOISE_DISTRIBUTED && d->audit_level != CNS_AUDIT_NONE &&
      d->minimum_included > u_min)
    REFUSE("the round's smallest sum is of %u updates, and so each share of the noise is for so many; in an "
           "audited "
           "round it must be %u",
           d->minimum_included, u_min);
  if (d->minimum_included > d->member_count)
    REFUSE("the round needs %u included of a cohort of %u", d->minimum_included, d->member_count);
  return 0;
}

static int check_members(const struct cns_descriptor *d, const struct cns_expectation *e,
                         struct cns_problem *problem) {
  for (size_t k = 0; k < d->member_count; k++) {
    const struct cns_member *member = &d->members[k];
    const struct cns_roster_hospital *hospital = cns_roster_find(e->roster, member->index);
    if (!hospital) REFUSE("the cohort names hospital %u, which is not in the roster", member->index);
    if (hospital->revoked) REFUSE("the cohort names hospital %s, which the roster revokes", hospital->name);
    if (member->weight > e->policy->weight_cap)
      REFUSE("hospital %s has weight %u, above the policy's cap of %u", hospital->name, member->weight,
             e->policy->weight_cap);
    if (e->policy->weights_mode == CNS_WEIGHTS_EQUAL && member->weight != 1)
      REFUSE("hospital %s has weight %u, but the policy says equal weights", hospital->name, member->weight);
  }
  if (e->index == 0) return 0;
  int position = cns_descriptor_position(d, e->index);
  if (position < 0) REFUSE("this hospital (index %u) is not in the cohort", e->index);
  if (d->members[position].weight != e->own_weight)
    REFUSE("this hospital's weight in the round is %u, the one it declared is %u",
           d->members[position].weight, e->own_weight);
  return 0;
}

/* A finer step could wrap; a coarser one would round the updates away. */
static int check_scale(const struct cns_descriptor *d, struct cns_problem *problem) {
  struct cns_descriptor finest = *d; /* members shared, only read */
  struct cns_mechanism_numbers numbers;
  int r = cns_descriptor_numbers(d, &numbers, problem);
  if (r == CNS_ERR_RANGE)
    return cns_problem_prefix(problem, CNS_ERR_REFUSED,
                              "the round's step could wrap, or is too coarse for its noise");
  if (r == 0) r = cns_descriptor_choose_scale(&finest, problem);
  if (r < 0) return r;
  if (d->scale_log2 != finest.scale_log2)
    REFUSE("the round's step is 2^%d; for its clip norm, cohort, weights and noise it must be 2^%d",
           -d->scale_log2, -finest.scale_log2);
  return 0;
}

int cns_descriptor_check(const struct cns_descriptor *d, const struct cns_expectation *e,
                         struct cns_problem *problem) {
  int (*const rules[])(const struct cns_descriptor *, const struct cns_expectation *,
                       struct cns_problem *) = {
      check_digests, check_numbers, check_levels, check_sizes, check_members,
  };
  int r = 0;
  for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
    r = rules[k](d, e, problem);
    if (r < 0) return r;
  }
  return check_scale(d, problem);
}
