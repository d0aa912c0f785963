/* SPDX-License-Identifier: Apache-2.0 */
/* Files as numpy.save writes them, byte for byte; both precisions and orders; what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"
#include "model/npy_matrix.h"

static char folder[] = "/tmp/cns-npy-XXXXXX", path[64], other[64];

/* numpy.save(f, numpy.array([[1.5, -2, 0], [3, 0.25, 1e-3]], dtype='<f4')) */
static const char saved_f4[] = "\x93NUMPY\x01\x00\x76\x00"
                               "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
                               "                                                          \n"
                               "\x00\x00\xc0\x3f\x00\x00\x00\xc0\x00\x00\x00\x00"
                               "\x00\x00\x40\x40\x00\x00\x80\x3e\x6f\x12\x83\x3a";
static const float values_f4[] = {1.5f, -2, 0, 3, 0.25f, 1e-3f};
static const double values_f8[] = {1.5, -2, 0, 3, 0.25, 1e-3};

static int setup(void **state) {
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/a.npy", folder);
  snprintf(other, sizeof other, "%s/b.npy", folder);
  return 0;
}

static int teardown(void **state) {
  unlink(path);
  unlink(other);
  return rmdir(folder);
}

static void put(const void *data, size_t len) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, len, file), len);
  assert_int_equal(fclose(file), 0);
}

static void put_npy(unsigned version, const char *header, const void *values, size_t len) {
  uint8_t data[2048] = "\x93NUMPY";
  size_t header_len = strlen(header), at = version == 2 ? 12 : 10;
  data[6] = (uint8_t)version;
  data[7] = 0;
  data[8] = (uint8_t)header_len;
  data[9] = (uint8_t)(header_len >> 8);
  memcpy(data + at, header, header_len);
  memcpy(data + at + header_len, values, len);
  put(data, at + header_len + len);
}

static void expect(size_t element_bytes, size_t dimensions, size_t rows, size_t columns, const void *values) {
  struct cns_npy_matrix matrix;
  struct cns_problem problem = {{0}};
  if (cns_npy_matrix_read(path, &matrix, &problem) != 0) fail_msg("%s", problem.text);
  assert_int_equal(matrix.element_bytes, element_bytes);
  assert_int_equal(matrix.dimensions, dimensions);
  assert_int_equal(matrix.rows, rows);
  assert_int_equal(matrix.columns, columns);
  assert_memory_equal(matrix.values, values, rows * columns * element_bytes);
  cns_npy_matrix_deinit(&matrix);
}

static void refuse(int error, const char *word) {
  struct cns_npy_matrix matrix;
  struct cns_problem problem = {{0}};
  int r = cns_npy_matrix_read(path, &matrix, &problem);
  if (r != error || !strstr(problem.text, word))
    fail_msg("%d, not %d with '%s': %s", r, error, word, problem.text);
}

static void what_numpy_saves_is_read(void **state) {
  static const double turned[] = {1.5, 3, -2, 0.25, 0, 1e-3};
  put(saved_f4, sizeof saved_f4 - 1);
  expect(4, 2, 2, 3, values_f4);
  put_npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n", values_f8, sizeof values_f8);
  expect(8, 2, 2, 3, values_f8);
  put_npy(2, "{'descr': '<f8', 'fortran_order': False, 'shape': (6,), }\n", values_f8, sizeof values_f8);
  expect(8, 1, 1, 6, values_f8);
  put_npy(1, "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n", turned, sizeof turned);
  expect(8, 2, 2, 3, values_f8);
}

/* A matrix larger than a tile of the transposition, both orders. */
static void fortran_order_is_turned_round(void **state) {
  enum { ROWS = 67, COLUMNS = 131 };
  static uint8_t file[128 + ROWS * COLUMNS * 4];
  static float plain[ROWS * COLUMNS], turned[ROWS * COLUMNS];
  char header[119];
  for (size_t i = 0; i < ROWS; i++)
    for (size_t k = 0; k < COLUMNS; k++)
      turned[k * ROWS + i] = plain[i * COLUMNS + k] = (float)(1000 * i + k);
  snprintf(header, sizeof header, "%-117s\n",
           "{'descr': '<f4', 'fortran_order': True, 'shape': (67, 131), }");
  memcpy(file, "\x93NUMPY\x01\x00\x76\x00", 10);
  memcpy(file + 10, header, 118);
  memcpy(file + 128, turned, sizeof turned);
  put(file, sizeof file);
  expect(4, 2, ROWS, COLUMNS, plain);
}

static void what_is_written_is_what_numpy_writes(void **state) {
  struct cns_npy_matrix matrix;
  struct cns_problem problem = {{0}};
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_npy_matrix_new(4, 2, 2, 3, &matrix, &problem), 0);
  memcpy(matrix.values, values_f4, sizeof values_f4);
  assert_int_equal(cns_npy_matrix_write(path, &matrix, &problem), 0);
  assert_memory_equal(matrix.values, values_f4, sizeof values_f4);
  assert_int_equal(cns_file_read(path, 4096, &data, &len, &problem), 0);
  assert_int_equal(len, sizeof saved_f4 - 1);
  assert_memory_equal(data, saved_f4, len);
  free(data);
  assert_int_equal(cns_npy_matrix_convert(&matrix, 8, &problem), 0);
  for (size_t i = 0; i < 6; i++)
    assert_true(((double *)matrix.values)[i] == (double)values_f4[i]);
  ((double *)matrix.values)[5] = NAN; /* a number like others */
  assert_int_equal(cns_npy_matrix_write(path, &matrix, &problem), 0);
  expect(8, 2, 2, 3, matrix.values);
  cns_npy_matrix_deinit(&matrix);
  assert_int_equal(cns_npy_matrix_new(8, 1, 1, 6, &matrix, &problem), 0);
  memcpy(matrix.values, values_f8, sizeof values_f8);
  assert_int_equal(cns_npy_matrix_write(path, &matrix, &problem), 0);
  expect(8, 1, 1, 6, values_f8);
  cns_npy_matrix_deinit(&matrix);
}

static void other_files_are_refused(void **state) {
  static const struct {
    const char *header, *word;
    int error;
  } cases[] = {
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", "pickled", CNS_ERR_UNSUPPORTED},
      {"{'descr': '>f8', 'fortran_order': False, 'shape': (2, 3), }", "big-endian", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }", "'<i8'", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }", "'<f2'", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3), }", "3 dimensions", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (), }", "0 dimensions", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 0), }", "empty", CNS_ERR_FORMAT},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", "2 x 2", CNS_ERR_FORMAT},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 4), }", "2 x 4", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "48 bytes", CNS_ERR_FORMAT},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "at most",
       CNS_ERR_LIMIT},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (200000000, 200000000), }", "at most",
       CNS_ERR_LIMIT},
      {"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2, 3), }", "structured", CNS_ERR_FORMAT},
      {"", "dict", CNS_ERR_FORMAT},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    put_npy(1, cases[c].header, values_f8, sizeof values_f8);
    refuse(cases[c].error, cases[c].word);
  }
  put("hello", 5);
  refuse(CNS_ERR_FORMAT, "no .npy file");
  put("", 0);
  refuse(CNS_ERR_FORMAT, "is empty");
  unlink(path);
  refuse(CNS_ERR_NOT_FOUND, path);
  assert_int_equal(mkdir(path, 0700), 0);
  refuse(CNS_ERR_IO, "folder");
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  refuse(CNS_ERR_IO, "plain file");
  unlink(path);
}

static void every_other_length_is_refused(void **state) {
  struct cns_npy_matrix matrix;
  uint8_t longer[sizeof saved_f4] = {0};
  memcpy(longer, saved_f4, sizeof saved_f4 - 1);
  for (size_t len = 0; len < sizeof saved_f4 - 1; len++) {
    put(longer, len);
    assert_true(cns_npy_matrix_read(path, &matrix, NULL) < 0);
  }
  put(longer, sizeof longer);
  refuse(CNS_ERR_FORMAT, "25 bytes follow");
}

static void a_long_header_is_a_limit(void **state) {
  size_t len = 70000;
  uint8_t *data = calloc(1, len);
  assert_non_null(data);
  memset(data, ' ', len);
  memcpy(data, "\x93NUMPY\x02\x00\x00\x00\x01\x00", 12);
  put(data, len);
  refuse(CNS_ERR_LIMIT, "header of 65536");
  free(data);
}

static void a_few_numbers_of_any_type(void **state) {
  static const int64_t whole[] = {3, 0x7fffffff0, -4};
  static const int32_t narrow[] = {3, -5, 7};
  double *numbers = NULL;
  size_t count = 0;
  struct cns_problem problem = {{0}};
  put_npy(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", whole, sizeof whole);
  assert_int_equal(cns_npy_matrix_read_numbers(path, 3, &numbers, &count, &problem), 0);
  assert_true(count == 3 && numbers[0] == 3 && numbers[1] == (double)0x7fffffff0 && numbers[2] == -4);
  free(numbers);
  assert_int_equal(cns_npy_matrix_read_numbers(path, 2, &numbers, &count, &problem), CNS_ERR_LIMIT);
  put_npy(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 1), }", narrow, sizeof narrow);
  assert_int_equal(cns_npy_matrix_read_numbers(path, 9, &numbers, &count, &problem), 0);
  assert_true(count == 3 && numbers[1] == -5);
  free(numbers);
  put(saved_f4, sizeof saved_f4 - 1);
  assert_int_equal(cns_npy_matrix_read_numbers(path, 9, &numbers, &count, &problem), CNS_ERR_UNSUPPORTED);
  put_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", (float[]){1, NAN}, 8);
  assert_int_equal(cns_npy_matrix_read_numbers(path, 9, &numbers, &count, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "number 1"));
}

static void wrong_sizes_are_refused(void **state) {
  struct cns_npy_matrix matrix;
  assert_int_equal(cns_npy_matrix_new(2, 2, 2, 2, &matrix, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_npy_matrix_new(4, 1, 2, 2, &matrix, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_npy_matrix_new(8, 2, SIZE_MAX / 2, 16, &matrix, NULL), CNS_ERR_LIMIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_numpy_saves_is_read),
      cmocka_unit_test(fortran_order_is_turned_round),
      cmocka_unit_test(what_is_written_is_what_numpy_writes),
      cmocka_unit_test(other_files_are_refused),
      cmocka_unit_test(every_other_length_is_refused),
      cmocka_unit_test(a_long_header_is_a_limit),
      cmocka_unit_test(a_few_numbers_of_any_type),
      cmocka_unit_test(wrong_sizes_are_refused),
  };
  return cmocka_run_group_tests_name("model npy_matrix", tests, setup, teardown);
}
