/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/ready.h"

int cns_ready_read(const uint8_t *body, size_t len, uint16_t *ret_accused, size_t max, size_t *ret_count) {
  struct cns_reader reader;
  cns_reader_init(&reader, body, len);
  size_t count = cns_read_u16(&reader);
  if (count > max) return CNS_ERR_FORMAT;
  for (size_t k = 0; k < count; k++) {
    ret_accused[k] = cns_read_u16(&reader);
    if (k > 0 && ret_accused[k] <= ret_accused[k - 1]) return CNS_ERR_FORMAT;
  }
  if (cns_reader_finish(&reader) < 0) return CNS_ERR_FORMAT;
  *ret_count = count;
  return 0;
}

static void equality_binding(const struct cns_dispute *dispute, const struct cns_complaint *complaint,
                             struct cns_digest *ret_binding) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 complaint");
  cns_hash_digest(&hash, dispute->round);
  cns_hash_digest(&hash, dispute->transcript);
  cns_hash_u16(&hash, complaint->complainer);
  cns_hash_u16(&hash, complaint->accused);
  cns_hash_final(&hash, ret_binding);
}

int cns_complaint_make(const struct cns_dispute *dispute, const struct cns_scalar *e, struct cns_rng rng,
                       struct cns_complaint *complaint) {
  struct cns_digest bound;
  struct cns_point pair;
  int r = cns_point_mul(e, &dispute->accused_keys->e, &pair);
  if (r < 0) return r;
  equality_binding(dispute, complaint, &bound);
  r = cns_proof_equality_make(e, &dispute->complainer_keys->e, &dispute->accused_keys->e, &pair, &bound, rng,
                              &complaint->proof);
  if (r == 0) complaint->pair = pair;
  return r;
}

void cns_complaint_write(struct cns_writer *writer, const struct cns_complaint *complaint) {
  cns_write_u16(writer, complaint->complainer);
  cns_write_u16(writer, complaint->accused);
  cns_write_bytes(writer, complaint->point_b.bytes, CNS_POINT_BYTES);
  cns_write_bytes(writer, complaint->root.bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, complaint->signature.bytes, CNS_SIGNATURE_BYTES);
  cns_leaf_write(writer, &complaint->leaf);
  cns_write_u16(writer, complaint->leaf_count);
  cns_write_u16(writer, complaint->leaf_position);
  cns_write_u8(writer, complaint->path.depth);
  for (size_t k = 0; k < complaint->path.depth; k++)
    cns_write_bytes(writer, complaint->path.siblings[k].bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, complaint->pair.bytes, CNS_POINT_BYTES);
  cns_write_bytes(writer, complaint->proof.bytes, CNS_PROOF_BYTES);
}

int cns_complaint_read(const uint8_t *data, size_t len, struct cns_complaint *ret_complaint) {
  struct cns_complaint complaint = {0};
  struct cns_reader reader;
  cns_reader_init(&reader, data, len);
  complaint.complainer = cns_read_u16(&reader);
  complaint.accused = cns_read_u16(&reader);
  cns_read_bytes(&reader, complaint.point_b.bytes, CNS_POINT_BYTES);
  cns_read_bytes(&reader, complaint.root.bytes, CNS_DIGEST_BYTES);
  cns_read_bytes(&reader, complaint.signature.bytes, CNS_SIGNATURE_BYTES);
  cns_leaf_read(&reader, &complaint.leaf);
  complaint.leaf_count = cns_read_u16(&reader);
  complaint.leaf_position = cns_read_u16(&reader);
  complaint.path.depth = cns_read_u8(&reader);
  if (complaint.path.depth > CNS_MERKLE_DEPTH_MAX) return CNS_ERR_FORMAT;
  for (size_t k = 0; k < complaint.path.depth; k++)
    cns_read_bytes(&reader, complaint.path.siblings[k].bytes, CNS_DIGEST_BYTES);
  cns_read_bytes(&reader, complaint.pair.bytes, CNS_POINT_BYTES);
  cns_read_bytes(&reader, complaint.proof.bytes, CNS_PROOF_BYTES);
  int r = cns_reader_finish(&reader);
  if (r < 0) return r;
  *ret_complaint = complaint;
  return 0;
}

/* Is the leaf really what the accused signed for the complainer? */
static bool leaf_is_the_dealers(const struct cns_dispute *dispute, const struct cns_complaint *complaint) {
  struct cns_message message = {
      .round = *dispute->round,
      .phase = CNS_PHASE_SHARES,
      .index = complaint->accused,
      .transcript = *dispute->transcript,
      .body = complaint->point_b.bytes,
      .body_len = CNS_SHARES_BODY_BYTES,
      .root = complaint->root,
      .signature = complaint->signature,
  };
  struct cns_digest leaf;
  if (complaint->leaf.dealer != complaint->accused || complaint->leaf.recipient != complaint->complainer)
    return false;
  if (cns_message_verify(&message, dispute->accused_identity) < 0) return false;
  cns_leaf_digest(&complaint->leaf, &leaf);
  return cns_merkle_check(&complaint->root, complaint->leaf_count, complaint->leaf_position, &leaf,
                          &complaint->path) == 0;
}

int cns_complaint_settle(const struct cns_dispute *dispute, const struct cns_complaint *complaint) {
  struct cns_digest bound;
  struct cns_share_pair pair;
  if (!leaf_is_the_dealers(dispute, complaint)) return CNS_RULING_COMPLAINER_LIED;
  equality_binding(dispute, complaint, &bound);
  if (cns_proof_equality_check(&dispute->complainer_keys->e, &dispute->accused_keys->e, &complaint->pair,
                               &bound, &complaint->proof) < 0)
    return CNS_RULING_COMPLAINER_LIED;
  int r = cns_leaf_open(&complaint->pair, dispute->transcript, &complaint->leaf, &pair);
  cns_wipe(&pair, sizeof pair);
  return r == 0 ? CNS_RULING_COMPLAINER_LIED : CNS_RULING_DEALER_LIED;
}
