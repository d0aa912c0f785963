/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ristretto255 (libsodium) with its edges filed off: the zero scalar, the
 * unreduced scalar, the identity and the non-canonical encoding are refused
 * everywhere. libsodium 1.0.18's scalar multiplication fails on zero and on
 * an identity result, its is_valid_point accepts the identity, its decoding
 * ignores the highest bit (two encodings of one point), and its scalar
 * functions take unreduced input: hence these wrappers. Scalar add, sub and mul
 * can't fail: they give the reduced result for any input.
 */
#pragma once

#include "crypto/base.h"
#include "crypto/hash.h"
#include "crypto/rng.h"

#define CNS_SCALAR_BYTES 32
#define CNS_POINT_BYTES 32

/* Secret unless said otherwise. */
struct cns_scalar {
  uint8_t bytes[CNS_SCALAR_BYTES];
};
struct cns_point {
  uint8_t bytes[CNS_POINT_BYTES];
};

/* Uniform non-zero. */
CNS_MUST_CHECK int cns_scalar_random(struct cns_rng rng, struct cns_scalar *ret_scalar);
/* Canonical (reduced) and non-zero, else CNS_ERR_FORMAT. Constant time. */
CNS_MUST_CHECK int cns_scalar_check(const struct cns_scalar *scalar);
/* Canonical only; zero allowed (coefficients of public combinations). */
CNS_MUST_CHECK int cns_scalar_check_canonical(const struct cns_scalar *scalar);
void cns_scalar_from_u64(uint64_t value, struct cns_scalar *ret_scalar);
/* 64 uniform bytes reduced; for challenges. */
void cns_scalar_from_wide(const uint8_t wide[static 64], struct cns_scalar *ret_scalar);
void cns_scalar_add(const struct cns_scalar *a, const struct cns_scalar *b, struct cns_scalar *ret_sum);
void cns_scalar_sub(const struct cns_scalar *a, const struct cns_scalar *b,
                    struct cns_scalar *ret_difference);
void cns_scalar_mul(const struct cns_scalar *a, const struct cns_scalar *b, struct cns_scalar *ret_product);
/* CNS_ERR_RANGE for zero. */
CNS_MUST_CHECK int cns_scalar_invert(const struct cns_scalar *a, struct cns_scalar *ret_inverse);
bool cns_scalar_is_zero(const struct cns_scalar *a);                           /* constant time */
bool cns_scalar_equal(const struct cns_scalar *a, const struct cns_scalar *b); /* constant time */

/* Canonical encoding, not the identity; else CNS_ERR_FORMAT. */
CNS_MUST_CHECK int cns_point_check(const struct cns_point *point);
/* scalar*G. CNS_ERR_RANGE for the zero or an unreduced scalar. */
CNS_MUST_CHECK int cns_point_base(const struct cns_scalar *scalar, struct cns_point *ret_point);
/* scalar*point. CNS_ERR_RANGE for zero/unreduced scalar, CNS_ERR_FORMAT for a bad point. */
CNS_MUST_CHECK int cns_point_mul(const struct cns_scalar *scalar, const struct cns_point *point,
                                 struct cns_point *ret_product);
/* Identity results are allowed here and recognised by cns_point_is_identity
 * (inputs: canonical; the identity encoding is accepted as neutral element). */
CNS_MUST_CHECK int cns_point_add(const struct cns_point *a, const struct cns_point *b,
                                 struct cns_point *ret_sum);
CNS_MUST_CHECK int cns_point_sub(const struct cns_point *a, const struct cns_point *b,
                                 struct cns_point *ret_difference);
bool cns_point_is_identity(const struct cns_point *point);
bool cns_point_equal(const struct cns_point *a, const struct cns_point *b);
