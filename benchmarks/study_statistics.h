/* SPDX-License-Identifier: Apache-2.0 */
/* Confidence intervals for the studies and for the tests that are slices of them. */
#pragma once

#include <stddef.h>

/* Regularised incomplete beta function I_x(a, b); a, b > 0, 0 <= x <= 1. By its continued
 * fraction (NIST Digital Library of Mathematical Functions, 8.17.22), to about 1e-12. */
double study_beta(double a, double b, double x);

/* Quantile of Student's t with `freedom` > 0 degrees of freedom; 0 < p < 1. */
double study_student(double p, double freedom);

struct study_interval {
  double mean, low, high; /* low and high: 95 %, by Student's t; NAN for one value */
};
struct study_interval study_mean(const double *values, size_t count);
/* Of a[k] - b[k]: paired. */
struct study_interval study_difference(const double *a, const double *b, size_t count);

/* Exact bounds of a probability of which `hits` of `count` trials came out (Clopper and
 * Pearson 1934): the true one is below (above) it with probability at most alpha. */
double study_proportion_low(size_t hits, size_t count, double alpha);
double study_proportion_high(size_t hits, size_t count, double alpha);
