/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital's record has of audits: revealed numbers are counted once,
 * with the answer, and for ever. */
#include "store/hospital_store.h"

#include <sqlite3.h>

#include "scratch.h"

enum { audit = 5, unmask = 7, dispute = 10, forfeit = 11 };
static struct cns_problem problem;
static struct cns_digest r1, r2, r3, study, parent, later;
static const uint8_t *const words = (const uint8_t *)"numbers";

static struct cns_hospital_store *open_named(const char *name) {
  struct cns_hospital_store *store = NULL;
  int error = cns_hospital_store_open(scratch_path(name), scratch_key, &store, &problem);
  if (error) print_error("%s\n", problem.text);
  assert_int_equal(error, 0);
  return store;
}

static void enter(struct cns_hospital_store *store, const struct cns_digest *of,
                  const struct cns_digest *round) {
  assert_int_equal(cns_hospital_store_enter_audit(store, &study, of, round, &problem), 0);
}

static int put(struct cns_hospital_store *store, const struct cns_digest *round, uint64_t numbers) {
  return cns_hospital_store_put_audit(store, round, audit, numbers, words, 7, &problem);
}

static void expect(struct cns_hospital_store *store, const struct cns_digest *of, uint64_t numbers,
                   uint64_t answered, bool entered) {
  struct cns_audit_record record;
  assert_int_equal(cns_hospital_store_audits(store, &study, of, &record, &problem), 0);
  assert_int_equal(record.numbers, numbers);
  assert_int_equal(record.answered, answered);
  assert_int_equal(record.entered, entered);
}

static void each_audit_is_counted_once(void **state) {
  struct cns_hospital_store *store = open_named("once");
  uint8_t *bytes = NULL;
  size_t len = 0;
  expect(store, &parent, 0, 0, false);
  assert_int_equal(put(store, &r1, 256), CNS_ERR_STATE); /* nothing was uploaded */
  enter(store, &parent, &r1);
  expect(store, &parent, 0, 0, true);
  assert_int_equal(put(store, &r1, 256), 0);
  assert_int_equal(put(store, &r1, 256), 0); /* the same answer, over another link */
  enter(store, &parent, &r1);
  expect(store, &parent, 256, 1, true);
  assert_int_equal(cns_hospital_store_put_audit(store, &r1, audit, 256, words, 6, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_hospital_store_enter_audit(store, &study, &later, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_enter_audit(store, &later, &parent, &r1, &problem), CNS_ERR_REFUSED);
  cns_hospital_store_free(store);
  store = open_named("once");
  assert_int_equal(put(store, &r1, 256), 0);
  enter(store, &parent, &r2);
  assert_int_equal(put(store, &r2, 256), 0);
  enter(store, &later, &r3);
  expect(store, &parent, 512, 2, true);
  expect(store, &later, 512, 0, true);
  expect(store, &r1, 512, 0, false);
  assert_int_equal(cns_hospital_store_get_message(store, &r1, audit, &bytes, &len, &problem), 0);
  assert_int_equal(len, 7);
  assert_memory_equal(bytes, words, 7);
  free(bytes);
  assert_int_equal(cns_hospital_store_forget_messages(store, NULL, &problem), 0);
  assert_int_equal(put(store, &r1, 256), 0); /* of forgotten bytes the digest is left */
  expect(store, &parent, 512, 2, true);
  cns_hospital_store_free(store);
}

/* The attack: an audit whose round is abandoned, again and again. */
static void a_refund_gives_no_numbers_back(void **state) {
  struct cns_hospital_store *store = open_named("refund");
  uint64_t spent = 0;
  enter(store, &parent, &r1);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), 0);
  assert_int_equal(put(store, &r1, 128), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r1, unmask, &problem), 0);
  assert_int_equal(cns_hospital_store_refund(store, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_count_spent(store, &parent, &spent), 0);
  assert_int_equal(spent, 0);
  expect(store, &parent, 128, 1, true);
  cns_hospital_store_free(store);
}

static void an_abandoned_round_says_nothing_more(void **state) {
  static const uint8_t phases[] = {audit, dispute, unmask, forfeit, forfeit + 1, forfeit + 63};
  struct cns_hospital_store *store = open_named("silent");
  enter(store, &parent, &r1);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r1, unmask, &problem), 0);
  assert_int_equal(put(store, &r1, 128), CNS_ERR_REFUSED);
  expect(store, &parent, 0, 0, true);
  for (size_t k = 0; k < sizeof(phases); k++)
    assert_int_equal(cns_hospital_store_put_message(store, &r1, phases[k], words, 7, &problem),
                     CNS_ERR_REFUSED);
  /* And the reverse: a share of a forfeit is released, without one of phase unmask. */
  assert_int_equal(cns_hospital_store_put_message(store, &r2, forfeit + 1, words, 7, &problem), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r2, unmask, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_put_message(store, &r3, dispute, words, 7, &problem), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r3, unmask, &problem), 0);
  cns_hospital_store_free(store);
}

static void child_answering(int report_fd) {
  struct cns_hospital_store *store = NULL;
  if (cns_hospital_store_open(scratch_path("killed"), scratch_key, &store, NULL) != 0) _exit(1);
  if (cns_hospital_store_enter_audit(store, &study, &parent, &r1, NULL) != 0) _exit(1);
  if (cns_hospital_store_put_audit(store, &r1, audit, 256, words, 7, NULL) != 0) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

static void what_was_counted_survives_a_kill(void **state) {
  scratch_kill_child(child_answering);
  struct cns_hospital_store *store = open_named("killed");
  expect(store, &parent, 256, 1, true);
  assert_int_equal(put(store, &r1, 256), 0);
  expect(store, &parent, 256, 1, true);
  cns_hospital_store_free(store);
}

static void edit(const char *name, const char *sql) {
  sqlite3 *sqlite = NULL;
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
}

static void a_smaller_number_is_told(void **state) {
  struct cns_hospital_store *store = open_named("damage");
  struct cns_audit_record record;
  enter(store, &parent, &r1);
  enter(store, &parent, &r2);
  assert_int_equal(put(store, &r1, 256), 0);
  cns_hospital_store_free(store);
  edit("damage", "UPDATE audit SET numbers=128 WHERE numbers=256");
  store = open_named("damage");
  assert_int_equal(cns_hospital_store_audits(store, &study, &parent, &record, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "damaged"));
  assert_int_equal(cns_hospital_store_enter_audit(store, &study, &parent, &r1, &problem), CNS_ERR_FORMAT);
  assert_int_equal(put(store, &r1, 256), CNS_ERR_FORMAT);
  cns_hospital_store_free(store);
}

/* As version 1 left it: what is in it stays, and audits are counted from here on. */
static void a_record_without_audits_is_brought_up(void **state) {
  struct cns_hospital_store *store = open_named("old"), *readonly = NULL;
  enum cns_update_state update = CNS_UPDATE_UNUSED;
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), 0);
  cns_hospital_store_free(store);
  edit("old", "DROP TABLE audit; PRAGMA user_version=1");
  assert_int_equal(cns_hospital_store_open_readonly(scratch_path("old"), scratch_key, &readonly, &problem),
                   0);
  expect(readonly, &parent, 0, 0, false);
  cns_hospital_store_free(readonly);
  for (int opened = 0; opened < 2; opened++) {
    store = open_named("old");
    assert_int_equal(cns_hospital_store_update_state(store, &r1, &update), 0);
    assert_int_equal(update, CNS_UPDATE_SPENT);
    enter(store, &parent, &r1);
    assert_int_equal(put(store, &r1, 256), 0);
    expect(store, &parent, 256, 1, true);
    cns_hospital_store_free(store);
  }
  edit("old", "PRAGMA user_version=3");
  assert_int_equal(cns_hospital_store_open(scratch_path("old"), scratch_key, &store, &problem),
                   CNS_ERR_VERSION);
  edit("old", "PRAGMA user_version=0");
  assert_int_equal(cns_hospital_store_open(scratch_path("old"), scratch_key, &store, &problem),
                   CNS_ERR_VERSION);
}

static int setup(void **state) {
  r1 = scratch_digest(1);
  r2 = scratch_digest(2);
  r3 = scratch_digest(3);
  study = scratch_digest(4);
  parent = scratch_digest(5);
  later = scratch_digest(6);
  return scratch_setup(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_audit_is_counted_once),
      cmocka_unit_test(a_refund_gives_no_numbers_back),
      cmocka_unit_test(an_abandoned_round_says_nothing_more),
      cmocka_unit_test(what_was_counted_survives_a_kill),
      cmocka_unit_test(a_smaller_number_is_told),
      cmocka_unit_test(a_record_without_audits_is_brought_up),
  };
  return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
