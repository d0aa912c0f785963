/* SPDX-License-Identifier: Apache-2.0 */
#include "store/kit_trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 4096
#define MIB ((uint64_t)1 << 20)
#define TIME_LIMIT_S 3600
#define FILE_MIB 16384
#define FREE_MIB 512
#define MIB_MAX (1 << 24)

static const char trainer_path[] = "trainer";

static int no_memory(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

static int read_command(const cJSON *json, struct cns_kit_trainer *trainer, struct cns_problem *problem) {
  const cJSON *array, *item;
  size_t at = 0;
  int r = cns_json_get_array(json, trainer_path, "command", &array, problem);
  if (r) return r;
  int count = cJSON_GetArraySize(array);
  if (count < 1 || count > CNS_KIT_ARGUMENTS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "trainer.command has %d entries, but must have 1 to %d: the program and its "
                           "arguments, each a string of its own",
                           count, CNS_KIT_ARGUMENTS_MAX);
  trainer->command = calloc((size_t)count + 1, sizeof *trainer->command);
  if (!trainer->command) return no_memory(problem);
  cJSON_ArrayForEach(item, array) {
    if (!cJSON_IsString(item) || strlen(item->valuestring) > TEXT_MAX || (at == 0 && !*item->valuestring))
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "trainer.command[%zu] must be a string of at most %d bytes", at, TEXT_MAX);
    trainer->command[at] = strdup(item->valuestring);
    if (!trainer->command[at++]) return no_memory(problem);
  }
  return 0;
}

static bool is_variable(const char *name) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
  return *name && strspn(name, letters) == strlen(name) && !(*name >= '0' && *name <= '9') &&
         strncmp(name, "CONSILIUM_", 10) != 0;
}

static int read_environment(const cJSON *json, struct cns_kit_trainer *trainer, struct cns_problem *problem) {
  const cJSON *object, *item;
  size_t at = 0;
  if (!cns_json_has(json, "environment")) return 0;
  int r = cns_json_get_object(json, trainer_path, "environment", &object, problem);
  if (r) return r;
  int count = cJSON_GetArraySize(object);
  if (count > CNS_KIT_VARIABLES_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "trainer.environment has %d entries, but may have %d",
                           count, CNS_KIT_VARIABLES_MAX);
  trainer->environment = calloc((size_t)count + 1, sizeof *trainer->environment);
  if (!trainer->environment) return no_memory(problem);
  cJSON_ArrayForEach(item, object) {
    if (!is_variable(item->string) || !cJSON_IsString(item) || strlen(item->valuestring) > TEXT_MAX)
      return cns_problem_set(
          problem, CNS_ERR_FORMAT,
          "trainer.environment.%.60s: names are of letters, digits and '_' and don't begin "
          "with CONSILIUM_, values are strings of at most %d bytes",
          item->string, TEXT_MAX);
    if (asprintf(&trainer->environment[at], "%s=%s", item->string, item->valuestring) < 0) {
      trainer->environment[at] = NULL;
      return no_memory(problem);
    }
    at++;
  }
  return 0;
}

/* May be left out, and is `usual` then. */
static int read_whole(const cJSON *json, const char *name, int64_t usual, int64_t min, int64_t max,
                      uint64_t *ret_value, struct cns_problem *problem) {
  int64_t value = usual;
  int r =
      cns_json_has(json, name) ? cns_json_get_int(json, trainer_path, name, min, max, &value, problem) : 0;
  *ret_value = (uint64_t)value;
  return r;
}

static int read_trainer(const cJSON *root, struct cns_kit_trainer *trainer, struct cns_problem *problem) {
  static const char *const fields[] = {"command",  "environment", "time_limit_s",
                                       "file_mib", "free_mib",    NULL};
  const cJSON *json = NULL;
  uint64_t seconds = 0, file_mib = 0, free_mib = 0;
  int r = cns_json_get_object(root, "", trainer_path, &json, problem);
  if (!r) r = cns_json_only(json, trainer_path, fields, problem);
  if (!r) r = read_command(json, trainer, problem);
  if (!r) r = read_environment(json, trainer, problem);
  if (!r)
    r = read_whole(json, "time_limit_s", TIME_LIMIT_S, 1, CNS_KIT_TRAINER_SECONDS_MAX, &seconds, problem);
  if (!r) r = read_whole(json, "file_mib", FILE_MIB, 1, MIB_MAX, &file_mib, problem);
  if (!r) r = read_whole(json, "free_mib", FREE_MIB, 0, MIB_MAX, &free_mib, problem);
  trainer->time_limit_s = (uint32_t)seconds;
  trainer->file_bytes = file_mib * MIB;
  trainer->free_bytes = free_mib * MIB;
  return r;
}

int cns_kit_trainer_read(const cJSON *json, struct cns_kit_config *config, struct cns_problem *problem) {
  int64_t patients = 0;
  int r = 0;
  if (cns_json_has(json, "patients"))
    r = cns_json_get_int(json, "", "patients", 1, CNS_KIT_PATIENTS_MAX, &patients, problem);
  config->patients = (uint32_t)patients;
  if (!r && cns_json_has(json, trainer_path)) r = read_trainer(json, &config->trainer, problem);
  return r;
}

static bool fill_environment(cJSON *json, char *const *environment) {
  cJSON *object = environment ? cJSON_AddObjectToObject(json, "environment") : NULL;
  bool good = object || !environment;
  for (size_t k = 0; good && object && environment[k]; k++) {
    const char *equals = strchr(environment[k], '=');
    char *name = strndup(environment[k], (size_t)(equals - environment[k]));
    good = name && cJSON_AddStringToObject(object, name, equals + 1);
    free(name);
  }
  return good;
}

bool cns_kit_trainer_fill(cJSON *json, const struct cns_kit_config *config) {
  const struct cns_kit_trainer *trainer = &config->trainer;
  if (config->patients && !cJSON_AddNumberToObject(json, "patients", config->patients)) return false;
  if (!trainer->command) return true;
  cJSON *object = cJSON_AddObjectToObject(json, trainer_path);
  cJSON *command = object ? cJSON_AddArrayToObject(object, "command") : NULL;
  bool good = command;
  for (size_t k = 0; good && trainer->command[k]; k++) {
    cJSON *text = cJSON_CreateString(trainer->command[k]);
    good = text && cJSON_AddItemToArray(command, text);
  }
  return good && fill_environment(object, trainer->environment) &&
         cJSON_AddNumberToObject(object, "time_limit_s", trainer->time_limit_s) &&
         cJSON_AddNumberToObject(object, "file_mib", (double)(trainer->file_bytes / MIB)) &&
         cJSON_AddNumberToObject(object, "free_mib", (double)(trainer->free_bytes / MIB));
}

void cns_kit_trainer_deinit(struct cns_kit_trainer *trainer) {
  for (size_t k = 0; trainer->command && trainer->command[k]; k++)
    free(trainer->command[k]);
  for (size_t k = 0; trainer->environment && trainer->environment[k]; k++)
    free(trainer->environment[k]);
  free(trainer->command);
  free(trainer->environment);
  *trainer = (struct cns_kit_trainer){0};
}

int cns_kit_check_trainer(const struct cns_kit *kit, const struct cns_plan *plan,
                          struct cns_problem *problem) {
  const struct cns_kit_config *config = &kit->config;
  bool noisy = kit->policy.noise_placement != CNS_NOISE_NONE;
  if (plan->kind == CNS_MODEL_EXTERNAL && !config->trainer.command)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s/config.json: the study's model is external, so a command of yours must train it: "
        "add \"trainer\": {\"command\": [...]} (docs/trainers.md)",
        kit->folder);
  if (config->trainer.command && noisy && kit->policy.unit == CNS_UNIT_PATIENT)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s/config.json: names a trainer, but the policy protects single patients: that needs "
        "each patient's gradient clipped by itself, which can't be checked in a command's "
        "update; remove \"trainer\" to train with the built-in one",
        kit->folder);
  if (config->trainer.command && plan->scaffold.steps > 0)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s/config.json: names a trainer, but the study trains with SCAFFOLD, which only the "
        "built-in trainer does; remove \"trainer\"",
        kit->folder);
  if (!plan->has_table && config->patients == 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s/config.json: the study names no table, so add how many patients your data are "
                           "of, as \"patients\": N",
                           kit->folder);
  if (plan->has_table && config->patients > 0)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s/config.json: remove \"patients\": the study names a table, and they are counted "
        "in it",
        kit->folder);
  return 0;
}
