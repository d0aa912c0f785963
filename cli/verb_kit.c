/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium kit`, and its verbs at the hospital: request and accept. */
#include "cli/verb_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/enrol.h"

static int print_request(const char *folder, const char *name, const struct cns_digest *digest, bool json) {
  char spoken[CNS_DIGEST_SPOKEN_CHARS], hex[2 * CNS_DIGEST_BYTES + 1];
  cns_digest_spoken(digest, spoken);
  cns_hex_encode(digest->bytes, sizeof digest->bytes, hex);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "folder", folder);
    cJSON_AddStringToObject(object, "name", name);
    cJSON_AddStringToObject(object, "digest", hex);
    cJSON_AddStringToObject(object, "spoken", spoken);
    return cns_cli_print_json(object);
  }
  printf("The keys of %s are in %s and stay there.\n\n"
         "Send %s/" CNS_REQUEST_FILE " to the consortium's authority (it holds no secret) and read them\n"
         "this digest over the telephone:\n\n"
         "  %s\n\n"
         "With their answer: consilium kit accept %s %s.kit.json --authority-key KEY\n",
         name, folder, folder, spoken, folder, name);
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_kit_request(int argc, char **argv) {
  const char *name = NULL;
  bool json = false;
  int operands = 0;
  struct cns_problem problem = {0};
  struct cns_digest digest;
  const struct cns_option table[] = {
      {"name", "NAME", "the hospital's name: a-z 0-9 . _ -", CNS_OPTION_TEXT, &name, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "kit request DIR --name NAME [--json]",
      "At the hospital: makes new keys in DIR, which must not exist or be empty, and\n"
      "DIR/" CNS_REQUEST_FILE ", a request to the authority to be taken into the roster.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!name) return cns_cli_usage_error("kit request", "--name NAME is missing");
  r = cns_request_create(argv[1], name, (int64_t)time(NULL), &digest, &problem);
  return r ? cns_cli_fail(r, &problem) : print_request(argv[1], name, &digest, json);
}

/* The key from the command line, or the response's own after a person has
 * compared it: it is the only root of trust. */
static int get_key(const char *path, const char *hex, struct cns_identity_public *ret_key,
                   struct cns_problem *problem) {
  char found[2 * CNS_IDENTITY_BYTES + 1];
  if (hex) {
    /* Heard over the telephone, it may be written in groups, as it is shown below. */
    size_t len = 0;
    for (const char *c = hex; *c && len < sizeof found; c++)
      if (*c != ' ') found[len++] = *c;
    found[len < sizeof found ? len : sizeof found - 1] = '\0';
    if (len < sizeof found && cns_hex_decode(found, CNS_IDENTITY_BYTES, ret_key->bytes) == 0) return 0;
    return cns_problem_set(problem, CNS_ERR_FORMAT, "--authority-key must be %d hex digits",
                           2 * CNS_IDENTITY_BYTES);
  }
  int r = cns_response_authority(path, ret_key, problem);
  if (r) return r;
  cns_hex_encode(ret_key->bytes, sizeof ret_key->bytes, found);
  printf("The response claims to come from the authority with the key\n\n ");
  for (size_t i = 0; i < sizeof found - 1; i += 4)
    printf(" %.4s%s", found + i, i == 28 ? "\n " : "");
  printf("\n\n");
  r = cns_cli_confirm("Did the authority read you this key over the telephone?");
  if (r == CNS_ERR_STATE)
    return cns_problem_set(problem, r, "give --authority-key KEY, as the authority read it to you");
  return r ? cns_problem_set(problem, r, "not confirmed; nothing was changed") : 0;
}

static int accept_exit(int r, const struct cns_problem *problem) {
  int code = cns_cli_fail(r, problem);
  return r == CNS_ERR_STATE ? CNS_EXIT_USAGE : r == CNS_ERR_CANCELLED ? CNS_EXIT_REFUSED : code;
}

static int print_accepted(const char *folder, const char *initial, bool json) {
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "folder", folder);
    if (initial) cJSON_AddStringToObject(object, "initial_model", initial);
    return cns_cli_print_json(object);
  }
  printf("The kit in %s is complete. Read its policy with: consilium policy show %s\n", folder, folder);
  if (initial) printf("The study starts from a model file: put %s into %s.\n", initial, folder);
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_kit_accept(int argc, char **argv) {
  const char *hex = NULL;
  char *initial = NULL;
  bool json = false;
  int operands = 0;
  struct cns_problem problem = {0};
  struct cns_identity_public key;
  const struct cns_option table[] = {{"authority-key", "KEY",
                                      "the authority's key, 64 hex digits, learnt by telephone",
                                      CNS_OPTION_TEXT, &hex, 0, 0},
                                     {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "kit accept DIR RESPONSE [--authority-key KEY] [--json]",
      "At the hospital: checks the authority's response and completes the kit in DIR, or\n"
      "brings it up to date. Older rosters and policies than the kit's are refused. Without\n"
      "--authority-key the key is shown for confirmation.",
      table, 2, 2};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (json && !hex) return cns_cli_usage_error("kit accept", "--json asks nothing: give --authority-key KEY");
  r = get_key(argv[2], hex, &key, &problem);
  if (r) return accept_exit(r, &problem);
  r = cns_response_accept(argv[1], argv[2], &key, (int64_t)time(NULL), &initial, &problem);
  if (r) return cns_cli_fail(r, &problem);
  int code = print_accepted(argv[1], initial, json);
  free(initial);
  return code;
}

int cns_cli_kit(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"request", "at the hospital: make keys and a request to join", cns_cli_kit_request},
      {"approve", "at the authority: take a request into the roster", cns_cli_kit_approve},
      {"issue", "at the authority: write the responses for all hospitals", cns_cli_kit_issue},
      {"revoke", "at the authority: revoke a hospital", cns_cli_kit_revoke},
      {"accept", "at the hospital: check the authority's response, complete the kit", cns_cli_kit_accept},
      {"show", "what a kit holds, and whether it is sound", cns_cli_kit_show},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium kit", "Enrols a hospital whose keys never leave it, and looks at kits.",
                          verbs, argc, argv);
}
