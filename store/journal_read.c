/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the journal back: replay and verification. */
#include <stdlib.h>
#include <string.h>

#include "store/journal_internal.h"

#define ENTRY_COLUMNS                                                                                        \
  "e.sequence, e.kind, e.round, e.attempt, e.phase, e.sender, e.body_digest, e.body_bytes, e.chain, "        \
  "b.sealed "                                                                                                \
  "FROM entry e LEFT JOIN body b ON b.sequence = e.sequence "

/* Header columns; the body stays sealed in the statement. */
static int read_header(sqlite3_stmt *stmt, struct cns_journal_entry *ret_entry) {
  uint64_t sequence = 0, kind = 0, round = 0, attempt = 0, phase = 0, index = 0, body_len = 0;
  struct cns_journal_entry entry = {0};
  int error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &sequence);
  if (!error) error = cns_column_u64(stmt, 1, UINT8_MAX, &kind);
  if (!error) error = cns_column_u64(stmt, 2, CNS_DATABASE_COLUMN_MAX, &round);
  if (!error) error = cns_column_u64(stmt, 3, UINT32_MAX, &attempt);
  if (!error) error = cns_column_u64(stmt, 4, UINT8_MAX, &phase);
  if (!error) error = cns_column_u64(stmt, 5, UINT16_MAX, &index);
  if (!error) error = cns_column_digest(stmt, 6, &entry.body_digest);
  if (!error) error = cns_column_u64(stmt, 7, CNS_JOURNAL_BODY_BYTES_MAX, &body_len);
  if (!error) error = cns_column_digest(stmt, 8, &entry.chain);
  if (error) return error;
  entry.sequence = sequence;
  entry.kind = (uint8_t)kind;
  entry.round = round;
  entry.attempt = (uint32_t)attempt;
  entry.phase = (uint8_t)phase;
  entry.index = (uint16_t)index;
  entry.body_len = (size_t)body_len;
  entry.erased = body_len > 0 && sqlite3_column_type(stmt, 9) == SQLITE_NULL;
  *ret_entry = entry;
  return 0;
}

/* Opens the body and checks it against the header's digest. ret_body is NULL
 * for an erased or empty one. */
static int read_body(const struct cns_journal *journal, sqlite3_stmt *stmt,
                     const struct cns_journal_entry *entry, uint8_t **ret_body, struct cns_problem *problem) {
  if (entry->erased) {
    *ret_body = NULL;
    return 0;
  }
  uint8_t *body = NULL;
  size_t len = 0;
  if (entry->body_len > 0) {
    struct cns_digest bound;
    cns_journal_body_bound(entry->sequence, &entry->chain, &bound);
    const void *sealed = sqlite3_column_blob(stmt, 9);
    int error = cns_database_unseal(&journal->database, &bound, sealed, (size_t)sqlite3_column_bytes(stmt, 9),
                                    &body, &len);
    if (error == CNS_ERR_PROOF)
      return cns_journal_damaged(journal, entry->sequence, "its content was changed", problem);
    if (error) return error;
  }
  struct cns_digest digest;
  cns_journal_body_digest(body, len, &digest);
  if (len != entry->body_len || !cns_digest_equal(&digest, &entry->body_digest)) {
    cns_wipe_free(body, len);
    return cns_journal_damaged(journal, entry->sequence, "its content does not have its digest", problem);
  }
  *ret_body = body;
  return 0;
}

int cns_journal_load_head(struct cns_journal *journal, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      &journal->database, "SELECT sequence, chain FROM entry ORDER BY sequence DESC LIMIT 1", &stmt, problem);
  if (error) return error;
  struct cns_digest head = {{0}};
  uint64_t sequence = 0;
  int step = sqlite3_step(stmt);
  if (step == SQLITE_ROW) {
    if (cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &sequence) != 0 ||
        cns_column_digest(stmt, 1, &head) != 0)
      error = cns_journal_damaged(journal, sequence, "its header is malformed", problem);
  } else if (step != SQLITE_DONE) {
    error = cns_database_fail(&journal->database, step, "reading its end", problem);
  }
  sqlite3_finalize(stmt);
  if (error) return error;
  journal->head = journal->synced_head = head;
  journal->sequence = journal->synced_sequence = sequence;
  return 0;
}

static int replay_row(struct cns_journal *journal, sqlite3_stmt *stmt, cns_journal_callback callback,
                      void *context, struct cns_problem *problem) {
  struct cns_journal_entry entry = {0};
  if (read_header(stmt, &entry) != 0)
    return cns_journal_damaged(journal, entry.sequence, "its header is malformed", problem);
  uint8_t *body = NULL;
  int error = read_body(journal, stmt, &entry, &body, problem);
  if (error) return error;
  entry.body = body;
  error = callback(context, &entry);
  cns_wipe_free(body, entry.body_len);
  return error;
}

int cns_journal_replay(struct cns_journal *journal, uint64_t from_round, uint32_t from_attempt,
                       cns_journal_callback callback, void *context, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      &journal->database,
      "SELECT " ENTRY_COLUMNS "WHERE (e.round > ?1 OR (e.round = ?1 AND e.attempt >= ?2)) AND e.kind <= ?3 "
      "ORDER BY e.sequence",
      &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, from_round);
  if (!error) error = cns_bind_u64(stmt, 2, from_attempt);
  if (!error) error = cns_bind_u64(stmt, 3, CNS_JOURNAL_KIND_MAX);
  int step = SQLITE_DONE;
  while (!error && (step = sqlite3_step(stmt)) == SQLITE_ROW)
    error = replay_row(journal, stmt, callback, context, problem);
  if (!error && step != SQLITE_DONE)
    error = cns_database_fail(&journal->database, step, "reading entries", problem);
  sqlite3_finalize(stmt);
  return error;
}

static int verify_row(const struct cns_journal *journal, sqlite3_stmt *stmt, uint64_t expected,
                      struct cns_digest *chain, struct cns_problem *problem) {
  struct cns_journal_entry entry = {0};
  if (read_header(stmt, &entry) != 0)
    return cns_journal_damaged(journal, expected, "its header is malformed", problem);
  if (entry.sequence != expected)
    return cns_journal_damaged(journal, expected, "the entry is missing", problem);
  struct cns_digest computed;
  cns_journal_chain(chain, &entry, &computed);
  if (!cns_digest_equal(&computed, &entry.chain))
    return cns_journal_damaged(journal, expected, "its header does not fit the chain", problem);
  uint8_t *body = NULL;
  int error = read_body(journal, stmt, &entry, &body, problem);
  cns_wipe_free(body, entry.body_len);
  *chain = computed;
  return error;
}

/* A body may be gone only if a later entry says that it was erased. */
static int verify_erased(struct cns_journal *journal, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      &journal->database,
      "SELECT e.sequence FROM entry e LEFT JOIN body b ON b.sequence = e.sequence "
      "WHERE b.sequence IS NULL AND e.body_bytes > 0 AND NOT EXISTS (SELECT 1 FROM entry x "
      "WHERE x.kind = ?1 AND x.round = e.round AND x.attempt = e.attempt "
      "AND x.sender = e.kind AND x.sequence > e.sequence) LIMIT 1",
      &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, CNS_JOURNAL_KIND_ERASED);
  int step = error ? SQLITE_DONE : sqlite3_step(stmt);
  if (step == SQLITE_ROW)
    error = cns_journal_damaged(journal, (uint64_t)sqlite3_column_int64(stmt, 0),
                                "its content is missing and was never erased", problem);
  else if (!error && step != SQLITE_DONE)
    error = cns_database_fail(&journal->database, step, "checking entries", problem);
  sqlite3_finalize(stmt);
  return error;
}

int cns_journal_verify(struct cns_journal *journal, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_database_prepare(&journal->database, "SELECT " ENTRY_COLUMNS "ORDER BY e.sequence", &stmt, problem);
  if (error) return error;
  struct cns_digest chain = {{0}};
  uint64_t expected = 0;
  int step = SQLITE_DONE;
  while (!error && (step = sqlite3_step(stmt)) == SQLITE_ROW)
    error = verify_row(journal, stmt, ++expected, &chain, problem);
  if (!error && step != SQLITE_DONE)
    error = cns_database_fail(&journal->database, step, "checking entries", problem);
  sqlite3_finalize(stmt);
  if (!error) error = verify_erased(journal, problem);
  if (!error) error = cns_journal_verify_rounds(journal, problem);
  return error;
}
