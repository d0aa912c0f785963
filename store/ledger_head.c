/* SPDX-License-Identifier: Apache-2.0 */
/* Signed heads: what one side keeps of the other's ledger, so that a lost end shows. */
#include <string.h>

#include "store/ledger_internal.h"

#define HEAD_VERSION 1
#define SIGNED_BYTES (CNS_LEDGER_HEAD_BYTES - CNS_SIGNATURE_BYTES)

static const char head_context[] = "consilium/1 ledger head";
static const char head_signature_context[] = "consilium/1 ledger head signature";

static void write_signed_part(struct cns_writer *writer, const struct cns_ledger_head *head) {
  cns_write_u8(writer, HEAD_VERSION);
  cns_write_bytes(writer, head->owner.bytes, sizeof(head->owner.bytes));
  cns_write_bytes(writer, head->subject.bytes, sizeof(head->subject.bytes));
  cns_write_u64(writer, head->sequence);
  cns_write_bytes(writer, head->digest.bytes, sizeof(head->digest.bytes));
  cns_write_u64(writer, (uint64_t)head->time);
}

int cns_ledger_head_encode(const struct cns_ledger_head *head,
                           uint8_t ret_bytes[static CNS_LEDGER_HEAD_BYTES]) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_LEDGER_HEAD_BYTES);
  write_signed_part(&writer, head);
  cns_write_bytes(&writer, head->signature.bytes, sizeof(head->signature.bytes));
  int error = cns_writer_finish(&writer);
  if (!error) memcpy(ret_bytes, writer.data, CNS_LEDGER_HEAD_BYTES);
  cns_writer_deinit(&writer);
  return error;
}

int cns_ledger_head_decode(const uint8_t *bytes, size_t len, struct cns_ledger_head *ret_head) {
  struct cns_ledger_head head;
  struct cns_reader reader;
  cns_reader_init(&reader, bytes, len);
  uint8_t version = cns_read_u8(&reader);
  cns_read_bytes(&reader, head.owner.bytes, sizeof(head.owner.bytes));
  cns_read_bytes(&reader, head.subject.bytes, sizeof(head.subject.bytes));
  head.sequence = cns_read_u64(&reader);
  cns_read_bytes(&reader, head.digest.bytes, sizeof(head.digest.bytes));
  uint64_t time = cns_read_u64(&reader);
  cns_read_bytes(&reader, head.signature.bytes, sizeof(head.signature.bytes));
  int error = cns_reader_finish(&reader);
  if (error) return error;
  if (version != HEAD_VERSION) return CNS_ERR_VERSION;
  if (time > CNS_LEDGER_TIME_MAX || head.sequence > CNS_LEDGER_ENTRIES_MAX) return CNS_ERR_FORMAT;
  head.time = (int64_t)time;
  *ret_head = head;
  return 0;
}

static int hash_head(const struct cns_ledger_head *head, struct cns_digest *ret_digest) {
  struct cns_writer writer;
  cns_writer_init(&writer, SIGNED_BYTES);
  write_signed_part(&writer, head);
  int error = cns_writer_finish(&writer);
  if (!error) cns_hash_once(head_context, writer.data, writer.len, ret_digest);
  cns_writer_deinit(&writer);
  return error;
}

int cns_ledger_head_verify(const struct cns_ledger_head *head, const struct cns_identity_public *owner) {
  struct cns_digest digest;
  if (!cns_identity_public_equal(&head->owner, owner)) return CNS_ERR_SIGNATURE;
  int error = hash_head(head, &digest);
  return error ? error : cns_verify(owner, head_signature_context, &digest, &head->signature);
}

int cns_ledger_head(struct cns_ledger *ledger, struct cns_ledger_head *ret_head,
                    struct cns_problem *problem) {
  struct cns_digest digest;
  if (!ledger->identity)
    return cns_problem_set(problem, CNS_ERR_STATE,
                           "%s: this privacy ledger was opened for reading only, without the key that signs",
                           ledger->database.path);
  int error = cns_ledger_refresh(ledger, problem);
  if (error) return error;
  struct cns_ledger_head head = {.owner = ledger->owner,
                                 .subject = ledger->subject,
                                 .sequence = ledger->position.sequence,
                                 .digest = ledger->position.digest,
                                 .time = ledger->position.time};
  error = hash_head(&head, &digest);
  if (!error) error = cns_sign(ledger->identity, head_signature_context, &digest, &head.signature);
  if (!error) *ret_head = head;
  return error;
}

/* ---- heads of others ---- */

static int kept_head_damaged(const struct cns_ledger *ledger, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: the head of another ledger that is kept in this one is damaged; restore the "
                         "newest copy of the file",
                         ledger->database.path);
}

/* The row that the statement stands on: owner, subject, sequence, head. */
static int read_kept_head(struct cns_ledger *ledger, sqlite3_stmt *stmt, struct cns_ledger_head *ret_head,
                          struct cns_problem *problem) {
  struct cns_digest owner, subject;
  struct cns_ledger_head head;
  uint64_t sequence = 0;
  const uint8_t *bytes = sqlite3_column_blob(stmt, 3);
  int error = cns_column_digest(stmt, 0, &owner);
  if (!error) error = cns_column_digest(stmt, 1, &subject);
  if (!error) error = cns_column_u64(stmt, 2, CNS_LEDGER_ENTRIES_MAX, &sequence);
  if (!error) error = bytes ? 0 : CNS_ERR_FORMAT;
  if (!error) error = cns_ledger_head_decode(bytes, (size_t)sqlite3_column_bytes(stmt, 3), &head);
  if (!error) error = cns_ledger_head_verify(&head, &head.owner);
  if (error || memcmp(owner.bytes, head.owner.bytes, sizeof(owner.bytes)) != 0 ||
      !cns_digest_equal(&subject, &head.subject) || sequence != head.sequence)
    return kept_head_damaged(ledger, problem);
  *ret_head = head;
  return 0;
}

int cns_ledger_check_kept_heads(struct cns_ledger *ledger, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  struct cns_ledger_head head;
  int error = cns_database_prepare(&ledger->database, "SELECT owner, subject, sequence, head FROM witness",
                                   &stmt, problem);
  while (!error) {
    int result = sqlite3_step(stmt);
    if (result == SQLITE_DONE) break;
    error = result == SQLITE_ROW
                ? read_kept_head(ledger, stmt, &head, problem)
                : cns_database_fail(&ledger->database, result, "reading the heads that it keeps", problem);
  }
  sqlite3_finalize(stmt);
  return error;
}

int cns_ledger_witness(struct cns_ledger *ledger, const struct cns_identity_public *owner,
                       const struct cns_digest *subject, struct cns_ledger_head *ret_head,
                       struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      &ledger->database, "SELECT owner, subject, sequence, head FROM witness WHERE owner=? AND subject=?",
      &stmt, problem);
  if (!error) error = cns_bind_blob(stmt, 1, owner->bytes, sizeof(owner->bytes));
  if (!error) error = cns_bind_digest(stmt, 2, subject);
  if (!error) {
    int result = sqlite3_step(stmt);
    error = result == SQLITE_ROW ? read_kept_head(ledger, stmt, ret_head, problem)
            : result == SQLITE_DONE
                ? CNS_ERR_NOT_FOUND
                : cns_database_fail(&ledger->database, result, "reading the heads that it keeps", problem);
  }
  sqlite3_finalize(stmt);
  return error;
}

static int check_witness_count(struct cns_ledger *ledger, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  uint64_t count = 0;
  int error = cns_database_prepare(&ledger->database, "SELECT count(*) FROM witness", &stmt, problem);
  if (!error && sqlite3_step(stmt) != SQLITE_ROW) error = CNS_ERR_IO;
  if (!error) error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &count);
  sqlite3_finalize(stmt);
  if (!error && count >= CNS_LEDGER_WITNESSES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: this privacy ledger keeps %d heads of others at most",
                           ledger->database.path, CNS_LEDGER_WITNESSES_MAX);
  return error;
}

static int insert_head(struct cns_ledger *ledger, const struct cns_ledger_head *head,
                       struct cns_problem *problem) {
  uint8_t bytes[CNS_LEDGER_HEAD_BYTES];
  sqlite3_stmt *stmt = NULL;
  int error = cns_ledger_head_encode(head, bytes);
  if (!error)
    error = cns_database_prepare(&ledger->database,
                                 "INSERT OR REPLACE INTO witness(owner, subject, sequence, head) "
                                 "VALUES(?,?,?,?)",
                                 &stmt, problem);
  if (!error) error = cns_bind_blob(stmt, 1, head->owner.bytes, sizeof(head->owner.bytes));
  if (!error) error = cns_bind_digest(stmt, 2, &head->subject);
  if (!error) error = cns_bind_u64(stmt, 3, head->sequence);
  if (!error) error = cns_bind_blob(stmt, 4, bytes, sizeof(bytes));
  if (!error)
    error = cns_database_run(&ledger->database, stmt, "keeping the head of another ledger", problem);
  sqlite3_finalize(stmt);
  return error;
}

#define SAME 1

/* 0: newer than the one kept, or the first. */
static int compare_with_kept(struct cns_ledger *ledger, const struct cns_ledger_head *head,
                             struct cns_problem *problem) {
  struct cns_ledger_head kept;
  int error = cns_ledger_witness(ledger, &head->owner, &head->subject, &kept, problem);
  if (error == CNS_ERR_NOT_FOUND) return check_witness_count(ledger, problem);
  if (error || head->sequence > kept.sequence) return error;
  if (head->sequence < kept.sequence)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the other side's privacy ledger ends at entry %llu, and it has signed entry %llu before: it was "
        "restored from an old copy, or its end is missing; it must restore the newest",
        (unsigned long long)head->sequence, (unsigned long long)kept.sequence);
  if (cns_digest_equal(&head->digest, &kept.digest) && head->time == kept.time) return SAME;
  return cns_problem_set(
      problem, CNS_LEDGER_FORK,
      "the other side has signed two different privacy ledgers up to entry %llu: both signed heads "
      "are the evidence, show them to the consortium",
      (unsigned long long)head->sequence);
}

int cns_ledger_accept_head(struct cns_ledger *ledger, const struct cns_ledger_head *head,
                           struct cns_problem *problem) {
  if (cns_ledger_head_verify(head, &head->owner) != 0 || head->sequence > CNS_LEDGER_ENTRIES_MAX ||
      head->time < 0 || head->time > CNS_LEDGER_TIME_MAX)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "the head of the other side's privacy ledger is not signed by its owner");
  int error = cns_database_begin(&ledger->database, problem);
  if (error) return error;
  error = compare_with_kept(ledger, head, problem);
  if (!error) error = insert_head(ledger, head, problem);
  if (!error) error = cns_database_commit(&ledger->database, problem);
  if (error) cns_database_rollback(&ledger->database);
  return error == SAME ? 0 : error;
}

/* ---- a head of this ledger, kept by others ---- */

static int find_other_digest(struct cns_ledger *ledger, const struct cns_ledger_head *head, bool *ret_another,
                             struct cns_problem *problem) {
  struct cns_digest digest;
  int error = 0;
  if (head->sequence == 0)
    cns_ledger_genesis(&ledger->owner, &ledger->subject, &digest);
  else
    error = cns_ledger_stored_digest(ledger, head->sequence, &digest, problem);
  if (!error) *ret_another = !cns_digest_equal(&digest, &head->digest);
  return error;
}

int cns_ledger_check_witness(struct cns_ledger *ledger, const struct cns_ledger_head *head,
                             const char *holder, struct cns_problem *problem) {
  bool another = false;
  if (cns_ledger_head_verify(head, &ledger->owner) != 0 ||
      !cns_digest_equal(&head->subject, &ledger->subject))
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "%s holds a head that the owner of %s has not signed, or of another ledger: it "
                           "says nothing about this one",
                           holder, ledger->database.path);
  int error = cns_ledger_refresh(ledger, problem);
  if (error) return error;
  uint64_t last = ledger->position.sequence;
  if (head->sequence > last) {
    ledger->incomplete = true;
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s: the privacy ledger here ends at entry %llu, but %s holds entry %llu signed by its owner: this "
        "file was restored from an old copy, or its end is missing; restore the newest copy",
        ledger->database.path, (unsigned long long)last, holder, (unsigned long long)head->sequence);
  }
  error = find_other_digest(ledger, head, &another, problem);
  if (error || !another) return error;
  ledger->incomplete = true;
  return cns_problem_set(
      problem, CNS_ERR_FORMAT,
      "%s: entry %llu of this privacy ledger is another one than %s holds signed by its owner: two histories "
      "were begun, as after restoring an old copy; restore the one that %s knows",
      ledger->database.path, (unsigned long long)head->sequence, holder, holder);
}
