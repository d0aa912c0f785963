/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "dp/accountant.h"

/* How near the answer lies to the noise with which epsilon would be too large. */
#define PRECISION 5e-5
/* Far from the answer a coarse interval tells on which side it lies. */
#define COARSE 1e-2
#define FINE 5e-5

struct target {
  double epsilon, delta, rate;
  uint64_t rounds;
  struct cns_dp_options options;
};

static int epsilon_at(const struct target *target, double noise, double tolerance,
                      struct cns_dp_interval *ret_epsilon, struct cns_problem *problem) {
  struct cns_dp_segment segment = {noise, target->rate, target->rounds};
  struct cns_dp_options options = target->options;
  options.tolerance = tolerance;
  return cns_dp_epsilon_upper(&segment, target->delta, &options, ret_epsilon, problem);
}

/* 1: enough noise, with *ret_epsilon for it; 0: not enough. A coarse interval
 * first, a fine one if the target lies near it. */
static int suffices(const struct target *target, double noise, struct cns_dp_interval *ret_epsilon,
                    struct cns_problem *problem) {
  bool coarse = target->options.accountant == CNS_DP_PLD && target->rate < 1;
  int r = epsilon_at(target, noise, coarse ? COARSE : FINE, ret_epsilon, problem);
  if (r < 0) return r;
  double gap = fabs(ret_epsilon->upper - target->epsilon);
  if (coarse && gap <= 4 * COARSE * target->epsilon) {
    r = epsilon_at(target, noise, FINE, ret_epsilon, problem);
    if (r < 0) return r;
  }
  return ret_epsilon->upper <= target->epsilon;
}

/* low: too little noise; high: enough. Epsilon falls about as a power of the
 * noise: the secant in logarithms finds the place, bisection guards it. */
static int narrow(const struct target *target, double low, double epsilon_low, double high,
                  struct cns_dp_calibration *found, struct cns_problem *problem) {
  for (int i = 0; i < 80 && high - low > PRECISION * high; i++) {
    double slope = log(found->epsilon.upper / epsilon_low) / log(high / low);
    double middle = high * exp(log(target->epsilon / found->epsilon.upper) / slope);
    middle *= 1 + PRECISION / 3; /* onto the side that suffices */
    bool usable = isfinite(middle) && middle > low && middle < high && i % 4 != 3;
    if (!usable) middle = sqrt(low * high);
    /* Just below the secant's hit, to close the bracket from the other side. */
    if (usable && high - middle < PRECISION / 2 * high) middle = high * (1 - PRECISION * 0.9);
    struct cns_dp_interval epsilon;
    int r = suffices(target, middle, &epsilon, problem);
    if (r < 0) return r;
    if (r > 0) {
      high = middle;
      *found = (struct cns_dp_calibration){middle, epsilon};
    } else {
      low = middle;
      epsilon_low = epsilon.upper;
    }
  }
  return 0;
}

/* Brackets the answer by doubling or halving, from what a single Gaussian needs. */
static int bracket(const struct target *target, struct cns_dp_calibration *ret_calibration,
                   struct cns_problem *problem) {
  double start = fmin(fmax(sqrt((double)target->rounds) * target->rate / target->epsilon * 4, 0.3), 1e5);
  double low = 0, epsilon_low = 0, noise = start;
  struct cns_dp_calibration found = {0};
  while (low == 0 || found.noise_multiplier == 0) {
    struct cns_dp_interval epsilon;
    int r = suffices(target, noise, &epsilon, problem);
    if (r < 0) return r;
    if (r > 0) {
      found = (struct cns_dp_calibration){noise, epsilon};
      if (noise == CNS_DP_NOISE_MIN) break;
      noise = fmax(noise / 2, CNS_DP_NOISE_MIN);
    } else {
      if (noise == CNS_DP_NOISE_MAX)
        return cns_problem_set(problem, CNS_ERR_RANGE,
                               "no noise multiplier up to %g gives epsilon %g at delta %g in %llu rounds",
                               CNS_DP_NOISE_MAX, target->epsilon, target->delta,
                               (unsigned long long)target->rounds);
      low = noise;
      epsilon_low = epsilon.upper;
      noise = fmin(noise * 2, CNS_DP_NOISE_MAX);
    }
  }
  int r = low > 0 ? narrow(target, low, epsilon_low, found.noise_multiplier, &found, problem) : 0;
  if (r == 0) *ret_calibration = found;
  return r;
}

int cns_dp_calibrate(double epsilon, double delta, double sampling_rate, uint64_t rounds,
                     const struct cns_dp_options *options, struct cns_dp_calibration *ret_calibration,
                     struct cns_problem *problem) {
  struct cns_dp_segment segment = {1, sampling_rate, rounds};
  struct target target = {.epsilon = epsilon, .delta = delta, .rate = sampling_rate, .rounds = rounds};
  if (options) target.options = *options;
  int r = cns_dp_check_segment(&segment, problem);
  if (r == 0) r = cns_dp_check_delta(delta, problem);
  if (r == 0) r = cns_dp_check_number(epsilon, 1e-6, CNS_DP_EPSILON_MAX, "epsilon", problem);
  if (r < 0) return r;
  return bracket(&target, ret_calibration, problem);
}
