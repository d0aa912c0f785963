/* SPDX-License-Identifier: Apache-2.0 */
#include "store/journal.h"

#include <sqlite3.h>

#include "scratch.h"

static struct cns_problem problem;

static struct cns_journal *open_named(const char *name) {
  struct cns_journal *journal = NULL;
  int error = cns_journal_open(scratch_path(name), scratch_key, &journal, &problem);
  if (error) print_error("%s: %s\n", cns_error_name(error), problem.text);
  assert_int_equal(error, 0);
  return journal;
}

static int append_text(struct cns_journal *journal, uint8_t kind, uint64_t round, uint32_t attempt,
                       const char *text) {
  struct cns_journal_entry entry = {.kind = kind,
                                    .round = round,
                                    .attempt = attempt,
                                    .phase = 3,
                                    .index = 17,
                                    .body = (const uint8_t *)text,
                                    .body_len = strlen(text)};
  return cns_journal_append(journal, &entry, &problem);
}

struct seen {
  size_t count;
  size_t erased;
  uint64_t last_sequence;
  char text[4096];
  int stop_at;
};

static int see(void *context, const struct cns_journal_entry *entry) {
  struct seen *seen = context;
  assert_true(entry->sequence > seen->last_sequence);
  seen->last_sequence = entry->sequence;
  assert_int_equal(entry->phase, 3);
  assert_int_equal(entry->index, 17);
  if (entry->body && entry->body_len < 64) strncat(seen->text, (const char *)entry->body, entry->body_len);
  strcat(seen->text, ";");
  seen->erased += entry->erased;
  seen->count++;
  return seen->stop_at && (int)seen->count == seen->stop_at ? 42 : 0;
}

static void expect(struct cns_journal *journal, uint64_t round, uint32_t attempt, const char *text) {
  struct seen seen = {0};
  assert_int_equal(cns_journal_replay(journal, round, attempt, see, &seen, &problem), 0);
  assert_string_equal(seen.text, text);
}

static void appends_survive_and_replay_in_order(void **state) {
  struct cns_journal *journal = open_named("a");
  struct cns_digest head, again;
  uint64_t sequence = 9;
  cns_journal_head(journal, &head, &sequence);
  assert_int_equal(sequence, 0);
  assert_int_equal(append_text(journal, 1, 1, 0, "one"), 0);
  assert_int_equal(append_text(journal, 2, 1, 1, ""), 0);
  assert_int_equal(append_text(journal, 1, 2, 0, "three"), 0);
  assert_int_equal(cns_journal_pending(journal), 3);
  expect(journal, 0, 0, "one;;three;");
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  assert_int_equal(cns_journal_pending(journal), 0);
  cns_journal_head(journal, &head, &sequence);
  assert_int_equal(sequence, 3);
  cns_journal_free(journal);

  journal = open_named("a");
  cns_journal_head(journal, &again, &sequence);
  assert_int_equal(sequence, 3);
  assert_memory_equal(&head, &again, sizeof(head));
  expect(journal, 0, 0, "one;;three;");
  expect(journal, 1, 1, ";three;");
  expect(journal, 2, 0, "three;");
  expect(journal, 3, 0, "");
  struct seen seen = {.stop_at = 2};
  assert_int_equal(cns_journal_replay(journal, 0, 0, see, &seen, &problem), 42);
  assert_int_equal(seen.count, 2);
  cns_journal_free(journal);
  assert_null(cns_journal_free(NULL));
}

static void chain_is_the_documented_hash(void **state) {
  struct cns_journal *journal = open_named("chain");
  struct cns_digest body, previous = {{0}}, expected, head;
  uint64_t sequence = 0;
  for (int k = 0; k < 2; k++) {
    assert_int_equal(append_text(journal, 5, 7, 2, "body"), 0);
    cns_hash_once("consilium/1 journal body", "body", 4, &body);
    /* kind 5, round 7, attempt 2, phase 3, index 17, little-endian */
    static const uint8_t header[] = {5, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 17, 0};
    crypto_generichash_state hash;
    const char *context = "consilium/1 journal chain";
    crypto_generichash_init(&hash, (const uint8_t *)context, strlen(context), 32);
    crypto_generichash_update(&hash, previous.bytes, 32);
    crypto_generichash_update(&hash, header, sizeof(header));
    crypto_generichash_update(&hash, body.bytes, 32);
    crypto_generichash_final(&hash, expected.bytes, 32);
    cns_journal_head(journal, &head, &sequence);
    assert_memory_equal(&head, &expected, sizeof(head));
    previous = expected;
  }
  cns_journal_free(journal);
}

static void what_was_not_synced_is_gone(void **state) {
  struct cns_journal *journal = open_named("unsynced");
  assert_int_equal(append_text(journal, 1, 1, 0, "kept"), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  assert_int_equal(append_text(journal, 1, 1, 0, "lost"), 0);
  cns_journal_free(journal);
  journal = open_named("unsynced");
  expect(journal, 0, 0, "kept;");
  cns_journal_free(journal);
}

static void bad_arguments_are_refused(void **state) {
  struct cns_journal *journal = open_named("arguments");
  struct cns_journal_entry entry = {.kind = CNS_JOURNAL_KIND_MAX + 1};
  assert_int_equal(cns_journal_append(journal, &entry, &problem), CNS_ERR_ARGUMENT);
  entry = (struct cns_journal_entry){.round = UINT64_MAX};
  assert_int_equal(cns_journal_append(journal, &entry, &problem), CNS_ERR_ARGUMENT);
  entry = (struct cns_journal_entry){.body_len = 1};
  assert_int_equal(cns_journal_append(journal, &entry, &problem), CNS_ERR_ARGUMENT);
  entry = (struct cns_journal_entry){.body = scratch_key, .body_len = (size_t)CNS_JOURNAL_BODY_BYTES_MAX + 1};
  assert_int_equal(cns_journal_append(journal, &entry, &problem), CNS_ERR_LIMIT);
  assert_int_equal(cns_journal_erase_bodies(journal, 1, 0, 255, &problem), CNS_ERR_ARGUMENT);
  expect(journal, 0, 0, "");
  cns_journal_free(journal);
}

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

/* ---- damage ---- */

static void make_full(const char *name) {
  struct cns_journal *journal = open_named(name);
  for (int k = 0; k < 30; k++)
    assert_int_equal(append_text(journal, 1, (uint64_t)k / 10, 0, "some message"), 0);
  struct cns_journal_round round = {.round = 1, .state = CNS_JOURNAL_ROUND_RUNNING, .result = "{}"};
  assert_int_equal(cns_journal_round_set(journal, &round, &problem), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  cns_journal_free(journal); /* the last connection: all is in the one file */
}

static int reopen(const char *name) {
  struct cns_journal *journal = NULL;
  problem.text[0] = 0;
  int error = cns_journal_open(scratch_path(name), scratch_key, &journal, &problem);
  cns_journal_free(journal);
  if (error) assert_true(strlen(problem.text) > 20);
  return error;
}

/* Every byte of the file is flipped in turn: it is refused with a sentence, or
 * the byte meant nothing and every entry is still there. Never a crash, never
 * a silent change. */
static void every_flipped_byte(void **state) {
  make_full("flip");
  size_t len = 0;
  uint8_t *good = scratch_read(scratch_path("flip"), &len);
  unsigned refused = 0, tried = 0;
  for (size_t at = 0; at < len; at += 1 + at % 37) {
    uint8_t saved = good[at];
    good[at] ^= 0x10;
    scratch_write(scratch_path("flip"), good, len);
    good[at] = saved;
    struct cns_journal *journal = NULL;
    int error = cns_journal_open(scratch_path("flip"), scratch_key, &journal, &problem);
    tried++;
    refused += error != 0;
    if (!error) {
      struct seen seen = {0};
      assert_int_equal(cns_journal_replay(journal, 0, 0, see, &seen, &problem), 0);
      if (seen.count != 30) print_error("byte %zu\n", at);
      assert_int_equal(seen.count, 30);
      cns_journal_free(journal);
    }
  }
  free(good);
  assert_true(refused > tried / 5);
}

static void edit(const char *name, const char *sql) {
  sqlite3 *sqlite = NULL;
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
}

static void edits_are_found(void **state) {
  static const struct {
    const char *sql, *says;
  } edits[] = {
      {"DELETE FROM body WHERE sequence=7; DELETE FROM entry WHERE sequence=7", "entry 7"},
      {"DELETE FROM entry WHERE sequence=1", "entry 1"},
      {"DELETE FROM body WHERE sequence=9", "entry 9"},
      {"UPDATE entry SET phase=4 WHERE sequence=12", "entry 12"},
      {"UPDATE entry SET sender=18 WHERE sequence=12", "entry 12"},
      {"UPDATE entry SET round=-1 WHERE sequence=12", "entry 12"},
      {"UPDATE entry SET kind='x' WHERE sequence=12", "entry 12"},
      {"UPDATE entry SET body_digest=x'00' WHERE sequence=12", "entry 12"},
      {"UPDATE entry SET body_bytes=3 WHERE sequence=12", "entry 12"},
      {"UPDATE body SET sealed=(SELECT sealed FROM body WHERE sequence=3) WHERE sequence=4", "entry 4"},
      {"UPDATE body SET sealed=x'0011' WHERE sequence=4", "entry 4"},
      {"UPDATE round SET state=2", "round 1"},
      {"UPDATE round SET descriptor=zeroblob(31)", "round"},
      {"PRAGMA user_version=2", "format 2"},
      {"PRAGMA application_id=2", "not a journal"},
      {"DELETE FROM key_check", "damaged"},
      {"DROP TABLE body", "damaged"},
  };
  for (size_t k = 0; k < sizeof(edits) / sizeof(edits[0]); k++) {
    char name[16];
    snprintf(name, sizeof(name), "edit%zu", k);
    make_full(name);
    assert_int_equal(reopen(name), 0);
    edit(name, edits[k].sql);
    int error = reopen(name);
    if (!error || !strstr(problem.text, edits[k].says))
      print_error("%s: %s %s\n", edits[k].sql, cns_error_name(error), problem.text);
    assert_int_not_equal(error, 0);
    assert_non_null(strstr(problem.text, edits[k].says));
  }
}

static void a_cut_tail_is_found_against_a_rounds_head(void **state) {
  struct cns_journal *journal = open_named("tail");
  for (int k = 0; k < 4; k++)
    assert_int_equal(append_text(journal, 1, 1, 0, "message"), 0);
  struct cns_journal_round round = {.round = 1, .state = CNS_JOURNAL_ROUND_COMPLETED, .has_head = true};
  cns_journal_head(journal, &round.head, &round.head_sequence);
  assert_int_equal(cns_journal_round_set(journal, &round, &problem), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  cns_journal_free(journal);
  assert_int_equal(reopen("tail"), 0);
  edit("tail", "DELETE FROM body WHERE sequence=4; DELETE FROM entry WHERE sequence=4");
  assert_int_equal(reopen("tail"), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "entry 4"));
}

static void foreign_files_are_refused(void **state) {
  scratch_write(scratch_path("empty"), NULL, 0);
  assert_int_equal(reopen("empty"), CNS_ERR_FORMAT);
  scratch_write(scratch_path("text"), (const uint8_t *)"hello, this is a text\n", 22);
  assert_int_equal(reopen("text"), CNS_ERR_FORMAT);
  make_full("short");
  assert_int_equal(truncate(scratch_path("short"), 9000), 0);
  assert_int_equal(reopen("short"), CNS_ERR_FORMAT);
  assert_int_equal(mkdir(scratch_path("folder"), 0700), 0);
  assert_int_equal(reopen("folder"), CNS_ERR_FORMAT);
  assert_int_equal(reopen("missing/journal"), CNS_ERR_NOT_FOUND);
}

static void another_key_is_refused(void **state) {
  make_full("key");
  uint8_t other[32] = {1};
  struct cns_journal *journal = NULL;
  assert_int_equal(cns_journal_open(scratch_path("key"), other, &journal, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "another key"));
  assert_int_equal(cns_journal_open_readonly(scratch_path("key"), other, &journal, &problem),
                   CNS_ERR_REFUSED);
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

/* ---- at rest ---- */

static void nothing_lies_in_the_clear(void **state) {
  struct cns_journal *journal = open_named("clear");
  assert_int_equal(append_text(journal, 1, 1, 0, "a body that nobody else may read"), 0);
  struct cns_journal_round round = {
      .round = 1, .state = CNS_JOURNAL_ROUND_RUNNING, .result = "a line that nobody else may read"};
  assert_int_equal(cns_journal_round_set(journal, &round, &problem), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  assert_false(scratch_contains(scratch_path("clear"), "nobody else"));
  assert_false(scratch_contains(scratch_path("clear-wal"), "nobody else"));
  struct stat status;
  assert_int_equal(stat(scratch_path("clear"), &status), 0);
  assert_int_equal(status.st_mode & 0777, 0600);
  assert_int_equal(stat(scratch_path("clear-wal"), &status), 0);
  assert_int_equal(status.st_mode & 0777, 0600);
  cns_journal_free(journal);
}

static bool file_holds(const char *name, const uint8_t *bytes, size_t len) {
  if (access(scratch_path(name), F_OK) != 0) return false;
  size_t file_len = 0;
  uint8_t *data = scratch_read(scratch_path(name), &file_len);
  bool found = memmem(data, file_len, bytes, len) != NULL;
  free(data);
  return found;
}

static void erased_bodies_are_gone_and_the_chain_stands(void **state) {
  struct cns_journal *journal = open_named("erase");
  assert_int_equal(append_text(journal, 1, 1, 0, "one"), 0);
  assert_int_equal(append_text(journal, 2, 1, 0, "two"), 0);
  assert_int_equal(append_text(journal, 1, 1, 1, "three"), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  sqlite3 *sqlite = NULL;
  sqlite3_stmt *stmt = NULL;
  uint8_t sealed[20];
  assert_int_equal(sqlite3_open(scratch_path("erase"), &sqlite), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(sqlite, "SELECT sealed FROM body WHERE sequence=1", -1, &stmt, NULL),
                   SQLITE_OK);
  assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
  memcpy(sealed, sqlite3_column_blob(stmt, 0), sizeof(sealed));
  sqlite3_finalize(stmt);
  sqlite3_close(sqlite);
  assert_true(file_holds("erase-wal", sealed, sizeof(sealed)));

  assert_int_equal(cns_journal_erase_bodies(journal, 1, 0, 1, &problem), 0);
  assert_false(file_holds("erase", sealed, sizeof(sealed)));
  assert_false(file_holds("erase-wal", sealed, sizeof(sealed)));
  struct cns_digest head, again;
  uint64_t sequence = 0, unchanged = 0;
  cns_journal_head(journal, &head, &sequence);
  assert_int_equal(cns_journal_erase_bodies(journal, 1, 0, 1, &problem), 0); /* nothing left to do */
  cns_journal_head(journal, &again, &unchanged);
  assert_int_equal(sequence, unchanged);
  cns_journal_free(journal);

  journal = open_named("erase");
  struct seen seen = {0};
  assert_int_equal(cns_journal_replay(journal, 0, 0, see, &seen, &problem), 0);
  assert_string_equal(seen.text, ";two;three;");
  assert_int_equal(seen.erased, 1);
  assert_int_equal(append_text(journal, 1, 1, 0, "later"), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  cns_journal_free(journal);
  /* The erasure before it does not cover an entry that came after. */
  edit("erase", "DELETE FROM body WHERE sequence=5");
  assert_int_equal(reopen("erase"), CNS_ERR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(appends_survive_and_replay_in_order),
      cmocka_unit_test(chain_is_the_documented_hash),
      cmocka_unit_test(what_was_not_synced_is_gone),
      cmocka_unit_test(bad_arguments_are_refused),
      cmocka_unit_test(killed_in_a_transaction),
      cmocka_unit_test(killed_anywhere),
      cmocka_unit_test(killed_while_creating),
      cmocka_unit_test(every_flipped_byte),
      cmocka_unit_test(edits_are_found),
      cmocka_unit_test(a_cut_tail_is_found_against_a_rounds_head),
      cmocka_unit_test(foreign_files_are_refused),
      cmocka_unit_test(another_key_is_refused),
      cmocka_unit_test(a_second_coordinator_is_refused),
      cmocka_unit_test(a_reader_reads_while_it_is_written),
      cmocka_unit_test(nothing_lies_in_the_clear),
      cmocka_unit_test(erased_bodies_are_gone_and_the_chain_stands),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
