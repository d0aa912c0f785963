/* SPDX-License-Identifier: Apache-2.0 */
/* Pauses and stops, as a hospital's agent hears and gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"
#include "tests/client/fake.h"

#define SINCE INT64_C(1795341600)

static struct fake *consortium(void) {
  const struct fake_options options = {
      .n = 4,
      .seed = 4721,
      .model = "{\"kind\": \"logistic\"}",
      .training =
          "{\"rounds\": 5, \"local_epochs\": 1, \"learning_rate\": 0.5, \"momentum\": 0, \"batch\": 8,"
          " \"seed\": 99, \"clip_norm\": 1}"};
  struct fake *fake = fake_new(&options);
  fake_start_all(fake);
  return fake;
}

static void load(struct fake *fake, size_t k, const char *file, struct cns_pause *ret_pause) {
  char state[300];
  struct cns_problem problem = {0};
  snprintf(state, sizeof state, "%s/state", fake->peer[k].kit);
  if (cns_pause_load(state, file, ret_pause, &problem)) fail_msg("%s", problem.text);
}

static void save_own(struct fake *fake, size_t k, enum cns_pause_state state_wanted, const char *reason) {
  char state[300];
  struct cns_problem problem = {0};
  struct cns_pause pause = {.state = state_wanted, .since = SINCE};
  snprintf(state, sizeof state, "%s/state", fake->peer[k].kit);
  snprintf(pause.reason, sizeof pause.reason, "%s", reason);
  if (cns_pause_save(state, CNS_PAUSE_FILE, &pause, &problem)) fail_msg("%s", problem.text);
}

static void send_pause(struct fake *fake, size_t k, enum cns_pause_state state, const char *reason) {
  struct cns_pause pause = {.state = state, .since = SINCE};
  struct cns_writer frame;
  snprintf(pause.reason, sizeof pause.reason, "%s", reason);
  cns_writer_init(&frame, 1024);
  cns_pause_write(&frame, &pause);
  fake_send(fake, k, CNS_WIRE_PAUSED, &frame);
  cns_writer_deinit(&frame);
}

static void a_pause_is_noted_down_and_ends(void **state) {
  (void)state;
  struct fake *fake = consortium();
  struct cns_pause heard;
  send_pause(fake, 0, CNS_PAUSE_PAUSED, "a scanner is moved");
  fake_expect_log(fake, 0, "paused since 2026-11-22 10:00 UTC: a scanner is moved");
  load(fake, 0, CNS_PAUSE_HEARD_FILE, &heard);
  assert_true(heard.state == CNS_PAUSE_PAUSED && heard.since == SINCE);
  /* A coordinator that announces a round all the same isn't held back by what it said. */
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  send_pause(fake, 0, CNS_PAUSE_NONE, "");
  fake_expect_log(fake, 0, "the study isn't paused any more");
  load(fake, 0, CNS_PAUSE_HEARD_FILE, &heard);
  assert_int_equal(heard.state, CNS_PAUSE_NONE);
  /* What was said over a link that is gone is forgotten with the next one. */
  send_pause(fake, 0, CNS_PAUSE_PAUSED, "");
  fake_expect_log(fake, 0, "paused since 2026-11-22 10:00 UTC; no round");
  int joined = fake->peer[0].joined;
  cns_link_close(fake->peer[0].link, "test");
  fake_until(fake, fake->peer[0].joined, joined + 1);
  load(fake, 0, CNS_PAUSE_HEARD_FILE, &heard);
  assert_int_equal(heard.state, CNS_PAUSE_NONE);
  fake_free(fake);
}

static void malformed_words_are_ignored(void **state) {
  (void)state;
  struct fake *fake = consortium();
  struct cns_pause heard;
  struct cns_writer frame;
  cns_writer_init(&frame, 64);
  cns_write_u8(&frame, 1);
  fake_send(fake, 1, CNS_WIRE_PAUSED, &frame);
  cns_writer_deinit(&frame);
  fake_expect_log(fake, 1, "malformed word of a pause");
  /* A stop comes as OVER, which ends the agent; this way it says nothing. */
  send_pause(fake, 1, CNS_PAUSE_STOPPED, "");
  while (fake_count_log(fake, 1, "malformed word of a pause") < 2)
    uv_run(&fake->uv, UV_RUN_ONCE);
  load(fake, 1, CNS_PAUSE_HEARD_FILE, &heard);
  assert_int_equal(heard.state, CNS_PAUSE_NONE);
  assert_int_equal(fake->peer[1].finished, 0);
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  fake_free(fake);
}

static void who_pauses_itself_declines(void **state) {
  (void)state;
  struct fake *fake = consortium();
  struct cns_descriptor descriptor;
  save_own(fake, 2, CNS_PAUSE_PAUSED, "maintenance");
  fake_describe(fake, &descriptor);
  fake_announce_to(fake, 2, &descriptor);
  cns_descriptor_deinit(&descriptor);
  const char *said = fake_declined(fake, 2, 1);
  if (!strstr(said, "has it paused since 2026-11-22 10:00 UTC: maintenance")) fail_msg("'%s'", said);
  save_own(fake, 2, CNS_PAUSE_NONE, "");
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  assert_int_equal(fake->peer[2].declines, 1);
  fake_free(fake);
}

static void a_stop_ends_the_agent(void **state) {
  (void)state;
  struct fake *fake = consortium();
  struct cns_problem why = {0};
  struct cns_pause heard;
  struct cns_writer frame;
  fake_begin(fake);
  fake_until(fake, fake->completed, 1);
  cns_writer_init(&frame, 128);
  cns_wire_write_notice(&frame, CNS_WIRE_OVER_STOPPED, "the operator has the study stopped");
  fake_send(fake, 0, CNS_WIRE_OVER, &frame);
  cns_writer_deinit(&frame);
  fake_until(fake, fake->peer[0].finished, 1);
  assert_int_equal(cns_agent_result(fake->peer[0].agent, &why), CNS_ERR_STOPPED);
  assert_non_null(strstr(why.text, "the operator has the study stopped"));
  load(fake, 0, CNS_PAUSE_HEARD_FILE, &heard);
  assert_int_equal(heard.state, CNS_PAUSE_STOPPED);
  assert_int_equal(fake->peer[1].finished, 0);
  fake_free(fake);
}

int main(void) {
  if (cns_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pause_is_noted_down_and_ends),
      cmocka_unit_test(malformed_words_are_ignored),
      cmocka_unit_test(who_pauses_itself_declines),
      cmocka_unit_test(a_stop_ends_the_agent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
