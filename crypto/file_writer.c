/* SPDX-License-Identifier: Apache-2.0 */
/* Files out, whole or not at all (declared in crypto/json.h). */
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

struct cns_file_writer {
  char *path;      /* as it was given, for sentences */
  char *target;    /* what is replaced: behind links; NULL for a device, a pipe, our own output */
  char *temporary; /* NULL when there is none to delete */
  int fd;          /* -1: closed */
};

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

/* ENOENT of a file that is to be made means its folder. */
static bool lacks_folder(const char *path) {
  struct stat info;
  const char *slash = strrchr(path, '/');
  char *folder = slash && slash > path ? strndup(path, (size_t)(slash - path)) : NULL;
  bool lacks = folder && stat(folder, &info) != 0 && errno == ENOENT;
  free(folder);
  return lacks;
}

static int write_failed(const char *path, int number, struct cns_problem *problem) {
  if (number == ENOENT && lacks_folder(path))
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: can't be written: its folder, %.*s, is not there",
                           path, (int)(strrchr(path, '/') - path), path);
  return cns_problem_set(problem, cns_error_from_errno(number), "%s: can't be written: %s", path,
                         strerror(number));
}

/* Beside the target, so that a rename replaces it. */
static int open_temporary(struct cns_file_writer *writer, unsigned mode) {
  int number = resolve(writer->path, &writer->target);
  if (number) return number;
  if (asprintf(&writer->temporary, "%s.tmp.XXXXXX", writer->target) < 0) {
    writer->temporary = NULL;
    return ENOMEM;
  }
  writer->fd = mkostemp(writer->temporary, O_CLOEXEC);
  if (writer->fd < 0) {
    number = errno;
    free(writer->temporary);
    writer->temporary = NULL;
    return number;
  }
  return fchmod(writer->fd, (mode_t)mode) != 0 ? errno : 0;
}

int cns_file_begin(const char *path, unsigned mode, struct cns_file_writer **ret_writer,
                   struct cns_problem *problem) {
  if (!*path) return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "an empty path is no file's name");
  struct cns_file_writer *writer = calloc(1, sizeof *writer);
  if (!writer) return write_failed(path, ENOMEM, problem);
  writer->fd = -1;
  writer->path = strdup(path);
  int number = writer->path ? open_stream(path, &writer->fd) : ENOMEM;
  if (!number && writer->fd < 0) number = open_temporary(writer, mode);
  if (number) {
    cns_file_discard(writer);
    return write_failed(path, number, problem);
  }
  *ret_writer = writer;
  return 0;
}

int cns_file_append(struct cns_file_writer *writer, const void *data, size_t len,
                    struct cns_problem *problem) {
  int number = write_all(writer->fd, data, len);
  return number ? write_failed(writer->path, number, problem) : 0;
}

int cns_file_commit(struct cns_file_writer *writer, struct cns_problem *problem) {
  int number = writer->target && fsync(writer->fd) != 0 ? errno : 0;
  if (close(writer->fd) != 0 && !number) number = errno;
  writer->fd = -1;
  if (!number && writer->target) {
    if (rename(writer->temporary, writer->target) != 0) {
      number = errno;
    } else {
      free(writer->temporary);
      writer->temporary = NULL;
      number = cns_file_sync_folder(writer->target);
    }
  }
  return number ? write_failed(writer->path, number, problem) : 0;
}

struct cns_file_writer *cns_file_discard(struct cns_file_writer *writer) {
  if (!writer) return NULL;
  if (writer->fd >= 0) close(writer->fd);
  if (writer->temporary) unlink(writer->temporary);
  free(writer->temporary);
  free(writer->target);
  free(writer->path);
  free(writer);
  return NULL;
}

int cns_file_write(const char *path, const void *data, size_t len, unsigned mode,
                   struct cns_problem *problem) {
  struct cns_file_writer *writer = NULL;
  int r = cns_file_begin(path, mode, &writer, problem);
  if (r) return r;
  r = cns_file_append(writer, data, len, problem);
  if (!r) r = cns_file_commit(writer, problem);
  cns_file_discard(writer);
  return r;
}
