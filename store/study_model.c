/* SPDX-License-Identifier: Apache-2.0 */
#include "store/study_model.h"

#include <stdlib.h>
#include <string.h>

#include "model/model_view.h"
#include "model/modelfile.h"

int cns_study_model_draft(struct cns_registry *registry, const struct cns_plan *plan,
                          struct cns_model_draft **ret_draft, float **ret_params,
                          struct cns_problem *problem) {
  struct cns_model_draft *draft = NULL;
  uint8_t *head = NULL;
  size_t head_len = 0;
  int r = cns_model_head(plan, &head, &head_len, problem);
  if (r == 0)
    r = cns_registry_draft_model(registry, head_len + cns_plan_round_dim(plan) * sizeof(float), &draft,
                                 problem);
  if (r == 0) {
    uint8_t *bytes = cns_model_draft_bytes(draft, NULL);
    memcpy(bytes, head, head_len);
    *ret_draft = draft;
    *ret_params = (float *)(void *)(bytes + head_len); /* a header's length is a multiple of 8 */
  }
  free(head);
  return r;
}

int cns_study_model_put(struct cns_registry *registry, struct cns_model_draft *draft,
                        struct cns_digest *ret_digest, struct cns_model_map **ret_map,
                        struct cns_problem *problem) {
  struct cns_digest digest;
  size_t len;
  const uint8_t *bytes = cns_model_draft_bytes(draft, &len);
  cns_registry_model_digest(bytes, len, &digest);
  int r = cns_registry_map_model(registry, &digest, ret_map, NULL); /* the same once more, perhaps */
  if (r < 0) r = cns_registry_put_draft(registry, draft, &digest, ret_map, problem);
  if (r == 0) *ret_digest = digest;
  return r;
}

/* Its digest, from a copy in memory that is gone when this returns. */
static int digest_of_initial(const struct cns_plan *plan, const char *folder, struct cns_digest *ret_digest,
                             struct cns_problem *problem) {
  size_t dim = cns_plan_round_dim(plan), head_len = 0;
  float *params = calloc(dim, sizeof *params);
  uint8_t *head = NULL;
  struct cns_hash hash;
  int r = params ? cns_model_initial(plan, folder, params, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = cns_model_head(plan, &head, &head_len, problem);
  if (r == 0) {
    cns_registry_model_hash(&hash);
    cns_hash_bytes(&hash, head, head_len);
    cns_hash_bytes(&hash, params, dim * sizeof *params);
    cns_hash_final(&hash, ret_digest);
  }
  free(head);
  free(params);
  return r;
}

int cns_study_model_initial(struct cns_registry *registry, const struct cns_plan *plan, const char *folder,
                            struct cns_digest *ret_digest, struct cns_model_map **ret_map,
                            struct cns_problem *problem) {
  struct cns_model_draft *draft = NULL;
  float *params = NULL;
  int r = cns_study_model_draft(registry, plan, &draft, &params, problem);
  if (r == CNS_ERR_DISK_FULL) {
    struct cns_digest digest;
    int known = digest_of_initial(plan, folder, &digest, problem);
    if (known == 0 && cns_registry_map_model(registry, &digest, ret_map, NULL) == 0) {
      *ret_digest = digest;
      return 0;
    }
    return known < 0 ? known : r;
  }
  if (r == 0) r = cns_model_initial(plan, folder, params, problem);
  if (r == 0) r = cns_study_model_put(registry, draft, ret_digest, ret_map, problem);
  cns_model_draft_free(draft);
  return r;
}
