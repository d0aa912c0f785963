/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hospital_store.h"

#include <sqlite3.h>
#include <time.h>

#include "scratch.h"

enum { unmask = 7 };
static struct cns_problem problem;
static struct cns_digest r1, r2, r3, study, parent;

static struct cns_hospital_store *open_named(const char *name) {
  struct cns_hospital_store *store = NULL;
  int error = cns_hospital_store_open(scratch_path(name), scratch_key, &store, &problem);
  if (error) print_error("%s\n", problem.text);
  assert_int_equal(error, 0);
  return store;
}

static struct cns_hospital_store *reopen(struct cns_hospital_store *store, const char *name) {
  cns_hospital_store_free(store);
  return open_named(name);
}

/* The attack: an old round, or two descriptors for one round. */
static void numbers_only_grow(void **state) {
  struct cns_hospital_store *store = open_named("rounds");
  uint64_t round = 0;
  uint32_t attempt = 0;
  struct cns_digest found;
  assert_int_equal(cns_hospital_store_signed_round(store, &study, &round, &attempt, &found),
                   CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 1, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 1, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 1, &r2, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 0, &r2, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 4, 9, &r2, &problem), CNS_ERR_REFUSED);
  store = reopen(store, "rounds");
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 1, &r2, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 2, &r2, &problem), 0);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 5, 1, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 6, 0, &r3, &problem), 0);
  assert_int_equal(cns_hospital_store_signed_round(store, &study, &round, &attempt, &found), 0);
  assert_int_equal(round, 6);
  assert_int_equal(attempt, 0);
  assert_memory_equal(&found, &r3, sizeof(found));
  /* Another study counts for itself. */
  assert_int_equal(cns_hospital_store_sign_round(store, &parent, 1, 0, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, UINT64_MAX, 0, &r1, &problem), CNS_ERR_RANGE);
  cns_hospital_store_free(store);
}

static void expect_message(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                           uint8_t phase, const char *text) {
  uint8_t *bytes = NULL;
  size_t len = 0;
  assert_int_equal(cns_hospital_store_get_message(store, descriptor, phase, &bytes, &len, &problem), 0);
  assert_int_equal(len, strlen(text));
  assert_memory_equal(bytes, text, len);
  free(bytes);
}

/* The attack: a crash, and then a second, different answer. */
static void one_answer_a_phase(void **state) {
  struct cns_hospital_store *store = open_named("messages");
  uint8_t *bytes = NULL;
  size_t len = 0;
  const uint8_t *one = (const uint8_t *)"one", *two = (const uint8_t *)"two";
  assert_int_equal(cns_hospital_store_get_message(store, &r1, 1, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, one, 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, one, 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, two, 3, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, one, 2, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 2, two, 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r2, 1, two, 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r2, 2, NULL, 0, &problem), 0);
  store = reopen(store, "messages");
  expect_message(store, &r1, 1, "one");
  expect_message(store, &r1, 2, "two");
  expect_message(store, &r2, 1, "two");
  expect_message(store, &r2, 2, "");
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, two, 3, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_hospital_store_forget_messages(store, &r2, &problem), 0);
  assert_int_equal(cns_hospital_store_get_message(store, &r1, 1, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, two, 3, &problem), CNS_ERR_EXISTS);
  expect_message(store, &r2, 1, "two");
  assert_int_equal(cns_hospital_store_forget_messages(store, NULL, &problem), 0);
  assert_int_equal(cns_hospital_store_get_message(store, &r2, 1, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_put_message(store, &r2, 1, one, 3, &problem), CNS_ERR_EXISTS);
  assert_int_equal(
      cns_hospital_store_put_message(store, &r3, 1, one, (size_t)CNS_HOSPITAL_STORE_BYTES_MAX + 1, &problem),
      CNS_ERR_LIMIT);
  cns_hospital_store_free(store);
}

/* A backup that runs doesn't keep the agent from answering. */
static void a_reader_is_not_waited_for(void **state) {
  struct cns_hospital_store *store = open_named("snapshot");
  sqlite3 *reader = NULL;
  time_t began = time(NULL);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, (const uint8_t *)"sent", 4, &problem), 0);
  assert_int_equal(sqlite3_open(scratch_path("snapshot"), &reader), SQLITE_OK);
  assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM message", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(cns_hospital_store_forget_messages(store, NULL, &problem), 0);
  for (uint8_t phase = 2; phase < 20; phase++)
    assert_int_equal(cns_hospital_store_put_message(store, &r1, phase, (const uint8_t *)"sent", 4, &problem),
                     0);
  assert_true(time(NULL) - began < 5);
  assert_int_equal(sqlite3_close(reader), SQLITE_OK);
  cns_hospital_store_free(store);
}

static void child_answering(int report_fd) {
  struct cns_hospital_store *store = NULL;
  if (cns_hospital_store_open(scratch_path("killed"), scratch_key, &store, NULL) != 0) _exit(1);
  if (cns_hospital_store_put_message(store, &r1, 1, (const uint8_t *)"sent", 4, NULL) != 0) _exit(1);
  if (cns_hospital_store_spend(store, &parent, &r1, NULL) != 0) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

static void what_returned_zero_survives_a_kill(void **state) {
  scratch_kill_child(child_answering);
  struct cns_hospital_store *store = open_named("killed");
  expect_message(store, &r1, 1, "sent");
  enum cns_update_state update = CNS_UPDATE_UNUSED;
  assert_int_equal(cns_hospital_store_update_state(store, &r1, &update), 0);
  assert_int_equal(update, CNS_UPDATE_SPENT);
  cns_hospital_store_free(store);
}

static void two_agents_cant_share_a_state(void **state) {
  struct cns_hospital_store *store = open_named("shared"), *second = NULL;
  assert_int_equal(cns_hospital_store_open(scratch_path("shared"), scratch_key, &second, &problem),
                   CNS_ERR_STATE);
  assert_non_null(strstr(problem.text, "another hospital agent"));
  cns_hospital_store_free(store);
  uint8_t other[32] = {0};
  assert_int_equal(cns_hospital_store_open(scratch_path("shared"), other, &second, &problem),
                   CNS_ERR_REFUSED);
  store = open_named("shared");
  cns_hospital_store_free(store);
  assert_null(cns_hospital_store_free(NULL));
}

static void consents(void **state) {
  struct cns_hospital_store *store = open_named("consents");
  uint8_t *bytes = NULL;
  size_t len = 0;
  assert_int_equal(cns_hospital_store_get_consent(store, &study, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_put_consent(store, &study, (const uint8_t *)"yes", 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_consent(store, &study, (const uint8_t *)"still yes", 9, &problem),
                   0);
  assert_int_equal(cns_hospital_store_put_consent(store, &study, NULL, 0, &problem), CNS_ERR_LIMIT);
  store = reopen(store, "consents");
  assert_int_equal(cns_hospital_store_get_consent(store, &study, &bytes, &len, &problem), 0);
  assert_memory_equal(bytes, "still yes", 9);
  free(bytes);
  assert_int_equal(cns_hospital_store_get_consent(store, &parent, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_withdraw_consent(store, &study, &problem), 0);
  assert_int_equal(cns_hospital_store_withdraw_consent(store, &study, &problem), 0);
  assert_int_equal(cns_hospital_store_get_consent(store, &study, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  cns_hospital_store_free(store);
}

static enum cns_update_state state_of(struct cns_hospital_store *store, const struct cns_digest *descriptor) {
  enum cns_update_state update = CNS_UPDATE_UNUSED;
  assert_int_equal(cns_hospital_store_update_state(store, descriptor, &update), 0);
  return update;
}

static uint64_t spent(struct cns_hospital_store *store) {
  uint64_t count = 99;
  assert_int_equal(cns_hospital_store_count_spent(store, &parent, &count), 0);
  return count;
}

/* The attack: a second attempt on updates that were spent, or a refund and the
 * sum all the same. */
static void updates_are_spent_once(void **state) {
  struct cns_hospital_store *store = open_named("spent");
  assert_int_equal(state_of(store, &r1), CNS_UPDATE_UNUSED);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_spend(store, &study, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r2, &problem), 0);
  assert_int_equal(spent(store), 2);
  assert_int_equal(cns_hospital_store_refund(store, &r1, &problem), CNS_ERR_STATE);
  assert_int_equal(cns_hospital_store_refund(store, &r3, &problem), CNS_ERR_STATE);
  assert_int_equal(cns_hospital_store_abandon(store, &study, &r1, unmask, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r1, unmask, &problem), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r1, unmask, &problem), 0);
  assert_int_equal(state_of(store, &r1), CNS_UPDATE_ABANDONED);
  assert_int_equal(spent(store), 2); /* charged until t abandons are shown */
  store = reopen(store, "spent");
  assert_int_equal(cns_hospital_store_refund(store, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_refund(store, &r1, &problem), 0);
  assert_int_equal(state_of(store, &r1), CNS_UPDATE_REFUNDED);
  assert_int_equal(spent(store), 1);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), CNS_ERR_REFUSED);
  cns_hospital_store_free(store);
}

static void who_abandons_never_unmasks_and_the_reverse(void **state) {
  struct cns_hospital_store *store = open_named("abandon");
  const uint8_t *share = (const uint8_t *)"share";
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r1, unmask, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, unmask, share, 5, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, unmask + 1, share, 5, &problem), 0);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(spent(store), 0); /* nothing was uploaded */
  assert_int_equal(cns_hospital_store_put_message(store, &r2, unmask, share, 5, &problem), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r2, unmask, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_forget_messages(store, NULL, &problem), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r2, unmask, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, unmask, share, 5, &problem), CNS_ERR_REFUSED);
  cns_hospital_store_free(store);
}

static void versions_only_grow(void **state) {
  struct cns_hospital_store *store = open_named("versions");
  uint64_t version = 0;
  struct cns_digest found;
  assert_int_equal(cns_hospital_store_accepted_version(store, "roster", &version, &found), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 3, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 3, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 3, &r2, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 2, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_check_version(store, "roster", 3, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_check_version(store, "roster", 3, &r2, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_check_version(store, "roster", 2, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_check_version(store, "roster", 9, &r2, &problem),
                   0); /* and isn't kept */
  assert_int_equal(cns_hospital_store_accept_version(store, "policy", 1, &r2, &problem), 0);
  store = reopen(store, "versions");
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 2, &r1, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 4, &r3, &problem), 0);
  assert_int_equal(cns_hospital_store_accepted_version(store, "roster", &version, &found), 0);
  assert_int_equal(version, 4);
  assert_memory_equal(&found, &r3, sizeof(found));
  static const char *const kinds[] = {"", "Roster", "roster ", "abcdefghijklmnop"};
  for (size_t k = 0; k < 4; k++)
    assert_int_equal(cns_hospital_store_accept_version(store, kinds[k], 1, &r1, &problem), CNS_ERR_ARGUMENT);
  cns_hospital_store_free(store);
}

/* The attack: two histories shown to two groups. */
static void the_last_manifest(void **state) {
  struct cns_hospital_store *store = open_named("manifest");
  const uint8_t *one = (const uint8_t *)"one", *two = (const uint8_t *)"two";
  uint64_t round = 0;
  struct cns_digest model;
  uint8_t *bytes = NULL;
  size_t len = 0;
  assert_int_equal(cns_hospital_store_get_manifest(store, &study, &round, &model, &bytes, &len, &problem),
                   CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 3, &r1, one, 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 3, &r1, one, 3, &problem), 0);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 3, &r1, two, 3, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "forked"));
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 3, &r2, one, 3, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 2, &r1, one, 3, &problem), CNS_ERR_REFUSED);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 4, &r2, two, 3, &problem), 0);
  store = reopen(store, "manifest");
  assert_int_equal(cns_hospital_store_get_manifest(store, &study, &round, &model, &bytes, &len, &problem), 0);
  assert_int_equal(round, 4);
  assert_memory_equal(&model, &r2, sizeof(model));
  assert_memory_equal(bytes, two, 3);
  free(bytes);
  cns_hospital_store_free(store);
}

static void edit(const char *name, const char *sql) {
  sqlite3 *sqlite = NULL;
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
}

static void damage_is_told(void **state) {
  struct cns_hospital_store *store = open_named("damage");
  uint8_t *bytes = NULL;
  size_t len = 0;
  uint64_t number = 0;
  uint32_t attempt = 0;
  struct cns_digest digest;
  const uint8_t *text = (const uint8_t *)"words that stay in the house";
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 1, 0, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 1, text, 28, &problem), 0);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 2, text, 28, &problem), 0);
  assert_int_equal(cns_hospital_store_put_consent(store, &study, text, 28, &problem), 0);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 1, &r1, text, 28, &problem), 0);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), 0);
  assert_false(scratch_contains(scratch_path("damage-wal"), "in the house"));
  cns_hospital_store_free(store);
  assert_false(scratch_contains(scratch_path("damage"), "in the house"));
  edit("damage", "UPDATE message SET sealed=(SELECT sealed FROM message WHERE phase=2) WHERE phase=1;"
                 "UPDATE message SET digest=x'00' WHERE phase=2;"
                 "UPDATE signed_round SET attempt=-1; UPDATE consent SET sealed=x'11';"
                 "UPDATE manifest SET round=2; UPDATE spent SET uploaded=7");
  store = open_named("damage");
  assert_int_equal(cns_hospital_store_get_message(store, &r1, 1, &bytes, &len, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_put_message(store, &r1, 2, text, 28, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_signed_round(store, &study, &number, &attempt, &digest),
                   CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 9, 0, &r2, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_get_consent(store, &study, &bytes, &len, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_get_manifest(store, &study, &number, &digest, &bytes, &len, &problem),
                   CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "damaged"));
  cns_hospital_store_free(store);
}

/* A number that is only a little wrong is found too. */
static void a_changed_number_is_told(void **state) {
  struct cns_hospital_store *store = open_named("numbers");
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 9, 0, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 9, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_spend(store, &parent, &r1, &problem), 0);
  assert_int_equal(cns_hospital_store_abandon(store, &parent, &r1, unmask, &problem), 0);
  const uint8_t *text = (const uint8_t *)"manifest";
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 9, &r1, text, 8, &problem), 0);
  cns_hospital_store_free(store);
  edit("numbers",
       "UPDATE signed_round SET round=8; UPDATE accepted SET version=8; UPDATE manifest SET round=8;"
       "UPDATE spent SET refunded=1");
  store = open_named("numbers");
  assert_int_equal(cns_hospital_store_sign_round(store, &study, 9, 0, &r2, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_accept_version(store, "roster", 9, &r2, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_put_manifest(store, &study, 9, &r2, text, 8, &problem), CNS_ERR_FORMAT);
  enum cns_update_state update;
  assert_int_equal(cns_hospital_store_update_state(store, &r1, &update), CNS_ERR_FORMAT);
  assert_int_equal(cns_hospital_store_refund(store, &r1, &problem), CNS_ERR_FORMAT);
  cns_hospital_store_free(store);
}

static int setup(void **state) {
  r1 = scratch_digest(1);
  r2 = scratch_digest(2);
  r3 = scratch_digest(3);
  study = scratch_digest(4);
  parent = scratch_digest(5);
  return scratch_setup(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_only_grow),
      cmocka_unit_test(one_answer_a_phase),
      cmocka_unit_test(a_reader_is_not_waited_for),
      cmocka_unit_test(what_returned_zero_survives_a_kill),
      cmocka_unit_test(two_agents_cant_share_a_state),
      cmocka_unit_test(consents),
      cmocka_unit_test(updates_are_spent_once),
      cmocka_unit_test(who_abandons_never_unmasks_and_the_reverse),
      cmocka_unit_test(versions_only_grow),
      cmocka_unit_test(the_last_manifest),
      cmocka_unit_test(damage_is_told),
      cmocka_unit_test(a_changed_number_is_told),
  };
  return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
