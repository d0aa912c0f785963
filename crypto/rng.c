/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/rng.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/random.h>

#include "crypto/bytes.h"
#include "crypto/hash.h"

/* A sound source passes each rejection with probability at least one half. */
#define REJECTIONS_MAX 128

static int fill_system(void *context, uint8_t *out, size_t len) {
  (void)context;
  size_t at = 0;
  while (at < len) {
    const ssize_t got = getrandom(out + at, len - at, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return CNS_ERR_RANDOM;
    at += (size_t)got;
  }
  return CNS_OK;
}

struct cns_rng cns_rng_system(void) {
  return (struct cns_rng){.fill = fill_system, .context = NULL};
}

void cns_rng_seeded_init(struct cns_rng_seeded *rng, const uint8_t seed[static 32]) {
  *rng = (struct cns_rng_seeded){.used = sizeof rng->buffer};
  memcpy(rng->key, seed, sizeof rng->key);
}

void cns_rng_seeded_init_label(struct cns_rng_seeded *rng, uint64_t seed, const char *label) {
  struct cns_hash hash;
  struct cns_digest digest;
  cns_hash_init(&hash, "consilium/1 seeded stream");
  cns_hash_u64(&hash, seed);
  cns_hash_blob(&hash, label, strlen(label));
  cns_hash_final(&hash, &digest);
  cns_rng_seeded_init(rng, digest.bytes);
}

/* The stream of a key doesn't depend on how it is cut into requests. */
static int fill_seeded(void *context, uint8_t *out, size_t len) {
  static const uint8_t zero_nonce[crypto_stream_chacha20_NONCEBYTES];
  static const uint8_t zero_block[64];
  struct cns_rng_seeded *rng = context;
  while (len > 0) {
    if (rng->used == sizeof rng->buffer && len >= sizeof rng->buffer) { /* whole blocks where they belong */
      size_t blocks = len / sizeof rng->buffer, bytes = blocks * sizeof rng->buffer;
      memset(out, 0, bytes);
      if (crypto_stream_chacha20_xor_ic(out, out, bytes, zero_nonce, rng->block, rng->key) != 0)
        return CNS_ERR_RANDOM;
      rng->block += blocks;
      out += bytes;
      len -= bytes;
      continue;
    }
    if (rng->used == sizeof rng->buffer) {
      if (crypto_stream_chacha20_xor_ic(rng->buffer, zero_block, sizeof zero_block, zero_nonce, rng->block,
                                        rng->key) != 0)
        return CNS_ERR_RANDOM;
      rng->block++;
      rng->used = 0;
    }
    size_t part = sizeof rng->buffer - rng->used;
    if (part > len) part = len;
    memcpy(out, rng->buffer + rng->used, part);
    rng->used += part;
    out += part;
    len -= part;
  }
  return CNS_OK;
}

struct cns_rng cns_rng_seeded(struct cns_rng_seeded *rng) {
  return (struct cns_rng){.fill = fill_seeded, .context = rng};
}

int cns_rng_fill(struct cns_rng rng, uint8_t *out, size_t len) {
  return rng.fill(rng.context, out, len) == CNS_OK ? CNS_OK : CNS_ERR_RANDOM;
}

int cns_rng_uniform_u64(struct cns_rng rng, uint64_t bound, uint64_t *ret_value) {
  if (bound == 0) return CNS_ERR_ARGUMENT;
  /* 2^64 mod bound: the values below it would favour the small results. */
  const uint64_t surplus = (0 - bound) % bound;
  for (int k = 0; k < REJECTIONS_MAX; k++) {
    uint8_t bytes[8];
    const int error = cns_rng_fill(rng, bytes, sizeof bytes);
    if (error) return error;
    const uint64_t value = cns_load_le64(bytes);
    cns_wipe(bytes, sizeof bytes);
    if (value >= surplus) {
      *ret_value = value % bound;
      return CNS_OK;
    }
  }
  return CNS_ERR_RANDOM;
}

int cns_rng_shuffle(struct cns_rng rng, uint32_t *items, size_t count) {
  for (size_t i = count; i > 1; i--) {
    uint64_t j;
    int r = cns_rng_uniform_u64(rng, i, &j);
    if (r < 0) return r;
    uint32_t swap = items[i - 1];
    items[i - 1] = items[j];
    items[j] = swap;
  }
  return 0;
}
