/* SPDX-License-Identifier: Apache-2.0 */
/* Which policy was accepted last, and whether the kit's may follow it. The store has its version
 * and digest; the document lies beside it, and counts only if it has that digest. */
#include "client/site_internal.h"
#include "store/policy_record.h"

static int check_successor(const struct cns_site *site, uint64_t version, const struct cns_digest *digest,
                           struct cns_problem *problem) {
  struct cns_policy before;
  int r = cns_policy_record_load(site->kit.config.state_path, digest, &before);
  if (r && r != CNS_ERR_NOT_FOUND) return cns_problem_set(problem, r, "out of memory");
  return cns_policy_record_check(&site->kit, version, r ? NULL : &before, problem);
}

int cns_site_accept_policy(struct cns_site *site, struct cns_problem *problem) {
  const struct cns_policy *policy = &site->kit.policy;
  const char *state = site->kit.config.state_path;
  struct cns_policy kept;
  uint64_t version = 0;
  struct cns_digest digest;
  int r = cns_hospital_store_accepted_version(site->store, "policy", &version, &digest);
  bool later = r == 0 && policy->version > version;
  /* What else may be wrong with the record is said when it is written to. */
  r = later ? check_successor(site, version, &digest, problem) : 0;
  if (!r)
    r = cns_hospital_store_accept_version(site->store, "policy", policy->version, &policy->digest, problem);
  if (!r && cns_policy_record_load(state, &policy->digest, &kept))
    r = cns_policy_record_keep(state, &site->kit, problem);
  return r;
}
