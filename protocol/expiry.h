/* SPDX-License-Identifier: Apache-2.0 */
/* Ahead of an expiry people are told 60, 30 and 7 days before, once each, and once it is over. */
#pragma once

#include "crypto/base.h"

/* From so many days before the end on, status shows it as a warning. */
#define CNS_EXPIRY_DAYS 60

/* One thing that expires; zeros at first. */
struct cns_expiry {
  int64_t until; /* what the rest is about, seconds since 1970 */
  int said;      /* the threshold that was said last, in days; 0: none; CNS_EXPIRED */
};
#define CNS_EXPIRED (-1)

/* Days that are left until a time, rounded down; negative once it is over. Seconds since 1970. */
int64_t cns_days_left(int64_t until_seconds, int64_t now_seconds);

/* Is something to be said now? Then true, with "WHAT expires in N days, on DAY: MEND", or "WHAT has
 * expired on DAY: MEND". until 0: not known, never. Another `until` than before begins anew. */
bool cns_expiry_due(struct cns_expiry *expiry, const char *what, int64_t until_seconds, int64_t now_seconds,
                    const char *mend, struct cns_problem *ret_sentence);
