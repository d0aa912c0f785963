/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/expiry.h"

#include <inttypes.h>
#include <time.h>

#define DAY INT64_C(86400)

int64_t cns_days_left(int64_t until_seconds, int64_t now_seconds) {
  int64_t left = until_seconds - now_seconds;
  return left >= 0 ? left / DAY : -((-left + DAY - 1) / DAY);
}

/* The narrowest threshold that is passed; 0: none. */
static int threshold(int64_t left) {
  static const int days[] = {7, 30, CNS_EXPIRY_DAYS};
  if (left <= 0) return CNS_EXPIRED;
  for (size_t k = 0; k < sizeof days / sizeof *days; k++)
    if (left <= days[k] * DAY) return days[k];
  return 0;
}

/* A clock that goes back a little says nothing twice. */
static bool is_news(int due, int said) {
  if (due == 0 || due == said || said == CNS_EXPIRED) return false;
  return due == CNS_EXPIRED || said == 0 || due < said;
}

bool cns_expiry_due(struct cns_expiry *expiry, const char *what, int64_t until_seconds, int64_t now_seconds,
                    const char *mend, struct cns_problem *ret_sentence) {
  char day[16] = "?";
  time_t until = (time_t)until_seconds;
  struct tm tm;
  if (until_seconds == 0) return false;
  if (expiry->until != until_seconds) *expiry = (struct cns_expiry){.until = until_seconds};
  int due = threshold(until_seconds - now_seconds);
  if (!is_news(due, expiry->said)) return false;
  expiry->said = due;
  if (gmtime_r(&until, &tm)) strftime(day, sizeof day, "%Y-%m-%d", &tm);
  int64_t left = cns_days_left(until_seconds, now_seconds);
  if (due == CNS_EXPIRED)
    cns_problem_set(ret_sentence, 0, "%s has expired on %s: %s", what, day, mend);
  else
    cns_problem_set(ret_sentence, 0, "%s expires in %" PRId64 " day%s, on %s: %s", what, left,
                    left == 1 ? "" : "s", day, mend);
  return true;
}
