/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/sketching.h"
#include "crypto/bytes.h"
#include "crypto/rng.h"
#include "tests/client/pool.h"

#define TERMS_MAX 131

static const uint64_t seed = 20263;

/* x, its masks, and what is expected of them by the plain calls. */
struct bench {
  uv_loop_t uv;
  struct cns_rng_seeded seeded;
  uint64_t words;
  struct cns_mask_term terms[TERMS_MAX];
  struct cns_mask_seed seeds[TERMS_MAX];
  struct cns_sketching_input input;
  uint32_t *masks, of_y[CNS_SKETCH_MAX], of_x[CNS_SKETCH_MAX];
  struct cns_digest root;
  int done, error;
  bool equal;
};

static int send_nothing(void *context, uint64_t chunk, const uint8_t *bytes, size_t len) {
  (void)context, (void)chunk, (void)bytes, (void)len;
  return 0;
}
static void upload_done(void *context, const struct cns_digest *root) {
  (void)context, (void)root;
}
static void upload_failed(void *context, int error) {
  (void)context, (void)error;
}

static void digest_of(const uint32_t *y, uint64_t words, struct cns_digest *ret_root) {
  struct cns_upload_digest digest;
  uint8_t *bytes = malloc(words * 4);
  assert_non_null(bytes);
  for (uint64_t k = 0; k < words; k++)
    cns_store_le32(bytes + 4 * k, y[k]);
  cns_upload_digest_init(&digest, words);
  for (uint64_t c = 0; c < cns_chunk_count(words); c++)
    assert_int_equal(cns_upload_digest_add(&digest, c, bytes + c * CNS_CHUNK_WORDS * 4,
                                           4 * (size_t)cns_chunk_words(words, c)),
                     0);
  assert_int_equal(cns_upload_digest_final(&digest, ret_root), 0);
  free(bytes);
}

static void expect_plainly(struct bench *b, const uint32_t *x) {
  const struct cns_parallel alone = {0};
  const struct cns_sketching_input *in = &b->input;
  uint32_t *y = malloc(b->words * 4), both[2 * CNS_SKETCH_MAX];
  const uint32_t *vectors[] = {y, x};
  assert_non_null(y);
  memcpy(y, x, b->words * 4);
  assert_int_equal(cns_mask_apply(y, b->words, 0, b->terms, in->count), 0);
  digest_of(y, b->words, &b->root);
  b->masks = malloc(in->count * in->k * 4);
  assert_non_null(b->masks);
  assert_int_equal(cns_sketch_masks(&in->key, in->k, b->seeds, in->count, in->dim, alone, b->masks), 0);
  assert_int_equal(cns_sketch_vectors(&in->key, in->k, vectors, 2, in->dim, alone, both), 0);
  memcpy(b->of_y, both, in->k * 4);
  memcpy(b->of_x, both + in->k, in->k * 4);
  free(y);
}

static void bench_init(struct bench *b, uint64_t words, uint64_t dim, size_t count, uint32_t k) {
  const struct cns_uploader_callbacks callbacks = {b, send_nothing, upload_done, upload_failed};
  memset(b, 0, sizeof *b);
  assert_int_equal(cns_init(), 0);
  assert_int_equal(uv_loop_init(&b->uv), 0);
  cns_rng_seeded_init_label(&b->seeded, seed, "sketching");
  struct cns_rng rng = cns_rng_seeded(&b->seeded);
  b->words = words;
  b->input = (struct cns_sketching_input){.k = k, .dim = dim, .terms = b->terms, .count = count};
  uint32_t *x = malloc(words * 4);
  assert_non_null(x);
  assert_int_equal(cns_rng_fill(rng, (uint8_t *)x, words * 4), 0);
  assert_int_equal(cns_rng_fill(rng, b->input.key.bytes, sizeof b->input.key.bytes), 0);
  for (size_t t = 0; t < count; t++) {
    assert_int_equal(cns_rng_fill(rng, b->terms[t].seed.bytes, CNS_MASK_SEED_BYTES), 0);
    b->terms[t].sign = t % 3 == 1 ? -1 : 1;
    b->seeds[t] = b->terms[t].seed;
  }
  expect_plainly(b, x);
  assert_int_equal(cns_uploader_new(&b->uv, &callbacks, x, words, &b->input.uploader), 0);
}

static void bench_deinit(struct bench *b) {
  b->input.uploader = cns_uploader_free(b->input.uploader);
  uv_run(&b->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&b->uv), 0);
  free(b->masks);
}

static void sketched(void *context, struct cns_sketching *sketching, int error,
                     const struct cns_sketching_result *result) {
  struct bench *b = context;
  size_t bytes = b->input.k * 4;
  (void)sketching;
  b->done++;
  b->error = error;
  if (error) return;
  b->equal = memcmp(result->masks, b->masks, b->input.count * bytes) == 0 &&
             memcmp(result->of_y, b->of_y, bytes) == 0 && memcmp(result->of_x, b->of_x, bytes) == 0 &&
             cns_digest_equal(&result->root, &b->root);
}

static struct cns_sketching *start(struct bench *b) {
  struct cns_sketching *sketching = NULL;
  assert_int_equal(cns_sketching_start(&b->uv, &b->input, sketched, b, &sketching), 0);
  memset(b->terms, 0, sizeof b->terms); /* they were copied */
  return sketching;
}

/* The same numbers as by the plain calls, over whole vectors. */
static void equal_to_the_plain_calls(void **state) {
  (void)state;
  static const struct {
    uint64_t words, dim;
    size_t count;
    uint32_t k;
  } sizes[] = {
      {1, 1, 1, 128},
      {4096, 4096, 4, 128},
      {4099, 4096, 5, 128},                                /* nothing of the last words */
      {CNS_CHUNK_WORDS + 260, CNS_CHUNK_WORDS, 17, 256},   /* nothing of the last chunk */
      {3 * CNS_CHUNK_WORDS - 77, 40000, 63, 512},          /* the end within a piece */
      {2 * CNS_CHUNK_WORDS, CNS_CHUNK_WORDS + 1, 64, 256}, /* a whole group of masks */
      {20000, 19000, 65, 1024},
      {9000, 8999, 131, 256},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct bench b;
    bench_init(&b, sizes[i].words, sizes[i].dim, sizes[i].count, sizes[i].k);
    start(&b);
    uv_run(&b.uv, UV_RUN_DEFAULT);
    assert_int_equal(b.done, 1);
    assert_int_equal(b.error, 0);
    if (!b.equal) fail_msg("sizes %zu, seed %d", i, (int)seed);
    bench_deinit(&b);
  }
}

static void stopped_before_and_while_it_runs(void **state) {
  (void)state;
  struct bench b;
  struct pool pool;
  bench_init(&b, 40 * CNS_CHUNK_WORDS, 40 * CNS_CHUNK_WORDS, 30, 256);
  pool_hold(&pool, &b.uv);
  struct cns_sketching *sketching = start(&b);
  cns_sketching_cancel(sketching);
  b.input.uploader = cns_uploader_free(b.input.uploader); /* x stays until it is done */
  pool_release(&pool);
  uv_run(&b.uv, UV_RUN_DEFAULT);
  assert_int_equal(b.done, 1);
  assert_int_equal(b.error, CNS_ERR_CANCELLED);
  bench_deinit(&b);

  bench_init(&b, 40 * CNS_CHUNK_WORDS, 40 * CNS_CHUNK_WORDS, 30, 256);
  sketching = start(&b);
  uv_sleep(2);
  cns_sketching_cancel(sketching);
  b.input.uploader = cns_uploader_free(b.input.uploader);
  uv_run(&b.uv, UV_RUN_DEFAULT);
  assert_int_equal(b.done, 1);
  assert_int_equal(b.error, CNS_ERR_CANCELLED);
  bench_deinit(&b);
}

static void goes_on_with_the_uploader_freed(void **state) {
  (void)state;
  struct bench b;
  bench_init(&b, 3 * CNS_CHUNK_WORDS, 3 * CNS_CHUNK_WORDS, 5, 128);
  start(&b);
  b.input.uploader = cns_uploader_free(b.input.uploader);
  uv_run(&b.uv, UV_RUN_DEFAULT);
  assert_int_equal(b.error, 0);
  assert_true(b.equal);
  bench_deinit(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_to_the_plain_calls),
      cmocka_unit_test(stopped_before_and_while_it_runs),
      cmocka_unit_test(goes_on_with_the_uploader_freed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
