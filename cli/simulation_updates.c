/* SPDX-License-Identifier: Apache-2.0 */
/* All updates of a round at once: trained, given or drawn, and what attackers
 * make of theirs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"
#include "dp/clip.h"
#include "dp/quantize.h"
#include "robust/geometry.h"

/* Later updates are about half as long as those of the first round, and the clip
 * norm belongs near the lower quartile of all: docs/detection.md, "Measured". */
#define FIRST_ROUND_SHARE 0.5

bool cns_simulation_keeps(const struct cns_simulation_options *o) {
  return o->audit || o->attack_count > 0 || o->source != CNS_SIMULATION_DRAWN;
}

void cns_simulation_round_freely(const float *update, size_t dim, double factor, uint32_t *x) {
  for (size_t w = 0; w < dim; w++)
    x[w] = (uint32_t)(int32_t)lrint(fmax(-0x7fffffff, fmin(0x7fffffff, (double)update[w] * factor)));
}

/* ---- honest updates ---- */

struct making {
  struct cns_simulation *s;
  uint64_t round;
  uint32_t attempt;
  int *results;
  struct cns_problem *problems;
};

static bool swaps_labels(const struct cns_simulation_attack *attack) {
  return attack && attack->lie == CNS_LIE_NUMBERS && cns_attack_flips_labels(attack->numbers.kind);
}

static void make_task(void *argument, size_t p) {
  const struct making *job = argument;
  struct cns_simulation *s = job->s;
  const struct cns_simulation_options *o = &s->options;
  size_t k = s->cohort[p], dim = o->dim;
  float *own = s->vectors.own + p * dim;
  int r = 0;
  if (s->vectors.measured && !swaps_labels(s->hospitals[k].attack)) return;
  if (o->source == CNS_SIMULATION_GIVEN)
    memcpy(own, o->given + k * dim, dim * sizeof *own);
  else if (o->source == CNS_SIMULATION_TRAINED)
    r = cns_simulation_training_update(s->training, k, job->round, job->attempt, own, &job->problems[p]);
  else
    r = cns_simulation_draw(s, k, job->round, job->attempt, own);
  job->results[p] = r;
}

/* Unclipped; the first failure, by the hospital's name. */
static int make_own(struct cns_simulation *s, uint64_t round, uint32_t attempt, struct cns_problem *problem) {
  struct making job = {.s = s, .round = round, .attempt = attempt};
  job.results = calloc(s->members, sizeof *job.results);
  job.problems = calloc(s->members, sizeof *job.problems);
  int r = job.results && job.problems ? 0 : CNS_ERR_MEMORY;
  if (r == 0) cns_parallel_run(s->parallel, s->members, make_task, &job);
  for (size_t p = 0; p < s->members && r == 0; p++) {
    if (job.results[p] == 0) continue;
    *problem = job.problems[p];
    r = cns_problem_prefix(problem, job.results[p], "the update of hospital %zu", s->cohort[p] + 1);
  }
  free(job.results);
  free(job.problems);
  return r;
}

int cns_simulation_updates_measure(struct cns_simulation *s, double *ret_norm, struct cns_problem *problem) {
  double norms[CNS_HOSPITALS_MAX];
  int r = make_own(s, 1, 1, problem);
  s->vectors.measured = r == 0;
  for (size_t p = 0; p < s->members && r == 0; p++)
    r = cns_clip_norm(s->vectors.own + p * s->options.dim, s->options.dim, &norms[p], problem);
  if (r < 0) return r;
  (void)cns_geometry_middle(norms, s->members); /* sorts */
  *ret_norm = norms[s->members / 4] * (s->training ? FIRST_ROUND_SHARE : 1);
  if (*ret_norm >= CNS_CLIP_MIN) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE,
                         "a quarter of the updates or more are zero: there is nothing to clip to");
}

/* ---- attacks on the numbers ---- */

static int copy_poison(struct cns_simulation *s, const float *row, size_t p) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  size_t bytes = s->options.dim * sizeof *row;
  if (!hospital->poison) hospital->poison = malloc(bytes);
  if (!hospital->poison) return CNS_ERR_MEMORY;
  memcpy(hospital->poison, row, bytes);
  hospital->poisoned = true;
  return 0;
}

/* One attack by those of its hospitals that are in the cohort. Everybody else's
 * update is taken as that hospital would honestly send it. */
static int apply(struct cns_simulation *s, size_t which, struct cns_problem *problem) {
  const struct cns_simulation_attack *attack = &s->options.attacks[which];
  struct cns_attack numbers = attack->numbers;
  size_t dim = s->options.dim, rows[CNS_HOSPITALS_MAX];
  double weights[CNS_HOSPITALS_MAX];
  struct cns_rng_seeded rng;
  char label[80];
  numbers.count = 0;
  for (size_t p = 0; p < s->members; p++) {
    weights[p] = cns_simulation_member(s, p)->weight;
    if (cns_simulation_member(s, p)->attack == attack) rows[numbers.count++] = p;
  }
  if (numbers.count == 0 || numbers.count + 2 > s->members) return 0;
  float *all = malloc(s->members * dim * sizeof *all);
  if (!all) return CNS_ERR_MEMORY;
  memcpy(all, s->vectors.own, s->members * dim * sizeof *all);
  snprintf(label, sizeof label, "simulation attack %zu in %llu %u", which,
           (unsigned long long)s->descriptor.round, s->descriptor.attempt);
  cns_rng_seeded_init_label(&rng, s->options.seed, label);
  int r = cns_attack_apply(&numbers, all, s->members, dim, weights, rows, cns_rng_seeded(&rng), problem);
  for (size_t a = 0; a < numbers.count && r == 0; a++)
    r = copy_poison(s, all + rows[a] * dim, rows[a]);
  free(all);
  return r;
}

/* For those that break the protocol to hide it: their own update, turned round
 * and `scale` clip norms long. */
static int poison_own(struct cns_simulation *s, size_t p, struct cns_problem *problem) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  size_t dim = s->options.dim;
  double norm = 0;
  int r = copy_poison(s, s->vectors.own + p * dim, p);
  if (r == 0) r = cns_clip_norm(hospital->poison, dim, &norm, problem);
  if (r < 0) return r;
  double factor = -hospital->attack->scale * s->options.clip_norm;
  for (size_t w = 0; w < dim; w++)
    hospital->poison[w] =
        norm > 0 ? (float)(factor * (double)hospital->poison[w] / norm) : (float)(factor / sqrt((double)dim));
  return 0;
}

int cns_simulation_updates_make(struct cns_simulation *s, struct cns_problem *problem) {
  if (!cns_simulation_keeps(&s->options)) return 0;
  for (size_t p = 0; p < s->members; p++)
    cns_simulation_member(s, p)->poisoned = false;
  int r = make_own(s, s->descriptor.round, s->descriptor.attempt, problem);
  s->vectors.measured = false;
  for (size_t p = 0; p < s->members && r == 0; p++)
    r = cns_clip(s->vectors.own + p * s->options.dim, s->options.dim, s->options.clip_norm, NULL, problem);
  for (size_t a = 0; a < s->options.attack_count && r == 0; a++)
    if (s->options.attacks[a].lie == CNS_LIE_NUMBERS) r = apply(s, a, problem);
  for (size_t p = 0; p < s->members && r == 0; p++) {
    const struct cns_simulation_attack *attack = cns_simulation_member(s, p)->attack;
    if (attack && (attack->lie == CNS_LIE_FALSE_PAIR || attack->lie == CNS_LIE_FALSE_SELF))
      r = poison_own(s, p, problem);
  }
  return r;
}

/* ---- on the grid ---- */

/* Of a pair that agreed, the first sends both updates, the second nothing. */
static void round_agreed(const struct cns_simulation *s, size_t p, uint32_t *x) {
  const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  const struct cns_simulation_hospital *partner = &s->hospitals[hospital->partner];
  size_t dim = s->options.dim;
  const float *own = s->vectors.own + p * dim, *other = s->vectors.own + partner->position * dim;
  memset(x, 0, dim * sizeof *x);
  if (p > partner->position) return;
  double factor = ldexp(hospital->attack->scale, s->descriptor.scale_log2);
  for (size_t w = 0; w < dim; w++)
    x[w] = (uint32_t)(int32_t)lrint(factor *
                                    ((double)own[w] * hospital->weight + (double)other[w] * partner->weight));
}

bool cns_simulation_sends_own(const struct cns_simulation_hospital *hospital) {
  if (!hospital->attack) return true;
  bool agreed =
      hospital->attack->lie == CNS_LIE_FALSE_PAIR_AGREED && hospital->partner != CNS_SIMULATION_NOBODY;
  return !hospital->poisoned && !agreed && hospital->attack->lie != CNS_LIE_OTHER_MASKS;
}

int cns_simulation_updates_honest(struct cns_simulation *s, size_t p, struct cns_rng rng, uint32_t *x,
                                  struct cns_problem *problem) {
  size_t dim = s->options.dim;
  return cns_quantize(s->vectors.own + p * dim, dim, s->options.clip_norm,
                      cns_simulation_member(s, p)->weight, s->descriptor.scale_log2, rng, x, problem);
}

int cns_simulation_updates_round(struct cns_simulation *s, size_t p, struct cns_rng rng, uint32_t *x,
                                 struct cns_problem *problem) {
  const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  struct cns_mask_term other = {.sign = 1};
  size_t dim = s->options.dim;
  if (hospital->poisoned) {
    cns_simulation_round_freely(hospital->poison, dim, ldexp(hospital->weight, s->descriptor.scale_log2), x);
    return 0;
  }
  bool own = cns_simulation_sends_own(hospital);
  if (!own && hospital->attack->lie == CNS_LIE_FALSE_PAIR_AGREED) {
    round_agreed(s, p, x);
    return 0;
  }
  int r = cns_simulation_updates_honest(s, p, rng, x, problem);
  if (r < 0 || own) return r;
  r = cns_rng_fill(rng, other.seed.bytes, sizeof other.seed.bytes);
  return r < 0 ? r : cns_mask_apply(x, dim, 0, &other, 1);
}
