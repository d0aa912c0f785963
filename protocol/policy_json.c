/* SPDX-License-Identifier: Apache-2.0 */
/* The policy as JSON: fields in and out. */
#include <stdio.h>
#include <string.h>

#include "crypto/sketch.h"
#include "protocol/policy_internal.h"

struct name {
  const char *text;
  int value;
  bool reserved; /* the design has it, this version doesn't offer it */
};

static const struct name unit_names[] = {
    {"hospital", CNS_UNIT_HOSPITAL, false}, {"patient", CNS_UNIT_PATIENT, false}, {NULL, 0, false}};
static const struct name mode_names[] = {
    {"equal", CNS_WEIGHTS_EQUAL, false}, {"patients", CNS_WEIGHTS_PATIENTS, false}, {NULL, 0, false}};
static const struct name audit_names[] = {{"none", CNS_AUDIT_NONE, false},
                                          {"open", CNS_AUDIT_OPEN, false},
                                          {"norm", CNS_AUDIT_NORM, true},
                                          {"distances", CNS_AUDIT_DISTANCES, true},
                                          {NULL, 0, false}};
static const struct name spent_names[] = {{"stop", CNS_SPENT_STOP, false},
                                          {"unaudited", CNS_SPENT_UNAUDITED, false},
                                          {"random", CNS_SPENT_RANDOM, false},
                                          {NULL, 0, false}};
static const struct name flag_names[] = {{"report", CNS_FLAG_REPORT, false},
                                         {"exclude", CNS_FLAG_EXCLUDE, false},
                                         {"quarantine", CNS_FLAG_QUARANTINE, false},
                                         {NULL, 0, false}};
static const struct name noise_names[] = {{"none", CNS_NOISE_NONE, false},
                                          {"central", CNS_NOISE_CENTRAL, false},
                                          {"distributed", CNS_NOISE_DISTRIBUTED, false},
                                          {NULL, 0, false}};
static const struct name relation_names[] = {
    {"add-remove", CNS_DP_ADD_REMOVE, false}, {"replace-one", CNS_DP_REPLACE_ONE, false}, {NULL, 0, false}};
static const struct name metrics_names[] = {
    {"off", 0, false}, {"exact", 1, false}, {"public", 2, false}, {"noised", 3, false}, {NULL, 0, false}};

static int get_name(const cJSON *object, const char *path, const char *field, const struct name *names,
                    int *ret_value, struct cns_problem *problem) {
  const char *text = NULL;
  char offered[128] = "";
  const char *dot = *path ? "." : "";
  int r = cns_json_get_string(object, path, field, 32, &text, problem);
  if (r) return r;
  for (const struct name *name = names; name->text; name++) {
    if (strcmp(text, name->text) == 0 && name->reserved)
      return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                             "%s%s%s is \"%s\": the name is reserved, but version " CNS_VERSION
                             " doesn't offer it yet; use \"%s\"",
                             path, dot, field, text, names[0].text);
    if (strcmp(text, name->text) == 0) {
      *ret_value = name->value;
      return 0;
    }
    if (name->reserved) continue;
    size_t used = strlen(offered);
    snprintf(offered + used, sizeof offered - used, "%s\"%s\"", used ? " or " : "", name->text);
  }
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s%s%s must be %s", path, dot, field, offered);
}

static const char *name_of(const struct name *names, int value) {
  while (names->text && names->value != value)
    names++;
  return names->text ? names->text : "?";
}

static int get_u16(const cJSON *json, const char *field, int64_t min, int64_t max, uint16_t *ret_value,
                   struct cns_problem *problem) {
  int64_t value = 0;
  int r = cns_json_get_int(json, "", field, min, max, &value, problem);
  if (!r) *ret_value = (uint16_t)value;
  return r;
}

static int read_weights(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem) {
  static const char *const fields[] = {"mode", "cap", "round_to", NULL};
  const cJSON *object = NULL;
  int64_t cap = 0, round_to = 0;
  int mode = 0;
  int r = cns_json_get_object(json, "", "weights", &object, problem);
  if (!r) r = cns_json_only(object, "weights", fields, problem);
  if (!r) r = get_name(object, "weights", "mode", mode_names, &mode, problem);
  if (!r) r = cns_json_get_int(object, "weights", "cap", 1, WEIGHT_CAP_MAX, &cap, problem);
  if (!r) r = cns_json_get_int(object, "weights", "round_to", 1, ROUND_TO_MAX, &round_to, problem);
  if (r) return r;
  policy->weights_mode = (enum cns_weights_mode)mode;
  policy->weight_cap = (uint32_t)cap;
  policy->weight_round_to = (uint32_t)round_to;
  return 0;
}

/* What level open has beyond level and sketch. */
static int read_open(const cJSON *audit, struct cns_policy *policy, struct cns_problem *problem) {
  static const char *const fields[] = {"level",          "sketch",         "budget",
                                       "when_spent",     "on_flag",        "false_positive_rate",
                                       "tighten_rounds", "tighten_factor", NULL};
  int spent = 0, flag = 0;
  int64_t rounds = 0;
  int r = cns_json_only(audit, "audit", fields, problem);
  if (!r)
    r = cns_json_get_number(audit, "audit", "budget", 0, SKETCH_BUDGET_MAX, &policy->sketch_budget, problem);
  if (!r) r = get_name(audit, "audit", "when_spent", spent_names, &spent, problem);
  if (!r) r = get_name(audit, "audit", "on_flag", flag_names, &flag, problem);
  if (!r)
    r = cns_json_get_number(audit, "audit", "false_positive_rate", FALSE_POSITIVE_MIN, FALSE_POSITIVE_MAX,
                            &policy->false_positive_rate, problem);
  if (!r) r = cns_json_get_int(audit, "audit", "tighten_rounds", 0, TIGHTEN_ROUNDS_MAX, &rounds, problem);
  if (!r)
    r = cns_json_get_number(audit, "audit", "tighten_factor", 1, TIGHTEN_FACTOR_MAX, &policy->tighten_factor,
                            problem);
  if (r) return r;
  policy->when_spent = (enum cns_when_spent)spent;
  policy->on_flag = (enum cns_on_flag)flag;
  policy->tighten_rounds = (uint16_t)rounds;
  return 0;
}

static int read_audit(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem) {
  static const char *const fields[] = {"level", "sketch", NULL};
  const cJSON *audit = NULL;
  int level = 0;
  int64_t sketch = 0;
  int r = cns_json_get_object(json, "", "audit", &audit, problem);
  if (!r) r = get_name(audit, "audit", "level", audit_names, &level, problem);
  if (!r)
    r = cns_json_get_int(audit, "audit", "sketch", 0, level == CNS_AUDIT_NONE ? 0 : CNS_SKETCH_MAX, &sketch,
                         problem);
  if (!r)
    r = level == CNS_AUDIT_NONE ? cns_json_only(audit, "audit", fields, problem)
                                : read_open(audit, policy, problem);
  if (r) return r;
  policy->audit_level = (enum cns_audit_level)level;
  policy->sketch = (uint32_t)sketch;
  return 0;
}

/* null: no such limit. */
static int get_limit(const cJSON *noise, const char *field, double *ret_limit, struct cns_problem *problem) {
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(noise, field);
  *ret_limit = 0;
  if (cJSON_IsNull(value)) return 0;
  int r = cns_json_get_number(noise, "noise", field, 0, EPSILON_MAX, ret_limit, problem);
  if (!r && *ret_limit <= 0)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "noise.%s is 0, which would allow nothing: give a number, or null for no such limit", field);
  return r;
}

static int read_alerts(const cJSON *noise, struct cns_policy_privacy *p, struct cns_problem *problem) {
  const cJSON *alerts = NULL, *one;
  int r = cns_json_get_array(noise, "noise", "alerts", &alerts, problem);
  if (r) return r;
  if (cJSON_GetArraySize(alerts) > CNS_POLICY_ALERTS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "noise.alerts has more than %d entries",
                           CNS_POLICY_ALERTS_MAX);
  cJSON_ArrayForEach(one, alerts) {
    double last = p->alert_count ? p->alerts[p->alert_count - 1] : 0;
    if (!cJSON_IsNumber(one) || !(one->valuedouble > last && one->valuedouble < 1))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "noise.alerts must be shares of the budget between 0 and 1, in growing order");
    p->alerts[p->alert_count++] = one->valuedouble;
  }
  return 0;
}

static int read_budget(const cJSON *noise, struct cns_policy_privacy *p, struct cns_problem *problem) {
  static const char *const fields[] = {
      "placement",           "relation",       "epsilon",  "delta",  "epsilon_round", "epsilon_month",
      "epsilon_coordinator", "multiplier_min", "rate_max", "alerts", "large_delta",   NULL};
  int relation = 0;
  int r = cns_json_only(noise, "noise", fields, problem);
  if (!r) r = get_name(noise, "noise", "relation", relation_names, &relation, problem);
  if (!r) r = cns_json_get_number(noise, "noise", "epsilon", 0, EPSILON_MAX, &p->epsilon, problem);
  if (!r) r = cns_json_get_number(noise, "noise", "delta", 0, 1, &p->delta, problem);
  if (!r) r = get_limit(noise, "epsilon_round", &p->epsilon_round, problem);
  if (!r) r = get_limit(noise, "epsilon_month", &p->epsilon_month, problem);
  if (!r) r = get_limit(noise, "epsilon_coordinator", &p->epsilon_coordinator, problem);
  if (!r)
    r = cns_json_get_number(noise, "noise", "multiplier_min", CNS_DP_NOISE_MIN, CNS_DP_NOISE_MAX,
                            &p->multiplier_min, problem);
  if (!r) r = cns_json_get_number(noise, "noise", "rate_max", CNS_DP_RATE_MIN, 1, &p->rate_max, problem);
  if (!r) r = read_alerts(noise, p, problem);
  if (!r) r = cns_json_get_bool(noise, "noise", "large_delta", &p->large_delta, problem);
  p->relation = (enum cns_dp_relation)relation;
  return r;
}

static int read_noise(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem) {
  static const char *const fields[] = {"placement", NULL};
  const cJSON *noise = NULL;
  int placement = 0;
  int r = cns_json_get_object(json, "", "noise", &noise, problem);
  if (!r) r = get_name(noise, "noise", "placement", noise_names, &placement, problem);
  if (!r)
    r = placement == CNS_NOISE_NONE ? cns_json_only(noise, "noise", fields, problem)
                                    : read_budget(noise, &policy->privacy, problem);
  policy->noise_placement = (enum cns_noise_placement)placement;
  return r;
}

int cns_policy_read(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem) {
  static const char *const fields[] = {"consortium",
                                       "version",
                                       "valid_until",
                                       "unit",
                                       "colluders",
                                       "minimum_cohort",
                                       "minimum_included",
                                       "maximum_exclusions",
                                       "clip_norm_max",
                                       "weights",
                                       "audit",
                                       "noise",
                                       "metrics",
                                       "attempts_per_parent",
                                       NULL};
  const char *consortium = NULL;
  int64_t version = 0;
  int unit = 0, metrics = 0;
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = cns_json_get_string(json, "", "consortium", CNS_NAME_MAX, &consortium, problem);
  if (!r) r = cns_json_get_int(json, "", "version", 1, INT64_C(1) << 53, &version, problem);
  if (!r) r = cns_json_get_time(json, "", "valid_until", &policy->valid_until, problem);
  if (!r) r = get_name(json, "", "unit", unit_names, &unit, problem);
  if (!r) r = get_u16(json, "colluders", 1, CNS_HOSPITALS_MAX, &policy->colluders, problem);
  if (!r) r = get_u16(json, "minimum_cohort", 4, CNS_HOSPITALS_MAX, &policy->minimum_cohort, problem);
  if (!r) r = get_u16(json, "minimum_included", 3, CNS_HOSPITALS_MAX, &policy->minimum_included, problem);
  if (!r) r = get_u16(json, "maximum_exclusions", 0, CNS_HOSPITALS_MAX, &policy->maximum_exclusions, problem);
  if (!r) r = cns_json_get_number(json, "", "clip_norm_max", 0, 1e9, &policy->clip_norm_max, problem);
  if (!r) r = read_weights(json, policy, problem);
  if (!r) r = read_audit(json, policy, problem);
  if (!r) r = read_noise(json, policy, problem);
  if (!r) r = get_name(json, "", "metrics", metrics_names, &metrics, problem);
  if (!r) r = get_u16(json, "attempts_per_parent", 1, ATTEMPTS_MAX, &policy->attempts_per_parent, problem);
  if (r) return r;
  memcpy(policy->consortium, consortium, strlen(consortium) + 1);
  policy->version = (uint64_t)version;
  policy->metrics = metrics == 1;
  policy->metrics_public = metrics == 2;
  policy->metrics_noised = metrics == 3;
  policy->unit = (enum cns_privacy_unit)unit;
  return 0;
}

static bool fill_audit(cJSON *audit, const struct cns_policy *policy) {
  bool done = audit && cJSON_AddStringToObject(audit, "level", name_of(audit_names, policy->audit_level)) &&
              cJSON_AddNumberToObject(audit, "sketch", policy->sketch);
  if (!done || policy->audit_level == CNS_AUDIT_NONE) return done;
  return cJSON_AddNumberToObject(audit, "budget", policy->sketch_budget) &&
         cJSON_AddStringToObject(audit, "when_spent", name_of(spent_names, policy->when_spent)) &&
         cJSON_AddStringToObject(audit, "on_flag", name_of(flag_names, policy->on_flag)) &&
         cJSON_AddNumberToObject(audit, "false_positive_rate", policy->false_positive_rate) &&
         cJSON_AddNumberToObject(audit, "tighten_rounds", policy->tighten_rounds) &&
         cJSON_AddNumberToObject(audit, "tighten_factor", policy->tighten_factor);
}

static bool add_limit(cJSON *noise, const char *field, double limit) {
  return (limit > 0 ? cJSON_AddNumberToObject(noise, field, limit) : cJSON_AddNullToObject(noise, field)) !=
         NULL;
}

static bool fill_noise(cJSON *noise, const struct cns_policy *policy) {
  const struct cns_policy_privacy *p = &policy->privacy;
  if (!noise ||
      !cJSON_AddStringToObject(noise, "placement", name_of(noise_names, (int)policy->noise_placement)))
    return false;
  if (policy->noise_placement == CNS_NOISE_NONE) return true;
  cJSON *alerts = cJSON_CreateDoubleArray(p->alerts, (int)p->alert_count);
  if (!alerts || !cJSON_AddItemToObject(noise, "alerts", alerts)) {
    cJSON_Delete(alerts);
    return false;
  }
  return cJSON_AddStringToObject(noise, "relation", name_of(relation_names, (int)p->relation)) &&
         cJSON_AddNumberToObject(noise, "epsilon", p->epsilon) &&
         cJSON_AddNumberToObject(noise, "delta", p->delta) &&
         add_limit(noise, "epsilon_round", p->epsilon_round) &&
         add_limit(noise, "epsilon_month", p->epsilon_month) &&
         add_limit(noise, "epsilon_coordinator", p->epsilon_coordinator) &&
         cJSON_AddNumberToObject(noise, "multiplier_min", p->multiplier_min) &&
         cJSON_AddNumberToObject(noise, "rate_max", p->rate_max) &&
         cJSON_AddBoolToObject(noise, "large_delta", p->large_delta);
}

static int metrics_of(const struct cns_policy *policy) {
  return policy->metrics ? 1 : policy->metrics_public ? 2 : policy->metrics_noised ? 3 : 0;
}

int cns_policy_fill(cJSON *json, const struct cns_policy *policy) {
  cJSON *weights = cJSON_AddObjectToObject(json, "weights"), *audit = cJSON_AddObjectToObject(json, "audit"),
        *noise = cJSON_AddObjectToObject(json, "noise");
  bool done = weights && fill_audit(audit, policy) && fill_noise(noise, policy) &&
              cJSON_AddStringToObject(json, "consortium", policy->consortium) &&
              cJSON_AddNumberToObject(json, "version", (double)policy->version) &&
              cJSON_AddStringToObject(json, "unit", name_of(unit_names, (int)policy->unit)) &&
              cJSON_AddNumberToObject(json, "colluders", policy->colluders) &&
              cJSON_AddNumberToObject(json, "minimum_cohort", policy->minimum_cohort) &&
              cJSON_AddNumberToObject(json, "minimum_included", policy->minimum_included) &&
              cJSON_AddNumberToObject(json, "maximum_exclusions", policy->maximum_exclusions) &&
              cJSON_AddNumberToObject(json, "clip_norm_max", policy->clip_norm_max) &&
              cJSON_AddStringToObject(weights, "mode", name_of(mode_names, policy->weights_mode)) &&
              cJSON_AddNumberToObject(weights, "cap", policy->weight_cap) &&
              cJSON_AddNumberToObject(weights, "round_to", policy->weight_round_to) &&
              cJSON_AddStringToObject(json, "metrics", name_of(metrics_names, metrics_of(policy))) &&
              cJSON_AddNumberToObject(json, "attempts_per_parent", policy->attempts_per_parent);
  return done ? cns_json_add_time(json, "valid_until", policy->valid_until) : CNS_ERR_MEMORY;
}

const char *cns_policy_flag_name(enum cns_on_flag on_flag) {
  return name_of(flag_names, (int)on_flag);
}

const char *cns_policy_spent_name(enum cns_when_spent when_spent) {
  return name_of(spent_names, (int)when_spent);
}

const char *cns_privacy_unit_name(enum cns_privacy_unit unit) {
  return name_of(unit_names, (int)unit);
}

const char *cns_noise_placement_name(enum cns_noise_placement placement) {
  return name_of(noise_names, (int)placement);
}

static bool find(const struct name *names, const char *text, int *ret_value) {
  while (names->text && strcmp(names->text, text) != 0)
    names++;
  if (names->text) *ret_value = names->value;
  return names->text != NULL;
}

bool cns_privacy_unit_find(const char *name, enum cns_privacy_unit *ret_unit) {
  int value;
  bool found = find(unit_names, name, &value);
  if (found) *ret_unit = (enum cns_privacy_unit)value;
  return found;
}

bool cns_noise_placement_find(const char *name, enum cns_noise_placement *ret_placement) {
  int value;
  bool found = find(noise_names, name, &value);
  if (found) *ret_placement = (enum cns_noise_placement)value;
  return found;
}
