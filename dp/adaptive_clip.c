/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/adaptive_clip.h"

#include <math.h>

double cns_adaptive_clip_fraction(int64_t released, uint64_t unit, double expected) {
  return 0.5 + (double)released / (2 * (double)unit * expected);
}

double cns_adaptive_clip_next(const struct cns_adaptive_clip *adaptive, double norm, double fraction) {
  double within = isnan(fraction) ? adaptive->quantile : fmin(fmax(fraction, 0), 1);
  double next = norm * exp(-adaptive->rate * (within - adaptive->quantile));
  return fmin(fmax(next, adaptive->min), adaptive->max);
}

bool cns_adaptive_clip_is_next(const struct cns_adaptive_clip *adaptive, double norm, double fraction,
                               double next) {
  double computed = cns_adaptive_clip_next(adaptive, norm, fraction);
  return next >= adaptive->min && next <= adaptive->max &&
         fabs(next - computed) <= CNS_ADAPTIVE_CLIP_TOLERANCE * computed;
}
