/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's table of rounds. Each row is authenticated by the seal of its
 * result, which is bound to all its other columns. */
#include <stdlib.h>
#include <string.h>

#include "store/journal_internal.h"

static void row_bound(const struct cns_journal_round *round, struct cns_digest *ret_bound) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 journal round");
  cns_hash_u64(&hash, round->round);
  cns_hash_u32(&hash, round->attempt);
  cns_hash_u8(&hash, (uint8_t)round->state);
  cns_hash_digest(&hash, &round->descriptor);
  cns_hash_u8(&hash, round->has_head);
  if (round->has_head) {
    cns_hash_digest(&hash, &round->head);
    cns_hash_u64(&hash, round->head_sequence);
    cns_hash_bytes(&hash, round->head_signature.bytes, sizeof(round->head_signature.bytes));
  }
  cns_hash_final(&hash, ret_bound);
}

/* First byte: is there a result? */
static int seal_result(const struct cns_journal *journal, const struct cns_journal_round *round,
                       uint8_t **ret_sealed, size_t *ret_len) {
  size_t len = round->result ? strlen(round->result) : 0;
  if (len > CNS_JOURNAL_RESULT_BYTES_MAX) return CNS_ERR_LIMIT;
  uint8_t *plain = malloc(len + 1);
  if (!plain) return CNS_ERR_MEMORY;
  plain[0] = round->result != NULL;
  if (len > 0) memcpy(plain + 1, round->result, len);
  struct cns_digest bound;
  row_bound(round, &bound);
  int error = cns_database_seal(&journal->database, &bound, plain, len + 1, ret_sealed, ret_len);
  free(plain);
  return error;
}

static int bind_row(sqlite3_stmt *stmt, const struct cns_journal_round *round, const uint8_t *sealed,
                    size_t len) {
  int error = cns_bind_u64(stmt, 1, round->round);
  if (!error) error = cns_bind_u64(stmt, 2, round->attempt);
  if (!error) error = cns_bind_u64(stmt, 3, (uint64_t)round->state);
  if (!error) error = cns_bind_digest(stmt, 4, &round->descriptor);
  if (!error && round->has_head) error = cns_bind_digest(stmt, 5, &round->head);
  if (!error && round->has_head) error = cns_bind_u64(stmt, 6, round->head_sequence);
  if (!error && round->has_head)
    error = cns_bind_blob(stmt, 7, round->head_signature.bytes, sizeof(round->head_signature.bytes));
  if (!error) error = cns_bind_blob(stmt, 8, sealed, len);
  return error;
}

int cns_journal_round_set(struct cns_journal *journal, const struct cns_journal_round *round,
                          struct cns_problem *problem) {
  if (round->state < CNS_JOURNAL_ROUND_RUNNING || round->state > CNS_JOURNAL_ROUND_ENDED ||
      round->round > CNS_DATABASE_COLUMN_MAX ||
      (round->result && strlen(round->result) > CNS_JOURNAL_RESULT_BYTES_MAX))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "journal: round %llu can't be written down",
                           (unsigned long long)round->round);
  uint8_t *sealed = NULL;
  size_t len = 0;
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_begin(&journal->database, problem);
  if (error) return error;
  error = seal_result(journal, round, &sealed, &len);
  if (!error)
    error = cns_database_prepare(&journal->database, "INSERT OR REPLACE INTO round VALUES(?,?,?,?,?,?,?,?)",
                                 &stmt, problem);
  if (!error) error = bind_row(stmt, round, sealed, len);
  if (!error) error = cns_database_run(&journal->database, stmt, "writing down a round", problem);
  sqlite3_finalize(stmt);
  free(sealed);
  if (error) cns_journal_drop_pending(journal);
  return error;
}

static int read_columns(sqlite3_stmt *stmt, struct cns_journal_round *ret_round) {
  struct cns_journal_round round = {0};
  uint64_t attempt = 0, state = 0;
  int error = cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &round.round);
  if (!error) error = cns_column_u64(stmt, 1, UINT32_MAX, &attempt);
  if (!error) error = cns_column_u64(stmt, 2, CNS_JOURNAL_ROUND_ENDED, &state);
  if (!error) error = cns_column_digest(stmt, 3, &round.descriptor);
  round.has_head = sqlite3_column_type(stmt, 4) != SQLITE_NULL;
  if (!error && round.has_head) {
    error = cns_column_digest(stmt, 4, &round.head);
    if (!error) error = cns_column_u64(stmt, 5, CNS_DATABASE_COLUMN_MAX, &round.head_sequence);
    const void *signature = sqlite3_column_blob(stmt, 6);
    if (!error && (!signature || sqlite3_column_bytes(stmt, 6) != CNS_SIGNATURE_BYTES))
      error = CNS_ERR_FORMAT;
    if (!error) memcpy(round.head_signature.bytes, signature, CNS_SIGNATURE_BYTES);
  }
  if (error) return error;
  round.attempt = (uint32_t)attempt;
  round.state = (enum cns_journal_round_state)state;
  *ret_round = round;
  return 0;
}

static int each_row(struct cns_journal *journal, sqlite3_stmt *stmt, cns_journal_round_callback callback,
                    void *context, struct cns_problem *problem) {
  struct cns_journal_round round = {0};
  uint8_t *plain = NULL;
  size_t len = 0;
  int error = read_columns(stmt, &round);
  if (!error) {
    struct cns_digest bound;
    row_bound(&round, &bound);
    error = cns_database_unseal(&journal->database, &bound, sqlite3_column_blob(stmt, 7),
                                (size_t)sqlite3_column_bytes(stmt, 7), &plain, &len);
  }
  if (error == CNS_ERR_FORMAT || error == CNS_ERR_PROOF || (!error && len == 0))
    error = cns_problem_set(problem, CNS_ERR_FORMAT,
                            "%s: the journal's row of round %llu is damaged; restore the file from a copy",
                            journal->database.path, (unsigned long long)round.round);
  if (!error) {
    round.result = plain[0] ? (const char *)plain + 1 : NULL;
    error = callback(context, &round);
  }
  cns_wipe_free(plain, len);
  return error;
}

int cns_journal_round_each(struct cns_journal *journal, uint64_t from_round,
                           cns_journal_round_callback callback, void *context, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_database_prepare(&journal->database,
                           "SELECT round, attempt, state, descriptor, head, head_sequence, head_signature, "
                           "result FROM round WHERE round >= ? ORDER BY round, attempt",
                           &stmt, problem);
  if (!error) error = cns_bind_u64(stmt, 1, from_round);
  int step = SQLITE_DONE;
  while (!error && (step = sqlite3_step(stmt)) == SQLITE_ROW)
    error = each_row(journal, stmt, callback, context, problem);
  if (!error && step != SQLITE_DONE)
    error = cns_database_fail(&journal->database, step, "reading rounds", problem);
  sqlite3_finalize(stmt);
  return error;
}

int cns_journal_round_last(struct cns_journal *journal, uint64_t *ret_round, uint32_t *ret_attempt) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(
      &journal->database, "SELECT round, attempt FROM round ORDER BY round DESC, attempt DESC LIMIT 1", &stmt,
      NULL);
  if (error) return error;
  uint64_t round = 0, attempt = 0;
  int step = sqlite3_step(stmt);
  if (step == SQLITE_DONE)
    error = CNS_ERR_NOT_FOUND;
  else if (step != SQLITE_ROW)
    error = cns_database_fail(&journal->database, step, "reading rounds", NULL);
  else if (cns_column_u64(stmt, 0, CNS_DATABASE_COLUMN_MAX, &round) != 0 ||
           cns_column_u64(stmt, 1, UINT32_MAX, &attempt) != 0)
    error = CNS_ERR_FORMAT;
  sqlite3_finalize(stmt);
  if (error) return error;
  *ret_round = round;
  *ret_attempt = (uint32_t)attempt;
  return 0;
}

static int chain_at(struct cns_journal *journal, uint64_t sequence, struct cns_digest *ret_chain) {
  sqlite3_stmt *stmt = NULL;
  int error =
      cns_database_prepare(&journal->database, "SELECT chain FROM entry WHERE sequence = ?", &stmt, NULL);
  if (!error) error = cns_bind_u64(stmt, 1, sequence);
  if (!error)
    error = sqlite3_step(stmt) == SQLITE_ROW ? cns_column_digest(stmt, 0, ret_chain) : CNS_ERR_NOT_FOUND;
  sqlite3_finalize(stmt);
  return error;
}

struct verify {
  struct cns_journal *journal;
  struct cns_problem *problem;
};

static int verify_head(void *context, const struct cns_journal_round *round) {
  struct verify *verify = context;
  if (!round->has_head || round->head_sequence == 0) return 0;
  struct cns_digest chain;
  int error = chain_at(verify->journal, round->head_sequence, &chain);
  if (!error && cns_digest_equal(&chain, &round->head)) return 0;
  return cns_journal_damaged(verify->journal, round->head_sequence,
                             "it is not the one that its round was closed with", verify->problem);
}

int cns_journal_verify_rounds(struct cns_journal *journal, struct cns_problem *problem) {
  struct verify verify = {.journal = journal, .problem = problem};
  return cns_journal_round_each(journal, 0, verify_head, &verify, problem);
}
