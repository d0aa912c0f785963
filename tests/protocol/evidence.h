/* SPDX-License-Identifier: Apache-2.0 */
/* Evidence of our own making, layout of protocol/verdict.h: what liars, together
 * with a coordinator, would put before the others. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

static inline int judge(const struct federation *f, const uint8_t *evidence, size_t len,
                        uint16_t *ret_index) {
  struct cns_problem problem = {0};
  enum cns_blame blame;
  int r = cns_evidence_check(&f->roster, evidence, len, ret_index, &blame, &problem);
  if (r < 0) assert_true(problem.text[0] != '\0');
  return r;
}

static inline void start(const struct federation *f, struct cns_writer *writer, enum cns_blame blame,
                         size_t accused, enum cns_phase last) {
  const struct cns_round *round = cns_coordinator_round(f->coordinator);
  struct cns_writer inner;
  cns_writer_init(writer, 1u << 20);
  cns_write_u8(writer, 1);
  cns_write_u8(writer, (uint8_t)blame);
  cns_write_u16(writer, f->descriptor.members[accused].index);
  cns_writer_init(&inner, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&inner, &f->descriptor);
  cns_write_blob(writer, inner.data, inner.len);
  cns_writer_deinit(&inner);
  cns_write_u8(writer, (uint8_t)last);
  for (enum cns_phase p = CNS_PHASE_NONE; p < last;) {
    p = cns_round_next(round, p);
    for (size_t k = 0; k < f->n; k++) {
      cns_write_u8(writer, round->entries[p][k].standing);
      cns_write_bytes(writer, round->entries[p][k].message.bytes, CNS_DIGEST_BYTES);
    }
  }
}

static inline void put_message(struct cns_writer *writer, const struct cns_message *message) {
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_ANSWER_BYTES_MAX);
  cns_message_write(&inner, message);
  cns_write_blob(writer, inner.data, inner.len);
  cns_writer_deinit(&inner);
}

static inline const struct cns_message *held(const struct federation *f, size_t k, enum cns_phase phase) {
  assert_non_null(f->coordinator->members[k].messages[phase].bytes);
  return &f->coordinator->members[k].messages[phase].view;
}

static inline void put_complaint(struct cns_writer *writer, const struct cns_complaint *complaint) {
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_COMPLAINT_BYTES_MAX);
  cns_complaint_write(&inner, complaint);
  cns_write_blob(writer, inner.data, inner.len);
  cns_writer_deinit(&inner);
}

static inline void put_path(struct cns_writer *writer, const struct cns_merkle_path *path) {
  cns_write_u8(writer, path->depth);
  for (size_t d = 0; d < path->depth; d++)
    cns_write_bytes(writer, path->siblings[d].bytes, CNS_DIGEST_BYTES);
}

static inline void acquits(const struct federation *f, struct cns_writer *writer) {
  uint16_t index = 0;
  assert_int_equal(cns_writer_finish(writer), 0);
  int r = judge(f, writer->data, writer->len, &index);
  if (r != CNS_ERR_PROOF) fail_msg("hospital %u: %d", index, r);
  cns_writer_deinit(writer);
}
