/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files in and out (declared in crypto/json.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

#define LINKS_MAX 40 /* as the kernel has it */

static int empty_path(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "an empty path is no file's name");
}

static int read_failed(const char *path, int number, struct cns_problem *problem) {
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
      return read_failed(path, number, problem);
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
  if (fd < 0) return read_failed(path, errno, problem);
  int r = 0;
  if (fstat(fd, &info) != 0) {
    r = read_failed(path, errno, problem);
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

static int write_all(int fd, const uint8_t *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO; /* a device that takes nothing and reports nothing */
    data += n;
    len -= (size_t)n;
  }
  return 0;
}

int cns_file_sync_folder(const char *path) {
  char *folder = strdup(path);
  if (!folder) return ENOMEM;
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder ? 1 : 0] = '\0';
  int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int number = fd < 0 || fsync(fd) != 0 ? errno : 0;
  if (fd >= 0 && number == EINVAL) number = 0; /* a file system that can't sync folders */
  if (fd >= 0) close(fd);
  free(folder);
  return number;
}

static int write_temporary(int fd, const void *data, size_t len, unsigned mode) {
  int number = fchmod(fd, (mode_t)mode) != 0 ? errno : 0;
  if (!number) number = write_all(fd, data, len);
  if (!number && fsync(fd) != 0) number = errno;
  if (close(fd) != 0 && !number) number = errno;
  return number;
}

/* Whole or not at all; path is no link. */
static int write_whole(const char *path, const void *data, size_t len, unsigned mode) {
  static const char suffix[] = ".tmp.XXXXXX";
  size_t path_len = strlen(path);
  char *temporary = malloc(path_len + sizeof suffix);
  if (!temporary) return ENOMEM;
  memcpy(temporary, path, path_len);
  memcpy(temporary + path_len, suffix, sizeof suffix);
  int number = 0;
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) {
    number = errno;
  } else {
    number = write_temporary(fd, data, len, mode);
    if (!number && rename(temporary, path) != 0) number = errno;
    if (number) unlink(temporary);
    if (!number) number = cns_file_sync_folder(path);
  }
  free(temporary);
  return number;
}

/* What the link at path names, relative links seen from the link's folder. */
static int follow_link(const char *path, char **ret_target) {
  char name[PATH_MAX];
  const char *slash = strrchr(path, '/');
  ssize_t len = readlink(path, name, sizeof name);
  if (len < 0) return errno;
  if ((size_t)len == sizeof name) return ENAMETOOLONG;
  int folder = slash && name[0] != '/' ? (int)(slash - path) + 1 : 0;
  return asprintf(ret_target, "%.*s%.*s", folder, path, (int)len, name) < 0 ? ENOMEM : 0;
}

/* The name that is to be replaced: behind links, which stay. */
static int resolve(const char *path, char **ret_path) {
  struct stat info;
  char *at = strdup(path);
  int number = at ? 0 : ENOMEM;
  for (int links = 0; !number && lstat(at, &info) == 0 && S_ISLNK(info.st_mode); links++) {
    char *target = NULL;
    number = links == LINKS_MAX ? ELOOP : follow_link(at, &target);
    free(at);
    at = target;
  }
  if (number)
    free(at);
  else
    *ret_path = at;
  return number;
}

/* Devices, pipes and our own output have nothing to replace. The output may be a
 * file too (`--out /dev/stdout >FILE`), in which the shell has its place. */
static int open_stream(const char *path, int *ret_fd) {
  struct stat info, own;
  if (stat(path, &info) != 0) return 0;
  for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fstat(fd, &own) != 0 || own.st_dev != info.st_dev || own.st_ino != info.st_ino) continue;
    if (fd == STDOUT_FILENO && fflush(stdout) != 0) return errno;
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return *ret_fd < 0 ? errno : 0;
  }
  if (S_ISREG(info.st_mode)) return 0;
  *ret_fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
  return *ret_fd < 0 ? errno : 0;
}

static int write_anywhere(const char *path, const void *data, size_t len, unsigned mode) {
  int fd = -1;
  char *target = NULL;
  int number = open_stream(path, &fd);
  if (!number && fd >= 0) {
    number = write_all(fd, data, len);
    if (close(fd) != 0 && !number) number = errno;
    return number;
  }
  if (!number) number = resolve(path, &target);
  if (!number) number = write_whole(target, data, len, mode);
  free(target);
  return number;
}

/* ENOENT of a file that is to be made means its folder. */
static bool lacks_folder(const char *path) {
  struct stat info;
  const char *slash = strrchr(path, '/');
  char *folder = slash && slash > path ? strndup(path, (size_t)(slash - path)) : NULL;
  bool lacks = folder && stat(folder, &info) != 0 && errno == ENOENT;
  free(folder);
  return lacks;
}

int cns_file_write(const char *path, const void *data, size_t len, unsigned mode,
                   struct cns_problem *problem) {
  if (!*path) return empty_path(problem);
  int number = write_anywhere(path, data, len, mode);
  if (!number) return 0;
  if (number == ENOENT && lacks_folder(path))
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: can't be written: its folder, %.*s, is not there",
                           path, (int)(strrchr(path, '/') - path), path);
  return cns_problem_set(problem, cns_error_from_errno(number), "%s: can't be written: %s", path,
                         strerror(number));
}
