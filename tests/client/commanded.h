/* SPDX-License-Identifier: Apache-2.0 */
/* A study of an external model, and rounds of it that a shell script trains. The test's own program is the
 * keeper too: main begins with keep_if_called. */
#pragma once

#include "tests/store/scratch.h"

#include <dirent.h>
#include <math.h>
#include <uv.h>

#include "client/trainer_internal.h"
#include "model/modelfile.h"

static const char external_study[] =
    "{\"name\": \"scans\", \"version\": 2, \"task\": \"other\","
    " \"model\": {\"kind\": \"external\", \"tensors\": {\"conv.weight\": [2, 3, 1], \"bias\": [2]}},"
    " \"training\": {\"rounds\": 7, \"local_epochs\": 2, \"learning_rate\": 0.1, \"momentum\": 0.9,"
    "  \"batch\": 8, \"seed\": 99, \"clip_norm\": 1.5},"
    " \"initial_model\": {\"file\": \"start.safetensors\", \"digest\": "
    "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"},"
    " \"weighting\": \"patients\", \"validation_share\": 0}";

#define DIM 8
/* Of a script that does all that it should. */
#define WELL "cp good.safetensors \"$CONSILIUM_FOLDER/update.safetensors\"; " WELL_METRICS
#define WELL_METRICS                                                                                         \
  "echo '{\"examples\": 5, \"first_loss\": 0.5, \"last_loss\": 0.25}' > \"$CONSILIUM_FOLDER/metrics.json\""

static const float received[DIM] = {1, 2, 3, 4, 5, 6, 7, 8};
static const float update[DIM] = {0.5F, -1, 0.25F, 0, 0, 0, 2, -3};

struct commanded {
  struct cns_plan plan;
  char *arguments[4];
  struct cns_trainer_setup setup;
  struct cns_trainer_task task;
  uv_loop_t uv;
};

struct outcome {
  int calls, error;
  struct cns_problem problem;
  float update[DIM];
  struct cns_trainer_metrics metrics;
  struct cns_keeper_report said;
  char note[1024];
};

static inline void keep_if_called(int argc, char **argv) {
  if (cns_keeper_called(argc, argv)) cns_keeper_run(argc, argv);
}

/* A file of the study's tensors, F32. */
static inline void write_update(const struct cns_plan *plan, const char *name, const float *values) {
  struct cns_tensor_list list;
  assert_int_equal(cns_tensor_list_from_plan(plan, &list, NULL), 0);
  assert_int_equal(cns_tensors_write(scratch_path(name), &list, values, NULL, 0, 0600, NULL), 0);
  cns_tensor_list_deinit(&list);
}

/* Kit and state are the scratch folder. */
static inline void commanded_init(struct commanded *c, const char *script) {
  static char shell[] = "/bin/sh", flag[] = "-c";
  struct cns_problem problem = {0};
  memset(c, 0, sizeof *c);
  if (cns_plan_parse(external_study, strlen(external_study), "scans.json", &c->plan, &problem))
    fail_msg("%s", problem.text);
  c->arguments[0] = shell;
  c->arguments[1] = flag;
  c->arguments[2] = strdup(script);
  c->setup = (struct cns_trainer_setup){
      .command = {.command = c->arguments, .time_limit_s = 300, .file_bytes = 1 << 20, .free_bytes = 0},
      .state_path = scratch_folder,
      .data_path = scratch_folder,
      .kit_folder = scratch_folder,
      .grace_ms = 300000};
  c->task = (struct cns_trainer_task){
      .plan = &c->plan, .seed = {.study = 99, .round = 3, .attempt = 1, .hospital = 2}, .clip_norm = 1.5};
  assert_int_equal(uv_loop_init(&c->uv), 0);
  write_update(&c->plan, "good.safetensors", update);
}

static inline void commanded_deinit(struct commanded *c) {
  assert_int_equal(uv_loop_close(&c->uv), 0);
  cns_plan_deinit(&c->plan);
  free(c->arguments[2]);
}

static inline void on_trained(void *context, int error, const struct cns_problem *problem) {
  struct outcome *outcome = context;
  outcome->calls++;
  outcome->error = error;
  outcome->problem = *problem;
}

/* Files of the state folder that are a round's. */
static inline size_t folders_left(void) {
  size_t count = 0;
  DIR *state = opendir(scratch_folder);
  assert_non_null(state);
  for (struct dirent *entry; (entry = readdir(state));)
    count += strncmp(entry->d_name, CNS_TRAINER_FOLDER, strlen(CNS_TRAINER_FOLDER)) == 0;
  closedir(state);
  return count;
}

/* One round. look, if not NULL, is called once the command runs. */
static inline struct outcome commanded_round(struct commanded *c, void (*look)(struct cns_trainer *trainer)) {
  struct outcome outcome = {0};
  struct cns_trainer *trainer = NULL;
  struct cns_problem problem = {0};
  assert_int_equal(cns_trainer_new(&c->setup, &c->task, &trainer), 0);
  if (cns_trainer_prepare(trainer, received, &problem)) fail_msg("%s", problem.text);
  if (cns_trainer_start(trainer, &c->uv, on_trained, &outcome, &problem)) fail_msg("%s", problem.text);
  if (look) look(trainer);
  while (uv_run(&c->uv, UV_RUN_DEFAULT) != 0)
    continue;
  assert_int_equal(outcome.calls, 1);
  if (!outcome.error)
    outcome.error = cns_trainer_collect(trainer, outcome.update, &outcome.metrics, &outcome.problem);
  char *note = cns_trainer_report_text(trainer);
  snprintf(outcome.note, sizeof outcome.note, "%s", note ? note : "");
  free(note);
  outcome.said = trainer->said;
  cns_trainer_free(trainer);
  assert_int_equal(folders_left(), 0);
  return outcome;
}

static inline struct outcome script_round(const char *script) {
  struct commanded c;
  commanded_init(&c, script);
  struct outcome outcome = commanded_round(&c, NULL);
  commanded_deinit(&c);
  return outcome;
}

/* The number in a file, once it is there. */
static inline pid_t read_pid(const char *name) {
  for (int k = 0; k < 6000; k++) {
    FILE *file = fopen(scratch_path(name), "r");
    int pid = 0;
    bool read = file && fscanf(file, "%d", &pid) == 1 && fgetc(file) == '\n';
    if (file) fclose(file);
    if (read) return pid;
    usleep(10000);
  }
  fail_msg("%s isn't written", name);
  return -1;
}

/* A process is soon gone (a zombie counts: whoever reaps it isn't ours). */
static inline void assert_gone(pid_t pid) {
  char path[64], text[512];
  for (int k = 0; k < 6000; k++) {
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file) return;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *end = strrchr(text, ')');
    if (!end || end[2] == 'Z' || end[2] == 'X') return;
    usleep(10000);
  }
  fail_msg("process %d is still there", (int)pid);
}
