/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hospital must not forget over a crash, in SQLite (WAL,
 * synchronous=FULL): what it signed, what it sent, what it spent, what it
 * agreed to and which versions it has seen. Every function that writes is
 * durable when it returns 0, and only then may the caller send or act
 * (docs/protocol.md, "Numbers" and "Phases").
 *
 * One thread at a time. Opening takes <path>.lock: two agents can't share one
 * state. Messages and documents are sealed at rest.
 */
#pragma once

#include "crypto/hash.h"

#define CNS_HOSPITAL_STORE_KEY_BYTES 32
#define CNS_HOSPITAL_STORE_BYTES_MAX (64u << 20) /* longest message or document */

struct cns_hospital_store;

/* Creates if there is none. Errors as cns_journal_open. */
CNS_MUST_CHECK int cns_hospital_store_open(const char *path,
                                           const uint8_t key[static CNS_HOSPITAL_STORE_KEY_BYTES],
                                           struct cns_hospital_store **ret_store,
                                           struct cns_problem *problem);
/* For another process while the agent runs: no lock, creates nothing; functions
 * that write are CNS_ERR_STATE. CNS_ERR_NOT_FOUND if there is no file. */
CNS_MUST_CHECK int cns_hospital_store_open_readonly(const char *path,
                                                    const uint8_t key[static CNS_HOSPITAL_STORE_KEY_BYTES],
                                                    struct cns_hospital_store **ret_store,
                                                    struct cns_problem *problem);
struct cns_hospital_store *cns_hospital_store_free(struct cns_hospital_store *store);

/* ---- descriptors: one per (round, attempt), numbers only grow ---- */

/*
 * Call before anything of this round is signed. 0: may be signed (it is higher
 * than all before, or exactly the highest again). CNS_ERR_REFUSED: lower, or
 * the same numbers with another descriptor.
 */
CNS_MUST_CHECK int cns_hospital_store_sign_round(struct cns_hospital_store *store,
                                                 const struct cns_digest *study, uint64_t round,
                                                 uint32_t attempt, const struct cns_digest *descriptor,
                                                 struct cns_problem *problem);
/* CNS_ERR_NOT_FOUND before the first. */
CNS_MUST_CHECK int cns_hospital_store_signed_round(struct cns_hospital_store *store,
                                                   const struct cns_digest *study, uint64_t *ret_round,
                                                   uint32_t *ret_attempt, struct cns_digest *ret_descriptor);

/* ---- messages: insert only, exact bytes ---- */

/* Call before sending. 0 also for the same bytes again. CNS_ERR_EXISTS: other
 * bytes were stored for this (descriptor, phase); they are the ones to send.
 * CNS_ERR_REFUSED: of an abandoned round, its unmasking and what belongs to its
 * audit. phase: as cns_hospital_slot numbers it. */
CNS_MUST_CHECK int cns_hospital_store_put_message(struct cns_hospital_store *store,
                                                  const struct cns_digest *descriptor, uint8_t phase,
                                                  const uint8_t *bytes, size_t len,
                                                  struct cns_problem *problem);
/* malloc'd. CNS_ERR_NOT_FOUND: never sent, or forgotten. */
CNS_MUST_CHECK int cns_hospital_store_get_message(struct cns_hospital_store *store,
                                                  const struct cns_digest *descriptor, uint8_t phase,
                                                  uint8_t **ret_bytes, size_t *ret_len,
                                                  struct cns_problem *problem);
/* Overwrites the bytes of the messages of all rounds but one; their digests
 * stay, so that a second, different message is still refused. running: NULL if
 * every round that was joined here is decided. */
CNS_MUST_CHECK int cns_hospital_store_forget_messages(struct cns_hospital_store *store,
                                                      const struct cns_digest *running,
                                                      struct cns_problem *problem);

/* ---- consent ---- */

/* The signed consent document for a study; the newest one counts. */
CNS_MUST_CHECK int cns_hospital_store_put_consent(struct cns_hospital_store *store,
                                                  const struct cns_digest *study, const uint8_t *document,
                                                  size_t len, struct cns_problem *problem);
/* malloc'd. CNS_ERR_NOT_FOUND: no consent. */
CNS_MUST_CHECK int cns_hospital_store_get_consent(struct cns_hospital_store *store,
                                                  const struct cns_digest *study, uint8_t **ret_document,
                                                  size_t *ret_len, struct cns_problem *problem);
/* No consent any more. 0 also if there was none. */
CNS_MUST_CHECK int cns_hospital_store_withdraw_consent(struct cns_hospital_store *store,
                                                       const struct cns_digest *study,
                                                       struct cns_problem *problem);

/* ---- spent updates ---- */

enum cns_update_state {
  CNS_UPDATE_UNUSED = 0,    /* nothing of it left, and nothing signed to abandon it */
  CNS_UPDATE_SPENT = 1,     /* its first byte may have left: charged, never used again */
  CNS_UPDATE_ABANDONED = 2, /* this hospital signed abandon(R): it never unmasks R */
  CNS_UPDATE_REFUNDED = 3,  /* t abandons were shown: no longer charged */
};

/* Call before the first byte of the masked update leaves. 0 also for the same
 * again. CNS_ERR_REFUSED: R was abandoned, or is known with another parent. */
CNS_MUST_CHECK int cns_hospital_store_spend(struct cns_hospital_store *store, const struct cns_digest *parent,
                                            const struct cns_digest *descriptor, struct cns_problem *problem);
/* Call before signing abandon(R). CNS_ERR_REFUSED if a message of
 * unmask_phase, or of a forfeit, was stored for R: who unmasks never abandons. */
CNS_MUST_CHECK int cns_hospital_store_abandon(struct cns_hospital_store *store,
                                              const struct cns_digest *parent,
                                              const struct cns_digest *descriptor, uint8_t unmask_phase,
                                              struct cns_problem *problem);
/* The caller has verified t signed abandons. CNS_ERR_STATE unless this
 * hospital has abandoned R itself. */
CNS_MUST_CHECK int cns_hospital_store_refund(struct cns_hospital_store *store,
                                             const struct cns_digest *descriptor,
                                             struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_store_update_state(struct cns_hospital_store *store,
                                                   const struct cns_digest *descriptor,
                                                   enum cns_update_state *ret_state);
/* Updates from this parent that were uploaded and not refunded. */
CNS_MUST_CHECK int cns_hospital_store_count_spent(struct cns_hospital_store *store,
                                                  const struct cns_digest *parent, uint64_t *ret_count);

/* ---- audits: numbers that were revealed are never refunded ---- */

/* What is on record for a study. */
struct cns_audit_record {
  uint64_t numbers;  /* of A*x, revealed in all rounds of the study */
  uint64_t answered; /* audits of updates from the parent model asked about */
  bool entered;      /* an audited attempt from that parent got as far as phase upload */
};

/* Call before the first byte of an update of an audited round leaves. 0 also for
 * the same again. CNS_ERR_REFUSED: R is known with another study or parent. */
CNS_MUST_CHECK int cns_hospital_store_enter_audit(struct cns_hospital_store *store,
                                                  const struct cns_digest *study,
                                                  const struct cns_digest *parent,
                                                  const struct cns_digest *descriptor,
                                                  struct cns_problem *problem);
/* Call before the answer of phase audit is sent: puts the message and charges
 * the numbers that it reveals, both or neither. 0 also for the same again, which
 * is charged once. Errors of cns_hospital_store_put_message and _enter_audit;
 * CNS_ERR_STATE unless the audit was entered. */
CNS_MUST_CHECK int cns_hospital_store_put_audit(struct cns_hospital_store *store,
                                                const struct cns_digest *descriptor, uint8_t phase,
                                                uint64_t numbers, const uint8_t *bytes, size_t len,
                                                struct cns_problem *problem);
/* All zeros before the first. CNS_ERR_FORMAT if any row of the study is damaged. */
CNS_MUST_CHECK int cns_hospital_store_audits(struct cns_hospital_store *store, const struct cns_digest *study,
                                             const struct cns_digest *parent,
                                             struct cns_audit_record *ret_audits,
                                             struct cns_problem *problem);

/* ---- versions of signed documents ---- */

/* kind: "roster", "policy": 1..15 letters. 0: higher than before, or the same
 * again. CNS_ERR_REFUSED: lower, or the same version with another digest. */
CNS_MUST_CHECK int cns_hospital_store_accept_version(struct cns_hospital_store *store, const char *kind,
                                                     uint64_t version, const struct cns_digest *digest,
                                                     struct cns_problem *problem);
/* Would it be accepted? Nothing is changed. */
CNS_MUST_CHECK int cns_hospital_store_check_version(struct cns_hospital_store *store, const char *kind,
                                                    uint64_t version, const struct cns_digest *digest,
                                                    struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_store_accepted_version(struct cns_hospital_store *store, const char *kind,
                                                       uint64_t *ret_version, struct cns_digest *ret_digest);

/* ---- the last accepted manifest ---- */

/* 0: a later round than before, or the same again. CNS_ERR_REFUSED: an earlier
 * round, or the same round with other bytes (a forked history). */
CNS_MUST_CHECK int cns_hospital_store_put_manifest(struct cns_hospital_store *store,
                                                   const struct cns_digest *study, uint64_t round,
                                                   const struct cns_digest *model, const uint8_t *manifest,
                                                   size_t len, struct cns_problem *problem);
/* malloc'd. CNS_ERR_NOT_FOUND before the first. */
CNS_MUST_CHECK int cns_hospital_store_get_manifest(struct cns_hospital_store *store,
                                                   const struct cns_digest *study, uint64_t *ret_round,
                                                   struct cns_digest *ret_model, uint8_t **ret_manifest,
                                                   size_t *ret_len, struct cns_problem *problem);
