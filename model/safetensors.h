/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors: u64 length, JSON header, then the tensors' bytes. Numbers are F32,
 * F16 or BF16 in the file and F32 in memory.
 *
 * Reading refuses everything a hostile file could do: a header longer than the
 * file or than 8 MiB or with more values than its tensors need, duplicate names,
 * other dtypes, a shape that doesn't fit its offsets, tensors that overlap, leave a
 * gap, are empty, or end before the file does. Where the reference implementation
 * is more lenient: it takes headers up to 100 MB, tensors without numbers, of any
 * number of dimensions and other dtypes, and unknown fields.
 *
 * What is no safetensors file at all is named by its content where that is known
 * (model/foreign.h): pickles are refused, never looked into.
 */
#pragma once

#include "crypto/base.h"
#include "model/dtype.h"

#define CNS_SAFETENSORS_TENSORS_MAX 4096
#define CNS_SAFETENSORS_NAME_MAX 200
#define CNS_SAFETENSORS_DIMS_MAX 8
#define CNS_SAFETENSORS_HEADER_MAX (8u << 20)
#define CNS_SAFETENSORS_METADATA_MAX 256 /* of what is written */

struct cns_safetensors_tensor {
  char name[CNS_SAFETENSORS_NAME_MAX + 1];
  uint64_t shape[CNS_SAFETENSORS_DIMS_MAX];
  size_t shape_count; /* 0: a single number */
  size_t count;
  enum cns_dtype dtype;
  uint64_t offset;   /* of its first byte, from the beginning of the file */
  const float *data; /* an F32 tensor of a file in memory, aligned; else NULL: cns_safetensors_load */
  const void *bytes; /* of any dtype, at any alignment; NULL if the file isn't in memory */
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
/* The same of a file whose BLAKE2b-256 (unkeyed: `b2sum -l 256`) is known: nothing in it is looked at if it
 * is another, CNS_ERR_REFUSED. */
CNS_MUST_CHECK int cns_safetensors_open_digest(const char *path,
                                               const uint8_t digest[static CNS_DIGEST_BYTES],
                                               struct cns_safetensors **ret_file,
                                               struct cns_problem *problem);
/* Reads the header only and the numbers when they are loaded: for files of other
 * programs, which may still change them. */
CNS_MUST_CHECK int cns_safetensors_open_unmapped(const char *path, struct cns_safetensors **ret_file,
                                                 struct cns_problem *problem);
/* The same, but tensors of whole numbers and booleans, which are counters or indices and no parameters, are
 * passed over, once their places in the file were judged. */
CNS_MUST_CHECK int cns_safetensors_open_floats(const char *path, struct cns_safetensors **ret_file,
                                               struct cns_problem *problem);
/* How many. */
size_t cns_safetensors_passed_over(const struct cns_safetensors *file);
/* cns_safetensors_open on bytes in memory, which must outlive the object. */
CNS_MUST_CHECK int cns_safetensors_parse(const uint8_t *data, size_t len, const char *where,
                                         struct cns_safetensors **ret_file, struct cns_problem *problem);
struct cns_safetensors *cns_safetensors_free(struct cns_safetensors *file);

size_t cns_safetensors_count(const struct cns_safetensors *file);
const struct cns_safetensors_tensor *cns_safetensors_get(const struct cns_safetensors *file, size_t index);
const struct cns_safetensors_tensor *cns_safetensors_find(const struct cns_safetensors *file,
                                                          const char *name);
/* Numbers begin..begin+count-1 of one of the file's tensors as F32, whatever their dtype.
 * Fails only if the file isn't in memory: CNS_ERR_IO, also if it became shorter. */
CNS_MUST_CHECK int cns_safetensors_load(const struct cns_safetensors *file,
                                        const struct cns_safetensors_tensor *tensor, size_t begin,
                                        size_t count, float *ret_values, struct cns_problem *problem);
/* NULL if there is none of that name. */
const char *cns_safetensors_metadata(const struct cns_safetensors *file, const char *key);
size_t cns_safetensors_metadata_count(const struct cns_safetensors *file);
/* In the file's order; index is below the count. Both live as long as the file. */
struct cns_safetensors_pair cns_safetensors_metadata_at(const struct cns_safetensors *file, size_t index);

/* malloc'd first bytes of a file, up to its tensors' bytes: the length and the header, padded
 * with spaces to a multiple of 8. Of the tensors (in the given order) name, shape, count
 * and dtype are looked at; names must differ. ret_data_len: how many bytes must follow.
 * CNS_ERR_ARGUMENT, CNS_ERR_LIMIT, CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_safetensors_header(const struct cns_safetensors_tensor *tensors, size_t count,
                                          const struct cns_safetensors_pair *metadata, size_t metadata_count,
                                          uint8_t **ret_head, size_t *ret_len, uint64_t *ret_data_len,
                                          struct cns_problem *problem);
/* malloc'd bytes of a whole file of F32 tensors, whose data must be there. */
CNS_MUST_CHECK int cns_safetensors_serialize(const struct cns_safetensors_tensor *tensors, size_t count,
                                             const struct cns_safetensors_pair *metadata,
                                             size_t metadata_count, uint8_t **ret_data, size_t *ret_len,
                                             struct cns_problem *problem);
