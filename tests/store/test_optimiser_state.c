/* SPDX-License-Identifier: Apache-2.0 */
#include "store/optimiser_state.h"

#include "scratch.h"

#define BLOCK CNS_OPTIMISER_BLOCK

static struct cns_problem problem;

static float value(uint64_t round, size_t array, uint64_t k) {
  return (float)round + (float)array * 0.5f + (float)(k % 1009) / 4096.0f;
}

static struct cns_optimiser_version version_of(uint64_t round, uint64_t dim, size_t arrays) {
  return (struct cns_optimiser_version){.round = round,
                                        .model = scratch_digest(round),
                                        .plan = scratch_digest(99),
                                        .dim = dim,
                                        .arrays = arrays};
}

static size_t length_of(uint64_t dim, size_t block) {
  uint64_t left = dim - (uint64_t)block * BLOCK;
  return left < BLOCK ? (size_t)left : BLOCK;
}

static void write_block(struct cns_optimiser_change *change, uint64_t round, uint64_t dim, size_t arrays,
                        size_t block) {
  static float data[CNS_OPTIMISER_ARRAYS_MAX][BLOCK];
  const float *const of[] = {data[0], data[1]};
  for (size_t a = 0; a < arrays; a++)
    for (size_t k = 0; k < length_of(dim, block); k++)
      data[a][k] = value(round, a, (uint64_t)block * BLOCK + k);
  assert_int_equal(cns_optimiser_change_write(change, block, of, &problem), 0);
}

static struct cns_optimiser_change *begin(const char *folder, const struct cns_optimiser_version *from,
                                          uint64_t dim, size_t arrays) {
  struct cns_optimiser_change *change = NULL;
  int r = cns_optimiser_change_begin(folder, from, dim, arrays, &change, &problem);
  if (r) print_error("%s\n", problem.text);
  assert_int_equal(r, 0);
  return change;
}

static void make(const char *folder, uint64_t round, uint64_t dim, size_t arrays) {
  struct cns_optimiser_change *change = begin(folder, NULL, dim, arrays);
  struct cns_optimiser_version version = version_of(round, dim, arrays);
  for (size_t block = 0; (uint64_t)block * BLOCK < dim; block++)
    write_block(change, round, dim, arrays, block);
  assert_int_equal(cns_optimiser_change_commit(change, &version, &problem), 0);
  cns_optimiser_change_free(change);
}

static const char *path_of(const char *folder, uint64_t round) {
  static char path[700];
  char hex[2 * CNS_DIGEST_BYTES + 1];
  struct cns_digest model = scratch_digest(round);
  cns_hex_encode(model.bytes, CNS_DIGEST_BYTES, hex);
  snprintf(path, sizeof path, "%s/%020llu-%s.optimiser", folder, (unsigned long long)round, hex);
  return path;
}

static void what_was_committed_is_read(void **state) {
  static float data[2][BLOCK];
  static const uint64_t dims[] = {1, BLOCK - 1, BLOCK, 2 * BLOCK + 17};
  for (size_t d = 0; d < 4; d++)
    for (size_t arrays = 1; arrays <= 2; arrays++) {
      const char *folder = scratch_path(d % 2 ? "read-odd" : "read-even");
      uint64_t dim = dims[d];
      struct cns_optimiser_version version = version_of(5, dim, arrays);
      float *const of[] = {data[0], data[1]};
      make(folder, 5, dim, arrays);
      assert_int_equal(cns_optimiser_state_check(folder, &version, &problem), 0);
      struct stat status;
      assert_int_equal(stat(path_of(folder, 5), &status), 0);
      assert_int_equal(status.st_size, cns_optimiser_state_bytes(dim, arrays));
      assert_int_equal(status.st_mode & 0777, 0600);
      struct cns_optimiser_change *change = begin(folder, &version, dim, arrays);
      for (size_t block = 0; (uint64_t)block * BLOCK < dim; block++) {
        assert_int_equal(cns_optimiser_change_read(change, block, of, &problem), 0);
        for (size_t a = 0; a < arrays; a++)
          for (size_t k = 0; k < length_of(dim, block); k++)
            assert_true(data[a][k] == value(5, a, (uint64_t)block * BLOCK + k));
      }
      assert_int_equal(cns_optimiser_change_read(change, 3, of, &problem), CNS_ERR_ARGUMENT);
      cns_optimiser_change_free(change);
      assert_int_equal(cns_optimiser_state_sweep(folder, NULL, &problem), 0);
    }
}

static void a_change_leaves_the_version_before_alone(void **state) {
  const char *folder = scratch_path("before");
  const uint64_t dim = BLOCK + 3;
  static float data[2][BLOCK];
  float *const of[] = {data[0], data[1]};
  struct cns_optimiser_version from = version_of(1, dim, 2), to = version_of(2, dim, 2);
  make(folder, 1, dim, 2);
  struct cns_optimiser_change *change = begin(folder, &from, dim, 2);
  write_block(change, 2, dim, 2, 1);
  assert_int_equal(cns_optimiser_change_commit(change, &to, &problem), CNS_ERR_STATE); /* half of it */
  cns_optimiser_change_free(change);
  assert_int_equal(access(scratch_path("before/new.optimiser"), F_OK), -1);
  assert_int_equal(cns_optimiser_state_check(folder, &to, &problem), CNS_ERR_NOT_FOUND);
  change = begin(folder, &from, dim, 2);
  write_block(change, 2, dim, 2, 1);
  write_block(change, 2, dim, 2, 0);
  assert_int_equal(cns_optimiser_change_read(change, 0, of, &problem), 0);
  assert_true(data[1][7] == value(1, 1, 7));
  assert_int_equal(cns_optimiser_change_commit(change, &to, &problem), 0);
  cns_optimiser_change_free(change);
  assert_int_equal(cns_optimiser_state_check(folder, &from, &problem), 0);
  assert_int_equal(cns_optimiser_state_check(folder, &to, &problem), 0);
  scratch_write(scratch_path("before/new.optimiser"), (const uint8_t *)"half", 4);
  scratch_write(scratch_path("before/a-note.txt"), (const uint8_t *)"ours", 4);
  assert_int_equal(cns_optimiser_state_sweep(folder, &to, &problem), 0);
  assert_int_equal(cns_optimiser_state_check(folder, &from, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "restore it from a backup"));
  assert_int_equal(cns_optimiser_state_check(folder, &to, &problem), 0);
  assert_int_equal(access(scratch_path("before/new.optimiser"), F_OK), -1);
  assert_int_equal(access(scratch_path("before/a-note.txt"), F_OK), 0);
}

static void without_a_version_before_there_is_nothing_to_read(void **state) {
  float *const of[] = {NULL, NULL};
  struct cns_optimiser_change *change = begin(scratch_path("first"), NULL, 10, 2);
  assert_int_equal(cns_optimiser_change_read(change, 0, of, &problem), CNS_OPTIMISER_NONE);
  cns_optimiser_change_free(change);
  assert_null(cns_optimiser_change_free(NULL));
  assert_int_equal(cns_optimiser_state_sweep(scratch_path("not there"), NULL, &problem), 0);
}

/* Any byte, any length, another round's, another study version's. */
static void damage_is_noticed(void **state) {
  const char *folder = scratch_path("damage");
  const uint64_t dim = BLOCK + 100;
  struct cns_optimiser_version version = version_of(3, dim, 2), other = version;
  make(folder, 3, dim, 2);
  size_t len;
  uint8_t *bytes = scratch_read(path_of(folder, 3), &len);
  const size_t places[] = {0, 8, 39, 4096, 4096 + 33, 4096 + 64, 4096 + 64 + 4 * BLOCK, len - 1};
  for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
    bytes[places[p]] ^= 1;
    scratch_write(path_of(folder, 3), bytes, len);
    assert_int_equal(cns_optimiser_state_check(folder, &version, &problem), CNS_ERR_FORMAT);
    assert_non_null(strstr(problem.text, "damaged"));
    bytes[places[p]] ^= 1;
  }
  scratch_write(path_of(folder, 3), bytes, len - 1);
  assert_int_equal(cns_optimiser_state_check(folder, &version, &problem), CNS_ERR_FORMAT);
  scratch_write(path_of(folder, 3), bytes, len);
  assert_int_equal(cns_optimiser_state_check(folder, &version, &problem), 0);
  other.plan = scratch_digest(98);
  assert_int_equal(cns_optimiser_state_check(folder, &other, &problem), CNS_ERR_FORMAT);
  other = version;
  other.arrays = 1;
  assert_int_equal(cns_optimiser_state_check(folder, &other, &problem), CNS_ERR_FORMAT);
  struct cns_optimiser_change *change = NULL;
  assert_int_equal(cns_optimiser_change_begin(folder, &other, dim, 1, &change, &problem), CNS_ERR_FORMAT);
  /* A copy under another round's name. */
  scratch_write(path_of(folder, 4), bytes, len);
  other = version_of(4, dim, 2);
  assert_int_equal(cns_optimiser_state_check(folder, &other, &problem), CNS_ERR_FORMAT);
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_committed_is_read),
      cmocka_unit_test(a_change_leaves_the_version_before_alone),
      cmocka_unit_test(without_a_version_before_there_is_nothing_to_read),
      cmocka_unit_test(damage_is_noticed),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
