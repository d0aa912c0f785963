/* SPDX-License-Identifier: Apache-2.0 */
/* The shipped data and study, end to end without cryptography: what the demo
 * promises, on three splits. */
#include "crypto/json.h"
#include "dp/clip.h"
#include "fixture.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/predict.h"
#include "model/split.h"

#include <math.h>

enum { HOSPITALS = 5, SPLITS = 3 };

static struct cns_plan plan;
static struct cns_table table;

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

static void table_is_the_published_one(void **state) {
  size_t malignant = 0;
  assert_int_equal(table.rows, 569);
  assert_int_equal(table.patients, 569);
  for (size_t i = 0; i < table.rows; i++)
    malignant += table.label[i] == 1;
  assert_int_equal(malignant, 212);
}

/* FedAvg over parts[1..count]; each round's model also through the masked
 * histograms, whose AUC must be within 0.005 of the exact one. */
static double federate(const struct cns_table *parts, size_t count, uint64_t shuffle) {
  float *params = calloc(plan.dim, sizeof *params), *update = calloc(plan.dim, sizeof *update);
  double *mean = calloc(plan.dim, sizeof *mean);
  assert_true(params && update && mean);
  struct cns_metrics exact = {0}, binned;
  uint32_t vector[131];
  assert_int_equal(cns_model_initial(&plan, ".", params, NULL), 0);
  for (uint32_t round = 1; round <= plan.rounds; round++) {
    double rows = 0;
    memset(mean, 0, plan.dim * sizeof *mean);
    for (size_t h = 1; h <= count; h++) {
      struct cns_network_seed seed = {.study = shuffle, .round = round, .hospital = (uint32_t)h};
      assert_int_equal(cns_network_train(&plan, params, &parts[h], &seed, NULL, update, NULL, NULL), 0);
      assert_int_equal(cns_clip(update, plan.dim, plan.clip_norm, NULL, NULL), 0);
      for (size_t k = 0; k < plan.dim; k++)
        mean[k] += (double)parts[h].rows * (double)update[k];
      rows += (double)parts[h].rows;
    }
    for (size_t k = 0; k < plan.dim; k++)
      update[k] = (float)(mean[k] / rows);
    assert_int_equal(cns_fedavg_step(params, update, plan.dim, params, NULL), 0);
    assert_int_equal(cns_model_evaluate(&plan, params, &parts[0], &exact, NULL), 0);
    assert_int_equal(cns_model_metrics(&plan, params, &parts[0], vector, NULL), 0);
    assert_int_equal(cns_metrics_evaluate(2, vector, 1, &binned, NULL), 0);
    assert_true(fabs(binned.auc - exact.auc) < 0.005);
    assert_true(fabs(binned.loss - exact.loss) < 1e-3);
  }
  free(params);
  free(update);
  free(mean);
  return exact.auc;
}

static void federation_is_as_good_as_pooling(void **state) {
  uint16_t *part = calloc(table.rows, sizeof *part);
  bool *keep = calloc(table.rows, sizeof *keep);
  double pooled = 0, federated = 0, alone = 0;
  assert_true(part && keep);
  for (uint64_t split = 1; split <= SPLITS; split++) {
    struct cns_split_options options = {
        .seed = split, .hospitals = HOSPITALS, .test_share = 0.2, .size_ratio = 5.6, .mix_ratio = 4};
    struct cns_table parts[HOSPITALS + 1], pair[2];
    assert_int_equal(cns_split_uneven(table.label, table.patient, table.rows, 2, &options, part), 0);
    for (size_t h = 0; h <= HOSPITALS; h++) {
      for (size_t i = 0; i < table.rows; i++)
        keep[i] = part[i] == h;
      assert_int_equal(cns_table_select(&table, keep, &parts[h]), 0);
    }
    federated += federate(parts, HOSPITALS, split) / SPLITS;
    pair[0] = parts[0];
    for (size_t h = 1; h <= HOSPITALS; h++) {
      pair[1] = parts[h];
      alone += federate(pair, 1, split) / SPLITS / HOSPITALS;
      for (size_t i = 0; i < table.rows; i++)
        keep[i] = part[i] != CNS_SPLIT_TEST;
    }
    assert_int_equal(cns_table_select(&table, keep, &pair[1]), 0);
    pooled += federate(pair, 1, split) / SPLITS;
    cns_table_deinit(&pair[1]);
    for (size_t h = 0; h <= HOSPITALS; h++)
      cns_table_deinit(&parts[h]);
  }
  print_message("# test AUC: pooled %.4f, federated %.4f, alone %.4f\n", pooled, federated, alone);
  assert_true(fabs(federated - pooled) < 0.01);
  assert_true(federated > alone);
  assert_true(federated > 0.98);
  free(part);
  free(keep);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(table_is_the_published_one),
      cmocka_unit_test(federation_is_as_good_as_pooling),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
