/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that train for real, without cryptography, and a reader of their
 * sketches that has the public model and a few patients of its own. For
 * benchmarks/privacy_study.c. Failures end the program. */
#pragma once

#include "benchmarks/privacy_sketch.h"
#include "model/plan.h"
#include "model/table.h"

struct privacy_world_options {
  uint64_t seed; /* of split, shuffles, roundings, sketches and the reader's draws */
  size_t hospitals;
  double alpha;           /* of the Dirichlet split */
  double auxiliary_share; /* of the patients, that are the reader's and no hospital's */
  double clip;
};

struct privacy_world {
  struct privacy_world_options options;
  const struct cns_plan *plan;
  size_t n, dim;
  struct cns_table *table;    /* n */
  struct cns_table auxiliary; /* the reader's */
  double *share;              /* n; of the last class among the hospital's rows */
  float *params;              /* the public model */
  double *updates;            /* n x dim: what is in x, per unit of weight, in the units of the model */
  double step;                /* of the largest hospital's grid */
  struct cns_rng_seeded generator;
  struct cns_rng rng;
};

void privacy_world_init(struct privacy_world *world, const struct cns_plan *plan, const struct cns_table *all,
                        const struct privacy_world_options *options);
void privacy_world_deinit(struct privacy_world *world);
/* Every hospital trains on the model, clips and rounds as in a round. */
void privacy_world_train(struct privacy_world *world, uint64_t round, uint32_t attempt);
/* The same for one table; ret_x: whole numbers, weight * update / step. */
void privacy_world_train_table(struct privacy_world *world, const struct cns_table *table, uint64_t round,
                               uint32_t attempt, uint32_t hospital, double *ret_x);
/* FedAvg over what was trained. */
void privacy_world_advance(struct privacy_world *world);
/* The updates of `count` imagined hospitals, made of the reader's own patients drawn with
 * repetition, every other one from every other patient: as many rows as the real ones have, shares of
 * the last class even in 0..1. */
void privacy_world_imagine(struct privacy_world *world, size_t count, uint64_t round, double *ret_updates,
                           double *ret_share);

/* Infers a number y of each of n rows of features from `count` rows of which it is
 * known: ridge regression, its strength such that the even rows and the odd ones foretell each
 * other best. Clamped to 0..1. */
void privacy_infer(const double *known, const double *y, size_t count, const double *features, size_t n,
                   size_t columns, double *ret_y);
/* Rebuilds a vector as the mean of the known ones plus a combination of their deviations, found by
 * ridge from the features alone, by the best of several strengths; returns the squared error. */
double privacy_rebuild(const double *known_features, const double *feature, size_t columns,
                       const double *known, const double *truth, size_t dim, size_t count);

struct privacy_agreement {
  double correlation, mean_error;
};
struct privacy_agreement privacy_compare(const double *found, const double *truth, size_t count);
