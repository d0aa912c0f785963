/* SPDX-License-Identifier: Apache-2.0 */
/* The audit: sketches at the hospitals and at the coordinator, detection, and
 * what follows from it. docs/protocol.md, phases audit to agree. */
#include <stdlib.h>
#include <string.h>

#include "cli/simulation_internal.h"

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

/* Is every z what its hospital really sent, but for those that lie? */
static void compare_sketches(struct cns_simulation *s) {
  size_t bytes = s->descriptor.sketch * sizeof(uint32_t);
  s->result.sketches_exact = true;
  for (size_t p = 0; p < s->members; p++) {
    const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    const uint32_t *z = cns_coordinator_sketch(s->coordinator, p);
    if (z && !cns_simulation_lies_in_audit(hospital))
      s->result.sketches_exact &= memcmp(z, hospital->of_x, bytes) == 0;
  }
}

static int keep_judgement(struct cns_simulation *s, const struct cns_judgement *judgement) {
  struct cns_simulation_result *result = &s->result;
  size_t count = judgement->result.flag_count;
  free(result->flags);
  result->flag_count = 0;
  result->flags = malloc((count ? count : 1) * sizeof *result->flags);
  if (!result->flags) return CNS_ERR_MEMORY;
  for (; result->flag_count < count; result->flag_count++) {
    struct cns_detect_flag *flag = &result->flags[result->flag_count];
    *flag = judgement->result.flags[result->flag_count];
    flag->row = s->cohort[judgement->position[flag->row]];
  }
  memcpy(result->claim, judgement->result.claim, sizeof result->claim);
  memcpy(result->effective, judgement->influence_text, sizeof result->effective);
  result->influence = judgement->influence;
  *s->watch = judgement->watch;
  for (size_t p = 0; p < s->members; p++)
    if (judgement->decisions[p] == CNS_OUT_QUARANTINED)
      cns_simulation_member(s, p)->quarantined = s->descriptor.round;
  return 0;
}

int cns_simulation_audit_decide(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_judgement *judgement = NULL;
  compare_sketches(s);
  int r = cns_judge_round(s->coordinator, &s->policy, &s->roster, s->watch, &judgement, problem);
  if (r < 0) return r;
  r = keep_judgement(s, judgement);
  if (r == 0) r = cns_coordinator_decide(s->coordinator, judgement->decisions, problem);
  cns_judgement_free(judgement);
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
