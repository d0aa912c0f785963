/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privacy loss of one round. The worst neighbours are two normal
 * mixtures of one dimension, P and Q, over u = noise / sigma:
 *
 *   add/remove:  P = (1-q) N(0,1) + q N(1/s,1),  Q = N(0,1)
 *   replace-one: P as above,                     Q = (1-q) N(0,1) + q N(-1/s,1)
 *
 * and the loss l(u) = log dP/dQ rises with u. (P, Q) is the removal of a unit,
 * (Q, P) the addition: both have to be looked at; replace-one is symmetric. Why
 * these pairs are the worst: docs/accounting.md.
 */
#pragma once

#include "dp/dp.h"

struct cns_loss {
  double sigma, rate; /* rate: (0, 1] */
  bool replace;
};

double cns_loss_at(const struct cns_loss *loss, double u);
/* The u with this loss; -INFINITY or INFINITY beyond the range of the loss. */
double cns_loss_point(const struct cns_loss *loss, double value);

/* Masses of an interval of u. */
struct cns_loss_mass {
  double p, q;
  double rise; /* log(p/q) - l(left end): >= 0, where the interval merged to one outcome lies */
};
/* [left, right], finite. Gauss-Legendre on panels so narrow that the rule's own
 * error is below rounding: all integrands are positive, and each result has a
 * relative error below cns_loss_error. Zeros for an empty interval. */
struct cns_loss_mass cns_loss_integrate(const struct cns_loss *loss, double left, double right);
/* reach: largest |u|. */
double cns_loss_error(const struct cns_loss *loss, double reach);

/*
 * Moments: log of E_P[exp(t l)] (forward) or E_Q[exp(-t l)] (backward), by the
 * trapezoid rule, which converges exponentially for such integrands; with first
 * and second derivative in t. Relative accuracy about 1e-13 of the expectation.
 * Nodes are made once for orders up to t_max.
 */
struct cns_loss_nodes {
  size_t count;
  double *weights_p, *weights_q, *losses; /* one block */
};
CNS_MUST_CHECK int cns_loss_nodes_init(struct cns_loss_nodes *ret_nodes, const struct cns_loss *loss,
                                       double left, double right);
void cns_loss_nodes_deinit(struct cns_loss_nodes *nodes);
struct cns_loss_moments {
  double value, first, second;
};
struct cns_loss_moments cns_loss_nodes_moments(const struct cns_loss_nodes *nodes, bool backward, double t);

/* log E_Q[(dP/dQ)^order], order > 1, to a relative 1e-9 also where it is tiny.
 * CNS_ERR_MEMORY; CNS_ERR_RANGE where it exceeds all doubles. */
CNS_MUST_CHECK int cns_loss_log_moment(const struct cns_loss *loss, double order, double *ret_log);
