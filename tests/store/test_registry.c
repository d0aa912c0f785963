/* SPDX-License-Identifier: Apache-2.0 */
#include "store/registry.h"

#include "scratch.h"

static struct cns_problem problem;

static struct cns_registry *open_named(const char *name) {
  struct cns_registry *registry = NULL;
  assert_int_equal(cns_registry_open(scratch_path(name), &registry, &problem), 0);
  return registry;
}

static const char *model_file(const char *registry, const struct cns_digest *digest) {
  char hex[65], name[200];
  cns_hex_encode(digest->bytes, 32, hex);
  snprintf(name, sizeof(name), "%s/models/%s.model", registry, hex);
  return scratch_path(name);
}

static void models_are_named_by_their_digest(void **state) {
  struct cns_registry *registry = open_named("models");
  struct cns_digest digest, expected;
  uint8_t *bytes = NULL;
  size_t len = 0;
  assert_int_equal(cns_registry_put_model(registry, "weights", 7, &digest, &problem), 0);
  crypto_generichash(expected.bytes, 32, (const uint8_t *)"weights", 7,
                     (const uint8_t *)"consilium/1 model digest", 24);
  assert_memory_equal(&digest, &expected, sizeof(digest));
  assert_int_equal(cns_registry_put_model(registry, "weights", 7, &digest, &problem), 0);
  cns_registry_free(registry);
  registry = open_named("models");
  assert_int_equal(cns_registry_get_model(registry, &digest, &bytes, &len, &problem), 0);
  assert_int_equal(len, 7);
  assert_memory_equal(bytes, "weights", 7);
  free(bytes);
  expected.bytes[0] ^= 1;
  assert_int_equal(cns_registry_get_model(registry, &expected, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_registry_put_model(registry, "", 0, &digest, &problem), CNS_ERR_LIMIT);
  cns_registry_free(registry);
  assert_null(cns_registry_free(NULL));
}

static void a_damaged_model_is_refused_and_can_be_put_again(void **state) {
  struct cns_registry *registry = open_named("damage");
  struct cns_digest digest;
  uint8_t *bytes = NULL;
  size_t len = 0;
  assert_int_equal(cns_registry_put_model(registry, "weights", 7, &digest, &problem), 0);
  static const char *const damaged[] = {"weightz", "weight", "weights!", ""};
  for (size_t k = 0; k < 4; k++) {
    scratch_write(model_file("damage", &digest), (const uint8_t *)damaged[k], strlen(damaged[k]));
    problem.text[0] = 0;
    assert_int_equal(cns_registry_get_model(registry, &digest, &bytes, &len, &problem), CNS_ERR_FORMAT);
    assert_true(strlen(problem.text) > 20);
  }
  assert_int_equal(cns_registry_put_model(registry, "weights", 7, &digest, &problem), 0);
  assert_int_equal(cns_registry_get_model(registry, &digest, &bytes, &len, &problem), 0);
  free(bytes);
  cns_registry_free(registry);
}

static void a_draft_becomes_a_model_when_it_is_put(void **state) {
  struct cns_registry *registry = open_named("draft");
  struct cns_model_draft *draft = NULL;
  struct cns_model_map *map = NULL, *second = NULL;
  struct cns_digest digest, expected;
  struct cns_hash hash;
  size_t len = 0;
  assert_int_equal(cns_registry_draft_model(registry, 0, &draft, &problem), CNS_ERR_LIMIT);
  assert_int_equal(cns_registry_draft_model(registry, 7, &draft, &problem), 0);
  cns_model_draft_free(draft); /* nothing of it is left */
  assert_int_equal(cns_registry_draft_model(registry, 70000, &draft, &problem), 0);
  memset(cns_model_draft_bytes(draft, &len), 'w', 70000);
  assert_int_equal(len, 70000);
  cns_model_draft_written(draft, 0, len);
  cns_registry_model_digest(cns_model_draft_bytes(draft, NULL), len, &digest);
  cns_registry_model_hash(&hash);
  cns_hash_bytes(&hash, cns_model_draft_bytes(draft, NULL), 5);
  cns_hash_bytes(&hash, cns_model_draft_bytes(draft, NULL) + 5, len - 5);
  cns_hash_final(&hash, &expected);
  assert_memory_equal(&digest, &expected, sizeof digest);
  assert_int_equal(cns_registry_map_model(registry, &digest, &map, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_registry_put_draft(registry, draft, &digest, &map, &problem), 0);
  assert_null(cns_model_draft_free(draft));
  assert_int_equal(cns_registry_map_model(registry, &digest, &second, &problem), 0);
  assert_int_equal(unlink(model_file("draft", &digest)), 0); /* as prune does */
  for (int k = 0; k < 2; k++) {
    const uint8_t *bytes = cns_model_map_bytes(k ? second : map, &len);
    assert_true(len == 70000 && bytes[0] == 'w' && bytes[69999] == 'w');
  }
  assert_ptr_equal(cns_model_map_hold(map), map);
  cns_model_map_free(map);
  assert_int_equal(*cns_model_map_bytes(map, &len), 'w');
  cns_model_map_free(map);
  cns_model_map_free(second);
  assert_null(cns_model_map_free(NULL));
  cns_registry_free(registry);
}

/* A crash after the model and before its manifest; one while the model was written. */
static void a_model_that_was_never_published_goes(void **state) {
  struct cns_registry *registry = open_named("sweep");
  struct cns_digest initial, published, lost;
  uint8_t *bytes = NULL;
  size_t len = 0;
  char half[300], other[300];
  assert_int_equal(cns_registry_put_model(registry, "initial", 7, &initial, &problem), 0);
  assert_int_equal(cns_registry_put_model(registry, "published", 9, &published, &problem), 0);
  assert_int_equal(cns_registry_put_manifest(registry, 1, &published, "one", 3, &problem), 0);
  assert_int_equal(cns_registry_put_model(registry, "lost", 4, &lost, &problem), 0);
  snprintf(half, sizeof half, "%s.new", model_file("sweep", &initial));
  scratch_write(half, (const uint8_t *)"ini", 3);
  snprintf(other, sizeof other, "%s", scratch_path("sweep/models/notes.txt"));
  scratch_write(other, (const uint8_t *)"mine", 4);
  for (int again = 0; again < 2; again++)
    assert_int_equal(cns_registry_sweep(registry, &initial, 1, &problem), 0);
  assert_int_equal(access(half, F_OK), -1);
  assert_int_equal(access(other, F_OK), 0);
  assert_int_equal(cns_registry_get_model(registry, &lost, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_registry_get_model(registry, &published, &bytes, &len, &problem), 0);
  free(bytes);
  assert_int_equal(cns_registry_get_model(registry, &initial, &bytes, &len, &problem), 0);
  free(bytes);
  cns_registry_free(registry);
}

static void one_manifest_a_round(void **state) {
  struct cns_registry *registry = open_named("manifests");
  struct cns_digest one = scratch_digest(1), two = scratch_digest(2), found;
  uint8_t *bytes = NULL;
  size_t len = 0;
  assert_int_equal(cns_registry_put_manifest(registry, 4, &one, "four", 4, &problem), 0);
  assert_int_equal(cns_registry_put_manifest(registry, 4, &one, "four", 4, &problem), 0);
  assert_int_equal(cns_registry_put_manifest(registry, 4, &one, "FOUR", 4, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_registry_put_manifest(registry, 4, &two, "four", 4, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_registry_put_manifest(registry, UINT64_MAX, &two, "last", 4, &problem), 0);
  assert_int_equal(cns_registry_get_manifest(registry, 4, &found, &bytes, &len, &problem), 0);
  assert_string_equal((const char *)bytes, "four");
  assert_memory_equal(&found, &one, sizeof(one));
  free(bytes);
  assert_int_equal(cns_registry_get_manifest(registry, 5, NULL, &bytes, &len, &problem), CNS_ERR_NOT_FOUND);
  cns_registry_free(registry);
}

static void pruning_keeps_the_latest(void **state) {
  struct cns_registry *registry = open_named("prune");
  struct cns_registry_version *versions = NULL;
  struct cns_digest digests[7];
  size_t count = 9;
  assert_int_equal(cns_registry_list(registry, &versions, &count, &problem), 0);
  assert_int_equal(count, 0);
  free(versions);
  /* Round 5 went back to the model of round 1; model 6 has no manifest yet. */
  static const char *const models[7] = {"m0", "m1", "m2", "m3", "m4", "m1", "m6"};
  for (size_t k = 0; k < 7; k++) {
    assert_int_equal(cns_registry_put_model(registry, models[k], 2, &digests[k], &problem), 0);
    if (k < 6)
      assert_int_equal(cns_registry_put_manifest(registry, k, &digests[k], "manifest", 8, &problem), 0);
  }
  scratch_write(scratch_path("prune/manifests/notes.txt"), (const uint8_t *)"x", 1);
  assert_int_equal(cns_registry_prune(registry, 2, &problem), 0);
  assert_int_equal(cns_registry_list(registry, &versions, &count, &problem), 0);
  assert_int_equal(count, 6);
  static const bool kept[6] = {false, true, false, false, true, true};
  for (size_t k = 0; k < 6; k++) {
    assert_int_equal(versions[k].round, k);
    assert_memory_equal(&versions[k].model, &digests[k], sizeof(digests[k]));
    assert_int_equal(versions[k].has_model, kept[k]);
  }
  free(versions);
  assert_int_equal(access(model_file("prune", &digests[6]), F_OK), 0);
  assert_int_equal(cns_registry_prune(registry, 100, &problem), 0);
  assert_int_equal(cns_registry_prune(registry, 0, &problem), 0);
  assert_int_not_equal(access(model_file("prune", &digests[5]), F_OK), 0);
  cns_registry_free(registry);
}

static void a_file_in_the_way(void **state) {
  struct cns_registry *registry = NULL;
  scratch_write(scratch_path("file"), (const uint8_t *)"x", 1);
  assert_int_equal(cns_registry_open(scratch_path("file"), &registry, &problem), CNS_ERR_EXISTS);
  assert_int_equal(cns_registry_open(scratch_path("no/folder"), &registry, &problem), CNS_ERR_NOT_FOUND);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(models_are_named_by_their_digest),
      cmocka_unit_test(a_draft_becomes_a_model_when_it_is_put),
      cmocka_unit_test(a_damaged_model_is_refused_and_can_be_put_again),
      cmocka_unit_test(a_model_that_was_never_published_goes),
      cmocka_unit_test(one_manifest_a_round),
      cmocka_unit_test(pruning_keeps_the_latest),
      cmocka_unit_test(a_file_in_the_way),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
