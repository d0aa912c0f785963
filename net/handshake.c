/* SPDX-License-Identifier: Apache-2.0 */
#include "net/handshake.h"

#include <string.h>

#include "crypto/cursor.h"

#define SIGN_CONTEXT "consilium/1 handshake"
#define HASH_CONTEXT "consilium/1 handshake transcript"

static const uint8_t magic[4] = {'C', 'N', 'S', 'L'};

void cns_handshake_clean_text(const uint8_t *text, size_t len, char *ret_clean, size_t size) {
  size_t n = len < size - 1 ? len : size - 1;
  for (size_t i = 0; i < n; i++)
    ret_clean[i] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i] : '?';
  ret_clean[n] = 0;
}

int cns_handshake_init(struct cns_handshake *handshake, const struct cns_handshake_config *config,
                       struct cns_rng rng) {
  *handshake = (struct cns_handshake){.config = *config};
  if (!handshake->config.version_min) handshake->config.version_min = CNS_PROTOCOL_VERSION_MIN;
  if (!handshake->config.version_max) handshake->config.version_max = CNS_PROTOCOL_VERSION_MAX;
  const char *software = config->software ? config->software : "consilium " CNS_VERSION;
  handshake->config.software = NULL; /* not used later; may not outlive this call */
  size_t software_len = strnlen(software, CNS_HANDSHAKE_SOFTWARE_MAX);
  uint8_t nonce[CNS_HANDSHAKE_NONCE_BYTES];
  int result = cns_rng_fill(rng, nonce, sizeof nonce);
  if (result != 0) return result;

  struct cns_writer writer;
  cns_writer_init(&writer, sizeof handshake->hello.data);
  cns_write_bytes(&writer, magic, sizeof magic);
  cns_write_u16(&writer, handshake->config.version_min);
  cns_write_u16(&writer, handshake->config.version_max);
  cns_write_u8(&writer, (uint8_t)software_len);
  cns_write_bytes(&writer, (const uint8_t *)software, software_len);
  cns_write_bytes(&writer, nonce, sizeof nonce);
  cns_write_u8(&writer, (uint8_t)config->role);
  cns_write_u16(&writer, config->index);
  cns_write_bytes(&writer, cns_identity_get_public(config->identity)->bytes, CNS_IDENTITY_BYTES);
  result = cns_writer_finish(&writer);
  if (result == 0) {
    handshake->hello.type = CNS_FRAME_HELLO;
    handshake->hello.len = writer.len;
    memcpy(handshake->hello.data, writer.data, writer.len);
  }
  cns_writer_deinit(&writer);
  return result;
}

void cns_handshake_bind(struct cns_handshake *handshake, const struct cns_handshake_binding *binding) {
  handshake->binding = *binding;
  handshake->bound = true;
}

void cns_handshake_deinit(struct cns_handshake *handshake) {
  cns_wipe(handshake, sizeof *handshake);
}

static int choose_version(struct cns_handshake *handshake, uint16_t lowest, uint16_t highest,
                          struct cns_problem *problem) {
  const struct cns_handshake_config *config = &handshake->config;
  if (lowest == 0 || lowest > highest)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "HELLO with protocol versions %u to %u", lowest, highest);
  if (highest < config->version_min)
    return cns_problem_set(
        problem, CNS_ERR_VERSION, "this %s speaks protocol %u to %u, you speak %u to %u: update consilium",
        cns_peer_role_name(config->role), config->version_min, config->version_max, lowest, highest);
  if (lowest > config->version_max)
    return cns_problem_set(
        problem, CNS_ERR_VERSION,
        "this %s speaks protocol %u to %u, you speak %u to %u: this side has to be updated",
        cns_peer_role_name(config->role), config->version_min, config->version_max, lowest, highest);
  handshake->version = highest < config->version_max ? highest : config->version_max;
  return 0;
}

static int read_party(struct cns_handshake *handshake, struct cns_reader *reader, bool may_append,
                      struct cns_problem *problem) {
  struct cns_peer peer = {0};
  uint8_t nonce[CNS_HANDSHAKE_NONCE_BYTES];
  cns_read_bytes(reader, nonce, sizeof nonce);
  uint8_t role = cns_read_u8(reader);
  peer.index = cns_read_u16(reader);
  cns_read_bytes(reader, peer.identity.bytes, sizeof peer.identity.bytes);
  if (may_append) cns_read_view(reader, cns_reader_left(reader));
  if (cns_reader_finish(reader) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "HELLO is too short or too long");
  if (role != CNS_ROLE_COORDINATOR && role != CNS_ROLE_HOSPITAL)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "HELLO with unknown role %u", role);
  peer.role = (enum cns_peer_role)role;
  if (handshake->binding.has_pins) peer.pin = handshake->binding.peer_pin;
  if (cns_identity_public_equal(&peer.identity, cns_identity_get_public(handshake->config.identity)))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "HELLO with our own identity key: connected to ourselves?");
  handshake->peer = peer;
  return 0;
}

static int read_hello(struct cns_handshake *handshake, const uint8_t *data, size_t len,
                      struct cns_problem *problem) {
  if (len > sizeof handshake->peer_hello) return cns_problem_set(problem, CNS_ERR_LIMIT, "HELLO is too long");
  struct cns_reader reader;
  cns_reader_init(&reader, data, len);
  uint8_t peer_magic[sizeof magic];
  cns_read_bytes(&reader, peer_magic, sizeof peer_magic);
  uint16_t lowest = cns_read_u16(&reader);
  uint16_t highest = cns_read_u16(&reader);
  uint8_t software_len = cns_read_u8(&reader);
  const uint8_t *software = cns_read_view(&reader, software_len);
  if (memcmp(peer_magic, magic, sizeof magic) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "HELLO without the magic word: not consilium");
  if (reader.error != 0 || software_len > CNS_HANDSHAKE_SOFTWARE_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "HELLO is malformed");
  int result = choose_version(handshake, lowest, highest, problem);
  if (result == 0) result = read_party(handshake, &reader, highest > handshake->version, problem);
  if (result != 0) return result;
  if (software_len > 0)
    cns_handshake_clean_text(software, software_len, handshake->peer_software,
                             sizeof handshake->peer_software);
  memcpy(handshake->peer_hello, data, len);
  handshake->peer_hello_len = len;
  handshake->peer_hello_seen = true;
  return 0;
}

static void transcript(const struct cns_handshake *handshake, bool signer_is_initiator,
                       struct cns_digest *ret_digest) {
  bool ours_first = handshake->config.initiator;
  const struct cns_handshake_binding *binding = &handshake->binding;
  struct cns_hash hash;
  cns_hash_init(&hash, HASH_CONTEXT);
  cns_hash_u16(&hash, handshake->version);
  cns_hash_u8(&hash, signer_is_initiator);
  for (int i = 0; i < 2; i++) {
    if (ours_first == (i == 0))
      cns_hash_blob(&hash, handshake->hello.data, handshake->hello.len);
    else
      cns_hash_blob(&hash, handshake->peer_hello, handshake->peer_hello_len);
  }
  cns_hash_bytes(&hash, binding->exporter, sizeof binding->exporter);
  for (int i = 0; i < 2; i++) {
    const struct cns_tls_pin *pin = ours_first == (i == 0) ? &binding->own_pin : &binding->peer_pin;
    cns_hash_bytes(&hash, pin->bytes, sizeof pin->bytes);
  }
  cns_hash_final(&hash, ret_digest);
}

static int write_auth(const struct cns_handshake *handshake, struct cns_handshake_frame *ret_frame,
                      struct cns_problem *problem) {
  struct cns_digest digest;
  struct cns_signature signature;
  transcript(handshake, handshake->config.initiator, &digest);
  int result = cns_sign(handshake->config.identity, SIGN_CONTEXT, &digest, &signature);
  if (result != 0) return cns_problem_set(problem, result, "signing failed on this side");
  ret_frame->type = CNS_FRAME_AUTH;
  ret_frame->len = sizeof signature.bytes;
  memcpy(ret_frame->data, signature.bytes, sizeof signature.bytes);
  return 0;
}

static int read_auth(const struct cns_handshake *handshake, const uint8_t *data, size_t len,
                     struct cns_problem *problem) {
  struct cns_signature signature;
  if (len != sizeof signature.bytes)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "AUTH of the wrong length");
  memcpy(signature.bytes, data, sizeof signature.bytes);
  struct cns_digest digest;
  transcript(handshake, !handshake->config.initiator, &digest);
  if (cns_verify(&handshake->peer.identity, SIGN_CONTEXT, &digest, &signature) != 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "the signature of the handshake doesn't fit the identity key in HELLO");
  struct cns_problem reason = {0};
  enum cns_peer_verdict verdict = handshake->config.accept(handshake->config.accept_context, &handshake->peer,
                                                           handshake->binding.has_pins, &reason);
  if (verdict == CNS_PEER_TRUSTED) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED, "%s",
                         reason.text[0] ? reason.text : "this party is not welcome here");
}

static int receive(struct cns_handshake *handshake, uint8_t type, const uint8_t *data, size_t len,
                   struct cns_handshake_frame *reply, struct cns_problem *problem) {
  int result;
  if (handshake->failed || handshake->done || !handshake->bound)
    return cns_problem_set(problem, CNS_ERR_STATE, "handshake frame out of turn");
  if (type == CNS_FRAME_HELLO && !handshake->peer_hello_seen) {
    result = read_hello(handshake, data, len, problem);
    if (result == 0 && handshake->config.initiator) result = write_auth(handshake, reply, problem);
    return result;
  }
  if (type == CNS_FRAME_AUTH && handshake->peer_hello_seen) {
    result = read_auth(handshake, data, len, problem);
    if (result == 0 && !handshake->config.initiator) result = write_auth(handshake, reply, problem);
    return result == 0 ? CNS_CASE_AUTHENTICATED : result;
  }
  return cns_problem_set(problem, CNS_ERR_STATE, "handshake frame out of turn (type %u)", type);
}

int cns_handshake_receive(struct cns_handshake *handshake, uint8_t type, const uint8_t *data, size_t len,
                          struct cns_handshake_frame *ret_reply, struct cns_problem *problem) {
  struct cns_handshake_frame reply = {0};
  int result = receive(handshake, type, data, len, &reply, problem);
  if (result < 0) {
    handshake->failed = true;
    return result;
  }
  handshake->done = result == CNS_CASE_AUTHENTICATED;
  *ret_reply = reply;
  return result;
}
