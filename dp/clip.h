/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2 norm and clipping of an update: g * min(1, clip/||g||). NaN and infinity
 * are refused first, named by their coordinate, because a NaN compares false
 * with every bound and would pass.
 */
#pragma once

#include "crypto/base.h"

#define CNS_CLIP_MIN 1e-30
#define CNS_CLIP_MAX 1e30

/* L2 norm, squares summed in double in blocks that are added pairwise (the
 * rounding error grows with log(len), not len). CNS_ERR_RANGE, with the index
 * of the first such coordinate, for NaN or infinity; len 0 has norm 0. */
CNS_MUST_CHECK int cns_clip_norm(const float *vector, size_t len, double *ret_norm,
                                 struct cns_problem *problem);

/*
 * Scales the vector in place so that its norm is at most clip
 * (CNS_CLIP_MIN..CNS_CLIP_MAX, else CNS_ERR_ARGUMENT),
 * also after rounding to float; a vector within the bound is left untouched,
 * bit for bit. ret_norm (may be NULL): the norm before. CNS_ERR_RANGE as above,
 * and then the vector is untouched.
 */
CNS_MUST_CHECK int cns_clip(float *vector, size_t len, double clip, double *ret_norm,
                            struct cns_problem *problem);
