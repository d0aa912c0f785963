/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/privacy_experiments.h"
#include "model/predict.h"

const uint32_t privacy_sizes[PRIVACY_SIZES] = {0, 256, 128, 64, 16, 8};
const uint32_t privacy_moments[PRIVACY_MOMENTS] = {1, 2, 3, 10};

/* ---- case mix ---- */

struct reading {
  const struct privacy_mix_options *options;
  size_t done; /* hospitals of earlier seeds */
  double *truth;
  double *found[PRIVACY_MOMENTS + 1][PRIVACY_SIZES];
};

/* Features of `count` updates: themselves, or their sketches under the round's A. */
static double *features(const struct privacy_matrix *matrix, const double *updates, size_t count,
                        size_t dim) {
  size_t columns = matrix ? matrix->numbers : dim;
  double *of = PRIVACY_NEW(count * columns, double);
  if (!matrix) memcpy(of, updates, count * dim * sizeof *of);
  for (size_t i = 0; matrix && i < count; i++)
    privacy_matrix_apply(matrix, updates + i * dim, of + i * columns);
  return of;
}

static void read_size(struct privacy_world *world, struct reading *reading, const double *imagined,
                      const double *share, size_t moment, size_t size, struct privacy_mix *mix) {
  struct privacy_matrix matrix = {0}, *used = size ? &matrix : NULL;
  size_t count = reading->options->imagined, n = world->n, columns = world->dim;
  if (used) {
    privacy_matrix_draw(&matrix, world->dim, privacy_sizes[size], 1, world->rng);
    columns = matrix.numbers;
  }
  double *known = features(used, imagined, count, world->dim);
  double *of = features(used, world->updates, n, world->dim);
  privacy_infer(known, share, count, of, n, columns, reading->found[moment][size] + reading->done);
  for (size_t h = 0; h < n; h++)
    mix->rebuilt[moment][size] += privacy_rebuild(known, of + h * columns, columns, imagined,
                                                  world->updates + h * world->dim, world->dim, count);
  free(known);
  free(of);
  if (used) privacy_matrix_deinit(&matrix);
}

/* What the mean of the imagined updates is worth alone. */
static void add_blind(const struct privacy_world *world, const double *imagined, size_t count,
                      const double *x, size_t moment, struct privacy_mix *mix) {
  double *mean = PRIVACY_NEW(world->dim, double), norm = privacy_dot(x, x, world->dim);
  for (size_t s = 0; s < count; s++)
    for (size_t c = 0; c < world->dim; c++)
      mean[c] += imagined[s * world->dim + c] / (double)count;
  mix->blind[moment] += norm * pow(privacy_relative_error(mean, x, world->dim), 2);
  mix->squares[moment] += norm;
  free(mean);
}

static void read_round(struct privacy_world *world, struct reading *reading, size_t moment,
                       struct privacy_mix *mix) {
  size_t count = reading->options->imagined;
  double *imagined = PRIVACY_NEW(count * world->dim, double), *share = PRIVACY_NEW(count, double);
  privacy_world_imagine(world, count, privacy_moments[moment], imagined, share);
  for (size_t h = 0; h < world->n; h++)
    add_blind(world, imagined, count, world->updates + h * world->dim, moment, mix);
  for (size_t size = 0; size < PRIVACY_SIZES; size++)
    read_size(world, reading, imagined, share, moment, size, mix);
  free(imagined);
  free(share);
}

static void one_study(const struct cns_plan *plan, const struct cns_table *table, uint64_t seed,
                      struct reading *reading, struct privacy_mix *mix) {
  struct privacy_world world;
  struct privacy_world_options options = reading->options->world;
  options.seed = seed;
  privacy_world_init(&world, plan, table, &options);
  mix->auxiliary = world.auxiliary.patients;
  for (size_t h = 0; h < world.n; h++)
    reading->truth[reading->done + h] = world.share[h];
  for (uint32_t round = 1; round <= privacy_moments[PRIVACY_MOMENTS - 1]; round++) {
    privacy_world_train(&world, round, 1);
    for (size_t moment = 0; moment < PRIVACY_MOMENTS; moment++)
      if (privacy_moments[moment] == round) read_round(&world, reading, moment, mix);
    privacy_world_advance(&world);
  }
  reading->done += world.n;
  privacy_world_deinit(&world);
}

static double error_of_a_guess(const double *truth, size_t count) {
  double mean = 0, error = 0;
  for (size_t i = 0; i < count; i++)
    mean += truth[i] / (double)count;
  for (size_t i = 0; i < count; i++)
    error += fabs(truth[i] - mean) / (double)count;
  return error;
}

void privacy_mix(const struct cns_plan *plan, const struct cns_table *table,
                 const struct privacy_mix_options *options, struct privacy_mix *ret_mix) {
  size_t all = options->seeds * options->world.hospitals;
  struct reading reading = {.options = options, .truth = PRIVACY_NEW(all, double)};
  for (size_t m = 0; m <= PRIVACY_MOMENTS; m++)
    for (size_t s = 0; s < PRIVACY_SIZES; s++)
      reading.found[m][s] = PRIVACY_NEW(all, double);
  *ret_mix = (struct privacy_mix){.hospitals = all};
  for (uint64_t seed = 0; seed < options->seeds; seed++)
    one_study(plan, table, options->world.seed + seed, &reading, ret_mix);
  ret_mix->guess = error_of_a_guess(reading.truth, all);
  for (size_t s = 0; s < PRIVACY_SIZES; s++)
    for (size_t i = 0; i < all; i++)
      for (size_t m = 0; m < 3; m++)
        reading.found[PRIVACY_TOGETHER][s][i] += reading.found[m][s][i] / 3;
  for (size_t m = 0; m <= PRIVACY_MOMENTS; m++)
    for (size_t s = 0; s < PRIVACY_SIZES; s++) {
      ret_mix->of[m][s] = privacy_compare(reading.found[m][s], reading.truth, all);
      if (m < PRIVACY_MOMENTS) ret_mix->rebuilt[m][s] = sqrt(ret_mix->rebuilt[m][s] / ret_mix->squares[m]);
      free(reading.found[m][s]);
    }
  for (size_t m = 0; m < PRIVACY_MOMENTS; m++)
    ret_mix->blind[m] = sqrt(ret_mix->blind[m] / ret_mix->squares[m]);
  free(reading.truth);
}

/* ---- inner products ---- */

static void unit(double *v, size_t dim) {
  double norm = sqrt(privacy_dot(v, v, dim));
  for (size_t c = 0; c < dim; c++)
    v[c] /= norm;
}

/* The entry that moves most in all hospitals together. */
static size_t loudest_entry(const struct privacy_world *world) {
  size_t best = 0;
  double most = -1;
  for (size_t c = 0; c < world->dim; c++) {
    double sum = 0;
    for (size_t h = 0; h < world->n; h++)
      sum += pow(world->updates[h * world->dim + c], 2);
    if (sum > most) {
      most = sum;
      best = c;
    }
  }
  return best;
}

/* What an update of patients of the last class alone has over one of the others. */
static void class_direction(struct privacy_world *world, double *v) {
  double *imagined = PRIVACY_NEW(2 * world->dim, double), share[2];
  privacy_world_imagine(world, 2, 2, imagined, share);
  for (size_t c = 0; c < world->dim; c++)
    v[c] = imagined[world->dim + c] - imagined[c];
  free(imagined);
}

static void direction(struct privacy_world *world, int kind, size_t hospital, double *v) {
  memset(v, 0, world->dim * sizeof *v);
  if (kind == PRIVACY_TO_NOISE)
    for (size_t c = 0; c < world->dim; c++)
      v[c] = privacy_normal(world->rng);
  else if (kind == PRIVACY_TO_OTHER)
    memcpy(v, world->updates + (hospital + 1) % world->n * world->dim, world->dim * sizeof *v);
  else if (kind == PRIVACY_TO_CLASS)
    class_direction(world, v);
  else
    v[loudest_entry(world)] = 1;
  unit(v, world->dim);
}

/* x and v of length one. One block's variance is (|x|^2|v|^2 + <x,v>^2 - 2 sum x_c^2 v_c^2) / w. */
static void measure(struct privacy_world *world, int kind, size_t size, const double *x, const double *v,
                    struct privacy_inner *inner) {
  struct privacy_matrix matrix;
  double squares = 0, cosine = privacy_dot(x, v, world->dim), k = privacy_sizes[size];
  privacy_matrix_draw(&matrix, world->dim, privacy_sizes[size], 1, world->rng);
  double *of_x = PRIVACY_NEW(matrix.numbers, double), *of_v = PRIVACY_NEW(matrix.numbers, double);
  privacy_matrix_apply(&matrix, x, of_x);
  privacy_matrix_apply(&matrix, v, of_v);
  for (size_t c = 0; c < world->dim; c++)
    squares += x[c] * x[c] * v[c] * v[c];
  double found = privacy_dot(of_x, of_v, matrix.numbers) / CNS_SKETCH_BLOCKS;
  inner->error[kind][size] += (found - cosine) * (found - cosine);
  inner->theory[kind][size] += (1 + cosine * cosine - 2 * squares) / k;
  if (size == 1) inner->cosine[kind] += cosine * cosine;
  free(of_x);
  free(of_v);
  privacy_matrix_deinit(&matrix);
}

void privacy_inner(const struct cns_plan *plan, const struct cns_table *table,
                   const struct privacy_world_options *options, size_t draws,
                   struct privacy_inner *ret_inner) {
  struct privacy_world world;
  privacy_world_init(&world, plan, table, options);
  double *x = PRIVACY_NEW(world.dim, double), *v = PRIVACY_NEW(world.dim, double);
  *ret_inner = (struct privacy_inner){0};
  privacy_world_train(&world, 1, 1);
  privacy_world_advance(&world);
  privacy_world_train(&world, 2, 1);
  for (int kind = 0; kind < PRIVACY_DIRECTIONS; kind++) {
    for (size_t h = 0; h < world.n; h++) {
      memcpy(x, world.updates + h * world.dim, world.dim * sizeof *x);
      unit(x, world.dim);
      direction(&world, kind, h, v);
      for (size_t size = 1; size < PRIVACY_SIZES; size++)
        for (size_t i = 0; i < draws; i++)
          measure(&world, kind, size, x, v, ret_inner);
    }
    double all = (double)(world.n * draws);
    ret_inner->cosine[kind] = sqrt(ret_inner->cosine[kind] / all);
    for (size_t size = 1; size < PRIVACY_SIZES; size++) {
      ret_inner->error[kind][size] = sqrt(ret_inner->error[kind][size] / all);
      ret_inner->theory[kind][size] = sqrt(ret_inner->theory[kind][size] / all);
    }
  }
  free(x);
  free(v);
  privacy_world_deinit(&world);
}

/* ---- metrics ---- */

/* Rows by class of the validation part, as its metrics vector counts them. */
static void count_classes(const struct cns_plan *plan, const uint32_t *vector, double ret_rows[2]) {
  /* For each score 64 counts of its class, then 64 of the others: the last score is the last class's. */
  const uint32_t *last = vector + (cns_metrics_scores(plan->class_count) - 1) * 2 * CNS_METRICS_BINS;
  for (int of_others = 0; of_others < 2; of_others++)
    for (size_t bin = 0; bin < CNS_METRICS_BINS; bin++)
      ret_rows[of_others] += (int32_t)last[of_others * CNS_METRICS_BINS + bin];
}

static void sum_metrics(struct privacy_world *world, size_t without, uint32_t *ret_sum) {
  size_t words = cns_plan_metrics_dim(world->plan);
  uint32_t *vector = PRIVACY_NEW(words, uint32_t);
  memset(ret_sum, 0, words * sizeof *ret_sum);
  for (size_t h = 0; h < world->n; h++) {
    struct cns_table train, validation;
    if (h == without) continue;
    privacy_check(cns_table_split(&world->table[h], world->plan->seed, (uint32_t)h + 1,
                                  world->plan->validation_share, &train, &validation));
    privacy_check(cns_model_metrics(world->plan, world->params, &validation, vector, NULL));
    for (size_t i = 0; i < words; i++)
      ret_sum[i] += vector[i];
    cns_table_deinit(&train);
    cns_table_deinit(&validation);
  }
  free(vector);
}

static void true_classes(struct privacy_world *world, size_t h, double ret_rows[2]) {
  struct cns_table train, validation;
  privacy_check(cns_table_split(&world->table[h], world->plan->seed, (uint32_t)h + 1,
                                world->plan->validation_share, &train, &validation));
  for (size_t i = 0; i < validation.rows; i++)
    ret_rows[validation.label[i] + 1u != validation.classes]++;
  cns_table_deinit(&train);
  cns_table_deinit(&validation);
}

void privacy_metrics(const struct cns_plan *plan, const struct cns_table *table,
                     const struct privacy_world_options *options, uint64_t seeds,
                     struct privacy_metrics *ret_metrics) {
  size_t words = cns_plan_metrics_dim(plan), all = options->hospitals * seeds;
  uint32_t *with = PRIVACY_NEW(words, uint32_t), *without = PRIVACY_NEW(words, uint32_t);
  double *found = PRIVACY_NEW(all, double), *truth = PRIVACY_NEW(all, double);
  *ret_metrics = (struct privacy_metrics){0};
  for (uint64_t seed = 0; seed < seeds; seed++) {
    struct privacy_world world;
    struct privacy_world_options of_seed = *options;
    of_seed.seed += seed;
    privacy_world_init(&world, plan, table, &of_seed);
    sum_metrics(&world, world.n, with);
    privacy_world_train(&world, 1, 1);
    privacy_world_advance(&world); /* the next round's model: every score moves, no count does */
    for (size_t h = 0; h < world.n; h++) {
      double rows[2] = {0}, rest[2] = {0}, own[2] = {0};
      sum_metrics(&world, h, without);
      count_classes(plan, with, rows);
      count_classes(plan, without, rest);
      true_classes(&world, h, own);
      double last = rows[0] - rest[0], others = rows[1] - rest[1];
      ret_metrics->exact += last == own[0] && others == own[1];
      found[ret_metrics->hospitals] = last / fmax(1, last + others);
      truth[ret_metrics->hospitals++] = world.share[h];
    }
    privacy_world_deinit(&world);
  }
  ret_metrics->of_all = privacy_compare(found, truth, ret_metrics->hospitals);
  free(with);
  free(without);
  free(found);
  free(truth);
}
