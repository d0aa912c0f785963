/* SPDX-License-Identifier: Apache-2.0 */
/* Which roster may follow which, and when an expiry is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/expiry.h"
#include "protocol/roster_change.h"

#define DAY INT64_C(86400)
#define UNTIL (INT64_C(1795341600) + 730 * DAY)

static struct cns_roster make(uint64_t version, size_t count) {
  struct cns_roster roster = {.version = version, .valid_until = UNTIL, .officer_count = 1};
  snprintf(roster.consortium, sizeof roster.consortium, "Heart study");
  memset(&roster.digest, (int)version, sizeof roster.digest);
  roster.hospitals = calloc(count + 1, sizeof *roster.hospitals);
  assert_non_null(roster.hospitals);
  for (size_t k = 0; k < count; k++) {
    struct cns_roster_hospital *hospital = &roster.hospitals[roster.hospital_count++];
    hospital->index = (uint16_t)(k + 1);
    snprintf(hospital->name, sizeof hospital->name, "h%zu", k + 1);
    memset(hospital->identity.bytes, (int)k + 1, sizeof hospital->identity.bytes);
    memset(hospital->pin.bytes, (int)k + 1, sizeof hospital->pin.bytes);
  }
  return roster;
}

static struct cns_roster now, next;

static int set_up(void **state) {
  now = make(4, 3);
  next = make(5, 4);
  now.hospitals[1].revoked = next.hospitals[1].revoked = true;
  return 0;
}

static int tear_down(void **state) {
  cns_roster_deinit(&now);
  cns_roster_deinit(&next);
  return 0;
}

static void expect(int wanted, const char *word) {
  struct cns_problem problem = {0};
  assert_int_equal(cns_roster_check_successor(&now, &next, &problem), wanted);
  if (!strstr(problem.text, word)) fail_msg("\"%s\" lacks \"%s\"", problem.text, word);
}

static void test_added_renewed_and_revoked(void **state) {
  char text[CNS_ROSTER_CHANGE_CHARS];
  memset(next.hospitals[0].pin.bytes, 0xAA, sizeof next.hospitals[0].pin.bytes);
  next.hospitals[2].revoked = true;
  next.valid_until += DAY;
  expect(0, "");
  cns_roster_describe_change(&now, &next, text);
  assert_string_equal(text, "1 added, 1 with new keys, 1 revoked; valid until 2028-11-22");
  memset(next.hospitals[0].identity.bytes, 0xAB, sizeof next.hospitals[0].identity.bytes);
  expect(0, "");
}

static void test_older_same_and_forked(void **state) {
  next.version = 3;
  expect(CNS_ERR_REFUSED, "older than version 4");
  next.version = 4;
  expect(CNS_ROSTER_FORK, "two different rosters of version 4");
  next.digest = now.digest;
  expect(CNS_ROSTER_SAME, "");
}

static void test_revoked_is_for_good(void **state) {
  next.hospitals[1].revoked = false;
  expect(CNS_ERR_REFUSED, "revoked is for good");
  next.hospitals[1].revoked = true;
  memset(next.hospitals[1].identity.bytes, 0x77, sizeof next.hospitals[1].identity.bytes);
  expect(CNS_ERR_REFUSED, "revoked is for good");
}

static void test_an_index_is_not_used_twice(void **state) {
  snprintf(next.hospitals[1].name, sizeof next.hospitals[1].name, "other");
  expect(CNS_ERR_REFUSED, "an index isn't used twice");
  snprintf(next.hospitals[1].name, sizeof next.hospitals[1].name, "h2");
  next.hospitals[2].index = 9;
  expect(CNS_ERR_REFUSED, "lacks hospital 3");
}

static void test_other_parties(void **state) {
  next.coordinator_pin.bytes[0] ^= 1;
  expect(CNS_ERR_REFUSED, "another coordinator");
  next.coordinator_pin.bytes[0] ^= 1;
  next.officers[0].identity.bytes[0] ^= 1;
  expect(CNS_ERR_REFUSED, "other privacy officers");
  next.officers[0].identity.bytes[0] ^= 1;
  next.authority.identity.bytes[0] ^= 1;
  expect(CNS_ERR_REFUSED, "another authority");
  next.authority.identity.bytes[0] ^= 1;
  next.consortium[0] = 'P';
  expect(CNS_ERR_REFUSED, "another consortium");
}

/* A clock that is handed in, a day at a time. */
static void test_expiry_is_said_once_a_threshold(void **state) {
  struct cns_expiry expiry = {0};
  struct cns_problem sentence = {0};
  int said = 0;
  static const int64_t days[] = {60, 30, 7, 0};
  for (int64_t left = 100; left >= -5; left--) {
    bool due = cns_expiry_due(&expiry, "the roster", UNTIL, UNTIL - left * DAY, "renew it", &sentence);
    assert_int_equal(due, said < 4 && left == days[said]);
    said += due;
    if (due && left == 7)
      assert_string_equal(sentence.text, "the roster expires in 7 days, on 2028-11-21: renew it");
    if (due && left == 0)
      assert_string_equal(sentence.text, "the roster has expired on 2028-11-21: renew it");
  }
  assert_int_equal(said, 4);
  /* The clock goes back: nothing twice. A later end: anew. None: never. */
  assert_false(cns_expiry_due(&expiry, "x", UNTIL, UNTIL - 20 * DAY, "", &sentence));
  assert_true(cns_expiry_due(&expiry, "x", UNTIL + DAY, UNTIL - 20 * DAY, "", &sentence));
  assert_false(cns_expiry_due(&expiry, "x", UNTIL + DAY, UNTIL - 19 * DAY, "", &sentence));
  assert_false(cns_expiry_due(&expiry, "x", 0, UNTIL, "", &sentence));
  /* One that begins late says the narrowest only. */
  expiry = (struct cns_expiry){0};
  assert_true(cns_expiry_due(&expiry, "x", UNTIL, UNTIL - 5 * DAY + 1, "", &sentence));
  assert_int_equal(expiry.said, 7);
  assert_int_equal(cns_days_left(UNTIL, UNTIL - 5 * DAY + 1), 4);
  assert_int_equal(cns_days_left(UNTIL, UNTIL + 1), -1);
}

/* Sessions of the coordinator are by place. */
static void test_only_appends(void **state) {
  assert_true(cns_roster_only_appends(&now, &next));
  assert_true(cns_roster_only_appends(&now, &now));
  assert_false(cns_roster_only_appends(&next, &now));
  next.hospitals[3].index = 6;
  assert_true(cns_roster_only_appends(&now, &next));
  now.hospitals[2].index = 5; /* 1, 2, 5, and then 1, 2, 3, 6 */
  assert_false(cns_roster_only_appends(&now, &next));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_added_renewed_and_revoked, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_older_same_and_forked, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_revoked_is_for_good, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_an_index_is_not_used_twice, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_other_parties, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_only_appends, set_up, tear_down),
      cmocka_unit_test(test_expiry_is_said_once_a_threshold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
