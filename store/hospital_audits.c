/* SPDX-License-Identifier: Apache-2.0 */
/* Audits: what was revealed of updates, and which models had one. A sketch
 * that was shown can't be taken back, whatever becomes of its round
 * (docs/protocol.md, "Sketch budget" and "After a round without a result"). */
#include "store/hospital_internal.h"

struct row {
  struct cns_digest descriptor, study, parent;
  uint64_t numbers; /* 0: uploaded, and not answered */
};

static void row_digest(const struct row *row, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 hospital audit");
  cns_hash_digest(&hash, &row->descriptor);
  cns_hash_digest(&hash, &row->study);
  cns_hash_digest(&hash, &row->parent);
  cns_hash_u64(&hash, row->numbers);
  cns_hash_final(&hash, ret_digest);
}

/* The row that the statement stands on: descriptor, study, parent, numbers, seal. */
static int read_row(struct cns_hospital_store *store, sqlite3_stmt *stmt, struct row *ret_row,
                    struct cns_problem *problem) {
  struct cns_digest digest;
  struct row row;
  int error = cns_column_digest(stmt, 0, &row.descriptor);
  if (!error) error = cns_column_digest(stmt, 1, &row.study);
  if (!error) error = cns_column_digest(stmt, 2, &row.parent);
  if (!error) error = cns_column_u64(stmt, 3, UINT32_MAX, &row.numbers);
  if (!error) {
    row_digest(&row, &digest);
    error = cns_hospital_check_row_seal(store, stmt, 4, &digest);
  }
  if (error == CNS_ERR_FORMAT) return cns_hospital_damaged(store, "the record of an audit", problem);
  if (!error) *ret_row = row;
  return error;
}

static int find(struct cns_hospital_store *store, const struct cns_digest *descriptor, struct row *ret_row,
                struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(
      store, "SELECT descriptor, study, parent, numbers, seal FROM audit WHERE descriptor=?", descriptor,
      NULL, &stmt, problem);
  if (!error) error = cns_hospital_step(store, stmt, problem);
  if (!error) error = read_row(store, stmt, ret_row, problem);
  sqlite3_finalize(stmt);
  return error;
}

static int prepare_row(struct cns_hospital_store *store, const struct row *row, sqlite3_stmt **ret_stmt,
                       struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  struct cns_digest digest;
  int error = cns_hospital_query(
      store, "INSERT OR REPLACE INTO audit(descriptor, study, parent, numbers, seal) VALUES(?,?,?,?,?)",
      &row->descriptor, &row->study, &stmt, problem);
  if (error) return error;
  row_digest(row, &digest);
  error = cns_bind_digest(stmt, 3, &row->parent);
  if (!error) error = cns_bind_u64(stmt, 4, row->numbers);
  if (!error) error = cns_hospital_bind_row_seal(store, stmt, 5, &digest);
  if (error)
    sqlite3_finalize(stmt);
  else
    *ret_stmt = stmt;
  return error;
}

int cns_hospital_store_enter_audit(struct cns_hospital_store *store, const struct cns_digest *study,
                                   const struct cns_digest *parent, const struct cns_digest *descriptor,
                                   struct cns_problem *problem) {
  struct row row;
  sqlite3_stmt *stmt = NULL;
  int error = find(store, descriptor, &row, problem);
  if (!error && (!cns_digest_equal(&row.study, study) || !cns_digest_equal(&row.parent, parent)))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "this round's audit is on record with another study or parent model");
  if (error != CNS_ERR_NOT_FOUND) return error;
  row = (struct row){.descriptor = *descriptor, .study = *study, .parent = *parent};
  error = prepare_row(store, &row, &stmt, problem);
  return error ? error : cns_hospital_change(store, stmt, 0, problem);
}

/* Both statements, as one durable change. */
static int change_both(struct cns_hospital_store *store, sqlite3_stmt *first, sqlite3_stmt *second,
                       struct cns_problem *problem) {
  struct cns_database *database = &store->database;
  int error = cns_database_begin(database, problem);
  if (!error) error = cns_database_run(database, first, "writing it down", problem);
  if (!error) error = cns_database_run(database, second, "writing it down", problem);
  if (!error) error = cns_database_commit(database, problem);
  if (error) cns_database_rollback(database);
  return error;
}

int cns_hospital_store_put_audit(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                                 uint8_t phase, uint64_t numbers, const uint8_t *bytes, size_t len,
                                 struct cns_problem *problem) {
  struct row row;
  sqlite3_stmt *message = NULL, *charge = NULL;
  if (numbers == 0 || numbers > UINT32_MAX) return CNS_ERR_ARGUMENT;
  int error = find(store, descriptor, &row, problem);
  if (error == CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, CNS_ERR_STATE,
                           "an audit is answered of a round to which nothing was uploaded");
  if (!error) error = cns_hospital_insert_message(store, descriptor, phase, bytes, len, &message, problem);
  if (error) return error == CNS_HOSPITAL_KNOWN ? 0 : error; /* known: charged with it */
  row.numbers = numbers;
  error = prepare_row(store, &row, &charge, problem);
  if (!error) error = change_both(store, message, charge, problem);
  sqlite3_finalize(message);
  sqlite3_finalize(charge);
  return error;
}

int cns_hospital_store_audits(struct cns_hospital_store *store, const struct cns_digest *study,
                              const struct cns_digest *parent, struct cns_audit_record *ret_audits,
                              struct cns_problem *problem) {
  struct cns_audit_record audits = {0};
  sqlite3_stmt *stmt = NULL;
  struct row row;
  if (store->database.version < 2) { /* for reading only, of a version that took part in none */
    *ret_audits = audits;
    return 0;
  }
  int error =
      cns_hospital_query(store, "SELECT descriptor, study, parent, numbers, seal FROM audit WHERE study=?",
                         study, NULL, &stmt, problem);
  while (!error) {
    error = cns_hospital_step(store, stmt, problem);
    if (!error) error = read_row(store, stmt, &row, problem);
    if (error) break;
    bool same = cns_digest_equal(&row.parent, parent);
    audits.numbers += row.numbers; /* each below 2^32: rows of 2^31 rounds would be needed to wrap */
    audits.answered += same && row.numbers > 0;
    audits.entered |= same;
  }
  sqlite3_finalize(stmt);
  if (error != CNS_ERR_NOT_FOUND) return error;
  *ret_audits = audits;
  return 0;
}
