/* SPDX-License-Identifier: Apache-2.0 */
/* SCAFFOLD against its formulas in Python (network_vectors.py), and for what it is there for: with
 * hospitals whose patients differ it comes to the model of the pooled data, and FedAvg beside it. */
#include <math.h>

#include "crypto/rng.h"
#include "dp/clip.h"
#include "fixture.h"
#include "model/modelfile.h"
#include "model/scaffold.h"
#include "network_vectors.h"

#define SCAFFOLD(steps, hospitals)                                                                           \
  "\"momentum\": 0, \"scaffold\": {\"steps\": " steps ", \"hospitals\": " hospitals "}, "

/* The toy with SCAFFOLD and another model. */
static struct cns_plan scaffold_plan(const char *model, const char *scaffold) {
  char *equal = replaced(toy_study, "\"weighting\": \"patients\"", "\"weighting\": \"equal\"");
  char *with = replaced(equal, "\"momentum\": 0.9, ", scaffold);
  char *text = replaced(with, "{\"kind\": \"mlp\", \"hidden\": [4, 5], \"activation\": \"tanh\"}", model);
  struct cns_plan plan = parsed(text);
  free(equal);
  free(with);
  free(text);
  return plan;
}

static struct cns_table borrowed(const struct cns_plan *plan, float *x, uint16_t *label, size_t rows) {
  return (struct cns_table){
      .rows = rows, .features = plan->feature_count, .classes = plan->class_count, .x = x, .label = label};
}

static bool is_near(double value, double expected, double tolerance) {
  if (fabs(value - expected) <= tolerance * (1 + fabs(expected))) return true;
  print_error("%.9g, expected %.9g\n", value, expected);
  return false;
}

static void matches_independent_computation(void **state) {
  for (size_t v = 0; v < LENGTH_OF(network_vectors); v++) {
    struct cns_plan plan = scaffold_plan(network_vectors[v].model, SCAFFOLD("5", "4"));
    size_t dim = plan.dim;
    float received[2 * VECTOR_DIM_MAX], joint[2 * VECTOR_DIM_MAX], own[VECTOR_DIM_MAX];
    float x[VECTOR_ROWS * 3], control[VECTOR_DIM_MAX];
    uint16_t label[VECTOR_ROWS];
    struct cns_network_stats stats;
    assert_int_equal(plan.scaffold.steps, VECTOR_STEPS);
    assert_true(fabs(cns_scaffold_scale(&plan) - 0.5) < 1e-15);
    memcpy(x, network_vectors[v].x, sizeof x);
    memcpy(label, network_vectors[v].label, sizeof label);
    memcpy(received, network_vectors[v].params, dim * sizeof *received);
    memcpy(received + dim, network_vectors[v].correction, dim * sizeof *received);
    memcpy(own, network_vectors[v].own, sizeof own);
    struct cns_table table = borrowed(&plan, x, label, VECTOR_ROWS);
    struct cns_network_seed seed = {1, 2, 3, 4};
    assert_int_equal(cns_scaffold_train(&plan, received, own, &table, &seed, NULL, joint, &stats, NULL), 0);
    assert_int_equal(stats.steps, 2);
    for (size_t k = 0; k < 2 * dim; k++)
      assert_true(is_near(joint[k], network_vectors[v].joint[k], 1e-5));
    /* Both sides' variates: c_i + dc, and c + |S|/N dc. */
    assert_int_equal(cns_scaffold_move_own(&plan, own, joint, own, NULL), 0);
    assert_int_equal(cns_scaffold_move_server(&plan, 3, joint + dim, dim, received + dim, control, NULL), 0);
    for (size_t k = 0; k < dim; k++) {
      double dc = network_vectors[v].joint[dim + k] / 0.5;
      assert_true(is_near(own[k], network_vectors[v].own[k] + dc, 2e-5));
      assert_true(is_near(control[k], network_vectors[v].correction[k] + 0.75 * dc, 2e-5));
    }
    /* More hospitals than the study counts on don't move it further than their mean. */
    assert_int_equal(cns_scaffold_move_server(&plan, 9, joint + dim, dim, received + dim, control, NULL), 0);
    assert_true(
        is_near(control[0], network_vectors[v].correction[0] + network_vectors[v].joint[dim] / 0.5, 2e-5));
    cns_plan_deinit(&plan);
  }
}

#define HOSPITALS 3
#define ROWS 60

/* Hospital h has two classes of three, and its inputs lie elsewhere. */
static void deal(const struct cns_plan *plan, float (*x)[ROWS * 3], uint16_t (*label)[ROWS]) {
  struct cns_rng_seeded generator;
  cns_rng_seeded_init_label(&generator, 31, "scaffold");
  for (size_t h = 0; h < HOSPITALS; h++)
    for (size_t i = 0; i < ROWS; i++) {
      uint64_t value;
      label[h][i] = (uint16_t)((h + i % 2) % 3);
      for (size_t f = 0; f < plan->feature_count; f++) {
        assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), 1000, &value), 0);
        x[h][3 * i + f] = (float)value / 500 - 1 + (f == label[h][i] ? 0.4f : 0.0f) + 0.3f * (float)h;
      }
    }
}

/* L2 norm of the mean of the hospitals' gradients: how far from the pooled data's best model. */
static double distance(const struct cns_plan *plan, const float *params, float (*x)[ROWS * 3],
                       uint16_t (*label)[ROWS]) {
  float mean[VECTOR_DIM_MAX] = {0}, gradient[VECTOR_DIM_MAX];
  double loss, norm;
  for (size_t h = 0; h < HOSPITALS; h++) {
    assert_int_equal(cns_network_gradient(plan, params, x[h], label[h], ROWS, &loss, gradient), 0);
    for (size_t k = 0; k < plan->dim; k++)
      mean[k] += gradient[k] / HOSPITALS;
  }
  assert_int_equal(cns_clip_norm(mean, plan->dim, &norm, NULL), 0);
  return norm;
}

/* Rounds of full batches, so that there is no noise but the hospitals' difference; `absent` takes no part
 * in every third round. How far the model is in the end. */
static double federate(struct cns_plan *plan, bool scaffold, double clip, int absent, unsigned rounds) {
  float x[HOSPITALS][ROWS * 3], model[2 * VECTOR_DIM_MAX] = {0}, own[HOSPITALS][VECTOR_DIM_MAX] = {{0}};
  uint16_t label[HOSPITALS][ROWS];
  size_t dim = plan->dim;
  deal(plan, x, label);
  for (unsigned round = 1; round <= rounds; round++) {
    float sum[2 * VECTOR_DIM_MAX] = {0}, joint[2 * VECTOR_DIM_MAX] = {0};
    size_t included = 0;
    for (int h = 0; h < HOSPITALS; h++) {
      struct cns_table table = borrowed(plan, x[h], label[h], ROWS);
      struct cns_network_seed seed = {1, round, 1, (uint32_t)h + 1};
      if (h == absent && round % 3 == 0) continue;
      int r = scaffold ? cns_scaffold_train(plan, model, own[h], &table, &seed, NULL, joint, NULL, NULL)
                       : cns_network_train(plan, model, &table, &seed, NULL, joint, NULL, NULL);
      assert_int_equal(r, 0);
      if (clip > 0) assert_int_equal(cns_clip(joint, 2 * dim, clip, NULL, NULL), 0);
      if (scaffold) assert_int_equal(cns_scaffold_move_own(plan, own[h], joint, own[h], NULL), 0);
      included++;
      for (size_t k = 0; k < 2 * dim; k++)
        sum[k] += joint[k];
    }
    for (size_t k = 0; k < 2 * dim; k++)
      sum[k] /= (float)included;
    for (size_t k = 0; k < dim; k++)
      model[k] += sum[k];
    if (scaffold)
      assert_int_equal(
          cns_scaffold_move_server(plan, included, sum + dim, dim, model + dim, model + dim, NULL), 0);
    for (size_t k = 0; scaffold && k < dim; k++) { /* c is the mean of the c_i */
      double mean = (own[0][k] + own[1][k] + own[2][k]) / 3.0;
      assert_true(fabs((double)model[dim + k] - mean) < 1e-5);
    }
  }
  return distance(plan, model, x, label);
}

static void client_drift_is_gone(void **state) {
  struct cns_plan plan = scaffold_plan("{\"kind\": \"logistic\"}", SCAFFOLD("20", "3"));
  plan.local_epochs = 20;
  plan.batch = ROWS;
  plan.learning_rate = 0.3;
  double fedavg = federate(&plan, false, 0, -1, 300), all = federate(&plan, true, 0, -1, 300);
  double clipped = federate(&plan, true, 0.5, -1, 300), absent = federate(&plan, true, 0, 1, 300);
  print_message("# gradient's norm after 300 rounds: FedAvg %.2g, SCAFFOLD %.2g, clipped %.2g, one absent in "
                "every third round %.2g\n",
                fedavg, all, clipped, absent);
  assert_true(fedavg > 1e-2);
  assert_true(all < fedavg / 100);
  assert_true(clipped < fedavg / 100);
  assert_true(absent < fedavg / 10);
  cns_plan_deinit(&plan);
}

/* The file that rounds pass on has the control variate; a model by itself is read from it too. */
static void files_have_the_control_variate(void **state) {
  struct cns_plan plan = scaffold_plan("{\"kind\": \"logistic\"}", SCAFFOLD("20", "3"));
  struct cns_plan without = changed_plan("{\"kind\": \"mlp\", \"hidden\": [4, 5], \"activation\": \"tanh\"}",
                                         "{\"kind\": \"logistic\"}");
  size_t dim = plan.dim, len, plain_len;
  float model[2 * VECTOR_DIM_MAX], back[2 * VECTOR_DIM_MAX] = {0};
  uint8_t *data, *plain;
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_plan_round_dim(&plan), 2 * dim);
  assert_int_equal(cns_plan_update_dim(&plan), 2 * dim);
  assert_int_equal(cns_plan_round_dim(&without), dim);
  for (size_t k = 0; k < 2 * dim; k++)
    model[k] = (float)k + 0.5f;
  assert_int_equal(cns_model_serialize_round(&plan, model, &data, &len, &problem), 0);
  assert_int_equal(cns_model_parse_round(&plan, data, len, "m", back, &problem), 0);
  assert_memory_equal(model, back, 2 * dim * sizeof *model);
  memset(back, 0, sizeof back);
  assert_int_equal(cns_model_parse(&plan, data, len, "m", back, &problem), 0);
  assert_memory_equal(model, back, dim * sizeof *model);
  assert_true(back[dim] == 0);
  /* Under a study without SCAFFOLD it is another model, and so is a model by itself under one with it. */
  assert_int_equal(cns_model_parse(&without, data, len, "m", back, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "control.layer0"));
  assert_int_equal(cns_model_serialize(&plan, model, NULL, 0, &plain, &plain_len, &problem), 0);
  assert_int_equal(cns_model_parse(&plan, plain, plain_len, "m", back, &problem), 0);
  assert_int_equal(cns_model_parse_round(&plan, plain, plain_len, "m", back, &problem), CNS_ERR_FORMAT);
  free(plain);
  assert_int_equal(cns_model_serialize_round(&without, model, &plain, &plain_len, &problem), 0);
  assert_int_equal(cns_model_parse_round(&without, plain, plain_len, "m", back, &problem), 0);
  free(plain);
  struct cns_safetensors *file;
  struct cns_tensor_list list;
  assert_int_equal(cns_safetensors_parse(data, len, "m", &file, &problem), 0);
  assert_int_equal(cns_tensor_list_from_safetensors(file, &list, &problem), 0);
  assert_true(cns_tensor_list_drop_control(&list));
  assert_true(list.count == 2 && list.dim == dim && strcmp(list.tensors[0].name, "layer0.weight") == 0);
  assert_false(cns_tensor_list_drop_control(&list));
  cns_tensor_list_deinit(&list);
  cns_safetensors_free(file);
  free(data);
  /* Before round 1 it is zero. */
  assert_int_equal(cns_model_initial_round(&plan, ".", &data, &len, &problem), 0);
  assert_int_equal(cns_model_parse_round(&plan, data, len, "m", back, &problem), 0);
  for (size_t k = dim; k < 2 * dim; k++)
    assert_true(back[k] == 0);
  free(data);
  cns_plan_deinit(&plan);
  cns_plan_deinit(&without);
}

static void what_it_doesnt_go_with_is_refused(void **state) {
  static const struct {
    const char *from, *to, *word;
  } cases[] = {
      {"\"momentum\": 0,", "\"momentum\": 0.5,", "momentum must be 0"},
      {"\"momentum\": 0,", "\"momentum\": 0, \"proximal\": 0.1,", "proximal left out"},
      {"\"equal\"", "\"patients\"", "weighting must be \"equal\""},
      {"\"momentum\": 0,",
       "\"momentum\": 0, \"server_optimiser\": {\"kind\": \"fedavgm\", \"learning_rate\": 1, \"momentum\": "
       "0.9},",
       "server_optimiser left out"},
      {"\"steps\": 5", "\"steps\": 0", "training.scaffold.steps"},
      {"\"hospitals\": 4", "\"hospitals\": 1", "training.scaffold.hospitals"},
      {"\"hospitals\": 4", "\"hospitals\": 4, \"scale\": 1", "training.scaffold.scale"},
      {", \"hospitals\": 4", "", "training.scaffold.hospitals is missing"},
      {"[4, 5]", "[16000, 16000]", "may have at most 134217728"},
      {"\"momentum\": 0,",
       "\"momentum\": 0, \"server_optimiser\": {\"kind\": \"fedavg\", \"learning_rate\": 0.5},", NULL},
  };
  char *equal = replaced(toy_study, "\"weighting\": \"patients\"", "\"weighting\": \"equal\"");
  char *good = replaced(equal, "\"momentum\": 0.9, ", SCAFFOLD("5", "4"));
  for (size_t c = 0; c < LENGTH_OF(cases); c++) {
    char *text = replaced(good, cases[c].from, cases[c].to);
    struct cns_plan plan = {0};
    struct cns_problem problem = {{0}};
    int r = cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem);
    if ((r == 0) != !cases[c].word) print_error("%s: %d, %s\n", cases[c].to, r, problem.text);
    assert_true((r == 0) == !cases[c].word);
    if (cases[c].word && !strstr(problem.text, cases[c].word)) fail_msg("%s", problem.text);
    cns_plan_deinit(&plan);
    free(text);
  }
  free(equal);
  free(good);
}

static int setup(void **state) {
  return cns_init();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(matches_independent_computation),
      cmocka_unit_test(client_drift_is_gone),
      cmocka_unit_test(files_have_the_control_variate),
      cmocka_unit_test(what_it_doesnt_go_with_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
