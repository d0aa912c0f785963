/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unsigned numbers with 320 binary places and 64 bits before the point, for
 * tables that have to be right to the last of 128 bits. What doesn't fit before
 * the point is lost: callers know their sizes. Not for secrets.
 */
#pragma once

#include "crypto/base.h"

#define CNS_FIXED_LIMBS 6
#define CNS_FIXED_PLACES 320

struct cns_fixed {
  uint64_t limbs[CNS_FIXED_LIMBS]; /* the least first; the last is the whole part */
};

struct cns_fixed cns_fixed_whole(uint64_t value);
void cns_fixed_add(struct cns_fixed *a, const struct cns_fixed *b);
void cns_fixed_subtract(struct cns_fixed *a, const struct cns_fixed *b); /* a >= b */
void cns_fixed_double(struct cns_fixed *a);
/* The next four are rounded down: off by less than 2^-320. */
void cns_fixed_halve(struct cns_fixed *a, unsigned times); /* times 1..63 */
void cns_fixed_divide(struct cns_fixed *a, uint64_t divisor);
struct cns_fixed cns_fixed_multiply(const struct cns_fixed *a, const struct cns_fixed *b);
struct cns_fixed cns_fixed_reciprocal(const struct cns_fixed *a); /* a > 1 */
/* 1/(2 sigma^2), of the double as it is; sigma from 2^-5 to 2^50. */
struct cns_fixed cns_fixed_half_precision(double sigma);
/* e^-y for y <= 8, off by less than 2^-302. */
struct cns_fixed cns_fixed_exp_negative(struct cns_fixed y);
