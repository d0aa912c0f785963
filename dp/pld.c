/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/pld.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dp/compose.h"
#include "dp/gaussian.h"
#include "dp/single.h"

#define REFINEMENTS_MAX 6
#define RETILTS_MAX 40
/* Refinement ends at a window this long if the interval is within this many times
 * its tolerance: a lower end that lags behind is not worth seconds. */
#define WORK_MAX 600000.0
#define TOLERABLE 4
/* Of what can't be said of delta: mass beyond the lattices, relative to delta. */
#define OUTSIDE_LOG 16.0
#define OUTSIDE_LOG_DELTA 22.0
/* Masses below e^-700 lose digits, so that smaller deltas are bounded from above only. */
#define REACH_LOG_MAX 700.0
/* A tolerance is relative to delta down to e^-10, and further down to its logarithm. */
#define TAIL_LOG 10.0
/* So far below Chernoff's bound delta drowns in the noise of the transforms. */
#define FFT_LOG 40.0

/* A kind of round, how often, and its nodes for moments. */
struct kind {
  struct cns_loss loss;
  uint64_t rounds;
  struct cns_loss_nodes nodes;
};

struct job {
  const struct cns_pld_request *request;
  const struct cns_pld_question *question;
  struct kind *kinds;
  size_t count;
  double rounds; /* of all kinds */
  double reach;
  bool both;          /* directions differ */
  double outside_log; /* log of the tilted mass that may lie outside the window */
};

/* Tilt and what it says about one direction. */
struct aim {
  double tilt;
  double mean, deviation; /* of the tilted loss: the mean is near epsilon */
  double bound;           /* Chernoff: epsilon, or log delta, is at most this */
  bool hit;               /* the mean is near enough to compose with this tilt */
};

static int compare_segments(const void *a, const void *b) {
  const struct cns_dp_segment *x = a, *y = b;
  if (x->noise_multiplier != y->noise_multiplier) return x->noise_multiplier < y->noise_multiplier ? -1 : 1;
  return (x->sampling_rate > y->sampling_rate) - (x->sampling_rate < y->sampling_rate);
}

/* Rounds without sampling add up to one with mu^2 = sum of theirs. */
static double gaussian_squares(const struct cns_pld_request *request, const struct cns_dp_segment *sorted) {
  double squares = 0, sensitivity = request->relation == CNS_DP_REPLACE_ONE ? 2 : 1;
  for (size_t i = 0; i < request->count && !request->lattice_only; i++)
    if (sorted[i].sampling_rate == 1)
      squares += (double)sorted[i].rounds * pow(sensitivity / sorted[i].noise_multiplier, 2);
  return squares;
}

/* Sorted and merged, so that the order of the segments changes no bit. */
static int make_kinds(struct job *job) {
  const struct cns_pld_request *request = job->request;
  struct cns_dp_segment *sorted = calloc(request->count, sizeof *sorted);
  job->kinds = calloc(request->count + 1, sizeof *job->kinds);
  if (!sorted || !job->kinds) {
    free(sorted);
    return CNS_ERR_MEMORY;
  }
  memcpy(sorted, request->segments, request->count * sizeof *sorted);
  qsort(sorted, request->count, sizeof *sorted, compare_segments);
  double squares = gaussian_squares(request, sorted);
  if (squares > 0)
    job->kinds[job->count++] = (struct kind){.loss = {1 / sqrt(squares), 1, false}, .rounds = 1};
  for (size_t i = 0; i < request->count; i++) {
    bool merged = sorted[i].sampling_rate == 1 && !request->lattice_only;
    bool again = i > 0 && compare_segments(&sorted[i - 1], &sorted[i]) == 0;
    if (!merged && again) job->kinds[job->count - 1].rounds += sorted[i].rounds;
    if (!merged && !again)
      job->kinds[job->count++] = (struct kind){.loss = {sorted[i].noise_multiplier, sorted[i].sampling_rate,
                                                        request->relation == CNS_DP_REPLACE_ONE},
                                               .rounds = sorted[i].rounds};
  }
  free(sorted);
  for (size_t i = 0; i < job->count; i++) {
    job->rounds += (double)job->kinds[i].rounds;
    job->both |= job->kinds[i].loss.rate < 1 && !job->kinds[i].loss.replace;
  }
  return 0;
}

static int make_nodes(struct job *job, double reach) {
  for (size_t i = 0; i < job->count; i++) {
    struct kind *kind = &job->kinds[i];
    double shift = 1 / kind->loss.sigma;
    cns_loss_nodes_deinit(&kind->nodes);
    int r = cns_loss_nodes_init(&kind->nodes, &kind->loss, -reach - (kind->loss.replace ? shift : 0),
                                reach + shift);
    if (r < 0) return r;
  }
  job->reach = reach;
  return 0;
}

static struct cns_loss_moments moments(const struct job *job, bool backward, double t) {
  struct cns_loss_moments sum = {0};
  for (size_t i = 0; i < job->count; i++) {
    struct cns_loss_moments one = cns_loss_nodes_moments(&job->kinds[i].nodes, backward, t);
    sum.value += (double)job->kinds[i].rounds * one.value;
    sum.first += (double)job->kinds[i].rounds * one.first;
    sum.second += (double)job->kinds[i].rounds * one.second;
  }
  return sum;
}

/* Rises with t; the tilt sought is where it passes 0. */
static double distance(const struct job *job, bool backward, double t) {
  struct cns_loss_moments at = moments(job, backward, t);
  if (job->question->wants_delta) return at.first - job->question->value;
  return t * at.first - at.value - fmax(-job->question->value - 2, 0.05);
}

/* log of a bound of the mass beyond the nodes, of all rounds. */
static double log_outside(const struct job *job) {
  return log(job->rounds) - job->reach * job->reach / 2;
}

/* Chernoff's bound, with what lies beyond the nodes. */
static double bound_at(const struct job *job, double log_moment, double t) {
  double value = job->question->value, outside = log_outside(job), slack = 1e-9 * (1 + fabs(log_moment));
  if (!job->question->wants_delta) {
    double part = exp(outside - value);
    return t > 0 && part < 0.5 ? (log_moment + slack - value - log1p(-part)) / t : INFINITY;
  }
  double bound = log_moment + slack - t * value, top = fmax(bound, outside);
  return top + log1p(exp(fmin(bound, outside) - top));
}

static struct aim aim_at(const struct job *job, bool backward, double t) {
  struct cns_loss_moments at = moments(job, backward, t);
  struct aim aim = {.tilt = t,
                    .mean = at.first,
                    .deviation = sqrt(at.second),
                    .bound = bound_at(job, at.value, t),
                    .hit = true};
  /* The mean may jump over epsilon: from all rounds, a bit each, to a single one. */
  if (job->question->wants_delta && t > 0)
    aim.hit = fabs(aim.mean - job->question->value) <= 4 * aim.deviation;
  return aim;
}

static struct aim choose_aim(const struct job *job, bool backward) {
  if (job->question->wants_delta && distance(job, backward, 0) >= 0) return aim_at(job, backward, 0);
  double deviation = sqrt(moments(job, backward, 0).second), low = 0, high = 1 / fmax(deviation, 1e-100);
  for (int i = 0; i < 60 && distance(job, backward, high) < 0; i++) {
    low = high;
    high *= 2;
    /* The losses of this direction may all be below epsilon. */
    struct aim aim = aim_at(job, backward, low);
    if (job->question->wants_delta && aim.bound < log_outside(job) + 0.01) return aim;
  }
  for (int i = 0; i < 20; i++) {
    double middle = (low + high) / 2;
    if (distance(job, backward, middle) < 0)
      low = middle;
    else
      high = middle;
  }
  return aim_at(job, backward, (low + high) / 2);
}

/* Connecting the dots adds at most step^2/4 to the variance of a round's loss,
 * which under the tilt t moves epsilon by at most rounds * step^2 * t / 8. */
static double choose_step(const struct job *job, const struct aim *aim) {
  double t = fmax(aim->tilt, 1 / fmax(aim->deviation, 1e-100));
  double scale = job->question->wants_delta ? fmax(1, -aim->bound / TAIL_LOG) / t
                                            : fmax(aim->mean, 0.1 * aim->deviation);
  return fmin(0.5, sqrt(8 * job->request->tolerance / 2 * scale / (job->rounds * t)));
}

struct lattices {
  struct cns_cells *cells;
  struct cns_lattice *lattices;
  struct cns_part *parts;
  size_t count;
  double step, error; /* of all masses, over all rounds */
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

static int lattices_init(struct lattices *l, const struct job *job, double step) {
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

static int turn(struct lattices *l, const struct job *job, bool backward) {
  for (size_t i = 0; i < job->count; i++) {
    cns_lattice_deinit(&l->lattices[i]);
    int r = cns_lattice_init(&l->lattices[i], &l->cells[i], backward);
    if (r < 0) return r;
    l->parts[i] = (struct cns_part){&l->lattices[i], job->kinds[i].rounds};
  }
  return 0;
}

/* One direction at one step. */
static int answer_direction(struct lattices *l, const struct job *job, bool backward, const struct aim *aim,
                            struct cns_dp_interval *ret_answer, double *ret_work) {
  int r = turn(l, job, backward);
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

struct direction {
  bool backward;
  struct aim aim;
};

static int answer_at(const struct job *job, const struct direction *directions, size_t count, double step,
                     struct cns_dp_interval *ret_answer, double *ret_work) {
  struct lattices lattices;
  struct cns_dp_interval answer = {-INFINITY, -INFINITY};
  int r = lattices_init(&lattices, job, step);
  if (r < 0) return r;
  for (size_t i = 0; i < count && r == 0; i++) {
    struct cns_dp_interval one;
    /* The direction that matters less, known beforehand, or that is bounded only. */
    if (directions[i].aim.bound < answer.lower) continue;
    if (!directions[i].aim.hit) {
      answer.upper = fmax(answer.upper, directions[i].aim.bound);
      continue;
    }
    r = answer_direction(&lattices, job, directions[i].backward, &directions[i].aim, &one, ret_work);
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
static double width_wanted(const struct job *job, const struct cns_dp_interval *answer, double deviation) {
  double relative = job->request->tolerance;
  if (job->question->wants_delta) return relative * fmax(1, -answer->upper / TAIL_LOG);
  return fmin(relative * fmax(answer->upper, 0.01 * deviation),
              fmax(ROUNDING * job->rounds, 1e-6 * answer->upper));
}

/* Smaller steps until the interval is narrow, as far as memory allows. */
static int refine(const struct job *job, const struct direction *directions, size_t count,
                  struct cns_dp_interval *ret_answer) {
  double step = job->request->step, work = 0;
  const struct aim *aim = &directions[0].aim;
  bool fixed = step > 0 || job->request->upper_only;
  if (!(step > 0)) step = choose_step(job, aim);
  struct cns_dp_interval best = {-INFINITY, INFINITY};
  double last = INFINITY;
  int r = 0;
  for (int i = 0; i < REFINEMENTS_MAX; i++) {
    struct cns_dp_interval answer = best;
    r = answer_at(job, directions, count, step, &answer, &work);
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
static bool in_closed_form(const struct job *job, struct cns_dp_interval *ret_answer) {
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

/* Makes nodes and aims. Whether enough is within reach: what lies beyond is nothing
 * beside delta's bound. */
static int aim_within(struct job *job, struct direction *directions, size_t count, double reach,
                      double *ret_bound) {
  int r = make_nodes(job, reach);
  if (r < 0) return r;
  *ret_bound = -INFINITY;
  for (size_t i = 0; i < count; i++) {
    directions[i].aim = choose_aim(job, directions[i].backward);
    *ret_bound = fmax(*ret_bound, directions[i].aim.bound);
  }
  return *ret_bound - log_outside(job) >= OUTSIDE_LOG_DELTA;
}

/*
 * Aims for delta. The nodes reach no further than what matters for it. If their
 * reach changes the bound, then the tilt is drawn to where a single round has a huge
 * loss, and suits epsilon badly: 1, and the bound is the tightest there is.
 */
static int aim_for_delta(struct job *job, struct direction *directions, size_t count) {
  double furthest = sqrt(2 * REACH_LOG_MAX), all, bound;
  int r = aim_within(job, directions, count, furthest, &all);
  double low = sqrt(2 * (OUTSIDE_LOG_DELTA + log(job->rounds) - all)), high = furthest;
  if (r <= 0 || low > 0.97 * furthest) return r < 0 ? r : 0;
  r = aim_within(job, directions, count, low, &bound);
  if (r < 0 || bound > all - 1) return r < 0 ? r : 0;
  while (r >= 0 && high - low > 0.01 * high) {
    double middle = (low + high) / 2;
    r = aim_within(job, directions, count, middle, &bound);
    *(r > 0 ? &high : &low) = middle;
  }
  if (r >= 0) r = aim_within(job, directions, count, high, &bound);
  return r < 0 ? r : 1;
}

/* What is known of log delta without composing: the rounds cost at least what the
 * dearest of them costs by itself, and at most Chernoff's bound. */
static struct cns_dp_interval bounds_of_delta(const struct job *job, const struct direction *directions,
                                              size_t count) {
  struct cns_dp_interval bounds = {-INFINITY, -INFINITY};
  for (size_t i = 0; i < job->count; i++)
    bounds.lower = fmax(bounds.lower, cns_single_log_delta(&job->kinds[i].loss, job->question->value).lower);
  for (size_t i = 0; i < count; i++)
    bounds.upper = fmax(bounds.upper, directions[i].aim.bound);
  bounds.upper = fmin(bounds.upper, 0);
  return bounds;
}

static int answer_delta(struct job *job, struct direction *directions, size_t count,
                        struct cns_dp_interval *ret_answer) {
  int r = aim_for_delta(job, directions, count);
  if (r < 0) return r;
  struct cns_dp_interval bounds = bounds_of_delta(job, directions, count), composed = bounds;
  bool hit = directions[0].aim.hit || (count > 1 && directions[1].aim.hit);
  double gap = bounds.upper - bounds.lower;
  bool drowned = r > 0 && gap > FFT_LOG;
  if (r > 0) job->outside_log -= gap;
  if (hit && !drowned && bounds.upper > OUTSIDE_LOG_DELTA - REACH_LOG_MAX) {
    r = refine(job, directions, count, &composed);
    if (r < 0 && r != CNS_ERR_LIMIT) return r;
  }
  *ret_answer =
      (struct cns_dp_interval){fmax(bounds.lower, composed.lower), fmin(bounds.upper, composed.upper)};
  return 0;
}

static int answer(struct job *job, struct cns_dp_interval *ret_answer) {
  const struct cns_pld_question *question = job->question;
  if (in_closed_form(job, ret_answer)) return 0;
  struct direction directions[2] = {{0}, {.backward = true}};
  size_t count = job->both ? 2 : 1;
  if (question->wants_delta) return answer_delta(job, directions, count, ret_answer);
  int r = make_nodes(job, sqrt(2 * (OUTSIDE_LOG + log(job->rounds) - question->value)));
  if (r < 0) return r;
  for (size_t i = 0; i < count; i++)
    directions[i].aim = choose_aim(job, directions[i].backward);
  return refine(job, directions, count, ret_answer);
}

int cns_pld_answer(const struct cns_pld_request *request, const struct cns_pld_question *question,
                   struct cns_dp_interval *ret_answer) {
  struct job job = {.request = request, .question = question, .outside_log = log(request->tolerance) - 9};
  int r = make_kinds(&job);
  if (r == 0) r = answer(&job, ret_answer);
  for (size_t i = 0; job.kinds && i < job.count; i++)
    cns_loss_nodes_deinit(&job.kinds[i].nodes);
  free(job.kinds);
  return r;
}
