/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts and the evidence that goes with them; layout in verdict.h. */
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

static void write_message_blob(struct cns_writer *writer, const struct cns_message *message) {
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_MESSAGE_BYTES_MAX); /* whatever a liar signed has to fit */
  cns_message_write(&inner, message);
  if (cns_writer_finish(&inner) == 0)
    cns_write_blob(writer, inner.data, inner.len);
  else if (!writer->error)
    writer->error = inner.error;
  cns_writer_deinit(&inner);
}

static void write_lists(const struct cns_coordinator *c, enum cns_phase last, struct cns_writer *writer) {
  cns_write_u8(writer, (uint8_t)last);
  for (enum cns_phase p = CNS_PHASE_NONE; p != last;) {
    p = cns_round_next(&c->round, p);
    for (size_t k = 0; k < c->round.descriptor.member_count; k++) {
      cns_write_u8(writer, c->round.entries[p][k].standing);
      cns_write_bytes(writer, c->round.entries[p][k].message.bytes, CNS_DIGEST_BYTES);
    }
  }
}

static int begin_evidence(const struct cns_coordinator *c, size_t k, enum cns_blame blame,
                          enum cns_phase last_list, struct cns_writer *writer) {
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&inner, &c->round.descriptor);
  int r = cns_writer_finish(&inner);
  cns_writer_init(writer, CNS_EVIDENCE_BYTES_MAX);
  cns_write_u8(writer, CNS_EVIDENCE_VERSION);
  cns_write_u8(writer, (uint8_t)blame);
  cns_write_u16(writer, c->round.descriptor.members[k].index);
  if (r == 0) cns_write_blob(writer, inner.data, inner.len);
  write_lists(c, last_list, writer);
  cns_writer_deinit(&inner);
  return r;
}

static bool known(const struct cns_coordinator *c, size_t k, enum cns_blame blame) {
  for (size_t v = 0; v < c->verdict_count; v++)
    if (c->verdicts[v].index == c->round.descriptor.members[k].index && c->verdicts[v].blame == blame)
      return true;
  return c->verdict_count >= CNS_VERDICTS_MAX;
}

static int finish_evidence(struct cns_coordinator *c, size_t k, enum cns_blame blame,
                           struct cns_writer *writer) {
  int r = cns_writer_finish(writer);
  uint8_t *evidence = r == 0 ? malloc(writer->len) : NULL;
  if (r == 0 && !evidence) r = CNS_ERR_MEMORY;
  if (r == 0) {
    memcpy(evidence, writer->data, writer->len);
    c->verdicts[c->verdict_count++] = (struct cns_verdict){
        .index = c->round.descriptor.members[k].index,
        .blame = blame,
        .phase = c->phase,
        .evidence = evidence,
        .evidence_len = writer->len,
    };
  }
  cns_writer_deinit(writer);
  return r;
}

int cns_coordinator_blame_message(struct cns_coordinator *c, size_t k, enum cns_blame blame,
                                  const struct cns_message *message, const struct cns_message *second) {
  struct cns_writer writer;
  if (known(c, k, blame)) return 0;
  int r = begin_evidence(c, k, blame, CNS_PHASE_NONE, &writer);
  write_message_blob(&writer, message);
  if (second) write_message_blob(&writer, second);
  return r < 0 ? (cns_writer_deinit(&writer), r) : finish_evidence(c, k, blame, &writer);
}

static int blame_leaves(struct cns_coordinator *c, size_t k, enum cns_blame blame,
                        const struct cns_message *message, const struct cns_leaf *leaves, size_t count) {
  struct cns_writer writer;
  if (known(c, k, blame)) return 0;
  int r = begin_evidence(c, k, blame, CNS_PHASE_NONE, &writer);
  write_message_blob(&writer, message);
  /* The dealer's S, for the degree test of s. */
  write_message_blob(&writer, &c->members[k].messages[CNS_PHASE_KEYS].view);
  cns_write_u16(&writer, (uint16_t)count);
  for (size_t d = 0; d < count; d++)
    cns_leaf_write(&writer, &leaves[d]);
  return r < 0 ? (cns_writer_deinit(&writer), r) : finish_evidence(c, k, blame, &writer);
}

int cns_coordinator_blame_dealer(struct cns_coordinator *c, size_t k, enum cns_blame blame) {
  return blame_leaves(c, k, blame, &c->members[k].messages[CNS_PHASE_SHARES].view, c->members[k].leaves,
                      c->dealt_count);
}

int cns_coordinator_blame_points(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                                 const struct cns_leaf *leaves, size_t count) {
  return blame_leaves(c, k, CNS_BLAME_BAD_POINTS, message, leaves, count);
}

static void write_both_keys(const struct cns_coordinator *c, size_t accused, size_t complainer,
                            struct cns_writer *writer) {
  write_message_blob(writer, &c->members[accused].messages[CNS_PHASE_KEYS].view);
  write_message_blob(writer, &c->members[complainer].messages[CNS_PHASE_KEYS].view);
}

static void write_complaint_blob(struct cns_writer *writer, const struct cns_complaint *complaint) {
  struct cns_writer inner;
  cns_writer_init(&inner, CNS_COMPLAINT_BYTES_MAX);
  cns_complaint_write(&inner, complaint);
  if (cns_writer_finish(&inner) == 0)
    cns_write_blob(writer, inner.data, inner.len);
  else if (!writer->error)
    writer->error = inner.error;
  cns_writer_deinit(&inner);
}

int cns_coordinator_blame_bad_share(struct cns_coordinator *c, size_t accused, size_t complainer,
                                    const struct cns_complaint *complaint) {
  struct cns_writer writer;
  if (known(c, accused, CNS_BLAME_BAD_SHARE)) return 0;
  int r = begin_evidence(c, accused, CNS_BLAME_BAD_SHARE, CNS_PHASE_KEYS, &writer);
  write_complaint_blob(&writer, complaint);
  write_both_keys(c, accused, complainer, &writer);
  return r < 0 ? (cns_writer_deinit(&writer), r) : finish_evidence(c, accused, CNS_BLAME_BAD_SHARE, &writer);
}

int cns_coordinator_blame_complainer(struct cns_coordinator *c, size_t complainer, size_t accused,
                                     const struct cns_complaint *complaint,
                                     const struct cns_merkle_path *path) {
  struct cns_writer writer;
  if (known(c, complainer, CNS_BLAME_FALSE_COMPLAINT)) return 0;
  int r = begin_evidence(c, complainer, CNS_BLAME_FALSE_COMPLAINT, CNS_PHASE_SHARES, &writer);
  write_message_blob(&writer, &c->members[complainer].messages[CNS_PHASE_READY].view);
  write_complaint_blob(&writer, complaint);
  cns_path_write(&writer, path);
  write_both_keys(c, accused, complainer, &writer);
  return r < 0 ? (cns_writer_deinit(&writer), r)
               : finish_evidence(c, complainer, CNS_BLAME_FALSE_COMPLAINT, &writer);
}

int cns_coordinator_blame_wrong_share(struct cns_coordinator *c, size_t holder, size_t dealer,
                                      enum cns_phase phase) {
  struct cns_writer writer;
  struct cns_merkle_path path;
  int position = cns_coordinator_leaf_position(c, holder);
  if (known(c, holder, CNS_BLAME_WRONG_SHARE)) return 0;
  if (position < 0) return CNS_ERR_STATE;
  int r = cns_merkle_tree_path(c->members[dealer].tree, (size_t)position, &path);
  if (r < 0) return r;
  r = begin_evidence(c, holder, CNS_BLAME_WRONG_SHARE, CNS_PHASE_AGREE, &writer);
  write_message_blob(&writer, &c->members[holder].messages[phase].view);
  if (phase == CNS_PHASE_FORFEIT) cns_forfeits_write(&writer, &c->audit.forfeits);
  write_message_blob(&writer, &c->members[dealer].messages[CNS_PHASE_SHARES].view);
  cns_leaf_write(&writer, &c->members[dealer].leaves[position]);
  cns_path_write(&writer, &path);
  return r < 0 ? (cns_writer_deinit(&writer), r) : finish_evidence(c, holder, CNS_BLAME_WRONG_SHARE, &writer);
}

int cns_coordinator_blame_sketch(struct cns_coordinator *c, size_t k, size_t j, const struct cns_claim *claim,
                                 bool within_bound) {
  struct cns_writer writer;
  enum cns_blame blame = j == k ? CNS_BLAME_FALSE_SELF : CNS_BLAME_FALSE_PAIR;
  for (size_t v = 0; v < c->verdict_count && !within_bound; v++) /* by what is known now */
    if (c->verdicts[v].index == c->round.descriptor.members[k].index) c->verdicts[v].within_bound = false;
  if (known(c, k, blame)) return 0;
  int r = begin_evidence(c, k, blame, CNS_PHASE_AUDIT, &writer);
  cns_write_bytes(&writer, c->audit.nonce, sizeof c->audit.nonce);
  write_message_blob(&writer, &c->members[k].messages[CNS_PHASE_AUDIT].view);
  write_message_blob(&writer, &c->members[k].messages[j == k ? CNS_PHASE_SHARES : CNS_PHASE_KEYS].view);
  if (j != k) write_message_blob(&writer, &c->members[j].messages[CNS_PHASE_KEYS].view);
  cns_claim_write(&writer, claim, c->round.descriptor.sketch);
  if (r < 0) {
    cns_writer_deinit(&writer);
    return r;
  }
  r = finish_evidence(c, k, blame, &writer);
  if (r == 0) c->verdicts[c->verdict_count - 1].within_bound = within_bound;
  return r;
}
