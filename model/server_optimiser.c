/* SPDX-License-Identifier: Apache-2.0 */
#include "model/server_optimiser.h"

#include <math.h>

const char *cns_server_optimiser_name(const struct cns_server_optimiser *o) {
  static const char *const names[] = {"FedAvg", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad"};
  return names[o->kind];
}

size_t cns_server_optimiser_arrays(const struct cns_server_optimiser *o) {
  return o->kind == CNS_SERVER_FEDAVG ? 0 : o->kind == CNS_SERVER_FEDAVGM ? 1 : 2;
}

void cns_server_optimiser_begin(const struct cns_server_optimiser *o, size_t count, float *ret_m,
                                float *ret_v) {
  size_t arrays = cns_server_optimiser_arrays(o);
  for (size_t k = 0; arrays > 0 && k < count; k++)
    ret_m[k] = 0;
  for (size_t k = 0; arrays > 1 && k < count; k++)
    ret_v[k] = (float)(o->tau * o->tau);
}

/* Algorithm 2's v. */
static double second_moment(const struct cns_server_optimiser *o, double square, double v) {
  switch (o->kind) {
  case CNS_SERVER_FEDADAGRAD:
    return v + square;
  case CNS_SERVER_FEDYOGI:
    return v - (1 - o->beta2) * square * (v > square ? 1 : v < square ? -1 : 0);
  default:
    return o->beta2 * v + (1 - o->beta2) * square;
  }
}

double cns_server_optimiser_move(const struct cns_server_optimiser *o, double d, double *m, double *v) {
  if (o->kind == CNS_SERVER_FEDAVG) return o->learning_rate * d;
  if (o->kind == CNS_SERVER_FEDAVGM) {
    *m = o->beta1 * *m + d;
    return o->learning_rate * *m;
  }
  *m = o->beta1 * *m + (1 - o->beta1) * d;
  *v = second_moment(o, d * d, *v);
  return o->learning_rate * *m / (sqrt(*v) + o->tau);
}

int cns_server_optimiser_step(const struct cns_server_optimiser *o, const float *parent,
                              const float *mean_update, size_t count, float *m, float *v, float *ret_params,
                              struct cns_problem *problem) {
  size_t arrays = cns_server_optimiser_arrays(o);
  for (size_t k = 0; k < count; k++) {
    double new_m = arrays > 0 ? (double)m[k] : 0, new_v = arrays > 1 ? (double)v[k] : 0;
    double step = cns_server_optimiser_move(o, (double)mean_update[k], &new_m, &new_v);
    float param = (float)((double)parent[k] + step);
    if (!isfinite(param) || !isfinite((float)new_m) || !isfinite((float)new_v))
      return cns_problem_set(problem, CNS_ERR_RANGE, "parameter %zu of the new model is not a finite number",
                             k);
    ret_params[k] = param;
    if (arrays > 0) m[k] = (float)new_m;
    if (arrays > 1) v[k] = (float)new_v;
  }
  return 0;
}
