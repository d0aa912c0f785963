/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/seal.h"

static void known_answers(void **state) {
  cJSON *vectors = vectors_load("seal");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "seal")) {
    uint8_t key[32], nonce[24];
    size_t ad_len, len, sealed_len;
    vectors_hex(row, "key", key, sizeof key);
    vectors_hex(row, "nonce", nonce, sizeof nonce);
    uint8_t *ad = vectors_blob(row, "ad", &ad_len);
    uint8_t *plain = vectors_blob(row, "plain", &len);
    uint8_t *expected = vectors_blob(row, "sealed", &sealed_len);
    uint8_t *sealed = calloc(1, sealed_len), *opened = calloc(1, len + 1);
    assert_true(sealed && opened);
    assert_int_equal(sealed_len, len + CNS_SEAL_TAG_BYTES);
    assert_int_equal(cns_seal(key, nonce, ad, ad_len, plain, len, sealed), CNS_OK);
    assert_memory_equal(sealed, expected, sealed_len);
    assert_int_equal(cns_unseal(key, nonce, ad, ad_len, expected, sealed_len, opened), CNS_OK);
    assert_memory_equal(opened, plain, len);
    free(ad);
    free(plain);
    free(expected);
    free(sealed);
    free(opened);
  }
  cJSON_Delete(vectors);
}

static void what_must_not_open(void **state) {
  cJSON *vectors = vectors_load("seal");
  const cJSON *row;
  size_t rows = 0;
  cJSON_ArrayForEach(row, vectors_get(vectors, "refused")) {
    uint8_t key[32], nonce[24], opened[64];
    size_t ad_len, sealed_len;
    vectors_hex(row, "key", key, sizeof key);
    vectors_hex(row, "nonce", nonce, sizeof nonce);
    uint8_t *ad = vectors_blob(row, "ad", &ad_len);
    uint8_t *sealed = vectors_blob(row, "sealed", &sealed_len);
    assert_true(sealed_len <= sizeof opened);
    if (cns_unseal(key, nonce, ad, ad_len, sealed, sealed_len, opened) >= 0)
      fail_msg("opened: %s", vectors_get(row, "what")->valuestring);
    free(ad);
    free(sealed);
    rows++;
  }
  assert_true(rows > 0);
  cJSON_Delete(vectors);
}

struct sample {
  uint8_t key[32], nonce[24], ad[20], plain[32], sealed[32 + CNS_SEAL_TAG_BYTES];
};

static struct sample sample_make(void) {
  struct sample s;
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "seal");
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&seeded), (uint8_t *)&s, sizeof s), CNS_OK);
  assert_int_equal(cns_seal(s.key, s.nonce, s.ad, sizeof s.ad, s.plain, sizeof s.plain, s.sealed), CNS_OK);
  return s;
}

static int open_sample(const struct sample *s, size_t ad_len, size_t sealed_len, uint8_t *out) {
  return cns_unseal(s->key, s->nonce, s->ad, ad_len, s->sealed, sealed_len, out);
}

static void every_altered_byte_is_seen(void **state) {
  const struct sample s = sample_make();
  uint8_t out[32], before[32];
  memset(out, 0x5a, sizeof out);
  memcpy(before, out, sizeof out);
  for (size_t at = 0; at < sizeof s; at++) {
    struct sample altered = s;
    ((uint8_t *)&altered)[at] ^= 1;
    const bool matters = at < offsetof(struct sample, plain) || at >= offsetof(struct sample, sealed);
    if (matters) assert_int_equal(open_sample(&altered, sizeof s.ad, sizeof s.sealed, out), CNS_ERR_PROOF);
    assert_memory_equal(out, before, sizeof out); /* untouched */
  }
  assert_int_equal(open_sample(&s, sizeof s.ad, sizeof s.sealed, out), CNS_OK);
  assert_memory_equal(out, s.plain, sizeof out);
}

static void other_data_and_lengths(void **state) {
  const struct sample s = sample_make();
  struct sample swapped = s;
  uint8_t out[64];
  memset(out, 0x5a, sizeof out);
  /* Associated data: two fields changed places, cut short, left out. */
  memcpy(swapped.ad, s.ad + 10, 10);
  memcpy(swapped.ad + 10, s.ad, 10);
  assert_int_equal(open_sample(&swapped, sizeof s.ad, sizeof s.sealed, out), CNS_ERR_PROOF);
  assert_int_equal(open_sample(&s, sizeof s.ad - 1, sizeof s.sealed, out), CNS_ERR_PROOF);
  assert_int_equal(cns_unseal(s.key, s.nonce, NULL, 0, s.sealed, sizeof s.sealed, out), CNS_ERR_PROOF);
  for (size_t len = 0; len < sizeof s.sealed; len++)
    assert_int_equal(open_sample(&s, sizeof s.ad, len, out),
                     len < CNS_SEAL_TAG_BYTES ? CNS_ERR_FORMAT : CNS_ERR_PROOF);
  assert_int_equal(out[0], 0x5a);
}

static void nothing_inside(void **state) {
  const struct sample s = sample_make();
  uint8_t sealed[CNS_SEAL_TAG_BYTES];
  assert_int_equal(cns_seal(s.key, s.nonce, NULL, 0, NULL, 0, sealed), CNS_OK);
  assert_int_equal(cns_unseal(s.key, s.nonce, NULL, 0, sealed, sizeof sealed, NULL), CNS_OK);
  sealed[3] ^= 1;
  assert_int_equal(cns_unseal(s.key, s.nonce, NULL, 0, sealed, sizeof sealed, NULL), CNS_ERR_PROOF);
  assert_int_equal(cns_seal(s.key, s.nonce, NULL, 0, s.plain, SIZE_MAX, sealed), CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(what_must_not_open),
      cmocka_unit_test(every_altered_byte_is_seen),
      cmocka_unit_test(other_data_and_lengths),
      cmocka_unit_test(nothing_inside),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
