/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/pause.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/json.h"

#define FILE_BYTES_MAX 4096
#define SINCE_MAX INT64_C(253402300799) /* the year 9999 */

static const char *const state_names[] = {"none", "paused", "stopped"};

bool cns_pause_is_reason(const char *text) {
  char clean[CNS_PAUSE_REASON_MAX + 1];
  size_t len = strlen(text);
  if (len > CNS_PAUSE_REASON_MAX) return false;
  memcpy(clean, text, len + 1);
  cns_text_clean(clean);
  return strcmp(clean, text) == 0 && (len == 0 || strspn(text, " ") < len);
}

static int path_of(const char *folder, const char *file, char **ret_path, struct cns_problem *problem) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, file) < 0)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  *ret_path = path;
  return 0;
}

static int parse(const cJSON *json, struct cns_pause *ret_pause, struct cns_problem *problem) {
  static const char *const fields[] = {"state", "since", "reason", NULL};
  const char *state = NULL, *reason = NULL;
  struct cns_pause pause = {0};
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = cns_json_get_string(json, "", "state", 16, &state, problem);
  if (!r) r = cns_json_get_time(json, "", "since", &pause.since, problem);
  if (!r) r = cns_json_get_string(json, "", "reason", CNS_PAUSE_REASON_MAX, &reason, problem);
  if (r) return r;
  for (int k = CNS_PAUSE_PAUSED; k <= CNS_PAUSE_STOPPED; k++)
    if (strcmp(state, state_names[k]) == 0) pause.state = (enum cns_pause_state)k;
  if (pause.state == CNS_PAUSE_NONE || !cns_pause_is_reason(reason))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "state must be \"paused\" or \"stopped\", and reason a printable line");
  memcpy(pause.reason, reason, strlen(reason) + 1);
  *ret_pause = pause;
  return 0;
}

static int load(const char *path, struct cns_pause *ret_pause, struct cns_problem *problem) {
  struct cns_problem found = {0};
  uint8_t *data = NULL;
  size_t len = 0;
  cJSON *json = NULL;
  int r = cns_file_read(path, FILE_BYTES_MAX, &data, &len, &found);
  if (r == CNS_ERR_NOT_FOUND) {
    *ret_pause = (struct cns_pause){0};
    return 0;
  }
  if (r) {
    if (problem) *problem = found;
    return r;
  }
  r = cns_json_parse((const char *)data, len, path, &json, problem);
  free(data);
  if (r) return r;
  r = parse(json, ret_pause, problem);
  cJSON_Delete(json);
  return r ? cns_problem_prefix(problem, r, "%s", path) : 0;
}

int cns_pause_load(const char *state_folder, const char *file, struct cns_pause *ret_pause,
                   struct cns_problem *problem) {
  char *path = NULL;
  int r = path_of(state_folder, file, &path, problem);
  if (!r) r = load(path, ret_pause, problem);
  free(path);
  return r;
}

static int save(const char *path, const struct cns_pause *pause, struct cns_problem *problem) {
  char *text = NULL;
  size_t len = 0;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "state", state_names[pause->state]);
  cJSON_AddStringToObject(json, "reason", pause->reason);
  int r = cns_json_add_time(json, "since", pause->since);
  if (!r) r = cns_json_canonical(json, &text, &len);
  cJSON_Delete(json);
  if (r) return cns_problem_set(problem, r, "%s: can't be put into writing (%s)", path, cns_error_name(r));
  /* For the daemon too, where somebody else may write into its folder. */
  r = cns_file_write(path, text, len, 0644, problem);
  free(text);
  return r;
}

static int delete_file(const char *path, struct cns_problem *problem) {
  int number = unlink(path) != 0 && errno != ENOENT ? errno : cns_file_sync_folder(path);
  if (!number) return 0;
  return cns_problem_set(problem, cns_error_from_errno(number), "%s: can't be removed: %s", path,
                         strerror(number));
}

int cns_pause_save(const char *state_folder, const char *file, const struct cns_pause *pause,
                   struct cns_problem *problem) {
  char *path = NULL;
  int r = path_of(state_folder, file, &path, problem);
  if (!r) r = pause->state == CNS_PAUSE_NONE ? delete_file(path, problem) : save(path, pause, problem);
  free(path);
  return r;
}

void cns_pause_describe(const struct cns_pause *pause, char ret_text[static CNS_PAUSE_SENTENCE_MAX]) {
  char since[32] = "an unknown time";
  time_t value = (time_t)pause->since;
  struct tm tm;
  if (gmtime_r(&value, &tm) && strftime(since, sizeof since, "%Y-%m-%d %H:%M UTC", &tm) == 0) since[0] = '\0';
  if (pause->state == CNS_PAUSE_NONE)
    snprintf(ret_text, CNS_PAUSE_SENTENCE_MAX, "not paused");
  else
    snprintf(ret_text, CNS_PAUSE_SENTENCE_MAX, "%s since %s%s%s", state_names[pause->state], since,
             pause->reason[0] ? ": " : "", pause->reason);
}

void cns_pause_write(struct cns_writer *writer, const struct cns_pause *pause) {
  cns_write_u8(writer, (uint8_t)pause->state);
  cns_write_u64(writer, (uint64_t)pause->since);
  cns_write_blob(writer, (const uint8_t *)pause->reason, strlen(pause->reason));
}

int cns_pause_read(const uint8_t *data, size_t len, struct cns_pause *ret_pause) {
  struct cns_reader reader;
  struct cns_pause pause = {0};
  size_t reason_len = 0;
  cns_reader_init(&reader, data, len);
  uint8_t state = cns_read_u8(&reader);
  uint64_t since = cns_read_u64(&reader);
  const uint8_t *reason = cns_read_blob(&reader, CNS_PAUSE_REASON_MAX, &reason_len);
  int r = cns_reader_finish(&reader);
  if (r < 0) return r;
  if (state > CNS_PAUSE_STOPPED || since > (uint64_t)SINCE_MAX) return CNS_ERR_RANGE;
  pause.state = (enum cns_pause_state)state;
  pause.since = (int64_t)since;
  for (size_t k = 0; k < reason_len; k++)
    pause.reason[k] = reason[k] ? (char)reason[k] : '?';
  cns_text_clean(pause.reason);
  *ret_pause = pause;
  return 0;
}
