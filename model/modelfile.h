/* SPDX-License-Identifier: Apache-2.0 */
/* A study's parameters as a safetensors file, and the study's initial model. */
#pragma once

#include "model/plan.h"
#include "model/safetensors.h"
#include "model/tensors.h"

/* The plan's tensors, in the order of the flat vector. ret_list must not hold a list. */
CNS_MUST_CHECK int cns_tensor_list_from_plan(const struct cns_plan *plan, struct cns_tensor_list *ret_list,
                                             struct cns_problem *problem);
/* Leaves the control variate's tensors out of a list of what a round passed on. True if there were any. */
bool cns_tensor_list_drop_control(struct cns_tensor_list *list);
/* What rounds pass on: with SCAFFOLD its control variate too. cns_plan_round_dim floats. */
CNS_MUST_CHECK int cns_tensor_list_of_round(const struct cns_plan *plan, struct cns_tensor_list *ret_list,
                                            struct cns_problem *problem);
/* malloc'd bytes: the plan's tensors, and the metadata given. Deterministic. */
CNS_MUST_CHECK int cns_model_serialize(const struct cns_plan *plan, const float *params,
                                       const struct cns_safetensors_pair *metadata, size_t metadata_count,
                                       uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem);
/* The same of what rounds pass on: with SCAFFOLD behind the plan's tensors those of the control variate,
 * "control.layer0.weight" and so on. model: cns_plan_round_dim floats. */
CNS_MUST_CHECK int cns_model_serialize_round(const struct cns_plan *plan, const float *model,
                                             uint8_t **ret_data, size_t *ret_len,
                                             struct cns_problem *problem);
/* Replaces the file whole (cns_file_write). */
CNS_MUST_CHECK int cns_model_write(const struct cns_plan *plan, const float *params,
                                   const struct cns_safetensors_pair *metadata, size_t metadata_count,
                                   const char *path, unsigned mode, struct cns_problem *problem);
/* Exactly the plan's tensors, of its shapes, as F32, F16 or BF16, all finite; else CNS_ERR_FORMAT or
 * CNS_ERR_RANGE with a sentence. ret_params has cns_plan_dim floats. */
CNS_MUST_CHECK int cns_model_read(const struct cns_plan *plan, const char *path, float *ret_params,
                                  struct cns_problem *problem);
CNS_MUST_CHECK int cns_model_parse(const struct cns_plan *plan, const uint8_t *data, size_t len,
                                   const char *where, float *ret_params, struct cns_problem *problem);
/* Of what rounds pass on: ret_model has cns_plan_round_dim floats. (The two above take such a file too,
 * and leave the control variate out.) */
CNS_MUST_CHECK int cns_model_parse_round(const struct cns_plan *plan, const uint8_t *data, size_t len,
                                         const char *where, float *ret_model, struct cns_problem *problem);
/* Before round 1: the initial parameters, and control variates of zero. malloc'd bytes. */
CNS_MUST_CHECK int cns_model_initial_round(const struct cns_plan *plan, const char *folder,
                                           uint8_t **ret_data, size_t *ret_len, struct cns_problem *problem);

/* The parameters before round 1: from the plan's seed, or from its file in
 * `folder` (that of the study file), whose digest must be the plan's. */
CNS_MUST_CHECK int cns_model_initial(const struct cns_plan *plan, const char *folder, float *ret_params,
                                     struct cns_problem *problem);
