/* SPDX-License-Identifier: Apache-2.0 */
/* The two sides of `consilium status`. Both only read, also while the daemon
 * runs, and return the exit code. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/kit.h"

int cns_status_coordinator(const char *kit_folder, size_t last, bool json);
int cns_status_hospital(const char *kit_folder, bool json);

/* Days left of roster, policy and certificates, as fields; and what is near its end, a sentence a
 * line with `before` in front. */
CNS_MUST_CHECK int cns_status_expiry_json(const struct cns_kit *kit, cJSON *json);
void cns_status_expiry_print(const struct cns_kit *kit, const char *before);

/* A pause that is on file (protocol/pause.h): as a member of this name with state, since and
 * reason (or error), or as a line; nothing if there is none. */
int cns_status_pause_json(const char *state_folder, const char *file, const char *name, cJSON *json);
void cns_status_pause_print(const char *state_folder, const char *file, const char *before,
                            const char *after);
