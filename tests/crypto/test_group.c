/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <sodium.h>

#include "crypto/group.h"

static const struct cns_scalar scalar_zero;
static const struct cns_point point_identity;

static void multiples_of_the_generator(void **state) {
  cJSON *vectors = vectors_load("group");
  const cJSON *multiples = vectors_get(vectors, "multiples");
  struct cns_point generator, sum = point_identity;
  vectors_hex_item(multiples, 1, generator.bytes, sizeof generator.bytes);
  assert_int_equal(vectors_count(multiples), 16);
  for (size_t k = 0; k < 16; k++) {
    struct cns_point expected, point;
    struct cns_scalar scalar;
    vectors_hex_item(multiples, k, expected.bytes, sizeof expected.bytes);
    assert_true(cns_point_equal(&sum, &expected));
    cns_scalar_from_u64(k, &scalar);
    assert_int_equal(cns_point_base(&scalar, &point), k ? CNS_OK : CNS_ERR_RANGE);
    if (k) assert_true(cns_point_equal(&point, &expected));
    assert_int_equal(cns_point_add(&sum, &generator, &sum), CNS_OK);
  }
  cJSON_Delete(vectors);
}

static void scalar_arithmetic(void **state) {
  cJSON *vectors = vectors_load("group");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "scalars")) {
    struct cns_scalar a, b, expected, got;
    uint8_t wide[64];
    vectors_hex(row, "a", a.bytes, 32);
    vectors_hex(row, "b", b.bytes, 32);
    vectors_hex(row, "wide", wide, sizeof wide);
    cns_scalar_add(&a, &b, &got);
    vectors_hex(row, "sum", expected.bytes, 32);
    assert_true(cns_scalar_equal(&got, &expected));
    cns_scalar_sub(&a, &b, &got);
    vectors_hex(row, "difference", expected.bytes, 32);
    assert_true(cns_scalar_equal(&got, &expected));
    cns_scalar_mul(&a, &b, &got);
    vectors_hex(row, "product", expected.bytes, 32);
    assert_true(cns_scalar_equal(&got, &expected));
    assert_int_equal(cns_scalar_invert(&a, &got), CNS_OK);
    vectors_hex(row, "inverse", expected.bytes, 32);
    assert_true(cns_scalar_equal(&got, &expected));
    cns_scalar_from_wide(wide, &got);
    vectors_hex(row, "reduced", expected.bytes, 32);
    assert_true(cns_scalar_equal(&got, &expected));
    /* An output may be an input. */
    got = a;
    cns_scalar_mul(&got, &got, &got);
    cns_scalar_mul(&a, &a, &expected);
    assert_true(cns_scalar_equal(&got, &expected));
  }
  cJSON_Delete(vectors);
}

static void point_arithmetic(void **state) {
  cJSON *vectors = vectors_load("group");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "products")) {
    struct cns_scalar scalar;
    struct cns_point point, base, expected, got;
    vectors_hex(row, "scalar", scalar.bytes, 32);
    vectors_hex(row, "point", point.bytes, 32);
    assert_int_equal(cns_point_check(&point), CNS_OK);
    assert_int_equal(cns_point_base(&scalar, &base), CNS_OK);
    vectors_hex(row, "base", expected.bytes, 32);
    assert_true(cns_point_equal(&base, &expected));
    assert_int_equal(cns_point_mul(&scalar, &point, &got), CNS_OK);
    vectors_hex(row, "product", expected.bytes, 32);
    assert_true(cns_point_equal(&got, &expected));
    assert_int_equal(cns_point_add(&base, &point, &got), CNS_OK);
    vectors_hex(row, "sum", expected.bytes, 32);
    assert_true(cns_point_equal(&got, &expected));
    assert_int_equal(cns_point_sub(&base, &point, &got), CNS_OK);
    vectors_hex(row, "difference", expected.bytes, 32);
    assert_true(cns_point_equal(&got, &expected));
  }
  cJSON_Delete(vectors);
}

/* What libsodium itself does at these edges is why group.h exists. */
static void zero_scalars_are_refused(void **state) {
  struct cns_scalar one;
  struct cns_point generator, out;
  cns_scalar_from_u64(1, &one);
  assert_int_equal(cns_point_base(&one, &generator), CNS_OK);
  memset(&out, 0x5a, sizeof out);
  const struct cns_point before = out;
  assert_int_equal(cns_scalar_check(&scalar_zero), CNS_ERR_FORMAT);
  assert_int_equal(cns_scalar_check_canonical(&scalar_zero), CNS_OK);
  assert_int_equal(cns_point_base(&scalar_zero, &out), CNS_ERR_RANGE);
  assert_int_equal(cns_point_mul(&scalar_zero, &generator, &out), CNS_ERR_RANGE);
  assert_true(cns_point_equal(&out, &before));
  struct cns_scalar inverse = one;
  assert_int_equal(cns_scalar_invert(&scalar_zero, &inverse), CNS_ERR_RANGE);
  assert_true(cns_scalar_equal(&inverse, &one));
}

static void unreduced_scalars_are_refused(void **state) {
  cJSON *vectors = vectors_load("group");
  const cJSON *unreduced = vectors_get(vectors, "unreduced");
  const cJSON *reduced = vectors_get(vectors, "reduced");
  struct cns_scalar scalar, out;
  struct cns_point generator, product, before;
  cns_scalar_from_u64(1, &scalar);
  assert_int_equal(cns_point_base(&scalar, &generator), CNS_OK);
  memset(&product, 0x5a, sizeof product);
  before = product;
  for (size_t k = 0; k < vectors_count(unreduced); k++) {
    vectors_hex_item(unreduced, k, scalar.bytes, 32);
    assert_int_equal(cns_scalar_check(&scalar), CNS_ERR_FORMAT);
    assert_int_equal(cns_scalar_check_canonical(&scalar), CNS_ERR_FORMAT);
    assert_int_equal(cns_scalar_invert(&scalar, &out), CNS_ERR_RANGE);
    assert_int_equal(cns_point_base(&scalar, &product), CNS_ERR_RANGE);
    assert_int_equal(cns_point_mul(&scalar, &generator, &product), CNS_ERR_RANGE);
    assert_true(cns_point_equal(&product, &before));
    /* Arithmetic reduces, whatever it is given. */
    cns_scalar_add(&scalar, &scalar_zero, &out);
    assert_int_equal(cns_scalar_check_canonical(&out), CNS_OK);
  }
  for (size_t k = 0; k < vectors_count(reduced); k++) {
    vectors_hex_item(reduced, k, scalar.bytes, 32);
    assert_int_equal(cns_scalar_check(&scalar), CNS_OK);
    assert_int_equal(cns_scalar_check_canonical(&scalar), CNS_OK);
  }
  cJSON_Delete(vectors);
}

/* Against libsodium's own reduction, near the order and everywhere. */
static void canonical_check_agrees_with_reduction(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "canonical");
  cJSON *vectors = vectors_load("group");
  struct cns_scalar order;
  vectors_hex_item(vectors_get(vectors, "unreduced"), 0, order.bytes, 32);
  for (int k = 0; k < 20000; k++) {
    struct cns_scalar scalar = order;
    uint8_t draw[34], wide[64] = {0};
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&seeded), draw, sizeof draw), CNS_OK);
    if (k % 2) memcpy(scalar.bytes, draw, 32);
    scalar.bytes[31] &= 0x1f;
    scalar.bytes[draw[32] % 32] = draw[33];
    memcpy(wide, scalar.bytes, 32);
    struct cns_scalar reduced;
    cns_scalar_from_wide(wide, &reduced);
    assert_int_equal(cns_scalar_check_canonical(&scalar) == CNS_OK, cns_scalar_equal(&scalar, &reduced));
  }
  cJSON_Delete(vectors);
}

static void bad_points_are_refused(void **state) {
  cJSON *vectors = vectors_load("group");
  const cJSON *bad = vectors_get(vectors, "bad_points");
  struct cns_scalar two;
  struct cns_point generator, point, out, before;
  cns_scalar_from_u64(2, &two);
  assert_int_equal(cns_point_base(&two, &generator), CNS_OK);
  memset(&out, 0x5a, sizeof out);
  before = out;
  assert_true(vectors_count(bad) >= 33);
  for (size_t k = 0; k < vectors_count(bad); k++) {
    vectors_hex_item(bad, k, point.bytes, 32);
    assert_int_equal(cns_point_check(&point), CNS_ERR_FORMAT);
    assert_int_equal(cns_point_mul(&two, &point, &out), CNS_ERR_FORMAT);
    if (cns_point_is_identity(&point)) continue;
    assert_int_equal(cns_point_add(&point, &generator, &out), CNS_ERR_FORMAT);
    assert_int_equal(cns_point_add(&generator, &point, &out), CNS_ERR_FORMAT);
    assert_int_equal(cns_point_sub(&point, &generator, &out), CNS_ERR_FORMAT);
    assert_int_equal(cns_point_sub(&generator, &point, &out), CNS_ERR_FORMAT);
  }
  assert_true(cns_point_equal(&out, &before));
  cJSON_Delete(vectors);
}

/* Two encodings of one point would pass every check for duplicates. */
static void the_highest_bit_is_refused(void **state) {
  struct cns_scalar two;
  struct cns_point point, product;
  cns_scalar_from_u64(2, &two);
  assert_int_equal(cns_point_base(&two, &point), CNS_OK);
  point.bytes[31] |= 0x80;
  assert_int_equal(cns_point_check(&point), CNS_ERR_FORMAT);
  assert_int_equal(cns_point_mul(&two, &point, &product), CNS_ERR_FORMAT);
  assert_int_equal(cns_point_add(&point, &point_identity, &product), CNS_ERR_FORMAT);
  assert_int_equal(cns_point_sub(&point_identity, &point, &product), CNS_ERR_FORMAT);
}

static void the_identity(void **state) {
  /* libsodium calls it a valid point. */
  assert_int_equal(crypto_core_ristretto255_is_valid_point(point_identity.bytes), 1);
  struct cns_scalar two;
  struct cns_point point, out;
  cns_scalar_from_u64(2, &two);
  assert_int_equal(cns_point_check(&point_identity), CNS_ERR_FORMAT);
  assert_int_equal(cns_point_mul(&two, &point_identity, &out), CNS_ERR_FORMAT);
  assert_int_equal(cns_point_base(&two, &point), CNS_OK);
  assert_int_equal(cns_point_add(&point, &point_identity, &out), CNS_OK);
  assert_true(cns_point_equal(&point, &out));
  assert_int_equal(cns_point_sub(&point, &point, &out), CNS_OK);
  assert_true(cns_point_is_identity(&out));
  assert_false(cns_point_is_identity(&point));
}

static void random_scalars(void **state) {
  struct cns_scalar a, b;
  assert_int_equal(cns_scalar_random(cns_rng_system(), &a), CNS_OK);
  assert_int_equal(cns_scalar_random(cns_rng_system(), &b), CNS_OK);
  assert_int_equal(cns_scalar_check(&a), CNS_OK);
  assert_false(cns_scalar_equal(&a, &b));

  struct failing_rng failing;
  const struct cns_scalar before = a;
  assert_int_equal(cns_scalar_random(failing_rng_init(&failing, 0), &a), CNS_ERR_RANDOM);
  uint8_t zero = 0; /* a broken source that only gives zeros */
  assert_int_equal(cns_scalar_random(constant_rng(&zero), &a), CNS_ERR_RANDOM);
  assert_true(cns_scalar_equal(&a, &before));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(multiples_of_the_generator),
      cmocka_unit_test(scalar_arithmetic),
      cmocka_unit_test(point_arithmetic),
      cmocka_unit_test(zero_scalars_are_refused),
      cmocka_unit_test(unreduced_scalars_are_refused),
      cmocka_unit_test(canonical_check_agrees_with_reduction),
      cmocka_unit_test(bad_points_are_refused),
      cmocka_unit_test(the_highest_bit_is_refused),
      cmocka_unit_test(the_identity),
      cmocka_unit_test(random_scalars),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
