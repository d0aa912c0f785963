/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Most rules are a mean of the rows with coefficients that depend on their
 * distances only: one pass over the columns for the distances, then the n x n
 * side, then one pass for the mean.
 */
#include "robust/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "robust/columns.h"

#define GEOMETRIC_NU 0.1
/* Shejwalkar and Houmansadr's dimension of the draws. */
#define DNC_COLUMNS 10000

/* ---- rules ---- */

struct rule {
  enum cns_robust_rule kind;
  const struct cns_robust_params *params;
  const struct cns_matrix *matrix;
  double *coefficient, *share, *norms, *products; /* n */
  double *squared;                                /* n x n */
  struct cns_problem *problem;
};

void cns_rules_shares(const double *weights, size_t n, double *ret_share) {
  double total = 0;
  for (size_t i = 0; i < n; i++)
    total += weights ? weights[i] : 1;
  for (size_t i = 0; i < n; i++)
    ret_share[i] = (weights ? weights[i] : 1) / total;
}

static int distances(const struct rule *rule) {
  size_t n = rule->matrix->n;
  int r = cns_matrix_distances(rule->matrix, rule->squared);
  return r < 0 ? r : cns_rules_check_finite(rule->matrix, rule->squared, n * n, rule->problem);
}

static int norms(const struct rule *rule) {
  const void *reference = rule->kind == CNS_ROBUST_FLTRUST ? rule->params->reference : NULL;
  int r = cns_matrix_norms(rule->matrix, reference, rule->norms, rule->products);
  return r < 0 ? r : cns_rules_check_finite(rule->matrix, rule->norms, rule->matrix->n, rule->problem);
}

static int krum(const struct rule *rule) {
  size_t n = rule->matrix->n, f = rule->params->byzantine;
  bool one = rule->kind == CNS_ROBUST_KRUM;
  int r = distances(rule);
  if (r == 0)
    r = cns_select_scores(rule->squared, n, NULL, rule->params->variant ? n - f - 1 : n - f - 2, rule->norms);
  return r < 0 ? r : cns_select_smallest(rule->norms, n, one ? 1 : n - f, rule->coefficient);
}

static int geometric_median(const struct rule *rule) {
  double nu = rule->params->nu != 0 ? rule->params->nu : GEOMETRIC_NU;
  int r = distances(rule);
  if (r == 0) r = norms(rule);
  if (r < 0) return r;
  return cns_centre_geometric_median(rule->squared, rule->norms, rule->share, rule->matrix->n, nu,
                                     rule->params->iterations, rule->coefficient);
}

static int centered_clipping(const struct rule *rule) {
  size_t iterations = rule->params->iterations ? rule->params->iterations : 1;
  int r = norms(rule);
  if (r == 0 && iterations > 1) r = distances(rule);
  if (r < 0) return r;
  return cns_centre_clipping(rule->squared, rule->norms, rule->share, rule->matrix->n, rule->params->tau,
                             iterations, rule->coefficient);
}

static int clipped_mean(const struct rule *rule) {
  int r = norms(rule);
  for (size_t i = 0; r == 0 && i < rule->matrix->n; i++) {
    double length = sqrt(rule->norms[i]);
    rule->coefficient[i] = rule->share[i] * (length > rule->params->norm ? rule->params->norm / length : 1);
  }
  return r;
}

/* Rows of length 0 and those that point away from the reference have no trust; if none
 * has any, the result is zero. */
static int fltrust(const struct rule *rule) {
  struct cns_matrix reference = *rule->matrix;
  double squared, trust = 0;
  reference.data = rule->params->reference;
  reference.n = 1;
  int r = cns_matrix_norms(&reference, NULL, &squared, NULL);
  if (r < 0) return r;
  if (!isfinite(squared))
    return cns_problem_set(rule->problem, CNS_ERR_RANGE,
                           "fltrust: the reference has values that aren't finite or too large to be squared");
  r = norms(rule);
  if (r < 0) return r;
  if (!(squared > 0))
    return cns_problem_set(rule->problem, CNS_ERR_RANGE,
                           "fltrust: the reference is zero and points in no direction");
  for (size_t i = 0; i < rule->matrix->n; i++) {
    double score = rule->norms[i] > 0 ? rule->products[i] / sqrt(rule->norms[i]) / sqrt(squared) : 0;
    score = rule->share[i] * fmax(score, 0);
    rule->coefficient[i] = score > 0 ? score * sqrt(squared) / sqrt(rule->norms[i]) : 0;
    trust += score;
  }
  for (size_t i = 0; trust > 0 && i < rule->matrix->n; i++)
    rule->coefficient[i] /= trust;
  return 0;
}

static int monna(const struct rule *rule) {
  size_t n = rule->matrix->n;
  int r = cns_matrix_gaps(rule->matrix, cns_matrix_at(rule->matrix, rule->params->pivot, 0), rule->norms);
  if (r == 0) r = cns_rules_check_finite(rule->matrix, rule->norms, n, rule->problem);
  if (r < 0) return r;
  return cns_select_nearest(rule->norms, n, rule->params->byzantine, rule->params->weights,
                            rule->coefficient);
}

static int spectral(const struct rule *rule) {
  size_t n = rule->matrix->n, f = rule->params->byzantine;
  int r = distances(rule);
  if (r < 0) return r;
  if (rule->kind == CNS_ROBUST_MDA) {
    r = cns_subsets_mda(rule->squared, n, f, rule->coefficient);
    if (r == CNS_ERR_LIMIT)
      return cns_problem_set(rule->problem, r, "mda: the search among %zu rows with f = %zu is too long", n,
                             f);
    return r;
  }
  if (rule->kind == CNS_ROBUST_SMEA) return cns_subsets_smea(rule->squared, n, f, rule->coefficient);
  r = cns_spectral_caf(rule->squared, rule->share, n, f, rule->params->variant != NULL, rule->coefficient);
  if (r == CNS_ERR_LIMIT)
    return cns_problem_set(rule->problem, r,
                           "caf, variant byzfl, doesn't end on these rows; the paper's does");
  return r;
}

/* ---- dnc ---- */

/* `count` of d columns, in ascending order (Knuth, TAOCP 2, 3.4.2, algorithm S). */
static int draw_columns(const struct cns_matrix *matrix, size_t count, struct cns_rng rng, void *ret_part) {
  size_t size = (size_t)matrix->type, taken = 0;
  for (size_t column = 0; column < matrix->d && taken < count; column++) {
    uint64_t place;
    int r = cns_rng_uniform_u64(rng, matrix->d - column, &place);
    if (r < 0) return r;
    if (place >= count - taken) continue;
    for (size_t i = 0; i < matrix->n; i++)
      memcpy((char *)ret_part + (i * count + taken) * size, cns_matrix_at(matrix, i, column), size);
    taken++;
  }
  return 0;
}

/* Marks the f rows of largest projection in one draw. */
static int dnc_draw(const struct rule *rule, const struct cns_matrix *part, size_t *order, bool *out) {
  size_t n = part->n;
  int r = cns_matrix_distances(part, rule->squared);
  if (r == 0) r = cns_rules_check_finite(rule->matrix, rule->squared, n * n, rule->problem);
  if (r == 0) r = cns_spectral_scores(rule->squared, n, rule->norms);
  if (r == 0) r = cns_select_order(rule->norms, n, order);
  for (size_t k = n - rule->params->byzantine; r == 0 && k < n; k++)
    out[order[k]] = true;
  return r;
}

static int dnc(const struct rule *rule) {
  size_t n = rule->matrix->n, iterations = rule->params->iterations ? rule->params->iterations : 1, kept = 0;
  struct cns_matrix part = *rule->matrix;
  struct cns_rng_seeded generator;
  bool finite[CNS_ROBUST_ROWS_MAX]; /* what is drawn doesn't say it */
  if (cns_robust_finite_rows(part.type, part.data, n, part.d, part.threads, finite) < n)
    return cns_rules_not_finite(&part, rule->problem);
  bool *out = calloc(n, sizeof *out);
  size_t *order = malloc(n * sizeof *order);
  void *drawn = NULL;
  int r = out && order ? 0 : CNS_ERR_MEMORY;
  if (part.d > DNC_COLUMNS) {
    part.d = DNC_COLUMNS;
    part.data = drawn = malloc(n * part.d * (size_t)part.type);
    if (!drawn) r = CNS_ERR_MEMORY;
  }
  cns_rng_seeded_init_label(&generator, rule->params->seed, "dnc");
  for (size_t k = 0; r == 0 && k < iterations; k++) {
    if (drawn) r = draw_columns(rule->matrix, part.d, cns_rng_seeded(&generator), drawn);
    if (r == 0) r = dnc_draw(rule, &part, order, out);
  }
  for (size_t i = 0; r == 0 && i < n; i++)
    kept += !out[i];
  for (size_t i = 0; r == 0 && i < n; i++)
    rule->coefficient[i] = out[i] ? 0 : 1 / (double)kept;
  free(out);
  free(order);
  free(drawn);
  return r;
}

/* ---- by columns ---- */

static int bulyan_rows(const struct rule *rule, size_t *rows) {
  int r = distances(rule);
  if (r < 0) return r;
  return cns_select_bulyan(rule->squared, rule->matrix->n, rule->params->byzantine,
                           rule->params->variant ? 1 : 0, rows);
}

static int by_columns(const struct rule *rule, void *ret_vector) {
  size_t n = rule->matrix->n, f = rule->params->byzantine, count = n, drop = f;
  enum cns_columns_kind kind = CNS_COLUMNS_MEAMED;
  size_t *rows = malloc(n * sizeof *rows);
  int r = rows ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < n; i++)
    rows[i] = i;
  if (rule->kind == CNS_ROBUST_MEDIAN) kind = CNS_COLUMNS_MEDIAN;
  if (rule->kind == CNS_ROBUST_TRIMMED_MEAN) kind = CNS_COLUMNS_TRIMMED;
  if (r == 0 && rule->kind == CNS_ROBUST_BULYAN) {
    r = bulyan_rows(rule, rows);
    count = n - 2 * f;
    drop = 2 * f;
  }
  if (r == 0 && rule->params->weights)
    r = cns_columns_aggregate_weighted(rule->matrix, kind, rule->params->weights, f, ret_vector);
  else if (r == 0)
    r = cns_columns_aggregate(rule->matrix, kind, rows, count, drop, ret_vector);
  free(rows);
  return r == CNS_ERR_RANGE ? cns_rules_not_finite(rule->matrix, rule->problem) : r;
}

static int coefficients(const struct rule *rule) {
  switch (rule->kind) {
  case CNS_ROBUST_MEAN:
    memcpy(rule->coefficient, rule->share, rule->matrix->n * sizeof *rule->share);
    return 0;
  case CNS_ROBUST_KRUM:
  case CNS_ROBUST_MULTI_KRUM:
    return krum(rule);
  case CNS_ROBUST_GEOMETRIC_MEDIAN:
    return geometric_median(rule);
  case CNS_ROBUST_CENTERED_CLIPPING:
    return centered_clipping(rule);
  case CNS_ROBUST_MONNA:
    return monna(rule);
  case CNS_ROBUST_DNC:
    return dnc(rule);
  case CNS_ROBUST_FLTRUST:
    return fltrust(rule);
  case CNS_ROBUST_CLIPPED_MEAN:
    return clipped_mean(rule);
  default:
    return spectral(rule);
  }
}

static bool is_by_columns(enum cns_robust_rule rule) {
  return rule == CNS_ROBUST_MEDIAN || rule == CNS_ROBUST_TRIMMED_MEAN || rule == CNS_ROBUST_MEAMED ||
         rule == CNS_ROBUST_BULYAN;
}

static int aggregate(struct rule *rule, void *ret_vector) {
  size_t n = rule->matrix->n;
  double *room = malloc((4 * n + n * n) * sizeof *room);
  if (!room) return CNS_ERR_MEMORY;
  rule->coefficient = room;
  rule->share = room + n;
  rule->norms = room + 2 * n;
  rule->products = room + 3 * n;
  rule->squared = room + 4 * n;
  cns_rules_shares(rule->params->weights, n, rule->share);
  int r = is_by_columns(rule->kind) ? by_columns(rule, ret_vector) : coefficients(rule);
  if (r == 0 && !is_by_columns(rule->kind) &&
      !cns_matrix_combine(rule->matrix, rule->coefficient, ret_vector))
    r = cns_rules_not_finite(rule->matrix, rule->problem);
  free(room);
  return r;
}

int cns_robust_aggregate(enum cns_robust_rule rule, const struct cns_robust_params *params,
                         enum cns_robust_type type, const void *matrix, size_t n, size_t d, void *ret_vector,
                         struct cns_problem *problem) {
  static const struct cns_robust_params defaults = {0};
  const struct cns_robust_params *p = params ? params : &defaults;
  struct cns_matrix rows = {type, matrix, n, d, p->threads};
  struct rule work = {.kind = rule, .params = p, .matrix = &rows, .problem = problem};
  int r = cns_robust_check_rule(rule, p, n, problem);
  if (r == 0) r = cns_rules_check_shape(&rows, problem);
  if (r < 0) return r;
  r = aggregate(&work, ret_vector);
  if (r == CNS_ERR_MEMORY)
    return cns_problem_set(problem, r, "out of memory for %s", cns_robust_about_rule(rule)->name);
  return r;
}
