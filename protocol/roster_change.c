/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/roster_change.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool same_pin(const struct cns_tls_pin *a, const struct cns_tls_pin *b) {
  return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static bool same_keys(const struct cns_roster_hospital *a, const struct cns_roster_hospital *b) {
  return cns_identity_public_equal(&a->identity, &b->identity) && same_pin(&a->pin, &b->pin);
}

/* The policy that is in force is one of theirs. */
static bool has_officer(const struct cns_roster *roster, const struct cns_party *officer) {
  for (size_t k = 0; k < roster->officer_count; k++)
    if (cns_identity_public_equal(&roster->officers[k].identity, &officer->identity)) return true;
  return false;
}

static int check_parties(const struct cns_roster *now, const struct cns_roster *next,
                         struct cns_problem *problem) {
  const char *what = NULL;
  if (strcmp(now->consortium, next->consortium) != 0) what = "another consortium's name";
  if (!cns_identity_public_equal(&now->authority.identity, &next->authority.identity))
    what = "another authority";
  if (!cns_identity_public_equal(&now->coordinator.identity, &next->coordinator.identity) ||
      !same_pin(&now->coordinator_pin, &next->coordinator_pin))
    what = "another coordinator, or other keys of it";
  for (size_t k = 0; k < now->officer_count; k++)
    if (!has_officer(next, &now->officers[k])) what = "other privacy officers";
  if (!what) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "version %" PRIu64
                         " has %s: all parties take it with `consilium kit accept` and start again",
                         next->version, what);
}

static int check_hospital(const struct cns_roster_hospital *old, const struct cns_roster *next,
                          struct cns_problem *problem) {
  const struct cns_roster_hospital *now = cns_roster_find(next, old->index);
  if (!now)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "version %" PRIu64
                           " lacks hospital %u (%s): one that leaves is revoked, and stays",
                           next->version, old->index, old->name);
  if (strcmp(now->name, old->name) != 0)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "version %" PRIu64
                           " has %s as hospital %u, which is %s: an index isn't used twice",
                           next->version, now->name, old->index, old->name);
  if (old->revoked && (!now->revoked || !same_keys(old, now)))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "version %" PRIu64
                           " brings hospital %u (%s) back or gives it other keys: revoked is for good",
                           next->version, old->index, old->name);
  return 0;
}

int cns_roster_check_successor(const struct cns_roster *now, const struct cns_roster *next,
                               struct cns_problem *problem) {
  if (next->version < now->version)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "version %" PRIu64 " is older than version %" PRIu64 ", which is in force",
                           next->version, now->version);
  if (next->version == now->version) {
    if (cns_digest_equal(&next->digest, &now->digest)) return CNS_ROSTER_SAME;
    cns_problem_set(problem, CNS_ERR_REFUSED,
                    "there are two different rosters of version %" PRIu64
                    ", both signed by the authority: ask it, by telephone, which one is right and who has "
                    "its key",
                    now->version);
    return CNS_ROSTER_FORK;
  }
  int r = check_parties(now, next, problem);
  for (size_t k = 0; k < now->hospital_count && !r; k++)
    r = check_hospital(&now->hospitals[k], next, problem);
  return r;
}

void cns_roster_describe_change(const struct cns_roster *now, const struct cns_roster *next,
                                char ret_text[static CNS_ROSTER_CHANGE_CHARS]) {
  unsigned added = 0, renewed = 0, revoked = 0;
  char day[16] = "?";
  time_t until = (time_t)next->valid_until;
  struct tm tm;
  for (size_t k = 0; k < next->hospital_count; k++) {
    const struct cns_roster_hospital *hospital = &next->hospitals[k];
    const struct cns_roster_hospital *before = cns_roster_find(now, hospital->index);
    added += before == NULL;
    revoked += hospital->revoked && (!before || !before->revoked);
    renewed += before && !same_keys(before, hospital);
  }
  if (gmtime_r(&until, &tm)) strftime(day, sizeof day, "%Y-%m-%d", &tm);
  snprintf(ret_text, CNS_ROSTER_CHANGE_CHARS, "%u added, %u with new keys, %u revoked; valid until %s", added,
           renewed, revoked, day);
}

bool cns_roster_only_appends(const struct cns_roster *old, const struct cns_roster *next) {
  if (next->hospital_count < old->hospital_count) return false;
  for (size_t k = 0; k < old->hospital_count; k++)
    if (old->hospitals[k].index != next->hospitals[k].index) return false;
  return true;
}
