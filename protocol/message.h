/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital's message in a phase: m_i = H(context, R, phase, i, T_(p-1), body,
 * root_i) with one signature. root_i is the Merkle root over what goes to
 * single recipients (zeros if nothing does).
 */
#pragma once

#include "protocol/descriptor.h"

#define CNS_MESSAGE_BODY_MAX (1u << 20)
/* Written out, with the longest body: the other fields have 167 bytes. */
#define CNS_MESSAGE_BYTES_MAX (CNS_MESSAGE_BODY_MAX + 256)

struct cns_message {
  struct cns_digest round; /* digest of R */
  uint8_t phase;
  uint16_t index;
  struct cns_digest transcript; /* T_(p-1) */
  const uint8_t *body;          /* not owned */
  size_t body_len;
  struct cns_digest root;
  struct cns_signature signature;
};

/* m_i */
void cns_message_digest(const struct cns_message *message, struct cns_digest *ret_digest);
CNS_MUST_CHECK int cns_message_sign(struct cns_message *message, const struct cns_identity *identity);
CNS_MUST_CHECK int cns_message_verify(const struct cns_message *message,
                                      const struct cns_identity_public *who);
void cns_message_write(struct cns_writer *writer, const struct cns_message *message);
/* body points into the reader's data. */
void cns_message_read(struct cns_reader *reader, struct cns_message *ret_message);

/* How a cohort member stands in the list of one phase. */
enum cns_standing {
  CNS_ABSENT = 0,
  CNS_PRESENT = 1,
  CNS_DISQUALIFIED = 2, /* answered, but is out; only in the list of phase ready */
};

struct cns_entry {
  uint8_t standing;
  struct cns_digest message; /* m_i, zeros if absent */
};

/* T_0 = H(R) */
void cns_transcript_start(const struct cns_digest *round, struct cns_digest *ret_transcript);
/* T_p = H(T_(p-1), p, list of (index, standing, m_i) over the whole cohort) */
void cns_transcript_next(const struct cns_digest *previous, enum cns_phase phase,
                         const struct cns_descriptor *descriptor, const struct cns_entry *entries,
                         struct cns_digest *ret_transcript);
/* The coordinator's signature on T_p; two different ones for one (R, p)
 * convict it. */
CNS_MUST_CHECK int cns_transcript_sign(const struct cns_identity *coordinator, const struct cns_digest *round,
                                       enum cns_phase phase, const struct cns_digest *transcript,
                                       struct cns_signature *ret_signature);
CNS_MUST_CHECK int cns_transcript_verify(const struct cns_identity_public *coordinator,
                                         const struct cns_digest *round, enum cns_phase phase,
                                         const struct cns_digest *transcript,
                                         const struct cns_signature *signature);
