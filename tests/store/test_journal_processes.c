/* SPDX-License-Identifier: Apache-2.0 */
/* The journal when processes die, and when several open it. */
#include <time.h>

#include "store/database.h"

#include "journal_support.h"

/* ---- crash ---- */

static void child_in_transaction(int report_fd) {
  struct cns_journal *journal = NULL;
  if (cns_journal_open(scratch_path("crash"), scratch_key, &journal, NULL) != 0) _exit(1);
  static char large[200000];
  memset(large, 'x', sizeof(large) - 1);
  for (int k = 0; k < 5; k++) {
    if (append_text(journal, 1, 1, 0, "synced") != 0) _exit(1);
    if (cns_journal_sync(journal, NULL) != 0) _exit(1);
  }
  for (int k = 0; k < 40; k++) /* 8 MB: more than SQLite's cache, so it spills */
    if (append_text(journal, 1, 1, 0, large) != 0) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

static void killed_in_a_transaction(void **state) {
  for (int times = 1; times <= 2; times++) {
    scratch_kill_child(child_in_transaction);
    struct cns_journal *journal = open_named("crash");
    struct seen seen = {0};
    assert_int_equal(cns_journal_replay(journal, 0, 0, see, &seen, &problem), 0);
    assert_int_equal(seen.count, 5 * times);
    cns_journal_free(journal);
  }
}

static void child_killed_anywhere(int report_fd) {
  struct cns_journal *journal = NULL;
  if (cns_journal_open(scratch_path("anywhere"), scratch_key, &journal, NULL) != 0) _exit(1);
  uint64_t acknowledged = 0;
  int fd = open(scratch_path("acknowledged"), O_RDWR | O_CREAT, 0600);
  if (fd < 0) _exit(1);
  for (int k = 0;; k++) {
    if (append_text(journal, 1, 1, 0, "message") != 0 || append_text(journal, 1, 1, 0, "message") != 0)
      _exit(1);
    if (cns_journal_sync(journal, NULL) != 0) _exit(1);
    struct cns_digest head;
    cns_journal_head(journal, &head, &acknowledged);
    if (pwrite(fd, &acknowledged, sizeof(acknowledged), 0) != sizeof(acknowledged)) _exit(1);
    if (k == 20 && write(report_fd, "k", 1) != 1) _exit(1);
  }
}

/* Nothing that was acknowledged is lost, and no half transaction is there. */
static void killed_anywhere(void **state) {
  for (int times = 0; times < 5; times++) {
    scratch_kill_child(child_killed_anywhere);
    uint64_t acknowledged = 0, sequence = 0;
    size_t len = 0;
    uint8_t *bytes = scratch_read(scratch_path("acknowledged"), &len);
    memcpy(&acknowledged, bytes, sizeof(acknowledged));
    free(bytes);
    struct cns_journal *journal = open_named("anywhere");
    struct cns_digest head;
    cns_journal_head(journal, &head, &sequence);
    assert_true(sequence >= acknowledged);
    assert_int_equal(sequence % 2, 0);
    cns_journal_free(journal);
  }
}

/* Killed while the file was being made: the leftovers are no obstacle. */
static void killed_while_creating(void **state) {
  scratch_write(scratch_path("half.new"), (const uint8_t *)"rubbish", 7);
  scratch_write(scratch_path("half.new-wal"), (const uint8_t *)"rubbish", 7);
  struct cns_journal *journal = open_named("half");
  cns_journal_free(journal);
  assert_int_not_equal(access(scratch_path("half.new"), F_OK), 0);
  assert_int_not_equal(access(scratch_path("half.new-wal"), F_OK), 0);
}

/* ---- several processes ---- */

static void child_holding(int report_fd) {
  struct cns_journal *journal = NULL;
  if (cns_journal_open(scratch_path("held"), scratch_key, &journal, NULL) != 0) _exit(1);
  struct cns_problem text;
  struct cns_journal *second = NULL;
  /* In one process too. */
  if (cns_journal_open(scratch_path("held"), scratch_key, &second, &text) != CNS_ERR_STATE) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

static void a_second_coordinator_is_refused(void **state) {
  struct cns_journal *journal = open_named("held");
  pid_t child = fork();
  if (child == 0)
    _exit(reopen("held") == CNS_ERR_STATE && strstr(problem.text, "another coordinator") ? 0 : 1);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  cns_journal_free(journal);
  /* The lock goes with the process, however it ends. */
  scratch_kill_child(child_holding);
  assert_int_equal(reopen("held"), 0);
}

static int keep_round(void *context, const struct cns_journal_round *round) {
  struct cns_journal_round *last = context;
  static char text[1000];
  *last = *round;
  snprintf(text, sizeof(text), "%s", round->result ? round->result : "(none)");
  last->result = text;
  return 0;
}

static void a_reader_reads_while_it_is_written(void **state) {
  struct cns_journal *reader = NULL;
  assert_int_equal(cns_journal_open_readonly(scratch_path("read"), scratch_key, &reader, &problem),
                   CNS_ERR_NOT_FOUND);
  struct cns_journal *journal = open_named("read");
  struct cns_journal_round round = {.round = 3, .attempt = 1, .state = CNS_JOURNAL_ROUND_RUNNING};
  round.descriptor = scratch_digest(1);
  assert_int_equal(cns_journal_round_set(journal, &round, &problem), 0);
  assert_int_equal(append_text(journal, 1, 3, 1, "secret words"), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);

  assert_int_equal(cns_journal_open_readonly(scratch_path("read"), scratch_key, &reader, &problem), 0);
  struct cns_journal_round seen = {0};
  assert_int_equal(cns_journal_round_each(reader, 0, keep_round, &seen, &problem), 0);
  assert_int_equal(seen.round, 3);
  assert_string_equal(seen.result, "(none)");

  round.state = CNS_JOURNAL_ROUND_COMPLETED;
  round.result = "{\"auc\":0.99}";
  round.has_head = true;
  cns_journal_head(journal, &round.head, &round.head_sequence);
  memset(round.head_signature.bytes, 9, sizeof(round.head_signature.bytes));
  assert_int_equal(cns_journal_round_set(journal, &round, &problem), 0);
  assert_int_equal(cns_journal_round_each(reader, 0, keep_round, &seen, &problem), 0);
  assert_int_equal(seen.state, CNS_JOURNAL_ROUND_RUNNING); /* not yet synced */
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  assert_int_equal(cns_journal_round_each(reader, 3, keep_round, &seen, &problem), 0);
  assert_int_equal(seen.state, CNS_JOURNAL_ROUND_COMPLETED);
  assert_string_equal(seen.result, "{\"auc\":0.99}");
  assert_memory_equal(&seen.head, &round.head, sizeof(seen.head));
  assert_memory_equal(&seen.head_signature, &round.head_signature, sizeof(seen.head_signature));
  assert_memory_equal(&seen.descriptor, &round.descriptor, sizeof(seen.descriptor));
  expect(reader, 0, 0, "secret words;");
  assert_int_equal(cns_journal_verify(reader, &problem), 0);

  uint64_t last = 0;
  uint32_t attempt = 0;
  assert_int_equal(cns_journal_round_last(reader, &last, &attempt), 0);
  assert_int_equal(last, 3);
  assert_int_equal(attempt, 1);
  assert_int_equal(append_text(reader, 1, 1, 0, "no"), CNS_ERR_STATE);
  assert_int_equal(cns_journal_round_set(reader, &round, &problem), CNS_ERR_STATE);
  assert_int_equal(cns_journal_erase_bodies(reader, 3, 1, 1, &problem), CNS_ERR_STATE);
  cns_journal_free(journal);
  cns_journal_free(reader);
  /* After the daemon has ended too. */
  assert_int_equal(cns_journal_open_readonly(scratch_path("read"), scratch_key, &reader, &problem), 0);
  assert_int_equal(cns_journal_round_each(reader, 0, keep_round, &seen, &problem), 0);
  assert_int_equal(seen.state, CNS_JOURNAL_ROUND_COMPLETED);
  cns_journal_free(reader);
}

static uint64_t now_ms(void) {
  struct timespec now;
  assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* As a backup does, or a `status` that was stopped. */
static sqlite3 *begin_snapshot(const char *name) {
  sqlite3 *sqlite = NULL;
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sqlite, "BEGIN; SELECT count(*) FROM entry", NULL, NULL, NULL), SQLITE_OK);
  return sqlite;
}

static off_t log_bytes(const char *name) {
  char wal[64];
  struct stat status;
  snprintf(wal, sizeof(wal), "%s-wal", name);
  return stat(scratch_path(wal), &status) == 0 ? status.st_size : 0;
}

/* However long it reads; what was erased goes once it has ended. */
static void a_reader_is_not_waited_for(void **state) {
  struct cns_journal *journal = open_named("snapshot");
  assert_int_equal(append_text(journal, 1, 1, 0, "erased"), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  sqlite3 *reader = begin_snapshot("snapshot");
  uint64_t began_ms = now_ms();
  assert_int_equal(cns_journal_erase_bodies(journal, 1, 0, 1, &problem), 0);
  for (int k = 0; k < 50; k++) {
    assert_int_equal(append_text(journal, 1, 2, 0, "goes on"), 0);
    assert_int_equal(cns_journal_sync(journal, &problem), 0);
  }
  assert_true(now_ms() - began_ms < CNS_DATABASE_BUSY_TIMEOUT_MS / 2);
  assert_true(log_bytes("snapshot") > 0);
  assert_int_equal(sqlite3_close(reader), SQLITE_OK);
  while (log_bytes("snapshot") > 0) {
    assert_true(now_ms() - began_ms < 20000);
    usleep(100000);
    assert_int_equal(cns_journal_sync(journal, &problem), 0);
  }
  cns_journal_free(journal);
}

/* Killed while somebody read: the next start empties the log. */
static void child_erasing(int report_fd) {
  struct cns_journal *journal = NULL;
  if (cns_journal_open(scratch_path("left"), scratch_key, &journal, NULL) != 0) _exit(1);
  if (append_text(journal, 1, 1, 0, "erased") != 0 || cns_journal_sync(journal, NULL) != 0) _exit(1);
  sqlite3 *reader = begin_snapshot("left");
  if (!reader || cns_journal_erase_bodies(journal, 1, 0, 1, NULL) != 0) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

static void a_log_that_was_left_is_emptied(void **state) {
  scratch_kill_child(child_erasing);
  assert_true(log_bytes("left") > 0);
  struct cns_journal *journal = open_named("left");
  assert_int_equal(log_bytes("left"), 0);
  cns_journal_free(journal);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(killed_in_a_transaction),
      cmocka_unit_test(killed_anywhere),
      cmocka_unit_test(killed_while_creating),
      cmocka_unit_test(a_second_coordinator_is_refused),
      cmocka_unit_test(a_reader_reads_while_it_is_written),
      cmocka_unit_test(a_reader_is_not_waited_for),
      cmocka_unit_test(a_log_that_was_left_is_emptied),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
