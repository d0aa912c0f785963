/* SPDX-License-Identifier: Apache-2.0 */
/* Centres that are found step by step, each step on the n x n side. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/select.h"

#define MEDIAN_STEPS_MAX 1000
#define STANDS_STILL 1e-15

/* Squared distances of the rows to z = sum of a[i] * row i:
 * <a, squared(., i)> - <a, squared a> / 2, with the origin as one more row. */
static void distances_to(const double *squared, const double *norms, const double *a, size_t n,
                         double *ret_squared) {
  double origin = 1, inner = 0;
  for (size_t i = 0; i < n; i++)
    origin -= a[i];
  if (fabs(origin) < 1e-15 * (double)n) origin = 0;
  for (size_t i = 0; i < n; i++) {
    double sum = origin * norms[i];
    for (size_t j = 0; j < n; j++)
      sum += a[j] * squared[i * n + j];
    inner += a[i] * (sum + origin * norms[i]);
    ret_squared[i] = sum;
  }
  for (size_t i = 0; i < n; i++)
    ret_squared[i] = fmax(ret_squared[i] - inner / 2, 0);
}

int cns_centre_geometric_median(const double *squared, const double *norms, const double *share, size_t n,
                                double nu, size_t iterations, double *ret_coefficient) {
  double *distance = malloc(n * sizeof *distance);
  if (!distance) return CNS_ERR_MEMORY;
  memset(ret_coefficient, 0, n * sizeof *ret_coefficient);
  for (size_t step = 0; step < (iterations ? iterations : MEDIAN_STEPS_MAX); step++) {
    double sum = 0, moved = 0;
    distances_to(squared, norms, ret_coefficient, n, distance);
    for (size_t i = 0; i < n; i++)
      sum += share[i] / fmax(sqrt(distance[i]), nu);
    for (size_t i = 0; i < n; i++) {
      double next = share[i] / fmax(sqrt(distance[i]), nu) / sum;
      moved += fabs(next - ret_coefficient[i]);
      ret_coefficient[i] = next;
    }
    if (!iterations && moved <= STANDS_STILL * (double)n) break;
  }
  free(distance);
  return 0;
}

int cns_centre_clipping(const double *squared, const double *norms, const double *share, size_t n, double tau,
                        size_t iterations, double *ret_coefficient) {
  double *distance = malloc(n * sizeof *distance);
  if (!distance) return CNS_ERR_MEMORY;
  memset(ret_coefficient, 0, n * sizeof *ret_coefficient);
  for (size_t step = 0; step < iterations; step++) {
    double sum = 0;
    if (step == 0)
      memcpy(distance, norms, n * sizeof *distance);
    else
      distances_to(squared, norms, ret_coefficient, n, distance);
    for (size_t i = 0; i < n; i++) {
      double length = sqrt(distance[i]);
      distance[i] = share[i] * (length > tau ? tau / length : 1);
      sum += distance[i];
    }
    for (size_t i = 0; i < n; i++)
      ret_coefficient[i] = ret_coefficient[i] * (1 - sum) + distance[i];
  }
  free(distance);
  return 0;
}
