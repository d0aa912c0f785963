/* SPDX-License-Identifier: Apache-2.0 */
/* Consents, accepted versions of signed documents, and the last manifest. */
#include <string.h>

#include "store/hospital_internal.h"

/* ---- consent ---- */

int cns_hospital_store_put_consent(struct cns_hospital_store *store, const struct cns_digest *study,
                                   const uint8_t *document, size_t len, struct cns_problem *problem) {
  if (len == 0 || len > CNS_HOSPITAL_STORE_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "a consent of %zu bytes is out of range", len);
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(store, "INSERT OR REPLACE INTO consent(study, sealed) VALUES(?,?)", study,
                                 NULL, &stmt, problem);
  if (!error) error = cns_hospital_bind_sealed(store, stmt, 2, "a consent", study, 0, document, len);
  return cns_hospital_change(store, stmt, error, problem);
}

int cns_hospital_store_get_consent(struct cns_hospital_store *store, const struct cns_digest *study,
                                   uint8_t **ret_document, size_t *ret_len, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_hospital_query(store, "SELECT sealed FROM consent WHERE study=?", study, NULL, &stmt, problem);
  if (error) return error;
  error = cns_hospital_step(store, stmt, problem);
  if (!error)
    error = cns_hospital_column_sealed(store, stmt, 0, "a consent", study, 0, ret_document, ret_len, problem);
  sqlite3_finalize(stmt);
  return error;
}

int cns_hospital_store_withdraw_consent(struct cns_hospital_store *store, const struct cns_digest *study,
                                        struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(store, "DELETE FROM consent WHERE study=?", study, NULL, &stmt, problem);
  return cns_hospital_change(store, stmt, error, problem);
}

/* ---- versions ---- */

static bool kind_valid(const char *kind) {
  size_t len = strlen(kind);
  return len >= 1 && len <= 15 && strspn(kind, "abcdefghijklmnopqrstuvwxyz") == len;
}

static void accepted_row(const char *kind, uint64_t version, const struct cns_digest *digest,
                         struct cns_digest *ret_row) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 hospital accepted");
  cns_hash_blob(&hash, kind, strlen(kind));
  cns_hash_u64(&hash, version);
  cns_hash_digest(&hash, digest);
  cns_hash_final(&hash, ret_row);
}

int cns_hospital_store_accepted_version(struct cns_hospital_store *store, const char *kind,
                                        uint64_t *ret_version, struct cns_digest *ret_digest) {
  if (!kind_valid(kind)) return CNS_ERR_ARGUMENT;
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(store, "SELECT version, digest, seal FROM accepted WHERE kind=?", NULL, NULL,
                                 &stmt, NULL);
  if (error) return error;
  uint64_t version = 0;
  struct cns_digest digest;
  if (sqlite3_bind_text(stmt, 1, kind, -1, SQLITE_TRANSIENT) != SQLITE_OK) error = CNS_ERR_MEMORY;
  if (!error) error = cns_hospital_step(store, stmt, NULL);
  if (!error) error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &version);
  if (!error) error = cns_column_digest(stmt, 1, &digest);
  if (!error) {
    struct cns_digest row;
    accepted_row(kind, version, &digest, &row);
    error = cns_hospital_check_row_seal(store, stmt, 2, &row);
  }
  sqlite3_finalize(stmt);
  if (error) return error;
  *ret_version = version;
  *ret_digest = digest;
  return 0;
}

#define SAME_VERSION 1

/* 0: higher than before. */
static int compare_version(struct cns_hospital_store *store, const char *kind, uint64_t version,
                           const struct cns_digest *digest, struct cns_problem *problem) {
  uint64_t old_version = 0;
  struct cns_digest old;
  int error = cns_hospital_store_accepted_version(store, kind, &old_version, &old);
  if (error == CNS_ERR_FORMAT) return cns_hospital_damaged(store, "an accepted version", problem);
  if (error && error != CNS_ERR_NOT_FOUND) return error;
  if (!error && version < old_version)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s version %llu is older than version %llu, which this hospital has accepted",
                           kind, (unsigned long long)version, (unsigned long long)old_version);
  if (!error && version == old_version) {
    if (cns_digest_equal(&old, digest)) return SAME_VERSION;
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s version %llu is not the document of that version that this hospital has accepted; "
        "ask the consortium which one is right",
        kind, (unsigned long long)version);
  }
  return 0;
}

int cns_hospital_store_check_version(struct cns_hospital_store *store, const char *kind, uint64_t version,
                                     const struct cns_digest *digest, struct cns_problem *problem) {
  int error = compare_version(store, kind, version, digest, problem);
  return error == SAME_VERSION ? 0 : error;
}

int cns_hospital_store_accept_version(struct cns_hospital_store *store, const char *kind, uint64_t version,
                                      const struct cns_digest *digest, struct cns_problem *problem) {
  int error = compare_version(store, kind, version, digest, problem);
  if (error) return error == SAME_VERSION ? 0 : error;
  sqlite3_stmt *stmt = NULL;
  error = cns_hospital_query(store,
                             "INSERT OR REPLACE INTO accepted(digest, kind, version, seal) VALUES(?,?,?,?)",
                             digest, NULL, &stmt, problem);
  if (!error && sqlite3_bind_text(stmt, 2, kind, -1, SQLITE_TRANSIENT) != SQLITE_OK) error = CNS_ERR_MEMORY;
  if (!error) error = cns_bind_u64(stmt, 3, version);
  struct cns_digest row;
  accepted_row(kind, version, digest, &row);
  if (!error) error = cns_hospital_bind_row_seal(store, stmt, 4, &row);
  return cns_hospital_change(store, stmt, error, problem);
}

/* ---- manifest ---- */

static void manifest_digest(const struct cns_digest *model, const uint8_t *manifest, size_t len,
                            struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 hospital manifest");
  cns_hash_digest(&hash, model);
  cns_hash_blob(&hash, manifest, len);
  cns_hash_final(&hash, ret_digest);
}

int cns_hospital_store_get_manifest(struct cns_hospital_store *store, const struct cns_digest *study,
                                    uint64_t *ret_round, struct cns_digest *ret_model, uint8_t **ret_manifest,
                                    size_t *ret_len, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_hospital_query(store, "SELECT round, model, digest, sealed FROM manifest WHERE study=?",
                                 study, NULL, &stmt, problem);
  if (error) return error;
  uint64_t round = 0;
  struct cns_digest model, digest, found;
  uint8_t *manifest = NULL;
  size_t len = 0;
  error = cns_hospital_step(store, stmt, problem);
  if (!error && (cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &round) != 0 ||
                 cns_column_digest(stmt, 1, &model) != 0 || cns_column_digest(stmt, 2, &digest) != 0))
    error = cns_hospital_damaged(store, "the last manifest", problem);
  if (!error)
    error = cns_hospital_column_sealed(store, stmt, 3, "the last manifest", study, round, &manifest, &len,
                                       problem);
  sqlite3_finalize(stmt);
  if (error) return error;
  manifest_digest(&model, manifest, len, &found);
  if (!cns_digest_equal(&found, &digest)) {
    cns_wipe_free(manifest, len);
    return cns_hospital_damaged(store, "the last manifest", problem);
  }
  *ret_round = round;
  *ret_model = model;
  *ret_manifest = manifest;
  *ret_len = len;
  return 0;
}

/* The round and digest of the manifest on record, which is verified whole
 * before it decides anything. */
static int manifest_on_record(struct cns_hospital_store *store, const struct cns_digest *study,
                              uint64_t *ret_round, struct cns_digest *ret_digest,
                              struct cns_problem *problem) {
  struct cns_digest model;
  uint8_t *manifest = NULL;
  size_t len = 0;
  int error = cns_hospital_store_get_manifest(store, study, ret_round, &model, &manifest, &len, problem);
  if (error) return error;
  manifest_digest(&model, manifest, len, ret_digest);
  cns_wipe_free(manifest, len);
  return 0;
}

static int check_manifest_follows(uint64_t old_round, const struct cns_digest *old, uint64_t round,
                                  const struct cns_digest *digest, struct cns_problem *problem) {
  if (round > old_round || (round == old_round && cns_digest_equal(old, digest))) return 0;
  if (round == old_round)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the manifest of round %llu is not the one that this hospital has accepted for that "
        "round: the history was forked; tell the consortium",
        (unsigned long long)round);
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "the manifest of round %llu is older than that of round %llu, which this hospital has "
      "accepted",
      (unsigned long long)round, (unsigned long long)old_round);
}

int cns_hospital_store_put_manifest(struct cns_hospital_store *store, const struct cns_digest *study,
                                    uint64_t round, const struct cns_digest *model, const uint8_t *manifest,
                                    size_t len, struct cns_problem *problem) {
  if (len == 0 || len > CNS_HOSPITAL_STORE_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "a manifest of %zu bytes is out of range", len);
  uint64_t old_round = 0;
  struct cns_digest digest, old;
  manifest_digest(model, manifest, len, &digest);
  int error = manifest_on_record(store, study, &old_round, &old, problem);
  if (error && error != CNS_ERR_NOT_FOUND) return error;
  if (!error) {
    error = check_manifest_follows(old_round, &old, round, &digest, problem);
    if (error || round == old_round) return error;
  }
  sqlite3_stmt *stmt = NULL;
  error = cns_hospital_query(
      store, "INSERT OR REPLACE INTO manifest(study, model, round, digest, sealed) VALUES(?,?,?,?,?)", study,
      model, &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 3, round);
  if (!error) error = cns_bind_digest(stmt, 4, &digest);
  if (!error)
    error = cns_hospital_bind_sealed(store, stmt, 5, "the last manifest", study, round, manifest, len);
  return cns_hospital_change(store, stmt, error, problem);
}
