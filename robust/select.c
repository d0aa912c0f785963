/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct keyed {
  double key;
  size_t row;
};

static int compare(const void *a, const void *b) {
  const struct keyed *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

int cns_select_order(const double *keys, size_t n, size_t *ret_order) {
  struct keyed *keyed = malloc(n * sizeof *keyed);
  if (!keyed) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < n; i++)
    keyed[i] = (struct keyed){keys[i], i};
  qsort(keyed, n, sizeof *keyed, compare);
  for (size_t i = 0; i < n; i++)
    ret_order[i] = keyed[i].row;
  free(keyed);
  return 0;
}

int cns_select_scores(const double *squared, size_t n, const bool *in, size_t others, double *ret_scores) {
  struct keyed *near = malloc(n * sizeof *near);
  if (!near) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) {
    size_t count = 0;
    for (size_t j = 0; j < n; j++)
      if (j != i && (!in || in[j])) near[count++] = (struct keyed){squared[i * n + j], j};
    qsort(near, count, sizeof *near, compare);
    ret_scores[i] = in && !in[i] ? INFINITY : 0;
    for (size_t k = 0; k < others && k < count; k++)
      ret_scores[i] += near[k].key;
  }
  free(near);
  return 0;
}

int cns_select_smallest(const double *scores, size_t n, size_t count, double *ret_coefficient) {
  size_t *order = malloc(n * sizeof *order);
  int r = order ? cns_select_order(scores, n, order) : CNS_ERR_MEMORY;
  if (r == 0) {
    memset(ret_coefficient, 0, n * sizeof *ret_coefficient);
    for (size_t k = 0; k < count; k++)
      ret_coefficient[order[k]] = 1 / (double)count;
  }
  free(order);
  return r;
}

int cns_select_bulyan(const double *squared, size_t n, size_t f, size_t least, size_t *ret_rows) {
  size_t wanted = n - 2 * f, count = 0;
  bool *in = malloc(n * sizeof *in);
  double *scores = malloc(n * sizeof *scores);
  int r = in && scores ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < n; i++)
    in[i] = true;
  for (size_t left = n; r == 0 && left > n - wanted; left--) {
    size_t others = left > f + 2 ? left - f - 2 : 0, best = 0;
    r = cns_select_scores(squared, n, in, others < least ? least : others, scores);
    if (r < 0) break;
    while (!in[best])
      best++;
    for (size_t i = best; i < n; i++)
      if (in[i] && scores[i] < scores[best]) best = i;
    in[best] = false;
  }
  for (size_t i = 0; r == 0 && i < n; i++)
    if (!in[i]) ret_rows[count++] = i;
  free(in);
  free(scores);
  return r;
}

int cns_select_nearest(const double *squared, size_t n, size_t f, const double *weights,
                       double *ret_coefficient) {
  size_t *order = malloc(n * sizeof *order);
  if (!order) return CNS_ERR_MEMORY;
  int r = cns_select_order(squared, n, order);
  double total = 0, kept = 0;
  for (size_t i = 0; i < n; i++)
    total += weights ? weights[i] : 1;
  double wanted = total * ((double)(n - f) / (double)n);
  memset(ret_coefficient, 0, n * sizeof *ret_coefficient);
  for (size_t k = 0; r == 0 && k < n && wanted - kept > 1e-12 * total; k++) {
    double part = fmin(weights ? weights[order[k]] : 1, wanted - kept);
    ret_coefficient[order[k]] = part / wanted;
    kept += part;
  }
  free(order);
  return r;
}
