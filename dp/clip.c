/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/clip.h"

#include <math.h>

#define BLOCK 256

static double squares_block(const float *vector, size_t len) {
  double sum = 0;
  for (size_t i = 0; i < len; i++)
    sum += (double)vector[i] * (double)vector[i];
  return sum;
}

/* Depth is log2(len / BLOCK): the recursion is shallow. */
static double squares_pairwise(const float *vector, size_t len) {
  if (len <= BLOCK) return squares_block(vector, len);
  size_t half = (len / BLOCK + 1) / 2 * BLOCK;
  if (half >= len) half = BLOCK;
  return squares_pairwise(vector, half) + squares_pairwise(vector + half, len - half);
}

int cns_clip_norm(const float *vector, size_t len, double *ret_norm, struct cns_problem *problem) {
  /* Squares of finite floats fit a double, and so does their sum: only NaN
   * and infinity make the sum non-finite. */
  double sum = squares_pairwise(vector, len);
  if (!isfinite(sum)) {
    size_t i = 0;
    while (i < len && isfinite(vector[i]))
      i++;
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "coordinate %zu of the vector is %s; the vector is refused whole", i,
                           i < len && isnan(vector[i]) ? "not a number" : "infinite");
  }
  *ret_norm = sqrt(sum);
  return 0;
}

int cns_clip(float *vector, size_t len, double clip, double *ret_norm, struct cns_problem *problem) {
  if (!(clip >= CNS_CLIP_MIN && clip <= CNS_CLIP_MAX))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "the clip norm is not between 1e-30 and 1e30");
  double norm = 0;
  int r = cns_clip_norm(vector, len, &norm, problem);
  if (r < 0) return r;
  if (norm > clip) {
    /* Each product is rounded to float by at most 2^-24 of itself; giving away
     * 2^-22 keeps the norm under the bound whatever the roundings. */
    double factor = clip / norm * (1 - 0x1p-22);
    for (size_t i = 0; i < len; i++)
      vector[i] = (float)((double)vector[i] * factor);
  }
  if (ret_norm) *ret_norm = norm;
  return 0;
}
