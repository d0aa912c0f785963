/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/json.h"

static cJSON *sample(void) {
  cJSON *json = NULL;
  const char *text =
      "{\"object\":{\"n\":7,\"extra\":1},\"array\":[1],\"string\":\"abc\",\"int\":-3,\"number\":2.5,"
      "\"bool\":true,\"hex\":\"00ff\",\"HEX\":\"00FF\",\"time\":\"2026-11-22T10:00:00Z\",\"null\":null}";
  assert_int_equal(cns_json_parse(text, strlen(text), "x.json", &json, NULL), 0);
  return json;
}

static void getters_give_values(void **state) {
  cJSON *json = sample();
  const cJSON *value = NULL;
  const char *text = NULL;
  int64_t number = 0, seconds = 0;
  double real = 0;
  bool flag = false;
  uint8_t bytes[2] = {1, 1};
  assert_int_equal(cns_json_get_object(json, "", "object", &value, NULL), 0);
  assert_int_equal(cns_json_get_int(value, "object", "n", 0, 7, &number, NULL), 0);
  assert_int_equal(number, 7);
  assert_int_equal(cns_json_get_array(json, "", "array", &value, NULL), 0);
  assert_int_equal(cns_json_get_string(json, "", "string", 3, &text, NULL), 0);
  assert_string_equal(text, "abc");
  assert_int_equal(cns_json_get_int(json, "", "int", -3, -3, &number, NULL), 0);
  assert_int_equal(number, -3);
  assert_int_equal(cns_json_get_number(json, "", "number", 0, 3, &real, NULL), 0);
  assert_true(real == 2.5);
  assert_int_equal(cns_json_get_bool(json, "", "bool", &flag, NULL), 0);
  assert_true(flag);
  assert_int_equal(cns_json_get_hex(json, "", "hex", 2, bytes, NULL), 0);
  assert_true(bytes[0] == 0 && bytes[1] == 0xff);
  assert_int_equal(cns_json_get_time(json, "", "time", &seconds, NULL), 0);
  assert_int_equal(seconds, 1795341600);
  assert_true(cns_json_has(json, "null") && !cns_json_has(json, "NULL") && !cns_json_has(NULL, "x"));
  cJSON_Delete(json);
}

#define EXPECT(call, error, sentence)                                                                        \
  do {                                                                                                       \
    struct cns_problem problem = {0};                                                                        \
    assert_int_equal((call), (error));                                                                       \
    if (!strstr(problem.text, (sentence))) fail_msg("expected '%s' in '%s'", (sentence), problem.text);      \
  } while (0)

static void getters_say_what_is_wrong(void **state) {
  static const char *const known[] = {"n", "m", NULL};
  cJSON *json = sample();
  const cJSON *object = cJSON_GetObjectItemCaseSensitive(json, "object"), *value = NULL;
  const char *text = NULL;
  int64_t number = 99;
  double real = 99;
  bool flag = false;
  uint8_t bytes[3];
  EXPECT(cns_json_only(object, "object", known, &problem), CNS_ERR_FORMAT,
         "object.extra is not a known field; known here: n, m");
  EXPECT(cns_json_only(object->child, "object.n", known, &problem), CNS_ERR_FORMAT, "object.n is a number");
  EXPECT(cns_json_get_int(object, "object", "m", 0, 1, &number, &problem), CNS_ERR_FORMAT,
         "object.m is missing");
  EXPECT(cns_json_get_int(object, "object", "n", 0, 6, &number, &problem), CNS_ERR_RANGE,
         "object.n is 7, but must be from 0 to 6");
  EXPECT(cns_json_get_int(json, "", "number", 0, 6, &number, &problem), CNS_ERR_FORMAT,
         "must be a whole number");
  EXPECT(cns_json_get_int(json, "", "string", 0, 6, &number, &problem), CNS_ERR_FORMAT, "string is a string");
  EXPECT(cns_json_get_number(json, "", "number", 0, 2, &real, &problem), CNS_ERR_RANGE, "from 0 to 2");
  EXPECT(cns_json_get_number(json, "", "bool", 0, 2, &real, &problem), CNS_ERR_FORMAT,
         "bool is true or false");
  EXPECT(cns_json_get_string(json, "", "string", 2, &text, &problem), CNS_ERR_FORMAT, "at most 2");
  EXPECT(cns_json_get_string(json, "", "array", 2, &text, &problem), CNS_ERR_FORMAT, "array is an array");
  EXPECT(cns_json_get_bool(json, "", "null", &flag, &problem), CNS_ERR_FORMAT, "null is null");
  EXPECT(cns_json_get_object(json, "", "array", &value, &problem), CNS_ERR_FORMAT, "must be an object");
  EXPECT(cns_json_get_array(json, "", "object", &value, &problem), CNS_ERR_FORMAT, "must be an array");
  EXPECT(cns_json_get_hex(json, "", "hex", 3, bytes, &problem), CNS_ERR_FORMAT, "exactly 6 hex digits");
  EXPECT(cns_json_get_hex(json, "", "HEX", 2, bytes, &problem), CNS_ERR_FORMAT, "exactly 4 hex digits");
  EXPECT(cns_json_get_time(json, "", "string", &number, &problem), CNS_ERR_FORMAT, "UTC time like");
  EXPECT(cns_json_get_int(NULL, "", "x", 0, 1, &number, &problem), CNS_ERR_FORMAT, "the document is missing");
  assert_int_equal(number, 99);
  assert_true(real == 99 && !value && !text);
  cJSON_Delete(json);
}

static void times_are_days_that_exist(void **state) {
  static const struct {
    const char *text;
    int64_t seconds; /* -1: refused */
  } cases[] = {{"1970-01-01T00:00:00Z", 0},          {"2001-09-09T01:46:40Z", 1000000000},
               {"2024-02-29T23:59:59Z", 1709251199}, {"9999-12-31T23:59:59Z", 253402300799},
               {"2023-02-29T00:00:00Z", -1},         {"2026-13-01T00:00:00Z", -1},
               {"2026-00-01T00:00:00Z", -1},         {"2026-11-31T00:00:00Z", -1},
               {"2026-11-22T24:00:00Z", -1},         {"2026-11-22T10:60:00Z", -1},
               {"2026-11-22T10:00:60Z", -1},         {"2026-11-22T10:00:00", -1},
               {"2026-11-22 10:00:00Z", -1},         {"2026-11-22T10:00:00+01", -1},
               {"1969-12-31T23:59:59Z", -1},         {"+026-11-22T10:00:00Z", -1},
               {" 026-11-22T10:00:00Z", -1},         {"2026-11-22T10:00:00Zx", -1}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    cJSON *json = cJSON_CreateObject();
    int64_t seconds = -1;
    cJSON_AddStringToObject(json, "t", cases[i].text);
    int r = cns_json_get_time(json, "", "t", &seconds, NULL);
    assert_int_equal(r, cases[i].seconds < 0 ? CNS_ERR_FORMAT : 0);
    assert_int_equal(seconds, cases[i].seconds);
    if (!r) {
      assert_int_equal(cns_json_add_time(json, "back", seconds), 0);
      assert_string_equal(cJSON_GetObjectItem(json, "back")->valuestring, cases[i].text);
    }
    cJSON_Delete(json);
  }
  cJSON *json = cJSON_CreateObject();
  assert_int_equal(cns_json_add_time(json, "t", -1), CNS_ERR_RANGE);
  assert_int_equal(cns_json_add_time(json, "t", INT64_C(253402300800)), CNS_ERR_RANGE);
  cJSON_Delete(json);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(getters_give_values),
      cmocka_unit_test(getters_say_what_is_wrong),
      cmocka_unit_test(times_are_days_that_exist),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
