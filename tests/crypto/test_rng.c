/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static void seeded_stream_is_chacha20(void **state) {
  cJSON *vectors = vectors_load("rng");
  uint8_t key[32], expected[300], got[300];
  vectors_hex(vectors, "key", key, sizeof key);
  vectors_hex(vectors, "stream", expected, sizeof expected);
  /* However the requests are cut. */
  static const size_t cuts[] = {1, 3, 63, 64, 65, 128, 299, 300};
  for (size_t k = 0; k < sizeof cuts / sizeof cuts[0]; k++) {
    struct cns_rng_seeded rng;
    cns_rng_seeded_init(&rng, key);
    for (size_t at = 0; at < sizeof got; at += cuts[k]) {
      const size_t part = sizeof got - at < cuts[k] ? sizeof got - at : cuts[k];
      assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), got + at, part), CNS_OK);
    }
    assert_memory_equal(got, expected, sizeof got);
  }

  struct cns_rng_seeded labelled;
  cns_rng_seeded_init_label(&labelled, vectors_number(vectors, "seed"), vectors_string(vectors, "label"));
  vectors_hex(vectors, "label_stream", expected, 100);
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&labelled), got, 100), CNS_OK);
  assert_memory_equal(got, expected, 100);
  cJSON_Delete(vectors);
}

static void system_source_fills(void **state) {
  uint8_t a[1000] = {0}, b[1000] = {0};
  assert_int_equal(cns_rng_fill(cns_rng_system(), a, sizeof a), CNS_OK);
  assert_int_equal(cns_rng_fill(cns_rng_system(), b, sizeof b), CNS_OK);
  assert_memory_not_equal(a, b, sizeof a);
  assert_memory_not_equal(a, a + 500, 500);
  assert_int_equal(cns_rng_fill(cns_rng_system(), a, 0), CNS_OK);
}

static int odd_failure(void *context, uint8_t *out, size_t len) {
  (void)context;
  memset(out, 1, len);
  return 7;
}

static void every_failure_is_named_random(void **state) {
  uint8_t out[8];
  const struct cns_rng rng = {.fill = odd_failure};
  assert_int_equal(cns_rng_fill(rng, out, sizeof out), CNS_ERR_RANDOM);
}

static void uniform_stays_below_its_bound(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "uniform");
  struct cns_rng rng = cns_rng_seeded(&seeded);
  const uint64_t bounds[] = {1, 2, 3, 7, 1000, (1ull << 63) + 1, UINT64_MAX};
  for (size_t k = 0; k < sizeof bounds / sizeof bounds[0]; k++)
    for (int draw = 0; draw < 200; draw++) {
      uint64_t value = UINT64_MAX;
      assert_int_equal(cns_rng_uniform_u64(rng, bounds[k], &value), CNS_OK);
      assert_true(value < bounds[k]);
    }
  uint64_t value = 5;
  assert_int_equal(cns_rng_uniform_u64(rng, 0, &value), CNS_ERR_ARGUMENT);
  assert_int_equal(value, 5);
}

static void uniform_is_uniform(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "counts");
  unsigned counts[10] = {0};
  for (int draw = 0; draw < 20000; draw++) {
    uint64_t value;
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&seeded), 10, &value), CNS_OK);
    counts[value]++;
  }
  double chi = 0;
  for (int k = 0; k < 10; k++)
    chi += (counts[k] - 2000.0) * (counts[k] - 2000.0) / 2000.0;
  assert_true(chi < 40); /* 9 degrees of freedom: 8e-6 */
}

/* 2^63 + 1 rejects nearly half of all values, everything below 2^63 - 1. */
static void uniform_rejects_and_gives_up(void **state) {
  uint64_t value = 5;
  uint8_t zero = 0, high = 0xff;
  const uint64_t bound = (1ull << 63) + 1;
  assert_int_equal(cns_rng_uniform_u64(constant_rng(&zero), bound, &value), CNS_ERR_RANDOM);
  assert_int_equal(value, 5);
  assert_int_equal(cns_rng_uniform_u64(constant_rng(&high), bound, &value), CNS_OK);
  assert_true(value == UINT64_MAX % bound);

  struct failing_rng failing;
  value = 5;
  assert_int_equal(cns_rng_uniform_u64(failing_rng_init(&failing, 0), 10, &value), CNS_ERR_RANDOM);
  assert_int_equal(value, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(seeded_stream_is_chacha20),
      cmocka_unit_test(system_source_fills),
      cmocka_unit_test(every_failure_is_named_random),
      cmocka_unit_test(uniform_stays_below_its_bound),
      cmocka_unit_test(uniform_is_uniform),
      cmocka_unit_test(uniform_rejects_and_gives_up),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
