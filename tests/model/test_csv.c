/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "model/csv.h"
#include "model/number.h"

static int setup(void **state) {
  return cns_init();
}

/* Reads the next record and compares its fields, joined by '|'. */
static void expect(struct cns_csv *csv, const char *joined) {
  char line[256] = "";
  assert_int_equal(cns_csv_next(csv, NULL), 0);
  for (size_t i = 0; i < csv->field_count; i++) {
    if (i) strcat(line, "|");
    strcat(line, cns_csv_field(csv, i));
  }
  assert_string_equal(line, joined);
}

static void records_are_read(void **state) {
  static const char text[] = "\xEF\xBB\xBF"
                             "a, b ,\"c,d\"\r\n"
                             "\"say \"\"hi\"\"\",\"two\nlines\" ,\r\n"
                             "\n\r\n"
                             "1,,\n"
                             " \" in \" ,x,\xC3\xA9";
  struct cns_csv csv;
  cns_csv_init(&csv, text, sizeof text - 1, "t.csv");
  expect(&csv, "a|b|c,d");
  expect(&csv, "say \"hi\"|two\nlines|");
  assert_int_equal(csv.record_line, 2);
  expect(&csv, "1||");
  assert_int_equal(csv.record_line, 6);
  expect(&csv, "in|x|\xC3\xA9");
  assert_int_equal(cns_csv_next(&csv, NULL), CNS_CSV_END);
  assert_int_equal(cns_csv_next(&csv, NULL), CNS_CSV_END);
  cns_csv_deinit(&csv);
}

static int first_failure(const char *text, size_t len, struct cns_problem *problem) {
  struct cns_csv csv;
  int r;
  cns_csv_init(&csv, text, len, "t.csv");
  do
    r = cns_csv_next(&csv, problem);
  while (r == 0);
  cns_csv_deinit(&csv);
  return r;
}

#define TEXT(s) s, sizeof(s) - 1

static void malformed_text_is_refused(void **state) {
  static const struct {
    const char *text;
    size_t len;
    const char *word;
  } bad[] = {
      {TEXT("a,b\n\"1,2\n3,4\n"), "line 2 is never closed"},
      {TEXT("a,b\n\"1\"x,2\n"), "line 2: text follows"},
      {TEXT("a,b\n1,x\"y\n"), "line 2: a quote inside"},
      {TEXT("a,b\n1\0,2\n"), "line 2: holds a NUL"},
      {TEXT("a,b\r1,2\r"), "carriage return"},
  };
  for (size_t i = 0; i < LENGTH_OF(bad); i++) {
    struct cns_problem problem = {{0}};
    assert_int_equal(first_failure(bad[i].text, bad[i].len, &problem), CNS_ERR_FORMAT);
    if (!strstr(problem.text, bad[i].word)) print_error("%s\n", problem.text);
    assert_non_null(strstr(problem.text, bad[i].word));
  }
  assert_int_equal(first_failure("", 0, NULL), CNS_CSV_END);
  assert_int_equal(first_failure("\n\n", 2, NULL), CNS_CSV_END);
}

static void limits_hold(void **state) {
  size_t len = CNS_CSV_FIELD_MAX + 10;
  char *text = malloc(len);
  assert_non_null(text);
  memset(text, 'x', len);
  assert_int_equal(first_failure(text, CNS_CSV_FIELD_MAX, NULL), CNS_CSV_END);
  assert_int_equal(first_failure(text, CNS_CSV_FIELD_MAX + 1, NULL), CNS_ERR_LIMIT);
  memset(text, ',', len);
  assert_int_equal(first_failure(text, CNS_CSV_COLUMNS_MAX - 1, NULL), CNS_CSV_END);
  assert_int_equal(first_failure(text, CNS_CSV_COLUMNS_MAX, NULL), CNS_ERR_LIMIT);
  free(text);
}

static void every_truncation_and_flip_is_survived(void **state) {
  static const char text[] = "a,b,\"c\"\r\n1,\"2\n\"\"3\",4\r\n,,\n";
  char copy[sizeof text];
  for (size_t len = 0; len < sizeof text; len++)
    (void)first_failure(text, len, NULL);
  for (size_t at = 0; at < sizeof text - 1; at++)
    for (int bit = 0; bit < 8; bit++) {
      memcpy(copy, text, sizeof text);
      copy[at] = (char)(copy[at] ^ (1 << bit));
      (void)first_failure(copy, sizeof text - 1, NULL);
    }
}

static void numbers_are_strict(void **state) {
  static const struct {
    const char *text;
    double value;
  } good[] = {{"0", 0},      {"-1.5", -1.5},    {"+2.", 2}, {".25", 0.25},
              {"1e3", 1000}, {"1.5E-2", 0.015}, {"007", 7}};
  static const char *const bad[] = {"",    "-",  ".",  "1e",    "e5",    "1,5", "0x10", "inf",
                                    "nan", "1 ", " 1", "1e999", "1.2.3", "--1", "1f"};
  double value;
  for (size_t i = 0; i < LENGTH_OF(good); i++) {
    assert_true(cns_number_parse(good[i].text, &value));
    assert_true(value == good[i].value);
  }
  for (size_t i = 0; i < LENGTH_OF(bad); i++)
    assert_false(cns_number_parse(bad[i], &value));
  assert_true(cns_number_has_comma("1,5"));
  assert_false(cns_number_has_comma("1,5,6"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records_are_read),   cmocka_unit_test(malformed_text_is_refused),
      cmocka_unit_test(limits_hold),        cmocka_unit_test(every_truncation_and_flip_is_survived),
      cmocka_unit_test(numbers_are_strict),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
