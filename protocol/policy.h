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
 *   unit                 "hospital" (reserved: "patient")
 *   colluders            c, integer >= 1: hospitals that may collude with the coordinator
 *   minimum_cohort       integer >= max(4, 3c+1)
 *   minimum_included     integer >= c+2
 *   maximum_exclusions   integer >= 0: left out by the coordinator's judgement in one round
 *   clip_norm_max        number > 0, L2 norm of one unweighted update
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
 *   noise                {"placement": "none" (reserved: "central", "distributed")}
 *   metrics              "exact" (masked histograms, exact sums) | "off"
 *   attempts_per_parent  m, integer 1..10: spent updates on one parent model, and so audits
 * A reserved name is CNS_ERR_UNSUPPORTED with a sentence.
 */
#pragma once

#include "protocol/roster.h"

enum cns_audit_level { CNS_AUDIT_NONE = 0, CNS_AUDIT_OPEN = 1, CNS_AUDIT_NORM = 2, CNS_AUDIT_DISTANCES = 3 };
/* Once a hospital has revealed all that its sketch budget allows. Unaudited
 * rounds are accepted under the last two only. */
enum cns_when_spent { CNS_SPENT_STOP = 0, CNS_SPENT_UNAUDITED = 1, CNS_SPENT_RANDOM = 2 };
enum cns_on_flag { CNS_FLAG_REPORT = 0, CNS_FLAG_EXCLUDE = 1, CNS_FLAG_QUARANTINE = 2 };
enum cns_noise_placement { CNS_NOISE_NONE = 0, CNS_NOISE_CENTRAL = 1, CNS_NOISE_DISTRIBUTED = 2 };
enum cns_weights_mode { CNS_WEIGHTS_EQUAL = 0, CNS_WEIGHTS_PATIENTS = 1 };

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
  enum cns_noise_placement noise_placement;
  bool metrics;
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

/* The policy `init` writes for a roster of that size. */
void cns_policy_default(const struct cns_roster *roster, struct cns_policy *ret_policy);
/* Turns it into one with an audit of k numbers: budget of a sixteenth, flags
 * reported, up to c exclusions. */
void cns_policy_set_audit(struct cns_policy *policy, uint32_t sketch);
/* How many numbers A*x one hospital may reveal of updates of this length. */
uint64_t cns_policy_sketch_budget(const struct cns_policy *policy, uint64_t dim);
/* Parses, verifies under one of the roster's officers, checks consistency
 * with itself and the roster's size. roster NULL: no signature check (display). */
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
