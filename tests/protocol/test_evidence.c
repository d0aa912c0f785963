/* SPDX-License-Identifier: Apache-2.0 */
/* What convicts, and attempts to frame: liars that sign two different things,
 * together with a coordinator that puts the evidence together as it likes.
 * n = 8, c = 1, t = 5; the liar is member 2, the honest one that is to be framed
 * member 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/evidence.h"

#define LIAR 2
#define HONEST 5

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

/* ---- framing ---- */

/* The liar's tree has its own leaf's place filled with a second leaf for the
 * honest holder, with other points. The holder checks the leaf in its place,
 * finds it good, and later releases that share: the second leaf must not make
 * it a wrong one. */
static void two_leaves_for_one_recipient(void **state) {
  struct federation f;
  struct attack_deal deal;
  struct cns_digest digests[8], root;
  begin_at(&f, CNS_PHASE_SHARES, 1);
  attack_deal_make(&f, LIAR, &deal);
  deal.leaves[LIAR].recipient = HONEST + 1;
  for (size_t d = 0; d < 8; d++)
    cns_leaf_digest(&deal.leaves[d], &digests[d]);
  assert_int_equal(cns_merkle_root(digests, 8, &root), 0);
  struct attack_bytes answer = attack_answer(&f, LIAR, deal.point_b.bytes, CNS_POINT_BYTES, &root, NULL, 0);

  /* A coordinator that colludes takes the tree as it is. */
  struct cns_coordinator_member *member = &f.coordinator->members[LIAR];
  struct cns_coordinator_message *kept = &member->messages[CNS_PHASE_SHARES];
  struct cns_reader reader;
  kept->bytes = answer.data;
  kept->len = answer.len;
  cns_reader_init(&reader, answer.data, answer.len);
  cns_message_read(&reader, &kept->view);
  cns_message_digest(&kept->view, &kept->digest);
  member->leaves = calloc(8, sizeof *member->leaves);
  assert_non_null(member->leaves);
  memcpy(member->leaves, deal.leaves, 8 * sizeof *member->leaves);
  member->leaves[LIAR].recipient = LIAR + 1; /* its own degree test would stumble */
  assert_int_equal(cns_merkle_tree_new(digests, 8, &member->tree), 0);

  f.silent_from[LIAR] = CNS_PHASE_NONE;
  attack_play_until(&f, CNS_PHASE_READY);
  struct cns_problem problem;
  assert_int_equal(attack_receive(&f, LIAR, attack_ready_answer(&f, LIAR, NULL, 0), &problem), 0);
  attack_play_until(&f, CNS_PHASE_UNMASK);
  federation_play_phase(&f);
  assert_true(f.hospitals[HONEST]->share_good[LIAR]);
  struct cns_writer writer;
  struct cns_merkle_path path;
  start(&f, &writer, CNS_BLAME_WRONG_SHARE, HONEST, CNS_PHASE_AGREE);
  put_message(&writer, held(&f, HONEST, CNS_PHASE_UNMASK));
  put_message(&writer, held(&f, LIAR, CNS_PHASE_SHARES));
  cns_leaf_write(&writer, &deal.leaves[LIAR]);
  assert_int_equal(cns_merkle_path(digests, 8, LIAR, &path), 0);
  put_path(&writer, &path);
  acquits(&f, &writer);
  attack_check_names(&f, 0);
  federation_deinit(&f);
}

/* A dealer that signed a second set of shares: those aren't in the list that
 * the holder's answer is under. */
static void shares_signed_twice(void **state) {
  struct federation f;
  struct attack_deal second;
  struct cns_message shares = {0};
  struct cns_reader reader;
  struct cns_digest digests[8];
  struct cns_merkle_path path;
  struct cns_writer writer;
  begin_at(&f, CNS_PHASE_SHARES, 2);
  attack_deal_make(&f, LIAR, &second);
  struct attack_bytes answer = attack_deal_answer(&f, LIAR, &second);
  attack_play_until(&f, CNS_PHASE_UNMASK);
  federation_play_phase(&f);
  cns_reader_init(&reader, answer.data, answer.len);
  cns_message_read(&reader, &shares);
  for (size_t d = 0; d < 8; d++)
    cns_leaf_digest(&second.leaves[d], &digests[d]);
  assert_int_equal(cns_merkle_path(digests, 8, HONEST, &path), 0);
  for (int lists = 0; lists < 2; lists++) {
    start(&f, &writer, CNS_BLAME_WRONG_SHARE, HONEST, CNS_PHASE_AGREE);
    if (lists) { /* with the list changed to have it, the holder's answer is under another one */
      struct cns_digest m;
      cns_message_digest(&shares, &m);
      size_t at = writer.len - 5 * 8 * 33 + 8 * 33 + LIAR * 33; /* lists keys, shares, ... */
      assert_memory_equal(writer.data + at + 1,
                          cns_coordinator_round(f.coordinator)->entries[CNS_PHASE_SHARES][LIAR].message.bytes,
                          CNS_DIGEST_BYTES);
      memcpy(writer.data + at + 1, m.bytes, CNS_DIGEST_BYTES);
    }
    put_message(&writer, held(&f, HONEST, CNS_PHASE_UNMASK));
    put_message(&writer, &shares);
    cns_leaf_write(&writer, &second.leaves[HONEST]);
    put_path(&writer, &path);
    acquits(&f, &writer);
  }
  attack_bytes_free(&answer);
  federation_deinit(&f);
}

/* A complainer that signed two keys: the honest dealer sealed to the first; a
 * complaint under the second shows a ciphertext that doesn't open. */
static void keys_signed_twice_against_a_dealer(void **state) {
  struct federation f;
  struct cns_rng_seeded rng;
  struct cns_scalar s, e;
  struct cns_keys keys;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 3);
  cns_rng_seeded_init_label(&rng, 3, "second keys");
  assert_int_equal(cns_keys_make(cns_hospital_round(f.hospitals[LIAR]), LIAR + 1, cns_rng_seeded(&rng), &s,
                                 &e, &keys, body),
                   0);
  struct attack_bytes second = attack_answer(&f, LIAR, body, sizeof body, NULL, NULL, 0);
  attack_play_until(&f, CNS_PHASE_READY);

  struct cns_complaint complaint = attack_complaint(&f, LIAR, HONEST);
  struct cns_dispute dispute = cns_coordinator_dispute(f.coordinator, HONEST, LIAR);
  dispute.complainer_keys = &keys;
  assert_int_equal(cns_complaint_make(&dispute, &e, cns_rng_seeded(&rng), &complaint), 0);
  /* By itself the complaint would carry: only the list says which keys count. */
  assert_int_equal(cns_complaint_settle(&dispute, &complaint), CNS_RULING_DEALER_LIED);

  struct cns_message message = {0};
  struct cns_reader reader;
  struct cns_digest m;
  cns_reader_init(&reader, second.data, second.len);
  cns_message_read(&reader, &message);
  cns_message_digest(&message, &m);
  for (int lists = 0; lists < 2; lists++) {
    struct cns_writer writer;
    start(&f, &writer, CNS_BLAME_BAD_SHARE, HONEST, CNS_PHASE_KEYS);
    if (lists) memcpy(writer.data + writer.len - 8 * 33 + LIAR * 33 + 1, m.bytes, CNS_DIGEST_BYTES);
    put_complaint(&writer, &complaint);
    put_message(&writer, held(&f, HONEST, CNS_PHASE_KEYS));
    put_message(&writer, &message);
    acquits(&f, &writer);
  }
  attack_bytes_free(&second);
  federation_deinit(&f);
}

/* A dealer that signed two keys: the honest complainer, rightly, complained of a
 * bad share; under the dealer's other keys its proof doesn't hold. */
static void keys_signed_twice_against_a_complainer(void **state) {
  struct federation f;
  struct attack_deal deal;
  struct cns_problem problem;
  struct cns_rng_seeded rng;
  struct cns_scalar s, e;
  struct cns_keys keys;
  struct cns_message message = {0};
  struct cns_reader reader;
  struct cns_digest m, leaf;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  begin_at(&f, CNS_PHASE_KEYS, 4);
  cns_rng_seeded_init_label(&rng, 4, "second keys");
  assert_int_equal(cns_keys_make(cns_hospital_round(f.hospitals[LIAR]), LIAR + 1, cns_rng_seeded(&rng), &s,
                                 &e, &keys, body),
                   0);
  struct attack_bytes second = attack_answer(&f, LIAR, body, sizeof body, NULL, NULL, 0);
  attack_play_until(&f, CNS_PHASE_SHARES);
  attack_deal_make(&f, LIAR, &deal);
  deal.leaves[HONEST].sealed[0] ^= 1;
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &deal), &problem), 0);
  attack_play_phase_without(&f, LIAR);
  attack_close(&f);
  attack_play_phase_without(&f, LIAR);
  assert_int_equal(f.hospitals[HONEST]->complaint_count, 1);
  const struct cns_complaint *complaint = &f.hospitals[HONEST]->complaints[0];

  cns_reader_init(&reader, second.data, second.len);
  cns_message_read(&reader, &message);
  cns_message_digest(&message, &m);
  for (int kind = 0; kind < 3; kind++) {
    struct cns_writer writer, inner;
    const struct cns_merkle_path path = {.depth = 0};
    start(&f, &writer, CNS_BLAME_FALSE_COMPLAINT, HONEST, CNS_PHASE_SHARES);
    if (kind == 2) memcpy(writer.data + writer.len - 2 * 8 * 33 + LIAR * 33 + 1, m.bytes, CNS_DIGEST_BYTES);
    put_message(&writer, held(&f, HONEST, CNS_PHASE_READY));
    cns_writer_init(&inner, CNS_COMPLAINT_BYTES_MAX);
    cns_complaint_write(&inner, complaint);
    cns_merkle_leaf(inner.data, inner.len, &leaf);
    if (kind == 0) inner.data[inner.len - 1] ^= 1; /* as if another proof had been given */
    cns_write_blob(&writer, inner.data, inner.len);
    cns_writer_deinit(&inner);
    put_path(&writer, &path);
    put_message(&writer, kind == 0 ? held(&f, LIAR, CNS_PHASE_KEYS) : &message);
    put_message(&writer, held(&f, HONEST, CNS_PHASE_KEYS));
    acquits(&f, &writer);
  }
  attack_bytes_free(&second);
  federation_deinit(&f);
}

/* The one leaf in an honest tree that doesn't open is the dealer's own. */
static void the_dealers_own_leaf(void **state) {
  struct federation f;
  struct cns_writer writer;
  begin_at(&f, CNS_PHASE_READY, 5);
  struct cns_complaint complaint = attack_complaint(&f, LIAR, HONEST);
  complaint.complainer = HONEST + 1;
  complaint.leaf = f.coordinator->members[HONEST].leaves[HONEST];
  complaint.leaf_position = HONEST;
  assert_int_equal(cns_merkle_tree_path(f.coordinator->members[HONEST].tree, HONEST, &complaint.path), 0);
  start(&f, &writer, CNS_BLAME_BAD_SHARE, HONEST, CNS_PHASE_KEYS);
  put_complaint(&writer, &complaint);
  put_message(&writer, held(&f, HONEST, CNS_PHASE_KEYS));
  put_message(&writer, held(&f, HONEST, CNS_PHASE_KEYS));
  acquits(&f, &writer);
  federation_deinit(&f);
}

/* Fewer leaves, a lower threshold, another's keys; leaves that the dealer didn't
 * sign, behind the message that it did. An honest dealing passes. */
static void an_honest_dealing_put_another_way(void **state) {
  enum { FEWER, OTHER_KEYS, LOWER, BAD_POINTS, OTHER_POINT, NO_POINT, TWICE, KINDS };
  struct federation f;
  begin_at(&f, CNS_PHASE_READY, 6);
  const struct cns_coordinator_member *member = &f.coordinator->members[HONEST];
  for (int kind = 0; kind < KINDS; kind++) {
    struct cns_writer writer;
    struct cns_leaf leaves[8];
    uint16_t threshold = f.descriptor.threshold;
    bool points = kind == BAD_POINTS || kind == NO_POINT;
    if (kind == LOWER) f.descriptor.threshold = 2;
    start(&f, &writer, points ? CNS_BLAME_BAD_POINTS : CNS_BLAME_DEGREE, HONEST, CNS_PHASE_NONE);
    f.descriptor.threshold = threshold;
    put_message(&writer, held(&f, HONEST, CNS_PHASE_SHARES));
    put_message(&writer, held(&f, kind == OTHER_KEYS ? LIAR : HONEST, CNS_PHASE_KEYS));
    memcpy(leaves, member->leaves, sizeof leaves);
    if (kind == OTHER_POINT) leaves[3].point_s = leaves[4].point_s;
    if (kind == NO_POINT) memset(&leaves[3].point_s, 0, sizeof leaves[3].point_s);
    if (kind == TWICE) leaves[3].recipient = leaves[4].recipient;
    size_t count = kind == FEWER ? 7 : 8;
    cns_write_u16(&writer, (uint16_t)count);
    for (size_t d = 0; d < count; d++)
      cns_leaf_write(&writer, &leaves[d]);
    acquits(&f, &writer);
  }
  federation_deinit(&f);
}

/* The same message twice, of two phases, of two rounds, under two transcripts
 * (an honest hospital signs one answer under each), another's message. */
static void no_equivocation(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_AGREE, 7);
  struct cns_message keys = *held(&f, HONEST, CNS_PHASE_KEYS), other = keys;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  memcpy(body, keys.body, sizeof body);
  body[0] ^= 1;
  struct cns_message altered = keys;
  altered.body = body; /* without a signature of its own */
  other.round.bytes[0] ^= 1;
  assert_int_equal(cns_message_sign(&other, f.identities[HONEST]), 0);
  struct cns_message elsewhere = *held(&f, HONEST, CNS_PHASE_UPLOAD);
  elsewhere.transcript.bytes[0] ^= 1;
  assert_int_equal(cns_message_sign(&elsewhere, f.identities[HONEST]), 0);
  const struct cns_message *pairs[][2] = {
      {&keys, &keys},
      {&keys, held(&f, HONEST, CNS_PHASE_SHARES)},
      {&keys, &other},
      {&keys, &altered},
      {&keys, held(&f, LIAR, CNS_PHASE_KEYS)},
      {held(&f, HONEST, CNS_PHASE_UPLOAD), &elsewhere},
  };
  for (size_t p = 0; p < sizeof pairs / sizeof pairs[0]; p++) {
    struct cns_writer writer;
    start(&f, &writer, CNS_BLAME_EQUIVOCATION, HONEST, CNS_PHASE_NONE);
    put_message(&writer, pairs[p][0]);
    put_message(&writer, pairs[p][1]);
    acquits(&f, &writer);
  }
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_leaves_for_one_recipient),
      cmocka_unit_test(shares_signed_twice),
      cmocka_unit_test(keys_signed_twice_against_a_dealer),
      cmocka_unit_test(keys_signed_twice_against_a_complainer),
      cmocka_unit_test(the_dealers_own_leaf),
      cmocka_unit_test(an_honest_dealing_put_another_way),
      cmocka_unit_test(no_equivocation),
  };
  return cmocka_run_group_tests_name("protocol evidence", tests, NULL, NULL);
}
