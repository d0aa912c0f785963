/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that lie in phase keys: refused, or named with evidence; the round
 * completes, and nobody honest is named. n = 8, c = 1, t = 5; the liar is member
 * 2, roster index 3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define LIAR 2
#define LIARS ((uint64_t)1 << LIAR)
#define VICTIM 5

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

/* The liar's own machine has nothing to say any more. */
static void finish_without_liar(struct federation *f) {
  f->silent_from[LIAR] = CNS_PHASE_NONE;
  attack_finish(f, LIARS);
  federation_deinit(f);
}

static void genuine_keys(struct federation *f, size_t k, uint8_t body[static CNS_KEYS_BODY_BYTES]) {
  const uint8_t *answer;
  size_t len;
  struct cns_problem problem = {0};
  struct cns_reader reader;
  struct cns_message message = {0};
  assert_int_equal(cns_hospital_keys(f->hospitals[k], &answer, &len, &problem), 0);
  cns_reader_init(&reader, answer, len);
  cns_message_read(&reader, &message);
  memcpy(body, message.body, CNS_KEYS_BODY_BYTES);
}

static void keys_convict(struct federation *f, const uint8_t *body, size_t len) {
  struct cns_problem problem;
  int r = attack_receive(f, LIAR, attack_answer(f, LIAR, body, len, NULL, NULL, 0), &problem);
  assert_int_equal(r, CNS_ANSWER_NAMED);
  assert_true(cns_coordinator_awaits(f->coordinator, LIAR));
  attack_convicted(f, LIAR, CNS_BLAME_BAD_KEYS);
  finish_without_liar(f);
}

/* E_j = E_k + delta*G: whoever opens e_i*E_j would decrypt k's shares. Without
 * k's secret there is no proof of possession. */
static void related_keys(void **state) {
  struct federation f;
  uint8_t body[CNS_KEYS_BODY_BYTES], other[CNS_KEYS_BODY_BYTES];
  struct cns_scalar delta;
  struct cns_point shift, victim, related;
  begin_at(&f, CNS_PHASE_KEYS, 1);
  genuine_keys(&f, LIAR, body);
  genuine_keys(&f, VICTIM, other);
  memcpy(victim.bytes, other + 32, CNS_POINT_BYTES);
  assert_int_equal(cns_scalar_random(cns_rng_seeded(&f.rngs[LIAR]), &delta), 0);
  assert_int_equal(cns_point_base(&delta, &shift), 0);
  assert_int_equal(cns_point_add(&victim, &shift, &related), 0);
  memcpy(body + 32, related.bytes, CNS_POINT_BYTES);
  memcpy(body + 128, other + 128, CNS_PROOF_BYTES); /* the best proof at hand: the victim's */
  keys_convict(&f, body, sizeof body);
}

static void copied_keys(void **state) {
  struct federation f;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 2);
  genuine_keys(&f, VICTIM, body);
  keys_convict(&f, body, sizeof body);
}

static void copied_encryption_key_only(void **state) {
  struct federation f;
  uint8_t body[CNS_KEYS_BODY_BYTES], other[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 3);
  genuine_keys(&f, LIAR, body);
  genuine_keys(&f, VICTIM, other);
  memcpy(body + 32, other + 32, CNS_POINT_BYTES);
  memcpy(body + 128, other + 128, CNS_PROOF_BYTES);
  keys_convict(&f, body, sizeof body);
}

static void missing_proof(void **state) {
  for (size_t half = 0; half < 2; half++) {
    struct federation f;
    uint8_t body[CNS_KEYS_BODY_BYTES];
    begin_at(&f, CNS_PHASE_KEYS, 4 + half);
    genuine_keys(&f, LIAR, body);
    memset(body + 64 + half * CNS_PROOF_BYTES, 0, CNS_PROOF_BYTES);
    keys_convict(&f, body, sizeof body);
  }
}

static void proofs_exchanged(void **state) {
  struct federation f;
  uint8_t body[CNS_KEYS_BODY_BYTES], swapped[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 6);
  genuine_keys(&f, LIAR, body);
  memcpy(swapped, body + 32, 32);
  memcpy(swapped + 32, body, 32);
  memcpy(swapped + 64, body + 128, 64);
  memcpy(swapped + 128, body + 64, 64);
  keys_convict(&f, swapped, sizeof swapped);
}

/* Binding of a proof of possession, from protocol/keys.h. */
static void prove(struct federation *f, const char *purpose, const struct cns_keys *keys,
                  const struct cns_scalar *secret, uint8_t *ret_proof) {
  struct cns_hash hash;
  struct cns_digest bound;
  struct cns_proof proof;
  cns_hash_init(&hash, "consilium/1 keys binding");
  cns_hash_digest(&hash, cns_hospital_round(f->hospitals[LIAR]));
  cns_hash_u16(&hash, LIAR + 1);
  cns_hash_blob(&hash, purpose, strlen(purpose));
  cns_hash_bytes(&hash, keys->s.bytes, CNS_POINT_BYTES);
  cns_hash_bytes(&hash, keys->e.bytes, CNS_POINT_BYTES);
  cns_hash_final(&hash, &bound);
  assert_int_equal(
      cns_proof_possession_make(secret, &keys->s, &bound, cns_rng_seeded(&f->rngs[LIAR]), &proof), 0);
  memcpy(ret_proof, proof.bytes, CNS_PROOF_BYTES);
}

/* Both proofs are good, but an opened e_i*E_j would be the masks' s_i*S_j. */
static void one_key_for_both_purposes(void **state) {
  struct federation f;
  struct cns_keys keys;
  struct cns_scalar secret;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 7);
  assert_int_equal(cns_scalar_random(cns_rng_seeded(&f.rngs[LIAR]), &secret), 0);
  assert_int_equal(cns_point_base(&secret, &keys.s), 0);
  keys.e = keys.s;
  memcpy(body, keys.s.bytes, CNS_POINT_BYTES);
  memcpy(body + 32, keys.e.bytes, CNS_POINT_BYTES);
  prove(&f, "pair masks", &keys, &secret, body + 64);
  prove(&f, "share encryption", &keys, &secret, body + 128);
  keys_convict(&f, body, sizeof body);
}

static void proof_of_another_round(void **state) {
  struct federation f;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 8);
  genuine_keys(&f, LIAR, body);
  federation_begin(&f, 1, 2);
  keys_convict(&f, body, sizeof body);
}

static void points_that_are_none(void **state) {
  uint8_t bad[3][CNS_POINT_BYTES] = {{0}, {0}, {1}}; /* the identity, p + 0 unreduced, a negative one */
  memset(bad[1], 0xff, CNS_POINT_BYTES);
  bad[1][0] = 0xed;
  bad[1][31] = 0x7f;
  for (size_t p = 0; p < 3; p++)
    for (size_t half = 0; half < 2; half++) {
      struct federation f;
      uint8_t body[CNS_KEYS_BODY_BYTES];
      begin_at(&f, CNS_PHASE_KEYS, 10 + 2 * p + half);
      genuine_keys(&f, LIAR, body);
      memcpy(body + half * CNS_POINT_BYTES, bad[p], CNS_POINT_BYTES);
      keys_convict(&f, body, sizeof body);
    }
}

static void keys_of_the_wrong_length(void **state) {
  for (size_t len = CNS_KEYS_BODY_BYTES - 1; len <= CNS_KEYS_BODY_BYTES + 1; len += 2) {
    struct federation f;
    uint8_t body[CNS_KEYS_BODY_BYTES + 1] = {0};
    begin_at(&f, CNS_PHASE_KEYS, 20 + len);
    genuine_keys(&f, LIAR, body);
    keys_convict(&f, body, len);
  }
}

/* A liar may make its message as long as a message can be: the evidence holds it. */
static void keys_of_the_greatest_length(void **state) {
  static const size_t lengths[] = {CNS_MESSAGE_BODY_MAX, CNS_MESSAGE_BODY_MAX - 160};
  uint8_t *body = calloc(CNS_MESSAGE_BODY_MAX, 1);
  assert_non_null(body);
  for (size_t l = 0; l < 2; l++) {
    struct federation f;
    begin_at(&f, CNS_PHASE_KEYS, 25 + l);
    genuine_keys(&f, LIAR, body);
    keys_convict(&f, body, lengths[l]);
  }
  free(body);
}

/* The draws of s and e, in this order, come from streams of their own. */
struct two_streams {
  struct cns_rng_seeded s, e;
  unsigned draws;
};

static int draw_from_two(void *context, uint8_t *out, size_t len) {
  struct two_streams *streams = context;
  return cns_rng_fill(cns_rng_seeded(streams->draws++ == 0 ? &streams->s : &streams->e), out, len);
}

static void keys_from(struct federation *f, const char *s_label, const char *e_label,
                      uint8_t body[static CNS_KEYS_BODY_BYTES]) {
  struct two_streams streams = {.draws = 0};
  struct cns_scalar s, e;
  struct cns_keys keys;
  cns_rng_seeded_init_label(&streams.s, 1, s_label);
  cns_rng_seeded_init_label(&streams.e, 1, e_label);
  assert_int_equal(cns_keys_make(cns_hospital_round(f->hospitals[LIAR]), LIAR + 1,
                                 (struct cns_rng){.fill = draw_from_two, .context = &streams}, &s, &e, &keys,
                                 body),
                   0);
}

/* Each proof is bound to both points: one point and its proof kept, and a fresh
 * other one with a good proof of its own. */
static void a_proof_for_another_pair_of_points(void **state) {
  for (size_t kept = 0; kept < 2; kept++) {
    struct federation f;
    uint8_t body[CNS_KEYS_BODY_BYTES], before[CNS_KEYS_BODY_BYTES];
    begin_at(&f, CNS_PHASE_KEYS, 31 + kept);
    keys_from(&f, "s", "e", before);
    keys_from(&f, kept ? "another s" : "s", kept ? "e" : "another e", body);
    const size_t point = kept * CNS_POINT_BYTES, proof = 64 + kept * CNS_PROOF_BYTES;
    assert_memory_equal(body + point, before + point, CNS_POINT_BYTES);
    assert_memory_not_equal(body + proof, before + proof, CNS_PROOF_BYTES);
    memcpy(body + proof, before + proof, CNS_PROOF_BYTES);
    keys_convict(&f, body, sizeof body);
  }
}

/* Two liars that share a secret can prove both: the second is turned away. */
static void two_liars_share_a_secret(void **state) {
  struct federation f;
  struct cns_problem problem;
  struct cns_rng_seeded rng, again;
  struct cns_scalar s, e;
  struct cns_keys keys;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 30);
  cns_rng_seeded_init_label(&rng, 30, "shared");
  again = rng;
  assert_int_equal(
      cns_keys_make(cns_hospital_round(f.hospitals[2]), 3, cns_rng_seeded(&rng), &s, &e, &keys, body), 0);
  assert_int_equal(attack_receive(&f, 2, attack_answer(&f, 2, body, sizeof body, NULL, NULL, 0), &problem),
                   0);
  assert_int_equal(
      cns_keys_make(cns_hospital_round(f.hospitals[3]), 4, cns_rng_seeded(&again), &s, &e, &keys, body), 0);
  assert_int_equal(attack_receive(&f, 3, attack_answer(&f, 3, body, sizeof body, NULL, NULL, 0), &problem),
                   CNS_ERR_REFUSED);
  f.silent_from[2] = f.silent_from[3] = CNS_PHASE_NONE;
  attack_finish(&f, 0);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(related_keys),
      cmocka_unit_test(copied_keys),
      cmocka_unit_test(copied_encryption_key_only),
      cmocka_unit_test(missing_proof),
      cmocka_unit_test(proofs_exchanged),
      cmocka_unit_test(one_key_for_both_purposes),
      cmocka_unit_test(proof_of_another_round),
      cmocka_unit_test(points_that_are_none),
      cmocka_unit_test(keys_of_the_wrong_length),
      cmocka_unit_test(keys_of_the_greatest_length),
      cmocka_unit_test(a_proof_for_another_pair_of_points),
      cmocka_unit_test(two_liars_share_a_secret),
  };
  return cmocka_run_group_tests_name("protocol lying keys", tests, NULL, NULL);
}
