/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/select.h"

/* Only the filter that counts removed rows too can come near it: else each step removes a row. */
#define CAF_STEPS_MAX 10000

/* LAPACK, in OpenBLAS; lengths of the three texts come last. */
extern void dsyevr_(const char *job, const char *range, const char *triangle, const int *n, double *a,
                    const int *lda, const double *lower, const double *upper, const int *first,
                    const int *last, const double *tolerance, int *ret_found, double *ret_values,
                    double *ret_vectors, const int *ldz, int *ret_support, double *work, const int *work_len,
                    int *int_work, const int *int_work_len, int *ret_info, size_t, size_t, size_t);

int cns_spectral_largest(double *matrix, size_t n, double *ret_value, double *ret_vector) {
  int order = (int)n, found = 0, info = 0, support[2], work_len = 32 * order, int_work_len = 10 * order;
  double zero = 0, unused;
  double *work = malloc((size_t)work_len * sizeof *work), *values = malloc(n * sizeof *values);
  int *int_work = malloc((size_t)int_work_len * sizeof *int_work);
  int r = work && values && int_work ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    dsyevr_(ret_vector ? "V" : "N", "I", "U", &order, matrix, &order, &zero, &zero, &order, &order, &zero,
            &found, values, ret_vector ? ret_vector : &unused, &order, support, work, &work_len, int_work,
            &int_work_len, &info, 1, 1, 1);
    if (info != 0 || found != 1)
      r = CNS_ERR_LIBRARY;
    else
      *ret_value = values[0];
  }
  free(work);
  free(values);
  free(int_work);
  return r;
}

/* -(squared - means of rows - means of columns + mean) / 2: double centring. */
int cns_spectral_centred(const double *squared, const double *share, size_t n, double *ret_gram) {
  double *mean = malloc(n * sizeof *mean), all = 0;
  if (!mean) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) {
    mean[i] = 0;
    for (size_t j = 0; j < n; j++)
      mean[i] += share[j] * squared[i * n + j];
    all += share[i] * mean[i];
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      ret_gram[i * n + j] = (mean[i] + mean[j] - squared[i * n + j] - all) / 2;
  free(mean);
  return 0;
}

/*
 * Projections of the centred rows on the main direction of their covariance
 * sum share[i] (x_i - c)(x_i - c)^T: with K the centred products and u, lambda of
 * sqrt(share) K sqrt(share), row i has <K_i, sqrt(share) u> / sqrt(lambda).
 */
static int main_direction(const double *squared, const double *share, size_t n, double *gram, double *scaled,
                          double *vector, double *ret_lambda, double *ret_squared_projection) {
  int r = cns_spectral_centred(squared, share, n, gram);
  if (r < 0) return r;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      scaled[i * n + j] = sqrt(share[i] * share[j]) * gram[i * n + j];
  r = cns_spectral_largest(scaled, n, ret_lambda, vector);
  if (r < 0) return r;
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    for (size_t j = 0; j < n; j++)
      sum += gram[i * n + j] * sqrt(share[j]) * vector[j];
    ret_squared_projection[i] = *ret_lambda > 0 ? sum * sum / *ret_lambda : 0;
  }
  return 0;
}

/* One filter: shares are those of c, with sum 1; c keeps its own sum. */
struct caf {
  double *c, *share, *projection, *vector, *gram, *scaled;
};

static int caf_loop(struct caf *caf, const double *squared, size_t n, double enough, bool all,
                    double *ret_coefficient) {
  double least = INFINITY;
  for (size_t step = 0; step < CAF_STEPS_MAX; step++) {
    double sum = 0, lambda, largest = 0;
    for (size_t i = 0; i < n; i++)
      sum += caf->c[i];
    if (!(sum > enough * (1 + 1e-12)) && least < INFINITY) return 0;
    for (size_t i = 0; i < n; i++)
      caf->share[i] = caf->c[i] / sum;
    int r =
        main_direction(squared, caf->share, n, caf->gram, caf->scaled, caf->vector, &lambda, caf->projection);
    if (r < 0) return r;
    if (lambda < least) {
      least = lambda;
      memcpy(ret_coefficient, caf->share, n * sizeof *ret_coefficient);
    }
    for (size_t i = 0; i < n; i++)
      if ((all || caf->c[i] > 0) && caf->projection[i] > largest) largest = caf->projection[i];
    if (!(largest > 0)) return 0; /* all that are left are equal */
    for (size_t i = 0; i < n; i++)
      caf->c[i] = fmax(caf->c[i] * (1 - caf->projection[i] / largest), 0);
  }
  return CNS_ERR_LIMIT;
}

int cns_spectral_caf(const double *squared, const double *share, size_t n, size_t f, bool all,
                     double *ret_coefficient) {
  double *room = malloc((4 * n + 2 * n * n) * sizeof *room);
  if (!room) return CNS_ERR_MEMORY;
  struct caf caf = {room, room + n, room + 2 * n, room + 3 * n, room + 4 * n, room + 4 * n + n * n};
  memcpy(caf.c, share, n * sizeof *share);
  int r = caf_loop(&caf, squared, n, (double)(n - 2 * f) / (double)n, all, ret_coefficient);
  free(room);
  return r;
}

int cns_spectral_scores(const double *squared, size_t n, double *ret_scores) {
  double *room = malloc((2 * n + 2 * n * n) * sizeof *room), lambda;
  if (!room) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < n; i++)
    room[i] = 1 / (double)n;
  int r = main_direction(squared, room, n, room + 2 * n, room + 2 * n + n * n, room + n, &lambda, ret_scores);
  free(room);
  return r;
}
