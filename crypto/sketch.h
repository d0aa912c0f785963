/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit's sketch: z = A*v over Z_2^32, k numbers of a vector of `words`
 * elements. docs/protocol.md, phase audit. A is s = 8 stacked blocks of
 * w = k/8 buckets (a count sketch each, Charikar, Chen, Farach-Colton 2002):
 * in every block each coordinate has an independent bucket and sign. Row
 * block*w + bucket of the sketch is the sum of sign*v[c] over the coordinates
 * in that bucket.
 *
 * Coordinate c takes 8 bytes of the AES-256-CTR keystream under the sketch's
 * key (counter as in crypto/mask.h), from byte 8*c on; byte b belongs to block
 * b: its low bits, as many as w needs, are the bucket; its top bit set is the
 * sign minus.
 */
#pragma once

#include "crypto/hash.h"
#include "crypto/mask.h"
#include "crypto/parallel.h"

#define CNS_SKETCH_BLOCKS 8u
#define CNS_SKETCH_MIN 128u
#define CNS_SKETCH_MAX 1024u
#define CNS_SKETCH_NONCE_BYTES 32
/* Below this many elements there is no audit: k is at most words/32. */
#define CNS_SKETCH_WORDS_PER_NUMBER 32u

struct cns_sketch_key {
  uint8_t bytes[32];
};

/* A from H(T_upload, nonce). */
void cns_sketch_key_derive(const struct cns_digest *transcript_upload,
                           const uint8_t nonce[static CNS_SKETCH_NONCE_BYTES],
                           struct cns_sketch_key *ret_key);

/* A power of two from CNS_SKETCH_MIN to CNS_SKETCH_MAX. */
bool cns_sketch_size_valid(uint32_t k);

/* Sketches of `count` vectors of `words` elements, one A for all, to
 * ret_sketches[count][k]; the same whatever runs in parallel. Vectors go in sixteens,
 * a rest of up to eight at half the price. Memory: once more the result, and 2.5 MB a
 * thread at the most. CNS_ERR_ARGUMENT for another k, or more than 2^62 words. */
CNS_MUST_CHECK int cns_sketch_vectors(const struct cns_sketch_key *key, uint32_t k,
                                      const uint32_t *const *vectors, size_t count, uint64_t words,
                                      struct cns_parallel parallel, uint32_t *ret_sketches);

/* The same of the masks PRG(seed), which are never held as a whole. */
CNS_MUST_CHECK int cns_sketch_masks(const struct cns_sketch_key *key, uint32_t k,
                                    const struct cns_mask_seed *seeds, size_t count, uint64_t words,
                                    struct cns_parallel parallel, uint32_t *ret_sketches);

/* Piece by piece: adds to sketches[count][k] what elements first .. first+len-1
 * contribute; vectors[v] points at element `first`. One plan a thread. Costs 2*count*k
 * additions besides, so pieces should be long. After CNS_ERR_MEMORY or
 * CNS_ERR_LIBRARY part may have been added: the sketches are of no use. */
struct cns_sketch_plan;
CNS_MUST_CHECK int cns_sketch_plan_new(const struct cns_sketch_key *key, uint32_t k,
                                       struct cns_sketch_plan **ret_plan);
CNS_MUST_CHECK int cns_sketch_plan_add(struct cns_sketch_plan *plan, const uint32_t *const *vectors,
                                       size_t count, uint64_t first, size_t len, uint32_t *sketches);
struct cns_sketch_plan *cns_sketch_plan_free(struct cns_sketch_plan *plan); /* returns NULL */

/* Estimate of the squared L2 norm of the sketched vector (elements taken as
 * signed): the mean of the blocks' squared norms; unbiased while no bucket
 * wraps, relative variance about 2/k. */
double cns_sketch_norm_squared(const uint32_t *sketch, uint32_t k);
/* Likewise of the inner product of two. */
double cns_sketch_inner_product(const uint32_t *a, const uint32_t *b, uint32_t k);
