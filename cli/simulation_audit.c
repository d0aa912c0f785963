/* SPDX-License-Identifier: Apache-2.0 */
/* The audit: sketches at the hospitals and at the coordinator, detection, and
 * what follows from it. docs/protocol.md, phases audit to agree. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"
#include "dp/quantize.h"

/* ---- sketches ---- */

int cns_simulation_audit_answer(struct cns_simulation *s, size_t p) {
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  struct cns_hospital_audit audit;
  int r = cns_hospital_audit(hospital->machine, &audit);
  if (r < 0) return r;
  size_t dim = s->options.dim, bytes = audit.k * sizeof(uint32_t);
  const uint32_t *const vectors[] = {s->vectors.y + p * dim, s->vectors.x + p * dim};
  uint32_t *masks = malloc(audit.count * bytes), of[2 * CNS_SKETCH_MAX], *of_x = of + audit.k;
  hospital->of_x = malloc(bytes);
  r = masks && hospital->of_x ? 0 : CNS_ERR_MEMORY;
  double start = cns_simulation_now_ms();
  if (r == 0)
    r = cns_sketch_masks(&audit.key, audit.k, audit.seeds, audit.count, audit.dim, (struct cns_parallel){0},
                         masks);
  if (r == 0)
    r = cns_sketch_vectors(&audit.key, audit.k, vectors, 2, audit.dim, (struct cns_parallel){0}, of);
  hospital->audit_ms = cns_simulation_now_ms() - start;
  if (r == 0) memcpy(hospital->of_x, of_x, bytes);
  if (r == 0 && cns_simulation_lies_in_audit(hospital))
    r = cns_simulation_liars_sketch(s, p, &audit, of, masks, of_x);
  if (r == 0)
    r = cns_hospital_audited(hospital->machine, masks, of, of_x, &hospital->answer, &hospital->answer_len,
                             &hospital->problem);
  if (r == 0) hospital->sketch_spent += audit.k;
  free(masks);
  return r;
}

int cns_simulation_audit_sketch(struct cns_simulation *s, struct cns_problem *problem) {
  const uint32_t *vectors[CNS_HOSPITALS_MAX];
  size_t whose[CNS_HOSPITALS_MAX], count = 0, k = s->descriptor.sketch;
  struct cns_sketch_key key;
  for (size_t p = 0; p < s->members; p++) {
    if (!cns_coordinator_wants_sketch(s->coordinator, p)) continue;
    vectors[count] = s->vectors.y + p * s->options.dim;
    whose[count++] = p;
  }
  if (count == 0) return 0;
  uint32_t *sketches = malloc(count * k * sizeof *sketches);
  int r = sketches ? cns_coordinator_sketch_key(s->coordinator, &key) : CNS_ERR_MEMORY;
  double start = cns_simulation_now_ms();
  if (r == 0)
    r = cns_sketch_vectors(&key, (uint32_t)k, vectors, count, s->options.dim, s->parallel, sketches);
  s->result.server_sketch_ms = cns_simulation_now_ms() - start;
  for (size_t i = 0; i < count && r == 0; i++)
    r = cns_coordinator_set_sketch(s->coordinator, whose[i], sketches + i * k);
  free(sketches);
  return r < 0 ? cns_problem_set(problem, r, "the uploads could not be sketched") : 0;
}

/* ---- detection ---- */

/* One row for each member with a z. */
struct jury {
  size_t count;
  size_t position[CNS_HOSPITALS_MAX];
  uint16_t index[CNS_HOSPITALS_MAX];
  double weights[CNS_HOSPITALS_MAX], bounds[CNS_HOSPITALS_MAX];
  double *rows;
};

static int call_jury(struct cns_simulation *s, struct jury *jury) {
  size_t k = s->descriptor.sketch;
  jury->rows = malloc(s->members * k * sizeof *jury->rows);
  if (!jury->rows) return CNS_ERR_MEMORY;
  s->result.sketches_exact = true;
  for (size_t p = 0; p < s->members; p++) {
    const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    const uint32_t *z = cns_coordinator_sketch(s->coordinator, p);
    uint64_t theta = 0;
    if (!z) continue;
    int r = cns_quantize_theta(s->options.clip_norm, hospital->weight, s->descriptor.scale_log2, &theta);
    if (r < 0) return r;
    for (size_t i = 0; i < k; i++)
      jury->rows[jury->count * k + i] = (double)(int32_t)z[i];
    if (!cns_simulation_lies_in_audit(hospital))
      s->result.sketches_exact &= memcmp(z, hospital->of_x, k * sizeof *z) == 0;
    jury->position[jury->count] = p;
    jury->index[jury->count] = (uint16_t)(s->cohort[p] + 1);
    jury->weights[jury->count] = hospital->weight;
    jury->bounds[jury->count++] =
        cns_detect_bound((double)theta / hospital->weight, hospital->weight, 0, s->options.dim);
  }
  return 0;
}

static int keep_flags(struct cns_simulation *s, const struct jury *jury,
                      const struct cns_detect_result *detected) {
  struct cns_simulation_result *result = &s->result;
  size_t count = detected->flag_count;
  free(result->flags);
  result->flags = malloc((count ? count : 1) * sizeof *result->flags);
  if (!result->flags) return CNS_ERR_MEMORY;
  result->flag_count = count;
  for (size_t f = 0; f < count; f++) {
    result->flags[f] = detected->flags[f];
    result->flags[f].row = s->cohort[jury->position[detected->flags[f].row]];
  }
  memcpy(result->claim, detected->claim, sizeof result->claim);
  return 0;
}

static int decide(struct cns_simulation *s, const struct jury *jury, const struct cns_detect_result *detected,
                  uint8_t *decisions) {
  static const enum cns_detect_action actions[] = {[CNS_FLAG_REPORT] = CNS_DETECT_REPORT,
                                                   [CNS_FLAG_EXCLUDE] = CNS_DETECT_EXCLUDE,
                                                   [CNS_FLAG_QUARANTINE] = CNS_DETECT_QUARANTINE};
  const struct cns_floor none = {0};
  struct cns_detect_policy policy = {
      .on_flag = actions[s->policy.on_flag],
      .on_twins = CNS_DETECT_REPORT,
      .exclusions_max = s->policy.maximum_exclusions,
      .remain_min = cns_agreement_minimum(&s->descriptor, &s->policy, &none),
  };
  struct cns_detect_exclusion exclusions[CNS_HOSPITALS_MAX];
  size_t count = 0;
  int r = cns_detect_decide(detected, &policy, exclusions, &count, NULL);
  for (size_t e = 0; e < count && r == 0; e++) {
    size_t p = jury->position[exclusions[e].row];
    bool quarantine = exclusions[e].action == CNS_DETECT_QUARANTINE;
    decisions[p] = quarantine ? CNS_OUT_QUARANTINED : CNS_OUT_FLAGGED;
    if (quarantine) cns_simulation_member(s, p)->quarantined = s->descriptor.round;
  }
  return r;
}

static int detect(struct cns_simulation *s, const struct jury *jury, uint8_t *decisions,
                  struct cns_problem *problem) {
  struct cns_simulation_result *result = &s->result;
  struct cns_detect_options options = cns_detect_options_default();
  options.rate = s->policy.false_positive_rate;
  struct cns_detect_input input = {.hospitals = jury->count,
                                   .columns = s->descriptor.sketch,
                                   .rows = jury->rows,
                                   .weights = jury->weights,
                                   .bounds = jury->bounds,
                                   .hospital = jury->index,
                                   .blocks = CNS_SKETCH_BLOCKS};
  struct cns_detect_result detected = {0};
  if (jury->count < CNS_DETECT_COHORT_MIN) return 0;
  result->influence =
      cns_detect_influence(jury->bounds, jury->weights, jury->count, jury->bounds[0] / jury->weights[0]);
  (void)cns_detect_effective(result->influence, result->effective);
  int r = cns_detect_round(&input, &options, &detected, problem);
  if (r == 0) r = cns_detect_history_step(s->history, &input, &options, &detected, problem);
  if (r == 0) r = keep_flags(s, jury, &detected);
  if (r == 0) r = decide(s, jury, &detected, decisions);
  cns_detect_result_deinit(&detected);
  return r;
}

int cns_simulation_audit_decide(struct cns_simulation *s, struct cns_problem *problem) {
  uint8_t decisions[CNS_HOSPITALS_MAX] = {0};
  struct jury *jury = calloc(1, sizeof *jury);
  int r = jury ? call_jury(s, jury) : CNS_ERR_MEMORY;
  if (r == 0) r = detect(s, jury, decisions, problem);
  if (r == 0) r = cns_coordinator_decide(s->coordinator, decisions, problem);
  if (jury) free(jury->rows);
  free(jury);
  return r;
}

void cns_simulation_audit_cohort(struct cns_simulation *s) {
  size_t free_count = 0, needed = s->policy.minimum_cohort;
  for (size_t k = 0; k < s->options.hospitals; k++)
    free_count += s->hospitals[k].quarantined == 0;
  size_t taken_back = needed > free_count ? needed - free_count : 0;
  s->members = 0;
  for (size_t k = 0; k < s->options.hospitals; k++) {
    struct cns_simulation_hospital *hospital = &s->hospitals[k];
    bool in = hospital->quarantined == 0 || taken_back > 0;
    if (hospital->quarantined != 0 && in) taken_back--;
    hospital->position = in ? s->members : CNS_SIMULATION_NOBODY;
    s->result.quarantined[k] = in ? 0 : hospital->quarantined;
    if (in) s->cohort[s->members++] = k;
  }
}

/* ---- who broke the protocol ---- */

int cns_simulation_audit_verdicts(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_result *result = &s->result;
  size_t count = 0;
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(s->coordinator, &count);
  free(result->blames);
  result->blames = calloc(count ? count : 1, sizeof *result->blames);
  if (!result->blames) return CNS_ERR_MEMORY;
  result->blame_count = count;
  for (size_t v = 0; v < count; v++) {
    uint16_t index = 0;
    enum cns_blame blame = 0;
    int r =
        cns_evidence_check(&s->roster, verdicts[v].evidence, verdicts[v].evidence_len, &index, &blame, NULL);
    if (r == CNS_ERR_MEMORY) return r;
    result->blames[v] = (struct cns_simulation_blame){
        .hospital = verdicts[v].index - 1u,
        .blame = verdicts[v].blame,
        .phase = verdicts[v].phase,
        .within_bound = verdicts[v].within_bound,
        .verifies = r == 0 && index == verdicts[v].index && blame == verdicts[v].blame,
        .evidence_bytes = verdicts[v].evidence_len,
    };
    r = cns_simulation_evidence_save(s, &verdicts[v], &result->blames[v], problem);
    if (r < 0) return r;
  }
  return 0;
}
