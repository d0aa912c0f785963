/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/chain.h"

#include <stdlib.h>
#include <string.h>

/* Every parameter but f, variant and weights, under the name that lists have. */
static const struct field {
  const char *name;
  size_t at, bytes;
} fields[] = {
#define FIELD(member)                                                                                        \
  { #member, offsetof(struct cns_robust_params, member), sizeof(((struct cns_robust_params *)0)->member) }
    FIELD(nu),    FIELD(iterations), FIELD(tau),  FIELD(norm),
    FIELD(pivot), FIELD(size),       FIELD(seed), FIELD(reference),
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

static const struct cns_robust_about *about_step(const struct cns_robust_chain *chain, size_t step) {
  return step < chain->pre_count ? cns_robust_about_pre(chain->pre[step])
                                 : cns_robust_about_rule(chain->rule);
}

static size_t step_count(const struct cns_robust_chain *chain) {
  return chain->pre_count + (chain->no_rule ? 0 : 1);
}

/* Is the name one of the words of the list? */
static bool is_listed(const char *list, const char *name) {
  size_t len = strlen(name);
  for (const char *at = list; *at; at += strcspn(at, " "), at += strspn(at, " "))
    if (strcspn(at, " ") == len && memcmp(at, name, len) == 0) return true;
  return false;
}

/* What this step takes of the chain's parameters; weights are those of its rows. */
static struct cns_robust_params pick(const struct cns_robust_chain *chain, size_t step,
                                     const double *weights) {
  const struct cns_robust_about *about = about_step(chain, step);
  struct cns_robust_params params = {
      .byzantine = chain->params.byzantine, .weights = weights, .threads = chain->params.threads};
  if (*about->variants) params.variant = chain->params.variant;
  for (size_t f = 0; f < FIELD_COUNT; f++)
    if (is_listed(about->params, fields[f].name))
      memcpy((uint8_t *)&params + fields[f].at, (const uint8_t *)&chain->params + fields[f].at,
             fields[f].bytes);
  return params;
}

static bool is_set(const struct cns_robust_params *params, const struct field *field) {
  static const uint8_t zero[sizeof(uint64_t)];
  return memcmp((const uint8_t *)params + field->at, zero, field->bytes) != 0;
}

/* "bucketing, krum" */
static void name_steps(const struct cns_robust_chain *chain, char out[static 256]) {
  size_t len = 0;
  out[0] = 0;
  for (size_t s = 0; s < step_count(chain) && len < 200; s++) {
    const char *name = about_step(chain, s)->name;
    size_t name_len = strnlen(name, 40);
    if (len > 0) len = (size_t)(stpcpy(out + len, ", ") - out);
    memcpy(out + len, name, name_len);
    len += name_len;
    out[len] = 0;
  }
}

static int untaken(const struct cns_robust_chain *chain, const char *what, struct cns_problem *problem) {
  char steps[256];
  name_steps(chain, steps);
  if (!*steps) return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s: there is no step that takes it", what);
  return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s is not taken by %s", what, steps);
}

static int check_taken(const struct cns_robust_chain *chain, struct cns_problem *problem) {
  for (size_t f = 0; f < FIELD_COUNT; f++) {
    bool taken = !is_set(&chain->params, &fields[f]);
    for (size_t s = 0; s < step_count(chain) && !taken; s++)
      taken = is_listed(about_step(chain, s)->params, fields[f].name);
    if (!taken) {
      char what[64] = "parameter '";
      strcat(strncat(what, fields[f].name, 40), "'");
      return untaken(chain, what, problem);
    }
  }
  bool variant = !chain->params.variant;
  for (size_t s = 0; s < step_count(chain) && !variant; s++)
    variant = *about_step(chain, s)->variants != 0;
  if (!variant) return untaken(chain, "a variant", problem);
  for (size_t s = 0; chain->params.weights && s < step_count(chain); s++)
    if (!about_step(chain, s)->takes_weights)
      return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s takes no weights", about_step(chain, s)->name);
  return 0;
}

static int check_chain(const struct cns_robust_chain *chain, size_t n, struct cns_problem *problem) {
  if (chain->pre_count > CNS_ROBUST_CHAIN_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "at most %d pre-aggregations, one after another",
                           CNS_ROBUST_CHAIN_MAX);
  for (size_t s = 0; s < chain->pre_count; s++)
    if ((unsigned)chain->pre[s] >= CNS_ROBUST_PRE_COUNT) return CNS_ERR_ARGUMENT;
  if (!chain->no_rule && (unsigned)chain->rule >= CNS_ROBUST_RULE_COUNT) return CNS_ERR_ARGUMENT;
  if (n < 1 || n > CNS_ROBUST_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%zu rows; there must be 1 to %d", n, CNS_ROBUST_ROWS_MAX);
  return check_taken(chain, problem);
}

int cns_robust_chain_check(const struct cns_robust_chain *chain, size_t n, struct cns_problem *problem) {
  const size_t all = n;
  int r = check_chain(chain, n, problem);
  for (size_t s = 0; r == 0 && s < step_count(chain); s++) {
    /* Weights are checked where they are used: here only the first step's are known. */
    struct cns_robust_params params = pick(chain, s, n == all ? chain->params.weights : NULL);
    r = s < chain->pre_count ? cns_robust_check_pre(chain->pre[s], &params, n, problem)
                             : cns_robust_check_rule(chain->rule, &params, n, problem);
    if (r < 0 && n != all) r = cns_problem_prefix(problem, r, "of %zu rows, %zu are left", all, n);
    if (r == 0 && s < chain->pre_count) n = cns_robust_pre_rows(chain->pre[s], &params, n);
  }
  return r;
}

size_t cns_robust_chain_rows(const struct cns_robust_chain *chain, size_t n) {
  for (size_t s = 0; s < chain->pre_count; s++) {
    struct cns_robust_params params = pick(chain, s, NULL);
    n = cns_robust_pre_rows(chain->pre[s], &params, n);
  }
  return n;
}

/* What goes from step to step. */
struct stage {
  const void *matrix;
  void *owned; /* NULL for the caller's */
  double *weights;
  size_t n;
};

static int preaggregate(const struct cns_robust_chain *chain, size_t step, enum cns_robust_type type,
                        size_t d, struct stage *stage, struct cns_problem *problem) {
  struct cns_robust_params params = pick(chain, step, chain->params.weights ? stage->weights : NULL);
  size_t rows = cns_robust_pre_rows(chain->pre[step], &params, stage->n);
  void *matrix = malloc(rows * d * (size_t)type);
  double *weights = malloc(rows * sizeof *weights);
  int r = matrix && weights ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (r == 0)
    r = cns_robust_preaggregate(chain->pre[step], &params, type, stage->matrix, stage->n, d, matrix, weights,
                                problem);
  if (r < 0) {
    free(matrix);
    free(weights);
    return r;
  }
  free(stage->owned);
  free(stage->weights);
  *stage = (struct stage){.matrix = matrix, .owned = matrix, .weights = weights, .n = rows};
  return 0;
}

static int first_stage(const struct cns_robust_chain *chain, const void *matrix, size_t n,
                       struct stage *stage) {
  *stage = (struct stage){.matrix = matrix, .n = n, .weights = malloc(n * sizeof(double))};
  if (!stage->weights) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < n; i++)
    stage->weights[i] = chain->params.weights ? chain->params.weights[i] : 1;
  return 0;
}

int cns_robust_chain_run(const struct cns_robust_chain *chain, enum cns_robust_type type, const void *matrix,
                         size_t n, size_t d, void *ret_result, double *ret_weights,
                         struct cns_problem *problem) {
  struct stage stage;
  int r = cns_robust_chain_check(chain, n, problem);
  if (r < 0) return r;
  if (d < 1 || d > SIZE_MAX / CNS_ROBUST_ROWS_MAX / sizeof(double))
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%zu columns", d);
  r = first_stage(chain, matrix, n, &stage);
  if (r < 0) return r;
  for (size_t s = 0; r == 0 && s < chain->pre_count; s++)
    r = preaggregate(chain, s, type, d, &stage, problem);
  if (r == 0 && chain->no_rule)
    memcpy(ret_result, stage.matrix, stage.n * d * (size_t)type);
  else if (r == 0) {
    struct cns_robust_params params =
        pick(chain, chain->pre_count, chain->params.weights ? stage.weights : NULL);
    r = cns_robust_aggregate(chain->rule, &params, type, stage.matrix, stage.n, d, ret_result, problem);
  }
  if (r == 0 && ret_weights) memcpy(ret_weights, stage.weights, stage.n * sizeof *ret_weights);
  free(stage.owned);
  free(stage.weights);
  return r;
}
