/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/unmask.h"

void cns_released_write(struct cns_writer *writer, const struct cns_released *released, size_t count) {
  cns_write_u16(writer, (uint16_t)count);
  for (size_t k = 0; k < count; k++) {
    cns_write_u16(writer, released[k].dealer);
    cns_write_u8(writer, released[k].kind);
    cns_write_bytes(writer, released[k].share.bytes, CNS_SCALAR_BYTES);
  }
}

int cns_released_read(const uint8_t *data, size_t len, struct cns_released *expected, size_t count) {
  struct cns_reader reader;
  cns_reader_init(&reader, data, len);
  uint16_t given = cns_read_u16(&reader);
  if (given != count || cns_reader_left(&reader) != count * CNS_RELEASED_BYTES) return CNS_ERR_FORMAT;
  for (size_t k = 0; k < count; k++) {
    uint16_t dealer = cns_read_u16(&reader);
    uint8_t kind = cns_read_u8(&reader);
    if (dealer != expected[k].dealer || kind != expected[k].kind) return CNS_ERR_FORMAT;
    cns_read_bytes(&reader, expected[k].share.bytes, CNS_SCALAR_BYTES);
  }
  return cns_reader_finish(&reader);
}
