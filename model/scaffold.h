/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378, Algorithm 1, option II): each
 * hospital keeps a control variate c_i, the coordinator their mean c, and every local step
 * is made along g - c_i + c, so that a hospital's steps go where everybody's would.
 *
 *   y = x - K steps of rate eta along g(y) - c_i + c
 *   dy = y - x,  dc = (x - y)/(K eta) - c       c_i moves by dc, if the update is in the sum
 *   x += server's rate * mean(dy),  c += |S|/N mean(dc)
 *
 * All start at zero. What a hospital sends is one vector of twice the model's length,
 * (dy, s dc) with the public s = eta * steps, clipped as a whole: its L2 norm bounds what
 * one hospital can do to the sum, as for any update. A hospital whose vector was clipped
 * moves its c_i by what it sent, so that c stays the mean of the c_i. Shapes: x, c, c_i, dy,
 * dc have cns_plan_dim floats. docs/optimisers.md.
 */
#pragma once

#include "model/network.h"

/* s, what dc is multiplied with. */
double cns_scaffold_scale(const struct cns_plan *plan);

/* ret_joint: (dy, s dc), unclipped, 2*dim floats. received: x and behind it c; own: c_i. Errors as
 * cns_network_train. */
CNS_MUST_CHECK int cns_scaffold_train(const struct cns_plan *plan, const float *received, const float *own,
                                      const struct cns_table *table, const struct cns_network_seed *seed,
                                      const atomic_bool *cancel, float *ret_joint,
                                      struct cns_network_stats *ret_stats, struct cns_problem *problem);
/* The hospital's c_i after an update (dy, s dc), clipped, that is in the sum. CNS_ERR_RANGE if it
 * isn't finite. ret_own may be own. */
CNS_MUST_CHECK int cns_scaffold_move_own(const struct cns_plan *plan, const float *own, const float *joint,
                                         float *ret_own, struct cns_problem *problem);
/* The coordinator's c, or a part of it, `count` floats, after a sum of so many hospitals, whose mean of
 * the s dc is given. ret_control may be control. CNS_ERR_RANGE likewise. */
CNS_MUST_CHECK int cns_scaffold_move_server(const struct cns_plan *plan, size_t included, const float *mean,
                                            size_t count, const float *control, float *ret_control,
                                            struct cns_problem *problem);
