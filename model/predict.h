/* SPDX-License-Identifier: Apache-2.0 */
/* What a model says about a table: probabilities, masked metrics, exact metrics. */
#pragma once

#include "model/metrics.h"
#include "model/network.h"

/* Class probabilities, rows x classes, row by row. CNS_ERR_RANGE with a
 * sentence if one is not finite. */
CNS_MUST_CHECK int cns_model_predict(const struct cns_plan *plan, const float *params,
                                     const struct cns_table *table, float *ret_probabilities,
                                     struct cns_problem *problem);

/* The hospital's metrics vector (cns_plan_metrics_dim words) of a model on its
 * validation rows; a table without rows gives zeros. */
CNS_MUST_CHECK int cns_model_metrics(const struct cns_plan *plan, const float *params,
                                     const struct cns_table *table, uint32_t *ret_vector,
                                     struct cns_problem *problem);

/* Exact loss and AUC on a table, for test sets; fields as in cns_metrics_evaluate. */
CNS_MUST_CHECK int cns_model_evaluate(const struct cns_plan *plan, const float *params,
                                      const struct cns_table *table, struct cns_metrics *ret_metrics,
                                      struct cns_problem *problem);
