/* SPDX-License-Identifier: Apache-2.0 */
/* Internal: what rules and pre-aggregations share. */
#pragma once

#include "robust/matrix.h"
#include "robust/select.h"

#define CNS_ROBUST_ITERATIONS_MAX 10000

/* Are shapes and numbers fit? CNS_ERR_ARGUMENT, CNS_ERR_RANGE with the row that isn't finite. */
CNS_MUST_CHECK int cns_rules_check_matrix(const struct cns_matrix *matrix, struct cns_problem *problem);
/* share[i] = weight / total. */
void cns_rules_shares(const double *weights, size_t n, double *ret_share);
