/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/cursor.h"

static void there_and_back(void **state) {
  struct cns_writer writer;
  cns_writer_init(&writer, 1000);
  cns_write_u8(&writer, 0x01);
  cns_write_u16(&writer, 0x0302);
  cns_write_u32(&writer, 0x07060504);
  cns_write_u64(&writer, 0x0f0e0d0c0b0a0908);
  cns_write_f64(&writer, -0.1);
  cns_write_bytes(&writer, (const uint8_t *)"abc", 3);
  cns_write_blob(&writer, (const uint8_t *)"defg", 4);
  cns_write_blob(&writer, NULL, 0);
  assert_int_equal(cns_writer_finish(&writer), CNS_OK);
  assert_int_equal(writer.len, 15 + 8 + 3 + 8 + 4);
  for (uint8_t k = 0; k < 15; k++)
    assert_int_equal(writer.data[k], k + 1);
  assert_memory_equal(writer.data + 15, "\x9a\x99\x99\x99\x99\x99\xb9\xbf", 8);

  struct cns_reader reader;
  uint8_t bytes[3];
  size_t len = 99;
  cns_reader_init(&reader, writer.data, writer.len);
  assert_int_equal(cns_read_u8(&reader), 0x01);
  assert_int_equal(cns_read_u16(&reader), 0x0302);
  assert_int_equal(cns_read_u32(&reader), 0x07060504);
  assert_true(cns_read_u64(&reader) == 0x0f0e0d0c0b0a0908);
  assert_true(cns_read_f64(&reader) == -0.1);
  cns_read_bytes(&reader, bytes, 3);
  assert_memory_equal(bytes, "abc", 3);
  assert_int_equal(cns_reader_left(&reader), 12);
  assert_memory_equal(cns_read_blob(&reader, 4, &len), "defg", 4);
  assert_int_equal(len, 4);
  assert_non_null(cns_read_blob(&reader, 0, &len));
  assert_int_equal(len, 0);
  assert_int_equal(cns_reader_finish(&reader), CNS_OK);
  cns_writer_deinit(&writer);
}

static void truncated_input_is_sticky(void **state) {
  static const uint8_t data[7] = {1, 2, 3, 4, 5, 6, 7};
  struct cns_reader reader;
  uint8_t bytes[4] = {9, 9, 9, 9};
  cns_reader_init(&reader, data, sizeof data);
  assert_int_equal(cns_read_u32(&reader), 0x04030201);
  assert_int_equal(cns_read_u32(&reader), 0);
  assert_int_equal(cns_read_u8(&reader), 0); /* there would be one */
  assert_null(cns_read_view(&reader, 0));
  cns_read_bytes(&reader, bytes, sizeof bytes);
  assert_memory_equal(bytes, "\0\0\0\0", 4);
  assert_int_equal(cns_reader_left(&reader), 0);
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_FORMAT);
  cns_reader_fail(&reader, CNS_ERR_RANGE); /* the first failure stays */
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_FORMAT);
}

static void leftover_bytes_are_an_error(void **state) {
  struct cns_reader reader;
  cns_reader_init(&reader, (const uint8_t *)"ab", 2);
  (void)cns_read_u8(&reader);
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_FORMAT);
  (void)cns_read_u8(&reader);
  assert_int_equal(cns_reader_finish(&reader), CNS_OK);
  cns_reader_fail(&reader, CNS_ERR_RANGE);
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_RANGE);
}

static void empty_input(void **state) {
  struct cns_reader reader;
  cns_reader_init(&reader, NULL, 0);
  assert_non_null(cns_read_view(&reader, 0));
  assert_int_equal(cns_reader_finish(&reader), CNS_OK);
  assert_int_equal(cns_read_u8(&reader), 0);
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_FORMAT);
}

static void huge_lengths(void **state) {
  static const uint8_t data[5] = {0xff, 0xff, 0xff, 0xff, 1};
  struct cns_reader reader;
  size_t len = 99;
  cns_reader_init(&reader, data, sizeof data);
  assert_null(cns_read_blob(&reader, 1000, &len));
  assert_int_equal(len, 0);
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_LIMIT);
  cns_reader_init(&reader, data, sizeof data);
  assert_null(cns_read_blob(&reader, SIZE_MAX, &len));
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_FORMAT);
  cns_reader_init(&reader, data, sizeof data);
  (void)cns_read_u8(&reader);
  assert_null(cns_read_view(&reader, SIZE_MAX));
  assert_int_equal(cns_reader_finish(&reader), CNS_ERR_FORMAT);
}

/* Every prefix of a valid message fails, and reads nothing outside it: each
 * lives in its own allocation, for the address sanitizer. */
static void every_prefix_fails(void **state) {
  struct cns_writer writer;
  cns_writer_init(&writer, 100);
  cns_write_u16(&writer, 7);
  cns_write_blob(&writer, (const uint8_t *)"hello", 5);
  cns_write_f64(&writer, 1.5);
  for (size_t len = 0; len <= writer.len; len++) {
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, writer.data, len);
    struct cns_reader reader;
    size_t blob_len;
    cns_reader_init(&reader, copy, len);
    (void)cns_read_u16(&reader);
    (void)cns_read_blob(&reader, 5, &blob_len);
    (void)cns_read_f64(&reader);
    assert_int_equal(cns_reader_finish(&reader), len == writer.len ? CNS_OK : CNS_ERR_FORMAT);
    free(copy);
  }
  cns_writer_deinit(&writer);
}

static void writer_keeps_its_limit(void **state) {
  struct cns_writer writer;
  cns_writer_init(&writer, 10);
  assert_non_null(cns_write_space(&writer, 10));
  assert_non_null(cns_write_space(&writer, 0));
  assert_int_equal(cns_writer_finish(&writer), CNS_OK);
  cns_write_u8(&writer, 1);
  assert_int_equal(cns_writer_finish(&writer), CNS_ERR_LIMIT);
  assert_int_equal(writer.len, 10);
  assert_null(cns_write_space(&writer, 0));
  cns_writer_reset(&writer);
  assert_int_equal(cns_writer_finish(&writer), CNS_OK);
  cns_write_u8(&writer, 1);
  assert_int_equal(writer.len, 1);
  assert_null(cns_write_space(&writer, SIZE_MAX));
  assert_int_equal(cns_writer_finish(&writer), CNS_ERR_LIMIT);
  cns_writer_deinit(&writer);
  cns_write_u8(&writer, 1); /* after the end: an error, no crash */
  assert_int_equal(cns_writer_finish(&writer), CNS_ERR_STATE);

  cns_writer_init(&writer, 0);
  assert_non_null(cns_write_space(&writer, 0));
  cns_write_u8(&writer, 1);
  assert_int_equal(cns_writer_finish(&writer), CNS_ERR_LIMIT);
  cns_writer_deinit(&writer);
}

static void writer_grows(void **state) {
  struct cns_writer writer;
  cns_writer_init(&writer, 1 << 20);
  for (uint32_t k = 0; k < 100000; k++)
    cns_write_u32(&writer, k);
  assert_int_equal(cns_writer_finish(&writer), CNS_OK);
  struct cns_reader reader;
  cns_reader_init(&reader, writer.data, writer.len);
  for (uint32_t k = 0; k < 100000; k++)
    assert_int_equal(cns_read_u32(&reader), k);
  assert_int_equal(cns_reader_finish(&reader), CNS_OK);
  cns_writer_deinit(&writer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(there_and_back),
      cmocka_unit_test(truncated_input_is_sticky),
      cmocka_unit_test(leftover_bytes_are_an_error),
      cmocka_unit_test(empty_input),
      cmocka_unit_test(huge_lengths),
      cmocka_unit_test(every_prefix_fails),
      cmocka_unit_test(writer_keeps_its_limit),
      cmocka_unit_test(writer_grows),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
