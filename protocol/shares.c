/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/shares.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

void cns_leaf_write(struct cns_writer *writer, const struct cns_leaf *leaf) {
  cns_write_u16(writer, leaf->recipient);
  cns_write_u16(writer, leaf->dealer);
  cns_write_bytes(writer, leaf->point_s.bytes, CNS_POINT_BYTES);
  cns_write_bytes(writer, leaf->point_b.bytes, CNS_POINT_BYTES);
  cns_write_bytes(writer, leaf->sealed, CNS_SEALED_PAIR_BYTES);
}

void cns_leaf_read(struct cns_reader *reader, struct cns_leaf *ret_leaf) {
  struct cns_leaf leaf;
  leaf.recipient = cns_read_u16(reader);
  leaf.dealer = cns_read_u16(reader);
  cns_read_bytes(reader, leaf.point_s.bytes, CNS_POINT_BYTES);
  cns_read_bytes(reader, leaf.point_b.bytes, CNS_POINT_BYTES);
  cns_read_bytes(reader, leaf.sealed, CNS_SEALED_PAIR_BYTES);
  if (!reader->error) *ret_leaf = leaf;
}

void cns_path_write(struct cns_writer *writer, const struct cns_merkle_path *path) {
  cns_write_u8(writer, path->depth);
  for (size_t d = 0; d < path->depth; d++)
    cns_write_bytes(writer, path->siblings[d].bytes, CNS_DIGEST_BYTES);
}

void cns_path_read(struct cns_reader *reader, struct cns_merkle_path *ret_path) {
  struct cns_merkle_path path = {.depth = cns_read_u8(reader)};
  if (path.depth > CNS_MERKLE_DEPTH_MAX) {
    cns_reader_fail(reader, CNS_ERR_FORMAT);
    return;
  }
  for (size_t d = 0; d < path.depth; d++)
    cns_read_bytes(reader, path.siblings[d].bytes, CNS_DIGEST_BYTES);
  if (!reader->error) *ret_path = path;
}

void cns_leaf_digest(const struct cns_leaf *leaf, struct cns_digest *ret_digest) {
  uint8_t bytes[CNS_LEAF_BYTES];
  bytes[0] = (uint8_t)leaf->recipient;
  bytes[1] = (uint8_t)(leaf->recipient >> 8);
  bytes[2] = (uint8_t)leaf->dealer;
  bytes[3] = (uint8_t)(leaf->dealer >> 8);
  memcpy(bytes + 4, leaf->point_s.bytes, CNS_POINT_BYTES);
  memcpy(bytes + 36, leaf->point_b.bytes, CNS_POINT_BYTES);
  memcpy(bytes + 68, leaf->sealed, CNS_SEALED_PAIR_BYTES);
  cns_merkle_leaf(bytes, sizeof bytes, ret_digest);
}

int cns_leaves_root(const struct cns_leaf *leaves, size_t count, struct cns_digest *ret_root) {
  struct cns_digest *digests = calloc(count ? count : 1, sizeof *digests);
  if (!digests) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < count; k++)
    cns_leaf_digest(&leaves[k], &digests[k]);
  int r = cns_merkle_root(digests, count, ret_root);
  free(digests);
  return r;
}

/* Key and nonce of one ciphertext: bound to T_keys, the purpose and the ordered
 * pair. Used once, since a dealer seals to a recipient once under one T. */
struct seal_material {
  uint8_t key[CNS_SEAL_KEY_BYTES];
  uint8_t nonce[CNS_SEAL_NONCE_BYTES];
};

static void seal_material(const struct cns_point *pair, const struct cns_digest *transcript, uint16_t dealer,
                          uint16_t recipient, struct seal_material *ret_material) {
  struct cns_hash hash;
  cns_hash_init_len(&hash, "consilium/1 share encryption", sizeof *ret_material);
  cns_hash_digest(&hash, transcript);
  cns_hash_u16(&hash, dealer);
  cns_hash_u16(&hash, recipient);
  cns_hash_bytes(&hash, pair->bytes, CNS_POINT_BYTES);
  cns_hash_final_len(&hash, (uint8_t *)ret_material, sizeof *ret_material);
}

static size_t associated_data(const struct cns_digest *transcript, const struct cns_leaf *leaf,
                              uint8_t out[static 36]) {
  memcpy(out, transcript->bytes, CNS_DIGEST_BYTES);
  out[32] = (uint8_t)leaf->dealer;
  out[33] = (uint8_t)(leaf->dealer >> 8);
  out[34] = (uint8_t)leaf->recipient;
  out[35] = (uint8_t)(leaf->recipient >> 8);
  return 36;
}

static int seal_leaf(const struct cns_deal *deal, size_t k, const struct cns_share_pair *pair,
                     struct cns_leaf *leaf) {
  struct seal_material material;
  uint8_t ad[36], plain[2 * CNS_SCALAR_BYTES];
  seal_material(deal->pairs[k], deal->transcript, leaf->dealer, leaf->recipient, &material);
  memcpy(plain, pair->s.bytes, CNS_SCALAR_BYTES);
  memcpy(plain + CNS_SCALAR_BYTES, pair->b.bytes, CNS_SCALAR_BYTES);
  size_t ad_len = associated_data(deal->transcript, leaf, ad);
  int r = cns_seal(material.key, material.nonce, ad, ad_len, plain, sizeof plain, leaf->sealed);
  cns_wipe(plain, sizeof plain);
  cns_wipe(&material, sizeof material);
  return r;
}

static int make_leaves(const struct cns_deal *deal, const struct cns_scalar *shares_s,
                       const struct cns_scalar *shares_b, struct cns_share_pair *ret_own,
                       struct cns_leaf *ret_leaves) {
  for (size_t k = 0; k < deal->count; k++) {
    struct cns_leaf leaf = {.dealer = deal->recipients[deal->own], .recipient = deal->recipients[k]};
    struct cns_share_pair pair = {shares_s[k], shares_b[k]};
    int r = cns_point_base(&pair.s, &leaf.point_s);
    if (r == 0) r = cns_point_base(&pair.b, &leaf.point_b);
    if (r == 0 && k != deal->own) r = seal_leaf(deal, k, &pair, &leaf);
    if (r == 0 && k == deal->own) *ret_own = pair;
    cns_wipe(&pair, sizeof pair);
    if (r < 0) return r;
    ret_leaves[k] = leaf;
  }
  return 0;
}

int cns_shares_deal(const struct cns_deal *deal, struct cns_scalar *ret_b, struct cns_point *ret_point_b,
                    struct cns_share_pair *ret_own, struct cns_leaf *ret_leaves) {
  if (deal->count == 0 || deal->own >= deal->count) return CNS_ERR_ARGUMENT;
  size_t bytes = deal->count * sizeof(struct cns_scalar);
  struct cns_scalar *shares_s = sodium_malloc(bytes), *shares_b = sodium_malloc(bytes);
  struct cns_scalar b = {{0}};
  struct cns_point point_b;
  int r = shares_s && shares_b ? 0 : CNS_ERR_MEMORY;
  if (r == 0) r = cns_scalar_random(deal->rng, &b);
  if (r == 0) r = cns_point_base(&b, &point_b);
  if (r == 0)
    r = cns_shamir_split(deal->s, deal->threshold, deal->recipients, deal->count, deal->rng, shares_s);
  if (r == 0) r = cns_shamir_split(&b, deal->threshold, deal->recipients, deal->count, deal->rng, shares_b);
  if (r == 0) r = make_leaves(deal, shares_s, shares_b, ret_own, ret_leaves);
  if (r == 0) {
    *ret_b = b;
    *ret_point_b = point_b;
  }
  cns_wipe(&b, sizeof b);
  sodium_free(shares_s);
  sodium_free(shares_b);
  return r;
}

bool cns_share_matches(const struct cns_scalar *share, const struct cns_point *point) {
  struct cns_point computed;
  return cns_scalar_check(share) == 0 && cns_point_base(share, &computed) == 0 &&
         cns_point_equal(&computed, point);
}

int cns_leaf_open(const struct cns_point *pair, const struct cns_digest *transcript,
                  const struct cns_leaf *leaf, struct cns_share_pair *ret_pair) {
  struct seal_material material;
  uint8_t ad[36], plain[2 * CNS_SCALAR_BYTES];
  struct cns_share_pair opened;
  seal_material(pair, transcript, leaf->dealer, leaf->recipient, &material);
  size_t ad_len = associated_data(transcript, leaf, ad);
  int r = cns_unseal(material.key, material.nonce, ad, ad_len, leaf->sealed, sizeof leaf->sealed, plain);
  cns_wipe(&material, sizeof material);
  if (r < 0) return CNS_ERR_PROOF;
  memcpy(opened.s.bytes, plain, CNS_SCALAR_BYTES);
  memcpy(opened.b.bytes, plain + CNS_SCALAR_BYTES, CNS_SCALAR_BYTES);
  cns_wipe(plain, sizeof plain);
  bool good = cns_share_matches(&opened.s, &leaf->point_s) && cns_share_matches(&opened.b, &leaf->point_b);
  if (good) *ret_pair = opened;
  cns_wipe(&opened, sizeof opened);
  return good ? 0 : CNS_ERR_PROOF;
}

int cns_shares_check_degree(const struct cns_digest *commitment, uint16_t dealer,
                            const struct cns_point *point_s, const struct cns_point *point_b,
                            const struct cns_leaf *leaves, size_t count, size_t threshold) {
  uint16_t *indices = calloc(count ? count : 1, sizeof *indices);
  struct cns_point *points = calloc(count ? count : 1, sizeof *points);
  int r = indices && points ? 0 : CNS_ERR_MEMORY;
  for (int secret = 0; r == 0 && secret < 2; secret++) {
    struct cns_digest challenge;
    struct cns_hash hash;
    cns_hash_init(&hash, "consilium/1 degree test");
    cns_hash_digest(&hash, commitment);
    cns_hash_u16(&hash, dealer);
    cns_hash_u8(&hash, (uint8_t)secret);
    cns_hash_final(&hash, &challenge);
    for (size_t k = 0; k < count; k++) {
      indices[k] = leaves[k].recipient;
      points[k] = secret ? leaves[k].point_b : leaves[k].point_s;
    }
    r = cns_shamir_check_degree(secret ? point_b : point_s, indices, points, count, threshold, &challenge);
  }
  free(indices);
  free(points);
  return r;
}
