/* SPDX-License-Identifier: Apache-2.0 */
/* The fake coordinator's frames and rounds. */
#include "tests/client/fake_round.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/modelfile.h"
#include "store/registry.h"
#include "tests/client/fake_rogue.h"

void fake_set_model(struct fake *fake) {
  struct cns_problem problem = {0};
  free(fake->model);
  fake->model = NULL;
  assert_int_equal(
      cns_model_serialize(&fake->plan, fake->params, NULL, 0, &fake->model, &fake->model_len, &problem), 0);
  cns_registry_model_digest(fake->model, fake->model_len, &fake->model_digest);
}

void fake_send(struct fake *fake, size_t k, uint8_t type, const struct cns_writer *frame) {
  assert_int_equal(cns_writer_finish(frame), 0);
  assert_non_null(fake->peer[k].link);
  assert_int_equal(cns_link_send(fake->peer[k].link, type, frame->data, frame->len), 0);
}

void fake_send_manifest(struct fake *fake, size_t k, const uint8_t *manifest, size_t len) {
  assert_non_null(fake->peer[k].link);
  assert_int_equal(cns_link_send(fake->peer[k].link, CNS_WIRE_MANIFEST, manifest, len), 0);
}

/* ---- announcing ---- */

void fake_describe(struct fake *fake, struct cns_descriptor *ret_descriptor) {
  struct cns_problem problem = {0};
  const struct cns_policy *policy = &fake->kit.policy;
  struct cns_descriptor d = {.study = fake->study,
                             .round = fake->model_round + 1,
                             .attempt = ++fake->attempt,
                             .parent = fake->model_digest,
                             .plan = fake->kit.study_document.digest,
                             .roster = fake->kit.roster.digest,
                             .policy = policy->digest,
                             .dim = cns_plan_update_dim(&fake->plan),
                             .metrics_dim = policy->metrics ? (uint32_t)cns_plan_metrics_dim(&fake->plan) : 0,
                             .clip_norm = fake->clip_norm,
                             .indicator_share = fake->plan.adaptive_clip.share,
                             .metrics_share = fake->plan.noised_metrics.share,
                             .bits = 32,
                             .unit = (uint8_t)policy->unit,
                             .noise_placement = (uint8_t)policy->noise_placement,
                             .noise_multiplier = fake->plan.noise_multiplier,
                             .sampling_rate = fake->plan.sampling_rate,
                             .colluders = policy->colluders,
                             .threshold = cns_policy_threshold(fake->n, policy->colluders),
                             .minimum_included = policy->minimum_included,
                             .member_count = (uint16_t)fake->n,
                             .members = calloc(fake->n, sizeof *d.members)};
  assert_non_null(d.members);
  if (policy->audit_level != CNS_AUDIT_NONE) {
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&fake->rng), fake->nonce, sizeof fake->nonce), 0);
    d.audit_level = (uint8_t)policy->audit_level;
    d.sketch = policy->sketch;
    cns_nonce_commit(fake->nonce, &d.nonce_commitment);
  }
  for (size_t k = 0; k < fake->n; k++) {
    uint32_t weight = fake->peer[k].weight;
    d.members[k] = (struct cns_member){(uint16_t)(k + 1), weight ? weight : 30};
  }
  if (cns_descriptor_choose_scale(&d, &problem)) fail_msg("%s", problem.text);
  *ret_descriptor = d;
}

static void send_announcement(struct fake *fake, size_t k, const struct cns_descriptor *descriptor) {
  struct cns_writer frame;
  cns_writer_init(&frame, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_announcement_write(&frame, descriptor, fake->kit.identity), 0);
  fake_send(fake, k, CNS_WIRE_ANNOUNCE, &frame);
  cns_writer_deinit(&frame);
}

void fake_announce_to(struct fake *fake, size_t k, const struct cns_descriptor *descriptor) {
  assert_int_equal(cns_descriptor_digest(descriptor, &fake->round), 0);
  send_announcement(fake, k, descriptor);
}

void fake_begin(struct fake *fake) {
  struct cns_problem problem = {0};
  const struct cns_coordinator_config config = {.roster = &fake->kit.roster,
                                                .policy = &fake->kit.policy,
                                                .identity = fake->kit.identity,
                                                .nonce = fake->nonce};
  fake->machine = cns_coordinator_free(fake->machine);
  cns_descriptor_deinit(&fake->descriptor);
  fake_describe(fake, &fake->descriptor);
  if (cns_coordinator_begin(&config, &fake->descriptor, &fake->machine, &problem))
    fail_msg("%s", problem.text);
  fake->round = cns_coordinator_round(fake->machine)->digest;
  for (size_t k = 0; k < fake->n; k++) {
    struct fake_peer *peer = &fake->peer[k];
    peer->out = peer->link == NULL && !fake_is_rogue(fake, k);
    free(peer->y);
    peer->y = NULL;
    peer->next = 0;
    if (peer->link) send_announcement(fake, k, &fake->descriptor);
  }
}

void fake_end(struct fake *fake) {
  struct cns_writer frame;
  cns_writer_init(&frame, 256);
  cns_wire_write_word(&frame, &fake->round, CNS_END_STOPPED, "stopped by the test");
  for (size_t k = 0; k < fake->n; k++)
    if (fake->peer[k].link) fake_send(fake, k, CNS_WIRE_ENDED, &frame);
  cns_writer_deinit(&frame);
  fake->machine = cns_coordinator_free(fake->machine);
}

/* ---- phases ---- */

void fake_request(struct fake *fake, size_t k) {
  struct cns_writer frame;
  struct fake_peer *peer = &fake->peer[k];
  if (!peer->link || peer->out || !cns_coordinator_awaits(fake->machine, k)) return;
  if (cns_coordinator_phase(fake->machine) == CNS_PHASE_KEYS) {
    send_announcement(fake, k, &fake->descriptor);
    return;
  }
  cns_writer_init(&frame, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_request(fake->machine, k, &frame), 0);
  if (fake->wrong_to == k + 1 && cns_coordinator_phase(fake->machine) == fake->wrong_phase)
    frame.data[frame.len - 1] ^= 1;
  fake_send(fake, k, CNS_WIRE_REQUEST, &frame);
  cns_writer_deinit(&frame);
}

/* A*y of all uploads that are there; everyone stays. */
static void audit(struct fake *fake) {
  const struct cns_parallel alone = {0};
  struct cns_problem problem = {0};
  struct cns_sketch_key key;
  uint32_t of_y[CNS_SKETCH_MAX];
  const struct cns_descriptor *d = &fake->descriptor;
  for (size_t k = 0; k < fake->n; k++) {
    if (!cns_coordinator_wants_sketch(fake->machine, k)) continue;
    const uint32_t *y = (const uint32_t *)(const void *)fake->peer[k].y; /* on little-endian machines */
    assert_int_equal(cns_coordinator_sketch_key(fake->machine, &key), 0);
    assert_int_equal(cns_sketch_vectors(&key, d->sketch, &y, 1, d->dim, alone, of_y), 0);
    assert_int_equal(cns_coordinator_set_sketch(fake->machine, k, of_y), 0);
  }
  if (!cns_coordinator_is_undecided(fake->machine)) return;
  if (cns_coordinator_decide(fake->machine, NULL, &problem)) fail_msg("%s", problem.text);
}

/* Closes the phase once nobody is awaited who may still answer. */
static void step(struct fake *fake) {
  struct cns_problem problem = {0};
  if (!fake->machine) return;
  for (size_t k = 0; k < fake->n; k++)
    if (!fake->peer[k].out && cns_coordinator_awaits(fake->machine, k)) return;
  if (cns_coordinator_close(fake->machine, &problem)) fail_msg("%s", problem.text);
  if (cns_coordinator_end(fake->machine) == CNS_END_COMPLETED) {
    fake_complete(fake);
    return;
  }
  if (cns_coordinator_end(fake->machine) != CNS_END_NONE) {
    fake->void_rounds++;
    fake_end(fake);
    return;
  }
  audit(fake);
  if (fake->on_phase && !fake->on_phase(fake, cns_coordinator_phase(fake->machine))) return;
  for (size_t k = 0; k < fake->n; k++)
    fake_request(fake, k);
}

void fake_take_answer(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_digest root;
  peer->answers++;
  if (!fake->machine) return;
  bool upload = cns_coordinator_phase(fake->machine) == CNS_PHASE_UPLOAD;
  if (upload) assert_int_equal(cns_upload_digest_final(&peer->digest, &root), 0);
  int r = cns_coordinator_receive(fake->machine, peer->k, data, len, upload ? &root : NULL, &problem);
  if (r < 0 || r == CNS_ANSWER_NAMED) fail_msg("hospital %zu: %d %s", peer->k + 1, r, problem.text);
  if (r == 0 && upload && peer->link) {
    struct cns_signature signature;
    struct cns_writer frame;
    assert_int_equal(cns_coordinator_receipt(fake->machine, peer->k, &signature), 0);
    cns_writer_init(&frame, 128);
    cns_wire_write_signed(&frame, &fake->round, &signature);
    fake_send(fake, peer->k, CNS_WIRE_RECEIPT, &frame);
    cns_writer_deinit(&frame);
  }
  if (r == 0) step(fake);
}

static void take_upload_open(struct fake *fake, struct fake_peer *peer) {
  struct cns_writer frame;
  uint64_t words = cns_descriptor_words(&fake->descriptor);
  peer->upload_opens++;
  if (!peer->y) {
    peer->y = calloc(words, 4);
    assert_non_null(peer->y);
    cns_upload_digest_init(&peer->digest, words);
  }
  if (fake->on_upload_open && !fake->on_upload_open(fake, peer->k)) return;
  uint64_t from = peer->next > fake->forget_chunks ? peer->next - fake->forget_chunks : 0;
  if (peer->upload_opens == 1) from = peer->next;
  cns_writer_init(&frame, 64);
  cns_wire_write_digest_u64(&frame, &fake->round, from);
  fake_send(fake, peer->k, CNS_WIRE_UPLOAD_FROM, &frame);
  cns_writer_deinit(&frame);
}

static void take_chunk(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len) {
  struct cns_digest round;
  uint64_t chunk;
  const uint8_t *bytes;
  size_t bytes_len;
  assert_int_equal(cns_wire_read_chunk(data, len, &round, &chunk, &bytes, &bytes_len), 0);
  assert_true(cns_digest_equal(&round, &fake->round));
  assert_true(chunk <= peer->next);
  assert_int_equal(bytes_len, 4 * cns_chunk_words(cns_descriptor_words(&fake->descriptor), chunk));
  uint8_t *place = peer->y + chunk * CNS_CHUNK_WORDS * 4;
  if (chunk < peer->next) {
    assert_memory_equal(place, bytes, bytes_len); /* sent again: the same bytes */
    peer->resent++;
    return;
  }
  memcpy(place, bytes, bytes_len);
  assert_int_equal(cns_upload_digest_add(&peer->digest, chunk, bytes, bytes_len), 0);
  peer->next++;
  if (fake->cut_peer != peer->k + 1 || peer->next != fake->cut_chunk) return;
  fake->cut_peer = 0;
  cns_link_close(peer->link, "cut by the test");
}

/* As far as the link takes it; goes on when it takes more. */
static void stream_model(struct fake *fake, struct fake_peer *peer) {
  static uint8_t piece[CNS_WIRE_MODEL_HEADER_BYTES + CNS_WIRE_MODEL_PIECE];
  while (peer->model_at < fake->model_len) {
    uint64_t left = fake->model_len - peer->model_at;
    size_t size = left < CNS_WIRE_MODEL_PIECE ? (size_t)left : CNS_WIRE_MODEL_PIECE;
    cns_wire_model_header(&fake->model_digest, peer->model_at, fake->model_len, piece);
    memcpy(piece + CNS_WIRE_MODEL_HEADER_BYTES, fake->model + peer->model_at, size);
    if (fake->damage_model) piece[CNS_WIRE_MODEL_HEADER_BYTES + size - 1] ^= 1;
    int r = cns_link_send(peer->link, CNS_WIRE_MODEL, piece, CNS_WIRE_MODEL_HEADER_BYTES + size);
    if (r == CNS_CASE_FULL) return;
    assert_int_equal(r, 0);
    peer->model_at += size;
    if (fake->model_bytes_max == 0 || peer->model_at < fake->model_bytes_max) continue;
    fake->model_bytes_max = 0;
    cns_link_close(peer->link, "cut by the test");
    return;
  }
}

static void take_model_get(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len) {
  struct cns_digest digest;
  assert_int_equal(cns_wire_read_digest_u64(data, len, &digest, &peer->model_offset), 0);
  assert_true(cns_digest_equal(&digest, &fake->model_digest));
  peer->model_gets++;
  peer->model_at = peer->model_offset;
  stream_model(fake, peer);
}

static void take_join(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_reader reader;
  struct cns_consent consent;
  size_t consent_len = 0;
  cns_reader_init(&reader, data, len);
  peer->joined_round = cns_read_u64(&reader);
  peer->roster_version = cns_read_u64(&reader);
  const uint8_t *document = cns_read_blob(&reader, 1u << 20, &consent_len);
  assert_int_equal(cns_reader_finish(&reader), 0);
  if (cns_consent_open(document, consent_len, "consent", &fake->kit.roster, &consent, &problem))
    fail_msg("%s", problem.text);
  assert_int_equal(consent.index, peer->k + 1);
  peer->weight = cns_policy_weight(&fake->kit.policy, consent.patients);
  peer->joined++;
  if (fake->turn_away) {
    cns_link_close(peer->link, fake->turn_away);
    return;
  }
  if (fake->manifest && peer->joined_round < fake->model_round)
    fake_send_manifest(fake, peer->k, fake->manifest, fake->manifest_len);
  if (fake->machine) fake_request(fake, peer->k);
}

static void take_abandon(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len) {
  struct cns_digest round;
  assert_int_equal(cns_wire_read_signed(data, len, &round, &peer->abandon), 0);
  assert_int_equal(cns_abandon_verify(&fake->kit.roster.hospitals[peer->k].identity, &round,
                                      (uint16_t)(peer->k + 1), &peer->abandon),
                   0);
  peer->abandons++;
}

static void take_head(struct fake_peer *peer, const uint8_t *data, size_t len) {
  struct cns_ledger_head head;
  assert_int_equal(cns_ledger_head_decode(data, len, &head), 0);
  assert_int_equal(cns_ledger_head_verify(&head, &head.owner), 0);
  if (cns_identity_public_equal(&head.owner, &peer->fake->kit.roster.coordinator.identity)) return;
  peer->head = head;
  peer->heads++;
}

static void take_decline(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len) {
  assert_int_equal(cns_wire_read_word(data, len, &peer->declined), 0);
  assert_true(peer->declined.sentence[0] != '\0');
  peer->declines++;
  if (!fake->machine || !cns_digest_equal(&peer->declined.round, &fake->round)) return;
  peer->out = true;
  step(fake);
}

/* ---- the link ---- */

static void on_open(void *context, struct cns_link *link, const struct cns_peer *who) {
  struct fake *fake = context;
  struct fake_peer *peer = &fake->peer[who->index - 1];
  peer->link = link;
  peer->opened++;
  cns_link_set_user(link, peer);
}

static void on_frame(void *context, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len) {
  struct fake *fake = context;
  struct fake_peer *peer = cns_link_user(link);
  if (cns_frame_is_bulk(type)) cns_link_consumed(link, len);
  switch (type) {
  case CNS_WIRE_JOIN:
    take_join(fake, peer, data, len);
    break;
  case CNS_WIRE_ANSWER:
    fake_take_answer(fake, peer, data, len);
    break;
  case CNS_WIRE_DECLINE:
    take_decline(fake, peer, data, len);
    break;
  case CNS_WIRE_UPLOAD_OPEN:
    take_upload_open(fake, peer);
    break;
  case CNS_WIRE_CHUNK:
    take_chunk(fake, peer, data, len);
    break;
  case CNS_WIRE_MODEL_GET:
    take_model_get(fake, peer, data, len);
    break;
  case CNS_WIRE_LEDGER:
    take_head(peer, data, len);
    break;
  case CNS_WIRE_ABANDON:
    take_abandon(fake, peer, data, len);
    break;
  default:
    fail_msg("hospital %zu sent a frame of type %u", peer->k + 1, type);
  }
}

static void on_writable(void *context, struct cns_link *link) {
  struct fake_peer *peer = cns_link_user(link);
  if (peer->model_gets > 0) stream_model(context, peer);
}

static void on_closed(void *context, struct cns_link *link, int error, const char *sentence) {
  struct fake_peer *peer = cns_link_user(link);
  (void)context, (void)error, (void)sentence;
  if (peer->link == link) peer->link = NULL;
}

static void on_refused(void *context, const char *remote, const char *sentence) {
  (void)context, (void)remote;
  fail_msg("refused: %s", sentence);
}

struct cns_link_callbacks fake_callbacks(struct fake *fake) {
  return (struct cns_link_callbacks){.context = fake,
                                     .on_open = on_open,
                                     .on_frame = on_frame,
                                     .on_writable = on_writable,
                                     .on_closed = on_closed,
                                     .on_refused = on_refused};
}
