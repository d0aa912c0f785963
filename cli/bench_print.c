/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "crypto/json.h"

static void print_interval(FILE *out, struct cns_statistics_interval value) {
  if (isnan(value.mean))
    fprintf(out, "    -                  ");
  else if (isnan(value.low))
    fprintf(out, "%6.3f                 ", value.mean);
  else
    fprintf(out, "%6.3f [%6.3f, %6.3f]", value.mean, value.low, value.high);
}

static void print_rows(const struct cns_bench_report *report, const struct cns_bench_row *rows, size_t count,
                       FILE *out) {
  const struct cns_bench_cell *first = &report->grid->cells[rows[0].cell];
  const struct cns_bench_experiment *e = &report->config->experiments[first->experiment];
  fprintf(out, "\n%s: split %s, f = %zu of %zu, audit %s\n", e->name, e->splits[first->split].label,
          e->byzantine[first->byzantine], e->hospitals, e->audits[first->audit].label);
  fprintf(out, "%-38s %-23s %-18s %s\n", "rule (pre-aggregation)", "worst-case accuracy", "worst attack",
          "behind the best");
  for (size_t k = 0; k < count; k++) {
    const struct cns_bench_cell *cell = &report->grid->cells[rows[k].cell];
    char name[2 * CNS_BENCH_LABEL_MAX + 4];
    const char *pre = e->pres[cell->pre].label;
    bool none = e->pres[cell->pre].count == 0;
    snprintf(name, sizeof name, "%s%s%s%s", e->rules[cell->rule].label, none ? "" : " (", none ? "" : pre,
             none ? "" : ")");
    fprintf(out, "%-38s ", name);
    print_interval(out, rows[k].accuracy);
    fprintf(out, " %-18s ", e->attacks[rows[k].worst].label);
    if (k > 0) print_interval(out, rows[k].behind);
    fputc('\n', out);
  }
}

static void print_groups(const struct cns_bench_report *report, FILE *out) {
  for (size_t at = cns_bench_next_group(report->grid, SIZE_MAX); at < report->grid->count;
       at = cns_bench_next_group(report->grid, at)) {
    struct cns_bench_row *rows = NULL;
    size_t count = 0;
    if (cns_bench_rows(report, at, &rows, &count) == 0 && count > 0) print_rows(report, rows, count, out);
    free(rows);
  }
}

/* What attackers move, by rule and attack. */
static void print_influence(const struct cns_bench_report *report, FILE *out) {
  double values[CNS_BENCH_SEEDS_MAX];
  size_t last = SIZE_MAX;
  for (size_t i = 0; i < report->grid->count; i++) {
    const struct cns_bench_cell *cell = &report->grid->cells[i];
    const struct cns_bench_experiment *e = &report->config->experiments[cell->experiment];
    if (!e->influence || cell->seed != 0 || e->attacks[cell->attack].none) continue;
    if (cell->experiment != last)
      fprintf(out,
              "\n%s: what the attackers move, in lengths of the mean honest update\n%-38s %-18s %-23s %s\n",
              e->name, "rule", "attack", "moved", "a mean with these weights");
    last = cell->experiment;
    fprintf(out, "%-38s %-18s ", e->rules[cell->rule].label, e->attacks[cell->attack].label);
    cns_bench_seeds(report, i, false, CNS_BENCH_MOVED, values);
    print_interval(out, cns_bench_interval(values, NULL, e->seed_count, NULL));
    cns_bench_seeds(report, i, false, CNS_BENCH_MEAN_MOVED, values);
    fputc(' ', out);
    print_interval(out, cns_bench_interval(values, NULL, e->seed_count, NULL));
    fputc('\n', out);
  }
}

static int print_comparisons(const struct cns_bench_report *report, FILE *out) {
  int count = cJSON_GetArraySize(report->config->comparisons);
  if (count > 0) fprintf(out, "\nComparisons, paired by seed, with 95 %% intervals\n");
  for (int i = 0; i < count; i++) {
    struct cns_bench_comparison comparison;
    struct cns_problem problem = {0};
    if (cns_bench_compare(report, (size_t)i, &comparison, &problem) < 0) {
      fprintf(out, "%s\n", problem.text);
      continue;
    }
    fprintf(out, "%s: %.3f against %.3f, difference ", comparison.title, comparison.a, comparison.b);
    print_interval(out, comparison.difference);
    fprintf(out, ", %zu seeds%s%s\n", comparison.seeds, *comparison.verdict ? ": " : "", comparison.verdict);
  }
  return 0;
}

void cns_bench_print(const struct cns_bench_report *report, FILE *out) {
  size_t there = 0;
  for (size_t i = 0; i < report->grid->count; i++)
    there += report->results[i].accuracy != NULL;
  if (there < report->grid->count)
    fprintf(out, "So far %zu of %zu cells; the tables are about these.\n", there, report->grid->count);
  print_groups(report, out);
  print_influence(report, out);
  print_comparisons(report, out);
  if (report->grid->skipped_count > 0)
    fprintf(out, "\n%zu settings can't be computed, for example: %s; all are in %s/skipped.csv\n",
            report->grid->skipped_count, report->grid->skipped[0].why, report->folder);
}

/* ---- report.json ---- */

static void add_interval(cJSON *object, const char *name, struct cns_statistics_interval value) {
  const char *const parts[] = {"mean", "low", "high"};
  const double numbers[] = {value.mean, value.low, value.high};
  cJSON *interval = cJSON_AddObjectToObject(object, name);
  for (int k = 0; k < 3; k++) {
    if (isfinite(numbers[k]))
      cJSON_AddNumberToObject(interval, parts[k], numbers[k]);
    else
      cJSON_AddNullToObject(interval, parts[k]);
  }
}

static int add_group(const struct cns_bench_report *report, size_t at, cJSON *groups) {
  struct cns_bench_row *rows = NULL;
  size_t count = 0;
  const struct cns_bench_cell *first = &report->grid->cells[at];
  const struct cns_bench_experiment *e = &report->config->experiments[first->experiment];
  int r = cns_bench_rows(report, at, &rows, &count);
  if (r < 0) return r;
  cJSON *group = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(group, "rules");
  cJSON_AddStringToObject(group, "experiment", e->name);
  cJSON_AddStringToObject(group, "split", e->splits[first->split].label);
  cJSON_AddNumberToObject(group, "byzantine", (double)e->byzantine[first->byzantine]);
  cJSON_AddNumberToObject(group, "hospitals", (double)e->hospitals);
  cJSON_AddStringToObject(group, "audit", e->audits[first->audit].label);
  for (size_t k = 0; k < count; k++) {
    const struct cns_bench_cell *cell = &report->grid->cells[rows[k].cell];
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "rule", e->rules[cell->rule].label);
    cJSON_AddStringToObject(row, "pre", e->pres[cell->pre].label);
    cJSON_AddNumberToObject(row, "seeds", (double)rows[k].seeds);
    add_interval(row, "accuracy", rows[k].accuracy);
    add_interval(row, "auc", rows[k].auc);
    cJSON_AddStringToObject(row, "worst_attack", e->attacks[rows[k].worst].label);
    add_interval(row, "behind_best", rows[k].behind);
    cJSON_AddItemToArray(list, row);
  }
  cJSON_AddItemToArray(groups, group);
  free(rows);
  return 0;
}

static int add_comparisons(const struct cns_bench_report *report, cJSON *list, struct cns_problem *problem) {
  int count = cJSON_GetArraySize(report->config->comparisons), r = 0;
  for (int i = 0; r == 0 && i < count; i++) {
    struct cns_bench_comparison comparison;
    r = cns_bench_compare(report, (size_t)i, &comparison, problem);
    if (r < 0) break;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "title", comparison.title);
    cJSON_AddNumberToObject(item, "seeds", (double)comparison.seeds);
    add_interval(item, "difference", comparison.difference);
    cJSON_AddStringToObject(item, "verdict", comparison.verdict);
    cJSON_AddItemToArray(list, item);
  }
  return r;
}

int cns_bench_write_json(const struct cns_bench_report *report, struct cns_problem *problem) {
  cJSON *json = cJSON_CreateObject();
  char path[4096], *text = NULL;
  size_t len = 0, there = 0;
  int r = json ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; i < report->grid->count; i++)
    there += report->results[i].accuracy != NULL;
  cJSON_AddStringToObject(json, "name", report->config->name);
  cJSON_AddStringToObject(json, "version", CNS_VERSION);
  cJSON_AddNumberToObject(json, "cells", (double)report->grid->count);
  cJSON_AddNumberToObject(json, "cells_done", (double)there);
  cJSON_AddNumberToObject(json, "settings_skipped", (double)report->grid->skipped_count);
  cJSON *groups = cJSON_AddArrayToObject(json, "groups");
  for (size_t at = cns_bench_next_group(report->grid, SIZE_MAX); r == 0 && at < report->grid->count;
       at = cns_bench_next_group(report->grid, at))
    r = add_group(report, at, groups);
  if (r == 0) r = add_comparisons(report, cJSON_AddArrayToObject(json, "comparisons"), problem);
  if (r == 0) r = cns_json_canonical(json, &text, &len);
  snprintf(path, sizeof path, "%s/report.json", report->folder);
  if (r == 0) r = cns_file_write(path, text, len, 0644, problem);
  free(text);
  cJSON_Delete(json);
  return r;
}
