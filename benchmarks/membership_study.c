/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What noise does against somebody who wants to know whether a patient is in the data:
 * the tables of docs/privacy.md, "What noise does against such attacks, measured".
 *
 *   membership_study [all|sound|broken|models] [--games N] [--seeds N] [--seed SEED]
 *
 * sound: the mechanism as it is, attacked from the worst position (mechanism_game.h): what
 * it costs at least, against what the accountant says it costs at most. broken: the same
 * with a flaw, which has to be found out. models: losses of trained models. Exit code 0 if
 * what the lines with PASS say holds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/dp_world.h"
#include "benchmarks/mechanism_attack.h"
#include "benchmarks/membership_models.h"
#include "dp/dp.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])
/* Rounds of a game that stands for a whole study: fewer games for the same time. */
#define LONG_SHARE 4
#define SEEDS_MAX 100

struct study {
  uint64_t seed;
  size_t games, seeds;
};

struct row {
  enum game_flaw flaw;
  double noise_multiplier; /* 0: what epsilon at delta takes for these rounds */
  double epsilon, sampling_rate, delta;
  uint32_t rounds;
  size_t others;
  bool opposed;
  size_t rows;
};

static int judge(bool good, const char *text) {
  printf("%s  %s\n", good ? "PASS" : "FAIL", text);
  return good ? 0 : 1;
}

static double noise_of(const struct row *row) {
  struct cns_problem problem = {{0}};
  struct cns_dp_calibration found;
  if (row->noise_multiplier > 0) return row->noise_multiplier;
  dp_world_check(
      cns_dp_calibrate(row->epsilon, row->delta, row->sampling_rate, row->rounds, NULL, &found, &problem),
      &problem);
  return found.noise_multiplier;
}

static struct attack_result attack(const struct study *study, const struct row *row) {
  struct cns_problem problem = {{0}};
  struct attack_result result;
  struct attack_options options = {.game = {.seed = study->seed,
                                            .flaw = row->flaw,
                                            .noise_multiplier = noise_of(row),
                                            .sampling_rate = row->sampling_rate,
                                            .rounds = row->rounds,
                                            .others = row->others,
                                            .opposed = row->opposed,
                                            .rows = row->rows},
                                   .delta = row->delta,
                                   .games = row->rounds > 5 ? study->games / LONG_SHARE : study->games};
  dp_world_check(attack_mechanism(&options, &result, &problem), &problem);
  printf("%7.4f %5g %3u %6g %8zu  %.3f    %.3f  %.3f   %.3f (%.3f to %.3f)  %.3f    ",
         options.game.noise_multiplier, row->sampling_rate, row->rounds, row->delta, options.games,
         result.claimed, result.epsilon, result.epsilon_sure, result.advantage, result.advantage_low,
         result.advantage_high, result.advantage_claimed);
  return result;
}

static void heading(const char *title) {
  printf(
      "\n%s\n      z     q   T  delta    games  claimed  least  surely  advantage (95 %%)        at most\n",
      title);
}

static int show_sound(const struct study *study) {
  static const struct row rows[] = {
      {.noise_multiplier = 1, .sampling_rate = 1, .delta = 1e-2, .rounds = 1, .rows = 1},
      {.noise_multiplier = 1, .sampling_rate = 1, .delta = 1e-4, .rounds = 1, .rows = 1},
      {.noise_multiplier = 2, .sampling_rate = 1, .delta = 1e-2, .rounds = 1, .rows = 1},
      {.noise_multiplier = 1, .sampling_rate = 0.5, .delta = 1e-2, .rounds = 1, .others = 7, .rows = 4},
      {.noise_multiplier = 1,
       .sampling_rate = 0.5,
       .delta = 1e-2,
       .rounds = 1,
       .others = 7,
       .opposed = true,
       .rows = 4},
      {.noise_multiplier = 1, .sampling_rate = 0.25, .delta = 1e-2, .rounds = 4, .others = 3, .rows = 1},
      {.epsilon = 3,
       .sampling_rate = CNS_DEMO_RATE,
       .delta = CNS_DEMO_DELTA,
       .rounds = CNS_DEMO_ROUNDS_PRIVATE,
       .rows = 1},
      {.epsilon = 0.5,
       .sampling_rate = CNS_DEMO_RATE,
       .delta = CNS_DEMO_DELTA,
       .rounds = CNS_DEMO_ROUNDS_PRIVATE,
       .rows = 1},
  };
  int failed = 0;
  heading("The mechanism as it is: epsilon as accounted, and as shown at least");
  for (size_t k = 0; k < LENGTH_OF(rows); k++) {
    struct attack_result result = attack(study, &rows[k]);
    bool alone = rows[k].rounds == 1 && rows[k].sampling_rate >= 1;
    failed +=
        judge(result.epsilon_sure <= result.claimed && result.advantage_sure <= result.advantage_claimed &&
                  (!alone || result.epsilon >= result.claimed / 3),
              alone ? "not above, and at least a third" : "not above");
  }
  return failed;
}

static int show_broken(const struct study *study) {
  static const struct row rows[] = {
      {.flaw = GAME_HALF_NOISE,
       .noise_multiplier = 1,
       .sampling_rate = 1,
       .delta = 1e-2,
       .rounds = 1,
       .rows = 1},
      {.flaw = GAME_FIXED_BATCH,
       .noise_multiplier = 1,
       .sampling_rate = 0.5,
       .delta = 1e-2,
       .rounds = 1,
       .others = 7,
       .opposed = true,
       .rows = 1},
      {.flaw = GAME_EVERYBODY,
       .noise_multiplier = 1,
       .sampling_rate = 0.25,
       .delta = 1e-2,
       .rounds = 1,
       .others = 3,
       .rows = 1},
      {.flaw = GAME_NOISE_OF_MEAN,
       .noise_multiplier = 1,
       .sampling_rate = 0.5,
       .delta = 1e-2,
       .rounds = 1,
       .others = 7,
       .rows = 1},
      {.flaw = GAME_DIVIDED,
       .noise_multiplier = 1,
       .sampling_rate = 0.5,
       .delta = 1e-2,
       .rounds = 1,
       .others = 15,
       .opposed = true,
       .rows = 1},
      {.flaw = GAME_ROWS_CLIPPED,
       .noise_multiplier = 1,
       .sampling_rate = 0.5,
       .delta = 1e-2,
       .rounds = 1,
       .others = 7,
       .rows = 4},
  };
  int failed = 0;
  heading("The mechanism with a flaw, accounted as if there were none");
  for (size_t k = 0; k < LENGTH_OF(rows); k++) {
    struct attack_result result = attack(study, &rows[k]);
    failed += judge(result.epsilon_sure > result.claimed, game_flaw_name(rows[k].flaw));
  }
  return failed;
}

/* The most that the budget allows: delta at epsilon 0 of the whole study. */
static double advantage_of(double epsilon) {
  struct cns_problem problem = {{0}};
  struct row row = {.epsilon = epsilon,
                    .sampling_rate = CNS_DEMO_RATE,
                    .delta = CNS_DEMO_DELTA,
                    .rounds = CNS_DEMO_ROUNDS_PRIVATE};
  struct cns_dp_segment rounds = {noise_of(&row), row.sampling_rate, row.rounds};
  struct cns_dp_interval delta;
  dp_world_check(cns_dp_delta(&rounds, 1, 0, NULL, &delta, &problem), &problem);
  return delta.upper;
}

static void print_interval(const double *values, size_t count) {
  struct cns_statistics_interval mean = cns_statistics_mean(values, count);
  printf("%+.3f (%+.3f to %+.3f)  ", mean.mean, mean.low, mean.high);
}

#define TRAININGS 5
#define WITH_BUDGET 3 /* the first of them */

static int show_models(const struct study *study) {
  static const struct membership_training trainings[TRAININGS] = {
      {.times = 20},
      {.times = 1},
      {.epsilon = 3, .noise_multiplier = CNS_DP_NOISE_MIN},
      {.epsilon = 3},
      {.epsilon = 0.5}};
  static const char *const names[TRAININGS] = {"no noise, 20 times as long", "no noise",
                                               "DP-SGD, hardly any noise", "epsilon 3", "epsilon 0.5"};
  static double advantage[TRAININGS][2][SEEDS_MAX], auc[SEEDS_MAX];
  int failed = 0;
  printf("\nTrained models, %zu splits: telling members by their loss; %d patients of the training data\n"
         "and as many held out have a wrong label. Advantage with 95 %%\n"
         "%-27s ordinary patients         mislabelled patients       at most  test AUC\n",
         study->seeds, MEMBERSHIP_MISLABELLED, "");
  for (size_t t = 0; t < TRAININGS; t++) {
    struct membership_result result = {advantage[t][0], advantage[t][1], auc};
    membership_models(&trainings[t], study->seed, study->seeds, &result);
    double most = t >= WITH_BUDGET ? advantage_of(trainings[t].epsilon) : 1;
    printf("%-27s ", names[t]);
    print_interval(result.ordinary, study->seeds);
    print_interval(result.mislabelled, study->seeds);
    printf("%.3f    %.4f\n", most, cns_statistics_mean(auc, study->seeds).mean);
    bool within = cns_statistics_mean(result.ordinary, study->seeds).low <= most &&
                  cns_statistics_mean(result.mislabelled, study->seeds).low <= most;
    if (t >= WITH_BUDGET) failed += judge(within, "not above what the budget allows");
  }
  for (size_t t = WITH_BUDGET; t < TRAININGS; t++)
    for (size_t without = 0; without < WITH_BUDGET; without++) {
      struct cns_statistics_interval less =
          cns_statistics_difference(advantage[without][1], advantage[t][1], study->seeds);
      printf("mislabelled: \"%s\" less \"%s\": %+.3f (%+.3f to %+.3f)\n", names[without], names[t], less.mean,
             less.low, less.high);
      if (without == 0) failed += judge(less.low > 0, "the interval is above 0");
    }
  return failed;
}

static _Noreturn void usage(void) {
  fprintf(stderr,
          "usage: membership_study [all|sound|broken|models] [--games N] [--seeds N] [--seed SEED]\n");
  exit(2);
}

/* low..high */
static size_t number(const char *text, size_t low, size_t high) {
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  if (*end != '\0' || value < low || value > high) usage();
  return (size_t)value;
}

static void parse(int argc, char **argv, int from, struct study *study) {
  for (int k = from; k < argc; k += 2) {
    if (k + 1 == argc) usage();
    if (strcmp(argv[k], "--games") == 0)
      study->games = number(argv[k + 1], 1000, 10000000);
    else if (strcmp(argv[k], "--seeds") == 0)
      study->seeds = number(argv[k + 1], 2, SEEDS_MAX);
    else if (strcmp(argv[k], "--seed") == 0)
      study->seed = number(argv[k + 1], 1, 1000000);
    else
      usage();
  }
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*show)(const struct study *study);
  } parts[] = {{"sound", show_sound}, {"broken", show_broken}, {"models", show_models}};
  struct study study = {.seed = 1, .games = 20000, .seeds = 20};
  bool named = argc > 1 && argv[1][0] != '-';
  const char *wanted = named ? argv[1] : "all";
  bool known = strcmp(wanted, "all") == 0;
  int failed = 0;
  for (size_t p = 0; p < LENGTH_OF(parts); p++)
    known |= strcmp(wanted, parts[p].name) == 0;
  if (!known) usage();
  parse(argc, argv, named ? 2 : 1, &study);
  if (cns_init() != 0) return 1;
  printf("seed %llu; least and surely: the true epsilon is below it with probability at most 5 %% and 1e-6\n",
         (unsigned long long)study.seed);
  for (size_t p = 0; p < LENGTH_OF(parts); p++)
    if (strcmp(wanted, "all") == 0 || strcmp(wanted, parts[p].name) == 0) failed += parts[p].show(&study);
  return failed ? 1 : 0;
}
