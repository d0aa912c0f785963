/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/json.h"
#include "fixture.h"
#include "model/fedavg.h"
#include "model/modelfile.h"
#include "model/network.h"
#include "model/predict.h"

#include <math.h>
#include <sodium.h>
#include <unistd.h>

static struct cns_plan plan;
static char folder[] = "/tmp/cns-modelfile-XXXXXX";

static int setup(void **state) {
  if (cns_init() != 0 || !mkdtemp(folder)) return -1;
  plan = parsed(toy_study);
  return 0;
}

static int teardown(void **state) {
  cns_plan_deinit(&plan);
  return rmdir(folder);
}

static void model_survives_the_file(void **state) {
  char path[64];
  float params[64], back[64] = {0};
  struct cns_safetensors_pair metadata[] = {{"round", "1"}};
  snprintf(path, sizeof path, "%s/m.safetensors", folder);
  assert_int_equal(cns_network_init(&plan, 5, params), 0);
  assert_int_equal(cns_model_write(&plan, params, metadata, 1, path, 0600, NULL), 0);
  assert_int_equal(cns_model_read(&plan, path, back, NULL), 0);
  assert_memory_equal(params, back, plan.dim * sizeof *params);
  struct cns_safetensors *file;
  assert_int_equal(cns_safetensors_open(path, &file, NULL), 0);
  assert_string_equal(cns_safetensors_metadata(file, "round"), "1");
  assert_int_equal(cns_safetensors_find(file, "layer1.weight")->shape[0], 5);
  cns_safetensors_free(file);
  unlink(path);
}

static void other_models_are_refused(void **state) {
  struct cns_plan wider = changed_plan("[4, 5]", "[4, 6]"), deeper = changed_plan("[4, 5]", "[4, 5, 3]");
  struct cns_plan shallow = changed_plan("[4, 5]", "[4]");
  struct cns_plan *others[] = {&wider, &deeper, &shallow};
  float params[128] = {0}, back[64] = {42};
  uint8_t *data;
  size_t len;
  for (size_t i = 0; i < LENGTH_OF(others); i++) {
    assert_int_equal(cns_model_serialize(others[i], params, NULL, 0, &data, &len, NULL), 0);
    assert_int_equal(cns_model_parse(&plan, data, len, "m", back, NULL), CNS_ERR_FORMAT);
    free(data);
    cns_plan_deinit(others[i]);
  }
  params[9] = INFINITY;
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_model_serialize(&plan, params, NULL, 0, &data, &len, NULL), 0);
  assert_int_equal(cns_model_parse(&plan, data, len, "m", back, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "number 9 of tensor \"layer0.weight\""));
  free(data);
  assert_true(back[0] == 42);
}

static void initial_model_has_the_digest(void **state) {
  char path[64], change[256], hex[65];
  float params[64], back[64];
  uint8_t *data, digest[32];
  size_t len;
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_model_initial(&plan, folder, params, NULL), 0);
  assert_int_equal(cns_network_init(&plan, 5, back), 0);
  assert_memory_equal(params, back, plan.dim * sizeof *params);
  snprintf(path, sizeof path, "%s/start.safetensors", folder);
  assert_int_equal(cns_model_serialize(&plan, params, NULL, 0, &data, &len, NULL), 0);
  assert_int_equal(crypto_generichash(digest, 32, data, len, NULL, 0), 0);
  cns_hex_encode(digest, 32, hex);
  snprintf(change, sizeof change, "{\"file\": \"start.safetensors\", \"digest\": \"%s\"}", hex);
  struct cns_plan from_file = changed_plan("{\"seed\": 5}", change);
  memset(back, 0, sizeof back);
  assert_int_equal(cns_model_initial(&from_file, folder, back, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_file_write(path, data, len, 0600, NULL), 0);
  assert_int_equal(cns_model_initial(&from_file, folder, back, NULL), 0);
  assert_memory_equal(params, back, plan.dim * sizeof *params);
  data[len - 1] ^= 1;
  assert_int_equal(cns_file_write(path, data, len, 0600, NULL), 0);
  assert_int_equal(cns_model_initial(&from_file, folder, back, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "digest"));
  unlink(path);
  free(data);
  cns_plan_deinit(&from_file);
}

static void fedavg_adds(void **state) {
  float parent[] = {1, -2, 3e38f}, update[] = {0.5f, 2, 1e37f}, next[3] = {9, 9, 9};
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_fedavg_step(parent, update, 3, next, NULL), 0);
  assert_true(next[0] == 1.5f && next[1] == 0);
  update[2] = 3e38f;
  next[0] = 9;
  assert_int_equal(cns_fedavg_step(parent, update, 3, next, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "parameter 2 "));
  assert_true(next[0] == 9);
  assert_int_equal(cns_fedavg_step(parent, update, 2, parent, NULL), 0);
  assert_true(parent[0] == 1.5f && parent[1] == 0);
}

static void probabilities_sum_to_one(void **state) {
  static const char text[] = "age,marker,blood pressure\n9,0,100\n80,-1,200\n";
  float params[64], probabilities[6];
  uint32_t vector[387];
  struct cns_table table;
  assert_int_equal(
      cns_table_parse(&plan, text, sizeof text - 1, "t", CNS_TABLE_PREDICTION, &table, NULL, NULL), 0);
  assert_int_equal(cns_network_init(&plan, 5, params), 0);
  assert_int_equal(cns_model_predict(&plan, params, &table, probabilities, NULL), 0);
  for (size_t i = 0; i < 2; i++)
    assert_true(fabsf(probabilities[3 * i] + probabilities[3 * i + 1] + probabilities[3 * i + 2] - 1) <
                1e-6f);
  assert_int_equal(cns_model_metrics(&plan, params, &table, vector, NULL), CNS_ERR_ARGUMENT); /* no labels */
  params[plan.dim - 1] = NAN;
  assert_int_equal(cns_model_predict(&plan, params, &table, probabilities, NULL), CNS_ERR_RANGE);
  cns_table_deinit(&table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(model_survives_the_file),      cmocka_unit_test(other_models_are_refused),
      cmocka_unit_test(initial_model_has_the_digest), cmocka_unit_test(fedavg_adds),
      cmocka_unit_test(probabilities_sum_to_one),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
