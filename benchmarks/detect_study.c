/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the detection finds in sketches of real updates, and how often it flags
 * hospitals that are only different: the tables of docs/detection.md.
 *
 *   detect_study [seeds] [rounds] [clip] [hospitals] [attackers] [sketch] [size_ratio] [rate]
 *               [STUDY.json TABLE.csv]
 *
 * Without files: the shipped breast-cancer study, from the repository's top.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "benchmarks/detect_world.h"
#include "crypto/json.h"

static struct cns_problem problem;

static void check(int result) {
  if (result >= 0) return;
  fprintf(stderr, "detect_study: %s (%s)\n", problem.text, cns_error_name(result));
  exit(1);
}

static const struct variant {
  const char *text, *spec; /* spec: with the number of attackers to come */
  bool keep_labels;
} variants[] = {
    {"alie", "alie:%zu", false},
    {"min-max", "min-max:%zu", false},
    {"min-sum", "min-sum:%zu", false},
    {"ipm", "ipm:%zu", false},
    {"mean-flip", "mean-flip:%zu", false},
    {"mimic", "mimic:%zu", false},
    {"scaling by 10", "model-replacement:%zu:scale=10", true},
    {"model-replacement", "model-replacement:%zu", false},
    {"label-flip", "label-flip:%zu", false},
    {"sign-flip", "sign-flip:%zu", false},
    {"gaussian", "gaussian:%zu", false},
};
static const double jitters[] = {0, 0.05, 0.1, 0.2};
#define COLLUDING 6 /* variants that send one vector */
#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

static void load(const char *study_path, const char *table_path, struct cns_plan *plan,
                 struct cns_table *table) {
  uint8_t *text;
  size_t len;
  check(cns_file_read(study_path, CNS_PLAN_BYTES_MAX, &text, &len, &problem));
  check(cns_plan_parse((const char *)text, len, study_path, plan, &problem));
  free(text);
  check(cns_table_read(plan, table_path, CNS_TABLE_TRAINING, table, NULL, &problem));
}

static double share(size_t part, size_t whole) {
  return whole ? (double)part / (double)whole : 0;
}

static void print_reasons(const size_t by[CNS_DETECT_STATISTIC_COUNT], size_t all) {
  for (int s = 0; s < CNS_DETECT_STATISTIC_COUNT; s++)
    if (by[s] > 0) printf(" %s %.3f", cns_detect_statistic_name(s), share(by[s], all));
  printf("\n");
}

static void run(const struct cns_plan *plan, const struct cns_table *table,
                struct detect_world_options options, uint64_t seeds, struct detect_world_counts *counts) {
  *counts = (struct detect_world_counts){0};
  for (options.seed = 1; options.seed <= seeds; options.seed++)
    check(detect_world_run(plan, table, &options, counts, &problem));
}

static void attack_free(const struct cns_plan *plan, const struct cns_table *table,
                        struct detect_world_options options, uint64_t seeds) {
  struct detect_world_counts counts;
  run(plan, table, options, seeds, &counts);
  printf("nobody attacks: flagged per hospital and round %.4f (first round %.4f); update norms %.3f, %.3f, "
         "%.3f\n ",
         share(counts.honest_flagged, counts.honest), share(counts.first_honest_flagged, counts.first_honest),
         counts.honest_norm[0] / (double)counts.rounds, counts.honest_norm[1] / (double)counts.rounds,
         counts.honest_norm[2] / (double)counts.rounds);
  print_reasons(counts.by[0], counts.honest);
}

static void one_attack(const struct cns_plan *plan, const struct cns_table *table,
                       struct detect_world_options options, uint64_t seeds, const struct variant *variant,
                       size_t attackers, double jitter) {
  struct detect_world_counts counts;
  struct cns_attack attack;
  char spec[CNS_ATTACK_SPEC_MAX];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(spec, sizeof spec, variant->spec, attackers);
#pragma GCC diagnostic pop
  check(cns_attack_parse(spec, &attack, &problem));
  attack.jitter = jitter;
  options.attack = &attack;
  options.keep_labels = variant->keep_labels;
  run(plan, table, options, seeds, &counts);
  printf("%-18s %-6.2f %.3f   %.3f  %.3f  ", variant->text, jitter,
         share(counts.attackers_flagged, counts.attackers),
         share(counts.attackers_ever_flagged, counts.attackers_ever),
         share(counts.honest_flagged, counts.honest));
  print_reasons(counts.by[1], counts.attackers);
}

/* A number from `least` on, or the usage and the end. */
static double argument_from(double least, int argc, char **argv, int index, double otherwise) {
  char *end = NULL;
  double value = argc > index ? strtod(argv[index], &end) : otherwise;
  if (value >= least && isfinite(value) && (!end || !*end)) return value;
  fprintf(stderr,
          "detect_study: \"%s\" is no number from %g on\n"
          "usage: detect_study [SEEDS [ROUNDS [CLIP [HOSPITALS [ATTACKERS [SKETCH [SIZE_RATIO [RATE\n"
          "                    [STUDY.json TABLE.csv]]]]]]]]]\n",
          argv[index], least);
  exit(2);
}

static double argument(int argc, char **argv, int index, double otherwise) {
  return argument_from(1e-9, argc, argv, index, otherwise);
}

int main(int argc, char **argv) {
  struct cns_plan plan;
  struct cns_table table;
  if (cns_init() != 0) return 1;
  load(argc > 10 ? argv[9] : "examples/breast-cancer/study.json",
       argc > 10 ? argv[10] : "examples/breast-cancer/wdbc.csv", &plan, &table);
  uint64_t seeds = (uint64_t)argument(argc, argv, 1, 5);
  size_t attackers = (size_t)argument_from(0, argc, argv, 5, 4);
  struct detect_world_options options = {.rounds = (uint32_t)argument(argc, argv, 2, 5),
                                         .clip = argument(argc, argv, 3, 0.5),
                                         .hospitals = (size_t)argument(argc, argv, 4, 20),
                                         .sketch = (uint32_t)argument(argc, argv, 6, 256),
                                         .size_ratio = argument(argc, argv, 7, 1),
                                         .history = true,
                                         .detect = cns_detect_options_default()};
  options.detect.rate = argument(argc, argv, 8, options.detect.rate);
  printf("%zu hospitals, %zu attack, %zu parameters, sketches of %u, clip %g, %u rounds, %llu seeds, sizes "
         "1:%g, rate %g\n",
         options.hospitals, attackers, plan.dim, options.sketch, options.clip, options.rounds,
         (unsigned long long)seeds, options.size_ratio, options.detect.rate);
  static const double alphas[] = {1e9, 1, 0.3};
  for (size_t a = 0; a < LENGTH_OF(alphas); a++) {
    options.alpha = alphas[a];
    printf("\n%s(%g)\n", a == 0 ? "iid: Dirichlet" : "Dirichlet", alphas[a]);
    attack_free(&plan, &table, options, seeds);
    printf("attack             jitter flagged ever   honest  by\n");
    for (size_t v = 0; attackers > 0 && v < LENGTH_OF(variants); v++)
      for (size_t j = 0; j < (v < COLLUDING ? LENGTH_OF(jitters) : 1); j++)
        one_attack(&plan, &table, options, seeds, &variants[v], attackers, jitters[j]);
  }
  cns_table_deinit(&table);
  cns_plan_deinit(&plan);
  return 0;
}
