/* SPDX-License-Identifier: Apache-2.0 */
/* What a file says about itself, and whether that can be (model/safetensors_internal.h). */
#include <stdlib.h>
#include <string.h>

#include "model/safetensors_internal.h"

/* Offsets travel as JSON numbers: whole up to here. */
#define OFFSET_MAX ((int64_t)1 << 53)
/* More JSON values than any file of ours or others' needs would be parsed into many times the
 * header's own bytes: a tensor has 4 and one a dimension. */
#define VALUES_MAX ((size_t)(8 + CNS_SAFETENSORS_DIMS_MAX) * CNS_SAFETENSORS_TENSORS_MAX)

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

/* Bytes of a number of a type that holds whole numbers or booleans, 0 for any other type. */
static size_t integer_bytes(const char *dtype) {
  static const struct {
    const char *name;
    size_t bytes;
  } types[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2},
               {"U32", 4},  {"I32", 4}, {"U64", 8}, {"I64", 8}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (strcmp(types[i].name, dtype) == 0) return types[i].bytes;
  return 0;
}

/* ret_bytes: of a number. ret_passed: it is no tensor of floats, and is passed over. */
static int read_dtype(const struct cns_safetensors *file, const cJSON *json,
                      struct cns_safetensors_tensor *tensor, size_t *ret_bytes, bool *ret_passed,
                      struct cns_problem *problem) {
  const char *dtype;
  int r = cns_json_get_string(json, tensor->name, "dtype", 16, &dtype, problem);
  if (r < 0) return r;
  *ret_bytes = integer_bytes(dtype);
  *ret_passed = file->floats_only && *ret_bytes > 0;
  if (*ret_passed) return 0;
  if (cns_dtype_from_name(dtype, &tensor->dtype) == 0) {
    *ret_bytes = cns_dtype_bytes(tensor->dtype);
    return 0;
  }
  return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                         "tensor \"%s\" is of type %s; F32, F16 and BF16 are read: %s", tensor->name, dtype,
                         *ret_bytes ? "whole numbers are no parameters, leave it out"
                                    : "convert it to 32-bit floats");
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
    if (!whole(item, &size))
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "the shape of tensor \"%s\" is not of whole numbers from 1 on", tensor->name);
    if (size == 0)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" is empty (0 in its shape): leave it out",
                             tensor->name);
    if (count > (uint64_t)OFFSET_MAX / size)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "the shape of tensor \"%s\" means more numbers than any file can hold",
                             tensor->name);
    count *= size;
    tensor->shape[tensor->shape_count++] = size;
  }
  tensor->count = count;
  return 0;
}

static int read_offsets(const cJSON *json, uint64_t data_len, size_t number_bytes,
                        struct cns_safetensors_tensor *tensor, struct span *span,
                        struct cns_problem *problem) {
  const cJSON *offsets;
  int r = cns_json_get_array(json, tensor->name, "data_offsets", &offsets, problem);
  if (r < 0) return r;
  span->name = json->string;
  if (cJSON_GetArraySize(offsets) != 2 || !whole(cJSON_GetArrayItem(offsets, 0), &span->begin) ||
      !whole(cJSON_GetArrayItem(offsets, 1), &span->end) || span->begin > span->end)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "the offsets of tensor \"%s\" are not two rising whole numbers", tensor->name);
  if (span->end > data_len)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "tensor \"%s\" reaches beyond the end of the file; was it copied whole?",
                           tensor->name);
  /* Neither side can overflow: count is at most OFFSET_MAX. */
  if (span->end - span->begin != (uint64_t)tensor->count * number_bytes)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" has another size than its shape says",
                           tensor->name);
  tensor->offset = span->begin;
  return 0;
}

/* ret_passed: the tensor is of no use to us, but has its place in the file. */
static int read_tensor(const struct cns_safetensors *file, const cJSON *json, uint64_t data_len,
                       struct cns_safetensors_tensor *tensor, struct span *span, bool *ret_passed,
                       struct cns_problem *problem) {
  static const char *const names[] = {"dtype", "shape", "data_offsets", NULL};
  size_t bytes = 0;
  if (!cJSON_IsObject(json))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "what the header says of tensor \"%s\" is no object",
                           tensor->name);
  int r = cns_json_only(json, tensor->name, names, problem);
  if (r == 0) r = read_dtype(file, json, tensor, &bytes, ret_passed, problem);
  if (r == 0) r = read_shape(json, tensor, problem);
  return r < 0 ? r : read_offsets(json, data_len, bytes, tensor, span, problem);
}

static int check_tiling(struct span *spans, size_t count, uint64_t data_len, struct cns_problem *problem) {
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

static int take_name(const cJSON *item, struct cns_safetensors_tensor *tensor, struct cns_problem *problem) {
  size_t len = strlen(item->string);
  if (len == 0 || len > CNS_SAFETENSORS_NAME_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "a tensor's name is empty or longer than %d bytes",
                           CNS_SAFETENSORS_NAME_MAX);
  memcpy(tensor->name, item->string, len + 1);
  return 0;
}

/* spans: one for each tensor of the header, also for those that are passed over. */
static int read_each(struct cns_safetensors *file, uint64_t data_len, struct span *spans,
                     struct cns_problem *problem) {
  const cJSON *item;
  cJSON_ArrayForEach(item, file->header) {
    if (item == file->metadata) continue;
    struct cns_safetensors_tensor *tensor = &file->tensors[file->count];
    bool passed = false;
    *tensor = (struct cns_safetensors_tensor){0};
    int r = take_name(item, tensor, problem);
    if (r == 0)
      r = read_tensor(file, item, data_len, tensor, &spans[file->count + file->passed_over], &passed,
                      problem);
    if (r < 0) return r;
    if (passed)
      file->passed_over++;
    else
      file->count++;
  }
  return 0;
}

static int read_tensors(struct cns_safetensors *file, uint64_t data_len, struct cns_problem *problem) {
  int r = read_metadata(file, problem);
  if (r < 0) return r;
  int items = cJSON_GetArraySize(file->header) - (file->metadata ? 1 : 0);
  if (items > CNS_SAFETENSORS_TENSORS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "more than %d tensors", CNS_SAFETENSORS_TENSORS_MAX);
  size_t count = (size_t)items;
  file->tensors = calloc(count ? count : 1, sizeof *file->tensors);
  struct span *spans = calloc(count ? count : 1, sizeof *spans);
  if (!file->tensors || !spans) r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (r == 0) r = read_each(file, data_len, spans, problem);
  if (r == 0) r = check_tiling(spans, count, data_len, problem);
  free(spans);
  return r;
}

/* Commas and opening brackets outside of strings: at least as many as there are values, but one. */
static size_t count_values(const char *text, size_t len) {
  size_t count = 0;
  bool inside = false;
  for (size_t i = 0; i < len; i++) {
    if (inside && text[i] == '\\')
      i++;
    else if (text[i] == '"')
      inside = !inside;
    else if (!inside && (text[i] == ',' || text[i] == '{' || text[i] == '['))
      count++;
  }
  return count;
}

int cns_safetensors_read_header(struct cns_safetensors *file, const char *header, size_t header_len,
                                uint64_t file_len, struct cns_problem *problem) {
  if (count_values(header, header_len) > VALUES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "the header has more values than %d tensors and their metadata need",
                           CNS_SAFETENSORS_TENSORS_MAX);
  int r = cns_json_parse(header, header_len, "header", &file->header, problem);
  if (r < 0) return r;
  if (!cJSON_IsObject(file->header))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the header is not a JSON object");
  uint64_t begin = sizeof(uint64_t) + header_len;
  r = read_tensors(file, file_len - begin, problem);
  for (size_t i = 0; i < file->count; i++)
    file->tensors[i].offset += begin;
  return r;
}
