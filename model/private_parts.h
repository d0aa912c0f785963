/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What model/private.h is made of; for its own files and their tests.
 *
 * u is 2^-53, the rounding unit of double, and gamma_n = n*u/(1-n*u): a sum of
 * products that sends each term through at most n roundings, in whatever order
 * and with or without fused multiply-add, is off by at most gamma_n times the
 * sum of the terms' absolute values (Higham, Accuracy and Stability of Numerical
 * Algorithms, 2nd ed., sections 3.1 and 4.2), if nothing over- or underflows. Activations and
 * deltas are floats and clip factors are above 2^-400, so that here nothing can.
 */
#pragma once

#include "model/private.h"
#include "model/row_product.h"

/* Rows that go through the layers together, unless one patient has more. */
#define CNS_PRIVATE_BLOCK_ROWS 256

/*
 * The network on a block of rows. Of each layer: activations that go in, the
 * inputs of the first, and the loss's derivatives by what comes out before the
 * activation function, called delta. All floats, all functions of the row and
 * of `share` alone.
 */
struct cns_private_layer {
  size_t inputs, outputs;
  size_t offset; /* of the weight in the flat vector; the bias follows it */
  size_t in_stride, out_stride;
  float *in;    /* [capacity, in_stride]; the layer before writes it */
  float *delta; /* [capacity, out_stride] */
};

struct cns_private_pass {
  const struct cns_plan *plan;
  const float *params;
  size_t layers, capacity;
  struct cns_private_layer layer[CNS_PLAN_HIDDEN_MAX + 1];
  float *logits; /* [capacity, out_stride of the last layer] */
  float *panel;
  struct cns_row_arena arena;
};

/* params must outlive the pass. CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_private_pass_init(struct cns_private_pass *pass, const struct cns_plan *plan,
                                         const float *params, size_t rows_max);
void cns_private_pass_deinit(struct cns_private_pass *pass);
/* Row i of the block is row row_of[i] of the table, and its patient has share[i]
 * rows: its delta is the derivative of its loss over share[i]. */
void cns_private_pass_run(struct cns_private_pass *pass, const struct cns_table *table,
                          const uint32_t *row_of, const uint32_t *share, size_t rows);

/*
 * One patient's clip factor. The gradient is G = sum over the rows of outer(delta,
 * (in, 1)), in each layer. `combined` says in which form it enters the sum:
 *
 * false: V = factor * G exactly, row by row, and the rows' norms add up to `terms`:
 *   factor * terms <= CNS_PRIVATE_CANCEL * clip, so that rounding in a product over
 *   many rows stays small against clip. |G| <= norm comes from inner products of
 *   rows alone (ghost clipping: Goodfellow 2015, arXiv 1510.01799, for one row; for
 *   several the Gram matrices, as Li et al. 2022, arXiv 2110.05679, do for
 *   sequences) plus a bound of their rounding error.
 * true: V = factor * G', rounded, where G' is G computed row after row: for patients
 *   whose rows cancel, or who have so many that this is cheaper. norm bounds |G'|.
 *
 * Either way |V| <= clip in exact arithmetic, and everything here is a function of the
 * patient's rows of `in` and `delta`.
 */
struct cns_private_factor {
  double norm;
  double terms;
  double factor; /* <= 1 */
  bool combined;
};
#define CNS_PRIVATE_CANCEL 8

/* Rows first..first+rows-1 of the block, rows >= 1. CNS_ERR_RANGE if not finite. */
CNS_MUST_CHECK int cns_private_factor(const struct cns_private_pass *pass, size_t first, size_t rows,
                                      double clip, struct cns_private_factor *ret_factor);

/* G' piece by piece, in double, row after row: the weights' derivatives from
 * (output, input) on, multiples of the tile's sizes, as many as there are; and a
 * bias's. */
struct cns_private_tile {
  double value[CNS_ROW_OUTER * CNS_ROW_INNER];
  size_t outputs, inputs;
};
void cns_private_tile(const struct cns_private_layer *layer, size_t first, size_t rows, size_t output,
                      size_t input, struct cns_private_tile *ret_tile);
double cns_private_bias(const struct cns_private_layer *layer, size_t first, size_t rows, size_t output);

/* A patient of the block. */
struct cns_private_member {
  size_t first, rows;
  struct cns_private_factor factor;
};

/*
 * The sum over all blocks. A block's part is made strip by strip of each layer: a
 * product over the rows of those patients who aren't combined, by BLAS in double,
 * and the tiles of those who are, one after the other. Roundings that a term of
 * the sum goes through, at most:
 *
 *   1    factor * delta
 *   256  the product over CNS_PRIVATE_BLOCK_ROWS rows, in whatever order BLAS adds
 *   256  combined patients of the block, at most as many as it has rows
 *   256  blocks that are added to `partial`, CNS_PRIVATE_PARTIAL of them
 *   124  times that `partial` is added to `total`: two blocks that follow each other have more
 *        than 256 rows between them, so 4,000,000 rows are at most 31,251 blocks
 *
 * which is less than 1,000, and gamma_1000 < 2^-43. The absolute values of patient p's
 * terms have an L2 norm of at most factor * terms <= 8 * clip, or |V| <= clip if combined.
 * So |total - sum of the V_p| <= 2^-43 * sum of 8 * clip = patients * clip * 2^-40.
 */
#define CNS_PRIVATE_PARTIAL 256
struct cns_private_sum {
  double *total;   /* [dim], the caller's */
  double *partial; /* [dim]; is total itself when all blocks go into one */
  size_t dim;
  size_t blocks; /* in partial */
  double *delta; /* [block rows, widest output], factors multiplied in */
  double *in;    /* [block rows, widest input] */
  double *strip; /* some outputs of a layer's gradient */
  size_t strip_doubles;
  struct cns_row_arena arena;
};
/* total[dim] is set to zeros; rows_total bounds the rows of all blocks. CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_private_sum_init(struct cns_private_sum *sum, const struct cns_private_pass *pass,
                                        size_t rows_total, double *total);
/* Adds the V of all members of a block. */
void cns_private_sum_add(struct cns_private_sum *sum, const struct cns_private_pass *pass,
                         const struct cns_private_member *members, size_t count);
void cns_private_sum_finish(struct cns_private_sum *sum);
void cns_private_sum_deinit(struct cns_private_sum *sum);

/* cns_private_gradient; also gives each sampled patient's factor, unless
 * ret_factor[patients] is NULL. */
CNS_MUST_CHECK int cns_private_gradient_factors(const struct cns_plan *plan, const float *params,
                                                const struct cns_table *table, const bool *in, double clip,
                                                const atomic_bool *cancel, double *ret_sum,
                                                struct cns_private_factor *ret_factor,
                                                struct cns_private_stats *ret_stats,
                                                struct cns_problem *problem);
