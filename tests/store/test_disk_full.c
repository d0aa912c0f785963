/* SPDX-License-Identifier: Apache-2.0 */
/* A full disk, in two ways: the process's file size limit, which works
 * everywhere, and a real file system of one megabyte, where the test may mount
 * one. In both: a sentence, nothing harmed, and on it goes once there is room. */
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "store/hospital_store.h"
#include "store/journal.h"
#include "store/registry.h"
#include "store/vector_file.h"

#include "scratch.h"

static struct cns_problem problem;
static uint8_t large[60000];

static int append(struct cns_journal *journal) {
  struct cns_journal_entry entry = {.kind = 1, .round = 1, .body = large, .body_len = sizeof(large)};
  return cns_journal_append(journal, &entry, &problem);
}

static int count_one(void *context, const struct cns_journal_entry *entry) {
  assert_int_equal(entry->body_len, sizeof(large));
  assert_memory_equal(entry->body, large, sizeof(large));
  ++*(size_t *)context;
  return 0;
}

static size_t count(struct cns_journal *journal) {
  size_t entries = 0;
  assert_int_equal(cns_journal_replay(journal, 0, 0, count_one, &entries, &problem), 0);
  return entries;
}

/* Groups of `group` entries until the disk is full. */
static size_t fill(struct cns_journal *journal, size_t group) {
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

static void reopen_and_expect(struct cns_journal *journal, const char *path, size_t entries) {
  cns_journal_free(journal);
  assert_int_equal(cns_journal_open(path, scratch_key, &journal, &problem), 0);
  assert_int_equal(count(journal), entries);
  cns_journal_free(journal);
}

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void journal_under_a_file_size_limit(void **state) {
  const char *path = scratch_path("limited");
  struct cns_journal *journal = NULL;
  assert_int_equal(cns_journal_open(path, scratch_key, &journal, &problem), 0);
  limit_files(1u << 20);
  size_t kept = fill(journal, 1);
  kept += fill(journal, 3);
  limit_files(RLIM_INFINITY);
  assert_int_equal(count(journal), kept);
  assert_int_equal(append(journal), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  reopen_and_expect(journal, scratch_path("limited"), kept + 1);
}

static void creating_under_a_file_size_limit(void **state) {
  struct cns_journal *journal = NULL;
  limit_files(5000);
  int error = cns_journal_open(scratch_path("unborn"), scratch_key, &journal, &problem);
  limit_files(RLIM_INFINITY);
  assert_int_equal(error, CNS_ERR_DISK_FULL);
  assert_int_not_equal(access(scratch_path("unborn"), F_OK), 0);
  assert_int_equal(cns_journal_open(scratch_path("unborn"), scratch_key, &journal, &problem), 0);
  cns_journal_free(journal);
}

static void hospital_under_a_file_size_limit(void **state) {
  struct cns_hospital_store *store = NULL;
  assert_int_equal(cns_hospital_store_open(scratch_path("hospital"), scratch_key, &store, &problem), 0);
  limit_files(300000);
  uint8_t phase = 0;
  int error = 0;
  struct cns_digest round = scratch_digest(1);
  while (!(error = cns_hospital_store_put_message(store, &round, phase, large, sizeof(large), &problem)))
    phase++;
  limit_files(RLIM_INFINITY);
  assert_int_equal(error, CNS_ERR_DISK_FULL);
  uint8_t *bytes = NULL;
  size_t len = 0;
  /* What was not acknowledged is not there, and can be stored now. */
  assert_int_equal(cns_hospital_store_get_message(store, &round, phase, &bytes, &len, &problem),
                   CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_hospital_store_put_message(store, &round, phase, large, 10, &problem), 0);
  for (uint8_t k = 0; k < phase; k++) {
    assert_int_equal(cns_hospital_store_get_message(store, &round, k, &bytes, &len, &problem), 0);
    assert_int_equal(len, sizeof(large));
    free(bytes);
  }
  cns_hospital_store_free(store);
}

static void files_under_a_file_size_limit(void **state) {
  struct cns_vector_file *file = NULL;
  struct cns_registry *registry = NULL;
  struct cns_digest digest;
  assert_int_equal(cns_registry_open(scratch_path("registry"), &registry, &problem), 0);
  limit_files(30000);
  int vector_error = cns_vector_file_create(scratch_folder, "v", 100000, scratch_key, &file, &problem);
  int model_error = cns_registry_put_model(registry, large, sizeof(large), &digest, &problem);
  limit_files(RLIM_INFINITY);
  assert_int_equal(vector_error, CNS_ERR_DISK_FULL);
  assert_int_equal(model_error, CNS_ERR_DISK_FULL);
  assert_int_not_equal(access(scratch_path("v.vector"), F_OK), 0);
  assert_int_not_equal(access(scratch_path("v.vector.new"), F_OK), 0);
  assert_int_equal(cns_registry_put_model(registry, large, sizeof(large), &digest, &problem), 0);
  assert_int_equal(cns_vector_file_create(scratch_folder, "v", 100000, scratch_key, &file, &problem), 0);
  cns_vector_file_free(file);
  cns_registry_free(registry);
}

/* NULL where mounting is not permitted. */
static const char *mount_small_disk(void) {
  if (unshare(CLONE_NEWNS) != 0) return NULL;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return NULL;
  const char *disk = scratch_path("disk");
  if (mkdir(disk, 0700) != 0 || mount("tmpfs", disk, "tmpfs", 0, "size=1m") != 0) return NULL;
  return disk;
}

static void everything_on_a_full_disk(void **state) {
  if (!mount_small_disk()) skip();
  struct cns_journal *journal = NULL;
  struct cns_vector_file *file = NULL;
  struct cns_registry *registry = NULL;
  struct cns_digest digest;
  assert_int_equal(cns_registry_open(scratch_path("disk/registry"), &registry, &problem), 0);
  assert_int_equal(
      cns_vector_file_create(scratch_path("disk"), "ballast", 50000, scratch_key, &file, &problem), 0);
  assert_int_equal(cns_journal_open(scratch_path("disk/journal"), scratch_key, &journal, &problem), 0);
  size_t kept = fill(journal, 2);
  assert_true(kept > 0);

  /* Reserved space holds: a hospital that has begun to upload finishes. */
  uint32_t words[1000] = {1, 2, 3}, back[1000];
  for (uint64_t at = 0; at < 50000; at += 1000)
    assert_int_equal(cns_vector_file_write(file, at, words, 1000, &problem), 0);
  assert_int_equal(cns_vector_file_sync(file, &problem), 0);
  assert_int_equal(cns_vector_file_read(file, 49000, 1000, back, &problem), 0);
  assert_memory_equal(words, back, sizeof(words));
  cns_vector_file_free(file);
  assert_int_equal(cns_vector_file_create(scratch_path("disk"), "more", 250000, scratch_key, &file, &problem),
                   CNS_ERR_DISK_FULL);
  assert_int_equal(cns_registry_put_model(registry, large, sizeof(large), &digest, &problem),
                   CNS_ERR_DISK_FULL);
  cns_registry_free(registry);

  assert_int_equal(cns_vector_file_delete(scratch_path("disk"), "ballast", &problem), 0);
  assert_int_equal(append(journal), 0);
  assert_int_equal(cns_journal_sync(journal, &problem), 0);
  reopen_and_expect(journal, scratch_path("disk/journal"), kept + 1);
  assert_int_equal(umount(scratch_path("disk")), 0);
}

static int setup(void **state) {
  signal(SIGXFSZ, SIG_IGN);
  for (size_t k = 0; k < sizeof(large); k++)
    large[k] = (uint8_t)(k * 7);
  return scratch_setup(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(journal_under_a_file_size_limit),  cmocka_unit_test(creating_under_a_file_size_limit),
      cmocka_unit_test(hospital_under_a_file_size_limit), cmocka_unit_test(files_under_a_file_size_limit),
      cmocka_unit_test(everything_on_a_full_disk),
  };
  return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
