/* SPDX-License-Identifier: Apache-2.0 */
/* A full ledger: what is under way can always be brought to its end, and whoever announces rounds
 * and drops them can't fill it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "store/ledger_internal.h"

#include "ledger_support.h"

static void what_is_under_way_has_room(void **state) {
  (void)state;
  struct cns_ledger *ledger = open_named("full.sqlite");
  ledger->entries_max = 10;
  assert_int_equal(reserve(ledger, 1), 0); /* 1 entry, 2 to come */
  assert_int_equal(charge(ledger, 1), 0);  /* 2, 1 to come */
  assert_int_equal(reserve(ledger, 2), 0); /* 3, 3 to come */
  assert_int_equal(reserve(ledger, 3), 0); /* 4, 5 to come */
  assert_int_equal(reserve(ledger, 4), CNS_ERR_LIMIT);
  assert_non_null(strstr(problem.text, "is full"));
  assert_int_equal(reserve(ledger, 3), 0); /* on record already */
  assert_int_equal(cancel(ledger, 3), 0);  /* 5, 3 to come */
  assert_int_equal(reserve(ledger, 4), CNS_ERR_LIMIT);
  assert_int_equal(charge(ledger, 2), 0);
  assert_int_equal(refund(ledger, 1, CNS_LEDGER_EVERYONE), 0);
  assert_int_equal(release(ledger, 2), 0); /* 8 entries, none to come */
  assert_int_equal(reserve(ledger, 4), CNS_ERR_LIMIT);
  assert_int_equal(count_costs(ledger, NULL, CNS_LEDGER_READERS, 0), 1);
  cns_ledger_free(ledger);
}

static void announced_and_dropped_again_and_again(void **state) {
  (void)state;
  struct cns_ledger *ledger = open_named("dropped.sqlite");
  ledger->cancelled_max = 3;
  for (uint64_t number = 1; number <= 3; number++) {
    assert_int_equal(reserve(ledger, number), 0);
    assert_int_equal(cancel(ledger, number), 0);
  }
  assert_int_equal(reserve(ledger, 4), CNS_ERR_LIMIT);
  assert_non_null(strstr(problem.text, "came to nothing"));
  assert_int_equal(reserve_at(ledger, &study_b, 4, JANUARY), 0); /* another study's is free */
  cns_ledger_free(ledger);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_under_way_has_room),
      cmocka_unit_test(announced_and_dropped_again_and_again),
  };
  return cmocka_run_group_tests(tests, ledger_setup, ledger_teardown);
}
