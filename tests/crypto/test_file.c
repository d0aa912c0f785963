/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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

static bool is_link(const char *path) {
  struct stat info;
  return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

static void expect_text(const char *path, const char *text) {
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_file_read(path, 100, &data, &len, NULL), 0);
  assert_string_equal((char *)data, text);
  free(data);
}

static void links_stay_and_their_targets_are_written(void **state) {
  assert_int_equal(mkdir("d", 0700), 0);
  assert_int_equal(symlink("d/target", "link"), 0);
  assert_int_equal(symlink("link", "second"), 0);
  assert_int_equal(cns_file_write("second", "made", 4, 0600, NULL), 0); /* a target that is not there yet */
  expect_text("d/target", "made");
  assert_int_equal(cns_file_write("./second", "again", 5, 0644, NULL), 0);
  expect_text("d/target", "again");
  assert_true(is_link("link") && is_link("second"));
  assert_int_equal(symlink("circle", "circle"), 0);
  EXPECT(cns_file_write("circle", "x", 1, 0644, &problem), CNS_ERR_IO, "circle: can't be written");
  assert_true(is_link("circle"));
  assert_int_equal(count_entries(), 4);
  unlink("circle");
  unlink("second");
  unlink("link");
  unlink("d/target");
  rmdir("d");
}

static void pipes_and_devices_are_written_to_and_stay(void **state) {
  char got[8] = "";
  struct stat info;
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(mkfifo("pipe", 0600), 0);
  EXPECT(cns_file_read("pipe", 10, &data, &len, &problem), CNS_ERR_IO, "pipe: is not a plain file");
  int reader = open("pipe", O_RDONLY | O_NONBLOCK);
  assert_true(reader >= 0);
  assert_int_equal(cns_file_write("pipe", "hello", 5, 0644, NULL), 0);
  assert_int_equal(read(reader, got, sizeof got), 5);
  assert_memory_equal(got, "hello", 5);
  close(reader);
  assert_int_equal(lstat("pipe", &info), 0);
  assert_true(S_ISFIFO(info.st_mode));
  unlink("pipe");
  EXPECT(cns_file_write(".", "x", 1, 0644, &problem), CNS_ERR_IO, "can't be written: Is a directory");
  if (mknod("full", S_IFCHR | 0600, makedev(1, 7)) == 0) { /* root's privilege */
    int probe = open("full", O_WRONLY);
    if (probe >= 0)
      EXPECT(cns_file_write("full", "x", 1, 0644, &problem), CNS_ERR_DISK_FULL, "full: can't be written");
    if (probe >= 0) close(probe);
    assert_int_equal(lstat("full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    unlink("full");
  }
  assert_int_equal(count_entries(), 0);
}

static void the_output_itself_is_not_replaced(void **state) {
  int saved = dup(STDOUT_FILENO), file = open("out", O_RDWR | O_CREAT, 0600);
  fflush(stdout);
  assert_true(saved >= 0 && file >= 0 && dup2(file, STDOUT_FILENO) >= 0);
  printf("before ");
  int r = cns_file_write("out", "written ", 8, 0644, NULL);
  printf("after");
  fflush(stdout);
  dup2(saved, STDOUT_FILENO);
  close(saved);
  close(file);
  assert_int_equal(r, 0);
  expect_text("out", "before written after");
  unlink("out");
}

static void empty_paths_and_missing_folders_are_said(void **state) {
  uint8_t *data = NULL;
  size_t len = 0;
  EXPECT(cns_file_read("", 10, &data, &len, &problem), CNS_ERR_NOT_FOUND, "an empty path");
  EXPECT(cns_file_write("", "x", 1, 0644, &problem), CNS_ERR_NOT_FOUND, "an empty path");
  EXPECT(cns_file_write("no/such/f", "x", 1, 0644, &problem), CNS_ERR_NOT_FOUND,
         "its folder, no/such, is not");
}

static void pieces_are_read_whole_or_not_at_all(void **state) {
  char bytes[8] = "";
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  assert_true(fd >= 0);
  assert_int_equal(cns_file_write_at(fd, "abcdef", 6, 2), 0);
  assert_int_equal(cns_file_read_at(fd, bytes, 3, 5), 0);
  assert_memory_equal(bytes, "def", 3);
  assert_int_equal(cns_file_read_at(fd, bytes, 0, 100), 0);
  assert_int_equal(cns_file_read_at(fd, bytes, 4, 5), EIO);
  assert_int_equal(cns_file_read_at(-1, bytes, 1, 0), EBADF);
  assert_int_equal(cns_file_write_at(-1, bytes, 1, 0), EBADF);
  EXPECT(cns_file_load_at(fd, "f", bytes, 4, 5, &problem), CNS_ERR_IO, "f: became shorter while it was read");
  EXPECT(cns_file_load_at(-1, "f", bytes, 4, 5, &problem), CNS_ERR_IO,
         "f: can't be read: Bad file descriptor");
  close(fd);
  unlink("f");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(files_are_written_whole_or_not_at_all, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(pieces_are_read_whole_or_not_at_all, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(files_that_cannot_be_read_are_named, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(links_stay_and_their_targets_are_written, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(pipes_and_devices_are_written_to_and_stay, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(the_output_itself_is_not_replaced, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(empty_paths_and_missing_folders_are_said, enter_folder, leave_folder),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
