/* SPDX-License-Identifier: Apache-2.0 */
/* One round: who is silent, the phases one after another, and what it cost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/simulation_internal.h"
#include "protocol/audit.h"

double cns_simulation_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* A random order of the honest members; the first drops[keys] of it are silent
 * from phase keys on, the next drops[shares] from phase shares on, and so forth. */
static int draw_silent(struct cns_simulation *s) {
  size_t n = 0, at = 0;
  size_t order[CNS_HOSPITALS_MAX];
  char label[64];
  struct cns_rng_seeded rng;
  snprintf(label, sizeof label, "simulation drops %llu %u", (unsigned long long)s->descriptor.round,
           s->descriptor.attempt);
  cns_rng_seeded_init_label(&rng, s->options.seed, label);
  for (size_t p = 0; p < s->members; p++) {
    cns_simulation_member(s, p)->silent_from = CNS_PHASE_COUNT;
    if (!cns_simulation_member(s, p)->attack) order[n++] = s->cohort[p];
  }
  for (size_t k = n; k-- > 1;) {
    uint64_t other = 0;
    int r = cns_rng_uniform_u64(cns_rng_seeded(&rng), k + 1, &other);
    if (r < 0) return r;
    size_t moved = order[k];
    order[k] = order[other];
    order[other] = moved;
  }
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    for (size_t k = 0; k < s->options.drops[p] && at < n; k++)
      s->hospitals[order[at++]].silent_from = (enum cns_phase)p;
  return 0;
}

static int make_descriptor(struct cns_simulation *s, struct cns_problem *problem) {
  const struct cns_simulation_options *o = &s->options;
  bool again = s->last_round && !s->result.completed;
  struct cns_descriptor descriptor = {
      .study = s->study,
      .round = again ? s->last_round : s->last_round + 1,
      .attempt = again ? s->last_attempt + 1 : 1,
      .parent = s->parent,
      .plan = s->plan,
      .roster = s->roster.digest,
      .policy = s->policy.digest,
      .dim = o->dim,
      .clip_norm = o->clip_norm,
      .bits = 32,
      .audit_level = (uint8_t)s->policy.audit_level,
      .sketch = s->policy.sketch,
      .colluders = s->policy.colluders,
      .threshold = cns_policy_threshold(s->members, s->policy.colluders),
      .minimum_included = s->policy.minimum_included,
      .member_count = (uint16_t)s->members,
      .members = calloc(s->members, sizeof *descriptor.members),
  };
  if (!descriptor.members) return CNS_ERR_MEMORY;
  if (o->threshold && s->members == o->hospitals) descriptor.threshold = (uint16_t)o->threshold;
  for (size_t p = 0; p < s->members; p++)
    descriptor.members[p] = (struct cns_member){.index = (uint16_t)(s->cohort[p] + 1),
                                                .weight = cns_simulation_member(s, p)->weight};
  cns_descriptor_deinit(&s->descriptor);
  s->descriptor = descriptor;
  return cns_descriptor_choose_scale(&s->descriptor, problem);
}

static int draw_nonce(struct cns_simulation *s) {
  char label[64];
  struct cns_rng_seeded rng;
  if (!s->options.audit) return 0;
  snprintf(label, sizeof label, "simulation nonce %llu %u", (unsigned long long)s->descriptor.round,
           s->descriptor.attempt);
  cns_rng_seeded_init_label(&rng, s->options.seed, label);
  int r = cns_rng_fill(cns_rng_seeded(&rng), s->nonce, sizeof s->nonce);
  if (r == 0) cns_nonce_commit(s->nonce, &s->descriptor.nonce_commitment);
  return r;
}

static int begin_round(struct cns_simulation *s, struct cns_problem *problem) {
  int r = draw_nonce(s);
  if (r == 0) r = draw_silent(s);
  if (r < 0) return r;
  cns_simulation_liars_begin(s);
  struct cns_coordinator_config config = {
      .roster = &s->roster,
      .policy = &s->policy,
      .identity = s->coordinator_identity,
      .parallel = s->parallel,
      .nonce = s->nonce,
  };
  r = cns_coordinator_begin(&config, &s->descriptor, &s->coordinator, problem);
  if (r < 0) return r;
  cns_writer_deinit(&s->announcement);
  cns_writer_init(&s->announcement, CNS_REQUEST_BYTES_MAX);
  return cns_coordinator_announcement(s->coordinator, &s->announcement);
}

static int join(struct cns_simulation *s, struct cns_simulation_hospital *hospital, size_t p) {
  struct cns_hospital_config config = {
      .roster = &s->roster,
      .policy = &s->policy,
      .identity = hospital->identity,
      .rng = cns_rng_seeded(&hospital->rng),
      .expectation =
          {
              .roster = &s->roster,
              .policy = &s->policy,
              .study = s->study,
              .plan = s->plan,
              .parent = s->parent,
              .dim = s->options.dim,
              .clip_norm = s->options.clip_norm,
              .round = s->descriptor.round,
              .last_round = s->last_round,
              .last_attempt = s->last_attempt,
              .index = (uint16_t)(s->cohort[p] + 1),
              .own_weight = hospital->weight,
              .sketch_spent = hospital->sketch_spent,
          },
  };
  hospital->bytes_down += s->announcement.len;
  int r = cns_hospital_begin(&config, s->announcement.data, s->announcement.len, &hospital->machine,
                             &hospital->problem);
  if (r < 0) return r;
  return cns_hospital_keys(hospital->machine, &hospital->answer, &hospital->answer_len, &hospital->problem);
}

static int respond(struct cns_simulation *s, struct cns_simulation_hospital *hospital, size_t p) {
  struct cns_writer request;
  cns_writer_init(&request, CNS_REQUEST_BYTES_MAX);
  int r = cns_coordinator_request(s->coordinator, p, &request);
  if (r == 0) {
    hospital->bytes_down += request.len;
    r = cns_hospital_handle(hospital->machine, request.data, request.len, &hospital->answer,
                            &hospital->answer_len, &hospital->problem);
  }
  cns_writer_deinit(&request);
  if (r == CNS_HOSPITAL_UPLOAD) {
    hospital->wants_upload = true;
    r = 0;
  } else if (r == CNS_HOSPITAL_AUDIT)
    r = cns_simulation_audit_answer(s, p);
  return r == 0 ? cns_simulation_liars_answer(s, p, cns_coordinator_phase(s->coordinator)) : r;
}

static bool is_silent(const struct cns_simulation_hospital *hospital, enum cns_phase phase) {
  return cns_phase_order(hospital->silent_from) <= cns_phase_order(phase) || hospital->silent_in == phase;
}

static void answer_task(void *argument, size_t p) {
  struct cns_simulation *s = argument;
  struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
  enum cns_phase phase = cns_coordinator_phase(s->coordinator);
  hospital->answer = NULL;
  hospital->wants_upload = false;
  hospital->result = 0;
  if (is_silent(hospital, phase) || !cns_coordinator_awaits(s->coordinator, p)) return;
  hospital->result = phase == CNS_PHASE_KEYS ? join(s, hospital, p) : respond(s, hospital, p);
}

static int receive_all(struct cns_simulation *s, enum cns_phase phase, struct cns_problem *problem) {
  bool of_audit = phase == CNS_PHASE_AUDIT || phase == CNS_PHASE_DISPUTE || phase == CNS_PHASE_FORFEIT;
  for (size_t p = 0; p < s->members; p++) {
    struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    if (!hospital->answer) continue;
    hospital->bytes_up += hospital->answer_len;
    if (of_audit) hospital->audit_bytes_up += hospital->answer_len;
    int r = cns_coordinator_receive(s->coordinator, p, hospital->answer, hospital->answer_len, NULL, problem);
    if (r == 0) r = cns_simulation_liars_answer_again(s, p, phase, problem);
    if (r != 0) return r < 0 ? r : CNS_ERR_STATE; /* what liars say is well-formed too */
  }
  return 0;
}

/* All who aren't silent answer the present phase. */
static int play_phase(struct cns_simulation *s, struct cns_problem *problem) {
  enum cns_phase phase = cns_coordinator_phase(s->coordinator);
  cns_parallel_run(s->parallel, s->members, answer_task, s);
  for (size_t p = 0; p < s->members; p++) {
    int r = cns_simulation_member(s, p)->result;
    if (r == 0 || (r == CNS_ERR_REFUSED && cns_simulation_member(s, p)->attack))
      continue; /* a liar caught: silent */
    *problem = cns_simulation_member(s, p)->problem;
    return cns_problem_prefix(problem, r < 0 ? r : CNS_ERR_STATE, "hospital %zu refuses", s->cohort[p] + 1);
  }
  int r = phase == CNS_PHASE_UPLOAD ? cns_simulation_upload(s, problem) : receive_all(s, phase, problem);
  for (size_t p = 0; p < s->members && r == 0; p++) {
    enum cns_phase *missing = &s->result.missing[s->cohort[p]];
    if (*missing == CNS_PHASE_COUNT && cns_coordinator_awaits(s->coordinator, p)) *missing = phase;
  }
  return r;
}

static int finish_sum(struct cns_simulation *s, double last_answer_ms, struct cns_problem *problem) {
  double start = cns_simulation_now_ms();
  cns_simulation_add_included(s);
  double added = cns_simulation_now_ms();
  int r = cns_simulation_unmask(s);
  s->result.server_unmask_ms = cns_simulation_now_ms() - last_answer_ms - (added - start);
  if (r == 0) r = cns_simulation_compare(s, problem);
  s->result.phase_ms[CNS_PHASE_RESULT] = cns_simulation_now_ms() - start;
  return r;
}

/* Closes the present phase, with what the coordinator does for it. */
static int close_phase(struct cns_simulation *s, enum cns_phase phase, struct cns_problem *problem) {
  int r = phase == CNS_PHASE_AUDIT ? cns_simulation_audit_sketch(s, problem) : 0;
  if (r == 0) r = cns_coordinator_close(s->coordinator, problem);
  if (r == 0 && cns_coordinator_is_undecided(s->coordinator)) r = cns_simulation_audit_decide(s, problem);
  return r;
}

static int play(struct cns_simulation *s, struct cns_problem *problem) {
  double start = cns_simulation_now_ms();
  int r = begin_round(s, problem);
  while (r == 0 && cns_coordinator_phase(s->coordinator) != CNS_PHASE_RESULT) {
    enum cns_phase phase = cns_coordinator_phase(s->coordinator);
    r = play_phase(s, problem);
    double answered = cns_simulation_now_ms();
    if (r == 0) r = close_phase(s, phase, problem);
    double closed = cns_simulation_now_ms();
    s->result.phase_ms[phase] += closed - start;
    start = closed;
    if (r == 0 && cns_coordinator_end(s->coordinator) == CNS_END_COMPLETED)
      r = finish_sum(s, answered, problem);
  }
  return r;
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median_ms(const struct cns_simulation *s, bool of_audit) {
  double times[CNS_HOSPITALS_MAX];
  size_t count = 0;
  for (size_t p = 0; p < s->members; p++) {
    const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    if (of_audit ? hospital->of_x != NULL : hospital->uploaded)
      times[count++] = of_audit ? hospital->audit_ms : hospital->mask_ms;
  }
  if (count == 0) return 0;
  qsort(times, count, sizeof times[0], compare_doubles);
  return count % 2 ? times[count / 2] : 0.5 * (times[count / 2 - 1] + times[count / 2]);
}

/* Means over those who stayed to the end; over all if nobody did. */
static void count_bytes(struct cns_simulation *s) {
  double up[2] = {0}, down[2] = {0}, audit[2] = {0};
  size_t count[2] = {0};
  for (size_t p = 0; p < s->members; p++) {
    const struct cns_simulation_hospital *hospital = cns_simulation_member(s, p);
    bool stayed = hospital->silent_from == CNS_PHASE_COUNT;
    up[stayed] += (double)hospital->bytes_up;
    down[stayed] += (double)hospital->bytes_down;
    audit[stayed] += (double)hospital->audit_bytes_up;
    count[stayed]++;
  }
  bool which = count[1] > 0;
  s->result.bytes_up_per_hospital = up[which] / (double)count[which];
  s->result.bytes_down_per_hospital = down[which] / (double)count[which];
  s->result.audit_bytes_up_per_hospital = audit[which] / (double)count[which];
}

static int report(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_result *result = &s->result;
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->coordinator);
  for (size_t p = 0; p < s->members && outcomes; p++) {
    size_t k = s->cohort[p];
    result->outcome[k] = outcomes->outcomes[p];
    result->included[k] = result->completed && outcomes->outcomes[p] == CNS_INCLUDED;
    result->included_count += result->included[k];
  }
  if (!result->completed)
    snprintf(result->reason, sizeof result->reason, "%s", cns_coordinator_end_reason(s->coordinator));
  result->client_mask_ms_median = median_ms(s, false);
  result->client_audit_ms_median = median_ms(s, true);
  count_bytes(s);
  return cns_simulation_audit_verdicts(s, problem);
}

static void reset(struct cns_simulation *s) {
  struct cns_simulation_result *result = &s->result;
  *result = (struct cns_simulation_result){
      .completed = result->completed,
      .included = result->included,
      .malicious = result->malicious,
      .quarantined = result->quarantined,
      .outcome = result->outcome,
      .missing = result->missing,
      .flags = result->flags,
      .blames = result->blames,
      .dim = s->options.dim,
      .clip_norm = s->options.clip_norm,
      .model_bytes = 4 * s->options.dim,
  };
  s->coordinator = cns_coordinator_free(s->coordinator);
  for (size_t k = 0; k < s->options.hospitals; k++) {
    struct cns_simulation_hospital *hospital = &s->hospitals[k];
    hospital->machine = cns_hospital_free(hospital->machine);
    free(hospital->of_x);
    hospital->of_x = NULL;
    hospital->uploaded = false;
    hospital->bytes_up = hospital->bytes_down = hospital->audit_bytes_up = 0;
    result->included[k] = false;
    result->outcome[k] = CNS_OUTCOME_COUNT;
    result->missing[k] = CNS_PHASE_COUNT;
  }
}

/* No round can follow: the sentence says why. */
static int stop(struct cns_simulation *s, const char *reason) {
  s->result.stopped = true;
  snprintf(s->result.reason, sizeof s->result.reason, "%s", reason);
  return 0;
}

static bool budget_is_spent(const struct cns_simulation *s, char *ret_reason, size_t size) {
  uint64_t budget = cns_policy_sketch_budget(&s->policy, s->options.dim);
  for (size_t p = 0; p < s->members && s->options.audit; p++) {
    uint64_t spent = cns_simulation_member(s, p)->sketch_spent;
    if (spent + s->policy.sketch <= budget) continue;
    snprintf(ret_reason, size,
             "the sketch budget is spent: hospital %zu has revealed %llu of the %llu numbers that it allows, "
             "and a "
             "round needs %u; the study stops here",
             s->cohort[p] + 1, (unsigned long long)spent, (unsigned long long)budget, s->policy.sketch);
    return true;
  }
  return false;
}

static int train(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_result *result = &s->result;
  if (!s->training) return 0;
  int r = result->completed ? cns_simulation_training_step(s->training, s->vectors.mean, problem) : 0;
  if (r == CNS_ERR_RANGE) return stop(s, problem->text);
  if (r == 0)
    r = cns_simulation_training_score(s->training, &result->model_loss, &result->model_auc, problem);
  result->has_model = r == 0;
  return r == CNS_ERR_RANGE ? stop(s, problem->text) : r;
}

static int play_and_report(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_simulation_result *result = &s->result;
  int r = play(s, problem);
  if (r < 0) return r;
  s->last_round = s->descriptor.round;
  s->last_attempt = s->descriptor.attempt;
  result->completed = cns_coordinator_end(s->coordinator) == CNS_END_COMPLETED;
  r = report(s, problem);
  if (r == 0) r = train(s, problem);
  if (r == 0 && result->completed)
    cns_hash_once("consilium/1 simulation", &s->last_round, sizeof s->last_round, &s->parent);
  return r;
}

int cns_simulation_round(struct cns_simulation *s, const struct cns_simulation_result **ret_result,
                         struct cns_problem *problem) {
  char reason[sizeof s->result.reason];
  reset(s);
  cns_simulation_audit_cohort(s);
  int r = make_descriptor(s, problem);
  if (r < 0) return r;
  s->result.round = s->descriptor.round;
  s->result.attempt = s->descriptor.attempt;
  s->result.threshold = s->descriptor.threshold;
  s->result.colluders = s->descriptor.colluders;
  s->result.scale_log2 = s->descriptor.scale_log2;
  s->result.cohort_count = s->members;
  s->result.completed = false;
  if (budget_is_spent(s, reason, sizeof reason))
    r = stop(s, reason);
  else {
    r = cns_simulation_updates_make(s, problem);
    if (r == CNS_ERR_RANGE && s->options.attack_count > 0 && s->last_round > 0)
      r = stop(s, problem->text); /* what the poison left can't be trained */
    else if (r == 0)
      r = play_and_report(s, problem);
  }
  if (r == 0) *ret_result = &s->result;
  return r;
}
