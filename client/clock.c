/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator says what time it has, so that a hospital finds a wrong clock before documents seem
 * to be out of date. Nothing is decided by it. */
#include <inttypes.h>
#include <time.h>

#include "client/agent_internal.h"

void cns_agent_told_time(struct cns_agent *agent, const uint8_t *data, size_t len) {
  int64_t ahead = 0;
  if (cns_wire_read_time(data, len, (int64_t)time(NULL), &ahead) < 0) return;
  if (ahead >= -CNS_AGENT_CLOCK_SECONDS && ahead <= CNS_AGENT_CLOCK_SECONDS) return;
  if (cns_agent_may_log(agent))
    cns_client_log(&agent->log, "clock",
                   "the clock of this machine is %" PRId64
                   " minutes %s the coordinator's: one of them is wrong",
                   (ahead < 0 ? -ahead : ahead) / 60, ahead < 0 ? "behind" : "ahead of");
}
