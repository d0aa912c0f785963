/* SPDX-License-Identifier: Apache-2.0 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/hospital_internal.h"

int cns_hospital_seal(struct cns_hospital *h, enum cns_phase phase, const struct cns_digest *transcript,
                      const uint8_t *body, size_t body_len, const struct cns_private_part *part) {
  struct cns_message message = {
      .round = h->round.digest,
      .phase = (uint8_t)phase,
      .index = h->index,
      .transcript = h->round.transcript[cns_round_previous(&h->round, phase)],
      .body = body,
      .body_len = body_len,
  };
  struct cns_writer writer;
  if (h->answers[phase].bytes) return CNS_ERR_STATE;
  if (transcript) message.transcript = *transcript;
  if (part) message.root = part->root;
  int r = cns_message_sign(&message, h->config.identity);
  if (r < 0) return r;
  cns_writer_init(&writer, CNS_ANSWER_BYTES_MAX);
  cns_message_write(&writer, &message);
  if (part) cns_write_bytes(&writer, part->bytes.data, part->bytes.len);
  r = cns_writer_finish(&writer);
  uint8_t *bytes = r == 0 ? malloc(writer.len) : NULL;
  if (r == 0 && !bytes) r = CNS_ERR_MEMORY;
  if (r == 0) {
    memcpy(bytes, writer.data, writer.len);
    h->answers[phase].bytes = bytes;
    h->answers[phase].len = writer.len;
    cns_message_digest(&message, &h->answers[phase].message);
    if (cns_phase_order(phase) > cns_phase_order(h->answered)) h->answered = phase;
  }
  cns_writer_deinit(&writer);
  return r;
}

int cns_hospital_answer_keys(struct cns_hospital *h, struct cns_problem *problem) {
  uint8_t body[CNS_KEYS_BODY_BYTES];
  int r = cns_keys_make(&h->round.digest, h->index, h->config.rng, &h->secrets->s, &h->secrets->e,
                        &h->keys[h->own], body);
  if (r < 0) return cns_problem_set(problem, r, "keys for the round could not be drawn");
  return cns_hospital_seal(h, CNS_PHASE_KEYS, NULL, body, sizeof body, NULL);
}

int cns_hospital_answer_shares(struct cns_hospital *h, struct cns_problem *problem) {
  size_t n = h->round.descriptor.member_count, count = 0;
  uint16_t *indices = calloc(n, sizeof *indices);
  const struct cns_point **pairs = calloc(n, sizeof *pairs);
  struct cns_leaf *leaves = calloc(n, sizeof *leaves);
  struct cns_deal deal = {
      .transcript = &h->round.transcript[CNS_PHASE_KEYS],
      .threshold = h->round.descriptor.threshold,
      .s = &h->secrets->s,
      .rng = h->config.rng,
  };
  struct cns_point point_b;
  struct cns_private_part part;
  cns_writer_init(&part.bytes, CNS_ANSWER_BYTES_MAX);
  int r = indices && pairs && leaves ? 0 : CNS_ERR_MEMORY;
  if (r < 0) goto out;
  for (size_t k = 0; k < n && r == 0; k++) {
    if (!cns_round_present(&h->round, CNS_PHASE_KEYS, k)) continue;
    if (k == h->own) deal.own = count;
    indices[count] = h->round.descriptor.members[k].index;
    pairs[count++] = &h->secrets->with[k].pair;
    if (k != h->own) r = cns_point_mul(&h->secrets->e, &h->keys[k].e, &h->secrets->with[k].pair);
  }
  if (r < 0) goto out;
  deal.recipients = indices;
  deal.pairs = pairs;
  deal.count = count;
  r = cns_shares_deal(&deal, &h->secrets->b, &point_b, &h->secrets->with[h->own].share, leaves);
  if (r == 0) r = cns_leaves_root(leaves, count, &part.root);
  for (size_t k = 0; k < count && r == 0; k++)
    cns_leaf_write(&part.bytes, &leaves[k]);
  if (r == 0) r = cns_writer_finish(&part.bytes);
  if (r == 0) r = cns_hospital_seal(h, CNS_PHASE_SHARES, NULL, point_b.bytes, CNS_POINT_BYTES, &part);
  if (r == 0) h->share_good[h->own] = 1;
out:
  cns_writer_deinit(&part.bytes);
  free(indices);
  free(pairs);
  free(leaves);
  if (r < 0)
    return cns_problem_set(problem, r, "shares for the round could not be dealt (%s)", cns_error_name(r));
  return 0;
}

/* The complaints as blobs, and their root. */
static int write_complaints(const struct cns_hospital *h, struct cns_private_part *part) {
  struct cns_digest *digests = calloc(h->complaint_count, sizeof *digests);
  struct cns_writer one;
  if (!digests) return CNS_ERR_MEMORY;
  int r = 0;
  cns_writer_init(&one, CNS_COMPLAINT_BYTES_MAX);
  for (size_t k = 0; k < h->complaint_count && r == 0; k++) {
    cns_writer_reset(&one);
    cns_complaint_write(&one, &h->complaints[k]);
    r = cns_writer_finish(&one);
    if (r < 0) break;
    cns_merkle_leaf(one.data, one.len, &digests[k]);
    cns_write_blob(&part->bytes, one.data, one.len);
  }
  cns_writer_deinit(&one);
  if (r == 0) r = cns_writer_finish(&part->bytes);
  if (r == 0) r = cns_merkle_root(digests, h->complaint_count, &part->root);
  free(digests);
  return r;
}

int cns_hospital_answer_ready(struct cns_hospital *h, struct cns_problem *problem) {
  struct cns_writer body;
  struct cns_private_part part = {0};
  cns_writer_init(&body, CNS_MESSAGE_BODY_MAX);
  cns_writer_init(&part.bytes, CNS_ANSWER_BYTES_MAX);
  cns_write_u16(&body, (uint16_t)h->complaint_count);
  for (size_t k = 0; k < h->complaint_count; k++)
    cns_write_u16(&body, h->complaints[k].accused);
  int r = cns_writer_finish(&body);
  if (r == 0 && h->complaint_count > 0) r = write_complaints(h, &part);
  if (r == 0) r = cns_hospital_seal(h, CNS_PHASE_READY, NULL, body.data, body.len, &part);
  cns_writer_deinit(&part.bytes);
  cns_writer_deinit(&body);
  if (r < 0) return cns_problem_set(problem, r, "the answer of phase ready could not be made");
  return 0;
}

int cns_hospital_make_masks(struct cns_hospital *h) {
  size_t n = h->round.descriptor.member_count, count = 0;
  const struct cns_digest *ready = &h->round.transcript[CNS_PHASE_READY];
  struct cns_mask_term *terms = sodium_malloc(n * sizeof *terms);
  if (!terms) return CNS_ERR_MEMORY;
  cns_self_seed(ready, h->index, &h->secrets->b, &terms[count].seed);
  terms[count++].sign = 1;
  for (size_t k = 0; k < n; k++) {
    struct cns_point shared;
    if (k == h->own || !cns_round_present(&h->round, CNS_PHASE_READY, k)) continue;
    uint16_t other = h->round.descriptor.members[k].index;
    int r = cns_point_mul(&h->secrets->s, &h->keys[k].s, &shared);
    if (r < 0) {
      sodium_free(terms);
      return r;
    }
    cns_pair_seed(ready, h->index, other, &shared, &terms[count].seed);
    terms[count++].sign = cns_pair_sign(h->index, other);
    cns_wipe(&shared, sizeof shared);
  }
  h->terms = terms;
  h->term_count = count;
  return 0;
}

int cns_hospital_answer_upload(struct cns_hospital *h, struct cns_problem *problem) {
  uint8_t body[CNS_UPLOAD_BODY_BYTES];
  uint64_t words = cns_descriptor_words(&h->round.descriptor);
  memcpy(body, h->upload_root.bytes, CNS_DIGEST_BYTES);
  for (size_t k = 0; k < 8; k++)
    body[CNS_DIGEST_BYTES + k] = (uint8_t)(words >> (8 * k));
  int r = cns_hospital_seal(h, CNS_PHASE_UPLOAD, NULL, body, sizeof body, NULL);
  if (r < 0) return cns_problem_set(problem, r, "the answer of phase upload could not be made");
  return 0;
}

/* The statement, and our own z where there is an audit. */
struct proposal {
  const uint8_t *body, *words;
  size_t len, words_len;
};

static int read_proposal(const struct cns_hospital *h, const uint8_t *tail, size_t len,
                         struct proposal *ret_proposal) {
  struct cns_reader reader;
  struct proposal proposal = {0};
  cns_reader_init(&reader, tail, len);
  proposal.body = cns_read_blob(&reader, CNS_MESSAGE_BODY_MAX, &proposal.len);
  if (h->round.descriptor.audit_level != CNS_AUDIT_NONE)
    proposal.words = cns_read_blob(&reader, CNS_AUDIT_SKETCH_BYTES_MAX, &proposal.words_len);
  *ret_proposal = proposal;
  return cns_reader_finish(&reader);
}

int cns_hospital_answer_agree(struct cns_hospital *h, const uint8_t *tail, size_t tail_len,
                              struct cns_problem *problem) {
  struct cns_agreement agreement;
  struct proposal proposal;
  if (read_proposal(h, tail, tail_len, &proposal) < 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the coordinator's request is malformed at its end");
  const uint8_t *body = proposal.body;
  size_t len = proposal.len;
  if (h->answers[CNS_PHASE_AGREE].bytes) {
    /* Signed before: the same statement gets the same answer, another nothing. */
    struct cns_message signed_before = {0};
    struct cns_reader reader;
    cns_reader_init(&reader, h->answers[CNS_PHASE_AGREE].bytes, h->answers[CNS_PHASE_AGREE].len);
    cns_message_read(&reader, &signed_before);
    if (signed_before.body_len == len && memcmp(signed_before.body, body, len) == 0) return 0;
    return cns_problem_set(problem, CNS_ERR_REFUSED, "a second, different agreement for the same round");
  }
  int r = cns_agreement_read(body, len, &agreement);
  if (r < 0) return cns_problem_set(problem, r, "the proposed agreement is malformed");
  r = cns_agreement_check(&agreement, &h->round, h->config.policy, &h->floor, problem);
  if (r == 0) r = cns_hospital_check_shown_sketch(h, &agreement, proposal.words, proposal.words_len, problem);
  if (r == 0) r = cns_hospital_check_own_sketch(h, &agreement, problem);
  cns_agreement_deinit(&agreement);
  if (r < 0) return r;
  return cns_hospital_seal(h, CNS_PHASE_AGREE, NULL, body, len, NULL);
}

int cns_hospital_answer_unmask(struct cns_hospital *h, struct cns_problem *problem) {
  size_t n = h->round.descriptor.member_count;
  if (h->abandoned)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "this round was abandoned; its shares are never released");
  struct cns_released *released = sodium_malloc(n * sizeof *released);
  uint16_t *positions = calloc(n, sizeof *positions);
  struct cns_writer body;
  cns_writer_init(&body, CNS_MESSAGE_BODY_MAX);
  int r = released && positions ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    size_t count = cns_round_releases(&h->round, &h->agreement, released, positions);
    for (size_t k = 0; k < count && r == 0; k++) {
      const struct cns_share_pair *pair = &h->secrets->with[positions[k]].share;
      if (!h->share_good[positions[k]]) r = CNS_ERR_STATE; /* U2 has only dealers that were checked */
      released[k].share = released[k].kind == CNS_SHARE_B ? pair->b : pair->s;
    }
    cns_released_write(&body, released, count);
  }
  if (r == 0) r = cns_writer_finish(&body);
  if (r == 0) r = cns_hospital_seal(h, CNS_PHASE_UNMASK, NULL, body.data, body.len, NULL);
  cns_writer_deinit(&body);
  sodium_free(released);
  free(positions);
  if (r < 0) return cns_problem_set(problem, r, "the shares of phase unmask could not be released");
  return 0;
}
