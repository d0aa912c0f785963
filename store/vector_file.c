/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vector_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/hash.h"
#include "crypto/json.h"
#include "crypto/mask.h"
#include "crypto/rng.h"
#include "crypto/seal.h"
#include "store/folder.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are written as they lie in memory: little-endian only"
#endif

/* magic (8), words (8), nonce (24), sealed key (48), zeros up to a page, so
 * that the words start on one. */
#define HEADER_BYTES 4096
#define SEALED_AT 16
#define SEALED_BYTES (CNS_SEAL_NONCE_BYTES + CNS_MASK_SEED_BYTES + CNS_SEAL_TAG_BYTES)
/* Files as long as that are closed on a thread of their own when they are deleted. */
#define CLOSED_APART_BYTES ((off_t)64 << 20)
#define SUFFIX ".vector"
/* Encrypted and written at a time. */
#define BLOCK_WORDS 4096

static const uint8_t magic[8] = {'C', 'N', 'S', 'V', 'E', 'C', '0', '1'};

struct cns_vector_file {
  int fd;
  uint64_t words;
  char *path;
  struct cns_mask_seed *seed; /* sodium_malloc */
};

static bool name_valid(const char *name) {
  size_t len = strlen(name);
  if (len == 0 || len > CNS_VECTOR_FILE_NAME_MAX || name[0] == '.') return false;
  return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == len;
}

static int make_path(const char *folder, const char *name, const char *suffix, char **ret_path,
                     struct cns_problem *problem) {
  if (!name_valid(name))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "vector file: a name has forbidden characters");
  char *path = NULL;
  if (asprintf(&path, "%s/%s%s", folder, name, suffix) < 0) return CNS_ERR_MEMORY;
  *ret_path = path;
  return 0;
}

/* The name is bound too, so that one hospital's file can't be put in the
 * place of another's. */
static void header_bound(uint64_t words, const char *name, struct cns_digest *ret_bound) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 vector file");
  cns_hash_u64(&hash, words);
  cns_hash_blob(&hash, name, strlen(name));
  cns_hash_final(&hash, ret_bound);
}

static void header_key(const uint8_t *key, uint8_t ret_key[static CNS_SEAL_KEY_BYTES]) {
  struct cns_hash hash;
  struct cns_digest derived;
  cns_hash_init(&hash, "consilium/1 vector file key");
  cns_hash_bytes(&hash, key, CNS_VECTOR_FILE_KEY_BYTES);
  cns_hash_final(&hash, &derived);
  memcpy(ret_key, derived.bytes, CNS_SEAL_KEY_BYTES);
  cns_wipe(&derived, sizeof(derived));
}

static int make_header(const char *name, uint64_t words, const uint8_t *key, const struct cns_mask_seed *seed,
                       uint8_t *header) {
  memset(header, 0, HEADER_BYTES);
  memcpy(header, magic, sizeof(magic));
  memcpy(header + 8, &words, sizeof(words));
  struct cns_digest bound;
  header_bound(words, name, &bound);
  uint8_t at_rest[CNS_SEAL_KEY_BYTES];
  header_key(key, at_rest);
  int error = cns_rng_fill(cns_rng_system(), header + SEALED_AT, CNS_SEAL_NONCE_BYTES);
  if (!error)
    error = cns_seal(at_rest, header + SEALED_AT, bound.bytes, sizeof(bound.bytes), seed->bytes,
                     sizeof(seed->bytes), header + SEALED_AT + CNS_SEAL_NONCE_BYTES);
  cns_wipe(at_rest, sizeof(at_rest));
  return error;
}

static int read_header(struct cns_vector_file *file, const char *name, const uint8_t *key,
                       struct cns_problem *problem) {
  uint8_t header[SEALED_AT + SEALED_BYTES];
  struct stat status;
  if (fstat(file->fd, &status) != 0) return cns_folder_fail(errno, file->path, "reading it", problem);
  uint64_t words = 0;
  bool fits = status.st_size >= HEADER_BYTES;
  if (fits) {
    int failed = cns_file_read_at(file->fd, header, sizeof(header), 0);
    if (failed) return cns_folder_fail(failed, file->path, "reading it", problem);
    memcpy(&words, header + 8, sizeof(words));
    fits = memcmp(header, magic, sizeof(magic)) == 0 && words >= 1 && words <= CNS_VECTOR_FILE_WORDS_MAX &&
           (uint64_t)status.st_size == HEADER_BYTES + 4 * words;
  }
  struct cns_digest bound;
  header_bound(words, name, &bound);
  uint8_t at_rest[CNS_SEAL_KEY_BYTES];
  header_key(key, at_rest);
  int error = !fits ? CNS_ERR_PROOF
                    : cns_unseal(at_rest, header + SEALED_AT, bound.bytes, sizeof(bound.bytes),
                                 header + SEALED_AT + CNS_SEAL_NONCE_BYTES,
                                 SEALED_BYTES - CNS_SEAL_NONCE_BYTES, file->seed->bytes);
  cns_wipe(at_rest, sizeof(at_rest));
  if (error == CNS_ERR_PROOF)
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s: this uploaded vector is damaged or was written under another key; delete it, and the "
        "hospital uploads again",
        file->path);
  if (!error) file->words = words;
  return error;
}

static struct cns_vector_file *file_new(void) {
  struct cns_vector_file *file = calloc(1, sizeof(*file));
  if (!file) return NULL;
  file->fd = -1;
  file->seed = sodium_malloc(sizeof(*file->seed));
  if (!file->seed) {
    free(file);
    return NULL;
  }
  return file;
}

struct cns_vector_file *cns_vector_file_free(struct cns_vector_file *file) {
  if (!file) return NULL;
  if (file->fd >= 0) close(file->fd);
  sodium_free(file->seed);
  free(file->path);
  free(file);
  return NULL;
}

/* Where the file system can't, the size alone is set. */
static int reserve(int fd, uint64_t bytes) {
  int failed = cns_folder_reserve(fd, bytes);
  if (failed != EOPNOTSUPP) return failed;
  return ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
}

/* Written beside and moved: a file by the final name is complete. link fails
 * where rename would replace another. */
static int write_new(struct cns_vector_file *file, const char *name, const char *beside, const uint8_t *key,
                     struct cns_problem *problem) {
  if (unlink(beside) != 0 && errno != ENOENT)
    return cns_folder_fail(errno, beside, "removing a leftover", problem);
  file->fd = open(beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file->fd < 0) return cns_folder_fail(errno, beside, "creating it", problem);
  uint8_t header[HEADER_BYTES];
  int error = make_header(name, file->words, key, file->seed, header);
  if (error) return error;
  int failed = reserve(file->fd, HEADER_BYTES + 4 * file->words);
  if (!failed) failed = cns_file_write_at(file->fd, header, sizeof(header), 0);
  if (!failed && fsync(file->fd) != 0) failed = errno;
  if (!failed && link(beside, file->path) != 0) failed = errno;
  if (failed) return cns_folder_fail(failed, file->path, "creating an uploaded vector's file", problem);
  if (unlink(beside) != 0) return cns_folder_fail(errno, beside, "removing a leftover", problem);
  return cns_folder_sync_parent(file->path, problem);
}

int cns_vector_file_create(const char *folder, const char *name, uint64_t words,
                           const uint8_t key[static CNS_VECTOR_FILE_KEY_BYTES],
                           struct cns_vector_file **ret_file, struct cns_problem *problem) {
  if (words < 1 || words > CNS_VECTOR_FILE_WORDS_MAX)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "vector file: a length of %llu is out of range",
                           (unsigned long long)words);
  struct cns_vector_file *file = file_new();
  if (!file) return CNS_ERR_MEMORY;
  file->words = words;
  char *beside = NULL;
  int error = make_path(folder, name, SUFFIX, &file->path, problem);
  if (!error) error = make_path(folder, name, SUFFIX ".new", &beside, problem);
  if (!error) error = cns_rng_fill(cns_rng_system(), file->seed->bytes, sizeof(file->seed->bytes));
  if (!error) {
    error = write_new(file, name, beside, key, problem);
    if (error) (void)unlink(beside); /* the next creation tries again */
  }
  free(beside);
  if (error) {
    cns_vector_file_free(file);
    return error;
  }
  *ret_file = file;
  return 0;
}

int cns_vector_file_open(const char *folder, const char *name,
                         const uint8_t key[static CNS_VECTOR_FILE_KEY_BYTES],
                         struct cns_vector_file **ret_file, struct cns_problem *problem) {
  struct cns_vector_file *file = file_new();
  if (!file) return CNS_ERR_MEMORY;
  int error = make_path(folder, name, SUFFIX, &file->path, problem);
  if (!error) {
    file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file->fd < 0) error = cns_folder_fail(errno, file->path, "opening it", problem);
  }
  if (!error) error = read_header(file, name, key, problem);
  if (error) {
    cns_vector_file_free(file);
    return error;
  }
  *ret_file = file;
  return 0;
}

uint64_t cns_vector_file_words(const struct cns_vector_file *file) {
  return file->words;
}

static int check_range(const struct cns_vector_file *file, uint64_t offset, size_t count,
                       struct cns_problem *problem) {
  if (offset <= file->words && count <= file->words - offset) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE, "%s: elements %llu to %llu are beyond the end (%llu)",
                         file->path, (unsigned long long)offset, (unsigned long long)(offset + count),
                         (unsigned long long)file->words);
}

int cns_vector_file_write(struct cns_vector_file *file, uint64_t offset, const uint32_t *words, size_t count,
                          struct cns_problem *problem) {
  int error = check_range(file, offset, count, problem);
  if (error) return error;
  struct cns_mask_term term = {.seed = *file->seed, .sign = 1};
  struct cns_mask_plan *plan = NULL;
  error = cns_mask_plan_new(&term, 1, &plan);
  cns_wipe(&term, sizeof(term));
  uint32_t block[BLOCK_WORDS];
  while (!error && count > 0) {
    size_t now = count < BLOCK_WORDS ? count : BLOCK_WORDS;
    memcpy(block, words, now * sizeof(*block));
    error = cns_mask_plan_apply(plan, block, now, offset);
    int failed =
        error ? 0 : cns_file_write_at(file->fd, block, now * sizeof(*block), HEADER_BYTES + 4 * offset);
    if (failed) error = cns_folder_fail(failed, file->path, "writing a chunk", problem);
    words += now;
    offset += now;
    count -= now;
  }
  cns_mask_plan_free(plan);
  return error;
}

int cns_vector_file_read(struct cns_vector_file *file, uint64_t offset, size_t count, uint32_t *ret_words,
                         struct cns_problem *problem) {
  int error = check_range(file, offset, count, problem);
  if (error || count == 0) return error;
  struct cns_mask_term term = {.seed = *file->seed, .sign = -1};
  struct cns_mask_plan *plan = NULL;
  error = cns_mask_plan_new(&term, 1, &plan);
  cns_wipe(&term, sizeof(term));
  if (error) return error;
  int failed = cns_file_read_at(file->fd, ret_words, count * sizeof(*ret_words), HEADER_BYTES + 4 * offset);
  if (failed) error = cns_folder_fail(failed, file->path, "reading a chunk", problem);
  if (!error) error = cns_mask_plan_apply(plan, ret_words, count, offset);
  cns_mask_plan_free(plan);
  return error;
}

int cns_vector_file_sync(struct cns_vector_file *file, struct cns_problem *problem) {
  if (fdatasync(file->fd) == 0) return 0;
  return cns_folder_fail(errno, file->path, "syncing it", problem);
}

static void *close_it(void *fd) {
  close((int)(intptr_t)fd);
  return NULL;
}

/* The last one to close a file waits until its blocks are free, a second and more for a gigabyte: not the
 * caller, who may have hospitals waiting. */
static void close_apart(int fd) {
  pthread_attr_t attributes;
  pthread_t thread;
  bool apart = pthread_attr_init(&attributes) == 0;
  bool started = apart && pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                 pthread_create(&thread, &attributes, close_it, (void *)(intptr_t)fd) == 0;
  if (apart) pthread_attr_destroy(&attributes);
  if (!started) close(fd);
}

int cns_vector_file_delete(const char *folder, const char *name, struct cns_problem *problem) {
  char *path = NULL;
  struct stat status = {0};
  int error = make_path(folder, name, SUFFIX, &path, problem);
  if (error) return error;
  int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd >= 0) {
    /* If this write fails the unlink below still goes ahead: a full or failing
     * disk is no reason to keep the file. */
    static const uint8_t zeros[SEALED_AT + SEALED_BYTES];
    if (fstat(fd, &status) == 0 && status.st_size >= HEADER_BYTES &&
        cns_file_write_at(fd, zeros, sizeof(zeros), 0) == 0)
      (void)fdatasync(fd);
  }
  int failed = unlink(path) == 0 ? 0 : errno;
  if (fd >= 0 && status.st_size >= CLOSED_APART_BYTES)
    close_apart(fd);
  else if (fd >= 0)
    close(fd);
  if (!failed)
    error = cns_folder_sync_parent(path, problem);
  else if (failed != ENOENT)
    error = cns_folder_fail(failed, path, "deleting an uploaded vector", problem);
  free(path);
  return error;
}

int cns_vector_file_each(const char *folder, int (*callback)(void *context, const char *name), void *context,
                         struct cns_problem *problem) {
  DIR *stream = opendir(folder);
  if (!stream) return cns_folder_fail(errno, folder, "listing uploaded vectors", problem);
  int error = 0;
  struct dirent *entry;
  while (!error && (entry = readdir(stream))) {
    size_t len = strlen(entry->d_name);
    if (len <= strlen(SUFFIX) || strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) != 0) continue;
    char name[sizeof(entry->d_name)];
    memcpy(name, entry->d_name, len - strlen(SUFFIX));
    name[len - strlen(SUFFIX)] = 0;
    if (name_valid(name)) error = callback(context, name);
  }
  closedir(stream);
  return error;
}
