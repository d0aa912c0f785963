/* SPDX-License-Identifier: Apache-2.0 */
/* Rosters that a coordinator passes on: the authority's signature and the version decide, not it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/agent_internal.h"
#include "tests/client/fake.h"

static const uint64_t seed = 926;
static struct fake *fake;
static struct cns_identity *authority;

static int setup(void **state) {
  const struct fake_options options = {.n = 5,
                                       .seed = seed,
                                       .model = "{\"kind\": \"logistic\"}",
                                       .training =
                                           "{\"rounds\": 4, \"local_epochs\": 1, \"learning_rate\": 0.1,"
                                           " \"momentum\": 0, \"batch\": 8, \"seed\": 1, \"clip_norm\": 2}"};
  char path[512];
  fake = fake_new(&options);
  fake_consent(fake, 0);
  fake_start(fake, 0);
  fake_until(fake, fake->peer[0].joined, 1);
  snprintf(path, sizeof path, "%s/../../authority/identity.key", fake->peer[0].kit);
  assert_int_equal(cns_identity_load(path, &authority, NULL), 0);
  return 0;
}

static int teardown(void **state) {
  authority = cns_identity_free(authority);
  fake_free(fake);
  return 0;
}

static void pass_on(const uint8_t *data, size_t len) {
  assert_int_equal(cns_link_send(fake->peer[0].link, CNS_WIRE_ROSTER, data, len), 0);
}

/* A link keeps its order: what was sent before is handled once an announcement is answered. */
static void assert_still_there(void) {
  struct cns_descriptor descriptor;
  int before = fake->peer[0].answers;
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 0, &descriptor);
  fake_until(fake, fake->peer[0].answers, before + 1);
  cns_descriptor_deinit(&descriptor);
}

/* The federation's roster with another version and end, signed by `signer`. malloc'd. */
static void sign(uint64_t version, int64_t longer, const struct cns_identity *signer, uint8_t **ret_data,
                 size_t *ret_len) {
  struct cns_roster roster = fake->kit.roster;
  struct cns_document document;
  roster.version = version;
  roster.valid_until += longer;
  assert_int_equal(cns_roster_to_document(&roster, &document), 0);
  assert_int_equal(cns_document_sign("roster", &document, "authority", signer), 0);
  assert_int_equal(cns_document_serialize("roster", &document, ret_data, ret_len), 0);
  cns_document_deinit(&document);
}

static void send_signed(uint64_t version, int64_t longer, const struct cns_identity *signer) {
  uint8_t *data = NULL;
  size_t len = 0;
  sign(version, longer, signer, &data, &len);
  pass_on(data, len);
  free(data);
}

static uint64_t held(void) {
  return cns_agent_roster_version(fake->peer[0].agent);
}

static void test_another_authoritys(void **state) {
  uint8_t bytes[32] = {9};
  struct cns_identity *stranger = NULL;
  assert_int_equal(cns_identity_from_seed(bytes, &stranger), 0);
  send_signed(2, 0, stranger);
  send_signed(2, 0, fake->kit.identity); /* the coordinator's own */
  assert_still_there();
  assert_int_equal(held(), 1);
  fake_expect_log(fake, 0, "the coordinator's roster is not taken over");
  cns_identity_free(stranger);
}

static void test_malformed(void **state) {
  uint8_t *data = NULL;
  size_t len = 0;
  sign(2, 0, authority, &data, &len);
  for (size_t cut = 0; cut < len; cut += len / 5 + 1)
    pass_on(data, cut);
  for (size_t at = 0; at < len; at += len / 7 + 1) {
    data[at] ^= 1;
    pass_on(data, len);
    data[at] ^= 1;
  }
  uint8_t *large = calloc(1, 1u << 20);
  assert_non_null(large);
  pass_on(large, 1u << 20);
  free(large);
  free(data);
  assert_still_there();
  assert_int_equal(held(), 1);
}

/* Newer, then older, then another one of the same version: the first stays. */
static void test_versions_only_grow(void **state) {
  char path[512];
  send_signed(3, 0, authority);
  fake_expect_log(fake, 0, "the roster has version 3 from the next round on");
  send_signed(2, 0, authority);
  send_signed(3, 0, authority);
  send_signed(3, 86400, authority);
  send_signed(5, 0, authority);
  fake_expect_log(fake, 0, "the roster has version 5 from the next round on");
  assert_int_equal(held(), 5);
  fake_expect_log(fake, 0, "version 2 is older than version 3");
  fake_expect_log(fake, 0, "there are two different rosters of version 3");
  snprintf(path, sizeof path, "%s/state/roster-fork-3.json", fake->peer[0].kit);
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, NULL), 0);
  free(data);
  /* Durable: the kit is loaded with the newest. */
  struct cns_kit kit = {0};
  assert_int_equal(cns_kit_load(fake->peer[0].kit, CNS_KIT_HOSPITAL, (int64_t)time(NULL), &kit, NULL), 0);
  assert_int_equal(kit.roster.version, 5);
  cns_kit_deinit(&kit);
}

/* A flood of refused rosters doesn't fill the log. */
static void test_a_flood_is_bounded(void **state) {
  uint8_t bytes[32] = {9};
  struct cns_identity *stranger = NULL;
  size_t lines;
  assert_int_equal(cns_identity_from_seed(bytes, &stranger), 0);
  uint8_t *data = NULL;
  size_t len = 0;
  sign(2, 0, stranger, &data, &len);
  for (int k = 0; k < 200; k++)
    pass_on(data, len);
  assert_still_there();
  lines = fake_count_log(fake, 0, "is not taken over");
  assert_in_range(lines, 1, CNS_AGENT_LINES_MAX);
  free(data);
  cns_identity_free(stranger);
}

/* It has revoked us, or has other keys of ours: said, and not taken over. */
static void test_one_without_us(void **state) {
  struct cns_roster roster = fake->kit.roster;
  struct cns_document document;
  uint8_t *data = NULL;
  size_t len = 0;
  for (int what = 0; what < 2; what++) {
    struct cns_roster_hospital *us = &roster.hospitals[0], before = *us;
    roster.version = 2;
    if (what == 0) us->revoked = true;
    if (what == 1) memset(us->identity.bytes, 0x42, sizeof us->identity.bytes);
    assert_int_equal(cns_roster_to_document(&roster, &document), 0);
    *us = before;
    assert_int_equal(cns_document_sign("roster", &document, "authority", authority), 0);
    assert_int_equal(cns_document_serialize("roster", &document, &data, &len), 0);
    cns_document_deinit(&document);
    pass_on(data, len);
    free(data);
  }
  assert_still_there();
  assert_int_equal(held(), 1);
  fake_expect_log(fake, 0, "has revoked this hospital");
  fake_expect_log(fake, 0, "another identity key for this hospital");
}

/* The clock is handed in; a later roster ends the warnings of the one before. */
static void test_expiry_is_logged(void **state) {
  const int64_t day = 86400, until = fake->kit.roster.valid_until;
  struct cns_agent *agent = fake->peer[0].agent;
  static const int64_t left[] = {61, 59, 58, 29, 28, 6, 5};
  for (size_t k = 0; k < sizeof left / sizeof *left; k++)
    cns_agent_look_at_expiry(agent, until - left[k] * day);
  fake_expect_log(fake, 0, "the roster expires in 59 days, on ");
  fake_expect_log(fake, 0, "the roster expires in 29 days, on ");
  fake_expect_log(fake, 0, "the roster expires in 6 days, on ");
  assert_int_equal(fake_count_log(fake, 0, "the roster expires in"), 3);
  fake_expect_log(fake, 0, "this hospital's certificate expires in 6 days, on ");
  fake_expect_log(fake, 0, "the policy has expired on ");
  cns_agent_look_at_expiry(agent, until + day);
  cns_agent_look_at_expiry(agent, until + 2 * day);
  assert_int_equal(fake_count_log(fake, 0, "the roster has expired on"), 1);
  send_signed(2, 365 * day, authority);
  fake_expect_log(fake, 0, "the roster has version 2 from the next round on");
  cns_agent_look_at_expiry(agent, until + 335 * day);
  fake_expect_log(fake, 0, "the roster expires in 30 days, on ");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_another_authoritys, setup, teardown),
      cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_versions_only_grow, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_flood_is_bounded, setup, teardown),
      cmocka_unit_test_setup_teardown(test_one_without_us, setup, teardown),
      cmocka_unit_test_setup_teardown(test_expiry_is_logged, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
