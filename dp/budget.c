/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/budget.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dp/accountant.h"

#define QUICK_TOLERANCE 0.02
#define NARROW_TOLERANCE 1e-5

int cns_budget_check_cost(const struct cns_budget_cost *cost, struct cns_problem *problem) {
  struct cns_dp_segment segment = {cost->noise_multiplier, cost->sampling_rate, cost->rounds};
  if (cost->noise_multiplier == 0) segment.noise_multiplier = 1; /* the others are checked all the same */
  int r = cns_dp_check_segment(&segment, problem);
  if (r < 0) return r;
  if (cost->extra_delta >= 0 && cost->extra_delta < 1) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE,
                         "the extra delta of a round must be from 0 to below 1, not %g", cost->extra_delta);
}

static int check_costs(const struct cns_budget_cost *costs, size_t count, struct cns_problem *problem) {
  int r = 0;
  for (size_t i = 0; i < count && r == 0; i++)
    r = cns_budget_check_cost(&costs[i], problem);
  return r;
}

static double add_up(double sum, double term) {
  return term > 0 ? nextafter(sum + term, INFINITY) : sum;
}

static double subtract_down(double value, double term) {
  return term > 0 ? nextafter(value - term, -INFINITY) : value;
}

static double sum_of_extra_deltas(const struct cns_budget_cost *costs, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    sum = add_up(sum, costs[i].extra_delta);
  return sum;
}

static bool any_without_noise(const struct cns_budget_cost *costs, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (costs[i].noise_multiplier == 0) return true;
  return false;
}

static int compare_segments(const void *a, const void *b) {
  const struct cns_dp_segment *x = a, *y = b;
  if (x->noise_multiplier != y->noise_multiplier) return x->noise_multiplier < y->noise_multiplier ? -1 : 1;
  return (x->sampling_rate > y->sampling_rate) - (x->sampling_rate < y->sampling_rate);
}

/* Sorts, and merges equal ones to the front; their number. */
static size_t merge(struct cns_dp_segment *segments, size_t count) {
  size_t kinds = 0;
  qsort(segments, count, sizeof *segments, compare_segments);
  for (size_t i = 0; i < count; i++) {
    if (kinds > 0 && compare_segments(&segments[kinds - 1], &segments[i]) == 0)
      segments[kinds - 1].rounds += segments[i].rounds;
    else
      segments[kinds++] = segments[i];
  }
  return kinds;
}

/* All have noise, and there is one at least. */
static int compose(const struct cns_budget_cost *costs, size_t count, double delta,
                   const struct cns_dp_options *options, struct cns_dp_interval *ret_epsilon,
                   struct cns_problem *problem) {
  struct cns_dp_segment *segments = calloc(count, sizeof *segments);
  if (!segments) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < count; i++)
    segments[i] = (struct cns_dp_segment){costs[i].noise_multiplier, costs[i].sampling_rate, costs[i].rounds};
  int r = cns_dp_epsilon(segments, merge(segments, count), delta, options, ret_epsilon, problem);
  free(segments);
  return r;
}

static int find_interval(const struct cns_budget_cost *costs, size_t count, double delta,
                         const struct cns_dp_options *options, struct cns_dp_interval *ret_epsilon,
                         struct cns_problem *problem) {
  int r = check_costs(costs, count, problem);
  if (r == 0) r = cns_dp_check_delta(delta, problem);
  if (r < 0) return r;
  double left = subtract_down(delta, sum_of_extra_deltas(costs, count));
  if (count == 0)
    *ret_epsilon = (struct cns_dp_interval){0, 0};
  else if (any_without_noise(costs, count) || !(left >= CNS_DP_DELTA_MIN))
    *ret_epsilon = (struct cns_dp_interval){INFINITY, INFINITY};
  else
    return compose(costs, count, left, options, ret_epsilon, problem);
  return 0;
}

int cns_budget_epsilon(const struct cns_budget_cost *costs, size_t count, double delta,
                       enum cns_dp_relation relation, double *ret_epsilon, struct cns_problem *problem) {
  struct cns_dp_options options = {.accountant = CNS_DP_PLD, .relation = relation};
  struct cns_dp_interval epsilon;
  int r = find_interval(costs, count, delta, &options, &epsilon, problem);
  if (r == 0) *ret_epsilon = epsilon.upper;
  return r;
}

static int check_limits(const struct cns_budget_limits *limits, struct cns_problem *problem) {
  int r = cns_dp_check_number(limits->epsilon, 0, CNS_DP_EPSILON_MAX, "limit of epsilon", problem);
  if (r == 0)
    r = cns_dp_check_number(limits->epsilon_round, 0, CNS_DP_EPSILON_MAX, "limit of a round's epsilon",
                            problem);
  if (r == 0)
    r = cns_dp_check_number(limits->epsilon_month, 0, CNS_DP_EPSILON_MAX, "limit of a month's epsilon",
                            problem);
  bool any = limits->epsilon > 0 || limits->epsilon_round > 0 || limits->epsilon_month > 0;
  if (r == 0 && any) r = cns_dp_check_delta(limits->delta, problem);
  return r;
}

static int check_all(const struct cns_budget_limits *limits, const struct cns_budget_spent *spent,
                     const struct cns_budget_cost *next, struct cns_problem *problem) {
  int r = check_limits(limits, problem);
  if (r == 0) r = check_costs(spent->total, spent->total_count, problem);
  if (r == 0) r = check_costs(spent->month, spent->month_count, problem);
  return r == 0 ? cns_budget_check_cost(next, problem) : r;
}

/* One limit: which costs count towards it, and room behind them for the next. */
struct line {
  enum cns_budget_limit limit;
  double allowed; /* 0: no such limit */
  struct cns_budget_cost *costs;
  size_t count; /* of what was spent */
};

static int line_init(struct line *line, enum cns_budget_limit limit, const struct cns_budget_limits *limits,
                     const struct cns_budget_spent *spent) {
  const struct cns_budget_cost *costs = NULL;
  *line = (struct line){.limit = limit, .allowed = limits->epsilon_round};
  if (limit == CNS_BUDGET_TOTAL) {
    line->allowed = limits->epsilon;
    costs = spent->total;
    line->count = spent->total_count;
  } else if (limit == CNS_BUDGET_MONTH) {
    line->allowed = limits->epsilon_month;
    costs = spent->month;
    line->count = spent->month_count;
  }
  line->costs = calloc(line->count + 1, sizeof *line->costs);
  if (!line->costs) return CNS_ERR_MEMORY;
  if (line->count > 0) memcpy(line->costs, costs, line->count * sizeof *costs);
  return 0;
}

/* Never rounds the extra delta down. */
static struct cns_budget_cost times(const struct cns_budget_cost *cost, uint64_t factor) {
  struct cns_budget_cost many = *cost;
  many.rounds *= factor;
  if (factor > 1) many.extra_delta = add_up(0, nextafter((double)factor, INFINITY) * cost->extra_delta);
  return many;
}

/* A limit inside the usual interval gets a narrow one: noise that was calibrated for
 * exactly so many rounds has them, and what was allowed isn't reported as too much. */
static int decide(const struct cns_budget_cost *costs, size_t count, double delta, double allowed,
                  enum cns_dp_relation relation, double *ret_epsilon, struct cns_problem *problem) {
  const double tolerances[] = {0, NARROW_TOLERANCE};
  struct cns_dp_interval epsilon = {INFINITY, INFINITY};
  int r = 0;
  for (size_t i = 0; i < 2 && r == 0; i++) {
    const struct cns_dp_options options = {
        .accountant = CNS_DP_PLD, .relation = relation, .tolerance = tolerances[i]};
    r = find_interval(costs, count, delta, &options, &epsilon, problem);
    if (allowed == 0 || epsilon.upper <= allowed || epsilon.lower > allowed) break;
  }
  if (r == 0) *ret_epsilon = epsilon.upper;
  return r;
}

int cns_budget_spent(const struct cns_budget_limits *limits, const struct cns_budget_spent *spent,
                     double *ret_epsilon, struct cns_problem *problem) {
  int r = check_limits(limits, problem);
  return r ? r
           : decide(spent->total, spent->total_count, limits->delta, limits->epsilon, limits->relation,
                    ret_epsilon, problem);
}

/*
 * With `next` that many times: an upper end of epsilon. A wide interval takes a
 * tenth of the time, and decides unless the limit is inside it; where only a
 * decision is wanted its lower end does too.
 */
static int epsilon_with(const struct line *line, const struct cns_budget_limits *limits,
                        const struct cns_budget_cost *next, uint64_t factor, bool decide_only,
                        double *ret_epsilon, struct cns_problem *problem) {
  struct cns_dp_options options = {
      .accountant = CNS_DP_PLD, .relation = limits->relation, .tolerance = QUICK_TOLERANCE};
  struct cns_dp_interval epsilon = {INFINITY, INFINITY};
  line->costs[line->count] = times(next, factor);
  int r = line->costs[line->count].extra_delta >= 1
              ? 0
              : find_interval(line->costs, line->count + 1, limits->delta, &options, &epsilon, problem);
  if (r == 0 && (isinf(epsilon.upper) || epsilon.upper <= line->allowed ||
                 (decide_only && epsilon.lower > line->allowed))) {
    *ret_epsilon = epsilon.upper;
    return 0;
  }
  return r ? r
           : decide(line->costs, line->count + 1, limits->delta, line->allowed, limits->relation, ret_epsilon,
                    problem);
}

/* As many digits as it takes to see that it isn't `other`. */
static void print_epsilon(double value, double other, char ret_text[static 40]) {
  char text[40];
  if (value == other) (void)snprintf(ret_text, 40, "%g", value);
  for (int digits = 3; digits <= 17 && value != other; digits++) {
    (void)snprintf(ret_text, 40, "%.*g", digits, value);
    (void)snprintf(text, sizeof text, "%.*g", digits, other);
    if (strcmp(ret_text, text) != 0) return;
  }
}

static const char *why_infinite(const struct line *line) {
  if (any_without_noise(line->costs, line->count)) return "a round before it had no noise";
  if (line->costs[line->count].noise_multiplier == 0) return "it has no noise";
  return "the extra deltas use delta up";
}

static void write_sentence(const struct line *line, const struct cns_budget_limits *limits,
                           struct cns_budget_verdict *verdict) {
  static const char *const per[] = {"", "", " for one round", " for a calendar month"};
  const char *subject = limits->subject ? limits->subject : "all rounds";
  char before[40], after[40], why[96] = "";
  print_epsilon(verdict->epsilon_before, verdict->allowed, before);
  print_epsilon(verdict->epsilon_after, verdict->allowed, after);
  if (isinf(verdict->epsilon_before)) (void)snprintf(before, sizeof before, "infinity");
  if (isinf(verdict->epsilon_after)) {
    (void)snprintf(after, sizeof after, "infinity");
    (void)snprintf(why, sizeof why, " (%s)", why_infinite(line));
  }
  if (line->limit == CNS_BUDGET_ROUND)
    (void)snprintf(verdict->text, sizeof verdict->text,
                   "this round alone would cost epsilon %s%s at delta %g; the policy allows %g%s", after, why,
                   limits->delta, line->allowed, per[line->limit]);
  else
    (void)snprintf(verdict->text, sizeof verdict->text,
                   "this round would bring %s%s from epsilon %s to %s%s at delta %g; the policy allows %g%s",
                   line->limit == CNS_BUDGET_MONTH ? "this month's rounds of " : "", subject, before, after,
                   why, limits->delta, line->allowed, per[line->limit]);
}

/* Fills the verdict if the limit is exceeded; *ret_after in any case. */
static int line_allows(struct line *line, const struct cns_budget_limits *limits,
                       const struct cns_budget_cost *next, double *ret_after,
                       struct cns_budget_verdict *ret_verdict, struct cns_problem *problem) {
  double before = 0;
  int r = epsilon_with(line, limits, next, 1, false, ret_after, problem);
  if (r < 0 || *ret_after <= line->allowed) return r;
  r = cns_budget_epsilon(line->costs, line->count, limits->delta, limits->relation, &before, problem);
  if (r < 0) return r;
  *ret_verdict = (struct cns_budget_verdict){
      .limit = line->limit, .epsilon_before = before, .epsilon_after = *ret_after, .allowed = line->allowed};
  write_sentence(line, limits, ret_verdict);
  return CNS_BUDGET_EXCEEDED;
}

/* The cheap one first. */
static const enum cns_budget_limit lines[] = {CNS_BUDGET_ROUND, CNS_BUDGET_MONTH, CNS_BUDGET_TOTAL};
#define LINES (sizeof lines / sizeof lines[0])

int cns_budget_allows(const struct cns_budget_limits *limits, const struct cns_budget_spent *spent,
                      const struct cns_budget_cost *next, struct cns_budget_verdict *ret_verdict,
                      struct cns_problem *problem) {
  struct cns_budget_verdict verdict = {.limit = CNS_BUDGET_NONE};
  double after = 0;
  int r = check_all(limits, spent, next, problem);
  for (size_t i = 0; i < LINES && r == 0; i++) {
    struct line line;
    r = line_init(&line, lines[i], limits, spent);
    if (r == 0 && line.allowed > 0) r = line_allows(&line, limits, next, &after, &verdict, problem);
    free(line.costs);
  }
  if (r < 0) return r;
  if (r == 0 && limits->epsilon > 0) {
    verdict.epsilon_after = after; /* of the last line */
    verdict.allowed = limits->epsilon;
  }
  *ret_verdict = verdict;
  return r;
}

/* An answer that the accountant doesn't have is a refusal, as in cns_budget_allows. */
static int is_within(struct line *line, const struct cns_budget_limits *limits,
                     const struct cns_budget_cost *next, uint64_t factor, bool *ret_within,
                     struct cns_problem *problem) {
  double epsilon = INFINITY;
  int r = epsilon_with(line, limits, next, factor, true, &epsilon, NULL);
  if (r == CNS_ERR_MEMORY) return cns_problem_set(problem, r, "out of memory while counting rounds");
  *ret_within = r == 0 && epsilon <= line->allowed;
  return 0;
}

/* Doubles until it is too much, then halves the gap. */
static int line_rounds_left(struct line *line, const struct cns_budget_limits *limits,
                            const struct cns_budget_cost *next, uint64_t max, uint64_t *ret_rounds,
                            struct cns_problem *problem) {
  uint64_t good = 0, bad = 1;
  bool within = true;
  for (int r; good<max; good = bad, bad = bad> max / 2 ? max : bad * 2) {
    r = is_within(line, limits, next, bad, &within, problem);
    if (r < 0) return r;
    if (!within) break;
  }
  while (!within && bad - good > 1) {
    uint64_t middle = good + (bad - good) / 2;
    bool good_enough = false;
    int r = is_within(line, limits, next, middle, &good_enough, problem);
    if (r < 0) return r;
    *(good_enough ? &good : &bad) = middle;
  }
  *ret_rounds = good;
  return 0;
}

/* What the accountant can add to what it has. */
static uint64_t rounds_countable(const struct cns_budget_spent *spent, const struct cns_budget_cost *next) {
  uint64_t rounds = 0;
  for (size_t i = 0; i < spent->total_count && rounds <= CNS_DP_ROUNDS_MAX; i++)
    rounds += spent->total[i].rounds;
  return rounds >= CNS_DP_ROUNDS_MAX ? 0 : (CNS_DP_ROUNDS_MAX - rounds) / next->rounds;
}

int cns_budget_rounds_left(const struct cns_budget_limits *limits, const struct cns_budget_spent *spent,
                           const struct cns_budget_cost *next, uint64_t max, uint64_t *ret_rounds,
                           struct cns_problem *problem) {
  int r = check_all(limits, spent, next, problem);
  if (r < 0) return r;
  uint64_t countable = rounds_countable(spent, next), left = max < countable ? max : countable;
  for (size_t i = 0; i < LINES && r == 0 && left > 0; i++) {
    struct line line;
    uint64_t here = left;
    r = line_init(&line, lines[i], limits, spent);
    if (r == 0 && line.allowed > 0)
      r = line_rounds_left(&line, limits, next, line.limit == CNS_BUDGET_ROUND ? 1 : left, &here, problem);
    if (line.limit != CNS_BUDGET_ROUND || here == 0) left = here;
    free(line.costs);
  }
  if (r == 0) *ret_rounds = left;
  return r;
}

double cns_budget_alert(const struct cns_budget_limits *limits, double epsilon_spent, const double *alerts,
                        size_t count) {
  double highest = 0;
  for (size_t i = 0; i < count && limits->epsilon > 0; i++)
    if (alerts[i] > highest && epsilon_spent >= alerts[i] * limits->epsilon) highest = alerts[i];
  return highest;
}
