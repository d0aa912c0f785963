/* SPDX-License-Identifier: Apache-2.0 */
/* The mechanism of unit patient from the attacker's side: it keeps what the accountant
 * says, and mechanisms that are broken on purpose are found out. A slice of
 * benchmarks/membership_study.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "benchmarks/mechanism_attack.h"
#include "model/statistics.h"

#define SEED 7
#define GAMES 4000
#define DELTA 0.01

static int setup(void **state) {
  return cns_init() == 0 ? 0 : -1;
}

static struct attack_result attack(const struct game_options *game) {
  struct cns_problem problem = {{0}};
  struct attack_options options = {.game = *game, .delta = DELTA, .games = GAMES};
  struct attack_result result;
  int r = attack_mechanism(&options, &result, &problem);
  if (r) print_error("%s: %s\n", game_flaw_name(game->flaw), problem.text);
  assert_int_equal(r, 0);
  return result;
}

static void explain(const struct game_options *game, const struct attack_result *result) {
  print_error("seed %d, %s, noise %g, rate %g, %u rounds: accounted %.4f, at least %.4f (%.4f at 1e-6), "
              "advantage %.4f to %.4f, accounted %.4f\n",
              SEED, game_flaw_name(game->flaw), game->noise_multiplier, game->sampling_rate, game->rounds,
              result->claimed, result->epsilon, result->epsilon_sure, result->advantage_low,
              result->advantage_high, result->advantage_claimed);
}

static void expect_kept(const struct game_options *game, double least_share) {
  struct attack_result result = attack(game);
  bool good = result.epsilon_sure <= result.claimed && result.epsilon >= least_share * result.claimed &&
              result.advantage_sure <= result.advantage_claimed &&
              result.advantage_high >= result.advantage_claimed / 2;
  if (!good) explain(game, &result);
  assert_true(good);
}

static void expect_caught(const struct game_options *game) {
  struct attack_result result = attack(game);
  if (!(result.epsilon_sure > result.claimed)) explain(game, &result);
  assert_true(result.epsilon_sure > result.claimed);
}

/* One round that everybody is in: the attacker comes near the accountant. */
static void one_round_costs_what_is_accounted(void **state) {
  expect_kept(
      &(struct game_options){.seed = SEED, .noise_multiplier = 1, .sampling_rate = 1, .rounds = 1, .rows = 1},
      1.0 / 3);
}

/* The same patients as below, where the mechanism is broken. */
static void sampled_rounds_cost_no_more(void **state) {
  expect_kept(&(struct game_options){.seed = SEED,
                                     .noise_multiplier = 1,
                                     .sampling_rate = 0.5,
                                     .rounds = 1,
                                     .others = 7,
                                     .opposed = true,
                                     .rows = 4},
              0);
  expect_kept(
      &(struct game_options){
          .seed = SEED, .noise_multiplier = 1, .sampling_rate = 0.25, .rounds = 2, .others = 3, .rows = 4},
      0);
}

static void half_the_noise_is_caught(void **state) {
  expect_caught(&(struct game_options){.seed = SEED,
                                       .flaw = GAME_HALF_NOISE,
                                       .noise_multiplier = 1,
                                       .sampling_rate = 1,
                                       .rounds = 1,
                                       .rows = 1});
}

static void batches_of_fixed_size_are_caught(void **state) {
  expect_caught(&(struct game_options){.seed = SEED,
                                       .flaw = GAME_FIXED_BATCH,
                                       .noise_multiplier = 1,
                                       .sampling_rate = 0.5,
                                       .rounds = 1,
                                       .others = 7,
                                       .opposed = true,
                                       .rows = 1});
}

static void clipping_of_rows_is_caught(void **state) {
  expect_caught(&(struct game_options){.seed = SEED,
                                       .flaw = GAME_ROWS_CLIPPED,
                                       .noise_multiplier = 1,
                                       .sampling_rate = 0.5,
                                       .rounds = 1,
                                       .others = 7,
                                       .rows = 4});
}

/* One vector of gradients and indicator, of one patient who moves both. */
static void an_adaptive_clip_norm_costs_what_is_accounted(void **state) {
  for (int k = 0; k < 2; k++)
    expect_kept(&(struct game_options){.seed = SEED,
                                       .noise_multiplier = 1,
                                       .sampling_rate = k ? 0.5 : 1,
                                       .rounds = k ? 2 : 1,
                                       .rows = 1,
                                       .indicator_share = 0.3},
                k ? 0 : 1.0 / 3);
}

static void an_indicator_that_is_not_counted_is_caught(void **state) {
  const struct game_options game = {.seed = SEED,
                                    .flaw = GAME_UNCOUNTED,
                                    .noise_multiplier = 1,
                                    .sampling_rate = 1,
                                    .rounds = 1,
                                    .rows = 1,
                                    .indicator_share = 0.5};
  struct attack_result result = attack(&game);
  if (!(result.advantage_sure > result.advantage_claimed)) explain(&game, &result);
  assert_true(result.advantage_sure > result.advantage_claimed);
}

/* One vector of gradients, loss, answers and, in the second one, an indicator. */
static void noised_metrics_cost_what_is_accounted(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++)
    expect_kept(&(struct game_options){.seed = SEED,
                                       .noise_multiplier = 1,
                                       .sampling_rate = k ? 0.5 : 1,
                                       .rounds = k ? 2 : 1,
                                       .rows = 1,
                                       .indicator_share = k ? 0.2 : 0,
                                       .metrics_share = 0.4},
                k ? 0 : 1.0 / 3);
}

static void metrics_that_are_not_counted_are_caught(void **state) {
  (void)state;
  const struct game_options game = {.seed = SEED,
                                    .flaw = GAME_UNCOUNTED,
                                    .noise_multiplier = 1,
                                    .sampling_rate = 1,
                                    .rounds = 1,
                                    .rows = 1,
                                    .metrics_share = 0.5};
  struct attack_result result = attack(&game);
  if (!(result.advantage_sure > result.advantage_claimed)) explain(&game, &result);
  assert_true(result.advantage_sure > result.advantage_claimed);
}

/* Randomised response tells the truth with probability e^epsilon/(1 + e^epsilon): the
 * bound is below epsilon, and near it after many games. */
static void bound_of_randomised_response(void **state) {
  const double epsilon = 2;
  size_t games = 100000;
  double *without = calloc(games, sizeof *without), *with = calloc(games, sizeof *with), found, sure;
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, SEED, "randomised response");
  assert_true(without && with);
  for (size_t k = 0; k < 2 * games; k++) {
    uint64_t draw;
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), UINT64_C(1) << 53, &draw), 0);
    bool truth = (double)draw < 0x1p53 / (1 + exp(-epsilon));
    if (k < games)
      without[k] = truth ? -epsilon : epsilon;
    else
      with[k - games] = truth ? epsilon : -epsilon;
  }
  assert_int_equal(attack_epsilon(without, with, games, 0, 0.05, &found), 0);
  assert_int_equal(attack_epsilon(without, with, games, 0, 1e-6, &sure), 0);
  free(without);
  free(with);
  if (!(found < epsilon && found > 1.9 && sure < found && sure > 1.85))
    print_error("seed %d: %.4f and %.4f of %.1f\n", SEED, found, sure, epsilon);
  assert_true(found < epsilon && found > 1.9 && sure < found && sure > 1.85);
}

/* Nobody who can't tell gets anything but 0. */
static void no_bound_out_of_nothing(void **state) {
  double same[1000], found;
  for (size_t k = 0; k < 1000; k++)
    same[k] = (double)(k * 7919 % 1000);
  assert_int_equal(attack_epsilon(same, same, 1000, 0, 0.05, &found), 0);
  assert_true(found == 0);
}

/* Tables of Student's t; Clopper and Pearson's bounds in closed form where nothing or all
 * came out, and for 5 of 10 from the beta distribution's published quantiles. */
static void statistics_are_those_of_the_tables(void **state) {
  assert_true(fabs(cns_statistics_student(0.975, 9) - 2.262157) < 1e-6);
  assert_true(fabs(cns_statistics_student(0.975, 1) - 12.706205) < 1e-6);
  assert_true(fabs(cns_statistics_student(0.975, 1e7) - 1.959964) < 1e-5);
  assert_true(fabs(cns_statistics_proportion_low(5, 10, 0.025) - 0.187086) < 1e-6);
  assert_true(fabs(cns_statistics_proportion_high(5, 10, 0.025) - 0.812914) < 1e-6);
  assert_true(fabs(cns_statistics_proportion_high(0, 5000, 5e-7) - (1 - pow(5e-7, 1.0 / 5000))) < 1e-12);
  assert_true(fabs(cns_statistics_proportion_low(5000, 5000, 5e-7) - pow(5e-7, 1.0 / 5000)) < 1e-12);
  assert_true(cns_statistics_proportion_low(0, 10, 0.05) == 0 &&
              cns_statistics_proportion_high(10, 10, 0.05) == 1);
  const double values[] = {1, 2, 3, 4};
  struct cns_statistics_interval mean = cns_statistics_mean(values, 4); /* 2.5 +- 3.182446 * sqrt(5/3)/2 */
  assert_true(fabs(mean.mean - 2.5) < 1e-12 && fabs(mean.high - 2.5 - 2.054260) < 1e-5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_round_costs_what_is_accounted),
      cmocka_unit_test(sampled_rounds_cost_no_more),
      cmocka_unit_test(half_the_noise_is_caught),
      cmocka_unit_test(batches_of_fixed_size_are_caught),
      cmocka_unit_test(clipping_of_rows_is_caught),
      cmocka_unit_test(an_adaptive_clip_norm_costs_what_is_accounted),
      cmocka_unit_test(an_indicator_that_is_not_counted_is_caught),
      cmocka_unit_test(noised_metrics_cost_what_is_accounted),
      cmocka_unit_test(metrics_that_are_not_counted_are_caught),
      cmocka_unit_test(bound_of_randomised_response),
      cmocka_unit_test(no_bound_out_of_nothing),
      cmocka_unit_test(statistics_are_those_of_the_tables),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
