/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "dp/clip.h"

#define SEED 7

static struct cns_rng_seeded generator;

static float random_float(void) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 1u << 24, &value), 0);
  return (float)((double)value / 0x1p23 - 1);
}

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "clip");
  return 0;
}

static void norm_of_known_vectors(void **state) {
  float triangle[] = {3, 0, -4};
  double norm = -1;
  assert_int_equal(cns_clip_norm(triangle, 3, &norm, NULL), 0);
  assert_true(norm == 5);
  assert_int_equal(cns_clip_norm(triangle, 0, &norm, NULL), 0);
  assert_true(norm == 0);
  float huge[] = {3e38f, 3e38f};
  assert_int_equal(cns_clip_norm(huge, 2, &norm, NULL), 0);
  assert_true(fabs(norm / (3e38 * sqrt(2)) - 1) < 1e-7);
}

/* Against long double, at lengths around the block borders. */
static void norm_of_random_vectors(void **state) {
  static const size_t lengths[] = {1, 255, 256, 257, 511, 512, 513, 1000, 65536, 100003};
  float *vector = malloc(100003 * sizeof *vector);
  assert_non_null(vector);
  for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
    long double squares = 0;
    for (size_t i = 0; i < lengths[l]; i++) {
      vector[i] = random_float();
      squares += (long double)vector[i] * vector[i];
    }
    double norm;
    assert_int_equal(cns_clip_norm(vector, lengths[l], &norm, NULL), 0);
    assert_true(fabsl((long double)norm / sqrtl(squares) - 1) < 1e-14L);
  }
  free(vector);
}

static void clipped_norm_is_within_bound(void **state) {
  enum { LEN = 3000 };
  float vector[LEN], before[LEN];
  for (int round = 0; round < 200; round++) {
    for (size_t i = 0; i < LEN; i++)
      before[i] = vector[i] = random_float() * (round % 3 ? 1.0f : 1e-20f);
    double norm, after, clip = round % 2 ? 0.7 : 1e-10;
    assert_int_equal(cns_clip(vector, LEN, clip, &norm, NULL), 0);
    assert_int_equal(cns_clip_norm(vector, LEN, &after, NULL), 0);
    assert_true(after <= clip);
    if (norm <= clip) {
      assert_memory_equal(vector, before, sizeof before);
    } else {
      assert_true(after >= clip * (1 - 1e-6));
      for (size_t i = 0; i < LEN; i++)
        assert_true(fabs(vector[i] - before[i] * clip / norm) <= 1e-6 * fabs(before[i] * clip / norm));
    }
  }
}

static void not_a_number_is_named(void **state) {
  float vector[700] = {0}, copy[700];
  struct cns_problem problem = {{0}};
  double norm = -3;
  vector[613] = NAN;
  vector[640] = INFINITY;
  memcpy(copy, vector, sizeof copy);
  assert_int_equal(cns_clip(vector, 700, 1, &norm, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "coordinate 613"));
  assert_non_null(strstr(problem.text, "not a number"));
  assert_memory_equal(vector, copy, sizeof copy);
  assert_true(norm == -3);
  vector[613] = 0;
  assert_int_equal(cns_clip_norm(vector, 700, &norm, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "coordinate 640 of the vector is infinite"));
}

static void clip_itself_is_checked(void **state) {
  float vector[1] = {1};
  static const double bad[] = {0, -1, INFINITY, NAN, 1e-31, 1e31};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cns_clip(vector, 1, bad[i], NULL, NULL), CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norm_of_known_vectors),        cmocka_unit_test(norm_of_random_vectors),
      cmocka_unit_test(clipped_norm_is_within_bound), cmocka_unit_test(not_a_number_is_named),
      cmocka_unit_test(clip_itself_is_checked),
  };
  print_message("# seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, NULL);
}
