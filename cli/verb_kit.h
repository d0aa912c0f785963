/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs under `consilium kit`. */
#pragma once

#include "cli/cli.h"
#include "cli/enrol.h"

int cns_cli_kit_request(int argc, char **argv);
int cns_cli_kit_accept(int argc, char **argv);
int cns_cli_kit_approve(int argc, char **argv);
int cns_cli_kit_issue(int argc, char **argv);
int cns_cli_kit_revoke(int argc, char **argv);
int cns_cli_kit_show(int argc, char **argv);
int cns_cli_kit_renew(int argc, char **argv);
int cns_cli_roster_add(int argc, char **argv);
int cns_cli_roster_revoke(int argc, char **argv);

/* --federation and --authority, which the authority's verbs have. */
struct cns_place {
  const char *federation;
  const char *authority;
  char *default_authority;
};
#define CNS_PLACE_OPTIONS(place)                                                                             \
  {"federation", "DIR", "the federation's folder", CNS_OPTION_TEXT, &(place).federation, 0, 0}, {            \
    "authority", "DIR", "the authority's folder (default: authority in the federation)", CNS_OPTION_TEXT,    \
        &(place).authority, 0, 0                                                                             \
  }

/* Fails with a sentence printed and *ret_code set. */
CNS_MUST_CHECK int cns_place_open(const char *verb, struct cns_place *place,
                                  struct cns_authority *ret_authority, int *ret_code);
/* Shows a request's digest, below what the caller has printed of it, and asks whether it is the one that
 * was read out. 0, or the exit code, with a sentence printed. */
CNS_MUST_CHECK int cns_place_confirm(const char *verb, const struct cns_request *request);
void cns_place_close(struct cns_place *place, struct cns_authority *authority);
/* After a change of the roster: brings the coordinator's kit up to date or writes its response, and
 * says what is next. name: of the hospital, or NULL. Returns the exit code. */
int cns_place_changed(const struct cns_authority *authority, const char *name, bool json);

/* What the coordinator's owner needs, in place or as a response. */
struct cns_news {
  bool here;      /* its kit is, and is up to date */
  char *response; /* NULL: none without a policy that fits */
};
CNS_MUST_CHECK int cns_news_tell(const struct cns_authority *authority, bool policy,
                                 struct cns_news *ret_news, struct cns_problem *problem);
void cns_news_json(const struct cns_news *news, cJSON *object);
void cns_news_print(const struct cns_authority *authority, const struct cns_news *news);
