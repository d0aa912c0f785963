/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/grid.h"

#include <math.h>
#include <string.h>

#include "crypto/hash.h"
#include "dp/clip.h"
#include "dp/root.h"

/* Coordinates per call of the stream cipher: 4 KiB of keystream. */
#define BLOCK 1024
#define SQUARES_BLOCK 256
#define COORDINATE_MAX 1e150
/* Bounds are added in 2^-16 of a step. */
#define FRACTION_BITS 16
#define PROJECTION_LOG2 (-41)
#define SCALED_MAX ((uint64_t)1 << 62)

typedef cns_grid_squares u128;

/* ceil(value * 2^shift), exactly, from the bits of a positive double. */
static int scaled_ceil(double value, int shift, uint64_t *ret_scaled) {
  int exponent;
  uint64_t mantissa = (uint64_t)ldexp(frexp(value, &exponent), 53);
  shift += exponent - 53; /* value * 2^shift is now mantissa * 2^shift */
  if (shift > 10) return CNS_ERR_RANGE;
  if (shift >= 0)
    *ret_scaled = mantissa << shift;
  else if (shift <= -64)
    *ret_scaled = 1;
  else
    *ret_scaled = (uint64_t)(((u128)mantissa + (((u128)1 << -shift) - 1)) >> -shift);
  return 0;
}

static bool in_range(double value, size_t len, int scale_log2) {
  return value >= CNS_CLIP_MIN && value <= CNS_CLIP_MAX && len >= 1 && len <= CNS_GRID_LEN_MAX &&
         scale_log2 >= INT8_MIN && scale_log2 <= INT8_MAX;
}

/* ceil(value * 2^scale_log2 + extra * 2^(scale_log2 + extra_log2) + sqrt(len)), at most
 * a step too large; extra may be 0. */
static int steps_of(double value, double extra, int extra_log2, size_t len, int scale_log2,
                    uint64_t *ret_steps) {
  uint64_t scaled, added = 0;
  int r = scaled_ceil(value, scale_log2 + FRACTION_BITS, &scaled);
  if (r == 0 && extra > 0) r = scaled_ceil(extra, scale_log2 + extra_log2 + FRACTION_BITS, &added);
  if (r < 0) return r;
  if (scaled > SCALED_MAX || added > SCALED_MAX) return CNS_ERR_RANGE;
  /* len * 2^32 is below 2^61. */
  uint64_t rounding = cns_root_ceil((uint64_t)len << (2 * FRACTION_BITS));
  uint64_t one = (uint64_t)1 << FRACTION_BITS;
  *ret_steps = (scaled + added + rounding + one - 1) >> FRACTION_BITS;
  return 0;
}

int cns_grid_radius_steps(double radius, size_t len, int scale_log2, uint64_t *ret_steps) {
  uint64_t steps;
  if (!in_range(radius, len, scale_log2)) return CNS_ERR_RANGE;
  int r = steps_of(radius, 0, 0, len, scale_log2, &steps);
  if (r < 0) return r;
  if (32 * (u128)steps * steps >= (u128)1 << 62) return CNS_ERR_RANGE;
  *ret_steps = steps;
  return 0;
}

int cns_grid_sensitivity(double sensitivity, double radius, size_t len, int scale_log2, uint64_t *ret_steps) {
  if (!in_range(sensitivity, len, scale_log2) || !in_range(radius, len, scale_log2)) return CNS_ERR_RANGE;
  return steps_of(sensitivity, radius, 1 + PROJECTION_LOG2, len, scale_log2, ret_steps);
}

static double squares_block(const double *vector, size_t len) {
  double sum = 0;
  for (size_t i = 0; i < len; i++)
    sum += vector[i] * vector[i];
  return sum;
}

/* No term goes through more than SQUARES_BLOCK + 21 roundings: 2^28 coordinates
 * are 2^20 blocks. */
static double squares_pairwise(const double *vector, size_t len) {
  if (len <= SQUARES_BLOCK) return squares_block(vector, len);
  size_t half = (len / SQUARES_BLOCK + 1) / 2 * SQUARES_BLOCK;
  if (half >= len) half = SQUARES_BLOCK;
  return squares_pairwise(vector, half) + squares_pairwise(vector + half, len - half);
}

/*
 * Factor that takes the vector into the ball; at most 1. With n the exact norm, the
 * computed square is within gamma_280 < 2^-44 of n^2, so `bound` is between n and
 * n * (1 + 2^-42.9), squares that underflow left aside: those of a vector that is longer than
 * CNS_CLIP_MIN don't matter. The factor is therefore 1 only within the ball, and otherwise, R/bound
 * made smaller by 2^-50, at most R/n * (1 - 2^-51) and at least min(1, R/n) * (1 - 2^-42). So the vector that
 * is rounded, products rounded to double included, lies in the ball, and within R * 2^-41 of
 * the exact projection.
 */
static double projection(const double *sum, size_t len, double radius) {
  double bound = sqrt(squares_pairwise(sum, len)) * (1 + 0x1p-43);
  return bound <= radius ? 1 : radius / bound * (1 - 0x1p-50);
}

/*
 * floor(value + random/2^32), exactly, for |value| < 2^31: a sum in double would round.
 * |value| = whole + part/2^32; both are exact. No branch depends on the value.
 */
static int32_t round_down_shifted(double value, uint32_t random) {
  double magnitude = fabs(value);
  int32_t whole = (int32_t)magnitude;
  double part = (magnitude - (double)whole) * 0x1p32;
  int negative = value < 0;
  int up = (negative & (part > (double)random)) | (!negative & (part >= 0x1p32 - (double)random));
  return (whole + up) * (1 - 2 * negative);
}

static void round_vector(const double *sum, size_t len, double factor, int scale_log2,
                         const uint8_t key[static 32], uint32_t *x) {
  _Static_assert(crypto_stream_chacha20_KEYBYTES == 32, "key length");
  _Static_assert(crypto_stream_chacha20_NONCEBYTES == sizeof(uint64_t), "nonce length");
  uint32_t random[BLOCK];
  double scale = ldexp(1, scale_log2);
  for (size_t at = 0; at < len; at += BLOCK) {
    size_t n = len - at < BLOCK ? len - at : BLOCK;
    uint64_t block = at / BLOCK;
    uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    memcpy(nonce, &block, sizeof nonce);
    /* Cannot fail: the length is far below the cipher's limit. */
    (void)crypto_stream_chacha20((unsigned char *)random, n * sizeof random[0], nonce, key);
    for (size_t k = 0; k < n; k++)
      x[at + k] = (uint32_t)round_down_shifted(sum[at + k] * factor * scale, random[k]);
  }
  cns_wipe(random, sizeof random);
}

int cns_grid_round(const double *sum, size_t len, double radius, int scale_log2, struct cns_rng rng,
                   uint32_t *ret_x, struct cns_problem *problem) {
  memset(ret_x, 0, len * sizeof *ret_x);
  uint64_t steps;
  int r = cns_grid_radius_steps(radius, len, scale_log2, &steps);
  if (r < 0)
    return cns_problem_set(problem, r,
                           "radius %g, scale 2^%d or the length %zu is out of range: in steps the radius and "
                           "the root of the length together must stay below 2^28.5",
                           radius, scale_log2, len);
  for (size_t k = 0; k < len; k++)
    if (!(fabs(sum[k]) <= COORDINATE_MAX))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "coordinate %zu of the sum is %s; the vector is refused whole", k,
                             isnan(sum[k])   ? "not a number"
                             : isinf(sum[k]) ? "infinite"
                                             : "above 1e150");
  uint8_t key[32];
  r = cns_rng_fill(rng, key, sizeof key);
  if (r < 0) return cns_problem_set(problem, r, "no randomness for rounding");
  round_vector(sum, len, projection(sum, len, radius), scale_log2, key, ret_x);
  cns_wipe(key, sizeof key);
  return 0;
}

cns_grid_squares cns_grid_norm(const uint32_t *x, size_t len) {
  u128 sum = 0;
  for (size_t k = 0; k < len; k++) {
    int64_t value = (int32_t)x[k];
    sum += (uint64_t)(value * value);
  }
  return sum;
}

bool cns_grid_within(const uint32_t *x, size_t len, uint64_t steps) {
  return cns_grid_norm(x, len) <= (u128)steps * steps;
}
