/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/policy_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/sketch.h"

#define KIND "policy"
#define ROLE "officer"
/* A year, in which an officer should look at it again. */
#define VALID_SECONDS (365 * INT64_C(86400))

uint16_t cns_policy_default_colluders(size_t roster_size) {
  size_t colluders = roster_size < 6 ? 1 : (roster_size - 2) / 4;
  return (uint16_t)(colluders > CNS_HOSPITALS_MAX ? CNS_HOSPITALS_MAX : colluders);
}

uint16_t cns_policy_threshold(size_t cohort, uint16_t colluders) {
  return (uint16_t)((cohort + colluders) / 2 + 1);
}

uint32_t cns_policy_patients(const struct cns_policy *policy, uint64_t patients) {
  uint64_t step = policy->weight_round_to;
  /* Below the cap already, so that adding half a step can't wrap. */
  if (patients >= policy->weight_cap) return policy->weight_cap;
  uint64_t rounded = (patients + step / 2) / step * step;
  if (rounded < step) rounded = step;
  return rounded > policy->weight_cap ? policy->weight_cap : (uint32_t)rounded;
}

uint32_t cns_policy_weight(const struct cns_policy *policy, uint64_t patients) {
  return policy->weights_mode == CNS_WEIGHTS_EQUAL ? 1 : cns_policy_patients(policy, patients);
}

void cns_policy_default(const struct cns_roster *roster, struct cns_policy *ret_policy) {
  struct cns_policy policy = {.version = 1,
                              .valid_until = roster->valid_from + VALID_SECONDS,
                              .colluders = cns_policy_default_colluders(cns_roster_active_count(roster)),
                              .clip_norm_max = 10.0,
                              .weights_mode = CNS_WEIGHTS_PATIENTS,
                              .weight_cap = 100000,
                              .weight_round_to = 5,
                              .audit_level = CNS_AUDIT_NONE,
                              .noise_placement = CNS_NOISE_NONE,
                              .metrics = true,
                              .attempts_per_parent = 2};
  memcpy(policy.consortium, roster->consortium, sizeof policy.consortium);
  policy.minimum_cohort = (uint16_t)(policy.colluders == 1 ? 4 : 3 * policy.colluders + 1);
  policy.minimum_included = (uint16_t)(policy.colluders + 2);
  /* Without an audit there is nothing to judge an upload by. */
  policy.maximum_exclusions = 0;
  *ret_policy = policy;
}

void cns_policy_set_audit(struct cns_policy *policy, uint32_t sketch) {
  policy->audit_level = CNS_AUDIT_OPEN;
  policy->sketch = sketch;
  policy->sketch_budget = 1.0 / 16;
  policy->when_spent = CNS_SPENT_STOP;
  policy->on_flag = CNS_FLAG_REPORT;
  policy->false_positive_rate = 0.001;
  policy->tighten_rounds = 10;
  policy->tighten_factor = 10;
  policy->maximum_exclusions = policy->colluders;
}

void cns_policy_set_privacy(struct cns_policy *policy, enum cns_privacy_unit unit,
                            enum cns_noise_placement placement, double epsilon, double delta) {
  policy->unit = unit;
  policy->noise_placement = placement;
  policy->metrics = policy->metrics_public = policy->metrics_noised = false;
  if (unit == CNS_UNIT_PATIENT) policy->weights_mode = CNS_WEIGHTS_PATIENTS;
  policy->privacy = (struct cns_policy_privacy){.relation = CNS_DP_ADD_REMOVE,
                                                .epsilon = epsilon,
                                                .delta = delta,
                                                .multiplier_min = 0.3,
                                                .rate_max = 1,
                                                .alerts = {0.5, 0.8, 0.95},
                                                .alert_count = 3};
}

uint64_t cns_policy_sketch_budget(const struct cns_policy *policy, uint64_t dim) {
  return (uint64_t)(policy->sketch_budget * (double)dim);
}

static bool within(double value, double least, double most) {
  return isfinite(value) && value >= least && value <= most;
}

static int check_audit(const struct cns_policy *policy, struct cns_problem *problem) {
  if (policy->audit_level == CNS_AUDIT_NONE && policy->sketch == 0) return 0;
  if (policy->audit_level == CNS_AUDIT_NONE)
    return cns_problem_set(problem, CNS_ERR_RANGE, "audit.sketch must be 0 without an audit");
  if (policy->audit_level != CNS_AUDIT_OPEN)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "audit.level must be \"none\" or \"open\" in version " CNS_VERSION);
  if (!cns_sketch_size_valid(policy->sketch))
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.sketch is %" PRIu32 ", but must be 128, 256, 512 or 1024", policy->sketch);
  if (!within(policy->sketch_budget, 0, SKETCH_BUDGET_MAX) || policy->sketch_budget <= 0)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.budget must be greater than 0: the share of an update's length that one "
                           "hospital may reveal in a study");
  if (!within(policy->false_positive_rate, FALSE_POSITIVE_MIN, FALSE_POSITIVE_MAX) ||
      !within(policy->tighten_factor, 1, TIGHTEN_FACTOR_MAX) || policy->tighten_rounds > TIGHTEN_ROUNDS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.false_positive_rate, tighten_rounds or tighten_factor is out of range");
  if (policy->on_flag != CNS_FLAG_REPORT && policy->maximum_exclusions == 0)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.on_flag is \"%s\", but maximum_exclusions is 0: nobody could be left out",
                           cns_policy_flag_name(policy->on_flag));
  return 0;
}

static int check_budget(const struct cns_policy_privacy *p, struct cns_problem *problem) {
  if (!within(p->epsilon, 0, EPSILON_MAX) || p->epsilon <= 0)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "noise.epsilon is %g, but must be greater than 0 and at most %g", p->epsilon,
                           EPSILON_MAX);
  if (!within(p->delta, CNS_DP_DELTA_MIN, 1) || p->delta >= 1)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "noise.delta is %g, but must be greater than 0 and below 1", p->delta);
  if (p->epsilon_round > p->epsilon || p->epsilon_month > p->epsilon)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "noise.epsilon_round and noise.epsilon_month may not be above noise.epsilon, %g",
                           p->epsilon);
  if (!within(p->multiplier_min, CNS_DP_NOISE_MIN, CNS_DP_NOISE_MAX) ||
      !within(p->rate_max, CNS_DP_RATE_MIN, 1))
    return cns_problem_set(problem, CNS_ERR_RANGE, "noise.multiplier_min or noise.rate_max is out of range");
  return 0;
}

static int check_privacy(const struct cns_policy *policy, struct cns_problem *problem) {
  bool patients = policy->unit == CNS_UNIT_PATIENT;
  if (policy->metrics_noised && !patients)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "metrics is \"noised\", which is for unit \"patient\": of a few hospitals, sums with "
        "noise say nothing");
  if (policy->metrics_noised && policy->audit_level != CNS_AUDIT_NONE)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "metrics is \"noised\" and audit.level isn't \"none\": an audit compares the directions of "
        "gradients, "
        "and sums of losses beside them would be taken for such; the two aren't offered together");
  if (policy->noise_placement == CNS_NOISE_NONE && !patients) return 0;
  if (policy->noise_placement == CNS_NOISE_NONE)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "unit is \"patient\", but noise.placement is \"none\": without noise no patient is "
        "protected; choose \"distributed\" or \"central\", or unit \"hospital\"");
  if (patients && policy->weights_mode != CNS_WEIGHTS_PATIENTS)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "unit is \"patient\", so weights.mode must be \"patients\": sums are divided by the "
        "public number of patients");
  if (policy->metrics)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "metrics is \"exact\", but exact sums over patients would undo what the noise "
                           "protects: metrics must be \"off\", \"noised\" or \"public\" with noise");
  if (policy->noise_placement == CNS_NOISE_CENTRAL && policy->privacy.epsilon_coordinator > 0)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "noise.epsilon_coordinator is %g, but with central noise the coordinator sees the sum "
        "without noise: it must be null, or placement \"distributed\"",
        policy->privacy.epsilon_coordinator);
  return check_budget(&policy->privacy, problem);
}

int cns_policy_check(const struct cns_policy *policy, struct cns_problem *problem) {
  unsigned c = policy->colluders, cohort = policy->minimum_cohort, included = policy->minimum_included;
  if (c < 1 || c > (CNS_HOSPITALS_MAX - 1) / 3)
    return cns_problem_set(problem, CNS_ERR_RANGE, "colluders is %u, but must be from 1 to %d", c,
                           (CNS_HOSPITALS_MAX - 1) / 3);
  /* Two sets of t hospitals must share an honest one, with c missing. */
  if (cohort < 4 || cohort < 3 * c + 1 || cohort > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "minimum_cohort is %u, but with %u colluding hospitals it must be at least %u",
                           cohort, c, 3 * c + 1 < 4 ? 4 : 3 * c + 1);
  if (included < c + 2 || included > cohort)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "minimum_included is %u, but must be from %u (colluders + 2) to minimum_cohort, %u", included, c + 2,
        cohort);
  if (policy->maximum_exclusions > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "maximum_exclusions is out of range");
  if (!isfinite(policy->clip_norm_max) || policy->clip_norm_max <= 0)
    return cns_problem_set(problem, CNS_ERR_RANGE, "clip_norm_max must be greater than 0");
  if (policy->weight_round_to < 1 || policy->weight_cap < policy->weight_round_to)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "weights.cap is %" PRIu32 ", but must be at least round_to, %" PRIu32,
                           policy->weight_cap, policy->weight_round_to);
  int r = check_audit(policy, problem);
  return r ? r : check_privacy(policy, problem);
}

static int check_consortium(const struct cns_policy *policy, const struct cns_roster *roster,
                            struct cns_problem *problem) {
  if (strcmp(policy->consortium, roster->consortium) == 0) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED, "the policy is another consortium's than the roster");
}

int cns_policy_check_roster(const struct cns_policy *policy, const struct cns_roster *roster,
                            struct cns_problem *problem) {
  size_t active = cns_roster_active_count(roster);
  int r = check_consortium(policy, roster, problem);
  if (r) return r;
  if (policy->minimum_cohort > active)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the policy asks for cohorts of at least %u hospitals, but the roster has only %zu",
        policy->minimum_cohort, active);
  return 0;
}

static int verify(const struct cns_document *document, const struct cns_roster *roster,
                  struct cns_problem *problem) {
  struct cns_problem unsigned_problem = {0}, altered = {0};
  for (size_t i = 0; i < roster->officer_count; i++) {
    const struct cns_identity_public *key = &roster->officers[i].identity;
    if (cns_document_verify(KIND, document, ROLE, key, &unsigned_problem) == 0) return 0;
    for (size_t j = 0; j < document->signature_count; j++)
      if (cns_identity_public_equal(&document->signatures[j].key, key)) altered = unsigned_problem;
  }
  return cns_problem_set(problem, CNS_ERR_SIGNATURE, "%s",
                         altered.text[0] ? altered.text
                                         : "the policy is not signed by any privacy officer of the roster");
}

static int open_document(const struct cns_document *document, const char *where,
                         const struct cns_roster *roster, struct cns_policy *policy,
                         struct cns_problem *problem) {
  cJSON *json = NULL;
  int r = roster ? verify(document, roster, problem) : 0;
  if (r) return cns_problem_prefix(problem, r, "%s", where);
  if ((r = cns_json_parse(document->payload, document->payload_len, where, &json, problem))) return r;
  r = cns_policy_read(json, policy, problem);
  cJSON_Delete(json);
  if (!r) r = cns_policy_check(policy, problem);
  if (!r && roster) r = check_consortium(policy, roster, problem);
  if (r) return cns_problem_prefix(problem, r, "%s", where);
  policy->digest = document->digest;
  return 0;
}

int cns_policy_open(const uint8_t *data, size_t len, const char *where, const struct cns_roster *roster,
                    struct cns_policy *ret_policy, struct cns_problem *problem) {
  struct cns_document document;
  struct cns_policy policy = {0};
  int r = cns_document_parse(KIND, data, len, where, &document, problem);
  if (r) return r;
  r = open_document(&document, where, roster, &policy, problem);
  cns_document_deinit(&document);
  if (!r) *ret_policy = policy;
  return r;
}

int cns_policy_check_time(const struct cns_policy *policy, int64_t now_seconds, struct cns_problem *problem) {
  time_t end = (time_t)policy->valid_until;
  struct tm tm;
  char day[32] = "";
  if (now_seconds < policy->valid_until) return 0;
  if (!gmtime_r(&end, &tm) || strftime(day, sizeof day, "%Y-%m-%d %H:%M UTC", &tm) == 0) day[0] = '\0';
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the policy was valid until %s; ask a privacy officer for a new one", day);
}

int cns_policy_to_document(const struct cns_policy *policy, struct cns_document *ret_document) {
  cJSON *json = cJSON_CreateObject();
  if (!json) return CNS_ERR_MEMORY;
  int r = cns_policy_fill(json, policy);
  if (!r) r = cns_document_from_json(KIND, json, ret_document);
  cJSON_Delete(json);
  return r;
}
