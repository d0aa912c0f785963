/* SPDX-License-Identifier: Apache-2.0 */
#include "model/modelfile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/hash.h"
#include "crypto/json.h"
#include "model/network.h"

#define FILE_MAX (sizeof(float) * CNS_PLAN_DIM_MAX + CNS_SAFETENSORS_HEADER_MAX + 8)

int cns_model_serialize(const struct cns_plan *plan, const float *params,
                        const struct cns_safetensors_pair *metadata, size_t metadata_count,
                        uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem) {
  struct cns_safetensors_tensor tensors[2 * (CNS_PLAN_HIDDEN_MAX + 1)];
  size_t count = cns_plan_tensor_count(plan);
  for (size_t t = 0; t < count; t++) {
    struct cns_plan_tensor from = cns_plan_tensor(plan, t);
    tensors[t] = (struct cns_safetensors_tensor){
        .shape_count = from.shape_count, .count = from.count, .data = params + from.offset};
    tensors[t].shape[0] = from.shape[0];
    tensors[t].shape[1] = from.shape[1];
    memcpy(tensors[t].name, from.name, sizeof from.name);
  }
  return cns_safetensors_serialize(tensors, count, metadata, metadata_count, ret_data, ret_len, problem);
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

static bool shape_fits(const struct cns_safetensors_tensor *tensor, const struct cns_plan_tensor *wanted) {
  if (tensor->shape_count != wanted->shape_count) return false;
  for (size_t i = 0; i < wanted->shape_count; i++)
    if (tensor->shape[i] != wanted->shape[i]) return false;
  return true;
}

/* All of the plan's tensors are there, fit, and are finite. */
static int check_tensors(const struct cns_plan *plan, const struct cns_safetensors *file, const char *where,
                         struct cns_problem *problem) {
  size_t count = cns_plan_tensor_count(plan);
  for (size_t t = 0; t < count; t++) {
    struct cns_plan_tensor wanted = cns_plan_tensor(plan, t);
    const struct cns_safetensors_tensor *tensor = cns_safetensors_find(file, wanted.name);
    if (!tensor)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s: the study's model has a tensor \"%s\", the file has not", where,
                             wanted.name);
    if (!shape_fits(tensor, &wanted))
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s: tensor \"%s\" has another shape than the study's model", where,
                             wanted.name);
    for (size_t k = 0; k < tensor->count; k++)
      if (!isfinite(tensor->data[k]))
        return cns_problem_set(problem, CNS_ERR_RANGE, "%s: number %zu of tensor \"%s\" is not finite", where,
                               k, wanted.name);
  }
  if (cns_safetensors_count(file) != count)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the file has tensors that the study's model has not",
                           where);
  return 0;
}

static int copy_tensors(const struct cns_plan *plan, const struct cns_safetensors *file, const char *where,
                        float *ret_params, struct cns_problem *problem) {
  int r = check_tensors(plan, file, where, problem);
  if (r < 0) return r;
  for (size_t t = 0; t < cns_plan_tensor_count(plan); t++) {
    struct cns_plan_tensor wanted = cns_plan_tensor(plan, t);
    memcpy(ret_params + wanted.offset, cns_safetensors_find(file, wanted.name)->data,
           wanted.count * sizeof(float));
  }
  return 0;
}

int cns_model_read(const struct cns_plan *plan, const char *path, float *ret_params,
                   struct cns_problem *problem) {
  struct cns_safetensors *file;
  int r = cns_safetensors_open(path, &file, problem);
  if (r < 0) return r;
  r = copy_tensors(plan, file, path, ret_params, problem);
  cns_safetensors_free(file);
  return r;
}

int cns_model_parse(const struct cns_plan *plan, const uint8_t *data, size_t len, const char *where,
                    float *ret_params, struct cns_problem *problem) {
  struct cns_safetensors *file;
  int r = cns_safetensors_parse(data, len, where, &file, problem);
  if (r < 0) return r;
  r = copy_tensors(plan, file, where, ret_params, problem);
  cns_safetensors_free(file);
  return r;
}

static int read_initial(const struct cns_plan *plan, const char *path, float *ret_params,
                        struct cns_problem *problem) {
  uint8_t *data, digest[CNS_DIGEST_BYTES];
  size_t len;
  int r = cns_file_read(path, FILE_MAX, &data, &len, problem);
  if (r < 0) return r;
  /* Unkeyed, so that anyone can compare it with b2sum. */
  if (crypto_generichash(digest, sizeof digest, data, len, NULL, 0) != 0)
    r = cns_problem_set(problem, CNS_ERR_LIBRARY, "%s: can't be hashed", path);
  else if (memcmp(digest, plan->initial_digest, sizeof digest) != 0)
    r = cns_problem_set(problem, CNS_ERR_REFUSED,
                        "%s: not the initial model that the study names (another digest)", path);
  else
    r = cns_model_parse(plan, data, len, path, ret_params, problem);
  free(data);
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
