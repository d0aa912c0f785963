/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of the test's own, and what tests of files do to files. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "crypto/base.h"
#include "crypto/hash.h"

static char scratch_folder[200];
static char scratch_joined[8][600];
static const uint8_t scratch_key[32] = {7, 1, 2, 3};

static inline int scratch_remove_one(const char *path, const struct stat *status, int flag,
                                     struct FTW *walk) {
  return remove(path);
}

static inline int scratch_setup(void **state) {
  const char *base = getenv("TMPDIR");
  snprintf(scratch_folder, sizeof(scratch_folder), "%s/consilium-store-XXXXXX",
           base && *base ? base : "/tmp");
  return mkdtemp(scratch_folder) && cns_init() == 0 ? 0 : -1;
}

static inline int scratch_teardown(void **state) {
  return nftw(scratch_folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "<folder>/<name>", good for the next seven calls. */
static inline const char *scratch_path(const char *name) {
  static unsigned next;
  char *joined = scratch_joined[next++ % 8];
  int len = snprintf(joined, sizeof(scratch_joined[0]), "%s/%s", scratch_folder, name);
  assert_in_range(len, 1, sizeof(scratch_joined[0]) - 1);
  return joined;
}

static inline struct cns_digest scratch_digest(uint64_t number) {
  struct cns_digest digest;
  cns_hash_once("consilium/1 test digest", &number, sizeof(number), &digest);
  return digest;
}

static inline uint8_t *scratch_read(const char *path, size_t *ret_len) {
  int fd = open(path, O_RDONLY);
  assert_true(fd >= 0);
  struct stat status;
  assert_int_equal(fstat(fd, &status), 0);
  uint8_t *data = malloc((size_t)status.st_size + 1);
  assert_non_null(data);
  assert_int_equal(read(fd, data, (size_t)status.st_size), status.st_size);
  close(fd);
  *ret_len = (size_t)status.st_size;
  return data;
}

static inline void scratch_write(const char *path, const uint8_t *data, size_t len) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, data, len), (ssize_t)len);
  close(fd);
}

static inline bool scratch_contains(const char *path, const char *needle) {
  if (access(path, F_OK) != 0) return false;
  size_t len = 0;
  uint8_t *data = scratch_read(path, &len);
  bool found = memmem(data, len, needle, strlen(needle)) != NULL;
  free(data);
  return found;
}

/* Runs body in a child and kills the child with SIGKILL when it writes a byte
 * to the pipe: no cleanup, no flushing, as when a machine's process dies. */
static inline void scratch_kill_child(void (*body)(int report_fd)) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    close(ends[0]);
    body(ends[1]);
    for (;;)
      pause();
  }
  close(ends[1]);
  char byte = 0;
  ssize_t got = read(ends[0], &byte, 1);
  kill(child, SIGKILL);
  close(ends[0]);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(got, 1); /* 0: the child failed before it could report */
  assert_int_equal(byte, 'k');
}
