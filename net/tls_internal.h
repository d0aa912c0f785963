/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tls_engine.c (connections) and tls_config.c (configurations). */
#pragma once

#include <nng/nng.h>
#include <nng/supplemental/tls/engine.h>
#include <openssl/ssl.h>

#include "net/tls_engine.h"

struct nng_tls_engine_config {
  SSL_CTX *ctx; /* NULL in the configurations that nng makes by itself */
  bool server;
  enum cns_peer_verdict (*check)(void *context, const struct cns_tls_pin *pin);
  void *check_context;
  char server_name[256]; /* that a client says it wants (SNI); empty: none */
};

struct nng_tls_engine_conn {
  struct nng_tls_engine_conn *next; /* table of records, under its mutex */
  const void *stream;
  void *transport; /* for nng_tls_engine_send and _recv */
  const struct nng_tls_engine_config *config;
  SSL *ssl;
  bool closed, reported;
  struct cns_tls_info info; /* written under the table's mutex */
};

extern nng_tls_engine_config_ops cns_tls_config_ops;

/* Records why the handshake or the connection failed; the first reason stays. */
void cns_tls_conn_fail(struct nng_tls_engine_conn *conn, bool by_us, const char *fmt, ...) CNS_PRINTF(3, 4);
void cns_tls_conn_set_pin(struct nng_tls_engine_conn *conn, const struct cns_tls_pin *pin);

/* OpenSSL's verify callback; finds the connection through the SSL, arg is not used. */
int cns_tls_verify(X509_STORE_CTX *store, void *arg);
CNS_MUST_CHECK int cns_tls_pin_of(X509 *certificate, struct cns_tls_pin *ret_pin);
