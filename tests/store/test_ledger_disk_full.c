/* SPDX-License-Identifier: Apache-2.0 */
/* The privacy ledger on a disk that is full, that fails, or that may not be written to: what
 * was refused is not there, what was there is, and it goes on once it can. */
#include <sys/resource.h>

#include "failing_vfs.h"
#include "ledger_support.h"

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void rounds_under_a_file_size_limit(void **state) {
  struct cns_ledger *ledger = open_named("limited");
  uint64_t number = 1;
  int error = 0;
  limit_files(150000);
  while ((error = reserve(ledger, number)) == 0)
    number++;
  limit_files(RLIM_INFINITY);
  assert_int_equal(error, CNS_ERR_DISK_FULL);
  assert_non_null(strstr(problem.text, "no space left"));
  assert_true(number > 5);
  assert_int_equal(state_of(ledger, number), 0);
  assert_int_equal(count_all(ledger), number - 1);
  assert_int_equal(charge(ledger, number), CNS_ERR_STATE); /* not reserved: never sent */
  assert_int_equal(reserve(ledger, number), 0);
  assert_int_equal(charge(ledger, number), 0);
  cns_ledger_free(ledger);
  ledger = open_named("limited");
  assert_int_equal(count_all(ledger), number);
  cns_ledger_free(ledger);
}

static void creating_under_every_file_size_limit(void **state) {
  unsigned refused = 0, made = 0;
  for (rlim_t bytes = 0; bytes <= 64000; bytes += 2000) {
    char name[32];
    struct cns_ledger *ledger = NULL;
    snprintf(name, sizeof(name), "unborn-%lu", (unsigned long)bytes);
    limit_files(bytes);
    int error = try_open(name, &ledger);
    limit_files(RLIM_INFINITY);
    if (error && error != CNS_ERR_DISK_FULL)
      print_message("# limit %lu: %s\n", (unsigned long)bytes, problem.text);
    assert_true(error == 0 || error == CNS_ERR_DISK_FULL);
    error ? refused++ : made++;
    if (error) assert_int_not_equal(access(scratch_path(name), F_OK), 0);
    cns_ledger_free(ledger);
    ledger = open_named(name);
    assert_int_equal(reserve(ledger, 1), 0);
    cns_ledger_free(ledger);
  }
  assert_true(refused > 5 && made > 5);
}

/* Steps of the seven that succeed, with what fails from a step on, or at it. */
static uint64_t run_failing(struct cns_ledger *ledger, enum failing_how how, unsigned step, int *ret_error) {
  uint64_t done = 0;
  *ret_error = 0;
  failing_begin(how, step, 1);
  while (done < SEVEN && (*ret_error = one_of_seven(ledger, done)) == 0)
    done++;
  failing_end();
  return done;
}

/* After the failure the handle itself goes on, and so does another process's. */
static void fail_at_each_step(enum failing_how how, int expected) {
  bool failed = true;
  unsigned step = 1;
  failing_begin(how, 0, 1); /* before the first file is opened */
  for (; failed; step++) {
    char name[32];
    int error;
    snprintf(name, sizeof(name), "step-%d-%u", (int)how, step);
    struct cns_ledger *ledger = open_named(name);
    uint64_t done = run_failing(ledger, how, step, &error);
    failed = error != 0;
    if (error && error != expected)
      print_message("# step %u: %s: %s\n", step, cns_error_name(error), problem.text);
    assert_true(error == 0 || error == expected);
    uint64_t entries = entries_of(ledger);
    assert_true(entries == done);
    expect_after(ledger, done);
    for (; done < SEVEN; done++)
      assert_int_equal(one_of_seven(ledger, done), 0);
    expect_after(ledger, SEVEN);
    cns_ledger_free(ledger);
    ledger = open_named(name);
    expect_after(ledger, SEVEN);
    cns_ledger_free(ledger);
  }
  print_message("# failed at each of %u steps\n", step - 2);
  assert_true(step > 15);
}

static void full_from_each_step_on(void **state) {
  fail_at_each_step(FAILING_FULL, CNS_ERR_DISK_FULL);
}

static void each_step_fails_once(void **state) {
  fail_at_each_step(FAILING_ONCE, CNS_ERR_IO);
}

/* Root may write everywhere: as nobody, then. */
static int open_unprivileged(const char *name) {
  int status = 0;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    struct cns_ledger *ledger = NULL;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(100);
    int error = try_open(name, &ledger);
    bool said = strstr(problem.text, "no permission") != NULL;
    _exit(error == CNS_ERR_PERMISSION && said ? 0 : 1 - error);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void a_folder_for_reading_only_is_told(void **state) {
  make_seven("plain");
  assert_int_equal(mkdir(scratch_path("locked"), 0755), 0);
  copy_file("plain", "locked/ledger");
  assert_int_equal(chmod(scratch_path("locked/ledger"), 0644), 0);
  assert_int_equal(chmod(scratch_folder, 0755), 0);
  assert_int_equal(chmod(scratch_path("locked"), 0555), 0);
  assert_int_equal(open_unprivileged("locked/ledger"), 0);
  assert_int_equal(open_unprivileged("locked/none"), 0);
  assert_int_equal(chmod(scratch_path("locked"), 0755), 0);
  struct cns_ledger *ledger = open_named("locked/ledger");
  expect_after(ledger, SEVEN);
  cns_ledger_free(ledger);
}

static int setup(void **state) {
  signal(SIGXFSZ, SIG_IGN);
  return ledger_setup(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds_under_a_file_size_limit),
      cmocka_unit_test(creating_under_every_file_size_limit),
      cmocka_unit_test(a_folder_for_reading_only_is_told),
      cmocka_unit_test(full_from_each_step_on),
      cmocka_unit_test(each_step_fails_once),
  };
  return cmocka_run_group_tests(tests, setup, ledger_teardown);
}
