/* SPDX-License-Identifier: Apache-2.0 */
/* Each rule as its paper words it, in d dimensions, on small matrices: nothing of
 * robust/ is used but the names. */
#pragma once

#include "robust/robust.h"

#define BRUTE_ROWS_MAX 64
#define BRUTE_COLUMNS_MAX 16

/* Unweighted. params as the library's. */
void brute_rule(enum cns_robust_rule rule, const struct cns_robust_params *params, const double *x, size_t n,
                size_t d, double *ret_vector);
/* All but bucketing. */
void brute_pre(enum cns_robust_pre pre, const struct cns_robust_params *params, const double *x, size_t n,
               size_t d, double *ret_matrix);
