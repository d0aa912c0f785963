/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a party accepts, as the roster says: the one table that the TLS
 * verification (on nng's threads) and the Ed25519 handshake (on the loop's)
 * both ask at every connection, so that a newer roster takes effect at once.
 * Thread-safe. A hospital's table holds the coordinator; the coordinator's
 * holds every hospital, revoked ones included, so that they are told why.
 */
#pragma once

#include "crypto/certificate.h"
#include "crypto/identity.h"

enum cns_peer_verdict { CNS_PEER_TRUSTED = 0, CNS_PEER_UNKNOWN = 1, CNS_PEER_REVOKED = 2 };

enum cns_peer_role { CNS_ROLE_COORDINATOR = 1, CNS_ROLE_HOSPITAL = 2 };

/* Coordinator and CNS_HOSPITALS_MAX hospitals. */
#define CNS_PEERS_MAX (CNS_HOSPITALS_MAX + 1)

struct cns_peer {
  enum cns_peer_role role;
  uint16_t index; /* in the roster; 0 for the coordinator */
  bool revoked;
  struct cns_identity_public identity;
  struct cns_tls_pin pin;
};

struct cns_peers;

CNS_MUST_CHECK int cns_peers_new(struct cns_peers **ret_peers);
/* Counted: listeners and dialers hold their own reference. */
struct cns_peers *cns_peers_retain(struct cns_peers *peers);
struct cns_peers *cns_peers_free(struct cns_peers *peers);

/* Replaces the whole table by a copy of list. Call cns_listener_recheck
 * afterwards to close links that are no longer welcome. */
CNS_MUST_CHECK int cns_peers_set(struct cns_peers *peers, const struct cns_peer *list, size_t count);

/* For the TLS engine; context is the table. */
enum cns_peer_verdict cns_peers_check_pin(void *context, const struct cns_tls_pin *pin);

/* role, index, identity and pin must belong to one entry. claim->pin is not
 * looked at when has_pin is false (no TLS: loopback only). The sentence says
 * what didn't fit; it is meant for the peer too. */
enum cns_peer_verdict cns_peers_check(struct cns_peers *peers, const struct cns_peer *claim, bool has_pin,
                                      struct cns_problem *problem);

/* "coordinator" or "hospital". */
const char *cns_peer_role_name(enum cns_peer_role role);
