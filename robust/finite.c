/* SPDX-License-Identifier: Apache-2.0 */
/* Rows with values that aren't finite are looked for when a result isn't: every rule reads all rows anyway.
 */
#include <limits.h>
#include <math.h>
#include <stdatomic.h>

#include "robust/rules.h"

struct finite {
  const struct cns_matrix *matrix;
  atomic_bool *bad;
};

#define FINITE_COLUMNS 65536

CNS_VECTORISED
static bool finite_floats(const uint32_t *bits, size_t count) {
  uint32_t bad = 0;
  for (size_t c = 0; c < count; c++)
    bad |= (bits[c] & 0x7f800000u) == 0x7f800000u;
  return !bad;
}

CNS_VECTORISED
static bool finite_doubles(const uint64_t *bits, size_t count) {
  uint64_t bad = 0;
  for (size_t c = 0; c < count; c++)
    bad |= (bits[c] & 0x7ff0000000000000u) == 0x7ff0000000000000u;
  return !bad;
}

static void finite_task(void *argument, size_t k) {
  const struct finite *finite = argument;
  const struct cns_matrix *matrix = finite->matrix;
  size_t begin = k * FINITE_COLUMNS, count = matrix->d - begin;
  if (count > FINITE_COLUMNS) count = FINITE_COLUMNS;
  for (size_t i = 0; i < matrix->n; i++) {
    const void *at = cns_matrix_at(matrix, i, begin);
    if (!(matrix->type == CNS_ROBUST_F64 ? finite_doubles(at, count) : finite_floats(at, count)))
      atomic_store(&finite->bad[i], true);
  }
}

size_t cns_robust_finite_rows(enum cns_robust_type type, const void *data, size_t n, size_t d, size_t threads,
                              bool *ret_finite) {
  struct cns_matrix matrix = {type, data, n, d, threads};
  atomic_bool bad[CNS_ROBUST_ROWS_MAX];
  size_t count = 0;
  for (size_t first = 0; first < n; first += CNS_ROBUST_ROWS_MAX) {
    matrix.data = (const char *)data + first * d * (size_t)type;
    matrix.n = n - first < CNS_ROBUST_ROWS_MAX ? n - first : CNS_ROBUST_ROWS_MAX;
    for (size_t i = 0; i < matrix.n; i++)
      atomic_init(&bad[i], false);
    struct finite finite = {&matrix, bad};
    cns_matrix_run(&matrix, (d + FINITE_COLUMNS - 1) / FINITE_COLUMNS, finite_task, &finite);
    for (size_t i = 0; i < matrix.n; i++)
      count += ret_finite[first + i] = !atomic_load(&bad[i]);
  }
  return count;
}

int cns_rules_check_shape(const struct cns_matrix *matrix, struct cns_problem *problem) {
  if (matrix->type != CNS_ROBUST_F32 && matrix->type != CNS_ROBUST_F64)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "elements of %d bytes; float has 4, double 8",
                           (int)matrix->type);
  if (!matrix->data || matrix->d == 0)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "the matrix has no columns");
  if (matrix->d > INT_MAX || matrix->d > SIZE_MAX / matrix->n / (size_t)matrix->type)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%zu columns; at most %d are possible", matrix->d,
                           INT_MAX);
  return 0;
}

int cns_rules_not_finite(const struct cns_matrix *matrix, struct cns_problem *problem) {
  bool finite[CNS_ROBUST_ROWS_MAX];
  size_t good =
      cns_robust_finite_rows(matrix->type, matrix->data, matrix->n, matrix->d, matrix->threads, finite);
  for (size_t i = 0; i < matrix->n; i++)
    if (!finite[i])
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "row %zu has values that aren't finite (%zu of %zu rows have); leave such rows "
                             "out or replace them",
                             i, matrix->n - good, matrix->n);
  return cns_problem_set(problem, CNS_ERR_RANGE,
                         "the numbers are so large that their squares or sums overflow; scale them down");
}

int cns_rules_check_finite(const struct cns_matrix *matrix, const double *values, size_t count,
                           struct cns_problem *problem) {
  for (size_t k = 0; k < count; k++)
    if (!isfinite(values[k])) return cns_rules_not_finite(matrix, problem);
  return 0;
}
