/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent and the data's privacy ledger: a round is reserved before it is joined,
 * charged before the first byte of its update leaves, and refused, with the
 * arithmetic, if it would cost more than policy or data set allow. Signed heads go
 * both ways, so that neither side can lose the end of its ledger unseen.
 */
#include <inttypes.h>
#include <time.h>

#include "client/agent_internal.h"

static int64_t now(void) {
  return (int64_t)time(NULL);
}

static void say_clock(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  if (cns_ledger_clock_set_back(agent->site.ledger, &problem)) cns_agent_note(agent, "clock", &problem);
}

static const char unusable[] = "this hospital's privacy ledger can't be used; its log says why";

/* What is on these data besides the study, or where they lie, is not the coordinator's business:
 * the whole sentence is for this hospital's log. */
static int keep_here(struct cns_agent *agent, int r, const char *said, struct cns_problem *problem) {
  cns_agent_note(agent, "ledger", problem);
  return cns_problem_set(problem, r, "%s", said);
}

static int refuse_spent(struct cns_agent *agent, const struct cns_ledger_verdict *verdict,
                        struct cns_problem *problem) {
  cns_problem_prefix(problem, CNS_ERR_BUDGET, "the privacy budget doesn't allow this round");
  return verdict->scope == CNS_LEDGER_STUDY
             ? CNS_ERR_BUDGET
             : keep_here(agent, CNS_ERR_BUDGET,
                         "the privacy budget of this hospital's data doesn't allow this round; its log has "
                         "the arithmetic",
                         problem);
}

int cns_agent_ledger_begin(struct cns_agent *agent, struct cns_problem *problem) {
  struct cns_site *site = &agent->site;
  return site->ledger ? cns_charge_cancel_stale(site->ledger, &site->study, NULL, now(), problem) : 0;
}

int cns_agent_ledger_reserve(struct cns_agent *agent, const struct cns_descriptor *descriptor,
                             struct cns_problem *problem) {
  struct cns_site *site = &agent->site;
  struct cns_ledger_round round;
  struct cns_ledger_verdict verdict;
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  if (!site->ledger) return 0;
  if (agent->ledger_refusal.text[0]) {
    *problem = agent->ledger_refusal;
    return CNS_ERR_REFUSED;
  }
  int r = cns_charge_round(descriptor, site->plan.name, &site->data_set, &round);
  if (r)
    return cns_problem_set(problem, r, "what this round costs can't be computed (%s)", cns_error_name(r));
  /* Joined once, also by two kits on one table: a second sum under one charge would be one too many. */
  size_t count = cns_site_limits(site, limits);
  r = cns_ledger_reserve_once(site->ledger, &round, limits, count, now(), &verdict, problem);
  say_clock(agent);
  if (r == CNS_BUDGET_EXCEEDED) return refuse_spent(agent, &verdict, problem);
  return r && r != CNS_ERR_EXISTS ? keep_here(agent, r, unusable, problem) : r;
}

int cns_agent_ledger_charge(struct cns_agent *agent, struct cns_problem *problem) {
  if (!agent->site.ledger) return 0;
  if (agent->ledger_refusal.text[0]) {
    *problem = agent->ledger_refusal;
    return CNS_ERR_REFUSED;
  }
  int r = cns_ledger_charge(agent->site.ledger, &agent->round->digest, now(), problem);
  if (r) return keep_here(agent, r, unusable, problem);
  cns_agent_ledger_show(agent);
  return 0;
}

void cns_agent_ledger_dropped(struct cns_agent *agent, const struct cns_digest *digest) {
  struct cns_problem problem = {0};
  if (agent->site.ledger && cns_charge_cancel(agent->site.ledger, digest, now(), &problem))
    cns_agent_note(agent, "error", &problem);
}

int cns_agent_ledger_refund(struct cns_agent *agent, const struct cns_descriptor *descriptor,
                            const struct cns_digest *digest, struct cns_problem *problem) {
  struct cns_ledger *ledger = agent->site.ledger;
  return ledger ? cns_charge_refund(ledger, descriptor, digest, now(), problem) : 0;
}

/* ---- heads ---- */

static void send_head(struct cns_agent *agent, const struct cns_ledger_head *head) {
  uint8_t bytes[CNS_LEDGER_HEAD_BYTES];
  struct cns_writer frame;
  if (cns_ledger_head_encode(head, bytes)) return;
  cns_writer_init(&frame, sizeof bytes);
  cns_write_bytes(&frame, bytes, sizeof bytes);
  cns_agent_send(agent, CNS_WIRE_LEDGER, &frame);
  cns_writer_deinit(&frame);
}

void cns_agent_ledger_show(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  struct cns_ledger_head head;
  if (!agent->site.ledger) return;
  if (cns_ledger_head(agent->site.ledger, &head, &problem))
    cns_agent_note(agent, "error", &problem);
  else
    send_head(agent, &head);
}

void cns_agent_ledger_greet(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  struct cns_ledger_head kept;
  struct cns_site *site = &agent->site;
  if (!site->ledger) return;
  cns_agent_ledger_show(agent);
  int r =
      cns_ledger_witness(site->ledger, &site->kit.roster.coordinator.identity, &site->study, &kept, &problem);
  if (r == 0)
    send_head(agent, &kept);
  else if (r != CNS_ERR_NOT_FOUND)
    cns_agent_note(agent, "error", &problem);
}

/* From here on every round is refused. */
static void distrust(struct cns_agent *agent, const char *whose, const struct cns_problem *problem) {
  if (agent->ledger_refusal.text[0]) return;
  agent->ledger_refusal = *problem;
  cns_problem_prefix(&agent->ledger_refusal, 0, "%s", whose);
  cns_agent_note(agent, "ledger", &agent->ledger_refusal);
}

static void distrust_own(struct cns_agent *agent, const struct cns_problem *problem) {
  static const char sentence[] = "no round is joined, because this hospital's privacy ledger isn't whole";
  bool known = agent->ledger_refusal.text[0] != '\0';
  distrust(agent, sentence, problem);
  if (!known) cns_problem_set(&agent->ledger_refusal, 0, "%s; its log says more", sentence);
}

/* Kept, it would be no witness of this study's. */
static void say_other_ledger(struct cns_agent *agent, const struct cns_ledger_head *head) {
  struct cns_problem problem = {0};
  if (cns_ledger_head_verify(head, &agent->site.kit.roster.coordinator.identity)) return;
  cns_problem_set(&problem, CNS_ERR_REFUSED, "it shows the ledger of another study than ours");
  distrust(agent, "no round is joined, because the coordinator's privacy ledger isn't whole", &problem);
}

void cns_agent_ledger_shown(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_ledger_head head;
  struct cns_site *site = &agent->site;
  if (!site->ledger || !cns_client_log_allowed(&agent->log, &agent->heads, CNS_AGENT_HEADS_MAX,
                                               CNS_AGENT_LINES_MS, cns_loop_now_ms(agent->host.loop)))
    return;
  if (cns_ledger_head_decode(data, len, &head)) return;
  if (cns_identity_public_equal(&head.owner, cns_identity_get_public(site->ledger_identity))) {
    int r = cns_ledger_check_witness(site->ledger, &head, "the coordinator", &problem);
    if (r && r != CNS_ERR_SIGNATURE) distrust_own(agent, &problem);
  } else if (cns_identity_public_equal(&head.owner, &site->kit.roster.coordinator.identity)) {
    if (!cns_digest_equal(&head.subject, &site->study)) {
      say_other_ledger(agent, &head);
      return;
    }
    int r = cns_ledger_accept_head(site->ledger, &head, &problem);
    if (r == CNS_LEDGER_FORK || r == CNS_ERR_REFUSED)
      distrust(agent, "no round is joined, because the coordinator's privacy ledger isn't whole", &problem);
  }
}

/* ---- the end of the budget ---- */

static void say_alert(struct cns_agent *agent) {
  const struct cns_site *site = &agent->site;
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_charge_standing standing;
  struct cns_problem problem = {0};
  (void)cns_site_limits(site, limits);
  if (cns_charge_standing(site->ledger, &site->study, &limits[0], &site->kit.policy, NULL, 0, now(),
                          &standing, &problem))
    cns_agent_note(agent, "error", &problem);
  else if (cns_charge_alert(&standing, &agent->alert_said, &problem))
    cns_client_log(&agent->log, "budget", "%s", problem.text);
}

bool cns_agent_budget_is_spent(struct cns_agent *agent) {
  const struct cns_site *site = &agent->site;
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_problem problem = {0};
  bool spent = false;
  if (!site->ledger || agent->budget_spent.text[0]) return agent->budget_spent.text[0] != '\0';
  say_alert(agent);
  size_t count = cns_site_limits(site, limits);
  if (cns_charge_is_spent(site->ledger, &site->study, limits, count, &site->kit.policy, &site->plan, now(),
                          &spent, &agent->budget_spent, &problem))
    cns_agent_note(agent, "error", &problem);
  return spent;
}
