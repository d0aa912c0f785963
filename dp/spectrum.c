/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "dp/compose_internal.h"

/* At one frequency: the product over all parts, a bound of its size, and of its
 * relative error. */
struct product {
  double complex value;
  double size, error;
};

static inline double complex multiply(double complex a, double complex b) {
  return CNS_COMPLEX(creal(a) * creal(b) - cimag(a) * cimag(b), creal(a) * cimag(b) + cimag(a) * creal(b));
}

/* value^rounds by squaring. Sizes that fall towards the smallest doubles are 0. */
static void raise_into(struct product *product, double complex value, double error, uint64_t rounds) {
  double size = cabs(value) + error, size_power = size;
  double complex power = value;
  /* A power is wrong by rounds times what its base is wrong by, and each of its
     factors by the rounding of a product, sqrt(5)*2^-53. */
  product->error += (double)rounds * (error / size + 2 * DBL_EPSILON);
  for (uint64_t left = rounds; left; left >>= 1) {
    if (left & 1) {
      product->value = multiply(product->value, power);
      product->size *= size_power;
    }
    if (product->size < 1e-140) {
      product->value = 0;
      product->size = 1e-140;
      return;
    }
    if (left > 1) {
      power = size_power < 1e-70 ? 0 : multiply(power, power);
      size_power = size_power < 1e-70 ? 1e-140 : size_power * size_power;
    }
  }
}

/* Two real sequences are transformed as one complex one; this takes them apart:
 * at a place, from the values there and at the negative frequency. */
static void take_apart(double complex here, double complex there, double complex *upper,
                       double complex *lower) {
  double complex sum = here + conj(there), difference = here - conj(there);
  *upper = CNS_COMPLEX(creal(sum) / 2, cimag(sum) / 2);
  *lower = CNS_COMPLEX(cimag(difference) / 2, -creal(difference) / 2);
}

struct work {
  const struct cns_fft *fft;
  double complex *data;            /* of the part at hand */
  struct product *uppers, *lowers; /* a frequency and its negative share the first of the two */
};

static void fold(const struct cns_tilted_part *part, double complex *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    data[i] = 0;
  for (size_t i = 0; i < part->upper.count; i++)
    data[i & (len - 1)] += CNS_COMPLEX(part->upper.mass[i], part->lower.mass[i]);
}

static void multiply_part(struct work *work, const struct cns_tilted_part *part) {
  size_t len = work->fft->len;
  fold(part, work->data, len);
  cns_fft_forward(work->fft, work->data);
  /* Twice for two sequences of sum 1; folding and scaling round too. */
  double error = 2 * cns_fft_error(len) + 8 * DBL_EPSILON;
  for (size_t place = 0; place < len; place++) {
    size_t negative = cns_fft_negative(place);
    if (negative < place) continue;
    double complex upper, lower;
    take_apart(work->data[place], work->data[negative], &upper, &lower);
    raise_into(&work->uppers[place], upper, error, part->rounds);
    raise_into(&work->lowers[place], lower, error, part->rounds);
  }
}

/* Puts the two products together again and transforms back. */
static void finish(struct work *work, double complex *folded, double *noise_upper, double *noise_lower) {
  size_t len = work->fft->len;
  double error_upper = 0, error_lower = 0, size = 0, scale = 1 / (double)len;
  for (size_t place = 0; place < len; place++) {
    size_t negative = cns_fft_negative(place), first = negative < place ? negative : place;
    const struct product *upper = &work->uppers[first], *lower = &work->lowers[first];
    double complex u = negative < place ? conj(upper->value) : upper->value;
    double complex l = negative < place ? conj(lower->value) : lower->value;
    folded[place] = CNS_COMPLEX((creal(u) - cimag(l)) * scale, (cimag(u) + creal(l)) * scale);
    error_upper += upper->size * fmin(2, expm1(fmin(upper->error, 1)));
    error_lower += lower->size * fmin(2, expm1(fmin(lower->error, 1)));
    size += upper->size + lower->size;
  }
  cns_fft_backward(work->fft, folded);
  double back = (cns_fft_error(len) + 4 * DBL_EPSILON) * size;
  *noise_upper = (error_upper + back) * scale;
  *noise_lower = (error_lower + back) * scale;
}

int cns_spectrum_compose(const struct cns_fft *fft, const struct cns_tilted_part *parts, size_t count,
                         double complex *ret_folded, double *ret_noise_upper, double *ret_noise_lower) {
  struct work work = {.fft = fft, .data = ret_folded, .uppers = calloc(2 * fft->len, sizeof *work.uppers)};
  if (!work.uppers) return CNS_ERR_MEMORY;
  work.lowers = work.uppers + fft->len;
  for (size_t i = 0; i < 2 * fft->len; i++)
    work.uppers[i] = (struct product){.value = 1, .size = 1};
  for (size_t part = 0; part < count; part++)
    multiply_part(&work, &parts[part]);
  finish(&work, ret_folded, ret_noise_upper, ret_noise_lower);
  free(work.uppers);
  return 0;
}
