/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noise on the integer grid: the discrete Gaussian N_Z(0, sigma^2), where the
 * probability of the whole number x is in proportion to exp(-x^2/(2 sigma^2)).
 * Its variance is at most sigma^2, and less for a small sigma (sigma = 0.5:
 * 0.21501). Two samplers: a fast one in constant time, from a table, and one that
 * is exact, for reference. docs/noise.md has the derivations and the sources.
 *
 * Each call draws 32 bytes from the rng it is handed and takes the rest from the
 * AES-256-CTR keystream under them, which is wiped before it returns. After any
 * failure the whole output is zero, and the call must not be taken for noise:
 * CNS_ERR_RANDOM (the source failed), CNS_ERR_MEMORY, CNS_ERR_LIBRARY.
 */
#pragma once

#include "crypto/base.h"
#include "crypto/rng.h"

#define CNS_DISCRETE_GAUSSIAN_SIGMA_MIN 0.25
#define CNS_DISCRETE_GAUSSIAN_SIGMA_MAX 0x1p30
/* Every sample is smaller than this in absolute value. */
#define CNS_DISCRETE_GAUSSIAN_LIMIT (INT64_C(1) << 40)

/* Table and shape for one sigma. Immutable: threads may share it. */
struct cns_discrete_gaussian;

/* CNS_ERR_RANGE with a sentence unless sigma is within the two limits; CNS_ERR_MEMORY.
 * Takes a fraction of a millisecond. sigma is public: time depends on it, not on samples. */
CNS_MUST_CHECK int cns_discrete_gaussian_new(double sigma, struct cns_discrete_gaussian **ret_sampler,
                                             struct cns_problem *problem);
struct cns_discrete_gaussian *cns_discrete_gaussian_free(struct cns_discrete_gaussian *sampler);

/* The sigma of what is drawn: at least what was asked for, and at most a factor 1 + 2^-50
 * more. Where that is no double, a double between the two. Exact up to sigma = 18. */
double cns_discrete_gaussian_sigma(const struct cns_discrete_gaussian *sampler);

/* log2 of an upper bound, at most -104, of the statistical distance between one sample and
 * N_Z(0, sigma^2) with the sigma of what is drawn, given that the keystream is uniform. Of
 * n samples: n times the bound. */
double cns_discrete_gaussian_distance_log2(const struct cns_discrete_gaussian *sampler);

/* Samples to ret[0..count-1]. Sample k depends on the 32 bytes and on k alone. */
CNS_MUST_CHECK int cns_discrete_gaussian_fill(const struct cns_discrete_gaussian *sampler, struct cns_rng rng,
                                              int64_t *ret, size_t count);
/* Adds a fresh sample to each word, modulo 2^32 (two's complement); the same samples as _fill. */
CNS_MUST_CHECK int cns_discrete_gaussian_add(const struct cns_discrete_gaussian *sampler, struct cns_rng rng,
                                             uint32_t *x, size_t count);

/*
 * The same distribution without any error, for sigma^2 = variance_num/variance_den > 0, in
 * whole numbers: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010), Algorithms 1 to 3. How
 * long a sample takes depends on the sample: not where somebody can measure that.
 * CNS_ERR_RANGE unless both are positive and (floor(sigma) + 1)^2 * variance_den is at most
 * CNS_DISCRETE_GAUSSIAN_EXACT_MAX. CNS_ERR_LIMIT, once in e^256 samples, when a number
 * outgrows 128 bits.
 */
#define CNS_DISCRETE_GAUSSIAN_EXACT_MAX (UINT64_C(1) << 56)
CNS_MUST_CHECK int cns_discrete_gaussian_exact(uint64_t variance_num, uint64_t variance_den,
                                               struct cns_rng rng, int64_t *ret, size_t count);
