/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "robust/detect.h"
#include "robust/gamma.h"
#include "robust/reference.h"
#include "robust_vectors.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

static int setup(void **state) {
  return cns_init();
}

static void close_to(double value, double expected, double relative) {
  if (fabs(value - expected) > relative * fabs(expected)) fail_msg("%.17g is not %.17g", value, expected);
}

static void gamma_is_the_published_function(void **state) {
  for (size_t i = 0; i < LENGTH_OF(gamma_vectors); i++)
    close_to(cns_gamma_upper(gamma_vectors[i][0], gamma_vectors[i][1]), gamma_vectors[i][2], 1e-11);
}

static void sparse_rates_are_those_of_enumeration(void **state) {
  for (size_t i = 0; i < LENGTH_OF(sparse_vectors); i++) {
    const double *v = sparse_vectors[i];
    double rate;
    assert_int_equal(cns_detect_bound_rate_sparse((uint32_t)v[0], (unsigned)v[1], v[2], &rate), 0);
    if (v[3] == 0)
      assert_true(rate == 0);
    else
      close_to(rate, v[3], 1e-10);
  }
}

/* The figures of docs/protocol.md, "Detection on the sketches". */
static void figures_of_the_design_hold(void **state) {
  double rate;
  assert_true(cns_detect_bound_rate_dense(256, 1.14) < 1e-3);
  assert_true(cns_detect_bound_rate_dense(256, 1.19) < 1.5e-5);
  assert_true(cns_detect_bound_rate_dense(256, 1.22) < 1e-6);
  assert_int_equal(cns_detect_bound_rate_sparse(256, 3, 1.19, &rate), 0);
  close_to(rate, 7e-5, 0.05);
  /* What is missed: a vector of 1.5 B or 1.6 B whose sketch comes out shorter than 1.22 B. */
  static const double lengths[2] = {1.5, 1.6}, missed[2] = {2e-4, 4e-6};
  for (size_t i = 0; i < 2; i++) {
    double worst = 1 - cns_detect_bound_rate_dense(256, 1.22 / lengths[i]);
    for (unsigned m = 1; m <= CNS_DETECT_EQUAL_MAX; m++) {
      assert_int_equal(cns_detect_bound_rate_sparse(256, m, 1.22 / lengths[i], &rate), 0);
      worst = fmax(worst, 1 - rate);
    }
    close_to(worst, missed[i], 0.1);
  }
}

static void factor_keeps_the_rate_for_all_shapes(void **state) {
  for (uint32_t k = 128; k <= 1024; k *= 2)
    for (double rate = 1e-2; rate > 1e-8; rate /= 10) {
      double factor, below = 0, each;
      assert_int_equal(cns_detect_bound_factor(k, rate, &factor), 0);
      assert_true(cns_detect_bound_rate_dense(k, factor) <= rate * (1 + 1e-9));
      for (unsigned m = 1; m <= CNS_DETECT_EQUAL_MAX; m++) {
        assert_int_equal(cns_detect_bound_rate_sparse(k, m, factor, &each), 0);
        assert_true(each <= rate);
        assert_int_equal(cns_detect_bound_rate_sparse(k, m, factor * 0.995, &each), 0);
        below = fmax(below, each);
      }
      assert_true(fmax(below, cns_detect_bound_rate_dense(k, factor * 0.995)) > rate); /* and no larger */
    }
}

static void factor_refuses_nonsense(void **state) {
  double factor = 7, rate = 7;
  assert_int_equal(cns_detect_bound_factor(64, 1e-6, &factor), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_detect_bound_factor(300, 1e-6, &factor), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_detect_bound_factor(256, 0, &factor), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_detect_bound_factor(256, NAN, &factor), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_detect_bound_rate_sparse(256, 0, 1, &rate), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_detect_bound_rate_sparse(256, CNS_DETECT_EQUAL_MAX + 1, 1, &rate), CNS_ERR_ARGUMENT);
  assert_true(factor == 7 && rate == 7);
}

static void influence_and_its_sentence(void **state) {
  double bounds[20], weights[20];
  char text[CNS_DETECT_TEXT_BYTES];
  for (size_t i = 0; i < 20; i++) {
    weights[i] = 1;
    bounds[i] = cns_detect_bound(2, 1, 0, 1000000);
  }
  close_to(cns_detect_influence(bounds, weights, 20, 2), 0.05, 1e-12);
  assert_true(cns_detect_effective(0.05, text));
  assert_non_null(strstr(text, "0.05"));
  weights[3] = 10; /* a public weight counts in the bound and in the sum */
  bounds[3] = cns_detect_bound(2, 10, 0, 1000000);
  close_to(cns_detect_influence(bounds, weights, 20, 2), 10.0 / 29, 1e-12);
  weights[3] = 1;
  /* n = 20, d = 1e6, noise multiplier 1: sigma = C/sqrt(u_min - c) each, u_min - c = 14 */
  for (size_t i = 0; i < 20; i++)
    bounds[i] = cns_detect_bound(2, 1, 2 / sqrt(14), 1000000);
  close_to(cns_detect_influence(bounds, weights, 20, 2), 13.4, 0.01);
  assert_false(cns_detect_effective(13.4, text));
  assert_non_null(strstr(text, "ineffective"));
  assert_non_null(strstr(text, "13.4"));
}

static void limits_over_rounds_have_their_rate(void **state) {
  for (size_t i = 0; i < LENGTH_OF(round_vectors); i++) {
    const double *v = round_vectors[i];
    assert_true(fabs(cns_reference_ewma_tail(v[0]) - v[1]) < 5 * v[2]);
    close_to(cns_reference_cusum_limit(v[3]), v[0], 0.03);
  }
  close_to(cns_reference_ewma_tail(cns_reference_ewma_limit(1e-4)), 1e-4, 1e-6);
}

/* Fresh cohorts of the reference's own kind pass the limit as often as it says, at n = 5 as at n = 100. */
static void reference_means_its_rate(void **state) {
  static const size_t sizes[] = {4, 5, 8, 20, 100};
  for (size_t s = 0; s < LENGTH_OF(sizes); s++)
    for (int scale = 0; scale < CNS_SCALE_COUNT; scale++) {
      struct cns_reference reference;
      assert_int_equal(cns_reference_init(&reference, sizes[s]), 0);
      double limit = cns_reference_quantile(&reference, (enum cns_scale)scale, 0.01);
      close_to(cns_reference_tail(&reference, (enum cns_scale)scale, limit), 0.01, 0.01);
      close_to(cns_reference_tail(&reference, (enum cns_scale)scale, -limit), 0.99, 0.01);
      assert_true(limit > 2);
      cns_reference_deinit(&reference);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gamma_is_the_published_function),
      cmocka_unit_test(sparse_rates_are_those_of_enumeration),
      cmocka_unit_test(figures_of_the_design_hold),
      cmocka_unit_test(factor_keeps_the_rate_for_all_shapes),
      cmocka_unit_test(factor_refuses_nonsense),
      cmocka_unit_test(influence_and_its_sentence),
      cmocka_unit_test(limits_over_rounds_have_their_rate),
      cmocka_unit_test(reference_means_its_rate),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
