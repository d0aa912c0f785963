/* SPDX-License-Identifier: Apache-2.0 */
/* Files as numpy.save writes them, byte for byte, and what must be refused. */
#include <math.h>

#include "fixture.h"
#include "model/npy.h"

#define WHERE "u.npy"

/* numpy.save(f, numpy.array([[1.5, -2, 0], [3, 0.25, 1e-3]], dtype='<f4')) */
static const char saved_f4[] = "\x93NUMPY\x01\x00\x76\x00"
                               "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
                               "                                                          \n"
                               "\x00\x00\xc0\x3f\x00\x00\x00\xc0\x00\x00\x00\x00"
                               "\x00\x00\x40\x40\x00\x00\x80\x3e\x6f\x12\x83\x3a";

struct bytes {
  uint8_t data[4096];
  size_t len;
};

static struct bytes npy(unsigned version, const char *header, const void *values, size_t values_len) {
  struct bytes b = {.len = 0};
  size_t len = strlen(header);
  memcpy(b.data, "\x93NUMPY", 6);
  b.data[6] = (uint8_t)version;
  b.data[8] = (uint8_t)len;
  b.data[9] = (uint8_t)(len >> 8);
  b.len = version == 2 ? 12 : 10;
  memcpy(b.data + b.len, header, len);
  b.len += len;
  memcpy(b.data + b.len, values, values_len);
  b.len += values_len;
  return b;
}

static int parse(const struct bytes *b, struct cns_npy *ret_npy, struct cns_problem *problem) {
  /* A copy of exactly that length, so that reading behind it is found. */
  uint8_t *copy = malloc(b->len ? b->len : 1);
  assert_non_null(copy);
  memcpy(copy, b->data, b->len);
  *problem = (struct cns_problem){0};
  int r = cns_npy_parse(copy, b->len, WHERE, ret_npy, problem);
  free(copy);
  return r;
}

static void expect(const struct bytes *b) {
  static const float expected[] = {1.5f, -2, 0, 3, 0.25f, 1e-3f};
  struct cns_npy read = {0};
  struct cns_problem problem;
  if (parse(b, &read, &problem) != 0) fail_msg("%s", problem.text);
  assert_int_equal(read.rows, 2);
  assert_int_equal(read.columns, 3);
  assert_memory_equal(read.values, expected, sizeof expected);
  cns_npy_deinit(&read);
}

static void refuse(const struct bytes *b, int error, const char *word) {
  struct cns_npy read = {0};
  struct cns_problem problem;
  assert_int_equal(parse(b, &read, &problem), error);
  assert_null(read.values);
  if (!strstr(problem.text, word) || !strstr(problem.text, WHERE)) fail_msg("%s: %s", word, problem.text);
}

static void what_numpy_saves_is_read(void **state) {
  static const double wide[] = {1.5, -2, 0, 3, 0.25, 1e-3};
  struct bytes b = {.len = sizeof saved_f4 - 1};
  memcpy(b.data, saved_f4, b.len);
  expect(&b);
  b = npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n", wide, sizeof wide);
  expect(&b);
  b = npy(2, "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f8\"}", wide, sizeof wide);
  expect(&b);
  b = npy(2, "{'shape': (2, 3, ), 'descr': '<f8', 'fortran_order': False}  \n", wide, sizeof wide);
  expect(&b);
}

static void other_files_are_refused(void **state) {
  static const float values[6] = {0};
  static const struct {
    const char *header, *word;
    int error;
  } cases[] = {
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", ">f4", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", "<i4", CNS_ERR_UNSUPPORTED},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", "float32", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", "Fortran", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "1 dimensions", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "0 dimensions", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", "3 dimensions", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,6), }", "10",
       CNS_ERR_UNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", "empty", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", "24 bytes", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }", "24 bytes", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "rows",
       CNS_ERR_LIMIT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 4), }", "dict",
       CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False}", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'descr': '<f4', 'shape': (2, 3)}", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", "dict", CNS_ERR_FORMAT},
      {"{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}", "dict", CNS_ERR_FORMAT},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", "structured", CNS_ERR_FORMAT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}", "dict", CNS_ERR_FORMAT},
      {"", "dict", CNS_ERR_FORMAT},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    struct bytes b = npy(1, cases[c].header, values, sizeof values);
    refuse(&b, cases[c].error, cases[c].word);
  }
}

static void other_beginnings_are_refused(void **state) {
  struct bytes b = {.len = sizeof saved_f4 - 1};
  memcpy(b.data, saved_f4, b.len);
  b.data[6] = 3;
  refuse(&b, CNS_ERR_UNSUPPORTED, "3.0");
  b.data[6] = 1;
  b.data[7] = 1;
  refuse(&b, CNS_ERR_UNSUPPORTED, "1.1");
  b.data[7] = 0;
  b.data[9] = 0xff;
  refuse(&b, CNS_ERR_FORMAT, "ends within its header");
  b.data[9] = 0;
  b.data[0] = 'P';
  refuse(&b, CNS_ERR_FORMAT, "no .npy file");
}

/* Cut anywhere, or with anything behind it: refused, and nothing is read beyond. */
static void every_other_length_is_refused(void **state) {
  struct bytes b = {.len = 0};
  struct cns_npy read = {0};
  struct cns_problem problem;
  memcpy(b.data, saved_f4, sizeof saved_f4 - 1);
  for (b.len = 0; b.len < sizeof saved_f4 - 1; b.len++)
    assert_true(parse(&b, &read, &problem) < 0);
  b.len = sizeof saved_f4;
  assert_int_equal(parse(&b, &read, &problem), CNS_ERR_FORMAT);
}

static void every_altered_byte_is_survived(void **state) {
  struct bytes b = {.len = sizeof saved_f4 - 1};
  for (size_t at = 0; at < b.len; at++)
    for (unsigned bit = 0; bit < 8; bit++) {
      struct cns_npy read = {0};
      struct cns_problem problem;
      memcpy(b.data, saved_f4, b.len);
      b.data[at] ^= (uint8_t)(1u << bit);
      if (parse(&b, &read, &problem) == 0) assert_int_equal(read.rows * read.columns, 6);
      cns_npy_deinit(&read);
    }
}

static void numbers_must_be_finite_floats(void **state) {
  static const double wide[2][2] = {{1, 2}, {3, 1e39}};
  static const float nan_f4[2] = {1, NAN};
  struct bytes b = npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }\n", wide, sizeof wide);
  refuse(&b, CNS_ERR_RANGE, "row 1, column 1");
  b = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n", nan_f4, sizeof nan_f4);
  refuse(&b, CNS_ERR_RANGE, "row 0, column 1");
}

static void a_missing_file(void **state) {
  struct cns_npy read = {0};
  struct cns_problem problem = {0};
  assert_int_equal(cns_npy_read("no/such/file.npy", &read, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "no/such/file.npy"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_numpy_saves_is_read),
      cmocka_unit_test(other_files_are_refused),
      cmocka_unit_test(other_beginnings_are_refused),
      cmocka_unit_test(every_other_length_is_refused),
      cmocka_unit_test(every_altered_byte_is_survived),
      cmocka_unit_test(numbers_must_be_finite_floats),
      cmocka_unit_test(a_missing_file),
  };
  return cmocka_run_group_tests_name("model npy", tests, NULL, NULL);
}
