/* SPDX-License-Identifier: Apache-2.0 */
#include "store/journal.h"

#include <stdlib.h>
#include <string.h>

#include "store/journal_internal.h"

/* Bodies have a table of their own, so that walking the headers does not read
 * them and erasing one leaves its header's page alone. */
static const struct cns_database_kind journal_kind = {
    .noun = "journal",
    .holder = "coordinator",
    .application_id = 0x434e534a, /* "CNSJ" */
    .version = 1,
    .context = "consilium/1 journal at rest",
    .schema =
        "CREATE TABLE entry(sequence INTEGER PRIMARY KEY, kind INTEGER NOT NULL, round INTEGER NOT NULL,"
        " attempt INTEGER NOT NULL, phase INTEGER NOT NULL, sender INTEGER NOT NULL,"
        " body_digest BLOB NOT NULL, body_bytes INTEGER NOT NULL, chain BLOB NOT NULL);"
        "CREATE INDEX entry_round ON entry(round, attempt, kind);"
        "CREATE TABLE body(sequence INTEGER PRIMARY KEY REFERENCES entry(sequence), sealed BLOB NOT NULL);"
        "CREATE TABLE round(round INTEGER NOT NULL, attempt INTEGER NOT NULL, state INTEGER NOT NULL,"
        " descriptor BLOB NOT NULL, head BLOB, head_sequence INTEGER, head_signature BLOB,"
        " result BLOB NOT NULL, PRIMARY KEY(round, attempt)) WITHOUT ROWID",
};

void cns_journal_body_digest(const uint8_t *body, size_t len, struct cns_digest *ret_digest) {
  cns_hash_once("consilium/1 journal body", body, len, ret_digest);
}

void cns_journal_chain(const struct cns_digest *previous, const struct cns_journal_entry *entry,
                       struct cns_digest *ret_chain) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 journal chain");
  cns_hash_digest(&hash, previous);
  cns_hash_u8(&hash, entry->kind);
  cns_hash_u64(&hash, entry->round);
  cns_hash_u32(&hash, entry->attempt);
  cns_hash_u8(&hash, entry->phase);
  cns_hash_u16(&hash, entry->index);
  cns_hash_digest(&hash, &entry->body_digest);
  cns_hash_final(&hash, ret_chain);
}

void cns_journal_body_bound(uint64_t sequence, const struct cns_digest *chain, struct cns_digest *ret_bound) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 journal seal");
  cns_hash_u64(&hash, sequence);
  cns_hash_digest(&hash, chain);
  cns_hash_final(&hash, ret_bound);
}

int cns_journal_damaged(const struct cns_journal *journal, uint64_t sequence, const char *what,
                        struct cns_problem *problem) {
  return cns_problem_set(
      problem, CNS_ERR_FORMAT,
      "%s: the journal is damaged at entry %llu (%s); restore the file from a copy, or start a "
      "new state folder",
      journal->database.path, (unsigned long long)sequence, what);
}

static int open_journal(const char *path, const uint8_t *key, bool readonly, struct cns_journal **ret_journal,
                        struct cns_problem *problem) {
  struct cns_journal *journal = calloc(1, sizeof(*journal));
  if (!journal) return CNS_ERR_MEMORY;
  int error = cns_database_open(&journal_kind, path, key, readonly, &journal->database, problem);
  if (!error) error = cns_journal_load_head(journal, problem);
  if (!error && !readonly) error = cns_journal_verify(journal, problem);
  if (!error && !readonly)
    error = cns_database_prepare(&journal->database, "INSERT INTO entry VALUES(?,?,?,?,?,?,?,?,?)",
                                 &journal->insert_entry, problem);
  if (!error && !readonly)
    error = cns_database_prepare(&journal->database, "INSERT INTO body VALUES(?,?)", &journal->insert_body,
                                 problem);
  if (error) {
    cns_journal_free(journal);
    return error;
  }
  *ret_journal = journal;
  return 0;
}

int cns_journal_open(const char *path, const uint8_t key[static CNS_JOURNAL_KEY_BYTES],
                     struct cns_journal **ret_journal, struct cns_problem *problem) {
  return open_journal(path, key, false, ret_journal, problem);
}

int cns_journal_open_readonly(const char *path, const uint8_t key[static CNS_JOURNAL_KEY_BYTES],
                              struct cns_journal **ret_journal, struct cns_problem *problem) {
  return open_journal(path, key, true, ret_journal, problem);
}

struct cns_journal *cns_journal_free(struct cns_journal *journal) {
  if (!journal) return NULL;
  (void)sqlite3_finalize(journal->insert_entry);
  (void)sqlite3_finalize(journal->insert_body);
  cns_database_deinit(&journal->database);
  free(journal);
  return NULL;
}

void cns_journal_drop_pending(struct cns_journal *journal) {
  cns_database_rollback(&journal->database);
  journal->head = journal->synced_head;
  journal->sequence = journal->synced_sequence;
}

static int insert_entry(struct cns_journal *journal, const struct cns_journal_entry *entry,
                        struct cns_problem *problem) {
  sqlite3_stmt *stmt = journal->insert_entry;
  int error = cns_bind_u64(stmt, 1, entry->sequence);
  if (!error) error = cns_bind_u64(stmt, 2, entry->kind);
  if (!error) error = cns_bind_u64(stmt, 3, entry->round);
  if (!error) error = cns_bind_u64(stmt, 4, entry->attempt);
  if (!error) error = cns_bind_u64(stmt, 5, entry->phase);
  if (!error) error = cns_bind_u64(stmt, 6, entry->index);
  if (!error) error = cns_bind_digest(stmt, 7, &entry->body_digest);
  if (!error) error = cns_bind_u64(stmt, 8, entry->body_len);
  if (!error) error = cns_bind_digest(stmt, 9, &entry->chain);
  if (error) {
    (void)sqlite3_clear_bindings(stmt);
    return error;
  }
  return cns_database_run(&journal->database, stmt, "adding an entry", problem);
}

static int insert_body(struct cns_journal *journal, const struct cns_journal_entry *entry,
                       struct cns_problem *problem) {
  struct cns_digest bound;
  cns_journal_body_bound(entry->sequence, &entry->chain, &bound);
  uint8_t *sealed = NULL;
  size_t sealed_len = 0;
  int error =
      cns_database_seal(&journal->database, &bound, entry->body, entry->body_len, &sealed, &sealed_len);
  if (!error) error = cns_bind_u64(journal->insert_body, 1, entry->sequence);
  if (!error && sqlite3_bind_blob64(journal->insert_body, 2, sealed, sealed_len, SQLITE_STATIC) != SQLITE_OK)
    error = CNS_ERR_MEMORY;
  if (!error) error = cns_database_run(&journal->database, journal->insert_body, "adding an entry", problem);
  (void)sqlite3_clear_bindings(journal->insert_body); /* before its bytes go */
  free(sealed);
  return error;
}

int cns_journal_append_any(struct cns_journal *journal, const struct cns_journal_entry *entry,
                           struct cns_problem *problem) {
  struct cns_journal_entry added = *entry;
  added.sequence = journal->sequence + 1;
  cns_journal_body_digest(added.body, added.body_len, &added.body_digest);
  cns_journal_chain(&journal->head, &added, &added.chain);
  int error = cns_database_begin(&journal->database, problem);
  if (!error) error = insert_entry(journal, &added, problem);
  if (!error && added.body_len > 0) error = insert_body(journal, &added, problem);
  if (error) {
    cns_journal_drop_pending(journal);
    return error;
  }
  journal->head = added.chain;
  journal->sequence = added.sequence;
  return 0;
}

int cns_journal_append(struct cns_journal *journal, const struct cns_journal_entry *entry,
                       struct cns_problem *problem) {
  if (journal->database.readonly)
    return cns_problem_set(problem, CNS_ERR_STATE, "%s: this journal was opened for reading only",
                           journal->database.path);
  if (entry->kind > CNS_JOURNAL_KIND_MAX || (!entry->body && entry->body_len > 0) ||
      entry->round > CNS_DATABASE_COLUMN_MAX)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "journal: an entry of kind %u can't be added",
                           entry->kind);
  if (entry->body_len > CNS_JOURNAL_BODY_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "journal: a body of %zu bytes is over the limit of %u",
                           entry->body_len, CNS_JOURNAL_BODY_BYTES_MAX);
  return cns_journal_append_any(journal, entry, problem);
}

int cns_journal_sync(struct cns_journal *journal, struct cns_problem *problem) {
  int error = cns_database_commit(&journal->database, problem);
  if (error) {
    cns_journal_drop_pending(journal);
    return error;
  }
  journal->synced_head = journal->head;
  journal->synced_sequence = journal->sequence;
  return 0;
}

size_t cns_journal_pending(const struct cns_journal *journal) {
  return (size_t)(journal->sequence - journal->synced_sequence);
}

void cns_journal_head(const struct cns_journal *journal, struct cns_digest *ret_head,
                      uint64_t *ret_sequence) {
  *ret_head = journal->head;
  *ret_sequence = journal->sequence;
}

static int delete_bodies(struct cns_journal *journal, uint64_t round, uint32_t attempt, uint8_t kind,
                         struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(&journal->database,
                                   "DELETE FROM body WHERE sequence IN"
                                   " (SELECT sequence FROM entry WHERE round=? AND attempt=? AND kind=?)",
                                   &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, round);
  if (!error) error = cns_bind_u64(stmt, 2, attempt);
  if (!error) error = cns_bind_u64(stmt, 3, kind);
  if (!error) error = cns_database_run(&journal->database, stmt, "erasing bodies", problem);
  sqlite3_finalize(stmt);
  return error;
}

int cns_journal_erase_bodies(struct cns_journal *journal, uint64_t round, uint32_t attempt, uint8_t kind,
                             struct cns_problem *problem) {
  if (kind > CNS_JOURNAL_KIND_MAX || round > CNS_DATABASE_COLUMN_MAX)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "journal: bodies of kind %u can't be erased", kind);
  int error = cns_database_begin(&journal->database, problem);
  if (error) return error;
  error = delete_bodies(journal, round, attempt, kind, problem);
  if (error) {
    cns_journal_drop_pending(journal);
    return error;
  }
  if (sqlite3_changes(journal->database.sqlite) > 0) {
    struct cns_journal_entry erased = {
        .kind = CNS_JOURNAL_KIND_ERASED, .round = round, .attempt = attempt, .index = kind};
    error = cns_journal_append_any(journal, &erased, problem);
    if (error) return error;
    /* secure_delete overwrites the pages of the database; the log still holds
     * the old ones until it is emptied. */
    cns_database_request_checkpoint(&journal->database);
  }
  return cns_journal_sync(journal, problem);
}

/* The first attempt from (*round, *attempt) on to (last_round, last_attempt) that
 * has bodies of this kind; CNS_ERR_NOT_FOUND. */
static int next_with_bodies(struct cns_journal *journal, uint64_t last_round, uint32_t last_attempt,
                            uint8_t kind, uint64_t *round, uint64_t *attempt, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(&journal->database,
                                   "SELECT round, attempt FROM entry WHERE (round, attempt) >= (?, ?)"
                                   " AND (round, attempt) <= (?, ?) AND kind=?"
                                   " AND sequence IN (SELECT sequence FROM body)"
                                   " ORDER BY round, attempt LIMIT 1",
                                   &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, *round);
  if (!error) error = cns_bind_u64(stmt, 2, *attempt);
  if (!error) error = cns_bind_u64(stmt, 3, last_round);
  if (!error) error = cns_bind_u64(stmt, 4, last_attempt);
  if (!error) error = cns_bind_u64(stmt, 5, kind);
  int step = error ? SQLITE_DONE : sqlite3_step(stmt);
  if (!error && step == SQLITE_DONE) error = CNS_ERR_NOT_FOUND;
  if (!error && step != SQLITE_ROW)
    error = cns_database_fail(&journal->database, step, "erasing bodies", problem);
  if (!error) error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, round);
  if (!error) error = cns_column_u64(stmt, 1, UINT32_MAX, attempt);
  sqlite3_finalize(stmt);
  return error;
}

int cns_journal_erase_bodies_until(struct cns_journal *journal, uint64_t round, uint32_t attempt,
                                   uint8_t kind, struct cns_problem *problem) {
  uint64_t at_round = 0, at_attempt = 0;
  int error = 0;
  while (!error) {
    error = next_with_bodies(journal, round, attempt, kind, &at_round, &at_attempt, problem);
    if (!error) error = cns_journal_erase_bodies(journal, at_round, (uint32_t)at_attempt, kind, problem);
    at_attempt++;
  }
  return error == CNS_ERR_NOT_FOUND ? 0 : error;
}
