/* SPDX-License-Identifier: Apache-2.0 */
/* A privacy ledger whose file was changed: which changes are told, by what, and the one
 * that only a witness can tell. */
#include "ledger_support.h"

/* The sanitizers' builds are ten times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_BUILD 1
#else
#define SLOW_BUILD 0
#endif

static void edit(const char *name, const char *sql) {
  sqlite3 *sqlite = NULL;
  char *message = NULL;
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  if (sqlite3_exec(sqlite, sql, NULL, NULL, &message) != SQLITE_OK) fail_msg("%s: %s", sql, message);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
}

/* As somebody would who knows SQLite: the triggers out of the way, and back after. */
static void edit_behind_triggers(const char *name, const char *sql) {
  sqlite3 *sqlite = NULL;
  sqlite3_stmt *stmt = NULL;
  char *drop = sqlite3_mprintf(""), *restore = sqlite3_mprintf("");
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  assert_int_equal(
      sqlite3_prepare_v2(sqlite, "SELECT name, sql FROM sqlite_master WHERE type='trigger'", -1, &stmt, NULL),
      SQLITE_OK);
  while (sqlite3_step(stmt) == SQLITE_ROW) {
    drop = sqlite3_mprintf("%zDROP TRIGGER %s;", drop, sqlite3_column_text(stmt, 0));
    restore = sqlite3_mprintf("%z%s;", restore, sqlite3_column_text(stmt, 1));
  }
  sqlite3_finalize(stmt);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
  edit(name, drop);
  edit(name, sql);
  edit(name, restore);
  sqlite3_free(drop);
  sqlite3_free(restore);
}

static void expect_damaged(const char *name, const char *words) {
  struct cns_ledger *ledger = NULL;
  int error = try_open(name, &ledger);
  if (error != CNS_ERR_FORMAT || !strstr(problem.text, words))
    print_error("%s: %s: %s\n", name, cns_error_name(error), problem.text);
  assert_int_equal(error, CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, words));
  assert_int_equal(cns_ledger_open_readonly(scratch_path(name), cns_identity_get_public(owner), &subject,
                                            &ledger, &problem),
                   CNS_ERR_FORMAT);
}

static void edits_are_told_and_the_entry_is_named(void **state) {
  static const struct {
    const char *sql, *words;
  } edits[] = {
      {"DELETE FROM entry WHERE sequence=3", "entry 3 of this privacy ledger is missing"},
      {"DELETE FROM entry WHERE sequence=1", "entry 1 of this privacy ledger is missing"},
      {"DELETE FROM entry WHERE sequence<4", "entry 1 of this privacy ledger is missing"},
      {"UPDATE entry SET sequence=sequence-1000", "entry 1 of this privacy ledger is not in its place"},
      {"UPDATE entry SET sequence=0 WHERE sequence=1", "entry 1 of this privacy ledger is not in its place"},
      /* The rest moved up. */
      {"DELETE FROM entry WHERE sequence=3; UPDATE entry SET sequence=sequence-1 WHERE sequence>3",
       "entry 3 of this privacy ledger is not in its place"},
      {"UPDATE entry SET sequence=100 WHERE sequence=3; UPDATE entry SET sequence=3 WHERE sequence=5;"
       "UPDATE entry SET sequence=5 WHERE sequence=100",
       "entry 3 of this privacy ledger is not in its place"},
      {"UPDATE entry SET body=(SELECT body FROM entry WHERE sequence=4) WHERE sequence=3",
       "entry 3 of this privacy ledger was changed"},
      {"UPDATE entry SET body=substr(body,1,100) WHERE sequence=2",
       "entry 2 of this privacy ledger was changed"},
      {"UPDATE entry SET body=zeroblob(100000) WHERE sequence=2",
       "entry 2 of this privacy ledger is damaged"},
      {"UPDATE entry SET body=hex(body) WHERE sequence=2", "entry 2 of this privacy ledger is damaged"},
      {"UPDATE entry SET digest=x'00' WHERE sequence=6", "entry 6 of this privacy ledger is damaged"},
      {"UPDATE entry SET signature=zeroblob(64) WHERE sequence=7",
       "entry 7 of this privacy ledger is not signed by the owner"},
      {"UPDATE entry SET signature=x'' WHERE sequence=7", "entry 7 of this privacy ledger has no signature"},
      {"UPDATE entry SET signature=(SELECT signature FROM entry WHERE sequence=6) WHERE sequence=7",
       "entry 7 of this privacy ledger is not signed by the owner"},
      {"INSERT INTO entry SELECT 8, body, digest, signature FROM entry WHERE sequence=7",
       "entry 8 of this privacy ledger is not in its place"},
  };
  for (size_t k = 0; k < sizeof(edits) / sizeof(edits[0]); k++) {
    char name[32];
    snprintf(name, sizeof(name), "edit-%zu", k);
    make_seven(name);
    edit_behind_triggers(name, edits[k].sql);
    expect_damaged(name, edits[k].words);
  }
}

static void changed_tables_are_told(void **state) {
  static const char *const edits[] = {
      "DROP TRIGGER entry_stays",
      /* An entry would vanish without a word. */
      "CREATE TRIGGER swallow BEFORE INSERT ON entry BEGIN SELECT RAISE(IGNORE); END",
      "CREATE INDEX more ON witness(sequence)",
      "DROP TABLE witness",
  };
  for (size_t k = 0; k < sizeof(edits) / sizeof(edits[0]); k++) {
    char name[32];
    snprintf(name, sizeof(name), "tables-%zu", k);
    make_seven(name);
    edit(name, edits[k]);
    expect_damaged(name, "the tables of this privacy ledger were changed");
  }
}

static void nothing_is_changed_by_mistake(void **state) {
  static const char *const edits[] = {
      "DELETE FROM entry WHERE sequence=7",
      "UPDATE entry SET sequence=9 WHERE sequence=7",
      "INSERT OR REPLACE INTO entry SELECT sequence, body, digest, signature FROM entry WHERE sequence=7",
      "INSERT OR REPLACE INTO witness SELECT owner, subject, 1, head FROM witness",
      "DELETE FROM witness",
      "UPDATE witness SET sequence=1",
  };
  struct cns_ledger *of_other = NULL;
  sqlite3 *sqlite = NULL;
  make_seven("triggers");
  assert_int_equal(cns_ledger_open(scratch_path("of-other"), other, &subject, &of_other, &problem), 0);
  struct cns_ledger_round round = make_round(&study_a, 1);
  assert_int_equal(cns_ledger_reserve(of_other, &round, NULL, 0, JANUARY, NULL, &problem), 0);
  struct cns_ledger_head head = head_of(of_other);
  struct cns_ledger *ledger = open_named("triggers");
  assert_int_equal(cns_ledger_accept_head(ledger, &head, &problem), 0);
  cns_ledger_free(ledger);
  cns_ledger_free(of_other);
  assert_int_equal(sqlite3_open(scratch_path("triggers"), &sqlite), SQLITE_OK);
  for (size_t k = 0; k < sizeof(edits) / sizeof(edits[0]); k++)
    assert_int_equal(sqlite3_exec(sqlite, edits[k], NULL, NULL, NULL), SQLITE_CONSTRAINT);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
  ledger = open_named("triggers");
  expect_after(ledger, SEVEN);
  cns_ledger_free(ledger);
  edit_behind_triggers("triggers", "UPDATE witness SET sequence=2");
  expect_damaged("triggers", "the head of another ledger");
}

/* ---- what only the other side can tell ---- */

static void a_cut_tail_is_told_by_a_witness_alone(void **state) {
  make_seven("tail");
  struct cns_ledger *ledger = open_named("tail");
  struct cns_ledger_head before = head_of(ledger);
  cns_ledger_free(ledger);
  edit_behind_triggers("tail", "DELETE FROM entry WHERE sequence>5");
  ledger = open_named("tail"); /* nothing tells here */
  expect_after(ledger, 5);
  assert_int_equal(cns_ledger_check_witness(ledger, &before, "the coordinator", &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text,
                         "the privacy ledger here ends at entry 5, but the coordinator holds entry 7 "
                         "signed by its owner: this file was restored from an old copy"));
  assert_int_equal(charge(ledger, 3), CNS_ERR_STATE);
  assert_non_null(strstr(problem.text, "not the newest copy"));
  assert_int_equal(reserve(ledger, 9), CNS_ERR_STATE);
  assert_int_equal(entries_of(ledger), 5);
  cns_ledger_free(ledger);
}

static void an_old_copy_is_told_before_and_after_it_was_used(void **state) {
  struct cns_ledger *ledger = open_named("backup");
  for (uint64_t step = 0; step < 4; step++)
    assert_int_equal(one_of_seven(ledger, step), 0);
  cns_ledger_free(ledger);
  copy_file("backup", "old");
  ledger = open_named("backup");
  for (uint64_t step = 4; step < SEVEN; step++)
    assert_int_equal(one_of_seven(ledger, step), 0);
  struct cns_ledger_head newest = head_of(ledger);
  cns_ledger_free(ledger);
  ledger = open_named("old");
  assert_int_equal(cns_ledger_check_witness(ledger, &newest, "the coordinator", &problem), CNS_ERR_REFUSED);
  cns_ledger_free(ledger);
  /* Used all the same, until it is as long: another history. */
  ledger = open_named("old");
  for (uint64_t number = 11; number < 15; number++)
    assert_int_equal(reserve(ledger, number), 0);
  assert_int_equal(cns_ledger_check_witness(ledger, &newest, "the coordinator", &problem), CNS_ERR_FORMAT);
  cns_ledger_free(ledger);
  /* The file gone altogether is a new ledger to itself, not to the other side. */
  assert_int_equal(unlink(scratch_path("old")), 0);
  ledger = open_named("old");
  assert_int_equal(count_all(ledger), 0);
  assert_int_equal(cns_ledger_check_witness(ledger, &newest, "the coordinator", &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "ends at entry 0, but the coordinator holds entry 7"));
  cns_ledger_free(ledger);
}

static void a_file_that_is_replaced_while_open_is_told(void **state) {
  struct cns_ledger *ledger = open_named("replaced");
  assert_int_equal(reserve(ledger, 1), 0);
  copy_file("replaced", "beside"); /* without its log: empty */
  assert_int_equal(rename(scratch_path("beside"), scratch_path("replaced")), 0);
  assert_int_equal(reserve(ledger, 2), CNS_ERR_STATE);
  assert_non_null(strstr(problem.text, "replaced while it was in use"));
  assert_int_equal(unlink(scratch_path("replaced")), 0);
  assert_int_equal(charge(ledger, 1), CNS_ERR_STATE);
  cns_ledger_free(ledger);
}

/* ---- every byte ---- */

struct outcome {
  size_t told, harmless;
};

/* One bit of one byte: told, or the same count as before. In zeros between what SQLite
 * stores, a sample. */
static void flip(const char *name, uint8_t *data, size_t len, size_t at, struct outcome *outcome) {
  struct cns_ledger *ledger = NULL;
  uint8_t bit = (uint8_t)(1u << (at * 5 + 3) % 8);
  int fd = open(scratch_path(name), O_WRONLY);
  data[at] ^= bit;
  assert_int_equal(pwrite(fd, &data[at], 1, (off_t)at), 1);
  int error = cns_ledger_open_readonly(scratch_path(name), cns_identity_get_public(owner), &subject, &ledger,
                                       &problem);
  bool fine = error != 0;
  if (!error) {
    struct cns_budget_cost *costs = NULL;
    size_t readers = 0, coordinator = 0;
    enum cns_ledger_kind kind = 0;
    struct cns_digest descriptor = name_of(3);
    fine = cns_ledger_costs(ledger, NULL, CNS_LEDGER_READERS, 0, &costs, &readers, &problem) == 0;
    free(costs);
    costs = NULL;
    fine = fine &&
           cns_ledger_costs(ledger, NULL, CNS_LEDGER_COORDINATOR, 0, &costs, &coordinator, &problem) == 0;
    free(costs);
    fine = fine && cns_ledger_state(ledger, &descriptor, &kind, &problem) == 0;
    fine = fine && readers == seven_readers[SEVEN] && coordinator == seven_coordinator[SEVEN] &&
           kind == CNS_LEDGER_REFUNDED;
    cns_ledger_free(ledger);
  }
  if (!fine) print_message("# byte %zu of %zu, bit mask %02x\n", at, len, bit);
  assert_true(fine);
  ++*(error ? &outcome->told : &outcome->harmless);
  data[at] ^= bit;
  assert_int_equal(pwrite(fd, &data[at], 1, (off_t)at), 1);
  close(fd);
}

static bool among_zeros(const uint8_t *data, size_t len, size_t at) {
  for (size_t k = at > 16 ? at - 16 : 0; k < len && k < at + 16; k++)
    if (data[k] != 0) return false;
  return true;
}

static void every_flipped_byte_is_told_or_harmless(void **state) {
  struct cns_ledger *of_other = NULL;
  make_seven("flips");
  assert_int_equal(cns_ledger_open(scratch_path("flips-other"), other, &subject, &of_other, &problem), 0);
  struct cns_ledger_head head = head_of(of_other);
  struct cns_ledger *ledger = open_named("flips");
  assert_int_equal(cns_ledger_accept_head(ledger, &head, &problem), 0);
  cns_ledger_free(ledger);
  cns_ledger_free(of_other);
  size_t len = 0;
  uint8_t *data = scratch_read(scratch_path("flips"), &len);
  struct outcome rows = {0}, zeros = {0};
  for (size_t at = 0; at < len; at += SLOW_BUILD ? 7 : 1) {
    if (!among_zeros(data, len, at))
      flip("flips", data, len, at, &rows);
    else if (at % 61 == 0)
      flip("flips", data, len, at, &zeros);
  }
  print_message("# %zu bytes; stored: %zu told, %zu harmless; zeros: %zu told, %zu harmless\n", len,
                rows.told, rows.harmless, zeros.told, zeros.harmless);
  assert_true(rows.told > 10 * rows.harmless);
  /* And it is the same file as before. */
  ledger = open_named("flips");
  expect_after(ledger, SEVEN);
  cns_ledger_free(ledger);
  free(data);
}

static void files_that_are_none_are_refused(void **state) {
  struct cns_ledger *ledger = NULL;
  scratch_write(scratch_path("empty"), (const uint8_t *)"", 0);
  assert_int_equal(try_open("empty", &ledger), CNS_ERR_FORMAT);
  make_seven("short");
  size_t len = 0;
  uint8_t *data = scratch_read(scratch_path("short"), &len);
  for (size_t cut = 1; cut < len; cut += len / 9) {
    scratch_write(scratch_path("cut"), data, cut);
    int error = try_open("cut", &ledger);
    assert_true(error == 0 || error == CNS_ERR_FORMAT);
    if (error) continue;
    assert_true(cut > 3 * len / 4); /* zeros at the end of the last page */
    expect_after(ledger, SEVEN);
    ledger = cns_ledger_free(ledger);
  }
  free(data);
  assert_null(ledger);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(edits_are_told_and_the_entry_is_named),
      cmocka_unit_test(changed_tables_are_told),
      cmocka_unit_test(nothing_is_changed_by_mistake),
      cmocka_unit_test(a_cut_tail_is_told_by_a_witness_alone),
      cmocka_unit_test(an_old_copy_is_told_before_and_after_it_was_used),
      cmocka_unit_test(a_file_that_is_replaced_while_open_is_told),
      cmocka_unit_test(every_flipped_byte_is_told_or_harmless),
      cmocka_unit_test(files_that_are_none_are_refused),
  };
  return cmocka_run_group_tests(tests, ledger_setup, ledger_teardown);
}
