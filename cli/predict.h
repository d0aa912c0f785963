/* SPDX-License-Identifier: Apache-2.0 */
/* The work behind `consilium model predict`. */
#pragma once

#include "crypto/base.h"

struct cns_predict_options {
  const char *model, *study, *data;
  const char *out; /* NULL: stdout */
  bool evaluate, json;
};

/* Prints; the exit code. */
int cns_predict_run(const struct cns_predict_options *options);
