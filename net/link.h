/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One authenticated, framed connection between two parties of the roster, and
 * the listener and the dialer that make them. Everything here is called on, and
 * calls back on, the thread of the uv loop.
 *
 * URLs: tls+tcp://host:port (TLS 1.3, both sides show the certificate that the
 * roster pins), wss://host:port/path (the same, a WebSocket inside), and between processes of one
 * machine tcp://host:port for 127.0.0.0/8, ::1 and localhost, and ipc:///path, a unix socket.
 * Port 0 listens on a free port; cns_listener_url names it.
 *
 * A link exists for the caller from on_open to on_closed, which comes exactly
 * once for each on_open unless the caller freed the listener or the dialer
 * first: after that no callback comes any more. The link pointer is dead when
 * on_closed returns. All calls here may be made from inside any callback;
 * on_closed never comes from inside a call made by the application.
 *
 * Frames of type CNS_FRAME_APPLICATION..CNS_FRAME_BULK-1 are control frames, up
 * to CNS_FRAME_CONTROL_MAX bytes; types from CNS_FRAME_BULK up are bulk frames,
 * 1..CNS_FRAME_BULK_MAX bytes, which need credit: the receiver lets
 * CNS_LINK_WINDOW_BYTES come, and more as it calls cns_link_consumed.
 */
#pragma once

#include "crypto/identity.h"
#include "crypto/rng.h"
#include "net/frame.h"
#include "net/loop.h"
#include "net/peers.h"
#include "net/proxy.h"

struct cns_link;
struct cns_listener;
struct cns_dialer;

/* Positive case of cns_link_send: queue full or no credit; nothing was queued,
 * on_writable tells when to try again. */
#define CNS_CASE_FULL 1

#define CNS_LINK_WINDOW_BYTES (1024u * 1024u)
/* Bulk frames are refused (CNS_CASE_FULL) while this much waits to be sent ... */
#define CNS_LINK_QUEUE_BYTES (1024u * 1024u)
/* ... control frames always fit, but a peer behind by this much is cut off. */
#define CNS_LINK_QUEUE_HARD_BYTES (16u * 1024u * 1024u)
#define CNS_LINK_REMOTE_MAX 64

struct cns_link_callbacks {
  void *context;
  /* Both sides have proven who they are and accepted each other. */
  void (*on_open)(void *context, struct cns_link *link, const struct cns_peer *peer);
  /* data is valid during the call. */
  void (*on_frame)(void *context, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len);
  /* Queue under its low-water mark or credit arrived, after a CNS_CASE_FULL. */
  void (*on_writable)(void *context, struct cns_link *link);
  /* error: CNS_ERR_CLOSED (either side closed), _TIMEOUT, _FORMAT, _LIMIT, ...;
   * sentence: why, for the log; printable even if a peer wrote it. */
  void (*on_closed)(void *context, struct cns_link *link, int error, const char *sentence);
  /* Listener: somebody came and was not let in, or a link could not be accepted. */
  void (*on_refused)(void *context, const char *remote, const char *sentence);
  /* Dialer: an attempt ended without an open link; the next starts in retry_ms. */
  void (*on_attempt_failed)(void *context, const char *sentence, uint64_t retry_ms);
};

/* Zero means the default in brackets. */
struct cns_link_times {
  uint64_t handshake_ms;    /* [10,000] connection accepted to open */
  uint64_t ping_ms;         /* [5,000] nothing heard: ask; nothing said: say so */
  uint64_t silence_ms;      /* [20,000] nothing heard: close */
  uint64_t linger_ms;       /* [2,000] for our last words to arrive */
  uint64_t connect_ms;      /* [10,000] name look-up and TCP connection */
  uint64_t retry_first_ms;  /* [200] mean of the first pause */
  uint64_t retry_cap_ms;    /* [15,000] longest pause */
  uint64_t good_session_ms; /* [5,000] an open link this old resets the pauses: cns_dialer_new */
};

struct cns_link_config {
  const struct cns_identity *identity; /* must outlive the listener or dialer */
  enum cns_peer_role role;             /* our own */
  uint16_t index;                      /* our own in the roster, 0 for the coordinator */
  const char *software;                /* NULL: "consilium " CNS_VERSION */
  struct cns_peers *peers;             /* whom we accept; retained */
  const char *certificate_path;        /* PEM files; needed for tls+tcp only */
  const char *key_path;
  struct cns_rng rng;                /* nonces and jitter */
  uint16_t version_min, version_max; /* of the protocol; zero: CNS_PROTOCOL_VERSION_* */
  struct cns_link_times times;
  const struct cns_proxy *proxy; /* dialer: the way there, copied; NULL: straight */
  size_t unauthenticated_max;    /* listener: [64] links that haven't proven themselves yet */
};

/* Listens at once. config and url are copied; callbacks too. */
CNS_MUST_CHECK int cns_listener_new(struct cns_loop *loop, const char *url,
                                    const struct cns_link_config *config,
                                    const struct cns_link_callbacks *callbacks,
                                    struct cns_listener **ret_listener, struct cns_problem *problem);
/* Says goodbye on all links ("shutting down") and lets go; no callback comes
 * any more. Memory is returned as the loop runs on. */
struct cns_listener *cns_listener_free(struct cns_listener *listener);
/* The URL with the port that is really bound. */
const char *cns_listener_url(const struct cns_listener *listener);
/* Closes each open link whose peer the table no longer accepts. */
void cns_listener_recheck(struct cns_listener *listener);
/* The open link of a peer, or NULL. */
struct cns_link *cns_listener_find(const struct cns_listener *listener, enum cns_peer_role role,
                                   uint16_t index);

/* Dials at once and for ever: after a failure or a closed link again, with
 * exponential pauses and full jitter. They start anew after a link that broke
 * or whose other side shut down, so that a restart is soon over. One that ended
 * because we weren't wanted is a failure, however often it opens; unless it
 * lasted good_session_ms and, where the other side sent us away, longer than
 * another process with our key needs to come back. Errors here are those that
 * trying again can't mend (URL, certificate files). */
CNS_MUST_CHECK int cns_dialer_new(struct cns_loop *loop, const char *url,
                                  const struct cns_link_config *config,
                                  const struct cns_link_callbacks *callbacks, struct cns_dialer **ret_dialer,
                                  struct cns_problem *problem);
struct cns_dialer *cns_dialer_free(struct cns_dialer *dialer);
/* The open link, or NULL. */
struct cns_link *cns_dialer_link(const struct cns_dialer *dialer);
/* As cns_listener_recheck. */
void cns_dialer_recheck(struct cns_dialer *dialer);

struct cns_part {
  const void *data;
  size_t len;
};

/*
 * Copies a frame into the send queue. 0; CNS_CASE_FULL (bulk frames only, see
 * on_writable); CNS_ERR_CLOSED (the link is going down, on_closed is on its
 * way); CNS_ERR_LIMIT (longer than its type allows); CNS_ERR_ARGUMENT (a type
 * below CNS_FRAME_APPLICATION, an empty bulk frame); CNS_ERR_MEMORY.
 */
CNS_MUST_CHECK int cns_link_send(struct cns_link *link, uint8_t type, const void *data, size_t len);
CNS_MUST_CHECK int cns_link_send_parts(struct cns_link *link, uint8_t type, const struct cns_part *parts,
                                       size_t count);
/* Bytes of bulk payload that the peer still lets us send. */
uint64_t cns_link_credit_left(const struct cns_link *link);
/* The application is done with so many bytes of bulk payload. */
void cns_link_consumed(struct cns_link *link, size_t bytes);

/* Everything queued, then a BYE with the sentence, then closed. */
void cns_link_close(struct cns_link *link, const char *sentence);

const struct cns_peer *cns_link_peer(const struct cns_link *link);
const char *cns_link_remote(const struct cns_link *link); /* "127.0.0.1:4711" */
const char *cns_link_peer_software(const struct cns_link *link);
void cns_link_set_user(struct cns_link *link, void *user);
void *cns_link_user(const struct cns_link *link);

struct cns_link_counters {
  uint64_t bytes_in, bytes_out; /* frames with their headers, under TLS */
  uint64_t frames_in, frames_out;
};
struct cns_link_counters cns_link_counters(const struct cns_link *link);
/* Bytes queued and not yet taken by the operating system. */
size_t cns_link_queued_bytes(const struct cns_link *link);
