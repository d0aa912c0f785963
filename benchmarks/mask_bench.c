/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the mask generator, beside what it is made of in the same run: raw
 * AES-256-CTR of OpenSSL and ChaCha20 of libsodium, one thread each. The mask
 * rows count keystream bytes (elements * 4 * masks), additions included, with each version
 * that this processor has.
 *
 *   mask_bench [--json] [--elements N] [--runs N]
 */
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/bench.h"
#include "crypto/mask_lanes.h"

#define RUNS_MAX 99
#define MASKS_MAX 16
#define RAW_BLOCK_BYTES 8192

struct work {
  uint32_t *vector;
  size_t elements;
  size_t masks;
  struct cns_mask_term terms[MASKS_MAX];
  const struct cns_mask_version *version;
};

/* Does the work once; 0 when it went well. */
typedef int work_fn(struct work *work);

static int work_masks(struct work *work) {
  struct cns_mask_plan *plan = NULL;
  int r = cns_mask_plan_new_with(work->version, work->terms, work->masks, &plan);
  if (r == 0) r = cns_mask_plan_apply(plan, work->vector, work->elements, 0);
  cns_mask_plan_free(plan);
  return r;
}

static int work_aes(struct work *work) {
  static const uint8_t zeros[RAW_BLOCK_BYTES];
  static uint8_t out[RAW_BLOCK_BYTES];
  EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
  EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
  bool good =
      cipher && context && EVP_EncryptInit_ex2(context, cipher, work->terms[0].seed.bytes, zeros, NULL) == 1;
  for (size_t at = 0; good && at < 4 * work->elements; at += RAW_BLOCK_BYTES) {
    int done = 0;
    good = EVP_EncryptUpdate(context, out, &done, zeros, RAW_BLOCK_BYTES) == 1;
  }
  EVP_CIPHER_CTX_free(context);
  EVP_CIPHER_free(cipher);
  return good ? 0 : 1;
}

static int work_chacha(struct work *work) {
  static uint8_t out[RAW_BLOCK_BYTES];
  uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {0};
  for (uint64_t at = 0; at < 4 * (uint64_t)work->elements; at += RAW_BLOCK_BYTES) {
    memcpy(nonce, &at, sizeof nonce);
    if (crypto_stream_chacha20(out, sizeof out, nonce, work->terms[0].seed.bytes) != 0) return 1;
  }
  return 0;
}

/* Median GB/s over the runs, after one that warms up; negative on failure. */
static double measure(work_fn *fn, struct work *work, size_t runs) {
  double seconds[RUNS_MAX];
  if (fn(work) != 0) return -1;
  for (size_t k = 0; k < runs; k++) {
    const double start = bench_seconds(CLOCK_MONOTONIC);
    if (fn(work) != 0) return -1;
    seconds[k] = bench_seconds(CLOCK_MONOTONIC) - start;
  }
  return 4e-9 * (double)(work->elements * work->masks) / bench_median(seconds, runs);
}

struct row {
  char name[48];
  work_fn *fn;
  const struct cns_mask_version *version;
  size_t masks;
};
#define ROWS_MAX 16

static size_t list(struct row *rows) {
  static const size_t masks[] = {1, 4, 16};
  size_t count = 2;
  rows[0] = (struct row){"aes256ctr_openssl", work_aes, NULL, 1};
  rows[1] = (struct row){"chacha20_libsodium", work_chacha, NULL, 1};
  for (size_t v = 0; cns_mask_version(v); v++)
    for (size_t k = 0; k < 3 && count < ROWS_MAX; k++, count++) {
      rows[count] = (struct row){.fn = work_masks, .version = cns_mask_version(v), .masks = masks[k]};
      snprintf(rows[count].name, sizeof rows[count].name, "mask_%zu_%s", masks[k], cns_mask_version(v)->name);
    }
  return count;
}

static int run(const struct bench_options *options, struct work *work) {
  struct row rows[ROWS_MAX];
  const size_t count = list(rows);
  if (options->json)
    printf("{\"elements\": %zu, \"runs\": %zu, \"gb_per_second\": {", options->size, options->runs);
  else
    printf("%zu elements, median of %zu runs, one thread\n", options->size, options->runs);
  for (size_t k = 0; k < count; k++) {
    work->masks = rows[k].masks;
    work->version = rows[k].version;
    const double speed = measure(rows[k].fn, work, options->runs);
    if (speed < 0) {
      fprintf(stderr, "mask_bench: %s failed\n", rows[k].name);
      return 1;
    }
    if (options->json)
      printf("%s\"%s\": %.3f", k ? ", " : "", rows[k].name, speed);
    else
      printf("%-20s %7.2f GB/s\n", rows[k].name, speed);
  }
  if (options->json) printf("}}\n");
  return 0;
}

int main(int argc, char **argv) {
  struct bench_options options = {.size = (size_t)4 << 20, .runs = 9};
  if (!bench_parse(argc, argv, "--elements", (size_t)1 << 30, RUNS_MAX, &options)) {
    fprintf(stderr, "usage: mask_bench [--json] [--elements 1..2^30] [--runs 1..%d]\n", RUNS_MAX);
    return 2;
  }
  if (cns_init() != CNS_OK) return 1;
  struct work work = {.elements = options.size, .vector = calloc(options.size, sizeof(uint32_t))};
  if (!work.vector) {
    fprintf(stderr, "mask_bench: no memory for %zu elements\n", options.size);
    return 1;
  }
  for (size_t k = 0; k < MASKS_MAX; k++) {
    memset(work.terms[k].seed.bytes, (int)k + 1, sizeof work.terms[k].seed.bytes);
    work.terms[k].sign = k % 2 ? -1 : 1;
  }
  const int result = run(&options, &work);
  free(work.vector);
  return result;
}
