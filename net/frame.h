/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames on a byte stream: header {u32 length, u8 type, u8 flags = 0,
 * u16 reserved = 0}, little-endian, then length bytes. Pure and incremental.
 * The length is checked against the limit of its class before anything is
 * allocated, and memory then grows with what has really arrived.
 *
 * The header, and the BYE and the first fields of HELLO, never change between
 * protocol versions: any version can tell any other why it hangs up.
 */
#pragma once

#include "crypto/base.h"

#define CNS_FRAME_HEADER_BYTES 8
#define CNS_FRAME_CONTROL_MAX (2u * 1024u * 1024u)
#define CNS_FRAME_BULK_MAX (128u * 1024u)
/* Until the peer has proven who it is. */
#define CNS_FRAME_STRANGER_MAX (4u * 1024u)

enum cns_frame_type {
  CNS_FRAME_HELLO = 1,
  CNS_FRAME_AUTH = 2,
  CNS_FRAME_PING = 3,
  CNS_FRAME_PONG = 4,
  CNS_FRAME_BYE = 5,          /* why we hang up: printable text */
  CNS_FRAME_CREDIT = 6,       /* u64: bytes of bulk payload that may come in addition */
  CNS_FRAME_APPLICATION = 16, /* 16..127: the application's control frames */
  CNS_FRAME_BULK = 128,       /* 128..255: the application's bulk frames */
};

static inline bool cns_frame_is_bulk(uint8_t type) {
  return type >= CNS_FRAME_BULK;
}

/* Payload limit of a type on an authenticated link. */
size_t cns_frame_limit(uint8_t type);

void cns_frame_header_write(uint8_t type, size_t len, uint8_t ret_header[static CNS_FRAME_HEADER_BYTES]);

struct cns_frame {
  uint8_t type;
  const uint8_t *data; /* valid until the framer is called again */
  size_t len;
};

struct cns_framer {
  bool authenticated;   /* set by the owner; until then only HELLO, AUTH, BYE, of STRANGER_MAX */
  uint64_t bulk_credit; /* bytes of bulk payload that the peer may still send; set by the owner */
  uint8_t header[CNS_FRAME_HEADER_BYTES];
  size_t header_len;
  uint8_t type;
  size_t len; /* of the payload being collected */
  uint8_t *payload;
  size_t payload_len, payload_capacity;
  int error; /* sticky */
};

void cns_framer_init(struct cns_framer *framer);
void cns_framer_deinit(struct cns_framer *framer);

/* A whole frame is in *ret_frame. */
#define CNS_CASE_FRAME 1

/*
 * Takes bytes from data; *ret_taken is how many. CNS_CASE_FRAME: a frame is
 * complete, call again with the rest; 0: all taken, more needed. Errors, after
 * which the stream is useless, each with a sentence: CNS_ERR_FORMAT (reserved
 * bits, unknown type, empty bulk frame), CNS_ERR_LIMIT (length), CNS_ERR_REFUSED
 * (bulk beyond the credit, or application frames before authentication),
 * CNS_ERR_MEMORY.
 */
CNS_MUST_CHECK int cns_framer_feed(struct cns_framer *framer, const uint8_t *data, size_t len,
                                   size_t *ret_taken, struct cns_frame *ret_frame,
                                   struct cns_problem *problem);
