/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Newer rosters that the coordinator passes on. It can't make one: the authority's signature
 * decides, and versions only grow. What is held is on disk before it is used. A round that is under
 * way ends under the roster that it was announced with.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/agent_internal.h"
#include "protocol/roster_change.h"

static const struct cns_roster *newest(const struct cns_agent *agent) {
  return agent->has_next ? &agent->next_roster : &agent->site.kit.roster;
}

uint64_t cns_agent_roster_version(const struct cns_agent *agent) {
  return newest(agent)->version;
}

/* Both documents of one version are kept: together they convict the authority's key. */
static void keep_fork(const struct cns_agent *agent, uint64_t version, const uint8_t *data, size_t len) {
  char name[64];
  snprintf(name, sizeof name, "roster-fork-%" PRIu64 ".json", version);
  char *path = cns_site_path(&agent->site, name);
  if (path) (void)!cns_file_write(path, data, len, 0644, NULL);
  free(path);
}

static int check_self(const struct cns_agent *agent, const struct cns_roster *next,
                      struct cns_problem *problem) {
  const struct cns_kit *kit = &agent->site.kit;
  const struct cns_roster_hospital *self = cns_roster_find(next, kit->config.index);
  if (!self || self->revoked)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "version %" PRIu64
                           " has revoked this hospital (%s): it takes no part any more; ask the authority",
                           next->version, kit->config.name);
  if (!cns_identity_public_equal(&self->identity, cns_identity_get_public(kit->identity)))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "version %" PRIu64
                           " has another identity key for this hospital: it was enrolled anew elsewhere, and "
                           "this kit's keys don't count any more",
                           next->version);
  return 0;
}

/* Is the certificate that the roster has for us here? Then it is the one to use, from now on. */
static int take_certificate(struct cns_agent *agent, const struct cns_roster *next, bool *ret_other,
                            struct cns_problem *problem) {
  struct cns_kit *kit = &agent->site.kit;
  const struct cns_tls_pin *wanted = &cns_roster_find(next, kit->config.index)->pin;
  struct cns_tls_pin pin;
  char *key = NULL, *certificate = NULL;
  int64_t until = 0;
  *ret_other = memcmp(wanted->bytes, kit->pin.bytes, sizeof wanted->bytes) != 0;
  if (!*ret_other) return 0;
  int r = cns_kit_find_certificate(kit->folder, wanted, &key, &certificate, problem);
  if (!r) r = cns_certificate_pin(certificate, &pin, &until, problem);
  if (!r && memcmp(pin.bytes, wanted->bytes, sizeof pin.bytes) != 0)
    r = cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "version %" PRIu64
        " has another TLS certificate for this hospital than those in %s: put the renewed one "
        "there and start again",
        next->version, kit->folder);
  if (!r) r = cns_certificate_check_key(key, &pin, problem);
  if (r) {
    free(key);
    free(certificate);
    return r;
  }
  free(kit->tls_key_path);
  free(kit->tls_certificate_path);
  kit->tls_key_path = key;
  kit->tls_certificate_path = certificate;
  kit->pin = pin;
  kit->certificate_until = until;
  return 0;
}

static int keep(struct cns_agent *agent, const struct cns_roster *next, const uint8_t *data, size_t len,
                struct cns_problem *problem) {
  /* Before anything is written: a file older than the record would keep the agent from starting. */
  int r =
      cns_hospital_store_check_version(agent->site.store, "roster", next->version, &next->digest, problem);
  if (r) return r;
  char *path = cns_site_path(&agent->site, CNS_KIT_ROSTER_ACCEPTED);
  r = path ? cns_file_write(path, data, len, 0644, problem) : CNS_ERR_MEMORY;
  free(path);
  if (!r)
    r = cns_hospital_store_accept_version(agent->site.store, "roster", next->version, &next->digest, problem);
  return r;
}

static int check(const struct cns_agent *agent, const struct cns_roster *next, const uint8_t *data,
                 size_t len, struct cns_problem *problem) {
  int r = cns_roster_check_successor(newest(agent), next, problem);
  if (r == CNS_ROSTER_FORK) {
    keep_fork(agent, next->version, data, len);
    return CNS_ERR_REFUSED;
  }
  if (r) return r;
  r = cns_roster_check_time(next, (int64_t)time(NULL), problem);
  return r ? r : check_self(agent, next, problem);
}

/* Dialling needs nothing that can be missing but memory; without it there is no agent. */
static void dial_with_it(struct cns_agent *agent) {
  struct cns_problem problem = {0};
  cns_client_log(&agent->log, "roster", "this hospital's renewed certificate is in use from now on");
  if (cns_agent_redial(agent, &problem))
    cns_client_log(&agent->log, "error", "the coordinator can't be dialled again: %s; start the agent again",
                   problem.text);
}

void cns_agent_roster_shown(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  struct cns_roster next = {0};
  struct cns_document document = {0};
  char change[CNS_ROSTER_CHANGE_CHARS];
  bool other = false;
  int r = cns_roster_open(data, len, "the roster", &agent->site.kit.authority, &next, &problem);
  if (!r) r = cns_document_parse("roster", data, len, "the roster", &document, &problem);
  if (!r) r = check(agent, &next, data, len, &problem);
  if (!r) r = keep(agent, &next, data, len, &problem);
  if (!r) r = take_certificate(agent, &next, &other, &problem);
  if (r) {
    cns_roster_deinit(&next);
    cns_document_deinit(&document);
    if (r == CNS_ROSTER_SAME) return;
    cns_problem_prefix(&problem, r, "the coordinator's roster is not taken over");
    cns_agent_note(agent, "roster", &problem);
    return;
  }
  cns_roster_describe_change(newest(agent), &next, change);
  cns_client_log(&agent->log, "roster", "the roster has version %" PRIu64 " from the next round on: %s",
                 next.version, change);
  cns_roster_deinit(&agent->next_roster);
  cns_document_deinit(&agent->next_document);
  agent->next_roster = next;
  agent->next_document = document;
  agent->has_next = true;
  cns_agent_roster_adopt(agent);
  if (other) dial_with_it(agent);
}

void cns_agent_roster_adopt(struct cns_agent *agent) {
  struct cns_kit *kit = &agent->site.kit;
  if (!agent->has_next || agent->round || agent->works) return;
  cns_roster_deinit(&kit->roster);
  cns_document_deinit(&kit->roster_document);
  kit->roster = agent->next_roster;
  kit->roster_document = agent->next_document;
  agent->next_roster = (struct cns_roster){0};
  agent->next_document = (struct cns_document){0};
  agent->has_next = false;
}

void cns_agent_roster_announced(struct cns_agent *agent, const struct cns_digest *roster) {
  cns_agent_look_at_expiry(agent, (int64_t)time(NULL));
  if (agent->has_next && cns_digest_equal(roster, &agent->next_roster.digest)) cns_agent_drop_round(agent);
  cns_agent_roster_adopt(agent);
}

static void look(struct cns_agent *agent, struct cns_expiry *expiry, const char *what, int64_t until,
                 int64_t now, const char *mend) {
  struct cns_problem sentence = {0};
  if (cns_expiry_due(expiry, what, until, now, mend, &sentence))
    cns_client_log(&agent->log, "expiry", "%s", sentence.text);
}

void cns_agent_look_at_expiry(struct cns_agent *agent, int64_t now) {
  const struct cns_kit *kit = &agent->site.kit;
  char mend[400];
  snprintf(mend, sizeof mend, "run `consilium kit renew %.200s` and send its renewal.json to the authority",
           kit->folder);
  look(agent, &agent->roster_expiry, "the roster", newest(agent)->valid_until, now,
       "ask the consortium's authority to extend it; it comes from the coordinator by itself");
  look(agent, &agent->policy_expiry, "the policy", kit->policy.valid_until, now,
       "ask the consortium's privacy officer for a new one");
  look(agent, &agent->certificate_expiry, "this hospital's certificate", kit->certificate_until, now, mend);
}
