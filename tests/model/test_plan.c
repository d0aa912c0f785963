/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/json.h"
#include "fixture.h"
#include "model/metrics.h"

static int setup(void **state) {
  return cns_init();
}

static void toy_is_read(void **state) {
  struct cns_plan plan = parsed(toy_study);
  assert_string_equal(plan.name, "toy");
  assert_int_equal(plan.version, 3);
  assert_string_equal(plan.label_column, "grade");
  assert_int_equal(plan.class_count, 3);
  assert_string_equal(plan.classes[2], "high");
  assert_string_equal(plan.patient_column, "pid");
  assert_int_equal(plan.feature_count, 3);
  assert_string_equal(plan.features[2].name, "blood pressure");
  assert_true(plan.features[0].min == 0 && plan.features[0].max == 120);
  assert_int_equal(plan.features[0].missing, CNS_MISSING_DROP);
  assert_int_equal(plan.features[1].missing, CNS_MISSING_IMPUTE);
  assert_true(plan.features[1].impute == 0.5);
  assert_int_equal(plan.kind, CNS_MODEL_MLP);
  assert_int_equal(plan.activation, CNS_ACTIVATION_TANH);
  assert_int_equal(plan.hidden_count, 2);
  assert_int_equal(plan.rounds, 7);
  assert_int_equal(plan.local_epochs, 2);
  assert_true(plan.learning_rate == 0.1 && plan.momentum == 0.9 && plan.clip_norm == 1.5);
  assert_int_equal(plan.batch, 8);
  assert_int_equal(plan.seed, 99);
  assert_false(plan.initial_from_file);
  assert_int_equal(plan.initial_seed, 5);
  assert_int_equal(plan.weighting, CNS_WEIGHTING_PATIENTS);
  assert_true(plan.validation_share == 0.25);
  assert_int_equal(cns_plan_metrics_dim(&plan), 3 * 128 + 3);
  cns_plan_deinit(&plan);
  cns_plan_deinit(&plan);
}

static void tensors_tile_the_vector(void **state) {
  struct cns_plan plan = parsed(toy_study);
  size_t at = 0;
  assert_int_equal(cns_plan_tensor_count(&plan), 6);
  for (size_t t = 0; t < 6; t++) {
    struct cns_plan_tensor tensor = cns_plan_tensor(&plan, t);
    assert_int_equal(tensor.offset, at);
    assert_int_equal(tensor.count, tensor.shape[0] * (tensor.shape_count == 2 ? tensor.shape[1] : 1));
    at += tensor.count;
  }
  assert_int_equal(at, (3 + 1) * 4 + (4 + 1) * 5 + (5 + 1) * 3);
  assert_int_equal(at, cns_plan_dim(&plan));
  struct cns_plan_tensor tensor = cns_plan_tensor(&plan, 2);
  assert_string_equal(tensor.name, "layer1.weight");
  assert_int_equal(tensor.shape[0], 5);
  assert_int_equal(tensor.shape[1], 4);
  assert_string_equal(cns_plan_tensor(&plan, 5).name, "layer2.bias");
  cns_plan_deinit(&plan);
}

static void logistic_and_file_are_read(void **state) {
  struct cns_plan plan = changed_plan("{\"kind\": \"mlp\", \"hidden\": [4, 5], \"activation\": \"tanh\"}",
                                      "{\"kind\": \"logistic\"}");
  assert_int_equal(plan.dim, (3 + 1) * 3);
  assert_int_equal(plan.kind, CNS_MODEL_LOGISTIC);
  cns_plan_deinit(&plan);
  plan =
      changed_plan("{\"seed\": 5}", "{\"file\": \"start.safetensors\", \"digest\": "
                                    "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}");
  assert_true(plan.initial_from_file);
  assert_string_equal(plan.initial_file, "start.safetensors");
  assert_int_equal(plan.initial_digest[1], 0x11);
  cns_plan_deinit(&plan);
}

static void shipped_study_is_read(void **state) {
  char path[4096];
  uint8_t *text;
  size_t len;
  struct cns_plan plan;
  struct cns_problem problem = {{0}};
  const char *root = getenv("CNS_SOURCE_ROOT");
  snprintf(path, sizeof path, "%s/examples/breast-cancer/study.json", root ? root : ".");
  assert_int_equal(cns_file_read(path, CNS_PLAN_BYTES_MAX, &text, &len, &problem), 0);
  assert_int_equal(cns_plan_parse((const char *)text, len, path, &plan, &problem), 0);
  assert_true(plan.dim >= 8192); /* what an audit will need */
  free(text);
  cns_plan_deinit(&plan);
}

/* Each with a word that the sentence must hold. */
#define OPTIMISER(fields) "\"clip_norm\": 1.5, \"server_optimiser\": {" fields "}"

static const struct {
  const char *from, *to, *word;
} damages[] = {
    {"\"name\": \"toy\"", "\"name\": \"../toy\"", "name"},
    {"\"name\": \"toy\"", "\"name\": \"\"", "name"},
    {"\"name\": \"toy\", ", "", "name is missing"},
    {"\"version\": 3", "\"version\": 0", "version"},
    {"\"version\": 3", "\"version\": \"3\"", "version"},
    {"\"classification\"", "\"regression\"", "task"},
    {"\"version\": 3", "\"version\": 3, \"extra\": 1", "extra"},
    {"\"column\": \"grade\"", "\"column\": \"grade\", \"x\": 1", "label.x"},
    {"\"column\": \"grade\"", "\"column\": \"age\"", "twice"},
    {"\"patient_id\": \"pid\"", "\"patient_id\": \"marker\"", "twice"},
    {"\"patient_id\": \"pid\"", "\"patient_id\": \" pid\"", "space"},
    {"[\"low\", \"mid\", \"high\"]", "[\"low\"]", "classes"},
    {"[\"low\", \"mid\", \"high\"]", "[\"low\", \"low\"]", "twice"},
    {"[\"low\", \"mid\", \"high\"]", "[0, 1]", "classes[0]"},
    {"\"name\": \"marker\"", "\"name\": \"age\"", "twice"},
    {"\"min\": 0, \"max\": 120", "\"min\": 120, \"max\": 120", "features[0]"},
    {"\"min\": 0, \"max\": 120", "\"min\": 0, \"max\": 1e99", "features[0].max"},
    {"\"min\": 0, \"max\": 120", "\"min\": 0", "features[0].max is missing"},
    {"\"missing\": \"drop\"", "\"missing\": \"mean\"", "features[0].missing"},
    {"{\"impute\": 0.5}", "{\"impute\": 7}", "features[1].missing.impute"},
    {"{\"impute\": 0.5}", "{\"impute\": 0.5, \"y\": 0}", "features[1].missing.y"},
    {"\"mlp\"", "\"forest\"", "model.kind"},
    {"\"mlp\"", "\"logistic\"", "model.hidden"},
    {"[4, 5]", "[]", "model.hidden"},
    {"[4, 5]", "[4, 0]", "model.hidden[1]"},
    {"[4, 5]", "[4, 5.5]", "model.hidden[1]"},
    {"[4, 5]", "[1,1,1,1,1,1,1,1,1]", "model.hidden"},
    {"[4, 5]", "[65536, 65536]", "parameters"},
    {"\"tanh\"", "\"sigmoid\"", "model.activation"},
    {"\"rounds\": 7", "\"rounds\": 0", "training.rounds"},
    {"\"local_epochs\": 2", "\"local_epochs\": 1.5", "training.local_epochs"},
    {"\"learning_rate\": 0.1", "\"learning_rate\": 0", "training.learning_rate"},
    {"\"momentum\": 0.9", "\"momentum\": 1", "training.momentum"},
    {"\"batch\": 8", "\"batch\": -8", "training.batch"},
    {"\"seed\": 99", "\"seed\": -1", "training.seed"},
    {"\"clip_norm\": 1.5", "\"clip_norm\": 0", "training.clip_norm"},
    {"\"clip_norm\": 1.5", "\"clip_norm\": 1.5, \"optimizer\": \"adam\"", "training.optimizer"},
    {"\"clip_norm\": 1.5", OPTIMISER("\"kind\": \"sgd\""), "training.server_optimiser.kind must be"},
    {"\"clip_norm\": 1.5", OPTIMISER("\"kind\": 3"), "training.server_optimiser.kind"},
    {"\"clip_norm\": 1.5", OPTIMISER("\"kind\": \"fedavg\""),
     "training.server_optimiser.learning_rate is missing"},
    {"\"clip_norm\": 1.5", OPTIMISER("\"kind\": \"fedavg\", \"learning_rate\": 0"), "learning_rate"},
    {"\"clip_norm\": 1.5", OPTIMISER("\"kind\": \"fedavg\", \"learning_rate\": 1, \"beta1\": 0.9"), "beta1"},
    {"\"clip_norm\": 1.5", OPTIMISER("\"kind\": \"fedavgm\", \"learning_rate\": 1, \"momentum\": 1"),
     "momentum"},
    {"\"clip_norm\": 1.5",
     OPTIMISER("\"kind\": \"fedadam\", \"learning_rate\": 1, \"beta1\": 0.9, \"tau\": 0.1"),
     "training.server_optimiser.beta2 is missing"},
    {"\"clip_norm\": 1.5",
     OPTIMISER("\"kind\": \"fedyogi\", \"learning_rate\": 1, \"beta1\": 0.9, \"beta2\": 1, \"tau\": 0.1"),
     "beta2"},
    {"\"clip_norm\": 1.5",
     OPTIMISER("\"kind\": \"fedadagrad\", \"learning_rate\": 1, \"beta1\": 0, \"tau\": 0"), "tau"},
    {"\"clip_norm\": 1.5",
     OPTIMISER("\"kind\": \"fedadagrad\", \"learning_rate\": 1, \"beta1\": 0, \"beta2\": 0.9, \"tau\": 0.1"),
     "beta2"},
    {"\"clip_norm\": 1.5", "\"clip_norm\": 1.5, \"server_optimiser\": \"fedadam\"",
     "training.server_optimiser"},
    {"\"clip_norm\": 1.5", "\"clip_norm\": 1.5, \"proximal\": -1", "training.proximal"},
    {"{\"seed\": 5}", "{}", "initial_model.seed"},
    {"{\"seed\": 5}", "{\"seed\": 5, \"file\": \"a\"}", "initial_model.seed"},
    {"{\"seed\": 5}", "{\"file\": \"a\", \"digest\": \"00\"}", "initial_model.digest"},
    {"{\"seed\": 5}",
     "{\"file\": \"../a\", \"digest\": \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}",
     "initial_model.file"},
    {"\"patients\"", "\"rows\"", "weighting"},
    {"\"validation_share\": 0.25", "\"validation_share\": 0.6", "validation_share"},
    {"\"validation_share\": 0.25}", "\"validation_share\": 0.25", "toy.json"},
};

static void server_optimisers_are_read(void **state) {
  struct cns_plan plan = parsed(toy_study);
  struct cns_server_optimiser o = plan.server_optimiser;
  assert_true(o.kind == CNS_SERVER_FEDAVG && o.learning_rate == 1);
  cns_plan_deinit(&plan);
  plan = changed_plan("\"clip_norm\": 1.5",
                      OPTIMISER("\"kind\": \"fedavgm\", \"learning_rate\": 0.5, \"momentum\": 0.9"));
  o = plan.server_optimiser;
  assert_true(o.kind == CNS_SERVER_FEDAVGM && o.learning_rate == 0.5 && o.beta1 == 0.9);
  assert_int_equal(cns_server_optimiser_arrays(&o), 1);
  cns_plan_deinit(&plan);
  plan = changed_plan("\"clip_norm\": 1.5",
                      OPTIMISER("\"kind\": \"fedyogi\", \"learning_rate\": 0.01, \"beta1\": 0.8,"
                                " \"beta2\": 0.99, \"tau\": 0.001"));
  o = plan.server_optimiser;
  assert_true(o.kind == CNS_SERVER_FEDYOGI && o.learning_rate == 0.01 && o.beta1 == 0.8 && o.beta2 == 0.99 &&
              o.tau == 0.001);
  assert_int_equal(cns_server_optimiser_arrays(&o), 2);
  assert_string_equal(cns_server_optimiser_name(&o), "FedYogi");
  assert_true(plan.clip_norm == 1.5 && plan.proximal == 0);
  cns_plan_deinit(&plan);
  plan = changed_plan("\"clip_norm\": 1.5", "\"clip_norm\": 1.5, \"proximal\": 0.01");
  assert_true(plan.proximal == 0.01);
  cns_plan_deinit(&plan);
}

#define ADAPTIVE "\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"min\": 0.1, \"max\": 20"
#define PRIVACY(adaptive)                                                                                    \
  "\"validation_share\": 0.25, \"privacy\": {\"noise_multiplier\": 2, \"sampling_rate\": 0.5,"               \
  " \"adaptive_clip\": " adaptive "}"

static void an_adaptive_clip_norm_is_read(void **state) {
  char *text = replaced(toy_study, "\"validation_share\": 0.25", PRIVACY("{" ADAPTIVE "}"));
  struct cns_plan plan = {0};
  struct cns_problem problem = {{0}};
  if (cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem)) fail_msg("%s", problem.text);
  const struct cns_adaptive_clip *a = &plan.adaptive_clip;
  assert_true(a->quantile == 0.6 && a->rate == 0.3 && a->share == 0.05 && a->min == 0.1 && a->max == 20);
  assert_int_equal(cns_plan_update_dim(&plan), cns_plan_dim(&plan) + 1);
  assert_true(cns_plan_clip_norm_max(&plan) == 20 && plan.clip_norm == 1.5);
  cns_plan_deinit(&plan);
  free(text);
}

#define NOISED(metrics)                                                                                      \
  "\"validation_share\": 0.25, \"privacy\": {\"noise_multiplier\": 2, \"sampling_rate\": 0.5,"               \
  " \"metrics\": " metrics "}"

static void noised_metrics_are_read_or_refused(void **state) {
  static const struct {
    const char *study, *word; /* NULL: it is good */
  } cases[] = {
      {NOISED("{\"share\": 0.1, \"loss_max\": 2}"), NULL},
      {NOISED("{\"share\": 0.6, \"loss_max\": 2}"), "privacy.metrics.share"},
      {NOISED("{\"share\": 0, \"loss_max\": 2}"), "privacy.metrics.share"},
      {NOISED("{\"share\": 0.1, \"loss_max\": 0}"), "privacy.metrics.loss_max"},
      {NOISED("{\"share\": 0.1, \"loss_max\": 101}"), "privacy.metrics.loss_max"},
      {NOISED("{\"share\": 0.1}"), "privacy.metrics.loss_max is missing"},
      {NOISED("{\"loss_max\": 2}"), "privacy.metrics.share is missing"},
      {NOISED("{\"share\": 0.1, \"loss_max\": 2, \"auc\": true}"), "privacy.metrics.auc"},
      {NOISED("\"noised\""), "privacy.metrics"},
  };
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
    char *text = replaced(toy_study, "\"validation_share\": 0.25", cases[k].study);
    struct cns_plan plan = {0};
    struct cns_problem problem = {{0}};
    int r = cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem);
    if (!cases[k].word) {
      assert_int_equal(r, 0);
      assert_true(plan.noised_metrics.share == 0.1 && plan.noised_metrics.loss_max == 2);
      assert_int_equal(cns_plan_update_dim(&plan), cns_plan_dim(&plan) + 2);
    } else if (!r || !strstr(problem.text, cases[k].word))
      fail_msg("%d '%s', expected '%s'", r, problem.text, cases[k].word);
    cns_plan_deinit(&plan);
    free(text);
  }
}

static void damaged_adaptive_clip_norms_are_refused(void **state) {
  static const struct {
    const char *study, *word;
  } bad[] = {
      {PRIVACY("{\"quantile\": 1, \"rate\": 0.3, \"share\": 0.05, \"min\": 0.1, \"max\": 20}"),
       "privacy.adaptive_clip.quantile"},
      {PRIVACY("{\"quantile\": \"median\", \"rate\": 0.3, \"share\": 0.05, \"min\": 0.1, \"max\": 20}"),
       "privacy.adaptive_clip.quantile"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0, \"share\": 0.05, \"min\": 0.1, \"max\": 20}"),
       "privacy.adaptive_clip.rate"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 6, \"share\": 0.05, \"min\": 0.1, \"max\": 20}"),
       "privacy.adaptive_clip.rate"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.51, \"min\": 0.1, \"max\": 20}"),
       "privacy.adaptive_clip.share"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0, \"min\": 0.1, \"max\": 20}"),
       "privacy.adaptive_clip.share"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"max\": 20}"),
       "privacy.adaptive_clip.min is missing"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"min\": 0.1, \"max\": 1e9}"),
       "privacy.adaptive_clip.max"},
      {PRIVACY(
           "{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"min\": 0.1, \"max\": 20, \"momentum\": 1}"),
       "privacy.adaptive_clip.momentum"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"min\": 0.1, \"max\": 1.4}"),
       "training.clip_norm (1.5)"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"min\": 1.6, \"max\": 20}"),
       "training.clip_norm (1.5)"},
      {PRIVACY("{\"quantile\": 0.6, \"rate\": 0.3, \"share\": 0.05, \"min\": 20, \"max\": 20}"),
       "must be below max"},
      {PRIVACY("0.5"), "privacy.adaptive_clip"},
  };
  for (size_t i = 0; i < LENGTH_OF(bad); i++) {
    char *text = replaced(toy_study, "\"validation_share\": 0.25", bad[i].study);
    struct cns_plan plan = {.version = 77};
    struct cns_problem problem = {{0}};
    int r = cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem);
    if (r >= 0 || !strstr(problem.text, bad[i].word)) fail_msg("%s: %d, %s", bad[i].study, r, problem.text);
    assert_true(plan.version == 77);
    free(text);
  }
}

static void damaged_studies_are_refused(void **state) {
  for (size_t i = 0; i < LENGTH_OF(damages); i++) {
    char *text = replaced(toy_study, damages[i].from, damages[i].to);
    struct cns_plan plan = {.version = 77};
    struct cns_problem problem = {{0}};
    int r = cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem);
    if (r >= 0 || !strstr(problem.text, damages[i].word))
      print_error("%s: %d, %s\n", damages[i].to, r, problem.text);
    assert_true(r < 0);
    assert_non_null(strstr(problem.text, damages[i].word));
    assert_int_equal(plan.version, 77);
    free(text);
  }
}

/* Every truncation is refused; no memory is lost (the sanitisers look). */
static void truncated_studies_are_refused(void **state) {
  for (size_t len = 0; len < sizeof toy_study - 1; len++) {
    struct cns_plan plan;
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, toy_study, len);
    assert_true(cns_plan_parse(copy, len, "toy.json", &plan, NULL) < 0);
    free(copy);
  }
}

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define EXTERNAL                                                                                             \
  "{\"name\": \"scans\", \"version\": 1, \"task\": \"other\", \"model\": {\"kind\": \"external\", "          \
  "\"tensors\": "                                                                                            \
  "{\"b\": [2], \"a.weight\": [2, 3, 4], \"c\": []}}, \"training\": {\"rounds\": 7, \"local_epochs\": 2, "   \
  "\"learning_rate\": 0.1, \"momentum\": 0.9, \"batch\": 8, \"seed\": 99, \"clip_norm\": 1.5}, "             \
  "\"initial_model\": {\"file\": \"start.safetensors\", \"digest\": \"" DIGEST "\"}, "                       \
  "\"weighting\": \"patients\", \"validation_share\": 0}"

/* In the order of their names, whatever the file's. */
static void an_external_model_is_its_tensors(void **state) {
  struct cns_plan plan = parsed(EXTERNAL);
  assert_int_equal(plan.kind, CNS_MODEL_EXTERNAL);
  assert_false(plan.has_table);
  assert_int_equal(plan.tensors.count, 3);
  assert_string_equal(plan.tensors.tensors[0].name, "a.weight");
  assert_string_equal(plan.tensors.tensors[1].name, "b");
  assert_int_equal(plan.tensors.tensors[1].offset, 24);
  assert_int_equal(plan.tensors.tensors[2].shape_count, 0);
  assert_int_equal(cns_plan_dim(&plan), 27);
  assert_int_equal(cns_plan_update_dim(&plan), 27);
  assert_int_equal(cns_plan_metrics_dim(&plan), 0);
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_plan_check_built_in(&plan, &problem), CNS_ERR_UNSUPPORTED);
  cns_plan_deinit(&plan);
  plan = parsed(toy_study);
  assert_true(plan.has_table);
  assert_int_equal(cns_plan_check_built_in(&plan, &problem), 0);
  cns_plan_deinit(&plan);
}

/* With a table, as other models have it: the fields in front of "model" are the table's. */
static void an_external_model_may_have_a_table(void **state) {
  const char *model = strstr(EXTERNAL, "\"model\": ");
  int head = (int)(strstr(toy_study, "\"model\": ") - toy_study);
  char text[4096];
  snprintf(text, sizeof text, "%.*s%s", head, toy_study, model);
  struct cns_plan plan = parsed(text);
  assert_int_equal(plan.kind, CNS_MODEL_EXTERNAL);
  assert_true(plan.has_table);
  assert_int_equal(plan.feature_count, 3);
  assert_string_equal(plan.patient_column, "pid");
  cns_plan_deinit(&plan);
}

static const struct {
  const char *from, *to, *word;
} external_damages[] = {
    {"\"b\": [2], ", "\"a.weight\": [2], ", "a.weight"},
    {"\"b\": [2]", "\"\": [2]", "model.tensors"},
    {"\"b\": [2]", "\"__metadata__\": [2]", "__metadata__"},
    {"\"b\": [2]", "\"b\": [0]", "model.tensors: \"b\""},
    {"\"b\": [2]", "\"b\": [2.5]", "model.tensors: \"b\""},
    {"\"b\": [2]", "\"b\": [-2]", "model.tensors: \"b\""},
    {"\"b\": [2]", "\"b\": [\"2\"]", "model.tensors: \"b\""},
    {"\"b\": [2]", "\"b\": 2", "model.tensors: \"b\""},
    {"\"b\": [2]", "\"b\": [1,1,1,1,1,1,1,1,1]", "model.tensors: \"b\""},
    {"\"b\": [2]", "\"b\": [65536, 65536]", "parameters"},
    {"\"b\": [2]", "\"b\": [268435456]", "parameters"},
    {"{\"b\": [2], \"a.weight\": [2, 3, 4], \"c\": []}", "{}", "model.tensors"},
    {"{\"b\": [2], \"a.weight\": [2, 3, 4], \"c\": []}", "[]", "model.tensors"},
    {"\"kind\": \"external\"", "\"kind\": \"external\", \"layers\": 3", "model.layers"},
    {"{\"file\": \"start.safetensors\", \"digest\": \"" DIGEST "\"}", "{\"seed\": 1}", "initial_model"},
    {"\"validation_share\": 0", "\"validation_share\": 0.1", "validation_share"},
    {"\"momentum\": 0.9, ", "\"momentum\": 0, \"scaffold\": {\"steps\": 3, \"hospitals\": 5}, ",
     "training.scaffold"},
    {"\"version\": 1", "\"version\": 1, \"patient_id\": \"pid\"", "task"},
    {"\"task\": \"other\"", "\"task\": \"classification\", \"patient_id\": \"pid\"", "label"},
    {"\"task\": \"other\"", "\"task\": \"guessing\"", "task"},
};

static void each_damage_to_an_external_study_is_refused(void **state) {
  for (size_t i = 0; i < LENGTH_OF(external_damages); i++) {
    struct cns_plan plan = {0};
    struct cns_problem problem = {{0}};
    char *text = replaced(EXTERNAL, external_damages[i].from, external_damages[i].to);
    int r = cns_plan_parse(text, strlen(text), "toy.json", &plan, &problem);
    if (r >= 0 || !strstr(problem.text, external_damages[i].word))
      fail_msg("%s: %d, %s", external_damages[i].to, r, problem.text);
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(toy_is_read),
      cmocka_unit_test(an_external_model_is_its_tensors),
      cmocka_unit_test(an_external_model_may_have_a_table),
      cmocka_unit_test(each_damage_to_an_external_study_is_refused),
      cmocka_unit_test(tensors_tile_the_vector),
      cmocka_unit_test(logistic_and_file_are_read),
      cmocka_unit_test(shipped_study_is_read),
      cmocka_unit_test(damaged_studies_are_refused),
      cmocka_unit_test(server_optimisers_are_read),
      cmocka_unit_test(an_adaptive_clip_norm_is_read),
      cmocka_unit_test(noised_metrics_are_read_or_refused),
      cmocka_unit_test(damaged_adaptive_clip_norms_are_refused),
      cmocka_unit_test(truncated_studies_are_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
