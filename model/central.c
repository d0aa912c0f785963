/* SPDX-License-Identifier: Apache-2.0 */
#include "model/central.h"

#include <math.h>
#include <stdlib.h>

#include "dp/discrete_gaussian.h"
#include "model/private.h"

/* The noise has so many steps of the grid that its being discrete doesn't matter. */
#define SIGMA_STEPS 0x1p20

struct central {
  const struct cns_plan *plan;
  struct cns_discrete_gaussian *noise;
  double clip;         /* of this round */
  double noise_factor; /* times the plan's noise */
  double centred;      /* patients within the clip norm less those beyond */
  double *sum, *part;
  int64_t *drawn;
  bool *sample;
};

static void central_deinit(struct central *c, size_t patients) {
  size_t dim = c->plan->dim;
  if (c->sum) cns_wipe(c->sum, dim * sizeof *c->sum);
  if (c->part) cns_wipe(c->part, dim * sizeof *c->part);
  if (c->sample) cns_wipe(c->sample, patients * sizeof *c->sample);
  free(c->sum);
  free(c->part);
  free(c->drawn);
  free(c->sample);
  cns_discrete_gaussian_free(c->noise);
}

static int central_init(struct central *c, double noise_factor, size_t patients,
                        struct cns_problem *problem) {
  const struct cns_plan *plan = c->plan;
  c->clip = plan->clip_norm;
  c->noise_factor = noise_factor;
  c->sum = calloc(plan->dim, sizeof *c->sum);
  c->part = calloc(plan->dim, sizeof *c->part);
  c->drawn = calloc(plan->dim, sizeof *c->drawn);
  c->sample = calloc(patients ? patients : 1, sizeof *c->sample);
  if (!c->sum || !c->part || !c->drawn || !c->sample)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  return cns_discrete_gaussian_new(SIGMA_STEPS, &c->noise, problem);
}

static int add_table(struct central *c, const struct cns_table *table, struct cns_rng rng,
                     const float *params, const atomic_bool *cancel, struct cns_problem *problem) {
  struct cns_private_stats stats = {0};
  size_t count;
  int r = cns_private_sample(rng, c->plan->sampling_rate, table->patients, c->sample, &count);
  if (r == 0)
    r = cns_private_gradient(c->plan, params, table, c->sample, c->clip, cancel, c->part, &stats, problem);
  c->centred += (double)stats.sampled - 2 * (double)stats.clipped;
  for (size_t k = 0; r == 0 && k < c->plan->dim; k++)
    c->sum[k] += c->part[k];
  return r;
}

/* One patient is worth 1 in `centred`; of the noise that is c->plan's share w. */
static int adapt(struct central *c, double batch, struct cns_rng rng) {
  const struct cns_adaptive_clip *adaptive = &c->plan->adaptive_clip;
  int64_t drawn;
  if (adaptive->share == 0) return 0;
  int r = cns_discrete_gaussian_fill(c->noise, rng, &drawn, 1);
  if (r) return r;
  double share = adaptive->share * (1 - c->plan->noised_metrics.share);
  double sigma = c->noise_factor * c->plan->noise_multiplier / sqrt(share);
  double released = c->centred + (double)drawn * sigma / SIGMA_STEPS;
  c->clip = cns_adaptive_clip_next(adaptive, c->clip, 0.5 + released / (2 * batch));
  return 0;
}

static int step(struct central *c, const struct cns_table *const *tables, size_t count, double batch,
                struct cns_rng rng, const atomic_bool *cancel, float *params, struct cns_problem *problem) {
  int r = 0;
  double left = (1 - c->plan->adaptive_clip.share) * (1 - c->plan->noised_metrics.share);
  double sigma = c->noise_factor * c->plan->noise_multiplier / sqrt(left) * c->clip;
  double grid = sigma / SIGMA_STEPS;
  for (size_t k = 0; k < c->plan->dim; k++)
    c->sum[k] = 0;
  c->centred = 0;
  for (size_t t = 0; t < count && r == 0; t++)
    r = add_table(c, tables[t], rng, params, cancel, problem);
  if (r == 0) r = cns_discrete_gaussian_fill(c->noise, rng, c->drawn, c->plan->dim);
  for (size_t k = 0; r == 0 && k < c->plan->dim; k++) {
    double noisy = (nearbyint(c->sum[k] / grid) + (double)c->drawn[k]) * grid;
    params[k] = (float)((double)params[k] - c->plan->learning_rate * noisy / batch);
  }
  return r ? r : adapt(c, batch, rng);
}

int cns_central_train(const struct cns_plan *plan, const struct cns_table *const *tables, size_t count,
                      double noise_factor, struct cns_rng rng, const atomic_bool *cancel, float *params,
                      struct cns_problem *problem) {
  struct central c = {.plan = plan};
  size_t patients = 0, most = 0;
  if (!(plan->noise_multiplier > 0) || !(noise_factor > 0) || !(plan->sampling_rate > 0))
    return CNS_ERR_ARGUMENT;
  for (size_t t = 0; t < count; t++) {
    patients += tables[t]->patients;
    if (tables[t]->patients > most) most = tables[t]->patients;
  }
  int r = central_init(&c, noise_factor, most, problem);
  for (uint32_t round = 0; round < plan->rounds && r == 0; round++)
    r = step(&c, tables, count, plan->sampling_rate * (double)patients, rng, cancel, params, problem);
  central_deinit(&c, most);
  return r;
}
