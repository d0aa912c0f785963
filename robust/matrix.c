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
#define PARTS_MAX 64
/* Columns that are worked on at once: long enough that memory is read in order, short
 * enough for the nearest caches. */
#define PIECE 4096
/* Columns of a task of several pieces. */
#define TASK_COLUMNS (4 * PIECE)
/* Rows that are read side by side. */
#define SIDE 4

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

CNS_VECTORISED
static bool write_floats(const double *values, size_t count, float *out) {
  uint32_t bad = 0;
  for (size_t c = 0; c < count; c++) {
    out[c] = (float)values[c];
    bad |= !(out[c] - out[c] == 0);
  }
  return !bad;
}

CNS_VECTORISED
static bool write_doubles(const double *values, size_t count, double *out) {
  uint64_t bad = 0;
  for (size_t c = 0; c < count; c++) {
    out[c] = values[c];
    bad |= !(out[c] - out[c] == 0);
  }
  return !bad;
}

bool cns_matrix_write(enum cns_robust_type type, const double *values, size_t count, void *vector,
                      size_t column) {
  if (type == CNS_ROBUST_F64) return write_doubles(values, count, (double *)vector + column);
  return write_floats(values, count, (float *)vector + column);
}

/* ---- norms ---- */

struct norms {
  const struct cns_matrix *matrix;
  const void *vector; /* or NULL */
  bool gaps;          /* `squared` of the differences from the vector instead, no products */
  size_t part_columns;
  double *squared, *products; /* parts x n */
};

#define LANES 8

/* The same text for both types. */
#define T float
#define NAME(x) x##_f32
#include "robust/matrix_body.h"
#undef T
#undef NAME
#define T double
#define NAME(x) x##_f64
#include "robust/matrix_body.h"
#undef T
#undef NAME

static double dot(const struct cns_matrix *matrix, const void *a, const void *b, size_t count) {
  return matrix->type == CNS_ROBUST_F64 ? dot_f64(a, b, count) : dot_f32(a, b, count);
}

static double gap(const struct cns_matrix *matrix, const void *a, const void *b, size_t count) {
  return matrix->type == CNS_ROBUST_F64 ? gap_f64(a, b, count) : gap_f32(a, b, count);
}

static void norms_of_part(void *argument, size_t part) {
  const struct norms *norms = argument;
  const struct cns_matrix *matrix = norms->matrix;
  size_t begin = part * norms->part_columns, end = begin + norms->part_columns;
  if (end > matrix->d) end = matrix->d;
  for (size_t i = 0; i < matrix->n; i++) {
    const void *row = cns_matrix_at(matrix, i, begin);
    const void *vector = norms->vector ? (const char *)norms->vector + begin * (size_t)matrix->type : NULL;
    norms->squared[part * matrix->n + i] =
        norms->gaps ? gap(matrix, row, vector, end - begin) : dot(matrix, row, row, end - begin);
    if (vector && !norms->gaps) norms->products[part * matrix->n + i] = dot(matrix, row, vector, end - begin);
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

static int sum_norms(struct norms norms, double *ret_squared, double *ret_products) {
  const struct cns_matrix *matrix = norms.matrix;
  size_t n = matrix->n, parts;
  norms.part_columns = part_columns(matrix->d, PARTS_MAX);
  parts = (matrix->d + norms.part_columns - 1) / norms.part_columns;
  norms.squared = calloc(2 * parts * n, sizeof(double));
  if (!norms.squared) return CNS_ERR_MEMORY;
  norms.products = norms.squared + parts * n;
  cns_matrix_run(matrix, parts, norms_of_part, &norms);
  add_parts(norms.squared, parts, n, ret_squared);
  if (ret_products) add_parts(norms.products, parts, n, ret_products);
  free(norms.squared);
  return 0;
}

int cns_matrix_norms(const struct cns_matrix *matrix, const void *vector, double *ret_squared,
                     double *ret_products) {
  return sum_norms((struct norms){.matrix = matrix, .vector = vector}, ret_squared,
                   vector ? ret_products : NULL);
}

int cns_matrix_gaps(const struct cns_matrix *matrix, const void *vector, double *ret_squared) {
  return sum_norms((struct norms){.matrix = matrix, .vector = vector, .gaps = true}, ret_squared, NULL);
}

/* ---- sums of rows ---- */

struct combine {
  const struct cns_matrix *matrix;
  const double *coefficient;
  void *vector;
  atomic_bool bad;
};

/* The rows that have a coefficient, one after the other: no sum depends on SIDE. */
static void combine_piece(const struct combine *combine, size_t at, size_t count, double *sum) {
  const struct cns_matrix *matrix = combine->matrix;
  for (size_t i = 0; i < matrix->n;) {
    const void *row[SIDE];
    double coefficient[SIDE];
    size_t rows = 0;
    for (; i < matrix->n && rows < SIDE; i++)
      if (combine->coefficient[i] != 0) {
        row[rows] = cns_matrix_at(matrix, i, at);
        coefficient[rows++] = combine->coefficient[i];
      }
    if (matrix->type == CNS_ROBUST_F64)
      add_rows_f64(row, coefficient, rows, count, sum);
    else
      add_rows_f32(row, coefficient, rows, count, sum);
  }
}

static void combine_task(void *argument, size_t k) {
  struct combine *combine = argument;
  const struct cns_matrix *matrix = combine->matrix;
  size_t end = (k + 1) * TASK_COLUMNS < matrix->d ? (k + 1) * TASK_COLUMNS : matrix->d;
  double sum[PIECE];
  for (size_t at = k * TASK_COLUMNS; at < end; at += PIECE) {
    size_t count = end - at < PIECE ? end - at : PIECE;
    memset(sum, 0, sizeof sum);
    combine_piece(combine, at, count, sum);
    if (!cns_matrix_write(matrix->type, sum, count, combine->vector, at)) atomic_store(&combine->bad, true);
  }
}

static size_t tasks_of(size_t d) {
  return (d + TASK_COLUMNS - 1) / TASK_COLUMNS;
}

bool cns_matrix_combine(const struct cns_matrix *matrix, const double *coefficient, void *ret_vector) {
  struct combine combine = {matrix, coefficient, ret_vector, false};
  cns_matrix_run(matrix, tasks_of(matrix->d), combine_task, &combine);
  return !atomic_load(&combine.bad);
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
