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
    return CNS_COMPLEX(cos(angle * (double)k), -sin(angle * (double)k));
  case 1:
    return CNS_COMPLEX(sin(angle * ((double)len / 4 - (double)k)),
                       -cos(angle * ((double)len / 4 - (double)k)));
  case 2:
    return CNS_COMPLEX(-sin(angle * ((double)k - (double)len / 4)),
                       -cos(angle * ((double)k - (double)len / 4)));
  default:
    return CNS_COMPLEX(-cos(angle * ((double)len / 2 - (double)k)),
                       -sin(angle * ((double)len / 2 - (double)k)));
  }
}

int cns_fft_init(struct cns_fft *ret_fft, size_t len) {
  if (len == 0 || len > CNS_FFT_LEN_MAX || (len & (len - 1))) return CNS_ERR_ARGUMENT;
  struct cns_fft fft = {.len = len, .twiddles = calloc(len + 1, sizeof *fft.twiddles)};
  if (!fft.twiddles) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < len / 2; k++)
    fft.twiddles[len / 2 + k] = twiddle(k, len);
  for (size_t half = len / 4; half >= 1; half /= 2)
    for (size_t k = 0; k < half; k++)
      fft.twiddles[half + k] = fft.twiddles[2 * half + 2 * k];
  *ret_fft = fft;
  return 0;
}

void cns_fft_deinit(struct cns_fft *fft) {
  free(fft->twiddles);
  *fft = (struct cns_fft){0};
}

/* Without the C standard's care for infinities, which takes most of the time. */
static inline double complex multiply(double complex a, double complex b) {
  return CNS_COMPLEX(creal(a) * creal(b) - cimag(a) * cimag(b), creal(a) * cimag(b) + cimag(a) * creal(b));
}

/* Lengths up to this stay in the nearest caches. */
#define BLOCK ((size_t)2048)

static void split(const struct cns_fft *fft, double complex *data, size_t half) {
  const double complex *twiddles = fft->twiddles + half;
  for (size_t k = 0; k < half; k++) {
    double complex a = data[k], b = data[k + half];
    data[k] = a + b;
    data[k + half] = multiply(a - b, twiddles[k]);
  }
}

static void join(const struct cns_fft *fft, double complex *data, size_t half) {
  const double complex *twiddles = fft->twiddles + half;
  for (size_t k = 0; k < half; k++) {
    double complex a = data[k], b = multiply(data[k + half], conj(twiddles[k]));
    data[k] = a + b;
    data[k + half] = a - b;
  }
}

/* Decimation in frequency (Gentleman and Sande 1966), one half after the other
 * (depth log2(len / BLOCK)), then stage by stage. */
static void forward(const struct cns_fft *fft, double complex *data, size_t len) {
  if (len > BLOCK) {
    split(fft, data, len / 2);
    forward(fft, data, len / 2);
    forward(fft, data + len / 2, len / 2);
    return;
  }
  for (size_t half = len / 2; half >= 1; half /= 2)
    for (size_t start = 0; start < len; start += 2 * half)
      split(fft, data + start, half);
}

/* Decimation in time (Cooley and Tukey 1965), the same the other way round. */
static void backward(const struct cns_fft *fft, double complex *data, size_t len) {
  if (len > BLOCK) {
    backward(fft, data, len / 2);
    backward(fft, data + len / 2, len / 2);
    join(fft, data, len / 2);
    return;
  }
  for (size_t half = 1; half < len; half *= 2)
    for (size_t start = 0; start < len; start += 2 * half)
      join(fft, data + start, half);
}

void cns_fft_forward(const struct cns_fft *fft, double complex *data) {
  forward(fft, data, fft->len);
}

void cns_fft_backward(const struct cns_fft *fft, double complex *data) {
  backward(fft, data, fft->len);
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
