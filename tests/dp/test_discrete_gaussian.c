/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, shapes, loops and refusals of the discrete Gaussian; what it draws is in
 * test_discrete_gaussian_statistics.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/mask.h"
#include "discrete_gaussian_vectors.h"
#include "dp/discrete_gaussian_internal.h"

#define SEED 20
#define LENGTH_OF(array) (sizeof(array) / sizeof(array)[0])
#define COLUMNS CNS_DISCRETE_GAUSSIAN_COLUMNS
#define SLICES CNS_DISCRETE_GAUSSIAN_SLICES
#define LANES CNS_DISCRETE_GAUSSIAN_LANES
#define COLUMN_SIZE ((cns_u128)1 << CNS_DISCRETE_GAUSSIAN_COLUMN_BITS)
#define BATCH 512
/* Not a multiple of a batch, nor of a block. */
#define COUNT 1337

static const double sigmas[] = {0.25, 0.5, 3, 15.9, 18, 18.1, 100, 12345.6, 0x1p22, 0x1p30};

static int setup(void **state) {
  return cns_init();
}

static struct cns_rng_seeded seeded(const char *label) {
  struct cns_rng_seeded rng;
  cns_rng_seeded_init_label(&rng, SEED, label);
  return rng;
}

static struct cns_discrete_gaussian *sampler_new(double sigma) {
  struct cns_discrete_gaussian *sampler = NULL;
  assert_int_equal(cns_discrete_gaussian_new(sigma, &sampler, NULL), 0);
  return sampler;
}

static cns_u128 threshold(const struct cns_discrete_gaussian_table *table, size_t column) {
  cns_u128 value = 0;
  for (size_t slice = 1; slice + 1 < SLICES; slice++)
    value = value << 8 | table->slices[slice][column];
  return value << 7 | table->slices[SLICES - 1][column];
}

/* Units of 2^-127 for each |x|, counted over the columns; false if they don't add up. */
static bool masses_of(const struct cns_discrete_gaussian_table *table, cns_u128 masses[static COLUMNS]) {
  memset(masses, 0, COLUMNS * sizeof *masses);
  for (size_t c = 0; c < COLUMNS; c++) {
    const cns_u128 own = threshold(table, c);
    if (own >= COLUMN_SIZE) return false;
    masses[c] += own;
    masses[table->slices[0][c]] += COLUMN_SIZE - own;
  }
  cns_u128 total = 0;
  for (size_t m = 0; m < COLUMNS; m++)
    total += masses[m];
  return total == COLUMN_SIZE * COLUMNS;
}

static void table_is_right_to_the_last_bit(void **state) {
  static struct cns_discrete_gaussian_table table;
  cns_u128 masses[COLUMNS];
  for (size_t i = 0; i < LENGTH_OF(table_vectors); i++) {
    cns_discrete_gaussian_table_init(&table, table_vectors[i].sigma);
    assert_true(masses_of(&table, masses));
    double variance = 0;
    for (size_t m = 0; m < COLUMNS; m++) {
      cns_u128 expected = 0;
      if (m < table_vectors[i].count)
        expected = (cns_u128)table_vectors[i].masses[m][0] << 64 | table_vectors[i].masses[m][1];
      const cns_u128 off = masses[m] > expected ? masses[m] - expected : expected - masses[m];
      assert_true(off <= (m == 0 ? 128 : 0)); /* 0 takes up what rounding leaves */
      variance += (double)(m * m) * (double)masses[m] / 0x1p127;
    }
    assert_true(fabs(variance / table_vectors[i].variance - 1) < 1e-14);
  }
}

static void tables_add_up(void **state) {
  static struct cns_discrete_gaussian_table table;
  cns_u128 masses[COLUMNS];
  for (double sigma = 0.25; sigma <= 18; sigma *= 1.11) {
    cns_discrete_gaussian_table_init(&table, sigma);
    assert_true(masses_of(&table, masses));
    for (size_t m = 2; m < COLUMNS; m++)
      assert_true(masses[m] <= masses[m - 1]);
  }
}

static void versions_are_equal(void **state) {
  enum { BLOCKS = 5, ELEMENTS = BLOCKS * LANES };
  static _Alignas(64) uint8_t random[BLOCKS * CNS_DISCRETE_GAUSSIAN_BLOCK_BYTES];
  static _Alignas(64) int32_t expected[ELEMENTS], sums[ELEMENTS];
  static int64_t wide[2][ELEMENTS];
  static uint32_t words[2][ELEMENTS];
  static struct cns_discrete_gaussian_table table;
  const struct cns_discrete_gaussian_version *plain = cns_discrete_gaussian_version(0), *version;
  struct cns_rng_seeded rng = seeded("versions");
  for (size_t i = 0; i < 40; i++) {
    cns_discrete_gaussian_table_init(&table, 0.25 + 17.75 * (double)i / 39);
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), random, sizeof random), 0);
    /* Bytes that are equal to the table's are rare: some are made so. */
    for (size_t at = 0; at < ELEMENTS; at += 3)
      for (size_t slice = 1; slice < SLICES - i % SLICES; slice++) {
        uint8_t *block = random + at / LANES * CNS_DISCRETE_GAUSSIAN_BLOCK_BYTES;
        block[slice * LANES + at % LANES] = table.slices[slice][block[at % LANES]];
      }
    for (size_t number = 0; (version = cns_discrete_gaussian_version(number)); number++) {
      for (size_t s = 0; s < ELEMENTS; s++)
        expected[s] = sums[s] = (int32_t)(s * 1000) - 100000;
      plain->draw(&table, random, BLOCKS, (int32_t)(i % 9), expected);
      version->draw(&table, random, BLOCKS, (int32_t)(i % 9), sums);
      assert_memory_equal(sums, expected, sizeof sums);
      memcpy(words[0], random, sizeof words[0]);
      memcpy(words[1], random, sizeof words[1]);
      plain->store(expected, sums, 25088, wide[0], ELEMENTS - i);
      version->store(expected, sums, 25088, wide[1], ELEMENTS - i);
      plain->add(expected, sums, 25088, words[0], ELEMENTS - i);
      version->add(expected, sums, 25088, words[1], ELEMENTS - i);
      assert_memory_equal(wide[0], wide[1], sizeof wide[0]);
      assert_memory_equal(words[0], words[1], sizeof words[0]);
    }
  }
}

/* One sample from its sixteen bytes, as the header tells it. */
static int64_t sample_of(const struct cns_discrete_gaussian_table *table, const uint8_t *block, size_t lane) {
  cns_u128 f = 0;
  for (size_t row = 1; row + 1 < SLICES; row++)
    f = f << 8 | block[row * LANES + lane];
  const uint8_t column = block[lane], last = block[(SLICES - 1) * LANES + lane];
  f = f << 7 | (last & 0x7f);
  const int64_t m = f < threshold(table, column) ? column : table->slices[0][column];
  return last & 0x80 ? -m : m;
}

/* All of a call's samples from its 32 bytes, in 64 bits and one after the other. */
static void recompute(double sigma, struct cns_rng rng, int64_t *ret) {
  static struct cns_discrete_gaussian_table table;
  static uint32_t stream[BATCH * SLICES / 4];
  struct cns_discrete_gaussian_shape shape;
  struct cns_mask_plan *plan = NULL;
  struct cns_mask_term term = {.sign = 1};
  cns_discrete_gaussian_shape_init(&shape, sigma);
  cns_discrete_gaussian_table_init(&table, shape.base_sigma);
  assert_int_equal(cns_rng_fill(rng, term.seed.bytes, sizeof term.seed.bytes), 0);
  assert_int_equal(cns_mask_plan_new(&term, 1, &plan), 0);
  memset(ret, 0, COUNT * sizeof *ret);
  for (size_t at = 0, position = 0; at < COUNT; at += BATCH)
    /* The upper draws come first, then the lower ones; each time the largest weight first. */
    for (size_t draw = shape.draws; draw-- > 0; position += LENGTH_OF(stream)) {
      int64_t weight = 1;
      for (size_t k = 0; k < draw; k++)
        weight *= shape.factors[k];
      assert_int_equal(cns_mask_plan_generate(plan, position, LENGTH_OF(stream), LENGTH_OF(stream), stream),
                       0);
      for (size_t k = 0; k < LENGTH_OF(stream); k++)
        stream[k] = htole32(stream[k]);
      for (size_t s = 0; s < BATCH && at + s < COUNT; s++)
        ret[at + s] += weight * sample_of(&table, (uint8_t *)stream + s / LANES * SLICES * LANES, s % LANES);
    }
  cns_mask_plan_free(plan);
}

static void samples_are_what_the_bytes_say(void **state) {
  static int64_t expected[COUNT], found[COUNT];
  static uint32_t words[COUNT], before[COUNT];
  const struct cns_discrete_gaussian_version *version;
  for (size_t i = 0; i < LENGTH_OF(sigmas); i++) {
    struct cns_discrete_gaussian *sampler = sampler_new(sigmas[i]);
    struct cns_rng_seeded rng = seeded("bytes");
    recompute(sigmas[i], cns_rng_seeded(&rng), expected);
    for (size_t number = 0; (version = cns_discrete_gaussian_version(number)); number++) {
      cns_discrete_gaussian_use(sampler, version);
      rng = seeded("bytes");
      assert_int_equal(cns_discrete_gaussian_fill(sampler, cns_rng_seeded(&rng), found, COUNT), 0);
      assert_memory_equal(found, expected, sizeof found);
      rng = seeded("words");
      assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), (uint8_t *)words, sizeof words), 0);
      memcpy(before, words, sizeof words);
      rng = seeded("bytes");
      assert_int_equal(cns_discrete_gaussian_add(sampler, cns_rng_seeded(&rng), words, COUNT), 0);
      for (size_t k = 0; k < COUNT; k++)
        assert_int_equal(words[k], (uint32_t)(before[k] + (uint64_t)expected[k]));
    }
    cns_discrete_gaussian_free(sampler);
  }
}

static void each_call_has_a_seed_of_its_own(void **state) {
  static int64_t a[COUNT], b[COUNT];
  for (size_t i = 0; i < LENGTH_OF(sigmas); i++) {
    struct cns_discrete_gaussian *sampler = sampler_new(sigmas[i]);
    struct cns_rng_seeded rng = seeded("calls");
    assert_int_equal(cns_discrete_gaussian_fill(sampler, cns_rng_seeded(&rng), a, COUNT), 0);
    assert_int_equal(cns_discrete_gaussian_fill(sampler, cns_rng_seeded(&rng), b, COUNT), 0);
    assert_true(sigmas[i] < 0.5 || memcmp(a, b, sizeof a) != 0);
    rng = seeded("calls");
    assert_int_equal(cns_discrete_gaussian_fill(sampler, cns_rng_seeded(&rng), b, 600), 0);
    assert_memory_equal(a, b, 600 * sizeof *a);
    assert_int_equal(cns_discrete_gaussian_fill(sampler, cns_rng_seeded(&rng), b, 0), 0);
    cns_discrete_gaussian_free(sampler);
  }
  struct cns_rng_seeded rng = seeded("calls");
  assert_int_equal(cns_discrete_gaussian_exact(81, 4, cns_rng_seeded(&rng), a, COUNT), 0);
  assert_int_equal(cns_discrete_gaussian_exact(81, 4, cns_rng_seeded(&rng), b, COUNT), 0);
  assert_memory_not_equal(a, b, sizeof a);
  rng = seeded("calls");
  assert_int_equal(cns_discrete_gaussian_exact(81, 4, cns_rng_seeded(&rng), b, 600), 0);
  assert_memory_equal(a, b, 600 * sizeof *a);
}

static int fill_fails(void *context, uint8_t *out, size_t len) {
  memset(out, 1, len);
  ++*(int *)context;
  return CNS_ERR_RANDOM;
}

static void nothing_is_left_of_a_failure(void **state) {
  static const int64_t zeros[COUNT];
  static int64_t wide[COUNT];
  static uint32_t words[COUNT];
  int calls = 0;
  const struct cns_rng rng = {.fill = fill_fails, .context = &calls};
  struct cns_discrete_gaussian *sampler = sampler_new(100);
  memset(wide, 7, sizeof wide);
  assert_int_equal(cns_discrete_gaussian_fill(sampler, rng, wide, COUNT), CNS_ERR_RANDOM);
  assert_memory_equal(wide, zeros, sizeof wide);
  memset(words, 7, sizeof words);
  assert_int_equal(cns_discrete_gaussian_add(sampler, rng, words, COUNT), CNS_ERR_RANDOM);
  assert_memory_equal(words, zeros, sizeof words);
  memset(wide, 7, sizeof wide);
  assert_int_equal(cns_discrete_gaussian_exact(100, 3, rng, wide, COUNT), CNS_ERR_RANDOM);
  assert_memory_equal(wide, zeros, sizeof wide);
  assert_int_equal(calls, 3);
  cns_discrete_gaussian_free(sampler);
  assert_null(cns_discrete_gaussian_free(NULL));
}

static void nonsense_is_refused(void **state) {
  static const double bad[] = {0, -0.0, -1, NAN, INFINITY, -INFINITY, 0.2499999, 1e-300, 0x1.00001p30, 1e300};
  struct cns_discrete_gaussian *sampler = NULL;
  for (size_t i = 0; i < LENGTH_OF(bad); i++) {
    struct cns_problem problem = {{0}};
    assert_int_equal(cns_discrete_gaussian_new(bad[i], &sampler, &problem), CNS_ERR_RANGE);
    assert_non_null(strstr(problem.text, "choose one from 0.25 to 1073741824"));
    assert_null(sampler);
  }
  static const uint64_t variances[][2] = {{0, 1},
                                          {1, 0},
                                          {0, 0},
                                          {UINT64_C(1) << 56, 1},
                                          {1, (UINT64_C(1) << 56) + 1},
                                          {UINT64_MAX, 1},
                                          {UINT64_MAX, UINT64_MAX},
                                          {1, UINT64_MAX}};
  struct cns_rng_seeded rng = seeded("nonsense");
  for (size_t i = 0; i < LENGTH_OF(variances); i++) {
    int64_t x = 5;
    assert_int_equal(
        cns_discrete_gaussian_exact(variances[i][0], variances[i][1], cns_rng_seeded(&rng), &x, 1),
        CNS_ERR_RANGE);
    assert_int_equal(x, 0);
  }
  int64_t x = 0;
  assert_int_equal(cns_discrete_gaussian_exact(1, UINT64_C(1) << 56, cns_rng_seeded(&rng), &x, 1), 0);
  assert_int_equal(
      cns_discrete_gaussian_exact((UINT64_C(1) << 56) - (UINT64_C(1) << 29), 1, cns_rng_seeded(&rng), &x, 1),
      0);
}

static void check_shape(double sigma) {
  struct cns_discrete_gaussian_shape shape;
  cns_discrete_gaussian_shape_init(&shape, sigma);
  uint64_t squares = 0, weight = 1, reach[2] = {0, 0}, scale = 1;
  for (size_t k = 0; k < shape.draws; k++) {
    const bool lower = k < shape.lower_draws;
    squares += weight * weight;
    reach[lower] += 255 * (lower ? weight : weight / scale);
    weight *= shape.factors[k];
    if (lower) scale *= shape.factors[k];
  }
  assert_true(shape.base_sigma <= CNS_DISCRETE_GAUSSIAN_TABLE_SIGMA && squares < UINT64_C(1) << 53);
  assert_true(reach[0] < INT32_MAX && reach[1] < INT32_MAX && scale == (uint64_t)shape.lower_scale);
  assert_true(reach[0] * scale + reach[1] < (uint64_t)CNS_DISCRETE_GAUSSIAN_LIMIT);
  /* Ten bits more than a double has are enough to see on which side it is. */
  const long double drawn = (long double)shape.base_sigma * sqrtl((long double)squares);
  assert_true(drawn >= sigma && drawn <= sigma * (1 + 0x1p-50L));
  assert_true(shape.sigma >= sigma && shape.sigma <= drawn);
  assert_true(shape.distance_log2 <= -104 + 0x1p-19);
}

static void every_sigma_has_a_shape(void **state) {
  for (double sigma = 0.25; sigma < 0x1p30; sigma *= 1.0017)
    check_shape(sigma);
  for (uint64_t sigma = 17; sigma <= UINT64_C(1) << 30; sigma += sigma / 4000 + 1)
    check_shape((double)sigma);
  check_shape(nextafter(18, 19));
  check_shape(0x1p30);
  struct cns_discrete_gaussian *sampler = sampler_new(7.25);
  assert_true(cns_discrete_gaussian_sigma(sampler) == 7.25);
  assert_true(cns_discrete_gaussian_distance_log2(sampler) < -118.9);
  cns_discrete_gaussian_free(sampler);
}

enum { REACH = 400 };
typedef long double mass_function[2 * REACH + 1];

static void exact_masses(long double variance, mass_function p) {
  long double total = 0;
  for (int x = -REACH; x <= REACH; x++)
    total += p[x + REACH] = expl(-(long double)x * x / (2 * variance));
  for (int x = -REACH; x <= REACH; x++)
    p[x + REACH] /= total;
}

/* Of x1 + k*x2. */
static void convolve(const mass_function p1, int k, const mass_function p2, mass_function q) {
  for (int x = -REACH; x <= REACH; x++)
    q[x + REACH] = 0;
  for (int y = -REACH / k; y <= REACH / k; y++)
    for (int x = -REACH; x <= REACH; x++)
      if (abs(x - k * y) <= REACH) q[x + REACH] += p1[x - k * y + REACH] * p2[y + REACH];
}

static double half_l1(const mass_function p, const mass_function q) {
  long double sum = 0;
  for (size_t i = 0; i < 2 * REACH + 1; i++)
    sum += fabsl(p[i] - q[i]);
  return (double)(sum / 2);
}

/* Gaussians that are too narrow to be put together without a trace, so that it is seen. The
 * bound is near: a factor of 2 comes from its triangle inequality, and 2/pi from the cosine. */
static void convolution_is_bounded(void **state) {
  static const struct {
    double sigma1, sigma2;
    int k;
  } cases[] = {{1, 1, 1}, {0.8, 0.8, 1}, {2, 2, 2}, {2.5, 1.2, 2},
               {2, 6, 3}, {3, 3, 3},     {4, 5, 4}, {5, 5, 5}};
  static mass_function p1, p2, wanted, found;
  for (size_t i = 0; i < LENGTH_OF(cases); i++) {
    const long double a = cases[i].sigma1, b = cases[i].sigma2;
    const int k = cases[i].k;
    exact_masses(a * a, p1);
    exact_masses(b * b, p2);
    exact_masses(a * a + k * k * b * b, wanted);
    convolve(p1, k, p2, found);
    const double distance = half_l1(wanted, found),
                 bound = cns_discrete_gaussian_convolution((double)a, (double)b, k);
    print_message("# %g + %d * %g: distance %.3g, bound %.3g\n", (double)a, k, (double)b, distance, bound);
    assert_true(distance <= bound && distance >= bound / 8);
  }
  assert_true(isinf(cns_discrete_gaussian_convolution(0.1, 0.1, 1)));
}

/* Two steps cost no more than their sum; and with a shape's own margins nothing is seen. */
static void convolutions_add_up(void **state) {
  static mass_function p, inner, outer, wanted;
  const double sigma = 2, sigma2 = sigma * sqrt(5);
  exact_masses(sigma * sigma, p);
  convolve(p, 2, p, inner);
  convolve(p, 2, inner, outer);
  exact_masses(sigma * sigma * 21, wanted);
  assert_true(half_l1(wanted, outer) <= cns_discrete_gaussian_convolution(sigma, sigma, 2) +
                                            cns_discrete_gaussian_convolution(sigma, sigma2, 2));
  struct cns_discrete_gaussian_shape shape;
  cns_discrete_gaussian_shape_init(&shape, 40);
  assert_int_equal(shape.draws, 2);
  exact_masses((long double)shape.base_sigma * shape.base_sigma, p);
  convolve(p, shape.factors[0], p, outer);
  exact_masses(40 * 40, wanted);
  assert_true(half_l1(wanted, outer) < 1e-14);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(table_is_right_to_the_last_bit),
      cmocka_unit_test(tables_add_up),
      cmocka_unit_test(versions_are_equal),
      cmocka_unit_test(samples_are_what_the_bytes_say),
      cmocka_unit_test(each_call_has_a_seed_of_its_own),
      cmocka_unit_test(nothing_is_left_of_a_failure),
      cmocka_unit_test(nonsense_is_refused),
      cmocka_unit_test(every_sigma_has_a_shape),
      cmocka_unit_test(convolution_is_bounded),
      cmocka_unit_test(convolutions_add_up),
  };
  print_message("# seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, NULL);
}
