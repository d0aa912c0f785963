/* SPDX-License-Identifier: Apache-2.0 */
/* The privacy ledger when its process or the machine dies at any step that reaches the disk:
 * what was acknowledged is there, counted once, and it goes on. */
#include "failing_vfs.h"
#include "ledger_support.h"

/* Acknowledges each entry with a byte, and the end with another. */
static void run_seven(const char *name, enum failing_how how, unsigned step, unsigned seed, int report_fd) {
  struct cns_ledger *ledger = NULL;
  failing_begin(how, step, seed);
  if (try_open(name, &ledger) != 0) _exit(1);
  for (uint64_t k = 0; k < SEVEN; k++)
    if (one_of_seven(ledger, k) != 0 || write(report_fd, "a", 1) != 1) _exit(1);
  cns_ledger_free(ledger);
  _exit(0);
}

/* Entries that the child acknowledged before it died, if it did. */
static uint64_t run_child(const char *name, enum failing_how how, unsigned step, bool *ret_died) {
  int ends[2], status = 0;
  char byte;
  uint64_t acknowledged = 0;
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    close(ends[0]);
    run_seven(name, how, step, step * 7 + 1, ends[1]);
  }
  close(ends[1]);
  while (read(ends[0], &byte, 1) == 1)
    acknowledged++;
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  *ret_died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  if (!*ret_died && status != 0) print_message("# how %d, step %u, status %d\n", how, step, status);
  assert_true(*ret_died || status == 0);
  return acknowledged;
}

static void remove_ledger(const char *name) {
  static const char *const ends[] = {"", "-wal", "-shm", ".lock", ".new", ".new-wal", ".new-shm"};
  for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++) {
    char full[80];
    snprintf(full, sizeof(full), "%s%s", name, ends[k]);
    (void)unlink(scratch_path(full));
  }
}

static void die_at_each_step(const char *name, enum failing_how how) {
  unsigned step = 1;
  uint64_t lost_answers = 0;
  for (bool died = true; died; step++) {
    uint64_t acknowledged = run_child(name, how, step, &died);
    struct cns_ledger *ledger = open_named(name);
    uint64_t entries = entries_of(ledger);
    /* The one under way may be there: it counts, and is never less than what was said. */
    if (entries < acknowledged || entries > acknowledged + 1)
      print_message("# how %d, step %u: %llu entries, %llu acknowledged\n", how, step,
                    (unsigned long long)entries, (unsigned long long)acknowledged);
    assert_true(entries == acknowledged || entries == acknowledged + 1);
    lost_answers += entries != acknowledged;
    expect_after(ledger, entries);
    /* The restarted program asks again for what it was not told. */
    for (uint64_t k = acknowledged; k < SEVEN; k++)
      assert_int_equal(one_of_seven(ledger, k), 0);
    expect_after(ledger, SEVEN);
    cns_ledger_free(ledger);
    remove_ledger(name);
  }
  print_message("# died at each of %u steps; %llu times an entry was written and not yet acknowledged\n",
                step - 2, (unsigned long long)lost_answers);
  assert_true(step > 20 && lost_answers > 0);
}

static void killed_at_each_step(void **state) {
  die_at_each_step("killed", FAILING_KILL);
}

static void killed_in_the_middle_of_each_write(void **state) {
  die_at_each_step("torn", FAILING_TORN);
}

/* synchronous=FULL holds what it promises: nothing acknowledged was only in memory. */
static void power_lost_at_each_step(void **state) {
  die_at_each_step("lost", FAILING_LOSE);
}

/* At any moment, not only between steps. */
static void child_that_writes_on(int report_fd) {
  struct cns_ledger *ledger = NULL;
  if (try_open("anywhere", &ledger) != 0) _exit(1);
  uint64_t at = 0;
  int fd = open(scratch_path("acknowledged"), O_RDWR | O_CREAT, 0600);
  if (fd < 0 || pread(fd, &at, sizeof(at), 0) < 0) _exit(1);
  for (int k = 0;; k++) {
    if (reserve(ledger, at + 1) != 0) _exit(1);
    if (charge(ledger, at + 1) != 0) _exit(1);
    at++;
    if (pwrite(fd, &at, sizeof(at), 0) != sizeof(at)) _exit(1);
    if (k == 20 && write(report_fd, "k", 1) != 1) _exit(1);
  }
}

static void killed_anywhere(void **state) {
  for (int times = 0; times < 5; times++) {
    scratch_kill_child(child_that_writes_on);
    size_t len = 0;
    uint64_t acknowledged = 0;
    uint8_t *bytes = scratch_read(scratch_path("acknowledged"), &len);
    memcpy(&acknowledged, bytes, sizeof(acknowledged));
    free(bytes);
    struct cns_ledger *ledger = open_named("anywhere");
    size_t counted = count_all(ledger);
    assert_true(counted == acknowledged || counted == acknowledged + 1);
    assert_int_equal(state_of(ledger, acknowledged), CNS_LEDGER_CHARGED);
    cns_ledger_free(ledger);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(killed_at_each_step),
      cmocka_unit_test(killed_in_the_middle_of_each_write),
      cmocka_unit_test(power_lost_at_each_step),
      cmocka_unit_test(killed_anywhere),
  };
  return cmocka_run_group_tests(tests, ledger_setup, ledger_teardown);
}
