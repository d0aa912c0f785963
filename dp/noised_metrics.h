/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss and accuracy of a round's starting model on the patients that train in it, with
 * noise: two numbers more in the round's vector, under the same masks and the same noise
 * (dp/mechanism.h). Each sampled patient is worth, of a public whole number h of steps,
 *
 *   x = round(h * (2*min(loss, L)/L - 1))      loss the mean over the patient's rows
 *   y = round(h * (2*right/rows - 1))          right the rows that are classified rightly
 *
 * each within [-h, h], since 0 in the middle makes the length half of what it is from 0 to
 * 2h. Both are functions of that patient's rows alone, so that one patient moves the pair of sums
 * by sqrt(2)*h steps at the most. Rounding moves a patient's loss by L/(4h) and its share of
 * right rows by 1/(4h) at the most.
 *
 * The share w is how much of the round's 1/z^2 goes to the two, half to each. The mean is
 * over the *expected* number of patients, q times the declared ones: how many took part stays secret.
 * The standard errors are of the noise alone.
 */
#pragma once

#include "crypto/base.h"

#define CNS_NOISED_METRICS_SHARE_MIN 1e-6
#define CNS_NOISED_METRICS_SHARE_MAX 0.5
#define CNS_NOISED_METRICS_LOSS_MIN 0.01 /* least and largest L, nats */
#define CNS_NOISED_METRICS_LOSS_MAX 100.0
/* Estimates that differ by less agree: doubles may have been written in decimals. */
#define CNS_NOISED_METRICS_TOLERANCE 1e-12

struct cns_noised_metrics {
  double share;    /* w; 0: there are none, and the rest isn't looked at */
  double loss_max; /* L, nats */
};

/* What a round releases: whole numbers of steps. */
struct cns_noised_metrics_sums {
  int64_t loss, right; /* of x and of y, with noise */
  uint64_t unit;       /* h */
  double sigma;        /* standard deviation of the noise in each, steps */
};

/* Not cut off: behind much noise a loss may be below 0 and an accuracy above 1. */
struct cns_noised_metrics_estimate {
  double loss, loss_error; /* nats */
  double accuracy, accuracy_error;
};

/* x and y of one patient. A loss that is NaN counts as L; rows >= 1. */
int64_t cns_noised_metrics_loss_steps(double loss_max, uint64_t unit, double loss);
int64_t cns_noised_metrics_right_steps(uint64_t unit, size_t right, size_t rows);
/* expected: the public number of patients that take part on average (cns_mechanism_divisor). */
void cns_noised_metrics_estimate(double loss_max, const struct cns_noised_metrics_sums *sums, double expected,
                                 struct cns_noised_metrics_estimate *ret_estimate);
/* Are they the same, but for the last places? */
bool cns_noised_metrics_agree(const struct cns_noised_metrics_estimate *a,
                              const struct cns_noised_metrics_estimate *b);
