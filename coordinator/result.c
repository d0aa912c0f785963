/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a round: new model and manifest, or none. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/aggregate.h"
#include "coordinator/server_internal.h"
#include "model/predict.h"
#include "store/study_model.h"

struct result_job {
  uv_work_t work;
  struct cns_server *server;
  struct cns_aggregation aggregation;
  struct cns_vector_file **uploads;
  uint32_t *weights;
  struct cns_model_draft *draft; /* of the new model */
  struct cns_model_map *map;     /* once it is in the registry, under this digest */
  struct cns_digest model;
  struct cns_vector_file **excluded;
  uint64_t *excluded_words;
  int result;
  struct cns_problem problem;
};

static void free_job(struct result_job *job) {
  cns_optimiser_end(&job->aggregation.optimiser);
  free(job->uploads);
  free(job->weights);
  free(job->excluded);
  free(job->excluded_words);
  cns_model_draft_free(job->draft);
  cns_model_map_free(job->map);
  free(job);
}

/* Makes the new model the present one. */
static int adopt_model(struct cns_server *s, struct result_job *job, struct cns_problem *problem) {
  int r = cns_server_take_model(s, job->map, &job->model, "the new model", problem);
  if (r == 0) job->map = NULL;
  return r;
}

/* Under another version of the study an adaptive clip norm and the optimiser begin anew. */
static bool is_of_this_study(const struct cns_server *s, const struct cns_manifest *manifest) {
  return cns_digest_equal(&manifest->plan, &s->kit.study_document.digest);
}

static int keep_manifest(struct cns_server *s, uint8_t *bytes, size_t len,
                         const struct cns_manifest *manifest, struct cns_problem *problem) {
  free(s->manifest);
  s->manifest = bytes;
  s->manifest_len = len;
  s->completed = manifest->round;
  s->last_round = manifest->descriptor;
  s->same_version = is_of_this_study(s, manifest);
  bool follows = manifest->clip.norm > 0 && s->same_version;
  s->clip_norm = follows ? manifest->clip.next : s->plan.clip_norm;
  cns_abandoning_end(s);
  for (size_t k = 0; k < s->session_count; k++)
    s->sessions[k].streaming = false; /* of the model before */
  s->last_attempt = 0;
  s->retry_ms = 0;
  return cns_registry_put_manifest(s->registry, manifest->round, &manifest->model, bytes, len, problem);
}

int cns_result_adopt(struct cns_server *s, const uint8_t *bytes, size_t len, struct cns_problem *problem) {
  struct cns_manifest manifest;
  struct cns_model_map *map = NULL;
  uint8_t *copy = malloc(len);
  if (!copy) return CNS_ERR_MEMORY;
  memcpy(copy, bytes, len);
  int r = cns_manifest_open(bytes, len, "the journal's manifest", &s->kit.roster, &manifest, problem);
  if (r < 0) {
    free(copy);
    return r;
  }
  if (!cns_digest_equal(&manifest.study, &s->study))
    r = cns_problem_set(problem, CNS_ERR_REFUSED,
                        "%s holds rounds of another study: give this one a state folder of its own",
                        s->kit.config.state_path);
  if (r == 0 && is_of_this_study(s, &manifest))
    r = cns_manifest_check_clip(&manifest, &s->plan.adaptive_clip, problem);
  if (r == 0 && is_of_this_study(s, &manifest))
    r = cns_manifest_check_noised(&manifest, &s->plan.noised_metrics, problem);
  if (r == 0) r = cns_registry_map_model(s->registry, &manifest.model, &map, problem);
  if (r == 0) r = cns_server_take_model(s, map, &manifest.model, "the last round's model", problem);
  if (r == 0) {
    map = NULL;
    r = keep_manifest(s, copy, len, &manifest, problem);
    copy = NULL;
  }
  free(copy);
  cns_model_map_free(map);
  cns_manifest_deinit(&manifest);
  return r;
}

/* Journal: the manifest, the round's row with the signed head; synced. */
static int record(struct cns_server *s, const struct cns_manifest *manifest, const uint8_t *bytes, size_t len,
                  struct cns_problem *problem) {
  struct cns_journal_round row = {
      .round = manifest->round,
      .attempt = manifest->attempt,
      .state = CNS_JOURNAL_ROUND_COMPLETED,
      .descriptor = manifest->descriptor,
      .has_head = true,
  };
  int r = cns_server_append(s, CNS_ENTRY_RESULT, CNS_PHASE_RESULT, 0, bytes, len, problem);
  if (r < 0) return r;
  cns_journal_head(s->journal, &row.head, &row.head_sequence);
  r = cns_sign(s->kit.identity, "consilium/1 journal head", &row.head, &row.head_signature);
  char *payload = r == 0 ? strndup((const char *)bytes, len) : NULL;
  if (payload) {
    char *end = strstr(payload, "\n-- consilium signature");
    if (end) *end = '\0';
    row.result = payload;
  }
  if (r == 0) r = cns_journal_round_set(s->journal, &row, problem);
  if (r == 0) r = cns_journal_sync(s->journal, problem);
  free(payload);
  return r;
}

static int privacy_of(struct cns_server *s, struct cns_manifest_privacy *ret_privacy,
                      struct cns_problem *problem) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  struct cns_charge_standing standing = {0};
  struct cns_problem alert = {0};
  int r = s->ledger ? cns_budget_standing(s, &standing, problem) : 0;
  *ret_privacy = (struct cns_manifest_privacy){
      .unit = (enum cns_privacy_unit)d->unit,
      .placement = (enum cns_noise_placement)d->noise_placement,
      .noise_multiplier = d->noise_multiplier,
      .sampling_rate = d->sampling_rate,
      .epsilon = standing.spent,
      .delta = standing.delta,
  };
  if (r == 0 && cns_charge_alert(&standing, &s->alert_said, &alert))
    cns_report(s, "budget", "%s", alert.text);
  return r;
}

/* The next round's clip norm, and what it follows from. */
static void adapt_clip(const struct cns_server *s, const struct cns_aggregation *a,
                       struct cns_manifest *manifest) {
  if (a->unit == 0) return;
  double norm = a->descriptor->clip_norm;
  manifest->clip =
      (struct cns_manifest_clip){.norm = norm, .released = a->released, .unit = a->unit, .next = norm};
  manifest->clip.next = cns_adaptive_clip_next(&s->plan.adaptive_clip, norm, cns_manifest_fraction(manifest));
}

static void estimate_metrics(const struct cns_server *s, const struct cns_aggregation *a,
                             struct cns_manifest *manifest) {
  if (a->noised.unit == 0) return;
  manifest->noised.sums = a->noised;
  cns_manifest_estimate(manifest, s->plan.noised_metrics.loss_max, &manifest->noised.estimate);
}

static int publish(struct cns_server *s, struct result_job *job, struct cns_problem *problem) {
  struct cns_manifest manifest;
  uint64_t sequence;
  uint8_t *bytes = NULL;
  size_t len = 0;
  const struct cns_aggregation *a = &job->aggregation;
  int r = cns_manifest_of_round(cns_coordinator_round(s->machine), cns_coordinator_outcomes(s->machine),
                                &manifest);
  if (r < 0) return r;
  r = adopt_model(s, job, problem);
  if (r == 0) r = cns_optimiser_commit(s, &job->aggregation.optimiser, manifest.round, problem);
  manifest.model = s->model;
  manifest.sum = a->sum;
  manifest.clipped = a->clipped;
  if (a->has_metrics)
    manifest.metrics = (struct cns_manifest_metrics){
        .known = true,
        .has_auc = a->metrics.has_auc,
        .loss = a->metrics.loss,
        .auc = a->metrics.auc,
        .rows = a->metrics.count,
    };
  cns_journal_head(s->journal, &manifest.journal_head, &sequence);
  if (r == 0) r = cns_budget_release(s, problem);
  if (r == 0) r = privacy_of(s, &manifest.privacy, problem);
  adapt_clip(s, a, &manifest);
  estimate_metrics(s, a, &manifest);
  if (r == 0) r = cns_manifest_make(&manifest, s->kit.identity, &bytes, &len);
  if (r == 0) r = record(s, &manifest, bytes, len, problem);
  if (r == 0) {
    r = keep_manifest(s, bytes, len, &manifest, problem);
    cns_report_round(s, &manifest);
    bytes = NULL;
  }
  free(bytes);
  cns_manifest_deinit(&manifest);
  return r;
}

static void finish_round(struct cns_server *s) {
  struct cns_problem problem = {0};
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  cns_schedule_measure(s);
  cns_round_erase(s, d->round, d->attempt);
  cns_round_free(s, true);
  if (cns_registry_prune(s->registry, CNS_SERVER_MODELS_KEPT, &problem) < 0)
    cns_report(s, "error", "%s", problem.text);
  if (cns_optimiser_tidy(s, &problem) < 0) cns_report(s, "error", "%s", problem.text);
  for (size_t k = 0; k < s->session_count; k++)
    if (s->sessions[k].joined) cns_session_send_manifest(s, &s->sessions[k]);
  cns_budget_show_all(s);
  int r = cns_budget_look_ahead(s, &problem);
  if (r < 0) cns_server_fatal(s, r, &problem);
  s->waiting_since_ms = cns_server_now(s);
}

/* Of the new model, on the public test set. */
static int evaluate(struct result_job *job) {
  const struct cns_server *s = job->server;
  struct cns_aggregation *a = &job->aggregation;
  if (s->test.rows == 0) return 0;
  int r = cns_model_evaluate(&s->plan, a->params, &s->test, &a->metrics, &a->metrics_problem);
  a->has_metrics = r == 0;
  return r == CNS_ERR_MEMORY ? r : 0;
}

static void compute(uv_work_t *work) {
  struct result_job *job = work->data;
  job->result = cns_aggregate(&job->aggregation, &job->problem);
  if (job->result == 0) job->result = evaluate(job);
  if (job->result == 0)
    job->result =
        cns_study_model_put(job->server->registry, job->draft, &job->model, &job->map, &job->problem);
}

static void computed(uv_work_t *work, int status) {
  struct result_job *job = work->data;
  struct cns_server *s = job->server;
  struct cns_problem problem = job->problem;
  int r = job->result;
  (void)status;
  s->job_running = false;
  if (!s->stopping && r == 0) {
    if (job->aggregation.metrics_problem.text[0])
      cns_report(s, "metrics", "the metrics of this round are void: %s",
                 job->aggregation.metrics_problem.text);
    r = publish(s, job, &problem);
    if (r == 0) finish_round(s);
    if (r < 0) cns_server_fatal(s, r, &problem);
  } else if (!s->stopping && r == CNS_ERR_RANGE) {
    if (cns_round_stop(s, CNS_END_VOID, problem.text) == 0) cns_result_fail(s);
  } else if (!s->stopping)
    cns_server_fatal(s, r, &problem);
  free_job(job);
}

/* Which uploads count, and what of the others is in the running sum. */
static int collect_uploads(struct cns_server *s, struct result_job *job) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(s->machine);
  struct cns_aggregation *a = &job->aggregation;
  for (size_t k = 0; k < d->member_count; k++) {
    const struct cns_upload *upload = &s->uploads[k];
    if (outcomes->outcomes[k] == CNS_INCLUDED) {
      if (!upload->file) return CNS_ERR_STATE;
      job->uploads[a->count] = upload->file;
      job->weights[a->count++] = d->members[k].weight;
    } else if (s->running.sum && upload->added > 0) {
      if (!upload->file) return CNS_ERR_STATE;
      job->excluded[a->excluded_count] = upload->file;
      job->excluded_words[a->excluded_count++] = cns_running_words(s, k);
    }
  }
  return 0;
}

static int collect(struct cns_server *s, struct result_job *job, struct cns_problem *problem) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  struct cns_aggregation *a = &job->aggregation;
  float *params = NULL;
  job->uploads = calloc(d->member_count, sizeof(struct cns_vector_file *));
  job->weights = calloc(d->member_count, sizeof *job->weights);
  job->excluded = calloc(d->member_count, sizeof(struct cns_vector_file *));
  job->excluded_words = calloc(d->member_count, sizeof *job->excluded_words);
  if (!job->uploads || !job->weights || !job->excluded || !job->excluded_words) return CNS_ERR_MEMORY;
  int r = collect_uploads(s, job);
  if (r == 0) r = cns_study_model_draft(s->registry, &s->plan, &job->draft, &params, problem);
  if (r < 0) return r;
  a->descriptor = d;
  a->uploads = job->uploads;
  a->weights = job->weights;
  a->running = s->running.sum;
  a->excluded = job->excluded;
  a->excluded_words = job->excluded_words;
  a->parent = s->params;
  a->scaffold = s->plan.scaffold.steps > 0 ? &s->plan : NULL;
  a->learning_rate = d->unit == CNS_UNIT_PATIENT ? -s->plan.learning_rate : 1;
  a->rng = cns_rng_system();
  a->params = params;
  a->classes = s->plan.class_count;
  a->parallel = cns_parallel_threads();
  r = cns_coordinator_unmasking(s->machine, &a->terms, &a->term_count);
  return r ? r : cns_optimiser_begin(s, &a->optimiser, problem);
}

void cns_result_compute(struct cns_server *s) {
  struct cns_problem problem = {0};
  struct result_job *job = calloc(1, sizeof *job);
  int r = job ? collect(s, job, &problem) : CNS_ERR_MEMORY;
  if (r < 0) {
    if (job) free_job(job);
    if (!problem.text[0])
      cns_problem_set(&problem, r, "the uploads of this round can't be added up (%s)", cns_error_name(r));
    cns_server_fatal(s, r, &problem);
    return;
  }
  job->work.data = job;
  job->server = s;
  s->job_running = true;
  if (uv_queue_work(&s->loop, &job->work, compute, computed) < 0) abort();
}

static void tell_ended(struct cns_server *s) {
  const struct cns_round *round = cns_coordinator_round(s->machine);
  struct cns_writer writer;
  cns_writer_init(&writer, CNS_WIRE_SENTENCE_MAX + 64);
  cns_wire_write_word(&writer, &round->digest, (uint8_t)cns_coordinator_end(s->machine),
                      cns_coordinator_end_reason(s->machine));
  for (size_t k = 0; k < round->descriptor.member_count; k++) {
    struct cns_session *session = cns_session_at(s, k);
    if (session->joined) cns_session_send(session, CNS_WIRE_ENDED, &writer);
  }
  cns_writer_deinit(&writer);
}

/* Uploads are asked for once phase ready is closed with enough hospitals. */
static bool *asked_for_upload(const struct cns_round *round) {
  bool *asked = calloc(round->descriptor.member_count, sizeof *asked);
  bool any =
      round->closed >= CNS_PHASE_READY && cns_round_count(round, CNS_PHASE_READY) >= cns_round_minimum(round);
  for (size_t k = 0; asked && any && k < round->descriptor.member_count; k++)
    asked[k] = cns_round_present(round, CNS_PHASE_READY, k);
  return asked;
}

/* {"reason": ...} for status; NULL if memory is short. */
static char *reason_json(const struct cns_server *s) {
  cJSON *json = cJSON_CreateObject();
  char *text = NULL;
  if (json && cJSON_AddStringToObject(json, "reason", cns_coordinator_end_reason(s->machine)))
    text = cJSON_PrintUnformatted(json);
  cJSON_Delete(json);
  return text;
}

/* A restart couldn't tell whom an upload was asked of: the ciphertexts that
 * disqualified some are erased. */
static int record_asked(struct cns_server *s, const bool *asked, struct cns_problem *problem) {
  uint8_t body[CNS_HOSPITALS_MAX];
  size_t n = cns_coordinator_round(s->machine)->descriptor.member_count;
  for (size_t k = 0; k < n; k++)
    body[k] = asked[k];
  return cns_server_append(s, CNS_ENTRY_ASKED, CNS_PHASE_RESULT, 0, body, n, problem);
}

/* Journal: whom an upload was asked of, the round's row with the signed head; synced. */
static int record_failure(struct cns_server *s, const bool *asked, struct cns_problem *problem) {
  const struct cns_round *round = cns_coordinator_round(s->machine);
  struct cns_journal_round row = {
      .round = round->descriptor.round,
      .attempt = round->descriptor.attempt,
      .state = CNS_JOURNAL_ROUND_ENDED,
      .descriptor = round->digest,
      .has_head = true,
  };
  int r = record_asked(s, asked, problem);
  if (r < 0) return r;
  char *why = reason_json(s);
  row.result = why;
  cns_journal_head(s->journal, &row.head, &row.head_sequence);
  r = cns_sign(s->kit.identity, "consilium/1 journal head", &row.head, &row.head_signature);
  if (r == 0) r = cns_journal_round_set(s->journal, &row, problem);
  if (r == 0) r = cns_journal_sync(s->journal, problem);
  cJSON_free(why);
  return r;
}

void cns_result_fail(struct cns_server *s) {
  const struct cns_round *round = cns_coordinator_round(s->machine);
  struct cns_problem problem = {0};
  bool *asked = asked_for_upload(round);
  int r = asked ? record_failure(s, asked, &problem) : CNS_ERR_MEMORY;
  if (r == 0) r = cns_budget_failed(s, &problem);
  if (r == 0) r = cns_abandoning_begin(s, &round->descriptor, asked);
  free(asked);
  if (r < 0) {
    cns_server_fatal(s, r, &problem);
    return;
  }
  cns_round_erase(s, round->descriptor.round, round->descriptor.attempt);
  cns_report_ended(s);
  tell_ended(s);
  cns_round_free(s, true);
  for (size_t k = 0; k < s->session_count; k++)
    cns_abandoning_ask(s, &s->sessions[k]);
  s->retry_ms = s->retry_ms ? 2 * s->retry_ms : CNS_SERVER_RETRY_FIRST_MS;
  if (s->retry_ms > CNS_SERVER_RETRY_CAP_MS) s->retry_ms = CNS_SERVER_RETRY_CAP_MS;
  s->waiting_since_ms = cns_server_now(s);
  s->not_before_ms = s->waiting_since_ms + s->retry_ms;
}
