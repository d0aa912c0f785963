/* SPDX-License-Identifier: Apache-2.0 */
/* A hospital takes a looser policy only with the authority's signature too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/consent.h"
#include "client/site.h"
#include "store/policy_record.h"
#include "tests/client/fake.h"

static struct fake *fake;
static struct cns_problem problem;

static int setup(void **state) {
  const struct fake_options options = {.n = 4,
                                       .seed = 7,
                                       .model = "{\"kind\": \"logistic\"}",
                                       .training =
                                           "{\"rounds\": 4, \"local_epochs\": 1, \"learning_rate\": 0.1,"
                                           " \"momentum\": 0, \"batch\": 8, \"seed\": 1, \"clip_norm\": 2}"};
  fake = fake_new(&options);
  return 0;
}

static int teardown(void **state) {
  fake_free(fake);
  return 0;
}

static char *path_of(const char *folder, const char *name) {
  static char path[400];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void sign(struct cns_document *document, const char *who, const char *role) {
  char path[400];
  struct cns_identity *identity = NULL;
  snprintf(path, sizeof path, "%s/federation/%s/identity.key", fake->folder, who);
  assert_int_equal(cns_identity_load(path, &identity, NULL), 0);
  assert_int_equal(cns_document_sign("policy", document, role, identity), 0);
  cns_identity_free(identity);
}

/* Another version in the hospital's kit: the coordinator's, with another end. */
static void put(uint64_t version, int64_t later_seconds, const char *other, const char *role) {
  struct cns_policy policy = fake->kit.policy;
  struct cns_document document;
  uint8_t *data = NULL;
  size_t len = 0;
  policy.version = version;
  policy.valid_until += later_seconds;
  assert_int_equal(cns_policy_to_document(&policy, &document), 0);
  sign(&document, "officer", "officer");
  if (other) sign(&document, other, role);
  assert_int_equal(cns_document_serialize("policy", &document, &data, &len), 0);
  assert_int_equal(cns_file_write(path_of(fake->peer[0].kit, "policy.json"), data, len, 0644, NULL), 0);
  cns_document_deinit(&document);
  free(data);
}

static int open_site(void) {
  struct cns_site site;
  memset(&problem, 0, sizeof problem);
  int r = cns_site_open(fake->peer[0].kit, &site, &problem);
  if (!r) cns_site_deinit(&site);
  return r;
}

static void refused(const char *sentence) {
  assert_int_equal(open_site(), CNS_ERR_REFUSED);
  if (!strstr(problem.text, sentence)) fail_msg("'%s' is not in '%s'", sentence, problem.text);
}

static void the_first_policy_and_tighter_ones_need_an_officer(void **state) {
  assert_int_equal(open_site(), 0);
  assert_int_equal(open_site(), 0);
  put(2, -100, NULL, NULL);
  assert_int_equal(open_site(), 0);
  put(5, -100, NULL, NULL);
  assert_int_equal(open_site(), 0);
}

static void a_looser_one_needs_the_authority(void **state) {
  assert_int_equal(open_site(), 0);
  put(2, 100, NULL, NULL);
  refused("policy version 2 needs the authority's signature");
  refused("the policy ends later");
  put(2, 100, "officer", "authority"); /* whoever says so isn't it */
  refused("needs the authority's signature");
  put(2, 100, "authority", "officer");
  refused("needs the authority's signature");
  put(2, 100, "authority", "authority");
  assert_int_equal(open_site(), 0);
  /* From there on it is what others are compared with, and lower versions are refused. */
  put(3, 100, NULL, NULL);
  assert_int_equal(open_site(), 0);
  put(2, 100, "authority", "authority");
  refused("older than version 3");
}

static void a_consent_can_be_taken_back_under_a_policy_that_is_refused(void **state) {
  fake_consent(fake, 0);
  put(2, 100, NULL, NULL);
  refused("needs the authority's signature");
  assert_int_equal(cns_client_consent_withdraw(fake->peer[0].kit, &problem), 0);
  refused("needs the authority's signature");
}

/* Also where a tighter one in between was never seen here. */
static void what_was_refused_is_not_compared_with(void **state) {
  assert_int_equal(open_site(), 0);
  put(2, 100, NULL, NULL);
  refused("needs the authority's signature");
  put(3, 50, NULL, NULL);
  refused("instead of");
  put(4, 0, NULL, NULL);
  assert_int_equal(open_site(), 0);
}

static void what_is_kept_must_be_what_was_accepted(void **state) {
  const char *kept = "state/policy.accepted.json";
  assert_int_equal(open_site(), 0);
  /* A looser policy in its place doesn't help. */
  put(1, 1000, NULL, NULL);
  char from[400], to[400];
  snprintf(from, sizeof from, "%s", path_of(fake->peer[0].kit, "policy.json"));
  snprintf(to, sizeof to, "%s", path_of(fake->peer[0].kit, kept));
  assert_int_equal(rename(from, to), 0);
  put(2, 100, NULL, NULL);
  refused("isn't kept in the state folder any more");
  assert_int_equal(unlink(to), 0);
  refused("isn't kept in the state folder any more");
  put(2, 100, "authority", "authority");
  assert_int_equal(open_site(), 0);
  /* And a missing one comes back as long as nothing has changed. */
  assert_int_equal(unlink(to), 0);
  assert_int_equal(open_site(), 0);
  put(3, 100, NULL, NULL);
  assert_int_equal(open_site(), 0);
}

/* The coordinator says at its start what hospitals would decline each round with. */
static void the_coordinator_says_it_first(void **state) {
  struct cns_kit kit = {0};
  const char *folder = fake->peer[0].kit; /* as good as any */
  put(1, 0, NULL, NULL);
  for (uint64_t version = 1; version <= 3; version++) {
    put(version, version == 2 ? 100 : 0, NULL, NULL);
    memset(&problem, 0, sizeof problem);
    assert_int_equal(cns_kit_load(folder, CNS_KIT_HOSPITAL, time(NULL), &kit, &problem), 0);
    int r = cns_policy_record_accept(fake->folder, &kit, &problem);
    assert_int_equal(r, version == 2 ? CNS_ERR_REFUSED : 0);
    if (r && !strstr(problem.text, "needs the authority's signature")) fail_msg("'%s'", problem.text);
    cns_kit_deinit(&kit);
  }
  put(2, 100, "authority", "authority");
  assert_int_equal(cns_kit_load(folder, CNS_KIT_HOSPITAL, time(NULL), &kit, &problem), 0);
  assert_int_equal(cns_policy_record_accept(fake->folder, &kit, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "can't follow version 3"));
  cns_kit_deinit(&kit);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(the_first_policy_and_tighter_ones_need_an_officer),
      TEST(a_looser_one_needs_the_authority),
      TEST(a_consent_can_be_taken_back_under_a_policy_that_is_refused),
      TEST(what_was_refused_is_not_compared_with),
      TEST(what_is_kept_must_be_what_was_accepted),
      TEST(the_coordinator_says_it_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
