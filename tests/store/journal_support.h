/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the journal share. */
#pragma once

#include <sqlite3.h>

#include "store/journal.h"

#include "scratch.h"

static struct cns_problem problem;

static inline struct cns_journal *open_named(const char *name) {
  struct cns_journal *journal = NULL;
  int error = cns_journal_open(scratch_path(name), scratch_key, &journal, &problem);
  if (error) print_error("%s: %s\n", cns_error_name(error), problem.text);
  assert_int_equal(error, 0);
  return journal;
}

static inline int append_text(struct cns_journal *journal, uint8_t kind, uint64_t round, uint32_t attempt,
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

static inline int see(void *context, const struct cns_journal_entry *entry) {
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

static inline void expect(struct cns_journal *journal, uint64_t round, uint32_t attempt, const char *text) {
  struct seen seen = {0};
  assert_int_equal(cns_journal_replay(journal, round, attempt, see, &seen, &problem), 0);
  assert_string_equal(seen.text, text);
}

static inline int reopen(const char *name) {
  struct cns_journal *journal = NULL;
  problem.text[0] = 0;
  int error = cns_journal_open(scratch_path(name), scratch_key, &journal, &problem);
  cns_journal_free(journal);
  if (error) assert_true(strlen(problem.text) > 20);
  return error;
}

static inline void edit(const char *name, const char *sql) {
  sqlite3 *sqlite = NULL;
  assert_int_equal(sqlite3_open(scratch_path(name), &sqlite), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
}
