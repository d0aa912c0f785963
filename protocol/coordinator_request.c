/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: built when they are wanted, never stored. */
#include "protocol/coordinator_internal.h"

int cns_coordinator_announcement(const struct cns_coordinator *c, struct cns_writer *writer) {
  return cns_announcement_write(writer, &c->round.descriptor, c->config.identity);
}

/* position: the recipient's among the leaves of every dealer. */
static void write_leaf(const struct cns_coordinator *c, size_t dealer, int position,
                       struct cns_writer *writer) {
  struct cns_merkle_path path;
  int r =
      position < 0 ? CNS_ERR_STATE : cns_merkle_tree_path(c->members[dealer].tree, (size_t)position, &path);
  if (r < 0) {
    if (!writer->error) writer->error = r;
    return;
  }
  cns_leaf_write(writer, &c->members[dealer].leaves[position]);
  cns_path_write(writer, &path);
}

static void write_closing(const struct cns_coordinator *c, enum cns_phase phase, size_t recipient,
                          struct cns_writer *writer) {
  size_t n = c->round.descriptor.member_count;
  const struct cns_entry *entries = c->round.entries[phase];
  int position = phase == CNS_PHASE_SHARES ? cns_coordinator_leaf_position(c, recipient) : -1;
  cns_write_u8(writer, (uint8_t)phase);
  cns_write_bytes(writer, c->heads[phase].bytes, CNS_SIGNATURE_BYTES);
  for (size_t k = 0; k < n; k++) {
    cns_write_u8(writer, entries[k].standing);
    if (entries[k].standing != CNS_ABSENT)
      cns_write_bytes(writer, entries[k].message.bytes, CNS_DIGEST_BYTES);
  }
  if (phase == CNS_PHASE_AGREE) cns_write_blob(writer, c->agreement_bytes, c->agreement_len);
  for (size_t k = 0; k < n; k++) {
    const struct cns_message *message = &c->members[k].messages[phase].view;
    if (entries[k].standing == CNS_ABSENT) continue;
    if (phase != CNS_PHASE_AGREE) cns_write_blob(writer, message->body, message->body_len);
    cns_write_bytes(writer, message->signature.bytes, CNS_SIGNATURE_BYTES);
    if (cns_phase_has_root(phase)) cns_write_bytes(writer, message->root.bytes, CNS_DIGEST_BYTES);
    if (phase == CNS_PHASE_SHARES) write_leaf(c, k, position, writer);
  }
}

/* The last phase that member k answered: what it may not know begins there. */
static enum cns_phase last_answered(const struct cns_coordinator *c, size_t k) {
  enum cns_phase last = CNS_PHASE_KEYS;
  for (enum cns_phase p = CNS_PHASE_KEYS; p < CNS_PHASE_COUNT; p = (enum cns_phase)(p + 1))
    if (c->members[k].messages[p].bytes && cns_phase_order(p) > cns_phase_order(last)) last = p;
  return last;
}

/* Is the list of phase p among those that lead to the present phase? What
 * follows phase agree hangs on that one's list. */
static bool leads_here(const struct cns_coordinator *c, enum cns_phase p) {
  enum cns_phase last = cns_round_previous(&c->round, c->phase);
  return cns_phase_order(p) <= cns_phase_order(last);
}

static int write_tail(const struct cns_coordinator *c, size_t k, struct cns_writer *writer) {
  uint8_t words[CNS_AUDIT_SKETCH_BYTES_MAX];
  size_t len = (size_t)4 * c->round.descriptor.sketch;
  switch (c->phase) {
  case CNS_PHASE_AUDIT:
    cns_write_bytes(writer, c->audit.nonce, sizeof c->audit.nonce);
    return 0;
  case CNS_PHASE_DISPUTE:
    return cns_coordinator_write_contradictions(c, k, writer);
  case CNS_PHASE_AGREE:
    cns_write_blob(writer, c->agreement_bytes, c->agreement_len);
    if (c->round.descriptor.audit_level == CNS_AUDIT_NONE) return 0;
    const uint32_t *z = cns_agreement_sketch(&c->agreement, k) ? cns_coordinator_sketch(c, k) : NULL;
    if (z) cns_audit_words_write(z, c->round.descriptor.sketch, words);
    cns_write_blob(writer, words, z ? len : 0);
    return 0;
  case CNS_PHASE_FORFEIT:
    cns_forfeits_write(writer, &c->audit.forfeits);
    cns_write_bytes(writer, c->audit.cases.data, c->audit.cases.len);
    return 0;
  default:
    return 0;
  }
}

int cns_coordinator_request(const struct cns_coordinator *c, size_t k, struct cns_writer *writer) {
  if (c->phase == CNS_PHASE_KEYS || !cns_coordinator_awaits(c, k) || c->audit.undecided) return CNS_NOT_ASKED;
  enum cns_phase first = last_answered(c, k);
  uint16_t closings = 0;
  for (enum cns_phase p = first; leads_here(c, p); p = cns_round_next(&c->round, p))
    closings++;
  cns_write_u8(writer, CNS_REQUEST_VERSION);
  cns_write_bytes(writer, c->round.digest.bytes, CNS_DIGEST_BYTES);
  cns_write_u8(writer, (uint8_t)c->phase);
  cns_write_u16(writer, closings);
  for (enum cns_phase p = first; leads_here(c, p); p = cns_round_next(&c->round, p)) {
    struct cns_writer closing;
    cns_writer_init(&closing, CNS_REQUEST_BYTES_MAX);
    write_closing(c, p, k, &closing);
    int r = cns_writer_finish(&closing);
    if (r == 0) cns_write_blob(writer, closing.data, closing.len);
    cns_writer_deinit(&closing);
    if (r < 0) return r;
  }
  int r = write_tail(c, k, writer);
  return r < 0 ? r : cns_writer_finish(writer);
}
