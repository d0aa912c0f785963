/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a privacy budget costs in accuracy, and what sharing the noise saves: the demo's
 * federation with the patient as the unit (each hospital adds its share of the noise)
 * against DP-SGD by one party that has all the data, against hospitals that each add all
 * of the noise by themselves, and against each hospital alone; the same guarantee for
 * each patient everywhere. Paired over the seeds of the split.
 *
 * The shares suffice when a hospital is missing and one colludes: when neither is so, the
 * sum has more noise than one party would add. "Central, as noisy" is one party with just
 * as much.
 *
 *   dp_study [--seeds N] [--first SEED] [--draws N] [--epsilon E]...
 *
 * draws: trainings for each seed and way, with different samples and noise, of which the
 * mean counts. Exit code 0 if what the lines at the end say holds.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/dp_world.h"
#include "model/statistics.h"

#define SEEDS_MAX 1000
#define EPSILONS_MAX 16
/* Differences of an AUC below it don't matter. */
#define EQUAL 0.005

enum way { FEDERATED, CENTRAL, AS_NOISY, OWN_NOISE, ALONE, WAYS };
static const char *const way_names[WAYS] = {"federated", "central", "central, as noisy", "own noise at each",
                                            "each alone"};
/* Shares in the sum, over those that suffice. */
#define SURPLUS ((double)DP_WORLD_HOSPITALS / (DP_WORLD_HOSPITALS - 1 - DP_WORLD_COLLUDERS))

struct study {
  size_t seeds, draws, epsilon_count;
  uint64_t first;
  double epsilon[EPSILONS_MAX];
  double auc[WAYS][SEEDS_MAX];
  double noise_multiplier;
};

static void draw(const struct cns_demo_parts *parts, uint64_t seed, float *params, double auc[WAYS]) {
  const struct cns_table *tables[DP_WORLD_HOSPITALS];
  for (size_t h = 0; h < DP_WORLD_HOSPITALS; h++)
    tables[h] = &parts->hospitals[h].train;
  dp_world_federated(parts, seed, params);
  auc[FEDERATED] += dp_world_auc(parts, params);
  dp_world_central(parts, tables, DP_WORLD_HOSPITALS, 1, seed, params);
  auc[CENTRAL] += dp_world_auc(parts, params);
  dp_world_central(parts, tables, DP_WORLD_HOSPITALS, sqrt(SURPLUS), seed, params);
  auc[AS_NOISY] += dp_world_auc(parts, params);
  dp_world_central(parts, tables, DP_WORLD_HOSPITALS, sqrt(DP_WORLD_HOSPITALS), seed, params);
  auc[OWN_NOISE] += dp_world_auc(parts, params);
  for (size_t h = 0; h < DP_WORLD_HOSPITALS; h++) {
    dp_world_central(parts, &tables[h], 1, 1, seed, params);
    auc[ALONE] += dp_world_auc(parts, params) / DP_WORLD_HOSPITALS;
  }
}

static void one_seed(struct study *study, size_t index, double epsilon) {
  struct cns_demo_parts parts;
  uint64_t seed = study->first + index;
  double auc[WAYS] = {0};
  dp_world_open(seed, epsilon, &parts);
  float *params = dp_world_need(calloc(parts.plan.dim, sizeof *params));
  for (size_t d = 0; d < study->draws; d++)
    draw(&parts, seed * 1000 + d, params, auc);
  for (int w = 0; w < WAYS; w++)
    study->auc[w][index] = auc[w] / (double)study->draws;
  study->noise_multiplier = parts.plan.noise_multiplier;
  free(params);
  cns_demo_parts_deinit(&parts);
}

static bool say(bool good, const char *sentence) {
  printf("%s: %s\n", good ? "PASS" : "FAIL", sentence);
  return good;
}

static bool is_equal(struct cns_statistics_interval difference) {
  return (difference.low <= 0 && difference.high >= 0) || fabs(difference.mean) < EQUAL;
}

static bool judge(const struct study *study) {
  const double *federated = study->auc[FEDERATED];
  struct cns_statistics_interval central =
      cns_statistics_difference(federated, study->auc[CENTRAL], study->seeds);
  struct cns_statistics_interval noisy =
      cns_statistics_difference(federated, study->auc[AS_NOISY], study->seeds);
  struct cns_statistics_interval own =
      cns_statistics_difference(federated, study->auc[OWN_NOISE], study->seeds);
  bool good =
      say(is_equal(central), "federated and central: the interval holds 0, or the difference is below 0.005");
  good &= say(is_equal(noisy), "federated and central, as noisy: the same");
  return say(own.low > 0, "federated and own noise at each: the interval is above 0") && good;
}

static bool one_epsilon(struct study *study, double epsilon) {
  for (size_t k = 0; k < study->seeds; k++)
    one_seed(study, k, epsilon);
  printf("\nepsilon %g, delta %g: noise multiplier %.4f, rate %g, %d steps\n", epsilon, CNS_DEMO_DELTA,
         study->noise_multiplier, CNS_DEMO_RATE, CNS_DEMO_ROUNDS_PRIVATE);
  printf("%-17s  test AUC (95 %%)             federated less this (95 %%)\n", "");
  for (int w = 0; w < WAYS; w++) {
    struct cns_statistics_interval mean = cns_statistics_mean(study->auc[w], study->seeds);
    struct cns_statistics_interval less =
        cns_statistics_difference(study->auc[FEDERATED], study->auc[w], study->seeds);
    printf("%-17s  %.4f (%.4f to %.4f)", way_names[w], mean.mean, mean.low, mean.high);
    if (w != FEDERATED) printf("    %+.4f (%+.4f to %+.4f)", less.mean, less.low, less.high);
    printf("\n");
  }
  return judge(study);
}

static _Noreturn void usage(void) {
  fprintf(stderr, "usage: dp_study [--seeds N] [--first SEED] [--draws N] [--epsilon E]...\n");
  exit(2);
}

/* 1..most */
static uint64_t number(const char *text, uint64_t most) {
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  if (*end != '\0' || value < 1 || value > most) usage();
  return value;
}

static void parse(int argc, char **argv, struct study *study) {
  for (int k = 1; k < argc; k += 2) {
    if (k + 1 == argc) usage();
    if (strcmp(argv[k], "--seeds") == 0)
      study->seeds = (size_t)number(argv[k + 1], SEEDS_MAX);
    else if (strcmp(argv[k], "--first") == 0)
      study->first = number(argv[k + 1], 1000000);
    else if (strcmp(argv[k], "--draws") == 0)
      study->draws = (size_t)number(argv[k + 1], 999);
    else if (strcmp(argv[k], "--epsilon") == 0 && study->epsilon_count < EPSILONS_MAX)
      study->epsilon[study->epsilon_count++] = strtod(argv[k + 1], NULL);
    else
      usage();
  }
  if (study->seeds < 2) usage();
  if (study->epsilon_count > 0) return;
  study->epsilon[study->epsilon_count++] = 0.5;
  study->epsilon[study->epsilon_count++] = 3;
}

int main(int argc, char **argv) {
  static struct study study = {.seeds = 10, .first = 1, .draws = 4};
  parse(argc, argv, &study);
  if (cns_init() != 0) return 1;
  printf("%d hospitals, the shipped table; %zu splits (seeds %llu to %llu), %zu trainings each\n",
         DP_WORLD_HOSPITALS, study.seeds, (unsigned long long)study.first,
         (unsigned long long)(study.first + study.seeds - 1), study.draws);
  bool good = true;
  for (size_t e = 0; e < study.epsilon_count; e++)
    good &= one_epsilon(&study, study.epsilon[e]);
  return good ? 0 : 1;
}
