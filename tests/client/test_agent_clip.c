/* SPDX-License-Identifier: Apache-2.0 */
/* An adaptive clip norm: hospitals compute it themselves, and refuse another one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "tests/client/noisy.h"

static struct fake *adaptive_consortium(void) {
  struct fake *fake = noisy_study(CNS_UNIT_PATIENT, NOISY_ADAPTIVE, 10, NULL);
  assert_true(fake->plan.adaptive_clip.share == 0.05 && fake->clip_norm == 1);
  return fake;
}

static void play(struct fake *fake, int rounds) {
  for (int round = 1; round <= rounds; round++) {
    int before = fake->completed;
    fake_begin(fake);
    fake_until(fake, fake->completed, before + 1);
  }
}

/* And the coordinator knows it: the next round doesn't wait for it. */
static void stop_first(struct fake *fake) {
  fake_stop(fake, 0);
  while (fake->peer[0].link)
    uv_run(&fake->uv, UV_RUN_ONCE);
}

/* Everybody has the same norm, bit for bit, and it moves; a round costs what it costs with a fixed one. */
static void all_follow_the_same_clip_norm(void **state) {
  (void)state;
  struct fake *fake = adaptive_consortium();
  fake_start_all(fake);
  for (int round = 1; round <= 3; round++) {
    double before = fake->clip_norm;
    play(fake, 1);
    assert_true(fake->clip_norm != before || before == 0.5 || before == 2);
    for (size_t k = 0; k < fake->n; k++) {
      char text[64];
      snprintf(text, sizeof text, "round %d attempt 1: we are included, 4 of 4", round);
      fake_expect_log(fake, k, text);
      assert_true(fake->peer[k].agent->clip_norm == fake->clip_norm);
      assert_int_equal(fake->peer[k].declines, 0);
    }
  }
  fake_expect_log(fake, 0, "how many of them were within that");
  struct cns_budget_cost *costs = NULL;
  size_t count = 0;
  struct cns_ledger *ledger = noisy_ledger(fake, 0);
  assert_int_equal(cns_ledger_costs(ledger, NULL, CNS_LEDGER_READERS, 0, &costs, &count, NULL), 0);
  assert_int_equal(count, 3);
  for (size_t k = 0; k < count; k++)
    assert_true(costs[k].noise_multiplier == 2 && costs[k].sampling_rate == 0.5 && costs[k].rounds == 1);
  free(costs);
  cns_ledger_free(ledger);
  fake_free(fake);
}

/* After a restart it comes from the record; of missed rounds from the last manifest. */
static void it_outlives_a_restart_and_missed_rounds(void **state) {
  (void)state;
  struct fake *fake = adaptive_consortium();
  fake_start_all(fake);
  play(fake, 1);
  fake_expect_log(fake, 0, "round 1 attempt 1: we are included");
  stop_first(fake);
  fake_start(fake, 0);
  assert_true(fake->peer[0].agent->clip_norm == fake->clip_norm && fake->clip_norm != 1);
  fake_until(fake, fake->peer[0].joined, 2);
  play(fake, 1);
  fake_expect_log(fake, 0, "round 2 attempt 1: we are included");
  stop_first(fake);
  play(fake, 2);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 3);
  fake_send_manifest(fake, 0, fake->manifest, fake->manifest_len);
  fake_expect_log(fake, 0, "round 4 attempt 1");
  assert_true(fake->peer[0].agent->clip_norm == fake->clip_norm);
  play(fake, 1);
  fake_expect_log(fake, 0, "round 5 attempt 1: we are included, 4 of 4");
  fake_free(fake);
}

/* ---- announcements ---- */

static void alter(struct cns_descriptor *d, int how) {
  if (how == 0)
    d->clip_norm = 1; /* the first round's */
  else if (how == 1)
    d->clip_norm = nextafter(d->clip_norm, 2);
  else if (how == 2)
    d->clip_norm = 3;
  else if (how == 3)
    d->indicator_share = 0.02;
  else
    d->indicator_share = 0, d->dim--;
}

static void another_clip_norm_is_not_joined(void **state) {
  static const char *const sentences[] = {
      "from the study and the result before it follows", "from the study and the result before it follows",
      "the policy allows 2 at the most", "a share of 0.02 is for the indicator", "the study has 7 and 0"};
  (void)state;
  struct fake *fake = adaptive_consortium();
  fake_start_all(fake);
  play(fake, 1);
  assert_true(fake->clip_norm != 1);
  fake_expect_log(fake, 0, "round 1 attempt 1: we are included");
  for (int how = 0; how < 5; how++) {
    struct cns_descriptor d;
    fake_describe(fake, &d);
    alter(&d, how);
    assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
    fake_announce_to(fake, 0, &d);
    const char *said = fake_declined(fake, 0, how + 1);
    if (!strstr(said, sentences[how])) fail_msg("%d: '%s'", how, said);
    assert_int_equal(noisy_state(fake, 0, &fake->round), 0);
    cns_descriptor_deinit(&d);
  }
  play(fake, 1); /* an honest one is */
  fake_expect_log(fake, 0, "round 2 attempt 6: we are included, 4 of 4");
  fake_free(fake);
}

/* ---- results ---- */

static int lie;

static void tell(struct fake *fake, struct cns_manifest *manifest) {
  struct cns_manifest_clip *clip = &manifest->clip;
  const struct cns_adaptive_clip *adaptive = &fake->plan.adaptive_clip;
  if (lie == 0) clip->next *= 1.001;
  if (lie == 1) clip->next = 5; /* beyond what the study allows */
  if (lie == 2) clip->norm *= 1.01;
  if (lie == 3) clip->unit++;
  if (lie == 4) manifest->privacy.sampling_rate = 0.25;
  if (lie == 5) *clip = (struct cns_manifest_clip){0};
  if (lie == 6) clip->norm = 0.4;
  if (lie >= 2 && lie <= 4)
    clip->next = cns_adaptive_clip_next(adaptive, clip->norm, cns_manifest_fraction(manifest));
}

static void a_result_that_does_not_follow_is_refused(void **state) {
  static const char *const sentences[] = {"but from what it says itself follows",
                                          "but from what it says itself follows",
                                          "but from the one accepted here follows",
                                          "steps for a patient",
                                          "has the sampling rate 0.25",
                                          "is of a fixed clip norm, and the study's is adaptive",
                                          "and the study allows 0.5 to 2"};
  (void)state;
  for (lie = 0; lie < 7; lie++) {
    struct fake *fake = adaptive_consortium();
    fake_start_all(fake);
    fake->on_manifest = tell;
    play(fake, 1);
    for (size_t k = 0; k < fake->n; k++) {
      fake_expect_log(fake, k, "a model was refused");
      fake_expect_log(fake, k, sentences[lie]);
      assert_int_equal(fake->peer[k].agent->model_round, 0);
      assert_true(fake->peer[k].agent->clip_norm == 1);
    }
    fake_free(fake);
  }
}

/* Of a round that it missed, a hospital knows less: within the study's bounds it believes
 * what follows from its own numbers, and nothing else. */
static void of_a_missed_round_the_bounds_hold(void **state) {
  (void)state;
  for (lie = 1; lie <= 6; lie += 5) {
    struct fake *fake = adaptive_consortium();
    fake_start_all(fake);
    stop_first(fake);
    fake->on_manifest = NULL;
    play(fake, 1);
    fake->on_manifest = tell;
    play(fake, 1);
    fake_start(fake, 0);
    fake_until(fake, fake->peer[0].joined, 2);
    fake_send_manifest(fake, 0, fake->manifest, fake->manifest_len);
    fake_expect_log(fake, 0, lie == 1 ? "but from what it says itself follows" : "the study allows 0.5 to 2");
    assert_int_equal(fake->peer[0].agent->model_round, 0);
    fake_free(fake);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_follow_the_same_clip_norm),
      cmocka_unit_test(it_outlives_a_restart_and_missed_rounds),
      cmocka_unit_test(another_clip_norm_is_not_joined),
      cmocka_unit_test(a_result_that_does_not_follow_is_refused),
      cmocka_unit_test(of_a_missed_round_the_bounds_hold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
