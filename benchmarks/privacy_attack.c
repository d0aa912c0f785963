/* SPDX-License-Identifier: Apache-2.0 */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/privacy_experiments.h"

/* ---- a model made to be read ---- */

#define DEAD -1e3f
#define READ_WITHIN 0.01

/* Mean and deviation of the reader's patients in a direction. */
static void project(const struct cns_table *table, const float *direction, double *ret_mean,
                    double *ret_deviation) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < table->rows; i++) {
    double of = cblas_sdot((int)table->features, direction, 1, table->x + i * table->features, 1);
    sum += of;
    squares += of * of;
  }
  *ret_mean = sum / (double)table->rows;
  *ret_deviation = sqrt(fmax(0, squares / (double)table->rows - *ret_mean * *ret_mean));
}

/* Units that stay off give nothing back, so their weights never move. A unit of the first
 * layer that is on for one patient alone moves by a multiple of that patient's row; its bias
 * by the same multiple of 1. The layers behind have one unit each that is always on. */
static void set_trap(struct privacy_world *world, size_t live, double deviations) {
  const struct cns_plan *plan = world->plan;
  size_t layers = cns_plan_layer_count(plan);
  memset(world->params, 0, world->dim * sizeof *world->params);
  for (size_t layer = 0; layer < layers; layer++) {
    size_t inputs = cns_plan_layer_inputs(plan, layer), outputs = cns_plan_layer_outputs(plan, layer);
    float *weight = world->params + cns_plan_tensor(plan, 2 * layer).offset;
    float *bias = world->params + cns_plan_tensor(plan, 2 * layer + 1).offset;
    bool last = layer + 1 == layers;
    for (size_t u = 0; u < outputs && !last; u++)
      bias[u] = DEAD;
    if (layer == 0) {
      for (size_t u = 0; u < live; u++) {
        double mean, deviation;
        for (size_t c = 0; c < inputs; c++)
          weight[u * inputs + c] = (float)privacy_normal(world->rng);
        project(&world->auxiliary, weight + u * inputs, &mean, &deviation);
        bias[u] = -(float)(mean + deviations * deviation);
      }
    } else if (!last) {
      bias[0] = 1;
      for (size_t c = 0; c < (layer == 1 ? live : 1); c++)
        weight[c] = 0.1f;
    } else {
      for (size_t u = 0; u < outputs; u++)
        weight[u * inputs] = u % 2 ? 0.1f : -0.1f;
    }
  }
}

/* Who made the model knows which entries of an update can move. */
static void movable(const struct privacy_world *world, size_t live, bool *ret_may) {
  const struct cns_plan *plan = world->plan;
  size_t layers = cns_plan_layer_count(plan);
  for (size_t layer = 0; layer < layers; layer++) {
    size_t inputs = cns_plan_layer_inputs(plan, layer), outputs = cns_plan_layer_outputs(plan, layer);
    size_t on = layer == 0 ? inputs : layer == 1 ? live : 1;
    size_t units = layer + 1 == layers ? outputs : layer == 0 ? live : 1;
    for (size_t u = 0; u < units; u++) {
      for (size_t c = 0; c < on; c++)
        ret_may[cns_plan_tensor(plan, 2 * layer).offset + u * inputs + c] = true;
      ret_may[cns_plan_tensor(plan, 2 * layer + 1).offset + u] = true;
    }
  }
}

static bool is_row_of(const struct cns_table *table, const double *row) {
  for (size_t i = 0; i < table->rows; i++) {
    double most = 0;
    for (size_t c = 0; c < table->features; c++)
      most = fmax(most, fabs(row[c] - (double)table->x[i * table->features + c]));
    if (most <= READ_WITHIN) return true;
  }
  return false;
}

/* The quotient of weights' and bias' movement, for each live unit. */
static size_t read_rows(const struct privacy_world *world, const double *x, size_t live,
                        const struct cns_table *table, size_t tables) {
  size_t inputs = cns_plan_layer_inputs(world->plan, 0), read = 0;
  const double *weight = x + cns_plan_tensor(world->plan, 0).offset;
  const double *bias = x + cns_plan_tensor(world->plan, 1).offset;
  double *row = PRIVACY_NEW(inputs, double);
  for (size_t u = 0; u < live; u++) {
    if (bias[u] == 0) continue;
    for (size_t c = 0; c < inputs; c++)
      row[c] = weight[u * inputs + c] / bias[u];
    bool found = false;
    for (size_t t = 0; t < tables && !found; t++)
      found = is_row_of(&table[t], row);
    read += found;
  }
  free(row);
  return read;
}

static void attack_hospital(struct privacy_world *world, size_t h, uint32_t k, size_t live, double *sum,
                            struct privacy_trap *trap) {
  struct privacy_matrix matrix;
  double *x = PRIVACY_NEW(world->dim, double), *found = PRIVACY_NEW(world->dim, double);
  privacy_world_train_table(world, &world->table[h], 1, 1, (uint32_t)h + 1, x);
  privacy_matrix_draw(&matrix, world->dim, k, 1, world->rng);
  double *z = PRIVACY_NEW(matrix.numbers, double);
  privacy_matrix_apply(&matrix, x, z);
  bool *may = PRIVACY_NEW(world->dim, bool), exact = true;
  movable(world, live, may);
  privacy_decode_known(&matrix, z, may, found);
  for (size_t c = 0; c < world->dim; c++) {
    found[c] = rint(found[c]);
    exact &= found[c] == x[c];
  }
  free(may);
  for (size_t c = 0; c < world->dim; c++)
    trap->nonzero += x[c] != 0;
  trap->rounds++;
  trap->recovered += exact;
  trap->rows += exact && read_rows(world, found, live, &world->table[h], 1) > 0;
  cblas_daxpy((int)world->dim, 1, x, 1, sum, 1);
  free(x);
  free(found);
  free(z);
  privacy_matrix_deinit(&matrix);
}

void privacy_trap(const struct cns_plan *plan, const struct cns_table *table,
                  const struct privacy_world_options *options, uint64_t seeds, uint32_t k, size_t live,
                  double deviations, struct privacy_trap *ret_trap) {
  *ret_trap = (struct privacy_trap){0};
  for (uint64_t seed = 0; seed < seeds; seed++) {
    struct privacy_world world;
    struct privacy_world_options of_seed = *options;
    of_seed.seed += seed;
    privacy_world_init(&world, plan, table, &of_seed);
    double *sum = PRIVACY_NEW(world.dim, double);
    set_trap(&world, live, deviations);
    for (size_t h = 0; h < world.n; h++)
      attack_hospital(&world, h, k, live, sum, ret_trap);
    ret_trap->from_sum += read_rows(&world, sum, live, world.table, world.n) > 0;
    ret_trap->sums++;
    free(sum);
    privacy_world_deinit(&world);
  }
  ret_trap->nonzero /= (double)ret_trap->rounds;
}

/* ---- repeated audits of one parent ---- */

/* The model of round 2: on the untrained one all updates are much alike. */
static void start(struct privacy_world *world, const struct cns_plan *plan, const struct cns_table *table,
                  const struct privacy_world_options *options) {
  privacy_world_init(world, plan, table, options);
  privacy_world_train(world, 1, 1);
  privacy_world_advance(world);
}

void privacy_repeated(const struct cns_plan *plan, const struct cns_table *table,
                      const struct privacy_world_options *options, uint32_t k, size_t audits, size_t steps,
                      struct privacy_repeated *ret_repeated) {
  struct privacy_world world;
  struct privacy_matrix matrix;
  start(&world, plan, table, options);
  privacy_matrix_draw(&matrix, world.dim, k, audits, world.rng);
  double *first = PRIVACY_NEW(world.dim, double), *x = PRIVACY_NEW(world.dim, double);
  double *same = PRIVACY_NEW(matrix.numbers, double), *fresh = PRIVACY_NEW(matrix.numbers, double);
  for (size_t a = 0; a < audits; a++) {
    privacy_world_train_table(&world, &world.table[0], 2, (uint32_t)a + 1, 1, x);
    if (a == 0) memcpy(first, x, world.dim * sizeof *x);
    privacy_matrix_apply_blocks(&matrix, CNS_SKETCH_BLOCKS * a, CNS_SKETCH_BLOCKS, x, fresh);
  }
  privacy_matrix_apply(&matrix, first, same);
  ret_repeated->numbers = matrix.numbers;
  ret_repeated->same = privacy_decode_least(&matrix, same, steps, first);
  ret_repeated->fresh = privacy_decode_least(&matrix, fresh, steps, first);
  free(first);
  free(x);
  free(same);
  free(fresh);
  privacy_matrix_deinit(&matrix);
  privacy_world_deinit(&world);
}

void privacy_freshness(const struct cns_plan *plan, const struct cns_table *table,
                       const struct privacy_world_options *options, double *ret_distance,
                       double *ret_cosine) {
  struct privacy_world world;
  start(&world, plan, table, options);
  double *a = PRIVACY_NEW(world.dim, double), *b = PRIVACY_NEW(world.dim, double);
  double distance = 0, cosine = 0, n = (double)world.n;
  for (size_t h = 0; h < world.n; h++) {
    privacy_world_train_table(&world, &world.table[h], 2, 1, (uint32_t)h + 1, a);
    privacy_world_train_table(&world, &world.table[h], 2, 2, (uint32_t)h + 1, b);
    distance += privacy_relative_error(b, a, world.dim) / n;
    cosine +=
        privacy_dot(a, b, world.dim) / sqrt(privacy_dot(a, a, world.dim) * privacy_dot(b, b, world.dim)) / n;
  }
  *ret_distance = distance;
  *ret_cosine = cosine;
  free(a);
  free(b);
  privacy_world_deinit(&world);
}
