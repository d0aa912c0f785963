/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sketches of phase audit at the hospital, on a worker thread (docs/protocol.md,
 * phase audit): of every mask, of y and of x. y isn't kept: it is made anew from x and
 * the masks, piece by piece, so that each mask is computed once for both, and its
 * digest tells whether it is what was sent. Memory, besides the result ((count + 2)*k
 * numbers): at most 1.2 MB for pieces of 64 masks, the masks' key schedules, and the
 * rows of crypto/sketch.h for 66 vectors. What was masks or y is wiped.
 */
#pragma once

#include "client/uploader.h"
#include "crypto/sketch.h"

struct cns_sketching_input {
  struct cns_sketch_key key;
  uint32_t k;
  uint64_t dim;                      /* A covers the first dim words of a vector */
  const struct cns_mask_term *terms; /* of y; copied */
  size_t count;
  struct cns_uploader *uploader; /* of x; held until the end */
};

struct cns_sketching_result {
  const uint32_t *masks; /* count sketches, in the order of the terms */
  const uint32_t *of_y, *of_x;
  struct cns_digest root; /* of y as it was made anew: cns_upload_digest */
};

struct cns_sketching;

/* done comes exactly once, on the loop's thread: 0, CNS_ERR_CANCELLED or another
 * error. The result is wiped after it. */
typedef void cns_sketching_done(void *context, struct cns_sketching *sketching, int error,
                                const struct cns_sketching_result *result);
CNS_MUST_CHECK int cns_sketching_start(uv_loop_t *uv, const struct cns_sketching_input *input,
                                       cns_sketching_done *done, void *context,
                                       struct cns_sketching **ret_sketching);
/* Stops within a chunk; done still comes. */
void cns_sketching_cancel(struct cns_sketching *sketching);
