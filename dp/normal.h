/* SPDX-License-Identifier: Apache-2.0 */
/* Logarithms of the normal distribution, good far out in the tails. */
#pragma once

/* log Phi(x). Relative error of Phi below (4 + x^2) * 2^-52. */
double cns_normal_log_cdf(double x);
/* log of the complementary error function: log erfc(x). */
double cns_normal_log_erfc(double x);
