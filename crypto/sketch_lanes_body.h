/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No header of its own: crypto/sketch_lanes.c includes it once for each processor,
 * with TARGET (the attribute) and NAME(x) (the function's name there). The compiler
 * takes vectors apart before it makes clones of a function or inlines it, so neither
 * target_clones nor one inline function would do.
 */

/* Eight vectors, eight coordinates, in three steps of pairs. */
TARGET static inline void NAME(transpose)(const uint32_t *const *vectors, size_t at, uint32_t *tile,
                                          size_t lanes) {
  eight a[8], b[8];
  for (size_t k = 0; k < 8; k++)
    a[k] = *(const eight_anywhere *)(vectors[k] + at);
  for (size_t k = 0; k < 8; k += 2) {
    b[k] = __builtin_shufflevector(a[k], a[k + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[k + 1] = __builtin_shufflevector(a[k], a[k + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (size_t half = 0; half < 8; half += 4)
    for (size_t k = half; k < half + 2; k++) {
      a[2 * k - half] = __builtin_shufflevector(b[k], b[k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[2 * k - half + 1] = __builtin_shufflevector(b[k], b[k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (size_t k = 0; k < 4; k++) {
    *(eight *)(tile + k * lanes) = __builtin_shufflevector(a[k], a[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *(eight *)(tile + (k + 4) * lanes) = __builtin_shufflevector(a[k], a[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

/* Eight vectors after the other eight: vectors of one length tend to begin at the same
 * place of a page, and sixteen such lines are too many for one set of the first-level
 * cache. */
TARGET static inline void NAME(fill_tile)(const uint32_t *const *vectors, size_t at, size_t len,
                                          uint32_t *restrict tile, size_t lanes) {
  const size_t whole = len / 8 * 8;
  for (size_t lane = 0; lane < lanes; lane += 8)
    for (size_t c = 0; c < whole; c += 8)
      NAME(transpose)(vectors + lane, at + c, tile + c * lanes + lane, lanes);
  for (size_t c = whole; c < len; c++)
    for (size_t lane = 0; lane < lanes; lane++)
      tile[c * lanes + lane] = vectors[lane][at + c];
}

TARGET static inline void NAME(add_tile_16)(const struct cns_sketch_piece *piece, size_t at, size_t len) {
  const uint8_t *entries = piece->entries + 8 * at;
  const sixteen *tile = (const sixteen *)piece->tile;
  const uint32_t *const *vectors = piece->vectors;
  const size_t next = next_tile(piece, at);
  sixteen *restrict rows = (sixteen *)piece->rows;
  for (size_t c = 0; c < len; c++) {
    const uint64_t places = cns_load_le64(entries + 8 * c);
    const sixteen value = tile[c];
    if (next) prefetch(vectors, next, c, 16);
    for (size_t block = 0; block < CNS_SKETCH_BLOCKS; block++)
      rows[row_number(places, block)] += value;
  }
}

TARGET static void NAME(add_16)(const struct cns_sketch_piece *piece) {
  for (size_t at = 0, len; at < piece->len; at += len) {
    len = tile_len(piece, at);
    NAME(fill_tile)(piece->vectors, at, len, piece->tile, 16);
    NAME(add_tile_16)(piece, at, len);
  }
}

TARGET static inline void NAME(add_tile_8)(const struct cns_sketch_piece *piece, size_t at, size_t len) {
  const uint8_t *entries = piece->entries + 8 * at;
  const eight *tile = (const eight *)piece->tile;
  const uint32_t *const *vectors = piece->vectors;
  const size_t next = next_tile(piece, at);
  eight *restrict rows = (eight *)piece->rows;
  for (size_t c = 0; c < len; c++) {
    const uint64_t places = cns_load_le64(entries + 8 * c);
    const eight value = tile[c];
    if (next) prefetch(vectors, next, c, 8);
    for (size_t block = 0; block < CNS_SKETCH_BLOCKS; block++)
      rows[row_number(places, block)] += value;
  }
}

TARGET static void NAME(add_8)(const struct cns_sketch_piece *piece) {
  for (size_t at = 0, len; at < piece->len; at += len) {
    len = tile_len(piece, at);
    NAME(fill_tile)(piece->vectors, at, len, piece->tile, 8);
    NAME(add_tile_8)(piece, at, len);
  }
}
