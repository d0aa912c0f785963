/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness is handed in, so that machines stay pure and tests take a seed. */
#pragma once

#include "crypto/base.h"

/* fill: 0, or CNS_ERR_RANDOM; a failed call must never be used as randomness. */
struct cns_rng {
  int (*fill)(void *context, uint8_t *out, size_t len);
  void *context;
};

/* The operating system's generator (getrandom); failure is CNS_ERR_RANDOM. */
struct cns_rng cns_rng_system(void);

/* Deterministic ChaCha20 stream from a seed: for tests, simulation and
 * public derivations (initial model, shuffles), never for secrets of a real
 * round. */
struct cns_rng_seeded {
  uint8_t key[32];
  uint64_t block;
  uint8_t buffer[64];
  size_t used;
};
void cns_rng_seeded_init(struct cns_rng_seeded *rng, const uint8_t seed[static 32]);
/* Seed from an integer and a label, e.g. (42, "hospital 3"). */
void cns_rng_seeded_init_label(struct cns_rng_seeded *rng, uint64_t seed, const char *label);
struct cns_rng cns_rng_seeded(struct cns_rng_seeded *rng);

CNS_MUST_CHECK int cns_rng_fill(struct cns_rng rng, uint8_t *out, size_t len);
/* Any order with the same probability (Fisher and Yates). */
CNS_MUST_CHECK int cns_rng_shuffle(struct cns_rng rng, uint32_t *items, size_t count);
/* Uniform below bound by rejection; bound >= 1. */
CNS_MUST_CHECK int cns_rng_uniform_u64(struct cns_rng rng, uint64_t bound, uint64_t *ret_value);
