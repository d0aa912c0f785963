/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/membership_models.h"

#include <math.h>
#include <stdlib.h>

#include "benchmarks/dp_world.h"
#include "model/predict.h"

/* Losses of those who were in the training data and of those who weren't. */
struct losses {
  double *in, *out;
  size_t in_count, out_count;
};

struct seed_losses {
  struct losses ordinary, mislabelled;
};

struct marked {
  double loss;
  double weight; /* 1/in_count, or -1/out_count */
};

static int rising(const void *a, const void *b) {
  double x = ((const struct marked *)a)->loss, y = ((const struct marked *)b)->loss;
  return (x > y) - (x < y);
}

/* ---- patients whose label is turned round ---- */

/* For a table whose every patient has one row, as the shipped one: a random set. */
static bool *choose(const struct cns_table *table, size_t count, struct cns_rng rng) {
  bool *chosen = dp_world_need(calloc(table->rows ? table->rows : 1, sizeof *chosen));
  struct cns_problem problem = {"no randomness"};
  for (size_t left = count; left > 0;) {
    uint64_t row;
    dp_world_check(cns_rng_uniform_u64(rng, table->rows, &row), &problem);
    if (chosen[row]) continue;
    chosen[row] = true;
    left--;
  }
  return chosen;
}

static void turn(struct cns_table *table, const bool *chosen) {
  for (size_t k = 0; k < table->rows; k++)
    if (chosen[k]) table->label[k] = (uint16_t)(1 - table->label[k]);
}

/* In the hospitals' tables what was chosen in the pooled one, row by row of the file. */
static void turn_in_hospitals(struct cns_demo_parts *parts, const bool *chosen) {
  for (size_t k = 0; k < parts->pooled.rows; k++)
    for (size_t h = 0; chosen[k] && h < parts->hospital_count; h++) {
      struct cns_table *table = &parts->hospitals[h].train;
      for (size_t i = 0; i < table->rows; i++)
        if (table->source[i] == parts->pooled.source[k]) table->label[i] = (uint16_t)(1 - table->label[i]);
    }
}

/* ---- losses ---- */

static void add_losses(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                       const bool *chosen, struct seed_losses *losses, bool in) {
  struct cns_problem problem = {{0}};
  float *p = dp_world_need(calloc(table->rows * plan->class_count, sizeof *p));
  dp_world_check(cns_model_predict(plan, params, table, p, &problem), &problem);
  for (size_t k = 0; k < table->rows; k++) {
    struct losses *to = chosen[k] ? &losses->mislabelled : &losses->ordinary;
    double loss = -log(fmax((double)p[k * plan->class_count + table->label[k]], 1e-38));
    if (in)
      to->in[to->in_count++] = loss;
    else
      to->out[to->out_count++] = loss;
  }
  free(p);
}

static void losses_init(struct losses *losses, const struct cns_demo_parts *parts) {
  losses->in = dp_world_need(calloc(parts->pooled.rows, sizeof *losses->in));
  losses->out = dp_world_need(calloc(parts->test.rows, sizeof *losses->out));
}

static void losses_deinit(struct losses *losses) {
  free(losses->in);
  free(losses->out);
}

static void train(const struct membership_training *training, const struct cns_demo_parts *parts,
                  uint64_t seed, float *params) {
  if (training->epsilon > 0)
    dp_world_federated(parts, seed, params);
  else
    dp_world_fedavg(parts, training->times, params);
}

static void one_seed(const struct membership_training *training, uint64_t seed, struct seed_losses *losses,
                     double *ret_auc) {
  struct cns_demo_parts parts;
  struct cns_rng_seeded generator;
  dp_world_open(seed, training->epsilon, &parts);
  if (training->noise_multiplier > 0) parts.plan.noise_multiplier = training->noise_multiplier;
  cns_rng_seeded_init_label(&generator, seed, "mislabelled");
  bool *in = choose(&parts.pooled, MEMBERSHIP_MISLABELLED, cns_rng_seeded(&generator));
  bool *out = choose(&parts.test, MEMBERSHIP_MISLABELLED, cns_rng_seeded(&generator));
  float *params = dp_world_need(calloc(parts.plan.dim, sizeof *params));
  turn_in_hospitals(&parts, in);
  turn(&parts.pooled, in);
  train(training, &parts, seed, params);
  *ret_auc = dp_world_auc(&parts, params);
  turn(&parts.test, out);
  losses_init(&losses->ordinary, &parts);
  losses_init(&losses->mislabelled, &parts);
  add_losses(&parts.plan, params, &parts.pooled, in, losses, true);
  add_losses(&parts.plan, params, &parts.test, out, losses, false);
  free(in);
  free(out);
  free(params);
  cns_demo_parts_deinit(&parts);
}

/* ---- the reader ---- */

static size_t mark(const struct losses *losses, struct marked *marked) {
  size_t count = 0;
  for (size_t k = 0; k < losses->in_count; k++)
    marked[count++] = (struct marked){losses->in[k], 1 / (double)losses->in_count};
  for (size_t k = 0; k < losses->out_count; k++)
    marked[count++] = (struct marked){losses->out[k], -1 / (double)losses->out_count};
  return count;
}

/* The threshold that did best on all seeds but one. */
static double threshold_without(const struct losses *const *all, size_t seeds, size_t without) {
  size_t count = 0, at = 0;
  for (size_t s = 0; s < seeds; s++)
    if (s != without) count += all[s]->in_count + all[s]->out_count;
  struct marked *marked = dp_world_need(calloc(count, sizeof *marked));
  for (size_t s = 0; s < seeds; s++)
    if (s != without) at += mark(all[s], marked + at);
  qsort(marked, count, sizeof *marked, rising);
  double sum = 0, best = 0, threshold = -INFINITY;
  for (size_t k = 0; k < count; k++) {
    sum += marked[k].weight;
    if (sum <= best || (k + 1 < count && marked[k].loss == marked[k + 1].loss)) continue;
    best = sum;
    threshold = marked[k].loss;
  }
  free(marked);
  return threshold;
}

static void find_advantages(const struct losses *const *all, size_t seeds, double *ret_advantage) {
  for (size_t s = 0; s < seeds; s++) {
    double threshold = threshold_without(all, seeds, s), in = 0, out = 0;
    for (size_t k = 0; k < all[s]->in_count; k++)
      in += all[s]->in[k] <= threshold;
    for (size_t k = 0; k < all[s]->out_count; k++)
      out += all[s]->out[k] <= threshold;
    ret_advantage[s] = in / (double)all[s]->in_count - out / (double)all[s]->out_count;
  }
}

void membership_models(const struct membership_training *training, uint64_t first, size_t seeds,
                       struct membership_result *ret_result) {
  struct seed_losses *losses = dp_world_need(calloc(seeds, sizeof *losses));
  const struct losses **all = dp_world_need(calloc(seeds, sizeof *all));
  for (size_t s = 0; s < seeds; s++)
    one_seed(training, first + s, &losses[s], &ret_result->auc[s]);
  for (size_t s = 0; s < seeds; s++)
    all[s] = &losses[s].ordinary;
  find_advantages(all, seeds, ret_result->ordinary);
  for (size_t s = 0; s < seeds; s++)
    all[s] = &losses[s].mislabelled;
  find_advantages(all, seeds, ret_result->mislabelled);
  for (size_t s = 0; s < seeds; s++) {
    losses_deinit(&losses[s].ordinary);
    losses_deinit(&losses[s].mislabelled);
  }
  free(losses);
  free(all);
}
