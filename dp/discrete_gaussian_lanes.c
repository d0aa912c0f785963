/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops of dp/discrete_gaussian_internal.h. f < t over 15 bytes goes from the
 * least significant byte up: less = u < t, or u == t and less so far.
 */
#include <string.h>

#include "dp/discrete_gaussian_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define COLUMNS CNS_DISCRETE_GAUSSIAN_COLUMNS
#define LANES CNS_DISCRETE_GAUSSIAN_LANES
#define LAST (CNS_DISCRETE_GAUSSIAN_SLICES - 1)
#define LOWER_BITS 0x7f

/* Plain loops for each processor's own wrappers: the compiler turns them into vectors. */
#define LOOP __attribute__((always_inline)) static inline

LOOP void store_loop(const int32_t *upper, const int32_t *lower, int32_t scale, int64_t *ret, size_t count) {
  for (size_t s = 0; s < count; s++)
    ret[s] = (int64_t)upper[s] * scale + lower[s];
}

LOOP void add_loop(const int32_t *upper, const int32_t *lower, int32_t scale, uint32_t *x, size_t count) {
  for (size_t s = 0; s < count; s++)
    x[s] += (uint32_t)upper[s] * (uint32_t)scale + (uint32_t)lower[s];
}

/* The entries of the columns of one block: every entry of the table is read. */
static void select_entries(const struct cns_discrete_gaussian_table *restrict table,
                           const uint8_t *restrict columns, uint8_t (*restrict entries)[LANES]) {
  uint8_t mask[LANES];
  for (size_t column = 0; column < COLUMNS; column++) {
    const uint8_t wanted = (uint8_t)column;
    for (size_t s = 0; s < LANES; s++)
      mask[s] = columns[s] == wanted ? 0xff : 0;
    for (size_t slice = 0; slice <= LAST; slice++) {
      const uint8_t value = table->slices[slice][column];
      for (size_t s = 0; s < LANES; s++)
        entries[slice][s] |= value & mask[s];
    }
  }
  cns_wipe(mask, sizeof mask);
}

static void portable_block(const struct cns_discrete_gaussian_table *table, const uint8_t *random,
                           int32_t factor, int32_t *sums) {
  uint8_t entries[LAST + 1][LANES] = {{0}}, less[LANES] = {0};
  select_entries(table, random, entries);
  for (size_t slice = LAST; slice > 0; slice--) {
    const uint8_t *row = random + slice * LANES, used = slice == LAST ? LOWER_BITS : 0xff;
    for (size_t s = 0; s < LANES; s++) {
      const uint8_t u = row[s] & used, t = entries[slice][s];
      less[s] = (uint8_t)((u < t) | ((u == t) & less[s]));
    }
  }
  for (size_t s = 0; s < LANES; s++) {
    const uint8_t keep = (uint8_t)(0u - less[s]);
    const int32_t m = (random[s] & keep) | (entries[0][s] & (uint8_t)~keep);
    const int32_t sign = -(random[LAST * LANES + s] >> 7);
    sums[s] = factor * sums[s] + ((m ^ sign) - sign);
  }
  cns_wipe(entries, sizeof entries);
  cns_wipe(less, sizeof less);
}

static void portable_draw(const struct cns_discrete_gaussian_table *table, const uint8_t *random,
                          size_t blocks, int32_t factor, int32_t *sums) {
  for (size_t b = 0; b < blocks; b++)
    portable_block(table, random + b * CNS_DISCRETE_GAUSSIAN_BLOCK_BYTES, factor, sums + b * LANES);
}

static void portable_store(const int32_t *upper, const int32_t *lower, int32_t scale, int64_t *ret,
                           size_t count) {
  store_loop(upper, lower, scale, ret, count);
}

static void portable_add(const int32_t *upper, const int32_t *lower, int32_t scale, uint32_t *x,
                         size_t count) {
  add_loop(upper, lower, scale, x, count);
}

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")))
/* A shuffle chooses among 16 bytes: as many of them for the 256 of a slice. */
#define SHUFFLES 16

AVX2 static inline __m256i load_32(const uint8_t *from) {
  return _mm256_load_si256((const __m256i *)from);
}

/* Shuffle number k looks up the columns 16k..16k+15, and gives 0 where the top bit of its
 * index is set: everywhere else. */
AVX2 static inline void avx2_indices(__m256i columns, __m256i indices[SHUFFLES]) {
  for (int k = 0; k < SHUFFLES; k++)
    indices[k] =
        _mm256_adds_epu8(_mm256_xor_si256(columns, _mm256_set1_epi8((char)(k * 16))), _mm256_set1_epi8(0x70));
}

AVX2 static inline __m256i avx2_lookup(const uint8_t *slice, const __m256i indices[SHUFFLES]) {
  __m256i found = _mm256_setzero_si256();
  for (int k = 0; k < SHUFFLES; k++) {
    const __m256i part = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(slice + k * 16)));
    found = _mm256_or_si256(found, _mm256_shuffle_epi8(part, indices[k]));
  }
  return found;
}

/* Eight samples, from the low half of m and of the row with the signs. */
AVX2 static inline void avx2_sum(__m128i m, __m128i signs, __m256i factor, int32_t *sums) {
  const __m256i sign = _mm256_srai_epi32(_mm256_cvtepi8_epi32(signs), 31);
  const __m256i x = _mm256_sub_epi32(_mm256_xor_si256(_mm256_cvtepu8_epi32(m), sign), sign);
  const __m256i before = _mm256_mullo_epi32(_mm256_load_si256((const __m256i *)sums), factor);
  _mm256_store_si256((__m256i *)sums, _mm256_add_epi32(before, x));
}

AVX2 static inline void avx2_sums(__m256i m, __m256i signs, __m256i factor, int32_t *sums) {
  const __m128i m0 = _mm256_castsi256_si128(m), m1 = _mm256_extracti128_si256(m, 1);
  const __m128i s0 = _mm256_castsi256_si128(signs), s1 = _mm256_extracti128_si256(signs, 1);
  avx2_sum(m0, s0, factor, sums);
  avx2_sum(_mm_srli_si128(m0, 8), _mm_srli_si128(s0, 8), factor, sums + 8);
  avx2_sum(m1, s1, factor, sums + 16);
  avx2_sum(_mm_srli_si128(m1, 8), _mm_srli_si128(s1, 8), factor, sums + 24);
}

/* 32 lanes of a block. */
AVX2 static inline void avx2_half_block(const struct cns_discrete_gaussian_table *table,
                                        const uint8_t *random, __m256i factor, int32_t *sums) {
  __m256i indices[SHUFFLES];
  const __m256i columns = load_32(random), last = load_32(random + LAST * LANES);
  __m256i less = _mm256_setzero_si256();
  avx2_indices(columns, indices);
  for (size_t slice = LAST; slice > 0; slice--) {
    __m256i u = load_32(random + slice * LANES);
    if (slice == LAST) u = _mm256_and_si256(u, _mm256_set1_epi8(LOWER_BITS));
    const __m256i t = avx2_lookup(table->slices[slice], indices);
    const __m256i equal = _mm256_cmpeq_epi8(u, t);
    const __m256i at_most = _mm256_cmpeq_epi8(_mm256_min_epu8(u, t), u);
    less = _mm256_andnot_si256(_mm256_andnot_si256(less, equal), at_most);
  }
  const __m256i m = _mm256_blendv_epi8(avx2_lookup(table->slices[0], indices), columns, less);
  avx2_sums(m, last, factor, sums);
}

AVX2 static void avx2_draw(const struct cns_discrete_gaussian_table *table, const uint8_t *random,
                           size_t blocks, int32_t factor, int32_t *sums) {
  for (size_t b = 0; b < blocks; b++, random += CNS_DISCRETE_GAUSSIAN_BLOCK_BYTES, sums += LANES) {
    avx2_half_block(table, random, _mm256_set1_epi32(factor), sums);
    avx2_half_block(table, random + 32, _mm256_set1_epi32(factor), sums + 32);
  }
}

AVX2 static void avx2_store(const int32_t *upper, const int32_t *lower, int32_t scale, int64_t *ret,
                            size_t count) {
  store_loop(upper, lower, scale, ret, count);
}

AVX2 static void avx2_add(const int32_t *upper, const int32_t *lower, int32_t scale, uint32_t *x,
                          size_t count) {
  add_loop(upper, lower, scale, x, count);
}

AVX512 static inline __m512i load_64(const uint8_t *from) {
  return _mm512_load_si512(from);
}

/* One permutation chooses among 128 bytes: two, and the column's top bit between them. */
AVX512 static inline __m512i avx512_lookup(const uint8_t *slice, __m512i columns, __mmask64 top) {
  const __m512i low = _mm512_permutex2var_epi8(load_64(slice), columns, load_64(slice + 64));
  const __m512i high = _mm512_permutex2var_epi8(load_64(slice + 128), columns, load_64(slice + 192));
  return _mm512_mask_blend_epi8(top, low, high);
}

AVX512 static inline void avx512_sum(__m128i m, __mmask16 sign, __m512i factor, int32_t *sums) {
  const __m512i magnitude = _mm512_cvtepu8_epi32(m);
  const __m512i x = _mm512_mask_sub_epi32(magnitude, sign, _mm512_setzero_si512(), magnitude);
  _mm512_store_si512(sums, _mm512_add_epi32(_mm512_mullo_epi32(_mm512_load_si512(sums), factor), x));
}

AVX512 static inline void avx512_block(const struct cns_discrete_gaussian_table *table, const uint8_t *random,
                                       __m512i factor, int32_t *sums) {
  const __m512i columns = load_64(random), last = load_64(random + LAST * LANES);
  const __mmask64 top = _mm512_movepi8_mask(columns), sign = _mm512_movepi8_mask(last);
  const __m512i u_last = _mm512_and_si512(last, _mm512_set1_epi8(LOWER_BITS));
  __mmask64 less = _mm512_cmplt_epu8_mask(u_last, avx512_lookup(table->slices[LAST], columns, top));
  for (size_t slice = LAST - 1; slice > 0; slice--) {
    const __m512i u = load_64(random + slice * LANES);
    const __m512i t = avx512_lookup(table->slices[slice], columns, top);
    less = _mm512_cmplt_epu8_mask(u, t) | (_mm512_cmple_epu8_mask(u, t) & less);
  }
  const __m512i m = _mm512_mask_blend_epi8(less, avx512_lookup(table->slices[0], columns, top), columns);
  avx512_sum(_mm512_castsi512_si128(m), (__mmask16)sign, factor, sums);
  avx512_sum(_mm512_extracti32x4_epi32(m, 1), (__mmask16)(sign >> 16), factor, sums + 16);
  avx512_sum(_mm512_extracti32x4_epi32(m, 2), (__mmask16)(sign >> 32), factor, sums + 32);
  avx512_sum(_mm512_extracti32x4_epi32(m, 3), (__mmask16)(sign >> 48), factor, sums + 48);
}

AVX512 static void avx512_draw(const struct cns_discrete_gaussian_table *table, const uint8_t *random,
                               size_t blocks, int32_t factor, int32_t *sums) {
  for (size_t b = 0; b < blocks; b++, random += CNS_DISCRETE_GAUSSIAN_BLOCK_BYTES, sums += LANES)
    avx512_block(table, random, _mm512_set1_epi32(factor), sums);
}

AVX512 static void avx512_store(const int32_t *upper, const int32_t *lower, int32_t scale, int64_t *ret,
                                size_t count) {
  store_loop(upper, lower, scale, ret, count);
}

AVX512 static void avx512_add(const int32_t *upper, const int32_t *lower, int32_t scale, uint32_t *x,
                              size_t count) {
  add_loop(upper, lower, scale, x, count);
}

static bool has_avx512(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi");
}

#endif

const struct cns_discrete_gaussian_version *cns_discrete_gaussian_version(size_t number) {
  static const struct cns_discrete_gaussian_version plain = {"portable", portable_draw, portable_store,
                                                             portable_add};
  if (number == 0) return &plain;
#if defined(__x86_64__)
  static const struct cns_discrete_gaussian_version avx2 = {"avx2", avx2_draw, avx2_store, avx2_add};
  static const struct cns_discrete_gaussian_version avx512 = {"avx512", avx512_draw, avx512_store,
                                                              avx512_add};
  if (number == 1 && __builtin_cpu_supports("avx2")) return &avx2;
  if (number == 2 && has_avx512()) return &avx512;
#endif
  return NULL;
}
