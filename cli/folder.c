/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/folder.h"

static bool is_dot(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The folder is there already: is it a folder, empty, and ours to use? */
static int check_empty(const char *path, struct cns_problem *problem) {
  DIR *folder = opendir(path);
  if (!folder && errno == ENOTDIR)
    return cns_problem_set(problem, CNS_ERR_EXISTS, "%s: is there already and is not a folder", path);
  if (!folder) return cns_folder_fail(errno, path, "opening it", problem);
  bool empty = true;
  for (struct dirent *entry = readdir(folder); entry && empty; entry = readdir(folder))
    if (!is_dot(entry->d_name)) empty = false;
  closedir(folder);
  if (!empty)
    return cns_problem_set(problem, CNS_ERR_EXISTS,
                           "%s: is there already and is not empty; give another folder, or remove it first",
                           path);
  if (chmod(path, 0700) != 0) return cns_folder_fail(errno, path, "making it private", problem);
  return 0;
}

static int cant_create(int number, const char *path, struct cns_problem *problem) {
  if (!*path) return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "an empty path is no folder's name");
  if (number != ENOENT) return cns_folder_fail(number, path, "creating it", problem);
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND,
                         "%s: the folder that it is to be made in is not there; make that first", path);
}

int cns_claim_folder(const char *path, struct cns_folder_claim *ret_claim, struct cns_problem *problem) {
  struct cns_folder_claim claim = {.path = strdup(path), .created = true};
  if (!claim.path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", path);
  int r = 0;
  if (mkdir(path, 0700) != 0) {
    claim.created = false;
    r = errno == EEXIST ? check_empty(path, problem) : cant_create(errno, path, problem);
  }
  if (r) {
    free(claim.path);
    return r;
  }
  *ret_claim = claim;
  return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info;
  (void)kind;
  /* The top is removed by the caller, who knows whether it was there before. */
  return at->level == 0 ? 0 : remove(path);
}

void cns_claim_end(struct cns_folder_claim *claim, bool failed) {
  if (failed && claim->path) {
    nftw(claim->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (claim->created) rmdir(claim->path);
  }
  free(claim->path);
  *claim = (struct cns_folder_claim){0};
}

/* A mask would hold them for this thread alone, and the mathematics library has threads too. */
static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t came;

static void note_signal(int number) {
  came = number;
}

void cns_hold_signals(struct cns_held_signals *ret_held) {
  struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  came = 0;
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    sigaction(ends[i], NULL, &ret_held->before[i]);
    if (ret_held->before[i].sa_handler != SIG_IGN) sigaction(ends[i], &action, NULL);
  }
}

void cns_release_signals(const struct cns_held_signals *held) {
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
    sigaction(ends[i], &held->before[i], NULL);
  if (came) raise(came);
}

int cns_subfolder_create(const char *folder, const char *name, char **ret_path, struct cns_problem *problem) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
  if (mkdir(path, 0700) != 0) {
    int r = cns_folder_fail(errno, path, "creating it", problem);
    free(path);
    return r;
  }
  *ret_path = path;
  return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    data += n;
    len -= (size_t)n;
  }
  return 0;
}

static int copy_bytes(int in, const char *from, int out, const char *to, uint8_t *ret_digest,
                      struct cns_problem *problem) {
  static const size_t block = 1 << 16;
  crypto_generichash_state state;
  uint8_t *data = malloc(block);
  if (!data) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", from);
  int r = crypto_generichash_init(&state, NULL, 0, CNS_DIGEST_BYTES) == 0 ? 0 : CNS_ERR_LIBRARY;
  while (!r) {
    ssize_t n = read(in, data, block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) r = cns_folder_fail(errno, from, "reading it", problem);
    if (n <= 0) break;
    if (crypto_generichash_update(&state, data, (size_t)n) != 0) r = CNS_ERR_LIBRARY;
    int number = !r && out >= 0 ? write_all(out, data, (size_t)n) : 0;
    if (number) r = cns_folder_fail(number, to, "writing it", problem);
  }
  free(data);
  if (!r && out >= 0 && fsync(out) != 0) r = cns_folder_fail(errno, to, "writing it", problem);
  if (!r && crypto_generichash_final(&state, ret_digest, CNS_DIGEST_BYTES) != 0) r = CNS_ERR_LIBRARY;
  return r;
}

int cns_copy_file(const char *from, const char *to, uint8_t ret_digest[static CNS_DIGEST_BYTES],
                  struct cns_problem *problem) {
  int out = -1;
  int in = open(from, O_RDONLY | O_CLOEXEC);
  if (in < 0) return cns_folder_fail(errno, from, "opening it", problem);
  if (to && (out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) < 0) {
    int r = cns_folder_fail(errno, to, "creating it", problem);
    close(in);
    return r;
  }
  int r = copy_bytes(in, from, out, to, ret_digest, problem);
  close(in);
  if (out >= 0 && close(out) != 0 && !r) r = cns_folder_fail(errno, to, "writing it", problem);
  if (r && out >= 0) unlink(to);
  return r;
}
