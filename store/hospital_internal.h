/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the hospital_*.c files only. */
#pragma once

#include "protocol/descriptor.h"
#include "store/database.h"
#include "store/hospital_store.h"

struct cns_hospital_store {
  struct cns_database database;
};

/* Prepares, and binds up to two leading digests (either may be NULL). */
CNS_MUST_CHECK int cns_hospital_query(struct cns_hospital_store *store, const char *sql,
                                      const struct cns_digest *first, const struct cns_digest *second,
                                      sqlite3_stmt **ret_stmt, struct cns_problem *problem);
/* 0 with a row to read, CNS_ERR_NOT_FOUND (no sentence) without. */
CNS_MUST_CHECK int cns_hospital_step(struct cns_hospital_store *store, sqlite3_stmt *stmt,
                                     struct cns_problem *problem);
/* Runs a prepared change (error: of preparing and binding it) as one durable
 * transaction, and finalises it. */
CNS_MUST_CHECK int cns_hospital_change(struct cns_hospital_store *store, sqlite3_stmt *stmt, int error,
                                       struct cns_problem *problem);
#define CNS_HOSPITAL_KNOWN 1
/* Prepares the insertion of a message, to be run and finalised. CNS_HOSPITAL_KNOWN:
 * exactly it is there; errors of cns_hospital_store_put_message. */
CNS_MUST_CHECK int cns_hospital_insert_message(struct cns_hospital_store *store,
                                               const struct cns_digest *descriptor, uint8_t phase,
                                               const uint8_t *bytes, size_t len, sqlite3_stmt **ret_stmt,
                                               struct cns_problem *problem);
/* Sealed under (table, key digest, number). */
CNS_MUST_CHECK int cns_hospital_bind_sealed(struct cns_hospital_store *store, sqlite3_stmt *stmt, int column,
                                            const char *table, const struct cns_digest *key, uint64_t number,
                                            const uint8_t *plain, size_t len);
CNS_MUST_CHECK int cns_hospital_column_sealed(struct cns_hospital_store *store, sqlite3_stmt *stmt,
                                              int column, const char *table, const struct cns_digest *key,
                                              uint64_t number, uint8_t **ret_plain, size_t *ret_len,
                                              struct cns_problem *problem);
/* A row without sealed content carries the seal of nothing, bound to what its
 * columns hold: a flipped bit in a round number must not pass for the number. */
CNS_MUST_CHECK int cns_hospital_bind_row_seal(struct cns_hospital_store *store, sqlite3_stmt *stmt,
                                              int column, const struct cns_digest *row);
/* 0, or CNS_ERR_FORMAT. */
CNS_MUST_CHECK int cns_hospital_check_row_seal(struct cns_hospital_store *store, sqlite3_stmt *stmt,
                                               int column, const struct cns_digest *row);
/* "this row is damaged" */
int cns_hospital_damaged(const struct cns_hospital_store *store, const char *what,
                         struct cns_problem *problem);
