/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase upload: y_i = x_i + PRG(self seed) + sum over j in U2 of
 * sign(i,j)*PRG(pair seed), over Z_2^32, sent in chunks; at the end a signed
 * tree digest. sign(i,j) is + for i < j and - for i > j. Seeds are bound to
 * T_ready, their purpose and the (sorted) pair of roster indices.
 *
 * Body, 40 bytes: Merkle root of the chunks, number of words (u64).
 */
#pragma once

#include "crypto/mask.h"
#include "protocol/shares.h"

#define CNS_CHUNK_WORDS 16384u /* 64 KiB; the last chunk may be shorter */
#define CNS_UPLOAD_BODY_BYTES (CNS_DIGEST_BYTES + 8)

void cns_self_seed(const struct cns_digest *transcript_ready, uint16_t index, const struct cns_scalar *b,
                   struct cns_mask_seed *ret_seed);
/* shared = s_i*S_j */
void cns_pair_seed(const struct cns_digest *transcript_ready, uint16_t i, uint16_t j,
                   const struct cns_point *shared, struct cns_mask_seed *ret_seed);
/* + if i adds the mask that it shares with j, - if it subtracts it */
int cns_pair_sign(uint16_t i, uint16_t j);

uint64_t cns_chunk_count(uint64_t words);
/* Words of chunk k. */
uint32_t cns_chunk_words(uint64_t words, uint64_t chunk);

/* Digest of a vector whose chunks come in order; words as little-endian bytes.
 * The leaf binds the chunk's number. */
struct cns_upload_digest {
  struct cns_merkle_stream stream;
  uint64_t words;
  uint64_t next_chunk;
};
void cns_upload_digest_init(struct cns_upload_digest *digest, uint64_t words);
/* CNS_ERR_RANGE for a chunk out of order or of the wrong length. */
CNS_MUST_CHECK int cns_upload_digest_add(struct cns_upload_digest *digest, uint64_t chunk,
                                         const uint8_t *bytes, size_t len);
/* CNS_ERR_STATE before the last chunk. */
CNS_MUST_CHECK int cns_upload_digest_final(const struct cns_upload_digest *digest,
                                           struct cns_digest *ret_root);

/* A receipt: the coordinator's signature that it holds this complete upload. */
CNS_MUST_CHECK int cns_receipt_sign(const struct cns_identity *coordinator, const struct cns_digest *round,
                                    uint16_t index, const struct cns_digest *root,
                                    struct cns_signature *ret_signature);
CNS_MUST_CHECK int cns_receipt_verify(const struct cns_identity_public *coordinator,
                                      const struct cns_digest *round, uint16_t index,
                                      const struct cns_digest *root, const struct cns_signature *signature);
