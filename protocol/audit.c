/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/audit.h"

#include "crypto/bytes.h"
#include "dp/quantize.h"

int cns_sketcher_masks(struct cns_sketcher sketcher, struct cns_parallel parallel,
                       const struct cns_sketch_key *key, uint32_t k, const struct cns_mask_seed *seeds,
                       size_t count, uint64_t words, uint32_t *ret_sketches) {
  if (!sketcher.masks) return cns_sketch_masks(key, k, seeds, count, words, parallel, ret_sketches);
  return sketcher.masks(sketcher.context, key, k, seeds, count, words, ret_sketches);
}

void cns_nonce_commit(const uint8_t nonce[static CNS_SKETCH_NONCE_BYTES], struct cns_digest *ret_commitment) {
  cns_hash_once("consilium/1 nonce commitment", nonce, CNS_SKETCH_NONCE_BYTES, ret_commitment);
}

bool cns_nonce_opens(const struct cns_descriptor *descriptor,
                     const uint8_t nonce[static CNS_SKETCH_NONCE_BYTES]) {
  struct cns_digest commitment;
  cns_nonce_commit(nonce, &commitment);
  return cns_digest_equal(&commitment, &descriptor->nonce_commitment);
}

/* A message with an empty body: R, phase, index, T, length, root, signature. */
#define MESSAGE_BYTES (3 * CNS_DIGEST_BYTES + 1 + 2 + 4 + CNS_SIGNATURE_BYTES)

size_t cns_audit_answer_bytes(size_t n, uint32_t k) {
  return MESSAGE_BYTES + n * 4 * k;
}

int cns_audit_place(const struct cns_round *round, size_t own, size_t partner) {
  int place = 1;
  if (!cns_round_present(round, CNS_PHASE_READY, own) || !cns_round_present(round, CNS_PHASE_READY, partner))
    return -1;
  if (own == partner) return 0;
  for (size_t k = 0; k < partner; k++)
    place += k != own && cns_round_present(round, CNS_PHASE_READY, k);
  return place;
}

size_t cns_audit_leaves(const struct cns_round *round) {
  return cns_round_count(round, CNS_PHASE_READY);
}

void cns_audit_leaf_digest(uint16_t index, uint16_t partner, const uint8_t *words, uint32_t k,
                           struct cns_digest *ret_digest) {
  struct cns_hash hash;
  struct cns_digest inner;
  cns_hash_init(&hash, "consilium/1 audit leaf");
  cns_hash_u16(&hash, index);
  cns_hash_u16(&hash, partner);
  cns_hash_blob(&hash, words, (size_t)4 * k);
  cns_hash_final(&hash, &inner);
  cns_merkle_leaf(inner.bytes, sizeof inner.bytes, ret_digest);
}

void cns_audit_words_write(const uint32_t *sketch, uint32_t k, uint8_t *ret_words) {
  for (uint32_t row = 0; row < k; row++)
    cns_store_le32(ret_words + 4 * row, sketch[row]);
}

void cns_audit_words_read(const uint8_t *words, uint32_t k, uint32_t *ret_sketch) {
  for (uint32_t row = 0; row < k; row++)
    ret_sketch[row] = cns_load_le32(words + 4 * row);
}

void cns_audit_sketch_digest(const struct cns_digest *transcript_upload, uint16_t index, const uint32_t *z,
                             const uint8_t *q, uint32_t k, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 sketch digest");
  cns_hash_digest(&hash, transcript_upload);
  cns_hash_u16(&hash, index);
  for (uint32_t row = 0; row < k; row++)
    cns_hash_u32(&hash, z[row]);
  cns_hash_bytes(&hash, q, (size_t)4 * k);
  cns_hash_final(&hash, ret_digest);
}

static uint64_t factor_of(uint32_t k) {
  return k <= 128 ? 1754 : k <= 256 ? 1524 : k <= 512 ? 1358 : 1254;
}

int cns_audit_within_bound(const struct cns_descriptor *descriptor, size_t k, const uint32_t *z,
                           bool *ret_within) {
  uint64_t theta = 0, sum = 0;
  int r = cns_descriptor_bound(descriptor, k, &theta);
  if (r < 0) return r;
  if (theta >> 29) return CNS_ERR_RANGE; /* the scale that hospitals demand has 8*theta^2 < 2^60 */
  uint64_t energy = CNS_SKETCH_BLOCKS * theta * theta, factor = factor_of(descriptor->sketch);
  uint64_t limit = energy / 1024 * factor + energy % 1024 * factor / 1024;
  for (uint32_t row = 0; row < descriptor->sketch && sum <= limit; row++) {
    int64_t value = (int32_t)z[row];
    sum += (uint64_t)(value * value); /* at most 2^62 beyond the limit, itself below 2^62 */
  }
  *ret_within = sum <= limit;
  return 0;
}
