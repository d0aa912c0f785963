/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator that shows different hospitals different things: two machines
 * with one key, each serving its own group of honest hospitals, the colluders
 * serving both. n = 8, t = 5: with c = 1 colluder at most one of the two views
 * can be completed, and no secret of an honest hospital is rebuilt that mustn't
 * be. With one colluder more than the policy allows it does break, which shows
 * that the test would see it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

/* Both views are played by the same consortium (same seed): a machine in the
 * one is the same as its twin in the other until the lists differ; from there
 * on an honest hospital is heard in one view only. */
struct fork {
  struct federation view[2];
  size_t colluders; /* the first members */
};

static bool heard(const struct fork *fork, size_t k, int view, uint64_t group) {
  return k < fork->colluders || (int)(group >> k & 1) == view;
}

/* In view 0, member `left_out` is missing in the list of `phase`. */
static void play(struct fork *fork, enum cns_phase phase, size_t left_out, uint64_t group) {
  for (int v = 0; v < 2; v++) {
    struct federation *f = &fork->view[v];
    attack_play_until(f, phase);
    if (v == 0) f->silent_from[left_out] = phase;
    federation_play_phase(f);
    attack_close(f);
    for (size_t k = 0; k < f->n; k++)
      if (!heard(fork, k, v, group) || (v == 0 && k == left_out)) f->silent_from[k] = CNS_PHASE_NONE;
    federation_play(f);
  }
}

/* Distinct holders that released this share of member d, over both views. */
static size_t holders(const struct fork *fork, size_t d, enum cns_share_kind kind) {
  size_t count = 0;
  for (size_t k = 0; k < fork->view[0].n; k++) {
    bool released = k < fork->colluders; /* who gives away everything anyway */
    for (int v = 0; v < 2; v++) {
      const struct cns_coordinator *c = fork->view[v].coordinator;
      for (size_t e = 0; e < c->expected_count && c->members[k].released_good; e++)
        released |= c->expected_positions[e] == d && c->expected[e].kind == kind;
    }
    count += released;
  }
  return count;
}

static void init(struct fork *fork, uint64_t seed, size_t colluders) {
  fork->colluders = colluders;
  for (int v = 0; v < 2; v++) {
    federation_init(&fork->view[v], 8, 20, seed);
    federation_begin(&fork->view[v], 1, 1);
  }
}

static void deinit(struct fork *fork) {
  for (int v = 0; v < 2; v++)
    federation_deinit(&fork->view[v]);
}

static const enum cns_phase phases[] = {CNS_PHASE_KEYS, CNS_PHASE_SHARES, CNS_PHASE_READY, CNS_PHASE_UPLOAD,
                                        CNS_PHASE_AGREE};

/* Every phase, and a sample of the ways to split the honest up: at most one view completes,
 * and of no honest hospital are both b and s known. */
static void different_lists_to_different_hospitals(void **state) {
  for (size_t p = 0; p < sizeof phases / sizeof phases[0]; p++)
    for (uint64_t group = 0; group < 256; group += 2 * (7 + 2 * p)) {
      struct fork fork;
      size_t left_out = 1 + group % 7;
      init(&fork, 1 + group, 1);
      play(&fork, phases[p], left_out, group);
      int completed = 0;
      for (int v = 0; v < 2; v++) {
        struct federation *f = &fork.view[v];
        completed += cns_coordinator_end(f->coordinator) == CNS_END_COMPLETED;
        if (cns_coordinator_end(f->coordinator) == CNS_END_COMPLETED) assert_true(federation_sum_is_exact(f));
        attack_check_names(f, 0);
      }
      assert_true(completed <= 1);
      for (size_t d = fork.colluders; d < 8; d++)
        if (holders(&fork, d, CNS_SHARE_B) >= 5 && holders(&fork, d, CNS_SHARE_S) >= 5)
          fail_msg("phase %s, group %llu: both secrets of hospital %zu are known", cns_phase_name(phases[p]),
                   (unsigned long long)group, d + 1);
      deinit(&fork);
    }
}

/* The same with two colluders where the policy says one: both views complete,
 * and the hospital that is in the sum in one and left out in the other is bare. */
static void one_colluder_too_many_breaks_it(void **state) {
  struct fork fork;
  const size_t victim = 7;
  const uint64_t group = 0xe0; /* 5, 6, 7 in view 1; 2, 3, 4 in view 0 */
  init(&fork, 2, 2);
  play(&fork, CNS_PHASE_UPLOAD, victim, group);
  for (int v = 0; v < 2; v++)
    assert_int_equal(cns_coordinator_end(fork.view[v].coordinator), CNS_END_COMPLETED);
  assert_true(holders(&fork, victim, CNS_SHARE_B) >= 5);
  assert_true(holders(&fork, victim, CNS_SHARE_S) >= 5);
  deinit(&fork);
}

/* Heard in one view, an honest hospital refuses the other's lists, and what it
 * signed in the one isn't accepted in the other. */
static void a_hospital_lives_in_one_view(void **state) {
  for (size_t p = 0; p + 1 < sizeof phases / sizeof phases[0]; p++) {
    struct fork fork;
    struct cns_problem problem = {0};
    const uint8_t *answer;
    size_t len;
    init(&fork, 3 + p, 1);
    struct federation *one = &fork.view[0], *other = &fork.view[1];
    attack_play_until(one, phases[p]);
    attack_play_until(other, phases[p]);
    attack_play_phase_without(one, 7);
    federation_play_phase(other);
    attack_close(one);
    attack_close(other);
    one->silent_from[7] = CNS_PHASE_NONE;
    int r = federation_answer(one, 4, &answer, &len, &problem);
    assert_int_equal(r, 0);
    assert_true(cns_coordinator_receive(other->coordinator, 4, answer, len, &one->root[4], &problem) < 0);
    assert_int_equal(attack_refused(one, 4, attack_request(other, 4)), CNS_ERR_REFUSED);
    /* Nor is it a second answer there, once the twin's is held: under another
     * list an honest hospital may be heard to say something else. */
    struct attack_bytes elsewhere = attack_bytes_copy(answer, len);
    federation_play_phase(other);
    assert_int_equal(attack_receive(other, 4, elsewhere, &problem), CNS_ERR_REFUSED);
    attack_check_names(other, 0);
    attack_finish(one, 0);
    deinit(&fork);
  }
}

/* The same hospital, the same keys, another list of phase ready: another mask
 * with everyone, so that what two views collect can't be added up. */
static void masks_of_two_views_have_nothing_in_common(void **state) {
  struct fork fork;
  const struct cns_mask_term *terms[2];
  size_t count[2];
  init(&fork, 9, 1);
  for (int v = 0; v < 2; v++) {
    struct federation *f = &fork.view[v];
    attack_play_until(f, CNS_PHASE_READY);
    if (v == 0) f->silent_from[7] = CNS_PHASE_READY;
    federation_play_phase(f);
    attack_close(f);
    federation_play_phase(f);
    assert_int_equal(cns_hospital_masks(f->hospitals[4], &terms[v], &count[v]), 0);
    assert_int_equal(count[v], v == 0 ? 7 : 8);
  }
  for (size_t a = 0; a < count[0]; a++)
    for (size_t b = 0; b < count[1]; b++)
      assert_memory_not_equal(&terms[0][a].seed, &terms[1][b].seed, sizeof terms[0][a].seed);
  deinit(&fork);
}

/* The same messages of phase ready, and one hospital out in one of two signed
 * lists: two transcripts, of which a hospital takes one. */
static void a_standing_makes_another_list(void **state) {
  for (int out_first = 0; out_first < 2; out_first++) {
    struct federation f;
    struct cns_problem problem = {0};
    const uint8_t *answer;
    size_t len;
    federation_init(&f, 8, 20, 20);
    federation_begin(&f, 1, 1);
    attack_play_until(&f, CNS_PHASE_UPLOAD);
    struct attack_view *view = attack_view_new(&f, 4);
    const struct cns_round *round = cns_coordinator_round(f.coordinator);
    struct cns_entry entries[8];
    struct cns_digest transcript;
    memcpy(entries, round->entries[CNS_PHASE_READY], sizeof entries);
    entries[2].standing = CNS_DISQUALIFIED;
    cns_transcript_next(&round->transcript[CNS_PHASE_SHARES], CNS_PHASE_READY, &f.descriptor, entries,
                        &transcript);
    assert_false(cns_digest_equal(&transcript, &round->transcript[CNS_PHASE_READY]));
    view->lists[view->count - 1].items[2].standing = CNS_DISQUALIFIED;
    struct attack_bytes in = attack_request(&f, 4), out = attack_view_write(&f, view);
    struct attack_bytes *first = out_first ? &out : &in, *second = out_first ? &in : &out;
    assert_int_equal(cns_hospital_handle(f.hospitals[4], first->data, first->len, &answer, &len, &problem),
                     CNS_HOSPITAL_UPLOAD);
    assert_int_equal(attack_refused_saying(&f, 4, *second, "signed two different lists of phase ready"),
                     CNS_ERR_REFUSED);
    attack_bytes_free(first);
    attack_view_free(view);
    federation_deinit(&f);
  }
}

/* ---- different descriptors ---- */

typedef void tailor(struct cns_descriptor *d);

static void other_parent(struct cns_descriptor *d) {
  d->parent.bytes[0] ^= 1;
}

static void other_plan(struct cns_descriptor *d) {
  d->plan.bytes[0] ^= 1;
}

static void other_weight(struct cns_descriptor *d) {
  d->members[2].weight++;
}

static void other_cohort(struct cns_descriptor *d) {
  d->member_count = 7;
  d->threshold = cns_policy_threshold(7, d->colluders);
}

static void other_minimum(struct cns_descriptor *d) {
  d->minimum_included++;
}

static void other_deadline(struct cns_descriptor *d) {
  d->deadline_ms[CNS_PHASE_UPLOAD]++;
}

static void other_nonce(struct cns_descriptor *d) {
  d->nonce_commitment.bytes[5]++;
}

/* A descriptor of its own for each group. What one group signs means nothing
 * to the other: no list can have both, so that no mask is shared. */
static void different_descriptors_to_different_hospitals(void **state) {
  tailor *const tailors[] = {other_parent,  other_plan,     other_weight, other_cohort,
                             other_minimum, other_deadline, other_nonce};
  for (size_t t = 0; t < sizeof tailors / sizeof tailors[0]; t++) {
    struct federation f;
    struct cns_problem problem = {0};
    struct cns_writer announcement;
    struct cns_descriptor tailored;
    const uint8_t *answer;
    size_t len;
    federation_init(&f, 8, 20, 10 + t);
    federation_begin(&f, 1, 1);
    assert_int_equal(cns_descriptor_copy(&f.descriptor, &tailored), 0);
    tailors[t](&tailored);
    cns_writer_init(&announcement, CNS_REQUEST_BYTES_MAX);
    assert_int_equal(cns_announcement_write(&announcement, &tailored, f.coordinator_identity), 0);
    /* Hospital 5 believes it: it expects just that model and plan. */
    struct cns_hospital_config config = federation_hospital_config(&f, 4);
    config.expectation.parent = tailored.parent;
    config.expectation.plan = tailored.plan;
    f.hospitals[4] = cns_hospital_free(f.hospitals[4]);
    int r = cns_hospital_begin(&config, announcement.data, announcement.len, &f.hospitals[4], &problem);
    if (r != 0) fail_msg("%s", problem.text);
    assert_int_equal(cns_hospital_keys(f.hospitals[4], &answer, &len, &problem), 0);
    assert_int_equal(cns_coordinator_receive(f.coordinator, 4, answer, len, NULL, &problem), CNS_ERR_REFUSED);

    /* A coordinator that lists the answer all the same: refused by everyone. */
    struct cns_message message = {0};
    struct cns_reader reader;
    cns_reader_init(&reader, answer, len);
    cns_message_read(&reader, &message);
    attack_play_phase_without(&f, 4);
    attack_close(&f);
    f.silent_from[4] = CNS_PHASE_NONE;
    for (size_t k = 0; k < 8; k++) {
      if (k == 4) continue;
      struct attack_view *view = attack_view_new(&f, k);
      attack_view_forge(&f, view, 4, message.body, message.body_len, f.coordinator_identity);
      view->lists[0].items[4].signature = message.signature;
      assert_int_equal(attack_refused(&f, k, attack_view_write(&f, view)), CNS_ERR_SIGNATURE);
      attack_view_free(view);
    }
    attack_finish(&f, 0);
    cns_writer_deinit(&announcement);
    cns_descriptor_deinit(&tailored);
    federation_deinit(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(different_lists_to_different_hospitals),
      cmocka_unit_test(one_colluder_too_many_breaks_it),
      cmocka_unit_test(a_hospital_lives_in_one_view),
      cmocka_unit_test(masks_of_two_views_have_nothing_in_common),
      cmocka_unit_test(a_standing_makes_another_list),
      cmocka_unit_test(different_descriptors_to_different_hospitals),
  };
  return cmocka_run_group_tests_name("protocol forks", tests, NULL, NULL);
}
