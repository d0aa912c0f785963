/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])
#define BLOCK                                                                                                \
  ((size_t)1 << 16) /* floats that are loaded and checked at a time, while they are in the cache */

/* ---- lists ---- */

static const struct cns_tensor *find(const struct cns_tensor_list *list, const char *name) {
  for (size_t i = 0; i < list->count; i++)
    if (strcmp(list->tensors[i].name, name) == 0) return &list->tensors[i];
  return NULL;
}

static int check_new(const struct cns_tensor_list *list, const char *name, size_t shape_count,
                     struct cns_problem *problem) {
  size_t len = strlen(name);
  if (len == 0 || len > CNS_SAFETENSORS_NAME_MAX || !cns_text_is_utf8(name))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "a tensor's name is empty, longer than %d bytes, or not UTF-8",
                           CNS_SAFETENSORS_NAME_MAX);
  if (strcmp(name, "__metadata__") == 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "no tensor can be named __metadata__");
  if (find(list, name)) return cns_problem_set(problem, CNS_ERR_FORMAT, "two tensors are named \"%s\"", name);
  if (list->count == CNS_SAFETENSORS_TENSORS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "more than %d tensors", CNS_SAFETENSORS_TENSORS_MAX);
  if (shape_count > CNS_SAFETENSORS_DIMS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "tensor \"%s\" has more than %d dimensions", name,
                           CNS_SAFETENSORS_DIMS_MAX);
  return 0;
}

int cns_tensor_list_add(struct cns_tensor_list *list, const char *name, const uint64_t *shape,
                        size_t shape_count, struct cns_problem *problem) {
  int r = check_new(list, name, shape_count, problem);
  if (r < 0) return r;
  struct cns_tensor tensor = {.shape_count = shape_count, .offset = list->dim, .count = 1};
  for (size_t i = 0; i < shape_count; i++) {
    if (shape[i] == 0)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "tensor \"%s\" is empty (0 in its shape)", name);
    if (shape[i] > (CNS_TENSORS_DIM_MAX - list->dim) / tensor.count)
      return cns_problem_set(problem, CNS_ERR_LIMIT,
                             "more than %zu parameters, the most that a model may have, with tensor \"%s\"",
                             CNS_TENSORS_DIM_MAX, name);
    tensor.shape[i] = shape[i];
    tensor.count *= (size_t)shape[i];
  }
  if (list->dim == CNS_TENSORS_DIM_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "more than %zu parameters", CNS_TENSORS_DIM_MAX);
  memcpy(tensor.name, name, strlen(name) + 1);
  if ((list->count & (list->count - 1)) == 0) { /* full at powers of two */
    struct cns_tensor *more = realloc(list->tensors, (list->count ? 2 * list->count : 1) * sizeof *more);
    if (!more) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
    list->tensors = more;
  }
  list->tensors[list->count++] = tensor;
  list->dim += tensor.count;
  return 0;
}

void cns_tensor_list_deinit(struct cns_tensor_list *list) {
  free(list->tensors);
  *list = (struct cns_tensor_list){0};
}

static int compare_offset(const void *a, const void *b) {
  const struct cns_safetensors_tensor *const *x = a, *const *y = b;
  return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

int cns_tensor_list_from_safetensors(const struct cns_safetensors *file, struct cns_tensor_list *ret_list,
                                     struct cns_problem *problem) {
  size_t count = cns_safetensors_count(file);
  struct cns_tensor_list list = {0};
  const struct cns_safetensors_tensor **sorted = calloc(count ? count : 1, sizeof *sorted);
  if (!sorted) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t i = 0; i < count; i++)
    sorted[i] = cns_safetensors_get(file, i);
  qsort(sorted, count, sizeof *sorted, compare_offset);
  int r = count > 0 ? 0 : cns_problem_set(problem, CNS_ERR_FORMAT, "there are no tensors in it");
  for (size_t i = 0; r == 0 && i < count; i++)
    r = cns_tensor_list_add(&list, sorted[i]->name, sorted[i]->shape, sorted[i]->shape_count, problem);
  free(sorted);
  if (r < 0)
    cns_tensor_list_deinit(&list);
  else
    *ret_list = list;
  return r;
}

int cns_tensor_list_read(const char *path, struct cns_tensor_list *ret_list, struct cns_problem *problem) {
  struct cns_safetensors *file = NULL;
  int r = cns_safetensors_open_unmapped(path, &file, problem);
  if (r < 0) return r;
  r = cns_tensor_list_from_safetensors(file, ret_list, problem);
  cns_safetensors_free(file);
  return r < 0 ? cns_problem_prefix(problem, r, "%s", path) : 0;
}

/* ---- in ---- */

static void shape_text(const uint64_t *shape, size_t count, char *out, size_t room) {
  size_t at = 0;
  for (size_t i = 0; i < count && at < room; i++)
    at += (size_t)snprintf(out + at, room - at, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
  if (count == 0) out[0] = '\0';
}

static int check_shape(const struct cns_safetensors_tensor *tensor, const char *where,
                       const struct cns_tensor *wanted, struct cns_problem *problem) {
  char has[96], needs[96];
  if (tensor->shape_count == wanted->shape_count &&
      memcmp(tensor->shape, wanted->shape, wanted->shape_count * sizeof *wanted->shape) == 0)
    return 0;
  shape_text(tensor->shape, tensor->shape_count, has, sizeof has);
  shape_text(wanted->shape, wanted->shape_count, needs, sizeof needs);
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: tensor \"%s\" has another shape than the model's: [%s], not [%s]", where,
                         wanted->name, has, needs);
}

int cns_tensors_check(const struct cns_safetensors *file, const char *where,
                      const struct cns_tensor_list *list, struct cns_problem *problem) {
  for (size_t i = 0; i < list->count; i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_find(file, list->tensors[i].name);
    if (!tensor)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the model has a tensor \"%s\", the file has not",
                             where, list->tensors[i].name);
    int r = check_shape(tensor, where, &list->tensors[i], problem);
    if (r < 0) return r;
  }
  /* All of the list's are there, and no name comes twice: what is left over is additional. */
  for (size_t i = 0; cns_safetensors_count(file) != list->count && i < cns_safetensors_count(file); i++)
    if (!find(list, cns_safetensors_get(file, i)->name))
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s: the file has a tensor \"%s\", the model has not; leave it out", where,
                             cns_safetensors_get(file, i)->name);
  return 0;
}

static int check_finite(const float *values, size_t count, const char *where, const char *name, size_t first,
                        struct cns_problem *problem) {
  for (size_t k = 0; k < count; k++)
    if (!isfinite(values[k]))
      return cns_problem_set(problem, CNS_ERR_RANGE, "%s: number %zu of tensor \"%s\" is not finite", where,
                             first + k, name);
  return 0;
}

/* Before anything is written to the output. */
static int check_in_memory(const struct cns_safetensors *file, const char *where,
                           const struct cns_safetensors_tensor *tensor, struct cns_problem *problem) {
  float block[1024];
  if (tensor->data) return check_finite(tensor->data, tensor->count, where, tensor->name, 0, problem);
  for (size_t begin = 0; begin < tensor->count; begin += LENGTH_OF(block)) {
    size_t left = tensor->count - begin, count = left < LENGTH_OF(block) ? left : LENGTH_OF(block);
    int r = cns_safetensors_load(file, tensor, begin, count, block, problem);
    if (r == 0) r = check_finite(block, count, where, tensor->name, begin, problem);
    if (r < 0) return r;
  }
  return 0;
}

static int load_tensor(const struct cns_safetensors *file, const char *where,
                       const struct cns_safetensors_tensor *tensor, float *out, struct cns_problem *problem) {
  for (size_t begin = 0; begin < tensor->count; begin += BLOCK) {
    size_t count = tensor->count - begin < BLOCK ? tensor->count - begin : BLOCK;
    int r = cns_safetensors_load(file, tensor, begin, count, out + begin, problem);
    if (r == 0) r = check_finite(out + begin, count, where, tensor->name, begin, problem);
    if (r < 0) return r;
  }
  return 0;
}

int cns_tensors_load(const struct cns_safetensors *file, const char *where,
                     const struct cns_tensor_list *list, float *ret_flat, struct cns_problem *problem) {
  int r = cns_tensors_check(file, where, list, problem);
  for (size_t i = 0; r == 0 && i < list->count; i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_find(file, list->tensors[i].name);
    if (tensor->bytes) r = check_in_memory(file, where, tensor, problem);
  }
  for (size_t i = 0; r == 0 && i < list->count; i++)
    r = load_tensor(file, where, cns_safetensors_find(file, list->tensors[i].name),
                    ret_flat + list->tensors[i].offset, problem);
  return r;
}

int cns_tensors_read(const char *path, const struct cns_tensor_list *list, float *ret_flat,
                     struct cns_problem *problem) {
  struct cns_safetensors *file = NULL;
  int r = cns_safetensors_open_unmapped(path, &file, problem);
  if (r < 0) return r;
  r = cns_tensors_load(file, path, list, ret_flat, problem);
  cns_safetensors_free(file);
  return r;
}
