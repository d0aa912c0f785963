/* SPDX-License-Identifier: Apache-2.0 */
/* What the policy's files share: limits, and the JSON form. */
#pragma once

#include "protocol/policy.h"

#define WEIGHT_CAP_MAX 1000000
#define ROUND_TO_MAX 1000
#define ATTEMPTS_MAX 10
#define EPSILON_MAX 1000.0
#define SKETCH_BUDGET_MAX 1e6
#define FALSE_POSITIVE_MIN 1e-4
#define FALSE_POSITIVE_MAX 0.1
#define TIGHTEN_ROUNDS_MAX 1000
#define TIGHTEN_FACTOR_MAX 100.0

/* Fields in, without the digest; consistency is cns_policy_check's. */
CNS_MUST_CHECK int cns_policy_read(const cJSON *json, struct cns_policy *policy, struct cns_problem *problem);
CNS_MUST_CHECK int cns_policy_fill(cJSON *json, const struct cns_policy *policy);
/* As the JSON calls it. */
const char *cns_policy_flag_name(enum cns_on_flag on_flag);
const char *cns_policy_spent_name(enum cns_when_spent when_spent);
