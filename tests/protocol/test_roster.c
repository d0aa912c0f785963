/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/roster.h"

#define FROM INT64_C(1795341600)
#define UNTIL (FROM + INT64_C(86400) * 730)

static struct cns_identity *authority;

static int set_up(void **state) {
  uint8_t seed[32] = {1};
  return cns_identity_from_seed(seed, &authority);
}

static int tear_down(void **state) {
  authority = cns_identity_free(authority);
  return 0;
}

/* A roster of `count` hospitals with made-up keys. */
static struct cns_roster make(size_t count) {
  struct cns_roster roster = {
      .consortium = "Heart study", .version = 3, .valid_from = FROM, .valid_until = UNTIL};
  snprintf(roster.authority.name, sizeof roster.authority.name, "authority");
  roster.authority.identity = *cns_identity_get_public(authority);
  snprintf(roster.coordinator.name, sizeof roster.coordinator.name, "coordinator");
  memset(roster.coordinator.identity.bytes, 0xC0, 32);
  memset(roster.coordinator_pin.bytes, 0xC1, 32);
  snprintf(roster.address, sizeof roster.address, "tls+tcp://127.0.0.1:7443");
  roster.officer_count = 1;
  snprintf(roster.officers[0].name, sizeof roster.officers[0].name, "Dr. Ad\xc3\xa8le Byron");
  memset(roster.officers[0].identity.bytes, 0xF0, 32);
  roster.hospitals = calloc(count ? count : 1, sizeof *roster.hospitals);
  assert_non_null(roster.hospitals);
  for (size_t i = 0; i < count; i++) {
    struct cns_roster_hospital *hospital = &roster.hospitals[roster.hospital_count++];
    hospital->index = (uint16_t)(i + 1);
    snprintf(hospital->name, sizeof hospital->name, "hospital-%zu", i + 1);
    memcpy(hospital->identity.bytes, &hospital->index, 2);
    memcpy(hospital->pin.bytes, &hospital->index, 2);
  }
  return roster;
}

static void serialize(struct cns_document *document, uint8_t **ret_data, size_t *ret_len) {
  assert_int_equal(cns_document_sign("roster", document, "authority", authority), 0);
  assert_int_equal(cns_document_serialize("roster", document, ret_data, ret_len), 0);
  cns_document_deinit(document);
}

static void sign(const struct cns_roster *roster, uint8_t **ret_data, size_t *ret_len) {
  struct cns_document document;
  assert_int_equal(cns_roster_to_document(roster, &document), 0);
  serialize(&document, ret_data, ret_len);
}

static int open_signed(const uint8_t *data, size_t len, struct cns_problem *problem) {
  struct cns_roster back;
  int r = cns_roster_open(data, len, "roster.json", cns_identity_get_public(authority), &back, problem);
  if (!r) cns_roster_deinit(&back);
  return r;
}

static void what_is_written_is_read(void **state) {
  static const size_t counts[] = {0, 1, 5, CNS_HOSPITALS_MAX};
  for (size_t i = 0; i < 4; i++) {
    struct cns_roster roster = make(counts[i]), back;
    uint8_t *data = NULL;
    size_t len = 0;
    if (counts[i] == 5) {
      roster.hospitals[1].revoked = true;
      roster.hospitals[4].index = 900; /* indices are for life, so they may have gaps */
    }
    sign(&roster, &data, &len);
    struct cns_problem problem = {0};
    if (cns_roster_open(data, len, "roster.json", cns_identity_get_public(authority), &back, &problem))
      fail_msg("%s", problem.text);
    assert_string_equal(back.consortium, roster.consortium);
    assert_int_equal(back.version, 3);
    assert_int_equal(back.valid_from, FROM);
    assert_int_equal(back.valid_until, UNTIL);
    assert_memory_equal(&back.authority.identity, &roster.authority.identity, 32);
    assert_string_equal(back.coordinator.name, "coordinator");
    assert_memory_equal(&back.coordinator.identity, &roster.coordinator.identity, 32);
    assert_memory_equal(&back.coordinator_pin, &roster.coordinator_pin, 32);
    assert_string_equal(back.address, roster.address);
    assert_int_equal(back.officer_count, 1);
    assert_string_equal(back.officers[0].name, roster.officers[0].name);
    assert_int_equal(back.hospital_count, counts[i]);
    assert_int_equal(cns_roster_active_count(&back), counts[i] == 5 ? 4 : counts[i]);
    for (size_t j = 0; j < counts[i]; j++) {
      const struct cns_roster_hospital *a = &roster.hospitals[j], *b = &back.hospitals[j];
      assert_true(a->index == b->index && a->revoked == b->revoked && strcmp(a->name, b->name) == 0);
      assert_memory_equal(&a->identity, &b->identity, 32);
      assert_memory_equal(&a->pin, &b->pin, 32);
      assert_ptr_equal(cns_roster_find(&back, a->index), b);
      assert_ptr_equal(cns_roster_find_name(&back, a->name), b);
      assert_ptr_equal(cns_roster_find_identity(&back, &a->identity), b);
    }
    assert_null(cns_roster_find(&back, 0));
    assert_null(cns_roster_find(&back, 1001));
    assert_null(cns_roster_find_name(&back, "hospital"));
    assert_null(cns_roster_find_identity(&back, &back.coordinator.identity));
    cns_roster_deinit(&back);
    cns_roster_deinit(&roster);
    free(data);
  }
}

static void only_the_authority_counts(void **state) {
  struct cns_roster roster = make(4), back;
  struct cns_document document;
  uint8_t *data = NULL, seed[32] = {2};
  size_t len = 0;
  struct cns_identity *stranger = NULL;
  struct cns_problem problem = {0};
  assert_int_equal(cns_identity_from_seed(seed, &stranger), 0);
  sign(&roster, &data, &len);
  assert_int_equal(
      cns_roster_open(data, len, "roster.json", cns_identity_get_public(stranger), &back, &problem),
      CNS_ERR_SIGNATURE);
  free(data);
  /* A stranger's roster that names the authority, and one that names the stranger. */
  assert_int_equal(cns_roster_to_document(&roster, &document), 0);
  assert_int_equal(cns_document_sign("roster", &document, "authority", stranger), 0);
  assert_int_equal(cns_document_serialize("roster", &document, &data, &len), 0);
  cns_document_deinit(&document);
  assert_int_equal(open_signed(data, len, &problem), CNS_ERR_SIGNATURE);
  assert_int_equal(cns_roster_open(data, len, "roster.json", NULL, &back, &problem), CNS_ERR_SIGNATURE);
  free(data);
  roster.authority.identity = *cns_identity_get_public(stranger);
  sign(&roster, &data, &len);
  assert_int_equal(open_signed(data, len, &problem), CNS_ERR_SIGNATURE);
  assert_non_null(strstr(problem.text, "another authority"));
  free(data);
  /* The authority's signature under another role isn't one as authority. */
  assert_int_equal(cns_roster_to_document(&roster, &document), 0);
  assert_int_equal(cns_document_sign("roster", &document, "officer", authority), 0);
  assert_int_equal(cns_document_serialize("roster", &document, &data, &len), 0);
  cns_document_deinit(&document);
  assert_int_equal(open_signed(data, len, &problem), CNS_ERR_SIGNATURE);
  free(data);
  cns_roster_deinit(&roster);
  cns_identity_free(stranger);
}

static void any_changed_byte_is_refused(void **state) {
  struct cns_roster roster = make(2);
  uint8_t *data = NULL;
  size_t len = 0;
  sign(&roster, &data, &len);
  for (size_t i = 0; i < len; i++) {
    for (unsigned bit = 0; bit < 8; bit += 3) {
      data[i] ^= (uint8_t)(1u << bit);
      if (open_signed(data, len, NULL) == 0) fail_msg("byte %zu bit %u", i, bit);
      data[i] ^= (uint8_t)(1u << bit);
    }
  }
  for (size_t cut = 0; cut < len; cut++)
    assert_int_not_equal(open_signed(data, cut, NULL), 0);
  assert_int_equal(open_signed(data, len, NULL), 0);
  free(data);
  cns_roster_deinit(&roster);
}

/* Signed by the right authority and still wrong: the first `from` in the
 * payload becomes `to`. */
static void refuse_edit(const char *from, const char *to, const char *sentence) {
  struct cns_roster roster = make(3);
  struct cns_document document;
  struct cns_problem problem = {0};
  cJSON *json = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  char text[8192];
  assert_int_equal(cns_roster_to_document(&roster, &document), 0);
  const char *found = strstr(document.payload, from);
  if (!found) fail_msg("'%s' is not in the payload", from);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(found - document.payload), document.payload, to,
           found + strlen(from));
  cns_document_deinit(&document);
  if (cns_json_parse(text, strlen(text), "edit", &json, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_document_from_json("roster", json, &document), 0);
  cJSON_Delete(json);
  serialize(&document, &data, &len);
  assert_true(open_signed(data, len, &problem) < 0);
  if (!strstr(problem.text, sentence) || !strstr(problem.text, "roster.json"))
    fail_msg("expected '%s' in '%s'", sentence, problem.text);
  free(data);
  cns_roster_deinit(&roster);
}

static void every_field_is_checked(void **state) {
  refuse_edit("\"version\": 3", "\"version\": 0", "version is 0");
  refuse_edit("\"version\": 3", "\"version\": \"3\"", "version is a string");
  refuse_edit("\"version\": 3", "\"version\": 3, \"extra\": 1", "extra is not a known field");
  refuse_edit("\"Heart study\"", "\"\"", "consortium must be");
  refuse_edit("\"Heart study\"", "\"a\\u001bb\"", "consortium must be");
  refuse_edit("\"Heart study\"", "\"a\\u009bb\"", "consortium must be");
  refuse_edit("\"Heart study\"", "\"  \"", "consortium must be");
  refuse_edit("\"valid_until\": \"2028", "\"valid_until\": \"2025", "later than valid_from");
  refuse_edit("tls+tcp://127.0.0.1:7443", "http://example", "not an address");
  refuse_edit("tls+tcp://127.0.0.1:7443", "tls+tcp://", "not an address");
  refuse_edit("tls+tcp://127.0.0.1:7443", "tcp://10.0.0.1:1", "loopback");
  refuse_edit("tls+tcp://127.0.0.1:7443", "tls+tcp://a b", "spaces");
  refuse_edit("\"hospital-2\"", "\"Hospital-2\"", "hospitals[1].name");
  refuse_edit("\"hospital-2\"", "\"../etc\"", "hospitals[1].name");
  refuse_edit("\"hospital-2\"", "\"..\"", "hospitals[1].name");
  refuse_edit("\"hospital-2\"", "\"hospital-1\"", "same name");
  refuse_edit("\"hospital-2\"", "\"abcdefghijklmnopqrstuvwxyz0123456\"", "hospitals[1].name");
  refuse_edit("\"index\": 2", "\"index\": 1", "sorted by index");
  refuse_edit("\"index\": 1", "\"index\": 0", "hospitals[0].index is 0");
  refuse_edit("\"index\": 3", "\"index\": 1001", "hospitals[2].index");
  refuse_edit("\"index\": 1", "\"index\": 1.5", "whole number");
  refuse_edit("\"revoked\": false", "\"revoked\": 0", "hospitals[0].revoked");
  refuse_edit("\"identity\": \"0200", "\"identity\": \"0100", "same identity");
  refuse_edit("\"identity\": \"0200", "\"identity\": \"02", "hospitals[1].identity");
  refuse_edit("\"tls\": \"0200", "\"tls\": \"0100", "same tls key");
  refuse_edit("f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0",
              "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", "same identity");
  refuse_edit("c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0",
              "0200000000000000000000000000000000000000000000000000000000000000",
              "hospital 2 have the same identity");
  refuse_edit("c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1",
              "0200000000000000000000000000000000000000000000000000000000000000", "coordinator's tls key");
}

static void too_many_are_refused(void **state) {
  struct cns_roster roster = make(CNS_HOSPITALS_MAX + 1);
  uint8_t *data = NULL;
  size_t len = 0;
  struct cns_problem problem = {0};
  sign(&roster, &data, &len);
  assert_int_equal(open_signed(data, len, &problem), CNS_ERR_LIMIT);
  assert_non_null(strstr(problem.text, "1001"));
  free(data);
  roster.hospital_count = 3;
  roster.officer_count = 0;
  sign(&roster, &data, &len);
  assert_int_equal(open_signed(data, len, &problem), CNS_ERR_FORMAT);
  free(data);
  cns_roster_deinit(&roster);
}

static void the_clock_decides_validity(void **state) {
  struct cns_roster roster = make(0);
  struct cns_problem problem = {0};
  assert_int_equal(cns_roster_check_time(&roster, FROM, NULL), 0);
  assert_int_equal(cns_roster_check_time(&roster, UNTIL - 1, NULL), 0);
  assert_int_equal(cns_roster_check_time(&roster, FROM - 1, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "2026-11-22 10:00 UTC"));
  assert_int_equal(cns_roster_check_time(&roster, UNTIL, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "2028-11-21 10:00 UTC"));
  cns_roster_deinit(&roster);
}

static void addresses_are_checked(void **state) {
  static const char *const good[] = {"tls+tcp://hospital.example:7443",
                                     "tcp://127.0.0.1:1",
                                     "tcp://localhost:1",
                                     "tcp://[::1]:7",
                                     "wss://coordinator.example:443/study",
                                     "ipc:///run/consilium/socket"};
  static const char *const bad[] = {"",
                                    "tls+tcp://",
                                    "wss://",
                                    "ws://coordinator:80",
                                    "ipc://socket",
                                    "ipc:///",
                                    "inproc://x",
                                    "tcp://0.0.0.0:1",
                                    "TLS+TCP://",
                                    "tcp://localhostile:1",
                                    "tcp://127.0.0.1.example:1",
                                    "x:7443"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    assert_int_equal(cns_roster_check_address(good[i], NULL), 0);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cns_roster_check_address(bad[i], NULL), CNS_ERR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),     cmocka_unit_test(only_the_authority_counts),
      cmocka_unit_test(any_changed_byte_is_refused), cmocka_unit_test(every_field_is_checked),
      cmocka_unit_test(too_many_are_refused),        cmocka_unit_test(the_clock_decides_validity),
      cmocka_unit_test(addresses_are_checked),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
