/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital with genuine keys that breaks the protocol in one chosen way, at
 * the level of frames, against the real daemon: tests/system/test_daemons.py.
 *
 *   rogue KIT MODE [OTHER_KIT, or in mode cut: the coordinator's process]
 *
 * Apart from its mode it takes part honestly, with an update of zeros; but in the
 * modes about audits, huge, false-self, false-pair, refuse-opening and
 * gone-after-upload, with one four times as long as the clip allows.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/rng.h"
#include "model/plan.h"
#include "net/link.h"
#include "protocol/consent.h"
#include "protocol/hospital.h"
#include "protocol/wire.h"
#include "store/kit.h"
#include "tests/coordinator/rogue_audit.h"

#define PATIENTS 100
#define MODE(name) (strcmp(rogue.mode, name) == 0)

static struct rogue {
  const char *mode;
  struct cns_kit kit, other;
  struct cns_plan plan;
  uv_loop_t uv;
  uv_timer_t timer;
  struct cns_loop *loop;
  struct cns_peers *peers;
  struct cns_dialer *dialer;
  struct cns_link *link;
  struct cns_hospital *machine;
  uint32_t *y;
  uint32_t *x, *hidden; /* in modes about audits: the update, and what is to be hidden of it */
  uint64_t words, next_chunk;
  struct cns_digest root;
  bool uploading, cut;
  pid_t stop_pid;
  uint8_t last[CNS_ANSWER_BYTES_MAX]; /* the last answer of the round before */
  size_t last_len;
} rogue;

static void check(int result, const char *what, const struct cns_problem *problem) {
  if (result >= 0) return;
  fprintf(stderr, "rogue: %s: %s %s\n", what, cns_error_name(result), problem ? problem->text : "");
  exit(2);
}

static void put(uint8_t type, const void *data, size_t len) {
  if (rogue.link) (void)!cns_link_send(rogue.link, type, data, len); /* may have been cut off by now */
}

static void put_digest(uint8_t type, const struct cns_digest *digest) {
  put(type, digest->bytes, CNS_DIGEST_BYTES);
}

static void put_random(uint8_t type, size_t len) {
  uint8_t bytes[4096];
  check(cns_rng_fill(cns_rng_system(), bytes, len), "random bytes", NULL);
  put(type, bytes, len);
}

static struct cns_digest random_digest(void) {
  struct cns_digest digest;
  check(cns_rng_fill(cns_rng_system(), digest.bytes, sizeof digest.bytes), "random bytes", NULL);
  return digest;
}

/* ---- JOIN ---- */

static void join(void) {
  struct cns_consent consent = {.plan = rogue.kit.study_document.digest,
                                .index = rogue.kit.config.index,
                                .patients = PATIENTS,
                                .given_at = (int64_t)time(NULL)};
  const struct cns_identity *signer = rogue.kit.identity;
  if (MODE("other-consent") || MODE("forged-consent")) signer = rogue.other.identity;
  if (MODE("other-consent")) consent.index = rogue.other.config.index;
  if (MODE("consent-of-another-study")) consent.plan = random_digest();
  snprintf(consent.consortium, sizeof consent.consortium, "%s", rogue.kit.roster.consortium);
  snprintf(consent.study, sizeof consent.study, "%s", rogue.plan.name);
  snprintf(consent.name, sizeof consent.name, "%s", rogue.kit.config.name);
  uint8_t *document = NULL;
  size_t len = 0;
  check(cns_consent_make(&consent, signer, &document, &len), "consent", NULL);
  struct cns_writer frame;
  cns_writer_init(&frame, CNS_FRAME_CONTROL_MAX);
  cns_write_u64(&frame, MODE("silent") ? UINT64_MAX : 0);
  cns_write_u64(&frame, rogue.kit.roster.version);
  cns_write_blob(&frame, document, len);
  check(cns_writer_finish(&frame), "JOIN", NULL);
  put(CNS_WIRE_JOIN, frame.data, frame.len);
  if (MODE("join-twice")) put(CNS_WIRE_JOIN, frame.data, frame.len);
  cns_writer_deinit(&frame);
  free(document);
}

/* ---- before and between the phases ---- */

static void spam_model(const struct cns_digest *parent) {
  static const uint64_t offsets[] = {0, 1, 1000, 65536, 1u << 20, UINT32_MAX, 1ull << 63, UINT64_MAX};
  for (int turn = 0; turn < 50; turn++)
    for (size_t k = 0; k < sizeof offsets / sizeof offsets[0]; k++) {
      struct cns_writer frame;
      struct cns_digest other = random_digest();
      cns_writer_init(&frame, 64);
      cns_wire_write_digest_u64(&frame, turn % 5 ? parent : &other, offsets[k]);
      put(CNS_WIRE_MODEL_GET, frame.data, frame.len);
      cns_writer_deinit(&frame);
    }
}

static void decline(const struct cns_digest *round, const char *sentence) {
  struct cns_writer frame;
  cns_writer_init(&frame, CNS_WIRE_SENTENCE_MAX + 64);
  cns_wire_write_word(&frame, round, 0, sentence);
  put(CNS_WIRE_DECLINE, frame.data, frame.len);
  cns_writer_deinit(&frame);
}

static void unasked(const struct cns_digest *round) {
  struct cns_digest nobody = random_digest();
  uint8_t chunk[CNS_WIRE_CHUNK_HEADER_BYTES + 4];
  decline(&nobody, "not this one");
  put_digest(CNS_WIRE_UPLOAD_OPEN, round); /* before its phase */
  put_digest(CNS_WIRE_UPLOAD_OPEN, &nobody);
  cns_wire_chunk_header(round, 0, chunk);
  put(CNS_WIRE_CHUNK, chunk, sizeof chunk);
  struct cns_signature signature;
  struct cns_writer frame;
  check(cns_abandon_sign(rogue.kit.identity, round, rogue.kit.config.index, &signature), "abandon", NULL);
  cns_writer_init(&frame, 128);
  cns_wire_write_signed(&frame, round, &signature); /* while it runs */
  put(CNS_WIRE_ABANDON, frame.data, frame.len);
  cns_writer_deinit(&frame);
}

/* ---- answers ---- */

/* A message of ours, changed and signed again. */
static void resigned(const uint8_t *answer, size_t len, uint16_t index, bool break_body) {
  struct cns_reader reader;
  struct cns_message message = {0};
  struct cns_writer frame;
  uint8_t body[4096];
  cns_reader_init(&reader, answer, len);
  cns_message_read(&reader, &message);
  if (reader.error || message.body_len > sizeof body) check(CNS_ERR_FORMAT, "our own answer", NULL);
  memcpy(body, message.body, message.body_len);
  if (break_body) body[message.body_len - 1] ^= 1;
  message.body = body;
  message.index = index;
  check(cns_message_sign(&message, rogue.kit.identity), "signature", NULL);
  cns_writer_init(&frame, CNS_ANSWER_BYTES_MAX);
  cns_message_write(&frame, &message);
  put(CNS_WIRE_ANSWER, frame.data, frame.len);
  cns_writer_deinit(&frame);
}

static void answer(const uint8_t *bytes, size_t len) {
  if (MODE("other-hospitals-answer")) resigned(bytes, len, (uint16_t)(rogue.kit.config.index - 1), false);
  if (MODE("bad-keys"))
    for (int k = 0; k < 20; k++)
      resigned(bytes, len, rogue.kit.config.index, true);
  else
    put(CNS_WIRE_ANSWER, bytes, len);
  if (MODE("equivocation"))
    for (int k = 0; k < 20; k++)
      resigned(bytes, len, rogue.kit.config.index, true);
  for (int k = 0; MODE("replays") && k < 30; k++) {
    put(CNS_WIRE_ANSWER, bytes, len);
    if (rogue.last_len) put(CNS_WIRE_ANSWER, rogue.last, rogue.last_len);
  }
  if (len <= sizeof rogue.last) memcpy(rogue.last, bytes, rogue.last_len = len);
}

/* ---- upload ---- */

static void send_chunk(uint64_t chunk, const struct cns_digest *round, size_t more) {
  uint8_t frame[CNS_WIRE_CHUNK_HEADER_BYTES + CNS_CHUNK_WORDS * 4 + 64] = {0};
  size_t len = (size_t)cns_chunk_words(rogue.words, chunk) * 4;
  cns_wire_chunk_header(round, chunk, frame);
  memcpy(frame + CNS_WIRE_CHUNK_HEADER_BYTES, rogue.y + chunk * CNS_CHUNK_WORDS, len);
  put(CNS_WIRE_CHUNK, frame, CNS_WIRE_CHUNK_HEADER_BYTES + len + more);
}

static void uploaded(void) {
  const uint8_t *bytes;
  size_t len;
  struct cns_problem problem = {0};
  struct cns_digest root = rogue.root;
  if (MODE("wrong-digest")) root.bytes[0] ^= 1;
  check(cns_hospital_uploaded(rogue.machine, &root, &bytes, &len, &problem), "uploaded", &problem);
  answer(bytes, len);
}

static void send_upload(void) {
  const struct cns_digest *round = cns_hospital_round(rogue.machine);
  struct cns_digest other = random_digest();
  uint64_t count = cns_chunk_count(rogue.words);
  if (MODE("stall-upload")) return;
  if (MODE("chunk-misordered")) send_chunk(count - 1, round, 0);
  if (MODE("chunk-oversized")) send_chunk(0, round, 4);
  if (MODE("chunk-beyond")) {
    uint8_t frame[CNS_WIRE_CHUNK_HEADER_BYTES + 4] = {0};
    cns_wire_chunk_header(round, UINT64_MAX, frame);
    put(CNS_WIRE_CHUNK, frame, sizeof frame);
  }
  if (MODE("answer-too-early")) {
    uploaded();
    return;
  }
  for (uint64_t chunk = rogue.next_chunk; chunk < count; chunk++) {
    if (MODE("odd-uploads")) {
      send_chunk(chunk, &other, 0);
      send_chunk(chunk, round, 0);
      put_digest(CNS_WIRE_UPLOAD_OPEN, round);
    }
    send_chunk(chunk, round, 0);
  }
  uploaded();
}

static void make_y(void) {
  const struct cns_mask_term *terms;
  size_t count;
  struct cns_upload_digest digest;
  if (rogue.y) return;
  rogue.words = cns_descriptor_words(cns_hospital_descriptor(rogue.machine));
  rogue.y = calloc(rogue.words, sizeof *rogue.y);
  if (rogue_is_poisoned(rogue.mode)) {
    check(rogue_poison(rogue.machine, rogue.kit.config.index, rogue.words, &rogue.x, &rogue.hidden), "poison",
          NULL);
    memcpy(rogue.y, rogue.x, rogue.words * sizeof *rogue.y);
  }
  check(cns_hospital_masks(rogue.machine, &terms, &count), "masks", NULL);
  check(cns_mask_apply(rogue.y, rogue.words, 0, terms, count), "masking", NULL);
  cns_upload_digest_init(&digest, rogue.words);
  for (uint64_t chunk = 0; chunk < cns_chunk_count(rogue.words); chunk++)
    check(cns_upload_digest_add(&digest, chunk, (const uint8_t *)(rogue.y + chunk * CNS_CHUNK_WORDS),
                                (size_t)cns_chunk_words(rogue.words, chunk) * 4),
          "digest", NULL);
  check(cns_upload_digest_final(&digest, &rogue.root), "digest", NULL);
}

static void answer_audit(void) {
  struct cns_problem problem = {0};
  const uint8_t *bytes;
  size_t len;
  check(rogue_audit(rogue.machine, rogue.kit.config.index, rogue.mode, rogue.y, rogue.hidden, &bytes, &len,
                    &problem),
        "audit", &problem);
  answer(bytes, len);
}

/* ---- what the coordinator says ---- */

static void begin(const uint8_t *data, size_t len) {
  struct cns_descriptor descriptor;
  struct cns_problem problem = {0};
  const uint8_t *bytes;
  size_t bytes_len;
  check(cns_announcement_read(data, len, &rogue.kit.roster.coordinator.identity, &descriptor, &problem),
        "announcement", &problem);
  const struct cns_hospital_config config = {
      .roster = &rogue.kit.roster,
      .policy = &rogue.kit.policy,
      .identity = rogue.kit.identity,
      .expectation = {.roster = &rogue.kit.roster,
                      .policy = &rogue.kit.policy,
                      .study = descriptor.study,
                      .plan = descriptor.plan,
                      .parent = descriptor.parent,
                      .dim = descriptor.dim,
                      .metrics_dim = descriptor.metrics_dim,
                      .clip_norm = descriptor.clip_norm,
                      .round = descriptor.round,
                      .index = rogue.kit.config.index,
                      .own_weight = cns_policy_weight(&rogue.kit.policy, PATIENTS)},
      .rng = cns_rng_system(),
  };
  struct cns_digest parent = descriptor.parent;
  cns_descriptor_deinit(&descriptor);
  bool known = rogue.machine != NULL;
  struct cns_hospital *machine = NULL;
  check(cns_hospital_begin(&config, data, len, &machine, &problem), "begin", &problem);
  if (known && memcmp(cns_hospital_round(rogue.machine), cns_hospital_round(machine), CNS_DIGEST_BYTES) == 0)
    cns_hospital_free(machine);
  else {
    cns_hospital_free(rogue.machine);
    rogue.machine = machine;
    free(rogue.y);
    free(rogue.x);
    free(rogue.hidden);
    rogue.y = rogue.x = rogue.hidden = NULL;
  }
  if (MODE("silent")) return;
  if (MODE("model-offsets")) spam_model(&parent);
  if (MODE("unasked")) unasked(cns_hospital_round(rogue.machine));
  if (MODE("decline"))
    decline(cns_hospital_round(rogue.machine), "because \xff\xfe\x1b[31m I \"can\"; Zürich");
  for (int k = 0; MODE("answer-flood") && k < 5000; k++)
    put_random(CNS_WIRE_ANSWER, 200);
  for (int k = 0; MODE("decline-flood") && k < 5000; k++)
    decline(cns_hospital_round(rogue.machine), "again and again");
  check(cns_hospital_keys(rogue.machine, &bytes, &bytes_len, &problem), "keys", &problem);
  answer(bytes, bytes_len);
}

static void on_cut(uv_timer_t *timer);

static void requested(const uint8_t *data, size_t len) {
  const uint8_t *bytes;
  size_t bytes_len;
  struct cns_problem problem = {0};
  if (MODE("silent")) return;
  if (!rogue.machine) { /* of a round that an earlier one of us was in */
    struct cns_digest round;
    memcpy(round.bytes, data + 1, CNS_DIGEST_BYTES);
    decline(&round, "new here");
    return;
  }
  if (MODE("cut") && !rogue.cut && data[1 + CNS_DIGEST_BYTES] == CNS_PHASE_READY) {
    rogue.cut = true;
    cns_link_close(rogue.link, "cut");
    uv_timer_start(&rogue.timer, on_cut, 100, 0);
    return;
  }
  if (MODE("decline-upload") && data[1 + CNS_DIGEST_BYTES] == CNS_PHASE_UPLOAD) {
    decline(cns_hospital_round(rogue.machine), "not this time");
    return;
  }
  if (MODE("garbage-answers")) {
    for (int k = 0; k < 20; k++)
      put_random(CNS_WIRE_ANSWER, 16 + 17 * (size_t)k);
    return;
  }
  enum cns_phase phase = data[1 + CNS_DIGEST_BYTES];
  if ((MODE("refuse-opening") && phase == CNS_PHASE_DISPUTE) ||
      (MODE("gone-after-upload") && phase == CNS_PHASE_AUDIT)) {
    decline(cns_hospital_round(rogue.machine), "no more of this");
    return;
  }
  int r = cns_hospital_handle(rogue.machine, data, len, &bytes, &bytes_len, &problem);
  if (r == CNS_HOSPITAL_AUDIT)
    answer_audit();
  else if (r < 0) {
    decline(cns_hospital_round(rogue.machine), problem.text);
  } else if (r == CNS_HOSPITAL_UPLOAD || data[1 + CNS_DIGEST_BYTES] == CNS_PHASE_UPLOAD) {
    make_y();
    put_digest(CNS_WIRE_UPLOAD_OPEN, cns_hospital_round(rogue.machine));
    rogue.uploading = true;
  } else
    answer(bytes, bytes_len);
}

static void sign_abandon(const uint8_t *data, size_t len) {
  struct cns_digest round;
  struct cns_signature signature;
  struct cns_writer frame;
  if (MODE("decline-upload")) return;
  check(cns_wire_read_digest(data, len, &round), "ABANDON_ASK", NULL);
  check(cns_abandon_sign(rogue.kit.identity, &round, rogue.kit.config.index, &signature), "abandon", NULL);
  if (MODE("false-abandon")) signature.bytes[0] ^= 1;
  cns_writer_init(&frame, 128);
  cns_wire_write_signed(&frame, &round, &signature);
  put(CNS_WIRE_ABANDON, frame.data, frame.len);
  cns_writer_deinit(&frame);
}

static void on_frame(void *context, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len) {
  struct cns_digest round;
  (void)context;
  if (cns_frame_is_bulk(type)) cns_link_consumed(link, len);
  if (type == CNS_WIRE_ANNOUNCE) begin(data, len);
  if (type == CNS_WIRE_REQUEST) requested(data, len);
  if (type == CNS_WIRE_ABANDON_ASK) sign_abandon(data, len);
  if (type == CNS_WIRE_UPLOAD_FROM && rogue.uploading) {
    check(cns_wire_read_digest_u64(data, len, &round, &rogue.next_chunk), "UPLOAD_FROM", NULL);
    rogue.uploading = false;
    send_upload();
  }
}

/* ---- life ---- */

static void on_open(void *context, struct cns_link *link, const struct cns_peer *peer) {
  (void)context, (void)peer;
  rogue.link = link;
  if (MODE("frame-first")) put_random(CNS_WIRE_ANSWER, 100);
  if (MODE("malformed-join")) put_random(CNS_WIRE_JOIN, 100);
  join();
  if (MODE("coordinators-frame")) put_random(CNS_WIRE_MANIFEST, 100);
  if (MODE("coordinators-bulk")) put_random(CNS_WIRE_MODEL, 1000);
  if (MODE("unknown-frame")) put_random(99, 10);
  if (MODE("malformed-frames")) put_random(CNS_WIRE_MODEL_GET, 17);
}

static void on_closed(void *context, struct cns_link *link, int error, const char *sentence) {
  (void)context, (void)link, (void)error;
  fprintf(stderr, "rogue: cut off: %s\n", sentence);
  rogue.link = NULL;
  rogue.uploading = false;
}

static void on_flap(uv_timer_t *timer) {
  (void)timer;
  if (rogue.link) cns_link_close(rogue.link, "just so");
}

/* The coordinator has seen the link go; it is stopped before the next comes. */
static void on_cut(uv_timer_t *timer) {
  (void)timer;
  kill(rogue.stop_pid, SIGSTOP);
}

static void load(const char *folder, struct cns_kit *kit) {
  struct cns_problem problem = {0};
  check(cns_kit_load(folder, CNS_KIT_HOSPITAL, (int64_t)time(NULL), kit, &problem), folder, &problem);
}

static void dial(void) {
  struct cns_problem problem = {0};
  const struct cns_peer coordinator = {.role = CNS_ROLE_COORDINATOR,
                                       .identity = rogue.kit.roster.coordinator.identity,
                                       .pin = rogue.kit.roster.coordinator_pin};
  const struct cns_link_callbacks callbacks = {
      .on_open = on_open, .on_frame = on_frame, .on_closed = on_closed};
  check(cns_peers_new(&rogue.peers), "peers", NULL);
  check(cns_peers_set(rogue.peers, &coordinator, 1), "peers", NULL);
  struct cns_link_config config = {
      .identity = rogue.kit.identity,
      .role = CNS_ROLE_HOSPITAL,
      .index = rogue.kit.config.index,
      .peers = rogue.peers,
      .certificate_path = rogue.kit.tls_certificate_path,
      .key_path = rogue.kit.tls_key_path,
      .rng = cns_rng_system(),
      .times = {.retry_first_ms = 300, .retry_cap_ms = 400, .good_session_ms = 1}};
  check(cns_dialer_new(rogue.loop, rogue.kit.config.address, &config, &callbacks, &rogue.dialer, &problem),
        "dialer", &problem);
}

int main(int argc, char **argv) {
  struct cns_problem problem = {0};
  if (argc < 3 || cns_init() < 0) return 2;
  signal(SIGPIPE, SIG_IGN);
  rogue.mode = argv[2];
  load(argv[1], &rogue.kit);
  if (argc > 3 && MODE("cut"))
    rogue.stop_pid = (pid_t)atol(argv[3]);
  else if (argc > 3)
    load(argv[3], &rogue.other);
  check(cns_plan_parse(rogue.kit.study_document.payload, rogue.kit.study_document.payload_len, "study",
                       &rogue.plan, &problem),
        "study", &problem);
  if (uv_loop_init(&rogue.uv) != 0) return 2;
  check(cns_loop_new(&rogue.uv, &rogue.loop, &problem), "loop", &problem);
  uv_timer_init(&rogue.uv, &rogue.timer);
  if (MODE("flapping")) uv_timer_start(&rogue.timer, on_flap, 150, 150);
  dial();
  uv_run(&rogue.uv, UV_RUN_DEFAULT); /* until it is killed */
  return 0;
}
