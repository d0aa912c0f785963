/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/protocol/attack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void attack_bytes_free(struct attack_bytes *bytes) {
  free(bytes->data);
  *bytes = (struct attack_bytes){0};
}

struct attack_bytes attack_bytes_copy(const uint8_t *data, size_t len) {
  struct attack_bytes copy = {.data = malloc(len ? len : 1), .len = len};
  assert_non_null(copy.data);
  if (len) memcpy(copy.data, data, len);
  return copy;
}

static struct attack_bytes take_writer(struct cns_writer *writer) {
  assert_int_equal(cns_writer_finish(writer), 0);
  struct attack_bytes bytes = attack_bytes_copy(writer->data, writer->len);
  cns_writer_deinit(writer);
  return bytes;
}

void attack_close(struct federation *f) {
  struct cns_problem problem = {0};
  int r = federation_close(f, &problem);
  if (r != 0) fail_msg("closing: %d %s", r, problem.text);
}

void attack_play_until(struct federation *f, enum cns_phase phase) {
  while (cns_coordinator_phase(f->coordinator) != phase) {
    federation_play_phase(f);
    attack_close(f);
    assert_int_equal(cns_coordinator_end(f->coordinator), CNS_END_NONE);
  }
}

void attack_play_phase_without(struct federation *f, size_t k) {
  enum cns_phase before = f->silent_from[k];
  f->silent_from[k] = CNS_PHASE_NONE;
  federation_play_phase(f);
  f->silent_from[k] = before;
}

void attack_check_names(const struct federation *f, uint64_t liars) {
  size_t count;
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(f->coordinator, &count);
  for (size_t v = 0; v < count; v++) {
    uint16_t index;
    enum cns_blame blame;
    struct cns_problem problem = {0};
    if (!(liars >> (verdicts[v].index - 1) & 1))
      fail_msg("hospital %u is honest and named for %s", verdicts[v].index,
               cns_blame_name(verdicts[v].blame));
    int r = cns_evidence_check(&f->roster, verdicts[v].evidence, verdicts[v].evidence_len, &index, &blame,
                               &problem);
    if (r != 0) fail_msg("evidence of %s: %d %s", cns_blame_name(verdicts[v].blame), r, problem.text);
    assert_int_equal(index, verdicts[v].index);
    assert_int_equal(blame, verdicts[v].blame);
  }
}

void attack_finish(struct federation *f, uint64_t liars) {
  federation_play(f);
  if (cns_coordinator_end(f->coordinator) != CNS_END_COMPLETED)
    fail_msg("the round ended: %s", cns_coordinator_end_reason(f->coordinator));
  assert_true(federation_sum_is_exact(f));
  attack_check_names(f, liars);
}

/* ---- the coordinator lies ---- */

struct attack_bytes attack_request(const struct federation *f, size_t k) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_request(f->coordinator, k, &writer), 0);
  return take_writer(&writer);
}

int attack_refused_saying(struct federation *f, size_t k, struct attack_bytes request, const char *words) {
  struct cns_hospital *h = f->hospitals[k];
  struct cns_problem problem = {0};
  enum cns_phase answered = cns_hospital_answered(h);
  const uint8_t *answer = NULL;
  size_t len = 0;
  bool masked = h->terms != NULL;
  int r = cns_hospital_handle(h, request.data, request.len, &answer, &len, &problem);
  attack_bytes_free(&request);
  if (r >= 0) fail_msg("hospital %zu did as it was asked (%d)", k + 1, r);
  assert_null(answer);
  assert_int_equal(len, 0);
  assert_true(problem.text[0] != '\0');
  if (!strstr(problem.text, words)) fail_msg("refused, but saying: %s", problem.text);
  assert_int_equal(cns_hospital_answered(h), answered);
  assert_int_equal(h->terms != NULL, masked);
  return r;
}

int attack_refused(struct federation *f, size_t k, struct attack_bytes request) {
  return attack_refused_saying(f, k, request, "");
}

static void read_item(struct cns_reader *reader, enum cns_phase phase, struct attack_item *item) {
  if (phase != CNS_PHASE_AGREE) {
    size_t len;
    const uint8_t *body = cns_read_blob(reader, CNS_MESSAGE_BODY_MAX, &len);
    assert_non_null(body);
    struct attack_bytes copy = attack_bytes_copy(body, len);
    item->body = copy.data;
    item->body_len = len;
  }
  cns_read_bytes(reader, item->signature.bytes, CNS_SIGNATURE_BYTES);
  if (cns_phase_has_root(phase)) cns_read_bytes(reader, item->root.bytes, CNS_DIGEST_BYTES);
  if (phase != CNS_PHASE_SHARES) return;
  cns_leaf_read(reader, &item->leaf);
  item->path.depth = cns_read_u8(reader);
  for (size_t d = 0; d < item->path.depth; d++)
    cns_read_bytes(reader, item->path.siblings[d].bytes, CNS_DIGEST_BYTES);
}

static void read_list(struct cns_reader *outer, size_t n, struct attack_list *list) {
  struct cns_reader reader;
  struct cns_signature head;
  size_t len;
  const uint8_t *bytes = cns_read_blob(outer, CNS_REQUEST_BYTES_MAX, &len);
  assert_non_null(bytes);
  cns_reader_init(&reader, bytes, len);
  list->phase = (enum cns_phase)cns_read_u8(&reader);
  cns_read_bytes(&reader, head.bytes, CNS_SIGNATURE_BYTES);
  for (size_t k = 0; k < n; k++) {
    list->items[k].standing = cns_read_u8(&reader);
    if (list->items[k].standing != CNS_ABSENT)
      cns_read_bytes(&reader, list->items[k].message.bytes, CNS_DIGEST_BYTES);
  }
  if (list->phase == CNS_PHASE_AGREE) {
    bytes = cns_read_blob(&reader, CNS_MESSAGE_BODY_MAX, &len);
    assert_non_null(bytes);
    list->agreement = attack_bytes_copy(bytes, len);
  }
  for (size_t k = 0; k < n; k++)
    if (list->items[k].standing != CNS_ABSENT) read_item(&reader, list->phase, &list->items[k]);
  assert_int_equal(cns_reader_finish(&reader), 0);
}

struct attack_view *attack_view_new(const struct federation *f, size_t k) {
  struct attack_bytes request = attack_request(f, k);
  struct attack_view *view = calloc(1, sizeof *view);
  struct cns_reader reader;
  assert_non_null(view);
  cns_reader_init(&reader, request.data, request.len);
  assert_int_equal(cns_read_u8(&reader), CNS_REQUEST_VERSION);
  view->n = f->n;
  cns_read_bytes(&reader, view->round.bytes, CNS_DIGEST_BYTES);
  view->phase = (enum cns_phase)cns_read_u8(&reader);
  view->count = cns_read_u16(&reader);
  for (size_t c = 0; c < view->count; c++)
    read_list(&reader, f->n, &view->lists[c]);
  if (view->phase == CNS_PHASE_AGREE) {
    size_t len;
    const uint8_t *bytes = cns_read_blob(&reader, CNS_MESSAGE_BODY_MAX, &len);
    view->proposal = attack_bytes_copy(bytes, len);
  }
  view->tail = attack_bytes_copy(request.data + reader.at, request.len - reader.at);
  assert_int_equal(reader.error, 0);
  attack_bytes_free(&request);
  return view;
}

void attack_item_drop(struct attack_item *item) {
  free(item->body);
  *item = (struct attack_item){.standing = CNS_ABSENT};
}

struct attack_view *attack_view_free(struct attack_view *view) {
  for (size_t c = 0; c < view->count; c++) {
    for (size_t k = 0; k < view->n; k++)
      attack_item_drop(&view->lists[c].items[k]);
    attack_bytes_free(&view->lists[c].agreement);
  }
  attack_bytes_free(&view->proposal);
  attack_bytes_free(&view->tail);
  free(view);
  return NULL;
}

static void write_item(struct cns_writer *writer, enum cns_phase phase, const struct attack_item *item) {
  if (phase != CNS_PHASE_AGREE) cns_write_blob(writer, item->body, item->body_len);
  cns_write_bytes(writer, item->signature.bytes, CNS_SIGNATURE_BYTES);
  if (cns_phase_has_root(phase)) cns_write_bytes(writer, item->root.bytes, CNS_DIGEST_BYTES);
  if (phase != CNS_PHASE_SHARES) return;
  cns_leaf_write(writer, &item->leaf);
  cns_write_u8(writer, item->path.depth);
  for (size_t d = 0; d < item->path.depth; d++)
    cns_write_bytes(writer, item->path.siblings[d].bytes, CNS_DIGEST_BYTES);
}

static struct attack_bytes write_list(const struct federation *f, const struct attack_view *view,
                                      const struct attack_list *list, struct cns_digest *transcript) {
  struct cns_writer writer;
  struct cns_entry entries[FEDERATION_MAX];
  struct cns_signature head;
  for (size_t k = 0; k < view->n; k++)
    entries[k] = (struct cns_entry){list->items[k].standing, list->items[k].message};
  cns_transcript_next(transcript, list->phase, &f->descriptor, entries, transcript);
  assert_int_equal(cns_transcript_sign(f->coordinator_identity, &view->round, list->phase, transcript, &head),
                   0);
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  cns_write_u8(&writer, (uint8_t)list->phase);
  cns_write_bytes(&writer, head.bytes, CNS_SIGNATURE_BYTES);
  for (size_t k = 0; k < view->n; k++) {
    cns_write_u8(&writer, entries[k].standing);
    if (entries[k].standing != CNS_ABSENT)
      cns_write_bytes(&writer, entries[k].message.bytes, CNS_DIGEST_BYTES);
  }
  if (list->phase == CNS_PHASE_AGREE) cns_write_blob(&writer, list->agreement.data, list->agreement.len);
  for (size_t k = 0; k < view->n; k++)
    if (entries[k].standing != CNS_ABSENT) write_item(&writer, list->phase, &list->items[k]);
  return take_writer(&writer);
}

struct attack_bytes attack_view_write(const struct federation *f, const struct attack_view *view) {
  struct cns_writer writer;
  const struct cns_round *round = cns_coordinator_round(f->coordinator);
  struct cns_digest transcript = round->transcript[CNS_PHASE_NONE];
  if (view->count > 0) transcript = round->transcript[cns_round_previous(round, view->lists[0].phase)];
  cns_writer_init(&writer, 2 * CNS_REQUEST_BYTES_MAX);
  cns_write_u8(&writer, CNS_REQUEST_VERSION);
  cns_write_bytes(&writer, view->round.bytes, CNS_DIGEST_BYTES);
  cns_write_u8(&writer, (uint8_t)view->phase);
  cns_write_u16(&writer, (uint16_t)view->count);
  for (size_t c = 0; c < view->count; c++) {
    struct attack_bytes list = write_list(f, view, &view->lists[c], &transcript);
    cns_write_blob(&writer, list.data, list.len);
    attack_bytes_free(&list);
  }
  if (view->phase == CNS_PHASE_AGREE) cns_write_blob(&writer, view->proposal.data, view->proposal.len);
  cns_write_bytes(&writer, view->tail.data, view->tail.len);
  return take_writer(&writer);
}

void attack_view_forge(const struct federation *f, struct attack_view *view, size_t k, const uint8_t *body,
                       size_t len, const struct cns_identity *who) {
  struct attack_list *list = &view->lists[view->count - 1];
  struct attack_item *item = &list->items[k];
  const struct cns_round *round = cns_coordinator_round(f->coordinator);
  struct attack_bytes copy = attack_bytes_copy(body, len);
  free(item->body);
  item->body = copy.data;
  item->body_len = len;
  item->standing = CNS_PRESENT;
  struct cns_message message = {
      .round = view->round,
      .phase = (uint8_t)list->phase,
      .index = f->descriptor.members[k].index,
      .transcript = round->transcript[cns_round_previous(round, list->phase)],
      .body = item->body,
      .body_len = len,
      .root = item->root,
  };
  assert_int_equal(cns_message_sign(&message, who), 0);
  item->signature = message.signature;
  cns_message_digest(&message, &item->message);
}

/* ---- a hospital lies ---- */

struct attack_bytes attack_answer(const struct federation *f, size_t k, const uint8_t *body, size_t len,
                                  const struct cns_digest *root, const uint8_t *tail, size_t tail_len) {
  const struct cns_round *round = cns_coordinator_round(f->coordinator);
  enum cns_phase phase = cns_coordinator_phase(f->coordinator);
  struct cns_writer writer;
  struct cns_message message = {
      .round = round->digest,
      .phase = (uint8_t)phase,
      .index = f->descriptor.members[k].index,
      .transcript = round->transcript[cns_round_previous(round, phase)],
      .body = body,
      .body_len = len,
  };
  if (phase == CNS_PHASE_FORFEIT)
    cns_forfeits_transcript(&round->transcript[CNS_PHASE_AGREE], &f->coordinator->audit.forfeits,
                            &message.transcript);
  if (root) message.root = *root;
  assert_int_equal(cns_message_sign(&message, f->identities[k]), 0);
  cns_writer_init(&writer, 4 * CNS_ANSWER_BYTES_MAX);
  cns_message_write(&writer, &message);
  cns_write_bytes(&writer, tail, tail_len);
  return take_writer(&writer);
}

int attack_receive(struct federation *f, size_t k, struct attack_bytes answer, struct cns_problem *problem) {
  bool upload = cns_coordinator_phase(f->coordinator) == CNS_PHASE_UPLOAD;
  *problem = (struct cns_problem){0};
  int r = cns_coordinator_receive(f->coordinator, k, answer.data, answer.len, upload ? &f->root[k] : NULL,
                                  problem);
  attack_bytes_free(&answer);
  if (r < 0 || r == CNS_ANSWER_NAMED) assert_true(problem->text[0] != '\0');
  return r;
}

/* test_evidence.c alters every byte; here it is one in so many, and of evidence
 * with a very long message in it so many bytes in all. */
#define ALTERED 23
#define ALTERED_OF_LONG 64

void attack_convicted(const struct federation *f, size_t k, enum cns_blame blame) {
  size_t count, v = 0;
  uint16_t index = 0, accused = f->descriptor.members[k].index;
  enum cns_blame found = 0;
  struct cns_problem problem = {0};
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(f->coordinator, &count);
  while (v < count && (verdicts[v].index != accused || verdicts[v].blame != blame))
    v++;
  if (v == count) fail_msg("hospital %u is not named for %s", accused, cns_blame_name(blame));
  struct attack_bytes evidence = attack_bytes_copy(verdicts[v].evidence, verdicts[v].evidence_len);
  assert_int_equal(cns_evidence_check(&f->roster, evidence.data, evidence.len, &index, &found, &problem), 0);
  assert_int_equal(index, accused);
  assert_int_equal(found, blame);
  size_t step = evidence.len > (1u << 16) ? evidence.len / ALTERED_OF_LONG : ALTERED;
  for (size_t at = evidence.len % ALTERED; at < evidence.len; at += step) {
    uint8_t bit = (uint8_t)(1u << (at % 8));
    evidence.data[at] ^= bit;
    int r = cns_evidence_check(&f->roster, evidence.data, evidence.len, &index, &found, &problem);
    if (r == 0 && index != accused) fail_msg("byte %zu altered, hospital %u is framed", at, index);
    evidence.data[at] ^= bit;
  }
  attack_bytes_free(&evidence);
}

/* The sealing of a pair of shares, written a second time from its description
 * in protocol/shares.h. */
void attack_deal_seal(const struct federation *f, size_t k, struct attack_deal *deal, size_t r) {
  const struct cns_hospital *h = f->hospitals[k];
  const struct cns_digest *keys = &cns_coordinator_round(f->coordinator)->transcript[CNS_PHASE_KEYS];
  struct cns_leaf *leaf = &deal->leaves[r];
  struct cns_point pair;
  struct cns_hash hash;
  uint8_t material[CNS_SEAL_KEY_BYTES + CNS_SEAL_NONCE_BYTES], plain[2 * CNS_SCALAR_BYTES], ad[36];
  assert_int_equal(cns_point_mul(&h->secrets->e, &f->coordinator->members[deal->positions[r]].keys.e, &pair),
                   0);
  cns_hash_init_len(&hash, "consilium/1 share encryption", sizeof material);
  cns_hash_digest(&hash, keys);
  cns_hash_u16(&hash, leaf->dealer);
  cns_hash_u16(&hash, leaf->recipient);
  cns_hash_bytes(&hash, pair.bytes, CNS_POINT_BYTES);
  cns_hash_final_len(&hash, material, sizeof material);
  memcpy(ad, keys->bytes, CNS_DIGEST_BYTES);
  memcpy(ad + 32,
         (uint8_t[]){(uint8_t)leaf->dealer, (uint8_t)(leaf->dealer >> 8), (uint8_t)leaf->recipient,
                     (uint8_t)(leaf->recipient >> 8)},
         4);
  memcpy(plain, deal->shares[r].s.bytes, CNS_SCALAR_BYTES);
  memcpy(plain + 32, deal->shares[r].b.bytes, CNS_SCALAR_BYTES);
  assert_int_equal(
      cns_seal(material, material + CNS_SEAL_KEY_BYTES, ad, sizeof ad, plain, sizeof plain, leaf->sealed), 0);
}

void attack_deal_split(struct federation *f, size_t k, struct attack_deal *deal, const struct cns_scalar *s,
                       size_t threshold_s, const struct cns_scalar *b, size_t threshold_b) {
  struct cns_scalar shares_s[FEDERATION_MAX], shares_b[FEDERATION_MAX];
  uint16_t indices[FEDERATION_MAX];
  struct cns_rng rng = cns_rng_seeded(&f->rngs[k]);
  for (size_t r = 0; r < deal->count; r++)
    indices[r] = deal->leaves[r].recipient;
  assert_int_equal(cns_shamir_split(s, threshold_s, indices, deal->count, rng, shares_s), 0);
  assert_int_equal(cns_shamir_split(b, threshold_b, indices, deal->count, rng, shares_b), 0);
  for (size_t r = 0; r < deal->count; r++) {
    deal->shares[r] = (struct cns_share_pair){shares_s[r], shares_b[r]};
    assert_int_equal(cns_point_base(&shares_s[r], &deal->leaves[r].point_s), 0);
    assert_int_equal(cns_point_base(&shares_b[r], &deal->leaves[r].point_b), 0);
    attack_deal_seal(f, k, deal, r);
  }
}

void attack_deal_make(struct federation *f, size_t k, struct attack_deal *deal) {
  const struct cns_round *round = cns_coordinator_round(f->coordinator);
  size_t t = round->descriptor.threshold;
  memset(deal, 0, sizeof *deal);
  for (size_t p = 0; p < f->n; p++) {
    if (!cns_round_present(round, CNS_PHASE_KEYS, p)) continue;
    deal->leaves[deal->count].dealer = f->descriptor.members[k].index;
    deal->leaves[deal->count].recipient = f->descriptor.members[p].index;
    deal->positions[deal->count++] = p;
  }
  assert_int_equal(cns_scalar_random(cns_rng_seeded(&f->rngs[k]), &deal->b), 0);
  assert_int_equal(cns_point_base(&deal->b, &deal->point_b), 0);
  attack_deal_split(f, k, deal, &f->hospitals[k]->secrets->s, t, &deal->b, t);
}

struct attack_bytes attack_deal_answer(const struct federation *f, size_t k, const struct attack_deal *deal) {
  struct cns_writer leaves;
  struct cns_digest root;
  cns_writer_init(&leaves, CNS_ANSWER_BYTES_MAX);
  for (size_t r = 0; r < deal->count; r++)
    cns_leaf_write(&leaves, &deal->leaves[r]);
  assert_int_equal(cns_leaves_root(deal->leaves, deal->count, &root), 0);
  struct attack_bytes answer =
      attack_answer(f, k, deal->point_b.bytes, CNS_POINT_BYTES, &root, leaves.data, leaves.len);
  cns_writer_deinit(&leaves);
  return answer;
}

struct attack_bytes attack_ready_answer(const struct federation *f, size_t k,
                                        const struct cns_complaint *complaints, size_t count) {
  struct cns_writer body, tail, one;
  struct cns_digest digests[FEDERATION_MAX], root = {{0}};
  cns_writer_init(&body, CNS_MESSAGE_BODY_MAX);
  cns_writer_init(&tail, CNS_ANSWER_BYTES_MAX);
  cns_writer_init(&one, CNS_COMPLAINT_BYTES_MAX);
  cns_write_u16(&body, (uint16_t)count);
  for (size_t q = 0; q < count; q++) {
    cns_writer_reset(&one);
    cns_complaint_write(&one, &complaints[q]);
    cns_write_u16(&body, complaints[q].accused);
    cns_write_blob(&tail, one.data, one.len);
    cns_merkle_leaf(one.data, one.len, &digests[q]);
  }
  if (count > 0) assert_int_equal(cns_merkle_root(digests, count, &root), 0);
  struct attack_bytes answer = attack_answer(f, k, body.data, body.len, &root, tail.data, tail.len);
  cns_writer_deinit(&body);
  cns_writer_deinit(&tail);
  cns_writer_deinit(&one);
  return answer;
}

struct cns_complaint attack_complaint(struct federation *f, size_t k, size_t j) {
  const struct cns_coordinator_member *dealer = &f->coordinator->members[j];
  const struct cns_message *shares = &dealer->messages[CNS_PHASE_SHARES].view;
  int position = cns_coordinator_leaf_position(f->coordinator, k);
  assert_true(position >= 0);
  struct cns_complaint complaint = {
      .complainer = f->descriptor.members[k].index,
      .accused = f->descriptor.members[j].index,
      .root = shares->root,
      .signature = shares->signature,
      .leaf = dealer->leaves[position],
      .leaf_count = (uint16_t)f->coordinator->dealt_count,
      .leaf_position = (uint16_t)position,
  };
  struct cns_dispute dispute = cns_coordinator_dispute(f->coordinator, j, k);
  memcpy(complaint.point_b.bytes, shares->body, CNS_POINT_BYTES);
  assert_int_equal(cns_merkle_tree_path(dealer->tree, (size_t)position, &complaint.path), 0);
  assert_int_equal(
      cns_complaint_make(&dispute, &f->hospitals[k]->secrets->e, cns_rng_seeded(&f->rngs[k]), &complaint), 0);
  return complaint;
}

int attack_announce(struct federation *f, const struct cns_descriptor *d,
                    const struct cns_hospital_config *config, struct cns_problem *problem) {
  struct cns_writer announcement;
  struct cns_hospital *hospital = NULL;
  cns_writer_init(&announcement, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_announcement_write(&announcement, d, f->coordinator_identity), 0);
  int r = cns_hospital_begin(config, announcement.data, announcement.len, &hospital, problem);
  cns_writer_deinit(&announcement);
  assert_int_equal(hospital != NULL, r == 0);
  cns_hospital_free(hospital);
  return r;
}
