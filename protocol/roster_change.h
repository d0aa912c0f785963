/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a newer roster may change while daemons run: hospitals are added, revoked, and get
 * other keys; its validity moves. Coordinator, authority and officers stay as they are, for
 * which all parties start again.
 */
#pragma once

#include "protocol/roster.h"

/* May `next` follow `now`? Both verified under the authority's key. 0; CNS_ROSTER_SAME: it is the
 * same document; CNS_ROSTER_FORK: another document of the same version, which only the authority's
 * key can have signed; CNS_ERR_REFUSED with a sentence: older, another consortium's, a hospital is
 * missing or no longer revoked or has another name, or another party than a hospital changes. */
#define CNS_ROSTER_SAME 1
#define CNS_ROSTER_FORK 2
CNS_MUST_CHECK int cns_roster_check_successor(const struct cns_roster *now, const struct cns_roster *next,
                                              struct cns_problem *problem);

/* "1 added, 1 with new keys, 1 revoked; valid until ..." for people. */
#define CNS_ROSTER_CHANGE_CHARS 256
void cns_roster_describe_change(const struct cns_roster *now, const struct cns_roster *next,
                                char ret_text[static CNS_ROSTER_CHANGE_CHARS]);
/* Are the old one's hospitals the first of the next one's, in the same places? */
bool cns_roster_only_appends(const struct cns_roster *old, const struct cns_roster *next);
