/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of an operator, on disk and on the wire; and the coordinator's clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/json.h"
#include "protocol/pause.h"
#include "protocol/wire.h"

#define SINCE INT64_C(1795341600)

static char folder[64], path[96];

static int enter(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/cns-pause-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/%s", folder, CNS_PAUSE_FILE);
  return 0;
}

static int leave(void **state) {
  (void)state;
  (void)unlink(path);
  return rmdir(folder);
}

static void what_is_saved_is_loaded(void **state) {
  (void)state;
  struct cns_problem problem = {0};
  struct cns_pause pause = {.state = CNS_PAUSE_PAUSED, .since = SINCE, .reason = "Umzug: Gerät 3"}, loaded;
  assert_int_equal(cns_pause_load(folder, CNS_PAUSE_FILE, &loaded, &problem), 0);
  assert_int_equal(loaded.state, CNS_PAUSE_NONE);
  for (int k = 0; k < 2; k++) {
    assert_int_equal(cns_pause_save(folder, CNS_PAUSE_FILE, &pause, &problem), 0);
    assert_int_equal(cns_pause_load(folder, CNS_PAUSE_FILE, &loaded, &problem), 0);
    assert_int_equal(loaded.state, pause.state);
    assert_int_equal(loaded.since, SINCE);
    assert_string_equal(loaded.reason, pause.reason);
    pause.state = CNS_PAUSE_STOPPED;
  }
  pause.state = CNS_PAUSE_NONE;
  for (int k = 0; k < 2; k++) /* gone is gone */
    assert_int_equal(cns_pause_save(folder, CNS_PAUSE_FILE, &pause, &problem), 0);
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(cns_pause_save("/nowhere/state", CNS_PAUSE_FILE, &loaded, &problem), CNS_ERR_NOT_FOUND);
}

static void other_files_are_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "{\"reason\": \"\", \"since\": \"2026-11-22T10:00:00Z\", \"state\": \"none\"}",
      "{\"reason\": \"\", \"since\": \"2026-11-22T10:00:00Z\"}",
      "{\"reason\": \"\", \"since\": \"yesterday\", \"state\": \"paused\"}",
      "{\"reason\": \"a\\nb\", \"since\": \"2026-11-22T10:00:00Z\", \"state\": \"paused\"}",
      "{\"reason\": \"\", \"since\": \"2026-11-22T10:00:00Z\", \"state\": \"paused\", \"by\": \"me\"}",
      "{\"reason\": \"\", \"since\": \"2026-11-22T10:00:00Z\", \"state\": \"pau",
      "[]",
  };
  for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
    struct cns_problem problem = {0};
    struct cns_pause pause;
    assert_int_equal(cns_file_write(path, texts[k], strlen(texts[k]), 0600, NULL), 0);
    int r = cns_pause_load(folder, CNS_PAUSE_FILE, &pause, &problem);
    if (r != CNS_ERR_FORMAT || !strstr(problem.text, CNS_PAUSE_FILE))
      fail_msg("%s: %d %s", texts[k], r, problem.text);
  }
}

static void reasons_are_one_printable_line(void **state) {
  (void)state;
  char longest[CNS_PAUSE_REASON_MAX + 2];
  memset(longest, 'x', sizeof longest);
  longest[CNS_PAUSE_REASON_MAX] = '\0';
  assert_true(cns_pause_is_reason("") && cns_pause_is_reason("a scanner is moved") &&
              cns_pause_is_reason(longest));
  longest[CNS_PAUSE_REASON_MAX] = 'x';
  longest[CNS_PAUSE_REASON_MAX + 1] = '\0';
  assert_false(cns_pause_is_reason(longest));
  assert_false(cns_pause_is_reason("a\nb") || cns_pause_is_reason("\x1b[2J") || cns_pause_is_reason("  ") ||
               cns_pause_is_reason("\xff"));
}

static void frames_are_read_back(void **state) {
  (void)state;
  const struct cns_pause pause = {.state = CNS_PAUSE_PAUSED, .since = SINCE, .reason = "why"};
  struct cns_pause read;
  struct cns_writer writer;
  cns_writer_init(&writer, 1024);
  cns_pause_write(&writer, &pause);
  assert_int_equal(cns_writer_finish(&writer), 0);
  assert_int_equal(cns_pause_read(writer.data, writer.len, &read), 0);
  assert_true(read.state == pause.state && read.since == SINCE && strcmp(read.reason, "why") == 0);
  for (size_t len = 0; len < writer.len; len++) /* cut anywhere */
    assert_int_equal(cns_pause_read(writer.data, len, &read), CNS_ERR_FORMAT);
  uint8_t copy[64];
  memcpy(copy, writer.data, writer.len);
  copy[writer.len] = 0; /* a byte too many */
  assert_int_equal(cns_pause_read(copy, writer.len + 1, &read), CNS_ERR_FORMAT);
  copy[0] = 3; /* an unknown state */
  assert_int_equal(cns_pause_read(copy, writer.len, &read), CNS_ERR_RANGE);
  copy[0] = 1;
  memset(copy + 1, 0xff, 8); /* after the end of years */
  assert_int_equal(cns_pause_read(copy, writer.len, &read), CNS_ERR_RANGE);
  memcpy(copy, writer.data, writer.len);
  copy[writer.len - 1] = '\n'; /* what a peer wrote goes to a terminal */
  assert_int_equal(cns_pause_read(copy, writer.len, &read), 0);
  assert_string_equal(read.reason, "wh?");
  cns_writer_deinit(&writer);
}

static void times_are_compared(void **state) {
  (void)state;
  struct cns_writer writer;
  int64_t ahead = 7;
  cns_writer_init(&writer, 16);
  cns_wire_write_time(&writer, SINCE);
  assert_int_equal(cns_wire_read_time(writer.data, writer.len, SINCE + 60, &ahead), 0);
  assert_int_equal(ahead, 60);
  assert_int_equal(cns_wire_read_time(writer.data, writer.len, SINCE - 60, &ahead), 0);
  assert_int_equal(ahead, -60);
  assert_int_equal(cns_wire_read_time(writer.data, writer.len - 1, SINCE, &ahead), CNS_ERR_FORMAT);
  memset(writer.data, 0xff, writer.len);
  assert_int_equal(cns_wire_read_time(writer.data, writer.len, SINCE, &ahead), CNS_ERR_RANGE);
  assert_int_equal(ahead, -60);
  cns_writer_deinit(&writer);
}

int main(void) {
  if (cns_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_is_saved_is_loaded, enter, leave),
      cmocka_unit_test_setup_teardown(other_files_are_refused, enter, leave),
      cmocka_unit_test(reasons_are_one_printable_line),
      cmocka_unit_test(frames_are_read_back),
      cmocka_unit_test(times_are_compared),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
