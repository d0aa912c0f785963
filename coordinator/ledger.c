/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's privacy ledger of its study: a round is reserved before it is
 * announced, charged before an upload is asked for, marked released before its model
 * is published. Nothing of it under a policy without noise.
 *
 * Of each hospital's ledger the newest head is kept in <state>/ledgers/<index>.head: a
 * hospital whose ledger ends earlier, or is another, takes no part.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/server_internal.h"
#include "store/folder.h"

static int64_t now(void) {
  return (int64_t)time(NULL);
}

int cns_budget_open(struct cns_server *s, struct cns_problem *problem) {
  if (s->kit.policy.noise_placement == CNS_NOISE_NONE) return 0;
  char *path = cns_kit_path(s->kit.config.state_path, "ledger.sqlite");
  s->heads = cns_kit_path(s->kit.config.state_path, "ledgers");
  int r = path && s->heads ? cns_folder_create(s->heads, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = cns_ledger_open(path, s->kit.identity, &s->study, &s->ledger, problem);
  free(path);
  return r;
}

/* What the journal has must be in the ledger: it is written there first. */
static int check_against_journal(struct cns_server *s, struct cns_problem *problem) {
  enum cns_ledger_kind last = CNS_LEDGER_RELEASED, running = CNS_LEDGER_RESERVED;
  int r = s->completed ? cns_ledger_state(s->ledger, &s->last_round, &last, problem) : 0;
  if (r == 0 && s->machine)
    r = cns_ledger_state(s->ledger, &cns_coordinator_round(s->machine)->digest, &running, problem);
  if (r < 0 || (last == CNS_LEDGER_RELEASED && (int)running != 0)) return r;
  return cns_problem_set(
      problem, CNS_ERR_REFUSED,
      "%s/ledger.sqlite: lacks a round that the journal holds: it was restored from an old copy, "
      "or cut off: restore the newest copy of it; or the study ran without noise before: a budget needs a "
      "study of its own",
      s->kit.config.state_path);
}

int cns_budget_replayed(struct cns_server *s, struct cns_problem *problem) {
  if (!s->ledger) return 0;
  const struct cns_digest *running = s->machine ? &cns_coordinator_round(s->machine)->digest : NULL;
  int r = check_against_journal(s, problem);
  if (r == 0) r = cns_charge_cancel_stale(s->ledger, &s->study, running, now(), problem);
  if (r == 0 && !running) r = cns_budget_look_ahead(s, problem);
  return r ? r : cns_budget_charge(s, problem);
}

int cns_budget_look_ahead(struct cns_server *s, struct cns_problem *problem) {
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_problem why = {0};
  bool spent;
  if (!s->ledger || s->completed >= s->plan.rounds) return 0;
  size_t count = cns_charge_limits(&s->kit.policy, NULL, limits);
  int r = cns_charge_is_spent(s->ledger, &s->study, limits, count, &s->kit.policy, &s->plan, now(), &spent,
                              &why, problem);
  if (r == 0) s->budget_spent = why;
  return r;
}

/* ---- rounds ---- */

int cns_budget_choose_attempt(const struct cns_server *s, struct cns_descriptor *d,
                              struct cns_problem *problem) {
  enum cns_ledger_kind known = CNS_LEDGER_RESERVED;
  while (s->ledger && (int)known != 0) {
    struct cns_digest digest;
    int r = cns_descriptor_digest(d, &digest);
    if (r == 0) r = cns_ledger_state(s->ledger, &digest, &known, problem);
    if (r < 0) return r;
    if ((int)known != 0 && d->attempt == UINT32_MAX) return CNS_ERR_LIMIT;
    d->attempt += (int)known != 0;
  }
  return 0;
}

int cns_budget_reserve(struct cns_server *s, const struct cns_descriptor *d, struct cns_problem *problem) {
  struct cns_ledger_round round;
  struct cns_ledger_verdict verdict;
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  if (!s->ledger) return 0;
  int r = cns_charge_round(d, s->plan.name, NULL, &round);
  if (r < 0)
    return cns_problem_set(problem, r, "what a round costs can't be computed (%s)", cns_error_name(r));
  size_t count = cns_charge_limits(&s->kit.policy, NULL, limits);
  r = cns_ledger_reserve(s->ledger, &round, limits, count, now(), &verdict, problem);
  if (r != CNS_BUDGET_EXCEEDED) return r;
  return verdict.budget.limit == CNS_BUDGET_MONTH ? CNS_BUDGET_WAIT : CNS_ERR_BUDGET;
}

/* From here on hospitals may upload. */
int cns_budget_charge(struct cns_server *s, struct cns_problem *problem) {
  if (!s->ledger || !s->machine) return 0;
  const struct cns_round *round = cns_coordinator_round(s->machine);
  if (cns_phase_order(cns_coordinator_phase(s->machine)) < cns_phase_order(CNS_PHASE_UPLOAD)) return 0;
  if (cns_coordinator_end(s->machine) != CNS_END_NONE && cns_coordinator_end(s->machine) != CNS_END_COMPLETED)
    return 0;
  return cns_ledger_charge(s->ledger, &round->digest, now(), problem);
}

int cns_budget_release(struct cns_server *s, struct cns_problem *problem) {
  if (!s->ledger) return 0;
  return cns_ledger_release(s->ledger, &cns_coordinator_round(s->machine)->digest, now(), problem);
}

int cns_budget_failed(struct cns_server *s, struct cns_problem *problem) {
  if (!s->ledger) return 0;
  return cns_charge_cancel(s->ledger, &cns_coordinator_round(s->machine)->digest, now(), problem);
}

int cns_budget_refund(struct cns_server *s, const struct cns_descriptor *d, const struct cns_digest *round,
                      struct cns_problem *problem) {
  if (!s->ledger) return 0;
  int r = cns_charge_refund(s->ledger, d, round, now(), problem);
  if (r < 0 || s->machine) return r; /* what a running round has reserved may come back too */
  r = cns_budget_look_ahead(s, problem);
  if (!s->budget_spent.text[0]) s->said_finished = false; /* the study goes on */
  return r;
}

/* What readers of the models have cost so far, for manifest and log. */
int cns_budget_standing(struct cns_server *s, struct cns_charge_standing *ret_standing,
                        struct cns_problem *problem) {
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  (void)cns_charge_limits(&s->kit.policy, NULL, limits);
  return cns_charge_standing(s->ledger, &s->study, &limits[0], &s->kit.policy, NULL, 0, now(), ret_standing,
                             problem);
}

/* ---- heads ---- */

static void send_head(struct cns_session *session, const struct cns_ledger_head *head) {
  uint8_t bytes[CNS_LEDGER_HEAD_BYTES];
  struct cns_writer writer;
  if (cns_ledger_head_encode(head, bytes) < 0) return;
  cns_writer_init(&writer, sizeof bytes);
  cns_write_bytes(&writer, bytes, sizeof bytes);
  cns_session_send(session, CNS_WIRE_LEDGER, &writer);
  cns_writer_deinit(&writer);
}

static char *head_path(const struct cns_server *s, const struct cns_session *session) {
  char name[32];
  snprintf(name, sizeof name, "%u.head", session->hospital->index);
  return cns_kit_path(s->heads, name);
}

/* The head that is kept of a hospital's ledger; CNS_ERR_NOT_FOUND. */
static int kept_head(const struct cns_server *s, const struct cns_session *session,
                     struct cns_ledger_head *ret_head, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = head_path(s, session);
  int r = path ? cns_file_read(path, CNS_LEDGER_HEAD_BYTES + 1, &data, &len, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = cns_ledger_head_decode(data, len, ret_head);
  if (r == 0) r = cns_ledger_head_verify(ret_head, &ret_head->owner);
  if (r < 0 && r != CNS_ERR_NOT_FOUND) cns_problem_set(problem, r, "%s: is damaged", path ? path : "a head");
  free(data);
  free(path);
  return r;
}

static int keep_head(const struct cns_server *s, const struct cns_session *session, const uint8_t *data,
                     size_t len, struct cns_problem *problem) {
  char *path = head_path(s, session);
  int r = path ? cns_file_write(path, data, len, 0600, problem) : CNS_ERR_MEMORY;
  free(path);
  return r;
}

void cns_budget_greet(struct cns_server *s, struct cns_session *session) {
  struct cns_ledger_head head;
  struct cns_problem problem = {0};
  session->ledger_known = s->ledger == NULL;
  if (!s->ledger) return;
  if (kept_head(s, session, &head, &problem) == 0) send_head(session, &head);
  if (cns_ledger_head(s->ledger, &head, &problem) == 0) send_head(session, &head);
}

void cns_budget_show_all(struct cns_server *s) {
  struct cns_ledger_head head;
  struct cns_problem problem = {0};
  if (!s->ledger || cns_ledger_head(s->ledger, &head, &problem) < 0) return;
  for (size_t k = 0; k < s->session_count; k++)
    if (s->sessions[k].joined) send_head(&s->sessions[k], &head);
}

static void refuse_ledger(struct cns_server *s, struct cns_session *session, const char *why) {
  session->ledger_known = false;
  cns_session_notice(session, "%s: this hospital takes no part until that is cleared up", why);
  if (cns_report_allowed(s, &session->lines))
    cns_report(s, "ledger", "hospital %s takes no part: %s", session->hospital->name, why);
}

/* Of the ledger that was shown before: 0 if it is longer than the head that is kept, or the same. */
static int compare_entries(const struct cns_ledger_head *kept, const struct cns_ledger_head *head,
                           struct cns_problem *problem) {
  if (head->sequence < kept->sequence)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "its privacy ledger ends at entry %" PRIu64 ", and one with %" PRIu64
                           " entries was shown before: the file was restored from an old copy",
                           head->sequence, kept->sequence);
  if (head->sequence == kept->sequence && !cns_digest_equal(&head->digest, &kept->digest))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "it has shown two privacy ledgers with different entries %" PRIu64,
                           head->sequence);
  return 0;
}

/* Only one of another owner can be a new one in the place of one that is lost: what the same key has signed
 * before is never given up. */
static int check_other_ledger(struct cns_server *s, struct cns_session *session,
                              const struct cns_ledger_head *kept, const struct cns_ledger_head *head,
                              struct cns_problem *problem) {
  static const char another[] = "its privacy ledger is another than the one shown before";
  if (cns_identity_public_equal(&kept->owner, &head->owner))
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s", another);
  int r = cns_carried_accept(s, session, head, kept, problem);
  if (r < 0) return cns_problem_prefix(problem, r, "%s", another);
  /* A crash in between costs another statement, and lets no second ledger in. */
  return cns_carried_done(s, session->hospital, problem);
}

static void compare_heads(struct cns_server *s, struct cns_session *session,
                          const struct cns_ledger_head *kept, const struct cns_ledger_head *head,
                          const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  bool same = cns_identity_public_equal(&kept->owner, &head->owner) &&
              cns_digest_equal(&kept->subject, &head->subject);
  int r = same ? compare_entries(kept, head, &problem) : check_other_ledger(s, session, kept, head, &problem);
  if (r < 0) send_head(session, kept);
  if (r == 0 && (!same || head->sequence > kept->sequence)) r = keep_head(s, session, data, len, &problem);
  if (r < 0)
    refuse_ledger(s, session, problem.text);
  else
    session->ledger_known = true;
}

void cns_budget_shown(struct cns_server *s, struct cns_session *session, const uint8_t *data, size_t len) {
  struct cns_ledger_head head, kept;
  struct cns_problem problem = {0};
  if (!s->ledger || !cns_report_within(s, &session->heads, CNS_SERVER_HEADS_MAX)) return;
  if (cns_ledger_head_decode(data, len, &head) < 0 || cns_ledger_head_verify(&head, &head.owner) < 0) {
    cns_link_close(session->link, "a malformed LEDGER");
    return;
  }
  if (cns_identity_public_equal(&head.owner, cns_identity_get_public(s->kit.identity))) {
    int r = cns_ledger_check_witness(s->ledger, &head, session->hospital->name, &problem);
    if (r < 0 && r != CNS_ERR_SIGNATURE) cns_server_fatal(s, r, &problem);
    return;
  }
  int r = kept_head(s, session, &kept, &problem);
  if (r == 0)
    compare_heads(s, session, &kept, &head, data, len);
  else if (r == CNS_ERR_NOT_FOUND && keep_head(s, session, data, len, &problem) == 0)
    session->ledger_known = true;
  else
    refuse_ledger(s, session, problem.text);
}
