/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/policy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/sketch.h"

#define KIND "policy"
#define ROLE "officer"
#define WEIGHT_CAP_MAX 1000000
#define ROUND_TO_MAX 1000
#define ATTEMPTS_MAX 10
#define SKETCH_BUDGET_MAX 1e6
#define FALSE_POSITIVE_MIN 1e-4
#define FALSE_POSITIVE_MAX 0.1
#define TIGHTEN_ROUNDS_MAX 1000
#define TIGHTEN_FACTOR_MAX 100.0
/* A year, in which an officer should look at it again. */
#define VALID_SECONDS (365 * INT64_C(86400))

struct name {
  const char *text;
  int value;
  bool reserved; /* the design has it, this version doesn't offer it */
};

static const struct name unit_names[] = {{"hospital", 0, false}, {"patient", 1, true}, {NULL, 0, false}};
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
                                          {"central", CNS_NOISE_CENTRAL, true},
                                          {"distributed", CNS_NOISE_DISTRIBUTED, true},
                                          {NULL, 0, false}};
static const struct name metrics_names[] = {{"off", 0, false}, {"exact", 1, false}, {NULL, 0, false}};

uint16_t cns_policy_default_colluders(size_t roster_size) {
  size_t colluders = roster_size < 6 ? 1 : (roster_size - 2) / 4;
  return (uint16_t)(colluders > CNS_HOSPITALS_MAX ? CNS_HOSPITALS_MAX : colluders);
}

uint16_t cns_policy_threshold(size_t cohort, uint16_t colluders) {
  return (uint16_t)((cohort + colluders) / 2 + 1);
}

uint32_t cns_policy_patients(const struct cns_policy *policy, uint64_t patients) {
  uint64_t step = policy->weight_round_to;
  /* Below the cap already, so that adding half a step can't wrap. */
  if (patients >= policy->weight_cap) return policy->weight_cap;
  uint64_t rounded = (patients + step / 2) / step * step;
  if (rounded < step) rounded = step;
  return rounded > policy->weight_cap ? policy->weight_cap : (uint32_t)rounded;
}

uint32_t cns_policy_weight(const struct cns_policy *policy, uint64_t patients) {
  return policy->weights_mode == CNS_WEIGHTS_EQUAL ? 1 : cns_policy_patients(policy, patients);
}

void cns_policy_default(const struct cns_roster *roster, struct cns_policy *ret_policy) {
  struct cns_policy policy = {.version = 1,
                              .valid_until = roster->valid_from + VALID_SECONDS,
                              .colluders = cns_policy_default_colluders(cns_roster_active_count(roster)),
                              .clip_norm_max = 10.0,
                              .weights_mode = CNS_WEIGHTS_PATIENTS,
                              .weight_cap = 100000,
                              .weight_round_to = 5,
                              .audit_level = CNS_AUDIT_NONE,
                              .noise_placement = CNS_NOISE_NONE,
                              .metrics = true,
                              .attempts_per_parent = 2};
  memcpy(policy.consortium, roster->consortium, sizeof policy.consortium);
  policy.minimum_cohort = (uint16_t)(policy.colluders == 1 ? 4 : 3 * policy.colluders + 1);
  policy.minimum_included = (uint16_t)(policy.colluders + 2);
  /* Without an audit there is nothing to judge an upload by. */
  policy.maximum_exclusions = 0;
  *ret_policy = policy;
}

void cns_policy_set_audit(struct cns_policy *policy, uint32_t sketch) {
  policy->audit_level = CNS_AUDIT_OPEN;
  policy->sketch = sketch;
  policy->sketch_budget = 1.0 / 16;
  policy->when_spent = CNS_SPENT_STOP;
  policy->on_flag = CNS_FLAG_REPORT;
  policy->false_positive_rate = 0.001;
  policy->tighten_rounds = 10;
  policy->tighten_factor = 10;
  policy->maximum_exclusions = policy->colluders;
}

uint64_t cns_policy_sketch_budget(const struct cns_policy *policy, uint64_t dim) {
  return (uint64_t)(policy->sketch_budget * (double)dim);
}

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

static int read_noise(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem) {
  static const char *const fields[] = {"placement", NULL};
  const cJSON *noise = NULL;
  int placement = 0;
  int r = cns_json_get_object(json, "", "noise", &noise, problem);
  if (!r) r = cns_json_only(noise, "noise", fields, problem);
  if (!r) r = get_name(noise, "noise", "placement", noise_names, &placement, problem);
  if (r) return r;
  policy->noise_placement = (enum cns_noise_placement)placement;
  return 0;
}

static int read_policy(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem) {
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
  policy->metrics = metrics;
  return cns_policy_check(policy, problem);
}

static bool within(double value, double least, double most) {
  return isfinite(value) && value >= least && value <= most;
}

static int check_audit(const struct cns_policy *policy, struct cns_problem *problem) {
  if (policy->audit_level == CNS_AUDIT_NONE && policy->sketch == 0) return 0;
  if (policy->audit_level == CNS_AUDIT_NONE)
    return cns_problem_set(problem, CNS_ERR_RANGE, "audit.sketch must be 0 without an audit");
  if (policy->audit_level != CNS_AUDIT_OPEN)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "audit.level must be \"none\" or \"open\" in version " CNS_VERSION);
  if (!cns_sketch_size_valid(policy->sketch))
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.sketch is %" PRIu32 ", but must be 128, 256, 512 or 1024", policy->sketch);
  if (!within(policy->sketch_budget, 0, SKETCH_BUDGET_MAX) || policy->sketch_budget <= 0)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.budget must be greater than 0: the share of an update's length that one "
                           "hospital may reveal in a study");
  if (!within(policy->false_positive_rate, FALSE_POSITIVE_MIN, FALSE_POSITIVE_MAX) ||
      !within(policy->tighten_factor, 1, TIGHTEN_FACTOR_MAX) || policy->tighten_rounds > TIGHTEN_ROUNDS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.false_positive_rate, tighten_rounds or tighten_factor is out of range");
  if (policy->on_flag != CNS_FLAG_REPORT && policy->maximum_exclusions == 0)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "audit.on_flag is \"%s\", but maximum_exclusions is 0: nobody could be left out",
                           name_of(flag_names, policy->on_flag));
  return 0;
}

int cns_policy_check(const struct cns_policy *policy, struct cns_problem *problem) {
  unsigned c = policy->colluders, cohort = policy->minimum_cohort, included = policy->minimum_included;
  if (c < 1 || c > (CNS_HOSPITALS_MAX - 1) / 3)
    return cns_problem_set(problem, CNS_ERR_RANGE, "colluders is %u, but must be from 1 to %d", c,
                           (CNS_HOSPITALS_MAX - 1) / 3);
  /* Two sets of t hospitals must share an honest one, with c missing. */
  if (cohort < 4 || cohort < 3 * c + 1 || cohort > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "minimum_cohort is %u, but with %u colluding hospitals it must be at least %u",
                           cohort, c, 3 * c + 1 < 4 ? 4 : 3 * c + 1);
  if (included < c + 2 || included > cohort)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "minimum_included is %u, but must be from %u (colluders + 2) to minimum_cohort, %u", included, c + 2,
        cohort);
  if (policy->maximum_exclusions > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "maximum_exclusions is out of range");
  if (!isfinite(policy->clip_norm_max) || policy->clip_norm_max <= 0)
    return cns_problem_set(problem, CNS_ERR_RANGE, "clip_norm_max must be greater than 0");
  if (policy->weight_round_to < 1 || policy->weight_cap < policy->weight_round_to)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "weights.cap is %" PRIu32 ", but must be at least round_to, %" PRIu32,
                           policy->weight_cap, policy->weight_round_to);
  if (policy->noise_placement != CNS_NOISE_NONE)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "noise must be \"none\" in version " CNS_VERSION);
  return check_audit(policy, problem);
}

int cns_policy_check_roster(const struct cns_policy *policy, const struct cns_roster *roster,
                            struct cns_problem *problem) {
  size_t active = cns_roster_active_count(roster);
  if (strcmp(policy->consortium, roster->consortium) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the policy is another consortium's than the roster");
  if (policy->minimum_cohort > active)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the policy asks for cohorts of at least %u hospitals, but the roster has only %zu",
        policy->minimum_cohort, active);
  return 0;
}

static int verify(const struct cns_document *document, const struct cns_roster *roster,
                  struct cns_problem *problem) {
  struct cns_problem unsigned_problem = {0}, altered = {0};
  for (size_t i = 0; i < roster->officer_count; i++) {
    const struct cns_identity_public *key = &roster->officers[i].identity;
    if (cns_document_verify(KIND, document, ROLE, key, &unsigned_problem) == 0) return 0;
    for (size_t j = 0; j < document->signature_count; j++)
      if (cns_identity_public_equal(&document->signatures[j].key, key)) altered = unsigned_problem;
  }
  return cns_problem_set(problem, CNS_ERR_SIGNATURE, "%s",
                         altered.text[0] ? altered.text
                                         : "the policy is not signed by any privacy officer of the roster");
}

static int open_document(const struct cns_document *document, const char *where,
                         const struct cns_roster *roster, struct cns_policy *policy,
                         struct cns_problem *problem) {
  cJSON *json = NULL;
  int r = roster ? verify(document, roster, problem) : 0;
  if (r) return cns_problem_prefix(problem, r, "%s", where);
  if ((r = cns_json_parse(document->payload, document->payload_len, where, &json, problem))) return r;
  r = read_policy(json, policy, problem);
  cJSON_Delete(json);
  if (!r && roster) r = cns_policy_check_roster(policy, roster, problem);
  if (r) return cns_problem_prefix(problem, r, "%s", where);
  policy->digest = document->digest;
  return 0;
}

int cns_policy_open(const uint8_t *data, size_t len, const char *where, const struct cns_roster *roster,
                    struct cns_policy *ret_policy, struct cns_problem *problem) {
  struct cns_document document;
  struct cns_policy policy = {0};
  int r = cns_document_parse(KIND, data, len, where, &document, problem);
  if (r) return r;
  r = open_document(&document, where, roster, &policy, problem);
  cns_document_deinit(&document);
  if (!r) *ret_policy = policy;
  return r;
}

int cns_policy_check_time(const struct cns_policy *policy, int64_t now_seconds, struct cns_problem *problem) {
  time_t end = (time_t)policy->valid_until;
  struct tm tm;
  char day[32] = "";
  if (now_seconds < policy->valid_until) return 0;
  if (!gmtime_r(&end, &tm) || strftime(day, sizeof day, "%Y-%m-%d %H:%M UTC", &tm) == 0) day[0] = '\0';
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "the policy was valid until %s; ask a privacy officer for a new one", day);
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

static int fill_json(cJSON *json, const struct cns_policy *policy) {
  cJSON *weights = cJSON_AddObjectToObject(json, "weights"), *audit = cJSON_AddObjectToObject(json, "audit"),
        *noise = cJSON_AddObjectToObject(json, "noise");
  bool done = weights && fill_audit(audit, policy) && noise &&
              cJSON_AddStringToObject(json, "consortium", policy->consortium) &&
              cJSON_AddNumberToObject(json, "version", (double)policy->version) &&
              cJSON_AddStringToObject(json, "unit", unit_names[0].text) &&
              cJSON_AddNumberToObject(json, "colluders", policy->colluders) &&
              cJSON_AddNumberToObject(json, "minimum_cohort", policy->minimum_cohort) &&
              cJSON_AddNumberToObject(json, "minimum_included", policy->minimum_included) &&
              cJSON_AddNumberToObject(json, "maximum_exclusions", policy->maximum_exclusions) &&
              cJSON_AddNumberToObject(json, "clip_norm_max", policy->clip_norm_max) &&
              cJSON_AddStringToObject(weights, "mode", name_of(mode_names, policy->weights_mode)) &&
              cJSON_AddNumberToObject(weights, "cap", policy->weight_cap) &&
              cJSON_AddNumberToObject(weights, "round_to", policy->weight_round_to) &&
              cJSON_AddStringToObject(noise, "placement", name_of(noise_names, policy->noise_placement)) &&
              cJSON_AddStringToObject(json, "metrics", name_of(metrics_names, policy->metrics)) &&
              cJSON_AddNumberToObject(json, "attempts_per_parent", policy->attempts_per_parent);
  return done ? cns_json_add_time(json, "valid_until", policy->valid_until) : CNS_ERR_MEMORY;
}

int cns_policy_to_document(const struct cns_policy *policy, struct cns_document *ret_document) {
  cJSON *json = cJSON_CreateObject();
  if (!json) return CNS_ERR_MEMORY;
  int r = fill_json(json, policy);
  if (!r) r = cns_document_from_json(KIND, json, ret_document);
  cJSON_Delete(json);
  return r;
}
