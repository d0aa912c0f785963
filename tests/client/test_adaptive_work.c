/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital sends with an adaptive clip norm: neighbouring tables by brute force, in
 * whole numbers, against the sensitivity that the noise is made for. */
#include "tests/client/work_bench.h"

#define SEED 20272
#define PATIENTS 9
#define SHARE 0.05

/* Each patient's norm at this clip norm: they may be bounded in two ways (model/private.h). */
static void norms_of(const struct bench *b, double clip, double *ret_norms) {
  size_t patients = b->table.patients;
  struct cns_private_factor *factors = calloc(patients, sizeof *factors);
  bool *in = everybody(patients);
  double *sum = zeros(b->plan.dim);
  assert_non_null(factors);
  assert_int_equal(
      cns_private_gradient_factors(&b->plan, b->params, &b->table, in, clip, NULL, sum, factors, NULL, NULL),
      0);
  for (size_t p = 0; p < patients; p++)
    ret_norms[p] = factors[p].norm;
  free(factors);
  free(in);
  free(sum);
}

/* Clip norms: all within, all beyond, between, and exactly a patient's norm and just below it. */
static size_t clips_of(const struct bench *b, double *ret_clips) {
  double norms[PATIENTS], smallest = INFINITY, largest = 0;
  size_t count = 0;
  norms_of(b, 1, norms);
  for (size_t p = 0; p < PATIENTS; p++) {
    smallest = fmin(smallest, norms[p]);
    largest = fmax(largest, norms[p]);
  }
  ret_clips[count++] = 2 * largest;
  ret_clips[count++] = smallest / 2;
  ret_clips[count++] = sqrt(smallest * largest);
  for (size_t p = 0; p < 3; p++) {
    double exact[PATIENTS];
    norms_of(b, norms[p], exact);
    ret_clips[count++] = exact[p];
    ret_clips[count++] = nextafter(exact[p], 0);
  }
  return count;
}

static void one_patient_moves_the_vector_within_the_joint_sensitivity(void **state) {
  double closest = 0;
  size_t caught = 0, cases = 0;
  (void)state;
  for (size_t n = 0; n < 5; n++) {
    struct bench b;
    double clips[16];
    cns_rng_seeded_init_label(&generator, SEED + n, "neighbours");
    init(&b, &networks[n], PATIENTS);
    size_t count = clips_of(&b, clips);
    for (size_t k = 0; k < count; k++) {
      double farthest;
      assert_int_equal(cns_rng_fill(cns_rng_seeded(&generator), b.key, sizeof b.key), 0);
      describe(&b, clips[k], SHARE);
      if (!within_announced(&b, b.numbers.sensitivity, &farthest))
        fail_msg("seed %d: network %zu, clip norm %g: %g steps, announced %llu", SEED, n, clips[k], farthest,
                 (unsigned long long)b.numbers.sensitivity);
      closest = fmax(closest, farthest / (double)b.numbers.sensitivity);
      /* A version with a flaw: noise for the gradients alone, as with a fixed clip norm. */
      struct cns_mechanism flawed = b.mechanism;
      struct cns_mechanism_numbers numbers;
      flawed.indicator_share = 0;
      flawed.dim--;
      assert_int_equal(cns_mechanism_compute(&flawed, &numbers, NULL), 0);
      caught += !within_announced(&b, numbers.sensitivity, &farthest);
      cases++;
    }
    deinit(&b);
  }
  /* Nothing is given away: it comes near; and the flaw shows wherever somebody is clipped. */
  assert_true(closest > 0.999);
  if (caught < cases / 2) fail_msg("seed %d: a flaw was found in %zu of %zu cases", SEED, caught, cases);
}

static int64_t indicators_of(const struct bench *b) {
  uint32_t *x = vector_of(b, &b->table);
  int64_t sum = (int32_t)x[b->plan.dim];
  free(x);
  return sum;
}

/* By counting; at the edge a patient is within. */
static void the_indicator_counts_who_is_within(void **state) {
  (void)state;
  for (size_t n = 0; n < 5; n++) {
    struct bench b;
    double clips[16], norms[PATIENTS];
    cns_rng_seeded_init_label(&generator, SEED + n, "count");
    init(&b, &networks[n], PATIENTS);
    size_t count = clips_of(&b, clips);
    for (size_t k = 0; k < count; k++) {
      int64_t expected = 0;
      describe(&b, clips[k], SHARE);
      norms_of(&b, clips[k], norms);
      for (size_t p = 0; p < PATIENTS; p++)
        expected += norms[p] <= clips[k] ? 1 : -1;
      assert_int_equal(indicators_of(&b), expected * (int64_t)b.numbers.indicator);
      if (k == 0) assert_int_equal(expected, PATIENTS);
      if (k == 1) assert_int_equal(expected, -PATIENTS);
    }
    for (size_t k = 3; k + 1 < count; k += 2) { /* exactly the norm, and just below */
      describe(&b, clips[k], SHARE);
      int64_t at = indicators_of(&b) / (int64_t)b.numbers.indicator;
      describe(&b, clips[k + 1], SHARE);
      int64_t below_it = indicators_of(&b) / (int64_t)b.numbers.indicator;
      assert_int_equal(at - below_it, 2);
    }
    deinit(&b);
  }
}

/* The gradients are those of a fixed clip norm, on the same grid: nothing else is touched. */
static void the_gradients_stay_what_they_are(void **state) {
  struct bench b;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "same");
  init(&b, &networks[3], PATIENTS);
  describe(&b, 0.5, SHARE);
  uint32_t *with = vector_of(&b, &b.table);
  b.input.indicator = 0;
  b.plan.adaptive_clip.share = 0;
  uint32_t *fixed = vector_of(&b, &b.table);
  assert_memory_equal(with, fixed, b.plan.dim * sizeof *with);
  free(with);
  free(fixed);
  deinit(&b);
}

/* More patients than the public bound count as so many; more is never sent. */
static void the_count_is_cut_off_and_checked(void **state) {
  struct bench b;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "cut off");
  init(&b, &networks[0], PATIENTS);
  describe(&b, 1e6, SHARE);
  b.input.patients = 4;
  assert_int_equal(indicators_of(&b), 4 * (int64_t)b.numbers.indicator);
  describe(&b, 1e-6, SHARE);
  b.input.patients = 4;
  assert_int_equal(indicators_of(&b), -4 * (int64_t)b.numbers.indicator);
  /* All its patients at the far end of the count: within theta, and beyond one that is smaller. */
  describe(&b, 1e6, SHARE);
  uint32_t *x = vector_of(&b, &b.table);
  uint64_t norm = (uint64_t)floor(sqrt((double)cns_grid_norm(x, b.plan.dim + 1)));
  assert_true(norm >= PATIENTS * b.numbers.indicator);
  struct cns_work_input input = b.input;
  input.theta = norm - 1;
  struct outcome refused = run_work(&b, &input);
  assert_int_equal(refused.error, CNS_ERR_RANGE);
  assert_null(refused.result.x);
  assert_non_null(strstr(refused.problem.text, "longer than the round's bound"));
  free(x);
  deinit(&b);
}

/* Its noise is one share's, as that of all other numbers: mean 0, variance sigma_local^2. */
static void the_indicator_has_its_noise(void **state) {
  enum { REPEATS = 3000 };
  struct bench b;
  struct cns_rng_seeded random;
  double sum = 0, squares = 0;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "noise");
  cns_rng_seeded_init_label(&random, SEED, "noise source");
  init(&b, &networks[0], PATIENTS);
  describe(&b, 0.5, SHARE);
  int64_t plain = indicators_of(&b);
  b.input.rng = cns_rng_seeded(&random);
  b.input.sampling_rate = 1;
  b.input.sigma_local = b.numbers.sigma_local;
  for (int k = 0; k < REPEATS; k++) {
    double noise = (double)(indicators_of(&b) - plain) / b.numbers.sigma_local;
    sum += noise;
    squares += noise * noise;
  }
  double mean = sum / REPEATS, variance = squares / REPEATS;
  if (fabs(mean) > 5 / sqrt(REPEATS) || fabs(variance - 1) > 5 * sqrt(2.0 / REPEATS))
    fail_msg("seed %d: mean %g, variance %g", SEED, mean, variance);
  deinit(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_patient_moves_the_vector_within_the_joint_sensitivity),
      cmocka_unit_test(the_indicator_counts_who_is_within),
      cmocka_unit_test(the_gradients_stay_what_they_are),
      cmocka_unit_test(the_count_is_cut_off_and_checked),
      cmocka_unit_test(the_indicator_has_its_noise),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
