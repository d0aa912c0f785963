/* SPDX-License-Identifier: Apache-2.0 */
/* What is looked at before a daemon is started, with a clock that is handed in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/kit.h"
#include "cli/preflight.h"

#define DAY INT64_C(86400)
#define YEAR (365 * DAY)
#define HOSPITAL "f/hospitals/a"

/* The files that are made have the real time. */
static int64_t now_real;

static const char *const names[] = {"a", "b", "c", "d", "e"};

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
  return remove(path);
}

static int leave_folder(void **state) {
  int r = chdir("/") || nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  free(*state);
  return r;
}

static const char study_text[] =
    "{\"name\":\"trial\",\"version\":1,\"task\":\"classification\",\"label\":{\"column\":\"y\",\"classes\":["
    "\"a\","
    "\"b\"]},\"patient_id\":\"id\",\"features\":[{\"name\":\"x\",\"min\":0,\"max\":1,\"missing\":\"drop\"}],"
    "\"model\":{\"kind\":\"logistic\"},\"training\":{\"rounds\":1,\"local_epochs\":1,\"learning_rate\":0.1,"
    "\"momentum\":0,\"batch\":4,\"seed\":1,\"clip_norm\":2.5},\"initial_model\":{\"seed\":1},"
    "\"weighting\":\"equal\",\"validation_share\":0.1}";

static void write_text(const char *path, const char *text) {
  assert_int_equal(cns_file_write(path, text, strlen(text), 0600, NULL), 0);
}

static int enter_folder(void **state) {
  char *folder = strdup("/tmp/cns-preflight-XXXXXX");
  struct cns_identity_public authority;
  struct cns_problem problem = {0};
  if (!folder || !mkdtemp(folder) || chdir(folder) != 0) return -1;
  *state = folder;
  write_text("study.json", study_text);
  struct cns_federation_options options = {
      .study_path = "study.json", .names = names, .name_count = 5, .now_seconds = now_real};
  int r = cns_kit_create_federation("f", &options, &authority, &problem);
  if (r) fail_msg("%s", problem.text);
  write_text(HOSPITAL "/data.csv", "id,x,y\n1,0.5,a\n2,0.25,b\n3,0.75,a\n");
  return 0;
}

/* Nothing over the network: that has tests of its own, between processes. */
static struct cns_preflight *run(const char *folder, int64_t now) {
  const struct cns_preflight_options options = {.folder = folder, .now_seconds = now, .offline = true};
  struct cns_preflight *p = calloc(1, sizeof *p);
  assert_non_null(p);
  cns_preflight_run(&options, p);
  return p;
}

static bool finds(const struct cns_preflight *p, const char *check, enum cns_finding_state state,
                  const char *word) {
  for (size_t k = 0; k < p->count; k++)
    if (strcmp(p->findings[k].check, check) == 0 && p->findings[k].state == state &&
        strstr(p->findings[k].what, word))
      return true;
  return false;
}

static void done(struct cns_preflight *p) {
  cns_preflight_deinit(p);
  free(p);
}

static void expect(const char *folder, int64_t now, const char *check, enum cns_finding_state state,
                   const char *word) {
  struct cns_preflight *p = run(folder, now);
  if (!finds(p, check, state, word)) {
    cns_preflight_print(p, stderr);
    fail_msg("%s: no finding %d of \"%s\" with '%s'", folder, state, check, word);
  }
  for (size_t k = 0; k < p->count; k++)
    if (p->findings[k].state == CNS_FINDING_PROBLEM && !p->findings[k].mend[0])
      fail_msg("no mend for '%s'", p->findings[k].what);
  done(p);
}

static void a_new_kit_lacks_consent_only(void **state) {
  (void)state;
  struct cns_preflight *p = run(HOSPITAL, now_real);
  assert_true(finds(p, "consent", CNS_FINDING_PROBLEM, "nobody has consented"));
  assert_true(finds(p, "data", CNS_FINDING_OK, "of 3 patients"));
  assert_int_equal(p->problems, 1);
  done(p);
  p = run("f/coordinator", now_real);
  if (p->problems) cns_preflight_print(p, stderr);
  assert_int_equal(p->problems, 0);
  assert_int_equal(p->warnings, 0);
  done(p);
}

static void the_clock_is_compared_with_the_documents(void **state) {
  (void)state;
  expect(HOSPITAL, now_real, "clock", CNS_FINDING_OK, "UTC");
  expect(HOSPITAL, now_real - 2 * YEAR, "clock", CNS_FINDING_PROBLEM, "before the roster was issued");
  expect("f/coordinator", now_real - 7200, "clock", CNS_FINDING_PROBLEM, "before the roster was issued");
  expect(HOSPITAL, now_real - 2 * YEAR, "clock", CNS_FINDING_WARNING, "the kit has a file of");
  expect(HOSPITAL, now_real + 3 * YEAR, "clock", CNS_FINDING_WARNING, "is that the time?");
}

static void what_expires_is_warned_of(void **state) {
  (void)state;
  int64_t certificate = now_real + CNS_CERTIFICATE_SECONDS, policy = now_real + CNS_POLICY_SECONDS;
  expect(HOSPITAL, now_real, "certificate", CNS_FINDING_OK, "days");
  expect(HOSPITAL, certificate - 59 * DAY, "certificate", CNS_FINDING_WARNING, "less than 60 days (59)");
  expect(HOSPITAL, certificate - 29 * DAY, "certificate", CNS_FINDING_WARNING, "less than 30 days (29)");
  expect(HOSPITAL, certificate - 6 * DAY, "certificate", CNS_FINDING_WARNING, "less than 7 days (6)");
  expect(HOSPITAL, certificate + 1, "certificate", CNS_FINDING_PROBLEM, "past its date");
  expect("f/coordinator", certificate + 1, "roster", CNS_FINDING_PROBLEM, "past its date");
  expect(HOSPITAL, policy - 6 * DAY, "policy", CNS_FINDING_WARNING, "less than 7 days (6)");
  expect(HOSPITAL, policy + 1, "policy", CNS_FINDING_PROBLEM, "past its date");
}

static void modes_and_missing_files(void **state) {
  (void)state;
  assert_int_equal(chmod(HOSPITAL "/identity.key", 0644), 0);
  assert_int_equal(chmod(HOSPITAL "/tls.key", 0640), 0);
  assert_int_equal(chmod(HOSPITAL, 0777), 0);
  struct cns_preflight *p = run(HOSPITAL, now_real);
  assert_true(finds(p, "keys", CNS_FINDING_PROBLEM, "identity.key"));
  assert_true(finds(p, "keys", CNS_FINDING_PROBLEM, "tls.key"));
  assert_true(finds(p, "kit", CNS_FINDING_PROBLEM, "others than its owner can change"));
  done(p);
  assert_int_equal(chmod(HOSPITAL, 0755), 0);
  expect(HOSPITAL, now_real, "kit", CNS_FINDING_WARNING, "can look into");
  assert_int_equal(unlink(HOSPITAL "/policy.json"), 0);
  assert_int_equal(unlink(HOSPITAL "/tls.crt"), 0);
  expect(HOSPITAL, now_real, "policy", CNS_FINDING_PROBLEM, "policy.json");
  expect(HOSPITAL, now_real, "certificate", CNS_FINDING_PROBLEM, "tls.crt");
  expect(HOSPITAL, now_real, "member", CNS_FINDING_SKIPPED, "not checked");
  expect("f/hospitals", now_real, "kit", CNS_FINDING_PROBLEM, "none of a kit's files");
  expect("nowhere", now_real, "kit", CNS_FINDING_PROBLEM, "No such file");
  assert_int_equal(unlink(HOSPITAL "/config.json"), 0);
  expect(HOSPITAL, now_real, "config", CNS_FINDING_PROBLEM, "config.json");
}

static void copy(const char *from, const char *to) {
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_file_read(from, CNS_JSON_BYTES_MAX, &data, &len, NULL), 0);
  assert_int_equal(cns_file_write(to, data, len, 0600, NULL), 0);
  free(data);
}

/* Of another federation, and of another party of this one. */
static void files_that_dont_belong_together(void **state) {
  (void)state;
  struct cns_identity_public authority;
  struct cns_problem problem = {0};
  struct cns_federation_options options = {
      .study_path = "study.json", .names = names, .name_count = 5, .now_seconds = now_real};
  if (cns_kit_create_federation("g", &options, &authority, &problem)) fail_msg("%s", problem.text);
  copy("g/coordinator/roster.json", HOSPITAL "/roster.json");
  expect(HOSPITAL, now_real, "roster", CNS_FINDING_PROBLEM, "roster.json");
  expect(HOSPITAL, now_real, "policy", CNS_FINDING_SKIPPED, "not checked");
  expect(HOSPITAL, now_real, "study", CNS_FINDING_OK, "signed by the authority");
  copy("g/coordinator/study.json", HOSPITAL "/study.json");
  expect(HOSPITAL, now_real, "study", CNS_FINDING_PROBLEM, "study.json");
  copy("f/hospitals/c/identity.key", "f/hospitals/b/identity.key");
  expect("f/hospitals/b", now_real, "member", CNS_FINDING_PROBLEM, "another identity");
  copy("f/hospitals/c/tls.key", "f/hospitals/d/tls.key");
  expect("f/hospitals/d", now_real, "keys", CNS_FINDING_PROBLEM, "isn't the key of the certificate");
  copy("f/hospitals/c/tls.crt", "f/hospitals/d/tls.crt");
  expect("f/hospitals/d", now_real, "member", CNS_FINDING_PROBLEM, "pins another key");
}

static void tables_that_dont_fit(void **state) {
  (void)state;
  const char *path = HOSPITAL "/data.csv";
  write_text(path, "id,z,y\n1,0.5,a\n");
  expect(HOSPITAL, now_real, "data", CNS_FINDING_PROBLEM, "\"x\"");
  write_text(path, "id,x,y\n1,0.123456,a\n2,secret-text,b\n");
  expect(HOSPITAL, now_real, "data", CNS_FINDING_PROBLEM, "row 2");
  struct cns_preflight *p = run(HOSPITAL, now_real);
  assert_false(finds(p, "data", CNS_FINDING_PROBLEM, "secret-text"));
  done(p);
  write_text(path, "id,x,y\n1,0.123456,c\n");
  expect(HOSPITAL, now_real, "data", CNS_FINDING_PROBLEM, "row 1");
  assert_int_equal(unlink(path), 0);
  expect(HOSPITAL, now_real, "data", CNS_FINDING_PROBLEM, "data.csv");
  expect(HOSPITAL, now_real, "consent", CNS_FINDING_PROBLEM, "nobody has consented");
  write_text(path, "id,x,y\n1,0.5,a\n2,0.25,b\n");
  assert_int_equal(chmod(path, 0644), 0);
  expect(HOSPITAL, now_real, "data", CNS_FINDING_WARNING, "everybody on this machine");
}

static void everything_is_said_in_one_run(void **state) {
  (void)state;
  assert_int_equal(chmod(HOSPITAL "/identity.key", 0644), 0);
  write_text(HOSPITAL "/policy.json", "{}");
  write_text(HOSPITAL "/data.csv", "id,z,y\n1,0.5,a\n");
  struct cns_preflight *p = run(HOSPITAL, now_real + 3 * YEAR);
  assert_true(finds(p, "keys", CNS_FINDING_PROBLEM, "identity.key"));
  assert_true(finds(p, "policy", CNS_FINDING_PROBLEM, "policy.json"));
  assert_true(finds(p, "data", CNS_FINDING_PROBLEM, "\"x\""));
  assert_true(finds(p, "certificate", CNS_FINDING_PROBLEM, "past its date"));
  assert_true(finds(p, "roster", CNS_FINDING_PROBLEM, "past its date"));
  assert_int_equal(p->problems, 5);
  cJSON *json = cns_preflight_json(p);
  assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(json, "passed")));
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "checks")), p->count);
  cJSON_Delete(json);
  done(p);
}

int main(void) {
  if (cns_init()) return 1;
  now_real = (int64_t)time(NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_kit_lacks_consent_only, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(the_clock_is_compared_with_the_documents, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(what_expires_is_warned_of, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(modes_and_missing_files, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(files_that_dont_belong_together, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(tables_that_dont_fit, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(everything_is_said_in_one_run, enter_folder, leave_folder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
