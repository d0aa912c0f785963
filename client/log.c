/* SPDX-License-Identifier: Apache-2.0 */
#include "client/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 2048

static void utc(char out[static 24]) {
  time_t now = time(NULL);
  struct tm tm;
  if (!gmtime_r(&now, &tm) || strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) out[0] = '\0';
}

static void write_json(const struct cns_client_log *log, const char *event, const char *when,
                       const char *line, cJSON *fields) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "time", when);
  cJSON_AddStringToObject(json, "event", event);
  cJSON_AddStringToObject(json, "text", line);
  while (json && fields && fields->child)
    cJSON_AddItemToArray(json, cJSON_DetachItemViaPointer(fields, fields->child));
  cJSON_Delete(fields);
  char *text = cJSON_PrintUnformatted(json);
  if (text) fprintf(log->out, "%s\n", text);
  cJSON_free(text);
  cJSON_Delete(json);
}

static void write_line(const struct cns_client_log *log, const char *event, cJSON *fields, char *line) {
  char when[24];
  utc(when);
  cns_text_clean(line);
  if (log->json) {
    write_json(log, event, when, line, fields);
  } else {
    fprintf(log->out, "%s %s\n", when, line);
    cJSON_Delete(fields);
  }
  fflush(log->out);
}

void cns_client_log(const struct cns_client_log *log, const char *event, const char *fmt, ...) {
  char line[LINE_MAX_BYTES];
  va_list args;
  va_start(args, fmt);
  vsnprintf(line, sizeof line, fmt, args);
  va_end(args);
  write_line(log, event, NULL, line);
}

void cns_client_log_fields(const struct cns_client_log *log, const char *event, cJSON *fields,
                           const char *fmt, ...) {
  char line[LINE_MAX_BYTES];
  va_list args;
  va_start(args, fmt);
  vsnprintf(line, sizeof line, fmt, args);
  va_end(args);
  write_line(log, event, fields, line);
}

void cns_client_log_lines(const struct cns_client_log *log, const char *event, const char *text) {
  while (*text) {
    size_t len = strcspn(text, "\n");
    if (len > 0) cns_client_log(log, event, "%.*s", (int)len, text);
    text += len + (text[len] == '\n');
  }
}

bool cns_client_log_allowed(const struct cns_client_log *log, struct cns_client_lines *lines, unsigned max,
                            uint64_t window_ms, uint64_t now_ms) {
  if (now_ms - lines->since_ms > window_ms) *lines = (struct cns_client_lines){.since_ms = now_ms};
  if (lines->count > max || ++lines->count <= max) return lines->count <= max;
  cns_client_log(log, "error", "more of this kind isn't written down for %llu s",
                 (unsigned long long)(window_ms / 1000));
  return false;
}
