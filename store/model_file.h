/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model files as they lie on the disk, mapped: their pages are the file's, and a model
 * of a gigabyte costs a process none of its own memory. A file that is read is never
 * changed in place, and stays whole when it is pruned meanwhile. If the disk fails
 * under a mapping, the process ends (SIGBUS) and is started again, as after any crash.
 */
#pragma once

#include "crypto/base.h"

/* ---- a model that is there ---- */

struct cns_model_map;

/* Nothing of it is checked but that 1 <= length <= len_max. CNS_ERR_NOT_FOUND, CNS_ERR_LIMIT, ... */
CNS_MUST_CHECK int cns_model_map_open(const char *path, size_t len_max, struct cns_model_map **ret_map,
                                      struct cns_problem *problem);
/* One more holder, who frees it too; on any thread. Returns map. */
struct cns_model_map *cns_model_map_hold(struct cns_model_map *map);
struct cns_model_map *cns_model_map_free(struct cns_model_map *map); /* takes NULL, returns NULL */
/* Valid as long as it is held; aligned to a page. */
const uint8_t *cns_model_map_bytes(const struct cns_model_map *map, size_t *ret_len);

/* ---- a model that is being made ---- */

struct cns_model_draft;

/* A new file of len bytes (whatever lay at path is gone), mapped for writing. All its room on the disk is
 * taken now: CNS_ERR_DISK_FULL. */
CNS_MUST_CHECK int cns_model_draft_new(const char *path, size_t len, struct cns_model_draft **ret_draft,
                                       struct cns_problem *problem);
/* len bytes, zeros at first; disjoint parts may be written on several threads. */
uint8_t *cns_model_draft_bytes(const struct cns_model_draft *draft, size_t *ret_len);
/* What was written there goes to the disk in the background, so that the end doesn't wait for all of it. */
void cns_model_draft_written(const struct cns_model_draft *draft, size_t offset, size_t len);
/* Durable, and by the final name, when it returns; the draft is still to be freed. */
CNS_MUST_CHECK int cns_model_draft_move(struct cns_model_draft *draft, const char *path,
                                        struct cns_problem *problem);
/* Deletes the file unless it was moved. Takes NULL, returns NULL. */
struct cns_model_draft *cns_model_draft_free(struct cns_model_draft *draft);
