/* SPDX-License-Identifier: Apache-2.0 */
/* The options by which a new policy gets an audit, for the verbs that make one. */
#pragma once

#include "cli/cli.h"
#include "cli/kit.h"
#include "protocol/audit.h"

struct cns_audit_call {
  const char *level, *on_flag;
  int64_t sketch;
  double budget;
};

#define CNS_AUDIT_OPTIONS(call)                                                                              \
  {"audit", "LEVEL", "of the policy: none (default) or open", CNS_OPTION_TEXT, &(call).level, 0, 0},         \
      {"sketch",                                                                                             \
       "K",                                                                                                  \
       "with --audit open: numbers of each update, default 256",                                             \
       CNS_OPTION_INT,                                                                                       \
       &(call).sketch,                                                                                       \
       CNS_SKETCH_MIN,                                                                                       \
       CNS_SKETCH_MAX},                                                                                      \
      {"on-flag",                                                                                            \
       "WHAT",                                                                                               \
       "with --audit open: report (default), exclude or quarantine",                                         \
       CNS_OPTION_TEXT,                                                                                      \
       &(call).on_flag,                                                                                      \
       0,                                                                                                    \
       0},                                                                                                   \
  {                                                                                                          \
    "sketch-budget", "SHARE", "numbers a hospital reveals in a study, for each parameter, default 1/16",     \
        CNS_OPTION_NUMBER, &(call).budget, 1e-6, 1e6                                                         \
  }

/* 0, or the exit code of a wrong call. */
int cns_cli_parse_audit(const char *verb, const struct cns_audit_call *call,
                        struct cns_audit_choice *ret_choice);
