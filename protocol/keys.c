/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/keys.h"

#include <string.h>

static void binding(const struct cns_digest *round, uint16_t index, const char *purpose,
                    const struct cns_keys *keys, struct cns_digest *ret_binding) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 keys binding");
  cns_hash_digest(&hash, round);
  cns_hash_u16(&hash, index);
  cns_hash_blob(&hash, purpose, strlen(purpose));
  cns_hash_bytes(&hash, keys->s.bytes, CNS_POINT_BYTES);
  cns_hash_bytes(&hash, keys->e.bytes, CNS_POINT_BYTES);
  cns_hash_final(&hash, ret_binding);
}

int cns_keys_make(const struct cns_digest *round, uint16_t index, struct cns_rng rng,
                  struct cns_scalar *ret_s, struct cns_scalar *ret_e, struct cns_keys *ret_keys,
                  uint8_t ret_body[static CNS_KEYS_BODY_BYTES]) {
  struct cns_scalar s, e;
  struct cns_keys keys;
  struct cns_digest bound;
  struct cns_proof proof_s, proof_e;
  int r;
  if ((r = cns_scalar_random(rng, &s)) < 0 || (r = cns_scalar_random(rng, &e)) < 0) goto out;
  if ((r = cns_point_base(&s, &keys.s)) < 0 || (r = cns_point_base(&e, &keys.e)) < 0) goto out;
  binding(round, index, "pair masks", &keys, &bound);
  if ((r = cns_proof_possession_make(&s, &keys.s, &bound, rng, &proof_s)) < 0) goto out;
  binding(round, index, "share encryption", &keys, &bound);
  if ((r = cns_proof_possession_make(&e, &keys.e, &bound, rng, &proof_e)) < 0) goto out;
  *ret_s = s;
  *ret_e = e;
  *ret_keys = keys;
  memcpy(ret_body, keys.s.bytes, CNS_POINT_BYTES);
  memcpy(ret_body + 32, keys.e.bytes, CNS_POINT_BYTES);
  memcpy(ret_body + 64, proof_s.bytes, CNS_PROOF_BYTES);
  memcpy(ret_body + 128, proof_e.bytes, CNS_PROOF_BYTES);
out:
  cns_wipe(&s, sizeof s);
  cns_wipe(&e, sizeof e);
  return r;
}

int cns_keys_check(const struct cns_digest *round, uint16_t index, const uint8_t *body, size_t len,
                   struct cns_keys *ret_keys) {
  struct cns_keys keys;
  struct cns_proof proof_s, proof_e;
  struct cns_digest bound;
  if (len != CNS_KEYS_BODY_BYTES) return CNS_ERR_FORMAT;
  memcpy(keys.s.bytes, body, CNS_POINT_BYTES);
  memcpy(keys.e.bytes, body + 32, CNS_POINT_BYTES);
  memcpy(proof_s.bytes, body + 64, CNS_PROOF_BYTES);
  memcpy(proof_e.bytes, body + 128, CNS_PROOF_BYTES);
  if (cns_point_equal(&keys.s, &keys.e)) return CNS_ERR_PROOF;
  /* The proofs are of points: no others pass. */
  binding(round, index, "pair masks", &keys, &bound);
  if (cns_proof_possession_check(&keys.s, &bound, &proof_s) < 0) return CNS_ERR_PROOF;
  binding(round, index, "share encryption", &keys, &bound);
  if (cns_proof_possession_check(&keys.e, &bound, &proof_e) < 0) return CNS_ERR_PROOF;
  *ret_keys = keys;
  return 0;
}

/* Plain comparison: the points are public, and a hospital compares n^2 of them. */
static bool same(const struct cns_point *a, const struct cns_point *b) {
  return memcmp(a->bytes, b->bytes, CNS_POINT_BYTES) == 0;
}

bool cns_keys_collide(const struct cns_keys *keys, const struct cns_keys *others, size_t count) {
  for (size_t k = 0; k < count; k++) {
    const struct cns_keys *other = &others[k];
    if (same(&keys->s, &other->s) || same(&keys->s, &other->e) || same(&keys->e, &other->s) ||
        same(&keys->e, &other->e))
      return true;
  }
  return false;
}
