/* SPDX-License-Identifier: Apache-2.0 */
/* A study's models as files of a registry, without one of them in memory. */
#pragma once

#include "model/plan.h"
#include "store/registry.h"

/* The file of a new model, of which only the numbers (cns_plan_round_dim) are to be written; zeros at first.
 */
CNS_MUST_CHECK int cns_study_model_draft(struct cns_registry *registry, const struct cns_plan *plan,
                                         struct cns_model_draft **ret_draft, float **ret_params,
                                         struct cns_problem *problem);
/* A draft whose parameters are there, into the registry. On any thread; the draft is still to be freed. */
CNS_MUST_CHECK int cns_study_model_put(struct cns_registry *registry, struct cns_model_draft *draft,
                                       struct cns_digest *ret_digest, struct cns_model_map **ret_map,
                                       struct cns_problem *problem);
/* The model before round 1, put into the registry if it isn't there. folder: that of the study file. With a
 * full disk it has to be there, and is then made in memory once, to know which it is. */
CNS_MUST_CHECK int cns_study_model_initial(struct cns_registry *registry, const struct cns_plan *plan,
                                           const char *folder, struct cns_digest *ret_digest,
                                           struct cns_model_map **ret_map, struct cns_problem *problem);
