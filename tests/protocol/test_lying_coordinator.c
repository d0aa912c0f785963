/* SPDX-License-Identifier: Apache-2.0 */
/* A coordinator that asks one hospital for what it may not have: it gets
 * nothing. n = 8, c = 1, t = 5; the hospital is member 5, and what is changed is
 * mostly about member 2. test_forks.c has the coordinator that tells different
 * hospitals different things. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define TARGET 5
#define OTHER 2

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

/* A view of the present request to the target, changed by `change`, must be
 * refused with that result; with the genuine requests the round goes on. */
typedef void change(struct federation *f, struct attack_view *view, struct attack_list *last);

static void refuses(enum cns_phase phase, change *how, int expected) {
  struct federation f;
  begin_at(&f, phase, 1 + (uint64_t)phase);
  struct attack_view *view = attack_view_new(&f, TARGET);
  how(&f, view, view->count ? &view->lists[view->count - 1] : NULL);
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), expected);
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- the helper itself ---- */

static void an_unchanged_view_is_the_request(void **state) {
  for (enum cns_phase phase = CNS_PHASE_SHARES; phase <= CNS_PHASE_UNMASK; phase++) {
    struct federation f;
    if (phase == CNS_PHASE_AUDIT) continue;
    begin_at(&f, phase, 2);
    struct attack_view *view = attack_view_new(&f, TARGET);
    struct attack_bytes request = attack_request(&f, TARGET), written = attack_view_write(&f, view);
    assert_int_equal(request.len, written.len);
    assert_memory_equal(request.data, written.data, written.len);
    attack_bytes_free(&request);
    attack_bytes_free(&written);
    attack_view_free(view);
    federation_deinit(&f);
  }
}

/* ---- lists of keys ---- */

static void made_up_keys(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_scalar s, e;
  struct cns_keys keys;
  uint8_t body[CNS_KEYS_BODY_BYTES];
  assert_int_equal(
      cns_keys_make(&view->round, OTHER + 1, cns_rng_seeded(&f->rngs[OTHER]), &s, &e, &keys, body), 0);
  attack_view_forge(f, view, OTHER, body, sizeof body, f->coordinator_identity);
}

/* Good proofs, a name from the roster, but not that hospital's signature. */
static void keys_that_the_coordinator_made_up(void **state) {
  refuses(CNS_PHASE_SHARES, made_up_keys, CNS_ERR_SIGNATURE);
}

static void body_replaced(struct federation *f, struct attack_view *view, struct attack_list *last) {
  memcpy(last->items[OTHER].body, last->items[OTHER + 1].body, CNS_KEYS_BODY_BYTES);
}

static void keys_other_than_the_listed_ones(void **state) {
  refuses(CNS_PHASE_SHARES, body_replaced, CNS_ERR_REFUSED);
}

static void without_proof(struct federation *f, struct attack_view *view, struct attack_list *last) {
  uint8_t body[CNS_KEYS_BODY_BYTES];
  memcpy(body, last->items[OTHER].body, sizeof body);
  memset(body + 64, 1, CNS_PROOF_BYTES);
  attack_view_forge(f, view, OTHER, body, sizeof body, f->identities[OTHER]);
}

static void keys_of_a_colluder_without_proof(void **state) {
  refuses(CNS_PHASE_SHARES, without_proof, CNS_ERR_PROOF);
}

static void same_secret(struct federation *f, struct attack_view *view, struct attack_list *last) {
  for (size_t k = 2; k < 4; k++) {
    struct cns_rng_seeded rng;
    struct cns_scalar s, e;
    struct cns_keys keys;
    uint8_t body[CNS_KEYS_BODY_BYTES];
    cns_rng_seeded_init_label(&rng, 1, "shared");
    assert_int_equal(
        cns_keys_make(&view->round, (uint16_t)(k + 1), cns_rng_seeded(&rng), &s, &e, &keys, body), 0);
    attack_view_forge(f, view, k, body, sizeof body, f->identities[k]);
  }
}

static void the_same_keys_for_two_hospitals(void **state) {
  refuses(CNS_PHASE_SHARES, same_secret, CNS_ERR_PROOF);
}

static void without_us(struct federation *f, struct attack_view *view, struct attack_list *last) {
  attack_item_drop(&last->items[TARGET]);
}

static void lists_without_us(void **state) {
  refuses(CNS_PHASE_SHARES, without_us, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_READY, without_us, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UPLOAD, without_us, CNS_ERR_REFUSED);
}

static void other_answer_of_ours(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->items[TARGET].message.bytes[0] ^= 1;
}

static void lists_with_another_answer_of_ours(void **state) {
  refuses(CNS_PHASE_SHARES, other_answer_of_ours, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_READY, other_answer_of_ours, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UPLOAD, other_answer_of_ours, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, other_answer_of_ours, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UNMASK, other_answer_of_ours, CNS_ERR_REFUSED);
}

/* Four left of eight, where five are needed: nothing can come of it but an
 * update spent. */
static void too_few(struct federation *f, struct attack_view *view, struct attack_list *last) {
  for (size_t k = 0; k < 4; k++)
    attack_item_drop(&last->items[k]);
}

static void lists_too_short_for_a_sum(void **state) {
  refuses(CNS_PHASE_SHARES, too_few, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_READY, too_few, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UPLOAD, too_few, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, too_few, CNS_ERR_REFUSED);
}

static void head_unsigned(void **state) {
  for (enum cns_phase phase = CNS_PHASE_SHARES; phase <= CNS_PHASE_UNMASK; phase++) {
    struct federation f;
    if (phase == CNS_PHASE_AUDIT) continue;
    begin_at(&f, phase, 3);
    struct attack_bytes request = attack_request(&f, TARGET);
    request.data[1 + 32 + 1 + 2 + 4 + 1 + 10] ^= 1; /* in the signature of the first list's head */
    assert_int_equal(attack_refused(&f, TARGET, request), CNS_ERR_SIGNATURE);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

/* The list of phase keys was taken in; another one, signed too, comes with a
 * later request. */
static void two_signed_heads_of_one_phase(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_SHARES, 4);
  struct attack_view *view = attack_view_new(&f, TARGET);
  federation_play_phase(&f);
  attack_item_drop(&view->lists[0].items[OTHER]);
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  attack_view_free(view);
  attack_close(&f);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- leaves ---- */

static void leaf_of_another_recipient(struct federation *f, struct attack_view *view,
                                      struct attack_list *last) {
  struct cns_coordinator_member *dealer = &f->coordinator->members[OTHER];
  last->items[OTHER].leaf = dealer->leaves[TARGET + 1];
  assert_int_equal(cns_merkle_tree_path(dealer->tree, TARGET + 1, &last->items[OTHER].path), 0);
}

static void leaf_of_another_dealer(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->items[OTHER].leaf = last->items[3].leaf;
  last->items[OTHER].path = last->items[3].path;
}

static void garbled_ciphertext(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->items[OTHER].leaf.sealed[11] ^= 4;
}

static void copied_ciphertext(struct federation *f, struct attack_view *view, struct attack_list *last) {
  memcpy(last->items[OTHER].leaf.sealed, last->items[3].leaf.sealed, CNS_SEALED_PAIR_BYTES);
}

static void swapped_points(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_point point = last->items[OTHER].leaf.point_s;
  last->items[OTHER].leaf.point_s = last->items[OTHER].leaf.point_b;
  last->items[OTHER].leaf.point_b = point;
}

static void another_root(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->items[OTHER].leaf.sealed[11] ^= 4;
  cns_leaf_digest(&last->items[OTHER].leaf, &last->items[OTHER].root);
  last->items[OTHER].path.depth = 0;
}

/* A dealer that colludes signs a tree whose leaf in our place is for another
 * hospital, or another dealer's. Opened, it would be shares that nobody has to
 * stand for; complained of, the complaint would convict us. */
static void dealt_by_a_colluder(struct federation *f, struct attack_view *view, struct attack_list *last,
                                uint16_t dealer, uint16_t recipient, bool opens) {
  struct attack_deal deal;
  struct cns_digest digests[8];
  struct attack_item *item = &last->items[OTHER];
  attack_deal_make(f, OTHER, &deal);
  deal.leaves[TARGET].dealer = dealer;
  deal.leaves[TARGET].recipient = recipient;
  if (opens) attack_deal_seal(f, OTHER, &deal, TARGET);
  for (size_t d = 0; d < 8; d++)
    cns_leaf_digest(&deal.leaves[d], &digests[d]);
  assert_int_equal(cns_merkle_root(digests, 8, &item->root), 0);
  assert_int_equal(cns_merkle_path(digests, 8, TARGET, &item->path), 0);
  item->leaf = deal.leaves[TARGET];
  attack_view_forge(f, view, OTHER, deal.point_b.bytes, CNS_POINT_BYTES, f->identities[OTHER]);
}

static void addressed_to_another(struct federation *f, struct attack_view *view, struct attack_list *last) {
  dealt_by_a_colluder(f, view, last, OTHER + 1, TARGET + 2, true);
}

static void addressed_to_another_and_closed(struct federation *f, struct attack_view *view,
                                            struct attack_list *last) {
  dealt_by_a_colluder(f, view, last, OTHER + 1, TARGET + 2, false);
}

static void in_another_dealers_name(struct federation *f, struct attack_view *view,
                                    struct attack_list *last) {
  dealt_by_a_colluder(f, view, last, OTHER + 2, TARGET + 1, true);
}

/* Nothing that isn't under its dealer's signature, or isn't for us, is opened, let alone
 * complained of: afterwards the target signs a plain ok. */
static void leaves_not_under_their_dealers_signature(void **state) {
  change *const changes[] = {leaf_of_another_recipient,
                             leaf_of_another_dealer,
                             garbled_ciphertext,
                             copied_ciphertext,
                             swapped_points,
                             another_root,
                             addressed_to_another,
                             addressed_to_another_and_closed,
                             in_another_dealers_name};
  for (size_t c = 0; c < sizeof changes / sizeof changes[0]; c++) {
    struct federation f;
    begin_at(&f, CNS_PHASE_READY, 10 + c);
    struct attack_view *view = attack_view_new(&f, TARGET);
    changes[c](&f, view, &view->lists[0]);
    assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
    attack_view_free(view);
    assert_int_equal(f.hospitals[TARGET]->complaint_count, 0);
    federation_play_phase(&f);
    assert_int_equal(f.coordinator->members[TARGET].messages[CNS_PHASE_READY].view.body_len, 2);
    attack_close(&f);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

static struct cns_leaf old_leaf;

static void leaf_of_an_old_round(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->items[OTHER].leaf = old_leaf;
}

static void ciphertext_of_another_round(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_READY, 20);
  old_leaf = f.coordinator->members[OTHER].leaves[TARGET];
  federation_deinit(&f);
  refuses(CNS_PHASE_READY, leaf_of_an_old_round, CNS_ERR_REFUSED);
}

/* ---- ready ---- */

/* The dealer is a liar and our complaint true; the coordinator wants it in. */
static void complaint_that_is_not_settled(void **state) {
  struct federation f;
  struct attack_deal deal;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_SHARES, 21);
  attack_deal_make(&f, OTHER, &deal);
  deal.leaves[TARGET].sealed[0] ^= 1;
  assert_int_equal(attack_receive(&f, OTHER, attack_deal_answer(&f, OTHER, &deal), &problem), 0);
  attack_play_phase_without(&f, OTHER);
  attack_close(&f);
  attack_play_phase_without(&f, OTHER);
  assert_int_equal(attack_receive(&f, OTHER, attack_ready_answer(&f, OTHER, NULL, 0), &problem), 0);
  attack_close(&f);
  f.silent_from[OTHER] = CNS_PHASE_NONE;
  for (size_t k = 4; k <= TARGET; k++) { /* an onlooker, and the complainer */
    struct attack_view *view = attack_view_new(&f, k);
    struct attack_list *ready = &view->lists[view->count - 1];
    assert_int_equal(ready->items[OTHER].standing, CNS_DISQUALIFIED);
    ready->items[OTHER].standing = CNS_PRESENT;
    assert_int_equal(attack_refused(&f, k, attack_view_write(&f, view)), CNS_ERR_REFUSED);
    if (k == TARGET) { /* the complainer out instead: it doesn't upload */
      ready->items[TARGET].standing = CNS_DISQUALIFIED;
      assert_int_equal(attack_refused(&f, k, attack_view_write(&f, view)), CNS_ERR_REFUSED);
    }
    attack_view_free(view);
  }
  attack_finish(&f, (uint64_t)1 << OTHER);
  federation_deinit(&f);
}

/* ---- upload, agree, unmask ---- */

static void never_uploaded(struct federation *f, struct attack_view *view, struct attack_list *last) {
  uint8_t body[CNS_UPLOAD_BODY_BYTES] = {0};
  attack_view_forge(f, view, OTHER, body, sizeof body, f->coordinator_identity);
}

static void an_upload_that_nobody_signed(void **state) {
  refuses(CNS_PHASE_AGREE, never_uploaded, CNS_ERR_SIGNATURE);
}

/* Every outcome of every member but the true one; the own one too. */
static void agreements_that_do_not_follow_from_the_lists(void **state) {
  struct federation f;
  federation_init(&f, 8, 50, 30);
  f.silent_from[7] = CNS_PHASE_UPLOAD;
  federation_begin(&f, 1, 1);
  attack_play_until(&f, CNS_PHASE_AGREE);
  for (size_t k = 0; k < 8; k++)
    for (uint8_t outcome = 0; outcome <= CNS_OUTCOME_COUNT; outcome++) {
      struct attack_view *view = attack_view_new(&f, TARGET);
      uint8_t *place = &view->proposal.data[32 + 2 + k];
      if (*place != outcome) {
        *place = outcome;
        attack_refused(&f, TARGET, attack_view_write(&f, view));
      }
      attack_view_free(view);
    }
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void nonce_opened(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->proposal.data[0] = 1;
}

static void fewer_members(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->proposal.data[32]--;
  memmove(view->proposal.data + 41, view->proposal.data + 42, 2);
  view->proposal.len--;
}

static void agreements_of_another_shape(void **state) {
  refuses(CNS_PHASE_AGREE, nonce_opened, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, fewer_members, CNS_ERR_REFUSED);
}

/* Signed once: another statement gets nothing, the same one the same answer. */
static void a_second_agreement(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  const uint8_t *answer;
  size_t len;
  begin_at(&f, CNS_PHASE_AGREE, 31);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct attack_bytes request = attack_request(&f, TARGET);
  federation_play_phase(&f);
  view->proposal.data[32 + 2 + OTHER] = CNS_MISSING_UPLOAD;
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  assert_int_equal(
      cns_hospital_handle(f.hospitals[TARGET], request.data, request.len, &answer, &len, &problem), 0);
  assert_int_equal(len, f.coordinator->members[TARGET].messages[CNS_PHASE_AGREE].len);
  assert_memory_equal(answer, f.coordinator->members[TARGET].messages[CNS_PHASE_AGREE].bytes, len);
  attack_bytes_free(&request);
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void four_signatures(struct federation *f, struct attack_view *view, struct attack_list *last) {
  too_few(f, view, last);
}

static void copied_signature(struct federation *f, struct attack_view *view, struct attack_list *last) {
  too_few(f, view, last);
  last->items[0] = last->items[TARGET + 1]; /* five entries, four signers */
}

static void invented_signature(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct attack_bytes body = attack_bytes_copy(last->agreement.data, last->agreement.len);
  too_few(f, view, last);
  attack_view_forge(f, view, 0, body.data, body.len, f->coordinator_identity);
  attack_bytes_free(&body);
}

static void other_statement(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->agreement.data[32 + 2 + OTHER] = CNS_MISSING_UPLOAD;
}

/* c liars may sign anything; that isn't t. */
static void statement_of_liars(struct federation *f, struct attack_view *view, struct attack_list *last) {
  last->agreement.data[32 + 2 + OTHER] = CNS_MISSING_UPLOAD;
  for (size_t k = 0; k < f->n; k++)
    attack_item_drop(&last->items[k]);
  struct attack_bytes body = attack_bytes_copy(last->agreement.data, last->agreement.len);
  attack_view_forge(f, view, OTHER, body.data, body.len, f->identities[OTHER]);
  attack_bytes_free(&body);
}

static void agreements_without_t_good_signatures(void **state) {
  refuses(CNS_PHASE_UNMASK, four_signatures, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UNMASK, copied_signature, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UNMASK, invented_signature, CNS_ERR_SIGNATURE);
  refuses(CNS_PHASE_UNMASK, other_statement, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_UNMASK, statement_of_liars, CNS_ERR_REFUSED);
}

/* The shares of b went out; now those of s are asked for, with any list. */
static void both_shares_of_one_hospital(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_UNMASK, 40);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct cns_problem problem = {0};
  const uint8_t *answer;
  size_t len;
  federation_play_phase(&f);
  view->lists[view->count - 1].agreement.data[32 + 2 + OTHER] = CNS_MISSING_UPLOAD;
  struct attack_bytes request = attack_view_write(&f, view);
  /* The signed list is one it has; what hangs on it isn't looked at again, and
   * the answer is the one that was given. */
  assert_int_equal(
      cns_hospital_handle(f.hospitals[TARGET], request.data, request.len, &answer, &len, &problem), 0);
  assert_memory_equal(answer, f.coordinator->members[TARGET].messages[CNS_PHASE_UNMASK].bytes, len);
  attack_bytes_free(&request);
  attack_item_drop(&view->lists[view->count - 1].items[OTHER]); /* another list of signatures */
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unchanged_view_is_the_request),
      cmocka_unit_test(keys_that_the_coordinator_made_up),
      cmocka_unit_test(keys_other_than_the_listed_ones),
      cmocka_unit_test(keys_of_a_colluder_without_proof),
      cmocka_unit_test(the_same_keys_for_two_hospitals),
      cmocka_unit_test(lists_without_us),
      cmocka_unit_test(lists_with_another_answer_of_ours),
      cmocka_unit_test(lists_too_short_for_a_sum),
      cmocka_unit_test(head_unsigned),
      cmocka_unit_test(two_signed_heads_of_one_phase),
      cmocka_unit_test(leaves_not_under_their_dealers_signature),
      cmocka_unit_test(ciphertext_of_another_round),
      cmocka_unit_test(complaint_that_is_not_settled),
      cmocka_unit_test(an_upload_that_nobody_signed),
      cmocka_unit_test(agreements_that_do_not_follow_from_the_lists),
      cmocka_unit_test(agreements_of_another_shape),
      cmocka_unit_test(a_second_agreement),
      cmocka_unit_test(agreements_without_t_good_signatures),
      cmocka_unit_test(both_shares_of_one_hospital),
  };
  return cmocka_run_group_tests_name("protocol lying coordinator", tests, NULL, NULL);
}
