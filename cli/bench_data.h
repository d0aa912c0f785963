/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to the loading of the bench's tables. */
#pragma once

#include "cli/bench.h"

/* Zeroed but for patients (each row is one) and source; .classes stays 0. CNS_ERR_LIMIT. */
CNS_MUST_CHECK int cns_bench_table_new(size_t rows, size_t features, struct cns_table *ret_table,
                                       const char *where, struct cns_problem *problem);
/* To [-1, 1] by the least and the largest value: of each feature, or of all together (images). A
 * feature that is the same everywhere becomes 0. */
void cns_bench_scale(struct cns_table *table, bool together);
/* A table without a study: source->label is the column to predict (its texts, sorted, are the
 * classes), source->ignore what is left out; all other columns are numbers. */
CNS_MUST_CHECK int cns_bench_csv_load(const struct cns_bench_source *source, struct cns_table *ret_table,
                                      struct cns_problem *problem);
