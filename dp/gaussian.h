/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gaussian differential privacy, exact: mu is sensitivity over standard
 * deviation, and compositions add squares. Balle and Wang 2018 (arXiv
 * 1805.06530, eq. 6); Dong, Roth, Su 2019 (arXiv 1905.02383, Cor. 3.3).
 */
#pragma once

#include "dp/dp.h"

/* Bounds of log delta at epsilon, -INFINITY where delta may be 0. mu > 0, finite; epsilon >= 0. */
struct cns_dp_interval cns_gaussian_log_delta(double mu, double epsilon);
/* Bounds of the epsilon with this log delta (< 0), a few units in the last place apart. */
struct cns_dp_interval cns_gaussian_epsilon(double mu, double log_delta);
