/* SPDX-License-Identifier: Apache-2.0 */
/* What was charged goes from one ledger into a statement, and from there into another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/carry.h"

#define TIME INT64_C(1795341600)

static char folder[] = "/tmp/cns-carry-XXXXXX";
static struct cns_identity *coordinator, *hospital;
static struct cns_digest study, other, subject;
static struct cns_ledger *theirs, *ours;

static struct cns_digest digest_of(const char *text) {
  struct cns_digest digest;
  cns_hash_once("consilium/1 test carry", text, strlen(text), &digest);
  return digest;
}

static struct cns_identity *identity(uint8_t number) {
  struct cns_identity *made = NULL;
  uint8_t seed[32] = {number};
  assert_int_equal(cns_identity_from_seed(seed, &made), 0);
  return made;
}

static struct cns_ledger_round round_of(uint64_t number, const struct cns_digest *of) {
  char text[32];
  snprintf(text, sizeof text, "round %u of %02x", (unsigned)number, of->bytes[0]);
  struct cns_ledger_round round = {.study = *of, .study_name = "trial", .round = number, .attempt = 1};
  round.descriptor = digest_of(text);
  round.costs[0] = (struct cns_budget_cost){1.1, 0.1, 1, 1e-9};
  round.costs[1] = (struct cns_budget_cost){0.7 + 0.1 / 3, 0.1, 1, 1e-9};
  return round;
}

static void charge(struct cns_ledger *ledger, uint64_t number, const struct cns_digest *of) {
  struct cns_ledger_round round = round_of(number, of);
  assert_int_equal(cns_ledger_reserve(ledger, &round, NULL, 0, TIME + (int64_t)number, NULL, NULL), 0);
  assert_int_equal(cns_ledger_charge(ledger, &round.descriptor, TIME + (int64_t)number, NULL), 0);
}

/* Charged 1, 2 and 4; 3 refunded; 5 refunded to readers only; 6 cancelled; 7 of another study; 8 reserved. */
static void fill(struct cns_ledger *ledger) {
  for (uint64_t k = 1; k <= 5; k++)
    charge(ledger, k, &study);
  struct cns_ledger_round three = round_of(3, &study), five = round_of(5, &study), six = round_of(6, &study),
                          eight = round_of(8, &study);
  assert_int_equal(cns_ledger_refund(ledger, &three.descriptor, CNS_LEDGER_EVERYONE, TIME + 9, NULL), 0);
  assert_int_equal(
      cns_ledger_refund(ledger, &five.descriptor, CNS_LEDGER_BIT(CNS_LEDGER_READERS), TIME + 9, NULL), 0);
  assert_int_equal(cns_ledger_reserve(ledger, &six, NULL, 0, TIME + 9, NULL, NULL), 0);
  assert_int_equal(cns_ledger_cancel(ledger, &six.descriptor, TIME + 9, NULL), 0);
  charge(ledger, 7, &other);
  assert_int_equal(cns_ledger_reserve(ledger, &eight, NULL, 0, TIME + 10, NULL, NULL), 0);
}

static int set_up(void **state) {
  memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
  if (!mkdtemp(folder) || chdir(folder)) return -1;
  coordinator = identity(1);
  hospital = identity(2);
  study = digest_of("study");
  other = digest_of("other");
  subject = digest_of("data");
  assert_int_equal(cns_ledger_open("theirs", coordinator, &study, &theirs, NULL), 0);
  assert_int_equal(cns_ledger_open("ours", hospital, &subject, &ours, NULL), 0);
  return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
  return remove(path);
}

static int tear_down(void **state) {
  theirs = cns_ledger_free(theirs);
  ours = cns_ledger_free(ours);
  coordinator = cns_identity_free(coordinator);
  hospital = cns_identity_free(hospital);
  return chdir("/") || nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void make(uint8_t **ret_data, size_t *ret_len) {
  struct cns_carry carry = {.consortium = "c", .study = "trial", .index = 5, .name = "h5", .issued_at = TIME};
  carry.identity = *cns_identity_get_public(hospital);
  charge(ours, 1, &study);
  assert_int_equal(cns_ledger_head(ours, &carry.head, NULL), 0);
  carry.has_head = true;
  assert_int_equal(cns_carry_collect(theirs, &study, &carry, NULL), 0);
  assert_int_equal(carry.count, 5); /* 1, 2, 4, 5, 8 */
  assert_int_equal(cns_carry_issue(&carry, coordinator, ret_data, ret_len, NULL), 0);
  cns_carry_deinit(&carry);
}

static int take(const struct cns_carry *carry, size_t *ret_added, struct cns_problem *problem) {
  const struct cns_carry_source source = {carry, &study, &subject};
  return cns_carry_import(&source, 1, ours, TIME + 100, ret_added, problem);
}

static uint64_t length(struct cns_ledger *ledger) {
  struct cns_ledger_head head;
  assert_int_equal(cns_ledger_head(ledger, &head, NULL), 0);
  return head.sequence;
}

/* Refused for `why`, with nothing of it in the ledger, which goes on, and is right for who opens it. */
static void refused_whole(const struct cns_carry *carry, int wanted, const char *why) {
  struct cns_problem problem = {0};
  struct cns_ledger *again = NULL;
  size_t added = 0;
  uint64_t before = length(ours);
  assert_int_equal(take(carry, &added, &problem), wanted);
  if (!strstr(problem.text, why)) fail_msg("'%s'", problem.text);
  assert_int_equal(length(ours), before);
  charge(ours, 30, &study);
  assert_int_equal(cns_ledger_open("ours", hospital, &subject, &again, NULL), 0);
  assert_int_equal(length(again), before + 2);
  cns_ledger_free(again);
}

static void compare_costs(enum cns_ledger_observer observer, size_t wanted) {
  struct cns_budget_cost *a = NULL, *b = NULL;
  size_t a_count = 0, b_count = 0;
  assert_int_equal(cns_ledger_costs(theirs, &study, observer, 0, &a, &a_count, NULL), 0);
  assert_int_equal(cns_ledger_costs(ours, &study, observer, 0, &b, &b_count, NULL), 0);
  assert_int_equal(a_count, wanted);
  assert_int_equal(b_count, wanted);
  assert_memory_equal(a, b, wanted * sizeof *a); /* bit for bit, through the JSON */
  free(a);
  free(b);
}

static void test_costs_are_the_same_afterwards(void **state) {
  struct cns_carry carry;
  uint8_t *data = NULL;
  size_t len = 0, added = 0;
  fill(theirs);
  make(&data, &len);
  assert_int_equal(cns_carry_open(data, len, "x", cns_identity_get_public(coordinator), &carry, NULL), 0);
  assert_int_equal(carry.index, 5);
  assert_true(carry.has_head && carry.head.sequence == 2);
  assert_int_equal(cns_carry_entries(&carry), 10);
  assert_int_equal(take(&carry, &added, NULL), 0);
  assert_int_equal(added, 4); /* 1 was there */
  compare_costs(CNS_LEDGER_READERS, 4);
  compare_costs(CNS_LEDGER_COORDINATOR, 5);
  struct cns_ledger_head before, after;
  assert_int_equal(cns_ledger_head(ours, &before, NULL), 0);
  assert_true(before.sequence >= cns_carry_entries(&carry));
  assert_int_equal(take(&carry, &added, NULL), 0);
  assert_int_equal(added, 0);
  assert_int_equal(cns_ledger_head(ours, &after, NULL), 0);
  assert_int_equal(before.sequence, after.sequence);
  cns_carry_deinit(&carry);
  free(data);
}

/* A limit that the carried rounds exceed allows nothing more. */
static void test_no_budget_is_left_that_was_spent(void **state) {
  struct cns_carry carry;
  uint8_t *data = NULL;
  size_t len = 0, added = 0;
  fill(theirs);
  make(&data, &len);
  assert_int_equal(cns_carry_open(data, len, "x", cns_identity_get_public(coordinator), &carry, NULL), 0);
  assert_int_equal(take(&carry, &added, NULL), 0);
  struct cns_ledger_round next = round_of(20, &study);
  struct cns_budget_cost *costs = NULL;
  size_t count = 0;
  double spent = 0;
  assert_int_equal(cns_ledger_costs(ours, &study, CNS_LEDGER_READERS, 0, &costs, &count, NULL), 0);
  assert_int_equal(cns_budget_epsilon(costs, count, 1e-5, CNS_DP_ADD_REMOVE, &spent, NULL), 0);
  free(costs);
  const struct cns_ledger_limit limit = {
      CNS_LEDGER_READERS,
      CNS_LEDGER_STUDY,
      {.epsilon = spent * 1.001, .delta = 1e-5, .relation = CNS_DP_ADD_REMOVE}};
  assert_int_equal(cns_ledger_reserve(ours, &next, &limit, 1, TIME + 99, NULL, NULL), CNS_BUDGET_EXCEEDED);
  cns_carry_deinit(&carry);
  free(data);
}

static void test_forged_statements(void **state) {
  struct cns_carry carry;
  uint8_t *data = NULL;
  size_t len = 0;
  fill(theirs);
  make(&data, &len);
  assert_true(cns_carry_open(data, len, "x", cns_identity_get_public(hospital), &carry, NULL) < 0);
  for (size_t at = 0; at < len; at += 7) {
    uint8_t *bad = malloc(len + 1);
    assert_non_null(bad);
    memcpy(bad, data, len + 1);
    bad[at] ^= 1;
    assert_true(cns_carry_open(bad, len, "x", cns_identity_get_public(coordinator), &carry, NULL) < 0);
    free(bad);
  }
  free(data);
}

static void test_a_contradiction_is_refused(void **state) {
  struct cns_carry carry;
  struct cns_problem problem = {0};
  uint8_t *data = NULL;
  size_t len = 0, added = 0;
  fill(theirs);
  make(&data, &len);
  struct cns_ledger_round two = round_of(2, &study);
  assert_int_equal(cns_ledger_reserve(ours, &two, NULL, 0, TIME, NULL, NULL), 0);
  assert_int_equal(cns_ledger_cancel(ours, &two.descriptor, TIME, NULL), 0);
  assert_int_equal(cns_carry_open(data, len, "x", cns_identity_get_public(coordinator), &carry, NULL), 0);
  assert_int_equal(take(&carry, &added, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "contradict"));
  cns_carry_deinit(&carry);
  free(data);
}

/* An agent that starts behind half of it would cancel the rest. */
static void test_all_of_it_or_nothing(void **state) {
  struct cns_carry carry = {0};
  fill(theirs);
  assert_int_equal(cns_carry_collect(theirs, &study, &carry, NULL), 0);
  struct cns_ledger_round five = round_of(5, &study);
  assert_int_equal(cns_ledger_reserve(ours, &five, NULL, 0, TIME, NULL, NULL), 0);
  assert_int_equal(cns_ledger_cancel(ours, &five.descriptor, TIME, NULL), 0);
  refused_whole(&carry, CNS_ERR_REFUSED, "contradict");
  cns_carry_deinit(&carry);
}

/* A backup that knows a round as refunded towards more than the coordinator says. */
static void test_a_larger_refund_is_refused(void **state) {
  struct cns_carry carry = {0};
  fill(theirs);
  assert_int_equal(cns_carry_collect(theirs, &study, &carry, NULL), 0);
  charge(ours, 5, &study);
  struct cns_ledger_round five = round_of(5, &study);
  assert_int_equal(cns_ledger_refund(ours, &five.descriptor, CNS_LEDGER_EVERYONE, TIME + 9, NULL), 0);
  refused_whole(&carry, CNS_ERR_REFUSED, "as refunded to more observers");
  cns_carry_deinit(&carry);
}

/* The cheap one first. */
static void test_one_attempt_with_two_costs_is_refused(void **state) {
  struct cns_carried_round two[] = {{.round = round_of(1, &study), .time = TIME},
                                    {.round = round_of(1, &study), .time = TIME}};
  two[0].round.costs[0].noise_multiplier = 400;
  const struct cns_carry carry = {.rounds = two, .count = 2};
  refused_whole(&carry, CNS_ERR_REFUSED, "with other values");
}

/* Every later entry, of all studies, would count in that month. */
static void test_a_time_to_come_is_refused(void **state) {
  struct cns_carried_round two[] = {{.round = round_of(1, &study), .time = TIME},
                                    {.round = round_of(2, &study), .time = CNS_LEDGER_TIME_MAX}};
  const struct cns_carry carry = {.rounds = two, .count = 2};
  size_t added = 0;
  refused_whole(&carry, CNS_ERR_RANGE, "still to come");
  two[1].time = TIME + 100 + CNS_LEDGER_CLOCK_TOLERANCE_SECONDS + 1;
  assert_int_equal(take(&carry, &added, NULL), CNS_ERR_RANGE);
  two[1].time--;
  assert_int_equal(take(&carry, &added, NULL), 0);
  assert_int_equal(added, 2);
}

/* Both in one piece; what is in both is in once. */
static void test_a_backup_and_a_statement(void **state) {
  struct cns_carry carry = {0}, old = {0};
  struct cns_ledger *backup = NULL;
  size_t added[2];
  fill(theirs);
  assert_int_equal(cns_ledger_open("backup", coordinator, &subject, &backup, NULL), 0);
  charge(backup, 1, &study);
  charge(backup, 7, &other);
  assert_int_equal(cns_carry_collect(theirs, &study, &carry, NULL), 0);
  assert_int_equal(cns_carry_collect(backup, NULL, &old, NULL), 0);
  const struct cns_carry_source sources[] = {{&old, NULL, NULL}, {&carry, &study, &subject}};
  assert_int_equal(cns_carry_import(sources, 2, ours, TIME + 100, added, NULL), 0);
  assert_int_equal(added[0], 2);
  assert_int_equal(added[1], 4);
  assert_int_equal(cns_carry_import(sources, 2, ours, TIME + 100, added, NULL), 0);
  assert_int_equal(added[0] + added[1], 0);
  compare_costs(CNS_LEDGER_READERS, 4);
  cns_ledger_free(backup);
  cns_carry_deinit(&carry);
  cns_carry_deinit(&old);
}

/* A hospital that signed the last attempt, which came to nothing, is known to be through. */
static void test_the_last_attempt_is_stated_whatever_became_of_it(void **state) {
  struct cns_carry carry, made = {.consortium = "c", .study = "trial", .index = 5, .name = "h5"};
  uint64_t round = 0;
  uint32_t attempt = 0;
  uint8_t *data = NULL;
  size_t len = 0, added = 0, count = 0;
  struct cns_ledger_round two = round_of(2, &study);
  struct cns_budget_cost *costs = NULL;
  made.identity = *cns_identity_get_public(hospital);
  charge(theirs, 1, &study);
  assert_int_equal(cns_ledger_reserve(theirs, &two, NULL, 0, TIME + 9, NULL, NULL), 0);
  assert_int_equal(cns_ledger_cancel(theirs, &two.descriptor, TIME + 9, NULL), 0);
  assert_int_equal(cns_carry_collect(theirs, &study, &made, NULL), 0);
  assert_int_equal(cns_carry_issue(&made, coordinator, &data, &len, NULL), 0);
  assert_int_equal(cns_carry_open(data, len, "x", cns_identity_get_public(coordinator), &carry, NULL), 0);
  cns_carry_last(&carry, &round, &attempt);
  assert_true(round == 2 && attempt == 1);
  assert_int_equal(take(&carry, &added, NULL), 0);
  assert_int_equal(cns_ledger_last_attempt(ours, &study, &round, &attempt, NULL), 0);
  assert_true(round == 2 && attempt == 1);
  assert_int_equal(cns_ledger_last_attempt(ours, &other, &round, &attempt, NULL), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_ledger_costs(ours, &study, CNS_LEDGER_READERS, 0, &costs, &count, NULL), 0);
  assert_int_equal(count, 1);
  free(costs);
  free(data);
  cns_carry_deinit(&made);
  cns_carry_deinit(&carry);
}

/* Whoever goes on with the "lost" ledger after the statement was made has charges that it lacks. */
static void test_only_the_stated_head_gives_way(void **state) {
  struct cns_carry carry = {0};
  struct cns_ledger_head kept, head, later, same_owner;
  struct cns_problem problem = {0};
  struct cns_ledger *old = NULL, *copy = NULL;
  fill(theirs);
  assert_int_equal(cns_carry_collect(theirs, &study, &carry, NULL), 0);
  assert_int_equal(cns_ledger_open("old", coordinator, &subject, &old, NULL), 0);
  assert_int_equal(cns_ledger_open("copy", coordinator, &subject, &copy, NULL), 0);
  charge(old, 1, &study);
  assert_int_equal(cns_ledger_head(old, &kept, NULL), 0);
  for (uint64_t k = 1; k <= 5; k++)
    charge(ours, k, &study);
  assert_int_equal(cns_ledger_head(ours, &head, NULL), 0);
  assert_int_equal(cns_carry_allows(&carry, &kept, &head, &problem), CNS_ERR_REFUSED); /* names no head */
  carry.has_head = true;
  carry.head = kept;
  assert_int_equal(cns_carry_allows(&carry, &kept, &head, &problem), 0);

  charge(old, 2, &study);
  assert_int_equal(cns_ledger_head(old, &later, NULL), 0);
  assert_int_equal(cns_carry_allows(&carry, &later, &head, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "shown again since"));
  assert_int_equal(cns_carry_allows(&carry, &head, &head, &problem), CNS_ERR_REFUSED); /* a second time */

  for (uint64_t k = 11; k <= 16; k++)
    charge(copy, k, &study);
  assert_int_equal(cns_ledger_head(copy, &same_owner, NULL), 0);
  assert_int_equal(cns_carry_allows(&carry, &kept, &same_owner, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "key of its own"));
  head.sequence = cns_carry_entries(&carry) - 1;
  assert_int_equal(cns_carry_allows(&carry, &kept, &head, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "consilium budget take"));
  cns_ledger_free(old);
  cns_ledger_free(copy);
  cns_carry_deinit(&carry);
}

static void test_too_many_for_one_statement(void **state) {
  const size_t count = CNS_CARRY_ROUNDS_MAX;
  struct cns_carry carry = {.consortium = "c", .study = "trial", .index = 5, .name = "h5", .count = count};
  struct cns_problem problem = {0};
  uint8_t *data = NULL;
  size_t len = 0;
  carry.identity = *cns_identity_get_public(hospital);
  carry.rounds = calloc(count, sizeof *carry.rounds);
  assert_non_null(carry.rounds);
  for (size_t k = 0; k < count; k++)
    carry.rounds[k] = (struct cns_carried_round){.round = round_of(k + 1, &study), .time = TIME};
  assert_int_equal(cns_carry_issue(&carry, coordinator, &data, &len, &problem), CNS_ERR_LIMIT);
  assert_non_null(strstr(problem.text, "too many for one statement"));
  cns_carry_deinit(&carry);
}

int main(void) {
  if (cns_init() < 0) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_costs_are_the_same_afterwards, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_budget_is_left_that_was_spent, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_forged_statements, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_contradiction_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_all_of_it_or_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_larger_refund_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_one_attempt_with_two_costs_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_time_to_come_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_backup_and_a_statement, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_the_last_attempt_is_stated_whatever_became_of_it, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(test_only_the_stated_head_gives_way, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_too_many_for_one_statement, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
