/* SPDX-License-Identifier: Apache-2.0 */
#include "private_world.h"

#define SEED 31

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "row product");
  return 0;
}

static float *random_floats(size_t count) {
  float *values = cns_row_alloc(count * sizeof *values);
  assert_non_null(values);
  for (size_t i = 0; i < count; i++)
    values[i] = uniform() * (float)(1 + 1000 * (below(8) == 0));
  return values;
}

/* The sum that the header promises; volatile, so that nothing is fused or reordered. */
static float promised(const struct cns_row_matrix *matrix, const float *row, size_t j) {
  volatile float sum = matrix->start ? matrix->start[j] : 0;
  for (size_t k = 0; k < matrix->inner; k++) {
    volatile float product = row[k] * matrix->values[k * matrix->inner_step + j * matrix->column_step];
    sum = sum + product;
  }
  return sum;
}

static void check_product(const struct cns_row_matrix *matrix, size_t rows) {
  size_t in_stride = cns_row_stride(matrix->inner), out_stride = cns_row_stride(matrix->columns);
  size_t capacity = cns_row_capacity(rows);
  float *in = random_floats(capacity * in_stride), *out = random_floats(capacity * out_stride);
  float *panel = random_floats(matrix->inner * CNS_ROW_LANES);
  if (rows > 2) in[2 * in_stride] = NAN; /* stays in its row */
  cns_row_multiply(matrix, in, in_stride, rows, panel, out, out_stride);
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < matrix->columns; j++) {
      float expected = promised(matrix, in + r * in_stride, j), found = out[r * out_stride + j];
      if (r == 2) assert_true(isnan(found));
      if (r != 2) assert_memory_equal(&expected, &found, sizeof found);
    }
  cns_row_free(in, capacity * in_stride * sizeof(float));
  cns_row_free(out, capacity * out_stride * sizeof(float));
  cns_row_free(panel, matrix->inner * CNS_ROW_LANES * sizeof(float));
}

static void products_are_the_promised_bits(void **state) {
  static const size_t sizes[] = {1, 2, 5, 15, 16, 17, 31, 48, 100};
  float *values = random_floats(100 * 100), *start = random_floats(100);
  for (size_t a = 0; a < LENGTH_OF(sizes); a++)
    for (size_t b = 0; b < LENGTH_OF(sizes); b++) {
      struct cns_row_matrix transposed = {sizes[a], sizes[b], values, 1, sizes[a], start};
      struct cns_row_matrix plain = {sizes[a], sizes[b], values, sizes[b], 1, NULL};
      size_t rows = 1 + below(14);
      check_product(&transposed, rows);
      check_product(&plain, rows);
    }
  cns_row_free(values, 100 * 100 * sizeof(float));
  cns_row_free(start, 100 * sizeof(float));
}

/* The same bits wherever the vectors lie, and no further from the truth than allowed. */
static void inner_products(void **state) {
  enum { LEN = 333, ROOM = LEN + 64 };
  float *a = random_floats(ROOM), *b = random_floats(ROOM);
  for (size_t len = 0; len <= LEN; len++) {
    float *moved_a = random_floats(ROOM), *moved_b = random_floats(ROOM);
    size_t shift_a = below(20), shift_b = below(20);
    memcpy(moved_a + shift_a, a, len * sizeof *a);
    memcpy(moved_b + shift_b, b, len * sizeof *b);
    double here = cns_row_dot(a, b, len), there = cns_row_dot(moved_a + shift_a, moved_b + shift_b, len);
    assert_memory_equal(&here, &there, sizeof here);
    quad exact = 0, size = 0;
    for (size_t i = 0; i < len; i++) {
      exact += (quad)a[i] * (quad)b[i];
      size += (quad)fabsf(a[i]) * (quad)fabsf(b[i]);
    }
    assert_true(fabs((double)((quad)here - exact)) <= (double)len * 0x1p-53 * (double)size * 1.001);
    cns_row_free(moved_a, ROOM * sizeof *a);
    cns_row_free(moved_b, ROOM * sizeof *b);
  }
  cns_row_free(a, ROOM * sizeof *a);
  cns_row_free(b, ROOM * sizeof *b);
}

static void outer_products(void **state) {
  enum { ROWS = 70, STRIDE = 32 };
  float *a = random_floats(ROWS * STRIDE), *b = random_floats(ROWS * STRIDE);
  for (size_t rows = 1; rows <= ROWS; rows++) {
    size_t first = below(ROWS - rows + 1), output = below(STRIDE - CNS_ROW_OUTER),
           input = below(STRIDE - CNS_ROW_INNER);
    double tile[CNS_ROW_OUTER * CNS_ROW_INNER];
    cns_row_outer(a + first * STRIDE + output, STRIDE, b + first * STRIDE + input, STRIDE, rows, tile);
    for (size_t o = 0; o < CNS_ROW_OUTER; o++)
      for (size_t i = 0; i < CNS_ROW_INNER; i++) {
        volatile double sum = 0;
        for (size_t r = first; r < first + rows; r++) {
          volatile double product = (double)a[r * STRIDE + output + o] * (double)b[r * STRIDE + input + i];
          sum = sum + product;
        }
        double expected = sum;
        assert_memory_equal(&expected, &tile[o * CNS_ROW_INNER + i], sizeof expected);
      }
  }
  cns_row_free(a, ROWS * STRIDE * sizeof *a);
  cns_row_free(b, ROWS * STRIDE * sizeof *b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(products_are_the_promised_bits, setup),
      cmocka_unit_test_setup(inner_products, setup),
      cmocka_unit_test_setup(outer_products, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
