/* SPDX-License-Identifier: Apache-2.0 */
/* The federation: its folder, its processes, one of them killed and started
 * again, and what came of it. One thread; all waiting is in turn(). */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/demo.h"
#include "cli/folder.h"
#include "cli/kit.h"
#include "cli/models.h"
#include "client/consent.h"
#include "model/modelfile.h"
#include "model/predict.h"
#include "store/kit.h"

#define LISTEN "tls+tcp://127.0.0.1:0"
/* Well within the coordinator's grace for a lost hospital, so that it is back in
 * the next round. */
#define RESTART_MS 500
#define URL_MS 30000
/* Hospitals leave with the last model, or 10 s after the coordinator. */
#define LEAVE_MS 15000
/* Longer than any wait of coordinator or hospital. */
#define SILENCE_MS 180000

/* The hospital that is killed: the second, so neither the largest nor the smallest. */
#define VICTIM 2
#define ROUNDS_FOR_KILL_MIN 3

struct run {
  const struct cns_demo_options *options;
  const struct cns_demo_parts *parts;
  struct cns_demo_result *result;
  struct cns_problem *problem;
  char *federation, *url_path;
  char *kits[CNS_DEMO_HOSPITALS_MAX + 1];                     /* [0]: coordinator */
  struct cns_demo_child children[CNS_DEMO_HOSPITALS_MAX + 1]; /* likewise */
  size_t child_count;
  int signals;
  uint64_t rounds_done;
  uint64_t heard_ms;

  bool kill_wanted;
  uint64_t kill_after; /* so many rounds */
  uint64_t restart_ms; /* when; 0: not due */
  uint64_t left_ms;    /* when the coordinator was done; 0: it runs */
  bool missed;         /* the killed hospital was missing in the round */
  bool flag_shown;     /* of the poisoned hospital, in words */
};

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int no_memory(struct run *run) {
  return cns_problem_set(run->problem, CNS_ERR_MEMORY, "out of memory");
}

static void CNS_PRINTF(2, 3) say(const struct run *run, const char *fmt, ...) {
  va_list args;
  if (run->options->json) return;
  va_start(args, fmt);
  vprintf(fmt, args);
  va_end(args);
  fflush(stdout);
}

static struct cns_demo_child *victim(struct run *run) {
  return &run->children[VICTIM];
}

/* ---- what the processes say ---- */

/* A hospital that was killed too late to be missing is killed once more. */
static void follow_victim(struct run *run, const cJSON *round, uint64_t number) {
  struct cns_demo_result *result = run->result;
  bool missing = cns_demo_is_missing(round, victim(run)->name);
  if (!result->killed || result->back_round) return;
  if (missing && number >= result->killed_round) {
    run->missed = true;
    run->kill_wanted = false;
  } else if (run->missed) {
    result->back_round = number;
    say(run, "  -- %s is back in round %" PRIu64 ", nobody had to do anything\n", result->killed, number);
  } else if (number == result->killed_round && number + 2 <= run->parts->plan.rounds) {
    say(run, "  -- %s had already given everything that round %" PRIu64 " needed\n", result->killed, number);
    run->kill_wanted = true;
    run->kill_after = number;
  }
}

/* The strongest reason comes first. */
static void show_flag(struct run *run, const cJSON *json, const char *text) {
  const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "hospital"));
  if (cns_demo_is_poisoned(run->result, name) && run->flag_shown)
    return; /* the rounds' lines go on saying it */
  if (cns_demo_is_poisoned(run->result, name)) run->flag_shown = true;
  say(run, "  !! %s\n", text);
}

static int take_round(struct run *run, cJSON *json) {
  const cJSON *number = cJSON_GetObjectItemCaseSensitive(json, "round");
  bool completed = cJSON_GetObjectItemCaseSensitive(json, "rounds") != NULL;
  if (!run->options->json) cns_demo_report_round(json);
  if (!cJSON_AddItemToArray(run->result->rounds, json)) {
    cJSON_Delete(json);
    return no_memory(run);
  }
  if (!completed || !cJSON_IsNumber(number)) return 0;
  run->rounds_done = (uint64_t)number->valuedouble;
  const cJSON *epsilon = cJSON_GetObjectItemCaseSensitive(json, "epsilon");
  if (cJSON_IsNumber(epsilon)) run->result->epsilon_spent = epsilon->valuedouble;
  cns_demo_count_flags(run->result, json, run->rounds_done);
  follow_victim(run, json, run->rounds_done);
  return 0;
}

static void kill_victim(struct run *run) {
  struct cns_demo_child *child = victim(run);
  run->kill_wanted = false;
  child->killed = true;
  if (child->pid <= 0 || kill(child->pid, SIGKILL) != 0) return;
  run->result->killed = run->parts->hospitals[VICTIM - 1].name;
  run->result->killed_round = run->rounds_done + 1;
  run->restart_ms = now_ms() + RESTART_MS;
  say(run, "  -- %s is killed (SIGKILL) as round %" PRIu64 " begins; the round goes on\n", child->name,
      run->result->killed_round);
}

static int take_line(void *context, struct cns_demo_child *child, const char *line) {
  struct run *run = context;
  bool coordinator = child == &run->children[0];
  cJSON *json = cJSON_Parse(line);
  const cJSON *event = cJSON_GetObjectItemCaseSensitive(json, "event");
  const cJSON *text = cJSON_GetObjectItemCaseSensitive(json, "text");
  run->heard_ms = now_ms();
  const char *kind = cJSON_IsString(event) ? event->valuestring : "";
  cns_demo_child_tail(child, cJSON_IsString(text) ? text->valuestring : line);
  if (coordinator && strcmp(kind, "round") == 0) return take_round(run, json);
  if (coordinator && strcmp(kind, "waiting") == 0 && cJSON_IsString(text))
    say(run, "  -- coordinator: %s\n", text->valuestring);
  if (coordinator && strcmp(kind, "flag") == 0 && cJSON_IsString(text))
    show_flag(run, json, text->valuestring);
  bool begins = !coordinator && strcmp(kind, "round") == 0;
  if (begins && child == victim(run) && run->kill_wanted && run->rounds_done >= run->kill_after)
    kill_victim(run);
  cJSON_Delete(json);
  return 0;
}

/* ---- waiting ---- */

static int take_signals(struct run *run) {
  int number = cns_demo_signals_next(run->signals);
  if (!number) return 0;
  run->result->signal = number;
  return cns_problem_set(run->problem, CNS_ERR_CANCELLED, "stopped by %s", strsignal(number));
}

static int read_all(struct run *run) {
  int r = 0;
  for (size_t i = 0; i < run->child_count && !r; i++)
    r = cns_demo_child_read(&run->children[i], take_line, run);
  return r;
}

static int unexpected(struct run *run, struct cns_demo_child *child) {
  char how[64];
  cns_demo_child_describe_end(child, how, sizeof how);
  fflush(stdout);
  fprintf(stderr, "The last lines of %s:\n", child->name);
  for (size_t i = 0; i < child->tail_count; i++)
    fprintf(stderr, "  %s\n", child->tail[i]);
  return cns_problem_set(run->problem, CNS_ERR_STATE, "%s ended unexpectedly: %s", child->name, how);
}

/* What a process wrote before it ended is read before its end is judged: the
 * last round's line is written before anybody leaves. */
static int take_ends(struct run *run) {
  int r = 0;
  for (size_t i = 0; i < run->child_count && !r; i++) {
    struct cns_demo_child *child = &run->children[i];
    if (!cns_demo_child_ended(child)) continue;
    bool good = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
    r = read_all(run);
    if (!r && !child->killed && !(good && run->rounds_done >= run->parts->plan.rounds))
      r = unexpected(run, child);
  }
  return r;
}

static int turn(struct run *run, int wait_ms) {
  struct pollfd fds[CNS_DEMO_HOSPITALS_MAX + 2] = {{.fd = run->signals, .events = POLLIN}};
  for (size_t i = 0; i < run->child_count; i++) /* poll passes over those that are -1 */
    fds[i + 1] = (struct pollfd){.fd = run->children[i].output, .events = POLLIN};
  if (poll(fds, run->child_count + 1, wait_ms) < 0 && errno != EINTR)
    return cns_problem_set(run->problem, CNS_ERR_IO, "waiting for the processes: %s", strerror(errno));
  int r = take_signals(run);
  if (!r) r = read_all(run);
  if (!r) r = take_ends(run);
  if (!r && ferror(stdout)) r = cns_problem_set(run->problem, CNS_ERR_IO, "the output can't be written");
  if (!r && now_ms() - run->heard_ms > SILENCE_MS)
    r = cns_problem_set(run->problem, CNS_ERR_TIMEOUT, "nothing has happened for %d seconds: given up",
                        SILENCE_MS / 1000);
  return r;
}

/* ---- setting up ---- */

static int write_study(struct run *run, const char *folder, char **ret_path) {
  const struct cns_plan *plan = &run->parts->plan;
  uint8_t digest[CNS_DIGEST_BYTES];
  char *path = cns_kit_path(folder, "study.json");
  if (!path) return no_memory(run);
  int r = cns_file_write(path, run->parts->study, run->parts->study_len, 0600, run->problem);
  if (!r && plan->initial_from_file) {
    char *from = cns_kit_path(run->options->data, plan->initial_file);
    char *to = cns_kit_path(folder, plan->initial_file);
    r = from && to ? cns_copy_file(from, to, digest, run->problem) : no_memory(run);
    free(from);
    free(to);
  }
  if (r)
    free(path);
  else
    *ret_path = path;
  return r;
}

static int make_kits(struct run *run, const char *folder) {
  const char *names[CNS_DEMO_HOSPITALS_MAX];
  struct cns_identity_public authority;
  char *study = NULL;
  for (size_t h = 0; h < run->parts->hospital_count; h++)
    names[h] = run->parts->hospitals[h].name;
  int r = write_study(run, folder, &study);
  const struct cns_federation_options options = {.consortium = "demo",
                                                 .study_path = study,
                                                 .names = names,
                                                 .name_count = run->parts->hospital_count,
                                                 .audit = cns_demo_audit(run->result),
                                                 .privacy = cns_demo_privacy(run->options),
                                                 .now_seconds = (int64_t)time(NULL)};
  run->federation = cns_kit_path(folder, "federation");
  if (!r && !run->federation) r = no_memory(run);
  if (!r) r = cns_kit_create_federation(run->federation, &options, &authority, run->problem);
  free(study);
  if (r) return r;
  run->kits[0] = cns_kit_path(run->federation, "coordinator");
  for (size_t h = 0; h < run->parts->hospital_count; h++)
    if (asprintf(&run->kits[h + 1], "%s/hospitals/%s", run->federation, names[h]) < 0) return no_memory(run);
  return run->kits[0] ? 0 : no_memory(run);
}

/* Each hospital gets its own rows, and says yes. */
static int give_consent(struct run *run, size_t h) {
  const struct cns_demo_hospital *hospital = &run->parts->hospitals[h];
  const struct cns_client_consent_options options = {.kit_folder = run->kits[h + 1], .assume_yes = true};
  struct cns_client_consent_result given;
  char *table = cns_kit_path(run->kits[h + 1], "data.csv");
  if (!table) return no_memory(run);
  int r = cns_file_write(table, hospital->csv, hospital->csv_len, 0600, run->problem);
  free(table);
  if (!r) r = cns_client_consent(&options, &given, run->problem);
  if (r) return cns_problem_prefix(run->problem, r, "%s", hospital->name);
  free(given.text);
  return 0;
}

static int init_children(struct run *run, const char *folder) {
  for (size_t i = 0; i <= run->parts->hospital_count; i++) {
    const char *name = i == 0 ? "coordinator" : run->parts->hospitals[i - 1].name;
    char *path = NULL;
    if (asprintf(&path, "%s/%s.log", folder, name) < 0) return no_memory(run);
    run->child_count = i + 1;
    int r = cns_demo_child_init(&run->children[i], name, path, run->problem);
    free(path);
    if (r) return r;
  }
  return 0;
}

static int set_up(struct run *run, const char *folder) {
  int r = make_kits(run, folder);
  for (size_t h = 0; h < run->parts->hospital_count && !r; h++) {
    r = give_consent(run, h);
    if (!r) r = turn(run, 0);
  }
  return r ? r : init_children(run, folder);
}

/* ---- running ---- */

static int start_coordinator(struct run *run, const char *folder) {
  run->url_path = cns_kit_path(folder, "coordinator.url");
  if (!run->url_path) return no_memory(run);
  const char *arguments[] = {"coordinator", run->kits[0], "--until-finished", "--json", "--listen",
                             LISTEN,        "--url-file", run->url_path,      NULL};
  int r = cns_demo_child_start(&run->children[0], arguments, run->problem);
  uint64_t begin_ms = now_ms();
  while (!r && access(run->url_path, R_OK) != 0) {
    r = turn(run, 10);
    if (!r && now_ms() - begin_ms > URL_MS)
      r = cns_problem_set(run->problem, CNS_ERR_TIMEOUT, "the coordinator doesn't start to listen");
  }
  return r;
}

/* The port was free only once the coordinator had it. */
static int set_address(struct run *run, size_t h, const char *url) {
  struct cns_kit_config config;
  int r = cns_kit_config_load(run->kits[h], &config, run->problem);
  if (r) return r;
  if (snprintf(config.address, sizeof config.address, "%s", url) >= (int)sizeof config.address)
    r = cns_problem_set(run->problem, CNS_ERR_LIMIT, "the coordinator's address is too long");
  if (!r) r = cns_kit_config_save(run->kits[h], &config, run->problem);
  cns_kit_config_deinit(&config);
  return r;
}

static int start_hospital(struct run *run, size_t h) {
  const char *honest[] = {"hospital", run->kits[h], "--until-finished", "--json", NULL};
  const char *poisoned[] = {"demo", "--poisoned-hospital", run->kits[h], NULL};
  bool poison = cns_demo_is_poisoned(run->result, run->children[h].name);
  return cns_demo_child_start(&run->children[h], poison ? poisoned : honest, run->problem);
}

static int start_hospitals(struct run *run) {
  uint8_t *url = NULL;
  size_t len = 0;
  int r = cns_file_read(run->url_path, CNS_ADDRESS_MAX + 1, &url, &len, run->problem);
  if (r) return r;
  url[strcspn((char *)url, "\n")] = '\0';
  for (size_t h = 1; h <= run->parts->hospital_count && !r; h++) {
    r = set_address(run, h, (const char *)url);
    if (!r) r = start_hospital(run, h);
  }
  free(url);
  return r;
}

static int restart_when_due(struct run *run) {
  if (!run->restart_ms || now_ms() < run->restart_ms || victim(run)->pid > 0) return 0;
  if (run->children[0].pid == 0) return 0; /* too late */
  run->restart_ms = 0;
  say(run, "  -- %s is started again\n", victim(run)->name);
  return start_hospital(run, VICTIM);
}

/* Without a coordinator a hospital that was slow to come back would dial for ever. */
static bool all_ended(struct run *run) {
  if (run->children[0].pid > 0) return false;
  if (!run->left_ms) run->left_ms = now_ms();
  if (now_ms() - run->left_ms > LEAVE_MS) return true;
  for (size_t i = 0; i < run->child_count; i++)
    if (run->children[i].pid > 0) return false;
  return true;
}

static int federate(struct run *run, const char *folder) {
  run->kill_after = run->parts->plan.rounds / 3;
  run->kill_wanted = !run->options->no_kill && run->parts->plan.rounds >= ROUNDS_FOR_KILL_MIN;
  cns_demo_plan_poison(run->options, run->parts, run->result);
  if (!run->options->json && run->options->epsilon > 0) cns_demo_report_budget(run->options, run->parts);
  if (!run->options->json) cns_demo_report_audit(run->parts, run->result);
  int r = set_up(run, folder);
  if (!r) r = start_coordinator(run, folder);
  if (!r) r = start_hospitals(run);
  while (!r && !all_ended(run)) {
    r = turn(run, 50);
    if (!r) r = restart_when_due(run);
  }
  return r;
}

static int evaluate_federation(struct run *run) {
  const struct cns_plan *plan = &run->parts->plan;
  struct cns_models models;
  struct cns_models_version version;
  struct cns_metrics metrics;
  float *params = calloc(plan->dim, sizeof *params);
  if (!params) return no_memory(run);
  int r = cns_models_open(run->kits[0], &models, run->problem);
  if (!r) {
    r = cns_models_get(&models, plan->rounds, &version, run->problem);
    if (!r) {
      r = cns_model_parse(plan, version.bytes, version.len, "the federation's model", params, run->problem);
      cns_models_version_deinit(&version);
    }
    cns_models_deinit(&models);
  }
  if (!r) r = cns_model_evaluate(plan, params, &run->parts->test, &metrics, run->problem);
  if (!r) run->result->federated = metrics.has_auc ? metrics.auc : NAN;
  free(params);
  return r;
}

/* The thread began with the federation and is done long before, as a rule. */
static int compare(struct run *run, struct cns_demo_compare *other) {
  int r = 0;
  while (!r && !cns_demo_compare_is_done(other)) {
    run->heard_ms = now_ms();
    r = turn(run, 50);
  }
  return r ? r
           : cns_demo_compare_finish(other, run->result->alone, &run->result->pooled, &run->result->local,
                                     run->problem);
}

static void release(struct run *run) {
  cns_demo_children_stop(run->children, run->child_count);
  for (size_t i = 0; i < run->child_count; i++)
    cns_demo_child_deinit(&run->children[i]);
  for (size_t i = 0; i <= CNS_DEMO_HOSPITALS_MAX; i++)
    free(run->kits[i]);
  free(run->federation);
  free(run->url_path);
  free(run);
}

int cns_demo_run(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                 const char *folder, int signals, struct cns_demo_result *result,
                 struct cns_problem *problem) {
  struct cns_demo_compare *other = NULL;
  struct run *run = calloc(1, sizeof *run);
  if (!run) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  uint64_t begin_ms = now_ms();
  run->options = options;
  run->parts = parts;
  run->result = result;
  run->problem = problem;
  run->heard_ms = begin_ms;
  run->signals = signals;
  int r = cns_demo_compare_start(parts, options->data ? options->data : folder, &other, problem);
  if (!r) r = federate(run, folder);
  if (!r) r = compare(run, other);
  if (!r) r = evaluate_federation(run);
  result->seconds = (double)(now_ms() - begin_ms) / 1000.0;
  cns_demo_compare_free(other);
  release(run);
  return r;
}
