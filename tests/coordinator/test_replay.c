/* SPDX-License-Identifier: Apache-2.0 */
/* What a restart knows from the journal is what the daemon knew before it. */
#include <sys/resource.h>

#include "tests/store/scratch.h"

#include "tests/coordinator/world.h"
#include "tests/protocol/attack.h"

#define HOSPITALS 5
#define LIAR 3

static const uint8_t key[CNS_JOURNAL_KEY_BYTES] = {9, 8, 7};

static void open_files(struct cns_server *s, const char *name) {
  static char folder[2][600];
  static unsigned next;
  char *path = folder[next++ % 2];
  struct cns_problem problem = {0};
  snprintf(path, sizeof folder[0], "%s", scratch_path(name));
  (void)mkdir(path, 0700);
  s->vectors = s->kit.config.state_path = path;
  char file[700];
  snprintf(file, sizeof file, "%s/journal", path);
  if (cns_journal_open(file, key, &s->journal, &problem) < 0) fail_msg("%s", problem.text);
  if (!s->registry) assert_int_equal(cns_registry_open(scratch_path("models"), &s->registry, &problem), 0);
}

static void init(struct world *w, const char *name, uint64_t seed) {
  world_init(w, HOSPITALS, 100, seed);
  open_files(&w->s, name);
}

/* The same folder's next process. */
static void restart(struct world *w, struct cns_server *ret_next, const char *name) {
  struct cns_problem problem = {0};
  world_init_server(w, ret_next);
  w->s.journal = cns_journal_free(w->s.journal);
  open_files(ret_next, name);
  if (cns_replay(ret_next, &problem) < 0) fail_msg("%s", problem.text);
}

static void assert_same_abandonings(const struct cns_server *one, const struct cns_server *other) {
  assert_int_equal(one->abandoning_count, other->abandoning_count);
  for (size_t k = 0; k < one->abandoning_count; k++) {
    const struct cns_abandoning *a = &one->abandonings[k], *b = &other->abandonings[k];
    assert_memory_equal(&a->round, &b->round, sizeof a->round);
    for (size_t p = 0; p < HOSPITALS; p++)
      assert_int_equal(a->asked[p], b->asked[p]);
  }
  for (size_t k = 0; k < HOSPITALS; k++)
    assert_int_equal(cns_abandoning_worn_out(one, &one->sessions[k]),
                     cns_abandoning_worn_out(other, &other->sessions[k]));
}

static void silence(struct world *w, size_t k, enum cns_phase from) {
  w->f.silent_from[k] = from;
}

/* Twice two hospitals vanish before they are ready: nobody was asked for an
 * upload, so there is nothing to abandon. */
static void attempts_that_failed_in_ready(void **state) {
  struct world w;
  struct cns_server next;
  init(&w, "ready", 1);
  silence(&w, 0, CNS_PHASE_READY);
  silence(&w, 1, CNS_PHASE_READY);
  for (uint32_t attempt = 1; attempt <= 2; attempt++) {
    world_begin_round(&w, 1, attempt);
    world_play_until(&w, CNS_PHASE_RESULT);
    assert_null(w.s.machine);
  }
  assert_int_equal(w.s.abandoning_count, 0);
  restart(&w, &next, "ready");
  assert_int_equal(next.last_attempt, 2);
  assert_same_abandonings(&w.s, &next);
  world_deinit_server(&next);
  world_deinit(&w);
}

/* One is away in phase ready, and one is disqualified in it by a complaint that
 * is false: neither was asked. */
static void attempts_that_failed_in_upload(void **state) {
  struct world w;
  struct cns_server next;
  init(&w, "upload", 2);
  w.s.kit.policy.minimum_included = w.f.policy.minimum_included = 3;
  for (uint32_t attempt = 1; attempt <= 2; attempt++) {
    world_begin_round(&w, 1, attempt);
    world_play_until(&w, CNS_PHASE_READY);
    if (attempt == 2) {
      struct cns_complaint complaint = attack_complaint(&w.f, LIAR, 1);
      struct attack_bytes lie = attack_ready_answer(&w.f, LIAR, &complaint, 1);
      cns_round_answer(&w.s, &w.s.sessions[LIAR], lie.data, lie.len);
      attack_bytes_free(&lie);
    } else
      silence(&w, 0, CNS_PHASE_READY);
    world_play_phase(&w);
    assert_int_equal(cns_coordinator_phase(w.s.machine), CNS_PHASE_UPLOAD);
    silence(&w, 0, CNS_PHASE_COUNT);
    world_stop_round(&w);
  }
  assert_null(w.s.machine);
  assert_int_equal(w.s.abandoning_count, 2);
  assert_false(w.s.abandonings[0].asked[0]);
  assert_true(w.s.abandonings[0].asked[LIAR]);
  assert_true(w.s.abandonings[1].asked[0]);
  assert_false(w.s.abandonings[1].asked[LIAR]);
  restart(&w, &next, "upload");
  assert_same_abandonings(&w.s, &next);
  world_deinit_server(&next);
  world_deinit(&w);
}

/* ---- ciphertexts that couldn't be erased when their round ended ---- */

struct held {
  size_t shares, signed_messages;
};

static int count_bodies(void *context, const struct cns_journal_entry *entry) {
  struct held *held = context;
  held->shares += entry->kind == CNS_ENTRY_SHARES && !entry->erased;
  held->signed_messages += entry->kind == CNS_ENTRY_SIGNED && !entry->erased;
  return 0;
}

static struct held held_by(struct cns_server *s) {
  struct held held = {0};
  struct cns_problem problem = {0};
  assert_int_equal(cns_journal_replay(s->journal, 0, 0, count_bodies, &held, &problem), 0);
  return held;
}

/* As if erasing had failed when this attempt ended. */
static void leave_shares(struct cns_server *s, uint64_t round, uint32_t attempt) {
  struct cns_problem problem = {0};
  const struct cns_journal_entry entry = {.kind = CNS_ENTRY_SHARES,
                                          .round = round,
                                          .attempt = attempt,
                                          .phase = CNS_PHASE_SHARES,
                                          .index = 1,
                                          .body = (const uint8_t *)"ciphertexts",
                                          .body_len = 11};
  assert_int_equal(cns_journal_append(s->journal, &entry, &problem), 0);
  assert_int_equal(cns_journal_sync(s->journal, &problem), 0);
}

static void fail_attempt(struct world *w, uint32_t attempt) {
  world_begin_round(w, 1, attempt);
  world_play_until(w, CNS_PHASE_READY);
  assert_true(held_by(&w->s).shares >= HOSPITALS);
  world_stop_round(w);
}

static void what_is_left_is_erased_at_the_next_end(void **state) {
  struct world w;
  init(&w, "later", 3);
  fail_attempt(&w, 1);
  leave_shares(&w.s, 1, 1);
  w.s.erase_due = true;
  fail_attempt(&w, 2);
  assert_int_equal(held_by(&w.s).shares, 0);
  assert_int_equal(held_by(&w.s).signed_messages, 2 * HOSPITALS);
  assert_false(w.s.erase_due);
  world_deinit(&w);
}

static void what_is_left_is_erased_at_the_start(void **state) {
  struct world w;
  struct cns_server next;
  init(&w, "start", 4);
  for (uint32_t attempt = 1; attempt <= 3; attempt++)
    fail_attempt(&w, attempt);
  leave_shares(&w.s, 1, 1);
  leave_shares(&w.s, 1, 2);
  restart(&w, &next, "start");
  assert_int_equal(held_by(&next).shares, 0);
  assert_int_equal(held_by(&next).signed_messages, 3 * HOSPITALS);
  world_deinit_server(&next);
  world_deinit(&w);
}

/* Not those of the round that is gone on with. */
static void a_running_round_keeps_its_shares(void **state) {
  struct world w;
  struct cns_server next;
  init(&w, "running", 5);
  fail_attempt(&w, 1);
  leave_shares(&w.s, 1, 1);
  world_begin_round(&w, 1, 2);
  world_play_until(&w, CNS_PHASE_READY);
  restart(&w, &next, "running");
  assert_non_null(next.machine);
  assert_int_equal(cns_coordinator_phase(next.machine), CNS_PHASE_READY);
  assert_int_equal(held_by(&next).shares, HOSPITALS);
  world_deinit_server(&next);
  world_deinit(&w);
}

static void erasing_that_fails_is_tried_again(void **state) {
  struct world w;
  struct rlimit limit;
  init(&w, "full", 6);
  fail_attempt(&w, 1);
  leave_shares(&w.s, 1, 1);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  struct rlimit none = {.rlim_cur = 1, .rlim_max = limit.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  cns_round_erase(&w.s, 1, 1);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_true(w.s.erase_due);
  assert_int_equal(held_by(&w.s).shares, 1);
  cns_round_tidy(&w.s);
  assert_int_equal(held_by(&w.s).shares, 1); /* not all the time */
  world_at(&w, 2 * CNS_SERVER_ERASE_PAUSE_MS);
  cns_round_tidy(&w.s);
  assert_int_equal(held_by(&w.s).shares, 0);
  world_deinit(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attempts_that_failed_in_ready),
      cmocka_unit_test(attempts_that_failed_in_upload),
      cmocka_unit_test(what_is_left_is_erased_at_the_next_end),
      cmocka_unit_test(what_is_left_is_erased_at_the_start),
      cmocka_unit_test(a_running_round_keeps_its_shares),
      cmocka_unit_test(erasing_that_fails_is_tried_again),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
