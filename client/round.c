/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One round at the hospital, around the pure machine: whatever is signed, sent
 * or spent is durable first (docs/protocol.md, "Numbers" and "Phases"). An
 * error in a request leaves the machine as it was; an error of our own (disk,
 * update that isn't finite, memory) ends this hospital's part in the round.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"

#define REQUEST_ROUND_AT 1 /* version u8, then R, then phase u8: protocol/round.h */
#define REQUEST_PHASE_AT (REQUEST_ROUND_AT + CNS_DIGEST_BYTES)

bool cns_agent_in_round(const struct cns_agent *agent, const struct cns_digest *digest) {
  return agent->round && cns_digest_equal(&agent->round->digest, digest);
}

/* What works on it is told to stop. */
static void round_free(struct cns_agent_round *round) {
  if (round->work) cns_work_cancel(round->work);
  if (round->sketching) cns_sketching_cancel(round->sketching);
  cns_uploader_free(round->uploader);
  if (round->judging) {
    cns_judging_abandon(round->judging); /* takes machine and judge */
  } else {
    cns_hospital_free(round->machine);
    cns_judge_free(round->judge);
  }
  free(round->waiting);
  free(round);
}

void cns_agent_drop_round(struct cns_agent *agent) {
  struct cns_agent_round *round = agent->round;
  agent->round = NULL;
  if (!round) return;
  cns_agent_ledger_dropped(agent, &round->digest);
  round_free(round);
}

void cns_agent_give_up(struct cns_agent *agent, const struct cns_problem *problem) {
  struct cns_problem said = *problem;
  struct cns_digest digest = agent->round->digest;
  cns_problem_prefix(&said, 0, "round %" PRIu64 " goes on without us", agent->round->descriptor->round);
  cns_agent_drop_round(agent);
  cns_agent_decline(agent, &digest, &said);
}

int cns_agent_answer(struct cns_agent *agent, enum cns_phase phase, const uint8_t *bytes, size_t len,
                     struct cns_problem *problem) {
  const struct cns_agent_round *round = agent->round;
  uint8_t slot = cns_hospital_slot(round->machine, phase);
  int r = phase == CNS_PHASE_AUDIT
              ? cns_hospital_store_put_audit(agent->site.store, &round->digest, slot,
                                             round->descriptor->sketch, bytes, len, problem)
              : cns_hospital_store_put_message(agent->site.store, &round->digest, slot, bytes, len, problem);
  if (r) return r;
  r = agent->link ? cns_link_send(agent->link, CNS_WIRE_ANSWER, bytes, len) : 0;
  if (r && r != CNS_ERR_CLOSED)
    return cns_problem_set(problem, r, "the answer of phase %s can't be sent", cns_phase_name(phase));
  return 0;
}

static void answer_keys(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  const uint8_t *bytes = NULL;
  size_t len = 0;
  int r = cns_hospital_keys(agent->round->machine, &bytes, &len, &problem);
  if (!r) r = cns_agent_answer(agent, CNS_PHASE_KEYS, bytes, len, &problem);
  if (r) cns_agent_give_up(agent, &problem);
}

/* ---- sending y ---- */

static int send_chunk(void *context, uint64_t chunk, const uint8_t *bytes, size_t len) {
  struct cns_agent *agent = context;
  uint8_t header[CNS_WIRE_CHUNK_HEADER_BYTES];
  if (!agent->link) return CNS_ERR_CLOSED;
  cns_wire_chunk_header(&agent->round->digest, chunk, header);
  const struct cns_part parts[] = {{header, sizeof header}, {bytes, len}};
  return cns_link_send_parts(agent->link, CNS_WIRE_CHUNK, parts, 2);
}

static void upload_done(void *context, const struct cns_digest *root) {
  struct cns_agent *agent = context;
  struct cns_problem problem = {0};
  const uint8_t *bytes = NULL;
  size_t len = 0;
  int r = cns_hospital_uploaded(agent->round->machine, root, &bytes, &len, &problem);
  agent->round->has_root = true;
  agent->round->root = *root;
  if (!r) r = cns_agent_answer(agent, CNS_PHASE_UPLOAD, bytes, len, &problem);
  if (r) cns_agent_give_up(agent, &problem);
}

static void upload_failed(void *context, int error) {
  struct cns_problem problem = {0};
  cns_problem_set(&problem, error, "the update can't be masked (%s)", cns_error_name(error));
  cns_agent_give_up(context, &problem);
}

static int spend(struct cns_agent *agent, struct cns_problem *problem) {
  const struct cns_agent_round *round = agent->round;
  struct cns_hospital_store *store = agent->site.store;
  const struct cns_digest *parent = &round->descriptor->parent;
  int r = 0;
  r = cns_agent_ledger_charge(agent, problem);
  if (!r && round->descriptor->audit_level != CNS_AUDIT_NONE)
    r = cns_hospital_store_enter_audit(store, &agent->site.study, parent, &round->digest, problem);
  return r ? r : cns_hospital_store_spend(store, parent, &round->digest, problem);
}

/* Spent before the coordinator is even asked which byte it wants. */
static void open_upload(struct cns_agent *agent) {
  struct cns_agent_round *round = agent->round;
  struct cns_problem problem = {0};
  struct cns_writer frame;
  const struct cns_mask_term *terms = NULL;
  size_t count = 0;
  int r = cns_hospital_masks(round->machine, &terms, &count);
  if (!r) r = cns_uploader_set_masks(round->uploader, terms, count);
  if (r)
    cns_problem_set(&problem, r, "the masks can't be prepared (%s)", cns_error_name(r));
  else
    r = spend(agent, &problem);
  if (r) {
    cns_agent_give_up(agent, &problem);
    return;
  }
  round->upload_open = true;
  cns_writer_init(&frame, CNS_DIGEST_BYTES);
  cns_write_bytes(&frame, round->digest.bytes, CNS_DIGEST_BYTES);
  cns_agent_send(agent, CNS_WIRE_UPLOAD_OPEN, &frame);
  cns_writer_deinit(&frame);
}

void cns_agent_upload_from(struct cns_agent *agent, const struct cns_digest *digest, uint64_t chunk) {
  struct cns_problem problem = {0};
  if (!cns_agent_in_round(agent, digest) || !agent->round->upload_open || agent->round->judging) {
    cns_problem_set(&problem, CNS_ERR_REFUSED, "the coordinator asks for an upload that isn't open here");
    cns_agent_decline(agent, digest, &problem);
    return;
  }
  int r = cns_uploader_from(agent->round->uploader, chunk);
  if (!r) return;
  cns_problem_set(&problem, r, "the coordinator asks for chunk %" PRIu64 " of an upload that has fewer",
                  chunk);
  cns_agent_decline(agent, digest, &problem);
}

/* ---- work ---- */

static void log_commanded(struct cns_agent *agent, const struct cns_work_result *result, bool clipped) {
  char losses[80] = "";
  if (result->trainer.has_losses)
    snprintf(losses, sizeof losses, ", loss %.4f to %.4f", result->trainer.first_loss,
             result->trainer.last_loss);
  cns_client_log(&agent->log, "trained",
                 "round %" PRIu64 ": trained by the command on %" PRIu64
                 " examples%s, norm of the update %.4g%s",
                 agent->round->descriptor->round, result->trainer.examples, losses, result->norm,
                 clipped ? ", clipped to the study's bound" : "");
}

static void log_trained(struct cns_agent *agent, const struct cns_work_result *result) {
  const struct cns_descriptor *d = agent->round->descriptor;
  bool clipped = result->norm > d->clip_norm;
  if (!cns_agent_may_log_round(agent, d->attempt)) return;
  if (d->unit == CNS_UNIT_PATIENT) {
    cns_client_log(
        &agent->log, "trained",
        "round %" PRIu64 ": gradients of a random sample of the patients, each clipped to %g%s%s%s", d->round,
        d->clip_norm, d->indicator_share > 0 ? ", how many of them were within that" : "",
        d->metrics_share > 0 ? ", their loss and right answers" : "",
        d->noise_placement == CNS_NOISE_DISTRIBUTED ? ", and this hospital's share of the noise" : "");
    return;
  }
  if (agent->site.trainer.command.command) {
    log_commanded(agent, result, clipped);
    return;
  }
  cns_client_log(&agent->log, "trained",
                 "round %" PRIu64 ": trained, loss %.4f to %.4f, norm of the update %.4g%s", d->round,
                 result->stats.first_loss, result->stats.last_loss, result->norm,
                 clipped ? ", clipped to the study's bound" : "");
}

static void log_control(struct cns_agent *agent, const struct cns_work_result *result) {
  if (result->control_lost && agent->model_round > 0 &&
      cns_agent_may_log_round(agent, agent->round->descriptor->attempt))
    cns_client_log(&agent->log, "control",
                   "round %" PRIu64
                   ": no control variate of an earlier round is here (this hospital was in no "
                   "sum yet, or its state was lost): it begins at zero",
                   agent->round->descriptor->round);
}

static int take_result(struct cns_agent *agent, struct cns_work_result *result, struct cns_problem *problem) {
  const struct cns_uploader_callbacks callbacks = {agent, send_chunk, upload_done, upload_failed};
  struct cns_agent_round *round = agent->round;
  int r = result->words == cns_descriptor_words(round->descriptor) ? 0 : CNS_ERR_STATE;
  if (!r)
    r = cns_uploader_new(cns_loop_uv(agent->host.loop), &callbacks, result->x, result->words,
                         &round->uploader);
  if (r) return cns_problem_set(problem, r, "the update can't be kept (%s)", cns_error_name(r));
  result->x = NULL;
  round->stage = CNS_STAGE_ANSWER;
  return 0;
}

static void work_done(void *context, struct cns_work *work, int error, struct cns_work_result *result,
                      const struct cns_problem *problem) {
  struct cns_agent *agent = context;
  struct cns_problem said = *problem;
  bool ours = agent->round && agent->round->work == work;
  if (ours) {
    agent->round->work = NULL;
    if (result->note && cns_agent_may_log_round(agent, agent->round->descriptor->attempt))
      cns_client_log(&agent->log, "trainer", "round %" PRIu64 ": %s", agent->round->descriptor->round,
                     result->note);
    if (!error) {
      log_trained(agent, result);
      log_control(agent, result);
      error = take_result(agent, result, &said);
    }
    if (error && !said.text[0]) cns_problem_set(&said, error, "training failed (%s)", cns_error_name(error));
    if (error)
      cns_agent_give_up(agent, &said);
    else
      answer_keys(agent);
  }
  if (result->x) cns_wipe(result->x, (size_t)result->words * sizeof *result->x);
  free(result->x);
  result->x = NULL;
  cns_agent_work_ended(agent);
}

/* What the round asks of this hospital's vector (dp/mechanism.h). */
static int mechanism_of(const struct cns_descriptor *d, uint16_t index, struct cns_work_input *input) {
  uint32_t weights[CNS_HOSPITALS_MAX];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  int position = cns_descriptor_position(d, index);
  if (position < 0) return CNS_ERR_STATE;
  int r = cns_descriptor_compute(d, weights, &mechanism, &numbers, NULL);
  if (!r) r = cns_mechanism_radius(&mechanism, weights[position], &input->radius);
  if (!r) r = cns_mechanism_theta(&mechanism, weights[position], &input->theta);
  input->indicator = numbers.indicator;
  input->metric = numbers.metric;
  input->patients =
      cns_mechanism_extras(&mechanism) > 0 ? cns_mechanism_patients(&mechanism, weights[position]) : 0;
  input->unit = mechanism.unit;
  input->sampling_rate = mechanism.sampling_rate;
  input->sigma_local = numbers.sigma_local;
  return r;
}

static int start_work(struct cns_agent *agent, struct cns_model_map *model) {
  const struct cns_site *site = &agent->site;
  const struct cns_descriptor *d = agent->round->descriptor;
  struct cns_work_input input = {
      .plan = &site->plan,
      .train = &site->train,
      .validation = &site->validation,
      .trainer = site->trainer.command.command ? &site->trainer : NULL,
      .seed = {.study = site->plan.seed,
               .round = d->round,
               .attempt = d->attempt,
               .hospital = site->kit.config.index},
      .metrics = d->metrics_dim > 0,
      .clip_norm = d->clip_norm,
      .weight = agent->weight,
      .scale_log2 = d->scale_log2,
      .rng = cns_rng_system(),
      .control = cns_agent_control(agent),
      .round = agent->round->digest,
      .poison = agent->options.poison_from && d->round >= agent->options.poison_from
                    ? agent->options.poison_bounds
                    : 0,
  };
  int r = mechanism_of(d, site->kit.config.index, &input);
  if (!r)
    r = cns_work_start(cns_loop_uv(agent->host.loop), &input, model, work_done, agent, &agent->round->work);
  if (r) return r;
  agent->works++;
  agent->round->stage = CNS_STAGE_WORK;
  return 0;
}

/* Trains if the parent model is here, else asks for it. */
static void prepare(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  struct cns_model_map *model = NULL;
  int r = cns_agent_model(agent, &agent->round->descriptor->parent, &model, &problem);
  if (r == CNS_ERR_NOT_FOUND) return;
  if (!r) {
    r = start_work(agent, model);
    if (r) cns_problem_set(&problem, r, "training can't be started (%s)", cns_error_name(r));
    if (r) cns_model_map_free(model);
  }
  if (r) cns_agent_give_up(agent, &problem);
}

void cns_agent_model_here(struct cns_agent *agent) {
  if (agent->round && agent->round->stage == CNS_STAGE_MODEL) prepare(agent);
  cns_agent_check_finished(agent);
}

/* ---- announcement ---- */

/* A descriptor that was signed before a restart: its secrets are gone. */
static int check_not_restarted(struct cns_agent *agent, const struct cns_digest *digest,
                               struct cns_problem *problem) {
  uint64_t round;
  uint32_t attempt;
  struct cns_digest last;
  int r = cns_hospital_store_signed_round(agent->site.store, &agent->site.study, &round, &attempt, &last);
  if (r || !cns_digest_equal(&last, digest)) return 0; /* read again, and checked, by cns_agent_expectation */
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "this hospital left round %" PRIu64
                         " attempt %u before, its secrets of that round are gone; it is back in "
                         "the next one",
                         round, attempt);
}

/* A round with a machine, whose descriptor is allowed here. */
static int round_new(struct cns_agent *agent, const uint8_t *data, size_t len,
                     struct cns_agent_round **ret_round, struct cns_problem *problem) {
  struct cns_hospital_config config = {.roster = &agent->site.kit.roster,
                                       .policy = &agent->site.kit.policy,
                                       .identity = agent->site.kit.identity,
                                       .rng = cns_rng_system()};
  struct cns_agent_round *round = calloc(1, sizeof *round);
  if (!round) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = cns_judge_new(&round->judge);
  if (!r) config.sketcher = cns_judge_sketcher(round->judge);
  if (!r) r = cns_agent_expectation(agent, &config.expectation, problem);
  if (!r) r = cns_hospital_begin(&config, data, len, &round->machine, problem);
  if (r) {
    round_free(round);
    return r;
  }
  round->descriptor = cns_hospital_descriptor(round->machine);
  round->digest = *cns_hospital_round(round->machine);
  round->start_ms = cns_loop_now_ms(agent->host.loop);
  round->start = cns_agent_traffic(agent);
  *ret_round = round;
  return 0;
}

static int begin(struct cns_agent *agent, const uint8_t *data, size_t len,
                 const struct cns_descriptor *descriptor, const struct cns_digest *digest,
                 struct cns_problem *problem) {
  struct cns_agent_round *round = NULL;
  int r = check_not_restarted(agent, digest, problem);
  if (!r) r = cns_agent_guard_round(agent, descriptor, problem);
  if (!r) r = round_new(agent, data, len, &round, problem);
  if (r) return r;
  cns_agent_drop_round(agent); /* what that one had only reserved is free again */
  r = cns_agent_ledger_reserve(agent, descriptor, problem);
  bool reserved = !r;
  /* The announcement too: what abandon and refund are checked against. */
  if (!r) r = cns_hospital_store_put_message(agent->site.store, digest, CNS_PHASE_NONE, data, len, problem);
  if (!r)
    r = cns_hospital_store_sign_round(agent->site.store, &agent->site.study, descriptor->round,
                                      descriptor->attempt, digest, problem);
  if (r) {
    if (reserved) cns_agent_ledger_dropped(agent, digest);
    round_free(round);
    return r;
  }
  agent->round = round;
  return 0;
}

/* The coordinator still awaits our keys, say after a lost connection. */
static void again(struct cns_agent *agent) {
  if (agent->round->judging) return; /* keys were answered long ago */
  if (agent->round->stage == CNS_STAGE_ANSWER)
    answer_keys(agent);
  else if (agent->round->stage == CNS_STAGE_MODEL)
    prepare(agent);
}

void cns_agent_announced(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_descriptor descriptor;
  struct cns_digest digest = {0};
  struct cns_problem problem = {0};
  int r =
      cns_announcement_read(data, len, &agent->site.kit.roster.coordinator.identity, &descriptor, &problem);
  if (r) {
    cns_agent_decline(agent, &digest, &problem);
    return;
  }
  r = cns_descriptor_digest(&descriptor, &digest);
  if (!r && cns_agent_in_round(agent, &digest)) {
    again(agent);
  } else {
    if (!r) cns_agent_roster_announced(agent, &descriptor.roster);
    if (!r) r = begin(agent, data, len, &descriptor, &digest, &problem);
    if (r && !problem.text[0])
      cns_problem_set(&problem, r, "the round can't be joined (%s)", cns_error_name(r));
    if (r)
      cns_agent_decline(agent, &digest, &problem);
    else
      cns_agent_goes_on(agent);
    if (!r && cns_agent_may_log_round(agent, descriptor.attempt))
      cns_client_log(&agent->log, "round", "round %" PRIu64 " attempt %u: %u hospitals, threshold %u",
                     descriptor.round, descriptor.attempt, descriptor.member_count, descriptor.threshold);
    if (!r) prepare(agent);
    if (r == CNS_ERR_BUDGET) cns_agent_check_finished(agent);
  }
  cns_descriptor_deinit(&descriptor);
}

/* ---- requests ---- */

void cns_agent_handled(struct cns_agent *agent, enum cns_phase phase, int r, const uint8_t *bytes, size_t len,
                       struct cns_problem *problem) {
  if (r < 0) {
    if (!problem->text[0])
      cns_problem_set(problem, r, "the request of phase %s can't be answered (%s)", cns_phase_name(phase),
                      cns_error_name(r));
    cns_agent_decline(agent, &agent->round->digest, problem);
  } else if (r == CNS_HOSPITAL_AUDIT) {
    cns_agent_audit(agent);
  } else if (r == CNS_HOSPITAL_UPLOAD || phase == CNS_PHASE_UPLOAD) {
    open_upload(agent); /* also once answered: the coordinator says what it has */
  } else if ((r = cns_agent_answer(agent, phase, bytes, len, problem)) < 0) {
    cns_agent_give_up(agent, problem);
  } else {
    cns_agent_log_audit(agent, phase, bytes, len);
  }
}

void cns_agent_requested(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_digest digest = {0};
  struct cns_problem problem = {0};
  const uint8_t *bytes = NULL;
  size_t bytes_len = 0;
  if (len > REQUEST_PHASE_AT) memcpy(digest.bytes, data + REQUEST_ROUND_AT, CNS_DIGEST_BYTES);
  if (!cns_agent_in_round(agent, &digest)) {
    cns_problem_set(&problem, CNS_ERR_REFUSED,
                    "this hospital has no part in that round: it declined, or was restarted since");
    cns_agent_decline(agent, &digest, &problem);
    return;
  }
  enum cns_phase phase = (enum cns_phase)data[REQUEST_PHASE_AT];
  if (agent->round->judging || phase == CNS_PHASE_FORFEIT) {
    cns_agent_judge(agent, data, len);
    return;
  }
  int r = cns_hospital_handle(agent->round->machine, data, len, &bytes, &bytes_len, &problem);
  cns_agent_handled(agent, phase, r, bytes, bytes_len, &problem);
}
