/* SPDX-License-Identifier: Apache-2.0 */
/* What has to hold before anything is computed, in sentences. */
#include <math.h>
#include <string.h>

#include "robust/rules.h"

/* Is `word` one of the words of a list that are separated by spaces? */
static bool lists(const char *list, const char *word) {
  size_t len = strlen(word);
  for (const char *at = list; (at = strstr(at, word)); at += len)
    if ((at == list || at[-1] == ' ') && (at[len] == ' ' || !at[len])) return true;
  return false;
}

/* A parameter is left zero where it isn't taken; `given` where it must be. */
static int check_taken(const struct cns_robust_about *about, const char *name, bool given, bool needed,
                       struct cns_problem *problem) {
  bool takes = lists(about->params, name);
  if (given && !takes)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s takes no %s; leave it out", about->name, name);
  if (takes && needed && !given)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s needs %s", about->name, name);
  return 0;
}

static int check_number(const struct cns_robust_about *about, const char *name, double value, bool needed,
                        struct cns_problem *problem) {
  int r = check_taken(about, name, value != 0, needed, problem);
  if (r == 0 && value != 0 && !(value > 0 && isfinite(value)))
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s: %s is %g; it must be a finite number above 0",
                           about->name, name, value);
  return r;
}

static int check_params(const struct cns_robust_about *about, const struct cns_robust_params *p,
                        struct cns_problem *problem) {
  int r = check_number(about, "nu", p->nu, false, problem);
  if (r == 0) r = check_number(about, "tau", p->tau, true, problem);
  if (r == 0) r = check_number(about, "norm", p->norm, true, problem);
  if (r == 0) r = check_taken(about, "iterations", p->iterations != 0, false, problem);
  if (r == 0) r = check_taken(about, "pivot", p->pivot != 0, false, problem);
  if (r == 0) r = check_taken(about, "size", p->size != 0, true, problem);
  if (r == 0) r = check_taken(about, "seed", p->seed != 0, false, problem);
  if (r == 0) r = check_taken(about, "reference", p->reference != NULL, true, problem);
  if (r == 0 && p->iterations > CNS_ROBUST_ITERATIONS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s: %zu iterations; at most %d are possible", about->name,
                           p->iterations, CNS_ROBUST_ITERATIONS_MAX);
  if (r == 0 && p->variant && !lists(about->variants, p->variant)) {
    if (!about->variants[0])
      return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s has no variants, so not '%.40s' either",
                             about->name, p->variant);
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s has no variant '%.40s'; besides the paper's: %s",
                           about->name, p->variant, about->variants);
  }
  return r;
}

static int check_weights(const struct cns_robust_about *about, const double *weights, size_t n,
                         struct cns_problem *problem) {
  double total = 0;
  if (!weights) return 0;
  if (!about->takes_weights)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "%s isn't defined with weights: it chooses among whole rows", about->name);
  for (size_t i = 0; i < n; i++) {
    if (!(weights[i] > 0 && isfinite(weights[i])))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "the weight of row %zu is %g; it must be a finite number above 0", i,
                             weights[i]);
    total += weights[i];
  }
  if (!isfinite(total))
    return cns_problem_set(problem, CNS_ERR_RANGE, "the weights are too large to be added up");
  return 0;
}

/* All that doesn't depend on the rule's breakdown point. */
static int check_common(const struct cns_robust_about *about, const struct cns_robust_params *p, size_t n,
                        size_t least, struct cns_problem *problem) {
  if (n < least)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s needs at least %zu row%s, there %s %zu", about->name,
                           least, least == 1 ? "" : "s", n == 1 ? "is" : "are", n);
  if (n > CNS_ROBUST_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%zu rows; at most %d are possible", n,
                           CNS_ROBUST_ROWS_MAX);
  if (p->byzantine >= n)
    return cns_problem_set(problem, CNS_ERR_RANGE, "f = %zu of %zu rows: at least one must be honest",
                           p->byzantine, n);
  if (p->pivot >= n)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s: pivot %zu, but the last of %zu rows is %zu",
                           about->name, p->pivot, n, n - 1);
  int r = check_params(about, p, problem);
  return r < 0 ? r : check_weights(about, p->weights, n, problem);
}

/* Fewest rows that a rule needs against f. */
static size_t rows_needed(enum cns_robust_rule rule, const struct cns_robust_params *p) {
  size_t f = p->byzantine;
  if (rule == CNS_ROBUST_BULYAN) return 4 * f + 3;
  if ((rule == CNS_ROBUST_KRUM || rule == CNS_ROBUST_MULTI_KRUM) && !p->variant) return 2 * f + 3;
  return cns_robust_about_rule(rule)->takes_byzantine ? 2 * f + 1 : f + 1;
}

static bool is_alone_enough(enum cns_robust_rule rule) {
  return rule == CNS_ROBUST_MEAN || rule == CNS_ROBUST_CLIPPED_MEAN || rule == CNS_ROBUST_FLTRUST ||
         rule == CNS_ROBUST_CENTERED_CLIPPING;
}

int cns_robust_check_rule(enum cns_robust_rule rule, const struct cns_robust_params *params, size_t n,
                          struct cns_problem *problem) {
  static const struct cns_robust_params defaults = {0};
  const struct cns_robust_about *about = cns_robust_about_rule(rule);
  const struct cns_robust_params *p = params ? params : &defaults;
  int r = check_common(about, p, n, is_alone_enough(rule) ? 1 : 2, problem);
  if (r < 0) return r;
  size_t needed = rows_needed(rule, p), iterations = p->iterations ? p->iterations : 1;
  if (n < needed)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%s%s%s with f = %zu needs at least %zu rows, there are %zu (%s)", about->name,
                           p->variant ? ", variant " : "", p->variant ? p->variant : "", p->byzantine, needed,
                           n, p->variant ? "2f < n" : about->breakdown);
  if (rule == CNS_ROBUST_DNC && p->byzantine * iterations >= n)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "dnc: %zu iterations may leave out f = %zu rows each, and there are only %zu",
                           iterations, p->byzantine, n);
  if (rule == CNS_ROBUST_SMEA && cns_subsets_count(n, p->byzantine) > CNS_SUBSETS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "smea would look at each choice of %zu of %zu rows: more than %d; take fewer "
                           "rows (bucketing), a smaller f, or caf",
                           n - p->byzantine, n, CNS_SUBSETS_MAX);
  return 0;
}

int cns_robust_check_pre(enum cns_robust_pre pre, const struct cns_robust_params *params, size_t n,
                         struct cns_problem *problem) {
  static const struct cns_robust_params defaults = {0};
  const struct cns_robust_about *about = cns_robust_about_pre(pre);
  bool alone = pre == CNS_ROBUST_BUCKETING || pre == CNS_ROBUST_CLIPPING;
  return check_common(about, params ? params : &defaults, n, alone ? 1 : 2, problem);
}
