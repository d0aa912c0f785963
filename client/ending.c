/* SPDX-License-Identifier: Apache-2.0 */
/* How a round ends at the hospital: with a model, without one, abandoned. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"

static const char *own_outcome(const struct cns_agent *agent, const struct cns_manifest *manifest) {
  for (size_t k = 0; k < manifest->member_count; k++)
    if (manifest->members[k].index == agent->site.kit.config.index)
      return cns_outcome_text((enum cns_outcome)manifest->outcomes[k]);
  return "not in the cohort";
}

static void metrics_text(const struct cns_manifest *manifest, bool public, char *out, size_t room) {
  const char *of = public ? "new model on the public test set" : "received model";
  const struct cns_manifest_metrics *metrics = &manifest->metrics;
  const struct cns_noised_metrics_estimate *e = &manifest->noised.estimate;
  if (manifest->noised.sums.unit > 0)
    snprintf(out, room, "%s: noised loss %.4f +- %.4f accuracy %.4f +- %.4f", of, e->loss, e->loss_error,
             e->accuracy, e->accuracy_error);
  else if (!metrics->known)
    snprintf(out, room, "metrics not known");
  else if (metrics->has_auc)
    snprintf(out, room, "%s: loss %.4f AUC %.4f", of, metrics->loss, metrics->auc);
  else
    snprintf(out, room, "%s: loss %.4f", of, metrics->loss);
}

struct summary {
  const struct cns_manifest *manifest;
  const char *outcome;
  size_t included;
  struct cns_agent_traffic traffic;
  double seconds;
};

static void add_noised(cJSON *json, const struct cns_noised_metrics_estimate *e) {
  cJSON_AddNumberToObject(json, "noised_loss", e->loss);
  cJSON_AddNumberToObject(json, "noised_loss_error", e->loss_error);
  cJSON_AddNumberToObject(json, "noised_accuracy", e->accuracy);
  cJSON_AddNumberToObject(json, "noised_accuracy_error", e->accuracy_error);
}

static cJSON *summary_json(const struct summary *s) {
  cJSON *json = cJSON_CreateObject();
  const struct cns_manifest_metrics *metrics = &s->manifest->metrics;
  cJSON_AddNumberToObject(json, "round", (double)s->manifest->round);
  cJSON_AddNumberToObject(json, "attempt", s->manifest->attempt);
  cJSON_AddStringToObject(json, "outcome", s->outcome);
  cJSON_AddNumberToObject(json, "included", (double)s->included);
  cJSON_AddNumberToObject(json, "expected", s->manifest->member_count);
  if (metrics->known) cJSON_AddNumberToObject(json, "loss", metrics->loss);
  if (metrics->known && metrics->has_auc) cJSON_AddNumberToObject(json, "auc", metrics->auc);
  if (s->manifest->noised.sums.unit > 0) add_noised(json, &s->manifest->noised.estimate);
  cJSON_AddNumberToObject(json, "bytes_up", (double)s->traffic.up);
  cJSON_AddNumberToObject(json, "bytes_down", (double)s->traffic.down);
  cJSON_AddNumberToObject(json, "seconds", s->seconds);
  return json;
}

/* The one line of a round. */
static void log_summary(const struct cns_agent *agent, const struct cns_manifest *manifest) {
  char metrics[192];
  struct summary s = {.manifest = manifest,
                      .outcome = own_outcome(agent, manifest),
                      .included = cns_manifest_included(manifest)};
  if (cns_agent_in_round(agent, &manifest->descriptor)) {
    const struct cns_agent_round *round = agent->round;
    struct cns_agent_traffic now = cns_agent_traffic(agent);
    s.traffic.up = now.up - round->start.up;
    s.traffic.down = now.down - round->start.down;
    s.seconds = (double)(cns_loop_now_ms(agent->host.loop) - round->start_ms) / 1000.0;
  }
  metrics_text(manifest, agent->site.kit.policy.metrics_public, metrics, sizeof metrics);
  cns_client_log_fields(&agent->log, "result", agent->log.json ? summary_json(&s) : NULL,
                        "round %" PRIu64 " attempt %u: we are %s, %zu of %u included, %s, %" PRIu64
                        " bytes up, %" PRIu64 " down, %.1f s",
                        manifest->round, manifest->attempt, s.outcome, s.included, manifest->member_count,
                        metrics, s.traffic.up, s.traffic.down, s.seconds);
}

/* Was it judged, and not only missing? */
static bool is_judged(uint8_t outcome) {
  return outcome == CNS_OUT_DISQUALIFIED || outcome == CNS_OUT_FLAGGED || outcome == CNS_OUT_QUARANTINED ||
         outcome == CNS_OUT_CONVICTED || outcome == CNS_OUT_FORFEITED;
}

/* Who was left out for a reason of its own, and which; one line. */
static void log_left_out(const struct cns_agent *agent, const struct cns_manifest *manifest) {
  char text[1024] = "";
  size_t at = 0;
  for (size_t k = 0; k < manifest->member_count && at < sizeof text; k++) {
    const struct cns_roster_hospital *hospital =
        cns_roster_find(&agent->site.kit.roster, manifest->members[k].index);
    if (!is_judged(manifest->outcomes[k])) continue;
    at += (size_t)snprintf(text + at, sizeof text - at, "%shospital %s (%s)", at ? ", " : "",
                           hospital ? hospital->name : "?",
                           cns_outcome_text((enum cns_outcome)manifest->outcomes[k]));
  }
  if (at > 0)
    cns_client_log(&agent->log, "left_out", "round %" PRIu64 " attempt %u: left out: %s", manifest->round,
                   manifest->attempt, text);
}

/* What a person here should do about it. */
static void log_own_exclusion(const struct cns_agent *agent, const struct cns_manifest *manifest) {
  int own = -1;
  for (size_t k = 0; k < manifest->member_count; k++)
    if (manifest->members[k].index == agent->site.kit.config.index) own = manifest->outcomes[k];
  const char *advice =
      own == CNS_OUT_FLAGGED || own == CNS_OUT_QUARANTINED
          ? "the audit found our update unlike the others'; look at what has changed in the data and ask the "
            "coordinator for the statistics"
      : own == CNS_OUT_CONVICTED || own == CNS_OUT_FORFEITED
          ? "sketches that were sent from here are called false; ask the coordinator for the evidence, and "
            "have this machine's memory and processor checked"
          : NULL;
  if (advice)
    cns_client_log(&agent->log, "excluded", "round %" PRIu64 " attempt %u was made without us: %s",
                   manifest->round, manifest->attempt, advice);
}

/* Copies for people, and room on the disk; the record has what counts. */
static void keep_books(struct cns_agent *agent, const struct cns_manifest *manifest, const uint8_t *data,
                       size_t len) {
  struct cns_problem problem = {0};
  if (cns_registry_put_manifest(agent->registry, manifest->round, &manifest->model, data, len, &problem) < 0)
    cns_agent_note(agent, "error", &problem);
  else if (cns_registry_prune(agent->registry, CNS_AGENT_MODELS_KEPT, &problem) < 0)
    cns_agent_note(agent, "error", &problem);
  /* Also of attempts that failed: whoever asks to abandon one of them is too late.
   * A round that has a machine here still is a later one. */
  const struct cns_digest *running = agent->round ? &agent->round->digest : NULL;
  if (cns_hospital_store_forget_messages(agent->site.store, running, &problem) < 0)
    cns_agent_note(agent, "error", &problem);
}

struct cns_control cns_agent_control(const struct cns_agent *agent) {
  const struct cns_site *site = &agent->site;
  return (struct cns_control){
      .folder = site->kit.config.state_path, .study = site->study, .dim = cns_plan_dim(&site->plan)};
}

int cns_agent_settle_control(struct cns_agent *agent, const struct cns_manifest *manifest,
                             struct cns_problem *problem) {
  struct cns_control control = cns_agent_control(agent);
  if (agent->site.plan.scaffold.steps == 0) return 0;
  int r = cns_control_settle(&control, manifest, agent->site.kit.config.index, problem);
  if (r == CNS_CONTROL_DROPPED)
    cns_client_log(&agent->log, "control",
                   "round %" PRIu64
                   ": whether an earlier update of this hospital was in its round's sum isn't "
                   "known here, since that round's manifest didn't come: its control variate stays as it was",
                   manifest->round);
  return r < 0 ? r : 0;
}

void cns_agent_manifest(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_manifest manifest;
  struct cns_problem problem = {0};
  int r = cns_agent_guard_manifest(agent, data, len, &manifest, &problem);
  if (r) {
    cns_problem_prefix(&problem, r, "a model was refused");
    cns_agent_note(agent, "refused", &problem);
    return;
  }
  if (manifest.round > agent->model_round) {
    log_summary(agent, &manifest);
    log_left_out(agent, &manifest);
    log_own_exclusion(agent, &manifest);
    agent->model_round = manifest.round;
    agent->model = manifest.model;
    if (manifest.clip.norm > 0) agent->clip_norm = manifest.clip.next;
    if (cns_agent_settle_control(agent, &manifest, &problem) < 0) cns_agent_note(agent, "error", &problem);
    /* A machine for this or an earlier round has nothing to answer any more. */
    if (agent->round && agent->round->descriptor->round <= manifest.round) cns_agent_drop_round(agent);
    keep_books(agent, &manifest, data, len);
    cns_manifest_deinit(&manifest);
    cns_agent_check_finished(agent);
    return;
  }
  cns_manifest_deinit(&manifest);
}

void cns_agent_ended(struct cns_agent *agent, const struct cns_wire_word *word) {
  if (!cns_agent_in_round(agent, &word->round)) {
    if (cns_agent_may_log(agent))
      cns_client_log(&agent->log, "ended", "a round that we have no part in ended: %s", word->sentence);
    return;
  }
  if (cns_agent_may_log_round(agent, agent->round->descriptor->attempt))
    cns_client_log(&agent->log, "ended", "round %" PRIu64 " attempt %u ended here: %s",
                   agent->round->descriptor->round, agent->round->descriptor->attempt, word->sentence);
  cns_agent_drop_round(agent);
}

/* ---- abandon(R): docs/protocol.md, "upload" ---- */

/* The descriptor of a round that was joined here, before a restart perhaps. */
static int joined(struct cns_agent *agent, const struct cns_digest *digest,
                  struct cns_descriptor *ret_descriptor, struct cns_problem *problem) {
  uint8_t *announcement = NULL;
  size_t len = 0;
  int r =
      cns_hospital_store_get_message(agent->site.store, digest, CNS_PHASE_NONE, &announcement, &len, problem);
  if (r == CNS_ERR_NOT_FOUND)
    return cns_problem_set(problem, r, "the coordinator speaks of abandoning a round that isn't known here");
  if (r) return r;
  r = cns_announcement_read(announcement, len, &agent->site.kit.roster.coordinator.identity, ret_descriptor,
                            problem);
  free(announcement);
  return r;
}

static int sign_abandon(struct cns_agent *agent, const struct cns_digest *digest,
                        struct cns_signature *ret_signature, struct cns_problem *problem) {
  struct cns_descriptor descriptor;
  int r = joined(agent, digest, &descriptor, problem);
  if (r) return r;
  r = cns_hospital_store_abandon(agent->site.store, &descriptor.parent, digest, CNS_PHASE_UNMASK, problem);
  cns_descriptor_deinit(&descriptor);
  if (r) return r;
  /* From here on the record refuses to unmask this round, machine or not. What a
   * machine that judges makes can't leave any more. */
  if (cns_agent_in_round(agent, digest) && !agent->round->judging)
    r = cns_hospital_abandon(agent->round->machine, ret_signature);
  else
    r = cns_abandon_sign(agent->site.kit.identity, digest, agent->site.kit.config.index, ret_signature);
  return r ? cns_problem_set(problem, r, "the round can't be abandoned (%s)", cns_error_name(r)) : 0;
}

void cns_agent_abandon_asked(struct cns_agent *agent, const struct cns_digest *digest) {
  struct cns_problem problem = {0};
  struct cns_signature signature;
  struct cns_writer frame;
  int r = sign_abandon(agent, digest, &signature, &problem);
  if (r) {
    cns_agent_decline(agent, digest, &problem);
    return;
  }
  if (cns_agent_in_round(agent, digest)) cns_agent_drop_round(agent);
  if (cns_agent_may_log(agent))
    cns_client_log(&agent->log, "abandoned", "signed that a round without a result will never be unmasked");
  cns_writer_init(&frame, CNS_DIGEST_BYTES + CNS_SIGNATURE_BYTES);
  cns_wire_write_signed(&frame, digest, &signature);
  cns_agent_send(agent, CNS_WIRE_ABANDON, &frame);
  cns_writer_deinit(&frame);
}

void cns_agent_abandoned(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_descriptor descriptor;
  struct cns_digest digest = {0};
  if (len >= CNS_DIGEST_BYTES) memcpy(digest.bytes, data, CNS_DIGEST_BYTES);
  int r = joined(agent, &digest, &descriptor, &problem);
  if (!r) {
    r = cns_wire_check_abandoned(data, len, &agent->site.kit.roster, &descriptor, &digest);
    if (r) cns_problem_set(&problem, r, "too few hospitals have validly signed that the round is abandoned");
    if (!r) r = cns_hospital_store_refund(agent->site.store, &digest, &problem);
    if (!r) r = cns_agent_ledger_refund(agent, &descriptor, &digest, &problem);
    cns_descriptor_deinit(&descriptor);
  }
  if (!r) cns_problem_set(&problem, 0, "the update of an abandoned round is no longer charged");
  cns_agent_note(agent, r ? "error" : "refunded", &problem);
}

/* ---- the end of the study ---- */

static void on_last_model_late(uv_timer_t *timer) {
  struct cns_agent *agent = timer->data;
  cns_client_log(&agent->log, "error", "the last model didn't come; it is asked for again at the next start");
  cns_agent_finish(agent);
}

void cns_agent_goes_on(struct cns_agent *agent) {
  if (!agent->over.text[0]) return;
  agent->over.text[0] = '\0';
  agent->last_model_asked = agent->finished = false;
  uv_timer_stop(&agent->timer);
}

void cns_agent_check_finished(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  struct cns_model_map *model = NULL;
  if (agent->closing || agent->finished) return;
  /* A round under way has its part of the budget. */
  if (agent->model_round < agent->site.plan.rounds && !agent->over.text[0] &&
      (agent->round || !cns_agent_budget_is_spent(agent)))
    return;
  int r = cns_agent_model(agent, &agent->model, &model, &problem);
  cns_model_map_free(model);
  if (r == CNS_ERR_NOT_FOUND) {
    if (!agent->last_model_asked)
      uv_timer_start(&agent->timer, on_last_model_late, CNS_AGENT_LAST_MODEL_MS, CNS_AGENT_LAST_MODEL_MS);
    agent->last_model_asked = true;
    return;
  }
  if (r) cns_agent_note(agent, "error", &problem);
  cns_agent_finish(agent);
}
