/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weighted medians and means of what lies near them. As if each row stood there as
 * often as its weight says, in fractions too.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "robust/columns.h"

#define STRIP 64
#define TASK_COLUMNS 8192
/* Sums of weights that differ by less than this part of the total are equal. */
#define ROUNDING 1e-12

struct weighted {
  const struct cns_matrix *matrix;
  enum cns_columns_kind kind;
  const double *weights;
  double total, drop; /* weight */
  struct cns_columns_network network;
  void *vector;
  atomic_bool failed, bad;
};

/* Values and row numbers of a strip of columns, n x STRIP; sorted together. */
struct strip {
  double *value;
  uint64_t *row;
};

CNS_VECTORISED
static void sort(const struct cns_columns_network *network, double *value, uint64_t *row) {
  for (size_t k = 0; k < network->pairs; k++) {
    double *low = value + network->pair[k][0] * STRIP, *high = value + network->pair[k][1] * STRIP;
    uint64_t *low_row = row + network->pair[k][0] * STRIP, *high_row = row + network->pair[k][1] * STRIP;
    for (size_t c = 0; c < STRIP; c++) {
      double a = low[c], b = high[c];
      uint64_t p = low_row[c], q = high_row[c];
      low[c] = a <= b ? a : b;
      high[c] = a <= b ? b : a;
      low_row[c] = a <= b ? p : q;
      high_row[c] = a <= b ? q : p;
    }
  }
}

/* One sorted column: value(i) and weight(i) for i in 0..n-1. */
struct column {
  const struct weighted *all;
  const double *value;
  const uint64_t *row;
  size_t n;
};

static double value_of(const struct column *column, size_t i) {
  return column->value[i * STRIP];
}

static double weight_of(const struct column *column, size_t i) {
  return column->all->weights[column->row[i * STRIP]];
}

static double median(const struct column *column) {
  double below = 0, half = column->all->total / 2, rounding = ROUNDING * column->all->total;
  size_t i = 0;
  for (; i + 1 < column->n; i++) {
    below += weight_of(column, i);
    if (fabs(below - half) <= rounding) return (value_of(column, i) + value_of(column, i + 1)) / 2;
    if (below > half) break;
  }
  return value_of(column, i);
}

static double trimmed(const struct column *column) {
  double begin = 0, low = column->all->drop, high = column->all->total - low, sum = 0, kept = 0;
  for (size_t i = 0; i < column->n; i++) {
    double end = begin + weight_of(column, i), part = fmin(end, high) - fmax(begin, low);
    if (part > ROUNDING * column->all->total) {
      sum += part * value_of(column, i);
      kept += part;
    }
    begin = end;
  }
  return sum / kept;
}

/* Takes weight off the end that is farther from the median until enough is dropped. */
static double meamed(const struct column *column) {
  double middle = median(column), left = column->all->drop, sum = 0, kept = 0;
  size_t low = 0, high = column->n - 1;
  double low_weight = weight_of(column, low), high_weight = weight_of(column, high);
  while (left > ROUNDING * column->all->total && low < high) {
    bool at_low = middle - value_of(column, low) > value_of(column, high) - middle;
    double *weight = at_low ? &low_weight : &high_weight;
    double part = fmin(*weight, left);
    left -= part;
    *weight -= part;
    if (*weight > ROUNDING * column->all->total) break;
    if (at_low)
      low_weight = weight_of(column, ++low);
    else
      high_weight = weight_of(column, --high);
    if (low == high) low_weight = high_weight = fmin(low_weight, high_weight);
  }
  for (size_t i = low; i <= high; i++) {
    double weight = i == low ? low_weight : i == high ? high_weight : weight_of(column, i);
    sum += weight * value_of(column, i);
    kept += weight;
  }
  return sum / kept;
}

static double finish(const struct column *column) {
  if (column->all->kind == CNS_COLUMNS_MEDIAN) return median(column);
  return column->all->kind == CNS_COLUMNS_TRIMMED ? trimmed(column) : meamed(column);
}

static void weighted_strip(struct weighted *weighted, size_t at, size_t width, const struct strip *strip) {
  size_t n = weighted->matrix->n;
  double result[STRIP], bad = 0;
  for (size_t i = 0; i < n; i++) {
    cns_matrix_read(weighted->matrix, i, at, width, strip->value + i * STRIP);
    for (size_t c = 0; c < width; c++)
      bad += strip->value[i * STRIP + c] - strip->value[i * STRIP + c];
    for (size_t c = 0; c < STRIP; c++)
      strip->row[i * STRIP + c] = i;
    for (size_t c = width; c < STRIP; c++)
      strip->value[i * STRIP + c] = 0;
  }
  sort(&weighted->network, strip->value, strip->row);
  for (size_t c = 0; c < width; c++) {
    struct column column = {weighted, strip->value + c, strip->row + c, n};
    result[c] = finish(&column);
  }
  if (!cns_matrix_write(weighted->matrix->type, result, width, weighted->vector, at) || bad != 0)
    atomic_store(&weighted->bad, true);
}

static void weighted_task(void *argument, size_t k) {
  struct weighted *weighted = argument;
  size_t n = weighted->matrix->n, begin = k * TASK_COLUMNS, end = begin + TASK_COLUMNS;
  struct strip strip = {malloc(n * STRIP * sizeof(double)), malloc(n * STRIP * sizeof(uint64_t))};
  if (end > weighted->matrix->d) end = weighted->matrix->d;
  if (!strip.value || !strip.row)
    atomic_store(&weighted->failed, true);
  else
    for (size_t at = begin; at < end; at += STRIP)
      weighted_strip(weighted, at, end - at < STRIP ? end - at : STRIP, &strip);
  free(strip.value);
  free(strip.row);
}

int cns_columns_aggregate_weighted(const struct cns_matrix *matrix, enum cns_columns_kind kind,
                                   const double *weights, size_t drop, void *ret_vector) {
  struct weighted weighted = {.matrix = matrix, .kind = kind, .weights = weights, .vector = ret_vector};
  for (size_t i = 0; i < matrix->n; i++)
    weighted.total += weights[i];
  weighted.drop = weighted.total * (double)drop / (double)matrix->n;
  int r = cns_columns_network(matrix->n, 0, matrix->n - 1, &weighted.network);
  if (r < 0) return r;
  cns_matrix_run(matrix, (matrix->d + TASK_COLUMNS - 1) / TASK_COLUMNS, weighted_task, &weighted);
  free(weighted.network.pair);
  return atomic_load(&weighted.failed) ? CNS_ERR_MEMORY : atomic_load(&weighted.bad) ? CNS_ERR_RANGE : 0;
}
