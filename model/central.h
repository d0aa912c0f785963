/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DP-SGD as one party with all the data would do it (Abadi et al. 2016, arXiv
 * 1607.00133), to compare federations with: plan->rounds steps, each on a Poisson
 * sample of all patients of the tables, with discrete Gaussian noise of
 * noise_factor * plan->noise_multiplier * plan->clip_norm on the sum. Factor 1 is one
 * central DP-SGD; the square root of the number of tables is what comes out if each
 * of them adds the whole noise by itself. An adaptive clip norm follows the same rule as
 * in a federation, with the same shares of the noise (dp/adaptive_clip.h); the share of noised
 * metrics is taken off too, though nobody looks at them.
 */
#pragma once

#include <stdatomic.h>

#include "crypto/rng.h"
#include "model/plan.h"
#include "model/table.h"

/* params: the initial model, and then the trained one. The divisor is the expected
 * batch over all patients. Errors of cns_private_gradient and cns_discrete_gaussian_new. */
CNS_MUST_CHECK int cns_central_train(const struct cns_plan *plan, const struct cns_table *const *tables,
                                     size_t count, double noise_factor, struct cns_rng rng,
                                     const atomic_bool *cancel, float *params, struct cns_problem *problem);
