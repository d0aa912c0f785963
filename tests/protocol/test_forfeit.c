/* SPDX-License-Identifier: Apache-2.0 */
/* Liars that come to light after phase unmask, and what becomes of them; and a
 * coordinator that wants an honest hospital's s. n = 8, c = 1, t = 5; the liar is
 * member 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define LIAR 2
#define OTHER 5
#define TARGET 6
#define LIARS ((uint64_t)1 << LIAR)
#define BOTH (LIARS | (uint64_t)1 << OTHER)

static void begin(struct federation *f, size_t n, uint64_t seed) {
  federation_init_audited(f, n, seed);
  federation_begin(f, 1, 1);
  for (size_t k = 0; k < f->n; k++)
    f->lie_partner[k] = k == LIAR ? OTHER : LIAR;
}

/* Member k hides its poison in the sketch of its self mask. */
static void false_self(struct federation *f, size_t k) {
  attack_poison(f, k);
  f->lies[k] = attack_lie_self;
}

static void a_false_self_sketch(void **state) {
  struct federation f;
  begin(&f, 8, 1);
  false_self(&f, LIAR);
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  assert_false(cns_coordinator_awaits(f.coordinator, LIAR));
  assert_int_equal(cns_coordinator_awaited(f.coordinator), 7);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_SELF);
  attack_finish(&f, LIARS);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_OUT_FORFEITED);
  assert_int_equal(cns_coordinator_agreement(f.coordinator)->outcomes[LIAR], CNS_INCLUDED);
  assert_int_equal(cns_agreement_included(cns_coordinator_outcomes(f.coordinator)), 7);
  federation_deinit(&f);
}

/* One who has left can't contradict: its s does. */
static void a_false_pair_with_one_who_left(void **state) {
  static const enum cns_phase left[] = {CNS_PHASE_UPLOAD, CNS_PHASE_AUDIT};
  for (size_t p = 0; p < 2; p++) {
    struct federation f;
    begin(&f, 8, 2 + p);
    attack_poison(&f, LIAR);
    f.lies[LIAR] = attack_lie_pair;
    f.silent_from[OTHER] = left[p];
    attack_finish(&f, LIARS);
    attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
    assert_int_equal(attack_outcome(&f, LIAR), CNS_OUT_FORFEITED);
    federation_deinit(&f);
  }
}

/* Agreed between two, of whom one is left out for a flag: the other's share in
 * it comes to light. */
static void a_false_pair_agreed_with_one_that_is_flagged(void **state) {
  struct federation f;
  begin(&f, 8, 4);
  attack_poison(&f, LIAR);
  f.lies[LIAR] = attack_lie_pair;
  f.lies[OTHER] = attack_lie_along;
  f.decisions[OTHER] = CNS_OUT_FLAGGED;
  attack_finish(&f, BOTH);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_OUT_FORFEITED);
  assert_int_equal(attack_outcome(&f, OTHER), CNS_OUT_FLAGGED);
  federation_deinit(&f);
}

static void lie_self_and_along(struct federation *f, size_t k, uint32_t *masks) {
  attack_lie_along(f, k, masks);
  attack_lie_self(f, k, masks);
}

/* The poison goes from one liar to the other in their pair, and vanishes there in
 * a false self sketch. The first forfeit gives the s that shows the pair, and
 * with it a second one. */
static void liars_that_come_to_light_one_after_another(void **state) {
  struct federation f;
  begin(&f, 10, 5);
  attack_poison(&f, LIAR);
  f.lies[LIAR] = attack_lie_pair;
  attack_poison(&f, OTHER);
  f.lies[OTHER] = lie_self_and_along;
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  assert_true(attack_is_named(&f, OTHER) && !attack_is_named(&f, LIAR));
  federation_play_phase(&f);
  attack_close(&f);
  assert_int_equal(cns_coordinator_phase(f.coordinator), CNS_PHASE_FORFEIT);
  assert_int_equal(f.coordinator->audit.forfeits.rounds, 2);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
  attack_finish(&f, BOTH);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_OUT_FORFEITED);
  assert_int_equal(attack_outcome(&f, OTHER), CNS_OUT_FORFEITED);
  assert_int_equal(cns_agreement_included(cns_coordinator_outcomes(f.coordinator)), 8);
  federation_deinit(&f);
}

/* A holder that was away in the first round of forfeits answers in the second. */
static void away_in_the_first_forfeit(void **state) {
  struct federation f;
  begin(&f, 10, 6);
  attack_poison(&f, LIAR);
  f.lies[LIAR] = attack_lie_pair;
  attack_poison(&f, OTHER);
  f.lies[OTHER] = lie_self_and_along;
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  const uint8_t *late;
  size_t late_len;
  struct cns_problem problem = {0};
  assert_int_equal(federation_answer(&f, 1, &late, &late_len, &problem), 0);
  struct attack_bytes old = attack_bytes_copy(late, late_len);
  f.silent_from[0] = f.silent_from[1] = CNS_PHASE_FORFEIT;
  federation_play_phase(&f);
  attack_close(&f);
  assert_int_equal(attack_receive(&f, 1, old, &problem), CNS_ANSWER_LATE);
  f.silent_from[0] = f.silent_from[1] = CNS_PHASE_COUNT;
  attack_finish(&f, BOTH);
  assert_int_equal(cns_hospital_slot(f.hospitals[0], CNS_PHASE_FORFEIT), CNS_PHASE_FORFEIT + 1);
  assert_int_equal(cns_hospital_slot(f.hospitals[0], CNS_PHASE_UNMASK), CNS_PHASE_UNMASK);
  federation_deinit(&f);
}

/* Wrong, but within the bound without the error too: reported, and it stays. */
static void a_faulty_machine_is_reported(void **state) {
  struct federation f;
  size_t count;
  begin(&f, 8, 7);
  f.lies[LIAR] = attack_lie_slightly;
  attack_finish(&f, LIARS);
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(f.coordinator, &count);
  assert_int_equal(count, 1);
  assert_int_equal(verdicts[0].blame, CNS_BLAME_FALSE_SELF);
  assert_true(verdicts[0].within_bound);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_SELF);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_INCLUDED);
  federation_deinit(&f);
}

/* c = 1, so at least 3 must be left. n = 4: one has left, and one more forfeits. */
static void too_few_are_left(void **state) {
  struct federation f;
  begin(&f, 4, 8);
  false_self(&f, LIAR);
  f.silent_from[0] = CNS_PHASE_UPLOAD;
  federation_play(&f);
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_TOO_FEW);
  assert_non_null(strstr(cns_coordinator_end_reason(f.coordinator), "forfeit"));
  attack_check_names(&f, LIARS);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_SELF);
  federation_deinit(&f);
}

static void too_few_shares(void **state) {
  struct federation f;
  const struct cns_mask_term *terms;
  size_t count;
  begin(&f, 8, 9);
  false_self(&f, LIAR);
  for (size_t k = 3; k < 6; k++)
    f.silent_from[k] = CNS_PHASE_FORFEIT;
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  federation_play_phase(&f);
  attack_close(&f); /* 4 of 5 */
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_TOO_FEW);
  assert_int_equal(cns_coordinator_unmasking(f.coordinator, &terms, &count), CNS_ERR_STATE);
  attack_check_names(&f, LIARS);
  federation_deinit(&f);
}

/* A share that isn't the dealt one names its holder; the others do. */
static void a_wrong_share(void **state) {
  struct federation f;
  struct cns_problem problem;
  const size_t holder = 0;
  begin(&f, 8, 10);
  false_self(&f, LIAR);
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  struct cns_released released = {.dealer = LIAR + 1, .kind = CNS_SHARE_S, .share = {{7}}};
  struct cns_writer body;
  cns_writer_init(&body, 256);
  cns_released_write(&body, &released, 1);
  assert_int_equal(
      attack_receive(&f, holder, attack_answer(&f, holder, body.data, body.len, NULL, NULL, 0), &problem), 0);
  attack_convicted(&f, holder, CNS_BLAME_WRONG_SHARE);
  body.data[2] = OTHER + 1; /* another's */
  assert_int_equal(attack_receive(&f, 1, attack_answer(&f, 1, body.data, body.len, NULL, NULL, 0), &problem),
                   CNS_ERR_FORMAT);
  body.data[2] = LIAR + 1;
  body.data[4] = CNS_SHARE_B;
  assert_int_equal(attack_receive(&f, 1, attack_answer(&f, 1, body.data, body.len, NULL, NULL, 0), &problem),
                   CNS_ERR_FORMAT);
  cns_writer_deinit(&body);
  attack_finish(&f, LIARS | 1);
  federation_deinit(&f);
}

/* Asked again it gives the same bytes, and the same share. */
static void asked_again(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  const uint8_t *answer;
  size_t len;
  begin(&f, 8, 11);
  false_self(&f, LIAR);
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  assert_int_equal(federation_answer(&f, TARGET, &answer, &len, &problem), 0);
  struct attack_bytes first = attack_bytes_copy(answer, len);
  assert_int_equal(federation_answer(&f, TARGET, &answer, &len, &problem), 0);
  assert_int_equal(len, first.len);
  assert_memory_equal(answer, first.data, len);
  attack_bytes_free(&first);
  struct cns_signature signature;
  assert_int_equal(cns_hospital_abandon(f.hospitals[TARGET], &signature), CNS_ERR_STATE);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* ---- a coordinator that wants more ---- */

/* A request of phase forfeit by hand: lists that lead up to it are known. */
static struct attack_bytes request_of(const struct federation *f, const struct cns_forfeits *forfeits,
                                      const uint8_t *cases, size_t len) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  cns_write_u8(&writer, CNS_REQUEST_VERSION);
  cns_write_bytes(&writer, cns_coordinator_round(f->coordinator)->digest.bytes, CNS_DIGEST_BYTES);
  cns_write_u8(&writer, CNS_PHASE_FORFEIT);
  cns_write_u16(&writer, 0);
  cns_forfeits_write(&writer, forfeits);
  cns_write_bytes(&writer, cases, len);
  struct attack_bytes request = attack_bytes_copy(writer.data, writer.len);
  cns_writer_deinit(&writer);
  return request;
}

/* Every byte of a genuine case changed: nothing is released. */
static void altered_cases(void **state) {
  struct federation f;
  begin(&f, 8, 12);
  attack_poison(&f, LIAR);
  f.lies[LIAR] = attack_lie_pair;
  f.silent_from[OTHER] = CNS_PHASE_AUDIT;
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  const struct cns_writer *cases = &f.coordinator->audit.cases;
  struct attack_bytes copy = attack_bytes_copy(cases->data, cases->len);
  for (size_t at = 0; at < copy.len; at++) {
    copy.data[at] ^= (uint8_t)(1 + at % 255);
    attack_refused(&f, TARGET, request_of(&f, &f.coordinator->audit.forfeits, copy.data, copy.len));
    copy.data[at] = cases->data[at];
  }
  for (size_t len = 0; len < copy.len; len += 1 + copy.len / 40)
    attack_refused(&f, TARGET, request_of(&f, &f.coordinator->audit.forfeits, copy.data, len));
  attack_bytes_free(&copy);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* The liar's case in an honest hospital's name; an honest hospital's own values,
 * truly opened; both together; the liar and one more. */
static void forfeit_of_an_honest_hospital(void **state) {
  struct federation f;
  begin(&f, 8, 13);
  false_self(&f, LIAR);
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  const struct cns_writer *cases = &f.coordinator->audit.cases;
  struct cns_forfeits honest = {.rounds = 1, .ends = {1}, .accused = {OTHER + 1}};
  assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &honest, cases->data, cases->len)),
                   CNS_ERR_FORMAT);

  struct cns_claim claim = {0};
  struct cns_merkle_tree *tree = NULL;
  struct cns_writer one, blob;
  uint8_t words[CNS_AUDIT_SKETCH_BYTES_MAX];
  assert_int_equal(cns_coordinator_audit_tree(f.coordinator, OTHER, &tree), 0);
  assert_int_equal(cns_coordinator_claim(f.coordinator, tree, OTHER, OTHER, &claim), 0);
  claim.b = f.hospitals[OTHER]->secrets->b;
  for (int kind = 0; kind < 3; kind++) {
    struct cns_forfeits accused = honest;
    cns_writer_init(&one, CNS_REQUEST_BYTES_MAX);
    cns_writer_init(&blob, CNS_REQUEST_BYTES_MAX);
    uint32_t z[CNS_SKETCH_MAX];
    memcpy(z, cns_coordinator_sketch(f.coordinator, OTHER), FEDERATION_SKETCH * sizeof *z);
    if (kind == 1) z[0] += (uint32_t)1 << 30; /* a z that was never agreed */
    cns_audit_words_write(z, FEDERATION_SKETCH, words);
    cns_write_bytes(&one, words, 4 * FEDERATION_SKETCH);
    cns_write_u16(&one, 1);
    cns_claim_write(&one, &claim, FEDERATION_SKETCH);
    if (kind == 2) { /* more forfeits than convicted: the liar's case is good, the other's isn't */
      accused = (struct cns_forfeits){.rounds = 1, .ends = {2}, .accused = {LIAR + 1, OTHER + 1}};
      cns_write_bytes(&blob, cases->data, cases->len);
    }
    cns_write_blob(&blob, one.data, one.len);
    assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &accused, blob.data, blob.len)),
                     CNS_ERR_REFUSED);
    cns_writer_deinit(&one);
    cns_writer_deinit(&blob);
  }
  cns_merkle_tree_free(tree);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* One that has no place; the one that is asked; so many that too few are left; a
 * second list of the same number; rounds in another order. */
static void lists_of_accused_that_may_not_be(void **state) {
  struct federation f;
  begin(&f, 8, 14);
  false_self(&f, LIAR);
  f.silent_from[OTHER] = CNS_PHASE_AUDIT;
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  const struct cns_writer *cases = &f.coordinator->audit.cases;
  static const struct cns_forfeits lists[] = {
      {.rounds = 1, .ends = {1}, .accused = {OTHER + 1}},
      {.rounds = 1, .ends = {1}, .accused = {99}},
      {.rounds = 1, .ends = {1}, .accused = {TARGET + 1}},
      {.rounds = 1, .ends = {5}, .accused = {1, 2, 3, 4, 5}},
      {.rounds = 2, .ends = {4, 5}, .accused = {1, 2, 4, 5, 3}},
  };
  for (size_t l = 0; l < sizeof lists / sizeof lists[0]; l++)
    assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &lists[l], cases->data, cases->len)),
                     CNS_ERR_REFUSED);
  static const struct cns_forfeits shapes[] = {
      {.rounds = 0},
      {.rounds = 1, .ends = {2}, .accused = {3, 3}},
      {.rounds = 1, .ends = {2}, .accused = {3, 1}},
      {.rounds = 2, .ends = {1, 2}, .accused = {3, 3}},
      {.rounds = 2, .ends = {1, 1}, .accused = {3}},
  };
  for (size_t l = 0; l < sizeof shapes / sizeof shapes[0]; l++)
    assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &shapes[l], cases->data, cases->len)),
                     CNS_ERR_FORMAT);
  federation_play_phase(&f);
  struct cns_forfeits again = {.rounds = 1, .ends = {1}, .accused = {1}};
  assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &again, cases->data, cases->len)),
                   CNS_ERR_REFUSED);
  again = (struct cns_forfeits){.rounds = 2, .ends = {1, 2}, .accused = {1, LIAR + 1}};
  assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &again, cases->data, cases->len)),
                   CNS_ERR_REFUSED);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* A case with member k's self mask alone, truly opened, to the target: refused. */
static void refuses_case_of_self(struct federation *f, size_t k) {
  struct cns_claim claim = {0};
  struct cns_merkle_tree *tree = NULL;
  struct cns_writer one, blob;
  uint8_t words[CNS_AUDIT_SKETCH_BYTES_MAX];
  struct cns_forfeits accused = {.rounds = 1, .ends = {1}, .accused = {(uint16_t)(k + 1)}};
  assert_int_equal(cns_coordinator_audit_tree(f->coordinator, k, &tree), 0);
  assert_int_equal(cns_coordinator_claim(f->coordinator, tree, k, k, &claim), 0);
  claim.b = f->hospitals[k]->secrets->b;
  cns_writer_init(&one, CNS_REQUEST_BYTES_MAX);
  cns_writer_init(&blob, CNS_REQUEST_BYTES_MAX);
  cns_audit_words_write(cns_coordinator_sketch(f->coordinator, k), FEDERATION_SKETCH, words);
  cns_write_bytes(&one, words, 4 * FEDERATION_SKETCH);
  cns_write_u16(&one, 1);
  cns_claim_write(&one, &claim, FEDERATION_SKETCH);
  cns_write_blob(&blob, one.data, one.len);
  assert_int_equal(attack_refused(f, TARGET, request_of(f, &accused, blob.data, blob.len)), CNS_ERR_REFUSED);
  cns_writer_deinit(&one);
  cns_writer_deinit(&blob);
  cns_merkle_tree_free(tree);
}

/* A faulty machine that would pass keeps its place, whatever the coordinator says. */
static void forfeit_of_a_faulty_machine(void **state) {
  struct federation f;
  begin(&f, 8, 15);
  f.lies[LIAR] = attack_lie_slightly;
  attack_play_until(&f, CNS_PHASE_UNMASK);
  federation_play_phase(&f); /* the target has the signed agreement */
  refuses_case_of_self(&f, LIAR);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* So does an update beyond every bound that nobody lied about: it could be left
 * out before the agreement, and wasn't. */
static void forfeit_of_a_huge_update(void **state) {
  struct federation f;
  bool within = true;
  begin(&f, 8, 17);
  attack_poison(&f, OTHER);
  attack_play_until(&f, CNS_PHASE_UNMASK);
  assert_int_equal(
      cns_audit_within_bound(&f.descriptor, OTHER, cns_coordinator_sketch(f.coordinator, OTHER), &within), 0);
  assert_false(within);
  federation_play_phase(&f); /* the target has the signed agreement */
  refuses_case_of_self(&f, OTHER);
  attack_finish(&f, 0);
  assert_int_equal(attack_outcome(&f, OTHER), CNS_INCLUDED);
  federation_deinit(&f);
}

/* Before the agreement is signed there is nothing to forfeit, and after abandon
 * nothing is released. */
static void forfeit_out_of_order(void **state) {
  struct federation f;
  struct cns_signature signature;
  static const struct cns_forfeits accused = {.rounds = 1, .ends = {1}, .accused = {LIAR + 1}};
  static const enum cns_phase phases[] = {CNS_PHASE_AUDIT, CNS_PHASE_AGREE, CNS_PHASE_UNMASK};
  begin(&f, 8, 16);
  false_self(&f, LIAR);
  for (size_t p = 0; p < 3; p++) {
    attack_play_until(&f, phases[p]);
    assert_int_equal(attack_refused(&f, TARGET, request_of(&f, &accused, NULL, 0)), CNS_ERR_REFUSED);
  }
  f.silent_from[TARGET] = CNS_PHASE_UNMASK;
  attack_play_until(&f, CNS_PHASE_FORFEIT);
  struct attack_bytes request = attack_request(&f, TARGET);
  assert_int_equal(cns_hospital_abandon(f.hospitals[TARGET], &signature), 0);
  assert_int_equal(attack_refused(&f, TARGET, request), CNS_ERR_REFUSED);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_false_self_sketch),
      cmocka_unit_test(a_false_pair_with_one_who_left),
      cmocka_unit_test(a_false_pair_agreed_with_one_that_is_flagged),
      cmocka_unit_test(liars_that_come_to_light_one_after_another),
      cmocka_unit_test(away_in_the_first_forfeit),
      cmocka_unit_test(a_faulty_machine_is_reported),
      cmocka_unit_test(too_few_are_left),
      cmocka_unit_test(too_few_shares),
      cmocka_unit_test(a_wrong_share),
      cmocka_unit_test(asked_again),
      cmocka_unit_test(altered_cases),
      cmocka_unit_test(forfeit_of_an_honest_hospital),
      cmocka_unit_test(lists_of_accused_that_may_not_be),
      cmocka_unit_test(forfeit_of_a_faulty_machine),
      cmocka_unit_test(forfeit_of_a_huge_update),
      cmocka_unit_test(forfeit_out_of_order),
  };
  return cmocka_run_group_tests_name("protocol forfeit", tests, NULL, NULL);
}
