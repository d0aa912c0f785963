/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "dp/compose_internal.h"

/* Products of this size are as good as 0. */
#define NOTHING 1e-140

/* At one frequency: the product over all parts, a bound of its size, and of its
 * relative error. */
struct product {
  double complex value;
  double size, error;
};

static inline double complex multiply(double complex a, double complex b) {
  return CNS_COMPLEX(creal(a) * creal(b) - cimag(a) * cimag(b), creal(a) * cimag(b) + cimag(a) * creal(b));
}

/* How often, and the size of a base whose power is nothing. */
struct power {
  uint64_t rounds;
  double error, least;
};

static struct power power_init(uint64_t rounds, double error) {
  return (struct power){rounds, error, exp(log(NOTHING) / (double)rounds) * (1 - 1e-12)};
}

/* Multiplies value^rounds into it, by squaring. */
static void raise_into(struct product *product, double complex value, const struct power *by) {
  double size = sqrt(creal(value) * creal(value) + cimag(value) * cimag(value)) * (1 + 4 * DBL_EPSILON);
  double size_power = size += by->error;
  bool nothing = size <= by->least || product->size <= NOTHING;
  double complex power = value;
  for (uint64_t left = nothing ? 0 : by->rounds; left; left >>= 1) {
    if (left & 1) {
      product->value = multiply(product->value, power);
      product->size *= size_power;
    }
    if (left > 1) {
      power = multiply(power, power);
      size_power *= size_power;
    }
  }
  /* A power is wrong by rounds times what its base is wrong by, and each of its
     factors by the rounding of a product, sqrt(5)*2^-53. */
  product->error += (double)by->rounds * (by->error / size + 2 * DBL_EPSILON);
  if (nothing || product->size <= NOTHING)
    *product = (struct product){.value = 0, .size = NOTHING, .error = 1};
}

/* Two real sequences are transformed as one complex one; this takes them apart:
 * at a place, from the values there and at the negative frequency. */
static void take_apart(double complex here, double complex there, double complex *upper,
                       double complex *lower) {
  double complex sum = here + conj(there), difference = here - conj(there);
  *upper = CNS_COMPLEX(creal(sum) / 2, cimag(sum) / 2);
  *lower = CNS_COMPLEX(cimag(difference) / 2, -creal(difference) / 2);
}

struct pair {
  struct product upper, lower;
};
static const struct pair one = {{.value = 1, .size = 1}, {.value = 1, .size = 1}};

/* Sums over frequencies: errors of the products, and their sizes. */
struct sums {
  double error_upper, error_lower, size;
};

static double product_error(const struct product *product) {
  double error = fmin(product->error, 1);
  return product->size * (error + error * error); /* above e^error - 1 */
}

/* Puts the two products together again, at a frequency and at its negative. */
static void put_together(const struct pair *pair, size_t place, size_t negative, double scale,
                         double complex *data, struct sums *sums) {
  double complex u = pair->upper.value * scale, l = pair->lower.value * scale;
  double times = negative == place ? 1 : 2;
  data[negative] = CNS_COMPLEX(creal(u) + cimag(l), creal(l) - cimag(u));
  data[place] = CNS_COMPLEX(creal(u) - cimag(l), cimag(u) + creal(l));
  sums->error_upper += times * product_error(&pair->upper);
  sums->error_lower += times * product_error(&pair->lower);
  sums->size += times * (pair->upper.size + pair->lower.size);
}

static void fold(const struct cns_tilted_part *part, double complex *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    data[i] = 0;
  for (size_t i = 0; i < part->upper.count; i++)
    data[i & (len - 1)] += CNS_COMPLEX(part->upper.mass[i], part->lower.mass[i]);
}

/* Multiplies a part into the products, which are NULL if there is one part only;
 * after the last one, their values take the place of the data. */
static void multiply_part(const struct cns_fft *fft, const struct cns_tilted_part *part, bool last,
                          struct pair *products, double complex *data, struct sums *sums) {
  fold(part, data, fft->len);
  cns_fft_forward(fft, data);
  /* Twice for two sequences of sum 1; folding and scaling round too. */
  struct power power = power_init(part->rounds, 2 * cns_fft_error(fft->len) + 8 * DBL_EPSILON);
  for (size_t place = 0; place < fft->len; place++) {
    size_t negative = cns_fft_negative(place);
    if (negative < place) continue;
    struct pair pair = products ? products[place] : one;
    double complex upper, lower;
    take_apart(data[place], data[negative], &upper, &lower);
    raise_into(&pair.upper, upper, &power);
    raise_into(&pair.lower, lower, &power);
    if (last)
      put_together(&pair, place, negative, 1 / (double)fft->len, data, sums);
    else
      products[place] = pair;
  }
}

int cns_spectrum_compose(const struct cns_fft *fft, const struct cns_tilted_part *parts, size_t count,
                         double complex *ret_folded, double *ret_noise_upper, double *ret_noise_lower) {
  struct pair *products = count > 1 ? malloc(fft->len * sizeof *products) : NULL;
  if (count > 1 && !products) return CNS_ERR_MEMORY;
  for (size_t i = 0; products && i < fft->len; i++)
    products[i] = one;
  struct sums sums = {0};
  for (size_t part = 0; part < count; part++)
    multiply_part(fft, &parts[part], part + 1 == count, products, ret_folded, &sums);
  free(products);
  cns_fft_backward(fft, ret_folded);
  double scale = 1 / (double)fft->len, back = (cns_fft_error(fft->len) + 4 * DBL_EPSILON) * sums.size;
  *ret_noise_upper = (sums.error_upper + back) * scale;
  *ret_noise_lower = (sums.error_lower + back) * scale;
  return 0;
}
