/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital sends with noised metrics: neighbouring tables by brute force, in whole
 * numbers, against the sensitivity that the noise is made for. */
#include "tests/client/work_bench.h"

#include "model/metrics.h"

#define SEED 20281
#define PATIENTS 9
#define CLIP 0.5
#define SHARE 0.05

/* Parameters 0: every loss is exactly ln(classes); so large that a loss is exactly 0 or far beyond L. */
static const double reaches[] = {2, 0, 4000};

static void init_with(struct bench *b, const struct network *network, double reach) {
  *b = (struct bench){.plan = plan_of(network)};
  b->plan.rounds = b->plan.local_epochs = 1;
  b->plan.learning_rate = 0.5;
  b->plan.batch = 8;
  b->table = random_table(&b->plan, PATIENTS, 3);
  b->params = params_of(&b->plan, reach);
  assert_int_equal(cns_model_serialize(&b->plan, b->params, NULL, 0, &b->model, &b->model_len, NULL), 0);
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&generator), b->key, sizeof b->key), 0);
}

/* Of a row that tells nothing, as it is computed. */
static double loss_of_nothing(size_t classes) {
  const float logits[CNS_PLAN_CLASSES_MAX] = {0};
  return cns_metrics_loss(classes, logits, 0);
}

struct tally {
  double closest; /* to the sensitivity, relative */
  size_t caught, cases;
};

/* A version with a flaw: noise as if there were no metrics. */
static bool is_caught(const struct bench *b) {
  struct cns_mechanism flawed = b->mechanism;
  struct cns_mechanism_numbers numbers;
  double farthest;
  flawed.metrics_share = 0;
  flawed.dim -= 2;
  assert_int_equal(cns_mechanism_compute(&flawed, &numbers, NULL), 0);
  return !within_announced(b, numbers.sensitivity, &farthest);
}

static void compare_neighbours(struct bench *b, double indicator, double loss_max, struct tally *tally) {
  double farthest;
  describe_with(b, CLIP, indicator, SHARE, loss_max);
  if (!within_announced(b, b->numbers.sensitivity, &farthest))
    fail_msg("seed %d: indicator %g, largest loss %g: %g steps, announced %llu", SEED, indicator, loss_max,
             farthest, (unsigned long long)b->numbers.sensitivity);
  tally->closest = fmax(tally->closest, farthest / (double)b->numbers.sensitivity);
  tally->caught += is_caught(b);
  tally->cases++;
}

static void one_patient_moves_the_vector_within_the_joint_sensitivity(void **state) {
  static const double losses[] = {0, 0.3, 5}; /* 0: exactly the loss of nothing */
  struct tally tally = {0};
  (void)state;
  for (size_t n = 0; n < 4; n++)
    for (size_t k = 0; k < LENGTH_OF(reaches); k++) {
      struct bench b;
      cns_rng_seeded_init_label(&generator, SEED + n, "neighbours");
      init_with(&b, &networks[n], reaches[k]);
      for (size_t l = 0; l < LENGTH_OF(losses); l++)
        for (int adaptive = 0; adaptive < 2; adaptive++)
          compare_neighbours(&b, adaptive ? 0.05 : 0,
                             losses[l] > 0 ? losses[l] : loss_of_nothing(b.plan.class_count), &tally);
      deinit(&b);
    }
  /* Nothing is given away: it comes near; and the flaw shows wherever a gradient is as long as the clip norm.
   */
  assert_true(tally.closest > 0.999);
  if (tally.caught < tally.cases / 3)
    fail_msg("seed %d: a flaw was found in %zu of %zu cases", SEED, tally.caught, tally.cases);
}

/* By the network that trains in unit hospital; sums of steps, and how far rounding may take them. */
struct expected {
  double loss, right, slack;
};

static struct expected expect_of(const struct bench *b) {
  const struct cns_table *t = &b->table;
  size_t classes = b->plan.class_count;
  float *logits = calloc(t->rows * classes, sizeof *logits);
  double h = (double)b->numbers.metric, loss_max = b->plan.noised_metrics.loss_max;
  struct expected sums = {.slack = PATIENTS / 2.0 + 1e-3 * h};
  assert_non_null(logits);
  assert_int_equal(cns_network_logits(&b->plan, b->params, t->x, t->rows, logits), 0);
  for (size_t p = 0; p < t->patients; p++) {
    double loss = 0, right = 0, rows = 0;
    for (size_t i = 0; i < t->rows; i++) {
      const float *row = logits + i * classes;
      size_t best = 0;
      if (t->patient[i] != p) continue;
      for (size_t c = 1; c < classes; c++)
        if (row[c] > row[best]) best = c;
      loss += cns_metrics_loss(classes, row, t->label[i]);
      right += best == t->label[i];
      rows++;
    }
    sums.loss += h * (2 * fmin(loss / rows, loss_max) / loss_max - 1);
    sums.right += h * (2 * right / rows - 1);
  }
  free(logits);
  return sums;
}

static void the_sums_are_of_loss_and_right_answers(void **state) {
  (void)state;
  for (size_t n = 0; n < 4; n++)
    for (size_t k = 0; k < LENGTH_OF(reaches); k++)
      for (int adaptive = 0; adaptive < 2; adaptive++) {
        struct bench b;
        cns_rng_seeded_init_label(&generator, SEED + n, "sums");
        init_with(&b, &networks[n], reaches[k]);
        describe_with(&b, CLIP, adaptive ? 0.05 : 0, SHARE, 1.5);
        struct expected expected = expect_of(&b);
        uint32_t *x = vector_of(&b, &b.table), *extra = x + b.plan.dim + adaptive;
        double loss = (int32_t)extra[0], right = (int32_t)extra[1];
        if (fabs(loss - expected.loss) > expected.slack || fabs(right - expected.right) > PATIENTS / 2.0)
          fail_msg("seed %d: network %zu: %g and %g, expected %g and %g", SEED, n, loss, right, expected.loss,
                   expected.right);
        free(x);
        deinit(&b);
      }
}

/* Gradients and indicator are those without metrics, on the same grid: nothing else is touched. */
static void the_rest_stays_what_it_is(void **state) {
  struct bench b;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "same");
  init_with(&b, &networks[3], 2);
  describe_with(&b, CLIP, 0.05, SHARE, 2);
  uint32_t *with = vector_of(&b, &b.table);
  b.input.metric = 0;
  b.plan.noised_metrics.share = 0;
  uint32_t *without_metrics = vector_of(&b, &b.table);
  assert_memory_equal(with, without_metrics, (b.plan.dim + 1) * sizeof *with);
  free(with);
  free(without_metrics);
  deinit(&b);
}

/* More patients than the public bound count as so many; more is never sent. */
static void sums_are_cut_off_and_checked(void **state) {
  struct bench b;
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "cut off");
  init_with(&b, &networks[0], 0);
  describe_with(&b, CLIP, 0, SHARE, loss_of_nothing(2)); /* every loss is exactly L */
  int64_t h = (int64_t)b.numbers.metric;
  uint32_t *x = vector_of(&b, &b.table);
  assert_true((int32_t)x[b.plan.dim] == PATIENTS * h);
  uint64_t norm = (uint64_t)floor(sqrt((double)cns_grid_norm(x, b.plan.dim + 2)));
  free(x);
  b.input.patients = 4;
  x = vector_of(&b, &b.table);
  assert_true((int32_t)x[b.plan.dim] == 4 * h && llabs((int32_t)x[b.plan.dim + 1]) <= 4 * h);
  free(x);
  b.input.patients = PATIENTS;
  struct cns_work_input input = b.input;
  input.theta = norm - 1;
  struct outcome refused = run_work(&b, &input);
  assert_int_equal(refused.error, CNS_ERR_RANGE);
  assert_null(refused.result.x);
  assert_non_null(strstr(refused.problem.text, "longer than the round's bound"));
  deinit(&b);
}

/* One share's, as that of all other numbers: mean 0, variance sigma_local^2; and what is
 * said of the estimates' standard errors is what they scatter by. */
static void the_metrics_have_their_noise(void **state) {
  enum { REPEATS = 3000 };
  struct bench b;
  struct cns_rng_seeded random;
  double sum[2] = {0}, squares[2] = {0}, scatter[2] = {0};
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "noise");
  cns_rng_seeded_init_label(&random, SEED, "noise source");
  init_with(&b, &networks[0], 2);
  describe_with(&b, CLIP, 0, SHARE, 2);
  uint32_t *plain = vector_of(&b, &b.table);
  b.input.rng = cns_rng_seeded(&random);
  b.input.sampling_rate = 1;
  b.input.sigma_local = b.numbers.sigma_local;
  struct cns_noised_metrics_estimate first, e;
  for (int k = 0; k < REPEATS; k++) {
    uint32_t *x = vector_of(&b, &b.table), *extra = x + b.plan.dim;
    const struct cns_noised_metrics_sums clean = {(int32_t)plain[b.plan.dim], (int32_t)plain[b.plan.dim + 1],
                                                  b.numbers.metric, b.numbers.sigma_local};
    const struct cns_noised_metrics_sums sums = {(int32_t)extra[0], (int32_t)extra[1], b.numbers.metric,
                                                 b.numbers.sigma_local};
    cns_noised_metrics_estimate(2, &clean, PATIENTS, &first);
    cns_noised_metrics_estimate(2, &sums, PATIENTS, &e);
    for (int m = 0; m < 2; m++) {
      double noise =
          (double)((int32_t)extra[m] - (int32_t)plain[b.plan.dim + (size_t)m]) / b.numbers.sigma_local;
      double off =
          m ? (e.accuracy - first.accuracy) / e.accuracy_error : (e.loss - first.loss) / e.loss_error;
      sum[m] += noise;
      squares[m] += noise * noise;
      scatter[m] += off * off;
    }
    free(x);
  }
  for (int m = 0; m < 2; m++) {
    double mean = sum[m] / REPEATS, variance = squares[m] / REPEATS, errors = scatter[m] / REPEATS;
    if (fabs(mean) > 5 / sqrt(REPEATS) || fabs(variance - 1) > 5 * sqrt(2.0 / REPEATS) ||
        fabs(errors - 1) > 5 * sqrt(2.0 / REPEATS))
      fail_msg("seed %d: mean %g, variance %g, of the errors %g", SEED, mean, variance, errors);
  }
  free(plain);
  deinit(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_patient_moves_the_vector_within_the_joint_sensitivity),
      cmocka_unit_test(the_sums_are_of_loss_and_right_answers),
      cmocka_unit_test(the_rest_stays_what_it_is),
      cmocka_unit_test(sums_are_cut_off_and_checked),
      cmocka_unit_test(the_metrics_have_their_noise),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
