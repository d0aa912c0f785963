/* SPDX-License-Identifier: Apache-2.0 */
#include "model/modelfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"
#include "model/network.h"

#define CONTROL "control."

static int list_tensors(const struct cns_plan *plan, size_t sets, struct cns_tensor_list *ret_list,
                        struct cns_problem *problem) {
  struct cns_tensor_list list = {0};
  size_t count = plan->kind == CNS_MODEL_EXTERNAL ? 0 : cns_plan_tensor_count(plan);
  int r = 0;
  for (size_t t = 0; r == 0 && t < plan->tensors.count; t++) {
    const struct cns_tensor *tensor = &plan->tensors.tensors[t];
    r = cns_tensor_list_add(&list, tensor->name, tensor->shape, tensor->shape_count, problem);
  }
  for (size_t t = 0; r == 0 && t < sets * count; t++) {
    struct cns_plan_tensor tensor = cns_plan_tensor(plan, t % count);
    uint64_t shape[2] = {tensor.shape[0], tensor.shape[1]};
    char name[sizeof CONTROL + sizeof tensor.name];
    snprintf(name, sizeof name, "%s%s", t < count ? "" : CONTROL, tensor.name);
    r = cns_tensor_list_add(&list, name, shape, tensor.shape_count, problem);
  }
  if (r < 0)
    cns_tensor_list_deinit(&list);
  else
    *ret_list = list;
  return r;
}

/* The plan's tensors from params, and again, as the control variate's, if there are two sets. */
static int serialize(const struct cns_plan *plan, const float *params, size_t sets,
                     const struct cns_safetensors_pair *metadata, size_t metadata_count, uint8_t **ret_data,
                     size_t *ret_len, struct cns_problem *problem) {
  struct cns_tensor_list list;
  int r = list_tensors(plan, sets, &list, problem);
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

int cns_model_serialize(const struct cns_plan *plan, const float *params,
                        const struct cns_safetensors_pair *metadata, size_t metadata_count,
                        uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem) {
  return serialize(plan, params, 1, metadata, metadata_count, ret_data, ret_len, problem);
}

int cns_model_serialize_round(const struct cns_plan *plan, const float *model, uint8_t **ret_data,
                              size_t *ret_len, struct cns_problem *problem) {
  return serialize(plan, model, plan->scaffold.steps > 0 ? 2 : 1, NULL, 0, ret_data, ret_len, problem);
}

int cns_tensor_list_of_round(const struct cns_plan *plan, struct cns_tensor_list *ret_list,
                             struct cns_problem *problem) {
  return list_tensors(plan, plan->scaffold.steps > 0 ? 2 : 1, ret_list, problem);
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
  return list_tensors(plan, 1, ret_list, problem);
}

/* The second half of the list is the first one's, again. */
bool cns_tensor_list_drop_control(struct cns_tensor_list *list) {
  size_t half = list->count / 2;
  if (list->count == 0 || list->count % 2) return false;
  for (size_t t = 0; t < half; t++)
    if (strncmp(list->tensors[half + t].name, CONTROL, strlen(CONTROL)) != 0 ||
        strcmp(list->tensors[half + t].name + strlen(CONTROL), list->tensors[t].name) != 0)
      return false;
  list->count = half;
  list->dim /= 2;
  return true;
}

static int load_sets(const struct cns_plan *plan, const struct cns_safetensors *file, const char *where,
                     size_t sets, float *ret_model, struct cns_problem *problem) {
  struct cns_tensor_list list;
  int r = list_tensors(plan, sets, &list, problem);
  if (r < 0) return r;
  r = cns_tensors_load(file, where, &list, ret_model, problem);
  cns_tensor_list_deinit(&list);
  return r;
}

/* The parameters alone, also of a file that a round passed on. */
static int load(const struct cns_plan *plan, const struct cns_safetensors *file, const char *where,
                float *ret_params, struct cns_problem *problem) {
  if (plan->scaffold.steps == 0 || cns_safetensors_count(file) == cns_plan_tensor_count(plan))
    return load_sets(plan, file, where, 1, ret_params, problem);
  float *both = malloc(cns_plan_round_dim(plan) * sizeof *both);
  if (!both) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = load_sets(plan, file, where, 2, both, problem);
  if (r == 0) memcpy(ret_params, both, plan->dim * sizeof *both);
  free(both);
  return r;
}

int cns_model_parse_round(const struct cns_plan *plan, const uint8_t *data, size_t len, const char *where,
                          float *ret_model, struct cns_problem *problem) {
  struct cns_safetensors *file;
  int r = cns_safetensors_parse(data, len, where, &file, problem);
  if (r < 0) return r;
  r = load_sets(plan, file, where, plan->scaffold.steps > 0 ? 2 : 1, ret_model, problem);
  cns_safetensors_free(file);
  return r;
}

int cns_model_initial_round(const struct cns_plan *plan, const char *folder, uint8_t **ret_data,
                            size_t *ret_len, struct cns_problem *problem) {
  float *model = calloc(cns_plan_round_dim(plan), sizeof *model);
  if (!model) return cns_problem_set(problem, CNS_ERR_MEMORY, "not enough memory for the study's model");
  int r = cns_model_initial(plan, folder, model, problem);
  if (r == 0) r = cns_model_serialize_round(plan, model, ret_data, ret_len, problem);
  free(model);
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
