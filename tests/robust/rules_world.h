/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices for the tests of rules. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "robust/robust.h"

enum world_kind { WORLD_IID, WORLD_SHIFTED, WORLD_ATTACKED, WORLD_KINDS };

/* Sum of four uniform numbers: about normal, variance 1/3. */
static inline double world_number(struct cns_rng rng) {
  double sum = 0;
  for (int k = 0; k < 4; k++) {
    uint64_t bits;
    if (cns_rng_uniform_u64(rng, 1 << 20, &bits) < 0) abort();
    sum += (double)bits / (1 << 20) - 0.5;
  }
  return sum;
}

/* Rounded to float, so that both types hold the same. The first `f` rows attack. */
static inline void world_fill(enum world_kind kind, uint64_t seed, size_t n, size_t d, size_t f,
                              double *ret_x) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, seed, "world");
  for (size_t k = 0; k < n * d; k++)
    ret_x[k] = world_number(cns_rng_seeded(&generator)) + (kind == WORLD_SHIFTED ? 50 : 0.25);
  for (size_t k = 0; kind == WORLD_ATTACKED && k < f * d; k++)
    ret_x[k] = (k < d ? -900.0 : -3.0) * (1 + 0.25 * ret_x[k]);
  for (size_t k = 0; k < n * d; k++)
    ret_x[k] = (double)(float)ret_x[k];
}

/* A copy of the matrix in a type; to be freed. */
static inline void *world_as(enum cns_robust_type type, const double *x, size_t count) {
  void *copy = malloc(count * (size_t)type);
  if (!copy) abort();
  for (size_t k = 0; k < count; k++)
    if (type == CNS_ROBUST_F64)
      ((double *)copy)[k] = x[k];
    else
      ((float *)copy)[k] = (float)x[k];
  return copy;
}

static inline double world_at(enum cns_robust_type type, const void *values, size_t k) {
  return type == CNS_ROBUST_F64 ? ((const double *)values)[k] : (double)((const float *)values)[k];
}

/* Parameters with which each rule can be run, f = `f`; reference: d elements of the type. */
static inline struct cns_robust_params world_rule_params(enum cns_robust_rule rule, size_t f,
                                                         const void *reference) {
  struct cns_robust_params p = {.byzantine = f};
  if (rule == CNS_ROBUST_CENTERED_CLIPPING) p.tau = 1.5;
  if (rule == CNS_ROBUST_CLIPPED_MEAN) p.norm = 1.5;
  if (rule == CNS_ROBUST_MONNA) p.pivot = 3;
  if (rule == CNS_ROBUST_FLTRUST) p.reference = reference;
  return p;
}

static inline struct cns_robust_params world_pre_params(enum cns_robust_pre pre, size_t f) {
  struct cns_robust_params p = {.byzantine = f};
  if (pre == CNS_ROBUST_CLIPPING) p.norm = 1.5;
  if (pre == CNS_ROBUST_BUCKETING) {
    p.size = 3;
    p.seed = 9;
  }
  return p;
}
