/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "crypto/json.h"
#include "dp/clip.h"

#define PATH_BYTES 120

/* An experiment's keys, and those of the top that hold for all experiments. */
struct reader {
  const cJSON *own, *shared;
  const char *path; /* of own */
  struct cns_problem *problem;
};

/* Where a key is, and the path of the object that it is in. */
static const cJSON *object_with(const struct reader *reader, const char *key, const char **ret_path) {
  bool own = cns_json_has(reader->own, key);
  *ret_path = own ? reader->path : "";
  return own ? reader->own : reader->shared;
}

static int whole(const struct reader *reader, const char *key, uint64_t min, uint64_t max, uint64_t *value) {
  const char *path;
  const cJSON *object = object_with(reader, key, &path);
  return cns_bench_whole(object, path, key, min, max, value, reader->problem);
}

static int number(const struct reader *reader, const char *key, double min, double max, double *value) {
  const char *path;
  const cJSON *object = object_with(reader, key, &path);
  return cns_bench_number(object, path, key, min, max, value, reader->problem);
}

/* An object or an array; NULL if it isn't there. ret_path: its own. */
static int nested(const struct reader *reader, const char *key, bool array, const cJSON **ret_value,
                  char ret_path[static PATH_BYTES]) {
  const char *path;
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(object_with(reader, key, &path), key);
  snprintf(ret_path, PATH_BYTES, "%s%s%s", path, *path ? "." : "", key);
  if (value && !(array ? cJSON_IsArray(value) : cJSON_IsObject(value)))
    return cns_problem_set(reader->problem, CNS_ERR_FORMAT, "%s must be %s", ret_path,
                           array ? "a list, [ ... ]" : "an object, { ... }");
  *ret_value = value;
  return 0;
}

typedef int parse_entry(const cJSON *json, const char *path, void *ret, struct cns_problem *problem);

static int split_entry(const cJSON *json, const char *path, void *ret, struct cns_problem *problem) {
  return cns_bench_parse_split(json, path, ret, problem);
}
static int rule_entry(const cJSON *json, const char *path, void *ret, struct cns_problem *problem) {
  return cns_bench_parse_rule(json, path, ret, problem);
}
static int pre_entry(const cJSON *json, const char *path, void *ret, struct cns_problem *problem) {
  return cns_bench_parse_pre(json, path, ret, problem);
}
static int attack_entry(const cJSON *json, const char *path, void *ret, struct cns_problem *problem) {
  return cns_bench_parse_attack(json, path, ret, problem);
}
static int audit_entry(const cJSON *json, const char *path, void *ret, struct cns_problem *problem) {
  return cns_bench_parse_audit(json, path, ret, problem);
}

/* A list of entries of `size` bytes, which begin with their label. Not there: the one
 * entry `otherwise`, or an error if that is NULL. */
static int read_list(const struct reader *reader, const char *key, const char *otherwise, parse_entry *parse,
                     void *ret, size_t size, size_t *ret_count) {
  const cJSON *list = NULL;
  char path[PATH_BYTES], at[PATH_BYTES + 24];
  int r = nested(reader, key, true, &list, path);
  if (r < 0) return r;
  if (!list && otherwise) {
    cJSON alone = {.type = cJSON_String, .valuestring = (char *)(uintptr_t)otherwise};
    *ret_count = 1;
    return parse(&alone, path, ret, reader->problem);
  }
  size_t count = (size_t)cJSON_GetArraySize(list);
  if (count < 1 || count > CNS_BENCH_LIST_MAX)
    return cns_problem_set(reader->problem, CNS_ERR_FORMAT, "%s%s must be a list of 1 to %d entries", path,
                           list ? "" : " is missing; it", CNS_BENCH_LIST_MAX);
  size_t i = 0;
  for (const cJSON *item = list->child; item; item = item->next, i++) {
    char *entry = (char *)ret + i * size;
    snprintf(at, sizeof at, "%s[%zu]", path, i);
    r = parse(item, at, entry, reader->problem);
    for (size_t j = 0; r == 0 && j < i; j++)
      if (strcmp((char *)ret + j * size, entry) == 0)
        r = cns_problem_set(reader->problem, CNS_ERR_FORMAT, "%s: \"%s\" is there twice", at, entry);
    if (r < 0) return r;
  }
  *ret_count = count;
  return 0;
}

static int read_byzantine(const struct reader *reader, struct cns_bench_experiment *e) {
  const cJSON *list = NULL;
  char path[PATH_BYTES];
  int r = nested(reader, "byzantine", true, &list, path);
  if (r < 0) return r;
  e->byzantine_count = list ? (size_t)cJSON_GetArraySize(list) : 1;
  if (e->byzantine_count < 1 || e->byzantine_count > CNS_BENCH_LIST_MAX)
    return cns_problem_set(reader->problem, CNS_ERR_FORMAT, "%s must be a list of 1 to %d whole numbers",
                           path, CNS_BENCH_LIST_MAX);
  size_t i = 0;
  for (const cJSON *item = list ? list->child : NULL; item; item = item->next, i++) {
    if (!cJSON_IsNumber(item) || item->valuedouble != (double)(size_t)item->valueint || item->valueint < 0 ||
        (size_t)item->valueint >= e->hospitals)
      return cns_problem_set(reader->problem, CNS_ERR_RANGE,
                             "%s[%zu] must be a whole number from 0 to %zu, fewer than the hospitals", path,
                             i, e->hospitals - 1);
    e->byzantine[i] = (size_t)item->valueint;
    for (size_t j = 0; j < i; j++)
      if (e->byzantine[j] == e->byzantine[i])
        return cns_problem_set(reader->problem, CNS_ERR_FORMAT, "%s: %zu is there twice", path,
                               e->byzantine[i]);
  }
  return 0;
}

static int read_seeds(const struct reader *reader, struct cns_bench_experiment *e) {
  static const char *const names[] = {"first", "count", NULL};
  const char *where;
  const cJSON *seeds = cJSON_GetObjectItemCaseSensitive(object_with(reader, "seeds", &where), "seeds");
  uint64_t first = 1, count = 0;
  size_t i = 0;
  if (cJSON_IsObject(seeds)) {
    int r = cns_bench_only(seeds, "seeds", names, reader->problem);
    if (r == 0)
      r = cns_bench_whole(seeds, "seeds", "first", 0, CNS_PLAN_SEED_MAX / 2, &first, reader->problem);
    if (r == 0) r = cns_bench_whole(seeds, "seeds", "count", 1, CNS_BENCH_SEEDS_MAX, &count, reader->problem);
    for (; r == 0 && i < count; i++)
      e->seeds[i] = first + i;
    if (r < 0) return r;
  } else {
    if (!cJSON_IsArray(seeds) || cJSON_GetArraySize(seeds) > CNS_BENCH_SEEDS_MAX)
      return cns_problem_set(
          reader->problem, CNS_ERR_FORMAT,
          "seeds must be a list of at most %d whole numbers, or {\"first\": 1, \"count\": 5}",
          CNS_BENCH_SEEDS_MAX);
    for (const cJSON *item = seeds->child; item; item = item->next, i++) {
      if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || !(item->valuedouble <= CNS_PLAN_SEED_MAX) ||
          item->valuedouble != (double)(uint64_t)item->valuedouble)
        return cns_problem_set(reader->problem, CNS_ERR_RANGE, "seeds[%zu] must be a whole number from 0", i);
      e->seeds[i] = (uint64_t)item->valuedouble;
      for (size_t j = 0; j < i; j++)
        if (e->seeds[j] == e->seeds[i])
          return cns_problem_set(reader->problem, CNS_ERR_FORMAT, "seeds: %llu is there twice",
                                 (unsigned long long)e->seeds[i]);
    }
  }
  e->seed_count = i;
  return i > 0 ? 0 : cns_problem_set(reader->problem, CNS_ERR_FORMAT, "seeds: at least one is needed");
}

static int read_hidden(const cJSON *model, const char *path, struct cns_bench_experiment *e,
                       struct cns_problem *problem) {
  const cJSON *hidden = cJSON_GetObjectItemCaseSensitive(model, "hidden");
  if (!cJSON_IsArray(hidden) || cJSON_GetArraySize(hidden) < 1 ||
      cJSON_GetArraySize(hidden) > CNS_PLAN_HIDDEN_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s.hidden must be a list of the widths of 1 to %d hidden layers", path,
                           CNS_PLAN_HIDDEN_MAX);
  for (const cJSON *item = hidden->child; item; item = item->next) {
    if (!cJSON_IsNumber(item) || item->valueint < 1 || item->valueint > CNS_PLAN_WIDTH_MAX ||
        item->valuedouble != item->valueint)
      return cns_problem_set(problem, CNS_ERR_RANGE, "%s.hidden: a width is a whole number from 1 to %d",
                             path, CNS_PLAN_WIDTH_MAX);
    e->hidden[e->hidden_count++] = (size_t)item->valueint;
  }
  return 0;
}

static int read_model(const struct reader *reader, struct cns_bench_experiment *e) {
  static const char *const kinds[] = {"logistic", "mlp", NULL}, *const activations[] = {"relu", "tanh", NULL};
  static const char *const of_logistic[] = {"kind", NULL}, *const of_mlp[] = {"kind", "hidden", "activation",
                                                                              NULL};
  const cJSON *model = NULL;
  char path[PATH_BYTES];
  const char *kind = kinds[0], *activation = activations[0];
  size_t k = 0, a = 0;
  int r = nested(reader, "model", false, &model, path);
  if (r < 0 || !model) return r;
  r = cns_bench_text(model, path, "kind", &kind, reader->problem);
  if (r == 0) r = cns_bench_choose(path, "kind of model", kind, kinds, &k, reader->problem);
  if (r == 0) r = cns_bench_only(model, path, k ? of_mlp : of_logistic, reader->problem);
  if (r == 0 && k) r = read_hidden(model, path, e, reader->problem);
  if (r == 0) r = cns_bench_text(model, path, "activation", &activation, reader->problem);
  if (r == 0) r = cns_bench_choose(path, "activation", activation, activations, &a, reader->problem);
  e->model = k ? CNS_MODEL_MLP : CNS_MODEL_LOGISTIC;
  e->activation = a ? CNS_ACTIVATION_TANH : CNS_ACTIVATION_RELU;
  return r;
}

static int read_training(const struct reader *reader, struct cns_bench_experiment *e) {
  static const char *const methods[] = {"momentum", "local", NULL};
  static const char *const of_momentum[] = {"method", "learning_rate", "momentum", "batch", "clip", NULL},
                           *const of_local[] = {"method", "learning_rate", "momentum", "batch",
                                                "clip",   "epochs",        NULL};
  struct cns_bench_training training = {.learning_rate = 0.1, .momentum = 0.9};
  const cJSON *json = NULL;
  char path[PATH_BYTES];
  const char *method = methods[0];
  size_t m = 0;
  uint64_t batch = 16, epochs = 1;
  int r = nested(reader, "training", false, &json, path);
  if (r < 0) return r;
  r = cns_bench_text(json, path, "method", &method, reader->problem);
  if (r == 0) r = cns_bench_choose(path, "method", method, methods, &m, reader->problem);
  if (r == 0 && json) r = cns_bench_only(json, path, m ? of_local : of_momentum, reader->problem);
  if (r == 0)
    r = cns_bench_number(json, path, "learning_rate", 1e-9, 1e3, &training.learning_rate, reader->problem);
  if (r == 0) r = cns_bench_number(json, path, "momentum", 0, 0.9999, &training.momentum, reader->problem);
  if (r == 0)
    r = cns_bench_number(json, path, "clip", CNS_CLIP_MIN, CNS_CLIP_MAX, &training.clip, reader->problem);
  if (r == 0) r = cns_bench_whole(json, path, "batch", 1, 1000000, &batch, reader->problem);
  if (r == 0) r = cns_bench_whole(json, path, "epochs", 1, 1000, &epochs, reader->problem);
  training.method = m ? CNS_BENCH_LOCAL : CNS_BENCH_MOMENTUM;
  training.batch = (uint32_t)batch;
  training.epochs = (uint32_t)epochs;
  e->training = training;
  return r;
}

static int read_numbers(const struct reader *reader, struct cns_bench_experiment *e) {
  static const char *const who[] = {"random", "smallest", "largest", NULL};
  uint64_t hospitals = 20, rounds = 0, every = 0;
  const char *path, *attackers = who[0];
  size_t index = 0;
  int r = whole(reader, "hospitals", 2, CNS_ROBUST_ROWS_MAX, &hospitals);
  if (r == 0) r = whole(reader, "rounds", 1, CNS_BENCH_ROUNDS_MAX, &rounds);
  if (r == 0 && rounds == 0)
    r = cns_problem_set(reader->problem, CNS_ERR_FORMAT, "rounds is missing%s%s", *reader->path ? " in " : "",
                        reader->path);
  if (r == 0) every = rounds >= 20 ? rounds / 20 : 1;
  if (r == 0) r = whole(reader, "evaluate_every", 1, rounds, &every);
  if (r == 0) r = number(reader, "test_share", 0.01, 0.9, &e->test_share);
  if (r == 0) r = number(reader, "root_share", 0, 0.5, &e->root_share);
  const cJSON *object = object_with(reader, "attackers", &path);
  if (r == 0) r = cns_bench_text(object, path, "attackers", &attackers, reader->problem);
  if (r == 0) r = cns_bench_choose(path, "choice of attackers", attackers, who, &index, reader->problem);
  object = object_with(reader, "influence", &path);
  if (r == 0) r = cns_bench_flag(object, path, "influence", &e->influence, reader->problem);
  e->hospitals = (size_t)hospitals;
  e->rounds = (uint32_t)rounds;
  e->evaluate_every = (uint32_t)every;
  e->attackers = (enum cns_bench_attackers)index;
  return r;
}

/* What only several keys together can get wrong. */
static int check_together(const struct reader *reader, const struct cns_bench_experiment *e) {
  for (size_t a = 0; a < e->attack_count; a++)
    for (size_t f = 0; !e->attacks[a].none && f < e->byzantine_count; f++)
      if (e->byzantine[f] == 0)
        return cns_problem_set(reader->problem, CNS_ERR_RANGE,
                               "experiment \"%s\": attack \"%s\" needs attackers, but byzantine %s 0",
                               e->name, e->attacks[a].label,
                               cJSON_HasObjectItem(reader->own, "byzantine") ||
                                       cJSON_HasObjectItem(reader->shared, "byzantine")
                                   ? "holds"
                                   : "isn't given and so is");
  for (size_t a = 0; a < e->audit_count; a++) {
    if (e->audits[a].open && !(e->training.clip > 0))
      return cns_problem_set(reader->problem, CNS_ERR_FORMAT,
                             "experiment \"%s\": audit \"open\" needs training.clip, the norm that updates "
                             "are clipped to",
                             e->name);
    if (e->audits[a].open && e->hospitals < CNS_DETECT_COHORT_MIN)
      return cns_problem_set(reader->problem, CNS_ERR_RANGE,
                             "experiment \"%s\": audit \"open\" needs at least %u hospitals", e->name,
                             CNS_DETECT_COHORT_MIN);
  }
  for (size_t i = 0; i < e->rule_count; i++)
    if (e->rules[i].rule == CNS_ROBUST_FLTRUST && !(e->root_share > 0))
      return cns_problem_set(
          reader->problem, CNS_ERR_FORMAT,
          "experiment \"%s\": rule \"fltrust\" needs root_share, the share of the patients "
          "that the server itself has",
          e->name);
  return 0;
}

static int read_experiment(const struct reader *reader, struct cns_bench_experiment *e) {
  *e = (struct cns_bench_experiment){.name = "main", .test_share = 0.3};
  int r = cns_bench_text(reader->own, reader->path, "name", &e->name, reader->problem);
  if (r == 0 &&
      strspn(e->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(e->name))
    r = cns_problem_set(reader->problem, CNS_ERR_FORMAT,
                        "%s.name: letters, digits, '-' and '_' only, since files are named so", reader->path);
  if (r == 0) r = read_numbers(reader, e);
  if (r == 0) r = read_model(reader, e);
  if (r == 0) r = read_training(reader, e);
  if (r == 0)
    r = read_list(reader, "splits", "iid", split_entry, e->splits, sizeof e->splits[0], &e->split_count);
  if (r == 0) r = read_list(reader, "rules", NULL, rule_entry, e->rules, sizeof e->rules[0], &e->rule_count);
  if (r == 0) r = read_list(reader, "pres", "none", pre_entry, e->pres, sizeof e->pres[0], &e->pre_count);
  if (r == 0)
    r = read_list(reader, "attacks", "none", attack_entry, e->attacks, sizeof e->attacks[0],
                  &e->attack_count);
  if (r == 0)
    r = read_list(reader, "audits", "none", audit_entry, e->audits, sizeof e->audits[0], &e->audit_count);
  if (r == 0) r = read_byzantine(reader, e);
  if (r == 0) r = read_seeds(reader, e);
  if (r == 0) r = check_together(reader, e);
  return r;
}

static int read_data(const cJSON *top, struct cns_bench_source *source, struct cns_problem *problem) {
  static const char *const kinds[] = {"shipped", "csv", "npy", "npz", NULL};
  static const char *const fields[][6] = {{"shipped", NULL},
                                          {"csv", "study", "label", "ignore", NULL},
                                          {"npy", "labels", NULL},
                                          {"npz", "features", "labels", NULL}};
  const cJSON *data = cJSON_GetObjectItemCaseSensitive(top, "data");
  const char *shipped = NULL;
  size_t kind = 0, given = 0;
  if (!data) return 0;
  if (!cJSON_IsObject(data))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "data must be an object, for example {\"csv\": \"t.csv\"}");
  for (size_t k = 0; kinds[k]; k++)
    if (cns_json_has(data, kinds[k])) {
      kind = k;
      given++;
    }
  if (given != 1)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "data must hold one of the keys shipped, csv, npy and npz, and holds %zu", given);
  int r = cns_bench_only(data, "data", fields[kind], problem);
  if (r == 0) r = cns_bench_text(data, "data", kinds[kind], kind ? &source->path : &shipped, problem);
  if (r == 0 && shipped && strcmp(shipped, "breast-cancer") != 0)
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "data.shipped: there is \"breast-cancer\" only");
  if (r == 0) r = cns_bench_text(data, "data", "study", &source->study, problem);
  if (r == 0) r = cns_bench_text(data, "data", "label", &source->label, problem);
  if (r == 0) r = cns_bench_text(data, "data", "features", &source->features, problem);
  if (r == 0) r = cns_bench_text(data, "data", "labels", &source->labels, problem);
  if (r < 0) return r;
  source->kind = (enum cns_bench_data_kind)kind;
  source->ignore = cJSON_GetObjectItemCaseSensitive(data, "ignore");
  if (source->ignore && !cJSON_IsArray(source->ignore))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "data.ignore must be a list of column names");
  if (kind == CNS_BENCH_CSV && !source->study == !source->label)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "data: a CSV table needs either \"study\", a study file, or \"label\", the column "
                           "to predict");
  if (kind == CNS_BENCH_NPY && !source->labels)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "data: \"labels\", the file with the labels, is missing");
  if (kind == CNS_BENCH_NPZ && (!source->labels || !source->features))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "data: \"features\" and \"labels\", the names of two arrays, are needed");
  return 0;
}

#define OF_AN_EXPERIMENT                                                                                     \
  "hospitals", "test_share", "root_share", "model", "training", "rounds", "evaluate_every", "attackers",     \
      "influence", "splits", "rules", "pres", "attacks", "audits", "byzantine", "seeds"

static int read_experiments(struct cns_bench_config *config, struct cns_problem *problem) {
  static const char *const names[] = {"name", OF_AN_EXPERIMENT, NULL};
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(config->json, "experiments");
  size_t count = list ? (size_t)cJSON_GetArraySize(list) : 1;
  if ((list && !cJSON_IsArray(list)) || count < 1 || count > CNS_BENCH_EXPERIMENTS_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "experiments must be a list of 1 to %d objects",
                           CNS_BENCH_EXPERIMENTS_MAX);
  config->experiments = calloc(count, sizeof *config->experiments);
  cJSON *empty = cJSON_CreateObject();
  int r = config->experiments && empty ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  config->experiment_count = r == 0 ? count : 0;
  for (size_t i = 0; r == 0 && i < count; i++) {
    char path[40] = "";
    if (list) snprintf(path, sizeof path, "experiments[%zu]", i);
    struct reader reader = {list ? cJSON_GetArrayItem(list, (int)i) : empty, config->json, path, problem};
    r = cns_bench_only(reader.own, path, names, problem);
    if (r == 0) r = read_experiment(&reader, &config->experiments[i]);
    for (size_t j = 0; r == 0 && j < i; j++)
      if (strcmp(config->experiments[j].name, config->experiments[i].name) == 0)
        r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: an experiment named \"%s\" is there already", path,
                            config->experiments[i].name);
  }
  cJSON_Delete(empty);
  return r;
}

static int read_comparisons(struct cns_bench_config *config, struct cns_problem *problem) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(config->json, "comparisons");
  int r = 0, i = 0;
  if (!list) return 0;
  if (!cJSON_IsArray(list))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "comparisons must be a list, [ ... ]");
  for (const cJSON *item = list->child; r == 0 && item; item = item->next) {
    char path[40];
    snprintf(path, sizeof path, "comparisons[%d]", i++);
    r = cns_bench_comparison_check(config, item, path, problem);
  }
  config->comparisons = list;
  return r;
}

static int read_config(struct cns_bench_config *config, struct cns_problem *problem) {
  static const char *const names[] = {"name", "data", "experiments", "comparisons", OF_AN_EXPERIMENT, NULL};
  config->name = "bench";
  int r = cns_bench_only(config->json, "", names, problem);
  if (r == 0) r = cns_bench_text(config->json, "", "name", &config->name, problem);
  if (r == 0 && (strlen(config->name) > CNS_PLAN_NAME_MAX ||
                 strspn(config->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") !=
                     strlen(config->name)))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "name: at most %d letters, digits, '-' and '_'",
                        CNS_PLAN_NAME_MAX);
  if (r == 0) r = read_data(config->json, &config->data, problem);
  if (r == 0) r = read_experiments(config, problem);
  if (r == 0) r = read_comparisons(config, problem);
  return r;
}

int cns_bench_config_parse(const char *text, size_t len, const char *where,
                           struct cns_bench_config *ret_config, struct cns_problem *problem) {
  struct cns_bench_config config = {0};
  int r = cns_json_parse(text, len, where, &config.json, problem);
  if (r < 0) return r;
  r = read_config(&config, problem);
  if (r < 0) {
    cns_bench_config_deinit(&config);
    return cns_problem_prefix(problem, r, "%s", where);
  }
  *ret_config = config;
  return 0;
}

void cns_bench_config_deinit(struct cns_bench_config *config) {
  cJSON_Delete(config->json);
  free(config->experiments);
  *config = (struct cns_bench_config){0};
}
