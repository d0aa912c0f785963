/* SPDX-License-Identifier: Apache-2.0 */
/* What expires is said in time: roster, policy, the coordinator's certificate, the hospitals'. */
#include <stdio.h>
#include <time.h>

#include "coordinator/server_internal.h"

static void look(struct cns_server *s, struct cns_expiry *expiry, const char *what, int64_t until,
                 int64_t now, const char *mend) {
  struct cns_problem sentence = {0};
  if (cns_expiry_due(expiry, what, until, now, mend, &sentence)) cns_report(s, "expiry", "%s", sentence.text);
}

void cns_expiry_look(struct cns_server *s, int64_t now) {
  const struct cns_kit *kit = s->has_next ? &s->next : &s->kit;
  look(s, &s->roster_expiry, "the roster", kit->roster.valid_until, now,
       "the authority extends it with `consilium roster renew`");
  look(s, &s->policy_expiry, "the policy", kit->policy.valid_until, now,
       "a privacy officer signs a new one (consilium policy new, policy sign)");
  look(s, &s->certificate_expiry, "this coordinator's certificate", kit->certificate_until, now,
       "the consortium has to enrol the coordinator anew");
  for (size_t k = 0; k < s->session_count; k++) {
    struct cns_session *session = &s->sessions[k];
    const struct cns_roster_hospital *hospital = cns_roster_find(&kit->roster, session->hospital->index);
    char what[CNS_NAME_MAX + 40];
    if (!hospital || hospital->revoked) continue;
    snprintf(what, sizeof what, "the certificate of hospital %s", hospital->name);
    look(s, &session->expiry, what, hospital->pin_until, now,
         "there: consilium kit renew; then the authority: consilium roster renew");
  }
}

void cns_expiry_tick(struct cns_server *s) {
  if (s->expiry_looked_ms && cns_server_now(s) - s->expiry_looked_ms < CNS_SERVER_EXPIRY_MS) return;
  s->expiry_looked_ms = cns_server_now(s) + 1;
  cns_expiry_look(s, (int64_t)time(NULL));
}
