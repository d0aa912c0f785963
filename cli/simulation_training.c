/* SPDX-License-Identifier: Apache-2.0 */
/* Real updates: the shipped breast-cancer data, dealt out to the hospitals, and a
 * perceptron of the size that is asked for, trained over the rounds. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/demo_data.h"
#include "cli/simulation_internal.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/network.h"
#include "model/predict.h"
#include "model/split.h"
#include "protocol/audit.h"

#define ORIGIN "the built-in study"
/* A second hidden layer is at most as wide as the first, and at least a quarter. */
#define WIDTH_RATIO 4
#define WIDTH_RATIO_LIKED 2.0

struct cns_simulation_training {
  struct cns_plan plan;
  struct cns_table *tables; /* by hospital */
  struct cns_table all;
  size_t hospitals;
  uint64_t seed;
  float *params;
};

/* ---- the model nearest to a number of parameters ---- */

struct shape {
  size_t hidden[2]; /* the second 0: one layer */
  uint64_t dim;
  double distance, oddness;
};

static void consider(const struct cns_plan *plan, uint64_t wish, uint64_t least, size_t first, size_t second,
                     struct shape *best) {
  uint64_t features = plan->feature_count, classes = plan->class_count, last = second ? second : first;
  if (first < 1 || first > CNS_PLAN_WIDTH_MAX) return;
  struct shape shape = {.hidden = {first, second}};
  shape.dim = (features + 1) * first + (second ? (first + 1) * second : 0) + (last + 1) * classes;
  shape.distance = fabs((double)shape.dim - (double)wish);
  shape.oddness = second ? fabs((double)first / (double)second - WIDTH_RATIO_LIKED) : INFINITY;
  if (shape.dim < least || shape.dim > CNS_DIM_MAX) return;
  if (best->dim && (shape.distance > best->distance ||
                    (shape.distance == best->distance && shape.oddness >= best->oddness)))
    return;
  *best = shape;
}

static struct shape nearest_shape(const struct cns_plan *plan, uint64_t wish, uint64_t least) {
  struct shape best = {.dim = 0};
  double features = (double)plan->feature_count, classes = (double)plan->class_count;
  double one = ((double)wish - classes) / (features + 1 + classes);
  for (int more = 0; more < 2; more++)
    consider(plan, wish, least, (size_t)fmax(1, floor(one)) + (size_t)more, 0, &best);
  for (size_t first = 1; first <= CNS_PLAN_WIDTH_MAX && first * first <= 2 * WIDTH_RATIO * wish; first++) {
    double second = ((double)wish - classes - (features + 1) * (double)first) / ((double)first + 1 + classes);
    for (int more = 0; more < 2 && second >= 0; more++) {
      size_t width = (size_t)floor(second) + (size_t)more;
      if (width >= 1 && width <= first && width * WIDTH_RATIO >= first)
        consider(plan, wish, least, first, width, &best);
    }
  }
  return best;
}

static int choose_model(struct cns_simulation_training *training, const struct cns_simulation_options *o,
                        struct cns_problem *problem) {
  struct cns_plan *plan = &training->plan;
  uint64_t least = o->audit ? (uint64_t)CNS_SKETCH_WORDS_PER_NUMBER * o->sketch : 1;
  if (o->audit && least < CNS_AUDIT_DIM_MIN) least = CNS_AUDIT_DIM_MIN;
  struct shape shape = nearest_shape(plan, o->dim, least);
  if (shape.dim == 0)
    return cns_problem_set(problem, CNS_ERR_RANGE, "there is no model of about %" PRIu64 " parameters",
                           o->dim);
  plan->hidden[0] = shape.hidden[0];
  plan->hidden[1] = shape.hidden[1];
  plan->hidden_count = shape.hidden[1] ? 2 : 1;
  plan->dim = shape.dim;
  return 0;
}

/* ---- the data ---- */

static int load(struct cns_simulation_training *training, struct cns_problem *problem) {
  int r = cns_plan_parse((const char *)cns_demo_data_study, cns_demo_data_study_bytes, ORIGIN,
                         &training->plan, problem);
  if (r < 0) return r;
  return cns_table_parse(&training->plan, (const char *)cns_demo_data_table, cns_demo_data_table_bytes,
                         "the built-in table", CNS_TABLE_TRAINING, &training->all, NULL, problem);
}

static int deal(struct cns_simulation_training *training, double alpha, struct cns_problem *problem) {
  const struct cns_table *all = &training->all;
  struct cns_split_dirichlet_options split = {
      .seed = training->seed, .hospitals = training->hospitals, .size_ratio = 1, .alpha = alpha};
  uint16_t *part = calloc(all->rows, sizeof *part);
  bool *keep = calloc(all->rows, sizeof *keep);
  int r = part && keep ? cns_split_dirichlet(all->label, all->patient, all->rows, all->classes, &split, part)
                       : CNS_ERR_MEMORY;
  if (r == CNS_ERR_RANGE)
    cns_problem_set(
        problem, r,
        "the %zu patients of the built-in table can't be dealt to %zu hospitals: choose fewer, or "
        "give the updates (--updates)",
        all->patients, training->hospitals);
  for (size_t h = 0; r == 0 && h < training->hospitals; h++) {
    for (size_t i = 0; i < all->rows; i++)
      keep[i] = part[i] == h + 1;
    r = cns_table_select(all, keep, &training->tables[h]);
  }
  free(part);
  free(keep);
  return r;
}

int cns_simulation_training_new(const struct cns_simulation_options *options,
                                struct cns_simulation_training **ret_training, struct cns_problem *problem) {
  struct cns_simulation_training *training = calloc(1, sizeof *training);
  if (!training) return CNS_ERR_MEMORY;
  training->hospitals = options->hospitals;
  training->seed = options->seed;
  training->tables = calloc(options->hospitals, sizeof *training->tables);
  int r = training->tables ? load(training, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = choose_model(training, options, problem);
  if (r == 0) r = deal(training, options->alpha, problem);
  if (r == 0) {
    training->params = calloc(training->plan.dim, sizeof *training->params);
    r = training->params ? cns_model_initial(&training->plan, ".", training->params, problem)
                         : CNS_ERR_MEMORY;
  }
  if (r < 0) {
    cns_simulation_training_free(training);
    return r;
  }
  *ret_training = training;
  return 0;
}

struct cns_simulation_training *cns_simulation_training_free(struct cns_simulation_training *training) {
  if (!training) return NULL;
  for (size_t h = 0; training->tables && h < training->hospitals; h++)
    cns_table_deinit(&training->tables[h]);
  free(training->tables);
  cns_table_deinit(&training->all);
  cns_plan_deinit(&training->plan);
  free(training->params);
  free(training);
  return NULL;
}

uint64_t cns_simulation_training_dim(const struct cns_simulation_training *training) {
  return training->plan.dim;
}

size_t cns_simulation_training_hidden(const struct cns_simulation_training *training,
                                      size_t ret_widths[static 2]) {
  for (size_t l = 0; l < training->plan.hidden_count; l++)
    ret_widths[l] = training->plan.hidden[l];
  return training->plan.hidden_count;
}

uint32_t cns_simulation_training_patients(const struct cns_simulation_training *training, size_t hospital) {
  return (uint32_t)training->tables[hospital].patients;
}

void cns_simulation_training_flip(struct cns_simulation_training *training, size_t hospital) {
  struct cns_table *table = &training->tables[hospital];
  for (size_t i = 0; i < table->rows; i++)
    table->label[i] = (uint16_t)(table->classes - 1 - table->label[i]);
}

/* ---- rounds ---- */

int cns_simulation_training_update(const struct cns_simulation_training *training, size_t hospital,
                                   uint64_t round, uint32_t attempt, float *ret_update,
                                   struct cns_problem *problem) {
  struct cns_network_seed seed = {.study = training->plan.seed + training->seed,
                                  .round = round,
                                  .attempt = attempt,
                                  .hospital = (uint32_t)hospital + 1};
  return cns_network_train(&training->plan, training->params, &training->tables[hospital], &seed, NULL,
                           ret_update, NULL, problem);
}

int cns_simulation_training_step(struct cns_simulation_training *training, const float *mean,
                                 struct cns_problem *problem) {
  return cns_fedavg_step(training->params, mean, training->plan.dim, training->params, problem);
}

int cns_simulation_training_score(const struct cns_simulation_training *training, double *ret_loss,
                                  double *ret_auc, struct cns_problem *problem) {
  struct cns_metrics metrics;
  int r = cns_model_evaluate(&training->plan, training->params, &training->all, &metrics, problem);
  if (r < 0) return r;
  *ret_loss = metrics.loss;
  *ret_auc = metrics.auc;
  return 0;
}
