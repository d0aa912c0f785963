/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/status.h"
#include "crypto/json.h"
#include "protocol/pause.h"

/* Nothing is known of what can't be read; the rest of the status is still worth having. */
static void load(const char *state_folder, const char *file, struct cns_pause *ret_pause,
                 const char **ret_flaw, struct cns_problem *problem) {
  *ret_pause = (struct cns_pause){0};
  *ret_flaw = cns_pause_load(state_folder, file, ret_pause, problem) < 0 ? problem->text : NULL;
}

int cns_status_pause_json(const char *state_folder, const char *file, const char *name, cJSON *json) {
  struct cns_problem problem = {0};
  struct cns_pause pause;
  const char *flaw;
  load(state_folder, file, &pause, &flaw, &problem);
  if (!flaw && pause.state == CNS_PAUSE_NONE) return 0;
  cJSON *object = cJSON_AddObjectToObject(json, name);
  if (flaw) {
    cJSON_AddStringToObject(object, "error", flaw);
    return 0;
  }
  cJSON_AddStringToObject(object, "state", pause.state == CNS_PAUSE_STOPPED ? "stopped" : "paused");
  cJSON_AddStringToObject(object, "reason", pause.reason);
  return cns_json_add_time(object, "since", pause.since);
}

void cns_status_pause_print(const char *state_folder, const char *file, const char *before,
                            const char *after) {
  struct cns_problem problem = {0};
  struct cns_pause pause;
  const char *flaw;
  char text[CNS_PAUSE_SENTENCE_MAX];
  load(state_folder, file, &pause, &flaw, &problem);
  cns_pause_describe(&pause, text);
  if (flaw || pause.state != CNS_PAUSE_NONE) printf("%s%s%s\n", before, flaw ? flaw : text, after);
}
