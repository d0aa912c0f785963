/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internal: rules that are told from the n x n side. squared: n x n squared
 * distances. Results are coefficients of the rows, n doubles, with sum 1 where the
 * rule is a mean. All return CNS_ERR_MEMORY when there is none.
 */
#pragma once

#include "crypto/base.h"

/* Sum of the squared distances to the `others` nearest rows of those `in`; rows that
 * aren't in (NULL: all are) have infinity. */
CNS_MUST_CHECK int cns_select_scores(const double *squared, size_t n, const bool *in, size_t others,
                                     double *ret_scores);
/* The mean of the `count` rows of the smallest scores; of equals the first. */
CNS_MUST_CHECK int cns_select_smallest(const double *scores, size_t n, size_t count, double *ret_coefficient);
/* Bulyan's first phase: ret_rows, n - 2f row numbers in ascending order. `least`: neighbours at the least. */
CNS_MUST_CHECK int cns_select_bulyan(const double *squared, size_t n, size_t f, size_t least,
                                     size_t *ret_rows);
/* The mean of the rows of least squared[i], their distances from some point, until they have (n-f)/n of the
 * weight; the last one may count in part. weights NULL: equal. */
CNS_MUST_CHECK int cns_select_nearest(const double *squared, size_t n, size_t f, const double *weights,
                                      double *ret_coefficient);

/* Row numbers in ascending order of their keys; equal keys keep their order. */
CNS_MUST_CHECK int cns_select_order(const double *keys, size_t n, size_t *ret_order);

/* robust/centre.c. Points are the rows and the origin, whose coefficient is 1 - sum.
 * norms: squared; share: weights with sum 1. */
CNS_MUST_CHECK int cns_centre_geometric_median(const double *squared, const double *norms,
                                               const double *share, size_t n, double nu, size_t iterations,
                                               double *ret_coefficient);
CNS_MUST_CHECK int cns_centre_clipping(const double *squared, const double *norms, const double *share,
                                       size_t n, double tau, size_t iterations, double *ret_coefficient);

/* robust/subsets.c: the mean of the n - f rows of smallest diameter, or of smallest largest
 * variance; of several the first in lexicographic order. CNS_ERR_LIMIT. */
CNS_MUST_CHECK int cns_subsets_mda(const double *squared, size_t n, size_t f, double *ret_coefficient);
CNS_MUST_CHECK int cns_subsets_smea(const double *squared, size_t n, size_t f, double *ret_coefficient);
/* Subsets of n - f of n rows; SIZE_MAX if more than that. */
size_t cns_subsets_count(size_t n, size_t f);
/* Most subsets that smea looks at. */
#define CNS_SUBSETS_MAX 5000000

/* robust/spectral.c. share: with sum 1. CNS_ERR_LIBRARY if LAPACK fails. all: the largest
 * projection is sought among removed rows too; CNS_ERR_LIMIT if that doesn't end. */
CNS_MUST_CHECK int cns_spectral_caf(const double *squared, const double *share, size_t n, size_t f, bool all,
                                    double *ret_coefficient);
/* ret_scores[i]: squared projection of row i, centred, on the first right singular vector. */
CNS_MUST_CHECK int cns_spectral_scores(const double *squared, size_t n, double *ret_scores);
/* <row i - c, row j - c> with c = sum of share[i] * row i. */
CNS_MUST_CHECK int cns_spectral_centred(const double *squared, const double *share, size_t n,
                                        double *ret_gram);
/* The largest eigenvalue of a symmetric matrix, which is overwritten, and its vector (NULL: not wanted). */
CNS_MUST_CHECK int cns_spectral_largest(double *matrix, size_t n, double *ret_value, double *ret_vector);
