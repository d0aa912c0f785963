/* SPDX-License-Identifier: Apache-2.0 */
/* The checked readers of crypto/json.h: one sentence for each way in which a
 * field can be wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/json.h"

#define PATH_CHARS 160

/* "training.rounds"; anything unprintable (names come from strangers' files)
 * as '?'. */
static const char *join(const char *path, const char *name, char out[static PATH_CHARS]) {
  snprintf(out, PATH_CHARS, "%s%s%s", path, *path ? "." : "", name);
  for (char *p = out; *p; p++)
    if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F) *p = '?';
  return out;
}

static const char *type_name(const cJSON *value) {
  if (cJSON_IsObject(value)) return "an object";
  if (cJSON_IsArray(value)) return "an array";
  if (cJSON_IsString(value)) return "a string";
  if (cJSON_IsNumber(value)) return "a number";
  if (cJSON_IsBool(value)) return "true or false";
  return "null";
}

static int wrong_type(const cJSON *value, const char *path, const char *name, const char *expected,
                      struct cns_problem *problem) {
  char full[PATH_CHARS];
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is %s, but must be %s", join(path, name, full),
                         type_name(value), expected);
}

static int get(const cJSON *object, const char *path, const char *name, const cJSON **ret_value,
               struct cns_problem *problem) {
  if (!cJSON_IsObject(object))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is %s, but must be an object",
                           *path ? path : "the document", object ? type_name(object) : "missing");
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
  char full[PATH_CHARS];
  if (!value) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is missing", join(path, name, full));
  *ret_value = value;
  return 0;
}

bool cns_json_has(const cJSON *object, const char *name) {
  return cJSON_IsObject(object) && cJSON_GetObjectItemCaseSensitive(object, name);
}

static bool is_known(const char *name, const char *const *names) {
  for (size_t i = 0; names[i]; i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

int cns_json_only(const cJSON *object, const char *path, const char *const *names,
                  struct cns_problem *problem) {
  if (!cJSON_IsObject(object))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is %s, but must be an object",
                           *path ? path : "the document", object ? type_name(object) : "missing");
  for (const cJSON *item = object->child; item; item = item->next) {
    if (is_known(item->string, names)) continue;
    char full[PATH_CHARS], known[320] = "";
    for (size_t i = 0, used = 0; names[i] && used < sizeof known; i++) {
      int wrote = snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
      used += wrote > 0 ? (size_t)wrote : 0;
    }
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is not a known field; known here: %s",
                           join(path, item->string, full), known);
  }
  return 0;
}

int cns_json_get_object(const cJSON *object, const char *path, const char *name, const cJSON **ret_value,
                        struct cns_problem *problem) {
  const cJSON *value = NULL;
  int r = get(object, path, name, &value, problem);
  if (r) return r;
  if (!cJSON_IsObject(value)) return wrong_type(value, path, name, "an object", problem);
  *ret_value = value;
  return 0;
}

int cns_json_get_array(const cJSON *object, const char *path, const char *name, const cJSON **ret_value,
                       struct cns_problem *problem) {
  const cJSON *value = NULL;
  int r = get(object, path, name, &value, problem);
  if (r) return r;
  if (!cJSON_IsArray(value)) return wrong_type(value, path, name, "an array", problem);
  *ret_value = value;
  return 0;
}

int cns_json_get_string(const cJSON *object, const char *path, const char *name, size_t max_len,
                        const char **ret_value, struct cns_problem *problem) {
  const cJSON *value = NULL;
  char full[PATH_CHARS];
  int r = get(object, path, name, &value, problem);
  if (r) return r;
  if (!cJSON_IsString(value)) return wrong_type(value, path, name, "a string", problem);
  size_t len = strlen(value->valuestring);
  if (len > max_len)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s has %zu bytes, but may have at most %zu",
                           join(path, name, full), len, max_len);
  *ret_value = value->valuestring;
  return 0;
}

int cns_json_get_int(const cJSON *object, const char *path, const char *name, int64_t min, int64_t max,
                     int64_t *ret_value, struct cns_problem *problem) {
  const cJSON *value = NULL;
  char full[PATH_CHARS];
  int r = get(object, path, name, &value, problem);
  if (r) return r;
  if (!cJSON_IsNumber(value)) return wrong_type(value, path, name, "a whole number", problem);
  double number = value->valuedouble;
  if (!isfinite(number) || number != floor(number))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is %g, but must be a whole number",
                           join(path, name, full), number);
  if (fabs(number) > 9007199254740992.0 || (int64_t)number < min || (int64_t)number > max)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s is %.0f, but must be from %lld to %lld",
                           join(path, name, full), number, (long long)min, (long long)max);
  *ret_value = (int64_t)number;
  return 0;
}

int cns_json_get_number(const cJSON *object, const char *path, const char *name, double min, double max,
                        double *ret_value, struct cns_problem *problem) {
  const cJSON *value = NULL;
  char full[PATH_CHARS];
  int r = get(object, path, name, &value, problem);
  if (r) return r;
  if (!cJSON_IsNumber(value)) return wrong_type(value, path, name, "a number", problem);
  double number = value->valuedouble;
  if (!isfinite(number) || number < min || number > max)
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s is %g, but must be from %g to %g",
                           join(path, name, full), number, min, max);
  *ret_value = number;
  return 0;
}

int cns_json_get_bool(const cJSON *object, const char *path, const char *name, bool *ret_value,
                      struct cns_problem *problem) {
  const cJSON *value = NULL;
  int r = get(object, path, name, &value, problem);
  if (r) return r;
  if (!cJSON_IsBool(value)) return wrong_type(value, path, name, "true or false", problem);
  *ret_value = cJSON_IsTrue(value);
  return 0;
}

int cns_json_get_hex(const cJSON *object, const char *path, const char *name, size_t bytes,
                     uint8_t *ret_bytes, struct cns_problem *problem) {
  const char *text = NULL;
  char full[PATH_CHARS];
  int r = cns_json_get_string(object, path, name, 2 * bytes, &text, problem);
  if (r) return r;
  /* One spelling only, so that equal values are equal text. */
  if (strlen(text) != 2 * bytes || strspn(text, "0123456789abcdef") != 2 * bytes)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s must be exactly %zu hex digits (0-9, a-f)",
                           join(path, name, full), 2 * bytes);
  return cns_hex_decode(text, bytes, ret_bytes);
}

static bool parse_time(const char *text, int64_t *ret_seconds) {
  static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
  if (strlen(text) != sizeof shape - 1) return false;
  for (size_t i = 0; i < sizeof shape - 1; i++)
    if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i]) return false;
  struct tm tm = {0}, back = {0};
  if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
             &tm.tm_sec) != 6)
    return false;
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  struct tm given = tm;
  time_t seconds = timegm(&tm);
  /* timegm carries 31 February over into March: what doesn't come back was no date. */
  if (seconds < 0 || !gmtime_r(&seconds, &back)) return false;
  if (back.tm_year != given.tm_year || back.tm_mon != given.tm_mon || back.tm_mday != given.tm_mday ||
      back.tm_hour != given.tm_hour || back.tm_min != given.tm_min || back.tm_sec != given.tm_sec)
    return false;
  *ret_seconds = (int64_t)seconds;
  return true;
}

int cns_json_get_time(const cJSON *object, const char *path, const char *name, int64_t *ret_seconds,
                      struct cns_problem *problem) {
  const char *text = NULL;
  char full[PATH_CHARS];
  int r = cns_json_get_string(object, path, name, 64, &text, problem);
  if (r) return r;
  if (!parse_time(text, ret_seconds))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s must be a UTC time like 2026-11-22T10:00:00Z, from 1970 on",
                           join(path, name, full));
  return 0;
}

int cns_json_add_time(cJSON *object, const char *name, int64_t seconds) {
  time_t value = (time_t)seconds;
  struct tm tm;
  char text[32];
  if (seconds < 0 || !gmtime_r(&value, &tm) || tm.tm_year > 9999 - 1900) return CNS_ERR_RANGE;
  if (strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) return CNS_ERR_LIBRARY;
  return cJSON_AddStringToObject(object, name, text) ? 0 : CNS_ERR_MEMORY;
}

int cns_json_add_hex(cJSON *object, const char *name, const uint8_t *bytes, size_t len) {
  char *text = malloc(2 * len + 1);
  if (!text) return CNS_ERR_MEMORY;
  cns_hex_encode(bytes, len, text);
  bool added = cJSON_AddStringToObject(object, name, text);
  free(text);
  return added ? 0 : CNS_ERR_MEMORY;
}
