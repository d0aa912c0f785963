/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings and the errors that every database of this room shares: WAL,
 * synchronous=FULL, foreign keys, secure_delete, one writer a file (unless its
 * kind is shared), values sealed at rest under one key that the file can recognise.
 */
#pragma once

#include <sqlite3.h>

#include "crypto/hash.h"

#define CNS_DATABASE_KEY_BYTES 32
/* Longest wait for another process's lock; none is waited for by a checkpoint. */
#define CNS_DATABASE_BUSY_TIMEOUT_MS 10000
/* Between attempts to empty the write-ahead log that a reader hinders. */
#define CNS_DATABASE_CHECKPOINT_PAUSE_MS 2000

/* What a kind of file is. */
struct cns_database_kind {
  const char *noun;        /* "journal", for sentences */
  const char *holder;      /* "coordinator", who locks it */
  uint32_t application_id; /* in SQLite's header */
  int version;             /* of the schema */
  const char *schema;      /* CREATE statements, of the newest version */
  /* Statements that lead from each earlier version to the next, from version 1
   * on: version - 1 of them. NULL: files of earlier versions are refused. */
  const char *const *upgrades;
  const char *context; /* of the at-rest key: 16..64 characters */
  /* Several processes may write, one transaction at a time: the lock is held while
   * the file is opened only. Its pages are checked for readers too. */
  bool shared;
};

struct cns_database {
  const struct cns_database_kind *kind;
  sqlite3 *sqlite;
  char *path;
  uint8_t *key; /* sodium_malloc */
  int lock_fd;  /* -1 when opened for reading only, or shared */
  bool readonly;
  int version; /* the file's: the kind's, or an earlier one when opened for reading only */
  bool in_transaction;
  bool checkpoint_due;       /* old content may still be in the write-ahead log */
  uint64_t checkpoint_at_ms; /* not before; of the monotonic clock */
};

/* Creates (whole or not at all) if there is none and not readonly; checks
 * application id, version, key, and the structure of all pages. A file of an
 * earlier version is brought up to the present one (whole or not at all), unless
 * readonly. */
CNS_MUST_CHECK int cns_database_open(const struct cns_database_kind *kind, const char *path,
                                     const uint8_t key[static CNS_DATABASE_KEY_BYTES], bool readonly,
                                     struct cns_database *ret_database, struct cns_problem *problem);
/* Rolls back what is open. A zeroed struct is fine. */
void cns_database_deinit(struct cns_database *database);

/* The CNS_ERR_* and the sentence of SQLite's last failure. doing: "adding an
 * entry". Never 0. */
int cns_database_fail(const struct cns_database *database, int sqlite_result, const char *doing,
                      struct cns_problem *problem);
CNS_MUST_CHECK int cns_database_exec(struct cns_database *database, const char *sql, const char *doing,
                                     struct cns_problem *problem);
CNS_MUST_CHECK int cns_database_prepare(struct cns_database *database, const char *sql,
                                        sqlite3_stmt **ret_stmt, struct cns_problem *problem);
/* Runs a statement that gives no rows, resets it and clears its bindings. */
CNS_MUST_CHECK int cns_database_run(struct cns_database *database, sqlite3_stmt *stmt, const char *doing,
                                    struct cns_problem *problem);

/* Opens the transaction if none is open. */
CNS_MUST_CHECK int cns_database_begin(struct cns_database *database, struct cns_problem *problem);
/* Commits durably; on failure rolls back. 0 if none is open. Afterwards
 * empties the write-ahead log if that is due; one that another process reads is
 * left for a later call. */
CNS_MUST_CHECK int cns_database_commit(struct cns_database *database, struct cns_problem *problem);
/* The next commit empties the log: what was erased is still in it. */
void cns_database_request_checkpoint(struct cns_database *database);
void cns_database_rollback(struct cns_database *database);

/* Binding and reading with the checks that SQLite leaves to us. */
CNS_MUST_CHECK int cns_bind_u64(sqlite3_stmt *stmt, int column,
                                uint64_t value); /* CNS_ERR_RANGE over 2^63-1 */
CNS_MUST_CHECK int cns_bind_digest(sqlite3_stmt *stmt, int column, const struct cns_digest *digest);
CNS_MUST_CHECK int cns_bind_blob(sqlite3_stmt *stmt, int column, const void *bytes, size_t len);
/* CNS_ERR_FORMAT if the column is not a non-negative integer up to max. */
CNS_MUST_CHECK int cns_column_u64(sqlite3_stmt *stmt, int column, uint64_t max, uint64_t *ret_value);
CNS_MUST_CHECK int cns_column_digest(sqlite3_stmt *stmt, int column, struct cns_digest *ret_digest);

/* nonce || sealed bytes, malloc'd; bound to `bound` (associated data). */
CNS_MUST_CHECK int cns_database_seal(const struct cns_database *database, const struct cns_digest *bound,
                                     const uint8_t *plain, size_t len, uint8_t **ret_sealed, size_t *ret_len);
/* malloc'd with a NUL appended; CNS_ERR_PROOF if it does not open. */
CNS_MUST_CHECK int cns_database_unseal(const struct cns_database *database, const struct cns_digest *bound,
                                       const uint8_t *sealed, size_t len, uint8_t **ret_plain,
                                       size_t *ret_len);

/* Wipes and frees; NULL is fine. Returns NULL. */
uint8_t *cns_wipe_free(uint8_t *bytes, size_t len);

#define CNS_DATABASE_COLUMN_MAX ((uint64_t)INT64_MAX)
