/* SPDX-License-Identifier: Apache-2.0 */
#include "model/modelfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"
#include "model/network.h"

int cns_model_serialize(const struct cns_plan *plan, const float *params,
                        const struct cns_safetensors_pair *metadata, size_t metadata_count,
                        uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem) {
  struct cns_tensor_list list;
  int r = cns_tensor_list_from_plan(plan, &list, problem);
  if (r < 0) return r;
  struct cns_safetensors_tensor *tensors = calloc(list.count, sizeof *tensors);
  if (!tensors) r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t t = 0; r == 0 && t < list.count; t++) {
    const struct cns_tensor *from = &list.tensors[t];
    tensors[t] = (struct cns_safetensors_tensor){
        .shape_count = from->shape_count, .count = from->count, .data = params + from->offset};
    memcpy(tensors[t].shape, from->shape, sizeof from->shape);
    memcpy(tensors[t].name, from->name, sizeof from->name);
  }
  if (r == 0)
    r = cns_safetensors_serialize(tensors, list.count, metadata, metadata_count, ret_data, ret_len, problem);
  free(tensors);
  cns_tensor_list_deinit(&list);
  return r;
}

int cns_model_write(const struct cns_plan *plan, const float *params,
                    const struct cns_safetensors_pair *metadata, size_t metadata_count, const char *path,
                    unsigned mode, struct cns_problem *problem) {
  uint8_t *data;
  size_t len;
  int r = cns_model_serialize(plan, params, metadata, metadata_count, &data, &len, problem);
  if (r < 0) return r;
  r = cns_file_write(path, data, len, mode, problem);
  free(data);
  return r;
}

int cns_tensor_list_from_plan(const struct cns_plan *plan, struct cns_tensor_list *ret_list,
                              struct cns_problem *problem) {
  struct cns_tensor_list list = {0};
  int r = 0;
  for (size_t t = 0; r == 0 && t < plan->tensors.count; t++) {
    const struct cns_tensor *tensor = &plan->tensors.tensors[t];
    r = cns_tensor_list_add(&list, tensor->name, tensor->shape, tensor->shape_count, problem);
  }
  for (size_t t = 0; r == 0 && plan->kind != CNS_MODEL_EXTERNAL && t < cns_plan_tensor_count(plan); t++) {
    struct cns_plan_tensor tensor = cns_plan_tensor(plan, t);
    uint64_t shape[2] = {tensor.shape[0], tensor.shape[1]};
    r = cns_tensor_list_add(&list, tensor.name, shape, tensor.shape_count, problem);
  }
  if (r < 0)
    cns_tensor_list_deinit(&list);
  else
    *ret_list = list;
  return r;
}

static int load(const struct cns_plan *plan, const struct cns_safetensors *file, const char *where,
                float *ret_params, struct cns_problem *problem) {
  struct cns_tensor_list list;
  int r = cns_tensor_list_from_plan(plan, &list, problem);
  if (r < 0) return r;
  r = cns_tensors_load(file, where, &list, ret_params, problem);
  cns_tensor_list_deinit(&list);
  return r;
}

int cns_model_read(const struct cns_plan *plan, const char *path, float *ret_params,
                   struct cns_problem *problem) {
  struct cns_safetensors *file;
  int r = cns_safetensors_open(path, &file, problem);
  if (r < 0) return r;
  r = load(plan, file, path, ret_params, problem);
  cns_safetensors_free(file);
  return r;
}

int cns_model_parse(const struct cns_plan *plan, const uint8_t *data, size_t len, const char *where,
                    float *ret_params, struct cns_problem *problem) {
  struct cns_safetensors *file;
  int r = cns_safetensors_parse(data, len, where, &file, problem);
  if (r < 0) return r;
  r = load(plan, file, where, ret_params, problem);
  cns_safetensors_free(file);
  return r;
}

static int read_initial(const struct cns_plan *plan, const char *path, float *ret_params,
                        struct cns_problem *problem) {
  struct cns_safetensors *file = NULL;
  int r = cns_safetensors_open_digest(path, plan->initial_digest, &file, problem);
  if (r == CNS_ERR_REFUSED)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s: not the initial model that the study names (another digest)", path);
  if (r < 0) return r;
  r = load(plan, file, path, ret_params, problem);
  cns_safetensors_free(file);
  return r;
}

int cns_model_initial(const struct cns_plan *plan, const char *folder, float *ret_params,
                      struct cns_problem *problem) {
  if (!plan->initial_from_file) {
    int r = cns_network_init(plan, plan->initial_seed, ret_params);
    return r < 0 ? cns_problem_set(problem, r, "the initial model can't be drawn") : 0;
  }
  char *path;
  if (asprintf(&path, "%s/%s", folder, plan->initial_file) < 0)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = read_initial(plan, path, ret_params, problem);
  free(path);
  return r;
}
