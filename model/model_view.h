/* SPDX-License-Identifier: Apache-2.0 */
/* A model file's parameters where they lie, without a copy of them. */
#pragma once

#include "model/plan.h"
#include "model/tensors.h"

struct cns_model_view { /* zeroed: empty */
  const float *params;  /* all of them, in the order of the flat vector */
  float *copy;          /* NULL, or params: of a file that isn't laid out as ours are */
};

/* The list's tensors in a file in memory; data must outlive the view. Errors of cns_tensors_load,
 * CNS_ERR_MEMORY. where: the file's name, for sentences. */
CNS_MUST_CHECK int cns_tensors_view(const uint8_t *data, size_t len, const char *where,
                                    const struct cns_tensor_list *list, struct cns_model_view *ret_view,
                                    struct cns_problem *problem);
/* What rounds of the plan pass on: cns_plan_round_dim numbers. */
CNS_MUST_CHECK int cns_model_view(const struct cns_plan *plan, const uint8_t *data, size_t len,
                                  const char *where, struct cns_model_view *ret_view,
                                  struct cns_problem *problem);
void cns_model_view_deinit(struct cns_model_view *view); /* fine on a zeroed one */

/* malloc'd: what lies before the parameters in a model file without metadata; the bytes of
 * cns_model_serialize_round are these and the numbers' behind them. */
CNS_MUST_CHECK int cns_tensors_head(const struct cns_tensor_list *list, uint8_t **ret_head, size_t *ret_len,
                                    struct cns_problem *problem);
CNS_MUST_CHECK int cns_model_head(const struct cns_plan *plan, uint8_t **ret_head, size_t *ret_len,
                                  struct cns_problem *problem);
