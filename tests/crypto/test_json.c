/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"

#define SEED 20261122u

static int parse(const char *text, size_t len, struct cns_problem *problem) {
  cJSON *json = NULL;
  /* An exact copy on the heap, so that a read beyond the end is seen. */
  char *copy = malloc(len ? len : 1);
  assert_non_null(copy);
  memcpy(copy, text, len);
  int r = cns_json_parse(copy, len, "x.json", &json, problem);
  free(copy);
  cJSON_Delete(json);
  return r;
}

static void accepts_what_rfc_8259_allows(void **state) {
  static const char *const good[] = {"{}",
                                     "[]",
                                     " [ ] ",
                                     "0",
                                     "-0",
                                     "1.5e-3",
                                     "\"\"",
                                     "true",
                                     "false",
                                     "null",
                                     "[1,2]",
                                     "{\"a\":{}}",
                                     "1E+5",
                                     "[[],{}]",
                                     "\"\\u00e9\"",
                                     "\"\\ud83d\\ude00\"",
                                     "\"\xc3\xa9\"",
                                     "\t\r\n1\n",
                                     "\"\xf0\x9f\x98\x80\"",
                                     "9007199254740992",
                                     "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                     "1e300"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    struct cns_problem problem = {0};
    if (parse(good[i], strlen(good[i]), &problem) != 0) fail_msg("%s: %s", good[i], problem.text);
  }
}

static void refuses_and_says_where(void **state) {
  static const struct {
    const char *text, *sentence;
  } bad[] = {{"", "line 1, column 1: the text ends where a value is expected"},
             {"{\n  \"a\": 1,\n  \"a\": 2\n}", "the field \"a\" occurs twice"},
             {"{\"x\": {\"b\": 1, \"c\": 2, \"b\": 3}}", "\"b\" occurs twice"},
             {"{\"b\": 1, \"\\u0062\": 3}", "\"b\" occurs twice"},
             {"{} x", "line 1, column 4: something follows"},
             {"1\n2", "line 2, column 1: something follows"},
             {"\xef\xbb\xbf{}", "byte order mark"},
             {"[1,\n 01]", "line 2, column 4: a number may not begin with 0"},
             {"1.", "a digit is missing"},
             {"1e", "a digit is missing"},
             {"-", "a digit is missing"},
             {"+1", "a value is expected"},
             {"NaN", "a value is expected"},
             {"Infinity", "a value is expected"},
             {"-Infinity", "a digit is missing"},
             {"[1e999]", "too large"},
             {"{\"a\": -1e400}", "a is too large"},
             {"9007199254740993", "beyond 2^53"},
             {"18446744073709551616", "beyond 2^53"},
             {"123456789012345678901234567890123456789012345678901234567890123456789e-60", "60 characters"},
             {"[1,]", "a value is expected"},
             {"{\"a\":1,}", "a field name"},
             {"{a:1}", "line 1, column 2: a field name"},
             {"{\"a\" 1}", "a colon is expected"},
             {"[1 2]", "a comma or ] is expected"},
             {"{\"a\":1 \"b\":2}", "a comma or } is expected"},
             {"[1}", "a comma or ] is expected"},
             {"[", "the text ends where a value"},
             {"{\"a\":", "the text ends where a value"},
             {"\"abc", "ends inside a string"},
             {"\"abc\\", "ends inside a string"},
             {"\"\\x\"", "unknown escape"},
             {"\"\\u12g4\"", "four hex digits"},
             {"\"\\u12", "four hex digits"},
             {"\"\\u0000\"", "NUL"},
             {"\"\\ud800\"", "surrogate"},
             {"\"\\udc00\"", "surrogate"},
             {"\"\\ud800\\u0041\"", "surrogate"},
             {"\"a\nb\"", "control character"},
             {"\"\xff\"", "UTF-8"},
             {"\"\xc0\x80\"", "UTF-8"},
             {"\"\xe0\x80\x80\"", "UTF-8"},
             {"\"\xed\xa0\x80\"", "UTF-8"},
             {"\"\xf4\x90\x80\x80\"", "UTF-8"},
             {"\"\xf0\x80\x80\x80\"", "UTF-8"},
             {"\"\xe2\x82", "UTF-8"},
             {"{\"\xc3\x28\": 1}", "UTF-8"},
             {"'a'", "a value is expected"},
             {"// a\n1", "a value is expected"},
             {"tru", "a value is expected"},
             {"True", "a value is expected"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct cns_problem problem = {0};
    assert_int_equal(parse(bad[i].text, strlen(bad[i].text), &problem), CNS_ERR_FORMAT);
    if (!strstr(problem.text, bad[i].sentence) || !strstr(problem.text, "x.json"))
      fail_msg("%s: expected '%s' in '%s'", bad[i].text, bad[i].sentence, problem.text);
  }
  struct cns_problem problem = {0};
  assert_int_equal(parse("\"a\0b\"", 5, &problem), CNS_ERR_FORMAT);
  assert_int_equal(parse("{}\0", 3, &problem), CNS_ERR_FORMAT);
  assert_int_equal(parse("\0", 1, &problem), CNS_ERR_FORMAT);
}

static void an_unprintable_name_does_not_reach_the_terminal(void **state) {
  struct cns_problem problem = {0};
  const char *text = "{\"\\u001b[2Ja\": 1, \"\\u001b[2Ja\": 2}";
  assert_int_equal(parse(text, strlen(text), &problem), CNS_ERR_FORMAT);
  assert_null(strchr(problem.text, 0x1b));
}

static void depth_ends_at_32(void **state) {
  struct cns_problem problem = {0};
  char text[2 * 33 + 1];
  for (size_t depth = 32; depth <= 33; depth++) {
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    assert_int_equal(parse(text, 2 * depth, &problem), depth == 32 ? 0 : CNS_ERR_FORMAT);
  }
  assert_non_null(strstr(problem.text, "32 deep"));
  size_t huge = 1 << 20;
  char *many = malloc(huge);
  assert_non_null(many);
  memset(many, '[', huge);
  assert_int_equal(parse(many, huge, &problem), CNS_ERR_FORMAT);
  for (size_t i = 0; i < huge; i++)
    many[i] = "{\"a\":"[i % 5];
  assert_int_equal(parse(many, huge, &problem), CNS_ERR_FORMAT);
  free(many);
}

static void size_ends_at_the_limit(void **state) {
  struct cns_problem problem = {0};
  size_t len = CNS_JSON_BYTES_MAX + 1;
  char *text = malloc(len);
  assert_non_null(text);
  memset(text, ' ', len);
  text[0] = '1';
  assert_int_equal(parse(text, len, &problem), CNS_ERR_LIMIT);
  assert_int_equal(parse(text, len - 1, &problem), 0);
  free(text);
}

static char *canonical_of(const char *text) {
  cJSON *json = NULL;
  struct cns_problem problem = {0};
  char *out = NULL;
  size_t len = 0;
  int r = cns_json_parse(text, strlen(text), "x.json", &json, &problem);
  if (r) fail_msg("%s", problem.text);
  assert_int_equal(cns_json_canonical(json, &out, &len), 0);
  assert_int_equal(strlen(out), len);
  cJSON_Delete(json);
  return out;
}

static void canonical_form_is_as_described(void **state) {
  static const struct {
    const char *in, *out;
  } cases[] = {
      {"{}", "{}\n"},
      {"[ ]", "[]\n"},
      {"{\"b\":1,\"a\":[1,2.50,{}],\"B\":null}",
       "{\n  \"B\": null,\n  \"a\": [\n    1,\n    2.5,\n    {}\n  ],\n  \"b\": 1\n}\n"},
      {"{\"\xc3\xa9\":1,\"z\":2,\"aa\":3,\"a\":4}",
       "{\n  \"a\": 4,\n  \"aa\": 3,\n  \"z\": 2,\n  \"\xc3\xa9\": 1\n}\n"},
      {"-0", "0\n"},
      {"-0.0", "0\n"},
      {"1e2", "100\n"},
      {"9007199254740992", "9007199254740992\n"},
      {"-9007199254740992", "-9007199254740992\n"},
      {"1e20", "1e20\n"},
      {"0.1", "0.1\n"},
      {"1e-7", "1e-7\n"},
      {"0.00001234", "1.234e-5\n"},
      {"0.30000000000000004", "0.30000000000000004\n"},
      {"5e-324", "5e-324\n"},
      {"1.7976931348623157e308", "1.7976931348623157e308\n"},
      {"\"\\u00e9\\/\\u000b\\n\\u001f\\\"\"", "\"\xc3\xa9/\\u000b\\n\\u001f\\\"\"\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char *out = canonical_of(cases[i].in);
    assert_string_equal(out, cases[i].out);
    assert_int_equal(cns_json_check_canonical(out, strlen(out), "x.json", NULL), 0);
    free(out);
  }
}

static void canonical_refuses_what_json_cannot_hold(void **state) {
  char *text = NULL;
  size_t len = 0;
  cJSON *json = cJSON_CreateNumber(INFINITY);
  assert_int_equal(cns_json_canonical(json, &text, &len), CNS_ERR_FORMAT);
  cJSON_Delete(json);
  json = cJSON_CreateRaw("{}{}");
  assert_int_equal(cns_json_canonical(json, &text, &len), CNS_ERR_ARGUMENT);
  cJSON_Delete(json);
  json = cJSON_CreateObject();
  cJSON_AddNullToObject(json, "a");
  cJSON_AddNullToObject(json, "a");
  assert_int_equal(cns_json_canonical(json, &text, &len), CNS_ERR_FORMAT);
  cJSON_Delete(json);
  json = cJSON_CreateArray();
  for (int i = 0; i < 32; i++) {
    cJSON *outer = cJSON_CreateArray();
    cJSON_AddItemToArray(outer, json);
    json = outer;
  }
  assert_int_equal(cns_json_canonical(json, &text, &len), CNS_ERR_LIMIT);
  cJSON_Delete(json);
  assert_null(text);
}

static uint64_t draw(struct cns_rng rng, uint64_t bound) {
  uint64_t value = 0;
  assert_int_equal(cns_rng_uniform_u64(rng, bound, &value), 0);
  return value;
}

static double random_double(struct cns_rng rng) {
  double value;
  do {
    uint64_t bits;
    assert_int_equal(cns_rng_fill(rng, (uint8_t *)&bits, sizeof bits), 0);
    memcpy(&value, &bits, sizeof value);
  } while (!isfinite(value));
  return value;
}

static void numbers_survive_exactly_and_shortest(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, SEED, "json numbers");
  struct cns_rng rng = cns_rng_seeded(&seeded);
  for (int i = 0; i < 20000; i++) {
    double value = i % 4 == 0   ? (double)(int64_t)draw(rng, UINT64_C(1) << 53) * (i % 8 ? 1 : -1)
                   : i % 4 == 1 ? (double)(int64_t)draw(rng, 1000000) / 1000
                                : random_double(rng);
    cJSON *json = cJSON_CreateNumber(value);
    char *text = NULL, shorter[64];
    size_t len = 0;
    assert_int_equal(cns_json_canonical(json, &text, &len), 0);
    if (strtod(text, NULL) != value) fail_msg("seed %u: %.17g became %s", SEED, value, text);
    /* No shorter decimal: one digit less no longer reads back. */
    int digits = 0;
    for (const char *p = text; *p && *p != 'e'; p++)
      if (*p >= '0' && *p <= '9' && (digits > 0 || *p != '0')) digits++;
    if (digits > 1 && (strchr(text, '.') || strchr(text, 'e'))) {
      snprintf(shorter, sizeof shorter, "%.*e", digits - 2, value);
      if (strtod(shorter, NULL) == value) fail_msg("seed %u: %s for %s", SEED, text, shorter);
    }
    assert_int_equal(cns_json_check_canonical(text, len, "x.json", NULL), 0);
    free(text);
    cJSON_Delete(json);
  }
}

static cJSON *random_tree(struct cns_rng rng, int depth) {
  static const char *const words[] = {"", "a", "\xc3\xa9", "line\nbreak", "\"quoted\\\"", "\x01\x1f\x7f",
                                      "/"};
  uint64_t kind = draw(rng, depth > 4 ? 4 : 7);
  if (kind == 0) return cJSON_CreateNumber(random_double(rng));
  if (kind == 1) return cJSON_CreateNumber((double)draw(rng, 1000) - 500);
  if (kind == 2) return cJSON_CreateString(words[draw(rng, 7)]);
  if (kind == 3) return draw(rng, 2) ? cJSON_CreateBool((cJSON_bool)draw(rng, 2)) : cJSON_CreateNull();
  bool object = kind >= 5;
  cJSON *json = object ? cJSON_CreateObject() : cJSON_CreateArray();
  uint64_t count = draw(rng, 6);
  for (uint64_t i = 0; i < count; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s%u", words[draw(rng, 7)], (unsigned)i);
    if (object)
      cJSON_AddItemToObject(json, name, random_tree(rng, depth + 1));
    else
      cJSON_AddItemToArray(json, random_tree(rng, depth + 1));
  }
  return json;
}

/* Moves each object's first member to its end, all the way down. */
static void rotate_members(cJSON *json) {
  if (cJSON_IsObject(json) && json->child) {
    char *name = strdup(json->child->string);
    cJSON *first = cJSON_DetachItemViaPointer(json, json->child);
    cJSON_AddItemToObject(json, name, first);
    free(name);
  }
  for (cJSON *item = json->child; item; item = item->next)
    rotate_members(item);
}

static void canonical_form_depends_on_content_only(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, SEED, "json trees");
  for (int i = 0; i < 500; i++) {
    cJSON *json = random_tree(cns_rng_seeded(&seeded), 0), *back = NULL;
    char *text = NULL, *again = NULL;
    size_t len = 0, again_len = 0;
    struct cns_problem problem = {0};
    assert_int_equal(cns_json_canonical(json, &text, &len), 0);
    if (cns_json_parse(text, len, "x.json", &back, &problem))
      fail_msg("seed %u: %s: %s", SEED, problem.text, text);
    rotate_members(back);
    assert_int_equal(cns_json_canonical(back, &again, &again_len), 0);
    assert_string_equal(text, again);
    assert_true(cJSON_Compare(json, back, true));
    cJSON_Delete(json);
    cJSON_Delete(back);
    free(text);
    free(again);
  }
}

static void damaged_text_never_crashes(void **state) {
  const char *text =
      "{\n  \"a\": [\n    1,\n    -2.5e-10,\n    \"x\\u0001\xc3\xa9\\\"\"\n  ],\n  \"b\": {\n    \"c\": "
      "null,\n    \"d\": true\n  }\n}\n";
  size_t len = strlen(text);
  assert_int_equal(cns_json_check_canonical(text, len, "x.json", NULL), 0);
  for (size_t cut = 0; cut + 1 < len; cut++)
    assert_int_equal(parse(text, cut, NULL), CNS_ERR_FORMAT);
  assert_int_equal(cns_json_check_canonical(text, len - 1, "x.json", NULL), CNS_ERR_FORMAT);
  char *copy = malloc(len);
  assert_non_null(copy);
  for (size_t i = 0; i < len; i++) {
    for (unsigned value = 0; value < 256; value++) {
      memcpy(copy, text, len);
      copy[i] = (char)value;
      struct cns_problem problem = {0};
      int r = cns_json_check_canonical(copy, len, "x.json", &problem);
      assert_true(r == 0 || r == CNS_ERR_FORMAT);
      if (r) assert_true(problem.text[0] != '\0');
    }
  }
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, SEED, "json damage");
  struct cns_rng rng = cns_rng_seeded(&seeded);
  static const char alphabet[] = "{}[]\",:\\u0e1.-+ \ntfna\xc3\xa9\xf0";
  for (int i = 0; i < 20000; i++) {
    char noise[40];
    size_t noise_len = (size_t)draw(rng, sizeof noise);
    for (size_t j = 0; j < noise_len; j++)
      noise[j] = alphabet[draw(rng, sizeof alphabet)];
    (void)parse(noise, noise_len, NULL);
  }
  free(copy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(accepts_what_rfc_8259_allows),
      cmocka_unit_test(refuses_and_says_where),
      cmocka_unit_test(an_unprintable_name_does_not_reach_the_terminal),
      cmocka_unit_test(depth_ends_at_32),
      cmocka_unit_test(size_ends_at_the_limit),
      cmocka_unit_test(canonical_form_is_as_described),
      cmocka_unit_test(canonical_refuses_what_json_cannot_hold),
      cmocka_unit_test(numbers_survive_exactly_and_shortest),
      cmocka_unit_test(canonical_form_depends_on_content_only),
      cmocka_unit_test(damaged_text_never_crashes),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
