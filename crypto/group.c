/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/group.h"

#include <sodium.h>
#include <string.h>

#include "crypto/bytes.h"

/* A sound source gives zero with probability 2^-252. */
#define ZERO_DRAWS_MAX 8

/* 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 9496, section 4). */
static const uint8_t order[CNS_SCALAR_BYTES] = {
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10,
};

/* The borrow that is left after subtracting the order: 1 if scalar < order. */
static bool below_order(const struct cns_scalar *scalar) {
  unsigned borrow = 0;
  for (size_t k = 0; k < CNS_SCALAR_BYTES; k++)
    borrow = ((unsigned)scalar->bytes[k] - order[k] - borrow) >> 31;
  return borrow;
}

int cns_scalar_check_canonical(const struct cns_scalar *scalar) {
  return below_order(scalar) ? CNS_OK : CNS_ERR_FORMAT;
}

int cns_scalar_check(const struct cns_scalar *scalar) {
  const int reduced = below_order(scalar), zero = cns_scalar_is_zero(scalar);
  return (reduced & ~zero) ? CNS_OK : CNS_ERR_FORMAT;
}

bool cns_scalar_is_zero(const struct cns_scalar *a) {
  return sodium_is_zero(a->bytes, sizeof a->bytes);
}

bool cns_scalar_equal(const struct cns_scalar *a, const struct cns_scalar *b) {
  return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

int cns_scalar_random(struct cns_rng rng, struct cns_scalar *ret_scalar) {
  int error = CNS_ERR_RANDOM;
  for (int draw = 0; draw < ZERO_DRAWS_MAX; draw++) {
    uint8_t wide[64];
    struct cns_scalar scalar;
    const int filled = cns_rng_fill(rng, wide, sizeof wide);
    if (!filled) {
      cns_scalar_from_wide(wide, &scalar);
      error = cns_scalar_is_zero(&scalar) ? CNS_ERR_RANDOM : CNS_OK;
      if (!error) *ret_scalar = scalar;
      cns_wipe(&scalar, sizeof scalar);
    }
    cns_wipe(wide, sizeof wide);
    if (filled) return filled;
    if (!error) break;
  }
  return error;
}

void cns_scalar_from_u64(uint64_t value, struct cns_scalar *ret_scalar) {
  memset(ret_scalar, 0, sizeof *ret_scalar);
  cns_store_le64(ret_scalar->bytes, value);
}

void cns_scalar_from_wide(const uint8_t wide[static 64], struct cns_scalar *ret_scalar) {
  crypto_core_ristretto255_scalar_reduce(ret_scalar->bytes, wide);
}

void cns_scalar_add(const struct cns_scalar *a, const struct cns_scalar *b, struct cns_scalar *ret_sum) {
  crypto_core_ristretto255_scalar_add(ret_sum->bytes, a->bytes, b->bytes);
}

void cns_scalar_sub(const struct cns_scalar *a, const struct cns_scalar *b,
                    struct cns_scalar *ret_difference) {
  crypto_core_ristretto255_scalar_sub(ret_difference->bytes, a->bytes, b->bytes);
}

void cns_scalar_mul(const struct cns_scalar *a, const struct cns_scalar *b, struct cns_scalar *ret_product) {
  crypto_core_ristretto255_scalar_mul(ret_product->bytes, a->bytes, b->bytes);
}

int cns_scalar_invert(const struct cns_scalar *a, struct cns_scalar *ret_inverse) {
  if (cns_scalar_check(a) != CNS_OK) return CNS_ERR_RANGE;
  struct cns_scalar inverse;
  if (crypto_core_ristretto255_scalar_invert(inverse.bytes, a->bytes) != 0) return CNS_ERR_LIBRARY;
  *ret_inverse = inverse;
  cns_wipe(&inverse, sizeof inverse);
  return CNS_OK;
}

bool cns_point_is_identity(const struct cns_point *point) {
  return sodium_is_zero(point->bytes, sizeof point->bytes);
}

bool cns_point_equal(const struct cns_point *a, const struct cns_point *b) {
  return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* libsodium 1.0.18 ignores the highest bit, and so takes two encodings for one
 * point; RFC 9496, section 4.3.1, refuses the second. */
static bool high_bit(const struct cns_point *point) {
  return point->bytes[CNS_POINT_BYTES - 1] >> 7;
}

int cns_point_check(const struct cns_point *point) {
  if (cns_point_is_identity(point) || high_bit(point) ||
      crypto_core_ristretto255_is_valid_point(point->bytes) != 1)
    return CNS_ERR_FORMAT;
  return CNS_OK;
}

int cns_point_base(const struct cns_scalar *scalar, struct cns_point *ret_point) {
  if (cns_scalar_check(scalar) != CNS_OK) return CNS_ERR_RANGE;
  struct cns_point point;
  if (crypto_scalarmult_ristretto255_base(point.bytes, scalar->bytes) != 0) return CNS_ERR_LIBRARY;
  *ret_point = point;
  return CNS_OK;
}

int cns_point_mul(const struct cns_scalar *scalar, const struct cns_point *point,
                  struct cns_point *ret_product) {
  if (cns_scalar_check(scalar) != CNS_OK) return CNS_ERR_RANGE;
  if (cns_point_is_identity(point) || high_bit(point)) return CNS_ERR_FORMAT;
  /* The group's order is prime: what still fails is the encoding. */
  struct cns_point product;
  if (crypto_scalarmult_ristretto255(product.bytes, scalar->bytes, point->bytes) != 0) return CNS_ERR_FORMAT;
  *ret_product = product;
  cns_wipe(&product, sizeof product);
  return CNS_OK;
}

int cns_point_add(const struct cns_point *a, const struct cns_point *b, struct cns_point *ret_sum) {
  if (high_bit(a) || high_bit(b)) return CNS_ERR_FORMAT;
  struct cns_point sum;
  if (crypto_core_ristretto255_add(sum.bytes, a->bytes, b->bytes) != 0) return CNS_ERR_FORMAT;
  *ret_sum = sum;
  return CNS_OK;
}

int cns_point_sub(const struct cns_point *a, const struct cns_point *b, struct cns_point *ret_difference) {
  if (high_bit(a) || high_bit(b)) return CNS_ERR_FORMAT;
  struct cns_point difference;
  if (crypto_core_ristretto255_sub(difference.bytes, a->bytes, b->bytes) != 0) return CNS_ERR_FORMAT;
  *ret_difference = difference;
  return CNS_OK;
}
