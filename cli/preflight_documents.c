/* SPDX-License-Identifier: Apache-2.0 */
/* What was signed for this kit, who it says that the kit is, and the clock that all of it goes by. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/preflight.h"

#define NEWER "get the present files from the consortium's authority: consilium kit accept"

static bool read_file(struct cns_preflight *p, const char *check, const char *name, char **ret_path,
                      uint8_t **ret_data, size_t *ret_len) {
  struct cns_problem problem = {0};
  char *path = cns_kit_path(p->options.folder, name);
  int r = path ? cns_file_read(path, CNS_JSON_BYTES_MAX, ret_data, ret_len, &problem) : CNS_ERR_MEMORY;
  *ret_path = path;
  return cns_preflight_take(p, check, r, &problem, NEWER) == 0;
}

/* ---- roster ---- */

static int check_member(struct cns_preflight *p, const struct cns_identity_public *identity,
                        const struct cns_tls_pin *pin) {
  const struct cns_kit *kit = &p->site.kit;
  size_t before = p->problems;
  if (!p->has_keys) {
    cns_preflight_skip(p, "member", "the kit's keys are to be compared with the roster's");
    return CNS_ERR_STATE;
  }
  if (!cns_identity_public_equal(identity, cns_identity_get_public(kit->identity)))
    cns_preflight_bad(
        p, "member", NEWER,
        "%s/identity.key: the roster has another identity for this party: the kit's files don't belong "
        "together",
        kit->folder);
  if (memcmp(pin->bytes, kit->pin.bytes, sizeof pin->bytes) != 0)
    cns_preflight_bad(p, "member", NEWER,
                      "%s: the roster pins another key for this party: the kit's files don't belong together",
                      kit->tls_certificate_path);
  return p->problems == before ? 0 : CNS_ERR_REFUSED;
}

static void check_self(struct cns_preflight *p) {
  const struct cns_kit *kit = &p->site.kit;
  const struct cns_roster *roster = &kit->roster;
  if (!p->has_config) {
    cns_preflight_skip(p, "member", "config.json says who in the roster this is");
    return;
  }
  if (kit->config.role == CNS_KIT_COORDINATOR) {
    p->is_member = check_member(p, &roster->coordinator.identity, &roster->coordinator_pin) == 0;
    if (p->is_member) cns_preflight_ok(p, "member", "the roster has this coordinator, with these keys");
    return;
  }
  const struct cns_roster_hospital *self = cns_roster_find(roster, kit->config.index);
  if (!self || strcmp(self->name, kit->config.name) != 0) {
    cns_preflight_bad(p, "member", NEWER, "%s/roster.json: has no hospital %u named %s", kit->folder,
                      kit->config.index, kit->config.name);
    return;
  }
  if (self->revoked) {
    cns_preflight_bad(p, "member", "ask the consortium's authority",
                      "%s/roster.json: hospital %s has been revoked", kit->folder, self->name);
    return;
  }
  p->is_member = check_member(p, &self->identity, &self->pin) == 0;
  if (p->is_member)
    cns_preflight_ok(p, "member", "the roster has this hospital, with these keys, not revoked");
}

static void check_roster(struct cns_preflight *p) {
  struct cns_roster *roster = &p->site.kit.roster;
  struct cns_problem problem = {0};
  char *path = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  if (!p->has_authority) {
    cns_preflight_skip(p, "roster", "its signature is the authority's, whose key isn't there");
    return;
  }
  bool read = read_file(p, "roster", "roster.json", &path, &data, &len);
  int r = read ? cns_roster_open(data, len, path, &p->site.kit.authority, roster, &problem) : CNS_ERR_IO;
  if (read) p->has_roster = cns_preflight_take(p, "roster", r, &problem, NEWER) == 0;
  free(data);
  free(path);
  if (!p->has_roster) return;
  struct cns_roster newest = {0};
  if (cns_kit_roster_newest(p->site.kit.folder, &newest, NULL) == 0 && newest.version > roster->version) {
    struct cns_roster older = *roster;
    *roster = newest;
    newest = older;
  }
  cns_roster_deinit(&newest);
  cns_preflight_ok(p, "roster", "version %" PRIu64 " of \"%s\", signed by its authority, %zu hospitals",
                   roster->version, roster->consortium, cns_roster_active_count(roster));
  if (p->options.now_seconds >= roster->valid_from)
    cns_preflight_expiry(p, "roster", "it", roster->valid_until, NEWER);
  check_self(p);
}

/* ---- policy and study ---- */

static void check_policy(struct cns_preflight *p) {
  struct cns_policy *policy = &p->site.kit.policy;
  struct cns_problem problem = {0};
  char *path = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  if (!p->has_roster) {
    cns_preflight_skip(p, "policy", "its signature is that of one of the roster's officers");
    return;
  }
  bool read = read_file(p, "policy", "policy.json", &path, &data, &len);
  int r = read ? cns_document_parse("policy", data, len, path, &p->site.kit.policy_document, &problem)
               : CNS_ERR_IO;
  if (read && !r) r = cns_policy_open(data, len, path, &p->site.kit.roster, policy, &problem);
  if (read) p->has_policy = cns_preflight_take(p, "policy", r, &problem, NEWER) == 0;
  free(data);
  free(path);
  if (!p->has_policy) return;
  cns_preflight_ok(p, "policy", "version %" PRIu64 ", signed by a privacy officer of the roster",
                   policy->version);
  cns_preflight_expiry(p, "policy", "it", policy->valid_until,
                       "have the privacy officer sign a newer one, and " NEWER);
}

static void check_study(struct cns_preflight *p) {
  struct cns_site *site = &p->site;
  struct cns_document *document = &site->kit.study_document;
  struct cns_problem problem = {0};
  if (!p->has_authority) {
    cns_preflight_skip(p, "study", "its signature is the authority's, whose key isn't there");
    return;
  }
  int r = cns_kit_document_load(p->options.folder, "study.json", "study", document, &problem);
  if (!r && (r = cns_document_verify("study", document, "authority", &site->kit.authority, &problem)))
    cns_problem_prefix(&problem, r, "%s/study.json", p->options.folder);
  if (!r) r = cns_plan_parse(document->payload, document->payload_len, "study.json", &site->plan, &problem);
  p->has_study = cns_preflight_take(p, "study", r, &problem, NEWER) == 0;
  if (!p->has_study) return;
  if (p->has_roster) cns_study_digest(site->kit.roster.consortium, site->plan.name, &site->study);
  cns_preflight_ok(p, "study",
                   "\"%s\" version %" PRIu64 ", signed by the authority: %u rounds, %zu parameters",
                   site->plan.name, site->plan.version, site->plan.rounds, cns_plan_dim(&site->plan));
  if (!p->has_policy) return;
  problem = (struct cns_problem){0};
  r = cns_kit_check_study(&site->kit.policy, &site->plan, &problem);
  cns_preflight_take(p, "study", r, &problem,
                     "the privacy officer and the authors of the study have to agree");
}

/* ---- the clock ---- */

static void describe_time(int64_t seconds, char out[static 32]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0) strcpy(out, "?");
}

/* Files of the kit that were written later than now: the clock was right once. */
static int64_t newest_file(const struct cns_preflight *p) {
  static const char *const names[] = {"roster.json", "policy.json", "study.json",
                                      "config.json", "tls.crt",     "state"};
  int64_t newest = 0;
  for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
    struct stat info;
    char *path = cns_kit_path(p->options.folder, names[k]);
    if (path && stat(path, &info) == 0 && info.st_mtim.tv_sec > newest) newest = info.st_mtim.tv_sec;
    free(path);
  }
  return newest;
}

static void check_clock(struct cns_preflight *p) {
  static const char mend[] =
      "set the machine's clock, and let it be kept by a time server (timedatectl set-ntp true)";
  const struct cns_roster *roster = &p->site.kit.roster;
  int64_t now = p->options.now_seconds, newest = newest_file(p);
  char shown[32], other[32];
  size_t before = p->problems + p->warnings;
  describe_time(now, shown);
  if (p->has_roster && now < roster->valid_from) {
    describe_time(roster->valid_from, other);
    cns_preflight_bad(p, "clock", mend,
                      "the clock of this machine shows %s, before the roster was issued, %s", shown, other);
  }
  if (p->has_roster && now > roster->valid_until && p->certificate_until && now > p->certificate_until)
    cns_preflight_warn(
        p, "clock", mend,
        "the clock of this machine shows %s, when both roster and certificate are past their date: is "
        "that the time?",
        shown);
  /* A day for files that came from a machine with another clock. */
  if (now + 86400 < newest) {
    describe_time(newest, other);
    cns_preflight_warn(p, "clock", mend, "the clock shows %s, and the kit has a file of %s", shown, other);
  }
  if (p->problems + p->warnings == before) cns_preflight_ok(p, "clock", "%s", shown);
}

void cns_preflight_documents(struct cns_preflight *p) {
  check_roster(p);
  check_policy(p);
  check_study(p);
  check_clock(p);
}
