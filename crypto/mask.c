/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mask.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* One block of the vector, of keystream and of zeros stay in the first-level cache
 * together while all masks are added. */
#define BLOCK_ELEMENTS 2048
#define BLOCK_BYTES (4 * BLOCK_ELEMENTS)
#define CACHE_LINE_BYTES 64
#define AES_BLOCK_ELEMENTS 4
#define IV_BYTES 16

/* No position: the next call seeks. */
#define POSITION_NONE UINT64_MAX

struct stream {
  EVP_CIPHER_CTX *cipher;
  bool negative;
};

struct cns_mask_plan {
  _Alignas(CACHE_LINE_BYTES) uint32_t keystream[BLOCK_ELEMENTS];
  uint64_t position; /* element at which all streams stand */
  struct stream *streams;
  size_t stream_count;
};

/* Input of the cipher, since keystream is what it makes of zeros. */
static const uint8_t zeros[BLOCK_BYTES];

/* The loop is chosen at start-up for the processor where the compiler can do
 * that; the result is the same in all versions. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) &&                 \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORISED __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define VECTORISED
#endif

/* A constant inner trip count lets the compiler use whole vector registers. */
#define LANES 32

VECTORISED
static void add_block(uint32_t *restrict vector, const uint32_t *restrict keystream, size_t len) {
  size_t k = 0;
  for (; k + LANES <= len; k += LANES)
    for (size_t lane = 0; lane < LANES; lane++)
      vector[k + lane] += le32toh(keystream[k + lane]);
  for (; k < len; k++)
    vector[k] += le32toh(keystream[k]);
}

VECTORISED
static void subtract_block(uint32_t *restrict vector, const uint32_t *restrict keystream, size_t len) {
  size_t k = 0;
  for (; k + LANES <= len; k += LANES)
    for (size_t lane = 0; lane < LANES; lane++)
      vector[k + lane] -= le32toh(keystream[k + lane]);
  for (; k < len; k++)
    vector[k] -= le32toh(keystream[k]);
}

struct cns_mask_plan *cns_mask_plan_free(struct cns_mask_plan *plan) {
  if (!plan) return NULL;
  for (size_t k = 0; k < plan->stream_count; k++)
    EVP_CIPHER_CTX_free(plan->streams[k].cipher); /* wipes the key schedule */
  free(plan->streams);
  cns_wipe(plan->keystream, sizeof plan->keystream);
  free(plan);
  return NULL;
}

static int stream_open(struct stream *stream, const EVP_CIPHER *cipher, const struct cns_mask_term *term) {
  stream->negative = term->sign < 0;
  stream->cipher = EVP_CIPHER_CTX_new();
  if (!stream->cipher) return CNS_ERR_MEMORY;
  if (EVP_EncryptInit_ex2(stream->cipher, cipher, term->seed.bytes, zeros, NULL) != 1) return CNS_ERR_LIBRARY;
  return CNS_OK;
}

static int plan_open(struct cns_mask_plan *plan, const struct cns_mask_term *terms) {
  /* Fetched once: an implicit fetch for each stream would take a lock each. */
  EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
  if (!cipher) return CNS_ERR_LIBRARY;
  int error = CNS_OK;
  for (size_t k = 0; k < plan->stream_count && !error; k++)
    error = stream_open(&plan->streams[k], cipher, &terms[k]);
  EVP_CIPHER_free(cipher);
  return error;
}

int cns_mask_plan_new(const struct cns_mask_term *terms, size_t term_count, struct cns_mask_plan **ret_plan) {
  struct cns_mask_plan *plan = aligned_alloc(CACHE_LINE_BYTES, sizeof *plan);
  if (!plan) return CNS_ERR_MEMORY;
  plan->position = POSITION_NONE;
  plan->stream_count = 0;
  plan->streams = calloc(term_count ? term_count : 1, sizeof *plan->streams);
  int error = plan->streams ? CNS_OK : CNS_ERR_MEMORY;
  if (!error) {
    plan->stream_count = term_count;
    error = plan_open(plan, terms);
  }
  if (error) {
    cns_mask_plan_free(plan);
    return error;
  }
  *ret_plan = plan;
  return CNS_OK;
}

/* At most BLOCK_ELEMENTS, in the keystream's own order of bytes. */
static int generate(struct stream *stream, uint32_t *keystream, size_t len) {
  int done = 0;
  const int bytes = (int)(4 * len);
  if (EVP_EncryptUpdate(stream->cipher, (uint8_t *)keystream, &done, zeros, bytes) != 1 || done != bytes)
    return CNS_ERR_LIBRARY;
  return CNS_OK;
}

static int plan_seek(struct cns_mask_plan *plan, uint64_t first) {
  uint8_t counter[IV_BYTES] = {0};
  const uint64_t block = htobe64(first / AES_BLOCK_ELEMENTS);
  memcpy(counter + IV_BYTES - sizeof block, &block, sizeof block);
  for (size_t k = 0; k < plan->stream_count; k++) {
    struct stream *stream = &plan->streams[k];
    if (EVP_EncryptInit_ex2(stream->cipher, NULL, NULL, counter, NULL) != 1) return CNS_ERR_LIBRARY;
    /* The cipher keeps the rest of a block that was begun. */
    const int error = generate(stream, plan->keystream, first % AES_BLOCK_ELEMENTS);
    if (error) return error;
  }
  return CNS_OK;
}

static int apply_block(struct cns_mask_plan *plan, uint32_t *vector, size_t len) {
  for (size_t k = 0; k < plan->stream_count; k++) {
    struct stream *stream = &plan->streams[k];
    const int error = generate(stream, plan->keystream, len);
    if (error) return error;
    if (stream->negative)
      subtract_block(vector, plan->keystream, len);
    else
      add_block(vector, plan->keystream, len);
  }
  return CNS_OK;
}

/* To `first`, if the streams don't stand there. */
static int plan_begin(struct cns_mask_plan *plan, uint64_t first, size_t len) {
  if (len > POSITION_NONE - 1 - first || first == POSITION_NONE) return CNS_ERR_ARGUMENT;
  const bool continues = first == plan->position;
  plan->position = POSITION_NONE; /* until everything went well */
  return continues ? CNS_OK : plan_seek(plan, first);
}

int cns_mask_plan_apply(struct cns_mask_plan *plan, uint32_t *vector, size_t len, uint64_t first) {
  int error = plan_begin(plan, first, len);
  for (size_t at = 0; at < len && !error; at += BLOCK_ELEMENTS) {
    const size_t part = len - at < BLOCK_ELEMENTS ? len - at : BLOCK_ELEMENTS;
    error = apply_block(plan, vector + at, part);
  }
  if (!error) plan->position = first + len;
  return error;
}

static int stream_write(struct stream *stream, uint32_t *ret_elements, size_t len) {
  int error = CNS_OK;
  for (size_t at = 0; at < len && !error; at += BLOCK_ELEMENTS)
    error = generate(stream, ret_elements + at, len - at < BLOCK_ELEMENTS ? len - at : BLOCK_ELEMENTS);
  for (size_t k = 0; k < len && !error; k++)
    ret_elements[k] = le32toh(ret_elements[k]);
  return error;
}

int cns_mask_plan_generate(struct cns_mask_plan *plan, uint64_t first, size_t len, size_t stride,
                           uint32_t *ret_elements) {
  int error = stride < len ? CNS_ERR_ARGUMENT : plan_begin(plan, first, len);
  for (size_t t = 0; t < plan->stream_count && !error; t++)
    error = stream_write(&plan->streams[t], ret_elements + t * stride, len);
  if (!error) plan->position = first + len;
  return error;
}

int cns_mask_apply(uint32_t *vector, size_t len, uint64_t first, const struct cns_mask_term *terms,
                   size_t term_count) {
  struct cns_mask_plan *plan = NULL;
  int error = cns_mask_plan_new(terms, term_count, &plan);
  if (!error) error = cns_mask_plan_apply(plan, vector, len, first);
  cns_mask_plan_free(plan);
  return error;
}
