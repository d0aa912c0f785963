/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/aggregate.h"

#include <stdlib.h>
#include <string.h>

#include "dp/discrete_gaussian.h"
#include "model/scaffold.h"

#define BLOCK_WORDS CNS_OPTIMISER_BLOCK

struct block_result {
  int error;
  uint64_t clipped;
  struct cns_digest digest;
  struct cns_problem problem;
};

struct job {
  struct cns_aggregation *a;
  struct cns_mechanism mechanism;      /* of the cohort, as is its noise */
  struct cns_quantize_range range;     /* of the included */
  struct cns_discrete_gaussian *noise; /* central; NULL otherwise */
  uint64_t words;
  struct block_result *results;
  uint32_t *metrics_sum;
  uint64_t gradients; /* numbers of the update that are the model's; the extra ones follow */
  uint64_t params;    /* of these the parameters'; SCAFFOLD's follow */
  int64_t extra[CNS_MECHANISM_EXTRAS_MAX];
};

static int add_included(const struct cns_aggregation *a, uint64_t first, size_t count, uint32_t *sum,
                        uint32_t *scratch, struct cns_problem *problem) {
  memset(sum, 0, count * sizeof *sum);
  for (size_t k = 0; k < a->count; k++) {
    int r = cns_vector_file_read(a->uploads[k], first, count, scratch, problem);
    if (r < 0) return r;
    for (size_t w = 0; w < count; w++)
      sum[w] += scratch[w];
  }
  return 0;
}

static int subtract_excluded(const struct cns_aggregation *a, uint64_t first, size_t count, uint32_t *sum,
                             uint32_t *scratch, struct cns_problem *problem) {
  memcpy(sum, a->running + first, count * sizeof *sum);
  for (size_t k = 0; k < a->excluded_count; k++) {
    uint64_t left = a->excluded_words[k] > first ? a->excluded_words[k] - first : 0;
    size_t part = left < count ? (size_t)left : count;
    int r = part > 0 ? cns_vector_file_read(a->excluded[k], first, part, scratch, problem) : 0;
    if (r < 0) return r;
    for (size_t w = 0; w < part; w++)
      sum[w] -= scratch[w];
  }
  return 0;
}

static int unmasked_block(const struct cns_aggregation *a, uint64_t first, size_t count, uint32_t *sum,
                          uint32_t *scratch, struct cns_problem *problem) {
  int r = a->running ? subtract_excluded(a, first, count, sum, scratch, problem)
                     : add_included(a, first, count, sum, scratch, problem);
  return r < 0 ? r : cns_mask_apply(sum, count, first, a->terms, a->term_count);
}

/* The part of a block that belongs to the update, into the new parameters and the control variate. */
static int take_update(const struct job *job, uint64_t first, size_t count, const uint32_t *sum, float *mean,
                       struct block_result *result) {
  struct cns_aggregation *a = job->a;
  double divisor = cns_mechanism_divisor(&job->mechanism, a->weights, a->count);
  int r = cns_dequantize_sum(sum, count, &job->range, divisor, a->descriptor->scale_log2, mean,
                             &result->clipped, &result->problem);
  if (r < 0)
    return cns_problem_prefix(&result->problem, r, "from parameter %llu on", (unsigned long long)first);
  if (a->learning_rate != 1)
    for (size_t k = 0; k < count; k++)
      mean[k] = (float)(a->learning_rate * (double)mean[k]);
  uint64_t left = first >= job->params ? 0 : job->params - first;
  size_t params = left < count ? (size_t)left : count, at = (size_t)first + params;
  if (params > 0)
    r = cns_optimiser_step(&a->optimiser, first, params, a->parent + first, mean, a->params + first,
                           &result->problem);
  if (r == 0 && params < count)
    r = cns_scaffold_move_server(a->scaffold, a->count, mean + params, count - params, a->parent + at,
                                 a->params + at, &result->problem);
  return r;
}

/* The last numbers of an update with an adaptive clip norm or noised metrics. */
static int take_extra(struct job *job, uint64_t at, uint32_t word, struct block_result *result) {
  int64_t value = (int32_t)word, honest = (int64_t)job->range.honest;
  bool is_count = at == 0 && job->a->unit > 0;
  if (llabs(value) > (int64_t)job->range.second)
    return cns_problem_set(&result->problem, CNS_ERR_RANGE,
                           "%s is beyond what the round's hospitals could add up to: the sum is void",
                           is_count ? "how many patients are within the clip norm" : "a noised metric");
  int64_t kept = value > honest ? honest : value < -honest ? -honest : value;
  result->clipped += kept != value;
  job->extra[at] = kept; /* each is in one block */
  return 0;
}

/* A block's part of the update: parameters, and then extra numbers. */
static int take(struct job *job, uint64_t first, size_t count, const uint32_t *sum, float *mean,
                struct block_result *result) {
  uint64_t left = first >= job->gradients ? 0 : job->gradients - first;
  size_t gradients = left < count ? (size_t)left : count;
  int r = gradients > 0 ? take_update(job, first, gradients, sum, mean, result) : 0;
  for (size_t k = gradients; r == 0 && k < count; k++)
    r = take_extra(job, first + k - job->gradients, sum[k], result);
  return r;
}

static void run_block(void *argument, size_t block) {
  struct job *job = argument;
  struct cns_aggregation *a = job->a;
  struct block_result *result = &job->results[block];
  uint64_t first = (uint64_t)block * BLOCK_WORDS, dim = a->descriptor->dim;
  size_t count = job->words - first < BLOCK_WORDS ? (size_t)(job->words - first) : BLOCK_WORDS;
  uint32_t *sum = malloc(count * sizeof *sum), *scratch = malloc(count * sizeof *scratch);
  float *mean = malloc(count * sizeof *mean);
  int r = sum && scratch && mean ? 0 : CNS_ERR_MEMORY;
  if (r == 0) r = unmasked_block(a, first, count, sum, scratch, &result->problem);
  size_t update = first >= dim ? 0 : dim - first < count ? (size_t)(dim - first) : count;
  if (r == 0 && job->noise && update > 0) r = cns_discrete_gaussian_add(job->noise, a->rng, sum, update);
  if (r == 0) cns_hash_once("consilium/1 sum block", sum, count * sizeof *sum, &result->digest);
  if (r == 0) r = take(job, first, update, sum, mean, result);
  if (r == 0 && update < count)
    memcpy(job->metrics_sum + (first + update - dim), sum + update, (count - update) * sizeof *sum);
  result->error = r;
  free(sum);
  free(scratch);
  free(mean);
}

static int gather(struct job *job, size_t blocks, struct cns_problem *problem) {
  struct cns_aggregation *a = job->a;
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 sum digest");
  a->clipped = 0;
  for (size_t k = 0; k < blocks; k++) {
    if (job->results[k].error < 0) {
      if (problem) *problem = job->results[k].problem;
      return job->results[k].error;
    }
    a->clipped += job->results[k].clipped;
    cns_hash_digest(&hash, &job->results[k].digest);
  }
  cns_hash_final(&hash, &a->sum);
  return 0;
}

/* The noise is what the whole cohort was promised, whoever is included. */
static int prepare(struct job *job, uint32_t *weights, struct cns_problem *problem) {
  struct cns_aggregation *a = job->a;
  struct cns_mechanism_numbers numbers;
  int r = cns_descriptor_compute(a->descriptor, weights, &job->mechanism, &numbers, problem);
  if (r == 0) r = cns_mechanism_range(&job->mechanism, &numbers, a->weights, a->count, &job->range);
  if (r == 0) {
    job->gradients = a->descriptor->dim - cns_mechanism_extras(&job->mechanism);
    job->params = a->scaffold ? job->gradients / 2 : job->gradients;
    a->unit = numbers.indicator;
    a->noised = (struct cns_noised_metrics_sums){
        .unit = numbers.metric, .sigma = cns_mechanism_sum_sigma(&job->mechanism, &numbers, a->count)};
  }
  if (r == 0 && job->mechanism.placement == CNS_NOISE_CENTRAL)
    r = cns_discrete_gaussian_new(numbers.sigma, &job->noise, problem);
  return r;
}

static void release(const struct job *job) {
  struct cns_aggregation *a = job->a;
  const int64_t *extra = job->extra;
  a->released = a->unit > 0 ? *extra++ : 0;
  if (a->noised.unit == 0) return;
  a->noised.loss = extra[0];
  a->noised.right = extra[1];
}

int cns_aggregate(struct cns_aggregation *a, struct cns_problem *problem) {
  struct job job = {.a = a, .words = cns_descriptor_words(a->descriptor)};
  uint32_t weights[CNS_HOSPITALS_MAX];
  size_t blocks = (size_t)((job.words + BLOCK_WORDS - 1) / BLOCK_WORDS);
  size_t metrics_dim = a->descriptor->metrics_dim;
  job.results = calloc(blocks, sizeof *job.results);
  job.metrics_sum = calloc(metrics_dim ? metrics_dim : 1, sizeof *job.metrics_sum);
  int r = job.results && job.metrics_sum ? prepare(&job, weights, problem) : CNS_ERR_MEMORY;
  if (r == 0) {
    cns_parallel_run(a->parallel, blocks, run_block, &job);
    r = gather(&job, blocks, problem);
    if (r == 0) release(&job);
  }
  a->has_metrics = false;
  if (r == 0 && metrics_dim > 0)
    a->has_metrics =
        cns_metrics_evaluate(a->classes, job.metrics_sum, a->count, &a->metrics, &a->metrics_problem) == 0;
  cns_discrete_gaussian_free(job.noise);
  free(job.results);
  free(job.metrics_sum);
  return r;
}
