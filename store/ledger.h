/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privacy ledger: what each round cost towards whom, in SQLite (WAL,
 * synchronous=FULL), append-only. The coordinator keeps one of each study, a
 * hospital one of each data set over all studies, since the same patients in
 * two studies add up. What it detects and what it can't: docs/ledger.md.
 *
 * Entries are chained and signed by the owner:
 *   digest_k = H("consilium/1 ledger entry", canonical bytes of entry k, in which
 *              digest_(k-1) is), digest_0 = H("consilium/1 ledger genesis", owner, subject)
 *   signature over digest_k under the context "consilium/1 ledger signature".
 * Opening checks all of it. Entries cut off at the *end* can only be found
 * against a signed head that the other side keeps: cns_ledger_check_witness.
 *
 * Each round, named by its descriptor's digest, goes
 *   nothing -> reserved -> charged -> refunded, or released
 *              reserved -> cancelled
 * and no other way. Its cost is counted once, from reserved on; not once it is
 * cancelled, and not towards those observers to whom it was refunded. Every
 * function that writes is durable when it returns 0, and only then may the caller
 * act: reserve before the round; charge before the first byte of the masked update
 * leaves the hospital, and before the coordinator computes what it releases.
 *
 * Several processes may write one file: each change is one transaction that first
 * reads and checks what the others have added. One thread at a time in each.
 *
 * Errors of all functions that have `problem`, with a sentence:
 *   CNS_ERR_FORMAT      damaged: the sentence names the entry
 *   CNS_ERR_STATE       not in this state of the round; opened for reading only; another
 *                       process held the file for CNS_DATABASE_BUSY_TIMEOUT_MS; the file
 *                       was replaced or is known to be incomplete (check_witness)
 *   CNS_ERR_RANGE       a time or a cost outside its limits
 *   CNS_ERR_LIMIT       CNS_LEDGER_..._MAX; no reservation takes the room of what must still be
 *                       written of rounds that are reserved or charged
 *   CNS_ERR_DISK_FULL, CNS_ERR_IO, CNS_ERR_PERMISSION, CNS_ERR_MEMORY
 */
#pragma once

#include "crypto/identity.h"
#include "dp/budget.h"
#include "protocol/roster.h"

#define CNS_LEDGER_ENTRIES_MAX 1000000
/* Reservations of one study that came to nothing: more are refused, so that a coordinator that
 * announces rounds and drops them can't fill the ledger of the data. */
#define CNS_LEDGER_CANCELLED_MAX 100000
#define CNS_LEDGER_WITNESSES_MAX 4096
#define CNS_LEDGER_LIMITS_MAX 8
/* A clock that is more than this behind the last entry was set back. */
#define CNS_LEDGER_CLOCK_TOLERANCE_SECONDS 600
#define CNS_LEDGER_TIME_MAX 253402300799 /* end of the year 9999 */

enum cns_ledger_kind {
  CNS_LEDGER_RESERVED = 1,
  CNS_LEDGER_CHARGED = 2,
  CNS_LEDGER_CANCELLED = 3, /* the round ended before anything left */
  CNS_LEDGER_REFUNDED = 4,  /* abandoned */
  CNS_LEDGER_RELEASED = 5,  /* the coordinator released the model */
};
/* "reserved", ...; "nothing" for 0. */
const char *cns_ledger_kind_name(enum cns_ledger_kind kind);

enum cns_ledger_observer {
  CNS_LEDGER_READERS = 0,     /* of the models: everyone but the coordinator */
  CNS_LEDGER_COORDINATOR = 1, /* sees what the audit reveals too */
};
#define CNS_LEDGER_OBSERVERS 2
/* Sets of observers. */
#define CNS_LEDGER_BIT(observer) ((uint8_t)(1u << (observer)))
#define CNS_LEDGER_EVERYONE ((uint8_t)3)

/* What is reserved. */
struct cns_ledger_round {
  struct cns_digest study;
  char study_name[CNS_NAME_MAX + 1]; /* 1..CNS_NAME_MAX bytes of UTF-8 */
  uint64_t round;
  uint32_t attempt;
  struct cns_digest descriptor; /* H(R): names the round in this ledger */
  struct cns_digest data_set;   /* the data as they were then; zeros at the coordinator */
  struct cns_budget_cost costs[CNS_LEDGER_OBSERVERS];
};

struct cns_ledger_entry {
  uint64_t sequence; /* 1, 2, 3, ... */
  int64_t time;      /* seconds since 1970; never less than the entry's before */
  enum cns_ledger_kind kind;
  uint8_t observers; /* to whom it applies: everyone, but of a refund */
  struct cns_ledger_round round;
  struct cns_digest previous, digest;
};

struct cns_ledger;

/*
 * Creates if there is none. identity: the owner's, kept by the caller for the
 * ledger's life. subject: what it is the ledger of (the study's digest; a digest of
 * the data set's name), so that one ledger of an owner isn't taken for another.
 * CNS_ERR_REFUSED: the file belongs to another owner or subject.
 */
CNS_MUST_CHECK int cns_ledger_open(const char *path, const struct cns_identity *identity,
                                   const struct cns_digest *subject, struct cns_ledger **ret_ledger,
                                   struct cns_problem *problem);
/* For another process while a daemon runs: checks all, creates and writes nothing.
 * CNS_ERR_NOT_FOUND if there is no file. */
CNS_MUST_CHECK int cns_ledger_open_readonly(const char *path, const struct cns_identity_public *owner,
                                            const struct cns_digest *subject, struct cns_ledger **ret_ledger,
                                            struct cns_problem *problem);
/* Takes NULL, returns NULL. */
struct cns_ledger *cns_ledger_free(struct cns_ledger *ledger);

/* ---- changes; `now` in seconds since 1970, of the caller's clock ---- */

/* The entry's time is `now`, or the last entry's if that is later: what was
 * counted in a month is in the past for good, whatever the clock does after. */

enum cns_ledger_scope {
  CNS_LEDGER_STUDY = 0, /* rounds of the same study */
  CNS_LEDGER_ALL = 1,   /* all rounds in this ledger */
};
struct cns_ledger_limit {
  enum cns_ledger_observer observer;
  enum cns_ledger_scope scope;
  struct cns_budget_limits limits; /* subject NULL: "this study", or "all studies on this ledger" */
};
/* Which limit it was, and the arithmetic. */
struct cns_ledger_verdict {
  enum cns_ledger_observer observer;
  enum cns_ledger_scope scope;
  struct cns_budget_verdict budget;
};

/*
 * Checks every limit against what counts and appends, in one transaction: two
 * studies can't both take the last round.
 *   0                    reserved; or it is on record with exactly these values and counts
 *   CNS_BUDGET_EXCEEDED  not reserved; verdict (may be NULL) and problem say why
 *   CNS_ERR_REFUSED      it is on record with other values, or was cancelled or refunded
 *   other negative       not reserved; the accountant's errors too
 */
CNS_MUST_CHECK int cns_ledger_reserve(struct cns_ledger *ledger, const struct cns_ledger_round *round,
                                      const struct cns_ledger_limit *limits, size_t limit_count, int64_t now,
                                      struct cns_ledger_verdict *ret_verdict, struct cns_problem *problem);
/* The same, for who may take part in a round once only, as a hospital's data: CNS_ERR_EXISTS if it
 * is on record, whoever wrote it and whatever became of it. */
CNS_MUST_CHECK int cns_ledger_reserve_once(struct cns_ledger *ledger, const struct cns_ledger_round *round,
                                           const struct cns_ledger_limit *limits, size_t limit_count,
                                           int64_t now, struct cns_ledger_verdict *ret_verdict,
                                           struct cns_problem *problem);
/* 0 also if it is charged, or released, already. CNS_ERR_STATE: never reserved;
 * CNS_ERR_REFUSED: cancelled or refunded. */
CNS_MUST_CHECK int cns_ledger_charge(struct cns_ledger *ledger, const struct cns_digest *descriptor,
                                     int64_t now, struct cns_problem *problem);
/* The round ended before anything left. CNS_ERR_STATE: never reserved;
 * CNS_ERR_REFUSED: charged. */
CNS_MUST_CHECK int cns_ledger_cancel(struct cns_ledger *ledger, const struct cns_digest *descriptor,
                                     int64_t now, struct cns_problem *problem);
/* The caller has verified the abandons (docs/protocol.md, "upload"). observers: those
 * that can have seen nothing; not the coordinator once an audit was answered.
 * CNS_ERR_STATE: not charged; CNS_ERR_REFUSED: released, or refunded to others. */
CNS_MUST_CHECK int cns_ledger_refund(struct cns_ledger *ledger, const struct cns_digest *descriptor,
                                     uint8_t observers, int64_t now, struct cns_problem *problem);
/* The coordinator, before it publishes the model. CNS_ERR_STATE: not charged;
 * CNS_ERR_REFUSED: cancelled or refunded. */
CNS_MUST_CHECK int cns_ledger_release(struct cns_ledger *ledger, const struct cns_digest *descriptor,
                                      int64_t now, struct cns_problem *problem);

/* Whether the time last handed in was more than CNS_LEDGER_CLOCK_TOLERANCE_SECONDS
 * before the last entry's; if so, a sentence. What was asked was done all the same. */
bool cns_ledger_clock_set_back(const struct cns_ledger *ledger, struct cns_problem *ret_sentence);

/* ---- reading: what other processes have added meanwhile too ---- */

/* Kind of the last entry of a round; 0 if there is none. */
CNS_MUST_CHECK int cns_ledger_state(struct cns_ledger *ledger, const struct cns_digest *descriptor,
                                    enum cns_ledger_kind *ret_state, struct cns_problem *problem);
/* The study's last round in this ledger, and its last attempt, whatever became of it. CNS_ERR_NOT_FOUND (no
 * sentence): none. */
CNS_MUST_CHECK int cns_ledger_last_attempt(struct cns_ledger *ledger, const struct cns_digest *study,
                                           uint64_t *ret_round, uint32_t *ret_attempt,
                                           struct cns_problem *problem);
/* Descriptors of a study's rounds that are reserved and no more, in order; malloc'd, NULL
 * if none. */
CNS_MUST_CHECK int cns_ledger_reserved(struct cns_ledger *ledger, const struct cns_digest *study,
                                       struct cns_digest **ret_descriptors, size_t *ret_count,
                                       struct cns_problem *problem);
/* 202601 for January 2026, UTC; 0 for a time outside 1970..9999. */
uint32_t cns_ledger_month(int64_t time);
/* What counts towards an observer, an element a round: of a study, or of all (NULL);
 * of the rounds reserved in a month, or of all (0). malloc'd; NULL if none. */
CNS_MUST_CHECK int cns_ledger_costs(struct cns_ledger *ledger, const struct cns_digest *study,
                                    enum cns_ledger_observer observer, uint32_t month,
                                    struct cns_budget_cost **ret_costs, size_t *ret_count,
                                    struct cns_problem *problem);
/* Entries from a sequence on, in order, each checked again. A result other than 0
 * ends it and is its result. The callback must not call this ledger. */
typedef int (*cns_ledger_callback)(void *context, const struct cns_ledger_entry *entry);
CNS_MUST_CHECK int cns_ledger_entries(struct cns_ledger *ledger, uint64_t from_sequence,
                                      cns_ledger_callback callback, void *context,
                                      struct cns_problem *problem);

/* ---- heads: what the other side keeps ---- */

struct cns_ledger_head {
  struct cns_identity_public owner;
  struct cns_digest subject;
  uint64_t sequence; /* of the last entry, 0 if there is none */
  struct cns_digest digest;
  int64_t time;
  struct cns_signature signature;
};
#define CNS_LEDGER_HEAD_BYTES 177

/* CNS_ERR_STATE if opened for reading only: there is no key to sign with. */
CNS_MUST_CHECK int cns_ledger_head(struct cns_ledger *ledger, struct cns_ledger_head *ret_head,
                                   struct cns_problem *problem);
CNS_MUST_CHECK int cns_ledger_head_encode(const struct cns_ledger_head *head,
                                          uint8_t ret_bytes[static CNS_LEDGER_HEAD_BYTES]);
/* CNS_ERR_FORMAT, CNS_ERR_VERSION. Verifies nothing. */
CNS_MUST_CHECK int cns_ledger_head_decode(const uint8_t *bytes, size_t len, struct cns_ledger_head *ret_head);
/* 0, or CNS_ERR_SIGNATURE: not signed by owner, or not of owner's ledger. */
CNS_MUST_CHECK int cns_ledger_head_verify(const struct cns_ledger_head *head,
                                          const struct cns_identity_public *owner);

/*
 * Keeps the head of another owner's ledger, durably, if it verifies; whether the
 * owner is in the roster, and whether this is the ledger that it should show, is
 * for the caller to check.
 *   0                   newer than the one kept, or the same again
 *   CNS_ERR_SIGNATURE
 *   CNS_ERR_REFUSED     lower than the one kept: their ledger lost its end
 *   CNS_LEDGER_FORK     another history up to the same entry: cns_ledger_witness
 *                       gives the other of the two signed heads that prove it
 */
#define CNS_LEDGER_FORK 2
CNS_MUST_CHECK int cns_ledger_accept_head(struct cns_ledger *ledger, const struct cns_ledger_head *head,
                                          struct cns_problem *problem);
/* The one kept. CNS_ERR_NOT_FOUND (no sentence): none. */
CNS_MUST_CHECK int cns_ledger_witness(struct cns_ledger *ledger, const struct cns_identity_public *owner,
                                      const struct cns_digest *subject, struct cns_ledger_head *ret_head,
                                      struct cns_problem *problem);

/*
 * A head of this very ledger, from whoever kept it ("the coordinator", for the
 * sentence): is it in this chain?
 *   0                   it is
 *   CNS_ERR_SIGNATURE   not signed by this ledger's owner, or of another ledger: says nothing
 *   CNS_ERR_REFUSED     this ledger ends before it: restored from an old copy, or cut off
 *   CNS_ERR_FORMAT      the entry of that number is another one here
 * After the last two nothing more is written through this handle (CNS_ERR_STATE): a second
 * history would begin.
 */
CNS_MUST_CHECK int cns_ledger_check_witness(struct cns_ledger *ledger, const struct cns_ledger_head *head,
                                            const char *holder, struct cns_problem *problem);
