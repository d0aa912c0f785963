/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/discrete_gaussian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dp/discrete_gaussian_internal.h"
#include "dp/noise_stream.h"

#define CACHE_LINE_BYTES 64
/* Samples that are made together, of CNS_NOISE_STREAM_BYTES a draw. */
#define BATCH (CNS_NOISE_STREAM_BYTES / CNS_DISCRETE_GAUSSIAN_SLICES)
#define BATCH_BLOCKS (BATCH / CNS_DISCRETE_GAUSSIAN_LANES)

struct cns_discrete_gaussian {
  struct cns_discrete_gaussian_table table;
  struct cns_discrete_gaussian_shape shape;
  const struct cns_discrete_gaussian_version *version;
};

struct sums {
  _Alignas(CACHE_LINE_BYTES) int32_t upper[BATCH];
  _Alignas(CACHE_LINE_BYTES) int32_t lower[BATCH];
};

static const struct cns_discrete_gaussian_version *fastest_version(void) {
  size_t number = 0;
  while (cns_discrete_gaussian_version(number + 1))
    number++;
  return cns_discrete_gaussian_version(number);
}

void cns_discrete_gaussian_use(struct cns_discrete_gaussian *sampler,
                               const struct cns_discrete_gaussian_version *version) {
  sampler->version = version;
}

int cns_discrete_gaussian_new(double sigma, struct cns_discrete_gaussian **ret_sampler,
                              struct cns_problem *problem) {
  const double min = CNS_DISCRETE_GAUSSIAN_SIGMA_MIN, max = CNS_DISCRETE_GAUSSIAN_SIGMA_MAX;
  if (!(sigma >= min && sigma <= max))
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "the noise's standard deviation is %g steps of the grid, which can't be drawn: "
                           "choose one from %g to %.0f",
                           sigma, min, max);
  struct cns_discrete_gaussian *sampler = aligned_alloc(CACHE_LINE_BYTES, sizeof *sampler);
  if (!sampler) return cns_problem_set(problem, CNS_ERR_MEMORY, "there is no memory for a table of noise");
  cns_discrete_gaussian_shape_init(&sampler->shape, sigma);
  cns_discrete_gaussian_table_init(&sampler->table, sampler->shape.base_sigma);
  sampler->version = fastest_version();
  *ret_sampler = sampler;
  return 0;
}

struct cns_discrete_gaussian *cns_discrete_gaussian_free(struct cns_discrete_gaussian *sampler) {
  free(sampler);
  return NULL;
}

double cns_discrete_gaussian_sigma(const struct cns_discrete_gaussian *sampler) {
  return sampler->shape.sigma;
}

double cns_discrete_gaussian_distance_log2(const struct cns_discrete_gaussian *sampler) {
  return sampler->shape.distance_log2;
}

/* sums = draw number `first` + its factor * (the next + ..), up to draw `end`. */
static int draw_sums(const struct cns_discrete_gaussian *sampler, struct cns_noise_stream *stream,
                     size_t first, size_t end, int32_t sums[static BATCH]) {
  memset(sums, 0, BATCH * sizeof *sums);
  while (end-- > first) {
    const uint8_t *random = cns_noise_stream_next(stream);
    if (!random) return CNS_ERR_LIBRARY;
    sampler->version->draw(&sampler->table, random, BATCH_BLOCKS, sampler->shape.factors[end], sums);
  }
  return 0;
}

/* A whole batch, also where fewer are wanted: what sample k is doesn't depend on count. */
static int draw_batch(const struct cns_discrete_gaussian *sampler, struct cns_noise_stream *stream,
                      struct sums *sums) {
  const struct cns_discrete_gaussian_shape *shape = &sampler->shape;
  int r = draw_sums(sampler, stream, shape->lower_draws, shape->draws, sums->upper);
  if (r == 0) r = draw_sums(sampler, stream, 0, shape->lower_draws, sums->lower);
  return r;
}

/* To x or to ret, whichever is there. */
static int run(const struct cns_discrete_gaussian *sampler, struct cns_rng rng, uint32_t *x, int64_t *ret,
               size_t count) {
  struct cns_noise_stream *stream = NULL;
  struct sums sums;
  int r = cns_noise_stream_open(rng, &stream);
  for (size_t at = 0; at < count && r == 0; at += BATCH) {
    const size_t part = count - at < BATCH ? count - at : BATCH;
    const int32_t scale = sampler->shape.lower_scale;
    r = draw_batch(sampler, stream, &sums);
    if (r == 0 && x) sampler->version->add(sums.upper, sums.lower, scale, x + at, part);
    if (r == 0 && ret) sampler->version->store(sums.upper, sums.lower, scale, ret + at, part);
  }
  cns_wipe(&sums, sizeof sums);
  cns_noise_stream_free(stream);
  return r;
}

int cns_discrete_gaussian_fill(const struct cns_discrete_gaussian *sampler, struct cns_rng rng, int64_t *ret,
                               size_t count) {
  const int r = run(sampler, rng, NULL, ret, count);
  if (r < 0) cns_wipe(ret, count * sizeof *ret);
  return r;
}

int cns_discrete_gaussian_add(const struct cns_discrete_gaussian *sampler, struct cns_rng rng, uint32_t *x,
                              size_t count) {
  const int r = run(sampler, rng, x, NULL, count);
  if (r < 0) cns_wipe(x, count * sizeof *x);
  return r;
}
