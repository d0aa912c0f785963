/* SPDX-License-Identifier: Apache-2.0 */
/* Spent, abandoned and refunded updates. An update that was cut off after its
 * first byte may still be in a sum, and two sums over the same updates differ
 * by a single one (docs/protocol.md, "upload"). */
#include "store/hospital_internal.h"

struct row {
  struct cns_digest parent;
  uint64_t uploaded, abandoned, refunded;
  uint64_t unmask_phase; /* known once abandoned */
};

static void row_digest(const struct cns_digest *descriptor, const struct row *row,
                       struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 hospital spent");
  cns_hash_digest(&hash, descriptor);
  cns_hash_digest(&hash, &row->parent);
  cns_hash_u64(&hash, row->uploaded);
  cns_hash_u64(&hash, row->abandoned);
  cns_hash_u64(&hash, row->refunded);
  cns_hash_u64(&hash, row->unmask_phase);
  cns_hash_final(&hash, ret_digest);
}

static int find(struct cns_hospital_store *store, const struct cns_digest *descriptor, struct row *ret_row) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(
      store, "SELECT parent, uploaded, abandoned, refunded, unmask_phase, seal FROM spent WHERE descriptor=?",
      descriptor, NULL, &stmt, NULL);
  if (error) return error;
  struct row row;
  error = cns_hospital_step(store, stmt, NULL);
  if (!error) error = cns_column_digest(stmt, 0, &row.parent);
  if (!error) error = cns_column_u64(stmt, 1, 1, &row.uploaded);
  if (!error) error = cns_column_u64(stmt, 2, 1, &row.abandoned);
  if (!error) error = cns_column_u64(stmt, 3, 1, &row.refunded);
  if (!error) error = cns_column_u64(stmt, 4, UINT8_MAX, &row.unmask_phase);
  if (!error) {
    struct cns_digest digest;
    row_digest(descriptor, &row, &digest);
    error = cns_hospital_check_row_seal(store, stmt, 5, &digest);
  }
  sqlite3_finalize(stmt);
  if (!error) *ret_row = row;
  return error;
}

static int write_row(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                     const struct row *row, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_hospital_query(store,
                         "INSERT OR REPLACE INTO spent(descriptor, parent, uploaded, abandoned, refunded, "
                         "unmask_phase, seal) VALUES(?,?,?,?,?,?,?)",
                         descriptor, &row->parent, &stmt, problem);
  struct cns_digest digest;
  row_digest(descriptor, row, &digest);
  if (!error) error = cns_bind_u64(stmt, 3, row->uploaded);
  if (!error) error = cns_bind_u64(stmt, 4, row->abandoned);
  if (!error) error = cns_bind_u64(stmt, 5, row->refunded);
  if (!error) error = cns_bind_u64(stmt, 6, row->unmask_phase);
  if (!error) error = cns_hospital_bind_row_seal(store, stmt, 7, &digest);
  return cns_hospital_change(store, stmt, error, problem);
}

/* 0 with ret_found; a row with another parent is refused. */
static int find_for(struct cns_hospital_store *store, const struct cns_digest *parent,
                    const struct cns_digest *descriptor, struct row *ret_row, bool *ret_found,
                    struct cns_problem *problem) {
  int error = find(store, descriptor, ret_row);
  if (error == CNS_ERR_NOT_FOUND) {
    *ret_found = false;
    return 0;
  }
  if (error == CNS_ERR_FORMAT) return cns_hospital_damaged(store, "the record of a spent update", problem);
  if (error) return error;
  if (!cns_digest_equal(&ret_row->parent, parent))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "this round is on record with another parent model");
  *ret_found = true;
  return 0;
}

int cns_hospital_store_spend(struct cns_hospital_store *store, const struct cns_digest *parent,
                             const struct cns_digest *descriptor, struct cns_problem *problem) {
  struct row row;
  bool found = false;
  int error = find_for(store, parent, descriptor, &row, &found, problem);
  if (error) return error;
  if (found && row.abandoned)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "this hospital has abandoned this round: nothing is uploaded to it");
  if (found) return 0;
  row = (struct row){.parent = *parent, .uploaded = 1};
  return write_row(store, descriptor, &row, problem);
}

static int check_not_unmasked(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                              uint8_t unmask_phase, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_hospital_query(store, "SELECT 1 FROM message WHERE descriptor=? AND (phase=?2 OR phase>=?3)",
                         descriptor, NULL, &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 2, unmask_phase);
  if (!error) error = cns_bind_u64(stmt, 3, CNS_PHASE_FORFEIT); /* and its further rounds */
  if (!error) error = cns_hospital_step(store, stmt, problem);
  sqlite3_finalize(stmt);
  if (error == CNS_ERR_NOT_FOUND) return 0;
  if (error) return error;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "this hospital has answered the unmasking of this round and can't abandon it any more");
}

int cns_hospital_store_abandon(struct cns_hospital_store *store, const struct cns_digest *parent,
                               const struct cns_digest *descriptor, uint8_t unmask_phase,
                               struct cns_problem *problem) {
  struct row row;
  bool found = false;
  int error = find_for(store, parent, descriptor, &row, &found, problem);
  if (error || (found && row.abandoned)) return error;
  error = check_not_unmasked(store, descriptor, unmask_phase, problem);
  if (error) return error;
  if (!found) row = (struct row){.parent = *parent};
  row.abandoned = 1;
  row.unmask_phase = unmask_phase;
  return write_row(store, descriptor, &row, problem);
}

int cns_hospital_store_refund(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                              struct cns_problem *problem) {
  struct row row;
  int error = find(store, descriptor, &row);
  if (error == CNS_ERR_FORMAT) return cns_hospital_damaged(store, "the record of a spent update", problem);
  if (error && error != CNS_ERR_NOT_FOUND) return error;
  if (error == CNS_ERR_NOT_FOUND || !row.abandoned)
    return cns_problem_set(problem, CNS_ERR_STATE,
                           "an update is refunded only after this hospital has abandoned its round itself");
  if (row.refunded) return 0;
  row.refunded = 1;
  return write_row(store, descriptor, &row, problem);
}

int cns_hospital_store_update_state(struct cns_hospital_store *store, const struct cns_digest *descriptor,
                                    enum cns_update_state *ret_state) {
  struct row row;
  int error = find(store, descriptor, &row);
  if (error == CNS_ERR_NOT_FOUND) {
    *ret_state = CNS_UPDATE_UNUSED;
    return 0;
  }
  if (error) return error;
  *ret_state = row.refunded ? CNS_UPDATE_REFUNDED : row.abandoned ? CNS_UPDATE_ABANDONED : CNS_UPDATE_SPENT;
  return 0;
}

int cns_hospital_store_count_spent(struct cns_hospital_store *store, const struct cns_digest *parent,
                                   uint64_t *ret_count) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_hospital_query(store, "SELECT count(*) FROM spent WHERE parent=? AND uploaded=1 AND refunded=0",
                         parent, NULL, &stmt, NULL);
  if (error) return error;
  error = cns_hospital_step(store, stmt, NULL);
  if (!error) error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, ret_count);
  sqlite3_finalize(stmt);
  return error;
}
