/* SPDX-License-Identifier: Apache-2.0 */
/* The mechanism's numbers against whole numbers, long doubles and trying every scale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "crypto/rng.h"
#include "dp/mechanism.h"

#define SEED 20261
#define COHORTS 400

__extension__ typedef unsigned __int128 u128;

static struct cns_rng_seeded generator;
static uint64_t drawn_case;
static uint32_t weights[CNS_HOSPITALS_MAX];

static uint64_t below(uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), bound, &value), 0);
  return value;
}

/* Log-uniform, so that small and large ones come alike. */
static uint64_t sized(uint64_t largest) {
  unsigned bits = 0;
  while (largest >> bits)
    bits++;
  uint64_t value = below(UINT64_C(1) << below(bits + 1)) + 1;
  return value > largest ? largest : value;
}

static void expect(bool holds, const char *what) {
  if (!holds) fail_msg("seed %d, case %llu: %s", SEED, (unsigned long long)drawn_case, what);
}

/* Clip norms are whole numbers of 1/1024. */
static struct cns_mechanism draw(enum cns_privacy_unit unit, enum cns_noise_placement placement) {
  struct cns_mechanism m = {.unit = unit, .placement = placement, .weights = weights};
  drawn_case++;
  m.count = below(20) ? 1 + below(40) : 1 + below(CNS_HOSPITALS_MAX);
  uint64_t cap = sized(CNS_QUANTIZE_WEIGHT_MAX);
  for (size_t k = 0; k < m.count; k++)
    weights[k] = (uint32_t)sized(cap);
  m.clip = (double)sized(1u << 16) / 1024;
  m.dim = sized(1u << 26);
  m.colluders = (uint16_t)below(m.count / 3 + 1);
  m.minimum_included = (uint16_t)(m.colluders + 1 + below(m.count - m.colluders));
  if (placement == CNS_NOISE_NONE) return m;
  m.noise_multiplier = ldexp((double)(1 + below(1000)) / 1000, (int)below(6));
  m.sampling_rate = unit == CNS_UNIT_HOSPITAL ? 1 : (double)(1 + below(1000)) / 1000;
  return m;
}

/* ---- the numbers again, otherwise ---- */

/* ceil(101/100 * clip * weight * 2^s) in whole numbers; 0: too large for this test. */
static uint64_t theta_of_hospital(double clip, uint32_t weight, int scale) {
  u128 top = (u128)(uint64_t)(clip * 1024) * weight * 101, bottom = 102400;
  if (scale > 70) return 0;
  if (scale >= 0)
    top <<= scale;
  else if (scale < -60)
    return 1;
  else
    bottom <<= -scale;
  u128 steps = (top + bottom - 1) / bottom;
  return steps >> 40 ? 0 : (uint64_t)steps;
}

/* So many clip norms, to be rounded up. */
static long double patients_of(const struct cns_mechanism *m, uint32_t weight) {
  long double expected = (long double)m->sampling_rate * weight;
  return expected + 6 * sqrtl(expected) + 10;
}

/* Where that is a whole number but for a rounding, it may come out as the next one. */
static long double radius_of(const struct cns_mechanism *m, uint32_t weight) {
  double radius = 0;
  assert_int_equal(cns_mechanism_radius(m, weight, &radius), 0);
  long double patients = radius / (long double)m->clip, exact = patients_of(m, weight);
  expect(patients == floorl(patients), "radius in whole clip norms");
  expect(patients > exact * (1 - 1e-14L) && patients < (exact + 1) * (1 + 1e-14L), "radius");
  return radius;
}

static long double in_steps(const struct cns_mechanism *m, long double length) {
  return ldexpl(length, m->scale_log2) + sqrtl((long double)m->dim);
}

/* At least the exact value, and at most one step more than it rounded up. */
static void expect_steps(uint64_t steps, long double exact, const char *what) {
  expect((long double)steps >= exact && (long double)steps <= ceill(exact) + 1, what);
}

static void expect_close(double value, long double exact, const char *what) {
  expect(value >= exact && value <= exact * (1 + 0x1p-30L), what);
}

static void check_theta(const struct cns_mechanism *m, uint32_t weight, uint64_t *ret_theta) {
  double radius = 0;
  assert_int_equal(cns_mechanism_theta(m, weight, ret_theta), 0);
  assert_int_equal(cns_mechanism_radius(m, weight, &radius), 0);
  if (m->unit == CNS_UNIT_HOSPITAL) {
    expect(*ret_theta == theta_of_hospital(m->clip, weight, m->scale_log2), "theta");
    expect(radius == m->clip * weight, "radius");
    return;
  }
  expect_steps(*ret_theta, in_steps(m, radius_of(m, weight)) * (1 - 1e-15L), "theta");
}

static void check_sensitivity(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                              uint64_t largest) {
  if (m->unit == CNS_UNIT_HOSPITAL) {
    expect(n->sensitivity == largest, "sensitivity");
    return;
  }
  long double widest = 0;
  for (size_t k = 0; k < m->count; k++)
    widest = fmaxl(widest, radius_of(m, weights[k]));
  expect_steps(n->sensitivity, in_steps(m, m->clip * (1 + 0x1p-16L) + 2 * widest * 0x1p-41L) * (1 - 1e-15L),
               "sensitivity");
}

static void check_sigma(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n) {
  long double scaled = (long double)m->noise_multiplier * n->sensitivity;
  if (m->placement == CNS_NOISE_NONE) {
    expect(n->sigma == 0 && n->sigma_local == 0, "no noise");
    return;
  }
  expect_close(n->sigma, sqrtl(scaled * scaled + 3), "sigma");
  if (m->placement == CNS_NOISE_CENTRAL)
    expect(n->sigma_local == 0, "no share");
  else
    expect_close(n->sigma_local, n->sigma / sqrtl(m->minimum_included - m->colluders), "share");
}

/* The largest vector's bound, with its noise. */
static void check_bound(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n, uint32_t weight,
                        uint64_t theta, uint64_t *ret_bound) {
  long double x = theta, s = n->sigma_local, length = s * (sqrtl((long double)m->dim) + 10);
  assert_int_equal(cns_mechanism_bound(m, weight, n->sigma_local, ret_bound), 0);
  long double exact = sqrtl(x * x + 2 * x * s * 10 + length * length);
  expect(*ret_bound >= exact && (long double)*ret_bound <= ceill(exact * (1 + 0x1p-30L)), "bound");
}

static void check_range(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n, uint64_t sum,
                        uint64_t bound) {
  long double shares = m->placement == CNS_NOISE_DISTRIBUTED ? n->sigma_local * sqrtl(m->count) : n->sigma;
  uint64_t reach = n->range.honest - sum, more = n->range.second - n->range.honest;
  expect(n->range.honest >= sum, "honest range");
  expect(fabsl(reach - 16 * shares) <= 1 + 16 * shares * 0x1p-40L, "reach of the noise");
  u128 squares = (u128)32 * m->colluders * m->colluders * bound * bound;
  expect((u128)more * more >= squares, "second range");
  expect(more == 0 || (u128)(more - 1) * (more - 1) < squares, "second range isn't larger than it must be");
  expect(n->range.second < UINT64_C(1) << 31 && (u128)8 * bound * bound < (u128)1 << 60, "can't wrap");
}

static void check_numbers(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n) {
  uint64_t sum = 0, largest = 0, widest = 0, theta, bound;
  for (size_t k = 0; k < m->count; k++) {
    check_theta(m, weights[k], &theta);
    check_bound(m, n, weights[k], theta, &bound);
    sum += theta;
    largest = theta > largest ? theta : largest;
    widest = bound > widest ? bound : widest;
  }
  check_sensitivity(m, n, largest);
  check_sigma(m, n);
  check_range(m, n, sum, widest);
}

/* Of all 256 scales, the finest that passes; those below pass too, but for noise that is
 * in too few steps. */
static void check_finest(struct cns_mechanism m, int chosen) {
  struct cns_mechanism_numbers n;
  int finest = -129;
  for (m.scale_log2 = -128; m.scale_log2 <= 127; m.scale_log2++)
    if (cns_mechanism_compute(&m, &n, NULL) == 0) finest = m.scale_log2;
  expect(finest == chosen, "the finest scale");
}

/* At the next finer scale something doesn't fit, computed without looking at the code's bounds. */
static void check_next_wraps(struct cns_mechanism m) {
  long double sum = 0, largest = 0, noise = 0, share = 0;
  m.scale_log2++;
  for (size_t k = 0; k < m.count; k++) {
    long double theta = m.unit == CNS_UNIT_HOSPITAL ? ldexpl(1.01L * m.clip * weights[k], m.scale_log2)
                                                    : in_steps(&m, radius_of(&m, weights[k]));
    sum += theta + 2;
    largest = fmaxl(largest, theta + 2);
  }
  if (m.placement != CNS_NOISE_NONE) {
    long double unit = m.unit == CNS_UNIT_HOSPITAL ? largest : in_steps(&m, m.clip * (1 + 0x1p-15L)) + 2;
    noise = sqrtl(m.noise_multiplier * unit * m.noise_multiplier * unit + 3);
    if (m.placement == CNS_NOISE_DISTRIBUTED) share = noise / sqrtl(m.minimum_included - m.colluders);
    if (share > 0) noise = share * sqrtl(m.count);
  }
  long double length = share * (sqrtl((long double)m.dim) + 10);
  long double bound = sqrtl(largest * largest + 20 * largest * share + length * length) + 2;
  long double second = sum + 16 * noise + 2 + m.colluders * 2 * sqrtl(8) * bound + 2;
  expect(bound * sqrtl(8) * (1 + 1e-5L) >= 0x1p30L || second * (1 + 1e-5L) >= 0x1p31L,
         "the next scale wraps");
}

static void every_number_is_what_it_is_said_to_be(void **state) {
  static const struct {
    enum cns_privacy_unit unit;
    enum cns_noise_placement placement;
  } kinds[] = {{CNS_UNIT_HOSPITAL, CNS_NOISE_NONE},
               {CNS_UNIT_HOSPITAL, CNS_NOISE_CENTRAL},
               {CNS_UNIT_HOSPITAL, CNS_NOISE_DISTRIBUTED},
               {CNS_UNIT_PATIENT, CNS_NOISE_CENTRAL},
               {CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED}};
  (void)state;
  for (size_t kind = 0; kind < 5; kind++) {
    size_t passed = 0;
    for (size_t i = 0; i < COHORTS; i++) {
      struct cns_mechanism m = draw(kinds[kind].unit, kinds[kind].placement);
      struct cns_mechanism_numbers n;
      struct cns_problem problem = {0};
      int8_t scale;
      if (cns_mechanism_choose_scale(&m, &scale, &problem)) {
        expect(problem.text[0] != '\0', "a sentence");
        continue;
      }
      passed++;
      m.scale_log2 = scale;
      assert_int_equal(cns_mechanism_compute(&m, &n, &problem), 0);
      check_numbers(&m, &n);
      check_next_wraps(m);
      if (i % 8 == 0) check_finest(m, scale);
    }
    if (passed < COHORTS / 4) fail_msg("kind %zu: only %zu cohorts had a scale", kind, passed);
  }
}

static void without_noise_it_is_the_grid_of_updates(void **state) {
  (void)state;
  for (size_t i = 0; i < 2000; i++) {
    struct cns_mechanism m = draw(CNS_UNIT_HOSPITAL, CNS_NOISE_NONE);
    struct cns_mechanism_numbers n;
    struct cns_quantize_range range;
    int8_t scale = 0, expected = 0;
    int r = cns_mechanism_choose_scale(&m, &scale, NULL);
    expect(r == cns_quantize_choose_scale(m.clip, weights, m.count, m.colluders, &expected, NULL), "result");
    if (r) continue;
    expect(scale == expected, "scale");
    m.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&m, &n, NULL), 0);
    assert_int_equal(cns_quantize_range(m.clip, weights, m.count, m.colluders, scale, &range), 0);
    expect(n.range.honest == range.honest && n.range.second == range.second, "range");
  }
}

/* A sum of some: their thetas, and the noise that the whole cohort was promised. */
static void ranges_of_some_have_the_noise_of_all(void **state) {
  (void)state;
  for (size_t i = 0; i < 200; i++) {
    struct cns_mechanism m = draw(i % 2, i % 3 ? CNS_NOISE_DISTRIBUTED : CNS_NOISE_CENTRAL);
    struct cns_mechanism_numbers n;
    struct cns_quantize_range range;
    uint64_t sum = 0, theta;
    int8_t scale;
    if (cns_mechanism_choose_scale(&m, &scale, NULL)) continue;
    m.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&m, &n, NULL), 0);
    assert_int_equal(cns_mechanism_range(&m, &n, weights, m.count, &range), 0);
    assert_memory_equal(&range, &n.range, sizeof range);
    assert_int_equal(cns_mechanism_range(&m, &n, weights, 0, &range), CNS_ERR_ARGUMENT);
    size_t some = 1 + below(m.count);
    assert_int_equal(cns_mechanism_range(&m, &n, weights, some, &range), 0);
    for (size_t k = 0; k < some; k++) {
      assert_int_equal(cns_mechanism_theta(&m, weights[k], &theta), 0);
      sum += theta;
    }
    double all = m.placement == CNS_NOISE_CENTRAL ? n.sigma : n.sigma_local * sqrt((double)some);
    expect(range.honest >= sum + (uint64_t)(16 * all) && range.honest <= sum + (uint64_t)(16 * all) + 2,
           "honest range");
    expect(range.honest <= n.range.honest && range.second <= n.range.second, "not beyond the cohort's");
  }
}

static void more_of_one_gives_more_of_the_other(void **state) {
  (void)state;
  for (size_t i = 0; i < 300; i++) {
    struct cns_mechanism m = draw(i % 2, CNS_NOISE_DISTRIBUTED);
    struct cns_mechanism_numbers n, next;
    int8_t scale;
    if (cns_mechanism_choose_scale(&m, &scale, NULL)) continue;
    m.scale_log2 = scale - 1;
    if (cns_mechanism_compute(&m, &n, NULL)) continue; /* in too few steps */
    struct cns_mechanism other = m;
    other.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&other, &next, NULL), 0);
    expect(next.sensitivity >= n.sensitivity && next.sigma >= n.sigma && next.range.honest >= n.range.honest,
           "finer: more steps");
    other = m;
    other.noise_multiplier *= 1.25;
    if (cns_mechanism_compute(&other, &next, NULL) == 0)
      expect(next.sensitivity == n.sensitivity && next.sigma > n.sigma && next.sigma_local > n.sigma_local,
             "a larger multiplier: more noise");
    other = m;
    if (++other.minimum_included <= m.count && cns_mechanism_compute(&other, &next, NULL) == 0)
      expect(next.sigma == n.sigma && next.sigma_local < n.sigma_local, "a larger sum: smaller shares");
    other = m;
    if (++other.colluders < m.minimum_included && cns_mechanism_compute(&other, &next, NULL) == 0)
      expect(next.sigma == n.sigma && next.sigma_local > n.sigma_local, "more colluders: larger shares");
  }
}

/* ---- what is refused ---- */

static struct cns_mechanism sound(enum cns_privacy_unit unit, enum cns_noise_placement placement) {
  static const uint32_t hundred[] = {100, 100, 100, 100, 100};
  struct cns_mechanism m = {.unit = unit,
                            .placement = placement,
                            .noise_multiplier = placement ? 1 : 0,
                            .sampling_rate = placement == 0              ? 0
                                             : unit == CNS_UNIT_HOSPITAL ? 1
                                                                         : 0.1,
                            .clip = 1,
                            .dim = 1000,
                            .colluders = 1,
                            .minimum_included = 4,
                            .count = 5,
                            .weights = hundred};
  int8_t scale;
  assert_int_equal(cns_mechanism_choose_scale(&m, &scale, NULL), 0);
  m.scale_log2 = scale;
  return m;
}

static void refuse(const struct cns_mechanism *m, const char *sentence) {
  struct cns_problem problem = {0};
  struct cns_mechanism_numbers n = {.sensitivity = 77};
  int8_t scale = 99;
  assert_int_equal(cns_mechanism_compute(m, &n, &problem), CNS_ERR_RANGE);
  if (!strstr(problem.text, sentence)) fail_msg("'%s' is not in '%s'", sentence, problem.text);
  assert_int_equal(n.sensitivity, 77);
  assert_int_equal(cns_mechanism_choose_scale(m, &scale, &problem), CNS_ERR_RANGE);
  assert_int_equal(scale, 99);
  assert_int_equal(cns_mechanism_compute(m, &n, NULL), CNS_ERR_RANGE);
}

#define REFUSE(base, field, value, sentence)                                                                 \
  do {                                                                                                       \
    struct cns_mechanism wrong_ = base;                                                                      \
    wrong_.field = value;                                                                                    \
    refuse(&wrong_, sentence);                                                                               \
  } while (0)

static void refuse_common(struct cns_mechanism base) {
  static const uint32_t zero[] = {100, 100, 0, 100, 100}, large[] = {100, 100, 1000001, 100, 100};
  static const double clips[] = {0, -1, 1e300, (double)NAN, (double)INFINITY, -(double)INFINITY};
  for (size_t k = 0; k < 6; k++)
    REFUSE(base, clip, clips[k], k == 2 ? "" : "the clip norm");
  REFUSE(base, count, 0, "the number of hospitals");
  REFUSE(base, count, CNS_HOSPITALS_MAX + 1, "the number of hospitals");
  REFUSE(base, dim, 0, "the number of parameters");
  REFUSE(base, dim, UINT64_MAX, "the number of parameters");
  REFUSE(base, weights, zero, "a weight");
  REFUSE(base, weights, large, "a weight");
  REFUSE(base, unit, (enum cns_privacy_unit)2, "the privacy unit");
  REFUSE(base, placement, (enum cns_noise_placement)3, "the noise's placement");
}

static void refuse_noise(struct cns_mechanism base) {
  static const double multipliers[] = {0, -1, 0.009, 1e7, (double)NAN, (double)INFINITY};
  static const double rates[] = {0, -0.1, 1.5, (double)NAN, (double)INFINITY};
  for (size_t k = 0; k < 6; k++)
    REFUSE(base, noise_multiplier, multipliers[k], "the noise multiplier");
  for (size_t k = 0; k < 5; k++)
    REFUSE(base, sampling_rate, rates[k], "the sampling rate");
}

static void every_bad_parameter_is_refused(void **state) {
  (void)state;
  const struct cns_mechanism none = sound(CNS_UNIT_HOSPITAL, CNS_NOISE_NONE);
  refuse_common(none);
  REFUSE(none, noise_multiplier, 1, "the noise multiplier");
  REFUSE(none, sampling_rate, 1, "the sampling rate");
  REFUSE(none, unit, CNS_UNIT_PATIENT, "noise of unit patient");
  for (int unit = 0; unit < 2; unit++)
    for (int placement = 1; placement < 3; placement++) {
      struct cns_mechanism base = sound(unit, placement);
      refuse_common(base);
      refuse_noise(base);
      if (unit == CNS_UNIT_HOSPITAL) REFUSE(base, sampling_rate, 0.5, "the sampling rate");
    }
  struct cns_mechanism shares = sound(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED);
  REFUSE(shares, minimum_included, 1, "may collude");
  REFUSE(shares, colluders, 4, "may collude");
  REFUSE(shares, minimum_included, 0, "may collude");
}

/* The steps are so large that the noise is in fewer than 8 of them: at a coarse scale,
 * or at any because the cohort is so heavy. */
static void noise_in_too_few_steps_is_refused(void **state) {
  struct cns_problem problem = {0};
  struct cns_mechanism_numbers n;
  (void)state;
  struct cns_mechanism m = sound(CNS_UNIT_HOSPITAL, CNS_NOISE_DISTRIBUTED);
  m.scale_log2 = -5; /* theta 4 */
  assert_int_equal(cns_mechanism_compute(&m, &n, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "steps of the 32-bit grid"));
  m.scale_log2 = -3; /* 13, shares of 7.6 */
  assert_int_equal(cns_mechanism_compute(&m, &n, &problem), CNS_ERR_RANGE);
  m.scale_log2 = -2; /* 26, shares of 15 */
  assert_int_equal(cns_mechanism_compute(&m, &n, &problem), 0);
  assert_true(n.sigma_local > 8);
  for (size_t k = 0; k < CNS_HOSPITALS_MAX; k++)
    weights[k] = 1000000;
  struct cns_mechanism heavy = {.unit = CNS_UNIT_PATIENT,
                                .placement = CNS_NOISE_DISTRIBUTED,
                                .noise_multiplier = 0.01,
                                .sampling_rate = 1,
                                .clip = 1,
                                .dim = 1,
                                .minimum_included = CNS_HOSPITALS_MAX,
                                .count = CNS_HOSPITALS_MAX,
                                .weights = weights};
  int8_t scale;
  assert_int_equal(cns_mechanism_choose_scale(&heavy, &scale, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "a smaller cohort, smaller weights or more noise"));
}

static void divisor_and_extra_delta(void **state) {
  static const uint32_t some[] = {100, 250, 3};
  (void)state;
  struct cns_mechanism m = sound(CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED);
  m.sampling_rate = 0.25;
  assert_true(cns_mechanism_divisor(&m, some, 3) == 0.25 * 353);
  m.unit = CNS_UNIT_HOSPITAL;
  assert_true(cns_mechanism_divisor(&m, some, 3) == 353);
  /* (1 + e^22) times 2^-104 for each coordinate of each hospital. */
  assert_true(cns_mechanism_extra_delta(&m) >= (1 + exp(CNS_MECHANISM_EPSILON)) * 0x1p-104 * 1000 * 5);
  assert_true(cns_mechanism_extra_delta(&m) == 5000 * 0x1p-72);
  m.placement = CNS_NOISE_CENTRAL;
  assert_true(cns_mechanism_extra_delta(&m) == 1000 * 0x1p-72);
  m.placement = CNS_NOISE_NONE;
  assert_true(cns_mechanism_extra_delta(&m) == 0);
}

static int set_up(void **state) {
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "mechanism");
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_number_is_what_it_is_said_to_be),
      cmocka_unit_test(without_noise_it_is_the_grid_of_updates),
      cmocka_unit_test(ranges_of_some_have_the_noise_of_all),
      cmocka_unit_test(more_of_one_gives_more_of_the_other),
      cmocka_unit_test(every_bad_parameter_is_refused),
      cmocka_unit_test(noise_in_too_few_steps_is_refused),
      cmocka_unit_test(divisor_and_extra_delta),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, set_up, NULL);
}
