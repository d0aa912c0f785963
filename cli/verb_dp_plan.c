/* SPDX-License-Identifier: Apache-2.0 */
/* consilium dp plan: epsilon against rounds for several noise levels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/verb_dp.h"

#define VERB "dp plan"
#define POINTS_MAX 41

struct plan {
  struct cns_dp_call call;
  struct cns_dp_options options;
  struct cns_option_list noise_texts;
  double noises[CNS_OPTION_LIST_MAX], errors[CNS_OPTION_LIST_MAX];
  double rounds[POINTS_MAX];
  size_t noise_count, round_count;
  double *epsilons; /* noise_count rows of round_count */
  double units, dim, clip;
  const char *plot;
};

static int parse_noises(struct plan *plan) {
  static const double usual[] = {0.5, 1, 2, 4};
  for (size_t i = 0; i < plan->noise_texts.count; i++) {
    char *end = NULL;
    const char *text = plan->noise_texts.items[i];
    double noise = strtod(text, &end);
    if (!*text || *end || !(noise >= CNS_DP_NOISE_MIN && noise <= CNS_DP_NOISE_MAX))
      return cns_cli_usage_error(VERB, "--noise-multiplier must be a number from %g to %g, not \"%.40s\"",
                                 CNS_DP_NOISE_MIN, CNS_DP_NOISE_MAX, text);
    plan->noises[plan->noise_count++] = noise;
  }
  for (size_t i = 0; plan->noise_texts.count == 0 && i < sizeof usual / sizeof usual[0]; i++)
    plan->noises[plan->noise_count++] = usual[i];
  return 0;
}

/* 1, 2, 5, 10, ... and the last. */
static void choose_rounds(struct plan *plan) {
  static const double steps[] = {1, 2, 5};
  double last = (double)plan->call.rounds;
  for (double decade = 1; decade < last; decade *= 10)
    for (size_t i = 0; i < 3 && steps[i] * decade < last; i++)
      plan->rounds[plan->round_count++] = steps[i] * decade;
  plan->rounds[plan->round_count++] = last;
}

static int compute(struct plan *plan, struct cns_problem *problem) {
  plan->epsilons = calloc(plan->noise_count * plan->round_count, sizeof *plan->epsilons);
  if (!plan->epsilons) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < plan->noise_count; i++) {
    int r = cns_dp_mean_error(plan->noises[i], plan->call.rate, plan->units, plan->dim, plan->clip,
                              &plan->errors[i], problem);
    if (r < 0) return r;
    for (size_t k = 0; k < plan->round_count; k++) {
      struct cns_dp_segment segment = {plan->noises[i], plan->call.rate, (uint64_t)plan->rounds[k]};
      struct cns_dp_interval epsilon;
      r = cns_dp_epsilon(&segment, 1, plan->call.delta, &plan->options, &epsilon, problem);
      if (r < 0) return r;
      plan->epsilons[i * plan->round_count + k] = epsilon.upper;
    }
  }
  return 0;
}

static int print_json(const struct plan *plan, double seconds) {
  cJSON *object = cJSON_CreateObject();
  cJSON_AddNumberToObject(object, "delta", plan->call.delta);
  cJSON_AddNumberToObject(object, "sampling_rate", plan->call.rate);
  cJSON_AddStringToObject(object, "accountant", cns_dp_accountant_name(plan->options.accountant));
  cJSON_AddNumberToObject(object, "units", plan->units);
  cJSON_AddNumberToObject(object, "dim", plan->dim);
  cJSON_AddNumberToObject(object, "clip", plan->clip);
  cJSON_AddItemToObject(object, "rounds", cJSON_CreateDoubleArray(plan->rounds, (int)plan->round_count));
  cJSON *levels = cJSON_AddArrayToObject(object, "levels");
  for (size_t i = 0; i < plan->noise_count; i++) {
    cJSON *level = cJSON_CreateObject();
    cJSON_AddNumberToObject(level, "noise_multiplier", plan->noises[i]);
    cJSON_AddNumberToObject(level, "mean_error", plan->errors[i]);
    cJSON_AddItemToObject(
        level, "epsilon",
        cJSON_CreateDoubleArray(plan->epsilons + i * plan->round_count, (int)plan->round_count));
    cJSON_AddItemToArray(levels, level);
  }
  cJSON_AddNumberToObject(object, "seconds", seconds);
  return cns_cli_print_json(object);
}

static int print_table(const struct plan *plan) {
  printf(
      "Epsilon at delta %g, sampling rate %g, by %s; mean error: %g units, %g coordinates, clip norm %g\n\n",
      plan->call.delta, plan->call.rate, cns_dp_accountant_name(plan->options.accountant), plan->units,
      plan->dim, plan->clip);
  printf("%-18s", "noise multiplier");
  for (size_t i = 0; i < plan->noise_count; i++)
    printf(" %10.4g", plan->noises[i]);
  printf("\n%-18s", "error of the mean");
  for (size_t i = 0; i < plan->noise_count; i++)
    printf(" %10.4g", plan->errors[i]);
  printf("\n");
  for (size_t k = 0; k < plan->round_count; k++) {
    printf("%9.0f %-8s", plan->rounds[k], k == 0 ? "round" : "rounds");
    for (size_t i = 0; i < plan->noise_count; i++)
      printf(" %10.4g", plan->epsilons[i * plan->round_count + k] * (1 + 5e-4)); /* rounded up */
    printf("\n");
  }
  return cns_cli_finish(CNS_EXIT_OK);
}

static int draw(const struct plan *plan) {
  struct cns_problem problem = {0};
  const struct cns_dp_plot plot = {.noises = plan->noises,
                                   .rounds = plan->rounds,
                                   .noise_count = plan->noise_count,
                                   .round_count = plan->round_count,
                                   .epsilons = plan->epsilons,
                                   .delta = plan->call.delta,
                                   .rate = plan->call.rate};
  int r = cns_dp_plot_write(&plot, plan->plot, &problem);
  if (r < 0) return cns_cli_fail(r, &problem);
  fprintf(plan->call.json ? stderr : cns_cli_beside(plan->plot), "\nThe plot is in %s.\n", plan->plot);
  return 0;
}

static int run(struct plan *plan) {
  struct cns_problem problem = {0};
  double start = cns_dp_call_seconds();
  int r = compute(plan, &problem);
  int code = r < 0             ? cns_dp_call_fail(VERB, r, &problem)
             : plan->call.json ? print_json(plan, cns_dp_call_seconds() - start)
                               : print_table(plan);
  if (code == CNS_EXIT_OK && plan->plot) code = draw(plan);
  free(plan->epsilons);
  return code;
}

int cns_cli_dp_plan(int argc, char **argv) {
  struct plan plan = {.call = {.delta = 1e-5, .rate = 1, .rounds = 1000}, .units = 100, .dim = 1, .clip = 1};
  const struct cns_option table[] = {
      {"noise-multiplier", "S", "a noise level; may be repeated, default 0.5, 1, 2 and 4", CNS_OPTION_LIST,
       &plan.noise_texts, 0, 0},
      {"sampling-rate", "Q", "probability that a unit takes part in a round, default 1", CNS_OPTION_NUMBER,
       &plan.call.rate, CNS_DP_RATE_MIN, 1},
      {"rounds", "T", "up to so many, default 1000", CNS_OPTION_INT, &plan.call.rounds, 1, CNS_DP_ROUNDS_MAX},
      {"delta", "D", "default 1e-5", CNS_OPTION_NUMBER, &plan.call.delta, CNS_DP_DELTA_MIN, 1 - 1e-12},
      {"units", "N", "units whose mean is released, default 100", CNS_OPTION_NUMBER, &plan.units, 1, 1e15},
      {"dim", "D", "coordinates of the mean, default 1", CNS_OPTION_NUMBER, &plan.dim, 1, 1e15},
      {"clip", "C", "clip norm, default 1", CNS_OPTION_NUMBER, &plan.clip, 1e-30, 1e30},
      CNS_DP_OPTION_ACCOUNTANT(plan.call),
      CNS_DP_OPTION_RELATION(plan.call),
      {"plot", "FILE.svg", "draw it, with gnuplot", CNS_OPTION_TEXT, &plan.plot, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &plan.call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "dp plan [--noise-multiplier S]... [--sampling-rate Q] [--rounds T] [--delta D] [--units N] [--dim D] "
      "[--clip C] [--accountant pld|rdp|gdp] [--relation add-remove|replace-one] [--plot FILE.svg] [--json]",
      "A table of epsilon (upper bounds) against rounds for several noise levels, with the root of\n"
      "the expected squared error that the noise adds to a mean.",
      table, 0, 0};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  int code = parse_noises(&plan);
  if (!code) code = cns_dp_call_options(VERB, &plan.call, &plan.options);
  if (code) return code;
  choose_rounds(&plan);
  return run(&plan);
}
