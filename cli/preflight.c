/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/preflight.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static const char *const state_words[] = {"ok", "warning", "PROBLEM", "skipped"};

/* ---- findings ---- */

static struct cns_finding *add(struct cns_preflight *p, const char *check, enum cns_finding_state state,
                               const char *mend) {
  if (state == CNS_FINDING_PROBLEM) p->problems++;
  if (state == CNS_FINDING_WARNING) p->warnings++;
  /* A roster's worth of findings would not help more than this many; they are counted all the same. */
  struct cns_finding *finding = &p->findings[p->count < CNS_FINDINGS_MAX ? p->count++ : CNS_FINDINGS_MAX - 1];
  *finding = (struct cns_finding){.check = check, .state = state};
  snprintf(finding->mend, sizeof finding->mend, "%s", mend ? mend : "");
  cns_text_clean(finding->mend);
  return finding;
}

static void set_what(struct cns_finding *finding, const char *fmt, va_list args) CNS_PRINTF(2, 0);

static void set_what(struct cns_finding *finding, const char *fmt, va_list args) {
  vsnprintf(finding->what, sizeof finding->what, fmt, args);
  cns_text_clean(finding->what); /* it may name what came from others */
}

void cns_preflight_ok(struct cns_preflight *p, const char *check, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  set_what(add(p, check, CNS_FINDING_OK, NULL), fmt, args);
  va_end(args);
}

void cns_preflight_warn(struct cns_preflight *p, const char *check, const char *mend, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  set_what(add(p, check, CNS_FINDING_WARNING, mend), fmt, args);
  va_end(args);
}

void cns_preflight_bad(struct cns_preflight *p, const char *check, const char *mend, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  set_what(add(p, check, CNS_FINDING_PROBLEM, mend), fmt, args);
  va_end(args);
}

static void skip(struct cns_preflight *p, const char *check, const char *fmt, ...) CNS_PRINTF(3, 4);

static void skip(struct cns_preflight *p, const char *check, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  set_what(add(p, check, CNS_FINDING_SKIPPED, NULL), fmt, args);
  va_end(args);
}

void cns_preflight_skip(struct cns_preflight *p, const char *check, const char *because) {
  skip(p, check, "not checked: %s", because);
}

int cns_preflight_take(struct cns_preflight *p, const char *check, int r, const struct cns_problem *problem,
                       const char *mend) {
  if (r < 0) cns_preflight_bad(p, check, mend, "%s", problem->text[0] ? problem->text : cns_error_name(r));
  return r;
}

void cns_preflight_expiry(struct cns_preflight *p, const char *check, const char *what, int64_t until,
                          const char *mend) {
  int64_t days = (until - p->options.now_seconds) / 86400;
  char day[32] = "?";
  time_t value = (time_t)until;
  struct tm tm;
  if (gmtime_r(&value, &tm) && strftime(day, sizeof day, "%Y-%m-%d", &tm) == 0) day[0] = '\0';
  if (until <= p->options.now_seconds)
    cns_preflight_bad(p, check, mend, "%s is past its date, %s", what, day);
  else if (days < 60)
    cns_preflight_warn(p, check, mend, "%s ends on %s, in less than %s days (%" PRId64 ")", what, day,
                       days < 7    ? "7"
                       : days < 30 ? "30"
                                   : "60",
                       days);
  else
    cns_preflight_ok(p, check, "%s is valid until %s, %" PRId64 " days", what, day, days);
}

/* ---- a daemon beside us ---- */

long cns_preflight_daemon(const struct cns_preflight *p) {
  char *path = NULL, holder[32] = "";
  const struct cns_kit_config *config = &p->site.kit.config;
  const char *name = config->role == CNS_KIT_HOSPITAL ? "hospital.db" : "journal.sqlite";
  if (!p->has_config || asprintf(&path, "%s/%s.lock", config->state_path, name) < 0) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  free(path);
  if (fd < 0) return 0;
  long process = 0;
  if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
    ssize_t got = pread(fd, holder, sizeof holder - 1, 0);
    process = got > 0 ? strtol(holder, NULL, 10) : 0;
    if (process <= 0) process = -1;
  }
  close(fd);
  return process;
}

/* ---- all of it ---- */

void cns_preflight_run(const struct cns_preflight_options *options, struct cns_preflight *p) {
  memset(p, 0, sizeof *p);
  p->options = *options;
  if (p->options.patience_ms == 0) p->options.patience_ms = 15000;
  cns_preflight_kit(p);
  if (!p->is_kit) return;
  cns_preflight_documents(p);
  if (!p->has_config) {
    cns_preflight_skip(p, "rest", "without a sound config.json nobody knows what else belongs to this kit");
    return;
  }
  if (p->site.kit.config.role == CNS_KIT_COORDINATOR) {
    cns_preflight_coordinator(p);
    cns_preflight_room(p);
    cns_preflight_listen(p);
  } else {
    cns_preflight_data(p);
    cns_preflight_room(p);
    cns_preflight_reach(p);
  }
}

void cns_preflight_deinit(struct cns_preflight *p) {
  cns_site_deinit(&p->site);
}

/* ---- out ---- */

void cns_preflight_print(const struct cns_preflight *p, FILE *out) {
  for (size_t k = 0; k < p->count; k++) {
    const struct cns_finding *finding = &p->findings[k];
    fprintf(out, "%-8s %-12s %s\n", state_words[finding->state], finding->check, finding->what);
    if (finding->mend[0]) fprintf(out, "%21s mend: %s\n", "", finding->mend);
  }
  if (p->problems == 0 && p->warnings == 0)
    fprintf(out, "PASSED\n");
  else if (p->problems == 0)
    fprintf(out, "PASSED, %zu warning%s\n", p->warnings, p->warnings == 1 ? "" : "s");
  else
    fprintf(out, "%zu problem%s\n", p->problems, p->problems == 1 ? "" : "s");
}

cJSON *cns_preflight_json(const struct cns_preflight *p) {
  cJSON *json = cJSON_CreateObject();
  cJSON *checks = cJSON_AddArrayToObject(json, "checks");
  cJSON_AddStringToObject(json, "kit", p->options.folder);
  if (p->has_config)
    cJSON_AddStringToObject(json, "role",
                            p->site.kit.config.role == CNS_KIT_HOSPITAL ? "hospital" : "coordinator");
  cJSON_AddBoolToObject(json, "passed", p->problems == 0);
  cJSON_AddNumberToObject(json, "problems", (double)p->problems);
  cJSON_AddNumberToObject(json, "warnings", (double)p->warnings);
  for (size_t k = 0; k < p->count; k++) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "check", p->findings[k].check);
    cJSON_AddStringToObject(one, "state",
                            p->findings[k].state == CNS_FINDING_PROBLEM ? "problem"
                                                                        : state_words[p->findings[k].state]);
    cJSON_AddStringToObject(one, "what", p->findings[k].what);
    if (p->findings[k].mend[0]) cJSON_AddStringToObject(one, "mend", p->findings[k].mend);
    cJSON_AddItemToArray(checks, one);
  }
  return json;
}
