/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of dp/discrete_gaussian.h, here for its tests: the table, the loops over it
 * for several processors, and how samples of a wide Gaussian are put together.
 *
 * The table is an alias table (Walker 1977, Vose 1991) for the absolute value m of a
 * base sample, m = 0..255, with 256 columns of 2^119 each. Column c holds a
 * threshold t < 2^119 and an alias a: a uniform column and a uniform f < 2^119
 * give m = c if f < t, else m = a. Together with one bit for the sign that is
 * 128 bits a sample, and every probability is a multiple of 2^-128. Unlike a
 * search in cumulative sums, it costs the same two steps for every value.
 *
 * Constant time: the table is read in full, by shuffles within registers or, in the
 * portable version, by masks over all columns, one byte of the entry after the
 * other. No branch and no address depends on a random byte.
 */
#pragma once

#include "dp/discrete_gaussian.h"

__extension__ typedef unsigned __int128 cns_u128;

#define CNS_DISCRETE_GAUSSIAN_COLUMNS 256u
#define CNS_DISCRETE_GAUSSIAN_COLUMN_BITS 119
#define CNS_DISCRETE_GAUSSIAN_SLICES 16u
/* Samples that are drawn side by side. */
#define CNS_DISCRETE_GAUSSIAN_LANES 64u
#define CNS_DISCRETE_GAUSSIAN_BLOCK_BYTES (CNS_DISCRETE_GAUSSIAN_SLICES * CNS_DISCRETE_GAUSSIAN_LANES)
/* Beyond it there is no table: a Gaussian is put together from several samples. */
#define CNS_DISCRETE_GAUSSIAN_TABLE_SIGMA 18.0
#define CNS_DISCRETE_GAUSSIAN_DRAWS_MAX 12u

/* slices[0][c] is the alias of column c; 1..14 the threshold's upper 112 bits, the most
 * significant byte first; 15 its lower 7 bits. */
struct cns_discrete_gaussian_table {
  _Alignas(64) uint8_t slices[CNS_DISCRETE_GAUSSIAN_SLICES][CNS_DISCRETE_GAUSSIAN_COLUMNS];
};

/* For sigma from CNS_DISCRETE_GAUSSIAN_SIGMA_MIN to _TABLE_SIGMA. */
void cns_discrete_gaussian_table_init(struct cns_discrete_gaussian_table *table, double sigma);

/*
 * x = x_0 + f_0*(x_1 + f_1*(x_2 + ..)), of `draws` base samples of one sigma. The upper ones
 * and the lower ones are summed in 32 bits each: x = lower_scale*upper + lower.
 */
struct cns_discrete_gaussian_shape {
  double base_sigma;
  size_t draws;
  uint8_t factors[CNS_DISCRETE_GAUSSIAN_DRAWS_MAX]; /* the last draw's is 0 */
  size_t lower_draws;
  int32_t lower_scale;
  double sigma; /* see cns_discrete_gaussian_sigma */
  double distance_log2;
};

/* sigma within the public limits. */
void cns_discrete_gaussian_shape_init(struct cns_discrete_gaussian_shape *shape, double sigma);
/* Upper bound of the statistical distance between x1 + k*x2, with x1 and x2 of N_Z(0, sigma1^2)
 * and N_Z(0, sigma2^2), and N_Z(0, sigma1^2 + k^2 sigma2^2); INFINITY where it says nothing. */
double cns_discrete_gaussian_convolution(double sigma1, double sigma2, double k);

/*
 * The loops. Lane s of a block takes byte s of each of the 16 rows of 64 bytes at
 * `random`: row 0 is the column; 1..14 the upper bits of f, the most significant
 * byte first; row 15 has the lower 7 bits of f, and the sign in its top bit.
 */
struct cns_discrete_gaussian_version {
  const char *name;
  /* sums[s] = factor*sums[s] + sample, over all lanes of all blocks. Aligned to 64 bytes. */
  void (*draw)(const struct cns_discrete_gaussian_table *table, const uint8_t *random, size_t blocks,
               int32_t factor, int32_t *sums);
  /* ret[s] = scale*upper[s] + lower[s]. */
  void (*store)(const int32_t *upper, const int32_t *lower, int32_t scale, int64_t *ret, size_t count);
  /* x[s] += scale*upper[s] + lower[s]. */
  void (*add)(const int32_t *upper, const int32_t *lower, int32_t scale, uint32_t *x, size_t count);
};

/* The versions that this processor can run, from 0: the portable one, then faster and
 * faster; NULL beyond the last. All give the same, bit for bit. */
const struct cns_discrete_gaussian_version *cns_discrete_gaussian_version(size_t number);

/* Tests only: this version instead of the fastest. */
void cns_discrete_gaussian_use(struct cns_discrete_gaussian *sampler,
                               const struct cns_discrete_gaussian_version *version);
