/* SPDX-License-Identifier: Apache-2.0 */
/* FedAvg (McMahan et al. 2017): new model = parent + weighted mean of the
 * updates, server learning rate 1. */
#pragma once

#include "crypto/base.h"

/* ret_params may be parent itself. CNS_ERR_RANGE, naming the first parameter
 * that stops being finite; ret_params is untouched then. */
CNS_MUST_CHECK int cns_fedavg_step(const float *parent, const float *mean_update, size_t dim,
                                   float *ret_params, struct cns_problem *problem);
