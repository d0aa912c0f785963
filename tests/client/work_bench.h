/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital of five sends in unit patient, as whole vectors: neighbouring tables by
 * brute force. */
#pragma once

#include "tests/model/private_world.h"

#include <stdio.h>

#include "client/work.h"
#include "dp/grid.h"
#include "model/modelfile.h"
#include "tests/client/mapped.h"

#define WEIGHT 60

struct bench {
  struct cns_plan plan;
  struct cns_table table;
  float *params;
  uint8_t *model;
  size_t model_len;
  uint32_t weights[5];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  struct cns_work_input input;
  uint8_t key[32];
};

struct outcome {
  int error, calls;
  struct cns_work_result result;
  struct cns_problem problem;
};

static inline void done(void *context, struct cns_work *work, int error, struct cns_work_result *result,
                        const struct cns_problem *problem) {
  struct outcome *outcome = context;
  (void)work;
  outcome->calls++;
  outcome->error = error;
  outcome->result = *result;
  outcome->problem = *problem;
}

static inline struct outcome run_work(const struct bench *b, const struct cns_work_input *input) {
  struct outcome outcome = {0};
  struct cns_work *work = NULL;
  uv_loop_t uv;
  struct cns_model_map *model = mapped(b->model, b->model_len);
  assert_non_null(model);
  assert_int_equal(uv_loop_init(&uv), 0);
  assert_int_equal(cns_work_start(&uv, input, model, done, &outcome, &work), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&uv), 0);
  assert_int_equal(outcome.calls, 1);
  return outcome;
}

/* Everybody is sampled, and the rounding's key is the same, however many patients there are. */
static inline int coupled(void *context, uint8_t *bytes, size_t len) {
  const struct bench *b = context;
  if (len == sizeof b->key)
    memcpy(bytes, b->key, len);
  else
    memset(bytes, 0, len);
  return 0;
}

/* Shares of the indicator and of metrics, 0 for none; loss_max isn't looked at without metrics. */
static inline void describe_with(struct bench *b, double clip, double share, double metrics,
                                 double loss_max) {
  struct cns_problem problem = {0};
  int8_t scale = 0;
  for (size_t k = 0; k < 5; k++)
    b->weights[k] = WEIGHT;
  b->plan.clip_norm = clip;
  b->plan.adaptive_clip = (struct cns_adaptive_clip){0.5, 0.2, share, clip / 100, clip * 100};
  b->plan.noised_metrics = (struct cns_noised_metrics){metrics, loss_max};
  b->mechanism = (struct cns_mechanism){.unit = CNS_UNIT_PATIENT,
                                        .placement = CNS_NOISE_DISTRIBUTED,
                                        .noise_multiplier = 1.5,
                                        .sampling_rate = 0.3,
                                        .clip = clip,
                                        .indicator_share = share,
                                        .metrics_share = metrics,
                                        .dim = cns_plan_update_dim(&b->plan),
                                        .colluders = 1,
                                        .minimum_included = 4,
                                        .count = 5,
                                        .weights = b->weights};
  if (cns_mechanism_choose_scale(&b->mechanism, &scale, &problem)) fail_msg("%s", problem.text);
  b->mechanism.scale_log2 = scale;
  assert_int_equal(cns_mechanism_compute(&b->mechanism, &b->numbers, &problem), 0);
  b->input = (struct cns_work_input){.plan = &b->plan,
                                     .train = &b->table,
                                     .validation = &b->table,
                                     .clip_norm = clip,
                                     .weight = WEIGHT,
                                     .scale_log2 = scale,
                                     .unit = CNS_UNIT_PATIENT,
                                     .sampling_rate = 0.3,
                                     .indicator = b->numbers.indicator,
                                     .metric = b->numbers.metric,
                                     .patients = cns_mechanism_patients(&b->mechanism, WEIGHT),
                                     .rng = {coupled, b}};
  assert_int_equal(cns_mechanism_radius(&b->mechanism, WEIGHT, &b->input.radius), 0);
  assert_int_equal(cns_mechanism_theta(&b->mechanism, WEIGHT, &b->input.theta), 0);
}

static inline void describe(struct bench *b, double clip, double share) {
  describe_with(b, clip, share, 0, 0);
}

static inline void init(struct bench *b, const struct network *network, size_t patients) {
  *b = (struct bench){.plan = plan_of(network)};
  b->plan.rounds = b->plan.local_epochs = 1;
  b->plan.learning_rate = 0.5;
  b->plan.batch = 8;
  b->table = random_table(&b->plan, patients, 3);
  b->params = params_of(&b->plan, 2);
  assert_int_equal(cns_model_serialize(&b->plan, b->params, NULL, 0, &b->model, &b->model_len, NULL), 0);
}

static inline void deinit(struct bench *b) {
  cns_table_deinit(&b->table);
  free(b->params);
  free(b->model);
}

/* The whole vector; must succeed. */
static inline uint32_t *vector_of(const struct bench *b, const struct cns_table *table) {
  struct cns_work_input input = b->input;
  input.train = table;
  struct outcome outcome = run_work(b, &input);
  if (outcome.error) fail_msg("%s", outcome.problem.text);
  assert_int_equal(outcome.result.words, cns_plan_update_dim(&b->plan));
  return outcome.result.x;
}

static inline cns_grid_squares squares_between(const uint32_t *a, const uint32_t *b, size_t count) {
  cns_grid_squares sum = 0;
  for (size_t k = 0; k < count; k++) {
    int64_t difference = (int64_t)(int32_t)a[k] - (int32_t)b[k];
    sum += (cns_grid_squares)(uint64_t)(difference * difference);
  }
  return sum;
}

/* The largest change by one patient, squared; and whether it is within what was announced. */
static inline bool within_announced(const struct bench *b, uint64_t announced, double *ret_farthest) {
  size_t words = cns_plan_update_dim(&b->plan);
  uint32_t *all = vector_of(b, &b->table);
  cns_grid_squares farthest = 0;
  for (size_t p = 0; p < b->table.patients; p++) {
    struct cns_table fewer = without(&b->table, p);
    uint32_t *x = vector_of(b, &fewer);
    cns_grid_squares squares = squares_between(all, x, words);
    if (squares > farthest) farthest = squares;
    free(x);
    cns_table_deinit(&fewer);
  }
  free(all);
  *ret_farthest = sqrt((double)farthest);
  return farthest <= (cns_grid_squares)announced * announced;
}
