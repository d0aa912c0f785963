/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/shamir.h"

#define COUNT_MAX 40

static const struct cns_point point_identity;

/* A secret shared among random holders, with the points a dealer publishes. */
struct deal {
  size_t count, threshold;
  uint16_t indices[COUNT_MAX];
  struct cns_scalar secret, shares[COUNT_MAX];
  struct cns_point secret_point, points[COUNT_MAX];
  struct cns_digest challenge;
};

static void draw_indices(struct cns_rng rng, uint16_t *indices, size_t count) {
  uint16_t all[CNS_HOSPITALS_MAX];
  for (uint16_t k = 0; k < CNS_HOSPITALS_MAX; k++)
    all[k] = k + 1;
  for (size_t k = 0; k < count; k++) {
    uint64_t other;
    assert_int_equal(cns_rng_uniform_u64(rng, CNS_HOSPITALS_MAX - k, &other), CNS_OK);
    indices[k] = all[k + other];
    all[k + other] = all[k];
  }
}

static void deal_init(struct deal *deal, size_t count, size_t threshold, struct cns_rng rng) {
  *deal = (struct deal){.count = count, .threshold = threshold};
  draw_indices(rng, deal->indices, count);
  assert_int_equal(cns_scalar_random(rng, &deal->secret), CNS_OK);
  assert_int_equal(cns_rng_fill(rng, deal->challenge.bytes, sizeof deal->challenge.bytes), CNS_OK);
  assert_int_equal(cns_shamir_split(&deal->secret, threshold, deal->indices, count, rng, deal->shares),
                   CNS_OK);
}

static void deal_publish(struct deal *deal) {
  assert_int_equal(cns_point_base(&deal->secret, &deal->secret_point), CNS_OK);
  for (size_t k = 0; k < deal->count; k++)
    assert_int_equal(cns_point_base(&deal->shares[k], &deal->points[k]), CNS_OK);
}

static int deal_check(const struct deal *deal) {
  return cns_shamir_check_degree(&deal->secret_point, deal->indices, deal->points, deal->count,
                                 deal->threshold, &deal->challenge);
}

static void read_indices(const cJSON *row, uint16_t *indices, size_t *ret_count) {
  const cJSON *array = vectors_get(row, "indices");
  *ret_count = vectors_count(array);
  assert_true(*ret_count <= COUNT_MAX);
  for (size_t k = 0; k < *ret_count; k++)
    indices[k] = (uint16_t)cJSON_GetArrayItem(array, (int)k)->valueint;
}

static void known_shares(void **state) {
  cJSON *vectors = vectors_load("shamir");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "split")) {
    uint16_t indices[COUNT_MAX];
    size_t count;
    struct cns_scalar secret, shares[COUNT_MAX], expected, combined;
    uint8_t key[32];
    struct cns_rng_seeded seeded;
    const size_t threshold = vectors_number(row, "threshold");
    read_indices(row, indices, &count);
    vectors_hex(row, "secret", secret.bytes, 32);
    vectors_hex(row, "rng_key", key, 32);
    cns_rng_seeded_init(&seeded, key);
    assert_int_equal(cns_shamir_split(&secret, threshold, indices, count, cns_rng_seeded(&seeded), shares),
                     CNS_OK);
    for (size_t k = 0; k < count; k++) {
      vectors_hex_item(vectors_get(row, "shares"), k, expected.bytes, 32);
      assert_true(cns_scalar_equal(&shares[k], &expected));
    }
    const size_t skip = count - threshold; /* the last `threshold` of them */
    assert_int_equal(cns_shamir_combine(indices + skip, shares + skip, threshold, &combined), CNS_OK);
    assert_true(cns_scalar_equal(&combined, &secret));
  }
  cJSON_Delete(vectors);
}

static void known_degree_tests(void **state) {
  cJSON *vectors = vectors_load("shamir");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "degree")) {
    struct deal deal = {.threshold = vectors_number(row, "threshold")};
    const cJSON *points = vectors_get(row, "points");
    read_indices(row, deal.indices, &deal.count);
    vectors_hex(row, "challenge", deal.challenge.bytes, 32);
    vectors_hex_item(points, 0, deal.secret_point.bytes, 32);
    for (size_t k = 0; k < deal.count; k++)
      vectors_hex_item(points, k + 1, deal.points[k].bytes, 32);
    const int expected = cJSON_IsTrue(vectors_get(row, "good")) ? CNS_OK : CNS_ERR_PROOF;
    const int result = deal_check(&deal);
    if (result != expected) print_message("# %s: %d\n", vectors_string(row, "why"), result);
    assert_int_equal(result, expected);
  }
  cJSON_Delete(vectors);
}

static void all_sizes_and_thresholds(void **state) {
  const uint64_t seed = test_seed();
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, seed, "all thresholds");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  for (size_t count = 4; count <= COUNT_MAX; count++)
    for (size_t threshold = 1; threshold <= count; threshold++) {
      struct deal deal;
      struct cns_scalar combined;
      deal_init(&deal, count, threshold, rng);
      for (size_t used = threshold; used <= count; used += 1 + count / 4) {
        const size_t skip = count - used;
        assert_int_equal(cns_shamir_combine(deal.indices + skip, deal.shares + skip, used, &combined),
                         CNS_OK);
        assert_true(cns_scalar_equal(&combined, &deal.secret));
      }
      if (threshold > 1) { /* one share too few gives something else */
        assert_int_equal(cns_shamir_combine(deal.indices, deal.shares, threshold - 1, &combined), CNS_OK);
        assert_false(cns_scalar_equal(&combined, &deal.secret));
      }
      struct cns_scalar weights[COUNT_MAX];
      assert_int_equal(cns_shamir_weights(deal.indices, threshold, weights), CNS_OK);
      assert_int_equal(cns_shamir_combine_weighted(weights, deal.shares, threshold, &combined), CNS_OK);
      assert_true(cns_scalar_equal(&combined, &deal.secret));
    }
}

/* Shares of degree exactly `threshold`: one more than allowed. */
static void raise_degree(struct deal *deal) {
  for (size_t k = 0; k < deal->count; k++) {
    struct cns_scalar power, index;
    cns_scalar_from_u64(1, &power);
    cns_scalar_from_u64(deal->indices[k], &index);
    for (size_t e = 0; e < deal->threshold; e++)
      cns_scalar_mul(&power, &index, &power);
    cns_scalar_add(&deal->shares[k], &power, &deal->shares[k]);
  }
  deal_publish(deal);
}

static void attack_degree_test(size_t count, size_t threshold, struct cns_rng rng) {
  struct deal deal;
  deal_init(&deal, count, threshold, rng);
  deal_publish(&deal);
  assert_int_equal(deal_check(&deal), CNS_OK);

  struct deal altered = deal; /* one altered point */
  uint64_t position;
  assert_int_equal(cns_rng_uniform_u64(rng, count, &position), CNS_OK);
  assert_int_equal(
      cns_point_add(&deal.points[position], &deal.points[(position + 1) % count], &altered.points[position]),
      CNS_OK);
  assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);

  altered = deal; /* the shares are of another secret than announced */
  assert_int_equal(cns_point_add(&deal.secret_point, &deal.secret_point, &altered.secret_point), CNS_OK);
  assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);

  if (threshold > 1) { /* two points change places */
    altered = deal;
    altered.points[0] = deal.points[1];
    altered.points[1] = deal.points[0];
    assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);
    altered = deal;
    altered.threshold--;
    assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);
  }
  altered = deal;
  raise_degree(&altered);
  assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);
  if (altered.threshold < count) {
    altered.threshold++;
    assert_int_equal(deal_check(&altered), CNS_OK);
  }
}

static void degree_tests(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "degree tests");
  for (size_t count = 1; count <= 10; count++)
    for (size_t threshold = 1; threshold <= count; threshold++)
      attack_degree_test(count, threshold, cns_rng_seeded(&seeded));
  attack_degree_test(COUNT_MAX, 27, cns_rng_seeded(&seeded));
}

static void bad_points_fail_the_degree_test(void **state) {
  struct deal deal;
  cJSON *vectors = vectors_load("group");
  const cJSON *bad = vectors_get(vectors, "bad_points"); /* the identity among them */
  deal_init(&deal, 5, 3, cns_rng_system());
  deal_publish(&deal);
  for (size_t k = 0; k < vectors_count(bad); k++) {
    struct deal altered = deal;
    vectors_hex_item(bad, k, altered.points[k % 5].bytes, 32);
    assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);
    altered = deal;
    vectors_hex_item(bad, k, altered.secret_point.bytes, 32);
    assert_int_equal(deal_check(&altered), CNS_ERR_PROOF);
  }
  cJSON_Delete(vectors);
  struct deal nothing = deal; /* the zero polynomial: all points the identity */
  nothing.secret_point = point_identity;
  memset(nothing.points, 0, sizeof nothing.points);
  assert_int_equal(deal_check(&nothing), CNS_ERR_PROOF);
}

/* threshold == 1: all points equal the secret's, and every partial sum but the
 * last may be anything; threshold == count: the dual word is unique up to a
 * factor. Both on the smallest sizes. */
static void smallest_sizes(void **state) {
  struct deal deal;
  deal_init(&deal, 1, 1, cns_rng_system());
  deal_publish(&deal);
  assert_true(cns_scalar_equal(&deal.shares[0], &deal.secret));
  assert_int_equal(deal_check(&deal), CNS_OK);
  deal_init(&deal, 2, 1, cns_rng_system());
  deal_publish(&deal);
  assert_true(cns_point_equal(&deal.points[0], &deal.points[1]));
  assert_int_equal(deal_check(&deal), CNS_OK);
}

static void largest_size(void **state) {
  static uint16_t indices[CNS_HOSPITALS_MAX];
  static struct cns_scalar shares[CNS_HOSPITALS_MAX];
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "largest");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  struct cns_scalar secret, combined;
  draw_indices(rng, indices, CNS_HOSPITALS_MAX);
  assert_int_equal(cns_scalar_random(rng, &secret), CNS_OK);
  static const size_t thresholds[] = {2, 626, CNS_HOSPITALS_MAX};
  for (size_t k = 0; k < 3; k++) {
    assert_int_equal(cns_shamir_split(&secret, thresholds[k], indices, CNS_HOSPITALS_MAX, rng, shares),
                     CNS_OK);
    assert_int_equal(cns_shamir_combine(indices, shares, thresholds[k], &combined), CNS_OK);
    assert_true(cns_scalar_equal(&combined, &secret));
  }
}

static void bad_arguments(void **state) {
  struct deal deal;
  struct cns_scalar out[COUNT_MAX + 1], before, unreduced;
  memset(out, 0x5a, sizeof out);
  before = out[0];
  const struct cns_rng rng = cns_rng_system();
  deal_init(&deal, 5, 3, rng);
  deal_publish(&deal);
  memset(unreduced.bytes, 0xff, sizeof unreduced.bytes);

  static const uint16_t bad_indices[][5] = {{1, 2, 3, 4, 0}, {0, 1, 2, 3, 4},    {1, 2, 3, 4, 1},
                                            {7, 7, 1, 2, 3}, {1, 2, 3, 4, 1001}, {1, 2, 3, 4, 65535}};
  for (size_t k = 0; k < sizeof bad_indices / sizeof bad_indices[0]; k++) {
    const uint16_t *indices = bad_indices[k];
    assert_int_equal(cns_shamir_split(&deal.secret, 3, indices, 5, rng, out), CNS_ERR_ARGUMENT);
    assert_int_equal(cns_shamir_combine(indices, deal.shares, 5, out), CNS_ERR_ARGUMENT);
    assert_int_equal(cns_shamir_weights(indices, 5, out), CNS_ERR_ARGUMENT);
    assert_int_equal(cns_shamir_check_degree(&deal.secret_point, indices, deal.points, 5, 3, &deal.challenge),
                     CNS_ERR_ARGUMENT);
  }
  const struct cns_scalar zero = {{0}};
  assert_int_equal(cns_shamir_split(&deal.secret, 0, deal.indices, 5, rng, out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_shamir_split(&deal.secret, 6, deal.indices, 5, rng, out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_shamir_split(&deal.secret, 1, deal.indices, 0, rng, out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_shamir_split(&deal.secret, 1, deal.indices, 1001, rng, out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_shamir_split(&zero, 3, deal.indices, 5, rng, out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_shamir_split(&unreduced, 3, deal.indices, 5, rng, out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_shamir_combine(deal.indices, deal.shares, 0, out), CNS_ERR_ARGUMENT);
  deal.shares[1] = unreduced;
  assert_int_equal(cns_shamir_combine(deal.indices, deal.shares, 3, out), CNS_ERR_FORMAT);
  deal.shares[1] = zero;
  assert_int_equal(cns_shamir_combine(deal.indices, deal.shares, 3, out), CNS_ERR_FORMAT);
  deal.threshold = 0;
  assert_int_equal(deal_check(&deal), CNS_ERR_ARGUMENT);
  deal.threshold = 6;
  assert_int_equal(deal_check(&deal), CNS_ERR_ARGUMENT);
  for (size_t k = 0; k <= COUNT_MAX; k++)
    assert_true(cns_scalar_equal(&out[k], &before));
}

/* First the coefficient that makes the share at 1 zero, then good ones. */
struct spiteful_rng {
  struct cns_scalar first;
  unsigned spite;
};

static int spiteful_fill(void *context, uint8_t *out, size_t len) {
  struct spiteful_rng *rng = context;
  if (rng->spite == 0) return cns_rng_fill(cns_rng_system(), out, len);
  rng->spite--;
  memset(out, 0, len);
  memcpy(out, rng->first.bytes, sizeof rng->first.bytes);
  return CNS_OK;
}

static void zero_shares_are_drawn_again(void **state) {
  static const uint16_t indices[3] = {1, 2, 3};
  const struct cns_scalar zero = {{0}};
  struct cns_scalar secret, shares[3], combined;
  struct spiteful_rng spiteful = {.spite = 1};
  assert_int_equal(cns_scalar_random(cns_rng_system(), &secret), CNS_OK);
  cns_scalar_sub(&zero, &secret, &spiteful.first); /* f(x) = s - s*x */
  struct cns_rng rng = {.fill = spiteful_fill, .context = &spiteful};
  assert_int_equal(cns_shamir_split(&secret, 2, indices, 3, rng, shares), CNS_OK);
  assert_int_equal(spiteful.spite, 0);
  for (size_t k = 0; k < 3; k++)
    assert_false(cns_scalar_is_zero(&shares[k]));
  assert_int_equal(cns_shamir_combine(indices, shares, 2, &combined), CNS_OK);
  assert_true(cns_scalar_equal(&combined, &secret));

  spiteful.spite = UINT32_MAX; /* for ever: the source is broken */
  const struct cns_scalar before = shares[0];
  assert_int_equal(cns_shamir_split(&secret, 2, indices, 3, rng, shares), CNS_ERR_RANDOM);
  assert_true(cns_scalar_equal(&shares[0], &before));
}

static void randomness_fails_at_each_call(void **state) {
  struct deal deal;
  struct cns_scalar out[5], before[5];
  struct failing_rng failing;
  deal_init(&deal, 5, 4, cns_rng_system());
  memset(out, 0x5a, sizeof out);
  memcpy(before, out, sizeof out);
  for (unsigned at = 0; at < 3; at++) {
    struct cns_rng rng = failing_rng_init(&failing, at);
    assert_int_equal(cns_shamir_split(&deal.secret, 4, deal.indices, 5, rng, out), CNS_ERR_RANDOM);
    assert_memory_equal(out, before, sizeof out);
  }
  assert_int_equal(cns_shamir_split(&deal.secret, 4, deal.indices, 5, failing_rng_init(&failing, 3), out),
                   CNS_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_shares),
      cmocka_unit_test(known_degree_tests),
      cmocka_unit_test(all_sizes_and_thresholds),
      cmocka_unit_test(degree_tests),
      cmocka_unit_test(bad_points_fail_the_degree_test),
      cmocka_unit_test(smallest_sizes),
      cmocka_unit_test(largest_size),
      cmocka_unit_test(bad_arguments),
      cmocka_unit_test(zero_shares_are_drawn_again),
      cmocka_unit_test(randomness_fails_at_each_call),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
