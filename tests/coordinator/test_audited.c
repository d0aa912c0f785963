/* SPDX-License-Identifier: Apache-2.0 */
/* Audited rounds in the daemon: what detection decides, what a restart knows of
 * it, quarantine and its end, and what the journal keeps. */
#include "tests/store/scratch.h"

#include "tests/coordinator/world.h"

#include "coordinator/sketches.h"
#include "protocol/release.h"

#define HOSPITALS 8
#define POISONER 5

static const uint8_t key[CNS_JOURNAL_KEY_BYTES] = {4, 5, 6};
static char folder[600];

static void open_files(struct cns_server *s) {
  char file[700];
  struct cns_problem problem = {0};
  s->vectors = s->kit.config.state_path = folder;
  snprintf(file, sizeof file, "%s/journal", folder);
  if (cns_journal_open(file, key, &s->journal, &problem) < 0) fail_msg("%s", problem.text);
  if (!s->registry) assert_int_equal(cns_registry_open(scratch_path("models"), &s->registry, NULL), 0);
}

static void init(struct world *w, const char *name, uint64_t seed, enum cns_on_flag on_flag) {
  *w = (struct world){.start_ms = 10000000};
  federation_init_audited(&w->f, HOSPITALS, seed);
  w->f.policy.on_flag = on_flag;
  world_init_server(w, &w->s);
  w->s.round_started_ms = w->s.phase_started_ms = w->start_ms;
  world_at(w, 0);
  snprintf(w->s.plan.name, sizeof w->s.plan.name, "study");
  snprintf(folder, sizeof folder, "%s", scratch_path(name));
  assert_int_equal(mkdir(folder, 0700), 0);
  open_files(&w->s);
}

/* The same folder's next process, in the place of the one before. */
static void restart(struct world *w) {
  struct cns_problem problem = {0};
  world_deinit_server(&w->s);
  world_init_server(w, &w->s);
  snprintf(w->s.plan.name, sizeof w->s.plan.name, "study");
  open_files(&w->s);
  int out = world_mute();
  if (cns_replay(&w->s, &problem) < 0) fail_msg("%s", problem.text);
  assert_int_equal(uv_run(&w->s.loop, UV_RUN_DEFAULT), 0);
  world_unmute(out);
  w->f.coordinator = w->s.machine;
}

/* Many times as long as the clip allows; no entry wraps. */
static void poison(struct world *w, size_t k) {
  for (uint64_t i = 0; i < w->f.dim; i++)
    w->f.x[k][i] = (uint32_t)((int32_t)w->f.x[k][i] * 4096);
}

static void begin(struct world *w, uint64_t round) {
  world_begin_round(w, round, 1);
  poison(w, POISONER);
}

static void assert_left_out(struct world *w, uint8_t outcome) {
  const struct cns_agreement *outcomes = cns_coordinator_outcomes(w->s.machine);
  for (size_t k = 0; k < HOSPITALS; k++)
    assert_int_equal(outcomes->outcomes[k], k == POISONER ? outcome : CNS_INCLUDED);
}

/* ---- one round ---- */

static void poison_is_left_out_as_the_policy_says(void **state) {
  static const uint8_t outcomes[] = {
      [CNS_FLAG_REPORT] = CNS_INCLUDED,
      [CNS_FLAG_EXCLUDE] = CNS_OUT_FLAGGED,
      [CNS_FLAG_QUARANTINE] = CNS_OUT_QUARANTINED,
  };
  (void)state;
  for (enum cns_on_flag what = CNS_FLAG_REPORT; what <= CNS_FLAG_QUARANTINE; what++) {
    struct world w;
    char name[32], path[700];
    snprintf(name, sizeof name, "on-flag-%d", what);
    init(&w, name, 10 + what, what);
    begin(&w, 1);
    world_play_until(&w, CNS_PHASE_UNMASK);
    assert_int_equal(cns_coordinator_phase(w.s.machine), CNS_PHASE_UNMASK);
    assert_left_out(&w, outcomes[what]);
    assert_non_null(w.s.judgement);
    assert_true(w.s.judgement->confirmed);
    assert_int_equal(w.s.judgement->result.flags[0].hospital, POISONER + 1);
    assert_true(w.s.watch->history.tight_rounds == w.f.policy.tighten_rounds);
    assert_true(w.s.watch->quarantined[POISONER + 1] == (what == CNS_FLAG_QUARANTINE ? 1 : 0));
    for (size_t k = 0; k < HOSPITALS; k++)
      assert_true(w.s.watch->revealed[k + 1] == FEDERATION_SKETCH);
    assert_true(w.s.watch->audited_round == 1);
    snprintf(path, sizeof path, "%s/flags/round-1-1.json", folder);
    assert_int_equal(access(path, R_OK), 0);
    world_deinit(&w);
  }
}

/* ---- restarts ---- */

static void a_restart_in_each_phase_decides_the_same(void **state) {
  static const enum cns_phase phases[] = {CNS_PHASE_KEYS,  CNS_PHASE_READY, CNS_PHASE_UPLOAD,
                                          CNS_PHASE_AUDIT, CNS_PHASE_AGREE, CNS_PHASE_UNMASK};
  (void)state;
  for (size_t p = 0; p < sizeof phases / sizeof phases[0]; p++) {
    struct world w;
    char name[32];
    struct cns_watch before;
    snprintf(name, sizeof name, "restart-%zu", p);
    init(&w, name, 20 + p, CNS_FLAG_QUARANTINE);
    begin(&w, 1);
    world_play_until(&w, phases[p]);
    assert_int_equal(cns_coordinator_phase(w.s.machine), phases[p]);
    before = *w.s.watch;
    restart(&w);
    assert_non_null(w.s.machine);
    assert_int_equal(cns_coordinator_phase(w.s.machine), phases[p]);
    assert_memory_equal(w.s.watch, &before, sizeof before);
    world_play_until(&w, CNS_PHASE_UNMASK);
    assert_left_out(&w, CNS_OUT_QUARANTINED);
    world_deinit(&w);
  }
}

/* Killed when the closing was in the journal and the decision wasn't; or with
 * answers in it and no sketch of an upload. */
static void a_restart_before_the_decision_makes_it(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  (void)state;
  init(&w, "undecided", 30, CNS_FLAG_EXCLUDE);
  begin(&w, 1);
  world_play_until(&w, CNS_PHASE_AUDIT);
  for (size_t k = 0; k < HOSPITALS; k++) {
    const uint8_t *answer;
    size_t len;
    assert_int_equal(federation_answer(&w.f, k, &answer, &len, &problem), 0);
    cns_round_answer(&w.s, &w.s.sessions[k], answer, len);
  }
  assert_int_equal(cns_server_append(&w.s, CNS_ENTRY_CLOSE, CNS_PHASE_AUDIT, 0, NULL, 0, &problem), 0);
  assert_int_equal(cns_journal_sync(w.s.journal, &problem), 0);
  restart(&w);
  assert_int_equal(cns_coordinator_phase(w.s.machine), CNS_PHASE_AGREE);
  assert_false(cns_coordinator_is_undecided(w.s.machine));
  assert_left_out(&w, CNS_OUT_FLAGGED);
  restart(&w); /* and now it is written down */
  assert_left_out(&w, CNS_OUT_FLAGGED);
  assert_null(w.s.judgement);
  world_deinit(&w);
}

/* ---- what the journal keeps ---- */

static int count_bodies(void *context, const struct cns_journal_entry *entry) {
  size_t *held = context;
  if (entry->erased) return 0;
  held[0] += entry->kind == CNS_ENTRY_SHARES && entry->phase == CNS_PHASE_AUDIT;
  held[1] += entry->kind == CNS_ENTRY_SKETCH;
  held[2] += entry->kind == CNS_ENTRY_SIGNED && entry->phase == CNS_PHASE_AUDIT;
  return 0;
}

static void sketches_dont_outlive_the_round(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  size_t held[3] = {0}, kept[3] = {0};
  (void)state;
  init(&w, "erased", 40, CNS_FLAG_REPORT);
  begin(&w, 1);
  world_play_until(&w, CNS_PHASE_AGREE);
  assert_int_equal(cns_journal_replay(w.s.journal, 1, 1, count_bodies, held, &problem), 0);
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(held[i], HOSPITALS);
  world_stop_round(&w);
  w.f.coordinator = NULL;
  assert_int_equal(cns_journal_replay(w.s.journal, 1, 1, count_bodies, kept, &problem), 0);
  assert_int_equal(kept[0], 0);
  assert_int_equal(kept[1], 0);
  assert_int_equal(kept[2], HOSPITALS);
  restart(&w);
  for (size_t k = 0; k < HOSPITALS; k++)
    assert_true(w.s.watch->revealed[k + 1] == FEDERATION_SKETCH);    /* never refunded */
  assert_false(cns_watch_has_had_all(w.s.watch, 1, 1, &w.f.policy)); /* of two */
  world_begin_round(&w, 1, 2);
  world_play_until(&w, CNS_PHASE_AGREE);
  assert_true(cns_watch_has_had_all(w.s.watch, 1, 1, &w.f.policy));
  assert_false(cns_watch_has_had_all(w.s.watch, 1, 2, &w.f.policy));
  world_deinit(&w);
}

/* A replay begins one round back at the most. */
static void what_was_seen_long_ago_is_known_after_a_restart(void **state) {
  struct world w;
  (void)state;
  init(&w, "long-ago", 45, CNS_FLAG_QUARANTINE);
  begin(&w, 1);
  world_play_until(&w, CNS_PHASE_AGREE);
  world_stop_round(&w);
  world_begin_round(&w, 3, 1);
  restart(&w);
  assert_true(cns_quarantine_holds(&w.s, POISONER + 1));
  assert_true(w.s.watch->revealed[1] == FEDERATION_SKETCH);
  assert_true(w.s.watch->history.of[1].rounds == 1);
  world_deinit(&w);
}

static void uploads_are_sketched_as_vectors_in_memory_are(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  struct cns_sketch_key sketch_key;
  uint32_t of_files[HOSPITALS * FEDERATION_SKETCH], of_y[CNS_SKETCH_MAX];
  struct cns_vector_file *files[HOSPITALS];
  (void)state;
  init(&w, "sketches", 50, CNS_FLAG_REPORT);
  begin(&w, 1);
  world_play_until(&w, CNS_PHASE_AUDIT);
  for (size_t k = 0; k < HOSPITALS; k++)
    files[k] = w.s.uploads[k].file;
  assert_int_equal(cns_coordinator_sketch_key(w.s.machine, &sketch_key), 0);
  assert_int_equal(cns_sketch_uploads(&sketch_key, FEDERATION_SKETCH, files, HOSPITALS, w.f.dim,
                                      cns_parallel_threads(), of_files, &problem),
                   0);
  for (size_t k = 0; k < HOSPITALS; k++) {
    federation_sketch_of(&w.f, w.f.y[k], of_y);
    assert_memory_equal(of_y, of_files + k * FEDERATION_SKETCH, FEDERATION_SKETCH * sizeof *of_y);
  }
  world_deinit(&w);
}

/* ---- quarantine ---- */

static void write_release(struct world *w, const char *name, const struct cns_release *release,
                          const struct cns_identity *signer) {
  struct cns_problem problem = {0};
  uint8_t *data = NULL;
  size_t len = 0;
  char path[800];
  snprintf(path, sizeof path, "%s/releases", folder);
  (void)mkdir(path, 0700);
  snprintf(path, sizeof path, "%s/releases/%s", folder, name);
  assert_int_equal(cns_release_make(release, signer, &data, &len), 0);
  assert_int_equal(cns_file_write(path, data, len, 0600, &problem), 0);
  free(data);
  w->s.releases_read = (struct timespec){0};
  cns_quarantine_take_releases(&w->s);
}

static void only_an_officer_ends_a_quarantine(void **state) {
  struct world w;
  const struct cns_release good = {.consortium = "test",
                                   .study = "study",
                                   .index = POISONER + 1,
                                   .name = "hospital-6",
                                   .round = 1,
                                   .reason = "a sensor was replaced"};
  struct cns_release other = good;
  (void)state;
  init(&w, "quarantine", 60, CNS_FLAG_QUARANTINE);
  begin(&w, 1);
  world_play_until(&w, CNS_PHASE_UNMASK);
  world_stop_round(&w);
  w.f.coordinator = NULL;
  restart(&w);
  assert_true(cns_quarantine_holds(&w.s, POISONER + 1));
  write_release(&w, "a.release", &good, w.f.identities[POISONER]); /* it itself */
  write_release(&w, "b.release", &good, w.f.coordinator_identity);
  other.round = 2;
  write_release(&w, "c.release", &other, w.f.officer);
  other = good;
  snprintf(other.study, sizeof other.study, "another");
  write_release(&w, "d.release", &other, w.f.officer);
  other = good;
  other.index = 1; /* named as the other */
  write_release(&w, "e.release", &other, w.f.officer);
  write_release(&w, "f.txt", &good, w.f.officer); /* no release by its name */
  assert_true(cns_quarantine_holds(&w.s, POISONER + 1));
  write_release(&w, "g.release", &good, w.f.officer);
  assert_false(cns_quarantine_holds(&w.s, POISONER + 1));
  assert_int_equal(w.s.watch->history.of[POISONER + 1].rounds, 0);
  w.s.watch->quarantined[POISONER + 1] = 7; /* a later one is not undone by it */
  w.s.releases_read = (struct timespec){0};
  cns_quarantine_take_releases(&w.s);
  assert_true(cns_quarantine_holds(&w.s, POISONER + 1));
  world_deinit(&w);
}

/* ---- the watch ---- */

static void the_watch_is_read_back_or_refused(void **state) {
  struct cns_watch *watch = calloc(1, sizeof *watch), *back = calloc(1, sizeof *back);
  struct cns_writer writer;
  (void)state;
  assert_non_null(watch);
  assert_non_null(back);
  assert_true(cns_watch_is_empty(watch));
  watch->revealed[1] = 1;
  watch->revealed[CNS_HOSPITALS_MAX] = UINT64_MAX;
  watch->quarantined[7] = 3;
  watch->statistic[7] = CNS_DETECT_TWINS;
  watch->audits[7] = 2;
  watch->audited_round = 9;
  assert_int_equal(cns_detect_history_tighten(&watch->history, 4, 2), 0);
  cns_writer_init(&writer, CNS_WATCH_BYTES_MAX);
  assert_int_equal(cns_watch_encode(watch, &writer), 0);
  assert_int_equal(cns_watch_decode(writer.data, writer.len, back), 0);
  assert_memory_equal(watch, back, sizeof *watch);
  for (size_t len = 0; len < writer.len; len++)
    assert_true(cns_watch_decode(writer.data, len, back) < 0);
  writer.data[0] = 2;
  assert_int_equal(cns_watch_decode(writer.data, writer.len, back), CNS_ERR_VERSION);
  writer.data[0] = 1;
  writer.data[11] = 0; /* index 0 */
  assert_int_equal(cns_watch_decode(writer.data, writer.len, back), CNS_ERR_FORMAT);
  assert_memory_equal(watch, back, sizeof *watch);
  cns_writer_deinit(&writer);
  free(watch);
  free(back);
}

static void the_sketch_budget_is_counted_to_its_last_number(void **state) {
  struct cns_watch *watch = calloc(1, sizeof *watch);
  struct cns_policy policy = {.audit_level = CNS_AUDIT_OPEN, .sketch = 256, .sketch_budget = 0.125};
  (void)state;
  assert_non_null(watch);
  watch->revealed[3] = 1024 - 256;
  assert_true(cns_watch_has_budget(watch, 3, &policy, 8192));
  watch->revealed[3]++;
  assert_false(cns_watch_has_budget(watch, 3, &policy, 8192));
  watch->revealed[3] = UINT64_MAX;
  assert_false(cns_watch_has_budget(watch, 3, &policy, 8192));
  assert_true(cns_watch_has_budget(watch, 4, &policy, 8192));
  free(watch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(poison_is_left_out_as_the_policy_says),
      cmocka_unit_test(a_restart_in_each_phase_decides_the_same),
      cmocka_unit_test(a_restart_before_the_decision_makes_it),
      cmocka_unit_test(sketches_dont_outlive_the_round),
      cmocka_unit_test(what_was_seen_long_ago_is_known_after_a_restart),
      cmocka_unit_test(uploads_are_sketched_as_vectors_in_memory_are),
      cmocka_unit_test(only_an_officer_ends_a_quarantine),
      cmocka_unit_test(the_watch_is_read_back_or_refused),
      cmocka_unit_test(the_sketch_budget_is_counted_to_its_last_number),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
