/* SPDX-License-Identifier: Apache-2.0 */
/* When a hospital's control variate moves, over crashes, missed manifests and lost files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/control.h"

#define DIM 5

static char folder[64];
static struct cns_problem problem;

static int setup(void **state) {
  snprintf(folder, sizeof folder, "/tmp/consilium-control-XXXXXX");
  return mkdtemp(folder) && cns_init() == 0 ? 0 : -1;
}

static int teardown(void **state) {
  struct dirent *entry;
  DIR *stream = opendir(folder);
  while ((entry = readdir(stream)))
    if (entry->d_name[0] != '.') assert_int_equal(unlinkat(dirfd(stream), entry->d_name, 0), 0);
  closedir(stream);
  return rmdir(folder);
}

static struct cns_control control_of(uint64_t study) {
  struct cns_control control = {.folder = folder, .dim = DIM};
  cns_hash_once("consilium/1 test digest", &study, sizeof study, &control.study);
  return control;
}

static struct cns_control_round round_of(uint64_t number, uint32_t attempt) {
  uint64_t both[2] = {number, attempt};
  struct cns_control_round round = {.number = number, .attempt = attempt};
  cns_hash_once("consilium/1 test digest", both, sizeof both, &round.digest);
  return round;
}

static void propose(uint64_t study, uint64_t number, uint32_t attempt, float first) {
  const float own[DIM] = {first, 2, 3, 4, 5};
  struct cns_control control = control_of(study);
  struct cns_control_round round = round_of(number, attempt);
  assert_int_equal(cns_control_propose(&control, &round, own, &problem), 0);
}

/* The manifest of a round of three hospitals; ours has index 2. */
static int settle(uint64_t study, uint64_t number, uint32_t attempt, uint8_t outcome) {
  struct cns_control control = control_of(study);
  struct cns_member members[] = {{1, 1}, {2, 1}, {3, 1}};
  uint8_t outcomes[] = {CNS_INCLUDED, outcome, CNS_INCLUDED};
  struct cns_manifest manifest = {.round = number,
                                  .attempt = attempt,
                                  .descriptor = round_of(number, attempt).digest,
                                  .member_count = 3,
                                  .members = members,
                                  .outcomes = outcomes};
  return cns_control_settle(&control, &manifest, 2, &problem);
}

static float present(uint64_t study, int expected) {
  float own[DIM];
  struct cns_control control = control_of(study);
  assert_int_equal(cns_control_read(&control, own, &problem), expected);
  for (int k = 1; k < DIM; k++)
    assert_true(own[k] == (expected ? 0 : (float)(k + 1)));
  return own[0];
}

static size_t files(void) {
  size_t count = 0;
  struct dirent *entry;
  DIR *stream = opendir(folder);
  while ((entry = readdir(stream)))
    count += entry->d_name[0] != '.';
  closedir(stream);
  return count;
}

static void it_moves_when_the_update_is_in_the_sum(void **state) {
  struct stat status;
  char path[128];
  assert_true(present(1, CNS_CONTROL_LOST) == 0);
  propose(1, 1, 1, 10);
  assert_true(present(1, CNS_CONTROL_LOST) == 0);
  assert_int_equal(settle(1, 1, 1, CNS_INCLUDED), 0);
  assert_true(present(1, 0) == 10);
  assert_int_equal(settle(1, 1, 1, CNS_INCLUDED), 0); /* again, after a restart */
  assert_true(present(1, 0) == 10);
  assert_int_equal(files(), 1);
  snprintf(path, sizeof path, "%s/control.current", folder);
  assert_int_equal(stat(path, &status), 0);
  assert_int_equal(status.st_mode & 0777, 0600);
  propose(1, 2, 1, 20);
  assert_int_equal(settle(1, 2, 1, CNS_OUT_FLAGGED), 0);
  assert_true(present(1, 0) == 10);
  assert_int_equal(files(), 1);
}

static void the_attempt_that_came_to_a_result_counts(void **state) {
  propose(1, 3, 1, 31);
  propose(1, 3, 2, 32);
  propose(1, 3, 3, 33); /* a worker that was late */
  assert_int_equal(settle(1, 3, 2, CNS_INCLUDED), 0);
  assert_true(present(1, 0) == 32);
  assert_int_equal(files(), 1);
}

static void manifests_come_again_late_or_never(void **state) {
  propose(1, 5, 1, 50);
  assert_int_equal(settle(1, 4, 1, CNS_INCLUDED), 0); /* the last one on record, at a start */
  assert_int_equal(files(), 2);
  assert_int_equal(settle(1, 6, 1, CNS_INCLUDED), CNS_CONTROL_DROPPED);
  assert_true(present(1, 0) == 32);
  assert_int_equal(files(), 1);
}

static void another_rounds_or_studys_or_a_damaged_proposal_doesnt_count(void **state) {
  char from[160], to[160];
  propose(2, 7, 1, 70);
  assert_int_equal(settle(1, 7, 1, CNS_INCLUDED), 0);
  assert_true(present(1, 0) == 32);
  assert_true(present(2, CNS_CONTROL_LOST) == 0);
  propose(1, 8, 1, 80);
  snprintf(from, sizeof from, "%s/control.%020d-%010d.proposed", folder, 8, 1);
  snprintf(to, sizeof to, "%s/control.%020d-%010d.proposed", folder, 9, 1);
  assert_int_equal(rename(from, to), 0);
  assert_int_equal(settle(1, 9, 1, CNS_INCLUDED), 0);
  assert_true(present(1, 0) == 32);
  propose(1, 10, 1, 100);
  snprintf(from, sizeof from, "%s/control.%020d-%010d.proposed", folder, 10, 1);
  assert_int_equal(truncate(from, 50), 0);
  assert_int_equal(settle(1, 10, 1, CNS_INCLUDED), 0);
  assert_true(present(1, 0) == 32);
  snprintf(from, sizeof from, "%s/control.current", folder);
  FILE *file = fopen(from, "r+");
  assert_int_equal(fseek(file, -1, SEEK_END), 0);
  assert_int_equal(fputc(1, file), 1);
  assert_int_equal(fclose(file), 0);
  assert_true(present(1, CNS_CONTROL_LOST) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_moves_when_the_update_is_in_the_sum),
      cmocka_unit_test(the_attempt_that_came_to_a_result_counts),
      cmocka_unit_test(manifests_come_again_late_or_never),
      cmocka_unit_test(another_rounds_or_studys_or_a_damaged_proposal_doesnt_count),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
