/* SPDX-License-Identifier: Apache-2.0 */
/* When a phase is over, whom failed attempts have worn out: decisions of the
 * daemon on a machine of its own, with a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/coordinator/world.h"

#define HOSPITALS 6
#define ROUND_MS 100000

static void at(struct world *w, uint64_t ms) {
  world_at(w, ms);
}

static void init(struct world *w, uint64_t seed) {
  world_init(w, HOSPITALS, 100, seed);
  federation_begin(&w->f, 1, 1);
  w->s.machine = w->f.coordinator;
  w->s.uploads = calloc(HOSPITALS, sizeof *w->s.uploads);
}

static void deinit(struct world *w) {
  world_deinit(w);
}

static void answers(struct world *w, size_t k) {
  const uint8_t *answer;
  size_t len;
  struct cns_problem problem = {0};
  assert_int_equal(federation_answer(&w->f, k, &answer, &len, &problem), 0);
  assert_int_equal(cns_coordinator_receive(w->s.machine, k, answer, len, NULL, &problem), 0);
}

static void lose(struct world *w, size_t k, uint64_t ms) {
  w->s.sessions[k].joined = false;
  w->s.sessions[k].gone_since_ms = w->start_ms + ms;
}

static void test_phase_waits_for_who_is_here(void **state) {
  (void)state;
  struct world w;
  init(&w, 1);
  for (size_t k = 0; k < HOSPITALS; k++) {
    assert_false(cns_schedule_phase_is_over(&w.s));
    answers(&w, k);
  }
  assert_true(cns_schedule_phase_is_over(&w.s));
  w.s.job_running = true;
  assert_false(cns_schedule_phase_is_over(&w.s));
  deinit(&w);
}

static void test_lost_links_get_a_grace(void **state) {
  (void)state;
  struct world w;
  init(&w, 2);
  for (size_t k = 0; k < HOSPITALS - 1; k++)
    answers(&w, k);
  at(&w, 1000);
  lose(&w, HOSPITALS - 1, 1000);
  assert_false(cns_schedule_phase_is_over(&w.s));
  at(&w, 1000 + CNS_SERVER_GRACE_MS - 1);
  assert_false(cns_schedule_phase_is_over(&w.s));
  at(&w, 1000 + CNS_SERVER_GRACE_MS);
  assert_true(cns_schedule_phase_is_over(&w.s));
  w.s.sessions[HOSPITALS - 1].joined = true; /* back in time */
  assert_false(cns_schedule_phase_is_over(&w.s));
  w.s.uploads[HOSPITALS - 1].declined = true;
  assert_true(cns_schedule_phase_is_over(&w.s));
  deinit(&w);
}

/* All cut off at once: the round is worth a longer wait. */
static void test_needed_hospitals_get_a_longer_grace(void **state) {
  (void)state;
  struct world w;
  init(&w, 3);
  answers(&w, 0);
  for (size_t k = 0; k < HOSPITALS; k++)
    lose(&w, k, 0);
  at(&w, CNS_SERVER_GRACE_MS);
  assert_false(cns_schedule_phase_is_over(&w.s));
  at(&w, CNS_SERVER_NEEDED_GRACE_MS - 1);
  assert_false(cns_schedule_phase_is_over(&w.s));
  at(&w, CNS_SERVER_NEEDED_GRACE_MS);
  assert_true(cns_schedule_phase_is_over(&w.s));
  deinit(&w);
}

static void test_unseen_hospitals_get_the_grace_of_a_start(void **state) {
  (void)state;
  struct world w;
  init(&w, 4);
  for (size_t k = 0; k < HOSPITALS - 1; k++)
    answers(&w, k);
  w.s.started_ms = w.start_ms;
  w.s.sessions[HOSPITALS - 1].joined = w.s.sessions[HOSPITALS - 1].seen = false;
  at(&w, CNS_SERVER_RESTART_GRACE_MS - 1);
  assert_false(cns_schedule_phase_is_over(&w.s));
  at(&w, CNS_SERVER_RESTART_GRACE_MS);
  assert_true(cns_schedule_phase_is_over(&w.s));
  deinit(&w);
}

/* The slowest answer and the t-th are measured, not the wait for who is silent. */
/* A stall is noticed after what began in it. */
static void test_the_clock_never_goes_back(void **state) {
  (void)state;
  struct world w;
  init(&w, 9);
  at(&w, 5000);
  uint64_t began = cns_server_now(&w.s);
  assert_int_equal(began, w.start_ms + 5000);
  w.s.stalled_ms += 1200;
  assert_int_equal(cns_server_now(&w.s), began);
  w.s.stalled_ms -= 1201;
  assert_int_equal(cns_server_now(&w.s), began + 1);
  deinit(&w);
}

static void test_answers_are_measured(void **state) {
  (void)state;
  struct world w;
  init(&w, 5);
  size_t t = cns_coordinator_round(w.s.machine)->descriptor.threshold;
  for (size_t k = 0; k < HOSPITALS; k++) {
    at(&w, 100 * (k + 1));
    cns_schedule_answered(&w.s, CNS_PHASE_KEYS);
  }
  at(&w, ROUND_MS);
  cns_schedule_measure(&w.s);
  assert_true(w.s.measured_ms[CNS_PHASE_KEYS] == 100 * HOSPITALS);
  assert_true(w.s.measured_enough_ms[CNS_PHASE_KEYS] == 100 * t);
  /* A phase of which this process saw nothing keeps what was measured before. */
  memset(w.s.last_answer_ms, 0, sizeof w.s.last_answer_ms);
  memset(w.s.enough_answers_ms, 0, sizeof w.s.enough_answers_ms);
  cns_schedule_measure(&w.s);
  assert_true(w.s.measured_ms[CNS_PHASE_KEYS] == 100 * HOSPITALS);
  assert_true(w.s.measured_ms[CNS_PHASE_SHARES] == 0);
  /* It decays slowly to faster answers. */
  w.s.last_answer_ms[CNS_PHASE_KEYS] = 1;
  cns_schedule_measure(&w.s);
  assert_true(w.s.measured_ms[CNS_PHASE_KEYS] == 90 * HOSPITALS);
  deinit(&w);
}

static void abandon(struct world *w, size_t k, const struct cns_digest *round) {
  struct cns_signature signature;
  struct cns_writer frame;
  assert_int_equal(cns_abandon_sign(w->f.identities[k], round, w->s.sessions[k].hospital->index, &signature),
                   0);
  cns_writer_init(&frame, 128);
  cns_wire_write_signed(&frame, round, &signature);
  assert_int_equal(cns_writer_finish(&frame), 0);
  cns_abandoning_take(&w->s, &w->s.sessions[k], frame.data, frame.len);
  cns_writer_deinit(&frame);
}

static void fail_attempt(struct world *w, uint32_t attempt, const bool *asked, struct cns_digest *ret_round) {
  struct cns_descriptor d = cns_coordinator_round(w->s.machine)->descriptor;
  d.attempt = attempt;
  assert_int_equal(cns_descriptor_digest(&d, ret_round), 0);
  assert_int_equal(cns_abandoning_begin(&w->s, &d, asked), 0);
}

static void test_updates_wear_out_and_are_given_back(void **state) {
  (void)state;
  struct world w;
  struct cns_digest rounds[3];
  init(&w, 6);
  size_t t = cns_coordinator_round(w.s.machine)->descriptor.threshold, m = w.f.policy.attempts_per_parent;
  bool asked[HOSPITALS] = {true, true, true, true, true, false};
  assert_true(m == 2 && t < HOSPITALS);
  fail_attempt(&w, 1, asked, &rounds[0]);
  assert_true(cns_abandoning_pending(&w.s));
  assert_false(cns_abandoning_worn_out(&w.s, &w.s.sessions[0]));
  fail_attempt(&w, 2, asked, &rounds[1]);
  fail_attempt(&w, 2, asked, &rounds[1]); /* the same again, as after a restart */
  assert_true(w.s.abandoning_count == 2);
  for (size_t k = 0; k < HOSPITALS; k++)
    assert_true(cns_abandoning_worn_out(&w.s, &w.s.sessions[k]) == asked[k]);
  at(&w, CNS_SERVER_ABANDON_MS);
  assert_false(cns_abandoning_pending(&w.s));
  abandon(&w, 5, &rounds[0]); /* wasn't asked: doesn't count */
  for (size_t k = 0; k < t; k++) {
    assert_true(cns_abandoning_worn_out(&w.s, &w.s.sessions[0]));
    abandon(&w, k, &rounds[0]);
    abandon(&w, k, &rounds[0]); /* counts once */
    assert_true(w.s.abandonings[0].count == k + 1);
  }
  assert_false(cns_abandoning_worn_out(&w.s, &w.s.sessions[0]));
  cns_abandoning_end(&w.s);
  assert_false(cns_abandoning_worn_out(&w.s, &w.s.sessions[0]));
  deinit(&w);
}

static void test_only_the_last_attempts_are_remembered(void **state) {
  (void)state;
  struct world w;
  struct cns_digest round;
  init(&w, 7);
  bool asked[HOSPITALS] = {true};
  for (uint32_t attempt = 1; attempt <= 3 * CNS_SERVER_ABANDONINGS_MAX; attempt++)
    fail_attempt(&w, attempt, asked, &round);
  assert_true(w.s.abandoning_count == CNS_SERVER_ABANDONINGS_MAX);
  assert_true(w.s.abandonings[0].descriptor.attempt == 2 * CNS_SERVER_ABANDONINGS_MAX + 1);
  deinit(&w);
}

/* One party can't fill the disk with lines in the log. */
static void test_lines_of_one_party_are_limited(void **state) {
  (void)state;
  struct world w;
  struct cns_lines lines = {0};
  init(&w, 8);
  unsigned allowed = 0;
  for (int k = 0; k < 1000; k++)
    allowed += cns_report_allowed(&w.s, &lines);
  assert_true(allowed == CNS_SERVER_LINES_MAX);
  at(&w, CNS_SERVER_LINES_MS + 1);
  assert_true(cns_report_allowed(&w.s, &lines));
  deinit(&w);
}

/* After so much nonsense a hospital is out, and the others needn't wait. */
static void test_strikes_end_the_wait(void **state) {
  (void)state;
  struct world w;
  init(&w, 9);
  for (size_t k = 1; k < HOSPITALS; k++)
    answers(&w, k);
  for (unsigned k = 0; k < CNS_SERVER_STRIKES_MAX; k++) {
    assert_false(cns_schedule_phase_is_over(&w.s));
    cns_session_strike(&w.s, &w.s.sessions[0], "nonsense");
  }
  assert_true(cns_schedule_phase_is_over(&w.s));
  deinit(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_phase_waits_for_who_is_here),
      cmocka_unit_test(test_lost_links_get_a_grace),
      cmocka_unit_test(test_needed_hospitals_get_a_longer_grace),
      cmocka_unit_test(test_unseen_hospitals_get_the_grace_of_a_start),
      cmocka_unit_test(test_the_clock_never_goes_back),
      cmocka_unit_test(test_answers_are_measured),
      cmocka_unit_test(test_updates_wear_out_and_are_given_back),
      cmocka_unit_test(test_only_the_last_attempts_are_remembered),
      cmocka_unit_test(test_lines_of_one_party_are_limited),
      cmocka_unit_test(test_strikes_end_the_wait),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
