/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of what can't be said of delta at a given delta: mass beyond the nodes, relative to it. */
#define OUTSIDE_LOG 16.0

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
static int make_kinds(struct cns_job *job) {
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
    job->kinds[job->count++] = (struct cns_kind){.loss = {1 / sqrt(squares), 1, false}, .rounds = 1};
  for (size_t i = 0; i < request->count; i++) {
    bool merged = sorted[i].sampling_rate == 1 && !request->lattice_only;
    bool again = i > 0 && compare_segments(&sorted[i - 1], &sorted[i]) == 0;
    if (!merged && again) job->kinds[job->count - 1].rounds += sorted[i].rounds;
    if (!merged && !again)
      job->kinds[job->count++] =
          (struct cns_kind){.loss = {sorted[i].noise_multiplier, sorted[i].sampling_rate,
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

int cns_job_init(struct cns_job *ret_job, const struct cns_pld_request *request,
                 const struct cns_pld_question *question) {
  *ret_job =
      (struct cns_job){.request = request, .question = question, .outside_log = log(request->tolerance) - 9};
  return make_kinds(ret_job);
}

void cns_job_deinit(struct cns_job *job) {
  for (size_t i = 0; job->kinds && i < job->count; i++)
    cns_loss_nodes_deinit(&job->kinds[i].nodes);
  free(job->kinds);
  *job = (struct cns_job){0};
}

static int make_nodes(struct cns_job *job, double reach) {
  for (size_t i = 0; i < job->count; i++) {
    struct cns_kind *kind = &job->kinds[i];
    double shift = 1 / kind->loss.sigma;
    cns_loss_nodes_deinit(&kind->nodes);
    int r = cns_loss_nodes_init(&kind->nodes, &kind->loss, -reach - (kind->loss.replace ? shift : 0),
                                reach + shift);
    if (r < 0) return r;
  }
  job->reach = reach;
  return 0;
}

static struct cns_loss_moments moments(const struct cns_job *job, bool backward, double t) {
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
static double distance(const struct cns_job *job, bool backward, double t) {
  struct cns_loss_moments at = moments(job, backward, t);
  if (job->question->wants_delta) return at.first - job->question->value;
  return t * at.first - at.value - fmax(-job->question->value - 2, 0.05);
}

/* log of a bound of the mass beyond the nodes, of all rounds. */
static double log_outside(const struct cns_job *job) {
  return log(job->rounds) - job->reach * job->reach / 2;
}

/* Chernoff's bound, with what lies beyond the nodes. */
static double bound_at(const struct cns_job *job, double log_moment, double t) {
  double value = job->question->value, outside = log_outside(job);
  double slack = 1e-9 * (1 + fabs(log_moment)) + 1e-12 * job->rounds; /* moments are good to 1e-13 */
  if (!job->question->wants_delta) {
    double part = exp(outside - value);
    return t > 0 && part < 0.5 ? (log_moment + slack - value - log1p(-part)) / t : INFINITY;
  }
  double bound = log_moment + slack - t * value, top = fmax(bound, outside);
  return top + log1p(exp(fmin(bound, outside) - top));
}

static struct cns_aim aim_at(const struct cns_job *job, bool backward, double t) {
  struct cns_loss_moments at = moments(job, backward, t);
  struct cns_aim aim = {.backward = backward,
                        .tilt = t,
                        .mean = at.first,
                        .deviation = sqrt(at.second),
                        .bound = bound_at(job, at.value, t),
                        .hit = true};
  /* The mean may jump over epsilon: from all rounds, a bit each, to a single one. */
  if (job->question->wants_delta && t > 0)
    aim.hit = fabs(aim.mean - job->question->value) <= 4 * aim.deviation;
  return aim;
}

/* All losses of a direction may be below epsilon: no tilt reaches it, the bound falls to
 * what lies beyond the nodes. */
static bool out_of_reach(const struct cns_job *job, bool backward, double t) {
  return job->question->wants_delta && aim_at(job, backward, t).bound < log_outside(job) + 0.01;
}

static struct cns_aim choose_aim(const struct cns_job *job, bool backward) {
  if (job->question->wants_delta && distance(job, backward, 0) >= 0) return aim_at(job, backward, 0);
  double deviation = sqrt(moments(job, backward, 0).second), low = 0, high = 1 / fmax(deviation, 1e-100);
  for (int i = 0; i < 60 && distance(job, backward, high) < 0; i++) {
    low = high;
    high *= 2;
    if (out_of_reach(job, backward, low)) return aim_at(job, backward, low);
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

/* Makes nodes, and aims with them. */
static int aim_within(struct cns_job *job, double reach, struct cns_aim *aims, double *ret_bound) {
  int r = make_nodes(job, reach);
  if (r < 0) return r;
  *ret_bound = -INFINITY;
  for (int i = 0; i <= (job->both ? 1 : 0); i++) {
    aims[i] = choose_aim(job, i == 1);
    *ret_bound = fmax(*ret_bound, aims[i].bound);
  }
  return 0;
}

static int aim_for_epsilon(struct cns_job *job, struct cns_aim *aims) {
  double bound;
  return aim_within(job, sqrt(2 * (OUTSIDE_LOG + log(job->rounds) - job->question->value)), aims, &bound);
}

/* The nodes reach no further than what matters for delta. If their reach changes the
 * bound, then the tilt is drawn to where a single round has a huge loss. */
static int aim_for_delta(struct cns_job *job, struct cns_aim *aims) {
  double furthest = sqrt(2 * CNS_JOB_REACH_LOG_MAX), all, bound;
  int r = aim_within(job, furthest, aims, &all);
  if (r < 0 || all - log_outside(job) < CNS_JOB_OUTSIDE_LOG_DELTA) return r;
  double low = sqrt(2 * (CNS_JOB_OUTSIDE_LOG_DELTA + log(job->rounds) - all)), high = furthest;
  if (low > 0.97 * furthest) return 0;
  r = aim_within(job, low, aims, &bound);
  if (r < 0 || bound > all - 1) return r;
  while (r == 0 && high - low > 0.01 * high) {
    double middle = (low + high) / 2;
    r = aim_within(job, middle, aims, &bound);
    *(bound - log_outside(job) >= CNS_JOB_OUTSIDE_LOG_DELTA ? &high : &low) = middle;
  }
  if (r == 0) r = aim_within(job, high, aims, &bound);
  return r < 0 ? r : 1;
}

int cns_job_aim(struct cns_job *job, struct cns_aim aims[static CNS_JOB_AIMS]) {
  return job->question->wants_delta ? aim_for_delta(job, aims) : aim_for_epsilon(job, aims);
}
