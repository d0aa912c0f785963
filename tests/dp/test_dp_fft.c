/* SPDX-License-Identifier: Apache-2.0 */
/* The FFT against the naive transform and exact identities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "crypto/rng.h"
#include "dp/fft.h"

#define SEED 11

static struct cns_rng_seeded generator;

static double random_number(void) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 1ull << 53, &value), 0);
  return (double)value / 0x1p52 - 1;
}

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "fft");
  return 0;
}

static size_t reverse(size_t index, size_t len) {
  size_t out = 0;
  for (size_t bit = 1; bit < len; bit <<= 1)
    out = out << 1 | ((index & bit) != 0);
  return out;
}

static double complex *random_data(size_t len, double *ret_sum) {
  double complex *data = calloc(len, sizeof *data);
  assert_non_null(data);
  *ret_sum = 0;
  for (size_t i = 0; i < len; i++) {
    data[i] = CNS_COMPLEX(random_number(), random_number());
    *ret_sum += cabs(data[i]);
  }
  return data;
}

static void equals_the_naive_transform_within_its_bound(void **state) {
  for (size_t len = 1; len <= 1024; len *= 2) {
    struct cns_fft fft;
    double sum;
    double complex *data = random_data(len, &sum), *copy = calloc(len, sizeof *copy);
    assert_non_null(copy);
    for (size_t i = 0; i < len; i++)
      copy[i] = data[i];
    assert_int_equal(cns_fft_init(&fft, len), 0);
    cns_fft_forward(&fft, data);
    for (size_t k = 0; k < len; k++) {
      long double complex naive = 0;
      for (size_t i = 0; i < len; i++) {
        long double angle = -2 * acosl(-1) * (long double)(i * k % len) / (long double)len;
        naive += (long double complex)copy[i] * __builtin_complex(cosl(angle), sinl(angle));
      }
      double error = (double)cabsl(naive - (long double complex)data[reverse(k, len)]);
      assert_true(error <= cns_fft_error(len) * sum + 1e-18);
    }
    cns_fft_deinit(&fft);
    free(data);
    free(copy);
  }
}

static void back_and_forth_is_the_identity(void **state) {
  for (size_t len = 1; len <= 1 << 16; len *= 4) {
    struct cns_fft fft;
    double sum;
    double complex *data = random_data(len, &sum), *copy = calloc(len, sizeof *copy);
    assert_non_null(copy);
    for (size_t i = 0; i < len; i++)
      copy[i] = data[i];
    assert_int_equal(cns_fft_init(&fft, len), 0);
    cns_fft_forward(&fft, data);
    cns_fft_backward(&fft, data);
    for (size_t i = 0; i < len; i++)
      assert_true(cabs(data[i] / (double)len - copy[i]) < 1e-13);
    cns_fft_deinit(&fft);
    free(data);
    free(copy);
  }
}

/* A unit impulse has a flat spectrum, and that of real data is conjugate at negative frequencies. */
static void identities_of_spectra(void **state) {
  const size_t len = 4096;
  struct cns_fft fft;
  double complex *data = calloc(len, sizeof *data);
  assert_non_null(data);
  assert_int_equal(cns_fft_init(&fft, len), 0);
  data[0] = 1;
  cns_fft_forward(&fft, data);
  for (size_t i = 0; i < len; i++)
    assert_true(data[i] == 1);
  for (size_t i = 0; i < len; i++)
    data[i] = random_number();
  cns_fft_forward(&fft, data);
  for (size_t k = 0; k < len; k++) {
    size_t place = reverse(k, len), negative = reverse((len - k) % len, len);
    assert_int_equal(cns_fft_negative(place), negative);
    assert_true(cabs(data[place] - conj(data[negative])) < 1e-12);
  }
  cns_fft_deinit(&fft);
  free(data);
}

static void lengths_are_checked(void **state) {
  struct cns_fft fft;
  assert_int_equal(cns_fft_init(&fft, 0), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_fft_init(&fft, 3), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_fft_init(&fft, 2 * CNS_FFT_LEN_MAX), CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equals_the_naive_transform_within_its_bound),
      cmocka_unit_test(back_and_forth_is_the_identity),
      cmocka_unit_test(identities_of_spectra),
      cmocka_unit_test(lengths_are_checked),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
