/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would go wrong when a daemon is started on a kit: everything is looked at
 * in one go, and each finding has what it is, where, and how it is mended. Only
 * reads: no file is made or changed. Nothing here prints a patient's value.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdio.h>

#include "client/site.h"

enum cns_finding_state {
  CNS_FINDING_OK = 0,
  CNS_FINDING_WARNING = 1,
  CNS_FINDING_PROBLEM = 2, /* a daemon would refuse to start, or could take no part */
  CNS_FINDING_SKIPPED = 3, /* can't be told because of another problem */
};

struct cns_finding {
  const char *check; /* a short fixed name */
  enum cns_finding_state state;
  char what[1024]; /* what, and where */
  char mend[512];  /* "": nothing is to be done */
};

struct cns_preflight_options {
  const char *folder;
  const char *address;  /* dialled, or listened on, instead of the kit's; NULL */
  int64_t now_seconds;  /* of the clock that is checked */
  uint64_t patience_ms; /* for each step over the network; 0: 15,000 */
  bool offline;         /* nothing is dialled and no address bound */
};

#define CNS_FINDINGS_MAX 128

/* What is known so far; the checks fill it in order, each from what those before have found sound. */
struct cns_preflight {
  struct cns_preflight_options options;
  struct cns_finding findings[CNS_FINDINGS_MAX];
  size_t count, problems, warnings;
  bool is_kit, has_config, has_authority, has_roster, has_policy, has_study, has_keys, is_member, has_data;
  struct cns_site site; /* kit, plan and table, as far as they are there */
  int64_t certificate_until;
};

/* Runs all checks. *ret_preflight is to be deinit'ed. Errors of the check itself only. */
void cns_preflight_run(const struct cns_preflight_options *options, struct cns_preflight *ret_preflight);
void cns_preflight_deinit(struct cns_preflight *preflight);
void cns_preflight_print(const struct cns_preflight *preflight, FILE *out);
cJSON *cns_preflight_json(const struct cns_preflight *preflight);

/* ---- for the checks ---- */

void cns_preflight_ok(struct cns_preflight *preflight, const char *check, const char *fmt, ...)
    CNS_PRINTF(3, 4);
void cns_preflight_warn(struct cns_preflight *preflight, const char *check, const char *mend, const char *fmt,
                        ...) CNS_PRINTF(4, 5);
void cns_preflight_bad(struct cns_preflight *preflight, const char *check, const char *mend, const char *fmt,
                       ...) CNS_PRINTF(4, 5);
void cns_preflight_skip(struct cns_preflight *preflight, const char *check, const char *because);
/* Nothing if r is 0; otherwise the problem's sentence as a problem. Returns r. */
int cns_preflight_take(struct cns_preflight *preflight, const char *check, int r,
                       const struct cns_problem *problem, const char *mend);
/* Days from now until then, in whole days; warns 60, 30 and 7 days ahead. */
void cns_preflight_expiry(struct cns_preflight *preflight, const char *check, const char *what, int64_t until,
                          const char *mend);
/* A daemon holds <state>/<database>.lock: its process, -1 if unknown, 0 if none does. */
long cns_preflight_daemon(const struct cns_preflight *preflight);

/* preflight_kit.c */
void cns_preflight_kit(struct cns_preflight *preflight);
/* An operator's order in the state folder; who it is for: "the study", "this hospital". */
void cns_preflight_pause(struct cns_preflight *preflight, const char *whom);
/* preflight_documents.c: roster, policy, study, clock */
void cns_preflight_documents(struct cns_preflight *preflight);
/* preflight_data.c: a hospital's table, model, consent, ledger */
void cns_preflight_data(struct cns_preflight *preflight);
/* preflight_coordinator.c */
void cns_preflight_coordinator(struct cns_preflight *preflight);
/* preflight_room.c: disk, memory, limits of the process */
void cns_preflight_room(struct cns_preflight *preflight);
/* preflight_net.c: the way to the coordinator; at a coordinator, the address it listens on */
void cns_preflight_reach(struct cns_preflight *preflight);
void cns_preflight_listen(struct cns_preflight *preflight);
