/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From uploads and rebuilt masks to the new model: runs on a worker thread, on
 * plain arrays. Block after block: the running sum of what was uploaded, less what isn't
 * included (or the included uploads, added up), the masks taken off, central noise added before anything else
 * is made of the sum, the update's part dequantised and given to the server's optimiser, the extra numbers
 * and the metrics' part kept. No memory beyond the new model and a block a thread.
 */
#pragma once

#include "coordinator/optimiser.h"
#include "dp/noised_metrics.h"
#include "model/metrics.h"
#include "model/plan.h"
#include "protocol/coordinator.h"
#include "store/vector_file.h"

struct cns_aggregation {
  /* in */
  const struct cns_descriptor *descriptor;
  struct cns_vector_file *const *uploads; /* of the included */
  const uint32_t *weights;                /* of the included */
  size_t count;
  /* The sum of the included uploads and of parts of others, if it was kept while they came, and those parts:
   * the first excluded_words[k] words of excluded[k]. NULL: the included uploads are read. */
  const uint32_t *running;
  struct cns_vector_file *const *excluded;
  const uint64_t *excluded_words;
  size_t excluded_count;
  const struct cns_mask_term *terms;
  size_t term_count;
  const float *parent; /* the model's parameters: dim, without the extra numbers; with SCAFFOLD half of
                          dim, and behind them its control variate */
  const struct cns_plan *scaffold; /* NULL: without */
  double learning_rate;            /* update = learning_rate * mean; 1 for updates, negative for gradients */
  struct cns_optimiser optimiser;  /* from parent and update to the new model */
  struct cns_rng rng;              /* of central noise; used on several threads */
  size_t classes;
  struct cns_parallel parallel;
  /* out */
  float *params; /* as parent, allocated by the caller */
  uint64_t clipped;
  int64_t released; /* the indicators' sum, in steps, with an adaptive clip norm; 0 else */
  uint64_t unit;    /* steps of one patient's indicator; 0 with a fixed clip norm */
  struct cns_noised_metrics_sums noised; /* unit 0: no noised metrics */
  struct cns_digest sum; /* H over the unmasked sum's blocks, with central noise if there is any */
  bool has_metrics;
  struct cns_metrics metrics;
  struct cns_problem metrics_problem; /* why they are void */
};

/* CNS_ERR_RANGE: the sum is void, with a sentence; CNS_ERR_IO and others as
 * they come. */
CNS_MUST_CHECK int cns_aggregate(struct cns_aggregation *aggregation, struct cns_problem *problem);
