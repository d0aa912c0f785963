/* SPDX-License-Identifier: Apache-2.0 */
/* A full disk that is one: a file system of one megabyte. Skipped, as a whole
 * and in so many words, where this process may not mount one. */
#include <sched.h>
#include <sys/mount.h>

#include "store/hospital_store.h"
#include "store/registry.h"
#include "store/vector_file.h"

#include "disk_full_support.h"

/* But not the folder itself. */
static int scratch_remove_content(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  return walk->level == 0 ? 0 : remove(path);
}

static bool mount_small_disk(void) {
  if (unshare(CLONE_NEWNS) != 0) return false;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
  const char *disk = scratch_path("disk");
  return mkdir(disk, 0700) == 0 && mount("tmpfs", disk, "tmpfs", 0, "size=1m") == 0;
}

static void everything_on_a_full_disk(void **state) {
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
}

static void resize_small_disk(unsigned kib) {
  char size[32];
  snprintf(size, sizeof(size), "size=%uk", kib);
  assert_int_equal(mount(NULL, scratch_path("disk"), NULL, MS_REMOUNT, size), 0);
}

static int open_and_close(const char *path, bool hospital) {
  struct cns_journal *journal = NULL;
  struct cns_hospital_store *store = NULL;
  int error = hospital ? cns_hospital_store_open(path, scratch_key, &store, &problem)
                       : cns_journal_open(path, scratch_key, &journal, &problem);
  cns_journal_free(journal);
  cns_hospital_store_free(store);
  return error;
}

/* Wherever the disk gets full while a database is made: no file, or a whole
 * one, and it works once there is room. */
static void creating_on_every_size_of_disk(void **state) {
  unsigned refused = 0, made = 0;
  assert_int_equal(nftw(scratch_path("disk"), scratch_remove_content, 16, FTW_DEPTH | FTW_PHYS), 0);
  for (int hospital = 0; hospital < 2; hospital++)
    for (unsigned kib = 4; kib <= 400; kib += 4) {
      char name[64];
      snprintf(name, sizeof(name), "disk/%d-%u", hospital, kib);
      resize_small_disk(kib);
      int error = open_and_close(scratch_path(name), hospital);
      if (error && error != CNS_ERR_DISK_FULL) print_error("%u KiB: %s\n", kib, problem.text);
      assert_true(error == 0 || error == CNS_ERR_DISK_FULL);
      error ? refused++ : made++;
      resize_small_disk(1024);
      error = open_and_close(scratch_path(name), hospital);
      if (error) print_error("%u KiB, then room: %s\n", kib, problem.text);
      assert_int_equal(error, 0);
      assert_int_equal(nftw(scratch_path("disk"), scratch_remove_content, 16, FTW_DEPTH | FTW_PHYS), 0);
    }
  assert_true(refused > 10 && made > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(everything_on_a_full_disk),
                                     cmocka_unit_test(creating_on_every_size_of_disk)};
  if (full_setup(NULL) != 0) return 1;
  if (!mount_small_disk()) {
    printf("1..0 # SKIP no permission to mount a small disk\n");
    return scratch_teardown(NULL);
  }
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (umount(scratch_path("disk")) != 0) return 1;
  return scratch_teardown(NULL) != 0 || failed;
}
