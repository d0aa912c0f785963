/* SPDX-License-Identifier: Apache-2.0 */
/* What a command is told (docs/trainers.md describes each field). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/trainer_internal.h"
#include "crypto/bytes.h"
#include "crypto/json.h"

#define TASK_VERSION 1
/* As much as a signed whole number of 32 bits has, which is what R takes. */
#define SEED_MASK 0x7FFFFFFFu

static bool add_path(cJSON *json, const char *name, char *path) {
  bool good = path && cJSON_AddStringToObject(json, name, path);
  free(path);
  return good;
}

static bool add_files(cJSON *json, const struct cns_trainer *trainer) {
  cJSON *files = cJSON_AddObjectToObject(json, "files");
  bool good = files && add_path(files, "global", cns_trainer_path(trainer, "global.safetensors")) &&
              add_path(files, "update", cns_trainer_path(trainer, "update.safetensors")) &&
              add_path(files, "metrics", cns_trainer_path(trainer, "metrics.json")) &&
              add_path(files, "data", realpath(trainer->setup->data_path, NULL));
  if (!trainer->task.plan->has_table) return good;
  return good && add_path(files, "train_rows", cns_trainer_path(trainer, "train_rows.txt")) &&
         add_path(files, "validation_rows", cns_trainer_path(trainer, "validation_rows.txt"));
}

static bool add_model(cJSON *json, const struct cns_plan *plan) {
  static const char *const kinds[] = {"logistic", "mlp", "external"};
  cJSON *model = cJSON_AddObjectToObject(json, "model");
  bool good = model && cJSON_AddStringToObject(model, "kind", kinds[plan->kind]);
  if (plan->kind != CNS_MODEL_MLP) return good;
  cJSON *hidden = good ? cJSON_AddArrayToObject(model, "hidden") : NULL;
  good = hidden && cJSON_AddStringToObject(model, "activation",
                                           plan->activation == CNS_ACTIVATION_TANH ? "tanh" : "relu");
  for (size_t k = 0; good && k < plan->hidden_count; k++)
    good = cJSON_AddItemToArray(hidden, cJSON_CreateNumber((double)plan->hidden[k]));
  return good;
}

static bool add_training(cJSON *json, const struct cns_trainer_task *task) {
  const struct cns_plan *plan = task->plan;
  cJSON *training = cJSON_AddObjectToObject(json, "training");
  return training && cJSON_AddNumberToObject(training, "local_epochs", plan->local_epochs) &&
         cJSON_AddNumberToObject(training, "learning_rate", plan->learning_rate) &&
         cJSON_AddNumberToObject(training, "momentum", plan->momentum) &&
         cJSON_AddNumberToObject(training, "batch", plan->batch) &&
         cJSON_AddNumberToObject(training, "proximal", plan->proximal) &&
         cJSON_AddNumberToObject(training, "clip_norm", task->clip_norm);
}

static bool add_feature(cJSON *array, const struct cns_plan_feature *feature) {
  cJSON *json = cJSON_CreateObject();
  if (!json || !cJSON_AddItemToArray(array, json)) {
    cJSON_Delete(json);
    return false;
  }
  if (!cJSON_AddStringToObject(json, "name", feature->name) ||
      !cJSON_AddNumberToObject(json, "min", feature->min) ||
      !cJSON_AddNumberToObject(json, "max", feature->max))
    return false;
  if (feature->missing == CNS_MISSING_DROP) return cJSON_AddStringToObject(json, "missing", "drop");
  cJSON *missing = cJSON_AddObjectToObject(json, "missing");
  return missing && cJSON_AddNumberToObject(missing, "impute", feature->impute);
}

static bool add_table(cJSON *json, const struct cns_plan *plan) {
  if (!plan->has_table) return true;
  cJSON *table = cJSON_AddObjectToObject(json, "table");
  cJSON *classes = table ? cJSON_AddArrayToObject(table, "classes") : NULL;
  cJSON *features = classes ? cJSON_AddArrayToObject(table, "features") : NULL;
  bool good = features && cJSON_AddStringToObject(table, "label", plan->label_column) &&
              cJSON_AddStringToObject(table, "patient_id", plan->patient_column);
  for (size_t k = 0; good && k < plan->class_count; k++)
    good = cJSON_AddItemToArray(classes, cJSON_CreateString(plan->classes[k]));
  for (size_t k = 0; good && k < plan->feature_count; k++)
    good = add_feature(features, &plan->features[k]);
  return good;
}

static bool add_seeds(cJSON *json, const struct cns_network_seed *seed) {
  struct cns_rng_seeded generator;
  cns_network_shuffles(seed, &generator);
  return cJSON_AddNumberToObject(json, "seed", cns_load_le32(generator.key) & SEED_MASK) &&
         cns_json_add_hex(json, "shuffle_key", generator.key, sizeof generator.key) == 0;
}

static bool fill(cJSON *json, const struct cns_trainer *trainer) {
  const struct cns_trainer_task *task = &trainer->task;
  cJSON *study = cJSON_AddObjectToObject(json, "study");
  return study && cJSON_AddNumberToObject(json, "consilium_task", TASK_VERSION) &&
         cJSON_AddStringToObject(study, "name", task->plan->name) &&
         cJSON_AddNumberToObject(study, "version", (double)task->plan->version) &&
         cJSON_AddNumberToObject(json, "round", (double)task->seed.round) &&
         cJSON_AddNumberToObject(json, "attempt", task->seed.attempt) &&
         cJSON_AddNumberToObject(json, "hospital", task->seed.hospital) && add_seeds(json, &task->seed) &&
         add_files(json, trainer) && add_model(json, task->plan) && add_training(json, task) &&
         add_table(json, task->plan);
}

int cns_trainer_write_task(const struct cns_trainer *trainer, struct cns_problem *problem) {
  cJSON *json = cJSON_CreateObject();
  char *text = NULL, *path = cns_trainer_path(trainer, "task.json");
  size_t len = 0;
  int r = json && path && fill(json, trainer) ? cns_json_canonical(json, &text, &len) : CNS_ERR_MEMORY;
  r = r ? cns_problem_set(problem, r, "the trainer's task can't be made, or the data are not there any more")
        : cns_file_write(path, text, len, 0600, problem);
  cJSON_Delete(json);
  free(text);
  free(path);
  return r;
}
