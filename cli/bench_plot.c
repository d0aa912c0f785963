/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_plot.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/gnuplot.h"

const char *cns_bench_colour(size_t index) {
  static const char *const colours[CNS_BENCH_COLOURS] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                         "#e69f00", "#56b4e9", "#8a7f00", "#000000"};
  return colours[index % CNS_BENCH_COLOURS];
}

void cns_bench_quoted(FILE *out, const char *text) {
  fputc('"', out);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') fputc('\\', out);
    fputc(*text, out);
  }
  fputc('"', out);
}

void cns_bench_begin(const struct cns_bench_picture *picture, unsigned width, unsigned height, FILE *out) {
  if (picture->png)
    fprintf(out, "set terminal pngcairo noenhanced size %u,%u font 'sans,10' background rgb 'white'\n", width,
            height);
  else
    fprintf(out, "set terminal svg noenhanced size %u,%u font 'sans,13' background rgb 'white'\n", width,
            height);
  fprintf(out, "set encoding utf8\nset border lc rgb '#808080'\nset tics textcolor rgb 'black' scale 0.5\n");
}

/* ---- heat map ---- */

static void heat_settings(const struct cns_bench_picture *picture, size_t rows, size_t columns, FILE *out) {
  const struct cns_bench_cell *cell = &picture->report->grid->cells[picture->cell];
  const struct cns_bench_experiment *e = &picture->report->config->experiments[cell->experiment];
  cns_bench_begin(picture, (unsigned)(340 + 88 * columns), (unsigned)(170 + 26 * rows), out);
  char title[400];
  snprintf(title, sizeof title, "%s: accuracy, split %s, f = %zu of %zu, audit %s, %zu seeds", e->name,
           e->splits[cell->split].label, e->byzantine[cell->byzantine], e->hospitals,
           e->audits[cell->audit].label, e->seed_count);
  fprintf(out, "set title ");
  cns_bench_quoted(out, title);
  /* cividis: dark blue to yellow, even for colour-blind eyes */
  fprintf(out,
          "\nset palette defined (0 '#00224e', 0.25 '#35456c', 0.5 '#7d7c78', 0.75 '#bcaf6f', 1 '#fee838')\n"
          "set cblabel 'accuracy on the test set'\nset xrange [-0.5:%zu.5]\n"
          "set yrange [%zu.5:-0.5]\nset xtics rotate by 30 right offset 0,-0.2\n"
          "set tics scale 0\nunset key\n",
          columns - 1, rows - 1);
}

static void heat_names(const struct cns_bench_picture *picture, const struct cns_bench_row *rows,
                       size_t count, FILE *out) {
  const struct cns_bench_cell *cells = picture->report->grid->cells;
  const struct cns_bench_experiment *e =
      &picture->report->config->experiments[cells[picture->cell].experiment];
  fprintf(out, "set ytics (");
  for (size_t k = 0; k < count; k++) {
    char name[2 * CNS_BENCH_LABEL_MAX + 4];
    const struct cns_bench_pre *pre = &e->pres[cells[rows[k].cell].pre];
    snprintf(name, sizeof name, "%s%s%s%s", e->rules[cells[rows[k].cell].rule].label, pre->count ? " (" : "",
             pre->count ? pre->label : "", pre->count ? ")" : "");
    fprintf(out, "%s", k ? ", " : "");
    cns_bench_quoted(out, name);
    fprintf(out, " %zu", k);
  }
  fprintf(out, ")\nset xtics (");
  for (size_t a = 0; a <= e->attack_count; a++) {
    fprintf(out, "%s", a ? ", " : "");
    cns_bench_quoted(out, a < e->attack_count ? e->attacks[a].label : "worst case");
    fprintf(out, " %zu", a);
  }
  fprintf(out, ")\nset arrow from %zu.5,-0.5 to %zu.5,%zu.5 nohead front lc rgb 'white' lw 3\n",
          e->attack_count - 1, e->attack_count - 1, count - 1);
}

/* Also the colours' range: down to the tenth below the lowest number. */
static void heat_data(const struct cns_bench_picture *picture, const struct cns_bench_row *rows, size_t count,
                      FILE *out) {
  const struct cns_bench_grid *grid = picture->report->grid;
  const struct cns_bench_experiment *e =
      &picture->report->config->experiments[grid->cells[picture->cell].experiment];
  double values[CNS_BENCH_SEEDS_MAX], low = 0.9;
  fprintf(out, "$heat << END\n");
  for (size_t k = 0; k < count; k++) {
    for (size_t i = rows[k].cell;
         i < grid->count && cns_bench_same_setting(&grid->cells[i], &grid->cells[rows[k].cell], true); i++) {
      if (grid->cells[i].seed != 0) continue;
      cns_bench_seeds(picture->report, i, false, CNS_BENCH_ACCURACY, values);
      double mean = cns_bench_interval(values, NULL, e->seed_count, NULL).mean;
      if (isnan(mean)) continue;
      fprintf(out, "%u %zu %.4f\n", grid->cells[i].attack, k, mean);
      low = fmin(low, floor(mean * 10) / 10);
    }
    if (isnan(rows[k].accuracy.mean)) continue;
    fprintf(out, "%zu %zu %.4f\n", e->attack_count, k, rows[k].accuracy.mean);
    low = fmin(low, floor(rows[k].accuracy.mean * 10) / 10);
  }
  fprintf(out, "END\nset cbrange [%.1f:1]\nmiddle = %.2f\n", low, (low + 1) / 2);
}

void cns_bench_plot_heat(const void *context, FILE *out) {
  const struct cns_bench_picture *picture = context;
  const struct cns_bench_cell *cell = &picture->report->grid->cells[picture->cell];
  struct cns_bench_row *rows = NULL;
  size_t count = 0;
  if (cns_bench_rows(picture->report, picture->cell, &rows, &count) == 0 && count > 0) {
    heat_settings(picture, count, picture->report->config->experiments[cell->experiment].attack_count + 1,
                  out);
    heat_names(picture, rows, count, out);
    heat_data(picture, rows, count, out);
    fprintf(out,
            "plot $heat using 1:2:(0.5):(0.5):3 with boxxyerror fs solid noborder fc palette notitle, "
            "$heat using 1:2:($3 < middle ? sprintf('%%.2f', $3) : '') with labels tc rgb 'white' notitle, "
            "$heat using 1:2:($3 < middle ? '' : sprintf('%%.2f', $3)) with labels tc rgb 'black' notitle\n");
  }
  free(rows);
}

/* ---- all pictures ---- */

/* Letters and digits stay; what lies between becomes one dash. */
static void append_slug(char *name, size_t size, const char *text) {
  size_t len = strlen(name);
  bool dash = len > 0;
  for (; *text && len + 2 < size; text++) {
    if (!isalnum((unsigned char)*text) && *text != '.') {
      dash = len > 0;
      continue;
    }
    if (dash) name[len++] = '-';
    dash = false;
    name[len++] = *text;
  }
  name[len] = 0;
}

static int draw(const struct cns_bench_picture *picture, const char *kind, bool whole_experiment,
                void (*write)(const void *context, FILE *out), struct cns_problem *problem) {
  const struct cns_bench_report *report = picture->report;
  const struct cns_bench_cell *cell = &report->grid->cells[picture->cell];
  const struct cns_bench_experiment *e = &report->config->experiments[cell->experiment];
  char name[400] = "", path[4096], f[32];
  append_slug(name, sizeof name, kind);
  append_slug(name, sizeof name, e->name);
  snprintf(f, sizeof f, "f%zu", e->byzantine[cell->byzantine]);
  if (!whole_experiment) {
    append_slug(name, sizeof name, e->splits[cell->split].label);
    append_slug(name, sizeof name, f);
    if (e->audit_count > 1) append_slug(name, sizeof name, e->audits[cell->audit].label);
    if (picture->pre != UINT16_MAX) append_slug(name, sizeof name, e->pres[picture->pre].label);
  }
  snprintf(path, sizeof path, "%s/%s.%s", report->folder, name, picture->png ? "png" : "svg");
  return cns_gnuplot_draw(write, picture, path, problem);
}

static int draw_group(struct cns_bench_picture *picture, struct cns_problem *problem) {
  const struct cns_bench_cell *cell = &picture->report->grid->cells[picture->cell];
  const struct cns_bench_experiment *e = &picture->report->config->experiments[cell->experiment];
  picture->pre = UINT16_MAX;
  int r = draw(picture, "heat", false, cns_bench_plot_heat, problem);
  for (picture->pre = 0; r == 0 && picture->pre < e->pre_count; picture->pre++)
    r = draw(picture, "rounds", false, cns_bench_plot_rounds, problem);
  return r;
}

static int draw_experiment(struct cns_bench_picture *picture, struct cns_problem *problem) {
  const struct cns_bench_cell *cell = &picture->report->grid->cells[picture->cell];
  const struct cns_bench_experiment *e = &picture->report->config->experiments[cell->experiment];
  bool open = false;
  int r = 0;
  for (size_t a = 0; a < e->audit_count; a++)
    open |= e->audits[a].open;
  if (open) r = draw(picture, "detection", true, cns_bench_plot_detection, problem);
  if (r == 0 && e->influence) r = draw(picture, "influence", true, cns_bench_plot_influence, problem);
  return r;
}

int cns_bench_draw(const struct cns_bench_report *report, bool png, struct cns_problem *problem) {
  struct cns_bench_picture picture = {.report = report, .png = png};
  const struct cns_bench_grid *grid = report->grid;
  int r = 0;
  for (size_t at = cns_bench_next_group(grid, SIZE_MAX); r == 0 && at < grid->count;
       at = cns_bench_next_group(grid, at)) {
    picture.cell = at;
    if (at == 0 || grid->cells[at].experiment != grid->cells[at - 1].experiment)
      r = draw_experiment(&picture, problem);
    if (r == 0) r = draw_group(&picture, problem);
  }
  return r;
}
