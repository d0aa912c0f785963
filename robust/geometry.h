/* SPDX-License-Identifier: Apache-2.0 */
/* Internal: lengths, angles and middles of n rows of k doubles. Plain loops in a
 * fixed order, so that results don't depend on threads. */
#pragma once

#include "crypto/base.h"

double cns_geometry_dot(const double *a, const double *b, size_t columns);

/* gram[i*n+j] = <row i, row j>. */
void cns_geometry_gram(const double *rows, size_t n, size_t columns, double *ret_gram);
/* squared[i*n+j] = ||row i - row j||^2 from the Gram matrix; a distance that
 * cancels to less than 1e-6 of the lengths is summed again from the rows. */
void cns_geometry_distances(const double *rows, const double *gram, size_t n, size_t columns,
                            double *ret_squared);

/*
 * Geometric median: minimises sum sqrt(||row - m||^2 + s^2) by Weiszfeld's
 * iteration, smoothed (Pillutla, Kakade, Harchaoui 2022, section 3), with s 1e-6
 * of the median length. Stops when a step is below 1e-9 of that length; returns
 * the number of steps; 1000 means that it didn't converge: the last point is
 * given all the same, since the sum never grows from step to step.
 * CNS_ERR_MEMORY.
 */
CNS_MUST_CHECK int cns_geometry_median(const double *rows, size_t n, size_t columns, double *ret_median);

/*
 * Projections of the centred rows on their first right singular vector, up to
 * the sign: sqrt(lambda) * e from the centred Gram matrix (n x n, overwritten),
 * by power iteration. vector: n doubles of room.
 */
void cns_geometry_main_direction(double *gram, size_t n, double *vector, double *ret_projection);

/* Sorts in place and returns the middle. */
double cns_geometry_middle(double *values, size_t n);
