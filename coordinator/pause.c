/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operator's order in the state folder: no round begins, or none ever again. It
 * is looked for at each tick, so that it needs no signal and holds over a restart.
 * A stop is in the journal before anybody is told: taking the file away undoes
 * nothing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "coordinator/server_internal.h"

const char *cns_server_end_word(const struct cns_server *s, int *ret_error) {
  bool stopped = s->stopped.text[0];
  if (ret_error) *ret_error = stopped ? CNS_ERR_STOPPED : CNS_ERR_BUDGET;
  return stopped ? s->stopped.text : s->budget_spent.text;
}

bool cns_pause_holds(const struct cns_server *s) {
  return s->pause.state != CNS_PAUSE_NONE;
}

static void send_pause(struct cns_server *s, struct cns_session *session) {
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_PAUSE_REASON_MAX + 16);
  cns_pause_write(&writer, &s->pause);
  cns_session_send(session, CNS_WIRE_PAUSED, &writer);
  cns_writer_deinit(&writer);
}

void cns_pause_greet(struct cns_server *s, struct cns_session *session) {
  if (s->said_finished && s->completed < s->plan.rounds)
    cns_session_over(s, session);
  else if (s->pause.state == CNS_PAUSE_PAUSED)
    send_pause(s, session);
}

/* Has the file come, gone or been replaced since it was last read, or couldn't it be? */
static bool is_new(const struct cns_server *s, struct stat *ret_info) {
  char *path = cns_kit_path(s->kit.config.state_path, CNS_PAUSE_FILE);
  if (!path || stat(path, ret_info) != 0) *ret_info = (struct stat){0};
  free(path);
  return s->pause_unreadable || ret_info->st_ino != s->pause_inode ||
         ret_info->st_mtim.tv_sec != s->pause_read.tv_sec ||
         ret_info->st_mtim.tv_nsec != s->pause_read.tv_nsec;
}

/* What can't be read might be a stop: nothing begins until it can. Said once; read again at the next tick. */
static void cannot_read(struct cns_server *s, const struct cns_problem *problem,
                        struct cns_pause *ret_pause) {
  *ret_pause = (struct cns_pause){.state = CNS_PAUSE_PAUSED,
                                  .since = (int64_t)time(NULL),
                                  .reason = "the coordinator can't read its operator's order"};
  cns_report(s, "error", "whether the study is paused can't be told, and no round begins meanwhile: %s",
             problem->text);
}

static void say(struct cns_server *s) {
  char text[CNS_PAUSE_SENTENCE_MAX];
  const char *then = s->machine ? "; the running round goes on to its end" : "";
  cns_pause_describe(&s->pause, text);
  if (s->pause.state == CNS_PAUSE_NONE)
    cns_report(s, "resumed", "the study isn't paused any more");
  else if (s->pause.state == CNS_PAUSE_STOPPED)
    cns_report(s, "stop", "the study is %s; it is over for good%s", text, then);
  else
    cns_report(s, "paused", "the study is %s; no round begins until \"consilium resume\"%s", text, then);
}

void cns_pause_look(struct cns_server *s) {
  struct cns_pause pause;
  struct cns_problem problem = {0};
  struct stat info;
  if (s->stopped.text[0] || !is_new(s, &info)) return;
  bool known = cns_pause_load(s->kit.config.state_path, CNS_PAUSE_FILE, &pause, &problem) == 0;
  if (!known && s->pause_unreadable) return;
  s->pause_unreadable = !known;
  if (known) {
    s->pause_inode = info.st_ino;
    s->pause_read = info.st_mtim;
  } else {
    cannot_read(s, &problem, &pause);
  }
  if (pause.state == CNS_PAUSE_NONE && s->pause.state == CNS_PAUSE_NONE) return;
  s->pause = pause;
  if (pause.state == CNS_PAUSE_STOPPED && s->completed >= s->plan.rounds) {
    cns_report(s, "stop", "the study is finished: there is nothing to stop");
    return;
  }
  say(s);
  s->waiting_since_ms = cns_server_now(s);
  for (size_t k = 0; k < s->session_count && pause.state != CNS_PAUSE_STOPPED; k++)
    if (s->sessions[k].joined) send_pause(s, &s->sessions[k]);
}

/* ---- a stop ---- */

static void adopt_stop(struct cns_server *s, const struct cns_pause *pause) {
  char text[CNS_PAUSE_SENTENCE_MAX];
  s->pause = *pause;
  cns_pause_describe(pause, text);
  cns_problem_set(&s->stopped, 0, "the operator of the coordinator has the study %s", text);
}

static int journal_stop(struct cns_server *s, struct cns_problem *problem) {
  struct cns_writer body;
  cns_writer_init(&body, CNS_PAUSE_REASON_MAX + 16);
  cns_pause_write(&body, &s->pause);
  int r = cns_writer_finish(&body);
  const struct cns_journal_entry entry = {.kind = CNS_ENTRY_OVER,
                                          .round = s->completed + 1,
                                          .attempt = s->last_attempt + 1,
                                          .phase = CNS_PHASE_NONE,
                                          .body = body.data,
                                          .body_len = body.len};
  if (r == 0) r = cns_journal_append(s->journal, &entry, problem);
  if (r == 0) r = cns_journal_sync(s->journal, problem);
  cns_writer_deinit(&body);
  return r;
}

void cns_pause_take_stop(struct cns_server *s) {
  struct cns_problem problem = {0};
  if (s->pause.state != CNS_PAUSE_STOPPED || s->stopped.text[0] || s->completed >= s->plan.rounds) return;
  int r = journal_stop(s, &problem);
  if (r < 0) {
    cns_round_journal_failed(s, r, &problem);
    return;
  }
  adopt_stop(s, &s->pause);
  s->said_finished = false; /* it may have been over for want of budget */
  s->waiting_since_ms = cns_server_now(s);
}

static int on_entry(void *context, const struct cns_journal_entry *entry) {
  struct cns_server *s = context;
  struct cns_pause pause;
  if (entry->kind != CNS_ENTRY_OVER) return 0;
  if (!entry->body || cns_pause_read(entry->body, entry->body_len, &pause) < 0 ||
      pause.state != CNS_PAUSE_STOPPED)
    return CNS_ERR_FORMAT;
  adopt_stop(s, &pause);
  return 0;
}

int cns_pause_open(struct cns_server *s, struct cns_problem *problem) {
  int r = cns_journal_replay(s->journal, s->completed + 1, 1, on_entry, s, problem);
  if (r < 0) return cns_problem_prefix(problem, r, "reading from the journal whether the study was stopped");
  if (!s->stopped.text[0]) {
    cns_pause_look(s);
    return 0;
  }
  say(s);
  /* For `status` and the other verbs, should somebody have taken it away. */
  return cns_pause_save(s->kit.config.state_path, CNS_PAUSE_FILE, &s->pause, problem);
}
