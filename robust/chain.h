/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-aggregations one after another, in the order given, and then a rule: what
 * a command line asks for. One set of parameters serves all of them; each takes
 * what its list of parameters names (cns_robust_about).
 *
 * f is the same for all. Bucketing makes fewer rows, and one bad row spoils one
 * bucket, so that there are still f bad rows at the most, of fewer (Karimireddy
 * et al. 2022, section 4.1): the next step is checked against the rows that are
 * left. Weights go along: what bucketing adds up is the weight of the bucket.
 */
#pragma once

#include "robust/robust.h"

#define CNS_ROBUST_CHAIN_MAX 8

struct cns_robust_chain {
  enum cns_robust_pre pre[CNS_ROBUST_CHAIN_MAX];
  size_t pre_count;
  bool no_rule; /* the result is the pre-aggregated matrix */
  enum cns_robust_rule rule;
  struct cns_robust_params params; /* weights, if any, of the matrix's n rows */
};

/* Names of parameters that are set but that no step takes, or a step that lacks
 * one: CNS_ERR_ARGUMENT; f too large for the rows that a step gets:
 * CNS_ERR_RANGE. With a sentence that names the step. */
CNS_MUST_CHECK int cns_robust_chain_check(const struct cns_robust_chain *chain, size_t n,
                                          struct cns_problem *problem);
/* Rows after the pre-aggregations. */
size_t cns_robust_chain_rows(const struct cns_robust_chain *chain, size_t n);
/*
 * ret_result: d elements, or cns_robust_chain_rows x d without a rule; it must
 * not overlap the matrix, which is not changed. ret_weights (NULL if not wanted):
 * the weights of the cns_robust_chain_rows rows before the rule, if the chain has
 * weights; else each 1. Errors as those of cns_robust_chain_check and
 * cns_robust_aggregate, with a sentence that names the step.
 */
CNS_MUST_CHECK int cns_robust_chain_run(const struct cns_robust_chain *chain, enum cns_robust_type type,
                                        const void *matrix, size_t n, size_t d, void *ret_result,
                                        double *ret_weights, struct cns_problem *problem);
