/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A claim: one sketch that a hospital signed in phase audit, with what shows
 * which one it should have been: b for a self mask, the opened pair for a pair
 * mask. It decides disputes, forfeits and evidence alike. docs/protocol.md,
 * phases dispute and unmask.
 *
 * Wire: partner u16 (the claimant's own index: the self mask), words (k,
 * little-endian), path; then of a self mask b (32), of a pair opener u16, K, proof.
 */
#pragma once

#include "protocol/dispute.h"

struct cns_claim {
  uint16_t index;       /* the claimant's */
  uint16_t partner;     /* index itself: the self mask */
  const uint8_t *words; /* k of the round, not owned */
  struct cns_merkle_path path;
  struct cns_scalar b;        /* self mask */
  struct cns_opening opening; /* pair mask, by either of the two */
};

void cns_claim_write(struct cns_writer *writer, const struct cns_claim *claim, uint32_t k);
/* words points into the reader's data. */
void cns_claim_read(struct cns_reader *reader, uint16_t index, uint32_t k, struct cns_claim *ret_claim);

/* What is known about claimant and partner. */
struct cns_claim_facts {
  const struct cns_round *round; /* lists up to phase audit */
  const uint8_t *nonce;          /* checked against the descriptor */
  struct cns_digest root;        /* of the claimant's message of phase audit */
  struct cns_point point_b;      /* B of the claimant; for self masks */
  struct cns_point point_s;      /* S of the claimant, and of the partner: for pairs */
  struct cns_point partner_s;
  struct cns_sketcher sketcher;
  struct cns_parallel parallel;
};

/* ret_difference (k): what was claimed less what is true; zeros if the claim is
 * true. CNS_ERR_PROOF if the value isn't under the root in its place, or the
 * secret isn't the one. Computes a mask of dim words, when all else holds. */
CNS_MUST_CHECK int cns_claim_check(const struct cns_claim_facts *facts, const struct cns_claim *claim,
                                   uint32_t *ret_difference);
/* Only whether the value is under the root in its place: CNS_ERR_PROOF. */
CNS_MUST_CHECK int cns_claim_check_place(const struct cns_round *round, const struct cns_digest *root,
                                         const struct cns_claim *claim);
bool cns_sketch_is_zero(const uint32_t *sketch, uint32_t k);
/* sum += sign * sketch */
void cns_sketch_add(uint32_t *sum, const uint32_t *sketch, int sign, uint32_t k);
