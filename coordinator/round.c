/* SPDX-License-Identifier: Apache-2.0 */
/* The running round: accept, write down, sync, act. docs/architecture.md, "Journal". */
#include <stdlib.h>
#include <string.h>

#include "coordinator/server_internal.h"

int cns_server_append(struct cns_server *s, enum cns_server_entry kind, enum cns_phase phase, uint16_t index,
                      const uint8_t *body, size_t len, struct cns_problem *problem) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  struct cns_journal_entry entry = {
      .kind = (uint8_t)kind,
      .round = d->round,
      .attempt = d->attempt,
      .phase = (uint8_t)phase,
      .index = index,
      .body = body,
      .body_len = len,
  };
  int r = cns_journal_append(s->journal, &entry, problem);
  if (r == 0) s->dirty = true;
  return r;
}

/* The journal can't be written: what memory holds since the last sync isn't
 * written down, so nothing may follow from it. The daemon ends and a restart
 * goes on from the journal. */
void cns_round_journal_failed(struct cns_server *s, int error, struct cns_problem *problem) {
  cns_problem_prefix(problem, error,
                     "the journal can't be written, so nothing more is accepted; make room or mend the "
                     "disk and start the coordinator again, the round goes on from there");
  cns_server_fatal(s, error, problem);
}

int cns_round_open(struct cns_server *s, const struct cns_descriptor *descriptor,
                   struct cns_problem *problem) {
  struct cns_coordinator_config config = {
      .roster = &s->kit.roster,
      .policy = &s->kit.policy,
      .identity = s->kit.identity,
      .parallel = cns_parallel_threads(),
      .nonce = descriptor->audit_level == CNS_AUDIT_NONE ? NULL : s->nonce,
  };
  s->uploads = calloc(descriptor->member_count, sizeof *s->uploads);
  if (!s->uploads) return CNS_ERR_MEMORY;
  int r = cns_coordinator_begin(&config, descriptor, &s->machine, problem);
  if (r < 0) {
    free(s->uploads);
    s->uploads = NULL;
  }
  s->last_attempt = descriptor->attempt;
  s->verdicts_said = 0;
  s->round_started_ms = s->phase_started_ms = cns_server_now(s);
  memset(s->last_answer_ms, 0, sizeof s->last_answer_ms);
  memset(s->enough_answers_ms, 0, sizeof s->enough_answers_ms);
  memset(s->answers, 0, sizeof s->answers);
  for (size_t k = 0; k < s->session_count; k++)
    s->sessions[k].strikes = 0;
  return r;
}

static int mark_running(struct cns_server *s, struct cns_problem *problem) {
  const struct cns_round *round = cns_coordinator_round(s->machine);
  struct cns_journal_round row = {
      .round = round->descriptor.round,
      .attempt = round->descriptor.attempt,
      .state = CNS_JOURNAL_ROUND_RUNNING,
      .descriptor = round->digest,
  };
  return cns_journal_round_set(s->journal, &row, problem);
}

static void reset_traffic(struct cns_server *s) {
  for (size_t k = 0; k < s->session_count; k++) {
    struct cns_session *session = &s->sessions[k];
    session->bytes_in = session->bytes_out = 0;
    if (!session->link) continue;
    struct cns_link_counters counters = cns_link_counters(session->link);
    session->base_in = counters.bytes_in;
    session->base_out = counters.bytes_out;
  }
}

static void send_requests(struct cns_server *s) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  for (size_t k = 0; k < d->member_count; k++)
    cns_session_send_due(s, cns_session_at(s, k));
}

int cns_round_start(struct cns_server *s, const struct cns_descriptor *descriptor,
                    struct cns_problem *problem) {
  struct cns_writer body;
  int r = cns_round_open(s, descriptor, problem);
  if (r < 0) return r;
  cns_writer_init(&body, CNS_DESCRIPTOR_BYTES_MAX);
  cns_descriptor_write(&body, descriptor);
  r = cns_writer_finish(&body);
  if (r == 0 && descriptor->audit_level != CNS_AUDIT_NONE)
    r = cns_server_append(s, CNS_ENTRY_NONCE, CNS_PHASE_NONE, 0, s->nonce, sizeof s->nonce, problem);
  /* A replay begins one round back at the most. */
  if (r == 0 && !cns_watch_is_empty(s->watch)) r = cns_audit_append_watch(s, problem);
  if (r == 0) r = cns_server_append(s, CNS_ENTRY_BEGIN, CNS_PHASE_NONE, 0, body.data, body.len, problem);
  cns_writer_deinit(&body);
  if (r == 0) r = mark_running(s, problem);
  if (r == 0) r = cns_journal_sync(s->journal, problem);
  if (r < 0) {
    cns_round_journal_failed(s, r, problem);
    return r;
  }
  cns_report(s, "begin", "round %llu attempt %u begins: %u hospitals, threshold %u%s",
             (unsigned long long)descriptor->round, descriptor->attempt, descriptor->member_count,
             descriptor->threshold, descriptor->audit_level == CNS_AUDIT_NONE ? "" : ", audited");
  reset_traffic(s);
  send_requests(s);
  return 0;
}

/* ---- answers ---- */

/* Leaves for single recipients, or for the coordinator alone, don't stay. */
static bool has_leaves(enum cns_phase phase) {
  return phase == CNS_PHASE_SHARES || phase == CNS_PHASE_AUDIT || phase == CNS_PHASE_DISPUTE;
}

static int journal_leaves(struct cns_server *s, enum cns_phase phase, uint16_t index, const uint8_t *data,
                          size_t len, struct cns_problem *problem) {
  struct cns_reader reader;
  struct cns_message message = {0};
  cns_reader_init(&reader, data, len);
  cns_message_read(&reader, &message); /* was accepted, so it can be read */
  int r = cns_server_append(s, CNS_ENTRY_SIGNED, phase, index, data, reader.at, problem);
  if (r == 0) r = cns_server_append(s, CNS_ENTRY_SHARES, phase, index, data, len, problem);
  return r;
}

static int journal_answer(struct cns_server *s, enum cns_phase phase, uint16_t index, const uint8_t *data,
                          size_t len, const struct cns_digest *root, struct cns_problem *problem) {
  if (has_leaves(phase)) return journal_leaves(s, phase, index, data, len, problem);
  if (!root) return cns_server_append(s, CNS_ENTRY_ANSWER, phase, index, data, len, problem);
  uint8_t *body = malloc(CNS_DIGEST_BYTES + len);
  if (!body) return CNS_ERR_MEMORY;
  memcpy(body, root->bytes, CNS_DIGEST_BYTES);
  memcpy(body + CNS_DIGEST_BYTES, data, len);
  int r = cns_server_append(s, CNS_ENTRY_UPLOAD, phase, index, body, CNS_DIGEST_BYTES + len, problem);
  free(body);
  return r;
}

static void refuse_answer(struct cns_server *s, struct cns_session *session, enum cns_phase phase,
                          const char *sentence) {
  struct cns_writer writer;
  cns_session_strike(s, session, sentence);
  cns_writer_init(&writer, CNS_WIRE_SENTENCE_MAX + 16);
  cns_wire_write_notice(&writer, (uint8_t)phase, sentence);
  cns_session_send(session, CNS_WIRE_REFUSED, &writer);
  cns_writer_deinit(&writer);
}

/* One that was under way when its round ended is nobody's fault. */
static bool of_another_round(const struct cns_server *s, const uint8_t *data, size_t len) {
  struct cns_reader reader;
  struct cns_message message = {0};
  cns_reader_init(&reader, data, len);
  cns_message_read(&reader, &message);
  return !reader.error && !cns_digest_equal(&message.round, &cns_coordinator_round(s->machine)->digest);
}

/* Refused, with proof against its sender: what the machine remembers of it must
 * be in the journal too, once a verdict. */
static void answer_names(struct cns_server *s, size_t position, enum cns_phase phase, const uint8_t *data,
                         size_t len, size_t verdicts_before) {
  struct cns_problem problem = {0};
  size_t verdicts;
  uint16_t index = cns_coordinator_round(s->machine)->descriptor.members[position].index;
  (void)cns_coordinator_verdicts(s->machine, &verdicts);
  int r = verdicts == verdicts_before
              ? 0
              : cns_server_append(s, CNS_ENTRY_NAMED, phase, index, data, len, &problem);
  if (r < 0)
    cns_round_journal_failed(s, r, &problem);
  else
    cns_report_verdicts(s);
}

/* An honest hospital's answer is refused again if it comes again: it is out of
 * the round, and the others needn't wait for it. */
static void answer_refused(struct cns_server *s, struct cns_session *session, enum cns_phase phase, int error,
                           const struct cns_problem *problem) {
  if (error == CNS_ERR_MEMORY) {
    cns_link_close(session->link, "no memory for an answer");
    return;
  }
  refuse_answer(s, session, phase, problem->text);
  cns_session_leave_out(s, session);
}

void cns_round_answer(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_digest root;
  const struct cns_digest *upload_root = NULL;
  size_t verdicts;
  int position = cns_session_position(s, session);
  /* While a closing is computed an answer can only be late or known. */
  if (position < 0 || s->job_running || of_another_round(s, data, len)) return;
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  (void)cns_coordinator_verdicts(s->machine, &verdicts);
  if (phase == CNS_PHASE_UPLOAD && cns_coordinator_awaits(s->machine, (size_t)position)) {
    int finished = cns_upload_finish(s, (size_t)position, &root, &problem);
    if (finished == 0) upload_root = &root;
    if (finished < 0 && finished != CNS_ERR_STATE) {
      cns_upload_give_up(s, session, &problem);
      return;
    }
  }
  int r = cns_coordinator_receive(s->machine, (size_t)position, data, len, upload_root, &problem);
  if (r == 0) {
    r = journal_answer(s, phase, session->hospital->index, data, len, upload_root, &problem);
    if (r < 0) {
      cns_round_journal_failed(s, r, &problem);
      return;
    }
    cns_schedule_answered(s, phase);
    if (phase == CNS_PHASE_UPLOAD) s->uploads[position].receipt_due = true;
  } else if (r == CNS_ANSWER_KNOWN && phase == CNS_PHASE_UPLOAD)
    s->uploads[position].receipt_due = s->dirty = true;
  else if (r == CNS_ANSWER_NAMED) {
    answer_refused(s, session, phase, r, &problem);
    answer_names(s, (size_t)position, phase, data, len, verdicts);
  } else if (r < 0)
    answer_refused(s, session, phase, r, &problem);
}

/* ---- acting on what is synced ---- */

static void send_receipts(struct cns_server *s) {
  const struct cns_round *round = cns_coordinator_round(s->machine);
  for (size_t k = 0; k < round->descriptor.member_count; k++) {
    struct cns_signature signature;
    struct cns_writer writer;
    if (!s->uploads[k].receipt_due) continue;
    s->uploads[k].receipt_due = false;
    if (cns_coordinator_receipt(s->machine, k, &signature) < 0) continue;
    cns_writer_init(&writer, 128);
    cns_wire_write_signed(&writer, &round->digest, &signature);
    cns_session_send(cns_session_at(s, k), CNS_WIRE_RECEIPT, &writer);
    cns_writer_deinit(&writer);
  }
}

struct closing_job {
  uv_work_t work;
  struct cns_server *server;
  enum cns_phase phase; /* that is closed; CNS_PHASE_NONE: only the decision is missing */
  size_t verdicts_before;
  struct cns_judgement *judgement;
  int result;
  struct cns_problem problem;
};

static void compute_closing(uv_work_t *work) {
  struct closing_job *job = work->data;
  const struct cns_server *s = job->server;
  if (job->phase != CNS_PHASE_NONE) job->result = cns_coordinator_close(s->machine, &job->problem);
  if (job->result == 0 && cns_coordinator_is_undecided(s->machine))
    job->result =
        cns_judge_round(s->machine, &s->kit.policy, &s->kit.roster, s->watch, &job->judgement, &job->problem);
}

static void go_on(struct cns_server *s) {
  s->phase_started_ms = cns_server_now(s);
  cns_report_verdicts(s);
  if (cns_coordinator_end(s->machine) == CNS_END_COMPLETED)
    cns_result_compute(s);
  else if (cns_coordinator_end(s->machine) != CNS_END_NONE)
    cns_result_fail(s);
  else {
    struct cns_problem problem = {0};
    int r = cns_budget_charge(s, &problem);
    if (r < 0) {
      cns_server_fatal(s, r, &problem);
      return;
    }
    send_requests(s);
    cns_audit_sketch(s);
  }
}

static void closing_is_done(uv_work_t *work, int status) {
  struct closing_job *job = work->data;
  struct cns_server *s = job->server;
  struct cns_problem problem = job->problem;
  int r = job->result;
  (void)status;
  s->job_running = false;
  if (s->stopping)
    cns_judgement_free(job->judgement);
  else if (r < 0) {
    if (!problem.text[0]) cns_problem_set(&problem, r, "a phase can't be closed (%s)", cns_error_name(r));
    cns_server_fatal(s, r, &problem);
  } else if (cns_audit_closed(s, job->phase, job->verdicts_before, job->judgement, &problem) == 0)
    go_on(s);
  free(job);
}

/* Heavy (degree tests, rebuilding secrets, detection), so it runs on the worker
 * pool; the machine belongs to it until it's done. */
static void queue_closing(struct cns_server *s, struct closing_job *job, enum cns_phase phase) {
  job->work.data = job;
  job->server = s;
  job->phase = phase;
  (void)cns_coordinator_verdicts(s->machine, &job->verdicts_before);
  s->job_running = true;
  if (uv_queue_work(&s->loop, &job->work, compute_closing, closing_is_done) < 0) abort();
}

static void start_closing(struct cns_server *s) {
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  struct cns_problem problem = {0};
  struct closing_job *job = calloc(1, sizeof *job);
  int r = job ? cns_server_append(s, CNS_ENTRY_CLOSE, phase, 0, NULL, 0, &problem) : CNS_ERR_MEMORY;
  if (r == 0) r = cns_journal_sync(s->journal, &problem);
  if (r < 0) {
    free(job);
    cns_round_journal_failed(s, r, &problem);
    return;
  }
  s->dirty = false;
  queue_closing(s, job, phase);
}

void cns_round_judge(struct cns_server *s) {
  struct closing_job *job = calloc(1, sizeof *job);
  const struct cns_problem problem = {.text = "no memory to decide whom the audit leaves out"};
  if (job)
    queue_closing(s, job, CNS_PHASE_NONE);
  else
    cns_server_fatal(s, CNS_ERR_MEMORY, &problem);
}

void cns_round_advance(struct cns_server *s) {
  struct cns_problem problem = {0};
  if (s->job_running) return; /* the journal is synced when it ends; nothing was sent meanwhile */
  s->dirty = false;
  int r = cns_journal_sync(s->journal, &problem);
  if (r < 0) {
    cns_round_journal_failed(s, r, &problem);
    return;
  }
  if (!s->machine) return;
  send_receipts(s);
  if (cns_coordinator_end(s->machine) == CNS_END_NONE && cns_schedule_phase_is_over(s)) start_closing(s);
}

int cns_round_stop(struct cns_server *s, enum cns_end end, const char *reason) {
  struct cns_problem problem = {0};
  size_t len = strlen(reason);
  uint8_t *body = malloc(1 + len);
  int r = body ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    body[0] = (uint8_t)end;
    memcpy(body + 1, reason, len);
    r = cns_server_append(s, CNS_ENTRY_STOP, cns_coordinator_phase(s->machine), 0, body, 1 + len, &problem);
  }
  free(body);
  if (r < 0)
    cns_round_journal_failed(s, r, &problem);
  else
    cns_coordinator_stop(s->machine, end, reason);
  return r;
}

void cns_round_erase(struct cns_server *s, uint64_t round, uint32_t attempt) {
  struct cns_problem problem = {0};
  static const uint8_t kinds[] = {CNS_ENTRY_SHARES, CNS_ENTRY_NAMED, CNS_ENTRY_SKETCH};
  int r = 0;
  for (size_t k = 0; r == 0 && k < sizeof kinds; k++)
    r = s->erase_due ? cns_journal_erase_bodies_until(s->journal, round, attempt, kinds[k], &problem)
                     : cns_journal_erase_bodies(s->journal, round, attempt, kinds[k], &problem);
  s->erase_due = r < 0;
  s->erase_tried_ms = cns_server_now(s);
  if (r < 0)
    cns_report(s, "error", "ciphertexts of finished rounds can't be erased yet, which is tried again: %s",
               problem.text);
}

void cns_round_tidy(struct cns_server *s) {
  if (s->erase_due && cns_server_now(s) - s->erase_tried_ms >= CNS_SERVER_ERASE_PAUSE_MS)
    cns_round_erase(s, s->completed + 1, s->last_attempt);
  cns_round_advance(s);
}

void cns_round_free(struct cns_server *s, bool delete_files) {
  cns_uploads_close(s, delete_files);
  cns_running_drop(s);
  free(s->uploads);
  s->uploads = NULL;
  s->judgement = cns_judgement_free(s->judgement);
  s->machine = cns_coordinator_free(s->machine);
}
