/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mistakes that libraries and papers have made with differential privacy, each as a test:
 *   numbers of the data that are used without being charged;
 *   a divisor that is the number of those who happened to take part;
 *   noise for the mean instead of for what one clipped unit changes;
 *   a sampling rate of rows or batches where patients are sampled;
 *   a budget that is full again next month, under a new policy or another study;
 *   a random source that is seeded, or used twice.
 */
#include "tests/model/private_world.h"

#include <stdio.h>
#include <unistd.h>

#include "client/work.h"
#include "dp/discrete_gaussian.h"
#include "dp/grid.h"
#include "model/modelfile.h"
#include "model/private.h"
#include "store/charge.h"
#include "tests/client/mapped.h"

#define SEED 20266
#define JANUARY 1768435200 /* 2026-01-15 */
#define DAY 86400

static uint32_t weights[] = {200, 400, 100, 300};

static struct cns_mechanism mechanism_of(double rate, uint64_t dim) {
  struct cns_mechanism m = {.unit = CNS_UNIT_PATIENT,
                            .placement = CNS_NOISE_DISTRIBUTED,
                            .noise_multiplier = 1.5,
                            .sampling_rate = rate,
                            .clip = 0.5,
                            .dim = dim,
                            .colluders = 1,
                            .minimum_included = 3,
                            .count = 4,
                            .weights = weights};
  int8_t scale = 0;
  assert_int_equal(cns_mechanism_choose_scale(&m, &scale, NULL), 0);
  m.scale_log2 = scale;
  return m;
}

/* ---- a hospital's step with one table and another ---- */

static void finished(void *context, struct cns_work *work, int error, struct cns_work_result *result,
                     const struct cns_problem *problem) {
  uint32_t **ret_x = context;
  (void)work;
  if (error) fail_msg("%s", problem->text);
  *ret_x = result->x;
}

/* The vector of the hospital with weights[0], without noise. */
static uint32_t *step_of(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                         const struct cns_mechanism *m, struct cns_rng rng) {
  struct cns_work_input input = {.plan = plan,
                                 .train = table,
                                 .validation = table,
                                 .clip_norm = m->clip,
                                 .weight = weights[0],
                                 .scale_log2 = m->scale_log2,
                                 .unit = m->unit,
                                 .sampling_rate = m->sampling_rate,
                                 .rng = rng};
  struct cns_work *work = NULL;
  uint8_t *model = NULL;
  size_t len = 0;
  uint32_t *x = NULL;
  uv_loop_t uv;
  assert_int_equal(cns_mechanism_radius(m, weights[0], &input.radius), 0);
  assert_int_equal(cns_mechanism_theta(m, weights[0], &input.theta), 0);
  assert_int_equal(cns_model_serialize(plan, params, NULL, 0, &model, &len, NULL), 0);
  assert_int_equal(uv_loop_init(&uv), 0);
  assert_int_equal(cns_work_start(&uv, &input, mapped(model, len), finished, &x, &work), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&uv), 0);
  assert_non_null(x);
  free(model);
  return x;
}

/* Each patient twice, under two names. */
static struct cns_table doubled(const struct cns_plan *plan, const struct cns_table *table) {
  struct cns_table twice = table_of(plan, 2 * table->rows, 2 * table->patients);
  for (size_t half = 0; half < 2; half++) {
    memcpy(twice.x + half * table->rows * table->features, table->x,
           table->rows * table->features * sizeof *table->x);
    memcpy(twice.label + half * table->rows, table->label, table->rows * sizeof *table->label);
    for (size_t i = 0; i < table->rows; i++)
      twice.patient[half * table->rows + i] = table->patient[i] + (uint32_t)(half * table->patients);
  }
  return twice;
}

/* Twice the patients, twice the sum: nothing is divided by how many there are, and what the
 * mean is divided by is of the declared numbers only. */
static void nothing_is_divided_by_a_number_of_the_data(void **state) {
  (void)state;
  struct cns_plan plan = plan_of(&networks[2]);
  struct cns_mechanism m = mechanism_of(1, plan.dim);
  struct cns_table table = random_table(&plan, 40, 3), twice = doubled(&plan, &table);
  float *params = params_of(&plan, 2);
  uint32_t *one = step_of(&plan, params, &table, &m, cns_rng_seeded(&generator));
  uint32_t *two = step_of(&plan, params, &twice, &m, cns_rng_seeded(&generator));
  for (size_t k = 0; k < plan.dim; k++)
    assert_true(llabs((int64_t)(int32_t)two[k] - 2 * (int64_t)(int32_t)one[k]) <= 2);
  assert_true(cns_mechanism_divisor(&m, weights, 4) == 1000);
  m.sampling_rate = 0.1;
  assert_true(fabs(cns_mechanism_divisor(&m, weights, 4) - 100) < 1e-12);
  free(one);
  free(two);
  free(params);
  cns_table_deinit(&table);
  cns_table_deinit(&twice);
}

/* At rate q the sum is q times the whole one in the mean: of patients, whatever their rows
 * and the plan's batch are. */
static void patients_are_sampled_at_the_rate_that_is_charged(void **state) {
  enum { TIMES = 600 };
  const double rate = 0.3;
  (void)state;
  struct cns_plan plan = plan_of(&networks[0]);
  struct cns_mechanism all = mechanism_of(1, plan.dim), some = mechanism_of(rate, plan.dim);
  struct cns_table table = random_table(&plan, 60, 7);
  float *params = params_of(&plan, 2);
  double *mean = calloc(plan.dim, sizeof *mean), off = 0;
  for (uint32_t batch = 1; batch <= 32; batch += 31) {
    plan.batch = batch;
    memset(mean, 0, plan.dim * sizeof *mean);
    uint32_t *whole = step_of(&plan, params, &table, &all, cns_rng_seeded(&generator));
    for (int t = 0; t < TIMES; t++) {
      uint32_t *x = step_of(&plan, params, &table, &some, cns_rng_seeded(&generator));
      for (size_t k = 0; k < plan.dim; k++)
        mean[k] += ldexp((double)(int32_t)x[k], -some.scale_log2) / TIMES;
      free(x);
    }
    off = 0;
    for (size_t k = 0; k < plan.dim; k++)
      off += pow(mean[k] - rate * ldexp((double)(int32_t)whole[k], -all.scale_log2), 2);
    /* Each of 60 patients adds at most clip^2 q (1-q) of variance. */
    double deviation = some.clip * sqrt(60 * rate * (1 - rate) / TIMES);
    if (sqrt(off) > 4 * deviation) fail_msg("seed %d: %g is above %g", SEED, sqrt(off), 4 * deviation);
    free(whole);
  }
  free(mean);
  free(params);
  cns_table_deinit(&table);
}

/* ---- noise is for a clipped unit ---- */

/* In the model's units, whatever the weights: z times the clip norm at least, before anything is
 * divided. More patients make the mean's noise smaller, not the sum's. */
static void noise_is_for_what_one_unit_changes(void **state) {
  (void)state;
  double before = 0;
  for (uint32_t factor = 1; factor <= 1000; factor *= 10) {
    uint32_t many[4];
    struct cns_mechanism m = mechanism_of(0.1, 5000);
    struct cns_mechanism_numbers n;
    int8_t scale;
    for (size_t k = 0; k < 4; k++)
      many[k] = weights[k] * factor;
    m.weights = many;
    assert_int_equal(cns_mechanism_choose_scale(&m, &scale, NULL), 0);
    m.scale_log2 = scale;
    assert_int_equal(cns_mechanism_compute(&m, &n, NULL), 0);
    double sigma = ldexp(n.sigma, -scale), share = ldexp(n.sigma_local, -scale);
    assert_true(sigma >= 1.5 * 0.5 && sigma < 1.5 * 0.5 * 1.02);
    assert_true(share * sqrt(2) >= 1.5 * 0.5);
    double of_mean = sigma / cns_mechanism_divisor(&m, many, 4);
    assert_true(before == 0 || of_mean < before / 9);
    before = of_mean;
  }
  /* One hospital as the unit: the largest weight times the clip norm. */
  struct cns_mechanism m = mechanism_of(0.1, 5000);
  struct cns_mechanism_numbers n;
  int8_t scale;
  m.unit = CNS_UNIT_HOSPITAL;
  m.sampling_rate = 1;
  assert_int_equal(cns_mechanism_choose_scale(&m, &scale, NULL), 0);
  m.scale_log2 = scale;
  assert_int_equal(cns_mechanism_compute(&m, &n, NULL), 0);
  assert_true(ldexp(n.sigma, -scale) >= 1.5 * 0.5 * 400);
}

/* ---- budgets that are full again ---- */

static struct cns_member members[] = {{1, 200}, {2, 400}, {3, 100}, {4, 300}};
static struct cns_problem problem;

static int try_round(struct cns_ledger *ledger, uint8_t study, uint8_t policy_version, uint64_t number,
                     int64_t now) {
  struct cns_descriptor d = {.study = {{study}},
                             .policy = {{policy_version}},
                             .round = number,
                             .attempt = 1,
                             .dim = 5000,
                             .clip_norm = 0.5,
                             .bits = 32,
                             .unit = CNS_UNIT_PATIENT,
                             .noise_placement = CNS_NOISE_DISTRIBUTED,
                             .noise_multiplier = 2,
                             .sampling_rate = 0.5,
                             .colluders = 1,
                             .minimum_included = 3,
                             .member_count = 4,
                             .members = members};
  const struct cns_policy policy = {.privacy = {.epsilon = 2, .delta = 1e-5}}; /* two rounds: 1.84 */
  const struct cns_charge_data_limit data = {0};
  struct cns_ledger_limit limits[CNS_LEDGER_LIMITS_MAX];
  struct cns_ledger_round round;
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  assert_int_equal(cns_charge_round(&d, study == 1 ? "one" : "two", NULL, &round), 0);
  int r = cns_ledger_reserve(ledger, &round, limits, cns_charge_limits(&policy, &data, limits), now, NULL,
                             &problem);
  if (r == 0) assert_int_equal(cns_ledger_charge(ledger, &round.descriptor, now, &problem), 0);
  return r;
}

static void a_budget_is_not_filled_again(void **state) {
  static const uint8_t seed[32] = {9};
  char folder[] = "/tmp/consilium-mistakes-XXXXXX", path[64];
  struct cns_identity *owner = NULL;
  struct cns_ledger *ledger = NULL;
  const struct cns_digest subject = {{5}};
  (void)state;
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/ledger", folder);
  assert_int_equal(cns_identity_from_seed(seed, &owner), 0);
  for (int opened = 0; opened < 2; opened++) {
    assert_int_equal(cns_ledger_open(path, owner, &subject, &ledger, &problem), 0);
    for (uint64_t number = 1; number <= 2 && opened == 0; number++)
      assert_int_equal(try_round(ledger, 1, 1, number, JANUARY), 0);
    assert_int_equal(try_round(ledger, 1, 1, 3, JANUARY), CNS_BUDGET_EXCEEDED);
    assert_int_equal(try_round(ledger, 1, 1, 3, JANUARY + 40 * DAY), CNS_BUDGET_EXCEEDED);  /* a month */
    assert_int_equal(try_round(ledger, 1, 1, 3, JANUARY + 800 * DAY), CNS_BUDGET_EXCEEDED); /* years */
    assert_int_equal(try_round(ledger, 1, 1, 3, JANUARY - 400 * DAY), CNS_BUDGET_EXCEEDED); /* the clock */
    assert_int_equal(try_round(ledger, 1, 2, 3, JANUARY), CNS_BUDGET_EXCEEDED);             /* the policy */
    assert_int_equal(try_round(ledger, 1, 2, 1, JANUARY), CNS_BUDGET_EXCEEDED); /* and rounds from 1 */
    assert_int_equal(try_round(ledger, 2, 1, 1, JANUARY), CNS_BUDGET_EXCEEDED); /* another study */
    ledger = cns_ledger_free(ledger);                                           /* and a restart */
  }
  cns_identity_free(owner);
  unlink(path);
  rmdir(folder);
}

/* ---- random sources ---- */

/* Same key, same noise; each call has a key of its own. */
static void one_source_gives_new_noise_each_time(void **state) {
  enum { N = 4096 };
  static int64_t first[N], second[N], again[N];
  struct cns_discrete_gaussian *noise = NULL;
  struct cns_rng_seeded a, b;
  (void)state;
  cns_rng_seeded_init_label(&a, SEED, "noise");
  b = a;
  assert_int_equal(cns_discrete_gaussian_new(1e6, &noise, NULL), 0);
  assert_int_equal(cns_discrete_gaussian_fill(noise, cns_rng_seeded(&a), first, N), 0);
  assert_int_equal(cns_discrete_gaussian_fill(noise, cns_rng_seeded(&a), second, N), 0);
  assert_int_equal(cns_discrete_gaussian_fill(noise, cns_rng_seeded(&b), again, N), 0);
  assert_memory_equal(first, again, sizeof first);
  size_t equal = 0;
  for (size_t k = 0; k < N; k++)
    equal += first[k] == second[k];
  assert_true(equal < 5);
  cns_discrete_gaussian_free(noise);
}

/* Noise, samples and rounding at both daemons come from the operating system's source. */
static void daemons_have_no_seeded_source(void **state) {
  static const char *const files[] = {"client/round.c", "client/work.c", "coordinator/result.c",
                                      "coordinator/aggregate.c"};
  const char *root = getenv("CNS_SOURCE_ROOT");
  (void)state;
  assert_non_null(root); /* meson sets it */
  for (size_t k = 0; k < LENGTH_OF(files); k++) {
    static char text[1 << 17];
    char path[500];
    snprintf(path, sizeof path, "%s/%s", root, files[k]);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_true(len < sizeof text - 1);
    text[len] = '\0';
    assert_null(strstr(text, "rng_seeded"));
    if (strstr(text, ".rng = ") || strstr(text, "->rng = "))
      assert_non_null(strstr(text, "cns_rng_system()"));
  }
}

static int set_up(void **state) {
  (void)state;
  cns_rng_seeded_init_label(&generator, SEED, "mistakes");
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_is_divided_by_a_number_of_the_data),
      cmocka_unit_test(patients_are_sampled_at_the_rate_that_is_charged),
      cmocka_unit_test(noise_is_for_what_one_unit_changes),
      cmocka_unit_test(a_budget_is_not_filled_again),
      cmocka_unit_test(one_source_gives_new_noise_each_time),
      cmocka_unit_test(daemons_have_no_seeded_source),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, set_up, NULL);
}
