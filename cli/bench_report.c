/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

double cns_bench_metric_of(const struct cns_bench_result *result, enum cns_bench_metric metric) {
  if (!result->accuracy) return NAN;
  switch (metric) {
  case CNS_BENCH_ACCURACY:
    return cns_bench_final(result->accuracy, result->evaluations);
  case CNS_BENCH_AUC:
    return cns_bench_final(result->auc, result->evaluations);
  case CNS_BENCH_MOVED:
    return result->moved;
  default:
    return result->mean_moved;
  }
}

/* Cells of one setting whatever the attack lie side by side: attacks and seeds turn fastest. */
void cns_bench_seeds(const struct cns_bench_report *report, size_t first_cell, bool any_attack,
                     enum cns_bench_metric metric, double *ret_values) {
  const struct cns_bench_cell *cells = report->grid->cells, *first = &cells[first_cell];
  const struct cns_bench_experiment *e = &report->config->experiments[first->experiment];
  bool largest = metric == CNS_BENCH_MOVED || metric == CNS_BENCH_MEAN_MOVED;
  size_t begin = first_cell;
  while (begin > 0 && cns_bench_same_setting(&cells[begin - 1], first, any_attack))
    begin--;
  for (size_t s = 0; s < e->seed_count; s++)
    ret_values[s] = largest ? -INFINITY : INFINITY;
  for (size_t i = begin; i < report->grid->count && cns_bench_same_setting(&cells[i], first, any_attack);
       i++) {
    double *value = &ret_values[cells[i].seed], here = cns_bench_metric_of(&report->results[i], metric);
    if (largest && isnan(here) && report->results[i].accuracy) continue; /* nobody attacked */
    if (isnan(here) || isnan(*value))
      *value = NAN;
    else
      *value = largest ? fmax(*value, here) : fmin(*value, here);
  }
  for (size_t s = 0; s < e->seed_count; s++)
    if (isinf(ret_values[s])) ret_values[s] = NAN;
}

struct cns_statistics_interval cns_bench_interval(const double *a, const double *b, size_t count,
                                                  size_t *ret_count) {
  double there[CNS_BENCH_SEEDS_MAX];
  size_t used = 0;
  for (size_t k = 0; k < count; k++) {
    double value = a[k] - (b ? b[k] : 0);
    if (!isnan(value)) there[used++] = value;
  }
  if (ret_count) *ret_count = used;
  if (used == 0) return (struct cns_statistics_interval){NAN, NAN, NAN};
  return cns_statistics_mean(there, used);
}

static bool same_group(const struct cns_bench_cell *a, const struct cns_bench_cell *b) {
  return a->experiment == b->experiment && a->split == b->split && a->byzantine == b->byzantine &&
         a->audit == b->audit;
}

size_t cns_bench_next_group(const struct cns_bench_grid *grid, size_t cell) {
  if (cell == SIZE_MAX) return 0;
  size_t next = cell;
  while (next < grid->count && same_group(&grid->cells[next], &grid->cells[cell]))
    next++;
  return next;
}

/* The attack with the lowest mean accuracy. */
static size_t worst_attack(const struct cns_bench_report *report, size_t first) {
  const struct cns_bench_cell *cells = report->grid->cells;
  double values[CNS_BENCH_SEEDS_MAX], lowest = INFINITY;
  size_t worst = cells[first].attack;
  const struct cns_bench_experiment *e = &report->config->experiments[cells[first].experiment];
  for (size_t i = first; i < report->grid->count && cns_bench_same_setting(&cells[i], &cells[first], true);
       i++) {
    if (cells[i].seed != 0) continue;
    cns_bench_seeds(report, i, false, CNS_BENCH_ACCURACY, values);
    double mean = cns_bench_interval(values, NULL, e->seed_count, NULL).mean;
    if (!(mean < lowest)) continue;
    lowest = mean;
    worst = cells[i].attack;
  }
  return worst;
}

static int by_accuracy(const void *a, const void *b) {
  const struct cns_bench_row *x = a, *y = b;
  double p = isnan(x->accuracy.mean) ? -1 : x->accuracy.mean,
         q = isnan(y->accuracy.mean) ? -1 : y->accuracy.mean;
  if (p != q) return p < q ? 1 : -1;
  return (x->cell > y->cell) - (x->cell < y->cell);
}

int cns_bench_rows(const struct cns_bench_report *report, size_t cell, struct cns_bench_row **ret_rows,
                   size_t *ret_count) {
  const struct cns_bench_grid *grid = report->grid;
  const struct cns_bench_experiment *e = &report->config->experiments[grid->cells[cell].experiment];
  double values[CNS_BENCH_SEEDS_MAX], best[CNS_BENCH_SEEDS_MAX];
  struct cns_bench_row *rows = calloc(e->rule_count * e->pre_count, sizeof *rows);
  size_t count = 0;
  if (!rows) return CNS_ERR_MEMORY;
  for (size_t i = cell; i < grid->count && same_group(&grid->cells[i], &grid->cells[cell]); i++) {
    if (grid->cells[i].attack != 0 || grid->cells[i].seed != 0) continue;
    struct cns_bench_row *row = &rows[count++];
    row->cell = i;
    cns_bench_seeds(report, i, true, CNS_BENCH_AUC, values);
    row->auc = cns_bench_interval(values, NULL, e->seed_count, NULL);
    cns_bench_seeds(report, i, true, CNS_BENCH_ACCURACY, values);
    row->accuracy = cns_bench_interval(values, NULL, e->seed_count, &row->seeds);
    row->worst = worst_attack(report, i);
  }
  qsort(rows, count, sizeof *rows, by_accuracy);
  if (count > 0) cns_bench_seeds(report, rows[0].cell, true, CNS_BENCH_ACCURACY, best);
  for (size_t k = 0; k < count; k++) {
    cns_bench_seeds(report, rows[k].cell, true, CNS_BENCH_ACCURACY, values);
    rows[k].behind = cns_bench_interval(values, best, e->seed_count, NULL);
  }
  *ret_rows = rows;
  *ret_count = count;
  return 0;
}
