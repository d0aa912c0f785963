/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's inside on a consortium of its own, without sockets, and with a
 * clock that the test moves. Include after cmocka. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/server_internal.h"
#include "tests/protocol/federation.h"

struct world {
  struct federation f;
  struct cns_server_options options;
  struct cns_server s;
  uint64_t start_ms;
};

/* Milliseconds since the phase began. */
static inline void world_at(struct world *w, uint64_t ms) {
  w->s.stalled_ms = uv_now(&w->s.loop) - (w->start_ms + ms);
  w->s.clock_said_ms = 0;
}

/* A server of this federation that has nothing running; all hospitals are here. */
static inline void world_init_server(struct world *w, struct cns_server *s) {
  size_t n = w->f.n;
  *s = (struct cns_server){.options = &w->options, .study = w->f.study, .session_count = n};
  assert_int_equal(uv_loop_init(&s->loop), 0);
  s->kit.roster = w->f.roster;
  s->kit.policy = w->f.policy;
  s->kit.identity = w->f.coordinator_identity;
  s->kit.study_document.digest = w->f.plan;
  s->sessions = calloc(n, sizeof *s->sessions);
  s->watch = calloc(1, sizeof *s->watch);
  assert_non_null(s->sessions);
  assert_non_null(s->watch);
  for (size_t k = 0; k < n; k++) {
    s->sessions[k].hospital = &s->kit.roster.hospitals[k];
    s->sessions[k].joined = s->sessions[k].seen = true;
    s->by_index[s->sessions[k].hospital->index] = &s->sessions[k];
  }
}

static inline void world_deinit_server(struct cns_server *s) {
  cns_abandoning_end(s);
  cns_round_free(s, false);
  s->journal = cns_journal_free(s->journal);
  s->registry = cns_registry_free(s->registry);
  free(s->sessions);
  free(s->watch);
  assert_int_equal(uv_loop_close(&s->loop), 0);
}

static inline void world_init(struct world *w, size_t n, uint64_t dim, uint64_t seed) {
  *w = (struct world){.start_ms = 10000000};
  federation_init(&w->f, n, dim, seed);
  world_init_server(w, &w->s);
  w->s.round_started_ms = w->s.phase_started_ms = w->start_ms;
  world_at(w, 0);
}

static inline void world_deinit(struct world *w) {
  w->f.coordinator = NULL; /* the server's, or freed with its round */
  world_deinit_server(&w->s);
  federation_deinit(&w->f);
}

/* With a journal: hospitals and server begin this attempt, written down. */
static inline void world_begin_round(struct world *w, uint64_t round, uint32_t attempt) {
  struct cns_problem problem = {0};
  w->f.coordinator = NULL;
  federation_begin(&w->f, round, attempt);
  cns_coordinator_free(w->f.coordinator);
  memcpy(w->s.nonce, w->f.nonce, sizeof w->s.nonce);
  if (cns_round_start(&w->s, &w->f.descriptor, &problem) < 0) fail_msg("%s", problem.text);
  w->f.coordinator = w->s.machine;
}

/* The lines of rounds that the daemon prints aren't the test's output. */
static inline int world_mute(void) {
  fflush(stdout);
  int out = dup(STDOUT_FILENO);
  assert_true(dup2(STDERR_FILENO, STDOUT_FILENO) >= 0);
  return out;
}

static inline void world_unmute(int out) {
  fflush(stdout);
  assert_true(dup2(out, STDOUT_FILENO) >= 0);
  close(out);
}

/* The running attempt ends without a result. */
static inline void world_stop_round(struct world *w) {
  int out = world_mute();
  assert_int_equal(cns_round_stop(&w->s, CNS_END_STOPPED, "the test stops it"), 0);
  cns_result_fail(&w->s);
  world_unmute(out);
}

/* What member k's machine masked, in chunks. */
static inline void world_upload(struct world *w, size_t k) {
  const struct cns_digest *round = &cns_coordinator_round(w->s.machine)->digest;
  uint64_t words = cns_descriptor_words(&w->f.descriptor);
  static uint8_t frame[CNS_WIRE_CHUNK_HEADER_BYTES + CNS_CHUNK_WORDS * 4];
  cns_upload_open(&w->s, &w->s.sessions[k], round->bytes, sizeof round->bytes);
  for (uint64_t chunk = 0; chunk < cns_chunk_count(words); chunk++) {
    size_t len = (size_t)cns_chunk_words(words, chunk) * 4;
    cns_wire_chunk_header(round, chunk, frame);
    memcpy(frame + CNS_WIRE_CHUNK_HEADER_BYTES, w->f.y[k] + chunk * CNS_CHUNK_WORDS, len);
    cns_upload_chunk(&w->s, &w->s.sessions[k], frame, CNS_WIRE_CHUNK_HEADER_BYTES + len);
  }
}

/* All but those that are silent answer; the phase is closed, and what follows
 * from that is done. */
static inline void world_play_phase(struct world *w) {
  struct cns_server *s = &w->s;
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  for (size_t k = 0; k < w->f.n; k++) {
    struct cns_problem problem = {0};
    const uint8_t *answer;
    size_t len;
    if (!cns_coordinator_awaits(s->machine, k)) continue;
    if (w->f.silent_from[k] <= phase) {
      cns_session_leave_out(s, &s->sessions[k]);
      continue;
    }
    int r = federation_answer(&w->f, k, &answer, &len, &problem);
    if (r != 0) fail_msg("hospital %zu in phase %s: %s", k + 1, cns_phase_name(phase), problem.text);
    if (phase == CNS_PHASE_UPLOAD) world_upload(w, k);
    cns_round_answer(s, &s->sessions[k], answer, len);
    assert_false(cns_coordinator_awaits(s->machine, k));
  }
  int out = world_mute();
  cns_round_advance(s);
  assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
  world_unmute(out);
}

static inline void world_play_until(struct world *w, enum cns_phase phase) {
  while (w->s.machine && cns_phase_order(cns_coordinator_phase(w->s.machine)) < cns_phase_order(phase))
    world_play_phase(w);
}
