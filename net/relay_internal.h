/* SPDX-License-Identifier: Apache-2.0 */
/* relay.c makes the tunnel and lets one connection in; relay_copy.c copies. */
#pragma once

#include "net/relay.h"

#define CNS_RELAY_BUFFER_BYTES 65536

/* One way through. What was read is in the buffer until it is written; only then more is read. */
struct cns_relay_way {
  struct cns_relay *relay;
  uv_tcp_t *from, *to;
  uv_write_t write;
  uv_shutdown_t shutdown;
  bool ended; /* from has nothing more to say, and to was told */
  size_t len; /* waits in the buffer; while the tunnel is made: of the proxy's answer */
  char buffer[CNS_RELAY_BUFFER_BYTES];
};

enum cns_relay_state { CNS_RELAY_ASKING, CNS_RELAY_LISTENING, CNS_RELAY_COPYING, CNS_RELAY_DEAD };

struct cns_relay {
  struct cns_loop *loop;
  struct cns_relay_request request; /* proxy and context: NULL when nobody is to be told any more */
  char host[CNS_PROXY_HOST_MAX + 1];
  char self[CNS_PROXY_HOST_MAX + 16]; /* the proxy, for sentences */
  enum cns_relay_state state;
  bool owned;       /* somebody may still call detach or free */
  unsigned pending; /* handles and look-ups that have a callback to come */
  uv_tcp_t far, listener, near;
  bool far_open, listener_open, near_open;
  uv_timer_t timer;
  uv_getaddrinfo_t lookup;
  struct addrinfo *addresses, *next_address;
  uv_connect_t connect;
  uv_write_t write;
  char request_text[CNS_PROXY_REQUEST_MAX]; /* holds the password */
  int far_error;
  struct cns_relay_way up, down; /* up: to the proxy */
};

/* Closes everything; memory is returned as the loop runs on. */
void cns_relay_close(struct cns_relay *relay);
/* near and far are connected; down.len bytes of what came with the answer go first. */
void cns_relay_copy(struct cns_relay *relay);
/* relay_owner.c: is the other end of this connection over loopback a socket of our own user? */
bool cns_relay_is_ours(const uv_tcp_t *near);
