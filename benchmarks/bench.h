/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks share: options, a clock, medians. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/base.h"

struct bench_options {
  bool json;
  size_t size; /* elements, rows */
  size_t runs;
};

static inline double bench_seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline int bench_compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts them. */
static inline double bench_median(double *values, size_t count) {
  qsort(values, count, sizeof values[0], bench_compare);
  return values[count / 2];
}

static inline bool bench_parse_number(const char *text, size_t max, size_t *ret_value) {
  char *end = NULL;
  const unsigned long long value = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value < 1 || value > max) return false;
  *ret_value = (size_t)value;
  return true;
}

/* --json, --runs N and, under its name, the size; what isn't given stays as it is. */
static inline bool bench_parse(int argc, char **argv, const char *size_name, size_t size_max, size_t runs_max,
                               struct bench_options *options) {
  for (int k = 1; k < argc; k++) {
    if (strcmp(argv[k], "--json") == 0)
      options->json = true;
    else if (strcmp(argv[k], size_name) == 0 && k + 1 < argc) {
      if (!bench_parse_number(argv[++k], size_max, &options->size)) return false;
    } else if (strcmp(argv[k], "--runs") == 0 && k + 1 < argc) {
      if (!bench_parse_number(argv[++k], runs_max, &options->runs)) return false;
    } else
      return false;
  }
  return true;
}
