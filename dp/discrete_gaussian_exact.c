/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonne, Kamath, Steinke 2020 (arXiv 2004.00010): Algorithm 1 is bernoulli_exp,
 * 2 is laplace, 3 is gaussian. Every probability is a quotient of whole numbers.
 */
#include "dp/discrete_gaussian.h"

#include "dp/noise_stream.h"

__extension__ typedef unsigned __int128 u128;

/* A sound source passes each rejection with probability at least one half. */
#define REJECTIONS_MAX 128

struct exact {
  struct cns_noise_stream *stream;
  uint64_t num, den; /* of sigma^2 */
  uint64_t t;        /* floor(sigma) + 1 */
};

static int draw_u128(struct cns_noise_stream *stream, bool wide, u128 *ret_value) {
  uint64_t low = 0, high = 0;
  int r = cns_noise_stream_u64(stream, &low);
  if (r == 0 && wide) r = cns_noise_stream_u64(stream, &high);
  *ret_value = (u128)high << 64 | low;
  return r;
}

/* Below bound, bound >= 1, by rejection from the power of two above it. */
static int uniform(struct cns_noise_stream *stream, u128 bound, u128 *ret_value) {
  const uint64_t high = (uint64_t)((bound - 1) >> 64), low = (uint64_t)(bound - 1);
  u128 mask = 0;
  if (high)
    mask = ~(u128)0 >> __builtin_clzll(high);
  else if (low)
    mask = ~UINT64_C(0) >> __builtin_clzll(low);
  for (int k = 0; k < REJECTIONS_MAX; k++) {
    u128 value;
    const int r = draw_u128(stream, high != 0, &value);
    if (r < 0) return r;
    value &= mask;
    if (value < bound) {
      *ret_value = value;
      return 0;
    }
  }
  return CNS_ERR_RANDOM;
}

/* True with probability exp(-num/den), num <= den. */
static int bernoulli_exp_unit(struct cns_noise_stream *stream, u128 num, u128 den, bool *ret_value) {
  for (unsigned k = 1;; k++) {
    u128 bound, value;
    if (__builtin_mul_overflow(den, (u128)k, &bound)) return CNS_ERR_LIMIT;
    const int r = uniform(stream, bound, &value);
    if (r < 0) return r;
    if (value >= num) {
      *ret_value = k % 2;
      return 0;
    }
  }
}

/* True with probability exp(-num/den): e^-1 for each whole, then the rest. */
static int bernoulli_exp(struct cns_noise_stream *stream, u128 num, u128 den, bool *ret_value) {
  bool value = true;
  int r = 0;
  for (; num > den && value && r == 0; num -= den)
    r = bernoulli_exp_unit(stream, 1, 1, &value);
  if (r == 0 && value) r = bernoulli_exp_unit(stream, num, den, &value);
  *ret_value = value;
  return r;
}

/* u + t*v with u < t accepted with probability exp(-u/t), and v geometric: |y| of a discrete
 * Laplace with scale t, but with probability of 0 not yet halved. */
static int geometric(const struct exact *exact, u128 *ret_value) {
  u128 u = 0, wholes = 0, value;
  bool accepted = false, again = true;
  int r = 0;
  while (r == 0 && !accepted) {
    r = uniform(exact->stream, exact->t, &u);
    if (r == 0) r = bernoulli_exp(exact->stream, u, exact->t, &accepted);
  }
  while (r == 0 && again) {
    r = bernoulli_exp_unit(exact->stream, 1, 1, &again);
    wholes += again;
  }
  if (r < 0) return r;
  if (__builtin_mul_overflow(wholes, (u128)exact->t, &value) || __builtin_add_overflow(value, u, &value) ||
      value > INT64_MAX)
    return CNS_ERR_LIMIT;
  *ret_value = value;
  return 0;
}

static int laplace(const struct exact *exact, u128 *ret_magnitude, bool *ret_negative) {
  for (;;) {
    uint64_t bits;
    int r = geometric(exact, ret_magnitude);
    if (r == 0) r = cns_noise_stream_u64(exact->stream, &bits);
    if (r < 0) return r;
    *ret_negative = bits & 1;
    if (*ret_magnitude != 0 || !*ret_negative) return 0;
  }
}

/* (|y| - sigma^2/t)^2 / (2 sigma^2) = (|y| t den - num)^2 / (2 num t^2 den). */
static int accept(const struct exact *exact, u128 magnitude, bool *ret_accepted) {
  const u128 t = exact->t;
  u128 root, square, scale = 2 * t * t * exact->den; /* at most 2^57: exact_valid */
  if (__builtin_mul_overflow(magnitude, t * exact->den, &root)) return CNS_ERR_LIMIT;
  root = root > exact->num ? root - exact->num : exact->num - root;
  if (__builtin_mul_overflow(root, root, &square)) return CNS_ERR_LIMIT;
  if (__builtin_mul_overflow(scale, (u128)exact->num, &scale)) return CNS_ERR_LIMIT;
  return bernoulli_exp(exact->stream, square, scale, ret_accepted);
}

static int gaussian(const struct exact *exact, int64_t *ret_value) {
  u128 magnitude = 0;
  bool accepted = false, negative = false;
  while (!accepted) {
    int r = laplace(exact, &magnitude, &negative);
    if (r == 0) r = accept(exact, magnitude, &accepted);
    if (r < 0) return r;
  }
  *ret_value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
  return 0;
}

/* floor(sigma) + 1 is the least t with t^2 > num/den, rounded down; 0 if that is out of range. */
static uint64_t scale_of(uint64_t num, uint64_t den) {
  const uint64_t variance = num / den;
  if (variance >= CNS_DISCRETE_GAUSSIAN_EXACT_MAX) return 0;
  uint64_t t = 0;
  for (uint64_t bit = UINT64_C(1) << 28; bit; bit >>= 1)
    if ((t | bit) * (t | bit) <= variance) t |= bit;
  t++;
  return (u128)t * t * den <= CNS_DISCRETE_GAUSSIAN_EXACT_MAX ? t : 0;
}

int cns_discrete_gaussian_exact(uint64_t variance_num, uint64_t variance_den, struct cns_rng rng,
                                int64_t *ret, size_t count) {
  struct exact exact = {.num = variance_num, .den = variance_den};
  int r = CNS_ERR_RANGE;
  if (variance_num > 0 && variance_den > 0) exact.t = scale_of(variance_num, variance_den);
  if (exact.t > 0) r = cns_noise_stream_open(rng, &exact.stream);
  for (size_t k = 0; k < count && r == 0; k++)
    r = gaussian(&exact, &ret[k]);
  cns_noise_stream_free(exact.stream);
  if (r < 0) cns_wipe(ret, count * sizeof *ret);
  return r;
}
