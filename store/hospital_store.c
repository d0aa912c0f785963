/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hospital_store.h"

#include <stdlib.h>
#include <string.h>

#include "store/hospital_internal.h"

/* Since version 2. A row for each audited round that was uploaded to; numbers: of
 * A*x that were revealed in it. */
#define AUDIT_TABLE                                                                                          \
  "CREATE TABLE audit(descriptor BLOB PRIMARY KEY, study BLOB NOT NULL, parent BLOB NOT NULL,"               \
  " numbers INTEGER NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;"                                            \
  "CREATE INDEX audit_study ON audit(study)"

static const char *const hospital_upgrades[] = {AUDIT_TABLE};

static const struct cns_database_kind hospital_kind = {
    .noun = "hospital's record",
    .holder = "hospital agent",
    .application_id = 0x434e5348, /* "CNSH" */
    .version = 2,
    .upgrades = hospital_upgrades,
    .context = "consilium/1 hospital at rest",
    .schema =
        "CREATE TABLE signed_round(study BLOB PRIMARY KEY, round INTEGER NOT NULL, attempt INTEGER NOT NULL,"
        " descriptor BLOB NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE message(descriptor BLOB NOT NULL, phase INTEGER NOT NULL, digest BLOB NOT NULL,"
        " sealed BLOB, PRIMARY KEY(descriptor, phase));"
        "CREATE TABLE consent(study BLOB PRIMARY KEY, sealed BLOB NOT NULL);"
        "CREATE TABLE spent(descriptor BLOB PRIMARY KEY, parent BLOB NOT NULL, uploaded INTEGER NOT NULL,"
        " abandoned INTEGER NOT NULL, refunded INTEGER NOT NULL, unmask_phase INTEGER NOT NULL,"
        " seal BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE INDEX spent_parent ON spent(parent);"
        "CREATE TABLE accepted(kind TEXT PRIMARY KEY, version INTEGER NOT NULL, digest BLOB NOT NULL,"
        " seal BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE manifest(study BLOB PRIMARY KEY, round INTEGER NOT NULL, model BLOB NOT NULL,"
        " digest BLOB NOT NULL, sealed BLOB NOT NULL);" AUDIT_TABLE,
};

static int open_store(const char *path, const uint8_t *key, bool readonly,
                      struct cns_hospital_store **ret_store, struct cns_problem *problem) {
  struct cns_hospital_store *store = calloc(1, sizeof(*store));
  if (!store) return CNS_ERR_MEMORY;
  int error = cns_database_open(&hospital_kind, path, key, readonly, &store->database, problem);
  if (error) {
    free(store);
    return error;
  }
  *ret_store = store;
  return 0;
}

int cns_hospital_store_open(const char *path, const uint8_t key[static CNS_HOSPITAL_STORE_KEY_BYTES],
                            struct cns_hospital_store **ret_store, struct cns_problem *problem) {
  return open_store(path, key, false, ret_store, problem);
}

int cns_hospital_store_open_readonly(const char *path, const uint8_t key[static CNS_HOSPITAL_STORE_KEY_BYTES],
                                     struct cns_hospital_store **ret_store, struct cns_problem *problem) {
  return open_store(path, key, true, ret_store, problem);
}

struct cns_hospital_store *cns_hospital_store_free(struct cns_hospital_store *store) {
  if (!store) return NULL;
  cns_database_deinit(&store->database);
  free(store);
  return NULL;
}

int cns_hospital_query(struct cns_hospital_store *store, const char *sql, const struct cns_digest *first,
                       const struct cns_digest *second, sqlite3_stmt **ret_stmt,
                       struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(&store->database, sql, &stmt, problem);
  if (!error && first) error = cns_bind_digest(stmt, 1, first);
  if (!error && second) error = cns_bind_digest(stmt, 2, second);
  if (error) {
    sqlite3_finalize(stmt);
    return error;
  }
  *ret_stmt = stmt;
  return 0;
}

int cns_hospital_step(struct cns_hospital_store *store, sqlite3_stmt *stmt, struct cns_problem *problem) {
  int step = sqlite3_step(stmt);
  if (step == SQLITE_ROW) return 0;
  if (step == SQLITE_DONE) return CNS_ERR_NOT_FOUND;
  return cns_database_fail(&store->database, step, "reading it", problem);
}

int cns_hospital_change(struct cns_hospital_store *store, sqlite3_stmt *stmt, int error,
                        struct cns_problem *problem) {
  if (!error) error = cns_database_begin(&store->database, problem);
  if (!error) error = cns_database_run(&store->database, stmt, "writing it down", problem);
  sqlite3_finalize(stmt);
  if (!error) error = cns_database_commit(&store->database, problem);
  if (error) cns_database_rollback(&store->database);
  return error;
}

int cns_hospital_damaged(const struct cns_hospital_store *store, const char *what,
                         struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: %s is damaged; restore the file from a copy",
                         store->database.path, what);
}

static void seal_bound(const char *table, const struct cns_digest *key, uint64_t number,
                       struct cns_digest *ret_bound) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 hospital seal");
  cns_hash_blob(&hash, table, strlen(table));
  cns_hash_digest(&hash, key);
  cns_hash_u64(&hash, number);
  cns_hash_final(&hash, ret_bound);
}

int cns_hospital_bind_sealed(struct cns_hospital_store *store, sqlite3_stmt *stmt, int column,
                             const char *table, const struct cns_digest *key, uint64_t number,
                             const uint8_t *plain, size_t len) {
  if (len > CNS_HOSPITAL_STORE_BYTES_MAX) return CNS_ERR_LIMIT;
  struct cns_digest bound;
  seal_bound(table, key, number, &bound);
  uint8_t *sealed = NULL;
  size_t sealed_len = 0;
  int error = cns_database_seal(&store->database, &bound, plain, len, &sealed, &sealed_len);
  if (!error) error = cns_bind_blob(stmt, column, sealed, sealed_len);
  free(sealed);
  return error;
}

int cns_hospital_column_sealed(struct cns_hospital_store *store, sqlite3_stmt *stmt, int column,
                               const char *table, const struct cns_digest *key, uint64_t number,
                               uint8_t **ret_plain, size_t *ret_len, struct cns_problem *problem) {
  struct cns_digest bound;
  seal_bound(table, key, number, &bound);
  const void *sealed = sqlite3_column_blob(stmt, column);
  int error = cns_database_unseal(&store->database, &bound, sealed,
                                  (size_t)sqlite3_column_bytes(stmt, column), ret_plain, ret_len);
  return error == CNS_ERR_PROOF ? cns_hospital_damaged(store, table, problem) : error;
}

int cns_hospital_bind_row_seal(struct cns_hospital_store *store, sqlite3_stmt *stmt, int column,
                               const struct cns_digest *row) {
  uint8_t *sealed = NULL;
  size_t len = 0;
  int error = cns_database_seal(&store->database, row, NULL, 0, &sealed, &len);
  if (!error) error = cns_bind_blob(stmt, column, sealed, len);
  free(sealed);
  return error;
}

int cns_hospital_check_row_seal(struct cns_hospital_store *store, sqlite3_stmt *stmt, int column,
                                const struct cns_digest *row) {
  uint8_t *plain = NULL;
  size_t len = 0;
  const void *sealed = sqlite3_column_blob(stmt, column);
  int error = cns_database_unseal(&store->database, row, sealed, (size_t)sqlite3_column_bytes(stmt, column),
                                  &plain, &len);
  free(plain);
  return error == CNS_ERR_PROOF || (!error && len != 0) ? CNS_ERR_FORMAT : error;
}

/* ---- descriptors ---- */

static void signed_round_row(const struct cns_digest *study, uint64_t round, uint64_t attempt,
                             const struct cns_digest *descriptor, struct cns_digest *ret_row) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 hospital signed round");
  cns_hash_digest(&hash, study);
  cns_hash_u64(&hash, round);
  cns_hash_u64(&hash, attempt);
  cns_hash_digest(&hash, descriptor);
  cns_hash_final(&hash, ret_row);
}

int cns_hospital_store_signed_round(struct cns_hospital_store *store, const struct cns_digest *study,
                                    uint64_t *ret_round, uint32_t *ret_attempt,
                                    struct cns_digest *ret_descriptor) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_hospital_query(store, "SELECT round, attempt, descriptor, seal FROM signed_round WHERE study=?",
                         study, NULL, &stmt, NULL);
  if (error) return error;
  uint64_t round = 0, attempt = 0;
  struct cns_digest descriptor;
  error = cns_hospital_step(store, stmt, NULL);
  if (!error) error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &round);
  if (!error) error = cns_column_u64(stmt, 1, UINT32_MAX, &attempt);
  if (!error) error = cns_column_digest(stmt, 2, &descriptor);
  if (!error) {
    struct cns_digest row;
    signed_round_row(study, round, attempt, &descriptor, &row);
    error = cns_hospital_check_row_seal(store, stmt, 3, &row);
  }
  sqlite3_finalize(stmt);
  if (error) return error;
  *ret_round = round;
  *ret_attempt = (uint32_t)attempt;
  *ret_descriptor = descriptor;
  return 0;
}

int cns_hospital_store_sign_round(struct cns_hospital_store *store, const struct cns_digest *study,
                                  uint64_t round, uint32_t attempt, const struct cns_digest *descriptor,
                                  struct cns_problem *problem) {
  uint64_t old_round = 0;
  uint32_t old_attempt = 0;
  struct cns_digest old;
  int error = cns_hospital_store_signed_round(store, study, &old_round, &old_attempt, &old);
  if (!error) {
    bool same_numbers = round == old_round && attempt == old_attempt;
    if (same_numbers && cns_digest_equal(&old, descriptor)) return 0;
    if (same_numbers)
      return cns_problem_set(
          problem, CNS_ERR_REFUSED,
          "round %llu, attempt %u: the coordinator sent a second, different description of a "
          "round that this hospital has signed already; tell the consortium",
          (unsigned long long)round, attempt);
    if (round < old_round || (round == old_round && attempt < old_attempt))
      return cns_problem_set(
          problem, CNS_ERR_REFUSED,
          "round %llu, attempt %u is older than the last one that this hospital signed (round "
          "%llu, attempt %u)",
          (unsigned long long)round, attempt, (unsigned long long)old_round, old_attempt);
  } else if (error != CNS_ERR_NOT_FOUND) {
    return error == CNS_ERR_FORMAT ? cns_hospital_damaged(store, "the last signed round", problem) : error;
  }
  sqlite3_stmt *stmt = NULL;
  error = cns_hospital_query(
      store, "INSERT OR REPLACE INTO signed_round(study, descriptor, round, attempt, seal) VALUES(?,?,?,?,?)",
      study, descriptor, &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 3, round);
  if (!error) error = cns_bind_u64(stmt, 4, attempt);
  struct cns_digest row;
  signed_round_row(study, round, attempt, descriptor, &row);
  if (!error) error = cns_hospital_bind_row_seal(store, stmt, 5, &row);
  return cns_hospital_change(store, stmt, error, problem);
}

/* ---- messages ---- */

static void message_digest(const uint8_t *bytes, size_t len, struct cns_digest *ret_digest) {
  cns_hash_once("consilium/1 hospital message", bytes, len, ret_digest);
}

static int find_message(struct cns_hospital_store *store, const struct cns_digest *descriptor, uint8_t phase,
                        sqlite3_stmt **ret_stmt, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(store, "SELECT digest, sealed FROM message WHERE descriptor=? AND phase=?",
                                 descriptor, NULL, &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 2, phase);
  if (!error) error = cns_hospital_step(store, stmt, problem);
  if (error) {
    sqlite3_finalize(stmt);
    return error;
  }
  *ret_stmt = stmt;
  return 0;
}

static int compare_message(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                           uint8_t phase, const struct cns_digest *digest, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = find_message(store, descriptor, phase, &stmt, problem);
  if (error) return error;
  struct cns_digest old;
  error = cns_column_digest(stmt, 0, &old);
  sqlite3_finalize(stmt);
  if (error) return cns_hospital_damaged(store, "a message", problem);
  if (cns_digest_equal(&old, digest)) return 0;
  return cns_problem_set(
      problem, CNS_ERR_EXISTS,
      "this hospital has already answered phase %u of this round with another message, and never "
      "gives a second answer",
      phase);
}

/* Of the audit, or of its rounds of forfeits, which are numbered behind all phases. */
static bool is_of_audit(uint8_t phase) {
  return phase == CNS_PHASE_AUDIT || phase == CNS_PHASE_DISPUTE || phase >= CNS_PHASE_FORFEIT;
}

/* Who signed abandon(R) never unmasks R, and says nothing more of its update. */
static int check_not_abandoned(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                               uint8_t phase, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(
      store, "SELECT 1 FROM spent WHERE descriptor=? AND abandoned=1 AND (unmask_phase=?2 OR ?3)", descriptor,
      NULL, &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 2, phase);
  if (!error) error = cns_bind_u64(stmt, 3, is_of_audit(phase));
  if (!error) error = cns_hospital_step(store, stmt, problem);
  sqlite3_finalize(stmt);
  if (error == CNS_ERR_NOT_FOUND) return 0;
  if (error) return error;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "this hospital has abandoned this round and never unmasks it");
}

int cns_hospital_insert_message(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                                uint8_t phase, const uint8_t *bytes, size_t len, sqlite3_stmt **ret_stmt,
                                struct cns_problem *problem) {
  if (len > CNS_HOSPITAL_STORE_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "a message of %zu bytes is over the limit of %u", len,
                           CNS_HOSPITAL_STORE_BYTES_MAX);
  struct cns_digest digest;
  message_digest(bytes, len, &digest);
  int error = compare_message(store, descriptor, phase, &digest, problem);
  if (error != CNS_ERR_NOT_FOUND) return error ? error : CNS_HOSPITAL_KNOWN;
  error = check_not_abandoned(store, descriptor, phase, problem);
  if (error) return error;
  sqlite3_stmt *stmt = NULL;
  error = cns_hospital_query(store, "INSERT INTO message(descriptor, digest, phase, sealed) VALUES(?,?,?,?)",
                             descriptor, &digest, &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 3, phase);
  if (!error) error = cns_hospital_bind_sealed(store, stmt, 4, "a message", descriptor, phase, bytes, len);
  if (error)
    sqlite3_finalize(stmt);
  else
    *ret_stmt = stmt;
  return error;
}

int cns_hospital_store_put_message(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                                   uint8_t phase, const uint8_t *bytes, size_t len,
                                   struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_insert_message(store, descriptor, phase, bytes, len, &stmt, problem);
  if (error) return error == CNS_HOSPITAL_KNOWN ? 0 : error;
  return cns_hospital_change(store, stmt, 0, problem);
}

int cns_hospital_store_get_message(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                                   uint8_t phase, uint8_t **ret_bytes, size_t *ret_len,
                                   struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = find_message(store, descriptor, phase, &stmt, problem);
  if (error) return error;
  struct cns_digest digest, found;
  uint8_t *bytes = NULL;
  size_t len = 0;
  error = cns_column_digest(stmt, 0, &digest);
  if (!error && sqlite3_column_type(stmt, 1) == SQLITE_NULL) error = CNS_ERR_NOT_FOUND;
  if (!error)
    error = cns_hospital_column_sealed(store, stmt, 1, "a message", descriptor, phase, &bytes, &len, problem);
  sqlite3_finalize(stmt);
  if (error) return error;
  message_digest(bytes, len, &found);
  if (!cns_digest_equal(&found, &digest)) {
    cns_wipe_free(bytes, len);
    return cns_hospital_damaged(store, "a message", problem);
  }
  *ret_bytes = bytes;
  *ret_len = len;
  return 0;
}

int cns_hospital_store_forget_messages(struct cns_hospital_store *store, const struct cns_digest *running,
                                       struct cns_problem *problem) {
  static const char all[] = "UPDATE message SET sealed=NULL WHERE sealed IS NOT NULL";
  static const char others[] = "UPDATE message SET sealed=NULL WHERE sealed IS NOT NULL AND descriptor<>?";
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(store, running ? others : all, running, NULL, &stmt, problem);
  cns_database_request_checkpoint(&store->database);
  return cns_hospital_change(store, stmt, error, problem);
}
