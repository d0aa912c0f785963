/* SPDX-License-Identifier: Apache-2.0 */
/* pause, resume, stop: an order in a daemon's state folder, which it finds by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "protocol/pause.h"
#include "store/folder.h"
#include "store/kit.h"

struct call {
  const char *verb, *kit, *reason;
  enum cns_pause_state wanted;
  bool yes, json;
};

static int print(const struct call *call, const struct cns_kit_config *config, const struct cns_pause *pause,
                 bool changed) {
  char text[CNS_PAUSE_SENTENCE_MAX];
  bool coordinator = config->role == CNS_KIT_COORDINATOR;
  static const char *const states[] = {"running", "paused", "stopped"};
  if (call->json) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "role", coordinator ? "coordinator" : "hospital");
    cJSON_AddStringToObject(json, "state", states[pause->state]);
    cJSON_AddBoolToObject(json, "changed", changed);
    if (pause->state != CNS_PAUSE_NONE) {
      int r = cns_json_add_time(json, "since", pause->since);
      cJSON_AddStringToObject(json, "reason", pause->reason);
      if (r < 0) {
        cJSON_Delete(json);
        return cns_cli_fail(r, NULL);
      }
    }
    return cns_cli_print_json(json);
  }
  cns_pause_describe(pause, text);
  const char *whose = coordinator ? "The study is" : "This hospital is";
  if (!changed)
    printf("%s %s already; nothing was changed.\n", whose, text);
  else if (pause->state == CNS_PAUSE_NONE)
    printf("%s not paused any more.\n", whose);
  else if (pause->state == CNS_PAUSE_STOPPED)
    printf("The study is %s.\nThe coordinator ends it once no round is running, and the hospitals leave.\n",
           text);
  else if (coordinator)
    printf(
        "The study is %s.\nA running round goes on to its end; no other begins until: consilium resume %s\n",
        text, call->kit);
  else
    printf("This hospital is %s.\nA running round goes on to its end; others are declined until: consilium "
           "resume "
           "%s\n",
           text, call->kit);
  return cns_cli_finish(CNS_EXIT_OK);
}

/* Reads what is in force and makes the change; the sentence says what forbids it. */
static int change(const struct call *call, const struct cns_kit_config *config, struct cns_pause *ret_pause,
                  bool *ret_changed, struct cns_problem *problem) {
  struct cns_pause now, next = {.state = call->wanted, .since = (int64_t)time(NULL)};
  char text[CNS_PAUSE_SENTENCE_MAX];
  int r = cns_pause_load(config->state_path, CNS_PAUSE_FILE, &now, problem);
  /* What can't be read can still be replaced, but nobody knows if it was a stop. */
  if (r == CNS_ERR_FORMAT && call->wanted == CNS_PAUSE_STOPPED) {
    now = (struct cns_pause){0};
    r = 0;
  }
  if (r) return r;
  cns_pause_describe(&now, text);
  if (now.state == CNS_PAUSE_STOPPED && call->wanted != CNS_PAUSE_STOPPED)
    return cns_problem_set(problem, CNS_ERR_REFUSED, "the study is %.200s; that can't be taken back", text);
  *ret_changed = now.state != call->wanted;
  *ret_pause = now;
  if (!*ret_changed) return 0;
  if (call->reason) memcpy(next.reason, call->reason, strlen(call->reason) + 1);
  r = cns_folder_create(config->state_path, problem);
  if (!r) r = cns_pause_save(config->state_path, CNS_PAUSE_FILE, &next, problem);
  if (!r) *ret_pause = next;
  return r;
}

static int agree(const struct call *call, const struct cns_kit_config *config, struct cns_problem *problem) {
  if (call->wanted != CNS_PAUSE_STOPPED) return 0;
  if (config->role != CNS_KIT_COORDINATOR)
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "%s: only the coordinator can stop a study; a hospital leaves it with: consilium consent "
        "%s --withdraw",
        call->kit, call->kit);
  if (call->yes) return 0;
  int r = cns_cli_confirm("The study ends for good, for all hospitals, after the running round. Stop it?");
  return r ? cns_problem_set(problem, r, "%s",
                             r == CNS_ERR_STATE
                                 ? "nobody is there to answer; to stop the study without being "
                                   "asked, give --yes"
                                 : "nothing was stopped")
           : 0;
}

static int run(const struct call *call) {
  struct cns_problem problem = {0};
  struct cns_kit_config config = {0};
  struct cns_pause pause = {0};
  bool changed = false;
  if (call->reason && (!*call->reason || !cns_pause_is_reason(call->reason)))
    return cns_cli_usage_error(call->verb, "--reason must be one line of 1 to %d printable bytes",
                               CNS_PAUSE_REASON_MAX);
  int r = cns_kit_config_load(call->kit, &config, &problem);
  if (!r) r = agree(call, &config, &problem);
  if (!r) r = change(call, &config, &pause, &changed, &problem);
  int code = r ? cns_cli_fail(r, &problem) : print(call, &config, &pause, changed);
  cns_kit_config_deinit(&config);
  return code;
}

#define REASON(call)                                                                                         \
  { "reason", "TEXT", "why; in the logs and in `consilium status`", CNS_OPTION_TEXT, &(call).reason, 0, 0 }
#define JSON(call)                                                                                           \
  { "json", NULL, "print JSON", CNS_OPTION_FLAG, &(call).json, 0, 0 }
#define END                                                                                                  \
  { NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0 }

static int parse_and_run(struct call *call, const struct cns_usage *usage, int argc, char **argv) {
  int operands = 0;
  int r = cns_cli_parse(usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  call->kit = argv[1];
  return run(call);
}

int cns_cli_pause(int argc, char **argv) {
  struct call call = {.verb = "pause", .wanted = CNS_PAUSE_PAUSED};
  const struct cns_option table[] = {REASON(call), JSON(call), END};
  const struct cns_usage usage = {
      "pause KIT [--reason TEXT] [--json]",
      "Coordinator's kit: no round of the study begins until it is resumed; the running one goes on to\n"
      "its end, and the hospitals are told. Hospital's kit: this hospital declines rounds until then.\n"
      "The daemon needn't be running; the pause holds over restarts.",
      table, 1, 1};
  return parse_and_run(&call, &usage, argc, argv);
}

int cns_cli_resume(int argc, char **argv) {
  struct call call = {.verb = "resume", .wanted = CNS_PAUSE_NONE};
  const struct cns_option table[] = {JSON(call), END};
  const struct cns_usage usage = {
      "resume KIT [--json]", "Ends a pause of the coordinator or the hospital whose kit it is.", table, 1, 1};
  return parse_and_run(&call, &usage, argc, argv);
}

int cns_cli_stop(int argc, char **argv) {
  struct call call = {.verb = "stop", .wanted = CNS_PAUSE_STOPPED};
  const struct cns_option table[] = {
      REASON(call), {"yes", NULL, "don't ask", CNS_OPTION_FLAG, &call.yes, 0, 0}, JSON(call), END};
  const struct cns_usage usage = {
      "stop KIT [--yes] [--reason TEXT] [--json]",
      "Ends the study of this coordinator's kit for good. The running round goes on to its end; then the\n"
      "hospitals are told, fetch the last model and leave. It can't be taken back.",
      table, 1, 1};
  return parse_and_run(&call, &usage, argc, argv);
}
