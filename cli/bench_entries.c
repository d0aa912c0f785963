/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the configuration's lists: a name, or an object with parameters. */
#include <math.h>
#include <string.h>

#include "cli/bench.h"
#include "crypto/sketch.h"

/* "median", or {"<key>": "median", ...}: the name, and the object (NULL for a name alone). */
static int read_name(const cJSON *json, const char *path, const char *key, const char **ret_name,
                     const cJSON **ret_object, struct cns_problem *problem) {
  const char *name = NULL;
  if (cJSON_IsString(json) && *json->valuestring) {
    *ret_name = json->valuestring;
    *ret_object = NULL;
    return 0;
  }
  if (!cJSON_IsObject(json))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s must be a name, or an object with the key \"%s\" and parameters", path, key);
  int r = cns_bench_text(json, path, key, &name, problem);
  if (r < 0) return r;
  if (!name) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the key \"%s\" is missing", path, key);
  *ret_name = name;
  *ret_object = json;
  return 0;
}

/* "trimmed-mean", "centered-clipping tau=0.1", or what the key "label" says. */
static int make_label(const char *name, const cJSON *object, const char *key, const char *path,
                      char ret_label[static CNS_BENCH_LABEL_MAX], struct cns_problem *problem) {
  const char *given = NULL;
  int r = object ? cns_bench_text(object, path, "label", &given, problem) : 0;
  if (r < 0) return r;
  int used = snprintf(ret_label, CNS_BENCH_LABEL_MAX, "%s", given ? given : name);
  for (const cJSON *item = object && !given ? object->child : NULL; item; item = item->next) {
    if (strcmp(item->string, key) == 0 || used < 0 || used >= CNS_BENCH_LABEL_MAX) continue;
    size_t left = CNS_BENCH_LABEL_MAX - (size_t)used;
    used += cJSON_IsNumber(item) ? snprintf(ret_label + used, left, " %s=%g", item->string, item->valuedouble)
                                 : snprintf(ret_label + used, left, " %s=%s", item->string,
                                            cJSON_IsString(item) ? item->valuestring : "?");
  }
  if (used < 0 || used >= CNS_BENCH_LABEL_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "%s: its name in tables would be longer than %d bytes; give a \"label\"", path,
                           CNS_BENCH_LABEL_MAX - 1);
  if (strpbrk(ret_label, "\",\n\r\t\\") || !cns_text_is_utf8(ret_label))
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s: a label may hold no quote, comma, backslash, tab or line break, since it stands in CSV files",
        path);
  return 0;
}

int cns_bench_parse_split(const cJSON *json, const char *path, struct cns_bench_split *ret,
                          struct cns_problem *problem) {
  static const char *const kinds[] = {"iid", "dirichlet", "size", "label", NULL};
  static const char *const fields[][5] = {{"split", "label", NULL},
                                          {"split", "label", "alpha", NULL},
                                          {"split", "label", "ratio", "smallest", NULL},
                                          {"split", "label", "classes", NULL}};
  struct cns_bench_split split = {.value = NAN};
  const char *name;
  const cJSON *object;
  size_t kind = 0;
  double smallest = NAN;
  int r = read_name(json, path, "split", &name, &object, problem);
  if (r == 0) r = cns_bench_choose(path, "split", name, kinds, &kind, problem);
  if (r == 0 && object) r = cns_bench_only(object, path, fields[kind], problem);
  if (r == 0 && kind == 1) r = cns_bench_number(object, path, "alpha", 1e-3, 1e9, &split.value, problem);
  if (r == 0 && kind == 2) r = cns_bench_number(object, path, "ratio", 1, 1e6, &split.value, problem);
  if (r == 0 && kind == 2) r = cns_bench_number(object, path, "smallest", 1e-6, 0.5, &smallest, problem);
  if (r == 0 && kind == 3) r = cns_bench_number(object, path, "classes", 1, 100, &split.value, problem);
  if (r == 0) r = make_label(name, object, "split", path, split.label, problem);
  if (r < 0) return r;
  if (kind == 2 && isnan(split.value) == isnan(smallest))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: split \"size\" takes one of \"ratio\" (largest hospital to smallest) and "
                           "\"smallest\" (share of one small hospital)",
                           path);
  if (kind != 0 && isnan(split.value) && isnan(smallest))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: split \"%s\" needs \"%s\"", path, name,
                           kind == 1 ? "alpha" : "classes");
  if (kind == 3 && split.value != floor(split.value))
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s.classes must be a whole number", path);
  static const enum cns_bench_split_kind of[] = {CNS_BENCH_IID, CNS_BENCH_DIRICHLET, CNS_BENCH_BY_SIZE,
                                                 CNS_BENCH_BY_LABEL};
  split.kind = isnan(smallest) ? of[kind] : CNS_BENCH_ONE_SMALL;
  if (!isnan(smallest)) split.value = smallest;
  *ret = split;
  return 0;
}

/* Numbers that the rule or pre-aggregation takes; "params" are its names by the library. */
static int read_params(const cJSON *object, const char *path, const struct cns_robust_about *about,
                       const char *key, struct cns_robust_params *params, bool *weighted,
                       struct cns_problem *problem) {
  static const char *const weightings[] = {"equal", "patients", NULL};
  static const char *const fields[] = {"nu",      "iterations", "tau",   "norm", "size",
                                       "variant", "weights",    "label", NULL,   NULL};
  const char *names[sizeof fields / sizeof fields[0]], *weights = NULL;
  size_t count = 0, index = 0;
  uint64_t iterations = 0, size = 0;
  for (size_t i = 0; fields[i]; i++) {
    bool own = strcmp(fields[i], "label") == 0 ||
               (strcmp(fields[i], "weights") == 0 && weighted && about->takes_weights) ||
               (strcmp(fields[i], "variant") == 0 && *about->variants);
    if (own || cns_bench_is_taken(about, fields[i])) names[count++] = fields[i];
  }
  names[count++] = key;
  names[count] = NULL;
  int r = cns_bench_only(object, path, names, problem);
  if (r == 0) r = cns_bench_number(object, path, "nu", 1e-12, 1e12, &params->nu, problem);
  if (r == 0) r = cns_bench_whole(object, path, "iterations", 1, 1000000, &iterations, problem);
  if (r == 0) r = cns_bench_number(object, path, "tau", 1e-12, 1e12, &params->tau, problem);
  if (r == 0) r = cns_bench_number(object, path, "norm", 1e-12, 1e12, &params->norm, problem);
  if (r == 0) r = cns_bench_whole(object, path, "size", 1, CNS_HOSPITALS_MAX, &size, problem);
  if (r == 0) r = cns_bench_text(object, path, "variant", &params->variant, problem);
  if (r == 0) r = cns_bench_text(object, path, "weights", &weights, problem);
  if (r == 0 && weights) r = cns_bench_choose(path, "weighting", weights, weightings, &index, problem);
  params->iterations = (size_t)iterations;
  params->size = (size_t)size;
  if (weighted) *weighted = index == 1;
  return r;
}

int cns_bench_parse_rule(const cJSON *json, const char *path, struct cns_bench_rule *ret,
                         struct cns_problem *problem) {
  struct cns_bench_rule rule = {0};
  const char *name;
  const cJSON *object;
  int r = read_name(json, path, "rule", &name, &object, problem);
  if (r < 0) return r;
  r = cns_robust_find_rule(name, &rule.rule, problem);
  if (r < 0) return cns_problem_prefix(problem, CNS_ERR_FORMAT, "%s", path);
  if (object)
    r = read_params(object, path, cns_robust_about_rule(rule.rule), "rule", &rule.params, &rule.weighted,
                    problem);
  if (r == 0) r = make_label(name, object, "rule", path, rule.label, problem);
  if (r == 0) *ret = rule;
  return r;
}

static int parse_link(const cJSON *json, const char *path, struct cns_bench_pre *pre,
                      struct cns_problem *problem) {
  char label[CNS_BENCH_LABEL_MAX];
  struct cns_robust_params params = {0};
  const char *name;
  const cJSON *object;
  size_t at = pre->count, used = strlen(pre->label);
  int r = read_name(json, path, "pre", &name, &object, problem);
  if (r < 0) return r;
  r = cns_robust_find_pre(name, &pre->kind[at], problem);
  if (r < 0) return cns_problem_prefix(problem, CNS_ERR_FORMAT, "%s", path);
  if (object)
    r = read_params(object, path, cns_robust_about_pre(pre->kind[at]), "pre", &params, NULL, problem);
  if (r == 0) r = cns_bench_merge(&pre->params, &params, path, problem);
  if (r == 0) r = make_label(name, object, "pre", path, label, problem);
  if (r < 0) return r;
  if (used + strlen(label) + 2 > sizeof pre->label)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: the chain's name in tables would be too long", path);
  snprintf(pre->label + used, sizeof pre->label - used, "%s%s", used ? "+" : "", label);
  pre->count++;
  return 0;
}

int cns_bench_parse_pre(const cJSON *json, const char *path, struct cns_bench_pre *ret,
                        struct cns_problem *problem) {
  struct cns_bench_pre pre = {.label = ""};
  int r = 0;
  if (cJSON_IsString(json) && strcmp(json->valuestring, "none") == 0) {
    snprintf(pre.label, sizeof pre.label, "none");
  } else if (cJSON_IsArray(json)) {
    if (cJSON_GetArraySize(json) < 1 || cJSON_GetArraySize(json) > CNS_ROBUST_CHAIN_MAX)
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a chain has 1 to %d pre-aggregations", path,
                             CNS_ROBUST_CHAIN_MAX);
    for (const cJSON *item = json->child; r == 0 && item; item = item->next)
      r = parse_link(item, path, &pre, problem);
  } else {
    r = parse_link(json, path, &pre, problem);
  }
  if (r == 0) *ret = pre;
  return r;
}

/* "alie", "alie:z=1.5:jitter=0.1": what cns_attack_parse takes, without the number of hospitals. */
int cns_bench_parse_attack(const cJSON *json, const char *path, struct cns_bench_attack *ret,
                           struct cns_problem *problem) {
  struct cns_bench_attack attack = {.label = ""};
  char spec[CNS_ATTACK_SPEC_MAX + 1];
  if (!cJSON_IsString(json) || !*json->valuestring)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s must be a text such as \"alie\" or \"alie:z=1.5\"",
                           path);
  const char *text = json->valuestring;
  int r = make_label(text, NULL, "", path, attack.label, problem);
  if (r < 0) return r;
  attack.none = strcmp(text, "none") == 0;
  if (!attack.none) {
    size_t name = strcspn(text, ":");
    snprintf(spec, sizeof spec, "%.*s:1%s", (int)name, text, text + name);
    r = cns_attack_parse(spec, &attack.attack, problem);
    if (r < 0) return cns_problem_prefix(problem, CNS_ERR_FORMAT, "%s", path);
    if (cns_attack_about(attack.attack.kind)->need == CNS_ATTACK_NEEDS_TARGET)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s: attack \"%s\" needs a poisoned model to aim at, which a bench doesn't have",
                             path, text);
  }
  *ret = attack;
  return 0;
}

int cns_bench_parse_audit(const cJSON *json, const char *path, struct cns_bench_audit *ret,
                          struct cns_problem *problem) {
  static const char *const levels[] = {"none", "open", NULL}, *const actions[] = {"report", "exclude", NULL},
                           *const fields[] = {"audit", "label", "k", "rate", "on_flag", NULL},
                           *const bare[] = {"audit", "label", NULL};
  struct cns_bench_audit audit = {.rate = 0.01};
  const char *name, *action = actions[0];
  const cJSON *object;
  size_t level = 0, on_flag = 0;
  uint64_t k = 0;
  int r = read_name(json, path, "audit", &name, &object, problem);
  if (r == 0) r = cns_bench_choose(path, "audit level", name, levels, &level, problem);
  if (r == 0 && object) r = cns_bench_only(object, path, level ? fields : bare, problem);
  if (r == 0 && object) r = cns_bench_whole(object, path, "k", CNS_SKETCH_MIN, CNS_SKETCH_MAX, &k, problem);
  if (r == 0 && object) r = cns_bench_number(object, path, "rate", 1e-4, 0.2, &audit.rate, problem);
  if (r == 0 && object) r = cns_bench_text(object, path, "on_flag", &action, problem);
  if (r == 0) r = cns_bench_choose(path, "action on a flag", action, actions, &on_flag, problem);
  if (r == 0) r = make_label(name, object, "audit", path, audit.label, problem);
  if (r < 0) return r;
  audit.open = level == 1;
  audit.sketch = audit.open ? (uint32_t)k : 0;
  audit.on_flag = on_flag == 1 ? CNS_DETECT_EXCLUDE : CNS_DETECT_REPORT;
  if (audit.open && !cns_sketch_size_valid(audit.sketch))
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%s: audit \"open\" needs \"k\", numbers of a sketch: 128, 256, 512 or 1024",
                           path);
  *ret = audit;
  return 0;
}
