/* SPDX-License-Identifier: Apache-2.0 */
/* Round by round against the papers' formulas in decimal arithmetic (optimiser_vectors.py). */
#include <math.h>

#include "crypto/rng.h"
#include "fixture.h"
#include "model/fedavg.h"
#include "model/server_optimiser.h"
#include "optimiser_vectors.h"

#define SEED 29

static int setup(void **state) {
  return cns_init();
}

static struct cns_server_optimiser case_of(size_t c) {
  return (struct cns_server_optimiser){optimiser_vectors[c].kind, optimiser_vectors[c].learning_rate,
                                       optimiser_vectors[c].beta1, optimiser_vectors[c].beta2,
                                       optimiser_vectors[c].tau};
}

static bool is_near(double value, double expected) {
  if (fabs(value - expected) <= 1e-12 * fmax(1, fabs(expected))) return true;
  print_error("%.17g, expected %.17g\n", value, expected);
  return false;
}

static void in_double_to_1e_12(void **state) {
  for (size_t c = 0; c < LENGTH_OF(optimiser_vectors); c++) {
    struct cns_server_optimiser o = case_of(c);
    for (size_t k = 0; k < OPTIMISER_DIM; k++) {
      double x = (double)optimiser_start[k], m = 0, v = o.tau * o.tau;
      for (size_t t = 0; t < OPTIMISER_ROUNDS; t++) {
        x += cns_server_optimiser_move(&o, (double)optimiser_updates[t][k], &m, &v);
        assert_true(is_near(x, optimiser_vectors[c].exact[t][k]));
      }
    }
  }
}

static void in_float_bit_for_bit(void **state) {
  for (size_t c = 0; c < LENGTH_OF(optimiser_vectors); c++) {
    struct cns_server_optimiser o = case_of(c);
    float x[OPTIMISER_DIM], m[OPTIMISER_DIM], v[OPTIMISER_DIM];
    memcpy(x, optimiser_start, sizeof x);
    cns_server_optimiser_begin(&o, OPTIMISER_DIM, m, v);
    for (size_t t = 0; t < OPTIMISER_ROUNDS; t++) {
      const float *update = optimiser_updates[t];
      /* In two pieces: the place in the vector doesn't matter. */
      assert_int_equal(cns_server_optimiser_step(&o, x, update, 2, m, v, x, NULL), 0);
      assert_int_equal(
          cns_server_optimiser_step(&o, x + 2, update + 2, OPTIMISER_DIM - 2, m + 2, v + 2, x + 2, NULL), 0);
      assert_memory_equal(x, optimiser_vectors[c].single[t], sizeof x);
      for (size_t k = 0; k < OPTIMISER_DIM; k++) /* far from the rounding of floats */
        assert_true(fabs((double)x[k] - optimiser_vectors[c].exact[t][k]) <=
                    2e-6 * fmax(1, fabs(optimiser_vectors[c].exact[t][k])));
    }
  }
}

/* With learning rate 1 it is what FedAvg always was, to the bit. */
static void plain_fedavg_is_unchanged(void **state) {
  struct cns_server_optimiser o = {.kind = CNS_SERVER_FEDAVG, .learning_rate = 1};
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, SEED, "server optimiser");
  float parent[4096], update[4096], one[4096], other[4096];
  uint64_t a, b;
  for (size_t k = 0; k < 4096; k++) {
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 1u << 30, &a), 0);
    assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 1u << 30, &b), 0);
    parent[k] = (float)ldexp((double)a - 0x1p29, -28);
    update[k] = (float)ldexp((double)b - 0x1p29, -28 - (int)(k % 40));
  }
  assert_int_equal(cns_fedavg_step(parent, update, 4096, one, NULL), 0);
  assert_int_equal(cns_server_optimiser_step(&o, parent, update, 4096, NULL, NULL, other, NULL), 0);
  assert_memory_equal(one, other, sizeof one);
}

static void what_is_not_finite_is_refused(void **state) {
  static const struct cns_server_optimiser optimisers[] = {
      {CNS_SERVER_FEDAVG, 100, 0, 0, 0},           {CNS_SERVER_FEDAVGM, 1, 0.9, 0, 0},
      {CNS_SERVER_FEDADAM, 1, 0.9, 0.99, 1e-3},    {CNS_SERVER_FEDYOGI, 1, 0.9, 0.99, 1e-3},
      {CNS_SERVER_FEDADAGRAD, 1, 0.9, 0.99, 1e-3},
  };
  for (size_t c = 0; c < LENGTH_OF(optimisers); c++) {
    float x[] = {1, 3e38f}, update[] = {1, 3e38f}, m[2], v[2];
    struct cns_problem problem = {{0}};
    cns_server_optimiser_begin(&optimisers[c], 2, m, v);
    assert_int_equal(cns_server_optimiser_step(&optimisers[c], x, update, 2, m, v, x, &problem),
                     CNS_ERR_RANGE);
    assert_non_null(strstr(problem.text, "parameter 1 of the new model"));
  }
}

/* Hsu et al.: a constant update is multiplied by 1/(1 - momentum) in the end. Reddi et al.: steps of
 * FedAdam and FedYogi come to the learning rate, and FedAdagrad's fall as 1/sqrt(t). */
static void known_limits(void **state) {
  double m = 0, v = 0, step = 0;
  struct cns_server_optimiser o = {CNS_SERVER_FEDAVGM, 1, 0.9, 0, 0};
  for (int t = 0; t < 500; t++)
    step = cns_server_optimiser_move(&o, 0.25, &m, &v);
  assert_true(fabs(step - 2.5) < 1e-12);
  static const enum cns_server_optimiser_kind kinds[] = {CNS_SERVER_FEDADAM, CNS_SERVER_FEDYOGI,
                                                         CNS_SERVER_FEDADAGRAD};
  for (size_t c = 0; c < LENGTH_OF(kinds); c++) {
    o = (struct cns_server_optimiser){kinds[c], 0.1, 0.9, 0.99, 1e-9};
    m = 0;
    v = o.tau * o.tau;
    for (int t = 0; t < 10000; t++)
      step = cns_server_optimiser_move(&o, 0.25, &m, &v);
    double limit = kinds[c] == CNS_SERVER_FEDADAGRAD ? 0.1 / 100 : 0.1;
    assert_true(fabs(step / limit - 1) < (kinds[c] == CNS_SERVER_FEDYOGI ? 1e-2 : 1e-6));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(in_double_to_1e_12),
      cmocka_unit_test(in_float_bit_for_bit),
      cmocka_unit_test(plain_fedavg_is_unchanged),
      cmocka_unit_test(what_is_not_finite_is_refused),
      cmocka_unit_test(known_limits),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
