/* SPDX-License-Identifier: Apache-2.0 */
/* A full disk, by the process's file size limit, which works everywhere: a
 * sentence, nothing harmed, and on it goes once there is room. */
#include <sys/resource.h>

#include "store/hospital_store.h"
#include "store/registry.h"
#include "store/vector_file.h"

#include "disk_full_support.h"

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(journal_under_a_file_size_limit),
      cmocka_unit_test(creating_under_a_file_size_limit),
      cmocka_unit_test(hospital_under_a_file_size_limit),
      cmocka_unit_test(files_under_a_file_size_limit),

  };
  return cmocka_run_group_tests(tests, full_setup, scratch_teardown);
}
