/* SPDX-License-Identifier: Apache-2.0 */
/* One party's DP-SGD with an adaptive clip norm, where it can be computed by hand: all
 * patients alike, hardly any noise, everybody in each step. */
#include "model/central.h"
#include "tests/model/private_world.h"

#define SEED 20273
#define PATIENTS 50
#define ROUNDS 80

/* One row of the same patient, over and over. */
static struct cns_table twins(const struct cns_plan *plan) {
  struct cns_table table = table_of(plan, PATIENTS, PATIENTS);
  for (size_t p = 0; p < PATIENTS; p++) {
    table.patient[p] = (uint32_t)p;
    for (size_t f = 0; f < plan->feature_count; f++)
      table.x[p * plan->feature_count + f] = 0.5f;
  }
  return table;
}

/* How far the parameters go, in the learning rate times a patient's gradient. */
static double moved(struct cns_plan *plan, const struct cns_table *table, double norm) {
  float *params = calloc(plan->dim, sizeof *params);
  double squares = 0;
  struct cns_problem problem = {0};
  assert_non_null(params);
  if (cns_central_train(plan, &table, 1, 1, cns_rng_seeded(&generator), NULL, params, &problem))
    fail_msg("seed %d: %s", SEED, problem.text);
  for (size_t k = 0; k < plan->dim; k++)
    squares += (double)params[k] * (double)params[k];
  free(params);
  return sqrt(squares) / (plan->learning_rate * norm);
}

static void the_clip_norm_adapts(void **state) {
  struct cns_plan plan = plan_of(&networks[0]);
  double norm, sum, clip, expected = 0;
  struct cns_private_factor factor[PATIENTS];
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "central");
  struct cns_table table = twins(&plan);
  bool *in = everybody(PATIENTS);
  double *gradient = zeros(plan.dim);
  float *zero = calloc(plan.dim, sizeof *zero);
  assert_int_equal(
      cns_private_gradient_factors(&plan, zero, &table, in, 1, NULL, gradient, factor, NULL, NULL), 0);
  norm = factor[0].norm;
  plan.rounds = ROUNDS;
  plan.learning_rate = 1e-4; /* the gradients stay what they are */
  plan.noise_multiplier = 0.01;
  plan.sampling_rate = 1;
  plan.clip_norm = norm / 50;
  sum = moved(&plan, &table, norm);
  if (fabs(sum / ((double)ROUNDS / 50) - 1) > 0.03) fail_msg("seed %d: fixed: %g", SEED, sum);
  plan.adaptive_clip = (struct cns_adaptive_clip){0.5, 0.3, 0.1, norm / 100, norm * 100};
  clip = 1.0 / 50; /* in norms: nobody is within it until it is 1 */
  for (int round = 0; round < ROUNDS; round++) {
    expected += fmin(clip, 1);
    clip *= exp(-0.3 * ((clip >= 1) - 0.5));
  }
  sum = moved(&plan, &table, norm);
  if (fabs(sum / expected - 1) > 0.03) fail_msg("seed %d: adaptive: %g, expected %g", SEED, sum, expected);
  assert_true(expected > 10 * (double)ROUNDS / 50);
  cns_table_deinit(&table);
  free(in);
  free(gradient);
  free(zero);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_clip_norm_adapts)};
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
