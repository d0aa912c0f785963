/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the ledger*.c files only. */
#pragma once

#include <sys/types.h>

#include "crypto/cursor.h"
#include "store/database.h"
#include "store/ledger.h"

#define CNS_LEDGER_BODY_BYTES_MAX 512

/* Up to where entries were read and checked. */
struct cns_ledger_position {
  uint64_t sequence;
  int64_t time;
  struct cns_digest digest;
};

/* What is known of one round: its reservation, and where it stands. */
struct cns_ledger_record {
  struct cns_ledger_round round;
  uint32_t month; /* of the reservation */
  enum cns_ledger_kind state;
  uint8_t refunded; /* observers */
};

/* All rounds, in order of their reservations, with an index by descriptor. */
struct cns_ledger_book {
  struct cns_ledger_record *records;
  size_t count, capacity;
  uint32_t *slots; /* index + 1; 0: empty; a power of two, at most half full */
  size_t slot_count;
};

struct cns_ledger {
  struct cns_database database;
  const struct cns_identity *identity; /* the caller's; NULL when reading only */
  struct cns_identity_public owner;
  struct cns_digest subject;
  dev_t device;
  ino_t inode;
  struct cns_ledger_position position;
  struct cns_ledger_book book;
  uint64_t entries_max, cancelled_max; /* CNS_LEDGER_..._MAX */
  bool incomplete;                     /* found by a witness: nothing is written any more */
  int64_t behind_seconds;              /* the clock, when it was last looked at */
};

/* ---- ledger_entry.c: bytes, digests, signatures, the chain ---- */

void cns_ledger_genesis(const struct cns_identity_public *owner, const struct cns_digest *subject,
                        struct cns_digest *ret_digest);
/* CNS_ERR_RANGE or CNS_ERR_ARGUMENT with a sentence. */
CNS_MUST_CHECK int cns_ledger_check_round(const struct cns_ledger_round *round, struct cns_problem *problem);
bool cns_ledger_round_equal(const struct cns_ledger_round *a, const struct cns_ledger_round *b);
/* Signs the entry, which lacks its digest, and inserts it into the open transaction. */
CNS_MUST_CHECK int cns_ledger_insert(struct cns_ledger *ledger, struct cns_ledger_entry *entry,
                                     struct cns_problem *problem);
/* Entries behind `position`, each decoded, checked and handed on; position follows.
 * With a position other than 0 its own entry is checked to be the same still. */
CNS_MUST_CHECK int cns_ledger_walk(struct cns_ledger *ledger, struct cns_ledger_position *position,
                                   cns_ledger_callback callback, void *context, struct cns_problem *problem);
/* Digest of one entry as it is stored. CNS_ERR_NOT_FOUND. */
CNS_MUST_CHECK int cns_ledger_stored_digest(struct cns_ledger *ledger, uint64_t sequence,
                                            struct cns_digest *ret_digest, struct cns_problem *problem);
/* CNS_ERR_FORMAT: "entry 5 is damaged: ..." */
int cns_ledger_damaged(const struct cns_ledger *ledger, uint64_t sequence, const char *what,
                       struct cns_problem *problem);

/* ---- ledger_book.c: the states of rounds ---- */

void cns_ledger_book_deinit(struct cns_ledger_book *book);
/* NULL if there is none. */
struct cns_ledger_record *cns_ledger_book_find(const struct cns_ledger_book *book,
                                               const struct cns_digest *descriptor);
/* CNS_ERR_FORMAT if the entry can't follow what is on record. */
CNS_MUST_CHECK int cns_ledger_book_apply(struct cns_ledger_book *book, const struct cns_ledger_entry *entry);
CNS_MUST_CHECK int cns_ledger_book_costs(const struct cns_ledger_book *book, const struct cns_digest *study,
                                         enum cns_ledger_observer observer, uint32_t month,
                                         struct cns_budget_cost **ret_costs, size_t *ret_count);
/* Entries that rounds on record may still need, until each is at its end. */
uint64_t cns_ledger_book_unfinished(const struct cns_ledger_book *book);
/* Rounds of a study that were cancelled. */
uint64_t cns_ledger_book_cancelled(const struct cns_ledger_book *book, const struct cns_digest *study);
/* As cns_ledger_reserved. */
CNS_MUST_CHECK int cns_ledger_book_reserved(const struct cns_ledger_book *book,
                                            const struct cns_digest *study,
                                            struct cns_digest **ret_descriptors, size_t *ret_count);

/* ---- ledger_change.c ---- */

/* One entry into the open transaction; its time is `now`, or the last entry's if that is later. */
CNS_MUST_CHECK int cns_ledger_append(struct cns_ledger *ledger, enum cns_ledger_kind kind, uint8_t observers,
                                     const struct cns_ledger_round *round, int64_t now,
                                     struct cns_problem *problem);

/* ---- ledger.c ---- */

/* Reads what was added, by whomever. */
CNS_MUST_CHECK int cns_ledger_refresh(struct cns_ledger *ledger, struct cns_problem *problem);
/* Begins a transaction and refreshes; cns_database_rollback on failure is done. */
CNS_MUST_CHECK int cns_ledger_begin(struct cns_ledger *ledger, struct cns_problem *problem);

/* ---- ledger_head.c ---- */

/* All kept heads, as opening checks them. */
CNS_MUST_CHECK int cns_ledger_check_kept_heads(struct cns_ledger *ledger, struct cns_problem *problem);
