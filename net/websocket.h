/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket (RFC 6455) inside a link's TLS: the opening handshake, and binary messages around the
 * bytes of the stream. Pure: bytes in, bytes out. nng has one too, but lets any number of
 * strangers wait without a time limit, and hides the TLS connection; this one leaves
 * all of that to the link, as with tls+tcp://.
 *
 * Message boundaries mean nothing; a message may be in fragments, and is passed on as it comes, so that
 * no length costs memory.
 */
#pragma once

#include "crypto/rng.h"

#define CNS_WEBSOCKET_HEAD_MAX 4096   /* request or answer */
#define CNS_WEBSOCKET_HEADER_MAX 14   /* of a frame */
#define CNS_WEBSOCKET_CONTROL_MAX 125 /* payload of ping, pong and close */
#define CNS_WEBSOCKET_KEY_CHARS 24
#define CNS_WEBSOCKET_PATH_MAX 120

struct cns_websocket {
  bool client;
  bool open; /* the opening handshake is through */
  struct cns_rng rng;
  char path[CNS_WEBSOCKET_PATH_MAX + 1];
  char key[CNS_WEBSOCKET_KEY_CHARS + 1]; /* of the request */
  char head[CNS_WEBSOCKET_HEAD_MAX];
  size_t head_len;
  /* the frame that is coming in */
  uint8_t header[CNS_WEBSOCKET_HEADER_MAX];
  size_t header_len, mask_at;
  uint64_t left; /* of its payload */
  bool in_payload;
  uint8_t control[CNS_WEBSOCKET_CONTROL_MAX];
  size_t control_len;
};

/* What a side is to do with it. The spans are valid until the next call. */
struct cns_websocket_output {
  void *context;
  void (*data)(void *context, const uint8_t *data, size_t len); /* bytes of the stream */
  /* To be sent as it is: the answer to the opening handshake, or a pong. */
  void (*reply)(void *context, const void *data, size_t len);
  void (*opened)(void *context); /* after its reply: from now on data may be sent */
};

/* path: begins with '/'. */
void cns_websocket_init(struct cns_websocket *ws, bool client, const char *path, struct cns_rng rng);
/* The client's request, malloc'd; host: "host:port", for the header. CNS_ERR_MEMORY, _RANDOM. */
CNS_MUST_CHECK int cns_websocket_request(struct cns_websocket *ws, const char *host, char **ret_request);

/*
 * Takes bytes from the stream; unmasks in place. 0; CNS_ERR_FORMAT or CNS_ERR_REFUSED with a sentence (the
 * reply that says so in HTTP was given before); CNS_ERR_CLOSED: the other side closed the WebSocket;
 * CNS_ERR_RANDOM.
 */
CNS_MUST_CHECK int cns_websocket_take(struct cns_websocket *ws, uint8_t *data, size_t len,
                                      const struct cns_websocket_output *output, struct cns_problem *problem);

/* Header of a binary message of len bytes; *ret_header_len of it. The client's payload is to be masked
 * with cns_websocket_mask and the last four bytes of the header. CNS_ERR_RANDOM. */
CNS_MUST_CHECK int cns_websocket_header(const struct cns_websocket *ws, size_t len,
                                        uint8_t ret_header[static CNS_WEBSOCKET_HEADER_MAX],
                                        size_t *ret_header_len);
/* at: how many bytes of the message were masked before. */
void cns_websocket_mask(uint8_t *data, size_t len, const uint8_t mask[static 4], size_t at);
