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
#include <time.h>

#include "coordinator/server_internal.h"

static uint64_t grace_ms(const struct cns_server *s) {
  uint64_t age = cns_server_now(s) - s->started_ms;
  return age < CNS_SERVER_RESTART_GRACE_MS ? CNS_SERVER_RESTART_GRACE_MS - age : CNS_SERVER_GRACE_MS;
}

/* Not connected for longer than the grace. Hospitals that this process never
 * saw get the grace of a start. */
static bool is_gone(const struct cns_server *s, const struct cns_session *session, uint64_t grace) {
  uint64_t now = cns_server_now(s);
  if (session->joined) return false;
  if (session->seen) return now - session->gone_since_ms >= grace;
  if (grace < CNS_SERVER_RESTART_GRACE_MS) grace = CNS_SERVER_RESTART_GRACE_MS;
  return now - s->started_ms >= grace;
}

/* Would the round end if the present phase were closed now? Then those that
 * were cut off, perhaps all at once, are worth a longer wait. */
static bool too_few_answered(const struct cns_server *s) {
  const struct cns_round *round = cns_coordinator_round(s->machine);
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  size_t answered = 0;
  for (size_t k = 0; k < round->descriptor.member_count; k++)
    answered += cns_round_asked(round, phase, k) && !cns_coordinator_awaits(s->machine, k);
  return answered < (phase <= CNS_PHASE_UPLOAD ? cns_round_minimum(round) : round->descriptor.threshold);
}

bool cns_schedule_phase_is_over(struct cns_server *s) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  if (s->job_running || phase == CNS_PHASE_RESULT) return false;
  if (d->deadline_ms[phase] && cns_server_now(s) - s->phase_started_ms > d->deadline_ms[phase]) return true;
  uint64_t grace = too_few_answered(s) ? CNS_SERVER_NEEDED_GRACE_MS : CNS_SERVER_GRACE_MS;
  for (size_t k = 0; k < d->member_count; k++)
    if (cns_coordinator_awaits(s->machine, k) && !s->uploads[k].declined &&
        !is_gone(s, cns_session_at(s, k), grace))
      return false;
  return true;
}

/*
 * Ten times what the slowest answer took in recent rounds; but a hospital that
 * answers as late as it may, round after round, must not drive the limit up:
 * beyond the first limit only the t-th answer counts. A hospital that doesn't
 * answer isn't measured. Before any was measured, each attempt that failed
 * doubles the limit, for studies whose training takes longer.
 */
static uint32_t deadline_of(const struct cns_server *s, enum cns_phase phase) {
  unsigned failed = s->last_attempt < 4 ? s->last_attempt : 4;
  uint64_t first = (uint64_t)CNS_SERVER_FIRST_DEADLINE_MS << failed;
  uint64_t limit = 10 * s->measured_ms[phase], most = 10 * s->measured_enough_ms[phase];
  if (s->measured_ms[phase] == 0 || failed > 0) limit = first;
  if (limit < CNS_SERVER_DEADLINE_MIN_MS) limit = CNS_SERVER_DEADLINE_MIN_MS;
  if (most < first) most = first;
  if (limit > most) limit = most;
  return limit > CNS_DEADLINE_MS_MAX ? CNS_DEADLINE_MS_MAX : (uint32_t)limit;
}

void cns_schedule_answered(struct cns_server *s, enum cns_phase phase) {
  uint64_t took = cns_server_now(s) - s->phase_started_ms;
  if (took == 0) took = 1; /* 0: not measured */
  s->last_answer_ms[phase] = took;
  if (++s->answers[phase] == cns_coordinator_round(s->machine)->descriptor.threshold)
    s->enough_answers_ms[phase] = took;
}

static void decay(uint64_t *measured, uint64_t now) {
  uint64_t old = *measured * 9 / 10;
  if (now) *measured = now > old ? now : old; /* not when it was before a restart */
}

void cns_schedule_measure(struct cns_server *s) {
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    decay(&s->measured_ms[p], s->last_answer_ms[p]);
    decay(&s->measured_enough_ms[p], s->enough_answers_ms[p]);
  }
}

static size_t needed(const struct cns_server *s) {
  const struct cns_policy *policy = &s->kit.policy;
  size_t n = policy->minimum_cohort, least = 3u * policy->colluders + 1;
  if (n < least) n = least;
  return n < 4 ? 4 : n;
}

static bool can_take_part(const struct cns_server *s, const struct cns_session *session) {
  return session->joined && !session->hospital->revoked && !cns_abandoning_worn_out(s, session);
}

static size_t fresh_count(const struct cns_server *s) {
  size_t count = 0;
  for (size_t k = 0; k < s->session_count; k++)
    count += can_take_part(s, &s->sessions[k]);
  return count;
}

/* Those that, by what is known here, have no update left are asked only when
 * it doesn't go without them: they know better what they have sent. */
static int cohort_of(const struct cns_server *s, struct cns_descriptor *d) {
  bool all = fresh_count(s) < needed(s);
  d->members = calloc(s->session_count ? s->session_count : 1, sizeof *d->members);
  if (!d->members) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    if (!session->joined || session->hospital->revoked || !(all || can_take_part(s, session))) continue;
    d->members[d->member_count++] = (struct cns_member){
        .index = session->hospital->index,
        .weight = cns_policy_weight(&s->kit.policy, session->patients),
    };
  }
  return 0;
}

static void commit_to_nonce(struct cns_descriptor *d) {
  /* Without an audit there is no nonce: the commitment is to 32 zero bytes. */
  static const uint8_t no_nonce[CNS_SKETCH_NONCE_BYTES];
  cns_nonce_commit(no_nonce, &d->nonce_commitment);
}

/* By the rules that hospitals check too: better one clear word here than a
 * refusal from each of them, for ever. */
static int check_descriptor(const struct cns_server *s, const struct cns_descriptor *d,
                            struct cns_problem *problem) {
  const struct cns_policy *policy = &s->kit.policy;
  const struct cns_expectation expectation = {
      .roster = &s->kit.roster,
      .policy = policy,
      .study = s->study,
      .plan = s->kit.study_document.digest,
      .parent = s->model,
      .dim = cns_plan_dim(&s->plan),
      .metrics_dim = policy->metrics ? (uint32_t)cns_plan_metrics_dim(&s->plan) : 0,
      .clip_norm = s->plan.clip_norm,
      .round = s->completed + 1,
      .last_round = s->last_attempt ? s->completed + 1 : s->completed,
      .last_attempt = s->last_attempt,
  };
  int r = cns_descriptor_check(d, &expectation, problem);
  return r < 0 ? cns_problem_prefix(problem, r, "no round can be begun") : 0;
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
  for (enum cns_phase p = CNS_PHASE_KEYS; p < CNS_PHASE_COUNT; p = (enum cns_phase)(p + 1))
    if (p != CNS_PHASE_RESULT && p != CNS_PHASE_ABANDON) d.deadline_ms[p] = deadline_of(s, p);
  commit_to_nonce(&d);
  int r = cohort_of(s, &d);
  if (r == 0) {
    d.threshold = cns_policy_threshold(d.member_count, d.colluders);
    r = cns_descriptor_choose_scale(&d, &problem);
  }
  if (r == 0) r = check_descriptor(s, &d, &problem);
  if (r == 0) r = cns_round_start(s, &d, &problem);
  cns_descriptor_deinit(&d);
  if (r < 0 && !problem.text[0])
    cns_problem_set(&problem, r, "a round can't be begun (%s)", cns_error_name(r));
  if (r < 0) cns_server_fatal(s, r, &problem);
}

/* Now and then, while it lasts. */
static bool may_say_waiting(struct cns_server *s) {
  if (s->said_waiting_ms && cns_server_now(s) - s->said_waiting_ms <= 30000) return false;
  s->said_waiting_ms = cns_server_now(s);
  return true;
}

/* Enough hospitals are here but, as far as can be seen, too few of them may
 * send another update of this model: tried again rarely, and said clearly. */
static bool worn_out_wait(struct cns_server *s, size_t joined, size_t fresh) {
  bool wait = cns_server_now(s) - s->round_started_ms < CNS_SERVER_WORN_OUT_MS;
  if (wait && may_say_waiting(s))
    cns_report(s, "waiting",
               "waiting: of %zu hospitals connected only %zu have an update of the present model left that "
               "the policy lets them send (%u a model), and a round needs %zu; the others can take part "
               "again when enough hospitals have signed that the failed attempts are abandoned. If those "
               "hospitals don't come back, have a policy with a larger attempts_per_parent signed",
               joined, fresh, s->kit.policy.attempts_per_parent, needed(s));
  return wait;
}

/* Every hospital that may come within the grace is waited for. */
static bool cohort_is_ready(struct cns_server *s) {
  size_t joined = 0, expected = 0;
  uint64_t waited = cns_server_now(s) - s->waiting_since_ms;
  for (size_t k = 0; k < s->session_count; k++) {
    if (s->sessions[k].hospital->revoked) continue;
    joined += s->sessions[k].joined;
    expected += s->sessions[k].joined || !is_gone(s, &s->sessions[k], CNS_SERVER_GRACE_MS);
  }
  if (joined < needed(s)) {
    if (waited > 2000 && may_say_waiting(s))
      cns_report(s, "waiting", "waiting: %zu hospitals are connected, a round needs %zu", joined, needed(s));
    return false;
  }
  size_t fresh = fresh_count(s);
  if (fresh < needed(s) && worn_out_wait(s, joined, fresh)) return false;
  return joined == expected || waited > CNS_SERVER_START_GRACE_MS + grace_ms(s);
}

/* The last model is still to be fetched. Hospitals that are to leave with it go
 * as soon as they have it; those that stay, and those that were not seen since a
 * restart, are not waited for long. */
static bool last_model_is_due(const struct cns_server *s) {
  uint64_t waited = cns_server_now(s) - s->waiting_since_ms;
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    if (session->hospital->revoked) continue;
    if (session->streaming && waited <= CNS_SERVER_LAST_DOWNLOAD_MS) return true;
    if ((session->joined || !session->seen) && waited <= CNS_SERVER_LAST_MODEL_MS) return true;
  }
  return false;
}

/* Hospitals refuse rounds under documents that have expired. */
static bool documents_are_valid(struct cns_server *s) {
  struct cns_problem problem = {0};
  int64_t now = (int64_t)time(NULL);
  int r = cns_roster_check_time(&s->kit.roster, now, &problem);
  if (r == 0) r = cns_policy_check_time(&s->kit.policy, now, &problem);
  if (r < 0 && may_say_waiting(s)) cns_report(s, "waiting", "waiting: %s", problem.text);
  return r == 0;
}

/* A round whose uploads don't fit would only cost the hospitals an attempt. */
static bool uploads_fit(struct cns_server *s) {
  struct cns_problem problem = {0};
  uint64_t joined = 0, words = cns_plan_dim(&s->plan) + cns_plan_metrics_dim(&s->plan);
  for (size_t k = 0; k < s->session_count; k++)
    joined += s->sessions[k].joined;
  int r = cns_upload_check_room(s, joined * words * 4, &problem);
  if (r < 0 && may_say_waiting(s))
    cns_report(s, "waiting", "waiting: %s; make room, the next round begins by itself", problem.text);
  return r == 0;
}

static void maybe_begin(struct cns_server *s) {
  if (s->completed >= s->plan.rounds) {
    if (!s->said_finished)
      cns_report(s, "finished", "the study is finished after %" PRIu64 " rounds%s", s->completed,
                 s->options->until_finished ? "" : "; its last model is given out until this is stopped");
    s->said_finished = true;
    if (s->options->until_finished && !last_model_is_due(s)) cns_server_stop(s);
    return;
  }
  if (cns_server_now(s) < s->not_before_ms || cns_abandoning_pending(s)) return;
  if (cohort_is_ready(s) && documents_are_valid(s) && uploads_fit(s)) begin_round(s);
}

void cns_schedule_tick(struct cns_server *s) {
  if (s->stopping || s->job_running) return;
  if (s->machine) {
    cns_round_advance(s);
    return;
  }
  cns_round_tidy(s);
  cns_reload_adopt(s);
  if (!s->stopping) maybe_begin(s);
}
