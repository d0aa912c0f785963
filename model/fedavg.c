/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fedavg.h"

#include <math.h>

int cns_fedavg_step(const float *parent, const float *mean_update, size_t dim, float *ret_params,
                    struct cns_problem *problem) {
  for (size_t k = 0; k < dim; k++)
    if (!isfinite(parent[k] + mean_update[k]))
      return cns_problem_set(problem, CNS_ERR_RANGE, "parameter %zu of the new model is not a finite number",
                             k);
  for (size_t k = 0; k < dim; k++)
    ret_params[k] = parent[k] + mean_update[k];
  return 0;
}
