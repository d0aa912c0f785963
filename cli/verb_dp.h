/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `consilium dp`, and what they share. */
#pragma once

#include "cli/cli.h"
#include "dp/dp.h"

/* Options that several of the verbs have; as given, or as set before. */
struct cns_dp_call {
  double noise, rate, delta, epsilon;
  int64_t rounds;
  const char *accountant, *relation;
  bool json;
};

/* 0 or the exit code of a wrong call. */
int cns_dp_call_options(const char *verb, const struct cns_dp_call *call, struct cns_dp_options *ret_options);
/* What an error of the accountant means for the program's end: a number outside its limits is a wrong call.
 */
int cns_dp_call_fail(const char *verb, int error, const struct cns_problem *problem);
double cns_dp_call_seconds(void);

#define CNS_DP_OPTION_ACCOUNTANT(call)                                                                       \
  { "accountant", "NAME", "pld (default), rdp or gdp", CNS_OPTION_TEXT, &(call).accountant, 0, 0 }
#define CNS_DP_OPTION_RELATION(call)                                                                         \
  {                                                                                                          \
    "relation", "NAME", "neighbours: add-remove (default) or replace-one", CNS_OPTION_TEXT,                  \
        &(call).relation, 0, 0                                                                               \
  }

int cns_cli_dp_epsilon(int argc, char **argv);
int cns_cli_dp_delta(int argc, char **argv);
int cns_cli_dp_calibrate(int argc, char **argv);
int cns_cli_dp_plan(int argc, char **argv);

/* A plot for `dp plan` (cli/dp_plot.c): epsilon against rounds, one line a noise level. */
struct cns_dp_plot {
  const double *noises, *rounds;
  size_t noise_count, round_count;
  const double *epsilons; /* noise_count rows of round_count */
  double delta, rate;
};
/* Draws with gnuplot into an SVG file. CNS_ERR_NOT_FOUND: no gnuplot; CNS_ERR_IO, CNS_ERR_LIBRARY. */
CNS_MUST_CHECK int cns_dp_plot_write(const struct cns_dp_plot *plot, const char *path,
                                     struct cns_problem *problem);
