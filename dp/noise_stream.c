/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/noise_stream.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"

#define CACHE_LINE_BYTES 64
#define ELEMENTS (CNS_NOISE_STREAM_BYTES / 4)

struct cns_noise_stream {
  _Alignas(CACHE_LINE_BYTES) uint32_t elements[ELEMENTS];
  struct cns_mask_plan *plan;
  uint64_t position; /* in elements */
  size_t used;       /* bytes, of the elements here */
};

struct cns_noise_stream *cns_noise_stream_free(struct cns_noise_stream *stream) {
  if (!stream) return NULL;
  cns_mask_plan_free(stream->plan);
  cns_wipe(stream, sizeof *stream);
  free(stream);
  return NULL;
}

int cns_noise_stream_open(struct cns_rng rng, struct cns_noise_stream **ret_stream) {
  struct cns_mask_term term = {.sign = 1};
  struct cns_noise_stream *stream = aligned_alloc(CACHE_LINE_BYTES, sizeof *stream);
  if (!stream) return CNS_ERR_MEMORY;
  memset(stream, 0, sizeof *stream);
  stream->used = CNS_NOISE_STREAM_BYTES;
  int r = cns_rng_fill(rng, term.seed.bytes, sizeof term.seed.bytes);
  if (r == 0) r = cns_mask_plan_new(&term, 1, &stream->plan);
  cns_wipe(&term, sizeof term);
  if (r < 0) {
    cns_noise_stream_free(stream);
    return r;
  }
  *ret_stream = stream;
  return 0;
}

const uint8_t *cns_noise_stream_next(struct cns_noise_stream *stream) {
  stream->used = CNS_NOISE_STREAM_BYTES;
  if (cns_mask_plan_generate(stream->plan, stream->position, ELEMENTS, ELEMENTS, stream->elements) < 0)
    return NULL;
  stream->position += ELEMENTS;
  for (size_t k = 0; k < ELEMENTS; k++)
    stream->elements[k] = htole32(stream->elements[k]);
  return (const uint8_t *)stream->elements;
}

int cns_noise_stream_u64(struct cns_noise_stream *stream, uint64_t *ret_value) {
  if (stream->used == CNS_NOISE_STREAM_BYTES) {
    if (!cns_noise_stream_next(stream)) return CNS_ERR_LIBRARY;
    stream->used = 0;
  }
  *ret_value = cns_load_le64((const uint8_t *)stream->elements + stream->used);
  stream->used += sizeof *ret_value;
  return 0;
}
