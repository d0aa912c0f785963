/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/pld.h"

#include <math.h>
#include <stdlib.h>

#include "dp/compose.h"
#include "dp/gaussian.h"
#include "dp/job.h"
#include "dp/single.h"

#define REFINEMENTS_MAX 6
#define RETILTS_MAX 40
/* Refinement ends at a window this long if the interval is within this many times
 * its tolerance: a lower end that lags behind is not worth seconds. */
#define WORK_MAX 600000.0
#define TOLERABLE 4
/* A tolerance is relative to delta down to e^-10, and further down to its logarithm. */
#define TAIL_LOG 10.0
/* So far below Chernoff's bound delta drowns in the noise of the transforms. */
#define FFT_LOG 40.0

/* Connecting the dots adds at most step^2/4 to the variance of a round's loss,
 * which under the tilt t moves epsilon by at most rounds * step^2 * t / 8. */
static double choose_step(const struct cns_job *job, const struct cns_aim *aim) {
  double t = fmax(aim->tilt, 1 / fmax(aim->deviation, 1e-100));
  double scale = job->question->wants_delta ? fmax(1, -aim->bound / TAIL_LOG) / t
                                            : fmax(aim->mean, 0.1 * aim->deviation);
  double expected = job->request->expected;
  if (expected > 0) scale = fmin(scale, fmax(expected, 1e-3 * aim->deviation));
  return fmin(0.5, sqrt(8 * job->request->tolerance / 2 * scale / (job->rounds * t)));
}

struct lattices {
  struct cns_cells *cells;
  struct cns_lattice *lattices;
  struct cns_part *parts;
  size_t count;
  double step;
};

static void lattices_deinit(struct lattices *l) {
  for (size_t i = 0; l->cells && i < l->count; i++)
    cns_cells_deinit(&l->cells[i]);
  for (size_t i = 0; l->lattices && i < l->count; i++)
    cns_lattice_deinit(&l->lattices[i]);
  free(l->cells);
  free(l->lattices);
  free(l->parts);
  *l = (struct lattices){0};
}

static int lattices_init(struct lattices *l, const struct cns_job *job, double step) {
  *l = (struct lattices){
      .cells = calloc(job->count, sizeof *l->cells),
      .lattices = calloc(job->count, sizeof *l->lattices),
      .parts = calloc(job->count, sizeof *l->parts),
      .count = job->count,
      .step = step,
  };
  int r = l->cells && l->lattices && l->parts ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; i < job->count && r == 0; i++)
    r = cns_cells_init(&l->cells[i], &job->kinds[i].loss, step, job->reach);
  if (r < 0) lattices_deinit(l);
  return r;
}

static int turn(struct lattices *l, const struct cns_job *job, bool backward) {
  for (size_t i = 0; i < job->count; i++) {
    cns_lattice_deinit(&l->lattices[i]);
    int r = cns_lattice_init(&l->lattices[i], &l->cells[i], backward);
    if (r < 0) return r;
    l->parts[i] = (struct cns_part){&l->lattices[i], job->kinds[i].rounds};
  }
  return 0;
}

/* One direction at one step. */
static int answer_direction(struct lattices *l, const struct cns_job *job, const struct cns_aim *aim,
                            struct cns_dp_interval *ret_answer, double *ret_work) {
  int r = turn(l, job, aim->backward);
  double tilt = aim->tilt;
  for (int i = 0; i < RETILTS_MAX && r == 0; i++) {
    struct cns_composition composition;
    r = cns_composition_init(&composition, l->parts, l->count, l->step, tilt, job->outside_log);
    if (r < 0) return r;
    *ret_work = fmax(*ret_work, (double)composition.len);
    r = job->question->wants_delta ? cns_composition_log_delta(&composition, job->question->value, ret_answer)
                                   : cns_composition_epsilon(&composition, job->question->value, ret_answer);
    cns_composition_deinit(&composition);
    if (r != CNS_COMPOSITION_OUTSIDE) return r;
    /* Epsilon is left of the window: a smaller tilt. */
    tilt = i < RETILTS_MAX - 3 && tilt * aim->deviation > 1e-3 ? tilt / 2 : 0;
    r = 0;
  }
  return r < 0 ? r : CNS_ERR_LIMIT;
}

static int answer_at(const struct cns_job *job, const struct cns_aim *aims, double step,
                     struct cns_dp_interval *ret_answer, double *ret_work) {
  struct lattices lattices;
  struct cns_dp_interval answer = {-INFINITY, -INFINITY};
  int r = lattices_init(&lattices, job, step);
  if (r < 0) return r;
  for (int i = 0; i <= (job->both ? 1 : 0) && r == 0; i++) {
    struct cns_dp_interval one;
    /* The direction that matters less, known beforehand, or that is bounded only. */
    if (aims[i].bound < answer.lower) continue;
    if (!aims[i].hit) {
      answer.upper = fmax(answer.upper, aims[i].bound);
      continue;
    }
    r = answer_direction(&lattices, job, &aims[i], &one, ret_work);
    if (r < 0) break;
    answer.lower = fmax(answer.lower, one.lower);
    answer.upper = fmax(answer.upper, one.upper);
  }
  lattices_deinit(&lattices);
  if (r == 0) *ret_answer = answer;
  return r;
}

/* What rounding the loss of each round to so much would give. */
#define ROUNDING 4.5e-5

/* The width that is good enough: relative to epsilon, and no wider than rounding gives. */
static double width_wanted(const struct cns_job *job, const struct cns_dp_interval *answer,
                           double deviation) {
  double relative = job->request->tolerance;
  if (job->question->wants_delta) return relative * fmax(1, -answer->upper / TAIL_LOG);
  return fmin(relative * fmax(answer->upper, 0.01 * deviation),
              fmax(ROUNDING * job->rounds, 1e-6 * answer->upper));
}

/* Smaller steps until the interval is narrow, as far as memory allows. */
static int refine(const struct cns_job *job, const struct cns_aim *aims, struct cns_dp_interval *ret_answer) {
  double step = job->request->step, work = 0;
  const struct cns_aim *aim = &aims[0];
  bool fixed = step > 0 || job->request->expected > 0;
  if (!(step > 0)) step = choose_step(job, aim);
  struct cns_dp_interval best = {-INFINITY, INFINITY};
  double last = INFINITY;
  int r = 0;
  for (int i = 0; i < REFINEMENTS_MAX; i++) {
    struct cns_dp_interval answer = best;
    r = answer_at(job, aims, step, &answer, &work);
    if (r < 0) break;
    best.lower = fmax(best.lower, answer.lower);
    best.upper = fmin(best.upper, answer.upper);
    double width = best.upper - best.lower, wanted = width_wanted(job, &best, aim->deviation);
    if (fixed || width <= wanted || (job->question->wants_delta && width > 0.9 * last)) break;
    last = width;
    double finer = fmax(0.2, fmin(0.6, 0.8 * sqrt(wanted / width)));
    double tolerable = TOLERABLE * job->request->tolerance * fmax(best.upper, 0);
    if (work / finer > WORK_MAX && width <= fmin(tolerable, ROUNDING * job->rounds)) break;
    step *= finer;
  }
  if (r == CNS_ERR_LIMIT && isfinite(best.upper)) r = 0;
  if (r == 0) *ret_answer = best;
  return r;
}

/* All rounds without sampling, or one with it. */
static bool in_closed_form(const struct cns_job *job, struct cns_dp_interval *ret_answer) {
  const struct cns_loss *loss = &job->kinds[0].loss;
  double value = job->question->value;
  bool wants_delta = job->question->wants_delta;
  if (job->request->lattice_only || job->rounds > 1) return false;
  if (loss->rate == 1)
    *ret_answer = wants_delta ? cns_gaussian_log_delta(1 / loss->sigma, value)
                              : cns_gaussian_epsilon(1 / loss->sigma, value);
  else
    *ret_answer = wants_delta ? cns_single_log_delta(loss, value) : cns_single_epsilon(loss, value);
  return true;
}

/* What is known of log delta without composing: the rounds cost at least what the
 * dearest of them costs by itself, and at most Chernoff's bound. */
static struct cns_dp_interval bounds_of_delta(const struct cns_job *job, const struct cns_aim *aims) {
  struct cns_dp_interval bounds = {-INFINITY, aims[0].bound};
  if (job->both) bounds.upper = fmax(bounds.upper, aims[1].bound);
  bounds.upper = fmin(bounds.upper, 0);
  for (size_t i = 0; i < job->count; i++)
    bounds.lower = fmax(bounds.lower, cns_single_log_delta(&job->kinds[i].loss, job->question->value).lower);
  return bounds;
}

static int answer_delta(struct cns_job *job, const struct cns_aim *aims, bool jump,
                        struct cns_dp_interval *ret_answer) {
  struct cns_dp_interval bounds = bounds_of_delta(job, aims), composed = bounds;
  double gap = bounds.upper - bounds.lower;
  bool hit = aims[0].hit || (job->both && aims[1].hit), drowned = jump && gap > FFT_LOG;
  if (jump) job->outside_log -= gap;
  if (hit && !drowned && bounds.upper > CNS_JOB_OUTSIDE_LOG_DELTA - CNS_JOB_REACH_LOG_MAX) {
    int r = refine(job, aims, &composed);
    if (r < 0 && r != CNS_ERR_LIMIT) return r;
  }
  *ret_answer =
      (struct cns_dp_interval){fmax(bounds.lower, composed.lower), fmin(bounds.upper, composed.upper)};
  return 0;
}

static int answer(struct cns_job *job, struct cns_dp_interval *ret_answer) {
  if (in_closed_form(job, ret_answer)) return 0;
  struct cns_aim aims[CNS_JOB_AIMS];
  int r = cns_job_aim(job, aims);
  if (r < 0) return r;
  return job->question->wants_delta ? answer_delta(job, aims, r > 0, ret_answer)
                                    : refine(job, aims, ret_answer);
}

int cns_pld_answer(const struct cns_pld_request *request, const struct cns_pld_question *question,
                   struct cns_dp_interval *ret_answer) {
  struct cns_job job;
  int r = cns_job_init(&job, request, question);
  if (r == 0) r = answer(&job, ret_answer);
  cns_job_deinit(&job);
  return r;
}
