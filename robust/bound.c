/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much longer than a vector its sketch can be by chance. ||z||^2 is the
 * mean of the squared norms of 8 independent count sketches with w = k/8
 * buckets each (crypto/sketch.h).
 *
 * Dense: bucket sums tend to independent normals, and k*||z||^2/||x||^2 to
 * chi-square with k degrees of freedom. Sparse: of m equal entries, those that
 * fall into one bucket with the same sign add up, and for small m the tail is
 * heavier; it is a sum over finitely many cases and computed exactly.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "robust/detect.h"
#include "robust/gamma.h"

#define BLOCKS 8u
#define SQUARES ((size_t)CNS_DETECT_EQUAL_MAX * CNS_DETECT_EQUAL_MAX)

/* of[c][q]: coefficient for c entries of size 1 whose bucket sums, squared, sum
 * up to q; an exponential generating function in c. */
struct table {
  double of[CNS_DETECT_EQUAL_MAX + 1][SQUARES + 1];
};

static bool size_valid(uint32_t k) {
  return k >= 128 && k <= 1024 && (k & (k - 1)) == 0;
}

/* c entries with random signs in one bucket: sum s with probability
 * binomial(c, (c+s)/2) / 2^c; over c!, and over buckets^c. */
static void one_bucket(uint32_t buckets, struct table *table) {
  memset(table, 0, sizeof *table);
  for (unsigned c = 0; c <= CNS_DETECT_EQUAL_MAX; c++)
    for (unsigned up = 0; up <= c; up++) {
      int s = 2 * (int)up - (int)c;
      double ways = 1 / (tgamma(up + 1) * tgamma(c - up + 1)); /* binomial / c! */
      table->of[c][(size_t)(s * s)] += ways / pow(2.0 * buckets, c);
    }
}

static void square(const struct table *in, struct table *out) {
  memset(out, 0, sizeof *out);
  for (size_t a = 0; a <= CNS_DETECT_EQUAL_MAX; a++)
    for (size_t b = 0; a + b <= CNS_DETECT_EQUAL_MAX; b++)
      for (size_t p = 0; p <= a * a; p++) {
        if (in->of[a][p] == 0) continue;
        for (size_t q = 0; q <= b * b; q++)
          out->of[a + b][p + q] += in->of[a][p] * in->of[b][q];
      }
}

/* Distribution of the squared norm of one block, in of[m][0..m^2], for all m. */
static int block_distribution(uint32_t k, struct table **ret_table) {
  struct table *now = malloc(sizeof *now), *next = malloc(sizeof *next);
  if (!now || !next) {
    free(now);
    free(next);
    return CNS_ERR_MEMORY;
  }
  one_bucket(k / BLOCKS, now);
  for (uint32_t buckets = 1; buckets < k / BLOCKS; buckets *= 2) {
    square(now, next);
    struct table *swap = now;
    now = next;
    next = swap;
  }
  for (unsigned m = 0; m <= CNS_DETECT_EQUAL_MAX; m++)
    for (size_t q = 0; q <= SQUARES; q++)
      now->of[m][q] *= tgamma(m + 1);
  free(next);
  *ret_table = now;
  return 0;
}

/* tail[q] = P(sum of 8 blocks' squared norms > q), q = 0..8 m^2. */
static void all_blocks_tail(const struct table *table, unsigned m, double tail[BLOCKS * SQUARES + 1]) {
  static const size_t len_of_one = SQUARES + 1;
  double now[BLOCKS * SQUARES + 1] = {0}, next[BLOCKS * SQUARES + 1];
  memcpy(now, table->of[m], len_of_one * sizeof *now);
  size_t top = (size_t)m * m;
  for (unsigned blocks = 1; blocks < BLOCKS; blocks *= 2, top *= 2) {
    memset(next, 0, sizeof next);
    for (size_t p = 0; p <= top; p++)
      for (size_t q = 0; now[p] > 0 && q <= top; q++)
        next[p + q] += now[p] * now[q];
    memcpy(now, next, sizeof now);
  }
  double sum = 0;
  for (size_t q = BLOCKS * SQUARES + 1; q-- > 0;) {
    tail[q] = sum;
    sum += now[q];
  }
}

double cns_detect_bound_rate_dense(uint32_t k, double factor) {
  return cns_gamma_upper(k / 2.0, k / 2.0 * factor * factor);
}

int cns_detect_bound_rate_sparse(uint32_t k, unsigned equal, double factor, double *ret_rate) {
  double tail[BLOCKS * SQUARES + 1];
  struct table *table;
  if (!size_valid(k) || equal < 1 || equal > CNS_DETECT_EQUAL_MAX || !(factor >= 0)) return CNS_ERR_ARGUMENT;
  int r = block_distribution(k, &table);
  if (r < 0) return r;
  all_blocks_tail(table, equal, tail);
  free(table);
  double limit = floor(factor * factor * BLOCKS * equal * (1 + 1e-12)); /* ||z||^2 = q/8, ||x||^2 = m */
  *ret_rate = limit > (double)(BLOCKS * SQUARES) ? 0 : tail[(size_t)limit];
  return 0;
}

static double dense_factor(uint32_t k, double rate) {
  double low = 1, high = 4;
  for (int step = 0; step < 60; step++) {
    double middle = (low + high) / 2;
    if (cns_detect_bound_rate_dense(k, middle) > rate)
      low = middle;
    else
      high = middle;
  }
  return high;
}

int cns_detect_bound_factor(uint32_t k, double rate, double *ret_factor) {
  double tail[BLOCKS * SQUARES + 1];
  struct table *table;
  if (!size_valid(k) || !(rate >= 1e-9) || !(rate <= 0.1)) return CNS_ERR_ARGUMENT;
  int r = block_distribution(k, &table);
  if (r < 0) return r;
  double factor = dense_factor(k, rate);
  for (unsigned m = 1; m <= CNS_DETECT_EQUAL_MAX; m++) {
    size_t q = 0;
    all_blocks_tail(table, m, tail);
    while (tail[q] > rate)
      q++;
    factor = fmax(factor, sqrt((double)q / (BLOCKS * m)));
  }
  free(table);
  *ret_factor = factor;
  return 0;
}

double cns_detect_bound(double clip, double weight, double sigma, size_t dim) {
  return hypot(weight * clip, sigma * sqrt((double)dim));
}

double cns_detect_influence(const double *bounds, const double *weights, size_t hospitals, double clip) {
  double largest = 0, sum = 0;
  for (size_t i = 0; i < hospitals; i++) {
    largest = fmax(largest, bounds[i]);
    sum += weights[i];
  }
  return largest / (clip * sum);
}

bool cns_detect_effective(double influence, char ret_text[static CNS_DETECT_TEXT_BYTES]) {
  bool effective = influence < 1;
  if (effective)
    snprintf(ret_text, CNS_DETECT_TEXT_BYTES,
             "The norm audit limits one unseen liar to %.3g of what all hospitals together may move "
             "(B/(n*C) = %.3g).",
             influence, influence);
  else
    snprintf(
        ret_text, CNS_DETECT_TEXT_BYTES,
        "The norm audit is ineffective: inside the noise one unseen liar can move the model %.3g times as "
        "far as all hospitals together may (B/(n*C) = %.3g). A larger cohort, less distributed noise or a "
        "smaller model brings it below 1.",
        influence, influence);
  return effective;
}
