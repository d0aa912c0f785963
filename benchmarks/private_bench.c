/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of one step with the patient as the unit (model/private.h), beside the ordinary gradient of
 * the same rows (no clipping, no privacy) and beside the plain way to clip, which makes each patient's whole
 * gradient. One thread, processor time, so that waiting for a processor isn't counted; the three take turns,
 * so that other work on the machine slows all of them. Networks of 12,354 and 1,000,903 parameters; patients
 * of one row each, or of as many as --rows says.
 *
 *   private_bench [--json] [--rows N] [--runs N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/bench.h"
#include "dp/clip.h"
#include "model/network.h"
#include "model/private.h"

#define RUNS_MAX 999
#define ROWS_MAX 1000
#define CLIP 1.0

struct work {
  struct cns_plan plan;
  struct cns_table table;
  float *params;
  float *gradient;
  double *sum;
  bool *in;
};

/* Does the work once; 0 when it went well. */
typedef int work_fn(struct work *work);

static int work_private(struct work *work) {
  return cns_private_gradient(&work->plan, work->params, &work->table, work->in, CLIP, NULL, work->sum, NULL,
                              NULL);
}

static int work_ordinary(struct work *work) {
  double loss;
  return cns_network_gradient(&work->plan, work->params, work->table.x, work->table.label, work->table.rows,
                              &loss, work->gradient);
}

/* Rows of a patient follow each other. */
static int work_plain(struct work *work) {
  const struct cns_table *table = &work->table;
  size_t rows = table->rows / table->patients;
  memset(work->sum, 0, work->plan.dim * sizeof *work->sum);
  for (size_t p = 0; p < table->patients; p++) {
    double loss;
    int r = cns_network_gradient(&work->plan, work->params, table->x + p * rows * table->features,
                                 table->label + p * rows, rows, &loss, work->gradient);
    if (r == 0) r = cns_clip(work->gradient, work->plan.dim, CLIP, NULL, NULL);
    if (r < 0) return r;
    for (size_t k = 0; k < work->plan.dim; k++)
      work->sum[k] += (double)work->gradient[k];
  }
  return 0;
}

static void deinit(struct work *work) {
  cns_table_deinit(&work->table);
  free(work->params);
  free(work->gradient);
  free(work->sum);
  free(work->in);
}

static float uniform(struct cns_rng_seeded *generator) {
  uint8_t bytes[2];
  if (cns_rng_fill(cns_rng_seeded(generator), bytes, sizeof bytes) != 0) return 0;
  return (float)(bytes[0] | bytes[1] << 8) / 32768 - 1;
}

/* Two hidden layers of these widths, 30 features, two classes. */
static int prepare(struct work *work, size_t first, size_t second, size_t patients, size_t rows) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, 1, "private_bench");
  *work = (struct work){.plan = {.class_count = 2,
                                 .feature_count = 30,
                                 .kind = CNS_MODEL_MLP,
                                 .hidden = {first, second},
                                 .hidden_count = 2}};
  work->plan.dim = 31 * first + (first + 1) * second + (second + 1) * 2;
  work->table =
      (struct cns_table){.rows = patients * rows, .features = 30, .classes = 2, .patients = patients};
  struct cns_table *table = &work->table;
  table->x = calloc(table->rows * 30, sizeof(float));
  table->label = calloc(table->rows, sizeof(uint16_t));
  table->patient = calloc(table->rows, sizeof(uint32_t));
  work->params = calloc(work->plan.dim, sizeof(float));
  work->gradient = calloc(work->plan.dim, sizeof(float));
  work->sum = calloc(work->plan.dim, sizeof(double));
  work->in = calloc(patients, sizeof(bool));
  if (!table->x || !table->label || !table->patient || !work->params || !work->gradient || !work->sum ||
      !work->in)
    return CNS_ERR_MEMORY;
  for (size_t k = 0; k < table->rows * 30; k++)
    table->x[k] = uniform(&generator);
  for (size_t i = 0; i < table->rows; i++) {
    table->label[i] = (uint16_t)(uniform(&generator) > 0);
    table->patient[i] = (uint32_t)(i / rows);
  }
  memset(work->in, 1, patients * sizeof(bool));
  return cns_network_init(&work->plan, 1, work->params);
}

enum { PRIVATE, ORDINARY, PLAIN, PARTS };

static int measure(const struct bench_options *options, struct work *work, bool first) {
  static work_fn *const parts[PARTS] = {work_private, work_ordinary, work_plain};
  static double seconds[PARTS][RUNS_MAX], against_ordinary[RUNS_MAX], against_plain[RUNS_MAX];
  for (size_t run = 0; run <= options->runs; run++) { /* the first warms up */
    double taken[PARTS];
    for (size_t part = 0; part < PARTS; part++) {
      double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
      if (parts[part](work) < 0) return -1;
      taken[part] = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
      if (run > 0) seconds[part][run - 1] = taken[part];
    }
    if (run == 0) continue;
    against_ordinary[run - 1] = taken[PRIVATE] / taken[ORDINARY];
    against_plain[run - 1] = taken[PLAIN] / taken[PRIVATE];
  }
  double times[PARTS];
  for (size_t part = 0; part < PARTS; part++)
    times[part] = 1e3 * bench_median(seconds[part], options->runs);
  double slower = bench_median(against_ordinary, options->runs),
         faster = bench_median(against_plain, options->runs);
  if (options->json)
    printf("%s{\"parameters\": %zu, \"patients\": %zu, \"private_ms\": %.3f, \"ordinary_ms\": %.3f, "
           "\"plain_ms\": %.3f, \"private_over_ordinary\": %.3f, \"plain_over_private\": %.3f}",
           first ? "" : ", ", work->plan.dim, work->table.patients, times[PRIVATE], times[ORDINARY],
           times[PLAIN], slower, faster);
  else
    printf("%9zu %8zu %10.2f ms %10.2f ms %10.2f ms %10.2f %10.1f\n", work->plan.dim, work->table.patients,
           times[PRIVATE], times[ORDINARY], times[PLAIN], slower, faster);
  return 0;
}

static int run(const struct bench_options *options) {
  static const size_t widths[][2] = {{128, 64}, {1000, 967}};
  static const size_t patients[] = {32, 256, 2048};
  if (options->json)
    printf("{\"rows\": %zu, \"runs\": %zu, \"steps\": [", options->size, options->runs);
  else
    printf("%zu rows a patient, median of %zu runs, processor time of one thread\n"
           "%9s %8s %13s %13s %13s %10s %10s\n",
           options->size, options->runs, "parameters", "patients", "private", "ordinary", "plain clipping",
           "x ordinary", "plain / it");
  for (size_t w = 0; w < 2; w++)
    for (size_t p = 0; p < 3; p++) {
      struct work work;
      int r = prepare(&work, widths[w][0], widths[w][1], patients[p], options->size);
      if (r == 0) r = measure(options, &work, w == 0 && p == 0);
      deinit(&work);
      if (r < 0) return r;
    }
  if (options->json) printf("]}\n");
  return 0;
}

int main(int argc, char **argv) {
  struct bench_options options = {.size = 1, .runs = 7};
  if (!bench_parse(argc, argv, "--rows", ROWS_MAX, RUNS_MAX, &options)) {
    fprintf(stderr, "usage: private_bench [--json] [--rows 1..%d] [--runs 1..%d]\n", ROWS_MAX, RUNS_MAX);
    return 2;
  }
  if (cns_init() != CNS_OK) return 1;
  int r = run(&options);
  if (r < 0) fprintf(stderr, "private_bench: failed: is there memory?\n");
  return r < 0 ? 1 : 0;
}
