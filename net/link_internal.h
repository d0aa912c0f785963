/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside a link. States only go forward:
 *
 *   HANDSHAKE -> OPEN -> LINGER -> DEAD
 *
 * LINGER: our last words are on their way and what comes is thrown away, until
 * the peer says goodbye too, hangs up, or a time has passed; closing at once would turn unread
 * bytes into a reset that overtakes those words. DEAD: the stream is closed, and
 * memory is returned when nng's operations, the timer and the event that tells
 * the owner are all through. From the end of OPEN on the owner forgets the link.
 */
#pragma once

#include <nng/nng.h>

#include "net/handshake.h"
#include "net/link.h"
#include "net/queue.h"
#include "net/url.h"
#include "net/websocket.h"

/* Fastest with nng: a TLS record of it just fits nng's buffer of 16,384. */
#define CNS_LINK_WRITE_BYTES 16300u
#define CNS_LINK_READ_BYTES 16384u

/* Refused strangers that we wait for; more are closed at once. Of those that
 * were let in, one link a party. */
#define CNS_LINK_LINGERING_MAX 64u

/* The last words of a process that ends. */
#define CNS_LINK_FAREWELL "shutting down"
#define CNS_LINK_PEER_SAYS "the other side says: "

enum cns_link_state { CNS_LINK_HANDSHAKE, CNS_LINK_OPEN, CNS_LINK_LINGER, CNS_LINK_DEAD };

/* Listener or dialer, as its links see it. */
struct cns_link_owner {
  struct cns_link_callbacks callbacks;
  /* HANDSHAKE -> OPEN; calls on_open. */
  void (*opened)(struct cns_link_owner *owner, struct cns_link *link);
  /* HANDSHAKE or OPEN ended. Called on its own, from the loop. */
  void (*ended)(struct cns_link_owner *owner, struct cns_link *link, bool was_open, int error,
                const char *sentence);
};

struct cns_link {
  struct cns_link *next;         /* owner's list */
  struct cns_link *next_parting; /* cns_loop_parting, from `parting` on */
  struct cns_loop *loop;
  struct cns_link_owner *owner; /* NULL once it has been told of the end, or is gone itself */
  struct cns_link_times times;
  nng_stream *stream;
  bool tls;
  enum cns_link_state state;

  struct cns_loop_op receive, send;
  uv_timer_t timer;
  bool timer_closed;
  uint64_t tick_ms, quiet_ms, age_ms, linger_left_ms;
  uint64_t unsaid_ms; /* since anything of ours went out */
  bool ping_sent;
  bool draining;      /* what comes is no longer looked at */
  bool tls_draining;  /* ... and TLS has failed */
  bool peer_said_bye; /* which ended the link, or while we linger */

  struct cns_websocket *websocket; /* NULL: none */
  struct cns_handshake handshake;
  struct cns_framer framer;
  struct cns_tls_pin own_pin;
  struct cns_peers *peers; /* asked by nng's threads until the stream is closed */

  struct cns_byte_queue queue;
  uint8_t write_buffer[CNS_LINK_WRITE_BYTES];
  uint8_t read_buffer[CNS_LINK_READ_BYTES];
  bool want_writable;

  uint64_t credit;     /* bulk bytes that the peer lets us send */
  uint64_t unconsumed; /* bulk bytes delivered and not yet consumed */
  uint64_t ungranted;  /* consumed, not yet announced to the peer */

  struct cns_loop_event end;
  bool end_posted, end_ran, was_open, counted, parting;
  int end_error;
  char end_sentence[512];

  struct cns_link_counters counters;
  char remote[CNS_LINK_REMOTE_MAX];
  void *user;
};

struct cns_link_start {
  struct cns_loop *loop;
  struct cns_link_owner *owner;
  const struct cns_link_config *config;
  const struct cns_tls_pin *own_pin; /* NULL without TLS */
  bool initiator;
  const char *remote;
  const struct cns_url *url; /* what was dialled or is listened on */
};
/* Takes the stream over, also on failure. */
CNS_MUST_CHECK int cns_link_new(const struct cns_link_start *start, nng_stream *stream,
                                struct cns_link **ret_link);

/* Ends a link. bye: tell the peer the same sentence. The owner hears of it
 * later, from the loop. No effect on a link that has ended already. */
void cns_link_end(struct cns_link *link, int error, bool bye, const char *fmt, ...) CNS_PRINTF(4, 5);
/* Tells the owner now, if it hasn't been told. */
void cns_link_tell_end(struct cns_link *link);
/* An ended link waits for its last words to arrive, if there is room for one
 * more stranger; of a party that was let in, only the newest does. */
void cns_link_linger(struct cns_link *link);
/* Closes the stream at once. */
void cns_link_kill(struct cns_link *link);

/* link_io.c: between nng's stream and the framer and the queue. */
CNS_MUST_CHECK int cns_link_io_init(struct cns_link *link);
void cns_link_io_receive(struct cns_link *link);
void cns_link_io_send(struct cns_link *link);
/* Returns memory if nothing is under way any more. */
void cns_link_io_maybe_free(struct cns_link *link);
/* link.c: bytes and frames from the stream. */
void cns_link_take_bytes(struct cns_link *link, const uint8_t *data, size_t len);
void cns_link_sent(struct cns_link *link);
/* Our HELLO, the first frame. */
void cns_link_greet(struct cns_link *link);
/* link_ws.c: the WebSocket of a link that has one. Begins with our request, or waits for the peer's;
 * cns_link_greet when it is open. */
CNS_MUST_CHECK int cns_link_ws_begin(struct cns_link *link, const struct cns_link_start *start);
/* Bytes from TLS; what is in the messages goes to cns_link_take_bytes. */
void cns_link_ws_take(struct cns_link *link, uint8_t *data, size_t len);
/* The header of a message of len bytes into the queue, and then the mask (a client's) over those bytes
 * of it. */
CNS_MUST_CHECK int cns_link_ws_put_header(struct cns_link *link, size_t len, uint8_t ret_mask[static 4]);
void cns_link_ws_mask_last(struct cns_link *link, size_t len, const uint8_t mask[static 4]);
void cns_link_tick(struct cns_link *link);

/* dialer.c: failures in a row; the pauses grow with them. */
unsigned cns_dialer_failures(const struct cns_dialer *dialer);

/* Defaults filled in. */
struct cns_link_times cns_link_times_complete(const struct cns_link_times *times);
/* "127.0.0.1:4711", "[::1]:4711"; "unknown" otherwise. */
void cns_link_remote_name(nng_stream *stream, char ret_text[static CNS_LINK_REMOTE_MAX]);
CNS_MUST_CHECK int cns_link_config_check(const struct cns_link_config *config, struct cns_problem *problem);
