/* SPDX-License-Identifier: Apache-2.0 */
/* The seeds of masks: known answers, and what they are bound to. A seed that
 * left its secret out would be known to everyone who reads the lists. */
#include "tests/crypto/support.h"

#include "protocol/upload.h"

static void self_seeds(void **state) {
  cJSON *vectors = vectors_load("seeds");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "self")) {
    struct cns_digest ready;
    struct cns_scalar b, other;
    struct cns_mask_seed seed, expected;
    const uint16_t index = (uint16_t)vectors_number(row, "index");
    vectors_hex(row, "transcript", ready.bytes, sizeof ready.bytes);
    vectors_hex(row, "b", b.bytes, sizeof b.bytes);
    vectors_hex(row, "seed", expected.bytes, sizeof expected.bytes);
    cns_self_seed(&ready, index, &b, &seed);
    assert_memory_equal(&seed, &expected, sizeof seed);
    for (size_t byte = 0; byte < sizeof b.bytes; byte++) {
      other = b;
      other.bytes[byte] ^= 1;
      cns_self_seed(&ready, index, &other, &seed);
      assert_memory_not_equal(&seed, &expected, sizeof seed);
    }
    cns_self_seed(&ready, (uint16_t)(index ^ 256), &b, &seed);
    assert_memory_not_equal(&seed, &expected, sizeof seed);
    ready.bytes[31] ^= 1;
    cns_self_seed(&ready, index, &b, &seed);
    assert_memory_not_equal(&seed, &expected, sizeof seed);
  }
  cJSON_Delete(vectors);
}

static void pair_seeds(void **state) {
  cJSON *vectors = vectors_load("seeds");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "pair")) {
    struct cns_digest ready;
    struct cns_point shared, other;
    struct cns_mask_seed seed, expected;
    const uint16_t i = (uint16_t)vectors_number(row, "i"), j = (uint16_t)vectors_number(row, "j");
    vectors_hex(row, "transcript", ready.bytes, sizeof ready.bytes);
    vectors_hex(row, "shared", shared.bytes, sizeof shared.bytes);
    vectors_hex(row, "seed", expected.bytes, sizeof expected.bytes);
    cns_pair_seed(&ready, i, j, &shared, &seed);
    assert_memory_equal(&seed, &expected, sizeof seed);
    cns_pair_seed(&ready, j, i, &shared, &seed); /* the same for both */
    assert_memory_equal(&seed, &expected, sizeof seed);
    for (size_t byte = 0; byte < sizeof shared.bytes; byte++) {
      other = shared;
      other.bytes[byte] ^= 1;
      cns_pair_seed(&ready, i, j, &other, &seed);
      assert_memory_not_equal(&seed, &expected, sizeof seed);
    }
    cns_pair_seed(&ready, (uint16_t)(i ^ 256), j, &shared, &seed);
    assert_memory_not_equal(&seed, &expected, sizeof seed);
    cns_pair_seed(&ready, i, (uint16_t)(j ^ 256), &shared, &seed);
    assert_memory_not_equal(&seed, &expected, sizeof seed);
    ready.bytes[31] ^= 1;
    cns_pair_seed(&ready, i, j, &shared, &seed);
    assert_memory_not_equal(&seed, &expected, sizeof seed);
  }
  cJSON_Delete(vectors);
}

/* Either side of a pair comes to the point of the vectors with its own secret. */
static void both_sides_have_the_same_point(void **state) {
  cJSON *vectors = vectors_load("seeds");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "pair")) {
    struct cns_scalar s[2];
    struct cns_point expected, public, shared;
    vectors_hex(row, "s_i", s[0].bytes, sizeof s[0].bytes);
    vectors_hex(row, "s_j", s[1].bytes, sizeof s[1].bytes);
    vectors_hex(row, "shared", expected.bytes, sizeof expected.bytes);
    for (size_t side = 0; side < 2; side++) {
      assert_int_equal(cns_point_base(&s[1 - side], &public), 0);
      assert_int_equal(cns_point_mul(&s[side], &public, &shared), 0);
      assert_memory_equal(&shared, &expected, sizeof shared);
    }
  }
  cJSON_Delete(vectors);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(self_seeds),
      cmocka_unit_test(pair_seeds),
      cmocka_unit_test(both_sides_have_the_same_point),
  };
  return cmocka_run_group_tests_name("protocol seeds", tests, setup_library, NULL);
}
