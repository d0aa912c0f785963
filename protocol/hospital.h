/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hospital's side of one round: a pure machine. Requests in, answers out;
 * no clock, no socket, no disk; randomness handed in. Its secrets live in
 * locked memory and go with it.
 *
 * The caller's part of the bargain (docs/protocol.md, "Numbers"): write (R,
 * phase, answer) durably before sending it, and record the update as spent
 * before the first chunk leaves. An answer of phase audit reveals descriptor.sketch
 * numbers of the sketch budget, for ever: count them with the answer, before it
 * leaves. Phase forfeit has an answer for each of its rounds: write each down
 * under the number that cns_hospital_slot gives. The machine answers each phase once and gives
 * exactly the same bytes when asked the same again.
 */
#pragma once

#include "protocol/audit.h"

struct cns_hospital_config {
  const struct cns_roster *roster;     /* must outlive the machine */
  const struct cns_policy *policy;     /* must outlive the machine */
  const struct cns_identity *identity; /* must outlive the machine */
  struct cns_expectation expectation;  /* roster, policy: as above */
  struct cns_rng rng;
  struct cns_parallel parallel;
  struct cns_sketcher sketcher; /* for the cases of phase forfeit; zeros: cns_sketch_masks */
};

struct cns_hospital;

/* Checks the announcement by every rule of cns_descriptor_check. On refusal a
 * sentence says which rule. */
CNS_MUST_CHECK int cns_hospital_begin(const struct cns_hospital_config *config, const uint8_t *announcement,
                                      size_t len, struct cns_hospital **ret_hospital,
                                      struct cns_problem *problem);
struct cns_hospital *cns_hospital_free(struct cns_hospital *hospital); /* wipes; returns NULL */

const struct cns_descriptor *cns_hospital_descriptor(const struct cns_hospital *hospital);
const struct cns_digest *cns_hospital_round(const struct cns_hospital *hospital); /* digest of R */
/* Last phase answered. */
enum cns_phase cns_hospital_answered(const struct cns_hospital *hospital);

/* Positive results of cns_hospital_handle. */
enum cns_hospital_case {
  CNS_HOSPITAL_UPLOAD = 1, /* masks are fixed: send y, then call cns_hospital_uploaded */
  CNS_HOSPITAL_AUDIT = 2,  /* A is known: sketch, then call cns_hospital_audited */
};

/* The answer to the announcement, phase keys. */
CNS_MUST_CHECK int cns_hospital_keys(struct cns_hospital *hospital, const uint8_t **ret_answer,
                                     size_t *ret_len, struct cns_problem *problem);

/*
 * One request. 0: *ret_answer is to be written durably, then sent; it stays
 * the machine's. CNS_HOSPITAL_UPLOAD, CNS_HOSPITAL_AUDIT: see above. CNS_ERR_REFUSED,
 * CNS_ERR_SIGNATURE, CNS_ERR_FORMAT, CNS_ERR_PROOF: the coordinator asked for
 * something it may not have; nothing is answered and a sentence says why. Whole
 * lists that came before the refused part and passed every check stay known,
 * so that the coordinator is held to what it signed. Nothing else was signed,
 * closed or released. What was read of the refused list (others' keys, opened
 * shares, complaints) may be left behind: it is read anew with the list that is
 * accepted in its place, and not used before.
 */
CNS_MUST_CHECK int cns_hospital_handle(struct cns_hospital *hospital, const uint8_t *request, size_t len,
                                       const uint8_t **ret_answer, size_t *ret_len,
                                       struct cns_problem *problem);

/* Masks to add to x; the machine's, wiped with it. After CNS_HOSPITAL_UPLOAD. */
CNS_MUST_CHECK int cns_hospital_masks(const struct cns_hospital *hospital,
                                      const struct cns_mask_term **ret_terms, size_t *ret_count);
/* root: digest of all of y. One root a round: another is CNS_ERR_STATE. */
CNS_MUST_CHECK int cns_hospital_uploaded(struct cns_hospital *hospital, const struct cns_digest *root,
                                         const uint8_t **ret_answer, size_t *ret_len,
                                         struct cns_problem *problem);

/* What is to be sketched in phase audit, and with which A; the machine's. After
 * CNS_HOSPITAL_AUDIT. */
struct cns_hospital_audit {
  struct cns_sketch_key key;
  uint32_t k;
  uint64_t dim;                      /* A covers the first dim words of a vector */
  const struct cns_mask_seed *seeds; /* self mask first, then pairs in cohort order: for cns_sketch_masks */
  const uint16_t *partners;          /* positions in the cohort, of each seed; of the first one's own */
  size_t count;
};
CNS_MUST_CHECK int cns_hospital_audit(const struct cns_hospital *hospital,
                                      struct cns_hospital_audit *ret_audit);
/*
 * masks: count sketches of k numbers, in the order of the seeds; of_y, of_x: of
 * the vector that was uploaded (made anew from what it was made of: its digest
 * tells whether it is the same) and of the update in it. An answer is given only
 * if A*y - q - sum of sign*p = A*x; CNS_ERR_PROOF with a sentence otherwise: this
 * machine computes wrongly, and would look like a liar's.
 */
CNS_MUST_CHECK int cns_hospital_audited(struct cns_hospital *hospital, const uint32_t *masks,
                                        const uint32_t *of_y, const uint32_t *of_x,
                                        const uint8_t **ret_answer, size_t *ret_len,
                                        struct cns_problem *problem);

/* The number under which the answer of a phase is durable: the phase, but of its
 * own for each round of phase forfeit. */
uint8_t cns_hospital_slot(const struct cns_hospital *hospital, enum cns_phase phase);

/* Signs abandon(R) and never unmasks it afterwards. CNS_ERR_STATE if its
 * shares were already released. Audits and forfeits are then refused too. */
CNS_MUST_CHECK int cns_hospital_abandon(struct cns_hospital *hospital, struct cns_signature *ret_signature);
