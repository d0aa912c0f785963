/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by journal.c, journal_read.c and journal_round.c only. */
#pragma once

#include "store/database.h"
#include "store/journal.h"

/* The journal's own kind: bodies of kind `index` in (round, attempt) that stand
 * before this entry were erased. */
#define CNS_JOURNAL_KIND_ERASED 255

struct cns_journal {
  struct cns_database database;
  struct cns_digest head, synced_head;
  uint64_t sequence, synced_sequence;
  sqlite3_stmt *insert_entry;
  sqlite3_stmt *insert_body;
};

void cns_journal_chain(const struct cns_digest *previous, const struct cns_journal_entry *entry,
                       struct cns_digest *ret_chain);
void cns_journal_body_digest(const uint8_t *body, size_t len, struct cns_digest *ret_digest);
/* What a body is sealed to: its place and, through the chain, its header. */
void cns_journal_body_bound(uint64_t sequence, const struct cns_digest *chain, struct cns_digest *ret_bound);

/* append without the check of the kind. */
CNS_MUST_CHECK int cns_journal_append_any(struct cns_journal *journal, const struct cns_journal_entry *entry,
                                          struct cns_problem *problem);
/* Drops everything since the last sync. */
void cns_journal_drop_pending(struct cns_journal *journal);
/* Reads the last entry's sequence and chain. */
CNS_MUST_CHECK int cns_journal_load_head(struct cns_journal *journal, struct cns_problem *problem);
/* "entry 17 is damaged ..." */
int cns_journal_damaged(const struct cns_journal *journal, uint64_t sequence, const char *what,
                        struct cns_problem *problem);
/* Every round's recorded head must be in the chain, every row must open. */
CNS_MUST_CHECK int cns_journal_verify_rounds(struct cns_journal *journal, struct cns_problem *problem);
