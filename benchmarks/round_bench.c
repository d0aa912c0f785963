/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of each phase of a whole round, with memory: the simulation's machines on
 * all processors. Each run is a process of its own, so that the peak of memory
 * is that run's. Two hospitals are gone before their upload (one, where no more can
 * be lost), so that the coordinator has their pair masks to remove.
 *
 *   round_bench [--json] [--long] [--runs N] [--only N,D]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/simulation.h"
#include "crypto/parallel.h"

#define RUNS_MAX 99

struct options {
  bool json;
  bool long_list;
  size_t runs;
  struct size {
    size_t hospitals;
    uint64_t dim;
  } only; /* hospitals 0: the lists below */
};

/* The last rows take some GiB and minutes. */
static const struct size sizes[] = {{5, 10000},    {5, 1000000}, {16, 10000},    {16, 1000000}, {32, 10000},
                                    {32, 1000000}, {100, 10000}, {100, 1000000}, {16, 25000000}};
#define SIZES_SHORT 6
#define SIZES (sizeof sizes / sizeof sizes[0])
#define DROPPED 2

/* Phases keys to result, then these. */
enum column {
  CLIENT_MASK = CNS_PHASE_COUNT,
  SERVER_UNMASK,
  BYTES_UP,
  BYTES_DOWN,
  PEAK_MIB,
  COLUMNS,
};

static const enum cns_phase phases[] = {CNS_PHASE_KEYS,  CNS_PHASE_SHARES, CNS_PHASE_READY, CNS_PHASE_UPLOAD,
                                        CNS_PHASE_AGREE, CNS_PHASE_UNMASK, CNS_PHASE_RESULT};
#define PHASES (sizeof phases / sizeof phases[0])

/* As many as are gone; fewer where the round would not survive it. */
static size_t dropped(size_t hospitals) {
  uint16_t colluders = 0;
  if (cns_simulation_colluders(hospitals, 0, &colluders, NULL) < 0) return 0;
  size_t spare = hospitals - ((hospitals + colluders) / 2 + 1);
  return spare < DROPPED ? spare : DROPPED;
}

/* In the child: one round; 0 when the sum is exact. */
static int play(struct size size, uint64_t seed, double columns[COLUMNS]) {
  struct cns_simulation_options options = {.hospitals = size.hospitals, .dim = size.dim, .seed = seed};
  struct cns_simulation *simulation = NULL;
  const struct cns_simulation_result *result = NULL;
  struct cns_problem problem = {0};
  struct rusage usage;
  options.drops[CNS_PHASE_UPLOAD] = dropped(size.hospitals);
  int r = cns_simulation_new(&options, &simulation, &problem);
  if (r == 0) r = cns_simulation_round(simulation, &result, &problem);
  if (r < 0) fprintf(stderr, "round_bench: %s\n", problem.text);
  if (r < 0 || !result->exact || getrusage(RUSAGE_SELF, &usage) != 0) return 1;
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    columns[p] = result->phase_ms[p];
  columns[CLIENT_MASK] = result->client_mask_ms_median;
  columns[SERVER_UNMASK] = result->server_unmask_ms;
  columns[BYTES_UP] = result->bytes_up_per_hospital;
  columns[BYTES_DOWN] = result->bytes_down_per_hospital;
  columns[PEAK_MIB] = (double)usage.ru_maxrss / 1024.0;
  cns_simulation_free(simulation);
  return 0;
}

static int run_child(struct size size, uint64_t seed, double columns[COLUMNS]) {
  int ends[2], status = 0;
  size_t wanted = COLUMNS * sizeof columns[0];
  if (pipe(ends) != 0) return 1;
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    int r = play(size, seed, columns);
    if (r == 0 && write(ends[1], columns, wanted) != (ssize_t)wanted) r = 1;
    _exit(r);
  }
  close(ends[1]);
  bool good = child > 0 && read(ends[0], columns, wanted) == (ssize_t)wanted;
  close(ends[0]);
  good &= child > 0 && waitpid(child, &status, 0) == child && status == 0;
  return good ? 0 : 1;
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int measure(struct size size, size_t runs, double medians[COLUMNS]) {
  double columns[RUNS_MAX][COLUMNS], values[RUNS_MAX];
  for (size_t k = 0; k < runs; k++)
    if (run_child(size, k + 1, columns[k]) != 0) return 1;
  for (size_t c = 0; c < COLUMNS; c++) {
    for (size_t k = 0; k < runs; k++)
      values[k] = columns[k][c];
    qsort(values, runs, sizeof values[0], compare_doubles);
    medians[c] = values[runs / 2];
  }
  return 0;
}

static void print_json(struct size size, const double medians[COLUMNS], bool first) {
  printf("%s\n  {\"hospitals\": %zu, \"dim\": %llu, \"dropped\": %zu, \"phase_ms\": {", first ? "" : ",",
         size.hospitals, (unsigned long long)size.dim, dropped(size.hospitals));
  for (size_t p = 0; p < PHASES; p++)
    printf("%s\"%s\": %.3f", p ? ", " : "", cns_phase_name(phases[p]), medians[phases[p]]);
  printf("}, \"client_mask_ms\": %.3f, \"server_unmask_ms\": %.3f, \"bytes_up_per_hospital\": %.0f, "
         "\"bytes_down_per_hospital\": %.0f, \"bytes_up_per_parameter\": %.4f, \"peak_rss_mib\": %.1f}",
         medians[CLIENT_MASK], medians[SERVER_UNMASK], medians[BYTES_UP], medians[BYTES_DOWN],
         medians[BYTES_UP] / (double)size.dim, medians[PEAK_MIB]);
  fflush(stdout);
}

static void print_row(struct size size, const double medians[COLUMNS]) {
  printf("%5zu %8llu %4zu", size.hospitals, (unsigned long long)size.dim, dropped(size.hospitals));
  for (size_t p = 0; p < PHASES; p++)
    printf(" %8.1f", medians[phases[p]]);
  printf(" %8.1f %8.1f %8.3f %8.1f\n", medians[CLIENT_MASK], medians[SERVER_UNMASK],
         medians[BYTES_UP] / (double)size.dim, medians[PEAK_MIB]);
  fflush(stdout);
}

static void print_head(const struct options *options) {
  if (options->json) {
    printf("{\"runs\": %zu, \"threads\": %zu, \"rounds\": [", options->runs, cns_parallel_processors());
  } else {
    printf("ms of the whole federation on %zu threads, median of %zu runs\n%5s %8s %4s",
           cns_parallel_processors(), options->runs, "n", "d", "gone");
    for (size_t p = 0; p < PHASES; p++)
      printf(" %8s", cns_phase_name(phases[p]));
    printf(" %8s %8s %8s %8s\n", "mask one", "unmask", "up B/d", "MiB");
  }
  fflush(stdout); /* or the child would have it in its buffer too */
}

static int run(const struct options *options) {
  size_t count = options->only.hospitals ? 1 : options->long_list ? SIZES : SIZES_SHORT;
  print_head(options);
  for (size_t k = 0; k < count; k++) {
    struct size size = options->only.hospitals ? options->only : sizes[k];
    double medians[COLUMNS];
    if (measure(size, options->runs, medians) != 0) {
      fprintf(stderr, "round_bench: a round of %zu hospitals and %llu parameters failed\n", size.hospitals,
              (unsigned long long)size.dim);
      return 1;
    }
    if (options->json)
      print_json(size, medians, k == 0);
    else
      print_row(size, medians);
  }
  if (options->json) printf("\n]}\n");
  return 0;
}

static bool parse_size(const char *text, struct size *ret_size) {
  unsigned long long dim = 0;
  int end = 0;
  if (sscanf(text, "%zu,%llu%n", &ret_size->hospitals, &dim, &end) != 2 || text[end] != '\0') return false;
  ret_size->dim = dim;
  return ret_size->hospitals >= CNS_SIMULATION_HOSPITALS_MIN && dim > 0;
}

static bool parse_options(int argc, char **argv, struct options *options) {
  *options = (struct options){.runs = 5};
  for (int k = 1; k < argc; k++) {
    if (strcmp(argv[k], "--json") == 0)
      options->json = true;
    else if (strcmp(argv[k], "--long") == 0)
      options->long_list = true;
    else if (strcmp(argv[k], "--only") == 0 && k + 1 < argc) {
      if (!parse_size(argv[++k], &options->only)) return false;
    } else if (strcmp(argv[k], "--runs") == 0 && k + 1 < argc) {
      char *end = NULL;
      long runs = strtol(argv[++k], &end, 10);
      if (*end != '\0' || runs < 1 || runs > RUNS_MAX) return false;
      options->runs = (size_t)runs;
    } else
      return false;
  }
  return true;
}

int main(int argc, char **argv) {
  struct options options;
  if (!parse_options(argc, argv, &options)) {
    fprintf(stderr, "usage: round_bench [--json] [--long] [--runs 1..%d] [--only HOSPITALS,PARAMETERS]\n",
            RUNS_MAX);
    return 2;
  }
  if (cns_init() != CNS_OK) return 1;
  return run(&options);
}
