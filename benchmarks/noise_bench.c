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
#include <time.h>

#include "dp/discrete_gaussian_internal.h"

#define RUNS_MAX 99
#define EXACT_SHARE 100

struct options {
  bool json;
  size_t elements;
  size_t runs;
};

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

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int do_work(struct work *work) {
  if (work->sampler) return cns_discrete_gaussian_add(work->sampler, work->rng, work->words, work->elements);
  return cns_discrete_gaussian_exact(work->variance_num, work->variance_den, work->rng, work->samples,
                                     work->elements);
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Median of millions of samples a second over the runs, after one that warms up; negative
 * on failure. */
static double measure(struct work *work, size_t runs) {
  double seconds[RUNS_MAX];
  if (do_work(work) != 0) return -1;
  for (size_t k = 0; k < runs; k++) {
    const double start = seconds_now();
    if (do_work(work) != 0) return -1;
    seconds[k] = seconds_now() - start;
  }
  qsort(seconds, runs, sizeof seconds[0], compare_doubles);
  return 1e-6 * (double)work->elements / seconds[runs / 2];
}

static bool parse_number(const char *text, size_t max, size_t *ret_value) {
  char *end = NULL;
  const unsigned long long value = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value < 1 || value > max) return false;
  *ret_value = (size_t)value;
  return true;
}

static bool parse_options(int argc, char **argv, struct options *options) {
  *options = (struct options){.elements = (size_t)1 << 20, .runs = 9};
  for (int k = 1; k < argc; k++) {
    if (strcmp(argv[k], "--json") == 0)
      options->json = true;
    else if (strcmp(argv[k], "--elements") == 0 && k + 1 < argc) {
      if (!parse_number(argv[++k], (size_t)1 << 28, &options->elements)) return false;
    } else if (strcmp(argv[k], "--runs") == 0 && k + 1 < argc) {
      if (!parse_number(argv[++k], RUNS_MAX, &options->runs)) return false;
    } else
      return false;
  }
  return true;
}

static int report(const struct options *options, const char *name, double speed) {
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
  const double start = seconds_now();
  if (cns_discrete_gaussian_new(sigma, &work->sampler, &problem) < 0) {
    fprintf(stderr, "noise_bench: %s\n", problem.text);
    return 1;
  }
  *ret_ms = 1e3 * (seconds_now() - start);
  return 0;
}

static int run_row(const struct options *options, size_t row, struct work *work) {
  const struct cns_discrete_gaussian_version *version;
  double new_ms = 0;
  if (open_sampler(rows[row].sigma, work, &new_ms) != 0) return 1;
  if (options->json)
    printf("%s\"%.9g\": {\"new_ms\": %.3f", row ? ", " : "", rows[row].sigma, new_ms);
  else
    printf("sigma %-10.9g", rows[row].sigma);
  int error = 0;
  work->elements = options->elements;
  for (size_t number = 0; (version = cns_discrete_gaussian_version(number)) && !error; number++) {
    cns_discrete_gaussian_use(work->sampler, version);
    error = report(options, version->name, measure(work, options->runs));
  }
  work->sampler = cns_discrete_gaussian_free(work->sampler);
  work->elements = options->elements / EXACT_SHARE + 1;
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
  struct options options;
  if (!parse_options(argc, argv, &options)) {
    fprintf(stderr, "usage: noise_bench [--json] [--elements 1..2^28] [--runs 1..%d]\n", RUNS_MAX);
    return 2;
  }
  if (cns_init() != CNS_OK) return 1;
  struct work work = {.rng = cns_rng_system(),
                      .words = calloc(options.elements, sizeof *work.words),
                      .samples = calloc(options.elements / EXACT_SHARE + 1, sizeof *work.samples)};
  int error = work.words && work.samples ? 0 : 1;
  if (error) fprintf(stderr, "noise_bench: no memory for %zu elements\n", options.elements);
  if (!error && options.json)
    printf("{\"elements\": %zu, \"runs\": %zu, \"million_samples_per_second\": {", options.elements,
           options.runs);
  else if (!error)
    printf("%zu elements, million samples a second, median of %zu runs, one thread\n", options.elements,
           options.runs);
  for (size_t row = 0; row < sizeof rows / sizeof rows[0] && !error; row++)
    error = run_row(&options, row, &work);
  if (!error && options.json) printf("}}\n");
  free(work.words);
  free(work.samples);
  return error;
}
