/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGHUP: the roster is read again from the kit. Whom a newer one revokes is cut
 * off at once. The running round keeps the roster that it was announced under;
 * the new one is in force from the next round on.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/server_internal.h"

int cns_reload_set_peers(struct cns_server *s, const struct cns_roster *roster) {
  struct cns_peer *list = calloc(roster->hospital_count ? roster->hospital_count : 1, sizeof *list);
  if (!list) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < roster->hospital_count; k++) {
    const struct cns_roster_hospital *hospital = &roster->hospitals[k];
    list[k] = (struct cns_peer){
        .role = CNS_ROLE_HOSPITAL,
        .index = hospital->index,
        .revoked = hospital->revoked,
        .identity = hospital->identity,
        .pin = hospital->pin,
    };
  }
  int r = cns_peers_set(s->peers, list, roster->hospital_count);
  free(list);
  return r;
}

/* There is room for all that a roster may have: links point to their sessions. */
void cns_reload_set_sessions(struct cns_server *s) {
  s->session_count = s->kit.roster.hospital_count;
  for (size_t k = 0; k < s->session_count; k++) {
    s->sessions[k].hospital = &s->kit.roster.hospitals[k];
    s->by_index[s->kit.roster.hospitals[k].index] = &s->sessions[k];
  }
}

/* Each session stays the session of the same hospital. */
static bool only_adds_and_revokes(const struct cns_roster *old, const struct cns_roster *next) {
  if (strcmp(old->consortium, next->consortium) != 0 || next->hospital_count < old->hospital_count ||
      !cns_identity_public_equal(&old->coordinator.identity, &next->coordinator.identity) ||
      memcmp(&old->coordinator_pin, &next->coordinator_pin, sizeof old->coordinator_pin) != 0)
    return false;
  for (size_t k = 0; k < old->hospital_count; k++)
    if (old->hospitals[k].index != next->hospitals[k].index) return false;
  return true;
}

static int check(const struct cns_server *s, const struct cns_kit *next, struct cns_problem *problem) {
  uint64_t version = s->has_next ? s->next.roster.version : s->kit.roster.version;
  if (next->roster.version <= version)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the kit's has version %" PRIu64 ", and version %" PRIu64 " is known already",
                           next->roster.version, version);
  if (!cns_digest_equal(&next->policy.digest, &s->kit.policy.digest) ||
      !cns_digest_equal(&next->study_document.digest, &s->kit.study_document.digest))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "policy or study are others too: start the coordinator again for that");
  if (!only_adds_and_revokes(&s->kit.roster, &next->roster))
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "it does more than add and revoke hospitals: start the coordinator again for that");
  return 0;
}

void cns_reload(struct cns_server *s) {
  struct cns_kit next = {0};
  struct cns_problem problem = {0};
  int r = cns_kit_load(s->options->kit, CNS_KIT_COORDINATOR, (int64_t)time(NULL), &next, &problem);
  if (r == 0) r = check(s, &next, &problem);
  if (r == 0 && (r = cns_reload_set_peers(s, &next.roster)) < 0)
    cns_problem_set(&problem, r, "the table of peers can't be made (%s)", cns_error_name(r));
  if (r < 0) {
    cns_report(s, "roster", "the roster is not taken over: %s", problem.text);
    cns_kit_deinit(&next);
    return;
  }
  cns_kit_deinit(&s->next);
  s->next = next;
  s->has_next = true;
  cns_report(s, "roster", "the roster has version %" PRIu64 " now, with %zu hospitals; %s",
             next.roster.version, cns_roster_active_count(&next.roster),
             s->machine ? "the running round ends under the one before" : "it is in force");
  if (s->listener) cns_listener_recheck(s->listener);
  cns_reload_adopt(s);
}

void cns_reload_adopt(struct cns_server *s) {
  if (!s->has_next || s->machine || s->job_running) return;
  struct cns_roster old = s->kit.roster;
  struct cns_document old_document = s->kit.roster_document;
  s->kit.roster = s->next.roster;
  s->kit.roster_document = s->next.roster_document;
  s->next.roster = old;
  s->next.roster_document = old_document;
  s->has_next = false;
  cns_reload_set_sessions(s);
  cns_kit_deinit(&s->next);
  s->next = (struct cns_kit){0};
}
