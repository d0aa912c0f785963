/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a tensor's numbers lie in a file, little-endian: F32 and F16 as in IEEE
 * 754-2019 (binary32, binary16), BF16 as the upper half of a binary32.
 *
 * Reading is exact: every F16 and BF16 is an F32, subnormals and infinities too;
 * a NaN stays a NaN with its sign and payload. Writing rounds to the nearest,
 * ties to even; a NaN stays a NaN (quiet, with the upper bits of its payload).
 */
#pragma once

#include "crypto/base.h"

enum cns_dtype { CNS_DTYPE_F32 = 0, CNS_DTYPE_F16 = 1, CNS_DTYPE_BF16 = 2 };

/* What becomes of a finite number that rounds beyond the type's largest. */
enum cns_overflow {
  CNS_OVERFLOW_REFUSE = 0,   /* an error */
  CNS_OVERFLOW_CLAMP = 1,    /* the type's largest, with the number's sign */
  CNS_OVERFLOW_INFINITE = 2, /* infinity, as IEEE 754 has it */
};

size_t cns_dtype_bytes(enum cns_dtype dtype);
/* As safetensors spells it: "F32". */
const char *cns_dtype_name(enum cns_dtype dtype);
/* CNS_ERR_NOT_FOUND for any other name. */
CNS_MUST_CHECK int cns_dtype_from_name(const char *name, enum cns_dtype *ret_dtype);

float cns_float_from_f16(uint16_t bits);
float cns_float_from_bf16(uint16_t bits);
uint16_t cns_f16_from_float(float value);
uint16_t cns_bf16_from_float(float value);

/* bytes: count numbers of dtype, at any alignment; they may be the upper part of out. */
void cns_dtype_decode(enum cns_dtype dtype, const void *bytes, size_t count, float *out);
/* ret_bytes has room for count numbers of dtype. Returns 0, or CNS_DTYPE_OVERFLOW with
 * the first number that is too large in *ret_at (only with CNS_OVERFLOW_REFUSE; those
 * before it are written). */
#define CNS_DTYPE_OVERFLOW 1
CNS_MUST_CHECK int cns_dtype_encode(enum cns_dtype dtype, enum cns_overflow overflow, const float *values,
                                    size_t count, void *ret_bytes, size_t *ret_at);
