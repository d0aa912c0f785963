/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase agree: everyone signs the same statement of whose updates are in the
 * sum. t signatures are what unmasking needs; two sets of t share an honest
 * hospital, so two statements can't both be completed.
 *
 * Body: nonce (32, zeros without an audit), number of members u16, a reason
 * code for each member of the cohort, number of sketch digests u16 (0 without
 * an audit), then those digests: of z of each member that is included, flagged
 * or in quarantine, in cohort order (cns_audit_sketch_digest).
 */
#pragma once

#include "protocol/message.h"

/* Why a member of the cohort is, or isn't, in the sum. */
enum cns_outcome {
  CNS_INCLUDED = 0,
  CNS_MISSING_KEYS = 1,
  CNS_MISSING_SHARES = 2,
  CNS_MISSING_READY = 3,
  CNS_MISSING_UPLOAD = 4,
  CNS_MISSING_AUDIT = 5,    /* with an audit only */
  CNS_OUT_DISQUALIFIED = 6, /* the list of phase ready says so; only evidence proves it */
  CNS_OUT_FLAGGED = 7,      /* by detection: with an audit only */
  CNS_OUT_QUARANTINED = 8,  /* with an audit only */
  CNS_MISSING_DISPUTE = 9,  /* did not open a pair whose sketches contradict each other */
  CNS_OUT_CONVICTED = 10,   /* proven in phase dispute to have sent a false pair sketch */
  CNS_OUT_FORFEITED = 11,   /* proven after phase unmask to have sent a false sketch; never in an
                               agreement, only in what came out of it (cns_coordinator_outcomes) */
};
#define CNS_OUTCOME_COUNT 12
/* Has it a z in the agreement? */
bool cns_outcome_has_sketch(uint8_t outcome);
/* "included", "missing in phase keys", ... */
const char *cns_outcome_text(enum cns_outcome outcome);

struct cns_agreement {
  uint8_t nonce[32];
  uint16_t member_count;
  uint8_t *outcomes; /* cns_outcome a member, in cohort order */
  uint16_t sketch_count;
  struct cns_digest *sketches; /* of z, in cohort order; NULL without an audit */
};
void cns_agreement_deinit(struct cns_agreement *agreement);
void cns_agreement_write(struct cns_writer *writer, const struct cns_agreement *agreement);
CNS_MUST_CHECK int cns_agreement_read(const uint8_t *data, size_t len, struct cns_agreement *ret_agreement);
size_t cns_agreement_included(const struct cns_agreement *agreement);
CNS_MUST_CHECK int cns_agreement_copy(const struct cns_agreement *from, struct cns_agreement *ret_copy);
/* Digest of member k's z, NULL if it has none. */
const struct cns_digest *cns_agreement_sketch(const struct cns_agreement *agreement, size_t k);

struct cns_round;
/* How few may be in the sum: descriptor, policy, c+2, floor. */
size_t cns_agreement_minimum(const struct cns_descriptor *descriptor, const struct cns_policy *policy,
                             const struct cns_floor *floor);
/*
 * Does the statement follow from the round's lists, up to the one before phase
 * agree, and does it keep the policy? Without an audit every complete upload of
 * U2 is included. With one: of those that answered it, flagged and quarantined
 * are at most the policy's maximum of exclusions; convicted is only who has a
 * part in a pair that phase dispute opened, and of each such pair one is;
 * missing in dispute is only who has no answer there; the nonce is the one that
 * the descriptor commits to. CNS_ERR_REFUSED with a sentence.
 */
CNS_MUST_CHECK int cns_agreement_check(const struct cns_agreement *agreement, const struct cns_round *round,
                                       const struct cns_policy *policy, const struct cns_floor *floor,
                                       struct cns_problem *problem);
/* The statement that follows from the lists if nobody is left out for what
 * the audit showed; without nonce and digests. */
CNS_MUST_CHECK int cns_agreement_derive(const struct cns_round *round, struct cns_agreement *ret_agreement);
