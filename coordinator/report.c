/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon says: a line an event, a line a round; JSON if asked for. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/server_internal.h"

static void utc_now(char out[static 32]) {
  time_t now = time(NULL);
  struct tm tm;
  gmtime_r(&now, &tm);
  strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* One line; of JSON also what is in json, which is taken (NULL: no more). */
static void write_line(const struct cns_server *s, FILE *out, const char *event, char *sentence,
                       cJSON *json) {
  char when[32];
  utc_now(when);
  cns_text_clean(sentence); /* a peer may have written some of it */
  if (!s->options->json) {
    if (out == stderr) fprintf(out, "%s ", when);
    fprintf(out, "%s\n", sentence);
  } else {
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "time", when);
    cJSON_AddStringToObject(line, "event", event);
    cJSON_AddStringToObject(line, "text", sentence);
    while (line && json && json->child)
      cJSON_AddItemToArray(line, cJSON_DetachItemViaPointer(json, json->child));
    char *text = line ? cJSON_PrintUnformatted(line) : NULL;
    if (text) fprintf(out, "%s\n", text);
    cJSON_free(text);
    cJSON_Delete(line);
  }
  fflush(out);
  cJSON_Delete(json);
}

/* Events go to stderr, rounds to stdout. */
void cns_report(struct cns_server *s, const char *event, const char *fmt, ...) {
  char sentence[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(sentence, sizeof sentence, fmt, args);
  va_end(args);
  write_line(s, stderr, event, sentence, NULL);
}

void cns_report_with(struct cns_server *s, const char *event, cJSON *json, const char *fmt, ...) {
  char sentence[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(sentence, sizeof sentence, fmt, args);
  va_end(args);
  write_line(s, stderr, event, sentence, json);
}

bool cns_report_within(const struct cns_server *s, struct cns_lines *lines, unsigned max) {
  uint64_t now = cns_server_now(s);
  if (now - lines->since_ms > CNS_SERVER_LINES_MS) *lines = (struct cns_lines){.since_ms = now};
  lines->count += lines->count <= max;
  return lines->count <= max;
}

bool cns_report_allowed(struct cns_server *s, struct cns_lines *lines) {
  bool muted = lines->count > CNS_SERVER_LINES_MAX;
  bool allowed = cns_report_within(s, lines, CNS_SERVER_LINES_MAX);
  if (!allowed && !muted)
    cns_report(s, "muted", "more from the same party isn't written down for %d s",
               CNS_SERVER_LINES_MS / 1000);
  return allowed;
}

struct traffic {
  uint64_t up, down; /* seen from the hospitals */
};

static struct traffic traffic_of_round(const struct cns_server *s) {
  struct traffic traffic = {0};
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    traffic.up += session->bytes_in;
    traffic.down += session->bytes_out;
    if (!session->link) continue;
    struct cns_link_counters counters = cns_link_counters(session->link);
    traffic.up += counters.bytes_in - session->base_in;
    traffic.down += counters.bytes_out - session->base_out;
  }
  return traffic;
}

/* Of the total: hospitals that were not in the cohort count with the weight that
 * follows from their consent, if they were connected since the start. */
static double share_of_weight(const struct cns_server *s, const struct cns_manifest *manifest) {
  double included = 0, all = 0;
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_session *session = &s->sessions[k];
    bool member = false;
    for (size_t m = 0; m < manifest->member_count; m++)
      member |= manifest->members[m].index == session->hospital->index;
    if (!member && !session->hospital->revoked && session->patients > 0)
      all += cns_policy_weight(&s->kit.policy, session->patients);
  }
  for (size_t k = 0; k < manifest->member_count; k++) {
    all += manifest->members[k].weight;
    if (manifest->outcomes[k] == CNS_INCLUDED) included += manifest->members[k].weight;
  }
  return all > 0 ? included / all : 0;
}

/* Hospitals of the roster that could have taken part. */
static size_t expected_count(const struct cns_server *s) {
  size_t expected = 0;
  for (size_t k = 0; k < s->session_count; k++)
    expected += !s->sessions[k].hospital->revoked;
  return expected;
}

static const char *outcome_in(const struct cns_server *s, const struct cns_manifest *manifest,
                              uint16_t index) {
  for (size_t k = 0; k < manifest->member_count; k++)
    if (manifest->members[k].index == index)
      return manifest->outcomes[k] == CNS_INCLUDED ? NULL : cns_outcome_text(manifest->outcomes[k]);
  /* In the cohort it would be if its round had put it there. */
  return cns_quarantine_holds(s, index) ? cns_outcome_text(CNS_OUT_QUARANTINED)
                                        : "not connected when the round began";
}

static size_t included_count(const struct cns_manifest *manifest) {
  size_t included = 0;
  for (size_t k = 0; k < manifest->member_count; k++)
    included += manifest->outcomes[k] == CNS_INCLUDED;
  return included;
}

/* Each hospital that stood out, with the strongest reason. */
static void add_flagged(const struct cns_server *s, cJSON *json) {
  const struct cns_judgement *judgement = s->judgement;
  cJSON *flagged = cJSON_AddArrayToObject(json, "flagged");
  for (size_t f = 0; f < judgement->result.flag_count; f++) {
    const struct cns_detect_flag *flag = &judgement->result.flags[f];
    bool first = true;
    for (size_t before = 0; before < f; before++)
      first &= judgement->result.flags[before].hospital != flag->hospital;
    const struct cns_session *session = s->by_index[flag->hospital];
    if (!first || !session) continue;
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "hospital", session->hospital->name);
    cJSON_AddStringToObject(one, "statistic", cns_detect_statistic_name(flag->statistic));
    cJSON_AddStringToObject(one, "reason", flag->text);
    cJSON_AddItemToArray(flagged, one);
  }
}

static void add_noised(cJSON *json, const struct cns_noised_metrics_estimate *e) {
  cJSON_AddNumberToObject(json, "noised_loss", e->loss);
  cJSON_AddNumberToObject(json, "noised_loss_error", e->loss_error);
  cJSON_AddNumberToObject(json, "noised_accuracy", e->accuracy);
  cJSON_AddNumberToObject(json, "noised_accuracy_error", e->accuracy_error);
}

static cJSON *round_json(const struct cns_server *s, const struct cns_manifest *manifest,
                         struct traffic traffic, double seconds) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "round", (double)manifest->round);
  cJSON_AddNumberToObject(json, "rounds", s->plan.rounds);
  cJSON_AddNumberToObject(json, "attempt", manifest->attempt);
  cJSON_AddNumberToObject(json, "included", (double)included_count(manifest));
  cJSON_AddNumberToObject(json, "expected", (double)expected_count(s));
  cJSON *missing = cJSON_AddArrayToObject(json, "missing");
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_roster_hospital *hospital = s->sessions[k].hospital;
    const char *outcome = outcome_in(s, manifest, hospital->index);
    if (hospital->revoked || !outcome) continue;
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "hospital", hospital->name);
    cJSON_AddStringToObject(one, "reason", outcome);
    cJSON_AddItemToArray(missing, one);
  }
  if (s->judgement) add_flagged(s, json);
  cJSON_AddNumberToObject(json, "weight_share", share_of_weight(s, manifest));
  if (manifest->metrics.known) {
    cJSON_AddNumberToObject(json, "loss", manifest->metrics.loss);
    if (manifest->metrics.has_auc) cJSON_AddNumberToObject(json, "auc", manifest->metrics.auc);
  }
  if (manifest->noised.sums.unit > 0) add_noised(json, &manifest->noised.estimate);
  if (manifest->privacy.placement != CNS_NOISE_NONE && isfinite(manifest->privacy.epsilon)) {
    cJSON_AddNumberToObject(json, "epsilon", manifest->privacy.epsilon);
    cJSON_AddNumberToObject(json, "delta", manifest->privacy.delta);
  }
  if (manifest->clip.norm > 0) {
    cJSON_AddNumberToObject(json, "clip_norm", manifest->clip.norm);
    cJSON_AddNumberToObject(json, "within_clip_norm", cns_manifest_fraction(manifest));
    cJSON_AddNumberToObject(json, "next_clip_norm", manifest->clip.next);
  }
  cJSON_AddNumberToObject(json, "bytes_up", (double)traffic.up);
  cJSON_AddNumberToObject(json, "bytes_down", (double)traffic.down);
  cJSON_AddNumberToObject(json, "seconds", seconds);
  return json;
}

static void write_size(FILE *out, const char *what, uint64_t bytes) {
  if (bytes < 1000000)
    fprintf(out, ", %.1f kB %s", (double)bytes / 1e3, what);
  else
    fprintf(out, ", %.1f MB %s", (double)bytes / 1e6, what);
}

static void write_round(FILE *out, const struct cns_server *s, const struct cns_manifest *manifest,
                        struct traffic traffic, double seconds) {
  bool first = true;
  fprintf(out, "round %" PRIu64 "/%u: %zu of %zu hospitals", manifest->round, s->plan.rounds,
          included_count(manifest), expected_count(s));
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_roster_hospital *hospital = s->sessions[k].hospital;
    const char *outcome = outcome_in(s, manifest, hospital->index);
    if (hospital->revoked || !outcome) continue;
    fprintf(out, "%s%s: %s", first ? " (" : ", ", hospital->name, outcome);
    first = false;
  }
  fprintf(out, "%s, %.1f %% of the weight", first ? "" : ")", 100 * share_of_weight(s, manifest));
  if (manifest->metrics.known) fprintf(out, ", loss %.4f", manifest->metrics.loss);
  if (manifest->metrics.known && manifest->metrics.has_auc) fprintf(out, ", AUC %.4f", manifest->metrics.auc);
  const struct cns_noised_metrics_estimate *e = &manifest->noised.estimate;
  if (manifest->noised.sums.unit > 0)
    fprintf(out, ", noised loss %.4f +- %.4f, noised accuracy %.4f +- %.4f", e->loss, e->loss_error,
            e->accuracy, e->accuracy_error);
  if (manifest->privacy.placement != CNS_NOISE_NONE)
    fprintf(out, ", epsilon %.4g spent", manifest->privacy.epsilon);
  else if (!manifest->metrics.known)
    fprintf(out, ", no metrics");
  if (manifest->clip.norm > 0)
    fprintf(out, ", clip norm %.4g, then %.4g", manifest->clip.norm, manifest->clip.next);
  write_size(out, "up", traffic.up);
  write_size(out, "down", traffic.down);
  fprintf(out, ", %.2f s", seconds);
}

void cns_report_round(struct cns_server *s, const struct cns_manifest *manifest) {
  struct traffic traffic = traffic_of_round(s);
  uv_update_time(&s->loop);
  double seconds = (double)(cns_server_now(s) - s->round_started_ms) / 1000.0;
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  if (out) write_round(out, s, manifest, traffic, seconds);
  if (out && fclose(out) == 0)
    write_line(s, stdout, "round", text, s->options->json ? round_json(s, manifest, traffic, seconds) : NULL);
  free(text);
}

void cns_report_ended(struct cns_server *s) {
  char sentence[1024];
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  const char *reason = cns_coordinator_end_reason(s->machine);
  snprintf(sentence, sizeof sentence, "round %" PRIu64 "/%u attempt %u: no result: %s", d->round,
           s->plan.rounds, d->attempt, reason);
  cJSON *json = cJSON_CreateObject();
  cJSON_AddNumberToObject(json, "round", (double)d->round);
  cJSON_AddNumberToObject(json, "attempt", d->attempt);
  cJSON_AddNumberToObject(json, "included", 0);
  cJSON_AddStringToObject(json, "reason", reason);
  write_line(s, stdout, "round", sentence, json);
}

/* Evidence is judged under the roster of its round and no other: it lies beside it. */
static int keep_roster(const struct cns_server *s, struct cns_problem *problem) {
  const struct cns_roster *roster = &s->kit.roster;
  char name[64];
  if (!cns_digest_equal(&roster->digest, &cns_coordinator_round(s->machine)->descriptor.roster)) return 0;
  snprintf(name, sizeof name, "roster-%" PRIu64 ".json", roster->version);
  char *path = cns_kit_path(s->kit.config.state_path, name);
  int r = path ? 0 : CNS_ERR_MEMORY;
  if (path && access(path, F_OK) != 0)
    r = cns_kit_document_save(s->kit.config.state_path, name, "roster", &s->kit.roster_document, problem);
  free(path);
  return r;
}

/* Evidence goes into the state folder, once a verdict. */
void cns_report_verdicts(struct cns_server *s) {
  size_t count;
  const struct cns_descriptor *d = &cns_coordinator_round(s->machine)->descriptor;
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(s->machine, &count);
  for (; s->verdicts_said < count; s->verdicts_said++) {
    const struct cns_verdict *verdict = &verdicts[s->verdicts_said];
    struct cns_problem problem = {0};
    char name[128];
    snprintf(name, sizeof name, "evidence-%" PRIu64 "-%u-hospital-%u-%d.bin", d->round, d->attempt,
             verdict->index, (int)verdict->blame);
    char *path = cns_kit_path(s->kit.config.state_path, name);
    int r = path ? 0 : CNS_ERR_MEMORY;
    /* Replay comes here again; files appear whole, so what is there stays. */
    if (path && access(path, F_OK) != 0)
      r = cns_file_write(path, verdict->evidence, verdict->evidence_len, 0600, &problem);
    if (r == 0) r = keep_roster(s, &problem);
    cns_report(s, "verdict", "hospital %u broke the protocol in phase %s: %s%s; evidence in %s",
               verdict->index, cns_phase_name(verdict->phase), cns_blame_name(verdict->blame),
               verdict->within_bound ? " (the true sketch is within the bound, so a faulty machine explains "
                                       "it: it stays in the sum)"
                                     : "",
               r == 0 ? path : problem.text);
    free(path);
  }
}
