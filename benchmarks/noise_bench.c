/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the discrete Gaussian samplers, one thread, in one run: the fast one for
 * several sigma in each version that this processor can run, and the exact one beside
 * it. The exact one draws a hundredth of the samples.
 *
 *   noise_bench [--json] [--elements N] [--runs N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/bench.h"
#include "dp/discrete_gaussian_internal.h"

#define RUNS_MAX 99
#define EXACT_SHARE 100

struct work {
  struct cns_discrete_gaussian *sampler; /* NULL: the exact one */
  uint64_t variance_num, variance_den;
  uint32_t *words;
  int64_t *samples;
  size_t elements;
  struct cns_rng rng;
};

static const struct {
  double sigma;
  uint64_t variance_num, variance_den; /* 0: beyond what the exact one can do */
} rows[] = {
    {0.5, 1, 4},
    {3, 9, 1},
    {16, 256, 1},
    {100, 10000, 1},
    {12345.6, 3810345984, 25},
    {0x1p22, 1ull << 44, 1},
    {0x1p30, 0, 0},
};

static int do_work(struct work *work) {
  if (work->sampler) return cns_discrete_gaussian_add(work->sampler, work->rng, work->words, work->elements);
  return cns_discrete_gaussian_exact(work->variance_num, work->variance_den, work->rng, work->samples,
                                     work->elements);
}

/* Median of millions of samples a second over the runs, after one that warms up; negative
 * on failure. */
static double measure(struct work *work, size_t runs) {
  double seconds[RUNS_MAX];
  if (do_work(work) != 0) return -1;
  for (size_t k = 0; k < runs; k++) {
    const double start = bench_seconds(CLOCK_MONOTONIC);
    if (do_work(work) != 0) return -1;
    seconds[k] = bench_seconds(CLOCK_MONOTONIC) - start;
  }
  return 1e-6 * (double)work->elements / bench_median(seconds, runs);
}

static int report(const struct bench_options *options, const char *name, double speed) {
  if (speed < 0) {
    fprintf(stderr, "noise_bench: %s failed\n", name);
    return 1;
  }
  if (options->json)
    printf(", \"%s\": %.2f", name, speed);
  else
    printf(" %s %.1f", name, speed);
  return 0;
}

/* Milliseconds for one sampler, the table included. */
static int open_sampler(double sigma, struct work *work, double *ret_ms) {
  struct cns_problem problem = {{0}};
  const double start = bench_seconds(CLOCK_MONOTONIC);
  if (cns_discrete_gaussian_new(sigma, &work->sampler, &problem) < 0) {
    fprintf(stderr, "noise_bench: %s\n", problem.text);
    return 1;
  }
  *ret_ms = 1e3 * (bench_seconds(CLOCK_MONOTONIC) - start);
  return 0;
}

static int run_row(const struct bench_options *options, size_t row, struct work *work) {
  const struct cns_discrete_gaussian_version *version;
  double new_ms = 0;
  if (open_sampler(rows[row].sigma, work, &new_ms) != 0) return 1;
  if (options->json)
    printf("%s\"%.9g\": {\"new_ms\": %.3f", row ? ", " : "", rows[row].sigma, new_ms);
  else
    printf("sigma %-10.9g", rows[row].sigma);
  int error = 0;
  work->elements = options->size;
  for (size_t number = 0; (version = cns_discrete_gaussian_version(number)) && !error; number++) {
    cns_discrete_gaussian_use(work->sampler, version);
    error = report(options, version->name, measure(work, options->runs));
  }
  work->sampler = cns_discrete_gaussian_free(work->sampler);
  work->elements = options->size / EXACT_SHARE + 1;
  work->variance_num = rows[row].variance_num;
  work->variance_den = rows[row].variance_den;
  if (!error && work->variance_num) error = report(options, "exact", measure(work, options->runs));
  if (options->json)
    printf("}");
  else
    printf("   (table in %.2f ms)\n", new_ms);
  return error;
}

int main(int argc, char **argv) {
  struct bench_options options = {.size = (size_t)1 << 20, .runs = 9};
  if (!bench_parse(argc, argv, "--elements", (size_t)1 << 28, RUNS_MAX, &options)) {
    fprintf(stderr, "usage: noise_bench [--json] [--elements 1..2^28] [--runs 1..%d]\n", RUNS_MAX);
    return 2;
  }
  if (cns_init() != CNS_OK) return 1;
  struct work work = {.rng = cns_rng_system(),
                      .words = calloc(options.size, sizeof *work.words),
                      .samples = calloc(options.size / EXACT_SHARE + 1, sizeof *work.samples)};
  int error = work.words && work.samples ? 0 : 1;
  if (error) fprintf(stderr, "noise_bench: no memory for %zu elements\n", options.size);
  if (!error && options.json)
    printf("{\"elements\": %zu, \"runs\": %zu, \"million_samples_per_second\": {", options.size,
           options.runs);
  else if (!error)
    printf("%zu elements, million samples a second, median of %zu runs, one thread\n", options.size,
           options.runs);
  for (size_t row = 0; row < sizeof rows / sizeof rows[0] && !error; row++)
    error = run_row(&options, row, &work);
  if (!error && options.json) printf("}}\n");
  free(work.words);
  free(work.samples);
  return error;
}
