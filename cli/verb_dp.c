/* SPDX-License-Identifier: Apache-2.0 */
/* consilium dp: the privacy accountant. */
#include "cli/verb_dp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double cns_dp_call_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int cns_dp_call_options(const char *verb, const struct cns_dp_call *call,
                        struct cns_dp_options *ret_options) {
  struct cns_dp_options options = {0};
  if (call->accountant && !cns_dp_accountant_find(call->accountant, &options.accountant))
    return cns_cli_usage_error(verb, "--accountant %.40s: it must be pld, rdp or gdp", call->accountant);
  if (call->relation && strcmp(call->relation, "replace-one") == 0)
    options.relation = CNS_DP_REPLACE_ONE;
  else if (call->relation && strcmp(call->relation, "add-remove") != 0)
    return cns_cli_usage_error(verb, "--relation %.40s: it must be add-remove or replace-one",
                               call->relation);
  *ret_options = options;
  return 0;
}

int cns_dp_call_fail(const char *verb, int error, const struct cns_problem *problem) {
  if (error == CNS_ERR_RANGE || error == CNS_ERR_UNSUPPORTED)
    return cns_cli_usage_error(verb, "%s", problem->text);
  return cns_cli_fail(error, problem);
}

/* One number of "S,Q,T"; moves *text behind it and a comma. */
static bool parse_number(const char **text, bool last, double *ret_value) {
  char *end = NULL;
  double value = strtod(*text, &end);
  if (end == *text || !isfinite(value) || *end != (last ? '\0' : ',')) return false;
  *text = end + !last;
  *ret_value = value;
  return true;
}

static int parse_segment(const char *verb, const char *text, struct cns_dp_segment *ret_segment) {
  const char *at = text;
  double noise, rate, rounds;
  if (!parse_number(&at, false, &noise) || !parse_number(&at, false, &rate) ||
      !parse_number(&at, true, &rounds))
    return cns_cli_usage_error(
        verb, "--segment %.60s: write noise multiplier, sampling rate and rounds, for example 1.1,0.01,1000",
        text);
  if (!(rounds >= 1 && rounds <= CNS_DP_ROUNDS_MAX && rounds == floor(rounds)))
    return cns_cli_usage_error(verb, "--segment %.60s: the rounds must be a whole number from 1 to %d", text,
                               CNS_DP_ROUNDS_MAX);
  *ret_segment = (struct cns_dp_segment){noise, rate, (uint64_t)rounds};
  return 0;
}

struct segments {
  struct cns_dp_segment items[CNS_OPTION_LIST_MAX + 1];
  size_t count;
};

/* Segments from --segment, or the one of the other options, or both. 0 or an exit code. */
static int make_segments(const char *verb, const struct cns_dp_call *call, const struct cns_option_list *list,
                         struct segments *segments) {
  bool single = call->noise > 0 || call->rounds > 0;
  if (single && !(call->noise > 0)) return cns_cli_usage_error(verb, "--noise-multiplier S is missing");
  if (single && call->rounds == 0) return cns_cli_usage_error(verb, "--rounds T is missing");
  if (!single && list->count == 0)
    return cns_cli_usage_error(verb, "give --noise-multiplier S and --rounds T, or --segment S,Q,T");
  if (!single && call->rate > 0)
    return cns_cli_usage_error(verb, "--sampling-rate goes with --noise-multiplier; a segment has its own");
  if (single)
    segments->items[segments->count++] =
        (struct cns_dp_segment){call->noise, call->rate > 0 ? call->rate : 1, (uint64_t)call->rounds};
  for (size_t i = 0; i < list->count; i++) {
    int code = parse_segment(verb, list->items[i], &segments->items[segments->count++]);
    if (code) return code;
  }
  return 0;
}

static void add_segments(cJSON *object, const struct segments *segments) {
  cJSON *array = cJSON_AddArrayToObject(object, "segments");
  for (size_t i = 0; i < segments->count; i++) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddNumberToObject(one, "noise_multiplier", segments->items[i].noise_multiplier);
    cJSON_AddNumberToObject(one, "sampling_rate", segments->items[i].sampling_rate);
    cJSON_AddNumberToObject(one, "rounds", (double)segments->items[i].rounds);
    cJSON_AddItemToArray(array, one);
  }
}

static const char *relation_name(const struct cns_dp_options *options) {
  return options->relation == CNS_DP_REPLACE_ONE ? "replace-one" : "add-remove";
}

/* The answer of epsilon and delta. The upper end is printed rounded up. */
static int print_answer(const struct cns_dp_call *call, const struct segments *segments,
                        const struct cns_dp_options *options, bool wants_delta, struct cns_dp_interval answer,
                        double seconds) {
  const char *accountant = cns_dp_accountant_name(options->accountant);
  bool one_sided = options->accountant == CNS_DP_RDP;
  if (call->json) {
    cJSON *object = cJSON_CreateObject();
    const char *name = wants_delta ? "delta" : "epsilon";
    const char *lower = wants_delta ? "delta_lower" : "epsilon_lower";
    cJSON_AddNumberToObject(object, name, answer.upper);
    if (one_sided)
      cJSON_AddNullToObject(object, lower);
    else
      cJSON_AddNumberToObject(object, lower, answer.lower);
    cJSON_AddNumberToObject(object, wants_delta ? "epsilon" : "delta",
                            wants_delta ? call->epsilon : call->delta);
    cJSON_AddStringToObject(object, "accountant", accountant);
    cJSON_AddStringToObject(object, "relation", relation_name(options));
    add_segments(object, segments);
    cJSON_AddNumberToObject(object, "seconds", seconds);
    return cns_cli_print_json(object);
  }
  double upper = answer.upper > 0 ? answer.upper * (1 + 5e-6) : 0;
  if (wants_delta)
    printf("delta %.6g at epsilon %g\n", upper, call->epsilon);
  else
    printf("epsilon %.6g at delta %g\n", upper, call->delta);
  if (one_sided)
    printf("An upper bound by %s, %s neighbours; how far above the true value isn't known.\n", accountant,
           relation_name(options));
  else
    printf("Never below the true value, which is at least %.6g. By %s, %s neighbours.\n",
           answer.lower * (1 - 5e-6), accountant, relation_name(options));
  return cns_cli_finish(CNS_EXIT_OK);
}

static int ask(const char *verb, const struct cns_dp_call *call, const struct cns_option_list *list,
               bool wants_delta) {
  struct segments segments = {.count = 0};
  struct cns_dp_options options;
  struct cns_dp_interval answer;
  struct cns_problem problem = {0};
  int code = make_segments(verb, call, list, &segments);
  if (!code) code = cns_dp_call_options(verb, call, &options);
  if (code) return code;
  double start = cns_dp_call_seconds();
  int r = wants_delta
              ? cns_dp_delta(segments.items, segments.count, call->epsilon, &options, &answer, &problem)
              : cns_dp_epsilon(segments.items, segments.count, call->delta, &options, &answer, &problem);
  if (r < 0) return cns_dp_call_fail(verb, r, &problem);
  return print_answer(call, &segments, &options, wants_delta, answer, cns_dp_call_seconds() - start);
}

#define ROUNDS_SYNOPSIS                                                                                      \
  "[--noise-multiplier S --rounds T [--sampling-rate Q]] [--segment S,Q,T]... "                              \
  "[--accountant pld|rdp|gdp] [--relation add-remove|replace-one] [--json]"

#define ROUND_OPTIONS(call)                                                                                  \
  {"noise-multiplier", "S",           "standard deviation of the sum's noise, over the clip norm",           \
   CNS_OPTION_NUMBER,  &(call).noise, CNS_DP_NOISE_MIN,                                                      \
   CNS_DP_NOISE_MAX},                                                                                        \
      {"sampling-rate",                                                                                      \
       "Q",                                                                                                  \
       "probability that a unit takes part in a round, default 1",                                           \
       CNS_OPTION_NUMBER,                                                                                    \
       &(call).rate,                                                                                         \
       CNS_DP_RATE_MIN,                                                                                      \
       1},                                                                                                   \
  {                                                                                                          \
    "rounds", "T", "rounds; an epoch at rate Q has 1/Q of them", CNS_OPTION_INT, &(call).rounds, 1,          \
        CNS_DP_ROUNDS_MAX                                                                                    \
  }

static const char dp_summary[] =
    "The upper end of the interval is never below the true value, rounding errors included.\n"
    "Rounds are noisy sums of clipped vectors; each unit takes part with probability Q,\n"
    "independently (Poisson sampling).";

static int ask_epsilon_or_delta(int argc, char **argv, bool wants_delta) {
  struct cns_dp_call call = {.delta = -1, .epsilon = -1};
  struct cns_option_list segments = {.count = 0};
  const char *verb = wants_delta ? "dp delta" : "dp epsilon";
  const struct cns_option given = {wants_delta ? "epsilon" : "delta",
                                   wants_delta ? "E" : "D",
                                   wants_delta ? "the epsilon to find delta for (required)"
                                               : "the delta to find epsilon for (required)",
                                   CNS_OPTION_NUMBER,
                                   wants_delta ? &call.epsilon : &call.delta,
                                   wants_delta ? 0 : CNS_DP_DELTA_MIN,
                                   wants_delta ? CNS_DP_EPSILON_MAX : 1 - 1e-12};
  const struct cns_option table[] = {given,
                                     ROUND_OPTIONS(call),
                                     {"segment", "S,Q,T",
                                      "rounds with parameters of their own; may be repeated", CNS_OPTION_LIST,
                                      &segments, 0, 0},
                                     CNS_DP_OPTION_ACCOUNTANT(call),
                                     CNS_DP_OPTION_RELATION(call),
                                     {"json", NULL, "print JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {wants_delta ? "dp delta --epsilon E " ROUNDS_SYNOPSIS
                                              : "dp epsilon --delta D " ROUNDS_SYNOPSIS,
                                  dp_summary, table, 0, 0};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (wants_delta && call.epsilon < 0) return cns_cli_usage_error(verb, "--epsilon E is missing");
  if (!wants_delta && call.delta < 0) return cns_cli_usage_error(verb, "--delta D is missing");
  return ask(verb, &call, &segments, wants_delta);
}

int cns_cli_dp_epsilon(int argc, char **argv) {
  return ask_epsilon_or_delta(argc, argv, false);
}

int cns_cli_dp_delta(int argc, char **argv) {
  return ask_epsilon_or_delta(argc, argv, true);
}

static int calibrate(const struct cns_dp_call *call) {
  struct cns_dp_options options;
  struct cns_dp_calibration found;
  struct cns_problem problem = {0};
  double rate = call->rate > 0 ? call->rate : 1, start = cns_dp_call_seconds();
  int code = cns_dp_call_options("dp calibrate", call, &options);
  if (code) return code;
  int r =
      cns_dp_calibrate(call->epsilon, call->delta, rate, (uint64_t)call->rounds, &options, &found, &problem);
  if (r < 0) return cns_dp_call_fail("dp calibrate", r, &problem);
  double seconds = cns_dp_call_seconds() - start;
  if (!call->json) {
    printf("noise multiplier %.6g\nIt costs epsilon %.6g at delta %g, in %lld rounds at sampling rate %g.\n",
           found.noise_multiplier * (1 + 5e-6), found.epsilon.upper, call->delta, (long long)call->rounds,
           rate);
    return cns_cli_finish(CNS_EXIT_OK);
  }
  cJSON *object = cJSON_CreateObject();
  cJSON_AddNumberToObject(object, "noise_multiplier", found.noise_multiplier);
  cJSON_AddNumberToObject(object, "epsilon", found.epsilon.upper);
  if (options.accountant == CNS_DP_RDP)
    cJSON_AddNullToObject(object, "epsilon_lower");
  else
    cJSON_AddNumberToObject(object, "epsilon_lower", found.epsilon.lower);
  cJSON_AddNumberToObject(object, "epsilon_wanted", call->epsilon);
  cJSON_AddNumberToObject(object, "delta", call->delta);
  cJSON_AddNumberToObject(object, "sampling_rate", rate);
  cJSON_AddNumberToObject(object, "rounds", (double)call->rounds);
  cJSON_AddStringToObject(object, "accountant", cns_dp_accountant_name(options.accountant));
  cJSON_AddStringToObject(object, "relation", relation_name(&options));
  cJSON_AddNumberToObject(object, "seconds", seconds);
  return cns_cli_print_json(object);
}

int cns_cli_dp_calibrate(int argc, char **argv) {
  struct cns_dp_call call = {.delta = -1, .epsilon = -1};
  const struct cns_option table[] = {
      {"epsilon", "E", "largest epsilon (required)", CNS_OPTION_NUMBER, &call.epsilon, 1e-6,
       CNS_DP_EPSILON_MAX},
      {"delta", "D", "at this delta (required)", CNS_OPTION_NUMBER, &call.delta, CNS_DP_DELTA_MIN, 1 - 1e-12},
      {"rounds", "T", "rounds; an epoch at rate Q has 1/Q of them (required)", CNS_OPTION_INT, &call.rounds,
       1, CNS_DP_ROUNDS_MAX},
      {"sampling-rate", "Q", "probability that a unit takes part in a round, default 1", CNS_OPTION_NUMBER,
       &call.rate, CNS_DP_RATE_MIN, 1},
      CNS_DP_OPTION_ACCOUNTANT(call),
      CNS_DP_OPTION_RELATION(call),
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "dp calibrate --epsilon E --delta D --rounds T [--sampling-rate Q] [--accountant pld|rdp|gdp] "
      "[--relation add-remove|replace-one] [--json]",
      "Finds the smallest noise multiplier, to 1e-4 of itself, whose epsilon is at most E.", table, 0, 0};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (call.epsilon < 0) return cns_cli_usage_error("dp calibrate", "--epsilon E is missing");
  if (call.delta < 0) return cns_cli_usage_error("dp calibrate", "--delta D is missing");
  if (call.rounds == 0) return cns_cli_usage_error("dp calibrate", "--rounds T is missing");
  return calibrate(&call);
}

int cns_cli_dp(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"epsilon", "what a series of rounds costs at a given delta", cns_cli_dp_epsilon},
      {"delta", "the same the other way round: delta at a given epsilon", cns_cli_dp_delta},
      {"calibrate", "the smallest noise that keeps to an epsilon", cns_cli_dp_calibrate},
      {"plan", "epsilon against rounds for several noise levels, as a table and a plot", cns_cli_dp_plan},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium dp", "Accounts for differential privacy of sums with Gaussian noise.",
                          verbs, argc, argv);
}
