/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "robust/detect.h"

const char *cns_detect_action_name(enum cns_detect_action action) {
  static const char *const names[] = {"report", "exclude", "quarantine"};
  return (unsigned)action <= CNS_DETECT_QUARANTINE ? names[action] : "unknown";
}

static enum cns_detect_action action_of(const struct cns_detect_flag *flag,
                                        const struct cns_detect_policy *policy) {
  return flag->statistic == CNS_DETECT_TWINS ? policy->on_twins : policy->on_flag;
}

/* Flagged by something else than its neighbour's closeness, with consequences. */
static bool unusual_by_itself(const struct cns_detect_result *result, const struct cns_detect_policy *policy,
                              size_t row) {
  for (size_t f = 0; f < result->flag_count; f++)
    if (result->flags[f].row == row && result->flags[f].statistic != CNS_DETECT_TWINS)
      return policy->on_flag != CNS_DETECT_REPORT;
  return false;
}

/* The one of a cluster that stays: flags are sorted by strength and index, so
 * among equals it is the first, else the last. */
static size_t who_stays(const struct cns_detect_result *result, const struct cns_detect_policy *policy,
                        size_t cluster) {
  size_t stays = CNS_DETECT_NONE;
  double least = 0;
  for (size_t f = 0; f < result->flag_count; f++) {
    const struct cns_detect_flag *flag = &result->flags[f];
    if (flag->statistic != CNS_DETECT_TWINS || flag->cluster != cluster ||
        unusual_by_itself(result, policy, flag->row))
      continue;
    if (stays == CNS_DETECT_NONE || flag->strength < least) {
      stays = flag->row;
      least = flag->strength;
    }
  }
  return stays;
}

enum state { FREE = 0, EXCLUDED, SPARED };

int cns_detect_decide(const struct cns_detect_result *result, const struct cns_detect_policy *policy,
                      struct cns_detect_exclusion *ret_exclusions, size_t *ret_count, size_t *ret_spared) {
  size_t count = 0, spared = 0, n = result->hospitals;
  unsigned char *state = calloc(n ? n : 1, 1);
  if (!state) return CNS_ERR_MEMORY;
  for (size_t f = 0; f < result->flag_count; f++) {
    const struct cns_detect_flag *flag = &result->flags[f];
    enum cns_detect_action action = action_of(flag, policy);
    if (action == CNS_DETECT_REPORT || state[flag->row] != FREE) continue;
    if (flag->statistic == CNS_DETECT_TWINS && who_stays(result, policy, flag->cluster) == flag->row)
      continue;
    if (count >= policy->exclusions_max || n - count <= policy->remain_min) {
      state[flag->row] = SPARED;
      spared++;
      continue;
    }
    state[flag->row] = EXCLUDED;
    ret_exclusions[count++] = (struct cns_detect_exclusion){.row = flag->row, .action = action, .flag = f};
  }
  free(state);
  *ret_count = count;
  if (ret_spared) *ret_spared = spared;
  return 0;
}
