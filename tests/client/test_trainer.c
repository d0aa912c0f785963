/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that train, and that go wrong in all the ways they can. */
#include <sys/resource.h>

#include "commanded.h"
#include "crypto/json.h"

static char *read_text(const char *name) {
  size_t len = 0;
  char *text = (char *)scratch_read(scratch_path(name), &len); /* with room for one byte more */
  text[len] = '\0';
  return text;
}

static void assert_refused(const struct outcome *outcome, const char *word) {
  if (outcome->error == 0 || !strstr(outcome->problem.text, word))
    fail_msg("error %d: \"%s\" instead of \"%s\" (%s)", outcome->error, outcome->problem.text, word,
             outcome->note);
  /* It may go to the coordinator. */
  assert_null(strstr(outcome->problem.text, scratch_folder));
  assert_null(strchr(outcome->problem.text, '/'));
}

static void what_a_command_writes_is_read(void **state) {
  struct outcome outcome = script_round(WELL "; echo one; echo two >&2");
  if (outcome.error) fail_msg("%s", outcome.problem.text);
  for (size_t k = 0; k < DIM; k++)
    assert_true(outcome.update[k] == update[k]);
  assert_int_equal(outcome.metrics.examples, 5);
  assert_true(outcome.metrics.has_losses && outcome.metrics.first_loss == 0.5 &&
              outcome.metrics.last_loss == 0.25);
  assert_int_equal(outcome.said.lines, 2);
  assert_int_equal(outcome.said.leftovers, 0);
  char *log = read_text(CNS_TRAINER_LOG);
  assert_non_null(strstr(log, "round 3 attempt 1: /bin/sh\none\ntwo\n"));
  free(log);
}

static void the_task_and_the_model_are_there(void **state) {
  struct outcome outcome = script_round(
      "cp \"$CONSILIUM_TASK\" task.copy && cp \"$CONSILIUM_FOLDER/global.safetensors\" global.copy && "
      "ls \"$TMPDIR\" && stat -c %a \"$CONSILIUM_FOLDER\" > mode && " WELL);
  if (outcome.error) fail_msg("%s", outcome.problem.text);
  char *mode = read_text("mode");
  assert_string_equal(mode, "700\n");
  free(mode);
  struct cns_tensor_list list;
  float values[DIM];
  assert_int_equal(cns_tensor_list_read(scratch_path("global.copy"), &list, NULL), 0);
  assert_int_equal(list.count, 2);
  assert_string_equal(list.tensors[0].name, "bias");
  assert_int_equal(cns_tensors_read(scratch_path("global.copy"), &list, values, NULL), 0);
  assert_memory_equal(values, received, sizeof values);
  cns_tensor_list_deinit(&list);
  char *text = read_text("task.copy");
  cJSON *json = NULL;
  assert_int_equal(cns_json_parse(text, strlen(text), "task", &json, NULL), 0);
  static const struct {
    const char *name;
    double value;
  } numbers[] = {{"consilium_task", 1}, {"round", 3}, {"attempt", 1}, {"hospital", 2}};
  for (size_t k = 0; k < 4; k++)
    assert_true(cJSON_GetObjectItem(json, numbers[k].name)->valuedouble == numbers[k].value);
  const cJSON *training = cJSON_GetObjectItem(json, "training");
  assert_true(cJSON_GetObjectItem(training, "batch")->valuedouble == 8);
  assert_true(cJSON_GetObjectItem(training, "clip_norm")->valuedouble == 1.5);
  assert_string_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "model"), "kind")->valuestring,
                      "external");
  assert_null(cJSON_GetObjectItem(json, "table"));
  cJSON_Delete(json);
  free(text);
}

/* Nothing of the agent's comes along: variables, descriptors, standard input. */
static void a_command_starts_clean(void **state) {
  static char variable[] = "MY_VARIABLE=its value", *variables[] = {variable, NULL};
  struct commanded c;
  setenv("AGENT_SECRET", "secret", 1);
  commanded_init(&c, "env > environment; ls /proc/self/fd > descriptors; cat > input; pwd > place; " WELL);
  c.setup.command.environment = variables;
  int kept = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
  struct outcome outcome = commanded_round(&c, NULL);
  close(kept);
  unsetenv("AGENT_SECRET");
  if (outcome.error) fail_msg("%s", outcome.problem.text);
  char *environment = read_text("environment"), *descriptors = read_text("descriptors");
  char *input = read_text("input"), *place = read_text("place");
  assert_non_null(strstr(environment, "MY_VARIABLE=its value\n"));
  assert_non_null(strstr(environment, "CONSILIUM_TASK="));
  assert_non_null(strstr(environment, "PATH="));
  assert_null(strstr(environment, "secret"));
  assert_null(strstr(environment, CNS_KEEPER_VARIABLE));
  assert_string_equal(descriptors, "0\n1\n2\n3\n"); /* the last is that of ls */
  assert_string_equal(input, "");
  assert_non_null(strstr(place, scratch_folder + 1));
  free(environment);
  free(descriptors);
  free(input);
  free(place);
  commanded_deinit(&c);
}

static const struct {
  const char *script, *word;
} misbehaviours[] = {
    {"exit 3", "failed with exit status 3"},
    {WELL "; exit 4", "exit status 4"},
    {"kill -SEGV $$", "crashed: signal 11"},
    {"kill -KILL $$", "crashed: signal 9"},
    {"true", "wrote no metrics.json"},
    {WELL_METRICS, "wrote no update.safetensors"},
    {WELL "; : > $CONSILIUM_FOLDER/update.safetensors", "update.safetensors is empty"},
    {WELL "; echo garbage > $CONSILIUM_FOLDER/update.safetensors", "doesn't hold the tensors"},
    {WELL "; head -c 30 good.safetensors > $CONSILIUM_FOLDER/update.safetensors", "doesn't hold the tensors"},
    {WELL "; printf 1234 >> $CONSILIUM_FOLDER/update.safetensors", "doesn't hold the tensors"},
    {WELL "; sed s/bias/bier/ good.safetensors > $CONSILIUM_FOLDER/update.safetensors",
     "doesn't hold the tensors"},
    {WELL "; sed s/2,3,1/1,3,2/ good.safetensors > $CONSILIUM_FOLDER/update.safetensors",
     "doesn't hold the tensors"},
    {WELL "; cp nan.safetensors $CONSILIUM_FOLDER/update.safetensors", "not finite"},
    {WELL "; cp infinite.safetensors $CONSILIUM_FOLDER/update.safetensors", "not finite"},
    {WELL_METRICS "; ln -s $PWD/good.safetensors $CONSILIUM_FOLDER/update.safetensors", "no plain file"},
    {WELL_METRICS "; ln -s /etc/shadow $CONSILIUM_FOLDER/update.safetensors", "no plain file"},
    {WELL_METRICS "; mkfifo $CONSILIUM_FOLDER/update.safetensors", "no plain file"},
    {WELL_METRICS "; mkdir $CONSILIUM_FOLDER/update.safetensors", "no plain file"},
    {WELL "; : > $CONSILIUM_FOLDER/metrics.json", "metrics.json is empty"},
    {WELL "; echo garbage > $CONSILIUM_FOLDER/metrics.json", "how many examples"},
    {WELL "; echo '{}' > $CONSILIUM_FOLDER/metrics.json", "how many examples"},
    {WELL "; echo '{\"examples\": 0}' > $CONSILIUM_FOLDER/metrics.json", "how many examples"},
    {WELL "; echo '{\"examples\": 1.5}' > $CONSILIUM_FOLDER/metrics.json", "how many examples"},
    {WELL
     "; echo '{\"examples\": 5, \"first_loss\": NaN, \"last_loss\": 1}' > $CONSILIUM_FOLDER/metrics.json",
     "how many examples"},
    {WELL "; echo '{\"examples\": 5, \"first_loss\": 1e999, \"last_loss\": 1}' > "
          "$CONSILIUM_FOLDER/metrics.json",
     "how many examples"},
    {WELL "; head -c 100000 /dev/zero > $CONSILIUM_FOLDER/metrics.json", "metrics.json is longer"},
    {WELL "; chmod 000 $CONSILIUM_FOLDER/tmp; exit 5", "exit status 5"},
    {WELL "; exec head -c 3000000 /dev/zero > $CONSILIUM_FOLDER/big", "a file of more than 1 MiB"},
    {WELL "; head -c 3000000 /dev/zero > $CONSILIUM_FOLDER/big", "exit status 153"}, /* 128 + SIGXFSZ */
};

static void each_misbehaviour_is_told(void **state) {
  struct cns_plan plan;
  float values[DIM] = {0};
  assert_int_equal(cns_plan_parse(external_study, strlen(external_study), "scans.json", &plan, NULL), 0);
  values[3] = NAN;
  write_update(&plan, "nan.safetensors", values);
  values[3] = -INFINITY;
  write_update(&plan, "infinite.safetensors", values);
  cns_plan_deinit(&plan);
  for (size_t k = 0; k < sizeof misbehaviours / sizeof misbehaviours[0]; k++) {
    struct outcome outcome = script_round(misbehaviours[k].script);
    assert_refused(&outcome, misbehaviours[k].word);
  }
  /* And the next round is a good one. */
  struct outcome good = script_round(WELL);
  assert_int_equal(good.error, 0);
}

/* What is wrong with a tensor is said here, and not to the coordinator. */
static void details_stay_here(void **state) {
  struct outcome outcome =
      script_round(WELL "; sed s/bias/Mary/ good.safetensors > $CONSILIUM_FOLDER/update.safetensors");
  assert_non_null(strstr(outcome.note, "bias"));
  assert_null(strstr(outcome.problem.text, "bias"));
  assert_null(strstr(outcome.problem.text, "Mary"));
}

static void a_program_that_is_not_there_is_told(void **state) {
  static char absent[] = "no-such-program", relative[] = "./trains", there[] = "sh";
  struct commanded c;
  struct cns_problem problem = {0};
  commanded_init(&c, WELL);
  char *shell = c.arguments[0];
  c.arguments[0] = absent;
  assert_int_equal(cns_trainer_check(&c.setup, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "no-such-program"));
  struct outcome outcome = commanded_round(&c, NULL);
  assert_refused(&outcome, "can't be started: No such file or directory");
  c.arguments[0] = relative;
  assert_int_equal(cns_trainer_check(&c.setup, &problem), CNS_ERR_REFUSED);
  FILE *file = fopen(scratch_path("trains"), "w");
  assert_non_null(file);
  fputs("#!/bin/sh\n" WELL "\n", file);
  fclose(file);
  outcome = commanded_round(&c, NULL);
  assert_refused(&outcome, "can't be started: Permission denied");
  assert_int_equal(chmod(scratch_path("trains"), 0700), 0);
  assert_int_equal(cns_trainer_check(&c.setup, &problem), 0);
  outcome = commanded_round(&c, NULL);
  assert_int_equal(outcome.error, 0);
  c.arguments[0] = there;
  assert_int_equal(cns_trainer_check(&c.setup, &problem), 0);
  c.arguments[0] = shell;
  commanded_deinit(&c);
}

static struct outcome limited_round(const char *script, uint32_t grace_ms) {
  struct commanded c;
  commanded_init(&c, script);
  c.setup.command.time_limit_s = 1;
  c.setup.grace_ms = grace_ms;
  struct outcome outcome = commanded_round(&c, NULL);
  commanded_deinit(&c);
  return outcome;
}

static void a_command_that_hangs_is_ended(void **state) {
  struct outcome outcome = limited_round("echo $$ > pid; exec sleep 100000", 300000);
  assert_refused(&outcome, "longer than its 1 s and was ended");
  assert_gone(read_pid("pid"));
}

static void a_command_that_does_not_listen_is_killed(void **state) {
  struct outcome outcome = limited_round("trap '' TERM; echo $$ > deaf; while :; do sleep 1000; done", 200);
  assert_refused(&outcome, "longer than its 1 s and was killed");
  assert_gone(read_pid("deaf"));
}

/* Also what has a session of its own. */
static void what_a_command_leaves_behind_is_ended(void **state) {
  struct outcome outcome = script_round(
      "sh -c 'echo $$ > left; exec sleep 100000' & setsid sh -c 'echo $$ > away; exec sleep 100000' & "
      "while ! [ -s left ] || ! [ -s away ]; do sleep 0.01; done; " WELL);
  if (outcome.error) fail_msg("%s", outcome.problem.text);
  assert_in_range(outcome.said.leftovers, 2, 4);
  assert_non_null(strstr(outcome.note, "that it left behind were killed"));
  assert_gone(read_pid("left"));
  assert_gone(read_pid("away"));
}

static void long_output_is_cut_and_cleaned(void **state) {
  (void)unlink(scratch_path(CNS_TRAINER_LOG));
  struct outcome outcome =
      script_round("printf 'a\\033[31mb\\000c\\n'; head -c 3000000 /dev/zero | tr '\\000' x; " WELL);
  if (outcome.error) fail_msg("%s", outcome.problem.text);
  struct stat info;
  assert_int_equal(stat(scratch_path(CNS_TRAINER_LOG), &info), 0);
  assert_in_range(info.st_size, CNS_TRAINER_LOG_BYTES_MAX, CNS_TRAINER_LOG_BYTES_MAX + 200);
  assert_int_equal(info.st_mode & 0777, 0600);
  assert_int_equal(outcome.said.bytes, 3000000 + 10);
  assert_int_equal(outcome.said.dropped, outcome.said.bytes - CNS_TRAINER_LOG_BYTES_MAX);
  assert_non_null(strstr(outcome.note, "of them not kept"));
  char *log = read_text(CNS_TRAINER_LOG);
  assert_non_null(strstr(log, "a?[31mb?c\n"));
  free(log);
}

static void the_log_is_rotated_and_no_link_is_followed(void **state) {
  (void)unlink(scratch_path(CNS_TRAINER_LOG));
  assert_true(symlink("elsewhere", scratch_path(CNS_TRAINER_LOG)) == 0);
  struct commanded c;
  struct cns_trainer *trainer = NULL;
  struct cns_problem problem = {0};
  struct outcome outcome = {0};
  commanded_init(&c, WELL);
  assert_int_equal(cns_trainer_new(&c.setup, &c.task, &trainer), 0);
  assert_int_equal(cns_trainer_prepare(trainer, received, &problem), 0);
  assert_true(cns_trainer_start(trainer, &c.uv, on_trained, &outcome, &problem) < 0);
  assert_non_null(strstr(problem.text, "log can't be opened"));
  cns_trainer_free(trainer);
  assert_int_not_equal(access(scratch_path("elsewhere"), F_OK), 0);
  assert_int_equal(unlink(scratch_path(CNS_TRAINER_LOG)), 0);
  int fd = open(scratch_path(CNS_TRAINER_LOG), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  assert_true(fd >= 0 && ftruncate(fd, 9 << 20) == 0);
  close(fd);
  outcome = commanded_round(&c, NULL);
  assert_int_equal(outcome.error, 0);
  struct stat info;
  assert_int_equal(stat(scratch_path(CNS_TRAINER_LOG), &info), 0);
  assert_in_range(info.st_size, 1, 500);
  assert_int_equal(stat(scratch_path(CNS_TRAINER_LOG ".1"), &info), 0);
  commanded_deinit(&c);
}

static void a_full_disk_ends_the_command(void **state) {
  struct commanded c;
  commanded_init(&c, "echo $$ > full; exec sleep 100000");
  c.setup.command.free_bytes = UINT64_MAX / 2;
  struct outcome outcome = commanded_round(&c, NULL);
  assert_refused(&outcome, "were left on the disk");
  commanded_deinit(&c);
}

/* The folder can't be filled: nothing is started, and nothing stays. */
static void a_full_disk_is_told_before_the_command(void **state) {
  const struct rlimit none = {16, RLIM_INFINITY};
  struct rlimit before;
  struct commanded c;
  struct cns_trainer *trainer = NULL;
  struct cns_problem problem = {0};
  commanded_init(&c, WELL);
  assert_int_equal(cns_trainer_new(&c.setup, &c.task, &trainer), 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  int r = cns_trainer_prepare(trainer, received, &problem);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_DFL);
  assert_int_equal(r, CNS_ERR_DISK_FULL);
  assert_string_equal(problem.text, "the trainer's folder can't be filled: the disk is full");
  cns_trainer_free(trainer);
  assert_int_equal(folders_left(), 0);
  commanded_deinit(&c);
}

static void leftovers_of_a_dead_agent_are_swept(void **state) {
  struct commanded c;
  commanded_init(&c, WELL);
  assert_int_equal(mkdir(scratch_path(CNS_TRAINER_FOLDER "abcdef"), 0700), 0);
  assert_int_equal(mkdir(scratch_path(CNS_TRAINER_FOLDER "abcdef/in"), 0700), 0);
  assert_int_equal(mkdir(scratch_path("kept"), 0700), 0);
  assert_int_equal(symlink("../../kept", scratch_path(CNS_TRAINER_FOLDER "abcdef/in/link")), 0);
  assert_int_equal(chmod(scratch_path(CNS_TRAINER_FOLDER "abcdef/in"), 0), 0);
  cns_trainer_sweep(&c.setup);
  assert_int_equal(folders_left(), 0);
  assert_int_equal(access(scratch_path("kept"), F_OK), 0);
  commanded_deinit(&c);
}

int main(int argc, char **argv) {
  keep_if_called(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_a_command_writes_is_read),
      cmocka_unit_test(the_task_and_the_model_are_there),
      cmocka_unit_test(a_command_starts_clean),
      cmocka_unit_test(each_misbehaviour_is_told),
      cmocka_unit_test(details_stay_here),
      cmocka_unit_test(a_program_that_is_not_there_is_told),
      cmocka_unit_test(a_command_that_hangs_is_ended),
      cmocka_unit_test(a_command_that_does_not_listen_is_killed),
      cmocka_unit_test(what_a_command_leaves_behind_is_ended),
      cmocka_unit_test(long_output_is_cut_and_cleaned),
      cmocka_unit_test(the_log_is_rotated_and_no_link_is_followed),
      cmocka_unit_test(a_full_disk_ends_the_command),
      cmocka_unit_test(a_full_disk_is_told_before_the_command),
      cmocka_unit_test(leftovers_of_a_dead_agent_are_swept),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
