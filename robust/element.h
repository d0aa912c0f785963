/* SPDX-License-Identifier: Apache-2.0 */
/* Internal: single elements of a matrix of float or double. */
#pragma once

#include <math.h>

#include "robust/robust.h"

static inline double cns_element_get(enum cns_robust_type type, const void *elements, size_t index) {
  return type == CNS_ROBUST_F32 ? (double)((const float *)elements)[index]
                                : ((const double *)elements)[index];
}

/* Rounded to the type; false if that isn't finite. */
static inline bool cns_element_set(enum cns_robust_type type, void *elements, size_t index, double value) {
  if (type == CNS_ROBUST_F32) {
    float rounded = (float)value;
    ((float *)elements)[index] = rounded;
    return isfinite(rounded);
  }
  ((double *)elements)[index] = value;
  return isfinite(value);
}

/* Where row `row` of d columns begins. */
static inline void *cns_element_row(enum cns_robust_type type, void *matrix, size_t row, size_t d) {
  return (uint8_t *)matrix + row * d * (size_t)type;
}
