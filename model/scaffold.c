/* SPDX-License-Identifier: Apache-2.0 */
#include "model/scaffold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double cns_scaffold_scale(const struct cns_plan *plan) {
  return plan->learning_rate * plan->scaffold.steps;
}

static int check_finite(const float *values, size_t count, const char *what, struct cns_problem *problem) {
  for (size_t k = 0; k < count; k++)
    if (!isfinite(values[k]))
      return cns_problem_set(problem, CNS_ERR_RANGE, "number %zu of %s is not a finite number", k, what);
  return 0;
}

int cns_scaffold_train(const struct cns_plan *plan, const float *received, const float *own,
                       const struct cns_table *table, const struct cns_network_seed *seed,
                       const atomic_bool *cancel, float *ret_joint, struct cns_network_stats *ret_stats,
                       struct cns_problem *problem) {
  size_t dim = cns_plan_dim(plan);
  const float *control = received + dim;
  float *dc = ret_joint + dim; /* c - c_i first */
  struct cns_network_stats stats = {0};
  for (size_t k = 0; k < dim; k++)
    dc[k] = control[k] - own[k];
  int r = cns_network_train_corrected(plan, received, dc, table, seed, cancel, ret_joint, &stats, problem);
  double rate = (double)stats.steps * plan->learning_rate, scale = cns_scaffold_scale(plan);
  for (size_t k = 0; r == 0 && k < dim; k++)
    dc[k] = (float)(scale * (-(double)ret_joint[k] / rate - (double)control[k]));
  if (r == 0) r = check_finite(dc, dim, "the control variate", problem);
  if (r < 0)
    memset(ret_joint, 0, 2 * dim * sizeof *ret_joint);
  else if (ret_stats)
    *ret_stats = stats;
  return r;
}

int cns_scaffold_move_own(const struct cns_plan *plan, const float *own, const float *joint, float *ret_own,
                          struct cns_problem *problem) {
  size_t dim = cns_plan_dim(plan);
  double scale = cns_scaffold_scale(plan);
  for (size_t k = 0; k < dim; k++)
    ret_own[k] = (float)((double)own[k] + (double)joint[dim + k] / scale);
  return check_finite(ret_own, dim, "the hospital's control variate", problem);
}

int cns_scaffold_move_server(const struct cns_plan *plan, size_t included, const float *mean, size_t count,
                             const float *control, float *ret_control, struct cns_problem *problem) {
  double share = (double)included / plan->scaffold.hospitals, scale = cns_scaffold_scale(plan);
  if (share > 1) share = 1;
  for (size_t k = 0; k < count; k++)
    ret_control[k] = (float)((double)control[k] + share * (double)mean[k] / scale);
  return check_finite(ret_control, count, "the new control variate", problem);
}
