/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/robust_history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

/* A file: these eight bytes, the digest, and what cns_detect_history_encode gives. */
static const char magic[8] = {'C', 'N', 'S', 'R', 'N', 'D', '1', '\n'};
#define HEAD_BYTES (sizeof magic + CNS_DIGEST_BYTES)
#define FILE_BYTES_MAX (1u << 16)

static int file_failed(const char *path, const char *what, struct cns_problem *problem) {
  int number = errno;
  return cns_problem_set(problem, cns_error_from_errno(number), "%s: %s: %s", path, what, strerror(number));
}

/* malloc'd */
static char *round_path(const char *folder, size_t round) {
  char *path = NULL;
  return asprintf(&path, "%s/%06zu.round", folder, round) < 0 ? NULL : path;
}

static int open_folder(struct cns_robust_history *history, struct cns_problem *problem) {
  if (!*history->folder)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "--history: the folder has no name");
  if (mkdir(history->folder, 0700) != 0 && errno != EEXIST)
    return file_failed(history->folder, "can't be made", problem);
  history->lock = open(history->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (history->lock < 0) return file_failed(history->folder, "can't be opened as a folder", problem);
  while (flock(history->lock, LOCK_EX) != 0)
    if (errno != EINTR) return file_failed(history->folder, "can't be locked", problem);
  return 0;
}

/* One round's file into ret_digest and ret_memory. CNS_ERR_NOT_FOUND if there is none. */
static int read_round(const struct cns_robust_history *history, size_t round, struct cns_digest *ret_digest,
                      struct cns_detect_history *ret_memory, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = round_path(history->folder, round);
  if (!path) return CNS_ERR_MEMORY;
  int r = cns_file_read(path, FILE_BYTES_MAX, &data, &len, problem);
  if (r == 0 && (len < HEAD_BYTES || memcmp(data, magic, sizeof magic) != 0)) r = CNS_ERR_FORMAT;
  if (r == 0) r = cns_detect_history_decode(data + HEAD_BYTES, len - HEAD_BYTES, ret_memory);
  if (r == 0) memcpy(ret_digest->bytes, data + sizeof magic, CNS_DIGEST_BYTES);
  if (r == CNS_ERR_FORMAT || r == CNS_ERR_VERSION)
    r = cns_problem_set(problem, r,
                        "%s: is no file of this history, or a damaged one; without the folder a new "
                        "history begins",
                        path);
  free(data);
  free(path);
  return r;
}

/* From the first round on, until the input is found or the rounds end. */
static int find_round(struct cns_robust_history *history, const struct cns_digest *input,
                      struct cns_detect_history *after, struct cns_problem *problem) {
  for (history->round = 1; history->round <= CNS_ROBUST_HISTORY_ROUNDS_MAX; history->round++) {
    struct cns_problem ignored = {0};
    struct cns_digest digest;
    int r = read_round(history, history->round, &digest, after, &ignored);
    if (r == CNS_ERR_NOT_FOUND) return 0;
    if (r < 0) {
      *problem = ignored;
      return r;
    }
    history->repeated = cns_digest_equal(&digest, input);
    if (history->repeated) return 0;
    history->memory = *after;
  }
  return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: holds %d rounds, and takes no more", history->folder,
                         CNS_ROBUST_HISTORY_ROUNDS_MAX);
}

int cns_robust_history_open(const char *folder, const struct cns_digest *input,
                            struct cns_robust_history *history, struct cns_problem *problem) {
  struct cns_detect_history *after = calloc(1, sizeof *after);
  *history = (struct cns_robust_history){.folder = folder, .lock = -1};
  int r = after ? open_folder(history, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = find_round(history, input, after, problem);
  free(after);
  return r;
}

int cns_robust_history_save(const struct cns_robust_history *history, const struct cns_digest *input,
                            struct cns_problem *problem) {
  uint8_t *memory = NULL, *data = NULL;
  size_t len = 0;
  if (history->repeated) return 0;
  char *path = round_path(history->folder, history->round);
  int r = path ? cns_detect_history_encode(&history->memory, &memory, &len) : CNS_ERR_MEMORY;
  if (r == 0 && !(data = malloc(HEAD_BYTES + len))) r = CNS_ERR_MEMORY;
  if (r == 0) {
    memcpy(data, magic, sizeof magic);
    memcpy(data + sizeof magic, input->bytes, CNS_DIGEST_BYTES);
    memcpy(data + HEAD_BYTES, memory, len);
    r = cns_file_write(path, data, HEAD_BYTES + len, 0600, problem);
  }
  free(data);
  free(memory);
  free(path);
  return r;
}

void cns_robust_history_deinit(struct cns_robust_history *history) {
  if (history->lock >= 0) close(history->lock);
  history->lock = -1;
}
