/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/merkle.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX ((uint64_t)1 << CNS_MERKLE_DEPTH_MAX)

void cns_merkle_leaf(const void *bytes, size_t len, struct cns_digest *ret_leaf) {
  cns_hash_once("consilium/1 merkle leaf", bytes, len, ret_leaf);
}

/* ret_node may be one of the inputs. */
static void node_of(const struct cns_digest *left, const struct cns_digest *right,
                    struct cns_digest *ret_node) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 merkle node");
  cns_hash_digest(&hash, left);
  cns_hash_digest(&hash, right);
  cns_hash_final(&hash, ret_node);
}

static void root_of(const struct cns_digest *top, uint64_t count, struct cns_digest *ret_root) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 merkle root");
  cns_hash_u64(&hash, count);
  cns_hash_digest(&hash, top);
  cns_hash_final(&hash, ret_root);
}

void cns_merkle_stream_init(struct cns_merkle_stream *stream) {
  *stream = (struct cns_merkle_stream){.count = 0};
}

/* nodes[k] is the top of a full tree of 2^k leaves where bit k of count is
 * set: adding a leaf is adding one to a binary number, with carries. */
int cns_merkle_stream_add(struct cns_merkle_stream *stream, const struct cns_digest *leaf) {
  if (stream->count >= COUNT_MAX - 1) return CNS_ERR_LIMIT;
  struct cns_digest carry = *leaf;
  size_t level = 0;
  for (; stream->count >> level & 1; level++)
    node_of(&stream->nodes[level], &carry, &carry);
  stream->nodes[level] = carry;
  stream->count++;
  return CNS_OK;
}

int cns_merkle_stream_root(const struct cns_merkle_stream *stream, struct cns_digest *ret_root) {
  if (stream->count == 0) return CNS_ERR_ARGUMENT;
  size_t level = 0;
  while (!(stream->count >> level & 1))
    level++;
  struct cns_digest top = stream->nodes[level];
  for (level++; level < CNS_MERKLE_DEPTH_MAX; level++)
    if (stream->count >> level & 1) node_of(&stream->nodes[level], &top, &top);
  root_of(&top, stream->count, ret_root);
  return CNS_OK;
}

int cns_merkle_root(const struct cns_digest *leaves, size_t count, struct cns_digest *ret_root) {
  struct cns_merkle_stream stream;
  cns_merkle_stream_init(&stream);
  for (size_t k = 0; k < count; k++) {
    const int error = cns_merkle_stream_add(&stream, &leaves[k]);
    if (error) return error;
  }
  return cns_merkle_stream_root(&stream, ret_root);
}

/* Is there a sibling at this level, or does the node move up unpaired? */
static bool has_sibling(uint64_t position, uint64_t width) {
  return (position ^ 1) < width;
}

int cns_merkle_path(const struct cns_digest *leaves, size_t count, size_t position,
                    struct cns_merkle_path *ret_path) {
  if (position >= count || count >= COUNT_MAX) return CNS_ERR_ARGUMENT;
  struct cns_digest *level = malloc(count * sizeof *level);
  if (!level) return CNS_ERR_MEMORY;
  memcpy(level, leaves, count * sizeof *level);

  struct cns_merkle_path path = {.depth = 0};
  for (size_t width = count; width > 1; width = width / 2 + width % 2, position /= 2) {
    if (has_sibling(position, width)) path.siblings[path.depth++] = level[position ^ 1];
    for (size_t k = 0; k + 1 < width; k += 2)
      node_of(&level[k], &level[k + 1], &level[k / 2]);
    if (width % 2) level[width / 2] = level[width - 1];
  }
  free(level);
  *ret_path = path;
  return CNS_OK;
}

int cns_merkle_check(const struct cns_digest *root, size_t count, size_t position,
                     const struct cns_digest *leaf, const struct cns_merkle_path *path) {
  if (position >= count || count >= COUNT_MAX || path->depth > CNS_MERKLE_DEPTH_MAX) return CNS_ERR_PROOF;

  struct cns_digest node = *leaf;
  size_t used = 0;
  for (size_t width = count; width > 1; width = width / 2 + width % 2, position /= 2) {
    if (!has_sibling(position, width)) continue;
    if (used == path->depth) return CNS_ERR_PROOF;
    const struct cns_digest *sibling = &path->siblings[used++];
    if (position & 1)
      node_of(sibling, &node, &node);
    else
      node_of(&node, sibling, &node);
  }
  struct cns_digest expected;
  root_of(&node, count, &expected);
  return used == path->depth && cns_digest_equal(&expected, root) ? CNS_OK : CNS_ERR_PROOF;
}

struct cns_merkle_tree {
  size_t count;
  struct cns_digest nodes[]; /* level after level, leaves first */
};

int cns_merkle_tree_new(const struct cns_digest *leaves, size_t count, struct cns_merkle_tree **ret_tree) {
  if (count == 0 || count >= COUNT_MAX) return CNS_ERR_ARGUMENT;
  /* The widths of the levels sum to at most 2*count + depth. */
  struct cns_merkle_tree *tree =
      malloc(sizeof *tree + (2 * count + CNS_MERKLE_DEPTH_MAX) * sizeof tree->nodes[0]);
  if (!tree) return CNS_ERR_MEMORY;
  tree->count = count;
  memcpy(tree->nodes, leaves, count * sizeof *leaves);
  struct cns_digest *level = tree->nodes;
  for (size_t width = count; width > 1; width = width / 2 + width % 2) {
    struct cns_digest *above = level + width;
    for (size_t k = 0; k + 1 < width; k += 2)
      node_of(&level[k], &level[k + 1], &above[k / 2]);
    if (width % 2) above[width / 2] = level[width - 1];
    level = above;
  }
  *ret_tree = tree;
  return CNS_OK;
}

struct cns_merkle_tree *cns_merkle_tree_free(struct cns_merkle_tree *tree) {
  free(tree);
  return NULL;
}

int cns_merkle_tree_path(const struct cns_merkle_tree *tree, size_t position,
                         struct cns_merkle_path *ret_path) {
  if (position >= tree->count) return CNS_ERR_ARGUMENT;
  struct cns_merkle_path path = {.depth = 0};
  const struct cns_digest *level = tree->nodes;
  for (size_t width = tree->count; width > 1; width = width / 2 + width % 2, position /= 2) {
    if (has_sibling(position, width)) path.siblings[path.depth++] = level[position ^ 1];
    level += width;
  }
  *ret_path = path;
  return CNS_OK;
}
