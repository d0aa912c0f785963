/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mask_lanes.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define AESNI __attribute__((target("aes,avx2")))
#define VAES __attribute__((target("aes,avx2,avx512f,avx512bw,vaes")))
#define LAST (CNS_MASK_ROUND_KEYS - 1)
/* Registers of a vector that are under way together: enough to hide an instruction's latency. */
#define WIDE 8

/* Each 32-bit word is the sum (xor) of those before it in the round key. */
AESNI static inline __m128i spread(__m128i key) {
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  return _mm_xor_si128(key, _mm_slli_si128(key, 8));
}

#define STORE(r, value) _mm_storeu_si128((__m128i *)(void *)ret_key->round[r], value)
/* Two round keys: from `even` with the round constant, and from `odd` without one. */
#define EXPAND_EVEN(r, constant)                                                                             \
  even = _mm_xor_si128(spread(even), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, constant), 0xff));     \
  STORE(r, even)
#define EXPAND(r, constant)                                                                                  \
  EXPAND_EVEN(r, constant);                                                                                  \
  odd = _mm_xor_si128(spread(odd), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa));             \
  STORE((r) + 1, odd)

/* FIPS 197, section 5.2. */
AESNI static void expand(const struct cns_mask_seed *seed, struct cns_mask_key *ret_key) {
  __m128i even = _mm_loadu_si128((const __m128i *)(const void *)seed->bytes);
  __m128i odd = _mm_loadu_si128((const __m128i *)(const void *)(seed->bytes + 16));
  STORE(0, even);
  STORE(1, odd);
  EXPAND(2, 0x01);
  EXPAND(4, 0x02);
  EXPAND(6, 0x04);
  EXPAND(8, 0x08);
  EXPAND(10, 0x10);
  EXPAND(12, 0x20);
  EXPAND_EVEN(14, 0x40);
}

/* ---- AES-NI: eight blocks at a time ---- */

AESNI static inline __m128i round_key(const struct cns_mask_key *key, size_t r) {
  return _mm_loadu_si128((const __m128i *)(const void *)key->round[r]);
}

/* The counter is 128 bits, big-endian; its upper half is zero here. */
AESNI static inline __m128i counter(uint64_t block) {
  return _mm_set_epi64x((long long)__builtin_bswap64(block), 0);
}

AESNI static void aesni_part(const struct cns_mask_key *key, uint64_t block, uint32_t *vector) {
  __m128i state[WIDE], k = round_key(key, 0);
  for (size_t i = 0; i < WIDE; i++)
    state[i] = _mm_xor_si128(counter(block + i), k);
  for (size_t r = 1; r < LAST; r++) {
    k = round_key(key, r);
    for (size_t i = 0; i < WIDE; i++)
      state[i] = _mm_aesenc_si128(state[i], k);
  }
  k = round_key(key, LAST);
  for (size_t i = 0; i < WIDE; i++) {
    __m128i *place = (__m128i *)(void *)(vector + 4 * i), old = _mm_loadu_si128(place);
    state[i] = _mm_aesenclast_si128(state[i], k);
    _mm_storeu_si128(place, key->negative ? _mm_sub_epi32(old, state[i]) : _mm_add_epi32(old, state[i]));
  }
}

AESNI static void aesni_apply(const struct cns_mask_key *keys, size_t key_count, uint64_t block,
                              uint32_t *vector, size_t tiles) {
  for (size_t t = 0; t < tiles; t++, block += CNS_MASK_TILE / 4, vector += CNS_MASK_TILE)
    for (size_t k = 0; k < key_count; k++)
      for (size_t at = 0; at < CNS_MASK_TILE / 4; at += WIDE)
        aesni_part(&keys[k], block + at, vector + 4 * at);
}

/* ---- VAES: four blocks a register, eight registers ---- */

VAES static inline __m512i wide_key(const struct cns_mask_key *key, size_t r) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)key->round[r]));
}

/* Block numbers in the upper halves, little-endian, to counters. */
VAES static inline __m512i wide_counters(__m512i blocks) {
  const __m512i reverse =
      _mm512_broadcast_i32x4(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1));
  return _mm512_shuffle_epi8(blocks, reverse);
}

VAES static inline void vaes_keystream(const struct cns_mask_key *key, const __m512i counters[WIDE],
                                       __m512i state[WIDE]) {
  __m512i k = wide_key(key, 0);
  for (size_t i = 0; i < WIDE; i++)
    state[i] = _mm512_xor_si512(counters[i], k);
  for (size_t r = 1; r < LAST; r++) {
    k = wide_key(key, r);
    for (size_t i = 0; i < WIDE; i++)
      state[i] = _mm512_aesenc_epi128(state[i], k);
  }
  k = wide_key(key, LAST);
  for (size_t i = 0; i < WIDE; i++)
    state[i] = _mm512_aesenclast_epi128(state[i], k);
}

VAES static void vaes_apply(const struct cns_mask_key *keys, size_t key_count, uint64_t block,
                            uint32_t *vector, size_t tiles) {
  const __m512i four = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
  __m512i blocks = _mm512_add_epi64(_mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0),
                                    _mm512_maskz_set1_epi64(0xaa, (long long)block));
  for (size_t t = 0; t < tiles; t++, vector += CNS_MASK_TILE) {
    __m512i sum[WIDE], counters[WIDE], state[WIDE];
    for (size_t i = 0; i < WIDE; i++) {
      sum[i] = _mm512_loadu_si512(vector + 16 * i);
      counters[i] = wide_counters(blocks);
      blocks = _mm512_add_epi64(blocks, four);
    }
    for (size_t k = 0; k < key_count; k++) {
      vaes_keystream(&keys[k], counters, state);
      for (size_t i = 0; i < WIDE; i++)
        sum[i] = keys[k].negative ? _mm512_sub_epi32(sum[i], state[i]) : _mm512_add_epi32(sum[i], state[i]);
    }
    for (size_t i = 0; i < WIDE; i++)
      _mm512_storeu_si512(vector + 16 * i, sum[i]);
  }
}

/* __builtin_cpu_supports doesn't know it everywhere; that the system saves the registers it
 * does, with avx512. Leaf 7, ECX bit 9. */
static bool has_vaes(void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c >> 9 & 1) != 0;
}

static bool has_aesni(void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 25 & 1) != 0;
}

#endif

const struct cns_mask_version *cns_mask_version(size_t number) {
  static const struct cns_mask_version portable = {"openssl", NULL, NULL};
  if (number == 0) return &portable;
#if defined(__x86_64__)
  static const struct cns_mask_version aesni = {"aesni", expand, aesni_apply};
  static const struct cns_mask_version vaes = {"vaes", expand, vaes_apply};
  if (number == 1 && has_aesni()) return &aesni;
  if (number == 2 && has_aesni() && has_vaes()) return &vaes;
#endif
  return NULL;
}
