/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/proof.h"

#include <string.h>

/* Nonces that give a zero or the challenge zero have probability 2^-251. */
#define ATTEMPTS_MAX 8
#define PAIRS_MAX 2

/*
 * Both proofs are one: knowledge of a secret s with image_k = s*base_k for all
 * pairs k. Possession has one pair (G, S), equality two, (G, E) and (P, K).
 * A base of NULL is G.
 */
struct statement {
  const char *context;
  size_t pair_count;
  const struct cns_point *bases[PAIRS_MAX];
  const struct cns_point *images[PAIRS_MAX];
  const struct cns_digest *binding;
};

static int multiply(const struct cns_scalar *scalar, const struct cns_point *base,
                    struct cns_point *ret_point) {
  return base ? cns_point_mul(scalar, base, ret_point) : cns_point_base(scalar, ret_point);
}

static void hash_statement(struct cns_hash *hash, const struct statement *statement) {
  cns_hash_digest(hash, statement->binding);
  for (size_t k = 0; k < statement->pair_count; k++) {
    if (statement->bases[k]) cns_hash_bytes(hash, statement->bases[k]->bytes, CNS_POINT_BYTES);
    cns_hash_bytes(hash, statement->images[k]->bytes, CNS_POINT_BYTES);
  }
}

/* Strong Fiat-Shamir: the whole statement, not only the commitments, is in the
 * challenge (Bernhard, Pereira and Warinschi 2012). */
static void challenge_of(const struct statement *statement, const struct cns_point *commitments,
                         struct cns_scalar *ret_challenge) {
  struct cns_hash hash;
  uint8_t wide[64];
  cns_hash_init_len(&hash, statement->context, sizeof wide);
  hash_statement(&hash, statement);
  for (size_t k = 0; k < statement->pair_count; k++)
    cns_hash_bytes(&hash, commitments[k].bytes, CNS_POINT_BYTES);
  cns_hash_final_len(&hash, wide, sizeof wide);
  cns_scalar_from_wide(wide, ret_challenge);
}

/* A nonce that repeats or is guessed gives the secret away. Hashing the secret
 * and the statement in keeps it safe even with a predictable rng. */
static int hedged_nonce(const struct statement *statement, const struct cns_scalar *secret,
                        struct cns_rng rng, struct cns_scalar *ret_nonce) {
  uint8_t fresh[32], wide[64];
  const int error = cns_rng_fill(rng, fresh, sizeof fresh);
  if (error) {
    cns_wipe(fresh, sizeof fresh);
    return error;
  }
  struct cns_hash hash;
  cns_hash_init_len(&hash, "consilium/1 proof nonce", sizeof wide);
  cns_hash_blob(&hash, statement->context, strlen(statement->context));
  cns_hash_bytes(&hash, secret->bytes, sizeof secret->bytes);
  cns_hash_bytes(&hash, fresh, sizeof fresh);
  hash_statement(&hash, statement);
  cns_hash_final_len(&hash, wide, sizeof wide);
  cns_scalar_from_wide(wide, ret_nonce);
  cns_wipe(fresh, sizeof fresh);
  cns_wipe(wide, sizeof wide);
  return CNS_OK;
}

/* 1 if the nonce happened to be useless. */
static int respond(const struct statement *statement, const struct cns_scalar *secret,
                   const struct cns_scalar *nonce, struct cns_proof *ret_proof) {
  struct cns_point commitments[PAIRS_MAX];
  struct cns_scalar challenge, product, response;
  if (cns_scalar_is_zero(nonce)) return 1;
  for (size_t k = 0; k < statement->pair_count; k++) {
    const int error = multiply(nonce, statement->bases[k], &commitments[k]);
    if (error) return error;
  }
  challenge_of(statement, commitments, &challenge);
  cns_scalar_mul(&challenge, secret, &product);
  cns_scalar_add(nonce, &product, &response);
  cns_wipe(&product, sizeof product);
  if (cns_scalar_is_zero(&challenge) || cns_scalar_is_zero(&response)) return 1;
  memcpy(ret_proof->bytes, challenge.bytes, CNS_SCALAR_BYTES);
  memcpy(ret_proof->bytes + CNS_SCALAR_BYTES, response.bytes, CNS_SCALAR_BYTES);
  return CNS_OK;
}

static int check_points(const struct statement *statement) {
  for (size_t k = 0; k < statement->pair_count; k++) {
    if (statement->bases[k] && cns_point_check(statement->bases[k]) != CNS_OK) return CNS_ERR_FORMAT;
    if (cns_point_check(statement->images[k]) != CNS_OK) return CNS_ERR_FORMAT;
  }
  return CNS_OK;
}

/* response*base - challenge*image, which must be the commitment. */
static int recover_commitment(const struct cns_scalar *challenge, const struct cns_scalar *response,
                              const struct cns_point *base, const struct cns_point *image,
                              struct cns_point *ret_commitment) {
  struct cns_point left, right;
  int error = multiply(response, base, &left);
  if (!error) error = cns_point_mul(challenge, image, &right);
  if (!error) error = cns_point_sub(&left, &right, ret_commitment);
  return error;
}

static int check(const struct statement *statement, const struct cns_proof *proof) {
  struct cns_scalar challenge, response, expected;
  memcpy(challenge.bytes, proof->bytes, CNS_SCALAR_BYTES);
  memcpy(response.bytes, proof->bytes + CNS_SCALAR_BYTES, CNS_SCALAR_BYTES);
  if (cns_scalar_check(&challenge) != CNS_OK || cns_scalar_check(&response) != CNS_OK) return CNS_ERR_PROOF;

  /* Each point is multiplied, which refuses those that are none. */
  struct cns_point commitments[PAIRS_MAX];
  for (size_t k = 0; k < statement->pair_count; k++) {
    if (recover_commitment(&challenge, &response, statement->bases[k], statement->images[k],
                           &commitments[k]) != CNS_OK ||
        cns_point_is_identity(&commitments[k]))
      return CNS_ERR_PROOF;
  }
  challenge_of(statement, commitments, &expected);
  return cns_scalar_equal(&expected, &challenge) ? CNS_OK : CNS_ERR_PROOF;
}

static int make(const struct statement *statement, const struct cns_scalar *secret, struct cns_rng rng,
                struct cns_proof *ret_proof) {
  if (cns_scalar_check(secret) != CNS_OK || check_points(statement) != CNS_OK) return CNS_ERR_ARGUMENT;

  struct cns_proof proof;
  int result = 1;
  for (int attempt = 0; attempt < ATTEMPTS_MAX && result == 1; attempt++) {
    struct cns_scalar nonce;
    result = hedged_nonce(statement, secret, rng, &nonce);
    if (!result) {
      result = respond(statement, secret, &nonce, &proof);
      cns_wipe(&nonce, sizeof nonce);
    }
  }
  if (result) return result == 1 ? CNS_ERR_RANDOM : result;
  /* A response about another statement, or one out of a faulty computation,
   * could tell about the secret: it never leaves. */
  if (check(statement, &proof) != CNS_OK) {
    cns_wipe(&proof, sizeof proof);
    return CNS_ERR_ARGUMENT;
  }
  *ret_proof = proof;
  return CNS_OK;
}

static struct statement possession(const struct cns_point *point, const struct cns_digest *binding) {
  return (struct statement){
      .context = "consilium/1 possession", .pair_count = 1, .images = {point}, .binding = binding};
}

static struct statement equality(const struct cns_point *e, const struct cns_point *p,
                                 const struct cns_point *k, const struct cns_digest *binding) {
  return (struct statement){.context = "consilium/1 equality",
                            .pair_count = 2,
                            .bases = {NULL, p},
                            .images = {e, k},
                            .binding = binding};
}

int cns_proof_possession_make(const struct cns_scalar *secret, const struct cns_point *point,
                              const struct cns_digest *binding, struct cns_rng rng,
                              struct cns_proof *ret_proof) {
  const struct statement statement = possession(point, binding);
  return make(&statement, secret, rng, ret_proof);
}

int cns_proof_possession_check(const struct cns_point *point, const struct cns_digest *binding,
                               const struct cns_proof *proof) {
  const struct statement statement = possession(point, binding);
  return check(&statement, proof);
}

int cns_proof_equality_make(const struct cns_scalar *secret, const struct cns_point *e,
                            const struct cns_point *p, const struct cns_point *k,
                            const struct cns_digest *binding, struct cns_rng rng,
                            struct cns_proof *ret_proof) {
  const struct statement statement = equality(e, p, k, binding);
  return make(&statement, secret, rng, ret_proof);
}

int cns_proof_equality_check(const struct cns_point *e, const struct cns_point *p, const struct cns_point *k,
                             const struct cns_digest *binding, const struct cns_proof *proof) {
  const struct statement statement = equality(e, p, k, binding);
  return check(&statement, proof);
}
