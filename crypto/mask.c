/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mask_lanes.h"

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

/* Either streams of OpenSSL or, where the processor has a version of our own, keys. */
struct cns_mask_plan {
  _Alignas(CACHE_LINE_BYTES) uint32_t keystream[BLOCK_ELEMENTS];
  uint64_t position; /* element at which all streams stand */
  struct stream *streams;
  size_t stream_count;
  const struct cns_mask_version *version;
  struct cns_mask_key *keys;
  size_t key_count;
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
  if (plan->keys) cns_wipe(plan->keys, plan->key_count * sizeof *plan->keys);
  free(plan->keys);
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

static int plan_open_streams(struct cns_mask_plan *plan, const struct cns_mask_term *terms, size_t count) {
  plan->streams = calloc(count ? count : 1, sizeof *plan->streams);
  if (!plan->streams) return CNS_ERR_MEMORY;
  plan->stream_count = count;
  return plan_open(plan, terms);
}

static int plan_expand_keys(struct cns_mask_plan *plan, const struct cns_mask_term *terms, size_t count) {
  plan->keys = calloc(count ? count : 1, sizeof *plan->keys);
  if (!plan->keys) return CNS_ERR_MEMORY;
  plan->key_count = count;
  for (size_t k = 0; k < count; k++) {
    plan->version->expand(&terms[k].seed, &plan->keys[k]);
    plan->keys[k].negative = terms[k].sign < 0;
  }
  return CNS_OK;
}

static const struct cns_mask_version *fastest(void) {
  size_t number = 0;
  while (cns_mask_version(number + 1))
    number++;
  return cns_mask_version(number);
}

int cns_mask_plan_new(const struct cns_mask_term *terms, size_t term_count, struct cns_mask_plan **ret_plan) {
  return cns_mask_plan_new_with(fastest(), terms, term_count, ret_plan);
}

int cns_mask_plan_new_with(const struct cns_mask_version *version, const struct cns_mask_term *terms,
                           size_t term_count, struct cns_mask_plan **ret_plan) {
  struct cns_mask_plan *plan = aligned_alloc(CACHE_LINE_BYTES, sizeof *plan);
  if (!plan) return CNS_ERR_MEMORY;
  memset(plan, 0, sizeof *plan);
  plan->version = version;
  plan->position = POSITION_NONE;
  int error =
      version->apply ? plan_expand_keys(plan, terms, term_count) : plan_open_streams(plan, terms, term_count);
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

static int check_window(uint64_t first, size_t len) {
  return len > POSITION_NONE - 1 - first || first == POSITION_NONE ? CNS_ERR_ARGUMENT : CNS_OK;
}

/* To `first`, if the streams don't stand there. */
static int plan_begin(struct cns_mask_plan *plan, uint64_t first, size_t len) {
  if (check_window(first, len) != CNS_OK) return CNS_ERR_ARGUMENT;
  const bool continues = first == plan->position;
  plan->position = POSITION_NONE; /* until everything went well */
  return continues ? CNS_OK : plan_seek(plan, first);
}

/* Whole tiles where they lie; what begins or ends within one, in a copy of it. */
static void keys_apply(struct cns_mask_plan *plan, const struct cns_mask_key *keys, size_t key_count,
                       uint32_t *vector, size_t len, uint64_t first) {
  uint32_t *tile = plan->keystream;
  while (len > 0) {
    const size_t skip = first % AES_BLOCK_ELEMENTS;
    size_t part = len - len % CNS_MASK_TILE;
    if (skip == 0 && part > 0) {
      plan->version->apply(keys, key_count, first / AES_BLOCK_ELEMENTS, vector, part / CNS_MASK_TILE);
    } else {
      part = len < CNS_MASK_TILE - skip ? len : CNS_MASK_TILE - skip;
      memcpy(tile + skip, vector, 4 * part);
      plan->version->apply(keys, key_count, first / AES_BLOCK_ELEMENTS, tile, 1);
      memcpy(vector, tile + skip, 4 * part);
    }
    vector += part;
    first += part;
    len -= part;
  }
}

static void keys_generate(struct cns_mask_plan *plan, const struct cns_mask_key *key, uint64_t first,
                          uint32_t *ret_elements, size_t len) {
  memset(ret_elements, 0, 4 * len);
  keys_apply(plan, key, 1, ret_elements, len, first);
  for (size_t k = 0; key->negative && k < len; k++)
    ret_elements[k] = 0 - ret_elements[k];
}

int cns_mask_plan_apply(struct cns_mask_plan *plan, uint32_t *vector, size_t len, uint64_t first) {
  if (plan->version->apply) {
    const int refused = check_window(first, len);
    if (!refused) keys_apply(plan, plan->keys, plan->key_count, vector, len, first);
    return refused;
  }
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
  if (plan->version->apply) {
    const int refused = stride < len ? CNS_ERR_ARGUMENT : check_window(first, len);
    for (size_t t = 0; t < plan->key_count && !refused; t++)
      keys_generate(plan, &plan->keys[t], first, ret_elements + t * stride, len);
    return refused;
  }
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
