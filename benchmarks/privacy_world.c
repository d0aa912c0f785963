/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/privacy_world.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dp/clip.h"
#include "dp/quantize.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/network.h"
#include "model/split.h"

static struct cns_problem problem;

static void check(int result) {
  if (result >= 0) return;
  fprintf(stderr, "privacy study: %s (%s)\n", problem.text, cns_error_name(result));
  exit(1);
}

static bool of_last_class(const struct cns_table *table, size_t row) {
  return table->label[row] + 1u == table->classes;
}

static void deal(struct privacy_world *world, const struct cns_table *all) {
  const struct privacy_world_options *o = &world->options;
  struct cns_split_dirichlet_options split = {.seed = o->seed,
                                              .hospitals = world->n,
                                              .test_share = o->auxiliary_share,
                                              .size_ratio = 1,
                                              .alpha = o->alpha};
  uint16_t *part = PRIVACY_NEW(all->rows, uint16_t);
  bool *keep = PRIVACY_NEW(all->rows, bool);
  check(cns_split_dirichlet(all->label, all->patient, all->rows, all->classes, &split, part));
  for (size_t h = 0; h <= world->n; h++) {
    for (size_t i = 0; i < all->rows; i++)
      keep[i] = part[i] == h;
    struct cns_table *table = h == CNS_SPLIT_TEST ? &world->auxiliary : &world->table[h - 1];
    check(cns_table_select(all, keep, table));
    for (size_t i = 0; h > 0 && i < table->rows; i++)
      world->share[h - 1] += of_last_class(table, i) / (double)table->rows;
  }
  free(part);
  free(keep);
}

void privacy_world_init(struct privacy_world *world, const struct cns_plan *plan, const struct cns_table *all,
                        const struct privacy_world_options *options) {
  *world = (struct privacy_world){
      .options = *options, .plan = plan, .n = options->hospitals, .dim = cns_plan_dim(plan)};
  world->table = PRIVACY_NEW(world->n, struct cns_table);
  world->share = PRIVACY_NEW(world->n, double);
  world->params = PRIVACY_NEW(world->dim, float);
  world->updates = PRIVACY_NEW(world->n * world->dim, double);
  cns_rng_seeded_init_label(&world->generator, options->seed, "privacy_world");
  world->rng = cns_rng_seeded(&world->generator);
  deal(world, all);
  uint32_t *weights = PRIVACY_NEW(world->n, uint32_t);
  int8_t scale;
  for (size_t h = 0; h < world->n; h++)
    weights[h] = (uint32_t)world->table[h].patients;
  check(cns_quantize_choose_scale(options->clip, weights, world->n, (uint16_t)(world->n / 5), &scale,
                                  &problem));
  world->step = ldexp(1, -scale);
  free(weights);
  check(cns_model_initial(plan, ".", world->params, &problem));
}

void privacy_world_deinit(struct privacy_world *world) {
  for (size_t h = 0; h < world->n; h++)
    cns_table_deinit(&world->table[h]);
  cns_table_deinit(&world->auxiliary);
  free(world->table);
  free(world->share);
  free(world->params);
  free(world->updates);
}

void privacy_world_train_table(struct privacy_world *world, const struct cns_table *table, uint64_t round,
                               uint32_t attempt, uint32_t hospital, double *ret_x) {
  struct cns_network_seed seed = {.study = world->plan->seed + world->options.seed,
                                  .round = round,
                                  .attempt = attempt,
                                  .hospital = hospital};
  float *update = PRIVACY_NEW(world->dim, float);
  uint32_t *x = PRIVACY_NEW(world->dim, uint32_t);
  check(cns_network_train(world->plan, world->params, table, &seed, NULL, update, NULL, &problem));
  check(cns_clip(update, world->dim, world->options.clip, NULL, &problem));
  check(cns_quantize(update, world->dim, world->options.clip, (uint32_t)table->patients,
                     -(int)lrint(log2(world->step)), world->rng, x, &problem));
  for (size_t c = 0; c < world->dim; c++)
    ret_x[c] = (double)(int32_t)x[c];
  free(update);
  free(x);
}

static void train_scaled(struct privacy_world *world, const struct cns_table *table, uint64_t round,
                         uint32_t attempt, uint32_t hospital, double *ret_update) {
  privacy_world_train_table(world, table, round, attempt, hospital, ret_update);
  cblas_dscal((int)world->dim, world->step / (double)table->patients, ret_update, 1);
}

void privacy_world_train(struct privacy_world *world, uint64_t round, uint32_t attempt) {
  for (size_t h = 0; h < world->n; h++)
    train_scaled(world, &world->table[h], round, attempt, (uint32_t)h + 1, world->updates + h * world->dim);
}

void privacy_world_advance(struct privacy_world *world) {
  double all = 0;
  float *mean = PRIVACY_NEW(world->dim, float);
  for (size_t h = 0; h < world->n; h++)
    all += (double)world->table[h].patients;
  for (size_t c = 0; c < world->dim; c++) {
    double sum = 0;
    for (size_t h = 0; h < world->n; h++)
      sum += world->updates[h * world->dim + c] * (double)world->table[h].patients;
    mean[c] = (float)(sum / all);
  }
  check(cns_fedavg_step(world->params, mean, world->dim, world->params, &problem));
  free(mean);
}

/* ---- the reader's imagined hospitals ---- */

/* A row of the last class (or of another) from every second of the reader's patients, so that the
 * two halves check each other; from all of them where a half has none. */
static size_t draw_row(struct privacy_world *world, bool last, size_t half) {
  const struct cns_table *own = &world->auxiliary;
  size_t *fit[2] = {PRIVACY_NEW(own->rows, size_t), PRIVACY_NEW(own->rows, size_t)}, count[2] = {0};
  for (size_t i = 0; i < own->rows; i++) {
    if (of_last_class(own, i) != last) continue;
    if (i % 2 == half) fit[0][count[0]++] = i;
    fit[1][count[1]++] = i;
  }
  int of_all = count[0] == 0;
  if (count[1] == 0) check(cns_problem_set(&problem, CNS_ERR_RANGE, "the reader has no patient of a class"));
  size_t row = fit[of_all][privacy_below(world->rng, count[of_all])];
  free(fit[0]);
  free(fit[1]);
  return row;
}

static void imagine_table(struct privacy_world *world, size_t rows, double share, size_t half,
                          struct cns_table *table) {
  const struct cns_table *own = &world->auxiliary;
  *table = (struct cns_table){.rows = rows,
                              .patients = rows,
                              .features = own->features,
                              .classes = own->classes,
                              .x = PRIVACY_NEW(rows * own->features, float),
                              .label = PRIVACY_NEW(rows, uint16_t),
                              .patient = PRIVACY_NEW(rows, uint32_t),
                              .source = PRIVACY_NEW(rows, uint32_t),
                              .patient_keys = PRIVACY_NEW(rows, struct cns_digest)};
  for (size_t i = 0; i < rows; i++) {
    size_t from = draw_row(world, (double)i < share * (double)rows - 0.5, half);
    memcpy(table->x + i * own->features, own->x + from * own->features, own->features * sizeof *own->x);
    table->label[i] = own->label[from];
    table->patient[i] = (uint32_t)i;
  }
}

void privacy_world_imagine(struct privacy_world *world, size_t count, uint64_t round, double *ret_updates,
                           double *ret_share) {
  size_t rows = world->table[0].rows;
  for (size_t s = 0; s < count; s++) {
    struct cns_table table;
    double share = ((double)s + 0.5) / (double)count;
    imagine_table(world, rows, share, s % 2, &table);
    ret_share[s] = 0;
    for (size_t i = 0; i < rows; i++)
      ret_share[s] += of_last_class(&table, i) / (double)rows;
    train_scaled(world, &table, round, 1000 + (uint32_t)s, 1, ret_updates + s * world->dim);
    cns_table_deinit(&table);
  }
}

/* ---- ridge ---- */

#define STRENGTHS 8

/* Inverse of a symmetric positive definite matrix, in place (Gauss-Jordan; no pivots needed). */
static void invert(double *a, size_t n) {
  for (size_t p = 0; p < n; p++) {
    double pivot = 1 / a[p * n + p];
    a[p * n + p] = 1;
    cblas_dscal((int)n, pivot, a + p * n, 1);
    for (size_t i = 0; i < n; i++) {
      if (i == p) continue;
      double of = a[i * n + p];
      a[i * n + p] = 0;
      cblas_daxpy((int)n, -of, a + p * n, 1, a + i * n, 1);
    }
  }
}

struct ridge {
  size_t count, n;
  double *inner;   /* count x count, of deviations from the known ones' mean */
  double *across;  /* n x count */
  double *inverse; /* count x count */
};

static void ridge_init(struct ridge *ridge, const double *known, size_t count, const double *features,
                       size_t n, size_t columns) {
  double *mean = PRIVACY_NEW(columns, double), *a = PRIVACY_NEW(count * columns, double),
         *b = PRIVACY_NEW(n * columns, double);
  *ridge = (struct ridge){.count = count,
                          .n = n,
                          .inner = PRIVACY_NEW(count * count, double),
                          .across = PRIVACY_NEW(n * count, double),
                          .inverse = PRIVACY_NEW(count * count, double)};
  for (size_t s = 0; s < count; s++)
    cblas_daxpy((int)columns, 1 / (double)count, known + s * columns, 1, mean, 1);
  for (size_t s = 0; s < count; s++)
    for (size_t c = 0; c < columns; c++)
      a[s * columns + c] = known[s * columns + c] - mean[c];
  for (size_t h = 0; h < n; h++)
    for (size_t c = 0; c < columns; c++)
      b[h * columns + c] = features[h * columns + c] - mean[c];
  const int s = (int)count, m = (int)n, k = (int)columns;
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, s, s, k, 1, a, k, a, k, 0, ridge->inner, s);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, s, k, 1, b, k, a, k, 0, ridge->across, s);
  free(mean);
  free(a);
  free(b);
}

static void ridge_deinit(struct ridge *ridge) {
  free(ridge->inner);
  free(ridge->across);
  free(ridge->inverse);
}

/* Those of the other half are cut loose (2: none are). */
static void ridge_invert(struct ridge *ridge, int strength, size_t half) {
  size_t n = ridge->count;
  double trace = 0;
  for (size_t s = 0; s < n; s++)
    trace += ridge->inner[s * n + s];
  for (size_t s = 0; s < n; s++)
    for (size_t t = 0; t < n; t++)
      ridge->inverse[s * n + t] = half == 2 || (s % 2 == half && t % 2 == half) ? ridge->inner[s * n + t] : 0;
  for (size_t s = 0; s < n; s++)
    ridge->inverse[s * n + s] += trace / (double)n * pow(10, 2 - strength);
  invert(ridge->inverse, n);
}

static void ridge_weights(const struct ridge *ridge, const double *y, double *ret_weights) {
  cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)ridge->count, (int)ridge->count, 1, ridge->inverse,
              (int)ridge->count, y, 1, 0, ret_weights, 1);
}

/* Weights from those of one half (2: all), zero for the others. */
static void weights_of_half(struct ridge *ridge, size_t half, int strength, const double *y,
                            double *ret_weights) {
  size_t n = ridge->count;
  ridge_invert(ridge, strength, half);
  ridge_weights(ridge, y, ret_weights);
  for (size_t s = 0; s < n; s++)
    if (half < 2 && s % 2 != half) ret_weights[s] = 0;
}

void privacy_infer(const double *known, const double *y, size_t count, const double *features, size_t n,
                   size_t columns, double *ret_y) {
  struct ridge ridge;
  double mean = 0, least = INFINITY, *of = PRIVACY_NEW(count, double), *w = PRIVACY_NEW(count, double);
  int best = 0;
  ridge_init(&ridge, known, count, features, n, columns);
  for (size_t s = 0; s < count; s++)
    mean += y[s] / (double)count;
  for (size_t s = 0; s < count; s++)
    of[s] = y[s] - mean;
  for (int strength = 0; strength < STRENGTHS; strength++) {
    double error = 0;
    for (size_t half = 0; half < 2; half++) {
      weights_of_half(&ridge, half, strength, of, w);
      for (size_t s = 1 - half; s < count; s += 2)
        error += pow(of[s] - privacy_dot(ridge.inner + s * count, w, count), 2);
    }
    if (!(error < least)) continue;
    least = error;
    best = strength;
  }
  weights_of_half(&ridge, 2, best, of, w);
  for (size_t h = 0; h < n; h++)
    ret_y[h] = fmin(1, fmax(0, mean + privacy_dot(ridge.across + h * count, w, count)));
  ridge_deinit(&ridge);
  free(of);
  free(w);
}

double privacy_rebuild(const double *known_features, const double *feature, size_t columns,
                       const double *known, const double *truth, size_t dim, size_t count) {
  struct ridge ridge;
  double best = INFINITY, *w = PRIVACY_NEW(count, double), *x = PRIVACY_NEW(dim, double);
  ridge_init(&ridge, known_features, count, feature, 1, columns);
  for (int strength = 0; strength < STRENGTHS; strength++) {
    double rest = 1;
    ridge_invert(&ridge, strength, 2);
    ridge_weights(&ridge, ridge.across, w);
    for (size_t s = 0; s < count; s++)
      rest -= w[s];
    memset(x, 0, dim * sizeof *x);
    for (size_t s = 0; s < count; s++)
      cblas_daxpy((int)dim, w[s] + rest / (double)count, known + s * dim, 1, x, 1);
    best = fmin(best, pow(privacy_relative_error(x, truth, dim), 2) * privacy_dot(truth, truth, dim));
  }
  ridge_deinit(&ridge);
  free(w);
  free(x);
  return best;
}

struct privacy_agreement privacy_compare(const double *found, const double *truth, size_t count) {
  double mean[2] = {0}, var[2] = {0}, both = 0, error = 0, n = (double)count;
  for (size_t i = 0; i < count; i++) {
    mean[0] += found[i] / n;
    mean[1] += truth[i] / n;
    error += fabs(found[i] - truth[i]) / n;
  }
  for (size_t i = 0; i < count; i++) {
    double a = found[i] - mean[0], b = truth[i] - mean[1];
    var[0] += a * a;
    var[1] += b * b;
    both += a * b;
  }
  double scale = sqrt(var[0] * var[1]);
  return (struct privacy_agreement){.correlation = scale > 0 ? both / scale : 0, .mean_error = error};
}
