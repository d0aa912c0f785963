/* SPDX-License-Identifier: Apache-2.0 */
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are mapped as they lie in the file, which is little-endian"
#endif

/* Offsets travel as JSON numbers: whole up to here. */
#define OFFSET_MAX ((int64_t)1 << 53)

struct cns_safetensors {
  struct cns_safetensors_tensor *tensors;
  size_t count;
  cJSON *header;
  const cJSON *metadata; /* in header */
  void *mapping;
  size_t mapping_len;
};

/* A tensor's bytes, for the check that they tile the file. */
struct span {
  uint64_t begin;
  uint64_t end;
  const char *name;
};

static int compare_span(const void *a, const void *b) {
  const struct span *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

/* A whole number from 0 to OFFSET_MAX. */
static bool whole(const cJSON *item, uint64_t *ret_value) {
  if (!cJSON_IsNumber(item)) return false;
  double value = item->valuedouble;
  if (!(value >= 0 && value <= (double)OFFSET_MAX) || value != (double)(int64_t)value) return false;
  *ret_value = (uint64_t)value;
  return true;
}

static int read_shape(const cJSON *json, struct cns_safetensors_tensor *tensor, struct cns_problem *problem) {
  const cJSON *shape, *item;
  uint64_t count = 1;
  int r = cns_json_get_array(json, tensor->name, "shape", &shape, problem);
  if (r < 0) return r;
  if (cJSON_GetArraySize(shape) > CNS_SAFETENSORS_DIMS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "tensor \"%s\" has more than %d dimensions", tensor->name,
                           CNS_SAFETENSORS_DIMS_MAX);
  cJSON_ArrayForEach(item, shape) {
    uint64_t size;
    if (!whole(item, &size) || size == 0 || count > (uint64_t)OFFSET_MAX / size)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "the shape of tensor \"%s\" is not of positive whole numbers", tensor->name);
    count *= size;
    tensor->shape[tensor->shape_count++] = size;
  }
  tensor->count = count;
  return 0;
}

/* data: the bytes behind the header. */
static int read_tensor(const cJSON *json, const uint8_t *data, size_t data_len,
                       struct cns_safetensors_tensor *tensor, struct span *span,
                       struct cns_problem *problem) {
  static const char *const names[] = {"dtype", "shape", "data_offsets", NULL};
  const cJSON *offsets;
  const char *dtype;
  int r = cns_json_only(json, tensor->name, names, problem);
  if (r == 0) r = cns_json_get_string(json, tensor->name, "dtype", 16, &dtype, problem);
  if (r < 0) return r;
  if (strcmp(dtype, "F32") != 0)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "tensor \"%s\" is not of type F32; convert the model to 32-bit floats",
                           tensor->name);
  r = read_shape(json, tensor, problem);
  if (r == 0) r = cns_json_get_array(json, tensor->name, "data_offsets", &offsets, problem);
  if (r < 0) return r;
  span->name = tensor->name;
  if (cJSON_GetArraySize(offsets) != 2 || !whole(cJSON_GetArrayItem(offsets, 0), &span->begin) ||
      !whole(cJSON_GetArrayItem(offsets, 1), &span->end) || span->begin > span->end)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "the offsets of tensor \"%s\" are not two rising whole numbers", tensor->name);
  if (span->end > data_len)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" reaches beyond the end of the file",
                           tensor->name);
  if (span->end - span->begin != tensor->count * sizeof(float))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" has another size than its shape says",
                           tensor->name);
  if (((uintptr_t)data + span->begin) % sizeof(float) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" is not aligned to 4 bytes", tensor->name);
  tensor->data = (const float *)(const void *)(data + span->begin);
  return 0;
}

static int check_tiling(struct span *spans, size_t count, size_t data_len, struct cns_problem *problem) {
  uint64_t end = 0;
  qsort(spans, count, sizeof *spans, compare_span);
  for (size_t i = 0; i < count; i++) {
    if (spans[i].begin < end)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" overlaps another", spans[i].name);
    if (spans[i].begin > end)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "there are unused bytes before tensor \"%s\"",
                             spans[i].name);
    end = spans[i].end;
  }
  if (end != data_len)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "there are unused bytes after the last tensor");
  return 0;
}

static int read_metadata(struct cns_safetensors *file, struct cns_problem *problem) {
  const cJSON *item;
  file->metadata = cJSON_GetObjectItemCaseSensitive(file->header, "__metadata__");
  if (!file->metadata) return 0;
  if (!cJSON_IsObject(file->metadata))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "__metadata__ is not an object");
  cJSON_ArrayForEach(item, file->metadata) {
    if (!cJSON_IsString(item))
      return cns_problem_set(problem, CNS_ERR_FORMAT, "__metadata__ holds something else than strings");
  }
  return 0;
}

static int read_tensors(struct cns_safetensors *file, const uint8_t *data, size_t data_len,
                        struct cns_problem *problem) {
  int r = read_metadata(file, problem);
  if (r < 0) return r;
  int items = cJSON_GetArraySize(file->header) - (file->metadata ? 1 : 0);
  if (items > CNS_SAFETENSORS_TENSORS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "more than %d tensors", CNS_SAFETENSORS_TENSORS_MAX);
  size_t count = (size_t)items;
  file->tensors = calloc(count ? count : 1, sizeof *file->tensors);
  struct span *spans = calloc(count ? count : 1, sizeof *spans);
  if (!file->tensors || !spans) r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  const cJSON *item;
  if (r == 0) cJSON_ArrayForEach(item, file->header) {
      if (item == file->metadata) continue;
      struct cns_safetensors_tensor *tensor = &file->tensors[file->count];
      size_t len = strlen(item->string);
      if (len == 0 || len > CNS_SAFETENSORS_NAME_MAX) {
        r = cns_problem_set(problem, CNS_ERR_LIMIT, "a tensor's name is empty or longer than %d bytes",
                            CNS_SAFETENSORS_NAME_MAX);
        break;
      }
      memcpy(tensor->name, item->string, len + 1);
      r = read_tensor(item, data, data_len, tensor, &spans[file->count], problem);
      if (r < 0) break;
      file->count++;
    }
  if (r == 0) r = check_tiling(spans, count, data_len, problem);
  free(spans);
  return r;
}

static int read_file(struct cns_safetensors *file, const uint8_t *data, size_t len,
                     struct cns_problem *problem) {
  uint64_t header_len = 0;
  if (len < sizeof header_len)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "too short for a safetensors file");
  memcpy(&header_len, data, sizeof header_len);
  if (header_len > CNS_SAFETENSORS_HEADER_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "the header claims more than 8 MiB; is this a safetensors file?");
  if (header_len > len - sizeof header_len)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the file ends within its header");
  int r = cns_json_parse((const char *)data + sizeof header_len, (size_t)header_len, "header", &file->header,
                         problem);
  if (r < 0) return r;
  if (!cJSON_IsObject(file->header))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the header is not a JSON object");
  size_t begin = sizeof header_len + (size_t)header_len;
  return read_tensors(file, data + begin, len - begin, problem);
}

int cns_safetensors_parse(const uint8_t *data, size_t len, const char *where,
                          struct cns_safetensors **ret_file, struct cns_problem *problem) {
  struct cns_safetensors *file = calloc(1, sizeof *file);
  if (!file) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", where);
  int r = read_file(file, data, len, problem);
  if (r < 0) {
    cns_safetensors_free(file);
    return cns_problem_prefix(problem, r, "%s", where);
  }
  *ret_file = file;
  return 0;
}

static int io_problem(const char *path, struct cns_problem *problem) {
  int error = errno == ENOENT ? CNS_ERR_NOT_FOUND : errno == EACCES ? CNS_ERR_PERMISSION : CNS_ERR_IO;
  return cns_problem_set(problem, error, "%s: can't be read: %s", path, strerror(errno));
}

/* Maps the file at path; an empty or non-regular one is refused. */
static int map_file(const char *path, void **ret_mapping, size_t *ret_len, struct cns_problem *problem) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return io_problem(path, problem);
  struct stat status;
  int r = fstat(fd, &status) < 0 ? io_problem(path, problem) : 0;
  if (r == 0 && (!S_ISREG(status.st_mode) || status.st_size == 0))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: %s", path,
                        S_ISREG(status.st_mode) ? "the file is empty" : "not a plain file");
  if (r == 0) {
    void *mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
      r = io_problem(path, problem);
    } else {
      *ret_mapping = mapping;
      *ret_len = (size_t)status.st_size;
    }
  }
  (void)close(fd); /* was only read from */
  return r;
}

int cns_safetensors_open(const char *path, struct cns_safetensors **ret_file, struct cns_problem *problem) {
  void *mapping = NULL;
  size_t len = 0;
  int r = map_file(path, &mapping, &len, problem);
  if (r < 0) return r;
  struct cns_safetensors *file;
  r = cns_safetensors_parse(mapping, len, path, &file, problem);
  if (r < 0) {
    (void)munmap(mapping, len);
    return r;
  }
  file->mapping = mapping;
  file->mapping_len = len;
  *ret_file = file;
  return 0;
}

struct cns_safetensors *cns_safetensors_free(struct cns_safetensors *file) {
  if (!file) return NULL;
  if (file->mapping) (void)munmap(file->mapping, file->mapping_len);
  cJSON_Delete(file->header);
  free(file->tensors);
  free(file);
  return NULL;
}

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
