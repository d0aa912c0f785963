/* SPDX-License-Identifier: Apache-2.0 */
/* Who is out until an officer says otherwise: releases in, the list out. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/server_internal.h"
#include "protocol/release.h"

#define RELEASE_SUFFIX ".release"

bool cns_quarantine_holds(const struct cns_server *s, uint16_t index) {
  return index <= CNS_HOSPITALS_MAX && s->watch->quarantined[index] != 0;
}

static char *list_json(const struct cns_server *s) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "consortium", s->kit.roster.consortium);
  cJSON_AddStringToObject(json, "study", s->plan.name);
  cJSON *list = cJSON_AddArrayToObject(json, "quarantine");
  for (size_t k = 0; k < s->session_count; k++) {
    const struct cns_roster_hospital *hospital = s->sessions[k].hospital;
    if (!cns_quarantine_holds(s, hospital->index)) continue;
    enum cns_detect_statistic statistic = s->watch->statistic[hospital->index];
    cJSON *one = cJSON_CreateObject();
    cJSON_AddNumberToObject(one, "hospital", hospital->index);
    cJSON_AddStringToObject(one, "name", hospital->name);
    cJSON_AddNumberToObject(one, "round", (double)s->watch->quarantined[hospital->index]);
    cJSON_AddStringToObject(one, "statistic", cns_detect_statistic_name(statistic));
    cJSON_AddItemToArray(list, one);
  }
  char *text = cJSON_Print(json);
  cJSON_Delete(json);
  return text;
}

void cns_quarantine_publish(struct cns_server *s) {
  struct cns_problem problem = {0};
  char *path = cns_kit_path(s->kit.config.state_path, "quarantine.json"), *text = list_json(s);
  int r = path && text ? cns_file_write(path, text, strlen(text), 0600, &problem) : CNS_ERR_MEMORY;
  if (r < 0)
    cns_report(s, "error", "the list of hospitals in quarantine can't be written: %s",
               problem.text[0] ? problem.text : cns_error_name(r));
  cJSON_free(text);
  free(path);
}

static int check(const struct cns_server *s, const struct cns_release *release, const char *where,
                 struct cns_problem *problem) {
  const struct cns_roster_hospital *hospital = cns_roster_find(&s->kit.roster, release->index);
  if (strcmp(release->consortium, s->kit.roster.consortium) != 0 || strcmp(release->study, s->plan.name) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s: is for study \"%s\" of \"%s\"", where,
                           release->study, release->consortium);
  if (!hospital || strcmp(hospital->name, release->name) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "%s: the roster has no hospital %u named %s", where,
                           release->index, release->name);
  return 0;
}

/* One for a quarantine that is over, or was another one, has no effect. */
static int take(struct cns_server *s, const char *path, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  struct cns_release release;
  const char *officer = NULL;
  int r = cns_file_read(path, CNS_KIT_CONFIG_BYTES_MAX, &data, &len, problem);
  if (r == 0) r = cns_release_open(data, len, path, &s->kit.roster, &release, &officer, problem);
  free(data);
  if (r == 0) r = check(s, &release, path, problem);
  if (r < 0) return r;
  uint64_t since = s->watch->quarantined[release.index];
  if (since == 0) return 0; /* it was taken before */
  if (since != release.round)
    return release.round < since
               ? 0
               : cns_problem_set(
                     problem, CNS_ERR_REFUSED,
                     "%s: is for a quarantine since round %llu; hospital %s is in one since round %llu", path,
                     (unsigned long long)release.round, release.name, (unsigned long long)since);
  cns_watch_release(s->watch, release.index);
  cns_report(s, "released",
             "hospital %s is let in again by %s, a privacy officer; it was in quarantine since round %llu. "
             "Reason given: %s",
             release.name, officer, (unsigned long long)release.round, release.reason);
  return 1;
}

static bool is_release(const char *name) {
  size_t len = strlen(name), suffix = strlen(RELEASE_SUFFIX);
  return name[0] != '.' && len > suffix && strcmp(name + len - suffix, RELEASE_SUFFIX) == 0;
}

/* A release takes effect each time it is read, so nothing needs to be written
 * down; the round that begins next has the list in the journal. */
static bool take_all(struct cns_server *s, const char *folder) {
  bool any = false;
  struct dirent *entry;
  DIR *entries = opendir(folder);
  while (entries && (entry = readdir(entries))) {
    struct cns_problem problem = {0};
    if (!is_release(entry->d_name)) continue;
    char *path = cns_kit_path(folder, entry->d_name);
    int r = path ? take(s, path, &problem) : CNS_ERR_MEMORY;
    any |= r > 0;
    if (r < 0) cns_report(s, "refused", "a release from quarantine is not taken: %s", problem.text);
    free(path);
  }
  if (entries) closedir(entries);
  return any;
}

static void take_later(struct timespec *latest, const struct stat *info) {
  const struct timespec *one = &info->st_mtim;
  if (one->tv_sec > latest->tv_sec || (one->tv_sec == latest->tv_sec && one->tv_nsec > latest->tv_nsec))
    *latest = *one;
}

/* Has a file come, or been finished, since the folder was last read? */
static bool is_new(struct cns_server *s, const char *folder) {
  struct timespec latest = {0};
  struct stat info;
  struct dirent *entry;
  DIR *entries = opendir(folder);
  if (entries && fstat(dirfd(entries), &info) == 0) take_later(&latest, &info);
  while (entries && (entry = readdir(entries)))
    if (is_release(entry->d_name) && fstatat(dirfd(entries), entry->d_name, &info, 0) == 0)
      take_later(&latest, &info);
  if (entries) closedir(entries);
  bool same = latest.tv_sec == s->releases_read.tv_sec && latest.tv_nsec == s->releases_read.tv_nsec;
  s->releases_read = latest;
  return !same;
}

void cns_quarantine_take_releases(struct cns_server *s) {
  bool held = false;
  for (size_t k = 0; k < s->session_count; k++)
    held |= cns_quarantine_holds(s, s->sessions[k].hospital->index);
  if (!held) return;
  char *folder = cns_kit_path(s->kit.config.state_path, "releases");
  if (folder && is_new(s, folder) && take_all(s, folder)) cns_quarantine_publish(s);
  free(folder);
}
