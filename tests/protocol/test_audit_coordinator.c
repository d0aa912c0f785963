/* SPDX-License-Identifier: Apache-2.0 */
/* A coordinator that lies in the phases audit, dispute and agree gets nothing.
 * n = 8, c = 1, t = 5; the hospital is member 5, the colluder member 2. Forfeits:
 * test_forfeit.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define TARGET 5
#define LIAR 2
#define LIARS ((uint64_t)1 << LIAR)

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init_audited(f, 8, seed);
  f->policy.maximum_exclusions = 2;
  federation_begin(f, 1, 1);
  f->lie_partner[LIAR] = TARGET;
  if (phase == CNS_PHASE_DISPUTE) f->lies[LIAR] = attack_lie_wildly;
  attack_play_until(f, phase);
}

/* A view of the present request to the target, changed by `change`, must be
 * refused; with the genuine requests the round goes on. */
typedef void change(struct federation *f, struct attack_view *view, struct attack_list *last);

static void refuses(enum cns_phase phase, change *how, int expected) {
  struct federation f;
  begin_at(&f, phase, 1 + (uint64_t)phase);
  struct attack_view *view = attack_view_new(&f, TARGET);
  how(&f, view, &view->lists[view->count - 1]);
  int r = attack_refused(&f, TARGET, attack_view_write(&f, view));
  if (r != expected) fail_msg("%s: %d", cns_phase_name(phase), r);
  attack_view_free(view);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

static void an_unchanged_view_is_the_request(void **state) {
  static const enum cns_phase phases[] = {CNS_PHASE_AUDIT, CNS_PHASE_DISPUTE, CNS_PHASE_AGREE,
                                          CNS_PHASE_UNMASK};
  for (size_t p = 0; p < 4; p++) {
    struct federation f;
    begin_at(&f, phases[p], 2);
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

static void cut_tail(struct attack_view *view, size_t len) {
  view->tail.data = realloc(view->tail.data, len + 1);
  assert_non_null(view->tail.data);
  if (len > view->tail.len) view->tail.data[view->tail.len] = 0;
  view->tail.len = len;
}

/* ---- audit ---- */

static void other_nonce(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[7] ^= 1;
}
static void longer_nonce(struct federation *f, struct attack_view *view, struct attack_list *last) {
  cut_tail(view, 33);
}
static void no_nonce(struct federation *f, struct attack_view *view, struct attack_list *last) {
  cut_tail(view, 0);
}
static void without_us(struct federation *f, struct attack_view *view, struct attack_list *last) {
  attack_item_drop(&last->items[TARGET]);
}
static void other_digest_of_ours(struct federation *f, struct attack_view *view, struct attack_list *last) {
  uint8_t body[CNS_UPLOAD_BODY_BYTES];
  memcpy(body, last->items[TARGET].body, sizeof body);
  body[0] ^= 1;
  attack_view_forge(f, view, TARGET, body, sizeof body, f->coordinator_identity);
}
static void too_few(struct federation *f, struct attack_view *view, struct attack_list *last) {
  for (size_t k = 0; k < 4; k++)
    attack_item_drop(&last->items[k]);
}

static void an_audit_with_another_nonce_or_list(void **state) {
  refuses(CNS_PHASE_AUDIT, other_nonce, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AUDIT, longer_nonce, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_AUDIT, no_nonce, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_AUDIT, other_digest_of_ours, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AUDIT, too_few, CNS_ERR_REFUSED);
}

/* Cut off after its upload, and audited all the same: the list without it is
 * taken, since it may well have been late, but no sketch is given. */
static void cut_off_after_upload_and_asked_again(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_AUDIT, 3);
  struct attack_view *view = attack_view_new(&f, TARGET);
  without_us(&f, view, &view->lists[view->count - 1]);
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  assert_int_equal(f.hospitals[TARGET]->round.closed, CNS_PHASE_UPLOAD);
  /* And the other list, with it, is a second one now. */
  assert_int_equal(attack_refused(&f, TARGET, attack_request(&f, TARGET)), CNS_ERR_REFUSED);
  attack_view_free(view);
  f.silent_from[TARGET] = CNS_PHASE_AUDIT;
  attack_finish(&f, LIARS);
  assert_int_equal(attack_outcome(&f, TARGET), CNS_MISSING_AUDIT);
  federation_deinit(&f);
}

/* The colluder signed two uploads, and two hospitals are shown different ones:
 * each answers under its own A, once, and the answers don't go together. */
static void two_lists_of_digests(void **state) {
  struct federation f;
  struct cns_problem problem;
  const uint8_t *answer;
  size_t len;
  begin_at(&f, CNS_PHASE_AUDIT, 4);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct attack_list *last = &view->lists[view->count - 1];
  uint8_t body[CNS_UPLOAD_BODY_BYTES];
  memcpy(body, last->items[LIAR].body, sizeof body);
  body[0] ^= 1;
  attack_view_forge(&f, view, LIAR, body, sizeof body, f.identities[LIAR]);
  struct attack_bytes request = attack_view_write(&f, view);
  assert_int_equal(federation_handle(&f, TARGET, request.data, request.len, &answer, &len, &problem), 0);
  struct attack_bytes theirs = attack_bytes_copy(answer, len);
  assert_int_equal(attack_receive(&f, TARGET, theirs, &problem), CNS_ERR_REFUSED);
  /* It was told one list; the other is proof against the coordinator. */
  assert_int_equal(attack_refused(&f, TARGET, attack_request(&f, TARGET)), CNS_ERR_REFUSED);
  attack_bytes_free(&request);
  attack_view_free(view);
  f.silent_from[TARGET] = CNS_PHASE_AUDIT;
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- dispute ---- */

static void altered_value(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[4 + 100] ^= 1;
}
static void altered_path(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[4 + 4 * FEDERATION_SKETCH + 1] ^= 1;
}
static void in_anothers_name(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[2] = LIAR + 2;
}
static void against_itself(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[2] = TARGET + 1;
}
static void stranger(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[2] = 77;
}
static void none_at_all(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[0] = 0;
  cut_tail(view, 2);
}
static void bytes_behind(struct federation *f, struct attack_view *view, struct attack_list *last) {
  cut_tail(view, view->tail.len + 1);
}

/* A contradiction by hand: what `claim` says of member `from`. */
static void put_contradiction(struct attack_view *view, uint16_t from, const struct cns_claim *claim) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  cns_write_u16(&writer, 1);
  cns_write_u16(&writer, from);
  cns_write_bytes(&writer, claim->words, 4 * FEDERATION_SKETCH);
  cns_path_write(&writer, &claim->path);
  attack_bytes_free(&view->tail);
  view->tail = attack_bytes_copy(writer.data, writer.len);
  cns_writer_deinit(&writer);
}

static void claim_of(const struct federation *f, size_t k, size_t j, struct cns_claim *ret_claim) {
  struct cns_merkle_tree *tree = NULL;
  assert_int_equal(cns_coordinator_audit_tree(f->coordinator, k, &tree), 0);
  assert_int_equal(cns_coordinator_claim(f->coordinator, tree, k, j, ret_claim), 0);
  cns_merkle_tree_free(tree);
}

/* An honest hospital's value is the same as ours: nothing to open. */
static void no_contradiction(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_claim claim;
  claim_of(f, 1, TARGET, &claim);
  put_contradiction(view, 2, &claim);
}
/* The liar's value of another pair, or of its self mask, differs from ours of this one. */
static void value_of_another_pair(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_claim claim;
  claim_of(f, LIAR, 1, &claim);
  put_contradiction(view, LIAR + 1, &claim);
}
static void value_of_the_self_mask(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_claim claim;
  claim_of(f, LIAR, LIAR, &claim);
  put_contradiction(view, LIAR + 1, &claim);
}
/* A colluder would sign anything for it; but only what is listed counts. */
static void value_signed_a_second_time(struct federation *f, struct attack_view *view,
                                       struct attack_list *last) {
  static uint8_t words[4 * FEDERATION_SKETCH];
  struct cns_digest digests[8];
  struct cns_claim claim = {.words = words};
  for (size_t j = 0; j < 8; j++)
    cns_audit_leaf_digest(2, (uint16_t)(j + 1), words, FEDERATION_SKETCH, &digests[j]);
  cns_audit_leaf_digest(2, TARGET + 1, words, FEDERATION_SKETCH, &digests[TARGET]);
  assert_int_equal(cns_merkle_path(digests, 8, TARGET, &claim.path), 0);
  put_contradiction(view, 2, &claim);
}

static void a_pair_is_opened_against_a_contradiction_only(void **state) {
  refuses(CNS_PHASE_DISPUTE, altered_value, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_DISPUTE, altered_path, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_DISPUTE, in_anothers_name, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_DISPUTE, against_itself, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_DISPUTE, stranger, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_DISPUTE, none_at_all, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_DISPUTE, bytes_behind, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_DISPUTE, no_contradiction, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_DISPUTE, value_of_another_pair, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_DISPUTE, value_of_the_self_mask, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_DISPUTE, value_signed_a_second_time, CNS_ERR_REFUSED);
}

/* The liar's signed values of one attempt shown in the next. */
static void a_value_from_another_round(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_DISPUTE, 5);
  struct attack_bytes old = attack_request(&f, TARGET);
  attack_finish(&f, LIARS);
  federation_begin(&f, 1, 2);
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct attack_bytes now = attack_request(&f, TARGET);
  assert_int_equal(now.len, old.len);
  memcpy(view->tail.data, old.data + old.len - view->tail.len, view->tail.len);
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  assert_int_equal(attack_refused(&f, TARGET, old), CNS_ERR_REFUSED);
  attack_bytes_free(&now);
  attack_view_free(view);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* A dispute in a round where nobody contradicts anybody: the signed list of
 * phase dispute is there already, or the phase isn't open. */
static void a_dispute_that_nobody_has(void **state) {
  struct federation f;
  federation_init_audited(&f, 8, 6);
  federation_begin(&f, 1, 1);
  attack_play_until(&f, CNS_PHASE_AGREE);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct cns_claim claim;
  attack_bytes_free(&view->proposal);
  view->phase = CNS_PHASE_DISPUTE;
  view->count--; /* without the list of phase dispute */
  claim_of(&f, LIAR, TARGET, &claim);
  put_contradiction(view, LIAR + 1, &claim);
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  view->count++;
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- agree ---- */

static void altered_z(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->tail.data[9] ^= 1;
}
static void anothers_z(struct federation *f, struct attack_view *view, struct attack_list *last) {
  cns_audit_words_write(cns_coordinator_sketch(f->coordinator, 1), FEDERATION_SKETCH, view->tail.data + 4);
}
static void no_z(struct federation *f, struct attack_view *view, struct attack_list *last) {
  memset(view->tail.data, 0, 4);
  cut_tail(view, 4);
}

static void wrong_own_sketch(void **state) {
  refuses(CNS_PHASE_AGREE, altered_z, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, anothers_z, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, no_z, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, bytes_behind, CNS_ERR_FORMAT);
}

/* The statement changed field by field; the digests follow the outcomes. */
static void restate(struct attack_view *view, const struct cns_agreement *agreement) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_MESSAGE_BODY_MAX);
  cns_agreement_write(&writer, agreement);
  attack_bytes_free(&view->proposal);
  view->proposal = attack_bytes_copy(writer.data, writer.len);
  cns_writer_deinit(&writer);
}

static void set_outcome(struct attack_view *view, size_t k, uint8_t outcome) {
  struct cns_agreement a;
  assert_int_equal(cns_agreement_read(view->proposal.data, view->proposal.len, &a), 0);
  const struct cns_digest *digest = cns_agreement_sketch(&a, k);
  if (digest && !cns_outcome_has_sketch(outcome)) {
    size_t place = (size_t)(digest - a.sketches);
    memmove(&a.sketches[place], &a.sketches[place + 1], (a.sketch_count - place - 1) * sizeof *a.sketches);
    a.sketch_count--;
  }
  a.outcomes[k] = outcome;
  restate(view, &a);
  cns_agreement_deinit(&a);
}

static void three_flagged(struct federation *f, struct attack_view *view, struct attack_list *last) {
  set_outcome(view, 0, CNS_OUT_FLAGGED);
  set_outcome(view, 1, CNS_OUT_QUARANTINED);
  set_outcome(view, 3, CNS_OUT_FLAGGED);
}
static void convicted_without_an_opening(struct federation *f, struct attack_view *view,
                                         struct attack_list *last) {
  set_outcome(view, 1, CNS_OUT_CONVICTED);
}
static void missing_in_the_audit(struct federation *f, struct attack_view *view, struct attack_list *last) {
  set_outcome(view, 1, CNS_MISSING_AUDIT); /* and in the list */
}
static void forfeited_already(struct federation *f, struct attack_view *view, struct attack_list *last) {
  set_outcome(view, 1, CNS_OUT_FORFEITED);
}
static void nearly_all_missing(struct federation *f, struct attack_view *view, struct attack_list *last) {
  for (size_t k = 0; k < 8; k++)
    if (k != TARGET && k != 7) set_outcome(view, k, CNS_MISSING_DISPUTE);
}
static void stated_nonce(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->proposal.data[3] ^= 1;
}
static void stated_digest_of_ours(struct federation *f, struct attack_view *view, struct attack_list *last) {
  view->proposal.data[32 + 2 + 8 + 2 + TARGET * CNS_DIGEST_BYTES] ^= 1;
}
static void one_digest_less(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_agreement a;
  assert_int_equal(cns_agreement_read(view->proposal.data, view->proposal.len, &a), 0);
  a.sketch_count--;
  restate(view, &a);
  cns_agreement_deinit(&a);
}
static void no_digests(struct federation *f, struct attack_view *view, struct attack_list *last) {
  struct cns_agreement a;
  assert_int_equal(cns_agreement_read(view->proposal.data, view->proposal.len, &a), 0);
  a.sketch_count = 0;
  restate(view, &a);
  cns_agreement_deinit(&a);
}

static void no_digests_and_no_z(struct federation *f, struct attack_view *view, struct attack_list *last) {
  no_digests(f, view, last);
  no_z(f, view, last);
}

static void statements_that_break_the_rules(void **state) {
  refuses(CNS_PHASE_AGREE, three_flagged, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, convicted_without_an_opening, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, missing_in_the_audit, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, forfeited_already, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, nearly_all_missing, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, stated_nonce, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, stated_digest_of_ours, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, one_digest_less, CNS_ERR_FORMAT);
  refuses(CNS_PHASE_AGREE, no_digests, CNS_ERR_REFUSED);
  refuses(CNS_PHASE_AGREE, no_digests_and_no_z, CNS_ERR_REFUSED);
}

/* Phase dispute opened a pair: one of the two must be convicted, and nobody else;
 * and who answered there isn't missing in it. */
static void statements_after_a_dispute(void **state) {
  static const struct {
    size_t member;
    uint8_t outcome;
  } cases[] = {{LIAR, CNS_INCLUDED},
               {LIAR, CNS_OUT_FLAGGED},
               {LIAR, CNS_MISSING_DISPUTE},
               {1, CNS_OUT_CONVICTED},
               {TARGET, CNS_MISSING_DISPUTE}};
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    struct federation f;
    begin_at(&f, CNS_PHASE_DISPUTE, 7);
    attack_play_until(&f, CNS_PHASE_AGREE);
    struct attack_view *view = attack_view_new(&f, 0);
    struct cns_agreement a;
    assert_int_equal(cns_agreement_read(view->proposal.data, view->proposal.len, &a), 0);
    assert_int_equal(a.outcomes[LIAR], CNS_OUT_CONVICTED);
    assert_int_equal(a.sketch_count, 7);
    a.outcomes[cases[c].member] = cases[c].outcome;
    size_t sketches = 0;
    for (size_t k = 0; k < 8; k++)
      sketches += cns_outcome_has_sketch(a.outcomes[k]);
    a.sketches = realloc(a.sketches, 8 * sizeof *a.sketches);
    assert_non_null(a.sketches);
    if (sketches > a.sketch_count) a.sketches[7] = a.sketches[6];
    a.sketch_count = (uint16_t)sketches;
    restate(view, &a);
    cns_agreement_deinit(&a);
    assert_int_equal(attack_refused(&f, 0, attack_view_write(&f, view)), CNS_ERR_REFUSED);
    attack_view_free(view);
    attack_finish(&f, LIARS);
    federation_deinit(&f);
  }
}

/* t signatures on a statement with another sketch of ours: we don't unmask it. */
static void signed_statement_with_another_sketch_of_ours(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_UNMASK, 8);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct attack_list *last = &view->lists[view->count - 1];
  last->agreement.data[32 + 2 + 8 + 2 + TARGET * CNS_DIGEST_BYTES] ^= 1;
  for (size_t k = 0; k < f.n; k++)
    if (k == TARGET)
      attack_item_drop(&last->items[k]);
    else
      attack_view_forge(&f, view, k, last->agreement.data, last->agreement.len, f.identities[k]);
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unchanged_view_is_the_request),
      cmocka_unit_test(an_audit_with_another_nonce_or_list),
      cmocka_unit_test(cut_off_after_upload_and_asked_again),
      cmocka_unit_test(two_lists_of_digests),
      cmocka_unit_test(a_pair_is_opened_against_a_contradiction_only),
      cmocka_unit_test(a_value_from_another_round),
      cmocka_unit_test(a_dispute_that_nobody_has),
      cmocka_unit_test(wrong_own_sketch),
      cmocka_unit_test(statements_that_break_the_rules),
      cmocka_unit_test(statements_after_a_dispute),
      cmocka_unit_test(signed_statement_with_another_sketch_of_ours),
  };
  return cmocka_run_group_tests_name("protocol audit coordinator", tests, NULL, NULL);
}
