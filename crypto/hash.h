/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE2b-256, every use keyed with an ASCII context of its own
 * ("consilium/1 pair mask"), so that no hash of one purpose is ever the hash
 * of another. Contexts are 16 to 64 characters (BLAKE2b's key length).
 * Fields are of fixed length or carry their length: callers keep the input
 * injective.
 */
#pragma once

#include <sodium.h>

#include "crypto/base.h"

#define CNS_HASH_CONTEXT_MIN 16
#define CNS_HASH_CONTEXT_MAX 64

struct cns_hash {
  crypto_generichash_state state;
};

struct cns_digest {
  uint8_t bytes[CNS_DIGEST_BYTES];
};

/* 16..64 characters that start with "consilium/1 ". Every function that takes
 * a context asserts it: contexts are constants of the program. */
bool cns_hash_context_valid(const char *context);

void cns_hash_init(struct cns_hash *hash, const char *context);
void cns_hash_bytes(struct cns_hash *hash, const void *bytes, size_t len);
void cns_hash_u8(struct cns_hash *hash, uint8_t value);
void cns_hash_u16(struct cns_hash *hash, uint16_t value);
void cns_hash_u32(struct cns_hash *hash, uint32_t value);
void cns_hash_u64(struct cns_hash *hash, uint64_t value);
void cns_hash_blob(struct cns_hash *hash, const void *bytes, size_t len); /* u64 length first */
void cns_hash_digest(struct cns_hash *hash, const struct cns_digest *digest);
void cns_hash_final(struct cns_hash *hash, struct cns_digest *ret_digest); /* wipes the state */
/* out_len 32..64; for keys derived from secrets: same hash, longer output.
 * The hash must have been started with cns_hash_init_len(out_len). */
void cns_hash_init_len(struct cns_hash *hash, const char *context, size_t out_len);
void cns_hash_final_len(struct cns_hash *hash, uint8_t *out, size_t out_len);

void cns_hash_once(const char *context, const void *bytes, size_t len, struct cns_digest *ret_digest);
bool cns_digest_equal(const struct cns_digest *a, const struct cns_digest *b); /* constant time */
