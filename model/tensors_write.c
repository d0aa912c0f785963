/* SPDX-License-Identifier: Apache-2.0 */
/* Writing (declared in model/tensors.h). */
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"
#include "model/npy_numbers.h"
#include "model/tensors.h"

#define BLOCK ((size_t)1 << 16) /* floats at a time */

typedef int sink_function(void *context, const void *data, size_t len, struct cns_problem *problem);

struct stream {
  const struct cns_tensor_list *list;
  const struct cns_tensors_source *source;
  sink_function *sink;
  void *sink_context;
  struct cns_problem *problem;
  float *values;  /* BLOCK */
  uint8_t *bytes; /* of as many numbers in the file's dtype */
};

static int write_header(const struct stream *s) {
  const struct cns_tensor_list *list = s->list;
  struct cns_safetensors_tensor *tensors = calloc(list->count ? list->count : 1, sizeof *tensors);
  uint8_t *head = NULL;
  size_t len = 0;
  uint64_t data_len = 0;
  if (!tensors) return cns_problem_set(s->problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t i = 0; i < list->count; i++) {
    const struct cns_tensor *from = &list->tensors[i];
    tensors[i] = (struct cns_safetensors_tensor){
        .shape_count = from->shape_count, .count = from->count, .dtype = s->source->dtype};
    memcpy(tensors[i].name, from->name, sizeof from->name);
    memcpy(tensors[i].shape, from->shape, sizeof from->shape);
  }
  int r = cns_safetensors_header(tensors, list->count, s->source->metadata, s->source->metadata_count, &head,
                                 &len, &data_len, s->problem);
  free(tensors);
  if (r == 0) r = s->sink(s->sink_context, head, len, s->problem);
  free(head);
  return r;
}

static int range_problem(const struct stream *s, size_t index, size_t number, const char *what) {
  const char *where = s->source->where;
  return cns_problem_set(s->problem, CNS_ERR_RANGE, "%s%snumber %zu of tensor \"%s\" %s", where ? where : "",
                         where ? ": " : "", number, s->list->tensors[index].name, what);
}

/* The block's values as numbers of this dtype. */
static int encode(const struct stream *s, enum cns_dtype dtype, size_t index, size_t begin, size_t count) {
  char what[64];
  size_t at = 0;
  if (cns_dtype_encode(dtype, s->source->overflow, s->values, count, s->bytes, &at) == 0) return 0;
  snprintf(what, sizeof what, "is too large for %s, whose largest is %s", cns_dtype_name(dtype),
           dtype == CNS_DTYPE_F16 ? "65504" : "3.39e38");
  return range_problem(s, index, begin + at, what);
}

static int write_block(const struct stream *s, size_t index, size_t begin, size_t count) {
  enum cns_dtype dtype = s->source->dtype, rounded = s->source->rounded;
  int r = s->source->load(s->source->context, index, begin, count, s->values, s->problem);
  for (size_t k = 0; r == 0 && s->source->finite && k < count; k++)
    if (!isfinite(s->values[k])) r = range_problem(s, index, begin + k, "is not finite");
  if (r == 0 && rounded != CNS_DTYPE_F32) {
    r = encode(s, rounded, index, begin, count);
    if (r == 0) cns_dtype_decode(rounded, s->bytes, count, s->values);
  }
  if (r == 0) r = encode(s, dtype, index, begin, count);
  return r < 0 ? r : s->sink(s->sink_context, s->bytes, count * cns_dtype_bytes(dtype), s->problem);
}

static int write_npy_header(const struct stream *s) {
  const struct cns_tensor_list *list = s->list;
  const struct cns_tensor *first = list->tensors;
  const char *type = s->source->dtype == CNS_DTYPE_F32 ? "<f4" : "<f2";
  uint8_t head[CNS_NPY_HEAD_BYTES];
  uint64_t dim = list->dim;
  int r = list->count == 1 ? cns_npy_head_format(type, first->shape, first->shape_count, head, sizeof head)
                           : cns_npy_head_format(type, &dim, 1, head, sizeof head);
  return r < 0 ? r : s->sink(s->sink_context, head, sizeof head, s->problem);
}

static int write_all(const struct stream *s, bool npy) {
  int r = npy ? write_npy_header(s) : write_header(s);
  for (size_t i = 0; r == 0 && i < s->list->count; i++) {
    size_t whole = s->list->tensors[i].count;
    for (size_t begin = 0; r == 0 && begin < whole; begin += BLOCK)
      r = write_block(s, i, begin, whole - begin < BLOCK ? whole - begin : BLOCK);
  }
  return r;
}

static int stream(const struct cns_tensor_list *list, const struct cns_tensors_source *source, bool npy,
                  sink_function *sink, void *sink_context, struct cns_problem *problem) {
  struct stream s = {.list = list,
                     .source = source,
                     .sink = sink,
                     .sink_context = sink_context,
                     .problem = problem,
                     .values = malloc(BLOCK * sizeof(float)),
                     .bytes = malloc(BLOCK * sizeof(float))};
  int r =
      s.values && s.bytes ? write_all(&s, npy) : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  free(s.values);
  free(s.bytes);
  return r;
}

int cns_tensors_stream(const struct cns_tensor_list *list, const struct cns_tensors_source *source,
                       sink_function *sink, void *sink_context, struct cns_problem *problem) {
  return stream(list, source, false, sink, sink_context, problem);
}

/* ---- to a file ---- */

struct output {
  struct cns_file_writer *writer;
  crypto_generichash_state hash;
  uint64_t bytes;
};

static int take(void *context, const void *data, size_t len, struct cns_problem *problem) {
  struct output *out = context;
  /* Unkeyed, so that anyone can compare it with b2sum. */
  if (crypto_generichash_update(&out->hash, data, len) != 0) return CNS_ERR_LIBRARY;
  out->bytes += len;
  return cns_file_append(out->writer, data, len, problem);
}

static int write_file(const char *path, const struct cns_tensor_list *list,
                      const struct cns_tensors_source *source, bool npy, unsigned mode,
                      struct cns_tensors_written *ret_written, struct cns_problem *problem) {
  struct output out = {0};
  struct cns_tensors_written written = {0};
  if (crypto_generichash_init(&out.hash, NULL, 0, sizeof written.digest) != 0) return CNS_ERR_LIBRARY;
  int r = cns_file_begin(path, mode, &out.writer, problem);
  if (r < 0) return r;
  r = stream(list, source, npy, take, &out, problem);
  if (r == 0 && crypto_generichash_final(&out.hash, written.digest, sizeof written.digest) != 0)
    r = CNS_ERR_LIBRARY;
  if (r == 0) r = cns_file_commit(out.writer, problem);
  cns_file_discard(out.writer);
  if (r < 0) return r;
  written.bytes = out.bytes;
  *ret_written = written;
  return 0;
}

int cns_tensors_write_from(const char *path, const struct cns_tensor_list *list,
                           const struct cns_tensors_source *source, unsigned mode,
                           struct cns_tensors_written *ret_written, struct cns_problem *problem) {
  return write_file(path, list, source, false, mode, ret_written, problem);
}

int cns_tensors_write_npy(const char *path, const struct cns_tensor_list *list,
                          const struct cns_tensors_source *source, unsigned mode,
                          struct cns_tensors_written *ret_written, struct cns_problem *problem) {
  if (source->dtype == CNS_DTYPE_BF16)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: NumPy has no BF16 numbers; write F32 or F16, or a safetensors file", path);
  return write_file(path, list, source, true, mode, ret_written, problem);
}

/* ---- sources ---- */

int cns_tensors_from_file(void *context, size_t tensor, size_t begin, size_t count, float *out,
                          struct cns_problem *problem) {
  const struct cns_tensors_file *from = context;
  const struct cns_safetensors_tensor *found =
      cns_safetensors_find(from->file, from->list->tensors[tensor].name);
  if (!found) return CNS_ERR_ARGUMENT;
  return cns_safetensors_load(from->file, found, begin, count, out, problem);
}

int cns_tensors_from_flat(void *context, size_t tensor, size_t begin, size_t count, float *out,
                          struct cns_problem *problem) {
  const struct cns_tensors_flat *flat = context;
  (void)problem;
  memcpy(out, flat->values + flat->list->tensors[tensor].offset + begin, count * sizeof *out);
  return 0;
}

int cns_tensors_write(const char *path, const struct cns_tensor_list *list, const float *flat,
                      const struct cns_safetensors_pair *metadata, size_t metadata_count, unsigned mode,
                      struct cns_problem *problem) {
  struct cns_tensors_flat from = {.list = list, .values = flat};
  struct cns_tensors_source source = {.load = cns_tensors_from_flat,
                                      .context = &from,
                                      .metadata = metadata,
                                      .metadata_count = metadata_count};
  struct cns_tensors_written written;
  return cns_tensors_write_from(path, list, &source, mode, &written, problem);
}
