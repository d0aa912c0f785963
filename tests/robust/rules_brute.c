/* SPDX-License-Identifier: Apache-2.0 */
#include "rules_brute.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rows {
  const double *x;
  size_t n, d;
};

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double gap(const double *a, const double *b, size_t d) {
  double sum = 0;
  for (size_t c = 0; c < d; c++)
    sum += (a[c] - b[c]) * (a[c] - b[c]);
  return sqrt(sum);
}

static double length_of(const double *a, size_t d) {
  double sum = 0;
  for (size_t c = 0; c < d; c++)
    sum += a[c] * a[c];
  return sqrt(sum);
}

static void mean_of(const struct rows *rows, const double *weight, double *ret_mean) {
  double total = 0;
  for (size_t i = 0; i < rows->n; i++)
    total += weight[i];
  for (size_t c = 0; c < rows->d; c++) {
    ret_mean[c] = 0;
    for (size_t i = 0; i < rows->n; i++)
      ret_mean[c] += weight[i] * rows->x[i * rows->d + c] / total;
  }
}

static double median_of(const double *values, size_t n) {
  double sorted[BRUTE_ROWS_MAX];
  memcpy(sorted, values, n * sizeof *values);
  qsort(sorted, n, sizeof *sorted, compare);
  return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* The mean of the `keep` values that are nearest, found one after the other. */
static double mean_near(const double *values, size_t n, double middle, size_t keep) {
  bool taken[BRUTE_ROWS_MAX] = {false};
  double sum = 0;
  for (size_t k = 0; k < keep; k++) {
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
      if (taken[i]) continue;
      double mine = fabs(values[i] - middle), other = best < n ? fabs(values[best] - middle) : INFINITY;
      if (mine < other || (mine == other && values[i] < values[best])) best = i;
    }
    taken[best] = true;
    sum += values[best];
  }
  return sum / (double)keep;
}

static double trimmed(const double *values, size_t n, size_t f) {
  double sorted[BRUTE_ROWS_MAX], sum = 0;
  memcpy(sorted, values, n * sizeof *values);
  qsort(sorted, n, sizeof *sorted, compare);
  for (size_t i = f; i < n - f; i++)
    sum += sorted[i] / (double)(n - 2 * f);
  return sum;
}

static void by_columns(enum cns_robust_rule rule, const struct rows *rows, const bool *in, size_t drop,
                       double *ret_vector) {
  for (size_t c = 0; c < rows->d; c++) {
    double values[BRUTE_ROWS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < rows->n; i++)
      if (in[i]) values[count++] = rows->x[i * rows->d + c];
    if (rule == CNS_ROBUST_MEDIAN)
      ret_vector[c] = median_of(values, count);
    else if (rule == CNS_ROBUST_TRIMMED_MEAN)
      ret_vector[c] = trimmed(values, count, drop);
    else
      ret_vector[c] = mean_near(values, count, median_of(values, count), count - drop);
  }
}

/* Krum's score of row i among those in. */
static double score(const struct rows *rows, const bool *in, size_t i, size_t others) {
  double near[BRUTE_ROWS_MAX], sum = 0;
  size_t count = 0;
  for (size_t j = 0; j < rows->n; j++)
    if (j != i && in[j]) near[count++] = pow(gap(rows->x + i * rows->d, rows->x + j * rows->d, rows->d), 2);
  qsort(near, count, sizeof *near, compare);
  for (size_t k = 0; k < others && k < count; k++)
    sum += near[k];
  return sum;
}

/* The m rows of least score. */
static void krum(const struct rows *rows, size_t others, size_t m, double *ret_vector) {
  bool in[BRUTE_ROWS_MAX];
  double weight[BRUTE_ROWS_MAX] = {0};
  for (size_t i = 0; i < rows->n; i++)
    in[i] = true;
  for (size_t k = 0; k < m; k++) {
    size_t best = rows->n;
    for (size_t i = 0; i < rows->n; i++)
      if (weight[i] == 0 && (best == rows->n || score(rows, in, i, others) < score(rows, in, best, others)))
        best = i;
    weight[best] = 1;
  }
  mean_of(rows, weight, ret_vector);
}

static void bulyan(const struct rows *rows, size_t f, size_t least, double *ret_vector) {
  bool left[BRUTE_ROWS_MAX], chosen[BRUTE_ROWS_MAX] = {false};
  for (size_t i = 0; i < rows->n; i++)
    left[i] = true;
  for (size_t k = 0; k < rows->n - 2 * f; k++) {
    size_t count = rows->n - k, others = count > f + 2 ? count - f - 2 : 0, best = rows->n;
    if (others < least) others = least;
    for (size_t i = 0; i < rows->n; i++)
      if (left[i] && (best == rows->n || score(rows, left, i, others) < score(rows, left, best, others)))
        best = i;
    left[best] = false;
    chosen[best] = true;
  }
  by_columns(CNS_ROBUST_BULYAN, rows, chosen, 2 * f, ret_vector);
}

/* Jacobi's rotations on a d x d matrix: its largest eigenvalue and the vector. */
static double jacobi(double a[BRUTE_COLUMNS_MAX][BRUTE_COLUMNS_MAX], size_t d, double *ret_vector) {
  double v[BRUTE_COLUMNS_MAX][BRUTE_COLUMNS_MAX] = {{0}};
  for (size_t i = 0; i < d; i++)
    v[i][i] = 1;
  for (int sweep = 0; sweep < 60; sweep++)
    for (size_t p = 0; p < d; p++)
      for (size_t q = p + 1; q < d; q++) {
        if (a[p][q] == 0) continue;
        double angle = 0.5 * atan2(2 * a[p][q], a[q][q] - a[p][p]), c = cos(angle), s = sin(angle);
        for (size_t k = 0; k < d; k++) {
          double x = a[k][p], y = a[k][q];
          a[k][p] = c * x - s * y;
          a[k][q] = s * x + c * y;
        }
        for (size_t k = 0; k < d; k++) {
          double x = a[p][k], y = a[q][k], t = v[k][p], u = v[k][q];
          a[p][k] = c * x - s * y;
          a[q][k] = s * x + c * y;
          v[k][p] = c * t - s * u;
          v[k][q] = s * t + c * u;
        }
      }
  size_t best = 0;
  for (size_t i = 1; i < d; i++)
    if (a[i][i] > a[best][best]) best = i;
  for (size_t k = 0; k < d; k++)
    ret_vector[k] = v[k][best];
  return a[best][best];
}

/* Covariance around the weighted mean; projections are squared. */
static double covariance(const struct rows *rows, const double *weight, double *ret_mean,
                         double *ret_projection) {
  double a[BRUTE_COLUMNS_MAX][BRUTE_COLUMNS_MAX] = {{0}}, direction[BRUTE_COLUMNS_MAX], total = 0;
  mean_of(rows, weight, ret_mean);
  for (size_t i = 0; i < rows->n; i++)
    total += weight[i];
  for (size_t i = 0; i < rows->n; i++)
    for (size_t p = 0; p < rows->d; p++)
      for (size_t q = 0; q < rows->d; q++)
        a[p][q] += weight[i] / total * (rows->x[i * rows->d + p] - ret_mean[p]) *
                   (rows->x[i * rows->d + q] - ret_mean[q]);
  double largest = jacobi(a, rows->d, direction);
  for (size_t i = 0; i < rows->n; i++) {
    double sum = 0;
    for (size_t p = 0; p < rows->d; p++)
      sum += (rows->x[i * rows->d + p] - ret_mean[p]) * direction[p];
    ret_projection[i] = sum * sum;
  }
  return largest;
}

static double diameter(const struct rows *rows, const double *weight) {
  double largest = 0;
  for (size_t i = 0; i < rows->n; i++)
    for (size_t j = 0; j < i; j++)
      if (weight[i] != 0 && weight[j] != 0)
        largest = fmax(largest, gap(rows->x + i * rows->d, rows->x + j * rows->d, rows->d));
  return largest;
}

/* All subsets in lexicographic order: row i is bit n-1-i, from the largest number down. */
static void best_subset(enum cns_robust_rule rule, const struct rows *rows, size_t f, double *ret_vector) {
  double least = INFINITY, mean[BRUTE_COLUMNS_MAX], projection[BRUTE_ROWS_MAX];
  for (unsigned long bits = 1ul << rows->n; bits-- > 0;) {
    double weight[BRUTE_ROWS_MAX] = {0};
    if ((size_t)__builtin_popcountl(bits) != rows->n - f) continue;
    for (size_t i = 0; i < rows->n; i++)
      weight[i] = bits >> (rows->n - 1 - i) & 1 ? 1 : 0;
    double value =
        rule == CNS_ROBUST_MDA ? diameter(rows, weight) : covariance(rows, weight, mean, projection);
    if (!(value < least)) continue;
    least = value;
    mean_of(rows, weight, ret_vector);
  }
}

static void caf(const struct rows *rows, size_t f, bool all, double *ret_vector) {
  double c[BRUTE_ROWS_MAX], sum = (double)rows->n, least = INFINITY;
  for (size_t i = 0; i < rows->n; i++)
    c[i] = 1;
  do {
    double mean[BRUTE_COLUMNS_MAX], projection[BRUTE_ROWS_MAX], most = 0;
    double largest = covariance(rows, c, mean, projection);
    if (largest < least) {
      least = largest;
      memcpy(ret_vector, mean, rows->d * sizeof *mean);
    }
    for (size_t i = 0; i < rows->n; i++)
      if (all || c[i] > 0) most = fmax(most, projection[i]);
    sum = 0;
    for (size_t i = 0; i < rows->n; i++) {
      c[i] = fmax(c[i] * (1 - projection[i] / most), 0);
      sum += c[i];
    }
  } while (sum > (double)(rows->n - 2 * f));
}

static void dnc(const struct rows *rows, size_t f, double *ret_vector) {
  double weight[BRUTE_ROWS_MAX] = {0}, mean[BRUTE_COLUMNS_MAX], projection[BRUTE_ROWS_MAX];
  for (size_t i = 0; i < rows->n; i++)
    weight[i] = 1;
  covariance(rows, weight, mean, projection);
  for (size_t k = 0; k < f; k++) {
    size_t worst = rows->n;
    for (size_t i = 0; i < rows->n; i++)
      if (weight[i] != 0 && (worst == rows->n || projection[i] > projection[worst])) worst = i;
    weight[worst] = 0;
  }
  mean_of(rows, weight, ret_vector);
}

/* Weiszfeld's steps in d dimensions. */
static void geometric_median(const struct rows *rows, double nu, size_t steps, double *z) {
  memset(z, 0, rows->d * sizeof *z);
  for (size_t k = 0; k < steps; k++) {
    double weight[BRUTE_ROWS_MAX] = {0};
    for (size_t i = 0; i < rows->n; i++)
      weight[i] = 1 / fmax(gap(rows->x + i * rows->d, z, rows->d), nu);
    mean_of(rows, weight, z);
  }
}

static void centered_clipping(const struct rows *rows, double tau, size_t steps, double *v) {
  memset(v, 0, rows->d * sizeof *v);
  for (size_t k = 0; k < steps; k++) {
    double move[BRUTE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < rows->n; i++) {
      double factor = fmin(1, tau / gap(rows->x + i * rows->d, v, rows->d));
      for (size_t c = 0; c < rows->d; c++)
        move[c] += factor * (rows->x[i * rows->d + c] - v[c]) / (double)rows->n;
    }
    for (size_t c = 0; c < rows->d; c++)
      v[c] += move[c];
  }
}

static void nearest_mean(const struct rows *rows, size_t row, size_t keep, double *ret_vector) {
  double weight[BRUTE_ROWS_MAX] = {0};
  for (size_t k = 0; k < keep; k++) {
    size_t best = rows->n;
    for (size_t i = 0; i < rows->n; i++)
      if (weight[i] == 0 &&
          (best == rows->n || gap(rows->x + i * rows->d, rows->x + row * rows->d, rows->d) <
                                  gap(rows->x + best * rows->d, rows->x + row * rows->d, rows->d)))
        best = i;
    weight[best] = 1;
  }
  mean_of(rows, weight, ret_vector);
}

static void fltrust(const struct rows *rows, const double *g, double *ret_vector) {
  double total = 0;
  memset(ret_vector, 0, rows->d * sizeof *ret_vector);
  for (size_t i = 0; i < rows->n; i++) {
    const double *row = rows->x + i * rows->d;
    double product = 0;
    for (size_t c = 0; c < rows->d; c++)
      product += row[c] * g[c];
    double cosine = product / length_of(row, rows->d) / length_of(g, rows->d);
    if (!(cosine > 0)) continue;
    total += cosine;
    for (size_t c = 0; c < rows->d; c++)
      ret_vector[c] += cosine * row[c] * length_of(g, rows->d) / length_of(row, rows->d);
  }
  for (size_t c = 0; c < rows->d && total > 0; c++)
    ret_vector[c] /= total;
}

static void clip(const struct rows *rows, double norm, double *ret_matrix) {
  for (size_t i = 0; i < rows->n; i++)
    for (size_t c = 0; c < rows->d; c++)
      ret_matrix[i * rows->d + c] =
          rows->x[i * rows->d + c] * fmin(1, norm / length_of(rows->x + i * rows->d, rows->d));
}

static void clipped_mean(const struct rows *rows, double norm, double *ret_vector) {
  double clipped[BRUTE_ROWS_MAX * BRUTE_COLUMNS_MAX], weight[BRUTE_ROWS_MAX] = {0};
  struct rows short_rows = {clipped, rows->n, rows->d};
  clip(rows, norm, clipped);
  for (size_t i = 0; i < rows->n; i++)
    weight[i] = 1;
  mean_of(&short_rows, weight, ret_vector);
}

static void mean_of_all(const struct rows *rows, double *ret_vector) {
  double weight[BRUTE_ROWS_MAX] = {0};
  for (size_t i = 0; i < rows->n; i++)
    weight[i] = 1;
  mean_of(rows, weight, ret_vector);
}

void brute_rule(enum cns_robust_rule rule, const struct cns_robust_params *p, const double *x, size_t n,
                size_t d, double *ret_vector) {
  struct rows rows = {x, n, d};
  size_t f = p->byzantine;
  bool in[BRUTE_ROWS_MAX];
  memset(in, true, sizeof in);
  if (rule == CNS_ROBUST_MEAN)
    mean_of_all(&rows, ret_vector);
  else if (rule == CNS_ROBUST_MEDIAN || rule == CNS_ROBUST_TRIMMED_MEAN || rule == CNS_ROBUST_MEAMED)
    by_columns(rule, &rows, in, f, ret_vector);
  else if (rule == CNS_ROBUST_KRUM || rule == CNS_ROBUST_MULTI_KRUM)
    krum(&rows, p->variant ? n - f - 1 : n - f - 2, rule == CNS_ROBUST_KRUM ? 1 : n - f, ret_vector);
  else if (rule == CNS_ROBUST_BULYAN)
    bulyan(&rows, f, p->variant ? 1 : 0, ret_vector);
  else if (rule == CNS_ROBUST_MDA || rule == CNS_ROBUST_SMEA)
    best_subset(rule, &rows, f, ret_vector);
  else if (rule == CNS_ROBUST_CAF)
    caf(&rows, f, p->variant, ret_vector);
  else if (rule == CNS_ROBUST_DNC)
    dnc(&rows, f, ret_vector);
  else if (rule == CNS_ROBUST_GEOMETRIC_MEDIAN)
    geometric_median(&rows, p->nu != 0 ? p->nu : 0.1, p->iterations ? p->iterations : 5000, ret_vector);
  else if (rule == CNS_ROBUST_CENTERED_CLIPPING)
    centered_clipping(&rows, p->tau, p->iterations ? p->iterations : 1, ret_vector);
  else if (rule == CNS_ROBUST_MONNA)
    nearest_mean(&rows, p->pivot, n - f, ret_vector);
  else if (rule == CNS_ROBUST_FLTRUST)
    fltrust(&rows, p->reference, ret_vector);
  else
    clipped_mean(&rows, p->norm, ret_vector);
}

void brute_pre(enum cns_robust_pre pre, const struct cns_robust_params *p, const double *x, size_t n,
               size_t d, double *ret_matrix) {
  struct rows rows = {x, n, d};
  double lengths[BRUTE_ROWS_MAX];
  for (size_t i = 0; i < n; i++) {
    lengths[i] = length_of(x + i * d, d);
    if (pre == CNS_ROBUST_NNM) nearest_mean(&rows, i, n - p->byzantine, ret_matrix + i * d);
  }
  qsort(lengths, n, sizeof *lengths, compare);
  if (pre == CNS_ROBUST_CLIPPING) clip(&rows, p->norm, ret_matrix);
  if (pre == CNS_ROBUST_ARC)
    clip(&rows, lengths[n - 1 - 2 * p->byzantine * (n - p->byzantine) / n], ret_matrix);
}
