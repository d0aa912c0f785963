/* SPDX-License-Identifier: Apache-2.0 */
/* Where uploads lie: what the journal counts of them, and room on the disk. */
#include <sys/statvfs.h>

#include "tests/store/scratch.h"

#include "tests/coordinator/world.h"

#define HOSPITALS 5

/* In the place of the C library's: a disk with so much room. */
static uint64_t room_bytes = UINT64_MAX / 2;

int statvfs(const char *path, struct statvfs *ret_status) {
  *ret_status = (struct statvfs){.f_bavail = room_bytes, .f_frsize = 1};
  return 0;
}

static void init(struct world *w, const char *name, uint64_t seed) {
  static const uint8_t key[CNS_JOURNAL_KEY_BYTES] = {1};
  static char folder[600];
  struct cns_problem problem = {0};
  char file[700];
  world_init(w, HOSPITALS, 100, seed);
  snprintf(folder, sizeof folder, "%s", scratch_path(name));
  assert_int_equal(mkdir(folder, 0700), 0);
  w->s.vectors = folder;
  snprintf(file, sizeof file, "%s/journal", folder);
  assert_int_equal(cns_journal_open(file, key, &w->s.journal, &problem), 0);
  world_begin_round(w, 1, 1);
  world_play_until(w, CNS_PHASE_UPLOAD);
  assert_int_equal(cns_coordinator_phase(w->s.machine), CNS_PHASE_UPLOAD);
  assert_int_equal(cns_journal_sync(w->s.journal, &problem), 0);
}

static void open_upload(struct world *w, size_t k) {
  const struct cns_digest *round = &cns_coordinator_round(w->s.machine)->digest;
  cns_upload_open(&w->s, &w->s.sessions[k], round->bytes, sizeof round->bytes);
}

static int last_chunks(void *context, const struct cns_journal_entry *entry) {
  if (entry->kind == CNS_ENTRY_CHUNKS) memcpy(context, entry->body, 8);
  return 0;
}

/* A file is lost with chunks that the journal counts. Whatever happens once there
 * is a new one, which is noise, the journal mustn't count them any more. */
static void a_new_file_is_made_after_the_journal_forgot_the_old(void **state) {
  static const uint64_t room_of_disks[] = {UINT64_MAX / 2, 0};
  for (size_t k = 0; k < 2; k++) {
    struct world w;
    struct cns_problem problem = {0};
    uint64_t counted = UINT64_MAX;
    init(&w, k ? "forget-1" : "forget-0", 1);
    w.s.uploads[0].checkpoint = 1;
    room_bytes = room_of_disks[k]; /* without room no file is made, and it's forgotten all the same */
    open_upload(&w, 0);
    assert_int_equal(w.s.uploads[0].file != NULL, k == 0);
    assert_int_equal(w.s.uploads[0].declined, k == 1);
    assert_int_equal(cns_journal_pending(w.s.journal), 0);
    assert_int_equal(cns_journal_replay(w.s.journal, 1, 1, last_chunks, &counted, &problem), 0);
    assert_true(counted == 0);
    room_bytes = UINT64_MAX / 2;
    world_deinit(&w);
  }
}

/* The journal's share of the disk is not for uploads. */
static void a_margin_is_kept_free(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  init(&w, "margin", 2);
  uint64_t bytes = 4 * cns_descriptor_words(&w.f.descriptor);
  assert_true(CNS_SERVER_DISK_MARGIN_BYTES == 32u << 20);
  room_bytes = CNS_SERVER_DISK_MARGIN_BYTES + bytes;
  assert_int_equal(cns_upload_check_room(&w.s, bytes, &problem), 0);
  assert_int_equal(cns_upload_check_room(&w.s, bytes + 1, &problem), CNS_ERR_DISK_FULL);
  assert_non_null(strstr(problem.text, "no space left for uploads"));
  assert_int_equal(cns_upload_check_room(&w.s, UINT64_MAX, &problem), CNS_ERR_DISK_FULL);
  open_upload(&w, 0);
  assert_false(w.s.uploads[0].declined);
  room_bytes--;
  open_upload(&w, 0); /* has its room already */
  open_upload(&w, 1);
  assert_false(w.s.uploads[0].declined);
  assert_true(w.s.uploads[1].declined);
  assert_null(w.s.uploads[1].file);
  room_bytes = UINT64_MAX / 2;
  world_deinit(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_new_file_is_made_after_the_journal_forgot_the_old),
      cmocka_unit_test(a_margin_is_kept_free),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
