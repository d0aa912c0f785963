/* SPDX-License-Identifier: Apache-2.0 */
/* A round's work with noise: what comes out, how much of it is noise, and when nothing does. */
#include "tests/model/private_world.h"

#include <stdio.h>

#include "client/work.h"
#include "dp/clip.h"
#include "dp/discrete_gaussian.h"
#include "dp/grid.h"
#include "model/modelfile.h"
#include "tests/client/mapped.h"

#define SEED 20265

struct bench {
  struct cns_plan plan;
  struct cns_table table;
  float *params;
  uint8_t *model;
  size_t model_len;
  uint32_t weights[5];
  struct cns_mechanism mechanism;
  struct cns_mechanism_numbers numbers;
  struct cns_work_input input;
  struct cns_rng_seeded random;
};

struct outcome {
  int error, calls;
  struct cns_work_result result;
  struct cns_problem problem;
};

static void done(void *context, struct cns_work *work, int error, struct cns_work_result *result,
                 const struct cns_problem *problem) {
  struct outcome *outcome = context;
  (void)work;
  outcome->calls++;
  outcome->error = error;
  outcome->result = *result;
  outcome->problem = *problem;
}

static struct outcome run_work(const struct bench *b, const struct cns_work_input *input) {
  struct outcome outcome = {0};
  struct cns_work *work = NULL;
  uv_loop_t uv;
  struct cns_model_map *model = mapped(b->model, b->model_len);
  assert_non_null(model);
  assert_int_equal(uv_loop_init(&uv), 0);
  assert_int_equal(cns_work_start(&uv, input, model, done, &outcome, &work), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&uv), 0);
  assert_int_equal(outcome.calls, 1);
  return outcome;
}

/* What an agent hands in (client/round.c), for a cohort of five like this one. */
static void describe(struct bench *b, enum cns_privacy_unit unit, double rate) {
  struct cns_problem problem = {0};
  int8_t scale = 0;
  for (size_t k = 0; k < 5; k++)
    b->weights[k] = 60;
  b->mechanism = (struct cns_mechanism){.unit = unit,
                                        .placement = CNS_NOISE_DISTRIBUTED,
                                        .noise_multiplier = 1.5,
                                        .sampling_rate = rate,
                                        .clip = 0.5,
                                        .dim = b->plan.dim,
                                        .colluders = 1,
                                        .minimum_included = 4,
                                        .count = 5,
                                        .weights = b->weights};
  if (cns_mechanism_choose_scale(&b->mechanism, &scale, &problem)) fail_msg("%s", problem.text);
  b->mechanism.scale_log2 = scale;
  assert_int_equal(cns_mechanism_compute(&b->mechanism, &b->numbers, &problem), 0);
  b->input = (struct cns_work_input){.plan = &b->plan,
                                     .train = &b->table,
                                     .validation = &b->table,
                                     .clip_norm = b->mechanism.clip,
                                     .weight = 60,
                                     .scale_log2 = scale,
                                     .unit = unit,
                                     .sampling_rate = rate,
                                     .sigma_local = b->numbers.sigma_local,
                                     .rng = cns_rng_seeded(&b->random)};
  assert_int_equal(cns_mechanism_radius(&b->mechanism, 60, &b->input.radius), 0);
  assert_int_equal(cns_mechanism_theta(&b->mechanism, 60, &b->input.theta), 0);
}

static void init(struct bench *b, const struct network *network, size_t patients) {
  *b = (struct bench){.plan = plan_of(network)};
  cns_rng_seeded_init_label(&generator, SEED, "work");
  b->plan.rounds = b->plan.local_epochs = 1;
  b->plan.learning_rate = 0.5;
  b->plan.batch = 8;
  b->table = random_table(&b->plan, patients, 3);
  b->params = params_of(&b->plan, 2);
  assert_int_equal(cns_model_serialize(&b->plan, b->params, NULL, 0, &b->model, &b->model_len, NULL), 0);
}

static void deinit(struct bench *b) {
  cns_table_deinit(&b->table);
  free(b->params);
  free(b->model);
}

static void reseed(struct bench *b) {
  cns_rng_seeded_init_label(&b->random, SEED, "round");
}

static double rate_of(int unit) {
  return unit == CNS_UNIT_PATIENT ? 0.3 : 1;
}

/* With the same source, once without noise: the difference is the noise, drawn last. */
static void less_its_noise_the_vector_is_within_theta(void **state) {
  struct bench b;
  (void)state;
  init(&b, &networks[3], 60);
  for (int unit = 0; unit < 2; unit++) {
    struct cns_discrete_gaussian *noise = NULL;
    int64_t *expected = calloc(b.plan.dim, sizeof *expected);
    describe(&b, unit, rate_of(unit));
    reseed(&b);
    struct cns_work_input plain = b.input;
    plain.sigma_local = 0;
    struct outcome without = run_work(&b, &plain);
    assert_int_equal(cns_discrete_gaussian_new(b.numbers.sigma_local, &noise, NULL), 0);
    assert_int_equal(cns_discrete_gaussian_fill(noise, b.input.rng, expected, b.plan.dim), 0);
    reseed(&b);
    struct outcome with = run_work(&b, &b.input);
    if (with.error || without.error) fail_msg("%s %s", with.problem.text, without.problem.text);
    assert_int_equal(with.result.words, b.plan.dim);
    assert_true(cns_grid_within(without.result.x, b.plan.dim, b.input.theta));
    assert_true(cns_grid_norm(without.result.x, b.plan.dim) > 0);
    for (size_t k = 0; k < b.plan.dim; k++)
      assert_true(with.result.x[k] - without.result.x[k] == (uint32_t)(uint64_t)expected[k]);
    cns_discrete_gaussian_free(noise);
    free(expected);
    free(with.result.x);
    free(without.result.x);
  }
  deinit(&b);
}

/* Loss, norm and how many took part are functions of the patients. */
static void in_unit_patient_nothing_is_told_of_the_sample(void **state) {
  struct bench b;
  const struct cns_network_stats none = {0};
  (void)state;
  init(&b, &networks[3], 60);
  describe(&b, CNS_UNIT_PATIENT, 0.3);
  reseed(&b);
  struct outcome outcome = run_work(&b, &b.input);
  assert_int_equal(outcome.error, 0);
  assert_true(outcome.result.norm == 0);
  assert_memory_equal(&outcome.result.stats, &none, sizeof none);
  free(outcome.result.x);
  deinit(&b);
}

/* A trainer that clips to less than what the noise is made for. */
static void a_vector_that_is_too_long_is_not_sent(void **state) {
  struct bench b;
  (void)state;
  init(&b, &networks[3], 60);
  for (int unit = 0; unit < 2; unit++) {
    describe(&b, unit, rate_of(unit));
    reseed(&b);
    struct cns_work_input input = b.input;
    input.sigma_local = 0;
    struct outcome plain = run_work(&b, &input);
    assert_int_equal(plain.error, 0);
    uint64_t norm = (uint64_t)floor(sqrt((double)cns_grid_norm(plain.result.x, b.plan.dim)));
    free(plain.result.x);
    input = b.input;
    input.theta = norm - 1;
    reseed(&b);
    struct outcome refused = run_work(&b, &input);
    assert_int_equal(refused.error, CNS_ERR_RANGE);
    assert_null(refused.result.x);
    assert_non_null(strstr(refused.problem.text, "longer than the round's bound"));
    input.theta = norm + 1;
    reseed(&b);
    struct outcome sent = run_work(&b, &input);
    assert_int_equal(sent.error, 0);
    free(sent.result.x);
  }
  deinit(&b);
}

struct source {
  struct cns_rng_seeded *seeded;
  int calls, fails_at;
};

static int fill(void *context, uint8_t *bytes, size_t len) {
  struct source *source = context;
  if (++source->calls == source->fails_at) return CNS_ERR_RANDOM;
  return cns_rng_fill(cns_rng_seeded(source->seeded), bytes, len);
}

static void without_randomness_there_is_no_vector(void **state) {
  struct bench b;
  (void)state;
  init(&b, &networks[0], 60);
  for (int unit = 0; unit < 2; unit++) {
    struct source source = {.seeded = &b.random};
    describe(&b, unit, rate_of(unit));
    b.input.rng = (struct cns_rng){fill, &source};
    reseed(&b);
    struct outcome outcome = run_work(&b, &b.input);
    assert_int_equal(outcome.error, 0);
    free(outcome.result.x);
    int draws = source.calls;
    assert_true(draws >= (unit == CNS_UNIT_PATIENT ? 3 : 2)); /* sample, rounding, noise */
    for (int at = 1; at <= draws; at++) {
      source = (struct source){&b.random, 0, at};
      reseed(&b);
      outcome = run_work(&b, &b.input);
      if (outcome.error != CNS_ERR_RANDOM || outcome.result.x)
        fail_msg("unit %d: draw %d of %d failed, and the work's result is %d", unit, at, draws,
                 outcome.error);
    }
  }
  deinit(&b);
}

/* A new source for each round, as the agent has it. */
static void two_rounds_have_different_noise(void **state) {
  struct bench b;
  (void)state;
  init(&b, &networks[3], 60);
  describe(&b, CNS_UNIT_PATIENT, 1e-9); /* nobody takes part: noise alone */
  b.input.rng = cns_rng_system();
  struct outcome first = run_work(&b, &b.input), second = run_work(&b, &b.input);
  size_t equal = 0;
  for (size_t k = 0; k < b.plan.dim; k++)
    equal += first.result.x[k] == second.result.x[k];
  assert_true(equal < 10);
  free(first.result.x);
  free(second.result.x);
  deinit(&b);
}

/* ---- how much noise there is in sums ---- */

#define ROUNDS 34
static const struct network wide = {300, 2, {200}, 1, CNS_ACTIVATION_RELU};

/* Adds the squares of the first `count` hospitals' sum. */
static double squares_of(uint32_t *const *x, size_t count, size_t dim) {
  double squares = 0;
  for (size_t k = 0; k < dim; k++) {
    uint32_t sum = 0;
    for (size_t h = 0; h < count; h++)
      sum += x[h][k];
    squares += (double)(int32_t)sum * (double)(int32_t)sum;
  }
  return squares;
}

/* Zero gradients, since nobody is sampled, from five hospitals. Of the smallest sum that may
 * be opened, four, one may be a colluder who knows its share: three are left. */
static void the_sum_is_never_under_the_floor(void **state) {
  struct bench b;
  double three = 0, four = 0, five = 0, worst = INFINITY;
  (void)state;
  init(&b, &wide, 20);
  describe(&b, CNS_UNIT_PATIENT, 1e-9);
  double variance = b.numbers.sigma * b.numbers.sigma, samples = (double)b.plan.dim * ROUNDS;
  reseed(&b);
  for (int round = 0; round < ROUNDS; round++) {
    uint32_t *x[5];
    for (size_t h = 0; h < 5; h++) {
      struct outcome outcome = run_work(&b, &b.input);
      assert_int_equal(outcome.error, 0);
      x[h] = outcome.result.x;
    }
    double least = squares_of(x, 3, b.plan.dim);
    worst = fmin(worst, least / (double)b.plan.dim / variance);
    three += least / samples / variance;
    four += squares_of(x, 4, b.plan.dim) / samples / variance;
    five += squares_of(x, 5, b.plan.dim) / samples / variance;
    for (size_t h = 0; h < 5; h++)
      free(x[h]);
  }
  double error = sqrt(2 / samples);
  print_message("# seed %d: %.0f samples; variance over the floor %.5f, %.5f, %.5f\n", SEED, samples, three,
                four, five);
  assert_true(samples >= 2e6);
  assert_true(three >= 1 - 5 * error && three <= 1 + 5 * error);
  assert_true(fabs(four / (4.0 / 3) - 1) <= 5 * error);
  assert_true(fabs(five / (5.0 / 3) - 1) <= 5 * error);
  assert_true(worst >= 1 - 5 * sqrt(2 / (double)b.plan.dim)); /* in no single round either */
  deinit(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(less_its_noise_the_vector_is_within_theta),
      cmocka_unit_test(in_unit_patient_nothing_is_told_of_the_sample),
      cmocka_unit_test(a_vector_that_is_too_long_is_not_sent),
      cmocka_unit_test(without_randomness_there_is_no_vector),
      cmocka_unit_test(two_rounds_have_different_noise),
      cmocka_unit_test(the_sum_is_never_under_the_floor),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
