/* SPDX-License-Identifier: Apache-2.0 */
/* How a wide Gaussian is put together from narrow ones; docs/noise.md, "Wide Gaussians". */
#include <assert.h>
#include <math.h>

#include "dp/discrete_gaussian_internal.h"

/* Of a base sample: rounding moves at most 127.5 units of 2^-127, and what lies beyond 255 is
 * below 2^-145 for sigma <= 18. */
#define TABLE_DISTANCE 0x1p-119
/* What one may cost as a whole. */
#define DISTANCE_MAX 0x1p-104
/* With 9 and more, the base sigma would have to be larger than a table's. */
#define FACTOR_MAX 8

double cns_discrete_gaussian_convolution(double sigma1, double sigma2, double k) {
  const double tau2 = 1 / (k * k / (sigma1 * sigma1) + 1 / (sigma2 * sigma2));
  const double first = exp(-2 * M_PI * M_PI * tau2);
  const double all = 2 * first / (1 - first * first * first);
  return all < 1 ? all / (1 - all) * (1 + 0x1p-30) : INFINITY;
}

/* Of the weights of the draws from number `first` on, where that one's own is 1. Exact: below
 * (2^30/12)^2 < 2^53, since a base sigma is never below 12. */
static double sum_of_squares(const struct cns_discrete_gaussian_shape *shape, size_t first) {
  double sum = 0;
  for (size_t k = shape->draws; k-- > first;)
    sum = sum * shape->factors[k] * shape->factors[k] + 1;
  return sum;
}

static double distance(const struct cns_discrete_gaussian_shape *shape) {
  double total = (double)shape->draws * TABLE_DISTANCE;
  for (size_t k = 0; k + 1 < shape->draws; k++) {
    const double sigma2 = shape->base_sigma * sqrt(sum_of_squares(shape, k + 1));
    total += cns_discrete_gaussian_convolution(shape->base_sigma, sigma2, shape->factors[k]);
  }
  return total;
}

/* The root, the quotient and its product with 1 + 2^-51 are each off by 2^-53 of themselves
 * at the most, so that the base sigma is never short; and likewise the sigma that is named is
 * never above the one that is drawn. */
static void set_base(struct cns_discrete_gaussian_shape *shape, double sigma) {
  const double root = sqrt(sum_of_squares(shape, 0));
  shape->base_sigma = sigma / root * (1 + 0x1p-51);
  shape->sigma = fmax(sigma, shape->base_sigma * root * (1 - 0x1p-51));
}

/* Factors 1, 1, .. 1; then 2, 1, .. 1; 2, 2, .. 1; and so on to 8, 8, .. 8. The first whose
 * base sigma has a table has the widest base and the least loss of all that could be taken. */
static bool shape_try(struct cns_discrete_gaussian_shape *shape, double sigma, size_t draws) {
  const size_t steps = draws - 1;
  shape->draws = draws;
  for (size_t total = steps; total <= FACTOR_MAX * steps; total++) {
    for (size_t k = 0; k < steps; k++)
      shape->factors[k] = (uint8_t)(total / steps + (k < total % steps));
    set_base(shape, sigma);
    if (shape->base_sigma <= CNS_DISCRETE_GAUSSIAN_TABLE_SIGMA) return distance(shape) <= DISTANCE_MAX;
  }
  return false;
}

void cns_discrete_gaussian_shape_init(struct cns_discrete_gaussian_shape *shape, double sigma) {
  *shape = (struct cns_discrete_gaussian_shape){.base_sigma = sigma, .draws = 1, .sigma = sigma};
  bool found = sigma <= CNS_DISCRETE_GAUSSIAN_TABLE_SIGMA;
  for (size_t draws = 2; draws <= CNS_DISCRETE_GAUSSIAN_DRAWS_MAX && !found; draws++)
    found = shape_try(shape, sigma, draws);
  assert(found);
  shape->lower_draws = (shape->draws + 1) / 2;
  shape->lower_scale = 1;
  for (size_t k = 0; k < shape->lower_draws; k++)
    shape->lower_scale *= shape->factors[k];
  shape->distance_log2 = log2(distance(shape)) + 0x1p-20;
}
