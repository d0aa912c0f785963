/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "dp/compose_internal.h"

/* Tilted masses below this fraction of the largest say nothing about errors. */
#define NEGLIGIBLE_LOG (-50.0)

/* The largest exponent, and the largest logarithm that went into one that matters. */
static double find_top(const double *mass, size_t count, double slope, double *exponents) {
  double top = -INFINITY;
  for (size_t i = 0; i < count; i++) {
    exponents[i] = mass[i] > 0 ? log(mass[i]) + slope * (double)i : -INFINITY;
    top = fmax(top, exponents[i]);
  }
  return top;
}

int cns_tilted_init(struct cns_tilted *ret_tilted, const double *mass, size_t count, double origin,
                    double step, double tilt) {
  struct cns_tilted tilted = {.count = count, .mass = calloc(count, sizeof(double))};
  if (!tilted.mass) return CNS_ERR_MEMORY;
  double slope = tilt * step, sum = 0, first = 0, largest = 0;
  double top = find_top(mass, count, slope, tilted.mass);
  for (size_t i = 0; i < count; i++) {
    double exponent = tilted.mass[i] - top;
    if (exponent > NEGLIGIBLE_LOG) largest = fmax(largest, slope * (double)i + fabs(top));
    tilted.mass[i] = exponent > -700 ? exp(exponent) : 0;
    sum += tilted.mass[i];
    first += tilted.mass[i] * (double)i;
  }
  tilted.mean = first / sum;
  for (size_t i = 0; i < count; i++) {
    double distance = (double)i - tilted.mean;
    tilted.mass[i] /= sum;
    tilted.variance += tilted.mass[i] * distance * distance;
  }
  tilted.log_scale = top + log(sum) + tilt * origin;
  tilted.error = DBL_EPSILON * (8 + 3 * largest + 3 * fabs(tilt * origin));
  *ret_tilted = tilted;
  return 0;
}

void cns_tilted_deinit(struct cns_tilted *tilted) {
  free(tilted->mass);
  *tilted = (struct cns_tilted){0};
}

#define BLOCK 16

double cns_tilted_log_moment(const struct cns_tilted *tilted, double t) {
  double powers[BLOCK], sum = 0;
  for (int j = 0; j < BLOCK; j++)
    powers[j] = exp(t * j);
  for (size_t start = 0; start < tilted->count; start += BLOCK) {
    size_t left = tilted->count - start, n = left < BLOCK ? left : BLOCK;
    double block = 0;
    for (size_t j = 0; j < n; j++)
      block += tilted->mass[start + j] * powers[j];
    if (block > 0) sum += exp(log(block) + t * ((double)start - tilted->mean));
  }
  return log(sum) + 1e-11;
}
