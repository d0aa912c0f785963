/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <openssl/evp.h>

#include "crypto/bytes.h"
#include "crypto/hash.h"
#include "crypto/mask_lanes.h"

#define TERMS_MAX 20

/* Each test runs with every version of this processor. */
static const struct cns_mask_version *version;

static int plan_new(const struct cns_mask_term *terms, size_t count, struct cns_mask_plan **ret_plan) {
  return cns_mask_plan_new_with(version, terms, count, ret_plan);
}

static int apply(uint32_t *vector, size_t len, uint64_t first, const struct cns_mask_term *terms,
                 size_t count) {
  struct cns_mask_plan *plan = NULL;
  int error = plan_new(terms, count, &plan);
  if (!error) error = cns_mask_plan_apply(plan, vector, len, first);
  cns_mask_plan_free(plan);
  return error;
}

static void hash_elements(const uint32_t *elements, size_t len, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 mask test");
  for (size_t k = 0; k < len; k++)
    cns_hash_u32(&hash, elements[k]);
  cns_hash_final(&hash, ret_digest);
}

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

static void known_answers(void **state) {
  version = *state;
  cJSON *vectors = vectors_load("mask");
  const cJSON *row;
  cJSON_ArrayForEach(row, vectors_get(vectors, "apply")) {
    size_t len, expected_len;
    uint32_t *vector = blob_elements(row, "vector", &len);
    uint32_t *expected = blob_elements(row, "masked", &expected_len);
    struct cns_mask_term terms[TERMS_MAX];
    const uint64_t first = strtoull(vectors_string(row, "first"), NULL, 10);
    const size_t count = vectors_count(vectors_get(row, "terms"));
    assert_true(count <= TERMS_MAX && len == expected_len);
    for (size_t k = 0; k < count; k++) {
      const cJSON *term = cJSON_GetArrayItem(vectors_get(row, "terms"), (int)k);
      vectors_hex(term, "seed", terms[k].seed.bytes, 32);
      terms[k].sign = vectors_get(term, "sign")->valueint;
    }
    assert_int_equal(apply(vector, len, first, terms, count), CNS_OK);
    assert_memory_equal(vector, expected, 4 * len);
    free(vector);
    free(expected);
  }
  const cJSON *longer = vectors_get(vectors, "long");
  const size_t len = vectors_number(longer, "length");
  struct cns_mask_term term = {.sign = 1};
  struct cns_digest expected, digest;
  uint32_t *vector = calloc(len, sizeof *vector);
  assert_non_null(vector);
  vectors_hex(longer, "seed", term.seed.bytes, 32);
  vectors_hex(longer, "digest", expected.bytes, 32);
  assert_int_equal(apply(vector, len, vectors_number(longer, "first"), &term, 1), CNS_OK);
  hash_elements(vector, len, &digest);
  assert_true(cns_digest_equal(&digest, &expected));
  free(vector);
  cJSON_Delete(vectors);
}

#define LONG 10007

/* The keystream the plain way: one call of the cipher from the beginning. */
static void raw_keystream(const struct cns_mask_seed *seed, uint32_t *out, size_t len) {
  static const uint8_t zero_iv[16];
  uint8_t *zeros = calloc(len, 4), *bytes = calloc(len, 4);
  int done = 0;
  EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
  assert_true(zeros && bytes && context);
  assert_int_equal(EVP_EncryptInit_ex(context, EVP_aes_256_ctr(), NULL, seed->bytes, zero_iv), 1);
  assert_int_equal(EVP_EncryptUpdate(context, bytes, &done, zeros, (int)(4 * len)), 1);
  for (size_t k = 0; k < len; k++)
    out[k] = cns_load_le32(bytes + 4 * k);
  EVP_CIPHER_CTX_free(context);
  free(zeros);
  free(bytes);
}

/* 7 terms of mixed sign, and the sum of their keystreams over LONG elements. */
struct sample {
  struct cns_mask_term terms[7];
  uint32_t start[LONG], masks[LONG];
};

static struct sample *sample_new(struct cns_rng rng) {
  static uint32_t stream[LONG];
  struct sample *s = calloc(1, sizeof *s);
  assert_non_null(s);
  assert_int_equal(cns_rng_fill(rng, (uint8_t *)s->start, sizeof s->start), CNS_OK);
  for (size_t t = 0; t < 7; t++) {
    assert_int_equal(cns_rng_fill(rng, s->terms[t].seed.bytes, 32), CNS_OK);
    s->terms[t].sign = t % 3 == 1 ? -1 : (int)t; /* zero counts as plus */
    raw_keystream(&s->terms[t].seed, stream, LONG);
    for (size_t k = 0; k < LONG; k++)
      s->masks[k] += t % 3 == 1 ? 0 - stream[k] : stream[k];
  }
  return s;
}

static void expect(const struct sample *s, const uint32_t *vector, size_t first, size_t len) {
  for (size_t k = 0; k < len; k++)
    assert_int_equal(vector[k], s->start[k] + s->masks[first + k]);
}

static void any_window(void **state) {
  version = *state;
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "windows");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  struct sample *s = sample_new(rng);
  uint32_t *vector = calloc(LONG + 1, sizeof *vector);
  assert_non_null(vector);
  for (int draw = 0; draw < 150; draw++) {
    uint64_t first, len;
    assert_int_equal(cns_rng_uniform_u64(rng, draw < 100 ? 20 : LONG, &first), CNS_OK);
    assert_int_equal(cns_rng_uniform_u64(rng, draw < 50 ? 70 : LONG - first + 1, &len), CNS_OK);
    memcpy(vector, s->start, sizeof s->start);
    vector[len] = 0xabcdef01; /* not a byte beyond the end */
    assert_int_equal(apply(vector, len, first, s->terms, 7), CNS_OK);
    assert_int_equal(vector[len], 0xabcdef01);
    expect(s, vector, first, len);
  }
  free(vector);
  free(s);
}

static void a_plan_goes_on_and_seeks(void **state) {
  version = *state;
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "plans");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  struct sample *s = sample_new(rng);
  uint32_t *vector = calloc(LONG, sizeof *vector);
  struct cns_mask_plan *plan = NULL;
  assert_non_null(vector);
  assert_int_equal(plan_new(s->terms, 7, &plan), CNS_OK);
  cns_wipe(s->terms, sizeof s->terms);      /* the plan has its own */
  for (int round = 0; round < 4; round++) { /* chunk by chunk, any sizes */
    memcpy(vector, s->start, sizeof s->start);
    for (uint64_t at = 0, part; at < LONG; at += part) {
      assert_int_equal(cns_rng_uniform_u64(rng, 5000, &part), CNS_OK);
      part = part > LONG - at ? LONG - at : part;
      assert_int_equal(cns_mask_plan_apply(plan, vector + at, part, at), CNS_OK);
    }
    expect(s, vector, 0, LONG);
  }
  for (int draw = 0; draw < 50; draw++) { /* in any order, the same twice */
    uint64_t first, len;
    assert_int_equal(cns_rng_uniform_u64(rng, LONG, &first), CNS_OK);
    assert_int_equal(cns_rng_uniform_u64(rng, LONG - first + 1, &len), CNS_OK);
    for (int twice = 0; twice < 2; twice++) {
      memcpy(vector, s->start, sizeof s->start);
      assert_int_equal(cns_mask_plan_apply(plan, vector, len, first), CNS_OK);
      expect(s, vector, first, len);
    }
  }
  plan = cns_mask_plan_free(plan);
  assert_null(plan);
  assert_null(cns_mask_plan_free(NULL));
  free(vector);
  free(s);
}

/* Generated masks are the streams themselves, side by side and without signs. */
static void a_plan_generates(void **state) {
  version = *state;
  struct cns_rng_seeded seeded;
  cns_rng_seeded_init_label(&seeded, test_seed(), "generate");
  const struct cns_rng rng = cns_rng_seeded(&seeded);
  static uint32_t raw[7][LONG];
  struct sample *s = sample_new(rng);
  uint32_t *found = calloc(7 * (LONG + 9), sizeof *found), *vector = calloc(LONG, sizeof *vector);
  struct cns_mask_plan *plan = NULL;
  assert_true(found && vector);
  for (size_t t = 0; t < 7; t++)
    raw_keystream(&s->terms[t].seed, raw[t], LONG);
  assert_int_equal(plan_new(s->terms, 7, &plan), CNS_OK);
  for (int draw = 0; draw < 60; draw++) {
    uint64_t first, len, gap, rest;
    assert_int_equal(cns_rng_uniform_u64(rng, LONG, &first), CNS_OK);
    assert_int_equal(cns_rng_uniform_u64(rng, LONG - first + 1, &len), CNS_OK);
    assert_int_equal(cns_rng_uniform_u64(rng, 9, &gap), CNS_OK);
    memset(found, 0xee, 7 * (LONG + 9) * sizeof *found);
    assert_int_equal(cns_mask_plan_generate(plan, first, len, len + gap, found), CNS_OK);
    for (size_t t = 0; t < 7; t++) {
      assert_memory_equal(found + t * (len + gap), raw[t] + first, 4 * len);
      for (size_t k = 0; k < gap; k++)
        assert_int_equal(found[t * (len + gap) + len + k], 0xeeeeeeee);
    }
    rest = LONG - first - len; /* and the plan goes on from there */
    memcpy(vector, s->start, 4 * rest);
    assert_int_equal(cns_mask_plan_apply(plan, vector, rest, first + len), CNS_OK);
    expect(s, vector, first + len, rest);
  }
  assert_int_equal(cns_mask_plan_generate(plan, 0, 5, 4, found), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_mask_plan_generate(plan, UINT64_MAX - 3, 4, 4, found), CNS_ERR_ARGUMENT);
  cns_mask_plan_free(plan);
  free(found);
  free(vector);
  free(s);
}

/* What secure aggregation rests on: plus and minus the same seed is nothing. */
static void opposite_signs_cancel(void **state) {
  version = *state;
  static uint32_t a[5000], b[5000], zero[5000];
  struct cns_mask_term term = {.seed = {{1, 2, 3}}, .sign = 1};
  memset(a, 0, sizeof a);
  memset(b, 0, sizeof b);
  assert_int_equal(apply(a, 5000, 9, &term, 1), CNS_OK);
  assert_memory_not_equal(a, zero, sizeof a);
  term.sign = -1;
  assert_int_equal(apply(b, 5000, 9, &term, 1), CNS_OK);
  for (size_t k = 0; k < 5000; k++)
    assert_int_equal(a[k] + b[k], 0);
  const struct cns_mask_term both[2] = {{.seed = {{1, 2, 3}}, .sign = 1}, {.seed = {{1, 2, 3}}, .sign = -1}};
  memset(a, 0, sizeof a);
  assert_int_equal(apply(a, 5000, 9, both, 2), CNS_OK);
  assert_memory_equal(a, zero, sizeof a);
}

static void edges(void **state) {
  version = *state;
  const struct cns_mask_term term = {.seed = {{1}}, .sign = 1};
  uint32_t vector[4] = {1, 2, 3, 4};
  assert_int_equal(apply(vector, 4, 0, NULL, 0), CNS_OK);
  assert_int_equal(apply(vector, 0, 5, &term, 1), CNS_OK);
  assert_int_equal(apply(vector, 4, UINT64_MAX - 3, &term, 1), CNS_ERR_ARGUMENT);
  assert_int_equal(apply(vector, 4, UINT64_MAX, &term, 1), CNS_ERR_ARGUMENT);
  assert_int_equal(apply(vector, 0, UINT64_MAX, &term, 1), CNS_ERR_ARGUMENT);
  for (uint32_t k = 0; k < 4; k++)
    assert_int_equal(vector[k], k + 1);
  assert_int_equal(apply(vector, 4, UINT64_MAX - 5, &term, 1), CNS_OK);
}

/* What callers use: the fastest. */
static void the_fastest_is_used(void **state) {
  static uint32_t found[LONG], expected[LONG];
  const struct cns_mask_term term = {.seed = {{9}}, .sign = 1};
  raw_keystream(&term.seed, expected, LONG);
  assert_int_equal(cns_mask_apply(found, LONG, 0, &term, 1), CNS_OK);
  assert_memory_equal(found, expected, sizeof found);
}

#define TESTS 6
#define VERSIONS_MAX 4

int main(void) {
  static const struct {
    const char *name;
    CMUnitTestFunction function;
  } every[TESTS] = {{"known answers", known_answers},
                    {"any window", any_window},
                    {"a plan goes on and seeks", a_plan_goes_on_and_seeks},
                    {"a plan generates", a_plan_generates},
                    {"opposite signs cancel", opposite_signs_cancel},
                    {"edges", edges}};
  static char names[TESTS * VERSIONS_MAX][64];
  struct CMUnitTest tests[TESTS * VERSIONS_MAX + 1] = {cmocka_unit_test(the_fastest_is_used)};
  size_t count = 1;
  for (size_t v = 0; v < VERSIONS_MAX && cns_mask_version(v); v++)
    for (size_t k = 0; k < TESTS; k++, count++) {
      snprintf(names[count - 1], sizeof names[0], "%s: %s", cns_mask_version(v)->name, every[k].name);
      tests[count] = (struct CMUnitTest){.name = names[count - 1],
                                         .test_func = every[k].function,
                                         .initial_state = (void *)(uintptr_t)cns_mask_version(v)};
    }
  return _cmocka_run_group_tests("mask", tests, count, setup_library, NULL);
}
