/* SPDX-License-Identifier: Apache-2.0 */
/* The authority's verbs: approve, issue, revoke. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/enrol.h"
#include "cli/verb_kit.h"
#include "store/kit.h"

int cns_place_open(const char *verb, struct cns_place *place, struct cns_authority *ret_authority,
                   int *ret_code) {
  struct cns_problem problem = {0};
  if (!place->federation) {
    *ret_code = cns_cli_usage_error(verb, "--federation DIR is missing");
    return CNS_ERR_ARGUMENT;
  }
  if (!place->authority)
    place->authority = place->default_authority = cns_kit_path(place->federation, "authority");
  int r = place->authority ? cns_authority_open(place->authority, place->federation, ret_authority, &problem)
                           : CNS_ERR_MEMORY;
  if (r) {
    *ret_code = cns_cli_fail(r, &problem);
    free(place->default_authority);
    place->default_authority = NULL;
  }
  return r;
}

int cns_place_confirm(const char *verb, const struct cns_request *request) {
  char spoken[CNS_DIGEST_SPOKEN_CHARS];
  cns_digest_spoken(&request->digest, spoken);
  printf("\n\n  %s\n\n", spoken);
  int r = cns_cli_confirm("Is it the digest that the hospital read to you over the telephone?");
  if (r == CNS_ERR_STATE)
    return cns_cli_usage_error(verb, "standard input is not a terminal: compare the digest and give --yes");
  if (r) fprintf(stderr, "consilium: not confirmed; nothing was changed\n");
  return r ? CNS_EXIT_REFUSED : 0;
}

int cns_news_tell(const struct cns_authority *authority, bool policy, struct cns_news *ret_news,
                  struct cns_problem *problem) {
  struct cns_news news = {0};
  int r = policy ? cns_authority_respond(authority, NULL, &news.response, problem) : 0;
  if (!r) r = cns_authority_update_coordinator(authority, &news.here, problem);
  if (r)
    free(news.response);
  else
    *ret_news = news;
  return r;
}

void cns_news_json(const struct cns_news *news, cJSON *object) {
  cJSON_AddBoolToObject(object, "coordinator_updated", news->here);
  if (news->response) cJSON_AddStringToObject(object, "coordinator_response", news->response);
}

void cns_news_print(const struct cns_authority *authority, const struct cns_news *news) {
  if (news->response) printf("Response for the coordinator: %s\n", news->response);
  if (news->here)
    printf("The coordinator's kit in %s/" CNS_COORDINATOR_NAME " is up to date%s.\n", authority->federation,
           news->response ? "; if that isn't the one in use, its owner needs the response" : "");
  else if (news->response)
    printf("The coordinator's kit is not in %s: its owner takes the response with\n"
           "  consilium kit accept KIT " CNS_COORDINATOR_NAME ".kit.json --authority-key KEY\n",
           authority->federation);
  else
    printf("The coordinator's kit is not in %s: its owner needs a response (consilium kit issue).\n",
           authority->federation);
}

void cns_place_close(struct cns_place *place, struct cns_authority *authority) {
  cns_authority_deinit(authority);
  free(place->default_authority);
}

int cns_place_changed(const struct cns_authority *authority, const char *name, bool json) {
  struct cns_problem problem = {0};
  struct cns_news news = {0};
  int code = 0,
      r = cns_news_tell(authority, cns_authority_check_policy(authority, NULL) == 0, &news, &problem);
  if (r) return cns_cli_fail(r, &problem);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    if (name) cJSON_AddStringToObject(object, "name", name);
    cJSON_AddNumberToObject(object, "roster_version", (double)authority->roster.version);
    cJSON_AddNumberToObject(object, "hospitals", (double)cns_roster_active_count(&authority->roster));
    cns_news_json(&news, object);
    code = cns_cli_print_json(object);
  } else {
    cns_news_print(authority, &news);
    printf("When the coordinator has the roster, send it SIGHUP: it passes it on to the hospitals.\n");
    code = cns_cli_finish(CNS_EXIT_OK);
  }
  free(news.response);
  return code;
}

/* What came of a request; problem: why there is no response. */
struct approval {
  const struct cns_roster_hospital *hospital;
  bool known;
  char *response;
  struct cns_news news;
  struct cns_problem problem;
};

static int print_approval(const struct cns_authority *authority, const struct approval *done, bool json) {
  size_t count = cns_roster_active_count(&authority->roster);
  const struct cns_roster_hospital *hospital = done->hospital;
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "name", hospital->name);
    cJSON_AddNumberToObject(object, "index", hospital->index);
    cJSON_AddBoolToObject(object, "known", done->known);
    cJSON_AddNumberToObject(object, "roster_version", (double)authority->roster.version);
    cJSON_AddNumberToObject(object, "hospitals", (double)count);
    if (done->response) cJSON_AddStringToObject(object, "response", done->response);
    cns_news_json(&done->news, object);
    return cns_cli_print_json(object);
  }
  if (done->known)
    printf("%s is hospital %u of the roster already.\n", hospital->name, hospital->index);
  else
    printf("%s is hospital %u; the roster has version %" PRIu64 " and %zu hospital%s.\n", hospital->name,
           hospital->index, authority->roster.version, count, count == 1 ? "" : "s");
  if (done->response)
    printf("Response for %s: %s\n", hospital->name, done->response);
  else
    printf("No response written yet: %s.\n"
           "When all hospitals are approved: consilium policy new, consilium policy sign, consilium kit "
           "issue.\n",
           done->problem.text);
  cns_news_print(authority, &done->news);
  return cns_cli_finish(CNS_EXIT_OK);
}

/* A policy that doesn't fit (yet) is no failure here: then there is no response. */
static int finish_approval(const struct cns_authority *authority, uint16_t index, bool known, bool json) {
  struct cns_problem problem = {0};
  struct approval done = {.hospital = cns_roster_find(&authority->roster, index), .known = known};
  bool policy = cns_authority_check_policy(authority, &done.problem) == 0;
  int r = policy ? cns_authority_respond(authority, done.hospital, &done.response, &problem) : 0;
  if (!r) r = cns_news_tell(authority, policy, &done.news, &problem);
  int code = r ? cns_cli_fail(r, &problem) : print_approval(authority, &done, json);
  free(done.response);
  free(done.news.response);
  return code;
}

static int approve(const char *verb, struct cns_authority *authority, const char *path, uint16_t wish,
                   bool yes, bool json) {
  struct cns_problem problem = {0};
  struct cns_request request;
  uint16_t index = 0;
  bool known = false;
  int r = cns_request_load(path, &request, &problem);
  if (!r) r = cns_authority_place(authority, &request, wish, &index, &known, &problem);
  if (r) return cns_cli_fail(r, &problem);
  if (!known && !yes) {
    printf("Request of %s, to become hospital %u. Its digest:", request.name, index);
    int code = cns_place_confirm(verb, &request);
    if (code) return code;
  }
  if (!known) r = cns_authority_add(authority, &request, index, &problem);
  return r ? cns_cli_fail(r, &problem) : finish_approval(authority, index, known, json);
}

static int approve_verb(const char *verb, const char *synopsis, int argc, char **argv) {
  struct cns_place place = {0};
  struct cns_authority authority;
  int64_t wish = 0;
  bool yes = false, json = false;
  int operands = 0, code = 0;
  const struct cns_option table[] = {
      CNS_PLACE_OPTIONS(place),
      {"index", "N", "the hospital's index (default: the next one)", CNS_OPTION_INT, &wish, 1,
       CNS_HOSPITALS_MAX},
      {"yes", NULL, "the digest has been compared; don't ask", CNS_OPTION_FLAG, &yes, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      synopsis,
      "At the authority: checks a hospital's request, adds the hospital to the roster,\n"
      "signs the roster's next version and writes the response, DIR/responses/NAME.kit.json,\n"
      "if there is a signed policy for this roster. It holds no secret.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (json && !yes)
    return cns_cli_usage_error(verb, "--json asks nothing: compare the digest and give --yes");
  if (cns_place_open(verb, &place, &authority, &code)) return code;
  code = approve(verb, &authority, argv[1], (uint16_t)wish, yes, json);
  cns_place_close(&place, &authority);
  return code;
}

int cns_cli_kit_approve(int argc, char **argv) {
  return approve_verb("kit approve",
                      "kit approve REQUEST --federation DIR [--authority DIR] [--index N] [--yes] [--json]",
                      argc, argv);
}

int cns_cli_roster_add(int argc, char **argv) {
  return approve_verb("roster add",
                      "roster add REQUEST --federation DIR [--authority DIR] [--index N] [--yes] [--json]",
                      argc, argv);
}

static int respond_to_all(const struct cns_authority *authority, cJSON *paths, bool quiet,
                          struct cns_problem *problem) {
  int r = 0;
  for (size_t i = 0; i < authority->roster.hospital_count && !r; i++) {
    const struct cns_roster_hospital *hospital = &authority->roster.hospitals[i];
    char *path = NULL;
    if (hospital->revoked) continue;
    r = cns_authority_respond(authority, hospital, &path, problem);
    if (!r && !quiet) printf("Response for %s: %s\n", hospital->name, path);
    if (!r && !cJSON_AddItemToArray(paths, cJSON_CreateString(path))) r = CNS_ERR_MEMORY;
    free(path);
  }
  return r;
}

static int issue(const struct cns_authority *authority, bool json) {
  struct cns_problem problem = {0};
  struct cns_news news = {0};
  cJSON *object = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(object, "responses");
  int r = array ? 0 : CNS_ERR_MEMORY;
  if (!r && cns_roster_active_count(&authority->roster) == 0)
    r = cns_problem_set(&problem, CNS_ERR_STATE,
                        "the roster has no hospital yet; approve their requests first");
  if (!r) r = cns_authority_check_policy(authority, &problem);
  if (!r) r = respond_to_all(authority, array, json, &problem);
  if (!r) r = cns_news_tell(authority, true, &news, &problem);
  if (!r && json) {
    cns_news_json(&news, object);
    free(news.response);
    return cns_cli_print_json(object);
  }
  if (!r) cns_news_print(authority, &news);
  free(news.response);
  cJSON_Delete(object);
  return r ? cns_cli_fail(r, &problem) : cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_kit_issue(int argc, char **argv) {
  struct cns_place place = {0};
  struct cns_authority authority;
  bool json = false;
  int operands = 0, code = 0;
  const struct cns_option table[] = {CNS_PLACE_OPTIONS(place),
                                     {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "kit issue --federation DIR [--authority DIR] [--json]",
      "At the authority: writes DIR/responses/NAME.kit.json for each hospital of the roster and\n"
      "for the coordinator, with the present roster, policy and study, and brings the\n"
      "coordinator's kit up to date if it is still in DIR.",
      table, 0, 0};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (cns_place_open("kit issue", &place, &authority, &code)) return code;
  code = issue(&authority, json);
  cns_place_close(&place, &authority);
  return code;
}

static int revoke(struct cns_authority *authority, const char *name, const char *reason, bool json) {
  struct cns_problem problem = {0};
  int r = cns_authority_revoke(authority, name, reason, (int64_t)time(NULL), &problem);
  if (r) return cns_cli_fail(r, &problem);
  size_t count = cns_roster_active_count(&authority->roster);
  if (!json)
    printf("%s is revoked; the roster has version %" PRIu64 " and %zu hospitals.\n", name,
           authority->roster.version, count);
  return cns_place_changed(authority, name, json);
}

static int revoke_verb(const char *verb, const char *synopsis, int argc, char **argv) {
  struct cns_place place = {0};
  struct cns_authority authority;
  const char *reason = NULL;
  bool json = false;
  int operands = 0, code = 0;
  const struct cns_option table[] = {
      CNS_PLACE_OPTIONS(place),
      {"reason", "TEXT", "why; all parties can read it in the roster", CNS_OPTION_TEXT, &reason, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      synopsis,
      "At the authority: marks the hospital as revoked, for good, and signs the roster's next\n"
      "version. Its name, index and keys are not used again.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (reason && !cns_roster_is_reason(reason))
    return cns_cli_usage_error(verb, "--reason must be 1 to %d printable characters", CNS_REASON_MAX);
  if (cns_place_open(verb, &place, &authority, &code)) return code;
  code = revoke(&authority, argv[1], reason, json);
  cns_place_close(&place, &authority);
  return code;
}

int cns_cli_kit_revoke(int argc, char **argv) {
  return revoke_verb("kit revoke",
                     "kit revoke NAME --federation DIR [--authority DIR] [--reason TEXT] [--json]", argc,
                     argv);
}

int cns_cli_roster_revoke(int argc, char **argv) {
  return revoke_verb("roster revoke",
                     "roster revoke NAME --federation DIR [--authority DIR] [--reason TEXT] [--json]", argc,
                     argv);
}
