/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/sketch_lanes.h"

#include "crypto/bytes.h"

#define CACHE_LINE_ELEMENTS 16

static inline size_t tile_len(const struct cns_sketch_piece *piece, size_t at) {
  return piece->len - at < CNS_SKETCH_TILE ? piece->len - at : CNS_SKETCH_TILE;
}

static inline size_t row_number(uint64_t entries, size_t block) {
  return CNS_SKETCH_BLOCKS * (entries >> 8 * block & 0xff) + block;
}

/* Plain loops over a constant number of lanes, which compilers turn into whatever
 * vectors the machine has. */
static inline void portable(const struct cns_sketch_piece *piece, size_t lanes) {
  for (size_t c = 0; c < piece->len; c++) {
    const uint64_t entries = cns_load_le64(piece->entries + 8 * c);
    uint32_t *restrict value = piece->tile;
    for (size_t lane = 0; lane < lanes; lane++)
      value[lane] = piece->vectors[lane][c];
    for (size_t block = 0; block < CNS_SKETCH_BLOCKS; block++) {
      uint32_t *restrict row = piece->rows + row_number(entries, block) * lanes;
      for (size_t lane = 0; lane < lanes; lane++)
        row[lane] += value[lane];
    }
  }
}

static void portable_8(const struct cns_sketch_piece *piece) {
  portable(piece, 8);
}

static void portable_16(const struct cns_sketch_piece *piece) {
  portable(piece, 16);
}

#if defined(__x86_64__)

typedef uint32_t eight __attribute__((vector_size(32), may_alias));
typedef uint32_t eight_anywhere __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t sixteen __attribute__((vector_size(64), may_alias));

/* Where the tile begins that is to be read ahead, if it is a whole one; else 0. */
static inline size_t next_tile(const struct cns_sketch_piece *piece, size_t at) {
  const size_t next = at + CNS_SKETCH_AHEAD;
  return next + CNS_SKETCH_TILE <= piece->readable ? next : 0;
}

/* Sixteen streams are more than processors foresee: with coordinate c of a tile, one
 * line of a later tile. Must be inlined: gcc takes a function that does nothing but
 * this for one without effect and drops its calls. */
__attribute__((always_inline)) static inline void prefetch(const uint32_t *const *vectors, size_t next,
                                                           size_t c, size_t lanes) {
  if (c < lanes * CNS_SKETCH_TILE / CACHE_LINE_ELEMENTS)
    __builtin_prefetch(vectors[c % lanes] + next + c / lanes * CACHE_LINE_ELEMENTS, 0, 2);
}

#define TARGET __attribute__((target("avx2")))
#define NAME(x) avx2_##x
#include "crypto/sketch_lanes_body.h"
#undef TARGET
#undef NAME

#define TARGET __attribute__((target("avx2,avx512f")))
#define NAME(x) avx512_##x
#include "crypto/sketch_lanes_body.h"
#undef TARGET
#undef NAME

#endif

const struct cns_sketch_version *cns_sketch_version(size_t number) {
  static const struct cns_sketch_version plain = {"portable", portable_8, portable_16};
  if (number == 0) return &plain;
#if defined(__x86_64__)
  static const struct cns_sketch_version avx2 = {"avx2", avx2_add_8, avx2_add_16};
  static const struct cns_sketch_version avx512 = {"avx512", avx512_add_8, avx512_add_16};
  if (number == 1 && __builtin_cpu_supports("avx2")) return &avx2;
  if (number == 2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f")) return &avx512;
#endif
  return NULL;
}
