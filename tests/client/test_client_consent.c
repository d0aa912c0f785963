/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent asks for before it speaks to anybody: a table, a consent that
 * fits, documents that aren't older than those seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client/consent.h"
#include "client/site.h"
#include "tests/client/fake.h"

static struct fake *fake;
static struct cns_problem problem;

static int setup(void **state) {
  (void)state;
  const struct fake_options options = {.n = 4,
                                       .seed = 42,
                                       .model = "{\"kind\": \"logistic\"}",
                                       .training =
                                           "{\"rounds\": 4, \"local_epochs\": 1, \"learning_rate\": 0.1,"
                                           " \"momentum\": 0, \"batch\": 8, \"seed\": 1, \"clip_norm\": 2}"};
  fake = fake_new(&options);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  fake_free(fake);
  return 0;
}

static int try_start(void) {
  struct cns_agent *agent = NULL;
  const struct cns_agent_options options = {.kit_folder = fake->peer[0].kit,
                                            .address = cns_listener_url(fake->listener)};
  FILE *log = tmpfile();
  const struct cns_agent_host host = {.loop = fake->loop, .log = log, .times = {.linger_ms = 100}};
  memset(&problem, 0, sizeof problem);
  int r = cns_agent_new(&options, &host, &agent, &problem);
  if (!r) cns_agent_free(agent);
  uv_run(&fake->uv, UV_RUN_NOWAIT);
  fclose(log);
  return r;
}

static int answer(void *context, const char *text) {
  assert_non_null(strstr(text, "STUDY \"tiny\""));
  assert_non_null(strstr(text, "24 rows of 24 patients"));
  assert_non_null(strstr(text, "Policy of the consortium"));
  assert_non_null(strstr(text, "you have about 25 patients"));
  return *(int *)context;
}

static int consent(int agreed, bool yes) {
  struct cns_client_consent_result result = {0};
  const struct cns_client_consent_options options = {
      .kit_folder = fake->peer[0].kit, .assume_yes = yes, .ask = answer, .context = &agreed};
  memset(&problem, 0, sizeof problem);
  int r = cns_client_consent(&options, &result, &problem);
  if (!r) assert_int_equal(result.consent.patients, 25); /* goes to the coordinator: never the exact number */
  if (!r) assert_int_equal(result.weight, cns_policy_weight(&fake->kit.policy, 24));
  free(result.text);
  return r;
}

static void nothing_without_consent(void **state) {
  (void)state;
  assert_int_equal(try_start(), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "run: consilium consent"));
  assert_int_equal(consent(CNS_ERR_CANCELLED, false), CNS_ERR_CANCELLED);
  assert_int_equal(try_start(), CNS_ERR_REFUSED);
  assert_int_equal(consent(0, false), 0);
  assert_int_equal(try_start(), 0);
  assert_int_equal(cns_client_consent_withdraw(fake->peer[0].kit, &problem), 0);
  assert_int_equal(cns_client_consent_withdraw(fake->peer[0].kit, &problem), 0);
  assert_int_equal(try_start(), CNS_ERR_REFUSED);
  assert_int_equal(consent(0, true), 0);
  assert_int_equal(try_start(), 0);
}

static void write_table(const char *text) {
  char path[300];
  snprintf(path, sizeof path, "%s/data.csv", fake->peer[0].kit);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static void another_number_of_patients_needs_a_new_consent(void **state) {
  (void)state;
  assert_int_equal(consent(0, true), 0);
  write_table("pid,age,marker,grade\na,3,0.5,low\nb,90,0.5,high\nc,80,0.1,high\n");
  assert_int_equal(try_start(), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "another number of patients"));
}

static void a_table_that_does_not_fit_is_told_before_connecting(void **state) {
  (void)state;
  assert_int_equal(consent(0, true), 0);
  write_table("pid,age,grade\na,3,low\nb,90,high\n");
  assert_int_equal(try_start(), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "marker"));
  write_table("");
  assert_true(try_start() < 0);
  assert_true(problem.text[0] != '\0');
  assert_int_equal(fake->peer[0].opened, 0);
}

static void older_documents_are_refused(void **state) {
  (void)state;
  struct cns_site site;
  struct cns_digest digest;
  assert_int_equal(consent(0, true), 0);
  if (cns_site_open(fake->peer[0].kit, &site, &problem)) fail_msg("%s", problem.text);
  cns_hash_once("consilium/1 test digest", "newer", 5, &digest);
  assert_int_equal(cns_hospital_store_accept_version(site.store, "policy", 2, &digest, &problem), 0);
  cns_site_deinit(&site);
  assert_int_equal(try_start(), CNS_ERR_REFUSED);
  assert_int_equal(consent(0, true), CNS_ERR_REFUSED);
}

static void an_agent_leaves_no_core_file(void **state) {
  (void)state;
  struct rlimit limit;
  const struct cns_agent_options options = {.kit_folder = "no such kit"};
  memset(&problem, 0, sizeof problem);
  assert_int_equal(cns_agent_run(&options, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "no such kit"));
  assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
  assert_int_equal(limit.rlim_cur, 0);
  assert_int_equal(limit.rlim_max, 0);
}

static void one_agent_a_kit(void **state) {
  (void)state;
  fake_consent(fake, 0);
  fake_start(fake, 0);
  assert_int_equal(try_start(), CNS_ERR_STATE);
  assert_true(problem.text[0] != '\0');
  assert_true(consent(0, true) < 0);
  fake_until(fake, fake->peer[0].joined, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(nothing_without_consent),
      TEST(another_number_of_patients_needs_a_new_consent),
      TEST(a_table_that_does_not_fit_is_told_before_connecting),
      TEST(older_documents_are_refused),
      TEST(an_agent_leaves_no_core_file),
      TEST(one_agent_a_kit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
