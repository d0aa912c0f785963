/* SPDX-License-Identifier: Apache-2.0 */
/* One round: who is silent, the phases one after another, and what it cost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/simulation_internal.h"

double cns_simulation_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* A random order of all hospitals; the first drops[keys] of it are silent from
 * phase keys on, the next drops[shares] from phase shares on, and so forth. */
static int draw_silent(struct cns_simulation *s) {
  size_t n = s->options.hospitals, at = 0;
  size_t order[CNS_HOSPITALS_MAX];
  char label[64];
  struct cns_rng_seeded rng;
  snprintf(label, sizeof label, "simulation drops %llu %u", (unsigned long long)s->descriptor.round,
           s->descriptor.attempt);
  cns_rng_seeded_init_label(&rng, s->options.seed, label);
  for (size_t k = 0; k < n; k++) {
    order[k] = k;
    s->hospitals[k].silent_from = CNS_PHASE_COUNT;
  }
  for (size_t k = n - 1; k > 0; k--) {
    uint64_t other = 0;
    int r = cns_rng_uniform_u64(cns_rng_seeded(&rng), k + 1, &other);
    if (r < 0) return r;
    size_t moved = order[k];
    order[k] = order[other];
    order[other] = moved;
  }
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++)
    for (size_t k = 0; k < s->options.drops[p]; k++)
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
      .colluders = s->policy.colluders,
      .threshold = cns_policy_threshold(o->hospitals, s->policy.colluders),
      .minimum_included = s->policy.minimum_included,
      .member_count = (uint16_t)o->hospitals,
      .members = calloc(o->hospitals, sizeof *descriptor.members),
  };
  if (!descriptor.members) return CNS_ERR_MEMORY;
  if (o->threshold) descriptor.threshold = (uint16_t)o->threshold;
  for (size_t k = 0; k < o->hospitals; k++)
    descriptor.members[k] = (struct cns_member){.index = (uint16_t)(k + 1), .weight = s->hospitals[k].weight};
  cns_descriptor_deinit(&s->descriptor);
  s->descriptor = descriptor;
  return cns_descriptor_choose_scale(&s->descriptor, problem);
}

static int begin_round(struct cns_simulation *s, struct cns_problem *problem) {
  int r = make_descriptor(s, problem);
  if (r == 0) r = draw_silent(s);
  if (r < 0) return r;
  struct cns_coordinator_config config = {
      .roster = &s->roster,
      .policy = &s->policy,
      .identity = s->coordinator_identity,
      .parallel = s->parallel,
  };
  s->coordinator = cns_coordinator_free(s->coordinator);
  r = cns_coordinator_begin(&config, &s->descriptor, &s->coordinator, problem);
  if (r < 0) return r;
  cns_writer_deinit(&s->announcement);
  cns_writer_init(&s->announcement, CNS_REQUEST_BYTES_MAX);
  return cns_coordinator_announcement(s->coordinator, &s->announcement);
}

static int join(struct cns_simulation *s, size_t k) {
  struct cns_simulation_hospital *hospital = &s->hospitals[k];
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
              .index = (uint16_t)(k + 1),
              .own_weight = hospital->weight,
          },
  };
  hospital->bytes_down += s->announcement.len;
  int r = cns_hospital_begin(&config, s->announcement.data, s->announcement.len, &hospital->machine,
                             &hospital->problem);
  if (r < 0) return r;
  return cns_hospital_keys(hospital->machine, &hospital->answer, &hospital->answer_len, &hospital->problem);
}

static int respond(struct cns_simulation *s, size_t k) {
  struct cns_simulation_hospital *hospital = &s->hospitals[k];
  struct cns_writer request;
  cns_writer_init(&request, CNS_REQUEST_BYTES_MAX);
  int r = cns_coordinator_request(s->coordinator, k, &request);
  if (r == 0) {
    hospital->bytes_down += request.len;
    r = cns_hospital_handle(hospital->machine, request.data, request.len, &hospital->answer,
                            &hospital->answer_len, &hospital->problem);
  }
  cns_writer_deinit(&request);
  if (r == CNS_HOSPITAL_UPLOAD) {
    hospital->wants_upload = true;
    r = 0;
  }
  return r;
}

static void answer_task(void *argument, size_t k) {
  struct cns_simulation *s = argument;
  struct cns_simulation_hospital *hospital = &s->hospitals[k];
  enum cns_phase phase = cns_coordinator_phase(s->coordinator);
  hospital->answer = NULL;
  hospital->wants_upload = false;
  hospital->result = 0;
  if (hospital->silent_from <= phase || !cns_coordinator_awaits(s->coordinator, k)) return;
  hospital->result = phase == CNS_PHASE_KEYS ? join(s, k) : respond(s, k);
}

static int receive_all(struct cns_simulation *s, struct cns_problem *problem) {
  for (size_t k = 0; k < s->options.hospitals; k++) {
    struct cns_simulation_hospital *hospital = &s->hospitals[k];
    if (!hospital->answer) continue;
    hospital->bytes_up += hospital->answer_len;
    int r = cns_coordinator_receive(s->coordinator, k, hospital->answer, hospital->answer_len, NULL, problem);
    if (r != 0) return r < 0 ? r : CNS_ERR_STATE; /* all are honest */
  }
  return 0;
}

/* All who aren't silent answer the present phase. */
static int play_phase(struct cns_simulation *s, struct cns_problem *problem) {
  cns_parallel_run(s->parallel, s->options.hospitals, answer_task, s);
  for (size_t k = 0; k < s->options.hospitals; k++) {
    int r = s->hospitals[k].result;
    if (r == 0) continue;
    *problem = s->hospitals[k].problem;
    return cns_problem_prefix(problem, r < 0 ? r : CNS_ERR_STATE, "hospital %zu refuses", k + 1);
  }
  if (cns_coordinator_phase(s->coordinator) == CNS_PHASE_UPLOAD) return cns_simulation_upload(s, problem);
  return receive_all(s, problem);
}

static int finish_sum(struct cns_simulation *s, double last_answer_ms, struct cns_problem *problem) {
  double start = cns_simulation_now_ms();
  int r = cns_simulation_unmask(s);
  s->result.server_unmask_ms = cns_simulation_now_ms() - last_answer_ms;
  if (r == 0) r = cns_simulation_compare(s, problem);
  s->result.phase_ms[CNS_PHASE_RESULT] = cns_simulation_now_ms() - start;
  return r;
}

static int play(struct cns_simulation *s, struct cns_problem *problem) {
  double start = cns_simulation_now_ms();
  int r = begin_round(s, problem);
  while (r == 0 && cns_coordinator_phase(s->coordinator) != CNS_PHASE_RESULT) {
    enum cns_phase phase = cns_coordinator_phase(s->coordinator);
    r = play_phase(s, problem);
    double answered = cns_simulation_now_ms();
    if (r == 0) r = cns_coordinator_close(s->coordinator, problem);
    double closed = cns_simulation_now_ms();
    s->result.phase_ms[phase] = closed - start;
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

static double median_mask_ms(const struct cns_simulation *s) {
  double times[CNS_HOSPITALS_MAX];
  size_t count = 0;
  for (size_t k = 0; k < s->options.hospitals; k++)
    if (s->hospitals[k].uploaded) times[count++] = s->hospitals[k].mask_ms;
  if (count == 0) return 0;
  qsort(times, count, sizeof times[0], compare_doubles);
  return count % 2 ? times[count / 2] : 0.5 * (times[count / 2 - 1] + times[count / 2]);
}

/* Means over those who stayed to the end; over all if nobody did. */
static void count_bytes(struct cns_simulation *s) {
  double up[2] = {0}, down[2] = {0};
  size_t count[2] = {0};
  for (size_t k = 0; k < s->options.hospitals; k++) {
    bool stayed = s->hospitals[k].silent_from == CNS_PHASE_COUNT;
    up[stayed] += (double)s->hospitals[k].bytes_up;
    down[stayed] += (double)s->hospitals[k].bytes_down;
    count[stayed]++;
  }
  bool which = count[1] > 0;
  s->result.bytes_up_per_hospital = up[which] / (double)count[which];
  s->result.bytes_down_per_hospital = down[which] / (double)count[which];
}

static void report(struct cns_simulation *s) {
  struct cns_simulation_result *result = &s->result;
  const struct cns_round *round = cns_coordinator_round(s->coordinator);
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->coordinator);
  for (size_t k = 0; k < s->options.hospitals; k++) {
    result->included[k] = result->completed && outcomes->outcomes[k] == CNS_INCLUDED;
    result->included_count += result->included[k];
    result->missing[k] = CNS_PHASE_COUNT;
    for (enum cns_phase p = CNS_PHASE_KEYS; p < CNS_PHASE_RESULT; p = (enum cns_phase)(p + 1))
      if (round->entries[p] && round->entries[p][k].standing == CNS_ABSENT && cns_round_asked(round, p, k)) {
        result->missing[k] = p;
        break;
      }
  }
  if (!result->completed)
    snprintf(result->reason, sizeof result->reason, "%s", cns_coordinator_end_reason(s->coordinator));
  result->client_mask_ms_median = median_mask_ms(s);
  count_bytes(s);
}

static void reset(struct cns_simulation *s) {
  struct cns_simulation_result *result = &s->result;
  *result = (struct cns_simulation_result){
      .round = s->descriptor.round,
      .attempt = s->descriptor.attempt,
      .completed = result->completed,
      .included = result->included,
      .missing = result->missing,
  };
  for (size_t k = 0; k < s->options.hospitals; k++) {
    struct cns_simulation_hospital *hospital = &s->hospitals[k];
    hospital->machine = cns_hospital_free(hospital->machine);
    hospital->uploaded = false;
    hospital->bytes_up = hospital->bytes_down = 0;
  }
}

int cns_simulation_round(struct cns_simulation *s, const struct cns_simulation_result **ret_result,
                         struct cns_problem *problem) {
  reset(s);
  int r = play(s, problem);
  if (r < 0) return r;
  s->result.round = s->last_round = s->descriptor.round;
  s->result.attempt = s->last_attempt = s->descriptor.attempt;
  s->result.threshold = s->descriptor.threshold;
  s->result.colluders = s->descriptor.colluders;
  s->result.scale_log2 = s->descriptor.scale_log2;
  s->result.model_bytes = 4 * s->options.dim;
  s->result.completed = cns_coordinator_end(s->coordinator) == CNS_END_COMPLETED;
  report(s);
  if (s->result.completed)
    cns_hash_once("consilium/1 simulation", &s->last_round, sizeof s->last_round, &s->parent);
  *ret_result = &s->result;
  return 0;
}
