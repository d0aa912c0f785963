/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <time.h>

#include "client/agent_internal.h"

static int check_time(const struct cns_kit *kit, struct cns_problem *problem) {
  int64_t now = (int64_t)time(NULL);
  int r = cns_roster_check_time(&kit->roster, now, problem);
  return r ? r : cns_policy_check_time(&kit->policy, now, problem);
}

/* As many audits of one parent model as updates, and those are never refunded. */
static int check_audits(const struct cns_site *site, const struct cns_descriptor *descriptor,
                        struct cns_problem *problem) {
  struct cns_audit_record record;
  if (descriptor->audit_level == CNS_AUDIT_NONE) return 0;
  int r = cns_hospital_store_audits(site->store, &site->study, &descriptor->parent, &record, problem);
  if (r) return r;
  if (record.answered < site->kit.policy.attempts_per_parent) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "%" PRIu64 " updates of this model were already audited here, and the policy allows "
                         "%u: what was revealed stays revealed, whatever became of those rounds",
                         record.answered, site->kit.policy.attempts_per_parent);
}

int cns_agent_guard_round(struct cns_agent *agent, const struct cns_descriptor *descriptor,
                          struct cns_problem *problem) {
  const struct cns_site *site = &agent->site;
  uint64_t spent = 0;
  int r = cns_agent_guard_pause(agent, problem);
  if (!r) r = check_time(&site->kit, problem);
  if (r) return r;
  if (descriptor->round > site->plan.rounds)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "round %" PRIu64 " was announced, but the study has only %u", descriptor->round,
                           site->plan.rounds);
  r = cns_hospital_store_count_spent(site->store, &descriptor->parent, &spent);
  if (r)
    return cns_problem_set(problem, r, "the record of sent updates can't be read (%s)", cns_error_name(r));
  if (spent >= site->kit.policy.attempts_per_parent)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%" PRIu64
                           " updates of this model were already sent from here, and the policy allows "
                           "%u: another one could give the difference of two sums away",
                           spent, site->kit.policy.attempts_per_parent);
  return check_audits(site, descriptor, problem);
}

int cns_agent_expectation(struct cns_agent *agent, struct cns_expectation *ret_expectation,
                          struct cns_problem *problem) {
  const struct cns_site *site = &agent->site;
  const struct cns_kit *kit = &site->kit;
  struct cns_digest last;
  struct cns_expectation e = {
      .roster = &kit->roster,
      .policy = &kit->policy,
      .study = site->study,
      .plan = kit->study_document.digest,
      .parent = agent->model,
      .dim = cns_plan_update_dim(&site->plan),
      .params = cns_plan_dim(&site->plan),
      .metrics_dim = kit->policy.metrics ? (uint32_t)cns_plan_metrics_dim(&site->plan) : 0,
      .clip_norm = agent->clip_norm,
      .indicator_share = site->plan.adaptive_clip.share,
      .metrics_share = site->plan.noised_metrics.share,
      .noise_multiplier = site->plan.noise_multiplier,
      .sampling_rate = site->plan.sampling_rate,
      .round = agent->model_round + 1,
      .index = kit->config.index,
      .own_weight = agent->weight,
      .floor = kit->config.floor,
  };
  int r = cns_hospital_store_signed_round(site->store, &site->study, &e.last_round, &e.last_attempt, &last);
  if (r && r != CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, r, "the record of signed rounds can't be read (%s)", cns_error_name(r));
  struct cns_audit_record audits;
  r = cns_hospital_store_audits(site->store, &site->study, &e.parent, &audits, problem);
  if (r) return r;
  e.sketch_spent = audits.numbers;
  e.audited_parent = audits.entered;
  *ret_expectation = e;
  return 0;
}

static bool same_members(const struct cns_manifest *manifest, const struct cns_descriptor *d) {
  if (manifest->member_count != d->member_count) return false;
  for (size_t k = 0; k < d->member_count; k++)
    if (manifest->members[k].index != d->members[k].index ||
        manifest->members[k].weight != d->members[k].weight)
      return false;
  return true;
}

/* What a manifest claims about the round that this hospital has a machine for
 * must be what was announced: the cohort and weights shown to others are those
 * under which the masks were made, and the sum isn't smaller than promised. */
static int check_own_round(const struct cns_agent *agent, const struct cns_manifest *manifest,
                           struct cns_problem *problem) {
  if (!cns_agent_in_round(agent, &manifest->descriptor)) return 0;
  const struct cns_descriptor *d = agent->round->descriptor;
  size_t included = cns_manifest_included(manifest);
  if (manifest->round != d->round || manifest->attempt != d->attempt ||
      !cns_digest_equal(&manifest->parent, &d->parent) || !cns_digest_equal(&manifest->roster, &d->roster) ||
      !cns_digest_equal(&manifest->policy, &d->policy) || !same_members(manifest, d))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest of round %" PRIu64 " contradicts the round that was announced here",
                           manifest->round);
  if (included < d->minimum_included)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest of round %" PRIu64 " has a sum of %zu updates, and at least %u "
                           "were announced here",
                           manifest->round, included, d->minimum_included);
  return 0;
}

/* Of a round that this hospital was asked to take part in it knows the numbers itself. */
static int check_own_clip(const struct cns_agent *agent, const struct cns_manifest *manifest,
                          struct cns_problem *problem) {
  struct cns_mechanism_numbers numbers;
  if (!cns_agent_in_round(agent, &manifest->descriptor)) return 0;
  int r = cns_descriptor_numbers(agent->round->descriptor, &numbers, problem);
  if (r) return r;
  if (manifest->clip.unit == numbers.indicator &&
      manifest->privacy.sampling_rate == agent->round->descriptor->sampling_rate)
    return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the manifest of round %" PRIu64 " counts %" PRIu64
                         " steps for a patient, and in the round that was announced here it is %" PRIu64,
                         manifest->round, manifest->clip.unit, numbers.indicator);
}

/* Over how many patients what was released is a mean. */
static int check_rate(const struct cns_plan *plan, const struct cns_manifest *manifest,
                      struct cns_problem *problem) {
  if (manifest->privacy.sampling_rate == plan->sampling_rate) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the manifest of round %" PRIu64 " has the sampling rate %g, and the study %g",
                         manifest->round, manifest->privacy.sampling_rate, plan->sampling_rate);
}

/* An adaptive clip norm follows from what the hospitals have released; from the manifest
 * of a round that was missed only that it follows from its own numbers and is within the
 * study's bounds can be told. */
static int check_clip(const struct cns_agent *agent, const struct cns_manifest *manifest,
                      struct cns_problem *problem) {
  const struct cns_plan *plan = &agent->site.plan;
  int r = cns_manifest_check_clip(manifest, &plan->adaptive_clip, problem);
  if (r || plan->adaptive_clip.share == 0) return r;
  r = check_rate(plan, manifest, problem);
  if (r) return r;
  if (manifest->round == agent->model_round + 1 && manifest->clip.norm != agent->clip_norm)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest of round %" PRIu64
                           " has a clip norm of %.10g, but from the one accepted here follows %.10g",
                           manifest->round, manifest->clip.norm, agent->clip_norm);
  return check_own_clip(agent, manifest, problem);
}

/* Of a round that this hospital was asked to take part in: the unit, how much noise it was, and of
 * how many patients. */
static int check_own_noised(const struct cns_agent *agent, const struct cns_manifest *manifest,
                            struct cns_problem *problem) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  if (!cns_agent_in_round(agent, &manifest->descriptor)) return 0;
  int r = cns_descriptor_compute(agent->round->descriptor, weights, &mechanism, &numbers, problem);
  if (r) return r;
  double sigma = cns_mechanism_sum_sigma(&mechanism, &numbers, cns_manifest_included(manifest));
  const struct cns_noised_metrics_sums *sums = &manifest->noised.sums;
  if (sums->unit == numbers.metric && fabs(sums->sigma - sigma) <= CNS_NOISED_METRICS_TOLERANCE * sigma)
    return 0;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "the manifest of round %" PRIu64 " counts %" PRIu64
      " steps for a patient's loss and noise of %.10g, and in the round that was announced "
      "here they are %" PRIu64 " and %.10g",
      manifest->round, sums->unit, sums->sigma, numbers.metric, sigma);
}

/* Noised metrics follow from what the hospitals have released, as an adaptive clip norm does. */
static int check_noised(const struct cns_agent *agent, const struct cns_manifest *manifest,
                        struct cns_problem *problem) {
  const struct cns_plan *plan = &agent->site.plan;
  int r = cns_manifest_check_noised(manifest, &plan->noised_metrics, problem);
  if (r || plan->noised_metrics.share == 0) return r;
  r = check_rate(plan, manifest, problem);
  return r ? r : check_own_noised(agent, manifest, problem);
}

static int check_manifest(const struct cns_agent *agent, const struct cns_manifest *manifest,
                          struct cns_problem *problem) {
  const struct cns_site *site = &agent->site;
  if (!cns_digest_equal(&manifest->study, &site->study))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the manifest belongs to another study than ours");
  if (!cns_digest_equal(&manifest->plan, &site->kit.study_document.digest))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the manifest follows another study file than the one consented to here");
  if (manifest->round > site->plan.rounds)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "a manifest of round %" PRIu64 ", but the study has only %u", manifest->round,
                           site->plan.rounds);
  /* Rounds missed may be skipped over; the one we wait for has to follow from ours. */
  if (manifest->round == agent->model_round + 1 && !cns_digest_equal(&manifest->parent, &agent->model))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the model of round %" PRIu64 " doesn't follow from the one accepted here: the "
                           "coordinator has forked the study's history",
                           manifest->round);
  int r = check_own_round(agent, manifest, problem);
  if (!r) r = check_clip(agent, manifest, problem);
  return r ? r : check_noised(agent, manifest, problem);
}

int cns_agent_guard_manifest(struct cns_agent *agent, const uint8_t *data, size_t len,
                             struct cns_manifest *ret_manifest, struct cns_problem *problem) {
  struct cns_manifest manifest;
  const struct cns_site *site = &agent->site;
  int r = cns_manifest_open(data, len, "the coordinator's manifest", &site->kit.roster, &manifest, problem);
  if (r) return r;
  r = check_manifest(agent, &manifest, problem);
  if (!r)
    r = cns_hospital_store_put_manifest(site->store, &site->study, manifest.round, &manifest.model, data, len,
                                        problem);
  if (r)
    cns_manifest_deinit(&manifest);
  else
    *ret_manifest = manifest;
  return r;
}
