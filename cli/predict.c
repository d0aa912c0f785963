/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/predict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/models.h"
#include "cli/study.h"
#include "model/modelfile.h"
#include "model/predict.h"

struct prediction {
  const struct cns_predict_options *options;
  struct cns_study study;
  char round[24]; /* from the model's metadata; "" if it doesn't say */
  float *params;
  struct cns_table table;
  size_t rows_read;
  float *probabilities; /* rows x classes */
  struct cns_metrics metrics;
  size_t labelled_rows; /* that the metrics are of */
};

static void prediction_deinit(struct prediction *p) {
  cns_table_deinit(&p->table);
  if (p->probabilities) cns_wipe(p->probabilities, p->table.rows * p->study.plan.class_count * sizeof(float));
  free(p->probabilities);
  free(p->params);
  cns_study_deinit(&p->study);
}

/* The shapes of another study's model may fit by chance; what its columns mean
 * would not. Files from elsewhere, without our metadata, are judged by their
 * tensors alone. */
static int check_origin(struct prediction *p, const struct cns_safetensors *file,
                        struct cns_problem *problem) {
  const char *study = cns_safetensors_metadata(file, "study");
  const char *digest = cns_safetensors_metadata(file, "study_digest");
  const char *round = cns_safetensors_metadata(file, "round");
  char ours[2 * CNS_DIGEST_BYTES + 1];
  cns_hex_encode(p->study.document.digest.bytes, CNS_DIGEST_BYTES, ours);
  if (round && strlen(round) < sizeof p->round && strspn(round, "0123456789") == strlen(round))
    strcpy(p->round, round);
  if (study && strcmp(study, p->study.plan.name) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: is a model of the study \"%.64s\", and %s is the study \"%s\"",
                           p->options->model, study, p->options->study, p->study.plan.name);
  if (digest && strcmp(digest, ours) != 0)
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s: was trained with another version of the study file than %s; take the study.json "
        "of the kit that the model was exported from",
        p->options->model, p->options->study);
  return 0;
}

static int load_model(struct prediction *p, struct cns_problem *problem) {
  struct cns_safetensors *file = NULL;
  int r = cns_plan_check_built_in(&p->study.plan, problem);
  if (!r) r = cns_safetensors_open(p->options->model, &file, problem);
  if (!r) r = check_origin(p, file, problem);
  if (!r) r = cns_models_check_file(file, p->options->model, problem);
  cns_safetensors_free(file);
  if (r) return r;
  p->params = calloc(p->study.plan.dim, sizeof *p->params);
  if (!p->params) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  return cns_model_read(&p->study.plan, p->options->model, p->params, problem);
}

static int compute(struct prediction *p, struct cns_problem *problem) {
  const struct cns_plan *plan = &p->study.plan;
  struct cns_table_report report = {0};
  int r = cns_table_read(plan, p->options->data, CNS_TABLE_PREDICTION, &p->table, &report, problem);
  if (r) return r;
  p->rows_read = report.rows_read;
  cns_table_report_deinit(&report);
  p->probabilities = calloc(p->table.rows * plan->class_count, sizeof *p->probabilities);
  if (!p->probabilities) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  return cns_model_predict(plan, p->params, &p->table, p->probabilities, problem);
}

static int evaluate(struct prediction *p, struct cns_problem *problem) {
  struct cns_table table = {0};
  int r = cns_table_read(&p->study.plan, p->options->data, CNS_TABLE_TRAINING, &table, NULL, problem);
  if (r) return r;
  p->labelled_rows = table.rows;
  r = cns_model_evaluate(&p->study.plan, p->params, &table, &p->metrics, problem);
  cns_table_deinit(&table);
  return r;
}

/* A class name as a CSV field. */
static void write_name(FILE *out, const char *name) {
  bool quote = name[strcspn(name, ",\"\r\n")] != '\0';
  if (quote) fputc('"', out);
  for (; *name; name++) {
    if (*name == '"') fputc('"', out);
    fputc(*name, out);
  }
  if (quote) fputc('"', out);
}

static void write_csv(const struct prediction *p, FILE *out) {
  size_t classes = p->study.plan.class_count;
  fprintf(out, "row");
  for (size_t c = 0; c < classes; c++) {
    fputc(',', out);
    write_name(out, p->study.plan.classes[c]);
  }
  fputc('\n', out);
  for (size_t i = 0; i < p->table.rows; i++) {
    fprintf(out, "%u", p->table.source[i]);
    for (size_t c = 0; c < classes; c++)
      fprintf(out, ",%.6f", (double)p->probabilities[i * classes + c]);
    fputc('\n', out);
  }
}

static int write_out(const struct prediction *p, struct cns_problem *problem) {
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  if (out) write_csv(p, out);
  if (!out || fclose(out) != 0) {
    free(text);
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  }
  int r = cns_file_write(p->options->out, text, len, 0600, problem);
  cns_wipe(text, len);
  free(text);
  return r;
}

static cJSON *rows_json(const struct prediction *p) {
  cJSON *array = cJSON_CreateArray();
  size_t classes = p->study.plan.class_count;
  for (size_t i = 0; i < p->table.rows; i++) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddNumberToObject(one, "row", p->table.source[i]);
    cJSON *probabilities = cJSON_AddObjectToObject(one, "probabilities");
    for (size_t c = 0; c < classes; c++)
      cJSON_AddNumberToObject(probabilities, p->study.plan.classes[c],
                              (double)p->probabilities[i * classes + c]);
    cJSON_AddItemToArray(array, one);
  }
  return array;
}

static int print_json(const struct prediction *p) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "study", p->study.plan.name);
  if (p->round[0]) cJSON_AddNumberToObject(json, "round", strtod(p->round, NULL));
  cJSON_AddNumberToObject(json, "rows_read", (double)p->rows_read);
  cJSON_AddNumberToObject(json, "rows_left_out", (double)(p->rows_read - p->table.rows));
  if (p->options->out)
    cJSON_AddStringToObject(json, "file", p->options->out);
  else if (!p->options->evaluate)
    cJSON_AddItemToObject(json, "rows", rows_json(p));
  if (p->options->evaluate) {
    cJSON *metrics = cJSON_AddObjectToObject(json, "evaluation");
    cJSON_AddNumberToObject(metrics, "rows", (double)p->labelled_rows);
    cJSON_AddNumberToObject(metrics, "loss", p->metrics.loss);
    if (p->metrics.has_auc) cJSON_AddNumberToObject(metrics, "auc", p->metrics.auc);
  }
  return cns_cli_print_json(json);
}

static int print_text(const struct prediction *p) {
  size_t left_out = p->rows_read - p->table.rows;
  if (!p->options->out && !p->options->evaluate) write_csv(p, stdout);
  if (p->options->out)
    fprintf(cns_cli_beside(p->options->out), "%s: probabilities of %zu rows\n", p->options->out,
            p->table.rows);
  if (p->options->evaluate && p->metrics.has_auc)
    printf("%zu rows with labels: loss %.4f, AUC %.4f\n", p->labelled_rows, p->metrics.loss, p->metrics.auc);
  else if (p->options->evaluate)
    printf("%zu rows with labels: loss %.4f; no AUC, all have the same class\n", p->labelled_rows,
           p->metrics.loss);
  int code = cns_cli_finish(CNS_EXIT_OK);
  if (left_out)
    fprintf(stderr, "consilium: %zu of %zu rows lack a value that the study needs\n", left_out, p->rows_read);
  return code;
}

int cns_predict_run(const struct cns_predict_options *options) {
  struct prediction p = {.options = options};
  struct cns_problem problem = {0};
  int r = cns_study_load(options->study, &p.study, &problem);
  if (!r) r = load_model(&p, &problem);
  if (!r) r = compute(&p, &problem);
  if (!r && options->evaluate) r = evaluate(&p, &problem);
  if (!r && options->out) r = write_out(&p, &problem);
  int code = r ? cns_cli_fail(r, &problem) : options->json ? print_json(&p) : print_text(&p);
  prediction_deinit(&p);
  return code;
}
