/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two versions of a policy: what the later one changes, and whether it loosens
 * anything. A version that does needs the authority's signature beside an
 * officer's: which version came before can't be seen in the document itself, so a
 * hospital compares with the one that it accepted last (client/site.h).
 *
 * Loosening is whatever lets more be learnt of a patient or a hospital, or more
 * come in unseen, whatever else is tightened at the same time. What goes both ways
 * (another unit, an audit switched on or off) is loosening too.
 */
#pragma once

#include "protocol/policy.h"

enum cns_policy_direction { CNS_CHANGE_NEUTRAL = 0, CNS_CHANGE_TIGHTENING = 1, CNS_CHANGE_LOOSENING = 2 };

struct cns_policy_change {
  enum cns_policy_direction direction;
  const char *field; /* as the JSON calls it: "noise.epsilon" */
  char text[256];    /* a sentence, without its full stop */
};

#define CNS_POLICY_CHANGES_MAX 48 /* more than a policy has fields */

/* "neutral", "tightening", "loosening" */
const char *cns_policy_direction_name(enum cns_policy_direction direction);

/* Both have passed cns_policy_check. Returns how many; 0: they allow the same. */
size_t cns_policy_compare(const struct cns_policy *old, const struct cns_policy *new,
                          struct cns_policy_change ret_changes[CNS_POLICY_CHANGES_MAX]);

/* Is any of the changes loosening? If so, ret_sentence (may be NULL) names the first ones. */
bool cns_policy_loosens(const struct cns_policy *old, const struct cns_policy *new,
                        struct cns_problem *ret_sentence);
