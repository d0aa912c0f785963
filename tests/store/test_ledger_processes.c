/* SPDX-License-Identifier: Apache-2.0 */
/* One hospital's ledger under the agents of several studies at once: one chain, one budget. */
#include "ledger_support.h"

#define WRITERS 3
#define AFFORDABLE 20

/* A limit that AFFORDABLE rounds of noise 4 are within, and one more isn't. */
static struct cns_ledger_limit shared_limit(void) {
  struct cns_ledger_limit limit = {.observer = CNS_LEDGER_READERS, .scope = CNS_LEDGER_ALL};
  struct cns_dp_segment segment = {4, 1, AFFORDABLE};
  struct cns_dp_interval epsilon;
  assert_int_equal(cns_dp_epsilon(&segment, 1, 1e-6, NULL, &epsilon, NULL), 0);
  limit.limits.epsilon = epsilon.upper + 1e-9;
  limit.limits.delta = 1e-6;
  return limit;
}

/* Reserves and charges rounds of its own study until there is no budget left; their number. */
static int write_until_refused(const char *name, unsigned writer, int start_fd) {
  struct cns_ledger *ledger = NULL;
  struct cns_digest study = scratch_digest(100 + writer);
  struct cns_ledger_limit limit = shared_limit();
  char byte;
  if (read(start_fd, &byte, 1) != 0) return 200; /* until all are let go */
  if (try_open(name, &ledger) != 0) return 201;
  for (int k = 0;; k++) {
    struct cns_ledger_round round = make_round(&study, (uint64_t)k);
    int error = cns_ledger_reserve(ledger, &round, &limit, 1, JANUARY + k, NULL, &problem);
    if (error == CNS_BUDGET_EXCEEDED) {
      cns_ledger_free(ledger);
      return k;
    }
    if (error) return 202;
    error = cns_ledger_charge(ledger, &round.descriptor, JANUARY + k, &problem);
    if (error) return 203;
    usleep(2000); /* SQLite lets those who wait sleep longer: they get their turn */
  }
}

#define CONTESTED 40

/* Two kits on one table, in one study: each tries to join every round. How many it got. */
static int join_each(const char *name, unsigned writer, int start_fd) {
  struct cns_ledger *ledger = NULL;
  int joined = 0;
  char byte;
  (void)writer;
  if (read(start_fd, &byte, 1) != 0) return 200;
  if (try_open(name, &ledger) != 0) return 201;
  for (uint64_t k = 0; k < CONTESTED; k++) {
    struct cns_ledger_round round = make_round(&study_a, k);
    int error = cns_ledger_reserve_once(ledger, &round, NULL, 0, JANUARY, NULL, &problem);
    if (error == CNS_ERR_EXISTS) continue;
    if (error) return 202;
    if (cns_ledger_charge(ledger, &round.descriptor, JANUARY, &problem)) return 203;
    joined++;
  }
  cns_ledger_free(ledger);
  return joined;
}

static void run_writers(const char *name, int (*write)(const char *, unsigned, int),
                        int ret_rounds[static WRITERS]) {
  int ends[2];
  pid_t children[WRITERS];
  assert_int_equal(pipe(ends), 0);
  for (unsigned k = 0; k < WRITERS; k++) {
    children[k] = fork();
    assert_true(children[k] >= 0);
    if (children[k] != 0) continue;
    close(ends[1]);
    int result = write(name, k, ends[0]);
    if (result >= 200) fprintf(stderr, "writer %u: %d: %s\n", k, result, problem.text);
    _exit(result);
  }
  close(ends[0]);
  close(ends[1]);
  for (unsigned k = 0; k < WRITERS; k++) {
    int status = 0;
    assert_int_equal(waitpid(children[k], &status, 0), children[k]);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 200);
    ret_rounds[k] = WEXITSTATUS(status);
  }
}

/* The file is made by one of them, too. */
static void studies_share_one_budget_to_the_last_round(void **state) {
  for (int times = 0; times < 3; times++) {
    char name[32];
    int rounds[WRITERS], all = 0;
    snprintf(name, sizeof(name), "shared-%d", times);
    run_writers(name, write_until_refused, rounds);
    for (unsigned k = 0; k < WRITERS; k++)
      all += rounds[k];
    print_message("# %d + %d + %d rounds\n", rounds[0], rounds[1], rounds[2]);
    assert_int_equal(all, AFFORDABLE);
    struct cns_ledger *ledger = open_named(name);
    assert_int_equal(entries_of(ledger), 2 * AFFORDABLE);
    assert_int_equal(count_all(ledger), AFFORDABLE);
    for (unsigned k = 0; k < WRITERS; k++) {
      struct cns_digest study = scratch_digest(100 + k);
      assert_int_equal(count_costs(ledger, &study, CNS_LEDGER_READERS, 0), (size_t)rounds[k]);
    }
    cns_ledger_free(ledger);
  }
}

static void a_round_is_joined_by_one(void **state) {
  int rounds[WRITERS], all = 0;
  run_writers("contested", join_each, rounds);
  for (unsigned k = 0; k < WRITERS; k++)
    all += rounds[k];
  print_message("# %d + %d + %d rounds\n", rounds[0], rounds[1], rounds[2]);
  assert_int_equal(all, CONTESTED);
}

/* Two handles in turn, each with what the other wrote. */
static void handles_follow_each_other(void **state) {
  struct cns_ledger *one = open_named("turns"), *two = open_named("turns");
  assert_int_equal(reserve(one, 1), 0);
  assert_int_equal(charge(two, 1), 0);
  assert_int_equal(cancel(one, 1), CNS_ERR_REFUSED);
  assert_int_equal(reserve(two, 2), 0);
  assert_int_equal(reserve(one, 2), 0); /* on record */
  assert_int_equal(cancel(one, 2), 0);
  assert_int_equal(charge(two, 2), CNS_ERR_REFUSED);
  assert_int_equal(entries_of(one), 4);
  assert_int_equal(entries_of(two), 4);
  cns_ledger_free(one);
  cns_ledger_free(two);
}

static void child_in_the_middle(int report_fd) {
  sqlite3 *sqlite = NULL;
  if (sqlite3_open(scratch_path("held"), &sqlite) != SQLITE_OK) _exit(1);
  if (sqlite3_exec(sqlite, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) _exit(1);
  if (write(report_fd, "k", 1) != 1) _exit(1);
}

/* Killed while it held the right to write: the right goes with it. */
static void a_killed_writer_holds_nothing(void **state) {
  struct cns_ledger *ledger = open_named("held");
  assert_int_equal(reserve(ledger, 1), 0);
  scratch_kill_child(child_in_the_middle);
  assert_int_equal(charge(ledger, 1), 0);
  cns_ledger_free(ledger);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(studies_share_one_budget_to_the_last_round),
      cmocka_unit_test(a_round_is_joined_by_one),
      cmocka_unit_test(handles_follow_each_other),
      cmocka_unit_test(a_killed_writer_holds_nothing),
  };
  return cmocka_run_group_tests(tests, ledger_setup, ledger_teardown);
}
