/* SPDX-License-Identifier: Apache-2.0 */
#include "store/journal.h"

#include "journal_support.h"

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

/* Every byte of the file is flipped in turn: it is refused with a sentence, or
 * the byte meant nothing and every entry is still there. Never a crash, never
 * a silent change. */
static void every_flipped_byte(void **state) {
  make_full("flip");
  size_t len = 0;
  uint8_t *good = scratch_read(scratch_path("flip"), &len);
  unsigned refused = 0, tried = 0;
  for (size_t at = 0; at < len; at += 1 + at % 97) {
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
      cmocka_unit_test(every_flipped_byte),
      cmocka_unit_test(edits_are_found),
      cmocka_unit_test(a_cut_tail_is_found_against_a_rounds_head),
      cmocka_unit_test(foreign_files_are_refused),
      cmocka_unit_test(another_key_is_refused),
      cmocka_unit_test(nothing_lies_in_the_clear),
      cmocka_unit_test(erased_bodies_are_gone_and_the_chain_stands),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
