/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium roster`: the authority's changes while a federation runs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/verb_kit.h"
#include "cli/verb_roster.h"

/* A renewal is signed with the identity key that the roster has: nothing is to be compared. */
static int renew(struct cns_authority *authority, const char *path, bool new_keys, bool yes, bool json) {
  struct cns_problem problem = {0};
  struct cns_request request;
  const struct cns_roster_hospital *hospital = NULL;
  int r = cns_request_load(path, &request, &problem);
  if (r) return cns_cli_fail(r, &problem);
  if (new_keys && !yes) {
    printf("New keys for %s. The digest of its request:", request.name);
    int code = cns_place_confirm("roster replace", &request);
    if (code) return code;
  }
  r = cns_authority_renew(authority, &request, new_keys, &hospital, &problem);
  if (r) return cns_cli_fail(r, &problem);
  if (!json)
    printf("%s (hospital %u) has %s; the roster has version %" PRIu64 ".\n", hospital->name, hospital->index,
           new_keys ? "new keys, and the old ones count no more" : "a new certificate",
           authority->roster.version);
  return cns_place_changed(authority, hospital->name, json);
}

static int extend(struct cns_authority *authority, bool json) {
  struct cns_problem problem = {0};
  int r = cns_authority_extend(authority, (int64_t)time(NULL), &problem);
  if (r) return cns_cli_fail(r, &problem);
  if (!json)
    printf("The roster has version %" PRIu64 " and is valid for two years from today.\n",
           authority->roster.version);
  return cns_place_changed(authority, NULL, json);
}

static int cns_cli_roster_renew(int argc, char **argv) {
  struct cns_place place = {0};
  struct cns_authority authority;
  bool json = false;
  int operands = 0, code = 0;
  const struct cns_option table[] = {CNS_PLACE_OPTIONS(place),
                                     {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "roster renew [RENEWAL] --federation DIR [--authority DIR] [--json]",
      "At the authority: signs the roster's next version, with the certificate of a hospital's\n"
      "renewal.json (consilium kit renew), or, without one, with two more years of validity.",
      table, 0, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (cns_place_open("roster renew", &place, &authority, &code)) return code;
  code = operands ? renew(&authority, argv[1], false, true, json) : extend(&authority, json);
  cns_place_close(&place, &authority);
  return code;
}

static int cns_cli_roster_replace(int argc, char **argv) {
  struct cns_place place = {0};
  struct cns_authority authority;
  bool json = false, yes = false;
  int operands = 0, code = 0;
  const struct cns_option table[] = {
      CNS_PLACE_OPTIONS(place),
      {"yes", NULL, "the digest has been compared; don't ask", CNS_OPTION_FLAG, &yes, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "roster replace REQUEST --federation DIR [--authority DIR] [--yes] [--json]",
      "At the authority: a hospital that has lost its machine gets new keys of all kinds, under its\n"
      "old name and index. REQUEST: of consilium kit request, with that name. Its privacy budget\n"
      "doesn't begin anew: consilium budget carry.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (json && !yes)
    return cns_cli_usage_error("roster replace", "--json asks nothing: compare the digest and give --yes");
  if (cns_place_open("roster replace", &place, &authority, &code)) return code;
  code = renew(&authority, argv[1], true, yes, json);
  cns_place_close(&place, &authority);
  return code;
}

int cns_cli_roster(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"add", "at the authority: take a hospital's request into the roster", cns_cli_roster_add},
      {"renew", "at the authority: a hospital's new certificate, or two more years for the roster",
       cns_cli_roster_renew},
      {"replace", "at the authority: new keys for a hospital that has lost its machine",
       cns_cli_roster_replace},
      {"revoke", "at the authority: revoke a hospital, for good", cns_cli_roster_revoke},
      {"show", "who is in a roster, and until when", cns_cli_roster_show},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch(
      "consilium roster",
      "Changes who takes part, while rounds run: each change is the roster's next version,\n"
      "which the coordinator takes over on SIGHUP and passes on to the hospitals.",
      verbs, argc, argv);
}
