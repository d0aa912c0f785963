/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of rows with matrices whose result for one row doesn't depend on the
 * other rows, on how many there are or on where the row stands, bit for bit.
 * BLAS doesn't promise that: its kernels sum differently at the edges of a
 * block. Differential privacy needs it, since the sensitivity of a sum over
 * patients is only bounded if one patient's rows leave the others' terms alone.
 *
 * How: each result is a sum in one fixed order, element after element; vector
 * registers hold different results, never parts of one; products are rounded
 * before they are added (no fused multiply-add, whatever the processor). Rows
 * of floats are padded to a multiple of CNS_ROW_LANES and blocks of rows to a
 * multiple of CNS_ROW_GROUP; padding is computed on and never looked at.
 *
 * Floats are multiplied in double where that is said: a product of two floats is
 * exact in double and can neither overflow nor underflow.
 */
#pragma once

#include "crypto/base.h"

#define CNS_ROW_LANES 16
#define CNS_ROW_GROUP 6
#define CNS_ROW_OUTER 4 /* of the first and */
#define CNS_ROW_INNER 8 /* of the second index of cns_row_outer's tile */

/* Floats a row of `columns` takes; rows that a block of `rows` takes. */
size_t cns_row_stride(size_t columns);
size_t cns_row_capacity(size_t rows);
/* `bytes` of zeros, aligned for all functions here; NULL: no memory. Freed by
 * cns_row_free, which wipes them first (NULL is fine). */
void *cns_row_alloc(size_t bytes);
void cns_row_free(void *memory, size_t bytes);

/* Several arrays in one piece of memory, for which the allocator need not ask the system
 * again in each step. While memory is NULL take only counts `used`, and returns NULL. */
struct cns_row_arena {
  char *memory; /* of cns_row_alloc(used) */
  size_t used;  /* bytes */
};
void *cns_row_take(struct cns_row_arena *arena, size_t bytes);

/* A matrix M [inner, columns] that lies elsewhere: element (k, j) is
 * values[k*inner_step + j*column_step]. start[columns] may be NULL: zeros. */
struct cns_row_matrix {
  size_t inner, columns;
  const float *values;
  size_t inner_step, column_step;
  const float *start;
};

/* out[r][j] = (..((start[j] + in[r][0]*M[0][j]) + in[r][1]*M[1][j]) + ..), in
 * float, r < rows. Strides and capacities as above, arrays of cns_row_alloc;
 * panel is room for inner*CNS_ROW_LANES floats. */
void cns_row_multiply(const struct cns_row_matrix *matrix, const float *in, size_t in_stride, size_t rows,
                      float *panel, float *out, size_t out_stride);

/* Inner product in double. The order of its sum depends on len alone; at most
 * len additions touch any term. */
double cns_row_dot(const float *a, const float *b, size_t len);

/* One tile of a sum of outer products, in double, row after row:
 * ret[o][i] = (..(a[0][o]*b[0][i] + a[1][o]*b[1][i]) + ..), rows >= 1. */
void cns_row_outer(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t rows,
                   double ret[static CNS_ROW_OUTER * CNS_ROW_INNER]);
