/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/identity.h"

#define SEED_HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

struct fixture {
  char folder[64];
  char path[128];
};

static int setup_folder(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  assert_non_null(fixture);
  snprintf(fixture->folder, sizeof fixture->folder, "/tmp/cns-identity-XXXXXX");
  assert_non_null(mkdtemp(fixture->folder));
  snprintf(fixture->path, sizeof fixture->path, "%s/identity.key", fixture->folder);
  *state = fixture;
  return 0;
}

static int teardown_folder(void **state) {
  struct fixture *fixture = *state;
  unlink(fixture->path);
  rmdir(fixture->folder);
  free(fixture);
  return 0;
}

static struct cns_identity *identity_of(uint8_t first) {
  uint8_t seed[32] = {first};
  struct cns_identity *identity = NULL;
  assert_int_equal(cns_identity_from_seed(seed, &identity), CNS_OK);
  return identity;
}

static void good_signatures(void **state) {
  cJSON *vectors = vectors_load("identity");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "good")) {
    uint8_t seed[32], derived[32], key[32];
    struct cns_identity_public public;
    struct cns_signature expected, signature;
    struct cns_digest digest;
    struct cns_identity *identity = NULL;
    const char *context = vectors_string(row, "context");
    vectors_hex(row, "seed", seed, sizeof seed);
    vectors_hex(row, "public", public.bytes, sizeof public.bytes);
    vectors_hex(row, "signature", expected.bytes, sizeof expected.bytes);
    vectors_hex(row, "digest", digest.bytes, sizeof digest.bytes);
    vectors_hex(row, "derived", derived, sizeof derived);
    assert_int_equal(cns_identity_from_seed(seed, &identity), CNS_OK);
    assert_true(cns_identity_public_equal(cns_identity_get_public(identity), &public));
    assert_int_equal(cns_sign(identity, context, &digest, &signature), CNS_OK);
    assert_memory_equal(signature.bytes, expected.bytes, sizeof expected.bytes);
    assert_int_equal(cns_verify(&public, context, &digest, &expected), CNS_OK);
    cns_identity_derive(identity, "consilium/1 at rest", key);
    assert_memory_equal(key, derived, sizeof derived);
    identity = cns_identity_free(identity);
    assert_null(identity);
  }
  cJSON_Delete(vectors);
}

static void bad_signatures(void **state) {
  cJSON *vectors = vectors_load("identity");
  const cJSON *row;
  size_t count = 0;
  cJSON_ArrayForEach(row, vectors_get(vectors, "bad")) {
    struct cns_identity_public public;
    struct cns_signature signature;
    struct cns_digest digest;
    vectors_hex(row, "public", public.bytes, sizeof public.bytes);
    vectors_hex(row, "signature", signature.bytes, sizeof signature.bytes);
    vectors_hex(row, "digest", digest.bytes, sizeof digest.bytes);
    const int result = cns_verify(&public, vectors_string(row, "context"), &digest, &signature);
    if (result != CNS_ERR_SIGNATURE) print_message("# accepted: %s\n", vectors_string(row, "why"));
    assert_int_equal(result, CNS_ERR_SIGNATURE);
    count++;
  }
  assert_true(count > 20);
  cJSON_Delete(vectors);
}

static void every_flipped_bit_is_seen(void **state) {
  struct cns_identity *identity = identity_of(1);
  struct cns_digest digest = {{7}};
  struct cns_signature signature;
  struct cns_identity_public public = *cns_identity_get_public(identity);
  assert_int_equal(cns_sign(identity, "consilium/1 test", &digest, &signature), CNS_OK);
  for (size_t bit = 0; bit < 8 * sizeof signature.bytes; bit++) {
    signature.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(cns_verify(&public, "consilium/1 test", &digest, &signature), CNS_ERR_SIGNATURE);
    signature.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t bit = 0; bit < 8 * sizeof digest.bytes; bit++) {
    digest.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(cns_verify(&public, "consilium/1 test", &digest, &signature), CNS_ERR_SIGNATURE);
    digest.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  assert_int_equal(cns_verify(&public, "consilium/1 test", &digest, &signature), CNS_OK);
  cns_identity_free(identity);
}

static void new_identities_differ_and_need_randomness(void **state) {
  struct cns_identity *a = NULL, *b = NULL, *none = NULL;
  assert_int_equal(cns_identity_new(cns_rng_system(), &a), CNS_OK);
  assert_int_equal(cns_identity_new(cns_rng_system(), &b), CNS_OK);
  assert_false(cns_identity_public_equal(cns_identity_get_public(a), cns_identity_get_public(b)));
  struct failing_rng failing;
  assert_int_equal(cns_identity_new(failing_rng_init(&failing, 0), &none), CNS_ERR_RANDOM);
  assert_null(none);
  cns_identity_free(a);
  cns_identity_free(b);
  assert_null(cns_identity_free(NULL));
}

static void key_files_there_and_back(void **state) {
  const struct fixture *fixture = *state;
  struct cns_problem problem = {0};
  struct cns_identity *identity = identity_of(3), *loaded = NULL;
  const mode_t before = umask(0);
  assert_int_equal(cns_identity_save(identity, fixture->path, &problem), CNS_OK);
  umask(before);
  struct stat status;
  assert_int_equal(stat(fixture->path, &status), 0);
  assert_int_equal(status.st_mode & 07777, 0600);
  assert_int_equal(status.st_size, 86);
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_OK);
  assert_true(cns_identity_public_equal(cns_identity_get_public(identity), cns_identity_get_public(loaded)));
  cns_identity_free(loaded);

  /* Never overwritten. */
  struct cns_identity *other = identity_of(4);
  assert_int_equal(cns_identity_save(other, fixture->path, &problem), CNS_ERR_EXISTS);
  assert_non_null(strstr(problem.text, fixture->path));
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_OK);
  assert_true(cns_identity_public_equal(cns_identity_get_public(identity), cns_identity_get_public(loaded)));
  cns_identity_free(loaded);
  cns_identity_free(other);
  cns_identity_free(identity);
}

static void key_files_open_to_others_are_refused(void **state) {
  const struct fixture *fixture = *state;
  struct cns_problem problem = {0};
  struct cns_identity *identity = identity_of(3), *loaded = NULL;
  assert_int_equal(cns_identity_save(identity, fixture->path, &problem), CNS_OK);
  static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0666, 0644};
  for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++) {
    assert_int_equal(chmod(fixture->path, modes[k]), 0);
    assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_PERMISSION);
    assert_non_null(strstr(problem.text, "chmod 600 "));
    assert_null(loaded);
  }
  assert_int_equal(chmod(fixture->path, 0400), 0);
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_OK);
  cns_identity_free(loaded);
  cns_identity_free(identity);
}

static void write_file(const char *path, const char *text, size_t len) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, len, file), len);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(chmod(path, 0600), 0);
}

static void bad_key_files_are_refused(void **state) {
  const struct fixture *fixture = *state;
  struct cns_problem problem = {0};
  struct cns_identity *loaded = NULL;
  static const char good[] = "consilium-identity-1 " SEED_HEX "\n";
  write_file(fixture->path, good, sizeof good - 1);
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_OK);
  loaded = cns_identity_free(loaded);

  char text[sizeof good + 1];
  for (size_t len = 0; len < sizeof good - 1; len++) { /* truncated */
    write_file(fixture->path, good, len);
    assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_FORMAT);
  }
  for (size_t k = 0; k < sizeof good - 1; k++) { /* one byte wrong */
    memcpy(text, good, sizeof good);
    text[k] = '#';
    write_file(fixture->path, text, sizeof good - 1);
    assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_FORMAT);
    text[k] = '\0';
    write_file(fixture->path, text, sizeof good - 1);
    assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_FORMAT);
  }
  memcpy(text, good, sizeof good); /* something after the end */
  text[sizeof good - 1] = '\n';
  write_file(fixture->path, text, sizeof good);
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_FORMAT);
  assert_null(strstr(problem.text, "0102")); /* no secret in the sentence */
  assert_null(loaded);
}

static void missing_places(void **state) {
  const struct fixture *fixture = *state;
  struct cns_problem problem = {0};
  struct cns_identity *loaded = NULL, *identity = identity_of(3);
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, fixture->path));
  assert_int_equal(cns_identity_load(fixture->folder, &loaded, &problem), CNS_ERR_FORMAT);
  char path[256];
  snprintf(path, sizeof path, "%s/none/identity.key", fixture->folder);
  assert_int_equal(cns_identity_save(identity, path, &problem), CNS_ERR_NOT_FOUND);
  /* A dangling link is not followed to somewhere else. */
  snprintf(path, sizeof path, "%s/elsewhere", fixture->folder);
  assert_int_equal(symlink(path, fixture->path), 0);
  assert_int_equal(cns_identity_save(identity, fixture->path, &problem), CNS_ERR_EXISTS);
  /* A pipe doesn't hang us. */
  assert_int_equal(unlink(fixture->path), 0);
  assert_int_equal(mkfifo(fixture->path, 0600), 0);
  assert_int_equal(cns_identity_load(fixture->path, &loaded, &problem), CNS_ERR_FORMAT);
  assert_int_equal(cns_identity_save(identity, "/dev/full/x", NULL), CNS_ERR_NOT_FOUND);
  assert_null(loaded);
  cns_identity_free(identity);
}

/* No room half way: said, and nothing is left behind. */
static void a_full_disk_leaves_no_file(void **state) {
  const struct fixture *fixture = *state;
  struct cns_problem problem = {0};
  struct cns_identity *identity = identity_of(3);
  struct rlimit before, tight;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  tight = before;
  tight.rlim_cur = 50;
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  const int result = cns_identity_save(identity, fixture->path, &problem);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  assert_int_equal(result, CNS_ERR_DISK_FULL);
  assert_non_null(strstr(problem.text, fixture->path));
  assert_int_equal(access(fixture->path, F_OK), -1);
  assert_int_equal(cns_identity_save(identity, fixture->path, &problem), CNS_OK);
  cns_identity_free(identity);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_signatures),
      cmocka_unit_test(bad_signatures),
      cmocka_unit_test(every_flipped_bit_is_seen),
      cmocka_unit_test(new_identities_differ_and_need_randomness),
      cmocka_unit_test_setup_teardown(key_files_there_and_back, setup_folder, teardown_folder),
      cmocka_unit_test_setup_teardown(key_files_open_to_others_are_refused, setup_folder, teardown_folder),
      cmocka_unit_test_setup_teardown(bad_key_files_are_refused, setup_folder, teardown_folder),
      cmocka_unit_test_setup_teardown(a_full_disk_leaves_no_file, setup_folder, teardown_folder),
      cmocka_unit_test_setup_teardown(missing_places, setup_folder, teardown_folder),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
