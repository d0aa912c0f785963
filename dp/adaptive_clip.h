/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An adaptive clip norm (Andrew, Thakkar, McMahan, Ramaswamy 2021, "Differentially
 * Private Learning with Adaptive Clipping", arXiv 1905.03871, Algorithm 1): it follows a
 * quantile of the patients' gradient norms, by a count with noise of those within it,
 *
 *   C' = C * exp(-eta * (b - gamma))      eta the rate, gamma the quantile,
 *
 * kept within [min, max]. b is the released fraction, here taken between 0 and 1: beyond
 * that it is noise, and a round then moves C by a factor of exp(eta) at most.
 *
 * The count is one number more in the round's vector, under the same masks and the same
 * noise (dp/mechanism.h), in which a patient is +a if within and -a if not. The share w is
 * how much of 1/z^2 goes to it: with z the round's noise multiplier, the gradients have
 * noise z/sqrt(1-w) times the clip norm and the count has a deviation of z/(2*sqrt(w))
 * patients, which is the paper's sigma_b; z^-2 = (1-w) * z^-2 + w * z^-2 is its
 * theorem 1. The accountant charges z as it does with a fixed clip norm.
 *
 * Whoever knows the released count, which is public, computes the same next norm.
 */
#pragma once

#include "crypto/base.h"

#define CNS_ADAPTIVE_CLIP_SHARE_MIN 1e-6
#define CNS_ADAPTIVE_CLIP_SHARE_MAX 0.5
#define CNS_ADAPTIVE_CLIP_RATE_MAX 5.0
/* Two machines' exponential functions may differ in the last places. */
#define CNS_ADAPTIVE_CLIP_TOLERANCE 1e-12

struct cns_adaptive_clip {
  double quantile; /* gamma, 0..1, both excluded */
  double rate;     /* eta, above 0 */
  double share;    /* w; 0: the clip norm is fixed, and the rest isn't looked at */
  double min, max; /* of the clip norm */
};

/* b: released is the count's sum in steps, unit is a, expected the public number of
 * patients that take part on average (cns_mechanism_divisor). Not cut off. */
double cns_adaptive_clip_fraction(int64_t released, uint64_t unit, double expected);
/* The next round's clip norm. norm within [min, max]; a fraction that is NaN counts as
 * gamma. */
double cns_adaptive_clip_next(const struct cns_adaptive_clip *adaptive, double norm, double fraction);
/* Is it that, but for the last places? Never if it isn't within [min, max]. */
bool cns_adaptive_clip_is_next(const struct cns_adaptive_clip *adaptive, double norm, double fraction,
                               double next);
