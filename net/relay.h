/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way through an HTTP proxy. nng dials addresses and knows no CONNECT, so a relay in
 * this process, on the loop's thread, makes the tunnel first; then it listens on a free port of
 * 127.0.0.1 for the one connection that nng makes to it, and copies bytes both ways, no more
 * of them than the slower side takes.
 *
 * Another user of the machine could connect to that port: the relay looks up whose the connection
 * is (Linux, /proc/self/net/tcp) and hangs up on anyone else's. Of the port's owner only one is
 * let in. All it could reach there is the coordinator's own door, which believes nobody.
 */
#pragma once

#include "net/loop.h"
#include "net/proxy.h"

struct cns_relay;

struct cns_relay_request {
  const struct cns_proxy *proxy; /* used until on_ready or on_failed */
  const char *host;              /* copied: where the tunnel leads; a name is looked up by the proxy */
  uint16_t port;
  uint64_t timeout_ms; /* for the tunnel, and then for the connection to it */
  void *context;
  /* The tunnel is there: connect to 127.0.0.1, this port. */
  void (*on_ready)(void *context, uint16_t port);
  /* Instead of on_ready: why not, in a sentence. The relay is gone. */
  void (*on_failed)(void *context, int error, const char *sentence);
};

/* Both callbacks come from the loop, never from inside this call. */
CNS_MUST_CHECK int cns_relay_new(struct cns_loop *loop, const struct cns_relay_request *request,
                                 struct cns_relay **ret_relay);
/* After on_ready and a connection: it runs until one of its ends closes. */
void cns_relay_detach(struct cns_relay *relay);
/* Gives it up, tunnel and all; no callback comes any more. Takes NULL, returns NULL. */
struct cns_relay *cns_relay_free(struct cns_relay *relay);
