/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked, sorted by kinds of rounds, and before anything is composed: the
 * tilt under which the mean loss is about epsilon, and Chernoff's bound there.
 */
#pragma once

#include "dp/loss.h"
#include "dp/pld.h"

/* Where delta is asked for: mass beyond the nodes, relative to its bound. */
#define CNS_JOB_OUTSIDE_LOG_DELTA 22.0
/* Masses below e^-700 lose digits, so that smaller deltas are bounded from above only. */
#define CNS_JOB_REACH_LOG_MAX 700.0

/* A kind of round, how often, and its nodes for moments. */
struct cns_kind {
  struct cns_loss loss;
  uint64_t rounds;
  struct cns_loss_nodes nodes;
};

struct cns_job {
  const struct cns_pld_request *request;
  const struct cns_pld_question *question;
  struct cns_kind *kinds;
  size_t count;
  double rounds;      /* of all kinds */
  double reach;       /* of the nodes, in standard deviations */
  bool both;          /* directions differ */
  double outside_log; /* log of the tilted mass that may lie outside the window */
};

/* Tilt and what it says about one direction. */
struct cns_aim {
  bool backward;
  double tilt;
  double mean, deviation; /* of the tilted loss: the mean is near epsilon */
  double bound;           /* Chernoff: epsilon, or log delta, is at most this */
  bool hit;               /* the mean is near enough to compose with this tilt */
};
#define CNS_JOB_AIMS 2 /* the second one only if directions differ */

/* CNS_ERR_MEMORY; deinit in any case. */
CNS_MUST_CHECK int cns_job_init(struct cns_job *ret_job, const struct cns_pld_request *request,
                                const struct cns_pld_question *question);
void cns_job_deinit(struct cns_job *job);
/*
 * aims[0] is forward. CNS_ERR_MEMORY. 1, for delta only: no tilt suits epsilon
 * well, since the likeliest way to it jumps from all rounds to a single one; the
 * bounds are the tightest there are.
 */
CNS_MUST_CHECK int cns_job_aim(struct cns_job *job, struct cns_aim aims[static CNS_JOB_AIMS]);
