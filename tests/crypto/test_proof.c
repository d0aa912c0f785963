/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/proof.h"

static const struct cns_scalar scalar_zero;
static const struct cns_point point_identity;

/* A statement of equality, which holds one of possession: e = secret*G. */
struct sample {
  struct cns_scalar secret;
  struct cns_point e, p, k;
  struct cns_digest binding;
  struct cns_proof possession, equality;
};

static struct sample sample_make(uint64_t seed) {
  struct sample s;
  struct cns_scalar other;
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, seed, "proof sample");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  assert_int_equal(cns_scalar_random(rng, &s.secret), CNS_OK);
  assert_int_equal(cns_scalar_random(rng, &other), CNS_OK);
  assert_int_equal(cns_rng_fill(rng, s.binding.bytes, sizeof s.binding.bytes), CNS_OK);
  assert_int_equal(cns_point_base(&s.secret, &s.e), CNS_OK);
  assert_int_equal(cns_point_base(&other, &s.p), CNS_OK);
  assert_int_equal(cns_point_mul(&s.secret, &s.p, &s.k), CNS_OK);
  assert_int_equal(cns_proof_possession_make(&s.secret, &s.e, &s.binding, rng, &s.possession), CNS_OK);
  assert_int_equal(cns_proof_equality_make(&s.secret, &s.e, &s.p, &s.k, &s.binding, rng, &s.equality),
                   CNS_OK);
  return s;
}

static int check_possession(const struct sample *s) {
  return cns_proof_possession_check(&s->e, &s->binding, &s->possession);
}

static int check_equality(const struct sample *s) {
  return cns_proof_equality_check(&s->e, &s->p, &s->k, &s->binding, &s->equality);
}

static void known_answers(void **state) {
  cJSON *vectors = vectors_load("proof");
  const char *const kinds[] = {"possession", "equality"};
  for (size_t kind = 0; kind < 2; kind++) {
    const cJSON *row;
    cJSON_ArrayForEach(row, vectors_get(vectors, kinds[kind])) {
      struct cns_scalar secret;
      struct cns_point point, p, k;
      struct cns_digest binding;
      struct cns_proof expected, proof;
      struct cns_rng_seeded seeded;
      uint8_t key[32];
      vectors_hex(row, "secret", secret.bytes, 32);
      vectors_hex(row, "binding", binding.bytes, 32);
      vectors_hex(row, "rng_key", key, 32);
      vectors_hex(row, "proof", expected.bytes, sizeof expected.bytes);
      cns_rng_seeded_init(&seeded, key);
      const struct cns_rng rng = cns_rng_seeded(&seeded);
      if (kind == 0) {
        vectors_hex(row, "point", point.bytes, 32);
        assert_int_equal(cns_proof_possession_check(&point, &binding, &expected), CNS_OK);
        assert_int_equal(cns_proof_possession_make(&secret, &point, &binding, rng, &proof), CNS_OK);
      } else {
        vectors_hex(row, "e", point.bytes, 32);
        vectors_hex(row, "p", p.bytes, 32);
        vectors_hex(row, "k", k.bytes, 32);
        assert_int_equal(cns_proof_equality_check(&point, &p, &k, &binding, &expected), CNS_OK);
        assert_int_equal(cns_proof_equality_make(&secret, &point, &p, &k, &binding, rng, &proof), CNS_OK);
      }
      assert_memory_equal(proof.bytes, expected.bytes, sizeof expected.bytes);
    }
  }
  cJSON_Delete(vectors);
}

static void weak_fiat_shamir_is_refused(void **state) {
  cJSON *vectors = vectors_load("proof");
  const cJSON *row = vectors_get(vectors, "weak_fiat_shamir");
  struct cns_point point;
  struct cns_digest binding;
  struct cns_proof proof;
  vectors_hex(row, "point", point.bytes, 32);
  vectors_hex(row, "binding", binding.bytes, 32);
  vectors_hex(row, "proof", proof.bytes, sizeof proof.bytes);
  assert_int_equal(cns_point_check(&point), CNS_OK);
  assert_int_equal(cns_proof_possession_check(&point, &binding, &proof), CNS_ERR_PROOF);
  cJSON_Delete(vectors);
}

static void every_flipped_bit_is_seen(void **state) {
  struct sample s = sample_make(test_seed());
  assert_int_equal(check_possession(&s), CNS_OK);
  assert_int_equal(check_equality(&s), CNS_OK);
  /* e, p, k, binding, possession and equality lie one after the other. */
  uint8_t *const first = s.e.bytes;
  for (size_t at = 0; at < 4 * 32 + 2 * CNS_PROOF_BYTES; at++) {
    const bool in_possession = at < 32 || (at >= 96 && at < 128 + CNS_PROOF_BYTES);
    const bool in_equality = at < 128 || at >= 128 + CNS_PROOF_BYTES;
    for (unsigned bit = 0; bit < 8; bit += 7) {
      struct sample altered = s;
      const size_t offset = (size_t)(first - (uint8_t *)&s);
      ((uint8_t *)&altered)[offset + at] ^= (uint8_t)(1u << bit);
      assert_int_equal(check_possession(&altered), in_possession ? CNS_ERR_PROOF : CNS_OK);
      assert_int_equal(check_equality(&altered), in_equality ? CNS_ERR_PROOF : CNS_OK);
    }
  }
}

/* docs/protocol.md, phase 1: E_j = E_k + delta*G would turn an opening of
 * e_i*E_j into one of e_i*E_k. */
static void a_related_key_gets_no_proof(void **state) {
  const struct sample victim = sample_make(test_seed());
  struct cns_scalar delta, shifted;
  struct cns_point offset, related;
  struct cns_proof proof;
  const struct cns_rng rng = cns_rng_system();
  assert_int_equal(cns_scalar_random(rng, &delta), CNS_OK);
  assert_int_equal(cns_point_base(&delta, &offset), CNS_OK);
  assert_int_equal(cns_point_add(&victim.e, &offset, &related), CNS_OK);

  /* The attacker's own secret isn't the related key's. */
  assert_int_equal(cns_proof_possession_make(&delta, &related, &victim.binding, rng, &proof),
                   CNS_ERR_ARGUMENT);
  /* The victim's proof, as it is and with the response shifted: r + c*delta
   * would fit if the challenge didn't cover the point. */
  assert_int_equal(cns_proof_possession_check(&related, &victim.binding, &victim.possession), CNS_ERR_PROOF);
  struct cns_scalar challenge, response;
  memcpy(challenge.bytes, victim.possession.bytes, 32);
  memcpy(response.bytes, victim.possession.bytes + 32, 32);
  cns_scalar_mul(&challenge, &delta, &shifted);
  cns_scalar_add(&response, &shifted, &response);
  proof = victim.possession;
  memcpy(proof.bytes + 32, response.bytes, 32);
  assert_int_equal(cns_proof_possession_check(&related, &victim.binding, &proof), CNS_ERR_PROOF);
}

static void a_proof_is_bound_to_its_statement(void **state) {
  const struct sample a = sample_make(test_seed()), b = sample_make(test_seed() + 1);
  assert_int_equal(cns_proof_possession_check(&a.e, &b.binding, &a.possession), CNS_ERR_PROOF);
  assert_int_equal(cns_proof_possession_check(&b.e, &a.binding, &a.possession), CNS_ERR_PROOF);
  assert_int_equal(cns_proof_possession_check(&a.e, &a.binding, &a.equality), CNS_ERR_PROOF);
  assert_int_equal(cns_proof_equality_check(&a.e, &a.p, &a.k, &a.binding, &a.possession), CNS_ERR_PROOF);
  /* K that isn't e*P: a false opening of a shared key. */
  assert_int_equal(cns_proof_equality_check(&a.e, &a.p, &b.k, &a.binding, &a.equality), CNS_ERR_PROOF);
  assert_int_equal(cns_proof_equality_check(&a.e, &b.p, &a.k, &a.binding, &a.equality), CNS_ERR_PROOF);
  struct cns_proof proof;
  assert_int_equal(cns_proof_equality_make(&a.secret, &a.e, &a.p, &b.k, &a.binding, cns_rng_system(), &proof),
                   CNS_ERR_ARGUMENT);
}

static void edges_are_refused(void **state) {
  const struct sample s = sample_make(test_seed());
  cJSON *vectors = vectors_load("group");
  const cJSON *unreduced = vectors_get(vectors, "unreduced"), *bad = vectors_get(vectors, "bad_points");
  const struct cns_rng rng = cns_rng_system();
  struct cns_proof out, before;
  memset(&out, 0x5a, sizeof out);
  before = out;

  for (size_t half = 0; half < CNS_PROOF_BYTES; half += 32) { /* challenge, response */
    struct sample altered = s;
    memset(altered.possession.bytes + half, 0, 32);
    memset(altered.equality.bytes + half, 0, 32);
    assert_int_equal(check_possession(&altered), CNS_ERR_PROOF);
    assert_int_equal(check_equality(&altered), CNS_ERR_PROOF);
    for (size_t k = 0; k < vectors_count(unreduced); k++) {
      vectors_hex_item(unreduced, k, altered.possession.bytes + half, 32);
      vectors_hex_item(unreduced, k, altered.equality.bytes + half, 32);
      assert_int_equal(check_possession(&altered), CNS_ERR_PROOF);
      assert_int_equal(check_equality(&altered), CNS_ERR_PROOF);
    }
    /* The same value plus the order would be a second proof. */
    altered = s;
    uint8_t order[32];
    vectors_hex_item(unreduced, 0, order, 32);
    unsigned carry = 0;
    for (size_t k = 0; k < 32; k++) {
      carry += (unsigned)altered.possession.bytes[half + k] + order[k];
      altered.possession.bytes[half + k] = (uint8_t)carry;
      carry >>= 8;
    }
    assert_int_equal(check_possession(&altered), CNS_ERR_PROOF);
  }
  for (size_t k = 0; k < vectors_count(bad); k++) {
    struct cns_point point;
    vectors_hex_item(bad, k, point.bytes, 32);
    assert_int_equal(cns_proof_possession_check(&point, &s.binding, &s.possession), CNS_ERR_PROOF);
    assert_int_equal(cns_proof_equality_check(&point, &s.p, &s.k, &s.binding, &s.equality), CNS_ERR_PROOF);
    assert_int_equal(cns_proof_equality_check(&s.e, &point, &s.k, &s.binding, &s.equality), CNS_ERR_PROOF);
    assert_int_equal(cns_proof_equality_check(&s.e, &s.p, &point, &s.binding, &s.equality), CNS_ERR_PROOF);
    assert_int_equal(cns_proof_possession_make(&s.secret, &point, &s.binding, rng, &out), CNS_ERR_ARGUMENT);
  }
  assert_int_equal(cns_proof_possession_make(&scalar_zero, &s.e, &s.binding, rng, &out), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_proof_equality_make(&s.secret, &s.e, &s.p, &point_identity, &s.binding, rng, &out),
                   CNS_ERR_ARGUMENT);
  assert_memory_equal(out.bytes, before.bytes, sizeof out.bytes);
  cJSON_Delete(vectors);
}

static void randomness(void **state) {
  const struct sample s = sample_make(test_seed());
  struct failing_rng failing;
  struct cns_proof out, before;
  memset(&out, 0x5a, sizeof out);
  before = out;
  struct cns_rng rng = failing_rng_init(&failing, 0);
  assert_int_equal(cns_proof_possession_make(&s.secret, &s.e, &s.binding, rng, &out), CNS_ERR_RANDOM);
  assert_int_equal(cns_proof_equality_make(&s.secret, &s.e, &s.p, &s.k, &s.binding, rng, &out),
                   CNS_ERR_RANDOM);
  assert_memory_equal(out.bytes, before.bytes, sizeof out.bytes);
}

/* With a source that repeats itself, two bindings must still get two nonces:
 * equal nonces give the secret away as (r1 - r2)/(c1 - c2). */
static void nonces_are_hedged(void **state) {
  const struct sample s = sample_make(test_seed());
  uint8_t zero = 0;
  struct cns_proof proofs[2];
  struct cns_digest binding = s.binding;
  for (size_t k = 0; k < 2; k++) {
    binding.bytes[0] ^= (uint8_t)k;
    assert_int_equal(cns_proof_possession_make(&s.secret, &s.e, &binding, constant_rng(&zero), &proofs[k]),
                     CNS_OK);
  }
  struct cns_scalar c[2], r[2], guess;
  for (size_t k = 0; k < 2; k++) {
    memcpy(c[k].bytes, proofs[k].bytes, 32);
    memcpy(r[k].bytes, proofs[k].bytes + 32, 32);
  }
  cns_scalar_sub(&c[0], &c[1], &c[0]);
  cns_scalar_sub(&r[0], &r[1], &r[0]);
  assert_int_equal(cns_scalar_invert(&c[0], &guess), CNS_OK);
  cns_scalar_mul(&guess, &r[0], &guess);
  assert_false(cns_scalar_equal(&guess, &s.secret));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(weak_fiat_shamir_is_refused),
      cmocka_unit_test(every_flipped_bit_is_seen),
      cmocka_unit_test(a_related_key_gets_no_proof),
      cmocka_unit_test(a_proof_is_bound_to_its_statement),
      cmocka_unit_test(edges_are_refused),
      cmocka_unit_test(randomness),
      cmocka_unit_test(nonces_are_hedged),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
