/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/audit_options.h"

#include <string.h>

#define SKETCH_DEFAULT 256

static const char *const actions[] = {
    [CNS_FLAG_REPORT] = "report", [CNS_FLAG_EXCLUDE] = "exclude", [CNS_FLAG_QUARANTINE] = "quarantine"};

static int find_action(const char *name) {
  for (int action = CNS_FLAG_REPORT; action <= CNS_FLAG_QUARANTINE; action++)
    if (strcmp(name, actions[action]) == 0) return action;
  return -1;
}

int cns_cli_parse_audit(const char *verb, const struct cns_audit_call *call,
                        struct cns_audit_choice *ret_choice) {
  bool open = call->level && strcmp(call->level, "open") == 0;
  int action = call->on_flag ? find_action(call->on_flag) : CNS_FLAG_REPORT;
  if (call->level && (strcmp(call->level, "norm") == 0 || strcmp(call->level, "distances") == 0))
    return cns_cli_usage_error(verb, "--audit %s is reserved: this version offers none and open",
                               call->level);
  if (call->level && !open && strcmp(call->level, "none") != 0)
    return cns_cli_usage_error(verb, "--audit is none or open, not \"%s\"", call->level);
  if (!open && (call->sketch || call->on_flag || call->budget > 0))
    return cns_cli_usage_error(verb, "--sketch, --on-flag and --sketch-budget need --audit open");
  if (call->sketch && !cns_sketch_size_valid((uint32_t)call->sketch))
    return cns_cli_usage_error(verb, "--sketch is 128, 256, 512 or 1024, not %lld", (long long)call->sketch);
  if (action < 0)
    return cns_cli_usage_error(verb, "--on-flag is report, exclude or quarantine, not \"%s\"", call->on_flag);
  *ret_choice = (struct cns_audit_choice){
      .sketch = !open          ? 0
                : call->sketch ? (uint32_t)call->sketch
                               : SKETCH_DEFAULT,
      .on_flag = (enum cns_on_flag)action,
      .budget = call->budget,
  };
  return 0;
}
