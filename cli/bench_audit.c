/* SPDX-License-Identifier: Apache-2.0 */
/* Sketches and detection on the numbers that a real round has: the grid, the weights and
 * the sketch are the protocol's (docs/protocol.md, phase audit). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_world.h"
#include "crypto/sketch.h"
#include "dp/quantize.h"

struct cns_bench_audit_state {
  int8_t scale;
  double *bounds;        /* n, theta */
  uint32_t *x;           /* n x dim */
  const uint32_t **rows; /* n */
  uint32_t *sketches;    /* n x k */
  double *numbers;       /* n x k */
  struct cns_detect_history history;
};

int cns_bench_audit_init(struct cns_bench_world *world, struct cns_problem *problem) {
  size_t n = world->n, k = world->experiment->audits[world->cell->audit].sketch;
  double clip = world->experiment->training.clip;
  if (world->dim < CNS_SKETCH_WORDS_PER_NUMBER * k)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "a sketch of %zu numbers needs a model of at least %zu parameters, as in a real "
                           "audit, and this one has %zu: choose a wider model or a smaller k",
                           k, CNS_SKETCH_WORDS_PER_NUMBER * k, world->dim);
  struct cns_bench_audit_state *audit = world->audit = calloc(1, sizeof *audit);
  if (!audit) return CNS_ERR_MEMORY;
  audit->bounds = calloc(n, sizeof *audit->bounds);
  audit->x = calloc(n * world->dim, sizeof *audit->x);
  audit->rows = calloc(n, sizeof *audit->rows);
  audit->sketches = calloc(n * k, sizeof *audit->sketches);
  audit->numbers = calloc(n * k, sizeof *audit->numbers);
  if (!audit->bounds || !audit->x || !audit->rows || !audit->sketches || !audit->numbers)
    return CNS_ERR_MEMORY;
  int r = cns_quantize_choose_scale(clip, world->whole_weights, n, (uint16_t)(n / 5), &audit->scale, problem);
  for (size_t h = 0; r == 0 && h < n; h++) {
    uint64_t theta;
    r = cns_quantize_theta(clip, world->whole_weights[h], audit->scale, &theta);
    audit->bounds[h] = (double)theta;
    audit->rows[h] = &audit->x[h * world->dim];
  }
  return r;
}

void cns_bench_audit_deinit(struct cns_bench_world *world) {
  struct cns_bench_audit_state *audit = world->audit;
  if (!audit) return;
  free(audit->bounds);
  free(audit->x);
  free(audit->rows);
  free(audit->sketches);
  free(audit->numbers);
  free(audit);
}

/* Attackers respect no bound, only the width of a number. */
static void round_freely(const float *update, size_t dim, double factor, uint32_t *x) {
  for (size_t k = 0; k < dim; k++)
    x[k] = (uint32_t)(int32_t)lrint(fmax(-0x7fffffff, fmin(0x7fffffff, (double)update[k] * factor)));
}

static int sketch(struct cns_bench_world *world, struct cns_problem *problem) {
  struct cns_bench_audit_state *audit = world->audit;
  uint32_t k = world->experiment->audits[world->cell->audit].sketch;
  struct cns_sketch_key key;
  int r = cns_rng_fill(world->rng, key.bytes, sizeof key.bytes);
  for (size_t h = 0; r == 0 && h < world->n; h++) {
    const float *update = &world->updates[h * world->dim];
    uint32_t *x = &audit->x[h * world->dim];
    if (world->malicious[h]) /* NaN becomes the lowest number */
      round_freely(update, world->dim, ldexp(world->weights[h], audit->scale), x);
    else
      r = cns_quantize(update, world->dim, world->experiment->training.clip, world->whole_weights[h],
                       audit->scale, world->rng, x, problem);
  }
  if (r == 0)
    r = cns_sketch_vectors(&key, k, audit->rows, world->n, world->dim, (struct cns_parallel){0},
                           audit->sketches);
  for (size_t i = 0; r == 0 && i < world->n * k; i++)
    audit->numbers[i] = (double)(int32_t)audit->sketches[i];
  return r;
}

static void count_flags(const struct cns_bench_world *world, const struct cns_detect_result *found,
                        struct cns_bench_result *result) {
  for (size_t h = 0; h < world->n; h++) {
    bool flagged = cns_detect_is_flagged(found, h);
    *(world->malicious[h] ? &result->attacker_rounds : &result->honest_rounds) += 1;
    *(world->malicious[h] ? &result->attackers_flagged : &result->honest_flagged) += flagged;
  }
}

/* At most f hospitals are left out, strongest flag first: one for each that may be anything. */
static int exclude(struct cns_bench_world *world, const struct cns_detect_result *found) {
  size_t byzantine = world->experiment->byzantine[world->cell->byzantine], count = 0;
  enum cns_detect_action action = world->experiment->audits[world->cell->audit].on_flag;
  struct cns_detect_policy policy = {
      .on_flag = action, .on_twins = action, .exclusions_max = byzantine, .remain_min = world->n - byzantine};
  struct cns_detect_exclusion *out = calloc(world->n, sizeof *out);
  int r = out ? cns_detect_decide(found, &policy, out, &count, NULL) : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < count; i++)
    world->excluded[out[i].row] = true;
  free(out);
  return r;
}

int cns_bench_audit_round(struct cns_bench_world *world, struct cns_bench_result *result,
                          struct cns_problem *problem) {
  const struct cns_bench_audit *setting = &world->experiment->audits[world->cell->audit];
  struct cns_detect_options options = cns_detect_options_default();
  struct cns_detect_input input = {.hospitals = world->n,
                                   .columns = setting->sketch,
                                   .rows = world->audit->numbers,
                                   .weights = world->weights,
                                   .bounds = world->audit->bounds,
                                   .blocks = CNS_SKETCH_BLOCKS};
  struct cns_detect_result found;
  options.rate = setting->rate;
  int r = sketch(world, problem);
  if (r == 0) r = cns_detect_round(&input, &options, &found, problem);
  if (r < 0) return r;
  r = cns_detect_history_step(&world->audit->history, &input, &options, &found, problem);
  if (r == 0) count_flags(world, &found, result);
  if (r == 0 && setting->on_flag == CNS_DETECT_EXCLUDE) r = exclude(world, &found);
  cns_detect_result_deinit(&found);
  return r;
}
