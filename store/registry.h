/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model versions and their manifests as plain files, so that they can be
 * copied, compared and read without this program:
 *   <folder>/models/<digest, hex>.model
 *   <folder>/manifests/<round, 20 digits>-<model digest, hex>.manifest
 * Files appear whole or not at all, and are checked against their name when
 * read. One process writes.
 */
#pragma once

#include "crypto/hash.h"
#include "store/model_file.h"

#define CNS_REGISTRY_MODEL_BYTES_MAX ((size_t)16 << 30)
#define CNS_REGISTRY_MANIFEST_BYTES_MAX ((size_t)8 << 20)

struct cns_registry;

/* Creates folder and subfolders (mode 0700) if there are none. */
CNS_MUST_CHECK int cns_registry_open(const char *folder, struct cns_registry **ret_registry,
                                     struct cns_problem *problem);
struct cns_registry *cns_registry_free(struct cns_registry *registry);

/* H("consilium/1 model digest", bytes): the name of a model everywhere. */
void cns_registry_model_digest(const void *bytes, size_t len, struct cns_digest *ret_digest);
/* The same for bytes that come one after another, with cns_hash_bytes and cns_hash_final. */
void cns_registry_model_hash(struct cns_hash *hash);
/* The same of bytes that aren't in memory at once: then cns_hash_bytes and cns_hash_final. */
void cns_registry_model_digest_begin(struct cns_hash *ret_hash);

/* Durable when it returns. 0 also if the model is there already. */
CNS_MUST_CHECK int cns_registry_put_model(struct cns_registry *registry, const void *bytes, size_t len,
                                          struct cns_digest *ret_digest, struct cns_problem *problem);
/* malloc'd. CNS_ERR_NOT_FOUND: never there, or pruned; CNS_ERR_FORMAT: the
 * file does not have its digest any more. */
CNS_MUST_CHECK int cns_registry_get_model(struct cns_registry *registry, const struct cns_digest *digest,
                                          uint8_t **ret_bytes, size_t *ret_len, struct cns_problem *problem);
/* The same without a copy: checked whole, which takes a second for a gigabyte. */
CNS_MUST_CHECK int cns_registry_map_model(struct cns_registry *registry, const struct cns_digest *digest,
                                          struct cns_model_map **ret_map, struct cns_problem *problem);

/* A model of len bytes that is to be written in place. A registry has one at a time: a new one replaces what
 * is left of the one before. CNS_ERR_LIMIT for a length out of range, else as cns_model_draft_new. */
CNS_MUST_CHECK int cns_registry_draft_model(struct cns_registry *registry, size_t len,
                                            struct cns_model_draft **ret_draft, struct cns_problem *problem);
/* The finished draft becomes the model of this digest, which the caller has computed over its bytes. Durable
 * when it returns; the draft is still to be freed. On any thread. */
CNS_MUST_CHECK int cns_registry_put_draft(const struct cns_registry *registry, struct cns_model_draft *draft,
                                          const struct cns_digest *digest, struct cns_model_map **ret_map,
                                          struct cns_problem *problem);

/* The signed manifest of a round. 0 also for the same again; CNS_ERR_EXISTS if
 * the round has another one. */
CNS_MUST_CHECK int cns_registry_put_manifest(struct cns_registry *registry, uint64_t round,
                                             const struct cns_digest *model, const void *bytes, size_t len,
                                             struct cns_problem *problem);
/* malloc'd, NUL appended. ret_model may be NULL. */
CNS_MUST_CHECK int cns_registry_get_manifest(struct cns_registry *registry, uint64_t round,
                                             struct cns_digest *ret_model, uint8_t **ret_bytes,
                                             size_t *ret_len, struct cns_problem *problem);

struct cns_registry_version {
  uint64_t round;
  struct cns_digest model;
  bool has_model; /* false: pruned */
};
/* Every manifest, in order of round; malloc'd (NULL when there are none). */
CNS_MUST_CHECK int cns_registry_list(struct cns_registry *registry,
                                     struct cns_registry_version **ret_versions, size_t *ret_count,
                                     struct cns_problem *problem);
/* Deletes the bytes of models that no manifest names, half written ones too, but of those in keep:
 * a crash between a model and its manifest leaves such. */
CNS_MUST_CHECK int cns_registry_sweep(struct cns_registry *registry, const struct cns_digest *keep,
                                      size_t keep_count, struct cns_problem *problem);
/* Deletes the bytes of models that a manifest names and none of the `keep`
 * latest manifests does. Manifests stay, and models without a manifest. */
CNS_MUST_CHECK int cns_registry_prune(struct cns_registry *registry, size_t keep,
                                      struct cns_problem *problem);
