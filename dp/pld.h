/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privacy loss distribution of all rounds: chooses tilt, step and window,
 * composes, and halves the step until the interval is narrow enough.
 */
#pragma once

#include "dp/dp.h"

/* Epsilon at log delta, or log delta at epsilon. */
struct cns_pld_question {
  bool wants_delta;
  double value; /* log delta < 0, or epsilon >= 0 */
};

struct cns_pld_request {
  const struct cns_dp_segment *segments; /* checked; any order */
  size_t count;
  enum cns_dp_relation relation;
  double tolerance; /* > 0 */
  /* If above 0, only the upper end is to be tight, relative to this, which epsilon is about. */
  double expected;
  bool lattice_only; /* for tests: no closed forms, for rounds without sampling or a single one */
  double step;       /* for tests: this step, no refinement; 0: chosen */
};

/* Epsilon, or log delta (-INFINITY: the lower bound of delta is 0). CNS_ERR_MEMORY;
 * CNS_ERR_LIMIT if no lattice that fits memory is fine enough for any answer. */
CNS_MUST_CHECK int cns_pld_answer(const struct cns_pld_request *request,
                                  const struct cns_pld_question *question,
                                  struct cns_dp_interval *ret_answer);
