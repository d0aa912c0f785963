/* SPDX-License-Identifier: Apache-2.0 */
/* The bench's configuration: what is read, with which defaults, and how each mistake is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/bench.h"
#include "cli/demo_data.h"

#define MINIMAL "\"rounds\": 5, \"seeds\": [1], \"rules\": [\"mean\"]"

static int parse(const char *text, struct cns_bench_config *config, struct cns_problem *problem) {
  *problem = (struct cns_problem){0};
  return cns_bench_config_parse(text, strlen(text), "c.json", config, problem);
}

static void refuse(const char *text, int error, const char *word) {
  struct cns_bench_config config = {0};
  struct cns_problem problem;
  int r = parse(text, &config, &problem);
  if (r != error || !strstr(problem.text, word) || strncmp(problem.text, "c.json", 6) != 0)
    fail_msg("%s\n: %d, %s (wanted %d, %s)", text, r, problem.text, error, word);
  assert_null(config.json);
}

static void defaults_are_the_documented_ones(void **state) {
  struct cns_bench_config config = {0};
  struct cns_problem problem;
  if (parse("{" MINIMAL "}", &config, &problem) != 0) fail_msg("%s", problem.text);
  const struct cns_bench_experiment *e = config.experiments;
  assert_string_equal(config.name, "bench");
  assert_int_equal(config.data.kind, CNS_BENCH_SHIPPED);
  assert_int_equal(config.experiment_count, 1);
  assert_string_equal(e->name, "main");
  assert_int_equal(e->hospitals, 20);
  assert_int_equal(e->rounds, 5);
  assert_int_equal(e->evaluate_every, 1);
  assert_int_equal(e->model, CNS_MODEL_LOGISTIC);
  assert_int_equal(e->training.method, CNS_BENCH_MOMENTUM);
  assert_int_equal(e->training.batch, 16);
  assert_true(e->training.learning_rate == 0.1 && e->training.momentum == 0.9 && e->training.clip == 0);
  assert_true(e->test_share == 0.3 && e->root_share == 0);
  assert_int_equal(e->attackers, CNS_BENCH_RANDOM);
  assert_int_equal(e->split_count + e->pre_count + e->attack_count + e->audit_count + e->byzantine_count, 5);
  assert_true(e->attacks[0].none && !e->audits[0].open && e->pres[0].count == 0);
  assert_int_equal(e->byzantine[0], 0);
  cns_bench_config_deinit(&config);
}

static void entries_with_parameters_are_read(void **state) {
  struct cns_bench_config config = {0};
  struct cns_problem problem;
  const char *text =
      "{\"rounds\": 40, \"seeds\": {\"first\": 5, \"count\": 3}, \"hospitals\": 10, \"byzantine\": [1, 2],"
      "\"rules\": [{\"rule\": \"centered-clipping\", \"tau\": 0.5}, {\"rule\": \"median\", \"weights\": "
      "\"patients\"}, {\"rule\": \"geometric-median\", \"nu\": 0.1, \"label\": \"rfa\"}],"
      "\"pres\": [\"none\", [{\"pre\": \"clipping\", \"norm\": 2}, \"nnm\"], {\"pre\": \"bucketing\", "
      "\"size\": 2}],"
      "\"attacks\": [\"alie:z=1.5\", \"ipm-optimised\"], \"training\": {\"clip\": 1},"
      "\"splits\": [{\"split\": \"dirichlet\", \"alpha\": 0.1}, {\"split\": \"size\", \"smallest\": 0.006},"
      "{\"split\": \"size\", \"ratio\": 4}, {\"split\": \"label\", \"classes\": 1}],"
      "\"audits\": [{\"audit\": \"open\", \"k\": 128, \"rate\": 0.05, \"on_flag\": \"exclude\"}],"
      "\"experiments\": [{\"name\": \"a\"}, {\"name\": \"b\", \"rounds\": 7, \"attackers\": \"smallest\"}]}";
  if (parse(text, &config, &problem) != 0) fail_msg("%s", problem.text);
  const struct cns_bench_experiment *e = &config.experiments[0];
  assert_int_equal(e->rounds, 40);
  assert_int_equal(config.experiments[1].rounds, 7);
  assert_int_equal(config.experiments[1].attackers, CNS_BENCH_SMALLEST);
  assert_int_equal(e->seed_count, 3);
  assert_int_equal(e->seeds[2], 7);
  assert_string_equal(e->rules[0].label, "centered-clipping tau=0.5");
  assert_true(e->rules[0].params.tau == 0.5 && e->rules[1].weighted && !e->rules[2].weighted);
  assert_string_equal(e->rules[2].label, "rfa");
  assert_string_equal(e->pres[1].label, "clipping norm=2+nnm");
  assert_int_equal(e->pres[1].count, 2);
  assert_int_equal(e->pres[2].params.size, 2);
  assert_true(e->attacks[0].attack.strength == 1.5);
  assert_int_equal(e->attacks[1].attack.kind, CNS_ATTACK_IPM_OPTIMISED);
  assert_int_equal(e->splits[1].kind, CNS_BENCH_ONE_SMALL);
  assert_int_equal(e->splits[2].kind, CNS_BENCH_BY_SIZE);
  assert_int_equal(e->splits[3].kind, CNS_BENCH_BY_LABEL);
  assert_true(e->audits[0].open && e->audits[0].rate == 0.05 && e->audits[0].on_flag == CNS_DETECT_EXCLUDE);
  cns_bench_config_deinit(&config);
}

static void mistakes_are_told_where_they_are(void **state) {
  static const struct {
    const char *text, *word;
    int error;
  } cases[] = {
      {"[]", "must be an object", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"hospital\": 5}", "did you mean \"hospitals\"", CNS_ERR_FORMAT},
      {"{\"rounds\": 5, \"seeds\": [1]}", "rules is missing", CNS_ERR_FORMAT},
      {"{\"rules\": [\"mean\"], \"seeds\": [1]}", "rounds is missing", CNS_ERR_FORMAT},
      {"{\"rules\": [\"mean\"], \"rounds\": 5}", "seeds must be", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"hospitals\": 1}", "hospitals is 1, but must be from 2", CNS_ERR_RANGE},
      {"{" MINIMAL ", \"hospitals\": true}", "hospitals must be a number", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"model\": {\"kind\": \"mlp\"}}", "model.hidden", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"model\": {\"kind\": \"logistc\"}}", "did you mean \"logistic\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"model\": {\"hidden\": [3]}}", "\"hidden\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"training\": {\"epochs\": 3}}", "\"epochs\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"training\": {\"momentum\": 1}}", "training.momentum is 1", CNS_ERR_RANGE},
      {"{" MINIMAL ", \"splits\": [\"iid\", 3]}", "splits[1] must be a name", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"splits\": []}", "splits must be a list", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"splits\": [{\"split\": \"size\"}]}", "\"ratio\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"splits\": [{\"split\": \"dirichlet\", \"alpha\": 0}]}", "splits[0].alpha is 0",
       CNS_ERR_RANGE},
      {"{" MINIMAL ", \"pres\": [{\"pre\": \"nnm\", \"size\": 2}]}", "\"size\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"pres\": [\"nmm\"]}", "nnm", CNS_ERR_FORMAT},
      {"{" MINIMAL
       ", \"pres\": [[{\"pre\": \"clipping\", \"norm\": 1}, {\"pre\": \"clipping\", \"norm\": 2}]]}",
       "two values", CNS_ERR_ARGUMENT},
      {"{" MINIMAL ", \"byzantine\": [1], \"attacks\": [\"alie:y=2\"]}", "attacks[0]", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"byzantine\": [1], \"attacks\": [\"backdoor\"]}", "poisoned model", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"byzantine\": [20]}", "byzantine[0]", CNS_ERR_RANGE},
      {"{" MINIMAL ", \"byzantine\": [1, 1]}", "twice", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"attacks\": [\"alie\"]}", "needs attackers", CNS_ERR_RANGE},
      {"{\"rounds\": 5, \"seeds\": [1, 1], \"rules\": [\"mean\"]}", "twice", CNS_ERR_FORMAT},
      {"{\"rounds\": 5, \"seeds\": [], \"rules\": [\"mean\"]}", "at least one", CNS_ERR_FORMAT},
      {"{\"rounds\": 5, \"seeds\": [1], \"rules\": [\"fltrust\"]}", "root_share", CNS_ERR_FORMAT},
      {"{\"rounds\": 5, \"seeds\": [1], \"rules\": [{\"rule\": \"krum\", \"weights\": \"patients\"}]}",
       "\"weights\"", CNS_ERR_FORMAT},
      {"{\"rounds\": 5, \"seeds\": [1], \"rules\": [{\"rule\": \"mean\", \"label\": \"a,b\"}]}", "comma",
       CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"experiments\": [{\"name\": \"a/b\"}]}", "letters, digits", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"experiments\": [{\"rounds\": \"x\"}]}", "experiments[0].rounds", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"experiments\": [{}, {}]}", "there already", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"data\": {\"csv\": \"t.csv\"}}", "\"study\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"data\": {\"npz\": \"t.npz\"}}", "names of two arrays", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"comparisons\": [{\"title\": \"t\", \"a\": {}}]}", "\"b\" is missing", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"comparisons\": [{\"title\": \"t\", \"a\": {\"rule\": \"meen\"}, \"b\": {}}]}",
       "did you mean \"mean\"", CNS_ERR_FORMAT},
      {"{" MINIMAL ", \"comparisons\": [{\"title\": \"t\", \"expect\": \"more\", \"a\": {}, \"b\": {}}]}",
       "expectation", CNS_ERR_FORMAT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    refuse(cases[i].text, cases[i].error, cases[i].word);
}

static void the_built_in_ones_are_sound(void **state) {
  const char *const texts[] = {(const char *)cns_bench_quick, (const char *)cns_bench_night};
  const size_t lengths[] = {cns_bench_quick_bytes, cns_bench_night_bytes};
  for (int i = 0; i < 2; i++) {
    struct cns_bench_config config = {0};
    struct cns_bench_grid grid;
    struct cns_problem problem = {0};
    if (cns_bench_config_parse(texts[i], lengths[i], "built in", &config, &problem) != 0 ||
        cns_bench_grid_init(&grid, &config, &problem) != 0)
      fail_msg("%s", problem.text);
    cns_bench_grid_deinit(&grid);
    cns_bench_config_deinit(&config);
  }
}

static void settings_that_cannot_be_computed_are_told(void **state) {
  struct cns_bench_config config = {0};
  struct cns_bench_grid grid;
  struct cns_problem problem;
  /* Bulyan needs 4f + 3 rows, and so 19 of 20 hospitals; bucketing by two leaves ten. */
  const char *text =
      "{\"rounds\": 5, \"seeds\": [1, 2], \"byzantine\": [4, 5], \"rules\": [\"bulyan\", \"mean\"],"
      "\"pres\": [\"none\", {\"pre\": \"bucketing\", \"size\": 2}]}";
  if (parse(text, &config, &problem) != 0) fail_msg("%s", problem.text);
  if (cns_bench_grid_init(&grid, &config, &problem) != 0) fail_msg("%s", problem.text);
  assert_int_equal(grid.skipped_count, 3);
  assert_int_equal(grid.count, (8 - 3) * 2);
  assert_non_null(strstr(grid.skipped[0].why, "bulyan"));
  cns_bench_grid_deinit(&grid);
  cns_bench_config_deinit(&config);
}

static void the_nearest_name_is_found(void **state) {
  static const char *const names[] = {"rounds", "rules", "seeds", NULL};
  assert_string_equal(cns_bench_nearest("round", names), "rounds");
  assert_string_equal(cns_bench_nearest("sedes", names), "seeds");
  assert_null(cns_bench_nearest("attackers", names));
  assert_null(cns_bench_nearest("x", names));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_the_documented_ones),
      cmocka_unit_test(entries_with_parameters_are_read),
      cmocka_unit_test(mistakes_are_told_where_they_are),
      cmocka_unit_test(the_built_in_ones_are_sound),
      cmocka_unit_test(settings_that_cannot_be_computed_are_told),
      cmocka_unit_test(the_nearest_name_is_found),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
