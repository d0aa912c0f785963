/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/rng.h"
#include "fixture.h"
#include "model/network.h"
#include "network_vectors.h"

#include <math.h>
#include <threads.h>

#define SEED 23
#define TOY_MODEL "{\"kind\": \"mlp\", \"hidden\": [4, 5], \"activation\": \"tanh\"}"

static struct cns_rng_seeded generator;

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "network");
  return 0;
}

static float uniform(void) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 1u << 24, &value), 0);
  return (float)((double)value / 0x1p23 - 1);
}

static bool near(double a, double b, double tolerance) {
  return fabs(a - b) <= tolerance * (1 + fabs(b));
}

/* A table with rows in memory that borrows its arrays. */
static struct cns_table borrowed(const struct cns_plan *plan, float *x, uint16_t *label, size_t rows) {
  return (struct cns_table){
      .rows = rows, .features = plan->feature_count, .classes = plan->class_count, .x = x, .label = label};
}

static void matches_independent_computation(void **state) {
  for (size_t v = 0; v < LENGTH_OF(network_vectors); v++) {
    struct cns_plan plan = changed_plan(TOY_MODEL, network_vectors[v].model);
    float logits[VECTOR_ROWS * 3], gradient[VECTOR_DIM_MAX], update[VECTOR_DIM_MAX], x[VECTOR_ROWS * 3];
    uint16_t label[VECTOR_ROWS];
    double loss;
    assert_int_equal(plan.dim, network_vectors[v].dim);
    memcpy(x, network_vectors[v].x, sizeof x);
    memcpy(label, network_vectors[v].label, sizeof label);
    const float *params = network_vectors[v].params;
    assert_int_equal(cns_network_logits(&plan, params, x, VECTOR_ROWS, logits), 0);
    for (size_t k = 0; k < LENGTH_OF(logits); k++)
      assert_true(near(logits[k], network_vectors[v].logits[k], 1e-6));
    assert_int_equal(cns_network_gradient(&plan, params, x, label, VECTOR_ROWS, &loss, gradient), 0);
    assert_true(near(loss, network_vectors[v].loss, 1e-6));
    /* Two epochs of one batch each: the shuffle only changes the order of sums. */
    struct cns_table table = borrowed(&plan, x, label, VECTOR_ROWS);
    struct cns_network_seed seed = {1, 2, 3, 4};
    struct cns_network_stats stats;
    assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, &stats, NULL), 0);
    assert_int_equal(stats.steps, 2);
    assert_true(near(stats.first_loss, network_vectors[v].loss, 1e-6));
    for (size_t k = 0; k < plan.dim; k++) {
      assert_true(near(gradient[k], network_vectors[v].gradient[k], 2e-6));
      assert_true(near(update[k], network_vectors[v].update[k], 2e-6));
    }
    assert_int_equal(cns_network_train_corrected(&plan, params, network_vectors[v].correction, &table, &seed,
                                                 NULL, update, NULL, NULL),
                     0);
    for (size_t k = 0; k < plan.dim; k++)
      assert_true(near(update[k], network_vectors[v].corrected[k], 2e-6));
    plan.proximal = vector_proximal;
    assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL), 0);
    for (size_t k = 0; k < plan.dim; k++)
      assert_true(near(update[k], network_vectors[v].near[k], 2e-6));
    cns_plan_deinit(&plan);
  }
}

/* Naive forward pass in double: mean loss. */
static double slow_loss(const struct cns_plan *plan, const double *params, const float *x,
                        const uint16_t *label, size_t rows) {
  double total = 0;
  for (size_t i = 0; i < rows; i++) {
    double in[64], out[64];
    const double *at = params;
    for (size_t f = 0; f < plan->feature_count; f++)
      in[f] = (double)x[i * plan->feature_count + f];
    for (size_t l = 0; l < cns_plan_layer_count(plan); l++) {
      size_t inputs = cns_plan_layer_inputs(plan, l), outputs = cns_plan_layer_outputs(plan, l);
      for (size_t o = 0; o < outputs; o++) {
        out[o] = at[inputs * outputs + o];
        for (size_t k = 0; k < inputs; k++)
          out[o] += at[o * inputs + k] * in[k];
        if (l + 1 < cns_plan_layer_count(plan))
          out[o] = plan->activation == CNS_ACTIVATION_TANH ? tanh(out[o]) : fmax(out[o], 0);
      }
      at += (inputs + 1) * outputs;
      memcpy(in, out, outputs * sizeof *in);
    }
    double sum = 0;
    for (size_t c = 0; c < plan->class_count; c++)
      sum += exp(in[c]);
    total += log(sum) - in[label[i]];
  }
  return total / (double)rows;
}

/* More rows than one chunk; each parameter against a central difference. */
static void gradient_agrees_with_differences(void **state) {
  static const char *const models[] = {TOY_MODEL,
                                       "{\"kind\": \"mlp\", \"hidden\": [20, 9], \"activation\": \"relu\"}",
                                       "{\"kind\": \"logistic\"}"};
  enum { ROWS = 1200 };
  static float x[ROWS * 3], params[512], gradient[512];
  static double moved[512];
  static uint16_t label[ROWS];
  for (size_t m = 0; m < LENGTH_OF(models); m++) {
    struct cns_plan plan = changed_plan(TOY_MODEL, models[m]);
    for (size_t k = 0; k < plan.dim; k++)
      moved[k] = (double)(params[k] = uniform());
    for (size_t i = 0; i < ROWS; i++) {
      for (size_t f = 0; f < 3; f++)
        x[i * 3 + f] = uniform();
      label[i] = (uint16_t)(i * 7 % 3);
    }
    double loss;
    assert_int_equal(cns_network_gradient(&plan, params, x, label, ROWS, &loss, gradient), 0);
    assert_true(near(loss, slow_loss(&plan, moved, x, label, ROWS), 1e-5));
    for (size_t k = 0; k < plan.dim; k++) {
      /* Small, so that few rows pass a ReLU's kink in between. */
      double h = 1e-6;
      moved[k] += h;
      double up = slow_loss(&plan, moved, x, label, ROWS);
      moved[k] -= 2 * h;
      double down = slow_loss(&plan, moved, x, label, ROWS);
      moved[k] += h;
      assert_true(fabs(gradient[k] - (up - down) / (2 * h)) < 1e-4);
    }
    cns_plan_deinit(&plan);
  }
}

enum { TOY_ROWS = 150 };

/* Three separable groups. */
static void toy_rows(float *x, uint16_t *label) {
  for (size_t i = 0; i < TOY_ROWS; i++) {
    label[i] = (uint16_t)(i % 3);
    for (size_t f = 0; f < 3; f++)
      x[i * 3 + f] = (f == label[i] ? 0.6f : -0.3f) + 0.3f * uniform();
  }
}

static void training_learns_and_repeats(void **state) {
  struct cns_plan plan = parsed(toy_study);
  float x[TOY_ROWS * 3], *params = calloc(plan.dim, sizeof(float));
  float *update = calloc(plan.dim, sizeof(float)), *other = calloc(plan.dim, sizeof(float));
  uint16_t label[TOY_ROWS];
  assert_true(params && update && other);
  toy_rows(x, label);
  struct cns_table table = borrowed(&plan, x, label, TOY_ROWS);
  struct cns_network_seed seed = {.study = plan.seed, .round = 1, .attempt = 0, .hospital = 2};
  assert_int_equal(cns_network_init(&plan, 5, params), 0);
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL), 0);
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, other, NULL, NULL), 0);
  assert_memory_equal(update, other, plan.dim * sizeof *update);
  /* Each of the four numbers makes another shuffle. */
  for (size_t k = 0; k < 4; k++) {
    struct cns_network_seed changed = seed;
    changed.study += k == 0;
    changed.round += k == 1;
    changed.attempt += k == 2;
    changed.hospital += k == 3;
    assert_int_equal(cns_network_train(&plan, params, &table, &changed, NULL, other, NULL, NULL), 0);
    assert_memory_not_equal(update, other, plan.dim * sizeof *update);
  }
  double before, after;
  assert_int_equal(cns_network_gradient(&plan, params, x, label, TOY_ROWS, &before, NULL), 0);
  for (int round = 0; round < 10; round++) {
    seed.round++;
    assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL), 0);
    for (size_t k = 0; k < plan.dim; k++)
      params[k] += update[k];
  }
  assert_int_equal(cns_network_gradient(&plan, params, x, label, TOY_ROWS, &after, NULL), 0);
  assert_true(after < 0.1 && before > 0.8);
  free(params);
  free(update);
  free(other);
  cns_plan_deinit(&plan);
}

static void initial_model_is_fixed(void **state) {
  struct cns_plan plan = changed_plan("\"tanh\"", "\"relu\"");
  float params[64], again[64];
  assert_int_equal(cns_network_init(&plan, 5, params), 0);
  assert_int_equal(cns_network_init(&plan, 5, again), 0);
  assert_memory_equal(params, again, plan.dim * sizeof *params);
  assert_int_equal(plan.dim, LENGTH_OF(initial_relu));
  assert_memory_equal(params, initial_relu, sizeof initial_relu);
  plan.activation = CNS_ACTIVATION_TANH;
  assert_int_equal(cns_network_init(&plan, 5, again), 0);
  assert_memory_equal(again, initial_tanh, sizeof initial_tanh);
  plan.activation = CNS_ACTIVATION_RELU;
  assert_int_equal(cns_network_init(&plan, 6, again), 0);
  assert_memory_not_equal(params, again, plan.dim * sizeof *params);
  /* Biases zero, weights within sqrt(6/3), both signs. */
  bool positive = false, negative = false;
  for (size_t k = 0; k < 12; k++) {
    assert_true(fabsf(params[k]) <= sqrtf(2));
    positive = positive || params[k] > 0;
    negative = negative || params[k] < 0;
  }
  assert_true(positive && negative);
  for (size_t k = 12; k < 16; k++)
    assert_true(params[k] == 0);
  cns_plan_deinit(&plan);
}

/* Several hospitals of one process train at once. */
struct job {
  const struct cns_plan *plan;
  const struct cns_table *table;
  const float *params;
  float *update;
  int result;
};

static int run_job(void *context) {
  struct job *job = context;
  struct cns_network_seed seed = {.round = 1};
  job->result = cns_network_train(job->plan, job->params, job->table, &seed, NULL, job->update, NULL, NULL);
  return 0;
}

static void threads_get_the_same_bits(void **state) {
  enum { THREADS = 4, TIMES = 5 };
  struct cns_plan plan = changed_plan("[4, 5]", "[96, 80]");
  float x[TOY_ROWS * 3], *params = calloc(plan.dim, sizeof(float));
  float *updates = calloc((THREADS + 1) * plan.dim, sizeof(float));
  uint16_t label[TOY_ROWS];
  assert_true(params && updates);
  toy_rows(x, label);
  struct cns_table table = borrowed(&plan, x, label, TOY_ROWS);
  assert_int_equal(cns_network_init(&plan, 5, params), 0);
  for (int t = 0; t < TIMES; t++) {
    struct job jobs[THREADS + 1];
    thrd_t threads[THREADS];
    for (size_t i = 0; i <= THREADS; i++)
      jobs[i] = (struct job){&plan, &table, params, updates + i * plan.dim, -1};
    for (size_t i = 0; i < THREADS; i++)
      assert_int_equal(thrd_create(&threads[i], run_job, &jobs[i]), thrd_success);
    for (size_t i = 0; i < THREADS; i++)
      assert_int_equal(thrd_join(threads[i], NULL), thrd_success);
    run_job(&jobs[THREADS]); /* and alone */
    for (size_t i = 0; i <= THREADS; i++) {
      assert_int_equal(jobs[i].result, 0);
      assert_memory_equal(jobs[i].update, updates, plan.dim * sizeof(float));
    }
  }
  free(params);
  free(updates);
  cns_plan_deinit(&plan);
}

static void divergence_is_refused(void **state) {
  struct cns_plan plan = parsed(toy_study);
  float x[TOY_ROWS * 3], params[64] = {0}, update[64];
  uint16_t label[TOY_ROWS];
  struct cns_problem problem = {{0}};
  struct cns_network_seed seed = {0};
  toy_rows(x, label);
  struct cns_table table = borrowed(&plan, x, label, TOY_ROWS);
  params[plan.dim - 1] = NAN;
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, &problem),
                   CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "diverged in epoch 1"));
  for (size_t k = 0; k < plan.dim; k++)
    assert_true(update[k] == 0);
  for (size_t k = 0; k < plan.dim; k++)
    params[k] = 3e38f; /* finite, but its logits are not */
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, &problem),
                   CNS_ERR_RANGE);
  cns_plan_deinit(&plan);
}

static void unfit_tables_and_cancel(void **state) {
  struct cns_plan plan = parsed(toy_study);
  float x[TOY_ROWS * 3], params[64] = {0}, update[64];
  uint16_t label[TOY_ROWS];
  struct cns_network_seed seed = {0};
  toy_rows(x, label);
  struct cns_table table = borrowed(&plan, x, label, TOY_ROWS);
  atomic_bool cancel = true;
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, &cancel, update, NULL, NULL),
                   CNS_ERR_CANCELLED);
  label[7] = CNS_TABLE_NO_LABEL;
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL),
                   CNS_ERR_ARGUMENT);
  label[7] = 0;
  table.rows = 0;
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL),
                   CNS_ERR_ARGUMENT);
  table.rows = TOY_ROWS;
  table.features = 2;
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL),
                   CNS_ERR_ARGUMENT);
  table.features = 3;
  table.rows = 1; /* one patient is enough */
  assert_int_equal(cns_network_train(&plan, params, &table, &seed, NULL, update, NULL, NULL), 0);
  cns_plan_deinit(&plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(matches_independent_computation), cmocka_unit_test(gradient_agrees_with_differences),
      cmocka_unit_test(training_learns_and_repeats),     cmocka_unit_test(initial_model_is_fixed),
      cmocka_unit_test(threads_get_the_same_bits),       cmocka_unit_test(divergence_is_refused),
      cmocka_unit_test(unfit_tables_and_cancel),
  };
  print_message("# seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, NULL);
}
