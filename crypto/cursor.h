/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one bounds-checked reader and the one writer of bytes. All integers are
 * little-endian. Both are sticky: after the first failure every further call
 * does nothing, so a caller checks once, at the end, with _finish.
 */
#pragma once

#include "crypto/base.h"

struct cns_reader {
  const uint8_t *data;
  size_t len;
  size_t at;
  int error;
};

void cns_reader_init(struct cns_reader *reader, const uint8_t *data, size_t len);
uint8_t cns_read_u8(struct cns_reader *reader); /* 0 after a failure */
uint16_t cns_read_u16(struct cns_reader *reader);
uint32_t cns_read_u32(struct cns_reader *reader);
uint64_t cns_read_u64(struct cns_reader *reader);
double cns_read_f64(struct cns_reader *reader); /* IEEE bits */
/* Copies exactly len bytes; zeros ret_bytes after a failure. */
void cns_read_bytes(struct cns_reader *reader, uint8_t *ret_bytes, size_t len);
/* Pointer into the input, NULL after a failure (also for len 0 at failure). */
const uint8_t *cns_read_view(struct cns_reader *reader, size_t len);
/* u32 length, then that many bytes; CNS_ERR_LIMIT above max, before anything
 * else happens. */
const uint8_t *cns_read_blob(struct cns_reader *reader, size_t max, size_t *ret_len);
/* Marks the reader failed with error (a caller's own check). */
void cns_reader_fail(struct cns_reader *reader, int error);
size_t cns_reader_left(const struct cns_reader *reader);
/* 0 if nothing failed and nothing is left over; else the error
 * (CNS_ERR_FORMAT for leftover bytes). */
CNS_MUST_CHECK int cns_reader_finish(const struct cns_reader *reader);

/* Growing writer with a hard limit. */
struct cns_writer {
  uint8_t *data;
  size_t len;
  size_t capacity;
  size_t limit;
  int error;
};

void cns_writer_init(struct cns_writer *writer, size_t limit);
void cns_writer_deinit(struct cns_writer *writer); /* wipes and frees */
void cns_writer_reset(struct cns_writer *writer);  /* len 0, error cleared */
void cns_write_u8(struct cns_writer *writer, uint8_t value);
void cns_write_u16(struct cns_writer *writer, uint16_t value);
void cns_write_u32(struct cns_writer *writer, uint32_t value);
void cns_write_u64(struct cns_writer *writer, uint64_t value);
void cns_write_f64(struct cns_writer *writer, double value);
void cns_write_bytes(struct cns_writer *writer, const uint8_t *bytes, size_t len);
void cns_write_blob(struct cns_writer *writer, const uint8_t *bytes, size_t len);
/* Space for len bytes to fill in place; NULL after a failure. */
uint8_t *cns_write_space(struct cns_writer *writer, size_t len);
CNS_MUST_CHECK int cns_writer_finish(const struct cns_writer *writer);
