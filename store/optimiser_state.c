/* SPDX-License-Identifier: Apache-2.0 */
#include "store/optimiser_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/cursor.h"
#include "crypto/json.h"
#include "store/folder.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "floats are written as they lie in memory: little-endian only"
#endif

#define HEADER_BYTES 4096
#define SUFFIX ".optimiser"
#define NEW_NAME "new" SUFFIX
#define ROUND_DIGITS 20
#define NAME_CHARS (ROUND_DIGITS + 1 + 2 * CNS_DIGEST_BYTES + sizeof(SUFFIX) - 1)

static const uint8_t magic[8] = {'C', 'N', 'S', 'O', 'P', 'T', '0', '1'};

/* An open file, of a version or of one to be. */
struct state {
  int fd; /* -1: none */
  char *path;
  uint64_t dim;
  size_t arrays, blocks;
  struct cns_digest *digests; /* of the blocks */
};

struct cns_optimiser_change {
  struct state from, to;
  bool *written; /* by block */
  char *folder;
  bool committed;
};

static size_t block_count(uint64_t dim) {
  return (size_t)((dim + CNS_OPTIMISER_BLOCK - 1) / CNS_OPTIMISER_BLOCK);
}

uint64_t cns_optimiser_state_bytes(uint64_t dim, size_t arrays) {
  return HEADER_BYTES + block_count(dim) * CNS_DIGEST_BYTES + dim * arrays * sizeof(float);
}

static size_t block_length(const struct state *state, size_t block) {
  uint64_t first = (uint64_t)block * CNS_OPTIMISER_BLOCK;
  return state->dim - first < CNS_OPTIMISER_BLOCK ? (size_t)(state->dim - first) : CNS_OPTIMISER_BLOCK;
}

static uint64_t block_at(const struct state *state, size_t block, size_t array) {
  uint64_t first = (uint64_t)block * CNS_OPTIMISER_BLOCK;
  uint64_t floats = first * state->arrays + array * block_length(state, block);
  return HEADER_BYTES + state->blocks * CNS_DIGEST_BYTES + floats * sizeof(float);
}

static void state_deinit(struct state *state) {
  if (state->fd >= 0) close(state->fd);
  free(state->path);
  free(state->digests);
  *state = (struct state){.fd = -1};
}

static int state_init(struct state *state, uint64_t dim, size_t arrays) {
  *state = (struct state){.fd = -1, .dim = dim, .arrays = arrays, .blocks = block_count(dim)};
  if (dim == 0 || arrays == 0 || arrays > CNS_OPTIMISER_ARRAYS_MAX) return CNS_ERR_ARGUMENT;
  state->digests = calloc(state->blocks, sizeof *state->digests);
  return state->digests ? 0 : CNS_ERR_MEMORY;
}

static int version_path(const char *folder, const struct cns_optimiser_version *version, char **ret_path) {
  char hex[2 * CNS_DIGEST_BYTES + 1];
  cns_hex_encode(version->model.bytes, CNS_DIGEST_BYTES, hex);
  return asprintf(ret_path, "%s/%020" PRIu64 "-%s" SUFFIX, folder, version->round, hex) < 0 ? CNS_ERR_MEMORY
                                                                                            : 0;
}

static void block_digest(const struct state *state, size_t block, const float *const *arrays,
                         struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 optimiser block");
  for (size_t a = 0; a < state->arrays; a++)
    cns_hash_bytes(&hash, arrays[a], block_length(state, block) * sizeof(float));
  cns_hash_final(&hash, ret_digest);
}

/* Which version it is, and all of its blocks. */
static void root_digest(const struct state *state, const struct cns_optimiser_version *version,
                        struct cns_digest *ret_root) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 optimiser state");
  cns_hash_u64(&hash, version->round);
  cns_hash_digest(&hash, &version->model);
  cns_hash_digest(&hash, &version->plan);
  cns_hash_u64(&hash, state->dim);
  cns_hash_u64(&hash, state->arrays);
  for (size_t k = 0; k < state->blocks; k++)
    cns_hash_digest(&hash, &state->digests[k]);
  cns_hash_final(&hash, ret_root);
}

#define WHAT_TO_DO                                                                                           \
  "restore it from a backup that is as old as the journal's, or give the study a new version, with which "   \
  "the server's optimiser begins anew"

static int damaged(const struct state *state, struct cns_problem *problem) {
  return cns_problem_set(
      problem, CNS_ERR_FORMAT,
      "%s: this state of the server's optimiser is damaged, or another round's; " WHAT_TO_DO, state->path);
}

/* Magic, root, then zeros; the digests. Their root says that they are this version's. */
static int read_head(struct state *state, const struct cns_optimiser_version *version,
                     struct cns_problem *problem) {
  uint8_t header[HEADER_BYTES];
  struct cns_digest root;
  struct stat status;
  if (fstat(state->fd, &status) != 0) return cns_folder_fail(errno, state->path, "reading it", problem);
  if ((uint64_t)status.st_size != cns_optimiser_state_bytes(state->dim, state->arrays))
    return damaged(state, problem);
  int failed = cns_file_read_at(state->fd, header, sizeof header, 0);
  if (!failed)
    failed =
        cns_file_read_at(state->fd, state->digests, state->blocks * sizeof *state->digests, HEADER_BYTES);
  if (failed) return cns_folder_fail(failed, state->path, "reading it", problem);
  root_digest(state, version, &root);
  bool good = memcmp(header, magic, sizeof magic) == 0 &&
              memcmp(header + sizeof magic, root.bytes, CNS_DIGEST_BYTES) == 0;
  return good ? 0 : damaged(state, problem);
}

static int state_open(const char *folder, const struct cns_optimiser_version *version, struct state *state,
                      struct cns_problem *problem) {
  int r = state_init(state, version->dim, version->arrays);
  if (r == 0) r = version_path(folder, version, &state->path);
  if (r < 0) return r;
  state->fd = open(state->path, O_RDONLY | O_CLOEXEC);
  if (state->fd < 0 && errno == ENOENT)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND,
                           "%s is missing, what the server's optimiser remembers since round %" PRIu64
                           ": without it the next model can't be computed; " WHAT_TO_DO,
                           state->path, version->round);
  if (state->fd < 0) return cns_folder_fail(errno, state->path, "opening it", problem);
  return read_head(state, version, problem);
}

static int read_block(const struct state *state, size_t block, float *const *ret_arrays,
                      struct cns_problem *problem) {
  struct cns_digest found;
  const float *arrays[CNS_OPTIMISER_ARRAYS_MAX];
  size_t bytes = block_length(state, block) * sizeof(float);
  for (size_t a = 0; a < state->arrays; a++) {
    int failed = cns_file_read_at(state->fd, ret_arrays[a], bytes, block_at(state, block, a));
    if (failed) return cns_folder_fail(failed, state->path, "reading it", problem);
    arrays[a] = ret_arrays[a];
  }
  block_digest(state, block, arrays, &found);
  return cns_digest_equal(&found, &state->digests[block]) ? 0 : damaged(state, problem);
}

int cns_optimiser_state_check(const char *folder, const struct cns_optimiser_version *version,
                              struct cns_problem *problem) {
  struct state state;
  float *arrays[CNS_OPTIMISER_ARRAYS_MAX] = {0};
  int r = state_open(folder, version, &state, problem);
  for (size_t a = 0; r == 0 && a < version->arrays; a++) {
    arrays[a] = malloc(CNS_OPTIMISER_BLOCK * sizeof(float));
    if (!arrays[a]) r = CNS_ERR_MEMORY;
  }
  for (size_t k = 0; r == 0 && k < state.blocks; k++)
    r = read_block(&state, k, arrays, problem);
  for (size_t a = 0; a < CNS_OPTIMISER_ARRAYS_MAX; a++)
    free(arrays[a]);
  state_deinit(&state);
  return r;
}

static bool is_ours(const char *name) {
  size_t len = strlen(name);
  if (strcmp(name, NEW_NAME) == 0) return true;
  return len == NAME_CHARS && strspn(name, "0123456789") == ROUND_DIGITS && name[ROUND_DIGITS] == '-' &&
         strcmp(name + len - strlen(SUFFIX), SUFFIX) == 0;
}

int cns_optimiser_state_sweep(const char *folder, const struct cns_optimiser_version *keep,
                              struct cns_problem *problem) {
  char *kept = NULL;
  struct dirent *entry;
  int r = keep ? version_path(folder, keep, &kept) : 0;
  if (r < 0) return r;
  const char *kept_name = kept ? strrchr(kept, '/') + 1 : "";
  DIR *stream = opendir(folder);
  if (!stream && errno != ENOENT) r = cns_folder_fail(errno, folder, "listing it", problem);
  while (stream && r == 0 && (entry = readdir(stream)))
    if (is_ours(entry->d_name) && strcmp(entry->d_name, kept_name) != 0 &&
        unlinkat(dirfd(stream), entry->d_name, 0) != 0)
      r = cns_folder_fail(errno, folder, "deleting an old state of the server's optimiser", problem);
  if (stream) closedir(stream);
  free(kept);
  return r;
}

/* ---- a change ---- */

static int make_new(struct cns_optimiser_change *change, struct cns_problem *problem) {
  struct state *to = &change->to;
  if (asprintf(&to->path, "%s/" NEW_NAME, change->folder) < 0) {
    to->path = NULL;
    return CNS_ERR_MEMORY;
  }
  to->fd = open(to->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (to->fd < 0) return cns_folder_fail(errno, to->path, "creating it", problem);
  int failed = posix_fallocate(to->fd, 0, (off_t)cns_optimiser_state_bytes(to->dim, to->arrays));
  return failed ? cns_folder_fail(failed, to->path, "making room for it", problem) : 0;
}

int cns_optimiser_change_begin(const char *folder, const struct cns_optimiser_version *from, uint64_t dim,
                               size_t arrays, struct cns_optimiser_change **ret_change,
                               struct cns_problem *problem) {
  struct cns_optimiser_change *change = calloc(1, sizeof *change);
  if (!change) return CNS_ERR_MEMORY;
  change->from.fd = -1;
  int r = state_init(&change->to, dim, arrays);
  if (r == 0) change->folder = strdup(folder);
  if (r == 0) change->written = calloc(change->to.blocks, sizeof *change->written);
  if (r == 0 && (!change->folder || !change->written)) r = CNS_ERR_MEMORY;
  if (r == 0) r = cns_folder_create(folder, problem);
  if (r == 0 && from) r = state_open(folder, from, &change->from, problem);
  if (r == 0 && from && (change->from.dim != dim || change->from.arrays != arrays)) r = CNS_ERR_ARGUMENT;
  if (r == 0) r = make_new(change, problem);
  if (r < 0) {
    cns_optimiser_change_free(change);
    return r;
  }
  *ret_change = change;
  return 0;
}

int cns_optimiser_change_read(const struct cns_optimiser_change *change, size_t block,
                              float *const *ret_arrays, struct cns_problem *problem) {
  if (change->from.fd < 0) return CNS_OPTIMISER_NONE;
  return block < change->from.blocks ? read_block(&change->from, block, ret_arrays, problem)
                                     : CNS_ERR_ARGUMENT;
}

int cns_optimiser_change_write(struct cns_optimiser_change *change, size_t block, const float *const *arrays,
                               struct cns_problem *problem) {
  struct state *to = &change->to;
  if (block >= to->blocks) return CNS_ERR_ARGUMENT;
  for (size_t a = 0; a < to->arrays; a++) {
    size_t bytes = block_length(to, block) * sizeof(float);
    int failed = cns_file_write_at(to->fd, arrays[a], bytes, block_at(to, block, a));
    if (failed) return cns_folder_fail(failed, to->path, "writing it", problem);
  }
  block_digest(to, block, arrays, &to->digests[block]);
  change->written[block] = true;
  return 0;
}

static int write_head(struct state *to, const struct cns_optimiser_version *version,
                      struct cns_problem *problem) {
  uint8_t header[HEADER_BYTES] = {0};
  struct cns_digest root;
  root_digest(to, version, &root);
  memcpy(header, magic, sizeof magic);
  memcpy(header + sizeof magic, root.bytes, CNS_DIGEST_BYTES);
  int failed = cns_file_write_at(to->fd, header, sizeof header, 0);
  if (!failed)
    failed = cns_file_write_at(to->fd, to->digests, to->blocks * sizeof *to->digests, HEADER_BYTES);
  return failed ? cns_folder_fail(failed, to->path, "writing it", problem) : 0;
}

int cns_optimiser_change_commit(struct cns_optimiser_change *change, const struct cns_optimiser_version *to,
                                struct cns_problem *problem) {
  char *path = NULL;
  for (size_t k = 0; k < change->to.blocks; k++)
    if (!change->written[k]) return CNS_ERR_STATE;
  if (change->committed || to->dim != change->to.dim || to->arrays != change->to.arrays) return CNS_ERR_STATE;
  int r = write_head(&change->to, to, problem);
  if (r == 0) r = version_path(change->folder, to, &path);
  if (r == 0) r = cns_folder_rename(change->to.path, path, problem);
  change->committed = r == 0;
  free(path);
  return r;
}

struct cns_optimiser_change *cns_optimiser_change_free(struct cns_optimiser_change *change) {
  if (!change) return NULL;
  if (change->to.fd >= 0 && !change->committed)
    (void)unlink(change->to.path); /* a leftover only costs room */
  state_deinit(&change->from);
  state_deinit(&change->to);
  free(change->written);
  free(change->folder);
  free(change);
  return NULL;
}
