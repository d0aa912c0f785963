/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sampled round by itself, in closed form. With d(e) the delta of the
 * Gaussian without sampling (mu = 1/sigma) at epsilon e,
 *
 *   removal:   q d(log(1 + (e^eps - 1)/q)),
 *   addition:  c d(log(q e^eps / c)),  c = 1 - e^eps (1 - q),  and 0 if c <= 0:
 *
 * (P - e^eps Q)+ is a multiple of (N1 - e^.. N0)+, since what the mixtures have in
 * common cancels. replace-one: P(u > u0) - e^eps Q(u > u0), u0 where the loss is eps.
 */
#pragma once

#include "dp/loss.h"

/* Bounds of log delta at epsilon >= 0, -INFINITY where delta may be 0. */
struct cns_dp_interval cns_single_log_delta(const struct cns_loss *loss, double epsilon);
/* Bounds of the epsilon >= 0 with this log delta (< 0). */
struct cns_dp_interval cns_single_epsilon(const struct cns_loss *loss, double log_delta);
