/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner loop of crypto/mask.h on processors with AES instructions: tiles of the vector
 * stay in registers while the keystreams of all terms are made and added, so that a
 * keystream is never in memory. Used by crypto/mask.c; the versions are here for its tests.
 */
#pragma once

#include "crypto/mask.h"

/* Elements of a tile: 32 blocks of the cipher. */
#define CNS_MASK_TILE 128u
#define CNS_MASK_ROUND_KEYS 15

/* The key schedule of AES-256 (FIPS 197, section 5.2), in the order of encryption. */
struct cns_mask_key {
  uint8_t round[CNS_MASK_ROUND_KEYS][16];
  bool negative;
};

struct cns_mask_version {
  const char *name;
  /* NULL both: OpenSSL does it. */
  void (*expand)(const struct cns_mask_seed *seed, struct cns_mask_key *ret_key);
  /* vector[k] += sum over keys of +-keystream[4 * block + k], k in 0..CNS_MASK_TILE*tiles-1. */
  void (*apply)(const struct cns_mask_key *keys, size_t key_count, uint64_t block, uint32_t *vector,
                size_t tiles);
};

/* The versions that this processor can run, from 0: the portable one, then faster and
 * faster; NULL beyond the last. All give the same, bit for bit. */
const struct cns_mask_version *cns_mask_version(size_t number);

/* Tests and benchmarks: this version instead of the fastest. */
CNS_MUST_CHECK int cns_mask_plan_new_with(const struct cns_mask_version *version,
                                          const struct cns_mask_term *terms, size_t term_count,
                                          struct cns_mask_plan **ret_plan);
