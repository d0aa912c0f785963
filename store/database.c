/* SPDX-License-Identifier: Apache-2.0 */
#include "store/database.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/rng.h"
#include "crypto/seal.h"

static bool errno_is_full(int system_errno) {
  /* EFBIG: the process's file size limit, which is a full disk to us. */
  return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG;
}

int cns_database_fail(const struct cns_database *database, int sqlite_result, const char *doing,
                      struct cns_problem *problem) {
  sqlite3 *sqlite = database->sqlite;
  /* SQLite forgets the errno of a failed COMMIT; ours is then still there. */
  int saved_errno = errno;
  int system_errno = sqlite ? sqlite3_system_errno(sqlite) : 0;
  if (system_errno == 0) system_errno = saved_errno;
  int primary = sqlite_result & 0xff;
  const char *noun = database->kind->noun;
  if (primary == SQLITE_FULL || (primary == SQLITE_IOERR && errno_is_full(system_errno)))
    return cns_problem_set(
        problem, CNS_ERR_DISK_FULL,
        "%s: no space left on the disk while %s; the %s is unharmed: free some space and try again",
        database->path, doing, noun);
  switch (primary) {
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB:
  case SQLITE_ERROR: /* all SQL is ours: a missing table or column is damage */
  case SQLITE_SCHEMA:
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: not a %s, or damaged (%s while %s); restore the file from a copy",
                           database->path, noun, sqlite3_errstr(sqlite_result), doing);
  case SQLITE_NOMEM:
    return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory while %s", database->path, doing);
  case SQLITE_TOOBIG:
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a value is too large while %s", database->path,
                           doing);
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return cns_problem_set(problem, CNS_ERR_STATE,
                           "%s: another program holds the %s while %s; close it and try again",
                           database->path, noun, doing);
  case SQLITE_READONLY:
  case SQLITE_PERM:
  case SQLITE_AUTH:
    return cns_problem_set(problem, CNS_ERR_PERMISSION, "%s: no permission to write while %s", database->path,
                           doing);
  case SQLITE_CANTOPEN:
    return cns_problem_set(problem, system_errno == EACCES ? CNS_ERR_PERMISSION : CNS_ERR_IO,
                           "%s: can't be opened (%s); check the folder and its permissions", database->path,
                           system_errno ? strerror(system_errno) : sqlite3_errstr(sqlite_result));
  default:
    return cns_problem_set(problem, CNS_ERR_IO, "%s: %s while %s%s%s", database->path,
                           sqlite3_errstr(sqlite_result), doing, system_errno ? ": " : "",
                           system_errno ? strerror(system_errno) : "");
  }
}

int cns_database_exec(struct cns_database *database, const char *sql, const char *doing,
                      struct cns_problem *problem) {
  errno = 0;
  int result = sqlite3_exec(database->sqlite, sql, NULL, NULL, NULL);
  return result == SQLITE_OK ? 0 : cns_database_fail(database, result, doing, problem);
}

int cns_database_prepare(struct cns_database *database, const char *sql, sqlite3_stmt **ret_stmt,
                         struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int result = sqlite3_prepare_v2(database->sqlite, sql, -1, &stmt, NULL);
  if (result != SQLITE_OK) return cns_database_fail(database, result, "reading its tables", problem);
  *ret_stmt = stmt;
  return 0;
}

int cns_database_run(struct cns_database *database, sqlite3_stmt *stmt, const char *doing,
                     struct cns_problem *problem) {
  int step = sqlite3_step(stmt);
  int error =
      step == SQLITE_DONE || step == SQLITE_ROW ? 0 : cns_database_fail(database, step, doing, problem);
  (void)sqlite3_reset(stmt); /* repeats the error of step, which is handled */
  (void)sqlite3_clear_bindings(stmt);
  return error;
}

int cns_database_begin(struct cns_database *database, struct cns_problem *problem) {
  if (database->readonly)
    return cns_problem_set(problem, CNS_ERR_STATE, "%s: this %s was opened for reading only", database->path,
                           database->kind->noun);
  if (database->in_transaction) return 0;
  int error = cns_database_exec(database, "BEGIN IMMEDIATE", "starting to write", problem);
  if (!error) database->in_transaction = true;
  return error;
}

void cns_database_rollback(struct cns_database *database) {
  /* After some failures SQLite has rolled back by itself. */
  if (database->sqlite && !sqlite3_get_autocommit(database->sqlite))
    (void)sqlite3_exec(database->sqlite, "ROLLBACK", NULL, NULL, NULL);
  database->in_transaction = false;
}

static uint64_t now_ms(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void cns_database_request_checkpoint(struct cns_database *database) {
  database->checkpoint_due = true;
  database->checkpoint_at_ms = 0;
}

/* Everything is durable already. A reader, for as long as it likes, or a full
 * disk can hinder this: it is tried again later and never waited for, since the
 * thread that commits answers hospitals too. */
static void empty_log(struct cns_database *database) {
  if (!database->checkpoint_due || now_ms() < database->checkpoint_at_ms) return;
  (void)sqlite3_busy_timeout(database->sqlite, 0);
  int result = sqlite3_wal_checkpoint_v2(database->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  (void)sqlite3_busy_timeout(database->sqlite, CNS_DATABASE_BUSY_TIMEOUT_MS);
  database->checkpoint_due = result != SQLITE_OK;
  database->checkpoint_at_ms = now_ms() + CNS_DATABASE_CHECKPOINT_PAUSE_MS;
}

int cns_database_commit(struct cns_database *database, struct cns_problem *problem) {
  if (database->in_transaction) {
    int error = cns_database_exec(database, "COMMIT", "writing to the disk", problem);
    if (error) {
      cns_database_rollback(database);
      return error;
    }
    database->in_transaction = false;
  }
  empty_log(database);
  return 0;
}

int cns_bind_u64(sqlite3_stmt *stmt, int column, uint64_t value) {
  if (value > CNS_DATABASE_COLUMN_MAX) return CNS_ERR_RANGE;
  return sqlite3_bind_int64(stmt, column, (sqlite3_int64)value) == SQLITE_OK ? 0 : CNS_ERR_MEMORY;
}

int cns_bind_digest(sqlite3_stmt *stmt, int column, const struct cns_digest *digest) {
  return cns_bind_blob(stmt, column, digest->bytes, sizeof(digest->bytes));
}

int cns_bind_blob(sqlite3_stmt *stmt, int column, const void *bytes, size_t len) {
  if (len == 0) return sqlite3_bind_zeroblob(stmt, column, 0) == SQLITE_OK ? 0 : CNS_ERR_MEMORY;
  return sqlite3_bind_blob64(stmt, column, bytes, len, SQLITE_TRANSIENT) == SQLITE_OK ? 0 : CNS_ERR_MEMORY;
}

int cns_column_u64(sqlite3_stmt *stmt, int column, uint64_t max, uint64_t *ret_value) {
  if (sqlite3_column_type(stmt, column) != SQLITE_INTEGER) return CNS_ERR_FORMAT;
  sqlite3_int64 value = sqlite3_column_int64(stmt, column);
  if (value < 0 || (uint64_t)value > max) return CNS_ERR_FORMAT;
  *ret_value = (uint64_t)value;
  return 0;
}

int cns_column_digest(sqlite3_stmt *stmt, int column, struct cns_digest *ret_digest) {
  if (sqlite3_column_type(stmt, column) != SQLITE_BLOB) return CNS_ERR_FORMAT;
  const void *bytes = sqlite3_column_blob(stmt, column);
  if (!bytes || sqlite3_column_bytes(stmt, column) != CNS_DIGEST_BYTES) return CNS_ERR_FORMAT;
  memcpy(ret_digest->bytes, bytes, CNS_DIGEST_BYTES);
  return 0;
}

uint8_t *cns_wipe_free(uint8_t *bytes, size_t len) {
  if (bytes) cns_wipe(bytes, len);
  free(bytes);
  return NULL;
}

int cns_database_seal(const struct cns_database *database, const struct cns_digest *bound,
                      const uint8_t *plain, size_t len, uint8_t **ret_sealed, size_t *ret_len) {
  if (len > SIZE_MAX - CNS_SEAL_NONCE_BYTES - CNS_SEAL_TAG_BYTES) return CNS_ERR_LIMIT;
  size_t sealed_len = CNS_SEAL_NONCE_BYTES + len + CNS_SEAL_TAG_BYTES;
  uint8_t *sealed = malloc(sealed_len);
  if (!sealed) return CNS_ERR_MEMORY;
  /* 24 random bytes: no nonce repeats under one key in any journal's life. */
  int error = cns_rng_fill(cns_rng_system(), sealed, CNS_SEAL_NONCE_BYTES);
  if (!error)
    error = cns_seal(database->key, sealed, bound->bytes, sizeof(bound->bytes), plain, len,
                     sealed + CNS_SEAL_NONCE_BYTES);
  if (error) {
    free(sealed);
    return error;
  }
  *ret_sealed = sealed;
  *ret_len = sealed_len;
  return 0;
}

int cns_database_unseal(const struct cns_database *database, const struct cns_digest *bound,
                        const uint8_t *sealed, size_t len, uint8_t **ret_plain, size_t *ret_len) {
  if (!sealed || len < CNS_SEAL_NONCE_BYTES + CNS_SEAL_TAG_BYTES) return CNS_ERR_PROOF;
  size_t plain_len = len - CNS_SEAL_NONCE_BYTES - CNS_SEAL_TAG_BYTES;
  uint8_t *plain = malloc(plain_len + 1);
  if (!plain) return CNS_ERR_MEMORY;
  int error = cns_unseal(database->key, sealed, bound->bytes, sizeof(bound->bytes),
                         sealed + CNS_SEAL_NONCE_BYTES, len - CNS_SEAL_NONCE_BYTES, plain);
  if (error) {
    cns_wipe_free(plain, plain_len);
    return error;
  }
  plain[plain_len] = 0;
  *ret_plain = plain;
  *ret_len = plain_len;
  return 0;
}
