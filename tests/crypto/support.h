/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the tests of crypto/: vectors read from vectors/NAME.json, and
 * random sources that fail or repeat.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/base.h"
#include "crypto/rng.h"

static inline cJSON *vectors_load(const char *name) {
  const char *root = getenv("CNS_SOURCE_ROOT");
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/crypto/vectors/%s.json", root ? root : ".", name);
  FILE *file = fopen(path, "rb");
  if (!file) {
    print_message("# no vectors at %s\n", path);
    fail();
    return NULL;
  }
  char *text = calloc(1, 1u << 20);
  assert_non_null(text);
  const size_t len = fread(text, 1, (1u << 20) - 1, file);
  fclose(file);
  cJSON *json = cJSON_ParseWithLength(text, len);
  free(text);
  assert_non_null(json);
  return json;
}

static inline const cJSON *vectors_get(const cJSON *object, const char *name) {
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!value) print_message("# no field %s\n", name);
  assert_non_null(value);
  return value;
}

static inline const char *vectors_string(const cJSON *object, const char *name) {
  const char *text = cJSON_GetStringValue(vectors_get(object, name));
  assert_non_null(text);
  return text;
}

static inline size_t vectors_number(const cJSON *object, const char *name) {
  return (size_t)cJSON_GetNumberValue(vectors_get(object, name));
}

/* Exactly len bytes. */
static inline void vectors_hex(const cJSON *object, const char *name, uint8_t *out, size_t len) {
  assert_int_equal(cns_hex_decode(vectors_string(object, name), len, out), CNS_OK);
}

static inline void vectors_hex_item(const cJSON *array, size_t position, uint8_t *out, size_t len) {
  const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(array, (int)position));
  assert_non_null(text);
  assert_int_equal(cns_hex_decode(text, len, out), CNS_OK);
}

static inline size_t vectors_count(const cJSON *array) {
  return (size_t)cJSON_GetArraySize(array);
}

/* malloc'd bytes of any length (at least one is allocated). */
static inline uint8_t *vectors_blob(const cJSON *object, const char *name, size_t *ret_len) {
  const char *text = vectors_string(object, name);
  *ret_len = strlen(text) / 2;
  uint8_t *bytes = malloc(*ret_len + 1);
  assert_non_null(bytes);
  assert_int_equal(cns_hex_decode(text, *ret_len, bytes), CNS_OK);
  return bytes;
}

/* Fails at the call number fail_at (from 0) and at every later one. */
struct failing_rng {
  struct cns_rng_seeded seeded;
  unsigned calls;
  unsigned fail_at;
};

static inline int failing_fill(void *context, uint8_t *out, size_t len) {
  struct failing_rng *rng = context;
  if (rng->calls++ >= rng->fail_at) return CNS_ERR_RANDOM;
  return cns_rng_fill(cns_rng_seeded(&rng->seeded), out, len);
}

static inline struct cns_rng failing_rng_init(struct failing_rng *rng, unsigned fail_at) {
  rng->calls = 0;
  rng->fail_at = fail_at;
  cns_rng_seeded_init_label(&rng->seeded, fail_at, "failing");
  return (struct cns_rng){.fill = failing_fill, .context = rng};
}

/* Every byte is the one at context. */
static inline int constant_fill(void *context, uint8_t *out, size_t len) {
  memset(out, *(const uint8_t *)context, len);
  return CNS_OK;
}

static inline struct cns_rng constant_rng(uint8_t *value) {
  return (struct cns_rng){.fill = constant_fill, .context = value};
}

/* Seed of this run's random tests: CNS_TEST_SEED, else a fixed one; printed, so
 * that the log of a failure has it. */
static inline uint64_t test_seed(void) {
  const char *text = getenv("CNS_TEST_SEED");
  const uint64_t seed = text ? strtoull(text, NULL, 10) : 20260101;
  print_message("# CNS_TEST_SEED=%llu\n", (unsigned long long)seed);
  return seed;
}

static inline int setup_library(void **state) {
  (void)state;
  return cns_init();
}
