/* SPDX-License-Identifier: Apache-2.0 */
/* The hospital takes in the lists of closed phases and refuses what doesn't fit. */
#include <stdlib.h>
#include <string.h>

#include "protocol/hospital_internal.h"

struct closing {
  enum cns_phase phase;
  struct cns_signature head;
  struct cns_entry *entries;
};

static int malformed(struct cns_problem *problem, enum cns_phase phase) {
  return cns_problem_set(problem, CNS_ERR_FORMAT, "the list of phase %s is malformed", cns_phase_name(phase));
}

static int read_entries(const struct cns_hospital *h, struct cns_reader *reader, struct closing *closing) {
  size_t n = h->round.descriptor.member_count;
  closing->phase = (enum cns_phase)cns_read_u8(reader);
  cns_read_bytes(reader, closing->head.bytes, CNS_SIGNATURE_BYTES);
  if (reader->error || closing->phase >= CNS_PHASE_COUNT) return CNS_ERR_FORMAT;
  closing->entries = calloc(n, sizeof *closing->entries);
  if (!closing->entries) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < n; k++) {
    uint8_t standing = cns_read_u8(reader);
    bool known =
        standing <= CNS_PRESENT || (standing == CNS_DISQUALIFIED && closing->phase == CNS_PHASE_READY);
    if (!known) return CNS_ERR_FORMAT;
    closing->entries[k].standing = standing;
    if (standing != CNS_ABSENT) cns_read_bytes(reader, closing->entries[k].message.bytes, CNS_DIGEST_BYTES);
  }
  return reader->error;
}

/* With fewer there can't be a sum: an update uploaded all the same would only
 * be spent. */
static int check_enough(const struct cns_hospital *h, const struct closing *closing,
                        struct cns_problem *problem) {
  size_t present = 0, needed = cns_round_minimum(&h->round);
  if (cns_phase_order(closing->phase) > cns_phase_order(CNS_PHASE_UPLOAD))
    return 0; /* for those, the threshold of signatures counts */
  for (size_t k = 0; k < h->round.descriptor.member_count; k++)
    present += closing->entries[k].standing == CNS_PRESENT;
  if (present < needed)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the list of phase %s has %zu hospitals and %zu are needed: the round should have "
                           "ended",
                           cns_phase_name(closing->phase), present, needed);
  return 0;
}

/* Nobody may be in a list who wasn't asked, and we must stand there as we
 * answered. docs/protocol.md, "Transcript". */
static int check_entries(const struct cns_hospital *h, const struct closing *closing,
                         struct cns_problem *problem) {
  const struct cns_entry *own = &closing->entries[h->own];
  const struct cns_hospital_answer *answer = &h->answers[closing->phase];
  for (size_t k = 0; k < h->round.descriptor.member_count; k++)
    if (closing->entries[k].standing != CNS_ABSENT && !cns_round_asked(&h->round, closing->phase, k))
      return cns_problem_set(problem, CNS_ERR_REFUSED,
                             "the list of phase %s names hospital %u, which had no part in it",
                             cns_phase_name(closing->phase), h->round.descriptor.members[k].index);
  if (own->standing != CNS_ABSENT && (!answer->bytes || !cns_digest_equal(&own->message, &answer->message)))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the list of phase %s has another answer of ours than the one that was given",
                           cns_phase_name(closing->phase));
  if (own->standing != CNS_PRESENT && closing->phase <= CNS_PHASE_READY)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the coordinator lists this hospital as %s in phase %s",
                           own->standing == CNS_ABSENT ? "missing" : "disqualified",
                           cns_phase_name(closing->phase));
  return check_enough(h, closing, problem);
}

/* The rest of entry k's message; verifies that it is m_k, and its signature. */
static int read_message(const struct cns_hospital *h, struct cns_reader *reader,
                        const struct closing *closing, size_t k, const uint8_t *common_body,
                        size_t common_len, struct cns_message *ret_message, struct cns_problem *problem) {
  enum cns_phase phase = closing->phase;
  struct cns_digest digest;
  struct cns_message message = {
      .round = h->round.digest,
      .phase = (uint8_t)phase,
      .index = h->round.descriptor.members[k].index,
      .transcript = h->round.transcript[cns_round_previous(&h->round, phase)],
      .body = common_body,
      .body_len = common_len,
  };
  if (!common_body) message.body = cns_read_blob(reader, CNS_MESSAGE_BODY_MAX, &message.body_len);
  cns_read_bytes(reader, message.signature.bytes, CNS_SIGNATURE_BYTES);
  if (cns_phase_has_root(phase)) cns_read_bytes(reader, message.root.bytes, CNS_DIGEST_BYTES);
  if (reader->error) return malformed(problem, phase);
  cns_message_digest(&message, &digest);
  if (!cns_digest_equal(&digest, &closing->entries[k].message))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "hospital %u's message of phase %s is not the one in the list", message.index,
                           cns_phase_name(phase));
  if (cns_message_verify(&message, cns_hospital_identity_of(h, k)) < 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE,
                           "hospital %u's message of phase %s doesn't carry its signature", message.index,
                           cns_phase_name(phase));
  *ret_message = message;
  return 0;
}

static int take_keys(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                     struct cns_problem *problem) {
  size_t n = h->round.descriptor.member_count, known = 0;
  struct cns_keys *seen = calloc(n, sizeof *seen);
  struct cns_keys own = h->keys[h->own];
  int r = seen ? 0 : CNS_ERR_MEMORY;
  for (size_t k = 0; k < n && r == 0; k++) {
    struct cns_message message;
    if (closing->entries[k].standing == CNS_ABSENT) continue;
    r = read_message(h, reader, closing, k, NULL, 0, &message, problem);
    if (r == 0 &&
        cns_keys_check(&message.round, message.index, message.body, message.body_len, &h->keys[k]) < 0)
      r = cns_problem_set(problem, CNS_ERR_PROOF,
                          "hospital %u's keys come without a valid proof of possession", message.index);
    if (r == 0 && cns_keys_collide(&h->keys[k], seen, known))
      r = cns_problem_set(problem, CNS_ERR_PROOF, "hospital %u's keys are a copy of another's",
                          message.index);
    if (r == 0) seen[known++] = h->keys[k];
  }
  h->keys[h->own] = own;
  free(seen);
  return r;
}

static int complain(struct cns_hospital *h, size_t k, const struct cns_message *message,
                    const struct cns_leaf *leaf, uint16_t position, const struct cns_merkle_path *path) {
  struct cns_complaint *complaint = &h->complaints[h->complaint_count];
  struct cns_dispute dispute = {
      .round = &h->round.digest,
      .transcript = &h->round.transcript[CNS_PHASE_KEYS],
      .accused_identity = cns_hospital_identity_of(h, k),
      .accused_keys = &h->keys[k],
      .complainer_keys = &h->keys[h->own],
  };
  complaint->complainer = h->index;
  complaint->accused = message->index;
  memcpy(complaint->point_b.bytes, message->body, CNS_POINT_BYTES);
  complaint->root = message->root;
  complaint->signature = message->signature;
  complaint->leaf = *leaf;
  complaint->leaf_count = (uint16_t)cns_round_count(&h->round, CNS_PHASE_KEYS);
  complaint->leaf_position = position;
  complaint->path = *path;
  int r = cns_complaint_make(&dispute, &h->secrets->e, h->config.rng, complaint);
  if (r == 0) h->complaint_count++;
  return r;
}

/* Our leaf of dealer k: only one under the dealer's own signature is opened. */
static int take_leaf(struct cns_hospital *h, struct cns_reader *reader, const struct cns_message *message,
                     size_t k, uint16_t position, struct cns_problem *problem) {
  struct cns_leaf leaf = {0};
  struct cns_merkle_path path = {0};
  struct cns_digest digest;
  cns_leaf_read(reader, &leaf);
  cns_path_read(reader, &path);
  if (reader->error || message->body_len != CNS_SHARES_BODY_BYTES)
    return malformed(problem, CNS_PHASE_SHARES);
  cns_leaf_digest(&leaf, &digest);
  size_t leaves = cns_round_count(&h->round, CNS_PHASE_KEYS);
  if (leaf.dealer != message->index || leaf.recipient != h->index ||
      cns_merkle_check(&message->root, leaves, position, &digest, &path) < 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the share that hospital %u is said to have dealt to us isn't under its signature",
                           message->index);
  memcpy(h->points_b[k].bytes, message->body, CNS_POINT_BYTES);
  if (k == h->own) return 0;
  struct cns_hospital_pair *with = &h->secrets->with[k];
  int r = cns_point_is_identity(&with->pair) ? cns_point_mul(&h->secrets->e, &h->keys[k].e, &with->pair) : 0;
  if (r < 0) return r;
  r = cns_leaf_open(&with->pair, &h->round.transcript[CNS_PHASE_KEYS], &leaf, &with->share);
  h->share_good[k] = r == 0;
  return r == 0 ? 0 : complain(h, k, message, &leaf, position, &path);
}

static int take_shares(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                       struct cns_problem *problem) {
  uint16_t position = 0;
  for (size_t k = 0; k < h->own; k++)
    position = (uint16_t)(position + cns_round_present(&h->round, CNS_PHASE_KEYS, k));
  h->complaint_count = 0;
  for (size_t k = 0; k < h->round.descriptor.member_count; k++) {
    struct cns_message message;
    if (closing->entries[k].standing == CNS_ABSENT) continue;
    int r = read_message(h, reader, closing, k, NULL, 0, &message, problem);
    if (r == 0) r = take_leaf(h, reader, &message, k, position, problem);
    if (r < 0) return r;
  }
  return 0;
}

/* Each complaint in the list must have put its accused or its complainer out. */
static int check_settled(const struct cns_hospital *h, const struct closing *closing,
                         const struct cns_message *message, struct cns_problem *problem) {
  uint16_t accused[CNS_HOSPITALS_MAX];
  size_t count;
  int complainer = cns_descriptor_position(&h->round.descriptor, message->index);
  if (closing->entries[complainer].standing == CNS_DISQUALIFIED) return 0;
  if (cns_ready_read(message->body, message->body_len, accused, CNS_HOSPITALS_MAX, &count) < 0)
    return malformed(problem, CNS_PHASE_READY);
  for (size_t q = 0; q < count; q++) {
    int position = cns_descriptor_position(&h->round.descriptor, accused[q]);
    if (position < 0) return malformed(problem, CNS_PHASE_READY);
    if (closing->entries[position].standing == CNS_PRESENT)
      return cns_problem_set(problem, CNS_ERR_REFUSED,
                             "hospital %u complained of hospital %u's shares, and the list leaves both in",
                             message->index, accused[q]);
  }
  return 0;
}

static int take_messages(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                         struct cns_problem *problem) {
  for (size_t k = 0; k < h->round.descriptor.member_count; k++) {
    struct cns_message message;
    if (closing->entries[k].standing == CNS_ABSENT) continue;
    int r = read_message(h, reader, closing, k, NULL, 0, &message, problem);
    if (r == 0 && closing->phase == CNS_PHASE_READY) r = check_settled(h, closing, &message, problem);
    if (r == 0 && closing->phase == CNS_PHASE_UPLOAD && message.body_len != CNS_UPLOAD_BODY_BYTES)
      r = malformed(problem, closing->phase);
    if (r < 0) return r;
  }
  return 0;
}

/* Nobody's sketches are in the list of phase audit, only their roots: a value
 * that is shown later must be under the one that was listed. */
static int take_audits(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                       struct cns_problem *problem) {
  for (size_t k = 0; k < h->round.descriptor.member_count; k++) {
    struct cns_message message;
    if (closing->entries[k].standing == CNS_ABSENT) continue;
    int r = read_message(h, reader, closing, k, NULL, 0, &message, problem);
    if (r == 0 && message.body_len != 0) r = malformed(problem, closing->phase);
    if (r < 0) return r;
    h->sketches.roots[k] = message.root;
  }
  return 0;
}

/* Who opened which pair: the agreement must convict one of each. */
static int take_openings(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                         struct cns_problem *problem) {
  h->round.opened_count = 0; /* of a list that was refused */
  for (size_t k = 0; k < h->round.descriptor.member_count; k++) {
    struct cns_message message;
    if (closing->entries[k].standing == CNS_ABSENT) continue;
    int r = read_message(h, reader, closing, k, NULL, 0, &message, problem);
    if (r == 0) r = cns_dispute_note(&h->round, k, message.body, message.body_len);
    if (r == CNS_ERR_FORMAT) return malformed(problem, closing->phase);
    if (r < 0) return r;
  }
  return 0;
}

/* t signatures on one statement, which must itself pass every rule. */
static int take_agreement(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                          struct cns_problem *problem) {
  size_t body_len = 0, signatures = 0;
  struct cns_agreement agreement;
  const uint8_t *body = cns_read_blob(reader, CNS_MESSAGE_BODY_MAX, &body_len);
  if (!body || cns_agreement_read(body, body_len, &agreement) < 0) return malformed(problem, CNS_PHASE_AGREE);
  int r = cns_agreement_check(&agreement, &h->round, h->config.policy, &h->floor, problem);
  if (r == 0) r = cns_hospital_check_own_sketch(h, &agreement, problem);
  for (size_t k = 0; k < h->round.descriptor.member_count && r == 0; k++) {
    struct cns_message message;
    if (closing->entries[k].standing == CNS_ABSENT) continue;
    r = read_message(h, reader, closing, k, body, body_len, &message, problem);
    signatures++;
  }
  if (r == 0 && signatures < h->round.descriptor.threshold)
    r = cns_problem_set(problem, CNS_ERR_REFUSED, "only %zu hospitals signed the agreement; %u are required",
                        signatures, h->round.descriptor.threshold);
  if (r < 0) {
    cns_agreement_deinit(&agreement);
    return r;
  }
  cns_agreement_deinit(&h->agreement);
  h->agreement = agreement;
  return 0;
}

static int take_payload(struct cns_hospital *h, struct cns_reader *reader, const struct closing *closing,
                        struct cns_problem *problem) {
  switch (closing->phase) {
  case CNS_PHASE_KEYS:
    return take_keys(h, reader, closing, problem);
  case CNS_PHASE_SHARES:
    return take_shares(h, reader, closing, problem);
  case CNS_PHASE_READY:
  case CNS_PHASE_UPLOAD:
    return take_messages(h, reader, closing, problem);
  case CNS_PHASE_AUDIT:
    return take_audits(h, reader, closing, problem);
  case CNS_PHASE_DISPUTE:
    return take_openings(h, reader, closing, problem);
  case CNS_PHASE_AGREE:
    return take_agreement(h, reader, closing, problem);
  default:
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "phase %s has no list in this version",
                           cns_phase_name(closing->phase));
  }
}

/* The head that this list leads to must be signed; if the phase is known here,
 * it must be the same one: two signed heads convict the coordinator. */
static int check_head(const struct cns_hospital *h, const struct closing *closing, bool *ret_known,
                      struct cns_problem *problem) {
  struct cns_digest head;
  enum cns_phase phase = closing->phase;
  enum cns_phase previous = cns_round_previous(&h->round, phase);
  *ret_known = h->round.entries[phase] != NULL;
  if (!cns_round_has_answers(&h->round, phase) || cns_phase_order(phase) > cns_phase_order(CNS_PHASE_AGREE) ||
      (!*ret_known && previous != h->round.closed))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the list of phase %s comes after that of phase %s",
                           cns_phase_name(phase), cns_phase_name(h->round.closed));
  cns_transcript_next(&h->round.transcript[previous], phase, &h->round.descriptor, closing->entries, &head);
  if (cns_transcript_verify(&h->config.roster->coordinator.identity, &h->round.digest, phase, &head,
                            &closing->head) < 0)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE, "the list of phase %s isn't signed by the coordinator",
                           cns_phase_name(phase));
  if (*ret_known && !cns_digest_equal(&head, &h->round.transcript[phase]))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the coordinator signed two different lists of phase %s: it is cheating",
                           cns_phase_name(phase));
  return 0;
}

int cns_hospital_apply_closing(struct cns_hospital *h, const uint8_t *bytes, size_t len,
                               struct cns_problem *problem) {
  struct cns_reader reader;
  struct closing closing = {0};
  bool known = false;
  cns_reader_init(&reader, bytes, len);
  int r = read_entries(h, &reader, &closing);
  if (r < 0)
    r = malformed(problem, closing.phase);
  else
    r = check_head(h, &closing, &known, problem);
  if (r < 0 || known) goto out;
  r = check_entries(h, &closing, problem);
  if (r == 0) r = take_payload(h, &reader, &closing, problem);
  if (r == 0 && cns_reader_finish(&reader) < 0) r = malformed(problem, closing.phase);
  if (r == 0) {
    cns_round_close(&h->round, closing.phase, closing.entries);
    closing.entries = NULL;
  }
out:
  free(closing.entries);
  return r;
}
