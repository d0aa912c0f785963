/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server optimiser remembers from round to round (model/server_optimiser.h): one
 * or two floats a parameter, in a file of the model version they belong to,
 *   <folder>/<round, 20 digits>-<model digest, hex>.optimiser
 * that appears whole or not at all. It is read and written block by block, so that no
 * machine needs memory for all of it, and each block is checked against its digest when
 * it is read: a header of 4,096 bytes, the blocks' digests, then each block's m and v.
 * A change leaves the version before it untouched until it is swept. One process writes.
 */
#pragma once

#include "crypto/hash.h"

#define CNS_OPTIMISER_BLOCK 65536u /* parameters */
#define CNS_OPTIMISER_ARRAYS_MAX 2

/* Which file, and for which study file: under another one the state isn't gone on with. */
struct cns_optimiser_version {
  uint64_t round; /* the model's: 0 is the initial one, which has no file */
  struct cns_digest model;
  struct cns_digest plan;
  uint64_t dim;  /* parameters */
  size_t arrays; /* 1 or 2 */
};

/* Bytes of a file. */
uint64_t cns_optimiser_state_bytes(uint64_t dim, size_t arrays);

/* Reads the whole file and checks it. CNS_ERR_NOT_FOUND; CNS_ERR_FORMAT: damaged, or another
 * model's; both with what to do. */
CNS_MUST_CHECK int cns_optimiser_state_check(const char *folder, const struct cns_optimiser_version *version,
                                             struct cns_problem *problem);
/* Deletes all files of ours but that of `keep` (NULL: all), half made ones too. */
CNS_MUST_CHECK int cns_optimiser_state_sweep(const char *folder, const struct cns_optimiser_version *keep,
                                             struct cns_problem *problem);

/* From one version to the next. */
struct cns_optimiser_change;

/* from NULL: there is none before it. Takes the room on the disk (CNS_ERR_DISK_FULL).
 * CNS_ERR_NOT_FOUND and CNS_ERR_FORMAT as above, of the header. */
CNS_MUST_CHECK int cns_optimiser_change_begin(const char *folder, const struct cns_optimiser_version *from,
                                              uint64_t dim, size_t arrays,
                                              struct cns_optimiser_change **ret_change,
                                              struct cns_problem *problem);
/*
 * Block `block` of the version before, arrays[a] each with room for the block's parameters;
 * and of the next one, all blocks once. May be called on several threads, each with a block of
 * its own. _read: CNS_OPTIMISER_NONE if there is no version before.
 */
#define CNS_OPTIMISER_NONE 1
CNS_MUST_CHECK int cns_optimiser_change_read(const struct cns_optimiser_change *change, size_t block,
                                             float *const *ret_arrays, struct cns_problem *problem);
CNS_MUST_CHECK int cns_optimiser_change_write(struct cns_optimiser_change *change, size_t block,
                                              const float *const *arrays, struct cns_problem *problem);
/* Durable under its name when it returns. The round, model and plan of `to` are new;
 * CNS_ERR_STATE if a block is missing. */
CNS_MUST_CHECK int cns_optimiser_change_commit(struct cns_optimiser_change *change,
                                               const struct cns_optimiser_version *to,
                                               struct cns_problem *problem);
/* What wasn't committed is deleted. */
struct cns_optimiser_change *cns_optimiser_change_free(struct cns_optimiser_change *change);
