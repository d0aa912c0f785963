/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/hash.h"

static void known_answers(void **state) {
  cJSON *vectors = vectors_load("hash");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "once")) {
    const char *context = vectors_string(row, "context");
    struct cns_digest expected, digest;
    uint8_t expected_long[64], digest_long[64];
    size_t len;
    uint8_t *input = vectors_blob(row, "input", &len);
    vectors_hex(row, "digest", expected.bytes, sizeof expected.bytes);
    vectors_hex(row, "long", expected_long, sizeof expected_long);

    cns_hash_once(context, input, len, &digest);
    assert_true(cns_digest_equal(&digest, &expected));

    struct cns_hash hash;
    cns_hash_init_len(&hash, context, sizeof digest_long);
    cns_hash_bytes(&hash, input, len / 3);
    cns_hash_bytes(&hash, input + len / 3, len - len / 3);
    cns_hash_final_len(&hash, digest_long, sizeof digest_long);
    assert_memory_equal(digest_long, expected_long, sizeof digest_long);
    free(input);
  }
  cJSON_Delete(vectors);
}

static void fields(void **state) {
  cJSON *vectors = vectors_load("hash");
  struct cns_digest expected, digest, input;
  vectors_hex(vectors, "fields", expected.bytes, sizeof expected.bytes);
  for (uint8_t k = 0; k < CNS_DIGEST_BYTES; k++)
    input.bytes[k] = k;
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 fields test");
  cns_hash_u8(&hash, 0x01);
  cns_hash_u16(&hash, 0x0203);
  cns_hash_u32(&hash, 0x04050607);
  cns_hash_u64(&hash, 0x08090a0b0c0d0e0f);
  cns_hash_blob(&hash, "abc", 3);
  cns_hash_digest(&hash, &input);
  cns_hash_final(&hash, &digest);
  assert_true(cns_digest_equal(&digest, &expected));

  const struct cns_hash zero = {0};
  assert_memory_equal(&hash, &zero, sizeof hash); /* wiped */
  cJSON_Delete(vectors);
}

static void contexts(void **state) {
  assert_true(cns_hash_context_valid("consilium/1 pair"));
  assert_true(cns_hash_context_valid("consilium/1 3456789012345678901234567890123456789012345678901234"));
  assert_false(cns_hash_context_valid("consilium/1 34567890123456789012345678901234567890123456789012345"));
  assert_false(cns_hash_context_valid("consilium/1 pai"));
  assert_false(cns_hash_context_valid(""));
  assert_false(cns_hash_context_valid("consilium/2 pair mask"));
  assert_false(cns_hash_context_valid("something else altogether"));
}

static void contexts_and_lengths_separate(void **state) {
  struct cns_digest a, b;
  uint8_t longer[64];
  cns_hash_once("consilium/1 purpose a", "x", 1, &a);
  cns_hash_once("consilium/1 purpose b", "x", 1, &b);
  assert_false(cns_digest_equal(&a, &b));
  struct cns_hash hash;
  cns_hash_init_len(&hash, "consilium/1 purpose a", sizeof longer);
  cns_hash_bytes(&hash, "x", 1);
  cns_hash_final_len(&hash, longer, sizeof longer);
  assert_memory_not_equal(longer, a.bytes, sizeof a.bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(fields),
      cmocka_unit_test(contexts),
      cmocka_unit_test(contexts_and_lengths_separate),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
