/* SPDX-License-Identifier: Apache-2.0 */
/* Which policy was accepted last, and whether the kit's may follow it. The store has its version
 * and digest; the document lies beside it, and counts only if it has that digest. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/site_internal.h"
#include "protocol/policy_compare.h"

#define FILE_NAME "policy.accepted.json"

/* What is kept; CNS_ERR_NOT_FOUND unless it is the one with this digest. */
static int load_kept(const struct cns_site *site, const struct cns_digest *digest,
                     struct cns_policy *ret_policy) {
  struct cns_policy policy;
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = cns_site_path(site, FILE_NAME);
  int r = path ? cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, NULL) : CNS_ERR_MEMORY;
  if (!r) r = cns_policy_open(data, len, path, NULL, &policy, NULL);
  if (!r && !cns_digest_equal(&policy.digest, digest)) r = CNS_ERR_NOT_FOUND;
  free(data);
  free(path);
  if (r) return r == CNS_ERR_MEMORY ? r : CNS_ERR_NOT_FOUND;
  *ret_policy = policy;
  return 0;
}

static int keep(const struct cns_site *site, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = cns_site_path(site, FILE_NAME);
  int r = path ? cns_document_serialize("policy", &site->kit.policy_document, &data, &len) : CNS_ERR_MEMORY;
  if (!r) r = cns_file_write(path, data, len, 0600, problem);
  free(data);
  free(path);
  return r;
}

/* Whatever loosens needs the authority's signature, whichever versions were passed over. */
static int check_successor(const struct cns_site *site, uint64_t version, const struct cns_digest *digest,
                           struct cns_problem *problem) {
  const struct cns_kit *kit = &site->kit;
  struct cns_policy before;
  struct cns_problem why = {0};
  if (cns_document_verify("policy", &kit->policy_document, "authority", &kit->authority, NULL) == 0) return 0;
  int r = load_kept(site, digest, &before);
  if (r == CNS_ERR_NOT_FOUND)
    cns_problem_set(&why, r,
                    "version %" PRIu64
                    ", which was accepted before, isn't kept in the state folder any more, "
                    "so what this one loosens can't be told",
                    version);
  else if (r)
    return cns_problem_set(problem, r, "out of memory");
  else if (!cns_policy_loosens(&before, &kit->policy, &why))
    return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "policy version %" PRIu64
                         " needs the authority's signature beside an officer's: %.340s",
                         kit->policy.version, why.text);
}

int cns_site_accept_policy(struct cns_site *site, struct cns_problem *problem) {
  const struct cns_policy *policy = &site->kit.policy;
  struct cns_policy kept;
  uint64_t version = 0;
  struct cns_digest digest;
  int r = cns_hospital_store_accepted_version(site->store, "policy", &version, &digest);
  bool later = r == 0 && policy->version > version;
  /* What else may be wrong with the record is said when it is written to. */
  r = later ? check_successor(site, version, &digest, problem) : 0;
  if (!r)
    r = cns_hospital_store_accept_version(site->store, "policy", policy->version, &policy->digest, problem);
  if (!r && load_kept(site, &policy->digest, &kept)) r = keep(site, problem);
  return r;
}
