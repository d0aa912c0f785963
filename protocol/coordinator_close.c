/* SPDX-License-Identifier: Apache-2.0 */
/* Closing a phase: its list, the transcript, and what follows from them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

struct degree_job {
  struct cns_coordinator *c;
  int *results;
};

static void check_degree(void *argument, size_t k) {
  struct degree_job *job = argument;
  const struct cns_coordinator *c = job->c;
  const struct cns_coordinator_member *member = &c->members[k];
  struct cns_point point_b;
  if (!cns_round_present(&c->round, CNS_PHASE_SHARES, k)) return;
  memcpy(point_b.bytes, member->messages[CNS_PHASE_SHARES].view.body, CNS_POINT_BYTES);
  job->results[k] = cns_shares_check_degree(&c->round.transcript[CNS_PHASE_SHARES],
                                            c->round.descriptor.members[k].index, &member->keys.s, &point_b,
                                            member->leaves, c->dealt_count, c->round.descriptor.threshold);
}

int cns_coordinator_judge_dealers(struct cns_coordinator *c) {
  size_t n = c->round.descriptor.member_count;
  struct degree_job job = {.c = c, .results = calloc(n, sizeof *job.results)};
  int r = 0;
  if (!job.results) return CNS_ERR_MEMORY;
  cns_parallel_run(c->config.parallel, n, check_degree, &job);
  for (size_t k = 0; k < n && r == 0; k++) {
    if (job.results[k] == 0) continue;
    r = job.results[k] == CNS_ERR_PROOF ? cns_coordinator_blame_dealer(c, k, CNS_BLAME_DEGREE)
                                        : job.results[k];
    c->members[k].disqualified = true;
  }
  free(job.results);
  return r;
}

/* One complaint; a positive ruling. */
static int settle_one(struct cns_coordinator *c, size_t complainer, size_t accused,
                      const struct cns_complaint *complaint, const struct cns_merkle_path *path) {
  struct cns_dispute dispute = cns_coordinator_dispute(c, accused, complainer);
  int ruling = cns_complaint_settle(&dispute, complaint), r = ruling;
  if (ruling == CNS_RULING_DEALER_LIED) {
    c->members[accused].disqualified = true;
    r = cns_coordinator_blame_bad_share(c, accused, complainer, complaint);
  }
  if (ruling == CNS_RULING_COMPLAINER_LIED) {
    c->members[complainer].disqualified = true;
    r = cns_coordinator_blame_complainer(c, complainer, accused, complaint, path);
  }
  return r < 0 ? r : ruling;
}

/* The complaints of one member, in their order. One true complaint settles an
 * accused, one false one a complainer: what liars can make us compute grows
 * with their number, not with that of their complaints. */
static int judge_complainer(struct cns_coordinator *c, size_t k, struct cns_complaint *complaints,
                            struct cns_digest *leaves) {
  const struct cns_coordinator_message *ready = &c->members[k].messages[CNS_PHASE_READY];
  size_t count = 0;
  struct cns_reader reader;
  struct cns_message message;
  cns_reader_init(&reader, ready->bytes, ready->len);
  cns_message_read(&reader, &message);
  for (; cns_reader_left(&reader) > 0 && count < CNS_HOSPITALS_MAX; count++)
    if (cns_coordinator_next_complaint(&reader, &complaints[count], &leaves[count]) < 0) return CNS_ERR_STATE;
  for (size_t q = 0; q < count; q++) {
    struct cns_merkle_path path;
    int accused = cns_descriptor_position(&c->round.descriptor, complaints[q].accused);
    if (accused < 0) return CNS_ERR_STATE; /* checked when it was received */
    if (c->members[accused].disqualified) continue;
    int r = cns_merkle_path(leaves, count, q, &path);
    if (r == 0) r = settle_one(c, k, (size_t)accused, &complaints[q], &path);
    if (r < 0 || r == CNS_RULING_COMPLAINER_LIED) return r < 0 ? r : 0;
  }
  return 0;
}

int cns_coordinator_judge_complaints(struct cns_coordinator *c) {
  struct cns_complaint *complaints = calloc(CNS_HOSPITALS_MAX, sizeof *complaints);
  struct cns_digest *leaves = calloc(CNS_HOSPITALS_MAX, sizeof *leaves);
  int r = complaints && leaves ? 0 : CNS_ERR_MEMORY;
  for (size_t k = 0; k < c->round.descriptor.member_count && r == 0; k++)
    if (c->members[k].messages[CNS_PHASE_READY].bytes) r = judge_complainer(c, k, complaints, leaves);
  free(complaints);
  free(leaves);
  return r;
}

static struct cns_entry *list_of(const struct cns_coordinator *c, enum cns_phase phase) {
  size_t n = c->round.descriptor.member_count;
  struct cns_entry *entries = calloc(n, sizeof *entries);
  for (size_t k = 0; entries && k < n; k++) {
    const struct cns_coordinator_message *message = &c->members[k].messages[phase];
    if (!message->bytes) continue;
    bool out = phase == CNS_PHASE_READY && c->members[k].disqualified;
    entries[k].standing = out ? CNS_DISQUALIFIED : CNS_PRESENT;
    entries[k].message = message->digest;
  }
  return entries;
}

int cns_coordinator_close_list(struct cns_coordinator *c, enum cns_phase phase) {
  struct cns_entry *entries = list_of(c, phase);
  if (!entries) return CNS_ERR_MEMORY;
  cns_round_close(&c->round, phase, entries);
  return cns_transcript_sign(c->config.identity, &c->round.digest, phase, &c->round.transcript[phase],
                             &c->heads[phase]);
}

int cns_coordinator_keep_agreement(struct cns_coordinator *c) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_MESSAGE_BODY_MAX);
  cns_agreement_write(&writer, &c->agreement);
  int r = cns_writer_finish(&writer);
  c->agreement_bytes = r == 0 ? malloc(writer.len) : NULL;
  if (r == 0 && !c->agreement_bytes) r = CNS_ERR_MEMORY;
  if (r == 0) {
    memcpy(c->agreement_bytes, writer.data, writer.len);
    c->agreement_len = writer.len;
  }
  cns_writer_deinit(&writer);
  return r;
}

static int propose_agreement(struct cns_coordinator *c) {
  if (c->round.descriptor.audit_level != CNS_AUDIT_NONE) return 0; /* waits for the decision */
  int r = cns_agreement_derive(&c->round, &c->agreement);
  return r < 0 ? r : cns_coordinator_keep_agreement(c);
}

/* Phase dispute is for contradictions; without any its list is empty. */
static int follow_audit(struct cns_coordinator *c) {
  c->phase = CNS_PHASE_DISPUTE;
  if (cns_coordinator_find_contradictions(c) > 0) return 0;
  int r = cns_coordinator_close_list(c, CNS_PHASE_DISPUTE);
  if (r < 0) return r;
  c->phase = CNS_PHASE_AGREE;
  return cns_coordinator_finish_audit(c);
}

static int follow_dispute(struct cns_coordinator *c) {
  for (size_t k = 0; k < c->round.descriptor.member_count; k++) {
    const struct cns_message *message = &c->members[k].messages[CNS_PHASE_DISPUTE].view;
    if (!cns_round_present(&c->round, CNS_PHASE_DISPUTE, k)) continue;
    int r = cns_dispute_note(&c->round, k, message->body, message->body_len);
    if (r < 0) return r;
  }
  c->phase = CNS_PHASE_AGREE;
  return cns_coordinator_finish_audit(c);
}

/* What the closing of a phase brings with it. The next phase is set, but may be
 * moved on; after phase unmask the secrets decide which one it is. */
static int follow_up(struct cns_coordinator *c, enum cns_phase closed, struct cns_problem *problem) {
  switch (closed) {
  case CNS_PHASE_KEYS:
    c->dealt_count = cns_round_positions(&c->round, CNS_PHASE_KEYS, c->dealt);
    return 0;
  case CNS_PHASE_READY:
    for (size_t k = 1; k < c->round.descriptor.member_count; k++)
      c->rank[k] = (uint16_t)(c->rank[k - 1] + cns_round_present(&c->round, CNS_PHASE_READY, k - 1));
    return 0;
  case CNS_PHASE_UPLOAD:
    return propose_agreement(c);
  case CNS_PHASE_AUDIT:
    return follow_audit(c);
  case CNS_PHASE_DISPUTE:
    return follow_dispute(c);
  case CNS_PHASE_AGREE:
    c->expected_count = cns_round_releases(&c->round, &c->agreement, c->expected, c->expected_positions);
    return 0;
  case CNS_PHASE_UNMASK:
    return cns_coordinator_rebuild(c, problem);
  default:
    return 0;
  }
}

void cns_coordinator_end_if_left(struct cns_coordinator *c, size_t left, const char *why) {
  char reason[256];
  const struct cns_floor none = {0};
  size_t needed = cns_agreement_minimum(&c->round.descriptor, c->config.policy, &none);
  if (left >= needed) return;
  snprintf(reason, sizeof reason,
           "%s: %zu updates are left and %zu are needed: the round ends without a result", why, left, needed);
  cns_coordinator_stop(c, CNS_END_TOO_FEW, reason);
}

/* How many must answer a phase: of the audit as many as must be in the sum, of
 * a dispute none. */
static size_t needed_in(const struct cns_coordinator *c, enum cns_phase closed) {
  const struct cns_floor none = {0};
  if (closed == CNS_PHASE_AUDIT) return cns_agreement_minimum(&c->round.descriptor, c->config.policy, &none);
  if (closed == CNS_PHASE_DISPUTE || closed == CNS_PHASE_FORFEIT) return 0;
  return closed <= CNS_PHASE_UPLOAD ? cns_round_minimum(&c->round) : c->round.descriptor.threshold;
}

static void end_if_too_few(struct cns_coordinator *c, enum cns_phase closed) {
  char reason[256];
  size_t present = cns_round_count(&c->round, closed), asked = 0, needed = needed_in(c, closed);
  for (size_t k = 0; k < c->round.descriptor.member_count; k++)
    asked += cns_round_asked(&c->round, closed, k);
  if (present >= needed) return;
  snprintf(reason, sizeof reason,
           "%zu of %zu hospitals answered phase %s and %zu are needed: the round ends without a result",
           present, asked, cns_phase_name(closed), needed);
  cns_coordinator_stop(c, CNS_END_TOO_FEW, reason);
}

int cns_coordinator_close(struct cns_coordinator *c, struct cns_problem *problem) {
  enum cns_phase closed = c->phase;
  int r = 0;
  if (c->end != CNS_END_NONE || closed == CNS_PHASE_RESULT) return CNS_ERR_STATE;
  if (c->audit.undecided)
    return cns_problem_set(problem, CNS_ERR_STATE, "it isn't decided yet whose updates are in the sum");
  if (closed == CNS_PHASE_FORFEIT) return cns_coordinator_close_forfeit(c, problem);
  if (closed == CNS_PHASE_READY) {
    r = cns_coordinator_judge_dealers(c);
    if (r == 0) r = cns_coordinator_judge_complaints(c);
  } else if (closed == CNS_PHASE_AUDIT || closed == CNS_PHASE_DISPUTE)
    r = cns_coordinator_check_sketches_given(c, problem);
  if (r == 0 && closed == CNS_PHASE_DISPUTE) r = cns_coordinator_judge_disputes(c);
  if (r == 0) r = cns_coordinator_close_list(c, closed);
  if (r < 0) return r;
  end_if_too_few(c, closed);
  if (c->end != CNS_END_NONE) return 0;
  if (closed != CNS_PHASE_UNMASK) c->phase = cns_round_next(&c->round, closed);
  return follow_up(c, closed, problem);
}
