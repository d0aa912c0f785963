/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cursor.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"

#define CAPACITY_MIN 64

/* So that an empty view is still not NULL. */
static const uint8_t empty[1];

void cns_reader_init(struct cns_reader *reader, const uint8_t *data, size_t len) {
  *reader = (struct cns_reader){.data = data ? data : empty, .len = data ? len : 0};
}

void cns_reader_fail(struct cns_reader *reader, int error) {
  if (!reader->error) reader->error = error;
}

size_t cns_reader_left(const struct cns_reader *reader) {
  return reader->error ? 0 : reader->len - reader->at;
}

int cns_reader_finish(const struct cns_reader *reader) {
  if (reader->error) return reader->error;
  return reader->at == reader->len ? CNS_OK : CNS_ERR_FORMAT;
}

const uint8_t *cns_read_view(struct cns_reader *reader, size_t len) {
  if (reader->error) return NULL;
  if (len > reader->len - reader->at) {
    reader->error = CNS_ERR_FORMAT;
    return NULL;
  }
  const uint8_t *view = reader->data + reader->at;
  reader->at += len;
  return view;
}

uint8_t cns_read_u8(struct cns_reader *reader) {
  const uint8_t *view = cns_read_view(reader, 1);
  return view ? view[0] : 0;
}

uint16_t cns_read_u16(struct cns_reader *reader) {
  const uint8_t *view = cns_read_view(reader, 2);
  return view ? cns_load_le16(view) : 0;
}

uint32_t cns_read_u32(struct cns_reader *reader) {
  const uint8_t *view = cns_read_view(reader, 4);
  return view ? cns_load_le32(view) : 0;
}

uint64_t cns_read_u64(struct cns_reader *reader) {
  const uint8_t *view = cns_read_view(reader, 8);
  return view ? cns_load_le64(view) : 0;
}

double cns_read_f64(struct cns_reader *reader) {
  const uint64_t bits = cns_read_u64(reader);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void cns_read_bytes(struct cns_reader *reader, uint8_t *ret_bytes, size_t len) {
  const uint8_t *view = cns_read_view(reader, len);
  if (len == 0) return;
  if (view)
    memcpy(ret_bytes, view, len);
  else
    memset(ret_bytes, 0, len);
}

const uint8_t *cns_read_blob(struct cns_reader *reader, size_t max, size_t *ret_len) {
  const uint32_t len = cns_read_u32(reader);
  if (len > max) cns_reader_fail(reader, CNS_ERR_LIMIT);
  const uint8_t *view = cns_read_view(reader, len);
  *ret_len = view ? len : 0;
  return view;
}

void cns_writer_init(struct cns_writer *writer, size_t limit) {
  *writer = (struct cns_writer){.limit = limit};
}

void cns_writer_deinit(struct cns_writer *writer) {
  if (writer->data) cns_wipe(writer->data, writer->capacity);
  free(writer->data);
  *writer = (struct cns_writer){.error = CNS_ERR_STATE};
}

void cns_writer_reset(struct cns_writer *writer) {
  if (writer->data) cns_wipe(writer->data, writer->len);
  writer->len = 0;
  writer->error = CNS_OK;
}

/* No realloc: it could leave a copy of a secret behind. */
static int writer_grow(struct cns_writer *writer, size_t needed) {
  size_t capacity = writer->capacity < CAPACITY_MIN ? CAPACITY_MIN : writer->capacity;
  while (capacity < needed)
    capacity = capacity > SIZE_MAX / 2 ? needed : 2 * capacity;

  uint8_t *data = malloc(capacity);
  if (!data) return CNS_ERR_MEMORY;
  if (writer->data) {
    memcpy(data, writer->data, writer->len);
    cns_wipe(writer->data, writer->capacity);
    free(writer->data);
  }
  writer->data = data;
  writer->capacity = capacity;
  return CNS_OK;
}

uint8_t *cns_write_space(struct cns_writer *writer, size_t len) {
  if (writer->error) return NULL;
  if (len > writer->limit - writer->len) {
    writer->error = CNS_ERR_LIMIT;
    return NULL;
  }
  if (!writer->data || len > writer->capacity - writer->len) {
    writer->error = writer_grow(writer, writer->len + len);
    if (writer->error) return NULL;
  }
  uint8_t *space = writer->data + writer->len;
  writer->len += len;
  return space;
}

void cns_write_u8(struct cns_writer *writer, uint8_t value) {
  uint8_t *space = cns_write_space(writer, 1);
  if (space) space[0] = value;
}

void cns_write_u16(struct cns_writer *writer, uint16_t value) {
  uint8_t *space = cns_write_space(writer, 2);
  if (space) cns_store_le16(space, value);
}

void cns_write_u32(struct cns_writer *writer, uint32_t value) {
  uint8_t *space = cns_write_space(writer, 4);
  if (space) cns_store_le32(space, value);
}

void cns_write_u64(struct cns_writer *writer, uint64_t value) {
  uint8_t *space = cns_write_space(writer, 8);
  if (space) cns_store_le64(space, value);
}

void cns_write_f64(struct cns_writer *writer, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  cns_write_u64(writer, bits);
}

void cns_write_bytes(struct cns_writer *writer, const uint8_t *bytes, size_t len) {
  uint8_t *space = cns_write_space(writer, len);
  if (space && len > 0) memcpy(space, bytes, len);
}

void cns_write_blob(struct cns_writer *writer, const uint8_t *bytes, size_t len) {
  if (len > UINT32_MAX && !writer->error) writer->error = CNS_ERR_LIMIT;
  cns_write_u32(writer, (uint32_t)len);
  cns_write_bytes(writer, bytes, len);
}

int cns_writer_finish(const struct cns_writer *writer) {
  return writer->error;
}
