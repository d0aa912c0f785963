/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/merkle.h"

#define COUNT_MAX 130

static void leaves_of(size_t count, struct cns_digest *leaves) {
  for (size_t k = 0; k < count; k++) {
    const uint8_t bytes[4] = {(uint8_t)k, (uint8_t)(k >> 8), 0, 0};
    cns_merkle_leaf(bytes, sizeof bytes, &leaves[k]);
  }
}

static void known_answers(void **state) {
  cJSON *vectors = vectors_load("merkle");
  struct cns_digest leaves[COUNT_MAX], leaf, expected, root;
  vectors_hex(vectors, "leaf", expected.bytes, 32);
  cns_merkle_leaf("leaf", 4, &leaf);
  assert_true(cns_digest_equal(&leaf, &expected));
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "trees")) {
    const size_t count = vectors_number(row, "count"), position = vectors_number(row, "position");
    const cJSON *siblings = vectors_get(row, "path");
    struct cns_merkle_path path;
    leaves_of(count, leaves);
    vectors_hex(row, "root", expected.bytes, 32);
    assert_int_equal(cns_merkle_root(leaves, count, &root), CNS_OK);
    assert_true(cns_digest_equal(&root, &expected));
    assert_int_equal(cns_merkle_path(leaves, count, position, &path), CNS_OK);
    assert_int_equal(path.depth, vectors_count(siblings));
    for (size_t k = 0; k < path.depth; k++) {
      vectors_hex_item(siblings, k, expected.bytes, 32);
      assert_true(cns_digest_equal(&path.siblings[k], &expected));
    }
    assert_int_equal(cns_merkle_check(&root, count, position, &leaves[position], &path), CNS_OK);
  }
  cJSON_Delete(vectors);
}

static void what_must_not_pass(void **state) {
  cJSON *vectors = vectors_load("merkle");
  const cJSON *row;
  size_t rows = 0;
  cJSON_ArrayForEach(row, vectors_get(vectors, "refused")) {
    const cJSON *siblings = vectors_get(row, "path");
    struct cns_digest root, leaf;
    struct cns_merkle_path path = {.depth = (uint8_t)vectors_count(siblings)};
    assert_true(path.depth <= CNS_MERKLE_DEPTH_MAX);
    vectors_hex(row, "root", root.bytes, 32);
    vectors_hex(row, "leaf", leaf.bytes, 32);
    for (size_t k = 0; k < path.depth; k++)
      vectors_hex_item(siblings, k, path.siblings[k].bytes, 32);
    if (cns_merkle_check(&root, vectors_number(row, "count"), vectors_number(row, "position"), &leaf,
                         &path) >= 0)
      fail_msg("passed: %s", vectors_string(row, "what"));
    rows++;
  }
  assert_true(rows > 0);
  cJSON_Delete(vectors);
}

static void all_positions_of_all_sizes(void **state) {
  struct cns_digest leaves[COUNT_MAX], root, streamed;
  struct cns_merkle_stream stream;
  cns_merkle_stream_init(&stream);
  assert_int_equal(cns_merkle_stream_root(&stream, &streamed), CNS_ERR_ARGUMENT);
  leaves_of(COUNT_MAX, leaves);
  for (size_t count = 1; count <= COUNT_MAX; count++) {
    assert_int_equal(cns_merkle_root(leaves, count, &root), CNS_OK);
    assert_int_equal(cns_merkle_stream_add(&stream, &leaves[count - 1]), CNS_OK);
    assert_int_equal(cns_merkle_stream_root(&stream, &streamed), CNS_OK);
    assert_true(cns_digest_equal(&root, &streamed));
    for (size_t position = 0; position < count; position++) {
      struct cns_merkle_path path;
      assert_int_equal(cns_merkle_path(leaves, count, position, &path), CNS_OK);
      assert_int_equal(cns_merkle_check(&root, count, position, &leaves[position], &path), CNS_OK);
    }
  }
}

/* A path says "this leaf, at this place, in a tree of this size": every other
 * reading of it must fail. */
static void altered_paths_fail(void **state) {
  struct cns_digest leaves[COUNT_MAX], root;
  struct cns_merkle_path path;
  const size_t sizes[] = {1, 2, 3, 5, 8, 11, 33};
  leaves_of(COUNT_MAX, leaves);
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    const size_t count = sizes[s];
    assert_int_equal(cns_merkle_root(leaves, count, &root), CNS_OK);
    for (size_t position = 0; position < count; position++) {
      const struct cns_digest *leaf = &leaves[position];
      assert_int_equal(cns_merkle_path(leaves, count, position, &path), CNS_OK);
      for (size_t other = 0; other < count + 3; other++) {
        if (other != position)
          assert_int_equal(cns_merkle_check(&root, count, other, leaf, &path), CNS_ERR_PROOF);
        if (other != count)
          assert_int_equal(cns_merkle_check(&root, other, position, leaf, &path), CNS_ERR_PROOF);
      }
      assert_int_equal(cns_merkle_check(&root, count, position, &leaves[position + 1], &path), CNS_ERR_PROOF);
      for (size_t k = 0; k < path.depth; k++) {
        path.siblings[k].bytes[k] ^= 1;
        assert_int_equal(cns_merkle_check(&root, count, position, leaf, &path), CNS_ERR_PROOF);
        path.siblings[k].bytes[k] ^= 1;
      }
      path.depth++;
      assert_int_equal(cns_merkle_check(&root, count, position, leaf, &path), CNS_ERR_PROOF);
      path.depth = (uint8_t)(path.depth - 2);
      assert_int_equal(cns_merkle_check(&root, count, position, leaf, &path), CNS_ERR_PROOF);
      path.depth = 255;
      assert_int_equal(cns_merkle_check(&root, count, position, leaf, &path), CNS_ERR_PROOF);
    }
  }
}

static void a_node_is_no_leaf(void **state) {
  struct cns_digest leaves[4], root, as_leaf, node, node_as_bytes;
  struct cns_merkle_path path;
  leaves_of(4, leaves);
  assert_int_equal(cns_merkle_root(leaves, 4, &root), CNS_OK);
  /* The inner node over leaves 0 and 1 is the sibling that leaf 2's path ends
   * with: show it as a leaf of a tree of two. */
  assert_int_equal(cns_merkle_path(leaves, 4, 2, &path), CNS_OK);
  node = path.siblings[1];
  assert_int_equal(cns_merkle_path(leaves, 4, 0, &path), CNS_OK);
  const struct cns_merkle_path shorter = {.depth = 1, .siblings = {path.siblings[1]}};
  for (size_t count = 1; count <= 4; count++)
    assert_int_equal(cns_merkle_check(&root, count, 0, &node, &shorter), CNS_ERR_PROOF);
  /* A leaf whose bytes are two digests is not the node over them. */
  uint8_t pair[64];
  memcpy(pair, leaves[0].bytes, 32);
  memcpy(pair + 32, leaves[1].bytes, 32);
  cns_merkle_leaf(pair, sizeof pair, &as_leaf);
  assert_false(cns_digest_equal(&as_leaf, &node));
  cns_merkle_leaf(node.bytes, 32, &node_as_bytes);
  assert_int_equal(cns_merkle_check(&root, 2, 0, &node_as_bytes, &shorter), CNS_ERR_PROOF);
}

/* An odd leaf moves up; it must not count twice (as in Bitcoin's trees). */
static void sizes_have_different_roots(void **state) {
  struct cns_digest leaves[4], three, four, one;
  leaves_of(3, leaves);
  leaves[3] = leaves[2];
  assert_int_equal(cns_merkle_root(leaves, 3, &three), CNS_OK);
  assert_int_equal(cns_merkle_root(leaves, 4, &four), CNS_OK);
  assert_int_equal(cns_merkle_root(leaves, 1, &one), CNS_OK);
  assert_false(cns_digest_equal(&three, &four));
  assert_false(cns_digest_equal(&one, &leaves[0]));
}

static void bad_arguments(void **state) {
  struct cns_digest leaves[2], root = {{9}};
  struct cns_merkle_path path = {.depth = 77};
  leaves_of(2, leaves);
  assert_int_equal(cns_merkle_root(leaves, 0, &root), CNS_ERR_ARGUMENT);
  assert_int_equal(root.bytes[0], 9);
  assert_int_equal(cns_merkle_path(leaves, 2, 2, &path), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_merkle_path(leaves, 0, 0, &path), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_merkle_path(leaves, (size_t)1 << 40, 0, &path), CNS_ERR_ARGUMENT);
  assert_int_equal(path.depth, 77);
  assert_int_equal(cns_merkle_check(&root, SIZE_MAX, 0, &leaves[0], &path), CNS_ERR_PROOF);
  struct cns_merkle_stream stream;
  cns_merkle_stream_init(&stream);
  stream.count = ((uint64_t)1 << CNS_MERKLE_DEPTH_MAX) - 1;
  assert_int_equal(cns_merkle_stream_add(&stream, &leaves[0]), CNS_ERR_LIMIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(what_must_not_pass),
      cmocka_unit_test(all_positions_of_all_sizes),
      cmocka_unit_test(altered_paths_fail),
      cmocka_unit_test(a_node_is_no_leaf),
      cmocka_unit_test(sizes_have_different_roots),
      cmocka_unit_test(bad_arguments),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
