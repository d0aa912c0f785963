/* SPDX-License-Identifier: Apache-2.0 */
/* The single files of a kit: config, authority's key, signed documents. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/kit_trainer.h"

#define AUTHORITY_FILE "authority.pub"
#define CONFIG_FILE "config.json"
#define PATH_BYTES_MAX 4096

bool cns_kit_reserves(const char *name) {
  static const char *const names[] = {AUTHORITY_FILE, CONFIG_FILE,   "identity.key", "tls.key",
                                      "tls.crt",      "roster.json", "policy.json",  "study.json",
                                      "request.json", "data.csv",    "state",        "tls.next.key",
                                      "tls.next.crt", "renewal.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

static int out_of_memory(const char *folder, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", folder);
}

char *cns_kit_path(const char *folder, const char *name) {
  char *path = NULL;
  if (name[0] == '/') return strdup(name);
  return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static int read_file(const char *folder, const char *name, size_t max, char **ret_path, uint8_t **ret_data,
                     size_t *ret_len, struct cns_problem *problem) {
  char *path = cns_kit_path(folder, name);
  if (!path) return out_of_memory(folder, problem);
  int r = cns_file_read(path, max, ret_data, ret_len, problem);
  if (r)
    free(path);
  else
    *ret_path = path;
  return r;
}

static int write_file(const char *folder, const char *name, const void *data, size_t len, unsigned mode,
                      struct cns_problem *problem) {
  char *path = cns_kit_path(folder, name);
  if (!path) return out_of_memory(folder, problem);
  int r = cns_file_write(path, data, len, mode, problem);
  free(path);
  return r;
}

/* Who can write this file decides whom the party trusts. */
static int check_owner_only(const char *path, struct cns_problem *problem) {
  struct stat info;
  if (stat(path, &info) != 0)
    return cns_problem_set(problem, CNS_ERR_IO, "%s: can't be looked at: %s", path, strerror(errno));
  if (info.st_mode & 022)
    return cns_problem_set(problem, CNS_ERR_PERMISSION,
                           "%s: others than its owner can change the authority's key; run: chmod 644 %s",
                           path, path);
  return 0;
}

int cns_kit_authority_read(const char *path, struct cns_identity_public *ret_authority,
                           struct cns_problem *problem) {
  enum { DIGITS = 2 * CNS_IDENTITY_BYTES };
  char digits[DIGITS + 1];
  struct cns_identity_public authority;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, 256, &data, &len, problem);
  if (r) return r;
  bool line = len == DIGITS + 1 && data[DIGITS] == '\n';
  if (line) {
    memcpy(digits, data, DIGITS);
    digits[DIGITS] = '\0';
  }
  free(data);
  r = check_owner_only(path, problem);
  if (r) return r;
  if (!line || cns_hex_decode(digits, CNS_IDENTITY_BYTES, authority.bytes) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: must be one line of %d hex digits", path, DIGITS);
  *ret_authority = authority;
  return 0;
}

int cns_kit_authority_load(const char *folder, struct cns_identity_public *ret_authority,
                           struct cns_problem *problem) {
  char *path = cns_kit_path(folder, AUTHORITY_FILE);
  if (!path) return out_of_memory(folder, problem);
  int r = cns_kit_authority_read(path, ret_authority, problem);
  free(path);
  return r;
}

int cns_kit_authority_save(const char *folder, const struct cns_identity_public *authority,
                           struct cns_problem *problem) {
  char line[2 * CNS_IDENTITY_BYTES + 1];
  cns_hex_encode(authority->bytes, sizeof authority->bytes, line);
  line[sizeof line - 1] = '\n';
  return write_file(folder, AUTHORITY_FILE, line, sizeof line, 0644, problem);
}

int cns_kit_roster_load(const char *folder, struct cns_roster *ret_roster, struct cns_problem *problem) {
  struct cns_identity_public key;
  char *path = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_kit_authority_load(folder, &key, problem);
  if (!r) r = read_file(folder, "roster.json", CNS_JSON_BYTES_MAX, &path, &data, &len, problem);
  if (!r) r = cns_roster_open(data, len, path, &key, ret_roster, problem);
  free(data);
  free(path);
  return r;
}

int cns_kit_document_load(const char *folder, const char *name, const char *kind,
                          struct cns_document *ret_document, struct cns_problem *problem) {
  char *path = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = read_file(folder, name, CNS_JSON_BYTES_MAX, &path, &data, &len, problem);
  if (r) return r;
  r = cns_document_parse(kind, data, len, path, ret_document, problem);
  free(data);
  free(path);
  return r;
}

int cns_kit_document_save(const char *folder, const char *name, const char *kind,
                          const struct cns_document *document, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_document_serialize(kind, document, &data, &len);
  if (r) return cns_problem_set(problem, r, "%s/%s: can't be put into writing", folder, name);
  r = write_file(folder, name, data, len, 0644, problem);
  free(data);
  return r;
}

static int get_path(const cJSON *json, const char *folder, const char *field, char **ret_path,
                    struct cns_problem *problem) {
  const char *text = NULL;
  int r = cns_json_get_string(json, "", field, PATH_BYTES_MAX, &text, problem);
  if (r) return r;
  if (!*text) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is empty", field);
  char *path = cns_kit_path(folder, text);
  if (!path) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  *ret_path = path;
  return 0;
}

static int get_address(const cJSON *json, const char *field, struct cns_kit_config *config,
                       struct cns_problem *problem) {
  const char *text = NULL;
  int r = cns_json_get_string(json, "", field, CNS_ADDRESS_MAX, &text, problem);
  if (!r && (r = cns_roster_check_address(text, problem))) cns_problem_prefix(problem, r, "%s", field);
  if (!r) memcpy(config->address, text, strlen(text) + 1);
  return r;
}

static int read_floor(const cJSON *json, struct cns_floor *ret_floor, struct cns_problem *problem) {
  static const char *const fields[] = {"cohort", "included", "threshold", NULL};
  const cJSON *object = NULL;
  int64_t cohort = 0, included = 0, threshold = 0;
  int r = cns_json_get_object(json, "", "floor", &object, problem);
  if (!r) r = cns_json_only(object, "floor", fields, problem);
  if (!r) r = cns_json_get_int(object, "floor", "cohort", 4, CNS_HOSPITALS_MAX, &cohort, problem);
  if (!r) r = cns_json_get_int(object, "floor", "included", 3, CNS_HOSPITALS_MAX, &included, problem);
  if (!r) r = cns_json_get_int(object, "floor", "threshold", 3, CNS_HOSPITALS_MAX, &threshold, problem);
  if (r) return r;
  *ret_floor = (struct cns_floor){
      .cohort = (uint16_t)cohort, .included = (uint16_t)included, .threshold = (uint16_t)threshold};
  return 0;
}

static int read_budget(const cJSON *json, struct cns_kit_config *config, struct cns_problem *problem) {
  static const char *const fields[] = {"epsilon", "delta", "lost_through", NULL};
  const cJSON *object = NULL;
  int64_t lost = 0;
  int r = cns_json_get_object(json, "", "budget", &object, problem);
  if (!r) r = cns_json_only(object, "budget", fields, problem);
  if (!r) r = cns_json_get_number(object, "budget", "epsilon", 1e-6, 1e6, &config->data_epsilon, problem);
  if (!r) r = cns_json_get_number(object, "budget", "delta", 1e-30, 0.5, &config->data_delta, problem);
  if (!r && cns_json_has(object, "lost_through"))
    r = cns_json_get_int(object, "budget", "lost_through", 1, INT32_MAX, &lost, problem);
  if (!r) config->lost_through = (uint64_t)lost;
  return r;
}

static int read_coordinator(const cJSON *json, const char *folder, struct cns_kit_config *config,
                            struct cns_problem *problem) {
  static const char *const fields[] = {"role", "listen", "state", "test", NULL};
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = get_address(json, "listen", config, problem);
  if (!r) r = get_path(json, folder, "state", &config->state_path, problem);
  if (!r && cns_json_has(json, "test")) r = get_path(json, folder, "test", &config->test_path, problem);
  return r;
}

static int read_hospital(const cJSON *json, const char *folder, struct cns_kit_config *config,
                         struct cns_problem *problem) {
  static const char *const fields[] = {"role",   "name",   "index",   "address",  "data",  "state", "floor",
                                       "ledger", "budget", "trainer", "patients", "proxy", NULL};
  const char *name = NULL;
  int64_t index = 0;
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = cns_json_get_string(json, "", "name", CNS_NAME_MAX, &name, problem);
  if (!r && !cns_roster_is_name(name))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "name is not a hospital's name");
  if (!r) r = cns_json_get_int(json, "", "index", 1, CNS_HOSPITALS_MAX, &index, problem);
  if (!r) r = get_address(json, "address", config, problem);
  if (!r) r = get_path(json, folder, "state", &config->state_path, problem);
  if (!r) r = get_path(json, folder, "data", &config->data_path, problem);
  if (!r) r = read_floor(json, &config->floor, problem);
  if (!r && cns_json_has(json, "ledger")) r = get_path(json, folder, "ledger", &config->ledger_path, problem);
  if (!r && cns_json_has(json, "budget")) r = read_budget(json, config, problem);
  if (!r) r = cns_kit_proxy_read(json, folder, &config->proxy, problem);
  if (!r) r = cns_kit_trainer_read(json, config, problem);
  if (r) return r;
  memcpy(config->name, name, strlen(name) + 1);
  config->index = (uint16_t)index;
  return 0;
}

static int read_config(const cJSON *json, const char *folder, struct cns_kit_config *config,
                       struct cns_problem *problem) {
  const char *role = NULL;
  int r = cns_json_get_string(json, "", "role", 32, &role, problem);
  if (r) return r;
  if (strcmp(role, "coordinator") == 0) {
    config->role = CNS_KIT_COORDINATOR;
    return read_coordinator(json, folder, config, problem);
  }
  if (strcmp(role, "hospital") == 0) {
    config->role = CNS_KIT_HOSPITAL;
    return read_hospital(json, folder, config, problem);
  }
  return cns_problem_set(problem, CNS_ERR_FORMAT, "role must be \"coordinator\" or \"hospital\"");
}

/* Mostly another folder was meant, or the authority's answer isn't in yet. */
static int no_config(const char *folder, struct cns_problem *problem) {
  char *request = cns_kit_path(folder, "request.json");
  bool waits = request && access(request, F_OK) == 0;
  free(request);
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s/" CONFIG_FILE ": there is none: %s", folder,
                         waits ? "the kit waits for the authority's response (consilium kit accept)"
                               : "the folder is not the kit of a coordinator or of a hospital");
}

/* There is a password in it. */
static int check_secret(struct cns_problem *problem, const char *path) {
  struct stat info;
  if (stat(path, &info) == 0 && !(info.st_mode & 077)) return 0;
  return cns_problem_set(problem, CNS_ERR_PERMISSION,
                         "the proxy's password in it can be read by others than its owner: run chmod 600 %s",
                         path);
}

int cns_kit_config_load(const char *folder, struct cns_kit_config *ret_config, struct cns_problem *problem) {
  struct cns_kit_config config = {0};
  char *path = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  cJSON *json = NULL;
  int r = read_file(folder, CONFIG_FILE, CNS_KIT_CONFIG_BYTES_MAX, &path, &data, &len, problem);
  if (r == CNS_ERR_NOT_FOUND) return no_config(folder, problem);
  if (r) return r;
  r = cns_json_parse((const char *)data, len, path, &json, problem);
  if (!r) {
    r = read_config(json, folder, &config, problem);
    if (!r && cns_kit_proxy_is_secret(&config.proxy)) r = check_secret(problem, path);
    if (r) cns_problem_prefix(problem, r, "%s", path);
    cJSON_Delete(json);
  }
  free(data);
  free(path);
  if (r)
    cns_kit_config_deinit(&config);
  else
    *ret_config = config;
  return r;
}

void cns_kit_config_deinit(struct cns_kit_config *config) {
  free(config->state_path);
  free(config->data_path);
  free(config->test_path);
  free(config->ledger_path);
  cns_kit_proxy_deinit(&config->proxy);
  cns_kit_trainer_deinit(&config->trainer);
  *config = (struct cns_kit_config){0};
}

/* What takes more of a model than its numbers. */
static int check_external(const struct cns_policy *policy, struct cns_problem *problem) {
  if (policy->metrics || policy->metrics_public || policy->metrics_noised)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the study's model is external, so loss and AUC can't be computed here: the policy's "
        "metrics must be \"off\"; ask the privacy officer or the study's authors");
  if (policy->noise_placement != CNS_NOISE_NONE && policy->unit == CNS_UNIT_PATIENT)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the study's model is external, but the policy protects patients: that needs each "
        "patient's gradient clipped by itself, which only the built-in models allow; use a "
        "built-in model, or the unit hospital");
  return 0;
}

int cns_kit_check_study(const struct cns_policy *policy, const struct cns_plan *plan,
                        struct cns_problem *problem) {
  if (plan->kind == CNS_MODEL_EXTERNAL) {
    int r = check_external(policy, problem);
    if (r) return r;
  }
  const struct cns_policy_study study = {.clip_norm = cns_plan_clip_norm_max(plan),
                                         .adaptive_clip = plan->adaptive_clip.share > 0,
                                         .noised_metrics = plan->noised_metrics.share > 0,
                                         .by_patients = plan->weighting == CNS_WEIGHTING_PATIENTS,
                                         .noise_multiplier = plan->noise_multiplier,
                                         .sampling_rate = plan->sampling_rate,
                                         .local_epochs = plan->local_epochs,
                                         .momentum = plan->momentum,
                                         .proximal = plan->proximal,
                                         .scaffold = plan->scaffold.steps > 0,
                                         .validation_share = plan->validation_share};
  return cns_policy_check_study(policy, &study, problem);
}

struct cns_floor cns_kit_floor_default(const struct cns_policy *policy) {
  return (struct cns_floor){.cohort = policy->minimum_cohort,
                            .included = policy->minimum_included,
                            .threshold = cns_policy_threshold(policy->minimum_cohort, policy->colluders)};
}

/* What loading has put in front of a path is not saved: the kit can be moved. */
static const char *in_kit(const char *folder, const char *path) {
  size_t len = strlen(folder);
  return strncmp(path, folder, len) == 0 && path[len] == '/' && path[len + 1] ? path + len + 1 : path;
}

static bool fill_ledger(cJSON *json, const char *folder, const struct cns_kit_config *config) {
  bool good =
      !config->ledger_path || cJSON_AddStringToObject(json, "ledger", in_kit(folder, config->ledger_path));
  if (!good || config->data_epsilon == 0) return good;
  cJSON *budget = cJSON_AddObjectToObject(json, "budget");
  return budget && cJSON_AddNumberToObject(budget, "epsilon", config->data_epsilon) &&
         cJSON_AddNumberToObject(budget, "delta", config->data_delta) &&
         (config->lost_through == 0 ||
          cJSON_AddNumberToObject(budget, "lost_through", (double)config->lost_through));
}

static bool fill_hospital(cJSON *json, const char *folder, const struct cns_kit_config *config) {
  cJSON *limits = cJSON_AddObjectToObject(json, "floor");
  const char *password = config->proxy.password_path;
  return limits && fill_ledger(json, folder, config) && cns_kit_trainer_fill(json, config) &&
         cns_kit_proxy_fill(json, &config->proxy, password ? in_kit(folder, password) : NULL) &&
         cJSON_AddStringToObject(json, "role", "hospital") &&
         cJSON_AddStringToObject(json, "name", config->name) &&
         cJSON_AddNumberToObject(json, "index", config->index) &&
         cJSON_AddStringToObject(json, "address", config->address) &&
         cJSON_AddStringToObject(json, "data", in_kit(folder, config->data_path)) &&
         cJSON_AddStringToObject(json, "state", in_kit(folder, config->state_path)) &&
         cJSON_AddNumberToObject(limits, "cohort", config->floor.cohort) &&
         cJSON_AddNumberToObject(limits, "included", config->floor.included) &&
         cJSON_AddNumberToObject(limits, "threshold", config->floor.threshold);
}

static bool fill_coordinator(cJSON *json, const char *folder, const struct cns_kit_config *config) {
  return (!config->test_path || cJSON_AddStringToObject(json, "test", in_kit(folder, config->test_path))) &&
         cJSON_AddStringToObject(json, "role", "coordinator") &&
         cJSON_AddStringToObject(json, "listen", config->address) &&
         cJSON_AddStringToObject(json, "state", in_kit(folder, config->state_path));
}

int cns_kit_config_save(const char *folder, const struct cns_kit_config *config,
                        struct cns_problem *problem) {
  cJSON *json = cJSON_CreateObject();
  char *text = NULL;
  size_t len = 0;
  bool filled = json && (config->role == CNS_KIT_HOSPITAL ? fill_hospital(json, folder, config)
                                                          : fill_coordinator(json, folder, config));
  int r = filled ? cns_json_canonical(json, &text, &len) : CNS_ERR_MEMORY;
  cJSON_Delete(json);
  if (r) return out_of_memory(folder, problem);
  r = write_file(folder, CONFIG_FILE, text, len, cns_kit_proxy_is_secret(&config->proxy) ? 0600 : 0644,
                 problem);
  free(text);
  return r;
}
