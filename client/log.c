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

/* Bytes of the UTF-8 character (RFC 3629) at p; 0 if there is none. */
static size_t utf8_length(const unsigned char *p) {
  size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
  for (size_t k = 1; k < len; k++)
    if ((p[k] & 0xc0) != 0x80) return 0; /* also the text's end */
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0)) return 0;
  if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90)) return 0;
  return len;
}

/* A line stays one line of readable text, whoever wrote the sentence in it. */
static void clean(char *line) {
  while (*line) {
    size_t len = utf8_length((const unsigned char *)line);
    if (len == 0 || (unsigned char)*line < 0x20 || *line == 0x7f) *line = '?';
    line += len ? len : 1;
  }
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
  clean(line);
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
