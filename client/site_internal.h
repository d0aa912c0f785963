/* SPDX-License-Identifier: Apache-2.0 */
/* Between the site's files. */
#pragma once

#include "client/site.h"

/* Ledger and owner of an open site with its table; what earlier runs had only reserved is cancelled. */
CNS_MUST_CHECK int cns_site_open_ledger(struct cns_site *site, struct cns_problem *problem);

/* The kit's policy into the record, and into policy.accepted.json in the state folder. CNS_ERR_REFUSED,
 * with a sentence: older than the one accepted last, another of the same version, or looser than
 * that one (protocol/policy_compare.h) without the authority's signature beside the officer's. */
CNS_MUST_CHECK int cns_site_accept_policy(struct cns_site *site, struct cns_problem *problem);
