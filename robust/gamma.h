/* SPDX-License-Identifier: Apache-2.0 */
/* Internal: the regularised upper incomplete gamma function. */
#pragma once

/* Q(a, x) = Gamma(a, x) / Gamma(a), a > 0, x >= 0; relative error below 1e-11
 * for a up to 1e4 wherever Q > 1e-250. P(chi2_k > c) = Q(k/2, c/2). */
double cns_gamma_upper(double a, double x);
