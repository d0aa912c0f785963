/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase agree: everyone signs the same statement of whose updates are in the
 * sum. t signatures are what unmasking needs; two sets of t share an honest
 * hospital, so two statements can't both be completed.
 *
 * Body: nonce (32, zeros without an audit), number of members u16, a reason
 * code for each member of the cohort, number of sketch digests u16 (0 without
 * an audit), then those digests.
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
};
#define CNS_OUTCOME_COUNT 9
/* "included", "missing in phase keys", ... */
const char *cns_outcome_text(enum cns_outcome outcome);

struct cns_agreement {
  uint8_t nonce[32];
  uint16_t member_count;
  uint8_t *outcomes; /* cns_outcome a member, in cohort order */
};
void cns_agreement_deinit(struct cns_agreement *agreement);
void cns_agreement_write(struct cns_writer *writer, const struct cns_agreement *agreement);
CNS_MUST_CHECK int cns_agreement_read(const uint8_t *data, size_t len, struct cns_agreement *ret_agreement);
size_t cns_agreement_included(const struct cns_agreement *agreement);

/*
 * Does the statement follow from the lists (entries[phase] of the phases keys,
 * shares, ready and upload), and does it keep the policy? Without an audit
 * every complete upload of U2 is included. CNS_ERR_REFUSED with a sentence.
 */
CNS_MUST_CHECK int cns_agreement_check(const struct cns_agreement *agreement,
                                       const struct cns_descriptor *descriptor,
                                       struct cns_entry *const entries[CNS_PHASE_COUNT],
                                       const struct cns_policy *policy, const struct cns_floor *floor,
                                       struct cns_problem *problem);
/* The statement that follows from the lists (no audit). */
CNS_MUST_CHECK int cns_agreement_derive(const struct cns_descriptor *descriptor,
                                        struct cns_entry *const entries[CNS_PHASE_COUNT],
                                        struct cns_agreement *ret_agreement);
