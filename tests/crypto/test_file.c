/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

#define EXPECT(call, error, sentence)                                                                        \
  do {                                                                                                       \
    struct cns_problem problem = {0};                                                                        \
    assert_int_equal((call), (error));                                                                       \
    if (!strstr(problem.text, (sentence))) fail_msg("expected '%s' in '%s'", (sentence), problem.text);      \
  } while (0)

static int enter_folder(void **state) {
  char *folder = strdup("/tmp/cns-json-XXXXXX");
  if (!folder || !mkdtemp(folder) || chdir(folder) != 0) return -1;
  *state = folder;
  return 0;
}

static int leave_folder(void **state) {
  int r = chdir("/") || rmdir(*state);
  free(*state);
  return r;
}

static int count_entries(void) {
  int count = 0;
  DIR *folder = opendir(".");
  assert_non_null(folder);
  while (readdir(folder))
    count++;
  closedir(folder);
  return count - 2;
}

static void files_are_written_whole_or_not_at_all(void **state) {
  uint8_t *data = NULL;
  size_t len = 0;
  struct stat info;
  assert_int_equal(cns_file_write("f", "first", 5, 0600, NULL), 0);
  assert_int_equal(stat("f", &info), 0);
  assert_int_equal(info.st_mode & 07777, 0600);
  assert_int_equal(cns_file_write("./f", "second!", 7, 0644, NULL), 0);
  assert_int_equal(stat("f", &info), 0);
  assert_int_equal(info.st_mode & 07777, 0644);
  struct rlimit limit, tight = {.rlim_cur = 3};
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  tight.rlim_max = limit.rlim_max;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  struct cns_problem full = {0};
  assert_int_equal(cns_file_write("f", "too long", 8, 0644, &full), CNS_ERR_DISK_FULL);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_non_null(strstr(full.text, "f: can't be written: "));
  assert_int_equal(cns_file_read("f", 100, &data, &len, NULL), 0);
  assert_int_equal(len, 7);
  assert_string_equal((char *)data, "second!");
  free(data);
  assert_int_equal(count_entries(), 1);
  EXPECT(cns_file_write("none/f", "x", 1, 0644, &problem), CNS_ERR_NOT_FOUND, "none/f");
  unlink("f");
}

static void files_that_cannot_be_read_are_named(void **state) {
  uint8_t *data = NULL;
  size_t len = 99;
  EXPECT(cns_file_read("none", 10, &data, &len, &problem), CNS_ERR_NOT_FOUND, "none: can't be read");
  EXPECT(cns_file_read(".", 10, &data, &len, &problem), CNS_ERR_IO, "folder");
  assert_int_equal(cns_file_write("empty", "", 0, 0644, NULL), 0);
  EXPECT(cns_file_read("empty", 10, &data, &len, &problem), CNS_ERR_FORMAT, "empty: is empty");
  char large[10000];
  memset(large, 'x', sizeof large);
  assert_int_equal(cns_file_write("large", large, sizeof large, 0644, NULL), 0);
  EXPECT(cns_file_read("large", sizeof large - 1, &data, &len, &problem), CNS_ERR_LIMIT, "9999 bytes");
  assert_null(data);
  assert_int_equal(len, 99);
  assert_int_equal(cns_file_read("large", sizeof large, &data, &len, NULL), 0);
  assert_int_equal(len, sizeof large);
  assert_memory_equal(data, large, len);
  free(data);
  unlink("empty");
  unlink("large");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(files_are_written_whole_or_not_at_all, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(files_that_cannot_be_read_are_named, enter_folder, leave_folder),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
