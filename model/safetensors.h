/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors, F32 only: u64 length, JSON header, then the tensors' bytes.
 * Reading refuses everything a hostile file could do: header longer than the
 * file or than 8 MiB, duplicate names, another dtype, a shape that doesn't fit
 * its offsets, tensors that overlap, leave a gap, or end before the file does.
 */
#pragma once

#include "crypto/base.h"

#define CNS_SAFETENSORS_TENSORS_MAX 4096
#define CNS_SAFETENSORS_NAME_MAX 200
#define CNS_SAFETENSORS_DIMS_MAX 8
#define CNS_SAFETENSORS_HEADER_MAX (8u << 20)
#define CNS_SAFETENSORS_METADATA_MAX 256

struct cns_safetensors_tensor {
  char name[CNS_SAFETENSORS_NAME_MAX + 1];
  uint64_t shape[CNS_SAFETENSORS_DIMS_MAX];
  size_t shape_count; /* 0: a single number */
  size_t count;
  const float *data; /* aligned; into the file's mapping when read */
};

struct cns_safetensors_pair {
  const char *key;
  const char *value;
};

struct cns_safetensors; /* an open file */

/* Maps a file. The file must not be truncated by others while open (files that
 * this project writes are replaced whole, never changed in place). */
CNS_MUST_CHECK int cns_safetensors_open(const char *path, struct cns_safetensors **ret_file,
                                        struct cns_problem *problem);
/* The same on bytes in memory, which must outlive the object and be aligned to 8. */
CNS_MUST_CHECK int cns_safetensors_parse(const uint8_t *data, size_t len, const char *where,
                                         struct cns_safetensors **ret_file, struct cns_problem *problem);
struct cns_safetensors *cns_safetensors_free(struct cns_safetensors *file);

size_t cns_safetensors_count(const struct cns_safetensors *file);
const struct cns_safetensors_tensor *cns_safetensors_get(const struct cns_safetensors *file, size_t index);
const struct cns_safetensors_tensor *cns_safetensors_find(const struct cns_safetensors *file,
                                                          const char *name);
/* NULL if there is none of that name. */
const char *cns_safetensors_metadata(const struct cns_safetensors *file, const char *key);
size_t cns_safetensors_metadata_count(const struct cns_safetensors *file);
/* In the file's order; index is below the count. Both live as long as the file. */
struct cns_safetensors_pair cns_safetensors_metadata_at(const struct cns_safetensors *file, size_t index);

/* malloc'd bytes of a file, tensors in the given order; header padded with
 * spaces to a multiple of 8. */
CNS_MUST_CHECK int cns_safetensors_serialize(const struct cns_safetensors_tensor *tensors, size_t count,
                                             const struct cns_safetensors_pair *metadata,
                                             size_t metadata_count, uint8_t **ret_data, size_t *ret_len,
                                             struct cns_problem *problem);
