/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/mechanism_attack.h"

#include <math.h>
#include <stdlib.h>

#include "dp/dp.h"
#include "model/statistics.h"

struct guess {
  double ratio;
  bool present;
};

/* Who is said to be present: ratio >= threshold. Rare is what the bound rests on, the
 * alarms or the all-clears. */
struct cut {
  double threshold;
  bool all_clears;
};

static int falling(const void *a, const void *b) {
  double x = ((const struct guess *)a)->ratio, y = ((const struct guess *)b)->ratio;
  return (x < y) - (x > y);
}

/* Score interval (Wilson 1927): quick, and only to choose by. */
static double roughly(double share, double n, double z, double sign) {
  double middle = share + z * z / (2 * n);
  double reach = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return fmax((middle + sign * reach) / (1 + z * z / n), 0);
}

static double rough_epsilon(double right, double wrong, double n, double z, double delta) {
  double gain = roughly(right / n, n, z, -1) - delta;
  return gain > 0 ? log(gain / roughly(wrong / n, n, z, 1)) : -INFINITY;
}

static struct cut choose(const struct guess *sorted, size_t count, double delta, double alpha) {
  double n = (double)count / 2, z = cns_statistics_student(1 - alpha / 2, 1e7), best = -INFINITY, right = 0,
         wrong = 0;
  struct cut cut = {.threshold = 0};
  for (size_t k = 0; k + 1 < count; k++) {
    right += sorted[k].present;
    wrong += !sorted[k].present;
    if (sorted[k].ratio == sorted[k + 1].ratio) continue;
    double alarms = rough_epsilon(right, wrong, n, z, delta);
    double clears = rough_epsilon(n - wrong, n - right, n, z, delta);
    if (fmax(alarms, clears) <= best) continue;
    best = fmax(alarms, clears);
    cut = (struct cut){sorted[k].ratio, clears > alarms};
  }
  return cut;
}

static size_t alarms_of(const double *ratios, size_t count, double threshold) {
  size_t alarms = 0;
  for (size_t k = 0; k < count; k++)
    alarms += ratios[k] >= threshold;
  return alarms;
}

int attack_epsilon(const double *without, const double *with, size_t games, double delta, double alpha,
                   double *ret_epsilon) {
  size_t first = games / 2, n = games - first;
  struct guess *guesses = calloc(2 * first, sizeof *guesses);
  if (!guesses) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < first; k++) {
    guesses[2 * k] = (struct guess){without[k], false};
    guesses[2 * k + 1] = (struct guess){with[k], true};
  }
  qsort(guesses, 2 * first, sizeof *guesses, falling);
  struct cut cut = choose(guesses, 2 * first, delta, alpha);
  free(guesses);
  size_t wrong = alarms_of(without + first, n, cut.threshold);
  size_t right = alarms_of(with + first, n, cut.threshold);
  if (cut.all_clears) {
    size_t missed = n - right;
    right = n - wrong;
    wrong = missed;
  }
  double gain = cns_statistics_proportion_low(right, n, alpha / 2) - delta;
  double most = cns_statistics_proportion_high(wrong, n, alpha / 2);
  *ret_epsilon = gain > most ? log(gain / most) : 0;
  return 0;
}

static int play_all(const struct attack_options *options, double *without, double *with,
                    struct cns_problem *problem) {
  struct game game;
  int r = game_init(&game, &options->game, problem);
  for (size_t k = 0; k < options->games && r == 0; k++) {
    r = game_play(&game, false, &without[k], problem);
    if (r == 0) r = game_play(&game, true, &with[k], problem);
  }
  game_deinit(&game);
  return r;
}

static int account(const struct attack_options *options, struct attack_result *result,
                   struct cns_problem *problem) {
  const struct cns_dp_segment rounds = {options->game.noise_multiplier, options->game.sampling_rate,
                                        options->game.rounds};
  struct cns_dp_interval epsilon, delta;
  int r = cns_dp_epsilon(&rounds, 1, options->delta, NULL, &epsilon, problem);
  if (r == 0) r = cns_dp_delta(&rounds, 1, 0, NULL, &delta, problem);
  if (r) return r;
  result->claimed = epsilon.upper;
  result->advantage_claimed = delta.upper;
  return 0;
}

/* Needs no choice: the likelihood ratio's best threshold is 1. */
static void find_advantage(const double *without, const double *with, size_t games,
                           struct attack_result *result) {
  size_t alarms = alarms_of(with, games, 0), errors = alarms_of(without, games, 0);
  double n = (double)games, right = (double)alarms / n, wrong = (double)errors / n;
  double reach = 1.96 * sqrt((right * (1 - right) + wrong * (1 - wrong)) / n);
  result->advantage = right - wrong;
  result->advantage_low = right - wrong - reach;
  result->advantage_high = right - wrong + reach;
  result->advantage_sure = cns_statistics_proportion_low(alarms, games, ATTACK_ALPHA_SURE / 2) -
                           cns_statistics_proportion_high(errors, games, ATTACK_ALPHA_SURE / 2);
}

int attack_mechanism(const struct attack_options *options, struct attack_result *ret_result,
                     struct cns_problem *problem) {
  size_t games = options->games;
  struct attack_result result = {0};
  if (games < 4) return cns_problem_set(problem, CNS_ERR_ARGUMENT, "too few games");
  double *ratios = calloc(2 * games, sizeof *ratios);
  if (!ratios) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  double *without = ratios, *with = ratios + games;
  int r = play_all(options, without, with, problem);
  if (r == 0) r = account(options, &result, problem);
  if (r == 0)
    r = attack_epsilon(without, with, games, options->delta, ATTACK_ALPHA - ATTACK_ALPHA_SURE,
                       &result.epsilon);
  if (r == 0)
    r = attack_epsilon(without, with, games, options->delta, ATTACK_ALPHA_SURE, &result.epsilon_sure);
  /* What is sure at the one is so at the other. */
  result.epsilon = fmax(result.epsilon, result.epsilon_sure);
  if (r == 0) find_advantage(without, with, games, &result);
  free(ratios);
  if (r == 0) *ret_result = result;
  return r;
}
