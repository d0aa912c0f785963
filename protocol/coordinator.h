/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's side of one round: a pure machine and a function of its
 * journal. Answers in, requests out; the caller decides when a phase closes,
 * keeps the vectors, and writes every accepted answer and every closing into
 * the journal and syncs it before anything that follows from it is sent.
 * Replaying the same calls gives the same machine.
 */
#pragma once

#include "crypto/parallel.h"
#include "protocol/verdict.h"

struct cns_coordinator_config {
  const struct cns_roster *roster;     /* must outlive the machine */
  const struct cns_policy *policy;     /* must outlive the machine */
  const struct cns_identity *identity; /* must outlive the machine */
  struct cns_parallel parallel;
  /* With an audit: the 32 bytes that the descriptor commits to; copied. They are
   * the caller's to draw, to keep secret until phase audit, and to have in its
   * journal before the announcement leaves. */
  const uint8_t *nonce;
  struct cns_sketcher sketcher; /* zeros: cns_sketch_masks */
};

struct cns_coordinator;

/* Why a round ended. */
enum cns_end {
  CNS_END_NONE = 0,      /* it goes on */
  CNS_END_COMPLETED = 1, /* the sum is known: result phase */
  CNS_END_TOO_FEW = 2,   /* fewer than the threshold answered a phase, or too few are left for a sum */
  CNS_END_VOID = 3,      /* the sum is out of every honest range */
  CNS_END_STOPPED = 4,   /* by the operator or the scheduler */
  CNS_END_BROKEN = 5,    /* a secret could not be rebuilt though t shares match: a bug or forged journal */
};

CNS_MUST_CHECK int cns_coordinator_begin(const struct cns_coordinator_config *config,
                                         const struct cns_descriptor *descriptor,
                                         struct cns_coordinator **ret_coordinator,
                                         struct cns_problem *problem);
struct cns_coordinator *cns_coordinator_free(struct cns_coordinator *coordinator);

const struct cns_round *cns_coordinator_round(const struct cns_coordinator *coordinator);
/* The phase that answers are awaited in; CNS_PHASE_RESULT after the last. */
enum cns_phase cns_coordinator_phase(const struct cns_coordinator *coordinator);
enum cns_end cns_coordinator_end(const struct cns_coordinator *coordinator);
/* A sentence for people, "" while the round goes on. */
const char *cns_coordinator_end_reason(const struct cns_coordinator *coordinator);

/* Positive cases. */
enum cns_coordinator_case {
  CNS_ANSWER_KNOWN = 1, /* exactly this answer is held already: nothing to do */
  CNS_ANSWER_LATE = 2,  /* its phase is closed: ignored */
  CNS_ANSWER_NAMED = 3, /* refused, and a new verdict names the sender */
  CNS_NOT_ASKED = 4,    /* nothing is awaited from this hospital */
};

/* The announcement, the same for everyone. */
CNS_MUST_CHECK int cns_coordinator_announcement(const struct cns_coordinator *coordinator,
                                                struct cns_writer *writer);
/* The request of the present phase to member k (from phase shares on);
 * CNS_NOT_ASKED. */
CNS_MUST_CHECK int cns_coordinator_request(const struct cns_coordinator *coordinator, size_t k,
                                           struct cns_writer *writer);
/* Is member k's answer still awaited in the present phase? */
bool cns_coordinator_awaits(const struct cns_coordinator *coordinator, size_t k);
size_t cns_coordinator_awaited(const struct cns_coordinator *coordinator);

/*
 * An answer that came over member k's authenticated link. 0: accepted, to be
 * journalled; a positive case; CNS_ERR_FORMAT, CNS_ERR_SIGNATURE,
 * CNS_ERR_REFUSED with a sentence: nothing changed. upload_root: in phase
 * upload, the digest that the caller computed over the vector it holds (NULL
 * in other phases).
 */
CNS_MUST_CHECK int cns_coordinator_receive(struct cns_coordinator *coordinator, size_t k,
                                           const uint8_t *answer, size_t len,
                                           const struct cns_digest *upload_root, struct cns_problem *problem);

/* Closes the present phase with what there is: the next phase opens, or the
 * round ends. Journal it first. CNS_ERR_STATE: A*y isn't given of an upload
 * (phases audit and dispute), or nothing is decided yet (phase agree). A phase
 * dispute without contradictions is closed together with phase audit; phase
 * unmask may open phase forfeit, and that one itself again. */
CNS_MUST_CHECK int cns_coordinator_close(struct cns_coordinator *coordinator, struct cns_problem *problem);
/* Ends the round without a result. */
void cns_coordinator_stop(struct cns_coordinator *coordinator, enum cns_end end, const char *reason);

/* Receipt for a complete upload of member k. */
CNS_MUST_CHECK int cns_coordinator_receipt(const struct cns_coordinator *coordinator, size_t k,
                                           struct cns_signature *ret_signature);

/* ---- with an audit: docs/protocol.md, phases audit to agree ---- */

/* A, from the closing of phase upload on; covers the first dim words.
 * CNS_ERR_STATE before, or without an audit. */
CNS_MUST_CHECK int cns_coordinator_sketch_key(const struct cns_coordinator *coordinator,
                                              struct cns_sketch_key *ret_key);
/* A*y (k numbers) of member k's upload, a function of the stored vector: a replay
 * computes it again, or has it in the journal. Wanted of every upload in U3, in
 * any order, before the closing of the last of the phases audit and dispute. */
CNS_MUST_CHECK int cns_coordinator_set_sketch(struct cns_coordinator *coordinator, size_t k,
                                              const uint32_t *of_y);
bool cns_coordinator_wants_sketch(const struct cns_coordinator *coordinator, size_t k);
/* Phase agree is open and waits for cns_coordinator_decide; no request is made
 * before. */
bool cns_coordinator_is_undecided(const struct cns_coordinator *coordinator);
/* z of member k (k numbers, the machine's), NULL if it has none: not uploaded,
 * not audited, convicted or missing in phase dispute. From the closing of the
 * phases audit and dispute on. */
const uint32_t *cns_coordinator_sketch(const struct cns_coordinator *coordinator, size_t k);
/*
 * The decision of whoever looked at the z: for each member cns_outcome, of which
 * only flagged and quarantined are looked at, of those with a z (NULL: everyone
 * stays). CNS_ERR_REFUSED with a sentence: more than the policy's maximum of
 * exclusions, or too few left; decide again. Journal it: a replay decides
 * the same, whatever floating point there is by then.
 */
CNS_MUST_CHECK int cns_coordinator_decide(struct cns_coordinator *coordinator, const uint8_t *decisions,
                                          struct cns_problem *problem);

/* What t hospitals sign. Present from the closing of phase upload on, with an
 * audit from cns_coordinator_decide on. */
const struct cns_agreement *cns_coordinator_agreement(const struct cns_coordinator *coordinator);
/* What came out of it: the agreement less those that forfeited their places
 * since. Whose uploads are in the sum, and what the manifest says. */
const struct cns_agreement *cns_coordinator_outcomes(const struct cns_coordinator *coordinator);

/* Once the round is completed: what to add to the sum of the uploads included by
 * cns_coordinator_outcomes so that all masks are gone. sodium_malloc'd, the machine's. */
CNS_MUST_CHECK int cns_coordinator_unmasking(const struct cns_coordinator *coordinator,
                                             const struct cns_mask_term **ret_terms, size_t *ret_count);

/* Who broke the protocol so far; the machine's. */
const struct cns_verdict *cns_coordinator_verdicts(const struct cns_coordinator *coordinator,
                                                   size_t *ret_count);
