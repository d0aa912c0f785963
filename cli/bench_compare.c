/* SPDX-License-Identifier: Apache-2.0 */
/* Statements of the configuration: one side of the grid against another, paired by seed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

#define WORST "worst"

static const char *const filters[] = {"experiment", "split", "rule",      "pre",
                                      "attack",     "audit", "byzantine", NULL};
static const char *const metrics[] = {"accuracy", "auc", "moved", NULL};
static const char *const expectations[] = {"above", "below", NULL};

/* What the cell is called in that respect. */
static const char *label_of(const struct cns_bench_config *config, const struct cns_bench_cell *cell,
                            const char *filter) {
  const struct cns_bench_experiment *e = &config->experiments[cell->experiment];
  switch (filter[0]) {
  case 'e':
    return e->name;
  case 's':
    return e->splits[cell->split].label;
  case 'r':
    return e->rules[cell->rule].label;
  case 'p':
    return e->pres[cell->pre].label;
  default:
    return filter[1] == 't' ? e->attacks[cell->attack].label : e->audits[cell->audit].label;
  }
}

/* The side's own filter, or that of both sides. */
static const cJSON *filter_of(const cJSON *comparison, const char *side, const char *filter) {
  const cJSON *own =
      cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(comparison, side), filter);
  return own ? own
             : cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(comparison, "where"),
                                                filter);
}

static bool is_worst(const cJSON *comparison, const char *side) {
  const cJSON *attack = filter_of(comparison, side, "attack");
  return cJSON_IsString(attack) && strcmp(attack->valuestring, WORST) == 0;
}

/* Is the first cell of a setting on this side? For the worst attack the first attack stands for all. */
static bool selects(const struct cns_bench_config *config, const cJSON *comparison, const char *side,
                    const struct cns_bench_cell *cell) {
  bool worst = is_worst(comparison, side);
  if (cell->seed != 0 || (worst && cell->attack != 0)) return false;
  for (size_t f = 0; filters[f]; f++) {
    const cJSON *wanted = filter_of(comparison, side, filters[f]);
    if (!wanted || (worst && strcmp(filters[f], "attack") == 0)) continue;
    if (cJSON_IsNumber(wanted)) {
      if (config->experiments[cell->experiment].byzantine[cell->byzantine] != (size_t)wanted->valueint)
        return false;
    } else if (strcmp(label_of(config, cell, filters[f]), wanted->valuestring) != 0) {
      return false;
    }
  }
  return true;
}

/* The label must be that of some setting. */
static int check_label(const struct cns_bench_config *config, const char *filter, const char *text,
                       const char *path, struct cns_problem *problem) {
  const char *names[CNS_BENCH_EXPERIMENTS_MAX + CNS_BENCH_LIST_MAX + 1];
  size_t count = 0, index;
  for (size_t x = 0; x < config->experiment_count; x++) {
    const struct cns_bench_experiment *e = &config->experiments[x];
    size_t lengths[] = {1, e->split_count, e->rule_count, e->pre_count, e->attack_count, e->audit_count};
    size_t kind = 0;
    while (strcmp(filters[kind], filter) != 0)
      kind++;
    for (uint16_t i = 0; i < lengths[kind]; i++) {
      struct cns_bench_cell cell = {(uint16_t)x, i, i, i, i, 0, i, 0};
      const char *name = label_of(config, &cell, filter);
      if (strcmp(name, text) == 0) return 0;
      if (count < sizeof names / sizeof names[0] - 1) names[count++] = name;
    }
  }
  names[count] = NULL;
  if (strcmp(filter, "attack") == 0 && strcmp(text, WORST) == 0) return 0;
  return cns_bench_choose(path, filter, text, names, &index, problem);
}

static int check_side(const struct cns_bench_config *config, const cJSON *comparison, const char *side,
                      const char *path, struct cns_problem *problem) {
  char at[80];
  const cJSON *object = cJSON_GetObjectItemCaseSensitive(comparison, side);
  snprintf(at, sizeof at, "%s.%s", path, side);
  if (!object && strcmp(side, "where") == 0) return 0;
  if (!object) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the key \"%s\" is missing", path, side);
  int r = cns_bench_only(object, at, filters, problem);
  for (const cJSON *item = r == 0 ? object->child : NULL; r == 0 && item; item = item->next) {
    bool number = strcmp(item->string, "byzantine") == 0;
    if (number ? !cJSON_IsNumber(item) || item->valueint < 0 || item->valuedouble != item->valueint
               : !cJSON_IsString(item))
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s.%s must be %s", at, item->string,
                             number ? "a whole number" : "a name as in the tables");
    if (!number) r = check_label(config, item->string, item->valuestring, at, problem);
  }
  return r;
}

int cns_bench_comparison_check(const struct cns_bench_config *config, const cJSON *comparison,
                               const char *path, struct cns_problem *problem) {
  static const char *const keys[] = {"title", "metric", "expect", "where", "a", "b", NULL};
  const char *title = NULL, *metric = metrics[0], *expect = NULL;
  size_t index;
  int r = cns_bench_only(comparison, path, keys, problem);
  if (r == 0) r = cns_bench_text(comparison, path, "title", &title, problem);
  if (r == 0 && (!title || strpbrk(title, "\"\n\r")))
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s.title must be a text without quotes and line breaks",
                        path);
  if (r == 0) r = cns_bench_text(comparison, path, "metric", &metric, problem);
  if (r == 0) r = cns_bench_choose(path, "metric", metric, metrics, &index, problem);
  if (r == 0) r = cns_bench_text(comparison, path, "expect", &expect, problem);
  if (r == 0 && expect) r = cns_bench_choose(path, "expectation", expect, expectations, &index, problem);
  if (r == 0) r = check_side(config, comparison, "where", path, problem);
  if (r == 0) r = check_side(config, comparison, "a", path, problem);
  if (r == 0) r = check_side(config, comparison, "b", path, problem);
  return r;
}

/* Mean by seed over the settings of one side. */
static int side_values(const struct cns_bench_report *report, const cJSON *comparison, const char *side,
                       enum cns_bench_metric metric, double *values,
                       const struct cns_bench_experiment **ret_experiment, struct cns_problem *problem) {
  double one[CNS_BENCH_SEEDS_MAX];
  const struct cns_bench_experiment *first = NULL;
  size_t settings = 0;
  for (size_t i = 0; i < report->grid->count; i++) {
    const struct cns_bench_cell *cell = &report->grid->cells[i];
    if (!selects(report->config, comparison, side, cell)) continue;
    const struct cns_bench_experiment *e = &report->config->experiments[cell->experiment];
    if (first && (e->seed_count != first->seed_count ||
                  memcmp(e->seeds, first->seeds, e->seed_count * sizeof *e->seeds) != 0))
      return cns_problem_set(problem, CNS_ERR_RANGE, "side %s is of experiments with different seeds", side);
    cns_bench_seeds(report, i, is_worst(comparison, side), metric, one);
    for (size_t s = 0; s < e->seed_count; s++)
      values[s] = (first ? values[s] : 0) + one[s];
    first = e;
    settings++;
  }
  if (!first) return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "side %s selects no cell of the grid", side);
  for (size_t s = 0; s < first->seed_count; s++)
    values[s] /= (double)settings;
  *ret_experiment = first;
  return 0;
}

static const char *verdict_of(const char *expect, struct cns_statistics_interval difference) {
  if (!expect) return "";
  double sign = strcmp(expect, "above") == 0 ? 1 : -1;
  double near = sign > 0 ? difference.low : -difference.high,
         far = sign > 0 ? difference.high : -difference.low;
  return near > 0 ? "holds" : far < 0 ? "opposite" : "not decided";
}

int cns_bench_compare(const struct cns_bench_report *report, size_t index,
                      struct cns_bench_comparison *ret_comparison, struct cns_problem *problem) {
  const cJSON *json = cJSON_GetArrayItem(report->config->comparisons, (int)index);
  const cJSON *metric = cJSON_GetObjectItemCaseSensitive(json, "metric"),
              *expect = cJSON_GetObjectItemCaseSensitive(json, "expect");
  double a[CNS_BENCH_SEEDS_MAX], b[CNS_BENCH_SEEDS_MAX];
  const struct cns_bench_experiment *of_a = NULL, *of_b = NULL;
  size_t kind = 0;
  while (metric && strcmp(metrics[kind], metric->valuestring) != 0)
    kind++;
  struct cns_bench_comparison comparison = {.title =
                                                cJSON_GetObjectItemCaseSensitive(json, "title")->valuestring};
  int r = side_values(report, json, "a", (enum cns_bench_metric)kind, a, &of_a, problem);
  if (r == 0) r = side_values(report, json, "b", (enum cns_bench_metric)kind, b, &of_b, problem);
  if (r == 0 && (of_a->seed_count != of_b->seed_count ||
                 memcmp(of_a->seeds, of_b->seeds, of_a->seed_count * sizeof *of_a->seeds) != 0))
    r = cns_problem_set(problem, CNS_ERR_RANGE, "the two sides have different seeds and can't be paired");
  if (r < 0) return cns_problem_prefix(problem, r, "comparison \"%s\"", comparison.title);
  comparison.difference = cns_bench_interval(a, b, of_a->seed_count, &comparison.seeds);
  comparison.a = cns_bench_interval(a, NULL, of_a->seed_count, NULL).mean;
  comparison.b = cns_bench_interval(b, NULL, of_a->seed_count, NULL).mean;
  comparison.verdict = verdict_of(expect ? expect->valuestring : NULL, comparison.difference);
  *ret_comparison = comparison;
  return 0;
}
