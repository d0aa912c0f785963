/* SPDX-License-Identifier: Apache-2.0 */
/* consilium robust flag: which rows of a matrix stand out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/robust_call.h"
#include "cli/robust_history.h"
#include "crypto/json.h"
#include "robust/detect.h"

#define VERB "robust flag"
#define NAMES_BYTES_MAX (1u << 20)
#define NAME_BYTES_MAX 64
#define INPUT_CONTEXT "consilium/1 robust flag"

struct job {
  const char *in, *history_path, *weights_path, *names_path, *nonfinite;
  double rate;
  bool json;
  struct cns_npy_matrix matrix;
  double *weights; /* of the rows that are left */
  struct cns_robust_rows rows;
  double *weighted; /* rows x columns */
  uint16_t hospital[CNS_ROBUST_ROWS_MAX];
  char *names_text; /* what the names point into */
  const char *all_names[CNS_ROBUST_ROWS_MAX], *names[CNS_ROBUST_ROWS_MAX];
  struct cns_digest digest;
  struct cns_robust_history history;
  struct cns_detect_input input;
  struct cns_detect_result result;
};

/* ---- input ---- */

static int read_names(struct job *job, size_t rows) {
  struct cns_problem problem = {0};
  uint8_t *data = NULL;
  size_t len = 0, count = 0;
  int r = cns_file_read(job->names_path, NAMES_BYTES_MAX, &data, &len, &problem);
  if (r < 0) return cns_robust_call_fail(VERB, r, &problem);
  job->names_text = (char *)data;
  if (strlen(job->names_text) != len || !cns_text_is_utf8(job->names_text))
    return cns_cli_usage_error(VERB, "--names %s: is no text in UTF-8", job->names_path);
  for (char *line = job->names_text, *next; line && *line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = '\0';
    if (strlen(line) < 1 || strlen(line) > NAME_BYTES_MAX)
      return cns_cli_usage_error(VERB, "--names %s: line %zu: a name has 1 to %d bytes", job->names_path,
                                 count + 1, NAME_BYTES_MAX);
    if (count < rows) job->all_names[count] = line;
    count++;
  }
  if (count != rows)
    return cns_cli_usage_error(VERB, "--names %s: has %zu lines; there are %zu rows", job->names_path, count,
                               rows);
  return 0;
}

static int read_weights(struct job *job, size_t rows) {
  struct cns_robust_call call = {.weights = job->weights_path};
  struct cns_robust_prepared prepared = {0};
  int code = 0;
  if (job->weights_path) {
    code = cns_robust_call_files(VERB, &call, rows, 1, 4, &prepared);
    job->weights = prepared.weights;
    return code;
  }
  job->weights = malloc(rows * sizeof *job->weights);
  if (!job->weights) return cns_cli_fail(CNS_ERR_MEMORY, NULL);
  for (size_t i = 0; i < rows; i++)
    job->weights[i] = 1;
  return 0;
}

/* Of all that what is remembered depends on. */
static void take_digest(struct job *job) {
  struct cns_hash hash;
  size_t rows = job->matrix.rows, columns = job->matrix.columns;
  cns_hash_init(&hash, INPUT_CONTEXT);
  cns_hash_u64(&hash, rows);
  cns_hash_u64(&hash, columns);
  cns_hash_bytes(&hash, job->weighted, rows * columns * sizeof *job->weighted);
  cns_hash_bytes(&hash, job->weights, rows * sizeof *job->weights);
  cns_hash_bytes(&hash, job->hospital, rows * sizeof *job->hospital);
  cns_hash_final(&hash, &job->digest);
}

/* The detection takes weight * update. */
static int weigh(struct job *job) {
  size_t rows = job->matrix.rows, d = job->matrix.columns;
  job->weighted = malloc(rows * d * sizeof *job->weighted);
  if (!job->weighted) return cns_cli_fail(CNS_ERR_MEMORY, NULL);
  for (size_t i = 0; i < rows; i++) {
    job->hospital[i] = (uint16_t)(job->rows.from[i] + 1);
    job->names[i] = job->all_names[job->rows.from[i]];
    for (size_t k = 0; k < d; k++)
      job->weighted[i * d + k] =
          job->weights[i] * (job->matrix.element_bytes == 4
                                 ? (double)((const float *)job->matrix.values)[i * d + k]
                                 : ((const double *)job->matrix.values)[i * d + k]);
  }
  job->input = (struct cns_detect_input){.hospitals = rows,
                                         .columns = d,
                                         .rows = job->weighted,
                                         .weights = job->weights,
                                         .hospital = job->hospital,
                                         .name = job->names_path ? job->names : NULL,
                                         .blocks = 1};
  take_digest(job);
  return 0;
}

static int load(struct job *job) {
  if (job->nonfinite && strcmp(job->nonfinite, "drop") != 0)
    return cns_cli_usage_error(VERB, "--nonfinite %.40s: it must be drop", job->nonfinite);
  int code = cns_robust_call_matrix(VERB, job->in, &job->matrix);
  if (!code && job->matrix.columns > CNS_DETECT_COLUMNS_MAX)
    code = cns_cli_usage_error(VERB, "%s: has %zu columns; up to %u are compared", job->in,
                               job->matrix.columns, CNS_DETECT_COLUMNS_MAX);
  if (!code) code = read_weights(job, job->matrix.rows);
  if (!code && job->names_path) code = read_names(job, job->matrix.rows);
  if (!code)
    code = cns_robust_call_finite(VERB, job->in, job->nonfinite, &job->matrix, job->weights, &job->rows);
  if (!code && job->matrix.rows < CNS_DETECT_COHORT_MIN)
    code = cns_cli_usage_error(VERB, "%s: %zu rows to compare; there must be %u or more", job->in,
                               job->matrix.rows, CNS_DETECT_COHORT_MIN);
  return code ? code : weigh(job);
}

/* ---- detection ---- */

static int detect(struct job *job) {
  struct cns_problem problem = {0};
  struct cns_detect_options options = cns_detect_options_default();
  if (job->rate > 0) options.rate = job->rate;
  int r = cns_detect_round(&job->input, &options, &job->result, &problem);
  if (r < 0 || !job->history_path) return r < 0 ? cns_robust_call_fail(VERB, r, &problem) : 0;
  r = cns_robust_history_open(job->history_path, &job->digest, &job->history, &problem);
  if (r == 0)
    r = cns_detect_history_step(&job->history.memory, &job->input, &options, &job->result, &problem);
  if (r == 0) r = cns_robust_history_save(&job->history, &job->digest, &problem);
  return r < 0 ? cns_cli_fail(r, &problem) : 0;
}

/* ---- what was found ---- */

static void add_number(cJSON *json, const char *name, double value) {
  if (isfinite(value))
    cJSON_AddNumberToObject(json, name, value);
  else
    cJSON_AddNullToObject(json, name);
}

static bool is_first_flag(const struct job *job, size_t f) {
  for (size_t earlier = 0; earlier < f; earlier++)
    if (job->result.flags[earlier].row == job->result.flags[f].row) return false;
  return true;
}

/* A row, by its strongest flag. */
static cJSON *flag_json(const struct job *job, const struct cns_detect_flag *flag) {
  cJSON *entry = cJSON_CreateObject();
  cJSON_AddNumberToObject(entry, "row", (double)job->rows.from[flag->row]);
  cJSON_AddNumberToObject(entry, "hospital", flag->hospital);
  if (job->names_path) cJSON_AddStringToObject(entry, "name", job->names[flag->row]);
  cJSON_AddStringToObject(entry, "reason", cns_detect_statistic_name(flag->statistic));
  add_number(entry, "value", flag->value);
  add_number(entry, "threshold", flag->threshold);
  add_number(entry, "median", flag->median);
  add_number(entry, "mad", flag->mad);
  add_number(entry, "rate", flag->rate);
  add_number(entry, "strength", flag->strength);
  if (flag->twin != CNS_DETECT_NONE)
    cJSON_AddNumberToObject(entry, "twin", (double)job->rows.from[flag->twin]);
  cJSON_AddStringToObject(entry, "text", flag->text);
  cJSON *list = cJSON_AddArrayToObject(entry, "statistics");
  for (size_t f = 0; list && f < job->result.flag_count; f++)
    if (job->result.flags[f].row == flag->row)
      cJSON_AddItemToArray(list,
                           cJSON_CreateString(cns_detect_statistic_name(job->result.flags[f].statistic)));
  return entry;
}

static int print_json(const struct job *job) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "file", job->in);
  cJSON_AddNumberToObject(json, "rows", (double)job->rows.given);
  cJSON_AddNumberToObject(json, "columns", (double)job->matrix.columns);
  cns_robust_add_rows(json, "nonfinite_rows", job->rows.bad, job->rows.bad_count);
  cJSON_AddNumberToObject(json, "rate", job->result.rate);
  if (job->history_path) {
    cJSON_AddNumberToObject(json, "round", (double)job->history.round);
    cJSON_AddBoolToObject(json, "counted_before", job->history.repeated);
  }
  cJSON *list = cJSON_AddArrayToObject(json, "flagged");
  for (size_t f = 0; list && f < job->result.flag_count; f++)
    if (is_first_flag(job, f)) cJSON_AddItemToArray(list, flag_json(job, &job->result.flags[f]));
  cJSON_AddStringToObject(json, "claim", job->result.claim);
  return cns_cli_print_json(json);
}

static int print_text(const struct job *job) {
  char text[160];
  size_t flagged = 0;
  for (size_t f = 0; f < job->result.flag_count; f++)
    flagged += is_first_flag(job, f);
  printf("%s: %zu of %zu rows stand out (at a rate of %g)", job->in, flagged, job->matrix.rows,
         job->result.rate);
  if (job->history_path)
    printf(", round %zu%s", job->history.round, job->history.repeated ? ", counted before" : "");
  printf("\n");
  for (size_t f = 0; f < job->result.flag_count; f++) {
    snprintf(text, sizeof text, "%s", cns_detect_statistic_name(job->result.flags[f].statistic));
    printf("  %-12s %s\n", text, job->result.flags[f].text);
  }
  if (job->rows.bad_count > 0) {
    cns_robust_rows_text(job->rows.bad, job->rows.bad_count, text);
    printf("  %s: not finite, left out\n", text);
  }
  if (job->result.claim[0]) printf("%s\n", job->result.claim);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int run(struct job *job) {
  job->history.lock = -1;
  int code = load(job);
  if (!code) code = detect(job);
  if (!code) code = job->json ? print_json(job) : print_text(job);
  cns_npy_matrix_deinit(&job->matrix);
  cns_robust_rows_deinit(&job->rows);
  cns_robust_history_deinit(&job->history);
  cns_detect_result_deinit(&job->result);
  free(job->weights);
  free(job->weighted);
  free(job->names_text);
  return code;
}

int cns_cli_robust_flag(int argc, char **argv) {
  struct job *job = calloc(1, sizeof *job);
  if (!job) return cns_cli_fail(CNS_ERR_MEMORY, NULL);
  const struct cns_option table[] = {
      {"history", "DIR", "folder for what is remembered: each new input is a round of the same rows",
       CNS_OPTION_TEXT, &job->history_path, 0, 0},
      {"rate", "R", "honest rows flagged in a round, 0.0001 to 0.2, default 0.01", CNS_OPTION_NUMBER,
       &job->rate, 1e-4, 0.2},
      {"weights", "W.npy", "one for each row, above 0; rows are per unit of weight", CNS_OPTION_TEXT,
       &job->weights_path, 0, 0},
      {"names", "FILE", "a name for each row, one a line", CNS_OPTION_TEXT, &job->names_path, 0, 0},
      {"nonfinite", "drop", "rows with NaN or infinity are left out; else refused", CNS_OPTION_TEXT,
       &job->nonfinite, 0, 0},
      {"json", NULL, "what was found, as JSON", CNS_OPTION_FLAG, &job->json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0},
  };
  const struct cns_usage usage = {
      .synopsis =
          "robust flag [--history DIR] [--rate R] [--weights W.npy] [--names FILE] [--nonfinite drop] "
          "[--json] IN.npy",
      .summary =
          "Says which rows of a matrix (hospitals x parameters) stand out, by the statistics that the\n"
          "audit applies to sketches. With a history also who is a little unusual round after round.",
      .options = table,
      .operands_min = 1,
      .operands_max = 1};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r == 0) job->in = argv[1];
  int code = r ? cns_cli_parse_exit(r) : run(job);
  free(job);
  return code;
}
