/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/message.h"

static const char message_context[] = "consilium/1 message";
static const char transcript_context[] = "consilium/1 transcript";

void cns_message_digest(const struct cns_message *message, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, message_context);
  cns_hash_digest(&hash, &message->round);
  cns_hash_u8(&hash, message->phase);
  cns_hash_u16(&hash, message->index);
  cns_hash_digest(&hash, &message->transcript);
  cns_hash_blob(&hash, message->body, message->body_len);
  cns_hash_digest(&hash, &message->root);
  cns_hash_final(&hash, ret_digest);
}

int cns_message_sign(struct cns_message *message, const struct cns_identity *identity) {
  struct cns_digest digest;
  cns_message_digest(message, &digest);
  return cns_sign(identity, message_context, &digest, &message->signature);
}

int cns_message_verify(const struct cns_message *message, const struct cns_identity_public *who) {
  struct cns_digest digest;
  cns_message_digest(message, &digest);
  return cns_verify(who, message_context, &digest, &message->signature);
}

void cns_message_write(struct cns_writer *writer, const struct cns_message *message) {
  cns_write_bytes(writer, message->round.bytes, CNS_DIGEST_BYTES);
  cns_write_u8(writer, message->phase);
  cns_write_u16(writer, message->index);
  cns_write_bytes(writer, message->transcript.bytes, CNS_DIGEST_BYTES);
  cns_write_blob(writer, message->body, message->body_len);
  cns_write_bytes(writer, message->root.bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, message->signature.bytes, CNS_SIGNATURE_BYTES);
}

void cns_message_read(struct cns_reader *reader, struct cns_message *ret_message) {
  struct cns_message message = {0};
  cns_read_bytes(reader, message.round.bytes, CNS_DIGEST_BYTES);
  message.phase = cns_read_u8(reader);
  message.index = cns_read_u16(reader);
  cns_read_bytes(reader, message.transcript.bytes, CNS_DIGEST_BYTES);
  message.body = cns_read_blob(reader, CNS_MESSAGE_BODY_MAX, &message.body_len);
  cns_read_bytes(reader, message.root.bytes, CNS_DIGEST_BYTES);
  cns_read_bytes(reader, message.signature.bytes, CNS_SIGNATURE_BYTES);
  if (!reader->error) *ret_message = message;
}

void cns_transcript_start(const struct cns_digest *round, struct cns_digest *ret_transcript) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 transcript start");
  cns_hash_digest(&hash, round);
  cns_hash_final(&hash, ret_transcript);
}

void cns_transcript_next(const struct cns_digest *previous, enum cns_phase phase,
                         const struct cns_descriptor *descriptor, const struct cns_entry *entries,
                         struct cns_digest *ret_transcript) {
  struct cns_hash hash;
  cns_hash_init(&hash, transcript_context);
  cns_hash_digest(&hash, previous);
  cns_hash_u8(&hash, (uint8_t)phase);
  cns_hash_u16(&hash, descriptor->member_count);
  for (size_t k = 0; k < descriptor->member_count; k++) {
    cns_hash_u16(&hash, descriptor->members[k].index);
    cns_hash_u8(&hash, entries[k].standing);
    cns_hash_digest(&hash, &entries[k].message);
  }
  cns_hash_final(&hash, ret_transcript);
}

static void head_digest(const struct cns_digest *round, enum cns_phase phase,
                        const struct cns_digest *transcript, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 transcript head");
  cns_hash_digest(&hash, round);
  cns_hash_u8(&hash, (uint8_t)phase);
  cns_hash_digest(&hash, transcript);
  cns_hash_final(&hash, ret_digest);
}

int cns_transcript_sign(const struct cns_identity *coordinator, const struct cns_digest *round,
                        enum cns_phase phase, const struct cns_digest *transcript,
                        struct cns_signature *ret_signature) {
  struct cns_digest digest;
  head_digest(round, phase, transcript, &digest);
  return cns_sign(coordinator, "consilium/1 transcript head", &digest, ret_signature);
}

int cns_transcript_verify(const struct cns_identity_public *coordinator, const struct cns_digest *round,
                          enum cns_phase phase, const struct cns_digest *transcript,
                          const struct cns_signature *signature) {
  struct cns_digest digest;
  head_digest(round, phase, transcript, &digest);
  return cns_verify(coordinator, "consilium/1 transcript head", &digest, signature);
}
