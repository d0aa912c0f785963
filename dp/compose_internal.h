/* SPDX-License-Identifier: Apache-2.0 */
/* Between dp/compose.c, dp/tilt.c and dp/spectrum.c. */
#pragma once

#include "dp/compose.h"
#include "dp/fft.h"

/* One of a part's two distributions, tilted: sums to 1. */
struct cns_tilted {
  size_t count;
  double *mass;
  double log_scale;      /* log of the sum before, per round */
  double mean, variance; /* of the lattice number */
  double error;          /* relative error of a mass */
};
CNS_MUST_CHECK int cns_tilted_init(struct cns_tilted *ret_tilted, const double *mass, size_t count,
                                   double origin, double step, double tilt);
void cns_tilted_deinit(struct cns_tilted *tilted);
/* log sum mass[i] e^(t (i - mean)), rounded up; INFINITY if it overflows. */
double cns_tilted_log_moment(const struct cns_tilted *tilted, double t);

struct cns_tilted_part {
  struct cns_tilted upper, lower;
  uint64_t rounds;
};

/*
 * The composed masses, folded to the length of `fft`, at place (lattice number
 * mod length): real parts of ret_folded the upper, imaginary parts the lower
 * ones. ret_noise_...: bound of the error of each value.
 */
CNS_MUST_CHECK int cns_spectrum_compose(const struct cns_fft *fft, const struct cns_tilted_part *parts,
                                        size_t count, double complex *ret_folded, double *ret_noise_upper,
                                        double *ret_noise_lower);
