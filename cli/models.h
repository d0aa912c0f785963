/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The models that a coordinator's or a hospital's daemon has kept, for verbs:
 * read only, also while the daemon runs.
 */
#pragma once

#include "model/plan.h"
#include "model/safetensors.h"
#include "model/tensors.h"
#include "protocol/manifest.h"
#include "store/kit.h"
#include "store/registry.h"

struct cns_models {
  bool has_kit; /* false: a state folder alone; no signature can be checked */
  struct cns_kit kit;
  struct cns_plan plan;
  char *folder; /* of the registry */
};

/* A kit, or its state folder. CNS_ERR_NOT_FOUND, with a sentence, where no
 * daemon has ever put a model. */
CNS_MUST_CHECK int cns_models_open(const char *folder, struct cns_models *ret_models,
                                   struct cns_problem *problem);
void cns_models_deinit(struct cns_models *models);

#define CNS_MODELS_LATEST UINT64_MAX

struct cns_models_version {
  uint64_t round;
  struct cns_digest digest;
  bool has_manifest; /* verified under the roster's coordinator; only with a kit */
  struct cns_manifest manifest;
  uint8_t *bytes; /* safetensors */
  size_t len;
};

/* The model after this round; round 0, with a kit only: the initial one.
 * CNS_ERR_NOT_FOUND names the rounds whose models are still there. */
CNS_MUST_CHECK int cns_models_get(const struct cns_models *models, uint64_t round,
                                  struct cns_models_version *ret_version, struct cns_problem *problem);
void cns_models_version_deinit(struct cns_models_version *version);

/* The digest that the model's file would have in a registry: F32 (source->dtype), without metadata. */
CNS_MUST_CHECK int cns_models_digest(const struct cns_tensor_list *list,
                                     const struct cns_tensors_source *source, struct cns_digest *ret_digest,
                                     struct cns_problem *problem);
/* Of a model file from anywhere: its numbers are finite, and those that its
 * metadata's model_digest means, if it names one. CNS_ERR_RANGE, CNS_ERR_FORMAT. */
CNS_MUST_CHECK int cns_models_check_file(const struct cns_safetensors *file, const char *path,
                                         struct cns_problem *problem);
