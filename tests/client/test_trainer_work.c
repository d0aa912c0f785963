/* SPDX-License-Identifier: Apache-2.0 */
/* A round's work with a command: what follows from its update, and how it ends when others end first. */
#include <signal.h>
#include <sys/wait.h>

#include "client/work.h"
#include "commanded.h"
#include "dp/clip.h"
#include "dp/discrete_gaussian.h"
#include "dp/grid.h"
#include "store/kit_trainer.h"
#include "tests/client/mapped.h"

#define SEED 20266

struct bench {
  struct commanded commanded;
  struct cns_rng_seeded random;
  struct cns_work_input input;
};

struct worked {
  int calls, error;
  struct cns_work_result result;
  struct cns_problem problem;
  char note[1024];
};

static void bench_init(struct bench *b, const char *script) {
  commanded_init(&b->commanded, script);
  cns_rng_seeded_init_label(&b->random, SEED, "rounding");
  b->input = (struct cns_work_input){.plan = &b->commanded.plan,
                                     .trainer = &b->commanded.setup,
                                     .seed = {.study = 99, .round = 3, .attempt = 1, .hospital = 2},
                                     .clip_norm = 1.5,
                                     .weight = 7,
                                     .scale_log2 = 16,
                                     .unit = CNS_UNIT_HOSPITAL,
                                     .theta = (uint64_t)2 * 7 << 16,
                                     .rng = cns_rng_seeded(&b->random)};
}

static void on_worked(void *context, struct cns_work *work, int error, struct cns_work_result *result,
                      const struct cns_problem *problem) {
  struct worked *worked = context;
  (void)work;
  worked->calls++;
  worked->error = error;
  worked->result = *result;
  worked->problem = *problem;
  snprintf(worked->note, sizeof worked->note, "%s", result->note ? result->note : "");
}

static struct worked run_work(struct bench *b, void (*look)(struct cns_work *work)) {
  struct worked worked = {0};
  struct cns_work *work = NULL;
  uint8_t *model = NULL;
  size_t len = 0;
  assert_int_equal(cns_model_serialize(&b->commanded.plan, received, NULL, 0, &model, &len, NULL), 0);
  assert_int_equal(cns_work_start(&b->commanded.uv, &b->input, mapped(model, len), on_worked, &worked, &work),
                   0);
  if (look) look(work);
  while (uv_run(&b->commanded.uv, UV_RUN_DEFAULT) != 0)
    continue;
  assert_int_equal(worked.calls, 1);
  assert_int_equal(folders_left(), 0);
  free(model);
  return worked;
}

/* As if the update had been computed here. */
static void a_commands_update_is_clipped_and_rounded(void **state) {
  struct bench b;
  float values[DIM];
  uint32_t expected[DIM];
  double norm = 0;
  bench_init(&b, WELL "; echo done");
  struct worked worked = run_work(&b, NULL);
  if (worked.error) fail_msg("%s", worked.problem.text);
  memcpy(values, update, sizeof values);
  cns_rng_seeded_init_label(&b.random, SEED, "rounding");
  assert_int_equal(cns_clip(values, DIM, 1.5, &norm, NULL), 0);
  assert_int_equal(cns_quantize(values, DIM, 1.5, 7, 16, b.input.rng, expected, NULL), 0);
  assert_int_equal(worked.result.words, DIM);
  assert_memory_equal(worked.result.x, expected, sizeof expected);
  assert_true(worked.result.norm == norm && norm > 1.5);
  assert_int_equal(worked.result.trainer.examples, 5);
  assert_non_null(strstr(worked.note, "printed 1 lines"));
  free(worked.result.x);
  commanded_deinit(&b.commanded);
}

static void nothing_leaves_when_it_fails(void **state) {
  struct bench b;
  bench_init(&b, WELL "; exit 3");
  struct worked worked = run_work(&b, NULL);
  assert_int_equal(worked.error, CNS_ERR_REFUSED);
  assert_null(worked.result.x);
  assert_non_null(strstr(worked.problem.text, "exit status 3"));
  commanded_deinit(&b.commanded);
}

static void no_command_trains_where_patients_are_protected(void **state) {
  struct bench b;
  struct cns_work *work = NULL;
  bench_init(&b, WELL);
  b.input.unit = CNS_UNIT_PATIENT;
  assert_int_equal(cns_work_start(&b.commanded.uv, &b.input, NULL, on_worked, NULL, &work), CNS_ERR_ARGUMENT);
  commanded_deinit(&b.commanded);
}

static struct cns_work *to_cancel;
static uv_timer_t soon;

static void on_soon(uv_timer_t *timer) {
  if (access(scratch_path("begun"), F_OK) != 0) return;
  cns_work_cancel(to_cancel);
  uv_close((uv_handle_t *)timer, NULL);
}

static void cancel_once_begun(struct cns_work *work) {
  to_cancel = work;
  assert_int_equal(uv_timer_start(&soon, on_soon, 1, 5), 0);
}

static void cancel_at_once(struct cns_work *work) {
  cns_work_cancel(work);
}

static void a_dropped_round_ends_the_command(void **state) {
  struct bench b;
  bench_init(&b, "trap '' TERM; echo $$ > begins; mv begins begun; while :; do sleep 1000; done");
  uv_timer_init(&b.commanded.uv, &soon);
  struct worked worked = run_work(&b, cancel_once_begun);
  assert_int_equal(worked.error, CNS_ERR_CANCELLED);
  assert_null(worked.result.x);
  assert_gone(read_pid("begun"));
  worked = run_work(&b, cancel_at_once);
  assert_int_equal(worked.error, CNS_ERR_CANCELLED);
  assert_null(worked.result.x);
  commanded_deinit(&b.commanded);
}

/* kill -9 leaves an agent no time for anything. */
static void a_command_does_not_outlive_its_agent(void **state) {
  pid_t agent = fork();
  assert_true(agent >= 0);
  if (agent == 0) {
    struct commanded c;
    commanded_init(&c, "echo $$ > orphan; setsid sh -c 'trap \"\" HUP TERM; echo $$ > far; sleep 100000' & "
                       "sleep 100000");
    (void)commanded_round(&c, NULL);
    _exit(1);
  }
  pid_t orphan = read_pid("orphan"), far = read_pid("far");
  assert_int_equal(kill(agent, SIGKILL), 0);
  assert_int_equal(waitpid(agent, NULL, 0), agent);
  assert_gone(orphan);
  assert_gone(far);
  struct commanded next;
  commanded_init(&next, WELL);
  assert_int_equal(folders_left(), 1);
  cns_trainer_sweep(&next.setup);
  assert_int_equal(folders_left(), 0);
  commanded_deinit(&next);
}

static void kill_keeper(struct cns_trainer *trainer) {
  (void)read_pid("watched");
  assert_int_equal(uv_process_kill(&trainer->process, SIGKILL), 0);
}

static void a_lost_keeper_is_told(void **state) {
  struct commanded c;
  commanded_init(&c, "echo $$ > watched; exec sleep 100000");
  struct outcome outcome = commanded_round(&c, kill_keeper);
  assert_int_equal(outcome.error, CNS_ERR_REFUSED);
  assert_non_null(strstr(outcome.problem.text, "the process that watches it was killed"));
  assert_gone(read_pid("watched"));
  commanded_deinit(&c);
}

/* ---- config.json ---- */

static int read_config(const char *text, struct cns_kit_config *config, struct cns_problem *problem) {
  cJSON *json = NULL;
  assert_int_equal(cns_json_parse(text, strlen(text), "config.json", &json, NULL), 0);
  memset(config, 0, sizeof *config);
  int r = cns_kit_trainer_read(json, config, problem);
  cJSON_Delete(json);
  return r;
}

static void the_configuration_is_read_and_written(void **state) {
  static const char text[] = "{\"patients\": 12, \"trainer\": {\"command\": [\"python3\", \"a b\", \"\"], "
                             "\"environment\": {\"CUDA_VISIBLE_DEVICES\": \"0=1\"}, \"time_limit_s\": 60}}";
  struct cns_kit_config config, again;
  struct cns_problem problem = {0};
  if (read_config(text, &config, &problem)) fail_msg("%s", problem.text);
  cJSON *json = cJSON_CreateObject();
  assert_true(cns_kit_trainer_fill(json, &config));
  char *written = cJSON_PrintUnformatted(json);
  cJSON_Delete(json);
  if (read_config(written, &again, &problem)) fail_msg("%s", problem.text);
  cJSON_free(written);
  const struct cns_kit_config *both[] = {&config, &again};
  for (size_t k = 0; k < 2; k++) {
    const struct cns_kit_trainer *trainer = &both[k]->trainer;
    assert_int_equal(both[k]->patients, 12);
    assert_string_equal(trainer->command[1], "a b");
    assert_string_equal(trainer->command[2], "");
    assert_null(trainer->command[3]);
    assert_string_equal(trainer->environment[0], "CUDA_VISIBLE_DEVICES=0=1");
    assert_null(trainer->environment[1]);
    assert_int_equal(trainer->time_limit_s, 60);
    assert_int_equal(trainer->file_bytes, (uint64_t)16384 << 20);
    assert_int_equal(trainer->free_bytes, (uint64_t)512 << 20);
  }
  cns_kit_trainer_deinit(&config.trainer);
  cns_kit_trainer_deinit(&again.trainer);
}

static void a_wrong_configuration_is_refused(void **state) {
  static const struct {
    const char *text, *word;
  } wrong[] = {
      {"{\"patients\": 0}", "patients"},
      {"{\"trainer\": {}}", "trainer.command"},
      {"{\"trainer\": {\"command\": \"python3 train.py\"}}", "trainer.command"},
      {"{\"trainer\": {\"command\": []}}", "trainer.command"},
      {"{\"trainer\": {\"command\": [\"\"]}}", "trainer.command[0]"},
      {"{\"trainer\": {\"command\": [\"a\", 1]}}", "trainer.command[1]"},
      {"{\"trainer\": {\"command\": [\"a\"], \"shell\": true}}", "trainer.shell"},
      {"{\"trainer\": {\"command\": [\"a\"], \"time_limit_s\": 0}}", "trainer.time_limit_s"},
      {"{\"trainer\": {\"command\": [\"a\"], \"file_mib\": 0}}", "trainer.file_mib"},
      {"{\"trainer\": {\"command\": [\"a\"], \"free_mib\": -1}}", "trainer.free_mib"},
      {"{\"trainer\": {\"command\": [\"a\"], \"environment\": {\"A=B\": \"\"}}}", "trainer.environment"},
      {"{\"trainer\": {\"command\": [\"a\"], \"environment\": {\"CONSILIUM_TASK\": \"\"}}}",
       "trainer.environment"},
      {"{\"trainer\": {\"command\": [\"a\"], \"environment\": {\"A\": 1}}}", "trainer.environment"},
  };
  for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
    struct cns_kit_config config;
    struct cns_problem problem = {0};
    int r = read_config(wrong[k].text, &config, &problem);
    cns_kit_trainer_deinit(&config.trainer);
    if (r >= 0 || !strstr(problem.text, wrong[k].word)) fail_msg("%s: %s", wrong[k].text, problem.text);
  }
}

/* Which hospital can take part in which study. */
static void a_trainer_must_fit_the_study(void **state) {
  static char folder[] = "kit", program[] = "python3", *command[] = {program, NULL};
  struct cns_plan external;
  struct cns_problem problem = {0};
  assert_int_equal(cns_plan_parse(external_study, strlen(external_study), "scans.json", &external, NULL), 0);
  const struct cns_plan table = {.has_table = true};
  struct cns_kit *kit = calloc(1, sizeof *kit);
  assert_non_null(kit);
  kit->folder = folder;
  assert_int_equal(cns_kit_check_trainer(kit, &table, &problem), 0);
  assert_int_equal(cns_kit_check_trainer(kit, &external, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "\"trainer\""));
  kit->config.trainer.command = command;
  assert_int_equal(cns_kit_check_trainer(kit, &external, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "\"patients\""));
  kit->config.patients = 7;
  assert_int_equal(cns_kit_check_trainer(kit, &external, &problem), 0);
  assert_int_equal(cns_kit_check_trainer(kit, &table, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "remove \"patients\""));
  kit->config.patients = 0;
  const struct cns_plan scaffold = {.has_table = true, .scaffold = {.steps = 3}};
  assert_int_equal(cns_kit_check_trainer(kit, &scaffold, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "SCAFFOLD"));
  kit->policy.noise_placement = CNS_NOISE_DISTRIBUTED;
  kit->policy.unit = CNS_UNIT_HOSPITAL;
  assert_int_equal(cns_kit_check_trainer(kit, &table, &problem), 0);
  kit->policy.unit = CNS_UNIT_PATIENT;
  assert_int_equal(cns_kit_check_trainer(kit, &table, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "protects single patients"));
  free(kit);
  cns_plan_deinit(&external);
}

/* What takes more of a model than its numbers: metrics, and gradients of single patients. */
static void a_policy_must_fit_an_external_model(void **state) {
  struct cns_plan external;
  struct cns_problem problem = {0};
  struct cns_policy *policy = calloc(1, sizeof *policy);
  assert_non_null(policy);
  assert_int_equal(cns_plan_parse(external_study, strlen(external_study), "scans.json", &external, NULL), 0);
  policy->clip_norm_max = 10;
  policy->weights_mode = CNS_WEIGHTS_PATIENTS;
  if (cns_kit_check_study(policy, &external, &problem)) fail_msg("%s", problem.text);
  bool *metrics[] = {&policy->metrics, &policy->metrics_public, &policy->metrics_noised};
  for (size_t k = 0; k < 3; k++) {
    *metrics[k] = true;
    assert_int_equal(cns_kit_check_study(policy, &external, &problem), CNS_ERR_REFUSED);
    assert_non_null(strstr(problem.text, "metrics must be \"off\""));
    *metrics[k] = false;
  }
  policy->noise_placement = CNS_NOISE_DISTRIBUTED;
  policy->unit = CNS_UNIT_PATIENT;
  assert_int_equal(cns_kit_check_study(policy, &external, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "protects patients"));
  free(policy);
  cns_plan_deinit(&external);
}

/* Drawn last, after the rounding: with the same source the difference is the noise. */
static void a_commands_update_gets_its_noise(void **state) {
  struct bench b;
  struct cns_discrete_gaussian *noise = NULL;
  int64_t expected[DIM];
  bench_init(&b, WELL);
  struct worked plain = run_work(&b, NULL);
  assert_int_equal(cns_discrete_gaussian_new(5000, &noise, NULL), 0);
  assert_int_equal(cns_discrete_gaussian_fill(noise, b.input.rng, expected, DIM), 0);
  cns_discrete_gaussian_free(noise);
  cns_rng_seeded_init_label(&b.random, SEED, "rounding");
  b.input.sigma_local = 5000;
  struct worked noisy = run_work(&b, NULL);
  if (plain.error || noisy.error) fail_msg("%s %s", plain.problem.text, noisy.problem.text);
  for (size_t k = 0; k < DIM; k++)
    assert_true(noisy.result.x[k] - plain.result.x[k] == (uint32_t)(uint64_t)expected[k]);
  free(plain.result.x);
  free(noisy.result.x);
  commanded_deinit(&b.commanded);
}

int main(int argc, char **argv) {
  keep_if_called(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_commands_update_is_clipped_and_rounded),
      cmocka_unit_test(a_commands_update_gets_its_noise),
      cmocka_unit_test(a_policy_must_fit_an_external_model),
      cmocka_unit_test(nothing_leaves_when_it_fails),
      cmocka_unit_test(no_command_trains_where_patients_are_protected),
      cmocka_unit_test(a_dropped_round_ends_the_command),
      cmocka_unit_test(a_command_does_not_outlive_its_agent),
      cmocka_unit_test(a_lost_keeper_is_told),
      cmocka_unit_test(the_configuration_is_read_and_written),
      cmocka_unit_test(a_wrong_configuration_is_refused),
      cmocka_unit_test(a_trainer_must_fit_the_study),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
