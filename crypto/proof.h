/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sigma protocols made non-interactive by Fiat-Shamir (strong: the
 * statement and a caller's binding digest are hashed into the challenge).
 *   possession: knowledge of s with S = s*G            (Schnorr 1991)
 *   equality:   log_G(E) = log_P(K), that is K = e*P    (Chaum and Pedersen 1992)
 * Proofs are (challenge, response), 64 bytes. Nonces are drawn from rng and
 * hedged with the secret, so that a weak rng does not reveal it.
 */
#pragma once

#include "crypto/group.h"

#define CNS_PROOF_BYTES 64

struct cns_proof {
  uint8_t bytes[CNS_PROOF_BYTES];
};

/* binding: digest of everything the proof must be tied to (R, i, purpose, both
 * points). */
CNS_MUST_CHECK int cns_proof_possession_make(const struct cns_scalar *secret, const struct cns_point *point,
                                             const struct cns_digest *binding, struct cns_rng rng,
                                             struct cns_proof *ret_proof);
/* 0, or CNS_ERR_PROOF (also for bad points, unreduced scalars). */
CNS_MUST_CHECK int cns_proof_possession_check(const struct cns_point *point, const struct cns_digest *binding,
                                              const struct cns_proof *proof);

/* E = secret*G, K = secret*P. */
CNS_MUST_CHECK int cns_proof_equality_make(const struct cns_scalar *secret, const struct cns_point *e,
                                           const struct cns_point *p, const struct cns_point *k,
                                           const struct cns_digest *binding, struct cns_rng rng,
                                           struct cns_proof *ret_proof);
CNS_MUST_CHECK int cns_proof_equality_check(const struct cns_point *e, const struct cns_point *p,
                                            const struct cns_point *k, const struct cns_digest *binding,
                                            const struct cns_proof *proof);
