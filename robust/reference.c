/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"
#include "crypto/rng.h"
#include "robust/geometry.h"

#define DRAWS 50000u
#define SEED 4
#define MAD_TO_SIGMA 1.4826022185056018
#define EWMA_TERMS 40

/* Inverse distribution function of Student's t with 4 degrees of freedom
 * (Shaw 2006, section 3: closed for 4). 0 < u < 1. */
static double student_4(double u) {
  double alpha = 4 * u * (1 - u), root = sqrt(alpha);
  double q = cos(acos(root) / 3) / root;
  return (u < 0.5 ? -2 : 2) * sqrt(fmax(q - 1, 0));
}

static int draw_cohort(struct cns_rng rng, size_t n, double *value) {
  uint8_t bytes[8];
  for (size_t i = 0; i < n; i++) {
    int r = cns_rng_fill(rng, bytes, sizeof bytes);
    if (r < 0) return r;
    value[i] = student_4(((double)(cns_load_le64(bytes) >> 11) + 0.5) * 0x1p-53);
  }
  return 0;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double cns_reference_scale(enum cns_scale scale, double *deviations, size_t n) {
  double middle = cns_geometry_middle(deviations, n);
  if (scale == CNS_SCALE_MAD) return MAD_TO_SIGMA * middle;
  size_t left_out = n >= 6 ? (n - 2) / 4 : 1;
  return deviations[n - 1 - left_out];
}

/* value -> |z| on both scales, at offset; room holds n. */
static void standardise(struct cns_reference *reference, size_t offset, const double *value, double *room,
                        size_t n) {
  memcpy(room, value, n * sizeof *room);
  double median = cns_geometry_middle(room, n);
  for (int s = 0; s < CNS_SCALE_COUNT; s++) {
    for (size_t i = 0; i < n; i++)
      room[i] = fabs(value[i] - median);
    double scale = fmax(cns_reference_scale((enum cns_scale)s, room, n), 1e-300);
    for (size_t i = 0; i < n; i++)
      reference->z[s][offset + i] = fabs(value[i] - median) / scale;
  }
}

static int draw_all(struct cns_reference *reference, size_t n, double *value) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, SEED, "reference of robust z");
  for (size_t at = 0; at < reference->count; at += n) {
    int r = draw_cohort(cns_rng_seeded(&generator), n, value);
    if (r < 0) return r;
    standardise(reference, at, value, value + n, n);
  }
  for (int s = 0; s < CNS_SCALE_COUNT; s++)
    qsort(reference->z[s], reference->count, sizeof *reference->z[s], ascending);
  return 0;
}

int cns_reference_init(struct cns_reference *reference, size_t n) {
  *reference = (struct cns_reference){.count = (DRAWS + n - 1) / n * n};
  double *value = malloc(2 * n * sizeof *value);
  int r = value ? 0 : CNS_ERR_MEMORY;
  for (int s = 0; s < CNS_SCALE_COUNT; s++) {
    reference->z[s] = malloc(reference->count * sizeof *reference->z[s]);
    if (!reference->z[s]) r = CNS_ERR_MEMORY;
  }
  if (r == 0) r = draw_all(reference, n, value);
  free(value);
  if (r < 0) cns_reference_deinit(reference);
  return r;
}

void cns_reference_deinit(struct cns_reference *reference) {
  for (int s = 0; s < CNS_SCALE_COUNT; s++)
    free(reference->z[s]);
  *reference = (struct cns_reference){0};
}

double cns_reference_tail(const struct cns_reference *reference, enum cns_scale scale, double z) {
  size_t low = 0, high = reference->count; /* first index with z' >= |z| */
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (reference->z[scale][middle] < fabs(z))
      low = middle + 1;
    else
      high = middle;
  }
  double tail = ((double)(reference->count - low) + 1) / (2 * (double)reference->count + 2);
  return z >= 0 ? tail : 1 - tail;
}

double cns_reference_quantile(const struct cns_reference *reference, enum cns_scale scale, double rate) {
  double above = 2 * rate * (double)reference->count; /* of |z|; half of them on this side */
  size_t index = above >= (double)reference->count ? 0 : reference->count - (size_t)ceil(above);
  return reference->z[scale][index < reference->count ? index : reference->count - 1];
}

/*
 * The EWMA is a sum of exponential variables with means share*(1-share)^j *
 * mean: its tail is sum A_j exp(-level/mean_j), A_j the product over i of
 * mean_j/(mean_j - mean_i) (Ross, Introduction to Probability Models, 5.2.4).
 */
double cns_reference_ewma_tail(double level) {
  double mean[EWMA_TERMS], tail = 0;
  for (int j = 0; j < EWMA_TERMS; j++)
    mean[j] = CNS_REFERENCE_MEAN * CNS_REFERENCE_EWMA_SHARE * pow(1 - CNS_REFERENCE_EWMA_SHARE, j);
  for (int j = 0; j < EWMA_TERMS; j++) {
    double factor = 1;
    for (int i = 0; i < EWMA_TERMS; i++)
      if (i != j) factor *= mean[j] / (mean[j] - mean[i]);
    tail += factor * exp(-level / mean[j]);
  }
  return tail;
}

double cns_reference_ewma_limit(double rate) {
  double low = CNS_REFERENCE_MEAN, high = 20;
  for (int step = 0; step < 60; step++) {
    double middle = (low + high) / 2;
    if (cns_reference_ewma_tail(middle) > rate)
      low = middle;
    else
      high = middle;
  }
  return high;
}

/*
 * max(0, C + S - drift) with exponential S is the waiting time of a D/M/1 queue:
 * P(C > level) = sigma * exp(-(1-sigma)*level/mean), sigma = exp(-(1-sigma)*drift/mean)
 * (Kleinrock 1975, section 6.4).
 */
double cns_reference_cusum_limit(double rate) {
  double sigma = 0;
  for (int step = 0; step < 200; step++)
    sigma = exp(-(1 - sigma) * CNS_REFERENCE_CUSUM_DRIFT / CNS_REFERENCE_MEAN);
  return fmax(0, -CNS_REFERENCE_MEAN * log(rate / sigma) / (1 - sigma));
}
