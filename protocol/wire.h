/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application's frames between hospital and coordinator (net/frame.h
 * carries them): types, and the small ones' codecs. docs/protocol.md, "Wire
 * format". All integers little-endian; leftover bytes are an error.
 *
 * Course of a session. After the link is open the coordinator sends TIME, and the hospital JOIN
 * and, under a policy with noise, LEDGER of its own ledger and of the coordinator's, if it keeps one; the
 * coordinator answers with ROSTER if there is a newer one (and sends it whenever it takes one
 * over), MANIFEST if there is a model newer than the hospital's, then NOTICE while it waits. A round:
 * ANNOUNCE, [MODEL_GET, MODEL chunks,] training, ANSWER (keys), REQUEST, ANSWER (shares), REQUEST, ANSWER
 * (ready), REQUEST (upload), UPLOAD_OPEN, UPLOAD_FROM, CHUNKs, ANSWER (upload), RECEIPT, [REQUEST, ANSWER
 * (audit), and of those whose sketches contradict each other (dispute),] REQUEST, ANSWER (agree), REQUEST,
 * ANSWER (unmask), [REQUEST, ANSWER (forfeit), as often as needed,] then MANIFEST or ENDED. After a lost
 * connection: JOIN, then the coordinator sends again whatever it still awaits (ANNOUNCE or REQUEST).
 */
#pragma once

#include "protocol/round.h"

enum cns_wire_type {
  /* coordinator to hospital */
  CNS_WIRE_ANNOUNCE = 16, /* cns_announcement_write */
  CNS_WIRE_REQUEST = 17,  /* cns_coordinator_request */
  CNS_WIRE_RECEIPT = 18,  /* R (32), signature (64) */
  CNS_WIRE_ENDED = 19,    /* R (32), end code u8, sentence blob: no result, or: you are not needed any more */
  CNS_WIRE_MANIFEST = 20, /* signed manifest document of the newest model */
  CNS_WIRE_UPLOAD_FROM = 21, /* R (32), next missing chunk u64 */
  CNS_WIRE_NOTICE = 22,      /* sentence blob, for the log */
  CNS_WIRE_ABANDON_ASK = 23, /* R (32): please sign abandon(R) */
  CNS_WIRE_ABANDONED = 24,   /* R (32), count u16, then index u16 and signature (64) each */
  CNS_WIRE_LEDGER = 26,      /* both ways: the signed head of a privacy ledger (store/ledger.h) */
  CNS_WIRE_OVER = 27, /* code u8, sentence blob: there is no further round, though the study isn't complete */
  CNS_WIRE_PAUSED = 28,  /* cns_pause_write: no round begins until state none comes */
  CNS_WIRE_TIME = 29,    /* seconds since 1970 u64: the coordinator's clock, when the link is open */
  CNS_WIRE_REFUSED = 25, /* phase u8, sentence blob: your answer was not accepted */
  CNS_WIRE_ROSTER = 30,  /* signed roster, newer than the hospital's: in force from the next round on */
  /* hospital to coordinator */
  CNS_WIRE_JOIN = 48,    /* round of the newest manifest held u64 (0: none), version of the roster held u64,
                            signed consent document blob */
  CNS_WIRE_ANSWER = 49,  /* a machine's answer */
  CNS_WIRE_DECLINE = 50, /* R (32), sentence blob: why we take no part (any more) */
  CNS_WIRE_UPLOAD_OPEN = 51, /* R (32): where shall I (re)start? */
  CNS_WIRE_MODEL_GET = 52,   /* model digest (32), offset u64: stream from there */
  CNS_WIRE_ABANDON = 53,     /* R (32), signature (64) */
  /* bulk, under credit */
  CNS_WIRE_MODEL = 144, /* coordinator: model digest (32), offset u64, total u64, bytes */
  CNS_WIRE_CHUNK = 160, /* hospital: R (32), chunk u64, words as little-endian bytes */
};

/* Codes of OVER. */
#define CNS_WIRE_OVER_BUDGET 0  /* the privacy budget is spent */
#define CNS_WIRE_OVER_STOPPED 1 /* an operator stopped the study: nothing is to be waited for */

#define CNS_WIRE_SENTENCE_MAX 1024
#define CNS_WIRE_MODEL_PIECE (64u * 1024u)
#define CNS_WIRE_CHUNK_HEADER_BYTES (CNS_DIGEST_BYTES + 8)
#define CNS_WIRE_MODEL_HEADER_BYTES (CNS_DIGEST_BYTES + 16)

/* A digest and a sentence (ENDED has a code before it; DECLINE: code 0). */
struct cns_wire_word {
  struct cns_digest round;
  uint8_t code;
  char sentence[CNS_WIRE_SENTENCE_MAX + 1]; /* printable; control characters become '?' */
};
void cns_wire_write_word(struct cns_writer *writer, const struct cns_digest *round, uint8_t code,
                         const char *sentence);
CNS_MUST_CHECK int cns_wire_read_word(const uint8_t *data, size_t len, struct cns_wire_word *ret_word);

/* NOTICE (code 0), OVER (CNS_WIRE_OVER_...), REFUSED (code: phase): a word without a digest. */
void cns_wire_write_notice(struct cns_writer *writer, uint8_t code, const char *sentence);
CNS_MUST_CHECK int cns_wire_read_notice(const uint8_t *data, size_t len, struct cns_wire_word *ret_word);

/* TIME; now: of our own clock, by so many seconds ahead of the other's. CNS_ERR_FORMAT, CNS_ERR_RANGE. */
void cns_wire_write_time(struct cns_writer *writer, int64_t now);
CNS_MUST_CHECK int cns_wire_read_time(const uint8_t *data, size_t len, int64_t now, int64_t *ret_ahead);

/* A digest alone, or a digest and a number. */
CNS_MUST_CHECK int cns_wire_read_digest(const uint8_t *data, size_t len, struct cns_digest *ret_digest);
void cns_wire_write_digest_u64(struct cns_writer *writer, const struct cns_digest *digest, uint64_t number);
CNS_MUST_CHECK int cns_wire_read_digest_u64(const uint8_t *data, size_t len, struct cns_digest *ret_digest,
                                            uint64_t *ret_number);
/* RECEIPT, ABANDON */
void cns_wire_write_signed(struct cns_writer *writer, const struct cns_digest *round,
                           const struct cns_signature *signature);
CNS_MUST_CHECK int cns_wire_read_signed(const uint8_t *data, size_t len, struct cns_digest *ret_round,
                                        struct cns_signature *ret_signature);

/* Header of a CHUNK or MODEL frame; the data follows it. */
void cns_wire_chunk_header(const struct cns_digest *round, uint64_t chunk,
                           uint8_t ret_header[static CNS_WIRE_CHUNK_HEADER_BYTES]);
CNS_MUST_CHECK int cns_wire_read_chunk(const uint8_t *data, size_t len, struct cns_digest *ret_round,
                                       uint64_t *ret_chunk, const uint8_t **ret_bytes, size_t *ret_bytes_len);
void cns_wire_model_header(const struct cns_digest *model, uint64_t offset, uint64_t total,
                           uint8_t ret_header[static CNS_WIRE_MODEL_HEADER_BYTES]);
CNS_MUST_CHECK int cns_wire_read_model(const uint8_t *data, size_t len, struct cns_digest *ret_model,
                                       uint64_t *ret_offset, uint64_t *ret_total, const uint8_t **ret_bytes,
                                       size_t *ret_bytes_len);

/* One hospital's abandon in an ABANDONED frame. */
struct cns_wire_abandon {
  uint16_t index;
  struct cns_signature signature;
};
void cns_wire_write_abandoned(struct cns_writer *writer, const struct cns_digest *round,
                              const struct cns_wire_abandon *abandons, size_t count);
/* Verifies that at least `threshold` different members of the cohort signed;
 * CNS_ERR_SIGNATURE otherwise. */
CNS_MUST_CHECK int cns_wire_check_abandoned(const uint8_t *data, size_t len, const struct cns_roster *roster,
                                            const struct cns_descriptor *descriptor,
                                            struct cns_digest *ret_round);
