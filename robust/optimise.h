/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks that are fitted to a rule: the factor of ALIE or IPM that moves the
 * rule's result farthest from the honest mean, found by a line search. The
 * attackers know everybody's update and the rule (Shejwalkar, Houmansadr 2021,
 * section 4, where the factor is as large as a rule lets through; here it is
 * the one that does most harm).
 *
 *   alie: each attacker sends   mean - factor * deviation   (Baruch et al. 2019, section 3)
 *   ipm:  each attacker sends   -factor * mean              (Xie et al. 2020, section 4)
 *
 * with the honest rows' mean and standard deviation by coordinate, as in
 * robust/attack.h. Harm is ||rule(matrix) - honest mean||, the honest mean
 * weighted if the chain has weights. It need not be continuous in the factor
 * (Krum drops a row all at once), nor have one peak: so a grid, evenly spaced in
 * the logarithm, finds the highest of its points, and a golden-section search
 * goes on between that point's neighbours. What is returned is the best point
 * that was looked at, the smaller factor of equals. Nothing is random.
 */
#pragma once

#include "robust/chain.h"

enum cns_optimise_kind { CNS_OPTIMISE_ALIE = 0, CNS_OPTIMISE_IPM };

#define CNS_OPTIMISE_LIMIT 100.0 /* largest factor, by default */
#define CNS_OPTIMISE_GRID 32     /* points from limit * 2^-16 to limit; and 0 */
#define CNS_OPTIMISE_GOLDEN 16   /* further points; each evaluates the chain once */

/* Zeroed: the defaults. */
struct cns_optimise_options {
  double limit;  /* largest factor, > 0, at most CNS_ATTACK_STRENGTH_MAX; 0: the default */
  size_t grid;   /* 2..1000; 0: the default */
  size_t golden; /* up to 100; 0: the default */
};

struct cns_optimise_result {
  double factor;
  double harm;        /* ||rule(matrix) - honest mean|| */
  size_t evaluations; /* of the chain */
};

/*
 * matrix: n x d elements. The rows of the attackers (attacker_count different
 * indices) are overwritten, what was in them is not looked at; the honest rows
 * are left alone. chain: with a rule (CNS_ERR_ARGUMENT), with weights or
 * without. options NULL: the defaults. ret_result may be NULL.
 *
 * CNS_ERR_ARGUMENT for indices or counts that don't fit or fewer than two honest
 * rows (one for ipm), CNS_ERR_RANGE for honest rows that are not finite, and
 * what the chain returns. A factor at which an attacker's row would not be
 * finite is passed over.
 */
CNS_MUST_CHECK int cns_attack_optimise(enum cns_optimise_kind kind, const struct cns_robust_chain *chain,
                                       enum cns_robust_type type, void *matrix, size_t n, size_t d,
                                       const size_t *attackers, size_t attacker_count,
                                       const struct cns_optimise_options *options,
                                       struct cns_optimise_result *ret_result, struct cns_problem *problem);
