/* SPDX-License-Identifier: Apache-2.0 */
/* Restart: the same calls again, from the journal. docs/architecture.md, "Journal". */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/server_internal.h"

struct replay {
  struct cns_server *server;
  uint64_t round; /* the last one in the table of rounds */
  uint32_t attempt;
  bool running;
  struct cns_problem *problem;
};

static int replay_begin(struct cns_server *s, const struct cns_journal_entry *entry, bool running,
                        struct cns_problem *problem) {
  struct cns_descriptor descriptor;
  int r = cns_descriptor_read(entry->body, entry->body_len, &descriptor);
  if (r == 0) {
    s->last_attempt = descriptor.attempt;
    r = running ? cns_round_open(s, &descriptor, problem) : 0;
    cns_descriptor_deinit(&descriptor);
  }
  return r;
}

static int replay_answer(struct cns_server *s, const struct cns_journal_entry *entry,
                         struct cns_problem *problem) {
  const uint8_t *answer = entry->body;
  size_t len = entry->body_len;
  struct cns_digest root;
  const struct cns_digest *upload_root = NULL;
  int position = cns_descriptor_position(&cns_coordinator_round(s->machine)->descriptor, entry->index);
  if (position < 0 || !answer) return CNS_ERR_FORMAT;
  if (entry->kind == CNS_ENTRY_UPLOAD) {
    if (len < CNS_DIGEST_BYTES) return CNS_ERR_FORMAT;
    memcpy(root.bytes, answer, CNS_DIGEST_BYTES);
    upload_root = &root;
    answer += CNS_DIGEST_BYTES;
    len -= CNS_DIGEST_BYTES;
    uint64_t words = cns_descriptor_words(&cns_coordinator_round(s->machine)->descriptor);
    int r = cns_upload_restore(s, (size_t)position, cns_chunk_count(words), problem);
    if (r < 0) return r;
    struct cns_digest held;
    r = cns_upload_finish(s, (size_t)position, &held, problem);
    if (r < 0) return r;
    if (!cns_digest_equal(&held, &root))
      return cns_problem_set(
          problem, CNS_ERR_FORMAT,
          "the stored upload of hospital %u isn't the one in the journal: restore the state "
          "folder, or remove it to begin the study again",
          entry->index);
  }
  int r = cns_coordinator_receive(s->machine, (size_t)position, answer, len, upload_root, problem);
  return r < 0 ? r : 0;
}

static int replay_chunks(struct cns_server *s, const struct cns_journal_entry *entry,
                         struct cns_problem *problem) {
  struct cns_reader reader;
  int position = cns_descriptor_position(&cns_coordinator_round(s->machine)->descriptor, entry->index);
  cns_reader_init(&reader, entry->body, entry->body_len);
  uint64_t next = cns_read_u64(&reader);
  if (position < 0 || cns_reader_finish(&reader) < 0) return CNS_ERR_FORMAT;
  return cns_upload_restore(s, (size_t)position, next, problem);
}

static int replay_stop(struct cns_server *s, const struct cns_journal_entry *entry) {
  char reason[256];
  if (!entry->body || entry->body_len < 1) return CNS_ERR_FORMAT;
  snprintf(reason, sizeof reason, "%.*s", (int)(entry->body_len - 1), (const char *)entry->body + 1);
  cns_coordinator_stop(s->machine, (enum cns_end)entry->body[0], reason);
  return 0;
}

static int replay_entry(struct replay *replay, const struct cns_journal_entry *entry) {
  struct cns_server *s = replay->server;
  bool last = entry->round == replay->round && entry->attempt == replay->attempt;
  if (entry->kind == CNS_ENTRY_RESULT)
    return cns_result_adopt(s, entry->body, entry->body_len, replay->problem);
  if (!last) return 0;
  if (entry->kind == CNS_ENTRY_BEGIN) return replay_begin(s, entry, replay->running, replay->problem);
  if (!s->machine) return 0;
  switch (entry->kind) {
  case CNS_ENTRY_ANSWER:
  case CNS_ENTRY_SHARES:
  case CNS_ENTRY_UPLOAD:
    return replay_answer(s, entry, replay->problem);
  case CNS_ENTRY_CHUNKS:
    return replay_chunks(s, entry, replay->problem);
  case CNS_ENTRY_CLOSE:
    return cns_coordinator_close(s->machine, replay->problem);
  case CNS_ENTRY_STOP:
    return replay_stop(s, entry);
  case CNS_ENTRY_SIGNED:
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
  if (round->round == replay->round && round->attempt == replay->attempt)
    replay->running = round->state == CNS_JOURNAL_ROUND_RUNNING;
  return 0;
}

/* Documents may have changed while the daemon was down: a round under the old
 * ones can't be gone on with. */
static bool documents_changed(const struct cns_server *s) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  return !cns_digest_equal(&d->roster, &s->kit.roster.digest) ||
         !cns_digest_equal(&d->policy, &s->kit.policy.digest) ||
         !cns_digest_equal(&d->plan, &s->kit.study_document.digest);
}

static void go_on(struct cns_server *s) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  cns_report(s, "going on with round %" PRIu64 " attempt %u in phase %s", d->round, d->attempt,
             cns_phase_name(cns_coordinator_phase(s->machine)));
  if (cns_coordinator_end(s->machine) == CNS_END_NONE && documents_changed(s))
    cns_round_stop(s, CNS_END_STOPPED, "roster, policy or study changed while the coordinator was down");
  if (cns_coordinator_end(s->machine) == CNS_END_COMPLETED)
    cns_result_compute(s);
  else if (cns_coordinator_end(s->machine) != CNS_END_NONE)
    cns_result_fail(s);
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
    cns_report(sweep->server, "%s", problem.text);
  return 0;
}

static int sweep_vectors(struct cns_server *s, struct cns_problem *problem) {
  struct sweep sweep = {.server = s};
  if (s->machine) {
    const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
    snprintf(sweep.keep, sizeof sweep.keep, "round-%llu-%u-", (unsigned long long)d->round, d->attempt);
  }
  return cns_vector_file_each(s->vectors, sweep_file, &sweep, problem);
}

int cns_replay(struct cns_server *s, struct cns_problem *problem) {
  struct replay replay = {.server = s, .problem = problem};
  int r = cns_journal_round_last(s->journal, &replay.round, &replay.attempt);
  if (r == CNS_ERR_NOT_FOUND) return sweep_vectors(s, problem);
  if (r == 0) r = cns_journal_round_each(s->journal, replay.round, find_state, &replay, problem);
  uint64_t from = replay.round > 1 ? replay.round - 1 : 1;
  if (r == 0) r = cns_journal_replay(s->journal, from, 1, on_entry, &replay, problem);
  if (r == 0) r = sweep_vectors(s, problem);
  if (r < 0) return r;
  if (s->completed) cns_report(s, "the journal holds %" PRIu64 " of %u rounds", s->completed, s->plan.rounds);
  if (s->machine)
    go_on(s);
  else
    cns_round_erase(s, replay.round, replay.attempt);
  return 0;
}
