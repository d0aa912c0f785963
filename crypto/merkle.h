/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merkle trees over BLAKE2b-256, leaves and nodes under contexts of their own
 * and the leaf count hashed into the root, so that neither a node can be shown
 * as a leaf nor a tree of one size as another. An odd node moves up unpaired.
 */
#pragma once

#include "crypto/hash.h"

#define CNS_MERKLE_DEPTH_MAX 40

void cns_merkle_leaf(const void *bytes, size_t len, struct cns_digest *ret_leaf);

/* Root over count >= 1 leaf digests. Memory: a copy of the leaves. */
CNS_MUST_CHECK int cns_merkle_root(const struct cns_digest *leaves, size_t count,
                                   struct cns_digest *ret_root);

struct cns_merkle_path {
  uint8_t depth;
  struct cns_digest siblings[CNS_MERKLE_DEPTH_MAX];
};
CNS_MUST_CHECK int cns_merkle_path(const struct cns_digest *leaves, size_t count, size_t position,
                                   struct cns_merkle_path *ret_path);
/* 0, or CNS_ERR_PROOF. */
CNS_MUST_CHECK int cns_merkle_check(const struct cns_digest *root, size_t count, size_t position,
                                    const struct cns_digest *leaf, const struct cns_merkle_path *path);

/* The same root, leaf after leaf, in O(log n) memory: for the digest of a
 * vector whose chunks arrive in order. */
struct cns_merkle_stream {
  uint64_t count;
  struct cns_digest nodes[CNS_MERKLE_DEPTH_MAX];
};
void cns_merkle_stream_init(struct cns_merkle_stream *stream);
CNS_MUST_CHECK int cns_merkle_stream_add(struct cns_merkle_stream *stream, const struct cns_digest *leaf);
CNS_MUST_CHECK int cns_merkle_stream_root(const struct cns_merkle_stream *stream,
                                          struct cns_digest *ret_root);

/* All levels of a tree kept, for callers that need the path of every leaf. */
struct cns_merkle_tree;
CNS_MUST_CHECK int cns_merkle_tree_new(const struct cns_digest *leaves, size_t count,
                                       struct cns_merkle_tree **ret_tree);
struct cns_merkle_tree *cns_merkle_tree_free(struct cns_merkle_tree *tree); /* returns NULL */
/* Equal to cns_merkle_path of the same leaves. */
CNS_MUST_CHECK int cns_merkle_tree_path(const struct cns_merkle_tree *tree, size_t position,
                                        struct cns_merkle_path *ret_path);
