/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/fft.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* exp(-2 pi i k / len) for k < len/2, from an angle of at most pi/4, where sine
 * and cosine are good to the last place. */
static double complex twiddle(size_t k, size_t len) {
  size_t eighths = 8 * k / len; /* 0..3 */
  double angle = 2 * M_PI / (double)len;
  switch (eighths) {
  case 0:
    return CMPLX(cos(angle * (double)k), -sin(angle * (double)k));
  case 1:
    return CMPLX(sin(angle * ((double)len / 4 - (double)k)), -cos(angle * ((double)len / 4 - (double)k)));
  case 2:
    return CMPLX(-sin(angle * ((double)k - (double)len / 4)), -cos(angle * ((double)k - (double)len / 4)));
  default:
    return CMPLX(-cos(angle * ((double)len / 2 - (double)k)), -sin(angle * ((double)len / 2 - (double)k)));
  }
}

int cns_fft_init(struct cns_fft *ret_fft, size_t len) {
  if (len == 0 || len > CNS_FFT_LEN_MAX || (len & (len - 1))) return CNS_ERR_ARGUMENT;
  struct cns_fft fft = {.len = len, .twiddles = calloc(len / 2 + 1, sizeof *fft.twiddles)};
  if (!fft.twiddles) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < len / 2; k++)
    fft.twiddles[k] = twiddle(k, len);
  *ret_fft = fft;
  return 0;
}

void cns_fft_deinit(struct cns_fft *fft) {
  free(fft->twiddles);
  *fft = (struct cns_fft){0};
}

/* Without the C standard's care for infinities, which takes most of the time. */
static inline double complex multiply(double complex a, double complex b) {
  return CMPLX(creal(a) * creal(b) - cimag(a) * cimag(b), creal(a) * cimag(b) + cimag(a) * creal(b));
}

/* Decimation in frequency (Gentleman and Sande 1966). */
void cns_fft_forward(const struct cns_fft *fft, double complex *data) {
  for (size_t half = fft->len / 2; half >= 1; half /= 2) {
    size_t stride = fft->len / 2 / half;
    for (size_t start = 0; start < fft->len; start += 2 * half)
      for (size_t k = 0; k < half; k++) {
        double complex a = data[start + k], b = data[start + k + half];
        data[start + k] = a + b;
        data[start + k + half] = multiply(a - b, fft->twiddles[k * stride]);
      }
  }
}

/* Decimation in time (Cooley and Tukey 1965), with conjugate twiddles. */
void cns_fft_backward(const struct cns_fft *fft, double complex *data) {
  for (size_t half = 1; half < fft->len; half *= 2) {
    size_t stride = fft->len / 2 / half;
    for (size_t start = 0; start < fft->len; start += 2 * half)
      for (size_t k = 0; k < half; k++) {
        double complex a = data[start + k];
        double complex b = multiply(data[start + k + half], conj(fft->twiddles[k * stride]));
        data[start + k] = a + b;
        data[start + k + half] = a - b;
      }
  }
}

/* -f is ~f + 1: it keeps the lowest set bit and flips those above, which the
 * reversed order has below the highest. */
size_t cns_fft_negative(size_t place) {
  if (place < 2) return place;
  size_t highest = (size_t)1 << (63 - __builtin_clzll(place));
  return place ^ (highest - 1);
}

double cns_fft_error(size_t len) {
  double stages = len > 1 ? log2((double)len) : 0;
  return stages * 3 * DBL_EPSILON;
}
