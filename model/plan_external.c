/* SPDX-License-Identifier: Apache-2.0 */
#include "model/plan_external.h"

#include <stdlib.h>
#include <string.h>

bool cns_plan_names_table(const cJSON *json) {
  const cJSON *model = cJSON_GetObjectItemCaseSensitive(json, "model");
  const cJSON *kind = cJSON_GetObjectItemCaseSensitive(model, "kind");
  if (!cJSON_IsString(kind) || strcmp(kind->valuestring, "external") != 0) return true;
  return cns_json_has(json, "label") || cns_json_has(json, "patient_id") || cns_json_has(json, "features");
}

static int compare_name(const void *a, const void *b) {
  const cJSON *const *x = a, *const *y = b;
  return strcmp((*x)->string, (*y)->string);
}

static int add_tensor(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  uint64_t shape[CNS_SAFETENSORS_DIMS_MAX];
  size_t count = 0;
  const cJSON *item;
  if (!cJSON_IsArray(json) || cJSON_GetArraySize(json) > CNS_SAFETENSORS_DIMS_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "\"%.100s\" must be an array of at most %d sizes",
                           json->string, CNS_SAFETENSORS_DIMS_MAX);
  cJSON_ArrayForEach(item, json) {
    double size = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (!(size >= 1 && size <= (double)CNS_PLAN_DIM_MAX && size == (double)(uint64_t)size))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "\"%.100s\" has a size that is not a whole number from 1 to %zu", json->string,
                             CNS_PLAN_DIM_MAX);
    shape[count++] = (uint64_t)size;
  }
  return cns_tensor_list_add(&plan->tensors, json->string, shape, count, problem);
}

/* In an order of their own: the fields of an object have none. */
int cns_plan_parse_tensors(const cJSON *model, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"kind", "tensors", NULL};
  const cJSON *tensors, *item, **sorted;
  size_t count = 0;
  int r = cns_json_only(model, "model", names, problem);
  if (r == 0) r = cns_json_get_object(model, "model", "tensors", &tensors, problem);
  if (r < 0) return r;
  int size = cJSON_GetArraySize(tensors);
  if (size < 1 || size > CNS_SAFETENSORS_TENSORS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "model.tensors has %d entries, but must have 1 to %d",
                           size, CNS_SAFETENSORS_TENSORS_MAX);
  sorted = calloc((size_t)size, sizeof *sorted);
  if (!sorted) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  cJSON_ArrayForEach(item, tensors) sorted[count++] = item;
  qsort(sorted, count, sizeof *sorted, compare_name);
  for (size_t k = 0; r == 0 && k < count; k++)
    r = add_tensor(sorted[k], plan, problem);
  free(sorted);
  plan->dim = plan->tensors.dim;
  return r < 0 ? cns_problem_prefix(problem, r, "model.tensors") : 0;
}

int cns_plan_check_external(const struct cns_plan *plan, struct cns_problem *problem) {
  if (plan->kind != CNS_MODEL_EXTERNAL) return 0;
  if (!plan->initial_from_file)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "initial_model must name a file: an external model can't be drawn from a seed");
  if (plan->scaffold.steps > 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "training.scaffold is for the built-in trainer: each of its steps is corrected by "
                           "what hospital and federation remember, and a command's steps can't be");
  if (!plan->has_table && plan->validation_share > 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "validation_share must be 0 in a study without a table: which patients are set "
                           "aside is up to the hospitals' commands");
  return 0;
}

int cns_plan_check_built_in(const struct cns_plan *plan, struct cns_problem *problem) {
  if (plan->kind != CNS_MODEL_EXTERNAL) return 0;
  return cns_problem_set(
      problem, CNS_ERR_UNSUPPORTED,
      "the model of study \"%s\" is external: its tensors are known here, but not how they "
      "are computed with; export it and use the program that it was made for",
      plan->name);
}
