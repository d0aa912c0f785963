/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/sketches.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 16u /* vectors that crypto/sketch.h takes side by side */
#define PIECE_WORDS 65536u
/* Not a multiple of a page: sixteen lines would be too many for one set of a cache. */
#define STRIDE_WORDS (PIECE_WORDS + 80u)
/* Ranges of the vectors that are worked on in parallel. */
#define RANGES_MAX 16u

struct range_result {
  int error;
  struct cns_problem problem;
};

struct job {
  const struct cns_sketch_key *key;
  uint32_t k;
  struct cns_vector_file *const *uploads;
  size_t count;
  uint64_t words;
  size_t ranges;
  uint32_t *sketches; /* [ranges][count][k] */
  struct range_result *results;
};

static int add_piece(const struct job *job, struct cns_sketch_plan *plan, size_t group, uint64_t first,
                     size_t len, uint32_t *buffer, uint32_t *sketches, struct cns_problem *problem) {
  const uint32_t *vectors[GROUP];
  size_t from = group * GROUP, count = job->count - from < GROUP ? job->count - from : GROUP;
  for (size_t v = 0; v < count; v++) {
    uint32_t *words = buffer + v * STRIDE_WORDS;
    int r = cns_vector_file_read(job->uploads[from + v], first, len, words, problem);
    if (r < 0) return r;
    vectors[v] = words;
  }
  return cns_sketch_plan_add(plan, vectors, count, first, len, sketches + from * job->k);
}

static int add_range(const struct job *job, struct cns_sketch_plan *plan, size_t range, uint32_t *buffer,
                     struct cns_problem *problem) {
  uint64_t pieces = (job->words + PIECE_WORDS - 1) / PIECE_WORDS;
  uint64_t from = pieces * range / job->ranges, to = pieces * (range + 1) / job->ranges;
  uint32_t *sketches = job->sketches + range * job->count * job->k;
  for (uint64_t piece = from; piece < to; piece++) {
    uint64_t first = piece * PIECE_WORDS, left = job->words - first;
    size_t len = left < PIECE_WORDS ? (size_t)left : PIECE_WORDS;
    for (size_t group = 0; group * GROUP < job->count; group++) {
      int r = add_piece(job, plan, group, first, len, buffer, sketches, problem);
      if (r < 0) return r;
    }
  }
  return 0;
}

static void run_range(void *argument, size_t range) {
  struct job *job = argument;
  struct range_result *result = &job->results[range];
  struct cns_sketch_plan *plan = NULL;
  uint32_t *buffer = malloc((size_t)GROUP * STRIDE_WORDS * sizeof *buffer);
  int r = buffer ? cns_sketch_plan_new(job->key, job->k, &plan) : CNS_ERR_MEMORY;
  if (r == 0) r = add_range(job, plan, range, buffer, &result->problem);
  cns_sketch_plan_free(plan);
  free(buffer);
  result->error = r;
}

static int gather(const struct job *job, uint32_t *ret_sketches, struct cns_problem *problem) {
  size_t elements = job->count * job->k;
  memset(ret_sketches, 0, elements * sizeof *ret_sketches);
  for (size_t range = 0; range < job->ranges; range++) {
    if (job->results[range].error < 0) {
      if (problem) *problem = job->results[range].problem;
      return job->results[range].error;
    }
    for (size_t e = 0; e < elements; e++)
      ret_sketches[e] += job->sketches[range * elements + e];
  }
  return 0;
}

int cns_sketch_uploads(const struct cns_sketch_key *key, uint32_t k, struct cns_vector_file *const *uploads,
                       size_t count, uint64_t words, struct cns_parallel parallel, uint32_t *ret_sketches,
                       struct cns_problem *problem) {
  uint64_t pieces = (words + PIECE_WORDS - 1) / PIECE_WORDS;
  size_t most = 2 * cns_parallel_processors();
  struct job job = {.key = key, .k = k, .uploads = uploads, .count = count, .words = words};
  if (count == 0) return 0;
  if (most > RANGES_MAX) most = RANGES_MAX;
  job.ranges = pieces < most ? (size_t)(pieces ? pieces : 1) : most;
  job.sketches = calloc(job.ranges * count * k, sizeof *job.sketches);
  job.results = calloc(job.ranges, sizeof *job.results);
  int r = job.sketches && job.results ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    cns_parallel_run(parallel, job.ranges, run_range, &job);
    r = gather(&job, ret_sketches, problem);
  }
  free(job.sketches);
  free(job.results);
  return r;
}
