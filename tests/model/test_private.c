/* SPDX-License-Identifier: Apache-2.0 */
#include "private_world.h"

#define SEED 37

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "private");
  return 0;
}

static struct cns_private_stats gradient(const struct cns_plan *plan, const float *params,
                                         const struct cns_table *table, const bool *in, double clip,
                                         double *ret_sum) {
  struct cns_private_stats stats = {0};
  struct cns_problem problem = {{0}};
  int r = cns_private_gradient(plan, params, table, in, clip, NULL, ret_sum, &stats, &problem);
  if (r != 0) print_error("%s\n", problem.text);
  assert_int_equal(r, 0);
  return stats;
}

/* One patient's gradient by the ordinary network, on that patient's rows only. */
static void patient_gradient(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                             size_t patient, float *ret_gradient) {
  size_t features = table->features, rows = 0;
  float *x = calloc(table->rows * features, sizeof *x);
  uint16_t *label = calloc(table->rows, sizeof *label);
  assert_true(x && label);
  for (size_t i = 0; i < table->rows; i++) {
    if (table->patient[i] != patient) continue;
    memcpy(x + rows * features, table->x + i * features, features * sizeof *x);
    label[rows++] = table->label[i];
  }
  double loss;
  assert_int_equal(cns_network_gradient(plan, params, x, label, rows, &loss, ret_gradient), 0);
  free(x);
  free(label);
}

/* Clipped and summed one after the other; returns how many were clipped. */
static size_t brute_force(const struct cns_plan *plan, const float *params, const struct cns_table *table,
                          const bool *in, double clip, double *sum) {
  float *g = calloc(plan->dim, sizeof *g);
  assert_non_null(g);
  size_t clipped = 0;
  for (size_t p = 0; p < table->patients; p++) {
    if (!in[p]) continue;
    patient_gradient(plan, params, table, p, g);
    double square = 0;
    for (size_t k = 0; k < plan->dim; k++)
      square += (double)g[k] * (double)g[k];
    double factor = fmin(1, clip / sqrt(square));
    clipped += factor < 1;
    for (size_t k = 0; k < plan->dim; k++)
      sum[k] += factor * (double)g[k];
  }
  free(g);
  return clipped;
}

static void sums_match_brute_force(void **state) {
  static const double clips[] = {1e-3, 0.3, 1, 1e9};
  for (size_t n = 0; n < LENGTH_OF(networks); n++)
    for (size_t c = 0; c < LENGTH_OF(clips); c++) {
      struct cns_plan plan = plan_of(&networks[n]);
      float *params = params_of(&plan, 2);
      struct cns_table table = random_table(&plan, 80, 7);
      bool *in = everybody(table.patients);
      size_t sampled = 0;
      for (size_t p = 0; p < table.patients; p++)
        sampled += in[p] = below(3) > 0;
      double *sum = zeros(plan.dim), *expected = zeros(plan.dim);
      struct cns_private_stats stats = gradient(&plan, params, &table, in, clips[c], sum);
      size_t clipped = brute_force(&plan, params, &table, in, clips[c], expected);
      assert_true(distance(sum, expected, plan.dim) <= 3e-6 * (double)sampled * fmin(clips[c], 10));
      assert_int_equal(stats.sampled, sampled);
      assert_int_equal(stats.clipped, clipped);
      assert_true(c > 0 || clipped == sampled);
      assert_true(c < 3 || clipped == 0);
      cns_table_deinit(&table);
      free(params);
      free(in);
      free(sum);
      free(expected);
    }
}

/* A patient's rows are a mean: a hundred copies of a row are that row. */
static void copies_of_rows_count_once(void **state) {
  for (size_t n = 0; n < LENGTH_OF(networks); n++) {
    struct cns_plan plan = plan_of(&networks[n]);
    float *params = params_of(&plan, 3);
    struct cns_table one = table_of(&plan, 1, 1), many = table_of(&plan, 100, 1);
    fill_row(&one, 0, 0);
    for (size_t i = 0; i < many.rows; i++) {
      memcpy(many.x + i * many.features, one.x, many.features * sizeof(float));
      many.label[i] = one.label[0];
    }
    bool *in = everybody(1);
    double *a = zeros(plan.dim), *b = zeros(plan.dim);
    gradient(&plan, params, &one, in, 1e9, a);
    gradient(&plan, params, &many, in, 1e9, b);
    assert_true(norm_of(a, plan.dim) > 1e-3);
    assert_true(distance(a, b, plan.dim) <= 1e-6 * norm_of(a, plan.dim));
    cns_table_deinit(&one);
    cns_table_deinit(&many);
    free(params);
    free(in);
    free(a);
    free(b);
  }
}

/* Nothing is divided by how many there are. */
static void doubled_sample_doubles_the_sum(void **state) {
  for (size_t n = 0; n < LENGTH_OF(networks); n++) {
    struct cns_plan plan = plan_of(&networks[n]);
    float *params = params_of(&plan, 3);
    struct cns_table table = random_table(&plan, 150, 4), twice;
    twice = table_of(&plan, 2 * table.rows, 2 * table.patients);
    for (size_t i = 0; i < twice.rows; i++) {
      size_t from = i % table.rows, second = i / table.rows;
      memcpy(twice.x + i * twice.features, table.x + from * table.features, table.features * sizeof(float));
      twice.label[i] = table.label[from];
      twice.patient[i] = (uint32_t)(table.patient[from] + second * table.patients);
    }
    bool *in = everybody(twice.patients);
    double *a = zeros(plan.dim), *b = zeros(plan.dim);
    gradient(&plan, params, &table, in, 0.5, a);
    struct cns_private_stats stats = gradient(&plan, params, &twice, in, 0.5, b);
    assert_int_equal(stats.sampled, twice.patients);
    assert_int_equal(stats.rows, twice.rows);
    for (size_t k = 0; k < plan.dim; k++)
      a[k] *= 2;
    assert_true(distance(a, b, plan.dim) <= 1e-12 * (double)twice.patients);
    cns_table_deinit(&table);
    cns_table_deinit(&twice);
    free(params);
    free(in);
    free(a);
    free(b);
  }
}

/* More rows than a block for one patient; more blocks than go into one part of
 * the sum. The sum over all is the sum of the sums over halves. */
static void many_rows(void **state) {
  struct cns_plan plan = plan_of(&networks[2]);
  float *params = params_of(&plan, 2);
  enum { PATIENTS = 40000, LONG = 3000 };
  struct cns_table table = table_of(&plan, PATIENTS + LONG - 1, PATIENTS);
  for (size_t i = 0; i < table.rows; i++)
    fill_row(&table, i, i < PATIENTS ? i : 17);
  bool *in = everybody(PATIENTS);
  double *all = zeros(plan.dim), *half = zeros(plan.dim), *other = zeros(plan.dim),
         *expected = zeros(plan.dim);
  struct cns_private_stats stats = gradient(&plan, params, &table, in, 1, all);
  assert_int_equal(stats.rows, table.rows);
  assert_int_equal(stats.sampled, PATIENTS);
  for (size_t p = 0; p < PATIENTS; p++)
    in[p] = below(2);
  gradient(&plan, params, &table, in, 1, half);
  for (size_t p = 0; p < PATIENTS; p++)
    in[p] = !in[p];
  gradient(&plan, params, &table, in, 1, other);
  for (size_t k = 0; k < plan.dim; k++)
    half[k] += other[k];
  assert_true(distance(all, half, plan.dim) <= 2 * PATIENTS * 0x1p-40);
  memset(in, 0, PATIENTS);
  in[17] = true;
  stats = gradient(&plan, params, &table, in, 0.01, other);
  assert_int_equal(stats.rows, LONG);
  brute_force(&plan, params, &table, in, 0.01, expected);
  assert_true(distance(other, expected, plan.dim) <= 1e-7);
  in[17] = false;
  stats = gradient(&plan, params, &table, in, 1, other);
  assert_true(stats.sampled == 0 && norm_of(other, plan.dim) == 0);
  cns_table_deinit(&table);
  free(params);
  free(in);
  free(all);
  free(half);
  free(other);
  free(expected);
}

/* What is to be refused is refused, whole and in words. */
static void refused(int expected, const struct cns_plan *plan, const float *params,
                    const struct cns_table *table, double clip, const atomic_bool *cancel) {
  bool *in = everybody(table->patients);
  double *sum = zeros(plan->dim);
  for (size_t k = 0; k < plan->dim; k++)
    sum[k] = 1;
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_private_gradient(plan, params, table, in, clip, cancel, sum, NULL, &problem),
                   expected);
  assert_true(strlen(problem.text) > 0 && norm_of(sum, plan->dim) == 0);
  free(in);
  free(sum);
}

static void nonsense_is_refused(void **state) {
  for (size_t n = 0; n < LENGTH_OF(networks); n++) {
    struct cns_plan plan = plan_of(&networks[n]);
    float *params = params_of(&plan, 1);
    struct cns_table table = random_table(&plan, 9, 4);
    static const double clips[] = {0, -1, 1e-31, 1e31, NAN, INFINITY};
    for (size_t c = 0; c < LENGTH_OF(clips); c++)
      refused(CNS_ERR_ARGUMENT, &plan, params, &table, clips[c], NULL);
    atomic_bool cancel = true;
    refused(CNS_ERR_CANCELLED, &plan, params, &table, 1, &cancel);

    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < LENGTH_OF(bad); b++) {
      float *values[] = {&params[below(plan.dim)], &table.x[below(table.rows * table.features)]};
      for (size_t v = 0; v < LENGTH_OF(values); v++) {
        float kept = *values[v];
        *values[v] = bad[b];
        refused(CNS_ERR_RANGE, &plan, params, &table, 1, NULL);
        *values[v] = kept;
      }
    }
    table.label[1] = CNS_TABLE_NO_LABEL;
    refused(CNS_ERR_ARGUMENT, &plan, params, &table, 1, NULL);
    table.label[1] = 0;
    table.features++;
    refused(CNS_ERR_ARGUMENT, &plan, params, &table, 1, NULL);
    table.features--;
    cns_table_deinit(&table);
    free(params);
  }
}

/* Finite parameters whose network isn't; and a patient who isn't sampled can't do harm. */
static void overflow_is_refused(void **state) {
  struct cns_plan plan = plan_of(&networks[4]);
  float *params = params_of(&plan, 1);
  for (size_t k = 0; k < plan.dim; k++)
    params[k] *= 1e25f;
  struct cns_table table = random_table(&plan, 9, 4);
  refused(CNS_ERR_RANGE, &plan, params, &table, 1, NULL);
  for (size_t k = 0; k < plan.dim; k++)
    params[k] *= 1e-25f;
  bool *in = everybody(9);
  in[table.patient[0]] = false;
  table.x[0] = NAN;
  double *sum = zeros(plan.dim);
  gradient(&plan, params, &table, in, 1, sum);
  assert_true(isfinite(norm_of(sum, plan.dim)));
  cns_table_deinit(&table);
  free(params);
  free(in);
  free(sum);
}

static void limit_on_rows_of_a_patient(void **state) {
  struct cns_plan plan = plan_of(&networks[0]);
  float *params = params_of(&plan, 1);
  struct cns_table table = table_of(&plan, CNS_PRIVATE_ROWS_MAX + 1, 2);
  refused(CNS_ERR_LIMIT, &plan, params, &table, 1, NULL);
  table.patient[0] = 1;
  bool *in = everybody(2);
  double *sum = zeros(plan.dim);
  assert_int_equal(gradient(&plan, params, &table, in, 1, sum).rows, table.rows);
  cns_table_deinit(&table);
  free(params);
  free(in);
  free(sum);
}

static bool *sample(double rate, size_t patients, size_t *ret_count) {
  bool *in = everybody(patients);
  assert_int_equal(cns_private_sample(cns_rng_seeded(&generator), rate, patients, in, ret_count), 0);
  size_t count = 0;
  for (size_t p = 0; p < patients; p++)
    count += in[p];
  assert_int_equal(count, *ret_count);
  return in;
}

/* Counts over repeated draws against the binomial; each patient against each
 * other draw. Bounds of about five standard deviations. */
static void samples_have_the_rate(void **state) {
  static const double rates[] = {0.01, 0.25, 0.5, 0.9};
  enum { PATIENTS = 1000, DRAWS = 400 };
  for (size_t k = 0; k < LENGTH_OF(rates); k++) {
    double q = rates[k], n = PATIENTS, chi = 0, both = 0, total = 0;
    bool *before = NULL;
    for (size_t d = 0; d < DRAWS; d++) {
      size_t count;
      bool *in = sample(q, PATIENTS, &count);
      total += (double)count;
      chi += ((double)count - n * q) * ((double)count - n * q) / (n * q * (1 - q));
      for (size_t p = 0; before && p < PATIENTS; p++)
        both += in[p] && before[p];
      free(before);
      before = in;
    }
    free(before);
    double pairs = n * (DRAWS - 1);
    assert_true(fabs(total - n * DRAWS * q) < 5 * sqrt(n * DRAWS * q * (1 - q)));
    assert_true(fabs(chi - DRAWS) < 5 * sqrt(2.0 * DRAWS)); /* chi-square, DRAWS degrees of freedom */
    assert_true(fabs(both - pairs * q * q) < 5 * sqrt(pairs * q * q));
  }
}

static void rates_at_the_ends(void **state) {
  size_t count;
  bool *in = sample(1, 5000, &count);
  assert_int_equal(count, 5000);
  free(in);
  static const double none[] = {0, 0x1p-65, 1e-300, 0x1p-40};
  for (size_t k = 0; k < LENGTH_OF(none); k++) {
    in = sample(none[k], 5000, &count);
    assert_int_equal(count, 0);
    free(in);
  }
  in = sample(1, 0, &count);
  assert_int_equal(count, 0);
  free(in);
  static const double bad[] = {-0.1, 1.0000001, NAN, INFINITY};
  bool one[1] = {true};
  for (size_t k = 0; k < LENGTH_OF(bad); k++) {
    count = 7;
    assert_int_equal(cns_private_sample(cns_rng_seeded(&generator), bad[k], 1, one, &count),
                     CNS_ERR_ARGUMENT);
    assert_true(count == 0 && !one[0]);
  }
}

/* Words handed in: in are exactly those below floor(rate * 2^64). */
struct script {
  const uint64_t *words;
  size_t count, used;
};

static int fill_script(void *context, uint8_t *out, size_t len) {
  struct script *script = context;
  for (size_t k = 0; k < len / 8; k++) {
    if (script->used == script->count) return CNS_ERR_RANDOM;
    for (size_t b = 0; b < 8; b++)
      out[8 * k + b] = (uint8_t)(script->words[script->used] >> 8 * b);
    script->used++;
  }
  return 0;
}

static void probability_is_never_above_the_rate(void **state) {
  static const struct {
    double rate;
    uint64_t bound;
  } cases[] = {
      {0.5, UINT64_C(1) << 63},
      {0.1, UINT64_C(1844674407370955264)}, /* the double is 0.1 + 5.55e-18 */
      {1 - 0x1p-53, UINT64_MAX - 2047},
      {0x1p-64, 1},
      {0x1.8p-63, 3},
      {0x1.cp-64, 1}, /* 1.75 of 2^-64: rounded down */
  };
  for (size_t k = 0; k < LENGTH_OF(cases); k++) {
    const uint64_t words[] = {0, cases[k].bound - 1, cases[k].bound, UINT64_MAX};
    struct script script = {.words = words, .count = 4};
    bool in[4];
    size_t count;
    assert_int_equal(cns_private_sample((struct cns_rng){fill_script, &script}, cases[k].rate, 4, in, &count),
                     0);
    assert_true(in[0] && in[1] && !in[2] && !in[3] && count == 2);
  }
}

static void nobody_is_in_without_randomness(void **state) {
  enum { PATIENTS = 2000 };
  static const uint64_t words[1000]; /* zeros: all of them in, until there are no more */
  for (int everyone = 0; everyone < 2; everyone++) {
    struct script script = {.words = words, .count = 1000};
    bool *in = everybody(PATIENTS);
    size_t count = 5;
    assert_int_equal(
        cns_private_sample((struct cns_rng){fill_script, &script}, everyone ? 1 : 0.5, PATIENTS, in, &count),
        CNS_ERR_RANDOM);
    assert_int_equal(count, 0);
    for (size_t p = 0; p < PATIENTS; p++)
      assert_false(in[p]);
    free(in);
  }
}

int main(void) {
  print_message("# seed %d\n", SEED);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(sums_match_brute_force, setup),
      cmocka_unit_test_setup(copies_of_rows_count_once, setup),
      cmocka_unit_test_setup(doubled_sample_doubles_the_sum, setup),
      cmocka_unit_test_setup(many_rows, setup),
      cmocka_unit_test_setup(nonsense_is_refused, setup),
      cmocka_unit_test_setup(overflow_is_refused, setup),
      cmocka_unit_test_setup(limit_on_rows_of_a_patient, setup),
      cmocka_unit_test_setup(samples_have_the_rate, setup),
      cmocka_unit_test_setup(rates_at_the_ends, setup),
      cmocka_unit_test_setup(probability_is_never_above_the_rate, setup),
      cmocka_unit_test_setup(nobody_is_in_without_randomness, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
