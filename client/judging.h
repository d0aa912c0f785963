/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of phase forfeit at the hospital, on a worker thread: each case in it
 * has masks of the whole vector to sketch, and the coordinator says how many. The
 * machine belongs to the worker meanwhile, and to nobody else; it can be told to
 * stop between two masks.
 */
#pragma once

#include <uv.h>

#include "protocol/hospital.h"

/* The sketcher of one machine, which goes with it. */
struct cns_judge;
CNS_MUST_CHECK int cns_judge_new(struct cns_judge **ret_judge);
struct cns_judge *cns_judge_free(struct cns_judge *judge);
struct cns_sketcher cns_judge_sketcher(struct cns_judge *judge);

struct cns_judging;

/* done comes exactly once, on the loop's thread, with what cns_hospital_handle
 * returned and gave; CNS_ERR_CANCELLED after cns_judging_abandon. The machine is the
 * caller's again, unless abandoned. */
typedef void cns_judging_done(void *context, struct cns_judging *judging, int result, const uint8_t *answer,
                              size_t len, struct cns_problem *problem);
/* request is copied. */
CNS_MUST_CHECK int cns_judging_start(uv_loop_t *uv, struct cns_hospital *machine, struct cns_judge *judge,
                                     const uint8_t *request, size_t len, cns_judging_done *done,
                                     void *context, struct cns_judging **ret_judging);
/* Stops soon, and frees machine and judge then. */
void cns_judging_abandon(struct cns_judging *judging);
