/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/privacy_experiments.h"

/* Sizes of the numbers: as large as the grid's are, so that two are seldom equal. */
#define TYPICAL 1e6

static void draw_sparse(const struct privacy_sparse_options *o, struct cns_rng rng, double *x) {
  memset(x, 0, o->dim * sizeof *x);
  for (size_t taken = 0; taken < o->nonzero;) {
    size_t c = privacy_below(rng, o->dim);
    double value = rint(TYPICAL * privacy_normal(rng));
    if (x[c] != 0 || value == 0) continue;
    x[c] = value;
    taken++;
  }
}

static bool same_numbers(const double *found, const double *x, size_t dim) {
  for (size_t c = 0; c < dim; c++)
    if (rint(found[c]) != x[c]) return false;
  return true;
}

double privacy_sparse(const struct privacy_sparse_options *options) {
  struct cns_rng_seeded generator;
  size_t d = options->dim, exact = 0;
  double *x = PRIVACY_NEW(d, double), *found = PRIVACY_NEW(d, double);
  cns_rng_seeded_init_label(&generator, options->seed, "privacy_sparse");
  struct cns_rng rng = cns_rng_seeded(&generator);
  for (size_t trial = 0; trial < options->trials; trial++) {
    struct privacy_matrix matrix;
    privacy_matrix_draw(&matrix, d, options->k, options->audits, rng);
    double *z = PRIVACY_NEW(matrix.numbers, double);
    draw_sparse(options, rng, x);
    privacy_matrix_apply(&matrix, x, z);
    if (options->pursuit)
      privacy_decode_pursuit(&matrix, z, options->nonzero + options->nonzero / 4, found);
    else
      (void)privacy_decode_agreement(&matrix, z, found);
    exact += same_numbers(found, x, d);
    free(z);
    privacy_matrix_deinit(&matrix);
  }
  free(x);
  free(found);
  return (double)exact / (double)options->trials;
}

/* ---- compressible ---- */

static int descending(const void *a, const void *b) {
  double x = fabs(*(const double *)a), y = fabs(*(const double *)b);
  return (x < y) - (x > y);
}

/* Relative error of the `terms` largest entries. */
static double best_error(const double *x, size_t dim, size_t terms) {
  double *sorted = PRIVACY_NEW(dim, double);
  memcpy(sorted, x, dim * sizeof *x);
  qsort(sorted, dim, sizeof *sorted, descending);
  double rest = terms < dim ? privacy_dot(sorted + terms, sorted + terms, dim - terms) : 0;
  double all = privacy_dot(x, x, dim);
  free(sorted);
  return sqrt(rest / all);
}

void privacy_compressible_real(const double *x, size_t dim, uint32_t k, struct cns_rng rng,
                               struct privacy_compressible *ret_result) {
  struct privacy_matrix matrix;
  double *found = PRIVACY_NEW(dim, double);
  privacy_matrix_draw(&matrix, dim, k, 1, rng);
  double *z = PRIVACY_NEW(matrix.numbers, double);
  privacy_matrix_apply(&matrix, x, z);
  *ret_result = (struct privacy_compressible){.best = best_error(x, dim, k / 8), .found = 1};
  for (size_t terms = 1; terms <= k / 4; terms *= 2) { /* the best choice, in the reader's favour */
    privacy_decode_pursuit(&matrix, z, terms, found);
    ret_result->found = fmin(ret_result->found, privacy_relative_error(found, x, dim));
  }
  free(found);
  free(z);
  privacy_matrix_deinit(&matrix);
}

void privacy_compressible(const struct privacy_sparse_options *options, double power,
                          struct privacy_compressible *ret_result) {
  struct cns_rng_seeded generator;
  size_t d = options->dim;
  double *x = PRIVACY_NEW(d, double), trials = (double)options->trials;
  cns_rng_seeded_init_label(&generator, options->seed, "privacy_compressible");
  struct cns_rng rng = cns_rng_seeded(&generator);
  *ret_result = (struct privacy_compressible){0};
  for (size_t trial = 0; trial < options->trials; trial++) {
    struct privacy_compressible one;
    for (size_t c = 0; c < d; c++)
      x[c] = pow((double)c + 1, -power) * (privacy_below(rng, 2) ? 1 : -1);
    for (size_t c = d; c-- > 1;) {
      size_t other = privacy_below(rng, c + 1);
      double kept = x[c];
      x[c] = x[other];
      x[other] = kept;
    }
    privacy_compressible_real(x, d, options->k, rng, &one);
    ret_result->best += one.best / trials;
    ret_result->found += one.found / trials;
  }
  free(x);
}
