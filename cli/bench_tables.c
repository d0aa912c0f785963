/* SPDX-License-Identifier: Apache-2.0 */
/* CSV files: docs/robustness-bench.md has their columns. Numbers with 17 digits read back to the same
 * double; an empty field is a number that there isn't. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "crypto/json.h"

static void number(FILE *out, double value) {
  if (isfinite(value))
    fprintf(out, ",%.17g", value);
  else
    fputc(',', out);
}

static void interval(FILE *out, struct cns_statistics_interval value) {
  number(out, value.mean);
  number(out, value.low);
  number(out, value.high);
}

#define GROUP "experiment,split,byzantine,audit"

static void group(const struct cns_bench_report *report, const struct cns_bench_cell *cell, FILE *out) {
  const struct cns_bench_experiment *e = &report->config->experiments[cell->experiment];
  fprintf(out, "%s,%s,%zu,%s", e->name, e->splits[cell->split].label, e->byzantine[cell->byzantine],
          e->audits[cell->audit].label);
}

#define SETTING GROUP ",rule,pre,attack"

static void setting(const struct cns_bench_report *report, const struct cns_bench_cell *cell, FILE *out) {
  const struct cns_bench_experiment *e = &report->config->experiments[cell->experiment];
  group(report, cell, out);
  fprintf(out, ",%s,%s,%s", e->rules[cell->rule].label, e->pres[cell->pre].label,
          e->attacks[cell->attack].label);
}

static uint64_t seed_of(const struct cns_bench_report *report, const struct cns_bench_cell *cell) {
  return report->config->experiments[cell->experiment].seeds[cell->seed];
}

static double share(uint64_t part, uint64_t whole) {
  return whole ? (double)part / (double)whole : NAN;
}

static void write_cells(const struct cns_bench_report *report, FILE *out) {
  fprintf(out, SETTING ",seed,accuracy,auc,diverged_round,attacker_rounds,detection_rate,honest_rounds,"
                       "false_positive_rate,attackers_patients_share,moved,mean_moved\n");
  for (size_t i = 0; i < report->grid->count; i++) {
    const struct cns_bench_result *result = &report->results[i];
    if (!result->accuracy) continue;
    setting(report, &report->grid->cells[i], out);
    fprintf(out, ",%llu", (unsigned long long)seed_of(report, &report->grid->cells[i]));
    number(out, cns_bench_metric_of(result, CNS_BENCH_ACCURACY));
    number(out, cns_bench_metric_of(result, CNS_BENCH_AUC));
    number(out, result->diverged ? (double)result->diverged : NAN);
    fprintf(out, ",%llu", (unsigned long long)result->attacker_rounds);
    number(out, share(result->attackers_flagged, result->attacker_rounds));
    fprintf(out, ",%llu", (unsigned long long)result->honest_rounds);
    number(out, share(result->honest_flagged, result->honest_rounds));
    number(out, result->share);
    number(out, result->moved);
    number(out, result->mean_moved);
    fputc('\n', out);
  }
}

static void write_rounds(const struct cns_bench_report *report, FILE *out) {
  fprintf(out, SETTING ",seed,round,accuracy,auc,loss\n");
  for (size_t i = 0; i < report->grid->count; i++) {
    const struct cns_bench_cell *cell = &report->grid->cells[i];
    const struct cns_bench_result *result = &report->results[i];
    for (size_t at = 0; result->accuracy && at < result->evaluations; at++) {
      setting(report, cell, out);
      fprintf(out, ",%llu,%u", (unsigned long long)seed_of(report, cell),
              cns_bench_round_of(&report->config->experiments[cell->experiment], at));
      number(out, result->accuracy[at]);
      number(out, result->auc[at]);
      number(out, result->loss[at]);
      fputc('\n', out);
    }
  }
}

/* Flags of a setting over all seeds. */
static void rates(const struct cns_bench_report *report, size_t first, FILE *out) {
  uint64_t counts[4] = {0};
  for (size_t i = first; i < report->grid->count &&
                         cns_bench_same_setting(&report->grid->cells[i], &report->grid->cells[first], false);
       i++) {
    counts[0] += report->results[i].attackers_flagged;
    counts[1] += report->results[i].attacker_rounds;
    counts[2] += report->results[i].honest_flagged;
    counts[3] += report->results[i].honest_rounds;
  }
  number(out, share(counts[0], counts[1]));
  number(out, share(counts[2], counts[3]));
}

static void write_summary(const struct cns_bench_report *report, FILE *out) {
  double values[CNS_BENCH_SEEDS_MAX];
  fprintf(out, SETTING ",seeds,accuracy,accuracy_low,accuracy_high,auc,auc_low,auc_high,detection_rate,"
                       "false_positive_rate,moved,moved_low,moved_high,mean_moved,mean_moved_low,"
                       "mean_moved_high\n");
  for (size_t i = 0; i < report->grid->count; i++) {
    const struct cns_bench_cell *cell = &report->grid->cells[i];
    size_t count = report->config->experiments[cell->experiment].seed_count, seeds = 0;
    if (cell->seed != 0) continue;
    setting(report, cell, out);
    cns_bench_seeds(report, i, false, CNS_BENCH_ACCURACY, values);
    struct cns_statistics_interval accuracy = cns_bench_interval(values, NULL, count, &seeds);
    fprintf(out, ",%zu", seeds);
    interval(out, accuracy);
    cns_bench_seeds(report, i, false, CNS_BENCH_AUC, values);
    interval(out, cns_bench_interval(values, NULL, count, NULL));
    rates(report, i, out);
    cns_bench_seeds(report, i, false, CNS_BENCH_MOVED, values);
    interval(out, cns_bench_interval(values, NULL, count, NULL));
    cns_bench_seeds(report, i, false, CNS_BENCH_MEAN_MOVED, values);
    interval(out, cns_bench_interval(values, NULL, count, NULL));
    fputc('\n', out);
  }
}

static int write_worst(const struct cns_bench_report *report, FILE *out) {
  fprintf(out, GROUP ",rank,rule,pre,seeds,accuracy,accuracy_low,accuracy_high,auc,auc_low,auc_high,"
                     "worst_attack,behind_best,behind_best_low,behind_best_high\n");
  for (size_t at = cns_bench_next_group(report->grid, SIZE_MAX); at < report->grid->count;
       at = cns_bench_next_group(report->grid, at)) {
    struct cns_bench_row *rows = NULL;
    size_t count = 0;
    int r = cns_bench_rows(report, at, &rows, &count);
    if (r < 0) return r;
    for (size_t k = 0; k < count; k++) {
      const struct cns_bench_cell *cell = &report->grid->cells[rows[k].cell];
      const struct cns_bench_experiment *e = &report->config->experiments[cell->experiment];
      group(report, cell, out);
      fprintf(out, ",%zu,%s,%s,%zu", k + 1, e->rules[cell->rule].label, e->pres[cell->pre].label,
              rows[k].seeds);
      interval(out, rows[k].accuracy);
      interval(out, rows[k].auc);
      fprintf(out, ",%s", e->attacks[rows[k].worst].label);
      interval(out, rows[k].behind);
      fputc('\n', out);
    }
    free(rows);
  }
  return 0;
}

static int write_comparisons(const struct cns_bench_report *report, FILE *out, struct cns_problem *problem) {
  size_t count = (size_t)cJSON_GetArraySize(report->config->comparisons);
  fprintf(out, "title,seeds,a,b,difference,difference_low,difference_high,verdict\n");
  for (size_t i = 0; i < count; i++) {
    struct cns_bench_comparison comparison;
    int r = cns_bench_compare(report, i, &comparison, problem);
    if (r < 0) return r;
    fprintf(out, "\"%s\",%zu", comparison.title, comparison.seeds);
    number(out, comparison.a);
    number(out, comparison.b);
    interval(out, comparison.difference);
    fprintf(out, ",%s\n", comparison.verdict);
  }
  return 0;
}

static void write_skipped(const struct cns_bench_report *report, FILE *out) {
  fprintf(out, SETTING ",why\n");
  for (size_t i = 0; i < report->grid->skipped_count; i++) {
    setting(report, &report->grid->skipped[i].cell, out);
    fputs(",\"", out);
    for (const char *p = report->grid->skipped[i].why; *p; p++)
      fputs(*p == '"' ? "\"\"" : (char[]){*p, 0}, out);
    fputs("\"\n", out);
  }
}

enum table { CELLS, ROUNDS, SUMMARY, WORST, COMPARISONS, SKIPPED, TABLES };
static const char *const names[TABLES] = {"cells.csv", "rounds.csv",      "summary.csv",
                                          "worst.csv", "comparisons.csv", "skipped.csv"};

static int write_one(const struct cns_bench_report *report, enum table table, struct cns_problem *problem) {
  char path[4096], *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  if (!out) return CNS_ERR_MEMORY;
  int r = 0;
  if (table == CELLS) write_cells(report, out);
  if (table == ROUNDS) write_rounds(report, out);
  if (table == SUMMARY) write_summary(report, out);
  if (table == WORST) r = write_worst(report, out);
  if (table == COMPARISONS) r = write_comparisons(report, out, problem);
  if (table == SKIPPED) write_skipped(report, out);
  bool good = !ferror(out);
  if ((fclose(out) != 0 || !good) && r == 0) r = CNS_ERR_MEMORY;
  snprintf(path, sizeof path, "%s/%s", report->folder, names[table]);
  if (r == 0) r = cns_file_write(path, text, len, 0644, problem);
  free(text);
  return r;
}

int cns_bench_write_csv(const struct cns_bench_report *report, struct cns_problem *problem) {
  int r = 0;
  for (int table = 0; r == 0 && table < TABLES; table++)
    r = write_one(report, (enum table)table, problem);
  return r;
}
