/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When rounds begin and phases end. A round begins when all expected hospitals
 * are here, or the minimum cohort is and a grace has passed. A phase ends when
 * nobody's answer is awaited any more; a stream that stays closed for a grace
 * is missing, and deadlines follow from measured rounds.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/server_internal.h"

static uint64_t grace_ms(const struct cns_server *s) {
  uint64_t age = cns_server_now(s) - s->started_ms;
  return age < CNS_SERVER_RESTART_GRACE_MS ? CNS_SERVER_RESTART_GRACE_MS - age : CNS_SERVER_GRACE_MS;
}

/* Not connected for longer than the grace. Hospitals that this process never
 * saw get the grace of a start. */
static bool is_gone(const struct cns_server *s, const struct cns_session *session) {
  uint64_t now = cns_server_now(s);
  if (session->joined) return false;
  if (!session->seen) return now - s->started_ms >= CNS_SERVER_RESTART_GRACE_MS;
  return now - session->gone_since_ms >= CNS_SERVER_GRACE_MS;
}

bool cns_schedule_phase_is_over(struct cns_server *s) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  if (s->job_running || phase >= CNS_PHASE_RESULT) return false;
  if (d->deadline_ms[phase] && cns_server_now(s) - s->phase_started_ms > d->deadline_ms[phase]) return true;
  for (size_t k = 0; k < d->member_count; k++)
    if (cns_coordinator_awaits(s->machine, k) && !s->uploads[k].declined && !is_gone(s, cns_session_at(s, k)))
      return false;
  return true;
}

/* A limit is never under half a minute for the phases that wait for training or
 * transfer, and ten times what was measured. */
static uint32_t deadline_of(const struct cns_server *s, enum cns_phase phase) {
  if (s->measured_ms[phase] == 0) return CNS_SERVER_FIRST_DEADLINE_MS;
  uint64_t limit = 10 * s->measured_ms[phase];
  if (limit < CNS_SERVER_DEADLINE_MIN_MS) limit = CNS_SERVER_DEADLINE_MIN_MS;
  return limit > CNS_DEADLINE_MS_MAX ? CNS_DEADLINE_MS_MAX : (uint32_t)limit;
}

void cns_schedule_measure(struct cns_server *s) {
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    uint64_t measured = s->phase_ms[p] ? s->phase_ms[p] : 1, old = s->measured_ms[p] * 9 / 10;
    s->measured_ms[p] = measured > old ? measured : old;
  }
}

static int cohort_of(const struct cns_server *s, struct cns_descriptor *d) {
  d->members = calloc(s->session_count ? s->session_count : 1, sizeof *d->members);
  if (!d->members) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    if (!session->joined || session->hospital->revoked) continue;
    d->members[d->member_count++] = (struct cns_member){
        .index = session->hospital->index,
        .weight = cns_policy_weight(&s->kit.policy, session->patients),
    };
  }
  return 0;
}

static void commit_to_nonce(struct cns_descriptor *d) {
  /* Without an audit there is no nonce: the commitment is to 32 zero bytes. */
  static const uint8_t no_nonce[32];
  cns_hash_once("consilium/1 nonce commitment", no_nonce, sizeof no_nonce, &d->nonce_commitment);
}

static void begin_round(struct cns_server *s) {
  const struct cns_policy *policy = &s->kit.policy;
  struct cns_problem problem = {0};
  struct cns_descriptor d = {
      .study = s->study,
      .round = s->completed + 1,
      .attempt = s->last_attempt + 1,
      .parent = s->model,
      .plan = s->kit.study_document.digest,
      .roster = s->kit.roster.digest,
      .policy = policy->digest,
      .dim = cns_plan_dim(&s->plan),
      .metrics_dim = policy->metrics ? (uint32_t)cns_plan_metrics_dim(&s->plan) : 0,
      .clip_norm = s->plan.clip_norm,
      .bits = 32,
      .audit_level = (uint8_t)policy->audit_level,
      .noise_placement = (uint8_t)policy->noise_placement,
      .colluders = policy->colluders,
      .minimum_included = policy->minimum_included,
  };
  for (enum cns_phase p = CNS_PHASE_KEYS; p < CNS_PHASE_RESULT; p = (enum cns_phase)(p + 1))
    d.deadline_ms[p] = deadline_of(s, p);
  commit_to_nonce(&d);
  int r = cohort_of(s, &d);
  if (r == 0) {
    d.threshold = cns_policy_threshold(d.member_count, d.colluders);
    r = cns_descriptor_choose_scale(&d, &problem);
  }
  if (r == 0) r = cns_round_start(s, &d, &problem);
  cns_descriptor_deinit(&d);
  if (r < 0) cns_server_fatal(s, r, &problem);
}

static size_t needed(const struct cns_server *s) {
  const struct cns_policy *policy = &s->kit.policy;
  size_t n = policy->minimum_cohort, least = 3u * policy->colluders + 1;
  if (n < least) n = least;
  return n < 4 ? 4 : n;
}

/* Every hospital that may come within the grace is waited for. */
static bool cohort_is_ready(struct cns_server *s) {
  size_t joined = 0, expected = 0;
  uint64_t waited = cns_server_now(s) - s->waiting_since_ms;
  for (size_t k = 0; k < s->session_count; k++) {
    if (s->sessions[k].hospital->revoked) continue;
    joined += s->sessions[k].joined;
    expected += s->sessions[k].joined || !is_gone(s, &s->sessions[k]);
  }
  if (joined < needed(s)) {
    if (cns_server_now(s) - s->said_waiting_ms > 30000 && waited > 2000) {
      s->said_waiting_ms = cns_server_now(s);
      cns_report(s, "waiting: %zu hospitals are connected, a round needs %zu", joined, needed(s));
    }
    return false;
  }
  return joined == expected || waited > CNS_SERVER_START_GRACE_MS + grace_ms(s);
}

/* The last model is still to be fetched. Hospitals that are to leave with it go
 * as soon as they have it; those that stay are not waited for long. */
static bool last_model_is_due(const struct cns_server *s) {
  if (cns_server_now(s) - s->waiting_since_ms > CNS_SERVER_LAST_MODEL_MS) return false;
  for (size_t k = 0; k < s->session_count; k++)
    if (s->sessions[k].joined) return true;
  return false;
}

static void maybe_begin(struct cns_server *s) {
  if (s->completed >= s->plan.rounds) {
    if (!s->options->until_finished || last_model_is_due(s)) return;
    cns_report(s, "the study is finished after %" PRIu64 " rounds", s->completed);
    cns_server_stop(s);
    return;
  }
  if (cns_server_now(s) < s->not_before_ms || cns_abandoning_pending(s)) return;
  if (cohort_is_ready(s)) begin_round(s);
}

void cns_schedule_tick(struct cns_server *s) {
  if (s->stopping || s->job_running) return;
  if (!s->machine)
    maybe_begin(s);
  else
    cns_round_advance(s);
}
