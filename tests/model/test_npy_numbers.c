/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/json.h"
#include "fixture.h"
#include "model/npy_numbers.h"
#include "model/tensors.h"

#include <float.h>
#include <math.h>
#include <unistd.h>

static char path[] = "/tmp/cns-npy-numbers-XXXXXX";

static int setup(void **state) {
  (void)state;
  int fd = mkstemp(path);
  return cns_init() != 0 || fd < 0 || close(fd) != 0;
}

static int teardown(void **state) {
  (void)state;
  return unlink(path);
}

/* numpy.save's layout, by hand. */
static void write_npy(const char *header, const void *data, size_t len) {
  static uint8_t bytes[400000];
  size_t used = strlen(header), padded = (used + 11 + 63) / 64 * 64 - 10;
  memcpy(bytes, "\x93NUMPY\x01\0", 8);
  bytes[8] = (uint8_t)padded;
  bytes[9] = (uint8_t)(padded >> 8);
  memcpy(bytes + 10, header, used);
  memset(bytes + 10 + used, ' ', padded - used - 1);
  bytes[10 + padded - 1] = '\n';
  assert_true(10 + padded + len <= sizeof bytes);
  memcpy(bytes + 10 + padded, data, len);
  assert_int_equal(cns_file_write(path, bytes, 10 + padded + len, 0600, NULL), 0);
}

static void all_three_types_are_read(void **state) {
  (void)state;
  static const uint16_t halves[] = {0x3C00, 0xC000, 0x0001};
  static const float floats[] = {1, -2, 0x1p-24f};
  static const double doubles[] = {1, -2, 0x1p-24 + 0x1p-60};
  const struct {
    const char *header;
    const void *data;
    size_t len;
  } files[] = {
      {"{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }", halves, sizeof halves},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1), }", floats, sizeof floats},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3, 1), }", doubles, sizeof doubles},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }", floats, sizeof floats},
  };
  for (size_t i = 0; i < LENGTH_OF(files); i++) {
    struct cns_npy_numbers *numbers = NULL;
    float out[3] = {0};
    write_npy(files[i].header, files[i].data, files[i].len);
    assert_int_equal(cns_npy_numbers_open(path, &numbers, NULL), 0);
    assert_int_equal(cns_npy_numbers_count(numbers), 3);
    assert_int_equal(cns_npy_numbers_load(numbers, 0, 1, out, NULL), 0);
    assert_int_equal(cns_npy_numbers_load(numbers, 1, 2, out + 1, NULL), 0);
    assert_memory_equal(out, floats, sizeof floats);
    assert_int_equal(cns_npy_numbers_load(numbers, 1, 3, out, NULL), CNS_ERR_ARGUMENT);
    cns_npy_numbers_free(numbers);
  }
}

static const struct {
  const char *header;
  size_t len;
  const char *word;
} refused[] = {
    {"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", 24,
     "pickled Python objects, which run code"},
    {"{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }", 12,
     "'>f4'; '<f2', '<f4' and '<f8' are read"},
    {"{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", 24, "'<i8'"},
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", 24, "'<c8'"},
    {"{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", 24, "Fortran order"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", 12, "but 12 bytes follow"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 12, "but 12 bytes follow"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", 0, "is empty"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,3), }", 12, "9 dimensions"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }", 12,
     "its shape means"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3), }", 12, "dict"},
    {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", 12, "structured"},
};

static void others_are_refused(void **state) {
  (void)state;
  static const uint8_t data[64];
  for (size_t i = 0; i < LENGTH_OF(refused); i++) {
    struct cns_npy_numbers *numbers = NULL;
    struct cns_problem problem = {{0}};
    write_npy(refused[i].header, data, refused[i].len);
    assert_true(cns_npy_numbers_open(path, &numbers, &problem) < 0);
    if (!strstr(problem.text, refused[i].word)) print_error("%zu: %s\n", i, problem.text);
    assert_non_null(strstr(problem.text, refused[i].word));
    assert_null(numbers);
  }
}

static void what_no_float_holds_is_refused(void **state) {
  (void)state;
  static const double doubles[] = {1, (double)FLT_MAX, -1e39};
  struct cns_npy_numbers *numbers = NULL;
  struct cns_problem problem = {{0}};
  float out[3];
  write_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", doubles, sizeof doubles);
  assert_int_equal(cns_npy_numbers_open(path, &numbers, NULL), 0);
  assert_int_equal(cns_npy_numbers_load(numbers, 0, 2, out, NULL), 0);
  assert_true(out[1] == FLT_MAX);
  assert_int_equal(cns_npy_numbers_load(numbers, 0, 3, out, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "number 2 (from 0) is too large"));
  assert_int_equal(truncate(path, 130), 0);
  assert_int_equal(cns_npy_numbers_load(numbers, 1, 1, out, &problem), CNS_ERR_IO);
  cns_npy_numbers_free(numbers);
}

/* Several of the blocks in which they are read and written, and a shape of eight dimensions. */
static void what_was_written_is_read(void **state) {
  (void)state;
  enum { COUNT = 90000 };
  struct cns_tensor_list list = {0};
  float *values = malloc(COUNT * sizeof *values), *back = malloc(COUNT * sizeof *back);
  assert_true(values && back);
  for (size_t i = 0; i < COUNT; i++)
    values[i] = (float)(i % 2048) - 1024;
  assert_int_equal(cns_tensor_list_add(&list, "a", (uint64_t[]){1, 1, 3, 1, 1, 1, 1, 30000}, 8, NULL), 0);
  for (int dtype = CNS_DTYPE_F32; dtype <= CNS_DTYPE_BF16; dtype++) {
    struct cns_tensors_flat flat = {.values = values, .list = &list};
    struct cns_tensors_source source = {
        .load = cns_tensors_from_flat, .context = &flat, .dtype = (enum cns_dtype)dtype};
    struct cns_tensors_written written;
    struct cns_npy_numbers *numbers = NULL;
    int r = cns_tensors_write_npy(path, &list, &source, 0600, &written, NULL);
    assert_int_equal(r, dtype == CNS_DTYPE_BF16 ? CNS_ERR_UNSUPPORTED : 0);
    if (r < 0) continue;
    assert_int_equal(cns_npy_numbers_open(path, &numbers, NULL), 0);
    assert_int_equal(cns_npy_numbers_dimensions(numbers), 8);
    assert_int_equal(cns_npy_numbers_shape(numbers)[7], 30000);
    assert_string_equal(cns_npy_numbers_type(numbers), dtype == CNS_DTYPE_F32 ? "<f4" : "<f2");
    assert_int_equal(cns_npy_numbers_load(numbers, 0, COUNT, back, NULL), 0);
    assert_memory_equal(values, back, COUNT * sizeof *values);
    cns_npy_numbers_free(numbers);
  }
  free(values);
  free(back);
  cns_tensor_list_deinit(&list);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_three_types_are_read),
      cmocka_unit_test(others_are_refused),
      cmocka_unit_test(what_no_float_holds_is_refused),
      cmocka_unit_test(what_was_written_is_read),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
