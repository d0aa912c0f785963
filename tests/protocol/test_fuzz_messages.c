/* SPDX-License-Identifier: Apache-2.0 */
/* Every request and every answer of a round, altered at random from a printed
 * seed: never accepted, nothing crashes, and with the genuine ones the round is
 * finished afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define ALTERATIONS 120

static size_t below(struct cns_rng_seeded *rng, size_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(rng), bound, &value), 0);
  return (size_t)value;
}

/* A copy with a bit flipped, a byte or a word replaced, cut off, made longer, a
 * stretch copied elsewhere or left out; in a block of exactly its size, so that
 * a read beyond it is seen. */
static struct attack_bytes altered(struct cns_rng_seeded *rng, const struct attack_bytes *bytes) {
  struct attack_bytes copy = {.data = malloc(bytes->len + 8), .len = bytes->len};
  assert_non_null(copy.data);
  memcpy(copy.data, bytes->data, bytes->len);
  size_t at = below(rng, copy.len), to = below(rng, copy.len), stretch = 1 + below(rng, 64);
  switch (below(rng, 7)) {
  case 0:
    copy.data[at] ^= (uint8_t)(1u << below(rng, 8));
    break;
  case 1:
    copy.data[at] = (uint8_t)below(rng, 256);
    break;
  case 2:
    for (size_t k = at; k < copy.len && k < at + 4; k++)
      copy.data[k] = 0xff;
    break;
  case 3:
    copy.len = at;
    break;
  case 4:
    for (size_t k = 0; k < 8; k++)
      copy.data[copy.len + k] = (uint8_t)below(rng, 256);
    copy.len += 1 + below(rng, 8);
    break;
  case 5:
    if (stretch > copy.len - at) stretch = copy.len - at;
    if (stretch > copy.len - to) stretch = copy.len - to;
    memmove(copy.data + to, copy.data + at, stretch);
    break;
  default:
    if (stretch > copy.len - at) stretch = copy.len - at;
    memmove(copy.data + at, copy.data + at + stretch, copy.len - at - stretch);
    copy.len -= stretch;
  }
  struct attack_bytes exact = attack_bytes_copy(copy.data, copy.len);
  attack_bytes_free(&copy);
  return exact;
}

static bool same(const struct attack_bytes *a, const struct attack_bytes *b) {
  return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* What stands behind the lists of the request, once they are known, isn't read
 * again; then, and only then, may an altered one be answered, with the answer
 * that the genuine one gets. With an audit there is more than one statement that
 * a coordinator may propose: one that was altered into another of them is
 * signed, once, and then the genuine one isn't. True if that happened. */
static bool alter_requests(struct federation *f, size_t k, struct cns_rng_seeded *rng, uint64_t seed) {
  struct cns_hospital *h = f->hospitals[k];
  struct attack_bytes request = attack_request(f, k);
  enum cns_phase phase = cns_coordinator_phase(f->coordinator), before = h->round.closed;
  size_t answered = 0;
  for (size_t a = 0; a < ALTERATIONS; a++) {
    struct cns_problem problem = {0};
    const uint8_t *answer = NULL;
    size_t len = 0;
    struct attack_bytes bad = altered(rng, &request);
    bool known = h->round.closed == cns_round_previous(&h->round, phase) && h->round.closed != before;
    int r = same(&bad, &request) ? -1 : cns_hospital_handle(h, bad.data, bad.len, &answer, &len, &problem);
    attack_bytes_free(&bad);
    if (r < 0) continue;
    answered++;
    bool decided = phase == CNS_PHASE_AGREE && f->descriptor.audit_level != CNS_AUDIT_NONE;
    if (decided && h->answers[phase].bytes) {
      attack_bytes_free(&request);
      return true;
    }
    if (!known)
      fail_msg("seed %llu, phase %s: an altered request was answered", (unsigned long long)seed,
               cns_phase_name(phase));
  }
  attack_bytes_free(&request);
  assert_true(answered < ALTERATIONS);
  return false;
}

static void alter_answers(struct federation *f, size_t k, struct cns_rng_seeded *rng, uint64_t seed) {
  const uint8_t *answer;
  size_t len;
  struct cns_problem problem = {0};
  int asked = federation_answer(f, k, &answer, &len, &problem);
  if (asked != 0)
    fail_msg("seed %llu, phase %s, hospital %zu: %s", (unsigned long long)seed,
             cns_phase_name(cns_coordinator_phase(f->coordinator)), k + 1, problem.text);
  struct attack_bytes good = attack_bytes_copy(answer, len);
  for (size_t a = 0; a < ALTERATIONS; a++) {
    struct attack_bytes bad = altered(rng, &good);
    bool identical = same(&bad, &good);
    int r = identical ? CNS_ERR_FORMAT
                      : cns_coordinator_receive(f->coordinator, k, bad.data, bad.len, &f->root[k], &problem);
    attack_bytes_free(&bad);
    if (r >= 0)
      fail_msg("seed %llu, phase %s: an altered answer gave %d", (unsigned long long)seed,
               cns_phase_name(cns_coordinator_phase(f->coordinator)), r);
  }
  attack_bytes_free(&good);
}

static void altered_messages_are_never_accepted(void **state) {
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct federation f;
    struct cns_rng_seeded rng;
    uint64_t liars = 0;
    cns_rng_seeded_init_label(&rng, seed, "fuzz");
    if (seed <= 3)
      federation_init(&f, 6, 30, seed);
    else
      federation_init_audited(&f, 6, seed);
    f.silent_from[5] = CNS_PHASE_UPLOAD;
    federation_begin(&f, 1, 1);
    if (seed > 3) { /* one liar is convicted in phase dispute, or forfeits */
      liars = 4;
      attack_poison(&f, 2);
      f.lies[2] = seed == 4 ? attack_lie_pair : attack_lie_self;
    }
    while (cns_coordinator_phase(f.coordinator) != CNS_PHASE_RESULT) {
      size_t k = below(&rng, 5);
      while (!cns_coordinator_awaits(f.coordinator, k))
        k = below(&rng, 5);
      bool keys = cns_coordinator_phase(f.coordinator) == CNS_PHASE_KEYS;
      bool other = !keys && alter_requests(&f, k, &rng, seed);
      if (!other) alter_answers(&f, k, &rng, seed);
      if (other)
        attack_play_phase_without(&f, k);
      else
        federation_play_phase(&f);
      attack_close(&f);
    }
    assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
    assert_true(federation_sum_is_exact(&f));
    attack_check_names(&f, liars);
    federation_deinit(&f);
  }
}

/* Signed by the sender, so that what is inside is looked at: a liar's answers
 * with any body and any tail. Accepted or refused, the round goes on with the
 * others, and nobody else is named. */
static void signed_nonsense(void **state) {
  for (uint64_t seed = 1; seed <= 40; seed++) {
    struct federation f;
    struct cns_rng_seeded rng;
    struct cns_problem problem;
    const size_t liar = 2;
    cns_rng_seeded_init_label(&rng, seed, "nonsense");
    enum cns_phase phase = (enum cns_phase[]){
        CNS_PHASE_KEYS,   CNS_PHASE_SHARES, CNS_PHASE_READY,   CNS_PHASE_UPLOAD, CNS_PHASE_AGREE,
        CNS_PHASE_UNMASK, CNS_PHASE_AUDIT,  CNS_PHASE_DISPUTE, CNS_PHASE_FORFEIT}[seed % 9];
    bool audited = seed % 9 >= 6 || seed % 2;
    if (audited)
      federation_init_audited(&f, 8, seed);
    else
      federation_init(&f, 8, 10, seed);
    federation_begin(&f, 1, 1);
    const size_t other = phase == CNS_PHASE_FORFEIT ? 4 : liar; /* whose lie opens the phase */
    if (audited && phase == CNS_PHASE_FORFEIT) attack_poison(&f, other);
    if (phase == CNS_PHASE_DISPUTE) f.lies[liar] = attack_lie_wildly;
    if (phase == CNS_PHASE_FORFEIT) f.lies[other] = attack_lie_self;
    attack_play_until(&f, phase);
    const uint8_t *answer;
    size_t len;
    assert_int_equal(federation_answer(&f, liar, &answer, &len, &problem), 0);
    struct attack_bytes good = attack_bytes_copy(answer, len);
    for (size_t a = 0; a < 30; a++) {
      struct attack_bytes bad = altered(&rng, &good);
      struct cns_message message = {0};
      struct cns_reader reader;
      cns_reader_init(&reader, bad.data, bad.len);
      cns_message_read(&reader, &message);
      if (!reader.error) {
        struct attack_bytes again = attack_answer(&f, liar, message.body, message.body_len, &message.root,
                                                  bad.data + reader.at, bad.len - reader.at);
        assert_int_not_equal(attack_receive(&f, liar, again, &problem), CNS_ERR_SIGNATURE);
      }
      attack_bytes_free(&bad);
    }
    attack_bytes_free(&good);
    f.silent_from[liar] = CNS_PHASE_NONE;
    attack_finish(&f, (uint64_t)1 << liar | (uint64_t)1 << other);
    federation_deinit(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(altered_messages_are_never_accepted),
      cmocka_unit_test(signed_nonsense),
  };
  return cmocka_run_group_tests_name("protocol fuzz messages", tests, NULL, NULL);
}
