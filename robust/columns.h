/* SPDX-License-Identifier: Apache-2.0 */
/* Internal: rules that look at one coordinate after the other. */
#pragma once

#include "robust/matrix.h"

enum cns_columns_kind {
  CNS_COLUMNS_MEDIAN,
  CNS_COLUMNS_TRIMMED, /* mean without the `drop` smallest and the `drop` largest */
  CNS_COLUMNS_MEAMED,  /* mean of all but the `drop` that are farthest from the median */
};

/*
 * rows: `count` row numbers of the matrix; 2 * drop < count for trimmed, drop <
 * count for meamed. Of values equally far from the median the smaller stays.
 * CNS_ERR_MEMORY; CNS_ERR_RANGE if a value or a result isn't finite.
 */
CNS_MUST_CHECK int cns_columns_aggregate(const struct cns_matrix *matrix, enum cns_columns_kind kind,
                                         const size_t *rows, size_t count, size_t drop, void *ret_vector);
/* All rows, with weights; what is dropped is drop / n of the weight (trimmed: at each end),
 * and a value may be dropped in part. */
CNS_MUST_CHECK int cns_columns_aggregate_weighted(const struct cns_matrix *matrix, enum cns_columns_kind kind,
                                                  const double *weights, size_t drop, void *ret_vector);

/* A sorting network: pairs (low, high) of places, in order. */
struct cns_columns_network {
  size_t pairs;
  uint16_t (*pair)[2];
};
/* Batcher's odd-even merges for n values, without what only matters for places outside first..last.
 * CNS_ERR_MEMORY; `pair` is to be freed. */
CNS_MUST_CHECK int cns_columns_network(size_t n, size_t first, size_t last,
                                       struct cns_columns_network *ret_network);
