/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of the accountant: reference values from vectors/NAME.json. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dp/dp.h"

#define VECTORS_BYTES_MAX ((size_t)1 << 21)

/* Optimised out of the sanitizers' builds, which are ten times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_BUILD 1
#else
#define SLOW_BUILD 0
#endif

static inline cJSON *vectors_load(const char *name) {
  const char *root = getenv("CNS_SOURCE_ROOT");
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/dp/vectors/%s.json", root ? root : ".", name);
  FILE *file = fopen(path, "rb");
  if (!file) print_message("# no vectors at %s\n", path);
  assert_non_null(file);
  char *text = calloc(1, VECTORS_BYTES_MAX);
  assert_non_null(text);
  size_t len = fread(text, 1, VECTORS_BYTES_MAX - 1, file);
  fclose(file);
  cJSON *json = cJSON_ParseWithLength(text, len);
  free(text);
  assert_non_null(json);
  return json;
}

static inline const cJSON *field(const cJSON *object, const char *name) {
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!value) print_message("# no field %s\n", name);
  assert_non_null(value);
  return value;
}

static inline double number(const cJSON *object, const char *name) {
  assert_true(cJSON_IsNumber(field(object, name)));
  return field(object, name)->valuedouble;
}

static inline bool has_text(const cJSON *object, const char *name, const char *text) {
  const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
  return value && strcmp(value, text) == 0;
}

static inline struct cns_dp_segment segment_of(const cJSON *item) {
  return (struct cns_dp_segment){number(item, "noise_multiplier"), number(item, "sampling_rate"),
                                 (uint64_t)number(item, "rounds")};
}

/* Says which case it was. */
static inline void expect_case(bool good, const cJSON *item, const char *what, double found) {
  if (good) return;
  char *text = cJSON_PrintUnformatted(item);
  print_message("# %s: %.15g in %s\n", what, found, text ? text : "?");
  free(text);
  fail();
}
