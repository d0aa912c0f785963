/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Phase shares: the dealer draws b_i, publishes B_i = b_i*G, and deals Shamir
 * shares of s_i and b_i at the roster indices of those who sent keys. Each
 * share comes with its point; point and ciphertext are a leaf under the signed
 * root_i. One's own share is kept; its leaf carries the points and zeros.
 *
 * Body, 32 bytes: B_i. Leaf, 148 bytes on the wire: recipient u16, dealer u16,
 * point of the share of s, point of the share of b, sealed pair of shares.
 */
#pragma once

#include "crypto/merkle.h"
#include "crypto/seal.h"
#include "crypto/shamir.h"
#include "protocol/keys.h"

#define CNS_SHARES_BODY_BYTES CNS_POINT_BYTES
#define CNS_SEALED_PAIR_BYTES (2 * CNS_SCALAR_BYTES + CNS_SEAL_TAG_BYTES)
#define CNS_LEAF_BYTES (4 + 2 * CNS_POINT_BYTES + CNS_SEALED_PAIR_BYTES)

/* Secret. */
struct cns_share_pair {
  struct cns_scalar s;
  struct cns_scalar b;
};

struct cns_leaf {
  uint16_t dealer;
  uint16_t recipient;
  struct cns_point point_s;
  struct cns_point point_b;
  uint8_t sealed[CNS_SEALED_PAIR_BYTES];
};

void cns_leaf_write(struct cns_writer *writer, const struct cns_leaf *leaf);
void cns_leaf_read(struct cns_reader *reader, struct cns_leaf *ret_leaf);
void cns_leaf_digest(const struct cns_leaf *leaf, struct cns_digest *ret_digest);

/* A path on the wire: depth u8, siblings. Reading fails the reader beyond
 * CNS_MERKLE_DEPTH_MAX. */
void cns_path_write(struct cns_writer *writer, const struct cns_merkle_path *path);
void cns_path_read(struct cns_reader *reader, struct cns_merkle_path *ret_path);

/* What a dealer needs; recipients are the roster indices of phase keys, sorted,
 * with the points K = e*E of each (secret; the dealer's own isn't looked at);
 * own is the dealer's position among them. */
struct cns_deal {
  const struct cns_digest *transcript; /* T_keys */
  const uint16_t *recipients;
  const struct cns_point *const *pairs;
  size_t count;
  size_t own;
  size_t threshold;
  const struct cns_scalar *s;
  struct cns_rng rng;
};
/* ret_leaves has count entries; ret_own is the share kept. */
CNS_MUST_CHECK int cns_shares_deal(const struct cns_deal *deal, struct cns_scalar *ret_b,
                                   struct cns_point *ret_point_b, struct cns_share_pair *ret_own,
                                   struct cns_leaf *ret_leaves);
CNS_MUST_CHECK int cns_leaves_root(const struct cns_leaf *leaves, size_t count, struct cns_digest *ret_root);

/* Opens a leaf with the pair point K = e_recipient*E_dealer (= e_dealer*E_recipient)
 * and checks both shares against their points. CNS_ERR_PROOF if the dealer
 * cheated in any way: undecipherable, zero or unreduced share, other point. */
CNS_MUST_CHECK int cns_leaf_open(const struct cns_point *pair, const struct cns_digest *transcript,
                                 const struct cns_leaf *leaf, struct cns_share_pair *ret_pair);

/* Canonical, non-zero and share*G == point? */
bool cns_share_matches(const struct cns_scalar *share, const struct cns_point *point);

/* Degree test of both secrets with the challenge H(commitment, dealer, which).
 * commitment: T_shares in the round, m of the dealer's message in evidence;
 * whatever it is, it must follow from the points S and B *and* all leaves, or
 * the dealer chooses what it leaves out to fit. CNS_ERR_PROOF. */
CNS_MUST_CHECK int cns_shares_check_degree(const struct cns_digest *commitment, uint16_t dealer,
                                           const struct cns_point *point_s, const struct cns_point *point_b,
                                           const struct cns_leaf *leaves, size_t count, size_t threshold);
