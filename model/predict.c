/* SPDX-License-Identifier: Apache-2.0 */
#include "model/predict.h"

#include <math.h>
#include <stdlib.h>

/* They tell about single patients. */
static void free_logits(float *logits, const struct cns_plan *plan, const struct cns_table *table) {
  cns_wipe(logits, table->rows * plan->class_count * sizeof *logits);
  free(logits);
}

/* malloc'd logits of the whole table. */
static int table_logits(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                        float **ret_logits, struct cns_problem *problem) {
  if (table->rows > 0 && table->features != plan->feature_count)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "the table's columns aren't the study's");
  float *logits = calloc(table->rows ? table->rows * plan->class_count : 1, sizeof *logits);
  int r = logits ? cns_network_logits(plan, params, table->x, table->rows, logits) : CNS_ERR_MEMORY;
  if (r < 0) {
    free(logits);
    return cns_problem_set(problem, r, "out of memory for the model's output");
  }
  *ret_logits = logits;
  return 0;
}

int cns_model_predict(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                      float *ret_probabilities, struct cns_problem *problem) {
  float *logits = NULL;
  int r = table_logits(plan, params, table, &logits, problem);
  if (r < 0) return r;
  size_t classes = plan->class_count;
  for (size_t k = 0; k < table->rows * classes; k++)
    if (!isfinite(logits[k]))
      r = cns_problem_set(problem, CNS_ERR_RANGE, "the model's output is not a finite number");
  for (size_t i = 0; r == 0 && i < table->rows; i++)
    for (size_t c = 0; c < classes; c++)
      ret_probabilities[i * classes + c] = (float)exp(-cns_metrics_loss(classes, logits + i * classes, c));
  free_logits(logits, plan, table);
  return r;
}

int cns_model_metrics(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                      uint32_t *ret_vector, struct cns_problem *problem) {
  float *logits = NULL;
  int r = table_logits(plan, params, table, &logits, problem);
  if (r < 0) return r;
  r = cns_metrics_fill(plan->class_count, logits, table->label, table->rows, ret_vector, problem);
  free_logits(logits, plan, table);
  return r;
}

int cns_model_evaluate(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                       struct cns_metrics *ret_metrics, struct cns_problem *problem) {
  float *logits = NULL;
  int r = table_logits(plan, params, table, &logits, problem);
  if (r < 0) return r;
  r = cns_metrics_exact(plan->class_count, logits, table->label, table->rows, ret_metrics, problem);
  free_logits(logits, plan, table);
  return r;
}
