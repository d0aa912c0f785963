/* SPDX-License-Identifier: Apache-2.0 */
/* What a study file says of a model whose architecture isn't ours; for model/plan.c only. */
#pragma once

#include "crypto/json.h"
#include "model/plan.h"

/* False if it leaves out all of a table's fields, which only an external model may. */
bool cns_plan_names_table(const cJSON *json);
/* "model": {"kind": "external", "tensors": {NAME: [SIZE, ...], ...}}, and with them the dimension. */
CNS_MUST_CHECK int cns_plan_parse_tensors(const cJSON *model, struct cns_plan *plan,
                                          struct cns_problem *problem);
/* When all is parsed: what an external model can't have. CNS_ERR_FORMAT with a sentence. */
CNS_MUST_CHECK int cns_plan_check_external(const struct cns_plan *plan, struct cns_problem *problem);
