/* SPDX-License-Identifier: Apache-2.0 */
/* Errors and sentences of crypto/base.h, apart from what needs a library. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crypto/base.h"

static const char *const error_names[] = {
    [0] = "CNS_OK",
    [-CNS_ERR_ARGUMENT] = "CNS_ERR_ARGUMENT",
    [-CNS_ERR_MEMORY] = "CNS_ERR_MEMORY",
    [-CNS_ERR_RANDOM] = "CNS_ERR_RANDOM",
    [-CNS_ERR_LIBRARY] = "CNS_ERR_LIBRARY",
    [-CNS_ERR_IO] = "CNS_ERR_IO",
    [-CNS_ERR_DISK_FULL] = "CNS_ERR_DISK_FULL",
    [-CNS_ERR_FORMAT] = "CNS_ERR_FORMAT",
    [-CNS_ERR_SIGNATURE] = "CNS_ERR_SIGNATURE",
    [-CNS_ERR_PROOF] = "CNS_ERR_PROOF",
    [-CNS_ERR_RANGE] = "CNS_ERR_RANGE",
    [-CNS_ERR_LIMIT] = "CNS_ERR_LIMIT",
    [-CNS_ERR_STATE] = "CNS_ERR_STATE",
    [-CNS_ERR_REFUSED] = "CNS_ERR_REFUSED",
    [-CNS_ERR_NOT_FOUND] = "CNS_ERR_NOT_FOUND",
    [-CNS_ERR_EXISTS] = "CNS_ERR_EXISTS",
    [-CNS_ERR_VERSION] = "CNS_ERR_VERSION",
    [-CNS_ERR_UNSUPPORTED] = "CNS_ERR_UNSUPPORTED",
    [-CNS_ERR_PERMISSION] = "CNS_ERR_PERMISSION",
    [-CNS_ERR_CLOSED] = "CNS_ERR_CLOSED",
    [-CNS_ERR_TIMEOUT] = "CNS_ERR_TIMEOUT",
    [-CNS_ERR_CANCELLED] = "CNS_ERR_CANCELLED",
    [-CNS_ERR_BUDGET] = "CNS_ERR_BUDGET",
    [-CNS_ERR_STOPPED] = "CNS_ERR_STOPPED",
};

const char *cns_error_name(int error) {
  const int count = (int)(sizeof error_names / sizeof error_names[0]);
  if (error > 0 || error <= -count) return "unknown result";
  return error_names[-error];
}

static void format_text(char *out, size_t size, const char *fmt, va_list args) CNS_PRINTF(3, 0);

static void format_text(char *out, size_t size, const char *fmt, va_list args) {
  if (vsnprintf(out, size, fmt, args) < 0) out[0] = '\0';
}

int cns_problem_set(struct cns_problem *problem, int error, const char *fmt, ...) {
  if (problem) {
    va_list args;
    va_start(args, fmt);
    format_text(problem->text, sizeof problem->text, fmt, args);
    va_end(args);
  }
  return error;
}

int cns_problem_prefix(struct cns_problem *problem, int error, const char *fmt, ...) {
  if (!problem) return error;

  char text[sizeof problem->text];
  va_list args;
  va_start(args, fmt);
  format_text(text, sizeof text, fmt, args);
  va_end(args);

  const char *const parts[] = {": ", problem->text};
  size_t at = strlen(text);
  for (size_t k = 0; k < 2; k++) {
    const size_t room = sizeof text - 1 - at;
    const size_t len = strnlen(parts[k], room);
    memcpy(text + at, parts[k], len);
    at += len;
  }
  text[at] = '\0';
  memcpy(problem->text, text, at + 1);
  return error;
}
