/* SPDX-License-Identifier: Apache-2.0 */
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/foreign.h"
#include "model/safetensors_internal.h"

#define LENGTH_BYTES sizeof(uint64_t)

static int out_of_memory(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

static struct cns_safetensors *new_file(void) {
  struct cns_safetensors *file = calloc(1, sizeof *file);
  if (file) file->fd = -1;
  return file;
}

/* ---- the length in front ---- */

/* head: the first bytes, at least the first 9 or all. Not a safetensors file? Then perhaps another known one.
 */
static int read_length(const uint8_t *head, size_t head_len, uint64_t file_len, size_t *ret_header_len,
                       struct cns_problem *problem) {
  uint64_t header_len = 0;
  int r = 0;
  memcpy(&header_len, head, head_len < LENGTH_BYTES ? head_len : LENGTH_BYTES);
  if (file_len < LENGTH_BYTES)
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "too short for a safetensors file");
  else if (header_len > CNS_SAFETENSORS_HEADER_MAX)
    r = cns_problem_set(problem, CNS_ERR_LIMIT,
                        "the header claims more than 8 MiB; is this a safetensors file?");
  else if (header_len > file_len - LENGTH_BYTES)
    r = cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "the file ends within its header; was it copied whole, and is it a safetensors file?");
  else if (header_len == 0 || (head_len > LENGTH_BYTES && head[LENGTH_BYTES] != '{'))
    r = cns_problem_set(problem, CNS_ERR_FORMAT,
                        "the header is not a JSON object that begins with {; is this a safetensors file?");
  if (r < 0) return cns_foreign_refuse(head, head_len, r, problem);
  *ret_header_len = (size_t)header_len;
  return 0;
}

/* ---- in memory ---- */

static int read_bytes(struct cns_safetensors *file, const uint8_t *data, size_t len,
                      struct cns_problem *problem) {
  size_t header_len = 0;
  int r = read_length(data, len, len, &header_len, problem);
  if (r < 0) return r;
  r = cns_safetensors_read_header(file, (const char *)data + LENGTH_BYTES, header_len, len, problem);
  for (size_t i = 0; r == 0 && i < file->count; i++) {
    struct cns_safetensors_tensor *tensor = &file->tensors[i];
    tensor->bytes = data + tensor->offset;
    /* Others' headers needn't be padded. */
    if (tensor->dtype == CNS_DTYPE_F32 && (uintptr_t)tensor->bytes % sizeof(float) == 0)
      tensor->data = tensor->bytes;
  }
  return r;
}

int cns_safetensors_parse(const uint8_t *data, size_t len, const char *where,
                          struct cns_safetensors **ret_file, struct cns_problem *problem) {
  struct cns_safetensors *file = new_file();
  int r = file ? read_bytes(file, data, len, problem) : out_of_memory(problem);
  if (r < 0) {
    cns_safetensors_free(file);
    return cns_problem_prefix(problem, r, "%s", where);
  }
  *ret_file = file;
  return 0;
}

/* ---- files ---- */

/* An empty file or one that isn't plain is refused. */
static int open_plain(const char *path, int *ret_fd, size_t *ret_len, struct cns_problem *problem) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return cns_file_read_failed(path, errno, problem);
  struct stat status;
  int r = fstat(fd, &status) < 0 ? cns_file_read_failed(path, errno, problem) : 0;
  if (r == 0 && (!S_ISREG(status.st_mode) || status.st_size == 0))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: %s", path,
                        S_ISREG(status.st_mode) ? "the file is empty" : "not a plain file");
  if (r < 0) {
    (void)close(fd);
    return r;
  }
  *ret_fd = fd;
  *ret_len = (size_t)status.st_size;
  return 0;
}

static int check_digest(const void *data, size_t len, const uint8_t *digest, const char *path,
                        struct cns_problem *problem) {
  uint8_t found[CNS_DIGEST_BYTES];
  if (crypto_generichash(found, sizeof found, data, len, NULL, 0) != 0)
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "%s: can't be hashed", path);
  if (memcmp(found, digest, sizeof found) == 0) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED, "%s: is another file than is meant: its digest differs",
                         path);
}

/* digest may be NULL. */
static int open_mapped(const char *path, const uint8_t *digest, struct cns_safetensors **ret_file,
                       struct cns_problem *problem) {
  size_t len = 0;
  int fd = -1, r = open_plain(path, &fd, &len, problem);
  if (r < 0) return r;
  void *mapping = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapping == MAP_FAILED) r = cns_file_read_failed(path, errno, problem);
  (void)close(fd); /* was only read from */
  if (r < 0) return r;
  struct cns_safetensors *file = NULL;
  if (digest) r = check_digest(mapping, len, digest, path, problem);
  if (r == 0) r = cns_safetensors_parse(mapping, len, path, &file, problem);
  if (r < 0) {
    (void)munmap(mapping, len);
    return r;
  }
  file->mapping = mapping;
  file->mapping_len = len;
  *ret_file = file;
  return 0;
}

int cns_safetensors_open(const char *path, struct cns_safetensors **ret_file, struct cns_problem *problem) {
  return open_mapped(path, NULL, ret_file, problem);
}

int cns_safetensors_open_digest(const char *path, const uint8_t digest[static CNS_DIGEST_BYTES],
                                struct cns_safetensors **ret_file, struct cns_problem *problem) {
  return open_mapped(path, digest, ret_file, problem);
}

static int read_start(struct cns_safetensors *file, size_t len, struct cns_problem *problem) {
  uint8_t head[CNS_FOREIGN_HEAD_BYTES];
  size_t head_len = len < sizeof head ? len : sizeof head, header_len = 0;
  int r = cns_file_load_at(file->fd, file->path, head, head_len, 0, problem);
  if (r < 0) return r;
  r = read_length(head, head_len, len, &header_len, problem);
  if (r < 0) return cns_problem_prefix(problem, r, "%s", file->path);
  char *header = malloc(header_len);
  if (!header) return cns_problem_prefix(problem, out_of_memory(problem), "%s", file->path);
  r = cns_file_load_at(file->fd, file->path, header, header_len, LENGTH_BYTES, problem);
  if (r == 0) {
    r = cns_safetensors_read_header(file, header, header_len, len, problem);
    if (r < 0) r = cns_problem_prefix(problem, r, "%s", file->path);
  }
  free(header);
  return r;
}

static int open_unmapped(const char *path, bool floats_only, struct cns_safetensors **ret_file,
                         struct cns_problem *problem) {
  size_t len = 0;
  struct cns_safetensors *file = new_file();
  if (!file || !(file->path = strdup(path))) {
    cns_safetensors_free(file);
    return cns_problem_prefix(problem, out_of_memory(problem), "%s", path);
  }
  file->floats_only = floats_only;
  int r = open_plain(path, &file->fd, &len, problem);
  if (r == 0) r = read_start(file, len, problem);
  if (r < 0)
    cns_safetensors_free(file);
  else
    *ret_file = file;
  return r;
}

int cns_safetensors_open_unmapped(const char *path, struct cns_safetensors **ret_file,
                                  struct cns_problem *problem) {
  return open_unmapped(path, false, ret_file, problem);
}

int cns_safetensors_open_floats(const char *path, struct cns_safetensors **ret_file,
                                struct cns_problem *problem) {
  return open_unmapped(path, true, ret_file, problem);
}

size_t cns_safetensors_passed_over(const struct cns_safetensors *file) {
  return file->passed_over;
}

struct cns_safetensors *cns_safetensors_free(struct cns_safetensors *file) {
  if (!file) return NULL;
  if (file->mapping) (void)munmap(file->mapping, file->mapping_len);
  if (file->fd >= 0) (void)close(file->fd);
  cJSON_Delete(file->header);
  free(file->tensors);
  free(file->path);
  free(file);
  return NULL;
}

/* ---- what is in it ---- */

size_t cns_safetensors_count(const struct cns_safetensors *file) {
  return file->count;
}

const struct cns_safetensors_tensor *cns_safetensors_get(const struct cns_safetensors *file, size_t index) {
  return index < file->count ? &file->tensors[index] : NULL;
}

const struct cns_safetensors_tensor *cns_safetensors_find(const struct cns_safetensors *file,
                                                          const char *name) {
  for (size_t i = 0; i < file->count; i++)
    if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
  return NULL;
}

/* F32 straight to where it belongs, the others through the upper half of that place: a number
 * is read before its place is written, from the first on. */
static int load_from_disk(const struct cns_safetensors *file, const struct cns_safetensors_tensor *tensor,
                          size_t begin, size_t count, float *out, struct cns_problem *problem) {
  size_t bytes = cns_dtype_bytes(tensor->dtype), len = count * bytes;
  uint8_t *place = (uint8_t *)out + (count * sizeof *out - len);
  int r = cns_file_load_at(file->fd, file->path, place, len, tensor->offset + begin * bytes, problem);
  if (r == 0 && tensor->dtype != CNS_DTYPE_F32) cns_dtype_decode(tensor->dtype, place, count, out);
  return r;
}

int cns_safetensors_load(const struct cns_safetensors *file, const struct cns_safetensors_tensor *tensor,
                         size_t begin, size_t count, float *ret_values, struct cns_problem *problem) {
  if (begin > tensor->count || count > tensor->count - begin) return CNS_ERR_ARGUMENT;
  if (!tensor->bytes) return load_from_disk(file, tensor, begin, count, ret_values, problem);
  const uint8_t *from = (const uint8_t *)tensor->bytes + begin * cns_dtype_bytes(tensor->dtype);
  cns_dtype_decode(tensor->dtype, from, count, ret_values);
  return 0;
}

const char *cns_safetensors_metadata(const struct cns_safetensors *file, const char *key) {
  const cJSON *item = file->metadata ? cJSON_GetObjectItemCaseSensitive(file->metadata, key) : NULL;
  return item ? item->valuestring : NULL;
}

size_t cns_safetensors_metadata_count(const struct cns_safetensors *file) {
  return file->metadata ? (size_t)cJSON_GetArraySize(file->metadata) : 0;
}

struct cns_safetensors_pair cns_safetensors_metadata_at(const struct cns_safetensors *file, size_t index) {
  const cJSON *item = cJSON_GetArrayItem(file->metadata, (int)index);
  return (struct cns_safetensors_pair){.key = item->string, .value = item->valuestring};
}
