/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/document.h"

static const char payload_text[] = "{\"name\": \"trial\", \"rounds\": 3}";

static struct cns_identity *identity(uint8_t number) {
  struct cns_identity *out = NULL;
  uint8_t seed[32];
  memset(seed, number, sizeof seed);
  assert_int_equal(cns_identity_from_seed(seed, &out), 0);
  return out;
}

static struct cns_document new_document(const char *kind) {
  struct cns_document document;
  cJSON *json = NULL;
  assert_int_equal(cns_json_parse(payload_text, strlen(payload_text), "x", &json, NULL), 0);
  assert_int_equal(cns_document_from_json(kind, json, &document), 0);
  cJSON_Delete(json);
  return document;
}

static void serialize(const struct cns_document *document, uint8_t **ret_data, size_t *ret_len) {
  assert_int_equal(cns_document_serialize("study", document, ret_data, ret_len), 0);
}

static void signed_text_has_the_documented_shape(void **state) {
  struct cns_document document = new_document("study");
  struct cns_identity *signer = identity(1);
  char key[65], signature[129], expected[512];
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_document_sign("study", &document, "authority", signer), 0);
  serialize(&document, &data, &len);
  cns_hex_encode(cns_identity_get_public(signer)->bytes, 32, key);
  /* Once more from the parts: digest over length-prefixed kind and payload. */
  struct cns_hash hash;
  struct cns_digest digest;
  struct cns_signature made;
  const char *payload = "{\n  \"name\": \"trial\",\n  \"rounds\": 3\n}\n";
  cns_hash_init(&hash, "consilium/1 document digest");
  cns_hash_u64(&hash, 5);
  cns_hash_bytes(&hash, "study", 5);
  cns_hash_u64(&hash, strlen(payload));
  cns_hash_bytes(&hash, payload, strlen(payload));
  cns_hash_final(&hash, &digest);
  assert_true(cns_digest_equal(&digest, &document.digest));
  assert_int_equal(cns_sign(signer, "consilium/1 document", &digest, &made), 0);
  cns_hex_encode(made.bytes, 64, signature);
  snprintf(expected, sizeof expected, "%s-- consilium signature 1 study authority %s %s\n", payload, key,
           signature);
  assert_string_equal((char *)data, expected);
  assert_int_equal(len, strlen(expected));
  free(data);
  cns_document_deinit(&document);
  cns_identity_free(signer);
}

static void what_was_signed_comes_back(void **state) {
  struct cns_document document = new_document("study"), back;
  struct cns_identity *first = identity(1), *second = identity(2), *third = identity(3);
  uint8_t *data = NULL, *again = NULL;
  size_t len = 0, again_len = 0;
  assert_int_equal(cns_document_sign("study", &document, "authority", first), 0);
  assert_int_equal(cns_document_sign("study", &document, "hospital", second), 0);
  assert_int_equal(cns_document_sign("study", &document, "hospital", first), 0);
  assert_int_equal(cns_document_sign("study", &document, "authority", first), 0);
  assert_int_equal(document.signature_count, 3);
  serialize(&document, &data, &len);
  assert_int_equal(cns_document_parse("study", data, len, "x", &back, NULL), 0);
  serialize(&back, &again, &again_len);
  assert_int_equal(len, again_len);
  assert_memory_equal(data, again, len);
  assert_true(cns_digest_equal(&back.digest, &document.digest));
  assert_int_equal(cns_document_verify("study", &back, "authority", cns_identity_get_public(first), NULL), 0);
  assert_int_equal(cns_document_verify("study", &back, "hospital", cns_identity_get_public(second), NULL), 0);
  struct cns_problem problem = {0};
  assert_int_equal(
      cns_document_verify("study", &back, "authority", cns_identity_get_public(second), &problem),
      CNS_ERR_SIGNATURE);
  assert_non_null(strstr(problem.text, "not signed as authority"));
  assert_int_equal(cns_document_verify("study", &back, "hospital", cns_identity_get_public(third), NULL),
                   CNS_ERR_SIGNATURE);
  free(data);
  free(again);
  cns_document_deinit(&document);
  cns_document_deinit(&back);
  cns_identity_free(first);
  cns_identity_free(second);
  cns_identity_free(third);
}

/* A policy that was signed is not a study with the same text. */
static void a_signature_is_for_one_kind(void **state) {
  struct cns_document document = new_document("policy"), back;
  struct cns_identity *signer = identity(1);
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_document_sign("study", &document, "authority", signer), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_document_sign("policy", &document, "authority", signer), 0);
  assert_int_equal(
      cns_document_verify("study", &document, "authority", cns_identity_get_public(signer), NULL),
      CNS_ERR_SIGNATURE);
  assert_int_equal(cns_document_serialize("policy", &document, &data, &len), 0);
  assert_int_equal(cns_document_parse("study", data, len, "x", &back, NULL), CNS_ERR_FORMAT);
  free(data);
  /* The line relabelled: parses, and doesn't verify. */
  assert_int_equal(cns_document_serialize("study", &document, &data, &len), 0);
  assert_int_equal(cns_document_parse("study", data, len, "x", &back, NULL), 0);
  struct cns_problem problem = {0};
  assert_int_equal(
      cns_document_verify("study", &back, "authority", cns_identity_get_public(signer), &problem),
      CNS_ERR_SIGNATURE);
  assert_non_null(strstr(problem.text, "altered"));
  cns_document_deinit(&back);
  cns_document_deinit(&document);
  cns_identity_free(signer);
  free(data);
}

static void any_changed_byte_is_noticed(void **state) {
  struct cns_document document = new_document("study"), back;
  struct cns_identity *signer = identity(1);
  uint8_t *data = NULL;
  size_t len = 0;
  assert_int_equal(cns_document_sign("study", &document, "authority", signer), 0);
  serialize(&document, &data, &len);
  for (size_t i = 0; i < len; i++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      uint8_t *copy = malloc(len);
      assert_non_null(copy);
      memcpy(copy, data, len);
      copy[i] ^= (uint8_t)(1u << bit);
      int r = cns_document_parse("study", copy, len, "x", &back, NULL);
      free(copy);
      if (r) continue;
      if (cns_document_verify("study", &back, "authority", cns_identity_get_public(signer), NULL) == 0)
        fail_msg("byte %zu bit %u went unnoticed", i, bit);
      cns_document_deinit(&back);
    }
  }
  for (size_t cut = 0; cut < len; cut++) {
    if (cns_document_parse("study", data, cut, "x", &back, NULL)) continue;
    assert_int_equal(cut, document.payload_len); /* the whole payload without its signature */
    assert_int_equal(back.signature_count, 0);
    cns_document_deinit(&back);
  }
  free(data);
  cns_document_deinit(&document);
  cns_identity_free(signer);
}

static void parse_text(const char *text, int expected, const char *sentence) {
  struct cns_document document;
  struct cns_problem problem = {0};
  assert_int_equal(
      cns_document_parse("study", (const uint8_t *)text, strlen(text), "x.json", &document, &problem),
      expected);
  if (expected == 0) cns_document_deinit(&document);
  if (!strstr(problem.text, sentence)) fail_msg("expected '%s' in '%s'", sentence, problem.text);
}

static void malformed_files_are_refused(void **state) {
  char text[1024];
  char key[65], signature[129];
  memset(key, 'a', 64);
  memset(signature, 'b', 128);
  key[64] = signature[128] = '\0';
  parse_text("", CNS_ERR_FORMAT, "empty");
  parse_text("{}\n", 0, "");
  parse_text("{}", CNS_ERR_FORMAT, "canonical");
  parse_text("{ }\n", CNS_ERR_FORMAT, "canonical");
  parse_text("-- consilium signature 1 study authority", CNS_ERR_FORMAT, "x.json");
  static const char *const lines[] = {
      "{}\n-- consilium signature 1 study authority %s %s",     /* no newline */
      "{}\n-- consilium signature 1 study authority %s %s\r\n", /* */
      "{}\n-- consilium signature 1 study authority %s %s\n\n", /* blank line */
      "{}\n-- consilium signature 1 study authority %s %s x\n", /* another word */
      "{}\n-- consilium signature 1 study authority  %s %s\n",  /* two spaces */
      "{}\n-- consilium signature 1 study AUTHORITY %s %s\n",   /* role */
      "{}\n-- consilium signature 1 study abcdefghijklmnop %s %s\n",
      "{}\n-- consilium signature 1 study  %s %s\n",
      "{}\n-- consilium signature 2 study authority %s %s\n",  /* version */
      "{}\n-- consilium signature 1 roster authority %s %s\n", /* kind */
      "{}\n-- consilium signature 1 study authority A%s %s\n", /* length */
      "{}\n-- consilium signature 1 study authority %s %sb\n",
      "{}\n--consilium signature 1 study authority %s %s\n",
      "{}\n-- consilium signature 1 study authority %s %s\n{}\n"};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, lines[i], key, signature);
#pragma GCC diagnostic pop
    parse_text(text, CNS_ERR_FORMAT, "signature line");
  }
  key[0] = 'A'; /* one spelling of each key */
  snprintf(text, sizeof text, "{}\n-- consilium signature 1 study authority %s %s\n", key, signature);
  parse_text(text, CNS_ERR_FORMAT, "signature line 1");
  key[0] = 'a';
  snprintf(
      text, sizeof text,
      "{}\n-- consilium signature 1 study authority %s %s\n-- consilium signature 1 study authority %s %s\n",
      key, signature, key, signature);
  parse_text(text, CNS_ERR_FORMAT, "repeats a signer");
}

static void signatures_are_limited(void **state) {
  struct cns_document document = new_document("study"), back;
  uint8_t *data = NULL;
  size_t len = 0;
  for (uint8_t i = 0; i <= CNS_DOCUMENT_SIGNATURES_MAX; i++) {
    struct cns_identity *signer = identity((uint8_t)(i + 1));
    assert_int_equal(cns_document_sign("study", &document, "hospital", signer),
                     i < CNS_DOCUMENT_SIGNATURES_MAX ? 0 : CNS_ERR_LIMIT);
    cns_identity_free(signer);
  }
  serialize(&document, &data, &len);
  assert_int_equal(cns_document_parse("study", data, len, "x", &back, NULL), 0);
  cns_document_deinit(&back);
  char *more = malloc(2 * len);
  assert_non_null(more);
  const char *line = strstr((char *)data, "-- ");
  size_t line_len = (size_t)(strchr(line, '\n') - line) + 1;
  memcpy(more, data, len);
  memcpy(more + len, line, line_len);
  struct cns_problem problem = {0};
  assert_int_equal(cns_document_parse("study", (uint8_t *)more, len + line_len, "x", &back, &problem),
                   CNS_ERR_LIMIT);
  assert_non_null(strstr(problem.text, "32"));
  free(more);
  free(data);
  cns_document_deinit(&document);
}

static void roles_are_short_words(void **state) {
  struct cns_document document = new_document("study");
  struct cns_identity *signer = identity(1);
  static const char *const bad[] = {"", "two words", "line\n", "UPPER", "abcdefghijklmnop", "a1"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cns_document_sign("study", &document, bad[i], signer), CNS_ERR_ARGUMENT);
  assert_int_equal(document.signature_count, 0);
  cns_identity_free(signer);
  cns_document_deinit(&document);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(signed_text_has_the_documented_shape),
      cmocka_unit_test(what_was_signed_comes_back),
      cmocka_unit_test(a_signature_is_for_one_kind),
      cmocka_unit_test(any_changed_byte_is_noticed),
      cmocka_unit_test(malformed_files_are_refused),
      cmocka_unit_test(signatures_are_limited),
      cmocka_unit_test(roles_are_short_words),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
