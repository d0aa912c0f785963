/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/judge.h"

#include <stdlib.h>
#include <string.h>

#include "dp/quantize.h"

/* One row for each member with a z. */
struct rows {
  double *values;
  double weights[CNS_HOSPITALS_MAX], bounds[CNS_HOSPITALS_MAX];
  uint16_t index[CNS_HOSPITALS_MAX];
  const char *name[CNS_HOSPITALS_MAX];
};

struct cns_judgement *cns_judgement_free(struct cns_judgement *judgement) {
  if (judgement) cns_detect_result_deinit(&judgement->result);
  free(judgement);
  return NULL;
}

static int collect(const struct cns_coordinator *machine, const struct cns_roster *roster, struct rows *rows,
                   struct cns_judgement *judgement) {
  const struct cns_descriptor *d = &cns_coordinator_round(machine)->descriptor;
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  if (cns_descriptor_compute(d, weights, &mechanism, &numbers, NULL) < 0) return CNS_ERR_RANGE;
  rows->values = malloc((size_t)d->member_count * d->sketch * sizeof *rows->values);
  if (!rows->values) return CNS_ERR_MEMORY;
  for (size_t p = 0; p < d->member_count; p++) {
    const uint32_t *z = cns_coordinator_sketch(machine, p);
    const struct cns_roster_hospital *hospital = cns_roster_find(roster, d->members[p].index);
    size_t row = judgement->judged;
    uint64_t bound = 0;
    if (!z || !hospital) continue;
    int r = cns_mechanism_bound(&mechanism, d->members[p].weight, numbers.sigma_local, &bound);
    if (r < 0) return r;
    for (size_t i = 0; i < d->sketch; i++)
      rows->values[row * d->sketch + i] = (double)(int32_t)z[i];
    rows->index[row] = d->members[p].index;
    rows->name[row] = hospital->name;
    rows->weights[row] = d->members[p].weight;
    rows->bounds[row] = (double)bound;
    judgement->position[row] = (uint16_t)p;
    judgement->judged++;
  }
  return 0;
}

static int decide(const struct cns_coordinator *machine, const struct cns_policy *policy,
                  struct cns_judgement *judgement) {
  static const enum cns_detect_action actions[] = {[CNS_FLAG_REPORT] = CNS_DETECT_REPORT,
                                                   [CNS_FLAG_EXCLUDE] = CNS_DETECT_EXCLUDE,
                                                   [CNS_FLAG_QUARANTINE] = CNS_DETECT_QUARANTINE};
  const struct cns_descriptor *d = &cns_coordinator_round(machine)->descriptor;
  const struct cns_floor none = {0};
  const struct cns_detect_policy limits = {
      .on_flag = actions[policy->on_flag],
      .on_twins = CNS_DETECT_REPORT,
      .exclusions_max = policy->maximum_exclusions,
      .remain_min = cns_agreement_minimum(d, policy, &none),
  };
  struct cns_detect_exclusion exclusions[CNS_HOSPITALS_MAX];
  size_t count = 0;
  int r = cns_detect_decide(&judgement->result, &limits, exclusions, &count, &judgement->spared);
  for (size_t e = 0; e < count && r == 0; e++) {
    size_t position = judgement->position[exclusions[e].row];
    uint16_t index = d->members[position].index;
    bool quarantine = exclusions[e].action == CNS_DETECT_QUARANTINE;
    judgement->decisions[position] = quarantine ? CNS_OUT_QUARANTINED : CNS_OUT_FLAGGED;
    if (!quarantine) continue;
    judgement->watch.quarantined[index] = d->round;
    judgement->watch.statistic[index] = (uint8_t)judgement->result.flags[exclusions[e].flag].statistic;
  }
  return r;
}

static int detect(const struct cns_coordinator *machine, const struct cns_policy *policy,
                  const struct rows *rows, struct cns_judgement *judgement, struct cns_problem *problem) {
  struct cns_detect_history *history = &judgement->watch.history;
  struct cns_detect_options options = cns_detect_options_default();
  const struct cns_detect_input input = {
      .hospitals = judgement->judged,
      .columns = cns_coordinator_round(machine)->descriptor.sketch,
      .rows = rows->values,
      .weights = rows->weights,
      .bounds = rows->bounds,
      .hospital = rows->index,
      .name = rows->name,
      .blocks = CNS_SKETCH_BLOCKS,
  };
  judgement->tightening = cns_detect_history_factor(history);
  options.rate = policy->false_positive_rate;
  options.tightening = judgement->tightening;
  judgement->influence = cns_detect_influence(rows->bounds, rows->weights, judgement->judged,
                                              rows->bounds[0] / rows->weights[0]);
  judgement->effective = cns_detect_effective(judgement->influence, judgement->influence_text);
  int r = cns_detect_round(&input, &options, &judgement->result, problem);
  if (r == 0) r = cns_detect_history_step(history, &input, &options, &judgement->result, problem);
  for (size_t f = 0; r == 0 && f < judgement->result.flag_count; f++)
    judgement->confirmed |= judgement->result.flags[f].statistic == CNS_DETECT_BOUND;
  if (r == 0 && judgement->confirmed && policy->tighten_rounds > 0)
    r = cns_detect_history_tighten(history, policy->tighten_rounds, policy->tighten_factor);
  judgement->detected = r == 0;
  return r;
}

int cns_judge_round(const struct cns_coordinator *machine, const struct cns_policy *policy,
                    const struct cns_roster *roster, const struct cns_watch *watch,
                    struct cns_judgement **ret_judgement, struct cns_problem *problem) {
  if (!cns_coordinator_is_undecided(machine)) return CNS_ERR_STATE;
  struct cns_judgement *judgement = calloc(1, sizeof *judgement);
  struct rows *rows = calloc(1, sizeof *rows);
  int r = judgement && rows ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    judgement->watch = *watch;
    r = collect(machine, roster, rows, judgement);
  }
  if (r == 0 && judgement->judged >= CNS_DETECT_COHORT_MIN) {
    r = detect(machine, policy, rows, judgement, problem);
    if (r == 0) r = decide(machine, policy, judgement);
  }
  if (rows) free(rows->values);
  free(rows);
  if (r < 0)
    cns_judgement_free(judgement);
  else
    *ret_judgement = judgement;
  return r;
}
