/* SPDX-License-Identifier: Apache-2.0 */
/* Hospitals that an audit has put out of a study's rounds: the list that the
 * coordinator keeps, and an officer's release, which it picks up by itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "protocol/release.h"
#include "store/folder.h"
#include "store/kit.h"

/* The coordinator's list; CNS_ERR_NOT_FOUND as an empty one. */
static int read_list(const struct cns_kit_config *config, cJSON **ret_list, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  char *path = cns_kit_path(config->state_path, "quarantine.json");
  int r = path ? cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem) : CNS_ERR_MEMORY;
  if (r == CNS_ERR_NOT_FOUND)
    r = cns_problem_set(problem, r, "%s: the coordinator has not been started on this kit yet", path);
  if (!r) r = cns_json_parse((const char *)data, len, path, ret_list, problem);
  free(data);
  free(path);
  return r;
}

static int open_kit(const char *folder, struct cns_kit_config *ret_config, struct cns_problem *problem) {
  int r = cns_kit_config_load(folder, ret_config, problem);
  if (!r && ret_config->role != CNS_KIT_COORDINATOR) {
    cns_kit_config_deinit(ret_config);
    r = cns_problem_set(problem, CNS_ERR_REFUSED, "%s: is not the coordinator's kit", folder);
  }
  return r;
}

/* ---- list ---- */

static int print_list(cJSON *list, bool json) {
  const cJSON *one, *array = cJSON_GetObjectItemCaseSensitive(list, "quarantine");
  if (json) return cns_cli_print_json(list);
  if (cJSON_GetArraySize(array) == 0) printf("No hospital is in quarantine.\n");
  cJSON_ArrayForEach(one, array) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "name"));
    const char *statistic = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "statistic"));
    printf("%s: since round %.0f, flagged by \"%s\"\n", name ? name : "?",
           cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(one, "round")), statistic ? statistic : "?");
  }
  cJSON_Delete(list);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int run_list(int argc, char **argv) {
  struct cns_problem problem = {0};
  struct cns_kit_config config;
  cJSON *list = NULL;
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "quarantine list KIT [--json]",
      "Which hospitals the coordinator of KIT leaves out until a privacy officer releases them. The\n"
      "records of all flags are in the folder flags/ of its state.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = open_kit(argv[1], &config, &problem);
  if (r) return cns_cli_fail(r, &problem);
  r = read_list(&config, &list, &problem);
  cns_kit_config_deinit(&config);
  return r ? cns_cli_fail(r, &problem) : print_list(list, json);
}

/* ---- release ---- */

struct call {
  const char *hospital, *reason, *officer, *kit, *roster, *study, *out;
  int64_t round;
  bool json;
};

/* Round and study, from the coordinator's list. */
static int find_quarantine(const struct call *call, const cJSON *list, struct cns_release *release,
                           struct cns_problem *problem) {
  const cJSON *one;
  const char *study = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(list, "study"));
  cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(list, "quarantine")) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "name"));
    int64_t round = 0;
    if (!name || strcmp(name, call->hospital) != 0) continue;
    int r = cns_json_get_int(one, "quarantine", "round", 1, INT64_C(1) << 53, &round, problem);
    release->round = (uint64_t)round;
    snprintf(release->study, sizeof release->study, "%s", study ? study : "");
    return r;
  }
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND,
                         "hospital %s is not in quarantine; see \"consilium "
                         "quarantine list %s\"",
                         call->hospital, call->kit);
}

static int name_hospital(const struct call *call, const struct cns_roster *roster,
                         const struct cns_identity *officer, struct cns_release *release,
                         struct cns_problem *problem) {
  const struct cns_roster_hospital *hospital = NULL;
  bool known = false;
  for (size_t k = 0; k < roster->hospital_count; k++)
    if (strcmp(roster->hospitals[k].name, call->hospital) == 0) hospital = &roster->hospitals[k];
  for (size_t k = 0; k < roster->officer_count; k++)
    known |= cns_identity_public_equal(&roster->officers[k].identity, cns_identity_get_public(officer));
  if (!hospital)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "the roster has no hospital %s", call->hospital);
  if (!known)
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "%s: the key is not one of the roster's privacy officers", call->officer);
  snprintf(release->consortium, sizeof release->consortium, "%s", roster->consortium);
  snprintf(release->name, sizeof release->name, "%s", hospital->name);
  snprintf(release->reason, sizeof release->reason, "%s", call->reason);
  release->index = hospital->index;
  release->given_at = (int64_t)time(NULL);
  return 0;
}

static int place_of(const struct call *call, const struct cns_kit_config *config,
                    const struct cns_release *release, char **ret_path, struct cns_problem *problem) {
  if (call->out) {
    *ret_path = strdup(call->out);
    return *ret_path ? 0 : CNS_ERR_MEMORY;
  }
  char *folder = cns_kit_path(config->state_path, "releases");
  int r = folder ? cns_folder_create(folder, problem) : CNS_ERR_MEMORY;
  if (!r && asprintf(ret_path, "%s/%s-%" PRIu64 ".release", folder, release->name, release->round) < 0)
    r = CNS_ERR_MEMORY;
  free(folder);
  return r;
}

static int print_release(const struct call *call, const struct cns_release *release, const char *path) {
  if (call->json) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "hospital", release->name);
    cJSON_AddNumberToObject(json, "round", (double)release->round);
    cJSON_AddStringToObject(json, "file", path);
    return cns_cli_print_json(json);
  }
  FILE *say = cns_cli_beside(path);
  fprintf(say, "Signed: hospital %s, in quarantine since round %" PRIu64 ", is let in again.\n",
          release->name, release->round);
  if (call->out)
    fprintf(say,
            "%s goes into the folder releases/ of the coordinator's state, under a name that ends in\n"
            ".release; it takes effect before the next round.\n",
            path);
  else
    fprintf(say, "The coordinator takes it before its next round.\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

static int sign(const struct call *call, const struct cns_kit_config *config, struct cns_release *release,
                const struct cns_identity *officer, char **ret_path, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = place_of(call, config, release, ret_path, problem);
  if (!r) r = cns_release_make(release, officer, &data, &len);
  if (!r) r = cns_file_write(*ret_path, data, len, 0644, problem);
  free(data);
  return r;
}

static int release(const struct call *call) {
  struct cns_problem problem = {0};
  struct cns_kit_config config = {0};
  struct cns_roster roster = {0};
  struct cns_release out = {.round = (uint64_t)call->round};
  struct cns_identity *officer = NULL;
  cJSON *list = NULL;
  char *key = cns_kit_path(call->officer, "identity.key"), *path = NULL;
  int r = key ? cns_identity_load(key, &officer, &problem) : CNS_ERR_MEMORY;
  if (!r && call->kit) r = open_kit(call->kit, &config, &problem);
  if (!r) r = cns_kit_roster_load(call->kit ? call->kit : call->roster, &roster, &problem);
  if (!r) r = name_hospital(call, &roster, officer, &out, &problem);
  if (!r && call->kit) {
    r = read_list(&config, &list, &problem);
    if (!r) r = find_quarantine(call, list, &out, &problem);
  } else if (!r)
    snprintf(out.study, sizeof out.study, "%s", call->study);
  if (!r) r = sign(call, &config, &out, officer, &path, &problem);
  int code = r ? cns_cli_fail(r, &problem) : print_release(call, &out, path);
  cJSON_Delete(list);
  cns_identity_free(officer);
  cns_roster_deinit(&roster);
  cns_kit_config_deinit(&config);
  free(key);
  free(path);
  return code;
}

static int check_call(const struct call *call) {
  static const char verb[] = "quarantine release";
  if (!call->reason || !*call->reason) return cns_cli_usage_error(verb, "--reason TEXT is missing");
  if (strlen(call->reason) > CNS_RELEASE_REASON_MAX)
    return cns_cli_usage_error(verb, "--reason is longer than %d bytes", CNS_RELEASE_REASON_MAX);
  if (!call->officer) return cns_cli_usage_error(verb, "--as DIR is missing: the officer's folder");
  if (call->kit && (call->roster || call->study || call->round))
    return cns_cli_usage_error(verb,
                               "--roster, --study and --round are for where the coordinator's kit isn't");
  if (call->kit) return 0;
  if (!call->roster || !call->study || !call->round || !call->out)
    return cns_cli_usage_error(
        verb,
        "give --kit KIT, the coordinator's; or, elsewhere, all of --roster DIR, --study NAME, --round R "
        "and --out FILE");
  if (strlen(call->study) > CNS_NAME_MAX) return cns_cli_usage_error(verb, "--study is too long for a name");
  return 0;
}

static int run_release(int argc, char **argv) {
  struct call call = {0};
  int operands = 0;
  const struct cns_option table[] = {
      {"reason", "TEXT", "why; it goes into the log", CNS_OPTION_TEXT, &call.reason, 0, 0},
      {"as", "DIR", "the officer's folder, with identity.key", CNS_OPTION_TEXT, &call.officer, 0, 0},
      {"kit", "KIT", "the coordinator's kit, which says the rest", CNS_OPTION_TEXT, &call.kit, 0, 0},
      {"roster", "DIR", "without --kit: any kit's folder, or the authority's", CNS_OPTION_TEXT, &call.roster,
       0, 0},
      {"study", "NAME", "without --kit: the study's name", CNS_OPTION_TEXT, &call.study, 0, 0},
      {"round", "R", "without --kit: that put the hospital into quarantine", CNS_OPTION_INT, &call.round, 1,
       9e15},
      {"out", "FILE", "where the release goes (default: into the coordinator's state)", CNS_OPTION_TEXT,
       &call.out, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "quarantine release HOSPITAL --reason TEXT --as DIR (--kit KIT | ...) [OPTION]...",
      "Signs, as a privacy officer, that a hospital may take part again. It holds for the quarantine\n"
      "that it names and no later one. The coordinator needn't be stopped.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  call.hospital = argv[1];
  r = check_call(&call);
  return r ? r : release(&call);
}

int cns_cli_quarantine(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"list", "say who is in quarantine, and since when", run_list},
      {"release", "let a hospital in again, as a privacy officer", run_release},
      {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium quarantine", "Hospitals that are out after an audit flagged them.",
                          verbs, argc, argv);
}
