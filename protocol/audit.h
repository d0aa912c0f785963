/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase audit, at level open: a hospital sends sketches of its masks, so that
 * of each upload y the sketch z = A*y - q - sum of sign*p is known. docs/protocol.md,
 * phase audit; what a sketch is: crypto/sketch.h.
 *
 * Tail of the request: the opened nonce (32). A's key is cns_sketch_key_derive(
 * T_upload, nonce), and A covers the first dim words of a vector, not the metrics.
 *
 * Answer: an empty body; leaves under root_i, one for each member of U2: first
 * q_i = A*PRG(self seed), then p_ij = A*PRG(pair seed) for the others in cohort
 * order. Their words follow the message, k each, little-endian, to the
 * coordinator only.
 */
#pragma once

#include "crypto/sketch.h"
#include "protocol/round.h"

#define CNS_AUDIT_DIM_MIN 4096u
#define CNS_AUDIT_SKETCH_BYTES_MAX (4 * CNS_SKETCH_MAX)

/* What sketches masks, handed in like what runs loops in parallel. masks NULL:
 * cns_sketch_masks. */
struct cns_sketcher {
  int (*masks)(void *context, const struct cns_sketch_key *key, uint32_t k, const struct cns_mask_seed *seeds,
               size_t count, uint64_t words, uint32_t *ret_sketches);
  void *context;
};
CNS_MUST_CHECK int cns_sketcher_masks(struct cns_sketcher sketcher, struct cns_parallel parallel,
                                      const struct cns_sketch_key *key, uint32_t k,
                                      const struct cns_mask_seed *seeds, size_t count, uint64_t words,
                                      uint32_t *ret_sketches);

/* The commitment in the descriptor; hiding, since the nonce is 32 random bytes. */
void cns_nonce_commit(const uint8_t nonce[static CNS_SKETCH_NONCE_BYTES], struct cns_digest *ret_commitment);
bool cns_nonce_opens(const struct cns_descriptor *descriptor,
                     const uint8_t nonce[static CNS_SKETCH_NONCE_BYTES]);

/* Longest answer of phase audit from a cohort of n. */
size_t cns_audit_answer_bytes(size_t n, uint32_t k);
/* Place of the leaf of `partner` (a position; `own` itself: the self mask) in
 * the tree of member `own`, -1 if it isn't in U2. Phase ready must be closed. */
int cns_audit_place(const struct cns_round *round, size_t own, size_t partner);
/* Leaves of each tree: |U2|. */
size_t cns_audit_leaves(const struct cns_round *round);
/* words: k, little-endian bytes. partner == index: the self mask. */
void cns_audit_leaf_digest(uint16_t index, uint16_t partner, const uint8_t *words, uint32_t k,
                           struct cns_digest *ret_digest);
void cns_audit_words_write(const uint32_t *sketch, uint32_t k, uint8_t *ret_words);
void cns_audit_words_read(const uint8_t *words, uint32_t k, uint32_t *ret_sketch);

/* Digest of z in the agreement. The q that was sent goes in with it: nobody but
 * the hospital and the coordinator knows it, so the digest doesn't tell the
 * others whether a guess of x is right. q: k little-endian words. */
void cns_audit_sketch_digest(const struct cns_digest *transcript_upload, uint16_t index, const uint32_t *z,
                             const uint8_t *q, uint32_t k, struct cns_digest *ret_digest);

/*
 * Exact test of the norm bound, the same on every machine: with theta the
 * largest norm of an honest x of member k in steps (dp/quantize.h), the sum of
 * the squares of all numbers is at most 8 * F/1024 * theta^2. F is 1754, 1524,
 * 1358, 1254 for k = 128, 256, 512, 1024: an honest dense update on the bound
 * exceeds it about once in a million times.
 */
CNS_MUST_CHECK int cns_audit_within_bound(const struct cns_descriptor *descriptor, size_t k,
                                          const uint32_t *z, bool *ret_within);
