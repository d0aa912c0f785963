/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that lie in the phases upload, agree and unmask, and lies that any
 * phase can be told: a second answer, replays, other names, leftover bytes.
 * n = 8, c = 1, t = 5; the liar is member 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define LIAR 2
#define LIARS ((uint64_t)1 << LIAR)

static const enum cns_phase phases[] = {CNS_PHASE_KEYS,   CNS_PHASE_SHARES, CNS_PHASE_READY,
                                        CNS_PHASE_UPLOAD, CNS_PHASE_AGREE,  CNS_PHASE_UNMASK};
#define PHASES (sizeof phases / sizeof phases[0])

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

static struct attack_bytes genuine(struct federation *f, size_t k) {
  const uint8_t *answer;
  size_t len;
  struct cns_problem problem = {0};
  int r = federation_answer(f, k, &answer, &len, &problem);
  if (r != 0) fail_msg("hospital %zu: %d %s", k + 1, r, problem.text);
  return attack_bytes_copy(answer, len);
}

static struct cns_message parse(const struct attack_bytes *answer) {
  struct cns_message message = {0};
  struct cns_reader reader;
  cns_reader_init(&reader, answer->data, answer->len);
  cns_message_read(&reader, &message);
  assert_int_equal(reader.error, 0);
  return message;
}

/* ---- upload ---- */

static void digest_other_than_that_of_the_chunks(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_UPLOAD, 1);
  struct attack_bytes answer = genuine(&f, LIAR);
  uint8_t body[CNS_UPLOAD_BODY_BYTES];
  memcpy(body, parse(&answer).body, sizeof body);
  body[0] ^= 1;
  assert_int_equal(
      attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, sizeof body, NULL, NULL, 0), &problem),
      CNS_ERR_REFUSED);
  /* The right digest, but the coordinator doesn't have all chunks. */
  assert_int_equal(cns_coordinator_receive(f.coordinator, LIAR, answer.data, answer.len, NULL, &problem),
                   CNS_ERR_REFUSED);
  attack_bytes_free(&answer);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void wrong_word_count(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_UPLOAD, 2);
  struct attack_bytes answer = genuine(&f, LIAR);
  uint8_t body[CNS_UPLOAD_BODY_BYTES + 1] = {0};
  memcpy(body, parse(&answer).body, CNS_UPLOAD_BODY_BYTES);
  attack_bytes_free(&answer);
  for (size_t len = CNS_UPLOAD_BODY_BYTES - 1; len <= CNS_UPLOAD_BODY_BYTES + 1; len += 2)
    assert_int_equal(attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, len, NULL, NULL, 0), &problem),
                     CNS_ERR_FORMAT);
  for (size_t byte = CNS_DIGEST_BYTES; byte < CNS_UPLOAD_BODY_BYTES; byte++) {
    body[byte] ^= 1;
    assert_int_equal(attack_receive(&f, LIAR,
                                    attack_answer(&f, LIAR, body, CNS_UPLOAD_BODY_BYTES, NULL, NULL, 0),
                                    &problem),
                     CNS_ERR_FORMAT);
    body[byte] ^= 1;
  }
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void chunks_out_of_order_or_of_wrong_length(void **state) {
  static uint8_t chunk[CNS_CHUNK_WORDS * 4 + 4];
  struct cns_upload_digest digest;
  struct cns_digest root, other;
  const uint64_t words = 2 * CNS_CHUNK_WORDS + 3;
  const size_t full = CNS_CHUNK_WORDS * 4;
  assert_int_equal(cns_chunk_count(words), 3);
  cns_upload_digest_init(&digest, words);
  assert_int_equal(cns_upload_digest_add(&digest, 1, chunk, full), CNS_ERR_RANGE); /* misordered */
  assert_int_equal(cns_upload_digest_add(&digest, 0, chunk, full - 4), CNS_ERR_RANGE);
  assert_int_equal(cns_upload_digest_add(&digest, 0, chunk, full - 1), CNS_ERR_RANGE);
  assert_int_equal(cns_upload_digest_add(&digest, 0, chunk, full + 4), CNS_ERR_RANGE); /* oversized */
  assert_int_equal(cns_upload_digest_add(&digest, 0, chunk, full), 0);
  assert_int_equal(cns_upload_digest_add(&digest, 0, chunk, full), CNS_ERR_RANGE); /* again */
  assert_int_equal(cns_upload_digest_add(&digest, 2, chunk, 12), CNS_ERR_RANGE);   /* one left out */
  assert_int_equal(cns_upload_digest_final(&digest, &root), CNS_ERR_STATE);
  chunk[0] = 1;
  assert_int_equal(cns_upload_digest_add(&digest, 1, chunk, full), 0);
  assert_int_equal(cns_upload_digest_add(&digest, 2, chunk, full), CNS_ERR_RANGE); /* last one is short */
  assert_int_equal(cns_upload_digest_add(&digest, 2, chunk, 8), CNS_ERR_RANGE);
  chunk[0] = 0;
  assert_int_equal(cns_upload_digest_add(&digest, 2, chunk, 12), 0);
  assert_int_equal(cns_upload_digest_add(&digest, 3, chunk, 0), CNS_ERR_RANGE); /* one too many */
  assert_int_equal(cns_upload_digest_add(&digest, UINT64_MAX, chunk, 12), CNS_ERR_RANGE);
  assert_int_equal(cns_upload_digest_final(&digest, &root), 0);

  /* The same chunks in another order have another digest. */
  cns_upload_digest_init(&digest, words);
  chunk[0] = 1;
  assert_int_equal(cns_upload_digest_add(&digest, 0, chunk, full), 0);
  chunk[0] = 0;
  assert_int_equal(cns_upload_digest_add(&digest, 1, chunk, full), 0);
  assert_int_equal(cns_upload_digest_add(&digest, 2, chunk, 12), 0);
  assert_int_equal(cns_upload_digest_final(&digest, &other), 0);
  assert_false(cns_digest_equal(&root, &other));
}

static void a_second_upload(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  const uint8_t *answer;
  size_t len;
  begin_at(&f, CNS_PHASE_UPLOAD, 3);
  struct attack_bytes first = genuine(&f, LIAR);
  struct cns_digest other = f.root[LIAR];
  other.bytes[0] ^= 1;
  assert_int_equal(cns_hospital_uploaded(f.hospitals[LIAR], &other, &answer, &len, &problem), CNS_ERR_STATE);
  assert_int_equal(cns_hospital_uploaded(f.hospitals[LIAR], &f.root[LIAR], &answer, &len, &problem), 0);
  assert_int_equal(len, first.len);
  assert_memory_equal(answer, first.data, len);
  attack_bytes_free(&first);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- agree ---- */

static void signature_on_another_agreement(void **state) {
  struct federation f;
  struct cns_problem problem;
  uint8_t body[128];
  begin_at(&f, CNS_PHASE_AGREE, 10);
  size_t len = f.coordinator->agreement_len;
  assert_true(len < sizeof body);
  memcpy(body, f.coordinator->agreement_bytes, len);
  body[32 + 2 + 5] = CNS_MISSING_UPLOAD; /* leaves member 5 out */
  assert_int_equal(attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, len, NULL, NULL, 0), &problem),
                   CNS_ERR_REFUSED);
  assert_int_equal(attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, 0, NULL, NULL, 0), &problem),
                   CNS_ERR_REFUSED);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- unmask ---- */

/* The liar's genuine answer with its first `wrong` shares replaced. */
static struct attack_bytes spoilt(struct federation *f, size_t k, size_t wrong) {
  struct attack_bytes answer = genuine(f, k);
  struct cns_message message = parse(&answer);
  uint8_t body[2 + FEDERATION_MAX * CNS_RELEASED_BYTES];
  size_t len = message.body_len;
  memcpy(body, message.body, len);
  for (size_t e = 0; e < wrong; e++)
    cns_scalar_from_u64(e + 7, (struct cns_scalar *)(body + 2 + e * CNS_RELEASED_BYTES + 3));
  attack_bytes_free(&answer);
  return attack_answer(f, k, body, len, NULL, NULL, 0);
}

static void wrong_shares_name_their_holder(void **state) {
  static const size_t wrong[] = {1, 8};
  for (size_t w = 0; w < 2; w++) {
    struct federation f;
    struct cns_problem problem;
    begin_at(&f, CNS_PHASE_UNMASK, 20 + w);
    assert_int_equal(attack_receive(&f, LIAR, spoilt(&f, LIAR, wrong[w]), &problem), 0);
    attack_convicted(&f, LIAR, CNS_BLAME_WRONG_SHARE);
    attack_finish(&f, LIARS);
    assert_int_equal(cns_agreement_included(cns_coordinator_agreement(f.coordinator)), 8);
    federation_deinit(&f);
  }
}

/* A leaver's s is released then; zero and unreduced shares don't match either. */
static void wrong_share_of_a_leaver(void **state) {
  for (int kind = 0; kind < 2; kind++) {
    struct federation f;
    struct cns_problem problem;
    federation_init(&f, 8, 50, 24);
    f.silent_from[0] = CNS_PHASE_UPLOAD;
    federation_begin(&f, 1, 1);
    attack_play_until(&f, CNS_PHASE_UNMASK);
    struct attack_bytes answer = genuine(&f, LIAR);
    uint8_t body[2 + 8 * CNS_RELEASED_BYTES];
    memcpy(body, parse(&answer).body, sizeof body);
    attack_bytes_free(&answer);
    assert_int_equal(body[4], CNS_SHARE_S);
    memset(body + 5, kind ? 0xff : 0, CNS_SCALAR_BYTES);
    assert_int_equal(
        attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, sizeof body, NULL, NULL, 0), &problem), 0);
    attack_convicted(&f, LIAR, CNS_BLAME_WRONG_SHARE);
    attack_finish(&f, LIARS);
    federation_deinit(&f);
  }
}

/* What names the holder can't be put together: the machine is as if the answer
 * had never come, and takes it when it comes again. */
static void a_wrong_share_that_cannot_be_named_yet(void **state) {
  struct federation f;
  struct cns_problem problem;
  struct cns_digest digest = {{1}};
  struct cns_merkle_tree *stub = NULL;
  size_t count;
  begin_at(&f, CNS_PHASE_UNMASK, 26);
  struct attack_bytes answer = spoilt(&f, LIAR, 1);
  struct cns_coordinator_member *dealer = &f.coordinator->members[0], *liar = &f.coordinator->members[LIAR];
  struct cns_merkle_tree *tree = dealer->tree;
  assert_int_equal(cns_merkle_tree_new(&digest, 1, &stub), 0);
  dealer->tree = stub; /* has no path for the holder */
  assert_true(cns_coordinator_receive(f.coordinator, LIAR, answer.data, answer.len, NULL, &problem) < 0);
  cns_coordinator_verdicts(f.coordinator, &count);
  assert_int_equal(count, 0);
  assert_true(cns_coordinator_awaits(f.coordinator, LIAR));
  assert_null(liar->messages[CNS_PHASE_UNMASK].bytes);
  assert_null(liar->released);
  assert_null(liar->released_good);
  dealer->tree = tree;
  cns_merkle_tree_free(stub);
  assert_int_equal(attack_receive(&f, LIAR, answer, &problem), 0);
  attack_convicted(&f, LIAR, CNS_BLAME_WRONG_SHARE);
  attack_finish(&f, LIARS);
  federation_deinit(&f);
}

/* t = 5 of 8: three holders of wrong shares do no harm; four end the round, and
 * all four are named. */
static void wrong_shares_up_to_what_the_threshold_survives(void **state) {
  for (size_t liars = 3; liars <= 4; liars++) {
    struct federation f;
    struct cns_problem problem;
    begin_at(&f, CNS_PHASE_UNMASK, 30 + liars);
    for (size_t k = 0; k < liars; k++)
      assert_int_equal(attack_receive(&f, k, spoilt(&f, k, 8), &problem), 0);
    if (liars == 3) {
      attack_finish(&f, 7);
    } else {
      const struct cns_mask_term *terms;
      size_t count;
      federation_play(&f);
      assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_TOO_FEW);
      assert_int_equal(cns_coordinator_unmasking(f.coordinator, &terms, &count), CNS_ERR_STATE);
      attack_check_names(&f, 15);
    }
    for (size_t k = 0; k < liars; k++)
      attack_convicted(&f, k, CNS_BLAME_WRONG_SHARE);
    federation_deinit(&f);
  }
}

static void released_shares_of_the_wrong_kind_or_number(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_UNMASK, 40);
  struct attack_bytes answer = genuine(&f, LIAR);
  uint8_t body[2 + 9 * CNS_RELEASED_BYTES] = {0};
  const size_t len = 2 + 8 * CNS_RELEASED_BYTES;
  memcpy(body, parse(&answer).body, len);
  attack_bytes_free(&answer);
  static const struct {
    size_t at;
    uint8_t value;
  } changes[] = {{0, 7}, {0, 9}, {1, 1}, {2, 2}, {2, 99}, {4, CNS_SHARE_S}, {4, 0}, {4, 3}};
  for (size_t c = 0; c < sizeof changes / sizeof changes[0]; c++) {
    uint8_t before = body[changes[c].at];
    body[changes[c].at] = changes[c].value;
    assert_int_equal(attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, len, NULL, NULL, 0), &problem),
                     CNS_ERR_FORMAT);
    body[changes[c].at] = before;
  }
  size_t lengths[] = {0, 1, 2, len - 1, len + 1, len + CNS_RELEASED_BYTES};
  for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
    assert_int_equal(
        attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, lengths[l], NULL, NULL, 0), &problem),
        CNS_ERR_FORMAT);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- any phase ---- */

/* The first answer counts; the second, signed and different, convicts, be it as
 * long as a message can be. */
static void a_second_different_answer(void **state) {
  static const size_t lengths[] = {15, CNS_MESSAGE_BODY_MAX, CNS_MESSAGE_BODY_MAX - 160};
  uint8_t *other = calloc(CNS_MESSAGE_BODY_MAX, 1);
  assert_non_null(other);
  memcpy(other, "something else", 15);
  for (size_t p = 0; p < PHASES; p++)
    for (size_t kind = 0; kind < 4; kind++) {
      struct federation f;
      struct cns_problem problem;
      const bool closed = kind == 3;
      begin_at(&f, phases[p], 50 + p);
      struct attack_bytes second = attack_answer(&f, LIAR, other, lengths[kind % 3], NULL, NULL, 0);
      federation_play_phase(&f);
      if (closed) attack_close(&f);
      assert_int_equal(attack_receive(&f, LIAR, second, &problem), CNS_ANSWER_NAMED);
      attack_convicted(&f, LIAR, CNS_BLAME_EQUIVOCATION);
      attack_finish(&f, LIARS);
      federation_deinit(&f);
    }
  free(other);
}

static void a_second_answer_that_someone_forged(void **state) {
  for (size_t p = 0; p < PHASES; p++) {
    struct federation f;
    struct cns_problem problem;
    begin_at(&f, phases[p], 60 + p);
    struct attack_bytes again = genuine(&f, LIAR), forged = genuine(&f, LIAR), copy = genuine(&f, LIAR);
    federation_play_phase(&f);
    forged.data[32 + 3 + 32 + 4] ^= 1; /* the body's first byte */
    assert_int_equal(attack_receive(&f, LIAR, forged, &problem), CNS_ERR_SIGNATURE);
    assert_int_equal(attack_receive(&f, LIAR, again, &problem), CNS_ANSWER_KNOWN);
    attack_close(&f);
    assert_int_equal(attack_receive(&f, LIAR, copy, &problem), CNS_ANSWER_KNOWN);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

static void replay_from_another_round_or_attempt(void **state) {
  struct federation f;
  struct cns_problem problem;
  struct attack_bytes old[PHASES];
  federation_init(&f, 8, 50, 70);
  federation_begin(&f, 1, 1);
  for (size_t p = 0; p < PHASES; p++) {
    attack_play_until(&f, phases[p]);
    old[p] = genuine(&f, LIAR);
  }
  attack_finish(&f, 0);
  federation_begin(&f, 1, 2);
  for (size_t p = 0; p < PHASES; p++) {
    attack_play_until(&f, phases[p]);
    assert_int_equal(attack_receive(&f, LIAR, old[p], &problem), CNS_ERR_REFUSED);
  }
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void replay_in_another_phase(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_KEYS, 71);
  struct attack_bytes keys = genuine(&f, LIAR);
  attack_play_until(&f, CNS_PHASE_SHARES);
  for (size_t p = 1; p < PHASES; p++) {
    attack_play_until(&f, phases[p]);
    struct attack_bytes replay = attack_bytes_copy(keys.data, keys.len);
    replay.data[32] = (uint8_t)phases[p];
    assert_int_equal(attack_receive(&f, LIAR, replay, &problem), CNS_ERR_REFUSED);
  }
  attack_bytes_free(&keys);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void in_the_name_of_another_hospital(void **state) {
  for (size_t p = 0; p < PHASES; p++) {
    struct federation f;
    struct cns_problem problem;
    begin_at(&f, phases[p], 80 + p);
    struct attack_bytes answer = genuine(&f, 4);
    /* Another's answer over one's own link, as it is and under one's own name. */
    assert_int_equal(attack_receive(&f, LIAR, attack_bytes_copy(answer.data, answer.len), &problem),
                     CNS_ERR_REFUSED);
    answer.data[33] = LIAR + 1;
    assert_int_equal(attack_receive(&f, LIAR, answer, &problem), CNS_ERR_SIGNATURE);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

static void an_answer_before_it_is_asked_for(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_READY, 90);
  struct attack_bytes ready = attack_answer(&f, LIAR, (const uint8_t[]){0, 0}, 2, NULL, NULL, 0);
  for (uint8_t phase = 0; phase < 20; phase++) {
    if (phase <= CNS_PHASE_READY && phase >= CNS_PHASE_KEYS) continue;
    struct attack_bytes answer = attack_bytes_copy(ready.data, ready.len);
    answer.data[32] = phase;
    assert_true(attack_receive(&f, LIAR, answer, &problem) < 0);
  }
  attack_bytes_free(&ready);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* Late is missing in that phase; later phases stay open only to U2. */
static void a_late_answer_and_an_unasked_one(void **state) {
  struct federation f;
  struct cns_problem problem;
  begin_at(&f, CNS_PHASE_READY, 91);
  struct attack_bytes late = genuine(&f, LIAR);
  attack_play_phase_without(&f, LIAR);
  attack_close(&f);
  assert_int_equal(attack_receive(&f, LIAR, late, &problem), CNS_ANSWER_LATE);
  uint8_t body[CNS_UPLOAD_BODY_BYTES] = {0};
  assert_int_equal(
      attack_receive(&f, LIAR, attack_answer(&f, LIAR, body, sizeof body, NULL, NULL, 0), &problem),
      CNS_NOT_ASKED);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void bytes_behind_an_answer_and_bytes_missing(void **state) {
  for (size_t p = 0; p < PHASES; p++) {
    struct federation f;
    struct cns_problem problem;
    begin_at(&f, phases[p], 100 + p);
    struct attack_bytes answer = genuine(&f, LIAR);
    struct attack_bytes longer = attack_bytes_copy(answer.data, answer.len);
    longer.data = realloc(longer.data, longer.len + 1);
    assert_non_null(longer.data);
    longer.data[longer.len++] = 0;
    assert_int_equal(attack_receive(&f, LIAR, longer, &problem), CNS_ERR_FORMAT);
    for (size_t len = 0; len < answer.len; len += 1 + answer.len / 50)
      assert_int_equal(attack_receive(&f, LIAR, attack_bytes_copy(answer.data, len), &problem),
                       CNS_ERR_FORMAT);
    /* A signed root where nothing is private. */
    if (phases[p] != CNS_PHASE_SHARES) {
      struct cns_message message = parse(&answer);
      struct cns_digest root = {{1}};
      assert_true(attack_receive(&f, LIAR,
                                 attack_answer(&f, LIAR, message.body, message.body_len, &root, NULL, 0),
                                 &problem) < 0);
    }
    attack_bytes_free(&answer);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(digest_other_than_that_of_the_chunks),
      cmocka_unit_test(wrong_word_count),
      cmocka_unit_test(chunks_out_of_order_or_of_wrong_length),
      cmocka_unit_test(a_second_upload),
      cmocka_unit_test(signature_on_another_agreement),
      cmocka_unit_test(wrong_shares_name_their_holder),
      cmocka_unit_test(wrong_share_of_a_leaver),
      cmocka_unit_test(a_wrong_share_that_cannot_be_named_yet),
      cmocka_unit_test(wrong_shares_up_to_what_the_threshold_survives),
      cmocka_unit_test(released_shares_of_the_wrong_kind_or_number),
      cmocka_unit_test(a_second_different_answer),
      cmocka_unit_test(a_second_answer_that_someone_forged),
      cmocka_unit_test(replay_from_another_round_or_attempt),
      cmocka_unit_test(replay_in_another_phase),
      cmocka_unit_test(in_the_name_of_another_hospital),
      cmocka_unit_test(an_answer_before_it_is_asked_for),
      cmocka_unit_test(a_late_answer_and_an_unasked_one),
      cmocka_unit_test(bytes_behind_an_answer_and_bytes_missing),
  };
  return cmocka_run_group_tests_name("protocol lying answers", tests, NULL, NULL);
}
