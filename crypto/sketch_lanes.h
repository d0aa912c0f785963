/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sixteen vectors side by side: the inner loop of crypto/sketch.h. They share A,
 * so that one coordinate of all sixteen goes to a bucket in one addition. Used by
 * crypto/sketch.c; the versions are here for its tests.
 */
#pragma once

#include "crypto/sketch.h"

#define CNS_SKETCH_LANES 16u
/* Coordinates that are transposed together; a tile stays in the first-level cache. */
#define CNS_SKETCH_TILE 64u
/* Vectors in memory are read so many coordinates ahead: less is too late, and of more some
 * is gone from the cache again. */
#define CNS_SKETCH_AHEAD (2 * CNS_SKETCH_TILE)
/* Elements of a tile, and of the rows for sixteen vectors. */
#define CNS_SKETCH_TILE_ELEMENTS ((size_t)CNS_SKETCH_TILE * CNS_SKETCH_LANES)
#define CNS_SKETCH_ROWS_ELEMENTS(k) (2 * (size_t)(k)*CNS_SKETCH_LANES)

/*
 * The lanes of a piece are 8 or 16. A row has one element a lane; a bucket has two,
 * one for each sign (sketch = plus - minus), so that the sign costs nothing here:
 * entry e of block b, e < w for plus, e - w the bucket for minus, is row 8*e + b.
 * Which rows are touched depends on `entries` only, never on a vector.
 */
struct cns_sketch_piece {
  const uint8_t *entries;         /* [len][8] */
  const uint32_t *const *vectors; /* one a lane, any alignment; len elements each */
  size_t len;
  size_t readable; /* of each vector in memory: up to len + CNS_SKETCH_AHEAD; 0: vectors in a cache */
  uint32_t *tile;  /* CNS_SKETCH_TILE_ELEMENTS of scratch, aligned to 64 bytes; not wiped */
  uint32_t *rows;  /* [2w * 8][lanes], aligned to 64 bytes; added to */
};

struct cns_sketch_version {
  const char *name;
  void (*add_8)(const struct cns_sketch_piece *piece);
  void (*add_16)(const struct cns_sketch_piece *piece);
};

/* The versions that this processor can run, from 0: the portable one, then faster
 * and faster; NULL beyond the last. All give the same, bit for bit. */
const struct cns_sketch_version *cns_sketch_version(size_t number);

/* Tests only: the version of this plan instead of the fastest. */
void cns_sketch_plan_use(struct cns_sketch_plan *plan, const struct cns_sketch_version *version);
