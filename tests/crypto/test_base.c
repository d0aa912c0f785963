/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static void error_names(void **state) {
  assert_string_equal(cns_error_name(CNS_OK), "CNS_OK");
  assert_string_equal(cns_error_name(CNS_ERR_FORMAT), "CNS_ERR_FORMAT");
  assert_string_equal(cns_error_name(CNS_ERR_CANCELLED), "CNS_ERR_CANCELLED");
  for (int error = CNS_ERR_CANCELLED; error <= 0; error++)
    assert_memory_equal(cns_error_name(error), "CNS_", 4);
  assert_non_null(cns_error_name(1));
  assert_non_null(cns_error_name(CNS_ERR_CANCELLED - 1));
  assert_non_null(cns_error_name(INT32_MIN));
  assert_non_null(cns_error_name(INT32_MAX));
}

static void problems(void **state) {
  struct cns_problem problem = {0};
  assert_int_equal(cns_problem_set(&problem, CNS_ERR_RANGE, "%s is %d", "rounds", 7), CNS_ERR_RANGE);
  assert_string_equal(problem.text, "rounds is 7");
  assert_int_equal(cns_problem_prefix(&problem, CNS_ERR_RANGE, "study %d", 2), CNS_ERR_RANGE);
  assert_string_equal(problem.text, "study 2: rounds is 7");
  assert_int_equal(cns_problem_set(NULL, CNS_ERR_IO, "x"), CNS_ERR_IO);
  assert_int_equal(cns_problem_prefix(NULL, CNS_ERR_IO, "x"), CNS_ERR_IO);
}

static void long_problems_are_cut(void **state) {
  struct cns_problem problem = {0};
  char text[2000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  (void)cns_problem_set(&problem, CNS_ERR_IO, "%s", text);
  assert_int_equal(strlen(problem.text), sizeof problem.text - 1);
  (void)cns_problem_prefix(&problem, CNS_ERR_IO, "front");
  assert_int_equal(strlen(problem.text), sizeof problem.text - 1);
  assert_memory_equal(problem.text, "front: xx", 9);
  (void)cns_problem_prefix(&problem, CNS_ERR_IO, "%s", text);
  assert_int_equal(strlen(problem.text), sizeof problem.text - 1);
}

static void hex_there_and_back(void **state) {
  uint8_t bytes[256], back[256];
  char text[513];
  for (unsigned k = 0; k < 256; k++)
    bytes[k] = (uint8_t)k;
  cns_hex_encode(bytes, sizeof bytes, text);
  assert_memory_equal(text, "000102", 6);
  assert_string_equal(text + 506, "fdfeff");
  assert_int_equal(cns_hex_decode(text, sizeof bytes, back), CNS_OK);
  assert_memory_equal(bytes, back, sizeof bytes);
  assert_int_equal(cns_hex_decode("ABcdEF", 3, back), CNS_OK);
  assert_memory_equal(back, "\xab\xcd\xef", 3);
  assert_int_equal(cns_hex_decode("", 0, back), CNS_OK);
}

static void hex_refuses_every_other_character(void **state) {
  for (unsigned c = 1; c < 256; c++) {
    const bool digit = strchr("0123456789abcdefABCDEF", (int)c) != NULL;
    for (unsigned place = 0; place < 2; place++) {
      char text[3] = "00";
      uint8_t out = 0x5a;
      text[place] = (char)c;
      assert_int_equal(cns_hex_decode(text, 1, &out), digit ? CNS_OK : CNS_ERR_FORMAT);
      assert_true(digit ? out == strtoul(text, NULL, 16) : out == 0x5a);
    }
  }
}

static void hex_refuses_other_lengths(void **state) {
  uint8_t out[4] = {1, 2, 3, 4};
  const char *const bad[] = {"", "0", "000", "00000", "000000", "00 0", "0x00"};
  for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
    assert_int_equal(cns_hex_decode(bad[k], 2, out), CNS_ERR_FORMAT);
  assert_int_equal(cns_hex_decode("00", SIZE_MAX, out), CNS_ERR_FORMAT);
  assert_memory_equal(out, "\1\2\3\4", 4);
}

static void texts_steer_nothing(void **state) {
  static const char *const cases[][2] = {
      {"", ""},
      {"plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
      {"\x1b[2J\r\n\t\x7f", "?[2J????"},
      {"\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "???\xc2\xa0"},        /* C1, and the first after it */
      {"\xe2\x80\xa8\xe2\x80\xa9|\xe2\x80\xae", "??|?"},          /* U+2028, 2029, 202E */
      {"\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c", "???"},                /* U+200E, 200F, 061C */
      {"\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", "??\xe2\x81\xaa"}, /* U+2066, 2069; 206A does nothing */
      {"\xe2\x80\xa7\xe2\x80\xaf", "\xe2\x80\xa7\xe2\x80\xaf"},   /* their neighbours stay */
      {"cut \xe2\x82", "cut ??"},
  };
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
    char text[64];
    snprintf(text, sizeof text, "%s", cases[k][0]);
    cns_text_clean(text);
    assert_string_equal(text, cases[k][1]);
  }
}

static void wiping(void **state) {
  uint8_t secret[5] = {1, 2, 3, 4, 5};
  cns_wipe(secret, 4);
  assert_memory_equal(secret, "\0\0\0\0\5", 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(error_names),
      cmocka_unit_test(problems),
      cmocka_unit_test(long_problems_are_cut),
      cmocka_unit_test(hex_there_and_back),
      cmocka_unit_test(hex_refuses_every_other_character),
      cmocka_unit_test(hex_refuses_other_lengths),
      cmocka_unit_test(texts_steer_nothing),
      cmocka_unit_test(wiping),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
