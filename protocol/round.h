/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both machines know of a round: descriptor, the lists of the closed
 * phases and the transcript chain; and the wire form of requests.
 *
 * Request (coordinator to one hospital): version u8 = 1, R (32), phase u8,
 * closings u16, each a blob; then by phase: agree: the proposed agreement as a
 * blob, and with an audit this hospital's own z as a blob (empty if it has
 * none); audit, dispute, forfeit: see their headers. A closing is the list of one phase with what its reader
 * relies on, for every phase from the last one that this hospital answered; a reader skips those it has,
 * after checking that they are the same.
 *
 * Closing: phase u8, coordinator's signature on T_p, then for each member the
 * standing u8 and, unless absent, m_i (32); phase agree: the agreement, blob;
 * then for each member that is not absent: body blob (not in agree), signature,
 * in the phases shares, ready, audit and dispute root, and in shares the
 * reader's leaf and its path (depth u8, digests). Phases unmask and forfeit have
 * lists too, but nobody is sent them: what follows is bound to T_agree.
 */
#pragma once

#include "protocol/agree.h"
#include "protocol/ready.h"
#include "protocol/unmask.h"
#include "protocol/upload.h"

#define CNS_REQUEST_VERSION 1
#define CNS_REQUEST_BYTES_MAX (2u << 20)
#define CNS_ANSWER_BYTES_MAX (1u << 20)

/* Positions of two members whose pair mask one of them has opened. */
struct cns_opened {
  uint16_t opener, partner;
};

struct cns_round {
  struct cns_descriptor descriptor;
  struct cns_digest digest; /* of R */
  struct cns_digest transcript[CNS_PHASE_COUNT];
  struct cns_entry *entries[CNS_PHASE_COUNT]; /* NULL until the phase is closed */
  enum cns_phase closed;                      /* last closed phase */
  struct cns_opened *opened;                  /* by the bodies of phase dispute */
  size_t opened_count;
};

/* Takes a copy of the descriptor. */
CNS_MUST_CHECK int cns_round_init(struct cns_round *round, const struct cns_descriptor *descriptor);
void cns_round_deinit(struct cns_round *round);
/* Does this phase end with signed answers, at this round's audit level? */
bool cns_round_has_answers(const struct cns_round *round, enum cns_phase phase);
/* Are there answers' parts for single recipients, and so a root in its list? */
bool cns_phase_has_root(enum cns_phase phase);
/* The transition table: phases in order; audit and dispute only at a level
 * above none. Unmask may be followed by forfeit before result; both follow from
 * agree, which is their previous one. */
enum cns_phase cns_round_next(const struct cns_round *round, enum cns_phase phase);
enum cns_phase cns_round_previous(const struct cns_round *round, enum cns_phase phase);
/* Is member k asked in this phase (whose predecessors that decide it are closed)? */
bool cns_round_asked(const struct cns_round *round, enum cns_phase phase, size_t k);
bool cns_round_present(const struct cns_round *round, enum cns_phase phase, size_t k);
size_t cns_round_count(const struct cns_round *round, enum cns_phase phase);
/* Members present in a phase, as positions; ret_positions has room for all. */
size_t cns_round_positions(const struct cns_round *round, enum cns_phase phase, uint16_t *ret_positions);
/* Takes ownership of entries (n of them) and moves the chain on. */
void cns_round_close(struct cns_round *round, enum cns_phase phase, struct cns_entry *entries);
/* Smallest number present with which a phase may close. */
size_t cns_round_minimum(const struct cns_round *round);
/* How a member stands when released shares are expected of it: shares of b for
 * the included, of s for the others of U2, sorted by dealer; positions with
 * them. Returns the number. */
size_t cns_round_releases(const struct cns_round *round, const struct cns_agreement *agreement,
                          struct cns_released *ret_expected, uint16_t *ret_positions);

/* Announcement: descriptor blob and the coordinator's signature on its digest. */
CNS_MUST_CHECK int cns_announcement_write(struct cns_writer *writer, const struct cns_descriptor *descriptor,
                                          const struct cns_identity *coordinator);
CNS_MUST_CHECK int cns_announcement_read(const uint8_t *data, size_t len,
                                         const struct cns_identity_public *coordinator,
                                         struct cns_descriptor *ret_descriptor, struct cns_problem *problem);

/* abandon(R): "I have not unmasked R and never will"; t of them refund an
 * update that was spent on a round without a result. */
CNS_MUST_CHECK int cns_abandon_sign(const struct cns_identity *hospital, const struct cns_digest *round,
                                    uint16_t index, struct cns_signature *ret_signature);
CNS_MUST_CHECK int cns_abandon_verify(const struct cns_identity_public *hospital,
                                      const struct cns_digest *round, uint16_t index,
                                      const struct cns_signature *signature);
