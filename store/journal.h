/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's journal: the ordered list of everything it accepted, in
 * SQLite (WAL, synchronous=FULL). The coordinator is a function of this list:
 * append, sync, and only then act. Restart is replay.
 *
 * Entries are chained:
 *   chain_k = H("consilium/1 journal chain", chain_(k-1), kind, round, attempt,
 *               phase, index, body digest),   chain_0 = 32 zero bytes,
 * with the body's digest H("consilium/1 journal body", body), so that a changed,
 * removed, added or moved entry is found when the journal is opened. Entries
 * missing from the *end* can only be found against a head that somebody else
 * kept: the signed head of each round (round table, result manifest).
 * Bodies are sealed with XChaCha20-Poly1305 under a random nonce, bound to
 * sequence, header and chain. Erasing a body leaves its digest, and is an
 * entry of the chain itself.
 *
 * One thread at a time. One writer a file: opening takes <path>.lock. Readers
 * of other processes are not blocked and do not block.
 */
#pragma once

#include "crypto/hash.h"
#include "crypto/identity.h"

#define CNS_JOURNAL_KEY_BYTES 32
/* Largest body of one entry. */
#define CNS_JOURNAL_BODY_BYTES_MAX (64u << 20)
/* Largest kind that a caller may use; above are the journal's own. */
#define CNS_JOURNAL_KIND_MAX 199
/* Longest result line of a round. */
#define CNS_JOURNAL_RESULT_BYTES_MAX (1u << 20)

struct cns_journal;

struct cns_journal_entry {
  uint8_t kind; /* the caller's, 0..CNS_JOURNAL_KIND_MAX */
  uint64_t round;
  uint32_t attempt;
  uint8_t phase;
  uint16_t index;      /* roster index of who sent it; 0 for the coordinator itself */
  const uint8_t *body; /* replay: valid during the callback; NULL if erased or empty */
  size_t body_len;     /* also of an erased body */

  /* Filled by replay, ignored by append. */
  uint64_t sequence; /* 1, 2, 3, ... over the whole journal */
  bool erased;
  struct cns_digest body_digest;
  struct cns_digest chain;
};

/*
 * Creates the file if there is none, takes the lock, checks schema, key and
 * the whole chain with every body.
 *   CNS_ERR_STATE       another process holds this journal
 *   CNS_ERR_VERSION     schema of another version
 *   CNS_ERR_REFUSED     written under another key
 *   CNS_ERR_FORMAT      damaged: the sentence says where
 *   CNS_ERR_DISK_FULL, CNS_ERR_IO, CNS_ERR_PERMISSION
 */
CNS_MUST_CHECK int cns_journal_open(const char *path, const uint8_t key[static CNS_JOURNAL_KEY_BYTES],
                                    struct cns_journal **ret_journal, struct cns_problem *problem);
/* For another process while the daemon runs: no lock, no chain check, reads
 * only (the others are CNS_ERR_STATE). CNS_ERR_NOT_FOUND if there is no file. */
CNS_MUST_CHECK int cns_journal_open_readonly(const char *path,
                                             const uint8_t key[static CNS_JOURNAL_KEY_BYTES],
                                             struct cns_journal **ret_journal, struct cns_problem *problem);
/* What was not synced is gone. Takes NULL, returns NULL. */
struct cns_journal *cns_journal_free(struct cns_journal *journal);

/*
 * Adds an entry to the open transaction: nothing is durable, and nothing may
 * be acted on, before cns_journal_sync. On failure everything since the last
 * sync is dropped and the journal stands where it stood then, ready for more
 * (after CNS_ERR_DISK_FULL: once there is room).
 */
CNS_MUST_CHECK int cns_journal_append(struct cns_journal *journal, const struct cns_journal_entry *entry,
                                      struct cns_problem *problem);
/* Commits everything appended since the last call with one fsync. On failure
 * as above: none of it is in the journal. Nothing to do is 0. */
CNS_MUST_CHECK int cns_journal_sync(struct cns_journal *journal, struct cns_problem *problem);
/* Entries appended and not yet synced. */
size_t cns_journal_pending(const struct cns_journal *journal);
/* The last entry's chain digest and sequence (zeros and 0 for an empty
 * journal), entries not yet synced included. */
void cns_journal_head(const struct cns_journal *journal, struct cns_digest *ret_head, uint64_t *ret_sequence);

/* Called in order; a result other than 0 ends the replay and is its result.
 * Must not write to the journal. */
typedef int (*cns_journal_callback)(void *context, const struct cns_journal_entry *entry);
/* Synced and pending entries with (round, attempt) >= (from_round,
 * from_attempt), in order of sequence. */
CNS_MUST_CHECK int cns_journal_replay(struct cns_journal *journal, uint64_t from_round, uint32_t from_attempt,
                                      cns_journal_callback callback, void *context,
                                      struct cns_problem *problem);
/* The check that opening does: chain, bodies, erasures, heads of rounds. */
CNS_MUST_CHECK int cns_journal_verify(struct cns_journal *journal, struct cns_problem *problem);

/*
 * Overwrites the bodies of one kind in one attempt of a round; headers,
 * digests and chain stay. Synced when it returns 0 (with whatever was
 * pending). Pages in the write-ahead log are overwritten at once, or, while
 * another process reads, at a later sync.
 */
CNS_MUST_CHECK int cns_journal_erase_bodies(struct cns_journal *journal, uint64_t round, uint32_t attempt,
                                            uint8_t kind, struct cns_problem *problem);

/* The same for every attempt up to and with this one that still has such bodies. */
CNS_MUST_CHECK int cns_journal_erase_bodies_until(struct cns_journal *journal, uint64_t round,
                                                  uint32_t attempt, uint8_t kind,
                                                  struct cns_problem *problem);

/* ---- the table of rounds, for status ---- */

enum cns_journal_round_state {
  CNS_JOURNAL_ROUND_RUNNING = 1,
  CNS_JOURNAL_ROUND_COMPLETED = 2,
  CNS_JOURNAL_ROUND_ENDED = 3, /* cleanly, without a result */
};

struct cns_journal_round {
  uint64_t round;
  uint32_t attempt;
  enum cns_journal_round_state state;
  struct cns_digest descriptor; /* H(R) */
  const char *result;           /* JSON line, or NULL; from _each: valid during the callback */
  bool has_head;                /* the two below are set */
  struct cns_digest head;       /* the journal's head when the round was closed */
  uint64_t head_sequence;
  struct cns_signature head_signature; /* the coordinator's over head: made by the caller */
};

/* Inserts or replaces the row, in the open transaction like append. */
CNS_MUST_CHECK int cns_journal_round_set(struct cns_journal *journal, const struct cns_journal_round *round,
                                         struct cns_problem *problem);
typedef int (*cns_journal_round_callback)(void *context, const struct cns_journal_round *round);
/* In order of (round, attempt), from from_round on. */
CNS_MUST_CHECK int cns_journal_round_each(struct cns_journal *journal, uint64_t from_round,
                                          cns_journal_round_callback callback, void *context,
                                          struct cns_problem *problem);
/* Highest (round, attempt) in the table; CNS_ERR_NOT_FOUND when empty. */
CNS_MUST_CHECK int cns_journal_round_last(struct cns_journal *journal, uint64_t *ret_round,
                                          uint32_t *ret_attempt);
