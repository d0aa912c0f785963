/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a daemon by tests/system/federation.py: makes the machine fail
 * at a chosen moment.
 *   CNS_FAULT_KILL_SYNC=N        SIGKILL in place of the N-th fsync or fdatasync
 *   CNS_FAULT_KILL_AFTER_SYNC=N  SIGKILL right after the N-th
 *   CNS_FAULT_COUNT=FILE         the number of syncs is written there at exit
 *   CNS_FAULT_FULL=FILE          while FILE exists, writes to regular files in
 *                                CNS_FAULT_FOLDER fail with ENOSPC
 */
#undef _FILE_OFFSET_BITS                    /* or pwrite would be another name of pwrite64 */
#pragma GCC diagnostic ignored "-Wpedantic" /* what dlsym returns is a function */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fsync(int fd);
int fdatasync(int fd);
ssize_t write(int fd, const void *buffer, size_t len);
ssize_t pwrite(int fd, const void *buffer, size_t len, off_t at);
ssize_t pwrite64(int fd, const void *buffer, size_t len, off_t at);
int posix_fallocate(int fd, off_t at, off_t len);
int posix_fallocate64(int fd, off_t at, off_t len);

static atomic_long syncs;

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? strtol(text, NULL, 10) : 0;
}

static int synced(const char *symbol, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, symbol);
  long count = atomic_fetch_add(&syncs, 1) + 1;
  if (count == number("CNS_FAULT_KILL_SYNC")) kill(getpid(), SIGKILL);
  int r = real(fd);
  if (count == number("CNS_FAULT_KILL_AFTER_SYNC")) kill(getpid(), SIGKILL);
  return r;
}

__attribute__((destructor)) static void write_count(void) {
  const char *path = getenv("CNS_FAULT_COUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%ld\n", atomic_load(&syncs));
  fclose(file);
}

int fsync(int fd) {
  return synced("fsync", fd);
}

int fdatasync(int fd) {
  return synced("fdatasync", fd);
}

static int is_full(int fd) {
  const char *flag = getenv("CNS_FAULT_FULL"), *folder = getenv("CNS_FAULT_FOLDER");
  char link[64], path[4096];
  if (!flag || !folder || access(flag, F_OK) != 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, path, sizeof path - 1);
  if (len < 0) return 0;
  path[len] = '\0';
  return strncmp(path, folder, strlen(folder)) == 0;
}

ssize_t write(int fd, const void *buffer, size_t len) {
  ssize_t (*real)(int, const void *, size_t) =
      (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  if (is_full(fd)) return errno = ENOSPC, -1;
  return real(fd, buffer, len);
}

static ssize_t pwrite_unless_full(int fd, const void *buffer, size_t len, off_t at) {
  ssize_t (*real)(int, const void *, size_t, off_t) =
      (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  if (is_full(fd)) return errno = ENOSPC, -1;
  return real(fd, buffer, len, at);
}

ssize_t pwrite(int fd, const void *buffer, size_t len, off_t at) {
  return pwrite_unless_full(fd, buffer, len, at);
}

ssize_t pwrite64(int fd, const void *buffer, size_t len, off_t at) {
  return pwrite_unless_full(fd, buffer, len, at);
}

int posix_fallocate(int fd, off_t at, off_t len) {
  int (*real)(int, off_t, off_t) = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate");
  return is_full(fd) ? ENOSPC : real(fd, at, len);
}

int posix_fallocate64(int fd, off_t at, off_t len) {
  return posix_fallocate(fd, at, len);
}
