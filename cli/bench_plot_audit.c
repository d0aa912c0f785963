/* SPDX-License-Identifier: Apache-2.0 */
/* Detection against false positives; what attackers move. */
#include <math.h>
#include <string.h>

#include "cli/bench_plot.h"

static const struct cns_bench_experiment *experiment_of(const struct cns_bench_picture *picture) {
  const struct cns_bench_report *report = picture->report;
  return &report->config->experiments[report->grid->cells[picture->cell].experiment];
}

/* Shares of attackers and of honest hospitals that are flagged, per hospital and round, over all
 * cells with that split, attack and audit. false: nobody attacked. */
static bool rates(const struct cns_bench_picture *picture, uint16_t split, uint16_t attack, uint16_t audit,
                  double *ret_detected, double *ret_false) {
  const struct cns_bench_grid *grid = picture->report->grid;
  uint64_t counts[4] = {0};
  for (size_t i = picture->cell; i < grid->count; i++) {
    const struct cns_bench_cell *cell = &grid->cells[i];
    const struct cns_bench_result *result = &picture->report->results[i];
    if (cell->experiment != grid->cells[picture->cell].experiment) break;
    if (cell->split != split || cell->attack != attack || cell->audit != audit) continue;
    counts[0] += result->attackers_flagged;
    counts[1] += result->attacker_rounds;
    counts[2] += result->honest_flagged;
    counts[3] += result->honest_rounds;
  }
  if (counts[1] == 0 || counts[3] == 0) return false;
  *ret_detected = (double)counts[0] / (double)counts[1];
  *ret_false = (double)counts[2] / (double)counts[3];
  return true;
}

/* Audits that only report, if there are any: leaving out changes the training, and so the updates. */
static bool is_drawn(const struct cns_bench_experiment *e, const struct cns_bench_audit *audit) {
  bool reports = false;
  for (size_t a = 0; a < e->audit_count; a++)
    reports |= e->audits[a].open && e->audits[a].on_flag == CNS_DETECT_REPORT;
  return audit->open && (!reports || audit->on_flag == CNS_DETECT_REPORT);
}

/* One curve: the audits with this sketch, whose rates differ. Returns the number of points. */
static size_t write_curve(const struct cns_bench_picture *picture, uint16_t split, uint16_t attack,
                          uint32_t sketch, FILE *out) {
  const struct cns_bench_experiment *e = experiment_of(picture);
  size_t points = 0;
  double detected, wrong;
  fprintf(out, "$d%u_%u_%u << END\n", split, attack, sketch);
  for (uint16_t a = 0; a < e->audit_count; a++)
    if (is_drawn(e, &e->audits[a]) && e->audits[a].sketch == sketch &&
        rates(picture, split, attack, a, &detected, &wrong)) {
      fprintf(out, "%.5f %.5f\n", wrong, detected);
      points++;
    }
  fprintf(out, "END\n");
  return points;
}

/* The sketches of the open audits, each once. */
static size_t list_sketches(const struct cns_bench_experiment *e, uint32_t *sketches) {
  size_t count = 0;
  for (size_t a = 0; a < e->audit_count; a++) {
    size_t s = 0;
    if (!is_drawn(e, &e->audits[a])) continue;
    while (s < count && sketches[s] != e->audits[a].sketch)
      s++;
    if (s == count) sketches[count++] = e->audits[a].sketch;
  }
  return count;
}

#define PANEL 330
#define KEY_CHARS 8 /* pixels of a character */

static size_t longest_attack(const struct cns_bench_experiment *e) {
  size_t longest = 0;
  for (size_t a = 0; a < e->attack_count; a++)
    if (strlen(e->attacks[a].label) > longest) longest = strlen(e->attacks[a].label);
  return longest;
}

static void write_detection_panel(const struct cns_bench_picture *picture, uint16_t split,
                                  const uint32_t *sketches, size_t kinds, FILE *out) {
  const struct cns_bench_experiment *e = experiment_of(picture);
  char title[200];
  bool any = false;
  snprintf(title, sizeof title, "%s: split %s", e->name, e->splits[split].label);
  fprintf(out, "set title ");
  cns_bench_quoted(out, title);
  fprintf(out, "\nset ylabel '%s'\nplot ", split ? "" : "attackers flagged, per attacker and round");
  for (uint16_t a = 0; a < e->attack_count; a++)
    for (size_t k = 0; k < kinds && !e->attacks[a].none; k++) {
      fprintf(out, "%s$d%u_%u_%u using 1:2 with linespoints lw 1.5 ps 0.8 pt %zu dt %zu lc rgb '%s' title ",
              any ? ", " : "", split, a, sketches[k], 5 + 2 * k, k + 1, cns_bench_colour(a));
      snprintf(title, sizeof title, "%s, k = %u", e->attacks[a].label, sketches[k]);
      cns_bench_quoted(out, title);
      any = true;
    }
  fprintf(out, "%s\n", any ? "" : "NaN notitle");
}

void cns_bench_plot_detection(const void *context, FILE *out) {
  const struct cns_bench_picture *picture = context;
  const struct cns_bench_experiment *e = experiment_of(picture);
  uint32_t sketches[CNS_BENCH_LIST_MAX];
  size_t kinds = list_sketches(e, sketches);
  double key = (double)(longest_attack(e) + 9) * 7 + 40, width = 60 + PANEL * (double)e->split_count + key;
  cns_bench_begin(picture, (unsigned)width, 430, out);
  for (uint16_t s = 0; s < e->split_count; s++)
    for (uint16_t a = 0; a < e->attack_count; a++)
      for (size_t k = 0; k < kinds && !e->attacks[a].none; k++)
        if (write_curve(picture, s, a, sketches[k], out) == 0) fprintf(out, "# no results yet\n");
  fprintf(out,
          "set multiplot\nset grid lc rgb '#e0e0e0'\nset yrange [-0.02:1.02]\nset xrange [0:*]\n"
          "set xtics rotate by 45 right\nset bmargin at screen 0.2\nset tmargin at screen 0.9\n"
          "set label 1 'honest hospitals flagged, per hospital and round' at screen %.4f,0.04 center\n",
          (60 + PANEL * (double)e->split_count / 2) / width);
  for (uint16_t s = 0; s < e->split_count; s++) {
    fprintf(out, "set lmargin at screen %.4f\nset rmargin at screen %.4f\n", (60 + s * PANEL) / width,
            (60 + (s + 1) * PANEL - 60) / width);
    if (s + 1u == e->split_count)
      fprintf(out, "set key at screen %.4f,0.9 left top vertical Left reverse samplen 2\n",
              (60 + (s + 1) * PANEL - 50) / width);
    else
      fprintf(out, "unset key\n");
    write_detection_panel(picture, s, sketches, kinds, out);
    fprintf(out, "unset label 1\n");
  }
  fprintf(out, "unset multiplot\n");
}

/* Names on the left, one line a rule; the first at the top. */
static void write_moved(const struct cns_bench_picture *picture, uint16_t attack, bool weighted, FILE *out) {
  const struct cns_bench_grid *grid = picture->report->grid;
  const struct cns_bench_experiment *e = experiment_of(picture);
  double values[CNS_BENCH_SEEDS_MAX];
  fprintf(out, "$m%u_%d << END\n", attack, weighted);
  for (size_t i = picture->cell; i < grid->count; i++) {
    const struct cns_bench_cell *cell = &grid->cells[i];
    if (cell->experiment != grid->cells[picture->cell].experiment) break;
    if (cell->seed != 0 || cell->attack != attack || cell->split != 0 || cell->pre != 0 ||
        cell->byzantine != 0 || cell->audit != 0 || e->rules[cell->rule].weighted != weighted)
      continue;
    cns_bench_seeds(picture->report, i, false, CNS_BENCH_MOVED, values);
    double mean = cns_bench_interval(values, NULL, e->seed_count, NULL).mean, low = INFINITY, high = 0;
    for (size_t s = 0; s < e->seed_count; s++) {
      low = fmin(low, values[s]);
      high = fmax(high, values[s]);
    }
    if (mean > 0) fprintf(out, "%.6g %u %.6g %.6g\n", mean, cell->rule, fmax(low, mean / 1000), high);
  }
  fprintf(out, "END\n");
}

void cns_bench_plot_influence(const void *context, FILE *out) {
  const struct cns_bench_picture *picture = context;
  const struct cns_bench_experiment *e = experiment_of(picture);
  size_t panels = 0, longest = 0;
  for (uint16_t a = 0; a < e->attack_count; a++)
    panels += !e->attacks[a].none;
  for (size_t rule = 0; rule < e->rule_count; rule++)
    if (strlen(e->rules[rule].label) > longest) longest = strlen(e->rules[rule].label);
  double left = (double)longest * KEY_CHARS + 20, width = left + 300 * (double)panels, at = 0;
  unsigned height = (unsigned)(170 + 24 * e->rule_count);
  cns_bench_begin(picture, (unsigned)width, height, out);
  for (uint16_t a = 0; a < e->attack_count; a++) {
    write_moved(picture, a, false, out);
    write_moved(picture, a, true, out);
  }
  fprintf(out,
          "set multiplot\nset grid x y lc rgb '#e0e0e0'\nset logscale x\nset format x '10^{%%L}'\n"
          "set yrange [%zu.6:-0.6]\nset lmargin 1\nset rmargin 1\nset bmargin at screen %.4f\n"
          "set tmargin at screen %.4f\n",
          e->rule_count - 1, 92 / (double)height, 1 - 62 / (double)height);
  fprintf(out, "set format x '%%g'\nset xtics rotate by 45 right\nset label 1 ");
  char title[300];
  snprintf(title, sizeof title,
           "%s: how far the attackers move the result, in lengths of the mean honest update; mean and range "
           "of %zu seeds (no point: 0)",
           e->name, e->seed_count);
  cns_bench_quoted(out, title);
  fprintf(out, " at screen 0.5,%.4f center\n", 1 - 14 / (double)height);
  for (uint16_t a = 0; a < e->attack_count; a++) {
    if (e->attacks[a].none) continue;
    fprintf(out, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset title ",
            (left + at * 300) / width, (left + at * 300 + 280) / width);
    cns_bench_quoted(out, e->attacks[a].label);
    fprintf(out, " offset 0,-0.6\nset ytics (");
    for (size_t rule = 0; rule < e->rule_count; rule++) {
      fprintf(out, "%s", rule ? ", " : "");
      cns_bench_quoted(out, at == 0 ? e->rules[rule].label : "");
      fprintf(out, " %zu", rule);
    }
    fprintf(out,
            ")\nset key at screen 0.5,%.4f center horizontal maxrows 1 width 6 samplen 1\nplot "
            "$m%u_0 using 1:2:3:4 with xerrorbars pt 7 lc rgb '#d55e00' %s, "
            "$m%u_1 using 1:2:3:4 with xerrorbars pt 5 lc rgb '#0072b2' %s\n",
            20 / (double)height, a, at == 0 ? "title 'all hospitals alike'" : "notitle", a,
            at == 0 ? "title 'weighted by patients'" : "notitle");
    at++;
    fprintf(out, "unset label 1\n");
  }
  fprintf(out, "unset multiplot\n");
}
