/* SPDX-License-Identifier: Apache-2.0 */
/* Confidence intervals, for benchmarks, studies and the tests that are slices of them. */
#pragma once

#include <stddef.h>

/* Regularised incomplete beta function I_x(a, b); a, b > 0, 0 <= x <= 1. By its continued
 * fraction (NIST Digital Library of Mathematical Functions, 8.17.22), to about 1e-12. */
double cns_statistics_beta(double a, double b, double x);

/* Quantile of Student's t with `freedom` > 0 degrees of freedom; 0 < p < 1. */
double cns_statistics_student(double p, double freedom);

struct cns_statistics_interval {
  double mean, low, high; /* low and high: 95 %, by Student's t; NAN for one value */
};
struct cns_statistics_interval cns_statistics_mean(const double *values, size_t count);
/* Of a[k] - b[k]: paired. */
struct cns_statistics_interval cns_statistics_difference(const double *a, const double *b, size_t count);

/* Exact bounds of a probability of which `hits` of `count` trials came out (Clopper and
 * Pearson 1934): the true one is below (above) it with probability at most alpha. */
double cns_statistics_proportion_low(size_t hits, size_t count, double alpha);
double cns_statistics_proportion_high(size_t hits, size_t count, double alpha);
