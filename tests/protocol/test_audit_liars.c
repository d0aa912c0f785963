/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that lie in the phases audit and dispute. n = 8, c = 1, t = 5; the
 * liar is member 2, and what it lies about mostly the pair with member 5.
 * test_forfeit.c has those that come to light only after phase unmask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define LIAR 2
#define OTHER 5
#define LIARS ((uint64_t)1 << LIAR)

static void begin(struct federation *f, uint64_t seed) {
  federation_init_audited(f, 8, seed);
  federation_begin(f, 1, 1);
  for (size_t k = 0; k < f->n; k++)
    f->lie_partner[k] = k == LIAR ? OTHER : LIAR;
}

static struct attack_bytes genuine(struct federation *f, size_t k) {
  const uint8_t *answer;
  size_t len;
  struct cns_problem problem = {0};
  int r = federation_answer(f, k, &answer, &len, &problem);
  if (r != 0) fail_msg("hospital %zu: %d %s", k + 1, r, problem.text);
  return attack_bytes_copy(answer, len);
}

/* ---- false pair sketches ---- */

static void false_pair_alone(void **state) {
  struct federation f;
  begin(&f, 1);
  attack_poison(&f, LIAR);
  f.lies[LIAR] = attack_lie_pair;
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  for (size_t k = 0; k < f.n; k++)
    assert_int_equal(cns_coordinator_awaits(f.coordinator, k), k == LIAR || k == OTHER);
  attack_finish(&f, LIARS);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_OUT_CONVICTED);
  assert_int_equal(attack_outcome(&f, OTHER), CNS_INCLUDED);
  assert_null(cns_coordinator_sketch(f.coordinator, LIAR));
  assert_int_equal(cns_agreement_included(cns_coordinator_outcomes(f.coordinator)), 7);
  federation_deinit(&f);
}

/* Either of the two may open it, and the liar itself may do so too. */
static void whoever_opens_names_the_liar(void **state) {
  for (int who = 0; who < 2; who++) {
    struct federation f;
    begin(&f, 2 + who);
    f.lies[LIAR] = attack_lie_wildly;
    attack_play_until(&f, CNS_PHASE_DISPUTE);
    f.silent_from[who ? LIAR : OTHER] = CNS_PHASE_DISPUTE;
    federation_play_phase(&f);
    attack_close(&f);
    f.silent_from[who ? LIAR : OTHER] = CNS_PHASE_COUNT;
    attack_finish(&f, LIARS);
    attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
    assert_int_equal(attack_outcome(&f, OTHER), CNS_INCLUDED);
    federation_deinit(&f);
  }
}

static void refusing_to_open(void **state) {
  struct federation f;
  begin(&f, 4);
  f.lies[LIAR] = attack_lie_pair;
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  f.silent_from[LIAR] = f.silent_from[OTHER] = CNS_PHASE_DISPUTE;
  federation_play_phase(&f);
  attack_close(&f);
  f.silent_from[LIAR] = f.silent_from[OTHER] = CNS_PHASE_COUNT;
  attack_finish(&f, 0); /* nobody is named for silence */
  assert_int_equal(attack_outcome(&f, LIAR), CNS_MISSING_DISPUTE);
  assert_int_equal(attack_outcome(&f, OTHER), CNS_MISSING_DISPUTE);
  federation_deinit(&f);
}

/* Its pair with the silent one stays open, but it is convicted by the others, so
 * the silent one needn't go. */
static void false_to_all_and_one_victim_is_silent(void **state) {
  struct federation f;
  begin(&f, 5);
  f.lies[LIAR] = attack_lie_to_all;
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  assert_int_equal(cns_coordinator_awaited(f.coordinator), 8);
  f.silent_from[LIAR] = f.silent_from[OTHER] = CNS_PHASE_DISPUTE;
  federation_play_phase(&f);
  attack_close(&f);
  f.silent_from[LIAR] = f.silent_from[OTHER] = CNS_PHASE_COUNT;
  attack_finish(&f, LIARS);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_OUT_CONVICTED);
  assert_int_equal(attack_outcome(&f, OTHER), CNS_INCLUDED);
  federation_deinit(&f);
}

/* Two liars contradict each other: both are convicted by one opening. */
static void both_sides_false(void **state) {
  struct federation f;
  begin(&f, 6);
  f.lies[LIAR] = f.lies[OTHER] = attack_lie_wildly;
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  f.silent_from[OTHER] = CNS_PHASE_DISPUTE;
  federation_play_phase(&f);
  attack_close(&f);
  attack_finish(&f, LIARS | (uint64_t)1 << OTHER);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
  attack_convicted(&f, OTHER, CNS_BLAME_FALSE_PAIR);
  federation_deinit(&f);
}

/* ---- openings ---- */

struct forged {
  struct cns_opening opening;
  uint16_t named; /* in the body */
  size_t count;
};

static struct attack_bytes opening_answer(const struct federation *f, size_t k, const struct forged *forged) {
  struct cns_writer body, tail;
  struct cns_digest digests[2], root;
  cns_writer_init(&body, 64);
  cns_writer_init(&tail, 1024);
  cns_write_u16(&body, (uint16_t)forged->count);
  for (size_t o = 0; o < forged->count; o++) {
    cns_write_u16(&body, (uint16_t)(forged->named + o));
    cns_opening_write(&tail, &forged->opening);
    cns_opening_leaf(&forged->opening, &digests[o]);
  }
  if (forged->count > 0) assert_int_equal(cns_merkle_root(digests, forged->count, &root), 0);
  struct attack_bytes answer =
      attack_answer(f, k, body.data, body.len, forged->count ? &root : NULL, tail.data, tail.len);
  cns_writer_deinit(&body);
  cns_writer_deinit(&tail);
  return answer;
}

/* The liar's attempts to open something else: none is taken, none proves anything. */
static void openings_that_are_none(void **state) {
  struct federation f;
  struct cns_problem problem;
  struct cns_scalar other;
  begin(&f, 7);
  f.lies[LIAR] = attack_lie_pair;
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  const struct cns_hospital *h = f.hospitals[LIAR];
  struct cns_opening good = {.opener = LIAR + 1, .partner = OTHER + 1};
  assert_int_equal(cns_opening_make(&f.coordinator->round, &h->secrets->s, &h->keys[LIAR].s,
                                    &h->keys[OTHER].s, cns_rng_seeded(&f.rngs[LIAR]), &good),
                   0);
  for (int kind = 0; kind < 8; kind++) {
    struct forged forged = {.opening = good, .named = OTHER + 1, .count = 1};
    int expected = CNS_ERR_PROOF;
    if (kind == 0) forged.opening.proof.bytes[5] ^= 1;
    if (kind == 1) forged.opening.pair = h->keys[OTHER].s;
    if (kind == 2) memset(&forged.opening.pair, 0, sizeof forged.opening.pair);
    if (kind == 3) { /* proven for another secret */
      struct cns_point point;
      assert_int_equal(cns_scalar_random(cns_rng_seeded(&f.rngs[LIAR]), &other), 0);
      assert_int_equal(cns_point_base(&other, &point), 0);
      assert_int_equal(cns_opening_make(&f.coordinator->round, &other, &point, &h->keys[OTHER].s,
                                        cns_rng_seeded(&f.rngs[LIAR]), &forged.opening),
                       0);
    }
    if (kind >= 4) expected = CNS_ERR_FORMAT;
    if (kind == 4) forged.count = 0;
    if (kind == 5) forged.count = 2;
    if (kind == 6) forged.named = OTHER;
    if (kind == 7) forged.opening.partner = OTHER + 2;
    assert_int_equal(attack_receive(&f, LIAR, opening_answer(&f, LIAR, &forged), &problem), expected);
  }
  attack_check_names(&f, 0);
  attack_finish(&f, LIARS);
  attack_convicted(&f, LIAR, CNS_BLAME_FALSE_PAIR);
  federation_deinit(&f);
}

/* Nobody else is asked, and an opening nobody asked for isn't taken. */
static void an_opening_that_nobody_asked_for(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin(&f, 8);
  f.lies[LIAR] = attack_lie_pair;
  attack_play_until(&f, CNS_PHASE_DISPUTE);
  struct forged forged = {.named = LIAR + 1, .count = 1, .opening = {.opener = 1, .partner = LIAR + 1}};
  assert_int_equal(attack_receive(&f, 0, opening_answer(&f, 0, &forged), &problem), CNS_NOT_ASKED);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* ---- agreed between two ---- */

/* Poison of one hidden in the pair with another liar: nobody contradicts anybody,
 * and neither is named; but what vanishes from one z appears in the other, and
 * whoever looks at them sees it. The sum of the group's z is that of its updates. */
static void false_pair_agreed_between_two(void **state) {
  struct federation f;
  uint32_t of_x[2][CNS_SKETCH_MAX], claimed[CNS_SKETCH_MAX] = {0};
  bool within[2];
  begin(&f, 9);
  attack_poison(&f, LIAR);
  f.lies[LIAR] = attack_lie_pair;
  f.lies[OTHER] = attack_lie_along;
  attack_play_until(&f, CNS_PHASE_AGREE);
  const size_t k = FEDERATION_SKETCH;
  federation_sketch_of(&f, f.x[LIAR], of_x[0]);
  federation_sketch_of(&f, f.x[OTHER], of_x[1]);
  for (int side = 0; side < 2; side++) {
    size_t who = side ? OTHER : LIAR;
    const uint32_t *z = cns_coordinator_sketch(f.coordinator, who);
    assert_memory_not_equal(z, of_x[side], k * sizeof *z);
    cns_sketch_add(claimed, z, 1, k);
    cns_sketch_add(claimed, of_x[side], -1, k);
    assert_int_equal(cns_audit_within_bound(&f.descriptor, who, z, &within[side]), 0);
  }
  assert_true(cns_sketch_is_zero(claimed, k));
  assert_true(within[0]);  /* the poisoner looks good */
  assert_false(within[1]); /* at the other's expense */
  attack_finish(&f, 0);
  assert_int_equal(attack_outcome(&f, LIAR), CNS_INCLUDED);
  federation_deinit(&f);
}

/* The liar moves half its poison into the pair; the other plays along. */
static void lie_by_halves(struct federation *f, size_t k, uint32_t *masks) {
  uint32_t sketch[CNS_SKETCH_MAX];
  struct cns_hospital_audit a;
  assert_int_equal(cns_hospital_audit(f->hospitals[k], &a), 0);
  attack_poison_sketch(f, 2, sketch);
  for (size_t m = 1; m < a.count; m++) /* the same value from both: + for the liar's index is the lower */
    if (a.partners[m] == f->lie_partner[k]) cns_sketch_add(masks + m * a.k, sketch, 1, a.k);
}

/*
 * A coalition moves sketch from one to the other, never out of it: the sum of its
 * z is A times the sum of its updates. So if both z pass, the sum of the updates
 * is within two bounds, however large each may be; and if it is not, one of the
 * two doesn't pass, however they share the poison out.
 */
static void influence_of_a_coalition_stays_within_two_bounds(void **state) {
  for (int kind = 0; kind < 3; kind++) {
    struct federation f;
    uint32_t of_x[CNS_SKETCH_MAX], rest[CNS_SKETCH_MAX];
    bool within[2];
    begin(&f, 40 + kind);
    f.lies[LIAR] = kind == 1 ? lie_by_halves : attack_lie_pair;
    f.lies[OTHER] = kind == 1 ? lie_by_halves : attack_lie_along;
    attack_poison(&f, LIAR);
    for (uint64_t w = 0; kind == 2 && w < f.descriptor.dim; w++)
      f.x[OTHER][w] -= ATTACK_POISON; /* takes the poison back */
    attack_play_until(&f, CNS_PHASE_AGREE);
    memset(rest, 0, sizeof rest);
    for (int side = 0; side < 2; side++) {
      const uint32_t *z = cns_coordinator_sketch(f.coordinator, side ? OTHER : LIAR);
      federation_sketch_of(&f, f.x[side ? OTHER : LIAR], of_x);
      cns_sketch_add(rest, of_x, 1, FEDERATION_SKETCH);
      cns_sketch_add(rest, z, -1, FEDERATION_SKETCH);
      assert_int_equal(cns_audit_within_bound(&f.descriptor, side ? OTHER : LIAR, z, &within[side]), 0);
    }
    assert_true(cns_sketch_is_zero(rest, FEDERATION_SKETCH));
    assert_int_equal(within[0] && within[1], kind == 2); /* where nothing is left of the poison */
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

/* ---- other lies ---- */

/* Another mask in y than the agreed one: the update looks as large as a mask.
 * That is seen, and blamed on nobody. */
static void other_masks_than_agreed(void **state) {
  struct federation f;
  bool within = true;
  begin(&f, 11);
  attack_play_until(&f, CNS_PHASE_UPLOAD);
  const struct cns_mask_term other = {.seed = {{9}}, .sign = 1};
  assert_int_equal(cns_mask_apply(f.x[LIAR], f.descriptor.dim, 0, &other, 1), 0);
  attack_play_until(&f, CNS_PHASE_AGREE);
  assert_int_equal(
      cns_audit_within_bound(&f.descriptor, LIAR, cns_coordinator_sketch(f.coordinator, LIAR), &within), 0);
  assert_false(within);
  for (size_t k = 0; k < f.n; k++) {
    if (k == LIAR) continue;
    assert_int_equal(
        cns_audit_within_bound(&f.descriptor, k, cns_coordinator_sketch(f.coordinator, k), &within), 0);
    assert_true(within);
  }
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void drop_after_upload(void **state) {
  static const enum cns_phase from[] = {CNS_PHASE_AUDIT, CNS_PHASE_AGREE, CNS_PHASE_UNMASK};
  for (size_t p = 0; p < 3; p++) {
    struct federation f;
    begin(&f, 12 + p);
    f.silent_from[LIAR] = from[p];
    attack_finish(&f, 0);
    assert_int_equal(attack_outcome(&f, LIAR), from[p] == CNS_PHASE_AUDIT ? CNS_MISSING_AUDIT : CNS_INCLUDED);
    federation_deinit(&f);
  }
}

static void sketches_other_than_the_signed_ones(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin(&f, 15);
  attack_play_until(&f, CNS_PHASE_AUDIT);
  struct attack_bytes answer = genuine(&f, LIAR);
  struct attack_bytes altered = attack_bytes_copy(answer.data, answer.len);
  altered.data[altered.len - 1] ^= 1;
  assert_int_equal(attack_receive(&f, LIAR, altered, &problem), CNS_ERR_REFUSED);
  assert_int_equal(attack_receive(&f, LIAR, attack_bytes_copy(answer.data, answer.len - 4), &problem),
                   CNS_ERR_FORMAT);
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), 0);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* The first answer counts, the second one convicts; before and after the closing. */
static void equivocation(void **state) {
  static const enum cns_phase phases[] = {CNS_PHASE_AUDIT, CNS_PHASE_DISPUTE, CNS_PHASE_FORFEIT};
  for (size_t p = 0; p < 3; p++)
    for (int closed = 0; closed < 2; closed++) {
      struct federation f;
      struct cns_problem problem;
      const size_t twofold = p == 2 ? 0 : LIAR; /* who signs twice: a holder, or the liar */
      uint64_t liars = LIARS | (uint64_t)1 << twofold;
      begin(&f, 20 + p);
      if (p == 2) attack_poison(&f, LIAR);
      if (p > 0) f.lies[LIAR] = p == 1 ? attack_lie_pair : attack_lie_self;
      attack_play_until(&f, phases[p]);
      static const uint8_t other[] = "something else";
      struct attack_bytes second = attack_answer(&f, twofold, other, sizeof other, NULL, NULL, 0);
      federation_play_phase(&f);
      if (closed) attack_close(&f);
      assert_int_equal(attack_receive(&f, twofold, second, &problem), CNS_ANSWER_NAMED);
      attack_convicted(&f, twofold, CNS_BLAME_EQUIVOCATION);
      if (cns_coordinator_phase(f.coordinator) != CNS_PHASE_RESULT) attack_finish(&f, liars);
      attack_check_names(&f, liars);
      federation_deinit(&f);
    }
}

/* Answers of one round are nothing in another attempt, nor under another name. */
static void replay_of_audits(void **state) {
  struct federation f;
  struct cns_problem problem;
  static const enum cns_phase phases[] = {CNS_PHASE_AUDIT, CNS_PHASE_DISPUTE};
  struct attack_bytes old[2];
  begin(&f, 30);
  f.lies[LIAR] = attack_lie_pair;
  for (size_t p = 0; p < 2; p++) {
    attack_play_until(&f, phases[p]);
    old[p] = genuine(&f, OTHER);
  }
  attack_finish(&f, LIARS);
  federation_begin(&f, 1, 2);
  for (size_t p = 0; p < 2; p++) {
    attack_play_until(&f, phases[p]);
    struct attack_bytes others = genuine(&f, OTHER);
    assert_int_equal(attack_receive(&f, OTHER, attack_bytes_copy(old[p].data, old[p].len), &problem),
                     CNS_ERR_REFUSED);
    assert_int_equal(attack_receive(&f, LIAR, attack_bytes_copy(others.data, others.len), &problem),
                     CNS_ERR_REFUSED);
    others.data[33] = LIAR + 1;
    assert_int_equal(attack_receive(&f, LIAR, others, &problem), CNS_ERR_SIGNATURE);
    attack_bytes_free(&old[p]);
  }
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* What a hospital knows at its upload, all nonces but the coordinator's, gives
 * another A: nothing can be put where A doesn't see it. */
static void grinding(void **state) {
  struct federation f;
  struct cns_sketch_key real, guess;
  begin(&f, 31);
  attack_play_until(&f, CNS_PHASE_UPLOAD);
  assert_int_equal(cns_coordinator_sketch_key(f.coordinator, &real), CNS_ERR_STATE);
  federation_play_phase(&f);
  attack_close(&f);
  assert_int_equal(cns_coordinator_sketch_key(f.coordinator, &real), 0);
  const struct cns_digest *upload = &cns_coordinator_round(f.coordinator)->transcript[CNS_PHASE_UPLOAD];
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  memcpy(nonce, f.nonce, sizeof nonce);
  nonce[31] ^= 1;
  cns_sketch_key_derive(upload, nonce, &guess);
  assert_memory_not_equal(&real, &guess, sizeof real);
  /* Nor does one's own nonce tell A before all uploads are fixed. */
  cns_sketch_key_derive(&cns_coordinator_round(f.coordinator)->transcript[CNS_PHASE_READY], f.nonce, &guess);
  assert_memory_not_equal(&real, &guess, sizeof real);
  /* And nothing that travels before phase audit holds the nonce. */
  for (size_t k = 0; k < f.n; k++)
    for (enum cns_phase p = CNS_PHASE_KEYS; p <= CNS_PHASE_UPLOAD; p++) {
      const struct cns_coordinator_message *m = &f.coordinator->members[k].messages[p];
      assert_null(memmem(m->bytes, m->len, f.nonce, sizeof f.nonce));
    }
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_announcement(f.coordinator, &writer), 0);
  assert_null(memmem(writer.data, writer.len, f.nonce, sizeof f.nonce));
  cns_writer_deinit(&writer);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(false_pair_alone),
      cmocka_unit_test(whoever_opens_names_the_liar),
      cmocka_unit_test(refusing_to_open),
      cmocka_unit_test(false_to_all_and_one_victim_is_silent),
      cmocka_unit_test(both_sides_false),
      cmocka_unit_test(openings_that_are_none),
      cmocka_unit_test(an_opening_that_nobody_asked_for),
      cmocka_unit_test(false_pair_agreed_between_two),
      cmocka_unit_test(influence_of_a_coalition_stays_within_two_bounds),
      cmocka_unit_test(other_masks_than_agreed),
      cmocka_unit_test(drop_after_upload),
      cmocka_unit_test(sketches_other_than_the_signed_ones),
      cmocka_unit_test(equivocation),
      cmocka_unit_test(replay_of_audits),
      cmocka_unit_test(grinding),
  };
  return cmocka_run_group_tests_name("protocol audit liars", tests, NULL, NULL);
}
