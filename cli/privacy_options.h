/* SPDX-License-Identifier: Apache-2.0 */
/* The options by which a new policy gets noise and a privacy budget. */
#pragma once

#include "cli/cli.h"
#include "cli/kit.h"

struct cns_privacy_call {
  double epsilon, delta;
  const char *unit, *noise;
  int64_t minimum_included;
};

#define CNS_PRIVACY_OPTIONS(call)                                                                            \
  {"epsilon",                                                                                                \
   "E",                                                                                                      \
   "of the policy: a privacy budget, and noise as the study says",                                           \
   CNS_OPTION_NUMBER,                                                                                        \
   &(call).epsilon,                                                                                          \
   1e-6,                                                                                                     \
   1000},                                                                                                    \
      {"delta", "D", "with --epsilon: default 1e-5", CNS_OPTION_NUMBER, &(call).delta, 1e-30, 0.5},          \
      {"unit",                                                                                               \
       "WHOM",                                                                                               \
       "with --epsilon: protects each patient (default) or hospital",                                        \
       CNS_OPTION_TEXT,                                                                                      \
       &(call).unit,                                                                                         \
       0,                                                                                                    \
       0},                                                                                                   \
      {"noise", "WHERE", "with --epsilon: distributed (default) or central", CNS_OPTION_TEXT, &(call).noise, \
       0,       0},                                                                                          \
  {                                                                                                          \
    "smallest-sum", "N", "with --epsilon: hospitals in the smallest sum that is opened", CNS_OPTION_INT,     \
        &(call).minimum_included, 3, CNS_HOSPITALS_MAX                                                       \
  }

/* 0, or the exit code of a wrong call. */
int cns_cli_parse_privacy(const char *verb, const struct cns_privacy_call *call,
                          struct cns_privacy_choice *ret_choice);
