/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 identities and signatures over (context, digest). */
#pragma once

#include "crypto/hash.h"
#include "crypto/rng.h"

#define CNS_IDENTITY_BYTES 32
#define CNS_SIGNATURE_BYTES 64

struct cns_identity_public {
  uint8_t bytes[CNS_IDENTITY_BYTES];
};
struct cns_signature {
  uint8_t bytes[CNS_SIGNATURE_BYTES];
};

/* Secret; lives in sodium_malloc'd memory. */
struct cns_identity;

CNS_MUST_CHECK int cns_identity_new(struct cns_rng rng, struct cns_identity **ret_identity);
CNS_MUST_CHECK int cns_identity_from_seed(const uint8_t seed[static 32], struct cns_identity **ret_identity);
struct cns_identity *cns_identity_free(struct cns_identity *identity);
const struct cns_identity_public *cns_identity_get_public(const struct cns_identity *identity);

/* Key file: one line "consilium-identity-1 <hex seed>\n", mode 0600, created
 * with O_EXCL and synced; loading refuses a file that group or others can
 * read (CNS_ERR_PERMISSION, with the chmod to run in the sentence). */
CNS_MUST_CHECK int cns_identity_save(const struct cns_identity *identity, const char *path,
                                     struct cns_problem *problem);
CNS_MUST_CHECK int cns_identity_load(const char *path, struct cns_identity **ret_identity,
                                     struct cns_problem *problem);

/* A 32-byte key of the owner's own, for data at rest: H(context, seed). */
void cns_identity_derive(const struct cns_identity *identity, const char *context,
                         uint8_t ret_key[static 32]);

/* Ed25519 over context || 0x00 || digest. Deterministic. */
CNS_MUST_CHECK int cns_sign(const struct cns_identity *identity, const char *context,
                            const struct cns_digest *digest, struct cns_signature *ret_signature);
/* 0, or CNS_ERR_SIGNATURE (also for small-order and non-canonical keys). */
CNS_MUST_CHECK int cns_verify(const struct cns_identity_public *who, const char *context,
                              const struct cns_digest *digest, const struct cns_signature *signature);
bool cns_identity_public_equal(const struct cns_identity_public *a, const struct cns_identity_public *b);
