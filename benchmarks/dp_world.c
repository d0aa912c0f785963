/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/dp_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dp/clip.h"
#include "dp/discrete_gaussian.h"
#include "dp/grid.h"
#include "dp/mechanism.h"
#include "model/central.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/predict.h"
#include "model/private.h"

void dp_world_check(int result, const struct cns_problem *problem) {
  if (result >= 0) return;
  fprintf(stderr, "%s (%s)\n", problem->text, cns_error_name(result));
  exit(1);
}

void *dp_world_need(void *pointer) {
  static const struct cns_problem problem = {"out of memory"};
  if (!pointer) dp_world_check(CNS_ERR_MEMORY, &problem);
  return pointer;
}

void dp_world_open(uint64_t seed, double epsilon, struct cns_demo_parts *ret_parts) {
  const struct cns_demo_options options = {
      .hospitals = DP_WORLD_HOSPITALS, .seed = (int64_t)seed, .epsilon = epsilon, .delta = CNS_DEMO_DELTA};
  struct cns_problem problem = {{0}};
  dp_world_check(cns_demo_parts_make(&options, ret_parts, &problem), &problem);
}

/* A round of unit patient: client/work.c and coordinator/aggregate.c. */
struct round {
  const struct cns_demo_parts *parts;
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  uint32_t weights[DP_WORLD_HOSPITALS];
  struct cns_discrete_gaussian *noise;
  struct cns_rng_seeded generator;
  bool *sample;
  double *gradient;
  uint32_t *x, *sum;
  float *mean;
  struct cns_problem problem;
};

static void fix_mechanism(struct round *round) {
  const struct cns_plan *plan = &round->parts->plan;
  int8_t scale;
  for (size_t h = 0; h < DP_WORLD_HOSPITALS; h++)
    round->weights[h] = (uint32_t)round->parts->hospitals[h].train.patients;
  round->mechanism = (struct cns_mechanism){.unit = CNS_UNIT_PATIENT,
                                            .placement = CNS_NOISE_DISTRIBUTED,
                                            .noise_multiplier = plan->noise_multiplier,
                                            .sampling_rate = plan->sampling_rate,
                                            .clip = plan->clip_norm,
                                            .dim = plan->dim,
                                            .colluders = DP_WORLD_COLLUDERS,
                                            .minimum_included = DP_WORLD_HOSPITALS - 1,
                                            .count = DP_WORLD_HOSPITALS,
                                            .weights = round->weights};
  dp_world_check(cns_mechanism_choose_scale(&round->mechanism, &scale, &round->problem), &round->problem);
  round->mechanism.scale_log2 = scale;
  dp_world_check(cns_mechanism_compute(&round->mechanism, &round->numbers, &round->problem), &round->problem);
  dp_world_check(cns_discrete_gaussian_new(round->numbers.sigma_local, &round->noise, &round->problem),
                 &round->problem);
}

static void round_init(struct round *round, const struct cns_demo_parts *parts, uint64_t seed) {
  size_t dim = parts->plan.dim, most = 0;
  *round = (struct round){.parts = parts};
  for (size_t h = 0; h < DP_WORLD_HOSPITALS; h++)
    if (parts->hospitals[h].train.patients > most) most = parts->hospitals[h].train.patients;
  cns_rng_seeded_init_label(&round->generator, seed, "dp_world federated");
  round->sample = dp_world_need(calloc(most, sizeof *round->sample));
  round->gradient = dp_world_need(calloc(dim, sizeof *round->gradient));
  round->x = dp_world_need(calloc(dim, sizeof *round->x));
  round->sum = dp_world_need(calloc(dim, sizeof *round->sum));
  round->mean = dp_world_need(calloc(dim, sizeof *round->mean));
  fix_mechanism(round);
}

static void round_deinit(struct round *round) {
  cns_discrete_gaussian_free(round->noise);
  free(round->sample);
  free(round->gradient);
  free(round->x);
  free(round->sum);
  free(round->mean);
}

static int upload(struct round *round, size_t h, const float *params) {
  const struct cns_plan *plan = &round->parts->plan;
  const struct cns_table *table = &round->parts->hospitals[h].train;
  struct cns_rng rng = cns_rng_seeded(&round->generator);
  double radius;
  uint64_t theta;
  size_t sampled;
  int r = cns_mechanism_radius(&round->mechanism, round->weights[h], &radius);
  if (!r) r = cns_mechanism_theta(&round->mechanism, round->weights[h], &theta);
  if (!r) r = cns_private_sample(rng, plan->sampling_rate, table->patients, round->sample, &sampled);
  if (!r)
    r = cns_private_gradient(plan, params, table, round->sample, plan->clip_norm, NULL, round->gradient, NULL,
                             &round->problem);
  if (!r)
    r = cns_grid_round(round->gradient, plan->dim, radius, round->mechanism.scale_log2, rng, round->x,
                       &round->problem);
  if (!r && !cns_grid_within(round->x, plan->dim, theta))
    r = cns_problem_set(&round->problem, CNS_ERR_RANGE, "an update is longer than its bound");
  return r ? r : cns_discrete_gaussian_add(round->noise, rng, round->x, plan->dim);
}

static int advance(struct round *round, float *params) {
  const struct cns_plan *plan = &round->parts->plan;
  double divisor = cns_mechanism_divisor(&round->mechanism, round->weights, DP_WORLD_HOSPITALS);
  uint64_t clipped;
  int r = cns_dequantize_sum(round->sum, plan->dim, &round->numbers.range, divisor,
                             round->mechanism.scale_log2, round->mean, &clipped, &round->problem);
  for (size_t k = 0; k < plan->dim && !r; k++)
    round->mean[k] = (float)(-plan->learning_rate * (double)round->mean[k]);
  return r ? r : cns_fedavg_step(params, round->mean, plan->dim, params, &round->problem);
}

static void begin(const struct cns_demo_parts *parts, float *params) {
  struct cns_problem problem = {{0}};
  dp_world_check(cns_model_initial(&parts->plan, ".", params, &problem), &problem);
}

void dp_world_federated(const struct cns_demo_parts *parts, uint64_t seed, float *ret_params) {
  struct round round;
  size_t dim = parts->plan.dim;
  round_init(&round, parts, seed);
  begin(parts, ret_params);
  for (uint32_t step = 0; step < parts->plan.rounds; step++) {
    memset(round.sum, 0, dim * sizeof *round.sum);
    for (size_t h = 0; h < DP_WORLD_HOSPITALS; h++) {
      dp_world_check(upload(&round, h, ret_params), &round.problem);
      for (size_t k = 0; k < dim; k++)
        round.sum[k] += round.x[k];
    }
    dp_world_check(advance(&round, ret_params), &round.problem);
  }
  round_deinit(&round);
}

void dp_world_central(const struct cns_demo_parts *parts, const struct cns_table *const *tables, size_t count,
                      double noise_factor, uint64_t seed, float *ret_params) {
  struct cns_problem problem = {{0}};
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, seed, "dp_world central");
  begin(parts, ret_params);
  dp_world_check(cns_central_train(&parts->plan, tables, count, noise_factor, cns_rng_seeded(&generator),
                                   NULL, ret_params, &problem),
                 &problem);
}

void dp_world_fedavg(const struct cns_demo_parts *parts, uint32_t times, float *ret_params) {
  const struct cns_plan *plan = &parts->plan;
  struct cns_problem problem = {{0}};
  float *update = dp_world_need(calloc(plan->dim, sizeof *update));
  float *mean = dp_world_need(calloc(plan->dim, sizeof *mean));
  begin(parts, ret_params);
  for (uint32_t step = 1; step <= times * plan->rounds; step++) {
    memset(mean, 0, plan->dim * sizeof *mean);
    for (size_t h = 0; h < DP_WORLD_HOSPITALS; h++) {
      const struct cns_network_seed seed = {
          .study = plan->seed, .round = step, .attempt = 1, .hospital = (uint32_t)h + 1};
      const struct cns_table *table = &parts->hospitals[h].train;
      double norm, share = (double)table->patients / (double)parts->pooled.patients;
      dp_world_check(cns_network_train(plan, ret_params, table, &seed, NULL, update, NULL, &problem),
                     &problem);
      dp_world_check(cns_clip(update, plan->dim, plan->clip_norm, &norm, &problem), &problem);
      for (size_t k = 0; k < plan->dim; k++)
        mean[k] += (float)(share * (double)update[k]);
    }
    dp_world_check(cns_fedavg_step(ret_params, mean, plan->dim, ret_params, &problem), &problem);
  }
  free(update);
  free(mean);
}

double dp_world_auc(const struct cns_demo_parts *parts, const float *params) {
  struct cns_problem problem = {{0}};
  struct cns_metrics metrics;
  dp_world_check(cns_model_evaluate(&parts->plan, params, &parts->test, &metrics, &problem), &problem);
  return metrics.auc;
}
