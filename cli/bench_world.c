/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/fedavg.h"
#include "model/metrics.h"
#include "model/network.h"

size_t cns_bench_evaluations(const struct cns_bench_experiment *e) {
  return (e->rounds + e->evaluate_every - 1) / e->evaluate_every;
}

uint32_t cns_bench_round_of(const struct cns_bench_experiment *e, size_t evaluation) {
  uint64_t round = (uint64_t)e->evaluate_every * (evaluation + 1);
  return round < e->rounds ? (uint32_t)round : e->rounds;
}

double cns_bench_final(const double *values, size_t count) {
  size_t last = (count + 3) / 4;
  double sum = 0;
  for (size_t i = count - last; i < count; i++)
    sum += values[i];
  return sum / (double)last;
}

/* A model that isn't finite any more guesses. */
static void count_as_guessing(const struct cns_bench_world *world, struct cns_bench_result *result,
                              size_t at) {
  result->accuracy[at] = 1 / (double)world->plan.class_count;
  result->auc[at] = 0.5;
  result->loss[at] = log((double)world->plan.class_count);
}

static int evaluate(const struct cns_bench_world *world, struct cns_bench_result *result, size_t at,
                    struct cns_problem *problem) {
  size_t classes = world->plan.class_count, rows = world->test.rows, right = 0;
  struct cns_metrics metrics;
  float *logits = calloc(rows * classes, sizeof *logits);
  if (!logits) return CNS_ERR_MEMORY;
  int r = cns_network_logits(&world->plan, world->params, world->test.x, rows, logits);
  if (r == 0) r = cns_metrics_exact(classes, logits, world->test.label, rows, &metrics, problem);
  for (size_t i = 0; r == 0 && i < rows; i++) {
    size_t best = 0;
    for (size_t c = 1; c < classes; c++)
      if (logits[i * classes + c] > logits[i * classes + best]) best = c;
    right += best == world->test.label[i];
  }
  free(logits);
  if (r < 0) return r;
  result->accuracy[at] = (double)right / (double)rows;
  result->auc[at] = metrics.auc;
  result->loss[at] = metrics.loss;
  return 0;
}

/* The rule for the rows that are left: each that is gone counts as one of the f. */
static int prepare_chain(const struct cns_bench_world *world, uint32_t round, size_t left,
                         struct cns_robust_chain *chain, struct cns_problem *problem) {
  const struct cns_bench_experiment *e = world->experiment;
  size_t byzantine = e->byzantine[world->cell->byzantine], gone = world->n - left;
  int r = cns_bench_chain(e, world->cell, byzantine > gone ? byzantine - gone : 0, chain, problem);
  if (r < 0) return r;
  if (e->rules[world->cell->rule].weighted) chain->params.weights = world->chosen_weights;
  if (cns_bench_takes(chain, "seed")) chain->params.seed = (world->seed << 20) + round;
  if (cns_bench_takes(chain, "reference")) chain->params.reference = &world->updates[world->n * world->dim];
  if (cns_bench_takes(chain, "pivot")) {
    size_t pivot = 0;
    for (size_t h = 0; h < world->n && (world->malicious[h] || world->excluded[h]); h++)
      pivot += !world->excluded[h]; /* the first honest one is who trusts itself */
    chain->params.pivot = pivot;
  }
  return 0;
}

/* Rows that are left, one after another. Returns how many. */
static size_t gather(struct cns_bench_world *world, const float *rows) {
  size_t left = 0;
  for (size_t h = 0; h < world->n; h++) {
    if (world->excluded[h]) continue;
    memcpy(&world->chosen[left * world->dim], &rows[h * world->dim], world->dim * sizeof *rows);
    world->chosen_weights[left++] = world->weights[h];
  }
  return left;
}

static int aggregate(struct cns_bench_world *world, uint32_t round, const float *rows, float *ret_vector,
                     struct cns_problem *problem) {
  struct cns_robust_chain chain;
  size_t left = gather(world, rows);
  int r = prepare_chain(world, round, left, &chain, problem);
  if (r == 0)
    r = cns_robust_chain_run(&chain, CNS_ROBUST_F32, world->chosen, left, world->dim, ret_vector, NULL,
                             problem);
  return r;
}

static int attack(struct cns_bench_world *world, uint32_t round, struct cns_problem *problem) {
  const struct cns_bench_attack *setting = &world->experiment->attacks[world->cell->attack];
  struct cns_attack with_count = setting->attack;
  struct cns_robust_chain chain;
  struct cns_attack_extra extra = {0};
  if (setting->none) return 0;
  with_count.count = world->attacking;
  if (cns_attack_about(with_count.kind)->need == CNS_ATTACK_NEEDS_RULE) {
    size_t left = gather(world, world->updates); /* nobody is left out yet: the weights of all */
    int r = prepare_chain(world, round, left, &chain, problem);
    if (r < 0) return r;
    extra.chain = &chain;
  }
  return cns_attack_apply_matrix(&with_count, &extra, CNS_ROBUST_F32, world->updates, world->n, world->dim,
                                 world->weights, world->attackers, world->rng, NULL, problem);
}

/* How far the attackers move the result from what it is with their honest updates; and
 * how far they would move a mean with the same weights. */
static int measure(struct cns_bench_world *world, uint32_t round, struct cns_problem *problem) {
  bool weighted = world->experiment->rules[world->cell->rule].weighted;
  double moved = 0, mean_moved = 0, all = 0;
  int r = aggregate(world, round, world->own, world->without, problem);
  if (r < 0) return r;
  for (size_t h = 0; h < world->n; h++)
    if (!world->excluded[h]) all += weighted ? world->weights[h] : 1;
  for (size_t k = 0; k < world->dim; k++) {
    double by = (double)world->aggregate[k] - (double)world->without[k], mean = 0;
    for (size_t a = 0; a < world->attacking; a++) {
      size_t h = world->attackers[a], at = h * world->dim + k;
      if (!world->excluded[h])
        mean += (weighted ? world->weights[h] : 1) * ((double)world->updates[at] - (double)world->own[at]);
    }
    moved += by * by;
    mean_moved += mean / all * (mean / all);
  }
  if (!(world->honest_norm > 0)) return 0;
  world->moved += sqrt(moved) / world->honest_norm;
  world->mean_moved += sqrt(mean_moved) / world->honest_norm;
  world->moved_rounds++;
  return 0;
}

/* What is no number is noticed by everybody, and left out. */
static void leave_out_infinite(struct cns_bench_world *world) {
  for (size_t h = 0; h < world->n; h++)
    for (size_t k = 0; k < world->dim && !world->excluded[h]; k++)
      world->excluded[h] = !isfinite(world->updates[h * world->dim + k]);
}

/* 1: poisoned until nothing is finite any more; without an attack that is an error. */
static int diverged_if(const struct cns_bench_world *world, int r) {
  return r == CNS_ERR_RANGE && world->attacking > 0 ? 1 : r;
}

static int one_round(struct cns_bench_world *world, uint32_t round, struct cns_bench_result *result,
                     struct cns_problem *problem) {
  memset(world->excluded, 0, world->n * sizeof *world->excluded);
  int r = diverged_if(world, cns_bench_train(world, round, problem));
  if (r == 0 && world->own) memcpy(world->own, world->updates, world->n * world->dim * sizeof *world->own);
  if (r == 0) r = diverged_if(world, attack(world, round, problem));
  if (r == 0) leave_out_infinite(world);
  if (r == 0 && world->audit) r = cns_bench_audit_round(world, result, problem);
  if (r == 0) r = aggregate(world, round, world->updates, world->aggregate, problem);
  if (r == 0 && world->own && world->attacking > 0) r = measure(world, round, problem);
  if (r == 0)
    r = diverged_if(world,
                    cns_fedavg_step(world->params, world->aggregate, world->dim, world->params, problem));
  return r;
}

static int run_rounds(struct cns_bench_world *world, struct cns_bench_result *result,
                      struct cns_problem *problem) {
  uint32_t round = 1;
  for (size_t at = 0; at < result->evaluations; round++) {
    int r = result->diverged ? 0 : one_round(world, round, result, problem);
    bool due = round == cns_bench_round_of(world->experiment, at);
    if (r == 0 && due && !result->diverged) r = diverged_if(world, evaluate(world, result, at, problem));
    if (r < 0) return r;
    if (r == 1) result->diverged = round;
    if (due && result->diverged) count_as_guessing(world, result, at);
    at += due;
  }
  return 0;
}

static void finish(const struct cns_bench_world *world, struct cns_bench_result *result) {
  double all = 0, theirs = 0;
  for (size_t h = 0; h < world->n; h++) {
    all += world->weights[h];
    theirs += world->malicious[h] ? world->weights[h] : 0;
  }
  result->share = theirs / all;
  result->moved = world->moved_rounds ? world->moved / world->moved_rounds : NAN;
  result->mean_moved = world->moved_rounds ? world->mean_moved / world->moved_rounds : NAN;
}

int cns_bench_world_run(const struct cns_bench_config *config, const struct cns_bench_cell *cell,
                        const struct cns_table *table, struct cns_bench_result *ret_result,
                        struct cns_problem *problem) {
  struct cns_bench_world world = {.experiment = &config->experiments[cell->experiment], .cell = cell};
  struct cns_bench_result result = {.evaluations = cns_bench_evaluations(world.experiment)};
  result.accuracy = calloc(3 * result.evaluations, sizeof *result.accuracy);
  int r = result.accuracy ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    result.auc = result.accuracy + result.evaluations;
    result.loss = result.auc + result.evaluations;
    r = cns_bench_world_init(&world, table, problem);
  }
  if (r == 0) r = run_rounds(&world, &result, problem);
  if (r == 0) finish(&world, &result);
  cns_bench_world_deinit(&world);
  if (r < 0) {
    cns_bench_result_deinit(&result);
    return r;
  }
  *ret_result = result;
  return 0;
}

void cns_bench_result_deinit(struct cns_bench_result *result) {
  free(result->accuracy);
  *result = (struct cns_bench_result){0};
}
