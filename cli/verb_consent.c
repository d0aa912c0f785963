/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "client/consent.h"

static int ask(void *context, const char *text) {
  (void)context;
  printf("%s\n", text);
  return cns_cli_confirm("Does your hospital consent to take part?");
}

static int print_json(const struct cns_client_consent_result *result) {
  const struct cns_consent *consent = &result->consent;
  char plan[2 * CNS_DIGEST_BYTES + 1];
  cJSON *json = cJSON_CreateObject();
  cns_hex_encode(consent->plan.bytes, CNS_DIGEST_BYTES, plan);
  cJSON_AddStringToObject(json, "consortium", consent->consortium);
  cJSON_AddStringToObject(json, "study", consent->study);
  cJSON_AddStringToObject(json, "plan", plan);
  cJSON_AddNumberToObject(json, "hospital", consent->index);
  cJSON_AddStringToObject(json, "name", consent->name);
  cJSON_AddNumberToObject(json, "patients", consent->patients);
  cJSON_AddNumberToObject(json, "weight", result->weight);
  return cns_cli_print_json(json);
}

static int withdraw(const char *kit, bool json) {
  struct cns_problem problem = {0};
  int r = cns_client_consent_withdraw(kit, &problem);
  if (r) return cns_cli_fail(r, &problem);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddTrueToObject(object, "withdrawn");
    return cns_cli_print_json(object);
  }
  printf("The consent is withdrawn: the agent of this kit takes part in no further round.\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

static int give(const char *kit, bool yes, bool json) {
  struct cns_problem problem = {0};
  struct cns_client_consent_result result;
  const struct cns_client_consent_options options = {.kit_folder = kit, .assume_yes = yes, .ask = ask};
  int r = cns_client_consent(&options, &result, &problem);
  if (r) return cns_cli_fail(r, &problem);
  int code = CNS_EXIT_OK;
  if (json) {
    code = print_json(&result);
  } else {
    if (yes) printf("%s\n", result.text);
    printf("Consent is given and signed for %s: about %u patients, weight %u.\n", result.consent.name,
           result.consent.patients, result.weight);
    code = cns_cli_finish(CNS_EXIT_OK);
  }
  free(result.text);
  return code;
}

int cns_cli_consent(int argc, char **argv) {
  bool yes = false, json = false, withdrawn = false;
  int operands = 0;
  const struct cns_option table[] = {
      {"yes", NULL, "consent without being asked", CNS_OPTION_FLAG, &yes, 0, 0},
      {"withdraw", NULL, "take a consent back", CNS_OPTION_FLAG, &withdrawn, 0, 0},
      {"json", NULL, "print JSON; only with --yes or --withdraw", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "consent KIT [OPTION]...",
      "Shows what a study does with the hospital's table, what the policy allows and what becomes\n"
      "public, and asks for the hospital's consent, which is signed with its identity. The agent\n"
      "must not be running on the kit. A changed study file or another number of patients, as\n"
      "the policy rounds it, needs a new consent.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (yes && withdrawn) return cns_cli_usage_error("consent", "give one of --yes and --withdraw");
  if (json && !yes && !withdrawn) return cns_cli_usage_error("consent", "--json needs --yes or --withdraw");
  if (!yes && !withdrawn && !isatty(STDIN_FILENO))
    return cns_cli_usage_error(
        "consent",
        "standard input is not a terminal, so nobody can agree; to agree without being asked, give --yes");
  return withdrawn ? withdraw(argv[1], json) : give(argv[1], yes, json);
}
