/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of each rule and pre-aggregation on random rows: median of the runs in ms, the
 * shortest, the processors' time, and the bytes of the matrix over the median.
 *   robust_bench [--rows N] [--columns D] [--byzantine F] [--threads T] [--runs R] [--double]
 *                [--only NAME] [--json]
 */
#include <stdio.h>
#include <sys/resource.h>

#include "benchmarks/bench.h"
#include "robust/robust.h"

#define COLUMNS_MAX 1000000000
#define RUNS_MAX 1000

struct options {
  size_t rows, columns, byzantine, threads, runs;
  enum cns_robust_type type;
  const char *only;
  bool json;
};

struct data {
  void *matrix, *reference, *result;
};

/* Numbers in -1..1 from a counter (splitmix64's mixing). */
static double number(uint64_t k) {
  uint64_t z = (k + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (double)(int64_t)(z ^ z >> 31) * 0x1p-63;
}

static void *random_numbers(const struct options *options, size_t rows, uint64_t offset) {
  size_t count = rows * options->columns;
  void *values = malloc(count * (size_t)options->type);
  for (size_t k = 0; values && k < count; k++)
    if (options->type == CNS_ROBUST_F64)
      ((double *)values)[k] = number(offset + k);
    else
      ((float *)values)[k] = (float)number(offset + k);
  return values;
}

/* Parameters with which a rule or pre-aggregation runs; those that clip shorten most rows. */
static struct cns_robust_params params_for(const struct options *options,
                                           const struct cns_robust_about *about, const struct data *data) {
  struct cns_robust_params p = {.byzantine = options->byzantine, .threads = options->threads};
  if (strstr(about->params, "tau")) p.tau = 2;
  if (strstr(about->params, "norm")) p.norm = 2;
  if (strstr(about->params, "size")) p.size = 2;
  if (strstr(about->params, "reference")) p.reference = data->reference;
  return p;
}

static int run(const struct options *options, int k, const struct data *data, struct cns_problem *problem) {
  bool pre = k >= CNS_ROBUST_RULE_COUNT;
  if (pre) {
    enum cns_robust_pre kind = (enum cns_robust_pre)(k - CNS_ROBUST_RULE_COUNT);
    struct cns_robust_params p = params_for(options, cns_robust_about_pre(kind), data);
    return cns_robust_preaggregate(kind, &p, options->type, data->matrix, options->rows, options->columns,
                                   data->result, NULL, problem);
  }
  struct cns_robust_params p = params_for(options, cns_robust_about_rule((enum cns_robust_rule)k), data);
  return cns_robust_aggregate((enum cns_robust_rule)k, &p, options->type, data->matrix, options->rows,
                              options->columns, data->result, problem);
}

/* The most that this process has held so far. */
static double peak_mib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)usage.ru_maxrss / 1024;
}

static void measure(const struct options *options, int k, const char *name, const struct data *data) {
  double seconds[RUNS_MAX], cpu[RUNS_MAX];
  struct cns_problem problem = {{0}};
  double before = peak_mib();
  double bytes = (double)options->rows * (double)options->columns * (double)options->type;
  for (size_t r = 0; r < options->runs + 1; r++) { /* the first warms up */
    double begin = bench_seconds(CLOCK_MONOTONIC), cpu_begin = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (run(options, k, data, &problem) < 0) {
      if (options->json)
        printf("{\"name\": \"%s\", \"error\": \"%s\"}\n", name, problem.text);
      else
        printf("%-18s %s\n", name, problem.text);
      return;
    }
    if (r == 0) continue;
    seconds[r - 1] = bench_seconds(CLOCK_MONOTONIC) - begin;
    cpu[r - 1] = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin;
  }
  double middle = bench_median(seconds, options->runs), work = bench_median(cpu, options->runs);
  if (options->json)
    printf("{\"name\": \"%s\", \"ms\": %.4f, \"least_ms\": %.4f, \"cpu_ms\": %.4f, \"mib\": %.1f}\n", name,
           1e3 * middle, 1e3 * seconds[0], 1e3 * work, peak_mib() - before);
  else
    printf("%-18s %10.2f ms  least %10.2f  processors %10.2f  %8.2f GB/s\n", name, 1e3 * middle,
           1e3 * seconds[0], 1e3 * work, 1e-9 * bytes / middle);
  fflush(stdout);
}

static bool parse(int argc, char **argv, struct options *options) {
  for (int k = 1; k < argc; k++) {
    const char *value = k + 1 < argc ? argv[k + 1] : "";
    if (strcmp(argv[k], "--json") == 0)
      options->json = true;
    else if (strcmp(argv[k], "--double") == 0)
      options->type = CNS_ROBUST_F64;
    else if (strcmp(argv[k], "--only") == 0 && *value)
      options->only = argv[++k];
    else if (strcmp(argv[k], "--byzantine") == 0 && strcmp(value, "0") == 0) {
      options->byzantine = 0;
      k++;
    } else if (!(strcmp(argv[k], "--rows") == 0
                     ? bench_parse_number(value, CNS_ROBUST_ROWS_MAX, &options->rows)
                 : strcmp(argv[k], "--columns") == 0
                     ? bench_parse_number(value, COLUMNS_MAX, &options->columns)
                 : strcmp(argv[k], "--byzantine") == 0
                     ? bench_parse_number(value, CNS_ROBUST_ROWS_MAX, &options->byzantine)
                 : strcmp(argv[k], "--threads") == 0 ? bench_parse_number(value, 64, &options->threads)
                 : strcmp(argv[k], "--runs") == 0    ? bench_parse_number(value, RUNS_MAX, &options->runs)
                                                     : false))
      return false;
    else
      k++;
  }
  return true;
}

int main(int argc, char **argv) {
  struct options options = {20, 1000000, 4, 0, 9, CNS_ROBUST_F32, NULL, false};
  if (!parse(argc, argv, &options)) {
    fprintf(stderr, "usage: robust_bench [--rows N] [--columns D] [--byzantine F] [--threads T] [--runs R] "
                    "[--double] [--only NAME] [--json]\n");
    return 2;
  }
  if (cns_init() < 0) return 1;
  struct data data = {random_numbers(&options, options.rows, 0),
                      random_numbers(&options, 1, UINT64_C(1) << 40),
                      calloc(options.rows * options.columns, (size_t)options.type)};
  if (!data.matrix || !data.reference || !data.result) {
    fprintf(stderr, "robust_bench: out of memory\n");
    return 1;
  }
  if (!options.json)
    printf("n = %zu, d = %zu, f = %zu, %s, threads %zu (0: all), median of %zu runs\n", options.rows,
           options.columns, options.byzantine, options.type == CNS_ROBUST_F32 ? "float" : "double",
           options.threads, options.runs);
  for (int k = 0; k < CNS_ROBUST_RULE_COUNT + CNS_ROBUST_PRE_COUNT; k++) {
    const char *name = k < CNS_ROBUST_RULE_COUNT
                           ? cns_robust_about_rule((enum cns_robust_rule)k)->name
                           : cns_robust_about_pre((enum cns_robust_pre)(k - CNS_ROBUST_RULE_COUNT))->name;
    if (!options.only || strcmp(options.only, name) == 0) measure(&options, k, name, &data);
  }
  free(data.matrix);
  free(data.reference);
  free(data.result);
  return 0;
}
