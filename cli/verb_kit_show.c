/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/enrol.h"
#include "cli/verb_kit.h"
#include "model/plan.h"
#include "net/proxy.h"
#include "store/kit.h"

static bool is_there(const char *folder, const char *name) {
  struct stat info;
  char *path = cns_kit_path(folder, name);
  bool there = path && stat(path, &info) == 0;
  free(path);
  return there;
}

static void format_day(int64_t seconds, char out[static 32]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 32, "%Y-%m-%d", &tm) == 0) out[0] = '\0';
}

static int print_json(const struct cns_kit *kit, const struct cns_plan *plan) {
  bool hospital = kit->config.role == CNS_KIT_HOSPITAL;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "state", "complete");
  cJSON_AddStringToObject(json, "role", hospital ? "hospital" : "coordinator");
  if (hospital) {
    cJSON_AddStringToObject(json, "name", kit->config.name);
    cJSON_AddNumberToObject(json, "index", kit->config.index);
    cJSON_AddStringToObject(json, "data", kit->config.data_path);
    if (kit->config.trainer.command) cJSON_AddStringToObject(json, "trainer", kit->config.trainer.command[0]);
  }
  cJSON_AddStringToObject(json, "address", kit->config.address);
  cJSON_AddStringToObject(json, "consortium", kit->roster.consortium);
  cJSON_AddNumberToObject(json, "roster_version", (double)kit->roster.version);
  cJSON_AddNumberToObject(json, "hospitals", (double)cns_roster_active_count(&kit->roster));
  cJSON_AddNumberToObject(json, "policy_version", (double)kit->policy.version);
  cJSON_AddStringToObject(json, "study", plan->name);
  cJSON_AddNumberToObject(json, "study_version", (double)plan->version);
  int r = cns_json_add_hex(json, "authority_key", kit->authority.bytes, sizeof kit->authority.bytes);
  if (!r)
    r = cns_json_add_hex(json, "identity", cns_identity_get_public(kit->identity)->bytes, CNS_IDENTITY_BYTES);
  if (!r) return cns_cli_print_json(json);
  cJSON_Delete(json);
  return cns_cli_fail(r, NULL);
}

/* Never the URL as it is: it may hold a password. */
static void print_proxy(const struct cns_kit_proxy *config) {
  struct cns_proxy proxy;
  if (config->environment) printf("  proxy      as the environment of the agent says (HTTPS_PROXY)\n");
  if (!config->url) return;
  if (cns_proxy_parse(config->url, &proxy, NULL) != 0) {
    printf("  proxy      its address is not understood\n");
    return;
  }
  bool password = config->user || proxy.has_user;
  printf("  proxy      %s port %u, %s\n", proxy.host, proxy.port,
         password ? "with a password" : "without a password");
  cns_wipe(&proxy, sizeof proxy);
}

static int print_text(const struct cns_kit *kit, const struct cns_plan *plan) {
  char key[2 * CNS_IDENTITY_BYTES + 1], roster_end[32], policy_end[32];
  cns_hex_encode(kit->authority.bytes, sizeof kit->authority.bytes, key);
  format_day(kit->roster.valid_until, roster_end);
  format_day(kit->policy.valid_until, policy_end);
  if (kit->config.role == CNS_KIT_HOSPITAL)
    printf("Kit of hospital %u, %s, of \"%s\": complete and sound.\n", kit->config.index, kit->config.name,
           kit->roster.consortium);
  else
    printf("Kit of the coordinator of \"%s\": complete and sound.\n", kit->roster.consortium);
  printf("  authority  %s\n", key);
  printf("  roster     version %" PRIu64 ", %zu hospitals, valid until %s\n", kit->roster.version,
         cns_roster_active_count(&kit->roster), roster_end);
  printf("  policy     version %" PRIu64 ", valid until %s\n", kit->policy.version, policy_end);
  printf("  study      %s, version %" PRIu64 ", %zu parameters, %u rounds\n", plan->name, plan->version,
         plan->dim, plan->rounds);
  if (kit->config.role == CNS_KIT_COORDINATOR) {
    printf("  listens on %s\n", kit->config.address);
  } else {
    printf("  dials      %s\n", kit->config.address);
    print_proxy(&kit->config.proxy);
    printf("  data       %s\n", kit->config.data_path);
    if (kit->config.trainer.command)
      printf("  trainer    %s, for at most %u s a round\n", kit->config.trainer.command[0],
             kit->config.trainer.time_limit_s);
    printf("  own floor  cohort %u, included %u, threshold %u\n", kit->config.floor.cohort,
           kit->config.floor.included, kit->config.floor.threshold);
  }
  return cns_cli_finish(CNS_EXIT_OK);
}

static int show_kit(const char *folder, bool json) {
  struct cns_problem problem = {0};
  struct cns_kit_config config = {0};
  struct cns_kit kit = {0};
  struct cns_plan plan = {0};
  int r = cns_kit_config_load(folder, &config, &problem);
  enum cns_kit_role role = config.role;
  cns_kit_config_deinit(&config);
  if (!r) r = cns_kit_load(folder, role, (int64_t)time(NULL), &kit, &problem);
  if (!r)
    r = cns_plan_parse(kit.study_document.payload, kit.study_document.payload_len, "study.json", &plan,
                       &problem);
  int code = r ? cns_cli_fail(r, &problem) : json ? print_json(&kit, &plan) : print_text(&kit, &plan);
  cns_plan_deinit(&plan);
  cns_kit_deinit(&kit);
  return code;
}

static int show_request(const char *folder, bool json) {
  struct cns_problem problem = {0};
  struct cns_request request;
  char spoken[CNS_DIGEST_SPOKEN_CHARS];
  char *path = cns_kit_path(folder, CNS_REQUEST_FILE);
  int r = path ? cns_request_load(path, &request, &problem) : CNS_ERR_MEMORY;
  free(path);
  if (r) return cns_cli_fail(r, &problem);
  cns_digest_spoken(&request.digest, spoken);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "state", "requested");
    cJSON_AddStringToObject(object, "role", "hospital");
    cJSON_AddStringToObject(object, "name", request.name);
    cJSON_AddStringToObject(object, "spoken", spoken);
    return cns_cli_print_json(object);
  }
  printf("Request of %s, waiting for the authority's response (consilium kit accept).\n"
         "  digest to read over the telephone: %s\n",
         request.name, spoken);
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_kit_show(int argc, char **argv) {
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "kit show DIR [--json]",
      "Checks everything that a kit's owner can check before a round and says what the kit\n"
      "holds: signatures, dates, keys, file modes, whether the files belong together.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!is_there(argv[1], "config.json") && is_there(argv[1], CNS_REQUEST_FILE))
    return show_request(argv[1], json);
  return show_kit(argv[1], json);
}
