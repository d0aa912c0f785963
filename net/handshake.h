/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the other end: a pure machine, frames and randomness in, frames
 * out. Both sides send HELLO; the initiator (who dialled) then sends AUTH, and
 * the responder answers with its own AUTH only when it has verified and
 * accepted the initiator, so an initiator that is done knows it is welcome.
 *
 * HELLO: magic "CNSL", u16 lowest and u16 highest protocol version, u8 length
 * and text of the software's name: these come first in every version for ever;
 * then nonce[32], u8 role, u16 roster index, identity[32]. A peer that speaks a
 * higher version too may append fields.
 *
 * AUTH: Ed25519 under "consilium/1 handshake" over H(version, whether the
 * signer is the initiator, both HELLOs whole, TLS exporter, both pins). The
 * nonces make a recorded AUTH useless, the side and the order of the HELLOs one
 * that is sent back to its author; exporter and pins tie it to this very TLS
 * connection. Without TLS exporter and pins are zeros, and the handshake stands
 * alone.
 */
#pragma once

#include "crypto/identity.h"
#include "net/frame.h"
#include "net/peers.h"

#define CNS_PROTOCOL_VERSION_MIN 1
#define CNS_PROTOCOL_VERSION_MAX 1
#define CNS_HANDSHAKE_NONCE_BYTES 32
#define CNS_HANDSHAKE_SOFTWARE_MAX 64
#define CNS_HANDSHAKE_EXPORTER_BYTES 32

struct cns_handshake_config {
  bool initiator;
  const struct cns_identity *identity;
  enum cns_peer_role role;
  uint16_t index;
  const char *software;
  uint16_t version_min, version_max; /* zero: CNS_PROTOCOL_VERSION_* */
  /* Is this party welcome? The sentence goes to the peer. */
  enum cns_peer_verdict (*accept)(void *context, const struct cns_peer *claim, bool has_pin,
                                  struct cns_problem *problem);
  void *accept_context;
};

/* What TLS vouches for; all zero without TLS. */
struct cns_handshake_binding {
  bool has_pins;
  uint8_t exporter[CNS_HANDSHAKE_EXPORTER_BYTES];
  struct cns_tls_pin own_pin, peer_pin;
};

struct cns_handshake_frame {
  uint8_t type; /* 0: nothing to send */
  uint8_t data[256];
  size_t len;
};

struct cns_handshake {
  struct cns_handshake_config config;
  struct cns_handshake_binding binding;
  bool bound, peer_hello_seen, failed, done;
  struct cns_handshake_frame hello; /* our own */
  uint8_t peer_hello[CNS_FRAME_STRANGER_MAX];
  size_t peer_hello_len;
  uint16_t version; /* the one in use */
  struct cns_peer peer;
  char peer_software[CNS_HANDSHAKE_SOFTWARE_MAX + 1];
};

/* Draws the nonce; handshake->hello is the first frame to send. */
CNS_MUST_CHECK int cns_handshake_init(struct cns_handshake *handshake,
                                      const struct cns_handshake_config *config, struct cns_rng rng);

/* Before the first frame is received. */
void cns_handshake_bind(struct cns_handshake *handshake, const struct cns_handshake_binding *binding);
void cns_handshake_deinit(struct cns_handshake *handshake);

/* The peer (handshake->peer) is proven and accepted. */
#define CNS_CASE_AUTHENTICATED 1

/*
 * Takes a HELLO or an AUTH. 0 or CNS_CASE_AUTHENTICATED, and *ret_reply to be
 * sent. Errors end it, each with a sentence for the peer: CNS_ERR_FORMAT,
 * CNS_ERR_VERSION, CNS_ERR_SIGNATURE, CNS_ERR_REFUSED, CNS_ERR_STATE (a frame out
 * of turn), CNS_ERR_LIBRARY.
 */
CNS_MUST_CHECK int cns_handshake_receive(struct cns_handshake *handshake, uint8_t type, const uint8_t *data,
                                         size_t len, struct cns_handshake_frame *ret_reply,
                                         struct cns_problem *problem);

/* Peer text for logs and screens: at most size-1 bytes, every byte outside
 * printable ASCII replaced by '?'. */
void cns_handshake_clean_text(const uint8_t *text, size_t len, char *ret_clean, size_t size);
