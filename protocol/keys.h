/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase keys: fresh scalars s_i (pair masks) and e_i (share encryption), their
 * points S_i and E_i, each with a Schnorr proof of possession bound to R, i and
 * both points. The proofs stop related keys: with E_j = E_k + delta*G a later
 * opening of e_i*E_j would decrypt k's shares.
 *
 * Body, 192 bytes: S, E, proof of s, proof of e.
 */
#pragma once

#include "crypto/proof.h"
#include "protocol/message.h"

#define CNS_KEYS_BODY_BYTES (2 * CNS_POINT_BYTES + 2 * CNS_PROOF_BYTES)

struct cns_keys {
  struct cns_point s;
  struct cns_point e;
};

CNS_MUST_CHECK int cns_keys_make(const struct cns_digest *round, uint16_t index, struct cns_rng rng,
                                 struct cns_scalar *ret_s, struct cns_scalar *ret_e,
                                 struct cns_keys *ret_keys, uint8_t ret_body[static CNS_KEYS_BODY_BYTES]);
/* CNS_ERR_FORMAT for a wrong length, CNS_ERR_PROOF for anything else. S = E is
 * refused. */
CNS_MUST_CHECK int cns_keys_check(const struct cns_digest *round, uint16_t index, const uint8_t *body,
                                  size_t len, struct cns_keys *ret_keys);
/* Does any of the two points occur among `others`? */
bool cns_keys_collide(const struct cns_keys *keys, const struct cns_keys *others, size_t count);
