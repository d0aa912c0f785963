/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's poisoned hospital, the audit that looks for it, and what came of both. */
#include <string.h>

#include "cli/demo.h"
#include "protocol/audit.h"

/* The largest, so that there is something to see without an audit. */
#define POISONED 1
#define SKETCH 256

/* All rounds are audited, each perhaps twice, which the default budget doesn't allow. */
void cns_demo_plan_poison(const struct cns_demo_options *options, const struct cns_demo_parts *parts,
                          struct cns_demo_result *result) {
  const struct cns_plan *plan = &parts->plan;
  bool large = plan->dim >= CNS_AUDIT_DIM_MIN && plan->dim / CNS_SKETCH_WORDS_PER_NUMBER >= SKETCH;
  result->too_small = !large;
  if (!options->no_audit && large) {
    result->sketch = SKETCH;
    result->sketch_budget = (2.0 * plan->rounds + 1) * SKETCH / (double)plan->dim;
  }
  if (!options->no_poison && plan->rounds >= CNS_DEMO_POISON_FROM)
    result->poisoned = parts->hospitals[POISONED - 1].name;
}

struct cns_audit_choice cns_demo_audit(const struct cns_demo_result *result) {
  return (struct cns_audit_choice){
      .sketch = result->sketch, .on_flag = CNS_FLAG_EXCLUDE, .budget = result->sketch_budget};
}

bool cns_demo_is_poisoned(const struct cns_demo_result *result, const char *name) {
  return name && result->poisoned && strcmp(name, result->poisoned) == 0;
}

static const char *hospital_of(const cJSON *one) {
  return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "hospital"));
}

bool cns_demo_is_missing(const cJSON *round, const char *hospital) {
  const cJSON *one;
  cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(round, "missing")) {
    const char *name = hospital_of(one);
    if (name && strcmp(name, hospital) == 0) return true;
  }
  return false;
}

void cns_demo_count_flags(struct cns_demo_result *result, const cJSON *round, uint64_t number) {
  bool in_time = number >= CNS_DEMO_POISON_FROM;
  const cJSON *one;
  cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(round, "flagged")) {
    if (in_time && cns_demo_is_poisoned(result, hospital_of(one)))
      result->flagged_rounds++;
    else
      result->false_flags++;
  }
  if (!result->poisoned || !in_time) return;
  result->poisoned_rounds++;
  if (cns_demo_is_missing(round, result->poisoned)) result->left_out_rounds++;
}
