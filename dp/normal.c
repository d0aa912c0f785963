/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/normal.h"

#include <math.h>

/* Below this erfc gets near the smallest doubles. */
#define TAIL 25.0

double cns_normal_log_erfc(double x) {
  if (x < TAIL) return log(erfc(x));
  /* Asymptotic series (Abramowitz and Stegun 7.1.23): terms fall by 1/(2x^2) < 1e-3. */
  double sum = 0, term = 1;
  for (int k = 1; k <= 6; k++) {
    term *= -(2 * k - 1) / (2 * x * x);
    sum += term;
  }
  return -x * x - log(x) - 0.5 * log(M_PI) + log1p(sum);
}

double cns_normal_log_cdf(double x) {
  return cns_normal_log_erfc(-x * M_SQRT1_2) - M_LN2;
}
