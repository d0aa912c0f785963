/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of one coordinate are sorted by a network, which has no branches: STRIP
 * coordinates go through it side by side, in vector registers.
 */
#include "robust/columns.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Columns that are sorted side by side. */
#define STRIP 64
#define TASK_COLUMNS 8192
/* Bytes of a tile: rows are read in long pieces, as memory likes it, and stay near until
 * their strips are sorted. */
#define TILE_BYTES ((size_t)256 << 10)
#define TILE_COLUMNS_MAX 2048

/* Batcher 1968, for any n: calls with each comparison (low, high) in order. */
static size_t batcher(size_t n, uint16_t (*pair)[2]) {
  size_t count = 0;
  for (size_t p = 1; p < n; p *= 2)
    for (size_t k = p; k >= 1; k /= 2)
      for (size_t j = k % p; j + k < n; j += 2 * k)
        for (size_t i = 0; i < k && i + j + k < n; i++)
          if ((i + j) / (2 * p) == (i + j + k) / (2 * p)) {
            if (pair) {
              pair[count][0] = (uint16_t)(i + j);
              pair[count][1] = (uint16_t)(i + j + k);
            }
            count++;
          }
  return count;
}

int cns_columns_network(size_t n, size_t first, size_t last, struct cns_columns_network *ret_network) {
  size_t count = batcher(n, NULL), kept = count;
  uint16_t(*pair)[2] = malloc((count + 1) * sizeof *pair);
  bool *needed = calloc(n, sizeof *needed);
  if (!pair || !needed) {
    free(pair);
    free(needed);
    return CNS_ERR_MEMORY;
  }
  batcher(n, pair);
  for (size_t i = first; i <= last; i++)
    needed[i] = true;
  for (size_t k = count; k-- > 0;)
    if (needed[pair[k][0]] || needed[pair[k][1]]) {
      needed[pair[k][0]] = needed[pair[k][1]] = true;
      kept--;
      memmove(pair[kept], pair[k], sizeof *pair);
    }
  memmove(pair, pair[kept], (count - kept) * sizeof *pair);
  free(needed);
  *ret_network = (struct cns_columns_network){count - kept, pair};
  return 0;
}

struct columns {
  const struct cns_matrix *matrix;
  enum cns_columns_kind kind;
  const size_t *rows;
  size_t count, drop, tile; /* columns */
  struct cns_columns_network network;
  void *vector;
  atomic_bool failed, bad;
};

/* The same text for both types. */
#define T float
#define NAME(x) x##_f32
#include "robust/columns_body.h"
#undef T
#undef NAME
#define T double
#define NAME(x) x##_f64
#include "robust/columns_body.h"
#undef T
#undef NAME

static void columns_task(void *argument, size_t k) {
  struct columns *columns = argument;
  const struct cns_matrix *matrix = columns->matrix;
  size_t begin = k * TASK_COLUMNS, end = begin + TASK_COLUMNS;
  void *room = malloc(columns->count * (columns->tile + STRIP) * (size_t)matrix->type);
  if (!room) {
    atomic_store(&columns->failed, true);
    return;
  }
  if (end > matrix->d) end = matrix->d;
  for (size_t at = begin; at < end; at += columns->tile) {
    size_t count = end - at < columns->tile ? end - at : columns->tile;
    if (!(matrix->type == CNS_ROBUST_F64 ? tile_f64(columns, at, count, room)
                                         : tile_f32(columns, at, count, room)))
      atomic_store(&columns->bad, true);
  }
  free(room);
}

static size_t tile_columns(size_t rows, enum cns_robust_type type) {
  size_t columns = TILE_BYTES / (rows * (size_t)type) / STRIP * STRIP;
  if (columns < STRIP) return STRIP;
  return columns < TILE_COLUMNS_MAX ? columns : TILE_COLUMNS_MAX;
}

int cns_columns_aggregate(const struct cns_matrix *matrix, enum cns_columns_kind kind, const size_t *rows,
                          size_t count, size_t drop, void *ret_vector) {
  struct columns columns = {.matrix = matrix, .kind = kind, .rows = rows, .count = count, .drop = drop};
  columns.tile = tile_columns(count, matrix->type);
  columns.vector = ret_vector;
  size_t first = 0, last = count - 1;
  if (kind == CNS_COLUMNS_MEDIAN) {
    first = (count - 1) / 2;
    last = count / 2;
  } else if (kind == CNS_COLUMNS_TRIMMED) {
    first = drop;
    last = count - 1 - drop;
  }
  int r = cns_columns_network(count, first, last, &columns.network);
  if (r < 0) return r;
  cns_matrix_run(matrix, (matrix->d + TASK_COLUMNS - 1) / TASK_COLUMNS, columns_task, &columns);
  free(columns.network.pair);
  return atomic_load(&columns.failed) ? CNS_ERR_MEMORY : atomic_load(&columns.bad) ? CNS_ERR_RANGE : 0;
}
