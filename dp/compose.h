/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many rounds: the sum of independent losses on a common lattice, by FFT, under
 * an exponential tilt. Masses are multiplied by e^(tilt * loss) and scaled to sum
 * 1 before they are composed, so that the losses near epsilon carry the bulk of
 * the mass and rounding noise is small beside *delta*, however small delta is.
 *
 * All that could make the result wrong is bounded and added to the upper masses,
 * or taken from the lower ones: noise of the transforms, mass that wraps around
 * the window, mass beyond it, roundings of positions and factors.
 */
#pragma once

#include <complex.h>

#include "dp/lattice.h"

struct cns_part {
  const struct cns_lattice *lattice; /* all with the same step */
  uint64_t rounds;
};

/* One of the two distributions in the window. */
struct cns_window {
  double log_scale; /* the logarithm that the tilted masses were divided by */
  double noise;     /* bound of the error of each tilted mass */
  double tail;      /* bound of the tilted mass right of the window */
  double wrapped;   /* and of all outside of it */
};

struct cns_composition {
  double step, tilt;
  double first; /* loss of the first place of the window */
  size_t len;   /* a power of two */
  /* Tilted masses, upper ones as real parts and lower ones as imaginary parts: the
     first place of the window is at `begin`, and after the end comes the beginning. */
  double complex *masses;
  size_t begin;
  double infinite; /* upper: bound of the untilted mass at an infinite loss */
  double shift;    /* bound of the error of all positions, a loss */
  double relative; /* bound of the relative error of delta by rounded factors */
  struct cns_window upper, lower;
};

/* tilt >= 0; outside_log: logarithm of the tilted mass that may lie outside the window,
 * on either side: the bounds hold whatever it is, but may not be narrower than it. CNS_ERR_MEMORY;
 * CNS_ERR_LIMIT if the window is longer than CNS_FFT_LEN_MAX. */
CNS_MUST_CHECK int cns_composition_init(struct cns_composition *ret_composition, const struct cns_part *parts,
                                        size_t count, double step, double tilt, double outside_log);
void cns_composition_deinit(struct cns_composition *composition);

/* Positive result: what is asked for lies outside the window, choose another tilt. */
#define CNS_COMPOSITION_OUTSIDE 1
/* Epsilons >= 0 with this log delta (< 0). */
CNS_MUST_CHECK int cns_composition_epsilon(const struct cns_composition *composition, double log_delta,
                                           struct cns_dp_interval *ret_epsilon);
/* log delta at epsilon >= 0; -INFINITY if the lower bound is 0. */
CNS_MUST_CHECK int cns_composition_log_delta(const struct cns_composition *composition, double epsilon,
                                             struct cns_dp_interval *ret_log_delta);
