/* SPDX-License-Identifier: Apache-2.0 */
/* What hospitals compute in a round, before anybody attacks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_world.h"
#include "dp/clip.h"
#include "model/network.h"

/* Rows of a batch, drawn with replacement from the seed, the round and the hospital alone. */
static int draw_batch(const struct cns_bench_world *world, size_t hospital, uint32_t round, float *x,
                      uint16_t *label) {
  const struct cns_table *table = &world->tables[hospital];
  struct cns_rng_seeded generator;
  char name[64];
  snprintf(name, sizeof name, "bench batch: round %u, hospital %zu", round, hospital);
  cns_rng_seeded_init_label(&generator, world->seed, name);
  for (size_t i = 0; i < world->plan.batch; i++) {
    uint64_t row;
    int r = cns_rng_uniform_u64(cns_rng_seeded(&generator), table->rows, &row);
    if (r < 0) return r;
    memcpy(x + i * table->features, table->x + row * table->features, table->features * sizeof *x);
    label[i] = table->label[row];
  }
  return 0;
}

/* Momentum of mini-batch gradients, m <- b*m + (1-b)*g, which stays with the hospital
 * (Karimireddy, He, Jaggi 2021, algorithm 2); the update is -learning rate * m. */
static int momentum_update(struct cns_bench_world *world, size_t hospital, uint32_t round, float *gradient,
                           float *x, uint16_t *label) {
  float *momentum = &world->momentum[hospital * world->dim], *update = &world->updates[hospital * world->dim];
  double keep = world->plan.momentum, loss;
  int r = draw_batch(world, hospital, round, x, label);
  if (r == 0)
    r = cns_network_gradient(&world->plan, world->params, x, label, world->plan.batch, &loss, gradient);
  for (size_t k = 0; r == 0 && k < world->dim; k++) {
    double m = keep * (double)momentum[k] + (1 - keep) * (double)gradient[k];
    if (!isfinite((float)m)) return CNS_ERR_RANGE;
    momentum[k] = (float)m;
    update[k] = (float)(-world->plan.learning_rate * m);
  }
  return r;
}

static int local_update(struct cns_bench_world *world, size_t hospital, uint32_t round,
                        struct cns_problem *problem) {
  struct cns_network_seed seed = {.study = world->seed, .round = round, .hospital = (uint32_t)hospital + 1};
  return cns_network_train(&world->plan, world->params, &world->tables[hospital], &seed, NULL,
                           &world->updates[hospital * world->dim], NULL, problem);
}

static int clip_and_measure(struct cns_bench_world *world, size_t hospital, struct cns_problem *problem) {
  float *update = &world->updates[hospital * world->dim];
  double clip = world->experiment->training.clip, norm;
  int r = cns_clip_norm(update, world->dim, &norm, problem);
  if (r == 0 && clip > 0) r = cns_clip(update, world->dim, clip, NULL, problem);
  if (clip > 0 && norm > clip) norm = clip;
  if (r == 0 && hospital < world->n && !world->malicious[hospital])
    world->honest_norm += norm / (double)(world->n - world->attacking);
  return r;
}

int cns_bench_train(struct cns_bench_world *world, uint32_t round, struct cns_problem *problem) {
  bool local = world->experiment->training.method == CNS_BENCH_LOCAL;
  size_t batch = world->plan.batch, features = world->plan.feature_count;
  float *gradient = calloc(world->dim, sizeof *gradient), *x = calloc(batch * features, sizeof *x);
  uint16_t *label = calloc(batch, sizeof *label);
  int r = gradient && x && label ? 0 : CNS_ERR_MEMORY;
  world->honest_norm = 0;
  for (size_t h = 0; r == 0 && h <= world->n; h++) {
    if (world->tables[h].rows == 0) continue; /* the server without a sample of its own */
    r = local ? local_update(world, h, round, problem) : momentum_update(world, h, round, gradient, x, label);
    if (r == 0) r = clip_and_measure(world, h, problem);
  }
  free(gradient);
  free(x);
  free(label);
  return r;
}
