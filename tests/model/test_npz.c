/* SPDX-License-Identifier: Apache-2.0 */
/* .npz files: what NumPy writes is read, what is hostile is refused. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "crypto/bytes.h"
#include "crypto/json.h"
#include "fixture.h"
#include "model/npz.h"

struct archive {
  uint8_t data[8192];
  size_t len, directory;
  unsigned count;
};

struct wish {
  const char *name;
  const void *bytes;
  size_t len;
  bool deflated;
};

static void put(struct archive *a, const void *bytes, size_t len) {
  assert_true(a->len + len <= sizeof a->data);
  memcpy(a->data + a->len, bytes, len);
  a->len += len;
}

static void put_le(struct archive *a, uint64_t value, unsigned bytes) {
  for (unsigned b = 0; b < bytes; b++)
    put(a, &(uint8_t){(uint8_t)(value >> 8 * b)}, 1);
}

/* Raw deflate, as in a ZIP archive. */
static size_t pack(const void *bytes, size_t len, uint8_t *out, size_t size) {
  z_stream stream = {0};
  assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = (Bytef *)(uintptr_t)bytes;
  stream.avail_in = (uInt)len;
  stream.next_out = out;
  stream.avail_out = (uInt)size;
  assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
  size_t packed = size - stream.avail_out;
  deflateEnd(&stream);
  return packed;
}

static struct archive zip(const struct wish *wishes, unsigned count) {
  struct archive a = {.count = count};
  size_t offset[4], packed[4];
  for (unsigned i = 0; i < count; i++) {
    uint8_t room[4096];
    const void *bytes = wishes[i].bytes;
    packed[i] = wishes[i].len;
    if (wishes[i].deflated) {
      packed[i] = pack(wishes[i].bytes, wishes[i].len, room, sizeof room);
      bytes = room;
    }
    offset[i] = a.len;
    put_le(&a, 0x04034b50, 4);
    put_le(&a, 20, 2);
    put_le(&a, 0, 2);
    put_le(&a, wishes[i].deflated ? 8 : 0, 2);
    put_le(&a, 0, 4);
    put_le(&a, crc32(0, wishes[i].bytes, (uInt)wishes[i].len), 4);
    put_le(&a, packed[i], 4);
    put_le(&a, wishes[i].len, 4);
    put_le(&a, strlen(wishes[i].name), 2);
    put_le(&a, 3, 2); /* an extra field of three bytes, in the local header only */
    put(&a, wishes[i].name, strlen(wishes[i].name));
    put(&a, "xyz", 3);
    put(&a, bytes, packed[i]);
  }
  a.directory = a.len;
  for (unsigned i = 0; i < count; i++) {
    put_le(&a, 0x02014b50, 4);
    put_le(&a, 20, 2);
    put_le(&a, 20, 2);
    put_le(&a, 0, 2);
    put_le(&a, wishes[i].deflated ? 8 : 0, 2);
    put_le(&a, 0, 4);
    put_le(&a, crc32(0, wishes[i].bytes, (uInt)wishes[i].len), 4);
    put_le(&a, packed[i], 4);
    put_le(&a, wishes[i].len, 4);
    put_le(&a, strlen(wishes[i].name), 2);
    put_le(&a, 0, 4); /* extra, comment */
    put_le(&a, 0, 2); /* disk */
    put_le(&a, 0, 6); /* attributes */
    put_le(&a, offset[i], 4);
    put(&a, wishes[i].name, strlen(wishes[i].name));
  }
  size_t end = a.len;
  put_le(&a, 0x06054b50, 4);
  put_le(&a, 0, 4);
  put_le(&a, count, 2);
  put_le(&a, count, 2);
  put_le(&a, end - a.directory, 4);
  put_le(&a, a.directory, 4);
  put_le(&a, 0, 2);
  return a;
}

static size_t npy(uint8_t *out, const char *header, const void *values, size_t len) {
  size_t header_len = strlen(header);
  memcpy(out, "\x93NUMPY\x01\x00", 8);
  cns_store_le16(out + 8, (uint16_t)header_len);
  memcpy(out + 10, header, header_len);
  memcpy(out + 10 + header_len, values, len);
  return 10 + header_len + len;
}

/* Reads array `name` out of the bytes as a file. */
static int read_array(const struct archive *a, const char *name, struct cns_npy_array *ret_array,
                      struct cns_problem *problem) {
  char path[] = "test_npz_XXXXXX";
  struct cns_npz archive = {0};
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, a->data, a->len), (ssize_t)a->len);
  close(fd);
  *problem = (struct cns_problem){0};
  int r = cns_npz_open(path, &archive, problem);
  unlink(path);
  if (r == 0) r = cns_npz_array(&archive, name, ret_array, problem);
  cns_npz_deinit(&archive);
  return r;
}

static void refuse(const struct archive *a, int error, const char *word) {
  struct cns_npy_array array = {0};
  struct cns_problem problem;
  int r = read_array(a, "y", &array, &problem);
  if (r != error || !strstr(problem.text, word)) fail_msg("%s: %d, %s", word, r, problem.text);
  assert_null(array.values);
}

static void expect(const struct archive *a, const char *name, size_t dimensions, const float *values,
                   size_t count) {
  struct cns_npy_array array = {0};
  struct cns_problem problem;
  if (read_array(a, name, &array, &problem) != 0) fail_msg("%s: %s", name, problem.text);
  assert_int_equal(array.dimensions, dimensions);
  assert_int_equal(array.count, count);
  assert_memory_equal(array.values, values, count * sizeof *values);
  cns_npy_array_deinit(&array);
}

static struct archive small(void) {
  uint8_t y[512];
  size_t len = npy(y, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }\n", "\x00\x01\x01\xff", 4);
  return zip(&(struct wish){"y.npy", y, len, true}, 1);
}

static void stored_and_deflated_arrays_are_read(void **state) {
  static const int64_t whole[] = {0, -1, 1000};
  static const double wide[] = {0.5, -2};
  static const float y_values[] = {0, 1, 1, 255}, whole_values[] = {0, -1, 1000}, wide_values[] = {0.5f, -2};
  uint8_t y[512], w[512], d[512];
  const struct wish wishes[] = {
      {"y.npy", y,
       npy(y, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }\n", "\x00\x01\x01\xff", 4), true},
      {"w.npy", w, npy(w, "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }\n", whole, sizeof whole),
       false},
      {"d.npy", d,
       npy(d, "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 1), }\n", wide, sizeof wide), true}};
  struct archive a = zip(wishes, 3);
  expect(&a, "y", 2, y_values, 4);
  expect(&a, "w", 1, whole_values, 3);
  expect(&a, "d", 3, wide_values, 2);
  refuse(&(struct archive){.len = 0}, CNS_ERR_FORMAT, "empty");
  struct cns_npy_array array = {0};
  struct cns_problem problem;
  assert_int_equal(read_array(&a, "z", &array, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "y.npy, w.npy, d.npy"));
}

static void arrays_that_are_no_numbers_are_refused(void **state) {
  static const struct {
    const char *header, *word;
    int error;
  } cases[] = {
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }\n", "pickled", CNS_ERR_UNSUPPORTED},
      {"{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }\n", "type '<U4'", CNS_ERR_UNSUPPORTED},
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }\n", "type '>f4'", CNS_ERR_UNSUPPORTED},
      {"{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }\n", "Fortran", CNS_ERR_UNSUPPORTED},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n", "4 bytes follow", CNS_ERR_FORMAT},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (0, 3), }\n", "empty", CNS_ERR_FORMAT},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", "elements",
       CNS_ERR_LIMIT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", "not a finite", CNS_ERR_RANGE},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", "structured", CNS_ERR_FORMAT},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4), }\n", "9 dimensions",
       CNS_ERR_UNSUPPORTED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t y[512];
    size_t len = npy(y, cases[i].header, "\x00\x00\x80\x7f", 4); /* infinity as <f4 */
    struct archive a = zip(&(struct wish){"y.npy", y, len, false}, 1);
    refuse(&a, cases[i].error, cases[i].word);
  }
}

static void change(struct archive *a, size_t at, uint64_t value, unsigned bytes) {
  for (unsigned b = 0; b < bytes; b++)
    a->data[at + b] = (uint8_t)(value >> 8 * b);
}

static void broken_archives_are_refused(void **state) {
  static const struct {
    size_t at; /* in the directory's entry, or from the end's record with `end` */
    bool end;
    uint64_t value;
    unsigned bytes;
    int error;
    const char *word;
  } cases[] = {
      {8, false, 1, 2, CNS_ERR_UNSUPPORTED, "encrypted"},
      {10, false, 12, 2, CNS_ERR_UNSUPPORTED, "method 12"},
      {16, false, 7, 4, CNS_ERR_FORMAT, "checksum"},
      {20, false, 5000, 4, CNS_ERR_FORMAT, "reaches into the directory"},
      {20, false, 3, 4, CNS_ERR_FORMAT, "doesn't unpack"},
      {24, false, 65, 4, CNS_ERR_FORMAT, "doesn't unpack"},
      {24, false, 5, 4, CNS_ERR_FORMAT, "doesn't unpack"},
      {24, false, 0x7fffffff, 4, CNS_ERR_FORMAT, "can't have the size"},
      {24, false, 0xfffffff0, 4, CNS_ERR_LIMIT, "bytes; at most"},
      {24, false, 0xffffffff, 4, CNS_ERR_UNSUPPORTED, "ZIP64"},
      {28, false, 0, 2, CNS_ERR_FORMAT, "name"},
      {28, false, 9000, 2, CNS_ERR_FORMAT, "beyond its directory"},
      {30, false, 1, 2, CNS_ERR_FORMAT, "beyond its directory"},
      {42, false, 4, 4, CNS_ERR_FORMAT, "not where the directory says"},
      {42, false, 0xfffffff0, 4, CNS_ERR_FORMAT, "not where the directory says"},
      {0, false, 0, 4, CNS_ERR_FORMAT, "directory ends too early"},
      {0, true, 0, 4, CNS_ERR_FORMAT, "end is missing"},
      {4, true, 1, 2, CNS_ERR_UNSUPPORTED, "in several"},
      {8, true, 2, 2, CNS_ERR_UNSUPPORTED, "in several"},
      {8, true, 0x00020002, 4, CNS_ERR_FORMAT, "directory ends too early"},
      {8, true, 0, 4, CNS_ERR_FORMAT, "bytes follow"},
      {12, true, 0xfffffff0, 4, CNS_ERR_FORMAT, "outside the file"},
      {16, true, 0xfffffff0, 4, CNS_ERR_FORMAT, "outside the file"},
      {16, true, 0xffffffff, 4, CNS_ERR_UNSUPPORTED, "ZIP64"},
      {20, true, 9, 2, CNS_ERR_FORMAT, "end is missing"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct archive a = small();
    change(&a, (cases[i].end ? a.len - 22 : a.directory) + cases[i].at, cases[i].value, cases[i].bytes);
    refuse(&a, cases[i].error, cases[i].word);
  }
  for (size_t len = 1; len < small().len; len++) {
    struct archive a = small();
    a.len = len;
    refuse(&a, CNS_ERR_FORMAT, "end is missing");
  }
}

static void two_members_of_one_name_are_refused(void **state) {
  uint8_t y[512];
  size_t len = npy(y, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }\n", "\x01", 1);
  const struct wish wishes[] = {{"y.npy", y, len, false}, {"y.npy", y, len, true}};
  struct archive a = zip(wishes, 2);
  refuse(&a, CNS_ERR_FORMAT, "two members of one name");
}

/* Every byte turned round, one at a time: never a crash, and never another array. */
static void no_changed_byte_crashes(void **state) {
  for (size_t i = 0; i < small().len; i++) {
    struct archive a = small();
    struct cns_npy_array array = {0};
    struct cns_problem problem;
    a.data[i] ^= 0xff;
    int r = read_array(&a, "y", &array, &problem);
    if (r < 0 && !*problem.text) fail_msg("byte %zu: no sentence", i);
    cns_npy_array_deinit(&array);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stored_and_deflated_arrays_are_read),
      cmocka_unit_test(arrays_that_are_no_numbers_are_refused),
      cmocka_unit_test(broken_archives_are_refused),
      cmocka_unit_test(two_members_of_one_name_are_refused),
      cmocka_unit_test(no_changed_byte_crashes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
