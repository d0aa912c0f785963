/* SPDX-License-Identifier: Apache-2.0 */
/* Restart: the same calls again, from the journal. docs/architecture.md, "Journal". */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/server_internal.h"

/* An attempt that isn't gone on with: who may have uploaded in it. */
struct attempt {
  bool known;
  struct cns_descriptor descriptor;
  bool *asked; /* by position */
  bool told;   /* the journal says who was asked */
  bool closed; /* phase ready */
};

struct replay {
  struct cns_server *server;
  uint64_t round; /* the last one in the table of rounds */
  uint32_t attempt;
  bool running, completed;
  bool stale; /* running, but under other documents */
  struct attempt past;
  struct cns_problem lost; /* an upload that isn't there any more */
  struct cns_problem *problem;
};

/* ---- attempts without a result ---- */

/* Of an attempt that was cut short by other documents nothing says who was asked:
 * those who were ready, or fewer. */
static bool may_have_uploads(const struct attempt *past) {
  const struct cns_round round = {.descriptor = past->descriptor};
  size_t ready = 0;
  for (size_t k = 0; k < past->descriptor.member_count; k++)
    ready += past->asked[k];
  return past->told || (past->closed && ready >= cns_round_minimum(&round));
}

static int end_past(struct replay *replay) {
  struct attempt *past = &replay->past;
  int r = past->known && may_have_uploads(past)
              ? cns_abandoning_begin(replay->server, &past->descriptor, past->asked)
              : 0;
  if (past->known) cns_descriptor_deinit(&past->descriptor);
  free(past->asked);
  *past = (struct attempt){0};
  return r;
}

static int begin_past(struct replay *replay, const struct cns_descriptor *descriptor) {
  struct attempt *past = &replay->past;
  int r = end_past(replay);
  if (r == 0) r = cns_descriptor_copy(descriptor, &past->descriptor);
  if (r < 0) return r;
  past->asked = calloc(descriptor->member_count, sizeof *past->asked);
  past->known = past->asked != NULL;
  if (!past->known) cns_descriptor_deinit(&past->descriptor);
  return past->known ? 0 : CNS_ERR_MEMORY;
}

static void past_entry(struct replay *replay, const struct cns_journal_entry *entry) {
  struct attempt *past = &replay->past;
  if (!past->known) return;
  if (entry->kind == CNS_ENTRY_ASKED && entry->body_len == past->descriptor.member_count) {
    past->told = true;
    for (size_t k = 0; k < entry->body_len; k++)
      past->asked[k] = entry->body[k];
  }
  if (past->told || entry->phase != CNS_PHASE_READY) return;
  int position = cns_descriptor_position(&past->descriptor, entry->index);
  if (entry->kind == CNS_ENTRY_ANSWER && position >= 0) past->asked[position] = true;
  if (entry->kind == CNS_ENTRY_CLOSE) past->closed = true;
}

/* ---- the running round ---- */

/* Documents may have changed while the daemon was down: a round under the old
 * ones can't be gone on with, not even replayed where keys changed. */
static bool same_documents(const struct cns_server *s, const struct cns_descriptor *d) {
  return cns_digest_equal(&d->roster, &s->kit.roster.digest) &&
         cns_digest_equal(&d->policy, &s->kit.policy.digest) &&
         cns_digest_equal(&d->plan, &s->kit.study_document.digest);
}

static int replay_begin(struct replay *replay, const struct cns_journal_entry *entry, bool last) {
  struct cns_server *s = replay->server;
  struct cns_descriptor descriptor;
  int r = cns_descriptor_read(entry->body, entry->body_len, &descriptor);
  if (r < 0) return r;
  s->last_attempt = descriptor.attempt;
  bool running = last && replay->running;
  replay->stale = running && !same_documents(s, &descriptor);
  if (!cns_digest_equal(&descriptor.study, &s->study))
    r = cns_problem_set(replay->problem, CNS_ERR_REFUSED,
                        "%s holds rounds of another study: give this one a state folder of its own",
                        s->kit.config.state_path);
  if (r == 0 && running && !replay->stale) r = end_past(replay);
  if (r == 0)
    r = running && !replay->stale ? cns_round_open(s, &descriptor, replay->problem)
                                  : begin_past(replay, &descriptor);
  cns_descriptor_deinit(&descriptor);
  return r;
}

/* The vector that an answer of phase upload is about must still be there. */
static int check_upload(struct cns_server *s, size_t position, const struct cns_digest *root,
                        struct cns_problem *problem) {
  struct cns_digest held;
  uint64_t words = cns_descriptor_words(&cns_coordinator_round(s->machine)->descriptor);
  int r = cns_upload_restore(s, position, cns_chunk_count(words), problem);
  if (r == 0) r = cns_upload_finish(s, position, &held, problem);
  if (r == 0 && !cns_digest_equal(&held, root))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "it was changed on the disk");
  return r;
}

static int replay_answer(struct replay *replay, const struct cns_journal_entry *entry) {
  struct cns_server *s = replay->server;
  const uint8_t *answer = entry->body;
  size_t len = entry->body_len;
  struct cns_digest root;
  struct cns_problem lost = {0};
  const struct cns_digest *upload_root = NULL;
  int position = cns_descriptor_position(&cns_coordinator_round(s->machine)->descriptor, entry->index);
  if (position < 0 || !answer) return CNS_ERR_FORMAT;
  if (entry->kind == CNS_ENTRY_UPLOAD) {
    if (len < CNS_DIGEST_BYTES) return CNS_ERR_FORMAT;
    memcpy(root.bytes, answer, CNS_DIGEST_BYTES);
    upload_root = &root;
    answer += CNS_DIGEST_BYTES;
    len -= CNS_DIGEST_BYTES;
    int r = check_upload(s, (size_t)position, &root, &lost);
    if (r == CNS_ERR_MEMORY) return r;
    if (r < 0 && !replay->lost.text[0])
      cns_problem_set(&replay->lost, r, "the upload of hospital %u is lost: %s", entry->index, lost.text);
  }
  int r = cns_coordinator_receive(s->machine, (size_t)position, answer, len, upload_root, replay->problem);
  if (entry->kind == CNS_ENTRY_NAMED) s->uploads[position].declined = true;
  return r < 0 ? r : 0;
}

/* Read back when all is replayed: there is one such entry for each few chunks. */
static int replay_chunks(struct cns_server *s, const struct cns_journal_entry *entry) {
  struct cns_reader reader;
  int position = cns_descriptor_position(&cns_coordinator_round(s->machine)->descriptor, entry->index);
  cns_reader_init(&reader, entry->body, entry->body_len);
  uint64_t next = cns_read_u64(&reader);
  if (position < 0 || cns_reader_finish(&reader) < 0) return CNS_ERR_FORMAT;
  s->uploads[position].checkpoint = next;
  return 0;
}

static int replay_stop(struct cns_server *s, const struct cns_journal_entry *entry) {
  char reason[256];
  if (!entry->body || entry->body_len < 1) return CNS_ERR_FORMAT;
  snprintf(reason, sizeof reason, "%.*s", (int)(entry->body_len - 1), (const char *)entry->body + 1);
  cns_coordinator_stop(s->machine, (enum cns_end)entry->body[0], reason);
  return 0;
}

/* ---- audits ---- */

static int replay_nonce(struct cns_server *s, const struct cns_journal_entry *entry) {
  if (!entry->body || entry->body_len != sizeof s->nonce) return CNS_ERR_FORMAT;
  memcpy(s->nonce, entry->body, sizeof s->nonce);
  return 0;
}

static int replay_sketch(struct cns_server *s, const struct cns_journal_entry *entry) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  uint32_t words[CNS_SKETCH_MAX];
  int position = cns_descriptor_position(d, entry->index);
  if (position < 0 || !entry->body || entry->body_len != (size_t)4 * d->sketch) return CNS_ERR_FORMAT;
  cns_audit_words_read(entry->body, d->sketch, words);
  return cns_coordinator_set_sketch(s->machine, (size_t)position, words);
}

static int replay_decided(struct replay *replay, const struct cns_journal_entry *entry) {
  struct cns_server *s = replay->server;
  if (!entry->body || entry->body_len != cns_coordinator_round(s->machine)->descriptor.member_count)
    return CNS_ERR_FORMAT;
  return cns_coordinator_decide(s->machine, entry->body, replay->problem);
}

/* What followed for the watch is in the journal too, unless the daemon was killed
 * between the two. */
static int replay_close(struct replay *replay) {
  struct cns_server *s = replay->server;
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  uint32_t tight;
  size_t before;
  (void)cns_coordinator_verdicts(s->machine, &before);
  int r = cns_coordinator_close(s->machine, replay->problem);
  if (r == 0) (void)cns_watch_closed(s->watch, s->machine, &s->kit.policy, phase, before, &tight);
  return r;
}

static int replay_entry(struct replay *replay, const struct cns_journal_entry *entry) {
  struct cns_server *s = replay->server;
  bool last = entry->round == replay->round && entry->attempt == replay->attempt;
  if (entry->kind == CNS_ENTRY_RESULT) {
    int r = end_past(replay);
    return r < 0 ? r : cns_result_adopt(s, entry->body, entry->body_len, replay->problem);
  }
  if (entry->kind == CNS_ENTRY_NONCE) return replay_nonce(s, entry);
  if (entry->kind == CNS_ENTRY_WATCH) return cns_watch_decode(entry->body, entry->body_len, s->watch);
  if (entry->kind == CNS_ENTRY_BEGIN) return replay_begin(replay, entry, last);
  past_entry(replay, entry);
  if (!last || !s->machine) return 0;
  switch (entry->kind) {
  case CNS_ENTRY_ANSWER:
  case CNS_ENTRY_SHARES:
  case CNS_ENTRY_UPLOAD:
  case CNS_ENTRY_NAMED:
    return replay_answer(replay, entry);
  case CNS_ENTRY_CHUNKS:
    return replay_chunks(s, entry);
  case CNS_ENTRY_CLOSE:
    return replay_close(replay);
  case CNS_ENTRY_SKETCH:
    return replay_sketch(s, entry);
  case CNS_ENTRY_DECIDED:
    return replay_decided(replay, entry);
  case CNS_ENTRY_STOP:
    return replay_stop(s, entry);
  case CNS_ENTRY_SIGNED:
  case CNS_ENTRY_OVER:
  case CNS_ENTRY_ASKED: /* with its attempt's end: nothing is gone on with */
    return 0;
  default:
    return cns_problem_set(replay->problem, CNS_ERR_FORMAT, "the journal holds an entry of unknown kind %u",
                           entry->kind);
  }
}

static int on_entry(void *context, const struct cns_journal_entry *entry) {
  struct replay *replay = context;
  int r = replay_entry(replay, entry);
  if (r < 0)
    return cns_problem_prefix(replay->problem, r, "replaying entry %" PRIu64 " of the journal (%s)",
                              entry->sequence, cns_error_name(r));
  return 0;
}

static int find_state(void *context, const struct cns_journal_round *round) {
  struct replay *replay = context;
  if (round->round != replay->round || round->attempt != replay->attempt) return 0;
  replay->running = round->state == CNS_JOURNAL_ROUND_RUNNING;
  replay->completed = round->state == CNS_JOURNAL_ROUND_COMPLETED;
  return 0;
}

/* ---- going on ---- */

/* Uploads that were under way. One that can't be read back begins anew. */
static int restore_uploads(struct cns_server *s) {
  size_t n = cns_coordinator_round(s->machine)->descriptor.member_count;
  if (cns_coordinator_phase(s->machine) != CNS_PHASE_UPLOAD) return 0;
  for (size_t k = 0; k < n; k++) {
    struct cns_upload *upload = &s->uploads[k];
    struct cns_problem problem = {0};
    if (!upload->checkpoint || !cns_coordinator_awaits(s->machine, k)) continue;
    int r = cns_upload_restore(s, k, upload->checkpoint, &problem);
    if (r == CNS_ERR_MEMORY) return r;
    if (r < 0) {
      cns_report(s, "upload", "an upload that was under way begins anew: %s", problem.text);
      cns_running_forget(s, k);
      upload->file = cns_vector_file_free(upload->file);
    }
  }
  return 0;
}

/* The machine of a round under other documents was never made: its row says
 * that it ended. */
static int end_stale(struct cns_server *s, const struct replay *replay, const struct cns_digest *descriptor,
                     struct cns_problem *problem) {
  static const char reason[] = "\x04roster, policy or study changed while the coordinator was down";
  const struct cns_journal_entry entry = {.kind = CNS_ENTRY_STOP,
                                          .round = replay->round,
                                          .attempt = replay->attempt,
                                          .body = (const uint8_t *)reason,
                                          .body_len = sizeof reason - 1};
  struct cns_journal_round row = {.round = replay->round,
                                  .attempt = replay->attempt,
                                  .state = CNS_JOURNAL_ROUND_ENDED,
                                  .descriptor = *descriptor,
                                  .has_head = true};
  _Static_assert(CNS_END_STOPPED == 4, "the first byte of reason");
  int r = cns_journal_append(s->journal, &entry, problem);
  cns_journal_head(s->journal, &row.head, &row.head_sequence);
  if (r == 0) r = cns_sign(s->kit.identity, "consilium/1 journal head", &row.head, &row.head_signature);
  if (r == 0) r = cns_journal_round_set(s->journal, &row, problem);
  if (r == 0) r = cns_journal_sync(s->journal, problem);
  if (r == 0)
    cns_report(s, "ended", "round %" PRIu64 " attempt %u ended without a result: %s", replay->round,
               replay->attempt, reason + 1);
  return r;
}

static void go_on(struct cns_server *s, const struct replay *replay) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  enum cns_end end = cns_coordinator_end(s->machine);
  cns_report(s, "resumed", "going on with round %" PRIu64 " attempt %u in phase %s", d->round, d->attempt,
             cns_phase_name(cns_coordinator_phase(s->machine)));
  cns_report_verdicts(s);
  if (replay->lost.text[0] && (end == CNS_END_NONE || end == CNS_END_COMPLETED) &&
      cns_round_stop(s, CNS_END_STOPPED, replay->lost.text) < 0)
    return;
  end = cns_coordinator_end(s->machine);
  if (end == CNS_END_COMPLETED)
    cns_result_compute(s);
  else if (end != CNS_END_NONE)
    cns_result_fail(s);
  else if (cns_coordinator_is_undecided(s->machine))
    cns_round_judge(s);
  else
    cns_audit_sketch(s);
}

/* Vectors that no running round knows. */
struct sweep {
  struct cns_server *server;
  char keep[64];
};

static int sweep_file(void *context, const char *name) {
  struct sweep *sweep = context;
  struct cns_problem problem = {0};
  if (sweep->keep[0] && strncmp(name, sweep->keep, strlen(sweep->keep)) == 0) return 0;
  if (cns_vector_file_delete(sweep->server->vectors, name, &problem) < 0)
    cns_report(sweep->server, "error", "%s", problem.text);
  return 0;
}

/* Files that a crash left half made: they already have their full size. */
static void sweep_half_made(const struct cns_server *s) {
  static const char suffix[] = ".vector.new";
  struct dirent *entry;
  DIR *folder = opendir(s->vectors);
  while (folder && (entry = readdir(folder))) {
    size_t len = strlen(entry->d_name);
    if (len > strlen(suffix) && strcmp(entry->d_name + len - strlen(suffix), suffix) == 0)
      (void)unlinkat(dirfd(folder), entry->d_name, 0); /* a leftover only costs room */
  }
  if (folder) closedir(folder);
}

static int sweep_vectors(struct cns_server *s, struct cns_problem *problem) {
  struct sweep sweep = {.server = s};
  if (s->machine) {
    const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
    snprintf(sweep.keep, sizeof sweep.keep, "round-%llu-%u-", (unsigned long long)d->round, d->attempt);
  }
  sweep_half_made(s);
  return cns_vector_file_each(s->vectors, sweep_file, &sweep, problem);
}

static int replay_all(struct replay *replay) {
  struct cns_server *s = replay->server;
  struct cns_digest descriptor = {{0}};
  int r = cns_journal_round_each(s->journal, replay->round, find_state, replay, replay->problem);
  uint64_t from = replay->round > 1 && !replay->completed ? replay->round - 1 : replay->round;
  if (r == 0) r = cns_journal_replay(s->journal, from, 1, on_entry, replay, replay->problem);
  if (r == 0 && replay->stale) r = cns_descriptor_digest(&replay->past.descriptor, &descriptor);
  if (r == 0 && replay->stale) r = end_stale(s, replay, &descriptor, replay->problem);
  int ended = end_past(replay);
  if (r == 0) r = ended;
  if (r == 0 && s->machine) r = restore_uploads(s);
  return r;
}

int cns_replay(struct cns_server *s, struct cns_problem *problem) {
  struct replay replay = {.server = s, .problem = problem};
  int r = cns_journal_round_last(s->journal, &replay.round, &replay.attempt);
  if (r == CNS_ERR_NOT_FOUND) {
    cns_quarantine_publish(s);
    r = sweep_vectors(s, problem);
    return r < 0 ? r : cns_server_sweep_models(s, problem);
  }
  if (r == 0) r = replay_all(&replay);
  if (r == 0) r = sweep_vectors(s, problem);
  if (r == 0) r = cns_server_sweep_models(s, problem);
  if (r < 0) return r;
  if (s->completed)
    cns_report(s, "start", "the journal holds %" PRIu64 " of %u rounds", s->completed, s->plan.rounds);
  cns_quarantine_publish(s);
  cns_server_start_clocks(s); /* replaying may have taken longer than a grace */
  s->erase_due = true;
  cns_round_erase(s, replay.round, s->machine ? replay.attempt - 1 : replay.attempt);
  if (s->machine) go_on(s, &replay);
  return 0;
}
