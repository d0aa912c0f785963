/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's log: one line an event with its UTC time, as text or as JSON
 * ({"time", "event", "text", ...}). Never a patient's value, never a secret. */
#pragma once

#include <cjson/cJSON.h>
#include <stdio.h>

#include "crypto/base.h"

struct cns_client_log {
  FILE *out;
  bool json;
};

/* What was written lately because of somebody. */
struct cns_client_lines {
  uint64_t since_ms;
  unsigned count;
};

/* May one more line be written, at most max in window_ms? When not, that is
 * said once in each window: what a peer sends must not fill the disk. */
bool cns_client_log_allowed(const struct cns_client_log *log, struct cns_client_lines *lines, unsigned max,
                            uint64_t window_ms, uint64_t now_ms);

/* event: a short fixed name, for JSON. cns_text_clean makes it one line. */
void cns_client_log(const struct cns_client_log *log, const char *event, const char *fmt, ...)
    CNS_PRINTF(3, 4);
/* With more members for JSON; takes fields (an object; NULL: none). */
void cns_client_log_fields(const struct cns_client_log *log, const char *event, cJSON *fields,
                           const char *fmt, ...) CNS_PRINTF(4, 5);
/* Each line of a text as one event. */
void cns_client_log_lines(const struct cns_client_log *log, const char *event, const char *text);
