/* SPDX-License-Identifier: Apache-2.0 */
/* A trainer's folder: what goes in, and what comes out (declared in client/trainer.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/trainer_internal.h"
#include "crypto/json.h"
#include "model/modelfile.h"

#define UPDATE "update.safetensors"
#define METRICS "metrics.json"
#define OPEN_FOLDERS 16
#define EXAMPLES_MAX ((int64_t)1 << 53)

char *cns_trainer_path(const struct cns_trainer *trainer, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/%s", trainer->folder, name) < 0 ? NULL : path;
}

/* ---- removing ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
  (void)info;
  (void)place;
  (void)(kind == FTW_DP || kind == FTW_DNR ? rmdir(path) : unlink(path)); /* what stays is swept later */
  return 0;
}

/* A command may have taken a folder's permissions away. */
static int open_up(const char *path, const struct stat *info, int kind, struct FTW *place) {
  (void)info;
  (void)place;
  if (kind == FTW_D || kind == FTW_DNR) (void)chmod(path, 0700);
  return 0;
}

void cns_trainer_remove(const char *folder) {
  (void)nftw(folder, open_up, OPEN_FOLDERS, FTW_PHYS | FTW_MOUNT);
  (void)nftw(folder, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void cns_trainer_sweep(const struct cns_trainer_setup *setup) {
  DIR *state = opendir(setup->state_path);
  if (!state) return;
  for (struct dirent *entry; (entry = readdir(state));) {
    char *path = NULL;
    if (strncmp(entry->d_name, CNS_TRAINER_FOLDER, strlen(CNS_TRAINER_FOLDER)) != 0) continue;
    if (asprintf(&path, "%s/%s", setup->state_path, entry->d_name) < 0) continue;
    cns_trainer_remove(path);
    free(path);
  }
  closedir(state);
}

/* ---- life ---- */

int cns_trainer_new(const struct cns_trainer_setup *setup, const struct cns_trainer_task *task,
                    struct cns_trainer **ret_trainer) {
  struct cns_trainer *trainer = calloc(1, sizeof *trainer);
  if (!trainer) return CNS_ERR_MEMORY;
  trainer->setup = setup;
  trainer->task = *task;
  trainer->log = -1;
  *ret_trainer = trainer;
  return 0;
}

void cns_trainer_clear(struct cns_trainer *trainer) {
  if (trainer->folder) cns_trainer_remove(trainer->folder);
  free(trainer->folder);
  trainer->folder = NULL;
}

struct cns_trainer *cns_trainer_free(struct cns_trainer *trainer) {
  if (!trainer) return NULL;
  cns_trainer_clear(trainer);
  free(trainer);
  return NULL;
}

/* ---- can it work at all? ---- */

static bool in_path(const char *name, const char *path) {
  bool found = false;
  while (!found && *path) {
    size_t len = strcspn(path, ":");
    char *file = NULL;
    if (len > 0 && asprintf(&file, "%.*s/%s", (int)len, path, name) >= 0) {
      found = access(file, X_OK) == 0;
      free(file);
    }
    path += len + (path[len] == ':');
  }
  return found;
}

static const char *search_path(const struct cns_kit_trainer *command) {
  for (size_t k = 0; command->environment && command->environment[k]; k++)
    if (strncmp(command->environment[k], "PATH=", 5) == 0) return command->environment[k] + 5;
  const char *path = getenv("PATH");
  return path ? path : CNS_TRAINER_PATH;
}

int cns_trainer_check(const struct cns_trainer_setup *setup, struct cns_problem *problem) {
  const char *name = setup->command.command[0];
  char *path = NULL;
  bool found;
  if (strchr(name, '/')) {
    path = cns_kit_path(setup->kit_folder, name);
    found = path && access(path, X_OK) == 0;
    free(path);
  } else
    found = in_path(name, search_path(&setup->command));
  if (found) return 0;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "%s/config.json: the trainer's program %s is not there or can't be run; give its whole "
      "path",
      setup->kit_folder, name);
}

/* ---- in ---- */

/* As numbers of the data's rows: no value of a patient is copied. */
static int write_rows(const struct cns_trainer *trainer, const char *name, const struct cns_table *table,
                      struct cns_problem *problem) {
  char *path = cns_trainer_path(trainer, name);
  FILE *file = path ? fopen(path, "wxe") : NULL;
  bool good = file;
  for (size_t k = 0; good && k < table->rows; k++)
    good = fprintf(file, "%" PRIu32 "\n", table->source[k]) > 0;
  if (file && fclose(file) != 0) good = false;
  int number = errno;
  free(path);
  if (good) return 0;
  return cns_problem_set(problem, cns_error_from_errno(number),
                         "the trainer's list of rows can't be written: %s", strerror(number));
}

static int make_folder(struct cns_trainer *trainer, struct cns_problem *problem) {
  char *state = realpath(trainer->setup->state_path, NULL), *folder = NULL, *temporary = NULL;
  bool good = state && asprintf(&folder, "%s/" CNS_TRAINER_FOLDER "XXXXXX", state) >= 0;
  if (!good) folder = NULL;
  good = good && mkdtemp(folder);
  if (good) {
    trainer->folder = folder;
    folder = NULL;
    temporary = cns_trainer_path(trainer, "tmp");
    good = temporary && mkdir(temporary, 0700) == 0;
  }
  int number = errno;
  free(temporary);
  free(folder);
  free(state);
  if (good) return 0;
  return cns_problem_set(problem, cns_error_from_errno(number), "the trainer's folder can't be made: %s",
                         strerror(number));
}

static int write_model(const struct cns_trainer *trainer, const float *params, struct cns_problem *problem) {
  struct cns_tensor_list list;
  char *path = cns_trainer_path(trainer, "global.safetensors");
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = cns_tensor_list_from_plan(trainer->task.plan, &list, problem);
  if (!r) {
    r = cns_tensors_write(path, &list, params, NULL, 0, 0600, problem);
    cns_tensor_list_deinit(&list);
  }
  free(path);
  return r;
}

int cns_trainer_prepare(struct cns_trainer *trainer, const float *params, struct cns_problem *problem) {
  const struct cns_trainer_task *task = &trainer->task;
  int r = make_folder(trainer, problem);
  if (!r) r = write_model(trainer, params, &trainer->detail);
  if (!r && task->plan->has_table) r = write_rows(trainer, "train_rows.txt", task->train, problem);
  if (!r && task->plan->has_table) r = write_rows(trainer, "validation_rows.txt", task->validation, problem);
  if (!r) r = cns_trainer_write_task(trainer, &trainer->detail);
  if (r && trainer->detail.text[0])
    cns_problem_set(problem, r, "the trainer's folder can't be filled%s",
                    r == CNS_ERR_DISK_FULL ? ": the disk is full" : "");
  return r;
}

/* ---- out ---- */

/* A file of the folder itself, and one that can be read without waiting for anybody. */
static int check_output(const char *path, const char *name, uint64_t max, struct cns_problem *problem) {
  struct stat info;
  if (lstat(path, &info) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the trainer ended well but wrote no %s", name);
  if (!S_ISREG(info.st_mode))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the trainer's %s is no plain file", name);
  if (info.st_size == 0) return cns_problem_set(problem, CNS_ERR_REFUSED, "the trainer's %s is empty", name);
  if ((uint64_t)info.st_size > max)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the trainer's %s is longer than it can be", name);
  return 0;
}

static int read_update(struct cns_trainer *trainer, float *ret_update, struct cns_problem *problem) {
  const struct cns_plan *plan = trainer->task.plan;
  struct cns_tensor_list list;
  char *path = cns_trainer_path(trainer, UPDATE);
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = check_output(path, UPDATE, 8 + CNS_SAFETENSORS_HEADER_MAX + sizeof(float) * cns_plan_dim(plan),
                       problem);
  if (!r) r = cns_tensor_list_from_plan(plan, &list, problem);
  if (!r) {
    r = cns_tensors_read(path, &list, ret_update, &trainer->detail);
    cns_tensor_list_deinit(&list);
    if (r == CNS_ERR_RANGE)
      cns_problem_set(problem, r, "the trainer's " UPDATE " holds a number that is not finite");
    else if (r)
      cns_problem_set(problem, r,
                      "the trainer's " UPDATE
                      " doesn't hold the tensors of the study's model, as its log says");
  }
  free(path);
  return r;
}

static int parse_metrics(const cJSON *json, struct cns_trainer_metrics *metrics,
                         struct cns_problem *problem) {
  int64_t examples = 0;
  int r = cns_json_get_int(json, "", "examples", 1, EXAMPLES_MAX, &examples, problem);
  metrics->examples = (uint64_t)examples;
  metrics->has_losses = cns_json_has(json, "first_loss") && cns_json_has(json, "last_loss");
  if (r || !metrics->has_losses) return r;
  r = cns_json_get_number(json, "", "first_loss", -1e30, 1e30, &metrics->first_loss, problem);
  return r ? r : cns_json_get_number(json, "", "last_loss", -1e30, 1e30, &metrics->last_loss, problem);
}

static int read_metrics(struct cns_trainer *trainer, struct cns_trainer_metrics *ret_metrics,
                        struct cns_problem *problem) {
  struct cns_trainer_metrics metrics = {0};
  char *path = cns_trainer_path(trainer, METRICS);
  uint8_t *text = NULL;
  size_t len = 0;
  cJSON *json = NULL;
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = check_output(path, METRICS, CNS_TRAINER_METRICS_BYTES_MAX, problem);
  if (!r) {
    r = cns_file_read(path, CNS_TRAINER_METRICS_BYTES_MAX, &text, &len, &trainer->detail);
    if (!r) r = cns_json_parse((const char *)text, len, METRICS, &json, &trainer->detail);
    if (!r) r = parse_metrics(json, &metrics, &trainer->detail);
    if (r)
      cns_problem_set(problem, r,
                      "the trainer's " METRICS " doesn't say how many examples it trained on, or "
                      "holds a number that is none");
  }
  cJSON_Delete(json);
  free(text);
  free(path);
  if (!r) *ret_metrics = metrics;
  return r;
}

int cns_trainer_collect(struct cns_trainer *trainer, float *ret_update,
                        struct cns_trainer_metrics *ret_metrics, struct cns_problem *problem) {
  int r = read_metrics(trainer, ret_metrics, problem);
  return r ? r : read_update(trainer, ret_update, problem);
}
