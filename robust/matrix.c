/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/matrix.h"

#include <cblas.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "crypto/parallel.h"

/* Columns of a part of a sum over all columns, and parts at the most. */
#define PART_COLUMNS 4096
#define PARTS_MAX 256
/* Columns of a piece of an output that is combined at once: stays in the nearest cache. */
#define PIECE 1024
/* Columns of a task of several pieces. */
#define TASK_COLUMNS (16 * PIECE)

static once_flag blas_once = ONCE_FLAG_INIT;

/* The threads here divide the columns; a pool of BLAS threads behind each of
 * them would only fight over the cores. */
static void blas_single_threaded(void) {
  openblas_set_num_threads(1);
}

void cns_matrix_run(const struct cns_matrix *matrix, size_t count, void (*task)(void *argument, size_t k),
                    void *argument) {
  call_once(&blas_once, blas_single_threaded);
  cns_parallel_run(cns_parallel_threads_at_most(matrix->threads), count, task, argument);
}

void cns_matrix_read(const struct cns_matrix *matrix, size_t row, size_t column, size_t count, double *ret) {
  const void *from = cns_matrix_at(matrix, row, column);
  if (matrix->type == CNS_ROBUST_F64)
    memcpy(ret, from, count * sizeof *ret);
  else
    for (size_t c = 0; c < count; c++)
      ret[c] = (double)((const float *)from)[c];
}

void cns_matrix_write(enum cns_robust_type type, const double *values, size_t count, void *vector,
                      size_t column) {
  if (type == CNS_ROBUST_F64)
    memcpy((double *)vector + column, values, count * sizeof *values);
  else
    for (size_t c = 0; c < count; c++)
      ((float *)vector)[column + c] = (float)values[c];
}

/* ---- norms ---- */

struct norms {
  const struct cns_matrix *matrix;
  const struct cns_matrix *vector; /* one row, or NULL */
  size_t part_columns;
  double *squared, *products; /* parts x n */
};

#define LANES 8

CNS_VECTORISED
static double dot(const double *a, const double *b, size_t count) {
  double sum[LANES] = {0};
  size_t c = 0;
  for (; c + LANES <= count; c += LANES)
    for (size_t lane = 0; lane < LANES; lane++)
      sum[lane] += a[c + lane] * b[c + lane];
  for (; c < count; c++)
    sum[0] += a[c] * b[c];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static void norms_of_part(void *argument, size_t part) {
  const struct norms *norms = argument;
  const struct cns_matrix *matrix = norms->matrix;
  size_t begin = part * norms->part_columns, end = begin + norms->part_columns;
  double row[PIECE], other[PIECE];
  if (end > matrix->d) end = matrix->d;
  for (size_t at = begin; at < end; at += PIECE) {
    size_t count = end - at < PIECE ? end - at : PIECE;
    if (norms->vector) cns_matrix_read(norms->vector, 0, at, count, other);
    for (size_t i = 0; i < matrix->n; i++) {
      cns_matrix_read(matrix, i, at, count, row);
      norms->squared[part * matrix->n + i] += dot(row, row, count);
      if (norms->vector) norms->products[part * matrix->n + i] += dot(row, other, count);
    }
  }
}

/* Columns of each part, for at most `parts_max` parts. */
static size_t part_columns(size_t d, size_t parts_max) {
  size_t columns = (d + parts_max - 1) / parts_max;
  columns = (columns + PIECE - 1) / PIECE * PIECE;
  return columns < PART_COLUMNS ? PART_COLUMNS : columns;
}

static void add_parts(const double *parts, size_t count, size_t values, double *ret_sum) {
  for (size_t v = 0; v < values; v++) {
    double sum = 0;
    for (size_t part = 0; part < count; part++)
      sum += parts[part * values + v];
    ret_sum[v] = sum;
  }
}

int cns_matrix_norms(const struct cns_matrix *matrix, const void *vector, double *ret_squared,
                     double *ret_products) {
  size_t n = matrix->n, columns = part_columns(matrix->d, PARTS_MAX),
         parts = (matrix->d + columns - 1) / columns;
  struct cns_matrix other = {.type = matrix->type, .data = vector, .n = 1, .d = matrix->d};
  struct norms norms = {.matrix = matrix, .vector = vector ? &other : NULL, .part_columns = columns};
  double *sums = calloc(2 * parts * n, sizeof *sums);
  if (!sums) return CNS_ERR_MEMORY;
  norms.squared = sums;
  norms.products = sums + parts * n;
  cns_matrix_run(matrix, parts, norms_of_part, &norms);
  add_parts(norms.squared, parts, n, ret_squared);
  if (vector) add_parts(norms.products, parts, n, ret_products);
  free(sums);
  return 0;
}

/* ---- sums of rows ---- */

struct combine {
  const struct cns_matrix *matrix;
  const double *coefficient;
  void *vector;
};

CNS_VECTORISED
static void add_floats(const float *row, double coefficient, size_t count, double *sum) {
  for (size_t c = 0; c < count; c++)
    sum[c] += coefficient * (double)row[c];
}

CNS_VECTORISED
static void add_doubles(const double *row, double coefficient, size_t count, double *sum) {
  for (size_t c = 0; c < count; c++)
    sum[c] += coefficient * row[c];
}

static void combine_task(void *argument, size_t k) {
  const struct combine *combine = argument;
  const struct cns_matrix *matrix = combine->matrix;
  size_t end = (k + 1) * TASK_COLUMNS < matrix->d ? (k + 1) * TASK_COLUMNS : matrix->d;
  double sum[PIECE];
  for (size_t at = k * TASK_COLUMNS; at < end; at += PIECE) {
    size_t count = end - at < PIECE ? end - at : PIECE;
    memset(sum, 0, sizeof sum);
    for (size_t i = 0; i < matrix->n; i++) {
      double coefficient = combine->coefficient[i];
      if (coefficient == 0) continue;
      const void *row = cns_matrix_at(matrix, i, at);
      if (matrix->type == CNS_ROBUST_F64)
        add_doubles(row, coefficient, count, sum);
      else
        add_floats(row, coefficient, count, sum);
    }
    cns_matrix_write(matrix->type, sum, count, combine->vector, at);
  }
}

static size_t tasks_of(size_t d) {
  return (d + TASK_COLUMNS - 1) / TASK_COLUMNS;
}

void cns_matrix_combine(const struct cns_matrix *matrix, const double *coefficient, void *ret_vector) {
  struct combine combine = {matrix, coefficient, ret_vector};
  cns_matrix_run(matrix, tasks_of(matrix->d), combine_task, &combine);
}

struct product {
  const struct cns_matrix *matrix;
  size_t m;
  const void *coefficient; /* m x n, the matrix's type */
  void *out;
};

/* The matrices are far longer than BLAS's int, a task's columns never are. */
static void product_task(void *argument, size_t k) {
  const struct product *product = argument;
  const struct cns_matrix *matrix = product->matrix;
  size_t end = (k + 1) * TASK_COLUMNS < matrix->d ? (k + 1) * TASK_COLUMNS : matrix->d;
  int m = (int)product->m, n = (int)matrix->n, d = (int)matrix->d;
  for (size_t at = k * TASK_COLUMNS; at < end; at += PIECE) {
    int count = (int)(end - at < PIECE ? end - at : PIECE);
    if (matrix->type == CNS_ROBUST_F64)
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, count, n, 1, product->coefficient, n,
                  cns_matrix_at(matrix, 0, at), d, 0, (double *)product->out + at, d);
    else
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, count, n, 1, product->coefficient, n,
                  cns_matrix_at(matrix, 0, at), d, 0, (float *)product->out + at, d);
  }
}

int cns_matrix_product(const struct cns_matrix *matrix, const double *coefficient, size_t m,
                       void *ret_matrix) {
  struct product product = {.matrix = matrix, .m = m, .coefficient = coefficient, .out = ret_matrix};
  float *rounded = NULL;
  if (matrix->type == CNS_ROBUST_F32) {
    rounded = malloc(m * matrix->n * sizeof *rounded);
    if (!rounded) return CNS_ERR_MEMORY;
    for (size_t k = 0; k < m * matrix->n; k++)
      rounded[k] = (float)coefficient[k];
    product.coefficient = rounded;
  }
  cns_matrix_run(matrix, tasks_of(matrix->d), product_task, &product);
  free(rounded);
  return 0;
}
