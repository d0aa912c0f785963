/* SPDX-License-Identifier: Apache-2.0 */
#include "store/policy_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/policy_compare.h"
#include "store/folder.h"

#define FILE_NAME "policy.accepted.json"

int cns_policy_record_load(const char *state, const struct cns_digest *digest,
                           struct cns_policy *ret_policy) {
  struct cns_policy policy;
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = cns_kit_path(state, FILE_NAME);
  int r = path ? cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, NULL) : CNS_ERR_MEMORY;
  if (!r) r = cns_policy_open(data, len, path, NULL, &policy, NULL);
  if (!r && digest && !cns_digest_equal(&policy.digest, digest)) r = CNS_ERR_NOT_FOUND;
  free(data);
  free(path);
  if (r) return r == CNS_ERR_MEMORY ? r : CNS_ERR_NOT_FOUND;
  *ret_policy = policy;
  return 0;
}

int cns_policy_record_keep(const char *state, const struct cns_kit *kit, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = cns_kit_path(state, FILE_NAME);
  int r = path ? cns_document_serialize("policy", &kit->policy_document, &data, &len) : CNS_ERR_MEMORY;
  if (!r) r = cns_file_write(path, data, len, 0600, problem);
  free(data);
  free(path);
  return r;
}

/* Whatever loosens needs the authority's signature, whichever versions were passed over. */
int cns_policy_record_check(const struct cns_kit *kit, uint64_t version, const struct cns_policy *before,
                            struct cns_problem *problem) {
  struct cns_problem why = {0};
  if (cns_document_verify("policy", &kit->policy_document, "authority", &kit->authority, NULL) == 0) return 0;
  if (!before)
    cns_problem_set(&why, 0,
                    "version %" PRIu64
                    ", which was accepted before, isn't kept in the state folder any more, "
                    "so what this one loosens can't be told",
                    version);
  else if (!cns_policy_loosens(before, &kit->policy, &why))
    return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "policy version %" PRIu64
                         " needs the authority's signature beside an officer's: %.340s",
                         kit->policy.version, why.text);
}

int cns_policy_record_accept(const char *state, const struct cns_kit *kit, struct cns_problem *problem) {
  struct cns_policy before;
  int r = cns_policy_record_load(state, NULL, &before);
  if (r == CNS_ERR_NOT_FOUND) return cns_policy_record_keep(state, kit, problem);
  if (r) return cns_problem_set(problem, r, "out of memory");
  if (cns_digest_equal(&before.digest, &kit->policy.digest)) return 0;
  if (kit->policy.version <= before.version)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "policy version %" PRIu64 " can't follow version %" PRIu64 ", which is in force",
                           kit->policy.version, before.version);
  r = cns_policy_record_check(kit, before.version, &before, problem);
  return r ? r : cns_policy_record_keep(state, kit, problem);
}
