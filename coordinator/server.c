/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "coordinator/server_internal.h"
#include "model/modelfile.h"
#include "store/folder.h"
#include "store/policy_record.h"

uint64_t cns_server_now(const struct cns_server *s) {
  uint64_t now = uv_now(&s->loop) - s->stalled_ms;
  /* A stall that is noticed later must not put the clock back behind what it has said: what a deadline
   * began with would lie in the future. */
  if (now > s->clock_said_ms) ((struct cns_server *)s)->clock_said_ms = now;
  return s->clock_said_ms;
}

void cns_server_start_clocks(struct cns_server *s) {
  uv_update_time(&s->loop);
  s->ticked_ms = uv_now(&s->loop);
  s->started_ms = s->waiting_since_ms = s->round_started_ms = s->phase_started_ms = cns_server_now(s);
}

void cns_server_stop(struct cns_server *s) {
  if (s->stopping) return;
  s->stopping = true;
  s->listener = cns_listener_free(s->listener);
  s->bridge = cns_loop_free(s->bridge);
  for (size_t k = 0; k < s->session_count; k++)
    s->sessions[k].link = NULL;
  uv_close((uv_handle_t *)&s->tick, NULL);
  uv_close((uv_handle_t *)&s->check, NULL);
  for (size_t k = 0; k < CNS_SERVER_SIGNALS; k++)
    uv_close((uv_handle_t *)&s->signals[k], NULL);
}

void cns_server_fatal(struct cns_server *s, int error, const struct cns_problem *problem) {
  if (s->result == 0) {
    s->result = error;
    s->problem = *problem;
  }
  cns_server_stop(s);
}

static void on_signal(uv_signal_t *handle, int signum) {
  struct cns_server *s = handle->data;
  if (signum == SIGHUP) {
    cns_reload(s);
    return;
  }
  cns_report(s, "stop", "stopping: %s", signum == SIGINT ? "interrupted" : "terminated");
  cns_server_stop(s);
}

/* A process that was stopped, or a disk that took seconds to sync, must not
 * look like hospitals that were silent: their words wait in the sockets. */
static void on_tick(uv_timer_t *handle) {
  struct cns_server *s = handle->data;
  uint64_t now = uv_now(&s->loop), away = now - s->ticked_ms;
  if (away > CNS_SERVER_STALL_MS) s->stalled_ms += away - CNS_SERVER_TICK_MS;
  s->ticked_ms = now;
  cns_schedule_tick(s);
}

/* After each turn of the loop: one sync for everything that was accepted in it. */
static void on_check(uv_check_t *handle) {
  struct cns_server *s = handle->data;
  if (s->dirty && !s->stopping) cns_round_advance(s);
}

static int open_folders(struct cns_server *s, struct cns_problem *problem) {
  const char *state = s->kit.config.state_path;
  uint8_t journal_key[CNS_JOURNAL_KEY_BYTES];
  char *path = cns_kit_path(state, "journal.sqlite");
  char *models = cns_kit_path(state, "models");
  s->vectors = cns_kit_path(state, "uploads");
  s->optimiser_path = cns_kit_path(state, "optimiser");
  int r = path && models && s->vectors && s->optimiser_path ? 0 : CNS_ERR_MEMORY;
  if (r == 0) r = cns_folder_create(state, problem);
  if (r == 0) r = cns_folder_create(s->vectors, problem);
  if (r == 0) {
    cns_identity_derive(s->kit.identity, "consilium/1 journal key", journal_key);
    cns_identity_derive(s->kit.identity, "consilium/1 uploads key", s->vector_key);
    r = cns_journal_open(path, journal_key, &s->journal, problem);
    cns_wipe(journal_key, sizeof journal_key);
  }
  if (r == 0) r = cns_registry_open(models, &s->registry, problem);
  free(path);
  free(models);
  return r;
}

static int load_test_set(struct cns_server *s, struct cns_problem *problem) {
  if (!s->kit.policy.metrics_public) return 0;
  if (!s->kit.config.test_path)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the policy's metrics are \"public\", but %s/config.json names no test set: add "
                           "\"test\": PATH, of a table with the study's columns",
                           s->kit.folder);
  return cns_table_read(&s->plan, s->kit.config.test_path, CNS_TABLE_TRAINING, &s->test, NULL, problem);
}

static int load_study(struct cns_server *s, struct cns_problem *problem) {
  int r = cns_plan_parse(s->kit.study_document.payload, s->kit.study_document.payload_len, "study.json",
                         &s->plan, problem);
  if (r == 0) r = cns_kit_check_study(&s->kit.policy, &s->plan, problem);
  if (r < 0) return r;
  cns_study_digest(s->kit.roster.consortium, s->plan.name, &s->study);
  s->clip_norm = s->plan.clip_norm;
  r = load_test_set(s, problem);
  if (r == 0) r = cns_server_first_model(s, problem);
  s->initial = s->model;
  return r;
}

static int make_sessions(struct cns_server *s) {
  s->sessions = calloc(CNS_HOSPITALS_MAX, sizeof *s->sessions);
  if (!s->sessions) return CNS_ERR_MEMORY;
  cns_reload_set_sessions(s);
  int r = cns_peers_new(&s->peers);
  return r ? r : cns_reload_set_peers(s, &s->kit.roster);
}

static int listen_for_hospitals(struct cns_server *s, struct cns_problem *problem) {
  struct cns_link_config config = {
      .identity = s->kit.identity,
      .role = CNS_ROLE_COORDINATOR,
      .peers = s->peers,
      .certificate_path = s->kit.tls_certificate_path,
      .key_path = s->kit.tls_key_path,
      .rng = cns_rng_system(),
  };
  struct cns_link_callbacks callbacks = cns_session_callbacks(s);
  const char *url = s->options->listen ? s->options->listen : s->kit.config.address;
  int r = cns_listener_new(s->bridge, url, &config, &callbacks, &s->listener, problem);
  if (r < 0) return r;
  url = cns_listener_url(s->listener);
  cns_report(s, "start",
             "study \"%s\": %zu hospitals in the roster, %u rounds, %zu parameters; listening on %s",
             s->plan.name, s->session_count, s->plan.rounds, cns_plan_dim(&s->plan), url);
  if (s->options->url_file) r = cns_file_write(s->options->url_file, url, strlen(url), 0644, problem);
  return r;
}

static void start_handles(struct cns_server *s) {
  static const int signums[CNS_SERVER_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
  uv_timer_init(&s->loop, &s->tick);
  uv_check_init(&s->loop, &s->check);
  s->tick.data = s;
  s->check.data = s;
  uv_timer_start(&s->tick, on_tick, CNS_SERVER_TICK_MS, CNS_SERVER_TICK_MS);
  uv_check_start(&s->check, on_check);
  for (size_t k = 0; k < CNS_SERVER_SIGNALS; k++) {
    uv_signal_init(&s->loop, &s->signals[k]);
    s->signals[k].data = s;
    uv_signal_start(&s->signals[k], on_signal, signums[k]);
  }
  cns_server_start_clocks(s);
}

/* A stream for each hospital and, from phase upload on, a file. */
static void raise_file_limit(struct cns_server *s) {
  struct rlimit limit;
  uint64_t needed = CNS_SERVER_FILES_BESIDE;
  for (size_t k = 0; k < s->session_count; k++)
    needed += s->sessions[k].hospital->revoked ? 0 : 2;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
  if (limit.rlim_cur >= needed) return;
  cns_report(
      s, "limit",
      "this process may open %llu files and streams at once, and a roster of %zu hospitals takes up to "
      "%llu: with many of them connected, connections and uploads will be refused; allow more (ulimit "
      "-Hn, or LimitNOFILE= of the service)",
      (unsigned long long)limit.rlim_cur, s->session_count, (unsigned long long)needed);
}

static int prepare(struct cns_server *s, struct cns_problem *problem) {
  int r = cns_kit_load(s->options->kit, CNS_KIT_COORDINATOR, (int64_t)time(NULL), &s->kit, problem);
  s->watch = calloc(1, sizeof *s->watch);
  if (r == 0 && !s->watch) r = CNS_ERR_MEMORY;
  if (r == 0) r = open_folders(s, problem);
  if (r == 0) r = load_study(s, problem);
  if (r == 0) r = cns_policy_record_accept(s->kit.config.state_path, &s->kit, problem);
  if (r == 0) r = cns_budget_open(s, problem);
  if (r == 0) r = make_sessions(s);
  if (r == 0) raise_file_limit(s);
  if (r == 0) r = cns_loop_new(&s->loop, &s->bridge, problem);
  return r;
}

static void release(struct cns_server *s) {
  cns_round_free(s, false);
  cns_abandoning_end(s);
  cns_peers_free(s->peers);
  cns_registry_free(s->registry);
  cns_ledger_free(s->ledger);
  free(s->heads);
  cns_journal_free(s->journal);
  cns_table_deinit(&s->test);
  cns_plan_deinit(&s->plan);
  cns_kit_deinit(&s->next);
  cns_kit_deinit(&s->kit);
  cns_wipe(s->vector_key, sizeof s->vector_key);
  cns_wipe(s->nonce, sizeof s->nonce);
  free(s->watch);
  free(s->vectors);
  free(s->optimiser_path);
  free(s->sessions);
  cns_server_drop_model(s);
  free(s->manifest);
}

int cns_server_run(const struct cns_server_options *options, struct cns_problem *problem) {
  struct cns_server s = {.options = options};
  int forbidden = cns_forbid_core_files(problem); /* rebuilt secrets and the sum */
  if (forbidden) return forbidden;
  if (uv_loop_init(&s.loop) < 0)
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "the event loop can't be made");
  signal(SIGPIPE, SIG_IGN);
  int r = prepare(&s, problem);
  if (r == 0) {
    start_handles(&s);
    r = cns_replay(&s, problem);
    if (r == 0 && !s.stopping) r = cns_optimiser_check(&s, problem);
    if (r == 0 && !s.stopping) r = cns_optimiser_tidy(&s, problem);
    if (r == 0 && !s.stopping) r = cns_budget_replayed(&s, problem);
    if (r == 0 && !s.stopping) r = cns_pause_open(&s, problem);
    if (r == 0 && !s.stopping) r = listen_for_hospitals(&s, problem);
    if (r < 0) cns_server_stop(&s);
  } else
    s.bridge = cns_loop_free(s.bridge);
  uv_run(&s.loop, UV_RUN_DEFAULT); /* also lets what was closed go */
  uv_loop_close(&s.loop);
  if (r == 0 && s.result < 0) {
    r = s.result;
    if (problem) *problem = s.problem;
  }
  release(&s);
  return r;
}
