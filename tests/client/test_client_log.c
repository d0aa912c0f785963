/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "crypto/json.h"

/* What one call writes, with the time cut off (text) or parsed (JSON). */
static char *written(bool json, const char *text) {
  char *out = NULL;
  size_t len = 0;
  struct cns_client_log log = {.out = open_memstream(&out, &len), .json = json};
  cns_client_log(&log, "test", "%s", text);
  assert_int_equal(fclose(log.out), 0);
  assert_true(len > 0 && out[len - 1] == '\n');
  assert_ptr_equal(strchr(out, '\n'), out + len - 1); /* one line */
  return out;
}

static void a_line_stays_a_line_of_text(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"plain", "plain"},
      {"two\nlines\tand \x1b[31mred\x7f", "two?lines?and ?[31mred?"},
      {"\xc3\xa4ge \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4ge \xe2\x82\xac \xf0\x9f\x98\x80"},
      {"cut \xc3", "cut ?"},
      {"cut \xe2\x82", "cut ??"},
      {"overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???"},
      {"surrogate \xed\xa0\x80", "surrogate ???"},
      {"C1 \xc2\x9b[31m \xc2\x85 \xc2\xa0", "C1 ?[31m ? \xc2\xa0"},
      {"beyond \xf4\x90\x80\x80 \xff", "beyond ???? ?"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *line = written(false, cases[i][0]);
    assert_int_equal(strlen("2026-11-22T10:00:00Z "), 21);
    line[strlen(line) - 1] = '\0';
    assert_string_equal(line + 21, cases[i][1]);
    free(line);
    line = written(true, cases[i][0]);
    cJSON *json = NULL;
    struct cns_problem problem = {0};
    if (cns_json_parse(line, strlen(line), "log", &json, &problem)) fail_msg("%s", problem.text);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "text")), cases[i][1]);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "event")), "test");
    cJSON_Delete(json);
    free(line);
  }
}

static void texts_become_lines(void **state) {
  (void)state;
  char *out = NULL;
  size_t len = 0;
  struct cns_client_log log = {.out = open_memstream(&out, &len)};
  cns_client_log_lines(&log, "test", "one\n\ntwo\nthree");
  assert_int_equal(fclose(log.out), 0);
  assert_int_equal(len, 3 * 22 + 11);
  free(out);
}

static size_t lines_of(const char *text) {
  size_t count = 0;
  for (; *text; text++)
    count += *text == '\n';
  return count;
}

static void more_lines_than_allowed_are_one_line(void **state) {
  (void)state;
  char *out = NULL;
  size_t len = 0;
  struct cns_client_log log = {.out = open_memstream(&out, &len)};
  struct cns_client_lines lines = {0};
  unsigned allowed = 0;
  for (uint64_t now = 100000; now < 100500; now++)
    allowed += cns_client_log_allowed(&log, &lines, 7, 60000, now);
  assert_int_equal(allowed, 7);
  fflush(log.out);
  assert_int_equal(lines_of(out), 1);
  assert_non_null(strstr(out, "more of this kind isn't written down for 60 s"));
  assert_false(cns_client_log_allowed(&log, &lines, 7, 60000, 160000));
  assert_true(cns_client_log_allowed(&log, &lines, 7, 60000, 160001)); /* the next window */
  assert_int_equal(fclose(log.out), 0);
  assert_int_equal(lines_of(out), 1);
  free(out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_line_stays_a_line_of_text),
      cmocka_unit_test(texts_become_lines),
      cmocka_unit_test(more_lines_than_allowed_are_one_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
