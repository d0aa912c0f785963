/* SPDX-License-Identifier: Apache-2.0 */
/* The study file's field "training". */
#pragma once

#include "crypto/json.h"
#include "model/plan.h"

/* Of the whole study's JSON; into the plan's fields of that group. CNS_ERR_FORMAT and
 * CNS_ERR_RANGE with a sentence. */
CNS_MUST_CHECK int cns_plan_parse_training(const cJSON *json, struct cns_plan *plan,
                                           struct cns_problem *problem);
/* Once all is parsed: what SCAFFOLD doesn't go with. */
CNS_MUST_CHECK int cns_plan_check_scaffold(const struct cns_plan *plan, struct cns_problem *problem);
