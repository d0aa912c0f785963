/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts to frame an honest hospital with the evidence of a false sketch: by
 * liars that sign two things, with a coordinator that puts it together as it
 * likes. n = 8, c = 1, t = 5; the liar is member 2, the honest one member 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define LIAR 2
#define HONEST 5
#define THIRD 6
#define LISTS 5 /* keys to audit */

/* What goes into the evidence; layout in protocol/verdict.h. */
struct brief {
  enum cns_blame blame;
  size_t accused;
  struct cns_message audit, second, third;
  struct cns_claim claim;
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  struct cns_entry entries[LISTS][8];
};

static struct cns_merkle_tree *tree;

static void prepare(struct federation *f, uint64_t seed) {
  federation_init_audited(f, 8, seed);
  federation_begin(f, 1, 1);
  f->lie_partner[LIAR] = HONEST;
  f->lies[LIAR] = attack_lie_wildly;
  attack_play_until(f, CNS_PHASE_DISPUTE);
}

static struct cns_message held(const struct federation *f, size_t k, enum cns_phase phase) {
  return f->coordinator->members[k].messages[phase].view;
}

/* The honest one's true value of the mask it shares with `partner` (itself: the
 * self mask), truly opened. By itself it acquits. */
static struct brief truth(struct federation *f, size_t partner) {
  struct brief b = {.blame = partner == HONEST ? CNS_BLAME_FALSE_SELF : CNS_BLAME_FALSE_PAIR,
                    .accused = HONEST};
  const struct cns_hospital *h = f->hospitals[partner];
  memcpy(b.nonce, f->nonce, sizeof b.nonce);
  for (size_t p = 0; p < LISTS; p++)
    memcpy(b.entries[p], f->coordinator->round.entries[p + 1], sizeof b.entries[p]);
  b.audit = held(f, HONEST, CNS_PHASE_AUDIT);
  b.second = held(f, HONEST, partner == HONEST ? CNS_PHASE_SHARES : CNS_PHASE_KEYS);
  b.third = held(f, partner, CNS_PHASE_KEYS);
  assert_int_equal(cns_coordinator_audit_tree(f->coordinator, HONEST, &tree), 0);
  assert_int_equal(cns_coordinator_claim(f->coordinator, tree, HONEST, partner, &b.claim), 0);
  tree = cns_merkle_tree_free(tree);
  b.claim.b = f->hospitals[HONEST]->secrets->b;
  b.claim.opening = (struct cns_opening){.opener = (uint16_t)(partner + 1), .partner = HONEST + 1};
  if (partner != HONEST)
    assert_int_equal(cns_opening_make(&f->coordinator->round, &h->secrets->s, &h->keys[partner].s,
                                      &h->keys[HONEST].s, cns_rng_seeded(&f->rngs[0]), &b.claim.opening),
                     0);
  return b;
}

static void put_message(struct cns_writer *writer, const struct cns_message *message) {
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_ANSWER_BYTES_MAX);
  cns_message_write(&inner, message);
  cns_write_blob(writer, inner.data, inner.len);
  cns_writer_deinit(&inner);
}

static int judge(const struct federation *f, const struct brief *b, uint16_t *ret_index) {
  struct cns_writer writer, inner;
  enum cns_blame blame;
  struct cns_problem problem = {0};
  cns_writer_init(&writer, 1u << 20);
  cns_writer_init(&inner, CNS_DESCRIPTOR_BYTES_MAX);
  cns_write_u8(&writer, 1);
  cns_write_u8(&writer, (uint8_t)b->blame);
  cns_write_u16(&writer, (uint16_t)(b->accused + 1));
  cns_descriptor_write(&inner, &f->descriptor);
  cns_write_blob(&writer, inner.data, inner.len);
  cns_write_u8(&writer, CNS_PHASE_AUDIT);
  for (size_t p = 0; p < LISTS; p++)
    for (size_t k = 0; k < 8; k++) {
      cns_write_u8(&writer, b->entries[p][k].standing);
      cns_write_bytes(&writer, b->entries[p][k].message.bytes, CNS_DIGEST_BYTES);
    }
  cns_write_bytes(&writer, b->nonce, sizeof b->nonce);
  put_message(&writer, &b->audit);
  put_message(&writer, &b->second);
  if (b->blame == CNS_BLAME_FALSE_PAIR) put_message(&writer, &b->third);
  cns_claim_write(&writer, &b->claim, f->descriptor.sketch);
  int r = cns_evidence_check(&f->roster, writer.data, writer.len, ret_index, &blame, &problem);
  cns_writer_deinit(&writer);
  cns_writer_deinit(&inner);
  return r;
}

static void acquits(const struct federation *f, const struct brief *b) {
  uint16_t index = 0;
  int r = judge(f, b, &index);
  if (r >= 0) fail_msg("hospital %u is convicted", index);
}

static void honest_values(void **state) {
  struct federation f;
  static const size_t partners[] = {HONEST, LIAR, THIRD, 0};
  prepare(&f, 1);
  for (size_t p = 0; p < 4; p++) {
    struct brief b = truth(&f, partners[p]);
    acquits(&f, &b);
  }
  federation_deinit(&f);
}

/* The honest one's value against another A, another place, another secret. */
static void honest_values_put_another_way(void **state) {
  struct federation f;
  prepare(&f, 2);
  for (int kind = 0; kind < 9; kind++) {
    struct brief b = truth(&f, kind == 7 || kind == 8 ? HONEST : LIAR), other = truth(&f, THIRD);
    uint8_t words[4 * FEDERATION_SKETCH];
    switch (kind) {
    case 0: /* a nonce that the coordinator didn't commit to */
      b.nonce[0] ^= 1;
      break;
    case 1: /* the value of another pair, with its own path */
      b.claim.words = other.claim.words;
      b.claim.path = other.claim.path;
      break;
    case 2: /* a value that it never signed */
      memcpy(words, b.claim.words, sizeof words);
      words[0] ^= 1;
      b.claim.words = words;
      break;
    case 3: /* another pair's point, proven for that pair */
      b.claim.opening.pair = other.claim.opening.pair;
      b.claim.opening.proof = other.claim.opening.proof;
      break;
    case 4: /* the same under the other's name */
      b.claim.opening = other.claim.opening;
      b.third = other.third;
      break;
    case 5: /* its audit signed by the liar */
      b.audit = held(&f, LIAR, CNS_PHASE_AUDIT);
      break;
    case 6: /* the proof of the liar, but as if the accused had opened it */
      b.claim.opening.opener = HONEST + 1;
      b.claim.opening.partner = LIAR + 1;
      break;
    case 7: /* another's b, with that one's point */
      b.claim.b = f.hospitals[LIAR]->secrets->b;
      break;
    default:
      b.claim.b = f.hospitals[LIAR]->secrets->b;
      b.second = held(&f, LIAR, CNS_PHASE_SHARES);
    }
    acquits(&f, &b);
  }
  federation_deinit(&f);
}

/* The liar signed other keys as well: the pair it has by those is another one, and
 * the honest value isn't its sketch. Only the listed keys count. */
static void keys_signed_twice(void **state) {
  struct federation f;
  struct cns_rng_seeded rng;
  struct cns_scalar s, e;
  struct cns_keys keys;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  prepare(&f, 3);
  cns_rng_seeded_init_label(&rng, 3, "second keys");
  assert_int_equal(cns_keys_make(cns_hospital_round(f.hospitals[LIAR]), LIAR + 1, cns_rng_seeded(&rng), &s,
                                 &e, &keys, body),
                   0);
  struct brief b = truth(&f, LIAR);
  b.third.body = body;
  b.third.body_len = sizeof body;
  assert_int_equal(cns_message_sign(&b.third, f.identities[LIAR]), 0);
  assert_int_equal(cns_opening_make(&f.coordinator->round, &s, &keys.s, &f.hospitals[0]->keys[HONEST].s,
                                    cns_rng_seeded(&rng), &b.claim.opening),
                   0);
  acquits(&f, &b);
  cns_message_digest(&b.third, &b.entries[0][LIAR].message); /* with the list changed to have them */
  acquits(&f, &b);
  federation_deinit(&f);
}

/* Who signed two dealings, with another b in the second, is a liar, but its q was
 * of the listed one: that isn't what it is convicted of. */
static void shares_signed_twice(void **state) {
  struct federation f;
  struct cns_rng_seeded rng;
  struct cns_point point;
  prepare(&f, 7);
  struct brief b = truth(&f, HONEST);
  cns_rng_seeded_init_label(&rng, 7, "second b");
  assert_int_equal(cns_scalar_random(cns_rng_seeded(&rng), &b.claim.b), 0);
  assert_int_equal(cns_point_base(&b.claim.b, &point), 0);
  b.second.body = point.bytes;
  assert_int_equal(cns_message_sign(&b.second, f.identities[HONEST]), 0);
  acquits(&f, &b);
  cns_message_digest(&b.second, &b.entries[1][HONEST].message); /* with the list changed to have it */
  acquits(&f, &b);
  federation_deinit(&f);
}

/* A list of phase audit made up by the coordinator binds proofs to something
 * else, and the liar proves its pair under that: the pair is still the true one. */
static void another_list_of_the_audit(void **state) {
  struct federation f;
  prepare(&f, 4);
  struct brief b = truth(&f, LIAR);
  b.entries[LISTS - 1][THIRD].message.bytes[0] ^= 1;
  acquits(&f, &b);
  struct cns_round made_up = f.coordinator->round;
  cns_transcript_next(&made_up.transcript[CNS_PHASE_UPLOAD], CNS_PHASE_AUDIT, &f.descriptor,
                      b.entries[LISTS - 1], &made_up.transcript[CNS_PHASE_AUDIT]);
  assert_int_equal(cns_opening_make(&made_up, &f.hospitals[LIAR]->secrets->s, &f.hospitals[0]->keys[LIAR].s,
                                    &f.hospitals[0]->keys[HONEST].s, cns_rng_seeded(&f.rngs[LIAR]),
                                    &b.claim.opening),
                   0);
  acquits(&f, &b);
  federation_deinit(&f);
}

/* The same values under another transcript, which the hospital did not sign. */
static void lists_of_another_round(void **state) {
  struct federation f;
  prepare(&f, 5);
  struct brief b = truth(&f, HONEST);
  for (size_t p = 0; p < LISTS - 1; p++) {
    struct brief altered = b;
    altered.entries[p][THIRD].message.bytes[3] ^= 1;
    acquits(&f, &altered);
    altered = b;
    altered.entries[p][THIRD] = (struct cns_entry){0};
    acquits(&f, &altered);
  }
  federation_deinit(&f);
}

/* The liar itself is convicted by just this. */
static void the_liars_value(void **state) {
  struct federation f;
  uint16_t index = 0;
  prepare(&f, 6);
  struct brief b = truth(&f, LIAR);
  b.accused = LIAR;
  b.audit = held(&f, LIAR, CNS_PHASE_AUDIT);
  b.second = held(&f, LIAR, CNS_PHASE_KEYS);
  b.third = held(&f, HONEST, CNS_PHASE_KEYS);
  assert_int_equal(cns_coordinator_audit_tree(f.coordinator, LIAR, &tree), 0);
  struct cns_opening opening = b.claim.opening;
  assert_int_equal(cns_coordinator_claim(f.coordinator, tree, LIAR, HONEST, &b.claim), 0);
  tree = cns_merkle_tree_free(tree);
  b.claim.opening = opening;
  assert_int_equal(judge(&f, &b, &index), 0);
  assert_int_equal(index, LIAR + 1);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(honest_values),
      cmocka_unit_test(honest_values_put_another_way),
      cmocka_unit_test(keys_signed_twice),
      cmocka_unit_test(shares_signed_twice),
      cmocka_unit_test(another_list_of_the_audit),
      cmocka_unit_test(lists_of_another_round),
      cmocka_unit_test(the_liars_value),
  };
  return cmocka_run_group_tests_name("protocol evidence of sketches", tests, NULL, NULL);
}
