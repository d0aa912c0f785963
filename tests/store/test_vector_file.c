/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vector_file.h"

#include "scratch.h"

static struct cns_problem problem;

static struct cns_vector_file *create(const char *name, uint64_t words) {
  struct cns_vector_file *file = NULL;
  int error = cns_vector_file_create(scratch_folder, name, words, scratch_key, &file, &problem);
  if (error) print_error("%s\n", problem.text);
  assert_int_equal(error, 0);
  return file;
}

static uint32_t *count_up(size_t count) {
  uint32_t *words = malloc(count * sizeof(*words));
  assert_non_null(words);
  for (size_t k = 0; k < count; k++)
    words[k] = (uint32_t)(k * 2654435761u);
  return words;
}

static void chunks_in_any_order(void **state) {
  enum { words = 20011 };
  struct cns_vector_file *file = create("a.1-b_2", words);
  assert_int_equal(cns_vector_file_words(file), words);
  uint32_t *data = count_up(words);
  uint32_t *back = malloc(words * sizeof(*back));
  for (uint64_t at = 0; at < words; at += 7000) {
    uint64_t from = 14000 - at;
    size_t count = from + 7000 > words ? words - from : 7000;
    assert_int_equal(cns_vector_file_write(file, from, data + from, count, &problem), 0);
  }
  /* The same chunk again changes nothing. */
  assert_int_equal(cns_vector_file_write(file, 7000, data + 7000, 7000, &problem), 0);
  assert_int_equal(cns_vector_file_read(file, 0, words, back, &problem), 0);
  assert_memory_equal(data, back, words * sizeof(*back));
  for (uint64_t at = 1; at < words; at += 3001) {
    assert_int_equal(cns_vector_file_read(file, at, 10, back, &problem), 0);
    assert_memory_equal(data + at, back, 10 * sizeof(*back));
  }
  free(data);
  free(back);
  cns_vector_file_free(file);
  assert_null(cns_vector_file_free(NULL));
}

static void ranges_are_checked(void **state) {
  struct cns_vector_file *file = create("ranges", 100);
  uint32_t words[101] = {0};
  assert_int_equal(cns_vector_file_write(file, 0, words, 101, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_vector_file_write(file, 100, words, 1, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_vector_file_write(file, UINT64_MAX, words, 2, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_vector_file_read(file, 99, 2, words, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_vector_file_write(file, 100, words, 0, &problem), 0);
  assert_int_equal(cns_vector_file_write(file, 99, words, 1, &problem), 0);
  cns_vector_file_free(file);
}

static void names_and_lengths_are_checked(void **state) {
  static const char *const names[] = {"",     ".",   "..",  ".hidden",  "a/b",
                                      "../a", "a b", "a\n", "\xc3\xa9", "a\\b"};
  struct cns_vector_file *file = NULL;
  for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
    assert_int_equal(cns_vector_file_create(scratch_folder, names[k], 10, scratch_key, &file, &problem),
                     CNS_ERR_ARGUMENT);
    assert_int_equal(cns_vector_file_open(scratch_folder, names[k], scratch_key, &file, &problem),
                     CNS_ERR_ARGUMENT);
    assert_int_equal(cns_vector_file_delete(scratch_folder, names[k], &problem), CNS_ERR_ARGUMENT);
  }
  char name[CNS_VECTOR_FILE_NAME_MAX + 2];
  memset(name, 'a', sizeof(name));
  name[CNS_VECTOR_FILE_NAME_MAX + 1] = 0;
  assert_int_equal(cns_vector_file_create(scratch_folder, name, 10, scratch_key, &file, &problem),
                   CNS_ERR_ARGUMENT);
  assert_int_equal(cns_vector_file_create(scratch_folder, "n", 0, scratch_key, &file, &problem),
                   CNS_ERR_ARGUMENT);
  assert_int_equal(cns_vector_file_create(scratch_folder, "n", CNS_VECTOR_FILE_WORDS_MAX + 1, scratch_key,
                                          &file, &problem),
                   CNS_ERR_ARGUMENT);
  assert_int_equal(cns_vector_file_create(scratch_path("missing"), "n", 10, scratch_key, &file, &problem),
                   CNS_ERR_NOT_FOUND);
}

static void an_existing_file_is_never_replaced(void **state) {
  struct cns_vector_file *file = create("twice", 10), *second = NULL;
  uint32_t words[10] = {5}, back[10];
  assert_int_equal(cns_vector_file_write(file, 0, words, 10, &problem), 0);
  assert_int_equal(cns_vector_file_create(scratch_folder, "twice", 10, scratch_key, &second, &problem),
                   CNS_ERR_EXISTS);
  assert_int_equal(cns_vector_file_read(file, 0, 10, back, &problem), 0);
  assert_memory_equal(words, back, sizeof(words));
  cns_vector_file_free(file);
}

static void child_writing(int report_fd) {
  struct cns_vector_file *file = NULL;
  if (cns_vector_file_create(scratch_folder, "crash", 30000, scratch_key, &file, NULL) != 0) _exit(1);
  uint32_t words[10000];
  for (uint32_t k = 0; k < 10000; k++)
    words[k] = k;
  if (cns_vector_file_write(file, 10000, words, 10000, NULL) != 0) _exit(1);
  if (cns_vector_file_sync(file, NULL) != 0) _exit(1);
  if (cns_vector_file_write(file, 0, words, 5000, NULL) != 0) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

static void found_again_after_a_kill(void **state) {
  scratch_kill_child(child_writing);
  struct cns_vector_file *file = NULL;
  assert_int_equal(cns_vector_file_open(scratch_folder, "crash", scratch_key, &file, &problem), 0);
  assert_int_equal(cns_vector_file_words(file), 30000);
  uint32_t *back = malloc(10000 * sizeof(*back));
  assert_int_equal(cns_vector_file_read(file, 10000, 10000, back, &problem), 0);
  for (uint32_t k = 0; k < 10000; k++)
    assert_int_equal(back[k], k);
  free(back);
  cns_vector_file_free(file);
}

static void nothing_lies_in_the_clear(void **state) {
  struct cns_vector_file *file = create("clear", 3000);
  uint32_t words[3000] = {0};
  assert_int_equal(cns_vector_file_write(file, 0, words, 3000, &problem), 0);
  cns_vector_file_free(file);
  size_t len = 0;
  uint8_t *bytes = scratch_read(scratch_path("clear.vector"), &len);
  assert_int_equal(len, 4096 + 12000);
  size_t zeros = 0;
  for (size_t k = 4096; k < len; k++)
    zeros += bytes[k] == 0;
  assert_true(zeros < 120); /* 47 expected of 12,000 random bytes; 120 is 10 sigma */
  struct stat status;
  assert_int_equal(stat(scratch_path("clear.vector"), &status), 0);
  assert_int_equal(status.st_mode & 0777, 0600);
  free(bytes);

  /* Another file of the same content has another keystream. */
  file = create("clear2", 3000);
  assert_int_equal(cns_vector_file_write(file, 0, words, 3000, &problem), 0);
  cns_vector_file_free(file);
  uint8_t *first = scratch_read(scratch_path("clear.vector"), &len);
  uint8_t *second = scratch_read(scratch_path("clear2.vector"), &len);
  assert_memory_not_equal(first + 4096, second + 4096, 12000);
  free(first);
  free(second);
}

static int open_error(const char *name, const uint8_t *key) {
  struct cns_vector_file *file = NULL;
  int error = cns_vector_file_open(scratch_folder, name, key, &file, &problem);
  cns_vector_file_free(file);
  return error;
}

static void damaged_headers_are_refused(void **state) {
  uint8_t other[32] = {1};
  cns_vector_file_free(create("header", 10));
  assert_int_equal(open_error("header", scratch_key), 0);
  assert_int_equal(open_error("header", other), CNS_ERR_FORMAT);
  assert_int_equal(open_error("absent", scratch_key), CNS_ERR_NOT_FOUND);
  size_t len = 0;
  uint8_t *good = scratch_read(scratch_path("header.vector"), &len);
  for (size_t at = 0; at < 88; at++) {
    good[at] ^= 1;
    scratch_write(scratch_path("header.vector"), good, len);
    good[at] ^= 1;
    assert_int_equal(open_error("header", scratch_key), CNS_ERR_FORMAT);
  }
  static const size_t lengths[] = {0, 1, 50, 4095, 4096, 4135};
  for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
    scratch_write(scratch_path("header.vector"), good, lengths[k]);
    assert_int_equal(open_error("header", scratch_key), CNS_ERR_FORMAT);
  }
  /* One hospital's file by another's name. */
  scratch_write(scratch_path("stolen.vector"), good, len);
  assert_int_equal(open_error("stolen", scratch_key), CNS_ERR_FORMAT);
  free(good);
}

static int count_names(void *context, const char *name) {
  ++*(unsigned *)context;
  return strcmp(name, "stop") == 0 ? 5 : cns_vector_file_delete(scratch_path("list"), name, NULL);
}

static void deleting_and_listing(void **state) {
  assert_int_equal(cns_vector_file_delete(scratch_folder, "absent", &problem), 0);
  assert_int_equal(mkdir(scratch_path("list"), 0700), 0);
  struct cns_vector_file *file = NULL;
  static const char *const names[] = {"1", "2", "round-3.hospital-4"};
  for (size_t k = 0; k < 3; k++) {
    assert_int_equal(cns_vector_file_create(scratch_path("list"), names[k], 5, scratch_key, &file, &problem),
                     0);
    cns_vector_file_free(file);
  }
  scratch_write(scratch_path("list/notes"), (const uint8_t *)"x", 1);
  scratch_write(scratch_path("list/4.vector"), (const uint8_t *)"damaged", 7);
  unsigned seen = 0;
  assert_int_equal(cns_vector_file_each(scratch_path("list"), count_names, &seen, &problem), 0);
  assert_int_equal(seen, 4);
  seen = 0;
  assert_int_equal(cns_vector_file_each(scratch_path("list"), count_names, &seen, &problem), 0);
  assert_int_equal(seen, 0);
  assert_int_equal(access(scratch_path("list/notes"), F_OK), 0);
  scratch_write(scratch_path("list/stop.vector"), (const uint8_t *)"x", 1);
  assert_int_equal(cns_vector_file_each(scratch_path("list"), count_names, &seen, &problem), 5);
  assert_int_equal(cns_vector_file_each(scratch_path("none"), count_names, &seen, &problem),
                   CNS_ERR_NOT_FOUND);
}

/* The key is overwritten before the name goes: a second name (a copy of the
 * directory entry, as an undelete would find it) holds no key any more. */
static void deleting_destroys_the_key(void **state) {
  cns_vector_file_free(create("gone", 10));
  assert_int_equal(link(scratch_path("gone.vector"), scratch_path("undeleted")), 0);
  assert_int_equal(cns_vector_file_delete(scratch_folder, "gone", &problem), 0);
  size_t len = 0;
  uint8_t *bytes = scratch_read(scratch_path("undeleted"), &len);
  for (size_t k = 0; k < 88; k++)
    assert_int_equal(bytes[k], 0);
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chunks_in_any_order),           cmocka_unit_test(ranges_are_checked),
      cmocka_unit_test(names_and_lengths_are_checked), cmocka_unit_test(an_existing_file_is_never_replaced),
      cmocka_unit_test(found_again_after_a_kill),      cmocka_unit_test(nothing_lies_in_the_clear),
      cmocka_unit_test(damaged_headers_are_refused),   cmocka_unit_test(deleting_and_listing),
      cmocka_unit_test(deleting_destroys_the_key),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
