/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers in byte arrays, whatever the machine's own order. */
#pragma once

#include <stdint.h>

static inline void cns_store_le16(uint8_t *out, uint16_t value) {
  out[0] = (uint8_t)value;
  out[1] = (uint8_t)(value >> 8);
}

static inline void cns_store_le32(uint8_t *out, uint32_t value) {
  cns_store_le16(out, (uint16_t)value);
  cns_store_le16(out + 2, (uint16_t)(value >> 16));
}

static inline void cns_store_le64(uint8_t *out, uint64_t value) {
  cns_store_le32(out, (uint32_t)value);
  cns_store_le32(out + 4, (uint32_t)(value >> 32));
}

static inline uint16_t cns_load_le16(const uint8_t *in) {
  return (uint16_t)(in[0] | in[1] << 8);
}

static inline uint32_t cns_load_le32(const uint8_t *in) {
  return (uint32_t)cns_load_le16(in) | (uint32_t)cns_load_le16(in + 2) << 16;
}

static inline uint64_t cns_load_le64(const uint8_t *in) {
  return (uint64_t)cns_load_le32(in) | (uint64_t)cns_load_le32(in + 4) << 32;
}
