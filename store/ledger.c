/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ledger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/ledger_internal.h"

/* The triggers are a belt: nothing in this program changes or removes an entry,
 * and nobody else should by mistake. REPLACE passes by triggers of DELETE, so
 * insertion has rules too. */
static const struct cns_database_kind ledger_kind = {
    .noun = "privacy ledger",
    .holder = "program",
    .application_id = 0x434e534c, /* "CNSL" */
    .version = 1,
    .context = "consilium/1 ledger at rest",
    .shared = true,
    .schema = "CREATE TABLE entry(sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL,"
              " signature BLOB NOT NULL);"
              "CREATE TABLE witness(owner BLOB NOT NULL, subject BLOB NOT NULL, sequence INTEGER NOT NULL,"
              " head BLOB NOT NULL, PRIMARY KEY(owner, subject)) WITHOUT ROWID;"
              "CREATE TRIGGER entry_follows BEFORE INSERT ON entry"
              " WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM entry)"
              " BEGIN SELECT RAISE(ABORT, 'an entry follows the last'); END;"
              "CREATE TRIGGER entry_stays BEFORE UPDATE ON entry"
              " BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END;"
              "CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry"
              " BEGIN SELECT RAISE(ABORT, 'an entry is never removed'); END;"
              "CREATE TRIGGER witness_rises BEFORE INSERT ON witness"
              " WHEN EXISTS(SELECT 1 FROM witness WHERE owner=NEW.owner AND subject=NEW.subject"
              " AND sequence>=NEW.sequence)"
              " BEGIN SELECT RAISE(ABORT, 'a witness is replaced by a newer one only'); END;"
              "CREATE TRIGGER witness_stays BEFORE UPDATE ON witness"
              " BEGIN SELECT RAISE(ABORT, 'a witness is never changed'); END;"
              "CREATE TRIGGER witness_is_kept BEFORE DELETE ON witness"
              " BEGIN SELECT RAISE(ABORT, 'a witness is never removed'); END",
};

/* ---- opening ---- */

static int hash_schema(sqlite3 *sqlite, struct cns_digest *ret_digest) {
  /* Of key_check alone, which any database of this room has, the text isn't ours. */
  static const char sql[] = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master"
                            " WHERE NOT (type='table' AND name='key_check') ORDER BY type, name";
  sqlite3_stmt *stmt = NULL;
  struct cns_hash hash;
  int result = sqlite3_prepare_v2(sqlite, sql, -1, &stmt, NULL);
  cns_hash_init(&hash, "consilium/1 ledger schema");
  while (result == SQLITE_OK || result == SQLITE_ROW) {
    result = sqlite3_step(stmt);
    for (int column = 0; result == SQLITE_ROW && column < 4; column++) {
      const char *text = (const char *)sqlite3_column_text(stmt, column);
      cns_hash_blob(&hash, text ? text : "", text ? strlen(text) : 0);
    }
  }
  sqlite3_finalize(stmt);
  cns_hash_final(&hash, ret_digest);
  return result == SQLITE_DONE ? 0 : CNS_ERR_FORMAT;
}

static int hash_expected_schema(struct cns_digest *ret_digest) {
  sqlite3 *memory = NULL;
  int result = sqlite3_open(":memory:", &memory);
  if (result == SQLITE_OK) result = sqlite3_exec(memory, ledger_kind.schema, NULL, NULL, NULL);
  int error = result == SQLITE_OK ? hash_schema(memory, ret_digest) : CNS_ERR_LIBRARY;
  return sqlite3_close(memory) == SQLITE_OK ? error : CNS_ERR_LIBRARY;
}

/* A trigger that was changed could swallow an entry without a word. */
static int check_schema(struct cns_ledger *ledger, struct cns_problem *problem) {
  struct cns_digest expected, found;
  int error = hash_expected_schema(&expected);
  if (error) return error;
  error = hash_schema(ledger->database.sqlite, &found);
  if (!error && cns_digest_equal(&expected, &found)) return 0;
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: the tables of this privacy ledger were changed; restore the newest copy of the "
                         "file",
                         ledger->database.path);
}

/* Nothing in here is secret: the key only tells whose ledger it is. */
static void derive_key(const struct cns_ledger *ledger, uint8_t ret_key[static CNS_DATABASE_KEY_BYTES]) {
  struct cns_hash hash;
  struct cns_digest digest;
  cns_hash_init(&hash, "consilium/1 ledger file key");
  cns_hash_bytes(&hash, ledger->owner.bytes, sizeof(ledger->owner.bytes));
  cns_hash_digest(&hash, &ledger->subject);
  cns_hash_final(&hash, &digest);
  memcpy(ret_key, digest.bytes, CNS_DATABASE_KEY_BYTES);
}

static int check_opened(struct cns_ledger *ledger, struct cns_problem *problem) {
  struct stat status;
  if (stat(ledger->database.path, &status) != 0)
    return cns_problem_set(problem, CNS_ERR_IO, "%s: the privacy ledger disappeared while it was opened",
                           ledger->database.path);
  ledger->device = status.st_dev;
  ledger->inode = status.st_ino;
  cns_ledger_genesis(&ledger->owner, &ledger->subject, &ledger->position.digest);
  int error = check_schema(ledger, problem);
  if (!error) error = cns_ledger_refresh(ledger, problem);
  return error ? error : cns_ledger_check_kept_heads(ledger, problem);
}

static int open_ledger(const char *path, const struct cns_identity *identity,
                       const struct cns_identity_public *owner, const struct cns_digest *subject,
                       struct cns_ledger **ret_ledger, struct cns_problem *problem) {
  uint8_t key[CNS_DATABASE_KEY_BYTES];
  struct cns_ledger *ledger = calloc(1, sizeof(*ledger));
  if (!ledger) return CNS_ERR_MEMORY;
  ledger->identity = identity;
  ledger->owner = *owner;
  ledger->subject = *subject;
  ledger->entries_max = CNS_LEDGER_ENTRIES_MAX;
  ledger->cancelled_max = CNS_LEDGER_CANCELLED_MAX;
  derive_key(ledger, key);
  int error = cns_database_open(&ledger_kind, path, key, !identity, &ledger->database, problem);
  if (!error) error = check_opened(ledger, problem);
  if (error) {
    cns_ledger_free(ledger);
    return error;
  }
  *ret_ledger = ledger;
  return 0;
}

int cns_ledger_open(const char *path, const struct cns_identity *identity, const struct cns_digest *subject,
                    struct cns_ledger **ret_ledger, struct cns_problem *problem) {
  return open_ledger(path, identity, cns_identity_get_public(identity), subject, ret_ledger, problem);
}

int cns_ledger_open_readonly(const char *path, const struct cns_identity_public *owner,
                             const struct cns_digest *subject, struct cns_ledger **ret_ledger,
                             struct cns_problem *problem) {
  return open_ledger(path, NULL, owner, subject, ret_ledger, problem);
}

struct cns_ledger *cns_ledger_free(struct cns_ledger *ledger) {
  if (!ledger) return NULL;
  cns_database_deinit(&ledger->database);
  cns_ledger_book_deinit(&ledger->book);
  free(ledger);
  return NULL;
}

/* ---- keeping up with what was added ---- */

/* Who restores a copy while a daemon runs gives the name to another file, and the
 * daemon would go on writing to one that nobody sees any more. */
static int check_in_place(const struct cns_ledger *ledger, struct cns_problem *problem) {
  struct stat status;
  if (stat(ledger->database.path, &status) == 0 && status.st_dev == ledger->device &&
      status.st_ino == ledger->inode)
    return 0;
  return cns_problem_set(problem, CNS_ERR_STATE,
                         "%s: the privacy ledger was moved, removed or replaced while it was in use; put it "
                         "back and start this program again",
                         ledger->database.path);
}

static int apply(void *context, const struct cns_ledger_entry *entry) {
  struct cns_ledger *ledger = context;
  return cns_ledger_book_apply(&ledger->book, entry);
}

int cns_ledger_refresh(struct cns_ledger *ledger, struct cns_problem *problem) {
  struct cns_problem first = {0};
  int error = check_in_place(ledger, problem);
  if (error) return error;
  error = cns_ledger_walk(ledger, &ledger->position, apply, ledger, &first);
  if (error == CNS_ERR_FORMAT && first.text[0] == 0)
    return cns_ledger_damaged(ledger, ledger->position.sequence + 1,
                              "does not fit what is on record of its round", problem);
  return error ? cns_problem_set(problem, error, "%s", first.text) : 0;
}

int cns_ledger_begin(struct cns_ledger *ledger, struct cns_problem *problem) {
  if (ledger->incomplete)
    return cns_problem_set(problem, CNS_ERR_STATE,
                           "%s: this privacy ledger is not the newest copy, and nothing more is written to "
                           "it; restore the newest",
                           ledger->database.path);
  int error = cns_database_begin(&ledger->database, problem);
  if (!error) error = cns_ledger_refresh(ledger, problem);
  if (error) cns_database_rollback(&ledger->database);
  return error;
}

/* ---- reading ---- */

int cns_ledger_state(struct cns_ledger *ledger, const struct cns_digest *descriptor,
                     enum cns_ledger_kind *ret_state, struct cns_problem *problem) {
  int error = cns_ledger_refresh(ledger, problem);
  if (error) return error;
  const struct cns_ledger_record *record = cns_ledger_book_find(&ledger->book, descriptor);
  *ret_state = record ? record->state : 0;
  return 0;
}

int cns_ledger_last_attempt(struct cns_ledger *ledger, const struct cns_digest *study, uint64_t *ret_round,
                            uint32_t *ret_attempt, struct cns_problem *problem) {
  const struct cns_ledger_round *last = NULL;
  int error = cns_ledger_refresh(ledger, problem);
  if (error) return error;
  for (size_t k = 0; k < ledger->book.count; k++) {
    const struct cns_ledger_round *round = &ledger->book.records[k].round;
    if (!cns_digest_equal(&round->study, study)) continue;
    if (!last || round->round > last->round ||
        (round->round == last->round && round->attempt > last->attempt))
      last = round;
  }
  if (!last) return CNS_ERR_NOT_FOUND;
  *ret_round = last->round;
  *ret_attempt = last->attempt;
  return 0;
}

int cns_ledger_costs(struct cns_ledger *ledger, const struct cns_digest *study,
                     enum cns_ledger_observer observer, uint32_t month, struct cns_budget_cost **ret_costs,
                     size_t *ret_count, struct cns_problem *problem) {
  int error = cns_ledger_refresh(ledger, problem);
  return error ? error : cns_ledger_book_costs(&ledger->book, study, observer, month, ret_costs, ret_count);
}

int cns_ledger_reserved(struct cns_ledger *ledger, const struct cns_digest *study,
                        struct cns_digest **ret_descriptors, size_t *ret_count, struct cns_problem *problem) {
  int error = cns_ledger_refresh(ledger, problem);
  return error ? error : cns_ledger_book_reserved(&ledger->book, study, ret_descriptors, ret_count);
}

struct window {
  uint64_t from;
  cns_ledger_callback callback;
  void *context;
};

static int pass_on(void *context, const struct cns_ledger_entry *entry) {
  const struct window *window = context;
  return entry->sequence < window->from ? 0 : window->callback(window->context, entry);
}

int cns_ledger_entries(struct cns_ledger *ledger, uint64_t from_sequence, cns_ledger_callback callback,
                       void *context, struct cns_problem *problem) {
  struct cns_ledger_position position = {0};
  struct window window = {from_sequence, callback, context};
  int error = check_in_place(ledger, problem);
  cns_ledger_genesis(&ledger->owner, &ledger->subject, &position.digest);
  return error ? error : cns_ledger_walk(ledger, &position, pass_on, &window, problem);
}
