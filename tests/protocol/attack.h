/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a party would send that doesn't keep to the protocol. A lying
 * coordinator takes a request apart, changes it and signs its lists again; a
 * lying hospital signs answers of its own making, and reads its machine's
 * secrets to make them.
 */
#pragma once

#include "protocol/coordinator_internal.h"
#include "protocol/hospital_internal.h"
#include "tests/protocol/federation.h"

struct attack_bytes {
  uint8_t *data;
  size_t len;
};
void attack_bytes_free(struct attack_bytes *bytes);
struct attack_bytes attack_bytes_copy(const uint8_t *data, size_t len);

/* Plays and closes phases until `phase` is the present one. */
void attack_play_until(struct federation *f, enum cns_phase phase);
/* All but member k answer the present phase. */
void attack_play_phase_without(struct federation *f, size_t k);
void attack_close(struct federation *f);
/* From here on, member k says nothing; the round must complete, with an exact
 * sum, and name nobody but the members that `liars` has a bit for. */
void attack_finish(struct federation *f, uint64_t liars);
void attack_check_names(const struct federation *f, uint64_t liars);

/* ---- the coordinator lies ---- */

/* The request of the present phase to member k. */
struct attack_bytes attack_request(const struct federation *f, size_t k);
/* Hospital k must refuse it, with a sentence, and sign nothing new. Frees it.
 * Returns the (negative) result. */
int attack_refused(struct federation *f, size_t k, struct attack_bytes request);
/* The same; the sentence has these words in it. */
int attack_refused_saying(struct federation *f, size_t k, struct attack_bytes request, const char *words);

struct attack_item {
  uint8_t standing;
  struct cns_digest message;
  uint8_t *body;
  size_t body_len;
  struct cns_signature signature;
  struct cns_digest root;
  struct cns_leaf leaf;
  struct cns_merkle_path path;
};
struct attack_list {
  enum cns_phase phase;
  struct attack_bytes agreement;
  struct attack_item items[FEDERATION_MAX];
};
struct attack_view {
  size_t n;
  struct cns_digest round;
  enum cns_phase phase;
  size_t count;
  struct attack_list lists[CNS_PHASE_COUNT];
  struct attack_bytes proposal; /* of phase agree */
  struct attack_bytes tail;     /* what stands behind lists and proposal */
};
struct attack_view *attack_view_new(const struct federation *f, size_t k);
struct attack_view *attack_view_free(struct attack_view *view);
/* Puts it together again, every list under a head that the coordinator signs. */
struct attack_bytes attack_view_write(const struct federation *f, const struct attack_view *view);
/* Changes item k of the last list to this body, signed by `who`; m_k follows. */
void attack_view_forge(const struct federation *f, struct attack_view *view, size_t k, const uint8_t *body,
                       size_t len, const struct cns_identity *who);
void attack_item_drop(struct attack_item *item);

/* ---- a hospital lies ---- */

/* Member k's answer in the coordinator's present phase, signed by it. */
struct attack_bytes attack_answer(const struct federation *f, size_t k, const uint8_t *body, size_t len,
                                  const struct cns_digest *root, const uint8_t *tail, size_t tail_len);
/* What the coordinator makes of it; frees it. */
int attack_receive(struct federation *f, size_t k, struct attack_bytes answer, struct cns_problem *problem);
/* The verdict is there and its evidence convicts member k; with a byte altered,
 * here and there, it convicts nobody else. */
void attack_convicted(const struct federation *f, size_t k, enum cns_blame blame);

/* ---- lies in the audit, as federation.lies ---- */

#define ATTACK_POISON ((uint32_t)1 << 24)
/* Before the upload: member k's update becomes far too large. */
void attack_poison(struct federation *f, size_t k);
/* A times that poison, divided by an integer (1, 2 or -1). */
void attack_poison_sketch(const struct federation *f, int divisor, uint32_t *ret_sketch);
/* What hides that poison in the sketch of the self mask; in that of the pair
 * with lie_partner; what claims that mask's sketch as if the partner's poison were
 * hidden there; a sketch off by one; every sketch off by one; nonsense in that pair. */
void attack_lie_self(struct federation *f, size_t k, uint32_t *masks);
void attack_lie_pair(struct federation *f, size_t k, uint32_t *masks);
void attack_lie_along(struct federation *f, size_t k, uint32_t *masks);
void attack_lie_slightly(struct federation *f, size_t k, uint32_t *masks);
void attack_lie_to_all(struct federation *f, size_t k, uint32_t *masks);
void attack_lie_wildly(struct federation *f, size_t k, uint32_t *masks);
/* Is member k's name in a verdict? */
bool attack_is_named(const struct federation *f, size_t k);
/* An answer of phase audit with these sketches, signed by member k. */
struct attack_bytes attack_audit_answer(const struct federation *f, size_t k, const uint32_t *masks);
/* The outcome of member k when all is over. */
uint8_t attack_outcome(const struct federation *f, size_t k);

/* Shares dealt by member k: start from an honest dealing, change, seal, send. */
struct attack_deal {
  size_t count;
  size_t positions[FEDERATION_MAX]; /* of the recipients in the cohort */
  struct cns_scalar b;
  struct cns_point point_b;
  struct cns_share_pair shares[FEDERATION_MAX];
  struct cns_leaf leaves[FEDERATION_MAX];
};
void attack_deal_make(struct federation *f, size_t k, struct attack_deal *deal);
/* Deals these two secrets with polynomials of degree threshold - 1. */
void attack_deal_split(struct federation *f, size_t k, struct attack_deal *deal, const struct cns_scalar *s,
                       size_t threshold_s, const struct cns_scalar *b, size_t threshold_b);
/* Seals shares[r] into leaves[r]; its points stay. */
void attack_deal_seal(const struct federation *f, size_t k, struct attack_deal *deal, size_t r);
struct attack_bytes attack_deal_answer(const struct federation *f, size_t k, const struct attack_deal *deal);

/* An answer of phase ready with these complaints. */
struct attack_bytes attack_ready_answer(const struct federation *f, size_t k,
                                        const struct cns_complaint *complaints, size_t count);
/* A complaint of member k about member j, honestly made from the leaf that the
 * coordinator holds. */
struct cns_complaint attack_complaint(struct federation *f, size_t k, size_t j);

/* What a coordinator announces, signed by it, to a hospital that expects `config`; the
 * machine's result. */
int attack_announce(struct federation *f, const struct cns_descriptor *d,
                    const struct cns_hospital_config *config, struct cns_problem *problem);
