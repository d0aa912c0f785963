/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a daemon by tests/system/federation.py: makes the machine fail
 * at a chosen moment.
 *   CNS_FAULT_KILL_SYNC=N        SIGKILL in place of the N-th fsync or fdatasync
 *   CNS_FAULT_KILL_AFTER_SYNC=N  SIGKILL right after the N-th
 *   CNS_FAULT_STOP_SYNC=FILE     while FILE exists, SIGSTOP before each sync
 *   CNS_FAULT_COUNT=FILE         the number of syncs is written there at exit
 *   CNS_FAULT_SYNCED=FILE        the path of what is synced is added to FILE each time
 *   CNS_FAULT_FULL=FILE          while FILE exists, writes to regular files whose
 *                                path begins with CNS_FAULT_FOLDER, and reserving
 *                                room for them, fail with ENOSPC
 *   CNS_FAULT_ROOM=FILE          while FILE exists, each disk has the free bytes that
 *                                it names
 *   CNS_FAULT_CLOCK=SECONDS      the calendar's clock is off by so many
 */
#undef _FILE_OFFSET_BITS                    /* or pwrite would be another name of pwrite64 */
#pragma GCC diagnostic ignored "-Wpedantic" /* what dlsym returns is a function */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

int fsync(int fd);
int fdatasync(int fd);
ssize_t write(int fd, const void *buffer, size_t len);
ssize_t pwrite(int fd, const void *buffer, size_t len, off_t at);
ssize_t pwrite64(int fd, const void *buffer, size_t len, off_t at);
int fallocate(int fd, int mode, off_t at, off_t len);
int fallocate64(int fd, int mode, off_t at, off_t len);
int statvfs64(const char *path, struct statvfs64 *ret_status);

static atomic_long syncs;

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? strtol(text, NULL, 10) : 0;
}

static int path_of(int fd, char path[static 4096]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, path, 4095);
  if (len < 0) return -1;
  path[len] = '\0';
  return 0;
}

static void note_synced(int fd) {
  const char *list = getenv("CNS_FAULT_SYNCED");
  char path[4096];
  FILE *file = list && path_of(fd, path) == 0 ? fopen(list, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", path);
  fclose(file);
}

static int synced(const char *symbol, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, symbol);
  const char *stop = getenv("CNS_FAULT_STOP_SYNC");
  if (stop && access(stop, F_OK) == 0) raise(SIGSTOP);
  note_synced(fd);
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
  char path[4096];
  if (!flag || !folder || access(flag, F_OK) != 0 || path_of(fd, path) != 0) return 0;
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

int fallocate(int fd, int mode, off_t at, off_t len) {
  int (*real)(int, int, off_t, off_t) = (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate");
  if (is_full(fd)) return errno = ENOSPC, -1;
  return real(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off_t at, off_t len) {
  return fallocate(fd, mode, at, len);
}

/* -1: as many as there are. */
static long long room(void) {
  const char *path = getenv("CNS_FAULT_ROOM");
  FILE *file = path ? fopen(path, "r") : NULL;
  long long bytes = -1;
  if (!file) return -1;
  if (fscanf(file, "%lld", &bytes) != 1) bytes = -1;
  fclose(file);
  return bytes;
}

int statvfs64(const char *path, struct statvfs64 *ret_status) {
  int (*real)(const char *, struct statvfs64 *) =
      (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
  long long bytes = room();
  int r = real(path, ret_status);
  if (r != 0 || bytes < 0) return r;
  ret_status->f_frsize = 1;
  ret_status->f_bavail = (unsigned long)bytes;
  return 0;
}

time_t time(time_t *ret_now) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  now.tv_sec += number("CNS_FAULT_CLOCK");
  if (ret_now) *ret_now = now.tv_sec;
  return now.tv_sec;
}
