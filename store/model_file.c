/* SPDX-License-Identifier: Apache-2.0 */
#include "store/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"
#include "store/folder.h"

struct cns_model_map {
  void *bytes;
  size_t len;
  atomic_uint holders;
};

struct cns_model_draft {
  char *path; /* NULL once it was moved */
  int fd;
  void *bytes; /* NULL: not mapped */
  size_t len;
};

/* ---- reading ---- */

static int map_file(int fd, const char *path, size_t len_max, struct cns_model_map *map,
                    struct cns_problem *problem) {
  struct stat status;
  if (fstat(fd, &status) != 0) return cns_folder_fail(errno, path, "reading it", problem);
  if (!S_ISREG(status.st_mode) || status.st_size < 1 || (uint64_t)status.st_size > len_max)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: not a file of 1 to %zu bytes", path, len_max);
  map->len = (size_t)status.st_size;
  map->bytes = mmap(NULL, map->len, PROT_READ, MAP_SHARED, fd, 0);
  return map->bytes == MAP_FAILED ? cns_folder_fail(errno, path, "mapping it", problem) : 0;
}

int cns_model_map_open(const char *path, size_t len_max, struct cns_model_map **ret_map,
                       struct cns_problem *problem) {
  struct cns_model_map *map = calloc(1, sizeof *map);
  if (!map) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int r = fd < 0 ? cns_folder_fail(errno, path, "opening it", problem)
                 : map_file(fd, path, len_max, map, problem);
  if (fd >= 0) close(fd);
  if (r < 0) {
    free(map);
    return r;
  }
  atomic_init(&map->holders, 1);
  *ret_map = map;
  return 0;
}

struct cns_model_map *cns_model_map_hold(struct cns_model_map *map) {
  atomic_fetch_add(&map->holders, 1);
  return map;
}

struct cns_model_map *cns_model_map_free(struct cns_model_map *map) {
  if (!map || atomic_fetch_sub(&map->holders, 1) != 1) return NULL;
  munmap(map->bytes, map->len);
  free(map);
  return NULL;
}

const uint8_t *cns_model_map_bytes(const struct cns_model_map *map, size_t *ret_len) {
  *ret_len = map->len;
  return map->bytes;
}

/* ---- writing ---- */

/* By hand where the file system can't: a page without room behind it would end the process. */
static int fill(int fd, size_t len) {
  static const uint8_t zeros[65536];
  for (size_t at = 0; at < len;) {
    size_t part = len - at < sizeof zeros ? len - at : sizeof zeros;
    int number = cns_file_write_at(fd, zeros, part, at);
    if (number) return number;
    at += part;
  }
  return 0;
}

static int reserve(int fd, size_t len) {
  int failed = cns_folder_reserve(fd, len);
  return failed == EOPNOTSUPP ? fill(fd, len) : failed;
}

static int open_draft(struct cns_model_draft *draft, struct cns_problem *problem) {
  if (unlink(draft->path) != 0 && errno != ENOENT)
    return cns_folder_fail(errno, draft->path, "removing a leftover", problem);
  draft->fd = open(draft->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (draft->fd < 0) return cns_folder_fail(errno, draft->path, "creating it", problem);
  int failed = reserve(draft->fd, draft->len);
  if (failed) return cns_folder_fail(failed, draft->path, "making room for a model", problem);
  void *bytes = mmap(NULL, draft->len, PROT_READ | PROT_WRITE, MAP_SHARED, draft->fd, 0);
  if (bytes == MAP_FAILED) return cns_folder_fail(errno, draft->path, "mapping it", problem);
  draft->bytes = bytes;
  return 0;
}

int cns_model_draft_new(const char *path, size_t len, struct cns_model_draft **ret_draft,
                        struct cns_problem *problem) {
  struct cns_model_draft *draft = calloc(1, sizeof *draft);
  if (!draft) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  draft->fd = -1;
  draft->len = len;
  draft->path = strdup(path);
  int r = draft->path ? open_draft(draft, problem) : CNS_ERR_MEMORY;
  if (r < 0) {
    cns_model_draft_free(draft);
    return r;
  }
  *ret_draft = draft;
  return 0;
}

uint8_t *cns_model_draft_bytes(const struct cns_model_draft *draft, size_t *ret_len) {
  if (ret_len) *ret_len = draft->len;
  return draft->bytes;
}

void cns_model_draft_written(const struct cns_model_draft *draft, size_t offset, size_t len) {
  (void)sync_file_range(draft->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE); /* a hint, no promise */
}

int cns_model_draft_move(struct cns_model_draft *draft, const char *path, struct cns_problem *problem) {
  int r = cns_folder_rename(draft->path, path, problem);
  if (r < 0) return r;
  free(draft->path);
  draft->path = NULL;
  return 0;
}

struct cns_model_draft *cns_model_draft_free(struct cns_model_draft *draft) {
  if (!draft) return NULL;
  if (draft->bytes) munmap(draft->bytes, draft->len);
  if (draft->path && draft->fd >= 0) (void)unlink(draft->path); /* or the next draft does */
  if (draft->fd >= 0) close(draft->fd);
  free(draft->path);
  free(draft);
  return NULL;
}
