/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/detect_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/sketch.h"
#include "dp/clip.h"
#include "dp/quantize.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/network.h"
#include "model/split.h"

struct world {
  const struct cns_plan *plan;
  const struct detect_world_options *options;
  size_t n, dim;
  struct cns_table table[DETECT_WORLD_HOSPITALS_MAX];
  uint32_t weight[DETECT_WORLD_HOSPITALS_MAX];
  double weight_of[DETECT_WORLD_HOSPITALS_MAX], bound[DETECT_WORLD_HOSPITALS_MAX];
  bool malicious[DETECT_WORLD_HOSPITALS_MAX], ever[DETECT_WORLD_HOSPITALS_MAX];
  size_t attackers[DETECT_WORLD_HOSPITALS_MAX];
  int8_t scale;
  float *params, *updates; /* dim; n x dim */
  uint32_t *x;             /* n x dim */
  double *rows;            /* n x sketch */
  struct cns_rng_seeded generator;
  struct cns_rng rng;
  struct cns_detect_history *history;
};

static void world_deinit(struct world *world) {
  for (size_t h = 0; h < world->n; h++)
    cns_table_deinit(&world->table[h]);
  free(world->params);
  free(world->updates);
  free(world->x);
  free(world->rows);
  free(world->history);
}

static int deal(struct world *world, const struct cns_table *all) {
  struct cns_split_dirichlet_options split = {.seed = world->options->seed,
                                              .hospitals = world->n,
                                              .size_ratio = world->options->size_ratio,
                                              .alpha = world->options->alpha};
  uint16_t *part = calloc(all->rows, sizeof *part);
  bool *keep = calloc(all->rows, sizeof *keep);
  int r = part && keep ? cns_split_dirichlet(all->label, all->patient, all->rows, all->classes, &split, part)
                       : CNS_ERR_MEMORY;
  for (size_t h = 0; r == 0 && h < world->n; h++) {
    for (size_t i = 0; i < all->rows; i++)
      keep[i] = part[i] == h + 1;
    r = cns_table_select(all, keep, &world->table[h]);
    world->weight[h] = (uint32_t)world->table[h].patients;
    world->weight_of[h] = world->weight[h];
  }
  free(part);
  free(keep);
  return r;
}

/* A seeded choice of who attacks; their labels are turned round where the attack wants it. */
static int choose_attackers(struct world *world) {
  const struct cns_attack *attack = world->options->attack;
  for (size_t a = 0; attack && a < attack->count;) {
    uint64_t h;
    int r = cns_rng_uniform_u64(world->rng, world->n, &h);
    if (r < 0) return r;
    if (world->malicious[h]) continue;
    world->malicious[h] = true;
    world->attackers[a++] = h;
    struct cns_table *table = &world->table[h];
    if (cns_attack_flips_labels(attack->kind) && !world->options->keep_labels)
      for (size_t i = 0; i < table->rows; i++)
        table->label[i] = (uint16_t)(table->classes - 1 - table->label[i]);
  }
  return 0;
}

static int world_init(struct world *world, const struct cns_table *all, struct cns_problem *problem) {
  size_t n = world->n, dim = world->dim;
  world->params = calloc(dim, sizeof *world->params);
  world->updates = calloc(n * dim, sizeof *world->updates);
  world->x = calloc(n * dim, sizeof *world->x);
  world->rows = calloc(n * world->options->sketch, sizeof *world->rows);
  world->history = calloc(1, sizeof *world->history);
  if (!world->params || !world->updates || !world->x || !world->rows || !world->history)
    return CNS_ERR_MEMORY;
  cns_rng_seeded_init_label(&world->generator, world->options->seed, "detect_world");
  world->rng = cns_rng_seeded(&world->generator);
  int r = deal(world, all);
  if (r == 0) r = choose_attackers(world);
  if (r == 0)
    r = cns_quantize_choose_scale(world->options->clip, world->weight, n, (uint16_t)(n / 5), &world->scale,
                                  problem);
  for (size_t h = 0; r == 0 && h < n; h++) {
    uint64_t theta;
    r = cns_quantize_theta(world->options->clip, world->weight[h], world->scale, &theta);
    world->bound[h] = (double)theta;
  }
  if (r == 0) r = cns_model_initial(world->plan, ".", world->params, problem);
  return r;
}

static int train(struct world *world, uint32_t round, struct detect_world_counts *counts,
                 struct cns_problem *problem) {
  double norm, sum = 0, least = INFINITY, most = 0;
  for (size_t h = 0; h < world->n; h++) {
    float *update = &world->updates[h * world->dim];
    struct cns_network_seed seed = {
        .study = world->plan->seed + world->options->seed, .round = round, .hospital = (uint32_t)h + 1};
    int r =
        cns_network_train(world->plan, world->params, &world->table[h], &seed, NULL, update, NULL, problem);
    if (r == 0) r = cns_clip(update, world->dim, world->options->clip, &norm, problem);
    if (r < 0) return r;
    sum += norm / (double)world->n;
    least = fmin(least, norm);
    most = fmax(most, norm);
  }
  counts->honest_norm[0] += least;
  counts->honest_norm[1] += sum;
  counts->honest_norm[2] += most;
  return 0;
}

/* Attackers respect no bound, only the width of a number. */
static void round_freely(const float *update, size_t dim, double factor, uint32_t *x) {
  for (size_t k = 0; k < dim; k++)
    x[k] = (uint32_t)(int32_t)lrint(fmax(-0x7fffffff, fmin(0x7fffffff, (double)update[k] * factor)));
}

static int sketch(struct world *world, struct cns_problem *problem) {
  uint32_t k = world->options->sketch;
  const uint32_t *vectors[DETECT_WORLD_HOSPITALS_MAX];
  struct cns_sketch_key key;
  uint32_t *sketches = calloc(world->n * k, sizeof *sketches);
  int r = sketches ? cns_rng_fill(world->rng, key.bytes, sizeof key.bytes) : CNS_ERR_MEMORY;
  for (size_t h = 0; r == 0 && h < world->n; h++) {
    const float *update = &world->updates[h * world->dim];
    uint32_t *x = &world->x[h * world->dim];
    vectors[h] = x;
    if (world->malicious[h])
      round_freely(update, world->dim, ldexp(world->weight_of[h], world->scale), x);
    else
      r = cns_quantize(update, world->dim, world->options->clip, world->weight[h], world->scale, world->rng,
                       x, problem);
  }
  if (r == 0)
    r = cns_sketch_vectors(&key, k, vectors, world->n, world->dim, (struct cns_parallel){0}, sketches);
  for (size_t i = 0; r == 0 && i < world->n * k; i++)
    world->rows[i] = (double)(int32_t)sketches[i];
  free(sketches);
  return r;
}

static void count_flags(struct world *world, const struct cns_detect_result *result, bool first,
                        struct detect_world_counts *counts) {
  bool by[DETECT_WORLD_HOSPITALS_MAX][CNS_DETECT_STATISTIC_COUNT] = {0};
  for (size_t f = 0; f < result->flag_count; f++)
    by[result->flags[f].row][result->flags[f].statistic] = true;
  for (size_t h = 0; h < world->n; h++) {
    bool flagged = cns_detect_is_flagged(result, h);
    *(world->malicious[h] ? &counts->attackers : &counts->honest) += 1;
    *(world->malicious[h] ? &counts->attackers_flagged : &counts->honest_flagged) += flagged;
    if (first && !world->malicious[h]) {
      counts->first_honest++;
      counts->first_honest_flagged += flagged;
    }
    world->ever[h] |= flagged;
    for (size_t s = 0; s < CNS_DETECT_STATISTIC_COUNT; s++)
      counts->by[world->malicious[h]][s] += by[h][s];
  }
}

static int detect(struct world *world, bool first, struct detect_world_counts *counts,
                  struct cns_problem *problem) {
  struct cns_detect_input input = {.hospitals = world->n,
                                   .columns = world->options->sketch,
                                   .rows = world->rows,
                                   .weights = world->weight_of,
                                   .bounds = world->bound,
                                   .blocks = CNS_SKETCH_BLOCKS};
  struct cns_detect_result result;
  int r = cns_detect_round(&input, &world->options->detect, &result, problem);
  if (r < 0) return r;
  if (world->options->history)
    r = cns_detect_history_step(world->history, &input, &world->options->detect, &result, problem);
  if (r == 0) count_flags(world, &result, first, counts);
  cns_detect_result_deinit(&result);
  return r;
}

/* FedAvg over everybody: flags are reported only, so each round is attacked anew. */
static int aggregate(struct world *world, struct cns_problem *problem) {
  double all = 0;
  float *mean = calloc(world->dim, sizeof *mean);
  if (!mean) return CNS_ERR_MEMORY;
  for (size_t h = 0; h < world->n; h++)
    all += world->weight_of[h];
  for (size_t k = 0; k < world->dim; k++) {
    double sum = 0;
    for (size_t h = 0; h < world->n; h++)
      sum += (double)(int32_t)world->x[h * world->dim + k];
    mean[k] = (float)ldexp(sum / all, -world->scale);
  }
  int r = cns_fedavg_step(world->params, mean, world->dim, world->params, problem);
  free(mean);
  return r;
}

static int one_round(struct world *world, uint32_t round, struct detect_world_counts *counts,
                     struct cns_problem *problem) {
  int r = train(world, round, counts, problem);
  if (r == CNS_ERR_RANGE && world->options->attack) return 1;
  if (r == 0 && world->options->attack)
    r = cns_attack_apply(world->options->attack, world->updates, world->n, world->dim, world->weight_of,
                         world->attackers, world->rng, problem);
  if (r == 0) r = sketch(world, problem);
  if (r == 0) r = detect(world, round == 1, counts, problem);
  if (r == 0) r = aggregate(world, problem);
  if (r == 0) counts->rounds++;
  return r;
}

int detect_world_run(const struct cns_plan *plan, const struct cns_table *table,
                     const struct detect_world_options *options, struct detect_world_counts *counts,
                     struct cns_problem *problem) {
  if (options->hospitals > DETECT_WORLD_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "at most %d hospitals", DETECT_WORLD_HOSPITALS_MAX);
  struct world *world = calloc(1, sizeof *world);
  if (!world) return CNS_ERR_MEMORY;
  *world = (struct world){.plan = plan, .options = options, .n = options->hospitals, .dim = plan->dim};
  int r = world_init(world, table, problem);
  for (uint32_t round = 1; r == 0 && round <= options->rounds; round++)
    r = one_round(world, round, counts, problem);
  for (size_t h = 0; r >= 0 && h < world->n; h++) {
    counts->attackers_ever += world->malicious[h];
    counts->attackers_ever_flagged += world->malicious[h] && world->ever[h];
  }
  world_deinit(world);
  free(world);
  return r < 0 ? r : 0;
}
