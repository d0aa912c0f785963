/* SPDX-License-Identifier: Apache-2.0 */
/* A small study with three classes, and text replacement to damage it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/plan.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

static const char toy_study[] =
    "{\"name\": \"toy\", \"version\": 3, \"task\": \"classification\","
    " \"label\": {\"column\": \"grade\", \"classes\": [\"low\", \"mid\", \"high\"]},"
    " \"patient_id\": \"pid\","
    " \"features\": ["
    "  {\"name\": \"age\", \"min\": 0, \"max\": 120, \"missing\": \"drop\"},"
    "  {\"name\": \"marker\", \"min\": -1, \"max\": 1, \"missing\": {\"impute\": 0.5}},"
    "  {\"name\": \"blood pressure\", \"min\": 50, \"max\": 250, \"missing\": {\"impute\": 120}}],"
    " \"model\": {\"kind\": \"mlp\", \"hidden\": [4, 5], \"activation\": \"tanh\"},"
    " \"training\": {\"rounds\": 7, \"local_epochs\": 2, \"learning_rate\": 0.1, \"momentum\": 0.9,"
    "  \"batch\": 8, \"seed\": 99, \"clip_norm\": 1.5},"
    " \"initial_model\": {\"seed\": 5},"
    " \"weighting\": \"patients\", \"validation_share\": 0.25}";

/* malloc'd text with the only occurrence of `from` replaced. */
static inline char *replaced(const char *text, const char *from, const char *to) {
  const char *at = strstr(text, from);
  assert_non_null(at);
  assert_null(strstr(at + 1, from));
  size_t room = strlen(text) + strlen(to) + 1;
  char *out = malloc(room);
  assert_non_null(out);
  snprintf(out, room, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  return out;
}

static inline struct cns_plan parsed(const char *text) {
  struct cns_plan plan;
  struct cns_problem problem = {{0}};
  int r = cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem);
  if (r != 0) print_error("%s\n", problem.text);
  assert_int_equal(r, 0);
  return plan;
}

/* The toy with one change. */
static inline struct cns_plan changed_plan(const char *from, const char *to) {
  char *text = replaced(toy_study, from, to);
  struct cns_plan plan = parsed(text);
  free(text);
  return plan;
}
