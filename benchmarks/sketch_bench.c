/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the audit's sketches, one thread. Uploads: GB/s of sixteen vectors in
 * memory, for each k, beside what adding up their elements takes. A hospital's share: what masking with 16
 * masks costs, and what the audit adds (the sketches of these masks, and of the masked and the plain vector).
 * Masking and audit take turns, so that other work on the machine slows both; the ratio is the median of the
 * pairs' ratios. Times are the thread's processor time, so that waiting for a processor isn't counted.
 *
 *   sketch_bench [--json] [--elements N] [--runs N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/bench.h"
#include "crypto/sketch.h"

#define RUNS_MAX 999
#define VECTORS 16

struct work {
  size_t elements;
  uint32_t k;
  struct cns_sketch_key key;
  struct cns_mask_seed seeds[VECTORS];
  uint32_t *vectors[VECTORS];
  uint32_t sketches[VECTORS * CNS_SKETCH_MAX];
};

/* Does the work once; 0 when it went well. */
typedef int work_fn(struct work *work);

static int sketch_vectors(struct work *work, size_t count) {
  const uint32_t *vectors[VECTORS];
  for (size_t v = 0; v < count; v++)
    vectors[v] = work->vectors[v];
  return cns_sketch_vectors(&work->key, work->k, vectors, count, work->elements, (struct cns_parallel){0},
                            work->sketches);
}

static int work_uploads(struct work *work) {
  return sketch_vectors(work, VECTORS);
}

/* The memory's share: what no sketch can be faster than. */
static int work_reading(struct work *work) {
  uint32_t sum = 0;
  for (size_t v = 0; v < VECTORS; v++)
    for (size_t k = 0; k < work->elements; k++)
      sum += work->vectors[v][k];
  work->sketches[0] = sum;
  return 0;
}

static int work_two_vectors(struct work *work) {
  return sketch_vectors(work, 2);
}

static int work_masks(struct work *work) {
  return cns_sketch_masks(&work->key, work->k, work->seeds, VECTORS, work->elements, (struct cns_parallel){0},
                          work->sketches);
}

static int work_masking(struct work *work) {
  struct cns_mask_term terms[VECTORS];
  for (size_t v = 0; v < VECTORS; v++)
    terms[v] = (struct cns_mask_term){.seed = work->seeds[v], .sign = v % 2 ? -1 : 1};
  return cns_mask_apply(work->vectors[0], work->elements, 0, terms, VECTORS);
}

/* Seconds of one run; negative on failure. */
static double once(work_fn *fn, struct work *work) {
  const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
  return fn(work) == 0 ? bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start : -1;
}

static int uploads(const struct bench_options *options, struct work *work) {
  double seconds[2][RUNS_MAX]; /* sketching, reading */
  const double gigabytes = 4e-9 * VECTORS * (double)work->elements;
  if (options->json) printf("\"uploads_gb_per_second\": {");
  for (uint32_t k = CNS_SKETCH_MIN; k <= CNS_SKETCH_MAX; k *= 2) {
    work->k = k;
    for (size_t run = 0; run < options->runs; run++) {
      if ((seconds[0][run] = once(work_uploads, work)) < 0) return -1;
      if ((seconds[1][run] = once(work_reading, work)) < 0) return -1;
    }
    const double middle = gigabytes / bench_median(seconds[0], options->runs),
                 best = gigabytes / seconds[0][0];
    const double reading = gigabytes / bench_median(seconds[1], options->runs);
    if (options->json)
      printf("%s\"%u\": {\"median\": %.3f, \"best\": %.3f, \"reading\": %.3f}",
             k > CNS_SKETCH_MIN ? ", " : "", k, middle, best, reading);
    else
      printf("%2d uploads, k = %4u       %7.2f GB/s (best %.2f; reading alone %.2f)\n", VECTORS, k, middle,
             best, reading);
  }
  if (options->json) printf("}, ");
  return 0;
}

/* The parts of a hospital's work, one after the other in each run. */
enum { MASKING, MASKS, TWO_VECTORS, PARTS };

static int share(const struct bench_options *options, struct work *work) {
  static work_fn *const parts[PARTS] = {work_masking, work_masks, work_two_vectors};
  static double seconds[PARTS][RUNS_MAX], ratios[RUNS_MAX];
  work->k = 256;
  for (size_t run = 0; run < options->runs; run++) {
    for (size_t part = 0; part < PARTS; part++)
      if ((seconds[part][run] = once(parts[part], work)) < 0) return -1;
    ratios[run] =
        (seconds[MASKING][run] + seconds[MASKS][run] + seconds[TWO_VECTORS][run]) / seconds[MASKING][run];
  }
  const double ratio = bench_median(ratios, options->runs);
  double medians[PARTS], best = 0;
  for (size_t part = 0; part < PARTS; part++) {
    medians[part] = 1e3 * bench_median(seconds[part], options->runs);
    best += seconds[part][0];
  }
  const double best_ratio = best / seconds[MASKING][0];
  if (options->json)
    printf("\"hospital_k256\": {\"masking_ms\": %.3f, \"masks_ms\": %.3f, \"two_vectors_ms\": %.3f, "
           "\"ratio_median\": %.3f, \"ratio_of_best\": %.3f}",
           medians[MASKING], medians[MASKS], medians[TWO_VECTORS], ratio, best_ratio);
  else
    printf("hospital, k = 256: masking %.2f ms, sketches of %d masks %.2f ms, of 2 vectors %.2f ms\n"
           "(masking + audit) / masking: %.2f (of the best runs: %.2f)\n",
           medians[MASKING], VECTORS, medians[MASKS], medians[TWO_VECTORS], ratio, best_ratio);
  return 0;
}

static int prepare(const struct bench_options *options, struct work *work) {
  work->elements = options->size;
  memset(work->key.bytes, 0x5a, sizeof work->key.bytes);
  for (size_t v = 0; v < VECTORS; v++) {
    memset(work->seeds[v].bytes, (int)v + 1, sizeof work->seeds[v].bytes);
    const struct cns_mask_term term = {.seed = work->seeds[v], .sign = 1};
    work->vectors[v] = calloc(options->size, sizeof(uint32_t));
    if (!work->vectors[v] || cns_mask_apply(work->vectors[v], work->elements, 0, &term, 1) != 0) return -1;
  }
  return 0;
}

static int run(const struct bench_options *options, struct work *work) {
  if (options->json)
    printf("{\"elements\": %zu, \"runs\": %zu, ", options->size, options->runs);
  else
    printf("%zu elements, median of %zu runs, processor time of one thread\n", options->size, options->runs);
  if (uploads(options, work) < 0 || share(options, work) < 0) return -1;
  if (options->json) printf("}\n");
  return 0;
}

int main(int argc, char **argv) {
  static struct work work;
  struct bench_options options = {.size = 1000000, .runs = 21};
  if (!bench_parse(argc, argv, "--elements", (size_t)1 << 28, RUNS_MAX, &options)) {
    fprintf(stderr, "usage: sketch_bench [--json] [--elements 1..2^28] [--runs 1..%d]\n", RUNS_MAX);
    return 2;
  }
  if (cns_init() != CNS_OK) return 1;
  int r = prepare(&options, &work);
  if (r == 0) r = run(&options, &work);
  if (r < 0) fprintf(stderr, "sketch_bench: failed: is there memory for %zu elements?\n", options.size);
  for (size_t v = 0; v < VECTORS; v++)
    free(work.vectors[v]);
  return r < 0 ? 1 : 0;
}
