/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mask generator: PRG(seed) is the AES-256-CTR keystream under key `seed`,
 * 128-bit big-endian counter from zero, read as little-endian u32. Seekable by
 * element. Bit-exact definition: docs/protocol.md, "Numbers".
 */
#pragma once

#include "crypto/base.h"

#define CNS_MASK_SEED_BYTES 32

struct cns_mask_seed {
  uint8_t bytes[CNS_MASK_SEED_BYTES];
};

/* One mask of a pass: the keystream is added (sign >= 0) or subtracted. */
struct cns_mask_term {
  struct cns_mask_seed seed;
  int sign;
};

/*
 * vector[k] += sum over terms of sign*PRG(seed)[first + k], k in 0..len-1,
 * modulo 2^32, in one pass over the vector: cache-sized blocks, all masks
 * added to a block before the next. Thread-safe. `first` is any element;
 * CNS_ERR_ARGUMENT if first + len leaves 64 bits. After CNS_ERR_LIBRARY the
 * vector is partly masked: neither the input nor fit to be sent.
 */
CNS_MUST_CHECK int cns_mask_apply(uint32_t *vector, size_t len, uint64_t first,
                                  const struct cns_mask_term *terms, size_t term_count);

/* Reusable key schedules, for callers that go over a vector chunk by chunk
 * with the same terms (the terms' seeds are copied and may be wiped). */
struct cns_mask_plan;
CNS_MUST_CHECK int cns_mask_plan_new(const struct cns_mask_term *terms, size_t term_count,
                                     struct cns_mask_plan **ret_plan);
/* Not thread-safe per plan: one plan a thread. Calls that go on where the last
 * one ended are cheapest; any other `first` seeks. */
CNS_MUST_CHECK int cns_mask_plan_apply(struct cns_mask_plan *plan, uint32_t *vector, size_t len,
                                       uint64_t first);
/* The masks themselves, whatever their signs: ret_elements[t*stride + k] =
 * PRG(seed of term t)[first + k], k in 0..len-1. Seeks likewise; stride >= len.
 * After a failure what was written is part of the masks: wipe it all the same. */
CNS_MUST_CHECK int cns_mask_plan_generate(struct cns_mask_plan *plan, uint64_t first, size_t len,
                                          size_t stride, uint32_t *ret_elements);
struct cns_mask_plan *cns_mask_plan_free(struct cns_mask_plan *plan); /* wipes; returns NULL */
