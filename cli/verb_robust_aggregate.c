/* SPDX-License-Identifier: Apache-2.0 */
/* consilium robust aggregate: a rule on a matrix in a file. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/robust_call.h"

#define VERB "robust aggregate"

struct job {
  struct cns_robust_call call;
  const char *in, *out;
  bool json;
  struct cns_robust_prepared prepared;
  struct cns_npy_matrix matrix;
  struct cns_robust_rows rows;
  struct cns_npy_matrix result;
  double *result_weights; /* of its rows, without a rule */
  double seconds;
};

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const char *type_name(const struct job *job) {
  return job->matrix.element_bytes == 4 ? "float32" : "float64";
}

/* The pivot is a row of the file; of those that are left it has another number. */
static int move_pivot(struct job *job) {
  struct cns_robust_chain *chain = &job->prepared.chain;
  if (chain->no_rule || chain->rule != CNS_ROBUST_MONNA || !job->rows.dropped) return 0;
  for (size_t i = 0; i < job->matrix.rows; i++) {
    if (job->rows.from[i] != chain->params.pivot) continue;
    chain->params.pivot = i;
    return 0;
  }
  return cns_cli_usage_error(VERB, "%s: the pivot, row %zu (from 0), is not there or NaN or infinite",
                             job->in, chain->params.pivot);
}

static int load(struct job *job) {
  int code = cns_robust_call_matrix(VERB, job->in, &job->matrix);
  if (!code)
    code = cns_robust_call_files(VERB, &job->call, job->matrix.rows, job->matrix.columns,
                                 job->matrix.element_bytes, &job->prepared);
  if (!code)
    code = cns_robust_call_finite(VERB, job->in, job->call.nonfinite, &job->matrix, job->prepared.weights,
                                  &job->rows);
  if (!code) code = move_pivot(job);
  if (!code && job->matrix.rows < 2)
    code = cns_cli_usage_error(VERB, "%s: has one row%s; to aggregate takes two or more", job->in,
                               job->rows.bad_count > 0 ? " that is finite" : "");
  return code;
}

static int compute(struct job *job) {
  struct cns_problem problem = {0};
  const struct cns_robust_chain *chain = &job->prepared.chain;
  size_t n = job->matrix.rows, rows = n;
  int r = cns_robust_chain_check(chain, n, &problem);
  if (r == 0) {
    rows = cns_robust_chain_rows(chain, n);
    r = cns_npy_matrix_new(job->matrix.element_bytes, chain->no_rule ? 2 : 1, chain->no_rule ? rows : 1,
                           job->matrix.columns, &job->result, &problem);
  }
  if (r == 0 && !(job->result_weights = calloc(rows, sizeof *job->result_weights))) r = CNS_ERR_MEMORY;
  double start = seconds_now();
  if (r == 0)
    r = cns_robust_chain_run(chain, (enum cns_robust_type)job->matrix.element_bytes, job->matrix.values, n,
                             job->matrix.columns, job->result.values, job->result_weights, &problem);
  job->seconds = seconds_now() - start;
  if (r < 0) return cns_robust_call_fail(VERB, r, &problem);
  r = cns_npy_matrix_write(job->out, &job->result, &problem);
  return r < 0 ? cns_cli_fail(r, &problem) : 0;
}

static void add_weights(cJSON *json, const struct job *job) {
  cJSON *list = cJSON_AddArrayToObject(json, "weights");
  for (size_t i = 0; list && i < job->result.rows; i++)
    cJSON_AddItemToArray(list, cJSON_CreateNumber(job->result_weights[i]));
}

static int print_json(const struct job *job) {
  const struct cns_robust_chain *chain = &job->prepared.chain;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "file", job->out);
  cJSON_AddStringToObject(json, "rule", chain->no_rule ? "none" : cns_robust_about_rule(chain->rule)->name);
  cJSON *pre = cJSON_AddArrayToObject(json, "pre");
  for (size_t p = 0; pre && p < chain->pre_count; p++)
    cJSON_AddItemToArray(pre, cJSON_CreateString(cns_robust_about_pre(chain->pre[p])->name));
  cJSON_AddNumberToObject(json, "byzantine", (double)chain->params.byzantine);
  cJSON_AddNumberToObject(json, "rows", (double)job->rows.given);
  cJSON_AddNumberToObject(json, "columns", (double)job->matrix.columns);
  cJSON_AddStringToObject(json, "type", type_name(job));
  cJSON_AddStringToObject(json, "nonfinite", job->call.nonfinite ? job->call.nonfinite : "refuse");
  cns_robust_add_rows(json, "nonfinite_rows", job->rows.bad, job->rows.bad_count);
  if (chain->no_rule) cJSON_AddNumberToObject(json, "result_rows", (double)job->result.rows);
  if (chain->no_rule && job->prepared.weights) add_weights(json, job);
  cJSON_AddNumberToObject(json, "seconds", job->seconds);
  return cns_cli_print_json(json);
}

static int print_text(const struct job *job) {
  char steps[256], text[160];
  FILE *say = cns_cli_beside(job->out);
  cns_robust_call_steps(&job->prepared.chain, steps);
  if (job->result.dimensions == 2)
    fprintf(say, "%s: %zu rows of %zu numbers (%s)", job->out, job->result.rows, job->result.columns,
            type_name(job));
  else
    fprintf(say, "%s: %zu numbers (%s)", job->out, job->result.columns, type_name(job));
  fprintf(say, " by %s, of %zu rows with f = %zu\n", steps, job->matrix.rows,
          job->prepared.chain.params.byzantine);
  if (job->rows.bad_count > 0) {
    cns_robust_rows_text(job->rows.bad, job->rows.bad_count, text);
    fprintf(say, "  %s: not finite, %s\n", text, job->rows.dropped ? "left out" : "made zero");
  }
  for (size_t i = 0; i < job->result.rows && job->result.dimensions == 2 && job->prepared.weights; i++)
    fprintf(say, "  weight of row %zu: %g\n", i, job->result_weights[i]);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int run(struct job *job, const struct cns_robust_param *params) {
  int code = cns_robust_call_names(VERB, &job->call, params, true, &job->prepared);
  if (!code) code = load(job);
  if (!code) code = compute(job);
  if (!code) code = job->json ? print_json(job) : print_text(job);
  cns_robust_prepared_deinit(&job->prepared);
  cns_npy_matrix_deinit(&job->matrix);
  cns_robust_rows_deinit(&job->rows);
  cns_npy_matrix_deinit(&job->result);
  free(job->result_weights);
  return code;
}

int cns_cli_robust_aggregate(int argc, char **argv) {
  struct job job = {0};
  struct cns_robust_param params[] = {CNS_ROBUST_PARAMS(job.call),
                                      {NULL, CNS_ROBUST_PARAM_INT, NULL, 0, 0, 0}};
  const struct cns_option table[] = {
      {"rule", "NAME", "the rule, or none for what --pre makes of the matrix (required)", CNS_OPTION_TEXT,
       &job.call.rule, 0, 0},
      CNS_ROBUST_OPTION_PRE(job.call),
      {"byzantine", "F", "rows that may be anything, default 0", CNS_OPTION_INT, &job.call.byzantine, 0,
       CNS_ROBUST_ROWS_MAX},
      CNS_ROBUST_OPTION_VARIANT(job.call),
      CNS_ROBUST_OPTION_PARAM(job.call),
      {"weights", "W.npy", "one for each row, above 0", CNS_OPTION_TEXT, &job.call.weights, 0, 0},
      {"nonfinite", "drop|zero", "rows with NaN or infinity are left out, or made zero; else refused",
       CNS_OPTION_TEXT, &job.call.nonfinite, 0, 0},
      {"json", NULL, "what was done, as JSON", CNS_OPTION_FLAG, &job.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0},
  };
  const struct cns_usage usage = {
      .synopsis = "robust aggregate --rule NAME [--pre NAME]... [--byzantine F] [--variant V] "
                  "[--param NAME=VALUE]... [--weights W.npy] [--nonfinite drop|zero] [--json] IN.npy OUT.npy",
      .summary = "Aggregates the rows of a matrix (hospitals x parameters, float32 or float64, computed in\n"
                 "that precision) by a rule that withstands F rows of any content. consilium robust list\n"
                 "shows rules, what may come before them, and their parameters.",
      .options = table,
      .operands_min = 2,
      .operands_max = 2};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  int code = cns_robust_call_params(VERB, &job.call.param, params);
  if (code) return code;
  job.in = argv[1];
  job.out = argv[2];
  return run(&job, params);
}
