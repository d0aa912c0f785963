/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "robust/rules.h"

size_t cns_robust_pre_rows(enum cns_robust_pre pre, const struct cns_robust_params *params, size_t n) {
  if (pre != CNS_ROBUST_BUCKETING || !params || params->size == 0) return n;
  return n / params->size + (n % params->size != 0);
}

static void one_for_each(const double *weights, size_t n, double *ret_weights) {
  for (size_t i = 0; i < n; i++)
    ret_weights[i] = weights ? weights[i] : 1;
}

static int nnm(const struct cns_matrix *matrix, const struct cns_robust_params *params, void *ret_matrix,
               struct cns_problem *problem) {
  size_t n = matrix->n;
  double *room = malloc(2 * n * n * sizeof *room);
  if (!room) return CNS_ERR_MEMORY;
  double *coefficient = room + n * n;
  int r = cns_matrix_distances(matrix, room);
  if (r == 0) r = cns_rules_check_finite(matrix, room, n * n, problem);
  for (size_t i = 0; r == 0 && i < n; i++)
    r = cns_select_nearest(room + i * n, n, params->byzantine, params->weights, coefficient + i * n);
  if (r == 0) r = cns_matrix_product(matrix, coefficient, n, ret_matrix);
  free(room);
  return r;
}

static int shuffle(uint64_t seed, size_t n, uint32_t *ret_order) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, seed, "bucketing");
  for (size_t i = 0; i < n; i++)
    ret_order[i] = (uint32_t)i;
  return cns_rng_shuffle(cns_rng_seeded(&generator), ret_order, n);
}

static int bucketing(const struct cns_matrix *matrix, const struct cns_robust_params *params,
                     void *ret_matrix, double *ret_weights, struct cns_problem *problem) {
  size_t n = matrix->n, buckets = cns_robust_pre_rows(CNS_ROBUST_BUCKETING, params, n);
  uint32_t *order = malloc(n * sizeof *order);
  double *coefficient = malloc(n * sizeof *coefficient);
  int r = order && coefficient ? shuffle(params->seed, n, order) : CNS_ERR_MEMORY;
  for (size_t bucket = 0; r == 0 && bucket < buckets; bucket++) {
    size_t begin = bucket * params->size, end = n - begin < params->size ? n : begin + params->size;
    double total = 0;
    memset(coefficient, 0, n * sizeof *coefficient);
    for (size_t k = begin; k < end; k++)
      total += coefficient[order[k]] = params->weights ? params->weights[order[k]] : 1;
    for (size_t k = begin; k < end; k++)
      coefficient[order[k]] /= total;
    if (!cns_matrix_combine(matrix, coefficient,
                            (char *)ret_matrix + bucket * matrix->d * (size_t)matrix->type))
      r = cns_rules_not_finite(matrix, problem);
    if (ret_weights) ret_weights[bucket] = total;
  }
  free(order);
  free(coefficient);
  return r;
}

/*
 * The length that the longest rows are clipped to: of those whose weights together are at most
 * floor(2f(n-f)/n)/n of the total, the next one's. norms: squared.
 */
static int arc_length(const double *norms, const double *weights, size_t n, size_t f, double *ret_length) {
  size_t *order = malloc(n * sizeof *order);
  if (!order) return CNS_ERR_MEMORY;
  int r = cns_select_order(norms, n, order);
  double total = 0, longest = 0;
  for (size_t i = 0; i < n; i++)
    total += weights ? weights[i] : 1;
  double share = total * (double)(2 * f * (n - f) / n) / (double)n;
  size_t k = n - 1;
  for (; r == 0 && k > 0; k--) {
    longest += weights ? weights[order[k]] : 1;
    if (longest > share * (1 + 1e-12)) break;
  }
  if (r == 0) *ret_length = sqrt(norms[order[k]]);
  free(order);
  return r;
}

static int clipping(enum cns_robust_pre pre, const struct cns_matrix *matrix,
                    const struct cns_robust_params *params, void *ret_matrix, struct cns_problem *problem) {
  size_t n = matrix->n;
  double *norms = malloc(n * sizeof *norms), length = params->norm;
  if (!norms) return CNS_ERR_MEMORY;
  int r = cns_matrix_norms(matrix, NULL, norms, NULL);
  if (r == 0) r = cns_rules_check_finite(matrix, norms, n, problem);
  if (r == 0 && pre == CNS_ROBUST_ARC) r = arc_length(norms, params->weights, n, params->byzantine, &length);
  for (size_t i = 0; r == 0 && i < n; i++) {
    double own = sqrt(norms[i]);
    norms[i] = own > length ? length / own : 1;
  }
  if (r == 0) cns_matrix_scale(matrix, norms, ret_matrix);
  free(norms);
  return r;
}

int cns_robust_preaggregate(enum cns_robust_pre pre, const struct cns_robust_params *params,
                            enum cns_robust_type type, const void *matrix, size_t n, size_t d,
                            void *ret_matrix, double *ret_weights, struct cns_problem *problem) {
  static const struct cns_robust_params defaults = {0};
  const struct cns_robust_params *p = params ? params : &defaults;
  struct cns_matrix rows = {type, matrix, n, d, p->threads};
  int r = cns_robust_check_pre(pre, p, n, problem);
  if (r == 0) r = cns_rules_check_shape(&rows, problem);
  if (r < 0) return r;
  if (pre == CNS_ROBUST_BUCKETING)
    r = bucketing(&rows, p, ret_matrix, ret_weights, problem);
  else if (pre == CNS_ROBUST_NNM)
    r = nnm(&rows, p, ret_matrix, problem);
  else
    r = clipping(pre, &rows, p, ret_matrix, problem);
  if (r == 0 && ret_weights && pre != CNS_ROBUST_BUCKETING) one_for_each(p->weights, n, ret_weights);
  if (r == CNS_ERR_MEMORY)
    return cns_problem_set(problem, r, "out of memory for %s", cns_robust_about_pre(pre)->name);
  return r;
}
