/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "robust/attack.h"
#include "robust/names.h"

static const struct cns_attack_about kinds[CNS_ATTACK_KIND_COUNT] = {
    [CNS_ATTACK_SIGN_FLIP] = {"sign-flip", "scale", CNS_ATTACK_NEEDS_OWN, true, "-scale * its own update",
                              "Li et al. 2019 (RSA)", "1"},
    [CNS_ATTACK_MEAN_FLIP] = {"mean-flip", "scale", CNS_ATTACK_NEEDS_NOTHING, true, "-scale * honest mean",
                              "sign-flip, by colluders", "1"},
    [CNS_ATTACK_IPM] = {"ipm", "epsilon", CNS_ATTACK_NEEDS_NOTHING, true, "-epsilon * honest mean",
                        "Xie et al. 2020, section 4", "0.5"},
    [CNS_ATTACK_ALIE] = {"alie", "z", CNS_ATTACK_NEEDS_NOTHING, true,
                         "honest mean - z * standard deviation by coordinate",
                         "Baruch et al. 2019, section 3", "z_max(n, f)"},
    [CNS_ATTACK_MIN_MAX] = {"min-max", "scale", CNS_ATTACK_NEEDS_NOTHING, true,
                            "honest mean - scale * gamma * standard deviation, gamma the largest that keeps "
                            "within the largest honest distance",
                            "Shejwalkar, Houmansadr 2021, section 4", "1"},
    [CNS_ATTACK_MIN_SUM] = {"min-sum", "scale", CNS_ATTACK_NEEDS_NOTHING, true,
                            "the same with sums of squared distances",
                            "Shejwalkar, Houmansadr 2021, section 4", "1"},
    [CNS_ATTACK_MIMIC] = {"mimic", "victim", CNS_ATTACK_NEEDS_NOTHING, true, "a copy of one honest update",
                          "Karimireddy et al. 2022, section 3", "the one farthest along the main direction"},
    [CNS_ATTACK_GAUSSIAN] = {"gaussian", "scale", CNS_ATTACK_NEEDS_OWN, true,
                             "noise, scale times as long as its own update",
                             "Blanchard et al. 2017, section 6", "1"},
    [CNS_ATTACK_LABEL_FLIP] = {"label-flip", "scale", CNS_ATTACK_NEEDS_FLIPPED, true,
                               "scale * its update, trained on flipped labels",
                               "Tolpegin et al. 2020, section 3", "1"},
    [CNS_ATTACK_MODEL_REPLACEMENT] = {"model-replacement", "scale", CNS_ATTACK_NEEDS_FLIPPED, true,
                                      "scale * its update, trained on flipped labels",
                                      "Bagdasaryan et al. 2020, section 4.2",
                                      "total weight over the attackers'"},
    [CNS_ATTACK_INFINITY] = {"infinity", "", CNS_ATTACK_NEEDS_NOTHING, false, "+infinity in each coordinate",
                             "Blanchard et al. 2017, section 3", ""},
    [CNS_ATTACK_NAN] = {"nan", "", CNS_ATTACK_NEEDS_NOTHING, false, "NaN in each coordinate",
                        "Blanchard et al. 2017, section 3", ""},
    [CNS_ATTACK_BACKDOOR] = {"backdoor", "scale", CNS_ATTACK_NEEDS_TARGET, true,
                             "honest mean + gamma * (scale * target - honest mean), gamma <= 1 the largest "
                             "that keeps within the largest honest distance",
                             "Bagdasaryan et al. 2020, section 4.2; Wang et al. 2020, the PGD attack",
                             "total weight over the attackers'"},
    [CNS_ATTACK_ALIE_OPTIMISED] = {"alie-optimised", "limit", CNS_ATTACK_NEEDS_RULE, true,
                                   "alie with the z, at most limit, that moves the rule's result farthest "
                                   "from the honest mean",
                                   "Baruch et al. 2019; Shejwalkar, Houmansadr 2021, section 4", "100"},
    [CNS_ATTACK_IPM_OPTIMISED] = {"ipm-optimised", "limit", CNS_ATTACK_NEEDS_RULE, true,
                                  "ipm with the epsilon, at most limit, that moves the rule's result "
                                  "farthest from the honest mean",
                                  "Xie et al. 2020; Shejwalkar, Houmansadr 2021, section 4", "100"},
};

const struct cns_attack_about *cns_attack_about(enum cns_attack_kind kind) {
  return (unsigned)kind < CNS_ATTACK_KIND_COUNT ? &kinds[kind] : NULL;
}

const char *cns_attack_name(enum cns_attack_kind kind) {
  return (unsigned)kind < CNS_ATTACK_KIND_COUNT ? kinds[kind].name : "unknown";
}

const char *cns_attack_parameter(enum cns_attack_kind kind) {
  return (unsigned)kind < CNS_ATTACK_KIND_COUNT ? kinds[kind].parameter : "unknown";
}

bool cns_attack_flips_labels(enum cns_attack_kind kind) {
  return (unsigned)kind < CNS_ATTACK_KIND_COUNT && kinds[kind].need == CNS_ATTACK_NEEDS_FLIPPED;
}

static int find_kind(const char *spec, size_t len) {
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++)
    if (strlen(kinds[k].name) == len && memcmp(kinds[k].name, spec, len) == 0) return k;
  return -1;
}

static int unknown(const char *spec, size_t len, int error, struct cns_problem *problem) {
  const char *names[CNS_ATTACK_KIND_COUNT];
  char list[320] = "", name[CNS_NAMES_CHARS_MAX + 1];
  snprintf(name, sizeof name, "%.*s", (int)(len < CNS_NAMES_CHARS_MAX ? len : CNS_NAMES_CHARS_MAX), spec);
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++) {
    names[k] = kinds[k].name;
    strncat(strncat(list, k > 0 ? ", " : "", 3), names[k], 20);
  }
  const char *nearest = cns_names_nearest(name, names, CNS_ATTACK_KIND_COUNT);
  if (nearest)
    return cns_problem_set(problem, error, "there is no attack '%s'; did you mean %s? There are %s", name,
                           nearest, list);
  return cns_problem_set(problem, error, "there is no attack '%s'; there are %s", name, list);
}

int cns_attack_find(const char *name, enum cns_attack_kind *ret_kind, struct cns_problem *problem) {
  int kind = find_kind(name, strlen(name));
  if (kind < 0) return unknown(name, strlen(name), CNS_ERR_NOT_FOUND, problem);
  *ret_kind = (enum cns_attack_kind)kind;
  return 0;
}

int cns_attack_check_masked(enum cns_attack_kind kind, struct cns_problem *problem) {
  const char *name = cns_attack_name(kind);
  if ((unsigned)kind >= CNS_ATTACK_KIND_COUNT) return CNS_ERR_ARGUMENT;
  if (!kinds[kind].finite)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "attack '%s': what a hospital sends are integers under a mask, none of which is "
                           "infinite or NaN; consilium robust attack writes such rows",
                           name);
  if (kinds[kind].need == CNS_ATTACK_NEEDS_RULE || kinds[kind].need == CNS_ATTACK_NEEDS_TARGET)
    return cns_problem_set(
        problem, CNS_ERR_UNSUPPORTED,
        "attack '%s' needs %s, which a masked sum hasn't; consilium robust attack takes "
        "one",
        name, kinds[kind].need == CNS_ATTACK_NEEDS_RULE ? "a rule to work against" : "a target update");
  return 0;
}

bool cns_attack_is_name(const char *spec) {
  return find_kind(spec, strcspn(spec, ":")) >= 0;
}

/* A whole decimal number in text[0..len). */
static bool read_number(const char *text, size_t len, double *ret_value) {
  char copy[CNS_ATTACK_SPEC_MAX + 1], *end;
  if (len == 0 || len > CNS_ATTACK_SPEC_MAX || !strchr("+-.0123456789", text[0])) return false;
  memcpy(copy, text, len);
  copy[len] = 0;
  *ret_value = strtod(copy, &end);
  return *end == 0 && isfinite(*ret_value);
}

static int parse_count(const char *text, size_t len, struct cns_attack *attack, struct cns_problem *problem) {
  double value;
  if (!read_number(text, len, &value) || value != floor(value) || value < 1 || value > CNS_HOSPITALS_MAX)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "attack '%s': how many hospitals attack is a whole number from 1 to %d, not '%.*s'",
        cns_attack_name(attack->kind), CNS_HOSPITALS_MAX, (int)len, text);
  attack->count = (size_t)value;
  return 0;
}

static int set_jitter(struct cns_attack *attack, double value, bool *seen, struct cns_problem *problem) {
  if (*seen)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s': jitter comes twice",
                           cns_attack_name(attack->kind));
  if (!(value >= 0) || !(value <= 10))
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "attack '%s': jitter is from 0 to 10 (relative length), not %g",
                           cns_attack_name(attack->kind), value);
  attack->jitter = value;
  *seen = true;
  return 0;
}

static int set_strength(struct cns_attack *attack, double value, struct cns_problem *problem) {
  const char *name = cns_attack_name(attack->kind), *parameter = cns_attack_parameter(attack->kind);
  if (attack->has_strength)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s': %s comes twice", name, parameter);
  if (!(value >= 0) || !(value <= CNS_ATTACK_STRENGTH_MAX))
    return cns_problem_set(problem, CNS_ERR_RANGE, "attack '%s': %s is from 0 to %g, not %g", name, parameter,
                           CNS_ATTACK_STRENGTH_MAX, value);
  if (*parameter == 'l' && value == 0)
    return cns_problem_set(problem, CNS_ERR_RANGE, "attack '%s': limit is above 0", name);
  if (attack->kind == CNS_ATTACK_MIMIC && value != floor(value))
    return cns_problem_set(problem, CNS_ERR_RANGE, "attack 'mimic': victim is a whole number, not %g", value);
  attack->has_strength = true;
  attack->strength = value;
  return 0;
}

static int parse_parameter(const char *text, size_t len, struct cns_attack *attack, bool *jitter_seen,
                           struct cns_problem *problem) {
  const char *parameter = cns_attack_parameter(attack->kind), *equals = memchr(text, '=', len);
  size_t key = equals ? (size_t)(equals - text) : len;
  bool jitter = key == 6 && memcmp(text, "jitter", 6) == 0;
  bool own = key == strlen(parameter) && memcmp(text, parameter, key) == 0;
  double value;
  if (!*parameter)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s' takes no parameters, not '%.*s'",
                           cns_attack_name(attack->kind), (int)len, text);
  if (!equals || (!jitter && !own))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "attack '%s' takes %s=NUMBER and jitter=NUMBER, not '%.*s'",
                           cns_attack_name(attack->kind), parameter, (int)len, text);
  if (!read_number(equals + 1, len - key - 1, &value))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s': '%.*s' is not followed by a number",
                           cns_attack_name(attack->kind), (int)key + 1, text);
  return jitter ? set_jitter(attack, value, jitter_seen, problem) : set_strength(attack, value, problem);
}

int cns_attack_parse(const char *spec, struct cns_attack *ret_attack, struct cns_problem *problem) {
  struct cns_attack attack = {0};
  bool jitter_seen = false;
  if (strnlen(spec, CNS_ATTACK_SPEC_MAX + 1) > CNS_ATTACK_SPEC_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "an attack is at most %d bytes of NAME:COUNT[:param=value]...",
                           CNS_ATTACK_SPEC_MAX);
  size_t len = strcspn(spec, ":");
  int kind = find_kind(spec, len);
  if (kind < 0) return unknown(spec, len, CNS_ERR_FORMAT, problem);
  attack.kind = (enum cns_attack_kind)kind;
  if (spec[len] == 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "attack '%s' needs a number of hospitals: %s:COUNT[:param=value]...", spec, spec);
  const char *at = spec + len + 1;
  len = strcspn(at, ":");
  int r = parse_count(at, len, &attack, problem);
  while (r == 0 && at[len] == ':') {
    at += len + 1;
    len = strcspn(at, ":");
    r = parse_parameter(at, len, &attack, &jitter_seen, problem);
  }
  if (r == 0) *ret_attack = attack;
  return r;
}
