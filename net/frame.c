/* SPDX-License-Identifier: Apache-2.0 */
#include "net/frame.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"

/* First allocation of a payload, and what is kept between frames. */
#define PAYLOAD_START_BYTES 4096u
#define PAYLOAD_KEEP_BYTES CNS_FRAME_BULK_MAX

size_t cns_frame_limit(uint8_t type) {
  if (cns_frame_is_bulk(type)) return CNS_FRAME_BULK_MAX;
  return type >= CNS_FRAME_APPLICATION ? CNS_FRAME_CONTROL_MAX : CNS_FRAME_STRANGER_MAX;
}

void cns_frame_header_write(uint8_t type, size_t len, uint8_t ret_header[static CNS_FRAME_HEADER_BYTES]) {
  uint32_t n = (uint32_t)len;
  for (int i = 0; i < 4; i++)
    ret_header[i] = (uint8_t)(n >> (8 * i));
  ret_header[4] = type;
  memset(ret_header + 5, 0, 3);
}

void cns_framer_init(struct cns_framer *framer) {
  *framer = (struct cns_framer){0};
}

void cns_framer_deinit(struct cns_framer *framer) {
  free(framer->payload);
  *framer = (struct cns_framer){.error = CNS_ERR_STATE};
}

static bool type_known(uint8_t type) {
  return (type >= CNS_FRAME_HELLO && type <= CNS_FRAME_CREDIT) || type >= CNS_FRAME_APPLICATION;
}

static bool type_for_strangers(uint8_t type) {
  return type == CNS_FRAME_HELLO || type == CNS_FRAME_AUTH || type == CNS_FRAME_BYE;
}

static int header_check(struct cns_framer *framer, struct cns_problem *problem) {
  struct cns_reader reader;
  cns_reader_init(&reader, framer->header, sizeof framer->header);
  uint32_t len = cns_read_u32(&reader);
  uint8_t type = cns_read_u8(&reader);
  uint8_t flags = cns_read_u8(&reader);
  uint16_t reserved = cns_read_u16(&reader);
  if (cns_reader_finish(&reader) != 0 || flags != 0 || reserved != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "frame header with reserved bits set");
  if (!type_known(type)) return cns_problem_set(problem, CNS_ERR_FORMAT, "frame of unknown type %u", type);
  if (!framer->authenticated && !type_for_strangers(type))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "frame of type %u before authentication", type);
  size_t limit = cns_frame_limit(type);
  if (len > limit)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "frame of %u bytes; type %u allows %zu", len, type, limit);
  if (cns_frame_is_bulk(type)) {
    if (len == 0) return cns_problem_set(problem, CNS_ERR_FORMAT, "empty bulk frame");
    if (len > framer->bulk_credit)
      return cns_problem_set(problem, CNS_ERR_REFUSED,
                             "bulk frame of %u bytes, but only %llu are left of the credit", len,
                             (unsigned long long)framer->bulk_credit);
    framer->bulk_credit -= len;
  }
  framer->type = type;
  framer->len = len;
  framer->payload_len = 0;
  return 0;
}

/* Space for at least one byte more, never more than twice of what has come. */
static int payload_grow(struct cns_framer *framer) {
  size_t capacity = framer->payload_capacity * 2;
  if (capacity < PAYLOAD_START_BYTES) capacity = PAYLOAD_START_BYTES;
  if (capacity > framer->len) capacity = framer->len;
  uint8_t *grown = realloc(framer->payload, capacity);
  if (!grown) return CNS_ERR_MEMORY;
  framer->payload = grown;
  framer->payload_capacity = capacity;
  return 0;
}

/* One step: some header bytes, or some payload bytes. */
static int step(struct cns_framer *framer, const uint8_t *data, size_t len, size_t *ret_taken,
                struct cns_problem *problem) {
  if (framer->header_len < CNS_FRAME_HEADER_BYTES) {
    size_t n = CNS_FRAME_HEADER_BYTES - framer->header_len;
    if (n > len) n = len;
    memcpy(framer->header + framer->header_len, data, n);
    framer->header_len += n;
    *ret_taken = n;
    return framer->header_len == CNS_FRAME_HEADER_BYTES ? header_check(framer, problem) : 0;
  }
  if (framer->payload_len == framer->payload_capacity && payload_grow(framer) != 0)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "no memory for a frame of %zu bytes", framer->len);
  size_t n = framer->len - framer->payload_len;
  if (n > framer->payload_capacity - framer->payload_len) n = framer->payload_capacity - framer->payload_len;
  if (n > len) n = len;
  memcpy(framer->payload + framer->payload_len, data, n);
  framer->payload_len += n;
  *ret_taken = n;
  return 0;
}

static bool complete(const struct cns_framer *framer) {
  return framer->header_len == CNS_FRAME_HEADER_BYTES && framer->payload_len == framer->len;
}

static void drop_large_buffer(struct cns_framer *framer) {
  if (framer->header_len != 0 || framer->payload_capacity <= PAYLOAD_KEEP_BYTES) return;
  free(framer->payload);
  framer->payload = NULL;
  framer->payload_capacity = 0;
}

int cns_framer_feed(struct cns_framer *framer, const uint8_t *data, size_t len, size_t *ret_taken,
                    struct cns_frame *ret_frame, struct cns_problem *problem) {
  if (framer->error != 0) return framer->error;
  drop_large_buffer(framer);
  size_t taken = 0;
  while (taken < len) {
    size_t n = 0;
    framer->error = step(framer, data + taken, len - taken, &n, problem);
    if (framer->error != 0) return framer->error;
    taken += n;
    if (!complete(framer)) continue;
    framer->header_len = 0;
    *ret_frame = (struct cns_frame){framer->type, framer->payload, framer->len};
    *ret_taken = taken;
    return CNS_CASE_FRAME;
  }
  *ret_taken = taken;
  return 0;
}
