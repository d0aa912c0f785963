/* SPDX-License-Identifier: Apache-2.0 */
/* A short run of benchmarks/privacy_study.c: what docs/privacy.md says of audit
 * level open, with bounds far wider than the figures there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "benchmarks/privacy_experiments.h"
#include "crypto/json.h"

#define SEED 1

static struct cns_plan plan;
static struct cns_table table;
static struct privacy_world_options world = {
    .seed = SEED, .hospitals = 20, .alpha = 0.3, .auxiliary_share = 0.1, .clip = 5};

static int setup(void **state) {
  char path[4096];
  const char *root = getenv("CNS_SOURCE_ROOT");
  uint8_t *text;
  size_t len;
  if (!root) root = ".";
  if (cns_init() != 0) return -1;
  snprintf(path, sizeof path, "%s/examples/breast-cancer/study.json", root);
  if (cns_file_read(path, CNS_PLAN_BYTES_MAX, &text, &len, NULL) != 0) return -1;
  int r = cns_plan_parse((const char *)text, len, path, &plan, NULL);
  free(text);
  if (r != 0) return -1;
  snprintf(path, sizeof path, "%s/examples/breast-cancer/wdbc.csv", root);
  return cns_table_read(&plan, path, CNS_TABLE_TRAINING, &table, NULL, NULL);
}

static int teardown(void **state) {
  cns_table_deinit(&table);
  cns_plan_deinit(&plan);
  return 0;
}

static void draw(struct cns_rng_seeded *generator, struct cns_rng *rng, struct privacy_matrix *matrix,
                 uint32_t k, size_t audits) {
  cns_rng_seeded_init_label(generator, SEED, "test_privacy_study");
  *rng = cns_rng_seeded(generator);
  privacy_matrix_draw(matrix, 5000, k, audits, *rng);
}

/* What the study reads is what the protocol sends. */
static void the_matrix_is_the_audits(void **state) {
  struct cns_rng_seeded generator;
  static uint32_t x[5000], sketch[CNS_SKETCH_MAX];
  static double same[5000], z[CNS_SKETCH_MAX];
  for (uint32_t k = CNS_SKETCH_MIN; k <= CNS_SKETCH_MAX; k *= 2) {
    struct privacy_matrix matrix;
    struct cns_sketch_key key;
    cns_rng_seeded_init_label(&generator, k, "test_privacy_study matrix");
    struct cns_rng rng = cns_rng_seeded(&generator);
    assert_int_equal(cns_rng_fill(rng, key.bytes, sizeof key.bytes), 0);
    for (size_t c = 0; c < 5000; c++) {
      same[c] = (double)privacy_below(rng, 20001) - 10000;
      x[c] = (uint32_t)(int32_t)same[c];
    }
    const uint32_t *vector = x;
    assert_int_equal(cns_sketch_vectors(&key, k, &vector, 1, 5000, (struct cns_parallel){0}, sketch), 0);
    privacy_matrix_init(&matrix, 5000, k, &key, 1);
    privacy_matrix_apply(&matrix, same, z);
    for (size_t i = 0; i < k; i++)
      assert_int_equal((int32_t)z[i], (int32_t)sketch[i]);
    privacy_matrix_deinit(&matrix);
  }
}

static void the_case_mix_can_be_read(void **state) {
  static struct privacy_mix mix;
  struct privacy_mix_options options = {.world = world, .seeds = 1, .imagined = 40};
  privacy_mix(&plan, &table, &options, &mix);
  for (size_t s = 0; s < PRIVACY_SIZES; s++) {
    print_message("# k = %u: correlation %.3f, mean error %.3f\n", privacy_sizes[s], mix.of[0][s].correlation,
                  mix.of[0][s].mean_error);
    assert_true(mix.of[0][s].correlation > 0.8);
    assert_true(mix.of[0][s].mean_error < mix.guess / 2);
  }
  assert_true(mix.rebuilt[0][1] < mix.blind[0] / 2);
  assert_true(mix.rebuilt[0][0] <= mix.rebuilt[0][PRIVACY_SIZES - 1]);
}

static void inner_products_err_by_the_root_of_k(void **state) {
  static struct privacy_inner inner;
  privacy_inner(&plan, &table, &world, 5, &inner);
  for (int d = 0; d < PRIVACY_DIRECTIONS; d++)
    for (size_t s = 1; s < PRIVACY_SIZES; s++) {
      double ratio = inner.error[d][s] / inner.theory[d][s];
      print_message("# direction %d, k = %u: %.3f of the variance's root\n", d, privacy_sizes[s], ratio);
      assert_true(ratio > 0.7 && ratio < 1.4);
      assert_true(inner.theory[d][s] <= sqrt(2.0 / privacy_sizes[s]));
    }
}

static void sparse_vectors_come_out(void **state) {
  struct privacy_sparse_options o = {.seed = SEED, .dim = 8192, .audits = 1, .trials = 5};
  for (o.k = 128; o.k <= 512; o.k *= 2) {
    o.nonzero = o.k / 16;
    assert_true(privacy_sparse(&o) == 1);
    o.nonzero = o.k;
    assert_true(privacy_sparse(&o) == 0);
  }
  o.k = 128;
  o.pursuit = true;
  o.nonzero = 8;
  assert_true(privacy_sparse(&o) == 1);
  /* Four audits of one vector do what one cannot. */
  o.nonzero = 48;
  double one = privacy_sparse(&o);
  o.audits = 4;
  double four = privacy_sparse(&o);
  print_message("# 48 entries: 1 audit %.2f, 4 audits %.2f\n", one, four);
  assert_true(one == 0 && four >= 0.8);
}

static void compressible_vectors_come_near(void **state) {
  struct privacy_sparse_options o = {.seed = SEED, .dim = 8192, .trials = 2, .k = 256};
  struct privacy_compressible steep, flat;
  privacy_compressible(&o, 1.5, &steep);
  privacy_compressible(&o, 0.5, &flat);
  print_message("# rank^-1.5: %.3f, rank^-0.5: %.3f\n", steep.found, flat.found);
  assert_true(steep.found < 0.1);
  assert_true(flat.found > 0.7);
}

static void a_model_can_be_made_to_be_read(void **state) {
  struct privacy_trap trap;
  privacy_trap(&plan, &table, &world, 2, 256, 7, 1.5, &trap);
  print_message("# of %zu updates %zu come out, of %zu hospitals a row\n", trap.rounds, trap.recovered,
                trap.rows);
  assert_int_equal(trap.recovered, trap.rounds);
  assert_true(trap.rows > trap.rounds / 4);
}

static void audits_of_one_update_add_up(void **state) {
  struct cns_rng_seeded generator;
  struct cns_rng rng;
  double error[2], *x = PRIVACY_NEW(5000, double);
  for (int m = 0; m < 2; m++) {
    struct privacy_matrix matrix;
    draw(&generator, &rng, &matrix, 128, m ? 50 : 10); /* 0.256 and 1.28 numbers an entry */
    double *z = PRIVACY_NEW(matrix.numbers, double);
    for (size_t c = 0; c < 5000; c++)
      x[c] = privacy_normal(rng);
    privacy_matrix_apply(&matrix, x, z);
    error[m] = privacy_decode_least(&matrix, z, 300, x);
    free(z);
    privacy_matrix_deinit(&matrix);
  }
  print_message("# relative error %.4f, %.4f\n", error[0], error[1]);
  assert_true(fabs(error[0] - sqrt(1 - 0.256)) < 0.05);
  assert_true(error[1] < 1e-3);
  free(x);
}

static void metrics_of_one_hospital_by_difference(void **state) {
  struct privacy_metrics metrics;
  privacy_metrics(&plan, &table, &world, 1, &metrics);
  assert_int_equal(metrics.hospitals, 20);
  assert_int_equal(metrics.exact, 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_matrix_is_the_audits),
      cmocka_unit_test(the_case_mix_can_be_read),
      cmocka_unit_test(inner_products_err_by_the_root_of_k),
      cmocka_unit_test(sparse_vectors_come_out),
      cmocka_unit_test(compressible_vectors_come_near),
      cmocka_unit_test(a_model_can_be_made_to_be_read),
      cmocka_unit_test(audits_of_one_update_add_up),
      cmocka_unit_test(metrics_of_one_hospital_by_difference),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
