/* SPDX-License-Identifier: Apache-2.0 */
/* Audited rounds: uploads are sketched while answers arrive, what detection
 * decides is written down before anything follows from it, and flags are told. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/server_internal.h"
#include "coordinator/sketches.h"
#include "store/folder.h"

/* ---- A*y ---- */

struct sketch_job {
  uv_work_t work;
  struct cns_server *server;
  struct cns_sketch_key key;
  uint32_t k;
  uint64_t dim;
  size_t count;
  struct cns_vector_file **uploads;
  size_t *positions;
  uint32_t *sketches;
  int result;
  struct cns_problem problem;
};

static void free_job(struct sketch_job *job) {
  free(job->uploads);
  free(job->positions);
  free(job->sketches);
  free(job);
}

static void compute_sketches(uv_work_t *work) {
  struct sketch_job *job = work->data;
  job->result = cns_sketch_uploads(&job->key, job->k, job->uploads, job->count, job->dim,
                                   cns_parallel_threads(), job->sketches, &job->problem);
}

/* In the journal, since a replay may be without the uploads. */
static int keep_sketches(struct cns_server *s, const struct sketch_job *job, struct cns_problem *problem) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  uint8_t words[CNS_AUDIT_SKETCH_BYTES_MAX];
  int r = 0;
  for (size_t i = 0; i < job->count && r == 0; i++) {
    const uint32_t *sketch = job->sketches + i * job->k;
    uint16_t index = d->members[job->positions[i]].index;
    cns_audit_words_write(sketch, job->k, words);
    r = cns_server_append(s, CNS_ENTRY_SKETCH, CNS_PHASE_AUDIT, index, words, (size_t)4 * job->k, problem);
    if (r < 0)
      cns_round_journal_failed(s, r, problem);
    else if ((r = cns_coordinator_set_sketch(s->machine, job->positions[i], sketch)) < 0)
      cns_server_fatal(s, r, problem);
  }
  return r;
}

static void sketched(uv_work_t *work, int status) {
  struct sketch_job *job = work->data;
  struct cns_server *s = job->server;
  (void)status;
  s->sketching = false;
  if (!s->stopping && job->result < 0) {
    cns_problem_prefix(&job->problem, job->result, "the uploads of this round can't be sketched (%s)",
                       cns_error_name(job->result));
    cns_server_fatal(s, job->result, &job->problem);
  } else if (!s->stopping && keep_sketches(s, job, &job->problem) == 0)
    s->dirty = true; /* the phase may be over */
  free_job(job);
}

static int collect(struct cns_server *s, struct sketch_job *job) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  job->k = d->sketch;
  job->dim = d->dim;
  job->uploads = calloc(d->member_count, sizeof(struct cns_vector_file *));
  job->positions = calloc(d->member_count, sizeof *job->positions);
  job->sketches = calloc((size_t)d->member_count * d->sketch, sizeof *job->sketches);
  if (!job->uploads || !job->positions || !job->sketches) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < d->member_count; k++) {
    if (!cns_coordinator_wants_sketch(s->machine, k)) continue;
    if (!s->uploads[k].file) return CNS_ERR_STATE;
    job->uploads[job->count] = s->uploads[k].file;
    job->positions[job->count++] = k;
  }
  return cns_coordinator_sketch_key(s->machine, &job->key);
}

void cns_audit_sketch(struct cns_server *s) {
  struct cns_problem problem = {0};
  if (cns_coordinator_phase(s->machine) != CNS_PHASE_AUDIT || s->sketching) return;
  struct sketch_job *job = calloc(1, sizeof *job);
  int r = job ? collect(s, job) : CNS_ERR_MEMORY;
  if (r < 0) {
    if (job) free_job(job);
    cns_problem_set(&problem, r, "the uploads of this round can't be sketched (%s)", cns_error_name(r));
    cns_server_fatal(s, r, &problem);
    return;
  }
  if (job->count == 0) {
    free_job(job);
    return;
  }
  job->work.data = job;
  job->server = s;
  s->sketching = true;
  if (uv_queue_work(&s->loop, &job->work, compute_sketches, sketched) < 0) abort();
}

/* ---- flags, for people ---- */

static const char *name_of(const struct cns_server *s, uint16_t index) {
  const struct cns_session *session = s->by_index[index];
  return session ? session->hospital->name : "of no name";
}

static uint8_t decision_on(const struct cns_judgement *judgement, const struct cns_detect_flag *flag) {
  return judgement->decisions[judgement->position[flag->row]];
}

static const char *action_text(uint8_t decision) {
  return decision == CNS_OUT_QUARANTINED ? "quarantine" : decision == CNS_OUT_FLAGGED ? "exclude" : "report";
}

static cJSON *flag_json(const struct cns_server *s, const struct cns_judgement *judgement,
                        const struct cns_detect_flag *flag) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "round", (double)cns_coordinator_round(s->machine)->descriptor.round);
  cJSON_AddStringToObject(json, "hospital", name_of(s, flag->hospital));
  cJSON_AddNumberToObject(json, "index", flag->hospital);
  cJSON_AddStringToObject(json, "statistic", cns_detect_statistic_name(flag->statistic));
  cJSON_AddNumberToObject(json, "value", flag->value);
  cJSON_AddNumberToObject(json, "threshold", flag->threshold);
  cJSON_AddNumberToObject(json, "median", flag->median); /* NaN is written as null */
  cJSON_AddNumberToObject(json, "mad", flag->mad);
  cJSON_AddNumberToObject(json, "rate", flag->rate);
  cJSON_AddNumberToObject(json, "strength", flag->strength);
  cJSON_AddStringToObject(json, "action", action_text(decision_on(judgement, flag)));
  return json;
}

static bool is_first_of_hospital(const struct cns_judgement *judgement, size_t f) {
  for (size_t before = 0; before < f; before++)
    if (judgement->result.flags[before].row == judgement->result.flags[f].row) return false;
  return true;
}

static void report_flag(struct cns_server *s, const struct cns_judgement *judgement, size_t f) {
  const struct cns_detect_flag *flag = &judgement->result.flags[f];
  const char *name = name_of(s, flag->hospital), *then = "";
  char text[256] = "";
  uint8_t decision = decision_on(judgement, flag);
  if (is_first_of_hospital(judgement, f)) {
    if (decision == CNS_OUT_QUARANTINED)
      then = "It is in quarantine from this round on, until a privacy officer lets it in again: consilium "
             "quarantine release";
    else if (decision == CNS_OUT_FLAGGED)
      then = "It is left out of this round's sum";
    else
      then = s->kit.policy.on_flag == CNS_FLAG_REPORT
                 ? "It stays in the sum: the policy says that flags are reported, no more"
                 : "It stays in the sum: by twins alone, or beyond the policy's maximum, nobody is left out";
    snprintf(text, sizeof text, " %s%s%s.", then, decision == CNS_OUT_QUARANTINED ? " " : "",
             decision == CNS_OUT_QUARANTINED ? name : "");
  }
  cJSON *json = flag_json(s, judgement, flag);
  cJSON_AddStringToObject(json, "reason", flag->text);
  cns_report_with(s, "flag", json, "round %llu: %s%s",
                  (unsigned long long)cns_coordinator_round(s->machine)->descriptor.round, flag->text, text);
}

/* flags/round-N-attempt.json: the records, for who looks at them later. */
static int write_flags(struct cns_server *s, const struct cns_judgement *judgement,
                       struct cns_problem *problem) {
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  char name[64];
  snprintf(name, sizeof name, "round-%llu-%u.json", (unsigned long long)d->round, d->attempt);
  char *folder = cns_kit_path(s->kit.config.state_path, "flags");
  char *path = folder ? cns_kit_path(folder, name) : NULL, *text = NULL;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "round", (double)d->round);
  cJSON_AddNumberToObject(json, "attempt", d->attempt);
  cJSON_AddNumberToObject(json, "sketch", d->sketch);
  cJSON_AddNumberToObject(json, "hospitals", (double)judgement->judged);
  cJSON_AddNumberToObject(json, "false_positive_rate", judgement->result.rate);
  cJSON_AddNumberToObject(json, "tightening", judgement->tightening);
  cJSON_AddStringToObject(json, "claim", judgement->result.claim);
  cJSON *flags = cJSON_AddArrayToObject(json, "flags");
  for (size_t f = 0; f < judgement->result.flag_count; f++) {
    cJSON *one = flag_json(s, judgement, &judgement->result.flags[f]);
    cJSON_AddStringToObject(one, "text", judgement->result.flags[f].text);
    cJSON_AddItemToArray(flags, one);
  }
  text = cJSON_Print(json);
  int r = path && text ? cns_folder_create(folder, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = cns_file_write(path, text, strlen(text), 0600, problem);
  cJSON_free(text);
  cJSON_Delete(json);
  free(path);
  free(folder);
  return r;
}

static void report_judgement(struct cns_server *s, const struct cns_judgement *judgement) {
  struct cns_problem problem = {0};
  if (!judgement->detected) {
    cns_report(s, "audit",
               "only %zu sketches are there: fewer than %u can't be compared with each other, and nobody is "
               "flagged in this round",
               judgement->judged, CNS_DETECT_COHORT_MIN);
    return;
  }
  if (!s->said_influence) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "influence", judgement->influence);
    cJSON_AddBoolToObject(json, "effective", judgement->effective);
    cns_report_with(s, "audit", json, "audit: %s%s%s", judgement->influence_text,
                    judgement->result.claim[0] ? " " : "", judgement->result.claim);
    s->said_influence = true;
  }
  if (judgement->tightening > 1)
    cns_report(s, "tight",
               "after an attack the audit's thresholds are tighter in this round: up to %g times "
               "as many honest hospitals are flagged as otherwise",
               judgement->tightening);
  for (size_t f = 0; f < judgement->result.flag_count; f++)
    report_flag(s, judgement, f);
  if (judgement->result.flag_count && write_flags(s, judgement, &problem) < 0)
    cns_report(s, "error", "the flags of this round can't be written down: %s", problem.text);
}

/* ---- what follows from a closing ---- */

int cns_audit_append_watch(struct cns_server *s, struct cns_problem *problem) {
  struct cns_writer body;
  cns_writer_init(&body, CNS_WATCH_BYTES_MAX);
  int r = cns_watch_encode(s->watch, &body);
  if (r == 0) r = cns_server_append(s, CNS_ENTRY_WATCH, CNS_PHASE_NONE, 0, body.data, body.len, problem);
  cns_writer_deinit(&body);
  return r;
}

static int write_down(struct cns_server *s, const struct cns_judgement *judgement,
                      struct cns_problem *problem) {
  size_t n = cns_coordinator_round(s->machine)->descriptor.member_count;
  int r = cns_audit_append_watch(s, problem);
  if (r == 0 && judgement)
    r = cns_server_append(s, CNS_ENTRY_DECIDED, CNS_PHASE_AGREE, 0, judgement->decisions, n, problem);
  if (r == 0) r = cns_journal_sync(s->journal, problem);
  if (r < 0) cns_round_journal_failed(s, r, problem);
  return r;
}

static int take_judgement(struct cns_server *s, struct cns_judgement *judgement,
                          struct cns_problem *problem) {
  int r = cns_coordinator_decide(s->machine, judgement->decisions, problem);
  if (r < 0) {
    cns_problem_prefix(problem, r, "the audit's decision can't be taken (%s)", cns_error_name(r));
    cns_server_fatal(s, r, problem);
    return r;
  }
  cns_judgement_free(s->judgement);
  s->judgement = judgement;
  report_judgement(s, judgement);
  cns_quarantine_publish(s);
  return 0;
}

int cns_audit_closed(struct cns_server *s, enum cns_phase phase, size_t verdicts_before,
                     struct cns_judgement *judgement, struct cns_problem *problem) {
  uint32_t tight = 0;
  bool changed = judgement != NULL;
  if (judgement) *s->watch = judgement->watch;
  if (phase != CNS_PHASE_NONE)
    changed |= cns_watch_closed(s->watch, s->machine, &s->kit.policy, phase, verdicts_before, &tight);
  int r = changed ? write_down(s, judgement, problem) : 0;
  if (r == 0 && judgement) {
    if (judgement->confirmed && s->kit.policy.tighten_rounds > tight) tight = s->kit.policy.tighten_rounds;
    r = take_judgement(s, judgement, problem);
    if (r == 0) judgement = NULL; /* the server's now */
  }
  if (r == 0 && tight > 0)
    cns_report(
        s, "tight",
        "an attack is confirmed: for the next %u rounds the audit's thresholds are tighter, with up to "
        "%g times as many false flags, as the policy says",
        tight, s->kit.policy.tighten_factor);
  cns_judgement_free(judgement);
  return r;
}
