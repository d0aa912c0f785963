/* SPDX-License-Identifier: Apache-2.0 */
/* Cells on several threads. Each cell's result depends on the cell alone, so the tables are
 * the same whatever their number and order. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench.h"
#include "crypto/parallel.h"

#define BAR 30
#define LINES 20 /* of progress, when there is no terminal */

struct run {
  const struct cns_bench_config *config;
  const struct cns_bench_grid *grid;
  const struct cns_table *table;
  struct cns_bench_store *store;
  struct cns_bench_result *results;
  size_t *pending; /* indices of cells */
  size_t count, next, done, said;
  bool terminal;
  double start;
  int error;
  struct cns_problem problem;
  pthread_mutex_t mutex;
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* "1:02:03" */
static void duration(double seconds, char out[static 32]) {
  unsigned long all = seconds > 0 ? (unsigned long)(seconds + 0.5) : 0;
  if (all >= 3600)
    snprintf(out, 32, "%lu:%02lu:%02lu", all / 3600, all / 60 % 60, all % 60);
  else
    snprintf(out, 32, "%lu:%02lu", all / 60, all % 60);
}

static void show(struct run *run) {
  char left[32], spent[32];
  double seconds = now() - run->start;
  size_t filled = run->done * BAR / run->count;
  duration(seconds, spent);
  duration(run->done ? seconds / (double)run->done * (double)(run->count - run->done) : 0, left);
  if (run->terminal) {
    fprintf(stderr, "\r[%.*s%.*s] %zu of %zu cells, %s, %s left  ", (int)filled,
            "##############################", (int)(BAR - filled), "..............................",
            run->done, run->count, spent, left);
    if (run->done == run->count) fputc('\n', stderr);
  } else if (run->done * LINES / run->count > run->said || run->done == run->count) {
    run->said = run->done * LINES / run->count;
    fprintf(stderr, "%zu of %zu cells, %s, %s left\n", run->done, run->count, spent, left);
  }
  fflush(stderr);
}

/* Which cell, for sentences. */
static int blame(const struct run *run, size_t index, int error, struct cns_problem *problem) {
  const struct cns_bench_cell *cell = &run->grid->cells[index];
  const struct cns_bench_experiment *e = &run->config->experiments[cell->experiment];
  if (!problem->text[0]) cns_problem_set(problem, error, "failed (%s)", cns_error_name(error));
  return cns_problem_prefix(problem, error,
                            "experiment \"%s\", split \"%s\", rule \"%s\", attack \"%s\", seed %llu", e->name,
                            e->splits[cell->split].label, e->rules[cell->rule].label,
                            e->attacks[cell->attack].label, (unsigned long long)e->seeds[cell->seed]);
}

static void one_cell(struct run *run, size_t index) {
  struct cns_bench_result result = {0};
  struct cns_problem problem = {0};
  double start = now();
  int r = cns_bench_world_run(run->config, &run->grid->cells[index], run->table, &result, &problem);
  if (r < 0) blame(run, index, r, &problem);
  result.cell = index;
  result.seconds = now() - start;
  pthread_mutex_lock(&run->mutex);
  if (r == 0) r = cns_bench_store_append(run->store, &result, &problem);
  if (r == 0) {
    run->results[index] = result;
    run->done++;
    show(run);
  } else {
    cns_bench_result_deinit(&result);
    if (run->error == 0) {
      run->error = r;
      run->problem = problem;
    }
  }
  pthread_mutex_unlock(&run->mutex);
}

static void *work(void *argument) {
  struct run *run = argument;
  for (;;) {
    pthread_mutex_lock(&run->mutex);
    bool over = run->error != 0 || run->next == run->count;
    size_t index = over ? 0 : run->pending[run->next++];
    pthread_mutex_unlock(&run->mutex);
    if (over) return NULL;
    one_cell(run, index);
  }
}

/* What is missing, the first seed of everything before the second: the time left is a fair
 * guess early, and a report of half a run is about all settings. */
static int list_pending(struct run *run) {
  run->pending = calloc(run->grid->count, sizeof *run->pending);
  if (!run->pending) return CNS_ERR_MEMORY;
  for (size_t seed = 0; seed < CNS_BENCH_SEEDS_MAX; seed++)
    for (size_t i = 0; i < run->grid->count; i++)
      if (run->grid->cells[i].seed == seed && !run->results[i].accuracy) run->pending[run->count++] = i;
  return 0;
}

int cns_bench_run(const struct cns_bench_config *config, const struct cns_bench_grid *grid,
                  const struct cns_table *table, size_t jobs, struct cns_bench_store *store,
                  struct cns_bench_result *results, struct cns_problem *problem) {
  struct run run = {.config = config,
                    .grid = grid,
                    .table = table,
                    .store = store,
                    .results = results,
                    .terminal = isatty(STDERR_FILENO),
                    .start = now(),
                    .mutex = PTHREAD_MUTEX_INITIALIZER};
  pthread_t threads[CNS_PARALLEL_THREADS_MAX];
  size_t started = 0;
  int r = list_pending(&run);
  if (r < 0) return r;
  if (jobs > CNS_PARALLEL_THREADS_MAX) jobs = CNS_PARALLEL_THREADS_MAX;
  /* With fewer threads than wanted the work is the same, only slower. */
  while (started + 1 < jobs && started + 1 < run.count &&
         pthread_create(&threads[started], NULL, work, &run) == 0)
    started++;
  if (run.count > 0) work(&run);
  for (size_t i = 0; i < started; i++)
    pthread_join(threads[i], NULL);
  if (run.error && run.terminal) fputc('\n', stderr);
  free(run.pending);
  if (run.error && problem) *problem = run.problem;
  return run.error;
}
