/* SPDX-License-Identifier: Apache-2.0 */
/* Links with hospitals: joining, frames, the download of models. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "coordinator/server_internal.h"

struct cns_session *cns_session_of(struct cns_server *s, uint16_t index) {
  return index <= CNS_HOSPITALS_MAX ? s->by_index[index] : NULL;
}

int cns_session_position(const struct cns_server *s, const struct cns_session *session) {
  if (!s->machine) return -1;
  return cns_descriptor_position(&cns_coordinator_round(s->machine)->descriptor, session->hospital->index);
}

struct cns_session *cns_session_at(struct cns_server *s, size_t position) {
  return cns_session_of(s, cns_coordinator_round(s->machine)->descriptor.members[position].index);
}

void cns_session_send(struct cns_session *session, uint8_t type, const struct cns_writer *writer) {
  /* A link that is going down says so by on_closed; what is due is sent again
   * after the next JOIN. */
  if (!session->link) return;
  int r = cns_writer_finish(writer);
  if (r == 0) r = cns_link_send(session->link, type, writer->data, writer->len);
  if (r != 0 && r != CNS_ERR_CLOSED)
    cns_link_close(session->link, r == CNS_ERR_LIMIT
                                      ? "a message for this hospital is longer than a frame may be"
                                      : "a message for this hospital can't be made");
}

void cns_session_leave_out(struct cns_server *s, struct cns_session *session) {
  int position = cns_session_position(s, session);
  if (position < 0) return;
  s->uploads[position].declined = true;
  s->dirty = true; /* the phase may be over without it */
}

void cns_session_strike(struct cns_server *s, struct cns_session *session, const char *sentence) {
  session->strikes++;
  if (cns_report_allowed(s, &session->lines)) cns_report(s, "refused", "refused: %s", sentence);
  if (session->strikes != CNS_SERVER_STRIKES_MAX || cns_session_position(s, session) < 0) return;
  cns_report(s, "left_out", "hospital %s was refused %u times in this round: it goes on without it",
             session->hospital->name, session->strikes);
  cns_session_leave_out(s, session);
}

static void send_sentence(struct cns_session *session, uint8_t type, uint8_t code, const char *sentence) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_WIRE_SENTENCE_MAX + 16);
  cns_wire_write_notice(&writer, code, sentence);
  cns_session_send(session, type, &writer);
  cns_writer_deinit(&writer);
}

void cns_session_notice(struct cns_session *session, const char *fmt, ...) {
  char sentence[CNS_WIRE_SENTENCE_MAX];
  va_list args;
  va_start(args, fmt);
  vsnprintf(sentence, sizeof sentence, fmt, args);
  va_end(args);
  send_sentence(session, CNS_WIRE_NOTICE, 0, sentence);
}

void cns_session_over(struct cns_server *s, struct cns_session *session) {
  int error;
  const char *word = cns_server_end_word(s, &error);
  uint8_t code = error == CNS_ERR_STOPPED ? CNS_WIRE_OVER_STOPPED : CNS_WIRE_OVER_BUDGET;
  if (session->joined) send_sentence(session, CNS_WIRE_OVER, code, word);
}

void cns_session_send_manifest(struct cns_server *s, struct cns_session *session) {
  if (session->link && s->manifest)
    (void)!cns_link_send(session->link, CNS_WIRE_MANIFEST, s->manifest, s->manifest_len);
}

void cns_session_send_due(struct cns_server *s, struct cns_session *session) {
  int position = cns_session_position(s, session);
  struct cns_writer writer;
  if (position < 0 || !session->joined || s->job_running || s->uploads[position].declined) return;
  if (!cns_coordinator_awaits(s->machine, (size_t)position)) return;
  bool first = cns_coordinator_phase(s->machine) == CNS_PHASE_KEYS;
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  int r = first ? cns_coordinator_announcement(s->machine, &writer)
                : cns_coordinator_request(s->machine, (size_t)position, &writer);
  if (r == 0) cns_session_send(session, first ? CNS_WIRE_ANNOUNCE : CNS_WIRE_REQUEST, &writer);
  if (r < 0) {
    cns_report(s, "left_out", "hospital %s can't be asked in phase %s (%s): the round goes on without it",
               session->hospital->name, cns_phase_name(cns_coordinator_phase(s->machine)), cns_error_name(r));
    cns_session_leave_out(s, session);
  }
  cns_writer_deinit(&writer);
}

/* ---- download of the current model ---- */

static void pump_model(struct cns_server *s, struct cns_session *session) {
  uint8_t header[CNS_WIRE_MODEL_HEADER_BYTES];
  while (session->streaming && session->link) {
    size_t left = s->model_len - (size_t)session->stream_at;
    size_t piece = left < CNS_WIRE_MODEL_PIECE ? left : CNS_WIRE_MODEL_PIECE;
    cns_wire_model_header(&s->model, session->stream_at, s->model_len, header);
    struct cns_part parts[2] = {{header, sizeof header}, {s->model_bytes + session->stream_at, piece}};
    if (cns_link_send_parts(session->link, CNS_WIRE_MODEL, parts, 2) != 0) return; /* on_writable goes on */
    session->stream_at += piece;
    session->streaming = session->stream_at < s->model_len;
  }
}

static void take_model_get(struct cns_server *s, struct cns_session *session, const uint8_t *data,
                           size_t len) {
  struct cns_digest digest;
  uint64_t offset;
  if (cns_wire_read_digest_u64(data, len, &digest, &offset) < 0) {
    cns_link_close(session->link, "a malformed request for a model");
    return;
  }
  if (!cns_digest_equal(&digest, &s->model) || offset >= s->model_len) {
    cns_session_notice(session, "the model asked for is not the present one");
    return;
  }
  session->streaming = true;
  session->stream_at = offset;
  pump_model(s, session);
}

/* ---- joining ---- */

static int check_consent(const struct cns_server *s, const struct cns_session *session,
                         const struct cns_consent *consent, struct cns_problem *problem) {
  if (consent->index != session->hospital->index)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the consent is another hospital's");
  if (strcmp(consent->consortium, s->kit.roster.consortium) != 0 || strcmp(consent->study, s->plan.name) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the consent is for study \"%s\", this is \"%s\"",
                           consent->study, s->plan.name);
  if (!cns_digest_equal(&consent->plan, &s->kit.study_document.digest))
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the consent is for another version of the study file: run `consilium consent` with "
        "the present one");
  return 0;
}

static void take_join(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_reader reader;
  struct cns_consent consent;
  struct cns_problem problem = {0};
  size_t consent_len = 0;
  if (session->joined) { /* each would be answered with all that is due */
    cns_link_close(session->link, "JOIN comes once on a connection");
    return;
  }
  cns_reader_init(&reader, data, len);
  uint64_t round = cns_read_u64(&reader), roster_version = cns_read_u64(&reader);
  const uint8_t *bytes = cns_read_blob(&reader, CNS_JSON_BYTES_MAX, &consent_len);
  int r = cns_reader_finish(&reader);
  if (r < 0)
    cns_problem_set(&problem, r, "a malformed JOIN");
  else
    r = cns_consent_open(bytes, consent_len, "consent", &s->kit.roster, &consent, &problem);
  if (r == 0) r = check_consent(s, session, &consent, &problem);
  if (r < 0) {
    if (cns_report_allowed(s, &session->lines))
      cns_report(s, "refused", "hospital %s is turned away: %s", session->hospital->name, problem.text);
    cns_link_close(session->link, problem.text);
    return;
  }
  session->patients = consent.patients;
  session->joined = session->seen = true;
  session->joined_ms = cns_server_now(s);
  session->brought_chunk = false;
  cns_reload_send(s, session, roster_version);
  if (round < s->completed) cns_session_send_manifest(s, session);
  cns_budget_greet(s, session);
  cns_abandoning_ask(s, session);
  cns_pause_greet(s, session);
  cns_session_send_due(s, session);
}

/* ---- callbacks ---- */

static void send_time(struct cns_session *session) {
  struct cns_writer writer;
  cns_writer_init(&writer, 16);
  cns_wire_write_time(&writer, (int64_t)time(NULL));
  cns_session_send(session, CNS_WIRE_TIME, &writer);
  cns_writer_deinit(&writer);
}

static void on_open(void *context, struct cns_link *link, const struct cns_peer *peer) {
  struct cns_server *s = context;
  struct cns_session *session = cns_session_of(s, peer->index);
  if (!session) {
    cns_link_close(link, "not in the roster");
    return;
  }
  session->link = link;
  session->joined = false;
  session->streaming = false;
  session->base_in = session->base_out = 0;
  cns_link_set_user(link, session);
  if (cns_report_allowed(s, &session->lines))
    cns_report(s, "connected", "hospital %s is connected from %s (%s)", session->hospital->name,
               cns_link_remote(link), cns_link_peer_software(link));
  send_time(session);
}

static void take_decline(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_wire_word word;
  int position = cns_session_position(s, session);
  if (cns_wire_read_word(data, len, &word) < 0) {
    cns_link_close(session->link, "a malformed DECLINE");
    return;
  }
  if (position < 0 || !cns_digest_equal(&word.round, &cns_coordinator_round(s->machine)->digest)) return;
  if (s->uploads[position].declined) return;
  cns_session_leave_out(s, session);
  cns_report(s, "declined", "hospital %s takes no part in this round any more: %s", session->hospital->name,
             word.sentence);
}

static void on_frame(void *context, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len) {
  struct cns_server *s = context;
  struct cns_session *session = cns_link_user(link);
  if (!session || session->link != link || s->stopping) return;
  if (!session->joined && type != CNS_WIRE_JOIN) {
    cns_link_close(link, "JOIN must come first");
    return;
  }
  if (session->strikes >= CNS_SERVER_STRIKES_MAX && (type == CNS_WIRE_ANSWER || type == CNS_WIRE_CHUNK)) {
    if (cns_frame_is_bulk(type)) cns_link_consumed(link, len);
    return; /* not worth a signature check any more */
  }
  switch (type) {
  case CNS_WIRE_JOIN:
    take_join(s, session, data, len);
    return;
  case CNS_WIRE_ANSWER:
    cns_round_answer(s, session, data, len);
    return;
  case CNS_WIRE_DECLINE:
    take_decline(s, session, data, len);
    return;
  case CNS_WIRE_UPLOAD_OPEN:
    cns_upload_open(s, session, data, len);
    return;
  case CNS_WIRE_CHUNK:
    cns_upload_chunk(s, session, data, len);
    if (session->link) cns_link_consumed(session->link, len);
    return;
  case CNS_WIRE_MODEL_GET:
    take_model_get(s, session, data, len);
    return;
  case CNS_WIRE_LEDGER:
    cns_budget_shown(s, session, data, len);
    return;
  case CNS_WIRE_ABANDON:
    cns_abandoning_take(s, session, data, len);
    return;
  default:
    cns_link_close(link, "a frame of a type that this coordinator doesn't know");
  }
}

static void on_writable(void *context, struct cns_link *link) {
  struct cns_session *session = cns_link_user(link);
  if (session && session->link == link) pump_model(context, session);
}

static void on_closed(void *context, struct cns_link *link, int error, const char *sentence) {
  struct cns_server *s = context;
  struct cns_session *session = cns_link_user(link);
  if (!session || session->link != link) return;
  struct cns_link_counters counters = cns_link_counters(link);
  session->bytes_in += counters.bytes_in - session->base_in;
  session->bytes_out += counters.bytes_out - session->base_out;
  session->link = NULL;
  /* One that comes and goes all the time is not waited for anew each time, but
   * an upload that gets on over a bad line is. */
  uint64_t now = cns_server_now(s);
  bool lasted = session->brought_chunk || now - session->joined_ms >= CNS_SERVER_GRACE_MS;
  if (session->joined && (lasted || now - session->gone_since_ms >= CNS_SERVER_NEEDED_GRACE_MS))
    session->gone_since_ms = now;
  session->joined = session->streaming = false;
  if (cns_report_allowed(s, &session->lines))
    cns_report(s, "disconnected", "hospital %s is gone: %s", session->hospital->name, sentence);
}

static void on_refused(void *context, const char *remote, const char *sentence) {
  struct cns_server *s = context;
  if (cns_report_allowed(s, &s->strangers))
    cns_report(s, "refused", "refused a connection from %s: %s", remote, sentence);
}

struct cns_link_callbacks cns_session_callbacks(struct cns_server *s) {
  return (struct cns_link_callbacks){
      .context = s,
      .on_open = on_open,
      .on_frame = on_frame,
      .on_writable = on_writable,
      .on_closed = on_closed,
      .on_refused = on_refused,
  };
}
