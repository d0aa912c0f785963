/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that lie in the phases shares and ready: refused, or named
 * with evidence; the round completes, and nobody honest is named. n = 8, c = 1,
 * t = 5; the liar is member 2, roster index 3. */
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

/* ---- shares ---- */

static void send_deal(struct federation *f, const struct attack_deal *deal) {
  struct cns_problem problem;
  assert_int_equal(attack_receive(f, LIAR, attack_deal_answer(f, LIAR, deal), &problem), 0);
  attack_play_phase_without(f, LIAR);
  attack_close(f);
}

/* The honest complain (or the degree test speaks), the liar is out and named,
 * everyone else is in the sum. */
static void dealer_falls(struct federation *f, enum cns_blame blame) {
  f->silent_from[LIAR] = CNS_PHASE_NONE;
  federation_play_phase(f);
  attack_close(f);
  assert_false(cns_round_present(cns_coordinator_round(f->coordinator), CNS_PHASE_READY, LIAR));
  assert_int_equal(cns_round_count(cns_coordinator_round(f->coordinator), CNS_PHASE_READY), f->n - 1);
  attack_convicted(f, LIAR, blame);
  finish_without_liar(f);
}

/* A good dealing, sealed by this test's own code: everyone can open it. What
 * follows therefore fails for the lie in it, and not for its form. */
static void sealed_as_described(void **state) {
  struct federation f;
  struct attack_deal deal;
  begin_at(&f, CNS_PHASE_SHARES, 39);
  attack_deal_make(&f, LIAR, &deal);
  send_deal(&f, &deal);
  f.silent_from[LIAR] = CNS_PHASE_NONE;
  attack_finish(&f, 0);
  for (size_t k = 0; k < f.n; k++)
    assert_true(k == LIAR || (f.hospitals[k]->share_good[LIAR] && f.hospitals[k]->complaint_count == 0));
  federation_deinit(&f);
}

static void share_that_does_not_match_its_point(void **state) {
  for (int secret = 0; secret < 2; secret++) {
    struct federation f;
    struct attack_deal deal;
    begin_at(&f, CNS_PHASE_SHARES, 40 + (uint64_t)secret);
    attack_deal_make(&f, LIAR, &deal);
    struct cns_scalar *share = secret ? &deal.shares[VICTIM].b : &deal.shares[VICTIM].s;
    cns_scalar_from_u64(12345, share);
    attack_deal_seal(&f, LIAR, &deal, VICTIM);
    send_deal(&f, &deal);
    dealer_falls(&f, CNS_BLAME_BAD_SHARE);
  }
}

/* The other sealed behind zero, or an encoding above the group's order. */
static void share_of_zero_or_unreduced(void **state) {
  for (int kind = 0; kind < 2; kind++) {
    struct federation f;
    struct attack_deal deal;
    begin_at(&f, CNS_PHASE_SHARES, 42 + (uint64_t)kind);
    attack_deal_make(&f, LIAR, &deal);
    memset(deal.shares[VICTIM].s.bytes, kind ? 0xff : 0, CNS_SCALAR_BYTES);
    attack_deal_seal(&f, LIAR, &deal, VICTIM);
    send_deal(&f, &deal);
    dealer_falls(&f, CNS_BLAME_BAD_SHARE);
  }
}

static void undecipherable_share(void **state) {
  struct federation f;
  struct attack_deal deal;
  begin_at(&f, CNS_PHASE_SHARES, 45);
  attack_deal_make(&f, LIAR, &deal);
  deal.leaves[VICTIM].sealed[7] ^= 1;
  send_deal(&f, &deal);
  dealer_falls(&f, CNS_BLAME_BAD_SHARE);
}

/* A ciphertext copied from an honest dealer doesn't open under another name,
 * and what the complaint opens isn't the key of the copied one. */
static void ciphertext_of_another_dealer(void **state) {
  struct federation f;
  struct attack_deal deal;
  struct cns_problem problem;
  struct cns_share_pair opened;
  begin_at(&f, CNS_PHASE_SHARES, 46);
  attack_play_phase_without(&f, LIAR);
  attack_deal_make(&f, LIAR, &deal);
  const struct cns_leaf copied = f.coordinator->members[4].leaves[VICTIM];
  memcpy(deal.leaves[VICTIM].sealed, copied.sealed, sizeof copied.sealed);
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &deal), &problem), 0);
  attack_close(&f);
  attack_play_phase_without(&f, LIAR);
  assert_int_equal(f.hospitals[VICTIM]->complaint_count, 1);
  const struct cns_complaint *complaint = &f.hospitals[VICTIM]->complaints[0];
  assert_int_equal(complaint->accused, LIAR + 1);
  assert_int_not_equal(cns_leaf_open(&complaint->pair,
                                     &cns_coordinator_round(f.coordinator)->transcript[CNS_PHASE_KEYS],
                                     &copied, &opened),
                       0);
  dealer_falls(&f, CNS_BLAME_BAD_SHARE);
}

/* Degree t instead of t - 1: any t shares would give something else each time. */
static void points_of_too_high_a_degree(void **state) {
  for (int secret = 0; secret < 2; secret++) {
    struct federation f;
    struct attack_deal deal;
    begin_at(&f, CNS_PHASE_SHARES, 50 + (uint64_t)secret);
    size_t t = f.descriptor.threshold;
    attack_deal_make(&f, LIAR, &deal);
    attack_deal_split(&f, LIAR, &deal, &f.hospitals[LIAR]->secrets->s, secret ? t : t + 1, &deal.b,
                      secret ? t + 1 : t);
    send_deal(&f, &deal);
    dealer_falls(&f, CNS_BLAME_DEGREE);
  }
}

/* The dual word of the degree test, written a second time from shamir.h and its
 * source: weight k is g(x_k) / product over m != k of (x_k - x_m), x_0 = 0. */
static void dual_word(const uint16_t *indices, size_t count, size_t t, const struct cns_digest *challenge,
                      struct cns_scalar *ret_word) {
  for (size_t k = 0; k <= count; k++) {
    struct cns_scalar x, product, value = {{0}};
    cns_scalar_from_u64(k ? indices[k - 1] : 0, &x);
    cns_scalar_from_u64(1, &product);
    for (size_t m = 0; m <= count; m++) {
      struct cns_scalar other, difference;
      if (m == k) continue;
      cns_scalar_from_u64(m ? indices[m - 1] : 0, &other);
      cns_scalar_sub(&x, &other, &difference);
      cns_scalar_mul(&product, &difference, &product);
    }
    for (size_t power = count - t + 1; power-- > 0;) { /* Horner */
      struct cns_hash hash;
      struct cns_scalar coefficient;
      uint8_t wide[64];
      cns_hash_init_len(&hash, "consilium/1 degree word", sizeof wide);
      cns_hash_digest(&hash, challenge);
      cns_hash_u32(&hash, (uint32_t)power);
      cns_hash_final_len(&hash, wide, sizeof wide);
      cns_scalar_from_wide(wide, &coefficient);
      cns_scalar_mul(&value, &x, &value);
      cns_scalar_add(&value, &coefficient, &value);
    }
    assert_int_equal(cns_scalar_invert(&product, &product), 0);
    cns_scalar_mul(&product, &value, &ret_word[k]);
  }
}

/* B = b*G for which shares of too high a degree pass under this one challenge. */
static void choose_b(struct attack_deal *deal, size_t t, const struct cns_digest *challenge) {
  uint16_t indices[FEDERATION_MAX];
  struct cns_scalar word[FEDERATION_MAX + 1], sum = {{0}}, zero = {{0}}, product;
  for (size_t k = 0; k < deal->count; k++)
    indices[k] = deal->leaves[k].recipient;
  dual_word(indices, deal->count, t, challenge, word);
  for (size_t k = 0; k < deal->count; k++) {
    cns_scalar_mul(&word[k + 1], &deal->shares[k].b, &product);
    cns_scalar_add(&sum, &product, &sum);
  }
  assert_int_equal(cns_scalar_invert(&word[0], &product), 0);
  cns_scalar_mul(&sum, &product, &sum);
  cns_scalar_sub(&zero, &sum, &deal->b);
  assert_int_equal(cns_point_base(&deal->b, &deal->point_b), 0);
}

/* B is in the body and no proof of possession goes with it: a dealer may choose
 * it last, after the leaves and their root. No challenge may follow from the
 * root alone, in the round or in the evidence. */
static void secret_point_chosen_after_the_leaves(void **state) {
  struct federation f;
  struct attack_deal deal;
  struct cns_digest root, challenge;
  struct cns_hash hash;
  begin_at(&f, CNS_PHASE_SHARES, 56);
  size_t t = f.descriptor.threshold;
  attack_deal_make(&f, LIAR, &deal);
  attack_deal_split(&f, LIAR, &deal, &f.hospitals[LIAR]->secrets->s, t, &deal.b, t + 1);
  assert_int_equal(cns_leaves_root(deal.leaves, deal.count, &root), 0);
  cns_hash_init(&hash, "consilium/1 degree test");
  cns_hash_digest(&hash, &root);
  cns_hash_u16(&hash, LIAR + 1);
  cns_hash_u8(&hash, 1);
  cns_hash_final(&hash, &challenge);
  choose_b(&deal, t, &challenge);
  /* It would have passed. */
  assert_int_equal(cns_shares_check_degree(&root, LIAR + 1, &f.hospitals[LIAR]->keys[LIAR].s, &deal.point_b,
                                           deal.leaves, deal.count, t),
                   0);
  send_deal(&f, &deal);
  dealer_falls(&f, CNS_BLAME_DEGREE);
}

/* Good shares, of another secret than the published point's. */
static void shares_of_another_secret(void **state) {
  for (int secret = 0; secret < 2; secret++) {
    struct federation f;
    struct attack_deal deal;
    struct cns_scalar other;
    begin_at(&f, CNS_PHASE_SHARES, 52 + (uint64_t)secret);
    size_t t = f.descriptor.threshold;
    attack_deal_make(&f, LIAR, &deal);
    assert_int_equal(cns_scalar_random(cns_rng_seeded(&f.rngs[LIAR]), &other), 0);
    attack_deal_split(&f, LIAR, &deal, secret ? &f.hospitals[LIAR]->secrets->s : &other, t,
                      secret ? &other : &deal.b, t);
    send_deal(&f, &deal);
    dealer_falls(&f, CNS_BLAME_DEGREE);
  }
}

static void dealt_points_that_are_none(void **state) {
  for (int place = 0; place < 3; place++) {
    struct federation f;
    struct attack_deal deal;
    struct cns_problem problem;
    begin_at(&f, CNS_PHASE_SHARES, 54 + (uint64_t)place);
    attack_deal_make(&f, LIAR, &deal);
    struct cns_point *point = place == 0   ? &deal.point_b
                              : place == 1 ? &deal.leaves[VICTIM].point_s
                                           : &deal.leaves[VICTIM].point_b;
    memset(point, place == 1 ? 0 : 0xff, sizeof *point); /* the identity: the point of the share zero */
    assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &deal), &problem),
                     CNS_ANSWER_NAMED);
    attack_convicted(&f, LIAR, CNS_BLAME_BAD_POINTS);
    finish_without_liar(&f);
  }
}

/* Leaves other than the signed ones, misdirected, missing, one too many. */
static void leaves_that_do_not_fit(void **state) {
  struct federation f;
  struct attack_deal deal, bad;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_SHARES, 60);
  attack_deal_make(&f, LIAR, &deal);

  struct attack_bytes answer = attack_deal_answer(&f, LIAR, &deal);
  answer.data[answer.len - 1] ^= 1;
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), CNS_ERR_REFUSED);

  bad = deal;
  bad.leaves[1].recipient = bad.leaves[2].recipient;
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &bad), &problem), CNS_ERR_FORMAT);
  bad = deal;
  bad.leaves[1].dealer = 5;
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &bad), &problem), CNS_ERR_FORMAT);
  bad = deal;
  bad.leaves[1] = deal.leaves[2];
  bad.leaves[2] = deal.leaves[1];
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &bad), &problem), CNS_ERR_FORMAT);
  bad = deal;
  bad.count--;
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &bad), &problem), CNS_ERR_FORMAT);
  bad = deal;
  bad.leaves[bad.count++] = deal.leaves[0];
  assert_int_equal(attack_receive(&f, LIAR, attack_deal_answer(&f, LIAR, &bad), &problem), CNS_ERR_FORMAT);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- ready ---- */

static void send_complaints(struct federation *f, const struct cns_complaint *complaints, size_t count,
                            int expected) {
  struct cns_problem problem;
  assert_int_equal(attack_receive(f, LIAR, attack_ready_answer(f, LIAR, complaints, count), &problem),
                   expected);
}

static void complainer_falls(struct federation *f) {
  f->silent_from[LIAR] = CNS_PHASE_NONE;
  federation_play_phase(f);
  attack_close(f);
  const struct cns_round *round = cns_coordinator_round(f->coordinator);
  assert_int_equal(round->entries[CNS_PHASE_READY][LIAR].standing, CNS_DISQUALIFIED);
  assert_int_equal(cns_round_count(round, CNS_PHASE_READY), f->n - 1);
  attack_convicted(f, LIAR, CNS_BLAME_FALSE_COMPLAINT);
  finish_without_liar(f);
}

static void complaint_about_a_good_share(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_READY, 70);
  struct cns_complaint complaint = attack_complaint(&f, LIAR, VICTIM);
  send_complaints(&f, &complaint, 1, 0);
  complainer_falls(&f);
}

static void complaint_without_a_proof(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_READY, 71);
  struct cns_complaint complaint = attack_complaint(&f, LIAR, VICTIM);
  complaint.pair = complaint.point_b; /* opens nothing, and isn't e_i*E_j */
  send_complaints(&f, &complaint, 1, 0);
  complainer_falls(&f);
}

/* The leaf dealt to someone else, another dealer's leaf, one that nobody signed. */
static void complaint_with_a_leaf_of_others(void **state) {
  for (int kind = 0; kind < 4; kind++) {
    struct federation f;
    begin_at(&f, CNS_PHASE_READY, 72 + (uint64_t)kind);
    struct cns_complaint complaint = attack_complaint(&f, LIAR, VICTIM);
    if (kind == 0) {
      struct cns_complaint of_other = attack_complaint(&f, 6, VICTIM);
      complaint.leaf = of_other.leaf;
      complaint.path = of_other.path;
      complaint.leaf_position = of_other.leaf_position;
    } else if (kind == 1) {
      struct cns_complaint of_other = attack_complaint(&f, LIAR, 6);
      complaint.leaf = of_other.leaf;
      complaint.path = of_other.path;
      complaint.root = of_other.root;
      complaint.signature = of_other.signature;
      complaint.point_b = of_other.point_b;
    } else
      complaint.leaf.sealed[0] ^= 1;
    if (kind == 3) { /* with a tree of its own, and the dealer's signature on the genuine one */
      struct cns_leaf leaves[8];
      struct cns_digest digests[8];
      memcpy(leaves, f.coordinator->members[VICTIM].leaves, sizeof leaves);
      leaves[LIAR] = complaint.leaf;
      for (size_t d = 0; d < 8; d++)
        cns_leaf_digest(&leaves[d], &digests[d]);
      assert_int_equal(cns_merkle_root(digests, 8, &complaint.root), 0);
      assert_int_equal(cns_merkle_path(digests, 8, LIAR, &complaint.path), 0);
    }
    send_complaints(&f, &complaint, 1, 0);
    complainer_falls(&f);
  }
}

static void complaints_about_itself_nobody_or_the_absent(void **state) {
  struct federation f;
  federation_init(&f, 8, 50, 75);
  f.silent_from[7] = CNS_PHASE_SHARES;
  federation_begin(&f, 1, 1);
  attack_play_until(&f, CNS_PHASE_READY);
  struct cns_complaint complaint = attack_complaint(&f, LIAR, VICTIM);
  complaint.accused = LIAR + 1;
  send_complaints(&f, &complaint, 1, CNS_ERR_FORMAT);
  complaint.accused = 8;
  send_complaints(&f, &complaint, 1, CNS_ERR_FORMAT);
  complaint.accused = 99;
  send_complaints(&f, &complaint, 1, CNS_ERR_FORMAT);
  complaint.accused = 0;
  send_complaints(&f, &complaint, 1, CNS_ERR_FORMAT);
  complaint = attack_complaint(&f, LIAR, VICTIM);
  complaint.complainer = 2; /* in the name of another */
  send_complaints(&f, &complaint, 1, CNS_ERR_FORMAT);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void complaints_out_of_shape(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_READY, 76);
  struct cns_complaint two[2] = {attack_complaint(&f, LIAR, 5), attack_complaint(&f, LIAR, 4)};
  send_complaints(&f, two, 2, CNS_ERR_FORMAT); /* not ascending */
  two[1] = two[0];
  send_complaints(&f, two, 2, CNS_ERR_FORMAT); /* twice the same */
  struct attack_bytes answer = attack_ready_answer(&f, LIAR, two, 1);
  answer.data[answer.len - 1] ^= 1; /* not under the root */
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), CNS_ERR_FORMAT);
  answer = attack_ready_answer(&f, LIAR, two, 1);
  answer.len--;
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), CNS_ERR_FORMAT);
  static const uint8_t accuses_in_vain[] = {1, 0, 6, 0}, root_of_nothing[] = {0, 0};
  answer = attack_answer(&f, LIAR, accuses_in_vain, sizeof accuses_in_vain, NULL, NULL, 0);
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), CNS_ERR_FORMAT);
  struct cns_digest root = {{1}};
  answer = attack_answer(&f, LIAR, root_of_nothing, sizeof root_of_nothing, &root, NULL, 0);
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), CNS_ERR_FORMAT);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* n = 16, c = 3: three liars complain of everyone, or send bodies as long as a
 * message may have. Nobody's request grows beyond its limit, the liars fall. */
static void a_flood_of_complaints(void **state) {
  struct federation f;
  struct cns_problem problem;
  struct cns_complaint complaints[FEDERATION_MAX];
  uint8_t *body = malloc(CNS_MESSAGE_BODY_MAX);
  assert_non_null(body);
  memset(body, 0xff, CNS_MESSAGE_BODY_MAX);
  federation_init(&f, 16, 50, 77);
  federation_begin(&f, 1, 1);
  attack_play_until(&f, CNS_PHASE_READY);
  for (size_t liar = 0; liar < 3; liar++) {
    struct attack_bytes answer = attack_answer(&f, liar, body, CNS_MESSAGE_BODY_MAX, NULL, NULL, 0);
    assert_int_equal(attack_receive(&f, liar, answer, &problem), CNS_ERR_FORMAT);
    size_t count = 0;
    for (size_t j = 0; j < f.n; j++)
      if (j != liar) complaints[count++] = attack_complaint(&f, liar, j);
    assert_int_equal(attack_receive(&f, liar, attack_ready_answer(&f, liar, complaints, count), &problem), 0);
    f.silent_from[liar] = CNS_PHASE_NONE;
  }
  federation_play_phase(&f);
  attack_close(&f);
  struct attack_bytes request = attack_request(&f, 7);
  assert_true(request.len < 16 * 256);
  attack_bytes_free(&request);
  attack_finish(&f, 7);
  for (size_t liar = 0; liar < 3; liar++)
    attack_convicted(&f, liar, CNS_BLAME_FALSE_COMPLAINT);
  federation_deinit(&f);
  free(body);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sealed_as_described),
      cmocka_unit_test(share_that_does_not_match_its_point),
      cmocka_unit_test(share_of_zero_or_unreduced),
      cmocka_unit_test(undecipherable_share),
      cmocka_unit_test(ciphertext_of_another_dealer),
      cmocka_unit_test(points_of_too_high_a_degree),
      cmocka_unit_test(secret_point_chosen_after_the_leaves),
      cmocka_unit_test(shares_of_another_secret),
      cmocka_unit_test(dealt_points_that_are_none),
      cmocka_unit_test(leaves_that_do_not_fit),
      cmocka_unit_test(complaint_about_a_good_share),
      cmocka_unit_test(complaint_without_a_proof),
      cmocka_unit_test(complaint_with_a_leaf_of_others),
      cmocka_unit_test(complaints_about_itself_nobody_or_the_absent),
      cmocka_unit_test(complaints_out_of_shape),
      cmocka_unit_test(a_flood_of_complaints),
  };
  return cmocka_run_group_tests_name("protocol lying hospital", tests, NULL, NULL);
}
