/* SPDX-License-Identifier: Apache-2.0 */
/* Accuracy over the rounds: a panel for each attack, a line for each rule, with the 95 %
 * interval of the mean over the seeds as a band. */
#include <math.h>
#include <string.h>

#include "cli/bench_plot.h"

#define COLUMNS 3
#define PANEL_WIDTH 340
#define PANEL_HEIGHT 250
#define KEY_HEIGHT 22

static const struct cns_bench_experiment *experiment_of(const struct cns_bench_picture *picture) {
  const struct cns_bench_report *report = picture->report;
  return &report->config->experiments[report->grid->cells[picture->cell].experiment];
}

/* First cell with that rule and attack in the group, grid->count if it was skipped. */
static size_t find_cell(const struct cns_bench_picture *picture, uint16_t rule, uint16_t attack) {
  const struct cns_bench_grid *grid = picture->report->grid;
  struct cns_bench_cell wanted = grid->cells[picture->cell];
  wanted.pre = picture->pre;
  wanted.rule = rule;
  wanted.attack = attack;
  size_t i = picture->cell;
  while (i < grid->count && !cns_bench_same_setting(&grid->cells[i], &wanted, false))
    i++;
  return i;
}

static void write_series(const struct cns_bench_picture *picture, uint16_t rule, uint16_t attack, FILE *out) {
  const struct cns_bench_experiment *e = experiment_of(picture);
  const struct cns_bench_grid *grid = picture->report->grid;
  size_t first = find_cell(picture, rule, attack);
  double values[CNS_BENCH_SEEDS_MAX];
  fprintf(out, "$r%u_%u << END\n", rule, attack);
  for (size_t at = 0; first < grid->count && at < cns_bench_evaluations(e); at++) {
    for (size_t s = 0; s < e->seed_count; s++) {
      const struct cns_bench_result *result = &picture->report->results[first + s];
      values[s] = result->accuracy ? result->accuracy[at] : NAN;
    }
    struct cns_statistics_interval interval = cns_bench_interval(values, NULL, e->seed_count, NULL);
    if (isnan(interval.mean)) continue;
    fprintf(out, "%u %.4f %.4f %.4f\n", cns_bench_round_of(e, at), interval.mean,
            isnan(interval.low) ? interval.mean : fmax(0, interval.low),
            isnan(interval.high) ? interval.mean : fmin(1, interval.high));
  }
  fprintf(out, "END\n");
}

/* Colours first, then the same ones dashed. */
static void style(size_t rule, FILE *out) {
  fprintf(out, "lc rgb '%s' dt %zu", cns_bench_colour(rule), rule / CNS_BENCH_COLOURS + 1);
}

static void write_panel(const struct cns_bench_picture *picture, uint16_t attack, FILE *out) {
  const struct cns_bench_experiment *e = experiment_of(picture);
  fprintf(out, "set title ");
  cns_bench_quoted(out, e->attacks[attack].none ? "no attack" : e->attacks[attack].label);
  fprintf(out, "\nplot ");
  bool any = false;
  for (uint16_t rule = 0; rule < e->rule_count; rule++) {
    if (find_cell(picture, rule, attack) >= picture->report->grid->count) continue;
    fprintf(out,
            "%s$r%u_%u using 1:3:4 with filledcurves fs transparent solid 0.15 noborder lc rgb '%s' notitle",
            any ? ", " : "", rule, attack, cns_bench_colour(rule));
    any = true;
  }
  for (uint16_t rule = 0; rule < e->rule_count; rule++) {
    if (find_cell(picture, rule, attack) >= picture->report->grid->count) continue;
    fprintf(out, ", $r%u_%u using 1:2 with lines lw 1.6 ", rule, attack);
    style(rule, out);
    fprintf(out, " notitle");
  }
  fprintf(out, "%s\n", any ? "" : "NaN notitle");
}

/* As many entries of the key side by side as the longest leaves room for. */
static size_t key_columns(const struct cns_bench_experiment *e, unsigned width) {
  size_t longest = 8;
  for (size_t rule = 0; rule < e->rule_count; rule++)
    if (strlen(e->rules[rule].label) > longest) longest = strlen(e->rules[rule].label);
  size_t columns = width / (8 * longest + 70);
  return columns < 1 ? 1 : columns;
}

/* The key has the bottom of the picture for itself. */
static void write_key(const struct cns_bench_picture *picture, double share, size_t columns, FILE *out) {
  const struct cns_bench_experiment *e = experiment_of(picture);
  fprintf(out,
          "set size 1,%.4f\nset origin 0,0\nunset title\nunset border\nunset tics\nunset xlabel\n"
          "unset ylabel\nunset grid\nset lmargin 2\nset rmargin 2\nset tmargin 0\nset bmargin 0\n"
          "set key center center horizontal maxcols %zu samplen 2.5 width 2\nset yrange [0:1]\n"
          "set xrange [0:1]\nplot ",
          share, columns);
  bool any = false;
  for (uint16_t rule = 0; rule < e->rule_count; rule++) {
    if (find_cell(picture, rule, 0) >= picture->report->grid->count) continue;
    fprintf(out, "%sNaN with lines lw 2.5 ", any ? ", " : "");
    style(rule, out);
    fprintf(out, " title ");
    cns_bench_quoted(out, e->rules[rule].label);
    any = true;
  }
  fprintf(out, "%s\n", any ? "" : "NaN notitle");
}

void cns_bench_plot_rounds(const void *context, FILE *out) {
  const struct cns_bench_picture *picture = context;
  const struct cns_bench_experiment *e = experiment_of(picture);
  const struct cns_bench_cell *cell = &picture->report->grid->cells[picture->cell];
  size_t columns = e->attack_count < COLUMNS ? e->attack_count : COLUMNS,
         lines = (e->attack_count + columns - 1) / columns, across;
  unsigned width = (unsigned)(columns < 2 ? 2 : columns) * PANEL_WIDTH;
  across = key_columns(e, width);
  size_t keys = (e->rule_count + across - 1) / across;
  double title = 34, key = (double)keys * KEY_HEIGHT + 16,
         height = title + (double)lines * PANEL_HEIGHT + key;
  char text[400];
  snprintf(text, sizeof text,
           "%s: split %s, pre-aggregation %s, f = %zu of %zu, audit %s; mean and 95 %% interval of %zu seeds",
           e->name, e->splits[cell->split].label, e->pres[picture->pre].label, e->byzantine[cell->byzantine],
           e->hospitals, e->audits[cell->audit].label, e->seed_count);
  cns_bench_begin(picture, width, (unsigned)height, out);
  for (uint16_t rule = 0; rule < e->rule_count; rule++)
    for (uint16_t attack = 0; attack < e->attack_count; attack++)
      write_series(picture, rule, attack, out);
  fprintf(out, "set multiplot\nset label 1 ");
  cns_bench_quoted(out, text);
  fprintf(out,
          " at screen 0.5,%.4f center\nset grid lc rgb '#e0e0e0'\nset yrange [0:1]\n"
          "set xrange [0:%u]\nset xlabel 'round' offset 0,0.5\nset ylabel 'accuracy' offset 1.5,0\n",
          1 - title / 2 / height, e->rounds);
  for (uint16_t attack = 0; attack < e->attack_count; attack++) {
    size_t line = attack / columns, column = attack % columns;
    fprintf(out, "set size %.4f,%.4f\nset origin %.4f,%.4f\n", 1 / (double)columns, PANEL_HEIGHT / height,
            (double)column / (double)columns, (key + (double)(lines - 1 - line) * PANEL_HEIGHT) / height);
    write_panel(picture, attack, out);
    if (attack == 0) fprintf(out, "unset label 1\n");
  }
  write_key(picture, key / height, across, out);
  fprintf(out, "unset multiplot\n");
}
