/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included by robust/columns.c once for each type T, and only there. values: count x
 * STRIP; result: one double for each column.
 */

CNS_VECTORISED
static void NAME(sort)(const struct cns_columns_network *network, T *values) {
  for (size_t k = 0; k < network->pairs; k++) {
    T *low = values + network->pair[k][0] * STRIP, *high = values + network->pair[k][1] * STRIP;
    for (size_t c = 0; c < STRIP; c++) {
      T a = low[c], b = high[c];
      low[c] = a < b ? a : b;
      high[c] = a < b ? b : a;
    }
  }
}

CNS_VECTORISED
static void NAME(median)(const T *values, size_t count, double *ret_middle) {
  const T *low = values + (count - 1) / 2 * STRIP, *high = values + count / 2 * STRIP;
  for (size_t c = 0; c < STRIP; c++)
    ret_middle[c] = ((double)low[c] + (double)high[c]) / 2;
}

/* Places begin..end-1. */
CNS_VECTORISED
static void NAME(sum)(const T *values, size_t begin, size_t end, double *ret_sum) {
  for (size_t c = 0; c < STRIP; c++)
    ret_sum[c] = 0;
  for (size_t i = begin; i < end; i++)
    for (size_t c = 0; c < STRIP; c++)
      ret_sum[c] += (double)values[i * STRIP + c];
}

/* The nearest count - drop values are neighbours in the sorted column: value s is
 * replaced by value s + (count - drop) as long as that is nearer to the median. */
CNS_VECTORISED
static void NAME(nearest)(const T *values, size_t count, size_t drop, const double *middle, double *ret_sum) {
  size_t keep = count - drop;
  NAME(sum)(values, drop, keep, ret_sum);
  for (size_t s = 0; s < drop; s++)
    for (size_t c = 0; c < STRIP; c++) {
      double below = (double)values[s * STRIP + c], above = (double)values[(s + keep) * STRIP + c];
      ret_sum[c] += middle[c] - below > above - middle[c] ? above : below;
    }
}

static void NAME(strip)(const struct columns *columns, size_t at, size_t width, T *values,
                        double *ret_result) {
  size_t count = columns->count, drop = columns->drop;
  double middle[STRIP], divisor = 1;
  for (size_t i = 0; i < count; i++) {
    memcpy(values + i * STRIP, cns_matrix_at(columns->matrix, columns->rows[i], at), width * sizeof(T));
    memset(values + i * STRIP + width, 0, (STRIP - width) * sizeof(T));
  }
  NAME(sort)(&columns->network, values);
  if (columns->kind == CNS_COLUMNS_MEDIAN)
    NAME(median)(values, count, ret_result);
  else if (columns->kind == CNS_COLUMNS_TRIMMED) {
    NAME(sum)(values, drop, count - drop, ret_result);
    divisor = (double)(count - 2 * drop);
  } else {
    NAME(median)(values, count, middle);
    NAME(nearest)(values, count, drop, middle, ret_result);
    divisor = (double)(count - drop);
  }
  for (size_t c = 0; c < STRIP; c++)
    ret_result[c] /= divisor;
}
