/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/dispute.h"

#include <stdlib.h>

static void opening_binding(const struct cns_round *round, const struct cns_opening *opening,
                            struct cns_digest *ret_binding) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 pair opening");
  cns_hash_digest(&hash, &round->digest);
  cns_hash_digest(&hash, &round->transcript[CNS_PHASE_AUDIT]);
  cns_hash_u16(&hash, opening->opener);
  cns_hash_u16(&hash, opening->partner);
  cns_hash_final(&hash, ret_binding);
}

int cns_opening_make(const struct cns_round *round, const struct cns_scalar *s,
                     const struct cns_point *opener_s, const struct cns_point *partner_s, struct cns_rng rng,
                     struct cns_opening *opening) {
  struct cns_digest bound;
  struct cns_point pair;
  int r = cns_point_mul(s, partner_s, &pair);
  if (r < 0) return r;
  opening_binding(round, opening, &bound);
  r = cns_proof_equality_make(s, opener_s, partner_s, &pair, &bound, rng, &opening->proof);
  if (r == 0) opening->pair = pair;
  cns_wipe(&pair, sizeof pair);
  return r;
}

int cns_opening_check(const struct cns_round *round, const struct cns_point *opener_s,
                      const struct cns_point *partner_s, const struct cns_opening *opening) {
  struct cns_digest bound;
  opening_binding(round, opening, &bound);
  return cns_proof_equality_check(opener_s, partner_s, &opening->pair, &bound, &opening->proof);
}

void cns_opening_write(struct cns_writer *writer, const struct cns_opening *opening) {
  cns_write_u16(writer, opening->partner);
  cns_write_bytes(writer, opening->pair.bytes, CNS_POINT_BYTES);
  cns_write_bytes(writer, opening->proof.bytes, CNS_PROOF_BYTES);
}

void cns_opening_read(struct cns_reader *reader, struct cns_opening *ret_opening) {
  ret_opening->partner = cns_read_u16(reader);
  cns_read_bytes(reader, ret_opening->pair.bytes, CNS_POINT_BYTES);
  cns_read_bytes(reader, ret_opening->proof.bytes, CNS_PROOF_BYTES);
}

void cns_opening_leaf(const struct cns_opening *opening, struct cns_digest *ret_leaf) {
  struct cns_hash hash;
  struct cns_digest inner;
  cns_hash_init(&hash, "consilium/1 opening leaf");
  cns_hash_u16(&hash, opening->partner);
  cns_hash_bytes(&hash, opening->pair.bytes, CNS_POINT_BYTES);
  cns_hash_bytes(&hash, opening->proof.bytes, CNS_PROOF_BYTES);
  cns_hash_final(&hash, &inner);
  cns_merkle_leaf(inner.bytes, sizeof inner.bytes, ret_leaf);
}

int cns_dispute_note(struct cns_round *round, size_t opener, const uint8_t *body, size_t len) {
  uint16_t partners[CNS_HOSPITALS_MAX];
  size_t count = 0;
  if (cns_ready_read(body, len, partners, CNS_HOSPITALS_MAX, &count) < 0 || count == 0) return CNS_ERR_FORMAT;
  for (size_t o = 0; o < count; o++) {
    int partner = cns_descriptor_position(&round->descriptor, partners[o]);
    if (partner < 0 || (size_t)partner == opener ||
        !cns_round_present(round, CNS_PHASE_AUDIT, (size_t)partner))
      return CNS_ERR_FORMAT;
  }
  struct cns_opened *opened = realloc(round->opened, (round->opened_count + count) * sizeof *opened);
  if (!opened) return CNS_ERR_MEMORY;
  round->opened = opened;
  for (size_t o = 0; o < count; o++)
    opened[round->opened_count++] = (struct cns_opened){
        .opener = (uint16_t)opener,
        .partner = (uint16_t)cns_descriptor_position(&round->descriptor, partners[o]),
    };
  return 0;
}
