/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dp/grid.h"

#define SEED 43
#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])

#if defined(__SIZEOF_FLOAT128__)
__extension__ typedef __float128 quad;
#else
typedef long double quad;
#endif

static struct cns_rng_seeded generator;
static struct cns_rng rng;

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "grid");
  rng = cns_rng_seeded(&generator);
  return 0;
}

static uint64_t below(uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(rng, bound, &value), 0);
  return value;
}

/* In [-1, 1). */
static double uniform(void) {
  return (double)below(UINT64_C(1) << 53) / 0x1p52 - 1;
}

/* The same 32 bytes each time: the same u for two vectors. */
static int fill_fixed(void *context, uint8_t *out, size_t len) {
  memcpy(out, context, len);
  return 0;
}

static int fill_failing(void *context, uint8_t *out, size_t len) {
  return CNS_ERR_RANDOM;
}

static void round_with(uint8_t seed[static 32], const double *sum, size_t len, double radius, int scale,
                       uint32_t *x) {
  struct cns_problem problem = {{0}};
  int r = cns_grid_round(sum, len, radius, scale, (struct cns_rng){fill_fixed, seed}, x, &problem);
  if (r != 0) print_error("%s\n", problem.text);
  assert_int_equal(r, 0);
}

static void fresh_seed(uint8_t seed[static 32]) {
  assert_int_equal(cns_rng_fill(rng, seed, 32), 0);
}

static quad square_of(const double *a, size_t len) {
  quad sum = 0;
  for (size_t k = 0; k < len; k++)
    sum += (quad)a[k] * (quad)a[k];
  return sum;
}

/* Squared integer distance. */
static quad apart(const uint32_t *a, const uint32_t *b, size_t len) {
  quad sum = 0;
  for (size_t k = 0; k < len; k++) {
    quad difference = (quad)(int32_t)a[k] - (quad)(int32_t)b[k];
    sum += difference * difference;
  }
  return sum;
}

enum { LEN = 700 };

/* A vector of norm about `norm`, and one at a distance of at most delta. */
static void neighbours(double norm, double delta, double *a, double *b) {
  double sparse = below(2) ? 1 : 0.01; /* of the coordinates that differ */
  for (size_t k = 0; k < LEN; k++) {
    a[k] = uniform();
    b[k] = uniform() < 2 * sparse - 1 ? uniform() : 0;
  }
  double length = sqrt((double)square_of(a, LEN)), step = sqrt((double)square_of(b, LEN));
  for (size_t k = 0; k < LEN; k++) {
    a[k] *= norm / length;
    b[k] = step > 0 ? a[k] + b[k] * (delta / step) : a[k];
  }
}

/* Lengths from far within to far beyond the ball, steps from coarse to fine. */
static void neighbours_stay_neighbours(void **state) {
  static const double norms[] = {0, 0.3, 0.999999, 1, 1.000001, 40, 1e12};
  static const int scales[] = {-3, 0, 4, 12, 20};
  static double a[LEN], b[LEN], difference[LEN];
  static uint32_t x[LEN], y[LEN];
  for (size_t n = 0; n < LENGTH_OF(norms); n++)
    for (size_t s = 0; s < LENGTH_OF(scales); s++)
      for (int repeat = 0; repeat < 30; repeat++) {
        double radius = 100, delta = 0.7;
        uint8_t seed[32];
        fresh_seed(seed);
        neighbours(norms[n] * radius, delta, a, b);
        for (size_t k = 0; k < LEN; k++)
          difference[k] = a[k] - b[k];
        double moved = sqrt((double)square_of(difference, LEN)) * (1 + 1e-12);
        if (moved < 1e-20) moved = 1e-20;
        round_with(seed, a, LEN, radius, scales[s], x);
        round_with(seed, b, LEN, radius, scales[s], y);
        uint64_t steps, bound;
        assert_int_equal(cns_grid_sensitivity(moved, radius, LEN, scales[s], &steps), 0);
        assert_true(apart(x, y, LEN) <= (quad)steps * (quad)steps);
        assert_int_equal(cns_grid_radius_steps(radius, LEN, scales[s], &bound), 0);
        assert_true(cns_grid_within(x, LEN, bound) && cns_grid_within(y, LEN, bound));
      }
}

enum { N = 1024 };

/* The u of a seed, bit by bit: 1 - t is rounded to 1 exactly if u >= t. */
static void find_u(uint8_t seed[static 32], uint32_t *u) {
  static double a[N];
  static uint32_t x[N];
  memset(u, 0, N * sizeof *u);
  for (int bit = 31; bit >= 0; bit--) {
    for (size_t k = 0; k < N; k++)
      a[k] = 1 - ldexp((double)(u[k] | (uint32_t)1 << bit), -32);
    round_with(seed, a, N, 100, 0, x);
    for (size_t k = 0; k < N; k++) {
      assert_true(x[k] <= 1);
      if (x[k] == 1) u[k] |= (uint32_t)1 << bit;
    }
  }
}

/* Values around the point where rounding turns, of both signs, and tiny ones. */
static void rounding_is_floor_of_value_plus_u(void **state) {
  static double value[N], scaled[N];
  static uint32_t x[N], u[N];
  uint8_t seed[32];
  fresh_seed(seed);
  find_u(seed, u);
  for (int scale = 0; scale < 20; scale++) {
    for (size_t k = 0; k < N; k++) {
      double off = ((int)below(3) - 1) * ldexp(1, -(int)below(60));
      value[k] = (double)((int64_t)below(2001) - 1000) - (double)u[k] * 0x1p-32 + off;
      if (below(8) == 0) value[k] = uniform() * 1e-300;
      scaled[k] = ldexp(value[k], -scale);
    }
    round_with(seed, scaled, N, ldexp(1e5, -scale), scale, x);
    for (size_t k = 0; k < N; k++) {
      quad sum = (quad)value[k] + (quad)u[k] * (quad)0x1p-32;
      double expected = floor((double)sum);
      if ((quad)expected > sum) expected -= 1;
      if (fabs(value[k]) < 1e-200) expected = u[k] == 0 && value[k] < 0 ? -1 : 0;
      assert_int_equal((int32_t)x[k], (int32_t)expected);
    }
  }
}

/* Coordinates that hop over a whole number all together: the +1 is needed. */
static void the_bound_is_reached(void **state) {
  static double a[N], b[N];
  static uint32_t x[N], y[N], u[N];
  uint8_t seed[32];
  fresh_seed(seed);
  find_u(seed, u);
  for (size_t k = 0; k < N; k++) {
    a[k] = 1 - (double)u[k] * 0x1p-32;
    b[k] = a[k] - 0x1p-40;
  }
  round_with(seed, a, N, 100, 0, x);
  round_with(seed, b, N, 100, 0, y);
  assert_true(apart(x, y, N) == N);
}

static void rounding_is_unbiased(void **state) {
  enum { VALUES = 8, DRAWS = 200000 };
  static const double values[VALUES] = {0.5, -0.5, 3.25, -3.25, 0.01, -0.01, 1000.9, -7};
  int64_t sum[VALUES] = {0};
  uint32_t x[VALUES];
  for (int d = 0; d < DRAWS; d++) {
    assert_int_equal(cns_grid_round(values, VALUES, 2000, 0, rng, x, NULL), 0);
    for (size_t k = 0; k < VALUES; k++)
      sum[k] += (int32_t)x[k];
  }
  for (size_t k = 0; k < VALUES; k++) {
    double part = values[k] - floor(values[k]), deviation = sqrt(part * (1 - part) / DRAWS);
    assert_true(fabs((double)sum[k] / DRAWS - values[k]) <= 5 * deviation + 1e-12);
  }
}

static void long_vectors_are_projected(void **state) {
  static double a[LEN];
  static uint32_t x[LEN];
  static const double norms[] = {0.5, 1.5, 1e6, 1e100};
  for (size_t n = 0; n < LENGTH_OF(norms); n++) {
    double radius = 1000, shrink = fmin(1, radius / (norms[n] * radius));
    neighbours(norms[n] * radius, 0, a, a);
    uint8_t seed[32];
    fresh_seed(seed);
    round_with(seed, a, LEN, radius, 10, x);
    for (size_t k = 0; k < LEN; k++)
      assert_true(fabs((double)(int32_t)x[k] - a[k] * shrink * 1024) <= 1.000001);
  }
  /* The largest there may be, in one coordinate and in all. */
  memset(a, 0, sizeof a);
  a[3] = -1e150;
  uint64_t bound;
  assert_int_equal(cns_grid_radius_steps(0x1.69p28, LEN, 0, &bound), 0);
  assert_int_equal(cns_grid_round(a, LEN, 0x1.69p28, 0, rng, x, NULL), 0);
  assert_true((int32_t)x[3] == -(int32_t)0x16900000 || (int32_t)x[3] == -(int32_t)0x16900000 + 1);
  assert_true(cns_grid_within(x, LEN, bound));
  for (size_t k = 0; k < LEN; k++)
    a[k] = 1e150;
  assert_int_equal(cns_grid_round(a, LEN, 0x1.69p28, 0, rng, x, NULL), 0);
  assert_true(cns_grid_within(x, LEN, bound));
}

static void norms_are_exact(void **state) {
  static const uint32_t x[] = {0, 1, UINT32_MAX, 0x80000000u, 0x7fffffffu, (uint32_t)-5};
  cns_grid_squares expected =
      1 + 1 + ((cns_grid_squares)1 << 62) + 25 + (cns_grid_squares)0x7fffffff * 0x7fffffff;
  assert_true(cns_grid_norm(x, LENGTH_OF(x)) == expected);
  assert_true(cns_grid_norm(x, 0) == 0);
  static const uint32_t pythagoras[] = {3, (uint32_t)-4};
  assert_true(cns_grid_within(pythagoras, 2, 5) && !cns_grid_within(pythagoras, 2, 4));
  enum { MANY = 5000 };
  uint32_t *most = calloc(MANY, sizeof *most);
  assert_non_null(most);
  for (size_t k = 0; k < MANY; k++)
    most[k] = 0x80000000u;
  assert_true(cns_grid_norm(most, MANY) == (cns_grid_squares)MANY << 62);
  assert_true(cns_grid_within(most, MANY, UINT64_MAX));
  free(most);
}

/* Against 113-bit arithmetic: never below, and above by less than 1.001 steps. */
static void bounds_are_rounded_up(void **state) {
  for (int repeat = 0; repeat < 20000; repeat++) {
    size_t len = 1 + below(repeat % 2 ? 2000 : CNS_GRID_LEN_MAX);
    int scale = (int)below(30) - 15;
    double radius = ldexp(1 + fabs(uniform()), (int)below(12)), delta = radius * fabs(uniform());
    if (!(delta >= 1e-30)) delta = 1e-30;
    uint64_t steps = 0;
    quad root = (quad)sqrtl((long double)len); /* to 64 bits, and below or above by less than 2^-48 */
    quad real = (quad)radius * (quad)ldexp(1, scale) + root, tiny = (quad)0x1p-45;
    int r = cns_grid_radius_steps(radius, len, scale, &steps);
    if (r == 0) assert_true((quad)steps + tiny >= real && (quad)steps < real + 1 + tiny + (quad)0x1p-14);
    assert_true(r == 0 ? (double)real < 0x1p31 / sqrt(32) : (double)real > 0x1p31 / sqrt(32) - 2);
    assert_int_equal(cns_grid_sensitivity(delta, radius, len, scale, &steps), 0);
    real = ((quad)delta + (quad)radius * (quad)0x1p-40) * (quad)ldexp(1, scale) + root;
    assert_true((quad)steps + tiny >= real && (quad)steps < real + 1 + tiny + (quad)0x1p-14);
  }
  uint64_t steps;
  assert_int_equal(cns_grid_radius_steps(3, 4, 0, &steps), 0);
  assert_int_equal(steps, 5);
  assert_int_equal(cns_grid_radius_steps(3, 5, 0, &steps), 0);
  assert_int_equal(steps, 6);
  assert_int_equal(cns_grid_radius_steps(1e-30, 1, -128, &steps), 0);
  assert_int_equal(steps, 2);
}

static void nonsense_is_refused(void **state) {
  static const double radii[] = {0, -1, NAN, INFINITY, 1e-31, 1e31};
  double a[2] = {1, 1};
  uint64_t steps = 9;
  uint32_t x[2];
  for (size_t k = 0; k < LENGTH_OF(radii); k++) {
    struct cns_problem problem = {{0}};
    assert_int_equal(cns_grid_radius_steps(radii[k], 2, 0, &steps), CNS_ERR_RANGE);
    assert_int_equal(cns_grid_sensitivity(radii[k], 1, 2, 0, &steps), CNS_ERR_RANGE);
    assert_int_equal(cns_grid_sensitivity(1, radii[k], 2, 0, &steps), CNS_ERR_RANGE);
    assert_int_equal(cns_grid_round(a, 2, radii[k], 0, rng, x, &problem), CNS_ERR_RANGE);
    assert_true(strlen(problem.text) > 0 && x[0] == 0 && x[1] == 0);
  }
  static const double bad[] = {NAN, INFINITY, -INFINITY, 1e151, -1e300};
  for (size_t k = 0; k < LENGTH_OF(bad); k++) {
    struct cns_problem problem = {{0}};
    a[1] = bad[k];
    assert_int_equal(cns_grid_round(a, 2, 1, 4, rng, x, &problem), CNS_ERR_RANGE);
    assert_non_null(strstr(problem.text, "coordinate 1"));
    assert_true(x[0] == 0 && x[1] == 0);
  }
  a[1] = 1;
  assert_int_equal(cns_grid_round(a, 2, 1, 28, rng, x, NULL), 0);
  assert_int_equal(cns_grid_round(a, 2, 1, 29, rng, x, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_grid_round(a, 2, 1, -129, rng, x, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_grid_round(a, 2, 1, 128, rng, x, NULL), CNS_ERR_RANGE);
  assert_int_equal(cns_grid_round(a, 2, 1, 4, (struct cns_rng){fill_failing, NULL}, x, NULL), CNS_ERR_RANDOM);
  assert_true(x[0] == 0 && x[1] == 0);
  assert_int_equal(cns_grid_radius_steps(1, 0, 0, &steps), CNS_ERR_RANGE);
  assert_int_equal(cns_grid_radius_steps(1, CNS_GRID_LEN_MAX + 1, 0, &steps), CNS_ERR_RANGE);
  assert_int_equal(cns_grid_sensitivity(1e30, 1, 1, 127, &steps), CNS_ERR_RANGE);
  assert_int_equal(steps, 9);
}

int main(void) {
  print_message("# seed %d\n", SEED);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(neighbours_stay_neighbours, setup),
      cmocka_unit_test_setup(rounding_is_floor_of_value_plus_u, setup),
      cmocka_unit_test_setup(the_bound_is_reached, setup),
      cmocka_unit_test_setup(rounding_is_unbiased, setup),
      cmocka_unit_test_setup(long_vectors_are_projected, setup),
      cmocka_unit_test_setup(norms_are_exact, setup),
      cmocka_unit_test_setup(bounds_are_rounded_up, setup),
      cmocka_unit_test_setup(nonsense_is_refused, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
