/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/upload.h"

void cns_self_seed(const struct cns_digest *transcript_ready, uint16_t index, const struct cns_scalar *b,
                   struct cns_mask_seed *ret_seed) {
  struct cns_hash hash;
  struct cns_digest digest;
  cns_hash_init(&hash, "consilium/1 self mask");
  cns_hash_digest(&hash, transcript_ready);
  cns_hash_u16(&hash, index);
  cns_hash_bytes(&hash, b->bytes, CNS_SCALAR_BYTES);
  cns_hash_final(&hash, &digest);
  for (size_t k = 0; k < CNS_MASK_SEED_BYTES; k++)
    ret_seed->bytes[k] = digest.bytes[k];
  cns_wipe(&digest, sizeof digest);
}

void cns_pair_seed(const struct cns_digest *transcript_ready, uint16_t i, uint16_t j,
                   const struct cns_point *shared, struct cns_mask_seed *ret_seed) {
  struct cns_hash hash;
  struct cns_digest digest;
  cns_hash_init(&hash, "consilium/1 pair mask");
  cns_hash_digest(&hash, transcript_ready);
  cns_hash_u16(&hash, i < j ? i : j);
  cns_hash_u16(&hash, i < j ? j : i);
  cns_hash_bytes(&hash, shared->bytes, CNS_POINT_BYTES);
  cns_hash_final(&hash, &digest);
  for (size_t k = 0; k < CNS_MASK_SEED_BYTES; k++)
    ret_seed->bytes[k] = digest.bytes[k];
  cns_wipe(&digest, sizeof digest);
}

int cns_pair_sign(uint16_t i, uint16_t j) {
  return i < j ? 1 : -1;
}

uint64_t cns_chunk_count(uint64_t words) {
  return (words + CNS_CHUNK_WORDS - 1) / CNS_CHUNK_WORDS;
}

uint32_t cns_chunk_words(uint64_t words, uint64_t chunk) {
  uint64_t first = chunk * CNS_CHUNK_WORDS;
  if (first >= words) return 0;
  uint64_t left = words - first;
  return left < CNS_CHUNK_WORDS ? (uint32_t)left : CNS_CHUNK_WORDS;
}

void cns_upload_digest_init(struct cns_upload_digest *digest, uint64_t words) {
  cns_merkle_stream_init(&digest->stream);
  digest->words = words;
  digest->next_chunk = 0;
}

int cns_upload_digest_add(struct cns_upload_digest *digest, uint64_t chunk, const uint8_t *bytes,
                          size_t len) {
  struct cns_hash hash;
  struct cns_digest leaf;
  if (chunk != digest->next_chunk || chunk >= cns_chunk_count(digest->words)) return CNS_ERR_RANGE;
  if (len != (size_t)cns_chunk_words(digest->words, chunk) * 4) return CNS_ERR_RANGE;
  cns_hash_init(&hash, "consilium/1 upload chunk");
  cns_hash_u64(&hash, chunk);
  cns_hash_blob(&hash, bytes, len);
  cns_hash_final(&hash, &leaf);
  int r = cns_merkle_stream_add(&digest->stream, &leaf);
  if (r == 0) digest->next_chunk++;
  return r;
}

int cns_upload_digest_final(const struct cns_upload_digest *digest, struct cns_digest *ret_root) {
  if (digest->next_chunk != cns_chunk_count(digest->words)) return CNS_ERR_STATE;
  return cns_merkle_stream_root(&digest->stream, ret_root);
}

static const char receipt_context[] = "consilium/1 upload receipt";

static void receipt_digest(const struct cns_digest *round, uint16_t index, const struct cns_digest *root,
                           struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, receipt_context);
  cns_hash_digest(&hash, round);
  cns_hash_u16(&hash, index);
  cns_hash_digest(&hash, root);
  cns_hash_final(&hash, ret_digest);
}

int cns_receipt_sign(const struct cns_identity *coordinator, const struct cns_digest *round, uint16_t index,
                     const struct cns_digest *root, struct cns_signature *ret_signature) {
  struct cns_digest digest;
  receipt_digest(round, index, root, &digest);
  return cns_sign(coordinator, receipt_context, &digest, ret_signature);
}

int cns_receipt_verify(const struct cns_identity_public *coordinator, const struct cns_digest *round,
                       uint16_t index, const struct cns_digest *root, const struct cns_signature *signature) {
  struct cns_digest digest;
  receipt_digest(round, index, root, &digest);
  return cns_verify(coordinator, receipt_context, &digest, signature);
}
