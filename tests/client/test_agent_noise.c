/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds with noise of real agents over TLS on loopback: what a hospital refuses, what it
 * writes down before a byte leaves, and what stays counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/client/noisy.h"

static void rounds_take_place_and_are_charged(void **state) {
  (void)state;
  for (int unit = 0; unit < 2; unit++) {
    struct fake *fake = noisy_consortium(unit, 3, NULL);
    fake_start_all(fake);
    for (int round = 1; round <= 2; round++) {
      fake_begin(fake);
      fake_until(fake, fake->completed, round);
    }
    for (size_t k = 0; k < fake->n; k++) {
      fake_expect_log(fake, k, "round 2 attempt 1: we are included, 4 of 4");
      assert_int_equal(fake->peer[k].declines, 0);
      assert_int_equal(noisy_costs(fake, k, CNS_LEDGER_READERS), 2);
      assert_int_equal(noisy_state(fake, k, &fake->round), CNS_LEDGER_CHARGED);
      assert_true(fake->peer[k].heads >= 3 &&
                  fake->peer[k].head.sequence == 4); /* greeted, and two charged */
      /* Functions of the patients: not in the log, which others may read. */
      assert_true(fake_logged(fake, k, "loss ") == (unit == CNS_UNIT_HOSPITAL));
      assert_true(fake_logged(fake, k, "norm of the update") == (unit == CNS_UNIT_HOSPITAL));
      if (unit == CNS_UNIT_PATIENT) fake_expect_log(fake, k, "gradients of a random sample of the patients");
    }
    fake_free(fake);
  }
}

/* Though all else that the hospital had of it were lost: a second sum under one charge. */
static void a_round_on_record_is_not_joined_again(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  struct cns_problem problem = {0};
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(cns_agent_ledger_reserve(fake->peer[0].agent, &fake->descriptor, &problem),
                   CNS_ERR_EXISTS);
  assert_non_null(strstr(problem.text, "already, as charged"));
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 1);
  fake_free(fake);
}

static void weaken(struct cns_descriptor *d, int how) {
  if (how == 0)
    d->noise_multiplier = 1;
  else if (how == 1)
    d->sampling_rate = 0.25;
  else if (how == 2)
    d->clip_norm = 2;
  else if (how == 3)
    d->noise_placement = CNS_NOISE_CENTRAL;
  else if (how == 4)
    d->noise_placement = CNS_NOISE_NONE, d->noise_multiplier = d->sampling_rate = 0, d->unit = 0;
  else if (how == 5)
    d->scale_log2--;
  else
    d->minimum_included = 2;
}

static void weaker_rounds_are_refused(void **state) {
  static const char *const sentences[] = {
      "noise multiplier is 1 and its sampling rate 0.5; the study says 2 and 0.5",
      "sampling rate 0.25; the study says 2 and 0.5",
      "clip norm is 2; the study says 1",
      "unit and noise placement",
      "unit and noise placement",
      "the round's step is",
      "would publish a sum of 2 updates",
  };
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_consent(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 1);
  for (int how = 0; how < 7; how++) {
    struct cns_descriptor d;
    fake_describe(fake, &d);
    weaken(&d, how);
    if (how < 5 || how > 5) assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
    fake_announce_to(fake, 0, &d);
    const char *said = fake_declined(fake, 0, how + 1);
    if (!strstr(said, sentences[how])) fail_msg("%d: '%s'", how, said);
    assert_int_equal(noisy_state(fake, 0, &fake->round), 0);
    cns_descriptor_deinit(&d);
  }
  assert_int_equal(fake->peer[0].answers, 0);
  fake_free(fake);
}

/* The attempt had no result, but what was sent was sent. */
static void beyond_the_budget_nothing_is_joined(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, NOISY_ONE_ROUND, NULL);
  fake_start_all(fake);
  noisy_fail_after_upload(fake);
  struct cns_digest first = fake->round;
  fake_expect_log(fake, 0, "round 1 attempt 1 ended here");
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_CHARGED);
  int answers = fake->peer[0].answers;
  fake_begin(fake);
  const char *said = fake_declined(fake, 0, 1);
  if (!strstr(said, "the privacy budget doesn't allow this round") || !strstr(said, "from epsilon 1.3") ||
      !strstr(said, "to 1.8"))
    fail_msg("'%s'", said);
  assert_int_equal(fake->peer[0].answers, answers);
  assert_int_equal(noisy_state(fake, 0, &fake->round), 0);
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 1);
  fake_until(fake, fake->peer[0].finished, 1);
  fake_expect_log(fake, 0, "the privacy budget of the study is spent: epsilon 1.3");
  fake_free(fake);
}

/* It missed rounds, and has something left: that the study is over it can only be told. */
static void a_study_that_is_over_for_others_is_over(void **state) {
  (void)state;
  struct cns_problem why = {0};
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->peer[0].finished, 0);
  struct cns_writer frame;
  cns_writer_init(&frame, 128);
  cns_wire_write_notice(&frame, 0, "the privacy budget of the study is spent");
  fake_send(fake, 0, CNS_WIRE_OVER, &frame);
  cns_writer_deinit(&frame);
  fake_until(fake, fake->peer[0].finished, 1);
  fake_expect_log(fake, 0,
                  "the coordinator begins no further round: the privacy budget of the study is spent");
  assert_int_equal(cns_agent_result(fake->peer[0].agent, &why), CNS_ERR_BUDGET);
  fake_free(fake);
}

static void each_attempt_past_the_upload_stays_charged(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  for (size_t attempt = 1; attempt <= 3; attempt++) {
    noisy_fail_after_upload(fake);
    for (size_t k = 0; k < fake->n; k++) {
      while (fake_count_log(fake, k, "ended here") < attempt)
        uv_run(&fake->uv, UV_RUN_ONCE);
      assert_int_equal(noisy_costs(fake, k, CNS_LEDGER_READERS), attempt);
    }
  }
  fake_free(fake);
}

/* Nothing of that attempt left: a later one has its part of the budget. */
static void an_attempt_that_ends_before_the_upload_costs_nothing(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, NOISY_ONE_ROUND, NULL);
  fake_start_all(fake);
  noisy_hold_at(fake, CNS_PHASE_UPLOAD);
  fake_begin(fake);
  fake_until(fake, noisy_reached, 1);
  struct cns_digest first = fake->round;
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_RESERVED);
  fake->on_phase = NULL;
  fake_end(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_CANCELLED);
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 1);
  fake_free(fake);
}

/* ---- killed ---- */

static int opened_first;

/* The first hospital is killed when it has announced its upload, before it was asked for a byte. */
static bool kill_first(struct fake *fake, size_t k) {
  if (k != 0) return true;
  assert_int_equal(noisy_state(fake, 0, &fake->round), CNS_LEDGER_CHARGED);
  assert_int_equal(fake->peer[0].next, 0);
  noisy_remember_disk(fake, 0);
  opened_first++;
  return false;
}

static void charged_before_the_first_byte_and_after_a_kill(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, NOISY_TWO_ROUNDS, NULL);
  fake_start_all(fake);
  opened_first = 0;
  fake->on_upload_open = kill_first;
  fake_begin(fake);
  fake_until(fake, opened_first, 1);
  struct cns_digest first = fake->round;
  fake_stop(fake, 0);
  noisy_restore_disk(fake, 0);
  fake->on_upload_open = NULL;
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_CHARGED);
  fake_until(fake, fake->completed, 1); /* without it */
  assert_int_equal(fake->peer[0].next, 0);
  fake_begin(fake);
  fake_until(fake, fake->completed, 2);
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 2);
  fake_free(fake);
}

static void reserved_and_killed_is_free_after_a_restart(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, NOISY_TWO_ROUNDS, NULL);
  fake_start_all(fake);
  noisy_hold_at(fake, CNS_PHASE_UPLOAD);
  fake_begin(fake);
  fake_until(fake, noisy_reached, 1);
  struct cns_digest first = fake->round;
  noisy_remember_disk(fake, 0);
  fake_stop(fake, 0);
  noisy_restore_disk(fake, 0);
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_RESERVED);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_CANCELLED);
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 0);
  fake_free(fake);
}

/* ---- abandoned ---- */

static void an_abandoned_round_is_refunded_to_everyone(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, NOISY_ONE_ROUND, NULL);
  fake_start_all(fake);
  noisy_fail_after_upload(fake);
  struct cns_digest first = fake->round;
  for (size_t k = 0; k < fake->n; k++) {
    noisy_ask_to_abandon(fake, k);
    fake_until(fake, fake->peer[k].abandons, 1);
  }
  noisy_send_abandoned(fake, 2); /* fewer than t */
  fake_expect_log(fake, 0, "too few hospitals have validly signed");
  assert_int_equal(noisy_state(fake, 0, &first), CNS_LEDGER_CHARGED);
  noisy_send_abandoned(fake, fake->n);
  for (size_t k = 0; k < fake->n; k++) {
    fake_expect_log(fake, k, "no longer charged");
    assert_int_equal(noisy_state(fake, k, &first), CNS_LEDGER_REFUNDED);
    assert_int_equal(noisy_costs(fake, k, CNS_LEDGER_READERS), 0);
    assert_int_equal(noisy_costs(fake, k, CNS_LEDGER_COORDINATOR), 0);
  }
  fake_begin(fake); /* there is room for it again */
  fake_until(fake, fake->completed, 1);
  noisy_send_abandoned(fake, fake->n); /* of another round by now */
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 1);
  fake_free(fake);
}

/* The last attempt that the budget allows failed. Its refund is still to come: a hospital that
 * starts again meanwhile may not take the study for finished. */
static void a_restart_before_the_refund_is_no_end(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, NOISY_ONE_ROUND, NULL);
  fake_start_all(fake);
  noisy_fail_after_upload(fake);
  fake_stop(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  for (size_t k = 0; k < fake->n; k++) {
    noisy_ask_to_abandon(fake, k);
    fake_until(fake, fake->peer[k].abandons, 1);
  }
  assert_int_equal(fake->peer[0].finished, 0);
  noisy_send_abandoned(fake, fake->n);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  fake_expect_log(fake, 0, "round 1 attempt 2: we are included, 4 of 4");
  fake_until(fake, fake->peer[0].finished, 1); /* now it is */
  fake_free(fake);
}

/* ---- a month ---- */

static void one_round_a_month(struct cns_policy *policy) {
  noisy_attempts(policy);
  policy->privacy.epsilon_month = NOISY_ONE_ROUND;
}

/* Refused, but there will be another month: the hospital doesn't end its part in the study. */
static void a_month_that_is_used_up_is_waited_for(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, one_round_a_month);
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  fake_begin(fake);
  const char *said = fake_declined(fake, 0, 1);
  if (!strstr(said, "the privacy budget doesn't allow this round") || !strstr(said, "month"))
    fail_msg("'%s'", said);
  for (int k = 0; k < 20; k++)
    uv_run(&fake->uv, UV_RUN_NOWAIT);
  assert_int_equal(fake->peer[0].finished, 0);
  assert_non_null(fake->peer[0].link);
  fake_free(fake);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds_take_place_and_are_charged),
      cmocka_unit_test(a_round_on_record_is_not_joined_again),
      cmocka_unit_test(weaker_rounds_are_refused),
      cmocka_unit_test(beyond_the_budget_nothing_is_joined),
      cmocka_unit_test(a_study_that_is_over_for_others_is_over),
      cmocka_unit_test(each_attempt_past_the_upload_stays_charged),
      cmocka_unit_test(an_attempt_that_ends_before_the_upload_costs_nothing),
      cmocka_unit_test(charged_before_the_first_byte_and_after_a_kill),
      cmocka_unit_test(reserved_and_killed_is_free_after_a_restart),
      cmocka_unit_test(an_abandoned_round_is_refunded_to_everyone),
      cmocka_unit_test(a_restart_before_the_refund_is_no_end),
      cmocka_unit_test(a_month_that_is_used_up_is_waited_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
