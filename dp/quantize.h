/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The integer grid of docs/protocol.md, "Numbers". One step is 2^-scale_log2;
 * a hospital's vector is x = weight * clipped update * 2^scale_log2, rounded
 * to integers at random (up with probability equal to the fraction, to within
 * 2^-32), as two's complement u32. Rounding is repeated with fresh randomness
 * until the integer L2 norm is at most theta (conditional rounding, Kairouz,
 * Liu, Steinke 2021, arXiv 2102.06387).
 *
 *   theta = ceil(101/100 * clip * weight * 2^scale_log2)
 *
 * computed exactly from the bits of the double clip. Everything that follows
 * (ranges, wrapping, later the audit and the sensitivity) uses this theta, so
 * that all machines agree. All comparisons are in integers.
 */
#pragma once

#include "crypto/base.h"
#include "crypto/rng.h"

#define CNS_QUANTIZE_WEIGHT_MAX 1000000u
#define CNS_QUANTIZE_ATTEMPTS_MAX 100

/* theta of one hospital, in steps, at least 1. CNS_ERR_RANGE for a clip that is
 * not finite and positive, weight 0 or above the limit, theta >= 2^62. */
CNS_MUST_CHECK int cns_quantize_theta(double clip, uint32_t weight, int scale_log2, uint64_t *ret_theta);

/* Ranges of the integer sum over hospitals with these public weights. */
struct cns_quantize_range {
  uint64_t honest; /* sum of their theta: largest |coordinate| of an honest sum */
  uint64_t second; /* honest + ceil(colluders * 2*sqrt(8) * largest theta): beyond it the sum is void */
};
/* honest + ceil(colluders * 2*sqrt(8) * bound); colluders * bound < 2^47. */
uint64_t cns_quantize_second(uint64_t honest, uint16_t colluders, uint64_t bound);
/* CNS_ERR_RANGE as theta and for a theta of 2^31 or more; CNS_ERR_ARGUMENT unless 1 <= count <=
 * CNS_HOSPITALS_MAX. */
CNS_MUST_CHECK int cns_quantize_range(double clip, const uint32_t *weights, size_t count, uint16_t colluders,
                                      int scale_log2, struct cns_quantize_range *ret_range);

/*
 * May this cohort use this scale? With theta the largest one:
 * sqrt(8)*theta < 2^30 (8*theta^2 < 2^60) and the second bound < 2^31, so that
 * neither a sum nor a later sketch bucket can wrap. 0, or CNS_ERR_RANGE with a
 * sentence. scale_log2 is -128..127.
 */
CNS_MUST_CHECK int cns_quantize_check_scale(double clip, const uint32_t *weights, size_t count,
                                            uint16_t colluders, int scale_log2, struct cns_problem *problem);
/* The largest (finest) scale that passes that check; deterministic, so a
 * hospital can demand equality. CNS_ERR_RANGE if even -128 does not pass. */
CNS_MUST_CHECK int cns_quantize_choose_scale(double clip, const uint32_t *weights, size_t count,
                                             uint16_t colluders, int8_t *ret_scale_log2,
                                             struct cns_problem *problem);

/*
 * Rounds an update whose norm is at most clip (call cns_clip first; 1e-6 over
 * is tolerated as float noise) onto the grid. Randomness: 32 bytes of rng seed
 * one ChaCha20 stream for all attempts. CNS_ERR_RANGE: NaN or infinity, norm
 * above the clip, theta not below 2^31/sqrt(32), or the norm bound not met in
 * CNS_QUANTIZE_ATTEMPTS_MAX attempts (theta under about 3.6*sqrt(len): the
 * weight is too small against the cohort's largest; the sentence says so).
 * On failure ret_x holds zeros.
 */
CNS_MUST_CHECK int cns_quantize(const float *update, size_t len, double clip, uint32_t weight, int scale_log2,
                                struct cns_rng rng, uint32_t *ret_x, struct cns_problem *problem);

/*
 * Mean update from the unmasked sum: coordinate / divisor / 2^scale_log2, as the
 * double nearest to that quotient, then the nearest float. Coordinates beyond
 * the honest range are clipped to it and counted; one beyond the second bound
 * voids the sum: CNS_ERR_RANGE, naming the coordinate, ret_mean zeroed. divisor:
 * cns_mechanism_divisor, positive.
 */
CNS_MUST_CHECK int cns_dequantize_sum(const uint32_t *sum, size_t len, const struct cns_quantize_range *range,
                                      double divisor, int scale_log2, float *ret_mean, uint64_t *ret_clipped,
                                      struct cns_problem *problem);
/* The weighted mean of updates without noise: the range of cns_quantize_range,
 * divided by the sum of the weights. */
CNS_MUST_CHECK int cns_dequantize(const uint32_t *sum, size_t len, double clip, const uint32_t *weights,
                                  size_t count, uint16_t colluders, int scale_log2, float *ret_mean,
                                  uint64_t *ret_clipped, struct cns_problem *problem);
