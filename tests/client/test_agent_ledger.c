/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of privacy ledgers between real agents and a coordinator: who lost the end of its
 * ledger, or shows another, is found out. And what an audit leaves charged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/client/noisy.h"

/* A backup from before the first round comes back; the coordinator has seen more. */
static void a_hospital_that_lost_its_entries_joins_nothing(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  noisy_remember_disk(fake, 0);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  struct cns_ledger_head seen = fake->peer[0].head;
  assert_true(seen.sequence == 2);
  fake_stop(fake, 0);
  noisy_restore_disk(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 2);
  noisy_send_head(fake, 0, &seen);
  for (int attempt = 1; attempt <= 2; attempt++) {
    fake_begin(fake);
    const char *said = fake_declined(fake, 0, attempt);
    if (!strstr(said, "this hospital's privacy ledger isn't whole")) fail_msg("'%s'", said);
    assert_int_equal(noisy_state(fake, 0, &fake->round), 0);
    fake_until(fake, fake->completed, 1 + attempt); /* the others */
  }
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 0); /* no second history */
  fake_free(fake);
}

/* Only the ledger is an old one: its own record of rounds has more. */
static void a_ledger_that_lacks_a_signed_round_is_not_used(void **state) {
  (void)state;
  struct cns_site site;
  struct cns_problem problem = {0};
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  noisy_remember_disk(fake, 0);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  fake_stop(fake, 0);
  noisy_restore_ledger(fake, 0);
  assert_int_equal(cns_site_open(fake->peer[0].kit, &site, &problem), CNS_ERR_REFUSED);
  if (!strstr(problem.text, "lacks round 1 of this study")) fail_msg("'%s'", problem.text);
  /* Lost for good, and what it held taken off the budget. */
  struct cns_kit_config config;
  assert_int_equal(cns_kit_config_load(fake->peer[0].kit, &config, &problem), 0);
  config.data_epsilon = 1.5;
  config.data_delta = 1e-6;
  config.lost_through = 1;
  assert_int_equal(cns_kit_config_save(fake->peer[0].kit, &config, &problem), 0);
  cns_kit_config_deinit(&config);
  if (cns_site_open(fake->peer[0].kit, &site, &problem)) fail_msg("%s", problem.text);
  cns_site_deinit(&site);
  fake_free(fake);
}

static struct cns_carry carried_from(struct fake *fake) {
  struct cns_problem problem = {0};
  struct cns_carry carry = {.has_head = true, .head = fake->peer[0].head};
  struct cns_ledger *ledger = noisy_ledger(fake, 0);
  if (cns_carry_collect(ledger, NULL, &carry, &problem)) fail_msg("%s", problem.text);
  cns_ledger_free(ledger);
  return carry;
}

static void refuses_to_carry(struct fake *fake, const struct cns_carry *carry, const char *why) {
  struct cns_site site = {0};
  struct cns_problem problem = {0};
  if (cns_site_open_without_ledger(fake->peer[0].kit, &site, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_site_open_carried(&site, carry, &problem), CNS_ERR_REFUSED);
  if (!strstr(problem.text, why)) fail_msg("'%s'", problem.text);
  cns_site_deinit(&site);
}

/* With its key, while the record of rounds is there. */
static void a_lost_ledger_is_carried_over_beside_the_record(void **state) {
  (void)state;
  struct cns_site site = {0};
  struct cns_problem problem = {0};
  size_t added = 0;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  struct cns_carry older = carried_from(fake);
  fake_begin(fake);
  fake_until(fake, fake->completed, 2);
  fake_stop(fake, 0);
  struct cns_carry carry = carried_from(fake);
  refuses_to_carry(fake, &carry, "has the key of the ledger that is said to be lost");
  char command[400];
  snprintf(command, sizeof command, "rm '%s'/data.csv.ledger*", fake->peer[0].kit);
  noisy_run(command);
  assert_int_equal(cns_site_open(fake->peer[0].kit, &site, &problem), CNS_ERR_REFUSED);
  if (!strstr(problem.text, "consilium budget carry")) fail_msg("'%s'", problem.text);
  refuses_to_carry(fake, &older, "ask the coordinator for a newer one");
  refuses_to_carry(fake, &(struct cns_carry){0}, "nothing was charged");

  if (cns_site_open_without_ledger(fake->peer[0].kit, &site, &problem)) fail_msg("%s", problem.text);
  if (cns_site_open_carried(&site, &carry, &problem)) fail_msg("%s", problem.text);
  const struct cns_carry_source source = {&carry, &site.study, &site.data_set};
  if (cns_carry_import(&source, 1, site.ledger, carry.head.time, &added, &problem))
    fail_msg("%s", problem.text);
  assert_int_equal(added, 2);
  cns_site_deinit(&site);
  if (cns_site_open(fake->peer[0].kit, &site, &problem)) fail_msg("%s", problem.text);
  cns_site_deinit(&site);
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_READERS), 2);
  cns_carry_deinit(&older);
  cns_carry_deinit(&carry);
  fake_free(fake);
}

/* Its own head of now, or of before, is no reason. */
static void a_head_that_fits_changes_nothing(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  struct cns_ledger_head empty = fake->peer[0].head;
  for (int round = 1; round <= 3; round++) {
    fake_begin(fake);
    fake_until(fake, fake->completed, round);
    noisy_send_head(fake, 0, round == 1 ? &empty : &fake->peer[0].head);
  }
  assert_int_equal(fake->peer[0].declines, 0);
  fake_free(fake);
}

/* Heads of a ledger that the coordinator might keep; entries differ with `number`. */
static struct cns_ledger_head coordinators_head(struct fake *fake, const struct cns_digest *subject,
                                                uint64_t number, uint64_t entries) {
  char path[200];
  static int ledgers;
  struct cns_ledger *ledger = NULL;
  struct cns_ledger_head head;
  struct cns_problem problem = {0};
  snprintf(path, sizeof path, "%s/ledger-%d", fake->folder, ledgers++);
  if (cns_ledger_open(path, fake->kit.identity, subject, &ledger, &problem)) fail_msg("%s", problem.text);
  for (uint64_t k = 0; k < entries; k++) {
    struct cns_ledger_round round = {
        .study = *subject, .study_name = "tiny", .round = number + k, .attempt = 1};
    round.costs[0] = round.costs[1] = (struct cns_budget_cost){2, 0.5, 1, 0};
    cns_hash_once("consilium/1 test digest", &round.round, sizeof round.round, &round.descriptor);
    assert_int_equal(cns_ledger_reserve(ledger, &round, NULL, 0, 1768435200, NULL, &problem), 0);
  }
  assert_int_equal(cns_ledger_head(ledger, &head, &problem), 0);
  cns_ledger_free(ledger);
  return head;
}

static void expect_distrust(struct fake *fake, const struct cns_ledger_head *shown, const char *why) {
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->peer[0].declines, 0);
  noisy_send_head(fake, 0, shown);
  fake_begin(fake);
  const char *said = fake_declined(fake, 0, 1);
  if (!strstr(said, "the coordinator's privacy ledger isn't whole") || !strstr(said, why))
    fail_msg("'%s'", said);
  fake_until(fake, fake->completed, 2);
}

static void a_coordinator_that_lost_entries_is_noticed(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  struct cns_ledger_head five = coordinators_head(fake, &fake->study, 1, 5);
  struct cns_ledger_head three = coordinators_head(fake, &fake->study, 1, 3);
  noisy_send_head(fake, 0, &three);
  noisy_send_head(fake, 0, &five);
  noisy_send_head(fake, 0, &five);
  expect_distrust(fake, &three, "");
  fake_free(fake);
}

static void a_coordinator_with_two_ledgers_is_noticed(void **state) {
  (void)state;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  fake_start_all(fake);
  struct cns_ledger_head one = coordinators_head(fake, &fake->study, 1, 2);
  struct cns_ledger_head two = coordinators_head(fake, &fake->study, 100, 2);
  noisy_send_head(fake, 0, &one);
  expect_distrust(fake, &two, "");
  fake_free(fake);
}

/* Its signature is right, but it would be no witness of this study. */
static void a_coordinator_with_another_studys_ledger_is_noticed(void **state) {
  (void)state;
  struct cns_digest other;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  cns_study_digest(fake->kit.roster.consortium, "another", &other);
  fake_start_all(fake);
  struct cns_ledger_head head = coordinators_head(fake, &other, 1, 2);
  expect_distrust(fake, &head, "another study");
  fake_free(fake);
}

/* Whoever could make heads of others up could stop everybody. */
static void heads_that_nobody_signed_are_nothing(void **state) {
  (void)state;
  struct cns_digest other;
  struct fake *fake = noisy_consortium(CNS_UNIT_PATIENT, 3, NULL);
  cns_study_digest(fake->kit.roster.consortium, "another", &other);
  fake_start_all(fake);
  struct cns_ledger_head own = fake->peer[0].head;
  struct cns_ledger_head heads[] = {coordinators_head(fake, &fake->study, 1, 5),
                                    coordinators_head(fake, &fake->study, 1, 1),
                                    coordinators_head(fake, &other, 1, 2), own};
  heads[3].sequence = 99;
  for (size_t k = 0; k < 4; k++) {
    heads[k].signature.bytes[3] ^= 1;
    noisy_send_head(fake, 0, &heads[k]);
  }
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->peer[0].declines, 0);
  fake_free(fake);
}

/* ---- after an audit ---- */

static void audited_policy(struct cns_policy *policy) {
  cns_policy_set_audit(policy, 128);
  policy->attempts_per_parent = 5;
}

static struct fake *audited_consortium(void) {
  const struct fake_options options = {
      .n = 5,
      .seed = 4714,
      .model = "{\"kind\": \"mlp\", \"hidden\": [64, 64], \"activation\": \"relu\"}",
      .training = NOISY_TRAINING,
      .noise = NOISY_PATIENT,
      .privacy = {.epsilon = 3,
                  .delta = NOISY_DELTA,
                  .unit = CNS_UNIT_PATIENT,
                  .placement = CNS_NOISE_DISTRIBUTED},
      .policy = audited_policy};
  return fake_new(&options);
}

/* The sum was never opened; A*x was, by the coordinator. */
static void an_audited_round_is_refunded_to_readers_only(void **state) {
  (void)state;
  struct fake *fake = audited_consortium();
  fake_start_all(fake);
  noisy_fail_after_upload(fake);
  struct cns_digest first = fake->round;
  for (size_t k = 0; k < fake->n; k++) {
    noisy_ask_to_abandon(fake, k);
    fake_until(fake, fake->peer[k].abandons, 1);
  }
  noisy_send_abandoned(fake, fake->n);
  for (size_t k = 0; k < fake->n; k++) {
    fake_expect_log(fake, k, "no longer charged");
    assert_int_equal(noisy_state(fake, k, &first), CNS_LEDGER_REFUNDED);
    assert_int_equal(noisy_costs(fake, k, CNS_LEDGER_READERS), 0);
    assert_int_equal(noisy_costs(fake, k, CNS_LEDGER_COORDINATOR), 1);
  }
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(noisy_costs(fake, 0, CNS_LEDGER_COORDINATOR), 2);
  fake_free(fake);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hospital_that_lost_its_entries_joins_nothing),
      cmocka_unit_test(a_ledger_that_lacks_a_signed_round_is_not_used),
      cmocka_unit_test(a_lost_ledger_is_carried_over_beside_the_record),
      cmocka_unit_test(a_head_that_fits_changes_nothing),
      cmocka_unit_test(a_coordinator_that_lost_entries_is_noticed),
      cmocka_unit_test(a_coordinator_with_two_ledgers_is_noticed),
      cmocka_unit_test(a_coordinator_with_another_studys_ledger_is_noticed),
      cmocka_unit_test(heads_that_nobody_signed_are_nothing),
      cmocka_unit_test(an_audited_round_is_refunded_to_readers_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
