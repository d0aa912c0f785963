/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/quantize.h"

#include <math.h>
#include <string.h>

#include "crypto/hash.h"
#include "dp/clip.h"
#include "dp/root.h"

__extension__ typedef unsigned __int128 u128;

/* Coordinates per call of the stream cipher: 4 KiB of keystream. */
#define BLOCK 1024

int cns_quantize_theta(double clip, uint32_t weight, int scale_log2, uint64_t *ret_theta) {
  if (!isfinite(clip) || clip <= 0 || weight == 0 || weight > CNS_QUANTIZE_WEIGHT_MAX) return CNS_ERR_RANGE;
  if (scale_log2 < INT8_MIN || scale_log2 > INT8_MAX) return CNS_ERR_RANGE;
  int exponent;
  uint64_t mantissa = (uint64_t)ldexp(frexp(clip, &exponent), 53);
  /* clip = mantissa * 2^(exponent-53), exactly; the numerator stays under 2^80. */
  u128 numerator = (u128)101 * mantissa * weight;
  u128 denominator = 100;
  int shift = exponent - 53 + scale_log2;
  if (shift > 40) return CNS_ERR_RANGE; /* numerator >= 2^58, so theta >= 2^62 */
  if (shift >= 0) {
    numerator <<= shift;
  } else if (-shift >= 100) {
    *ret_theta = 1; /* less than one step */
    return 0;
  } else {
    denominator <<= -shift;
  }
  u128 theta = (numerator + denominator - 1) / denominator;
  if (theta >= (u128)1 << 62) return CNS_ERR_RANGE;
  *ret_theta = (uint64_t)theta;
  return 0;
}

/* Sum and largest of the cohort's theta, each below 2^31. */
static int cohort_thetas(double clip, const uint32_t *weights, size_t count, int scale_log2,
                         uint64_t *ret_sum, uint64_t *ret_largest) {
  if (count == 0 || count > CNS_HOSPITALS_MAX) return CNS_ERR_ARGUMENT;
  uint64_t sum = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t theta;
    int r = cns_quantize_theta(clip, weights[i], scale_log2, &theta);
    if (r < 0) return r;
    if (theta >> 31) return CNS_ERR_RANGE;
    sum += theta;
    if (theta > largest) largest = theta;
  }
  *ret_sum = sum;
  *ret_largest = largest;
  return 0;
}

uint64_t cns_quantize_second(uint64_t honest, uint16_t colluders, uint64_t bound) {
  /* c*2*sqrt(8)*bound = sqrt(32*(c*bound)^2). */
  u128 reach = (u128)colluders * bound;
  return honest + cns_root_ceil(32 * reach * reach);
}

static struct cns_quantize_range range_of(uint64_t sum, uint64_t largest, uint16_t colluders) {
  return (struct cns_quantize_range){.honest = sum, .second = cns_quantize_second(sum, colluders, largest)};
}

int cns_quantize_range(double clip, const uint32_t *weights, size_t count, uint16_t colluders, int scale_log2,
                       struct cns_quantize_range *ret_range) {
  uint64_t sum, largest;
  int r = cohort_thetas(clip, weights, count, scale_log2, &sum, &largest);
  if (r < 0) return r;
  *ret_range = range_of(sum, largest, colluders);
  return 0;
}

static bool theta_fits(uint64_t theta) {
  return 8 * (u128)theta * theta < (u128)1 << 60;
}

int cns_quantize_check_scale(double clip, const uint32_t *weights, size_t count, uint16_t colluders,
                             int scale_log2, struct cns_problem *problem) {
  uint64_t sum, largest;
  int r = cohort_thetas(clip, weights, count, scale_log2, &sum, &largest);
  if (r == CNS_ERR_ARGUMENT)
    return cns_problem_set(problem, r, "a cohort has 1 to %d hospitals, not %zu", CNS_HOSPITALS_MAX, count);
  if (r < 0)
    return cns_problem_set(problem, r,
                           "clip norm %g, a weight, or scale 2^%d is out of range for 32-bit sums", clip,
                           scale_log2);
  if (!theta_fits(largest))
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "scale 2^%d is too fine: one update could reach %llu steps, and 8 times its square "
        "must stay below 2^60",
        scale_log2, (unsigned long long)largest);
  struct cns_quantize_range range = range_of(sum, largest, colluders);
  if (range.second >> 31)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "scale 2^%d is too fine: the sum of %zu updates with %u colluders could reach %llu "
        "steps and wrap; it must stay below 2^31",
        scale_log2, count, (unsigned)colluders, (unsigned long long)range.second);
  return 0;
}

int cns_quantize_choose_scale(double clip, const uint32_t *weights, size_t count, uint16_t colluders,
                              int8_t *ret_scale_log2, struct cns_problem *problem) {
  /* theta grows with the scale, so the scales that pass are a lower range. */
  int low = INT8_MIN, high = INT8_MAX;
  int r = cns_quantize_check_scale(clip, weights, count, colluders, low, problem);
  if (r < 0) return r;
  while (low < high) {
    int middle = low + (high - low + 1) / 2;
    if (cns_quantize_check_scale(clip, weights, count, colluders, middle, NULL) == 0)
      low = middle;
    else
      high = middle - 1;
  }
  *ret_scale_log2 = (int8_t)low;
  return 0;
}

/* One coordinate: up with probability ceil(fraction*2^32)/2^32. No branch
 * depends on the value. */
static int32_t round_at_random(double value, uint32_t random) {
  int32_t down = (int32_t)value;
  down -= (double)down > value;
  double fraction = (value - (double)down) * 0x1p32;
  return down + ((double)random < fraction);
}

/* A whole attempt; block numbers go on over attempts, so no keystream is used
 * twice. Returns the squared integer norm. */
static u128 round_vector(const float *update, size_t len, double factor, const uint8_t key[static 32],
                         uint64_t *block, uint32_t *x) {
  _Static_assert(crypto_stream_chacha20_KEYBYTES == 32, "key length");
  _Static_assert(crypto_stream_chacha20_NONCEBYTES == sizeof(uint64_t), "nonce length");
  uint32_t random[BLOCK];
  u128 squares = 0;
  for (size_t at = 0; at < len; at += BLOCK) {
    size_t n = len - at < BLOCK ? len - at : BLOCK;
    uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    memcpy(nonce, block, sizeof nonce);
    (*block)++;
    /* Cannot fail: the length is far below the cipher's limit. */
    (void)crypto_stream_chacha20((unsigned char *)random, n * sizeof random[0], nonce, key);
    for (size_t k = 0; k < n; k++) {
      int32_t rounded = round_at_random((double)update[at + k] * factor, random[k]);
      squares += (uint64_t)((int64_t)rounded * rounded);
      x[at + k] = (uint32_t)rounded;
    }
  }
  cns_wipe(random, sizeof random);
  return squares;
}

static int quantize_check(const float *update, size_t len, double clip, uint64_t theta,
                          struct cns_problem *problem) {
  if (!theta_fits(theta))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the scale is too fine for this clip norm and weight");
  double norm;
  int r = cns_clip_norm(update, len, &norm, problem);
  if (r < 0) return r;
  if (norm > clip * (1 + 1e-6))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the update's norm is above the clip norm %g", clip);
  return 0;
}

int cns_quantize(const float *update, size_t len, double clip, uint32_t weight, int scale_log2,
                 struct cns_rng rng, uint32_t *ret_x, struct cns_problem *problem) {
  memset(ret_x, 0, len * sizeof *ret_x);
  uint64_t theta;
  int r = cns_quantize_theta(clip, weight, scale_log2, &theta);
  if (r < 0) return cns_problem_set(problem, r, "clip norm, weight or scale is out of range");
  r = quantize_check(update, len, clip, theta, problem);
  if (r < 0) return r;
  uint8_t key[32];
  r = cns_rng_fill(rng, key, sizeof key);
  if (r < 0) return cns_problem_set(problem, r, "no randomness for rounding");
  /* weight*2^scale is exact, and so is its product with a float: 20+24 bits. */
  double factor = ldexp((double)weight, scale_log2);
  uint64_t block = 0;
  r = CNS_ERR_RANGE;
  for (int attempt = 0; attempt < CNS_QUANTIZE_ATTEMPTS_MAX && r < 0; attempt++)
    if (round_vector(update, len, factor, key, &block, ret_x) <= (u128)theta * theta) r = 0;
  cns_wipe(key, sizeof key);
  if (r == 0) return 0;
  memset(ret_x, 0, len * sizeof *ret_x);
  return cns_problem_set(
      problem, CNS_ERR_RANGE,
      "rounding %zu coordinates to whole steps does not stay within the norm bound of %llu "
      "steps: this hospital's weight %u is too small against the cohort's largest; lower the "
      "policy's cap on weights or use equal weights",
      len, (unsigned long long)theta, weight);
}

/* First pass: is any coordinate beyond the second bound? */
static int dequantize_check(const uint32_t *sum, size_t len, uint64_t second, struct cns_problem *problem) {
  for (size_t k = 0; k < len; k++) {
    int64_t value = (int32_t)sum[k];
    if ((uint64_t)(value < 0 ? -value : value) > second)
      return cns_problem_set(
          problem, CNS_ERR_RANGE,
          "coordinate %zu of the sum is beyond %llu steps, which no allowed set of updates can "
          "reach: the sum is void",
          k, (unsigned long long)second);
  }
  return 0;
}

int cns_dequantize_sum(const uint32_t *sum, size_t len, const struct cns_quantize_range *range,
                       double divisor, int scale_log2, float *ret_mean, uint64_t *ret_clipped,
                       struct cns_problem *problem) {
  memset(ret_mean, 0, len * sizeof *ret_mean);
  int r = dequantize_check(sum, len, range->second, problem);
  if (r < 0) return r;
  uint64_t clipped = 0;
  int64_t honest = (int64_t)range->honest;
  double steps = ldexp(divisor, scale_log2); /* exact */
  for (size_t k = 0; k < len; k++) {
    int64_t value = (int32_t)sum[k];
    int64_t kept = value > honest ? honest : value < -honest ? -honest : value;
    clipped += kept != value;
    ret_mean[k] = (float)((double)kept / steps);
  }
  *ret_clipped = clipped;
  return 0;
}

int cns_dequantize(const uint32_t *sum, size_t len, double clip, const uint32_t *weights, size_t count,
                   uint16_t colluders, int scale_log2, float *ret_mean, uint64_t *ret_clipped,
                   struct cns_problem *problem) {
  struct cns_quantize_range range;
  double total = 0; /* exact: below 2^30 */
  int r = cns_quantize_range(clip, weights, count, colluders, scale_log2, &range);
  if (r < 0) {
    memset(ret_mean, 0, len * sizeof *ret_mean);
    return cns_problem_set(problem, r, "clip norm, weights or scale of the sum are out of range");
  }
  for (size_t i = 0; i < count; i++)
    total += weights[i];
  return cns_dequantize_sum(sum, len, &range, total, scale_log2, ret_mean, ret_clipped, problem);
}
