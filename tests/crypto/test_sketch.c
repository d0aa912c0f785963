/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "crypto/bytes.h"
#include "crypto/sketch_lanes.h"

static const uint32_t sizes[] = {128, 256, 512, 1024};
static const struct cns_parallel one_thread;

static uint32_t *blob_elements(const cJSON *row, const char *name, size_t *ret_len) {
  size_t bytes_len;
  uint8_t *bytes = vectors_blob(row, name, &bytes_len);
  uint32_t *elements = calloc(bytes_len / 4 + 1, sizeof *elements);
  assert_non_null(elements);
  *ret_len = bytes_len / 4;
  for (size_t k = 0; k < *ret_len; k++)
    elements[k] = cns_load_le32(bytes + 4 * k);
  free(bytes);
  return elements;
}

static void known_keys(void **state) {
  cJSON *vectors = vectors_load("sketch");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "keys")) {
    struct cns_digest transcript;
    struct cns_sketch_key key, expected;
    uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
    vectors_hex(row, "transcript", transcript.bytes, 32);
    vectors_hex(row, "nonce", nonce, 32);
    vectors_hex(row, "key", expected.bytes, 32);
    cns_sketch_key_derive(&transcript, nonce, &key);
    assert_memory_equal(key.bytes, expected.bytes, 32);
  }
  cJSON_Delete(vectors);
}

static void known_sketches(void **state) {
  cJSON *vectors = vectors_load("sketch");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "vectors")) {
    size_t len, expected_len;
    struct cns_sketch_key key;
    struct cns_sketch_plan *plan = NULL;
    uint32_t sketch[CNS_SKETCH_MAX] = {0};
    uint32_t *vector = blob_elements(row, "vector", &len);
    uint32_t *expected = blob_elements(row, "sketch", &expected_len);
    const uint32_t *pointer = vector;
    const uint32_t k = (uint32_t)vectors_number(row, "k");
    const uint64_t first = strtoull(vectors_string(row, "first"), NULL, 10);
    vectors_hex(row, "key", key.bytes, 32);
    assert_int_equal(expected_len, k);
    assert_int_equal(cns_sketch_plan_new(&key, k, &plan), CNS_OK);
    assert_int_equal(cns_sketch_plan_add(plan, &pointer, 1, first, len, sketch), CNS_OK);
    assert_memory_equal(sketch, expected, 4 * (size_t)k);
    if (first == 0) {
      memset(sketch, 0xee, sizeof sketch);
      assert_int_equal(cns_sketch_vectors(&key, k, &pointer, 1, len, one_thread, sketch), CNS_OK);
      assert_memory_equal(sketch, expected, 4 * (size_t)k);
    }
    cns_sketch_plan_free(plan);
    free(vector);
    free(expected);
  }
  cJSON_Delete(vectors);
}

static void known_masks(void **state) {
  cJSON *vectors = vectors_load("sketch");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "masks")) {
    size_t len;
    struct cns_sketch_key key;
    struct cns_mask_seed seeds[17];
    uint32_t *expected = blob_elements(row, "sketches", &len), *found = calloc(len, sizeof *found);
    const uint32_t k = (uint32_t)vectors_number(row, "k");
    const size_t count = vectors_count(vectors_get(row, "seeds"));
    assert_true(found && count <= 17 && len == count * k);
    vectors_hex(row, "key", key.bytes, 32);
    for (size_t v = 0; v < count; v++)
      vectors_hex_item(vectors_get(row, "seeds"), v, seeds[v].bytes, 32);
    assert_int_equal(cns_sketch_masks(&key, k, seeds, count, vectors_number(row, "words"), one_thread, found),
                     CNS_OK);
    assert_memory_equal(found, expected, 4 * len);
    free(expected);
    free(found);
  }
  cJSON_Delete(vectors);
}

/* A*v the plain way, straight from the definition in crypto/sketch.h. */
static void plain(const struct cns_sketch_key *key, uint32_t k, const uint32_t *vector, uint64_t first,
                  size_t len, uint32_t *sketch) {
  uint32_t *stream = calloc(2 * len + 1, sizeof *stream);
  struct cns_mask_term term = {.sign = 1};
  assert_non_null(stream);
  memcpy(term.seed.bytes, key->bytes, 32);
  assert_int_equal(cns_mask_apply(stream, 2 * len, 2 * first, &term, 1), CNS_OK);
  for (size_t c = 0; c < len; c++)
    for (uint32_t block = 0; block < 8; block++) {
      const uint32_t byte = stream[2 * c + block / 4] >> 8 * (block % 4) & 0xff;
      uint32_t *row = &sketch[block * (k / 8) + byte % (k / 8)];
      *row = byte >= 128 ? *row - vector[c] : *row + vector[c];
    }
  free(stream);
}

static uint64_t below(struct cns_rng rng, uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(rng, bound, &value), CNS_OK);
  return value;
}

static uint32_t *draw_elements(struct cns_rng rng, size_t len) {
  uint32_t *elements = calloc(len + 1, sizeof *elements);
  assert_non_null(elements);
  assert_int_equal(cns_rng_fill(rng, (uint8_t *)elements, 4 * len), CNS_OK);
  return elements;
}

static struct cns_sketch_key draw_key(struct cns_rng rng) {
  struct cns_sketch_key key;
  assert_int_equal(cns_rng_fill(rng, key.bytes, sizeof key.bytes), CNS_OK);
  return key;
}

#define POOL 16384
#define COUNT_MAX 40

/* Windows of one pool at any offset serve as vectors. */
static void compare_versions(struct cns_rng rng, const uint32_t *pool, uint32_t k, size_t count, size_t len,
                             uint64_t first) {
  const struct cns_sketch_key key = draw_key(rng);
  const uint32_t *vectors[COUNT_MAX];
  uint32_t *start = draw_elements(rng, count * k), *expected = calloc(count * k, 4);
  uint32_t *found = calloc(count * k, 4);
  struct cns_sketch_plan *plan = NULL;
  assert_true(expected && found);
  memcpy(expected, start, 4 * count * k);
  for (size_t v = 0; v < count; v++) {
    vectors[v] = pool + below(rng, POOL - len + 1);
    plain(&key, k, vectors[v], first, len, expected + v * k);
  }
  assert_int_equal(cns_sketch_plan_new(&key, k, &plan), CNS_OK);
  for (size_t version = 0; cns_sketch_version(version); version++) {
    cns_sketch_plan_use(plan, cns_sketch_version(version));
    memcpy(found, start, 4 * count * k);
    assert_int_equal(cns_sketch_plan_add(plan, vectors, count, first, len, found), CNS_OK);
    if (memcmp(found, expected, 4 * count * k) != 0)
      print_message("# version %s, k %u, %zu vectors of %zu elements from %llu\n",
                    cns_sketch_version(version)->name, k, count, len, (unsigned long long)first);
    assert_memory_equal(found, expected, 4 * count * k);
  }
  cns_sketch_plan_free(plan);
  free(start);
  free(expected);
  free(found);
}

static void all_versions_agree(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "sketch versions");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  uint32_t *pool = draw_elements(rng, POOL);
  for (size_t version = 0; cns_sketch_version(version); version++)
    print_message("# this processor runs: %s\n", cns_sketch_version(version)->name);
  for (size_t count = 1; count <= COUNT_MAX; count++)
    for (int draw = 0; draw < 2; draw++)
      compare_versions(rng, pool, sizes[below(rng, 4)], count, below(rng, 300), below(rng, 5000));
  for (size_t len = 0; len <= 130; len++)
    compare_versions(rng, pool, 128, 1 + below(rng, 20), len, 2 * below(rng, 5000) + 1);
  for (int draw = 0; draw < 4; draw++)
    compare_versions(rng, pool, sizes[draw], 1 + below(rng, 20), 2 * 2048 + below(rng, 100), below(rng, 100));
  free(pool);
}

static void piece_by_piece(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "sketch pieces");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  const struct cns_sketch_key key = draw_key(rng);
  static uint32_t whole[3][256], found[3][256];
  uint32_t *pool = draw_elements(rng, POOL);
  const uint32_t *vectors[3] = {pool, pool + 1, pool + 2};
  const size_t words = POOL - 2;
  struct cns_sketch_plan *plan = NULL;
  assert_int_equal(cns_sketch_vectors(&key, 256, vectors, 3, words, one_thread, whole[0]), CNS_OK);
  assert_int_equal(cns_sketch_plan_new(&key, 256, &plan), CNS_OK);
  for (int backwards = 0; backwards < 2; backwards++) {
    memset(found, 0, sizeof found);
    for (size_t at = 0, len; at < words; at += len) {
      len = below(rng, 5000);
      if (len > words - at) len = words - at;
      const size_t first = backwards ? words - at - len : at;
      const uint32_t *parts[3] = {pool + first, pool + 1 + first, pool + 2 + first};
      assert_int_equal(cns_sketch_plan_add(plan, parts, 3, first, len, found[0]), CNS_OK);
    }
    assert_memory_equal(found, whole, sizeof whole);
  }
  cns_sketch_plan_free(plan);
  free(pool);
}

/* What the audit rests on: A*(x + m) - A*m = A*x, whatever wraps. */
static void sketches_are_linear(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "linearity");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  enum { LEN = 5001 };
  for (size_t s = 0; s < 4; s++) {
    const struct cns_sketch_key key = draw_key(rng);
    const uint32_t k = sizes[s], factor = (uint32_t)below(rng, UINT32_MAX);
    static uint32_t sketches[3 * CNS_SKETCH_MAX];
    uint32_t *a = draw_elements(rng, LEN), *b = draw_elements(rng, LEN), *c = draw_elements(rng, LEN);
    const uint32_t *vectors[3] = {a, b, c};
    for (size_t e = 0; e < LEN; e++)
      c[e] = a[e] + factor * b[e];
    assert_int_equal(cns_sketch_vectors(&key, k, vectors, 3, LEN, one_thread, sketches), CNS_OK);
    for (size_t row = 0; row < k; row++)
      assert_int_equal(sketches[2 * k + row], sketches[row] + factor * sketches[k + row]);
    free(a);
    free(b);
    free(c);
  }
}

/* Steps from the last to the first, as if threads had run them so. */
static void run_backwards(void *context, size_t count, void (*task)(void *argument, size_t k),
                          void *argument) {
  *(size_t *)context = count;
  while (count-- > 0)
    task(argument, count);
}

static void check_masks(struct cns_rng rng, uint32_t k, size_t count, size_t words) {
  const struct cns_sketch_key key = draw_key(rng);
  size_t steps = 0;
  const struct cns_parallel runs[] = {{0}, cns_parallel_threads(), {.run = run_backwards, .context = &steps}};
  struct cns_mask_seed *seeds = calloc(count, sizeof *seeds);
  uint32_t *expected = calloc(count * k, 4), *found = calloc(count * k, 4);
  uint32_t *masks = calloc(count * words + 1, 4);
  const uint32_t **vectors = calloc(count, sizeof *vectors);
  assert_true(seeds && expected && found && masks && vectors);
  assert_int_equal(cns_rng_fill(rng, seeds[0].bytes, count * sizeof *seeds), CNS_OK);
  for (size_t v = 0; v < count; v++) {
    const struct cns_mask_term term = {.seed = seeds[v], .sign = 1};
    vectors[v] = masks + v * words;
    assert_int_equal(cns_mask_apply(masks + v * words, words, 0, &term, 1), CNS_OK);
    if (count <= 40) plain(&key, k, vectors[v], 0, words, expected + v * k);
  }
  if (count > 40)
    assert_int_equal(cns_sketch_vectors(&key, k, vectors, count, words, one_thread, expected), CNS_OK);
  for (size_t run = 0; run < 3; run++) {
    memset(found, 0xee, 4 * count * k);
    assert_int_equal(cns_sketch_masks(&key, k, seeds, count, words, runs[run], found), CNS_OK);
    assert_memory_equal(found, expected, 4 * count * k);
    memset(found, 0xee, 4 * count * k);
    assert_int_equal(cns_sketch_vectors(&key, k, vectors, count, words, runs[run], found), CNS_OK);
    assert_memory_equal(found, expected, 4 * count * k);
  }
  assert_true(steps == (words + 65535) / 65536);
  free(seeds);
  free(expected);
  free(found);
  free(masks);
  free(vectors);
}

/* Sketches of masks that are never held, on any number of threads. */
static void masks_and_threads(void **state) {
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "sketches of masks");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  static const size_t counts[] = {1, 2, 8, 9, 15, 16, 17, 31, 32, 33};
  for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++)
    check_masks(rng, sizes[k % 4], counts[k], 1 + below(rng, 5000));
  check_masks(rng, 256, 3, 3 * 65536 + 777);
  check_masks(rng, 128, 18, 65536);
  check_masks(rng, 128, 1, 65537);
  check_masks(rng, 128, 300, 1001); /* more than go over A together */
}

static void bad_sizes_are_refused(void **state) {
  static const uint32_t bad[] = {0, 1, 8, 64, 127, 129, 192, 384, 1023, 1025, 2048, 1u << 31, UINT32_MAX};
  const struct cns_sketch_key key = {{1}};
  const struct cns_mask_seed seed = {{1}};
  const uint32_t vector[1] = {1}, *pointer = vector;
  for (size_t s = 0; s < 4; s++)
    assert_true(cns_sketch_size_valid(sizes[s]));
  for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
    uint32_t sketch[1] = {7};
    struct cns_sketch_plan *plan = NULL;
    assert_false(cns_sketch_size_valid(bad[b]));
    assert_int_equal(cns_sketch_plan_new(&key, bad[b], &plan), CNS_ERR_ARGUMENT);
    assert_null(plan);
    for (size_t count = 0; count < 2; count++) {
      assert_int_equal(cns_sketch_vectors(&key, bad[b], &pointer, count, 1, one_thread, sketch),
                       CNS_ERR_ARGUMENT);
      assert_int_equal(cns_sketch_masks(&key, bad[b], &seed, count, 1, one_thread, sketch), CNS_ERR_ARGUMENT);
    }
    assert_int_equal(sketch[0], 7);
  }
}

static void edges(void **state) {
  const struct cns_sketch_key key = {{1}};
  const struct cns_mask_seed seed = {{1}};
  const uint32_t vector[4] = {1, 2, 3, 4}, *pointer = vector;
  uint32_t sketch[128], expected[128];
  struct cns_sketch_plan *plan = NULL;
  memset(sketch, 0xee, sizeof sketch);
  memset(expected, 0xee, sizeof expected);
  assert_int_equal(cns_sketch_vectors(&key, 128, NULL, 0, 4, one_thread, sketch), CNS_OK);
  assert_int_equal(cns_sketch_masks(&key, 128, NULL, 0, 4, one_thread, sketch), CNS_OK);
  assert_int_equal(cns_sketch_masks(&key, 128, &seed, SIZE_MAX / 128, 4, one_thread, sketch),
                   CNS_ERR_ARGUMENT);
  assert_int_equal(cns_sketch_masks(&key, 128, &seed, 1, UINT64_MAX, cns_parallel_threads(), sketch),
                   CNS_ERR_ARGUMENT);
  assert_int_equal(cns_sketch_plan_new(&key, 128, &plan), CNS_OK);
  assert_int_equal(cns_sketch_plan_add(plan, &pointer, 1, UINT64_MAX / 4 + 1, 4, sketch), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_sketch_plan_add(plan, &pointer, 1, UINT64_MAX / 4 - 1, 4, sketch), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_sketch_plan_add(plan, &pointer, 1, UINT64_MAX, 0, sketch), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_sketch_plan_add(plan, &pointer, 1, 5, 0, sketch), CNS_OK);
  assert_memory_equal(sketch, expected, sizeof sketch);
  assert_int_equal(cns_sketch_plan_add(plan, &pointer, 1, UINT64_MAX / 4 - 3, 4, sketch), CNS_OK);
  plain(&key, 128, vector, UINT64_MAX / 4 - 3, 4, expected);
  assert_memory_equal(sketch, expected, sizeof sketch);
  plan = cns_sketch_plan_free(plan);
  assert_null(plan);
  assert_null(cns_sketch_plan_free(NULL));
  memset(expected, 0, sizeof expected); /* no elements: the sketch is zero */
  assert_int_equal(cns_sketch_vectors(&key, 128, &pointer, 1, 0, one_thread, sketch), CNS_OK);
  assert_memory_equal(sketch, expected, sizeof sketch);
  assert_int_equal(cns_sketch_masks(&key, 128, &seed, 1, 0, cns_parallel_threads(), sketch), CNS_OK);
  assert_memory_equal(sketch, expected, sizeof sketch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_keys),
      cmocka_unit_test(known_sketches),
      cmocka_unit_test(known_masks),
      cmocka_unit_test(all_versions_agree),
      cmocka_unit_test(piece_by_piece),
      cmocka_unit_test(sketches_are_linear),
      cmocka_unit_test(masks_and_threads),
      cmocka_unit_test(bad_sizes_are_refused),
      cmocka_unit_test(edges),
  };
  return cmocka_run_group_tests(tests, setup_library, NULL);
}
