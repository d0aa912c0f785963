/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/geometry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WEISZFELD_STEPS_MAX 1000
#define POWER_STEPS_MAX 2000

double cns_geometry_dot(const double *a, const double *b, size_t columns) {
  double sum[4] = {0};
  size_t c = 0;
  for (; c + 4 <= columns; c += 4)
    for (size_t lane = 0; lane < 4; lane++)
      sum[lane] += a[c + lane] * b[c + lane];
  for (; c < columns; c++)
    sum[0] += a[c] * b[c];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void cns_geometry_gram(const double *rows, size_t n, size_t columns, double *ret_gram) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++) {
      double value = cns_geometry_dot(&rows[i * columns], &rows[j * columns], columns);
      ret_gram[i * n + j] = ret_gram[j * n + i] = value;
    }
}

static double difference_squared(const double *a, const double *b, size_t columns) {
  double sum = 0;
  for (size_t c = 0; c < columns; c++)
    sum += (a[c] - b[c]) * (a[c] - b[c]);
  return sum;
}

void cns_geometry_distances(const double *rows, const double *gram, size_t n, size_t columns,
                            double *ret_squared) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++) {
      double lengths = gram[i * n + i] + gram[j * n + j], value = lengths - 2 * gram[i * n + j];
      if (i == j)
        value = 0;
      else if (value < 1e-6 * lengths)
        value = difference_squared(&rows[i * columns], &rows[j * columns], columns);
      ret_squared[i * n + j] = ret_squared[j * n + i] = value;
    }
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double cns_geometry_middle(double *values, size_t n) {
  qsort(values, n, sizeof *values, compare);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* next = the rows' mean, weighted by 1/sqrt(distance to now, squared, + s^2). */
static void weiszfeld_step(const double *rows, size_t n, size_t columns, const double *now, double smooth,
                           double *next) {
  double sum = 0;
  memset(next, 0, columns * sizeof *next);
  for (size_t i = 0; i < n; i++) {
    const double *row = &rows[i * columns];
    double weight = 1 / sqrt(difference_squared(row, now, columns) + smooth * smooth);
    for (size_t c = 0; c < columns; c++)
      next[c] += weight * row[c];
    sum += weight;
  }
  for (size_t c = 0; c < columns; c++)
    next[c] /= sum;
}

/* Median length of the rows, at least the smallest normal double; -1 without memory. */
static double typical_length(const double *rows, size_t n, size_t columns) {
  double *length = malloc(n * sizeof *length);
  if (!length) return -1;
  for (size_t i = 0; i < n; i++)
    length[i] = sqrt(cns_geometry_dot(&rows[i * columns], &rows[i * columns], columns));
  double middle = cns_geometry_middle(length, n);
  free(length);
  return fmax(middle, 1e-150);
}

int cns_geometry_median(const double *rows, size_t n, size_t columns, double *ret_median) {
  double length = typical_length(rows, n, columns);
  double *next = malloc(columns * sizeof *next);
  if (length < 0 || !next) {
    free(next);
    return CNS_ERR_MEMORY;
  }
  memset(ret_median, 0, columns * sizeof *ret_median);
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < columns; c++)
      ret_median[c] += rows[i * columns + c] / (double)n;
  int steps = 0;
  for (; steps < WEISZFELD_STEPS_MAX; steps++) {
    weiszfeld_step(rows, n, columns, ret_median, 1e-6 * length, next);
    double moved = sqrt(difference_squared(next, ret_median, columns));
    memcpy(ret_median, next, columns * sizeof *next);
    if (moved <= 1e-9 * length) break;
  }
  free(next);
  return steps;
}

static void centre(double *gram, size_t n, double *mean) {
  double all = 0;
  for (size_t i = 0; i < n; i++) {
    mean[i] = 0;
    for (size_t j = 0; j < n; j++)
      mean[i] += gram[i * n + j] / (double)n;
    all += mean[i] / (double)n;
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      gram[i * n + j] += all - mean[i] - mean[j];
}

/* The column of the largest diagonal entry isn't orthogonal to the first
 * eigenvector unless the data are degenerate, and follows a permutation. */
static void power_start(const double *gram, size_t n, double *vector) {
  size_t largest = 0;
  for (size_t i = 1; i < n; i++)
    if (gram[i * n + i] > gram[largest * n + largest]) largest = i;
  for (size_t i = 0; i < n; i++)
    vector[i] = gram[i * n + largest];
}

void cns_geometry_main_direction(double *gram, size_t n, double *vector, double *ret_projection) {
  double lambda = 0;
  centre(gram, n, vector);
  power_start(gram, n, vector);
  for (int step = 0; step < POWER_STEPS_MAX; step++) {
    double length = sqrt(cns_geometry_dot(vector, vector, n)), moved = 0;
    if (!(length > 0)) break;
    for (size_t i = 0; i < n; i++)
      vector[i] /= length;
    for (size_t i = 0; i < n; i++)
      ret_projection[i] = cns_geometry_dot(&gram[i * n], vector, n);
    lambda = cns_geometry_dot(ret_projection, vector, n);
    for (size_t i = 0; i < n; i++)
      moved = fmax(moved, fabs(ret_projection[i] - lambda * vector[i]));
    if (moved <= 1e-10 * lambda) break;
    memcpy(vector, ret_projection, n * sizeof *vector);
  }
  double norm = sqrt(cns_geometry_dot(vector, vector, n)),
         scale = norm > 0 ? sqrt(fmax(lambda, 0)) / norm : 0;
  for (size_t i = 0; i < n; i++)
    ret_projection[i] = scale * vector[i];
}
