/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses that links understand. */
#pragma once

#include "crypto/base.h"

#define CNS_URL_MAX 400
/* Where a wss:// URL has no path. */
#define CNS_URL_WEBSOCKET_PATH "/consilium"

/* Of the path of a unix socket; what the system takes, with the end. */
#define CNS_URL_PATH_MAX 107

struct cns_url {
  bool tls;
  bool websocket;                  /* inside TLS */
  bool local;                      /* a unix socket: no host, no port */
  char path[CNS_URL_PATH_MAX + 1]; /* of the WebSocket, or the unix socket */
  bool literal;                    /* host is an IP address (or the wildcard), nothing to look up */
  bool ipv6;                       /* host is an IPv6 address */
  bool wildcard;                   /* host is empty or "*" */
  char host[256];                  /* without brackets */
  uint16_t port;
};

/* listening: the wildcard and port 0 are allowed. CNS_ERR_ARGUMENT with a
 * sentence; CNS_ERR_REFUSED for plain tcp to anything but loopback. */
/* tls+tcp://host:port, wss://host:port[/path], ipc:///path, tcp://loopback:port. */
CNS_MUST_CHECK int cns_url_parse(const char *text, bool listening, struct cns_url *ret_url,
                                 struct cns_problem *problem);
/* As nng wants it (a WebSocket is net/'s own affair inside tls+tcp://); only_ipv4 restricts the look-up of
 * a name. */
void cns_url_format(const struct cns_url *url, bool only_ipv4, char ret_text[static CNS_URL_MAX]);
/* As people write it. */
void cns_url_print(const struct cns_url *url, char ret_text[static CNS_URL_MAX]);
