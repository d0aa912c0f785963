/* SPDX-License-Identifier: Apache-2.0 */
/* Is the sum what it should be, and what it does to the model. */
#include <math.h>
#include <stdlib.h>

#include "cli/simulation_internal.h"
#include "dp/quantize.h"

struct comparison {
  struct cns_simulation *s;
  uint32_t weights[CNS_HOSPITALS_MAX]; /* of the included */
  size_t included;
  double total_weight;
  bool honest; /* all of them: then nothing wraps */
  struct cns_simulation_chunk {
    int result;
    bool exact;
    double max_error;
    uint64_t clipped;
    struct cns_problem problem;
  } * chunks;
};

static void compare_task(void *argument, size_t k) {
  struct comparison *job = argument;
  struct cns_simulation *s = job->s;
  struct cns_simulation_chunk *chunk = &job->chunks[k];
  const struct cns_simulation_vectors *v = &s->vectors;
  size_t first = k * CNS_CHUNK_WORDS, len = cns_chunk_words(s->options.dim, k);
  float mean[CNS_CHUNK_WORDS];
  chunk->result = cns_dequantize(v->sum + first, len, s->options.clip_norm, job->weights, job->included,
                                 s->descriptor.colluders, s->descriptor.scale_log2, mean, &chunk->clipped,
                                 &chunk->problem);
  chunk->exact = true;
  for (size_t w = 0; w < len; w++) {
    int64_t plain = v->plain[first + w];
    double error = fabs((double)mean[w] - v->reference[first + w] / job->total_weight);
    chunk->exact &=
        job->honest ? (int64_t)(int32_t)v->sum[first + w] == plain : v->sum[first + w] == (uint32_t)plain;
    if (error > chunk->max_error) chunk->max_error = error;
    if (v->mean) v->mean[first + w] = mean[w];
  }
}

/* Without an audit, whose vectors were added must be whom the agreement includes. */
static int collect_weights(struct comparison *job) {
  struct cns_simulation *s = job->s;
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->coordinator);
  job->honest = true;
  for (size_t p = 0; p < s->members; p++) {
    const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    bool included = outcomes->outcomes[p] == CNS_INCLUDED;
    if (s->options.audit ? included && !hospital->uploaded : included != hospital->uploaded)
      return CNS_ERR_STATE;
    if (!included) continue;
    job->weights[job->included++] = hospital->weight;
    job->total_weight += hospital->weight;
    job->honest &= cns_simulation_sends_own(hospital);
  }
  return 0;
}

/* How far the attackers in the sum move it together, in their bounds. */
static int measure_influence(struct cns_simulation *s) {
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->coordinator);
  size_t dim = s->options.dim;
  double squares = 0, bounds = 0;
  if (!s->options.audit || s->options.attack_count == 0) return 0;
  for (size_t p = 0; p < s->members; p++) {
    uint64_t theta = 0;
    if (outcomes->outcomes[p] != CNS_INCLUDED || !cns_simulation_member(s, p)->attack) continue;
    int r = cns_quantize_theta(s->options.clip_norm, cns_simulation_member(s, p)->weight,
                               s->descriptor.scale_log2, &theta);
    if (r < 0) return r;
    bounds += (double)theta;
  }
  for (size_t w = 0; w < dim && bounds > 0; w++) {
    double sum = 0;
    for (size_t p = 0; p < s->members; p++)
      if (outcomes->outcomes[p] == CNS_INCLUDED && cns_simulation_member(s, p)->attack)
        sum += (int32_t)s->vectors.x[p * dim + w];
    squares += sum * sum;
  }
  s->result.attack_influence = bounds > 0 ? sqrt(squares) / bounds : 0;
  return 0;
}

int cns_simulation_compare(struct cns_simulation *s, struct cns_problem *problem) {
  size_t count = cns_chunk_count(s->options.dim);
  struct comparison job = {.s = s};
  int r = collect_weights(&job);
  if (r == 0) r = measure_influence(s);
  if (r < 0) return r;
  job.chunks = calloc(count, sizeof *job.chunks);
  if (!job.chunks) return CNS_ERR_MEMORY;
  cns_parallel_run(s->parallel, count, compare_task, &job);
  s->result.exact = true;
  for (size_t k = 0; k < count && r == 0; k++) {
    const struct cns_simulation_chunk *chunk = &job.chunks[k];
    r = chunk->result;
    if (r < 0) *problem = chunk->problem;
    s->result.exact &= chunk->exact;
    if (chunk->max_error > s->result.max_error) s->result.max_error = chunk->max_error;
    s->result.clipped_coordinates += chunk->clipped;
  }
  free(job.chunks);
  if (r < 0) s->result.exact = false;
  if (r == CNS_ERR_RANGE && !job.honest) {
    cns_coordinator_stop(s->coordinator, CNS_END_VOID, problem->text);
    return 0;
  }
  return r;
}
