/* SPDX-License-Identifier: Apache-2.0 */
/* Audited rounds of real agents over TLS on loopback: what is lost at any point,
 * what the record forbids, a coordinator that lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"
#include "client/site.h"
#include "protocol/claim.h"
#include "tests/client/audited.h"
#include "tests/client/pool.h"

static void one_audit_a_model(struct cns_policy *policy) {
  cns_policy_set_audit(policy, K);
  policy->attempts_per_parent = 1;
}

static void one_audit_a_study(struct cns_policy *policy) {
  cns_policy_set_audit(policy, K);
  policy->sketch_budget = 0.035; /* of over 4,096 parameters: more than 128 numbers, fewer than 256 */
}

static void unaudited_too(struct cns_policy *policy) {
  cns_policy_set_audit(policy, K);
  policy->when_spent = CNS_SPENT_UNAUDITED;
}

/* Of a hospital that is stopped, under the present model. */
static struct cns_audit_record record_of(struct fake *fake, size_t k) {
  struct cns_site site;
  struct cns_problem problem = {0};
  struct cns_audit_record record;
  if (cns_site_open(fake->peer[k].kit, &site, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_hospital_store_audits(site.store, &site.study, &fake->model_digest, &record, &problem),
                   0);
  cns_site_deinit(&site);
  return record;
}

static void expect_revealed(struct fake *fake, size_t k, uint64_t numbers, uint64_t answered, bool entered) {
  fake_stop(fake, k);
  struct cns_audit_record record = record_of(fake, k);
  assert_int_equal(record.numbers, numbers);
  assert_int_equal(record.answered, answered);
  assert_int_equal(record.entered, entered);
}

/* ---- what a test looks at ---- */

static uint32_t sum_of_sketches[CNS_SKETCH_MAX];
static struct cns_sketch_key sketch_key;

static bool note_sketches(struct fake *fake, enum cns_phase phase) {
  if (phase != CNS_PHASE_AGREE) return true;
  memset(sum_of_sketches, 0, sizeof sum_of_sketches);
  assert_int_equal(cns_coordinator_sketch_key(fake->machine, &sketch_key), 0);
  for (size_t k = 0; k < fake->n; k++)
    cns_sketch_add(sum_of_sketches, cns_coordinator_sketch(fake->machine, k), 1, K);
  return true;
}

/* A of the sum that was opened is the sum of the sketches seen before. */
static void check_sum(const struct fake *fake) {
  const struct cns_parallel alone = {0};
  const uint32_t *vector = fake->sum;
  uint32_t sketch[CNS_SKETCH_MAX];
  assert_int_equal(cns_sketch_vectors(&sketch_key, K, &vector, 1, fake->descriptor.dim, alone, sketch), 0);
  assert_memory_equal(sketch, sum_of_sketches, K * sizeof *sketch);
  assert_false(cns_sketch_is_zero(sketch, K));
}

/* ---- honest rounds ---- */

static void honest_rounds_are_audited(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  char text[200];
  uint64_t dim = cns_plan_dim(&fake->plan), budget = cns_policy_sketch_budget(&fake->kit.policy, dim);
  fake_start_all(fake);
  fake->on_phase = note_sketches;
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  check_sum(fake);
  assert_true(budget >= 2 * K);
  fake_begin(fake);
  fake_until(fake, fake->completed, 2);
  for (size_t k = 0; k < fake->n; k++) {
    assert_int_equal(fake->outcomes[k], CNS_INCLUDED);
    snprintf(text, sizeof text,
             "round 2 attempt 1: audited, revealed 128 numbers of our update; in this study 256 of the %d "
             "numbers that the policy allows",
             (int)budget);
    fake_expect_log(fake, k, text);
    fake_expect_log(fake, k, "in this study 128 of the");
    fake_expect_log(fake, k, "round 2 attempt 1: we are included, 5 of 5 included");
    assert_int_equal(fake->peer[k].declines, 0);
  }
  expect_revealed(fake, 3, 2 * K, 0, false); /* none of the model after round 2 */
  fake_free(fake);
}

/* ---- lost links and restarts ---- */

static void a_link_lost_while_sketching(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  struct pool pool;
  fake_start_all(fake);
  hold_at(fake, CNS_PHASE_AUDIT);
  fake_begin(fake);
  fake_until(fake, reached, 1);
  fake->on_phase = NULL;
  pool_hold(&pool, &fake->uv);
  int answers = fake->peer[0].answers;
  for (size_t k = 0; k < fake->n; k++)
    fake_request(fake, k);
  cns_link_close(fake->peer[0].link, "cut by the test");
  fake_until(fake, fake->peer[0].joined, 2); /* and is asked again */
  fake_request(fake, 0);
  assert_int_equal(fake->peer[0].answers, answers);
  pool_release(&pool);
  fake_until(fake, fake->completed, 1);
  for (size_t k = 0; k < fake->n; k++)
    fake_expect_log(fake, k, "we are included, 5 of 5 included");
  assert_int_equal(fake_count_log(fake, 0, "revealed 128 numbers"), 1);
  fake_free(fake);
}

/* Without a word of its sketches: nothing is charged but the update. */
static void stopped_while_sketching(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(unaudited_too);
  struct pool pool;
  struct cns_descriptor d;
  fake_start_all(fake);
  hold_at(fake, CNS_PHASE_AUDIT);
  fake_begin(fake);
  fake_until(fake, reached, 1);
  pool_hold(&pool, &fake->uv);
  fake_request(fake, 0);
  fake_request(fake, 1);
  fake_end(fake); /* the other way to end it */
  fake_expect_log(fake, 1, "ended here");
  fake_stop(fake, 0);
  pool_release(&pool);
  expect_revealed(fake, 0, 0, 0, true);
  assert_int_equal(fake_count_log(fake, 1, "audited, revealed"), 0);
  /* Unaudited rounds are allowed, but not as a fallback for an audited one. */
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  fake_describe(fake, &d);
  d.audit_level = CNS_AUDIT_NONE;
  d.sketch = 0;
  memset(&d.nonce_commitment, 0, sizeof d.nonce_commitment);
  fake_announce_to(fake, 0, &d);
  assert_non_null(strstr(fake_declined(fake, 0, 1), "may not follow as a fallback"));
  cns_descriptor_deinit(&d);
  fake->on_phase = NULL;
  fake_begin(fake); /* an audited one may */
  fake_until(fake, fake->completed, 1);
  fake_expect_log(fake, 0,
                  "round 1 attempt 3: audited, revealed 128 numbers of our update; in this study 128");
  fake_free(fake);
}

/* Counted before it leaves, once, and found again by the next process. */
static void a_restart_counts_once(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  fake_start_all(fake);
  hold_at(fake, CNS_PHASE_AGREE);
  fake_begin(fake);
  fake_until(fake, reached, 1);
  expect_revealed(fake, 0, K, 1, true);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2); /* and is asked for its agreement, of which it knows nothing */
  assert_non_null(strstr(fake_declined(fake, 0, 1), "no part in that round"));
  fake->on_phase = NULL;
  for (size_t k = 1; k < fake->n; k++)
    fake_request(fake, k);
  fake_until(fake, fake->completed, 1);
  fake_begin(fake);
  fake_until(fake, fake->completed, 2);
  fake_expect_log(fake, 0, "in this study 256 of the");
  expect_revealed(fake, 0, 2 * K, 0, false);
  fake_free(fake);
}

/* ---- what the record forbids ---- */

static void send_abandoned(struct fake *fake) {
  struct cns_wire_abandon abandons[FAKE_MAX];
  struct cns_writer frame;
  for (size_t k = 0; k < fake->n; k++)
    abandons[k] = (struct cns_wire_abandon){(uint16_t)(k + 1), fake->peer[k].abandon};
  cns_writer_init(&frame, 1024);
  cns_wire_write_abandoned(&frame, &fake->round, abandons, fake->n);
  for (size_t k = 0; k < fake->n; k++)
    fake_send(fake, k, CNS_WIRE_ABANDONED, &frame);
  cns_writer_deinit(&frame);
}

/* The attack: audit, abandon, refund, and the same model once more. */
static void a_refund_allows_no_second_audit(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(one_audit_a_model);
  fake_start_all(fake);
  hold_at(fake, CNS_PHASE_AGREE);
  fake_begin(fake);
  fake_until(fake, reached, 1);
  fake->machine = cns_coordinator_free(fake->machine);
  for (size_t k = 0; k < fake->n; k++) {
    ask_to_abandon(fake, k);
    fake_until(fake, fake->peer[k].abandons, 1);
  }
  send_abandoned(fake);
  for (size_t k = 0; k < fake->n; k++)
    fake_expect_log(fake, k, "no longer charged");
  fake->on_phase = NULL;
  fake_begin(fake);
  for (size_t k = 0; k < fake->n; k++)
    assert_non_null(strstr(fake_declined(fake, k, 1),
                           "1 updates of this model were already audited here, and the policy allows 1"));
  expect_revealed(fake, 0, K, 1, true);
  fake_free(fake);
}

static void a_spent_budget_ends_it(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(one_audit_a_study);
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  for (size_t k = 0; k < fake->n; k++)
    fake_expect_log(fake, k, "round 1 attempt 1: we are included");
  fake_begin(fake);
  for (size_t k = 0; k < fake->n; k++) {
    assert_non_null(strstr(fake_declined(fake, k, 1), "has revealed 128 of the 1"));
    fake_expect_log(fake, k, "numbers that the policy's sketch budget allows in this study");
  }
  fake_free(fake);
}

/* ---- the coordinator lies ---- */

static void a_wrong_nonce_reveals_nothing(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  fake_start_all(fake);
  fake->wrong_to = 1;
  fake->wrong_phase = CNS_PHASE_AUDIT;
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->outcomes[0], CNS_MISSING_AUDIT);
  fake_expect_log(fake, 0, "the audit's nonce isn't the one that the descriptor commits to");
  fake_expect_log(fake, 0, "round 1 attempt 1: we are missing in phase audit, 4 of 5 included");
  expect_revealed(fake, 0, 0, 0, false);
  expect_revealed(fake, 1, K, 0, false);
  fake_free(fake);
}

/* The last number of its own z is another one. */
static void a_wrong_sketch_is_not_agreed_to(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  fake_start_all(fake);
  fake->wrong_to = 1;
  fake->wrong_phase = CNS_PHASE_AGREE;
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  fake_expect_log(fake, 0,
                  "what the coordinator takes for the sketch of our update is another's, or altered");
  fake_free(fake);
}

/* ---- a machine that computes wrongly ---- */

static bool alter_root(struct fake *fake, enum cns_phase phase) {
  if (phase == CNS_PHASE_AUDIT) fake->peer[0].agent->round->root.bytes[0] ^= 1;
  return true;
}

static void a_vector_that_is_not_the_uploaded_one(void **state) {
  (void)state;
  struct fake *fake = audited_consortium(audited_policy);
  fake_start_all(fake);
  fake->on_phase = alter_root;
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->outcomes[0], CNS_MISSING_AUDIT);
  fake_expect_log(fake, 0, "isn't the one that was sent: this machine computes wrongly");
  expect_revealed(fake, 0, 0, 0, false);
  fake_free(fake);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(honest_rounds_are_audited),
      cmocka_unit_test(a_link_lost_while_sketching),
      cmocka_unit_test(stopped_while_sketching),
      cmocka_unit_test(a_restart_counts_once),
      cmocka_unit_test(a_refund_allows_no_second_audit),
      cmocka_unit_test(a_spent_budget_ends_it),
      cmocka_unit_test(a_wrong_nonce_reveals_nothing),
      cmocka_unit_test(a_wrong_sketch_is_not_agreed_to),
      cmocka_unit_test(a_vector_that_is_not_the_uploaded_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
