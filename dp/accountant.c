/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/accountant.h"

#include <math.h>
#include <string.h>

#include "dp/gaussian.h"
#include "dp/pld.h"
#include "dp/rdp.h"

#define TOLERANCE 5e-4

static const char *const names[] = {[CNS_DP_PLD] = "pld", [CNS_DP_RDP] = "rdp", [CNS_DP_GDP] = "gdp"};
#define NAMES (sizeof names / sizeof names[0])

const char *cns_dp_accountant_name(enum cns_dp_accountant accountant) {
  return (size_t)accountant < NAMES ? names[accountant] : "unknown";
}

bool cns_dp_accountant_find(const char *name, enum cns_dp_accountant *ret_accountant) {
  for (size_t i = 0; i < NAMES; i++)
    if (strcmp(names[i], name) == 0) {
      *ret_accountant = (enum cns_dp_accountant)i;
      return true;
    }
  return false;
}

int cns_dp_check_number(double value, double min, double max, const char *name, struct cns_problem *problem) {
  if (value >= min && value <= max) return 0;
  if (isnan(value)) return cns_problem_set(problem, CNS_ERR_RANGE, "the %s is not a number", name);
  return cns_problem_set(problem, CNS_ERR_RANGE, "the %s must be from %g to %g, not %g", name, min, max,
                         value);
}

int cns_dp_check_delta(double delta, struct cns_problem *problem) {
  if (delta >= CNS_DP_DELTA_MIN && delta < 1) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE,
                         "delta must be a probability of at least %g and below 1, not %g", CNS_DP_DELTA_MIN,
                         delta);
}

int cns_dp_check_segment(const struct cns_dp_segment *segment, struct cns_problem *problem) {
  int r = cns_dp_check_number(segment->noise_multiplier, CNS_DP_NOISE_MIN, CNS_DP_NOISE_MAX,
                              "noise multiplier", problem);
  if (r == 0) r = cns_dp_check_number(segment->sampling_rate, CNS_DP_RATE_MIN, 1, "sampling rate", problem);
  if (r < 0) return r;
  if (segment->rounds >= 1 && segment->rounds <= CNS_DP_ROUNDS_MAX) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE, "the rounds must be from 1 to %d, not %llu",
                         CNS_DP_ROUNDS_MAX, (unsigned long long)segment->rounds);
}

int cns_dp_fail(int error, struct cns_problem *problem) {
  if (error == CNS_ERR_LIMIT)
    return cns_problem_set(problem, error,
                           "the privacy losses of these rounds are too different in size, or too many, for "
                           "the memory that the accountant allows itself; ask for rdp instead");
  if (error == CNS_ERR_RANGE)
    return cns_problem_set(problem, error, "epsilon is beyond what the accountant can say");
  return cns_problem_set(problem, error, "the accountant failed: %s", cns_error_name(error));
}

static int check(const struct cns_dp_segment *segments, size_t count, const struct cns_dp_options *options,
                 struct cns_problem *problem) {
  if (count < 1 || count > CNS_DP_SEGMENTS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "there must be 1 to %d segments, not %zu",
                           CNS_DP_SEGMENTS_MAX, count);
  uint64_t rounds = 0;
  for (size_t i = 0; i < count; i++) {
    int r = cns_dp_check_segment(&segments[i], problem);
    if (r < 0) return r;
    rounds += segments[i].rounds;
    if (options->accountant == CNS_DP_GDP && segments[i].sampling_rate != 1)
      return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                             "gdp is exact without sampling only (rate 1); with sampling use pld or rdp");
  }
  if (rounds > CNS_DP_ROUNDS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "all segments together must have at most %d rounds",
                           CNS_DP_ROUNDS_MAX);
  if ((size_t)options->accountant >= NAMES || (unsigned)options->relation > CNS_DP_REPLACE_ONE)
    return cns_problem_set(problem, CNS_ERR_RANGE, "the accountant or the relation is unknown");
  if (options->tolerance == 0) return 0;
  return cns_dp_check_number(options->tolerance, 1e-5, 0.1, "tolerance", problem);
}

static double gaussian_mu(const struct cns_dp_segment *segments, size_t count,
                          enum cns_dp_relation relation) {
  double squares = 0;
  for (size_t i = 0; i < count; i++)
    squares += (double)segments[i].rounds / segments[i].noise_multiplier / segments[i].noise_multiplier;
  return sqrt(squares) * (relation == CNS_DP_REPLACE_ONE ? 2 : 1);
}

/* Epsilon at log delta, or log delta at epsilon. */
static int answer(const struct cns_dp_segment *segments, size_t count, const struct cns_dp_options *options,
                  bool wants_delta, double expected, double value, struct cns_dp_interval *ret_answer) {
  if (options->accountant == CNS_DP_GDP) {
    double mu = gaussian_mu(segments, count, options->relation);
    *ret_answer = wants_delta ? cns_gaussian_log_delta(mu, value) : cns_gaussian_epsilon(mu, value);
    return 0;
  }
  if (options->accountant == CNS_DP_RDP) {
    struct cns_rdp_rounds rounds = {segments, count, options->relation};
    struct cns_rdp_curve curve = {cns_rdp_of_rounds, &rounds};
    double upper;
    int r = cns_rdp_best(&curve, wants_delta, value, &upper, NULL);
    if (r == 0) *ret_answer = (struct cns_dp_interval){wants_delta ? -INFINITY : 0, upper};
    return r;
  }
  struct cns_pld_request request = {.segments = segments,
                                    .count = count,
                                    .relation = options->relation,
                                    .expected = expected,
                                    .tolerance = options->tolerance > 0 ? options->tolerance : TOLERANCE};
  struct cns_pld_question question = {wants_delta, value};
  return cns_pld_answer(&request, &question, ret_answer);
}

static int find_epsilon(const struct cns_dp_segment *segments, size_t count, double delta,
                        const struct cns_dp_options *options, double expected,
                        struct cns_dp_interval *ret_epsilon, struct cns_problem *problem) {
  struct cns_dp_options chosen = options ? *options : (struct cns_dp_options){0};
  struct cns_dp_interval epsilon;
  int r = check(segments, count, &chosen, problem);
  if (r == 0) r = cns_dp_check_delta(delta, problem);
  if (r < 0) return r;
  /* The logarithm rounds; downwards is the safe side. */
  double log_delta = log(delta);
  r = answer(segments, count, &chosen, false, expected, log_delta + 1e-15 * log_delta, &epsilon);
  if (r < 0) return cns_dp_fail(r, problem);
  if (!isfinite(epsilon.upper)) return cns_dp_fail(CNS_ERR_RANGE, problem);
  *ret_epsilon = epsilon;
  return 0;
}

int cns_dp_epsilon(const struct cns_dp_segment *segments, size_t count, double delta,
                   const struct cns_dp_options *options, struct cns_dp_interval *ret_epsilon,
                   struct cns_problem *problem) {
  return find_epsilon(segments, count, delta, options, 0, ret_epsilon, problem);
}

int cns_dp_epsilon_upper(const struct cns_dp_segment *segment, double delta,
                         const struct cns_dp_options *options, double expected,
                         struct cns_dp_interval *ret_epsilon, struct cns_problem *problem) {
  return find_epsilon(segment, 1, delta, options, expected, ret_epsilon, problem);
}

int cns_dp_delta(const struct cns_dp_segment *segments, size_t count, double epsilon,
                 const struct cns_dp_options *options, struct cns_dp_interval *ret_delta,
                 struct cns_problem *problem) {
  struct cns_dp_options chosen = options ? *options : (struct cns_dp_options){0};
  struct cns_dp_interval log_delta;
  int r = check(segments, count, &chosen, problem);
  if (r == 0) r = cns_dp_check_number(epsilon, 0, CNS_DP_EPSILON_MAX, "epsilon", problem);
  if (r < 0) return r;
  r = answer(segments, count, &chosen, true, 0, epsilon, &log_delta);
  if (r < 0) return cns_dp_fail(r, problem);
  /* Never 0: no noise of a finite width gives that. */
  *ret_delta = (struct cns_dp_interval){exp(log_delta.lower) * (1 - 1e-13),
                                        fmin(1, exp(log_delta.upper) * (1 + 1e-13) + 1e-300)};
  return 0;
}

int cns_dp_rdp(double noise_multiplier, double sampling_rate, double order, enum cns_dp_relation relation,
               double *ret_rdp, struct cns_problem *problem) {
  struct cns_dp_segment round = {noise_multiplier, sampling_rate, 1};
  int r = cns_dp_check_segment(&round, problem);
  if (r == 0) r = cns_dp_check_number(order, CNS_DP_ORDER_MIN, CNS_DP_ORDER_MAX, "order", problem);
  if (r < 0) return r;
  r = cns_rdp_round(&round, relation, order, ret_rdp);
  return r < 0 ? cns_dp_fail(r, problem) : 0;
}

int cns_dp_rdp_epsilon(double order, double rdp, double delta, double *ret_epsilon,
                       struct cns_problem *problem) {
  int r = cns_dp_check_number(order, CNS_DP_ORDER_MIN, CNS_DP_ORDER_MAX, "order", problem);
  if (r == 0) r = cns_dp_check_number(rdp, 0, 1e300, "divergence", problem);
  if (r == 0) r = cns_dp_check_delta(delta, problem);
  if (r < 0) return r;
  *ret_epsilon = cns_rdp_convert(order, rdp, log(delta));
  return 0;
}

int cns_dp_noise_arrived(double noise_multiplier, uint32_t shares, uint32_t missing, uint32_t colluders,
                         double *ret_noise_multiplier, struct cns_problem *problem) {
  int r =
      cns_dp_check_number(noise_multiplier, CNS_DP_NOISE_MIN, CNS_DP_NOISE_MAX, "noise multiplier", problem);
  if (r < 0) return r;
  if ((uint64_t)missing + colluders >= shares)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "of %u shares of noise %u are missing and %u are known: none is left that protects", shares, missing,
        colluders);
  *ret_noise_multiplier = noise_multiplier * sqrt((double)(shares - missing - colluders) / shares);
  return 0;
}

int cns_dp_mean_error(double noise_multiplier, double sampling_rate, double units, double dim, double clip,
                      double *ret_error, struct cns_problem *problem) {
  struct cns_dp_segment round = {noise_multiplier, sampling_rate, 1};
  int r = cns_dp_check_segment(&round, problem);
  if (r == 0) r = cns_dp_check_number(units, 1, 1e15, "number of units", problem);
  if (r == 0) r = cns_dp_check_number(dim, 1, 1e15, "number of coordinates", problem);
  if (r == 0) r = cns_dp_check_number(clip, 1e-30, 1e30, "clip norm", problem);
  if (r < 0) return r;
  *ret_error = noise_multiplier * clip * sqrt(dim) / (sampling_rate * units);
  return 0;
}
