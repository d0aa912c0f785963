/* SPDX-License-Identifier: Apache-2.0 */
/* consilium bench: what robust rules do on data and under attacks. */
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/demo_data.h"
#include "crypto/json.h"
#include "crypto/parallel.h"

#define VERB "bench robust"

struct call {
  const char *config, *out, *pictures;
  int64_t jobs;
  bool report;
};

struct bench {
  const struct call *call;
  struct cns_bench_config config;
  struct cns_bench_grid grid;
  struct cns_bench_data data;
  struct cns_bench_result *results;
  struct cns_bench_store *store;
  char folder[4096];
};

/* "quick" and "night" are built in. */
static int read_config(const struct call *call, struct cns_bench_config *config,
                       struct cns_problem *problem) {
  const struct {
    const char *name;
    const unsigned char *text;
    size_t len;
  } built_in[] = {{"quick", cns_bench_quick, cns_bench_quick_bytes},
                  {"night", cns_bench_night, cns_bench_night_bytes}};
  for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++)
    if (strcmp(call->config, built_in[i].name) == 0)
      return cns_bench_config_parse((const char *)built_in[i].text, built_in[i].len, built_in[i].name, config,
                                    problem);
  uint8_t *text = NULL;
  size_t len = 0;
  int r = cns_file_read(call->config, CNS_BENCH_CONFIG_BYTES_MAX, &text, &len, problem);
  if (r == 0) r = cns_bench_config_parse((const char *)text, len, call->config, config, problem);
  free(text);
  return r;
}

static void bench_deinit(struct bench *bench) {
  for (size_t i = 0; bench->results && i < bench->grid.count; i++)
    cns_bench_result_deinit(&bench->results[i]);
  free(bench->results);
  cns_bench_store_free(bench->store);
  cns_bench_data_deinit(&bench->data);
  cns_bench_grid_deinit(&bench->grid);
  cns_bench_config_deinit(&bench->config);
}

/* Files that are missing are exit 4; all else that the configuration caused is a wrong call. */
static int fail_config(int error, const struct cns_problem *problem) {
  bool file = error == CNS_ERR_IO || error == CNS_ERR_PERMISSION || error == CNS_ERR_MEMORY ||
              error == CNS_ERR_NOT_FOUND;
  return file ? cns_cli_fail(error, problem) : cns_cli_usage_error(VERB, "%s", problem->text);
}

static int prepare(struct bench *bench) {
  struct cns_problem problem = {0};
  bool torn = false;
  int r = read_config(bench->call, &bench->config, &problem);
  if (r == 0) r = cns_bench_grid_init(&bench->grid, &bench->config, &problem);
  if (r == 0) r = cns_bench_data_load(&bench->config.data, &bench->data, &problem);
  if (r < 0) return fail_config(r, &problem);
  bench->results = calloc(bench->grid.count, sizeof *bench->results);
  if (!bench->results) return cns_cli_fail(CNS_ERR_MEMORY, &problem);
  if (bench->call->out)
    snprintf(bench->folder, sizeof bench->folder, "%s", bench->call->out);
  else
    snprintf(bench->folder, sizeof bench->folder, "bench-%s", bench->config.name);
  r = cns_bench_store_open(bench->folder, &bench->config, &bench->grid, &bench->data.digest,
                           !bench->call->report, bench->results, &bench->store, &torn, &problem);
  if (r < 0) return cns_cli_fail(r, &problem);
  if (torn)
    fprintf(stderr,
            "%s/results.jsonl: its last line was not written to the end and is left out; that cell runs "
            "again\n",
            bench->folder);
  return CNS_EXIT_OK;
}

static int write_report(struct bench *bench) {
  struct cns_problem problem = {0};
  const struct cns_bench_report report = {&bench->config, &bench->grid, bench->results, bench->folder};
  int r = cns_bench_write_csv(&report, &problem);
  if (r == 0) r = cns_bench_write_json(&report, &problem);
  if (r < 0) return cns_cli_fail(r, &problem);
  cns_bench_print(&report, stdout);
  printf("\nTables and results are in %s\n", bench->folder);
  if (bench->call->pictures && strcmp(bench->call->pictures, "none") == 0) return CNS_EXIT_OK;
  r = cns_bench_draw(&report, bench->call->pictures && strcmp(bench->call->pictures, "png") == 0, &problem);
  if (r < 0) return cns_cli_fail(r, &problem); /* the tables are there all the same */
  return CNS_EXIT_OK;
}

static int run(const struct call *call) {
  struct bench bench = {.call = call};
  struct cns_problem problem = {0};
  size_t missing = 0;
  int code = prepare(&bench);
  for (size_t i = 0; code == CNS_EXIT_OK && i < bench.grid.count; i++)
    missing += bench.results[i].accuracy == NULL;
  if (code == CNS_EXIT_OK && !call->report) {
    if (missing < bench.grid.count)
      fprintf(stderr, "%zu of %zu cells are done already\n", bench.grid.count - missing, bench.grid.count);
    int r = cns_bench_run(&bench.config, &bench.grid, &bench.data.table,
                          call->jobs ? (size_t)call->jobs : cns_parallel_processors(), bench.store,
                          bench.results, &problem);
    if (r == CNS_ERR_RANGE)
      code = cns_cli_usage_error(VERB, "%s", problem.text);
    else if (r < 0)
      code = cns_cli_fail(r, &problem);
  }
  if (code == CNS_EXIT_OK) code = write_report(&bench);
  bench_deinit(&bench);
  return code;
}

static int cns_cli_bench_robust(int argc, char **argv) {
  struct call call = {0};
  const struct cns_option table[] = {
      {"config", "FILE", "configuration, or quick or night, which are built in (required)", CNS_OPTION_TEXT,
       &call.config, 0, 0},
      {"out", "DIR", "folder of the results, default bench-NAME", CNS_OPTION_TEXT, &call.out, 0, 0},
      {"jobs", "N", "threads, default one for each processor", CNS_OPTION_INT, &call.jobs, 1,
       CNS_PARALLEL_THREADS_MAX},
      {"report", NULL, "only make tables and pictures anew, of what is there", CNS_OPTION_FLAG, &call.report,
       0, 0},
      {"pictures", "KIND", "svg (default), png or none", CNS_OPTION_TEXT, &call.pictures, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0},
  };
  const struct cns_usage usage = {
      .synopsis =
          VERB " --config FILE|quick|night [--out DIR] [--jobs N] [--report] [--pictures svg|png|none]",
      .summary = "Trains federations under attacks over a grid of splits, rules, pre-aggregations, attacks,\n"
                 "audits and seeds, and says which rule holds out. A bench that was stopped goes on where\n"
                 "it was. Writes results.jsonl, CSV and JSON tables, and pictures by gnuplot.",
      .options = table,
  };
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!call.config) return cns_cli_usage_error(VERB, "--config FILE is missing");
  const char *kind = call.pictures ? call.pictures : "svg";
  if (strcmp(kind, "svg") != 0 && strcmp(kind, "png") != 0 && strcmp(kind, "none") != 0)
    return cns_cli_usage_error(VERB, "--pictures %.40s: it must be svg, png or none", kind);
  return cns_cli_finish(run(&call));
}

int cns_cli_bench(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"robust", "robust rules on data and under attacks, over a grid", cns_cli_bench_robust},
      {NULL, NULL, NULL},
  };
  return cns_cli_dispatch("consilium bench", "Federations under attack, on one machine.", verbs, argc, argv);
}
