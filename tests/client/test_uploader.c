/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/uploader.h"
#include "crypto/bytes.h"
#include "crypto/rng.h"

#define CASE_FULL 1
#define TERMS 5
#define CHUNKS 40u

static const uint64_t seed = 20262;

struct receiver {
  uv_loop_t uv;
  struct cns_rng_seeded seeded;
  uint64_t words;
  uint8_t *expected; /* y */
  uint32_t *x;
  struct cns_mask_term terms[TERMS];
  struct cns_digest root;
  struct cns_uploader *uploader;
  uint64_t next, sent, full_every, stop_at;
  int done, failed;
  struct cns_digest got;
  bool free_when_done;
};

static int take(void *context, uint64_t chunk, const uint8_t *bytes, size_t len) {
  struct receiver *r = context;
  if (r->full_every && ++r->sent % r->full_every == 0) return CASE_FULL;
  if (chunk == r->stop_at) return CNS_ERR_CLOSED;
  assert_int_equal(chunk, r->next);
  assert_int_equal(len, 4 * cns_chunk_words(r->words, chunk));
  assert_memory_equal(bytes, r->expected + chunk * CNS_CHUNK_WORDS * 4, len);
  r->next++;
  return 0;
}

static void done(void *context, const struct cns_digest *root) {
  struct receiver *r = context;
  r->done++;
  r->got = *root;
  if (r->free_when_done) r->uploader = cns_uploader_free(r->uploader);
}

static void failed(void *context, int error) {
  struct receiver *r = context;
  (void)error;
  r->failed++;
}

static void receiver_init(struct receiver *r, uint64_t words) {
  const struct cns_uploader_callbacks callbacks = {r, take, done, failed};
  struct cns_upload_digest digest;
  memset(r, 0, sizeof *r);
  assert_int_equal(cns_init(), 0);
  assert_int_equal(uv_loop_init(&r->uv), 0);
  cns_rng_seeded_init_label(&r->seeded, seed, "uploader");
  r->words = words;
  r->stop_at = UINT64_MAX;
  r->x = malloc(words * 4);
  r->expected = malloc(words * 4);
  assert_true(r->x && r->expected);
  assert_int_equal(cns_rng_fill(cns_rng_seeded(&r->seeded), (uint8_t *)r->x, words * 4), 0);
  for (size_t t = 0; t < TERMS; t++) {
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&r->seeded), r->terms[t].seed.bytes, CNS_MASK_SEED_BYTES),
                     0);
    r->terms[t].sign = t % 2 ? 1 : -1;
  }
  uint32_t *y = malloc(words * 4);
  memcpy(y, r->x, words * 4);
  assert_int_equal(cns_mask_apply(y, words, 0, r->terms, TERMS), 0);
  for (uint64_t k = 0; k < words; k++)
    cns_store_le32(r->expected + 4 * k, y[k]);
  free(y);
  cns_upload_digest_init(&digest, words);
  for (uint64_t c = 0; c < cns_chunk_count(words); c++)
    assert_int_equal(cns_upload_digest_add(&digest, c, r->expected + c * CNS_CHUNK_WORDS * 4,
                                           4 * (size_t)cns_chunk_words(words, c)),
                     0);
  assert_int_equal(cns_upload_digest_final(&digest, &r->root), 0);
  assert_int_equal(cns_uploader_new(&r->uv, &callbacks, r->x, words, &r->uploader), 0);
}

static void receiver_deinit(struct receiver *r) {
  r->uploader = cns_uploader_free(r->uploader);
  uv_run(&r->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&r->uv), 0);
  free(r->expected);
}

static void run(struct receiver *r) {
  uv_run(&r->uv, UV_RUN_DEFAULT);
  for (int i = 0; i < 1000 && r->full_every && !r->done; i++) {
    cns_uploader_writable(r->uploader);
    uv_run(&r->uv, UV_RUN_DEFAULT);
  }
}

static void sizes_around_chunks(void **state) {
  (void)state;
  static const uint64_t words[] = {1,
                                   CNS_CHUNK_WORDS - 1,
                                   CNS_CHUNK_WORDS,
                                   CNS_CHUNK_WORDS + 1,
                                   16 * CNS_CHUNK_WORDS,
                                   16 * CNS_CHUNK_WORDS + 1,
                                   CHUNKS * CNS_CHUNK_WORDS - 77};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    struct receiver r;
    receiver_init(&r, words[i]);
    assert_int_equal(cns_uploader_from(r.uploader, 0), CNS_ERR_STATE);
    assert_int_equal(cns_uploader_set_masks(r.uploader, r.terms, TERMS), 0);
    assert_int_equal(cns_uploader_set_masks(r.uploader, r.terms, TERMS), 0);
    r.full_every = i % 3;
    assert_int_equal(cns_uploader_from(r.uploader, 0), 0);
    if (r.full_every == 1) r.full_every = 3;
    run(&r);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.next, cns_chunk_count(words[i]));
    assert_true(cns_digest_equal(&r.got, &r.root));
    receiver_deinit(&r);
  }
}

/* Whatever the coordinator says it has, the digest is that of all of y. */
static void begins_anywhere(void **state) {
  (void)state;
  for (uint64_t from = 0; from <= CHUNKS; from += from < 4 ? 1 : 9) {
    struct receiver r;
    receiver_init(&r, CHUNKS * CNS_CHUNK_WORDS);
    assert_int_equal(cns_uploader_set_masks(r.uploader, r.terms, TERMS), 0);
    assert_int_equal(cns_uploader_from(r.uploader, CHUNKS + 1), CNS_ERR_RANGE);
    r.next = from;
    assert_int_equal(cns_uploader_from(r.uploader, from), 0);
    run(&r);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.next, CHUNKS);
    assert_true(cns_digest_equal(&r.got, &r.root));
    receiver_deinit(&r);
  }
}

static void lost_links_and_repeats(void **state) {
  (void)state;
  struct receiver r;
  receiver_init(&r, CHUNKS * CNS_CHUNK_WORDS);
  assert_int_equal(cns_uploader_set_masks(r.uploader, r.terms, TERMS), 0);
  r.stop_at = 21;
  assert_int_equal(cns_uploader_from(r.uploader, 0), 0);
  run(&r);
  assert_int_equal(r.next, 21);
  assert_int_equal(r.done, 0);
  r.stop_at = 30;
  r.next = 18;
  assert_int_equal(cns_uploader_from(r.uploader, 18), 0);
  cns_uploader_pause(r.uploader); /* while a batch is being made */
  run(&r);
  assert_int_equal(r.next, 18);
  assert_int_equal(cns_uploader_from(r.uploader, 3), 0); /* overtaken by the next word */
  assert_int_equal(cns_uploader_from(r.uploader, 18), 0);
  run(&r);
  assert_int_equal(r.next, 30);
  r.stop_at = UINT64_MAX;
  assert_int_equal(cns_uploader_from(r.uploader, 30), 0);
  run(&r);
  assert_int_equal(r.done, 1);
  assert_true(cns_digest_equal(&r.got, &r.root));
  r.next = 39;
  assert_int_equal(cns_uploader_from(r.uploader, 39), 0); /* and once more */
  run(&r);
  assert_int_equal(r.done, 2);
  assert_true(cns_digest_equal(&r.got, &r.root));
  assert_int_equal(r.failed, 0);
  receiver_deinit(&r);
}

static void freed_at_any_time(void **state) {
  (void)state;
  struct receiver r;
  receiver_init(&r, CHUNKS * CNS_CHUNK_WORDS);
  assert_int_equal(cns_uploader_set_masks(r.uploader, r.terms, TERMS), 0);
  assert_int_equal(cns_uploader_from(r.uploader, 0), 0);
  receiver_deinit(&r); /* a batch is being made */
  receiver_init(&r, 3 * CNS_CHUNK_WORDS);
  assert_int_equal(cns_uploader_set_masks(r.uploader, r.terms, TERMS), 0);
  r.free_when_done = true;
  assert_int_equal(cns_uploader_from(r.uploader, 0), 0);
  run(&r);
  assert_int_equal(r.done, 1);
  receiver_deinit(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_around_chunks),
      cmocka_unit_test(begins_anywhere),
      cmocka_unit_test(lost_links_and_repeats),
      cmocka_unit_test(freed_at_any_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
