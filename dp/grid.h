/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The integer grid for a sum over patients (model/private.h), on which noise is
 * added: one step is 2^-scale_log2, words are two's complement u32. The vector
 * is projected onto the L2 ball of the public radius R, which moves no two
 * vectors apart, and each coordinate v (in steps) becomes floor(v + u), u uniform
 * on the multiples of 2^-32 in [0, 1), drawn independently of the data.
 *
 * Sensitivity, by coupling: the distribution of what leaves is a mixture over u,
 * and for each u two vectors v, w round to integers that differ by at most
 * |v_k - w_k| + 1 in each coordinate, so by |v - w| + sqrt(len) in L2. Unlike
 * dp/quantize.h nothing is drawn again until a bound is met: that would make u
 * depend on the data. docs/sensitivity.md has the constants.
 *
 * Everywhere: radius CNS_CLIP_MIN..CNS_CLIP_MAX, len 1..CNS_GRID_LEN_MAX,
 * scale_log2 -128..127, or CNS_ERR_RANGE.
 */
#pragma once

#include "crypto/base.h"
#include "crypto/rng.h"

#define CNS_GRID_LEN_MAX ((size_t)1 << 28)

__extension__ typedef unsigned __int128 cns_grid_squares;

/*
 * Integer L2 norm that a rounded vector cannot exceed:
 * R * 2^scale_log2 + sqrt(len), rounded up. CNS_ERR_RANGE also if that isn't
 * below 2^31/sqrt(32), as in dp/quantize.h: neither the sum over hospitals nor
 * sketches could be told from one that has wrapped.
 */
CNS_MUST_CHECK int cns_grid_radius_steps(double radius, size_t len, int scale_log2, uint64_t *ret_steps);

/*
 * Integer L2 sensitivity of cns_grid_round if its input's is `sensitivity`
 * (CNS_CLIP_MIN..CNS_CLIP_MAX; cns_private_sensitivity):
 * (sensitivity + 2 * R * 2^-41) * 2^scale_log2 + sqrt(len), rounded up; the
 * middle term is the projection's rounding.
 */
CNS_MUST_CHECK int cns_grid_sensitivity(double sensitivity, double radius, size_t len, int scale_log2,
                                        uint64_t *ret_steps);

/*
 * Projects and rounds. 32 bytes of rng seed a ChaCha20 stream. CNS_ERR_RANGE,
 * with a sentence: a coordinate that is NaN, infinite or above 1e150, or radius,
 * length and scale as in cns_grid_radius_steps. CNS_ERR_RANDOM. On failure ret_x
 * holds zeros.
 */
CNS_MUST_CHECK int cns_grid_round(const double *sum, size_t len, double radius, int scale_log2,
                                  struct cns_rng rng, uint32_t *ret_x, struct cns_problem *problem);

/* Exact sum of the squares of the words, as signed numbers; len at most
 * CNS_GRID_LEN_MAX. The hospital's check of its own vector before it leaves. */
cns_grid_squares cns_grid_norm(const uint32_t *x, size_t len);
/* Is the L2 norm at most `steps`? */
bool cns_grid_within(const uint32_t *x, size_t len, uint64_t steps);
