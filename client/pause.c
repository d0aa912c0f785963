/* SPDX-License-Identifier: Apache-2.0 */
/* Pauses: the coordinator's, which is only noted down for people; and this hospital's own. */
#include <string.h>
#include <time.h>

#include "client/agent_internal.h"

/* Nothing depends on it but what `status` says. */
static void note(struct cns_agent *agent, const struct cns_pause *pause) {
  struct cns_problem problem = {0};
  if (cns_pause_save(agent->site.kit.config.state_path, CNS_PAUSE_HEARD_FILE, pause, &problem) < 0)
    cns_agent_note(agent, "error", &problem);
}

void cns_agent_pause_forget(struct cns_agent *agent) {
  const struct cns_pause none = {0};
  struct cns_pause heard;
  struct cns_problem ignored = {0};
  if (cns_pause_load(agent->site.kit.config.state_path, CNS_PAUSE_HEARD_FILE, &heard, &ignored) < 0 ||
      heard.state != CNS_PAUSE_NONE)
    note(agent, &none);
}

void cns_agent_paused(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_pause pause;
  char text[CNS_PAUSE_SENTENCE_MAX];
  bool may_log = cns_agent_may_log(agent);
  if (cns_pause_read(data, len, &pause) < 0 || pause.state == CNS_PAUSE_STOPPED) {
    if (may_log)
      cns_client_log(&agent->log, "error", "the coordinator sent a malformed word of a pause; it is ignored");
    return;
  }
  /* Each is written to the disk: no more of them than of lines. */
  if (!may_log) return;
  note(agent, &pause);
  cns_pause_describe(&pause, text);
  if (pause.state == CNS_PAUSE_PAUSED)
    cns_client_log(&agent->log, "paused",
                   "the coordinator's operator has the study %s; no round begins meanwhile", text);
  else
    cns_client_log(&agent->log, "resumed", "the study isn't paused any more");
}

void cns_agent_note_stop(struct cns_agent *agent, const char *sentence) {
  struct cns_pause pause = {.state = CNS_PAUSE_STOPPED, .since = (int64_t)time(NULL)};
  size_t len = strnlen(sentence, CNS_PAUSE_REASON_MAX);
  memcpy(pause.reason, sentence, len);
  cns_text_clean(pause.reason); /* where a character was cut off */
  note(agent, &pause);
}

int cns_agent_guard_pause(struct cns_agent *agent, struct cns_problem *problem) {
  struct cns_pause pause;
  char text[CNS_PAUSE_SENTENCE_MAX];
  int r = cns_pause_load(agent->site.kit.config.state_path, CNS_PAUSE_FILE, &pause, problem);
  if (r) return cns_problem_prefix(problem, r, "whether this hospital is paused can't be told");
  if (pause.state == CNS_PAUSE_NONE) return 0;
  cns_pause_describe(&pause, text);
  return cns_problem_set(problem, CNS_ERR_REFUSED, "this hospital's operator has it %s", text);
}
