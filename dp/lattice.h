/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privacy loss of one round, moved onto a lattice of losses
 * origin + step * i, twice: once so that it is more private than the truth
 * (lower), once less (upper). Both keep the mean of the likelihood ratio, so
 * that the error is of the order step^2.
 *
 * Upper: connect the dots (Doroshenko et al. 2022, arXiv 2207.04380): an outcome
 * between two lattice points is split between both so that its mass under P and
 * under Q is kept. The truth is then a function of the split outcome.
 *
 * Lower: outcomes on both sides of a lattice point are merged into one whose
 * likelihood ratio is that of the point, or a bit above. Merging is something
 * that anybody could do with the true outcome.
 */
#pragma once

#include "dp/loss.h"

/* Half cells of a lattice: [edge, edge + step/2), edge = origin + step * (first + k/2). */
struct cns_cells {
  double step, origin;
  int64_t first;  /* lattice number of the left edge of the first cell */
  size_t count;   /* whole cells */
  double *p, *q;  /* 2*count masses each; one block with rise */
  double *rise;   /* merged loss above the edge */
  double outside; /* bound of the mass beyond either end, under P and under Q */
  double error;   /* relative error of all masses */
};
#define CNS_CELLS_MAX ((size_t)1 << 21)

/* reach: so many standard deviations are kept on either side (1..38).
 * CNS_ERR_MEMORY; CNS_ERR_LIMIT if there were more than CNS_CELLS_MAX cells. */
CNS_MUST_CHECK int cns_cells_init(struct cns_cells *ret_cells, const struct cns_loss *loss, double step,
                                  double reach);
void cns_cells_deinit(struct cns_cells *cells);

/* Masses at the losses origin + step * i, i < count. */
struct cns_lattice {
  double origin;
  size_t count;
  double *upper, *lower; /* one block; the lower ones sum to at most 1 */
  double infinite;       /* upper: what is moved to an infinite loss */
  double largest;        /* |loss| */
};
/* backward: the pair (Q, P). Masses are rounded outwards by the cells' error. */
CNS_MUST_CHECK int cns_lattice_init(struct cns_lattice *ret_lattice, const struct cns_cells *cells,
                                    bool backward);
void cns_lattice_deinit(struct cns_lattice *lattice);
