/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internal: what robust z values look like when nothing is wrong, for a cohort of
 * n. With n = 5 the median and the MAD are themselves so uncertain that a z of 10
 * is nothing special; with n = 100 it is. The reference is drawn: cohorts of n
 * Student t variables with 4 degrees of freedom (real updates of hospitals have
 * tails heavier than normal ones), from a fixed seed, each with its own median
 * and scale.
 */
#pragma once

#include "crypto/base.h"

/*
 * What a deviation from the median is divided by. MAD: for what varies alike in
 * all hospitals. RANGE: the largest deviation but for the c = max(1, (n-2)/4)
 * largest, c being the colluders that the protocol tolerates by default: where
 * case mixes differ, half of the hospitals say little about the other half.
 */
enum cns_scale { CNS_SCALE_MAD = 0, CNS_SCALE_RANGE, CNS_SCALE_COUNT };
/* Sorts deviations (>= 0) in place. */
double cns_reference_scale(enum cns_scale scale, double *deviations, size_t n);

struct cns_reference {
  double *z[CNS_SCALE_COUNT]; /* |z| of all draws, ascending */
  size_t count;
};

CNS_MUST_CHECK int cns_reference_init(struct cns_reference *reference, size_t n);
void cns_reference_deinit(struct cns_reference *reference);

/* P(z' >= z) for one side; z may be negative. At least 1/(2*count+2). */
double cns_reference_tail(const struct cns_reference *reference, enum cns_scale scale, double z);
/* The z with that one-sided tail probability, rate < 0.5. */
double cns_reference_quantile(const struct cns_reference *reference, enum cns_scale scale, double rate);

/* Over rounds (robust/history.c): if no round is unusual, surprises behave at
 * most like exponential variables with mean log10(e). */
#define CNS_REFERENCE_EWMA_SHARE 0.3  /* of the newest round */
#define CNS_REFERENCE_CUSUM_DRIFT 1.3 /* taken off each round */
#define CNS_REFERENCE_MEAN 0.43429448190325182765
/* The level that the stationary EWMA and CUSUM pass with that probability. */
double cns_reference_ewma_limit(double rate);
double cns_reference_cusum_limit(double rate);
/* P(EWMA > level), exposed for tests. */
double cns_reference_ewma_tail(double level);
