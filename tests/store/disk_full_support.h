/* SPDX-License-Identifier: Apache-2.0 */
/* What the two tests of a full disk share. */
#pragma once

#include "store/journal.h"

#include "scratch.h"

static struct cns_problem problem;
static uint8_t large[60000];

static inline int append(struct cns_journal *journal) {
  struct cns_journal_entry entry = {.kind = 1, .round = 1, .body = large, .body_len = sizeof(large)};
  return cns_journal_append(journal, &entry, &problem);
}

static inline int count_one(void *context, const struct cns_journal_entry *entry) {
  assert_int_equal(entry->body_len, sizeof(large));
  assert_memory_equal(entry->body, large, sizeof(large));
  ++*(size_t *)context;
  return 0;
}

static inline size_t count(struct cns_journal *journal) {
  size_t entries = 0;
  assert_int_equal(cns_journal_replay(journal, 0, 0, count_one, &entries, &problem), 0);
  return entries;
}

/* Groups of `group` entries until the disk is full. */
static inline size_t fill(struct cns_journal *journal, size_t group) {
  size_t kept = 0;
  for (int k = 0; k < 2000; k++) {
    int error = 0;
    for (size_t j = 0; j < group && !error; j++)
      error = append(journal);
    if (!error) error = cns_journal_sync(journal, &problem);
    if (error) {
      if (error != CNS_ERR_DISK_FULL) print_error("%s\n", problem.text);
      assert_int_equal(error, CNS_ERR_DISK_FULL);
      assert_non_null(strstr(problem.text, "no space left"));
      assert_int_equal(cns_journal_pending(journal), 0);
      return kept;
    }
    kept += group;
  }
  fail_msg("the disk never was full");
  return 0;
}

static inline void reopen_and_expect(struct cns_journal *journal, const char *path, size_t entries) {
  cns_journal_free(journal);
  assert_int_equal(cns_journal_open(path, scratch_key, &journal, &problem), 0);
  assert_int_equal(count(journal), entries);
  cns_journal_free(journal);
}

static inline int full_setup(void **state) {
  signal(SIGXFSZ, SIG_IGN);
  for (size_t k = 0; k < sizeof(large); k++)
    large[k] = (uint8_t)(k * 7);
  return scratch_setup(state);
}
