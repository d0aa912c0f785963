/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included by robust/columns.c once for each type T, and only there. values: count x
 * STRIP; result: one double for each column.
 */

/* NaNs would be lost in the network. */
CNS_VECTORISED
static bool NAME(finite)(const T *values, size_t count) {
  T bad[STRIP] = {0}, sum = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t c = 0; c < STRIP; c++)
      bad[c] += values[i * STRIP + c] - values[i * STRIP + c];
  for (size_t c = 0; c < STRIP; c++)
    sum += bad[c];
  return sum == 0;
}

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

/* The nearest count - drop values are neighbours in the sorted column: that window moves
 * up by one, value s leaving and value s + (count - drop) entering in its place, as long
 * as that is nearer to the median. */
CNS_VECTORISED
static void NAME(nearest)(T *values, size_t count, size_t drop, const double *middle, double *ret_sum) {
  size_t keep = count - drop;
  for (size_t s = 0; s < drop; s++) {
    T *place = values + s % keep * STRIP;
    for (size_t c = 0; c < STRIP; c++) {
      T below = values[s * STRIP + c], above = values[(s + keep) * STRIP + c];
      place[c] = middle[c] - (double)below > (double)above - middle[c] ? above : place[c];
    }
  }
  NAME(sum)(values, 0, keep, ret_sum);
}

/* source: the strip's first column; rows are `stride` apart. */
static bool NAME(strip)(const struct columns *columns, const T *source, size_t stride, size_t width,
                        T *values, double *ret_result) {
  size_t count = columns->count, drop = columns->drop;
  double middle[STRIP], divisor = 1;
  for (size_t i = 0; i < count; i++) {
    memcpy(values + i * STRIP, source + i * stride, width * sizeof(T));
    memset(values + i * STRIP + width, 0, (STRIP - width) * sizeof(T));
  }
  bool finite = NAME(finite)(values, count);
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
  return finite;
}

/* Columns at..at+count-1; room: the tile, then the strip. */
static bool NAME(tile)(const struct columns *columns, size_t at, size_t count, void *room) {
  size_t stride = columns->tile;
  T *tile = room, *values = tile + columns->count * stride;
  bool finite = true;
  for (size_t i = 0; i < columns->count; i++)
    memcpy(tile + i * stride, cns_matrix_at(columns->matrix, columns->rows[i], at), count * sizeof(T));
  for (size_t c = 0; c < count; c += STRIP) {
    size_t width = count - c < STRIP ? count - c : STRIP;
    double result[STRIP];
    finite = NAME(strip)(columns, tile + c, stride, width, values, result) && finite;
    finite = cns_matrix_write(columns->matrix->type, result, width, columns->vector, at + c) && finite;
  }
  return finite;
}
