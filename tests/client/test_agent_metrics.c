/* SPDX-License-Identifier: Apache-2.0 */
/* Noised metrics: hospitals send them, compute the estimates again, and refuse others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "tests/client/noisy.h"

static void noised(struct cns_policy *policy) {
  noisy_attempts(policy);
  policy->metrics_noised = true;
}

static struct fake *consortium(void) {
  struct fake *fake = noisy_study(CNS_UNIT_PATIENT, NOISY_METRICS, 10, noised);
  assert_true(fake->plan.noised_metrics.share == 0.1 && fake->plan.noised_metrics.loss_max == 2);
  return fake;
}

static void play(struct fake *fake) {
  int before = fake->completed;
  fake_begin(fake);
  fake_until(fake, fake->completed, before + 1);
}

/* A round costs what it costs without. */
static void rounds_are_played_at_the_same_cost(void **state) {
  (void)state;
  struct fake *fake = consortium();
  fake_start_all(fake);
  play(fake);
  play(fake);
  for (size_t k = 0; k < fake->n; k++) {
    fake_expect_log(fake, k, "round 2 attempt 1: we are included, 4 of 4");
    fake_expect_log(fake, k, "received model: noised loss");
    assert_int_equal(fake->peer[k].declines, 0);
  }
  fake_expect_log(fake, 0, "their loss and right answers");
  struct cns_budget_cost *costs = NULL;
  size_t count = 0;
  struct cns_ledger *ledger = noisy_ledger(fake, 0);
  assert_int_equal(cns_ledger_costs(ledger, NULL, CNS_LEDGER_READERS, 0, &costs, &count, NULL), 0);
  assert_int_equal(count, 2);
  for (size_t k = 0; k < count; k++)
    assert_true(costs[k].noise_multiplier == 2 && costs[k].sampling_rate == 0.5 && costs[k].rounds == 1);
  free(costs);
  cns_ledger_free(ledger);
  fake_free(fake);
}

static void other_shares_are_not_joined(void **state) {
  static const char *const sentences[] = {"a share of 0.2 is for metrics", "the study has 8 and 0"};
  (void)state;
  struct fake *fake = consortium();
  fake_start_all(fake);
  for (int how = 0; how < 2; how++) {
    struct cns_descriptor d;
    fake_describe(fake, &d);
    if (how == 0) d.metrics_share = 0.2;
    if (how == 1) d.metrics_share = 0, d.dim -= 2;
    assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
    fake_announce_to(fake, 0, &d);
    const char *said = fake_declined(fake, 0, how + 1);
    if (!strstr(said, sentences[how])) fail_msg("%d: '%s'", how, said);
    cns_descriptor_deinit(&d);
  }
  fake_free(fake);
}

static int lie;

static void tell(struct fake *fake, struct cns_manifest *manifest) {
  struct cns_noised_metrics_sums *sums = &manifest->noised.sums;
  struct cns_noised_metrics_estimate *e = &manifest->noised.estimate;
  if (lie == 0) e->loss += 1e-6;
  if (lie == 1) e->accuracy -= 1e-6;
  if (lie == 2) e->loss_error /= 2;
  if (lie == 3) e->accuracy_error = 0;
  if (lie == 4) sums->right++; /* without what follows from it */
  if (lie == 5) sums->unit *= 2;
  if (lie == 6) sums->sigma /= 2;
  if (lie == 7) manifest->privacy.sampling_rate = 0.25;
  if (lie == 8) manifest->noised = (struct cns_manifest_noised){0};
  if (lie >= 5 && lie <= 7) cns_manifest_estimate(manifest, fake->plan.noised_metrics.loss_max, e);
}

static void a_result_that_does_not_follow_is_refused(void **state) {
  static const char *const sentences[] = {"but from what it says itself follow",
                                          "but from what it says itself follow",
                                          "but from what it says itself follow",
                                          "but from what it says itself follow",
                                          "but from what it says itself follow",
                                          "steps for a patient's loss",
                                          "in the round that was announced here they are",
                                          "has the sampling rate 0.25",
                                          "is without noised metrics"};
  (void)state;
  for (lie = 0; lie < 9; lie++) {
    struct fake *fake = consortium();
    fake_start_all(fake);
    fake->on_manifest = tell;
    play(fake);
    for (size_t k = 0; k < fake->n; k++) {
      fake_expect_log(fake, k, "a model was refused");
      fake_expect_log(fake, k, sentences[lie]);
      assert_int_equal(fake->peer[k].agent->model_round, 0);
    }
    fake_free(fake);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds_are_played_at_the_same_cost),
      cmocka_unit_test(other_shares_are_not_joined),
      cmocka_unit_test(a_result_that_does_not_follow_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
