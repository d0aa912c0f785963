/* SPDX-License-Identifier: Apache-2.0 */
#include "store/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

int cns_folder_fail(int system_errno, const char *path, const char *doing, struct cns_problem *problem) {
  switch (system_errno) {
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return cns_problem_set(problem, CNS_ERR_DISK_FULL,
                           "%s: no space left on the disk while %s; free some space and try again", path,
                           doing);
  case EACCES:
  case EPERM:
  case EROFS:
    return cns_problem_set(problem, CNS_ERR_PERMISSION, "%s: no permission (%s) while %s", path,
                           strerror(system_errno), doing);
  case ENOENT:
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: there is no such file or folder (while %s)", path,
                           doing);
  case EEXIST:
    return cns_problem_set(problem, CNS_ERR_EXISTS, "%s: exists already (while %s)", path, doing);
  case ENOMEM:
    return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory while %s", path, doing);
  default:
    return cns_problem_set(problem, CNS_ERR_IO, "%s: %s while %s", path, strerror(system_errno), doing);
  }
}

static int sync_file(const char *path, struct cns_problem *problem) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return cns_folder_fail(errno, path, "syncing it", problem);
  int failed = fsync(fd) != 0 ? errno : 0;
  close(fd);
  return failed ? cns_folder_fail(failed, path, "syncing it", problem) : 0;
}

int cns_folder_sync_parent(const char *path, struct cns_problem *problem) {
  int number = cns_file_sync_folder(path);
  return number ? cns_folder_fail(number, path, "syncing its folder", problem) : 0;
}

int cns_folder_rename(const char *from, const char *to, struct cns_problem *problem) {
  int error = sync_file(from, problem);
  if (error) return error;
  if (rename(from, to) != 0) return cns_folder_fail(errno, to, "moving it into place", problem);
  return cns_folder_sync_parent(to, problem);
}

int cns_folder_create(const char *path, struct cns_problem *problem) {
  if (mkdir(path, 0700) == 0) return cns_folder_sync_parent(path, problem);
  int failed = errno;
  struct stat status;
  if (failed == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return 0;
  if (failed == EEXIST)
    return cns_problem_set(problem, CNS_ERR_EXISTS, "%s: a folder is needed here, and this is none", path);
  return cns_folder_fail(failed, path, "creating the folder", problem);
}

int cns_folder_reserve(int fd, uint64_t bytes) {
  int result;
  do {
    result = fallocate(fd, 0, 0, (off_t)bytes);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return 0;
  return errno == ENOSYS ? EOPNOTSUPP : errno;
}
