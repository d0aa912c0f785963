/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/shamir.h"

#include <stdlib.h>

#include "crypto/bytes.h"

/* A share is zero with probability n*2^-252 when the source is sound. */
#define REDRAWS_MAX 8
/* Evaluation points of the degree test: zero and all indices. */
#define POINTS_MAX (CNS_HOSPITALS_MAX + 1)

/*
 * Wide numbers: 512 bits, multiplied by small factors (evaluation points are at
 * most 1000) many times before one reduction modulo the order. That makes
 * Horner's rule and products of differences some twenty times faster than one
 * modular multiplication a step. Constant time in the number; the factors and
 * the number of steps are public.
 */
#define LIMBS 16
#define RESERVE_BITS (512 - 254)

struct wide {
  uint32_t limbs[LIMBS];
  unsigned grown_bits; /* an upper bound of what the number has above 254 bits */
};

static void wide_from_scalar(const struct cns_scalar *scalar, struct wide *ret_wide) {
  *ret_wide = (struct wide){.grown_bits = 0};
  for (size_t k = 0; k < CNS_SCALAR_BYTES / 4; k++)
    ret_wide->limbs[k] = cns_load_le32(scalar->bytes + 4 * k);
}

static void wide_to_scalar(const struct wide *wide, struct cns_scalar *ret_scalar) {
  uint8_t bytes[4 * LIMBS];
  for (size_t k = 0; k < LIMBS; k++)
    cns_store_le32(bytes + 4 * k, wide->limbs[k]);
  cns_scalar_from_wide(bytes, ret_scalar);
  cns_wipe(bytes, sizeof bytes);
}

/* number = number*factor + addend; factor < 2^factor_bits, addend reduced or
 * NULL for zero. */
static void wide_multiply_add(struct wide *wide, uint32_t factor, unsigned factor_bits,
                              const struct cns_scalar *addend) {
  if (wide->grown_bits + factor_bits + 1 > RESERVE_BITS) {
    struct cns_scalar reduced;
    wide_to_scalar(wide, &reduced);
    wide_from_scalar(&reduced, wide);
    cns_wipe(&reduced, sizeof reduced);
  }
  uint64_t carry = 0;
  for (size_t k = 0; k < LIMBS; k++) {
    carry += (uint64_t)wide->limbs[k] * factor;
    if (addend && k < CNS_SCALAR_BYTES / 4) carry += cns_load_le32(addend->bytes + 4 * k);
    wide->limbs[k] = (uint32_t)carry;
    carry >>= 32;
  }
  wide->grown_bits += factor_bits + 1;
}

#define INDEX_BITS 10
_Static_assert(CNS_HOSPITALS_MAX < 1 << INDEX_BITS, "an index fits its bits");

/* Horner's rule. */
static void evaluate(const struct cns_scalar *coefficients, size_t count, uint16_t at,
                     struct cns_scalar *ret_value) {
  struct wide value;
  wide_from_scalar(&coefficients[count - 1], &value);
  for (size_t k = count - 1; k-- > 0;)
    wide_multiply_add(&value, at, INDEX_BITS, &coefficients[k]);
  wide_to_scalar(&value, ret_value);
  cns_wipe(&value, sizeof value);
}

static int check_indices(const uint16_t *indices, size_t count) {
  bool seen[CNS_HOSPITALS_MAX + 1] = {false};
  if (count == 0 || count > CNS_HOSPITALS_MAX) return CNS_ERR_ARGUMENT;
  for (size_t k = 0; k < count; k++) {
    if (indices[k] == 0 || indices[k] > CNS_HOSPITALS_MAX || seen[indices[k]]) return CNS_ERR_ARGUMENT;
    seen[indices[k]] = true;
  }
  return CNS_OK;
}

/* 1 if a share came out as zero. */
static int draw_shares(struct cns_scalar *coefficients, size_t threshold, const uint16_t *indices,
                       size_t count, struct cns_rng rng, struct cns_scalar *shares) {
  for (size_t k = 1; k < threshold; k++) {
    const int error = cns_scalar_random(rng, &coefficients[k]);
    if (error) return error;
  }
  for (size_t k = 0; k < count; k++) {
    evaluate(coefficients, threshold, indices[k], &shares[k]);
    if (cns_scalar_is_zero(&shares[k])) return 1;
  }
  return CNS_OK;
}

int cns_shamir_split(const struct cns_scalar *secret, size_t threshold, const uint16_t *indices, size_t count,
                     struct cns_rng rng, struct cns_scalar *ret_shares) {
  if (check_indices(indices, count) != CNS_OK || threshold < 1 || threshold > count ||
      cns_scalar_check(secret) != CNS_OK)
    return CNS_ERR_ARGUMENT;

  const size_t scalar_count = threshold + count;
  struct cns_scalar *coefficients = sodium_malloc(scalar_count * sizeof *coefficients);
  if (!coefficients) return CNS_ERR_MEMORY;
  struct cns_scalar *shares = coefficients + threshold;
  coefficients[0] = *secret;
  int result = 1;
  for (int draw = 0; draw < REDRAWS_MAX && result == 1; draw++)
    result = draw_shares(coefficients, threshold, indices, count, rng, shares);
  if (result == CNS_OK)
    for (size_t k = 0; k < count; k++)
      ret_shares[k] = shares[k];
  sodium_free(coefficients); /* wipes */
  return result == 1 ? CNS_ERR_RANDOM : result;
}

/* Product of (points[m] - points[position]) over all m != position, as
 * absolute value and sign. Three factors of 10 bits go into one step. */
static void product_of_differences(const uint16_t *points, size_t count, size_t position,
                                   struct cns_scalar *ret_product) {
  struct cns_scalar product;
  struct wide wide;
  uint32_t factor = 1;
  unsigned packed = 0;
  bool negative = false;
  cns_scalar_from_u64(1, &product);
  wide_from_scalar(&product, &wide);
  for (size_t m = 0; m < count; m++) {
    if (m == position) continue;
    const int difference = (int)points[m] - (int)points[position];
    negative ^= difference < 0;
    factor *= (uint32_t)abs(difference);
    if (++packed == 3) {
      wide_multiply_add(&wide, factor, 3 * INDEX_BITS, NULL);
      factor = 1;
      packed = 0;
    }
  }
  wide_multiply_add(&wide, factor, 3 * INDEX_BITS, NULL);
  wide_to_scalar(&wide, &product);
  if (negative) {
    const struct cns_scalar zero = {{0}};
    cns_scalar_sub(&zero, &product, &product);
  }
  *ret_product = product;
}

/* Montgomery's trick: one inversion and 3 multiplications a value. All values
 * are public and non-zero; scratch has count entries. */
static int invert_all(struct cns_scalar *values, size_t count, struct cns_scalar *scratch) {
  scratch[0] = values[0];
  for (size_t k = 1; k < count; k++)
    cns_scalar_mul(&scratch[k - 1], &values[k], &scratch[k]);

  struct cns_scalar inverse;
  const int error = cns_scalar_invert(&scratch[count - 1], &inverse);
  if (error) return error;
  for (size_t k = count - 1; k > 0; k--) {
    const struct cns_scalar value = values[k];
    cns_scalar_mul(&inverse, &scratch[k - 1], &values[k]);
    cns_scalar_mul(&inverse, &value, &inverse);
  }
  values[0] = inverse;
  return CNS_OK;
}

/*
 * Lagrange at zero: weight_k = product over m != k of x_m / (x_m - x_k)
 *                            = N / (x_k * product of (x_m - x_k)), N = product of all x_m.
 */
int cns_shamir_weights(const uint16_t *indices, size_t count, struct cns_scalar *ret_weights) {
  if (check_indices(indices, count) != CNS_OK) return CNS_ERR_ARGUMENT;
  struct cns_scalar *weights = calloc(2 * count, sizeof *weights);
  if (!weights) return CNS_ERR_MEMORY;

  struct cns_scalar all;
  cns_scalar_from_u64(1, &all);
  for (size_t k = 0; k < count; k++) {
    struct cns_scalar index;
    cns_scalar_from_u64(indices[k], &index);
    cns_scalar_mul(&all, &index, &all);
    product_of_differences(indices, count, k, &weights[k]);
    cns_scalar_mul(&weights[k], &index, &weights[k]);
  }
  const int error = invert_all(weights, count, weights + count);
  if (!error)
    for (size_t k = 0; k < count; k++)
      cns_scalar_mul(&weights[k], &all, &ret_weights[k]);
  free(weights);
  return error;
}

int cns_shamir_combine_weighted(const struct cns_scalar *weights, const struct cns_scalar *shares,
                                size_t count, struct cns_scalar *ret_secret) {
  struct cns_scalar sum = {{0}}, product;
  int error = CNS_OK;
  for (size_t k = 0; k < count && !error; k++) {
    error = cns_scalar_check(&shares[k]) == CNS_OK ? CNS_OK : CNS_ERR_FORMAT;
    cns_scalar_mul(&weights[k], &shares[k], &product);
    cns_scalar_add(&sum, &product, &sum);
  }
  if (!error && cns_scalar_is_zero(&sum)) error = CNS_ERR_FORMAT;
  if (!error) *ret_secret = sum;
  cns_wipe(&sum, sizeof sum);
  cns_wipe(&product, sizeof product);
  return error;
}

int cns_shamir_combine(const uint16_t *indices, const struct cns_scalar *shares, size_t count,
                       struct cns_scalar *ret_secret) {
  if (check_indices(indices, count) != CNS_OK) return CNS_ERR_ARGUMENT;
  struct cns_scalar *weights = calloc(count, sizeof *weights);
  if (!weights) return CNS_ERR_MEMORY;
  int error = cns_shamir_weights(indices, count, weights);
  if (!error) error = cns_shamir_combine_weighted(weights, shares, count, ret_secret);
  free(weights);
  return error;
}

/* Coefficient `position` of the random polynomial of the degree test. */
static void dual_coefficient(const struct cns_digest *challenge, size_t position,
                             struct cns_scalar *ret_coefficient) {
  struct cns_hash hash;
  uint8_t wide[64];
  cns_hash_init_len(&hash, "consilium/1 degree word", sizeof wide);
  cns_hash_digest(&hash, challenge);
  cns_hash_u32(&hash, (uint32_t)position);
  cns_hash_final_len(&hash, wide, sizeof wide);
  cns_scalar_from_wide(wide, ret_coefficient);
}

/*
 * A random word of the dual code. The code: (f(x_0)..f(x_n)) with x_0 = 0,
 * x_k = indices[k-1], deg f < threshold, dimension threshold. Its dual:
 * v_k*g(x_k) with v_k = 1 / product over m != k of (x_k - x_m) and
 * deg g <= n - threshold, n + 1 points in all. The common factor (-1)^n of our
 * products doesn't matter.
 */
static int dual_word(const uint16_t *indices, size_t count, size_t threshold,
                     const struct cns_digest *challenge, struct cns_scalar *ret_word) {
  uint16_t points[POINTS_MAX];
  points[0] = 0;
  for (size_t k = 0; k < count; k++)
    points[k + 1] = indices[k];

  const size_t point_count = count + 1, coefficient_count = count - threshold + 1;
  struct cns_scalar *scratch = calloc(point_count, sizeof *scratch);
  if (!scratch) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < point_count; k++)
    product_of_differences(points, point_count, k, &ret_word[k]);
  const int error = invert_all(ret_word, point_count, scratch);
  if (!error) {
    for (size_t k = 0; k < coefficient_count; k++)
      dual_coefficient(challenge, k, &scratch[k]);
    for (size_t k = 0; k < point_count; k++) {
      struct cns_scalar value;
      evaluate(scratch, coefficient_count, points[k], &value);
      cns_scalar_mul(&ret_word[k], &value, &ret_word[k]);
    }
  }
  free(scratch);
  return error;
}

/* sum += factor*point. Zero factors are left out, since multiplication refuses
 * them; the sum itself may pass through the identity. */
static int accumulate(const struct cns_scalar *factor, const struct cns_point *point, struct cns_point *sum) {
  struct cns_point term;
  if (cns_scalar_is_zero(factor)) return cns_point_check(point) == CNS_OK ? CNS_OK : CNS_ERR_PROOF;
  const int error = cns_point_mul(factor, point, &term); /* checks the point */
  if (error) return error == CNS_ERR_FORMAT ? CNS_ERR_PROOF : CNS_ERR_LIBRARY;
  return cns_point_add(sum, &term, sum) == CNS_OK ? CNS_OK : CNS_ERR_LIBRARY;
}

int cns_shamir_check_degree(const struct cns_point *secret_point, const uint16_t *indices,
                            const struct cns_point *points, size_t count, size_t threshold,
                            const struct cns_digest *challenge) {
  if (check_indices(indices, count) != CNS_OK || threshold < 1 || threshold > count) return CNS_ERR_ARGUMENT;
  struct cns_scalar *word = calloc(count + 1, sizeof *word);
  if (!word) return CNS_ERR_MEMORY;

  struct cns_point sum = {{0}}; /* the identity */
  int error = dual_word(indices, count, threshold, challenge, word);
  if (!error) error = accumulate(&word[0], secret_point, &sum);
  for (size_t k = 0; k < count && !error; k++)
    error = accumulate(&word[k + 1], &points[k], &sum);
  if (!error && !cns_point_is_identity(&sum)) error = CNS_ERR_PROOF;
  free(word);
  return error;
}
