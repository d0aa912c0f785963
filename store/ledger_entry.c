/* SPDX-License-Identifier: Apache-2.0 */
/* One entry: its canonical bytes, digest and signature, and its place in the chain. */
#include <string.h>

#include "store/ledger_internal.h"

#define VERSION 1

static const char digest_context[] = "consilium/1 ledger entry";
static const char signature_context[] = "consilium/1 ledger signature";

void cns_ledger_genesis(const struct cns_identity_public *owner, const struct cns_digest *subject,
                        struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 ledger genesis");
  cns_hash_bytes(&hash, owner->bytes, sizeof(owner->bytes));
  cns_hash_digest(&hash, subject);
  cns_hash_final(&hash, ret_digest);
}

int cns_ledger_damaged(const struct cns_ledger *ledger, uint64_t sequence, const char *what,
                       struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: entry %llu of this privacy ledger %s; restore the newest copy of the file",
                         ledger->database.path, (unsigned long long)sequence, what);
}

int cns_ledger_check_round(const struct cns_ledger_round *round, struct cns_problem *problem) {
  size_t len = strnlen(round->study_name, sizeof(round->study_name));
  if (len == 0 || len > CNS_NAME_MAX || !cns_text_is_utf8(round->study_name))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "the study's name in the privacy ledger must be 1 to %d bytes of UTF-8",
                           CNS_NAME_MAX);
  if (round->round > CNS_DATABASE_COLUMN_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "the number of the round is too large");
  int error = 0;
  for (size_t k = 0; k < CNS_LEDGER_OBSERVERS && !error; k++)
    error = cns_budget_check_cost(&round->costs[k], problem);
  return error;
}

/* By bits: what was signed, not what is as large. */
static bool cost_equal(const struct cns_budget_cost *a, const struct cns_budget_cost *b) {
  return memcmp(&a->noise_multiplier, &b->noise_multiplier, sizeof(double)) == 0 &&
         memcmp(&a->sampling_rate, &b->sampling_rate, sizeof(double)) == 0 && a->rounds == b->rounds &&
         memcmp(&a->extra_delta, &b->extra_delta, sizeof(double)) == 0;
}

bool cns_ledger_round_equal(const struct cns_ledger_round *a, const struct cns_ledger_round *b) {
  bool equal = cns_digest_equal(&a->study, &b->study) && strcmp(a->study_name, b->study_name) == 0 &&
               a->round == b->round && a->attempt == b->attempt &&
               cns_digest_equal(&a->descriptor, &b->descriptor) &&
               cns_digest_equal(&a->data_set, &b->data_set);
  for (size_t k = 0; k < CNS_LEDGER_OBSERVERS; k++)
    equal = equal && cost_equal(&a->costs[k], &b->costs[k]);
  return equal;
}

/* ---- canonical bytes ---- */

static void write_digest(struct cns_writer *writer, const struct cns_digest *digest) {
  cns_write_bytes(writer, digest->bytes, sizeof(digest->bytes));
}

static void write_round(struct cns_writer *writer, const struct cns_ledger_round *round) {
  write_digest(writer, &round->study);
  cns_write_blob(writer, (const uint8_t *)round->study_name, strlen(round->study_name));
  cns_write_u64(writer, round->round);
  cns_write_u32(writer, round->attempt);
  write_digest(writer, &round->descriptor);
  write_digest(writer, &round->data_set);
  for (size_t k = 0; k < CNS_LEDGER_OBSERVERS; k++) {
    cns_write_f64(writer, round->costs[k].noise_multiplier);
    cns_write_f64(writer, round->costs[k].sampling_rate);
    cns_write_u64(writer, round->costs[k].rounds);
    cns_write_f64(writer, round->costs[k].extra_delta);
  }
}

static void write_entry(struct cns_writer *writer, const struct cns_ledger *ledger,
                        const struct cns_ledger_entry *entry) {
  cns_write_u8(writer, VERSION);
  cns_write_bytes(writer, ledger->owner.bytes, sizeof(ledger->owner.bytes));
  write_digest(writer, &ledger->subject);
  cns_write_u64(writer, entry->sequence);
  cns_write_u64(writer, (uint64_t)entry->time);
  cns_write_u8(writer, (uint8_t)entry->kind);
  cns_write_u8(writer, entry->observers);
  write_round(writer, &entry->round);
  write_digest(writer, &entry->previous);
}

static void read_digest(struct cns_reader *reader, struct cns_digest *ret_digest) {
  cns_read_bytes(reader, ret_digest->bytes, sizeof(ret_digest->bytes));
}

static void read_round(struct cns_reader *reader, struct cns_ledger_round *ret_round) {
  size_t len = 0;
  read_digest(reader, &ret_round->study);
  const uint8_t *name = cns_read_blob(reader, CNS_NAME_MAX, &len);
  if (name) memcpy(ret_round->study_name, name, len);
  if (name && strlen(ret_round->study_name) != len) cns_reader_fail(reader, CNS_ERR_FORMAT);
  ret_round->round = cns_read_u64(reader);
  ret_round->attempt = cns_read_u32(reader);
  read_digest(reader, &ret_round->descriptor);
  read_digest(reader, &ret_round->data_set);
  for (size_t k = 0; k < CNS_LEDGER_OBSERVERS; k++) {
    ret_round->costs[k].noise_multiplier = cns_read_f64(reader);
    ret_round->costs[k].sampling_rate = cns_read_f64(reader);
    ret_round->costs[k].rounds = cns_read_u64(reader);
    ret_round->costs[k].extra_delta = cns_read_f64(reader);
  }
}

static bool observers_fit(enum cns_ledger_kind kind, uint8_t observers) {
  if (observers == 0 || (observers & ~CNS_LEDGER_EVERYONE) != 0) return false;
  return kind == CNS_LEDGER_REFUNDED || observers == CNS_LEDGER_EVERYONE;
}

static int decode(const struct cns_ledger *ledger, const uint8_t *bytes, size_t len,
                  struct cns_ledger_entry *ret_entry) {
  struct cns_identity_public owner;
  struct cns_digest subject;
  struct cns_reader reader;
  cns_reader_init(&reader, bytes, len);
  if (cns_read_u8(&reader) != VERSION) cns_reader_fail(&reader, CNS_ERR_FORMAT);
  cns_read_bytes(&reader, owner.bytes, sizeof(owner.bytes));
  read_digest(&reader, &subject);
  ret_entry->sequence = cns_read_u64(&reader);
  uint64_t time = cns_read_u64(&reader);
  uint8_t kind = cns_read_u8(&reader);
  ret_entry->observers = cns_read_u8(&reader);
  read_round(&reader, &ret_entry->round);
  read_digest(&reader, &ret_entry->previous);
  int error = cns_reader_finish(&reader);
  if (error) return error == CNS_ERR_LIMIT ? CNS_ERR_FORMAT : error;
  bool fits = cns_identity_public_equal(&owner, &ledger->owner) &&
              cns_digest_equal(&subject, &ledger->subject) && time <= CNS_LEDGER_TIME_MAX &&
              kind >= CNS_LEDGER_RESERVED && kind <= CNS_LEDGER_RELEASED &&
              observers_fit((enum cns_ledger_kind)kind, ret_entry->observers) &&
              cns_ledger_check_round(&ret_entry->round, NULL) == 0;
  ret_entry->time = (int64_t)time;
  ret_entry->kind = (enum cns_ledger_kind)kind;
  return fits ? 0 : CNS_ERR_FORMAT;
}

/* ---- writing ---- */

static int insert_row(struct cns_ledger *ledger, uint64_t sequence, const struct cns_writer *body,
                      const struct cns_digest *digest, const struct cns_signature *signature,
                      struct cns_problem *problem) {
  struct cns_database *database = &ledger->database;
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      database, "INSERT INTO entry(sequence, body, digest, signature) VALUES(?,?,?,?)", &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, sequence);
  if (!error) error = cns_bind_blob(stmt, 2, body->data, body->len);
  if (!error) error = cns_bind_digest(stmt, 3, digest);
  if (!error) error = cns_bind_blob(stmt, 4, signature->bytes, sizeof(signature->bytes));
  if (!error) error = cns_database_run(database, stmt, "writing an entry", problem);
  sqlite3_finalize(stmt);
  if (!error && sqlite3_changes(database->sqlite) != 1)
    return cns_ledger_damaged(ledger, sequence, "can't be added", problem);
  return error;
}

int cns_ledger_insert(struct cns_ledger *ledger, struct cns_ledger_entry *entry,
                      struct cns_problem *problem) {
  struct cns_writer body;
  struct cns_signature signature;
  cns_writer_init(&body, CNS_LEDGER_BODY_BYTES_MAX);
  write_entry(&body, ledger, entry);
  int error = cns_writer_finish(&body);
  if (!error) {
    cns_hash_once(digest_context, body.data, body.len, &entry->digest);
    error = cns_sign(ledger->identity, signature_context, &entry->digest, &signature);
  }
  if (!error) error = insert_row(ledger, entry->sequence, &body, &entry->digest, &signature, problem);
  cns_writer_deinit(&body);
  return error;
}

/* ---- reading ---- */

/* The row that the statement stands on, as such: sequence, body, digest, signature. */
static int read_row(struct cns_ledger *ledger, sqlite3_stmt *stmt, uint64_t expected,
                    struct cns_ledger_entry *ret_entry, struct cns_problem *problem) {
  struct cns_digest digest;
  struct cns_signature signature;
  sqlite3_int64 sequence = sqlite3_column_int64(stmt, 0);
  if (sequence > 0 && (uint64_t)sequence > expected)
    return cns_ledger_damaged(ledger, expected, "is missing", problem);
  if (sequence < 0 || (uint64_t)sequence != expected)
    return cns_ledger_damaged(ledger, expected, "is not in its place", problem);
  const void *body = sqlite3_column_blob(stmt, 1), *signed_by = sqlite3_column_blob(stmt, 3);
  size_t len = (size_t)sqlite3_column_bytes(stmt, 1);
  int error = cns_column_digest(stmt, 2, &ret_entry->digest);
  if (error || !body || len > CNS_LEDGER_BODY_BYTES_MAX || sqlite3_column_type(stmt, 1) != SQLITE_BLOB)
    return cns_ledger_damaged(ledger, expected, "is damaged", problem);
  cns_hash_once(digest_context, body, len, &digest);
  if (!cns_digest_equal(&digest, &ret_entry->digest))
    return cns_ledger_damaged(ledger, expected, "was changed: its digest is another one", problem);
  if (!signed_by || sqlite3_column_bytes(stmt, 3) != sizeof(signature.bytes))
    return cns_ledger_damaged(ledger, expected, "has no signature", problem);
  memcpy(signature.bytes, signed_by, sizeof(signature.bytes));
  if (cns_verify(&ledger->owner, signature_context, &digest, &signature) != 0)
    return cns_ledger_damaged(ledger, expected, "is not signed by the owner of this ledger", problem);
  if (decode(ledger, body, len, ret_entry) != 0)
    return cns_ledger_damaged(ledger, expected, "can't be read, or is of another ledger", problem);
  return 0;
}

static int check_place(struct cns_ledger *ledger, const struct cns_ledger_position *before,
                       const struct cns_ledger_entry *entry, struct cns_problem *problem) {
  if (entry->sequence != before->sequence + 1)
    return cns_ledger_damaged(ledger, before->sequence + 1, "is not in its place", problem);
  if (!cns_digest_equal(&entry->previous, &before->digest))
    return cns_ledger_damaged(ledger, entry->sequence, "does not follow the entry before it", problem);
  if (entry->time < before->time)
    return cns_ledger_damaged(ledger, entry->sequence, "is older than the entry before it", problem);
  if (entry->sequence > CNS_LEDGER_ENTRIES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a privacy ledger has at most %d entries",
                           ledger->database.path, CNS_LEDGER_ENTRIES_MAX);
  return 0;
}

static int step(struct cns_ledger *ledger, sqlite3_stmt *stmt, struct cns_problem *problem) {
  int result = sqlite3_step(stmt);
  if (result == SQLITE_ROW) return 0;
  if (result == SQLITE_DONE) return CNS_ERR_NOT_FOUND;
  return cns_database_fail(&ledger->database, result, "reading its entries", problem);
}

/* The last entry that was read must be there still, the same: a file that was put
 * back to an older state while it is open would go on as another history. */
static int check_anchor(struct cns_ledger *ledger, sqlite3_stmt *stmt,
                        const struct cns_ledger_position *position, struct cns_problem *problem) {
  struct cns_digest digest;
  if (position->sequence == 0) return 0;
  int error = step(ledger, stmt, problem);
  if (error && error != CNS_ERR_NOT_FOUND) return error;
  if (!error && (uint64_t)sqlite3_column_int64(stmt, 0) == position->sequence &&
      cns_column_digest(stmt, 2, &digest) == 0 && cns_digest_equal(&digest, &position->digest))
    return 0;
  return cns_ledger_damaged(ledger, position->sequence, "was there a moment ago and is another one now",
                            problem);
}

static int walk_rows(struct cns_ledger *ledger, sqlite3_stmt *stmt, struct cns_ledger_position *position,
                     cns_ledger_callback callback, void *context, struct cns_problem *problem) {
  int error = check_anchor(ledger, stmt, position, problem);
  while (!error) {
    struct cns_ledger_entry entry = {0};
    error = step(ledger, stmt, problem);
    if (error == CNS_ERR_NOT_FOUND) return 0;
    if (!error) error = read_row(ledger, stmt, position->sequence + 1, &entry, problem);
    if (!error) error = check_place(ledger, position, &entry, problem);
    if (error) break;
    error = callback(context, &entry);
    if (!error)
      *position = (struct cns_ledger_position){
          .sequence = entry.sequence, .time = entry.time, .digest = entry.digest};
  }
  return error;
}

int cns_ledger_walk(struct cns_ledger *ledger, struct cns_ledger_position *position,
                    cns_ledger_callback callback, void *context, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      &ledger->database,
      "SELECT sequence, body, digest, signature FROM entry WHERE sequence>=? ORDER BY sequence", &stmt,
      problem);
  if (error) return error;
  /* From the very first: a number below 1 is in no place at all. */
  sqlite3_int64 from = position->sequence > 0 ? (sqlite3_int64)position->sequence : INT64_MIN;
  if (sqlite3_bind_int64(stmt, 1, from) != SQLITE_OK) error = CNS_ERR_MEMORY;
  if (!error) error = walk_rows(ledger, stmt, position, callback, context, problem);
  sqlite3_finalize(stmt);
  return error;
}

int cns_ledger_stored_digest(struct cns_ledger *ledger, uint64_t sequence, struct cns_digest *ret_digest,
                             struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_database_prepare(&ledger->database, "SELECT digest FROM entry WHERE sequence=?", &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, sequence);
  if (!error) error = step(ledger, stmt, problem);
  if (!error && cns_column_digest(stmt, 0, ret_digest) != 0)
    error = cns_ledger_damaged(ledger, sequence, "is damaged", problem);
  sqlite3_finalize(stmt);
  return error;
}
