/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital's HTTP proxy: which one, with which password, and what is said to
 * it (RFC 9110 section 9.3.6: CONNECT). Pure: relay.h has the sockets. What runs
 * through the tunnel is TLS from end to end, with the certificate that the roster
 * pins; the proxy sees addresses, times and sizes.
 *
 * Basic authentication (RFC 7617) or none. The password is on its way to the proxy
 * in the clear, as with every program that uses such a proxy.
 */
#pragma once

#include "crypto/base.h"

#define CNS_PROXY_HOST_MAX 255
#define CNS_PROXY_USER_MAX 255
#define CNS_PROXY_PASSWORD_MAX 255
/* Of the head of a proxy's answer. */
#define CNS_PROXY_ANSWER_MAX 16384
#define CNS_PROXY_REQUEST_MAX 2048

struct cns_proxy {
  char host[CNS_PROXY_HOST_MAX + 1]; /* without brackets; empty: no proxy */
  uint16_t port;
  bool has_user;
  char user[CNS_PROXY_USER_MAX + 1];
  char password[CNS_PROXY_PASSWORD_MAX + 1]; /* secret: wipe the struct */
};

/*
 * "http://[user:password@]host:port", percent-encoded user and password. A port has to
 * be there. CNS_ERR_ARGUMENT with a sentence that doesn't repeat the password.
 */
CNS_MUST_CHECK int cns_proxy_parse(const char *url, struct cns_proxy *ret_proxy, struct cns_problem *problem);
/* Has the URL a user or a password in it? */
bool cns_proxy_url_has_credentials(const char *url);
/* CNS_ERR_ARGUMENT for what Basic authentication can't carry (a colon in the user,
 * control characters) or what is too long. */
CNS_MUST_CHECK int cns_proxy_set_credentials(struct cns_proxy *proxy, const char *user, const char *password,
                                             struct cns_problem *problem);

/* No proxy is named, or no_proxy names the host. */
#define CNS_CASE_NO_PROXY 1

/*
 * As curl and others read the environment: https_proxy, HTTPS_PROXY, all_proxy,
 * ALL_PROXY, the first that is there; no_proxy or NO_PROXY, a list of hosts and domains
 * with commas, or "*". host: that of the coordinator.
 */
CNS_MUST_CHECK int cns_proxy_from_environment(const char *host, struct cns_proxy *ret_proxy,
                                              struct cns_problem *problem);
/* Does the list (may be NULL) name the host, a domain it is in, or "*"? */
bool cns_proxy_bypassed(const char *no_proxy, const char *host);

/* "host:port" with brackets around an IPv6 address. */
void cns_proxy_authority(const char *host, uint16_t port, char *ret_text, size_t size);

/* The request. Its length; wipe it after use. CNS_PROXY_REQUEST_MAX always suffices. */
size_t cns_proxy_request(const struct cns_proxy *proxy, const char *host, uint16_t port,
                         char ret_request[static CNS_PROXY_REQUEST_MAX]);

/* The answer isn't complete: more has to be read. */
#define CNS_CASE_MORE 1
/*
 * Looks at the head of the answer, data[0..len). 0: the tunnel is there, and what follows
 * *ret_head_len bytes is already from its other end. CNS_CASE_MORE. Otherwise a sentence of what
 * the proxy said and what to do: CNS_ERR_PERMISSION (407), CNS_ERR_REFUSED (another answer),
 * CNS_ERR_FORMAT (no HTTP), CNS_ERR_LIMIT (a head longer than CNS_PROXY_ANSWER_MAX).
 */
CNS_MUST_CHECK int cns_proxy_answer(const struct cns_proxy *proxy, const char *host, uint16_t port,
                                    const char *data, size_t len, size_t *ret_head_len,
                                    struct cns_problem *problem);
