/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/fixed.h"

#include <math.h>

__extension__ typedef unsigned __int128 u128;

#define LIMBS CNS_FIXED_LIMBS
#define DOUBLE_BITS 53
/* e^-y = (e^-(y/1024))^1024, so that 8 at the most becomes 2^-7. */
#define EXP_SQUARINGS 10
/* (2^-7)^k/k! is below 2^-320 from k = 34 on. */
#define EXP_TERMS 36u

struct cns_fixed cns_fixed_whole(uint64_t value) {
  return (struct cns_fixed){.limbs = {[LIMBS - 1] = value}};
}

void cns_fixed_add(struct cns_fixed *a, const struct cns_fixed *b) {
  u128 carry = 0;
  for (size_t k = 0; k < LIMBS; k++) {
    carry += (u128)a->limbs[k] + b->limbs[k];
    a->limbs[k] = (uint64_t)carry;
    carry >>= 64;
  }
}

void cns_fixed_subtract(struct cns_fixed *a, const struct cns_fixed *b) {
  uint64_t borrow = 0;
  for (size_t k = 0; k < LIMBS; k++) {
    const u128 difference = (u128)a->limbs[k] - b->limbs[k] - borrow;
    a->limbs[k] = (uint64_t)difference;
    borrow = (uint64_t)(difference >> 64) & 1;
  }
}

static bool less(const struct cns_fixed *a, const struct cns_fixed *b) {
  size_t k = LIMBS - 1;
  while (k > 0 && a->limbs[k] == b->limbs[k])
    k--;
  return a->limbs[k] < b->limbs[k];
}

/* a = 2a + bit. */
static void append_bit(struct cns_fixed *a, uint64_t bit) {
  for (size_t k = 0; k < LIMBS; k++) {
    const uint64_t carry = a->limbs[k] >> 63;
    a->limbs[k] = a->limbs[k] << 1 | bit;
    bit = carry;
  }
}

void cns_fixed_double(struct cns_fixed *a) {
  append_bit(a, 0);
}

void cns_fixed_halve(struct cns_fixed *a, unsigned times) {
  for (size_t k = 0; k < LIMBS; k++) {
    const uint64_t above = k + 1 < LIMBS ? a->limbs[k + 1] : 0;
    a->limbs[k] = a->limbs[k] >> times | above << (64 - times);
  }
}

void cns_fixed_divide(struct cns_fixed *a, uint64_t divisor) {
  u128 rest = 0;
  for (size_t k = LIMBS; k-- > 0;) {
    rest = rest << 64 | a->limbs[k];
    a->limbs[k] = (uint64_t)(rest / divisor);
    rest %= divisor;
  }
}

struct cns_fixed cns_fixed_multiply(const struct cns_fixed *a, const struct cns_fixed *b) {
  uint64_t product[2 * LIMBS] = {0};
  for (size_t i = 0; i < LIMBS; i++) {
    u128 carry = 0;
    for (size_t j = 0; j < LIMBS; j++) {
      carry += (u128)a->limbs[i] * b->limbs[j] + product[i + j];
      product[i + j] = (uint64_t)carry;
      carry >>= 64;
    }
    product[i + LIMBS] = (uint64_t)carry;
  }
  struct cns_fixed result;
  for (size_t k = 0; k < LIMBS; k++)
    result.limbs[k] = product[k + CNS_FIXED_PLACES / 64];
  return result;
}

struct cns_fixed cns_fixed_reciprocal(const struct cns_fixed *a) {
  struct cns_fixed rest = cns_fixed_whole(1), quotient = {{0}};
  for (int k = 0; k < CNS_FIXED_PLACES; k++) {
    cns_fixed_double(&rest);
    const bool fits = !less(&rest, a);
    if (fits) cns_fixed_subtract(&rest, a);
    append_bit(&quotient, fits);
  }
  return quotient;
}

/* sigma = m*2^(e-53) with a whole m < 2^53, so that 1/(2 sigma^2) = 2^(105-2e)/m^2. */
struct cns_fixed cns_fixed_half_precision(double sigma) {
  int e = 0;
  const uint64_t m = (uint64_t)ldexp(frexp(sigma, &e), DOUBLE_BITS);
  const u128 divisor = (u128)m * m;
  struct cns_fixed quotient = {{0}};
  u128 rest = 1;
  for (int k = 0; k < CNS_FIXED_PLACES + 2 * DOUBLE_BITS - 1 - 2 * e; k++) {
    rest <<= 1;
    const bool fits = rest >= divisor;
    if (fits) rest -= divisor;
    append_bit(&quotient, fits);
  }
  return quotient;
}

/* With u = 2^-320: the terms are off by less than 2u each, the series by less than 100u, and
 * each squaring of a number below 1 doubles that and adds u: less than 2^10 * 2^7 u at the end,
 * and y's own 2u are far within. */
struct cns_fixed cns_fixed_exp_negative(struct cns_fixed y) {
  cns_fixed_halve(&y, EXP_SQUARINGS);
  struct cns_fixed sum = cns_fixed_whole(1), term = sum;
  for (uint64_t k = 1; k < EXP_TERMS; k++) {
    term = cns_fixed_multiply(&term, &y);
    cns_fixed_divide(&term, k);
    if (k % 2)
      cns_fixed_subtract(&sum, &term);
    else
      cns_fixed_add(&sum, &term);
  }
  for (int k = 0; k < EXP_SQUARINGS; k++)
    sum = cns_fixed_multiply(&sum, &sum);
  return sum;
}
