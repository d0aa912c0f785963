/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/noised_metrics.h"

#include <math.h>

/* position in [0, 2], exact at both ends. */
static int64_t steps_at(uint64_t unit, double position) {
  return (int64_t)llround((position - 1) * (double)unit);
}

int64_t cns_noised_metrics_loss_steps(double loss_max, uint64_t unit, double loss) {
  double cut = isnan(loss) || loss > loss_max ? loss_max : loss < 0 ? 0 : loss;
  return steps_at(unit, 2 * cut / loss_max);
}

int64_t cns_noised_metrics_right_steps(uint64_t unit, size_t right, size_t rows) {
  return steps_at(unit, 2 * (double)right / (double)rows);
}

void cns_noised_metrics_estimate(double loss_max, const struct cns_noised_metrics_sums *sums, double expected,
                                 struct cns_noised_metrics_estimate *ret_estimate) {
  double all = (double)sums->unit * expected;
  *ret_estimate = (struct cns_noised_metrics_estimate){
      .loss = loss_max / 2 * (1 + (double)sums->loss / all),
      .loss_error = loss_max / 2 * sums->sigma / all,
      .accuracy = (1 + (double)sums->right / all) / 2,
      .accuracy_error = sums->sigma / all / 2,
  };
}

/* Against what it is a fraction of, since a loss or an accuracy may be near zero. */
static bool near(double a, double b, double error) {
  return fabs(a - b) <= CNS_NOISED_METRICS_TOLERANCE * (fabs(a) + fabs(b) + error);
}

bool cns_noised_metrics_agree(const struct cns_noised_metrics_estimate *a,
                              const struct cns_noised_metrics_estimate *b) {
  return near(a->loss, b->loss, b->loss_error) && near(a->loss_error, b->loss_error, 0) &&
         near(a->accuracy, b->accuracy, b->accuracy_error) && near(a->accuracy_error, b->accuracy_error, 0);
}
