/* SPDX-License-Identifier: Apache-2.0 */
/* Internal: what rules and pre-aggregations share. */
#pragma once

#include "robust/matrix.h"
#include "robust/select.h"

#define CNS_ROBUST_ITERATIONS_MAX 10000

/* Is the shape possible? CNS_ERR_ARGUMENT, CNS_ERR_LIMIT. */
CNS_MUST_CHECK int cns_rules_check_shape(const struct cns_matrix *matrix, struct cns_problem *problem);
/* What was computed isn't finite: CNS_ERR_RANGE with the first row that isn't either, or, if
 * all are, that the numbers are too large. */
CNS_MUST_CHECK int cns_rules_not_finite(const struct cns_matrix *matrix, struct cns_problem *problem);
/* The same for `count` numbers that came of the matrix; 0 if all are finite. */
CNS_MUST_CHECK int cns_rules_check_finite(const struct cns_matrix *matrix, const double *values, size_t count,
                                          struct cns_problem *problem);
/* share[i] = weight / total. */
void cns_rules_shares(const double *weights, size_t n, double *ret_share);
