/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"

static const char context_prefix[] = "consilium/1 ";

/* libsodium's BLAKE2b fails only for lengths outside its limits: our mistake,
 * and going on would hash nothing. */
static void must(int result) {
  if (result != 0) abort();
}

bool cns_hash_context_valid(const char *context) {
  const size_t prefix_len = sizeof context_prefix - 1;
  const size_t len = strnlen(context, CNS_HASH_CONTEXT_MAX + 1);
  return len >= CNS_HASH_CONTEXT_MIN && len <= CNS_HASH_CONTEXT_MAX &&
         strncmp(context, context_prefix, prefix_len) == 0;
}

void cns_hash_init_len(struct cns_hash *hash, const char *context, size_t out_len) {
  assert(cns_hash_context_valid(context));
  assert(out_len >= 32 && out_len <= 64);
  must(crypto_generichash_init(&hash->state, (const uint8_t *)context, strlen(context), out_len));
}

void cns_hash_init(struct cns_hash *hash, const char *context) {
  cns_hash_init_len(hash, context, CNS_DIGEST_BYTES);
}

void cns_hash_bytes(struct cns_hash *hash, const void *bytes, size_t len) {
  if (len > 0) must(crypto_generichash_update(&hash->state, bytes, len));
}

void cns_hash_u8(struct cns_hash *hash, uint8_t value) {
  cns_hash_bytes(hash, &value, 1);
}

void cns_hash_u16(struct cns_hash *hash, uint16_t value) {
  uint8_t bytes[2];
  cns_store_le16(bytes, value);
  cns_hash_bytes(hash, bytes, sizeof bytes);
}

void cns_hash_u32(struct cns_hash *hash, uint32_t value) {
  uint8_t bytes[4];
  cns_store_le32(bytes, value);
  cns_hash_bytes(hash, bytes, sizeof bytes);
}

void cns_hash_u64(struct cns_hash *hash, uint64_t value) {
  uint8_t bytes[8];
  cns_store_le64(bytes, value);
  cns_hash_bytes(hash, bytes, sizeof bytes);
}

void cns_hash_blob(struct cns_hash *hash, const void *bytes, size_t len) {
  cns_hash_u64(hash, len);
  cns_hash_bytes(hash, bytes, len);
}

void cns_hash_digest(struct cns_hash *hash, const struct cns_digest *digest) {
  cns_hash_bytes(hash, digest->bytes, sizeof digest->bytes);
}

void cns_hash_final_len(struct cns_hash *hash, uint8_t *out, size_t out_len) {
  must(crypto_generichash_final(&hash->state, out, out_len));
  cns_wipe(hash, sizeof *hash);
}

void cns_hash_final(struct cns_hash *hash, struct cns_digest *ret_digest) {
  cns_hash_final_len(hash, ret_digest->bytes, sizeof ret_digest->bytes);
}

void cns_hash_once(const char *context, const void *bytes, size_t len, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, context);
  cns_hash_bytes(&hash, bytes, len);
  cns_hash_final(&hash, ret_digest);
}

bool cns_digest_equal(const struct cns_digest *a, const struct cns_digest *b) {
  return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
