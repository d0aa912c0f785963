/* SPDX-License-Identifier: Apache-2.0 */
#include "model/dtype.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are copied as they lie in the file, which is little-endian"
#endif

#define F32_INFINITY 0x7F800000u
#define F16_INFINITY 0x7C00u
#define BF16_INFINITY 0x7F80u

static const struct {
  const char *name;
  size_t bytes;
} types[] = {
    [CNS_DTYPE_F32] = {"F32", 4},
    [CNS_DTYPE_F16] = {"F16", 2},
    [CNS_DTYPE_BF16] = {"BF16", 2},
};

size_t cns_dtype_bytes(enum cns_dtype dtype) {
  return types[dtype].bytes;
}

const char *cns_dtype_name(enum cns_dtype dtype) {
  return types[dtype].name;
}

int cns_dtype_from_name(const char *name, enum cns_dtype *ret_dtype) {
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (strcmp(types[i].name, name) == 0) {
      *ret_dtype = (enum cns_dtype)i;
      return 0;
    }
  return CNS_ERR_NOT_FOUND;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* Through bits, never through a float: a processor may quieten a NaN on its way. */
static uint32_t widen_f16(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
  uint32_t exponent = bits >> 10 & 0x1Fu, fraction = bits & 0x3FFu;
  if (exponent == 0x1F) return sign | F32_INFINITY | fraction << 13;
  if (exponent != 0) return sign | (exponent + 127 - 15) << 23 | fraction << 13;
  if (fraction == 0) return sign;
  /* A subnormal is fraction * 2^-24: its leading bit becomes the hidden one. */
  uint32_t shift = (uint32_t)__builtin_clz(fraction) - 21;
  return sign | (127 - 14 - shift) << 23 | (fraction << (13 + shift) & 0x7FFFFFu);
}

/* bits >> shift, rounded to the nearest, ties to even; shift is 1..31. */
static uint32_t shift_rounded(uint32_t bits, unsigned shift) {
  uint32_t kept = bits >> shift, rest = bits & ((1u << shift) - 1), half = 1u << (shift - 1);
  return kept + (rest > half || (rest == half && (kept & 1)));
}

static uint16_t narrow_f16(uint32_t bits) {
  uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7FFFFFFFu;
  if (size > F32_INFINITY) return (uint16_t)(sign | F16_INFINITY | 0x200u | (size >> 13 & 0x3FFu));
  if (size >= 0x47800000u) return (uint16_t)(sign | F16_INFINITY); /* 2^16 and more */
  /* A carry out of the fraction goes into the exponent, and from the largest into infinity. */
  if (size >= 0x38800000u) return (uint16_t)(sign | (shift_rounded(size, 13) - ((127u - 15u) << 10)));
  if (size < 0x33000000u) return (uint16_t)sign; /* less than half of the smallest, 2^-24 */
  uint32_t exponent = size >> 23;
  return (uint16_t)(sign | shift_rounded((size & 0x7FFFFFu) | 0x800000u, 126 - exponent));
}

static uint16_t narrow_bf16(uint32_t bits) {
  if ((bits & 0x7FFFFFFFu) > F32_INFINITY) return (uint16_t)(bits >> 16 | 0x40u);
  return (uint16_t)shift_rounded(bits, 16);
}

float cns_float_from_f16(uint16_t bits) {
  return float_of(widen_f16(bits));
}

float cns_float_from_bf16(uint16_t bits) {
  return float_of((uint32_t)bits << 16);
}

uint16_t cns_f16_from_float(float value) {
  return narrow_f16(bits_of(value));
}

uint16_t cns_bf16_from_float(float value) {
  return narrow_bf16(bits_of(value));
}

void cns_dtype_decode(enum cns_dtype dtype, const void *bytes, size_t count, float *out) {
  const uint8_t *at = bytes;
  if (dtype == CNS_DTYPE_F32) {
    if (count > 0) memcpy(out, bytes, count * sizeof *out);
    return;
  }
  for (size_t i = 0; i < count; i++, at += 2) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    uint32_t wide = dtype == CNS_DTYPE_F16 ? widen_f16(half) : (uint32_t)half << 16;
    memcpy(&out[i], &wide, sizeof wide);
  }
}

int cns_dtype_encode(enum cns_dtype dtype, enum cns_overflow overflow, const float *values, size_t count,
                     void *ret_bytes, size_t *ret_at) {
  uint8_t *at = ret_bytes;
  uint16_t infinity = dtype == CNS_DTYPE_F16 ? F16_INFINITY : BF16_INFINITY;
  if (dtype == CNS_DTYPE_F32) {
    if (count > 0) memcpy(ret_bytes, values, count * sizeof *values);
    return 0;
  }
  for (size_t i = 0; i < count; i++, at += 2) {
    uint32_t wide;
    memcpy(&wide, &values[i], sizeof wide);
    uint16_t half = dtype == CNS_DTYPE_F16 ? narrow_f16(wide) : narrow_bf16(wide);
    bool beyond = (half & 0x7FFFu) == infinity && (wide & 0x7FFFFFFFu) < F32_INFINITY;
    if (beyond && overflow == CNS_OVERFLOW_REFUSE) {
      *ret_at = i;
      return CNS_DTYPE_OVERFLOW;
    }
    if (beyond && overflow == CNS_OVERFLOW_CLAMP) half--; /* the largest lies just below infinity */
    memcpy(at, &half, sizeof half);
  }
  return 0;
}
