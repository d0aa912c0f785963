/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses that links understand. */
#pragma once

#include "crypto/base.h"

#define CNS_URL_MAX 300

struct cns_url {
  bool tls;
  bool literal;   /* host is an IP address (or the wildcard), nothing to look up */
  bool ipv6;      /* host is an IPv6 address */
  bool wildcard;  /* host is empty or "*" */
  char host[256]; /* without brackets */
  uint16_t port;
};

/* listening: the wildcard and port 0 are allowed. CNS_ERR_ARGUMENT with a
 * sentence; CNS_ERR_REFUSED for plain tcp to anything but loopback. */
CNS_MUST_CHECK int cns_url_parse(const char *text, bool listening, struct cns_url *ret_url,
                                 struct cns_problem *problem);
/* As nng wants it; only_ipv4 restricts the look-up of a name. */
void cns_url_format(const struct cns_url *url, bool only_ipv4, char ret_text[static CNS_URL_MAX]);
