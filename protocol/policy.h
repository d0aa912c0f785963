/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: what the consortium's privacy officers allow, signed by one of
 * the roster's officers (role "officer"). A hospital checks every descriptor
 * against it.
 *
 * JSON fields (all required, no others):
 *   consortium           string, the roster's
 *   version              integer >= 1
 *   valid_until          UTC time
 *   unit                 "hospital", or "patient" (needs noise): whom the privacy budget protects
 *   colluders            c, integer >= 1: hospitals that may collude with the coordinator
 *   minimum_cohort       integer >= max(4, 3c+1)
 *   minimum_included     integer >= c+2
 *   maximum_exclusions   integer >= 0: left out by the coordinator's judgement in one round
 *   clip_norm_max        number > 0, L2 norm of one unweighted update (unit patient: of one patient's
 *                        gradient), also the most that an adaptive clip norm may become
 *   weights              {"mode": "patients"|"equal", "cap": integer 1..1000000, "round_to": integer 1..1000}
 *   audit                {"level": "none" (reserved: "norm", "distances"), "sketch": 0}, or
 *                        {"level": "open",
 *                         "sketch": k, a power of two from 128 to 1024,
 *                         "budget": number > 0: numbers that one hospital reveals in a study, as a
 *                             share of the update's length,
 *                         "when_spent": "stop" | "unaudited" | "random",
 *                         "on_flag": "report" | "exclude" | "quarantine",
 *                         "false_positive_rate": number, of one hospital in one round,
 *                         "tighten_rounds": integer >= 0, after a confirmed attack,
 *                         "tighten_factor": number >= 1, times that rate in those rounds}
 *   noise                {"placement": "none"}, or
 *                        {"placement": "distributed" | "central",
 *                         "relation": "add-remove" | "replace-one",
 *                         "epsilon", "delta": numbers > 0, what all rounds together may cost a unit,
 *                         "epsilon_round", "epsilon_month": number > 0 or null (no such limit), what one
 *                             round, the rounds of a calendar month (UTC), may cost,
 *                         "epsilon_coordinator": number > 0 or null, the same as epsilon for what the
 *                             coordinator sees, sums and sketches together,
 *                         "multiplier_min": least noise multiplier, "rate_max": largest sampling rate,
 *                         "alerts": shares of epsilon at which to warn, growing,
 *                         "large_delta": true to allow a delta above 1/(number of units)}
 *   metrics              "exact" (masked histograms, exact sums; not with noise) | "off" |
 *                        "public" (on a public test set of the coordinator's, which costs no privacy) |
 *                        "noised" (on the patients that train, in the same noised sum; unit patient,
 *                        without an audit)
 *   attempts_per_parent  m, integer 1..10: spent updates on one parent model, and so audits
 * A reserved name is CNS_ERR_UNSUPPORTED with a sentence.
 */
#pragma once

#include "dp/dp.h"
#include "dp/mechanism.h"
#include "protocol/roster.h"

enum cns_audit_level { CNS_AUDIT_NONE = 0, CNS_AUDIT_OPEN = 1, CNS_AUDIT_NORM = 2, CNS_AUDIT_DISTANCES = 3 };
/* Once a hospital has revealed all that its sketch budget allows. Unaudited
 * rounds are accepted under the last two only. */
enum cns_when_spent { CNS_SPENT_STOP = 0, CNS_SPENT_UNAUDITED = 1, CNS_SPENT_RANDOM = 2 };
enum cns_on_flag { CNS_FLAG_REPORT = 0, CNS_FLAG_EXCLUDE = 1, CNS_FLAG_QUARANTINE = 2 };
enum cns_weights_mode { CNS_WEIGHTS_EQUAL = 0, CNS_WEIGHTS_PATIENTS = 1 };

#define CNS_POLICY_ALERTS_MAX 8

struct cns_policy_privacy {
  enum cns_dp_relation relation;
  double epsilon, delta;
  double epsilon_round, epsilon_month, epsilon_coordinator; /* 0: no such limit */
  double multiplier_min, rate_max;
  double alerts[CNS_POLICY_ALERTS_MAX];
  size_t alert_count;
  bool large_delta;
};

struct cns_policy {
  struct cns_digest digest;
  char consortium[CNS_NAME_MAX + 1];
  uint64_t version;
  int64_t valid_until;
  uint16_t colluders;
  uint16_t minimum_cohort;
  uint16_t minimum_included;
  uint16_t maximum_exclusions;
  double clip_norm_max;
  enum cns_weights_mode weights_mode;
  uint32_t weight_cap;
  uint32_t weight_round_to;
  enum cns_audit_level audit_level;
  uint32_t sketch; /* k; 0 without an audit, and then the next six are 0 too */
  double sketch_budget;
  enum cns_when_spent when_spent;
  enum cns_on_flag on_flag;
  double false_positive_rate;
  uint16_t tighten_rounds;
  double tighten_factor;
  enum cns_privacy_unit unit;
  enum cns_noise_placement noise_placement;
  struct cns_policy_privacy privacy; /* zeros without noise */
  bool metrics;                      /* exact ones, of hospitals' patients */
  bool metrics_public;               /* on the coordinator's test set; then not metrics */
  bool metrics_noised;               /* of a round's patients, with noise; then neither of the two */
  uint16_t attempts_per_parent;
};

/* max(1, floor((N-2)/4)), N hospitals in the roster. */
uint16_t cns_policy_default_colluders(size_t roster_size);
/* t = floor((n+c)/2) + 1 over the cohort of the descriptor. */
uint16_t cns_policy_threshold(size_t cohort, uint16_t colluders);
/* The number of patients that a hospital declares in its consent: rounded to the
 * nearest multiple of round_to (at least round_to), capped. Of what was declared
 * already, the same again. */
uint32_t cns_policy_patients(const struct cns_policy *policy, uint64_t patients);
/* A hospital's public weight: the number that it declares; 1 for equal weights.
 * The same for the exact number and for the declared one. */
uint32_t cns_policy_weight(const struct cns_policy *policy, uint64_t patients);

/* What a study file asks for, to be compared with the policy. */
struct cns_policy_study {
  double clip_norm; /* the largest that a round may have */
  bool adaptive_clip;
  bool noised_metrics;
  bool by_patients;                       /* weights */
  double noise_multiplier, sampling_rate; /* 0 without noise */
  uint32_t local_epochs;
  double momentum;
  double proximal;
  bool scaffold;
  double validation_share;
};
/* Would every round of such a study be refused? CNS_ERR_REFUSED with a sentence. */
CNS_MUST_CHECK int cns_policy_check_study(const struct cns_policy *policy,
                                          const struct cns_policy_study *study, struct cns_problem *problem);

/* "hospital", "patient"; "none", "central", "distributed". _find: false for another word. */
const char *cns_privacy_unit_name(enum cns_privacy_unit unit);
bool cns_privacy_unit_find(const char *name, enum cns_privacy_unit *ret_unit);
const char *cns_noise_placement_name(enum cns_noise_placement placement);
bool cns_noise_placement_find(const char *name, enum cns_noise_placement *ret_placement);

/* The policy `init` writes for a roster of that size. */
void cns_policy_default(const struct cns_roster *roster, struct cns_policy *ret_policy);
/* Turns it into one with an audit of k numbers: budget of a sixteenth, flags
 * reported, up to c exclusions. */
void cns_policy_set_audit(struct cns_policy *policy, uint32_t sketch);
/* Turns it into one with noise: add/remove, no limit for a round, a month or the
 * coordinator, alerts at 50, 80 and 95 %; metrics off. */
void cns_policy_set_privacy(struct cns_policy *policy, enum cns_privacy_unit unit,
                            enum cns_noise_placement placement, double epsilon, double delta);
/* How many numbers A*x one hospital may reveal of updates of this length. */
uint64_t cns_policy_sketch_budget(const struct cns_policy *policy, uint64_t dim);
/* Parses, verifies under one of the roster's officers, checks consistency with itself and that
 * it is the roster's consortium's. Not the roster's size: a revocation must take effect also
 * where too few hospitals remain for a round. roster NULL: no signature check (display). */
CNS_MUST_CHECK int cns_policy_open(const uint8_t *data, size_t len, const char *where,
                                   const struct cns_roster *roster, struct cns_policy *ret_policy,
                                   struct cns_problem *problem);
/* Consistency alone. */
CNS_MUST_CHECK int cns_policy_check(const struct cns_policy *policy, struct cns_problem *problem);
/* Against the roster: same consortium, enough hospitals that aren't revoked
 * (CNS_ERR_REFUSED). */
CNS_MUST_CHECK int cns_policy_check_roster(const struct cns_policy *policy, const struct cns_roster *roster,
                                           struct cns_problem *problem);
CNS_MUST_CHECK int cns_policy_check_time(const struct cns_policy *policy, int64_t now_seconds,
                                         struct cns_problem *problem);
CNS_MUST_CHECK int cns_policy_to_document(const struct cns_policy *policy, struct cns_document *ret_document);
/* Plain sentences for a person who doesn't program; malloc'd text. */
CNS_MUST_CHECK int cns_policy_describe(const struct cns_policy *policy, size_t roster_size, char **ret_text);
