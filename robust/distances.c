/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All distances between rows. Pairs of tiles of rows times parts of the columns
 * are dealt out to threads; within, a block of columns is turned into doubles
 * once and 4 x 4 pairs are summed at a time. Differences instead of the Gram
 * matrix: about twice the arithmetic, and nothing cancels.
 */
#include <stdlib.h>
#include <string.h>

#include "robust/matrix.h"

#define LANES 8
#define BLOCK 128 /* columns */
#define TILE 32   /* rows */
#define SIDE 4    /* rows of a group */
#define PART_COLUMNS 4096
#define PARTS_MAX 256
/* Doubles that the parts' sums may take together, unless one part takes more. */
#define PARTS_ROOM ((size_t)4 << 20)

struct distances {
  const struct cns_matrix *matrix;
  size_t tiles, part_columns;
  double *squared; /* parts x n x n; below the diagonal */
};

/* sum[4 x 4 x LANES] += (a - b)^2, a and b being 4 rows of BLOCK. */
typedef double lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(8), may_alias));

CNS_VECTORISED
static void add_squares(const double *a, const double *b, double *sum) {
  lanes s[SIDE][SIDE];
  memcpy(s, sum, sizeof s);
  for (size_t c = 0; c < BLOCK; c += LANES) {
    lanes y[SIDE];
    for (size_t j = 0; j < SIDE; j++)
      y[j] = *(const lanes *)(b + j * BLOCK + c);
    for (size_t i = 0; i < SIDE; i++) {
      lanes x = *(const lanes *)(a + i * BLOCK + c);
      for (size_t j = 0; j < SIDE; j++)
        s[i][j] += (x - y[j]) * (x - y[j]);
    }
  }
  memcpy(sum, s, sizeof s);
}

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

static void read_tile(const struct cns_matrix *matrix, size_t tile, size_t column, size_t count,
                      double *ret_rows) {
  size_t rows = least(TILE, matrix->n - tile * TILE);
  for (size_t i = 0; i < rows; i++) {
    cns_matrix_read(matrix, tile * TILE + i, column, count, ret_rows + i * BLOCK);
    memset(ret_rows + i * BLOCK + count, 0, (BLOCK - count) * sizeof *ret_rows);
  }
}

static double add_lanes(const double *sum) {
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* Sums of the groups (i, j) of two tiles; on the diagonal only j <= i. */
#define GROUPS (TILE / SIDE)
#define GROUP_LANES (SIDE * SIDE * LANES)

static void store(const struct distances *distances, size_t part, size_t a, size_t b, const double *sums) {
  size_t n = distances->matrix->n;
  double *out = distances->squared + part * n * n;
  for (size_t i = 0; i < TILE && a * TILE + i < n; i++)
    for (size_t j = 0; j < TILE && b * TILE + j < n; j++) {
      const double *group = sums + (i / SIDE * GROUPS + j / SIDE) * GROUP_LANES;
      if (b * TILE + j < a * TILE + i)
        out[(a * TILE + i) * n + b * TILE + j] = add_lanes(group + (i % SIDE * SIDE + j % SIDE) * LANES);
    }
}

/* k counts parts, and pairs of tiles (a, b <= a) in each. */
static void distances_task(void *argument, size_t k) {
  const struct distances *distances = argument;
  const struct cns_matrix *matrix = distances->matrix;
  size_t pairs = distances->tiles * (distances->tiles + 1) / 2, part = k / pairs, pair = k % pairs, a = 0;
  while ((a + 1) * (a + 2) / 2 <= pair)
    a++;
  size_t b = pair - a * (a + 1) / 2, begin = part * distances->part_columns;
  size_t end = least(begin + distances->part_columns, matrix->d);
  double first[TILE * BLOCK] = {0}, second[TILE * BLOCK] = {0}, sums[GROUPS * GROUPS * GROUP_LANES] = {0};
  size_t a_groups = (least(TILE, matrix->n - a * TILE) + SIDE - 1) / SIDE;
  size_t b_groups = (least(TILE, matrix->n - b * TILE) + SIDE - 1) / SIDE;
  for (size_t at = begin; at < end; at += BLOCK) {
    read_tile(matrix, a, at, least(BLOCK, end - at), first);
    if (a != b) read_tile(matrix, b, at, least(BLOCK, end - at), second);
    const double *other = a != b ? second : first;
    for (size_t i = 0; i < a_groups; i++)
      for (size_t j = 0; j < (a != b ? b_groups : i + 1); j++)
        add_squares(first + i * SIDE * BLOCK, other + j * SIDE * BLOCK,
                    sums + (i * GROUPS + j) * GROUP_LANES);
  }
  store(distances, part, a, b, sums);
}

static void add_parts(const struct distances *distances, size_t parts, double *ret_squared) {
  size_t n = distances->matrix->n;
  for (size_t i = 0; i < n; i++) {
    ret_squared[i * n + i] = 0;
    for (size_t j = 0; j < i; j++) {
      double sum = 0;
      for (size_t part = 0; part < parts; part++)
        sum += distances->squared[(part * n + i) * n + j];
      ret_squared[i * n + j] = ret_squared[j * n + i] = sum;
    }
  }
}

int cns_matrix_distances(const struct cns_matrix *matrix, double *ret_squared) {
  size_t n = matrix->n, parts_max = PARTS_ROOM / (n * n);
  if (parts_max > PARTS_MAX) parts_max = PARTS_MAX;
  if (parts_max < 1) parts_max = 1;
  size_t columns = (matrix->d + parts_max - 1) / parts_max;
  columns = columns < PART_COLUMNS ? PART_COLUMNS : (columns + BLOCK - 1) / BLOCK * BLOCK;
  size_t parts = (matrix->d + columns - 1) / columns, tiles = (n + TILE - 1) / TILE;
  struct distances distances = {matrix, tiles, columns, malloc(parts * n * n * sizeof(double))};
  if (!distances.squared) return CNS_ERR_MEMORY;
  cns_matrix_run(matrix, parts * tiles * (tiles + 1) / 2, distances_task, &distances);
  add_parts(&distances, parts, ret_squared);
  free(distances.squared);
  return 0;
}
