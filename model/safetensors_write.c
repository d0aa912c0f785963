/* SPDX-License-Identifier: Apache-2.0 */
/* Writing (declared in model/safetensors.h). */
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"
#include "crypto/json.h"
#include "model/safetensors.h"

static int add_metadata(cJSON *header, const struct cns_safetensors_pair *metadata, size_t count) {
  if (count == 0) return 0;
  cJSON *object = cJSON_AddObjectToObject(header, "__metadata__");
  if (!object) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < count; i++) {
    if (cJSON_GetObjectItemCaseSensitive(object, metadata[i].key)) return CNS_ERR_ARGUMENT;
    if (!cJSON_AddStringToObject(object, metadata[i].key, metadata[i].value)) return CNS_ERR_MEMORY;
  }
  return 0;
}

/* Adds the tensor at offset *at and moves it on. */
static int add_tensor(cJSON *header, const struct cns_safetensors_tensor *tensor, uint64_t *at) {
  if (!tensor->name[0] || strcmp(tensor->name, "__metadata__") == 0) return CNS_ERR_ARGUMENT;
  if (cJSON_GetObjectItemCaseSensitive(header, tensor->name)) return CNS_ERR_ARGUMENT;
  if (tensor->shape_count > CNS_SAFETENSORS_DIMS_MAX) return CNS_ERR_ARGUMENT;
  uint64_t count = 1, end;
  cJSON *json = cJSON_AddObjectToObject(header, tensor->name);
  cJSON *dtype = json ? cJSON_AddStringToObject(json, "dtype", cns_dtype_name(tensor->dtype)) : NULL;
  cJSON *shape = dtype ? cJSON_AddArrayToObject(json, "shape") : NULL;
  cJSON *offsets = shape ? cJSON_AddArrayToObject(json, "data_offsets") : NULL;
  if (!offsets) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < tensor->shape_count; i++) {
    if (__builtin_mul_overflow(count, tensor->shape[i], &count)) return CNS_ERR_ARGUMENT;
    if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)tensor->shape[i]))) return CNS_ERR_MEMORY;
  }
  if (count == 0 || count != tensor->count || count > ((uint64_t)1 << 50)) return CNS_ERR_ARGUMENT;
  end = *at + count * cns_dtype_bytes(tensor->dtype);
  if (!cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*at)) ||
      !cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)end)))
    return CNS_ERR_MEMORY;
  *at = end;
  return 0;
}

static int make_header(const struct cns_safetensors_tensor *tensors, size_t count,
                       const struct cns_safetensors_pair *metadata, size_t metadata_count, char **ret_text,
                       uint64_t *ret_data_len) {
  cJSON *header = cJSON_CreateObject();
  uint64_t at = 0;
  int r = header ? add_metadata(header, metadata, metadata_count) : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < count; i++)
    r = add_tensor(header, &tensors[i], &at);
  char *text = r == 0 ? cJSON_PrintUnformatted(header) : NULL;
  cJSON_Delete(header);
  if (r < 0) return r;
  if (!text) return CNS_ERR_MEMORY;
  *ret_text = text;
  *ret_data_len = at;
  return 0;
}

int cns_safetensors_header(const struct cns_safetensors_tensor *tensors, size_t count,
                           const struct cns_safetensors_pair *metadata, size_t metadata_count,
                           uint8_t **ret_head, size_t *ret_len, uint64_t *ret_data_len,
                           struct cns_problem *problem) {
  if (count > CNS_SAFETENSORS_TENSORS_MAX || metadata_count > CNS_SAFETENSORS_METADATA_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "too many tensors or too much metadata for a model file");
  char *header;
  uint64_t data_len;
  int r = make_header(tensors, count, metadata, metadata_count, &header, &data_len);
  if (r < 0) return cns_problem_set(problem, r, "a tensor of the model can't be written to a file");
  size_t header_len = strlen(header), padded = (header_len + 7) / 8 * 8;
  uint8_t *head = padded <= CNS_SAFETENSORS_HEADER_MAX ? malloc(8 + padded) : NULL;
  if (!head) {
    free(header);
    if (padded <= CNS_SAFETENSORS_HEADER_MAX)
      return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory for a model file");
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the header of the model file would exceed 8 MiB");
  }
  cns_store_le64(head, padded);
  memcpy(head + 8, header, header_len);
  memset(head + 8 + header_len, ' ', padded - header_len);
  free(header);
  *ret_head = head;
  *ret_len = 8 + padded;
  *ret_data_len = data_len;
  return 0;
}

int cns_safetensors_serialize(const struct cns_safetensors_tensor *tensors, size_t count,
                              const struct cns_safetensors_pair *metadata, size_t metadata_count,
                              uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem) {
  uint8_t *head;
  size_t at;
  uint64_t data_len;
  for (size_t i = 0; i < count; i++)
    if (tensors[i].dtype != CNS_DTYPE_F32 || !tensors[i].data) return CNS_ERR_ARGUMENT;
  int r = cns_safetensors_header(tensors, count, metadata, metadata_count, &head, &at, &data_len, problem);
  if (r < 0) return r;
  uint8_t *data = realloc(head, at + data_len);
  if (!data) {
    free(head);
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory for a model file");
  }
  for (size_t i = 0; i < count; i++) {
    memcpy(data + at, tensors[i].data, tensors[i].count * sizeof(float));
    at += tensors[i].count * sizeof(float);
  }
  *ret_data = data;
  *ret_len = at;
  return 0;
}
