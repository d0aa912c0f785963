/* SPDX-License-Identifier: Apache-2.0 */
/* From the mean update to the new model, block by block: on worker threads, each with
 * a block of its own. */
#pragma once

#include "model/server_optimiser.h"
#include "store/optimiser_state.h"

struct cns_optimiser {
  const struct cns_server_optimiser *numbers; /* NULL: FedAvg with learning rate 1 */
  struct cns_optimiser_change *change;        /* its state; NULL if the kind has none */
};

/* Parameters first..first+count-1, first a multiple of CNS_OPTIMISER_BLOCK and count up to
 * the block's end or the model's; parent and ret_params begin with parameter `first`.
 * CNS_ERR_RANGE: a parameter isn't finite. CNS_ERR_FORMAT, CNS_ERR_IO and so on: the state. */
CNS_MUST_CHECK int cns_optimiser_step(const struct cns_optimiser *optimiser, uint64_t first, size_t count,
                                      const float *parent, const float *mean_update, float *ret_params,
                                      struct cns_problem *problem);
