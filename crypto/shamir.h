/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shamir's secret sharing over the ristretto255 scalar field, at the public
 * evaluation points 1..CNS_HOSPITALS_MAX (roster indices), and the degree
 * test of SCRAPE (Cascudo and David, ACNS 2017, section 2.1): a random word of
 * the dual code, taken in the exponent, vanishes on points of a polynomial of
 * degree < threshold and is non-zero with probability 1 - 1/order otherwise.
 */
#pragma once

#include "crypto/group.h"

/*
 * Draws a polynomial of degree threshold-1 with value `secret` at zero and
 * evaluates it at indices[0..count-1] (distinct, 1..CNS_HOSPITALS_MAX).
 * Redraws if a share is zero. ret_shares has count entries.
 * CNS_ERR_ARGUMENT unless 1 <= threshold <= count and the secret is reduced
 * and not zero.
 */
CNS_MUST_CHECK int cns_shamir_split(const struct cns_scalar *secret, size_t threshold,
                                    const uint16_t *indices, size_t count, struct cns_rng rng,
                                    struct cns_scalar *ret_shares);

/* Value at zero from `count` shares at distinct indices. CNS_ERR_ARGUMENT for
 * duplicates, zero or out-of-range indices; CNS_ERR_FORMAT for a share (or a
 * result) that is zero, or a share that is unreduced. */
CNS_MUST_CHECK int cns_shamir_combine(const uint16_t *indices, const struct cns_scalar *shares, size_t count,
                                      struct cns_scalar *ret_secret);

/* The same in two steps, for many secrets shared among the same holders: the
 * public Lagrange weights once (count^2 small products), then count
 * multiplications a secret. */
CNS_MUST_CHECK int cns_shamir_weights(const uint16_t *indices, size_t count, struct cns_scalar *ret_weights);
CNS_MUST_CHECK int cns_shamir_combine_weighted(const struct cns_scalar *weights,
                                               const struct cns_scalar *shares, size_t count,
                                               struct cns_scalar *ret_secret);

/*
 * Degree test: points[k] = f(indices[k])*G and secret_point = f(0)*G with
 * deg f < threshold? `challenge` seeds the dual word: hash it from
 * secret_point *and* all points, or whoever chose them fits one to it. 0, or CNS_ERR_PROOF. Bad points are
 * CNS_ERR_PROOF. Cost: count+1 multiplications.
 */
CNS_MUST_CHECK int cns_shamir_check_degree(const struct cns_point *secret_point, const uint16_t *indices,
                                           const struct cns_point *points, size_t count, size_t threshold,
                                           const struct cns_digest *challenge);
