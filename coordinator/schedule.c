/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When rounds begin and phases end. A round begins when all expected hospitals
 * are here, or the minimum cohort is and a grace has passed. A phase ends when
 * nobody's answer is awaited any more; a stream that stays closed for a grace
 * is missing, and deadlines follow from measured rounds.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
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
  /* Those that contradict each other; who is silent there is left out, no more. */
  if (phase == CNS_PHASE_DISPUTE) return false;
  for (size_t k = 0; k < round->descriptor.member_count; k++)
    answered += cns_round_asked(round, phase, k) && !cns_coordinator_awaits(s->machine, k);
  bool all = phase <= CNS_PHASE_UPLOAD || phase == CNS_PHASE_AUDIT;
  return answered < (all ? cns_round_minimum(round) : round->descriptor.threshold);
}

bool cns_schedule_phase_is_over(struct cns_server *s) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  enum cns_phase phase = cns_coordinator_phase(s->machine);
  if (s->job_running || s->sketching || phase == CNS_PHASE_RESULT) return false;
  if (cns_coordinator_is_undecided(s->machine)) return false;
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

/* Has it revealed all that the sketch budget allows? */
static bool is_spent(const struct cns_server *s, const struct cns_session *session) {
  const struct cns_policy *policy = &s->kit.policy;
  return policy->audit_level != CNS_AUDIT_NONE &&
         !cns_watch_has_budget(s->watch, session->hospital->index, policy, cns_plan_dim(&s->plan));
}

/* Under a policy that has every round audited, who has no budget left takes no
 * part; under others a round goes without an audit for it. */
static bool may_be_asked(const struct cns_server *s, const struct cns_session *session) {
  if (!session->joined || session->hospital->revoked || !session->ledger_known) return false;
  if (cns_quarantine_holds(s, session->hospital->index)) return false;
  return s->kit.policy.when_spent != CNS_SPENT_STOP || !is_spent(s, session);
}

static bool can_take_part(const struct cns_server *s, const struct cns_session *session) {
  return may_be_asked(s, session) && !cns_abandoning_worn_out(s, session) &&
         !cns_watch_has_had_all(s->watch, session->hospital->index, s->completed + 1, &s->kit.policy);
}

static size_t fresh_count(const struct cns_server *s) {
  size_t count = 0;
  for (size_t k = 0; k < s->session_count; k++)
    count += can_take_part(s, &s->sessions[k]);
  return count;
}

/* How many more audits the hospital that has revealed most can take. */
static uint64_t audits_left(const struct cns_server *s) {
  const struct cns_policy *policy = &s->kit.policy;
  uint64_t budget = cns_policy_sketch_budget(policy, cns_plan_dim(&s->plan)), least = UINT64_MAX;
  for (size_t k = 0; k < s->session_count; k++) {
    if (!may_be_asked(s, &s->sessions[k])) continue;
    uint64_t revealed = s->watch->revealed[s->sessions[k].hospital->index];
    uint64_t left = revealed < budget ? (budget - revealed) / policy->sketch : 0;
    if (left < least) least = left;
  }
  return least;
}

/* Is the round that begins audited? A second attempt on a model is if the first
 * was, since hospitals refuse an unaudited one as a fallback. At random: so that
 * what is left lasts to the end of the study. */
static int choose_audit(const struct cns_server *s, bool *ret_audited) {
  const struct cns_policy *policy = &s->kit.policy;
  uint64_t left, rounds = s->plan.rounds - s->completed, drawn;
  int r = 0;
  *ret_audited = policy->audit_level != CNS_AUDIT_NONE;
  if (!*ret_audited || policy->when_spent == CNS_SPENT_STOP || s->watch->audited_round == s->completed + 1)
    return 0;
  left = audits_left(s);
  *ret_audited = left > 0;
  if (policy->when_spent == CNS_SPENT_UNAUDITED || left == 0 || left >= rounds) return 0;
  r = cns_rng_uniform_u64(cns_rng_system(), rounds, &drawn);
  *ret_audited = r == 0 && drawn < left;
  return r;
}

/* Those that, by what is known here, have no update left are asked only when
 * it doesn't go without them: they know better what they have sent. */
static int cohort_of(const struct cns_server *s, struct cns_descriptor *d) {
  bool all = fresh_count(s) < needed(s);
  d->members = calloc(s->session_count ? s->session_count : 1, sizeof *d->members);
  if (!d->members) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    if (!may_be_asked(s, session) || !(all || can_take_part(s, session))) continue;
    if (d->audit_level != CNS_AUDIT_NONE && is_spent(s, session)) continue;
    d->members[d->member_count++] = (struct cns_member){
        .index = session->hospital->index,
        .weight = cns_policy_weight(&s->kit.policy, session->patients),
    };
  }
  return 0;
}

/* Without an audit there is no nonce: the commitment is to 32 zero bytes. */
static int commit_to_nonce(struct cns_server *s, struct cns_descriptor *d) {
  int r = 0;
  memset(s->nonce, 0, sizeof s->nonce);
  if (d->audit_level != CNS_AUDIT_NONE) r = cns_rng_fill(cns_rng_system(), s->nonce, sizeof s->nonce);
  cns_nonce_commit(s->nonce, &d->nonce_commitment);
  return r;
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
      .dim = cns_plan_update_dim(&s->plan),
      .params = cns_plan_dim(&s->plan),
      .metrics_dim = policy->metrics ? (uint32_t)cns_plan_metrics_dim(&s->plan) : 0,
      .clip_norm = s->clip_norm,
      .indicator_share = s->plan.adaptive_clip.share,
      .metrics_share = s->plan.noised_metrics.share,
      .noise_multiplier = s->plan.noise_multiplier,
      .sampling_rate = s->plan.sampling_rate,
      .round = s->completed + 1,
      .last_round = s->last_attempt ? s->completed + 1 : s->completed,
      .last_attempt = s->last_attempt,
  };
  int r = cns_descriptor_check(d, &expectation, problem);
  return r < 0 ? cns_problem_prefix(problem, r, "no round can be begun") : 0;
}

static void describe(const struct cns_server *s, bool audited, struct cns_descriptor *ret_descriptor) {
  const struct cns_policy *policy = &s->kit.policy;
  struct cns_descriptor d = {
      .study = s->study,
      .round = s->completed + 1,
      .attempt = s->last_attempt + 1,
      .parent = s->model,
      .plan = s->kit.study_document.digest,
      .roster = s->kit.roster.digest,
      .policy = policy->digest,
      .dim = cns_plan_update_dim(&s->plan),
      .metrics_dim = policy->metrics ? (uint32_t)cns_plan_metrics_dim(&s->plan) : 0,
      .clip_norm = s->clip_norm,
      .indicator_share = s->plan.adaptive_clip.share,
      .metrics_share = s->plan.noised_metrics.share,
      .bits = 32,
      .audit_level = audited ? (uint8_t)policy->audit_level : (uint8_t)CNS_AUDIT_NONE,
      .sketch = audited ? policy->sketch : 0,
      .unit = (uint8_t)policy->unit,
      .noise_placement = (uint8_t)policy->noise_placement,
      .noise_multiplier = s->plan.noise_multiplier,
      .sampling_rate = s->plan.sampling_rate,
      .colluders = policy->colluders,
      .minimum_included = policy->minimum_included,
  };
  for (enum cns_phase p = CNS_PHASE_KEYS; p < CNS_PHASE_COUNT; p = (enum cns_phase)(p + 1))
    if (p != CNS_PHASE_RESULT && p != CNS_PHASE_ABANDON) d.deadline_ms[p] = deadline_of(s, p);
  *ret_descriptor = d;
}

/* Now and then, while it lasts. */
static bool may_say_waiting(struct cns_server *s) {
  if (s->said_waiting_ms && cns_server_now(s) - s->said_waiting_ms <= 30000) return false;
  s->said_waiting_ms = cns_server_now(s);
  return true;
}

/* Of the whole budget there is something left. */
static void wait_for_next_month(struct cns_server *s, const struct cns_problem *problem) {
  if (may_say_waiting(s)) cns_report(s, "waiting", "waiting for the next month: %s", problem->text);
  s->not_before_ms = cns_server_now(s) + CNS_SERVER_MONTH_MS;
}

int cns_schedule_check_norms(const struct cns_server *s, const struct cns_descriptor *d,
                             struct cns_problem *problem) {
  const struct cns_adaptive_clip *adaptive = &s->plan.adaptive_clip;
  const int steps = 64;
  if (adaptive->share == 0 || s->completed > 0) return 0;
  for (int k = -1; k <= steps; k++) {
    struct cns_descriptor other = *d;
    double norm = k < 0 ? adaptive->max : adaptive->min * exp2((double)k / steps);
    other.clip_norm = fmin(norm, adaptive->max);
    int r = cns_descriptor_choose_scale(&other, problem);
    if (r < 0)
      return cns_problem_prefix(problem, r, "with a clip norm of %.4g, which the study's may come to",
                                other.clip_norm);
  }
  return 0;
}

static void begin_round(struct cns_server *s) {
  struct cns_problem problem = {0};
  struct cns_descriptor d = {0};
  bool audited = false;
  int r = choose_audit(s, &audited);
  describe(s, audited, &d);
  if (r == 0) r = commit_to_nonce(s, &d);
  if (r == 0) r = cohort_of(s, &d);
  if (r == 0 && d.member_count < needed(s)) {
    if (may_say_waiting(s))
      cns_report(s, "waiting",
                 "waiting: this model had an audited attempt, so the next one is audited too, and only %u "
                 "hospitals have numbers left in the policy's sketch budget; a round needs %zu",
                 d.member_count, needed(s));
    cns_descriptor_deinit(&d);
    return;
  }
  if (r == 0) {
    d.threshold = cns_policy_threshold(d.member_count, d.colluders);
    r = cns_descriptor_choose_scale(&d, &problem);
    if (r == 0) r = cns_schedule_check_norms(s, &d, &problem);
  }
  if (r == 0) r = cns_budget_choose_attempt(s, &d, &problem);
  if (r == 0) r = check_descriptor(s, &d, &problem);
  if (r == 0) r = cns_budget_reserve(s, &d, &problem);
  if (r == CNS_ERR_BUDGET || r == CNS_BUDGET_WAIT) {
    cns_descriptor_deinit(&d);
    if (r == CNS_ERR_BUDGET)
      s->budget_spent = problem;
    else
      wait_for_next_month(s, &problem);
    return;
  }
  if (r == 0) r = cns_round_start(s, &d, &problem);
  cns_descriptor_deinit(&d);
  if (r < 0 && !problem.text[0])
    cns_problem_set(&problem, r, "a round can't be begun (%s)", cns_error_name(r));
  if (r < 0) cns_server_fatal(s, r, &problem);
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

static void say_too_few(struct cns_server *s, size_t joined, size_t spent) {
  char why[400] = "";
  size_t held = 0, len = 0;
  for (size_t k = 0; k < s->session_count; k++)
    held += s->sessions[k].joined && cns_quarantine_holds(s, s->sessions[k].hospital->index);
  if (held > 0)
    len = (size_t)snprintf(why, sizeof why,
                           "; %zu more in quarantine, until a privacy officer lets them in (consilium "
                           "quarantine)",
                           held);
  if (spent > 0 && len < sizeof why)
    snprintf(why + len, sizeof why - len,
             "; %zu more have revealed all numbers that the policy's sketch budget allows in this study: a "
             "policy with a larger one would let them go on",
             spent);
  cns_report(s, "waiting", "waiting: %zu hospitals %s, a round needs %zu%s", joined,
             held + spent ? "may take part" : "are connected", needed(s), why);
}

/* Every hospital that may come within the grace is waited for. */
static bool cohort_is_ready(struct cns_server *s) {
  size_t joined = 0, expected = 0, out = 0;
  uint64_t waited = cns_server_now(s) - s->waiting_since_ms;
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    if (session->hospital->revoked || cns_quarantine_holds(s, session->hospital->index)) continue;
    joined += may_be_asked(s, session);
    out += session->joined && !may_be_asked(s, session);
    expected += session->joined ? may_be_asked(s, session) : !is_gone(s, session, CNS_SERVER_GRACE_MS);
  }
  if (joined < needed(s)) {
    if (waited > 2000 && may_say_waiting(s)) say_too_few(s, joined, out);
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
  uint64_t joined = 0, words = cns_plan_update_dim(&s->plan) + cns_plan_metrics_dim(&s->plan);
  for (size_t k = 0; k < s->session_count; k++)
    joined += s->sessions[k].joined;
  uint64_t beside = s->model_len + cns_optimiser_bytes(s); /* the new model, and its optimiser's state */
  int r = cns_upload_check_room(s, joined * words * 4 + beside, &problem);
  if (r < 0 && may_say_waiting(s))
    cns_report(s, "waiting", "waiting: %s; make room, the next round begins by itself", problem.text);
  return r == 0;
}

/* After the study's last round, the last one that the privacy budget allows, or a stop. */
static void finish(struct cns_server *s) {
  bool early = s->completed < s->plan.rounds;
  int error;
  const char *word = cns_server_end_word(s, &error);
  const char *then = s->options->until_finished ? "" : "; its last model is given out until this is stopped";
  for (size_t k = 0; !s->said_finished && early && k < s->session_count; k++)
    cns_session_over(s, &s->sessions[k]);
  if (!s->said_finished && early)
    cns_report(s, error == CNS_ERR_STOPPED ? "stopped" : "budget",
               "the study ends after %" PRIu64 " of %u rounds: %s%s", s->completed, s->plan.rounds, word,
               then);
  else if (!s->said_finished)
    cns_report(s, "finished", "the study is finished after %" PRIu64 " rounds%s", s->completed, then);
  s->said_finished = true;
  if (!s->options->until_finished || last_model_is_due(s)) return;
  if (early)
    cns_server_fatal(s, error, error == CNS_ERR_STOPPED ? &s->stopped : &s->budget_spent);
  else
    cns_server_stop(s);
}

static void maybe_begin(struct cns_server *s) {
  /* Abandons that are on their way may give back what the budget lacks. */
  bool pending = cns_abandoning_pending(s);
  if (s->completed >= s->plan.rounds || (cns_server_end_word(s, NULL)[0] && !pending)) {
    finish(s);
    return;
  }
  if (cns_pause_holds(s) || cns_server_now(s) < s->not_before_ms || pending) return;
  if (cohort_is_ready(s) && documents_are_valid(s) && uploads_fit(s)) begin_round(s);
}

void cns_schedule_tick(struct cns_server *s) {
  if (s->stopping) return;
  cns_pause_look(s);
  if (s->job_running) return;
  cns_expiry_tick(s);
  if (s->machine) {
    cns_round_advance(s);
    return;
  }
  cns_round_tidy(s);
  cns_reload_adopt(s);
  cns_quarantine_take_releases(s);
  cns_pause_take_stop(s);
  if (!s->stopping) maybe_begin(s);
}
