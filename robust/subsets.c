/* SPDX-License-Identifier: Apache-2.0 */
/* Searches over which f rows to leave out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/select.h"

/* ---- mda ---- */

/*
 * n - f rows of diameter at most t are left when each pair farther apart than t
 * loses one of its two: a vertex cover of size f. Branching on a row with the most
 * conflicts (without it, or without all that it conflicts with) ends after few steps,
 * since a row with more than f conflicts has to go.
 */
#define COVER_STEPS_MAX 20000000

struct cover {
  const double *squared;
  size_t n;
  double limit;
  bool *out; /* rows that are gone */
  size_t steps;
};

static bool conflict(const struct cover *cover, size_t i, size_t j) {
  return i != j && !cover->out[i] && !cover->out[j] && cover->squared[i * cover->n + j] > cover->limit;
}

static size_t worst_row(const struct cover *cover, size_t *ret_conflicts) {
  size_t worst = 0;
  *ret_conflicts = 0;
  for (size_t i = 0; i < cover->n; i++) {
    size_t count = 0;
    for (size_t j = 0; j < cover->n && !cover->out[i]; j++)
      count += conflict(cover, i, j);
    if (count > *ret_conflicts) {
      *ret_conflicts = count;
      worst = i;
    }
  }
  return worst;
}

/* 1: at most f more rows need to go; 0: more; `out` is as before. */
static int coverable(struct cover *cover, size_t f) {
  size_t conflicts, row = worst_row(cover, &conflicts), count = 0;
  uint16_t gone[CNS_HOSPITALS_MAX / 2];
  if (conflicts == 0) return 1;
  if (f == 0) return 0;
  if (++cover->steps > COVER_STEPS_MAX) return CNS_ERR_LIMIT;
  if (conflicts == 1) { /* only pairs: one of each */
    size_t pairs = 0;
    for (size_t i = 0; i < cover->n; i++)
      for (size_t j = 0; j < i; j++)
        pairs += conflict(cover, i, j);
    return pairs <= f;
  }
  cover->out[row] = true;
  int r = coverable(cover, f - 1);
  cover->out[row] = false;
  if (r != 0 || conflicts > f) return r;
  for (size_t j = 0; j < cover->n; j++)
    if (conflict(cover, row, j)) gone[count++] = (uint16_t)j;
  for (size_t k = 0; k < count; k++)
    cover->out[gone[k]] = true;
  r = coverable(cover, f - count);
  for (size_t k = 0; k < count; k++)
    cover->out[gone[k]] = false;
  return r;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The smallest distance that is enough. values: room for the n (n - 1) / 2 and 0. */
static int smallest_diameter(struct cover *cover, size_t f, double *values) {
  size_t count = 0, low = 0;
  values[count++] = 0;
  for (size_t i = 0; i < cover->n; i++)
    for (size_t j = 0; j < i; j++)
      values[count++] = cover->squared[i * cover->n + j];
  qsort(values, count, sizeof *values, compare);
  for (size_t high = count - 1; low < high;) {
    size_t middle = low + (high - low) / 2;
    cover->limit = values[middle];
    int r = coverable(cover, f);
    if (r < 0) return r;
    if (r)
      high = middle;
    else
      low = middle + 1;
  }
  cover->limit = values[low];
  return 0;
}

/* The first rows in order that can be kept, until there are `keep`. */
static int first_subset(struct cover *cover, size_t f, bool *ret_kept) {
  size_t left = f, kept = 0, keep = cover->n - f;
  memset(ret_kept, 0, cover->n * sizeof *ret_kept);
  for (size_t i = 0; i < cover->n && kept < keep; i++) {
    if (cover->out[i]) continue;
    size_t gone[CNS_HOSPITALS_MAX], count = 0;
    for (size_t j = 0; j < cover->n; j++)
      if (conflict(cover, i, j)) gone[count++] = j;
    bool clash = count > left;
    for (size_t k = 0; k < count; k++)
      clash = clash || ret_kept[gone[k]];
    for (size_t k = 0; k < count && !clash; k++)
      cover->out[gone[k]] = true;
    int r = clash ? 0 : coverable(cover, left - count);
    if (r < 0) return r;
    if (r) {
      ret_kept[i] = true;
      kept++;
      left -= count;
      continue;
    }
    for (size_t k = 0; k < count && !clash; k++)
      cover->out[gone[k]] = false;
    cover->out[i] = true;
    left--;
  }
  return 0;
}

int cns_subsets_mda(const double *squared, size_t n, size_t f, double *ret_coefficient) {
  struct cover cover = {.squared = squared, .n = n, .out = calloc(n, sizeof(bool))};
  bool *kept = malloc(n * sizeof *kept);
  double *values = malloc((n * (n - 1) / 2 + 1) * sizeof *values);
  int r = cover.out && kept && values ? 0 : CNS_ERR_MEMORY;
  if (r == 0) r = smallest_diameter(&cover, f, values);
  if (r == 0) r = first_subset(&cover, f, kept);
  for (size_t i = 0; r == 0 && i < n; i++)
    ret_coefficient[i] = kept[i] ? 1 / (double)(n - f) : 0;
  free(cover.out);
  free(kept);
  free(values);
  return r;
}

/* ---- smea ---- */

size_t cns_subsets_count(size_t n, size_t f) {
  size_t count = 1;
  for (size_t k = 1; k <= f; k++) {
    if (count > SIZE_MAX / (n - f + k)) return SIZE_MAX;
    count = count * (n - f + k) / k; /* always a whole number */
  }
  return count;
}

/* The next subset of m of n rows in lexicographic order. */
static bool next_subset(size_t *rows, size_t m, size_t n) {
  size_t i = m;
  while (i > 0 && rows[i - 1] == n - m + i - 1)
    i--;
  if (i == 0) return false;
  rows[i - 1]++;
  for (; i < m; i++)
    rows[i] = rows[i - 1] + 1;
  return true;
}

struct smea {
  const double *gram; /* n x n, centred on the mean of all */
  size_t n, m;
  double *matrix, *vector, *next; /* m x m, m, m */
};

/* matrix = products of the subset's rows, centred on their own mean. */
static void centre_subset(const struct smea *smea, const size_t *rows) {
  size_t m = smea->m;
  double all = 0;
  for (size_t i = 0; i < m; i++) {
    double sum = 0;
    for (size_t j = 0; j < m; j++) {
      smea->matrix[i * m + j] = smea->gram[rows[i] * smea->n + rows[j]];
      sum += smea->matrix[i * m + j];
    }
    smea->next[i] = sum / (double)m;
    all += smea->next[i] / (double)m;
  }
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < m; j++)
      smea->matrix[i * m + j] += all - smea->next[i] - smea->next[j];
}

/* <v, M v> / <v, v> is never above the largest eigenvalue, whatever v. A few power steps
 * from the last subset's vector say of most subsets that they are worse. */
static double lower_bound(const struct smea *smea) {
  size_t m = smea->m;
  double bound = 0;
  for (int step = 0; step < 4; step++) {
    double length = 0, product = 0, squared = 0;
    for (size_t i = 0; i < m; i++) {
      double sum = 0;
      for (size_t j = 0; j < m; j++)
        sum += smea->matrix[i * m + j] * smea->vector[j];
      smea->next[i] = sum;
      product += sum * smea->vector[i];
      squared += sum * sum;
      length += smea->vector[i] * smea->vector[i];
    }
    if (!(squared > 0)) break;
    bound = fmax(bound, product / length);
    for (size_t i = 0; i < m; i++)
      smea->vector[i] = smea->next[i] / sqrt(squared);
  }
  return bound;
}

static int smallest_variance(const struct smea *smea, size_t *rows, size_t *ret_best) {
  double least = INFINITY;
  for (size_t i = 0; i < smea->m; i++) {
    rows[i] = i;
    smea->vector[i] = i % 2 ? -1 - (double)i / 64 : 1;
  }
  do {
    double value;
    centre_subset(smea, rows);
    if (lower_bound(smea) >= least) continue;
    int r = cns_spectral_largest(smea->matrix, smea->m, &value, NULL);
    if (r < 0) return r;
    if (value < least - 1e-12 * fabs(least) || least == INFINITY) {
      least = value;
      memcpy(ret_best, rows, smea->m * sizeof *rows);
    }
  } while (next_subset(rows, smea->m, smea->n));
  return 0;
}

int cns_subsets_smea(const double *squared, size_t n, size_t f, double *ret_coefficient) {
  size_t m = n - f;
  if (cns_subsets_count(n, f) > CNS_SUBSETS_MAX) return CNS_ERR_LIMIT;
  double *room = malloc((n * n + m * m + 2 * m + n) * sizeof *room);
  size_t *rows = malloc(2 * m * sizeof *rows);
  int r = room && rows ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    double *gram = room + n, *matrix = gram + n * n;
    for (size_t i = 0; i < n; i++)
      room[i] = 1 / (double)n;
    struct smea smea = {gram, n, m, matrix, matrix + m * m, matrix + m * m + m};
    r = cns_spectral_centred(squared, room, n, gram);
    if (r == 0) r = smallest_variance(&smea, rows, rows + m);
  }
  if (r == 0) memset(ret_coefficient, 0, n * sizeof *ret_coefficient);
  for (size_t i = 0; r == 0 && i < m; i++)
    ret_coefficient[rows[m + i]] = 1 / (double)m;
  free(room);
  free(rows);
  return r;
}
