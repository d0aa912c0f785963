/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model's parameters as one flat vector of floats, and as named tensors in a
 * safetensors file. A list says which tensors there are and in which order they
 * lie in the vector, one after another without gaps; their order in the file is
 * free.
 */
#pragma once

#include "model/safetensors.h"

/* Of all tensors of a list together; 1 GiB as floats. */
#define CNS_TENSORS_DIM_MAX ((size_t)1 << 28)

struct cns_tensor {
  char name[CNS_SAFETENSORS_NAME_MAX + 1];
  uint64_t shape[CNS_SAFETENSORS_DIMS_MAX];
  size_t shape_count; /* 0: a single number */
  size_t offset;      /* of its first float in the vector */
  size_t count;
};

struct cns_tensor_list { /* zeroed: empty */
  struct cns_tensor *tensors;
  size_t count;
  size_t dim; /* floats in the vector */
};

/* Behind those that are there. Names are 1..CNS_SAFETENSORS_NAME_MAX bytes of UTF-8, differ, and aren't
 * "__metadata__"; no size is 0. CNS_ERR_FORMAT, CNS_ERR_LIMIT, CNS_ERR_MEMORY with a sentence. */
CNS_MUST_CHECK int cns_tensor_list_add(struct cns_tensor_list *list, const char *name, const uint64_t *shape,
                                       size_t shape_count, struct cns_problem *problem);
void cns_tensor_list_deinit(struct cns_tensor_list *list); /* fine on a zeroed one */
/* In the order in which the tensors' bytes lie in the file. ret_list must not hold a list. */
CNS_MUST_CHECK int cns_tensor_list_from_safetensors(const struct cns_safetensors *file,
                                                    struct cns_tensor_list *ret_list,
                                                    struct cns_problem *problem);
/* The same of the file at path. */
CNS_MUST_CHECK int cns_tensor_list_read(const char *path, struct cns_tensor_list *ret_list,
                                        struct cns_problem *problem);

/* ---- in ---- */

/* ret_flat: list->dim floats. The file has exactly the list's tensors, in its shapes, as F32,
 * F16 or BF16, and all numbers are finite; else CNS_ERR_FORMAT or CNS_ERR_RANGE with a sentence that
 * names the tensor. Errors of cns_safetensors_open_unmapped too. Missing, additional and misshapen
 * tensors are found before any number is read; after another failure ret_flat may hold a part.
 * Needs no memory of the file's size beside ret_flat. */
CNS_MUST_CHECK int cns_tensors_read(const char *path, const struct cns_tensor_list *list, float *ret_flat,
                                    struct cns_problem *problem);
/* The same from an open file; where: its name, for sentences. If the file is in memory, ret_flat is
 * untouched after any failure. */
CNS_MUST_CHECK int cns_tensors_load(const struct cns_safetensors *file, const char *where,
                                    const struct cns_tensor_list *list, float *ret_flat,
                                    struct cns_problem *problem);
/* Only whether they would fit. */
CNS_MUST_CHECK int cns_tensors_check(const struct cns_safetensors *file, const char *where,
                                     const struct cns_tensor_list *list, struct cns_problem *problem);

/* ---- out ---- */

/* Replaces the file whole (cns_file_begin), without having it in memory; F32, in the list's order:
 * the same numbers give the same bytes. flat: list->dim floats. */
CNS_MUST_CHECK int cns_tensors_write(const char *path, const struct cns_tensor_list *list, const float *flat,
                                     const struct cns_safetensors_pair *metadata, size_t metadata_count,
                                     unsigned mode, struct cns_problem *problem);

/* As above, from anywhere and to any dtype. */
struct cns_tensors_source {
  /* Floats begin..begin+count-1 of the list's tensor with this index. */
  int (*load)(void *context, size_t tensor, size_t begin, size_t count, float *out,
              struct cns_problem *problem);
  void *context;
  const char *where;      /* the source's name in front of sentences about its numbers, or NULL */
  enum cns_dtype dtype;   /* of the file */
  enum cns_dtype rounded; /* F32 (0), or what numbers are rounded to before they are written as dtype */
  enum cns_overflow overflow;
  bool finite; /* refuse NaN and infinity: CNS_ERR_RANGE, with the tensor's name */
  const struct cns_safetensors_pair *metadata;
  size_t metadata_count;
};

/* A source's load: from a safetensors file with at least the list's tensors. The context is this: */
struct cns_tensors_file {
  const struct cns_safetensors *file;
  const struct cns_tensor_list *list;
};
CNS_MUST_CHECK int cns_tensors_from_file(void *context, size_t tensor, size_t begin, size_t count, float *out,
                                         struct cns_problem *problem);
/* The same from a flat vector. */
struct cns_tensors_flat {
  const float *values; /* list->dim */
  const struct cns_tensor_list *list;
};
CNS_MUST_CHECK int cns_tensors_from_flat(void *context, size_t tensor, size_t begin, size_t count, float *out,
                                         struct cns_problem *problem);

struct cns_tensors_written {
  uint64_t bytes;                   /* of the file */
  uint8_t digest[CNS_DIGEST_BYTES]; /* BLAKE2b-256 of the file, unkeyed: `b2sum -l 256` */
};

/* CNS_ERR_RANGE also for a number beyond the dtype, if overflow is CNS_OVERFLOW_REFUSE. */
CNS_MUST_CHECK int cns_tensors_write_from(const char *path, const struct cns_tensor_list *list,
                                          const struct cns_tensors_source *source, unsigned mode,
                                          struct cns_tensors_written *ret_written,
                                          struct cns_problem *problem);
/* The numbers alone, as a .npy file of '<f4' or '<f2' (CNS_ERR_UNSUPPORTED for BF16, which NumPy lacks):
 * one vector of list->dim numbers, or, if the list is of one tensor, that one in its shape. */
CNS_MUST_CHECK int cns_tensors_write_npy(const char *path, const struct cns_tensor_list *list,
                                         const struct cns_tensors_source *source, unsigned mode,
                                         struct cns_tensors_written *ret_written,
                                         struct cns_problem *problem);
/* The bytes of cns_tensors_write_from to anywhere, a piece at a time, such as into a hash. */
CNS_MUST_CHECK int
cns_tensors_stream(const struct cns_tensor_list *list, const struct cns_tensors_source *source,
                   int (*sink)(void *context, const void *data, size_t len, struct cns_problem *problem),
                   void *sink_context, struct cns_problem *problem);
