/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A*y of stored uploads: runs on a worker thread, on plain arrays. The vectors
 * are read sixteen at a time, piece by piece.
 */
#pragma once

#include "crypto/sketch.h"
#include "store/vector_file.h"

/* Sketches of the first `words` elements of `count` uploads to
 * ret_sketches[count][k]. Memory: 4 MiB and the result a range, of which there are up to 16.
 * CNS_ERR_IO and others as they come, with a sentence. */
CNS_MUST_CHECK int cns_sketch_uploads(const struct cns_sketch_key *key, uint32_t k,
                                      struct cns_vector_file *const *uploads, size_t count, uint64_t words,
                                      struct cns_parallel parallel, uint32_t *ret_sketches,
                                      struct cns_problem *problem);
