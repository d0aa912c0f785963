/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files in (declared in crypto/json.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

static int empty_path(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "an empty path is no file's name");
}

int cns_file_read_failed(const char *path, int number, struct cns_problem *problem) {
  return cns_problem_set(problem, cns_error_from_errno(number), "%s: can't be read: %s", path,
                         strerror(number));
}

/* The file may hold a key: nothing of it stays on the heap but what is returned. */
static void drop(uint8_t *data, size_t len) {
  cns_wipe(data, len);
  free(data);
}

static uint8_t *grow(uint8_t *data, size_t len, size_t capacity) {
  uint8_t *larger = malloc(capacity + 1);
  if (larger) memcpy(larger, data, len);
  drop(data, len);
  return larger;
}

/* Reads to the end of fd, growing, up to max bytes. */
static int read_all(int fd, const char *path, size_t max, uint8_t **ret_data, size_t *ret_len,
                    struct cns_problem *problem) {
  size_t len = 0, capacity = 4096;
  uint8_t *data = malloc(capacity + 1);
  while (data) {
    ssize_t n = read(fd, data + len, capacity - len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int number = errno;
      drop(data, len);
      return cns_file_read_failed(path, number, problem);
    }
    if (n == 0) break;
    len += (size_t)n;
    if (len > max) {
      drop(data, len);
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: larger than the %zu bytes that are allowed here",
                             path, max);
    }
    if (len < capacity) continue;
    capacity *= 2;
    data = grow(data, len, capacity);
  }
  if (!data) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory while reading it", path);
  data[len] = 0;
  *ret_data = data;
  *ret_len = len;
  return 0;
}

int cns_file_read(const char *path, size_t max, uint8_t **ret_data, size_t *ret_len,
                  struct cns_problem *problem) {
  struct stat info;
  uint8_t *data = NULL;
  size_t len = 0;
  if (!*path) return empty_path(problem);
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe nobody writes to must not stop us */
  if (fd < 0) return cns_file_read_failed(path, errno, problem);
  int r = 0;
  if (fstat(fd, &info) != 0) {
    r = cns_file_read_failed(path, errno, problem);
  } else if (S_ISDIR(info.st_mode)) {
    r = cns_problem_set(problem, CNS_ERR_IO, "%s: is a folder, but a file is expected", path);
  } else if (!S_ISREG(info.st_mode)) {
    r = cns_problem_set(problem, CNS_ERR_IO, "%s: is not a plain file (a pipe or a device)", path);
  } else {
    r = read_all(fd, path, max, &data, &len, problem);
  }
  close(fd);
  if (r) return r;
  if (len == 0) {
    free(data);
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", path);
  }
  *ret_data = data;
  *ret_len = len;
  return 0;
}
