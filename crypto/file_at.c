/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of open files (declared in crypto/json.h). */
#include <errno.h>
#include <unistd.h>

#include "crypto/json.h"

/* An errno, 0 for done; *ret_ends: the file ends before that. */
static int read_piece(int fd, uint8_t *data, size_t len, uint64_t at, bool *ret_ends) {
  *ret_ends = false;
  while (len > 0 && !*ret_ends) {
    ssize_t done = pread(fd, data, len, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    *ret_ends = done == 0;
    data += done;
    at += (uint64_t)done;
    len -= (size_t)done;
  }
  return 0;
}

int cns_file_read_at(int fd, void *ret_data, size_t len, uint64_t at) {
  bool ends;
  int number = read_piece(fd, ret_data, len, at, &ends);
  return !number && ends ? EIO : number;
}

int cns_file_load_at(int fd, const char *path, void *ret_data, size_t len, uint64_t at,
                     struct cns_problem *problem) {
  bool ends;
  int number = read_piece(fd, ret_data, len, at, &ends);
  if (number) return cns_file_read_failed(path, number, problem);
  return ends ? cns_problem_set(problem, CNS_ERR_IO, "%s: became shorter while it was read", path) : 0;
}

int cns_file_write_at(int fd, const void *data, size_t len, uint64_t at) {
  const uint8_t *bytes = data;
  while (len > 0) {
    ssize_t done = pwrite(fd, bytes, len, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? errno : EIO;
    bytes += done;
    at += (uint64_t)done;
    len -= (size_t)done;
  }
  return 0;
}
