/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/wire.h"

#include <string.h>

#define SECONDS_MAX UINT64_C(253402300799) /* the year 9999 */

static size_t sentence_len(const char *sentence) {
  size_t len = strlen(sentence);
  return len < CNS_WIRE_SENTENCE_MAX ? len : CNS_WIRE_SENTENCE_MAX;
}

/* What a peer wrote goes to logs and screens. */
static void take_sentence(const uint8_t *bytes, size_t len, char *out) {
  for (size_t k = 0; k < len; k++)
    out[k] = bytes[k] ? (char)bytes[k] : '?';
  out[len] = '\0';
  cns_text_clean(out);
}

static int read_sentence(struct cns_reader *reader, struct cns_wire_word *word) {
  size_t len = 0;
  const uint8_t *bytes = cns_read_blob(reader, CNS_WIRE_SENTENCE_MAX, &len);
  int r = cns_reader_finish(reader);
  if (r < 0) return r;
  take_sentence(bytes, len, word->sentence);
  return 0;
}

void cns_wire_write_word(struct cns_writer *writer, const struct cns_digest *round, uint8_t code,
                         const char *sentence) {
  cns_write_bytes(writer, round->bytes, CNS_DIGEST_BYTES);
  cns_wire_write_notice(writer, code, sentence);
}

int cns_wire_read_word(const uint8_t *data, size_t len, struct cns_wire_word *ret_word) {
  struct cns_reader reader;
  struct cns_wire_word word;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, word.round.bytes, CNS_DIGEST_BYTES);
  word.code = cns_read_u8(&reader);
  int r = read_sentence(&reader, &word);
  if (r == 0) *ret_word = word;
  return r;
}

void cns_wire_write_notice(struct cns_writer *writer, uint8_t code, const char *sentence) {
  cns_write_u8(writer, code);
  cns_write_blob(writer, (const uint8_t *)sentence, sentence_len(sentence));
}

int cns_wire_read_notice(const uint8_t *data, size_t len, struct cns_wire_word *ret_word) {
  struct cns_reader reader;
  struct cns_wire_word word = {0};
  cns_reader_init(&reader, data, len);
  word.code = cns_read_u8(&reader);
  int r = read_sentence(&reader, &word);
  if (r == 0) *ret_word = word;
  return r;
}

void cns_wire_write_time(struct cns_writer *writer, int64_t now) {
  cns_write_u64(writer, now < 0 ? 0 : (uint64_t)now);
}

int cns_wire_read_time(const uint8_t *data, size_t len, int64_t now, int64_t *ret_ahead) {
  struct cns_reader reader;
  cns_reader_init(&reader, data, len);
  uint64_t theirs = cns_read_u64(&reader);
  int r = cns_reader_finish(&reader);
  if (r < 0) return r;
  if (theirs > SECONDS_MAX || now < 0 || (uint64_t)now > SECONDS_MAX) return CNS_ERR_RANGE;
  *ret_ahead = now - (int64_t)theirs;
  return 0;
}

int cns_wire_read_digest(const uint8_t *data, size_t len, struct cns_digest *ret_digest) {
  if (len != CNS_DIGEST_BYTES) return CNS_ERR_FORMAT;
  memcpy(ret_digest->bytes, data, CNS_DIGEST_BYTES);
  return 0;
}

void cns_wire_write_digest_u64(struct cns_writer *writer, const struct cns_digest *digest, uint64_t number) {
  cns_write_bytes(writer, digest->bytes, CNS_DIGEST_BYTES);
  cns_write_u64(writer, number);
}

int cns_wire_read_digest_u64(const uint8_t *data, size_t len, struct cns_digest *ret_digest,
                             uint64_t *ret_number) {
  struct cns_reader reader;
  struct cns_digest digest;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, digest.bytes, CNS_DIGEST_BYTES);
  uint64_t number = cns_read_u64(&reader);
  int r = cns_reader_finish(&reader);
  if (r < 0) return r;
  *ret_digest = digest;
  *ret_number = number;
  return 0;
}

void cns_wire_write_signed(struct cns_writer *writer, const struct cns_digest *round,
                           const struct cns_signature *signature) {
  cns_write_bytes(writer, round->bytes, CNS_DIGEST_BYTES);
  cns_write_bytes(writer, signature->bytes, CNS_SIGNATURE_BYTES);
}

int cns_wire_read_signed(const uint8_t *data, size_t len, struct cns_digest *ret_round,
                         struct cns_signature *ret_signature) {
  if (len != CNS_DIGEST_BYTES + CNS_SIGNATURE_BYTES) return CNS_ERR_FORMAT;
  memcpy(ret_round->bytes, data, CNS_DIGEST_BYTES);
  memcpy(ret_signature->bytes, data + CNS_DIGEST_BYTES, CNS_SIGNATURE_BYTES);
  return 0;
}

static void put_u64(uint64_t value, uint8_t *out) {
  for (size_t k = 0; k < 8; k++)
    out[k] = (uint8_t)(value >> (8 * k));
}

void cns_wire_chunk_header(const struct cns_digest *round, uint64_t chunk,
                           uint8_t ret_header[static CNS_WIRE_CHUNK_HEADER_BYTES]) {
  memcpy(ret_header, round->bytes, CNS_DIGEST_BYTES);
  put_u64(chunk, ret_header + CNS_DIGEST_BYTES);
}

int cns_wire_read_chunk(const uint8_t *data, size_t len, struct cns_digest *ret_round, uint64_t *ret_chunk,
                        const uint8_t **ret_bytes, size_t *ret_bytes_len) {
  struct cns_reader reader;
  struct cns_digest round;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, round.bytes, CNS_DIGEST_BYTES);
  uint64_t chunk = cns_read_u64(&reader);
  if (reader.error) return reader.error;
  *ret_round = round;
  *ret_chunk = chunk;
  *ret_bytes = data + CNS_WIRE_CHUNK_HEADER_BYTES;
  *ret_bytes_len = len - CNS_WIRE_CHUNK_HEADER_BYTES;
  return 0;
}

void cns_wire_model_header(const struct cns_digest *model, uint64_t offset, uint64_t total,
                           uint8_t ret_header[static CNS_WIRE_MODEL_HEADER_BYTES]) {
  memcpy(ret_header, model->bytes, CNS_DIGEST_BYTES);
  put_u64(offset, ret_header + CNS_DIGEST_BYTES);
  put_u64(total, ret_header + CNS_DIGEST_BYTES + 8);
}

int cns_wire_read_model(const uint8_t *data, size_t len, struct cns_digest *ret_model, uint64_t *ret_offset,
                        uint64_t *ret_total, const uint8_t **ret_bytes, size_t *ret_bytes_len) {
  struct cns_reader reader;
  struct cns_digest model;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, model.bytes, CNS_DIGEST_BYTES);
  uint64_t offset = cns_read_u64(&reader), total = cns_read_u64(&reader);
  if (reader.error) return reader.error;
  size_t left = cns_reader_left(&reader);
  if (left == 0 || offset > total || left > total - offset) return CNS_ERR_FORMAT;
  *ret_model = model;
  *ret_offset = offset;
  *ret_total = total;
  *ret_bytes = data + CNS_WIRE_MODEL_HEADER_BYTES;
  *ret_bytes_len = left;
  return 0;
}

void cns_wire_write_abandoned(struct cns_writer *writer, const struct cns_digest *round,
                              const struct cns_wire_abandon *abandons, size_t count) {
  cns_write_bytes(writer, round->bytes, CNS_DIGEST_BYTES);
  cns_write_u16(writer, (uint16_t)count);
  for (size_t k = 0; k < count; k++) {
    cns_write_u16(writer, abandons[k].index);
    cns_write_bytes(writer, abandons[k].signature.bytes, CNS_SIGNATURE_BYTES);
  }
}

int cns_wire_check_abandoned(const uint8_t *data, size_t len, const struct cns_roster *roster,
                             const struct cns_descriptor *descriptor, struct cns_digest *ret_round) {
  struct cns_reader reader;
  struct cns_digest round, expected;
  size_t valid = 0;
  uint16_t last = 0;
  cns_reader_init(&reader, data, len);
  cns_read_bytes(&reader, round.bytes, CNS_DIGEST_BYTES);
  uint16_t count = cns_read_u16(&reader);
  int r = cns_descriptor_digest(descriptor, &expected);
  if (r < 0) return r;
  for (uint16_t k = 0; k < count && !reader.error; k++) {
    struct cns_signature signature;
    uint16_t index = cns_read_u16(&reader);
    cns_read_bytes(&reader, signature.bytes, CNS_SIGNATURE_BYTES);
    const struct cns_roster_hospital *hospital = cns_roster_find(roster, index);
    if (reader.error || index <= last) return CNS_ERR_FORMAT; /* sorted: nobody counts twice */
    last = index;
    if (!hospital || cns_descriptor_position(descriptor, index) < 0) return CNS_ERR_SIGNATURE;
    /* One who has other keys since then takes nothing from the others'. */
    if (cns_abandon_verify(&hospital->identity, &round, index, &signature) == 0) valid++;
  }
  r = cns_reader_finish(&reader);
  if (r < 0) return r;
  if (!cns_digest_equal(&round, &expected) || valid < descriptor->threshold) return CNS_ERR_SIGNATURE;
  *ret_round = round;
  return 0;
}
