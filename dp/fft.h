/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discrete Fourier transform of complex doubles, lengths that are powers of
 * two. The spectrum is in bit-reversed order, so that neither direction has to
 * sort: transform, work on each frequency, transform back.
 */
#pragma once

#include <complex.h>

#include "crypto/base.h"

/* CMPLX of the C standard, which not every compiler's headers have. */
#define CNS_COMPLEX(real, imaginary) __builtin_complex((double)(real), (double)(imaginary))

#define CNS_FFT_LEN_MAX ((size_t)1 << 22)

struct cns_fft {
  size_t len;
  double complex
      *twiddles; /* for each half = 1, 2, 4, ... len/2: exp(-pi i k / half), k < half, from place half on */
};

/* len: a power of two, 1..CNS_FFT_LEN_MAX, else CNS_ERR_ARGUMENT; CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_fft_init(struct cns_fft *ret_fft, size_t len);
void cns_fft_deinit(struct cns_fft *fft);

/* x[j] -> X[reverse(k)] = sum_j x[j] exp(-2 pi i j k / len), in place. */
void cns_fft_forward(const struct cns_fft *fft, double complex *data);
/* The inverse, without the factor 1/len. */
void cns_fft_backward(const struct cns_fft *fft, double complex *data);

/* Where the negative frequency of the one at this place lies. */
size_t cns_fft_negative(size_t place);

/*
 * Most that rounding moves an output of either direction, relative to the sum
 * of the absolute values of all inputs. Each output is a sum over inputs, each
 * having passed log2(len) additions (2^-53) and products with a rounded twiddle
 * (below sqrt(5)*2^-53 for the product, Brent, Percival, Zimmermann 2007, and
 * 2^-52 for the twiddle): 6*2^-53 a stage is above all of it together.
 */
double cns_fft_error(size_t len);
