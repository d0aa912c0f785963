/* SPDX-License-Identifier: Apache-2.0 */
#include "model/plan_training.h"

#include <string.h>

#define PATH "training"
#define OPTIMISER_PATH "training.server_optimiser"

static int get_uint(const cJSON *training, const char *name, int64_t max, uint32_t *ret_value,
                    struct cns_problem *problem) {
  int64_t value;
  int r = cns_json_get_int(training, PATH, name, 1, max, &value, problem);
  if (r == 0) *ret_value = (uint32_t)value;
  return r;
}

static int get_kind(const cJSON *json, enum cns_server_optimiser_kind *ret_kind,
                    struct cns_problem *problem) {
  static const char *const kinds[] = {
      [CNS_SERVER_FEDAVG] = "fedavg",         [CNS_SERVER_FEDAVGM] = "fedavgm",
      [CNS_SERVER_FEDADAM] = "fedadam",       [CNS_SERVER_FEDYOGI] = "fedyogi",
      [CNS_SERVER_FEDADAGRAD] = "fedadagrad",
  };
  const char *text;
  int r = cns_json_get_string(json, OPTIMISER_PATH, "kind", CNS_PLAN_TEXT_MAX, &text, problem);
  if (r < 0) return r;
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    if (strcmp(text, kinds[k]) == 0) {
      *ret_kind = (enum cns_server_optimiser_kind)k;
      return 0;
    }
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         OPTIMISER_PATH ".kind must be \"fedavg\", \"fedavgm\", \"fedadam\", \"fedyogi\" or "
                                        "\"fedadagrad\"");
}

/* Exactly the numbers that the kind has. */
static int parse_numbers(const cJSON *json, struct cns_server_optimiser *o, struct cns_problem *problem) {
  static const char *const names[][6] = {
      [CNS_SERVER_FEDAVG] = {"kind", "learning_rate"},
      [CNS_SERVER_FEDAVGM] = {"kind", "learning_rate", "momentum"},
      [CNS_SERVER_FEDADAM] = {"kind", "learning_rate", "beta1", "beta2", "tau"},
      [CNS_SERVER_FEDYOGI] = {"kind", "learning_rate", "beta1", "beta2", "tau"},
      [CNS_SERVER_FEDADAGRAD] = {"kind", "learning_rate", "beta1", "tau"},
  };
  static const char path[] = OPTIMISER_PATH;
  size_t arrays = cns_server_optimiser_arrays(o);
  int r = cns_json_only(json, path, names[o->kind], problem);
  if (r == 0) r = cns_json_get_number(json, path, "learning_rate", 1e-9, 100, &o->learning_rate, problem);
  if (r == 0 && arrays == 1) r = cns_json_get_number(json, path, "momentum", 0, 0.999, &o->beta1, problem);
  if (r == 0 && arrays == 2) r = cns_json_get_number(json, path, "beta1", 0, 0.9999, &o->beta1, problem);
  if (r == 0 && arrays == 2 && o->kind != CNS_SERVER_FEDADAGRAD)
    r = cns_json_get_number(json, path, "beta2", 0, 0.9999, &o->beta2, problem);
  if (r == 0 && arrays == 2) r = cns_json_get_number(json, path, "tau", 1e-9, 1, &o->tau, problem);
  return r;
}

/* Left out: FedAvg as it was published. */
static int parse_optimiser(const cJSON *training, struct cns_plan *plan, struct cns_problem *problem) {
  struct cns_server_optimiser o = {.kind = CNS_SERVER_FEDAVG, .learning_rate = 1};
  const cJSON *json;
  int r = 0;
  if (cns_json_has(training, "server_optimiser")) {
    r = cns_json_get_object(training, PATH, "server_optimiser", &json, problem);
    if (r == 0) r = get_kind(json, &o.kind, problem);
    if (r == 0) r = parse_numbers(json, &o, problem);
  }
  if (r == 0) plan->server_optimiser = o;
  return r;
}

static int parse_scaffold(const cJSON *training, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"steps", "hospitals", NULL};
  static const char path[] = "training.scaffold";
  const cJSON *json;
  int64_t steps = 0, hospitals = 0;
  if (!cns_json_has(training, "scaffold")) return 0;
  int r = cns_json_get_object(training, PATH, "scaffold", &json, problem);
  if (r == 0) r = cns_json_only(json, path, names, problem);
  if (r == 0) r = cns_json_get_int(json, path, "steps", 1, 1000000, &steps, problem);
  if (r == 0) r = cns_json_get_int(json, path, "hospitals", 2, CNS_HOSPITALS_MAX, &hospitals, problem);
  if (r == 0)
    plan->scaffold = (struct cns_plan_scaffold){.steps = (uint32_t)steps, .hospitals = (uint32_t)hospitals};
  return r;
}

int cns_plan_check_scaffold(const struct cns_plan *plan, struct cns_problem *problem) {
  if (plan->scaffold.steps == 0) return 0;
  if (plan->momentum != 0 || plan->proximal != 0)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "training.scaffold: a hospital's control variate is the mean gradient of plain SGD: "
        "momentum must be 0 and proximal left out");
  if (plan->server_optimiser.kind != CNS_SERVER_FEDAVG)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "training.scaffold: the server's step must be plain: server_optimiser left out, or of "
        "kind \"fedavg\"");
  if (plan->weighting != CNS_WEIGHTING_EQUAL)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "training.scaffold: the server's control variate is the plain mean of the hospitals': "
        "weighting must be \"equal\"");
  if (plan->dim > CNS_PLAN_DIM_MAX / 2)
    return cns_problem_set(
        problem, CNS_ERR_LIMIT,
        "training.scaffold: an update is twice as long as the model, which has %zu parameters, "
        "but may have at most %zu",
        plan->dim, CNS_PLAN_DIM_MAX / 2);
  return 0;
}

int cns_plan_parse_training(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"rounds", "local_epochs", "learning_rate",    "momentum", "batch",
                                      "seed",   "clip_norm",    "server_optimiser", "proximal", "scaffold",
                                      NULL};
  static const char path[] = PATH;
  const cJSON *training;
  int64_t seed;
  int r = cns_json_get_object(json, "", path, &training, problem);
  if (r == 0) r = cns_json_only(training, path, names, problem);
  if (r == 0) r = get_uint(training, "rounds", 1000000, &plan->rounds, problem);
  if (r == 0) r = get_uint(training, "local_epochs", 1000, &plan->local_epochs, problem);
  if (r == 0)
    r = cns_json_get_number(training, path, "learning_rate", 1e-9, 100, &plan->learning_rate, problem);
  if (r == 0) r = cns_json_get_number(training, path, "momentum", 0, 0.999, &plan->momentum, problem);
  if (r == 0) r = get_uint(training, "batch", 65536, &plan->batch, problem);
  if (r == 0) r = cns_json_get_int(training, path, "seed", 0, CNS_PLAN_SEED_MAX, &seed, problem);
  if (r == 0) r = cns_json_get_number(training, path, "clip_norm", 1e-6, 1e6, &plan->clip_norm, problem);
  if (r == 0) plan->seed = (uint64_t)seed;
  if (r == 0 && cns_json_has(training, "proximal"))
    r = cns_json_get_number(training, path, "proximal", 0, 1e6, &plan->proximal, problem);
  if (r == 0) r = parse_scaffold(training, plan, problem);
  return r ? r : parse_optimiser(training, plan, problem);
}
