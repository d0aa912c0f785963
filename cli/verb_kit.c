/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium kit`, and its verbs at the hospital: request and accept. */
#include "cli/verb_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/enrol.h"
#include "cli/kit.h"

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
  const struct cns_usage usage = {"kit request DIR --name NAME [--json]",
                                  "At the hospital: makes new keys in DIR, which must be new or empty, and\n"
                                  "DIR/" CNS_REQUEST_FILE
                                  ", a request to the authority to be taken into the roster.",
                                  table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!name) return cns_cli_usage_error("kit request", "--name NAME is missing");
  if (cns_kit_check_name(name, &problem)) return cns_cli_usage_error("kit request", "%s", problem.text);
  r = cns_request_create(argv[1], name, (int64_t)time(NULL), &digest, &problem);
  return r ? cns_cli_fail(r, &problem) : print_request(argv[1], name, &digest, json);
}

int cns_cli_kit_renew(int argc, char **argv) {
  bool json = false;
  int operands = 0;
  struct cns_problem problem = {0};
  struct cns_digest digest;
  char spoken[CNS_DIGEST_SPOKEN_CHARS];
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "kit renew DIR [--json]",
      "At the hospital: makes a new TLS key and certificate beside those in use, and\n"
      "DIR/" CNS_RENEWAL_FILE
      ", for the authority's `consilium roster renew`. The agent goes on meanwhile, and\n"
      "changes over by itself when the coordinator sends it the roster with the new certificate.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = cns_renewal_create(argv[1], (int64_t)time(NULL), &digest, &problem);
  if (r) return cns_cli_fail(r, &problem);
  cns_digest_spoken(&digest, spoken);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "folder", argv[1]);
    cJSON_AddStringToObject(object, "spoken", spoken);
    return cns_cli_print_json(object);
  }
  printf("A new certificate is in %s and not in use yet. Send %s/" CNS_RENEWAL_FILE " to the consortium's\n"
         "authority (it holds no secret, and is signed with this hospital's identity key).\n",
         argv[1], argv[1]);
  return cns_cli_finish(CNS_EXIT_OK);
}

/* Heard over the telephone, it may be written in groups, as it is shown below. */
static bool parse_key(const char *text, struct cns_identity_public *ret_key) {
  char digits[2 * CNS_IDENTITY_BYTES + 2];
  size_t len = 0;
  for (; *text && len < sizeof digits - 1; text++)
    if (*text != ' ') digits[len++] = *text;
  digits[len] = '\0';
  return cns_hex_decode(digits, CNS_IDENTITY_BYTES, ret_key->bytes) == 0;
}

/* The response's own key after a person has compared it: it is the only root of
 * trust. 0 or an exit code. */
static int ask_key(const char *path, struct cns_identity_public *ret_key) {
  char found[2 * CNS_IDENTITY_BYTES + 1];
  struct cns_problem problem = {0};
  int r = cns_response_authority(path, ret_key, &problem);
  if (r) return cns_cli_fail(r, &problem);
  cns_hex_encode(ret_key->bytes, sizeof ret_key->bytes, found);
  printf("The response claims to come from the authority with the key\n\n ");
  for (size_t i = 0; i < sizeof found - 1; i += 4)
    printf(" %.4s%s", found + i, i == 28 ? "\n " : "");
  printf("\n\n");
  r = cns_cli_confirm("Did the authority read you this key over the telephone?");
  if (r == CNS_ERR_STATE)
    return cns_cli_usage_error(
        "kit accept",
        "standard input is not a terminal: give --authority-key KEY, as the authority read it to you");
  if (r) cns_problem_set(&problem, r, "not confirmed; nothing was changed");
  return r ? cns_cli_fail(r, &problem) : 0;
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
      "At the hospital, or the coordinator: checks the authority's response and completes the\n"
      "kit in DIR, or brings it up to date. Older rosters and policies than the kit's are\n"
      "refused. Without --authority-key the key is shown for confirmation.",
      table, 2, 2};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (json && !hex) return cns_cli_usage_error("kit accept", "--json asks nothing: give --authority-key KEY");
  if (hex && !parse_key(hex, &key))
    return cns_cli_usage_error("kit accept", "--authority-key must be %d hex digits", 2 * CNS_IDENTITY_BYTES);
  int code = hex ? 0 : ask_key(argv[2], &key);
  if (code) return code;
  r = cns_response_accept(argv[1], argv[2], &key, (int64_t)time(NULL), &initial, &problem);
  if (r) return cns_cli_fail(r, &problem);
  code = print_accepted(argv[1], initial, json);
  free(initial);
  return code;
}

int cns_cli_kit(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"request", "at the hospital: make keys and a request to join", cns_cli_kit_request},
      {"approve", "at the authority: take a request into the roster", cns_cli_kit_approve},
      {"issue", "at the authority: write the responses for all hospitals and the coordinator",
       cns_cli_kit_issue},
      {"revoke", "at the authority: revoke a hospital", cns_cli_kit_revoke},
      {"accept", "at the hospital or the coordinator: check the authority's response, complete the kit",
       cns_cli_kit_accept},
      {"renew", "at the hospital: make a new TLS certificate, and the request to renew it",
       cns_cli_kit_renew},
      {"show", "what a kit holds, and whether it is sound", cns_cli_kit_show},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium kit", "Enrols a hospital whose keys never leave it, and looks at kits.",
                          verbs, argc, argv);
}
