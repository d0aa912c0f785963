/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "dp/accountant.h"

/* The answer is at most so much above a noise with which epsilon is too large. */
#define PRECISION 5e-5
/* Tolerance of the cheap upper bounds that show where to look. */
#define COARSE 2e-2
/* And of those that decide: what it adds to the noise, not to epsilon. */
#define FINE 4e-5
#define STEEPEST 20.0

struct target {
  double epsilon, delta, rate;
  uint64_t rounds;
  struct cns_dp_options options; /* with the tolerance that is in use */
  double goal;                   /* epsilon, or what the coarse bound is where the fine one is epsilon */
};

struct point {
  double noise;
  struct cns_dp_interval epsilon;
};

/* Too little noise, and enough of it; 0 if not known yet. */
struct bracket {
  struct point low, high;
};

/* Computes the bound there and moves one end of the bracket. */
static int probe(const struct target *target, double noise, struct bracket *bracket,
                 struct cns_problem *problem) {
  struct cns_dp_segment segment = {noise, target->rate, target->rounds};
  struct point point = {.noise = noise};
  int r = cns_dp_epsilon_upper(&segment, target->delta, &target->options, target->epsilon, &point.epsilon,
                               problem);
  if (r < 0) return r;
  *(point.epsilon.upper <= target->goal ? &bracket->high : &bracket->low) = point;
  return 0;
}

static double slope_of(const struct bracket *bracket) {
  return log(bracket->high.epsilon.upper / bracket->low.epsilon.upper) /
         log(bracket->high.noise / bracket->low.noise);
}

/* Until the two ends are `precision` apart. Epsilon falls about as a power of the
 * noise: the secant in logarithms finds the place, bisection guards it. */
static int narrow(const struct target *target, double precision, struct bracket *bracket,
                  struct cns_problem *problem) {
  for (int i = 0; i < 80; i++) {
    double low = bracket->low.noise, high = bracket->high.noise;
    if (high - low <= precision * high) break;
    double middle = high * exp(log(target->goal / bracket->high.epsilon.upper) / slope_of(bracket));
    middle *= 1 + precision / 3; /* onto the side that suffices */
    bool usable = isfinite(middle) && middle > low && middle < high && i % 4 != 3;
    if (!usable) middle = sqrt(low * high);
    /* Just below the secant's hit, to close the bracket from the other side. */
    if (usable && high - middle < precision / 2 * high) middle = high * (1 - precision * 0.9);
    int r = probe(target, middle, bracket, problem);
    if (r < 0) return r;
  }
  return 0;
}

/* Moves outwards from `noise`, by a factor that grows, until both ends are known,
 * or CNS_DP_NOISE_MIN suffices. */
static int enclose(const struct target *target, double noise, double factor, struct bracket *bracket,
                   struct cns_problem *problem) {
  while (bracket->low.noise == 0 || bracket->high.noise == 0) {
    noise = fmin(fmax(noise, CNS_DP_NOISE_MIN), CNS_DP_NOISE_MAX);
    int r = probe(target, noise, bracket, problem);
    if (r < 0) return r;
    bool enough = bracket->high.noise == noise;
    if (enough && noise == CNS_DP_NOISE_MIN) return 0;
    if (!enough && noise == CNS_DP_NOISE_MAX)
      return cns_problem_set(
          problem, CNS_ERR_RANGE, "no noise multiplier up to %g gives epsilon %g at delta %g in %llu rounds",
          CNS_DP_NOISE_MAX, target->epsilon, target->delta, (unsigned long long)target->rounds);
    noise = enough ? noise / factor : noise * factor;
    factor = fmin(2, 1 + 3 * (factor - 1));
  }
  return 0;
}

/* Where the bound, at the tolerance in use, passes the goal. */
static int solve(const struct target *target, double start, double factor, double precision,
                 struct bracket *ret_bracket, struct cns_problem *problem) {
  struct bracket bracket = {0};
  int r = enclose(target, start, factor, &bracket, problem);
  if (r == 0 && bracket.low.noise > 0) r = narrow(target, precision, &bracket, problem);
  if (r == 0) *ret_bracket = bracket;
  return r;
}

/*
 * In two grades. The coarse bound is above the fine one by a factor that hardly
 * depends on the noise: having it from one fine bound, the coarse ones tell
 * where the fine one passes the target. Two fine ones, on both sides of that
 * place, decide.
 */
static int solve_in_grades(struct target *target, double start, struct bracket *ret_bracket,
                           struct cns_problem *problem) {
  struct bracket coarse, fine = {0};
  target->options.tolerance = COARSE;
  int r = solve(target, start, 2, PRECISION, &coarse, problem);
  if (r < 0) return r;
  if (coarse.low.noise == 0) {
    *ret_bracket = coarse;
    return 0;
  }
  /* Where epsilon is steep, an error of epsilon is a smaller one of the noise. */
  double tolerance = FINE * fmin(fmax(-slope_of(&coarse), 1), STEEPEST),
         coarse_upper = coarse.high.epsilon.upper;
  target->options.tolerance = tolerance;
  r = probe(target, coarse.high.noise, &fine, problem);
  if (r < 0) return r;
  double noise = coarse.high.noise;
  const struct point *at = fine.high.noise > 0 ? &fine.high : &fine.low;
  /* An upper end of 0, where delta covers all, has no factor. */
  if (coarse_upper > 0 && at->epsilon.upper > 0) target->goal *= coarse_upper / at->epsilon.upper;
  target->options.tolerance = COARSE;
  r = solve(target, noise, 1.001, PRECISION / 10, &coarse, problem);
  if (r < 0) return r;
  target->goal = target->epsilon;
  target->options.tolerance = tolerance;
  noise = coarse.low.noise > 0 ? coarse.high.noise * (1 + PRECISION / 3) : coarse.high.noise;
  return solve(target, noise, 1 + PRECISION * 0.95, PRECISION, ret_bracket, problem);
}

int cns_dp_calibrate(double epsilon, double delta, double sampling_rate, uint64_t rounds,
                     const struct cns_dp_options *options, struct cns_dp_calibration *ret_calibration,
                     struct cns_problem *problem) {
  struct cns_dp_segment segment = {1, sampling_rate, rounds};
  struct target target = {
      .epsilon = epsilon, .delta = delta, .rate = sampling_rate, .rounds = rounds, .goal = epsilon};
  if (options) target.options = *options;
  int r = cns_dp_check_segment(&segment, problem);
  if (r == 0) r = cns_dp_check_delta(delta, problem);
  if (r == 0) r = cns_dp_check_number(epsilon, 1e-6, CNS_DP_EPSILON_MAX, "epsilon", problem);
  if (r < 0) return r;
  /* From what a single Gaussian needs. */
  double start = fmin(fmax(sqrt((double)rounds) * sampling_rate / epsilon * 4, 0.3), 1e5);
  struct bracket bracket;
  bool graded = target.options.accountant == CNS_DP_PLD && sampling_rate < 1 && rounds > 1;
  target.options.tolerance = FINE;
  r = graded ? solve_in_grades(&target, start, &bracket, problem)
             : solve(&target, start, 2, PRECISION, &bracket, problem);
  if (r < 0) return r;
  *ret_calibration = (struct cns_dp_calibration){bracket.high.noise, bracket.high.epsilon};
  return 0;
}
