/* SPDX-License-Identifier: Apache-2.0 */
/* Audited rounds of real agents with a liar among them: disputes, forfeits, and
 * what comes while those are judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "tests/client/audited.h"
#include "tests/client/fake_rogue.h"
#include "tests/client/pool.h"

#define POISON ((uint32_t)1 << 24)

static void off_by_one_to_the_first(const struct cns_hospital_audit *audit, const uint32_t *of_x,
                                    uint32_t *masks) {
  (void)of_x;
  for (size_t m = 1; m < audit->count; m++)
    if (audit->partners[m] == 0) masks[m * audit->k]++;
}

static void a_false_pair_is_opened(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  fake_rogue_new(fake, 4, 0, off_by_one_to_the_first);
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->outcomes[4], CNS_OUT_CONVICTED);
  for (size_t k = 0; k < 4; k++) {
    assert_int_equal(fake->outcomes[k], CNS_INCLUDED);
    fake_expect_log(fake, k, "we are included, 4 of 5 included");
    fake_expect_log(fake, k, "left out: hospital e (convicted of a false sketch)");
    assert_int_equal(fake_count_log(fake, k, "is signed differently by hospital e"), k == 0);
  }
  fake_free(fake);
}

/* Its sketch becomes zero: the poison is said to be in the self mask. */
static void hide_in_self(const struct cns_hospital_audit *audit, const uint32_t *of_x, uint32_t *masks) {
  cns_sketch_add(masks, of_x, 1, audit->k);
}

static struct fake *with_a_poisoner(void) {
  struct fake *fake = audited_consortium(audited_policy);
  fake_rogue_new(fake, 4, POISON, hide_in_self);
  fake_start_all(fake);
  return fake;
}

static void a_false_self_forfeits(void **state) {
  (void)state;
  struct fake *fake = with_a_poisoner();
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->outcomes[4], CNS_OUT_FORFEITED);
  for (size_t k = 0; k < 4; k++) {
    assert_int_equal(fake->outcomes[k], CNS_INCLUDED);
    fake_expect_log(fake, k, "we are included, 4 of 5 included");
    fake_expect_log(fake, k, "is proven of hospital e; our shares were released");
    fake_expect_log(fake, k, "left out: hospital e (forfeited its place by a false sketch)");
    assert_int_equal(fake->peer[k].declines, 0);
  }
  fake_free(fake);
}

static struct fake *with_cases_that_wait(struct pool *pool) {
  struct fake *fake = with_a_poisoner();
  hold_at(fake, CNS_PHASE_FORFEIT);
  fake_begin(fake);
  fake_until(fake, reached, 1);
  fake->on_phase = NULL;
  pool_hold(pool, &fake->uv);
  for (size_t k = 0; k < 4; k++)
    fake_request(fake, k);
  return fake;
}

/* While the cases wait for a thread: asked again over the same link and over a new
 * one, asked to abandon what was unmasked, announced again. */
static void other_words_while_forfeits_are_judged(void **state) {
  (void)state;
  struct pool pool;
  struct fake *fake = with_cases_that_wait(&pool);
  int answers = fake->peer[0].answers, joined = fake->peer[1].joined;
  fake_request(fake, 0);
  fake_request(fake, 0); /* of those that wait the last one is kept */
  fake_announce_to(fake, 3, &fake->descriptor);
  ask_to_abandon(fake, 2);
  assert_non_null(strstr(fake_declined(fake, 2, 1), "can't abandon it any more"));
  fake->peer[2].out = false; /* it has a part in the round all the same */
  cns_link_close(fake->peer[1].link, "cut by the test");
  fake_until(fake, fake->peer[1].joined, joined + 1); /* and is asked again */
  assert_int_equal(fake->peer[0].answers, answers);
  pool_release(&pool);
  fake_until(fake, fake->completed, 1);
  fake_until(fake, fake->peer[0].answers, answers + 1);
  assert_int_equal(fake->peer[2].abandons, 0);
  assert_int_equal(fake->outcomes[4], CNS_OUT_FORFEITED);
  for (size_t k = 0; k < 4; k++) {
    fake_expect_log(fake, k, "we are included, 4 of 5 included");
    assert_int_equal(fake_count_log(fake, k, "is proven of hospital e"), 1);
  }
  fake_free(fake);
}

static void stopped_while_forfeits_are_judged(void **state) {
  (void)state;
  struct pool pool;
  struct fake *fake = with_cases_that_wait(&pool);
  fake_request(fake, 0);
  fake_end(fake);
  for (size_t k = 1; k < 3; k++)
    fake_expect_log(fake, k, "ended here");
  fake_stop(fake, 3);
  pool_release(&pool);
  fake_begin(fake); /* whoever is left takes part again */
  for (size_t k = 0; k < 3; k++) {
    fake_expect_log(fake, k, "round 1 attempt 2: 5 hospitals");
    assert_int_equal(fake_count_log(fake, k, "is proven of hospital e"), 0);
  }
  fake_free(fake);
}

static bool without_the_third(struct fake *fake, enum cns_phase phase) {
  if (phase == CNS_PHASE_UNMASK || phase == CNS_PHASE_FORFEIT) fake->peer[2].out = phase == CNS_PHASE_UNMASK;
  reached += phase == CNS_PHASE_FORFEIT;
  return phase != CNS_PHASE_FORFEIT;
}

/* It missed the unmasking, so that it may sign this: then no share leaves any more. */
static void abandoned_while_forfeits_are_judged(void **state) {
  (void)state;
  struct pool pool;
  struct fake *fake = with_a_poisoner();
  reached = 0;
  fake->on_phase = without_the_third;
  fake_begin(fake);
  fake_until(fake, reached, 1);
  fake->on_phase = NULL;
  pool_hold(&pool, &fake->uv);
  int answers = fake->peer[2].answers;
  for (size_t k = 0; k < 4; k++)
    fake_request(fake, k);
  ask_to_abandon(fake, 2);
  fake_until(fake, fake->peer[2].abandons, 1);
  pool_release(&pool);
  for (size_t k = 0; k < 4; k++)
    if (k != 2) fake_expect_log(fake, k, "is proven of hospital e");
  fake_request(fake, 2); /* never, after that */
  assert_non_null(strstr(fake_declined(fake, 2, 1), "no part in that round"));
  assert_int_equal(fake->peer[2].answers, answers);
  assert_int_equal(fake_count_log(fake, 2, "is proven of hospital e"), 0);
  fake_until(fake, fake->void_rounds, 1); /* three shares of four */
  fake_free(fake);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_false_pair_is_opened),
      cmocka_unit_test(a_false_self_forfeits),
      cmocka_unit_test(other_words_while_forfeits_are_judged),
      cmocka_unit_test(stopped_while_forfeits_are_judged),
      cmocka_unit_test(abandoned_while_forfeits_are_judged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
