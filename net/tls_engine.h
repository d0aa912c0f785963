/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 for nng's byte streams on OpenSSL 3, registered as nng's TLS engine.
 * Both sides must show a certificate. Trust is the pin of its subject public key
 * info, asked for at every handshake (there are no tickets and no resumption),
 * plus the certificate's own dates; names and issuers play no part. What is
 * wrong is said in the alert: unknown_ca, certificate_revoked,
 * certificate_expired, certificate_required, protocol_version.
 *
 * nng offers no way from a stream to its peer's certificate, so the engine keeps
 * a record per stream. Its key is the pointer that nng gives the engine at init,
 * which is the nng_stream itself: the stream is the first member of nng's TLS
 * connection. That is layout, not interface; if it ever changed, the look-up
 * would find nothing and every link would be refused.
 */
#pragma once

#include "net/peers.h"

struct nng_stream;
struct nng_tls_config;

#define CNS_TLS_EXPORTER_BYTES 32
#define CNS_TLS_EXPORTER_LABEL "EXPORTER-consilium-1"

struct cns_tls_params {
  bool server;
  /* Client: the name in the ClientHello, for firewalls that go by it; NULL: none. It isn't verified. */
  const char *server_name;
  const char *certificate_path, *key_path; /* PEM; the key unencrypted, for its owner only */
  /* Called on nng's threads until the last stream of the configuration is
   * closed. */
  enum cns_peer_verdict (*check)(void *context, const struct cns_tls_pin *pin);
  void *check_context;
};

/* Registers the engine if it isn't (nng is initialised first: an engine
 * registered before that is silently overwritten) and makes sure that nng
 * really uses it. */
CNS_MUST_CHECK int cns_tls_engine_init(struct cns_problem *problem);

/* To be freed with nng_tls_config_free. */
CNS_MUST_CHECK int cns_tls_config_new(const struct cns_tls_params *params, struct nng_tls_config **ret_config,
                                      struct cns_tls_pin *ret_own_pin, struct cns_problem *problem);

struct cns_tls_info {
  bool established; /* our part of the handshake is complete */
  bool failed;      /* why: in failure */
  bool alert_sent;  /* it was us who refused */
  bool has_pin;
  struct cns_tls_pin pin; /* of the peer */
  uint8_t exporter[CNS_TLS_EXPORTER_BYTES];
  char failure[256];
};
/* CNS_ERR_NOT_FOUND: not a stream of this engine. */
CNS_MUST_CHECK int cns_tls_stream_info(const struct nng_stream *stream, struct cns_tls_info *ret_info);
