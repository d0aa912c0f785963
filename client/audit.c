/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hospital's agent in the phases that an audit adds: audit, dispute and
 * forfeit (docs/protocol.md). What they cost runs on worker threads: sketches of
 * all masks, and the judgement of others' cases. What they reveal is counted
 * before it leaves, and said to the operator.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"

/* ---- phase audit ---- */

static int check_root(const struct cns_agent_round *round, const struct cns_digest *root,
                      struct cns_problem *problem) {
  if (round->has_root && cns_digest_equal(&round->root, root)) return 0;
  return cns_problem_set(problem, CNS_ERR_PROOF,
                         "the masked update, made anew for the audit, isn't the one that was sent: this "
                         "machine computes wrongly, so nothing is sent; have its memory and processor "
                         "checked");
}

/* Of an audit that closed without us nothing is told any more: it would be of no use,
 * and is charged for ever. */
static bool is_late(const struct cns_agent_round *round) {
  return cns_phase_order(cns_hospital_answered(round->machine)) > cns_phase_order(CNS_PHASE_AUDIT);
}

/* A faulty machine stays silent in this phase, and says why. */
static void answer_audit(struct cns_agent *agent, int error, const struct cns_sketching_result *result) {
  struct cns_problem problem = {0};
  struct cns_agent_round *round = agent->round;
  const uint8_t *bytes = NULL;
  size_t len = 0;
  int r = error ? cns_problem_set(&problem, error, "the masks can't be sketched (%s)", cns_error_name(error))
                : check_root(round, &result->root, &problem);
  if (!r)
    r = cns_hospital_audited(round->machine, result->masks, result->of_y, result->of_x, &bytes, &len,
                             &problem);
  if (r && !problem.text[0])
    cns_problem_set(&problem, r, "the audit can't be answered (%s)", cns_error_name(r));
  cns_agent_handled(agent, CNS_PHASE_AUDIT, r, bytes, len, &problem);
}

static void sketched(void *context, struct cns_sketching *sketching, int error,
                     const struct cns_sketching_result *result) {
  struct cns_agent *agent = context;
  bool ours = agent->round && agent->round->sketching == sketching;
  if (ours) agent->round->sketching = NULL;
  if (ours && is_late(agent->round)) {
    if (cns_agent_may_log(agent))
      cns_client_log(&agent->log, "audit",
                     "round %" PRIu64 ": the audit went on without us; nothing was revealed",
                     agent->round->descriptor->round);
  } else if (ours) {
    answer_audit(agent, error, result);
  }
  cns_agent_work_ended(agent);
}

void cns_agent_audit(struct cns_agent *agent) {
  struct cns_agent_round *round = agent->round;
  struct cns_hospital_audit audit;
  struct cns_sketching_input input = {.uploader = round->uploader};
  struct cns_problem problem = {0};
  if (round->sketching) return; /* asked again, say over a new link: its end answers */
  int r = cns_hospital_audit(round->machine, &audit);
  if (!r) r = cns_hospital_masks(round->machine, &input.terms, &input.count);
  if (!r) {
    input.key = audit.key;
    input.k = audit.k;
    input.dim = audit.dim;
    r = cns_sketching_start(cns_loop_uv(agent->host.loop), &input, sketched, agent, &round->sketching);
  }
  if (!r) {
    agent->works++;
    return;
  }
  cns_problem_set(&problem, r, "the audit's sketches can't be started (%s)", cns_error_name(r));
  cns_agent_decline(agent, &round->digest, &problem);
}

/* ---- phase forfeit ---- */

/* The last one counts: a coordinator has only one phase open. */
static void let_wait(struct cns_agent *agent, const uint8_t *request, size_t len) {
  struct cns_agent_round *round = agent->round;
  struct cns_problem problem = {0};
  uint8_t *bytes = malloc(len);
  if (!bytes) {
    cns_problem_set(&problem, CNS_ERR_MEMORY, "a request came while another one is judged: out of memory");
    cns_agent_decline(agent, &round->digest, &problem);
    return;
  }
  memcpy(bytes, request, len);
  free(round->waiting);
  round->waiting = bytes;
  round->waiting_len = len;
}

static void judged(void *context, struct cns_judging *judging, int result, const uint8_t *answer, size_t len,
                   struct cns_problem *problem) {
  struct cns_agent *agent = context;
  if (agent->round && agent->round->judging == judging) {
    agent->round->judging = NULL;
    uint8_t *waiting = agent->round->waiting;
    size_t waiting_len = agent->round->waiting_len;
    agent->round->waiting = NULL;
    cns_agent_handled(agent, CNS_PHASE_FORFEIT, result, answer, len, problem);
    if (waiting && agent->round) cns_agent_requested(agent, waiting, waiting_len);
    free(waiting);
  }
  cns_agent_work_ended(agent);
}

void cns_agent_judge(struct cns_agent *agent, const uint8_t *request, size_t len) {
  struct cns_agent_round *round = agent->round;
  struct cns_problem problem = {0};
  if (round->judging) {
    let_wait(agent, request, len);
    return;
  }
  if (round->uploader) cns_uploader_pause(round->uploader); /* its end would need the machine */
  int r = cns_judging_start(cns_loop_uv(agent->host.loop), round->machine, round->judge, request, len, judged,
                            agent, &round->judging);
  if (!r) {
    agent->works++;
    return;
  }
  cns_problem_set(&problem, r, "the forfeits can't be judged (%s)", cns_error_name(r));
  cns_agent_decline(agent, &round->digest, &problem);
}

/* ---- for the operator ---- */

static cJSON *revealed_json(const struct cns_descriptor *d, const struct cns_audit_record *record,
                            uint64_t allowed) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "round", (double)d->round);
  cJSON_AddNumberToObject(json, "attempt", d->attempt);
  cJSON_AddNumberToObject(json, "numbers", d->sketch);
  cJSON_AddNumberToObject(json, "numbers_revealed", (double)record->numbers);
  cJSON_AddNumberToObject(json, "numbers_allowed", (double)allowed);
  return json;
}

static void log_revealed(struct cns_agent *agent) {
  struct cns_audit_record record;
  struct cns_problem problem = {0};
  const struct cns_descriptor *d = agent->round->descriptor;
  uint64_t allowed = cns_policy_sketch_budget(&agent->site.kit.policy, cns_plan_dim(&agent->site.plan));
  if (cns_hospital_store_audits(agent->site.store, &agent->site.study, &d->parent, &record, &problem) < 0)
    cns_agent_note(agent, "error", &problem);
  else
    cns_client_log_fields(&agent->log, "audited", agent->log.json ? revealed_json(d, &record, allowed) : NULL,
                          "round %" PRIu64
                          " attempt %u: audited, revealed %u numbers of our update; in this study %" PRIu64
                          " of the %" PRIu64 " numbers that the policy allows",
                          d->round, d->attempt, d->sketch, record.numbers, allowed);
}

/* "hospital a, hospital b and 3 more": those named in a body with a number first,
 * and then so many records that begin with an index. */
static void names_text(const struct cns_agent *agent, const struct cns_message *message, size_t record_bytes,
                       char *out, size_t room) {
  enum { NAMED_MAX = 5 };
  struct cns_reader reader;
  size_t at = 0;
  cns_reader_init(&reader, message->body, message->body_len);
  size_t count = cns_read_u16(&reader);
  out[0] = '\0';
  for (size_t k = 0; k < count && k < NAMED_MAX && at < room; k++) {
    const struct cns_roster_hospital *hospital =
        cns_roster_find(&agent->site.kit.roster, cns_read_u16(&reader));
    (void)cns_read_view(&reader, record_bytes - 2);
    at += (size_t)snprintf(out + at, room - at, "%shospital %s", k ? ", " : "",
                           hospital ? hospital->name : "?");
  }
  if (count > NAMED_MAX && at < room) snprintf(out + at, room - at, " and %zu more", count - NAMED_MAX);
}

static void log_opened(struct cns_agent *agent, enum cns_phase phase, const uint8_t *answer, size_t len) {
  char names[5 * (CNS_NAME_MAX + 16)];
  struct cns_message message = {0};
  struct cns_reader reader;
  const struct cns_descriptor *d = agent->round->descriptor;
  bool dispute = phase == CNS_PHASE_DISPUTE;
  cns_reader_init(&reader, answer, len);
  cns_message_read(&reader, &message);
  names_text(agent, &message, dispute ? 2 : CNS_RELEASED_BYTES, names, sizeof names);
  if (dispute)
    cns_client_log(&agent->log, "disputed",
                   "round %" PRIu64
                   " attempt %u: the sketch of a mask that we share is signed differently by "
                   "%s; opened, so that it shows who is wrong",
                   d->round, d->attempt, names);
  else
    cns_client_log(&agent->log, "forfeit",
                   "round %" PRIu64 " attempt %u: a false sketch that hides too large an update is proven of "
                   "%s; our shares were released, so that it leaves the sum",
                   d->round, d->attempt, names);
}

void cns_agent_log_audit(struct cns_agent *agent, enum cns_phase phase, const uint8_t *answer, size_t len) {
  struct cns_agent_round *round = agent->round;
  uint8_t slot = cns_hospital_slot(round->machine, phase);
  bool of_audit = phase == CNS_PHASE_AUDIT || phase == CNS_PHASE_DISPUTE || phase == CNS_PHASE_FORFEIT;
  if (!of_audit || slot <= round->said || !cns_agent_may_log_round(agent, round->descriptor->attempt)) return;
  round->said = slot; /* they follow each other in this order: 5, 10, 11 and on */
  if (phase == CNS_PHASE_AUDIT)
    log_revealed(agent);
  else
    log_opened(agent, phase, answer, len);
}
