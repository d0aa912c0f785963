/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

#define NAME_MAX_COMPARED 40

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Levenshtein's distance, row by row. */
static size_t edits(const char *a, const char *b) {
  size_t row[NAME_MAX_COMPARED + 1], a_len = strlen(a), b_len = strlen(b);
  for (size_t j = 0; j <= b_len; j++)
    row[j] = j;
  for (size_t i = 1; i <= a_len; i++) {
    size_t corner = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_len; j++) {
      size_t next = least(least(row[j], row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
      corner = row[j];
      row[j] = next;
    }
  }
  return row[b_len];
}

const char *cns_bench_nearest(const char *name, const char *const *names) {
  const char *best = NULL;
  size_t limit = strlen(name) / 2 < 4 ? strlen(name) / 2 + 1 : 4;
  if (strlen(name) > NAME_MAX_COMPARED) return NULL;
  for (size_t i = 0; names[i]; i++) {
    size_t distance = strlen(names[i]) <= NAME_MAX_COMPARED ? edits(name, names[i]) : limit;
    if (distance >= limit) continue;
    limit = distance;
    best = names[i];
  }
  return best;
}

/* "a, b, c" */
static void list(const char *const *names, char *out, size_t size) {
  size_t used = 0;
  out[0] = 0;
  for (size_t i = 0; names[i] && used < size; i++) {
    int wrote = snprintf(out + used, size - used, "%s%s", i ? ", " : "", names[i]);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
}

static int unknown(const char *path, const char *what, const char *name, const char *const *names,
                   struct cns_problem *problem) {
  char known[320], clean[NAME_MAX_COMPARED + 1];
  const char *nearest = cns_bench_nearest(name, names);
  snprintf(clean, sizeof clean, "%s", name);
  cns_text_clean(clean);
  list(names, known, sizeof known);
  if (nearest)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: there is no %s \"%s\"; did you mean \"%s\"?",
                           *path ? path : "the configuration", what, clean, nearest);
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: there is no %s \"%s\"; there are: %s",
                         *path ? path : "the configuration", what, clean, known);
}

int cns_bench_only(const cJSON *object, const char *path, const char *const *names,
                   struct cns_problem *problem) {
  if (!cJSON_IsObject(object))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s must be an object, { ... }",
                           *path ? path : "the configuration");
  for (const cJSON *item = object->child; item; item = item->next) {
    size_t i = 0;
    while (names[i] && strcmp(names[i], item->string) != 0)
      i++;
    if (!names[i]) return unknown(path, "key", item->string, names, problem);
  }
  return 0;
}

int cns_bench_choose(const char *path, const char *name, const char *text, const char *const *names,
                     size_t *ret_index, struct cns_problem *problem) {
  for (size_t i = 0; names[i]; i++)
    if (strcmp(names[i], text) == 0) {
      *ret_index = i;
      return 0;
    }
  return unknown(path, name, text, names, problem);
}

static const char *dot(const char *path) {
  return *path ? "." : "";
}

int cns_bench_number(const cJSON *object, const char *path, const char *name, double min, double max,
                     double *value, struct cns_problem *problem) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!item) return 0;
  if (!cJSON_IsNumber(item))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s%s%s must be a number", path, dot(path), name);
  if (!(item->valuedouble >= min) || !(item->valuedouble <= max))
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s%s%s is %g, but must be from %g to %g", path, dot(path),
                           name, item->valuedouble, min, max);
  *value = item->valuedouble;
  return 0;
}

int cns_bench_whole(const cJSON *object, const char *path, const char *name, uint64_t min, uint64_t max,
                    uint64_t *value, struct cns_problem *problem) {
  double number = (double)*value;
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!item) return 0;
  int r = cns_bench_number(object, path, name, (double)min, (double)max, &number, problem);
  if (r == 0 && number != floor(number))
    r = cns_problem_set(problem, CNS_ERR_RANGE, "%s%s%s is %g, but must be a whole number", path, dot(path),
                        name, number);
  if (r == 0) *value = (uint64_t)number;
  return r;
}

int cns_bench_text(const cJSON *object, const char *path, const char *name, const char **value,
                   struct cns_problem *problem) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!item) return 0;
  if (!cJSON_IsString(item) || !*item->valuestring)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s%s%s must be a text that isn't empty", path, dot(path),
                           name);
  *value = item->valuestring;
  return 0;
}

int cns_bench_flag(const cJSON *object, const char *path, const char *name, bool *value,
                   struct cns_problem *problem) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!item) return 0;
  if (!cJSON_IsBool(item))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s%s%s must be true or false", path, dot(path), name);
  *value = cJSON_IsTrue(item);
  return 0;
}
