/* SPDX-License-Identifier: Apache-2.0 */
/* Where a table's columns are that a study names. */
#pragma once

#include "model/csv.h"
#include "model/plan.h"

#define CNS_COLUMN_NONE SIZE_MAX

struct cns_columns {
  size_t count;   /* columns of the header */
  size_t label;   /* CNS_COLUMN_NONE if not needed */
  size_t patient; /* CNS_COLUMN_NONE if not needed */
  size_t *features;
};

/* From the header, which is the reader's current record. For training all
 * columns are required; otherwise only the features are looked for.
 * CNS_ERR_FORMAT for a missing column (columns of similar names are listed),
 * one that occurs twice, or a table with another separator. */
CNS_MUST_CHECK int cns_columns_find(const struct cns_plan *plan, const struct cns_csv *header, bool training,
                                    struct cns_columns *ret_columns, struct cns_problem *problem);
void cns_columns_deinit(struct cns_columns *columns);
