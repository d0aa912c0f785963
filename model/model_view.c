/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/modelfile.h"

/* The first tensor's numbers, if all lie behind them in the list's order; else NULL. */
static const float *in_place(const struct cns_safetensors *file, const struct cns_tensor_list *list) {
  const float *first = NULL;
  for (size_t t = 0; t < list->count; t++) {
    const struct cns_tensor *wanted = &list->tensors[t];
    const struct cns_safetensors_tensor *tensor = cns_safetensors_find(file, wanted->name);
    if (!tensor || !tensor->data) return NULL;
    if (t == 0) first = tensor->data;
    if (tensor->data != first + wanted->offset) return NULL;
  }
  return first;
}

static int check_finite(const float *params, const char *where, const struct cns_tensor_list *list,
                        struct cns_problem *problem) {
  for (size_t t = 0; t < list->count; t++) {
    const struct cns_tensor *tensor = &list->tensors[t];
    for (size_t k = 0; k < tensor->count; k++)
      if (!isfinite(params[tensor->offset + k]))
        return cns_problem_set(problem, CNS_ERR_RANGE, "%s: number %zu of tensor \"%s\" is not finite", where,
                               k, tensor->name);
  }
  return 0;
}

static int view_file(const struct cns_safetensors *file, const char *where,
                     const struct cns_tensor_list *list, struct cns_model_view *ret_view,
                     struct cns_problem *problem) {
  int r = cns_tensors_check(file, where, list, problem);
  if (r < 0) return r;
  const float *params = in_place(file, list);
  float *copy = params ? NULL : malloc(list->dim * sizeof *copy);
  if (!params && !copy)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  r = params ? check_finite(params, where, list, problem)
             : cns_tensors_load(file, where, list, copy, problem);
  if (r < 0) {
    free(copy);
    return r;
  }
  *ret_view = (struct cns_model_view){params ? params : copy, copy};
  return 0;
}

int cns_tensors_view(const uint8_t *data, size_t len, const char *where, const struct cns_tensor_list *list,
                     struct cns_model_view *ret_view, struct cns_problem *problem) {
  struct cns_safetensors *file;
  int r = cns_safetensors_parse(data, len, where, &file, problem);
  if (r < 0) return r;
  r = view_file(file, where, list, ret_view, problem);
  cns_safetensors_free(file);
  return r;
}

int cns_model_view(const struct cns_plan *plan, const uint8_t *data, size_t len, const char *where,
                   struct cns_model_view *ret_view, struct cns_problem *problem) {
  struct cns_tensor_list list;
  int r = cns_tensor_list_of_round(plan, &list, problem);
  if (r < 0) return r;
  r = cns_tensors_view(data, len, where, &list, ret_view, problem);
  cns_tensor_list_deinit(&list);
  return r;
}

void cns_model_view_deinit(struct cns_model_view *view) {
  free(view->copy);
  *view = (struct cns_model_view){0};
}

int cns_tensors_head(const struct cns_tensor_list *list, uint8_t **ret_head, size_t *ret_len,
                     struct cns_problem *problem) {
  uint64_t data_len;
  struct cns_safetensors_tensor *tensors = calloc(list->count ? list->count : 1, sizeof *tensors);
  if (!tensors) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t t = 0; t < list->count; t++) {
    const struct cns_tensor *from = &list->tensors[t];
    tensors[t] = (struct cns_safetensors_tensor){.shape_count = from->shape_count, .count = from->count};
    memcpy(tensors[t].shape, from->shape, sizeof from->shape);
    memcpy(tensors[t].name, from->name, sizeof from->name);
  }
  int r = cns_safetensors_header(tensors, list->count, NULL, 0, ret_head, ret_len, &data_len, problem);
  free(tensors);
  return r;
}

int cns_model_head(const struct cns_plan *plan, uint8_t **ret_head, size_t *ret_len,
                   struct cns_problem *problem) {
  struct cns_tensor_list list;
  int r = cns_tensor_list_of_round(plan, &list, problem);
  if (r < 0) return r;
  r = cns_tensors_head(&list, ret_head, ret_len, problem);
  cns_tensor_list_deinit(&list);
  return r;
}
