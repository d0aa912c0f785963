/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase dispute: two hospitals signed different sketches of the mask that they
 * share. Each is shown the other's, and opens the pair, K = s_i*S_j with a proof
 * (Chaum and Pedersen); from K anyone computes the true sketch, so the liar is
 * known. docs/protocol.md, phase dispute.
 *
 * Tail of the request: number of contradictions u16, then for each: roster index
 * of the other u16, its words of p (k, little-endian), path under the root of its
 * message in the list of phase audit.
 *
 * Body: number of openings u16, the partners' roster indices u16, ascending. The
 * openings follow the message, in that order, to the coordinator only, as
 * leaves under root_i: partner u16, K, proof.
 */
#pragma once

#include "protocol/audit.h"

#define CNS_OPENING_BYTES (2 + CNS_POINT_BYTES + CNS_PROOF_BYTES)

struct cns_opening {
  uint16_t opener, partner; /* roster indices */
  struct cns_point pair;    /* K = s_opener * S_partner */
  struct cns_proof proof;   /* bound to R, T_audit and both indices */
};

/* opener, partner are set; s is the opener's, opener_s its point. */
CNS_MUST_CHECK int cns_opening_make(const struct cns_round *round, const struct cns_scalar *s,
                                    const struct cns_point *opener_s, const struct cns_point *partner_s,
                                    struct cns_rng rng, struct cns_opening *opening);
/* 0, or CNS_ERR_PROOF. */
CNS_MUST_CHECK int cns_opening_check(const struct cns_round *round, const struct cns_point *opener_s,
                                     const struct cns_point *partner_s, const struct cns_opening *opening);
/* Without the opener, whose message it is in. */
void cns_opening_write(struct cns_writer *writer, const struct cns_opening *opening);
void cns_opening_read(struct cns_reader *reader, struct cns_opening *ret_opening);
void cns_opening_leaf(const struct cns_opening *opening, struct cns_digest *ret_leaf);

/* What one answer of phase dispute opens, for the round: positions of the
 * partners, appended to round->opened. CNS_ERR_FORMAT for a bad body. */
CNS_MUST_CHECK int cns_dispute_note(struct cns_round *round, size_t opener, const uint8_t *body, size_t len);
