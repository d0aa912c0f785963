/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/optimise.h"

#include <math.h>
#include <stdlib.h>

#include "robust/attack.h"
#include "robust/element.h"

#define GRID_OCTAVES 16.0 /* from the smallest point of the grid to the limit */
#define GRID_MAX 1000
#define GOLDEN_MAX 100

struct search {
  enum cns_optimise_kind kind;
  const struct cns_robust_chain *chain;
  enum cns_robust_type type;
  void *matrix;
  size_t n, d;
  const size_t *attackers;
  size_t attacker_count;
  bool *malicious;   /* n */
  double *mean;      /* d, of the honest rows, each alike: what the attack starts from */
  double *deviation; /* d */
  double *aim;       /* d, the honest mean by weights: what the rule should give */
  void *result;      /* d elements, of the rule */
  struct cns_optimise_result best;
};

static double weight_of(const struct search *search, size_t row) {
  return search->chain->params.weights ? search->chain->params.weights[row] : 1;
}

/* CNS_ERR_RANGE for an honest row that isn't finite. */
static int add_row(struct search *search, size_t row, struct cns_problem *problem) {
  double weight = weight_of(search, row);
  for (size_t k = 0; k < search->d; k++) {
    double value = cns_element_get(search->type, search->matrix, row * search->d + k);
    if (!isfinite(value))
      return cns_problem_set(problem, CNS_ERR_RANGE, "row %zu holds a number that is not finite", row);
    search->mean[k] += value;
    search->aim[k] += weight * value;
  }
  return 0;
}

static int moments(struct search *search, struct cns_problem *problem) {
  double honest = (double)(search->n - search->attacker_count), weights = 0;
  for (size_t i = 0; i < search->n; i++) {
    if (search->malicious[i]) continue;
    int r = add_row(search, i, problem);
    if (r < 0) return r;
    weights += weight_of(search, i);
  }
  for (size_t k = 0; k < search->d; k++) {
    search->mean[k] /= honest;
    search->aim[k] /= weights;
  }
  for (size_t i = 0; i < search->n; i++)
    for (size_t k = 0; k < search->d && !search->malicious[i]; k++) {
      double gap = cns_element_get(search->type, search->matrix, i * search->d + k) - search->mean[k];
      search->deviation[k] += gap * gap;
    }
  for (size_t k = 0; k < search->d; k++)
    search->deviation[k] = sqrt(search->deviation[k] / honest);
  return 0;
}

/* false if a row of the attackers isn't finite. */
static bool send(struct search *search, double factor) {
  bool finite = true;
  for (size_t a = 0; a < search->attacker_count; a++)
    for (size_t k = 0; k < search->d; k++) {
      double value = search->kind == CNS_OPTIMISE_ALIE ? search->mean[k] - factor * search->deviation[k]
                                                       : -factor * search->mean[k];
      finite &= cns_element_set(search->type, search->matrix, search->attackers[a] * search->d + k, value);
    }
  return finite;
}

/* ret_harm: -1 for a factor that is passed over. */
static int evaluate(struct search *search, double factor, double *ret_harm, struct cns_problem *problem) {
  double squares = 0;
  *ret_harm = -1;
  if (!send(search, factor)) return 0;
  int r = cns_robust_chain_run(search->chain, search->type, search->matrix, search->n, search->d,
                               search->result, NULL, problem);
  if (r < 0) return r;
  search->best.evaluations++;
  for (size_t k = 0; k < search->d; k++) {
    double gap = cns_element_get(search->type, search->result, k) - search->aim[k];
    squares += gap * gap;
  }
  double harm = *ret_harm = sqrt(squares);
  if (harm > search->best.harm || (harm == search->best.harm && factor < search->best.factor)) {
    search->best.harm = harm;
    search->best.factor = factor;
  }
  return 0;
}

/* 0 and the grid. ret_low, ret_high: the neighbours of the best point. */
static int search_grid(struct search *search, double limit, size_t points, double *ret_low, double *ret_high,
                       struct cns_problem *problem) {
  double factor[GRID_MAX + 1] = {0}, harm[GRID_MAX + 1];
  size_t best = 0;
  int r = evaluate(search, factor[0], &harm[0], problem);
  for (size_t p = 1; p <= points && r == 0; p++) {
    factor[p] = limit * exp2(-GRID_OCTAVES * (double)(points - p) / (double)(points - 1));
    r = evaluate(search, factor[p], &harm[p], problem);
    if (r == 0 && harm[p] > harm[best]) best = p;
  }
  if (r < 0) return r;
  *ret_low = factor[best > 0 ? best - 1 : 0];
  *ret_high = factor[best < points ? best + 1 : points];
  return 0;
}

/* Kiefer 1953. */
static int search_golden(struct search *search, double low, double high, size_t steps,
                         struct cns_problem *problem) {
  const double share = (sqrt(5) - 1) / 2;
  double left = high - share * (high - low), right = low + share * (high - low), left_harm, right_harm = -1;
  int r = evaluate(search, left, &left_harm, problem);
  if (r == 0 && steps > 1) r = evaluate(search, right, &right_harm, problem);
  for (size_t step = 2; step < steps && r == 0; step++) {
    if (left_harm >= right_harm) {
      high = right;
      right = left;
      right_harm = left_harm;
      left = high - share * (high - low);
      r = evaluate(search, left, &left_harm, problem);
    } else {
      low = left;
      left = right;
      left_harm = right_harm;
      right = low + share * (high - low);
      r = evaluate(search, right, &right_harm, problem);
    }
  }
  return r;
}

static int check(struct search *search, const struct cns_optimise_options *options,
                 struct cns_problem *problem) {
  size_t honest_min = search->kind == CNS_OPTIMISE_ALIE ? 2 : 1;
  if ((unsigned)search->kind > CNS_OPTIMISE_IPM || search->chain->no_rule || search->d == 0 ||
      !(options->limit > 0) || !(options->limit <= CNS_ATTACK_STRENGTH_MAX) || options->grid < 2 ||
      options->grid > GRID_MAX || options->golden > GOLDEN_MAX)
    return CNS_ERR_ARGUMENT;
  if (search->attacker_count < 1 || search->attacker_count > search->n ||
      search->n - search->attacker_count < honest_min)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%zu attackers of %zu leave too few honest rows",
                           search->attacker_count, search->n);
  for (size_t a = 0; a < search->attacker_count; a++) {
    if (search->attackers[a] >= search->n || search->malicious[search->attackers[a]])
      return cns_problem_set(problem, CNS_ERR_ARGUMENT, "attackers must be %zu different rows",
                             search->attacker_count);
    search->malicious[search->attackers[a]] = true;
  }
  return cns_robust_chain_check(search->chain, search->n, problem);
}

static int search_factor(struct search *search, const struct cns_optimise_options *options,
                         struct cns_problem *problem) {
  double low = 0, high = 0;
  search->best = (struct cns_optimise_result){.factor = INFINITY, .harm = -1};
  int r = check(search, options, problem);
  if (r == 0) r = moments(search, problem);
  if (r == 0) r = search_grid(search, options->limit, options->grid, &low, &high, problem);
  if (r == 0) r = search_golden(search, low, high, options->golden, problem);
  if (r == 0 && search->best.harm < 0)
    r = cns_problem_set(problem, CNS_ERR_RANGE, "the honest rows are too long for their type");
  if (r == 0) send(search, search->best.factor);
  return r;
}

int cns_attack_optimise(enum cns_optimise_kind kind, const struct cns_robust_chain *chain,
                        enum cns_robust_type type, void *matrix, size_t n, size_t d, const size_t *attackers,
                        size_t attacker_count, const struct cns_optimise_options *options,
                        struct cns_optimise_result *ret_result, struct cns_problem *problem) {
  struct cns_optimise_options used = options ? *options : (struct cns_optimise_options){0};
  if (used.limit == 0) used.limit = CNS_OPTIMISE_LIMIT;
  if (used.grid == 0) used.grid = CNS_OPTIMISE_GRID;
  if (used.golden == 0) used.golden = CNS_OPTIMISE_GOLDEN;
  if (n > CNS_ROBUST_ROWS_MAX || d > SIZE_MAX / CNS_ROBUST_ROWS_MAX / sizeof(double)) return CNS_ERR_LIMIT;
  struct search search = {.kind = kind,
                          .chain = chain,
                          .type = type,
                          .matrix = matrix,
                          .n = n,
                          .d = d,
                          .attackers = attackers,
                          .attacker_count = attacker_count,
                          .malicious = calloc(n ? n : 1, sizeof *search.malicious),
                          .mean = calloc(d ? d : 1, 4 * sizeof *search.mean)};
  int r = search.malicious && search.mean ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    search.deviation = search.mean + d;
    search.aim = search.deviation + d;
    search.result = search.aim + d;
    r = search_factor(&search, &used, problem);
  }
  if (r == 0 && ret_result) *ret_result = search.best;
  free(search.malicious);
  free(search.mean);
  return r;
}
