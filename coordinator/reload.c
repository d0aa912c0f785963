/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGHUP: the roster is read again from the kit. Whom a newer one revokes is cut
 * off at once, and all others are sent it. The running round keeps the roster that it was
 * announced under; the new one is in force from the next round on.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/server_internal.h"
#include "protocol/roster_change.h"

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

static int check(const struct cns_server *s, const struct cns_kit *next, struct cns_problem *problem) {
  const struct cns_roster *now = s->has_next ? &s->next.roster : &s->kit.roster;
  int r = cns_roster_check_successor(now, &next->roster, problem);
  if (r == CNS_ROSTER_SAME)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "version %" PRIu64 " is known already", now->version);
  if (r == CNS_ROSTER_FORK) return CNS_ERR_REFUSED;
  if (r < 0) return r;
  /* Each session stays the session of the same hospital, links and all. */
  if (!cns_roster_only_appends(now, &next->roster))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "it adds a hospital under an index below one that is there: start the coordinator "
                           "again for that");
  if (!cns_digest_equal(&next->policy.digest, &s->kit.policy.digest) ||
      !cns_digest_equal(&next->study_document.digest, &s->kit.study_document.digest))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "policy or study are others too: start the coordinator again for that");
  return 0;
}

void cns_reload_send(struct cns_server *s, struct cns_session *session, uint64_t version) {
  const struct cns_kit *kit = s->has_next ? &s->next : &s->kit;
  uint8_t *data = NULL;
  size_t len = 0;
  struct cns_writer writer;
  if (version >= kit->roster.version) return;
  if (cns_document_serialize("roster", &kit->roster_document, &data, &len) == 0) {
    cns_writer_init(&writer, CNS_FRAME_CONTROL_MAX);
    cns_write_bytes(&writer, data, len);
    cns_session_send(session, CNS_WIRE_ROSTER, &writer);
    cns_writer_deinit(&writer);
  }
  free(data);
}

/* Who is cut off is told why by its link; the running round needn't wait for it. */
static void tell_all(struct cns_server *s) {
  for (size_t k = 0; k < s->session_count; k++) {
    struct cns_session *session = &s->sessions[k];
    const struct cns_roster_hospital *now = cns_roster_find(&s->next.roster, session->hospital->index);
    if (now && now->revoked)
      cns_session_leave_out(s, session);
    else if (session->joined)
      cns_reload_send(s, session, s->kit.roster.version);
  }
}

static void say_taken_over(struct cns_server *s) {
  char change[CNS_ROSTER_CHANGE_CHARS];
  cns_roster_describe_change(&s->kit.roster, &s->next.roster, change);
  cns_report(s, "roster", "the roster has version %" PRIu64 " now, with %zu hospitals (%s); %s",
             s->next.roster.version, cns_roster_active_count(&s->next.roster), change,
             s->machine ? "the running round ends under the one before" : "it is in force");
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
  say_taken_over(s);
  tell_all(s);
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
