/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/claim.h"

void cns_claim_write(struct cns_writer *writer, const struct cns_claim *claim, uint32_t k) {
  cns_write_u16(writer, claim->partner);
  cns_write_bytes(writer, claim->words, (size_t)4 * k);
  cns_path_write(writer, &claim->path);
  if (claim->partner == claim->index) {
    cns_write_bytes(writer, claim->b.bytes, CNS_SCALAR_BYTES);
    return;
  }
  cns_write_u16(writer, claim->opening.opener);
  cns_write_bytes(writer, claim->opening.pair.bytes, CNS_POINT_BYTES);
  cns_write_bytes(writer, claim->opening.proof.bytes, CNS_PROOF_BYTES);
}

void cns_claim_read(struct cns_reader *reader, uint16_t index, uint32_t k, struct cns_claim *ret_claim) {
  struct cns_claim claim = {.index = index, .partner = cns_read_u16(reader)};
  claim.words = cns_read_view(reader, (size_t)4 * k);
  cns_path_read(reader, &claim.path);
  if (claim.partner == index) {
    cns_read_bytes(reader, claim.b.bytes, CNS_SCALAR_BYTES);
  } else {
    claim.opening.opener = cns_read_u16(reader);
    claim.opening.partner = claim.opening.opener == index ? claim.partner : index;
    if (claim.opening.opener != index && claim.opening.opener != claim.partner)
      cns_reader_fail(reader, CNS_ERR_FORMAT);
    cns_read_bytes(reader, claim.opening.pair.bytes, CNS_POINT_BYTES);
    cns_read_bytes(reader, claim.opening.proof.bytes, CNS_PROOF_BYTES);
  }
  if (!reader->error) *ret_claim = claim;
}

int cns_claim_check_place(const struct cns_round *round, const struct cns_digest *root,
                          const struct cns_claim *claim) {
  const struct cns_descriptor *d = &round->descriptor;
  struct cns_digest leaf;
  int own = cns_descriptor_position(d, claim->index), partner = cns_descriptor_position(d, claim->partner);
  int place = own < 0 || partner < 0 ? -1 : cns_audit_place(round, (size_t)own, (size_t)partner);
  if (place < 0) return CNS_ERR_PROOF;
  cns_audit_leaf_digest(claim->index, claim->partner, claim->words, d->sketch, &leaf);
  return cns_merkle_check(root, cns_audit_leaves(round), (size_t)place, &leaf, &claim->path);
}

/* The seed of the mask that the claim is about, if its secret is the right one. */
static int seed_of(const struct cns_claim_facts *facts, const struct cns_claim *claim,
                   struct cns_mask_seed *ret_seed) {
  const struct cns_digest *ready = &facts->round->transcript[CNS_PHASE_READY];
  if (claim->partner == claim->index) {
    if (!cns_share_matches(&claim->b, &facts->point_b)) return CNS_ERR_PROOF;
    cns_self_seed(ready, claim->index, &claim->b, ret_seed);
    return 0;
  }
  bool own = claim->opening.opener == claim->index;
  int r = cns_opening_check(facts->round, own ? &facts->point_s : &facts->partner_s,
                            own ? &facts->partner_s : &facts->point_s, &claim->opening);
  if (r == 0) cns_pair_seed(ready, claim->index, claim->partner, &claim->opening.pair, ret_seed);
  return r < 0 ? CNS_ERR_PROOF : 0;
}

int cns_claim_check(const struct cns_claim_facts *facts, const struct cns_claim *claim,
                    uint32_t *ret_difference) {
  const struct cns_descriptor *d = &facts->round->descriptor;
  uint32_t truth[CNS_SKETCH_MAX], claimed[CNS_SKETCH_MAX];
  struct cns_sketch_key key;
  struct cns_mask_seed seed;
  if (!cns_sketch_size_valid(d->sketch)) return CNS_ERR_PROOF;
  int r = cns_claim_check_place(facts->round, &facts->root, claim);
  if (r == 0) r = seed_of(facts, claim, &seed);
  if (r < 0) return r;
  cns_sketch_key_derive(&facts->round->transcript[CNS_PHASE_UPLOAD], facts->nonce, &key);
  r = cns_sketcher_masks(facts->sketcher, facts->parallel, &key, d->sketch, &seed, 1, d->dim, truth);
  cns_wipe(&seed, sizeof seed);
  if (r < 0) return r;
  cns_audit_words_read(claim->words, d->sketch, claimed);
  cns_sketch_add(claimed, truth, -1, d->sketch);
  for (uint32_t row = 0; row < d->sketch; row++)
    ret_difference[row] = claimed[row];
  return 0;
}

bool cns_sketch_is_zero(const uint32_t *sketch, uint32_t k) {
  uint32_t any = 0;
  for (uint32_t row = 0; row < k; row++)
    any |= sketch[row];
  return any == 0;
}

void cns_sketch_add(uint32_t *sum, const uint32_t *sketch, int sign, uint32_t k) {
  for (uint32_t row = 0; row < k; row++)
    sum[row] += sign < 0 ? 0u - sketch[row] : sketch[row];
}
