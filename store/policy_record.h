/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy that was accepted last, kept in the state folder as policy.accepted.json, and
 * whether another may follow it: what loosens needs the authority's signature beside an
 * officer's (docs/operating.md). Hospitals are who this binds; the coordinator uses it to say
 * at its start what they would decline each round with.
 */
#pragma once

#include "store/kit.h"

/* digest: the one that is expected; NULL: whichever is there. CNS_ERR_NOT_FOUND also for
 * another, and for a file that is damaged; CNS_ERR_MEMORY. */
CNS_MUST_CHECK int cns_policy_record_load(const char *state, const struct cns_digest *digest,
                                          struct cns_policy *ret_policy);
/* The kit's policy, durably. */
CNS_MUST_CHECK int cns_policy_record_keep(const char *state, const struct cns_kit *kit,
                                          struct cns_problem *problem);
/* May the kit's policy follow version `version` with that content (NULL: it isn't known any more)?
 * CNS_ERR_REFUSED with a sentence. */
CNS_MUST_CHECK int cns_policy_record_check(const struct cns_kit *kit, uint64_t version,
                                           const struct cns_policy *before, struct cns_problem *problem);
/* All of it, for the coordinator, which has no other record of the version. */
CNS_MUST_CHECK int cns_policy_record_accept(const char *state, const struct cns_kit *kit,
                                            struct cns_problem *problem);
