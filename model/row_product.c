/* SPDX-License-Identifier: Apache-2.0 */
#include "model/row_product.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

/* The whole project is compiled with -ffp-contract=off; this says it to
 * compilers that read it, and refuses settings under which sums may be
 * reordered or kept in wider registers. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
#if defined(__FAST_MATH__)
#error "the order of these sums must not be changed: no -ffast-math"
#endif
_Static_assert(FLT_EVAL_METHOD == 0, "float and double must be computed in their own precision");

/* The loops are chosen at start-up for the processor where the compiler can do
 * that; the bits are the same in all versions, since none fuses or reorders. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) &&                 \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORISED __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define VECTORISED
#endif

#define ALIGNMENT 64

typedef float lanes __attribute__((vector_size(4 * CNS_ROW_LANES), may_alias));
typedef double eight __attribute__((vector_size(64)));
typedef float eight_floats __attribute__((vector_size(32), aligned(4), may_alias));
_Static_assert(CNS_ROW_INNER == 8 && CNS_ROW_LANES % CNS_ROW_INNER == 0, "a tile's row is one vector");

size_t cns_row_stride(size_t columns) {
  return (columns + CNS_ROW_LANES - 1) / CNS_ROW_LANES * CNS_ROW_LANES;
}

size_t cns_row_capacity(size_t rows) {
  return (rows + CNS_ROW_GROUP - 1) / CNS_ROW_GROUP * CNS_ROW_GROUP;
}

static size_t padded_bytes(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void *cns_row_alloc(size_t bytes) {
  if (bytes == 0 || bytes > SIZE_MAX - ALIGNMENT) return NULL;
  void *memory = aligned_alloc(ALIGNMENT, padded_bytes(bytes));
  if (memory) memset(memory, 0, padded_bytes(bytes));
  return memory;
}

void cns_row_free(void *memory, size_t bytes) {
  if (memory) cns_wipe(memory, padded_bytes(bytes));
  free(memory);
}

void *cns_row_take(struct cns_row_arena *arena, size_t bytes) {
  char *place = arena->memory ? arena->memory + arena->used : NULL;
  arena->used += padded_bytes(bytes);
  return place;
}

/* Columns first..first+CNS_ROW_LANES-1, as far as there are any, side by side. */
static void pack_panel(const struct cns_row_matrix *matrix, size_t first, float *panel, float *start) {
  const size_t columns = matrix->columns - first < CNS_ROW_LANES ? matrix->columns - first : CNS_ROW_LANES;
  const float *values = matrix->values + first * matrix->column_step;
  memset(start, 0, CNS_ROW_LANES * sizeof *start);
  if (matrix->start) memcpy(start, matrix->start + first, columns * sizeof *start);
  if (columns < CNS_ROW_LANES) memset(panel, 0, matrix->inner * CNS_ROW_LANES * sizeof *panel);
  for (size_t k = 0; k < matrix->inner; k++)
    for (size_t j = 0; j < columns; j++)
      panel[k * CNS_ROW_LANES + j] = values[k * matrix->inner_step + j * matrix->column_step];
}

VECTORISED
static void multiply_panel(const float *in, size_t in_stride, size_t groups, const float *panel, size_t inner,
                           const float *start, float *out, size_t out_stride) {
  for (size_t g = 0; g < groups; g++) {
    lanes sum[CNS_ROW_GROUP];
    for (size_t r = 0; r < CNS_ROW_GROUP; r++)
      sum[r] = *(const lanes *)start;
    for (size_t k = 0; k < inner; k++) {
      const lanes column = *(const lanes *)(panel + k * CNS_ROW_LANES);
      for (size_t r = 0; r < CNS_ROW_GROUP; r++)
        sum[r] += in[r * in_stride + k] * column;
    }
    for (size_t r = 0; r < CNS_ROW_GROUP; r++)
      *(lanes *)(out + r * out_stride) = sum[r];
    in += CNS_ROW_GROUP * in_stride;
    out += CNS_ROW_GROUP * out_stride;
  }
}

void cns_row_multiply(const struct cns_row_matrix *matrix, const float *in, size_t in_stride, size_t rows,
                      float *panel, float *out, size_t out_stride) {
  const size_t groups = cns_row_capacity(rows) / CNS_ROW_GROUP;
  _Alignas(ALIGNMENT) float start[CNS_ROW_LANES];
  for (size_t j = 0; j < matrix->columns; j += CNS_ROW_LANES) {
    pack_panel(matrix, j, panel, start);
    multiply_panel(in, in_stride, groups, panel, matrix->inner, start, out + j, out_stride);
  }
}

VECTORISED
double cns_row_dot(const float *a, const float *b, size_t len) {
  eight low = {0}, high = {0};
  size_t i = 0;
  for (; i + 16 <= len; i += 16) {
    low += __builtin_convertvector(*(const eight_floats *)(a + i), eight) *
           __builtin_convertvector(*(const eight_floats *)(b + i), eight);
    high += __builtin_convertvector(*(const eight_floats *)(a + i + 8), eight) *
            __builtin_convertvector(*(const eight_floats *)(b + i + 8), eight);
  }
  low += high;
  double sum = ((low[0] + low[4]) + (low[1] + low[5])) + ((low[2] + low[6]) + (low[3] + low[7]));
  for (; i < len; i++)
    sum += (double)a[i] * (double)b[i];
  return sum;
}

VECTORISED
void cns_row_outer(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t rows,
                   double ret[static CNS_ROW_OUTER * CNS_ROW_INNER]) {
  eight sum[CNS_ROW_OUTER] = {0};
  for (size_t r = 0; r < rows; r++) {
    const eight right = __builtin_convertvector(*(const eight_floats *)(b + r * b_stride), eight);
    for (size_t o = 0; o < CNS_ROW_OUTER; o++)
      sum[o] += (double)a[r * a_stride + o] * right;
  }
  memcpy(ret, sum, sizeof sum);
}
