/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of dp/discrete_gaussian_internal.h; docs/noise.md, "The table". */
#include <string.h>

#include "dp/discrete_gaussian_internal.h"
#include "dp/fixed.h"

#define COLUMNS CNS_DISCRETE_GAUSSIAN_COLUMNS
#define SLICES CNS_DISCRETE_GAUSSIAN_SLICES
#define COLUMN_SIZE ((cns_u128)1 << CNS_DISCRETE_GAUSSIAN_COLUMN_BITS)
#define LAST_SLICE_BITS 7

/* weights[m] = exp(-m^2/(2 sigma^2)) = r^(m^2), from r^(m^2) * r^(2m+1); each off by less than
 * 2^-285 (exp_negative, then 256 products of numbers below 1, twice over). */
static void gaussian_weights(double sigma, struct cns_fixed weights[static COLUMNS]) {
  const struct cns_fixed r = cns_fixed_exp_negative(cns_fixed_half_precision(sigma));
  const struct cns_fixed squared = cns_fixed_multiply(&r, &r);
  struct cns_fixed step = r;
  weights[0] = cns_fixed_whole(1);
  for (size_t m = 1; m < COLUMNS; m++) {
    weights[m] = cns_fixed_multiply(&weights[m - 1], &step);
    step = cns_fixed_multiply(&step, &squared);
  }
}

/* a*2^127, rounded to the nearest, for a < 2. */
static cns_u128 round_to_127_places(struct cns_fixed a) {
  enum { CUT = CNS_FIXED_PLACES - 127, LIMB = CUT / 64, BIT = CUT % 64 };
  struct cns_fixed half = {{0}};
  half.limbs[(CUT - 1) / 64] = UINT64_C(1) << (CUT - 1) % 64;
  cns_fixed_add(&a, &half);
  cns_fixed_halve(&a, BIT);
  return (cns_u128)a.limbs[LIMB + 1] << 64 | a.limbs[LIMB];
}

/* Probabilities of 0, +-1, .. +-255 in units of 2^-127. They sum to 2^127: that of 0, never
 * a small one, takes up what rounding left. */
static void gaussian_masses(double sigma, cns_u128 masses[static COLUMNS]) {
  struct cns_fixed weights[COLUMNS], total = {{0}};
  gaussian_weights(sigma, weights);
  for (size_t m = 0; m < COLUMNS; m++) {
    if (m > 0) cns_fixed_double(&weights[m]);
    cns_fixed_add(&total, &weights[m]);
  }
  const struct cns_fixed inverse = cns_fixed_reciprocal(&total);
  masses[0] = COLUMNS * COLUMN_SIZE;
  for (size_t m = 1; m < COLUMNS; m++) {
    masses[m] = round_to_127_places(cns_fixed_multiply(&weights[m], &inverse));
    masses[0] -= masses[m];
  }
}

static void set_column(struct cns_discrete_gaussian_table *table, size_t column, cns_u128 threshold,
                       size_t alias) {
  table->slices[0][column] = (uint8_t)alias;
  table->slices[SLICES - 1][column] = (uint8_t)(threshold & ((1u << LAST_SLICE_BITS) - 1));
  threshold >>= LAST_SLICE_BITS;
  for (size_t slice = SLICES - 2; slice > 0; slice--) {
    table->slices[slice][column] = (uint8_t)threshold;
    threshold >>= 8;
  }
}

/* Each column that its own mass leaves partly empty is filled up from one that has more than
 * a column holds (Vose 1991). In whole numbers nothing is lost, and what is left when no
 * column is short is full to the brim: such columns are aliases of themselves. */
static void fill_columns(struct cns_discrete_gaussian_table *table, cns_u128 masses[static COLUMNS]) {
  size_t scant[COLUMNS], ample[COLUMNS], scants = 0, amples = 0;
  for (size_t m = 0; m < COLUMNS; m++) {
    set_column(table, m, 0, m);
    if (masses[m] < COLUMN_SIZE)
      scant[scants++] = m;
    else
      ample[amples++] = m;
  }
  while (scants > 0 && amples > 0) {
    const size_t to = scant[--scants], from = ample[amples - 1];
    set_column(table, to, masses[to], from);
    masses[from] -= COLUMN_SIZE - masses[to];
    if (masses[from] < COLUMN_SIZE) {
      amples--;
      scant[scants++] = from;
    }
  }
}

void cns_discrete_gaussian_table_init(struct cns_discrete_gaussian_table *table, double sigma) {
  cns_u128 masses[COLUMNS];
  gaussian_masses(sigma, masses);
  fill_columns(table, masses);
}
